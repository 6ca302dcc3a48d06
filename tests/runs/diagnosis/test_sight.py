"""What a run has shown: bounded, and equal to what numpy says of all of it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_lrsched.runs.diagnosis import Point, Setting
from hf_lrsched.runs.diagnosis.sight import Sight, Window
from hf_lrsched.runs.history import Event, History

NUMBERS = st.floats(-1e9, 1e9)


def seen(losses: Sequence[float], lrs: Sequence[float] | None = None, steps: Sequence[int] | None = None) -> Sight:
    sight = Sight(Setting())
    for i, loss in enumerate(losses):
        sight.include(Point(steps[i] if steps else i + 1, loss, (lrs[i] if lrs else 1e-3,)))
    return sight


# The window


@given(st.lists(NUMBERS, max_size=60), st.integers(1, 20), st.floats(0, 1))
def test_a_window_is_the_last_few_in_order(values: list[float], width: int, share: float) -> None:
    window = Window(width)
    for value in values:
        window.add(value)
    last = values[-width:] if values else []
    assert list(window) == last
    assert len(window) == len(last)
    if last:
        assert window.quantile(share) == sorted(last)[min(int(share * len(last)), len(last) - 1)]
        assert (window.quantile(0.0), window.quantile(1.0)) == (min(last), max(last))
    else:
        assert math.isnan(window.median)


# Blocks


@given(st.integers(1, 2000), st.integers(0, 5))
def test_blocks_are_means_of_even_stretches(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    losses, lrs = rng.normal(size=count), rng.uniform(1e-4, 1e-3, count)
    blocks = np.asarray(seen(losses.tolist(), lrs.tolist()).blocks)
    width = 1 if count < 400 else 2 if count < 800 else 4 if count < 1600 else 8
    assert len(blocks) == count // width
    assert len(blocks) < Sight.BLOCKS
    for column, values in enumerate((np.arange(1.0, count + 1), losses, lrs, np.cumsum(lrs))):
        assert blocks[:, column] == pytest.approx(values[: count // width * width].reshape(-1, width).mean(axis=1), abs=1e-9)


def test_losses_that_are_not_finite_are_counted_and_left_out() -> None:
    sight = seen([2.0, math.nan, math.inf, -math.inf, 3.0])
    assert sight.first == [2.0, 3.0]
    assert [block[0] for block in sight.blocks] == [1.0, 5.0]
    assert sight.count == 5


def test_time_is_the_sum_of_the_lrs_and_passes_over_gaps() -> None:
    assert [block[3] for block in seen([1.0] * 3, [0.5, 0.25, 0.25]).blocks] == [0.5, 0.75, 1.0]
    assert [block[3] for block in seen([1.0] * 3, steps=[10, 20, 40]).blocks] == pytest.approx([0.01, 0.02, 0.04])
    assert [block[3] for block in seen([1.0] * 3, [math.nan] * 3).blocks] == [1.0, 2.0, 3.0]
    assert [block[3] for block in seen([1.0] * 3, [0.5, math.nan, 0.5]).blocks] == [0.5, 1.0, 1.5]


# The LR


def test_the_peak_and_what_came_after_it() -> None:
    sight = seen([1.0] * 7, [0.0, 0.5, 1.0, 1.0, 0.2, 0.6, 0.4])
    assert (sight.highest_lr, sight.peak_at, sight.lowest_lr, sight.begun) == (1.0, 3, 0.2, 1)
    assert seen([1.0] * 4, [1.0, 1.0005, 1.0, 1.0008]).peak_at == 1  # a rounding is no new peak
    assert seen([1.0] * 2, [math.nan, math.nan]).highest_lr == 0.0


# Noise and level


@pytest.mark.parametrize("sigma", [0.01, 1.0])
def test_the_noise_is_told_whatever_the_trend(sigma: float) -> None:
    rng = np.random.default_rng(0)
    told = [seen((10 - 0.01 * np.arange(200) + rng.normal(0, sigma, 200)).tolist()).noise for _ in range(20)]
    assert np.mean(told) == pytest.approx(sigma, rel=0.1)
    assert math.isnan(seen([1.0, 2.0]).noise)


def test_the_lowest_level_is_no_single_loss() -> None:
    losses = [5.0 - 0.02 * i for i in range(100)] + [0.1] + [4.0] * 100
    sight = seen(losses)
    assert 3.0 < sight.lowest < 4.1
    assert 100 <= sight.lowest_at <= 201


# Events, evaluations, bounds


def test_events_and_evaluations_are_kept_in_order() -> None:
    sight = Sight(Setting())
    for step in (3, 5):
        sight.evaluated(step, 2.0)
        sight.happened(Event(step, "resume"))
    assert sight.evaluations == [(3, 2.0), (5, 2.0)]
    assert [event.step for event in sight.events] == [3, 5]


def test_memory_is_bounded() -> None:
    def size(steps: int) -> int:
        sight = seen(np.random.default_rng(0).normal(2, 1, steps).tolist())
        held = [*sight.first, *sight.losses, *sight.norms, *sight.jitter, *sight.points, *sight.blocks, *sight._block]
        return len(held)

    assert size(20_000) <= 1.5 * size(1000)


def test_a_setting_is_what_a_history_says() -> None:
    lines = [{"step": 1, "loss": 2.0}]
    facts = {"optimizer": "AdamW", "untrained": True, "trainable": 0.5, "adapters": True}
    known = Setting.of(History.of(lines, total=100, source="lr_history.jsonl", facts=facts))
    assert (known.steps, known.recorded, known.optimizer) == (100, True, "AdamW")
    assert (known.untrained, known.trainable, known.adapters) == (True, 0.5, True)
    odd = Setting.of(History.of(lines, arguments={"max_steps": -1}, averaged=10, facts={"untrained": "yes", "trainable": 1}))
    assert (odd.steps, odd.recorded, odd.untrained, odd.trainable) == (None, False, None, None)
