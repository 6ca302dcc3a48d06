"""The shape of a loss curve: numbers without a scale, over the learning rate that was spent."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_lrsched.runs.diagnosis import Point, Setting
from hf_lrsched.runs.diagnosis.shape import OCTAVES, Shape, shape
from hf_lrsched.runs.diagnosis.sight import Sight

from .curves import falling

STEPS = 1600
AT = np.arange(STEPS) / STEPS


def shown(losses: Sequence[float], lrs: Sequence[float] | float = 1e-3) -> Sight:
    sight = Sight(Setting())
    for i, loss in enumerate(losses):
        sight.include(Point(i + 1, loss, (lrs if isinstance(lrs, float) else lrs[i],)))
    return sight


def shaped(losses: Sequence[float], lrs: Sequence[float] | float = 1e-3) -> Shape:
    found = shape(shown(losses, lrs))
    assert found is not None
    return found


def numbers(found: Shape) -> list[float]:
    values = dataclasses.asdict(found)
    del values["start"]
    return [*values.pop("edges"), *values.values(), found.fall, *found.drops, found.early, found.drift]


def test_a_straight_line_loses_half_of_its_fall_in_the_last_half() -> None:
    line = shaped((2 - AT).tolist())
    assert line.drops[:3] == pytest.approx((0.5, 0.25, 0.125), abs=0.06)
    assert line.level == pytest.approx(0.525, abs=0.01)
    assert line.early < 0.05
    assert line.noise < 1e-6
    assert line.trend > 100
    assert len(line.edges) == OCTAVES + 1


def test_a_fall_at_once() -> None:
    curve = shaped([5.0, 4.0, *[3.0] * (STEPS - 2)])
    assert (curve.start, curve.level, curve.floor, curve.low) == (5.0, 0.6, 0.6, 0.6)
    assert curve.early == pytest.approx(1.0)
    assert curve.drift == curve.spread == 0.0


def test_a_rise_and_where_it_was() -> None:
    losses = [2.0, 2.0, 2.0, 2.2, 6.0, 5.0, *[4.0] * (STEPS - 6)]
    curve = shaped(losses)
    assert (curve.rise, curve.again, curve.first_rise, curve.level) == (3.0, 2.5, 4, 2.0)
    assert curve.fall == -1.0
    assert curve.early == 0.0


def test_one_block_that_is_high_is_not_the_height_of_the_curve() -> None:
    losses = falling(STEPS)
    losses[800] = 1000.0
    assert shaped(losses).high < 1.1


def test_the_start_is_the_first_loss_but_for_one_that_is_low_by_chance() -> None:
    assert shaped([5.0, *[2.0] * 100]).start == 5.0
    assert shaped([1.5, *[1.8, 2.2, 2.0] * 33]).start == 1.8  # within its noise
    assert shaped([1.5, *[2.0] * 100]).start == 1.5  # there is none
    assert shaped([2.0, *[60.0] * 100]).start == 2.0  # the first update threw it


@pytest.mark.parametrize("sigma", [0.01, 0.1])
def test_the_noise_is_that_of_a_block_and_of_the_first_losses(sigma: float) -> None:
    losses = 2 + np.random.default_rng(0).normal(0, sigma, STEPS)
    curve = shaped(losses.tolist())
    per_block = STEPS / curve.seen
    assert curve.noise == pytest.approx(sigma / 2 / per_block**0.5, rel=0.25)
    assert curve.shaky == pytest.approx(sigma / 2, rel=0.5)
    assert abs(curve.trend) < 4


@pytest.mark.parametrize(
    "losses",
    [
        [],
        [2.0, 1.0],
        [2.0] * 7,
        [loss - 10 for loss in falling()],
        [*[1.0] * 500, *[-0.1] * 500],
        [0.0] * 100,
    ],
)
def test_where_there_is_none(losses: list[float]) -> None:
    assert shape(shown(losses)) is None


def test_a_rate_of_0_spends_nothing() -> None:
    assert shape(shown(falling(), 0.0)) is None


def test_few_blocks_have_a_shape_but_no_noise() -> None:
    assert np.isnan(shaped([5.0, 4.0, 3.5, 3.2, 3.0, 2.9, 2.8, 2.7]).shaky) == np.False_
    assert shaped([5.0, 4.0, 3.5, 3.2, 3.0, 2.9, 2.8, 2.7]).seen == 8


def test_a_rate_that_ends_at_0() -> None:
    lrs = [*[1e-3] * 800, *[0.0] * 800]
    half = shaped(falling(STEPS), lrs)
    assert half.level == pytest.approx(shaped(falling(STEPS)[:800]).level, abs=0.1)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 9), st.integers(-30, 30), st.integers(-30, 30), st.floats(0.0, 1.0))
def test_neither_the_unit_of_the_loss_nor_that_of_the_rate_matters(seed: int, loss: int, rate: int, noise: float) -> None:
    losses = np.abs(falling(500, noise=noise, seed=seed))
    same = numbers(shaped(losses.tolist()))
    assert numbers(shaped((2.0**loss * losses).tolist())) == pytest.approx(same)
    assert numbers(shaped(losses.tolist(), 1e-3 * 2.0**rate)) == pytest.approx(same)


def test_half_the_rate_over_twice_the_steps_is_the_same_shape() -> None:
    losses = np.asarray(falling(STEPS, noise=0.0))
    slow = np.repeat(losses, 2).tolist()
    one, two = shaped(losses.tolist()), shaped(slow, 5e-4)
    assert two.drops == pytest.approx(one.drops, abs=0.03)
    assert two.level == pytest.approx(one.level, abs=0.01)


def test_a_warm_up_counts_for_the_little_that_it_trains() -> None:
    lrs = np.concatenate([np.linspace(0, 1e-3, 400), np.full(STEPS - 400, 1e-3)])
    spent = np.cumsum(lrs) / lrs.sum()
    warmed = shaped((2 - spent).tolist(), lrs.tolist())
    assert warmed.drops[:3] == pytest.approx((0.5, 0.25, 0.125), abs=0.06)
    assert shaped((2 - spent).tolist()).drops[0] > 0.53  # by the number of its steps, it would not be straight
