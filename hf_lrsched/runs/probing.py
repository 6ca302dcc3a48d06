"""Which learning rates are worth a short run, and what those runs say: `Search`.

What it does not know: how a run is made (`training.sweep`), and what the user is told (`range_test`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from .ramp import CLEAR, Landmarks, Trace, landmarks

Floats = npt.NDArray[np.float64]

RUNS = 5  # short runs that a test can afford; with fewer the best is not seen from both sides
FEWEST = 10  # steps of one: with fewer, warm-up and decay are no longer there
APART = 10**0.3  # between neighbouring candidates: an octave, half of what is told from noise
TOLERANCE = 0.04  # of the whole fall: what a short run may lack of the best and still be as good (scripts/LOG.md)
_IDLE = 30.0  # times below the blow-up nothing is learned within a short run: twice the square of the guide's middle
_LEARNED = 0.25  # of the noise of a single loss: recorded runs of fine-tuning fell by 1.2 and more, those of noise by 0.04
ABOVE = 0.1  # decades above the lowest as good, at most (scripts/LOG.md)


@dataclass(frozen=True)
class Probe:
    """A short run under the whole schedule, at one peak.

    Args:
        lr: the peak.
        seed: 0 is the Trainer's own order of the data, 1 the next.
        loss: of each step before its update, shape (n,); shorter than `steps` where it was no longer finite.
        steps: its optimizer steps.
    """

    lr: float
    seed: int
    loss: Floats
    steps: int

    @property
    def final(self) -> float:
        """The mean loss of its last fifth, at least three steps; infinite where it diverged."""
        if len(self.loss) < self.steps or not np.isfinite(self.loss).all():
            return math.inf
        return float(self.loss[-_tail(self.steps) :].mean())


@dataclass
class Search:
    """Asks for short runs one by one, until it has seen the best from both sides or the steps are spent.

    It begins where the ramp says, looks at the neighbours, and goes on to the side where the loss is lower.

    Args:
        ramp: the ramp's points.
        allowed: optimizer steps for all runs together, for each seed.
        seeds: runs of each candidate.

    >>> lrs = np.geomspace(1e-7, 1, 100)
    >>> search = Search(Trace(lrs, 6 - 1 / (1 + 1e-3 / lrs) + lrs, lrs, lrs), 100)
    >>> while (lr := search.next()) is not None:
    ...     search.tell(Probe(lr, 0, np.full(20, 4 + abs(math.log10(lr / 4e-3))), 20))
    >>> [f"{probe.lr:.2g}" for probe in search.probes], search.steps
    (['0.0034', '0.0067', '0.0017', '0.0024'], 20)
    """

    ramp: Trace
    allowed: int
    seeds: int = 1
    probes: list[Probe] = field(default_factory=list)

    @cached_property
    def landmarks(self) -> Landmarks:
        """What the ramp has shown."""
        return landmarks(self.ramp)

    @property
    def steps(self) -> int:
        """Optimizer steps of each run; 0 where there are too few for any, or nothing to start from."""
        each = self.allowed // RUNS
        return each if each >= FEWEST and self.landmarks.centre is not None else 0

    def tell(self, probe: Probe) -> None:
        """The outcome of what was asked for."""
        self.probes.append(probe)

    def next(self) -> float | None:
        """The next peak to try; None where it is enough."""
        centre = self.landmarks.centre
        if not self.steps or centre is None or len(self.probes) >= RUNS * self.seeds:
            return None
        seen = outcomes(self.probes)
        if len(seen) < 3:
            return centre * (1.0, APART, 1 / APART)[len(seen)]
        lrs, losses = list(seen), list(seen.values())
        best = int(np.argmin(losses))
        as_good = losses[best] + TOLERANCE * max(start_of(self.probes, self.ramp, self.landmarks) - losses[best], 0.0)
        if losses[0] <= as_good:  # the lowest that was tried: there may be lower ones
            return lrs[0] / APART
        if best == len(lrs) - 1:
            return lrs[-1] * APART
        first = next(i for i, loss in enumerate(losses) if loss <= as_good)
        middle = math.sqrt(lrs[first] * lrs[first - 1])
        return middle if lrs[first] / middle > APART**0.4 else None


def start_of(probes: Sequence[Probe], ramp: Trace, marks: Landmarks) -> float:
    """The loss before learning, on the batches that `probes` end with where the ramp tells: it began with the same ones."""
    steps = probes[0].steps if probes else 0
    idle = marks.low if marks.clarity >= CLEAR else None if marks.high is None else marks.high / _IDLE
    same = {probe.seed for probe in probes} == {0} and idle is not None
    if same and steps <= marks.end and ramp.lr[steps - 1] <= (idle or 0.0) / 3:
        return float(ramp.loss[steps - _tail(steps) : steps].mean())
    return marks.start


def have_learned(probes: Sequence[Probe], start: float, sigma: float) -> bool:
    """Whether the best short run fell by more than the losses of single batches could make one believe."""
    seen = outcomes(probes)
    return bool(seen) and start - min(seen.values()) > _LEARNED * sigma


def _tail(steps: int) -> int:
    """Steps at the end of a short run that count: its last fifth, at least three."""
    return max(3, steps // 5)


def outcomes(probes: Sequence[Probe]) -> dict[float, float]:
    """The final loss of each peak, the mean over its seeds, by rising peak.

    >>> outcomes([Probe(2.0, 0, np.array([1.0, 1.0, 1.0]), 3), Probe(1.0, 0, np.array([3.0, 2.0, 1.0]), 3)])
    {1.0: 2.0, 2.0: 1.0}
    """
    return {
        lr: float(np.mean([probe.final for probe in probes if probe.lr == lr]))
        for lr in sorted({probe.lr for probe in probes})
    }


def seen_from_both_sides(probes: Sequence[Probe]) -> bool:
    """Whether there was a worse run below the best one, and one above it."""
    seen = outcomes(probes)
    return len(seen) > 2 and min(seen) < min(seen, key=lambda lr: seen[lr]) < max(seen)


def peak_of(probes: Sequence[Probe], start: float, tolerance: float = TOLERANCE) -> float | None:
    """The peak that short runs speak for: a little above the lowest that is as good as the best of them.

    In a training that begins from nothing a short run cannot tell a good peak from those far above, which a long run pays
    for, so the best of them is only noise, and the lowest that is as good counts; where fine-tuning has a clear best, it
    is near that one. So: half way from the lowest to the best, and at most a quarter above the lowest (scripts/LOG.md).

    Args:
        probes: what was tried.
        start: the loss before learning.
        tolerance: how much of the fall from `start` a run may lack and still be as good.

    Returns:
        None where no run has learned anything.

    >>> runs = [Probe(lr, 0, np.full(10, loss), 10) for lr, loss in ((1.0, 5.0), (2.0, 3.0), (4.0, 2.9), (8.0, 6.0))]
    >>> round(peak_of(runs, 6.0), 2)
    2.5
    """
    seen = outcomes(probes)
    lrs, losses = np.log10(list(seen)), np.minimum(list(seen.values()), start)
    if not len(lrs) or losses.min() >= start:
        return None
    best = int(losses.argmin())
    as_good = losses[best] + tolerance * (start - losses[best])
    first = int(np.flatnonzero(losses <= as_good)[0])
    lowest = lrs[first]
    if first:  # between this one and the one below
        share = (losses[first - 1] - as_good) / (losses[first - 1] - losses[first])
        lowest = lrs[first - 1] + share * (lrs[first] - lrs[first - 1])
    return float(10 ** (lowest + min((lrs[best] - lowest) / 2, ABOVE)))
