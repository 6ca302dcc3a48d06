"""The true loss, LR and gradient norm of every optimizer step, in one file beside the checkpoints: `LRRecorder`.

Trainer's log has means over ``logging_steps``, and hides NaN. Here values stay on the device and are fetched in batches, so a
step on a GPU waits for nothing.

What it does not know: how the file is read (`runs.history`) and drawn (`show`).
"""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ..runs.files import HISTORY
from ..schedules.spec import to_spec
from . import trackers
from .model_card import told
from .scheduler import ScheduleLR

logger = logging.getLogger(__name__)

_BATCH = 100  # points between two writes: what a kill may lose; 100 steps are seconds to minutes of training


class LRRecorder(TrainerCallback):
    """Records every optimizer step of a run in ``lr_history.jsonl`` in its folder; `read_history` reads it.

    A point has the loss (over the accumulated micro-batches, and the mean over the processes), the LR of every group,
    momentum, the gradient norm before clipping, the schedule's phase, tokens seen, and whether the update was skipped.
    Evaluations, checkpoints and cooldowns are noted too. Loss and norm come from Trainer itself (`host`): as they were, NaN
    and infinity included.

    The file is only appended to. A run that is killed loses at most the last batch of points, and one that is resumed goes on
    behind the step it resumes from.

    Args:
        every: points in a batch. A batch is also written when the run is saved, evaluated, or over.

    >>> from transformers import Trainer
    >>> Trainer(..., callbacks=[LRRecorder()]).train()  # doctest: +SKIP
    >>> read_history("out").loss  # doctest: +SKIP

    Raises:
        ValueError: for an `every` below 1.
    """

    def __init__(self, *, every: int = _BATCH) -> None:
        if every < 1:
            raise ValueError(f"every={every} must be 1 point or more")
        self._every = every
        self._file: Path | None = None  # on the first process; opened for each batch, so nothing is left open
        self._cooldown: Any = None
        self._failed = False
        self._forget()

    def _forget(self) -> None:
        self._losses: list[torch.Tensor] = []
        self._norms: list[torch.Tensor | float | None] = []
        self._lrs: list[list[float | torch.Tensor]] = []
        self._momenta: list[float | None] = []
        self._phases: list[str] = []
        self._tokens: list[int] = []
        self._skipped: list[int] = []
        self._first = 0
        self._loss: torch.Tensor | None = None
        self._norm: torch.Tensor | float | None = None

    # What host.py hands on

    def saw_loss(self, loss: torch.Tensor) -> None:
        """The loss of a micro-batch, scaled so that those of a step add up to the step's."""
        self._loss = loss if self._loss is None else self._loss + loss

    def saw_grad_norm(self, norm: torch.Tensor | float | None) -> None:
        """The gradient norm of a step, before clipping."""
        self._norm = norm

    # The run

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Opens the file, and notes under what the run goes on."""
        self._forget()
        self._cooldown = getattr(kwargs["lr_scheduler"], "cooldown", None)
        if not state.is_world_process_zero:
            return
        folder = Path(str(args.output_dir)).absolute()  # a script may go to another folder while it trains
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / HISTORY
        self._write({**self._head(state, kwargs["lr_scheduler"], kwargs["optimizer"]), "arguments": told(args)["arguments"]})

    def _head(self, state: TrainerState, scheduler: Any, optimizer: Any) -> dict[str, Any]:
        groups = optimizer.param_groups
        ours = isinstance(scheduler, ScheduleLR)
        return {
            "hf_lrsched": 1,
            "step": state.global_step,
            "groups": [str(group.get("name", i)) for i, group in enumerate(groups)],
            "peaks": [float(group.get("initial_lr", group["lr"])) for group in groups],
            "schedule": to_spec(scheduler.planned) if ours else None,
        }

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """What the update runs under."""
        groups, scheduler = kwargs["optimizer"].param_groups, kwargs["lr_scheduler"]
        if not self._lrs:
            self._first = state.global_step + 1
        self._lrs.append([lr_of(group) for group in groups])
        self._momenta.append(momentum_of(groups[0]))
        self._phases.append(scheduler.schedule.phase(scheduler.last_epoch).name if type(scheduler) is ScheduleLR else "")

    def on_optimizer_step(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Whether the update moved any weights."""
        if getattr(kwargs["optimizer"], "step_was_skipped", False):
            self._skipped.append(state.global_step + 1)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """A step is done; every so many are written."""
        self._losses.append(_NAN if self._loss is None else self._loss)
        self._norms.append(self._norm)
        self._tokens.append(int(state.num_input_tokens_seen))
        self._loss = self._norm = None
        if len(self._losses) >= self._every or control.should_save or control.should_evaluate or control.should_training_stop:
            self._flush()

    def _flush(self) -> None:
        """Fetches what has gathered, and writes it: one transfer for all losses and one for all norms."""
        if not self._losses:
            return
        losses = torch.stack([loss.detach().float().reshape(()).to(self._losses[0].device) for loss in self._losses])
        if PartialState().num_processes > 1:
            losses = _mean_over_processes(losses)
        seen = [loss is not _NAN for loss in self._losses]
        found = [_plain(loss) if known else None for loss, known in zip(losses.tolist(), seen, strict=True)]
        norms = _fetched(self._norms)
        line: dict[str, Any] = {"steps": [self._first, len(self._losses)], "loss": found}
        every = iter(_fetched([lr for lrs in self._lrs for lr in lrs]))
        fetched = [[next(every) for _ in lrs] for lrs in self._lrs]
        line["lr"] = _shared([lrs if len(set(lrs)) > 1 else lrs[0] for lrs in fetched])
        line["grad_norm"] = _shared([_plain(norm) for norm in norms])
        line["momentum"] = _shared(self._momenta)
        line["phase"] = _shared(self._phases)
        if self._tokens[-1]:
            line["tokens"] = self._tokens
        if self._skipped:
            line["skipped"] = self._skipped
        self._write(line)
        loss, norm = self._loss, self._norm
        self._forget()
        self._loss, self._norm = loss, norm

    def _write(self, line: dict[str, Any]) -> None:
        if self._file is None:
            return
        try:
            _close_last_line(self._file)
            with self._file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, separators=(",", ":")) + "\n")
        except OSError as error:  # a record is no reason to lose a run
            if not self._failed:
                logger.warning("points of the run could not be recorded: %s", error)
            self._failed = True

    # What else happens

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Notes the held-out loss."""
        self._flush()
        loss = (kwargs.get("metrics") or {}).get("eval_loss")
        if loss is not None:
            self._write({"step": state.global_step, "eval_loss": _plain(float(loss))})

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Notes the checkpoint."""
        self._flush()
        self._write({"step": state.global_step, "event": "checkpoint", "text": f"checkpoint-{state.global_step}"})

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Notes a cooldown that was decided."""
        cooldown = getattr(kwargs["lr_scheduler"], "cooldown", None)
        if cooldown is not None and cooldown is not self._cooldown:
            self._cooldown = cooldown
            self._flush()
            self._write({"step": cooldown.first, "event": "cooldown", "text": f"{cooldown.reason}, {cooldown.steps} steps"})

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Writes what is left with the last log, so that a picture of the run has it."""
        if trackers.is_over(kwargs.get("logs") or {}):
            self._flush()

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Writes what is left."""
        self._flush()


def lr_of(group: dict[str, Any]) -> float | torch.Tensor:
    """The LR of a parameter group as it is now; a tensor's is copied where it lies, which waits for nothing."""
    lr = group["lr"]
    return lr.detach().clone() if isinstance(lr, torch.Tensor) else float(lr)


def momentum_of(group: dict[str, Any]) -> float | None:
    """Momentum of a parameter group, or beta1 under Adam; None where its optimizer has neither, or has it as a tensor."""
    momentum = group["betas"][0] if "betas" in group else group.get("momentum")
    return None if isinstance(momentum, torch.Tensor) else momentum  # fetching one would wait for the device


_NAN = torch.tensor(math.nan)


def _close_last_line(file: Path) -> None:
    """A killed write may have left half a line; a new one must not be joined to it."""
    if file.exists() and file.stat().st_size:
        with file.open("rb+") as opened:
            opened.seek(-1, os.SEEK_END)
            if opened.read(1) != b"\n":
                opened.write(b"\n")


def _plain(value: float | None) -> float | str | None:
    """A float, rounded to what float32 holds; JSON has no NaN and no infinity, which are written as words."""
    if value is None:
        return None
    return float(f"{value:.8g}") if math.isfinite(value) else str(value)


def _shared(values: list[Any]) -> Any:
    """One value where all are the same."""
    return values[0] if values and all(value == values[0] for value in values) and not isinstance(values[0], list) else values


def _fetched(norms: Sequence[torch.Tensor | float | None]) -> list[float | None]:
    """Tensors in one transfer; what is none as it is."""
    tensors = [norm.detach().float().reshape(()) for norm in norms if isinstance(norm, torch.Tensor)]
    fetched = iter(torch.stack(tensors).tolist() if tensors else [])
    return [next(fetched) if isinstance(norm, torch.Tensor) else (None if norm is None else float(norm)) for norm in norms]


def _mean_over_processes(losses: torch.Tensor) -> torch.Tensor:
    gathered = gather_object([losses.tolist()])
    return torch.tensor(gathered, dtype=torch.float32).mean(dim=0)
