from __future__ import annotations

import json
import math

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
