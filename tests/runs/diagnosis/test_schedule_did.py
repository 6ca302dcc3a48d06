"""What the schedule has just done."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from hf_lrsched import Schedule, build, fall, hold, rise
from hf_lrsched.runs.diagnosis import Setting
from hf_lrsched.runs.diagnosis.schedule_did import Doing, doing
from hf_lrsched.runs.diagnosis.sight import Point, Sight
from hf_lrsched.runs.history import Event

WARM = rise(100) >> hold(300) >> fall(600)


def at(
    lrs: Schedule | Sequence[float], step: int, *, begun: int = 0, averaged: int = 1, events: Sequence[Event] = ()
) -> Doing:
    """What those learning rates, of steps begun + 1, ..., do at step begun + `step`."""
    given = lrs.lrs(step, 1e-3).tolist() if isinstance(lrs, Schedule) else list(lrs)
    sight = Sight(Setting(averaged=averaged))
    for event in events:
        sight.happened(event)
    for i in range(averaged, step, averaged):
        sight.include(Point(begun + i, 2.0, (given[i - 1],)))
    return doing(Point(begun + step, 2.0, (given[step - 1],)), sight)


@pytest.mark.parametrize(
    ("step", "did"),
    [(1, ""), (3, "warm-up"), (50, "warm-up"), (101, "warm-up"), (102, "end of warm-up"), (202, "end of warm-up"), (203, "")],
)
def test_a_warm_up_and_its_end(step: int, did: Doing) -> None:
    assert at(WARM, step) == did
    assert at(WARM, 500) == at(WARM, 900) == ""


def test_a_run_that_begins_at_its_highest_lr() -> None:
    for schedule in (hold(1000) >> hold(0), fall(1000) >> hold(0), build("step_decay", 1000, every=300)):
        assert at(schedule, 50) == at(schedule, 101) == "no warm-up"
        assert at(schedule, 102) == at(schedule, 500) == ""


def test_a_restart_for_as_long_as_it_is_new() -> None:
    schedule = build("warm_restarts", 1000, cycles=2, warmup=0)
    assert at(schedule, 500) == ""
    assert {at(schedule, step) for step in (501, 520, 564)} == {"restart"}
    assert at(schedule, 566) == at(schedule, 800) == ""


@pytest.mark.parametrize("schedule", [build("wsd", 1000), build("step_decay", 1000, every=300), build("one_cycle", 1000)])
def test_a_decay_is_no_restart(schedule: Schedule) -> None:
    assert {at(schedule, step) for step in range(620, 1001, 20)} == {""}


def test_a_warm_up_that_a_rounding_bends_is_no_restart() -> None:
    assert at([round(lr, 6) for lr in WARM.lrs(300, 1e-3).tolist()], 250) == ""
    assert at([1e-3 * (1 + 1e-4 * (i % 2)) for i in range(300)], 250) == ""


def test_a_resume_for_64_points() -> None:
    assert at(WARM, 501, events=[Event(500, "resume")]) == "resume"
    assert at(WARM, 564, events=[Event(500, "resume")]) == "resume"
    assert at(WARM, 565, events=[Event(500, "resume")]) == ""
    assert at(WARM, 501, events=[Event(500, "checkpoint")]) == ""


def test_a_file_that_begins_in_the_middle_of_its_run() -> None:
    """Its second warm-up is behind it after twice its own length, whatever the step is."""
    assert at(WARM, 150, begun=10_000) == "end of warm-up"
    assert at(WARM, 250, begun=10_000) == ""


@pytest.mark.parametrize("averaged", [1, 5, 10])
def test_a_log_of_every_so_many_steps_tells_the_same(averaged: int) -> None:
    assert at(WARM, 60, averaged=averaged) == "warm-up"
    assert at(WARM, 200, averaged=averaged) == "end of warm-up"
    assert at(WARM, 250, averaged=averaged) == ""


def test_learning_rates_that_are_not_there() -> None:
    assert at([math.nan] * 100, 90) == at([0.0] * 100, 90) == ""
    gaps = [math.nan if i % 3 == 1 else lr for i, lr in enumerate(WARM.lrs(900, 1e-3).tolist())]
    assert {at(gaps, step) for step in range(300, 900, 50)} == {""}
    sight = Sight(Setting())
    assert doing(Point(1, 2.0, ()), sight) == ""
