"""The LR does not follow its plan: the scheduler runs at another pace or not at all, or something else sets the LR.

What it does not know: losses. A resume and a cooldown change the schedule; from there on no plan is held against the run.
"""

from __future__ import annotations

import math

from .finding import Finding
from .plan import Plan
from .rule import Rule
from .sight import Point, Sight

# Share of the highest LR by which a recorded one may miss its plan: several times what rounded logs leave (nanoGPT's, with
# six decimals of 6e-4, miss it by 0.1 %), and reached within 1/20 of a ramp by a schedule that runs at another pace.
MISSED = 0.05
MATCHED = 0.02  # the same for the plan at another pace, which must explain every sample
SAMPLES = 8  # in a row that miss the plan: a resume or an edit of one LR is not taken for another schedule
STILL = 1e-3  # relative: no schedule that moves stays so near one value over as many samples
DISTINCT = 48  # samples in a row after which the best of several paces is named
KEPT = 64  # samples that are held against each pace
PACES = (*range(2, 65), *(1 / n for n in range(2, 17)))  # scheduler steps an update: processes, micro-batches; or the inverse


class AnotherSchedule(Rule):
    """The LR does not follow its plan: at another pace, not at all, or something else sets it."""

    def __init__(self) -> None:
        self._plan: Plan | None = None
        self._samples: list[tuple[int, float]] = []
        self._skipped = self._off = self._agreed = 0
        self._next, self._over = 0, False

    def see(self, point: Point, sight: Sight) -> list[Finding]:
        """Every so many steps the LR is held against the plan."""
        if not sight.count:
            self._plan = Plan.of(sight.setting)
        update = point.step - 1 - self._skipped  # Trainer leaves the schedule where it was where an update was skipped
        self._skipped += point.skipped
        if self._over or self._plan is None or point.step < self._next or not point.lrs:
            return []
        if any(event.kind != "checkpoint" for event in sight.events) or update >= self._plan.steps:
            self._over = True
            return []
        lr = point.lrs[0]
        if not math.isfinite(lr) or update < 0:
            return []
        self._next = point.step + max(1, point.step // 32)  # ever rarer, so that the last samples are 3 % of the run apart
        self._samples = [*self._samples[-KEPT + 1 :], (update, lr)]
        # A Trainer's log does not say what was skipped: fp16's scale, 2**16 at first, is halved by up to 16 skips.
        late = 1.0 if sight.setting.recorded else 16.0 + 0.02 * update
        low, high = self._plan.between(update - late, update + 1.0)
        band = MISSED * self._plan.highest
        if low - band <= lr <= high + band:
            self._off, self._agreed = 0, self._agreed + 1
            return []
        self._off += 1
        if self._off < SAMPLES:
            return []
        lrs = [lr for _, lr in self._samples]
        still = max(lrs) - min(lrs) <= STILL * max(lrs)
        paces = [] if still else self._paces(self._plan)
        if len(paces) > 1 and self._off < DISTINCT:
            return []
        self._over = True
        if paces:
            return [self._paced(paces[0], self._plan, point, sight)]
        return [self._stands_still(self._plan, point) if still else self._overridden(self._plan, point, sight)]

    def _told(self, plan: Plan, point: Point) -> str:
        update, lr = self._samples[-1]
        return f"At step {point.step} of {plan.steps} the LR is {lr:.3g}, where the plan has {plan.lr(update):.3g}. "

    def _stands_still(self, plan: Plan, point: Point) -> Finding:
        (first, lr), count = self._samples[0], len(self._samples)
        return self._said(
            "scheduler never stepped",
            point,
            "the LR does not move though its schedule does",
            f"{self._told(plan, point)}It has been {lr:.3g} at each of {count} samples since step {first + 1}.",
            "Call scheduler.step() after every optimizer step, on the scheduler of this very optimizer: one that was "
            "wrapped or made anew keeps its old LR.",
        )

    def _overridden(self, plan: Plan, point: Point, sight: Sight) -> Finding:
        theirs = bool(sight.setting.arguments.get("deepspeed"))
        since = f"It followed the plan for {self._agreed} samples before that. " if self._agreed >= SAMPLES else ""
        named = "the schedule that its record names" if plan.named else "what its arguments name"
        return self._said(
            "schedule overridden",
            point,
            f"the LR follows something else than {named}",
            f"{self._told(plan, point)}{since}No pace between 1/16 and 64 scheduler steps an update explains it.",
            "Take the scheduler section out of the DeepSpeed configuration, which takes the place of Trainer's."
            if theirs
            else "Look for what else sets the LR: a scheduler in a DeepSpeed configuration, a callback, a second scheduler.",
            attention=plan.named or theirs,
        )

    def _paced(self, pace: float, plan: Plan, point: Point, sight: Sight) -> Finding:
        at = f"{self._told(plan, point)}All of {len(self._samples)} samples lie on the plan at {pace:.3g} times the step: "
        if pace < 1:
            return self._said(
                "lr stepped too rarely",
                point,
                f"the scheduler is stepped once in {1 / pace:.3g} updates",
                f"{at}it ends after {pace:.0%} of its schedule.",
                f"Step it at every update, or give it {max(round(plan.steps * pace), 1)} steps.",
            )
        accumulated = sight.setting.arguments.get("gradient_accumulation_steps") == pace
        why = (
            f"It is stepped at every micro-batch (gradient_accumulation_steps={pace:.3g})"
            if accumulated
            else f"Two places step it, or accelerate's prepared scheduler does so once for each of {pace:.3g} processes"
        )
        return self._said(
            "lr stepped twice" if pace == 2 else "lr stepped several times",
            point,
            f"the scheduler is stepped {pace:.3g} times per update",
            f"{at}it reaches its end at step {round(plan.steps / pace)} of {plan.steps}.",
            f"{why}: step it once per update, or, where it must be, give it {round(plan.steps * pace)} steps.",
        )

    def _paces(self, plan: Plan) -> list[float]:
        """The paces at which the plan explains every sample, the one that misses them least first."""
        band, found = MATCHED * plan.highest, []
        for pace in PACES:
            inside = [(math.floor(update * pace), lr) for update, lr in self._samples if update * pace <= plan.steps]
            off = 0.0
            for at, lr in inside:
                low, high = plan.between(at - max(pace, 1.0), at + max(pace, 1.0))  # the log may hold the LR a step later
                if not low - band <= lr <= high + band:
                    break
                off += abs(lr - plan.lr(at))
            else:
                if len(inside) >= SAMPLES:
                    found.append((off / len(inside), pace))
        return [pace for _, pace in sorted(found)]

    def _said(self, cause: str, point: Point, title: str, evidence: str, advice: str, *, attention: bool = True) -> Finding:
        first = self._samples[-min(self._off, len(self._samples))][0] + 1
        return Finding(
            "configuration",
            cause,
            step=point.step,
            since=first,
            title=title,
            evidence=evidence,
            advice=advice,
            confidence="high" if self._plan is not None and self._plan.named else "medium",
            attention=attention,
        )
