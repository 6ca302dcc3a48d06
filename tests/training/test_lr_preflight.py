"""What is said of a run before its first step, to whom, and that nothing of it can end a run that was not to be ended."""

from __future__ import annotations

import inspect
import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import accelerate
import peft
import pytest
import torch
from accelerate.scheduler import AcceleratedScheduler
from torch.optim import SGD, AdamW
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, OneCycleLR, StepLR
from transformers import SchedulerType, Trainer, TrainerControl, TrainerState, get_cosine_schedule_with_warmup
from transformers.optimization import TYPE_TO_SCHEDULER_FUNCTION

from hf_lrsched import CATALOGUE, LRPreflight, LRRecorder, ScheduleLR, read_history, wsd
from hf_lrsched.advice.lint import Configuration, Remark, Rule, judge
from hf_lrsched.advice.lint.configuration import WITHOUT_WARMUP
from hf_lrsched.advice.lint.rules.arguments import ACCEPTED, DROPS_KWARGS, FOLLOWS_THE_LOSS, GIVEN
from hf_lrsched.advice.lint.rules.endings import ClimbsAgain
from hf_lrsched.advice.lint.rules.schedules import FOR_RESUMING
from hf_lrsched.advice.lint.rules.warmup import WarmupIgnored, WarmupLongerThanRun
from hf_lrsched.training import lint, trackers
from hf_lrsched.training.lint import configuration
from hf_lrsched.training.preflight import preflight
from hf_lrsched.training.resume import WORDS

from .running import arguments, lrs, running, said, two_processes
from .test_facts import llama
from .test_trainer import PEAK, tiny

LONG = {"max_steps": 4, "warmup_steps": 100, "lr_scheduler_type": "cosine"}
SENTENCE = (
    "the warm-up takes 100 steps and the run has 4, so the learning rate reaches 3 % of its peak, 0.0003 "
    "in place of 0.01, and never decays"
)


def known(made: Any, **more: Any) -> Configuration:
    """A Trainer as the rules see it."""
    made.state.max_steps = made.args.max_steps
    return configuration(made.args, made.state, trainer=made, **{"model": made.model, **more})


# What is told


def test_a_faulty_run_is_told_everywhere_and_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, str, bool]] = []
    monkeypatch.setattr(trackers, "report_text", lambda made, title, text, attention: told.append((title, text, attention)))
    preflight = LRPreflight()
    made = running(arguments(tmp_path, **LONG), preflight, LRRecorder())
    made.train()
    assert made.state.global_step == 4
    [line] = said(caplog)
    assert line.startswith(f"error (LR001, warmup-longer-than-run): {SENTENCE}; write ")
    [remark] = [one for one in preflight.remarks if one.level != "note"]
    assert [line["lint"] for line in made.state.log_history if "lint" in line] == [remark.to_dict()]
    assert [(title, attention) for title, _, attention in told] == [("LR001 warmup-longer-than-run", True)]
    run = read_history(tmp_path)
    assert [event.text.partition(": ")[0] for event in run.events if event.kind == "lint"] == ["LR001 warmup-longer-than-run"]


def test_a_run_without_a_fault_is_told_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    preflight = LRPreflight(on_error="stop")
    made = running(arguments(tmp_path, max_steps=4, lr_scheduler_type="cosine"), preflight)
    made.train()
    assert preflight.remarks == []
    assert said(caplog) == []
    assert not any("lint" in line for line in made.state.log_history)


def test_a_note_is_information(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "hf_lrsched")
    preflight = LRPreflight(on_error="stop")
    made = running(arguments(tmp_path, max_steps=8, warmup_steps=2, lr_scheduler_type="cosine"), preflight)
    made.train()
    assert [one.rule for one in preflight.remarks] == ["LR020"]
    assert said(caplog) == []
    assert [line[:24] for line in said(caplog, "INFO") if "LR020" in line] == ["note (LR020, first-step-"]


def test_an_error_stops_the_training_before_its_first_step(tmp_path: Path) -> None:
    made = running(arguments(tmp_path, **LONG), LRPreflight(on_error="stop"))
    with pytest.raises(ValueError, match=r"the run is not begun: the warm-up takes 100 steps.*ignore=\['LR001'\]"):
        made.train()
    assert lrs(made) == []


def test_two_processes_are_not_begun_together(tmp_path: Path) -> None:
    two_processes(tmp_path, "preflight")
    one, other = (json.loads((tmp_path / f"preflight-{rank}.json").read_text()) for rank in (0, 1))
    assert one == other
    assert (one["processes"], one["steps"]) == (2, 0)
    assert one["error"].startswith("the run is not begun: the warm-up takes 100 steps")


def test_a_warning_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    preflight = LRPreflight(on_error="stop")
    made = running(arguments(tmp_path, max_steps=4, warmup_steps=2, lr_scheduler_type="constant"), preflight)
    made.train()
    assert [one.rule for one in preflight.remarks] == ["LR014"]
    assert made.state.global_step == 4


@pytest.mark.parametrize("word", ["LR001", "warmup-longer-than-run"])
def test_a_rule_is_kept_quiet(tmp_path: Path, word: str) -> None:
    made = running(arguments(tmp_path, **LONG), LRPreflight(on_error="stop", ignore=[word]))
    made.train()
    assert made.state.global_step == 4


def test_rules_are_chosen(tmp_path: Path) -> None:
    preflight = LRPreflight(rules=[WarmupIgnored])
    running(arguments(tmp_path, **LONG), preflight).train()
    assert preflight.remarks == []


def test_what_makes_no_sense_is_refused() -> None:
    for words, sentence in (
        ({"on_error": "explode"}, "on_error='explode' must be"),
        ({"task": "sftt"}, "task='sftt' is not known"),
        ({"ignore": ["LR999"]}, "ignore='LR999' is no rule"),
    ):
        with pytest.raises(ValueError, match=sentence):
            LRPreflight(**words)


# That it breaks nothing


class Broken(Rule):
    """Of a rule that fails."""

    id, name, level, source = "LR998", "broken", "error", "nowhere"

    def judge(self, configuration: Configuration, siblings: Sequence[Configuration]) -> Iterator[Remark]:
        raise KeyError("learning_rate")


def test_a_rule_that_fails_is_a_warning_and_the_run_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = running(arguments(tmp_path, max_steps=2), LRPreflight(on_error="stop", rules=[Broken]))
    made.train()
    assert made.state.global_step == 2
    assert said(caplog) == ["the run could not be looked at before it began: KeyError: 'learning_rate'"]


def test_a_tracker_that_fails_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*words: object, **more: object) -> None:
        raise RuntimeError("offline")

    monkeypatch.setattr(trackers, "report_text", fails)
    made = running(arguments(tmp_path, **LONG), LRPreflight())
    made.train()
    assert made.state.global_step == 4
    assert said(caplog)[1:] == ["a tracker could not be told what was found: offline"]


def test_what_a_trainer_hides_is_unknown(tmp_path: Path) -> None:
    """Neither model nor optimizer nor Trainer: only its arguments are known."""
    seen = configuration(arguments(tmp_path, max_steps=5, lr_scheduler_type="cosine"), TrainerState(max_steps=5))
    assert (seen.number("learning_rate"), seen.schedule, seen.steps and seen.steps.total) == (PEAK, "cosine", 5)
    assert (seen.task, seen.peft, seen.parameters, seen.examples, seen.companions) == ("", "", None, None, ())
    assert judge(seen) == []


def test_without_its_trainer_a_run_is_judged_all_the_same(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    preflight, made = LRPreflight(), running(arguments(tmp_path, **LONG))
    state = TrainerState(max_steps=4, is_world_process_zero=True)
    preflight.on_train_begin(made.args, state, TrainerControl(), model=made.model, optimizer=None, lr_scheduler=None)
    preflight.on_epoch_begin(made.args, state, TrainerControl())
    assert [one.rule for one in preflight.remarks if one.level == "error"] == ["LR001"]
    assert len(said(caplog)) == 1


# What a run knows


def test_a_run_knows_its_steps_data_and_optimizer(tmp_path: Path) -> None:
    made = running(arguments(tmp_path, num_train_epochs=3, lr_scheduler_type="linear"), LRPreflight())
    made.train()
    about = {"model": made.model, "optimizer": made.optimizer, "lr_scheduler": made.lr_scheduler}
    seen = configuration(made.args, made.state, trainer=made, **about)
    assert seen.steps is not None
    assert (seen.steps.total, seen.examples, seen.processes, seen.form) == (18, 24, 1, "transformers")
    assert (seen.number("learning_rate"), seen.word("optim"), seen.peft) == (PEAK, "adamw", "full")
    assert seen.parameters == sum(weight.numel() for weight in made.model.parameters())


def test_the_rate_is_the_optimizers_own_of_the_group_that_trains_most(tmp_path: Path) -> None:
    made = running(arguments(tmp_path, max_steps=5))
    few, many = [made.model.head.bias], [made.model.hidden.weight]
    optimizer = SGD([{"params": few, "lr": 1.0}, {"params": many, "lr": 0.25}])
    seen = known(made, optimizer=optimizer)
    assert (seen.number("learning_rate"), seen.word("optim")) == (0.25, "sgd")
    get_cosine_schedule_with_warmup(optimizer, 2, 5)  # now the LR is 0, and the peak is kept beside it
    assert known(made, optimizer=optimizer).number("learning_rate") == 0.25


def test_our_schedules_are_ours(tmp_path: Path) -> None:
    seen = known(running(arguments(tmp_path, max_steps=5, lr_scheduler_type="wsd", lr_scheduler_kwargs={"decay": 0.2})))
    assert (seen.form, seen.schedule, seen.value("lr_scheduler_kwargs")) == ("hf_lrsched", "wsd", {"decay": 0.2})


def adapted(kind: Any, model: Any = None) -> Any:
    return peft.get_peft_model(llama() if model is None else model, kind)


def test_adapters_are_known_with_rank_and_alpha(tmp_path: Path) -> None:
    made = running(arguments(tmp_path, max_steps=5))
    lora = peft.LoraConfig(r=4, lora_alpha=16, use_rslora=True, target_modules=["q_proj"])
    seen = known(made, model=adapted(lora))
    assert (seen.peft, seen.number("r"), seen.number("alpha"), seen.value("rslora"), seen.task) == (
        "lora",
        4,
        16,
        True,
        "sft",
    )
    plain = peft.LoraConfig(r=4, target_modules=["q_proj"], use_dora=True)
    assert known(made, model=adapted(plain)).peft == "dora"
    assert known(made, model=adapted(plain)).get("rslora") is None
    quantized = adapted(peft.LoraConfig(r=4, target_modules=["q_proj"]))
    quantized.is_loaded_in_4bit = True
    assert known(made, model=quantized).peft == "qlora"
    assert known(made, model=adapted(peft.IA3Config(target_modules=["q_proj"], feedforward_modules=[]))).peft == "ia3"


def test_a_part_of_a_model_that_trains_is_no_full_tuning(tmp_path: Path) -> None:
    made = running(arguments(tmp_path, max_steps=5))
    made.model.head.requires_grad_(False)
    assert known(made).peft == "partial"


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("DPOTrainer", "preference"),
        ("KTOTrainer", "preference"),
        ("GRPOTrainer", "rl"),
        ("OnlineDPOTrainer", "rl"),
        ("RewardTrainer", "reward"),
        ("SFTTrainer", "sft"),
        ("Seq2SeqTrainer", ""),
        ("Trainer", ""),
    ],
)
def test_the_task_is_what_the_trainers_class_says(name: str, task: str, tmp_path: Path) -> None:
    kind = type("Own" + name, (type(name, (Trainer,), {}),), {})
    made = kind(model=tiny(), args=arguments(tmp_path, max_steps=5))
    assert known(made).task == task
    assert known(made, task="continue").task == "continue"


def test_a_language_model_that_nobody_has_trained_is_pretrained(tmp_path: Path) -> None:
    made, model = running(arguments(tmp_path, max_steps=5)), llama()
    assert known(made, model=model).task == "pretrain"
    with torch.no_grad():
        model.model.norm.weight.add_(0.5)
    assert known(made, model=model).task == ""


def test_a_rate_of_full_tuning_under_lora_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    big = llama()
    big.num_parameters = lambda: 8_000_000_000
    made = running(arguments(tmp_path, max_steps=5, learning_rate=1e-5))
    model = adapted(peft.LoraConfig(r=8, target_modules=["q_proj"]), big)
    model.num_parameters = lambda: 8_000_000_000
    assert [one.rule for one in judge(known(made, model=model, optimizer=AdamW(model.parameters(), lr=1e-5)))] == ["LR004"]


# Schedulers that a script has made


def own(folder: Path, scheduler: Any, optimizer: Any, *, step: int = 0) -> Any:
    made: Any = Trainer(model=tiny(), args=arguments(folder, max_steps=20), optimizers=(optimizer, scheduler))
    made.state.global_step = step
    return known(made, optimizer=optimizer, lr_scheduler=scheduler)


def test_a_scheduler_that_is_shorter_than_the_run_is_told(tmp_path: Path) -> None:
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=PEAK)
    for scheduler, behind, level in (
        (get_cosine_schedule_with_warmup(optimizer, 0, 10), "is not what was planned", "warning"),
        (CosineAnnealingLR(optimizer, 10), "climbs again", "error"),
        (OneCycleLR(optimizer, PEAK, total_steps=10), "the run ends in a ValueError", "error"),
        (ScheduleLR(optimizer, wsd(10, warmup=2, decay=2)), "is not what was planned", "warning"),
    ):
        seen = own(tmp_path, scheduler, optimizer)
        assert (seen.schedule, seen.warmup) == ("", 0.0)
        [remark] = judge(seen, rules=[ClimbsAgain])
        assert "the scheduler was made for 10 steps and the run has 20; behind step 10" in remark.sentence
        assert behind in remark.sentence
        assert remark.level == level


def test_torchs_one_cycle_in_a_resumed_run_is_told(tmp_path: Path) -> None:
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=PEAK)
    for length, rules in ((30, ["LR026"]), (20, [])):  # the run has 20
        scheduler = OneCycleLR(optimizer, PEAK, total_steps=length)
        assert judge(own(tmp_path, scheduler, optimizer)) == []
        assert [remark.rule for remark in judge(own(tmp_path, scheduler, optimizer, step=10))] == rules


def test_a_scheduler_of_the_runs_length_or_of_none_is_told_nothing(tmp_path: Path) -> None:
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=PEAK)
    for scheduler in (
        get_cosine_schedule_with_warmup(optimizer, 0, 20),
        StepLR(optimizer, 5),
        LinearLR(optimizer, total_iters=2),
    ):
        assert judge(own(tmp_path, scheduler, optimizer)) == []


def test_a_scheduler_that_is_stepped_for_each_process_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=PEAK)
    accelerate.Accelerator(cpu=True)
    scheduler = AcceleratedScheduler(CosineAnnealingLR(optimizer, 20), optimizer)
    assert judge(own(tmp_path, scheduler, optimizer)) == []  # one process
    monkeypatch.setattr(accelerate, "PartialState", lambda: SimpleNamespace(num_processes=4))
    [remark] = judge(own(tmp_path, scheduler, optimizer))
    assert remark.rule == "LR024"
    assert "takes 4 steps for each update" in remark.sentence
    assert "ends after 5 of 20 updates" in remark.sentence
    split = AcceleratedScheduler(CosineAnnealingLR(optimizer, 20), optimizer, split_batches=True)
    assert judge(own(tmp_path, split, optimizer)) == []


def test_deepspeeds_own_schedule_is_told(tmp_path: Path) -> None:
    config = {"zero_optimization": {"stage": 2}, "scheduler": {"type": "WarmupLR", "params": {"warmup_num_steps": 10}}}
    plugin = SimpleNamespace(hf_ds_config=SimpleNamespace(config=config))
    made = running(arguments(tmp_path, max_steps=20, lr_scheduler_type="cosine"))
    made.accelerator = SimpleNamespace(state=SimpleNamespace(deepspeed_plugin=plugin))
    [remark] = [one for one in judge(known(made)) if one.level != "note"]
    assert (remark.rule, "the run follows DeepSpeed's WarmupLR" in remark.sentence) == ("LR008", True)


def test_a_sentence_ends_with_its_source() -> None:
    assert lint.said(Remark("LR001", "x", "error", "too long", "Write 6")) == "too long; write 6"
    assert json.dumps(WarmupLongerThanRun.source)[1:-1] in lint.said(
        Remark("LR001", "x", "error", "too long", source=WarmupLongerThanRun.source)
    )


# What the rules hold of Transformers, and the plan of the command line


@pytest.mark.parametrize("name", ACCEPTED)
def test_a_schedule_takes_the_words_that_the_rules_say(name: str) -> None:
    function: Any = TYPE_TO_SCHEDULER_FUNCTION[SchedulerType(name)]
    words = set(inspect.signature(function).parameters)
    assert words - {"optimizer", "last_epoch", *GIVEN} == set(ACCEPTED[name])


def test_every_schedule_of_transformers_is_known_to_the_rules() -> None:
    ours = {name for name, entry in CATALOGUE.items() if entry.registered}
    theirs = {str(one.value) for one in SchedulerType} - ours
    assert theirs | {"constant"} == {*ACCEPTED, *DROPS_KWARGS, *FOLLOWS_THE_LOSS}
    assert {"constant", *FOLLOWS_THE_LOSS} == WITHOUT_WARMUP


def test_words_for_resuming_are_no_schedules() -> None:
    assert FOR_RESUMING == WORDS


STEPS: dict[str, Any] = {"max_steps": 100, "learning_rate": 1e-4}


@pytest.mark.parametrize(
    ("settings", "rule", "problem"),
    [
        ({"warmup_steps": 200}, "LR001", "no_peak"),
        ({"warmup_steps": 100}, "LR001", "no_peak"),
        ({"warmup_steps": 60}, "LR002", "long_warmup"),
        ({"warmup_steps": 0.7, "lr_scheduler_type": "cosine"}, "LR002", "long_warmup"),
        ({"warmup_ratio": 0.1}, "LR005", "warmup_ratio"),
        ({"warmup_steps": 1.5}, "LR011", "warmup_unclear"),
        ({"lr_scheduler_type": "constant", "lr_scheduler_kwargs": {"decay": 1}}, "LR013", "kwargs_dropped"),
        ({"lr_scheduler_type": "constant", "warmup_steps": 5}, "LR014", "warmup_ignored"),
        ({"lr_scheduler_type": "warmup_stable_decay", "lr_scheduler_kwargs": {"num_decay_steps": 0.2}}, "LR019", "decay"),
        (
            {"lr_scheduler_type": "warmup_stable_decay", "lr_scheduler_kwargs": {"num_decay_steps": 90}, "warmup_steps": 20},
            *("LR019", "lengths"),
        ),
        ({"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr": 1e-3}}, "LR023", "floor"),
        ({"lr_scheduler_type": "cosine", "lr_scheduler_kwargs": {"min_lr": 1e-6}}, "LR028", "kwargs"),
        ({"lr_scheduler_type": "cosine", "lr_scheduler_kwargs": {"num_training_steps": 9}}, "LR028", "kwargs"),
        ({"lr_scheduler_type": "warmup_stable_decay"}, "LR028", "kwargs"),
        ({"lr_scheduler_type": "wsd", "lr_scheduler_kwargs": {"decai": 0.1}}, "LR028", "schedule"),
        ({"lr_scheduler_type": "wsd", "lr_scheduler_kwargs": {"decay": 200}}, "LR028", "schedule"),
        ({"lr_scheduler_type": "reduce_lr_on_plateau"}, "LR029", "eval_strategy"),
        ({"lr_scheduler_type": "cosin"}, "LR030", "unknown_schedule"),
        ({"lr_scheduler_type": "cosine", "warmup_steps": 10}, None, None),
        ({"lr_scheduler_type": "wsd", "warmup_steps": 0.1, "lr_scheduler_kwargs": {"decay": "20%"}}, None, None),
    ],
)
def test_lint_and_plan_find_the_same(settings: dict[str, Any], rule: str | None, problem: str | None) -> None:
    ours = settings.get("lr_scheduler_type") in CATALOGUE
    one = Configuration.of({**STEPS, **settings}, form="hf_lrsched" if ours else "transformers")
    found = {remark.rule for remark in judge(one) if remark.level != "note"}
    assert found == ({rule} if rule else set())
    names = {wrong.name for wrong in preflight({**STEPS, **settings}).problems}
    assert names == ({problem} if problem else set())
