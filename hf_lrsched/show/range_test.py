"""A learning-rate range test as a picture and as text: reached as ``hf_lrsched.plot.range_test`` and ``text.range_test``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..runs.probing import outcomes
from ..runs.range_test import RangeTest
from ..runs.smoothing import smoothed
from . import panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def picture(test: RangeTest, file: str | Path | None = None) -> Figure:
    """Loss, short runs and gradient norm over the learning rate, with the interval shaded and the suggestion marked.

    Args:
        test: what was found.
        file: where the picture goes, by its ending (.png, .svg, .pdf); written beside and moved into place.

    >>> from hf_lrsched.runs.ramp import Trace
    >>> rates = np.geomspace(1e-7, 1, 100)
    >>> ramp = Trace(rates, 4 - 1.5 / (1 + 1e-3 / rates) + rates / 0.02, 1 + rates, rates)
    >>> [axes.get_ylabel() for axes in picture(RangeTest(ramp, (), "wsd", 1000, 1e-3, 1e-3)).axes]
    ['loss (ramp)', 'gradient norm']

    Raises:
        ModuleNotFoundError: without matplotlib, with the line that installs it.
    """
    parts = ["loss", *(["probes"] if test.probes else []), *(["norm"] if np.isfinite(test.ramp.grad_norm).any() else [])]
    heights = {"loss": 3.0, "probes": 2.0, "norm": 1.3}
    figure = panels.figure(8.0, 1.0 + 1.1 * sum(heights[part] for part in parts))
    drawn = figure.subplots(len(parts), 1, sharex=True, squeeze=False, height_ratios=[heights[part] for part in parts])[:, 0]
    axes = dict(zip(parts, drawn, strict=True))
    _draw_ramp(axes["loss"], test)
    if "probes" in axes:
        _draw_probes(axes["probes"], test)
    if "norm" in axes:
        norms = test.ramp.grad_norm
        axes["norm"].plot(test.ramp.lr, norms, ".", color=panels.GREY, markersize=4)
        smooth = np.exp(smoothed(np.log(np.where(norms > 0, norms, np.nan)), test.width * test.points_per_decade))
        axes["norm"].plot(test.ramp.lr, smooth, color=panels.GREEN, linewidth=1.6)
        log = panels.spans_decades(norms)
        panels.label(axes["norm"], "gradient norm", log=log, from_zero=False)
    for part, panel in axes.items():
        panel.set_xscale("log")
        panels.learning_rates(panel)
        if test.interval is not None and test.lr is not None:
            low, high = (end * test.highest for end in test.interval)
            panel.axvspan(low, high, color=panels.BLUE, alpha=0.12, linewidth=0, label="interval")
            panel.axvline(test.lr * test.highest, color=panels.BLUE, linewidth=1.6, label=f"suggestion: {test.lr:.2g}")
        if part == "loss":
            panel.legend(framealpha=0.8, edgecolor="none", fontsize=9, loc="lower left")
    drawn[-1].set_xlabel("learning rate")
    lr = test.refusal.kind.replace("_", " ") if test.refusal else f"{test.lr:.2g}, confidence {test.confidence}"
    drawn[0].set_title(panels.literal(f"{test.schedule}, {test.steps} steps: {lr}"), loc="left", fontsize=10)
    return panels.saved(figure, file)


def _draw_ramp(axes: Axes, test: RangeTest) -> None:
    marks, ramp = test.landmarks, test.ramp
    axes.plot(ramp.lr, ramp.loss, ".", color=panels.GREY, markersize=4, label="loss of each step")
    axes.plot(ramp.lr, marks.smooth, color=panels.ORANGE, linewidth=2, label="smoothed, centred")
    for at, words, style in (
        (test.lr_low, "begins to fall", ":"),
        (test.lr_steepest, "steepest", "--"),
        (test.lr_max, "turns unstable", "-."),
    ):
        if at is not None:
            axes.axvline(at, color="#404040", linewidth=0.9, linestyle=style, label=f"{words}: {at:.2g}")
    panels.label(axes, "loss (ramp)", log=False, from_zero=False)
    if math.isfinite(marks.start):
        fall = max(marks.start - marks.lowest, 4 * marks.sigma, 1e-12)
        axes.set_ylim(marks.lowest - 0.35 * fall, marks.start + 0.6 * fall)


def _draw_probes(axes: Axes, test: RangeTest) -> None:
    seen = {lr: loss for lr, loss in outcomes(test.probes).items() if math.isfinite(loss)}
    for probe in test.probes:
        axes.plot([probe.lr], [probe.final], ".", color=panels.GREY, markersize=4)
    axes.plot(list(seen), list(seen.values()), "o-", color=panels.ORANGE, markersize=5, linewidth=1.2)
    panels.label(axes, f"loss ({test.probes[0].steps}-step runs)", log=False, from_zero=False)
    if seen:
        worst = min(max(seen.values()), max(test.landmarks.start, min(seen.values())))
        room = 0.1 * max(worst - min(seen.values()), 1e-6)
        axes.set_ylim(min(seen.values()) - room, worst + room)


def text(test: RangeTest) -> str:
    """The report: the suggestion or the refusal, what it rests on, and what it is for.

    >>> from hf_lrsched.runs.ramp import Trace
    >>> rates = np.geomspace(1e-7, 1, 100)
    >>> losses = 4 - 1.5 / (1 + (1e-3 / rates) ** 1.3) + (rates / 0.02) ** 2
    >>> print(text(RangeTest(Trace(rates, losses, losses, rates), (), "wsd", 1000, 1e-3, 1e-3)))
    learning_rate:     0.0021  (between 0.00082 and 0.0051; confidence low)
    for:               wsd over 1000 steps (configured: 0.001)
    begins to fall:    0.00015
    falls fastest:     0.00091
    turns unstable:    0.012  (5.9 times the suggestion; rule of thumb: 1 to 10)
    ramp:              0.0021 at its knee, 100 steps
    short runs:        none, so the confidence is low
    an update there:   0.21 % of the size of the weights, on the ramp
    cost:              100 steps, 10 % of the run
    """
    ramped, probed = test.cost
    rows: list[tuple[str, str]] = []
    if test.refusal is not None or test.lr is None or test.interval is None:
        rows.append(("no learning rate", test.refusal.sentence if test.refusal else ""))
        if test.refusal and test.refusal.range:
            rows.append(("range to try", "{:.2g} to {:.2g}".format(*test.refusal.range)))
    else:
        low, high = test.interval
        said = f"{test.lr:.2g}  (between {low:.2g} and {high:.2g}; confidence {test.confidence})"
        rows.append(("learning_rate", said))
        rows.append(("for", f"{test.schedule} over {test.steps} steps (configured: {test.learning_rate:.2g})"))
    for name, at in (("begins to fall", test.lr_low), ("falls fastest", test.lr_steepest), ("turns unstable", test.lr_max)):
        above = ""
        if at is not None and name == "turns unstable" and test.lr is not None:
            above = f"  ({_times(at / (test.lr * test.highest))} times the suggestion; rule of thumb: 1 to 10)"
        unseen = "not within the range" if test.readable or name == "turns unstable" else "not clear of the noise"
        rows.append((name, unseen if at is None else f"{at:.2g}{above}"))
    knee = f"{test.landmarks.knee:.2g} at its knee, " if test.readable and test.landmarks.knee is not None else ""
    skipped = f", {test.ramp.skipped} updates skipped" if test.ramp.skipped else ""
    rows.append(("ramp", f"{knee}{ramped} steps{skipped}"))
    rows.append(("short runs", _runs(test, probed)))
    if test.lr is not None and np.isfinite(moved := _update(test, test.lr * test.highest)):
        rows.append(("an update there", f"{100 * moved:.2g} % of the size of the weights, on the ramp"))
    if test.lr is not None and not math.isclose(test.unit, test.learning_rate):
        rows.append(("which group", f"the one that had {test.unit:.2g}; others keep their ratio to it"))
    if test.lr is not None and test.highest != 1:
        rows.append(("its peak", f"{test.lr * test.highest:.2g}; the scheduler reaches {test.highest:.2g} times what is set"))
    share = 100 * (ramped + probed) / test.steps
    rows.append(
        ("cost", f"{ramped + probed} steps, {share:.0f} % of the run" + (", so longer than it" if share > 100 else ""))
    )
    return "\n".join(f"{name + ':':<18} {value}".rstrip() for name, value in rows)


def _times(factor: float) -> str:
    return f"{factor:.2g}" if factor < 100 else f"{factor:.0f}"


def _update(test: RangeTest, lr: float) -> float:
    """The size of an update on the ramp at a learning rate, over that of the weights."""
    known = np.isfinite(test.ramp.update_ratio) & (test.ramp.update_ratio > 0)
    if not known.any():
        return math.nan
    return float(np.exp(np.interp(math.log(lr), np.log(test.ramp.lr[known]), np.log(test.ramp.update_ratio[known]))))


def _runs(test: RangeTest, steps: int) -> str:
    if not test.probes:
        return "none, so the confidence is low"
    seen = ", ".join(f"{lr:.2g}: {loss:.4g}" for lr, loss in outcomes(test.probes).items())
    seeds = len({probe.seed for probe in test.probes})
    orders = f" in {seeds} orders of the data" if seeds > 1 else ""
    return f"{steps} steps, {test.probes[0].steps} each{orders}; loss at the end: {seen}"
