"""What a real Trainer's card says is what the run followed, and is enough to follow it again."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.optim import AdamW
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PretrainedConfig,
    SchedulerType,
    Seq2SeqTrainingArguments,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from hf_lrsched import CooldownCallback, ScheduleLR, register_schedule, unregister, wsd
from hf_lrsched.show.card import FILE, Card, from_card, has_section
from hf_lrsched.training.model_card import LRCard, told

from .running import arguments, lrs, running, said
from .test_trainer import PEAK, Tiny, data, tiny, trainer, watch

BEGIN, END = "<!-- hf_lrsched: begin -->", "<!-- hf_lrsched: end -->"
OURS: dict[str, Any] = {
    "lr_scheduler_type": "wsd",
    "lr_scheduler_kwargs": {"decay": "25%", "min_lr_ratio": 0.1, "shape": "cosine"},
    "warmup_steps": 0.1,
    "max_steps": 20,
    "weight_decay": 0.1,
    "max_grad_norm": 0.5,
    "adam_beta2": 0.95,
    "gradient_accumulation_steps": 2,
    "seed": 7,
}


class Config(PretrainedConfig):  # type: ignore[no-untyped-call]  # Transformers has no types there
    model_type = "tiny"


class Adaptable(Tiny):
    """What peft and TRL look for in a model."""

    def __init__(self) -> None:
        super().__init__()
        self.config = Config()


def model() -> Adaptable:
    torch.manual_seed(0)
    return Adaptable()


def started(folder: Path, *callbacks: TrainerCallback, name: str | None = None, **given: Any) -> Any:
    """A Trainer under `OURS`, or under another schedule."""
    words = OURS if name is None else {"lr_scheduler_type": name, "max_steps": 20}
    return running(arguments(folder, **{**words, **given}), *callbacks, model=model())


def without(text: str) -> str:
    """The card as it was before a section came to its end."""
    return re.sub(rf"\n{BEGIN}\n.*{END}\n\Z", "", text, flags=re.DOTALL)


def card_of(folder: Path) -> str:
    return (folder / "README.md").read_bytes().decode()


def test_a_card_is_enough_to_train_the_same_again(tmp_path: Path) -> None:
    made = started(tmp_path / "out", LRCard())
    made.train()
    made.create_model_card()
    card = from_card(tmp_path / "out")
    assert card == from_card(tmp_path / "out" / "README.md") == from_card(tmp_path / "out" / FILE)
    assert card.schedule == made.lr_scheduler.schedule
    assert card.peaks == (PEAK, PEAK)
    assert card.weight_decays == (0.1, 0.0)
    assert (card.steps, card.processes, card.optimizer, card.notes, card.left_out) == (20, 1, "AdamW", (), ())
    again = running(TrainingArguments(output_dir=str(tmp_path / "again"), **card.arguments), model=model())
    again.train()
    assert lrs(again) == lrs(made)
    assert [line["loss"] for line in again.state.log_history[:20]] == [line["loss"] for line in made.state.log_history[:20]]
    assert told(again.args) == told(made.args)


def test_the_python_of_the_card_makes_the_same_arguments(tmp_path: Path) -> None:
    made = started(tmp_path, LRCard())
    made.train()
    made.create_model_card()
    names: dict[str, Any] = {}
    exec(card_of(tmp_path).split("```python\n")[1].split("```")[0], names)
    ours, theirs = names["args"].to_dict(), made.args.to_dict()
    assert {name for name in theirs if ours[name] != theirs[name]} <= {"output_dir", "disable_tqdm"}
    assert ours["output_dir"] == "out"


def test_the_rest_of_trainers_card_is_what_it_is_without_us_and_twice_is_once(tmp_path: Path) -> None:
    plain = started(tmp_path / "same")
    plain.train()
    plain.create_model_card(tags="x")
    bare = card_of(tmp_path / "same")
    made = started(tmp_path / "same", LRCard(), LRCard())
    made.train()
    made.create_model_card(tags="x")
    once = card_of(tmp_path / "same")
    assert without(once) == bare
    made.create_model_card(tags="x")
    assert card_of(tmp_path / "same") == once
    assert once.count(BEGIN) == 1


def test_a_card_that_somebody_has_edited_is_brought_up_to_date_at_the_end_of_training(tmp_path: Path) -> None:
    made = started(tmp_path, LRCard())
    made.train()
    assert from_card(tmp_path).steps == 20
    assert not (tmp_path / "README.md").exists()  # that is the Trainer's to write
    made.create_model_card()
    edited = f"{card_of(tmp_path)}\r\n## Mine\n"
    (tmp_path / "README.md").write_bytes(edited.encode())
    made.args.max_steps = 8
    made.train()
    assert from_card(tmp_path / "README.md").steps == 8
    assert from_card(tmp_path / "README.md").schedule == made.lr_scheduler.schedule
    assert card_of(tmp_path).endswith(f"{END}\n\r\n## Mine\n")
    assert card_of(tmp_path).startswith(without(edited[: edited.index("\r\n## Mine")]))


def test_a_card_without_a_section_is_left_alone_until_the_trainer_writes_it(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# Mine\n")
    started(tmp_path, LRCard()).train()
    assert card_of(tmp_path) == "# Mine\n"


def test_the_picture_is_shown_where_one_lies(tmp_path: Path) -> None:
    made = started(tmp_path, LRCard())
    made.train()
    (tmp_path / "lr_and_loss.png").write_bytes(b"")
    made.create_model_card()
    assert "](lr_and_loss.png)\n" in card_of(tmp_path)


def test_a_second_training_and_a_callback_taken_away(tmp_path: Path) -> None:
    made = started(tmp_path, LRCard())
    made.train()
    wrapped = made.create_model_card
    made.args.set_lr_scheduler("one_cycle", max_steps=20)
    made.args.lr_scheduler_kwargs = None
    made.train()
    assert made.create_model_card is wrapped
    made.create_model_card()
    card = from_card(tmp_path)
    assert card.schedule == made.lr_scheduler.schedule
    assert card.arguments["lr_scheduler_type"] == "one_cycle"
    made.remove_callback(LRCard)
    made.create_model_card()
    assert not has_section(card_of(tmp_path))


class Own(Trainer):
    """A card of one's own, in one's own words."""

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        (Path(str(self.args.output_dir)) / "README.md").write_bytes(b"\xef\xbb\xbf# Mine\r\n")


def test_a_card_of_ones_own_has_the_section_too(tmp_path: Path) -> None:
    given: Any = data()
    made: Any = Own(model=tiny(), args=arguments(tmp_path, **OURS), train_dataset=given, callbacks=[LRCard()])
    made.train()
    made.create_model_card()
    assert card_of(tmp_path).startswith("\ufeff# Mine\r\n\r\n" + BEGIN + "\r\n")
    assert from_card(tmp_path / "README.md") == from_card(tmp_path / FILE)


# What was followed


def test_two_groups_have_their_own_peaks(tmp_path: Path) -> None:
    module = tiny()
    groups = [
        {"params": module.hidden.parameters(), "lr": 1e-2, "name": "body"},
        {"params": module.head.parameters(), "lr": 3e-4, "weight_decay": 0.0, "name": "head"},
    ]
    made = trainer(tmp_path, "wsd", model=module, optimizer=AdamW(groups, weight_decay=0.1))
    made.add_callback(LRCard())
    made.train()
    card = from_card(tmp_path)
    assert (card.groups, card.peaks, card.weight_decays) == (("body", "head"), (1e-2, 3e-4), (0.1, 0.0))
    assert "had peaks of their own (0.01, 0.0003)" in card.notes[0]


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_transformers_own_schedule_is_told_without_a_schedule(name: str, tmp_path: Path) -> None:
    made = trainer(tmp_path, name, warmup_steps=5, model=model())
    made.add_callback(LRCard())
    made.train()
    made.create_model_card()
    card = from_card(tmp_path)
    assert (card.schedule, card.peaks, card.steps, card.notes) == (None, (PEAK, PEAK), 20, ())
    assert f"`{name}`, Transformers' own" in card_of(tmp_path)
    again = running(TrainingArguments(output_dir=str(tmp_path / "again"), **card.arguments), model=model())
    again.train()
    assert watch(again).lrs == watch(made).lrs


def test_a_decay_that_was_started_on_demand_is_in_the_card(tmp_path: Path) -> None:
    words: dict[str, Any] = {"lr_scheduler_kwargs": {"warmup": 2, "decay": 0}, "max_steps": 10**9, "save_total_limit": 3}
    made = trainer(tmp_path, "wsd", **words)
    for callback in (CooldownCallback(4, at=8), LRCard()):
        made.add_callback(callback)
    made.train()
    card = from_card(tmp_path)
    assert card.schedule == made.lr_scheduler.schedule
    assert card.schedule is not None
    assert (card.schedule.total, card.steps) == (12, 12)
    assert "started on demand at step 8 and took 4 steps" in card.notes[0]
    assert card.arguments["save_total_limit"] == 3  # which the callback holds while it runs


def test_a_schedule_that_the_arguments_do_not_give_is_said_to_be_none_of_theirs(tmp_path: Path) -> None:
    given: Any = data()
    module = model()
    optimizer = AdamW(module.parameters(), lr=PEAK)
    own: Any = ScheduleLR(optimizer, wsd(20, warmup=4))
    made: Any = Trainer(
        model=module,
        args=arguments(tmp_path, max_steps=20),
        train_dataset=given,
        optimizers=(optimizer, own),
        callbacks=[LRCard()],
    )
    made.train()
    made.create_model_card()
    assert from_card(tmp_path).schedule == wsd(20, warmup=4)
    note = "The arguments alone do not give this schedule: it was handed to the Trainer, or came with a checkpoint."
    assert from_card(tmp_path).notes == (note,)
    assert "# The schedule is the training script's own" in card_of(tmp_path)


def test_a_schedule_that_the_script_registered_is_said_to_be_its_own(tmp_path: Path) -> None:
    register_schedule("flat", lambda steps: wsd(steps, warmup=0, decay="50%"))
    try:
        made = trainer(tmp_path, "flat", model=model())
        made.add_callback(LRCard())
        made.train()
        made.create_model_card()
    finally:
        unregister("flat")
    assert from_card(tmp_path).notes == ()
    assert "# The schedule is the training script's own" in card_of(tmp_path)


class Stops(TrainerCallback):
    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_training_stop = state.global_step == 5


def test_a_run_that_was_stopped_says_how_far_it_came(tmp_path: Path) -> None:
    made = started(tmp_path, Stops(), LRCard())
    made.train()
    made.create_model_card()
    assert "| steps | 5 of the schedule's 20 |" in card_of(tmp_path)


# Arguments


@dataclass
class Extended(Seq2SeqTrainingArguments):
    own: str = "x"


def test_arguments_of_a_subclass_are_those_of_the_class_that_others_can_import(tmp_path: Path) -> None:
    known = told(Extended(str(tmp_path), own="y", use_cpu=True, generation_max_length=5))
    assert known["arguments_class"] == "transformers.Seq2SeqTrainingArguments"
    assert known["left_out"] == ("own",)
    assert known["arguments"]["generation_max_length"] == 5


def test_arguments_that_nobody_gave_are_not_in_the_card_but_those_of_the_learning_rate() -> None:
    known = told(TrainingArguments("out"))
    assert set(known["arguments"]) == {
        "learning_rate", "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps", "max_steps", "num_train_epochs",
        "per_device_train_batch_size", "gradient_accumulation_steps", "optim", "optim_args", "adam_beta1", "adam_beta2",
        "adam_epsilon", "weight_decay", "max_grad_norm", "seed",
    }  # fmt: skip
    assert known["left_out"] == ()


def test_nothing_private_is_written(tmp_path: Path) -> None:
    secret = "hf_" + "x" * 34
    private: dict[str, Any] = {
        "run_name": "SECRET", "hub_token": secret, "hub_model_id": "SECRET/x", "project": "SECRET", "report_to": [],
        "optim_args": f"cache={tmp_path}", "accelerator_config": {"split_batches": True}, "resume_from_checkpoint": None,
        "include_for_metrics": ["inputs"],
    }  # fmt: skip
    made = started(tmp_path / "SECRET", LRCard(), **private)
    made.args.optim_args = f"cache={tmp_path}"
    made.train()
    made.create_model_card(model_name="x")
    written = (tmp_path / "SECRET" / FILE).read_text() + card_of(tmp_path / "SECRET").split(BEGIN)[1]
    assert "SECRET" not in written
    assert secret not in written
    assert str(tmp_path) not in written
    card = from_card(tmp_path / "SECRET")
    assert card.left_out == ("optim_args",)
    assert card.arguments["accelerator_config"]["split_batches"] is True
    assert card.arguments["include_for_metrics"] == ["inputs"]


def test_what_json_cannot_say_is_named(tmp_path: Path) -> None:
    made = started(tmp_path, LRCard())
    made.args.lr_scheduler_kwargs = {"decay": 5}
    made.args.label_names = {1}
    made.args.max_grad_norm = float("inf")
    made.train()
    assert from_card(tmp_path).left_out == ("max_grad_norm", "label_names")


def test_a_trial_of_a_search_tells_its_own_arguments(tmp_path: Path) -> None:
    made = started(tmp_path, card := LRCard())
    made.args.learning_rate = 1.0
    card.saw_trainer(made)
    made.args.learning_rate = 0.5  # which a trial sets once train() has begun
    made.create_optimizer_and_scheduler(20)
    made.state.is_hyper_param_search = True
    card.on_train_begin(made.args, made.state, made.control, optimizer=made.optimizer)
    assert card.card().arguments["learning_rate"] == 0.5


# Others


def test_a_peft_models_card_keeps_what_peft_writes(tmp_path: Path) -> None:
    base: Any = model()
    adapted: Any = get_peft_model(base, LoraConfig(target_modules=["hidden"]))
    made = running(
        arguments(tmp_path, **{**OURS, "label_names": ["labels"], "remove_unused_columns": False}), LRCard(), model=adapted
    )
    made.train()
    made.save_model()  # peft writes a card of its own, and Trainer then asks it to complete Trainer's
    made.create_model_card()
    text = card_of(tmp_path)
    assert "library_name: peft" in text
    assert "- PEFT" in text
    assert from_card(tmp_path / "README.md").schedule == made.lr_scheduler.schedule
    made.create_model_card()
    assert card_of(tmp_path) == text
    made.save_model()
    made.create_model_card()
    assert card_of(tmp_path).count(BEGIN) == 1


def test_trls_card_which_is_written_at_every_save_has_the_section(tmp_path: Path) -> None:
    trl: Any = pytest.importorskip("trl")
    words = {**OURS, "save_strategy": "steps", "save_steps": 2, "max_steps": 4, "warmup_steps": 1, "bf16": False}
    plain: dict[str, Any] = {"report_to": [], "disable_tqdm": True, "use_cpu": True, "per_device_train_batch_size": 2}
    args = trl.SFTConfig(output_dir=str(tmp_path), learning_rate=PEAK, **plain, **words)
    size: Any = {"vocab_size": 16, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    llama = LlamaForCausalLM(LlamaConfig(**size))
    made = _sft(trl.SFTTrainer, llama, args)
    made.add_callback(LRCard())
    made.add_callback(seen := Seen(tmp_path))
    made.train()
    assert seen.steps == [2, 4]
    card = from_card(tmp_path / "README.md")
    assert card == from_card(tmp_path / FILE)
    assert card.arguments_class == "trl.SFTConfig"
    assert card.arguments["bf16"] is False
    assert "template" not in card.arguments
    assert told(trl.SFTConfig(output_dir="out", **card.arguments))["arguments"] == card.arguments
    assert "from trl import SFTConfig\n" in card_of(tmp_path)


class Seen(TrainerCallback):
    """The steps of the card at each save."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.steps: list[int] = []

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.steps.append(from_card(self.folder / "README.md").steps)


def _sft(kind: Any, llama: Any, args: Any) -> Any:
    from datasets import Dataset
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"a": 0, "b": 1, "<end>": 2, "?": 3}, unk_token="?"))
    fast: Any = PreTrainedTokenizerFast
    tokenizer = fast(tokenizer_object=words, eos_token="<end>", pad_token="<end>")
    examples = Dataset.from_dict({"input_ids": [[0, 1, 0, 1]] * 8})
    return kind(model=llama, args=args, train_dataset=examples, processing_class=tokenizer)


# What goes wrong


def test_a_card_that_cannot_be_read_costs_a_warning_and_no_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = started(tmp_path, LRCard())
    (tmp_path / "README.md").write_bytes(b"\xff\xfe")
    made.train()
    assert made.state.global_step == 20
    assert [line for line in said(caplog) if line.startswith(f"the learning rate is not in the model card in {tmp_path}")]
    assert (tmp_path / "README.md").read_bytes() == b"\xff\xfe"
    assert json.loads((tmp_path / FILE).read_text())["steps"] == 20


def test_a_callback_that_was_shown_no_trainer_says_so(caplog: pytest.LogCaptureFixture) -> None:
    class State:
        is_world_process_zero = True

    none: Any = None
    state: Any = State()
    LRCard().on_train_end(none, state, none)
    assert "call hf_lrsched.register() before training" in said(caplog)[0]
    with pytest.raises(RuntimeError, match=r"call trainer.train\(\) first"):
        LRCard().card()


def test_only_the_first_process_writes(tmp_path: Path) -> None:
    made = running(arguments(tmp_path, **OURS), card := LRCard())
    vars(made)["is_world_process_zero"] = lambda: False
    card.saw_trainer(made)
    assert "create_model_card" not in vars(made)
    assert isinstance(Card(None, peaks=(), groups=(), arguments={}, steps=0), Card)


def test_arguments_that_were_saved_under_our_name_train_and_write_a_card(tmp_path: Path) -> None:
    torch.save(arguments(tmp_path / "out", max_steps=2, lr_scheduler_type="wsd"), tmp_path / "training_args.bin")
    args = torch.load(tmp_path / "training_args.bin", weights_only=False)  # written by this test
    assert type(args.lr_scheduler_type) is str
    made = running(args)
    made.train()
    assert made.args.lr_scheduler_type is SchedulerType("wsd")  # what a model card asks for its value
