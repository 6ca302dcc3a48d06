"""Smoothing leaves things where they are, and noise is told from trend and spikes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_lrsched.runs.smoothing import noise, smoothed


@given(st.integers(20, 80), st.floats(0.5, 6))
def test_a_valley_stays_where_it_is(at: int, width: float) -> None:
    curve = np.abs(np.arange(101.0) - at)
    assert smoothed(curve, width).argmin() == at
    assert smoothed(-curve, width).argmax() == at


@given(st.floats(-5, 5), st.floats(-5, 5), st.floats(0.5, 20))
def test_a_straight_line_is_left_alone_up_to_its_ends(slope: float, start: float, width: float) -> None:
    line = start + slope * np.arange(30.0)
    assert smoothed(line, width) == pytest.approx(line, abs=1e-8 * (1 + abs(slope) * 30))


def test_what_is_not_finite_is_passed_over() -> None:
    curve = np.arange(20.0)
    curve[[3, 7, 8]] = np.nan, np.inf, -np.inf
    assert smoothed(curve, 2.0) == pytest.approx(np.arange(20.0))
    assert np.isnan(smoothed([np.nan] * 5, 2.0)).all()


@pytest.mark.parametrize("width", [0, -1.0, np.inf, np.nan])
def test_a_width_is_above_zero(width: float) -> None:
    with pytest.raises(ValueError, match="must be a number of points above 0"):
        smoothed([1.0, 2.0], width)


@pytest.mark.parametrize("trend", [0.0, -0.5, 3.0])
@pytest.mark.parametrize("sigma", [0.01, 1.0])
def test_noise_is_found_whatever_the_trend_and_the_spikes(trend: float, sigma: float) -> None:
    rng = np.random.default_rng(0)
    values = trend * np.arange(400) + rng.normal(0, sigma, 400)
    values[::40] += 1000 * sigma
    assert 0.75 * sigma < noise(values) < 1.35 * sigma


def test_of_two_values_nobody_knows() -> None:
    assert np.isnan(noise([1.0, 2.0]))
