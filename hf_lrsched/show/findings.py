"""What was found in runs: as text, on a page, and marked in a picture of `plot.lr_and_loss`.

Reached as ``text.findings`` and as the ``findings`` of ``plot.lr_and_loss``.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..runs.diagnosis import Finding
from ..runs.files import HISTORY
from ..runs.history import History
from . import panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.transforms import Transform

ATTENTION, EXPECTED = panels.ORANGE, "#56B4E9"
_IN_KEY = 8  # findings that the key of a picture holds; its panels number all
_NARROWEST = 40  # columns; below that, words stand alone on their lines
LANE, LINE = 0.24, 0.24  # inches of a row of numbers, and of a line that tells what one stands for
_CLOSE = 0.03  # of the steps; numbers closer than that would lie on each other
_HIDDEN = 10  # sentences on what many logs do not show
_ROWS = 8  # of numbers in a picture; what needs more shares the last


class Seen(NamedTuple):
    """A run, and what was found in it."""

    name: str
    steps: int | None
    found: tuple[Finding, ...]
    doubt: str = ""  # why nothing can be said of it
    not_seen: tuple[str, ...] = ()

    @property
    def attention(self) -> bool:
        """Whether somebody should look."""
        return any(one.attention for one in self.found)


def text(found: Sequence[Finding], *, width: int = 100) -> str:
    """Findings as a table, each with what is seen, the evidence and what to do below it.

    Args:
        found: what `diagnose` gave back; numbered in that order, as in the picture.
        width: columns at which sentences are wrapped.

    >>> rose = Finding("spike", "bad batch", 503, 500, "the loss jumped and came back", "2.1 to 5.9.", "Nothing.")
    >>> print(text([rose]))
    #  steps    symptom  likely cause  peak LR  confidence
    1  500-503  spike    bad batch     -        medium      needs attention
       seen      the loss jumped and came back
       evidence  2.1 to 5.9.
       to do     Nothing.
    """
    if not found:
        return ""
    rows: list[Sequence[str]] = [("#", "steps", "symptom", "likely cause", "peak LR", "confidence", "")]
    rows += [(str(i), *_row(one)) for i, one in enumerate(found, start=1)]
    head, *lines = _columns(rows)
    indent = " " * (len(str(len(found))) + 2)
    for i, one in enumerate(found):
        lines[i] += "".join(f"\n{part}" for part in _sentences(one, indent, width))
    return "\n".join([head, *lines])


def says(run: Seen) -> str:
    """How a run is, in one line.

    >>> says(Seen("a", 100, ())), says(Seen("b", None, (), "cannot tell: it holds no loss"))
    ('a: nothing needs attention', 'b: cannot tell: it holds no loss')
    """
    if not run.found:
        return f"{run.name}: {run.doubt or 'nothing needs attention'}"
    looked = [f"{one.symptom} at step {one.since}" for one in run.found if one.attention]
    expected = len(run.found) - len(looked)
    rest = f"{expected} worth knowing" if expected else ""
    said = f"needs attention: {', '.join(looked)}" if looked else "nothing needs attention"
    return f"{run.name}: {said}{f'; {rest}' if rest else ''}"


def details(run: Seen, *, width: int = 100) -> str:
    """How a run is, what was found in it, and what could not be seen."""
    parts = [says(run), text(run.found, width=width)]
    if run.not_seen:
        parts.append(textwrap.fill(f"not seen: {'; '.join(run.not_seen)}", max(width, _NARROWEST), subsequent_indent="  "))
    return "\n\n".join(part for part in parts if part)


def overview(runs: Sequence[Seen]) -> str:
    """Many runs in a table, those that need attention first, and their number.

    >>> print(overview([Seen("a", 100, ()), Seen("b", None, (), "could not be read: it is empty")]))
    run  steps  needs attention
    b        -  could not be read: it is empty
    a      100  nothing
    <BLANKLINE>
    0 of 2 runs need attention, 1 could not be read or judged
    """
    ordered = sorted(runs, key=lambda run: (not run.attention, not run.doubt))
    names = [run.name for run in ordered]
    steps = ["-" if run.steps is None else str(run.steps) for run in ordered]
    left, right = (max(map(len, (head, *cells))) for head, cells in (("run", names), ("steps", steps)))
    lines = [f"{'run':<{left}}  {'steps':>{right}}  needs attention"]
    for run, name, count in zip(ordered, names, steps, strict=True):
        lines.append(f"{name:<{left}}  {count:>{right}}  {_counted(run)}")
    doubtful = sum(bool(run.doubt) for run in runs)
    wrong = sum(run.attention for run in runs)
    told = f"{wrong} of {len(runs)} runs need{'s' * (wrong == 1)} attention"
    lines += ["", told + (f", {doubtful} could not be read or judged" if doubtful else "")]
    hidden = Counter(words for run in runs if not run.attention for words in run.not_seen).most_common()
    lines += ["not seen in those that need none:"] * bool(hidden)
    lines += [f"  {words} ({count} run{'s' * (count > 1)})" for words, count in hidden[:_HIDDEN]]
    lines += [f"  ... and {len(hidden) - _HIDDEN} more"] * (len(hidden) > _HIDDEN)
    return "\n".join(lines)


def not_seen(run: History) -> tuple[str, ...]:
    """What the source of a run hides from whoever reads it, in a few words each.

    >>> log = [{"step": 500, "loss": 3.0, "learning_rate": 1e-3}, {"step": 500, "eval_loss": 3.1}]
    >>> for one in not_seen(History.of(log, averaged=500, source="trainer_state.json")):
    ...     print(one)
    NaN and infinite losses: Trainer's log puts the mean of the others in their place
    single steps (each loss is a mean of 500; a run that blows up mostly does so within the first 50)
    the gradient norm, which often moves before the loss
    the schedule, so what it does by itself is told from the learning rate alone
    """
    gaps = np.diff(run.step[run.logged])
    every = int(np.median(gaps)) if gaps.size else 1
    name = Path(run.source).name.removesuffix(".gz")
    filtered = name != HISTORY and bool(np.isfinite(run.loss[run.logged]).all())  # one that is there was not filtered
    whose = ": Trainer's" if name.endswith(".json") else ", if this is a Trainer's: its"
    parts = [
        (f"NaN and infinite losses{whose} log puts the mean of the others in their place", filtered),
        (
            f"single steps (each loss is a mean of {run.averaged}; a run that blows up mostly does so within the first 50)",
            run.averaged > 1,  # diagnosis.md, fact 2: 177 of 222 that went non-finite
        ),
        (f"what happened between the steps that were logged, one in {every}", run.averaged == 1 and every > 1),
        ("the training loss", "loss" in run.missing),
        ("the learning rate, so nothing is set against it", "lr" in run.missing),
        ("the gradient norm, which often moves before the loss", "grad_norm" in run.missing),
        ("a held-out loss, so overfitting", "eval_loss" in run.missing),
        ("the schedule, so what it does by itself is told from the learning rate alone", run.schedule is None),
    ]
    return (*(words for words, hidden in parts if hidden), *run.unreadable)


def on_page(found: Sequence[Finding]) -> list[dict[str, str]]:
    """Findings as `report.report` shows them."""
    return [
        {
            "kind": "attention" if one.attention else "expected",
            "title": f"{i}. {one.symptom}, step {steps(one)}: {one.title}",
            "text": " ".join(map(_sentence, (one.evidence, f"likely cause: {one.cause}{_surely(one)}", one.advice))),
        }
        for i, one in enumerate(found, start=1)
    ]


def steps(one: Finding) -> str:
    """Where a finding lies: ``500``, or ``500-503``."""
    return str(one.step) if one.since == one.step else f"{one.since}-{one.step}"


def key_lines(found: Sequence[Finding]) -> list[str]:
    """What the numbers in a picture stand for, a line each."""
    lines = [f"{one.symptom}, step {steps(one)}: {one.title} ({_cause(one)})" for one in found[:_IN_KEY]]
    return [*lines, f"... and {len(found) - _IN_KEY} more"] if len(found) > _IN_KEY else lines


def placed(found: Sequence[Finding], long: float) -> list[int]:
    """A row for each number in a picture of so many steps, the first that is free from where it begins on."""
    ends: list[float] = []
    rows = []
    for one in found:
        row = next((row for row, end in enumerate(ends) if end < one.since), len(ends))
        ends[row : row + 1] = [max(one.step, one.since + _CLOSE * long)]
        rows.append(min(row, _ROWS - 1))
    return rows


def _cause(one: Finding) -> str:
    return "cause unknown" if one.cause == "unknown" else one.cause


def mark(axes: Mapping[str, Axes], found: Sequence[Finding], rows: Sequence[int]) -> None:
    """Shades findings in every panel from where they began to where they were found; numbers stand in a panel of theirs."""
    strip = axes["findings"]
    strip.axis("off")
    strip.set_ylim(max(rows) + 0.5, -0.5)
    for i, (one, row) in enumerate(zip(found, rows, strict=True), start=1):
        colour = ATTENTION if one.attention else EXPECTED
        strip.plot([one.since, one.step], [row, row], color=colour, linewidth=4, alpha=0.5, solid_capstyle="butt")
        _number(strip, one.since, row, i, colour, strip.transData)
    for panel in [axes[name] for name in axes if name != "findings"]:
        for colour, attention in ((EXPECTED, False), (ATTENTION, True)):
            for since, step in _joined(found, attention=attention):
                panel.axvspan(since, step, color=colour, alpha=0.15, linewidth=0, zorder=0.5)
            for since in sorted({one.since for one in found if one.attention is attention}):
                panel.axvline(since, color=colour, linewidth=0.9, alpha=0.9, zorder=0.6)


def _joined(found: Sequence[Finding], *, attention: bool) -> list[tuple[int, int]]:
    """Stretches of steps, those that overlap as one: two shades on each other would be a third colour."""
    joined: list[tuple[int, int]] = []
    for since, step in sorted((one.since, one.step) for one in found if one.attention is attention):
        if joined and since <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(step, joined[-1][1]))
        else:
            joined.append((since, step))
    return joined


def key(axes: Axes, found: Sequence[Finding]) -> None:
    """What the numbers stand for, in axes of their own."""
    lines = key_lines(found)
    axes.axis("off")
    for i, line in enumerate(lines):
        height = 1 - (i + 0.5) / len(lines)
        if i < len(found[:_IN_KEY]):
            _number(axes, 0.012, height, i + 1, ATTENTION if found[i].attention else EXPECTED, axes.transAxes)
        short = textwrap.shorten(line, 118, placeholder=" ...")
        axes.text(0.035, height, panels.literal(short), transform=axes.transAxes, va="center", fontsize=9)


def _number(axes: Axes, x: float, y: float, number: int, colour: str, where: Transform) -> None:
    box = {"boxstyle": "circle,pad=0.22" if number < 10 else "round,pad=0.22", "facecolor": colour, "edgecolor": "white"}
    looks: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8, "fontweight": "bold", "zorder": 5.0}
    axes.text(x, y, str(number), color="white", bbox=box, transform=where, clip_on=False, **looks)


def _row(one: Finding) -> tuple[str, ...]:
    factor = "-" if one.factor is None else f"x {one.factor:.2g}"
    return steps(one), one.symptom, one.cause, factor, one.confidence, "needs attention" if one.attention else "worth knowing"


def _surely(one: Finding) -> str:
    """How sure that is, and what to multiply the peak by."""
    return f" (confidence {one.confidence}{'' if one.factor is None else f'; peak LR x {one.factor:.2g}'})"


def _sentence(words: str) -> str:
    """With a capital and an end."""
    return words[:1].upper() + words[1:] + ("" if words.endswith(".") or not words else ".")


def _sentences(one: Finding, indent: str, width: int) -> list[str]:
    said = (("seen", one.title), ("evidence", one.evidence), ("to do", one.advice))
    return [
        textwrap.fill(
            words, max(width, _NARROWEST), initial_indent=f"{indent}{name:<10}", subsequent_indent=indent + " " * 10
        )
        for name, words in said
        if words
    ]


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _counted(run: Seen) -> str:
    counts = Counter(one.symptom for one in run.found if one.attention)
    told = ", ".join(f"{symptom} {count}" if count > 1 else symptom for symptom, count in counts.items())
    return told or run.doubt or "nothing"
