"""Which learning rates are far beyond what an optimizer is used with."""

from __future__ import annotations

import math
from typing import Any

import pytest

from hf_lrsched.runs.diagnosis import Point, Setting
from hf_lrsched.runs.diagnosis.custom import beyond


def is_beyond(optimizer: str, peak: float, momentum: float = math.nan, **about: Any) -> bool:
    return beyond(Setting(optimizer=optimizer, peak=(peak,), **about), Point(1, 2.0, (peak / 10,), momentum=momentum))


@pytest.mark.parametrize("name", ["Adam", "AdamW", "adamw_torch_fused", "PagedAdamW8bit", "Lion", "RAdam"])
def test_adam_and_its_kin(name: str) -> None:
    assert is_beyond(name, 0.011)
    assert not is_beyond(name, 0.01)
    assert not is_beyond(name, 1e-3)


@pytest.mark.parametrize(
    ("peak", "momentum", "expected"),
    [(10.1, math.nan, True), (10.0, 0.0, False), (0.1, 0.9, False), (1.1, 0.9, True), (0.1, 0.99, False), (0.11, 0.99, True)],
)
def test_sgd_goes_further_with_momentum(peak: float, momentum: float, expected: bool) -> None:
    assert is_beyond("SGD", peak, momentum) == expected
    assert is_beyond("SGD", 1.0, 1.0)  # a momentum of 1 is no reason to divide by 0


@pytest.mark.parametrize("name", ["", "Adafactor", "Muon", "LAMB", "Shampoo"])
def test_of_another_optimizer_nothing_is_known(name: str) -> None:
    assert not is_beyond(name, 1e6)


def test_what_stands_in_for_what_is_not_known() -> None:
    assert beyond(Setting(peak=(1.0,), arguments={"optim": "adamw_torch"}), Point(1, 2.0, (1.0,)))
    assert beyond(Setting(optimizer="AdamW"), Point(1, 2.0, (1.0,)))  # the LR that it has now
    assert not beyond(Setting(optimizer="AdamW", peak=(1e-3,)), Point(1, 2.0, (1.0,)))
    assert not beyond(Setting(optimizer="AdamW"), Point(1, 2.0, ()))
    assert not is_beyond("AdamW", math.nan)
