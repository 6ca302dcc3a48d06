"""The convex bound on the last iterate: what a shape is worth in theory, without any data.

For a convex problem with gradients bounded by G, at a distance D from its optimum, a shape of peak 1 gives at the peak ``lr``
the bound ``D^2 / (2 lr) * f0 + G^2 lr / 2 * n``; its best peak is ``(D / G) * sqrt(f0 / n)``, and the bound there
``D G sqrt(f0 n)`` (Schaipp and others, arXiv 2501.18965; Defazio and others, arXiv 2310.07831, Theorem 10).

What it does not know: the loss of a network. Fitted to measured losses with three parameters it is off by .03 to .09
(scripts/LOG.md); ratios of its best peaks are what holds (`advice.transfer`).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ...schedules.schedule import Schedule

Floats = npt.NDArray[np.float64]

_POINTS = 2000  # a shape is sampled at; 20,000 give the same ratio to 1 in 1,000
_FLOOR = 1e-9  # of the peak: laws.md section 3.4
_TAIL = 1e-14  # of the sum of all learning rates, below which a step's term is skipped: as above


def convex_terms(shape: npt.ArrayLike) -> tuple[float, float]:
    """``(f0, n)`` of a shape, one value a step, in any unit.

    >>> f0, n = convex_terms(np.ones(100))
    >>> round(f0, 4), round(n, 2)
    (0.01, 6.18)
    """
    eta = np.asarray(shape, dtype=np.float64)
    eta = np.maximum(eta / eta.max(), _FLOOR)
    total = eta.sum()
    tail = np.cumsum(eta[::-1])[::-1]  # from step k on
    squares = np.cumsum((eta**2)[::-1])[::-1]
    after = tail[1:]  # after step k
    terms = np.where(after > _TAIL * total, eta[:-1] / np.maximum(after, _TAIL * total) * squares[:-1] / tail[:-1], 0.0)
    return float(1 / total), float(squares[0] / total + terms.sum())


def best_peak(schedule: Schedule) -> float:
    """The peak at which the bound of `schedule` is lowest, in units of ``D / G``.

    >>> from hf_lrsched import constant, wsd
    >>> best_peak(wsd(1000)) > best_peak(constant(1000))
    True
    """
    f0, n = convex_terms(_sampled(schedule))
    return math.sqrt(f0 / n)


def best_bound(schedule: Schedule) -> float:
    """The bound at that peak, in units of ``D G``: shapes can be ranked by it, each at its own best peak.

    >>> from hf_lrsched import constant, wsd
    >>> best_bound(wsd(1000)) < best_bound(constant(1000))
    True
    """
    f0, n = convex_terms(_sampled(schedule))
    return math.sqrt(f0 * n * _POINTS / float(schedule.total))


def _sampled(schedule: Schedule) -> Floats:
    steps = (np.arange(_POINTS) + 0.5) / _POINTS * schedule.total
    return np.array([schedule(float(step)) for step in steps])
