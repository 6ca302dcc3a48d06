"""The cooldown that a law likes best, inside what its runs have seen.

Two parameters, share and exponent, come within .0006 of a schedule that is free at every step, under the published law
(laws.md section 4.4). What it does not know: whether the law is right there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .asked import scheduled
from .cautions import ZERO
from .fitted import FLAT, Fitted
from .forecast import Optimized
from .laws import Points
from .path import COARSE, LRPath

if TYPE_CHECKING:
    from .law import Law

_SHARES = (0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8)  # the finer the shorter; published ones: .05 to .9
_NEAR = 0.9  # a share that is nearer than this to one that was seen is that one
_SHAPES = ("1-sqrt", "linear", "power(1.25)", "power(1.5)", "power(1.75)", "power(2)")  # free optima: powers of 1.40 to 1.85


def best_cooldown(law: Law, fit: Fitted, steps: int) -> Optimized:
    """The share and shape of the decay of a `wsd` run of `steps` whose predicted final loss is lowest.

    Raises:
        ValueError: where no run decays, and as `Law.predict`.
    """
    longest = fit.longest_decay
    if longest <= FLAT:
        raise ValueError(
            f"no run at {fit.peak:g} decays, so nothing is known of cooldowns; fit the law to one with a cooldown, such as a "
            "short WSD run"
        )
    floor = 0.0 if fit.lowest < ZERO else float(f"{fit.lowest:.2g}")
    base: dict[str, Any] = {"min_lr_ratio": floor} if floor else {}
    law.predict("wsd", steps, fit.peak, **base)  # refuses before the search what cannot be predicted
    up = scheduled("wsd", steps, base, fit.warmup).warmup
    shares = _shares(fit.shortest_decay, longest, 1 - up / steps)
    tried = [{**base, "decay": share, "shape": shape} for share in shares for shape in _SHAPES]
    finals = [_final(fit, steps, words) for words in tried]
    words = tried[int(np.argmin(finals))]
    if fit.warmup is not None:
        words = {"warmup": round(fit.warmup), **words}
    best, baseline = law.predict("wsd", steps, fit.peak, **words), law.predict("wsd", steps, fit.peak, **base)
    gain, low, high = law.gap(baseline, best)
    trusted = {"shortest decay": shares[0], "longest decay": shares[-1], "lowest share of the peak": floor}
    return Optimized("wsd", words, best, baseline, gain, (low, high), trusted)


def _shares(shortest: float, longest: float, room: float) -> list[float]:
    """Shares of the run that a decay may take: none shorter and none longer than the runs had, behind the warm-up."""
    between = [share for share in _SHARES if _NEAR * shortest <= share <= min(longest / _NEAR, room)]
    return between or [min(float(f"{shortest:.2g}"), 0.999 * room)]


def _final(fit: Fitted, steps: int, words: dict[str, Any]) -> float:
    path = LRPath.of_schedule(scheduled("wsd", steps, words, fit.warmup), fit.peak, steps, most=COARSE)
    loss, _ = fit.law.loss(Points(path, np.array([float(steps)])))
    return float(loss[0])
