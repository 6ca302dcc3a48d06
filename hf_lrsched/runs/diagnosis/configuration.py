"""The learning rate is not what it was set to be: against its plan, where one is known, or by itself.

What it does not know: losses. A resume and a cooldown change the schedule; from there on no plan is held against the run.
"""

from __future__ import annotations

import math

from .finding import Finding
from .plan import Plan
from .rule import Rule
from .sight import Point, Sight

REACHED = 0.9  # share of the peak: the last tenth of a warm-up changes little
HIGH = (
    0.3  # share of the peak: by then half of a cosine's or a linear decay's gain is still to come, and most of a cooldown's
)
OVER = 0.98  # share of the planned steps: a log of every 50th of 2,500 steps ends that near its end
EQUAL = 1e-6  # relative: single precision's rounding of one LR
ZEROS = 20  # points: a warm-up from 0 has one
SKEWED = 0.1  # by how much the ratio of two groups' LRs may miss that of their peaks


class NeverWarm(Rule):
    """The peak is not reached, as the warm-up takes the whole run or was not over when the file ended."""

    def __init__(self) -> None:
        self._plan: Plan | None = None
        self._first = 0
        self._before = self._last = math.nan
        self._step = 0
        self._said = False

    def see(self, point: Point, sight: Sight) -> list[Finding]:
        """With the first point, that the plan leaves no time for it."""
        if point.lrs and math.isfinite(point.lrs[0]):
            if point.lrs[0] != self._last:
                self._before = self._last
            self._last, self._step = point.lrs[0], point.step
        if sight.count:
            return []
        self._first, plan = point.step, Plan.of(sight.setting)
        self._plan = plan
        if plan is None or plan.schedule.warmup < plan.steps or plan.lr(0) >= REACHED * plan.highest:
            return []
        self._said = True
        reached = plan.lr(plan.steps - 1)
        return [
            Finding(
                "configuration",
                "warm-up longer than the run",
                step=point.step,
                since=point.step,
                title="the warm-up takes the whole run",
                evidence=(
                    f"It lasts {plan.schedule.warmup:.10g} steps and the run {plan.steps}: "
                    f"the LR gets to {reached:.3g} of {plan.highest:.3g} and never decays."
                ),
                advice=f"Give a warm-up of a tenth of the run or less, such as warmup_steps={max(plan.steps // 10, 1)}.",
                confidence="high" if plan.named else "medium",  # a script may hand Trainer a scheduler of its own
            )
        ]

    def over(self, sight: Sight) -> list[Finding]:
        """That the LR was still rising at the end."""
        plan, setting = self._plan, sight.setting
        peak = plan.highest if plan else setting.peak[0] if setting.peak else math.nan
        rising = self._before < self._last and self._last >= sight.highest_lr
        if self._said or not rising or not sight.highest_lr < REACHED * peak or not setting.steps:
            return []
        if any(event.kind != "checkpoint" for event in sight.events):  # its peak may lie before what the file holds
            return []
        ended = self._step >= OVER * setting.steps
        return [
            Finding(
                "configuration",
                "peak never reached",
                step=self._step,
                since=self._first,
                title="the LR never reached its peak" if ended else "the file ends within the warm-up",
                evidence=(
                    f"The file ends at step {self._step} of {setting.steps}; the highest LR is {sight.highest_lr:.3g}, "
                    f"{sight.highest_lr / peak:.0%} of the peak {peak:.3g}, and it was still rising."
                ),
                advice=(
                    f"Give a warm-up of a tenth of the run or less ({max(setting.steps // 10, 1)} steps)."
                    if ended
                    else f"If the run is over, give it a warm-up that is: at most a tenth of the {self._step} steps it took."
                ),
                confidence="high" if ended else "low",
                attention=ended,
            )
        ]


class EndsHigh(Rule):
    """The LR is still high where the file ends, though its plan goes down."""

    def __init__(self) -> None:
        self._plan: Plan | None = None
        self._last, self._step = math.nan, 0

    def see(self, point: Point, sight: Sight) -> list[Finding]:
        """Nothing yet: the last LR is kept."""
        if not sight.count:
            self._plan = Plan.of(sight.setting)
        if point.lrs and math.isfinite(point.lrs[0]):
            self._last, self._step = point.lrs[0], point.step
        return []

    def over(self, sight: Sight) -> list[Finding]:
        """That the decay is missing."""
        plan, high = self._plan, self._last / sight.highest_lr if sight.highest_lr > 0 else math.nan
        if plan is None or not high >= HIGH or any(event.kind == "cooldown" for event in sight.events):
            return []
        if self._step <= plan.schedule.warmup:  # NeverWarm's
            return []
        if self._step < OVER * plan.steps:
            return self._early(plan, high)
        cut = plan.schedule.phases[-1]
        low = min(phase.last for phase in plan.schedule.phases) * plan.peak
        if cut.until == 1.0 or plan.lr(plan.steps) < HIGH * plan.highest or low > HIGH / 2 * plan.highest:
            return []
        return [
            Finding(
                "configuration",
                "schedule ends high",
                step=self._step,
                since=self._step,
                title="the run ends within a cycle, at a high LR",
                evidence=f"Its last phase is cut, and the last LR is {self._last:.3g}, {high:.0%} of the highest.",
                advice="Choose a number of cycles that fits the run (cycles=...), or end the run where one ends.",
                confidence="high",
            )
        ]

    def _early(self, plan: Plan, high: float) -> list[Finding]:
        end = plan.lr(plan.steps)
        if end > self._last / 2:
            return []  # the plan leaves it about there
        down = max(round(0.1 * self._step), 1)
        return [
            Finding(
                "configuration",
                "stopped early",
                step=self._step,
                since=self._step,
                title="the file ends before the schedule's decay does",
                evidence=(
                    f"The file ends at step {self._step} of {plan.steps}, where the LR is {self._last:.3g}, {high:.0%} of "
                    f"the highest; the plan goes down to {end:.3g}."
                ),
                advice=(
                    "If the run goes on, nothing. If it was stopped, this model lacks the gain of its decay: resume it and "
                    f"cool down over {down} steps or more, a tenth of those it took."
                ),
                attention=False,
            )
        ]


class GroupsCollapsed(Rule):
    """The parameter groups have different peaks, and their LRs do not keep that ratio."""

    def __init__(self) -> None:
        self._plan: Plan | None = None
        self._over = self._floored = False

    def see(self, point: Point, sight: Sight) -> list[Finding]:
        """The ratio at a point whose LR is high enough for floors not to matter."""
        peaks = sight.setting.peak
        if not sight.count:
            schedule = sight.setting.schedule
            self._floored = schedule is not None and schedule.min_lr > 0
            apart = len(peaks) > 1 and min(peaks) > 0 and max(peaks) > min(peaks) * (1 + SKEWED)
            self._over = not apart or not sight.setting.recorded  # a Trainer's log has the first group's LR alone
        if self._over or not point.lrs:
            return []
        lrs = point.lrs if len(point.lrs) == len(peaks) else point.lrs[:1] * len(peaks)  # one stands for all where equal
        high = max(lr / peak for lr, peak in zip(lrs, peaks, strict=True))
        if not high >= (REACHED if self._floored else SKEWED):  # an absolute floor is the same for all groups
            return []
        shares = [lr / peak for lr, peak in zip(lrs, peaks, strict=True)]
        if min(shares) >= max(shares) * (1 - SKEWED):
            self._over = True  # it holds where it is to be seen best
            return []
        self._over = True
        names = sight.setting.groups or tuple(str(i) for i in range(len(peaks)))
        told = ", ".join(f"{name} {lr:.3g} (peak {peak:.3g})" for name, lr, peak in zip(names[:6], lrs, peaks, strict=False))
        equal = max(lrs) <= min(lrs) * (1 + EQUAL)
        return [
            Finding(
                "configuration",
                "groups collapsed" if equal else "group ratio lost",
                step=point.step,
                since=point.step,
                title="all parameter groups run under one LR"
                if equal
                else "the groups' LRs have lost the ratio of their peaks",
                evidence=f"At step {point.step} the LRs are {told}.",
                advice=(
                    "Look for what sets param_group['lr'] itself: a callback, or a scheduler that writes one LR (a DeepSpeed "
                    "configuration with a scheduler section, or 'lr' set in a loop). A schedule is to multiply each group's "
                    f"own peak; these are {max(peaks) / min(peaks):.3g} times apart."
                ),
                confidence="high",
            )
        ]


class NoLR(Rule):
    """No learning rate was recorded though a schedule or a peak is known, or it is 0."""

    def __init__(self) -> None:
        self._known = self._zeros = 0
        self._said = False

    def see(self, point: Point, sight: Sight) -> list[Finding]:
        """That it has been 0 from the start."""
        lrs = [lr for lr in point.lrs if math.isfinite(lr)]
        self._known += bool(lrs)
        if self._said or not lrs or self._zeros < 0:
            return []
        self._zeros = self._zeros + 1 if max(lrs) <= 0 else -1
        plan = Plan.of(sight.setting) if self._zeros == ZEROS else None
        if self._zeros != ZEROS or (plan is not None and plan.between(point.step - ZEROS, point.step - 1)[1] <= 0):
            return []
        self._said = True
        return [
            Finding(
                "configuration",
                "lr is zero",
                step=point.step,
                since=point.step - ZEROS + 1,
                title="the learning rate is 0",
                evidence=f"All of the first {ZEROS} points have an LR of 0.",
                advice="Set a learning_rate above 0, and look whether the scheduler is stepped and its warm-up ends.",
                confidence="high",
            )
        ]

    def over(self, sight: Sight) -> list[Finding]:
        """That none was recorded."""
        if self._known or not sight.count or not (sight.setting.peak or sight.setting.schedule):
            return []
        step = sight.points[-1].step
        return [
            Finding(
                "configuration",
                "no lr recorded",
                step=step,
                since=sight.points[0].step,
                title="no learning rate was recorded",
                evidence=f"None of {sight.count} points up to step {step} has one, though a schedule or a peak is known.",
                advice="Record it (LRRecorder does): without it no rule can tell what the schedule did.",
                confidence="high",
                attention=False,
            )
        ]
