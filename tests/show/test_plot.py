from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from hf_lrsched import History, one_cycle, repeat, rise, to_spec, warm_restarts, wsd
from hf_lrsched.runs.history import Event
from hf_lrsched.show import plot

from .. import recorded

RUN = recorded.history(wsd(100), 100, extra=[{"step": 50, "eval_loss": 4.0}, {"step": 100, "eval_loss": 3.0}])


def labels(figure: Any, panel: int) -> list[str]:
    return [str(line.get_label()) for line in figure.axes[panel].lines if not str(line.get_label()).startswith("_")]


def names_above(figure: Any) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def test_the_picture_shows_lr_and_loss_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    figure = plot.lr_and_loss(RUN, tmp_path / "a.png")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size == (1040, 650)
        colours = {colour for _, colour in picture.convert("RGB").getcolors(maxcolors=1 << 24) or []}
    assert {(0, 114, 178), (213, 94, 0)} <= colours  # the curve of the LR and that of the held-out loss
    assert [axes.get_ylabel() for axes in figure.axes] == ["learning rate", "loss"]
    assert labels(figure, 1) == ["training loss", "held-out loss"]
    assert names_above(figure) == ["warmup", "stable", "decay"]


def test_the_lr_that_is_drawn_is_that_of_the_run() -> None:
    line = plot.lr_and_loss(RUN).axes[0].lines[0]
    np.testing.assert_array_equal(line.get_ydata(), RUN.lr[:, 0])
    np.testing.assert_array_equal(line.get_xdata(), RUN.step)


@pytest.mark.parametrize("kind", ["resume", "cooldown"])
def test_what_happened_is_marked_once_in_the_legend(kind: str) -> None:
    figure = plot.lr_and_loss(replace(RUN, events=(Event(40, kind), Event(60, kind), Event(50, "checkpoint"))))
    assert labels(figure, 1)[-1] == kind
    assert [np.asarray(line.get_xdata())[0] for line in figure.axes[0].lines if line.get_linestyle() == "-."] == [40, 60]


def test_restarts_are_marked_and_cycles_named() -> None:
    schedule = warm_restarts(90, cycles=3, warmup=0)
    figure = plot.lr_and_loss(recorded.history(schedule, 90))
    assert "restart" in labels(figure, 1)
    assert names_above(figure) == ["cycle 1", "cycle 2", "cycle 3"]


def test_losses_that_are_not_finite_stand_at_the_edge() -> None:
    wrong = [{"step": 7, "loss": math.nan, "lr": 1e-3}, {"step": 9, "loss": math.inf, "lr": 1e-3}]
    figure = plot.lr_and_loss(recorded.history(wsd(100), 100, extra=wrong))
    assert "not finite: 2 steps" in labels(figure, 1)


def test_a_log_of_means_has_gaps_that_mean_nothing() -> None:
    run = replace(recorded.history(wsd(100), 100, extra=[{"step": 7, "loss": math.nan, "lr": 1e-3}]), averaged=10)
    assert labels(plot.lr_and_loss(run), 1) == ["training loss"]


def test_groups_of_their_own_lr_are_told_apart() -> None:
    lines = [{"step": i, "loss": 1.0, "lrs": [1e-3, 1e-4, 1e-3]} for i in range(1, 20)]
    drawn = plot.lr_and_loss(History.of(lines, groups=("decay", "norm", "twin"))).axes[0].lines
    assert [line.get_label() for line in drawn] == ["group decay", "group norm"]
    assert len({line.get_linestyle() for line in drawn}) == 2


def test_norm_and_momentum_have_panels_where_they_are_known() -> None:
    schedule = one_cycle(50)
    assert schedule.momentum is not None
    extra = [{"step": i + 1, "grad_norm": 1.0, "momentum": schedule.momentum(i)} for i in range(50)]
    figure = plot.lr_and_loss(recorded.history(schedule, 50, extra=extra))
    assert [axes.get_ylabel() for axes in figure.axes] == ["learning rate", "loss", "gradient norm", "momentum"]


def test_an_end_that_is_only_a_ceiling_does_not_stretch_the_axis() -> None:
    run = recorded.history(wsd(10**9, warmup=10, decay=0), 500)
    figure = plot.lr_and_loss(run)
    assert figure.axes[0].get_xlim()[1] < 1000
    assert names_above(figure)[-1] == "stable"


def test_what_is_still_to_come_is_drawn_thin() -> None:
    figure = plot.lr_and_loss(recorded.history(wsd(100), 50))
    to_come = figure.axes[0].lines[1]
    assert to_come.get_linestyle() == ":"
    np.testing.assert_allclose(np.asarray(to_come.get_ydata()), wsd(100).lrs(np.arange(50, 100), recorded.PEAK), rtol=1e-12)


@pytest.mark.parametrize("log", [True, False])
def test_axes_are_logarithmic_where_asked(log: bool) -> None:
    axes = plot.lr_and_loss(RUN, log_lr=log, log_loss=log).axes
    assert [one.get_yscale() for one in axes] == ["log" if log else "linear"] * 2
    assert plot.schedules("wsd", log=log).axes[0].get_yscale() == ("log" if log else "linear")


EMPTY: list[History] = [History.of([]), History.of([{"step": 1, "lr": 1e-3}]), History.of([{"step": 5, "eval_loss": 2.0}])]


@pytest.mark.parametrize("run", EMPTY)
def test_a_run_of_which_little_is_known_is_drawn(run: History, tmp_path: Path) -> None:
    plot.lr_and_loss(run, tmp_path / "a.svg", schedule=repeat(rise(1), 100))
    plot.runs({"a": run}, tmp_path / "b.svg")
    assert (tmp_path / "a.svg").stat().st_size > 1000


def test_runs_lie_over_each_other() -> None:
    other = recorded.history(one_cycle(60), 60)
    figure = plot.runs({"one": RUN, "two": other})
    above, below = figure.axes
    assert labels(figure, 0) == ["one", "two"]
    assert (above.get_ylabel(), below.get_ylabel()) == ("learning rate", "loss (dots: held-out)")
    for line, run in zip(above.lines, (RUN, other), strict=True):
        np.testing.assert_array_equal(line.get_ydata(), run.lr[:, 0])
    assert len({(line.get_color(), line.get_linestyle()) for line in above.lines}) == 2
    assert [line.get_color() for line in below.lines] == [line.get_color() for line in above.lines for _ in range(2)]
    with pytest.raises(ValueError, match="give at least one run"):
        plot.runs({})


@pytest.mark.xfail(strict=True, reason="bug: matplotlib leaves a name that begins with _ out of the legend")
def test_every_run_is_named() -> None:
    legend = plot.runs({"_trial": RUN, "b": RUN}).axes[0].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["_trial", "b"]


@pytest.mark.parametrize(
    ("run", "panel", "line"), [(History.of([{"step": 1, "loss": 3.0, "lr": 1e-3}]), panel, 0) for panel in (0, 1)]
)
def test_a_single_point_is_seen(run: History, panel: int, line: int) -> None:
    assert plot.lr_and_loss(run).axes[panel].lines[line].get_marker() not in ("None", "")


def test_a_ceiling_does_not_stretch_the_axis_of_a_log_without_phases() -> None:
    log = [{"step": step, "loss": 2.0, "learning_rate": 1e-3} for step in range(1, 501)]
    assert plot.lr_and_loss(log, schedule=wsd(10**9, warmup=10, decay=0)).axes[0].get_xlim()[1] < 1000


NAMED = {
    "a phase": lambda name: plot.lr_and_loss(replace(RUN, phase=[name] * 50 + ["b"] * 50)),
    "a group": lambda name: plot.lr_and_loss(History.of([{"step": 1, "lrs": [1.0, 2.0]}], groups=(name, "b"))),
    "a run": lambda name: plot.runs({name: RUN}),
    "a schedule": lambda name: plot.schedules(wsd(100).named(name)),
}


@pytest.mark.parametrize("draw", NAMED.values(), ids=NAMED)
def test_a_name_is_text_and_no_formula(draw: Callable[[str], Figure], tmp_path: Path) -> None:
    draw("$a_{$").savefig(tmp_path / "a.svg")


@pytest.mark.parametrize("quantity", ["lr", "loss"])
def test_a_logarithmic_axis_without_anything_to_show(quantity: str, tmp_path: Path) -> None:
    log = [{"step": step, "loss": 1.0, "lr": 1.0} | {quantity: 0.0} for step in range(1, 9)]
    plot.lr_and_loss(log, tmp_path / "a.svg", log_lr=True, log_loss=True)


def test_schedules_by_name_spec_and_file(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(to_spec(wsd(100).named("mine"))))
    (tmp_path / "card.json").write_text(json.dumps({"hf_lrsched": 1, "schedule": to_spec(wsd(100).named("card's"))}))
    paths = [str(tmp_path / "a.json"), str(tmp_path / "card.json")]
    figure = plot.schedules("rex", wsd(100), to_spec(one_cycle(50)), *paths, peak=1e-3, steps=100)
    assert labels(figure, 0) == ["rex", "wsd", "one_cycle", "mine", "card's"]
    assert np.asarray(figure.axes[0].lines[1].get_ydata()).max() == 1e-3


def test_a_single_schedule_has_its_phases_shaded() -> None:
    assert names_above(plot.schedules("wsd", steps=20_000, warmup="5%")) == ["warmup", "stable", "decay"]


@pytest.mark.parametrize(
    ("draw", "error", "sentence"),
    [
        (lambda folder: plot.schedules(), ValueError, "nothing to draw"),
        (lambda folder: plot.schedules("wsdd"), ValueError, "did you mean 'wsd'"),
        (lambda folder: plot.schedules("wsd", warmap=3), ValueError, "did you mean 'warmup'"),
        (lambda folder: plot.schedules(str(folder / "no.json")), FileNotFoundError, "there is no file"),
        (lambda folder: plot.schedules(str(folder / "bad.json")), ValueError, "is not JSON"),
        (lambda folder: plot.schedules(str(folder / "list.json")), ValueError, "is a mapping, not list"),
    ],
)
def test_what_cannot_be_drawn_is_said(
    draw: Callable[[Path], object], error: type[Exception], sentence: str, tmp_path: Path
) -> None:
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(error, match=sentence):
        draw(tmp_path)


DRAWN = {
    "schedules": lambda file: plot.schedules("wsd", "rex", file=file),
    "lr_and_loss": lambda file: plot.lr_and_loss(RUN, file),
    "runs": lambda file: plot.runs({"a": RUN, "b": RUN}, file),
    "thumbnail": lambda file: plot.thumbnail(wsd(100), file),
}


@pytest.mark.parametrize("ending", ["svg", "png"])
@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN)
def test_the_same_picture_is_the_same_file(draw: Callable[[Path], Figure], ending: str, tmp_path: Path) -> None:
    files = [tmp_path / f"{name}.{ending}" for name in "ab"]
    made = [draw(file) for file in files]
    assert all(isinstance(figure, Figure) for figure in made)
    assert files[0].read_bytes() == files[1].read_bytes()
    assert sorted(tmp_path.iterdir()) == files


def test_a_notebook_shows_a_picture_once() -> None:
    script = """
import sys
from hf_lrsched.show import plot
plot.schedules("wsd")
sys.exit("matplotlib.pyplot" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-W", "error", "-c", script]).returncode == 0


def test_without_matplotlib_the_error_names_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'hf-lrsched\[plot\]'"):
        plot.lr_and_loss(RUN)


def test_one_early_spike_does_not_flatten_the_rest() -> None:
    lines = [{"step": i, "loss": 1e6 if i == 500 else 5 - i / 2000} for i in range(1, 4000)]
    low, high = plot.lr_and_loss(History.of(lines)).axes[1].get_ylim()
    assert 2 < low < high < 10
