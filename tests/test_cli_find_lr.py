"""`hf-lrsched find-lr`: a script that nobody edits is tested where it trains."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from hf_lrsched import RangeTest, cli, find_lr
from hf_lrsched.cli import running
from hf_lrsched.runs.files import FIND_LR, WORKERS

from .training.test_sweep import regressing

SCRIPT = """
import sys
import torch
from transformers import HfArgumentParser, Trainer, TrainingArguments


class Line(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(16, 1)

    def forward(self, x, labels):
        return {"loss": (self.layer(x)[:, 0] - labels).square().mean()}


[args] = HfArgumentParser(TrainingArguments).parse_args_into_dataclasses()
torch.manual_seed(0)
x = torch.randn(512, 16)
data = [{"x": one, "labels": one.sum()} for one in x]
trainer = Trainer(model=Line(), args=args, train_dataset=data)
trainer.train()
trainer.save_state()
print("trained at", args.learning_rate)
"""
FLAGS = (
    "--output_dir",
    "out",
    "--max_steps",
    "500",
    "--lr_scheduler_type",
    "wsd",
    "--report_to",
    "none",
    "--disable_tqdm",
    "True",
)


def call(*arguments: str) -> Result:
    return CliRunner().invoke(cli.main, ("find-lr", *arguments))


@pytest.fixture(autouse=True)
def _as_by_hand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> object:
    """In an empty folder with a script, not a launcher's worker; `find-lr` takes hold of signals, as `run` does."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text(SCRIPT)
    for name in (*running.LOCAL_RANKS, WORKERS, "RANK", "PYTHONPATH"):
        monkeypatch.delenv(name, raising=False)
    numbers = (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def test_a_script_is_tested_in_a_process_of_its_own_and_trains_at_what_was_found(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    done = call("--train", "train.py", *FLAGS, "--use_cpu", "True")
    printed = capfd.readouterr().out
    assert done.exit_code == 0, (done.output, printed)
    found = RangeTest.load(tmp_path / "lr_range_test.json")
    assert found.lr is not None
    assert f"learning_rate:     {found.lr:.2g}  (between" in printed
    assert f"trained at {found.lr}" in printed
    assert (tmp_path / "lr_range_test.png").stat().st_size > 10_000
    state = json.loads((tmp_path / "out/trainer_state.json").read_text())
    assert state["global_step"] == 500


class Started(BaseException):
    """What stands in for the command that would be started."""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the environment of a script says for these words, and what it then leaves."""

    def ask(*arguments: str, leaves: bool = True) -> tuple[dict[str, Any], Result]:
        told: dict[str, Any] = {}

        def supervise(words: list[str], environment: dict[str, str]) -> int:
            told.update(json.loads(environment[FIND_LR]))
            if leaves:
                Path(told["file"]).write_text("{}")
            return 0

        monkeypatch.setattr(running, "_supervise", supervise)
        return told, call(*arguments)

    return ask


def test_its_own_options_go_to_the_test_and_the_rest_to_the_script(asked: Any, tmp_path: Path) -> None:
    told, done = asked("--start_lr", "1e-6", "--steps", "200", "--ramp-only", "--seeds", "2", "train.py", "--steps", "3")
    assert done.exit_code == 0
    assert told == {
        "start_lr": 1e-6,
        "steps": 200,
        "probes": False,
        "seeds": 2,
        "snapshot": "memory",
        "file": str(tmp_path / "lr_range_test.json"),
        "train": False,
    }
    told, _ = asked("train.py")
    assert told["file"] == str(tmp_path / "lr_range_test-2.json")  # nothing is written over
    told, _ = asked("-o", "lr_range_test.json", "--train", "train.py")
    assert (told["file"], told["train"]) == (str(tmp_path / "lr_range_test.json"), True)


def test_a_script_that_never_trains_is_said(asked: Any) -> None:
    _, done = asked("train.py", leaves=False)
    assert done.exit_code == 1
    assert "train.py ended without calling Trainer.train(), so nothing was tested" in done.output


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("-o", "none/x.json", "train.py"), 1, "there is no folder"),
        (("none.py",), 2, "none.py is no file in"),
        ((), 2, "Missing argument"),
        (("--steps", "0", "train.py"), 2, "0 is not in the range"),
        (("--start_lr", "1", "--end_lr", "0.1", "train.py"), 2, "--start_lr 1 must be below --end_lr 0.1"),
        (("--start_lr", "-1", "train.py"), 2, "-1.0 is not in the range"),
    ],
)
def test_what_cannot_be_is_refused(arguments: tuple[str, ...], code: int, sentence: str) -> None:
    done = call(*arguments)
    assert done.exit_code == code
    assert sentence in done.output


# In the script's process


def test_a_script_that_tests_itself_is_tested_once_and_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer, alone = regressing(tmp_path / "run"), find_lr(regressing(tmp_path / "alone"))
    monkeypatch.setenv(FIND_LR, json.dumps({"file": str(tmp_path / "found.json"), "train": False}))
    assert find_lr(trainer).to_dict() == alone.to_dict()
    with pytest.raises(SystemExit):
        trainer.train()
    assert RangeTest.load(tmp_path / "found.json").to_dict() == alone.to_dict()
    assert "wsd over 600 steps" in capsys.readouterr().out


def test_a_resumed_training_and_processes_that_do_not_see_each_other_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, sentence in (
        ("resumed", "resumes from a checkpoint"),
        ("two", "2 processes were started, but this one sees 1"),
    ):
        monkeypatch.setenv(FIND_LR, json.dumps({"file": str(tmp_path / "found.json"), "train": True}))
        trainer = regressing(tmp_path / "run")
        if name == "two":
            monkeypatch.setenv("WORLD_SIZE", "2")
        with pytest.raises(SystemExit) as ended:
            trainer.train(resume_from_checkpoint="some" if name == "resumed" else None)
        assert ended.value.code == 1
        assert sentence in capsys.readouterr().err


def test_an_error_of_the_users_own_is_shown_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(examples: list[Any]) -> Any:
        raise ValueError("my own")

    trainer = regressing(tmp_path / "run")
    trainer.data_collator = wrong
    monkeypatch.setenv(FIND_LR, json.dumps({"file": str(tmp_path / "found.json"), "train": True}))
    with pytest.raises(ValueError, match="my own"):
        trainer.train()


def test_a_result_that_cannot_be_written_is_told_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "found.json").mkdir()
    monkeypatch.setenv(FIND_LR, json.dumps({"file": str(tmp_path / "found.json"), "train": False}))
    with pytest.raises(SystemExit) as ended:
        regressing(tmp_path / "run").train()
    said = capsys.readouterr()
    assert ended.value.code == 0
    assert "learning_rate:" in said.out
    assert "the result could not be written" in said.err


def test_the_first_training_of_a_process_is_tested_and_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = regressing(tmp_path / "run")
    words = {"file": str(tmp_path / "found.json"), "train": False, "probes": False}
    monkeypatch.setenv(FIND_LR, json.dumps(words))
    with pytest.raises(SystemExit) as ended:
        trainer.train()
    assert ended.value.code == 0
    assert RangeTest.load(tmp_path / "found.json").lr is not None
    assert "ramp:" in capsys.readouterr().out
    assert FIND_LR not in os.environ
    assert not trainer.state.log_history


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"start_lr": 1e-12, "end_lr": 1e-9}, "no learning rate:  between 1e-12 and 1e-09"),
        ({"steps": 3}, "error: steps=3 must be"),
    ],
)
def test_where_there_is_no_learning_rate_nothing_is_trained(
    words: dict[str, Any], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(FIND_LR, json.dumps({"file": str(tmp_path / "found.json"), "train": True, **words}))
    trainer = regressing(tmp_path / "run")
    with pytest.raises(SystemExit) as ended:
        trainer.train()
    assert ended.value.code == 1
    said = capsys.readouterr()
    assert sentence in said.out + said.err
    assert not trainer.state.log_history
