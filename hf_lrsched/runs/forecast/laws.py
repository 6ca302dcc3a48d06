"""The laws themselves: the loss after so many updates under a path of learning rates, and its slope in every parameter.

Multi-power law (Luo and others, arXiv 2503.12811), with two exponents of ours: ::

    L = L0 + A * S^-alpha - B * peak * sum_k (u_{k-1}^q - u_k^q) * G(C * lr_k^-gamma * S_k),    G(x) = 1 - (1 + x)^-beta

`u` is the learning rate over its peak, `S` the sum of ``peak * u^p`` over all steps, warm-up included, `S_k` the sum of
the learning rates from step k on. With p = q = 1 it is the published one. p below 1 says that a step at a tenth of the peak
moves the loss by more than a tenth of a step at the peak: near its best value the learning rate itself hardly matters
(scripts/LOG.md has what it brought, and that p in `S_k` too is worse).

Momentum law (Tissue and others, arXiv 2408.11029): ::

    L = L0 + A * S^-alpha - C * sum_k (lr_{k-1} - lr_k) * (1 - lambda^(t - k)) / (1 - lambda)

What they do not know: divergence, another peak, another batch, and a loss that rises again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from .path import FLOOR, LRPath

Floats = npt.NDArray[np.float64]

# The parameters as they are fitted: what must be above 0 as its logarithm, B as the drop of a whole decay.
MULTI_POWER = ("L0", "ln A", "ln alpha", "ln B*peak", "ln C", "ln beta", "gamma", "p", "q")
MOMENTUM = ("L0", "ln A", "ln alpha", "ln C*peak/(1-lambda)")


@dataclass(frozen=True)
class Points:
    """Where on a path the loss is asked for.

    Args:
        path: the learning rates.
        updates: how many were done, shape (n,).
    """

    path: LRPath
    updates: Floats

    @cached_property
    def _where(self) -> tuple[npt.NDArray[np.int64], Floats]:
        return self.path.until(self.updates)

    def sums(self, rate: Floats) -> tuple[Floats, Floats]:
        """Of a quantity that each step of a stretch has `rate` of: its sum up to each point, and before each stretch."""
        before = np.concatenate([[0.0], np.cumsum(self.path.count * rate)])
        index, part = self._where
        return before[index] + part * rate[index], before[:-1]

    @property
    def moves(self) -> npt.NDArray[np.bool_]:
        """Whether a stretch has a learning rate at all: at 0 nothing is learned and no drop goes on."""
        return self.path.share > 2 * FLOOR

    @property
    def lrs(self) -> Floats:
        """The learning rate of each stretch."""
        return self.path.peak * self.path.share * self.moves

    @cached_property
    def log_share(self) -> Floats:
        """The logarithm of the learning rate over the peak."""
        return np.log(self.path.share)


def multi_power(theta: Floats, points: Points) -> tuple[Floats, Floats]:
    """The multi-power law's losses, shape (n,), and their slopes in the parameters `MULTI_POWER`, shape (n, 9).

    >>> lrs = np.full(1000, 3e-4)
    >>> theta = np.array([3.0, np.log(0.5), np.log(0.5), np.log(0.1), np.log(2.0), np.log(0.6), 0.6, 1.0, 1.0])
    >>> loss, slopes = multi_power(theta, Points(LRPath.of(lrs, 3e-4), np.array([10.0, 1000.0])))
    >>> bool(loss[0] > loss[1] > 3.0), slopes.shape
    (True, (2, 9))
    """
    floor, ln_a, ln_alpha, ln_drop, ln_c, ln_beta, gamma, p, q = theta
    alpha, beta, drop = np.exp(ln_alpha), np.exp(ln_beta), np.exp(ln_drop)
    peak, u = points.path.peak, points.log_share
    moved = peak * np.exp(p * u) * points.moves
    s, _ = points.sums(moved)
    ds, _ = points.sums(moved * u)
    t, before = points.sums(points.lrs)
    falls, dfalls = _falls(q, u)
    ln_lr = u + np.log(peak)
    scale = np.exp(ln_c - gamma * ln_lr)
    x = np.maximum(t[:, None] - before[None, :], 0.0) * scale
    ln_x1 = np.log1p(x)
    left = np.exp(-beta * ln_x1)  # of each fall: what has not come yet
    done = (1.0 - left) @ falls
    s = np.maximum(s, FLOOR * peak)  # where nothing was learned yet
    ln_s = np.log(s)
    power = np.exp(ln_a - alpha * ln_s)
    slope = beta * left * x / (1.0 + x)  # of G in ln x
    slopes = [
        np.ones_like(s), power, -alpha * power * ln_s, -drop * done, -drop * (slope @ falls),
        -drop * ((beta * ln_x1 * left) @ falls), drop * (slope @ (ln_lr * falls)),
        -alpha * power * ds / s, -drop * ((1.0 - left) @ dfalls),
    ]  # fmt: skip
    return floor + power - drop * done, np.stack(slopes, axis=1)


def momentum(theta: Floats, points: Points, decay: float) -> tuple[Floats, Floats]:
    """The momentum law's losses, shape (n,), and their slopes in the parameters `MOMENTUM`, shape (n, 4).

    Args:
        theta: the parameters.
        points: where.
        decay: its lambda, below 1: the memory is ``1 / (1 - lambda)`` steps.

    >>> points = Points(LRPath.of(np.linspace(3e-4, 0, 1000), 3e-4), np.array([500.0, 1000.0]))
    >>> loss, slopes = momentum(np.array([3.0, np.log(0.5), np.log(0.5), np.log(0.1)]), points, 0.99)
    >>> slopes.shape
    (2, 4)
    """
    floor, ln_a, ln_alpha, ln_drop = theta
    alpha, drop = np.exp(ln_alpha), np.exp(ln_drop)
    s = np.maximum(points.sums(points.lrs)[0], FLOOR * points.path.peak)
    falls, _ = _falls(1.0, points.log_share)
    ago = np.maximum(points.updates[:, None] - points.path.start[None, :], 0.0)
    done = -np.expm1(ago * np.log(decay)) @ falls
    power = np.exp(ln_a - alpha * np.log(s))
    slopes = [np.ones_like(s), power, -alpha * power * np.log(s), -drop * done]
    return floor + power - drop * done, np.stack(slopes, axis=1)


def _falls(q: float, log_share: Floats) -> tuple[Floats, Floats]:
    """By how much the learning rate to the power of q falls into each stretch, from 0 before the first; its slope in q."""
    high = np.exp(q * log_share)
    slope = high * log_share
    return -np.diff(high, prepend=0.0), -np.diff(slope, prepend=0.0)


def named(theta: Floats, peak: float) -> dict[str, float]:
    """The parameters of the multi-power law by their names in the paper, and p and q.

    >>> sorted(named(np.zeros(9), 1.0))
    ['A', 'B', 'C', 'L0', 'alpha', 'beta', 'gamma', 'p', 'q']
    """
    floor, ln_a, ln_alpha, ln_drop, ln_c, ln_beta, gamma, p, q = (float(value) for value in theta)
    words = {"L0": floor, "A": np.exp(ln_a), "alpha": np.exp(ln_alpha), "B": np.exp(ln_drop) / peak, "C": np.exp(ln_c)}
    return {name: float(value) for name, value in {**words, "beta": np.exp(ln_beta), "gamma": gamma, "p": p, "q": q}.items()}


def vector(coefficients: Mapping[str, float], peak: float) -> Floats:
    """The other way round; p and q are 1 where they are not given: the published law.

    >>> bool(np.allclose(vector(named(np.arange(9.0), 3e-4), 3e-4), np.arange(9.0)))
    True
    """
    of = {"p": 1.0, "q": 1.0, **coefficients}
    logs = [np.log(of["A"]), np.log(of["alpha"]), np.log(of["B"] * peak), np.log(of["C"]), np.log(of["beta"])]
    return np.array([of["L0"], *logs, of["gamma"], of["p"], of["q"]])
