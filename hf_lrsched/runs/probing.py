"""Which learning rates are worth a short run, and what those runs say: `Search`.

What it does not know: how a run is made (`training.sweep`), and what the user is told (`range_test`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from .ramp import Landmarks

Floats = npt.NDArray[np.float64]

RUNS = 5  # short runs that a test can afford; with fewer the best is not seen from both sides
FEWEST = 10  # steps of one: with fewer, warm-up and decay are no longer there
APART = 10**0.3  # between neighbouring candidates: an octave, half of what is told from noise
TOLERANCE = 0.04  # of the whole fall: what a short run may lack of the best and still be as good (scripts/LOG.md)


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
        return float(self.loss[-max(3, self.steps // 5) :].mean())


@dataclass
class Search:
    """Asks for short runs one by one, until it has seen the best from both sides or the steps are spent.

    It begins at the ramp's knee, looks at its neighbours, and goes on to the side where the loss is lower.

    Args:
        ramp: what the ramp has shown.
        allowed: optimizer steps for all runs together.
        seeds: runs of each candidate.

    >>> import numpy as np
    >>> ramp = Landmarks(1e-4, 5e-4, 1e-3, 2e-3, 1e-2, 6.0, 5.0, 0.1, np.zeros(0))
    >>> search = Search(ramp, 100)
    >>> while (lr := search.next()) is not None:
    ...     search.tell(Probe(lr, 0, np.full(20, 4 + abs(math.log10(lr / 4e-3))), 20))
    >>> [f"{probe.lr:.2g}" for probe in search.probes], search.steps
    (['0.001', '0.002', '0.0005', '0.004', '0.0079'], 20)
    """

    ramp: Landmarks
    allowed: int
    seeds: int = 1
    probes: list[Probe] = field(default_factory=list)

    @property
    def steps(self) -> int:
        """Optimizer steps of each run; 0 where there are too few for any, or nothing to start from."""
        each = self.allowed // (RUNS * self.seeds)
        return each if each >= FEWEST and self.ramp.knee is not None else 0

    def tell(self, probe: Probe) -> None:
        """The outcome of what was asked for."""
        self.probes.append(probe)

    def next(self) -> float | None:
        """The next peak to try; None where it is enough."""
        if not self.steps or self.ramp.knee is None or len(self.probes) >= RUNS * self.seeds:
            return None
        seen = outcomes(self.probes)
        if len(seen) < 3:
            return self.ramp.knee * (1.0, APART, 1 / APART)[len(seen)]
        lrs, losses = list(seen), list(seen.values())
        best, start = int(np.argmin(losses)), self.ramp.start
        as_good = losses[best] + TOLERANCE * max(start - losses[best], 0.0)
        if losses[0] <= as_good:  # the lowest that was tried: there may be lower ones
            return lrs[0] / APART
        if best == len(lrs) - 1:
            return lrs[-1] * APART
        first = next(i for i, loss in enumerate(losses) if loss <= as_good)
        middle = math.sqrt(lrs[first] * lrs[first - 1])
        return middle if lrs[first] / middle > APART**0.4 else None


def outcomes(probes: Sequence[Probe]) -> dict[float, float]:
    """The final loss of each peak, the mean over its seeds, by rising peak.

    >>> outcomes([Probe(2.0, 0, np.array([1.0, 1.0, 1.0]), 3), Probe(1.0, 0, np.array([3.0, 2.0, 1.0]), 3)])
    {1.0: 2.0, 2.0: 1.0}
    """
    return {
        lr: float(np.mean([probe.final for probe in probes if probe.lr == lr]))
        for lr in sorted({probe.lr for probe in probes})
    }


def lowest_as_good(probes: Sequence[Probe], start: float, tolerance: float = TOLERANCE) -> float | None:
    """The lowest peak whose short run is as good as the best one; between two that were tried where it lies there.

    Short runs cannot tell good peaks from those a little too high, which a long run pays for; so the lowest is taken.

    Args:
        probes: what was tried.
        start: the loss before learning.
        tolerance: how much of the fall from `start` a run may lack.

    Returns:
        None where no run has learned anything.

    >>> runs = [Probe(lr, 0, np.full(10, loss), 10) for lr, loss in ((1.0, 5.0), (2.0, 3.0), (4.0, 3.0), (8.0, 6.0))]
    >>> round(lowest_as_good(runs, 6.0), 2)
    1.92
    """
    seen = outcomes(probes)
    lrs, losses = np.log10(list(seen)), np.minimum(list(seen.values()), start)
    if not len(lrs) or losses.min() >= start:
        return None
    as_good = losses.min() + tolerance * (start - losses.min())
    first = int(np.flatnonzero(losses <= as_good)[0])
    if first == 0:
        return float(10 ** lrs[0])
    share = (losses[first - 1] - as_good) / (losses[first - 1] - losses[first])
    return float(10 ** (lrs[first - 1] + share * (lrs[first] - lrs[first - 1])))
