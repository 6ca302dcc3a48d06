"""A training curve as other watchers see it: `Curve`. Numbers alone; nothing of ours."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
_NONE = np.zeros(0)


@dataclass(frozen=True)
class Curve:
    """A run, or its beginning.

    Args:
        step: the last step that each loss covers, rising from 0.
        loss: training losses, NaN and infinity as they came.
        total: steps that the run was to take.
        lr: its learning rate; the peak, where it has a schedule.
        norm: gradient norms, as many as losses; empty where there are none.
        epoch: steps at which evaluations fall; with the training and the held-out loss at each.
        optimizer, problem: their names.
    """

    step: Floats
    loss: Floats
    total: int
    lr: float = math.nan
    norm: Floats = field(default_factory=lambda: _NONE)
    epoch: Floats = field(default_factory=lambda: _NONE)
    train: Floats = field(default_factory=lambda: _NONE)
    held_out: Floats = field(default_factory=lambda: _NONE)
    optimizer: str = ""
    problem: str = ""

    def until(self, share: float) -> Curve:
        """Its first `share`, as it was seen then; of the run's length nothing is forgotten."""
        last = share * self.total - 1 + 1e-6
        n, m = int(np.searchsorted(self.step, last, "right")), int(np.searchsorted(self.epoch, last + 1, "right"))
        cut = replace(self, step=self.step[:n], loss=self.loss[:n], norm=self.norm[:n])
        return replace(cut, epoch=self.epoch[:m], train=self.train[:m], held_out=self.held_out[:m])

    @property
    def covered(self) -> Floats:
        """How many steps each loss stands for."""
        return np.diff(self.step, prepend=-1.0)

    def points(self) -> Iterator[tuple[int, float]]:
        """(step, loss)."""
        return zip(self.step.astype(int).tolist(), self.loss.tolist(), strict=True)

    def blocks(self, count: int = 200) -> Floats:
        """Means of the losses behind the first 50 steps, over about `count` even stretches of the whole run."""
        late = self.step >= 50
        loss, covers = self.loss[late], self.covered[late]
        if not loss.size:
            return _NONE
        per = max(int(self.total / count / float(np.median(covers))), 1)
        whole = len(loss) // per * per
        return loss[:whole].reshape(-1, per).mean(axis=1)
