"""torchtune's YAML: components by their dotted Python name, warm-up in steps of the optimizer.

Its schedules are its own: a warm-up is a number of steps, whatever its size, and without ``lr_scheduler`` the LR is constant.
How long a run is, is known where ``max_steps_per_epoch`` is set; an epoch may end before it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..configuration import Setting, Steps
from ..document import Document
from .form import Reader, count_of, size_in_code, size_of

_LOSSES = (("dpo|rso|simpo|kto", "preference"), ("ppo|grpo", "rl"))


class Torchtune(Reader):
    """``tune run RECIPE --config FILE``, torchtune 0.6.1."""

    form = "torchtune"
    names = {
        "optimizer.lr": "learning_rate",
        "optimizer.weight_decay": "weight_decay",
        "optimizer._component_": "optim",
        "lr_scheduler._component_": "lr_scheduler_type",
        "lr_scheduler.num_warmup_steps": "warmup_steps",
        "epochs": "num_train_epochs",
        "batch_size": "per_device_train_batch_size",
        "gradient_accumulation_steps": "gradient_accumulation_steps",
        "clip_grad_norm": "max_grad_norm",
        "checkpointer.checkpoint_dir": "model_name_or_path",
        "tokenizer.max_seq_len": "max_length",
        "model.lora_rank": "r",
        "model.lora_alpha": "alpha",
    }

    def mine(self, document: Document) -> bool:
        """Whether it has an optimizer's LR and a component of torchtune."""
        components = [found.value for key, found in document.entries.items() if key.endswith("_component_")]
        return "optimizer.lr" in document and any(isinstance(one, str) and "torchtune" in one for one in components)

    def understood(self, setting: Setting) -> Setting:
        """A component by its class; a schedule by the name that Transformers has for it."""
        if setting.name == "lr_scheduler_type" and isinstance(setting.value, str):
            found = re.search(r"get_(\w+?)_schedule", setting.value)
            return replace(setting, value=found[1] if found else setting.value.rpartition(".")[2])
        if setting.name == "optim" and isinstance(setting.value, str):
            return replace(setting, value=setting.value.rpartition(".")[2].lower())
        return super().understood(setting)

    def facts(self, document: Document, settings: Mapping[str, Setting]) -> dict[str, Any]:
        """Task, method, size and length, as far as they are written."""
        model = document.text("model._component_") or document.text("policy_model._component_")
        builder = model.rpartition(".")[2]
        single = "single_device" in document.file
        return {
            "task": _task(document),
            "peft": "qlora" if builder.startswith("qlora") else "lora" if builder.startswith("lora") else "full",
            "parameters": size_of(document.text("checkpointer.checkpoint_dir")) or size_in_code(builder),
            "processes": 1 if single else None,
            "given_steps": _steps(document),
        }


def _task(document: Document) -> str:
    loss = document.text("loss._component_").rpartition(".")[2].lower()
    for words, task in _LOSSES:
        if re.search(words, loss):
            return task
    if document.has("policy_model", "grpo_size", "num_generations"):
        return "rl"
    return "sft"


def _steps(document: Document) -> Steps | None:
    epochs, most = count_of(document.value("epochs")), count_of(document.value("max_steps_per_epoch"))
    if epochs is None or most is None:
        return None
    return Steps.of(epochs * most, f"epochs {epochs} x max_steps_per_epoch {most}", at_most=True)
