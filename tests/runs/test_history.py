"""Reading what runs have left: whole files, cut ones, other people's."""

from __future__ import annotations

import gzip
import json
import math
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch.utils.tensorboard import SummaryWriter

from hf_lrsched.runs.files import HISTORY
from hf_lrsched.runs.history import Event, History
from hf_lrsched.runs.reading import read_history

DATA = Path(__file__).parents[3] / "shared" / "data" / "trainer_states"

LOG: list[dict[str, Any]] = [
    {"step": 10, "epoch": 0.1, "loss": 3.0, "learning_rate": 1e-3, "grad_norm": 2.0},
    {"step": 10, "epoch": 0.1, "eval_loss": 3.1, "eval_runtime": 1.0},
    {"step": 20, "epoch": 0.2, "loss": "nan", "learning_rate": 5e-4, "grad_norm": "inf"},
    {"step": 20, "epoch": 0.2, "cooldown": "file cooldown.request", "cooldown_steps": 5},
    {"step": 30, "epoch": 0.3, "loss": 2.0, "learning_rate": 0.0, "grad_norm": 1.0},
    {"step": 30, "epoch": 0.3, "train_loss": 2.5, "train_runtime": 9.0},
]


def state(folder: Path, log: Any = None, name: str = "trainer_state.json") -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"global_step": 30, "logging_steps": 10, "log_history": LOG if log is None else log}))
    return file


def check(history: History) -> None:
    assert history.step.tolist() == [10, 20, 30]
    assert history.lr.tolist() == [[1e-3], [5e-4], [0.0]]
    assert history.loss[[0, 2]].tolist() == [3.0, 2.0]  # the run's mean, which Trainer logs last, is no point
    assert math.isnan(history.loss[1])
    assert history.grad_norm.tolist() == [2.0, math.inf, 1.0]
    assert (history.eval_step.tolist(), history.eval_loss.tolist()) == ([10], [3.1])


def test_a_trainer_state_by_its_name_its_folder_or_its_newest_checkpoint(tmp_path: Path) -> None:
    file = state(tmp_path / "run/checkpoint-30")
    state(tmp_path / "run/checkpoint-4", LOG[:1])
    for path in (file, file.parent, tmp_path / "run"):
        history = read_history(path)
        check(history)
        assert history.averaged == 10
        assert history.events == (Event(20, "cooldown", "file cooldown.request"),)
        assert history.missing == ("momentum", "tokens")
        assert history.source == str(file)


def test_a_trainer_state_that_was_cut_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    text = state(tmp_path).read_text()
    cut = tmp_path / "trainer_state.json"
    cut.write_text(text[: text.index('"step": 30')])
    history = read_history(cut)
    assert history.step.tolist() == [10, 20]
    assert "trainer_state.json is cut short or damaged" in history.unreadable[0]


def test_a_gzipped_file_that_was_cut_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    lines = "".join(json.dumps({"step": i, "loss": 1.0 / i}) + "\n" for i in range(1, 20_000))
    whole = gzip.compress(lines.encode())
    (tmp_path / "a.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    history = read_history(tmp_path / "a.jsonl.gz")
    assert 1000 < len(history) < 19_999
    assert history.loss.tolist() == (1.0 / history.step).tolist()
    assert "a.jsonl.gz is cut short" in history.unreadable[0]


def test_csv_and_json_lines_in_others_words(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("step,train/loss,lr,val_loss\n1,3.0,0.1,\n2,2.0,0.05,2.5\n3,1.0\n")
    history = read_history(tmp_path / "a.csv")
    assert history.loss.tolist() == [3.0, 2.0, 1.0]
    assert np.array_equal(history.lr[:, 0], [0.1, 0.05, np.nan], equal_nan=True)
    assert history.eval_loss.tolist() == [2.5]
    assert history.unreadable == ("1 rows have too few or too many cells (the first: line 4)",)
    (tmp_path / "a.jsonl").write_text('{"_step": 1, "loss": 3.0}\nrubbish\n[1]\n{"_step": 2, "train/learning_rate": 0.1}\n')
    history = read_history(tmp_path / "a.jsonl")
    assert history.step.tolist() == [1, 2]
    assert history.unreadable == ("2 lines could not be read (the first: line 2)",)


def test_what_is_not_there_or_says_nothing_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no file or folder"):
        read_history(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=f"holds no {HISTORY}, no trainer_state.json and no TensorBoard event files"):
        read_history(tmp_path)
    (tmp_path / "a.csv").write_text("iterations,loss\n1,2\n")
    with pytest.raises(ValueError, match=r"has no column for the step \(step, .*\); it has iterations, loss"):
        read_history(tmp_path / "a.csv")
    for name, text in (("a.jsonl", "rubbish"), ("b.json", "{}"), ("c.json", "rubbish"), ("d.jsonl", "")):
        (tmp_path / name).write_text(text)
        with pytest.raises(ValueError, match="holds no point of a run: no line with a step and a loss or a learning rate"):
            read_history(tmp_path / name)


def packed(first: int, losses: list[Any], **more: Any) -> str:
    line = {"steps": [first, len(losses)], "loss": losses, "lr": 1e-3, "grad_norm": 1.0, "momentum": 0.9, "phase": "stable"}
    return json.dumps({**line, **more}) + "\n"


def head(step: int) -> str:
    return json.dumps({"hf_lrsched": 1, "step": step, "groups": ["a", "b"], "peaks": [1e-3, 1e-4], "schedule": None}) + "\n"


def test_a_resume_takes_back_what_lay_beyond_it(tmp_path: Path) -> None:
    seen = head(0) + packed(1, [5.0, 4.0, 3.0, "nan", 9.0]) + '{"step":4,"eval_loss":3.5}\n' + '{"step":5,"eval_loss":8}\n'
    again = head(3) + packed(4, [2.0, 1.0], lr=[[1e-3, 1e-4], [1e-3, 1e-4]], skipped=[5]) + '{"steps":[6,1],"lo'
    (tmp_path / HISTORY).write_text(seen + again)
    history = read_history(tmp_path)
    assert history.step.tolist() == [1, 2, 3, 4, 5]
    assert history.loss.tolist() == [5.0, 4.0, 3.0, 2.0, 1.0]
    assert history.lr.tolist() == [[1e-3, 1e-3]] * 3 + [[1e-3, 1e-4]] * 2
    assert history.skipped.tolist() == [False] * 4 + [True]
    assert history.eval_step.tolist() == []
    assert history.events == (Event(3, "resume"),)
    assert history.groups == ("a", "b")
    assert history.unreadable == ("1 line could not be read (the first: line 7)",)


def test_a_run_that_began_anew_is_read_from_its_beginning(tmp_path: Path) -> None:
    (tmp_path / HISTORY).write_text(head(0) + packed(1, [5.0, 4.0]) + head(0) + packed(1, [3.0]))
    history = read_history(tmp_path)
    assert history.loss.tolist() == [3.0]
    assert history.events == ()


@pytest.mark.skipif(not DATA.is_dir(), reason="the public logs are not part of the project")
def test_two_real_logs() -> None:
    old, new = (read_history(file) for file in sorted(DATA.glob("*.json.gz"), reverse=True))
    assert (len(old), len(old.eval_step), old.missing) == (700, 70, ("grad_norm", "momentum", "tokens"))
    assert (len(new), len(new.eval_step), new.missing) == (2000, 0, ("momentum", "tokens", "eval_loss"))
    assert new.lr[0, 0] == 1e-4  # it says lr, the other learning_rate
    assert old.lr[0, 0] == pytest.approx(5.5555e-5, rel=1e-4)


def events(folder: Path, first: int, last: int) -> Path:
    """An event file as Trainer's callback writes it, of the steps from `first` to `last`."""
    with SummaryWriter(str(folder)) as writer:
        for step in range(first, last + 1):
            writer.add_scalar("train/loss", 5 - step / 10, step)
            writer.add_scalar("train/learning_rate", step * 1e-3, step)
        writer.add_scalar("eval/loss", 2.0 + first, last)
    [file] = folder.glob("*tfevents*")
    return file


def test_event_files_are_read(tmp_path: Path) -> None:
    history = read_history(events(tmp_path / "a", 1, 9))
    assert history.step.tolist() == list(range(1, 10))
    assert history.loss.tolist() == [float(np.float32(5 - step / 10)) for step in range(1, 10)]
    assert history.lr[:, 0].tolist() == [float(np.float32(step * 1e-3)) for step in range(1, 10)]
    assert (history.eval_step.tolist(), history.eval_loss.tolist()) == ([9], [3.0])
    assert history.missing == ("grad_norm", "momentum", "tokens")


def test_the_event_files_of_a_resumed_run_are_one_history(tmp_path: Path) -> None:
    for name, first, last, time in (("Nov01", 1, 6, 100), ("Nov02", 5, 9, 200)):  # a kill had lost the last checkpoint's rest
        os.utime(events(tmp_path / "runs" / name, first, last), (time, time))
    history = read_history(tmp_path)
    assert history.step.tolist() == list(range(1, 10))
    assert history.eval_loss.tolist() == [3.0, 7.0]


def test_an_event_file_that_was_cut_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    file = events(tmp_path, 1, 9)
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3])
    history = read_history(tmp_path)
    assert 3 < len(history) < 9
    assert "cut short or damaged" in history.unreadable[0]


def test_without_tensorboard_the_line_that_installs_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = events(tmp_path, 1, 2)
    monkeypatch.setitem(sys.modules, "tensorboard.backend.event_processing.event_file_loader", None)
    with pytest.raises(ModuleNotFoundError, match="pip install tensorboard"):
        read_history(file)


def test_a_csv_that_wandb_exports_is_read(tmp_path: Path) -> None:
    file = tmp_path / "wandb_export.csv"
    rows = ["Step,calm-sun-7 - train/loss,calm-sun-7 - train/learning_rate", "1,3.5,0.001", "2,3.0,0.002"]
    file.write_text("\ufeff" + "\n".join(rows), "utf-8")
    history = read_history(file)
    assert (history.step.tolist(), history.loss.tolist(), history.lr[:, 0].tolist()) == ([1, 2], [3.5, 3.0], [1e-3, 2e-3])


def test_a_csv_of_several_runs_says_that_one_was_read(tmp_path: Path) -> None:
    file = tmp_path / "two.csv"
    file.write_text("step,a - train/loss,b - train/loss\n1,3.5,2.5\n")
    assert read_history(file).unreadable == (
        "several columns are called train/loss, as of several runs; the last of each was read",
    )


ODD = [
    '{"steps": [3, 1000000000000], "loss": [1.0]}',
    '{"steps": [3, 2], "loss": [1.0, 2.0], "lr": [0.1]}',
    '{"steps": "x"}',
    '{"steps": [1e30, 1], "loss": [1.0]}',
    '{"step": null, "eval_loss": 1.0}',
    '{"event": "checkpoint"}',
]


@pytest.mark.parametrize("line", ODD)
def test_a_line_that_the_recorder_would_not_write_is_passed_over_and_counted(line: str, tmp_path: Path) -> None:
    lines = ['{"hf_lrsched": 1, "step": 0}', line, '{"steps": [1, 2], "loss": [2.0, 1.0], "lr": 0.1}']
    (tmp_path / HISTORY).write_text("\n".join(lines))
    history = read_history(tmp_path)
    assert history.step.tolist()[:2] == [1, 2]
    assert history.unreadable == ("1 line not as LRRecorder writes them",)


@pytest.mark.parametrize("step", [-5, 1e30, float("inf")])
def test_a_step_that_no_run_takes_is_passed_over_and_counted(step: float) -> None:
    history = History.of([{"step": step, "loss": 1.0}, {"step": 3, "loss": 2.0}])
    assert history.step.tolist() == [3]
    assert history.unreadable == ("1 line with a step below 0 or above 1e+15",)


def test_an_event_file_that_was_damaged_is_read_up_to_there(tmp_path: Path) -> None:
    file = events(tmp_path, 1, 100)
    data = bytearray(file.read_bytes())
    data[data.index(b"train/loss", len(data) // 2)] ^= 255  # within an event, whose checksum then says so
    file.write_bytes(data)
    history = read_history(tmp_path)
    assert 40 < len(history) < 60


@pytest.mark.xfail(strict=True, reason="bug: TensorBoard stops at a wrong checksum in silence, and so do we")
def test_an_event_file_that_was_damaged_is_named(tmp_path: Path) -> None:
    test_an_event_file_that_was_damaged_is_read_up_to_there(tmp_path)
    assert "cut short or damaged" in read_history(tmp_path).unreadable[0]


def test_an_event_file_without_a_point_is_refused(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)):
        pass
    with pytest.raises(ValueError, match="holds no point of a run"):
        read_history(tmp_path)


def test_a_history_made_by_hand_has_a_loss_at_every_step() -> None:
    made = History.of([{"step": 1, "loss": 2.0}, {"step": 2, "loss": float("nan")}])
    fields = {name: value for name, value in vars(made).items() if name != "logged"}
    assert History(**fields).logged.tolist() == [True, True]


def test_a_file_that_nests_without_end_is_refused_in_a_sentence(tmp_path: Path) -> None:
    file = tmp_path / "trainer_state.json"
    file.write_text("[" * 200_000)
    with pytest.raises(ValueError, match=r"could not be read|holds no point"):
        read_history(file)


def test_a_csv_with_a_field_without_an_end_is_refused_in_a_sentence(tmp_path: Path) -> None:
    file = tmp_path / "log.csv"
    file.write_text('step,loss\n1,"' + "x" * 200_000)
    with pytest.raises(ValueError, match="could not be read"):
        read_history(file)


def test_a_word_is_no_loss(tmp_path: Path) -> None:
    file = tmp_path / "log.csv"
    file.write_text("step,loss\n1,3\n2,nan\n3,abc\n4,2\n")
    history = read_history(file)
    assert history.step.tolist() == [1, 2, 4]
    assert np.isnan(history.loss[1])
    assert history.logged.all()
