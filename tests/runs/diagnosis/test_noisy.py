"""The noise of the loss hides its fall."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hf_lrsched import build
from hf_lrsched.runs.diagnosis.noisy import HiddenByNoise
from hf_lrsched.runs.history import History

from .curves import PEAK, STEPS, falling, findings, found, history, logged, under

WSD = build("wsd", STEPS, decay=0.4)
TINY: dict[str, Any] = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 1, "max_steps": STEPS}


def noisy(of: Callable[[float], float], *, fall: float = 1.0, seed: int = 0, **about: Any) -> History:
    """A loss that falls by `fall` from 3, under noise that depends on the LR's share of its peak."""
    shares = WSD.values()
    noise = np.array([of(share) for share in shares]) * np.random.default_rng(seed).normal(0, 1, STEPS)
    losses = np.asarray(falling(start=3.0, end=3.0 - fall, noise=0)) + noise
    return under(WSD, losses.tolist(), **about)


def by(cause: str) -> list[tuple[str, str, bool]]:
    return [("noisy", cause, True)]


def test_noise_that_stays_as_the_lr_goes_down_is_the_batchs() -> None:
    (one,) = findings(noisy(lambda share: 0.7), HiddenByNoise)
    assert (one.cause, one.factor) == ("batch too small", None)
    assert "gradient_accumulation_steps" in one.advice
    assert one.step > 600  # the LR has come down


def test_noise_that_goes_down_with_it_is_the_lrs() -> None:
    (one,) = findings(noisy(lambda share: 0.1 + 0.6 * share), HiddenByNoise)
    assert (one.cause, one.factor) == ("lr too high", 0.5)


def test_where_it_does_not_tell() -> None:
    told = found(noisy(lambda share: 0.4 + 0.3 * share), HiddenByNoise)
    assert told == [("noisy", "unknown", False)]  # a healthy classifier is as noisy
    constant = np.asarray(falling(start=3, end=2, noise=0)) + np.random.default_rng(1).normal(0, 0.7, STEPS)
    (one,) = findings(history(constant.tolist()), HiddenByNoise)
    assert (one.cause, one.confidence) == ("unknown", "low")
    assert "does not tell which" in one.advice
    assert "has not come down" in one.evidence


def test_a_batch_that_is_known_to_be_tiny_is_told_before_the_decay() -> None:
    (one,) = findings(noisy(lambda share: 0.7, arguments=TINY), HiddenByNoise)
    assert one.cause == "batch too small"
    assert one.step <= 0.3 * STEPS + 1
    assert "2 samples a process" in one.evidence
    single = {**TINY, "per_device_train_batch_size": 1}
    assert found(noisy(lambda share: 0.2, arguments=single), HiddenByNoise) == by("batch too small")
    assert found(noisy(lambda share: 0.2, arguments={**single, "gradient_accumulation_steps": 8}), HiddenByNoise) == []
    assert found(noisy(lambda share: 0.2, arguments=single, facts={"processes": 8}), HiddenByNoise) == []
    (one,) = findings(noisy(lambda share: 0.7, arguments=single, facts={"processes": 2}), HiddenByNoise)
    assert "rests on 2 samples." in one.evidence


def test_in_a_trainers_log_the_noise_is_put_back_to_one_step() -> None:
    (one,) = findings(logged(noisy(lambda share: 0.7), 5), HiddenByNoise)
    assert one.symptom == "noisy"
    assert "means over 5 steps" in one.evidence


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("every", [1, 5, 10])
def test_a_healthy_run_is_noisy_too(seed: int, every: int) -> None:
    run = noisy(lambda share: 0.25, seed=seed)
    assert found(logged(run, every), HiddenByNoise) == []


def test_a_curve_that_does_not_fall_is_no_matter_of_noise() -> None:
    assert found(noisy(lambda share: 0.7, fall=0.1), HiddenByNoise) == []
    assert found(noisy(lambda share: 0.7, fall=-0.5), HiddenByNoise) == []
    assert found(history([2.0] * STEPS), HiddenByNoise) == []


@pytest.mark.parametrize("times", [1000.0, 1e-3])
def test_the_unit_of_the_loss_does_not_matter(times: float) -> None:
    run = noisy(lambda share: 0.7)
    lrs = run.lr[:, 0].tolist()
    scaled = history([times * loss for loss in run.loss.tolist()], lrs, schedule=WSD, peak=(PEAK,))
    (one,), (same,) = findings(scaled, HiddenByNoise), findings(run, HiddenByNoise)
    assert (one.step, one.since, one.cause) == (same.step, same.since, same.cause)
