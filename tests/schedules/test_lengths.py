from __future__ import annotations

import copy
import pickle
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_lrsched import Horizon, build, step_decay
from hf_lrsched.schedules.lengths import Length, default_warmup

from .strategies import law

RUN = Horizon(1000, steps_per_epoch=200, tokens_per_step=500_000)


@pytest.mark.parametrize(
    ("length", "steps"),
    [
        # steps
        (0, 0.0),
        (1, 1.0),
        (500, 500.0),
        (1000, 1000.0),
        (2.0, 2.0),
        (298.1, 298.1),
        ("1", 1.0),
        ("500", 500.0),
        ("500 steps", 500.0),
        ("1 step", 1.0),
        ("1.5 steps", 1.5),
        ("1.0 steps", 1.0),
        ("1_000", 1000.0),
        ("1_000 steps", 1000.0),
        ("1e2 steps", 100.0),
        ("0.5K", 500.0),
        ("1K steps", 1000.0),
        ("0.0005M steps", 500.0),
        # shares
        (0.0, 0.0),
        (0.05, 50.0),
        (0.999, 999.0),
        ("0.05", 50.0),
        (".05", 50.0),
        ("5e-2", 50.0),
        ("5%", 50.0),
        (" 5 % ", 50.0),
        ("5 percent", 50.0),
        ("0%", 0.0),
        ("2.5%", 25.0),
        ("1%", 10.0),
        ("1.0%", 10.0),
        ("0.5%", 5.0),
        ("100%", 1000.0),
        # epochs
        ("1 epoch", 200.0),
        ("2 epochs", 400.0),
        ("0.5 epochs", 100.0),
        ("2epochs", 400.0),
        ("2 ep", 400.0),
        ("5 epochs", 1000.0),
        # tokens
        ("500000 tokens", 1.0),
        ("500_000 tokens", 1.0),
        ("50M tokens", 100.0),
        ("0.1B tokens", 200.0),
        ("0.1 B tokens", 200.0),
        ("1e8 tokens", 200.0),
        ("250K tokens", 0.5),
        ("0.0001T tokens", 200.0),
        ("50M tok", 100.0),
        # numpy's numbers and other numbers count as numbers
        (np.int64(7), 7.0),
        (np.float64(0.5), 500.0),
        (Fraction(1, 4), 250.0),
    ],
)
def test_every_unit(length: Length, steps: float) -> None:
    assert RUN.steps_of(length, "length") == pytest.approx(steps, rel=1e-12)


@pytest.mark.parametrize(
    "unit", ["steps", "Steps", "STEPS", "percent", "epochs", "Epochs", "EPOCHS", "tokens", "Tokens", "TOKENS"]
)
def test_units_in_any_case(unit: str) -> None:
    assert RUN.steps_of(f"3 {unit}", "length") == RUN.steps_of(f"3 {unit.lower()}", "length")


@pytest.mark.parametrize("steps", [100, 200, 1000, 123_400])
def test_a_percentage_that_is_whole_steps_is_those_steps(steps: int) -> None:
    run = Horizon(steps)
    assert [run.steps_of(f"{percent}%", "length") for percent in range(101)] == [
        percent * steps // 100 for percent in range(101)
    ]


@law
@given(steps=st.integers(1, 10**7), share=st.floats(0.0, 1.0, exclude_max=True))
def test_a_share_is_the_same_as_a_number_and_as_a_percentage(steps: int, share: float) -> None:
    run = Horizon(steps)
    assert run.steps_of(share, "length") == pytest.approx(share * steps)
    assert run.steps_of(repr(share), "length") == run.steps_of(share, "length")
    assert run.steps_of(f"{100 * share!r}%", "length") == pytest.approx(share * steps)


@law
@given(steps=st.integers(1, 10**7), data=st.data())
def test_steps_are_the_same_as_a_number_and_as_words(steps: int, data: st.DataObject) -> None:
    run, length = Horizon(steps), data.draw(st.integers(0, steps))
    assert run.steps_of(length, "length") == run.steps_of(str(length), "length") == length
    assert run.steps_of(f"{length} steps", "length") == length


@law
@given(
    epochs=st.integers(1, 1000), per_epoch=st.floats(1.0, 1e5), tokens=st.integers(1, 10**8), asked=st.floats(0.0, 1.0)
)  # fmt: skip
def test_epochs_and_tokens_convert_by_what_the_run_knows(epochs: int, per_epoch: float, tokens: int, asked: float) -> None:
    run = Horizon(round(epochs * per_epoch) + 1, steps_per_epoch=per_epoch, tokens_per_step=tokens)
    # What misses a whole step by less than a millionth is that step.
    assert run.steps_of(f"{asked * epochs!r} epochs", "length") == pytest.approx(asked * epochs * per_epoch, abs=1e-6)
    assert run.steps_of(f"{asked * int(run) * tokens!r} tokens", "length") == pytest.approx(asked * int(run), abs=1e-6)


def test_a_share_may_be_one_of_a_part() -> None:
    assert RUN.steps_of(0.1, "decay", of=400) == 40.0
    assert RUN.steps_of("10%", "decay", of=400) == 40.0
    assert RUN.steps_of(10, "decay", of=400) == 10.0
    assert RUN.steps_of("1 epoch", "decay", of=400) == 200.0


def test_a_horizon_is_the_number_of_its_steps() -> None:
    assert isinstance(RUN, int)
    assert RUN == 1000
    assert RUN // 3 == 333
    assert Horizon.of(RUN) is RUN
    assert Horizon.of(10) == Horizon(10.0) == Horizon(np.float64(10)) == 10
    assert repr(RUN) == "Horizon(1000, steps_per_epoch=200, tokens_per_step=500000)"


@pytest.mark.parametrize("again", [pickle.loads(pickle.dumps(RUN)), copy.deepcopy(RUN), copy.copy(RUN)])
def test_a_copied_horizon_knows_what_it_knew(again: Horizon) -> None:
    assert (again, again.steps_per_epoch, again.tokens_per_step, again.peak) == (1000, 200, 500_000, None)


@pytest.mark.parametrize(
    ("known", "arguments"),
    [
        ({}, {"epochs": 90}),
        ({}, {"steps_per_epoch": 100}),
        ({"steps_per_epoch": 100}, {}),
        ({"steps_per_epoch": 1}, {"steps_per_epoch": 100}),  # what is typed wins
        ({"steps_per_epoch": 1}, {"epochs": 90}),
        ({"steps_per_epoch": 100}, {"epochs": None, "steps_per_epoch": None}),
    ],
)
def test_ninety_epochs_with_drops_at_thirty_and_sixty(known: dict[str, Any], arguments: dict[str, Any]) -> None:
    schedule = build("step_decay", Horizon(9000, **known), every="30 epochs", **arguments)
    assert schedule.values([2999, 3000, 5999, 6000, 8999]) == pytest.approx([1.0, 0.1, 0.1, 0.01, 0.01])
    assert schedule == step_decay(Horizon(9000, steps_per_epoch=100), every="30 epochs")


def test_a_budget_in_tokens() -> None:
    schedule = build("wsd", 1000, warmup="10M tokens", decay="0.1B tokens", tokens_per_step=500_000)
    assert [(start, end) for start, end, _ in schedule.spans()] == [(0, 20), (20, 800), (800, 1000)]


def test_conversions_reach_every_length_of_a_list() -> None:
    drops = build("multi_step", 1000, milestones=["2 epochs", "0.8"], epochs=4)
    assert [start for start, _, _ in drops.spans()] == [0, 500, 800]
    cycles = build("wsd_s", 1000, ends=["1 epoch", "4 epochs"], warmup=0, epochs=4)
    assert [start for start, _, _ in cycles.spans()] == [0, 225, 250, 925]
    own = build("phases", 1000, phases=[{"from": 0, "to": 1, "length": "1 epoch"}, {}], epochs=4)
    assert [start for start, _, _ in own.spans()] == [0, 250]


@pytest.mark.parametrize("written", ["1e-3", "1E-3", "1.e-3", "10e-4"])
def test_numbers_that_yaml_reads_as_words(written: str) -> None:
    assert build("wsd", 1000, min_lr=written).min_lr == 1e-3
    assert build("wsd", 1000, decay=written) == build("wsd", 1000, decay=1e-3)
    assert build("multi_step", 1000, milestones=[written]) == build("multi_step", 1000, milestones=[1e-3])


def test_numbers_that_yaml_reads_as_words_in_a_list_of_phases() -> None:
    own: list[dict[str, Any]] = [{"from": 1, "to": 1e-3, "length": 1e-3}, {}]
    words = [{"from": 1, "to": "1e-3", "length": "1e-3"}, {}]
    assert build("phases", 1000, phases=words) == build("phases", 1000, phases=own)


@pytest.mark.parametrize(
    ("steps", "warmup"),
    [
        (10, 1.0),
        (200, 20.0),
        (1000, 100.0),
        (1500, 100.0),
        (2000, 100.0),
        (10_000, 500.0),
        (40_000, 2000.0),
        (1_000_000, 2000.0),
    ],
)
def test_the_default_warmup(steps: int, warmup: float) -> None:
    assert default_warmup(steps) == Horizon(steps).warmup(None) == pytest.approx(warmup)
    assert Horizon(steps).warmup(0) == 0.0


def test_what_lengths_leave_of_the_run() -> None:
    assert RUN.fit(warmup=100.0, decay=200.0) == 700.0
    assert RUN.fit() == 1000.0
    assert RUN.fit(warmup=400.0, decay=600.0 + 1e-9) == 0.0  # a rounding is no mistake
