"""``diagnose``: one run or hundreds, what is said of them, drawn and returned."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from hf_lrsched import wsd
from hf_lrsched.cli import main
from hf_lrsched.runs import diagnosis
from hf_lrsched.runs.diagnosis import Finding, Point, Rule
from hf_lrsched.runs.diagnosis.sight import Sight

from . import recorded

STATES = Path(__file__).parents[2] / "shared" / "data" / "trainer_states"


ADVICE = "Look at the batch. " * 9


class Jump(Rule):
    """Says of each loss above 8 that it jumped, and of one at 7 that it was to be expected."""

    def see(self, point: Point, sight: Sight) -> list[Finding]:
        if not point.loss > 6:
            return []
        jumped = Finding("spike", "bad batch", point.step, point.step - 1, "", "5 before it.", ADVICE, 0.5, "high")
        return [replace(jumped, title=f"the loss jumped to {point.loss:g}", attention=point.loss > 8)]


@pytest.fixture(autouse=True)
def one_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    found_in = diagnosis.diagnose
    monkeypatch.setattr(diagnosis, "diagnose", lambda run: found_in(run, rules=[Jump]))


def call(*arguments: object, **options: Any) -> Result:
    return CliRunner().invoke(main, ["diagnose", *map(str, arguments)], **options)


def told(*arguments: object, code: int = 0) -> list[dict[str, Any]]:
    done = call(*arguments, "--format", "json")
    assert done.exit_code == code, done.output
    data: list[dict[str, Any]] = json.loads(done.stdout)
    return data


def state(file: Path, losses: Mapping[int, float] | None = None, *, every: int = 10) -> Path:
    """A Trainer's log of 40 means, of which some are given by their number."""
    log = [{"step": every * i, "loss": (losses or {}).get(i, 5 - i / 20), "learning_rate": 1e-3} for i in range(1, 41)]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"logging_steps": every, "log_history": log}))
    return file


def test_a_run_without_findings_says_so_and_what_its_log_cannot_show(tmp_path: Path) -> None:
    done = call(state(tmp_path / "run" / "trainer_state.json", every=500))
    assert done.exit_code == 0
    first, _, hidden = done.output.partition("\n\n")
    assert first == "trainer_state.json: nothing needs attention"
    said = " ".join(hidden.split())
    assert said.startswith(
        "not seen: NaN and infinite losses: Trainer's log puts the mean of the others in their place; single"
    )
    assert "each loss is a mean of 500" in said
    assert "the gradient norm" in said


def test_a_finding_is_told_with_all_that_it_holds_within_the_terminal(tmp_path: Path) -> None:
    done = call(state(tmp_path / "a.json", {9: 9.0, 12: 7.0}), env={"COLUMNS": "75"})
    assert done.exit_code == 1
    lines = done.output.splitlines()
    assert lines[0] == "a.json: needs attention: spike at step 89; 1 worth knowing"
    assert [line.split() for line in lines[2:4]] == [
        ["#", "steps", "symptom", "likely", "cause", "peak", "LR", "confidence"],
        ["1", "89-90", "spike", "bad", "batch", "x", "0.5", "high", "needs", "attention"],
    ]
    assert lines[4:7] == [
        "   seen      the loss jumped to 9",
        "   evidence  5 before it.",
        "   to do     Look at the batch. Look at the batch. Look at the batch. Look",
    ]
    assert sum(line.endswith("worth knowing") for line in lines[3:]) == 1
    assert max(map(len, lines)) <= 75


def test_as_json_each_file_has_its_findings(tmp_path: Path) -> None:
    files = [state(tmp_path / "a.json", {9: 9.0}), state(tmp_path / "b.json", {9: 7.0}), tmp_path / "c.json"]
    bad, good, gone = told(*files, code=1)
    assert [one["attention"] for one in (bad, good, gone)] == [True, False, None]
    assert bad["findings"][0]["symptom"] == "spike"
    assert bad["findings"][0] == Jump().see(Point(90, 9.0, ()), None)[0].to_dict()  # type: ignore[arg-type]  # not looked at
    assert (good["findings"][0]["attention"], good["steps"]) == (False, 400)
    assert bad["missing"] == ["grad_norm", "momentum", "tokens", "eval_loss"]
    assert len(bad["not_seen"]) == 5
    assert gone["error"] == f"there is no file or folder {files[2]}"
    assert [Path(one["source"]).name for one in (bad, good, gone)] == ["a.json", "b.json", "c.json"]


@pytest.mark.parametrize(
    ("losses", "code"), [([{}], 0), ([{3: 7.0}, {}], 0), ([{3: 9.0}], 1), ([{}, {3: 9.0}, {}], 1), ([{}, None], 1)]
)
def test_the_exit_code_is_1_where_a_run_needs_attention_or_cannot_be_read(
    losses: list[dict[int, float] | None], code: int, tmp_path: Path
) -> None:
    files = [tmp_path / f"{i}.json" if one is None else state(tmp_path / f"{i}.json", one) for i, one in enumerate(losses)]
    assert call(*files).exit_code == code
    assert len(told(*files, code=code)) == len(files)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("step,eval_loss\n1,2\n", "cannot tell: it holds no training loss"),
        (
            "step,loss\n" + "".join(f"{i},2\n" for i in range(5)),
            "cannot tell: it holds only 5 training losses, where 32 are needed",
        ),
        ("step,loss\n1,2\n", "cannot tell: it holds only 1 training loss, where 32 are needed"),
    ],
)
def test_a_run_of_which_nothing_can_be_told_says_so(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(text)
    assert call(tmp_path / "a.csv").output.startswith(f"a.csv: {words}\n")
    assert [(one["attention"], one["cannot_tell"]) for one in told(tmp_path / "a.csv")] == [(None, words)]


def test_many_runs_are_a_table_and_the_details_of_those_that_need_attention(tmp_path: Path) -> None:
    files = [state(tmp_path / f"{i}.json", {5: 9.0, 7: 9.0} if i == 4 else {}) for i in range(9)]
    lines = call(*files, tmp_path / "gone.json").output.splitlines()
    assert [line.split()[:2] for line in lines[:4]] == [
        ["run", "steps"],
        ["4.json", "400"],
        ["gone.json", "-"],
        ["0.json", "400"],
    ]
    assert lines[1].endswith("  spike 2")
    assert "1 of 10 runs needs attention, 1 could not be read or judged" in lines
    assert "  the gradient norm, which often moves before the loss (8 runs)" in lines
    assert [line for line in lines if "needs attention:" in line] == [
        "4.json: needs attention: spike at step 49, spike at step 69"
    ]
    assert not any("worth knowing" in line for line in lines)


@pytest.mark.parametrize("depth", ["", "deeper/still"])
def test_a_folder_of_runs_is_walked(depth: str, tmp_path: Path) -> None:
    for name in ("a", "b"):
        recorded.write(tmp_path / "runs" / depth / name, wsd(100), 80)
        (tmp_path / "runs" / depth / name / "checkpoint-80" / "trainer_state.json").write_text("{}")  # the same run
    state(tmp_path / "runs" / "theirs" / "checkpoint-200" / "trainer_state.json", {1: 9.0})
    (tmp_path / "runs" / "empty").mkdir()
    (tmp_path / "runs" / "latest").symlink_to(tmp_path / "runs" / depth / "b")
    assert sorted(one["run"] for one in told(tmp_path / "runs", code=1)) == ["a", "b", "theirs"]
    assert [one["run"] for one in told(tmp_path / "runs" / depth / "a")] == ["a"]


GARBAGE = {
    "empty.json": "",
    "number.json": "3",
    "deep.json": "[" * 100_000,
    "wide.csv": "step,loss\n1," + "9" * 200_000,
    "list.jsonl": "[]",
    "noise.tfevents": "\x00\x01\x02" * 50,
    "noise.json.gz": "\x00\x01\x02" * 50,
}


def test_what_is_no_log_is_named_and_stops_nothing(tmp_path: Path) -> None:
    for name, words in GARBAGE.items():
        (tmp_path / name).write_text(words)
    state(tmp_path / "bad.json", {5: 9.0})
    done = call(*(tmp_path / name for name in GARBAGE), tmp_path / "bad.json")
    assert done.exit_code == 1
    lines = done.output.splitlines()
    assert lines[1].split() == ["bad.json", "400", "spike"]
    assert [line.split()[:5] for line in lines[2:9]] == [[name, "-", "could", "not", "be"] for name in GARBAGE]


def test_a_folder_without_runs_is_named(tmp_path: Path) -> None:
    done = call(tmp_path)
    assert done.exit_code == 1
    assert done.output.startswith(
        f"{tmp_path.name}: could not be read: {tmp_path} holds no lr_history.jsonl, no trainer_state"
    )


def test_what_of_a_file_could_not_be_read_is_said_with_what_it_does_not_show(tmp_path: Path) -> None:
    run = recorded.write(tmp_path / "run", wsd(100), 80)
    with (run / "lr_history.jsonl").open("a") as file:
        file.write('{"steps": [81')
    assert call(run).output == "run: nothing needs attention\n\nnot seen: 1 line could not be read (the first: line 7)\n"


# Pictures and pages


@pytest.mark.parametrize("ending", [".png", ".svg", ".pdf", ".html"])
def test_a_run_is_drawn_with_its_findings(ending: str, tmp_path: Path) -> None:
    file = tmp_path / f"a{ending}"
    done = call(state(tmp_path / "run" / "a.json", {9: 9.0}), "-o", file)
    assert (done.exit_code, done.output.splitlines()[-1]) == (1, str(file))
    assert file.stat().st_size > 1000
    if ending == ".html":
        assert "1. spike, step 89-90: the loss jumped to 9" in file.read_text("utf-8")


def test_of_many_runs_those_that_need_attention_are_drawn_into_a_folder(tmp_path: Path) -> None:
    files = [state(tmp_path / name / "a.json", {9: loss}) for name, loss in (("a", 9.0), ("b", 7.0), ("c", 9.0))]
    data = told(*files, "-o", tmp_path / "pictures", code=1)
    drawn = [tmp_path / "pictures" / f"{name}--a.json.png" for name in "ac"]
    assert sorted((tmp_path / "pictures").iterdir()) == drawn
    assert [one["file"] for one in data] == [str(drawn[0]), None, str(drawn[1])]


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        ((), 2, "Missing argument 'RUNS...'"),
        (("a.json", "b.json", "-o", "a.png"), 2, "a.png is one file, and there are several runs; give a folder: -o a/"),
        (("a.json", "-o", "a.gif"), 1, "a.gif: the ending says what is written; give one of .png, .svg, .pdf, .html"),
        (("a.json", "-o", "nowhere/a.png"), 1, "there is no folder nowhere"),
        (("a.json", "-o", "nowhere/pictures"), 1, "No such file or directory: 'nowhere/pictures'"),
        (("a.json", "--format", "xml"), 2, "'xml' is not one of"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_read(
    arguments: tuple[str, ...], code: int, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = call(*arguments)
    assert done.exit_code == code
    assert sentence in " ".join(done.output.split())
    assert list(tmp_path.iterdir()) == []


def test_the_report_has_the_findings_on_its_page(tmp_path: Path) -> None:
    file = state(tmp_path / "trainer_state.json", {9: 9.0, 12: 7.0})
    done = CliRunner().invoke(main, ["report", str(file)])
    assert done.exit_code == 0
    page = (tmp_path / "lr_report.html").read_text("utf-8")
    assert '<div class="finding attention"><b>1. spike, step 89-90: the loss jumped to 9</b>' in page
    assert '<div class="finding expected"><b>2. spike' in page


# The real rules


def test_the_listed_rules_are_asked_and_nothing_heavy_is_loaded(tmp_path: Path) -> None:
    losses = "".join(f"{i},{math.nan if i > 150 else 5 - i / 100}\n" for i in range(300))
    (tmp_path / "a.csv").write_text(f"step,loss\n{losses}")
    script = f"""
import sys
from hf_lrsched.cli import main
try:
    main(["diagnose", {str(tmp_path / "a.csv")!r}, "--format", "json"])
except SystemExit as ended:
    assert ended.code in (0, 1), ended.code
sys.exit(" ".join(name for name in ("torch", "transformers", "matplotlib", "plotly") if name in sys.modules) or 0)
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["error"] is None


@pytest.mark.skipif(not STATES.is_dir(), reason=f"{STATES.name} of the shared data is not here")
def test_runs_that_others_logged_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    done = call(*sorted(STATES.glob("*.gz")), "--format", "json")
    assert done.exit_code in (0, 1)
    assert all(one["error"] is None and one["steps"] >= 7000 for one in json.loads(done.stdout))
