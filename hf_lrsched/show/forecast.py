"""Forecasts as pictures: predicted curves with their bands beside what was measured.

Every number comes from the law (`runs.forecast`). What a picture leaves out is how a run began: its first steps would press
the differences between the ends into a line.
"""

from __future__ import annotations

import math
import unicodedata
import warnings
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..runs.forecast.observed import Observed, observe
from ..runs.history import History
from . import panels
from .foretold import interval, places, shown, words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..runs.forecast import Forecast, Law

_BEGUN = 0.25  # share of a run that may lie above the picture: by then a loss has made most of its way
_END = 0.7  # share of a run at which the picture of its end begins
_FIRST = 0.05  # share of a run before which no curve is drawn: there the laws, and their bands, have no bounds
_MARKS = ("o", "s", "^", "D", "v", "P", "X")  # of the runs that were measured
_ROW, _LINE = 0.3, 0.19  # inches, for one interval, and for one line of the legend
_IN_LEGEND, _AT_ENDS, _ABOVE = 60, 35, 110  # letters of a name, at most; with more the curves would have no room


def picture(law: Law, forecasts: Sequence[Forecast], file: str | Path | None = None) -> Figure:
    """Learning rates, predicted losses with their 50 % and 90 % bands over what was fitted, and the intervals of the ends.

    Args:
        law: whose runs are drawn as grey points.
        forecasts: at least one, of this law.
        file: where the picture goes, by its ending (.png, .svg, .pdf); written beside and moved into place.

    >>> from hf_lrsched import fit_law, wsd
    >>> lrs = wsd(400).lrs(400, 1e-3)
    >>> log = [{"step": n, "lr": lrs[n - 1], "eval_loss": 3 + 4 * n**-0.5} for n in range(10, 401, 10)]
    >>> law = fit_law(History.of(log))
    >>> [axes.get_ylabel() for axes in picture(law, [law.predict("wsd", 400)]).axes]
    ['learning rate', 'held-out loss', '']

    Raises:
        ValueError: where there is no forecast.
        ModuleNotFoundError: without matplotlib, with the line that installs it.
    """
    if not forecasts:
        raise ValueError("nothing to draw: give at least one forecast")
    measured = [run for fit in law.fits.values() for run in fit.runs]
    names = [*(f"fitted on: {run.name}" for run in measured), *(one.name for one in forecasts)]
    rows = math.ceil(len(names) / _columns([_short(name, _IN_LEGEND) for name in names]))
    top, bottom = 5.6 + _LINE * max(rows - 4, 0), 0.75 + _ROW * len(forecasts)
    figure = panels.figure(8.0, top + bottom)
    curves, ends = figure.subfigures(2, 1, squeeze=False, height_ratios=[top, bottom])[:, 0]
    above, below = curves.subplots(2, 1, sharex=True, height_ratios=[2, 3.4])
    for run, name, marker in zip(measured, names, cycle(_MARKS), strict=False):
        _draw_measured(above, [below], run, panels.GREY, marker, name)
    for one, (colour, style) in zip(forecasts, panels.styles(), strict=False):
        _draw_forecast(above, [below], one, colour, style, faint=len(forecasts) > 1)
    panels.label(above, "learning rate", log=False)
    panels.label(below, words(law.quantity), log=False, from_zero=False)
    _limit(below, forecasts, measured)
    below.set_xlabel("optimizer step")
    _legend(above)
    _draw_ends(ends.subplots(), forecasts)
    return _saved(figure, file)


def predicted_and_measured(
    forecast: Forecast,
    history: History,
    file: str | Path | None = None,
    *,
    fitted: Mapping[str, History] | None = None,
    title: str = "",
) -> Figure:
    """A forecast with its bands, and what the run then did.

    Args:
        forecast: what was predicted.
        history: the run under the schedule that the forecast was for.
        file: where the picture goes, by its ending (.png, .svg, .pdf); written beside and moved into place.
        fitted: runs that the forecast rests on, by name, drawn as grey points.
        title: what stands above; by default both final losses, of which a training loss is the mean of a run's last
            eightieth.

    >>> from hf_lrsched import fit_law, wsd
    >>> lrs = wsd(400).lrs(400, 1e-3)
    >>> log = [{"step": n, "lr": lrs[n - 1], "eval_loss": 3 + 4 * n**-0.5} for n in range(10, 401, 10)]
    >>> law = fit_law(History.of(log))
    >>> [axes.get_ylabel() for axes in predicted_and_measured(law.predict("wsd", 400), History.of(log)).axes]
    ['learning rate', 'held-out loss', 'held-out loss']

    Raises:
        ValueError: where the run holds too little of what was predicted, as for `fit_law`.
    """
    seen = observe(history, "the run", forecast.quantity, warmup=None, skip=None)
    before = [observe(run, name, forecast.quantity, warmup=None, skip=None) for name, run in (fitted or {}).items()]
    figure = panels.figure(9.5, 4.8)
    axes = figure.subplot_mosaic([["lr", "end"], ["loss", "end"]], height_ratios=[2, 3.4], width_ratios=[3, 2])
    _draw_beside(axes["lr"], (axes["loss"], axes["end"]), forecast, seen, before)
    last = float(history.eval_loss[-1] if forecast.quantity == "eval_loss" else seen.loss[-1])
    said = f"final {words(forecast.quantity)}: predicted {interval(forecast)}, measured {shown(last, places(forecast))}"
    figure.suptitle(panels.literal(_short(title or said, _ABOVE)), x=0.01, ha="left", fontsize=10)
    return _saved(figure, file)


def _draw_measured(above: Axes, below: Sequence[Axes], run: Observed, colour: str, marker: str, name: str) -> None:
    above.plot(*panels.thinned(np.arange(len(run.lrs)) + 1, run.lrs), color=colour, linewidth=1.2, zorder=1.5)
    grey = colour == panels.GREY
    dots: dict[str, Any] = {"markersize": 3.2 if grey else 4.5, "markeredgewidth": 0, "zorder": 1.5 if grey else 3}
    for axes in below:
        axes.plot(run.updates, run.loss, marker, color=colour, **dots)
    above.plot([], [], marker, color=colour, **dots, label=panels.literal(_short(name, _IN_LEGEND)))  # the legend's


def _draw_forecast(above: Axes, below: Sequence[Axes], one: Forecast, colour: str, style: Any, *, faint: bool) -> None:
    at, lrs = one.step, one.lr
    if one.schedule is not None:  # known from the first step on, where the curve of its loss may begin later
        at = panels.spread(one.steps) + 1
        lrs = one.schedule.lrs(at - 1, one.peak_lr)
    name = panels.literal(_short(one.name, _IN_LEGEND))
    above.plot(*panels.thinned(at, lrs), color=colour, linestyle=style, linewidth=1.8, label=name)
    late = one.step >= _FIRST * one.steps
    for axes in below:
        for low, high, alpha in ((one.low, one.high, 0.16), (one.low50, one.high50, 0.24)):
            strength = 0.6 * alpha if faint else alpha
            axes.fill_between(one.step[late], low[late], high[late], color=colour, alpha=strength, linewidth=0)
        axes.plot(one.step[late], one.loss[late], color=colour, linestyle=style, linewidth=1.6)


def _draw_beside(
    above: Axes, losses_in: tuple[Axes, Axes], forecast: Forecast, seen: Observed, before: Sequence[Observed]
) -> None:
    """The learning rates above; below and beside, over its end alone, the loss as it was predicted and as it was."""
    above.sharex(losses_in[0])
    above.tick_params(labelbottom=False)
    for run, marker in zip(before, cycle(_MARKS[1:]), strict=False):
        _draw_measured(above, losses_in, run, panels.GREY, marker, f"fitted on: {run.name}")
    _draw_forecast(above, losses_in, forecast, panels.BLUE, "-", faint=False)
    _draw_measured(above, losses_in, seen, panels.ORANGE, "o", "what then happened")
    panels.label(above, "learning rate", log=False)
    for panel, begin in zip(losses_in, (_BEGUN, _END), strict=True):
        panels.label(panel, words(forecast.quantity), log=False, from_zero=False)
        _limit(panel, [forecast], [seen], begin)
        panel.set_xlabel("optimizer step")
    losses_in[1].set_xlim(_END * forecast.steps, (1 + 0.03 * (1 - _END)) * forecast.steps)
    losses_in[1].set_title("its end, with the 50 % and 90 % bands", fontsize=9, loc="left")
    _legend(above, width=60)


def _draw_ends(axes: Axes, forecasts: Sequence[Forecast]) -> None:
    """The final losses, best above as they come: a line for 90 %, a bar for 50 %, and what the momentum law says."""
    digits = places(*forecasts)
    for row, (one, (colour, style)) in enumerate(zip(forecasts, panels.styles(), strict=False)):
        axes.plot(one.interval(0.9), [row, row], color=colour, linestyle=style, linewidth=1.6)
        axes.plot(one.interval(0.5), [row, row], color=colour, linewidth=6, alpha=0.45, solid_capstyle="butt")
        axes.plot([one.final], [row], "o", color=colour, markersize=6)
        axes.plot([one.momentum], [row], "D", color=colour, markersize=5, fillstyle="none")
        said = "{}  ({} to {})".format(*(shown(value, digits) for value in (one.final, *one.interval(0.9))))
        axes.annotate(said, (1.01, row), xycoords=("axes fraction", "data"), va="center", fontsize=9)
    axes.set_yticks(range(len(forecasts)), [panels.literal(_short(one.name, _AT_ENDS)) for one in forecasts], fontsize=9)
    axes.set_ylim(len(forecasts) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#E0E0E0", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.locator_params(axis="x", nbins=6)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")  # as the losses above; no power of ten in a corner
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    said = f"final {words(forecasts[0].quantity)}, predicted: 90 % (line), 50 % (bar); diamond: the momentum law"
    axes.set_xlabel(said, fontsize=9)


def _limit(axes: Axes, forecasts: Sequence[Forecast], runs: Sequence[Observed], begin: float = _BEGUN) -> None:
    """Ends the axis above what was left of each loss after a share `begin` of its steps."""
    seen = [curve[one.step >= begin * one.steps] for one in forecasts for curve in (one.low, one.high)]
    for run in runs:
        late = run.loss[run.updates >= begin * run.horizon]
        seen.append(np.quantile(late, [0.02, 0.98]) if late.size else late)  # a spike is no reason to see nothing else
    values = np.concatenate(seen)
    values = values[np.isfinite(values)]
    if values.size and values.max() > values.min():
        room = 0.04 * float(values.max() - values.min())
        axes.set_ylim(float(values.min()) - room, float(values.max()) + room)


def _legend(axes: Axes, *, width: int = 100) -> None:
    """Above the axes, so many letters wide."""
    handles, names = axes.get_legend_handles_labels()
    columns = _columns(names, width)
    axes.legend(handles, names, frameon=False, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=columns, fontsize=9)


def _columns(names: Sequence[str], width: int = 100) -> int:
    """As many as the longest name leaves room for."""
    return max(1, min(4, width // (max(map(len, names)) + 8)))


def _short(name: str, most: int) -> str:
    """A name of more than `most` letters without its middle; a letter of China, Japan or Korea takes the room of two."""
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in name)
    if len(name) + wide <= most:
        return name
    letters = most * len(name) // (len(name) + wide) - 1
    return f"{name[: letters - letters // 2]}…{name[len(name) - letters // 2 :]}"


def _saved(figure: Figure, file: str | Path | None) -> Figure:
    """As `panels.saved`; a letter that the font lacks is a box in the picture, and nobody has to be warned of it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ ", UserWarning)
        return panels.saved(figure, file)
