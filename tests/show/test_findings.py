"""Findings as text, and marked in a picture."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from hf_lrsched import History, wsd
from hf_lrsched.runs.diagnosis import SYMPTOMS, Finding
from hf_lrsched.show import plot, text
from hf_lrsched.show.findings import ATTENTION, EXPECTED, Seen, details, not_seen, on_page, overview, placed, says

from .. import recorded

RUN = recorded.history(wsd(100), 100, extra=[{"step": i, "grad_norm": 1.0} for i in range(1, 101)])
JUMP = Finding("spike", "bad batch", 45, 40, "the loss jumped", "2 to 9.", "Nothing.", 0.33333, "high")
RESTART = replace(JUMP, cause="restart", since=70, step=70, attention=False, factor=None)
SENTENCES = st.lists(st.sampled_from(["a", "loss", "3.5e-4", "$x$"]), max_size=60).map(" ".join)


def numbers(figure: Figure) -> list[str]:
    return [one.get_text() for one in figure.axes[1].texts]


def begun(figure: Figure, panel: int) -> list[tuple[str, float]]:
    """Colour and place of the lines where what was found begins."""
    lines = [line for line in figure.axes[panel].lines if line.get_zorder() == 0.6]
    return [(to_hex(line.get_color()).upper(), float(np.asarray(line.get_xdata())[0])) for line in lines]


# Text


@given(st.lists(st.tuples(st.sampled_from(SYMPTOMS), SENTENCES, SENTENCES), min_size=1, max_size=12), st.integers(1, 120))
def test_no_sentence_is_wider_than_asked_and_none_is_lost(said: list[tuple[Any, str, str]], width: int) -> None:
    found = [replace(JUMP, symptom=symptom, evidence=evidence, advice=advice) for symptom, evidence, advice in said]
    lines = text.findings(found, width=width).split("\n")
    rows = [line for line in lines if "spike" in line or line[0] != " "]
    assert [row.split()[0] for row in rows] == ["#", *(str(i + 1) for i in range(len(found)))]
    sentences = [line for line in lines if line not in rows]
    assert all(len(line) <= max(width, 40) for line in sentences)
    told = " ".join(" ".join(sentences).split())
    for one in found:
        assert f"seen {one.title}" in told
        assert not one.evidence or f"evidence {one.evidence}" in told
        assert not one.advice or f"to do {one.advice}" in told


def test_nothing_found_is_no_table() -> None:
    assert text.findings([]) == ""


@pytest.mark.parametrize(
    ("found", "doubt", "line"),
    [
        ((), "", "a: nothing needs attention"),
        ((), "cannot tell: it holds no training loss", "a: cannot tell: it holds no training loss"),
        ((RESTART,), "", "a: nothing needs attention; 1 worth knowing"),
        ((RESTART, JUMP, RESTART), "", "a: needs attention: spike at step 40; 2 worth knowing"),
    ],
)
def test_a_run_in_one_line(found: tuple[Finding, ...], doubt: str, line: str) -> None:
    assert says(Seen("a", 100, found, doubt)) == line
    assert details(Seen("a", 100, found, doubt, ("this", "that"))).startswith(f"{line}\n")


def test_many_runs_are_counted_by_symptom_and_those_to_look_at_come_first() -> None:
    noisy = replace(JUMP, symptom="noisy")
    runs = [Seen("fine", 9, (RESTART,), not_seen=("x",)), Seen("bad", 1000, (JUMP, noisy, JUMP), not_seen=("x",))]
    lines = overview([*runs, Seen("gone", None, (), "could not be read: it is not there")]).split("\n")
    assert lines == [
        "run   steps  needs attention",
        "bad    1000  spike 2, noisy",
        "gone      -  could not be read: it is not there",
        "fine      9  nothing",
        "",
        "1 of 3 runs needs attention, 1 could not be read or judged",
        "not seen in those that need none:",
        "  x (1 run)",
    ]


LOG = [{"step": 10 * i, "loss": 2.0, "lr": 1e-3} for i in range(1, 9)]


@pytest.mark.parametrize(
    ("run", "begins", "hidden"),
    [
        (History.of(LOG, averaged=10, source="a/trainer_state.json.gz"), "NaN and infinite losses: Trainer's log", True),
        (History.of(LOG, source="a.csv"), "NaN and infinite losses, if this is a Trainer's", True),
        (History.of([*LOG, {"step": 90, "loss": math.nan}], source="a.csv"), "NaN", False),
        (History.of(LOG, source="a/lr_history.jsonl"), "NaN", False),
        (History.of(LOG, averaged=10), "single steps (each loss is a mean of 10;", True),
        (History.of(LOG), "what happened between the steps that were logged, one in 10", True),
        (History.of(LOG), "the gradient norm", True),
        (RUN, "the gradient norm", False),
        (RUN, "the schedule", False),
        (RUN, "what happened between", False),
        (History.of([{"step": 1, "eval_loss": 2.0}]), "the training loss", True),
        (History.of(LOG, unreadable=("2 lines could not be read",)), "2 lines", True),
    ],
)
def test_what_a_log_hides_is_said(run: History, begins: str, hidden: bool) -> None:
    assert any(words.startswith(begins) for words in not_seen(run)) is hidden


# Pictures


def test_findings_are_numbered_shaded_and_told(tmp_path: Path) -> None:
    figure = plot.findings(RUN, [JUMP, RESTART], tmp_path / "a.png")
    assert [axes.get_ylabel() for axes in figure.axes] == ["learning rate", "", "loss", "gradient norm", ""]
    assert numbers(figure) == ["1", "2"]
    told = [one.get_text() for one in figure.axes[-1].texts]
    assert told == [
        "1",
        "spike, step 40-45: the loss jumped (bad batch)",
        "2",
        "spike, step 70: the loss jumped (restart)",
    ]
    for panel in (0, 2, 3):
        assert begun(figure, panel) == [(EXPECTED, 70.0), (ATTENTION, 40.0)]
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    with Image.open(tmp_path / "a.png") as picture:
        colours = {colour for _, colour in picture.convert("RGB").getcolors(maxcolors=1 << 24) or []}
    assert {(213, 94, 0), (86, 180, 233)} <= colours


@pytest.mark.parametrize(("loss", "scale"), [(1e9, "log"), (9.0, "linear"), (-1.0, "linear"), (math.inf, "linear")])
def test_a_loss_that_was_thrown_far_up_has_a_logarithmic_axis(loss: float, scale: str) -> None:
    run = recorded.history(wsd(100), 100, extra=[{"step": 50, "loss": loss}, {"step": 51, "loss": 1e9 if loss < 0 else 2.0}])
    assert plot.findings(run, [JUMP]).axes[2].get_yscale() == scale
    assert plot.findings(run, [JUMP], log_loss=False).axes[2].get_yscale() == "linear"
    assert plot.lr_and_loss(run).axes[1].get_yscale() == "linear"


def test_what_is_told_on_a_page_is_whole_sentences() -> None:
    (told,) = on_page([replace(JUMP, evidence="two to nine", advice="look there.")])
    assert told == {
        "kind": "attention",
        "title": "1. spike, step 40-45: the loss jumped",
        "text": "Two to nine. Likely cause: bad batch (confidence high; peak LR x 0.33). Look there.",
    }


def test_without_findings_it_is_the_picture_of_the_run() -> None:
    pictures = (plot.findings(RUN, []), plot.lr_and_loss(RUN))
    shown = [[(axes.get_ylabel(), len(axes.lines)) for axes in figure.axes] for figure in pictures]
    assert shown[0] == shown[1] == [("learning rate", 1), ("loss", 1), ("gradient norm", 1)]


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 300)), min_size=1, max_size=12))
def test_no_number_lies_on_another(where: list[tuple[int, int]]) -> None:
    found = [replace(JUMP, since=since, step=since + more) for since, more in where]
    rows = placed(found, 1300)
    seen: dict[int, float] = {}
    for one, row in zip(found, rows, strict=True):
        if row < 7:  # what needs more rows than eight shares the last
            assert one.since > seen.get(row, -1)
            seen[row] = max(one.step, one.since + 0.03 * 1300)


def test_very_many_findings_have_a_short_key_and_all_their_numbers() -> None:
    figure = plot.findings(RUN, [replace(JUMP, since=i, step=i) for i in range(0, 100, 4)])
    assert numbers(figure) == [str(i + 1) for i in range(25)]
    assert figure.axes[-1].texts[-1].get_text() == "... and 17 more"


def test_shades_that_overlap_are_one() -> None:
    many = [JUMP, replace(JUMP, since=42, step=60), replace(JUMP, since=80, step=90)]
    figure = plot.findings(RUN, many)
    assert begun(figure, 2) == [(ATTENTION, 40.0), (ATTENTION, 42.0), (ATTENTION, 80.0)]
    shades = [patch.get_path().get_extents(patch.get_patch_transform()) for patch in figure.axes[2].patches]
    assert [(shade.x0, shade.x1) for shade in shades][-2:] == [(40, 60), (80, 90)]


NOTHING = [History.of([]), History.of([{"step": 5, "eval_loss": 2.0}]), History.of([{"step": 1, "loss": math.nan}])]


@pytest.mark.parametrize("run", NOTHING)
def test_a_run_of_which_little_is_known_is_marked(run: History, tmp_path: Path) -> None:
    hostile = replace(JUMP, title="a $ formula {$ that " + "never ends " * 30)
    plot.findings(run, [hostile], tmp_path / "a.svg")
    assert (tmp_path / "a.svg").stat().st_size > 1000
