"""Transformers' own schedules over a run, and what it would refuse or pass over in silence."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

import numpy as np
import torch
from transformers import SchedulerType, get_scheduler
from transformers.optimization import TYPE_TO_SCHEDULER_FUNCTION

from ..advice.lint.configuration import WITHOUT_WARMUP
from ..advice.lint.rules.arguments import DROPS_KWARGS, FOLLOWS_THE_LOSS
from ..schedules.schedule import Schedule
from .typed import Problem

_QUARTERS = (0.25, 0.5, 0.75)  # of the run: shown for schedules that have no phases of their own


@dataclass(frozen=True)
class Curve:
    """A schedule over a run, ours or Transformers'.

    Args:
        at: learning rates at steps; None where the loss decides.
        key: the steps to show, each with its phase.
    """

    at: Callable[[Sequence[int]], list[float]] | None
    warmup: float
    warmup_from: str
    phases: tuple[tuple[str, float], ...]
    key: list[tuple[int, str]]
    schedule: Schedule | None = None


def check_theirs(name: str, kwargs: Mapping[str, Any], args: Any, steps: int, warmup: int, problems: list[Problem]) -> None:
    """What Transformers would refuse in words of its own, or pass over in silence."""

    def add(kind: Literal["error", "warning"], word: str, sentence: str) -> None:
        problems.append(Problem(kind, word, sentence))

    if name in FOLLOWS_THE_LOSS and str(getattr(args.eval_strategy, "value", args.eval_strategy)) == "no":
        add(
            "error", "eval_strategy", f"{name} follows the held-out loss, but eval_strategy is 'no'; set it to steps or epoch"
        )
    if name in WITHOUT_WARMUP and warmup:
        instead = "constant_with_warmup" if name == "constant" else "warmup_cosine or another schedule"
        add("warning", "warmup_ignored", f"warmup_steps={args.warmup_steps:g} does nothing under {name}; use {instead}")
    if name in DROPS_KWARGS and kwargs:
        dropped = f"Transformers drops lr_scheduler_kwargs ({', '.join(kwargs)}) under {name}"
        add("warning", "kwargs_dropped", f"{dropped}; remove them, or choose a schedule that takes them")
    elif wrong := _refused_words(name, kwargs):
        add("error", "kwargs", wrong)
    elif name == "warmup_stable_decay":
        _check_their_wsd(kwargs, steps, warmup, add)


def _refused_words(name: str, kwargs: Mapping[str, Any]) -> str:
    """Why Transformers' function does not take these words; empty where it does."""
    theirs = ("optimizer", "num_warmup_steps", "num_training_steps", "last_epoch")
    for word in ("num_warmup_steps", "num_training_steps"):
        if word in kwargs:
            own = (
                "the warm-up is given twice: Trainer passes warmup_steps on as" if "warm" in word else "Trainer itself gives"
            )
            return f"{own} {word}, so {name} would get it twice; remove {word} from lr_scheduler_kwargs"
    function: Any = TYPE_TO_SCHEDULER_FUNCTION[SchedulerType(name)]
    parameters = inspect.signature(function).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return ""  # passed on to a class that is made, and refuses what it does not know
    accepted = [word for word in parameters if word not in theirs]
    for word in kwargs:
        if word not in (*accepted, "last_epoch"):
            near = get_close_matches(word, accepted, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            return f"{name} does not take {word!r} in lr_scheduler_kwargs{hint} (accepted: {', '.join(accepted) or 'none'})"
    missing = [word for word in accepted if parameters[word].default is inspect.Parameter.empty and word not in kwargs]
    return f"{name} needs {', '.join(missing)} in lr_scheduler_kwargs, in steps" if missing else ""


def _check_their_wsd(kwargs: Mapping[str, Any], steps: int, warmup: int, add: Callable[..., None]) -> None:
    """Lengths that do not fit, which Transformers passes over (schedules.md section 4, defects 2 and 3; recipes.md LR019)."""
    decay, stable = kwargs["num_decay_steps"], kwargs.get("num_stable_steps")
    if 0 < decay < 1:
        right = f"write {round(decay * steps)}, or use wsd with decay: {decay:g}"
        add("error", "decay", f"num_decay_steps={decay:g} is less than a step: Transformers takes steps, not shares; {right}")
    elif warmup + (stable or 0) + decay > steps:
        parts = (
            f"warmup ({warmup}), stable ({stable}) and decay ({decay:g})"
            if stable
            else f"warmup ({warmup}) and decay ({decay:g})"
        )
        total = f"{parts} take {warmup + (stable or 0) + decay:g} steps, but the run has only {steps}"
        add("error", "lengths", f"{total}; shorten one of them or train for longer")
    elif stable is not None and warmup + stable + decay < steps:
        rest = f"warmup ({warmup}), stable ({stable}) and decay ({decay:g}) take {warmup + stable + decay:g} of {steps} steps"
        add("warning", "lengths", f"{rest}, and the rest runs at the lowest learning rate; remove num_stable_steps")


def theirs(name: str, kwargs: dict[str, Any], rate: float, steps: int, warmup: int) -> Curve:
    """The schedule that Transformers makes, evaluated at single steps."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=rate)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that num_stable_steps wins over the total: it is looked at above
        made: Any = get_scheduler(name, optimizer, warmup, steps, kwargs)
    if name in FOLLOWS_THE_LOSS:
        return Curve(None, 0, "", (("the held-out loss decides", steps),), [])
    warmup = 0 if name in WITHOUT_WARMUP else warmup
    phases = _their_phases(name, kwargs, steps, warmup)
    ends = np.cumsum([length for _, length in phases])
    starts = [math.ceil(end) for end in ends[:-1]] if len(phases) <= 4 else [warmup]  # not those of every cycle
    chosen = sorted({step for step in (*starts, *(round(steps * share) for share in _QUARTERS)) if 0 < step < steps - 1})
    key = [(step, phases[min(int(np.searchsorted(ends, step, "right")), len(phases) - 1)][0]) for step in [0, *chosen]]
    [curve] = made.lr_lambdas
    curve(steps)  # as Trainer does behind the last step: polynomial divides by zero there if it is all warm-up
    said = "warmup_steps" if warmup else ""
    return Curve(lambda at: [rate * curve(step) for step in at], warmup, said, phases, [*key, (steps - 1, "(last)")])


def _their_phases(name: str, kwargs: Mapping[str, Any], steps: int, warmup: int) -> tuple[tuple[str, float], ...]:
    parts: list[tuple[str, float]] = [("warmup", min(warmup, steps))]
    rest = max(steps - warmup, 0)
    if name == "warmup_stable_decay":
        decay, stable = kwargs["num_decay_steps"], kwargs.get("num_stable_steps")
        stable = rest - decay if stable is None else stable
        parts += [("stable", stable), ("decay", decay), ("floor", rest - stable - decay)]
    elif name == "cosine_with_restarts" and (cycles := kwargs.get("num_cycles", 1)) in range(1, 100):
        parts += [(f"cycle {number + 1}", rest / cycles) for number in range(int(cycles))]
    else:
        parts.append(("stable" if name in DROPS_KWARGS else "decay", rest))
    return tuple((name, length) for name, length in parts if length > 0)
