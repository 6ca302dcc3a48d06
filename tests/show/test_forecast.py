from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from PIL import Image

from hf_lrsched import History, Schedule, build, step_decay, warmup_cosine, wsd
from hf_lrsched.runs.forecast import Forecast, fit_law
from hf_lrsched.show.forecast import picture, predicted_and_measured

from ..runs.forecast.curves import PEAK, run

STEPS = 800
RUNS = [run(schedule, noise=0.002, seed=i) for i, schedule in enumerate((wsd(STEPS), warmup_cosine(STEPS)))]
LAW = fit_law(RUNS)
FIVE: list[Schedule | str] = [
    "wsd",
    "warmup_cosine",
    build("rex", STEPS, alpha=0).named("linear"),
    build("wsd", STEPS, decay=0.4, shape="linear").named("wsd:decay=0.4,shape=linear"),
    step_decay(STEPS, warmup="5%"),
]


def labels(figure: Any) -> list[str]:
    return [entry.get_text() for entry in figure.subfigs[0].axes[0].get_legend().get_texts()]


def drawn(axes: Any) -> Iterator[Text]:
    """The words of a panel that are seen: an axis keeps labels of ticks beyond its ends."""
    yield from (axes.title, axes._left_title, axes.xaxis.label, axes.yaxis.label, *axes.texts)
    yield from axes.get_legend().get_texts() if axes.get_legend() else ()
    for axis in (axes.xaxis, axes.yaxis):
        low, high = sorted(axis.get_view_interval())
        ticks = (tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high)
        yield from (tick.label1 for tick in ticks if tick.label1.get_visible())


def overlaps(figure: Any) -> list[str]:
    """Words of a picture that lie over others, and words that are cut off at its edge."""
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    boxes = [(text.get_text(), text.get_window_extent()) for axes in figure.axes for text in drawn(axes) if text.get_text()]
    over = [f"{a} / {b}" for i, (a, one) in enumerate(boxes) for b, other in boxes[:i] if one.overlaps(other)]
    whole = figure.bbox
    cut = [name for name, box in boxes if box.x0 < 0 or box.y0 < 0 or box.x1 > whole.x1 or box.y1 > whole.y1]
    return over + cut


def test_the_check_for_overlaps_finds_them() -> None:
    figure: Any = picture(LAW, [LAW.predict("wsd", STEPS)])
    figure.subfigs[0].axes[1].annotate("over it", (0.0, 0.0), xycoords="axes fraction", xytext=(-0.05, -0.1), fontsize=40)
    figure.subfigs[0].axes[1].annotate("out", (1.0, 1.0), xycoords="axes fraction", fontsize=200, in_layout=False)
    assert any("over it" in one for one in overlaps(figure))
    assert "out" in overlaps(figure)


@pytest.mark.parametrize("most", [1, 2, 5])
def test_a_picture_has_every_schedule_and_no_words_over_each_other(most: int, tmp_path: Path) -> None:
    made = LAW.compare(FIVE[:most], STEPS).forecasts
    figure: Any = picture(LAW, made, tmp_path / "a.png")
    names = [one.name for one in made]
    assert labels(figure) == [f"fitted on: {seen.name}" for fit in LAW.fits.values() for seen in fit.runs] + names
    assert [label.get_text() for label in figure.subfigs[1].axes[0].get_yticklabels()] == names
    assert overlaps(figure) == []
    with Image.open(tmp_path / "a.png") as written:
        assert written.width == 1040
        assert written.height == pytest.approx(130 * (6.35 + 0.3 * most), abs=2)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def called(name: str, factor: float = 1.0) -> Forecast:
    """A forecast of that name, of losses in another unit."""
    one = LAW.predict("wsd", STEPS)
    moved = {word: getattr(one, word) * factor for word in ("loss", "sd", "momentum")}
    return replace(one, name=name, **moved)


LONG = {  # names, and how each begins and ends in a legend, and beside the ends
    "schedule-" * 12: (60, 35),
    "名前" * 55: (30, 18),
    "a $ " * 30: (60, 35),
}


@pytest.mark.filterwarnings("ignore:Glyph")  # of a drawing that nobody saves: `overlaps`
@pytest.mark.parametrize("name", LONG)
def test_of_a_long_name_the_beginning_and_the_end_are_shown(name: str, tmp_path: Path) -> None:
    law = fit_law([replace(RUNS[0], source=f"{name}/{name}.json")])
    figure: Any = picture(law, [called(name), called("wsd")], tmp_path / "a.png")
    ends = [label.get_text() for label in figure.subfigs[1].axes[0].get_yticklabels()]
    for shown, most in zip((labels(figure)[1], ends[0]), LONG[name], strict=True):
        head, tail = shown.replace(r"\$", "$").split("…")
        assert name.startswith(head)
        assert name.endswith(tail)
        assert most - 3 < len(head + tail) < most
    assert labels(figure)[0].startswith("fitted on: ")
    assert overlaps(figure) == []
    assert all(axes.get_window_extent().width > 0.35 * figure.bbox.width for axes in figure.axes)


@pytest.mark.filterwarnings("ignore:Glyph")  # of a drawing that nobody saves: `overlaps`
@pytest.mark.parametrize("name", LONG)
def test_long_names_leave_what_then_happened_its_room(name: str, tmp_path: Path) -> None:
    figure: Any = predicted_and_measured(called(name), RUNS[0], tmp_path / "a.png", fitted={name: RUNS[1]}, title=name * 2)
    assert "…" in figure.get_suptitle()
    assert overlaps(figure) == []
    assert figure._suptitle.get_window_extent().x1 < figure.bbox.x1
    left, right = (figure.axes[i].get_window_extent().width / figure.bbox.width for i in (0, 1))
    assert left > 0.4
    assert right > 0.25


def test_a_legend_of_many_lines_makes_the_picture_higher() -> None:
    figure: Any = picture(LAW, [called(f"a name that fills a line of the legend alone, number {i}") for i in range(9)])
    assert overlaps(figure) == []
    heights = [axes.get_window_extent().height / figure.dpi for axes in figure.subfigs[0].axes]
    assert heights[0] > 1
    assert heights[1] > 2


@pytest.mark.parametrize("factor", [1e6, 1e-5])
def test_the_losses_below_are_written_as_those_above_without_a_power_in_the_corner(factor: float) -> None:
    made = [called("wsd", factor), called("other", 1.01 * factor)]
    figure: Any = picture(LAW, made)
    assert overlaps(figure) == []
    below = figure.subfigs[1].axes[0]
    assert below.xaxis.get_offset_text().get_text() == ""
    assert {f"{factor:g}".partition("e")[2]} == {label.get_text().partition("e")[2] for label in below.get_xticklabels()}


@pytest.mark.parametrize("ending", [".png", ".svg", ".pdf"])
def test_letters_that_the_font_lacks_are_no_warning(ending: str, tmp_path: Path) -> None:
    picture(LAW, [called("名前")], tmp_path / f"a{ending}")  # here a warning is an error
    predicted_and_measured(called("wsd"), RUNS[0], tmp_path / f"b{ending}", fitted={"名前": RUNS[1]})
    assert {path.name for path in tmp_path.iterdir()} == {f"a{ending}", f"b{ending}"}


def test_a_curve_that_begins_later_has_its_learning_rates_from_the_first_step() -> None:
    one = LAW.predict("wsd", STEPS)
    late = one.step > 0.3 * STEPS
    cut = {word: getattr(one, word)[late] for word in ("step", "lr", "loss", "sd")}
    figure: Any = picture(LAW, [replace(one, **cut)])
    above, below = figure.subfigs[0].axes
    line = next(line for line in above.lines if line.get_label() == "wsd")
    assert (line.get_xdata()[0], line.get_ydata()[0]) == (1, wsd(STEPS).lrs(STEPS, PEAK)[0])
    assert below.lines[-1].get_xdata()[0] == one.step[late][0]
    assert overlaps(figure) == []


def test_curves_bands_and_ends_are_those_of_the_forecast() -> None:
    one = LAW.predict("wsd", STEPS)
    figure: Any = picture(LAW, [one])
    _, below = figure.subfigs[0].axes
    curve = below.lines[-1]
    late = one.step >= 0.05 * STEPS
    np.testing.assert_array_equal(curve.get_ydata(), one.loss[late])
    edges = below.collections[0].get_paths()[0].vertices[:, 1]
    assert edges.min() == pytest.approx(one.low[late].min())
    assert edges.max() == pytest.approx(one.high[late].max())
    wide, narrow, dot, diamond = figure.subfigs[1].axes[0].lines
    assert tuple(wide.get_xdata()) == one.interval(0.9)
    assert tuple(narrow.get_xdata()) == one.interval(0.5)
    assert (dot.get_xdata()[0], diamond.get_xdata()[0]) == (one.final, one.momentum)


def test_the_points_are_what_was_fitted() -> None:
    figure: Any = picture(LAW, [LAW.predict("wsd", STEPS)])
    fitted = [seen for fit in LAW.fits.values() for seen in fit.runs]
    dots = [line for line in figure.subfigs[0].axes[1].lines if line.get_linestyle() == "None"]
    for line, seen in zip(dots, fitted, strict=True):
        np.testing.assert_array_equal(line.get_ydata(), seen.loss)
        np.testing.assert_array_equal(line.get_xdata(), seen.updates)


def test_the_end_fills_the_picture_and_the_beginning_does_not() -> None:
    one = LAW.predict("wsd", STEPS)
    figure: Any = picture(LAW, [one])
    low, high = figure.subfigs[0].axes[1].get_ylim()
    assert low < one.low[-1]
    assert high < one.loss[one.step >= 0.05 * STEPS][0]
    assert high > one.high[-1]


def test_nothing_to_draw_is_refused() -> None:
    with pytest.raises(ValueError, match="give at least one forecast"):
        picture(LAW, [])


def happened(schedule: Schedule, *, evaluated: bool = True) -> History:
    return run(schedule, noise=0.002, seed=7, evaluated=evaluated)


def test_what_then_happened_stands_beside_what_was_predicted(tmp_path: Path) -> None:
    schedule = wsd(2 * STEPS, decay=0.3).named("longer")
    then, one = happened(schedule), LAW.predict(schedule)
    figure: Any = predicted_and_measured(one, then, tmp_path / "b.png", fitted={"wsd": RUNS[0]})
    said = figure.get_suptitle()
    assert f"predicted {one.final:.4f}" in said
    assert said.endswith(f"measured {then.eval_loss[-1]:.4f}")
    assert "held-out" in said
    names = [entry.get_text() for entry in figure.axes[0].get_legend().get_texts()]
    assert names == ["fitted on: wsd", "longer", "what then happened"]
    assert overlaps(figure) == []
    begin, end = figure.axes[1].get_xlim()
    assert begin == pytest.approx(0.7 * 2 * STEPS)
    assert end > 2 * STEPS
    assert (tmp_path / "b.png").stat().st_size > 1000


def test_a_title_of_ones_own_takes_the_place_of_both_losses() -> None:
    figure: Any = predicted_and_measured(LAW.predict("wsd", STEPS), RUNS[0], title="a $ and a $")
    assert figure.get_suptitle() == r"a \$ and a \$"


def test_a_run_without_what_was_predicted_is_refused() -> None:
    with pytest.raises(ValueError, match="0 of its held-out losses"):
        predicted_and_measured(LAW.predict("wsd", STEPS), happened(wsd(STEPS), evaluated=False))
