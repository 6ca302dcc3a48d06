"""What other range tests would suggest from a recorded sweep: their rules, restated in NumPy from their sources.

Each takes learning rates and raw losses, one a step, and returns a learning rate, or None where the peer raises or gives
nothing. Smoothing, trimming and the early stop are the peer's own. The releases are those of the README's table; the check
values at the end are those of an independent restatement.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Rule = Callable[[Floats, Floats], float | None]


def ema(losses: Floats, beta: float = 0.98, ahead: int = 1) -> Floats:
    """Exponential mean, without its start's bias; Lightning divides by a power too high (`ahead` 2)."""
    mean, smoothed = 0.0, []
    for i, loss in enumerate(losses):
        mean = beta * mean + (1 - beta) * loss
        smoothed.append(mean / (1 - beta ** (i + ahead)))
    return np.array(smoothed)


def plain_ema(losses: Floats, weight: float = 0.05) -> Floats:
    """torch-lr-finder's and ignite's: from the first loss on, with its bias."""
    smoothed = [losses[0]]
    for loss in losses[1:]:
        smoothed.append(weight * loss + (1 - weight) * smoothed[-1])
    return np.array(smoothed)


def stopped(smoothed: Floats, times: float, *, before: bool = False) -> int:
    """How many points there are when the smoothed loss is above `times` its best; NaN is never above.

    `before`: the test comes before the best is brought up to date, and from the second point on.
    """
    best = math.inf
    for i, loss in enumerate(smoothed):
        if not before and loss < best:
            best = loss
        if i and loss > times * best:
            return i + 1
        if before and (loss < best or i == 1):
            best = loss
    return len(smoothed)


def _fastai(lrs: Floats, losses: Floats) -> tuple[Floats, Floats]:
    smoothed = ema(losses)
    end = stopped(smoothed, 4.0)
    lrs, smoothed = lrs[:end], smoothed[:end]
    lrs, smoothed = lrs[len(losses) // 10 : -5], smoothed[len(losses) // 10 : -5]
    bad = np.flatnonzero(np.isnan(smoothed))
    return (lrs[: bad[0]], smoothed[: bad[0]]) if bad.size else (lrs, smoothed)


def fastai_valley(lrs: Floats, losses: Floats) -> float | None:
    lrs, smoothed = _fastai(lrs, losses)
    n = len(smoothed)
    if not n:
        return None
    longest = np.ones(n, dtype=int)
    for i in range(1, n):
        below = longest[:i][smoothed[:i] > smoothed[i]]
        if below.size:
            longest[i] = max(longest[i], below.max() + 1)
    end = int(longest.argmax())
    start = end - int(longest[end])
    third = (end - start) / 3
    return float(lrs[start + int(third) + int(third / 2)])


def fastai_slide(lrs: Floats, losses: Floats) -> float | None:
    lrs, smoothed = _fastai(lrs, losses)
    n = len(smoothed)
    if n < 16:
        return None
    slope = np.gradient(smoothed)
    right, left, found = -1, -16, lrs[-16]
    while left >= -n and abs(slope[right] - slope[left]) > 0.005:
        found = lrs[left]
        right, left = right - 1, left - 1
    return float(found)


def fastai_minimum(lrs: Floats, losses: Floats) -> float | None:
    lrs, smoothed = _fastai(lrs, losses)
    return float(lrs[smoothed.argmin()] / 10) if len(smoothed) else None


def fastai_steep(lrs: Floats, losses: Floats) -> float | None:
    lrs, smoothed = _fastai(lrs, losses)
    if len(smoothed) < 2:
        return None
    return float(lrs[int((np.diff(smoothed) / np.diff(np.log(lrs))).argmin())])


def _lightning(lrs: Floats, losses: Floats) -> tuple[Floats, Floats]:
    smoothed = ema(losses, ahead=2)
    end = stopped(smoothed, 4.0, before=True)
    lrs, smoothed = lrs[:end][10:-1], smoothed[:end][10:-1]
    known = np.isfinite(smoothed)
    return lrs[known], smoothed[known]


def lightning(lrs: Floats, losses: Floats) -> float | None:
    """Since 2.5.3: the slope over the learning rate itself."""
    lrs, smoothed = _lightning(lrs, losses)
    return float(lrs[int(np.gradient(smoothed, lrs).argmin())]) if len(lrs) > 1 else None


def lightning_before(lrs: Floats, losses: Floats) -> float | None:
    """Before 2.5.3: the slope over the number of the point."""
    lrs, smoothed = _lightning(lrs, losses)
    return float(lrs[int(np.gradient(smoothed).argmin())]) if len(lrs) > 1 else None


def torch_lr_finder(lrs: Floats, losses: Floats) -> float | None:
    smoothed = plain_ema(losses)
    end = stopped(smoothed, 5.0)
    lrs, smoothed = lrs[:end][10:-5], smoothed[:end][10:-5]
    if len(lrs) < 2:
        return None
    slope = np.gradient(smoothed)
    found = int(np.flatnonzero(np.isnan(slope))[0]) if np.isnan(slope).any() else int(slope.argmin())  # NumPy's argmin of NaN
    return float(lrs[found])


def ignite(lrs: Floats, losses: Floats) -> float | None:
    smoothed = plain_ema(losses)
    end = stopped(smoothed, 5.0)
    lrs, smoothed = lrs[:end], smoothed[:end]
    if np.isnan(smoothed).any():
        return None
    last = int(smoothed.argmin())
    lrs, smoothed = lrs[: last + 1], smoothed[: last + 1]
    if len(lrs) < 3:
        return None
    slope = (smoothed[2:] - smoothed[:-2]) / 2
    return float(lrs[1 + int(slope.argmin())])


RULES: dict[str, Rule] = {
    "fastai valley": fastai_valley,
    "fastai slide": fastai_slide,
    "fastai steep": fastai_steep,
    "fastai minimum/10": fastai_minimum,
    "Lightning": lightning,
    "Lightning before 2.5.3": lightning_before,
    "torch-lr-finder": torch_lr_finder,
    "ignite": ignite,
}


def check() -> None:
    """The rules on the wide basin of the reference, noise-free: each within a point of the independent restatement."""
    lrs = 1e-8 * 1e8 ** ((np.arange(100) + 1) / 100)
    z = np.log10(lrs)
    losses = 4 - 1.8 / (1 + np.exp(-3 * (z + 4))) + np.exp(3 * (z + 0.8))
    known = {
        "fastai valley": 8.3e-5,
        "fastai slide": 2.1e-4,
        "fastai steep": 3.6e-4,
        "fastai minimum/10": 1.1e-2,
        "Lightning": 4.8e-5,
        "Lightning before 2.5.3": 4.4e-4,
        "torch-lr-finder": 3.6e-4,
        "ignite": 3.6e-4,
    }
    point = 10 ** (8 / 100)
    for name, value in known.items():
        found = RULES[name](lrs, losses)
        print(f"{name:<24} {found:.2g} (reference {value:.2g})")
        assert value / point / 1.03 <= (found or 0) <= value * point * 1.03, name


if __name__ == "__main__":
    check()
