"""DeepSpeed's JSON: only what touches the learning rate. ``auto`` stays the text that it is."""

from __future__ import annotations

from ..document import Document
from .form import Reader

_SIGNS = (
    "zero_optimization",
    "train_micro_batch_size_per_gpu",
    "train_batch_size",
    "gradient_clipping",
    "wall_clock_breakdown",
)


class DeepSpeed(Reader):
    """``ds_config.json``, and the mapping of the same keys inside another file."""

    form = "deepspeed"
    names = {
        "scheduler.type": "lr_scheduler_type",
        "scheduler.params.warmup_num_steps": "warmup_steps",
        "scheduler.params.total_num_steps": "max_steps",
        "scheduler.params.warmup_min_lr": "warmup_min_lr",
        "scheduler.params.warmup_max_lr": "warmup_max_lr",
        "optimizer.type": "optim",
        "optimizer.params.lr": "learning_rate",
        "optimizer.params.weight_decay": "weight_decay",
        "gradient_accumulation_steps": "gradient_accumulation_steps",
        "train_micro_batch_size_per_gpu": "per_device_train_batch_size",
        "train_batch_size": "global_batch_size",
    }

    def mine(self, document: Document) -> bool:
        """Whether it has several of DeepSpeed's keys."""
        return document.has(*_SIGNS) >= 2 or ("zero_optimization" in document and "stage" in document.words)
