"""Forecasts as pictures and as text: predicted curves with their bands beside what was measured.

Every number comes from the law (`runs.forecast`). What a picture leaves out is how a run began: its first steps would press
the differences between the ends into a line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..runs.forecast.observed import Observed, observe
from ..runs.history import History
from . import panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..runs.forecast import Comparison, Forecast, Law, Optimized

_BEGUN = 0.25  # share of a run that may lie above the picture: by then a loss has made most of its way
_END = 0.7  # share of a run at which the picture of its end begins
_FIRST = 0.02  # share of a run before which no curve is drawn: there the laws are infinite
_MARKS = ("o", "s", "^", "D", "v", "P", "X")  # of the runs that were measured
_ROW = 0.3  # inches, for one interval


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
    bottom = 0.75 + _ROW * len(forecasts)
    figure = panels.figure(8.0, 5.6 + bottom)
    curves, ends = figure.subfigures(2, 1, squeeze=False, height_ratios=[5.6, bottom])[:, 0]
    above, below = curves.subplots(2, 1, sharex=True, height_ratios=[2, 3.4])
    for run, marker in zip(measured, cycle(_MARKS), strict=False):
        _draw_measured(above, [below], run, panels.GREY, marker, run.name)
    for one, (colour, style) in zip(forecasts, panels.styles(), strict=False):
        _draw_forecast(above, [below], one, colour, style, faint=len(forecasts) > 1)
    panels.label(above, "learning rate", log=False)
    panels.label(below, words(law.quantity), log=False, from_zero=False)
    _limit(below, forecasts, measured)
    below.set_xlabel("optimizer step")
    _legend(above)
    _draw_ends(ends.subplots(), forecasts)
    return panels.saved(figure, file)


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
    last = float(history.eval_loss[-1] if forecast.quantity == "eval_loss" else seen.loss[-1])
    figure = panels.figure(9.5, 4.8)
    axes = figure.subplot_mosaic([["lr", "end"], ["loss", "end"]], height_ratios=[2, 3.4], width_ratios=[3, 2])
    axes["lr"].sharex(axes["loss"])
    axes["lr"].tick_params(labelbottom=False)
    losses_in = [axes["loss"], axes["end"]]
    for run, marker in zip(before, cycle(_MARKS[1:]), strict=False):
        _draw_measured(axes["lr"], losses_in, run, panels.GREY, marker, f"fitted on: {run.name}")
    _draw_forecast(axes["lr"], losses_in, forecast, panels.BLUE, "-", faint=False)
    _draw_measured(axes["lr"], losses_in, seen, panels.ORANGE, "o", "what then happened")
    panels.label(axes["lr"], "learning rate", log=False)
    for panel, begin in zip(losses_in, (_BEGUN, _END), strict=True):
        panels.label(panel, words(forecast.quantity), log=False, from_zero=False)
        _limit(panel, [forecast], [seen], begin)
        panel.set_xlabel("optimizer step")
    axes["end"].set_xlim(_END * forecast.steps, (1 + 0.03 * (1 - _END)) * forecast.steps)
    axes["end"].set_title("its end, with the 50 % and 90 % bands", fontsize=9, loc="left")
    low, high = forecast.interval(0.9)
    said = f"final {words(forecast.quantity)}: predicted {forecast.final:.4f} (90 %: {low:.4f} to {high:.4f})"
    said = f"{said}, measured {last:.4f}"
    figure.suptitle(panels.literal(title or said), x=0.01, ha="left", fontsize=10)
    _legend(axes["lr"], width=60)
    return panels.saved(figure, file)


def text(law: Law, compared: Comparison | None = None, best: Optimized | None = None, ended: Forecast | None = None) -> str:
    """What a law says, and what it rests on: a table of schedules, the best cooldown, a cooldown that starts now.

    Args:
        law: what was fitted.
        compared: forecasts of it side by side.
        best: the cooldown that it likes best.
        ended: a run of which a cooldown starts now.

    >>> from hf_lrsched import fit_law, wsd
    >>> lrs = wsd(400).lrs(400, 1e-3)
    >>> log = [{"step": n, "lr": lrs[n - 1], "eval_loss": 3 + 4 * n**-0.5} for n in range(10, 401, 10)]
    >>> law = fit_law(History.of(log))
    >>> print(text(law, law.compare(["wsd"], 400)).splitlines()[0])
    fitted on the held-out loss of 1 run at a peak of 0.001 (31 points, up to step 400); predictions for that peak, no results
    """
    parts = [_rests_on(law)]
    if compared is not None:
        parts.append(_table(compared))
    if ended is not None:
        parts.append(f"{ended.name}, {ended.steps:,} steps in all: {_told(ended)}")
    if best is not None:
        parts.append(_best(best))
    told = [*law.cautions, *(compared.cautions if compared else ())]
    told += [sentence for one in (ended, best.forecast if best else None) if one for sentence in one.cautions]
    cautions = [f"caution: {sentence}" for sentence in dict.fromkeys(told)]
    return "\n\n".join([*parts, *(["\n".join(cautions)] if cautions else [])])


def _rests_on(law: Law) -> str:
    peaks = [
        f"{len(fit.runs)} run{'s' * (len(fit.runs) > 1)} at a peak of {fit.peak:g} ({sum(len(run.loss) for run in fit.runs)} "
        f"points, up to step {max(run.updates[-1] for run in fit.runs):,.0f})"
        for fit in law.fits.values()
    ]
    which = "these peaks" if len(peaks) > 1 else "that peak"
    return f"fitted on the {words(law.quantity)} of {', '.join(peaks)}; predictions for {which}, no results"


def _table(compared: Comparison) -> str:
    made = compared.forecasts
    lengths, peaks = {one.steps for one in made}, {one.peak_lr for one in made}
    heads = ["schedule", *(["steps"] if len(lengths) > 1 else []), *(["peak LR"] if len(peaks) > 1 else [])]
    heads += [f"final {words(made[0].quantity)}", "90 % interval", "momentum law", "above the best"]
    rows = [heads]
    for one, gap in zip(made, compared.gaps, strict=True):
        row = [one.name, *([f"{one.steps:,}"] if len(lengths) > 1 else []), *([f"{one.peak_lr:g}"] if len(peaks) > 1 else [])]
        row += [f"{one.final:.4f}", "{:.4f} to {:.4f}".format(*one.interval(0.9)), f"{one.momentum:.4f}"]
        above = "{:.4f} ({:.4f} to {:.4f})".format(*gap) + (", not told apart" if one.name in compared.ties else "")
        rows.append([*row, "" if one is made[0] else above])
    widths = [max(len(row[i]) for row in rows) for i in range(len(heads))]
    ends = (0, len(heads) - 1)
    lines = [
        "  ".join(
            f"{cell:<{width}}" if i in ends else f"{cell:>{width}}"
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join([*([f"{made[0].steps:,} steps"] if len(lengths) == 1 else []), *lines])


def _told(one: Forecast) -> str:
    low, high = one.interval(0.9)
    return f"final {words(one.quantity)} {one.final:.4f} (90 %: {low:.4f} to {high:.4f}; momentum law: {one.momentum:.4f})"


def _best(best: Optimized) -> str:
    looked = ", ".join(f"{name} {value:.3g}" for name, value in best.trusted.items())
    one = best.forecast
    kwargs = repr(best.lr_scheduler_kwargs).replace("'", '"')
    lines = [
        "best cooldown within what the runs had, for TrainingArguments:",
        f'  lr_scheduler_type="{best.lr_scheduler_type}",',
        f"  lr_scheduler_kwargs={kwargs},",
        f"  learning_rate={one.peak_lr:g},",
        f"  max_steps={one.steps},",
        f"  {_told(one)}",
        f"  {best.label}",
        f"  looked at: {looked}",
    ]
    return "\n".join(lines)


def words(quantity: str) -> str:
    """What people call a quantity of a run.

    >>> words("eval_loss"), words("loss")
    ('held-out loss', 'training loss')
    """
    return "held-out loss" if quantity == "eval_loss" else "training loss"


def _draw_measured(above: Axes, below: Sequence[Axes], run: Observed, colour: str, marker: str, name: str) -> None:
    above.plot(*panels.thinned(np.arange(len(run.lrs)) + 1, run.lrs), color=colour, linewidth=1.2, zorder=1.5)
    grey = colour == panels.GREY
    dots: dict[str, Any] = {"markersize": 3.2 if grey else 4.5, "markeredgewidth": 0, "zorder": 1.5 if grey else 3}
    for axes in below:
        axes.plot(run.updates, run.loss, marker, color=colour, **dots)
    above.plot([], [], marker, color=colour, **dots, label=panels.literal(name))  # the legend's


def _draw_forecast(above: Axes, below: Sequence[Axes], one: Forecast, colour: str, style: Any, *, faint: bool) -> None:
    above.plot(
        *panels.thinned(one.step, one.lr), color=colour, linestyle=style, linewidth=1.8, label=panels.literal(one.name)
    )
    late = one.step >= _FIRST * one.steps
    for axes in below:
        for low, high, alpha in ((one.low, one.high, 0.16), (one.low50, one.high50, 0.24)):
            strength = 0.6 * alpha if faint else alpha
            axes.fill_between(one.step[late], low[late], high[late], color=colour, alpha=strength, linewidth=0)
        axes.plot(one.step[late], one.loss[late], color=colour, linestyle=style, linewidth=1.6)


def _draw_ends(axes: Axes, forecasts: Sequence[Forecast]) -> None:
    """The final losses, best above as they come: a line for 90 %, a bar for 50 %, and what the momentum law says."""
    for row, (one, (colour, style)) in enumerate(zip(forecasts, panels.styles(), strict=False)):
        axes.plot(one.interval(0.9), [row, row], color=colour, linestyle=style, linewidth=1.6)
        axes.plot(one.interval(0.5), [row, row], color=colour, linewidth=6, alpha=0.45, solid_capstyle="butt")
        axes.plot([one.final], [row], "o", color=colour, markersize=6)
        axes.plot([one.momentum], [row], "D", color=colour, markersize=5, fillstyle="none")
        said = "{:.4f}  ({:.4f} to {:.4f})".format(one.final, *one.interval(0.9))
        axes.annotate(said, (1.01, row), xycoords=("axes fraction", "data"), va="center", fontsize=9)
    axes.set_yticks(range(len(forecasts)), [panels.literal(one.name) for one in forecasts], fontsize=9)
    axes.set_ylim(len(forecasts) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#E0E0E0", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.locator_params(axis="x", nbins=6)
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
    """Above the axes, so many letters wide, in as many columns as the longest name leaves room for."""
    handles, labels = axes.get_legend_handles_labels()
    columns = max(1, min(4, width // (max(map(len, labels)) + 8)))
    axes.legend(handles, labels, frameon=False, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=columns, fontsize=9)
