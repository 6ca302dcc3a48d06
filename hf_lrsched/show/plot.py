"""Pictures of schedules and runs, with matplotlib (``pip install 'hf-lrsched[plot]'``).

Every function returns a matplotlib `Figure`, and writes it where a file is given. None touches pyplot, so nothing pops up and
a notebook shows what a cell returns. Colours are Okabe and Ito's, which stay apart for colour-blind eyes; line styles tell
them apart in grey.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..runs.diagnosis import Finding
from ..runs.history import History
from ..schedules.catalogue import build
from ..schedules.lengths import Horizon
from ..schedules.schedule import Schedule
from ..schedules.spec import from_spec
from . import findings as marks
from . import panels
from .forecast import picture as forecast
from .forecast import predicted_and_measured
from .range_test import picture as range_test

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "findings", "forecast", "lr_and_loss", "predicted_and_measured", "range_test", "read_spec", "runs", "schedules",
    "thumbnail",
]  # fmt: skip

_GROUPS = 7  # parameter groups of different LRs in one picture; more could not be told apart

Shown = Schedule | str | Mapping[str, Any]
"""A schedule, its name in the catalogue, or its spec."""


def schedules(
    *shown: Shown, file: str | Path | None = None, steps: int = 1000, peak: float = 1.0, log: bool = False, **words: Any
) -> Figure:
    """Schedules over their steps, one or several in one picture, with the phases of a single one shaded.

    Args:
        shown: schedules, names of the catalogue, specs (see `to_spec`), or paths of JSON files that hold one.
        file: where the picture goes, by its ending (.png, .svg, .pdf); written beside and moved into place.
        steps: optimizer steps of those that are named.
        peak: the learning rate that multiplier 1 stands for.
        log: a logarithmic axis for the learning rate.
        words: arguments of those that are named.

    >>> from hf_lrsched import wsd
    >>> figure = schedules("warmup_cosine", wsd(1000), peak=3e-4)
    >>> figure.axes[0].get_ylabel(), [line.get_label() for line in figure.axes[0].lines]
    ('learning rate', ['warmup_cosine', 'wsd'])

    Raises:
        ValueError: where nothing is given, or a name, an argument or a spec cannot be read.
        ModuleNotFoundError: without matplotlib, with the line that installs it.
    """
    if not shown:
        raise ValueError("nothing to draw: give a schedule, a name of the catalogue such as 'wsd', or a spec")
    made = [_schedule(one, Horizon(steps, peak=peak), words) for one in shown]
    figure = panels.figure(8.0, 3.6)
    axes = figure.subplots()
    for schedule, (colour, style) in zip(made, panels.styles(), strict=False):
        at = panels.spread(math.ceil(schedule.total))
        label = panels.literal(schedule.name or "schedule")
        axes.plot(at, schedule.lrs(at, peak), color=colour, linestyle=style, linewidth=2, label=label)
    panels.label(axes, "share of the peak" if peak == 1.0 else "learning rate", log=log)
    axes.set_xlabel("optimizer step")
    if len(made) == 1:
        panels.shade(axes, [(start, end, phase.name) for start, end, phase in made[0].spans()], names=True)
        axes.set_title(panels.literal(made[0].name), loc="left", pad=18 if len(made[0].spans()) > 1 else 6)
    else:
        panels.legend_above(axes)
    return panels.saved(figure, file)


def lr_and_loss(
    history: History | Sequence[Mapping[str, Any]],
    file: str | Path | None = None,
    *,
    schedule: Schedule | None = None,
    log_lr: bool = False,
    log_loss: bool = False,
) -> Figure:
    """The learning rate above the loss, over the same steps; below them the gradient norm, where it is known.

    Phases are shaded, restarts and resumes marked, and steps whose loss was NaN or infinite stand at the upper edge. What is
    still to come of a schedule is drawn thin.

    Args:
        history: a run (`read_history`), or a Trainer's ``state.log_history``.
        file: where the picture goes, by its ending (.png, .svg, .pdf); written beside and moved into place.
        schedule: what the run follows, where the history does not say.
        log_lr, log_loss: logarithmic axes.

    >>> log = [{"step": 1, "loss": 3.0, "learning_rate": 1e-3}, {"step": 2, "loss": 2.0, "learning_rate": 5e-4}]
    >>> [axes.get_ylabel() for axes in lr_and_loss(log).axes]
    ['learning rate', 'loss']
    """
    return findings(history, (), file, schedule=schedule, log_lr=log_lr, log_loss=log_loss)


def findings(
    history: History | Sequence[Mapping[str, Any]],
    found: Sequence[Finding],
    file: str | Path | None = None,
    *,
    schedule: Schedule | None = None,
    log_lr: bool = False,
    log_loss: bool | None = None,
) -> Figure:
    """What `lr_and_loss` draws, with what was found in the run marked and told.

    A finding is shaded from where it began to where it was found, orange where it needs attention, blue where it is expected.
    Its number, as in `text.findings`, stands between the panels; what the first eight are is said below.

    Args:
        history, file, schedule, log_lr, log_loss: as `lr_and_loss` has them; by default the loss has a logarithmic axis where
            the run threw it up so far that a straight one would show nothing else.
        found: what `diagnose` gave back.

    >>> log = [{"step": step, "loss": 9.0 if step == 4 else 2.0, "lr": 1e-3} for step in range(1, 9)]
    >>> jump = Finding("spike", "bad batch", 4, 4, "the loss jumped", "2 to 9", "nothing")
    >>> [axes.get_ylabel() for axes in findings(log, [jump]).axes]
    ['learning rate', '', 'loss', '']
    """
    run = history if isinstance(history, History) else History.of(history)
    plan = schedule if schedule is not None else run.schedule
    long = max([*run.step[-1:], *run.eval_step[-1:], *panels.to_come(run, plan)[-1:]], default=0)
    rows = marks.placed(found, float(long))
    if log_loss is None:
        log_loss = panels.spans_powers(run.loss)
    figure, axes, below = _panels(run, rows, len(marks.key_lines(found)))
    _draw_lr(axes["lr"], run, plan, log=log_lr)
    _draw_loss(axes["loss"], run, log=log_loss)
    for name, words in (("grad_norm", "gradient norm"), ("momentum", "momentum")):
        if name in axes:
            axes[name].plot(*panels.thinned(run.step, getattr(run, name)), color=panels.GREEN, linewidth=0.9)
            panels.label(axes[name], words, log=name == "grad_norm" and panels.spans_decades(run.grad_norm), from_zero=False)
    spans = panels.phases(run, plan)
    for name in [name for name in axes if name != "findings"]:
        panels.shade(axes[name], spans, names=name == "lr")
        panels.mark(axes[name], run, plan)
    if axes["loss"].lines:
        axes["loss"].legend(frameon=False, fontsize=9)
    list(axes.values())[-1].set_xlabel("optimizer step")
    if below is not None:
        marks.mark(axes, found, rows)
        marks.key(below, found)
    return panels.saved(figure, file)


def runs(
    histories: Mapping[str, History], file: str | Path | None = None, *, log_lr: bool = False, log_loss: bool = False
) -> Figure:
    """Several runs over each other: learning rates above, losses below, held-out losses as thick lines with dots.

    Args:
        histories: runs by the name that the legend gives them.
        file: where the picture goes, by its ending.
        log_lr, log_loss: logarithmic axes.

    >>> runs({"a": History.of([{"step": 1, "loss": 3.0, "lr": 1e-3}])}).axes[1].get_ylabel()
    'loss'

    Raises:
        ValueError: where there is no run.
    """
    if not histories:
        raise ValueError("nothing to draw: give at least one run")
    figure = panels.figure(8.0, 5.4)
    above, below = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (2, 3)})
    for (name, run), (colour, style) in zip(histories.items(), panels.styles(), strict=False):
        if run.lr.size:
            above.plot(
                *panels.thinned(run.step, run.lr.max(axis=1)),
                color=colour,
                linestyle=style,
                linewidth=1.8,
                label=panels.literal(name),
            )
        thin = 0.35 if len(run.eval_step) else 0.9
        below.plot(*panels.thinned(run.step, run.loss), color=colour, linestyle=style, linewidth=0.9, alpha=thin)
        below.plot(run.eval_step, run.eval_loss, color=colour, linestyle=style, linewidth=2, marker="o", markersize=3.5)
    panels.label(above, "learning rate", log=log_lr)
    held_out = any(len(run.eval_step) for run in histories.values())
    panels.label(below, "loss (dots: held-out)" if held_out else "loss", log=log_loss, from_zero=False)
    panels.limit_loss(below, list(histories.values()))
    below.set_xlabel("optimizer step")
    panels.legend_above(above)
    return panels.saved(figure, file)


def thumbnail(schedule: Schedule, file: str | Path | None = None) -> Figure:
    """A small picture of one schedule without axes, for a table.

    Args:
        schedule: what is drawn, over its whole run.
        file: where the picture goes, by its ending.
    """
    figure = panels.figure(1.6, 0.6)
    axes = figure.add_axes((0.02, 0.06, 0.96, 0.88))
    axes.axis("off")
    values = schedule.values()
    axes.fill_between(range(len(values)), values, color=panels.BLUE, alpha=0.15, linewidth=0)
    axes.plot(values, color=panels.BLUE, linewidth=1.6)
    axes.set_ylim(-0.04, 1.06)
    return panels.saved(figure, file)


def _schedule(shown: Shown | Path, run: Horizon, words: Mapping[str, Any]) -> Schedule:
    if isinstance(shown, Schedule):
        return shown
    if isinstance(shown, Mapping):
        return from_spec(shown)
    if str(shown).endswith(".json"):
        return read_spec(shown)
    return build(str(shown), run, **words)


def read_spec(file: str | Path) -> Schedule:
    """The schedule in a JSON file: a spec, or something that holds one as its ``schedule`` (a model card's file).

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: where it holds no spec.
    """
    path = Path(file)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        read = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if isinstance(read, dict) and isinstance(read.get("schedule"), dict):
        read = read["schedule"]
    return from_spec(read)


def _panels(run: History, rows: Sequence[int], lines: int) -> tuple[Figure, dict[str, Axes], Axes | None]:
    """The figure of a run, its panels by what they show, and below them room for so many lines about what was found."""
    heights = {"lr": 2.0, **({"findings": marks.LANE * (max(rows) + 1)} if rows else {}), "loss": 3.0}
    heights |= {"grad_norm": 1.3} if np.isfinite(run.grad_norm).any() else {}
    heights |= {"momentum": 1.0} if np.unique(run.momentum[np.isfinite(run.momentum)]).size > 1 else {}
    tall = 5.0 + 1.2 * len(heights.keys() & {"grad_norm", "momentum"}) + heights.get("findings", 0.0)
    figure = panels.figure(8.0, tall + marks.LINE * lines)
    parts = figure.subfigures(2, 1, squeeze=False, height_ratios=[tall, marks.LINE * lines])[:, 0] if lines else [figure]
    drawn = parts[0].subplots(len(heights), 1, sharex=True, gridspec_kw={"height_ratios": list(heights.values())})
    below = parts[1].add_axes((0.01, 0, 0.98, 1)) if lines else None
    return figure, dict(zip(heights, drawn, strict=True)), below


def _draw_lr(axes: Axes, run: History, plan: Schedule | None, *, log: bool) -> None:
    groups = np.unique(run.lr, axis=1, return_index=True)[1] if run.lr.size else np.array([], dtype=int)
    for group, (colour, style) in zip(sorted(groups.tolist())[:_GROUPS], panels.styles(), strict=False):
        name = run.groups[group] if group < len(run.groups) else str(group)
        known = np.isfinite(run.lr[:, group])
        curve = panels.thinned(run.step[known], run.lr[known, group])
        label = f"group {panels.literal(name)}" if len(groups) > 1 else None
        dot = "." if len(curve[0]) == 1 else None
        axes.plot(*curve, color=colour, linestyle=style, linewidth=2, label=label, marker=dot)
    steps = panels.to_come(run, plan)
    if plan is not None and run.peak and len(steps):
        axes.plot(steps + 1, plan.lrs(steps, run.peak[0]), color=panels.BLUE, linewidth=0.9, linestyle=":")
    panels.label(axes, "learning rate", log=log)
    if len(groups) > 1:
        axes.legend(frameon=False, fontsize=9)


def _draw_loss(axes: Axes, run: History, *, log: bool) -> None:
    curve = panels.thinned(run.step[run.logged], run.loss[run.logged])
    axes.plot(*curve, color=panels.GREY, linewidth=1, label="training loss", marker="." if len(curve[0]) == 1 else None)
    if len(run.eval_step):
        dots: dict[str, Any] = {"marker": "o", "markersize": 4} if len(run.eval_step) < 50 else {}
        axes.plot(run.eval_step, run.eval_loss, color=panels.ORANGE, linewidth=2, label="held-out loss", **dots)
    panels.label(axes, "loss", log=log, from_zero=False)
    panels.limit_loss(axes, [run])
    wrong = panels.not_finite(run)
    if wrong.size:
        # On the axes' own upper edge, whatever the losses are.
        said = f"not finite: {wrong.size} step{'s' * (wrong.size > 1)}"
        on_edge = axes.get_xaxis_transform()
        axes.plot(*panels.thinned(wrong, np.ones(len(wrong))), "kx", transform=on_edge, clip_on=False, label=said)
