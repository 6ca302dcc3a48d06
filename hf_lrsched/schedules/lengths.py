"""Lengths: ``500 | 0.05 | "5%" | "2 epochs" | "1.5B tokens"`` as steps. The only file that knows units.

A number below 1 is a share of the run and 1 or more is steps, as in Transformers 5. A string carries its unit. What it
does not know is the run: the caller gives a `Horizon`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from .checks import real, whole

Length = int | float | str
"""What a user may type where a length is asked for."""

UNITS = ("steps_per_epoch", "tokens_per_step", "epochs")
"""The words that tell a horizon what its units are in steps; ``epochs`` is the epochs of the whole run."""

_WRITTEN = re.compile(r"\s*([-+]?(?:\d+(?:_\d+)*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([A-Za-z%]*)\s*([A-Za-z]*)\s*")
_SCALE = {"k": 1e3, "K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}
_NEARLY = 1e-6  # of a step: what a share of a run may miss a whole step by, which is a rounding and no wish
_UNITS = {
    "step": "steps", "steps": "steps", "%": "%", "percent": "%",
    "epoch": "epochs", "epochs": "epochs", "ep": "epochs",
    "token": "tokens", "tokens": "tokens", "tok": "tokens",
}  # fmt: skip


class Horizon(int):
    """The run a schedule is made for: its optimizer steps, and what is known to convert other units.

    It is the number of steps, an `int`, and passes wherever one does.

    Args:
        steps: optimizer steps in the run; whole, at least 1.
        steps_per_epoch: optimizer steps in an epoch, for lengths in epochs.
        tokens_per_step: tokens in an optimizer step over all processes, for lengths in tokens.
        peak: the LR that multiplier 1 stands for. Only needed where an absolute floor meets a curve whose form depends
            on how deep it falls (``exponential``, ``inverse``); also lets a floor above the peak be refused early.

    >>> Horizon(1000).steps_of("5%", "warmup")
    50.0
    >>> Horizon(1000, steps_per_epoch=200).steps_of("2 epochs", "every")
    400.0
    >>> Horizon(1000, tokens_per_step=500_000).steps_of("0.1B tokens", "decay")
    200.0

    Raises:
        ValueError: where `steps` is not whole and above 0, or a conversion is not above 0.
    """

    steps_per_epoch: float | None
    tokens_per_step: float | None
    peak: float | None

    def __new__(
        cls,
        steps: float,
        *,
        steps_per_epoch: float | None = None,
        tokens_per_step: float | None = None,
        peak: float | None = None,
    ) -> Horizon:
        """Checks what was given; see the class."""
        number = whole("steps", steps)
        known = {"steps_per_epoch": steps_per_epoch, "tokens_per_step": tokens_per_step, "peak": peak}
        for name, given in known.items():
            if given is not None:
                real(name, given, above=0)
        run = super().__new__(cls, number)
        run.__dict__.update(known)
        return run

    @classmethod
    def of(cls, steps: float) -> Horizon:
        """A bare number of steps as a horizon that knows no other unit; a horizon as it is."""
        return steps if isinstance(steps, Horizon) else cls(steps)

    def told(self, words: Mapping[str, Any]) -> tuple[Horizon, dict[str, Any]]:
        """This run with the conversions among `words` (`UNITS`), and the rest of `words`.

        >>> Horizon(90).told({"epochs": 3, "every": "1 epoch"})
        (Horizon(90, steps_per_epoch=30.0), {'every': '1 epoch'})

        Raises:
            ValueError: where ``epochs`` and ``steps_per_epoch`` are both given and do not make the run.
        """
        known = {name: words.get(name) for name in UNITS}
        epochs, per_epoch = known.pop("epochs"), known["steps_per_epoch"]
        if epochs is not None:
            made = real("epochs", epochs, above=0) * (1.0 if per_epoch is None else per_epoch)
            if per_epoch is not None and abs(made - self) > 1e-6 * self:
                raise ValueError(
                    f"epochs ({epochs}) of steps_per_epoch ({per_epoch}) are {made:g} steps, the run has {int(self)}"
                )
            known["steps_per_epoch"] = self / epochs
        given = {name: getattr(self, name) if value is None else value for name, value in known.items()}
        return Horizon(self, peak=self.peak, **given), {word: value for word, value in words.items() if word not in UNITS}

    def __repr__(self) -> str:
        known = "".join(f", {name}={value!r}" for name, value in self.__dict__.items() if value is not None)
        return f"Horizon({int(self)}{known})"

    def steps_of(self, length: Length, what: str, *, of: float | None = None) -> float:
        """`length` in steps; real, as only a run's total is whole.

        Args:
            length: steps (1 or more), a share (below 1), or a string with a unit.
            what: the argument's name, for messages.
            of: steps that a share is a share of; by default the run.

        Raises:
            ValueError: for a negative, infinite or ambiguous length, one past the run's end, an unknown unit, or a unit
                this horizon cannot convert.
        """
        steps = self._convert(length, what, self if of is None else of)
        if abs(steps - round(steps)) < _NEARLY:  # 7 % of 100 steps is 7.000000000000001
            steps = float(round(steps))
        if steps > self:
            raise ValueError(
                f"{what} ({_shown(length, steps)}) is longer than the run of {int(self)} steps; "
                "shorten it or train for longer"
            )
        return steps

    def _convert(self, length: Length, what: str, whole: float) -> float:
        if isinstance(length, str):
            number, unit = _read(length, what)
        else:
            number, unit = real(what, length), ""
            if not isinstance(length, int | np.integer) and 1.0 <= number < 2.0:
                raise ValueError(
                    f"{what}={length!r} is ambiguous: write {what}={int(number)} (or '{int(number)} steps') for steps, "
                    f"'{number:.0%}' for a share of the run"
                )
        if number < 0:
            raise ValueError(f"{what}={length!r} is negative; a length is 0 or more")
        if unit == "%":
            return number / 100.0 * whole
        if unit == "epochs":
            return number * self._known("steps_per_epoch", length, what, "optimizer steps in an epoch")
        if unit == "tokens":
            return number / self._known("tokens_per_step", length, what, "tokens in an optimizer step")
        if unit == "" and number < 1.0:
            return number * whole
        return number

    def _known(self, name: str, length: Length, what: str, meaning: str) -> float:
        known: float | None = getattr(self, name)
        if known is None:
            raise ValueError(
                f"{what}={length!r} cannot be converted here: give {name} ({meaning}) beside it, "
                "or write the length in steps or as a share of the run"
            )
        return known

    def warmup(self, warmup: Length | None) -> float:
        """Warm-up in steps; `None` is the default of `default_warmup`."""
        return default_warmup(self) if warmup is None else self.steps_of(warmup, "warmup")

    def fit(self, **lengths: float) -> float:
        """What `lengths` (name = steps) leave of the run.

        Raises:
            ValueError: where they take more than there is, with the numbers.
        """
        left = self - math.fsum(lengths.values())
        if left < -_NEARLY:
            parts = [f"{name} ({steps:.10g})" for name, steps in lengths.items() if steps]
            listed = " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
            raise ValueError(
                f"{listed} take {math.fsum(lengths.values()):.10g} steps, but the run has only {int(self)}; "
                "shorten one of them or train for longer"
            )
        return max(left, 0.0)


def default_warmup(steps: int) -> float:
    """Steps of warm-up where none is asked for: ``min(max(5 %, 100), 10 %, 2000)``.

    The guide's rule is 1 to 5 %, at least 100 steps. 100 steps of a 200-step run would be harm, and 5 % of a million too
    many: shipped pre-training recipes warm up for 1,000 to 8,000 steps and most for 2,000. Less than one step is none.

    >>> [default_warmup(steps) for steps in (200, 1000, 10_000, 1_000_000)]
    [20.0, 100.0, 500.0, 2000.0]
    """
    warmup = min(max(0.05 * steps, 100.0), 0.10 * steps, 2000.0)
    return warmup if warmup >= 1.0 else 0.0


def _read(length: str, what: str) -> tuple[float, str]:
    """The number and its unit: ``""``, or a value of `_UNITS`."""
    match = _WRITTEN.fullmatch(length)
    scale, unit = _scale_and_unit(*match.groups()[1:]) if match else ("?", "")
    if match is None or scale not in ("", *_SCALE) or unit.lower() not in ("", *_UNITS):
        raise ValueError(
            f"{what}={length!r} is not a length; write steps (500), a share (0.05 or '5%'), '2 epochs' or '1.5B tokens'"
        )
    number = float(match.group(1)) * _SCALE.get(scale, 1.0)
    if not math.isfinite(number):
        raise ValueError(f"{what}={length!r} must be finite")
    bare = not unit and not scale and re.search(r"[.eE]", match.group(1))
    if bare and 1.0 <= number < 2.0:
        raise ValueError(
            f"{what}={length!r} is ambiguous: write '{int(number)} steps' for steps, '{number:.0%}' for a share of the run"
        )
    return number, _UNITS[unit.lower()] if unit else ""


def _scale_and_unit(first: str, second: str) -> tuple[str, str]:
    """The words behind the number: ``B tokens`` and ``Btokens`` are a scale and a unit, ``Tokens`` is a unit."""
    if second:
        return first, second
    if first.lower() in _UNITS:
        return "", first
    return first[:1], first[1:]


def _shown(length: Length, steps: float) -> str:
    return f"{length!r}, {steps:.10g} steps" if isinstance(length, str) else f"{steps:.10g} steps"
