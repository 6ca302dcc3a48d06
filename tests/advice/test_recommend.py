from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from transformers import TrainingArguments

from hf_lrsched import recommend
from hf_lrsched.advice.model import Model
from hf_lrsched.advice.question import TASKS, Question
from hf_lrsched.advice.recommend import answer
from hf_lrsched.advice.settings import choice, compared
from hf_lrsched.advice.sources import evidence
from hf_lrsched.schedules.lengths import default_warmup

PRESETS = Path(__file__).parents[2] / "recipes" / "presets"


@pytest.mark.parametrize("size", ["135M", "1B", "8B", "70B", None])
@pytest.mark.parametrize("task", [*TASKS, "lora", "qlora", "dpo_lora"])
def test_every_answer_is_a_value_in_a_band_with_sources_or_says_that_there_is_none(
    task: str, size: str | None, tmp_path: Path
) -> None:
    found = recommend(size, task=task, steps=1000)
    if found.learning_rate is None:
        assert found.confidence == "none"
        assert "no calibrated evidence" in found.reasons[0]
        with pytest.raises(ValueError, match="no calibrated evidence"):
            found.to_training_args()
        return
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.learning_rate <= found.high <= 4.01 * found.low
    assert found.used
    assert "@misc{" in found.bibtex()
    args = TrainingArguments(str(tmp_path), max_steps=1000, report_to=[], **found.to_training_args())
    assert args.learning_rate == found.learning_rate
    assert args.get_warmup_steps(1000) <= 300
    json.dumps(found.to_dict(), allow_nan=False)


def test_tasks_are_told_apart() -> None:
    pretrain, full, lora, dpo = (recommend("8B", task=task).learning_rate for task in ("pretrain", "full", "lora", "dpo"))
    assert pretrain is not None
    assert full is not None
    assert lora is not None
    assert dpo is not None
    assert dpo < full < pretrain
    assert full < lora


def test_a_smaller_model_takes_more() -> None:
    small, large = (recommend(size, task="pretrain").learning_rate for size in ("135M", "70B"))
    assert small is not None
    assert large is not None
    assert small > 3 * large


def test_laws_answer_inside_their_box_and_are_set_aside_outside() -> None:
    within = recommend("1B", task="pretrain", tokens=1e11)
    assert "step-law" in {one.evidence.id for one in within.used}
    assert "; laws that hold here: " in within.reasons[0]
    beyond = recommend("8B", task="pretrain", tokens=1.5e13)
    aside = {entry.id: reason for entry, reason in beyond.set_aside}
    assert aside["step-law"] == "outside its box: parameters 8B is not in 210M to 1.1B"
    assert not any(one.evidence.id == "step-law" for one in beyond.used)


def test_what_nobody_knows_is_not_made_up() -> None:
    found = recommend("8B", task="dpo", optimizer="lion")
    assert found.learning_rate is None
    assert found.low is None
    assert found.disagreement == ""


def test_sgd_takes_ten_to_a_hundred_times_what_adam_takes() -> None:
    adam = recommend(task="cnn")
    sgd = recommend(task="cnn", optimizer="sgd")
    assert adam.learning_rate is not None
    assert sgd.learning_rate is not None
    assert 10 * adam.learning_rate <= sgd.learning_rate <= 100 * adam.learning_rate
    assert recommend("8B", task="full", optimizer="sgd").learning_rate is None  # nobody says so of language models


def test_a_source_can_be_left_out() -> None:
    question = Question("sft", None, Model(parameters=8e9))
    everything, less = answer(question), answer(question, frozenset({"torchtune"}))
    assert "torchtune" in {one.evidence.source.key for one in everything.used}
    assert "torchtune" not in {one.evidence.source.key for one in less.used}


def test_shipped_figures_that_are_known_to_be_broken_do_not_count() -> None:
    found = recommend("8B", task="full")
    assert all(not one.evidence.faulty for one in found.used)
    assert any(entry.faulty for entry, _ in found.set_aside)


def test_the_warm_up_follows_the_length_of_the_run() -> None:
    assert [recommend("1B", task="pretrain", steps=steps).warmup_steps for steps in (200, 1500, 10_000, 500_000)] == [
        20,
        100,
        500,
        2000,
    ]
    assert recommend("1B", task="pretrain").warmup_steps is None  # the schedule's own
    assert recommend("1B", task="pretrain", tokens=1e10, batch_tokens=1e6).warmup_steps == 500


def test_the_warm_up_advised_is_the_schedules_own_rule() -> None:
    for steps in (5, 200, 1000, 1999, 10_000, 50_000, 10**6):
        assert recommend("1B", task="pretrain", steps=steps).warmup_steps == max(math.ceil(default_warmup(steps)), 1)


# What the recipes ship, and the task that it is for.
SHIPPED = {
    "pretrain": Question("pretrain"),
    "finetune": Question("sft"),
    "lora": Question("sft", "lora"),
    "image_classification": Question("image"),
    "image_finetune": Question("image_finetune"),
    "image_sgd": Question("image", optimizer="sgd"),
}


@pytest.mark.parametrize("preset", SHIPPED)
def test_the_recipes_presets_are_what_is_advised(preset: str) -> None:
    question = SHIPPED[preset]
    read: dict[str, Any] = yaml.safe_load((PRESETS / f"{preset}.yaml").read_text("utf-8"))
    advised = {name: choice(name, question) for name in ("schedule", "weight_decay", "warmup")}
    assert advised["schedule"] is not None
    assert advised["weight_decay"] is not None
    assert read["lr_scheduler_type"] == advised["schedule"].value
    assert read["weight_decay"] == advised["weight_decay"].value
    if advised["warmup"] is not None and "warmup_steps" in read:
        assert read["warmup_steps"] == advised["warmup"].value


def test_the_schedule_is_set_beside_all_others_in_runs_of_ours() -> None:
    for task in ("pretrain", "full", "lora", "cnn"):
        found = recommend("8B", task=task)
        assert any(reason.startswith("of 13 schedules, each at its own best") for reason in found.reasons)
        assert "bench_schedules.py" in found.bibtex()
    behind = compared(Question("pretrain"), "step_decay")
    assert behind is not None
    assert "step_decay is behind wsd by 0.361 nats" in behind[0]
    assert compared(Question("rl"), "wsd") is None


def test_every_choice_names_a_task_that_there_is() -> None:
    chosen = [entry for entry in evidence().values() if entry.id.startswith("choice-")]
    assert len(chosen) >= 10
    for entry in chosen:
        assert set(entry.when["task"]) <= set(TASKS)


def test_a_larger_alpha_lowers_the_rate_and_a_smaller_one_is_told_and_not_followed() -> None:
    def lr(**adapters: Any) -> float:
        found = recommend("8B", task="lora", r=16, **adapters).learning_rate
        assert found is not None
        return found

    usual = lr(alpha=32)
    assert usual == lr() == lr(alpha=8)
    assert lr(alpha=64) == pytest.approx(usual / 2**0.5, rel=0.03)
    assert lr(alpha=32, rslora=True) == pytest.approx(usual / 2, rel=0.03)
    assert "may bear up to 2 times as much" in recommend("8B", task="lora", r=16, alpha=8).reasons[0]


def test_a_sweep_decides_also_where_a_law_holds_too() -> None:
    known = recommend("8B", task="lora", hidden=4096, family="llama")
    assert known.learning_rate == recommend("8B", task="lora").learning_rate
    assert "law" in {one.evidence.kind for one in known.used}
