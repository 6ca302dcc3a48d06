"""What others say of a schedule, fitted to the same runs: each is a function of runs that returns a function of a curve.

- `free_law`: the multi-power law with all seven parameters free, as its authors fit it (arXiv 2503.12811, laws.md 4.1): Huber
  loss of 1e-3 on the logarithms. Theirs are 135 starts of a first stage and 200 steps of AdamW; here it is scipy's trust
  region from four starts, which gets further down.
- `momentum_law`: four parameters, lambda .999 (arXiv 2408.11029), the same loss.
- `power_law`: ``L0 + A * step^-a`` (dejanseo's forecaster and others), which knows nothing of schedules.
- `last_loss`: what the run that comes closest in steps ended at: no law at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from forecast_data import Curve

from hf_lrsched.runs.forecast.laws import Points, momentum, multi_power
from hf_lrsched.runs.forecast.path import LRPath

Floats = npt.NDArray[np.float64]
Law = Callable[[Floats, Points], tuple[Floats, Floats]]
Says = Callable[[Curve], Floats]

HUBER = 1e-3  # of the logarithm of the loss: both papers
LAMBDA = 0.999  # arXiv 2408.11029
STRETCHES, POINTS = 200, 60  # of a curve in a fit: within .0005 of all of them in what is then said
MOST = 150  # evaluations in a fit
SPREAD = 300  # stretches in a forecast


def free_law(runs: Sequence[Curve]) -> Says:
    starts = [
        np.array([*_beginning(runs, below, 0.5), np.log(drop), 0.0, np.log(0.5), 0.5])  # C = 1, beta = gamma = .5: theirs
        for below in (0.1, 0.3)
        for drop in (0.1, 0.3)
    ]

    def law(theta: Floats, points: Points) -> tuple[Floats, Floats]:
        loss, slopes = multi_power(np.append(theta, (1.0, 1.0)), points)
        return loss, slopes[:, :7]

    return _fitted(law, runs, starts)


def momentum_law(runs: Sequence[Curve]) -> Says:
    starts = [np.array([*_beginning(runs, below, 0.5), np.log(drop)]) for below in (0.1, 0.3) for drop in (0.1, 0.3)]
    return _fitted(lambda theta, points: momentum(theta, points, LAMBDA), runs, starts)


def power_law(runs: Sequence[Curve]) -> Says:
    def law(theta: Floats, points: Points) -> tuple[Floats, Floats]:
        floor, ln_a, ln_alpha = theta
        alpha, ln_t = np.exp(ln_alpha), np.log(points.updates)
        power = np.exp(ln_a - alpha * ln_t)
        return floor + power, np.stack([np.ones_like(power), power, -alpha * power * ln_t], axis=1)

    starts = [_beginning(runs, below, alpha, rate=1.0) for below in (0.1, 0.3, 1.0) for alpha in (0.2, 0.5)]
    return _fitted(law, runs, starts)


def last_loss(runs: Sequence[Curve]) -> Says:
    def says(curve: Curve) -> Floats:
        nearest = min(runs, key=lambda run: (abs(run.steps - curve.steps), run.name))
        return np.full(len(curve.step), nearest.final)

    return says


PEERS: dict[str, Callable[[Sequence[Curve]], Says]] = {
    "published law, all parameters free": free_law,
    "momentum law, lambda .999": momentum_law,
    "power law of steps": power_law,
    "last loss of the run fitted": last_loss,
}


def points_of(curve: Curve, stretches: int | None = SPREAD) -> Points:
    """A curve's points on its path, each after the step that bears its number."""
    return Points(LRPath.of(curve.lr, curve.peak, most=stretches), curve.step + 1.0)


def _beginning(runs: Sequence[Curve], below: float, alpha: float, rate: float | None = None) -> Floats:
    """L0 `below` the lowest loss, and A so that the median point of the first run is met."""
    run = runs[0]
    middle = len(run.step) // 2
    floor = min(float(one.loss.min()) for one in runs) - below
    lr = float(run.lr[: run.step[middle] + 1].sum()) if rate is None else rate * float(run.step[middle] + 1)
    return np.array([floor, np.log(max(float(run.loss[middle]) - floor, 1e-2)) + alpha * np.log(lr), np.log(alpha)])


def _fitted(law: Law, runs: Sequence[Curve], starts: Iterable[Floats]) -> Says:
    """The lowest Huber loss of the logarithms that is found."""
    from scipy.optimize import least_squares

    thinned = [run.only(_thin(len(run.step))) for run in runs]
    known = [(points_of(run, STRETCHES), np.log(run.loss)) for run in thinned]

    def both(theta: Floats) -> tuple[Floats, Floats]:
        away, slopes = [], []
        for points, truth in known:
            loss, slope = law(theta, points)
            loss = np.maximum(loss, 1e-3)
            away.append((np.log(loss) - truth) / HUBER)
            slopes.append(slope / (HUBER * loss[:, None]))
        return np.concatenate(away), np.concatenate(slopes)

    found = []
    for start in starts:
        limits = start - 8, start + 8  # factors of 3,000: nothing meets them but what the runs do not tell
        options: dict[str, Any] = {"loss": "huber", "x_scale": "jac", "bounds": limits, "max_nfev": MOST}
        with np.errstate(all="ignore"):  # where a step leads to infinite losses, a shorter one is tried
            found.append(least_squares(lambda theta: both(theta)[0], start, jac=lambda theta: both(theta)[1], **options))
    best = min(found, key=lambda one: float(one.cost)).x
    return lambda curve: law(best, points_of(curve))[0]


def _thin(n: int) -> npt.NDArray[np.int64]:
    return np.unique(np.linspace(0, n - 1, min(n, POINTS)).round().astype(np.int64))
