"""An entry of the catalogue: its builder, and the words in which people may ask for it.

`named` puts a builder into `CATALOGUE`. `build` looks a name up and translates the arguments of Transformers and torch
into the catalogue's own; an unknown one is refused with those that are accepted.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from ..lengths import UNITS, Horizon
from ..phase import Phase
from ..schedule import Schedule

Builder = Callable[..., Schedule]
Arguments = dict[str, Any]


@dataclass(frozen=True)
class Entry:
    """One named schedule.

    Args:
        name: what a user types.
        builder: ``builder(steps, *, ...) -> Schedule``; it is given a `Horizon`, which is an `int`.
        summary: one line for lists.
        source: where the schedule and its defaults come from.
        aliases: other libraries' words for its arguments.
        adapt: rewrites what was typed where that is more than one word for another.
        registered: whether Transformers is given the name; `why_not` says why where it is not.
        warmup: the argument that TrainingArguments' ``warmup_steps`` means, if any.
        default_warmup: whether it warms up where nobody asked for it (`lengths.default_warmup`).
        jumps: whether its phases are meant not to meet (a drop, a restart).
    """

    name: str
    builder: Builder
    summary: str
    source: str = ""
    aliases: Mapping[str, str] = field(default_factory=dict)
    adapt: Callable[[Arguments], Arguments] | None = None
    registered: bool = True
    why_not: str = ""
    warmup: str | None = "warmup"
    default_warmup: bool = False
    jumps: bool = False

    @property
    def arguments(self) -> tuple[str, ...]:
        """The catalogue's own words for what the builder takes, apart from the number of steps."""
        parameters = [*inspect.signature(self.builder).parameters.values()][1:]
        return tuple(parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_KEYWORD)

    @property
    def needed(self) -> tuple[str, ...]:
        """Those of the arguments that have no default."""
        parameters = inspect.signature(self.builder).parameters
        return tuple(name for name in self.arguments if parameters[name].default is inspect.Parameter.empty)

    @property
    def takes_anything(self) -> bool:
        """Whether the builder takes arguments it does not name."""
        return any(p.kind is p.VAR_KEYWORD for p in inspect.signature(self.builder).parameters.values())

    def meaning(self, word: str) -> str:
        """The catalogue's own word for `word`; an unknown one as it is."""
        if word in self.arguments:
            return word
        return self.aliases.get(word, _COMMON_ALIASES.get(word, word))

    def translate(self, typed: Mapping[str, Any]) -> Arguments:
        """`typed` in the catalogue's words; what is None counts as not typed.

        Raises:
            ValueError: for an unknown word, with the accepted ones and the nearest; for two words of one meaning.
        """
        translated: Arguments = {}
        spelled: dict[str, str] = {}
        given = {word: value for word, value in typed.items() if value is not None}
        for word, value in (self.adapt(given) if self.adapt else given).items():
            name = self.meaning(word)
            if name not in self.arguments and not self.takes_anything:
                raise ValueError(self._unknown(word))
            if name in translated:
                raise ValueError(f"{self.name}: '{spelled[name]}' and '{word}' mean the same; give one of them")
            translated[name], spelled[name] = value, word
        return translated

    def _unknown(self, word: str) -> str:
        if word in ("max_lr", "learning_rate", "lr"):
            return f"{self.name}: '{word}' is the peak, which is the optimizer's own learning rate (learning_rate=...)"
        accepted = [*self.arguments, *UNITS]
        aliases = {**_COMMON_ALIASES, **self.aliases}
        spellings = [*accepted, *(alias for alias, name in aliases.items() if name in self.arguments)]
        near = get_close_matches(word, spellings, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        return f"{self.name} does not know '{word}'{hint} (accepted: {', '.join(accepted)})"


_COMMON_ALIASES = {
    "num_warmup_steps": "warmup",
    "warmup_steps": "warmup",
    "warmup_ratio": "warmup",
    "warmup_type": "warmup_shape",
    "min_lr_rate": "min_lr_ratio",
    "eta_min": "min_lr",
    "lr_end": "min_lr",
}

CATALOGUE: dict[str, Entry] = {}
"""Every named schedule. A new one is tested by being listed here."""


def named(name: str, **about: Any) -> Callable[[Builder], Builder]:
    """Puts the decorated builder into `CATALOGUE`; what it returns then carries its name and fills the run."""

    def put(builder: Builder) -> Builder:
        entry = Entry(name, check(name, builder), **about)
        CATALOGUE[name] = entry
        return entry.builder

    return put


def check(name: str, builder: Builder) -> Builder:
    """`builder`, held to what a named schedule is: a `Schedule`, which it returns under its name."""

    @functools.wraps(builder)
    def built(steps: int, *args: Any, **kwargs: Any) -> Schedule:
        run = Horizon.of(steps)
        schedule = builder(run, *args, **kwargs)
        if isinstance(schedule, Phase):
            schedule = Schedule((schedule,))
        if not isinstance(schedule, Schedule):
            raise TypeError(f"the builder of '{name}' returned {type(schedule).__name__}, not a Schedule")
        if schedule.total != run:
            raise ValueError(
                f"the builder of '{name}' made a schedule of {schedule.total:.10g} steps for a run of {int(run)}; "
                "its phases' lengths must add up to the steps it is given"
            )
        return schedule.named(name)

    return built


def find(name: str) -> Entry:
    """The entry called `name`.

    Raises:
        ValueError: where there is none, with the nearest and all that exist.
    """
    if name not in CATALOGUE:
        near = get_close_matches(str(name), CATALOGUE, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise ValueError(f"unknown schedule {name!r}{hint} (known: {', '.join(CATALOGUE)})")
    return CATALOGUE[name]


def build(name: str, steps: int, **kwargs: Any) -> Schedule:
    """The named schedule for a run of `steps` optimizer steps.

    Args:
        name: a name in `CATALOGUE`.
        steps: optimizer steps in the run, or a `Horizon` that also knows epochs and tokens.
        kwargs: the schedule's arguments in the catalogue's words, or in Transformers' and torch's
            (``num_decay_steps``, ``pct_start``, ...); also ``steps_per_epoch`` or ``epochs`` (of the whole run), and
            ``tokens_per_step``, for lengths in those units.

    >>> build("wsd", 1000, warmup="5%", num_decay_steps=200).phase(900).name
    'decay'
    >>> build("wsdd", 1000)
    Traceback (most recent call last):
    ValueError: unknown schedule 'wsdd'; did you mean 'wsd'? (known: constant, step_decay, ...

    Raises:
        ValueError: for an unknown name or argument, or lengths that do not fit, with the numbers.
    """
    entry = find(name)
    run, rest = Horizon.of(steps).told({word: _unquoted(value) for word, value in kwargs.items()})
    arguments = entry.translate(rest)
    missing = [name for name in entry.needed if name not in arguments]
    if missing:
        raise ValueError(f"{name} needs {', '.join(map(repr, missing))}")
    return entry.builder(run, **arguments)


_YAML_STRING = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")


def _unquoted(value: Any) -> Any:
    """`value` as the number it was meant to be: YAML reads ``1e-6``, without a dot, as a string."""
    if isinstance(value, str) and _YAML_STRING.fullmatch(value):
        return float(value)
    if isinstance(value, Mapping):
        return {key: _unquoted(part) for key, part in value.items()}
    return [_unquoted(part) for part in value] if isinstance(value, list) else value
