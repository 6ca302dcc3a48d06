"""Forecasts beside what happened: errors, ranks, and how often a band holds what it says it holds.

Losses are in nats. "Final" is the loss at a curve's last point. Pairs of a fit and an unseen curve are not independent: fits
share runs, and runs that branch share their trunk; the number of pairs says nothing of how sure a share is.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

LEVELS = (0.5, 0.9)


@dataclass(frozen=True)
class Pair:
    """What a fit says of a curve that it has not seen.

    Args:
        fit: the fit's name; ranks are taken within one.
        curve: the curve's name.
        horizon: the curve's steps over those of the longest run that was fitted to.
        truth, said: the losses at each of the curve's points, shape (n,).
        bands: by level, the ends of the band at each point.
        second: the final loss by another law that was fitted beside.
        unshared: which points are in none of the fitted runs; all where not given.
        source, group: by which pairs are put together.
    """

    fit: str
    curve: str
    horizon: float
    truth: Floats
    said: Floats
    bands: Mapping[float, tuple[Floats, Floats]] = field(default_factory=dict)
    second: float | None = None
    unshared: Bools | None = None
    source: str = ""
    group: str = ""

    @property
    def error(self) -> float:
        """Of the final loss, with its sign: above 0 where too much was said."""
        return float(self.said[-1] - self.truth[-1])

    def holds(self, level: float) -> bool:
        """Whether the band holds the final loss."""
        low, high = self.bands[level]
        return bool(low[-1] <= self.truth[-1] <= high[-1])

    def width(self, level: float) -> float:
        """Half of the band's width at the end."""
        low, high = self.bands[level]
        return float(high[-1] - low[-1]) / 2


def r2(truth: Floats, said: Floats) -> float:
    """The share of a curve's variance that is said.

    >>> r2(np.array([3.0, 2.0, 1.0]), np.array([3.0, 2.0, 1.0])), r2(np.array([3.0, 2.0, 1.0]), np.full(3, 2.0))
    (1.0, 0.0)
    """
    return 1 - float(((truth - said) ** 2).sum() / ((truth - truth.mean()) ** 2).sum())


def published_metrics(curves: Sequence[tuple[Floats, Floats]]) -> dict[str, float]:
    """The five figures of arXiv 2503.12811, each the mean over `curves`, pairs of truth and what was said."""
    rows = []
    for truth, said in curves:
        away = np.abs(truth - said)
        rows.append((r2(truth, said), away.mean(), np.sqrt((away**2).mean()), (away / truth).mean(), (away / truth).max()))
    means = np.mean(rows, axis=0)
    return dict(zip(("R2", "MAE", "RMSE", "PredE", "WorstE"), map(float, means), strict=True))


def rank(truth: Sequence[float], said: Sequence[float]) -> float | None:
    """Spearman's correlation; None of fewer than three or where all are the same.

    >>> rank([1.0, 2.0, 3.0], [1.1, 1.2, 5.0]), rank([1.0, 2.0], [1.0, 2.0])
    (1.0, None)
    """
    from scipy.stats import rankdata

    if len(truth) < 3 or len(set(truth)) == 1 or len(set(said)) == 1:
        return None
    return float(np.corrcoef(rankdata(truth), rankdata(said))[0, 1])


def score(pairs: Iterable[Pair]) -> dict[str, Any]:
    """All figures of some pairs; the rank correlation is the mean over fits."""
    listed = list(pairs)
    if not listed:
        return {"fits": 0, "n": 0}
    by_fit: dict[str, list[Pair]] = defaultdict(list)
    for pair in listed:
        by_fit[pair.fit].append(pair)
    ranks = [rank([float(p.truth[-1]) for p in some], [float(p.said[-1]) for p in some]) for some in by_fit.values()]
    known = [one for one in ranks if one is not None]
    errors = [abs(pair.error) for pair in listed]
    return {
        "fits": len(by_fit),
        "n": len(listed),
        "R2": statistics.mean(r2(pair.truth, pair.said) for pair in listed),
        "MAE": statistics.mean(float(np.abs(pair.truth - pair.said).mean()) for pair in listed),
        "MAE unshared": statistics.mean(map(_unshared_mae, listed)),
        "final": statistics.mean(errors),
        "bias": statistics.mean(pair.error for pair in listed),
        "worst": max(errors),
        "rank": statistics.mean(known) if known else None,
        "final, second": statistics.mean(seconds) if (seconds := [_second(one) for one in listed if one.second]) else None,
        **_bands(listed),
    }


def _unshared_mae(pair: Pair) -> float:
    away = np.abs(pair.truth - pair.said)
    return float(away.mean() if pair.unshared is None else away[pair.unshared].mean())


def _second(pair: Pair) -> float:
    return abs(float(pair.second or 0.0) - float(pair.truth[-1]))


def _bands(pairs: Sequence[Pair]) -> dict[str, Any]:
    if not all(pair.bands for pair in pairs):
        return {}
    held = {f"holds {level:.0%}": statistics.mean(pair.holds(level) for pair in pairs) for level in LEVELS}
    inside = [(low <= pair.truth) & (pair.truth <= high) for pair in pairs for low, high in [pair.bands[0.9]]]
    return {
        **held,
        "holds 90% of all points": float(np.mean(np.concatenate(inside))),
        "half width 90%": statistics.mean(pair.width(0.9) for pair in pairs),
        "half width, median": statistics.median(pair.width(0.9) for pair in pairs),
        "half width over error": statistics.mean(pair.width(0.9) for pair in pairs)
        / statistics.mean(abs(pair.error) for pair in pairs),
    }


def reliability(pairs: Sequence[Pair]) -> dict[str, float]:
    """By how much a band has to be stretched to hold what it says: 1 where it says what it does, above where it is narrow.

    >>> band = (np.array([-1.0]), np.array([1.0]))
    >>> one = Pair("fit", "curve", 1.0, np.array([0.5]), np.array([0.0]), {0.5: band, 0.9: band})
    >>> reliability([one])
    {'50%': 0.5, '90%': 0.5}
    """
    found = {}
    for level in LEVELS:
        stretched = [_stretch(pair, level) for pair in pairs]
        found[f"{level:.0%}"] = float(np.quantile(stretched, level))
    return found


def _stretch(pair: Pair, level: float) -> float:
    """The factor on the band's side of the truth that just holds it."""
    low, high = (float(end[-1]) for end in pair.bands[level])
    said, truth = float(pair.said[-1]), float(pair.truth[-1])
    return (truth - said) / (high - said) if truth > said else (said - truth) / (said - low)
