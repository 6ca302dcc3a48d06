from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from PIL import Image

from hf_lrsched import History, Schedule, build, step_decay, warmup_cosine, wsd
from hf_lrsched.runs.forecast import Law, fit_law
from hf_lrsched.show.forecast import picture, predicted_and_measured, text

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
    assert labels(figure) == ["run 2", "run 1", *names]  # the cosine run's log misses the very peak
    assert [label.get_text() for label in figure.subfigs[1].axes[0].get_yticklabels()] == names
    assert overlaps(figure) == []
    with Image.open(tmp_path / "a.png") as written:
        assert written.width == 1040
        assert written.height == pytest.approx(130 * (6.35 + 0.3 * most), abs=2)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_curves_bands_and_ends_are_those_of_the_forecast() -> None:
    one = LAW.predict("wsd", STEPS)
    figure: Any = picture(LAW, [one])
    _, below = figure.subfigs[0].axes
    curve = below.lines[-1]
    late = one.step >= 0.02 * STEPS
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
    assert high < one.loss[one.step >= 0.02 * STEPS][0]
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


def test_the_table_says_what_it_rests_on_what_is_predicted_and_by_how_much() -> None:
    made = LAW.compare(FIVE, STEPS)
    said = text(LAW, made)
    points = sum(len(seen.loss) for fit in LAW.fits.values() for seen in fit.runs)
    first = f"fitted on the held-out loss of 2 runs at a peak of {PEAK:g} ({points} points, up to step {STEPS})"
    assert said.splitlines()[0] == f"{first}; predictions for that peak, no results"
    lines = said.splitlines()
    table = lines[4 : 4 + len(FIVE)]
    assert [line.split()[0] for line in table] == [one.name for one in made.forecasts]
    for line, one, (gap, low, high) in zip(table, made.forecasts, made.gaps, strict=True):
        assert f" {one.final:.4f} " in line
        assert f" {one.momentum:.4f}" in line
        assert "{:.4f} to {:.4f}".format(*one.interval(0.9)) in line
        told = f"{gap:.4f} ({low:.4f} to {high:.4f})" in line
        assert told == (one is not made.forecasts[0])
        assert line.endswith(", not told apart") == (one.name in made.ties)
    for sentence in made.cautions:
        assert sum(sentence in line for line in lines) == 1


def test_each_caution_is_told_once() -> None:
    law = fit_law([run(wsd(STEPS, decay=0), noise=0.002)])
    said = text(law, law.compare(["wsd", "warmup_cosine"], STEPS), ended=law.cooldown_now(run(wsd(STEPS, decay=0))))
    assert said.count("caution: no run at 0.001 decays") == 1
    deep = fit_law([run(warmup_cosine(STEPS), noise=0.002)])
    said = text(deep, best=deep.optimize(STEPS), ended=deep.cooldown_now(run(warmup_cosine(STEPS))))
    assert [line.split(",")[0] for line in said.splitlines() if "extrapolation" in line] == [
        "caution: the cooldown ends lower than 0.1 of the peak"
    ]


def two_peaks() -> Law:
    return fit_law([run(wsd(STEPS), noise=0.002, peak=peak) for peak in (PEAK, 2 * PEAK)])


def test_peaks_and_lengths_are_columns_where_they_differ() -> None:
    law = two_peaks()
    said = text(law, law.compare([(wsd(STEPS), PEAK), (wsd(2 * STEPS).named("longer"), 2 * PEAK)]))
    assert "1 run at a peak of 0.001" in said
    assert "predictions for these peaks, no results" in said
    heads = next(line for line in said.splitlines() if line.startswith("schedule"))
    assert heads.split()[:4] == ["schedule", "steps", "peak", "LR"]
    assert any(line.split()[:3] == ["longer", "1,600", "0.002"] for line in said.splitlines())


def test_the_best_cooldown_can_be_pasted_and_is_called_a_prediction() -> None:
    best = LAW.optimize(STEPS)
    said = text(LAW, best=best)
    pasted = said[said.index("  lr_scheduler_type") : said.index("  final held-out loss")]
    given = eval(f"dict({pasted})")
    assert given["lr_scheduler_kwargs"] == best.lr_scheduler_kwargs
    assert build(given["lr_scheduler_type"], given["max_steps"], **given["lr_scheduler_kwargs"]) == best.schedule
    assert given["learning_rate"] == pytest.approx(PEAK)
    assert f"  {best.label}" in said.splitlines()
    assert "a prediction" in said


def test_a_cooldown_that_starts_now_is_told_with_its_end() -> None:
    trunk = run(wsd(STEPS, decay=0), noise=0.002)
    ended = LAW.cooldown_now(trunk, 100)
    said = text(LAW, ended=ended)
    assert (
        f"\ncooldown of 100 steps from step {STEPS}, 900 steps in all: final held-out loss {ended.final:.4f} (90 %: " in said
    )
