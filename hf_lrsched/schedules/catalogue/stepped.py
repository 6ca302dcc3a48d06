"""Schedules that stand still or drop: `constant`, `step_decay`, `multi_step`."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..checks import real
from ..lengths import Horizon, Length
from ..phase import hold, rise
from ..schedule import Schedule, chain
from .entry import named
from .floor import Floor

_MOST_DROPS = 10_000  # each is a phase; a schedule of more is a typing error, and would not fit a checkpoint


@named(
    "constant",
    summary="the peak throughout, after an optional warm-up; the baseline",
    source="the guide's baseline",
    registered=False,
    why_not="the name is Transformers' own, which drops its kwargs; phases says the same there",
)
def constant(steps: int, *, warmup: Length = 0) -> Schedule:
    """The peak throughout, after an optional linear warm-up.

    Args:
        steps: optimizer steps in the run.
        warmup: a length; none by default.

    >>> constant(100, warmup=10)
    Schedule(warmup 10: 0 -> 1 linear, stable 90: 1)
    """
    run = Horizon.of(steps)
    up = run.warmup(warmup)
    return rise(up) >> hold(run.fit(warmup=up))


@named(
    "step_decay",
    summary="drops by a factor every N steps",
    source="x0.1 as in torch StepLR; a third of the run is the guide's 30 of 90 epochs",
    aliases={"step_size": "every", "gamma": "factor"},
    jumps=True,
)
def step_decay(
    steps: int,
    *,
    every: Length | None = None,
    factor: float = 0.1,
    warmup: Length = 0,
    min_lr: float | None = None,
    min_lr_ratio: float | None = None,
) -> Schedule:
    """The peak, times `factor` after each `every`: ``factor ** (step // every)``, as torch's StepLR.

    Args:
        steps: optimizer steps in the run.
        every: length between drops, counted from step 0 (torch: ``step_size``); default a third of the run.
        factor: what each drop multiplies by, above 0 and at most 1 (torch: ``gamma``).
        warmup: a length, within the first `every`; none by default.
        min_lr, min_lr_ratio: a floor under the drops, as a learning rate or as a share of the peak.

    90 epochs, a tenth of the LR at 30 and 60:

    >>> step_decay(Horizon(9000, steps_per_epoch=100), every="30 epochs")
    Schedule(step 1 3000: 1, step 2 3000: 0.1, step 3 3000: 0.01)
    """
    run = Horizon.of(steps)
    length = run / 3 if every is None else run.steps_of(every, "every")
    drops = math.ceil(run / length - 1e-9) - 1 if length * _MOST_DROPS >= run else _MOST_DROPS
    if drops >= _MOST_DROPS:
        raise ValueError(f"every={every!r} makes more than {_MOST_DROPS} drops in {int(run)} steps; make it longer")
    return _drops(run, [length * i for i in range(1, drops + 1)], factor, warmup, Floor.of(run, min_lr, min_lr_ratio))


@named(
    "multi_step",
    summary="drops by a factor at given points",
    source="DeepSeek-V2-Lite: x0.316 after 80 % and again after 90 % of the run",
    aliases={"gamma": "factor"},
    jumps=True,
)
def multi_step(
    steps: int,
    *,
    milestones: Sequence[Length] = ("80%", "90%"),
    factor: float = 0.316,
    warmup: Length = 0,
    min_lr: float | None = None,
    min_lr_ratio: float | None = None,
) -> Schedule:
    """The peak, times `factor` at each of `milestones`, as torch's MultiStepLR.

    Args:
        steps: optimizer steps in the run.
        milestones: rising lengths, counted from step 0.
        factor: what each drop multiplies by, above 0 and at most 1 (torch: ``gamma``).
        warmup: a length, within the first milestone; none by default.
        min_lr, min_lr_ratio: a floor under the drops, as a learning rate or as a share of the peak.

    >>> multi_step(1000)
    Schedule(step 1 800: 1, step 2 100: 0.316, step 3 100: 0.099856)
    """
    run = Horizon.of(steps)
    if isinstance(milestones, str) or not isinstance(milestones, Sequence):
        raise ValueError(f"milestones={milestones!r} is not a list of lengths, such as ['80%', '90%']")
    at = [run.steps_of(milestone, "milestones") for milestone in milestones]
    if at != sorted(at):
        raise ValueError(f"milestones={list(milestones)} must rise (in steps: {', '.join(f'{a:.10g}' for a in at)})")
    return _drops(run, at, factor, warmup, Floor.of(run, min_lr, min_lr_ratio))


def _drops(run: Horizon, at: Sequence[float], factor: float, warmup: Length, floor: Floor) -> Schedule:
    factor = real("factor", factor, above=0, most=1)
    up = run.warmup(warmup)
    first, *_ = [*at, float(run)]
    if up > first:
        raise ValueError(f"warmup ({up:.10g} steps) runs into the first drop, after {first:.10g}; shorten it or drop later")
    edges = [up, *at, float(run)]
    levels = [max(factor**i, floor.ratio) for i in range(len(edges) - 1)]
    steps = [
        hold(end - start, at=level, name=f"step {i}")
        for i, (start, end, level) in enumerate(zip(edges, edges[1:], levels, strict=False), start=1)
    ]
    return floor.under(chain([rise(up), *steps] if up else steps))
