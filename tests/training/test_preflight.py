"""What is told before a run: against Trainer itself, and everything that can be wrong."""

from __future__ import annotations

import dataclasses
import logging
import math
import re
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import pytest
import torch
import trl
import yaml
from transformers import SchedulerType, Trainer, TrainingArguments, get_scheduler

from hf_lrsched import CATALOGUE
from hf_lrsched.show.text import key_steps
from hf_lrsched.training import preflight as module
from hf_lrsched.training import theirs as own_schedules
from hf_lrsched.training import typed
from hf_lrsched.training.preflight import preflight
from hf_lrsched.training.typed import Problem, class_of, read_flags

from .running import arguments, lrs, running
from .test_trainer import ARGUMENTS, data, tiny

PRESETS = sorted((Path(__file__).parents[2] / "recipes" / "presets").glob("*.yaml"))
THEIRS: dict[str, dict[str, Any]] = {
    "linear": {},
    "cosine": {},
    "cosine_with_restarts": {"num_cycles": 3},
    "polynomial": {"power": 2.0},
    "constant": {},
    "constant_with_warmup": {},
    "inverse_sqrt": {},
    "cosine_with_min_lr": {"min_lr": 1e-4},
    "cosine_warmup_with_min_lr": {"min_lr_rate": 0.1},
    "warmup_stable_decay": {"num_decay_steps": 4},
}


def of(**settings: Any) -> module.Plan:
    return preflight({"max_steps": 100, **settings})


def errors(plan: module.Plan) -> list[Problem]:
    return [problem for problem in plan.problems if problem.kind == "error"]


# Against Trainer


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize(
    ("examples", "batch", "accumulation", "epochs"),
    [(24, 4, 1, 3), (24, 4, 4, 3), (23, 4, 1, 1), (23, 5, 3, 2.5), (7, 2, 2, 0.3), (24, 24, 8, 2), (24, 5, 1, 1.01)],
)
def test_steps_are_those_that_trainer_counts(
    examples: int, batch: int, accumulation: int, epochs: float, drop_last: bool, tmp_path: Path
) -> None:
    given = {
        "num_train_epochs": epochs,
        "per_device_train_batch_size": batch,
        "gradient_accumulation_steps": accumulation,
        "dataloader_drop_last": drop_last,
    }
    made: Any = Trainer(model=tiny(), args=arguments(tmp_path, **given), train_dataset=data()[:examples])
    values = made.set_initial_training_values(made.args, made.get_train_dataloader())
    plan = preflight(given, examples=examples)
    assert (plan.steps, plan.steps_per_epoch, plan.examples_per_step) == (values[6], values[1], values[4])
    assert not plan.problems


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize(("examples", "batch", "processes"), [(23, 4, 2), (24, 5, 3), (100, 7, 4), (17, 2, 8)])
def test_steps_of_several_processes_are_those_of_accelerates_batches(
    examples: int, batch: int, processes: int, drop_last: bool
) -> None:
    from accelerate.data_loader import BatchSamplerShard
    from torch.utils.data import BatchSampler, SequentialSampler

    whole = BatchSampler(SequentialSampler(range(examples)), batch, drop_last)
    shard = BatchSamplerShard(whole, num_processes=processes, process_index=0)
    given = {"num_train_epochs": 1, "per_device_train_batch_size": batch, "dataloader_drop_last": drop_last}
    assert preflight(given, examples=examples, processes=processes).steps == len(shard)


RUNS: list[tuple[str, dict[str, Any]]] = [
    ("wsd", {"max_steps": 20, "warmup_steps": 0.12, "lr_scheduler_kwargs": {"decay": "25%"}}),
    ("wsd", {"num_train_epochs": 3}),
    ("warmup_cosine", {"num_train_epochs": 2.5, "gradient_accumulation_steps": 2, "lr_scheduler_kwargs": {"min_lr": 1e-4}}),
    ("one_cycle", {"max_steps": 15}),
    ("warm_restarts", {"max_steps": 20, "lr_scheduler_kwargs": ARGUMENTS["warm_restarts"]}),
    ("phases", {"max_steps": 20, "lr_scheduler_kwargs": ARGUMENTS["phases"]}),
    ("rex", {"max_steps": 1}),
    *((name, {"max_steps": 20, "warmup_steps": 0.12, "lr_scheduler_kwargs": kwargs}) for name, kwargs in THEIRS.items()),
    ("linear", {"num_train_epochs": 2, "warmup_steps": 5, "per_device_train_batch_size": 5}),
    ("cosine", {"max_steps": 10, "warmup_steps": 10}),
    ("cosine_with_min_lr", {"max_steps": 10, "lr_scheduler_kwargs": {"min_lr": 0.1}}),
]


@pytest.mark.parametrize(("name", "given"), RUNS, ids=[f"{number}-{name}" for number, (name, _) in enumerate(RUNS)])
def test_a_real_run_does_what_was_told(name: str, given: dict[str, Any], tmp_path: Path) -> None:
    made = running(arguments(tmp_path, lr_scheduler_type=name, **given))
    made.train()
    ran = lrs(made)
    settings = {"learning_rate": 1e-2, "per_device_train_batch_size": 4, "lr_scheduler_type": name, **given}
    plan = preflight(settings, examples=len(data()))
    assert plan.steps == made.state.global_step == len(ran)
    assert [lr for _, _, lr in plan.key_steps] == pytest.approx([ran[step] for step, _, _ in plan.key_steps], rel=1e-12)
    assert list(plan.samples) == pytest.approx(ran, rel=1e-12)
    assert plan.peak == pytest.approx(max(ran), rel=1e-12)
    assert plan.peak_step is not None
    assert ran[plan.peak_step] == pytest.approx(plan.peak, rel=1e-8)
    assert sum(steps for _, steps in plan.phases) == pytest.approx(plan.steps)
    if name in CATALOGUE and CATALOGUE[name].registered:
        assert plan.schedule == made.lr_scheduler.schedule
        assert plan.warmup == made.lr_scheduler.schedule.warmup
    elif name != "constant":
        assert plan.warmup == made.args.get_warmup_steps(plan.steps)


def test_every_schedule_of_transformers_is_compared_or_follows_the_loss() -> None:
    ours = {name for name, entry in CATALOGUE.items() if entry.registered}
    assert {member.value for member in SchedulerType} - ours == {*THEIRS, "reduce_lr_on_plateau", "greedy"}


@pytest.mark.parametrize("name", ["reduce_lr_on_plateau", "greedy"])
def test_what_follows_the_loss_is_not_told(name: str) -> None:
    plan = of(lr_scheduler_type=name, eval_strategy="epoch", learning_rate="3e-4")
    assert not plan.problems
    assert not plan.samples
    assert (plan.phases, plan.key_steps) == ((("the held-out loss decides", 100),), ((0, "(first)", 3e-4),))
    assert plan.peak is None


def test_a_million_steps_are_not_walked_through(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    theirs: Any = get_scheduler

    def counted(*args: Any) -> Any:
        made: Any = theirs(*args)
        [curve] = made.lr_lambdas

        def noted(step: int) -> Any:
            asked.append(step)
            return curve(step)

        made.lr_lambdas = [noted]
        return made

    monkeypatch.setattr(own_schedules, "get_scheduler", counted)
    plan = preflight({"max_steps": 10**9, "lr_scheduler_type": "cosine", "warmup_steps": 0.01})
    assert (plan.warmup, plan.peak_step) == (10**7, 10**7)
    assert len(asked) < 500
    assert preflight({"max_steps": 10**9, "lr_scheduler_type": "wsd"}).peak_step == 2000


def test_the_key_steps_of_ours_are_those_of_show() -> None:
    plan = of(lr_scheduler_type="wsd", learning_rate=3e-4)
    assert plan.schedule is not None
    rows = [line.split() for line in key_steps(plan.schedule, 3e-4).splitlines()[1:]]
    assert [(str(step), name, f"{lr:.6g}") for step, name, lr in plan.key_steps] == [tuple(row) for row in rows]


# What is read


ADAPTERS = {"lora_r", "lora_alpha", "use_peft", "lora_target_modules", "load_in_4bit"}


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)
def test_every_preset_is_sound(preset: Path) -> None:
    settings = yaml.safe_load(preset.read_text("utf-8"))
    plan = preflight(settings, examples=100_000, processes=2)
    assert not errors(plan)
    assert plan.learning_rate == plan.peak == settings["learning_rate"]
    assert set(plan.not_looked_at) <= ADAPTERS | {"continue_training"}
    assert not plan.problems


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"learning_rate": "2e-5"}, 2e-5),
        ({"learning_rate": 1}, 1.0),
        ({"learning_rate": None}, 5e-5),
        ({}, 5e-5),
    ],
)
def test_a_number_is_read_whatever_yaml_made_of_it(settings: dict[str, Any], expected: float) -> None:
    plan = of(**settings)
    assert (plan.peak, plan.problems) == (expected, ())


@pytest.mark.parametrize("kwargs", [{"decay": "1e-1"}, '{"decay": 0.1}', '{"decay": "0.1"}'])
def test_the_schedules_arguments_are_read_as_a_dict_or_as_json(kwargs: Any) -> None:
    assert of(lr_scheduler_type="wsd", lr_scheduler_kwargs=kwargs).phases[-1] == ("decay", 10)


@pytest.mark.parametrize(
    ("name", "rate"), [("trl.SFTConfig", 2e-5), ("trl.DPOConfig", 1e-6), ("transformers.Seq2SeqTrainingArguments", 5e-5)]
)
def test_defaults_are_those_of_the_class(name: str, rate: float) -> None:
    plan = preflight({"max_steps": 10, "bf16": True}, arguments_class=name)
    assert (plan.peak, plan.learning_rate_from) == (rate, f"the default of {name.rpartition('.')[2]}")
    assert not plan.problems


def test_the_class_is_never_instantiated(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Any) -> None:
        raise AssertionError("instantiated")

    monkeypatch.setattr(TrainingArguments, "__post_init__", refuse)
    settings = {"max_steps": 10, "bf16": True, "fsdp": "full_shard", "deepspeed": "nowhere.json", "output_dir": "nowhere"}
    assert not preflight(settings).problems
    assert not Path("nowhere").exists()


@pytest.mark.parametrize(
    "name", ["os.path", "torch.optim.SGD", "transformers", "trl.", "trl.SFT Config", "transformersx.A", ""]
)
def test_nothing_else_is_imported(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(typed, "import_module", pytest.fail)
    with pytest.raises(ValueError, match="is not a class under transformers or trl"):
        class_of(name)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("trl.Nope", "there is no trl.Nope here"),
        ("trl.nowhere.SFTConfig", "there is no trl.nowhere.SFTConfig here"),
        ("trl.ModelConfig", "trl.ModelConfig is no subclass of TrainingArguments"),
        ("transformers.set_seed", "transformers.set_seed is no subclass of TrainingArguments"),
    ],
)
def test_what_is_no_class_of_arguments_is_refused(name: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        preflight({}, arguments_class=name)


@pytest.mark.parametrize("given", [{"examples": 0}, {"processes": 0}, {"tokens_per_example": 1.5}])
def test_counts_are_whole(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be a whole number, 1 or more"):
        preflight({"max_steps": 10}, **given)


def test_flags_are_those_of_a_training_script() -> None:
    words = [
        "--learning-rate",
        "3e-4",
        "--max_steps=-1",
        "--bf16",
        "--use_peft",
        "--lora-r=8",
        "--report_to",
        "none",
        "x.yaml",
    ]
    given, loose = read_flags(words)
    assert (given.pop("report_to"), loose) in (("none", ["x.yaml"]), (["none", "x.yaml"], []))  # as the release has it
    assert given == {"learning_rate": 3e-4, "max_steps": -1, "bf16": True, "use_peft": True, "lora_r": "8"}
    with pytest.raises(ValueError, match="invalid int value: 'many'"):
        read_flags(["--max_steps", "many"])


@pytest.mark.parametrize(
    ("settings", "given", "tokens", "at_most"),
    [
        ({"block_size": 128}, {}, 1024, False),
        ({"max_length": 128}, {}, 1024, True),
        ({"max_seq_length": "128", "packing": True}, {}, 1024, False),
        ({"max_length": 128, "block_size": 64}, {"tokens_per_example": 10}, 80, False),
        ({"max_length": 64, "gradient_accumulation_steps": 3}, {"processes": 2}, 64 * 48, True),
        ({}, {}, None, False),
        ({}, {"arguments_class": "trl.SFTConfig"}, 8192, True),
        ({}, {"arguments_class": "trl.DPOConfig"}, None, False),
    ],
)
def test_tokens(settings: dict[str, Any], given: dict[str, Any], tokens: int | None, at_most: bool) -> None:
    plan = preflight({"max_steps": 10, **settings}, **given)
    assert (plan.tokens_per_step, plan.tokens_at_most) == (tokens, at_most)
    assert plan.tokens == (None if tokens is None else 10 * tokens)
    assert not plan.problems


def test_no_setting_of_trl_is_taken_for_a_slip() -> None:
    known = [one.name for one in dataclasses.fields(TrainingArguments)]
    classes = [getattr(trl, name) for name in dir(trl) if name.endswith(("Config", "Arguments"))]
    foreign = {one.name for kind in classes for one in dataclasses.fields(kind)} - {*known, "warmup_ratio"}
    near = {word: max(SequenceMatcher(None, word, name).ratio() for name in known) for word in foreign}
    assert len(near) > 100
    assert max(near.values()) < typed._NEAR
    assert not foreign & {*typed._OTHERS}


def test_a_warning_of_transformers_is_not_passed_on(recwarn: pytest.WarningsRecorder) -> None:
    kwargs = {"num_decay_steps": 20, "num_stable_steps": 80}
    assert not of(lr_scheduler_type="warmup_stable_decay", lr_scheduler_kwargs=kwargs).problems
    assert not recwarn.list


def test_the_optimizer_it_asks_with_leaves_the_generator_alone() -> None:
    before = torch.get_rng_state()
    of(lr_scheduler_type="cosine")
    assert torch.equal(torch.get_rng_state(), before)


# What is wrong: settings beside max_steps=100, and the one problem that is found


WRONG: list[tuple[dict[str, Any], str, str, str]] = [
    ({"lr_scheduler_type": "wsdd"}, "error", "unknown_schedule",
     "unknown schedule lr_scheduler_type='wsdd'; did you mean 'wsd'? (known: linear, cosine, "),
    ({"lr_scheduler_type": "SchedulerType.COSINE"}, "error", "unknown_schedule", "did you mean 'cosine'?"),
    ({"lr_scheduler_type": "zzz"}, "error", "unknown_schedule", "unknown schedule lr_scheduler_type='zzz' (known: "),
    ({"warmup_ratio": 0.03}, "error", "warmup_ratio", "; write warmup_steps: 0.03"),
    ({"warmup_ratio": "3e-2"}, "error", "warmup_ratio", "; write warmup_steps: 0.03"),
    ({"warmup_ratio": 0}, "error", "warmup_ratio", "; remove it"),
    ({"warmup_ratio": 5}, "error", "warmup_ratio", "; write warmup_steps: 0.03 for 3 % of it"),
    ({"warmup_ratio": "x"}, "error", "warmup_ratio", "; write warmup_steps: 0.03 for 3 % of it"),
    ({"warmup_ratio": 0.03, "warmup_steps": 10}, "error", "warmup_ratio",
     "the warm-up is given twice: warmup_ratio is no argument of Transformers 5, which takes a share of the run as "
     "warmup_steps; remove warmup_ratio and leave warmup_steps: 10"),
    ({"warmup_steps": 100}, "error", "no_peak",
     "the warm-up takes 100 of 100 steps, so the run ends at 4.95e-05 before it has the peak of 5e-05; shorten it or train "),
    ({"warmup_steps": 1000}, "error", "no_peak", "the warm-up takes 1000 of 100 steps"),
    ({"warmup_steps": 100, "lr_scheduler_type": "warmup_cosine"}, "error", "no_peak", "the warm-up takes 100 of 100 steps"),
    ({"warmup_steps": 1000, "lr_scheduler_type": "warmup_cosine"}, "error", "schedule",
     "warmup_cosine is refused: warmup (1000 steps) is longer than the run of 100 steps; shorten it or train for longer"),
    ({"warmup_steps": 51}, "warning", "long_warmup",
     "the warm-up takes 51 of 100 steps, 51%, more than half; shorten it (warmup_steps: 0.05) or train for longer"),
    ({"warmup_steps": 0.6, "lr_scheduler_type": "wsd"}, "warning", "long_warmup", "the warm-up takes 60 of 100 steps, 60%"),
    ({"warmup_steps": 1.0}, "warning", "warmup_unclear", "warmup_steps=1.0 is 1 step to Transformers; write 1 if "),
    ({"warmup_steps": "1.0"}, "warning", "warmup_unclear", "warmup_steps=1.0 is 1 step to Transformers"),
    ({"warmup_steps": 2.9}, "warning", "warmup_unclear", "warmup_steps=2.9 is 2 steps to Transformers; write 2"),
    ({"warmup_steps": -1}, "error", "warmup", "warmup_steps=-1 must be 0 or more"),
    ({"warmup_steps": "nan"}, "error", "warmup", "warmup_steps=nan must be 0 or more"),
    ({"warmup_steps": 5, "lr_scheduler_type": "constant"}, "warning", "warmup_ignored",
     "warmup_steps=5 does nothing under constant; use constant_with_warmup"),
    ({"warmup_steps": 0.1, "lr_scheduler_type": "greedy", "eval_strategy": "steps"}, "warning", "warmup_ignored",
     "warmup_steps=0.1 does nothing under greedy"),
    ({"warmup_steps": 5, "lr_scheduler_type": "wsd", "lr_scheduler_kwargs": {"warmup": 9}}, "error", "schedule",
     "the warm-up is given twice: warmup_steps makes 5 steps of it, lr_scheduler_kwargs (warmup=9) 9; give one of them"),
    ({"warmup_steps": 5, "lr_scheduler_type": "phases", "lr_scheduler_kwargs": ARGUMENTS["phases"]}, "error", "schedule",
     "warmup_steps=5, but 'phases' is told its warm-up by its own arguments; remove it"),
    ({"lr_scheduler_kwargs": {"num_warmup_steps": 5}}, "error", "kwargs", "the warm-up is given twice: Trainer passes "),
    ({"lr_scheduler_kwargs": {"num_training_steps": 5}}, "error", "kwargs", "Trainer itself gives num_training_steps"),
    ({"learning_rate": 0}, "error", "learning_rate", "learning_rate=0 must be a finite number above 0"),
    ({"learning_rate": -1e-4}, "error", "learning_rate", "learning_rate=-0.0001 must be a finite number above 0"),
    ({"learning_rate": "nan"}, "error", "learning_rate", "learning_rate=nan must be"),
    ({"learning_rate": math.inf, "lr_scheduler_type": "wsd"}, "error", "learning_rate", "learning_rate=inf must be"),
    ({"learning_rate": "fast"}, "error", "value", "invalid float value: 'fast'"),
    ({"learning_rate": [1e-4]}, "error", "value", "learning_rate=[0.0001] must be one value"),
    ({"save_strategy": False}, "error", "value", "save_strategy: no is False in YAML; write save_strategy: 'no'"),
    ({"num_train_epochs": 3}, "warning", "epochs_ignored",
     "max_steps=100 and num_train_epochs=3 are both given; max_steps wins, so remove num_train_epochs (or max_steps)"),
    ({"max_steps": -1}, "error", "steps", "give --examples N (training examples), or --max_steps N"),
    ({"max_steps": 0}, "error", "steps", "max_steps=0 is a run without a step"),
    ({"max_steps": -1, "num_train_epochs": 0}, "error", "steps", "num_train_epochs=0 must be a finite number above 0"),
    ({"max_steps": -1, "num_train_epochs": "nan"}, "error", "steps", "num_train_epochs=nan must be a finite number"),
    ({"per_device_train_batch_size": 0}, "error", "value", "per_device_train_batch_size=0 must be 1 or more"),
    ({"gradient_accumulation_steps": 0}, "error", "value", "gradient_accumulation_steps=0 must be 1 or more"),
    ({"learning_rte": 1}, "error", "misspelt", "learning_rte is no argument of TrainingArguments; did you mean learning_"),
    ({"lr": 1}, "error", "misspelt", "lr is no argument of TrainingArguments; did you mean learning_rate?"),
    ({"evaluation_strategy": "no"}, "error", "misspelt", "did you mean eval_strategy?"),
    ({"lr_scheduler": "wsd"}, "error", "misspelt", "did you mean lr_scheduler_type?"),
    ({"per_device_batch_size": 1}, "error", "misspelt",
     "did you mean per_device_eval_batch_size or per_device_train_batch_size?"),
    ({"lr_scheduler_kwargs": "decay=0.1"}, "error", "value", "lr_scheduler_kwargs='decay=0.1' is no JSON object"),
    ({"lr_scheduler_kwargs": "[1]"}, "error", "value", "lr_scheduler_kwargs='[1]' is no JSON object"),
    ({"lr_scheduler_type": "constant", "lr_scheduler_kwargs": {"min_lr": 1}}, "warning", "kwargs_dropped",
     "Transformers drops lr_scheduler_kwargs (min_lr) under constant"),
    ({"lr_scheduler_type": "constant_with_warmup", "lr_scheduler_kwargs": {"a": 1, "b": 2}}, "warning", "kwargs_dropped",
     "Transformers drops lr_scheduler_kwargs (a, b) under constant_with_warmup"),
    ({"lr_scheduler_type": "cosine", "lr_scheduler_kwargs": {"min_lr": 1}}, "error", "kwargs",
     "cosine does not take 'min_lr' in lr_scheduler_kwargs (accepted: num_cycles)"),
    ({"lr_scheduler_type": "polynomial", "lr_scheduler_kwargs": {"powr": 1}}, "error", "kwargs", "did you mean 'power'?"),
    ({"lr_scheduler_type": "wsd", "lr_scheduler_kwargs": {"decya": 1}}, "error", "schedule",
     "wsd is refused: wsd does not know 'decya'; did you mean 'decay'?"),
    ({"lr_scheduler_type": "wsd", "lr_scheduler_kwargs": {"warmup": 60, "decay": 60}}, "error", "schedule",
     "warmup (60) and decay (60) take 120 steps, but the run has only 100"),
    ({"lr_scheduler_type": "wsd", "lr_scheduler_kwargs": {"min_lr": 1}}, "error", "schedule",
     "min_lr (1) is above the peak LR (5e-05)"),
    ({"lr_scheduler_type": "wsd", "lr_scheduler_kwargs": {"on_resume": "never"}}, "error", "schedule",
     "on_resume='never' is not a policy"),
    ({"lr_scheduler_type": "wsd", "lr_scheduler_kwargs": {"decay": "1 epoch"}}, "error", "schedule",
     "decay='1 epoch' cannot be converted here: give steps_per_epoch"),
    ({"lr_scheduler_type": "wsd", "lr_scheduler_kwargs": {"decay": "81920 tokens"}, "block_size": 1024}, "warning", "units",
     "decay='81920 tokens' cannot be converted by Trainer alone (the recipes here tell it how); add tokens_per_step: 8192"),
    ({"lr_scheduler_type": "cosine_with_min_lr"}, "error", "schedule", "One of min_lr or min_lr_rate should be set"),
    ({"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr": 1e-4}}, "error", "floor",
     "above learning_rate=5e-05: the floor in lr_scheduler_kwargs (min_lr=0.0001) is above the peak; lower it"),
    ({"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr": "1e-6"}}, "error", "kwargs",
     "cosine_with_min_lr does not take lr_scheduler_kwargs={'min_lr': '1e-6'}: unsupported operand"),
    ({"lr_scheduler_type": "polynomial", "lr_scheduler_kwargs": {"lr_end": 1}}, "error", "schedule",
     "lr_end (1) must be smaller than initial lr"),
    ({"lr_scheduler_type": "polynomial", "warmup_steps": 100}, "error", "schedule",
     "polynomial fails in Transformers (division by zero) with a warm-up of 100 in 100 steps; shorten it"),
    ({"lr_scheduler_type": "warmup_stable_decay"}, "error", "kwargs",
     "warmup_stable_decay needs num_decay_steps in lr_scheduler_kwargs, in steps"),
    ({"lr_scheduler_type": "warmup_stable_decay", "lr_scheduler_kwargs": {"num_decay_steps": 0.2}}, "error", "decay",
     "num_decay_steps=0.2 is less than a step: Transformers takes steps, not shares; write 20, or use wsd with decay: 0.2"),
    ({"lr_scheduler_type": "warmup_stable_decay", "warmup_steps": 40, "lr_scheduler_kwargs": {"num_decay_steps": 80}},
     "error", "lengths", "warmup (40) and decay (80) take 120 steps, but the run has only 100; shorten one of them or train"),
    ({"lr_scheduler_type": "warmup_stable_decay", "lr_scheduler_kwargs": {"num_decay_steps": 8, "num_stable_steps": 20}},
     "warning", "lengths", "warmup (0), stable (20) and decay (8) take 28 of 100 steps, and the rest runs at the lowest"),
    ({"lr_scheduler_type": "warmup_stable_decay", "lr_scheduler_kwargs": {"num_decay_steps": 90, "num_stable_steps": 20}},
     "error", "lengths", "warmup (0), stable (20) and decay (90) take 110 steps, but the run has only 100"),
    ({"warmup_steps": "auto"}, "warning", "auto", "warmup_steps: auto is decided by the recipes as a run begins"),
    ({"lr_scheduler_type": "greedy"}, "error", "eval_strategy",
     "greedy follows the held-out loss, but eval_strategy is 'no'; set it to steps or epoch"),
    ({"lr_scheduler_type": "reduce_lr_on_plateau", "eval_strategy": "epoch", "lr_scheduler_kwargs": {"nope": 1}},
     "error", "kwargs", "unexpected keyword argument 'nope'"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "kind", "name", "sentence"), WRONG, ids=[f"{number}-{name}" for number, (_, _, name, _) in enumerate(WRONG)]
)
def test_what_is_wrong_is_said(settings: dict[str, Any], kind: str, name: str, sentence: str) -> None:
    plan = of(**settings)
    assert [(problem.kind, problem.name) for problem in plan.problems] == [(kind, name)]
    assert sentence in plan.problems[0].sentence


def test_every_problem_is_tested() -> None:
    source = "".join(Path(str(one.__file__)).read_text("utf-8") for one in (module, own_schedules, typed))
    told = set(re.findall(r'(?:Problem|add)\(\s*"(error|warning)",\s*"(\w+)"', source))
    assert len(told) > 15
    assert told - {(kind, name) for _, kind, name, _ in WRONG} == {("error", "foreign")}  # tested below


def test_a_file_of_another_trainer_is_told_apart() -> None:
    plan = preflight({"train": {"lr": 1e-4}, "model": "gpt"}, examples=100)
    assert [problem.name for problem in plan.problems] == ["foreign"]
    assert plan.not_looked_at == ("train", "model")


@pytest.mark.parametrize(
    ("settings", "given", "sentence"),
    [
        (
            {"dataloader_drop_last": True},
            {"examples": 3},
            "leaves nothing of 3 examples, which are less than a batch of 8 x 1",
        ),
        ({}, {"examples": 3, "arguments_class": "trl.GRPOConfig"}, "trl.GRPOConfig makes its examples as it trains"),
    ],
)
def test_epochs_that_cannot_be_counted(settings: dict[str, Any], given: dict[str, Any], sentence: str) -> None:
    plan = preflight(settings, **given)
    assert plan.steps is None
    assert [problem.name for problem in plan.problems] == ["steps"]
    assert sentence in plan.problems[0].sentence


def test_errors_come_first_and_all_are_told() -> None:
    plan = of(num_train_epochs=3, warmup_ratio=0.6, lr_schedular_type="wsd")
    assert [problem.name for problem in plan.problems] == ["warmup_ratio", "misspelt", "epochs_ignored", "long_warmup"]
    assert plan.warmup == 60  # as it was meant


def test_the_default_warmup_is_said_by_the_plan() -> None:
    plan = of(lr_scheduler_type="wsd")
    assert (plan.warmup, plan.warmup_from) == (10, "hf_lrsched's default")
    assert of(lr_scheduler_type="wsd", warmup_steps=0.1).warmup_from == "warmup_steps"
    assert of(lr_scheduler_type="wsd", lr_scheduler_kwargs={"num_warmup_steps": 3}).warmup_from == "lr_scheduler_kwargs"
    assert logging.getLogger("hf_lrsched.training.registration").level == logging.NOTSET
