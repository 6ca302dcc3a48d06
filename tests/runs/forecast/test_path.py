"""A path keeps every step and every change, in few stretches."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_lrsched import CATALOGUE, build, fall, step_decay, wsd
from hf_lrsched.runs.forecast.path import LRPath

NAMES = [name for name in CATALOGUE if name != "phases"]


@pytest.mark.parametrize("name", NAMES)
@given(st.integers(30, 3000))
def test_no_step_and_no_learning_rate_is_lost(name: str, steps: int) -> None:
    made = build(name, steps)
    lrs = made.lrs(steps, 2e-3)
    path = LRPath.of(lrs, 2e-3, most=200)
    assert path.count.sum() == steps
    assert (path.share * path.count).sum() * 2e-3 == pytest.approx(lrs.sum(), rel=1e-6)
    assert len(path.start) <= 1200


def test_a_jump_begins_a_stretch() -> None:
    path = LRPath.of(step_decay(1000, warmup=0, every=250, factor=0.1).lrs(1000, 1.0), 1.0, most=50)
    assert {0.0, 250.0, 500.0, 750.0} <= set(path.start.tolist())
    assert sorted(set(np.round(path.share, 9)), reverse=True) == pytest.approx([1.0, 0.1, 0.01, 0.001])


def test_a_long_schedule_is_read_at_fewer_steps() -> None:
    path = LRPath.of_schedule(wsd(3_000_001), 1e-3, 3_000_001)
    assert path.steps == 3_000_001
    assert (path.share * path.count).sum() == pytest.approx(wsd(3_000_001).values().sum(), rel=1e-4)


def test_a_path_goes_on_and_decays_from_where_it_is() -> None:
    path = LRPath.of(np.full(100, 5e-4), 1e-3).then(0.5, 50)
    cooled = path.decayed(fall(30) >> fall(1, start=0.0, to=0.0))
    assert (path.steps, cooled.steps) == (150, 181)
    assert cooled.share[0] == 0.5
    assert (np.diff(cooled.share) <= 1e-12).all()


def test_where_points_lie() -> None:
    path = LRPath.of([1.0, 1.0, 1.0, 0.5, 0.5], 1.0)
    index, part = path.until([0, 2, 3, 5])
    assert index.tolist() == [0, 0, 1, 1]
    assert part.tolist() == [0, 2, 0, 2]
