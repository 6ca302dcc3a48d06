"""Many estimates made into a value and a band, and how far they disagree.

The band is the window of at most `WIDEST` that holds the most of the estimates' weight and the value. A source counts by the
square root of what its entries weigh, so that a project with sixty files does not outvote sixty projects with one.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .matching import Estimate

WIDEST = 4.0  # high over low: the goal: two steps of a grid of factor 2
NARROWEST = 2.0  # no sweep here resolves less: the grids of all of them have a factor of 2 to 3 between neighbours

ENOUGH = 5  # sources; fewer do not show how far practice goes, and the band is as wide as it may be (bench_recommend.py)
_ROOM = math.log(1.1)  # at least, between the value and either end of its band: a step in two digits of a learning rate
ALIKE = 0.95  # windows that hold this much of the most are alike: a twentieth is one file more or less among twenty


@dataclass(frozen=True)
class Pooled:
    """What many estimates come to.

    Args:
        value: the learning rate.
        low, high: the band.
        inside: the share of the weight that lies in the band.
        lowest, highest: of all estimates.
        sources: how many there are.
        shares: of the weight, one for each estimate.
    """

    value: float
    low: float
    high: float
    inside: float
    lowest: float
    highest: float
    sources: int
    shares: tuple[float, ...] = ()


def pooled(estimates: Sequence[Estimate]) -> Pooled:
    """The value and the band of one estimate or more.

    A sweep's own best decides the value; where there is none, the weighted median does.
    """
    weights = source_weights(estimates)
    points, mass = _points(estimates, weights)
    fitted = [index for index, one in enumerate(estimates) if one.fitted]
    if fitted:
        shares = np.array([estimates[index].weight for index in fitted])
        middle = np.average([math.log(estimates[index].value) for index in fitted], weights=shares)
    else:
        middle = weighted_median(points, mass)
    sources = len({one.evidence.source.key for one in estimates})
    low, high, inside = _window(points, mass, float(middle), NARROWEST if sources >= ENOUGH else WIDEST)
    return Pooled(
        value=math.exp(middle),
        low=math.exp(low),
        high=math.exp(high),
        inside=inside,
        lowest=min(one.low for one in estimates),
        highest=max(one.high for one in estimates),
        sources=sources,
        shares=tuple((weights / weights.sum()).tolist()),
    )


def source_weights(estimates: Sequence[Estimate]) -> NDArray[np.float64]:
    """The weight of each estimate, after its source's are tempered."""
    raw = np.array([one.weight * math.sqrt(one.evidence.files) for one in estimates])
    total: dict[str, float] = defaultdict(float)
    for one, weight in zip(estimates, raw, strict=True):
        total[one.evidence.source.key] += weight
    return np.array(
        [weight / math.sqrt(max(total[one.evidence.source.key], 1.0)) for one, weight in zip(estimates, raw, strict=True)]
    )


def _points(estimates: Sequence[Estimate], weights: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Logarithms and masses: an estimate that is a band is spread over it."""
    spread = [np.log([one.low, one.value, one.high]) for one in estimates]
    return np.concatenate(spread), np.repeat(weights / weights.sum() / 3, 3)


def weighted_median(points: NDArray[np.float64], mass: NDArray[np.float64]) -> float:
    """Where half of the mass lies to either side; the middle of two points that share it.

    Where those two are further apart than a band is wide, the lower: between them nobody has been, and of the two mistakes
    a rate that is too low costs time and one that is too high the run.
    """
    order = np.argsort(points, kind="stable")
    ordered, summed = points[order], np.cumsum(mass[order]) / mass.sum()
    at = int(np.searchsorted(summed, 0.5 - 1e-9))
    if at + 1 < len(ordered) and abs(summed[at] - 0.5) < 1e-9 and ordered[at + 1] - ordered[at] <= math.log(WIDEST):
        return float((ordered[at] + ordered[at + 1]) / 2)
    return float(ordered[at])


def _window(
    points: NDArray[np.float64], mass: NDArray[np.float64], middle: float, narrowest: float
) -> tuple[float, float, float]:
    """The window with the most mass that holds `middle`; where several hold about as much, the one most centred on it."""
    wide, narrow = math.log(WIDEST), math.log(narrowest)
    ends = np.array([middle - _ROOM, middle + _ROOM - wide, middle - wide / 2])
    starts = np.concatenate([points[points <= middle], points[points >= middle] - wide, ends])
    starts = starts[(starts <= middle - _ROOM) & (starts >= middle - wide + _ROOM)]
    held = np.array([mass[_within(points, start, start + wide)].sum() for start in starts])
    best = starts[held >= ALIKE * held.max()]
    start = float(best[np.argmin(np.abs(best + wide / 2 - middle))])
    within = points[_within(points, start, start + wide)]
    low, high = min(within.min(initial=middle), middle), max(within.max(initial=middle), middle)
    # Room on both sides of the value, as far as the width allows.
    low = max(min(low, middle - narrow / 2), high - wide)
    high = min(max(high, middle + narrow / 2), low + wide)
    return float(low), float(high), float(mass[_within(points, low, high)].sum())


def _within(points: NDArray[np.float64], low: float, high: float) -> NDArray[np.bool_]:
    return np.asarray((points >= low - 1e-9) & (points <= high + 1e-9))
