"""Warm-ups: what is said with which numbers, and what is left in peace."""

from __future__ import annotations

from pathlib import Path

import pytest

from hf_lrsched.advice.lint import Configuration, judge
from hf_lrsched.advice.lint.rules.warmup import (
    FirstStepAtZero,
    WarmupIgnored,
    WarmupLongerThanRun,
    WarmupMostOfRun,
    WarmupRatioGone,
    WarmupUnclear,
)

from .folder import remarks, sentences

PLAIN = "per_device_train_batch_size: 8\nlr_scheduler_type: cosine\nlearning_rate: 2.0e-5\n"
AXOLOTL = "base_model: Qwen/Qwen3-8B\nmicro_batch_size: 2\nnum_epochs: 1\nsequence_len: 2048\nlearning_rate: 0.00002\n"


def test_the_peak_that_is_reached_is_told_in_numbers(tmp_path: Path) -> None:
    [found] = remarks(tmp_path, f"{PLAIN}max_steps: 60\nwarmup_steps: 1000\n", "LR001")
    assert found.sentence == (
        "the warm-up takes 1000 steps and the run has 60 (max_steps 60), so the learning rate reaches 5.9 % of its peak, "
        "1.2e-06 in place of 2e-05, and never decays"
    )
    assert found.advice == "Write warmup_steps: 6 (a tenth of the run), or train for longer"
    assert found.fix is not None
    assert (found.fix.new, found.fix.safe) == ("warmup_steps: 6", False)


@pytest.mark.parametrize(
    ("warmup", "steps", "rules"),
    [
        (99, 100, {"LR002"}),
        (100, 100, {"LR001"}),
        (51, 100, {"LR002"}),
        (50, 100, set()),
        (0.51, 100, {"LR002"}),
        (0.5, 9, set()),
    ],
)
def test_the_bounds_are_those_of_the_sentences(warmup: float, steps: int, rules: set[str]) -> None:
    one = Configuration.of({"warmup_steps": warmup, "learning_rate": 1e-4, "lr_scheduler_type": "linear"}, steps=steps)
    assert {found.rule for found in judge(one, rules=[WarmupLongerThanRun, WarmupMostOfRun])} == rules


def test_a_share_is_judged_without_knowing_the_run() -> None:
    one = Configuration.of({"warmup_steps": 0.8, "lr_scheduler_type": "linear"})
    [found] = judge(one, rules=[WarmupMostOfRun])
    assert found.sentence.startswith("the warm-up is 80% of the run, more than half")


def test_where_the_run_may_be_shorter_that_is_said(tmp_path: Path) -> None:
    text = (
        "model:\n  _component_: torchtune.models.llama2.llama2_7b\noptimizer:\n  _component_: torch.optim.AdamW\n  lr: 2e-5\n"
        "lr_scheduler:\n  _component_: torchtune.training.lr_schedulers.get_cosine_schedule_with_warmup\n"
        "  num_warmup_steps: 100\nepochs: 1\nmax_steps_per_epoch: 50\nbatch_size: 2\n"
    )
    [said] = sentences(tmp_path, text, "LR001")
    assert "the run has at most 50 (epochs 1 x max_steps_per_epoch 50), so the learning rate reaches at most 49 %" in said


@pytest.mark.parametrize(
    "told",
    [
        {"lr_scheduler_type": "constant"},
        {"lr_scheduler_type": "wsd", "lr_scheduler_kwargs": {"warmup": "5%"}},
        {"lr_scheduler_type": "phases"},
    ],
)
def test_a_warmup_that_does_not_count_is_not_too_long(told: dict[str, object]) -> None:
    one = Configuration.of({"warmup_steps": 500, **told}, steps=100)
    assert judge(one, rules=[WarmupLongerThanRun, WarmupMostOfRun]) == []


def test_warmup_ratio_is_told_where_transformers_reads_the_file(tmp_path: Path) -> None:
    [found] = remarks(tmp_path, f"{PLAIN}num_train_epochs: 1\nwarmup_ratio: 0.03  # of it\n", "LR005")
    assert found.fix is not None
    assert (found.fix.new, found.fix.safe) == ("warmup_steps: 0.03  # of it", True)


@pytest.mark.parametrize(
    ("steps", "ratio", "new", "safe"),
    [("warmup_steps: 100\n", "0.1", None, True), ("warmup_steps: 0\n", "0.1", None, False), ("", "0.0", None, True)],
)
def test_one_that_counts_for_nothing_is_removed(tmp_path: Path, steps: str, ratio: str, new: None, safe: bool) -> None:
    [found] = remarks(tmp_path, f"{PLAIN}num_train_epochs: 1\n{steps}warmup_ratio: {ratio}\n", "LR005")
    assert found.fix is not None
    assert (found.fix.new, found.fix.safe) == (new, safe)


def test_no_key_is_written_twice(tmp_path: Path) -> None:
    [found] = remarks(tmp_path, f"{PLAIN}num_train_epochs: 1\nwarmup_ratio: 0.1\nwarmup_steps: null\n", "LR005")
    assert found.fix is None
    assert found.advice == "For Transformers 5 or newer write warmup_steps: 0.1"


def test_in_a_script_the_edit_is_looked_at_first(tmp_path: Path) -> None:
    command = "python sft.py --learning_rate 2e-5 --num_train_epochs 1 --per_device_train_batch_size 2"
    [found] = remarks(tmp_path, {"run.sh": f"{command} --warmup_ratio 0.1\n"}, "LR005")
    assert found.fix is not None
    assert (found.fix.new, found.fix.safe) == (f"{command} --warmup_steps 0.1", False)
    assert found.sentence.startswith("--warmup_ratio 0.1 is no argument")
    assert found.advice == "For Transformers 5 or newer write --warmup_steps 0.1"


@pytest.mark.parametrize("word", ["train_type", "tuner_type"])
def test_ms_swift_reads_warmup_ratio_itself(tmp_path: Path, word: str) -> None:
    command = "python sft.py --learning_rate 1e-4 --num_train_epochs 1 --per_device_train_batch_size 2 --warmup_ratio 0.05"
    assert sentences(tmp_path, {"run.sh": f"{command} --{word} lora\n"}, "LR005") == []
    assert len(sentences(tmp_path, {"run.sh": f"{command} --other lora\n"}, "LR005")) == 1


@pytest.mark.parametrize("choice", [{"value": 0.1}, {"values": [0.1, 0.2]}, [0.1, 0.2]])
def test_a_sweeps_choice_is_no_argument(choice: object) -> None:
    assert judge(Configuration.of({"warmup_ratio": choice}), rules=[WarmupRatioGone]) == []


def test_on_a_command_line_advice_is_an_argument(tmp_path: Path) -> None:
    command = "python sft.py --learning_rate 2e-5 --per_device_train_batch_size 2 --max_steps 60 --warmup_steps 1000\n"
    [found] = remarks(tmp_path, {"run.sh": command}, "LR001")
    assert found.advice.startswith("Write --warmup_steps 6 (a tenth of the run)")


def test_one_step_is_one_step() -> None:
    one = Configuration.of({"warmup_steps": 1, "learning_rate": 1e-4, "lr_scheduler_type": "linear"}, steps=100)
    [found] = judge(one, rules=[FirstStepAtZero])
    assert found.sentence.startswith("the warm-up of 1 step begins at 0")


def litgpt(*, whole: int, micro: int) -> Configuration:
    told = {"warmup_steps": 100, "global_batch_size": whole, "per_device_train_batch_size": micro, "learning_rate": 1e-4}
    return Configuration.of(told, form="litgpt", task="pretrain", processes=1)


def test_litgpt_that_accumulates_is_above_zero_at_its_first_step() -> None:
    assert judge(litgpt(whole=8, micro=2), rules=[FirstStepAtZero]) == []
    assert len(judge(litgpt(whole=8, micro=8), rules=[FirstStepAtZero])) == 1
    assert len(judge(litgpt(whole=8, micro=2).but(task="sft"), rules=[FirstStepAtZero])) == 1


@pytest.mark.parametrize("ratio", ["1.5", "ten", "-1"])
def test_one_that_is_no_share_is_told_without_an_edit(tmp_path: Path, ratio: str) -> None:
    [found] = remarks(tmp_path, f"{PLAIN}num_train_epochs: 1\nwarmup_ratio: {ratio}\n", "LR005")
    assert found.fix is None or not found.fix.safe


@pytest.mark.parametrize(
    "text",
    [
        f"{AXOLOTL}warmup_ratio: 0.1\n",
        f"{PLAIN}stage: sft\nfinetuning_type: full\ntemplate: qwen\ncutoff_len: 2048\nwarmup_ratio: 0.1\n",
        f"{PLAIN}use_slow_tokenizer: true\nwith_tracking: true\ncheckpointing_steps: epoch\nwarmup_ratio: 0.03\n",
    ],
    ids=["axolotl", "llamafactory", "open-instruct"],
)
def test_warmup_ratio_is_fine_where_somebody_else_reads_it(tmp_path: Path, text: str) -> None:
    assert sentences(tmp_path, text, "LR005") == []


@pytest.mark.parametrize(("written", "steps"), [("1.0", 1), ("1.", 1), ("2.5", 2), ("100.7", 100)])
def test_a_number_that_may_mean_two_things_is_told(tmp_path: Path, written: str, steps: int) -> None:
    [said] = sentences(tmp_path, f"{PLAIN}max_steps: 2000\nwarmup_steps: {written}\n", "LR011")
    assert f"warmup_steps: {written} is {steps} step" in said


@pytest.mark.parametrize("written", ["1", "100", "100.0", "0.1", "2.0"])
def test_a_number_that_means_one_thing_is_not(tmp_path: Path, written: str) -> None:
    assert sentences(tmp_path, f"{PLAIN}max_steps: 2000\nwarmup_steps: {written}\n", "LR011") == []


def test_a_live_runs_float_is_no_unclear_number() -> None:
    assert judge(Configuration.of({"warmup_steps": 1.0}), rules=[WarmupUnclear]) == []
    assert len(judge(Configuration.of({"warmup_steps": 1.5}), rules=[WarmupUnclear])) == 1


def test_axolotls_constant_drops_its_warmup_too(tmp_path: Path) -> None:
    [said] = sentences(tmp_path, f"{AXOLOTL}lr_scheduler: constant\nwarmup_ratio: 0.1\n", "LR014")
    assert said.startswith("warmup_ratio: 0.1 does nothing under constant")


def test_no_warmup_is_no_warmup_ignored() -> None:
    one = Configuration.of({"lr_scheduler_type": "constant", "warmup_steps": 0})
    assert judge(one, rules=[WarmupIgnored]) == []


def test_axolotls_warmup_steps_are_whole(tmp_path: Path) -> None:
    [found] = remarks(tmp_path, f"{AXOLOTL}warmup_steps: 0.1\n", "LR011")
    assert found.level == "error"
    assert found.fix is not None
    assert found.fix.new == "warmup_ratio: 0.1"
    [found] = remarks(tmp_path, f"{AXOLOTL}warmup_steps: 0.1\nwarmup_ratio: 0.05\n", "LR011")
    assert found.fix is None
    assert not remarks(tmp_path, f"{AXOLOTL}warmup_steps: 10\n", "LR011")
