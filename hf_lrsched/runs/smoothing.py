"""Noisy curves: smoothed without a lag, and how noisy they are. Plain arrays in and out."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def smoothed(values: npt.ArrayLike, width: float) -> Floats:
    """`values` without most of their noise: at each point a straight line fitted to its neighbours, the near ones more.

    It is centred, so a peak, a valley or an edge stays where it is, where an exponential mean moves it to the right. What is
    not finite is passed over, and is NaN in the result where no neighbour is finite.

    Args:
        values: evenly spaced, shape (n,).
        width: standard deviation of the Gaussian weights, in points.

    Returns:
        shape (n,).

    >>> noisy = np.abs(np.arange(-50.0, 51.0)) + np.tile([1.0, -1.0], 51)[:101]
    >>> int(smoothed(noisy, 3.0).argmin())
    50

    Raises:
        ValueError: for a width that is not above 0.
    """
    if not 0 < width < math.inf:
        raise ValueError(f"width={width} must be a number of points above 0")
    y = np.asarray(values, dtype=np.float64)
    known = np.isfinite(y)
    x = np.arange(len(y), dtype=np.float64)
    away = x[known][None, :] - x[:, None]
    weights = np.exp(-0.5 * (away / width) ** 2)
    total = weights.sum(axis=1)
    with np.errstate(all="ignore"):
        first = (weights * away).sum(axis=1) / total
        second = (weights * away**2).sum(axis=1) / total
        mean = (weights @ y[known]) / total
        slope = ((weights * away) @ y[known] / total - first * mean) / (second - first**2)
        line = mean - np.where(np.isfinite(slope), slope, 0.0) * first
    return np.where(total > 1e-6, line, np.nan)


def noise(values: npt.ArrayLike) -> float:
    """The standard deviation of the noise in `values`, whatever trend they follow and however wild a few of them are.

    From the median of the absolute second differences, which a straight line does not change. NaN for fewer than 3 values in
    a row that are finite.

    >>> rng = np.random.default_rng(0)
    >>> bool(0.08 < noise(np.linspace(5, 1, 1000) + rng.normal(0, 0.1, 1000)) < 0.12)
    True
    """
    second = np.diff(np.asarray(values, dtype=np.float64), 2)
    second = second[np.isfinite(second)]
    # 1.4826 makes a normal deviation of a median one; second differences of noise have 6 times its variance.
    return float(1.4826 * np.median(np.abs(second)) / math.sqrt(6)) if second.size else math.nan


def about_median(values: npt.ArrayLike, width: int = 21) -> Floats:
    """`values` less the median of their `width` neighbours; what is not finite is left out.

    >>> about_median([0.0, 0.0, 5.0, 0.0, 0.0], 3)
    array([0., 0., 5., 0., 0.])
    """
    known = np.asarray(values, dtype=np.float64)
    known = known[np.isfinite(known)]
    if not len(known):
        return known
    half = width // 2
    padded = np.pad(known, half, mode="reflect") if len(known) > half else np.pad(known, half, mode="edge")
    neighbours: Floats = np.median(np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1), axis=1)
    return known - neighbours


def rounding(values: npt.ArrayLike) -> float:
    """What single precision leaves unsaid about numbers as large as `values`: below it, nothing is a difference.

    >>> 1e-7 < rounding([1.0, -2.0]) < 1e-5
    True
    """
    known = np.abs(np.asarray(values, dtype=np.float64))
    known = known[np.isfinite(known)]
    return float(8 * np.finfo(np.float32).eps * known.max()) if known.size else 0.0
