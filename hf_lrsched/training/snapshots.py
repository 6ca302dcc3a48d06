"""Checkpoints at the end of each cycle, the best one within each, and their average as one model.

Under ``warm_restarts`` and ``wsd_s`` the LR is lowest where a cycle ends. Huang et al. 1704.00109 average the predictions of
such snapshots; Izmailov et al. 1803.05407 their weights.

What it does not know: how a checkpoint is written (`checkpoints`).
"""

from __future__ import annotations

import json
import shutil
from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerControl, TrainerState, TrainingArguments

from ..schedules.splice import cycle_ends
from .checkpoints import Checkpoints, is_complete, remove, seal, write
from .scheduler import ScheduleLR

CYCLES = "cycles.json"

_PEFT_CLASSES = {
    "CAUSAL_LM": "AutoPeftModelForCausalLM",
    "SEQ_2_SEQ_LM": "AutoPeftModelForSeq2SeqLM",
    "SEQ_CLS": "AutoPeftModelForSequenceClassification",
    "TOKEN_CLS": "AutoPeftModelForTokenClassification",
    "QUESTION_ANS": "AutoPeftModelForQuestionAnswering",
    "FEATURE_EXTRACTION": "AutoPeftModelForFeatureExtraction",
}
_NOT_AVERAGED = ("modules_to_save", "use_dora", "use_rslora", "trainable_token_indices", "bias", "lora_bias")
_NOT_WEIGHTS = ("optimizer", "scheduler", "scaler", "rng_state", "trainer_state", "training_args", "hf_lrsched")


class CycleSnapshots(Checkpoints):
    """Saves at the end of every cycle, evaluates there, and keeps the best evaluated checkpoint within each cycle.

    ``cycles.json`` in the output folder names them: for each cycle its last step, the checkpoint there, the best one and its
    metric, and which cycle has the best of all. ``save_total_limit`` deletes none of them; a best one that a better one has
    displaced goes, unless something else asked for it.

    Args:
        best: whether to keep the best evaluated checkpoint within each cycle; it goes by ``metric_for_best_model`` or the
            held-out loss.

    >>> from transformers import Trainer, TrainingArguments
    >>> args = TrainingArguments(
    ...     "out", lr_scheduler_type="warm_restarts", lr_scheduler_kwargs={"cycles": 4}
    ... )  # doctest: +SKIP
    >>> Trainer(..., args=args, callbacks=[CycleSnapshots()]).train()  # doctest: +SKIP
    >>> average_checkpoints(cycle_checkpoints("out")[-3:], "out/average")  # doctest: +SKIP
    """

    saves, resumes = True, False

    def __init__(self, *, best: bool = True) -> None:
        super().__init__(keep=self._needed)
        self._want_best = best
        self._ends: list[int] = []
        self.cycles: list[dict[str, Any]] = []
        self._metric = ""
        self._for_best: set[int] = set()  # steps that were saved for nothing else
        self._displaced: set[int] = set()

    def _needed(self, step: int) -> bool:
        return any(f"checkpoint-{step}" in (cycle["end"], cycle.get("best")) for cycle in self.cycles)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Finds the cycles of the schedule.

        Raises:
            ValueError: for a schedule that is not one of ours.
        """
        scheduler = kwargs["lr_scheduler"]
        if not isinstance(scheduler, ScheduleLR):
            raise ValueError(
                f"CycleSnapshots cannot tell the cycles of {type(scheduler).__name__}; take one of hf_lrsched's schedules, "
                "such as lr_scheduler_type='warm_restarts'"
            )
        control = super().on_train_begin(args, state, control, **kwargs)
        self._ends = cycle_ends(scheduler.schedule)
        name = args.metric_for_best_model or "loss"
        self._metric = name if name.startswith("eval_") else f"eval_{name}"
        self.cycles = [
            {"cycle": i, "last_step": end, "end": f"checkpoint-{end}"} for i, end in enumerate(self._ends, start=1)
        ]
        self._for_best, self._displaced = set(), set()
        for line in state.log_history:  # what a run that is resumed had found
            self._consider(line, int(line.get("step", 0)), args)
        if state.global_step:
            self._for_best = set(_told(Path(str(args.output_dir))).get("saved_as_best_alone", ()))
        return control

    def _cycle(self, step: int) -> dict[str, Any] | None:
        index = bisect_left(self._ends, step)
        return self.cycles[index] if index < len(self.cycles) else None

    def _consider(self, metrics: dict[str, Any], step: int, args: TrainingArguments) -> bool:
        """Notes the evaluation at `step`; whether it is the best of its cycle so far."""
        cycle, value = self._cycle(step), metrics.get(self._metric)
        if not self._want_best or cycle is None or value is None or not step:
            return False
        before = cycle.get(self._metric)
        if before is not None and (value <= before if args.greater_is_better else value >= before):
            return False
        if "best" in cycle:
            self._displaced.add(int(cycle["best"].rpartition("-")[2]))
        cycle.update({"best": f"checkpoint-{step}", self._metric: value})
        return True

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Asks for a save, and an evaluation where there are any, at the end of a cycle."""
        control = super().on_step_end(args, state, control, **kwargs)
        if state.global_step in self._ends:
            control.should_save = True
            control.should_evaluate = args.eval_strategy != "no"
        return control

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Keeps the best checkpoint of the cycle."""
        if self._consider(kwargs.get("metrics") or {}, state.global_step, args):
            if not control.should_save:
                self._for_best.add(state.global_step)
            control.should_save = True
        return control

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Seals the checkpoint, and writes the list of cycles."""
        super().on_save(args, state, control, **kwargs)
        if not state.is_world_process_zero:
            return
        run = Path(str(args.output_dir))
        for step in self._displaced:
            folder = run / f"checkpoint-{step}"
            if self._needed(step) or not folder.is_dir() or state.best_model_checkpoint == str(folder):
                continue
            if step in self._for_best:
                remove(folder)
                self._for_best.discard(step)
            else:
                seal(folder)  # an ordinary one from now on
        self._displaced = set()
        told = {"best_cycle": self.best_cycle(args), "cycles": self.cycles, "saved_as_best_alone": sorted(self._for_best)}
        write(run / CYCLES, json.dumps(told, indent=1))

    def best_cycle(self, args: TrainingArguments) -> int | None:
        """The number of the cycle with the best evaluated checkpoint; None where none was evaluated."""
        seen = [cycle for cycle in self.cycles if self._metric in cycle]
        if not seen:
            return None
        best = (max if args.greater_is_better else min)(seen, key=lambda cycle: cycle[self._metric])
        return int(best["cycle"])


def cycle_checkpoints(run: str | Path) -> list[Path]:
    """The checkpoints at the ends of the cycles of the run in the folder `run`, as far as they are there.

    Raises:
        ValueError: where the folder has no ``cycles.json``.
    """
    told = _told(Path(run))
    if not told:
        raise ValueError(f"{run} has no {CYCLES}; was the run trained with CycleSnapshots?")
    return [Path(run) / cycle["end"] for cycle in told["cycles"] if is_complete(Path(run) / cycle["end"])]


def _told(run: Path) -> dict[str, Any]:
    try:
        told: dict[str, Any] = json.loads((run / CYCLES).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return told


def average_checkpoints(checkpoints: Sequence[str | Path], output: str | Path, *, base: Any = None) -> Path:
    """The mean of the weights of `checkpoints`, as one model in the folder `output`.

    Weights are averaged in float32 and written in their own type; whole numbers (counters) are the last one's. LoRA adapters
    are averaged as the products they stand for, by peft (the mean of the factors is not the factor of the mean): the rank of
    the average is the sum of theirs. A model with batch normalisation needs its statistics taken anew on training data
    (``torch.optim.swa_utils.update_bn``).

    Args:
        checkpoints: folders with ``model.safetensors``, in shards or not, or with ``adapter_model.safetensors``.
        output: a folder that does not exist yet, or is empty.
        base: for adapters, the model they were trained on; by default loaded by the name that they note.

    Raises:
        ValueError: for fewer than two checkpoints, models that differ in their weights' names or shapes, or an `output` that
            holds something.
    """
    folders, out = [Path(checkpoint) for checkpoint in checkpoints], Path(output)
    if len(folders) < 2:
        raise ValueError(f"{len(folders)} checkpoint to average; give 2 or more")
    if out.exists() and any(out.iterdir()):
        raise ValueError(f"{out} is not empty; give another folder")
    beside = out.with_name(f".{out.name}.part")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        if (folders[-1] / "adapter_config.json").exists():
            _average_adapters(folders, beside, base)
        else:
            _average_weights(folders, beside)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    if out.exists():
        out.rmdir()
    return beside.rename(out)


def _average_weights(folders: list[Path], out: Path) -> None:
    from safetensors import safe_open
    from safetensors.torch import save_file

    files = sorted(file.name for file in folders[-1].glob("*.safetensors"))
    if not files:
        raise ValueError(f"{folders[-1]} has no .safetensors file; was it saved by Transformers 5?")
    for name in files:
        missing = [str(folder) for folder in folders if not (folder / name).is_file()]
        if missing:
            raise ValueError(f"{', '.join(missing)} has no {name}, which {folders[-1]} has")
        opened: list[Any] = [safe_open(folder / name, "pt") for folder in folders]
        keys = [set(one.keys()) for one in opened]
        if any(one != keys[-1] for one in keys):
            raise ValueError(f"the weights in {name} have different names in the checkpoints; are they of one model?")
        mean = {key: _mean([one.get_tensor(key) for one in opened], key) for key in opened[-1].keys()}  # noqa: SIM118  # safetensors' handle is no dict and cannot be iterated over
        save_file(mean, out / name, metadata=opened[-1].metadata())
    for file in folders[-1].iterdir():  # configuration, tokenizer, index of the shards
        if file.is_file() and file.name not in files and not file.name.startswith(_NOT_WEIGHTS):
            shutil.copy2(file, out / file.name)


def _mean(tensors: list[torch.Tensor], key: str) -> torch.Tensor:
    if any(tensor.shape != tensors[-1].shape for tensor in tensors):
        raise ValueError(f"{key} has different shapes in the checkpoints: {', '.join(str(tuple(t.shape)) for t in tensors)}")
    if not tensors[-1].is_floating_point():
        return tensors[-1]
    total = torch.zeros_like(tensors[-1], dtype=torch.float32)
    for tensor in tensors:
        total += tensor.float()
    return (total / len(tensors)).to(tensors[-1].dtype)


def _average_adapters(folders: list[Path], out: Path, base: Any) -> None:
    import peft

    config = peft.PeftConfig.from_pretrained(str(folders[-1]))
    if config.peft_type != peft.PeftType.LORA:
        raise ValueError(f"{folders[-1]} holds {config.peft_type.value} adapters; those of LoRA can be averaged")
    trained = {name: getattr(config, name, None) for name in _NOT_AVERAGED}
    also = [f"{name}={value!r}" for name, value in trained.items() if value and value != "none"]
    if also:
        raise ValueError(f"{folders[-1]} was trained with {', '.join(also)}, which peft's weighted sum does not carry over")
    if base is None:
        kind = _PEFT_CLASSES.get(str(config.task_type), "AutoPeftModel")
        model: Any = getattr(peft, kind).from_pretrained(str(folders[0]), adapter_name="cycle0")
    else:
        model = peft.PeftModel.from_pretrained(base, str(folders[0]), adapter_name="cycle0")
    for i, folder in enumerate(folders[1:], start=1):
        model.load_adapter(str(folder), adapter_name=f"cycle{i}")
    names = [f"cycle{i}" for i in range(len(folders))]
    model.add_weighted_adapter(names, [1.0 / len(names)] * len(names), adapter_name="average", combination_type="cat")
    model.save_pretrained(str(out), selected_adapters=["average"])
    for file in (out / "average").iterdir():
        file.rename(out / file.name)
    (out / "average").rmdir()
