from __future__ import annotations

from types import MappingProxyType
from typing import Any

import pytest

from hf_lrsched.advice.matching import estimate, is_about, outside
from hf_lrsched.advice.model import Model
from hf_lrsched.advice.question import Question
from hf_lrsched.advice.sources import Evidence, Source


def entry(kind: str = "shipped", *, faulty: str = "", read: str = "read", **given: Any) -> Evidence:
    when = given.pop("when", {})
    figure = given or {"value": 1e-4}
    return Evidence(
        "one",
        "learning_rate",
        "LR",
        kind,
        Source("s", "S", 2026),
        "2026",
        faulty=faulty,
        read=read,
        when=MappingProxyType(when),
        **figure,
    )


SFT = {"task": ("sft",), "peft": ("none",)}
LORA = {"task": ("sft",), "peft": ("lora",)}


@pytest.mark.parametrize(
    ("when", "question", "about"),
    [
        (SFT, Question("sft"), True),
        (SFT, Question("sft", "lora"), False),
        (SFT, Question("preference"), False),
        (LORA, Question("sft", "lora"), True),
        (LORA, Question("sft", "qlora"), True),
        (LORA, Question("sft", "ia3"), False),
        ({"task": ("sft", "rl")}, Question("rl", "lora"), True),
        (SFT, Question("sft", optimizer="sgd"), False),
        ({**SFT, "optimizer": ("sgd",)}, Question("sft", optimizer="sgd"), True),
        ({}, Question("reward"), True),
    ],
)
def test_words_decide_what_a_figure_is_about(when: dict[str, Any], question: Question, about: bool) -> None:
    assert is_about(entry(when=when), question) is about


def reason(one: Evidence, question: Question) -> str:
    return outside(one, question, question.inputs())


def test_a_law_says_nothing_outside_its_box_and_says_which_side() -> None:
    law = entry("law", formula="parameters ** -0.1", when={"parameters": (1e9, 1e10), "tokens": (1e9, 1e11)})
    inside = Question("pretrain", model=Model(parameters=2e9), tokens=1e10)
    assert reason(law, inside) == ""
    beyond = Question("pretrain", model=Model(parameters=2e9), tokens=1.5e13)
    assert reason(law, beyond) == "outside its box: tokens 15T is not in 1B to 100B"
    assert reason(law, Question("pretrain", tokens=1e10)) == "needs parameters, which is not known"


def test_a_rule_for_a_size_does_not_hold_where_the_size_is_not_known() -> None:
    rule = entry("rule of thumb", when={"parameters": (7e9, 7e10)})
    assert reason(rule, Question("sft")) == "holds for 7B to 70B parameters, and the model's size is not known"
    assert reason(rule, Question("sft", model=Model(parameters=8e9))) == ""


def test_a_shipped_figure_counts_less_the_further_away_its_size_is_and_not_at_all_beyond_a_factor_of_ten() -> None:
    shipped = entry(when={"parameters": (7e9, 7e9)})

    def weight(size: float) -> float:
        question = Question("sft", model=Model(parameters=size))
        return estimate(shipped, question, question.inputs()).weight

    assert weight(7e9) == 1.0
    assert 1 > weight(8e9) > weight(14e9) > weight(60e9) > 0
    assert weight(14e9) == pytest.approx(weight(3.5e9))
    assert (
        reason(shipped, Question("sft", model=Model(parameters=7.5e10)))
        == "from models of 7B parameters, a size 11 times away"
    )


def test_a_fault_and_a_family_set_a_figure_aside() -> None:
    assert reason(entry(faulty="LR001: warm-up"), Question("sft")) == "LR001: warm-up"
    law = entry("law", formula="1e-4", when={"family": ("llama",)})
    assert reason(law, Question("sft", model=Model(family="qwen3"))) == "holds for llama alone, not qwen3"
    assert reason(law, Question("sft", model=Model(family="llama"))) == ""
    encoder = Question("sft", model=Model(family="roberta"))
    assert reason(entry(when={"family": ("bert", "roberta")}), encoder) == ""
    assert reason(entry(), encoder) == "said of decoders, and roberta is an encoder"


def test_what_was_looked_at_less_closely_counts_less() -> None:
    def weight(read: str) -> float:
        return estimate(entry(read=read), Question("sft"), {}).weight

    assert weight("read") > weight("excerpt") > weight("unverified") > 0


@pytest.mark.parametrize(
    ("optimizer", "batch", "factor"),
    [("adamw", 32, 0.5), ("sgd", 64, 0.5), ("adamw", 128, 1.0), ("adamw", 4096, 2.0), ("adamw", 1, 0.5)],
)
def test_what_was_measured_at_one_batch_is_carried_to_another(optimizer: str, batch: int, factor: float) -> None:
    measured = entry("measured", value=1e-3, when={"batch_size": (128, 128)})
    question = Question("sft", optimizer=optimizer, batch_size=batch)
    said = estimate(measured, question, {})
    assert said.value == pytest.approx(1e-3 * factor)
    assert ("for a batch of" in said.how) is (factor != 1)
    assert estimate(entry(value=1e-3, when={"batch_size": (128, 128)}), question, {}).value == 1e-3  # shipped: as it stands


def test_multiples_and_spreads_make_bands() -> None:
    rule = entry("rule of thumb", low=10, high=100, times="lr_adam")
    said = estimate(rule, Question("image", optimizer="sgd"), {"lr_adam": 1e-3})
    assert [said.low, said.high] == pytest.approx([1e-2, 1e-1])
    law = entry("law", formula="2 * rank", spread=2.0)
    assert (estimate(law, Question("sft"), {"rank": 1.0}).low, estimate(law, Question("sft"), {"rank": 1.0}).high) == (
        1.0,
        4.0,
    )


def test_what_is_said_of_language_models_is_not_said_of_toys() -> None:
    toy = Model(parameters=8e5)
    assert reason(entry(), Question("sft", model=toy)).endswith("less than 7M parameters, and this one has 800k")
    assert reason(entry(), Question("image", model=toy)) == ""
