"""The LR is not what it was set to be: seen in itself and in its plan."""

from __future__ import annotations

import math
from typing import Any

import pytest

from hf_lrsched import build, fall, hold, rise
from hf_lrsched.runs.diagnosis import Setting
from hf_lrsched.runs.diagnosis.configuration import EndsHigh, GroupsCollapsed, NeverWarm, NoLR
from hf_lrsched.runs.diagnosis.plan import Plan
from hf_lrsched.runs.history import Event, History

from .curves import PEAK, STEPS, falling, findings, found, history, logged, under

LINEAR: dict[str, Any] = {
    "lr_scheduler_type": "linear",
    "learning_rate": PEAK,
    "max_steps": STEPS,
    "lr_scheduler_kwargs": None,
}
COSINE = build("warmup_cosine", STEPS)


def config(cause: str, attention: bool = True) -> list[tuple[str, str, bool]]:
    return [("configuration", cause, attention)]


def ramp(step: int) -> float:
    """Transformers' linear warm-up over four runs."""
    return PEAK * (step - 1) / (4 * STEPS)


# The plan


@pytest.mark.parametrize(
    ("given", "lrs"),
    [
        ({}, {0: 1.0, 500: 0.5, 1000: 0.0}),
        ({"warmup_steps": 200}, {0: 0.0, 100: 0.5, 200: 1.0, 600: 0.5}),
        ({"warmup_steps": 0.2}, {0: 0.0, 100: 0.5, 200: 1.0, 600: 0.5}),
        ({"warmup_ratio": 0.2}, {100: 0.5, 600: 0.5}),
        ({"lr_scheduler_type": "cosine", "warmup_steps": 200}, {100: 0.5, 600: 0.5, 1000: 0.0}),
        ({"lr_scheduler_type": "constant", "warmup_steps": 200}, {0: 1.0, 999: 1.0}),
        ({"lr_scheduler_type": "constant_with_warmup", "warmup_steps": 200}, {100: 0.5, 999: 1.0}),
    ],
)
def test_trainers_arguments_settle_a_plan(given: dict[str, Any], lrs: dict[int, float]) -> None:
    plan = Plan.of(Setting(steps=STEPS, arguments={**LINEAR, **given}))
    assert plan is not None
    assert not plan.named
    assert {step: plan.lr(step) / PEAK for step in lrs} == pytest.approx(lrs, abs=1e-12)


@pytest.mark.parametrize(
    "setting",
    [
        Setting(),
        Setting(steps=STEPS),
        Setting(schedule=COSINE, peak=(PEAK,)),
        Setting(steps=STEPS, schedule=COSINE),
        Setting(steps=STEPS, schedule=COSINE, peak=(math.nan,)),
        Setting(steps=STEPS, arguments={**LINEAR, "lr_scheduler_type": "polynomial"}),
        Setting(steps=STEPS, arguments={**LINEAR, "lr_scheduler_kwargs": {"num_cycles": 2}}),
        Setting(steps=STEPS, arguments={**LINEAR, "learning_rate": None}),
    ],
)
def test_where_nothing_settles_one(setting: Setting) -> None:
    assert Plan.of(setting) is None


def test_a_plan_keeps_the_absolute_floor() -> None:
    schedule = COSINE.with_floor(2e-4)
    plan = Plan.of(Setting(steps=STEPS, schedule=schedule, peak=(PEAK,)))
    assert plan is not None
    assert [plan.lr(step) for step in range(STEPS + 5)] == pytest.approx(schedule.lrs(range(STEPS + 5), PEAK).tolist())
    assert plan.highest == PEAK


# The peak


def test_a_warm_up_as_long_as_the_run_is_told_at_the_first_point() -> None:
    run = history(falling(), ramp, peak=(PEAK,), arguments={**LINEAR, "warmup_steps": 4 * STEPS})
    (one,) = findings(run, NeverWarm)
    assert (one.cause, one.step, one.confidence) == ("warm-up longer than the run", 1, "medium")
    assert "4000 steps and the run 1000" in one.evidence
    assert findings(logged(run, 50), NeverWarm)[0].cause == one.cause


def test_a_warm_up_that_never_ended_is_told_at_the_end() -> None:
    about: dict[str, Any] = {"peak": (PEAK,), "arguments": {"max_steps": STEPS}}
    assert found(history(falling(), ramp, events=[Event(0, "resume")], **about), NeverWarm) == []
    run = history(falling(), ramp, events=[Event(500, "checkpoint")], **about)
    (one,) = findings(run, NeverWarm)
    assert (one.cause, one.step, one.attention) == ("peak never reached", STEPS, True)
    assert "25% of the peak" in one.evidence


def test_a_file_that_ends_in_the_warm_up_is_not_accused() -> None:
    lrs = build("wsd", STEPS, warmup=400).lrs(STEPS, PEAK).tolist()
    short = history(falling()[:200], lrs, schedule=build("wsd", STEPS, warmup=400), peak=(PEAK,))
    assert found(short, NeverWarm, EndsHigh) == config("peak never reached", attention=False)


@pytest.mark.parametrize("peak", [(PEAK,), ()])
@pytest.mark.parametrize("steps", [{}, {"max_steps": STEPS}])
def test_what_was_warm(peak: tuple[float, ...], steps: dict[str, int]) -> None:
    whole = rise(100) >> hold(700) >> fall(200)
    for schedule in (whole, rise(0) >> hold(STEPS), rise(0) >> fall(STEPS), rise(100) >> hold(900)):
        run = history(falling(), schedule.lrs(STEPS, PEAK).tolist(), peak=peak, arguments=steps)
        assert found(run, NeverWarm) == []
        assert found(logged(run, 100), NeverWarm) == []


# The end


def test_a_run_that_stops_before_its_decay_does() -> None:
    run = history(falling()[:600], COSINE.lrs(600, PEAK).tolist(), schedule=COSINE, peak=(PEAK,))
    (one,) = findings(run, EndsHigh)
    assert (one.cause, one.attention) == ("stopped early", False)
    assert "step 600 of 1000" in one.evidence
    assert found(under(COSINE, falling()), EndsHigh) == []


@pytest.mark.parametrize("schedule", [build("constant", STEPS), build("wsd", STEPS, decay=0), build("wsd", 10**8, decay=0)])
def test_an_open_trunk_is_no_fault(schedule: Any) -> None:
    assert found(under(schedule, falling()), EndsHigh, NeverWarm) == []
    assert found(under(schedule, falling()[:500]), EndsHigh, NeverWarm) == []


@pytest.mark.filterwarnings("ignore:warm_restarts")  # that it is cut is what is tested
def test_a_cycle_that_the_run_cuts() -> None:
    cut = build("warm_restarts", STEPS, first=400, warmup=0)
    assert found(under(cut, falling()), EndsHigh) == config("schedule ends high")
    assert found(under(build("warm_restarts", STEPS, cycles=2), falling()), EndsHigh) == []


def test_a_cooldown_ends_a_run_before_its_plan() -> None:
    trunk = build("wsd", STEPS)
    run = under(trunk, falling()[:500], events=[Event(450, "cooldown", "deadline, 50 steps")])
    assert found(run, EndsHigh) == []


# Groups


def grouped(low: float, *, peak: tuple[float, ...] = (PEAK, PEAK / 10), **about: Any) -> History:
    """Two groups under a cosine: the second runs at `low` times the first."""
    lines: list[dict[str, Any]] = [
        {"step": i + 1, "loss": loss, "lrs": [COSINE.lr(i, PEAK), max(low * COSINE.lr(i, PEAK), about.get("floor", 0.0))]}
        for i, loss in enumerate(falling())
    ]
    about.pop("floor", None)
    return History.of(lines, source="lr_history.jsonl", peak=peak, groups=("backbone", "head"), **about)


def test_groups_that_have_become_one() -> None:
    (one,) = findings(grouped(1.0), GroupsCollapsed)
    assert one.cause == "groups collapsed"
    assert one.step < 20
    assert "head" in one.evidence
    assert "10 times apart" in one.advice
    assert found(grouped(0.5), GroupsCollapsed) == config("group ratio lost")


def test_one_recorded_lr_stands_for_all_groups() -> None:
    run = under(COSINE, falling(), peak=(PEAK, PEAK / 10))
    assert found(run, GroupsCollapsed) == config("groups collapsed")
    assert found(logged(run, 10), GroupsCollapsed) == []  # Trainer logs the first group's alone


def test_groups_as_they_should_be() -> None:
    assert found(grouped(0.1), GroupsCollapsed) == []
    assert found(grouped(1.0, peak=(PEAK, PEAK)), GroupsCollapsed) == []
    assert found(grouped(0.0, peak=(PEAK, 0.0)), GroupsCollapsed) == []  # frozen
    floored = COSINE.with_floor(5e-5)
    assert found(grouped(0.1, floor=5e-5, schedule=floored), GroupsCollapsed) == []


# None, or 0


def test_no_lr() -> None:
    unknown = history(falling(), math.nan, peak=(PEAK,))
    assert found(unknown, NoLR) == config("no lr recorded", attention=False)
    assert found(history(falling(), math.nan), NoLR) == []  # a CSV of losses
    assert found(history(falling(), 0.0), NoLR) == config("lr is zero")
    assert found(history(falling(), [0.0, *[PEAK] * (STEPS - 1)]), NoLR) == []
    pause = hold(100, at=0.0) >> rise(100) >> hold(800)
    assert found(under(pause, falling()), NoLR) == []
