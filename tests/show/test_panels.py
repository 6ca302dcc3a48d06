"""Of what pictures are made: what is kept of a long curve, which phases are shaded, what can be told apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations, islice, pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from hf_lrsched import History, Schedule, hold, rise, warm_restarts, wsd
from hf_lrsched.runs.history import Event
from hf_lrsched.show import panels

from .. import recorded

Floats = npt.NDArray[np.float64]


# Long curves


@st.composite
def series(draw: st.DrawFn) -> Floats:
    values = st.floats(width=32) | st.sampled_from([math.nan, math.inf, -math.inf, 0.0])
    return np.array(draw(st.lists(values, max_size=120)), dtype=np.float64)


@given(series())
def test_what_is_kept_of_a_curve_is_its_own_and_has_its_extremes(y: Floats) -> None:
    x = np.arange(len(y)) * 10
    with patch.object(panels, "_POINTS", 20):
        steps, kept = panels.thinned(x, y)
    assert len(steps) == len(kept) <= 20
    assert (np.diff(steps) > 0).all()
    original = y[steps // 10]
    np.testing.assert_array_equal(kept, np.where(np.isfinite(original), original, np.nan))
    finite = y[np.isfinite(y)]
    if finite.size:
        assert (np.nanmin(kept), np.nanmax(kept)) == (finite.min(), finite.max())


@given(series())
def test_a_short_curve_keeps_every_point(y: Floats) -> None:
    steps, kept = panels.thinned(np.arange(len(y)), y)
    known = np.isfinite(y)
    assert set(np.flatnonzero(known)) <= set(steps.tolist())
    np.testing.assert_array_equal(kept[np.isfinite(kept)], y[known])


def test_nothing_is_drawn_across_a_gap() -> None:
    y = np.array([1.0, 2.0, math.nan, 4.0, 5.0])
    assert np.isnan(panels.thinned(np.arange(5), y)[1]).tolist() == [False, False, True, False, False]


@given(st.integers(0, 10**12))
def test_the_steps_of_a_schedule_are_whole_rising_and_reach_both_ends(steps: int) -> None:
    at = panels.spread(steps)
    assert len(at) == min(steps, 4000)
    assert (at == at.round()).all()
    assert (np.diff(at) >= 1).all()
    assert steps == 0 or (at[0], at[-1]) == (0, steps - 1)


# What a run still has before it, and its phases


def test_what_is_still_to_come_begins_behind_the_last_step() -> None:
    run = recorded.history(wsd(100), 40)
    assert panels.to_come(run, wsd(100)).tolist() == [*range(40, 100)]
    assert panels.phases(run, wsd(100))[-1] == (80, 100, "decay")


NOTHING_TO_COME: list[tuple[str, History, Schedule | None]] = [
    ("no plan", recorded.history(wsd(100), 40), None),
    ("its last step", recorded.history(wsd(100), 100), wsd(100)),
    ("past its end", recorded.history(wsd(100), 140), wsd(100)),
    ("a cooldown", recorded.history(wsd(100), 40, events=[Event(30, "cooldown")]), wsd(100)),
    ("only a ceiling", recorded.history(wsd(100), 40), rise(10) >> hold(10**9)),
]


@pytest.mark.parametrize(("run", "plan"), [row[1:] for row in NOTHING_TO_COME], ids=[row[0] for row in NOTHING_TO_COME])
def test_of_a_run_that_goes_no_further_as_planned_nothing_is_to_come(run: History, plan: Schedule | None) -> None:
    assert panels.to_come(run, plan).size == 0
    assert panels.phases(run, plan)[-1][1] == len(run)  # nor are phases that it never entered


def test_a_run_whose_log_names_no_phases_has_those_of_its_plan() -> None:
    log = History.of([{"step": step, "lr": 1e-3} for step in (50, 100)])
    assert panels.phases(log, wsd(100)) == [(0, 10, "warmup"), (10, 80, "stable"), (80, 100, "decay")]


def test_a_phase_that_is_not_over_is_one_phase() -> None:
    spans = panels.phases(recorded.history(wsd(100), 40), wsd(100))
    assert spans == [(0, 10, "warmup"), (10, 80, "stable"), (80, 100, "decay")]


# Shades, names and marks


def axes_over(steps: int) -> Axes:
    axes = Figure().subplots()
    axes.plot([0, steps], [0, 1])
    return axes


def spans_of(names: Sequence[str], length: int = 10) -> list[tuple[float, float, str]]:
    return [(i * length, (i + 1) * length, name) for i, name in enumerate(names)]


@pytest.mark.parametrize(
    ("names", "shades", "said"),
    [
        (["only"], 0, []),
        (["warmup", "decay"], 2, ["warmup", "decay"]),
        (["rise", "rise", "fall"], 3, ["rise", "fall"]),
        ([f"cycle {i}" for i in range(25)], 0, []),  # stripes that nobody could tell apart
        (["a" * 200, "b"], 2, ["b"]),  # a name longer than the picture
    ],
)
def test_phases_are_shaded_and_named_where_it_helps(names: list[str], shades: int, said: list[str]) -> None:
    axes = axes_over(10 * len(names))
    panels.shade(axes, spans_of(names), names=True)
    assert len(axes.patches) == shades
    assert [text.get_text() for text in axes.texts] == said


@given(st.lists(st.text("abcdefgh ", min_size=1, max_size=30), min_size=2, max_size=24), st.integers(1, 10**6))
def test_names_above_a_picture_do_not_run_into_each_other(names: list[str], length: int) -> None:
    axes = axes_over(length * len(names))
    panels.shade(axes, spans_of(names, length), names=True)
    letters = length * len(names) / 105
    ends = [
        (text.xy[0] - len(text.get_text()) / 2 * letters, text.xy[0] + len(text.get_text()) / 2 * letters)  # type: ignore[attr-defined]
        for text in axes.texts
    ]
    assert all(end <= start for (_, end), (start, _) in pairwise(ends))


def test_a_mark_is_named_once() -> None:
    axes = axes_over(90)
    run = recorded.history(warm_restarts(90, cycles=3, warmup=0), 90, events=[Event(5, "resume"), Event(50, "resume")])
    panels.mark(axes, run, run.schedule)
    found = [(line.get_xdata()[0], line.get_label(), line.get_linestyle()) for line in axes.lines[1:]]  # type: ignore[index]
    marks = [(x, None if str(name).startswith("_") else name, style) for x, name, style in found]
    assert marks == [(5, "resume", "-."), (50, None, "-."), (30, "restart", ":"), (60, None, ":")]


def test_restarts_that_were_never_reached_are_not_marked() -> None:
    axes = axes_over(25)
    run = recorded.history(warm_restarts(90, cycles=3, warmup=0), 25, events=[Event(20, "cooldown")])
    panels.mark(axes, run, run.schedule)
    assert axes.get_xlim()[1] < 30


# Axes


@pytest.mark.parametrize(
    ("losses", "top"),
    [
        ([5.0, *[3.0] * 2000], None),  # a straight axis shows both
        ([5.0, *[3.0] * 1000, 1e6, *[3.0] * 1000], 5.2),
        ([50.0, *[3.0] * 2000], None),  # where a run began is worth seeing
        ([3.0, 1e6], None),  # of so few points none is a spike
        ([], None),
    ],
)
def test_an_axis_ends_above_all_but_a_spike(losses: list[float], top: float | None) -> None:
    axes = axes_over(len(losses))
    before = axes.get_ylim()
    panels.limit_loss(axes, [History.of([{"step": i + 1, "loss": loss} for i, loss in enumerate(losses)])])
    if top is None:
        assert axes.get_ylim() == before
    else:
        assert axes.get_ylim()[1] == pytest.approx(top, rel=1e-9)


@pytest.mark.parametrize(
    ("values", "spans"),
    [([], False), ([5.0], False), ([1.0, 30.0], False), ([1.0, 31.0], True), ([0.0, 2.0, math.inf], False), ([-1, 1], False)],
)
def test_only_an_axis_of_decades_is_logarithmic(values: list[float], spans: bool) -> None:
    assert panels.spans_decades(np.array(values, dtype=np.float64)) is spans


def test_losses_that_are_not_finite_are_found_in_a_log_of_every_step() -> None:
    lines: list[dict[str, Any]] = [
        {"step": 1, "loss": 3.0},
        {"step": 2, "loss": "nan"},
        {"step": 3, "loss": "-inf"},
        {"step": 4, "loss": 2.0},
    ]
    assert panels.not_finite(History.of(lines)).tolist() == [2, 3]
    assert panels.not_finite(History.of(lines, averaged=10)).tolist() == []
    assert panels.not_finite(History.of([{"step": 1, "lr": 0.1}])).tolist() == []


def test_a_run_that_was_never_finite_is_marked() -> None:
    assert panels.not_finite(History.of([{"step": step, "loss": "nan"} for step in (1, 2)])).tolist() == [1, 2]


def test_a_step_without_a_loss_is_no_step_whose_loss_was_nan() -> None:
    lines: list[dict[str, Any]] = [
        {"step": 1, "loss": 3.0},
        {"step": 2, "lr": 0.1},
        {"step": 3, "loss": 2.0},
    ]  # as W&B exports them
    assert panels.not_finite(History.of(lines)).tolist() == []


# Colours


def lightness(colour: str) -> float:
    """L* of CIELAB, 0 to 100: how light a colour is where it is printed in grey."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    luminance = float(np.dot(linear, (0.2126, 0.7152, 0.0722)))
    return 116 * luminance ** (1 / 3) - 16 if luminance > 0.008856 else 903.3 * luminance


def test_the_colours_are_those_of_okabe_and_ito() -> None:
    # https://jfly.uni-koeln.de/color/ in RGB; their yellow is too light for a line on white
    listed = {(0, 0, 0), (230, 159, 0), (86, 180, 233), (0, 158, 115), (0, 114, 178), (213, 94, 0), (204, 121, 167)}
    assert {tuple(round(255 * c) for c in to_rgb(colour)) for colour in panels.COLOURS} == listed


def test_two_curves_differ_in_grey() -> None:
    for (one, style), (other, dashes) in combinations(islice(panels.styles(), len(panels.COLOURS)), 2):
        assert one != other
        assert style != dashes or abs(lightness(one) - lightness(other)) > 15
    assert all(lightness(shade) - lightness(colour) > 20 for colour in panels.COLOURS for shade in panels.SHADES)


def test_colours_and_lines_go_on_without_end() -> None:
    assert len(set(map(str, islice(panels.styles(), 35)))) == 35


# Files


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_a_picture_takes_the_place_of_another_and_leaves_nothing_beside_it(ending: str, tmp_path: Path) -> None:
    file = tmp_path / f"a.{ending}"
    file.write_bytes(b"old")
    made = panels.figure(2, 2)
    assert panels.saved(made, file) is made
    assert panels.saved(made, None) is made
    assert file.read_bytes()[:3] != b"old"
    assert [*tmp_path.iterdir()] == [file]


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_a_picture_that_cannot_be_drawn_leaves_the_old_one(ending: str, tmp_path: Path) -> None:
    file = tmp_path / f"a.{ending}"
    file.write_bytes(b"old")
    made = panels.figure(2, 2)
    made.text(0.5, 0.5, r"$\nonsense$")
    with pytest.raises(ValueError, match="nonsense"):
        panels.saved(made, file)
    assert file.read_bytes() == b"old"
