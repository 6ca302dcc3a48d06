"""What follows from what a configuration says."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_lrsched.advice.lint import judge
from hf_lrsched.advice.lint.configuration import LONGEST, OURS, TRAINERS, UNKNOWN, Configuration, Form, Setting


def of(form: Form = "transformers", **values: Any) -> Configuration:
    return Configuration.of(values, form=form)


@pytest.mark.parametrize(
    ("values", "warmup", "share", "peak"),
    [
        ({"max_steps": 60, "warmup_steps": 1000}, 1000.0, None, 0.059),
        ({"max_steps": 10, "warmup_steps": 10}, 10.0, None, 0.9),
        ({"max_steps": 100, "warmup_steps": 0.105}, 11.0, 0.105, 1.0),  # rounded up
        ({"max_steps": 100, "warmup_steps": 1.0}, 1.0, None, 1.0),
        ({"max_steps": 100, "warmup_steps": 1.9}, 1.0, None, 1.0),  # cut
        ({"max_steps": 100, "warmup_ratio": 0.1}, 10.0, 0.1, 1.0),
        ({"max_steps": 100, "warmup_ratio": 0.1, "warmup_steps": 0}, 10.0, 0.1, 1.0),
        ({"max_steps": 100, "warmup_ratio": 0.1, "warmup_steps": 5}, 5.0, None, 1.0),
        ({"max_steps": 100}, 0.0, None, 1.0),
        ({"warmup_ratio": 0.1}, None, 0.1, 1.0),
        ({"warmup_steps": 100}, 100.0, None, None),
        ({"max_steps": -1, "warmup_steps": 100}, 100.0, None, None),
        ({"max_steps": 10, "warmup_steps": 100, "lr_scheduler_type": "constant"}, 100.0, None, 1.0),
        ({"max_steps": 10, "warmup_steps": UNKNOWN}, None, None, None),
        ({"max_steps": "10", "warmup_steps": "100"}, 100.0, None, 0.09),
    ],
)
def test_warmup_and_peak(values: dict[str, Any], warmup: float | None, share: float | None, peak: float | None) -> None:
    read = of(**values)
    assert (read.warmup, read.warmup_share, read.effective_peak) == (warmup, share, peak)


@pytest.mark.parametrize("form", [form for form in TRAINERS if form not in OURS])
def test_elsewhere_a_warmup_below_one_is_no_share(form: Form) -> None:
    assert (of(form, max_steps=100, warmup_steps=0.5).warmup, of(form, warmup_steps=0.5).warmup_share) == (0.0, None)


@pytest.mark.parametrize(
    "values",
    [
        {"max_steps": 10**400, "warmup_steps": 10**400},
        {"max_steps": 1e300},
        {"num_train_epochs": 1e308, "per_device_train_batch_size": 1e-308},
        {"num_train_epochs": 1e308, "per_device_train_batch_size": 1, "gradient_accumulation_steps": 10**350},
    ],
)
def test_a_run_that_would_never_end_has_no_length(values: dict[str, Any]) -> None:
    run = Configuration.of(values, examples=10**9, processes=1)
    assert (run.steps, run.warmup) == (None, 0.0)


@pytest.mark.parametrize(
    ("value", "number"),
    [
        *((value, None) for value in (1e101, -1e308, 1e-101, 5e-324, "1e-320", 10**310, float("nan"))),
        *((value, float(value)) for value in (1e100, 0, -0.5, 1e-8, "2e-5")),
    ],
)
def test_a_number_beyond_all_measure_is_none(value: Any, number: float | None) -> None:
    assert Setting("learning_rate", value).number == number


@pytest.mark.parametrize("rate", [1e308, 5e-324])
def test_a_rate_beyond_all_measure_ends_no_rule(rate: float) -> None:
    run = Configuration.of({"learning_rate": rate, "max_steps": 100}, task="sft", peft="full", parameters=8e9)
    assert all(remark.level != "error" for remark in judge(run))


def test_a_share_that_is_none_makes_a_warm_up_that_can_be_told() -> None:
    assert Configuration.of({"max_steps": 100, "warmup_ratio": 1e99}).warmup == 100 * LONGEST


def test_steps_are_given_asked_for_or_counted() -> None:
    counted = {"num_train_epochs": 3, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}
    run = Configuration.of(counted, examples=100, processes=2)
    assert run.steps is not None
    assert (run.batch, run.steps.total, run.steps.how) == (8.0, 21, "3 epochs of 100 samples, batch 16")
    assert Configuration.of(counted).steps is None
    assert Configuration.of({**counted, "max_steps": UNKNOWN}, examples=100, processes=2).steps is None
    asked = Configuration.of({**counted, "max_steps": 5}, examples=100, processes=2).steps
    assert asked is not None
    assert asked.total == 5
    live = Configuration.of({"max_steps": 5}, steps=7).steps
    assert live is not None
    assert live.total == 7


@pytest.mark.parametrize(
    ("values", "processes", "batch"),
    [
        ({"per_device_train_batch_size": 4}, None, 4.0),
        ({"per_device_train_batch_size": 4, "gradient_accumulation_steps": UNKNOWN}, None, None),
        ({"gradient_accumulation_steps": 4}, None, None),
        ({"global_batch_size": 64, "per_device_train_batch_size": 4}, 8, 8.0),
        ({"global_batch_size": 64}, None, None),
    ],
)
def test_the_batch_of_one_process(values: dict[str, Any], processes: int | None, batch: float | None) -> None:
    assert Configuration.of(values, processes=processes).batch == batch


@pytest.mark.parametrize(
    ("value", "number"),
    [(1, 1.0), (2e-5, 2e-5), ("2e-5", 2e-5), ("auto", None), (True, None), (None, None), ([1], None), (float("nan"), None)],
)
def test_a_value_as_a_number(value: Any, number: float | None) -> None:
    assert Setting("learning_rate", value).number == number


def test_what_is_unknown_is_neither_value_nor_word() -> None:
    read = of(learning_rate=UNKNOWN, optim="AdamW_Torch", seed=None)
    assert (read.unknown("learning_rate"), read.value("learning_rate", 1), read.number("learning_rate")) == (True, 1, None)
    assert (read.word("optim"), read.word("seed"), read.get("seed"), "seed" in read) == ("adamw_torch", "", None, True)
    assert repr(UNKNOWN) == "unknown"


@given(st.integers(1, 10**6), st.one_of(st.integers(0, 10**6), st.floats(0, 0.999)))
def test_the_peak_reached_is_what_a_linear_warmup_reaches(total: int, warmup: float) -> None:
    read = of(max_steps=total, warmup_steps=warmup)
    steps, peak = read.warmup, read.effective_peak
    assert steps is not None
    assert peak is not None
    assert 0 <= peak <= 1
    last = 1.0 if total > steps else (total - 1) / steps
    assert peak == pytest.approx(last, abs=5e-4)
