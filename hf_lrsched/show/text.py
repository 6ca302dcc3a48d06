"""Schedules and runs as plain text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..runs.history import History
from ..runs.summary import summary
from ..schedules.schedule import Schedule
from .advice import text as recommendation
from .findings import text as findings
from .foretold import text as forecast
from .range_test import text as range_test

__all__ = [
    "chart", "findings", "forecast", "history_table", "key_lrs", "key_steps", "number", "phase_list", "range_test",
    "recommendation", "run_summary", "sparkline",
]  # fmt: skip

_BARS = " ▁▂▃▄▅▆▇█"


def phase_list(schedule: Schedule, most: int = 8) -> str:
    """The phases and their steps in one line.

    >>> from hf_lrsched import wsd
    >>> phase_list(wsd(1000))
    'warmup 100, stable 700, decay 200'
    """
    spans = schedule.spans()
    parts = [f"{phase.name} {end - start:g}" for start, end, phase in spans[:most]]
    return ", ".join([*parts, f"... {len(spans) - most} more"] if len(spans) > most else parts)


def sparkline(values: npt.ArrayLike, width: int = 40, top: float | None = None) -> str:
    """`values` as a row of bars from 0 to `top` (their highest, by default); each bar is the mean of its stretch.

    What is not finite is a blank.

    >>> from hf_lrsched import wsd
    >>> sparkline(wsd(100).values(), width=20)
    '▂▆██████████████▆▃▂▁'
    """
    row = _resampled(np.asarray(values, dtype=np.float64), width)
    row = np.where(np.isfinite(row), row, np.nan)
    highest = top if top is not None else float(np.nanmax(row, initial=0.0))
    return "".join(" " if math.isnan(v) else _BARS[_level(v, highest, len(_BARS) - 1)] for v in row)


def chart(values: npt.ArrayLike, width: int = 72, height: int = 8, top: float | None = None) -> str:
    """`values` as bars over several lines, with the highest value and 0 at the left.

    >>> from hf_lrsched import wsd
    >>> print(chart(wsd(100).lrs(None, 3e-4), width=20, height=2))
     0.0003 ┤ ▃██████████████▄
          0 ┤▃████████████████▇▄▁
    """
    row = _resampled(np.asarray(values, dtype=np.float64), width)
    row = np.where(np.isfinite(row), row, np.nan)
    highest = top if top is not None else float(np.nanmax(row, initial=0.0))
    steps = len(_BARS) - 1
    lines = []
    for line in range(height, 0, -1):
        label = f"{highest:.6g}" if line == height else ("0" if line == 1 else "")
        cells = (0 if math.isnan(v) else _level(v, highest, steps * height) - steps * (line - 1) for v in row)
        lines.append(f"{label:>7} ┤" + "".join(_BARS[min(max(cell, 0), steps)] for cell in cells).rstrip())
    return "\n".join(lines)


def _level(value: float, highest: float, levels: int) -> int:
    if highest <= 0 or value <= 0:
        return 0
    return max(1, min(round(value / highest * levels), levels))


def _resampled(values: np.ndarray[Any, np.dtype[np.float64]], width: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """At most `width` values, each the mean of a stretch."""
    if len(values) <= width:
        return values
    with np.errstate(all="ignore"):
        return np.array(
            [part[np.isfinite(part)].mean() if np.isfinite(part).any() else np.nan for part in np.array_split(values, width)]
        )


def key_steps(schedule: Schedule, peak: float) -> str:
    """The learning rate at the first step of each phase, and at the run's last, as a table.

    >>> from hf_lrsched import wsd
    >>> print(key_steps(wsd(1000), 3e-4))
      step  phase   learning rate
         0  warmup              0
       100  stable         0.0003
       800  decay          0.0003
       999  (last)     7.5094e-07
    """
    rows = key_lrs(schedule, peak)
    width = max(len("phase"), *(len(name) for _, name, _ in rows))
    lines = [f"{'step':>6}  {'phase':<{width}}  {'learning rate':>13}"]
    lines += [f"{step:>6}  {name:<{width}}  {lr:>13.6g}" for step, name, lr in rows]
    return "\n".join(lines)


def key_lrs(schedule: Schedule, peak: float) -> list[tuple[int, str, float]]:
    """First step, name and learning rate of each phase; last, the run's last step."""
    rows = [(math.ceil(start), phase.name) for start, _, phase in schedule.spans()]
    rows.append((math.ceil(schedule.total) - 1, "(last)"))
    return [(step, name, schedule.lr(step, peak)) for step, name in rows]


def number(value: float | None) -> str:
    """A number as people write it; "-" for none.

    >>> number(3e-4), number(2.51234), number(1234567), number(None)
    ('0.0003', '2.5123', '1234567', '-')
    """
    if value is None or not math.isfinite(value):
        return "-" if value is None else str(value)
    if value == int(value) and abs(value) < 1e15:
        return f"{value + 0.0:.0f}"  # -0 is 0
    return f"{value:.4f}" if 0.1 <= abs(value) < 1e4 else f"{value:.6g}"


def history_table(histories: Mapping[str, History]) -> str:
    """One line a run: schedule, steps, highest LR, losses at the end, best held-out loss, what is not recorded.

    >>> log = [{"step": 10, "loss": 3.0, "lr": 1e-3}, {"step": 20, "loss": 2.0, "lr": 0.0}, {"step": 20, "eval_loss": 2.1}]
    >>> print(history_table({"a": History.of(log)}))
    run  schedule  steps  highest LR  last loss  held-out  best held-out  not recorded
    a    -            20       0.001          2    2.1000         2.1000  grad_norm, momentum, tokens
    """
    heads = ("run", "schedule", "steps", "highest LR", "last loss", "held-out", "best held-out", "not recorded")
    keys = ("steps", "highest_lr", "last_loss", "held_out_loss", "best_held_out_loss")
    rows: list[Sequence[str]] = [heads]
    for name, run in histories.items():
        about = summary(run)
        rest = ", ".join(run.missing) or "nothing"
        rows.append((name, about["schedule"] or "-", *(number(about[key]) for key in keys), rest))
    widths = [max(len(row[i]) for row in rows) for i in range(len(heads))]
    left = (0, 1, len(heads) - 1)
    return "\n".join(
        "  ".join(
            f"{cell:<{width}}" if i in left else f"{cell:>{width}}"
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


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
