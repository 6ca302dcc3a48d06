"""One self-contained HTML page about a run: curves that can be zoomed, phases, checkpoints, settings.

Plotly draws (``pip install 'hf-lrsched[report]'``); its bundle is written into the page, which opens without a network.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..runs.files import Checkpoint
from ..runs.history import History
from ..runs.summary import phases, summary
from . import panels
from .text import number

_TITLES = {"lr": "learning rate", "loss": "loss", "grad_norm": "gradient norm", "momentum": "momentum"}
_HEIGHTS = {"lr": 2.0, "loss": 3.0, "grad_norm": 1.3, "momentum": 1.0}
_DASHES = ("solid", "dash", "dashdot", "dot")


def report(
    run: History,
    file: str | Path,
    *,
    title: str = "",
    checkpoints: Sequence[Checkpoint] = (),
    findings: Sequence[Mapping[str, str]] = (),
) -> Path:
    """Writes the page, beside and then moved into place.

    Args:
        run: what is shown.
        file: where the page goes.
        title: the run's name; by default its source.
        checkpoints: those in the run's folder (`runs.files.checkpoints`); kept ones are its branch points.
        findings: what is worth knowing, each with ``title`` and ``text``; with ``kind`` "expected" it is blue.

    Returns:
        the file's path.

    Raises:
        ModuleNotFoundError: without plotly or jinja2, with the line that installs them.
    """
    try:
        from jinja2 import Environment
        from plotly.io import to_html
    except ModuleNotFoundError:
        raise ModuleNotFoundError("a report needs plotly and jinja2: pip install 'hf-lrsched[report]'") from None
    settings = {"displaylogo": False, "showSendToCloud": False, "plotlyServerURL": "", "responsive": True, "scrollZoom": True}
    curves = to_html(figure(run, checkpoints), full_html=False, include_plotlyjs=True, div_id="curves", config=settings)
    page = Environment(autoescape=True).from_string(Path(__file__).with_suffix(".html").read_text("utf-8"))
    text = page.render(
        title=title or Path(run.source).name or "a run",
        curves=curves,
        summary=_rows(run),
        phases=[_phase(one) for one in phases(run)],
        checkpoints=_checkpoint_rows(run, checkpoints),
        arguments=sorted((name, str(value)) for name, value in run.arguments.items()),
        findings=findings,
        source=run.source,
        missing=run.missing,
        unreadable=run.unreadable,
    )
    path = Path(file)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(text, "utf-8")
    return beside.replace(path)


def figure(run: History, checkpoints: Sequence[Checkpoint] = ()) -> Any:
    """The curves as a plotly figure: learning rate, loss, gradient norm and momentum over the same steps."""
    from plotly.subplots import make_subplots

    names = ["lr", "loss", *(["grad_norm"] if np.isfinite(run.grad_norm).any() else [])]
    names += ["momentum"] if np.unique(run.momentum[np.isfinite(run.momentum)]).size > 1 else []
    heights = [_HEIGHTS[name] for name in names]
    made = make_subplots(len(names), 1, shared_xaxes=True, vertical_spacing=0.04, row_heights=heights)
    _add_lrs(made, run)
    _add_losses(made, run)
    for row, name in enumerate(names[2:], start=3):
        _add(made, row, run.step, getattr(run, name), _TITLES[name], color=panels.GREEN, width=1, legend=False)
    spans = panels.phases(run, run.schedule)
    spans = spans if len(spans) <= panels.MOST else []  # each costs a quarter of a second
    for row, name in enumerate(names, start=1):
        made.update_yaxes(title_text=_TITLES[name], row=row, col=1)
        for i, (start, end, phase) in enumerate(spans):
            made.add_vrect(start, end, fillcolor=panels.SHADES[i % 2], layer="below", line_width=0, row=row, col=1)
            if row == 1:
                above = {"y": 1, "yref": "y domain", "yanchor": "bottom", "showarrow": False}
                made.add_annotation(x=(start + end) / 2, text=phase, **above)
    for event in run.events:
        if event.kind in ("resume", "cooldown"):
            made.add_vline(
                event.step,
                line_dash="dashdot",
                line_width=1,
                annotation_text=event.kind,
                annotation_position="bottom right",
                row=1,
                col=1,
            )
            made.add_vline(event.step, line_dash="dashdot", line_width=1, row=2, col=1)
    _add_checkpoints(made, run, checkpoints)
    made.update_yaxes(tickformat="~g", row=1, col=1)
    if "grad_norm" in names and panels.spans_decades(run.grad_norm):
        made.update_yaxes(type="log", row=3, col=1)
    made.update_xaxes(title_text="optimizer step", row=len(names), col=1)
    _lay_out(made, int(120 * sum(heights)))
    return made


def _lay_out(made: Any, height: int) -> None:
    def switch(axis: str, words: str, x: float) -> dict[str, Any]:
        kinds = [("linear", f"{words}: linear"), ("log", f"{words}: log")]
        buttons = [{"label": label, "method": "relayout", "args": [{f"{axis}.type": kind}]} for kind, label in kinds]
        return {
            "buttons": buttons,
            "x": x,
            "y": -0.08,
            "xanchor": "right",
            "yanchor": "top",
            "direction": "up",
            "showactive": True,
        }

    made.update_layout(
        template="plotly_white",
        height=height + 160,
        margin={"l": 70, "r": 20, "t": 50, "b": 110},
        hovermode="x unified",
        legend={"orientation": "h", "x": 0, "y": -0.08, "yanchor": "top"},
        updatemenus=[switch("yaxis", "LR", 0.87), switch("yaxis2", "loss", 1.0)],
    )


def _add(made: Any, row: int, x: Any, y: Any, name: str, *, legend: bool = True, **line: Any) -> None:
    from plotly.graph_objects import Scatter

    steps, values = panels.thinned(np.asarray(x), np.asarray(y, dtype=np.float64))
    # Lists, not arrays: those would be packed as base64 of doubles, larger than their digits.
    points = {"x": steps.tolist(), "y": [float(f"{value:.6g}") if math.isfinite(value) else None for value in values]}
    made.add_trace(
        Scatter(**points, name=name, mode="lines" if len(steps) > 1 else "lines+markers", line=line, showlegend=legend),
        row=row,
        col=1,
    )


def _add_lrs(made: Any, run: History) -> None:
    distinct = sorted(np.unique(run.lr, axis=1, return_index=True)[1].tolist()) if run.lr.size else []
    for i, group in enumerate(distinct):
        name = f"LR of group {run.groups[group] if group < len(run.groups) else group}" if len(distinct) > 1 else "LR"
        colour = panels.COLOURS[i % len(panels.COLOURS)]
        known = np.isfinite(run.lr[:, group])
        _add(made, 1, run.step[known], run.lr[known, group], name, color=colour, width=2, dash=_DASHES[i % len(_DASHES)])
    steps = panels.to_come(run, run.schedule)
    if run.schedule is not None and run.peak and len(steps):
        _add(
            made, 1, steps + 1, run.schedule.lrs(steps, run.peak[0]), "still to come", color=panels.BLUE, width=1, dash="dot"
        )


def _add_losses(made: Any, run: History) -> None:
    from plotly.graph_objects import Scatter

    _add(made, 2, run.step[run.logged], run.loss[run.logged], "training loss", color=panels.GREY, width=1)
    if len(run.eval_step):
        _add(made, 2, run.eval_step, run.eval_loss, "held-out loss", color=panels.ORANGE, width=2.5)
    wrong = panels.not_finite(run)
    if wrong.size:
        top = float(run.loss[np.isfinite(run.loss)].max(initial=0.0))
        marks = {"mode": "markers", "marker": {"symbol": "x", "color": "black"}}
        made.add_trace(Scatter(x=wrong.tolist(), y=[top] * len(wrong), name="loss not finite", **marks), row=2, col=1)


def _add_checkpoints(made: Any, run: History, checkpoints: Sequence[Checkpoint]) -> None:
    from plotly.graph_objects import Scatter

    for kept, name, symbol in ((False, "checkpoint", "triangle-up"), (True, "branch point", "star")):
        steps = [one.step for one in checkpoints if one.kept is kept]
        if steps:
            marks = {"mode": "markers", "marker": {"symbol": symbol, "size": 10, "color": "#404040"}}
            made.add_trace(Scatter(x=steps, y=[0] * len(steps), name=name, **marks), row=1, col=1)


def _rows(run: History) -> list[tuple[str, str]]:
    about = summary(run)
    planned = about["planned_steps"]
    of = f" of {planned:g}" if planned and planned < 100 * max(about["steps"], 1) else ""
    rows = [
        ("schedule", about["schedule"]),
        ("steps", f"{about['steps']}{of}"),
        ("highest learning rate", about["highest_lr"]),
        ("training loss at the end", about["last_loss"]),
        ("held-out loss", about["held_out_loss"]),
        (
            "best held-out loss",
            about["best_held_out_loss"] and f"{about['best_held_out_loss']:.4f} (step {about['best_step']})",
        ),
        ("steps whose loss was not finite", about["not_finite"] or None),
        ("skipped updates", about["skipped"] or None),
        ("tokens", about["tokens"]),
    ]
    return [(name, value if isinstance(value, str) else number(value)) for name, value in rows if value is not None]


def _phase(phase: Mapping[str, Any]) -> tuple[str, str, str, str]:
    first, last = phase["lr"]
    return phase["name"], str(phase["first"]), str(phase["steps"]), f"{number(first)} to {number(last)}"


def _checkpoint_rows(run: History, checkpoints: Sequence[Checkpoint]) -> list[tuple[int, str, str]]:
    """Those in the folder now, and those that were written and are gone."""
    there = {one.step: (one.step, one.folder.name, "branch point, kept" if one.kept else "checkpoint") for one in checkpoints}
    written = {event.step: event for event in run.events if event.kind == "checkpoint"}
    gone = [(step, event.text, "deleted") for step, event in written.items() if step not in there]
    return sorted([*there.values(), *(gone if checkpoints else [])])
