"""The shape of a loss curve in a few numbers without a scale: how it began, how it fell, octave by octave, and where it is.

Time is the sum of the learning rates so far, which is the number of steps where the rate is constant. So a warm-up counts for
the little that it trains, and a curve that is half as fast under half the learning rate has the same shape.

What it does not know: what any of it means (`verdict`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..smoothing import noise
from .sight import Sight

Floats = npt.NDArray[np.float64]

OCTAVES = 7  # the last is half of what was seen, the seventh a hundredth: there the first block of a short run ends
_LEAST = 8  # blocks of which anything is told
_NO_FALL = 0.02  # of the first loss: a fall that is smaller is no measure for others
_CHANCE = 6.0  # times the noise of a single loss, by which the first may be low by chance
_MOST = 2.0  # times it, at most: what is thrown up is noisy too
_ABOUT = 0.2  # an octave's edge is the median of the blocks within so much of it


@dataclass(frozen=True)
class Shape:
    """A loss curve in numbers; ratios are to the first loss.

    Args:
        start: the first loss, or the median of the first three where that is higher, if within the noise: the first
            update may already have thrown it up.
        rise: the highest of the first losses, over `start`.
        again: the second highest of them, over `start`.
        first_rise: at which of the first losses the highest was, from 0.
        high: the second highest block, over `start`.
        low: the lowest median of three blocks in a row, over `start`.
        floor: the lowest of them in the last seven eighths of what was seen, over `start`.
        level: where the loss is now, over `start`: the median of the last tenth.
        edges: the loss at the end of what was seen, at half of it, at a quarter, ..., over `start`.
        spread: highest less lowest block in the last seven eighths, over `start`.
        noise: of a block in them, over `start`; NaN for fewer than six.
        shaky: the same of the first losses, and single: of one of the last losses.
        tail: the highest of the last losses, over `start`: what one reaches by chance.
        trend: how far a straight line through the blocks falls, in its standard errors.
        seen: blocks in all.
    """

    start: float
    rise: float
    again: float
    first_rise: int
    high: float
    low: float
    floor: float
    level: float
    edges: tuple[float, ...]
    spread: float
    noise: float
    shaky: float
    single: float
    tail: float
    trend: float
    seen: int

    @property
    def fall(self) -> float:
        """How much of the first loss is gone."""
        return 1.0 - self.level

    @property
    def drops(self) -> tuple[float, ...]:
        """The share of the fall that came in the last half of what was seen, in the quarter before it, ..."""
        fall = max(self.fall, _NO_FALL)
        return tuple((before - after) / fall for after, before in zip(self.edges, self.edges[1:], strict=False))

    @property
    def early(self) -> float:
        """The share of the fall that was done within a sixty-fourth of what was seen."""
        return (1.0 - self.edges[6]) / max(self.fall, _NO_FALL) if self.fall > 0 else 0.0

    @property
    def drift(self) -> float:
        """How far the edges of the last three octaves lie apart, in units of the fall."""
        last = self.edges[:4]
        return (max(last) - min(last)) / max(self.fall, _NO_FALL)


def shape(sight: Sight) -> Shape | None:
    """The shape of what `sight` has seen.

    None where too little was seen, or where the loss is no quantity with a zero: ratios of losses that are negative say
    nothing, nor do those to a loss that began at nothing (`Sight.nothing`).
    """
    if len(sight.first) < 3 or len(sight.blocks) < _LEAST or sight.blocks[-1][1] <= sight.nothing:
        return None
    first = np.asarray(sight.first, dtype=np.float64)
    start, third = float(first[0]), float(np.median(first[:3]))  # the higher of them, as some fall far within three steps
    start = third if start < third <= min(start + _CHANCE * sight.noise, _MOST * start) else start
    loss, time = np.asarray(sight.blocks, dtype=np.float64)[:, [1, 3]].T
    if not (start > 0 and loss.min() >= 0 and time[-1] > 0):
        return None
    loss, high = loss / start, np.sort(first) / start
    total = float(time[-1])
    level = float(np.median(loss[min(int(np.searchsorted(time, 0.9 * total)), len(loss) - 2) :]))
    edges = (level, *(_edge(loss, time, total * 2.0**-octave) for octave in range(1, OCTAVES + 1)))
    late = loss[time >= min(total / 8, time[-3])]
    return Shape(
        start=start,
        rise=float(high[-1]),
        again=float(high[-2]),
        first_rise=int(first.argmax()),
        high=float(np.sort(loss)[-2]),
        low=_lowest(loss),
        floor=_lowest(late),
        level=level,
        edges=edges,
        spread=float(np.ptp(late)),
        noise=_noise(late),
        shaky=_noise(first / start),
        single=sight.noise / start,
        tail=sight.losses.quantile(1.0) / start,
        trend=_trend(loss, time),
        seen=len(loss),
    )


def _noise(loss: Floats) -> float:
    """The standard deviation of one, whatever their trend; NaN for fewer than six."""
    return noise(loss) if len(loss) > 5 else float("nan")


def _trend(loss: Floats, time: Floats) -> float:
    """How far a straight line falls over all of it, in standard errors."""
    about = time - time.mean()
    spread = float((about**2).sum())
    slope = float((about * loss).sum()) / spread if spread > 0 else 0.0
    error = max(_noise(loss), 1e-9) / np.sqrt(spread) if spread > 0 else np.inf
    return -slope / float(error)


def _lowest(loss: Floats) -> float:
    """The lowest median of three neighbours."""
    return float(np.median(np.lib.stride_tricks.sliding_window_view(loss, min(3, len(loss))), axis=1).min())


def _edge(loss: Floats, time: Floats, at: float) -> float:
    near = loss[np.abs(time - at) <= _ABOUT * at]
    return float(np.median(near)) if len(near) else float(np.interp(at, time, loss))
