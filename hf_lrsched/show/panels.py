"""What the pictures are made of: axes, shades of the phases, marks, curves thinned to what a picture can show."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..runs.history import History
from ..runs.summary import phases as recorded_phases
from ..schedules.schedule import Schedule
from ..schedules.splice import cycle_ends

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#8C8C8C"
COLOURS = (BLUE, ORANGE, GREEN, "#E69F00", "#56B4E9", "#CC79A7", "#000000")
_STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
SHADES = ("#FFFFFF", "#EDEDED")
MOST = 24  # phases or restarts; more are stripes that nobody could tell apart
_LETTERS = 105  # of the names above a picture, over its whole width
_CEILING = 100  # times the steps taken: an end so far off is that of a run which is stopped otherwise
_POINTS = 4000  # of a curve; more than twice the pixels of a picture show nothing more


def styles() -> Iterator[tuple[str, Any]]:
    """Colours with line styles, without end; the first seven differ in both."""
    return zip(cycle(COLOURS), cycle(_STYLES), strict=True)


def figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches, that no window shows."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise ModuleNotFoundError("pictures need matplotlib: pip install 'hf-lrsched[plot]'") from None
    return Figure(figsize=(width, height), layout="constrained" if height > 1 else None)


def limit_loss(axes: Axes, histories: Sequence[History]) -> None:
    """Keeps one spike from flattening everything else: the axis ends a little above all but the highest 0.1 %."""
    parts = [part[np.isfinite(part)] for run in histories for part in (run.loss, run.eval_loss)]
    losses = np.concatenate(parts) if parts else np.array([])
    if losses.size < 20 or axes.get_yscale() == "log":
        return
    low, usual, highest = float(losses.min()), float(np.quantile(losses, 0.999)), float(losses.max())
    first = max(float(part[0]) for part in parts if part.size)  # where a run began is worth seeing
    top = max(usual, first)
    if highest - low > 2 * (top - low) > 0:
        axes.set_ylim(low - 0.05 * (top - low), top + 0.1 * (top - low))


def phases(run: History, plan: Schedule | None) -> list[tuple[float, float, str]]:
    """First step, step after the last, and name: what was recorded and is still to come, else what was planned."""
    recorded = [
        (float(one["first"]) - 1, float(one["first"] - 1 + one["steps"]), one["name"]) for one in recorded_phases(run)
    ]
    if plan is None or (recorded and not len(to_come(run, plan))):
        return recorded
    last = recorded[-1][1] if recorded else 0.0
    shown = math.inf if len(to_come(run, plan)) or not len(run) else float(run.step[-1])
    planned = [(max(start, last), min(end, shown), phase.name) for start, end, phase in plan.spans() if end > last]
    planned = [span for span in planned if span[0] < span[1]]
    if recorded and planned and planned[0][2] == recorded[-1][2]:  # one phase, half of it still to come
        planned[0] = (recorded.pop()[0], planned[0][1], planned[0][2])
    return recorded + planned


def to_come(run: History, plan: Schedule | None) -> npt.NDArray[np.float64]:
    """The plan's steps that `run` has not reached; none after a cooldown, or where the plan's end is only a ceiling."""
    last = int(run.step[-1]) if len(run) else 0
    if (
        plan is None
        or not last < plan.total < _CEILING * max(last, 1)
        or any(event.kind == "cooldown" for event in run.events)
    ):
        return np.array([], dtype=np.float64)
    return last + spread(math.ceil(plan.total) - last)


def not_finite(run: History) -> npt.NDArray[np.int64]:
    """The steps whose loss was NaN or infinite; none of a log of means, whose gaps are of another kind."""
    return run.step[run.logged & ~np.isfinite(run.loss)] if run.averaged == 1 else run.step[:0]


def shade(axes: Axes, spans: Sequence[tuple[float, float, str]], *, names: bool) -> None:
    """Shades every other phase; where there is one alone, or very many, none."""
    if not 1 < len(spans) <= MOST:
        return
    first, width, taken = spans[0][0], spans[-1][1] - spans[0][0], 0.0
    for i, (start, end, name) in enumerate(spans):
        axes.axvspan(start, end, color=SHADES[i % 2], linewidth=0, zorder=0)
        middle = ((start + end) / 2 - first) / width * _LETTERS
        fits = middle - len(name) / 2 > taken - 3 and 2 * (end - start) / width * _LETTERS > len(name)
        if names and fits and name != (spans[i - 1][2] if i else ""):
            taken = middle + len(name) / 2 + 4
            at = ((start + end) / 2, 1.01)
            axes.annotate(literal(name), at, xycoords=("data", "axes fraction"), ha="center", va="bottom", fontsize=9)


def mark(axes: Axes, run: History, plan: Schedule | None) -> None:
    """Vertical lines where the run was resumed or told to cool down, and where a cycle begins anew."""
    marks = [(event.step, event.kind, "-.") for event in run.events if event.kind in ("resume", "cooldown")]
    last = math.inf if len(to_come(run, plan)) or not len(run) else float(run.step[-1])
    restarts = [step for step in cycle_ends(plan)[:-1] if step <= last] if plan is not None else []
    marks += [(step, "restart", ":") for step in restarts if len(restarts) <= MOST]
    for kind in dict.fromkeys(kind for _, kind, _ in marks):
        for i, (step, _, style) in enumerate(mark for mark in marks if mark[1] == kind):
            axes.axvline(step, color="#404040", linewidth=0.9, linestyle=style, label=None if i else kind)


def literal(name: str) -> str:
    """A name as matplotlib shows it letter by letter: between two dollars it would see a formula."""
    return name.replace("$", r"\$")


def legend_above(axes: Axes) -> None:
    """A legend in rows above the axes, where no curve runs through it."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=4, fontsize=9)


def label(axes: Axes, words: str, *, log: bool, from_zero: bool = True) -> None:
    """What every panel has: the name of its quantity, its scale, and steps as 2k and 1.5M."""
    from matplotlib.ticker import EngFormatter, FuncFormatter, NullFormatter

    axes.set_ylabel(words)
    shown = [np.asarray(line.get_ydata(), dtype=np.float64) for line in axes.lines]
    if log and any((values > 0).any() for values in shown):
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter(NullFormatter())
    elif from_zero:
        axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.margins(x=0.01)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def learning_rates(axes: Axes) -> None:
    """Learning rates along the axis below, in powers of ten, where `label` has put steps."""
    from matplotlib.ticker import LogFormatterMathtext

    axes.xaxis.set_major_formatter(LogFormatterMathtext())


def spans_decades(values: npt.NDArray[np.float64]) -> bool:
    """Whether a straight axis would hide the lower values."""
    known = values[np.isfinite(values) & (values > 0)]
    return known.size > 1 and bool(known.max() > 30 * known.min())


def spans_powers(losses: npt.NDArray[np.float64]) -> bool:
    """Whether a loss, always positive, went beyond a thousand times its median: no loss of a healthy run begins there."""
    known = losses[np.isfinite(losses)]
    return known.size > 1 and bool(known.min() > 0 and known.max() > 1000 * np.median(known))


def spread(steps: int) -> npt.NDArray[np.float64]:
    """Every step of a short run, and so many of a long one."""
    return np.arange(steps, dtype=np.float64) if steps <= _POINTS else np.unique(np.linspace(0, steps - 1, _POINTS).round())


def thinned(x: npt.NDArray[Any], y: npt.NDArray[np.float64]) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64]]:
    """A long curve as the lowest and highest point of each stretch, so that no spike is lost; gaps where none is finite."""
    known = np.isfinite(y)
    if len(y) <= _POINTS:
        return (x[known], y[known]) if known.all() or known.sum() < 2 else (x, np.where(known, y, np.nan))
    kept: list[int] = []
    for part in np.array_split(np.arange(len(y)), _POINTS // 2):
        there = part[known[part]]
        ends = {int(there[np.argmin(y[there])]), int(there[np.argmax(y[there])])} if there.size else {int(part[0])}
        kept += sorted(ends)
    return x[kept], np.where(known[kept], y[kept], np.nan)


def saved(figure: Figure, file: str | Path | None) -> Figure:
    """Written beside and moved into place, so that a reader never finds half a picture."""
    if file is None:
        return figure
    import matplotlib as mpl

    path = Path(file)
    beside = path.with_name(f".{path.stem}.part{path.suffix}")
    metadata = {"Date": None} if path.suffix == ".svg" else None
    with mpl.rc_context({"svg.hashsalt": "hf_lrsched"}):  # with the date left out: the same picture, the same file
        figure.savefig(beside, dpi=130, metadata=metadata)
    beside.replace(path)
    return figure
