"""Bars and tables: what stands in a terminal."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_lrsched import CATALOGUE, History, Schedule, build, fall, hold, repeat, rise, warm_restarts, wsd
from hf_lrsched.show import text

from .. import recorded

BARS = " ▁▂▃▄▅▆▇█"
VALUES = st.lists(st.floats(0, 1e6), max_size=200)
NEEDED = {"phases": {"phases": [{"from": 0, "to": 1, "length": "10%"}, {"to": 0.1}]}}


# Bars


@given(VALUES, st.integers(1, 100))
def test_a_sparkline_is_as_long_as_asked_and_higher_where_the_values_are(values: list[float], width: int) -> None:
    line = text.sparkline(values, width)
    assert len(line) == min(len(values), width)
    if len(values) <= width:
        bars = [BARS.index(bar) for bar in line]
        order = np.argsort(values)
        assert (np.diff([bars[i] for i in order]) >= 0).all()
        assert all((bar == 0) == (value == 0) for bar, value in zip(bars, values, strict=True))
        assert not any(values) or max(bars) == 8


@pytest.mark.parametrize(
    ("values", "width", "top", "line"),
    [
        ([], 5, None, ""),
        ([0, 0], 5, None, "  "),
        ([1, 2, 3, 4, 5, 6, 7, 8], 8, None, "▁▂▃▄▅▆▇█"),
        ([1, 1, 2, 2], 2, None, "▄█"),  # each the mean of its stretch
        ([1, 2], 5, 4, "▂▄"),
        ([1e-300, 8e-300], 5, None, "▁█"),
        ([1e-9, 1], 5, None, "▁█"),  # what is above zero is seen
        ([-1, 1], 5, None, " █"),
        ([math.nan, 1], 5, None, " █"),
        ([math.nan, 1, 3, math.nan, math.inf, math.nan], 3, None, "▃█ "),
    ],
)
def test_a_sparkline(values: list[float], width: int, top: float | None, line: str) -> None:
    assert text.sparkline(values, width, top) == line


def test_what_is_infinite_is_a_blank() -> None:
    assert text.sparkline([math.inf, 1.0, 2.0]) == " ▄█"


@given(VALUES.filter(lambda values: any(values)), st.integers(1, 80), st.integers(1, 12))
def test_a_chart_stands_on_zero_and_reaches_its_top(values: list[float], width: int, height: int) -> None:
    lines = text.chart(values, width, height).split("\n")
    assert len(lines) == height
    cells = [line.partition("┤")[2].ljust(width) for line in lines]
    assert all(len(row) <= width for row in cells)
    for column in zip(*cells, strict=True):  # no bar has a hole
        assert sorted(column, key=BARS.index) == list(column)
    assert "█" in cells[0]


def test_a_chart_has_its_highest_value_and_zero_at_its_left() -> None:
    lines = text.chart([0.0, 1.5e-4, 3e-4], height=3).split("\n")
    assert [line.partition("┤")[0].strip() for line in lines] == ["0.0003", "", "0"]


# Numbers and tables


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "-"),
        (0.0, "0"),
        (3e-4, "0.0003"),
        (1.2345678e-5, "1.23457e-05"),
        (0.1, "0.1000"),
        (2.51234, "2.5123"),
        (-2.51234, "-2.5123"),
        (9999.5, "9999.5000"),
        (10000.5, "10000.5"),
        (1234567.0, "1234567"),
        (math.nan, "nan"),
        (-math.inf, "-inf"),
    ],
)
def test_a_number_as_people_write_it(value: float | None, said: str) -> None:
    assert text.number(value) == said


@pytest.mark.parametrize(("value", "said"), [(1e30, "1e+30"), (-0.0, "0")])
def test_a_number_is_short(value: float, said: str) -> None:
    assert text.number(value) == said


@pytest.mark.parametrize(
    ("schedule", "line"),
    [
        (Schedule((hold(5),)), "stable 5"),
        (wsd(1000), "warmup 100, stable 700, decay 200"),
        (rise(1) >> fall(2.5), "warmup 1, decay 2.5"),
        (repeat(rise(1), 9), ", ".join(["warmup 1"] * 8) + ", ... 1 more"),
    ],
)
def test_phases_in_a_line(schedule: Schedule, line: str) -> None:
    assert text.phase_list(schedule) == line


@pytest.mark.parametrize("name", CATALOGUE)
@pytest.mark.parametrize("steps", [100, 994, 20_000])
def test_key_steps_lie_in_the_run_and_rise(name: str, steps: int) -> None:
    schedule = build(name, steps, **NEEDED.get(name, {}))
    rows = text.key_lrs(schedule, 3e-4)
    at = [step for step, _, _ in rows]
    assert (at[0], at[-1], rows[-1][1]) == (0, steps - 1, "(last)")
    assert at == sorted(at)
    assert [lr for _, _, lr in rows] == [schedule.lr(step, 3e-4) for step in at]
    lines = text.key_steps(schedule, 3e-4).split("\n")
    assert [line.split()[0] for line in lines] == ["step", *map(str, at)]
    assert len(set(map(len, lines))) == 1


@pytest.mark.xfail(strict=True, reason="bug: a phase that holds no whole step is said to begin behind the run's last")
@pytest.mark.parametrize("steps", [1, 3])
def test_key_steps_of_a_very_short_run_lie_in_it(steps: int) -> None:
    at = [step for step, _, _ in text.key_lrs(wsd(steps), 1.0)]
    assert at == sorted(at)
    assert at[-1] == steps - 1


def test_runs_in_a_table() -> None:
    many = recorded.history(wsd(100), 100, extra=[{"step": 50, "eval_loss": 3.5}, {"step": 100, "eval_loss": 4.0}])
    log = History.of([{"step": 10, "loss": 3.0, "lr": 1e-3}])
    table = text.history_table({"a run of ours": many, "theirs": log, "nothing": History.of([])})
    unknown = "grad_norm, momentum, tokens"
    rows = [
        "run            schedule  steps  highest LR  last loss  held-out  best held-out  not recorded",
        f"a run of ours  wsd         100       0.001     3.1100         4         3.5000  {unknown}",
        f"theirs         -            10       0.001          3         -              -  {unknown}, eval_loss",
        f"nothing        -             0           -          -         -              -  loss, lr, {unknown}, eval_loss",
    ]
    assert table.split("\n") == rows


@pytest.mark.parametrize(
    ("log", "schedule", "rows"),
    [
        ([], None, {"steps": "0", "peak LR": "0"}),
        ([{"step": 3, "loss": 2.0, "learning_rate": 0.5}], None, {"steps": "3", "peak LR": "0.5"}),
        ([{"step": 90, "learning_rate": 1e-9}], warm_restarts(90, cycles=2, warmup=0), {"steps": "90", "peak LR": "0.001"}),
        ([{"step": 5, "eval_loss": 3.0}, {"step": 9, "eval_loss": 2.0}], None, {"held-out loss": "3.000 -> 2.000"}),
        ([{"step": 1, "loss": 4.0}, {"step": 9, "loss": 2.0}], None, {"training loss": "4.000 (step 1) -> 2.000 (step 9)"}),
    ],
)
def test_a_run_in_a_few_lines(log: list[dict[str, float]], schedule: Schedule | None, rows: dict[str, str]) -> None:
    said = dict(line.split(":", 1) for line in text.run_summary(log, schedule, 1e-3).split("\n"))
    assert {name: said[name].strip() for name in rows} == rows
