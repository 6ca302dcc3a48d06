"""Keys that nobody reads, and what holds where nothing is written.

What they do not know: releases other than the named ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..configuration import Configuration
from ..remark import Remark
from ..rule import Example, Rule
from .mending import removed


class KeyNeverRead(Rule):
    """A key that the project accepts and no code of it reads for this task or schedule."""

    id, name, level = "LR007", "key-never-read", "warning"
    source = "litgpt 0.5.13, finetune/full.py and pretrain.py; axolotl 0.19.0, core/trainers/mixins/scheduler.py"
    example = Example(
        "finetune/full.yaml",
        "checkpoint_dir: checkpoints/google/gemma-2b\ndevices: 1\ntrain:\n  global_batch_size: 16\n  micro_batch_size: 1\n"
        "  lr_warmup_steps: 10\n  epochs: 1\n  max_steps: 500\n  min_lr: 6.0e-05\n"
        "optimizer:\n  class_path: torch.optim.AdamW\n  init_args:\n    lr: 0.0002\n",
        "checkpoint_dir: checkpoints/google/gemma-2b\ndevices: 1\ntrain:\n  global_batch_size: 16\n  micro_batch_size: 1\n"
        "  lr_warmup_steps: 10\n  epochs: 1\n  max_steps: 500\n"
        "optimizer:\n  class_path: torch.optim.AdamW\n  init_args:\n    lr: 0.0002\n",
        "litgpt config_hub/finetune/gemma-2b/full.yaml: min_lr: 6.0e-05, which only pretrain.py reads",
    )

    def judge(self, configuration: Configuration, siblings: Sequence[Configuration]) -> Iterator[Remark]:
        """Of litgpt's fine-tuning and axolotl's cosine."""
        if configuration.form == "litgpt" and configuration.task == "sft":
            floor = configuration.get("min_lr")
            if floor is not None and floor.line:
                sentence = (
                    f"min_lr: {floor.written} is never read when fine-tuning (litgpt 0.5.13): the learning rate ends at 0"
                )
                fix = removed(floor, safe=True)
                yield self.remark(configuration, floor, sentence, "Remove it; only pretrain reads it", fix=fix)
        floor = configuration.get("min_lr_rate")
        if configuration.form == "axolotl" and floor is not None and configuration.schedule not in ("cosine", "rex", ""):
            ends = "stays at its peak" if configuration.schedule.startswith("constant") else "ends where the schedule does"
            sentence = f"{floor.key}: {floor.written} is read for cosine alone (axolotl 0.19.0), and lr_scheduler is "
            sentence += f"{configuration.schedule}: the learning rate {ends}"
            yield self.remark(configuration, floor, sentence, "Remove it, or take lr_scheduler: cosine")


class NothingSaid(Rule):
    """No schedule and no weight decay, where a default that few expect holds. Worth knowing."""

    id, name, level = "LR018", "no-schedule", "note"
    source = "torchtune 0.6.1, full_finetune_distributed.py; torch.optim.AdamW, whose weight_decay is 0.01"
    example = Example(
        "8B_full.yaml",
        "model:\n  _component_: torchtune.models.llama3_1.llama3_1_8b\noptimizer:\n  _component_: torch.optim.AdamW\n"
        "  lr: 2.0e-5\nepochs: 1\nbatch_size: 2\n",
        "model:\n  _component_: torchtune.models.llama3_1.llama3_1_8b\noptimizer:\n  _component_: torch.optim.AdamW\n"
        "  lr: 2.0e-5\n  weight_decay: 0.0\nlr_scheduler:\n"
        "  _component_: torchtune.training.lr_schedulers.get_cosine_schedule_with_warmup\n  num_warmup_steps: 100\n"
        "epochs: 1\nbatch_size: 2\n",
        "torchtune recipes/configs/llama3_1/8B_full.yaml: constant LR, weight decay 0.01 by default",
    )

    def judge(self, configuration: Configuration, siblings: Sequence[Configuration]) -> Iterator[Remark]:
        """Of torchtune, whose recipes take a schedule or none."""
        rate = configuration.get("learning_rate")
        if configuration.form != "torchtune" or rate is None:
            return
        said = []
        if "lr_scheduler_type" not in configuration:
            said.append("without lr_scheduler the learning rate is constant to the last step")
        if "weight_decay" not in configuration and "adamw" in configuration.word("optim"):
            said.append("without optimizer.weight_decay AdamW's own 0.01 holds (Trainer's default is 0)")
        if said:
            yield self.remark(configuration, rate, "; ".join(said), "Write down what is meant")


UNREAD: tuple[type[Rule], ...] = (KeyNeverRead, NothingSaid)
