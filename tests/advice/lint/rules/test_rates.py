"""Learning rates that are far out, and those that are only unusual."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hf_lrsched.advice.lint import Configuration, judge
from hf_lrsched.advice.lint.rules.asking import told_sources
from hf_lrsched.advice.lint.rules.rates import (
    FailingRate,
    RankAndAlpha,
    RateOfFullTuning,
    RateOfSFTInRL,
    RateOutsideBand,
)
from hf_lrsched.advice.model import Model
from hf_lrsched.advice.question import Question
from hf_lrsched.advice.recommend import answer

from .folder import remarks

RULES = [RateOutsideBand, RateOfFullTuning, RankAndAlpha, RateOfSFTInRL, FailingRate]


def found(
    rate: float, task: str, peft: str = "full", *, size: float | None = 8e9, form: Any = "trl", **settings: Any
) -> list[str]:
    one = Configuration.of({"learning_rate": rate, **settings}, form=form, task=task, peft=peft, parameters=size)
    return [remark.rule for remark in judge(one, rules=RULES)]


@pytest.mark.parametrize(
    ("rate", "task", "peft", "rules"),
    [
        (2e-4, "sft", "full", ["LR003"]),
        (2e-7, "sft", "full", ["LR003"]),
        (2e-5, "preference", "full", ["LR003"]),
        (2e-4, "preference", "lora", ["LR003"]),
        (1e-2, "sft", "lora", ["LR003"]),
        (1e-5, "sft", "lora", ["LR004"]),
        (1e-5, "sft", "qlora", ["LR004"]),
        (5e-5, "rl", "full", ["LR016"]),
        (1e-4, "sft", "fourierft", ["LR022"]),
        (1e-4, "sft", "prompt_tuning", ["LR022"]),
        (1e-4, "sft", "ia3", ["LR022"]),
    ],
)
def test_what_is_far_out_is_told_by_one_rule(rate: float, task: str, peft: str, rules: list[str]) -> None:
    assert found(rate, task, peft) == rules


# Shipped or measured (recipes.md section 2 and 3), and no mistakes.
@pytest.mark.parametrize(
    ("rate", "task", "peft", "size"),
    [
        (2e-5, "sft", "full", 7e9),  # zephyr
        (5e-6, "sft", "full", 8e9),  # Tulu 3
        (2e-6, "sft", "full", 7e10),  # Tulu 3
        (8e-5, "sft", "full", 7e9),  # OLMo 3
        (1e-3, "sft", "full", 3.6e8),  # SmolLM2
        (3e-4, "sft", "full", 1.7e9),  # SmolLM2
        (2e-4, "sft", "qlora", 7e9),  # zephyr
        (3e-4, "sft", "lora", 8e9),  # the sweep's best
        (1e-3, "sft", "lora", 1e9),  # the sweep's best for Llama 1B
        (5e-7, "preference", "full", 7e9),  # zephyr
        (2e-7, "preference", "full", 4.05e11),  # Tulu 3
        (5e-6, "preference", "lora", 7e9),  # LLaMA-Factory
        (1e-6, "rl", "full", 1.5e9),  # open-r1
        (2e-5, "rl", "full", 1.5e9),  # open-r1
        (3e-3, "pretrain", "full", 1.35e8),  # SmolLM
        (3e-4, "pretrain", "full", 8e9),  # Llama 3
        (6e-4, "pretrain", "full", 3.2e10),  # OLMo 2
        (2e-5, "continue", "full", 3e9),  # SmolLM3
        (0.3, "sft", "c3a", 3e9),  # PEFT's comparison
        (5e-3, "sft", "ia3", 3e9),  # PEFT's comparison
        (1e-3, "sft", "prompt_tuning", 3e9),  # PEFT's comparison
    ],
)
def test_what_is_shipped_is_left_in_peace(rate: float, task: str, peft: str, size: float) -> None:
    assert found(rate, task, peft, size=size) == []


@pytest.mark.parametrize(
    "more", [{"optim": "muon"}, {"optim": "galore_adamw"}, {"model_name_or_path": "tiiuae/Falcon-E-3B-Base"}]
)
def test_what_nobody_has_figures_for_is_left_in_peace(more: dict[str, Any]) -> None:
    assert found(2e-3, "sft", "full", **more) == []


@pytest.mark.parametrize(("task", "peft"), [("", "full"), ("sft", ""), ("sft", "partial"), ("sft", "something_new")])
def test_without_task_or_method_nothing_is_said(task: str, peft: str) -> None:
    assert found(1.0, task, peft) == []


@pytest.mark.parametrize("rate", [0.0, -1e-4, float("inf"), float("nan")])
def test_what_is_no_rate_is_not_judged_as_one(rate: float) -> None:
    assert found(rate, "sft") == []


@pytest.mark.parametrize(
    ("rank", "alpha", "more", "rules"),
    [
        (256, 1024, {}, ["LR009"]),
        (256, 512, {"rslora": True}, ["LR009"]),
        (16, 32, {}, []),
        (256, 16, {}, []),
        (8, 8, {}, []),
        (1, 32, {}, []),
        (64, 16, {"rslora": True}, []),
        (64, 64, {"rslora": True}, ["LR009"]),
    ],
)
def test_an_alpha_that_makes_another_rate_is_told(rank: int, alpha: int, more: dict[str, Any], rules: list[str]) -> None:
    assert found(3e-4, "sft", "lora", r=rank, alpha=alpha, **more) == rules


def test_llamafactory_inherits_the_trainers_rate() -> None:
    for task, peft, told in (
        *(("preference", "full", True), ("rl", "full", True), ("sft", "full", False)),
        *(("preference", "lora", False), ("rl", "partial", False)),  # LoRA's band reaches up to it
    ):
        one = Configuration.of({"num_train_epochs": 3}, form="llamafactory", task=task, peft=peft)
        assert [remark.rule for remark in judge(one, rules=RULES)] == (["LR016"] if told else [])
        assert judge(one.but(partial=True), rules=RULES) == []


@pytest.mark.parametrize(
    "name", ["google/flan-t5-base", "google/mt5-small", "Salesforce/codet5-base", "facebook/bart-large", "google/ul2"]
)
def test_of_encoder_decoders_nothing_is_known(name: str) -> None:
    assert found(2e-4, "sft", "full", model_name_or_path=name) == []
    assert found(2e-4, "sft", "full", model_name_or_path="Qwen/Qwen3-8B") == ["LR003"]


def test_where_another_file_may_set_the_method_nothing_is_said() -> None:
    one = Configuration.of({"learning_rate": 2e-3}, form="trl", task="sft", peft="full", parameters=8e9)
    assert [remark.rule for remark in judge(one, rules=RULES)] == ["LR003"]
    assert judge(one.but(partial=True), rules=RULES) == []


def test_of_a_size_that_is_unknown_only_what_is_very_far_out_is_told() -> None:
    assert found(2e-4, "sft", "full", size=8e9) == ["LR003"]
    assert found(2e-4, "sft", "full", size=None) == []
    assert found(1e-3, "sft", "full", size=None) == ["LR003"]


def test_of_few_sources_only_what_is_very_far_out_is_told() -> None:
    assert found(1.6e-4, "preference", "lora", size=8e6) == []
    assert found(3e-4, "preference", "lora", size=8e6) == ["LR003"]


def test_a_very_small_model_takes_a_higher_rate_under_rl() -> None:
    assert found(1e-4, "rl", "full", size=3.3e7) == []
    assert found(1e-4, "rl", "full", size=6e8) == ["LR016"]


def test_one_source_is_named_as_one() -> None:
    one = Configuration.of({"learning_rate": 0.5}, task="sft", peft="full", parameters=8e9)
    [remark] = judge(one, rules=[RateOutsideBand])
    assert "sources, among them " in remark.sentence
    advised = answer(Question("sft", None, Model(parameters=8e9)))
    assert " source: " in told_sources(replace(advised, used=advised.used[:1]))


PLAIN = "model_name_or_path: Qwen/Qwen3-8B\nlearning_rate: 1.0e-3\nnum_train_epochs: 1\nper_device_train_batch_size: 4\n"
OF_SFT = {"llamafactory": "stage: sft\nfinetuning_type: full\ntemplate: qwen\ncutoff_len: 2048\n", "trl": "packing: true\n"}
AXOLOTL = PLAIN.replace("model_name_or_path", "base_model").replace("num_train_epochs", "num_epochs")
AXOLOTL = AXOLOTL.replace("per_device_train_batch_size", "micro_batch_size") + "sequence_len: 2048\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"{PLAIN}{OF_SFT['trl']}torch_dtype: bfloat16\n", True),
        (f"{PLAIN}torch_dtype: bfloat16\nattn_implementation: sdpa\n", False),  # a script may add LoRA
        (f"{PLAIN}{OF_SFT['trl']}torch_dtype: bfloat16\nmm_tunable_parts: mm_mlp_adapter\n", False),
        (f"{PLAIN}{OF_SFT['trl']}torch_dtype: bfloat16\nfreeze_backbone: true\n", False),
        (f"{PLAIN}{OF_SFT['llamafactory']}", True),
        (f"{PLAIN}{OF_SFT['llamafactory']}freeze_language_model: false\n", True),
        (f"{PLAIN}{OF_SFT['llamafactory']}freeze_language_model: true\n", False),
        (AXOLOTL, True),
        (f"{AXOLOTL}unfrozen_parameters: []\n", True),
        (f"{AXOLOTL}unfrozen_parameters: [model.language_model.*, lm_head]\n", True),
        (f"{AXOLOTL}unfrozen_parameters: ['^lm_head.weight$', '^model.embed_tokens.weight$']\n", False),
    ],
)
def test_all_parameters_train_where_something_says_so(tmp_path: Path, text: str, told: bool) -> None:
    assert bool(remarks(tmp_path, {"sft/run.yaml": text}, "LR003")) == told


def test_a_rate_for_lora_is_called_one() -> None:
    one = Configuration.of({"learning_rate": 2e-4}, task="sft", peft="full", parameters=8e9)
    [remark] = judge(one, rules=[RateOutsideBand])
    assert "that is a rate for LoRA" in remark.sentence
    assert "at 8B" in remark.sentence
