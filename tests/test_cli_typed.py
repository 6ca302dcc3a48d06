"""What people type: words in every spelling, files that hold no schedule, runs that are damaged or have no name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from hf_lrsched import build, from_spec, to_spec, wsd
from hf_lrsched.cli import main

from . import recorded


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def told(*arguments: str) -> Any:
    done = call(*arguments, "--format", "json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


# Schedules

SHOWN = """\
wsd: warmup 10, stable 70, decay 20

  step  phase   learning rate
     0  warmup              0
    10  stable         0.0003
    80  decay          0.0003
    99  (last)    7.59617e-06

 0.0003 ┤     ████████████████████████████████████████████████
        ┤    ▆████████████████████████████████████████████████▂
        ┤   ▂██████████████████████████████████████████████████▄
        ┤   ████████████████████████████████████████████████████▇▃
        ┤  ▅███████████████████████████████████████████████████████▅▂
        ┤  ███████████████████████████████████████████████████████████▅▃▁
        ┤ ███████████████████████████████████████████████████████████████▆▄▂▁
      0 ┤▃███████████████████████████████████████████████████████████████████▇▅▃▂
"""


def test_show_in_a_terminal() -> None:
    assert call("show", "wsd", "--steps", "100", "--peak", "3e-4").stdout == SHOWN


@pytest.mark.parametrize(
    "words",
    [
        ("--decay", "200", "--warmup-steps", "50"),
        ("--decay=200", "--num-warmup-steps=50"),
        ("--decay", "20%", "--warmup", "5%"),
        ("--decay", "0.2", "--num_warmup_steps=50"),
        ("--decay", "2 epochs", "--warmup", "0.5 epochs", "--steps_per_epoch", "100"),
        ("--decay", "2000 tokens", "--warmup=500 tokens", "--tokens-per-step=10"),
    ],
)
def test_a_schedule_is_asked_for_in_many_words(words: tuple[str, ...]) -> None:
    assert from_spec(told("show", "wsd", *words)["spec"]) == build("wsd", 1000, warmup=50, decay=200)


@pytest.mark.parametrize("words", [("--num-decay-steps", "200"), ("--num-decay-steps=200",), ("--num_decay_steps", "200")])
def test_the_words_of_transformers_mean_what_they_mean_there(words: tuple[str, ...]) -> None:
    assert from_spec(told("show", "wsd", *words)["spec"]) == build("wsd", 1000, num_decay_steps=200)


def test_values_that_are_no_words_are_json() -> None:
    phases = [{"from": 0, "to": 1, "length": "10%"}, {"to": 0.1}]
    assert from_spec(told("show", "phases", "--phases", json.dumps(phases))["spec"]) == build("phases", 1000, phases=phases)
    spec = told("show", "one_cycle", "--three-phase", "true")["spec"]
    assert from_spec(spec) == build("one_cycle", 1000, three_phase=True)


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("plot", "wsd", "spec.json.txt", "-o", "a.png"), 1, "unknown schedule 'spec.json.txt'"),
        (("plot", "wsd", "--peak", "nan", "-o", "a.png"), 1, "peak=nan is not a number"),
        (("show",), 2, "Missing argument 'NAME'"),
        (("show", "wsd", "rex"), 2, "rex: an argument of a schedule is --NAME VALUE"),
        (("show", "wsd", "--cycles", "2"), 1, "wsd does not know 'cycles'"),
        (("show", "wsd", "--num-decay-steps"), 2, "an argument of a schedule is --NAME VALUE"),
        (("show", "wsd", "--warmup", "5%", "--warmup-steps", "9"), 1, "mean the same; give one of them"),
        (("show", "wsd", "--peak", "-1"), 1, "peak=-1.0 must be above 0"),
        (("show", "wsd", "--min_lr", "[1]"), 1, "min_lr=[1] is not a number"),
        (("show", "phases"), 1, "phases needs 'phases'"),
        (("list", "wsd"), 2, "Got unexpected extra argument (wsd)"),
        (("report",), 2, "Missing argument 'RUN'"),
        (("report", ".", "."), 2, "Got unexpected extra argument (.)"),
    ],
)
def test_what_cannot_be_done_is_said(
    arguments: tuple[str, ...], code: int, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = call(*arguments)
    assert (done.exit_code, done.stdout) == (code, "")
    assert sentence in " ".join(done.stderr.split())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "a.json is not JSON"),
        ("\0", "a.json is not JSON"),
        ("[1]", "a schedule's spec is a mapping, not list"),
        ("{}", "a schedule's spec lacks phases"),
        ('{"phases": []}', "a schedule needs at least one phase"),
        ('{"phases": [{"length": "x", "start": 0, "end": 1}]}', "length='x' in a spec is not a number"),
        ('{"phases": [{"length": NaN, "start": 0, "end": 1}]}', "has a length of nan steps"),
        ('{"phases": [{"length": 1, "start": 0, "end": 1, "shape": "x"}]}', "unknown shape 'x'"),
    ],
)
def test_a_file_that_holds_no_schedule_is_refused(text: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text)
    done = call("plot", str(tmp_path / "a.json"), "-o", str(tmp_path / "a.png"))
    assert (done.exit_code, done.stdout) == (1, "")
    assert sentence in done.stderr
    assert not (tmp_path / "a.png").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("plot", "wsd", "--num-decay-steps", "200", "-o", "a.svg"),
        ("plot", "wsd", "--num-decay-steps=200", "wsd", "-o", "a.svg"),
        ("plot", "--num-decay-steps=200", "wsd", "-o", "a.svg"),
        ("show", "--num-decay-steps", "200", "wsd"),
        ("show", "--warmup-steps=5", "wsd"),
    ],
)
@pytest.mark.xfail(strict=True, reason="bug: another library's word is taken only behind every name, by `plot` only with =")
def test_another_librarys_word_may_stand_anywhere(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(*words).exit_code == 0


@pytest.mark.xfail(strict=True, reason="bug: of --min_lr and --min-lr the second is taken in silence, whichever came last")
def test_two_spellings_of_one_word_are_refused() -> None:
    assert call("show", "wsd", "--min-lr", "0.1", "--min_lr", "0.5").exit_code == 1


@pytest.mark.xfail(strict=True, reason="bug: a spec has no arguments, and those that were typed are dropped in silence")
def test_an_argument_that_no_schedule_takes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(to_spec(wsd(100))))
    assert call("plot", str(tmp_path / "a.json"), "--warmup", "5%", "-o", str(tmp_path / "a.svg")).exit_code == 1


# Runs


def test_a_state_that_was_cut_is_read_and_said(tmp_path: Path) -> None:
    log = [{"step": step, "loss": 2.0, "learning_rate": 1e-3} for step in range(10, 100, 10)]
    (tmp_path / "trainer_state.json").write_text(json.dumps({"logging_steps": 10, "log_history": log})[:-20])
    done = call("report", str(tmp_path), "--format", "json")
    assert done.exit_code == 0
    assert "warning: trainer_state.json is cut short or damaged" in done.stderr
    assert json.loads(done.stdout)["steps"] == 80  # the 90th is the half one


def test_json_has_null_for_what_is_not_finite(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"step": 1, "loss": "nan", "lr": "inf", "phase": "warmup"}\n')
    data = told("compare", str(tmp_path / "a.jsonl"))["a.jsonl"]
    assert (data["last_lr"], data["last_loss"], data["phases"][0]["lr"]) == (None, None, [None, None])


def test_a_run_is_named_by_its_folder(tmp_path: Path) -> None:
    run = recorded.write(tmp_path / "a run", wsd(100), 80)
    for given in (run, run / "lr_history.jsonl"):
        assert call("report", str(given), "-o", str(tmp_path / "a.png")).output.splitlines()[1].startswith("a run  wsd")


def test_a_run_that_is_named_twice_is_one(tmp_path: Path) -> None:
    run = recorded.write(tmp_path / "run", wsd(100), 80)
    assert list(told("compare", str(run), f"{run}/", f"{tmp_path}/./run")) == ["run"]


@pytest.mark.parametrize("command", ["report", "compare"])
def test_the_folder_that_one_is_in_has_its_name(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(recorded.write(tmp_path / "run", wsd(100), 80))
    output = CliRunner().invoke(main, [command, "."], catch_exceptions=False).output
    assert output.splitlines()[1].split()[:2] == ["run", "wsd"]


@pytest.mark.parametrize("head", [{"groups": 5}, {"peaks": 5}, {"peaks": ["x"]}, {"arguments": [1]}])
def test_a_damaged_head_is_named_and_the_rest_is_read(head: dict[str, Any], tmp_path: Path) -> None:
    run = recorded.write(tmp_path / "run", wsd(100), 80)
    with (run / "lr_history.jsonl").open("a") as file:
        file.write(json.dumps({"hf_lrsched": 1, "step": 80, "schedule": to_spec(wsd(100)), **head}) + "\n")
    done = call("report", str(run), "-o", str(tmp_path / "a.png"))
    assert done.exit_code == 0
    assert "warning" in done.stderr
    assert " 80 " in done.stdout


@pytest.mark.parametrize("line", ['{"step": 1, "loss": 2, "lrs": 5}', "[" * 100_000])
@pytest.mark.xfail(strict=True, reason="bug: a value of another kind than it should be is a traceback")
def test_json_lines_of_another_kind_are_named(line: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(f'{{"step": 1, "loss": 3}}\n{line}\n')
    done = call("compare", str(tmp_path / "a.jsonl"))
    assert (done.exit_code, len(done.stdout.splitlines())) == (0, 2)
