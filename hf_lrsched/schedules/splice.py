"""A schedule cut short, cooled down from any step on, or read as cycles.

What it does not know: why a run cools down (`training.cooldown`) and what is kept at a cycle's end (`training.snapshots`).
"""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import accumulate, pairwise

from .checks import real
from .phase import Phase, fall, hold
from .schedule import Schedule
from .shapes import parse


def cut(schedule: Schedule, step: float) -> Schedule:
    """The first `step` steps of `schedule`; past its end, its last value is held up to there.

    >>> from hf_lrsched import fall, rise
    >>> cut(rise(10) >> fall(90, "linear"), 55)
    Schedule(warmup 10: 0 -> 1 linear, decay 45: 1 -> 0.5 linear)
    """
    real("step", step, least=0)
    starts = accumulate((phase.length for phase in schedule.phases), initial=0.0)
    kept = [_cut_phase(phase, start, step) for start, phase in zip(starts, schedule.phases, strict=False) if start < step]
    if step > schedule.total or not kept:
        kept.append(hold(max(step - schedule.total, 0.0) if kept else step, at=schedule(step), name="held"))
    momentum = None if schedule.momentum is None else cut(schedule.momentum, step)
    return Schedule(tuple(kept), momentum, schedule.min_lr)


def _cut_phase(phase: Phase, start: float, step: float) -> Phase:
    if start + phase.length <= step:
        return phase
    if phase.start == phase.end:
        return replace(phase, length=step - start)
    share = (step - start) / phase.length
    return replace(phase, length=step - start, until=phase.until * share)


def cooled(schedule: Schedule, at: float, steps: float, shape: str = "1-sqrt", to: float = 0.0) -> Schedule:
    """`schedule` up to step `at`, and from there a decay of `steps` steps to the share `to` of the peak.

    The decay starts at the value that step `at` would have had, so the LR does not jump. Momentum stays where it is.

    >>> from hf_lrsched import hold, rise
    >>> cooled(rise(10) >> hold(10**9), at=500, steps=100)
    Schedule(warmup 10: 0 -> 1 linear, stable 490: 1, decay 100: 1 -> 0 1-sqrt)

    Raises:
        ValueError: where the schedule is already at `to` or below it, or on its way to an absolute floor.
    """
    value = schedule(at)
    if value <= real("to", to, least=0):
        raise ValueError(f"at step {at:g} the LR is at {value:g} of its peak, so there is nothing to cool down to {to:g}")
    if schedule.min_lr and schedule.split(at)[1] > 0:
        raise ValueError(f"at step {at:g} the schedule is already on its way to its floor (min_lr {schedule.min_lr:g})")
    before = cut(schedule, at)
    tail = Schedule((fall(steps, parse(shape), start=value, to=to),), min_lr=schedule.min_lr)
    if before.momentum is not None:
        tail = tail.with_momentum(Schedule((hold(steps, at=before.momentum(math.inf), name="held"),)))
    return (before >> tail).named(schedule.name)


def cycle_ends(schedule: Schedule) -> list[int]:
    """The steps after which a cycle is over: where the LR is about to rise again after a fall, and the schedule's end.

    >>> from hf_lrsched import warm_restarts, wsd
    >>> cycle_ends(warm_restarts(90, cycles=3, warmup=0)), cycle_ends(wsd(90))
    ([30, 60, 90], [90])
    """
    ends, spans = [], schedule.spans()
    fallen = False
    for (_, end, phase), (_, _, after) in pairwise(spans):
        fallen = fallen or phase.last < phase.start
        if fallen and max(after.start, after.last) > phase.last:
            ends.append(math.ceil(end))
            fallen = False
    return list(dict.fromkeys([*ends, math.ceil(schedule.total)]))
