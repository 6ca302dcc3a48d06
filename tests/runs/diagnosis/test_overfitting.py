"""The held-out loss leaves its minimum for good, while the training loss falls."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hf_lrsched.runs.diagnosis.overfitting import Overfitting
from hf_lrsched.runs.history import History

from .curves import STEPS, falling, findings, found, history, logged

OVERFITS = [("overfitting", "overfitting", True)]


def turning(best: int = 400, rise: float = 1.0, *, noise: float = 0.02, every: int = 50, seed: int = 1) -> dict[int, float]:
    """Held-out losses that fall from 5 to 2.5 at step `best`, and rise by `rise` until the end."""
    rng = np.random.default_rng(seed)
    return {
        step: float(np.interp(step, [0, best, STEPS], [5.0, 2.5, 2.5 + rise]) + rng.normal(0, noise))
        for step in range(every, STEPS + 1, every)
    }


def test_a_minimum_that_is_left_for_good() -> None:
    (one,) = findings(history(falling(), evaluations=turning()), Overfitting)
    assert one.symptom == "overfitting"
    assert one.since == 400
    assert 550 <= one.step <= 700
    assert one.factor is None
    assert "step 400" in one.evidence
    assert "checkpoint nearest step 400" in one.advice


@pytest.mark.parametrize("every", [10, 25])
def test_in_a_trainers_log(every: int) -> None:
    assert found(logged(history(falling(), evaluations=turning()), every), Overfitting) == OVERFITS


def test_where_the_first_evaluation_is_the_best() -> None:
    epochs = {step: 0.30 + 0.04 * (step / 100 - 1) for step in range(100, STEPS + 1, 100)}
    assert found(history(falling(start=0.9, end=0.0, noise=0.01), evaluations=epochs), Overfitting) == OVERFITS


@pytest.mark.parametrize(
    "evaluations",
    [
        {**turning(STEPS), 500: 4.4},  # one bad evaluation
        {**turning(STEPS), 500: 4.4, 550: 4.3},  # two of them
        turning(400, 0.0),  # it stays at its minimum
        turning(400, 0.1, noise=0.15),  # a rise within the noise
        turning(400, 0.05, noise=0.001),  # a clear rise of a fiftieth of what was gained
        turning(900),  # too few evaluations behind it
        {100: 3.0, 200: 3.5},
        {},
    ],
)
def test_what_is_none(evaluations: dict[int, float]) -> None:
    assert found(history(falling(), evaluations=evaluations), Overfitting) == []


@pytest.mark.parametrize("end", [2.5, 4.0])
def test_where_the_training_loss_does_not_fall_either(end: float) -> None:
    losses = [*falling(300, end=2.5), *np.linspace(2.5, end, STEPS - 300)]
    noisy = np.asarray(losses) + np.random.default_rng(3).normal(0, 0.05, STEPS)
    assert found(history(noisy.tolist(), evaluations=turning()), Overfitting) == []


def test_noise_alone_is_hardly_ever_a_rise() -> None:
    flat = [
        history(falling(seed=seed), evaluations={s: max(x, 2.5) for s, x in turning(400, 0.0, noise=0.2, seed=seed).items()})
        for seed in range(100)
    ]
    assert sum(bool(findings(run, Overfitting)) for run in flat) == 0


def test_where_there_is_no_training_loss_or_an_evaluation_is_not_finite() -> None:
    alone = History.of([{"step": step, "eval_loss": loss} for step, loss in turning().items()])
    assert found(alone, Overfitting) == []
    assert found(history(falling(), evaluations={**turning(), 450: math.nan, 500: math.inf}), Overfitting) == OVERFITS


@pytest.mark.parametrize(("times", "plus"), [(1000.0, 0.0), (1e-3, 0.0), (1.0, -7.0), (1.0, 100.0)])
def test_neither_the_unit_nor_the_zero_of_the_loss_matters(times: float, plus: float) -> None:
    run = history(
        [times * loss + plus for loss in falling()],
        evaluations={step: times * loss + plus for step, loss in turning().items()},
    )
    (one,) = findings(run, Overfitting)
    (same,) = findings(history(falling(), evaluations=turning()), Overfitting)
    assert (one.step, one.since, one.confidence) == (same.step, same.since, same.confidence)
