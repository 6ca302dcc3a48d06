"""Updates that move nothing, and a loss that is summed."""

from __future__ import annotations

import math
from typing import Any

import pytest

from hf_lrsched.runs.diagnosis.nothing_trains import LossScaled, NothingMoves, UpdatesSkipped
from hf_lrsched.runs.history import History

from .curves import PEAK, STEPS, falling, findings, found, history, logged
from .test_configuration import config


def lines(losses: list[float], **columns: Any) -> History:
    """`columns` are given the step."""
    rows = [
        {"step": i, "loss": loss, "lr": PEAK, **{name: of(i) for name, of in columns.items()}}
        for i, loss in enumerate(losses, start=1)
    ]
    return History.of(rows, source="lr_history.jsonl")


@pytest.mark.parametrize("loss", [2.302585, 0.0, -3.0])
def test_a_loss_that_is_one_number(loss: float) -> None:
    run = history([loss] * 100)
    (one,) = findings(run, NothingMoves)
    assert (one.cause, one.step) == ("nothing trainable", 20)
    assert ("-100" in one.advice) == (loss == 0.0)
    assert found(logged(run, 5), NothingMoves) == config("nothing trainable")


def test_losses_that_move_or_that_nothing_is_to_move() -> None:
    assert found(history(falling()), NothingMoves) == []
    assert found(history([2.3] * 19), NothingMoves) == []
    assert found(history([*[2.3] * 10, 2.31, *[2.3] * 100]), NothingMoves) == []
    assert found(history([*falling(100), *[2.0] * 100]), NothingMoves) == []  # it has learnt its one batch
    assert found(history([2.3] * 100, 0.0), NothingMoves) == []  # an LR of 0 is NoLR's
    assert found(history([math.nan] * 100), NothingMoves) == []


def test_a_gradient_of_0() -> None:
    (one,) = findings(lines(falling(), grad_norm=lambda step: 0.0 if step > 100 else 1.0), NothingMoves)
    assert (one.cause, one.since, one.step) == ("nothing trainable", 101, 120)
    assert found(lines(falling(), grad_norm=lambda step: 0.0 if step % 10 else 1.0), NothingMoves) == []


def test_updates_that_are_skipped() -> None:
    (one,) = findings(lines(falling(), skipped=lambda step: step > 100 and step % 4 > 0), UpdatesSkipped)
    assert one.cause == "overflow skips"
    assert 130 <= one.step <= 150
    assert "of the last 64 updates" in one.evidence


def test_the_skips_of_a_healthy_start() -> None:
    assert found(lines(falling(), skipped=lambda step: step <= 32), UpdatesSkipped) == []
    assert found(lines(falling(), skipped=lambda step: step % 3 == 0), UpdatesSkipped) == []


def summed(times: float, parts: int = 8) -> History:
    held_out = {
        step: float(loss) for step, loss in zip(range(100, STEPS + 1, 100), falling(STEPS, noise=0)[99::100], strict=True)
    }
    arguments = {"gradient_accumulation_steps": parts}
    return history([times * loss for loss in falling()], evaluations=held_out, arguments=arguments)


def test_a_loss_that_is_summed_over_the_micro_batches() -> None:
    (one,) = findings(summed(8.0), LossScaled)
    assert one.cause == "loss summed over micro-batches"
    assert "gradient_accumulation_steps is 8" in one.evidence
    assert found(summed(1.0), LossScaled) == []
    assert found(summed(2.0), LossScaled) == []
    assert found(summed(2.0, parts=2), LossScaled) == []
    assert found(summed(-8.0), LossScaled) == []
