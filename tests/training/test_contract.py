"""Transformers' internals that `registration` touches, as it touches them.

Runs against the newest Transformers and, from `test_oldest`, against the oldest supported one. A test that fails here
says what Transformers changed and which part of `registration` rests on it.
"""

from __future__ import annotations

import importlib
import inspect
import pickle
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
import transformers.optimization
import transformers.trainer
import transformers.trainer_pt_utils
import transformers.trainer_utils
import transformers.training_args
from torch import nn
from torch.optim import SGD
from transformers import Trainer, TrainingArguments

from hf_lrsched import CATALOGUE, ScheduleLR, register, unregister, wsd
from hf_lrsched.training import registration

VERSION = f"Transformers {transformers.__version__}"

optimization: Any = transformers.optimization
trainer_utils: Any = transformers.trainer_utils
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
    for module, name in registration._HOOKED.items():
        held = getattr(importlib.import_module(module), name, None)
        assert getattr(held, "__module__", None) == module, where % name
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
