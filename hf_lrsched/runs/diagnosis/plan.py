"""What the learning rate of a run was to be: `Plan`, from the schedule that its record names or from Trainer's arguments.

What it does not know: Transformers' schedules beyond the three whose formula its arguments settle.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ...schedules.phase import fall, hold, rise
from ...schedules.schedule import Schedule
from .sight import Setting


@dataclass(frozen=True)
class Plan:
    """The LR of the first group at every update.

    Args:
        schedule: what it follows.
        peak: the LR of multiplier 1.
        steps: updates in the run.
        named: whether the record itself holds the schedule; where not, it is what Trainer makes of the arguments, and a
            script may have handed it another one.
    """

    schedule: Schedule
    peak: float
    steps: int
    named: bool

    @classmethod
    def of(cls, setting: Setting) -> Plan | None:
        """The plan of a run; None where what is known of it does not settle one."""
        named = setting.schedule is not None
        schedule = setting.schedule or _as_trainer_does(setting)
        peak = setting.peak[0] if setting.peak else setting.arguments.get("learning_rate")
        if schedule is None or not setting.steps or not isinstance(peak, int | float) or not 0 < peak < math.inf:
            return None
        return cls(schedule, float(peak), setting.steps, named) if schedule.min_lr <= peak else None

    @property
    def highest(self) -> float:
        """The highest LR it has."""
        return max(max(phase.start, phase.last) for phase in self.schedule.phases) * self.peak

    def lr(self, update: float) -> float:
        """At `update`, from 0."""
        share, floor = self.schedule.split(update)
        lr = share * self.peak + floor * self.schedule.min_lr
        return max(lr, self.schedule.min_lr) if update >= self.schedule.warmup else lr

    def between(self, first: float, last: float) -> tuple[float, float]:
        """The lowest and the highest LR at both ends and half-way, a rounding wider."""
        lrs = [self.lr(max(update, 0.0)) for update in (first, (first + last) / 2, last)]
        return min(lrs), max(lrs)


def _as_trainer_does(setting: Setting) -> Schedule | None:
    """What Trainer makes of ``lr_scheduler_type``, where it has no arguments of its own."""
    given, steps = setting.arguments, setting.steps
    kind, warmup = str(given.get("lr_scheduler_type", "")), given.get("warmup_steps") or given.get("warmup_ratio") or 0
    if given.get("lr_scheduler_kwargs") or not steps or not isinstance(warmup, int | float) or warmup < 0:
        return None
    up = math.ceil(warmup * steps) if warmup < 1 else int(warmup)  # as TrainingArguments.get_warmup_steps
    if kind in ("linear", "cosine"):
        return rise(up) >> fall(max(steps - up, 0), kind)
    if kind in ("constant", "constant_with_warmup"):
        return rise(up if kind != "constant" else 0) >> hold(max(steps - up, 0))
    return None
