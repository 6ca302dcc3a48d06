"""What begins worse than guessing, ends no better, or hardly moves."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from hf_lrsched.runs.diagnosis.learned import BeginsWorse, NothingLearned, line

from .curves import falling, findings, found, history, logged

STEPS = 400


def tuned(**more: Any) -> dict[str, Any]:
    """What is known of a fine-tuning."""
    return {"total": STEPS, "facts": {"optimizer": "AdamW", "untrained": False, "trainable": 1.0, "adapters": False, **more}}


def flat(at: float, noise: float = 0.05) -> list[float]:
    losses: list[float] = (at + np.random.default_rng(0).normal(0, noise, STEPS)).tolist()
    return losses


# At the beginning

LANGUAGE = tuned(vocabulary=1000)  # guessing is 6.9


def test_a_trained_language_model_that_begins_worse_than_guessing_has_wrong_labels() -> None:
    (one,) = findings(history(falling(STEPS, start=8.5, end=6.5), **LANGUAGE), BeginsWorse)
    assert (one.symptom, one.cause, one.step, one.confidence) == ("slow", "wrong labels", 11, "medium")
    assert "6.908" in one.evidence


@pytest.mark.parametrize(
    ("start", "about"),
    [
        (3.0, LANGUAGE),  # as one should
        (7.2, LANGUAGE),  # about as bad as guessing: another language, perhaps
        (8.5, tuned()),  # of which nobody knows the vocabulary
        (8.5, tuned(vocabulary=1000, untrained=True)),  # random weights may begin anywhere
        (8.5, tuned(vocabulary=1000, untrained=None)),
    ],
)
def test_what_begins_as_it_may(start: float, about: dict[str, Any]) -> None:
    assert found(history(falling(STEPS, start=start, end=start - 2), **about), BeginsWorse) == []


def test_a_file_that_begins_later_does_not_tell_how_the_run_began() -> None:
    run = history(falling(STEPS, start=8.5, end=6.5), **LANGUAGE)
    assert found(logged(run, 10), BeginsWorse) == []  # which also holds no facts


# At the end

LABELS = tuned(labels=10)  # guessing is 2.3


def test_a_classifier_that_ends_at_the_loss_of_guessing_has_learned_nothing() -> None:
    (one,) = findings(history(flat(math.log(10)), **LABELS), NothingLearned)
    assert (one.cause, one.attention, one.confidence) == ("unknown", True, "low")
    assert "2.303" in one.evidence


def test_with_hardly_a_parameter_trained_that_is_the_reason() -> None:
    (one,) = findings(history(flat(math.log(10)), **tuned(labels=10, trainable=0.0005)), NothingLearned)
    assert (one.cause, one.confidence) == ("nothing trainable", "medium")
    assert "0.05%" in one.evidence


def test_adapters_are_meant_to_be_few() -> None:
    (one,) = findings(history(flat(math.log(10)), **tuned(labels=10, trainable=0.0005, adapters=True)), NothingLearned)
    assert one.cause == "unknown"


def test_a_loss_that_hardly_moves_is_worth_knowing_and_no_alarm() -> None:
    assert found(history(flat(2.0), **tuned()), NothingLearned) == [("slow", "unknown", False)]


def test_a_loss_that_hardly_moves_as_hardly_a_parameter_is_trained_is_one() -> None:
    assert found(history(flat(2.0), **tuned(trainable=0.0005)), NothingLearned) == [("slow", "nothing trainable", True)]


@pytest.mark.parametrize(
    "losses",
    [
        falling(STEPS, start=2.0, end=1.7),  # a healthy fine-tuning
        flat(2.0, noise=0.6),  # nothing can be told in such a noise
        [*flat(2.0)[:200], math.nan, *flat(2.0)[:199]],
        flat(2.0)[:50],  # not yet over
    ],
)
def test_of_what_nothing_is_said(losses: list[float]) -> None:
    assert found(history(losses, **tuned()), NothingLearned) == []


def test_a_classifier_that_learns() -> None:
    assert found(history(falling(STEPS, start=2.3, end=1.5), **LABELS), NothingLearned) == []


def test_a_line_through_times_that_do_not_move_falls_by_nothing() -> None:
    assert line(np.zeros(10), np.arange(10.0)) == (0.0, math.inf)
