"""Pictures of schedules and runs, with matplotlib (``pip install 'hf-lrsched[plot]'``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..schedules.schedule import Schedule

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which stay apart for colour-blind eyes; lightness and line style tell them apart in grey.
_LR, _LOSS, _HELD_OUT = "#0072B2", "#8C8C8C", "#D55E00"
_SHADES = ("#FFFFFF", "#EDEDED")


def lr_and_loss(history: Sequence[Mapping[str, Any]], file: str | Path, schedule: Schedule | None = None) -> Path:
    """The learning rate above the loss, over the same steps, with the phases shaded.

    Args:
        history: a Trainer's ``state.log_history``: dicts with ``step`` and any of ``learning_rate``, ``loss``, ``eval_loss``.
        file: where the picture goes, by its ending (.png, .svg, .pdf); written beside and moved into place.
        schedule: for the phases; None leaves them out.

    Returns:
        the file's path.

    Raises:
        ModuleNotFoundError: without matplotlib, with the line that installs it.
    """
    figure = _figure(8.0, 5.0)
    above, below = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (2, 3)})
    above.plot(*_points("learning_rate", history), color=_LR, linewidth=2)
    above.set_ylabel("learning rate")
    above.set_ylim(bottom=0)
    below.plot(*_points("loss", history), color=_LOSS, linewidth=1, label="training loss")
    below.plot(*_points("eval_loss", history), color=_HELD_OUT, linewidth=2, marker="o", markersize=4, label="held-out loss")
    below.set_ylabel("loss")
    below.set_xlabel("optimizer step")
    if below.lines:
        below.legend(frameon=False)
    if schedule is not None:
        _shade(above, schedule, names=True)
        _shade(below, schedule, names=False)
    return _save(figure, Path(file))


def thumbnail(schedule: Schedule, file: str | Path) -> Path:
    """A small picture of one schedule without axes, for a table.

    Args:
        schedule: what is drawn, over its whole run.
        file: where the picture goes, by its ending.
    """
    figure = _figure(1.6, 0.6)
    axes = figure.add_axes((0.02, 0.06, 0.96, 0.88))
    axes.axis("off")
    values = schedule.values()
    axes.fill_between(range(len(values)), values, color=_LR, alpha=0.15, linewidth=0)
    axes.plot(values, color=_LR, linewidth=1.6)
    axes.set_ylim(-0.04, 1.06)
    return _save(figure, Path(file))


def _figure(width: float, height: float) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise ModuleNotFoundError("pictures need matplotlib: pip install 'hf-lrsched[plot]'") from None
    return Figure(figsize=(width, height), layout="constrained" if height > 1 else None)


def _points(key: str, history: Sequence[Mapping[str, Any]]) -> tuple[list[int], list[float]]:
    found = [(entry["step"], float(entry[key])) for entry in history if key in entry]
    return [step for step, _ in found], [value for _, value in found]


def _shade(axes: Axes, schedule: Schedule, *, names: bool) -> None:
    spans = schedule.spans()
    if len(spans) > 24:  # stripes that nobody could tell apart
        return
    for i, (start, end, phase) in enumerate(spans):
        axes.axvspan(start, end, color=_SHADES[i % 2], linewidth=0, zorder=0)
        if names and (end - start) * 14 > schedule.total:  # narrower ones have no room for their name
            axes.annotate(
                phase.name,
                ((start + end) / 2, 1.01),
                xycoords=("data", "axes fraction"),
                ha="center",
                va="bottom",
                fontsize=9,
            )


def _save(figure: Figure, file: Path) -> Path:
    """Written beside and moved into place, so that a reader never finds half a picture."""
    beside = file.with_name(f".{file.stem}.part{file.suffix}")
    import matplotlib as mpl

    metadata = {"Date": None} if file.suffix == ".svg" else None
    with mpl.rc_context({"svg.hashsalt": "hf_lrsched"}):  # with the date left out: the same picture, the same file
        figure.savefig(beside, dpi=130, metadata=metadata)
    return beside.replace(file)
