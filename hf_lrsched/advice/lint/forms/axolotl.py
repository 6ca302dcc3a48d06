"""axolotl's YAML. ``warmup_ratio`` is a key of its own there, and ``2e-5`` becomes a number.

Facts of axolotl 0.19.0, read in its source: ``warmup_steps`` wins over ``warmup_ratio``, 1 step becomes 2, and without both
the warm-up is the lesser of 3 % and 100 steps; the schedule is cosine where none is named.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..configuration import UNKNOWN, Configuration, Setting
from ..document import Document
from .form import Reader, size_of

_TASKS = {
    **dict.fromkeys(("dpo", "ipo", "kto", "simpo", "bco"), "preference"),
    **dict.fromkeys(("grpo", "gdpo", "ebft", "ppo"), "rl"),
}
_WHOLE = re.compile(r"^\^?(?:model\.)?(?:language_model(?:\.model)?\.)?\.?\*$")  # parameters of a whole (language) model
_OWN = ("micro_batch_size", "sequence_len", "datasets", "pretraining_dataset", "val_set_size", "dataset_prepared_path", "rl")


class Axolotl(Reader):
    """``axolotl train FILE``."""

    form = "axolotl"
    names = {
        **{
            name: name
            for name in (
                *("learning_rate", "lr_scheduler_kwargs", "warmup_steps", "warmup_ratio", "weight_decay", "max_steps"),
                *("gradient_accumulation_steps", "max_grad_norm", "adam_beta1", "adam_beta2", "loraplus_lr_ratio"),
                *("deepspeed", "resume_from_checkpoint"),
            )
        },
        "lr_scheduler": "lr_scheduler_type",
        "optimizer": "optim",
        "num_epochs": "num_train_epochs",
        "micro_batch_size": "per_device_train_batch_size",
        "base_model": "model_name_or_path",
        "sequence_len": "max_length",
        "cosine_min_lr_ratio": "min_lr_rate",
        "lora_r": "r",
        "lora_alpha": "alpha",
        "peft_use_rslora": "rslora",
        "hatchery.lora_rank": "r",
    }

    def mine(self, document: Document) -> bool:
        """Whether it names a base model, or trains one, by axolotl's keys."""
        if "base_model" in document:
            return document.has(*_OWN, "learning_rate", "num_epochs") >= 2
        return document.has("micro_batch_size", "num_epochs", "learning_rate", "lr_scheduler", "datasets") >= 4

    def read(self, document: Document, **known: Any) -> Configuration:
        """As it is written, with what axolotl puts in for itself."""
        read = super().read(document, **known)
        settings = dict(read.settings)
        steps = settings.get("warmup_steps")
        if steps is not None and steps.value == 1:
            settings["warmup_steps"] = replace(steps, value=2)
        if not read.get("warmup_steps") and not read.get("warmup_ratio"):
            run = read.steps
            value = UNKNOWN if run is None else min(int(0.03 * run.total), 100)
            settings["warmup_steps"] = Setting("warmup_steps", value, key="warmup_steps")
        if not read.get("lr_scheduler_type"):
            settings["lr_scheduler_type"] = Setting("lr_scheduler_type", "cosine", key="lr_scheduler")
        return read.but(settings=settings)

    def facts(self, document: Document, settings: Mapping[str, Setting]) -> dict[str, Any]:
        """Task, method, size and length, as far as they are written."""
        return {
            "task": _task(document),
            "peft": _peft(document),
            "parameters": size_of(document.text("base_model"), document.text("base_model_config")),
        }


def _task(document: Document) -> str:
    if document.value("reward_model") or document.value("process_reward_model"):
        return "reward"
    kind = document.text("rl").lower()
    if kind:
        return _TASKS.get(kind, "")
    if "rl" in document.entries and document.entries["rl"].value is not None:
        return ""
    if document.text("hatchery.loss_fn") not in ("", "cross_entropy"):
        return "rl"
    if document.value("pretraining_dataset"):
        return "continue"
    return "sft"


def _peft(document: Document) -> str:
    adapter = document.entries.get("adapter")
    if adapter is None or adapter.value is None or adapter.value == "":
        if "hatchery" in document:  # a service that trains LoRA and nothing else
            return "lora"
        layers = document.value("unfrozen_parameters")
        some = isinstance(layers, list) and bool(layers) and not any(_WHOLE.search(str(one)) for one in layers)
        return "partial" if some or document.value("lisa_n_layers") else "full"
    if document.value("relora"):
        return "relora"
    return adapter.value.lower() if isinstance(adapter.value, str) else ""
