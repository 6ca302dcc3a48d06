"""`settle`: what it asks of a Trainer, what it sets, what it says, and what a run that is resumed keeps."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import peft
import pytest
import torch
from datasets import Dataset
from transformers import LlamaConfig, LlamaForCausalLM, TrainingArguments

from hf_lrsched.training import auto
from hf_lrsched.training.auto import LR_PLAN, LRPlan, question_of, settle

LORA: dict[str, Any] = {"r": 16, "lora_alpha": 32, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
PARAMETERS = 1_235_814_400  # of the Llama below, its embeddings counted once


def llama() -> Any:
    """As large as Llama 3.2 1B, and without a single weight."""
    with torch.device("meta"):
        return LlamaForCausalLM(
            LlamaConfig(
                vocab_size=128_256,
                hidden_size=2048,
                intermediate_size=8192,
                num_hidden_layers=16,
                num_attention_heads=32,
                num_key_value_heads=8,
                tie_word_embeddings=True,
            )
        )


def adapted(**words: Any) -> Any:
    with torch.device("meta"):
        return peft.get_peft_model(llama(), peft.LoraConfig(**{**LORA, **words}))


def trainer(folder: Path, model: Any = None, data: Any = None, **words: Any) -> Any:
    """What `settle` reads of a Trainer; none would take a model without weights."""
    given = {"max_steps": 1000, "lr_scheduler_type": "warmup_cosine", "report_to": "none", "use_cpu": True}
    args = TrainingArguments(output_dir=str(folder), **{**given, **words})
    data = Dataset.from_dict({"text": ["a"] * 64}) if data is None else data
    loader = [None] * (len(data) // args.per_device_train_batch_size if hasattr(data, "__len__") else 0)
    return SimpleNamespace(
        args=args, model=adapted() if model is None else model, train_dataset=data, optimizer=None,
        get_train_dataloader=lambda: loader,
    )  # fmt: skip


# What it asks


def test_it_asks_about_the_model_without_its_adapters(tmp_path: Path) -> None:
    asked = question_of(trainer(tmp_path), "sft")
    model = asked.pop("model")
    assert (model.parameters, model.hidden, model.family) == (PARAMETERS, 2048, "llama")
    assert asked == {
        "task": "sft", "peft": "lora", "r": 16, "alpha": 32, "batch_size": 8, "steps": 1000, "examples": 64,
        "optimizer": "adamw_torch_fused",
    }  # fmt: skip


def test_of_a_model_without_adapters_all_is_asked_about(tmp_path: Path) -> None:
    asked = question_of(trainer(tmp_path, llama(), optim="sgd"), "pretrain")
    assert asked["model"].parameters == PARAMETERS
    assert asked["optimizer"] == "sgd"
    assert "peft" not in asked


@pytest.mark.parametrize(
    ("words", "peft_type", "rslora"),
    [({}, "lora", False), ({"use_rslora": True}, "lora", True), ({"use_dora": True}, "dora", False)],
)
def test_the_kinds_of_lora(words: dict[str, Any], peft_type: str, rslora: bool, tmp_path: Path) -> None:
    asked = question_of(trainer(tmp_path, adapted(**words)), "sft")
    assert asked["peft"] == peft_type
    assert asked.get("rslora", False) is rslora


def test_lora_on_four_bits_is_qlora(tmp_path: Path) -> None:
    model = adapted()
    model.get_base_model().is_loaded_in_4bit = True
    model.get_base_model().num_parameters = lambda: PARAMETERS  # asks bitsandbytes, which needs a GPU
    assert question_of(trainer(tmp_path, model), "sft")["peft"] == "qlora"


def test_other_adapters_are_asked_about_by_their_name(tmp_path: Path) -> None:
    with torch.device("meta"):
        model = peft.get_peft_model(llama(), peft.IA3Config(task_type="CAUSAL_LM"))
    asked = question_of(trainer(tmp_path, model), "sft")
    assert asked["peft"] == "ia3"
    assert "r" not in asked


def test_a_step_is_counted_over_accumulation_and_its_tokens_by_the_examples(tmp_path: Path) -> None:
    data = Dataset.from_dict({"input_ids": [[1] * 100, [1] * 300] * 32})
    made = trainer(tmp_path, data=data, gradient_accumulation_steps=4, max_steps=-1, num_train_epochs=3)
    asked = question_of(made, "sft")
    assert (asked["batch_size"], asked["batch_tokens"], asked["steps"]) == (32, 6400, 6)
    assert question_of(made, "sft", tokens_per_step=5000)["batch_tokens"] == 5000


def test_a_run_whose_end_nobody_knows_has_no_steps(tmp_path: Path) -> None:
    assert "steps" not in question_of(trainer(tmp_path, data=iter(())), "pretrain", steps=0)


def test_the_folder_that_a_model_is_from_is_nobodys_business(tmp_path: Path) -> None:
    model = adapted()
    model.get_base_model().config._name_or_path = str(tmp_path)
    assert question_of(trainer(tmp_path, model), "sft")["model"].name == tmp_path.name


# What it sets and says


def test_what_is_decided_is_set_and_the_rest_left(tmp_path: Path) -> None:
    made = trainer(tmp_path, warmup_steps=7)
    plan = settle(made, ["learning_rate"], task="sft")
    assert made.args.learning_rate == plan.values["learning_rate"] == plan.recommendation["learning_rate"]
    assert 5e-5 <= made.args.learning_rate <= 1e-3  # LoRA at 1B: every source lies within
    assert made.args.warmup_steps == 7
    assert plan.reasons[0].startswith("peak ")
    assert "supervised fine-tuning with lora (r 16)" in plan.reasons[0]
    assert any(reason.startswith("confidence ") for reason in plan.reasons)
    assert str(plan).startswith(f"auto: learning_rate {made.args.learning_rate:g}\n  peak ")


def test_the_warm_up_of_a_pre_training_follows_its_length(tmp_path: Path) -> None:
    made = trainer(tmp_path, llama(), lr_scheduler_type="wsd", max_steps=10_000)
    settle(made, ["warmup_steps"], task="pretrain")
    assert made.args.warmup_steps == 500
    assert made.args.learning_rate == 5e-5  # the arguments' default: nobody asked


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ({"lr_scheduler_kwargs": {"warmup": 9}}, "warm-up: lr_scheduler_kwargs says warmup=9, and what is typed wins"),
        (
            {"lr_scheduler_type": "one_cycle"},
            "warm-up: the schedule's own, as what is known is for warmup_cosine and this is",
        ),
    ],
)
def test_a_warm_up_that_is_not_for_this_schedule_is_left(words: dict[str, Any], reason: str, tmp_path: Path) -> None:
    made = trainer(tmp_path, **words)
    plan = settle(made, task="sft")
    assert plan.values["warmup_steps"] is None
    assert made.args.warmup_steps == 0
    assert plan.reasons[-1].startswith(reason)
    assert "warmup_steps the schedule's own" in str(plan)


def test_a_length_that_is_not_known_leaves_the_schedules_own_warm_up(tmp_path: Path) -> None:
    plan = settle(trainer(tmp_path, llama(), lr_scheduler_type="wsd"), ["warmup_steps"], task="pretrain", steps=0)
    assert plan.values == {"warmup_steps": None}
    assert plan.reasons == ("warm-up: the schedule's own, as nothing is known for this task and this length",)


def test_no_calibrated_evidence_stops_and_says_what_to_do(tmp_path: Path) -> None:
    made = trainer(tmp_path, optim="galore_adamw", optim_target_modules="all-linear")
    with pytest.raises(
        ValueError, match=r"learning_rate: auto: no calibrated evidence for .*; give --learning_rate, or find"
    ):
        settle(made, task="sft")
    assert made.args.learning_rate == 5e-5


def test_it_comes_before_the_optimizer(tmp_path: Path) -> None:
    made = trainer(tmp_path)
    made.optimizer = object()
    with pytest.raises(ValueError, match="the Trainer has its optimizer already"):
        settle(made, task="sft")


# What is kept


def test_a_run_that_is_resumed_keeps_what_was_decided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = settle(trainer(tmp_path), task="sft")
    first.save(tmp_path)
    monkeypatch.setattr(auto, "recommend", None)  # nobody is asked again
    made = trainer(tmp_path, max_steps=5000, gradient_accumulation_steps=8)
    again = settle(made, task="sft", began_in=tmp_path)
    assert (again.values, again.recommendation) == (first.values, first.recommendation)
    told = again.reasons[len(first.reasons) :]
    assert again.reasons == (*first.reasons, *told)
    assert [reason.partition(",")[2] for reason in told] == [
        f" and now it is {made.args.train_batch_size * 8}; what was decided stays",
        " and now it is 5000; what was decided stays",
    ]
    again.save(tmp_path)
    assert (
        settle(trainer(tmp_path, max_steps=5000, gradient_accumulation_steps=8), task="sft", began_in=tmp_path).reasons
        == again.reasons
    )
    assert made.args.learning_rate == first.values["learning_rate"]
    assert made.args.warmup_steps == first.values["warmup_steps"]
    assert "(decided when the run began)" in str(again)


def test_what_was_not_decided_then_is_decided_now(tmp_path: Path) -> None:
    LRPlan({"learning_rate": 1.5e-4}, ("peak 0.00015: then",)).save(tmp_path)
    plan = settle(trainer(tmp_path), task="sft", began_in=tmp_path)
    assert plan.values == {"learning_rate": 1.5e-4, "warmup_steps": 0.03}
    assert plan.reasons[0] == "peak 0.00015: then"
    assert plan.reasons[1].startswith("warm-up 0.03")


def test_a_run_without_a_plan_is_decided_anew(tmp_path: Path) -> None:
    plan = settle(trainer(tmp_path), task="sft", began_in=tmp_path / "nowhere")
    assert not plan.resumed
    assert plan.values["learning_rate"] is not None


def test_what_is_typed_the_second_time_does_not_erase_the_first(tmp_path: Path) -> None:
    LRPlan({"learning_rate": 1e-4, "warmup_steps": None}, ()).save(tmp_path)
    plan = LRPlan({"warmup_steps": 3.0}, ("now",)).with_value("warmup_steps", 4.0, "later")
    file = plan.save(tmp_path)
    assert json.loads(file.read_text())["auto"] == {"learning_rate": 1e-4, "warmup_steps": 4.0}
    assert LRPlan.load(tmp_path) == LRPlan({"learning_rate": 1e-4, "warmup_steps": 4.0}, ("now", "later"), {}, resumed=True)
    assert [path.name for path in tmp_path.iterdir()] == [LR_PLAN]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"auto": {"learning_rate": "much"}, "reasons": [], "recommendation": {}}'])
def test_a_file_that_is_no_plan_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / LR_PLAN).write_text(text)
    with pytest.raises(ValueError, match=r"lr_plan\.json is no plan of hf_lrsched .*; remove it"):
        LRPlan.load(tmp_path)
