"""`preset`: what the recipes' YAML says about the optimisation, each number with its source."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import hf_lrsched
from hf_lrsched.advice import presets
from hf_lrsched.advice.presets import OPTIMISATION, find, preset, recipes, shipped
from hf_lrsched.advice.question import Question, optimizer_of
from hf_lrsched.advice.settings import choice

NAMES = [one.name for one in shipped()]
every_preset = pytest.mark.parametrize("name", NAMES)


def numbers(settings: dict[str, Any], above: str = "") -> list[str]:
    """The names of the settings that are numbers, those in a mapping as ``mapping.name``."""
    found = []
    for name, value in settings.items():
        if isinstance(value, dict):
            found += numbers(value, f"{name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found.append(above + name)
    return found


def test_every_file_is_a_preset_and_every_preset_has_a_file() -> None:
    files = {path.stem for path in (recipes() / "presets").glob("*.yaml") if not path.stem.startswith("demo-")}
    assert files == set(NAMES)


@every_preset
def test_training_arguments_take_it_and_every_number_has_a_source(name: str, tmp_path: Path) -> None:
    from transformers import TrainingArguments
    from trl.trainer.sft_config import SFTConfig

    made = hf_lrsched.preset(name)
    assert set(made) <= set(OPTIMISATION)
    assert {"learning_rate", "lr_scheduler_type", "lr_scheduler_kwargs", "weight_decay"} <= set(made)
    assert not [number for number in numbers(made) if len(made.sources.get(number, "")) < 5]
    for arguments in (TrainingArguments, SFTConfig):
        args = arguments(output_dir=str(tmp_path), bf16=False, **made)
        assert args.learning_rate == made["learning_rate"]
        assert args.lr_scheduler_kwargs == made["lr_scheduler_kwargs"]


@every_preset
def test_its_schedule_can_be_built_without_knowing_what_an_epoch_or_a_token_is(name: str) -> None:
    made = preset(name)
    schedule = hf_lrsched.build(made["lr_scheduler_type"], hf_lrsched.Horizon(1000), **made["lr_scheduler_kwargs"])
    assert schedule.total == 1000


def test_it_is_a_plain_dict_of_its_own() -> None:
    one = preset("lora")
    one["lr_scheduler_kwargs"]["min_lr_ratio"] = 0.5
    one["learning_rate"] = 1.0
    other = preset("lora")
    assert other["learning_rate"] == 3e-4
    assert other["lr_scheduler_kwargs"] == {"min_lr_ratio": 0.1}
    assert json.loads(json.dumps(other)) == dict(other)
    assert other.recommendation is None
    assert "learning_rate: guide: 1e-4 to 3e-4" in other.why()
    assert "lr_scheduler_kwargs.min_lr_ratio: SmolLM3 and Open-R1" in other.why()


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("full", "finetune"), ("sft", "finetune"), ("fine-tune", "finetune"), ("cpt", "continue"), ("dpo-lora", "dpo_lora"),
        ("preference", "dpo"), ("rl", "grpo"), ("cnn", "image_classification"), ("image", "image_classification"),
        ("cnn_finetune", "image_finetune"), ("SGD", "image_sgd"), ("pretraining", "pretrain"), ("QLoRA", "qlora"),
    ],
)  # fmt: skip
def test_tasks_are_names_too(typed: str, name: str) -> None:
    assert find(typed).name == name


@pytest.mark.parametrize(
    ("typed", "near"), [("lorra", "lora"), ("imagefinetune", "image_finetune"), ("pretrain_3b", "pretrain")]
)
def test_an_unknown_name_is_refused_with_the_nearest(typed: str, near: str) -> None:
    with pytest.raises(
        ValueError, match=rf"there is no preset '{typed}' \(did you mean '{near}\w*'\?\); there are pretrain, "
    ):
        preset(typed)


def test_a_task_without_a_preset_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no preset 'ia3'"):
        preset("ia3")


def test_a_model_sizes_it_and_the_reasons_say_so() -> None:
    sized = preset("lora", model="meta-llama/Llama-3.1-8B", r=16, alpha=32, steps=1000)
    found = sized.recommendation
    assert found is not None
    assert found.question.r == 16
    assert found.question.model.parameters == 8e9
    assert sized["learning_rate"] == found.learning_rate
    assert sized["warmup_steps"] == found.warmup_steps
    assert sized.sources["learning_rate"] == found.reasons[0]
    assert sized.sources["warmup_steps"].startswith("warm-up ")
    assert {**sized, "learning_rate": 0, "warmup_steps": 0} == {**preset("lora"), "learning_rate": 0, "warmup_steps": 0}


def test_the_length_of_a_pre_training_decides_its_warm_up() -> None:
    assert "warmup_steps" not in preset("pretrain")
    assert preset("pretrain", model="1B", steps=10_000)["warmup_steps"] == 500


def test_one_cycles_rise_is_its_warm_up() -> None:
    sized = preset("cnn", steps=100)
    assert sized["lr_scheduler_kwargs"] == {"rise": 0.3}
    assert "warmup_steps" not in sized


def test_what_runs_with_sgd_is_asked_about_as_such() -> None:
    found = preset("image_sgd", batch_size=256).recommendation
    assert found is not None
    assert found.question.optimizer == "sgd"


def test_no_calibrated_evidence_is_an_answer() -> None:
    with pytest.raises(ValueError, match=r"no calibrated evidence for supervised fine-tuning .* give learning_rate yourself"):
        preset("full", model=1e5)


def test_no_recipes_at_all_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(presets, "_PLACES", (tmp_path / "a", tmp_path / "b"))
    with pytest.raises(ValueError, match=r"the recipes are in neither .*; install hf-lrsched again"):
        recipes()


@every_preset
def test_schedule_warm_up_and_weight_decay_are_those_that_are_advised(name: str) -> None:
    made, one = preset(name), find(name)
    question = Question(one.task, one.peft, optimizer=optimizer_of(str(made.get("optim", "adamw"))))
    chosen = {of: choice(of, question) for of in ("schedule", "weight_decay", "warmup")}
    assert chosen["schedule"] is not None
    assert chosen["weight_decay"] is not None
    assert made["lr_scheduler_type"] == chosen["schedule"].value
    assert made["weight_decay"] == chosen["weight_decay"].value
    rise = made.get("warmup_steps", made["lr_scheduler_kwargs"].get("rise", 0))
    assert rise == (0 if chosen["warmup"] is None else chosen["warmup"].value)
