"""``list``, ``show``, ``plot``, ``report``, ``compare``: what they say, and what they refuse."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result

from hf_lrsched import CATALOGUE, build, from_spec, to_spec, wsd
from hf_lrsched.cli import main

from . import recorded

STATES = Path(__file__).parents[2] / "shared" / "data" / "trainer_states"


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def told(*arguments: str) -> Any:
    done = call(*arguments, "--format", "json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_list_as_json_has_the_catalogue() -> None:
    assert [(one["name"], one["arguments"]) for one in told("list")] == [(n, [*e.arguments]) for n, e in CATALOGUE.items()]


def test_show_as_json_gives_the_schedule_back() -> None:
    data = told("show", "wsd", "--steps=200", "--warmup", "5%", "--num-decay-steps", "50", "--peak", "3e-4")
    assert from_spec(data["spec"]) == build("wsd", 200, warmup="5%", num_decay_steps=50)
    assert [(row["step"], row["phase"]) for row in data["lr"]] == [
        (0, "warmup"),
        (10, "stable"),
        (150, "decay"),
        (199, "(last)"),
    ]
    assert data["lr"][1]["lr"] == 3e-4


@pytest.mark.parametrize("command", ["show", "plot"])
def test_every_argument_of_every_schedule_is_an_option(command: str) -> None:
    told = call(command, "--help").output
    for entry in CATALOGUE.values():
        assert all(f"--{argument} VALUE" in told for argument in entry.arguments)


@pytest.mark.parametrize("name", ["a.png", "a.svg", "a.pdf"])
def test_plot_draws_names_and_specs(name: str, tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text(json.dumps(to_spec(wsd(100))))
    done = call("plot", "wsd", "rex", str(tmp_path / "mine.json"), "--warmup", "5%", "-o", str(tmp_path / name))
    assert (done.exit_code, done.output) == (0, f"{tmp_path / name}\n")
    assert (tmp_path / name).stat().st_size > 1000


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("plot", "wsd"), 2, "Missing option '-o'"),
        (("plot", "-o", "a.png"), 2, "Missing argument"),
        (("plot", "wsd", "-o", "a.gif"), 1, "a.gif: the ending says what is written; give one of .png, .svg, .pdf"),
        (("plot", "wsd", "-o", "nowhere/a.png"), 1, "there is no folder nowhere"),
        (("plot", "wsdd", "-o", "a.png"), 1, "did you mean 'wsd'"),
        (("plot", "no.json", "-o", "a.png"), 1, "there is no file no.json"),
        (("plot", "wsd", "rex", "--decay", "0.1", "-o", "a.png"), 1, "rex does not know 'decay'"),
        (("show", "wsd", "--steps", "0"), 2, "0 is not in the range"),
        (("show", "wsd", "--format", "xml"), 2, "'xml' is not one of"),
        (("report", "nowhere"), 1, "there is no file or folder nowhere"),
        (("report", "."), 1, "holds no lr_history.jsonl, no trainer_state.json and no TensorBoard event files"),
        (("compare",), 2, "Missing argument"),
        (("compare", "nowhere"), 1, "there is no file or folder nowhere"),
    ],
)
def test_what_cannot_be_done_is_said(
    arguments: tuple[str, ...], code: int, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = call(*arguments)
    assert done.exit_code == code
    assert sentence in " ".join(done.output.split())
    assert "Traceback" not in done.output
    assert list(tmp_path.iterdir()) == []


def test_report_writes_a_page_into_the_runs_folder(tmp_path: Path) -> None:
    run = recorded.write(tmp_path / "a run", wsd(100), 80)
    data = told("report", str(run))
    assert (data["schedule"], data["steps"], data["best_held_out_loss"]) == ("wsd", 80, 3.25)
    assert Path(data["file"]) == run / "lr_report.html"
    assert "checkpoint-40" in (run / "lr_report.html").read_text("utf-8")


@pytest.mark.parametrize("ending", [".png", ".svg", ".html"])
def test_report_writes_what_the_ending_says(ending: str, tmp_path: Path) -> None:
    file = tmp_path / f"a{ending}"
    assert call("report", str(recorded.write(tmp_path / "run", wsd(100), 80)), "-o", str(file)).exit_code == 0
    assert file.stat().st_size > 1000


def test_compare_names_runs_by_what_tells_them_apart(tmp_path: Path) -> None:
    runs = [recorded.write(tmp_path / name / "run", wsd(100), steps) for name, steps in (("a", 80), ("b", 60))]
    done = call("compare", *map(str, runs), "-o", str(tmp_path / "both.png"))
    assert done.exit_code == 0
    lines = done.output.splitlines()
    assert [line.split()[:3] for line in lines[1:3]] == [["a/run", "wsd", "80"], ["b/run", "wsd", "60"]]
    assert lines[-1] == str(tmp_path / "both.png")
    assert set(told("compare", *map(str, runs))) == {"a/run", "b/run"}


def test_what_is_cut_short_is_read_and_said(tmp_path: Path) -> None:
    run = recorded.write(tmp_path / "run", wsd(100), 80)
    with (run / "lr_history.jsonl").open("a") as file:
        file.write('{"steps": [81')
    done = call("compare", str(run))
    assert done.exit_code == 0
    assert "warning: 1 line could not be read" in done.stderr
    assert " 80 " in done.stdout


@pytest.mark.skipif(not STATES.is_dir(), reason=f"{STATES.name} of the shared data is not here")
def test_runs_that_others_logged_are_reported(tmp_path: Path) -> None:
    for number, file in enumerate(sorted(STATES.glob("*.gz"))):
        data = told("report", str(file), "-o", str(tmp_path / f"{number}.html"))
        assert data["steps"] >= 7000
        assert data["highest_lr"] > 0


def complete(*arguments: str) -> list[str]:
    *before, incomplete = arguments
    found = ShellComplete(main, {}, "hf-lrsched", "_HF_LRSCHED_COMPLETE").get_completions(before, incomplete)
    return [item.value for item in found]


def test_commands_and_schedules_complete_in_the_shell() -> None:
    assert complete("") == main.list_commands(click.Context(main))
    assert complete("show", "w") == ["warmup_cosine", "warm_restarts", "wsd", "wsd_s"]
    assert complete("plot", "wsd", "r") == ["rex"]
    assert "--warmup" in complete("show", "wsd", "--war")


@pytest.mark.parametrize("command", main.list_commands(click.Context(main)))
def test_every_command_has_an_example(command: str) -> None:
    done = call(command, "--help")
    assert done.exit_code == 0
    assert "Example" in done.output


def test_an_unknown_command_is_refused() -> None:
    assert call("warm").exit_code == 2


def test_help_list_and_show_load_nothing_heavy() -> None:
    heavy = ("torch", "transformers", "matplotlib", "plotly", "accelerate")
    script = f"""
import sys
from hf_lrsched.cli import main
for arguments in (["--help"], ["list"], ["show", "wsd"], ["show", "--help"], ["plan", "--help"], ["run", "--help"]):
    main(arguments, standalone_mode=False)
sys.exit(" ".join(name for name in {heavy!r} if name in sys.modules) or 0)
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
