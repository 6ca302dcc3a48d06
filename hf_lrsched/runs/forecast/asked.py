"""What a law is asked for, as people type it: schedules by name, lengths of cooldowns, runs.

What it does not know: laws.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...schedules.catalogue import CATALOGUE, build
from ...schedules.checks import whole
from ...schedules.lengths import Horizon, Length
from ...schedules.schedule import Schedule
from ..history import History

Run = History | str | os.PathLike[str]

_DECAY = 0.2  # of the whole run, as `wsd` and CooldownCallback have it
_OPEN = 10**9  # a horizon for lengths that no run's end bounds
_LEFT = ("trainer_state.json", "lr_history.jsonl")  # files that lie in a run's folder under one name
_WARMUP = ("warmup", "num_warmup_steps", "warmup_steps", "warmup_ratio")
# As Transformers has them, by what they are in the catalogue.
THEIRS: dict[str, tuple[str, dict[str, Any]]] = {
    "linear": ("rex", {"alpha": 0.0}),
    "cosine": ("warmup_cosine", {"min_lr_ratio": 0.0}),
    "constant_with_warmup": ("constant", {}),
}


def scheduled(what: Schedule | str, steps: int | None, arguments: dict[str, Any], warmup: float | None) -> Schedule:
    """The schedule that was asked for.

    Args:
        what: a schedule, or a name of the catalogue, or one of `THEIRS`.
        steps: the length of one by name.
        arguments: of one by name.
        warmup: steps of warm-up for one by name that says nothing of it; None: as the catalogue has it.

    >>> scheduled("wsd", 1000, {}, 30.0)
    Schedule(warmup 30: 0 -> 1 linear, stable 770: 1, decay 200: 1 -> 0 1-sqrt)
    >>> scheduled("cosine", 1000, {}, 30.0)
    Schedule(warmup 30: 0 -> 1 linear, decay 970: 1 -> 0 cosine)

    Raises:
        ValueError: for an unknown name or argument, and a name without `steps`.
    """
    if isinstance(what, Schedule):
        if arguments:
            raise ValueError(f"{', '.join(arguments)}: arguments go with a schedule's name, and a Schedule was given")
        return what
    if not isinstance(what, str):
        raise ValueError(f"{type(what).__name__} is neither a schedule, such as wsd(1000), nor the name of one")
    if steps is None:
        raise ValueError(f"{what!r} is a name, and a name needs steps=, the length of the run")
    length = whole("steps", steps)
    name, own = THEIRS.get(what, (what, {}))
    entry = CATALOGUE.get(name)
    said = {entry.aliases.get(word, word) for word in arguments} if entry else set()
    warms_up = entry is not None and (entry.default_warmup or what in THEIRS)
    if warms_up and warmup is not None and not said & set(_WARMUP):
        own = {**own, "warmup": min(round(warmup), length // 2)}
    made = build(name, length, **{**own, **arguments})
    return made.named(what) if what in THEIRS else made


def cooldown_steps(steps: Length | None, done: int) -> int:
    """How long a cooldown is that starts after `done` steps: steps, or a share of the whole run as it will have been.

    >>> cooldown_steps(None, 800), cooldown_steps("10%", 900), cooldown_steps(50, 800)
    (200, 100, 50)

    Raises:
        ValueError: for a share that is not between 0 and 1, and less than a step.
    """
    asked = _DECAY if steps is None else steps
    share = asked if isinstance(asked, float) and 0 < asked < 1 else None
    if isinstance(asked, str) and asked.strip().endswith("%"):
        share = Horizon(_OPEN).steps_of(asked, "steps", of=1.0)
    if share is not None:
        if not 0 < share < 1:
            raise ValueError(f"steps={steps!r}: a share of the run must lie between 0 and 1")
        return max(round(done * share / (1 - share)), 1)
    length = round(Horizon(_OPEN).steps_of(asked, "steps"))
    if length < 1:
        raise ValueError(f"steps={steps!r}: a cooldown takes 1 step or more")
    return length


def names_of(runs: Sequence[Run]) -> list[str]:
    """What each run is called in a message: as it was typed, or by its folder.

    >>> from hf_lrsched import History
    >>> names_of(["runs/wsd", History.of([{"step": 1, "loss": 1.0}], source="runs/cosine/trainer_state.json")])
    ['runs/wsd', 'cosine']
    """
    return [_name(run, i) for i, run in enumerate(runs, start=1)]


def _name(run: Run, place: int) -> str:
    if not isinstance(run, History):
        return os.fspath(run)
    file = Path(run.source)
    return (file.parent.name if file.name in _LEFT else file.name) or f"run {place}"
