"""Losses that begin at nothing and are to rise, as those of policies do (GRPO: beta times how far it has moved)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from hf_lrsched.runs.diagnosis.explosion import Diverges
from hf_lrsched.runs.diagnosis.nothing_trains import NothingMoves

from .curves import STEPS, falling, found, history, with_norms

POLICY: dict[str, Any] = {"facts": {"untrained": False, "vocabulary": 150_000, "optimizer": "AdamW"}, "total": STEPS}


def moving(*, away: float, noise: float = 1e-5, first: float = 0.0, seed: int = 0) -> list[float]:
    """The divergence of a policy that moves away from where it began."""
    draw, at = np.random.default_rng(seed), np.arange(STEPS)
    loss = away * (1 - np.exp(-at / 200)) * draw.normal(1, 0.2, STEPS) + draw.normal(0, noise, STEPS)
    return [first, *loss[1:].tolist()]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("away", "noise"), [(0.01, 1e-5), (0.1, 2e-3), (0.05, 0.01)])
def test_a_policy_that_moves_is_no_divergence(away: float, noise: float, seed: int) -> None:
    assert found(with_norms(moving(away=away, noise=noise, seed=seed), 0.3)) == []
    above = np.abs(moving(away=away, noise=noise, first=1e-9, seed=seed)).tolist()  # of a rounding, and never below 0
    assert found(with_norms(above, 0.3, **POLICY)) == []


def test_a_policy_that_breaks_down_is_one() -> None:
    losses = [*moving(away=0.01, first=1e-9)[:500], *np.random.default_rng(1).normal(6, 0.1, STEPS - 500).tolist()]
    ((symptom, _, attention),) = found(history(np.abs(losses).tolist(), **POLICY), Diverges)
    assert (symptom, attention) == ("explodes", True)
    assert found(history([*moving(away=0.01)[:500], *[math.nan] * 9]))[0][0] == "explodes"


def test_a_loss_below_0_that_fell_and_comes_back_is_one() -> None:
    losses = [*falling(start=-0.2, end=-5.0)[:600], *np.linspace(0, 30, 100).tolist()]
    ((symptom, _, attention),) = found(history(losses), Diverges)
    assert (symptom, attention) == ("explodes", True)


def test_a_loss_of_0_under_which_weights_move() -> None:
    assert found(with_norms([0.0] * 100, 0.3, source="trainer_state.json"), NothingMoves) == []
    assert found(with_norms([0.0] * 100, 0.0, source="trainer_state.json"), NothingMoves) != []
