"""Laws of `cut`, `cooled` and `cycle_ends`, over random schedules and over everything in the catalogue."""

from __future__ import annotations

import itertools
import math
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hf_lrsched import CATALOGUE, Horizon, Schedule, build, fall, from_spec, hold, rise, to_spec, warm_restarts, wsd, wsd_s
from hf_lrsched.schedules.splice import cooled, cut, cycle_ends

from .strategies import FREE, PEAK, cases, law, schedules

# Not `phases`: it may be at its highest, or come up again, for less than a step, and jumps as it is told.
everything = pytest.mark.parametrize("name", [name for name in CATALOGUE if name != "phases"])

# Progress in a phase that was cut is computed from another length, and may differ by an ulp; a root ends as steeply as
# sqrt(1 - p), where an ulp of progress is 1e-8 of the way.
NEAR = 1e-7

STEPS = st.integers(0, 250)  # the schedules here have 200 steps at most


def tracks(schedule: Schedule) -> list[Schedule]:
    return [track for track in (schedule, schedule.momentum) if track is not None]


# --- cut ---


@law
@given(schedule=schedules(min_lr=0.1), step=st.one_of(STEPS, st.floats(0.0, 250.0, allow_subnormal=False)))
def test_a_cut_schedule_is_the_same_before_the_cut_and_holds_its_last_value_after_it(schedule: Schedule, step: float) -> None:
    short = cut(schedule, step)
    assert short.total == pytest.approx(step, rel=0, abs=1e-6)
    assert short.min_lr == schedule.min_lr
    assert (short.momentum is None) == (schedule.momentum is None)
    before = np.arange(math.ceil(step - 1e-6), dtype=np.float64)
    for one, other in zip(tracks(short), tracks(schedule), strict=True):
        assert one.values(before) == pytest.approx(other.values(before), rel=0, abs=NEAR)
        assert one(step) == one(step + 1) == one(math.inf) == one.phases[-1].last
    if step:
        assert short(math.inf) == pytest.approx(schedule(math.nextafter(step, 0.0)), rel=0, abs=NEAR)


@law
@given(schedule=schedules(), step=STEPS, earlier=STEPS)
def test_cutting_twice_is_cutting_at_the_earlier_step(schedule: Schedule, step: int, earlier: int) -> None:
    assume(earlier <= step)
    once, twice = cut(schedule, earlier), cut(cut(schedule, step), earlier)
    steps = np.arange(earlier + 2, dtype=np.float64)
    for one, other in zip(tracks(twice), tracks(once), strict=True):
        assert one.values(steps) == pytest.approx(other.values(steps), rel=0, abs=NEAR)


@law
@given(schedule=schedules(min_lr=0.1), beyond=st.integers(1, 10**9))
def test_past_its_end_a_schedule_is_held_at_its_last_value_up_to_there(schedule: Schedule, beyond: int) -> None:
    long = cut(schedule, schedule.total + beyond)
    assert long.total == schedule.total + beyond
    assert long.values(schedule.total).tolist() == schedule.values().tolist()
    assert long(schedule.total) == long(math.inf) == schedule(math.inf)


@law
@given(schedule=schedules(min_lr=0.1), step=STEPS)
def test_what_was_cut_or_cooled_can_be_saved(schedule: Schedule, step: int) -> None:
    short = cut(schedule, step)
    assert from_spec(to_spec(short)) == short
    if schedule(step) > 0.0 and not falling_to_a_floor(schedule, step):
        assert from_spec(to_spec(cooled(schedule, step, 10))) == cooled(schedule, step, 10)


@pytest.mark.parametrize("step", [-1, math.nan, math.inf, "5"])
def test_a_step_that_is_none_is_refused(step: Any) -> None:
    with pytest.raises(ValueError, match="step="):
        cut(wsd(10), step)


# --- cooled ---


def falling_to_a_floor(schedule: Schedule, step: int) -> bool:
    return schedule.min_lr > 0 and schedule.split(step)[1] > 0


@law
@given(
    schedule=schedules(min_lr=0.1),
    at=STEPS,
    steps=st.integers(1, 100),
    shape=st.sampled_from(FREE),
    share=st.floats(0.0, 1.0, exclude_max=True, allow_subnormal=False),
)
def test_a_cooldown_is_the_schedule_up_to_its_start_and_a_decay_from_the_value_there(
    schedule: Schedule, at: int, steps: int, shape: str, share: float
) -> None:
    value = schedule(at)
    to = share * value
    assume(value > to and not falling_to_a_floor(schedule, at))
    made = cooled(schedule, at, steps, shape, to)
    assert made.total == at + steps
    assert made.min_lr == schedule.min_lr
    assert made.values(at) == pytest.approx(schedule.values(at), rel=0, abs=NEAR)
    assert made(at) == value
    decay = made.values(range(at, at + steps + 2))
    assert (np.diff(decay) <= 1e-15).all()
    assert made(at + steps) == made(math.inf) == to
    alone = fall(steps, shape, start=value, to=to) >> hold(2, at=to)
    assert decay == pytest.approx(alone.values(), rel=0, abs=1e-12)


@law
@given(schedule=schedules(momentum=True), at=STEPS, steps=st.integers(1, 100))
def test_momentum_stays_where_a_cooldown_found_it(schedule: Schedule, at: int, steps: int) -> None:
    assume(schedule(at) > 0.0)
    made = cooled(schedule, at, steps)
    assert made.momentum is not None
    assert schedule.momentum is not None
    assert made.momentum.values(at) == pytest.approx(schedule.momentum.values(at), rel=0, abs=NEAR)
    held = made.momentum.values(range(at, at + steps + 2))
    assert held.min() == held.max() == made.momentum(math.inf)
    assert made.momentum.total == made.total


@everything
@law
@given(data=st.data(), share=st.floats(0.0, 1.0), steps=st.integers(1, 100))
def test_every_schedule_cools_down_without_a_jump_over_its_floor_as_well(
    name: str, data: st.DataObject, share: float, steps: int
) -> None:
    schedule = data.draw(cases(name)).build()
    at = math.floor(share * schedule.total)
    assume(schedule(at) > 0.0 and not falling_to_a_floor(schedule, at))
    assume(schedule.lr(at, PEAK) >= schedule.min_lr)  # a warm-up may start below the floor, and has nothing to cool down
    made = cooled(schedule, at, steps)
    assert made.name == name
    assert made.lrs(at, PEAK) == pytest.approx(schedule.lrs(at, PEAK), rel=0, abs=NEAR * PEAK)
    assert made.lr(at, PEAK) == pytest.approx(schedule.lr(at, PEAK), rel=1e-12)
    assert made.lr(math.inf, PEAK) == schedule.min_lr


def test_what_is_on_its_way_to_an_absolute_floor_is_not_cooled_down() -> None:
    schedule = build("warmup_cosine", Horizon(100, peak=1e-3), warmup=0, min_lr=1e-4)
    with pytest.raises(ValueError, match=r"at step 50 the schedule is already on its way to its floor \(min_lr 0.0001\)"):
        cooled(schedule, 50, 10)


@pytest.mark.parametrize("at", [7, 10, 500, 999])
@pytest.mark.parametrize("ceiling", [10**5, 10**9, 10**12])
def test_a_cooldown_does_not_depend_on_the_ceiling(ceiling: int, at: int) -> None:
    open_ended = [
        (rise(10) >> hold(ceiling), rise(10) >> hold(1000)),
        (wsd(ceiling, warmup=10, decay=0), wsd(1000, warmup=10, decay=0)),
    ]
    for far, near in open_ended:
        assert cooled(far, at, 100).values(at + 200).tolist() == cooled(near, at, 100).values(at + 200).tolist()
        assert cooled(far, at, 100).total == at + 100


def test_schedules_that_differ_in_their_ceiling_alone_are_the_same_schedule_once_cooled() -> None:
    # Otherwise a checkpoint of the decay, resumed under another ceiling, would be told that its schedule has changed.
    assert cooled(rise(10) >> hold(10**9), 500, 100) == cooled(rise(10) >> hold(1000), 500, 100)
    assert cooled(rise(10) >> hold(10**9), 500, 100) == rise(10) >> hold(490) >> fall(100, "1-sqrt")


@pytest.mark.parametrize(
    ("at", "to", "said"),
    [
        (100, 0.0, "at step 100 the LR is at 0 of its peak, so there is nothing to cool down to 0"),
        (0, 0.0, "at step 0 the LR is at 0 of its peak"),
        (5, 0.5, r"at step 5 the LR is at 0\.5 of its peak, so there is nothing to cool down to 0\.5"),
        (50, 1.0, "at step 50 the LR is at 1 of its peak, so there is nothing to cool down to 1"),
        (50, 2.0, "at step 50 the LR is at 1 of its peak, so there is nothing to cool down to 2"),
        (50, -0.1, r"to=-0\.1 must be 0 or more"),
    ],
)
def test_where_there_is_nothing_to_cool_down_it_says_so(at: int, to: float, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        cooled(wsd(100, warmup=10), at, 10, to=to)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"at": -1, "steps": 10}, "steps count from 0"),
        ({"at": 50, "steps": -1}, "-1 steps"),
        ({"at": 50, "steps": math.inf}, "inf steps"),
        ({"at": 50, "steps": 10, "shape": "sqr"}, "unknown shape 'sqr'"),
        ({"at": 50, "steps": 10, "shape": "exponential"}, "cannot reach or leave 0"),
    ],
)
def test_what_is_no_cooldown_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        cooled(wsd(100, warmup=10), **given)


# --- cycle_ends ---


@everything
@law
@given(data=st.data())
def test_cycles_end_in_order_the_last_one_with_the_run_and_the_lr_rises_behind_each(name: str, data: st.DataObject) -> None:
    schedule = data.draw(cases(name)).build()
    ends = cycle_ends(schedule)
    assert ends[-1] == schedule.total
    assert all(type(end) is int for end in ends)
    if schedule.total < 100:
        return  # two cycles may end within one step
    assert all(one < other for one, other in itertools.pairwise(ends))
    for end in ends[:-1]:
        assert schedule.values(range(end, int(schedule.total) + 1)).max() >= schedule(end - 1)


@everything
@law
@given(data=st.data())
def test_between_two_ends_the_lr_does_not_rise_again_after_it_fell(name: str, data: st.DataObject) -> None:
    schedule = data.draw(cases(name)).build()
    start = 0
    for end in cycle_ends(schedule):
        steps = np.diff(schedule.values(range(start, end)))
        fallen = np.flatnonzero(steps < -1e-12)
        assert not fallen.size or (steps[fallen[0] :] <= 1e-12).all()
        start = end


@pytest.mark.parametrize("name", [name for name in CATALOGUE if name not in ("warm_restarts", "wsd_s", "phases")])
def test_a_schedule_without_cycles_is_one(name: str) -> None:
    assert cycle_ends(build(name, 100)) == [100]


@pytest.mark.parametrize("rewarm", [False, True])
@pytest.mark.parametrize(
    ("steps", "given", "ends"),
    [
        (90, {"cycles": 3, "warmup": 0}, [30, 60, 90]),
        (100, {"cycles": 3, "warmup": 0}, [34, 67, 100]),  # 33 1/3 and 66 2/3: steps 33 and 66 are the cycles' last
        (100, {"cycles": 1, "warmup": 0}, [100]),
        (70, {"cycles": 3, "mult": 2, "warmup": 0}, [10, 30, 70]),
        (90, {"cycles": 3, "warmup": 0, "peak_decay": 0.5}, [30, 60, 90]),
        (90, {"first": 30, "warmup": 0, "min_lr_ratio": 0.1}, [30, 60, 90]),
        (80, {"first": 30, "warmup": 0}, [30, 60, 80]),
    ],
)
def test_the_cycles_of_warm_restarts(steps: int, given: dict[str, Any], ends: list[int], rewarm: bool) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "warm_restarts: a first cycle of")
        assert cycle_ends(warm_restarts(steps, rewarm=rewarm, **given)) == ends


def test_a_warm_up_belongs_to_the_cycle_it_leads_up_in() -> None:
    assert cycle_ends(warm_restarts(100, cycles=3, warmup=10)) == [40, 70, 100]
    assert cycle_ends(warm_restarts(90, cycles=3, warmup=10, rewarm=True)) == [30, 60, 90]


def test_the_cycles_of_wsd_s_end_where_it_is_told() -> None:
    assert cycle_ends(wsd_s(100, ends=[20, 50, 100], decay=5, warmup=5)) == [20, 50, 100]
    assert cycle_ends(wsd_s(100, ends=[0.25, 0.5], decay=5, warmup=5)) == [25, 50, 100]


def test_a_fall_that_goes_on_in_another_phase_is_one_cycle() -> None:
    stairs = rise(5) >> fall(10, to=0.5) >> hold(5, at=0.5) >> fall(10, start=0.5, to=0.1)
    assert cycle_ends(stairs) == [30]
    assert cycle_ends(stairs >> hold(5, at=0.1) >> rise(5, start=0.1) >> fall(10)) == [35, 50]
    assert cycle_ends(rise(5, to=0.5) >> rise(5, start=0.5)) == [10]
