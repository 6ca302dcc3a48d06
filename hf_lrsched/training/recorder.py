"""The true loss, LR and gradient norm of every optimizer step, in one file beside the checkpoints: `LRRecorder`.

Trainer's log has means over ``logging_steps``, and hides NaN.

What it does not know: how the points are gathered (`points`), and how the file is read (`runs.history`) and drawn (`show`).
"""

from __future__ import annotations

import json
import logging
import math
import os
from pathlib import Path
from typing import Any

from transformers import TrainerControl, TrainerState, TrainingArguments

from ..runs.files import HISTORY
from . import trackers
from .points import Listener, Taken, head

logger = logging.getLogger(__name__)

_BATCH = 100  # points between two writes: what a kill may lose; 100 steps are seconds to minutes of training


class LRRecorder(Listener):
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
        super().__init__(every)
        self._file: Path | None = None  # on the first process; opened for each batch, so nothing is left open
        self._cooldown: Any = None
        self._failed = False
        self._points: list[Taken] = []  # fetched and not yet written

    def took(self, points: list[Taken]) -> None:
        """The next steps."""
        if self._file is not None:
            self._points += points

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Opens the file, and notes under what the run goes on."""
        super().on_train_begin(args, state, control, **kwargs)
        self._points = []
        self._cooldown = getattr(kwargs["lr_scheduler"], "cooldown", None)
        if not state.is_world_process_zero:
            return
        folder = Path(str(args.output_dir)).absolute()  # a script may go to another folder while it trains
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / HISTORY
        self._write({"hf_lrsched": 1, **head(args, state, kwargs["lr_scheduler"], kwargs["optimizer"], kwargs["model"])})

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """A step is done; every so many are written."""
        super().on_step_end(args, state, control, **kwargs)
        if self._waiting >= self._every or control.should_save or control.should_evaluate or control.should_training_stop:
            self.flush()
        return control

    def flush(self) -> None:
        """Writes what has gathered, in one line."""
        self.fetch()
        self._waiting = 0
        if not self._points:
            return
        columns = {name: [getattr(point, name) for point in self._points] for name in Taken._fields}
        line: dict[str, Any] = {"steps": [self._points[0].step, len(self._points)]}
        line["loss"] = [_plain(loss) for loss in columns["loss"]]
        line["lr"] = _shared([list(lrs) if len(set(lrs)) > 1 else lrs[0] for lrs in columns["lrs"]])
        line["grad_norm"] = _shared([_plain(norm) for norm in columns["grad_norm"]])
        line["momentum"] = _shared(columns["momentum"])
        line["phase"] = _shared(columns["phase"])
        if columns["tokens"][-1]:
            line["tokens"] = columns["tokens"]
        if any(columns["skipped"]):
            line["skipped"] = [point.step for point in self._points if point.skipped]
        self._write(line)
        self._points = []

    def note(self, step: int, kind: str, text: str) -> None:
        """Notes that something happened at a step."""
        self._write({"step": step, "event": kind, "text": text})

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
        self.flush()
        loss = (kwargs.get("metrics") or {}).get("eval_loss")
        if loss is not None:
            self._write({"step": state.global_step, "eval_loss": _plain(float(f"{float(loss):.8g}"))})

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Notes the checkpoint."""
        self.flush()
        self.note(state.global_step, "checkpoint", f"checkpoint-{state.global_step}")

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Notes a cooldown that was decided."""
        cooldown = getattr(kwargs["lr_scheduler"], "cooldown", None)
        if cooldown is not None and cooldown is not self._cooldown:
            self._cooldown = cooldown
            self.flush()
            self.note(cooldown.first, "cooldown", f"{cooldown.reason}, {cooldown.steps} steps")

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Writes what is left with the last log, so that a picture of the run has it."""
        if trackers.is_over(kwargs.get("logs") or {}):
            self.flush()

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Writes what is left."""
        self.flush()


def _close_last_line(file: Path) -> None:
    """A killed write may have left half a line; a new one must not be joined to it."""
    if file.exists() and file.stat().st_size:
        with file.open("rb+") as opened:
            opened.seek(-1, os.SEEK_END)
            if opened.read(1) != b"\n":
                opened.write(b"\n")


def _plain(value: float | None) -> float | str | None:
    """JSON has no NaN and no infinity, which are written as words."""
    return value if value is None or math.isfinite(value) else str(value)


def _shared(values: list[Any]) -> Any:
    """One value where all are the same."""
    return values[0] if values and all(value == values[0] for value in values) and not isinstance(values[0], list) else values
