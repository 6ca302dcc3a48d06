"""What a run did, step by step: `History`.

What it does not know: how the points were taken (`training.recorder`) and in which files they lie (`reading`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ..schedules.schedule import Schedule

Floats = npt.NDArray[np.float64]

QUANTITIES = ("loss", "lr", "grad_norm", "momentum", "tokens", "eval_loss")

NO_STEP = 10**15  # no run takes so many

# What others call it; the first that a line holds counts. trainer_state.json has learning_rate, older ones lr.
WORDS = {
    "step": ("step", "global_step", "steps", "train/global_step", "_step", "iteration", "iter"),
    "loss": ("loss", "train_loss", "train/loss", "training_loss", "training/loss"),
    "lr": ("learning_rate", "lr", "train/learning_rate", "train/lr", "lr-group0", "lr/group_0"),
    "grad_norm": ("grad_norm", "train/grad_norm", "gradient_norm", "gnorm"),
    "momentum": ("momentum", "train/momentum"),
    "tokens": ("tokens", "num_input_tokens_seen", "train/num_input_tokens_seen", "total_tokens"),
    "eval_loss": ("eval_loss", "eval/loss", "val_loss", "valid_loss", "validation_loss", "val/loss"),
    "epoch": ("epoch", "train/epoch"),
}


@dataclass(frozen=True)
class Event:
    """Something that happened at a step: ``"resume"``, ``"cooldown"``, ``"checkpoint"``, or what `LRWatch` has noted:
    ``"finding"``, ``"stop"``, ``"saved"``, ``"no checkpoint"`` or ``"rescue"``.
    """

    step: int
    kind: str
    text: str = ""


@dataclass(frozen=True)
class History:
    """The points of a run.

    Args:
        step: optimizer steps, rising, shape (n,). Step 1 is the first update, as Trainer counts.
        loss: training loss at each, NaN where it is not known, +inf and NaN as they came.
        lr: learning rate of every group at each, shape (n, groups).
        grad_norm, momentum, tokens: at each, NaN where not known; the norm is the one before clipping.
        skipped: whether the update moved no weights.
        phase: the phase's name at each, "" where it is not known.
        eval_step, eval_loss: evaluations, shape (m,).
        groups: the parameter groups' names.
        events: what happened, by step.
        schedule: what the run was to follow, where the source says.
        peak: the LR that multiplier 1 stands for, for each group; empty where the source does not say.
        logged: whether a loss was logged at each; where not, it is NaN as well. By default one was, at every step.
        averaged: steps over which each loss is a mean: 1 for the recorder's, ``logging_steps`` for a Trainer's log.
        arguments: the run's settings in Trainer's words, where the source says.
        total: steps that the run was to take, 0 where the source does not say.
        facts: of model and optimizer, where the source says: ``optimizer``, ``untrained``, ``trainable``, ``adapters``,
            ``processes``, ``vocabulary``, ``labels``.
        began: groups, peak, schedule, arguments and total of its beginning, where the run was resumed since and these are
            of the last resume.
        source: the file.
        missing: what the source does not hold, by name.
        unreadable: what of it could not be read, in sentences.
    """

    step: npt.NDArray[np.int64]
    loss: Floats
    lr: Floats
    grad_norm: Floats
    momentum: Floats
    tokens: Floats
    skipped: npt.NDArray[np.bool_]
    phase: Sequence[str]
    eval_step: npt.NDArray[np.int64]
    eval_loss: Floats
    groups: tuple[str, ...] = ()
    events: tuple[Event, ...] = ()
    schedule: Schedule | None = None
    peak: tuple[float, ...] = ()
    averaged: int = 1
    logged: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=np.bool_))
    arguments: Mapping[str, Any] = field(default_factory=dict)
    total: int = 0
    facts: Mapping[str, Any] = field(default_factory=dict)
    began: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""
    missing: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.logged) != len(self.step):  # made by hand: every step has a loss
            object.__setattr__(self, "logged", np.ones(len(self.step), dtype=np.bool_))

    def __len__(self) -> int:
        return len(self.step)

    @classmethod
    def of(cls, lines: Iterable[Mapping[str, Any]], **about: Any) -> History:
        """A history of dicts, such as a Trainer's ``state.log_history``.

        >>> log = [{"step": 1, "loss": 2.5, "lr": 1e-3}, {"step": 2, "loss": 2.0}, {"step": 2, "eval_loss": 2.1}]
        >>> history = History.of(log)
        >>> history.step, history.loss, history.eval_loss, history.missing
        (array([1, 2]), array([2.5, 2. ]), array([2.1]), ('grad_norm', 'momentum', 'tokens'))
        """
        points: dict[int, dict[str, Any]] = {}
        evaluations: dict[int, float] = {}
        events: list[Event] = list(about.pop("events", ()))
        odd = 0
        for line in lines:
            found = {name: _first(line, words) for name, words in WORDS.items()}
            step = as_float(found["step"])
            # Trainer's last line has the run's mean as train_loss. Where tokens are counted, every line has train_runtime.
            if math.isnan(step) or ("train_runtime" in line and not {"loss", "eval_loss"} & set(line)):
                continue
            if not 0 <= step < NO_STEP:
                odd += 1
                continue
            at = int(step)
            if found["eval_loss"] is not None:
                evaluations[at] = as_float(found["eval_loss"])
            if "cooldown" in line:
                events.append(Event(at, "cooldown", str(line["cooldown"])))
            point = {name: found[name] for name in _POINT if _is_number(found[name])}
            for extra in ("skipped", "phase", "lrs"):
                if line.get(extra) is not None:
                    point[extra] = line[extra]
            if {"loss", "lr", "lrs", "grad_norm"} & set(point):
                points.setdefault(at, {}).update(point)
        if odd:
            told = f"{odd} line{'s' * (odd > 1)} with a step below 0 or above {NO_STEP:.0e}"
            about["unreadable"] = (*about.get("unreadable", ()), told)
        return cls.of_points(points, evaluations, events, about)

    @classmethod
    def of_points(
        cls, points: dict[int, dict[str, Any]], evaluations: dict[int, float], events: list[Event], about: dict[str, Any]
    ) -> History:
        """A history of points and held-out losses by step; `about` are the other fields of the class."""
        steps, held_out = sorted(points), sorted(evaluations)
        rows = [points[step] for step in steps]
        lrs = [row.get("lrs") or ([row["lr"]] if "lr" in row else []) for row in rows]
        groups = max(map(len, lrs), default=1) or 1
        lr = np.full((len(rows), groups), np.nan)
        for i, values in enumerate(lrs):
            # One value stands for all groups: they are written so where they are equal.
            numbers = [as_float(value) for value in values] or [np.nan]
            lr[i] = numbers if len(numbers) == groups else numbers[0]
        columns: dict[str, Any] = {
            name: np.array([as_float(row.get(name)) for row in rows], dtype=np.float64)
            for name in ("loss", "grad_norm", "momentum", "tokens")
        }
        there = {name for name in columns if any(name in row for row in rows)}
        there |= {"lr"} if any(lrs) else set()
        there |= {"eval_loss"} if evaluations else set()
        return cls(
            step=np.array(steps, dtype=np.int64),
            lr=lr,
            logged=np.array(["loss" in row for row in rows], dtype=np.bool_),
            skipped=np.array([bool(row.get("skipped")) for row in rows], dtype=np.bool_),
            phase=[str(row.get("phase", "")) for row in rows],
            eval_step=np.array(held_out, dtype=np.int64),
            eval_loss=np.array([evaluations[step] for step in held_out], dtype=np.float64),
            events=tuple(sorted(events, key=lambda event: event.step)),
            missing=tuple(name for name in QUANTITIES if name not in there),
            **columns,
            **about,
        )


_POINT = ("loss", "lr", "grad_norm", "momentum", "tokens")
_NOT_A_NUMBER = ("nan", "-nan", "+nan", "null", "none")  # words that stand for one


def _is_number(value: Any) -> bool:
    """Whether `value` is a number, NaN and infinity among them; a word is none."""
    return value is not None and (not math.isnan(as_float(value)) or isinstance(value, float) or _says_nan(value))


def _says_nan(value: Any) -> bool:
    return isinstance(value, str) and value.strip().lower() in _NOT_A_NUMBER


def _first(line: Mapping[str, Any], words: Iterable[str]) -> Any:
    return next((line[word] for word in words if line.get(word) not in (None, "")), None)


def as_float(value: Any) -> float:
    """`value` as a float; NaN for what is none. JSON has no NaN, so some write it as a string."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan
