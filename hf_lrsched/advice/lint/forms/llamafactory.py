"""LLaMA-Factory's YAML and command lines: Transformers' own names, its own words for the method.

Read by OmegaConf (0.9.5), for which ``2e-5`` is a number. Its second schema (``examples/v1``) names fewer things.
``max_samples`` caps every dataset, so the steps of a run on one process are known at most.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..configuration import Configuration, Setting, Steps
from ..document import Document
from .form import Reader, count_of, size_of
from .names import TRAINING_ARGUMENTS

_STAGES = {
    "sft": "sft",
    "rm": "reward",
    "ppo": "rl",
    "pt": "continue",
    **dict.fromkeys(("dpo", "kto"), "preference"),
}
_OPTIMIZERS = ("galore", "apollo", "badam", "muon", "adam_mini")
_OWN = ("finetuning_type", "template", "cutoff_len", "dataset_dir", "stage", "max_samples")
_OWN_V1 = ("model_class", "train_dataset", "dist_config", "kernel_config", "cutoff_len", "peft_config")


class LlamaFactory(Reader):
    """``llamafactory-cli train FILE`` or with ``--key value``."""

    form = "llamafactory"
    names = {
        **{name: name for name in TRAINING_ARGUMENTS},
        **{name: name for name in ("model_name_or_path", "loraplus_lr_ratio", "dataset")},
        "pref_beta": "beta",
        "cutoff_len": "max_length",
        "lora_rank": "r",
        "lora_alpha": "alpha",
        "use_rslora": "rslora",
        "model": "model_name_or_path",
        "micro_batch_size": "per_device_train_batch_size",
        "peft_config.r": "r",
        "peft_config.lora_alpha": "alpha",
        "dist_config.config_file": "deepspeed",
        "train_dataset": "dataset",
    }

    def mine(self, document: Document) -> bool:
        """Whether it has a stage or a method, or the second schema's keys."""
        trains = document.has("learning_rate", "per_device_train_batch_size", "num_train_epochs", "max_steps") > 0
        first = document.has("stage", "finetuning_type") > 0 and document.has(*_OWN) >= 2
        return trains and (first or ("model" in document and document.has(*_OWN_V1) >= 2))

    def read(self, document: Document, **known: Any) -> Configuration:
        """As it is written, with the optimizer that a switch of its own chooses."""
        read = super().read(document, **known)
        chosen = next((found for name in _OPTIMIZERS if (found := document.entries.get(f"use_{name}")) and found.value), None)
        if chosen is None:
            return read
        return read.but(
            settings={
                **read.settings,
                "optim": replace(chosen, name="optim", value=chosen.name.removeprefix("use_"), written=""),
            }
        )

    def facts(self, document: Document, settings: Mapping[str, Setting]) -> dict[str, Any]:
        """Task, method, size and length, as far as they are written."""
        return {
            "task": _task(document),
            "peft": _peft(document),
            "parameters": size_of(document.text("model_name_or_path"), document.text("model")),
            "given_steps": _at_most(document),
        }


def _task(document: Document) -> str:
    stage = document.text("stage").lower()
    if document.text("pref_loss").lower() == "orpo":
        return ""
    return _STAGES.get(stage, "") if stage else "sft" if "train_dataset" in document else ""


def _peft(document: Document) -> str:
    kind = (document.text("finetuning_type") or document.text("peft_config.name")).lower()
    if not kind:
        return "full" if "train_dataset" in document and "peft_config" not in document else ""
    if kind == "full" and document.value("freeze_language_model"):
        return "partial"
    quantized = document.value("quantization_bit") or document.value("quant_config")
    return {"lora": "qlora" if quantized else "lora", "freeze": "partial"}.get(kind, kind)


def _at_most(document: Document) -> Steps | None:
    """The steps on one process of as many samples as ``max_samples`` lets through; None where ``max_steps`` says more."""
    most, epochs = count_of(document.value("max_samples")), document.value("num_train_epochs", 3)  # Transformers' default
    names = document.value("dataset")
    batch, waits = (
        count_of(document.value(name, 1 if name.startswith("grad") else None))
        for name in ("per_device_train_batch_size", "gradient_accumulation_steps")
    )
    if (count_of(document.value("max_steps")) or 0) >= 1 or not most or not batch or not isinstance(names, str):
        return None
    if not isinstance(epochs, int | float) or not waits:
        return None
    samples = most * len(names.split(","))
    total = epochs * -(-samples // (batch * waits))
    how = f"{epochs:g} epoch{'s' * (epochs != 1)} of {samples} samples at most, batch {batch * waits}, one process"
    return Steps.of(total, how, at_most=True)
