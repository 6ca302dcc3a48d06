"""A picture of the run while it goes on, in its folder and where the Trainer reports to: `LRPlot`.

What it does not know: how the picture looks (`show.plot`), and how a tracker is handed one (`trackers`).
"""

from __future__ import annotations

import logging
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ..runs.files import HISTORY, PICTURE
from ..runs.history import History
from ..runs.reading import read_history
from ..schedules.schedule import Schedule
from . import trackers
from .points import lr_of, momentum_of
from .recorder import LRRecorder
from .scheduler import ScheduleLR

logger = logging.getLogger(__name__)

_SHARE = 0.01  # of the time between two pictures may go into drawing one: a hundredth is less than a run varies by itself
_FIRST = 0.3  # seconds that the first is taken to cost, so that one comes after half a minute


class LRPlot(TrainerCallback):
    """Draws ``lr_and_loss.png`` in the run's folder, during the run and at its end, and tells the trackers about the LR.

    With `LRRecorder` among the callbacks the picture has every step, else what Trainer has logged. It is drawn again when
    something is logged or evaluated, and no sooner than the drawing takes up a hundredth of the time. Where the Trainer
    reports to TensorBoard, W&B or Trackio, the picture goes there too. Every tracker is told, with each log, the LR of every
    group (``lr/NAME``), momentum, and the phase: its place in the schedule, from 0.

    Args:
        log_lr, log_loss: logarithmic axes.

    >>> from transformers import Trainer
    >>> Trainer(..., callbacks=[LRRecorder(), LRPlot()]).train()  # doctest: +SKIP

    Raises:
        ModuleNotFoundError: without matplotlib, with the line that installs it.
    """

    def __init__(self, *, log_lr: bool = False, log_loss: bool = False) -> None:
        if find_spec("matplotlib") is None:
            raise ModuleNotFoundError("LRPlot needs matplotlib: pip install 'hf-lrsched[plot]'")
        self._axes = {"log_lr": log_lr, "log_loss": log_loss}
        self._trainer: Any = None
        self._lrs: list[Any] = []
        self._momentum: float | None = None
        self._phase: int | None = None
        self._drawn, self._cost = 0.0, _FIRST
        self._said: set[str] = set()
        self._trains = False

    def saw_trainer(self, trainer: Any) -> None:
        """The Trainer as it begins to train: its callbacks are where it reports to, and this goes behind the recorder."""
        self._trainer = trainer
        callbacks = trainer.callback_handler.callbacks
        callbacks.append(callbacks.pop(callbacks.index(self)))

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """The clock starts."""
        self._drawn, self._trains = time.monotonic(), True

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """What is evaluated from now on does not belong to the picture's run."""
        self._trains = False

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """What the update runs under; a log that comes after it speaks of it."""
        groups, scheduler = kwargs["optimizer"].param_groups, kwargs["lr_scheduler"]
        self._lrs = [lr_of(group) for group in groups]
        self._momentum = momentum_of(groups[0])
        ours = type(scheduler) is ScheduleLR
        self._phase = scheduler.schedule.index(scheduler.last_epoch) if ours else None

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Tells the trackers; draws where it is time, and at the run's end, while the trackers still listen."""
        if not state.is_world_process_zero or not self._trains:
            return
        logs = kwargs.get("logs") or {}
        over = trackers.is_over(logs)
        if "loss" in logs and self._lrs and self._trainer is not None:
            trackers.report(self._trainer, self._scalars(kwargs["optimizer"].param_groups))
        if over or time.monotonic() - self._drawn > self._cost / _SHARE:
            self._draw(args, state, kwargs.get("lr_scheduler"))

    def _scalars(self, groups: list[dict[str, Any]]) -> dict[str, float]:
        names = [str(group.get("name", i)) for i, group in enumerate(groups)]
        scalars = {f"lr/{name}": float(lr) for name, lr in zip(names, self._lrs, strict=True)}
        if self._momentum is not None:
            scalars["momentum"] = float(self._momentum)
        return scalars if self._phase is None else {**scalars, "phase": float(self._phase)}

    def _draw(self, args: TrainingArguments, state: TrainerState, scheduler: Any) -> None:
        from ..show.plot import lr_and_loss

        start = time.monotonic()
        file = Path(str(args.output_dir)) / PICTURE
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            schedule = scheduler.schedule if isinstance(scheduler, ScheduleLR) else None
            history = self._history(file.parent, state, schedule)
            if len(history) or len(history.eval_step):
                figure = lr_and_loss(history, file, schedule=schedule, **self._axes)
                if self._trainer is not None:
                    trackers.report_figure(self._trainer, "lr_and_loss", figure, file)
        except Exception as error:  # whatever a tracker raises: a picture is no reason to lose a run
            if str(error) not in self._said:
                self._said.add(str(error))
                logger.warning("no picture of the run could be drawn: %s", error)
        self._drawn = time.monotonic()
        self._cost = self._drawn - start

    def _history(self, folder: Path, state: TrainerState, schedule: Schedule | None) -> History:
        callbacks = [] if self._trainer is None else self._trainer.callback_handler.callbacks
        if any(isinstance(callback, LRRecorder) for callback in callbacks) and (folder / HISTORY).is_file():
            try:
                return read_history(folder / HISTORY)
            except ValueError:  # the recorder has not written its first batch
                return History.of([])
        return History.of(state.log_history, schedule=schedule, averaged=max(1, int(state.logging_steps)))
