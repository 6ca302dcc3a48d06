"""The loss has stopped falling long before the run ends: at a constant LR, at the schedule's floor, or at an LR of 0.

Flat is what fell by nearly nothing since half of the steps so far, and is sure to have: against the whole fall, so neither
the unit nor the zero of the loss matters, and on the scale of doublings, on which healthy curves go on falling.

What it does not know: why a loss that fell has stopped. A curve that never fell is another family's.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from .finding import Finding
from .plan import Plan
from .rule import Rule
from .sight import Point, Sight

# Share of the whole fall that came in the last half of the steps. At a constant LR the least of healthy runs at any time is
# 2.2 % (mT5's of the Trainer states; nanoGPT 3.3 %, the other Trainer state 4.3 %, multipower 7.8 %): a quarter of that.
FLAT = 0.005
SURE = 3.0  # standard errors of that fall which it must leave room for: it is asked some twenty times a run
CHUNKS = 8  # means from which the fall and its error are told: long enough that slow waves count as noise
BLOCKS = 4 * CHUNKS  # of the last half, at the least
STEADY = 0.9  # the lowest LR of the last half over its highest: less is a decay, and the curve then follows it
HIGH = 0.5  # share of the highest LR: at less the schedule has gone down and stays there
LEFT = 0.2  # share of the run: the length of a cooldown (wsd's default); with less left there is nothing to change
USED_UP = 0.05  # share of the first loss: a positive loss that has come so far down has nowhere to fall
AGAIN = 1.25  # steps between two looks, as a factor
NOTHING = 1e-6  # share of the highest LR: one-cycle's end, the lowest that anybody plans, is 4e-6
WASTED = 0.1  # share of the run at an LR of 0


class _Last(NamedTuple):
    """The last half of the steps so far."""

    since: int
    fall: float
    error: float
    level: float
    lr: float
    low: float


class Flat(Rule):
    """The loss fell, and has stopped at an LR that stands still."""

    def __init__(self) -> None:
        self._next = 2 * BLOCKS
        self._said = False

    def see(self, point: Point, sight: Sight) -> list[Finding]:
        """Looks at the last half of the steps, at growing intervals."""
        if self._said or sight.count < self._next:
            return []
        self._next = int(sight.count * AGAIN)
        last, steps = _last_half(sight, point.step), sight.setting.steps
        if last is None or not last.low >= STEADY * last.lr or not last.lr > NOTHING * sight.highest_lr:
            return []
        if steps and point.step > (1 - LEFT) * steps:
            return []
        first = sorted(sight.first[:5])
        start = first[len(first) // 2]
        whole = start - last.level
        flat = last.fall + SURE * last.error < FLAT * whole and last.fall > -SURE * last.error  # a rise is no plateau
        if not flat or (start > 0 and last.level < USED_UP * start):
            return []
        self._said = True
        return [self._finding(point, sight, last, whole)]

    def _finding(self, point: Point, sight: Sight, last: _Last, whole: float) -> Finding:
        high, steps = last.lr >= HIGH * sight.highest_lr, sight.setting.steps
        left = f"; {steps - point.step} of {steps} steps are left" if steps else ""
        down = max(round(LEFT * ((steps or 0) - point.step if steps else point.step)), 1)
        return Finding(
            "plateau",
            "unknown" if high else "schedule floor reached",
            step=point.step,
            since=last.since,
            title="the loss has stopped falling at a constant LR"
            if high
            else "the loss has stopped falling at the LR's floor",
            evidence=(
                f"From step {last.since} to {point.step} it fell by {last.fall:.2g} (standard error {last.error:.1g}), of "
                f"{whole:.4g} in all, at an LR of {last.lr:.3g}, {last.lr / sight.highest_lr:.0%} of the highest{left}."
            ),
            advice=(
                f"The curve alone does not tell why. Cool down now, over {down} steps: if the loss falls, the LR "
                f"held it up, and the rest of the steps is better spent in a decay; if not, look at labels, data and model."
                if high
                else f"The schedule has come down too early: end the run here, or restart at up to {sight.highest_lr:.3g} "
                f"and decay over the steps that are left."
            ),
            confidence="medium",
        )


def _last_half(sight: Sight, step: int) -> _Last | None:
    """The fall of the last half and its standard error, from a line through the means of `CHUNKS` parts."""
    half = [block for block in sight.blocks if block[0] >= step / 2]
    if len(half) < BLOCKS:
        return None
    size, lrs = len(half) // CHUNKS, [block[2] for block in half]
    half = half[len(half) - size * CHUNKS :]
    means = [sum(block[1] for block in half[i : i + size]) / size for i in range(0, len(half), size)]
    away = [i - (CHUNKS - 1) / 2 for i in range(CHUNKS)]
    spread, mean = sum(x * x for x in away), sum(means) / CHUNKS
    slope = sum(x * y for x, y in zip(away, means, strict=True)) / spread
    left = math.hypot(*(y - mean - slope * x for x, y in zip(away, means, strict=True)))
    error = left / math.sqrt((CHUNKS - 2) * spread)
    return _Last(int(half[0][0]), -slope * CHUNKS, error * CHUNKS, means[-1], max(lrs), min(lrs))


class NothingLeft(Rule):
    """The LR is 0 for a good part of the run, behind a part where it was not."""

    def __init__(self) -> None:
        self._since = self._step = 0
        self._plan: Plan | None = None
        self._said = False

    def see(self, point: Point, sight: Sight) -> list[Finding]:
        """How long the LR has been 0."""
        if not sight.count:
            self._plan = Plan.of(sight.setting)
        self._step = point.step
        if not point.lrs or not point.lrs[0] <= NOTHING * sight.highest_lr or sight.highest_lr <= 0:
            self._since = 0
            return []
        self._since = self._since or point.step
        steps = sight.setting.steps
        if self._said or not steps or point.step - self._since < WASTED * steps:
            return []
        return self._finding(sight, steps)

    def over(self, sight: Sight) -> list[Finding]:
        """The same for a run whose length was not known."""
        known = bool(sight.setting.steps) or not self._since
        return (
            [] if self._said or known or self._step - self._since < WASTED * self._step else self._finding(sight, self._step)
        )

    def _finding(self, sight: Sight, steps: int) -> list[Finding]:
        self._said = True
        planned = self._plan is not None
        if self._plan is not None and self._plan.between(self._since, self._step)[1] > NOTHING * self._plan.highest:
            return []  # AnotherSchedule's, which says why
        wasted = self._step - self._since
        return [
            Finding(
                "plateau",
                "schedule floor reached",
                step=self._step,
                since=self._since,
                title="the LR has reached 0, and nothing is trained since",
                evidence=f"It has been 0 since step {self._since}, for {wasted} steps, {wasted / steps:.0%} of {steps}.",
                advice=(
                    f"Give the schedule all {steps} steps, or end the run at {self._since}. A schedule that ends at half of "
                    "the run is often stepped twice per update."
                ),
                confidence="high",
                attention=not planned,
            )
        ]
