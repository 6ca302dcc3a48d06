"""When a curve is asked about its learning rate, and what is made of the answer."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from hf_lrsched import CATALOGUE, Schedule, build, fall, hold, rise
from hf_lrsched.runs.diagnosis import Setting, progress
from hf_lrsched.runs.diagnosis.progress import ASKED, LearningRate, spent
from hf_lrsched.runs.diagnosis.verdict import Known, Verdict
from hf_lrsched.runs.history import History

from .curves import PEAK, falling, findings, found, history, logged, under
from .test_another_schedule import ARGUMENTS
from .test_verdict import STEPS, level, line, noise, rose, thrown

SCRATCH: dict[str, Any] = {"facts": {"optimizer": "AdamW", "untrained": True}}
KNOWN: dict[str, Any] = {**SCRATCH, "total": STEPS}
SLOW = line(0.97).tolist()


def asked(run: History, monkeypatch: pytest.MonkeyPatch) -> list[Known]:
    """What was known each time that a verdict was asked for; none is given."""
    times: list[Known] = []
    monkeypatch.setattr(progress, "verdict", lambda curve, known, limits: times.append(known))
    assert found(run, LearningRate) == []
    return [one for one in times if one.done]  # without the early looks for a jump


# When


def test_at_a_tenth_at_three_tenths_and_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    times = asked(history(falling(STEPS), **KNOWN), monkeypatch)
    assert [one.done for one in times] == pytest.approx([*ASKED, 1.0], abs=0.001)
    assert [one.steps for one in times] == [199, 599, STEPS]
    assert all(one.untrained and one.constant and not one.beyond for one in times)


def test_time_is_the_learning_rate_that_was_spent(monkeypatch: pytest.MonkeyPatch) -> None:
    schedule = rise(400) >> hold(STEPS - 400)
    times = asked(under(schedule, falling(STEPS), **SCRATCH), monkeypatch)
    assert [one.done for one in times] == pytest.approx([*ASKED, 1.0], abs=0.002)
    assert [one.steps for one in times] == pytest.approx([0.1 * 1800 + 200, 0.3 * 1800 + 200, STEPS], abs=3)
    assert all(one.constant for one in times)


def test_in_a_decay_as_many_steps_must_be_taken_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    times = asked(under(fall(STEPS, "linear") >> hold(0), falling(STEPS), **SCRATCH), monkeypatch)
    assert [one.steps for one in times] == [199, 599, STEPS]
    assert times[1].done == pytest.approx(1 - 0.7**2, abs=0.002)
    assert not times[-1].constant


def test_a_file_that_ends_early_says_how_much_there_was(monkeypatch: pytest.MonkeyPatch) -> None:
    times = asked(history(falling(STEPS)[:500], **KNOWN), monkeypatch)
    assert [one.done for one in times] == pytest.approx([0.1, 0.25], abs=0.001)


def test_where_nobody_knows_its_length_the_end_is_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    times = asked(history(falling(STEPS), **SCRATCH), monkeypatch)
    assert [(one.done, one.steps) for one in times] == [(1.0, STEPS)]


@pytest.mark.parametrize(
    "schedule", [build("warm_restarts", STEPS, cycles=3), build("warm_restarts", STEPS, cycles=2, warmup=0)]
)
def test_cycles_have_no_shape(schedule: Schedule, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [one.done for one in asked(under(schedule, falling(STEPS), **SCRATCH), monkeypatch)][-1] < 0.9


@pytest.mark.filterwarnings("ignore:.*")  # what some of them warn of is not the matter
@pytest.mark.parametrize("name", [name for name in CATALOGUE if name not in ("warm_restarts", "wsd_s")])
def test_every_other_schedule_is_asked_of_to_the_end(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    schedule = build(name, STEPS, **ARGUMENTS.get(name, {}))
    times = asked(under(schedule, falling(STEPS), **SCRATCH), monkeypatch)
    assert times[-1].done == pytest.approx(1.0)


def test_a_file_without_the_runs_beginning_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    late = history(falling(STEPS), **{**KNOWN, "total": 2 * STEPS})
    assert asked(dataclasses.replace(late, step=late.step + STEPS), monkeypatch) == []


def test_the_share_that_is_spent() -> None:
    steps, share = spent(Setting(steps=100, schedule=hold(100) >> hold(0))) or ([], [])
    assert np.interp([0, 25, 100], steps, share) == pytest.approx([0, 0.25, 1.0])
    assert spent(Setting(steps=100)) is None
    assert spent(Setting(schedule=hold(100) >> hold(0))) is None


# What


def test_too_low_is_told_at_a_tenth() -> None:
    (one,) = findings(history(SLOW, **KNOWN), LearningRate)
    assert (one.symptom, one.cause, one.factor, one.confidence) == ("slow", "lr too low", 10.0, "high")
    assert 199 <= one.step <= 200
    assert "at 10% of the run" in one.evidence
    assert "multiply the peak by 10" in one.advice


def test_what_is_not_told_at_a_tenth_is_told_later(monkeypatch: pytest.MonkeyPatch) -> None:
    late = Verdict("too high", "stuck", "seen", 0.3)
    monkeypatch.setattr(progress, "verdict", lambda curve, known, limits: late if known.done > 0.2 else None)
    (one,) = findings(history(SLOW, **KNOWN), LearningRate)
    assert one.step == 599
    assert one.title == "the loss fell at once, and has been flat since"


def test_it_is_said_once() -> None:
    both = [*SLOW[:500], *level(0.6).tolist()[500:]]
    assert len(findings(history(both, **KNOWN), LearningRate)) == 1


@pytest.mark.parametrize(
    ("curve", "cause"), [(thrown(80.0), "lr too high"), (rose(1.3), "lr too high"), (level(0.85), "unknown")]
)
def test_what_is_too_high_or_may_be(curve: Any, cause: str) -> None:
    (one,) = findings(history(curve.tolist(), **KNOWN), LearningRate)
    assert one.cause == cause
    assert ("divide the peak by 10 or more" in one.advice) == (cause == "lr too high")
    assert ("decode a batch" in one.advice) == (cause == "unknown")


def test_a_rise_in_the_warm_up_counts_by_the_rate_it_began_at() -> None:
    schedule = rise(400) >> hold(STEPS - 400)
    losses = 3.0 * (1 + np.minimum(np.maximum(np.arange(STEPS) - 20, 0) / 20, 1)) + noise()
    (one,) = findings(under(schedule, losses.tolist(), **SCRATCH), LearningRate)
    assert one.cause == "lr too high"
    assert one.factor == pytest.approx(0.1 * 23 / 400, abs=0.01)
    assert "on the way to 0.001" in one.evidence
    assert "1e+02" not in one.advice


def facts(**given: Any) -> dict[str, Any]:
    return {**KNOWN, "facts": {**SCRATCH["facts"], **given}}


@pytest.mark.parametrize("trainable", [0.009, 0.0])
def test_hardly_anything_is_trained(trainable: float) -> None:
    (one,) = findings(history(SLOW, **facts(trainable=trainable)), LearningRate)
    assert (one.cause, one.factor) == ("nothing trainable", None)
    assert f"{trainable:.2%} of the parameters" in one.advice


def test_few_weights_that_are_adapters_or_enough_weights() -> None:
    for given in (facts(trainable=0.5), facts()):
        assert found(history(SLOW, **given), LearningRate) == [("slow", "lr too low", True)]
    assert found(history(SLOW, **facts(trainable=0.009, adapters=True)), LearningRate) == []


def test_a_pretrained_model_or_one_nobody_knows_of() -> None:
    for untrained in (False, None):
        assert found(history(SLOW, **facts(untrained=untrained)), LearningRate) == []  # as far as many healthy ones come
        assert found(history(level(0.6).tolist(), **facts(untrained=untrained)), LearningRate) == []
        assert found(history(rose(1.3).tolist(), **facts(untrained=untrained)), LearningRate) == [
            ("explodes", "lr too high", True)
        ]


@pytest.mark.parametrize("every", [0, 10])
@pytest.mark.parametrize("seed", range(3))
def test_a_healthy_run(seed: int, every: int) -> None:
    for schedule in (hold(STEPS) >> hold(0), build("warmup_cosine", STEPS), build("wsd", STEPS)):
        run = under(schedule, falling(STEPS, seed=seed), **SCRATCH)
        assert found(logged(run, every) if every else run, LearningRate) == []


def test_losses_that_are_lost_leave_no_curve() -> None:
    losses = [*SLOW[:50], *[float("nan")] * 3, *SLOW[53:]]
    assert found(history(losses, **KNOWN), LearningRate) == []


@pytest.mark.parametrize("cut", [64, 100, 150, 179])
def test_a_file_that_ends_before_a_tenth_of_its_run(cut: int) -> None:
    assert found(history(SLOW[:cut], PEAK, **KNOWN), LearningRate) == []


# What a stranger ran


def test_a_jump_of_the_first_updates_is_told_at_once_under_a_schedule_that_nobody_knows() -> None:
    losses = [4.7, 314.0, *np.linspace(400, 2000, STEPS - 2).tolist()]
    run = history(losses, lambda step: PEAK * (1 - step / STEPS), total=STEPS)  # Transformers' linear, no warm-up
    (one,) = findings(run, LearningRate)
    assert (one.symptom, one.cause, one.step) == ("explodes", "lr too high", 21 - 1)


def test_a_decay_without_a_plan_is_asked_at_a_tenth() -> None:
    run = history(thrown(1.5, at=5, then=0.7).tolist(), lambda step: PEAK * (1 - step / STEPS), **KNOWN)
    (one,) = findings(run, LearningRate)
    assert one.step <= 0.1 * STEPS


def test_a_warm_up_without_a_plan_waits_until_it_is_well_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    run = history(line(0.5).tolist(), lambda step: PEAK * min(step / 400, 1.0), **KNOWN)
    assert min(one.steps for one in asked(run, monkeypatch)) >= 799


def test_nobody_is_told_to_raise_a_rate_that_is_far_beyond() -> None:
    hot: dict[str, Any] = {"facts": {"optimizer": "AdamW", "untrained": True}, "total": STEPS, "peak": (0.1,)}
    assert found(history(SLOW, 0.1, **hot), LearningRate) == []


def test_adapters_on_random_weights_are_not_asked_how_far_they_came(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = {"optimizer": "AdamW", "untrained": True, "adapters": True}
    assert not any(one.untrained for one in asked(history(SLOW, total=STEPS, facts=facts), monkeypatch))


def tuning(first: float, scatter: float, seed: int) -> list[float]:
    """A healthy fine-tuning in small batches, of which the first is as given."""
    at = np.arange(STEPS)
    draws = np.exp(scatter * np.random.default_rng(seed).normal(size=STEPS))
    losses: list[float] = (2.0 * (0.85 + 0.15 * np.exp(-at / 400)) * draws).tolist()
    return [first, *losses[1:]]


def test_fine_tunings_whose_first_batch_is_easy_hardly_ever_explode() -> None:
    facts = {"optimizer": "AdamW", "untrained": False}
    said = [bool(found(history(tuning(1.1, 0.2, seed), total=STEPS, facts=facts), LearningRate)) for seed in range(30)]
    assert sum(said) <= 1  # of 30


def test_one_that_the_first_update_threw_up_does() -> None:
    facts = {"optimizer": "AdamW", "untrained": False}
    losses = tuning(2.0, 0.05, 0)
    thrown_up = [loss * (1 + 1.5 * np.exp(-i / 200)) if i else loss for i, loss in enumerate(losses)]
    assert found(history(thrown_up, total=STEPS, facts=facts), LearningRate) == [("explodes", "lr too high", True)]
