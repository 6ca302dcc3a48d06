"""The learning rate of every optimizer step as the laws read it: `LRPath`, stretches in which it stays the same.

What it does not know: losses, and where the rates come from (`observed`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...schedules.schedule import Schedule

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

FLOOR = 1e-9  # of the peak, for rates of 0, whose powers below 0 are infinite (laws.md sections 3.1 and 3.4)
FINE = 1500  # stretches for a forecast: within 3e-5 of the sum over single steps on the public curves (scripts/LOG.md)
COARSE = 400  # for a fit, within 2e-4 there, which is a tenth of what the laws are off by
_SAMPLES = 1 << 16  # of a schedule: beyond so many steps it is read at every second, third, ... of them


@dataclass(frozen=True)
class LRPath:
    """Stretches of steps, each with one learning rate.

    Args:
        start: the first step of each stretch, from 0, shape (k,).
        count: its steps, shape (k,).
        share: its learning rate over `peak`, at least `FLOOR`, shape (k,).
        peak: the learning rate that a share of 1 stands for.
    """

    start: Floats
    count: Floats
    share: Floats
    peak: float

    @property
    def steps(self) -> float:
        """Steps in all."""
        return float(self.start[-1] + self.count[-1])

    @classmethod
    def of(cls, lrs: npt.ArrayLike, peak: float, *, most: int | None = FINE, every: int = 1) -> LRPath:
        """The path of the learning rates `lrs`, one for `every` steps, in about `most` stretches; None: one for each.

        Where the rate stays the same a stretch is as long as that; a jump begins a new one; a slow change is cut where the
        rate has changed by a share of the whole change, or after a share of the steps that change.

        >>> path = LRPath.of([1e-3, 1e-3, 1e-3, 5e-4], peak=1e-3)
        >>> path.start.tolist(), path.count.tolist(), path.share.tolist()
        ([0.0, 3.0], [3.0, 1.0], [1.0, 0.5])
        """
        share = np.maximum(np.asarray(lrs, dtype=np.float64) / peak, FLOOR)
        first = np.arange(len(share)) if most is None else _cuts(share, most)
        count = np.diff(np.append(first, len(share)))
        mean = np.add.reduceat(share, first) / count
        return cls(
            np.asarray(first * float(every)), np.asarray(count * float(every)), np.asarray(mean, dtype=np.float64), peak
        )

    @classmethod
    def of_schedule(cls, schedule: Schedule, peak: float, steps: int, *, most: int = FINE) -> LRPath:
        """The path of `schedule` over `steps` steps.

        >>> from hf_lrsched import wsd
        >>> path = LRPath.of_schedule(wsd(1000), 3e-4, 1000)
        >>> float(path.share.max()), path.steps
        (1.0, 1000.0)
        """
        every = -(-steps // _SAMPLES)
        at = np.arange(0.0, steps, every, dtype=np.float64) + (every - 1) / 2  # the middle of each sample
        lrs = schedule.lrs(np.minimum(at, steps - 1.0), peak)
        path = cls.of(lrs, peak, most=most, every=every)
        path.count[-1] = steps - path.start[-1]
        return path

    def until(self, updates: npt.ArrayLike) -> tuple[Ints, Floats]:
        """For each number of `updates` done, the stretch it ends in, and how many of the stretch's steps are done."""
        done = np.asarray(updates, dtype=np.float64)
        index = np.clip(np.searchsorted(self.start, done, side="right") - 1, 0, len(self.start) - 1)
        return index, np.clip(done - self.start[index], 0.0, self.count[index])

    def then(self, share: float, steps: float) -> LRPath:
        """This path, and `steps` more at `share` of the peak."""
        more = (
            np.append(self.start, self.steps),
            np.append(self.count, float(steps)),
            np.append(self.share, max(share, FLOOR)),
        )
        return LRPath(*more, self.peak) if steps > 0 else self

    def decayed(self, schedule: Schedule) -> LRPath:
        """This path, and `schedule` behind it, whose multipliers are of the last learning rate."""
        tail = LRPath.of_schedule(schedule, self.peak * float(self.share[-1]), round(float(schedule.total)))
        return LRPath(
            np.append(self.start, tail.start + self.steps),
            np.append(self.count, tail.count),
            np.append(self.share, np.maximum(tail.share * self.share[-1], FLOOR)),
            self.peak,
        )


def _cuts(share: Floats, most: int) -> Ints:
    """Where stretches begin."""
    moved = np.abs(np.diff(share))
    changes = np.concatenate([[True], moved > 0])
    whole = float(moved.sum()) or 1.0
    along = np.floor(np.concatenate([[0.0], np.cumsum(moved)]) / whole * most / 2)
    along += np.floor(np.cumsum(changes) / changes.sum() * most / 2)
    begins = np.concatenate([[True], np.diff(along) > 0]) & changes
    begins |= np.concatenate([[True], moved > 0.5 * whole / most])
    begins |= changes & ~np.concatenate([[False], changes[:-1]])  # the rate was the same until here
    begins |= changes & ~np.concatenate([changes[1:], [True]])  # it will be from here on
    begins |= np.concatenate([[True], np.diff(share <= FLOOR)])  # to 0 and away from it
    return np.flatnonzero(begins)
