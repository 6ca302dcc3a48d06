"""The LR follows something else than its plan."""

from __future__ import annotations

from typing import Any

import pytest

from hf_lrsched import CATALOGUE, Schedule, build
from hf_lrsched.runs.diagnosis.another_schedule import AnotherSchedule
from hf_lrsched.runs.history import Event, History

from .curves import PEAK, STEPS, falling, findings, found, history, logged, under
from .test_configuration import LINEAR, config

ARGUMENTS: dict[str, dict[str, Any]] = {
    "phases": {"phases": [{"from": 0, "to": 1, "length": "10%"}, {}, {"to": 0.1, "length": "30%", "shape": "cosine"}]}
}
SCHEDULES = {name: build(name, STEPS, **ARGUMENTS.get(name, {})) for name in CATALOGUE}
MOVING = {name: schedule for name, schedule in SCHEDULES.items() if name != "constant"}


def paced(plan: Schedule, pace: float, **about: Any) -> History:
    """Its scheduler is stepped `pace` times an update."""
    lrs = [plan.lr(int(pace * i), PEAK) for i in range(STEPS)]
    return history(falling(), lrs, **{"schedule": plan, "peak": (PEAK,), **about})


@pytest.mark.parametrize("name", MOVING)
def test_stepped_twice(name: str) -> None:
    (one,) = findings(paced(MOVING[name], 2), AnotherSchedule)
    assert (one.symptom, one.cause) == ("configuration", "lr stepped twice")
    assert one.step <= 0.5 * STEPS
    assert "reaches its end at step 500 of 1000" in one.evidence


@pytest.mark.parametrize("pace", [3, 4, 8, 1 / 2, 1 / 4])
@pytest.mark.parametrize("name", ["warmup_cosine", "wsd", "one_cycle"])
def test_at_another_pace(name: str, pace: float) -> None:
    (one,) = findings(paced(MOVING[name], pace), AnotherSchedule)
    assert one.cause == ("lr stepped several times" if pace > 1 else "lr stepped too rarely")
    assert f"{pace if pace > 1 else 1 / pace:.3g}" in one.title


def test_at_every_micro_batch() -> None:
    run = paced(MOVING["warmup_cosine"], 4, arguments={"gradient_accumulation_steps": 4})
    assert "gradient_accumulation_steps=4" in findings(run, AnotherSchedule)[0].advice


@pytest.mark.parametrize("kind", ["linear", "cosine"])
@pytest.mark.parametrize("warmup", [0, 100])
def test_from_trainers_arguments_alone(kind: str, warmup: int) -> None:
    plan = build("wsd", STEPS, warmup=warmup, decay=STEPS - warmup, shape=kind)
    about: dict[str, Any] = {"arguments": {**LINEAR, "lr_scheduler_type": kind, "warmup_steps": warmup}}
    about |= {"schedule": None, "peak": ()}
    assert found(paced(plan, 2, **about), AnotherSchedule) == config("lr stepped twice")
    assert found(paced(plan, 1, **about), AnotherSchedule) == []
    assert found(logged(paced(plan, 2, **about), 10), AnotherSchedule) == config("lr stepped twice")


@pytest.mark.parametrize("name", MOVING)
def test_a_scheduler_that_stands_still(name: str) -> None:
    run = history(falling(), PEAK, schedule=MOVING[name], peak=(PEAK,))
    assert found(run, AnotherSchedule) == config("scheduler never stepped")


def test_something_else_sets_the_lr() -> None:
    def other(step: int) -> float:
        return PEAK * (0.2 + 0.1 * (step % 7))

    run = history(falling(), other, schedule=MOVING["warmup_cosine"], peak=(PEAK,))
    assert found(run, AnotherSchedule) == config("schedule overridden")
    deepspeed = history(falling(), other, arguments={**LINEAR, "deepspeed": "zero2.json"})
    assert found(deepspeed, AnotherSchedule) == config("schedule overridden")
    own = history(falling(), other, arguments=LINEAR)  # a script may hand Trainer a scheduler of its own
    assert found(own, AnotherSchedule) == config("schedule overridden", attention=False)


@pytest.mark.parametrize("every", [0, 1, 10, 50])
@pytest.mark.parametrize("name", SCHEDULES)
def test_one_that_is_followed(name: str, every: int) -> None:
    run = under(SCHEDULES[name], falling())
    assert found(logged(run, every) if every else run, AnotherSchedule) == []


@pytest.mark.parametrize("kind", ["resume", "cooldown"])
def test_a_resume_and_a_cooldown_change_the_plan(kind: str) -> None:
    plan = MOVING["warmup_cosine"]
    lrs = [plan.lr(i, PEAK) if i < 400 else PEAK * (1 - i / STEPS) ** 2 for i in range(STEPS)]
    about: dict[str, Any] = {"schedule": plan, "peak": (PEAK,)}
    assert found(history(falling(), lrs, **about), AnotherSchedule) == config("schedule overridden")
    assert found(history(falling(), lrs, events=[Event(400, kind)], **about), AnotherSchedule) == []


def test_a_skipped_update_leaves_the_schedule_where_it_was() -> None:
    plan = MOVING["warmup_cosine"]
    lines = [
        {"step": i + 1, "loss": loss, "lr": plan.lr(max(i - 100, 0), PEAK), "skipped": i < 100}
        for i, loss in enumerate(falling())
    ]
    about: dict[str, Any] = {"schedule": plan, "peak": (PEAK,), "source": "lr_history.jsonl"}
    assert found(History.of(lines, **about), AnotherSchedule) == []


def test_an_lr_before_or_after_the_schedulers_step() -> None:
    plan = build("step_decay", STEPS, every=100)
    lrs = [plan.lr(i + 1, PEAK) for i in range(STEPS)]
    assert found(history(falling(), lrs, schedule=plan, peak=(PEAK,)), AnotherSchedule) == []
