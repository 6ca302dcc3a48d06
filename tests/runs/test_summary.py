from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_lrsched import History, summary, wsd
from hf_lrsched.runs.summary import phases

from .. import recorded


def test_a_run_in_a_few_numbers() -> None:
    extra = [{"step": 40, "eval_loss": 3.0}, {"step": 80, "eval_loss": 3.5}, {"step": 7, "loss": math.nan}]
    about = summary(recorded.history(wsd(100), 80, extra=extra))
    assert (about["schedule"], about["steps"], about["planned_steps"], about["points"]) == ("wsd", 80, 100.0, 80)
    assert (about["highest_lr"], about["held_out_loss"], about["best_held_out_loss"], about["best_step"]) == (
        1e-3,
        3.5,
        3.0,
        40,
    )
    assert about["not_finite"] == 1
    assert about["last_loss"] == sum(5 - 2 * i / 80 for i in range(73, 80)) / 7  # a tenth of the 79 that are finite
    assert [(one["name"], one["first"], one["steps"]) for one in about["phases"]] == [("warmup", 1, 10), ("stable", 11, 70)]
    json.dumps(about, allow_nan=False)


def test_of_a_run_of_which_nothing_is_known_nothing_is_said() -> None:
    about = summary(History.of([]))
    assert {key for key, value in about.items() if value} == {"missing"}
    assert phases(History.of([{"step": 1, "loss": 1.0}])) == []


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        ([{"step": 9, "eval_loss": math.nan}], {"steps": 9, "held_out_loss": None, "best_step": None}),
        (
            [{"step": 9, "eval_loss": 2.0}, {"step": 12, "eval_loss": math.inf}],
            {"steps": 12, "held_out_loss": 2.0, "best_step": 9},
        ),
        ([{"step": 1, "lrs": [0.1, 0.3]}, {"step": 2, "lrs": [0.2, 0.1]}], {"highest_lr": 0.3, "last_lr": 0.2}),
        ([{"step": 1, "loss": 4.0}], {"last_loss": 4.0, "points": 1}),
        ([{"step": i, "loss": float(i)} for i in range(1, 31)], {"last_loss": 29.0}),  # a tenth: 28, 29, 30
        ([{"step": i, "loss": float(i)} for i in range(1, 2001)], {"last_loss": 1950.5}),  # at most 100 points
        ([{"step": 1, "loss": "nan"}, {"step": 2, "loss": "inf"}], {"not_finite": 2, "last_loss": None}),
        ([{"step": 1, "lr": 0.1}], {"not_finite": None}),
        ([{"step": 1, "loss": 1.0, "skipped": True, "tokens": 64}], {"skipped": 1, "tokens": 64.0}),
    ],
)
def test_what_is_said_of_a_log(log: list[dict[str, Any]], expected: dict[str, Any]) -> None:
    about = summary(History.of(log))
    assert {name: about[name] for name in expected} == expected


def test_of_means_over_many_steps_none_is_called_not_finite() -> None:
    assert summary(History.of([{"step": 10, "loss": "nan"}], averaged=10))["not_finite"] is None


def test_a_phase_that_comes_again_is_another() -> None:
    names = ["rise", "fall", "fall", "rise"]
    run = History.of([{"step": i + 1, "lr": i, "phase": name} for i, name in enumerate(names)])
    assert phases(run) == [
        {"name": "rise", "first": 1, "steps": 1, "lr": [0.0, 0.0]},
        {"name": "fall", "first": 2, "steps": 2, "lr": [1.0, 2.0]},
        {"name": "rise", "first": 4, "steps": 1, "lr": [3.0, 3.0]},
    ]


NUMBERS = st.floats() | st.none() | st.sampled_from(["nan", "inf", ""])
LINES = st.fixed_dictionaries(
    {"step": st.integers(0, 50)},
    optional=dict.fromkeys(("loss", "lr", "grad_norm", "eval_loss", "tokens"), NUMBERS) | {"phase": st.sampled_from("ab")},
)


@given(st.lists(LINES, max_size=20), st.integers(1, 10))
def test_any_log_is_summed_up_in_plain_json(log: list[dict[str, Any]], averaged: int) -> None:
    run = History.of(log, averaged=averaged)
    about = summary(run)
    assert json.loads(json.dumps(about)).keys() == about.keys()
    if any(run.phase):
        assert sum(phase["steps"] for phase in about["phases"]) <= about["steps"] + 1
    if about["best_held_out_loss"] is not None:
        assert about["best_held_out_loss"] <= about["held_out_loss"]


def test_a_step_without_a_loss_is_no_step_whose_loss_was_nan() -> None:
    assert summary(History.of([{"step": 1, "loss": 3.0}, {"step": 2, "lr": 0.1}]))["not_finite"] == 0
