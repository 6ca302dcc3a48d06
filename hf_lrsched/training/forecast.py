"""What a cooldown that started now would reach, told while a stable run goes on: `LRForecast`.

What it does not know: how the points are gathered (`points`), the law and its intervals (`runs.forecast`), and when a
cooldown does start (`cooldown`).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from transformers import TrainerControl, TrainerState, TrainingArguments

from ..runs.files import HISTORY
from ..runs.history import History
from ..runs.reading import read_history
from ..schedules.lengths import Length
from ..schedules.phase import fall, hold
from ..schedules.schedule import Schedule
from ..schedules.shapes import parse
from ..schedules.splice import cut
from . import trackers
from .cooldown import CooldownCallback
from .foreseen import usable
from .points import Listener, Taken
from .recorder import LRRecorder
from .scheduler import ScheduleLR

if TYPE_CHECKING:
    from ..runs.forecast import Forecast, Law
    from ..runs.forecast.observed import Quantity

logger = logging.getLogger(__name__)

Run = History | str | Path
Loss = Literal["auto", "eval_loss", "loss"]
LOSSES = ("auto", "eval_loss", "loss")

_BATCH = 100  # steps between two fetches from the device, as LRRecorder's
_MOST = 1000  # stretches that are kept of a run; a law is fitted to 80 means of them
_MORE = 0.1  # of the steps up to now, for what going on is worth: half of what a cooldown of 20 % takes
_EQUAL = 1e-6  # of the peak: an LR held in float32 misses it by less


class LRForecast(Listener):
    """Logs on a stable run what a cooldown that started now would reach, and what going on before it would still gain.

    A run is stable while it is at its peak after the warm-up: `wsd` before its decay, a constant schedule, a run that
    `CooldownCallback` ends. Where the learning rate has left its peak this says so once, and is silent from there on.

    At each evaluation, or every so many steps, the laws are fitted (`fit_law`) to what the run has shown until then, with the
    `runs` of before. In ``state.log_history``, and at the trackers, are then: ``cooldown_loss``, ``cooldown_loss_low`` and
    ``cooldown_loss_high``: a prediction of the loss at the end of that cooldown, with its 90 % interval; ``cooldown_end``:
    the step of that end; ``cooldown_gain``, ``cooldown_gain_low`` and ``cooldown_gain_high``: by how much lower the loss is
    predicted to end where the run goes on for another tenth of its steps first. ``state.log_history`` also has
    ``cooldown_of``: ``eval_loss`` or ``loss``. A forecast that cannot be made is told with the reason, and ends no run.

    Args:
        runs: earlier runs of the same set-up: histories, files or folders. Without any the laws rest on this run alone and on
            their priors, and a run that has not decayed yet says little about a decay.
        steps, shape: of the cooldown, as `CooldownCallback` takes them, and by default as the run's own has them.
        every: forecast every so many steps, instead of at each evaluation.
        loss: which to forecast. ``"auto"`` is the held-out loss where the run is evaluated and all `runs` were, else the
            training loss; the two are never mixed.

    >>> from transformers import Trainer
    >>> Trainer(..., callbacks=[CooldownCallback(finish_by="18:00"), LRForecast(["earlier"])]).train()  # doctest: +SKIP

    Raises:
        ValueError: for a length or a shape that cannot be read, an `every` below 1, a `loss` that there is none of.
        FileNotFoundError: where one of `runs` is not there.
    """

    def __init__(
        self,
        runs: Run | Sequence[Run] = (),
        *,
        steps: Length | None = None,
        shape: str | None = None,
        every: int | None = None,
        loss: Loss = "auto",
    ) -> None:
        super().__init__(_BATCH)
        if every is not None and every < 1:
            raise ValueError(f"every={every} must be 1 step or more")
        if loss not in LOSSES:
            raise ValueError(f"loss={loss!r} must be one of {', '.join(LOSSES)}")
        given = [runs] if isinstance(runs, History | str | Path) else list(runs)
        self.runs = [run if isinstance(run, History) else read_history(run) for run in given]
        self.forecast: Forecast | None = None  # the last one, on the first process
        self._typed = None if steps is None else CooldownCallback(steps)
        self._shape = None if shape is None else str(parse(shape))
        self._own = CooldownCallback()  # the run's, where it has one; this one never starts
        self._asked, self._loss = every, loss
        self._quantity: Quantity = "loss"
        self._state: TrainerState = TrainerState()
        self._args: Any = None
        self._scheduler: Any = None
        self._seen = Seen()
        self._earlier: Law | None = None  # fitted to `runs` alone, once
        self._trains = self._due = self._over = False
        self._evaluated = 0  # the last step that was
        self._silent = ""  # why nothing is told, since the last forecast

    # The beginning

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Takes up what the run has been so far, and says where no forecast can come."""
        super().on_train_begin(args, state, control, **kwargs)
        callbacks = [] if self._trainer is None else self._trainer.callback_handler.callbacks
        self._own = next((one for one in callbacks if isinstance(one, CooldownCallback)), CooldownCallback())
        self._args, self._state, self._scheduler = args, state, kwargs["lr_scheduler"]
        self._trains, self._due, self._over, self._silent = True, False, False, ""
        self._seen, self.forecast, self._evaluated = Seen(), None, 0
        if not state.is_world_process_zero:
            return
        evaluates = _evaluates(args) and not isinstance(getattr(self._trainer, "eval_dataset", None), dict)
        held_out = evaluates and all(len(run.eval_step) for run in self.runs)
        self._quantity = self._loss if self._loss != "auto" else "eval_loss" if held_out else "loss"
        if self._trainer is None:
            self._say("LRForecast was not shown its Trainer, so it sees no loss; call hf_lrsched.register() before training")
        elif self._asked is None and not _evaluates(args):
            self._say("LRForecast speaks at evaluations, and eval_strategy is 'no'; set it, or give LRForecast(every=...)")
        if state.global_step:
            self._seen.take(self._before(args, state), state.global_step)

    def _before(self, args: TrainingArguments, state: TrainerState) -> History:
        """The run before it was resumed: every step where `LRRecorder` has written them all, else what Trainer logged."""
        file = Path(str(args.output_dir)) / HISTORY
        if any(isinstance(one, LRRecorder) for one in self._listeners) and file.is_file():
            try:
                written = read_history(file)
            except ValueError:  # nothing of it could be read
                written = History.of([])
            if len(written) and written.step[0] == 1:
                return written
        return History.of(state.log_history, averaged=max(1, int(state.logging_steps)))

    # Every step

    def took(self, points: list[Taken]) -> None:
        """Keeps the next steps, on the first process."""
        self._waiting = 0
        if self._state.is_world_process_zero:
            for one in points:
                if not one.skipped:
                    self._seen.add(one.step, math.nan if one.loss is None else one.loss, one.lrs[0])

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """A step is done; forecasts where it is time, and behind the evaluation where one comes."""
        super().on_step_end(args, state, control, **kwargs)
        self._due |= self._asked is not None and state.global_step % self._asked == 0
        if self._due and not control.should_evaluate:
            self._tell()
        return control

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Forecasts with the held-out loss."""
        here, self._evaluated = self._evaluated == state.global_step, state.global_step  # once, of several data sets
        if self._trains and state.global_step and not here and (self._due or self._asked is None):
            self._tell()

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """What is evaluated from now on does not belong to the run."""
        self._trains = False

    # The forecast

    def _tell(self) -> None:
        """To be called on every process; the first one forecasts, and no other waits for what it finds."""
        self.fetch()
        self._due = False
        if not self._state.is_world_process_zero or self._over or not self._seen.at_peak:
            return
        if self._seen.fell:
            self._over, self._silent = True, ""
            text = "no forecast from now on, as the learning rate has left its peak: LRForecast is for what is before"
            self._say(text, logging.INFO if self.forecast else logging.WARNING)
            return
        try:
            self._log(*self._forecasts())
        except ValueError as error:
            self._say(f"no forecast at step {self._state.global_step}: {error}")
        except Exception as error:  # whatever a law or a tracker does: a forecast is no reason to lose a run
            self._over = True
            self._say(f"no forecast from now on, as one failed: {type(error).__name__}: {error}")

    def _forecasts(self) -> tuple[Forecast, tuple[float, float, float]]:
        """Of a cooldown now, and by how much one a tenth later ends lower, with the 90 % interval of that.

        Raises:
            ValueError: where the law refuses.
        """
        from ..runs.forecast import fit_law

        step = self._state.global_step
        after = (0, max(round(_MORE * step), 1))
        shape, to = self._shape or self._own.shape, self._own.to
        run = self._history()
        if self.runs and self._is_early(run):
            law = self._earlier = self._earlier or fit_law(self.runs, loss=self._quantity)
            peak = float(run.lr[-1, 0])
            now, later = (law.predict(self._schedule(more, shape, to), peak_lr=peak) for more in after)
        else:
            law = fit_law([*self.runs, run], loss=self._quantity)
            now, later = (law.cooldown_now(run, self._length(step + more), shape=shape, to=to, after=more) for more in after)
        return now, law.gap(now, later)

    def _is_early(self, run: History) -> bool:
        """Whether this run has too few losses yet; one that has diverged has not."""
        from ..runs.forecast.observed import FEWEST

        losses = run.eval_loss if self._quantity == "eval_loss" else run.loss
        return len(losses) < 2 * FEWEST and bool(np.isfinite(losses).all()) and not usable(run, self._quantity)

    def _length(self, step: int) -> int:
        """Steps of a cooldown that starts at `step`."""
        return round((self._typed or self._own).steps_after(step))

    def _history(self) -> History:
        """The run so far, as a law reads it."""
        log: list[dict[str, Any]] = self._state.log_history
        held_out = [{"step": line["step"], "eval_loss": line["eval_loss"]} for line in log if "eval_loss" in line]
        known: dict[str, Any] = {"source": "this run", "total": self._state.max_steps, "averaged": self._seen.width}
        if isinstance(self._scheduler, ScheduleLR):
            known |= {"schedule": self._scheduler.planned, "peak": tuple(map(float, self._scheduler.base_lrs))}
        return History.of([*self._seen.lines(), *(line for line in held_out if line["step"] > 0)], **known)

    def _schedule(self, after: int, shape: str, to: float) -> Schedule:
        """The run's schedule up to now and for so many steps more at its peak, and then the cooldown."""
        if not isinstance(self._scheduler, ScheduleLR):
            raise ValueError(
                f"this run has too few losses yet, and {type(self._scheduler).__name__} is no schedule of hf_lrsched that "
                "could be followed beforehand"
            )
        step, at = self._state.global_step, self._scheduler.last_epoch
        high = self._scheduler.planned(max(at - 1, 0))
        cooldown = fall(self._length(step + after), shape, start=high, to=to * high)
        return cut(self._scheduler.planned, at) >> hold(step - at + after, at=high) >> cooldown

    def _log(self, now: Forecast, gain: tuple[float, float, float]) -> None:
        first, self.forecast, self._silent = self.forecast is None, now, ""
        low, high = now.interval()
        scalars = {"cooldown_loss": now.final, "cooldown_loss_low": low, "cooldown_loss_high": high}
        scalars |= dict(zip(("cooldown_gain", "cooldown_gain_low", "cooldown_gain_high"), gain, strict=True))
        scalars["cooldown_end"] = float(now.steps)
        step, log = self._state.global_step, self._state.log_history
        line: dict[str, Any] = {"step": step, "epoch": self._state.epoch, **scalars, "cooldown_of": now.quantity}
        log.append(line)
        logger.info(
            "step %d: a cooldown of %d steps from here on is predicted to end at %.4f (90 %%: %.4f to %.4f); a tenth later "
            "it would end %.4f lower (90 %%: %.4f to %.4f)",
            *(step, now.steps - step, now.final, low, high, *gain),
        )
        for caution in now.cautions if first else ():
            logger.info("of these forecasts: %s", caution)
        try:
            if self._trainer is not None:
                trackers.report(self._trainer, scalars)
        except Exception as error:  # whatever a tracker raises: a word to it is no reason to lose a forecast
            self._say(f"a tracker could not be told the forecast: {error}")

    def _say(self, text: str, level: int = logging.WARNING) -> None:
        """Once until there is a forecast."""
        if not self._silent:
            logger.log(level, "%s", text)
        self._silent = text


class Seen:
    """What a run has shown: mean losses over stretches of steps, so many at most, and whether it stays at its peak.

    >>> seen = Seen(most=2)
    >>> for step in range(1, 6):
    ...     seen.add(step, loss=float(step), lr=1e-3)
    >>> seen.width, [line["loss"] for line in seen.lines()]
    (4, [2.5, 5.0])
    """

    def __init__(self, most: int = _MOST) -> None:
        self.width, self._most = 1, most
        self._rows: dict[int, list[float]] = {}  # by stretch: its last step, sum of losses, steps, LR of the last one
        self.peak, self.flat, self.fell = -1.0, 0, False

    @property
    def at_peak(self) -> bool:
        """Whether the warm-up is over: the learning rate has stayed where it is, or has fallen."""
        return self.fell or self.flat > 0

    def add(self, step: int, loss: float, lr: float, steps: int = 1) -> None:
        """A loss, in the mean over `steps` steps up to `step`, and the learning rate of that one."""
        self._follow(lr)
        row = self._rows.setdefault((step - 1) // self.width, [step, 0.0, 0, lr])
        row[:] = [step, row[1] + steps * loss, row[2] + steps, lr]
        while len(self._rows) > self._most:
            rows, self._rows, self.width = self._rows, {}, 2 * self.width
            for last, total, count, at in rows.values():
                row = self._rows.setdefault((int(last) - 1) // self.width, [last, 0.0, 0, at])
                row[:] = [last, row[1] + total, row[2] + count, at]

    def _follow(self, lr: float) -> None:
        if lr > self.peak * (1 + _EQUAL):
            self.peak, self.flat = lr, 0
        elif lr < self.peak * (1 - _EQUAL):
            self.fell = True
        else:
            self.flat += 1

    def take(self, run: History, until: int) -> None:
        """What a run has been up to a step."""
        before = 0
        for step, loss, lr, logged in zip(
            run.step.tolist(), run.loss.tolist(), run.lr[:, 0].tolist(), run.logged, strict=True
        ):
            if step <= until and logged and not math.isnan(lr):
                self.add(step, loss, lr, min(run.averaged, step - before))
                before = step

    def lines(self) -> list[dict[str, float]]:
        """As a log has them."""
        return [{"step": last, "loss": total / count, "lr": lr} for last, total, count, lr in self._rows.values()]


def _evaluates(args: TrainingArguments) -> bool:
    return str(getattr(args.eval_strategy, "value", args.eval_strategy)) != "no"
