"""What is kept of a run: means over stretches, whatever the steps come from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_lrsched import History
from hf_lrsched.training.seen import Seen

HIGH = 0.02


@given(losses=st.lists(st.floats(-10, 10), min_size=1, max_size=60), most=st.integers(2, 10))
def test_stretches_are_means_and_never_more_than_so_many(losses: list[float], most: int) -> None:
    seen = Seen(most)
    for step, loss in enumerate(losses, start=1):
        seen.add(step, loss, HIGH)
    lines = seen.lines()
    assert len(lines) <= most
    firsts = list(range(0, len(losses), seen.width))
    assert [line["loss"] for line in lines] == pytest.approx([np.mean(losses[i : i + seen.width]) for i in firsts], abs=1e-9)
    assert [line["step"] for line in lines] == [min(i + seen.width, len(losses)) for i in firsts]


def test_a_peak_is_left_only_by_a_fall() -> None:
    seen = Seen()
    for step, lr in enumerate([0.0, 0.5, 1.0], start=1):
        seen.add(step, 1.0, lr)
        assert not seen.at_peak
    seen.add(4, 1.0, 1.0 + 1e-8)
    assert (seen.at_peak, seen.fell) == (True, False)
    seen.add(5, 1.0, 0.99)
    assert seen.fell


def line(step: int, loss: float, *lrs: float) -> dict[str, Any]:
    return {"step": step, "loss": loss, "lrs": list(lrs) or [HIGH]}


def test_a_run_that_is_known_by_means_goes_on_in_stretches_as_wide() -> None:
    """Single steps beside means of ten would each count as much as one of those."""
    run = History.of([line(10, 3.0), line(20, 2.0)], averaged=10)
    seen = Seen.of(run, until=20)
    for step in range(21, 41):
        seen.add(step, 1.0, HIGH)
    assert seen.width == 10
    assert [(one["step"], one["loss"]) for one in seen.lines()] == [(10, 3.0), (20, 2.0), (30, 1.0), (40, 1.0)]


def test_a_mean_weighs_as_many_steps_as_it_is_of() -> None:
    seen = Seen.of(History.of([line(6, 4.0)], averaged=10), until=8)  # six steps; 7 and 8 are not known
    for step in (9, 10):
        seen.add(step, 2.0, HIGH)
    assert seen.lines()[0]["loss"] == (6 * 4.0 + 2 * 2.0) / 8


def test_what_lies_behind_the_checkpoint_is_not_of_the_run() -> None:
    run = History.of([line(step, float(step)) for step in range(1, 6)])
    assert [one["step"] for one in Seen.of(run, until=3).lines()] == [1, 2, 3]


def test_steps_without_a_loss_or_a_learning_rate_are_left_out() -> None:
    run = History.of([{"step": 1, "loss": 3.0}, {"step": 2, "lr": HIGH}, line(3, 2.0)])
    assert [one["step"] for one in Seen.of(run, until=9).lines()] == [3]


def test_the_learning_rate_is_that_of_the_group_and_a_log_without_it_tells_nothing() -> None:
    run = History.of([line(1, 3.0, 0.0, HIGH), line(2, 2.0, 0.0, HIGH)])
    assert [one["lr"] for one in Seen.of(run, until=2, group=1).lines()] == [HIGH, HIGH]
    assert not Seen.of(run, until=2, group=0).lines()[0]["lr"]
    assert Seen.of(run, until=2, group=2).lines() == []
