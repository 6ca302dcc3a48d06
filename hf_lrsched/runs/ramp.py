"""What a ramp says: a training whose learning rate rises at every step, until it diverges.

What it does not know: that probes decide (`probing`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from .smoothing import about_median, noise, rounding, smoothed

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Trace:
    """The points of a ramp or of a probe, one an optimizer step.

    Args:
        lr: learning rates, shape (n,).
        loss: the loss of each step before its update, as it came: NaN and infinity too.
        grad_norm: before clipping, NaN where the Trainer does not tell it.
        update_ratio: the size of the update over that of the weights, on a sample of them.
        skipped: updates beside these that moved no weights, as gradients had overflowed.
        stopped: whether it ended before its last step.
    """

    lr: Floats
    loss: Floats
    grad_norm: Floats
    update_ratio: Floats
    skipped: int = 0
    stopped: bool = False

    def __len__(self) -> int:
        return len(self.lr)


class Divergence:
    """Whether a loss that is told step by step has really diverged.

    It has when the median of the last five is above the lowest such median by `SIGMAS` times the noise of a single loss and
    half of what was gained since the start; or when a loss is not finite. That is a difference, not a ratio: it holds for
    negative losses, and for those that start high. The noise is the standard deviation about a running median, or that of
    neighbours (`noise`) where it is larger: a stream that is not shuffled has noise that goes on for many steps.

    >>> rule = Divergence()
    >>> any(rule(loss) for loss in [-2.0, -2.1, -2.0, -2.1] * 10)
    False
    >>> [rule(loss) for loss in (0.5, 1.5, 4.0, 9.0)]
    [False, False, True, True]
    """

    SIGMAS = 8.0  # of 800 ramps of noise that goes on, has a long tail, or is mostly zero, 2 in 100 are cut short
    FIRST = 10  # losses before anything is said
    LAST = 300  # losses that the noise is told from
    RISE = 5  # losses at the end that are not among them, as a blow-up is no noise

    def __init__(self) -> None:
        self._losses: list[float] = []
        self._best = math.inf

    def __call__(self, loss: float) -> bool:
        """Whether it has diverged with this loss."""
        self._losses.append(loss)
        if not math.isfinite(loss):
            return True
        if len(self._losses) < self.FIRST:
            return False
        now = float(np.median(self._losses[-5:]))
        self._best = min(self._best, now)
        start = float(np.median(self._losses[: self.FIRST]))
        if now <= self._best + 0.5 * max(start - self._best, 0.0):  # most of the time; the noise costs more to tell
            return False
        known = self._losses[-self.LAST : -self.RISE]
        usual = max(noise(known), float(np.std(about_median(known))), rounding(known))
        return now > self._best + self.SIGMAS * usual + 0.5 * max(start - self._best, 0.0)


def before_divergence(losses: npt.ArrayLike) -> int:
    """How many of `losses` come before they have diverged; all of them where they do not.

    >>> before_divergence([2.0, 1.9] * 10 + [float("nan")] * 3)
    20
    """
    rule = Divergence()
    for i, loss in enumerate(np.asarray(losses, dtype=np.float64).tolist()):
        if rule(loss):
            return i
    return len(np.asarray(losses))


@dataclass(frozen=True)
class Landmarks:
    """Where on a ramp something happens; None where it does not.

    Args:
        low: learning rate at which the loss begins to fall.
        steepest: at which it falls fastest.
        knee: at which four fifths of the fall are done.
        best: at which the smoothed loss is lowest.
        high: at which training turns unstable: the smoothed loss has risen again.
        start, lowest: the loss before learning and at its lowest, smoothed.
        sigma: the noise of a single loss; error: that of the fall from `start` to `lowest`.
        falling: whether the loss falls from the first points on, so that its beginning was not seen.
        end: how many points come before divergence.
        smooth: the smoothed losses, shape (n,), NaN from there on.
    """

    low: float | None
    steepest: float | None
    knee: float | None
    best: float | None
    high: float | None
    start: float
    lowest: float
    sigma: float
    error: float
    falling: bool
    end: int
    smooth: Floats = field(repr=False)

    @property
    def clarity(self) -> float:
        """The fall of the loss in its standard errors; 0 where there is none."""
        fall = self.start - self.lowest
        return fall / self.error if fall > 0 and self.error > 0 else (math.inf if fall > 0 else 0.0)

    @property
    def centre(self) -> float | None:
        """Where to look first: the knee where it is clear of the noise, else well below where training turns unstable, else
        the knee as it is; None where there is no fall at all."""
        if self.high is not None and self.clarity < CLEAR:
            return self.high / BELOW
        return self.knee if self.clarity >= VISIBLE else None


VISIBLE = 2.5  # standard errors, from which short runs are worth their steps
CLEAR = 8.0  # standard errors: of the ramps of bench_range_test those from scratch have 10 to 140, fine-tuning 1 to 5
BELOW = math.sqrt(10)  # the middle of the guide's "1 to 10 times below the blow-up"
WIDTH = 0.175  # decades: the standard deviation of the smoothing; two and a half points of a hundred over seven decades
KNEE = 0.2  # of the fall that is left at the knee
_RISEN = 0.2  # of the fall, that the loss must have risen again by
_FALLEN = 0.1  # of the fall, at which it has begun


def points_per_decade(ramp: Trace) -> float:
    """How dense a ramp's points lie; 1 for fewer than two."""
    return (len(ramp) - 1) / math.log10(ramp.lr[-1] / ramp.lr[0]) if len(ramp) > 1 else 1.0


def landmarks(ramp: Trace, width: float = WIDTH) -> Landmarks:
    """Where on `ramp` the loss begins to fall, falls fastest, has fallen, and rises again.

    The smoothing is centred in log learning rate, so that nothing lags behind; what comes after divergence is left out.
    """
    end = before_divergence(ramp.loss)
    lr, loss = ramp.lr[:end], ramp.loss[:end]
    smooth = np.full(len(ramp), np.nan)
    if end < Divergence.FIRST:
        return Landmarks(None, None, None, None, None, math.nan, math.nan, noise(loss), math.nan, False, end, smooth)
    wild = 1.4826 * float(np.median(np.abs(about_median(loss))))  # noise that goes on from step to step
    sigma, first_points = max(noise(loss), wild, rounding(loss)), max(5, end // 7)
    start = float(np.median(loss[:first_points]))
    points = points_per_decade(ramp)
    # A last few losses on the way up must not lift what comes before them.
    curve = smoothed(np.minimum(loss, start + 5 * sigma), width * points)
    smooth[:end] = curve
    best = int(curve.argmin())
    lowest, fall = float(curve[best]), start - float(curve[best])

    def first(there: npt.NDArray[np.bool_], after: int = 0) -> int | None:
        found = np.flatnonzero(there[after:])
        return after + int(found[0]) if found.size else None

    def rate(at: int | None) -> float | None:
        return None if at is None else float(lr[at])

    error = sigma / math.sqrt(max(3.5 * width * points, 1.0))  # of the smoothed curve
    both = math.hypot(error, 1.25 * sigma / math.sqrt(first_points))  # a median has 1.25 times the error of a mean
    at_first = float(np.polyfit(np.arange(first_points), loss[:first_points], 1)[0]) * first_points
    slope_error = sigma * math.sqrt(12 / first_points)  # of a straight line's drop over its length
    low = first(curve < start - max(3 * error, _FALLEN * fall))
    risen = first(curve > lowest + max(3 * error, _RISEN * fall), best)
    if fall < CLEAR * both:  # the lowest may be anywhere: where it is above the start, and stays there
        below = np.flatnonzero(curve <= start + 3 * both)
        risen = int(below[-1]) + 1 if below.size and below[-1] + 1 < end else None
    return Landmarks(
        low=rate(low),
        steepest=None if low is None or low >= best else rate(low + int(np.gradient(curve)[low : best + 1].argmin())),
        knee=rate(first(curve <= lowest + KNEE * fall)),
        best=rate(best),
        high=rate(risen if risen is not None or (end == len(ramp) and not ramp.stopped) else end - 1),
        start=start,
        lowest=lowest,
        sigma=sigma,
        error=both,
        falling=-at_first > max(4 * slope_error, _FALLEN * fall),
        end=end,
        smooth=smooth,
    )
