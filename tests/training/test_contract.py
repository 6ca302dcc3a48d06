"""Transformers' internals that `registration`, `host` and `trackers` touch, as they touch them.

Runs against the newest Transformers and, from `test_oldest`, against the oldest supported one. A test that fails here
says what Transformers changed and which part of the three rests on it.
"""

from __future__ import annotations

import importlib
import inspect
import json
import pickle
import shutil
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
import transformers.integrations.integration_utils
import transformers.optimization
import transformers.trainer
import transformers.trainer_pt_utils
import transformers.trainer_utils
import transformers.training_args
import wrapt
from torch import nn
from torch.optim import SGD
from torch.utils.data import IterableDataset
from transformers import (
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from hf_lrsched import CATALOGUE, ScheduleLR, register, unregister, wsd
from hf_lrsched.training import host, registration

VERSION = f"Transformers {transformers.__version__}"

optimization: Any = transformers.optimization
trainer_utils: Any = transformers.trainer_utils
integration_utils: Any = transformers.integrations.integration_utils
SchedulerType: Any = trainer_utils.SchedulerType


@pytest.fixture
def unregistered() -> Iterator[None]:
    unregister()
    yield
    register()


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss": nn.functional.mse_loss(self.layer(x).squeeze(-1), labels)}


def arguments(folder: Path, **given: Any) -> Any:
    plain = {"use_cpu": True, "report_to": [], "disable_tqdm": True, "save_strategy": "no", "lr_scheduler_type": "wsd"}
    return TrainingArguments(output_dir=str(folder), **{**plain, **given})


def trainer(folder: Path, **given: Any) -> Any:
    data: Any = [{"x": torch.ones(2), "labels": torch.ones(())}] * 8
    return Trainer(model=Tiny(), args=arguments(folder, **given), train_dataset=data)


def refusal(call: Callable[[], object]) -> str:
    """What a ValueError says."""
    try:
        call()
    except ValueError as refused:
        return str(refused)
    return "nothing was refused"


def sgd() -> SGD:
    return SGD([nn.Parameter(torch.ones(1))], lr=0.1)


# SchedulerType


def test_scheduler_type_is_a_str_enum_with_the_attributes_that_registration_edits(unregistered: None) -> None:
    assert issubclass(SchedulerType, str), f"{VERSION}: SchedulerType is no str any more; _add_members builds on it"
    assert issubclass(SchedulerType, Enum), f"{VERSION}: SchedulerType is no Enum any more; _add_members builds on it"
    members = list(SchedulerType)
    assert members, f"{VERSION}: SchedulerType has no members"
    said = f"{VERSION}: %s of SchedulerType is not what _remove_members edits"
    assert SchedulerType._member_names_ == [member.name for member in members], said % "_member_names_"
    assert SchedulerType._member_map_ == {member.name: member for member in members}, said % "_member_map_"
    assert SchedulerType._value2member_map_ == {member.value: member for member in members}, said % "_value2member_map_"


def test_every_name_of_transformers_is_known_without_importing_it(unregistered: None) -> None:
    names, ours = {member.value: member.name for member in SchedulerType}, {n for n, e in CATALOGUE.items() if e.registered}
    gained = set(names) - set(registration._THEIRS)
    assert not gained, f"{VERSION} has gained the schedules {sorted(gained)}; add them to registration._THEIRS"
    taken = ours & set(names) | {name for name in ours if name.upper() in names.values()}
    assert not taken, f"{VERSION} has taken the names {sorted(taken)}, which are the catalogue's; rename ours"


def test_the_modules_that_are_hooked_are_those_that_hold_the_names() -> None:
    where = f"{VERSION}: %s is not where registration._HOOKED looks for it"
    for hooked, name in registration._HOOKED.items():
        held = getattr(importlib.import_module(hooked), name, None)
        assert getattr(held, "__module__", None) == hooked, where % name
    assert transformers.get_scheduler is optimization.get_scheduler, where % "transformers.get_scheduler"
    for module in (optimization, transformers.training_args):
        assert module.SchedulerType is SchedulerType, f"{VERSION}: {module.__name__} has a SchedulerType of its own"


def test_an_unknown_name_is_refused_by_the_enum_itself(unregistered: None, tmp_path: Path) -> None:
    said = f"{VERSION}: %s does not call SchedulerType(name) any more, so a member may not be what makes a name valid"
    for what, call in {
        "TrainingArguments": lambda: arguments(tmp_path, lr_scheduler_type="wsd"),
        "set_lr_scheduler": lambda: arguments(tmp_path, lr_scheduler_type="linear").set_lr_scheduler("wsd"),
        "get_scheduler": lambda: optimization.get_scheduler("wsd", sgd(), 0, 10),
    }.items():
        assert "wsd is not a valid SchedulerType" in refusal(call), said % what


def test_arguments_hold_the_member(tmp_path: Path) -> None:
    said = f"{VERSION}: %s does not keep SchedulerType(name) any more"
    assert arguments(tmp_path).lr_scheduler_type is SchedulerType("wsd"), said % "TrainingArguments"
    args = arguments(tmp_path, lr_scheduler_type="linear").set_lr_scheduler("wsd")
    assert args.lr_scheduler_type is SchedulerType("wsd"), said % "set_lr_scheduler"


def test_a_member_pickles_by_reduce_ex_as_its_class_and_value(unregistered: None) -> None:
    said = f"{VERSION}: SchedulerType's members pickle in another way, which _reducer does not know"
    assert SchedulerType.LINEAR.__reduce_ex__(2) == (SchedulerType, ("linear",)), said
    assert pickle.loads(pickle.dumps(SchedulerType.LINEAR)) is SchedulerType.LINEAR, said


# The factory


def test_every_member_has_a_function_in_the_factory() -> None:
    said = f"{VERSION}: TYPE_TO_SCHEDULER_FUNCTION is no dict from member to function any more; _sync fills it"
    assert type(optimization.TYPE_TO_SCHEDULER_FUNCTION) is dict, said
    assert set(optimization.TYPE_TO_SCHEDULER_FUNCTION) == set(SchedulerType), said


def test_the_factory_calls_with_the_words_that_our_builders_take(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def recorded(*args: Any, **kwargs: Any) -> str:
        calls.append((args, kwargs))
        return "what the builder returns"

    monkeypatch.setitem(optimization.TYPE_TO_SCHEDULER_FUNCTION, SchedulerType("wsd"), recorded)
    optimizer = sgd()
    for name in ("wsd", SchedulerType("wsd")):
        made = optimization.get_scheduler(name, optimizer, 3, 10, {"decay": 4})
        assert made == "what the builder returns", f"{VERSION}: get_scheduler does not return what the builder does"
    expected = ((optimizer,), {"num_warmup_steps": 3, "num_training_steps": 10, "decay": 4})
    assert calls == [expected] * 2, f"{VERSION}: get_scheduler calls a builder in another form; see _builder"
    signature = list(inspect.signature(optimization.get_scheduler).parameters)
    known = ["name", "optimizer", "num_warmup_steps", "num_training_steps", "scheduler_specific_kwargs"]
    assert signature == known, f"{VERSION}: get_scheduler has other arguments"


@pytest.mark.parametrize("missing", ["num_warmup_steps", "num_training_steps"])
def test_the_factory_refuses_a_missing_number_of_steps(missing: str) -> None:
    given = {"num_warmup_steps": 0, "num_training_steps": 10}
    del given[missing]
    with pytest.raises(ValueError, match=f"requires `{missing}`"):
        optimization.get_scheduler("wsd", sgd(), **given)


def test_the_factory_itself_refuses_its_own_words_in_the_kwargs() -> None:
    # So `num_warmup_steps` and `num_training_steps` never reach a builder from lr_scheduler_kwargs.
    for word in ("num_warmup_steps", "num_training_steps"):
        with pytest.raises(TypeError, match=f"multiple values for keyword argument '{word}'"):
            optimization.get_scheduler("wsd", sgd(), 3, 10, {word: 3})


def test_the_trainer_passes_steps_warm_up_and_kwargs_to_the_factory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls = []

    def recorded(*args: Any, **kwargs: Any) -> Any:
        calls.append((args, kwargs))

    monkeypatch.setitem(optimization.TYPE_TO_SCHEDULER_FUNCTION, SchedulerType("wsd"), recorded)
    optimizer = sgd()
    made = trainer(tmp_path, warmup_steps=0.055, lr_scheduler_kwargs={"decay": "10%"})
    made.create_scheduler(num_training_steps=100, optimizer=optimizer)
    expected = ((optimizer,), {"num_warmup_steps": 6, "num_training_steps": 100, "decay": "10%"})
    assert calls == [expected], f"{VERSION}: Trainer.create_scheduler passes something else to get_scheduler"


@pytest.mark.parametrize(("given", "steps"), [(0, 0), (0.05, 5), (0.055, 6), (0.033, 4), (1, 1), (2.9, 2), (30, 30)])
def test_warmup_steps_below_1_is_a_share_rounded_up_and_else_whole_steps(given: float, steps: int, tmp_path: Path) -> None:
    made = arguments(tmp_path, warmup_steps=given).get_warmup_steps(100)
    assert made == steps, f"{VERSION}: get_warmup_steps rounds in another way; see _check_same_warmup and lengths"
    assert type(made) is int, f"{VERSION}: get_warmup_steps is not whole any more"


def test_an_unset_warm_up_cannot_be_told_from_0(tmp_path: Path) -> None:
    unset, zero = arguments(tmp_path), arguments(tmp_path, warmup_steps=0)
    said = f"{VERSION} can tell an unset warmup_steps from 0; _make need not take 0 for unset any more"
    assert unset.warmup_steps == zero.warmup_steps, said


# Layer-wise optimizers


def test_the_layer_wise_scheduler_is_looked_up_where_it_is_replaced() -> None:
    theirs = transformers.trainer_pt_utils.LayerWiseDummyScheduler
    said = f"{VERSION}: LayerWiseDummyScheduler is not looked up in transformers.optimization; see _mend_layer_wise"
    assert getattr(optimization.LayerWiseDummyScheduler, "mends", None) is theirs, said
    dummy: Any = transformers.trainer_pt_utils.LayerWiseDummyOptimizer
    own = {nn.Parameter(torch.ones(1)): sgd() for _ in range(2)}
    made = optimization.get_scheduler("linear", dummy(optimizer_dict=own, lr=0.1), 0, 10)
    assert type(made) is optimization.LayerWiseDummyScheduler, said


def test_the_layer_wise_scheduler_still_needs_mending() -> None:
    theirs: Any = transformers.trainer_pt_utils.LayerWiseDummyScheduler
    said = (
        f"{VERSION} has mended LayerWiseDummyScheduler: delete _mend_layer_wise and what undoes it, once 5.0 is unsupported"
    )
    own = {nn.Parameter(torch.ones(1)): sgd() for _ in range(2)}
    assert "zip" in refusal(lambda: theirs(optimizer_dict=own, lr=0.1)), said


# Checkpoints


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run under wsd with a checkpoint after its third step."""
    folder = tmp_path_factory.mktemp("run")
    trainer(folder, max_steps=4, save_strategy="steps", save_steps=3, lr_scheduler_kwargs={"warmup": 1}).train()
    return folder


def test_the_trainer_saves_the_schedulers_state_as_it_is(run: Path) -> None:
    saved = torch.load(run / "checkpoint-3" / "scheduler.pt", weights_only=True)
    assert saved["last_epoch"] == 3, f"{VERSION}: scheduler.pt is not the scheduler's state_dict any more"
    expected = ScheduleLR(sgd(), wsd(4, warmup=1)).state_dict()
    assert set(saved) == set(expected), f"{VERSION}: scheduler.pt is not the scheduler's state_dict any more"
    assert saved["schedule"] == expected["schedule"], f"{VERSION}: scheduler.pt is not the scheduler's state_dict any more"


def test_the_trainer_builds_the_scheduler_then_loads_optimizer_then_scheduler_with_weights_only(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[str] = []
    weights_only = []
    load = torch.load

    def loading(file: Any, *args: Any, **kwargs: Any) -> Any:
        if str(file).endswith("scheduler.pt"):
            weights_only.append(kwargs.get("weights_only"))
        return load(file, *args, **kwargs)

    def tell(owner: Any, method: str, what: str) -> None:
        function = getattr(owner, method)

        def telling(*args: Any, **kwargs: Any) -> Any:
            happened.append(what)
            return function(*args, **kwargs)

        monkeypatch.setattr(owner, method, telling)

    monkeypatch.setattr(torch, "load", loading)
    tell(Trainer, "create_scheduler", "scheduler built")
    tell(torch.optim.AdamW, "load_state_dict", "optimizer loaded")
    tell(ScheduleLR, "load_state_dict", "scheduler loaded")
    made = trainer(run, max_steps=4, lr_scheduler_kwargs={"warmup": 1})
    made.train(resume_from_checkpoint=str(run / "checkpoint-3"))
    # Twice: `host` looks first, and then Trainer.
    assert weights_only == [True, True], f"{VERSION}: scheduler.pt is loaded in another way than weights_only=True"
    other = f"{VERSION}: Trainer resumes in another order: {happened}"
    assert happened[-2:] == ["optimizer loaded", "scheduler loaded"], other
    assert "scheduler built" in happened[:-2], other  # accelerate loads the optimizer's own state in between
    assert made.lr_scheduler.last_epoch == 4


def test_training_args_bin_is_written_by_pickle_and_opens(run: Path) -> None:
    written = (run / "checkpoint-3" / "training_args.bin").read_bytes()
    assert b"SchedulerType" not in written, f"{VERSION}: training_args.bin holds our member, not its plain name; see _reducer"
    loaded = torch.load(run / "checkpoint-3" / "training_args.bin", weights_only=False)
    assert type(loaded).__name__ == "TrainingArguments", f"{VERSION}: training_args.bin holds something else"
    assert type(loaded.lr_scheduler_type) is str, f"{VERSION}: training_args.bin does not hold the plain name"
    assert (loaded.lr_scheduler_type, loaded.lr_scheduler_kwargs) == ("wsd", {"warmup": 1})
    assert optimization.get_scheduler(loaded.lr_scheduler_type, sgd(), 0, 4).schedule == wsd(4)


# The methods of Trainer that `host` is put around


@pytest.fixture
def unmended() -> Iterator[None]:
    """Trainer as it is without `host`, while our schedules stay registered."""
    host.unmend(transformers.trainer)
    yield
    host.mend(transformers.trainer)


SIGNATURES = {
    "train": ["self", "resume_from_checkpoint", "trial", "ignore_keys_for_eval"],
    "_load_optimizer_and_scheduler": ["self", "checkpoint"],
    "get_batch_samples": ["self", "epoch_iterator", "num_batches", "device"],
    "training_step": ["self", "model", "inputs", "num_items_in_batch"],
    "_get_grad_norm": ["self", "model", "grad_norm"],
}
NEWER = {"_get_grad_norm"}  # not in the oldest Transformers, where the gradient's norm stays unknown


@pytest.mark.parametrize("name", SIGNATURES)
def test_the_methods_are_trainers_own_and_take_what_ours_pass_on(unmended: None, name: str) -> None:
    if name in NEWER and transformers.__version__ == "5.0.0":
        pytest.skip(f"{VERSION} has no {name}, which `host` knows")
    assert name in Trainer.__dict__, f"{VERSION}: Trainer has no {name} of its own; see host.MENDED"
    signature = list(inspect.signature(Trainer.__dict__[name]).parameters)
    assert signature == SIGNATURES[name], f"{VERSION}: Trainer.{name} takes something else; see host"


def test_every_method_that_is_mended_is_looked_at_here() -> None:
    assert set(host.MENDED) == set(SIGNATURES)


def test_mending_twice_is_mending_once_and_unmending_leaves_trainer_as_it_was(unregistered: None) -> None:
    before = dict(vars(Trainer))
    there = set(host.MENDED) & set(before)
    assert not any(isinstance(before[name], wrapt.FunctionWrapper) for name in there)
    host.unmend(transformers.trainer)
    assert dict(vars(Trainer)) == before
    register()
    mended = dict(vars(Trainer))
    assert {name for name in before if mended[name] is not before[name]} == there
    assert mended.keys() == before.keys()
    assert all(mended[name].__wrapped__ is before[name] for name in there)
    host.mend(transformers.trainer)
    register()
    assert all(vars(Trainer)[name] is mended[name] for name in mended)
    unregister()
    assert dict(vars(Trainer)) == before
    assert all(vars(Trainer)[name] is before[name] for name in before)


class Recorded(Trainer):
    """Tells what it is asked for, as `host` is."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.loads: list[Any] = []
        self.batches: list[Any] = []
        super().__init__(*args, **kwargs)

    def _load_optimizer_and_scheduler(self, *args: Any, **kwargs: Any) -> Any:
        self.loads.append((args, kwargs, type(self.lr_scheduler)))
        return super()._load_optimizer_and_scheduler(*args, **kwargs)

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        got = super().get_batch_samples(*args, **kwargs)
        self.batches.append((args[1:], kwargs, len(got[0]), self.state.global_step))
        return got


def recorded(folder: Path, dataset: Any = None, **given: Any) -> Any:
    data: Any = [{"x": torch.ones(2), "labels": torch.ones(())}] * 8 if dataset is None else dataset
    return Recorded(model=Tiny(), args=arguments(folder, **given), train_dataset=data)


def test_the_trainer_loads_by_that_method_once_the_scheduler_is_made(run: Path, tmp_path: Path) -> None:
    checkpoint = str(run / "checkpoint-3")
    made = recorded(tmp_path, max_steps=4, lr_scheduler_kwargs={"warmup": 1})
    made.train(resume_from_checkpoint=checkpoint)
    said = f"{VERSION}: Trainer loads optimizer and scheduler in another way; see host._load"
    assert made.loads == [((checkpoint,), {}, ScheduleLR)], said


def test_a_checkpoint_holds_the_step_of_the_run(run: Path) -> None:
    state = json.loads((run / "checkpoint-3" / "trainer_state.json").read_text())
    assert state["global_step"] == 3, f"{VERSION}: trainer_state.json does not hold the run's step any more"


def test_the_trainer_gets_the_batches_of_every_update_by_that_method(tmp_path: Path) -> None:
    made = recorded(tmp_path, max_steps=3, per_device_train_batch_size=2, gradient_accumulation_steps=2)
    made.train()
    expected: list[Any] = [((2, made.args.device), {}, 2, step) for step in range(3)]
    assert made.batches == expected, f"{VERSION}: Trainer gets its batches in another way; see host._batches"


def test_a_finished_run_that_is_resumed_within_an_epoch_still_trains_one_step_more(run: Path, tmp_path: Path) -> None:
    made = trainer(tmp_path, max_steps=3, per_device_train_batch_size=2, lr_scheduler_kwargs={"warmup": 1})
    made.train(resume_from_checkpoint=str(run / "checkpoint-3"))
    if made.state.train_batch_size == 8:
        pytest.skip(f"{VERSION} goes on with the checkpoint's batch size, and then an epoch is over")
    said = f"{VERSION} does not train on where a finished run is resumed; host._batches need not stop it any more"
    assert made.state.global_step == 4, said


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter([{"x": torch.ones(2), "labels": torch.ones(())}] * 16)


def test_a_stream_that_has_ended_is_still_asked_for_every_update_that_is_left(tmp_path: Path) -> None:
    made = recorded(tmp_path, Stream(), max_steps=6)
    made.train()
    empty = [step for *_, batches, step in made.batches if not batches]
    said = f"{VERSION} does not ask an ended stream for every update that is left; host._batches need not end the epoch"
    assert empty == [2] * 4 + [4] * 4, said


def test_a_checkpoint_of_ours_still_ends_in_a_key_error_under_transformers_own_schedules(
    unmended: None, run: Path, tmp_path: Path
) -> None:
    with pytest.raises(KeyError) as error:  # the README names it
        trainer(tmp_path, max_steps=4, lr_scheduler_type="linear").train(resume_from_checkpoint=str(run / "checkpoint-3"))
    assert error.value.args == ("lr_lambdas",), f"{VERSION} refuses our checkpoint in other words than the README names"


@pytest.mark.parametrize("missing", ["scheduler.pt", "optimizer.pt"])
def test_a_missing_file_is_still_passed_over_in_silence(unmended: None, missing: str, run: Path, tmp_path: Path) -> None:
    checkpoint = shutil.copytree(run / "checkpoint-3", tmp_path / "checkpoint-3")
    (checkpoint / missing).unlink()
    made = trainer(tmp_path, max_steps=4, lr_scheduler_kwargs={"warmup": 1})
    made.train(resume_from_checkpoint=str(checkpoint))
    said = f"{VERSION} does not start the schedule anew any more where {missing} is missing; host need not look for it"
    assert (made.state.global_step, made.lr_scheduler.last_epoch) == (4, 1), said


class Heard(TrainerCallback):
    """What `host` hands on."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.norms: list[float] = []

    def saw_loss(self, loss: torch.Tensor) -> None:
        self.losses.append(loss.item())

    def saw_grad_norm(self, norm: torch.Tensor | float | None) -> None:
        self.norms.append(float(norm or 0.0))


def test_losses_and_norms_are_handed_on_as_trainer_has_them(tmp_path: Path) -> None:
    words = {"max_steps": 3, "gradient_accumulation_steps": 2, "per_device_train_batch_size": 2, "logging_steps": 1}
    made = trainer(tmp_path, lr_scheduler_kwargs={"warmup": 1}, max_grad_norm=1e-3, **words)
    made.add_callback(heard := Heard())
    made.train()
    log = [line for line in made.state.log_history if "loss" in line]
    pairs = zip(heard.losses[::2], heard.losses[1::2], strict=True)
    said = f"{VERSION}: training_step returns something else; see host._step"
    assert [float(line["loss"]) for line in log] == pytest.approx([one + other for one, other in pairs], rel=1e-3), said
    if heard.norms or transformers.__version__ != "5.0.0":
        said = f"{VERSION}: _get_grad_norm returns something else; see host._norm"
        assert heard.norms == pytest.approx([float(line["grad_norm"]) for line in log], rel=1e-3), said
        assert min(heard.norms) > 1e-3, said  # before clipping


class Met(TrainerCallback):
    """When it was given its Trainer, and what that Trainer had then."""

    def __init__(self) -> None:
        self.happened: list[str] = []
        self.trainers: list[Any] = []
        self.optimizers: list[Any] = []

    def saw_trainer(self, trainer: Any) -> None:
        self.happened.append("trainer")
        self.trainers.append(trainer)
        self.optimizers.append(trainer.optimizer)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.happened.append("begin")


class Derived(Trainer):
    """As TRL's trainers, which do something of their own before they train."""

    def train(self, *args: Any, **kwargs: Any) -> Any:
        return super().train(*args, **kwargs)


@pytest.mark.parametrize("kind", [Trainer, Seq2SeqTrainer, Derived])
@pytest.mark.parametrize("resumed", [False, True])
def test_callbacks_are_given_the_trainer_before_the_run_begins(
    kind: type[Trainer], resumed: bool, run: Path, tmp_path: Path
) -> None:
    data: Any = [{"x": torch.ones(2), "labels": torch.ones(())}] * 8
    words: dict[str, Any] = {"max_steps": 4, "lr_scheduler_kwargs": {"warmup": 1}, "use_cpu": True, "report_to": []}
    both: Any = Seq2SeqTrainingArguments if kind is Seq2SeqTrainer else TrainingArguments
    args = both(str(tmp_path), lr_scheduler_type="wsd", disable_tqdm=True, save_strategy="no", **words)
    made: Any = kind(model=Tiny(), args=args, train_dataset=data, callbacks=[met := Met()])
    made.train(resume_from_checkpoint=str(run / "checkpoint-3") if resumed else None)
    said = f"{VERSION}: a training does not begin with Trainer.train any more; see host._train"
    assert met.happened == ["trainer", "begin"], said
    assert met.trainers == [made], said
    assert met.optimizers == [None], f"{VERSION}: Trainer has its optimizer before it trains; host may say so"
    made.train()
    assert met.happened == ["trainer", "begin"] * 2, said


# Where a Trainer reports to


TRACKERS = {"tensorboard": "TensorBoardCallback", "wandb": "WandbCallback", "trackio": "TrackioCallback"}


@pytest.mark.parametrize("name", TRACKERS)
def test_a_tracker_is_listed_by_its_name_and_is_a_callback(name: str) -> None:
    listed = integration_utils.INTEGRATION_TO_CALLBACK
    assert type(listed) is dict, f"{VERSION}: INTEGRATION_TO_CALLBACK is no dict any more; trackers.report looks through it"
    assert all(isinstance(kind, type) and issubclass(kind, TrainerCallback) for kind in listed.values())
    said = f"{VERSION}: the callback for {name} is not {TRACKERS[name]} any more; see trackers.report_figure"
    assert listed[name].__name__ == TRACKERS[name], said
    assert integration_utils.get_reporting_integration_callbacks([name]) == [listed[name]], said


def test_what_a_trainer_reports_to_is_among_its_callbacks(tmp_path: Path) -> None:
    made = trainer(tmp_path, report_to=["tensorboard"])
    kinds = [type(callback) for callback in made.callback_handler.callbacks]
    said = f"{VERSION}: report_to does not become a callback any more; trackers.report looks for it there"
    assert integration_utils.TensorBoardCallback in kinds, said


class Library:
    """What W&B's and Trackio's callbacks hold, and TensorBoard's writer: it keeps what it is sent."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def log(self, row: dict[str, Any]) -> None:
        self.rows.append(row)

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.rows.append({name: value, "train/global_step": step})

    def flush(self) -> None:
        pass


HELD = {"tensorboard": "tb_writer", "wandb": "_wandb", "trackio": "_trackio"}


@pytest.mark.parametrize("name", HELD)
def test_a_tracker_sends_what_it_gets_in_on_log_by_what_it_holds(name: str, tmp_path: Path) -> None:
    tracker = object.__new__(integration_utils.INTEGRATION_TO_CALLBACK[name])  # its library may not be installed
    vars(tracker).update({HELD[name]: (library := Library()), "_initialized": True})
    state = TrainerState(global_step=7, is_world_process_zero=True)
    tracker.on_log(arguments(tmp_path), state, TrainerControl(), logs={"lr/0": 0.5}, model=Tiny())
    [row] = library.rows
    said = f"{VERSION}: {TRACKERS[name]} sends its logs in another way than by {HELD[name]}; see trackers.report"
    assert (row["train/lr/0"], row["train/global_step"]) == (0.5, 7), said


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_tracker_holds_its_library_from_the_beginning(name: str) -> None:
    source = inspect.getsource(integration_utils.INTEGRATION_TO_CALLBACK[name].__init__)
    said = f"{VERSION}: {TRACKERS[name]} does not hold its library as {HELD[name]}; see trackers.report_figure"
    assert f"self.{HELD[name]} = {name}\n" in source, said


class Listens(TrainerCallback):
    """Whether TensorBoard's writer is there, with every event and what was logged."""

    def __init__(self) -> None:
        self.writer: Callable[[], Any] = lambda: None
        self.happened: list[tuple[str, bool, bool]] = []

    def saw_trainer(self, trainer: Any) -> None:
        kind, all_of_them = integration_utils.TensorBoardCallback, trainer.callback_handler.callbacks
        [tracker] = [callback for callback in all_of_them if isinstance(callback, kind)]
        self.writer = lambda: tracker.tb_writer

    def note(self, event: str, logs: Any = ()) -> None:
        self.happened.append((event, self.writer() is not None, "train_loss" in logs))

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.note("begin")

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        assert {"optimizer", "lr_scheduler", "logs"} <= set(kwargs), f"{VERSION}: on_log is not handed what LRPlot reads"
        self.note("log", kwargs["logs"])

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.note("end")


def test_the_last_log_comes_while_the_trackers_still_listen(tmp_path: Path) -> None:
    made = trainer(tmp_path, max_steps=2, logging_steps=1, lr_scheduler_kwargs={"warmup": 1}, report_to=["tensorboard"])
    made.add_callback(listens := Listens())
    for _ in range(2):
        made.train()
        said = f"{VERSION}: TensorBoard's writer does not live from on_train_begin to on_train_end; see trackers and LRPlot"
        assert listens.happened[0] == ("begin", True, False), said
        assert listens.happened[-1] == ("end", False, False), said
        logs = listens.happened[1:-1]
        assert logs == [("log", True, False)] * 2 + [("log", True, True)], said
        listens.happened.clear()


class Counted(Tiny):
    main_input_name = "x"


def test_train_runtime_is_in_every_log_where_tokens_are_counted(tmp_path: Path) -> None:
    made = trainer(tmp_path, max_steps=2, logging_steps=1, lr_scheduler_kwargs={"warmup": 1})
    made.model = made.model_wrapped = Counted()
    made.args.include_num_input_tokens_seen = "all"
    made.train()
    said = f"{VERSION}: train_loss is not what tells the last log from the others any more; see LRPlot and History.of"
    log = made.state.log_history
    assert ["train_loss" in line for line in log] == [False, False, True], said
    assert ["loss" in line for line in log] == [True, True, False], said
    told = f"{VERSION}: train_runtime tells the last log from the others now, where tokens are counted too"
    assert ["train_runtime" in line for line in log] == [True] * 3, told


# Left and entered again, for a rescue


def test_a_trainer_saves_by_that_method_and_its_callbacks_hear_of_it_afterwards() -> None:
    signature = list(inspect.signature(Trainer._save_checkpoint).parameters)
    assert signature == ["self", "model", "trial"], f"{VERSION}: Trainer saves by something else; see host.save_now"
    source = inspect.getsource(Trainer._maybe_log_save_evaluate)
    said = f"{VERSION}: Trainer saves in another way; see host.save_now"
    assert source.index("_save_checkpoint(model, trial)") < source.index("callback_handler.on_save("), said


class Leaves(TrainerCallback):
    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt


def test_an_exception_leaves_a_training_as_host_takes_it(tmp_path: Path) -> None:
    made = trainer(tmp_path, max_steps=2, lr_scheduler_kwargs={"warmup": 1})
    made.add_callback(Leaves())
    with pytest.raises(KeyboardInterrupt):
        made.train()
    assert made.is_in_train, f"{VERSION} ends a training that an exception has left; host.leave need not"
    host.leave(made)
    assert not made.is_in_train
    made.remove_callback(Leaves)
    made.train()
    assert made.state.global_step == 2
    assert hasattr(made, "neftune_noise_alpha"), f"{VERSION} has no neftune_noise_alpha any more; see host.leave"
    assert "self.neftune_hook_handle = " in inspect.getsource(transformers.trainer), f"{VERSION}: see host.leave"
