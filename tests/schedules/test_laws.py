from __future__ import annotations

import copy
import itertools
import json
import math
import pickle
from functools import reduce
from operator import rshift

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hf_lrsched import CATALOGUE, Horizon, Schedule, build, fall, from_spec, hold, repeat, rise, to_spec

from .strategies import DEEP, PEAK, Case, cases, law, schedules

Floats = npt.NDArray[np.float64]

everything = pytest.mark.parametrize("name", list(CATALOGUE))

ULP = 2.0**-52
PEAKS = st.floats(PEAK, 10.0)
FAR = 10**9


def after_warmup(schedule: Schedule) -> Floats:
    return np.arange(math.ceil(schedule.warmup), schedule.total + 2, dtype=np.float64)


# --- everything in the catalogue ---


@everything
@law
@given(data=st.data())
def test_fills_the_run_exactly(name: str, data: st.DataObject) -> None:
    case = data.draw(cases(name))
    schedule = case.build()
    assert type(schedule.total) is int
    assert schedule.total == case.steps == schedule.values().size
    assert math.fsum(phase.length for phase in schedule.phases) == pytest.approx(case.steps, abs=1e-6)
    assert schedule.name == name
    if schedule.momentum is not None:
        assert schedule.momentum.total == case.steps


@everything
@law
@given(data=st.data())
def test_phases_lie_end_to_end_over_the_whole_run(name: str, data: st.DataObject) -> None:
    schedule = data.draw(cases(name)).build()
    spans = schedule.spans()
    assert spans[0][0] == 0.0
    assert spans[-1][1] == schedule.total
    assert all(before[1] == after[0] for before, after in itertools.pairwise(spans))
    for start, end, phase in spans:
        for step in range(math.ceil(start), math.ceil(end))[:3]:
            assert schedule.phase(step) == phase


@everything
@law
@given(data=st.data())
def test_stays_between_zero_and_the_peak(name: str, data: st.DataObject) -> None:
    schedule = data.draw(cases(name)).build()
    for track in (schedule, schedule.momentum):
        if track is not None:
            values = track.values([*range(int(schedule.total) + 2), FAR])
            assert values.min() >= 0.0
            assert values.max() <= 1.0


@everything
@law
@given(data=st.data())
def test_stays_at_or_above_a_relative_floor_after_the_warmup(name: str, data: st.DataObject) -> None:
    case = data.draw(cases(name))
    schedule = case.build()
    assert schedule.values([*after_warmup(schedule), FAR]).min() >= case.ratio - ULP


@everything
@law
@given(data=st.data(), peak=PEAKS, other=PEAKS)
def test_stays_between_an_absolute_floor_and_the_peak_in_every_group(
    name: str, data: st.DataObject, peak: float, other: float
) -> None:
    case = data.draw(cases(name))
    schedule = case.build()
    for each in (peak, other):
        lrs = schedule.lrs(None, each)
        assert lrs.size == case.steps
        assert lrs.min() >= 0.0
        assert lrs.max() <= each * (1.0 + ULP)
        assert schedule.lrs([*after_warmup(schedule), FAR], each).min() >= case.min_lr


@everything
@law
@given(data=st.data(), peak=PEAKS)
def test_without_an_absolute_floor_a_learning_rate_is_a_share_of_the_peak(
    name: str, data: st.DataObject, peak: float
) -> None:
    case = data.draw(cases(name))
    assume(not case.min_lr)
    schedule = case.build()
    assert np.array_equal(schedule.lrs(None, peak), schedule.values() * peak)


@everything
@law
@given(data=st.data(), peak=PEAKS, beyond=st.integers(0, FAR))
def test_holds_its_last_value_for_ever(name: str, data: st.DataObject, peak: float, beyond: int) -> None:
    schedule = data.draw(cases(name)).build()
    end = schedule.total
    for track in (schedule, schedule.momentum):
        if track is not None:
            last = track.phases[-1].last
            assert [track(end), track(end + beyond), track(math.inf)] == [last] * 3
            held = track.values([end, end + beyond, FAR])
            assert held.min() == held.max() == pytest.approx(last, rel=0, abs=ULP)
    assert len({schedule.lr(step, peak) for step in (end, end + beyond, FAR)}) == 1


@everything
@law
@given(data=st.data())
def test_phases_meet_at_the_seams(name: str, data: st.DataObject) -> None:
    schedule = data.draw(cases(name)).build()
    tracks = [] if CATALOGUE[name].jumps else [schedule]
    for track in tracks + [schedule.momentum] * (schedule.momentum is not None):
        assert track is not None
        assert all(before.last == after.start for before, after in itertools.pairwise(track.phases))


@everything
@law
@given(data=st.data())
def test_over_an_absolute_floor_phases_meet_where_their_shares_do(name: str, data: st.DataObject) -> None:
    schedule = data.draw(cases(name)).build()
    highest = max(max(phase.start, phase.last) for phase in schedule.phases)
    assume(schedule.min_lr <= highest * PEAK)  # a floor above all of the warm-up lifts what comes after it
    for (start, seam, before), (_, end, after) in itertools.pairwise(schedule.spans()):
        if before.last == after.start and min(seam - start, end - seam) > 0.01:
            # A square root is steep where it begins: an ulp before the seam may be a hundred thousandth of the way.
            assert schedule.lr(math.nextafter(seam, 0.0), PEAK) == pytest.approx(schedule.lr(seam, PEAK), abs=1e-4 * PEAK)


# Its turns are a step early, as torch counts them: the next test.
@pytest.mark.parametrize("name", [name for name in CATALOGUE if name != "one_cycle"])
@law
@given(data=st.data(), times=st.integers(2, 50))
def test_shares_scale_with_the_run(name: str, data: st.DataObject, times: int) -> None:
    case = data.draw(cases(name, scaling=True))
    short, long = case.build(), case.build(times)
    steps = np.arange(case.steps + 2, dtype=np.float64)
    seams = np.array([start for start, _, _ in short.spans()] + [case.steps])
    # Which side of a drop a step lies on is a matter of rounding where the drop falls on that step.
    steps = steps[np.abs(steps[:, None] - seams).min(axis=1) > 1e-6]
    np.testing.assert_allclose(long.values(steps * times), short.values(steps), rtol=0, atol=1e-6)
    np.testing.assert_allclose(long.lrs(steps * times, PEAK), short.lrs(steps, PEAK), rtol=0, atol=1e-6 * PEAK)


@law
@given(data=st.data(), times=st.integers(2, 50))
def test_shares_of_a_one_cycle_scale_as_torch_counts_its_turns(data: st.DataObject, times: int) -> None:
    case = data.draw(cases("one_cycle", scaling=True))
    rise_in_steps = Horizon(case.steps).steps_of(case.arguments["rise"], "rise")
    assume(rise_in_steps >= 1.0)
    short, long = case.build(), case.build(times)
    for one, many in zip(short.phases, long.phases, strict=True):
        assert (one.name, one.start, one.end, one.shape) == (many.name, many.start, many.end, many.shape)
    ups, downs = ([schedule.phases[i].length for schedule in (short, long)] for i in (0, 1))
    assert ups[1] + 1.0 == pytest.approx((ups[0] + 1.0) * times)
    if case.arguments["three_phase"]:
        assert ups == downs
    assert [short.phases[-1].length, long.phases[-1].length] == [1, 1]


@everything
@law
@given(data=st.data())
def test_spec_round_trip(name: str, data: st.DataObject) -> None:
    schedule = data.draw(cases(name)).build()
    spec = to_spec(schedule)
    written = json.dumps(spec, allow_nan=False)
    assert json.loads(written) == spec
    again = from_spec(json.loads(written))
    assert again == schedule
    assert (again.name, again.total, again.warmup) == (schedule.name, schedule.total, schedule.warmup)
    assert np.array_equal(again.values(), schedule.values())
    assert to_spec(again) == spec


@everything
@law
@given(data=st.data(), protocol=st.integers(2, pickle.HIGHEST_PROTOCOL))
def test_pickle_and_deepcopy(name: str, data: st.DataObject, protocol: int) -> None:
    schedule = data.draw(cases(name)).build()
    for again in (pickle.loads(pickle.dumps(schedule, protocol)), copy.deepcopy(schedule), copy.copy(schedule)):
        assert again == schedule
        assert again.name == schedule.name
        assert np.array_equal(again.values(), schedule.values())
        assert np.array_equal(again.lrs(None, PEAK), schedule.lrs(None, PEAK))
        assert again.momentum == schedule.momentum


@everything
@law
@given(data=st.data(), peak=PEAKS)
def test_one_step_is_the_same_as_many(name: str, data: st.DataObject, peak: float) -> None:
    schedule = data.draw(cases(name)).build()
    seams = [int(start) + i for start, _, _ in schedule.spans()[:20] for i in (0, 1)]
    steps = sorted({0, *seams, *data.draw(st.lists(st.floats(0.0, schedule.total + 2.0), max_size=20)), schedule.total, FAR})
    many = schedule.values(steps)
    np.testing.assert_allclose(many, [schedule(step) for step in steps], rtol=0, atol=8 * ULP)
    lrs = schedule.lrs(steps, peak)
    np.testing.assert_allclose(lrs, [schedule.lr(step, peak) for step in steps], rtol=0, atol=8 * ULP * peak)
    # What a scheduler does with `split` is the same learning rate once more.
    for step, lr in zip(steps, lrs, strict=True):
        share, floor = schedule.split(step)
        split = share * peak + floor * schedule.min_lr
        assert lr == pytest.approx(max(split, schedule.min_lr if step >= schedule.warmup else 0.0), rel=0, abs=8 * ULP * peak)


@everything
@law
@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
def test_many_steps_in_any_order_and_array(name: str, data: st.DataObject, seed: int) -> None:
    schedule = data.draw(cases(name)).build()
    inorder = np.arange(2 * schedule.total, dtype=np.int64)
    shuffled = np.random.default_rng(seed).permutation(inorder)
    expected, lrs = schedule.values(inorder), schedule.lrs(inorder, PEAK)
    assert np.array_equal(schedule.values(2 * schedule.total), expected)
    assert np.array_equal(schedule.values(shuffled), expected[shuffled])
    assert np.array_equal(schedule.lrs(shuffled, PEAK), lrs[shuffled])
    assert np.array_equal(schedule.values(shuffled.reshape(2, -1)), expected[shuffled].reshape(2, -1))
    assert np.array_equal(schedule.lrs(shuffled.reshape(2, -1), PEAK), lrs[shuffled].reshape(2, -1))
    assert schedule.values([]).shape == (0,)
    assert schedule.values([[]]).shape == (1, 0)


@pytest.mark.parametrize("name", [name for name in CATALOGUE if name != "phases"])
def test_long_runs_are_evaluated_in_blocks_without_a_trace(name: str) -> None:
    schedule = build(name, 200_000)
    values = schedule.values()
    edges = [block * 2**15 + i for block in range(1, 7) for i in (-1, 0, 1)]
    starts = [
        math.ceil(start) + edge for start, end, _ in schedule.spans() for edge in edges if math.ceil(start) + edge < end
    ]
    for step in edges + starts:
        assert values[step] == pytest.approx(schedule(step), rel=0, abs=8 * ULP)


ZEROS = {
    "constant": ["warmup"],
    "step_decay": ["warmup"],
    "multi_step": ["warmup"],
    "warmup_cosine": ["warmup"],
    "warm_restarts": ["warmup"],
    "one_cycle": ["rise"],
    "wsd": ["warmup", "decay", "stable"],
    "wsd_s": ["warmup", "decay"],
    "inverse_sqrt_cooldown": ["warmup", "cooldown"],
    "rex": ["warmup"],
    "power": ["warmup", "decay"],
}


@pytest.mark.parametrize(
    ("name", "zeros"),
    [
        (name, chosen)
        for name, arguments in ZEROS.items()
        for count in range(1, len(arguments) + 1)
        for chosen in itertools.combinations(arguments, count)
    ],
)
@pytest.mark.parametrize(("zero", "steps"), [(0, 5), (0.0, 1000), ("0%", 1000)])
def test_phases_without_length_are_passed_over(name: str, zeros: tuple[str, ...], zero: float | str, steps: int) -> None:
    schedule = build(name, steps, **dict.fromkeys(zeros, zero))
    assert schedule.total == steps
    values = schedule.values()
    assert np.isfinite(values).all()
    assert values.min() >= 0.0
    assert values.max() <= 1.0
    if {"warmup", "rise"} & set(zeros) and zeros != ("warmup", "decay", "stable"):
        assert schedule(0) == 1.0
        assert schedule.warmup == 0.0
    assert from_spec(to_spec(schedule)) == schedule


def test_phases_of_the_users_own_may_have_no_length() -> None:
    items = [{"from": 0.0, "to": 1.0, "length": 0}, {"length": 10}, {"to": 0.5, "length": "0%"}, {"to": 0.0}, {"length": 0}]
    schedule = build("phases", 20, phases=items)
    assert schedule.values([0, 9, 10, 15, 20]).tolist() == [1.0, 1.0, 0.5, 0.25, 0.0]
    assert [phase.name for _, _, phase in schedule.spans()] == ["phase 2", "phase 4"]


PAIRS = [
    ("wsd", "warmup", "decay"),
    ("inverse_sqrt_cooldown", "warmup", "cooldown"),
    ("power", "warmup", "decay"),
]


@pytest.mark.parametrize(("name", "up", "down"), PAIRS)
@law
@given(data=st.data(), steps=st.integers(2, 100_000))
def test_a_warmup_and_a_decay_that_do_not_fit_are_refused_with_the_numbers(
    name: str, up: str, down: str, data: st.DataObject, steps: int
) -> None:
    warmup = data.draw(st.integers(1, steps))
    decay = data.draw(st.integers(steps - warmup + 1, steps))
    with pytest.raises(ValueError, match=rf"{up} \({warmup}\) and {down} \({decay}\) take {warmup + decay} steps.* {steps};"):
        build(name, steps, **{up: warmup, down: decay})


@pytest.mark.parametrize(("name", "up", "down"), PAIRS)
@law
@given(data=st.data(), steps=st.integers(2, 10_000))
def test_a_warmup_and_a_decay_that_fill_the_run_fit(name: str, up: str, down: str, data: st.DataObject, steps: int) -> None:
    warmup = data.draw(st.integers(0, steps))
    schedule = build(name, steps, **{up: warmup, down: steps - warmup})
    assert [end - start for start, end, _ in schedule.spans()] == [n for n in (warmup, steps - warmup) if n]


@pytest.mark.parametrize("name", [name for name, entry in CATALOGUE.items() if entry.warmup == "warmup"])
@law
@given(data=st.data(), steps=st.integers(10, 100_000))
def test_a_warmup_given_in_steps_ends_on_that_step(name: str, data: st.DataObject, steps: int) -> None:
    warmup = data.draw(st.integers(1, steps // 10))
    schedule = build(name, steps, warmup=warmup)
    assert schedule.warmup == warmup
    assert schedule(warmup) == 1.0
    np.testing.assert_allclose(schedule.values(warmup), np.arange(warmup) / warmup, rtol=0, atol=ULP)


@pytest.mark.parametrize("name", [name for name, entry in CATALOGUE.items() if entry.default_warmup])
@law
@given(steps=st.integers(5, 10**7))
def test_the_default_warmup_is_the_guides(name: str, steps: int) -> None:
    rule = min(max(0.05 * steps, 100.0), 0.10 * steps, 2000.0)
    assert build(name, steps).warmup == pytest.approx(rule if rule >= 1.0 else 0.0)


@pytest.mark.parametrize("name", [name for name, e in CATALOGUE.items() if not e.default_warmup and name != "phases"])
@law
@given(steps=st.integers(1, 10**7))
def test_no_other_schedule_warms_up_unless_asked(name: str, steps: int) -> None:
    assert CATALOGUE[name].warmup == "rise" or build(name, steps)(0) == 1.0


# --- where a phase begins on a whole step, it begins on that step ---


@pytest.mark.parametrize("steps", [14, 21, 26, 27, 28, 45, 60])
def test_a_restart_that_falls_on_a_step_is_at_the_peak_there(steps: int) -> None:
    # Six of twelve cycles in 14 steps are seven steps, however their lengths are rounded.
    for cycles in range(2, steps + 1):
        schedule = build("warm_restarts", steps, cycles=cycles, warmup=0)
        whole = [i * steps // cycles for i in range(cycles) if i * steps % cycles == 0]
        np.testing.assert_allclose(schedule.values(whole), 1.0, rtol=0, atol=1e-12, err_msg=f"{cycles} cycles")


HUNDREDS = [100, 200, 1000, 12_300]


@pytest.mark.parametrize("steps", HUNDREDS)
def test_a_drop_at_a_percentage_that_is_a_whole_step_comes_on_that_step(steps: int) -> None:
    for percent in range(1, 100):
        schedule = build("multi_step", steps, milestones=[f"{percent}%"], factor=0.5)
        drop = percent * steps // 100
        assert (percent, schedule(drop - 1), schedule(drop)) == (percent, 1.0, 0.5)


@pytest.mark.parametrize("steps", HUNDREDS)
def test_a_cycle_that_ends_at_a_percentage_restarts_on_that_step(steps: int) -> None:
    for percent in range(1, 100):
        schedule = build("wsd_s", steps, ends=[f"{percent}%", "100%"], warmup=0)
        assert (percent, schedule(percent * steps // 100)) == (percent, 1.0)


@pytest.mark.parametrize("steps", [3, 9, 90, 999, 30_000])
def test_a_step_decay_drops_on_each_third_of_the_run(steps: int) -> None:
    schedule = build("step_decay", steps)
    third = steps // 3
    assert schedule.values([third - 1, third, 2 * third - 1, 2 * third]) == pytest.approx([1.0, 0.1, 0.1, 0.01])


# --- roundings ---


@pytest.mark.parametrize("shape", DEEP)
@pytest.mark.parametrize("ratio", [0.5, 0.97, 0.999999, 1.0 - 1e-12])
def test_a_shallow_fall_stays_between_its_ends(shape: str, ratio: float) -> None:
    relative = build("wsd", 1000, warmup=0, decay=1000, shape=shape, min_lr_ratio=ratio)
    absolute = build("wsd", Horizon(1000, peak=1.0), warmup=0, decay=1000, shape=shape, min_lr=ratio)
    for schedule, low in ((relative, ratio), (absolute, 0.0)):
        values = schedule.values([*range(1001), FAR])
        assert values.min() >= low - ULP
        assert values.max() <= 1.0
        np.testing.assert_allclose(values, [schedule(step) for step in (*range(1001), FAR)], rtol=0, atol=8 * ULP)
    np.testing.assert_allclose(absolute.lrs(None, 1.0), relative.values(), rtol=0, atol=8 * ULP)


@pytest.mark.parametrize("ratio", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("rise", [0, 0.3, 0.5])
def test_a_one_cycle_of_three_phases_stays_at_or_above_its_floor(rise: float, ratio: float) -> None:
    schedule = build("one_cycle", 100, rise=rise, three_phase=True, min_lr_ratio=ratio)
    falling = schedule.values(after_warmup(schedule))
    assert falling.min() >= ratio - ULP
    assert np.all(np.diff(falling) <= ULP)


# --- the algebra ---


@law
@given(
    a=schedules(min_lr=0.1, momentum=False),
    b=schedules(min_lr=0.1, momentum=False),
    c=schedules(min_lr=0.1, momentum=False),
)
def test_joining_is_associative(a: Schedule, b: Schedule, c: Schedule) -> None:
    left, right = (a >> b) >> c, a >> (b >> c)
    assert (left.phases, left.min_lr, left.total, left.warmup) == (right.phases, right.min_lr, right.total, right.warmup)
    assert np.array_equal(left.values(200), right.values(200))
    assert np.array_equal(left.lrs(200, 1.0), right.lrs(200, 1.0))


@law
@given(a=schedules(momentum=True), b=schedules(momentum=True), c=schedules(momentum=True))
def test_joining_is_associative_in_momentum(a: Schedule, b: Schedule, c: Schedule) -> None:
    left, right = ((a >> b) >> c).momentum, (a >> (b >> c)).momentum
    assert (left is None) == (right is None)
    if left is not None and right is not None:
        assert left.total == right.total
        assert np.array_equal(left.values(700), right.values(700))


@law
@given(a=schedules(momentum=False), b=schedules(momentum=False))
def test_a_join_is_the_one_and_then_the_other(a: Schedule, b: Schedule) -> None:
    both = a >> b
    assert both.total == a.total + b.total
    before, after = np.arange(a.total, dtype=np.float64), np.arange(b.total + 5, dtype=np.float64)
    assert np.array_equal(both.values(before), a.values(before))
    assert np.array_equal(both.values(after + a.total), b.values(after))


@law
@given(a=schedules(momentum=False), b=schedules(momentum=False))
def test_phases_join_as_schedules_do(a: Schedule, b: Schedule) -> None:
    one = a.phases[0]
    assert one >> b == Schedule((one,)) >> b
    assert b >> one == b >> Schedule((one,))
    assert reduce(rshift, [*a.phases, *b.phases], Schedule((one,))) == Schedule((one,)) >> a >> b


@law
@given(part=schedules(min_lr=0.1), times=st.integers(1, 6))
def test_repeating_is_joining_copies(part: Schedule, times: int) -> None:
    joined = reduce(rshift, [part] * times)
    assert repeat(part, times) == joined
    assert joined.total == times * part.total


@law
@given(part=schedules(momentum=False), times=st.integers(1, 6))
def test_repeating_a_phase_is_joining_copies(part: Schedule, times: int) -> None:
    phase = part.phases[0]
    assert repeat(phase, times) == reduce(rshift, [phase] * (times - 1), Schedule((phase,)))


@law
@given(a=schedules(momentum=True), b=schedules(momentum=True))
def test_momentum_tracks_join(a: Schedule, b: Schedule) -> None:
    assert a.momentum is not None
    assert b.momentum is not None
    assert (a >> b).momentum == a.momentum >> b.momentum


@law
@given(a=schedules(momentum=True), b=schedules(momentum=False))
def test_joining_a_track_of_momentum_with_none_is_refused(a: Schedule, b: Schedule) -> None:
    for one, two in ((a, b), (b, a)):
        with pytest.raises(
            ValueError, match=r"one of the two schedules has a momentum track and the other has none; .*with_momentum"
        ):
            one >> two
    assert (a.with_momentum(None) >> b).momentum is None


@law
@given(floor=st.floats(1e-9, 1.0), other=st.floats(1e-9, 1.0))
def test_joining_different_floors_is_refused(floor: float, other: float) -> None:
    one, two = Schedule((fall(10),), min_lr=floor), Schedule((hold(5),), min_lr=other)
    if floor == other:
        assert (one >> two).min_lr == floor
    else:
        with pytest.raises(ValueError, match=f"different floors: min_lr {floor:g} and {other:g}"):
            one >> two
    assert (one >> hold(5)).min_lr == (hold(5) >> one).min_lr == floor


def test_names_do_not_make_schedules_differ() -> None:
    schedule = rise(10) >> hold(20)
    assert schedule.named("mine") == schedule.named("yours") == schedule
    assert schedule.named("mine").name == "mine"


def test_a_case_says_what_it_asks_for() -> None:
    assert Case("wsd", 100, {"min_lr": 0.1}).min_lr == 0.1
    assert Case("wsd", 100, {"min_lr_ratio": 0.2}).ratio == 0.2
