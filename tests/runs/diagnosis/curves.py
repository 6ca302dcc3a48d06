"""Curves for the tests of rules: made by hand, of a known shape and noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from hf_lrsched import Schedule
from hf_lrsched.runs.diagnosis import Finding, Rule, diagnose
from hf_lrsched.runs.history import Event, History

PEAK = 1e-3
STEPS = 1000


def falling(steps: int = STEPS, *, start: float = 5.0, end: float = 2.0, noise: float = 0.05, seed: int = 0) -> list[float]:
    """A healthy curve: a power law in the steps, with even noise."""
    at = np.arange(steps)
    power = ((1 + at / 20) ** -0.5 - (1 + steps / 20) ** -0.5) / (1 - (1 + steps / 20) ** -0.5)
    losses: list[float] = (end + (start - end) * power + np.random.default_rng(seed).normal(0, noise, steps)).tolist()
    return losses


def history(
    losses: Sequence[float],
    lr: float | Sequence[float] | Callable[[int], float] = PEAK,
    *,
    evaluations: dict[int, float] | None = None,
    events: Sequence[Event] = (),
    **about: Any,
) -> History:
    """Those losses at steps 1, 2, ... of a recorder's file; `lr` is given the step, or is one for all."""
    of = lr if callable(lr) else (lambda step: lr[step - 1]) if isinstance(lr, Sequence) else (lambda step: lr)
    lines: list[dict[str, Any]] = [{"step": i, "loss": loss, "lr": of(i)} for i, loss in enumerate(losses, start=1)]
    lines += [{"step": step, "eval_loss": loss} for step, loss in (evaluations or {}).items()]
    return History.of(lines, events=events, **{"source": "lr_history.jsonl", **about})


def under(schedule: Schedule, losses: Sequence[float], **about: Any) -> History:
    """A run that follows `schedule` as it should."""
    lrs = schedule.lrs(len(losses), PEAK).tolist()
    return history(losses, lrs, **{"schedule": schedule, "peak": (PEAK,), **about})


def logged(run: History, every: int) -> History:
    """The same run as a Trainer's log has it: means over `every` steps."""
    lines: list[dict[str, Any]] = [
        {"step": i + every, "loss": float(np.mean(run.loss[i : i + every])), "lr": float(run.lr[i + every - 1, 0])}
        for i in range(0, len(run) - every + 1, every)
    ]
    lines += [{"step": int(s), "eval_loss": float(x)} for s, x in zip(run.eval_step, run.eval_loss, strict=True)]
    about = {"schedule": run.schedule, "peak": run.peak, "arguments": run.arguments, "events": run.events}
    return History.of(lines, averaged=every, source="trainer_state.json", **about)


def found(run: History, *rules: type[Rule]) -> list[tuple[str, str, bool]]:
    """Symptom, cause and whether somebody should look, of what `rules` find; all that are listed where none are given."""
    return [(one.symptom, one.cause, one.attention) for one in findings(run, *rules)]


def findings(run: History, *rules: type[Rule]) -> list[Finding]:
    return diagnose(run, rules) if rules else diagnose(run)


def with_norms(losses: Sequence[float], norms: float | Sequence[float], **about: Any) -> History:
    """Those losses and gradient norms, at a constant LR where none are given as `lrs`."""
    lrs = about.pop("lrs", [PEAK] * len(losses))
    each = [norms] * len(losses) if isinstance(norms, float) else norms
    rows = [
        {"step": i, "loss": loss, "lr": lr, "grad_norm": norm}
        for i, (loss, lr, norm) in enumerate(zip(losses, lrs, each, strict=True), start=1)
    ]
    return History.of(rows, **{"source": "lr_history.jsonl", **about})
