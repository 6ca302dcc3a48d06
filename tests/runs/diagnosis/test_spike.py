"""Sudden spikes: a bad batch, a norm that led, and what the schedule did."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_lrsched import build
from hf_lrsched.runs.diagnosis.spike import LossSpike, NormGrows
from hf_lrsched.runs.history import Event, History

from .curves import PEAK, STEPS, falling, findings, found, history, under, with_norms

BAD_BATCH = [("spike", "bad batch", True)]
# BLOOM-176B's first spike (diagnosis.md, section 1, fact 5): step, loss, gradient norm.
BLOOM = [
    *[(31214, 2.199, 0.242), (31215, 2.220, 0.947), (31216, 2.595, 2.39), (31217, 2.242, 15.9), (31218, 2.345, 145.0)],
    *[(31219, 5.098, 960.0), (31220, 3.492, 353.0), (31221, 3.213, 379.0), (31222, 2.805, 650.0), (31250, 2.216, 0.267)],
]
CALM = [(31150 + i, *((2.199, 0.242), (2.216, 0.267))[i % 2]) for i in range(64)]  # its two healthy points, in turn


def spiked(heights: list[float], at: int = 600, usual: list[float] | None = None) -> list[float]:
    """A healthy curve with those losses from step `at` on."""
    losses = list(usual or falling())
    losses[at - 1 : at - 1 + len(heights)] = heights
    return losses


def bloom() -> History:
    rows = [{"step": step, "loss": loss, "grad_norm": norm, "lr": 5.279e-5} for step, loss, norm in CALM + BLOOM]
    return History.of(rows, source="bloom.jsonl")


# What a spike is


@pytest.mark.parametrize("heights", [[12.0], [12.0, 9.0]])
def test_one_batch(heights: list[float]) -> None:
    (one,) = findings(history(spiked(heights)), LossSpike)
    assert (one.cause, one.since, one.step, one.factor) == ("bad batch", 600, 600 + len(heights), None)
    assert "to 12 at step 600" in one.evidence
    assert "the batch of step 600" in one.advice


def test_one_that_takes_a_while_names_its_highest() -> None:
    (one,) = findings(history(spiked([5.0, 9.0, 12.0, 8.0, 5.0])), LossSpike)
    assert (one.cause, one.confidence, one.since, one.step) == ("unknown", "low", 600, 605)
    assert "to 5 at step 600, at most 12 at step 602" in one.evidence
    assert "after 5 points" in one.evidence


def test_what_does_not_come_back_is_no_spike() -> None:
    assert found(history([loss + 5 * (i >= 600) for i, loss in enumerate(falling())]), LossSpike) == []
    assert len(findings(history([loss + 5 * (600 <= i < 690) for i, loss in enumerate(falling())]), LossSpike)) == 1
    assert found(history(spiked([math.nan, math.inf])), LossSpike) == []


def test_a_loss_of_one_number_has_no_noise() -> None:
    assert found(history(spiked([9.0], 50, [2.0] * 100)), LossSpike) == BAD_BATCH
    assert found(history(spiked([2.01], 50, [2.0] * 100)), LossSpike) == []


def test_what_a_trainers_log_rounds_is_no_spike() -> None:
    learnt = [round(3 * math.exp(-i / 40), 4) for i in range(STEPS)]
    assert found(history(spiked([0.0004], 900, learnt)), LossSpike) == []


def test_it_is_said_three_times_and_not_of_the_same_height() -> None:
    heights = {300: 10.0, 400: 10.0, 500: 50.0, 600: 250.0, 700: 1250.0}
    losses = [heights.get(i, loss) for i, loss in enumerate(falling(), start=1)]
    assert [one.since for one in findings(history(losses), LossSpike)] == [300, 500, 600]


# What led it


def leads(ahead: int, times: float = 20.0) -> list[float]:
    norms = [1.0] * STEPS
    norms[599 - ahead : 602] = [times] * (602 - 599 + ahead)
    return norms


def test_a_gradient_norm_that_led() -> None:
    (one,) = findings(with_norms(spiked([9.0, 12.0, 9.0, 5.0]), leads(4)), LossSpike)
    assert (one.cause, one.since, one.factor, one.confidence) == ("lr too high", 596, 0.5, "medium")
    assert "4 steps earlier, at 20 times its median" in one.evidence
    (last,) = findings(with_norms(spiked([9.0, 12.0]), leads(1)), LossSpike)
    assert "1 step earlier" in last.evidence


def test_one_that_rises_with_the_loss_did_not_lead() -> None:
    assert found(with_norms(spiked([12.0]), leads(0)), LossSpike) == BAD_BATCH


def test_blooms_spike_is_seen_two_steps_before_its_peak() -> None:
    told = findings(bloom(), LossSpike, NormGrows)
    assert {(one.cause, one.since, one.attention) for one in told} == {("lr too high", 31215, True)}
    assert min(one.step for one in told) == 31217
    (grows,) = findings(bloom(), NormGrows)
    assert grows.step == 31217
    assert "3.9, 9.9, 66 times" in grows.evidence
    assert "5.098 at step 31219" in told[-1].evidence


# What the schedule did


@pytest.mark.parametrize(("kind", "ago"), [("resume", 1), ("resume", 60), ("restart", 1), ("restart", 60)])
def test_a_restart_and_a_resume_are_expected(kind: str, ago: int) -> None:
    schedule = build("warm_restarts", STEPS, cycles=2, warmup=0) if kind == "restart" else build("constant", STEPS)
    events = [Event(500, "resume")] if kind == "resume" else []
    run = under(schedule, spiked([9.0, 5.0, 4.0], 500 + ago), events=events)
    assert found(run, LossSpike) == [("spike", kind, False)]
    assert found(under(schedule, spiked([9.0, 5.0, 4.0], 800), events=events), LossSpike) == [("spike", "unknown", True)]


@pytest.mark.parametrize("name", ["step_decay", "wsd", "warm_restarts"])
def test_a_drop_of_the_lr_is_no_spike(name: str) -> None:
    schedule = build(name, STEPS, **({"cycles": 2} if name == "warm_restarts" else {}))
    shares = schedule.values()
    lower = (np.asarray(falling()) + 0.5 * shares / shares.max()).tolist()  # the loss follows the LR at once, up and down
    assert [one for one in findings(under(schedule, lower), LossSpike) if one.attention] == []


# What is no spike


def noisy(of: Callable[[np.random.Generator, int], Any], seed: int, steps: int = 20_000) -> list[float]:
    losses: list[float] = (np.asarray(falling(steps, noise=0)) + of(np.random.default_rng(seed), steps)).tolist()
    return losses


def _slow(rng: np.random.Generator, steps: int) -> Any:
    """Noise whose neighbours are alike, as where data are not shuffled."""
    noise, last = rng.normal(0, 0.02, steps), 0.0
    for i in range(steps):
        noise[i] = last = 0.99 * last + noise[i]
    return noise


TAILS: dict[str, Callable[[np.random.Generator, int], Any]] = {
    "Student's t of 3": lambda rng, steps: 0.3 * rng.standard_t(3, steps),
    "Student's t of 5": lambda rng, steps: 0.3 * rng.standard_t(5, steps),
    "lognormal": lambda rng, steps: 2 * np.exp(0.6 * rng.normal(size=steps)),
    "unshuffled": _slow,
}


@pytest.mark.parametrize("name", TAILS)
def test_the_tail_of_single_batches(name: str) -> None:
    alarms = [one for seed in range(3) for one in findings(history(noisy(TAILS[name], seed)), LossSpike) if one.attention]
    assert len(alarms) <= 6  # of 60,000 steps: the goal of 0.1 per 1,000


def test_other_data_for_a_while_are_told_of_once() -> None:
    harder = [loss + 1.0 * (i // 50 % 4 == 3) for i, loss in enumerate(falling(5000))]
    assert len(findings(history(harder), LossSpike)) <= 1


@settings(max_examples=25, deadline=None)
@given(st.integers(-20, 20), st.integers(-20, 20), st.floats(4.0, 100.0))
def test_neither_unit_matters(loss: int, norm: int, height: float) -> None:
    def told(times: float, times_norm: float) -> list[tuple[Any, ...]]:
        run = with_norms([times * one for one in spiked([height])], [times_norm * one for one in leads(3)])
        return [(one.cause, one.step, one.since) for one in findings(run, LossSpike, NormGrows)]

    assert told(2.0**loss, 2.0**norm) == told(1.0, 1.0)


# Norms that grow


def norms(late: list[float], at: int = 600) -> History:
    rng = np.random.default_rng(0)
    return with_norms(falling(), [*rng.lognormal(0, 0.3, at - 1).tolist(), *late, *[1.0] * (STEPS - at + 1 - len(late))])


def test_three_norms_each_above_the_last() -> None:
    (one,) = findings(norms([5.0, 9.0, 20.0]), NormGrows)
    assert (one.cause, one.since, one.step, one.confidence) == ("lr too high", 600, 602, "low")


@pytest.mark.parametrize(
    "late", [[5.0, 9.0], [9.0, 5.0, 20.0], [5.0, 9.0, math.inf, 1.0], [2.0, 2.5, 2.8, 2.9], [5.0, 9.0, 9.0], [1e9]]
)
def test_norms_that_do_not_grow_three_times(late: list[float]) -> None:
    assert found(norms(late), NormGrows) == []


def test_too_early_or_behind_a_resume() -> None:
    assert found(norms([5.0, 9.0, 20.0], at=20), NormGrows) == []
    run = with_norms(falling(), norms([5.0, 9.0, 20.0]).grad_norm.tolist(), events=[Event(590, "resume")])
    assert found(run, NormGrows) == []


@pytest.mark.parametrize("seed", range(3))
def test_norms_with_a_heavy_tail(seed: int) -> None:
    heavy = np.random.default_rng(seed).lognormal(0, 1.0, 20_000).tolist()
    assert found(with_norms(falling(20_000), heavy), NormGrows) == []


def test_a_drift_of_the_norm_is_not_told() -> None:
    assert found(with_norms(falling(), np.linspace(0.1, 3.0, STEPS).tolist(), lrs=[PEAK] * STEPS), NormGrows) == []
