"""The loss stops falling long before the run ends."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hf_lrsched import build, fall, hold, rise
from hf_lrsched.runs.diagnosis.plateau import Flat, NothingLeft
from hf_lrsched.runs.history import History

from .curves import PEAK, falling, findings, found, history, logged, under

STUCK = [("plateau", "unknown", True)]
FLOOR = [("plateau", "schedule floor reached", True)]
LONG = 4000


def stops(at: int = 300, steps: int = LONG, *, end: float = 2.0, noise: float = 0.05) -> list[float]:
    """A fall from 5 to `end` until step `at`, and nothing after it."""
    rest = np.random.default_rng(5).normal(end, noise, steps - at)
    return [*falling(at, end=end, noise=noise), *rest.tolist()]


def planned(losses: list[float], **about: object) -> History:
    return history(losses, peak=(PEAK,), arguments={"max_steps": LONG}, **about)  # type: ignore[arg-type]  # an LR


def test_a_loss_that_stops_at_a_constant_lr() -> None:
    (one,) = findings(planned(stops()), Flat)
    assert (one.symptom, one.cause, one.attention, one.factor) == ("plateau", "unknown", True, None)
    assert one.since >= 250
    assert one.step <= 0.5 * LONG
    assert "100% of the highest" in one.evidence
    assert f"of {LONG} steps are left" in one.evidence
    assert "Cool down now" in one.advice


def test_in_a_trainers_log() -> None:
    assert found(logged(planned(stops(noise=0.02)), 10), Flat) == STUCK
    assert found(logged(history(stops(noise=0.02)), 20), Flat) == STUCK  # its length is not known


def test_a_schedule_that_has_come_down_long_before() -> None:
    early = rise(0) >> fall(300, to=0.01) >> hold(LONG - 300, at=0.01)
    (one,) = findings(under(early, stops()), Flat)
    assert one.cause == "schedule floor reached"
    assert "restart at up to 0.001" in one.advice


@pytest.mark.parametrize("noise", [0.01, 0.1, 0.5])
@pytest.mark.parametrize("power", [0.1, 0.3, 0.5])
def test_a_power_law_is_none(power: float, noise: float) -> None:
    at = np.arange(1.0, 20_001.0)
    losses = 2 + 3 * at**-power + np.random.default_rng(2).normal(0, noise, len(at))
    assert found(history(losses.tolist()), Flat) == []
    assert found(logged(history(losses.tolist()), 100), Flat) == []


def test_the_ends_of_decays_are_none() -> None:
    for schedule in (build("wsd", LONG, decay=0.7), build("warmup_cosine", LONG), build("warm_restarts", LONG)):
        assert found(under(schedule, stops(2000)), Flat) == []


def test_what_is_none() -> None:
    assert found(planned(stops(3500)), Flat) == []  # nothing left to change
    assert found(planned(falling(LONG, start=2.0, end=2.0)), Flat) == []  # it never fell
    assert found(planned(stops(end=0.01, noise=0.001)), Flat) == []  # it is used up
    climbing = [*falling(300), *np.linspace(2.0, 2.5, LONG - 300).tolist()]
    assert found(planned(climbing), Flat) == []
    assert found(planned([math.nan] * LONG), Flat) == []


@pytest.mark.parametrize(("times", "plus"), [(1000.0, 0.0), (1e-3, 0.0), (1.0, 100.0)])
def test_neither_the_unit_nor_the_zero_of_the_loss_matters(times: float, plus: float) -> None:
    (one,) = findings(planned([times * loss + plus for loss in stops()]), Flat)
    (same,) = findings(planned(stops()), Flat)
    assert (one.step, one.since) == (same.step, same.since)


# An LR of 0


def test_an_lr_that_reaches_0_at_half_of_the_run() -> None:
    lrs = [max(PEAK * (1 - 2 * i / LONG), 0.0) for i in range(LONG)]
    (one,) = findings(history(falling(LONG), lrs, arguments={"max_steps": LONG}), NothingLeft)
    assert (one.since, one.step, one.attention) == (LONG // 2 + 1, LONG // 2 + 1 + LONG // 10, True)
    assert found(history(falling(LONG), lrs), NothingLeft) == FLOOR  # told at the end
    assert found(logged(history(falling(LONG), lrs), 50), NothingLeft) == FLOOR


def test_where_it_was_planned_or_something_else_has_gone_wrong() -> None:
    short = build("wsd", LONG, stable=1000)
    assert found(under(short, falling(LONG)), NothingLeft) == [("plateau", "schedule floor reached", False)]
    twice = [build("wsd", LONG).lr(2 * i, PEAK) for i in range(LONG)]
    assert found(history(falling(LONG), twice, schedule=build("wsd", LONG), peak=(PEAK,)), NothingLeft) == []
    assert found(history(falling(LONG), 0.0), NothingLeft) == []
    for name in ("wsd", "one_cycle", "warm_restarts", "rex"):
        assert found(under(build(name, LONG), falling(LONG)), NothingLeft) == []
