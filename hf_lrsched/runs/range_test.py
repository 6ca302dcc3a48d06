"""What a learning-rate range test has found: `RangeTest`, and the file it lies in.

What it does not know: how the points were taken (`training.sweep`) and how it looks (`show.range_test`).
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..schedules.checks import real
from .history import as_float
from .probing import TOLERANCE, Probe, have_learned, peak_of, seen_from_both_sides, start_of
from .ramp import CLEAR, WIDTH, Floats, Landmarks, Trace, landmarks, points_per_decade
from .refusal import Refusal, refusal_of

Confidence = Literal["high", "medium", "low"]

_SIGNS = 5.0  # standard errors that the fall of a ramp alone must be above: 4 in 1000 ramps of pure noise are
_USUAL, _ALONE = 2.0, 2.5  # half widths of an interval as factors: with two readings beyond both, and of one (scripts/LOG.md)
_LONG_ENOUGH = 16  # steps of a probe: bench_range_test has 20, the demo recipes 16; shorter ones favour high learning rates
_NEAR, _FAR = 2.0, 4.0  # factors between ramp and probes, within which they agree, and beyond which they do not


@dataclass(frozen=True, eq=False, repr=False)
class RangeTest:
    """A range test: its points, and what they say.

    Everything that is read from the points can be read again with other settings (`reread`), also from a file.

    Args:
        ramp: the ramp's points.
        probes: the short runs.
        schedule: what the suggestion is for: the schedule's name,
        steps: and the run's optimizer steps.
        learning_rate: what the Trainer was configured with.
        unit: the learning rate of the parameter group that suggestions are given for; other groups keep their ratio to it.
        highest: the schedule's highest learning rate over the one that is set: 1, but for schedulers such as torch's
            OneCycleLR, whose peak is not the optimizer's learning rate.
        width: of the smoothing, in decades.
        tolerance: of the whole fall: what a short run may lack of the best one and still be as good.

    >>> rates = np.geomspace(1e-7, 1, 100)
    >>> losses = 4 - 1.5 / (1 + (1e-3 / rates) ** 1.3) + (rates / 0.02) ** 2
    >>> result = RangeTest(Trace(rates, losses, losses, rates), (), "wsd", 1000, 1e-3, 1e-3)
    >>> print(result)
    learning_rate 0.0021 (0.00082 to 0.0051), confidence low; wsd over 1000 steps
    >>> result.lr_low < result.lr_steepest < result.lr < result.lr_max
    True
    """

    ramp: Trace
    probes: tuple[Probe, ...]
    schedule: str
    steps: int
    learning_rate: float
    unit: float
    highest: float = 1.0
    width: float = WIDTH
    tolerance: float = TOLERANCE

    def __post_init__(self) -> None:
        real("width", self.width, above=0)
        real("tolerance", self.tolerance, least=0, below=1)
        real("highest", self.highest, above=0)
        rates, columns = self.ramp.lr, (self.ramp.loss, self.ramp.grad_norm, self.ramp.update_ratio)
        if any(len(column) != len(rates) for column in columns):
            raise ValueError(f"a ramp of {len(rates)} learning rates needs as many losses, norms and update ratios")
        if not (np.isfinite(rates).all() and (rates > 0).all() and (np.diff(rates) > 0).all()):
            raise ValueError("the learning rates of a ramp must be above 0 and rise")

    @cached_property
    def landmarks(self) -> Landmarks:
        """Where on the ramp something happens."""
        return landmarks(self.ramp, self.width)

    @property
    def points_per_decade(self) -> float:
        """How dense the ramp's points lie."""
        return points_per_decade(self.ramp)

    @property
    def readable(self) -> bool:
        """Whether the ramp's fall stands out of the noise; where it does not, the probes alone decide."""
        return self.landmarks.clarity >= _SIGNS

    @property
    def lr_low(self) -> float | None:
        """Where the loss begins to fall; None where the fall does not stand out of the noise."""
        return self.landmarks.low if self.readable else None

    @property
    def lr_steepest(self) -> float | None:
        """Where it falls fastest: stable, and often 2 to 5 times below the best peak (laws.md, 6D); None as for `lr_low`."""
        return self.landmarks.steepest if self.readable else None

    @property
    def lr_max(self) -> float | None:
        """Where training turns unstable; None where it did not within the range."""
        return self.landmarks.high

    @cached_property
    def readings(self) -> tuple[float, ...]:
        """What ramp and probes say, each by itself: the ramp only where its fall is clear of the noise."""
        marks = self.landmarks
        start = start_of(self.probes, self.ramp, marks)
        learned = have_learned(self.probes, start, marks.sigma)
        probed = peak_of(self.probes, start, self.tolerance) if learned else None
        ramped = marks.knee if marks.clarity >= CLEAR or (probed is None and self.readable) else None
        return tuple(one for one in (ramped, probed) if one is not None)

    @cached_property
    def refusal(self) -> Refusal | None:
        """Why there is no suggestion; None where there is one."""
        return refusal_of(self)

    @property
    def lr(self) -> float | None:
        """The learning rate to set for this schedule and length; None where `refusal` says why not.

        It lies between what ramp and probes say, and has two digits: more would be noise.
        """
        return None if self.refusal else float(f"{10 ** np.mean(np.log10(self.readings)) / self.highest:.2g}")

    @property
    def interval(self) -> tuple[float, float] | None:
        """Between which the best one is expected; wider where ramp and probes differ, and where there are no probes."""
        if self.refusal:
            return None
        factor = _USUAL if len(self.readings) > 1 else _ALONE
        return min(self.readings) / factor / self.highest, max(self.readings) * factor / self.highest

    @property
    def confidence(self) -> Confidence | None:
        """How far to trust it.

        ``"high"``: ramp and probes agree within a factor of 2, and the probes had 16 steps or more, as in what was measured.
        ``"medium"``: within 4, or the ramp was too noisy to be read and the probes saw the best from both sides. ``"low"``:
        anything else, a ramp without probes among it.
        """
        if self.refusal:
            return None
        if len(self.readings) > 1:
            apart = max(self.readings) / min(self.readings)
            near = apart <= _NEAR and self.probes[0].steps >= _LONG_ENOUGH
            return "high" if near else "medium" if apart <= _FAR else "low"
        return "medium" if seen_from_both_sides(self.probes) else "low"

    @property
    def cost(self) -> tuple[int, int]:
        """Optimizer steps that ramp and probes have taken."""
        return len(self.ramp) + self.ramp.skipped, sum(len(probe.loss) for probe in self.probes)

    def reread(self, *, width: float | None = None, tolerance: float | None = None) -> RangeTest:
        """The same points, read with other settings.

        >>> RangeTest.of(example).reread(tolerance=0.1)  # doctest: +SKIP
        """
        return replace(
            self,
            width=self.width if width is None else width,
            tolerance=self.tolerance if tolerance is None else tolerance,
        )

    def __repr__(self) -> str:
        return f"RangeTest({self})"

    def __str__(self) -> str:
        run = f"{self.schedule} over {self.steps} steps"
        if self.refusal or self.lr is None or self.interval is None:
            return f"no learning rate ({run}): {self.refusal.sentence if self.refusal else ''}"
        low, high = self.interval
        return f"learning_rate {self.lr:.2g} ({low:.2g} to {high:.2g}), confidence {self.confidence}; {run}"

    # Files

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain JSON types; what was read is in it for people and other programs."""
        return {
            "hf_lrsched_range_test": 1,
            "lr": self.lr,
            "interval": self.interval,
            "confidence": self.confidence,
            "refusal": None if self.refusal is None else vars(self.refusal),
            "lr_low": self.lr_low,
            "lr_steepest": self.lr_steepest,
            "lr_max": self.lr_max,
            "schedule": self.schedule,
            "steps": self.steps,
            "learning_rate": self.learning_rate,
            "unit": self.unit,
            "highest": self.highest,
            "width": self.width,
            "tolerance": self.tolerance,
            "ramp": {
                **{name: [_word(value) for value in getattr(self.ramp, name).tolist()] for name in _COLUMNS},
                "skipped": self.ramp.skipped,
                "stopped": self.ramp.stopped,
            },
            "probes": [
                {"lr": one.lr, "seed": one.seed, "steps": one.steps, "loss": [_word(value) for value in one.loss.tolist()]}
                for one in self.probes
            ],
        }

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> RangeTest:
        """The range test that `to_dict` made `data` of; everything is read again from its points.

        Raises:
            ValueError: where it is something else.
        """
        try:
            if data["hf_lrsched_range_test"] != 1:
                raise ValueError(f"version {data['hf_lrsched_range_test']}, of which this release knows nothing")
            ramp = data["ramp"]
            probes = tuple(
                Probe(float(one["lr"]), int(one["seed"]), _array(one["loss"]), int(one["steps"])) for one in data["probes"]
            )
            return cls(
                Trace(
                    **{name: _array(ramp[name]) for name in _COLUMNS},
                    skipped=int(ramp["skipped"]),
                    stopped=bool(ramp["stopped"]),
                ),
                probes,
                str(data["schedule"]),
                int(data["steps"]),
                float(data["learning_rate"]),
                float(data["unit"]),
                float(data["highest"]),
                float(data["width"]),
                float(data["tolerance"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"this is no range test of hf_lrsched ({type(error).__name__}: {error})") from error

    def save(self, file: str | os.PathLike[str]) -> Path:
        """Writes it as JSON, beside and then moved into place."""
        path = Path(file)
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        beside.write_text(json.dumps(self.to_dict(), indent=1) + "\n", "utf-8")
        os.replace(beside, path)
        return path

    @classmethod
    def load(cls, file: str | os.PathLike[str]) -> RangeTest:
        """The range test in a file that `save` wrote.

        Raises:
            FileNotFoundError: where there is no such file.
            ValueError: where it holds something else.
        """
        path = Path(file)
        if not path.is_file():
            raise FileNotFoundError(f"there is no file {path}")
        try:
            data = json.loads(path.read_text("utf-8"))
        except ValueError as error:
            raise ValueError(f"{path} is not JSON: {error}") from error
        try:
            return cls.of(data)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


_COLUMNS = ("lr", "loss", "grad_norm", "update_ratio")


def _array(values: list[Any]) -> Floats:
    return np.array([as_float(value) for value in values], dtype=np.float64)


def _word(value: float) -> float | str:
    """JSON has no NaN and no infinity, which are written as words."""
    return value if math.isfinite(value) else str(value)
