"""A run in a few numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from .history import History


def summary(run: History) -> dict[str, Any]:
    """What `run` did, in plain JSON types; None where its source does not say.

    - ``steps``: the last one, trained or evaluated. ``points``: how many were recorded.
    - ``highest_lr``: over all groups. ``last_lr``: the first group's.
    - ``last_loss``: the mean of the last tenth of the points, at most 100 of them, as single steps are noisy.
    - ``held_out_loss``, ``best_held_out_loss``, ``best_step``: the last evaluation, the best one, and where it was.
    - ``not_finite``, ``skipped``: steps whose loss was NaN or infinite, and updates that moved no weights.
    - ``phases``: name, first step and steps of each, as recorded. ``events``: what happened, by step.
    - ``missing``, ``unreadable``: what the source does not hold, and what of it could not be read.

    >>> log = [{"step": 10, "loss": 3.0, "lr": 1e-3}, {"step": 20, "loss": 2.0, "lr": 0.0}, {"step": 20, "eval_loss": 2.1}]
    >>> about = summary(History.of(log))
    >>> about["steps"], about["highest_lr"], about["last_loss"], about["best_held_out_loss"], about["tokens"]
    (20, 0.001, 2.0, 2.1, None)
    """
    lrs, losses = run.lr[np.isfinite(run.lr)], run.loss[np.isfinite(run.loss)]
    held_out = run.eval_loss[np.isfinite(run.eval_loss)]
    best = int(run.eval_step[np.nanargmin(run.eval_loss)]) if held_out.size else None
    recorded = "loss" not in run.missing and run.averaged == 1
    return {
        "source": run.source,
        "schedule": run.schedule.name if run.schedule is not None else None,
        "steps": int(max([*run.step[-1:], *run.eval_step[-1:]], default=0)),
        "planned_steps": None if run.schedule is None else float(run.schedule.total),
        "points": len(run),
        "highest_lr": float(lrs.max()) if lrs.size else None,
        "last_lr": float(run.lr[-1, 0]) if len(run) and np.isfinite(run.lr[-1, 0]) else None,
        "last_loss": float(losses[-max(1, min(100, len(losses) // 10)) :].mean()) if losses.size else None,
        "held_out_loss": float(held_out[-1]) if held_out.size else None,
        "best_held_out_loss": float(held_out.min()) if held_out.size else None,
        "best_step": best,
        "not_finite": int((run.logged & ~np.isfinite(run.loss)).sum()) if recorded else None,
        "skipped": int(run.skipped.sum()),
        "tokens": float(run.tokens[-1]) if len(run) and np.isfinite(run.tokens[-1]) else None,
        "phases": phases(run),
        "events": [{"step": event.step, "kind": event.kind, "text": event.text} for event in run.events],
        "missing": list(run.missing),
        "unreadable": list(run.unreadable),
    }


def phases(run: History) -> list[dict[str, Any]]:
    """Name, first step, number of steps, and the first group's LR at both ends of each phase that was recorded.

    >>> log = [{"step": step, "lr": 1e-3, "phase": "warmup" if step < 3 else "stable"} for step in (1, 2, 3, 4, 5)]
    >>> [(phase["name"], phase["first"], phase["steps"]) for phase in phases(History.of(log))]
    [('warmup', 1, 2), ('stable', 3, 3)]
    """
    if not any(run.phase):
        return []
    names = np.asarray(run.phase)
    starts = [0, *(np.flatnonzero(names[1:] != names[:-1]) + 1).tolist()]
    ends = [*(start - 1 for start in starts[1:]), len(names) - 1]
    return [
        {
            "name": str(names[start]),
            "first": int(run.step[start]),
            "steps": int(run.step[end] - run.step[start] + 1),
            "lr": [float(run.lr[start, 0]), float(run.lr[end, 0])],
        }
        for start, end in zip(starts, ends, strict=True)
    ]
