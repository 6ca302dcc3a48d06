"""Both laws, fitted to the runs of one peak: `Fitted`. What it does not know: schedules, and what is told of a forecast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from .fitting import DISCREPANCY, MISFITS, SPREAD, Fit, fit_momentum, fit_multi_power
from .laws import Points, named
from .observed import Observed
from .path import LRPath
from .prior import Prior

Floats = npt.NDArray[np.float64]

SAME_PEAK = 0.02  # by so much two peaks may differ and be one
SAME_WARMUP = 0.25  # of a warm-up: two that are nearer are one, as a coarse log does not show one better
FLAT = 0.01  # of a run: one that is below its peak for less has not decayed
_RECENT = 0.1  # of a run: its last losses, which a forecast of its cooldown begins at


@dataclass(frozen=True)
class Fitted:
    """Both laws, fitted to the runs of one peak.

    Args:
        runs: what they were fitted to.
        law: the multi-power law.
        momentum: the momentum law.
    """

    runs: tuple[Observed, ...]
    law: Fit
    momentum: Fit

    @classmethod
    def of(cls, runs: Sequence[Observed], prior: Prior) -> Fitted:
        """The laws of `runs`, whose peaks are one: a log that misses the highest step of one shows a lower peak."""
        peak = max(run.peak for run in runs)
        same = tuple(replace(run, peak=peak) for run in runs)
        scaled = prior.for_losses(float(np.median([run.loss[-1] for run in same])))
        return cls(same, fit_multi_power(same, scaled), fit_momentum(same, scaled))

    @property
    def peak(self) -> float:
        """The peak of the runs."""
        return self.runs[0].peak

    @property
    def horizon(self) -> float:
        """Steps of the longest of them."""
        return max(run.horizon for run in self.runs)

    @property
    def longest(self) -> int:
        """Steps of the longest of them, up to the last line of its log."""
        return max(len(run.lrs) for run in self.runs)

    @property
    def warmup(self) -> float | None:
        """Steps of warm-up, where the runs agree on them."""
        warmups = [run.warmup for run in self.runs]
        return float(np.mean(warmups)) if max(warmups) - min(warmups) <= max(SAME_WARMUP * max(warmups), 1.0) else None

    @property
    def shortest_decay(self) -> float:
        """The smallest share of a run that lay below its peak behind the warm-up, of those that decay."""
        return min((share for share in map(_decays, self.runs) if share > FLAT), default=0.0)

    @property
    def parameters(self) -> dict[str, float]:
        """L0, A, alpha, B, C, beta and gamma as in the paper, and p and q (`laws`)."""
        return named(self.law.theta, self.peak)

    @property
    def lowest(self) -> float:
        """The lowest share of the peak that a loss was seen at, behind the warm-up."""
        return min(float(run.lrs[int(run.updates[0]) :].min()) / run.peak for run in self.runs)

    @property
    def longest_decay(self) -> float:
        """The largest share of a run that lay below its peak behind the warm-up; 0 where none decays."""
        return max(_decays(run) for run in self.runs)

    @cached_property
    def misfit(self) -> float:
        """By how much the law misses the losses it was fitted to, beyond their noise, as a share of them."""
        missed = 0.0
        for run in self.runs:
            off = np.log(run.loss) - np.log(self.law.loss(run.points())[0])
            missed += max(float(np.mean(off**2)) - run.sigma**2, 0.0) / len(self.runs)
        return float(np.sqrt(missed))

    @property
    def discrepancy(self) -> float:
        """What a measured loss is off by, as a share of it: what no law gets right, the misfit, and the loss's own noise."""
        noise = float(np.mean([run.sigma**2 for run in self.runs]))
        return float(np.sqrt(DISCREPANCY**2 + (MISFITS * self.misfit) ** 2 + noise))

    def predicted(self, points: Points) -> tuple[Floats, Floats, Floats, Floats]:
        """The losses by both laws, the standard deviations of the first, and the slopes of its last loss."""
        loss, slopes = self.law.loss(points)
        second, _ = self.momentum.loss(points)
        of_law = np.einsum("ij,jk,ik->i", slopes, self.law.covariance, slopes)
        variance = np.maximum(of_law, 0.0) + (self.discrepancy * loss) ** 2 + (SPREAD * (second - loss)) ** 2
        return loss, second, np.sqrt(variance), slopes[-1]

    def recent(self, run: Observed) -> tuple[float, float]:
        """The last losses of `run` over those that the multi-power law has there, and over those of the momentum law."""
        count = max(round(_RECENT * len(run.loss)), 3)
        points = Points(LRPath.of(run.lrs, self.peak), run.updates[-count:])
        over = [np.mean(np.log(run.loss[-count:]) - np.log(fit.loss(points)[0])) for fit in (self.law, self.momentum)]
        return float(np.exp(over[0])), float(np.exp(over[1]))


def _decays(run: Observed) -> float:
    """The share of a run that lies below its peak, behind the first step at it."""
    first = int(np.argmax(run.lrs >= 0.999 * run.peak))
    return float((run.lrs[first:] < 0.99 * run.peak).sum()) / len(run.lrs)
