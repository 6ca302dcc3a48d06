"""Which checkpoints count as complete, and which `Checkpoints` keeps."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import Trainer, TrainerCallback, TrainerState, TrainingArguments

from hf_lrsched import Checkpoints, last_complete
from hf_lrsched.runs.files import MANIFEST, RUN
from hf_lrsched.training.checkpoints import is_complete, seal

from .test_trainer import data, same, tiny, trainer, watch, weights

FILES = {"model.safetensors": b"weights", "trainer_state.json": b"{}", "global_step/rank_0.pt": b"a part"}


def write_checkpoint(run: Path, step: int, *, sealed: bool = True) -> Path:
    folder = run / f"checkpoint-{step}"
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    if sealed:
        seal(folder)
    return folder


def newest(run: Path, before: int | None = None) -> str | None:
    found = last_complete(run, before)
    return None if found is None else Path(found).name


# last_complete


def test_of_several_the_newest_by_step_counts(tmp_path: Path) -> None:
    for step in (1000, 9, 100):
        os.utime(write_checkpoint(tmp_path, step), (step, 10**9 - step))
    assert newest(tmp_path) == "checkpoint-1000"
    assert last_complete(str(tmp_path)) == str(tmp_path / "checkpoint-1000")
    assert newest(tmp_path, before=1000) == "checkpoint-100"
    assert newest(tmp_path, before=100) == "checkpoint-9"
    assert newest(tmp_path, before=9) is None


def test_a_folder_without_checkpoints_has_none(tmp_path: Path) -> None:
    assert newest(tmp_path) is None
    assert newest(tmp_path / "absent") is None


def test_other_folders_and_files_are_no_checkpoints(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, 5)
    for name in ("checkpoint-7-old", "tmp-checkpoint-8", "checkpoint-", "checkpoint-x"):
        shutil.copytree(tmp_path / "checkpoint-5", tmp_path / name)
    (tmp_path / "checkpoint-9").write_text("a file")
    assert newest(tmp_path) == "checkpoint-5"


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "spoil",
    [lambda file: file.unlink(), lambda file: os.truncate(file, 1), lambda file: file.write_bytes(b"more than was written")],
    ids=["missing", "truncated", "longer"],
)
def test_one_whose_files_are_not_those_that_were_written_is_passed_over(
    spoil: Callable[[Path], None], name: str, tmp_path: Path
) -> None:
    write_checkpoint(tmp_path, 5)
    spoil(write_checkpoint(tmp_path, 10) / name)
    assert newest(tmp_path) == "checkpoint-5"


def test_a_file_that_came_later_does_no_harm(tmp_path: Path) -> None:
    (write_checkpoint(tmp_path, 10) / "notes.txt").write_text("by hand")
    assert newest(tmp_path) == "checkpoint-10"


def test_one_that_was_not_sealed_is_passed_over_where_others_were(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, 5)
    write_checkpoint(tmp_path, 10, sealed=False)
    (tmp_path / "checkpoint-15").mkdir()
    assert newest(tmp_path) == "checkpoint-5"


@pytest.mark.parametrize("content", ["", "{", "{}", "[]", "null", "3", '{"files": []}', '{"files": null}', "\0" * 30])
def test_one_with_a_manifest_that_is_none_is_passed_over(content: str, tmp_path: Path) -> None:
    write_checkpoint(tmp_path, 5)
    (write_checkpoint(tmp_path, 10) / MANIFEST).write_text(content)
    assert newest(tmp_path) == "checkpoint-5"


def test_without_any_manifest_it_goes_by_what_transformers_writes_last(tmp_path: Path) -> None:
    for step in (5, 10, 15, 20):
        write_checkpoint(tmp_path, step, sealed=False)
    (tmp_path / "checkpoint-20" / "trainer_state.json").unlink()
    (tmp_path / "checkpoint-15" / "trainer_state.json").write_text('{"global_step": 1')
    assert newest(tmp_path) == "checkpoint-10"


def test_a_run_whose_checkpoints_would_be_sealed_has_none_before_the_first_is(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, 5, sealed=False)
    (tmp_path / RUN).write_text("{}")
    assert newest(tmp_path) is None


# Checkpoints, in real runs


class Killed(Exception):  # it is what happens, not what went wrong
    """Where a run is ended from outside."""


class KillAt(TrainerCallback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            raise Killed


def run(folder: Path, *callbacks: TrainerCallback, save: int = 4, limit: int | None = None, **given: Any) -> Any:
    made = trainer(folder, "wsd", save_strategy="steps", save_steps=save, save_total_limit=limit, **given)
    for callback in callbacks:
        made.add_callback(callback)
    return made


def steps(folder: Path) -> list[int]:
    """The steps of the checkpoints in `folder`; all are complete."""
    found = [path for path in folder.iterdir() if path.name.startswith("checkpoint-")]
    assert all(is_complete(path) for path in found)
    return sorted(int(path.name.partition("-")[2]) for path in found)


def test_every_checkpoint_of_a_run_is_sealed_and_trains_on(tmp_path: Path) -> None:
    whole = run(tmp_path, Checkpoints(at=[6]))
    whole.train()
    assert steps(tmp_path) == [4, 6, 8, 12, 16, 20]
    sealed = json.loads((tmp_path / "checkpoint-6" / MANIFEST).read_text())
    there = {path.name for path in (tmp_path / "checkpoint-6").iterdir()} - {MANIFEST}
    assert there == set(sealed["files"]) >= {"model.safetensors", "optimizer.pt", "scheduler.pt", "trainer_state.json"}
    assert sealed["kept"] is True
    again = run(tmp_path / "again", Checkpoints())
    again.train(resume_from_checkpoint=last_complete(tmp_path, before=8))
    assert watch(again).lrs == watch(whole).lrs[6:]
    assert same(weights(again), weights(whole))


def test_the_limit_holds_but_for_those_that_are_kept_and_is_given_back(tmp_path: Path) -> None:
    made = run(tmp_path, Checkpoints(at=[6, 10]), limit=2)
    made.train()
    assert steps(tmp_path) == [6, 10, 16, 20]
    assert made.args.save_total_limit == 2


def test_what_to_keep_may_be_asked_of_a_function(tmp_path: Path) -> None:
    run(tmp_path, Checkpoints(keep=lambda step: step % 8 == 0), limit=1).train()
    assert steps(tmp_path) == [8, 16, 20]


def test_without_a_limit_nothing_is_deleted(tmp_path: Path) -> None:
    made = run(tmp_path, Checkpoints())
    made.train()
    assert steps(tmp_path) == [4, 8, 12, 16, 20]
    assert made.args.save_total_limit is None


def test_what_was_kept_stays_when_the_run_is_resumed_by_one_that_does_not_ask_for_it(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        run(tmp_path, Checkpoints(at=[6]), KillAt(9), limit=1).train()
    assert steps(tmp_path) == [6, 8]
    run(tmp_path, Checkpoints(), limit=1).train(resume_from_checkpoint=last_complete(tmp_path))
    assert steps(tmp_path) == [6, 20]


def test_two_of_them_keep_what_either_wants(tmp_path: Path) -> None:
    run(tmp_path, Checkpoints(at=[6]), Checkpoints(at=[10]), limit=1).train()
    assert steps(tmp_path) == [6, 10, 20]


@pytest.mark.parametrize("load_best", [False, True])
@pytest.mark.parametrize(("limit", "left"), [(1, [8, 20]), (2, [8, 16, 20])])
def test_the_best_checkpoint_is_never_deleted(limit: int, left: list[int], load_best: bool, tmp_path: Path) -> None:
    args = TrainingArguments(
        str(tmp_path), max_steps=20, lr_scheduler_type="wsd", save_steps=4, save_total_limit=limit, eval_strategy="steps",
        eval_steps=4, metric_for_best_model="loss", load_best_model_at_end=load_best, report_to=[], use_cpu=True,
    )  # fmt: skip
    made: Any = Trainer(model=tiny(), args=args, train_dataset=data(), eval_dataset=data(), callbacks=[Checkpoints()])
    made.evaluate = lambda *_, **__: {"eval_loss": abs(made.state.global_step - 8.0)}
    made.train()
    assert Path(made.state.best_model_checkpoint).name == "checkpoint-8"
    assert steps(tmp_path) == left
    assert made.args.save_total_limit == limit


# Nothing is deleted before the newest is whole

SAVING = {
    "before": (Trainer, "save_model"),
    "behind the weights": (Trainer, "_save_optimizer_and_scheduler"),
    "behind the optimizer": (Trainer, "_save_rng_state"),
    "in the state": (TrainerState, "save_to_json"),
}


@pytest.mark.parametrize("where", [*SAVING, "before the seal"])
@pytest.mark.parametrize("limit", [1, 2])
def test_a_run_that_is_killed_in_a_save_has_an_older_one_to_go_on_from(
    where: str, limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(tmp_path / "whole")
    whole.train()

    made = run(tmp_path / "run", Checkpoints(), limit=limit)

    def dying(function: Callable[..., Any]) -> Callable[..., Any]:
        def dies(*args: Any, **kwargs: Any) -> Any:
            if made.state.global_step == 12:
                raise Killed
            return function(*args, **kwargs)

        return dies

    if where in SAVING:
        owner, name = SAVING[where]
        monkeypatch.setattr(owner, name, dying(getattr(owner, name)))
    else:
        monkeypatch.setattr("hf_lrsched.training.checkpoints.seal", dying(seal))
    with pytest.raises(Killed):
        made.train()
    monkeypatch.undo()

    assert newest(tmp_path / "run") == "checkpoint-8"
    again = run(tmp_path / "run", Checkpoints(), limit=limit)
    again.train(resume_from_checkpoint=last_complete(tmp_path / "run"))
    assert watch(again).lrs == watch(whole).lrs[8:]
    assert same(weights(again), weights(whole))
    assert steps(tmp_path / "run") == [16, 20][-limit:]


def test_what_is_deleted_is_older_than_one_that_is_complete_and_is_unsealed_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = run(tmp_path, Checkpoints(), limit=1)
    removed = []
    rmtree = shutil.rmtree

    def watched(folder: Any, *args: Any, **kwargs: Any) -> None:
        if Path(folder).parent == tmp_path:
            removed.append(Path(folder).name)
            assert newest(tmp_path) == f"checkpoint-{made.state.global_step}"
            assert not is_complete(folder)
        rmtree(folder, *args, **kwargs)

    monkeypatch.setattr(shutil, "rmtree", watched)
    made.train()
    assert removed == ["checkpoint-4", "checkpoint-8", "checkpoint-12", "checkpoint-16"]


# What an earlier run has left


def test_checkpoints_beyond_the_step_resumed_from_are_no_longer_complete(tmp_path: Path) -> None:
    run(tmp_path, Checkpoints(), learning_rate=3e-3).train()
    assert newest(tmp_path) == "checkpoint-20"
    with pytest.raises(Killed):  # while the old 12, 16 and 20 are still there
        run(tmp_path, Checkpoints(), KillAt(10)).train(resume_from_checkpoint=str(tmp_path / "checkpoint-8"))
    assert (tmp_path / "checkpoint-20" / "model.safetensors").exists()
    assert newest(tmp_path) == "checkpoint-8"
    with pytest.raises(Killed):
        run(tmp_path, Checkpoints(), KillAt(13)).train(resume_from_checkpoint=last_complete(tmp_path))
    assert newest(tmp_path) == "checkpoint-12"
    run(tmp_path, Checkpoints()).train(resume_from_checkpoint=last_complete(tmp_path))
    assert steps(tmp_path) == [4, 8, 12, 16, 20]


def test_a_new_run_in_an_old_folder_has_no_checkpoint_yet(tmp_path: Path) -> None:
    run(tmp_path, Checkpoints()).train()
    with pytest.raises(Killed):
        run(tmp_path, Checkpoints(), KillAt(2)).train()
    assert newest(tmp_path) is None


def test_the_limit_does_not_count_what_lies_beyond(tmp_path: Path) -> None:
    run(tmp_path, Checkpoints()).train()
    with pytest.raises(Killed):
        run(tmp_path, Checkpoints(), KillAt(13), limit=1).train(resume_from_checkpoint=str(tmp_path / "checkpoint-8"))
    assert newest(tmp_path) == "checkpoint-12"


@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_finished_run_that_is_resumed_trains_no_step_more(accumulation: int, tmp_path: Path) -> None:
    given = {"gradient_accumulation_steps": accumulation}
    first = run(tmp_path, Checkpoints(), **given)
    first.train()
    again = run(tmp_path, Checkpoints(), **given)
    again.train(resume_from_checkpoint=last_complete(tmp_path))
    assert again.state.global_step == 20
    assert watch(again).lrs == []
    assert same(weights(again), weights(first))
    assert steps(tmp_path) == [4, 8, 12, 16, 20]


def test_a_second_train_of_the_same_trainer_has_the_limit_again(tmp_path: Path) -> None:
    made = run(tmp_path, Checkpoints(), limit=1)
    made.train()
    made.train()
    assert steps(tmp_path) == [20]
    assert made.args.save_total_limit == 1


def test_the_workers_of_a_run_stand_in_its_folder(tmp_path: Path) -> None:
    run(tmp_path, Checkpoints()).train()
    [worker] = json.loads((tmp_path / RUN).read_text())["workers"]
    assert (worker["rank"], worker["pid"]) == (0, os.getpid())
