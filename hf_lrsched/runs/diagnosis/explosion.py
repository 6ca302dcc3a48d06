"""The loss explodes, or is no number any more.

What has to be told apart: a learning rate that is too high from a warm-up that is too short, from a bad batch, and from what
the log hides (Transformers replaces losses that are not finite; diagnosis.md, fact 3).
"""

from __future__ import annotations

import math
from collections import deque
from statistics import median
from typing import NamedTuple

from .finding import Confidence, Finding, rounded
from .rule import Rule
from .schedule_did import Doing, doing
from .sight import Point, Sight

SIGMAS = 8.0  # of a single loss, as for a range test (ramp.Divergence): of 800 curves of noise 2 in 100 reach it
GAIN = 0.5  # of what was gained since the start, that must be lost again; BLOOM's spike of 2.9 of 9 nats did no harm
SUSTAINED = 9  # losses whose median must lie there: a bad batch takes three or four with it, and they come back
SUSTAINED_LOGGED = 5  # the same for entries that are means over many steps
_CALM = 10  # losses before anything is told
LEAD = 3.0  # times its median, that a gradient norm leads with: BLOOM's stood at 3.9 four steps ahead of the loss's peak
_BACK = 10  # points in which a lead is looked for; BLOOM's were 4
LOWER = 0.3  # the guide's "reduce 3 to 10x", at its mild end: a rescue may be repeated
_CONFIRMED = 3  # losses in a row that are not finite: the weights are lost, while after a bad batch the next is finite
_LEAST = 1e-3  # of the first loss: the least noise that is reckoned with, as losses may be rounded, or all the same


def scale(sight: Sight) -> float:
    """The standard deviation of a single loss about its trend: of neighbours, or of the last 64 where that is more."""
    wide = (sight.losses.quantile(0.9) - sight.losses.quantile(0.1)) / 2.563  # between the tenths of a normal distribution
    return max(sight.noise, wide, _LEAST * abs(sight.first[0]) if sight.first else 0.0)


def calm_scale(sight: Sight) -> float:
    """The same where the last losses may be on their way up: of what lies below their median alone."""
    below = (sight.losses.median - sight.losses.quantile(0.1)) / 1.282
    return max(sight.noise, below, _LEAST * abs(sight.first[0]) if sight.first else 0.0)


def lead(sight: Sight, before: int) -> tuple[int, float] | None:
    """The step at which the gradient norm left its band, and how many times its median it was, looking back from `before`."""
    usual = sight.norms.median
    if not usual > 0:
        return None
    first = None
    for point in reversed([one for one in list(sight.points)[-_BACK:] if one.step <= before]):
        if math.isfinite(point.grad_norm) and point.grad_norm < LEAD * usual:
            break
        if point.grad_norm >= LEAD * usual:  # not one that is not finite: that is no lead but the end
            first = (point.step, point.grad_norm / usual)
    return first


class NotFinite(Rule):
    """The loss is NaN or infinite: for good, or once."""

    def __init__(self) -> None:
        self._since: Point | None = None
        self._did: Doing = ""
        self._count = 0
        self._said = self._said_once = False

    def see(self, point: Point, sight: Sight) -> list[Finding]:
        """Three in a row, or one that is followed by finite ones."""
        if self._said or not point.logged:
            return []
        if math.isfinite(point.loss):
            first, self._since, self._count = self._since, None, 0
            if first is None or point.loss == 0 or self._said_once:
                return []
            self._said_once = True
            return [self._once(first, point)]
        if self._since is None:
            self._since, self._did = point, doing(point, sight)
        self._count += 1
        return [self._for_good(self._since, point, sight)] if self._count >= _CONFIRMED else []

    def over(self, sight: Sight) -> list[Finding]:
        """A run that stopped at once."""
        return [] if self._said or self._since is None else [self._for_good(self._since, sight.points[-1], sight)]

    def _once(self, first: Point, point: Point) -> Finding:
        return Finding(
            "spike",
            "bad batch",
            step=point.step,
            since=first.step,
            title="the loss of a batch was not finite, and training went on",
            evidence=f"loss {first.loss} at step {first.step}; {point.loss:.4g} again at step {point.step}",
            advice=f"look at the batch of step {first.step} (empty labels, an overflow); it is not the learning rate",
            confidence="medium",
        )

    def _for_good(self, first: Point, point: Point, sight: Sight) -> Finding:
        self._said = True
        likely = _cause(first, sight, self._did)
        evidence = f"the first at step {first.step}" + (f", {self._count} in a row" if self._count > 1 else "")
        return Finding(
            "explodes",
            likely.cause,
            step=point.step,
            since=likely.since,
            title="the loss is no longer a number",
            evidence=f"{evidence}; {likely.told}",
            advice=likely.advice,
            factor=likely.factor,
            confidence=likely.confidence,
        )


class HiddenNaN(Rule):
    """A loss of exactly 0 where the gradient norm is NaN: Transformers' log leaves out losses that are not finite."""

    def __init__(self) -> None:
        self._said = self._calm = False
        self._zeros: list[int] = []

    def see(self, point: Point, sight: Sight) -> list[Finding]:
        """A whole window of them with a norm that says so, or three exact zeros in a row behind losses not near it."""
        if self._said or not point.logged:
            return []
        if point.loss != 0 or math.isfinite(point.grad_norm):  # a loss that was NaN leaves no finite norm
            self._zeros = []
            return []
        if not self._zeros:
            self._calm = (
                bool(sight.first) and sight.losses.quantile(0.0) > 0.01 * abs(sight.first[0]) and not sight.setting.recorded
            )
        self._zeros.append(point.step)
        told = sight.norms.median > 0
        needed = 1 if told and sight.setting.averaged > 1 else _CONFIRMED  # of a single batch, fp16 may skip the update
        return [self._finding(point.step, sight)] if len(self._zeros) >= needed and (told or self._calm) else []

    def over(self, sight: Sight) -> list[Finding]:
        """A log that ends before it is confirmed."""
        known = self._zeros and sight.norms.median > 0 and not self._said
        return [self._finding(sight.points[-1].step, sight)] if known else []

    def _finding(self, step: int, sight: Sight) -> Finding:
        self._said = True
        told = sight.norms.median > 0
        zeros = f"{len(self._zeros)} times in a row" if len(self._zeros) > 1 else "once"
        return Finding(
            "explodes",
            "hidden NaN",
            step=step,
            since=self._zeros[0],
            title="the loss is NaN, and the log hides it",
            evidence=f"loss exactly 0 from step {self._zeros[0]} on, {zeros}{', and the gradient norm NaN' * told}; "
            "logging_nan_inf_filter replaces losses that are not finite, and a window without any other adds up to 0",
            advice="stop, and go on from a checkpoint before it with the peak divided by 3 to 10; set "
            "logging_nan_inf_filter=False, or use LRRecorder, to see the first bad step",
            factor=LOWER,
            confidence="high" if told else "medium",
        )


class Diverges(Rule):
    """The loss is finite and has lost half of what was gained, for good."""

    def __init__(self) -> None:
        self._last: deque[float] = deque()
        self._onset: Point | None = None
        self._did: Doing = ""
        self._noise = 0.0
        self._start = math.nan
        self._said = False

    def see(self, point: Point, sight: Sight) -> list[Finding]:
        """A median of the last losses far above the lowest so far."""
        if self._said or not math.isfinite(point.loss):
            return []
        if not self._last:
            self._last = deque(maxlen=SUSTAINED_LOGGED if sight.setting.averaged > 1 else SUSTAINED)
        self._last.append(point.loss)
        if len(sight.first) < _CALM or not math.isfinite(sight.lowest):
            return []
        if math.isnan(self._start):
            self._start = min(sight.first[0], median(sight.first[:_CALM]))  # a first update may have thrown the others up
        start = self._start
        bar = sight.lowest + GAIN * max(start - sight.lowest, 0.0)
        if point.loss <= bar or point.loss <= bar + SIGMAS * (noise := calm_scale(sight)) or _nothing(point, sight, noise):
            if len(self._last) == self._last.maxlen and median(self._last) <= bar:
                self._onset = None
            return []
        if self._onset is None:
            self._onset, self._did, self._noise = point, doing(point, sight), noise
        now = median(self._last)
        if len(self._last) != self._last.maxlen or now <= bar + SIGMAS * self._noise:
            return []
        if self._did in ("restart", "resume") and doing(point, sight) == self._did:  # it may yet come back
            return []
        self._said = True
        return [self._finding(point, sight, now, start)]

    def _finding(self, point: Point, sight: Sight, now: float, start: float) -> Finding:
        assert self._onset is not None
        likely = _cause(self._onset, sight, self._did)
        return Finding(
            "explodes",
            likely.cause,
            step=point.step,
            since=likely.since,
            title="the loss has diverged",
            evidence=f"the median of the last {len(self._last)} losses is {now:.4g}; the lowest was {sight.lowest:.4g} (step "
            f"{sight.lowest_at}), the start {start:.4g}, the noise of one {self._noise:.2g}; {likely.told}",
            advice=likely.advice,
            factor=likely.factor,
            confidence=likely.confidence,
        )


def _nothing(point: Point, sight: Sight, noise: float) -> bool:
    """Whether the loss began at nothing and has gained nothing, so that there is none to lose."""
    return point.loss <= sight.nothing and sight.first[0] - sight.lowest <= SIGMAS * noise


class _Cause(NamedTuple):
    """What is likely behind an explosion."""

    cause: str
    since: int
    told: str
    advice: str
    factor: float | None = LOWER
    confidence: Confidence = "high"


def _cause(first: Point, sight: Sight, did: Doing) -> _Cause:
    """What is likely behind an explosion whose first bad loss is that of `first`, while the schedule `did` something."""
    since, told = _led(first, sight)
    known, lr = math.isfinite(sight.norms.median), first.lrs[0] if first.lrs else math.nan
    if did == "warm-up":
        peak = sight.peak
        factor = max(LOWER * min(lr / peak, 1.0), 0.01) if peak > 0 and lr > 0 else LOWER
        told += f"; the LR was on its way up, at {lr:.3g} of {peak:.3g}"
        return _Cause("lr too high", since, told, _lower(factor), factor)
    if did == "end of warm-up":
        told += f"; the warm-up ended at step {sight.peak_at}"
        advice = f"warm up two to five times as long; where that does not help, {_lower()}"
        return _Cause("warm-up too short", since, told, advice, confidence="medium")
    if did == "no warm-up":
        told += "; the run began at its highest LR"
        return _Cause("lr too high", since, told, f"warm up over 1 to 5 % of the run, and {_lower()}")
    if did == "resume":
        told += "; the run had just been resumed"
        advice = f"see whether optimizer, scheduler and scaler were restored; where they were, {_lower()}"
        return _Cause("unknown", since, told, advice, confidence="medium")
    if did == "restart":
        told += "; the LR had just risen again"
        return _Cause("lr too high", since, told, _lower(), confidence="medium")
    if known and since == first.step:
        told += ", and the LR did nothing special"
        advice = (
            f"look at the batch of step {since} (an overflow counts as one); go on from a checkpoint before it without that "
            "batch; where it comes again elsewhere, lower the peak"
        )
        return _Cause("bad batch", since, told, advice, None, "low")
    return _Cause("lr too high", since, told, _lower(), confidence="high" if known else "medium")


def _led(first: Point, sight: Sight) -> tuple[int, str]:
    """Where it began, and what the gradient norm says of it."""
    led, usual = lead(sight, first.step), sight.norms.median
    if led is not None and led[0] < first.step:
        ahead = first.step - led[0]
        return led[0], f"the gradient norm left its band {steps(ahead)} earlier, at {led[1]:.3g} times its median"
    if math.isfinite(usual):
        return first.step, f"the gradient norm gave no sign before it (median {usual:.3g})"
    return first.step, "the gradient norm is not known"


def steps(count: int) -> str:
    """So many, in words."""
    return f"{count} step{'s' * (count != 1)}"


def _lower(factor: float = LOWER) -> str:
    return f"go on from a checkpoint before it with the peak divided by {rounded(1 / factor)} or more"
