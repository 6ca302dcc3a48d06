"""The catalogue in Transformers' factory, in a process that has imported both."""

from __future__ import annotations

import copy
import functools
import importlib.util
import inspect
import json
import pickle
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers.optimization
import transformers.trainer_pt_utils
import transformers.trainer_utils
import yaml
from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR
from transformers import HfArgumentParser, Seq2SeqTrainingArguments, TrainingArguments

from hf_lrsched import (
    CATALOGUE,
    Horizon,
    Schedule,
    ScheduleLR,
    build,
    hold,
    phases,
    register,
    register_schedule,
    rise,
    unregister,
    wsd,
)
from hf_lrsched.training import registration

NAMES = [name for name, entry in CATALOGUE.items() if entry.registered]
THEIRS = [name for name in registration._THEIRS if name in transformers.trainer_utils.SchedulerType._value2member_map_]
ARGUMENTS: dict[str, Any] = {"phases": {"phases": [{"from": 0, "to": 1, "length": "10%"}, {"to": 0}]}}
PEAK = 1e-3

# Untyped on the host's side, or typed so that a mapping of plain values does not fit.
SchedulerType: Any = transformers.trainer_utils.SchedulerType
optimization: Any = transformers.optimization


@pytest.fixture(autouse=True)
def _put_back(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(registration, "_said", set())  # what is logged once is logged anew
    monkeypatch.delenv("RANK", raising=False)
    yield
    for name in [*registration._own]:
        unregister(name)
    register()


def adamw(*peaks: float) -> AdamW:
    return AdamW([{"params": [nn.Parameter(torch.ones(1))], "lr": peak} for peak in peaks or (PEAK,)])


def scheduler_of(
    name: str, kwargs: dict[str, Any] | None = None, *, warmup: int = 0, steps: int = 100, optimizer: Any = None
) -> Any:
    return optimization.get_scheduler(name, adamw() if optimizer is None else optimizer, warmup, steps, kwargs)


def schedule_of(name: str, kwargs: dict[str, Any] | None = None, *, warmup: int = 0, steps: int = 100) -> Schedule:
    schedule: Schedule = scheduler_of(name, kwargs, warmup=warmup, steps=steps).schedule
    return schedule


def lrs(scheduler: Any, steps: int) -> list[float]:
    seen = []
    for _ in range(steps):
        seen.append(float(scheduler.optimizer.param_groups[0]["lr"]))
        scheduler.optimizer.step()
        scheduler.step()
    return seen


def arguments_from(command_line: list[str]) -> Any:
    parser: Any = HfArgumentParser(TrainingArguments)  # type: ignore[arg-type]  # a dataclass
    [args] = parser.parse_args_into_dataclasses(command_line)
    return args


# Where a name is valid


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("arguments", [TrainingArguments, Seq2SeqTrainingArguments])
def test_training_arguments_take_every_name(arguments: Callable[..., Any], name: str, tmp_path: Path) -> None:
    args = arguments(output_dir=str(tmp_path), use_cpu=True, lr_scheduler_type=name)
    assert type(args.lr_scheduler_type) is SchedulerType
    assert args.lr_scheduler_type == name
    assert (
        args.lr_scheduler_type is SchedulerType(name) is SchedulerType[name.upper()] is getattr(SchedulerType, name.upper())
    )


@pytest.mark.filterwarnings("ignore:.gradient_checkpointing. is deprecated:FutureWarning")  # trl's own default
def test_trl_takes_every_name(tmp_path: Path) -> None:
    from trl import SFTConfig  # type: ignore[attr-defined]  # trl exports it lazily

    for name in NAMES:
        args = SFTConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, lr_scheduler_type=name)
        assert args.lr_scheduler_type is SchedulerType(name)


@pytest.mark.parametrize("name", NAMES)
def test_set_lr_scheduler_takes_every_name(name: str, tmp_path: Path) -> None:
    args: Any = TrainingArguments(output_dir=str(tmp_path), use_cpu=True)
    args.set_lr_scheduler(name, num_epochs=2, warmup_steps=0.05)
    assert (args.lr_scheduler_type, args.warmup_steps) == (SchedulerType(name), 0.05)


def test_the_command_line_offers_every_name_and_help_lists_it(capsys: pytest.CaptureFixture[str]) -> None:
    parser: Any = HfArgumentParser(TrainingArguments)  # type: ignore[arg-type]  # a dataclass
    [action] = [action for action in parser._actions if action.dest == "lr_scheduler_type"]
    assert action.choices == THEIRS + NAMES
    with pytest.raises(SystemExit) as stopped:
        parser.parse_args(["--help"])
    assert stopped.value.code == 0
    help_text = capsys.readouterr().out
    assert f"{{{','.join(THEIRS + NAMES)}}}" in "".join(help_text.split())


@pytest.mark.parametrize("name", NAMES)
def test_the_command_line_takes_every_name(name: str, tmp_path: Path) -> None:
    args = arguments_from(["--output_dir", str(tmp_path), "--use_cpu", "--lr_scheduler_type", name])
    assert args.lr_scheduler_type is SchedulerType(name)


def test_the_command_line_takes_arguments_as_json(tmp_path: Path) -> None:
    kwargs = '{"decay": "10%", "shape": "linear", "min_lr_ratio": 0.1}'
    args = arguments_from(
        ["--output_dir", str(tmp_path), "--use_cpu", "--lr_scheduler_type", "wsd", "--lr_scheduler_kwargs", kwargs]
    )
    assert schedule_of("wsd", args.lr_scheduler_kwargs) == wsd(100, decay="10%", shape="linear", min_lr_ratio=0.1)


@pytest.mark.parametrize("kind", ["dict", "json", "yaml"])
def test_files_take_every_name_and_its_arguments(kind: str, tmp_path: Path) -> None:
    parser: Any = HfArgumentParser(TrainingArguments)  # type: ignore[arg-type]  # a dataclass
    for name in NAMES:
        typed = {"output_dir": str(tmp_path), "use_cpu": True, "lr_scheduler_type": name}
        typed["lr_scheduler_kwargs"] = ARGUMENTS.get(name, {})
        if kind == "dict":
            [args] = parser.parse_dict(typed)
        else:
            path = tmp_path / f"arguments.{kind}"
            path.write_text(json.dumps(typed) if kind == "json" else yaml.safe_dump(typed))
            [args] = (parser.parse_json_file if kind == "json" else parser.parse_yaml_file)(str(path))
        assert args.lr_scheduler_type is SchedulerType(name)
        assert schedule_of(name, args.lr_scheduler_kwargs) == build(name, 100, **ARGUMENTS.get(name, {}))


@pytest.mark.parametrize("name", NAMES)
def test_get_scheduler_makes_every_schedule(name: str) -> None:
    for given in (name, SchedulerType(name)):
        scheduler = scheduler_of(given, ARGUMENTS.get(name))
        assert type(scheduler) is ScheduleLR
        assert scheduler.schedule == build(name, 100, **ARGUMENTS.get(name, {}))
        assert scheduler.schedule.name == name


def test_constant_stays_transformers_own() -> None:
    assert "constant" not in NAMES
    assert CATALOGUE["constant"].why_not
    assert optimization.TYPE_TO_SCHEDULER_FUNCTION[SchedulerType.CONSTANT] is optimization.get_constant_schedule
    assert type(scheduler_of("constant")) is LambdaLR


# What leaves the process


@pytest.mark.parametrize("name", NAMES)
def test_arguments_are_copied_pickled_and_written_as_json(name: str, tmp_path: Path) -> None:
    args: Any = TrainingArguments(
        output_dir=str(tmp_path), use_cpu=True, lr_scheduler_type=name, lr_scheduler_kwargs=ARGUMENTS.get(name)
    )
    written = json.loads(args.to_json_string())
    assert (written["lr_scheduler_type"], written["lr_scheduler_kwargs"]) == (name, ARGUMENTS.get(name))
    assert copy.deepcopy(args).lr_scheduler_type is SchedulerType(name)
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        pickled = pickle.dumps(args, protocol)
        assert b"SchedulerType" not in pickled
        loaded = pickle.loads(pickled)
        assert type(loaded.lr_scheduler_type) is str
        assert loaded.lr_scheduler_type == args.lr_scheduler_type == name
        assert loaded.to_json_string() == args.to_json_string()


@pytest.mark.parametrize("name", THEIRS)
def test_transformers_own_names_are_copied_and_pickled_as_before(name: str) -> None:
    member = SchedulerType(name)
    assert copy.copy(member) is copy.deepcopy(member) is member
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        pickled = pickle.dumps(member, protocol)
        assert b"SchedulerType" in pickled
        assert pickle.loads(pickled) is member


def test_transformers_own_names_give_their_own_schedulers() -> None:
    needed = {"cosine_with_min_lr": {"min_lr": 1e-5}, "cosine_warmup_with_min_lr": {"min_lr": 1e-5}}
    needed["warmup_stable_decay"] = {"num_decay_steps": 20}
    for name in THEIRS:
        assert not isinstance(scheduler_of(name, needed.get(name), warmup=10), ScheduleLR)
    assert lrs(scheduler_of("linear", warmup=10), 101) == [
        PEAK * (step / 10 if step < 10 else (100 - step) / 90) for step in range(101)
    ]


# A schedule of one's own


def two_halves(steps: int, *, warmup: Any = 0, level: float = 0.5) -> Schedule:
    """Half the run at the peak, half below it."""
    run = Horizon.of(steps)
    up = run.warmup(warmup)
    return rise(up) >> hold(run / 2 - up) >> hold(run / 2, at=level, name="low")


def test_a_registered_schedule_is_valid_wherever_the_catalogues_are(tmp_path: Path) -> None:
    assert register_schedule("two_halves", two_halves) is two_halves
    args = arguments_from(["--output_dir", str(tmp_path), "--use_cpu", "--lr_scheduler_type", "two_halves"])
    assert args.lr_scheduler_type is SchedulerType.TWO_HALVES
    assert type(pickle.loads(pickle.dumps(args)).lr_scheduler_type) is str
    assert CATALOGUE["two_halves"].summary == "Half the run at the peak, half below it."
    assert schedule_of("two_halves", {"level": 0.25}, warmup=10) == two_halves(100, warmup=10, level=0.25)
    assert schedule_of("two_halves").name == "two_halves"
    with pytest.raises(ValueError, match="two_halves does not know 'levle'; did you mean 'level'"):
        scheduler_of("two_halves", {"levle": 0.25})


def test_a_decorator_registers_what_it_decorates() -> None:
    @register_schedule("quarter", summary="a quarter", source="nobody")
    def quarter(steps: int) -> Schedule:
        return hold(steps, at=0.25) >> hold(0)

    assert quarter(4) == hold(4, at=0.25) >> hold(0)
    assert (CATALOGUE["quarter"].summary, CATALOGUE["quarter"].source) == ("a quarter", "nobody")
    assert lrs(scheduler_of("quarter"), 3) == [0.25 * PEAK] * 3


def test_a_builder_without_warmup_refuses_warmup_steps() -> None:
    register_schedule("plain", lambda steps: hold(steps) >> hold(0))
    with pytest.raises(ValueError, match="warmup_steps=10, but 'plain' is told its warm-up by its own arguments; remove it"):
        scheduler_of("plain", warmup=10)


def test_a_builder_that_makes_no_schedule_is_told_so() -> None:
    register_schedule("broken", lambda steps: steps)
    with pytest.raises(TypeError, match="the builder of 'broken' returned Horizon, not a Schedule"):
        scheduler_of("broken")


def test_registering_the_same_again_is_harmless() -> None:
    register_schedule("two_halves", two_halves)
    before = _state_of_transformers()
    register_schedule("two_halves", two_halves)
    assert _state_of_transformers() == before


def test_a_new_definition_of_the_same_function_replaces_it() -> None:
    def defined(level: float) -> Callable[..., Schedule]:
        def cell(steps: int) -> Schedule:
            return hold(steps, at=level) >> hold(0)

        return cell

    for level in (0.25, 0.75):
        register_schedule("cell", defined(level))
        assert lrs(scheduler_of("cell"), 2) == [level * PEAK] * 2


def test_a_partial_is_registered_once_and_another_under_its_name_is_refused() -> None:
    first = functools.partial(two_halves, level=0.25)
    register_schedule("halves", first)
    register_schedule("halves", first)
    assert schedule_of("halves") == two_halves(100, level=0.25)
    with pytest.raises(ValueError, match="'halves' is already in the catalogue"):
        register_schedule("halves", functools.partial(wsd, decay=0.5))


@pytest.mark.parametrize("name", registration._THEIRS)
def test_a_name_of_transformers_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"'{name}' is a schedule of Transformers, and its names are never taken"):
        register_schedule(name, two_halves)
    assert CATALOGUE.get(name) is None or CATALOGUE[name].builder is not two_halves


def test_a_name_that_transformers_has_gained_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SchedulerType._value2member_map_, "brand_new", SchedulerType.LINEAR)
    with pytest.raises(ValueError, match="'brand_new' is a schedule of Transformers"):
        register_schedule("brand_new", two_halves)


def test_a_name_whose_member_transformers_has_under_another_value_leaves_no_trap() -> None:
    # SchedulerType.REDUCE_ON_PLATEAU is "reduce_lr_on_plateau".
    before = _state_of_transformers()
    with pytest.raises(ValueError, match="reduce_on_plateau"):
        register_schedule("reduce_on_plateau", two_halves)
    assert _state_of_transformers() == before
    assert "reduce_on_plateau" not in CATALOGUE
    register_schedule("two_halves", two_halves)
    assert schedule_of("two_halves") == two_halves(100)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_of_the_catalogue_is_refused(name: str) -> None:
    before = CATALOGUE[name]
    with pytest.raises(ValueError, match=f"'{name}' is already in the catalogue"):
        register_schedule(name, two_halves)
    assert CATALOGUE[name] is before


@pytest.mark.parametrize("name", ["", "Wsd", "WSD2", "my-schedule", "2nd", "_mine", "my schedule", "wsd\n", None, 3])
def test_what_cannot_be_a_name_is_refused(name: Any) -> None:
    with pytest.raises(ValueError, match="cannot be a schedule's name: lower-case letters, digits and underscores"):
        register_schedule(name, two_halves)


def test_a_registered_schedule_is_taken_back_by_name(tmp_path: Path) -> None:
    before = _state_of_transformers()
    register_schedule("two_halves", two_halves)
    assert _state_of_transformers() != before
    unregister("two_halves")
    assert _state_of_transformers() == before
    assert "two_halves" not in CATALOGUE
    with pytest.raises(ValueError, match="two_halves"):
        TrainingArguments(output_dir=str(tmp_path), use_cpu=True, lr_scheduler_type="two_halves")
    register_schedule("two_halves", two_halves)
    assert schedule_of("two_halves") == two_halves(100)


@pytest.mark.parametrize("name", ["wsd", "linear", "never_seen"])
def test_only_a_registered_schedule_is_taken_back_by_name(name: str) -> None:
    with pytest.raises(ValueError, match=rf"'{name}' was not registered by register_schedule \(registered: none\)"):
        unregister(name)


# Putting Transformers back


def _state_of(types: Any) -> dict[str, Any]:
    """All that an enum class holds, members as their values."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {str(key): plain(item) for key, item in value.items()}
        if isinstance(value, list):
            return [plain(item) for item in value]
        return (value._name_, value._value_) if isinstance(value, types) else type(value).__name__

    state = {name: plain(value) for name, value in vars(types).items()}
    iterated = [member._value_ for member in types], {member: types[member]._value_ for member in types.__members__}
    return {**state, "iterated": iterated, "pickled by": types.__reduce_ex__.__qualname__}


def _state_of_transformers() -> dict[str, Any]:
    functions = {member._value_: function for member, function in optimization.TYPE_TO_SCHEDULER_FUNCTION.items()}
    return {
        "SchedulerType": _state_of(SchedulerType),
        "functions": {name: function.__name__ for name, function in functions.items()},
        "layer-wise": optimization.LayerWiseDummyScheduler.__qualname__,
    }


def _untouched(module: Any) -> Any:
    """A second copy of a module of Transformers, which nobody has registered anything in."""
    spec = importlib.util.spec_from_file_location(
        f"transformers._untouched_{module.__name__.split('.')[-1]}", module.__file__
    )
    assert spec is not None
    assert spec.loader is not None
    untouched = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(untouched)
    return untouched


def test_unregister_puts_transformers_back_as_it_was(tmp_path: Path) -> None:
    unregister()
    assert _state_of(SchedulerType) == _state_of(_untouched(transformers.trainer_utils).SchedulerType)
    assert list(optimization.TYPE_TO_SCHEDULER_FUNCTION) == list(SchedulerType)
    untouched = _untouched(transformers.optimization).TYPE_TO_SCHEDULER_FUNCTION
    assert {member: function.__name__ for member, function in optimization.TYPE_TO_SCHEDULER_FUNCTION.items()} == {
        member: function.__name__ for member, function in untouched.items()
    }
    assert optimization.LayerWiseDummyScheduler is transformers.trainer_pt_utils.LayerWiseDummyScheduler
    for name in NAMES:
        with pytest.raises(ValueError, match=f"{name} is not a valid SchedulerType"):
            TrainingArguments(output_dir=str(tmp_path), use_cpu=True, lr_scheduler_type=name)
        assert not hasattr(SchedulerType, name.upper())
    parser: Any = HfArgumentParser(TrainingArguments)  # type: ignore[arg-type]  # a dataclass
    [action] = [action for action in parser._actions if action.dest == "lr_scheduler_type"]
    assert action.choices == THEIRS


def test_unregistering_and_registering_twice_are_the_same_as_once() -> None:
    registered = _state_of_transformers()
    register()
    assert _state_of_transformers() == registered
    unregister()
    unregistered = _state_of_transformers()
    unregister()
    assert _state_of_transformers() == unregistered != registered
    register()
    register()
    assert _state_of_transformers() == registered
    assert schedule_of("wsd") == wsd(100)


def test_registering_again_brings_ones_own_schedules_too() -> None:
    register_schedule("two_halves", two_halves)
    unregister()
    assert "two_halves" not in SchedulerType._value2member_map_
    register()
    assert schedule_of("two_halves") == two_halves(100)


def test_a_schedule_added_while_unregistered_comes_with_the_others() -> None:
    unregister()
    before = _state_of_transformers()
    register_schedule("two_halves", two_halves)
    assert _state_of_transformers() == before
    register()
    assert schedule_of("two_halves") == two_halves(100)


# The words in lr_scheduler_kwargs

WORDS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    (
        "wsd",
        {"num_decay_steps": 20, "min_lr_ratio": 0.1},
        {"decay": 20, "shape": "cosine", "warmup": 0, "warmup_start": 0.1, "min_lr_ratio": 0.1},
    ),
    ("wsd", {"num_decay_steps": 20, "decay_type": "1-sqrt"}, {"decay": 20, "warmup": 0}),
    ("wsd", {"num_decay_steps": 20, "num_stable_steps": 50}, {"decay": 20, "stable": 50, "shape": "cosine", "warmup": 0}),
    ("wsd", {"decay_ratio": 0.3, "warmup_ratio": 0.05}, {"decay": 30, "warmup": 5}),
    ("wsd", {"warmup_steps": 7, "min_lr_rate": 0.2}, {"warmup": 7, "min_lr_ratio": 0.2}),
    ("warmup_cosine", {"min_lr_rate": 0.2, "num_cycles": 0.5}, {"min_lr_ratio": 0.2}),
    ("warmup_cosine", {"eta_min": 1e-5}, {"min_lr": 1e-5}),
    ("warmup_cosine", {"lr_end": 1e-5}, {"min_lr": 1e-5}),
    ("one_cycle", {"pct_start": 0.4, "anneal_strategy": "linear"}, {"rise": 40, "shape": "linear"}),
    ("one_cycle", {"div_factor": 10, "final_div_factor": 100.0}, {"div_factor": 10.0, "final_div_factor": 100}),
    ("one_cycle", {"warmup_steps": 40, "three_phase": True}, {"rise": 40, "three_phase": True}),
    ("one_cycle", {"cycle_momentum": False}, {"cycle_momentum": False}),
    ("warm_restarts", {"num_cycles": 3, "warmup": 0}, {"cycles": 3, "warmup": 0}),
    ("warm_restarts", {"T_0": 20, "T_mult": 4, "eta_min": 1e-5, "warmup": 0},
     {"cycles": 2, "mult": 4, "min_lr": 1e-5, "warmup": 0}),
    ("warm_restarts", {"first_cycle_steps": 20, "cycle_mult": 4.0, "gamma": 0.5, "warmup": 0},
     {"first": 20, "mult": 4, "peak_decay": 0.5, "warmup": 0}),
    ("step_decay", {"step_size": 30, "gamma": 0.5}, {"every": 30, "factor": 0.5}),
    ("step_decay", {"every": "30 epochs", "epochs": 90}, {"every": 100 / 3}),
    ("multi_step", {"milestones": [50, 75], "gamma": 0.1}, {"milestones": ["50%", "75%"], "factor": 0.1}),
    ("wsd_s", {"decay_phase_ratio": 0.2, "decay_type": "linear"}, {"decay": "20%", "shape": "linear"}),
    ("inverse_sqrt_cooldown", {"num_decay_steps": 10, "timescale": 50}, {"cooldown": 10, "timescale": 50}),
    ("power", {"num_decay_steps": 20}, {"decay": 20}),
    ("rex", {"min_lr_rate": 0.1}, {"min_lr_ratio": 0.1}),
    ("wsd", {"decay": "0.5M tokens", "tokens_per_step": 50_000}, {"decay": 10}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "theirs", "ours"), WORDS)
def test_transformers_and_torchs_words_are_understood(name: str, theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    assert schedule_of(name, theirs) == build(name, 100, **ours)


@pytest.mark.parametrize("warmup", [0, 1, 10])
@pytest.mark.parametrize(
    "kwargs",
    [
        {"num_decay_steps": 20},
        {"num_decay_steps": 1},
        {"num_decay_steps": 90},
        {"num_decay_steps": 20, "num_cycles": 0.5},
        {"num_decay_steps": 20, "num_stable_steps": 50},
        {"num_decay_steps": 20, "num_stable_steps": 50, "min_lr_ratio": 0.1},
        *(
            {"num_decay_steps": 20, word: curve, "min_lr_ratio": floor}
            for word in ("decay_type", "warmup_type")
            for curve in ("linear", "cosine", "1-sqrt")
            for floor in (0, 0.1)
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:Both num_training_steps and num_stable_steps:UserWarning")  # the host's, of its own call
def test_wsd_given_transformers_words_is_its_warmup_stable_decay_at_every_step(kwargs: dict[str, Any], warmup: int) -> None:
    theirs = lrs(scheduler_of("warmup_stable_decay", kwargs, warmup=warmup), 120)
    assert lrs(scheduler_of("wsd", kwargs, warmup=warmup), 120) == pytest.approx(theirs, rel=1e-12, abs=1e-15 * PEAK)


@pytest.mark.parametrize(
    ("name", "kwargs", "message"),
    [
        (
            "wsd",
            {"decya": 5},
            r"wsd does not know 'decya'; did you mean 'decay'\? \(accepted: warmup, decay, stable, shape, ",
        ),
        ("wsd", {"num_decay_step": 5}, "wsd does not know 'num_decay_step'; did you mean 'num_decay_steps'"),
        ("one_cycle", {"pct_strat": 0.3}, "one_cycle does not know 'pct_strat'; did you mean 'pct_start'"),
        ("warmup_cosine", {"qqq": 1}, r"warmup_cosine does not know 'qqq' \(accepted: warmup, warmup_start, min_lr, "),
        ("step_decay", {"decay": 5}, "step_decay does not know 'decay'"),
        ("one_cycle", {"max_lr": 0.1}, "one_cycle: 'max_lr' is the peak, which is the optimizer's own learning rate"),
        ("wsd", {"decay": 5, "num_decay_steps": 5}, "wsd: 'decay' and 'num_decay_steps' mean the same; give one of them"),
        ("wsd", {"warmup": 60, "decay": 60}, r"warmup \(60\) and decay \(60\) take 120 steps, but the run has only 100"),
        ("wsd", {"warmup": 1.0}, r"warmup=1.0 is ambiguous: write warmup=1 \(or '1 steps'\) for steps, '100%' for a share"),
        ("wsd", {"warmup": -1}, "warmup=-1 is negative"),
        ("wsd", {"decay": float("nan")}, "decay=nan is not a number"),
        ("wsd", {"min_lr": 1e-2}, r"min_lr \(0.01\) is above the peak LR \(0.001\)"),
        ("wsd", {"min_lr_ratio": 1.5}, "min_lr_ratio=1.5 is above the peak"),
        ("step_decay", {"every": "30 epochs"}, r"every='30 epochs' cannot be converted here: give steps_per_epoch"),
        ("wsd", {"decay": "1B tokens"}, r"decay='1B tokens' cannot be converted here: give tokens_per_step"),
        ("phases", {"phases": [{"from": 0, "to": 1, "length": 10}]}, r"the phases take 10 steps \(10\), but the run has 100"),
    ],
)
def test_bad_arguments_are_refused_in_one_sentence(name: str, kwargs: dict[str, Any], message: str) -> None:
    optimizer = adamw()
    with pytest.raises(ValueError, match=message):
        scheduler_of(name, kwargs, optimizer=optimizer)
    assert optimizer.param_groups[0]["lr"] == PEAK


def test_a_floor_above_the_peak_of_any_group_is_refused() -> None:
    with pytest.raises(ValueError, match=r"min_lr \(0.0001\) is above the LR of parameter group 1 \(1e-05\)"):
        scheduler_of("wsd", {"min_lr": 1e-4}, optimizer=adamw(1e-3, 1e-5))


def test_an_unknown_schedule_is_refused_with_ours_among_the_known(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"wsdd is not a valid SchedulerType, please select one of .*'linear'.*'wsd'"):
        TrainingArguments(output_dir=str(tmp_path), use_cpu=True, lr_scheduler_type="wsdd")


# The warm-up


@pytest.mark.parametrize("name", [name for name in NAMES if CATALOGUE[name].warmup])
def test_warmup_steps_of_the_arguments_is_the_warm_up(name: str, tmp_path: Path) -> None:
    entry = CATALOGUE[name]
    for given, steps in ((12, 12), (0.055, 6)):  # a share is rounded up
        args: Any = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, warmup_steps=given, lr_scheduler_type=name)
        schedule = schedule_of(name, warmup=args.get_warmup_steps(100))
        assert schedule == build(name, 100, **{str(entry.warmup): steps})


@pytest.mark.parametrize(
    ("name", "kwargs", "warmup", "steps"),
    [
        ("wsd", {"warmup": 20}, 10, 20),
        ("wsd", {"warmup_steps": "20%"}, 10, 20),
        ("wsd", {"warmup": 0}, 10, 0),
        ("wsd", {"warmup": "1 epoch", "epochs": 5}, 10, 20),
        ("one_cycle", {"pct_start": 0.3}, 40, 30),
        ("one_cycle", {"rise": 30}, 40, 30),
        ("step_decay", {"warmup": 5}, 10, 5),
    ],
)
def test_a_warm_up_given_twice_and_differing_is_refused(name: str, kwargs: dict[str, Any], warmup: int, steps: int) -> None:
    word, given = next(iter(kwargs.items()))
    numbers = f"warmup_steps makes {warmup} steps of it, lr_scheduler_kwargs ({word}={given!r}) {steps}"
    with pytest.raises(ValueError, match=re.escape(f"the warm-up is given twice: {numbers}; give one of them")):
        scheduler_of(name, kwargs, warmup=warmup)


@pytest.mark.parametrize(
    ("name", "kwargs", "given", "taken"),
    [
        ("wsd", {"warmup": 10}, 10, 10),
        ("wsd", {"warmup": "10%"}, 10, 10),
        ("wsd", {"warmup_steps": 0.1}, 0.1, 10),
        ("wsd", {"warmup": 0.033}, 0.033, 0.033),  # TrainingArguments makes 4 steps of it
        ("wsd", {"warmup": None}, 10, 10),
        ("one_cycle", {"pct_start": 0.3}, 30, 30),
        ("one_cycle", {"pct_start": 0.301}, 0.301, 0.301),
    ],
)
def test_a_warm_up_given_twice_and_equal_is_accepted(
    name: str, kwargs: dict[str, Any], given: float, taken: float, tmp_path: Path
) -> None:
    args: Any = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, warmup_steps=given)
    schedule = schedule_of(name, kwargs, warmup=args.get_warmup_steps(100))
    assert schedule == build(name, 100, **{str(CATALOGUE[name].warmup): taken})


@pytest.mark.parametrize("name", [name for name in NAMES if CATALOGUE[name].default_warmup])
def test_warmup_steps_of_0_is_the_default_warm_up_and_is_logged_once(name: str, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        assert schedule_of(name, warmup=0, steps=1000) == build(name, 1000) != build(name, 1000, warmup=0)
    [message] = caplog.messages
    assert message == (
        f"{name}: warm-up of 100 steps (10 % of 1000), hf_lrsched's default, as warmup_steps was not given; "
        'lr_scheduler_kwargs={"warmup": 0} is none'
    )
    schedule_of(name, steps=10_000)
    assert len(caplog.messages) == 2


def test_only_the_first_process_logs_the_default_warm_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("RANK", "1")
    assert schedule_of("wsd") == wsd(100)
    assert caplog.messages == []
    monkeypatch.setenv("RANK", "0")
    schedule_of("wsd")
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("name", [name for name in NAMES if CATALOGUE[name].default_warmup])
@pytest.mark.parametrize("word", ["warmup", "warmup_steps", "warmup_ratio"])
def test_a_warm_up_of_0_in_the_kwargs_is_none(name: str, word: str, caplog: pytest.LogCaptureFixture) -> None:
    assert schedule_of(name, {word: 0}) == build(name, 100, warmup=0)
    assert caplog.messages == []


def test_wsd_in_transformers_words_has_no_warm_up_unless_asked(caplog: pytest.LogCaptureFixture) -> None:
    assert schedule_of("wsd", {"num_decay_steps": 20})(0) == 1.0
    assert schedule_of("wsd", {"num_decay_steps": 20}, warmup=10).warmup == 10
    assert caplog.messages == []


@pytest.mark.parametrize("name", [name for name in NAMES if not CATALOGUE[name].default_warmup])
def test_the_others_say_nothing_of_a_warm_up(name: str, caplog: pytest.LogCaptureFixture) -> None:
    schedule_of(name, ARGUMENTS.get(name))
    assert caplog.messages == []


def test_phases_refuses_warmup_steps() -> None:
    with pytest.raises(ValueError, match="warmup_steps=10, but 'phases' is told its warm-up by its own arguments; remove it"):
        scheduler_of("phases", ARGUMENTS["phases"], warmup=10)
    assert schedule_of("phases", ARGUMENTS["phases"]) == phases(100, **ARGUMENTS["phases"])


# Layer-wise optimizers


def layer_wise(peaks: list[float]) -> tuple[list[nn.Parameter], dict[nn.Parameter, Optimizer], Any]:
    """A parameter to its own optimizer, stepped in a gradient hook, as Transformers' layer-wise optimizers are."""
    weights = [nn.Parameter(torch.ones(2)) for _ in peaks]
    own: dict[nn.Parameter, Optimizer] = {weight: SGD([weight], lr=peak) for weight, peak in zip(weights, peaks, strict=True)}

    def hook(weight: torch.Tensor) -> None:
        assert isinstance(weight, nn.Parameter)
        own[weight].step()
        own[weight].zero_grad()

    for weight in weights:
        weight.register_post_accumulate_grad_hook(hook)  # type: ignore[no-untyped-call]  # torch's
    dummy: Any = transformers.trainer_pt_utils.LayerWiseDummyOptimizer
    return weights, own, dummy(optimizer_dict=own, lr=PEAK)


@pytest.mark.parametrize("name", [*NAMES, "linear", "cosine"])
@pytest.mark.parametrize("peaks", [[PEAK], [PEAK, 1e-4, 3e-2]])
def test_a_layer_wise_optimizer_schedules_each_parameter(name: str, peaks: list[float]) -> None:
    weights, own, dummy = layer_wise(peaks)
    kwargs = {**ARGUMENTS, "one_cycle": {"cycle_momentum": False}}.get(name)  # so that an update is the LR
    scheduler = scheduler_of(name, kwargs, steps=20, optimizer=dummy)
    singles = [scheduler_of(name, kwargs, steps=20, optimizer=SGD([weights[0]], lr=peak)) for peak in peaks]
    expected = [lrs(single, 25) for single in singles]
    for step in range(25):
        before = [weight.detach().clone() for weight in weights]
        rates = [own[weight].param_groups[0]["lr"] for weight in weights]
        assert rates == [expected[i][step] for i in range(len(peaks))]
        torch.stack([weight.sum() for weight in weights]).sum().backward()  # type: ignore[no-untyped-call]  # torch's
        with warnings.catch_warnings():  # the host's dummy scheduler has an optimizer of its own, which nobody steps
            warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step", UserWarning)
            scheduler.step()
        for weight, old, rate in zip(weights, before, rates, strict=True):
            assert torch.equal(weight.detach(), old - rate)
        assert scheduler.get_last_lr() == [own[weights[0]].param_groups[0]["lr"]]


def test_a_layer_wise_default_warm_up_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    _, _, dummy = layer_wise([PEAK, 1e-4, 3e-2])
    scheduler_of("wsd", optimizer=dummy)
    assert len(caplog.messages) == 1


def test_a_builder_has_the_form_and_name_of_transformers_own() -> None:
    for name in NAMES:
        function = optimization.TYPE_TO_SCHEDULER_FUNCTION[SchedulerType(name)]
        assert function.__name__ == f"get_{name}_schedule"
        taken = inspect.signature(function).parameters
        assert {"optimizer", "num_warmup_steps", "num_training_steps"} <= set(taken)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match="wsd needs num_training_steps, the number of optimizer steps in the run"):
            optimization.TYPE_TO_SCHEDULER_FUNCTION[SchedulerType.WSD](adamw(), num_warmup_steps=0)
