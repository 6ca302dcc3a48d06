from __future__ import annotations

import pytest

from hf_lrsched.advice.model import Model
from hf_lrsched.advice.question import TASKS, Question, asked, optimizer_of, read_task_of, spelled


@pytest.mark.parametrize(
    ("typed", "peft", "read"),
    [
        ("pretrain", None, ("pretrain", None)),
        ("pre-training", None, ("pretrain", None)),
        ("full", None, ("sft", None)),
        ("Full fine-tuning", None, ("sft", None)),
        ("lora", None, ("sft", "lora")),
        ("sft", "LORA", ("sft", "lora")),
        ("dpo", "lora", ("preference", "lora")),
        ("dpo_lora", None, ("preference", "lora")),
        ("grpo", None, ("rl", None)),
        ("ia3", None, ("sft", "ia3")),
        ("prompt-tuning", None, ("sft", "prompt_tuning")),
        ("cnn", None, ("image", None)),
        ("sft", "none", ("sft", None)),
    ],
)
def test_the_words_people_use_are_read(typed: str, peft: str | None, read: tuple[str, str | None]) -> None:
    assert read_task_of(typed, peft) == read


def test_every_task_is_read_as_itself() -> None:
    assert all(read_task_of(task) == (task, None) for task in TASKS)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ({"task": "lorra"}, r"task='lorra' is not known \(did you mean 'lora'\?\)"),
        ({"task": "xyz"}, "task='xyz' is not known; it is one of pretrain"),
        ({"task": "sft", "peft": "ia4"}, r"peft='ia4' is not known \(did you mean 'ia3'\?\)"),
        ({"task": "sft", "steps": "1000"}, "steps='1000' is not a number; it must be above 0"),
        ({"task": None}, "task=None must be a word"),
        ({"task": "sft", "r": 0}, "r=0 must be above 0"),
        ({"task": "sft", "tokens": float("inf")}, "tokens=inf must be finite, above 0"),
    ],
)
def test_what_makes_no_sense_is_refused(typed: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        asked(**typed)  # type: ignore[arg-type]  # what is wrong is the point


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("adamw_torch_fused", "adamw"), ("AdamW", "adamw"), ("adamw_bnb_8bit", "adamw"), ("paged_adamw_32bit", "adamw"),
        ("Adam", "adamw"), ("sgd", "sgd"), ("adafactor", "adafactor"), ("lion_8bit", "lion"), ("Muon", "muon"),
        ("galore_adamw", "other"), ("prodigy", "other"),
        ("DAdaptAdam", "other"), ("schedule_free_adamw", "other"), ("rmsprop", "other"),
    ],
)  # fmt: skip
def test_optimizers_are_told_apart_by_what_their_rates_mean(name: str, kind: str) -> None:
    assert optimizer_of(name) == kind


def test_lengths_follow_from_one_another() -> None:
    by_steps = Question("pretrain", model=Model(parameters=1e9, embedding=1e8), batch_tokens=1e6, steps=9000).inputs()
    assert by_steps["tokens"] == 9e9
    assert by_steps["parameters"] == 9e8  # the laws count no embeddings
    assert by_steps["tokens_per_parameter"] == 10
    assert Question("pretrain", batch_tokens=1e6, tokens=1.5e9).inputs()["steps"] == 1500
    assert Question("sft", model=Model(parameters=1e9, embedding=1e8)).inputs()["parameters"] == 1e9


def test_counts_are_short() -> None:
    assert [spelled(count) for count in (512, 46.7e9, 1e6, 2.5e3)] == ["512", "46.7B", "1M", "2.5k"]
