"""The loss explodes, or is no number any more."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from hf_lrsched import build, hold, rise
from hf_lrsched.runs.diagnosis import Setting
from hf_lrsched.runs.diagnosis.explosion import Diverges, HiddenNaN, NotFinite, lead, scale
from hf_lrsched.runs.diagnosis.sight import Point, Sight
from hf_lrsched.runs.history import Event, History

from .curves import PEAK, STEPS, falling, findings, found, history, under, with_norms

WARM = rise(200) >> hold(STEPS - 200)
LOG: dict[str, Any] = {"source": "trainer_state.json"}


def at(losses: dict[int, float], usual: list[float] | None = None) -> list[float]:
    """A healthy curve, but for some steps."""
    return [losses.get(i, loss) for i, loss in enumerate(usual or falling(), start=1)]


def from_on(step: int, loss: float = math.nan) -> list[float]:
    return [*falling()[: step - 1], *[loss] * (STEPS - step + 1)]


def climbing(step: int, to: float = 9.0, over: int = 20) -> list[float]:
    """A healthy curve up to `step`, from which the loss goes up to `to` and stays there."""
    usual = falling()
    up = np.interp(np.arange(STEPS - step + 1), [0, over], [usual[step - 2] + 1.5, to])
    return [*usual[: step - 1], *(up + np.random.default_rng(1).normal(0, 0.05, len(up))).tolist()]


def leading(step: int, ahead: int, times: float = 10.0) -> list[float]:
    """Gradient norms that leave their band so many steps before `step`, for good."""
    return [1.0 if i < step - ahead else times for i in range(1, STEPS + 1)]


# Not finite


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_for_good_after_three_in_a_row(loss: float) -> None:
    (one,) = findings(history(from_on(600, loss)), NotFinite)
    assert (one.symptom, one.cause, one.since, one.step, one.factor) == ("explodes", "lr too high", 600, 602, 0.3)
    assert "the first at step 600, 3 in a row" in one.evidence


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_once_is_a_bad_batch(loss: float) -> None:
    (one,) = findings(history(at({300: loss})), NotFinite)
    assert (one.symptom, one.cause, one.since, one.step, one.factor) == ("spike", "bad batch", 300, 301, None)
    assert f"loss {loss} at step 300" in one.evidence


def test_two_in_a_row_are_a_bad_batch_too() -> None:
    assert found(history(at({300: math.nan, 301: math.inf})), NotFinite) == [("spike", "bad batch", True)]


def test_a_bad_batch_does_not_hide_what_comes_later() -> None:
    losses = from_on(600)
    losses[99] = losses[199] = math.nan
    assert found(history(losses), NotFinite) == [("spike", "bad batch", True), ("explodes", "lr too high", True)]


def test_at_step_1() -> None:
    (one,) = findings(history([math.nan] * 50), NotFinite)
    assert (one.cause, one.since, one.step) == ("lr too high", 1, 3)
    assert "not known" in one.evidence


@pytest.mark.parametrize("kept", [1, 2])
def test_a_run_that_stops_at_its_first_nan(kept: int) -> None:
    run = history(from_on(600)[: 599 + kept])
    (one,) = findings(run, NotFinite)
    assert (one.symptom, one.since, one.step) == ("explodes", 600, 599 + kept)


def test_a_step_without_a_logged_loss_is_no_nan() -> None:
    rows: list[dict[str, Any]] = [{"step": i, "lr": PEAK} | ({"loss": 2.0} if i % 10 == 0 else {}) for i in range(1, 200)]
    assert found(History.of(rows), NotFinite, HiddenNaN, Diverges) == []


def test_the_gradient_norm_tells_a_bad_batch_from_the_lr() -> None:
    calm = with_norms(from_on(600), [1.0] * 599 + [math.nan] * 401)
    (one,) = findings(calm, NotFinite)
    assert (one.cause, one.factor, one.confidence) == ("bad batch", None, "low")
    assert "gave no sign" in one.evidence
    (led,) = findings(with_norms(from_on(600), leading(600, 4)), NotFinite)
    assert (led.cause, led.since, led.factor, led.confidence) == ("lr too high", 596, 0.3, "high")
    assert "4 steps earlier, at 10 times its median" in led.evidence


# Hidden in a Trainer's log


def hidden(zeros: range, norm: float = math.nan, usual: float = 1.0, **about: Any) -> History:
    losses, norms = falling(), [usual] * STEPS
    for i in zeros:
        losses[i - 1], norms[i - 1] = 0.0, norm
    return with_norms(losses, norms, **{**LOG, **about})


def test_a_window_of_them_is_told_at_once() -> None:
    (one,) = findings(hidden(range(600, STEPS + 1), averaged=10), HiddenNaN)
    assert (one.symptom, one.cause, one.since, one.step, one.confidence) == ("explodes", "hidden NaN", 600, 600, "high")
    assert "the gradient norm NaN" in one.evidence
    assert "logging_nan_inf_filter=False" in one.advice


def test_of_single_steps_three_in_a_row() -> None:
    (one,) = findings(hidden(range(600, STEPS + 1)), HiddenNaN)
    assert (one.since, one.step) == (600, 602)
    assert found(hidden(range(600, 601)), HiddenNaN) == []  # fp16 has skipped that update
    assert found(hidden(range(STEPS, STEPS + 1)), HiddenNaN) == [("explodes", "hidden NaN", True)]  # nothing came after it


def test_a_log_without_gradient_norms() -> None:
    (one,) = findings(hidden(range(600, STEPS + 1), usual=math.nan), HiddenNaN)
    assert (one.step, one.confidence) == (602, "medium")
    assert "norm" not in one.evidence
    recorded = hidden(range(600, STEPS + 1), usual=math.nan, source="lr_history.jsonl")
    assert found(recorded, HiddenNaN) == []  # the recorder hides nothing


@pytest.mark.parametrize("averaged", [1, 10])
def test_a_true_loss_of_0(averaged: int) -> None:
    assert found(hidden(range(600, STEPS + 1), norm=0.3, averaged=averaged), HiddenNaN) == []
    learnt = [round(3 * math.exp(-i / 40), 4) for i in range(STEPS)]
    assert learnt[-1] == 0.0
    assert found(history(learnt, **LOG), HiddenNaN) == []


# Diverges


def test_a_loss_that_goes_up_for_good() -> None:
    (one,) = findings(history(climbing(600)), Diverges)
    assert (one.symptom, one.cause, one.confidence) == ("explodes", "lr too high", "medium")
    assert 600 <= one.since <= one.step <= 620
    assert "the lowest was 2." in one.evidence


def test_the_gradient_norm_went_first() -> None:
    (one,) = findings(with_norms(climbing(600), leading(600, 3)), Diverges)
    assert (one.cause, one.since, one.confidence) == ("lr too high", 597, "high")


def test_a_single_step_with_a_calm_gradient_norm_is_a_bad_batch() -> None:
    (one,) = findings(with_norms(from_on(600, 11.0), 1.0), Diverges)
    assert (one.cause, one.since, one.factor, one.confidence) == ("bad batch", 600, None, "low")
    assert "the batch of step 600" in one.advice


def test_right_behind_the_warm_up_it_was_too_short() -> None:
    (one,) = findings(under(WARM, climbing(215)), Diverges)
    assert (one.cause, one.confidence) == ("warm-up too short", "medium")
    assert 215 <= one.since <= one.step <= 225
    assert "the warm-up ended at step 201" in one.evidence
    assert "two to five times as long" in one.advice
    assert found(under(WARM, climbing(600)), Diverges) == [("explodes", "lr too high", True)]


@pytest.mark.parametrize(("step", "factor"), [(101, 0.3 * 0.5), (151, 0.3 * 0.75)])
def test_during_the_warm_up_the_factor_is_of_the_lr_it_happened_at(step: int, factor: float) -> None:
    (one,) = findings(under(WARM, climbing(step)), Diverges)
    assert (one.cause, one.confidence) == ("lr too high", "high")
    assert step <= one.since <= one.step <= step + 12
    assert one.factor == pytest.approx(factor, rel=0.1)
    assert "on its way up" in one.evidence


def test_a_factor_is_bounded_and_reads_as_a_number() -> None:
    lrs = (1e-3 * (rise(STEPS) >> hold(0)).values()).tolist()
    (one,) = findings(history(climbing(15), lrs, peak=(1.0,)), Diverges)
    assert one.factor == 0.01
    assert "divided by 100" in one.advice


def test_without_a_warm_up() -> None:
    (one,) = findings(history(climbing(60)), Diverges)
    assert (one.cause, one.factor) == ("lr too high", 0.3)
    assert "warm up over 1 to 5 %" in one.advice


@pytest.mark.parametrize("kind", ["restart", "resume"])
def test_what_a_restart_or_a_resume_has_broken_is_told_when_it_does_not_come_back(kind: str) -> None:
    schedule = build("warm_restarts", STEPS, cycles=2, warmup=0) if kind == "restart" else build("constant", STEPS)
    events = [Event(500, "resume")] if kind == "resume" else []
    (one,) = findings(under(schedule, from_on(505, 30.0), events=events), Diverges)
    assert (one.cause, one.since) == ("lr too high" if kind == "restart" else "unknown", 505)
    assert one.step > 550
    back = [*falling()[:504], *np.linspace(5.5, 2.3, 40).tolist(), *falling()[544:]]
    assert found(under(schedule, back, events=events), Diverges) == []


HEALTHY: dict[str, list[float]] = {
    "as ever": falling(),
    "noise of a batch of 1": falling(noise=1.0),
    "negative": [loss - 10 for loss in falling()],
    "falls 100 times": (
        500 * np.exp(np.linspace(0, math.log(0.01), STEPS) + np.random.default_rng(0).normal(0, 0.1, STEPS))
    ).tolist(),
    "another part of the data": [loss + 0.6 * (i >= 500) for i, loss in enumerate(falling())],
    "harder every 50 steps": [loss + 1.0 * (i // 50 % 4 == 3) for i, loss in enumerate(falling())],
    "one spike": [*falling()[:700], 40.0, 30.0, 20.0, 10.0, *falling()[704:]],
    "hardly moves": falling(start=2.0, end=1.95),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_what_does_not_diverge(name: str) -> None:
    assert found(history(HEALTHY[name]), NotFinite, HiddenNaN, Diverges) == []


@pytest.mark.parametrize("times", [1000.0, 1e-3])
def test_neither_the_unit_of_the_loss_nor_that_of_the_norm_matters(times: float) -> None:
    def told(losses: list[float], norms: list[float]) -> list[tuple[Any, ...]]:
        return [(one.cause, one.step, one.since) for one in findings(with_norms(losses, norms), Diverges)]

    losses, norms = climbing(600), leading(600, 3)
    same = told(losses, norms)
    assert [cause for cause, *_ in same] == ["lr too high"]
    assert told([times * loss for loss in losses], norms) == same
    assert told(losses, [times * norm for norm in norms]) == same


# Noise and lead


def sight(losses: list[float], norms: list[float] | None = None) -> Sight:
    made = Sight(Setting())
    for i, (loss, norm) in enumerate(zip(losses, norms or [math.nan] * len(losses), strict=True), start=1):
        made.include(Point(i, loss, (PEAK,), norm))
    return made


def test_the_noise_is_of_neighbours_or_of_the_last_64_and_never_0() -> None:
    rng = np.random.default_rng(0)
    assert scale(sight(rng.normal(2, 0.1, 500).tolist())) == pytest.approx(0.1, rel=0.35)
    walk = (2 + np.cumsum(rng.normal(0, 0.01, 500))).tolist()
    assert scale(sight(walk)) > 2 * sight(walk).noise
    assert scale(sight([2.0] * 100)) == 0.002


def test_a_lead_goes_back_to_where_the_norm_left_its_band() -> None:
    calm = [1.0] * 80
    assert lead(sight([2.0] * 84, [*calm, 4.0, 5.0, 6.0, 7.0]), 84) == (81, 4.0)
    assert lead(sight([2.0] * 84, [*calm, 4.0, 5.0, 6.0, 7.0]), 82) == (81, 4.0)
    assert lead(sight([2.0] * 84, [*calm, 4.0, 1.0, 6.0, 7.0]), 84) == (83, 6.0)
    assert lead(sight([2.0] * 84, [*calm, 4.0, 1.0, 1.0, math.nan]), 84) is None
    assert lead(sight([2.0] * 84, [*calm, 4.0, 5.0, math.inf, math.nan]), 84) == (81, 4.0)
    assert lead(sight([2.0] * 80), 80) is None
    assert lead(sight([2.0] * 80, [0.0] * 80), 80) is None
