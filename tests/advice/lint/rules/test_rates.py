"""Learning rates that are far out, and those that are only unusual."""

from __future__ import annotations

from typing import Any

import pytest

from hf_lrsched.advice.lint import Configuration, judge
from hf_lrsched.advice.lint.rules.rates import FailingRate, RankAndAlpha, RateOfFullTuning, RateOfSFTInRL, RateOutsideBand

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
    for task, told in (("preference", True), ("rl", True), ("sft", False)):
        one = Configuration.of({"num_train_epochs": 3}, form="llamafactory", task=task, peft="lora")
        assert [remark.rule for remark in judge(one, rules=RULES)] == (["LR016"] if told else [])


def test_a_rate_for_lora_is_called_one() -> None:
    one = Configuration.of({"learning_rate": 2e-4}, task="sft", peft="full", parameters=8e9)
    [remark] = judge(one, rules=[RateOutsideBand])
    assert "that is a rate for LoRA" in remark.sentence
    assert "at 8B" in remark.sentence
