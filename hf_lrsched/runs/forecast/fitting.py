"""Fits the laws to runs: the most probable parameters under weak priors, and how sure they are.

What it does not know: files and schedules. Where a law is wrong in form its own covariance is too small; `DISCREPANCY`,
`MISFITS` and `SPREAD` say what it lacks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .laws import MOMENTUM, MULTI_POWER, Points, momentum, multi_power
from .observed import Observed
from .path import COARSE
from .prior import FLAT, Prior

Floats = npt.NDArray[np.float64]
Law = Callable[[Floats, Points], tuple[Floats, Floats]]

# Of one loss, as a share, and how many losses of a curve count as independent: laws.md section 4.2, chosen on the curves of
# 25M, 100M and 400M. They say how far a law may be off, not how noisy a loss is; that is added.
_SIGMA, _INDEPENDENT = 0.002, 15
_STARTS = 4  # draws of half the prior's width; the third and fourth never found a better fit on the public curves
# What a forecast is off by beyond the covariance: a share of the loss, the law's misfit to its own runs, and a share of what
# lies between the two laws. With them, and the noise of a loss, 90 % intervals cover 88 % of final losses and 50 % ones 50 %,
# of 907 pairs of fit and unseen curve from two laboratories and this project (scripts/LOG.md).
DISCREPANCY, MISFITS, SPREAD = 0.0005, 1.0, 0.3
_BOUNDS = {
    "p": (0.0, 1.5),
    "q": (0.5, 1.5),
}  # with p below 0 a lower rate would do more; above, four widths of the prior and more
_MEMORIES = (0.99, 0.995, 0.999, 0.9995, 0.9997, 0.9999)  # lambda of the momentum law: laws.md section 3.2
_MEMORY = (0.001, 1.0)  # 1 - lambda: its usual value, and how far it may be off in log; by training cost alone it is not safe
_MOMENTUM_WIDTHS = (
    0.3,
    1.0,
)  # of ln alpha and of the drop, twice those of the multi-power law: a run without a decay has none


@dataclass(frozen=True)
class Fit:
    """A law fitted to runs.

    Args:
        theta: its parameters as `laws` has them.
        covariance: of them.
        cost: half the sum of squares at the best fit, priors included.
        decay: lambda of the momentum law; 0 for the multi-power law.
    """

    theta: Floats
    covariance: Floats
    cost: float
    decay: float = 0.0

    def loss(self, points: Points) -> tuple[Floats, Floats]:
        """The losses, shape (n,), and their slopes in the parameters, shape (n, parameters)."""
        return momentum(self.theta, points, self.decay) if self.decay else multi_power(self.theta, points)


def fit_multi_power(runs: Sequence[Observed], prior: Prior) -> Fit:
    """The most probable multi-power law of `runs`."""
    return _fit(multi_power, runs, prior)


def fit_momentum(runs: Sequence[Observed], prior: Prior) -> Fit:
    """The most probable momentum law of `runs`; its memory is chosen from a few."""
    centre = np.append(prior.centre[: len(MOMENTUM) - 1], prior.centre[3])
    weak = Prior(centre, np.array([FLAT, FLAT, *_MOMENTUM_WIDTHS]))
    fits = []
    for decay in _MEMORIES:

        def law(theta: Floats, points: Points, decay: float = decay) -> tuple[Floats, Floats]:
            return momentum(theta, points, decay)

        fit = _fit(law, runs, weak, starts=2)
        usual, width = _MEMORY
        cost = fit.cost + 0.5 * (np.log((1 - decay) / usual) / width) ** 2
        fits.append(Fit(fit.theta, fit.covariance, float(cost), decay))
    return min(fits, key=lambda fit: fit.cost)


def _fit(law: Law, runs: Sequence[Observed], prior: Prior, starts: int = _STARTS) -> Fit:
    from scipy.optimize import least_squares

    problem = _Problem(law, runs, prior)
    bounds = np.array([_BOUNDS.get(name, (-np.inf, np.inf)) for name in MULTI_POWER[: len(prior.centre)]]).T
    random = np.random.default_rng(0)  # the same runs give the same law
    best = None
    for n in range(starts):
        with np.errstate(all="ignore"):  # a step of the search may go anywhere
            found = least_squares(
                problem.residuals,
                problem.start(random if n else None),
                problem.slopes,
                bounds=(bounds[0], bounds[1]),
                x_scale="jac",
                max_nfev=100,
                ftol=1e-6,
                xtol=1e-6,
            )
        best = found if best is None or found.cost < best.cost - 1e-6 else best
    assert best is not None
    if not (np.isfinite(best.cost) and np.isfinite(best.x).all() and np.isfinite(best.jac).all()):
        raise ValueError("no law could be fitted to these losses; are they held-out or training losses of one training each?")
    return Fit(best.x, np.linalg.pinv(best.jac.T @ best.jac), float(best.cost))


class _Problem:
    """Residuals of the logarithms of the losses, softened as pseudo-Huber has it, and of the priors; and their slopes."""

    def __init__(self, law: Law, runs: Sequence[Observed], prior: Prior) -> None:
        self.law, self.prior = law, prior
        self.points = [run.points(COARSE) for run in runs]
        self.losses = [run.loss for run in runs]
        self.weights = [
            1.0 / np.sqrt(_SIGMA**2 * max(1.0, len(run.loss) / _INDEPENDENT) + run.sigma**2 * (run.sigma > _SIGMA))
            for run in runs
        ]
        self.known = np.flatnonzero(np.isfinite(prior.width))
        self._last: tuple[Floats, Floats, Floats] | None = None

    def start(self, random: np.random.Generator | None) -> Floats:
        """Parameters to begin with: the prior's centre, or a draw near it; L0 and A so that the curve goes through a loss."""
        theta = self.prior.centre.copy()
        if random is not None:
            theta[self.known] += 0.5 * self.prior.width[self.known] * random.standard_normal(len(self.known))
        loss, points = self.losses[0], self.points[0]
        middle = len(loss) // 2
        theta[0] = min(float(one.min()) for one in self.losses) * (
            1 - (0.05 if random is None else random.uniform(0.02, 0.1))
        )
        s, _ = points.sums(points.path.peak * points.path.share)
        theta[1] = np.log(max(loss[middle] - theta[0], 3e-3 * loss[middle])) + np.exp(theta[2]) * np.log(s[middle])
        return theta

    def residuals(self, theta: Floats) -> Floats:
        return self._both(theta)[0]

    def slopes(self, theta: Floats) -> Floats:
        return self._both(theta)[1]

    def _both(self, theta: Floats) -> tuple[Floats, Floats]:
        if self._last is not None and np.array_equal(self._last[0], theta):
            return self._last[1:]
        parts = [self._of_run(theta, *run) for run in zip(self.points, self.losses, self.weights, strict=True)]
        width = self.prior.width[self.known]
        believed = np.zeros((len(self.known), len(theta)))
        believed[np.arange(len(self.known)), self.known] = 1.0 / width
        parts.append(((theta[self.known] - self.prior.centre[self.known]) / width, believed))
        self._last = theta.copy(), np.concatenate([one for one, _ in parts]), np.concatenate([one for _, one in parts])
        return self._last[1:]

    def _of_run(self, theta: Floats, points: Points, loss: Floats, weight: float) -> tuple[Floats, Floats]:
        predicted, slopes = self.law(theta, points)
        predicted = np.maximum(predicted, 1e-3 * loss.min())
        off = weight * (np.log(predicted) - np.log(loss))
        grown = np.sqrt(1.0 + off**2)
        soft = np.sign(off) * np.sqrt(2.0 * np.maximum(grown - 1.0, 0.0))
        by_off = np.where(np.abs(off) < 1e-4, 1.0, np.abs(off) / grown / np.maximum(np.abs(soft), 1e-300))
        return soft, slopes * (weight * by_off / predicted)[:, None]
