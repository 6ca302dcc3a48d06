"""The DeepSpeed and accelerate files beside a configuration, and the files that it names in vain.

What they do not know: where somebody stands when the run is started, which is what a path in a configuration is relative to.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..configuration import OURS, TRAINERS, Configuration, Setting
from ..remark import Remark
from ..rule import Example, Rule
from .mending import replaced
from .wording import spoken

_TAKES_DEEPSPEED = (*OURS, "axolotl")
# DeepSpeed's schedules, and the ones of Transformers that have their shape (deepspeed/runtime/lr_schedules.py).
_SHAPES = {"WarmupLR": "constant_with_warmup", "WarmupDecayLR": "linear", "WarmupCosineLR": "cosine"}
_DEFAULT = "linear"  # TrainingArguments.lr_scheduler_type, transformers 5.23.0
# What DeepSpeed's file may say otherwise than the configuration: its word, Transformers' name.
_MATCHED = (
    ("learning_rate", "optimizer.params.lr"),
    ("weight_decay", "optimizer.params.weight_decay"),
    ("gradient_accumulation_steps", "gradient_accumulation_steps"),
    ("per_device_train_batch_size", "train_micro_batch_size_per_gpu"),
)


def _deepspeed(configuration: Configuration) -> Iterator[Configuration]:
    if configuration.form in _TAKES_DEEPSPEED:
        yield from (beside for beside in configuration.companions if beside.form == "deepspeed")


def _where(beside: Configuration, setting: Setting | None) -> str:
    """A place in another file, in words."""
    line = f":{setting.line}" if setting is not None and setting.line else ""
    return f"{Path(beside.file).name}{line}" if beside.file else "the DeepSpeed configuration"


class DeepSpeedSchedule(Rule):
    """A ``scheduler`` block in DeepSpeed's file, which runs in place of ``lr_scheduler_type``."""

    id, name, level = "LR008", "deepspeed-schedule-wins", "error"
    source = "https://github.com/hiyouga/LlamaFactory/issues/6347; https://github.com/axolotl-ai-cloud/axolotl/pull/909"
    example = Example(
        "sft.yaml",
        "learning_rate: 2.0e-5\nnum_train_epochs: 3\nlr_scheduler_type: cosine\ndeepspeed: zero3.json\n",
        "learning_rate: 2.0e-5\nnum_train_epochs: 3\nlr_scheduler_type: linear\ndeepspeed: zero3.json\n",
        "LlamaFactory issue 6347: lr_scheduler_type: cosine, and a run under DeepSpeed's WarmupDecayLR",
        {
            "zero3.json": '{"zero_optimization": {"stage": 3}, "train_micro_batch_size_per_gpu": "auto", "scheduler": '
            '{"type": "WarmupDecayLR", "params": {"warmup_num_steps": "auto", "total_num_steps": "auto"}}}'
        },
    )

    def judge(self, configuration: Configuration, siblings: Sequence[Configuration]) -> Iterator[Remark]:
        """Where the two differ in shape; needs the file."""
        asked = configuration.schedule or _DEFAULT
        for beside in _deepspeed(configuration):
            block = beside.get("lr_scheduler_type")
            if block is None or not isinstance(block.value, str) or configuration.unknown("lr_scheduler_type"):
                continue
            if _SHAPES.get(block.value) == asked:
                continue
            chosen = configuration.get("lr_scheduler_type")
            if chosen is None and configuration.partial:
                continue
            said = spoken(chosen, chosen.value) if chosen is not None and chosen.line else f"{asked} (the default)"
            sentence = f"the run follows DeepSpeed's {block.value} ({_where(beside, block)}), and {said} is never used"
            advice = "Remove the scheduler block from DeepSpeed's file"
            place = chosen if chosen is not None and chosen.line else "deepspeed"
            level = self.level if chosen is not None and chosen.line else "warning"
            yield self.remark(configuration, place, sentence, advice, level=level)


class DeepSpeedMismatch(Rule):
    """A number in DeepSpeed's file that differs from the configuration's: Trainer refuses the two."""

    id, name, level = "LR027", "deepspeed-mismatch", "error"
    source = "HfTrainerDeepSpeedConfig.trainer_config_process of transformers 5.23.0"
    example = Example(
        "sft.yaml",
        "learning_rate: 2.0e-5\nnum_train_epochs: 3\nlr_scheduler_type: linear\ndeepspeed: zero2.json\n",
        "learning_rate: 1.0e-4\nnum_train_epochs: 3\nlr_scheduler_type: linear\ndeepspeed: zero2.json\n",
        "transformers 5.23.0: 'Please correct the following DeepSpeed config values that mismatch TrainingArguments values'",
        {
            "zero2.json": '{"zero_optimization": {"stage": 2}, "train_micro_batch_size_per_gpu": "auto", '
            '"optimizer": {"type": "AdamW", "params": {"lr": 1e-4}}}'
        },
    )

    def judge(self, configuration: Configuration, siblings: Sequence[Configuration]) -> Iterator[Remark]:
        """Of what both write down; ``auto`` takes Trainer's."""
        for beside in _deepspeed(configuration):
            for name, word in _MATCHED:
                ours, theirs = configuration.get(name), beside.get(name)
                if ours is None or theirs is None or ours.number is None or theirs.number is None:
                    continue
                if ours.number != theirs.number:
                    sentence = (
                        f"{ours.key} is {ours.written or ours.value} and {_where(beside, theirs)} has {word} "
                        f"{theirs.written or theirs.value}: Trainer ends with a ValueError before the first step"
                    )
                    yield self.remark(configuration, ours, sentence, f'Write "auto" for {word}')


class ProcessesFixed(Rule):
    """A number of processes in an accelerate file, on which the steps of a run and its batch depend."""

    id, name, level = "LR012", "processes-fixed", "warning"
    source = "trl 1.16.0, accelerate_configs/single_gpu.yaml: num_processes: 8; accelerate 1.15.0, commands/launch.py"
    example = Example(
        "single_gpu.yaml",
        'compute_environment: LOCAL_MACHINE\ndistributed_type: "NO"\nmixed_precision: bf16\nnum_processes: 8\n',
        'compute_environment: LOCAL_MACHINE\ndistributed_type: "NO"\nmixed_precision: bf16\nnum_processes: 1\n',
        "trl/accelerate_configs/single_gpu.yaml: distributed_type: NO and num_processes: 8",
    )

    def judge(self, configuration: Configuration, siblings: Sequence[Configuration]) -> Iterator[Remark]:
        """A fixed number is only worth knowing; one that contradicts its own file is a fault."""
        count = configuration.get("num_processes")
        if configuration.form != "accelerate" or count is None or (count.number or 1) <= 1:
            return
        number, machines = int(count.number or 1), configuration.number("num_machines") or 1
        kind = configuration.value("distributed_type")
        alone = kind in ("NO", False)  # YAML reads a bare NO as False
        if alone and machines <= 1:
            sentence = (
                f"num_processes: {number} with distributed_type: NO starts one process, so a run has {number} times "
                f"the steps and 1/{number} of the batch that the file promises"
            )
            fix = replaced(count, value="1")
            yield self.remark(configuration, count, sentence, "Write num_processes: 1", fix=fix)
            return
        sentence = (
            f"num_processes is fixed at {number}: on another machine the batch, the number of steps and so the schedule"
        )
        advice = "Give --num_processes where the run is started"
        yield self.remark(configuration, count, f"{sentence} are others", advice, level="note")


class FileMissing(Rule):
    """A file that a configuration names and that is not there."""

    id, name, level = "LR021", "file-missing", "warning"
    source = "alignment-handbook scripts/README.md names recipes/accelerate_configs/fsdp+qlora.yaml, which is not there"
    example = Example(
        "sft.yaml",
        "learning_rate: 2.0e-5\nnum_train_epochs: 3\nlr_scheduler_type: linear\ndeepspeed: zero_3.json\n",
        "learning_rate: 2.0e-5\nnum_train_epochs: 3\nlr_scheduler_type: linear\ndeepspeed: zero3.json\n",
        "alignment-handbook scripts/README.md: --config_file=recipes/accelerate_configs/fsdp+qlora.yaml, which is not there",
        {"zero3.json": '{"zero_optimization": {"stage": 3}, "train_micro_batch_size_per_gpu": "auto"}'},
    )

    def judge(self, configuration: Configuration, siblings: Sequence[Configuration]) -> Iterator[Remark]:
        """A fault where its folder is here and it is not in it; only worth knowing where nothing of it is here."""
        if configuration.form not in (*TRAINERS, "accelerate"):
            return
        for setting in configuration.missing:
            named = Path(str(setting.value))
            if setting.key.startswith("-") and _made(configuration, named.name):
                continue
            here = None if named.is_absolute() else _folder_of(configuration, named)
            where = "is not beside this file" if here == Path(configuration.file).parent else f"is not in {here}"
            sentence = f"{spoken(setting, named)} {where if here else 'is not here'}, nor below any folder above"
            near = _near(here, named.name)
            advice = f"Did you mean {near}?" if near else "Correct the path, or keep the file beside the configuration"
            yield self.remark(configuration, setting, sentence, advice, level="warning" if here else "note")


def _folder_of(configuration: Configuration, named: Path) -> Path | None:
    """The folder that a relative path leads to, from the configuration's or one above it."""
    start = Path(configuration.file).parent
    if named.parent == Path("."):
        return start
    above = [start, *start.absolute().parents[:8]]  # as far up as `reading` looks
    return next((folder / named.parent for folder in above if os.path.isdir(folder / named.parent)), None)


def _made(configuration: Configuration, name: str) -> bool:
    """Whether the script makes the file itself: by ``>``, ``-o``, ``tee``, ``cp``, ``mv`` or ``ln``."""
    making = rf"(?:>\s*|\s-o\s+|\b(?:tee|cp|mv|ln)\s[^|;&]*?)[\"']?[^\s\"'|;&]*(?<![\w.-]){re.escape(name)}(?![\w.-])"
    return any(re.search(making, line) for line in configuration.lines)


def _near(folder: Path | None, name: str) -> str:
    """A file of a nearly equal name beside; empty where the folder cannot be looked into."""
    from difflib import get_close_matches

    wanted, kind = Path(name).stem, Path(name).suffix
    try:
        stems = sorted(path.stem for path in folder.iterdir() if path.suffix == kind) if folder else []
    except OSError:
        return ""
    return next((f"{stem}{kind}" for stem in get_close_matches(wanted, stems, n=1)), "")


COMPANIONS: tuple[type[Rule], ...] = (DeepSpeedSchedule, DeepSpeedMismatch, ProcessesFixed, FileMissing)
