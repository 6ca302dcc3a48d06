"""What a stable run has shown so far, in a bounded number of numbers: `Seen`; and what it was `before` a resume.

What it does not know: how steps are gathered (`points`) and what is made of them (`forecast`).
"""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

from transformers import TrainerState

from ..runs.files import HISTORY
from ..runs.history import History
from ..runs.reading import read_history

_MOST = 1000  # stretches that are kept of a run; a law is fitted to 80 means of them
_EQUAL = 1e-6  # of the peak: an LR held in float32 misses it by less


class Seen:
    """What a run has shown: mean losses over stretches of steps, so many at most, and whether it stays at its peak.

    >>> seen = Seen(most=2)
    >>> for step in range(1, 6):
    ...     seen.add(step, loss=float(step), lr=1e-3)
    >>> seen.width, [line["loss"] for line in seen.lines()]
    (4, [2.5, 5.0])
    """

    def __init__(self, most: int = _MOST, *, width: int = 1) -> None:
        self.width, self._most = width, most
        self._rows: dict[int, list[float]] = {}  # by stretch: its last step, sum of losses, steps, LR of the last one
        self.peak, self.flat, self.fell = -1.0, 0, False

    @classmethod
    def of(cls, run: History, *, until: int, group: int = 0) -> Seen:
        """What a run has been up to a step, by the learning rates of a parameter group; nothing, where it lacks those.

        >>> log = [{"step": 10, "loss": 3.0, "lr": 1e-3}, {"step": 20, "loss": 2.0, "lr": 1e-3}]
        >>> Seen.of(History.of(log, averaged=10), until=19).lines()
        [{'step': 10, 'loss': 3.0, 'lr': 0.001}]
        """
        seen, before = cls(width=run.averaged), 0  # a mean over steps is no finer than it is
        if group >= run.lr.shape[1]:
            return seen
        for step, loss, lr, logged in zip(
            run.step.tolist(), run.loss.tolist(), run.lr[:, group].tolist(), run.logged, strict=True
        ):
            if step <= until and logged and not math.isnan(lr):
                seen.add(step, loss, lr, min(run.averaged, step - before))
                before = step
        return seen

    @property
    def at_peak(self) -> bool:
        """Whether the warm-up is over: the learning rate has stayed where it is, or has fallen."""
        return self.fell or self.flat > 0

    def add(self, step: int, loss: float, lr: float, steps: int = 1) -> None:
        """A loss, in the mean over `steps` steps up to `step`, and the learning rate of that one."""
        self._follow(lr)
        row = self._rows.setdefault((step - 1) // self.width, [step, 0.0, 0, lr])
        row[:] = [step, row[1] + steps * loss, row[2] + steps, lr]
        while len(self._rows) > self._most:
            rows, self._rows, self.width = self._rows, {}, 2 * self.width
            for last, total, count, at in rows.values():
                row = self._rows.setdefault((int(last) - 1) // self.width, [last, 0.0, 0, at])
                row[:] = [last, row[1] + total, row[2] + count, at]

    def _follow(self, lr: float) -> None:
        if lr > self.peak * (1 + _EQUAL):
            self.peak, self.flat = lr, 0
        elif lr < self.peak * (1 - _EQUAL):
            self.fell = True
        else:
            self.flat += 1

    def lines(self) -> list[dict[str, float]]:
        """As a log has them."""
        return [{"step": last, "loss": total / count, "lr": lr} for last, total, count, lr in self._rows.values()]


def before(folder: Path, state: TrainerState, *, recorded: bool) -> History:
    """The run in `folder` before its resume: every step where `LRRecorder` has written them all, else what Trainer logged.

    Args:
        folder: where the run lies.
        state: the Trainer's, as the checkpoint has it.
        recorded: whether this run has a recorder, so that a file of it is this run's.

    >>> log = [{"step": 20, "loss": 3.0, "learning_rate": 1e-3}, {"step": 40, "loss": 2.5, "learning_rate": 1e-3}]
    >>> before(Path("nowhere"), TrainerState(log_history=log, logging_steps=5), recorded=False).averaged
    20
    """
    file = folder / HISTORY
    if recorded and file.is_file():
        try:
            written = read_history(file)
        except (OSError, ValueError):  # nothing of it could be read
            written = History.of([])
        if len(written) and written.step[0] == 1:
            return written
    # A line has the mean since the line before it, and logging_steps may have been another then.
    steps = [int(line["step"]) for line in state.log_history if "loss" in line]
    gaps = [later - sooner for sooner, later in pairwise(steps)]
    return History.of(state.log_history, averaged=max(gaps, default=max(steps, default=1)))
