"""The picture and the text of a range test."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hf_lrsched import RangeTest, plot, text
from hf_lrsched.runs.ramp import Trace

from ..runs.test_range_test import curve, flat, found, ramp, runs


def labels(figure: Any, panel: int) -> list[str]:
    return [str(label) for label in figure.axes[panel].get_legend_handles_labels()[1]]


def test_the_picture_has_points_curve_interval_and_marks(tmp_path: Path) -> None:
    test = found(curve(), *runs(-3.5))
    figure = plot.range_test(test, tmp_path / "a.png")
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss (ramp)", "loss (20-step runs)", "gradient norm"]
    assert [label.split(":")[0] for label in labels(figure, 0)] == [
        "loss of each step",
        "smoothed, centred",
        "begins to fall",
        "steepest",
        "turns unstable",
        "interval",
        "suggestion",
    ]
    assert f"suggestion: {test.lr:.2g}" in labels(figure, 0)
    assert all(axes.get_xscale() == "log" for axes in figure.axes)
    low, high = figure.axes[0].get_ylim()
    assert low < test.landmarks.lowest < test.landmarks.start < high < 2 * test.landmarks.start  # no blow-up flattens it
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size[0] == 1040
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_a_scheduler_that_reaches_more_than_is_set_is_drawn_at_its_peak() -> None:
    test = replace(found(curve(), *runs(-3.5)), highest=25.0)
    assert test.lr is not None
    assert test.lr == pytest.approx((found(curve(), *runs(-3.5)).lr or 0) / 25, rel=0.1)
    figure: Any = plot.range_test(test)
    [line] = [line for line in figure.axes[0].lines if "suggestion" in str(line.get_label())]
    assert line.get_xdata()[0] == pytest.approx(25 * test.lr)
    assert f"its peak:          {25 * test.lr:.2g}; the scheduler reaches 25 times what is set" in text.range_test(test)


def test_a_refusal_and_a_ramp_alone_are_drawn_as_well() -> None:
    figure = plot.range_test(found(flat()))
    assert "no descent" in figure.axes[0].get_title(loc="left")
    assert "interval" not in labels(figure, 0)
    assert [axes.get_ylabel() for axes in plot.range_test(found(curve())).axes] == ["loss (ramp)", "gradient norm"]
    nothing = np.array([])
    empty = RangeTest(Trace(nothing, nothing, nothing, nothing, skipped=20, stopped=True), (), "wsd", 1000, 1e-3, 1e-3)
    assert "diverged at once" in plot.range_test(empty).axes[0].get_title(loc="left")


def test_the_text_says_what_it_rests_on() -> None:
    test = found(curve(), *runs(-3.5))
    said = text.range_test(test)
    assert test.interval is not None
    low, high = test.interval
    assert said.startswith(f"learning_rate:     {test.lr:.2g}  (between {low:.2g} and {high:.2g}; confidence high)\n")
    assert "times the suggestion; rule of thumb: 1 to 10)" in said
    assert "100 steps, 20 each; loss at the end: " in said


def test_the_text_of_a_refusal_names_the_range_to_try() -> None:
    said = text.range_test(found(curve(-0.2, 3)))
    assert said.startswith("no learning rate:  the loss still falls at the end of the range")
    assert "\nrange to try:      1e-07 to 1e+03\n" in said
    assert "turns unstable:    not within the range" in said


@pytest.mark.parametrize("skipped", [0, 3])
def test_groups_and_skipped_updates_are_told_where_there_are_any(skipped: int) -> None:
    trace = ramp(curve())
    skipping = Trace(trace.lr, trace.loss, trace.grad_norm, trace.update_ratio, skipped=skipped)
    said = text.range_test(RangeTest(skipping, (), "wsd", 1000, 1e-3, 5e-3))
    assert ("3 updates skipped" in said) == bool(skipped)
    assert "which group:       the one that had 0.005; others keep their ratio to it" in said
