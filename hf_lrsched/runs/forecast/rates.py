"""The learning rate of every update of a run, from what its log has of it.

Where the log has the schedule, and its rates are on it, that is what counts. Else the rates are a straight line between the
lines of the log; before the first, and through those that lie on one straight line from 0, a warm-up.

What it does not know: losses.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..diagnosis.plan import Plan
from ..diagnosis.sight import Setting
from ..history import History

Floats = npt.NDArray[np.float64]

LONGEST_WARMUP = 0.2  # of a log, that may lie before its first line: in the published ones it is 3 to 15 %
_SAME = 1e-4  # of the peak: by so much a log's rates may miss a schedule and still be it, as some print four digits
_STRAIGHT = 0.02  # of a rate: by so much it may miss a straight line from 0, one step of a warm-up of 50
_PEAK = 0.999  # of the highest rate: what is at the peak


def every_lr(run: History, name: str, last: int, warmup: float | None) -> Floats:
    """The learning rate of each of `last` updates, of the first parameter group that is trained.

    Args:
        run: its history.
        name: for people.
        last: updates.
        warmup: steps of warm-up, where the log begins behind it and says nothing of it.

    Raises:
        ValueError: where it has none, and where it begins at its highest rate late in the run.
    """
    if warmup is not None and warmup >= last:
        raise ValueError(f"warmup={warmup:g} takes all of the {last} steps that {name} has; give its steps of warm-up")
    at, lr = _logged(run, name)
    plan = Plan.of(Setting.of(run))
    if plan is not None:
        planned = plan.schedule.lrs(np.arange(last + 1, dtype=np.float64), plan.peak)
        # A log has the rate of the update, or already that of the next one.
        near = [np.abs(planned[np.minimum(at + ahead, last)] - lr).max(initial=0.0) for ahead in (0, 1)]
        if min(near) <= _SAME * plan.peak and planned.max() > 0:
            return np.asarray(planned[:last])
    if not len(lr):
        raise ValueError(
            f"{name} has no learning rates, and the laws are about them: Trainer's trainer_state.json and LRRecorder's file "
            "have them; a CSV needs a column learning_rate or lr"
        )
    every = np.interp(np.arange(last, dtype=np.float64), at, lr)
    if at[0] > 0:
        every[: at[0]] = _before(name, int(at[0]), lr, last, warmup)
    return _through_warmup(every, at, lr)


def _logged(run: History, name: str) -> tuple[npt.NDArray[np.int64], Floats]:
    """The updates that the log has a rate of, and the rates."""
    if not len(run.step) or not run.lr.size:
        return np.zeros(0, dtype=np.int64), np.zeros(0)
    trained = np.flatnonzero(np.nanmax(np.where(np.isfinite(run.lr), run.lr, 0.0), axis=0) > 0)
    group = int(trained[0]) if len(trained) else 0
    known = np.isfinite(run.lr[:, group])
    at, lr = np.maximum(run.step[known] - 1, 0), run.lr[known, group]
    if len(lr) and (lr.min() < 0 or not lr.max() > 0):
        raise ValueError(f"{name} has learning rates that are not above 0")
    return at, lr


def _before(name: str, first: int, lr: Floats, last: int, warmup: float | None) -> Floats:
    """The rates before the first line of a log: a warm-up, and then that line's."""
    if warmup is None:
        if lr[0] >= _PEAK * lr.max() and first > LONGEST_WARMUP * last:
            raise ValueError(
                f"the log of {name} begins at step {first + 1} of {last}, at its highest learning rate, and does not say how "
                "the run got there; give its steps of warm-up (warmup=, --warmup)"
            )
        warmup = first
    steps = np.arange(first, dtype=np.float64)
    # A log that begins within the warm-up has a part of the peak there.
    return np.minimum(steps / max(min(warmup, first), 1.0), 1.0) * lr[0] if warmup else np.full(first, lr[0])


def _through_warmup(every: Floats, at: npt.NDArray[np.int64], lr: Floats) -> Floats:
    """A warm-up that the log has a few lines of: a straight line from 0 to the peak, and not to the first line there."""
    top = int(np.argmax(lr >= _PEAK * lr.max()))
    if top == 0 or at[top - 1] == 0 or lr[top - 1] <= 0:
        return every
    slope = lr[top - 1] / at[top - 1]
    if np.abs(slope * at[:top] - lr[:top]).max() > _STRAIGHT * lr[top - 1]:
        return every
    until = int(at[top])
    every[:until] = np.minimum(slope * np.arange(until), lr[top])
    return every
