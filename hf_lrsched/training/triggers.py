"""What may start a cooldown, as one process sees it: a signal, the clock, evaluations, a stream's end, a file.

What it does not know: whether the other processes were told the same, and what a cooldown does (`cooldown`).
"""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from transformers import TrainerState, TrainingArguments

from ..runs.files import REQUEST, WORKERS
from .deadlines import Deadline
from .streams import HeldBack, held_back_in

logger = logging.getLogger(__name__)

LATE = 10  # steps between two looks of several processes at each other; on a GPU each look waits for it
_LOOK_AT_FILES = 1.0  # seconds between two looks at the folder, which may lie on a network


class Triggers:
    """Collects what this process is told: `asked` is a reason to start, or None, and `steps` the length it comes with.

    Args:
        finish_by, patience, min_improvement: as for `CooldownCallback`.

    Raises:
        ValueError: for a time that cannot be read or has passed, or a patience below 1.
    """

    def __init__(
        self,
        *,
        finish_by: str | float | datetime | timedelta | None,
        patience: int | None,
        min_improvement: float,
    ) -> None:
        if patience is not None and patience < 1:
            raise ValueError(f"patience={patience} must be 1 evaluation or more")
        self.patience, self._min_improvement = patience, min_improvement
        self._deadline = None if finish_by is None else Deadline(finish_by)
        self._folder = Path()
        self._signal: Any = None
        self._begin_anew()

    def _begin_anew(self) -> None:
        self.asked: str | None = None
        self.steps: int | None = None
        self.urgent = False  # whether it must not wait for the end of the warm-up
        self._best: float | None = None
        self._without = 0
        self._looked = 0.0
        self._said = False
        self._late = 1
        self._stream: HeldBack | None = None
        self._held_steps = 0

    def check(self, args: TrainingArguments, loader: Any) -> None:
        """Looks at what is to be trained on, before anything is done.

        Raises:
            ValueError: where `patience` counts evaluations that never come, or less than a step is held back of a stream.
        """
        self._begin_anew()
        if self.patience is not None and args.eval_strategy == "no":
            raise ValueError(f"patience={self.patience} counts evaluations, and eval_strategy is 'no'; set it to 'steps'")
        self._folder, self._late = Path(str(args.output_dir)), LATE if args.world_size > 1 else 1
        self._stream = held_back_in(loader)
        if self._stream is not None:
            self._held_steps = _steps_held(args, self._stream)

    def begin(self, args: TrainingArguments, state: TrainerState) -> None:
        """Training begins: takes up what the log knows of evaluations, and listens for the signal."""
        if self._stream is not None:
            self._stream.begin()
        for line in state.log_history:
            self.evaluated(args, line)
        if self._deadline is not None:
            self._deadline.begin()
        if threading.current_thread() is threading.main_thread() and hasattr(signal, "SIGUSR1"):
            before = signal.signal(signal.SIGUSR1, self._on_signal)
            if before != self._on_signal:  # it is ours where an earlier training ended in an exception
                self._signal = before
            if told := os.environ.get(WORKERS):
                Path(told, str(os.getpid())).touch()

    def end(self) -> None:
        """Puts the handler of the signal back; where there was none, a late signal must not end the process."""
        if told := os.environ.get(WORKERS):
            Path(told, str(os.getpid())).unlink(missing_ok=True)
        if self._signal is not None:
            signal.signal(signal.SIGUSR1, signal.SIG_IGN if self._signal is signal.SIG_DFL else self._signal)
            self._signal = None

    def _on_signal(self, number: int, frame: Any) -> None:
        del frame
        self.asked = f"signal {signal.Signals(number).name}"

    def step(self) -> None:
        """An optimizer step is done; the clock learns how long one takes."""
        if self._deadline is not None:
            self._deadline.step()

    def evaluated(self, args: TrainingArguments, metrics: dict[str, Any]) -> None:
        """Counts evaluations that do not improve."""
        name = args.metric_for_best_model or "loss"
        value = metrics.get(name if name.startswith("eval_") else f"eval_{name}")
        if value is None:
            self._say_unseen(name, metrics)
            return
        value = -value if args.greater_is_better else value
        if self._best is None or value < self._best - self._min_improvement:
            self._best, self._without = value, 0
        else:
            self._without += 1

    def _say_unseen(self, name: str, metrics: dict[str, Any]) -> None:
        seen = [word for word in metrics if word.startswith("eval_") and word.endswith(("loss", name))]
        if self.patience is not None and seen and not self._said:
            self._said = True
            logger.warning(
                "patience counts %s, and these evaluations report %s; set metric_for_best_model to one of them", name, seen
            )

    def look(self, steps: float) -> None:
        """The clock, the evaluations, the stream and the folder, where a decay would take `steps` steps by itself."""
        if self._deadline is not None and (left := self._deadline.due(steps, self._late)):
            self.asked, self.steps, self.urgent = f"deadline {self._deadline}", left, True
        elif self.patience is not None and self._without >= self.patience:
            self.asked = f"no improvement in {self._without} evaluations"
        elif self._stream is not None and self._stream.ended:
            self.asked, self.steps, self.urgent = "the stream ends", self._held_steps, True
        elif time.monotonic() - self._looked >= _LOOK_AT_FILES:
            self._looked = time.monotonic()
            self._read_request()

    def _read_request(self) -> None:
        request = self._folder / REQUEST
        try:
            text = request.read_bytes().strip()
        except OSError:
            return
        self.asked = f"file {REQUEST}"
        try:
            steps = (json.loads(text) if text else {}).get("steps")
            self.steps = None if steps is None else max(round(float(steps)), 1)
        except (ValueError, TypeError, AttributeError, OverflowError):
            logger.warning('%s holds no JSON such as {"steps": 500}; the cooldown takes its own length', request)

    def forget(self) -> None:
        """What was asked is answered."""
        self.asked = self.steps = None
        (self._folder / REQUEST).unlink(missing_ok=True)


def _steps_held(args: TrainingArguments, stream: HeldBack) -> int:
    each = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
    late = LATE if args.world_size > 1 else 0  # the steps that may pass until all know of the end
    if stream.examples // each - late < 1:
        raise ValueError(
            f"{stream.examples} examples are held back, and a step takes {each}; hold back at least {(1 + late) * each}"
        )
    return int(stream.examples // each - late)
