"""Schedules and runs as plain text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..schedules.schedule import Schedule


def phase_list(schedule: Schedule, most: int = 8) -> str:
    """The phases and their steps in one line.

    >>> from hf_lrsched import wsd
    >>> phase_list(wsd(1000))
    'warmup 100, stable 700, decay 200'
    """
    spans = schedule.spans()
    parts = [f"{phase.name} {end - start:g}" for start, end, phase in spans[:most]]
    return ", ".join([*parts, f"... {len(spans) - most} more"] if len(spans) > most else parts)


def run_summary(history: Sequence[Mapping[str, Any]], schedule: Schedule | None, peak: float) -> str:
    """What a run did: steps, peak, phases, training loss, held-out loss before and after.

    Args:
        history: a Trainer's ``state.log_history``, or any list of dicts with its keys.
        schedule: the schedule it followed, or None where that is not known.
        peak: the LR that multiplier 1 stands for.

    >>> from hf_lrsched import wsd
    >>> logs = [{"step": 0, "eval_loss": 6.0}, {"step": 1, "loss": 6.0, "learning_rate": 0.0},
    ...         {"step": 100, "loss": 3.0, "learning_rate": 1e-3}, {"step": 100, "eval_loss": 3.1}]
    >>> print(run_summary(logs, wsd(100), 1e-3))
    steps:         100
    peak LR:       0.001
    phases:        warmup 10, stable 70, decay 20
    training loss: 6.000 (step 1) -> 3.000 (step 100)
    held-out loss: 6.000 -> 3.100
    """
    steps = max((entry["step"] for entry in history), default=0)
    reached = max(_all("learning_rate", history), default=0.0)
    if schedule is not None:  # logs may pass over the step at the peak
        reached = float(schedule.lrs(steps, peak).max()) if steps else 0.0
    rows = [("steps", f"{steps}"), ("peak LR", f"{reached:.6g}")]
    if schedule is not None:
        rows.append(("phases", phase_list(schedule)))
    losses = [(entry["step"], float(entry["loss"])) for entry in history if "loss" in entry]
    if losses:
        (first_step, first), (last_step, last) = losses[0], losses[-1]
        rows.append(("training loss", f"{first:.3f} (step {first_step}) -> {last:.3f} (step {last_step})"))
    held_out = list(_all("eval_loss", history))
    if held_out:
        rows.append(("held-out loss", " -> ".join(f"{loss:.3f}" for loss in (held_out[0], held_out[-1]))))
    return "\n".join(f"{name + ':':<14} {value}" for name, value in rows)


def _all(key: str, history: Iterable[Mapping[str, Any]]) -> Iterable[float]:
    return (float(entry[key]) for entry in history if key in entry)
