"""litgpt's YAML: warm-up in steps of the optimizer, cosine always.

Facts of litgpt 0.5.13, read in its source: fine-tuning warms up linearly and falls to 0 on a cosine over
``min(epochs * steps in an epoch, max_steps)`` and never reads ``min_lr`` or ``lr_warmup_fraction``; pre-training falls to
``min_lr`` over ``max_tokens``, and a warm-up that nobody sets is 100 steps there and here, 2000 where `pretrain` gives none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..configuration import UNKNOWN, Setting, Steps
from ..document import Document, number_of
from .form import Reader, count_of, size_of

_EXAMPLES = {"alpaca2k": (2000, 0.05)}  # samples and the share held back, of litgpt/data/alpaca_2k.py
_WARMUP = {"finetune": 100, "pretrain": 2000}  # steps, of the defaults of litgpt's setup functions
_EPOCHS = 5  # of litgpt/finetune/full.py and lora.py


class LitGPT(Reader):
    """``litgpt finetune_full | finetune_lora | pretrain --config FILE``."""

    form = "litgpt"
    names = {
        "optimizer.init_args.lr": "learning_rate",
        "optimizer.init_args.weight_decay": "weight_decay",
        "train.learning_rate": "learning_rate",  # litgpt 0.3
        "train.weight_decay": "weight_decay",
        "optimizer.class_path": "optim",
        "optimizer": "optim",
        "train.lr_warmup_steps": "warmup_steps",
        "train.min_lr": "min_lr",
        "train.epochs": "num_train_epochs",
        "train.max_steps": "max_steps",
        "train.micro_batch_size": "per_device_train_batch_size",
        "train.global_batch_size": "global_batch_size",
        "train.max_seq_length": "max_length",
        "train.max_norm": "max_grad_norm",
        "train.max_tokens": "max_tokens",
        "checkpoint_dir": "model_name_or_path",
        "data": "dataset",
        "data.class_path": "dataset",
        "lora_r": "r",
        "lora_alpha": "alpha",
    }

    def mine(self, document: Document) -> bool:
        """Whether it has litgpt's ``train`` and what stands beside it."""
        ours = document.has(
            "train.global_batch_size", "train.lr_warmup_steps", "train.micro_batch_size", "train.save_interval"
        )
        return ours >= 1 and document.has("optimizer", "data", "checkpoint_dir", "model_name", "devices") >= 2

    def understood(self, setting: Setting) -> Setting:
        """A component by its class, in lower case."""
        if isinstance(setting.value, dict):
            return replace(setting, value=None)  # what it holds has a key of its own
        if setting.name in ("optim", "dataset") and isinstance(setting.value, str):
            return replace(setting, value=setting.value.rpartition(".")[2].lower())
        return super().understood(setting)

    def read(self, document: Document, **known: Any) -> Any:
        """As it is written, with the warm-up and the schedule that litgpt puts in for itself."""
        read = super().read(document, **known)
        settings = dict(read.settings)
        if "warmup_steps" not in settings:
            given = UNKNOWN if document.value("train.lr_warmup_fraction") else _WARMUP[_kind(document)]
            at = document.entries.get("train.lr_warmup_fraction") or document.entries.get("train")
            place = at or Setting("train", None)
            settings["warmup_steps"] = replace(
                place, name="warmup_steps", value=given, written="", key="train.lr_warmup_steps"
            )
        settings["lr_scheduler_type"] = Setting("lr_scheduler_type", "cosine")
        return read.but(settings=settings)

    def facts(self, document: Document, settings: Mapping[str, Setting]) -> dict[str, Any]:
        """Task, method, size and length, as far as they are written."""
        adapts = document.has("lora_r", "lora_alpha") > 0
        quantized = bool(document.text("quantize"))
        pretrains = _kind(document) == "pretrain"
        first = document.value("initial_checkpoint_dir")
        devices, nodes = count_of(document.value("devices", 1)), count_of(document.value("num_nodes", 1))
        return {
            "task": ("continue" if first else "pretrain") if pretrains else "sft",
            "peft": ("qlora" if quantized else "lora") if adapts else "full",
            "parameters": size_of(*(document.text(key) for key in ("checkpoint_dir", "model_name", "model.name"))),
            "processes": devices * nodes if devices and nodes else None,
            "given_steps": _pretraining(document) if pretrains else _finetuning(document, settings, devices, nodes),
        }


def _kind(document: Document) -> str:
    """Fine-tuning is given the folder of a checkpoint, or LoRA's settings; pre-training a model's name or shape."""
    if document.value("checkpoint_dir") or "lora_r" in document:
        return "finetune"
    return "pretrain" if document.has("model_name", "model_config", "model", "tokenizer_dir") else "finetune"


def _pretraining(document: Document) -> Steps | None:
    tokens, batch, length = (
        _number(document, f"train.{name}") for name in ("max_tokens", "global_batch_size", "max_seq_length")
    )
    a_step = (batch or 0) * (length or 0)
    if not tokens or not a_step:
        return None
    return Steps.of(max(tokens // a_step, 1), f"{tokens:g} tokens, {a_step:g} a step")


def _finetuning(document: Document, settings: Mapping[str, Setting], devices: int | None, nodes: int | None) -> Steps | None:
    most, epochs = _number(document, "train.max_steps"), _number(document, "train.epochs") or _EPOCHS
    micro, batch = _number(document, "train.micro_batch_size"), _number(document, "train.global_batch_size")
    examples = _examples(document, settings)
    asked = Steps.of(most, f"train.max_steps {most:g}") if most and most >= 1 else None
    if examples is None or not devices or not nodes or not micro or not batch or min(micro, batch) < 1:
        return None if asked is None else replace(asked, at_most=True)
    processes = devices * nodes
    batches = -(-examples // (micro * processes))
    steps = epochs * (batches // max(batch // processes // micro, 1)) // 1
    if asked is not None and asked.total < steps:
        return asked
    how = f"{epochs:g} epoch{'s' * (epochs != 1)} of {examples} samples, batch {batch:g}"
    return Steps.of(steps, how)


def _examples(document: Document, settings: Mapping[str, Setting]) -> int | None:
    dataset = settings.get("dataset")
    samples, held = _EXAMPLES.get(dataset.value if dataset and isinstance(dataset.value, str) else "", (0, 0.0))
    held = _number(document, "data.init_args.val_split_fraction") or held
    return samples - round(held * samples) if samples and 0 <= held < 1 else None


def _number(document: Document, key: str) -> float | None:
    value = document.value(key)
    number = number_of(value) if isinstance(value, str) else value
    return float(number) if isinstance(number, int | float) and not isinstance(number, bool) else None
