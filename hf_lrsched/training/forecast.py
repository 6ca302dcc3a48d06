"""What a cooldown that started now would reach, told while a stable run goes on: `LRForecast`.

What it does not know: how the points are gathered (`points`) and kept (`seen`), the law and its intervals
(`runs.forecast`), and when a cooldown does start (`cooldown`).
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from transformers import TrainerControl, TrainerState, TrainingArguments

from ..runs.history import History
from ..runs.reading import read_history
from ..schedules.lengths import Length
from ..schedules.phase import fall, hold
from ..schedules.schedule import Schedule
from ..schedules.shapes import parse
from ..schedules.splice import cut
from . import trackers
from .cooldown import CooldownCallback
from .foreseen import is_early
from .points import Listener, Taken
from .recorder import LRRecorder
from .scheduler import ScheduleLR
from .seen import Seen, before

if TYPE_CHECKING:
    from ..runs.forecast import Forecast, Law
    from ..runs.forecast.observed import Quantity

logger = logging.getLogger(__name__)

Run = History | str | Path
Loss = Literal["auto", "eval_loss", "loss"]
LOSSES = ("auto", "eval_loss", "loss")

_BATCH = 100  # steps between two fetches from the device, as LRRecorder's
_MORE = 0.1  # of the steps up to now, for what going on is worth: half of what a cooldown of 20 % takes


class LRForecast(Listener):
    """Logs on a stable run what a cooldown that started now would reach, and what going on before it would still gain.

    A run is stable while it is at its peak after the warm-up: `wsd` before its decay, a constant schedule, a run that
    `CooldownCallback` ends. Where the learning rate has left its peak this says so once, and is silent from there on.

    At each evaluation, or every so many steps, the laws are fitted (`fit_law`) to what the run has shown until then, with the
    `runs` of before. In ``state.log_history``, and at the trackers, are then: ``cooldown_loss``, ``cooldown_loss_low`` and
    ``cooldown_loss_high``: a prediction of the loss at the end of that cooldown, with its 90 % interval; ``cooldown_end``:
    the step of that end; ``cooldown_gain``, ``cooldown_gain_low`` and ``cooldown_gain_high``: by how much lower the loss is
    predicted to end where the run goes on for another tenth of its steps first. ``state.log_history`` also has
    ``cooldown_of``: ``eval_loss`` or ``loss``; the trackers, which take numbers only, get those of a held-out loss as
    ``eval_cooldown_loss`` and so on. A forecast that cannot be made is told, each reason once, and ends no run.

    Without a tracker the numbers are in ``trainer.state.log_history``, which each checkpoint's ``trainer_state.json`` holds,
    and in one line each that is logged at INFO: ``logging.getLogger("hf_lrsched").setLevel("INFO")`` with a handler that
    shows it. A forecast takes 0.07 to 0.3 s on the first process, the longer with a long log or three earlier runs, and the
    others wait for it at their next exchange: ``every=1``, or an evaluation every few steps, costs that much each time.

    The learning rate is that of the first parameter group whose peak is above 0, so a first group that is frozen is passed
    over. A run has one LRForecast, as two would write under the same names.

    Args:
        runs: earlier runs of the same set-up: histories, files or folders. Without any the laws rest on this run alone and on
            their priors, and a run that has not decayed yet says little about a decay.
        steps, shape: of the cooldown, as `CooldownCallback` takes them, and by default as the run's own has them.
        every: forecast every so many steps, instead of at each evaluation.
        loss: which to forecast. ``"auto"`` is the held-out loss where the run is evaluated and each of `runs` has 8 or more
            of them behind its beginning, as `fit_law` has it, else the training loss; the two are never mixed.

    >>> from transformers import Trainer
    >>> Trainer(..., callbacks=[CooldownCallback(finish_by="18:00"), LRForecast(["earlier"])]).train()  # doctest: +SKIP

    Raises:
        ValueError: for a length or a shape that cannot be read, an `every` below 1, a `loss` that there is none of; and as
            training begins, for a second LRForecast.
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
        self._typed = None if steps is None else CooldownCallback(steps)
        self._shape = None if shape is None else str(parse(shape))
        self._asked, self._loss = every, loss
        self._begin(CooldownCallback(), TrainerState(), None)

    def _begin(self, own: CooldownCallback, state: TrainerState, scheduler: Any, group: int = 0) -> None:
        """Forgets the training before."""
        self._own = own  # the run's, where it has one; else one that never starts
        self._state, self._scheduler, self._group = state, scheduler, group
        self._quantity: Quantity = "loss"
        self.seen = Seen()  # on the first process, as is the next
        self.forecast: Forecast | None = None  # the last one
        self._earlier: Law | None = None  # fitted to `runs` alone, once
        self._trains = self._due = self._over = False
        self._decayed = False  # whether a forecast, or a fall, lies before the resume
        self._evaluated = 0  # the last step that was
        self._told: set[str] = set()
        self._early = ""  # why there is no forecast yet

    # The beginning

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Takes up what the run has been so far, and says where no forecast can come."""
        super().on_train_begin(args, state, control, **kwargs)
        callbacks = [] if self._trainer is None else self._trainer.callback_handler.callbacks
        several = sum(isinstance(one, LRForecast) for one in callbacks)
        if several > 1:
            raise ValueError(f"{several} LRForecasts would write under the same names; give one, with all earlier runs")
        own = next((one for one in callbacks if isinstance(one, CooldownCallback)), CooldownCallback())
        peaks = [float(group.get("initial_lr", group["lr"])) for group in kwargs["optimizer"].param_groups]
        group = next((i for i, peak in enumerate(peaks) if peak > 0), 0)
        self._begin(own, state, kwargs["lr_scheduler"], group)
        self._trains = True
        if not state.is_world_process_zero:
            return
        self._quantity = self._chosen(args)
        if self._trainer is None:
            self._say("LRForecast was not shown its Trainer, so it sees no loss; call hf_lrsched.register() before training")
        elif self._asked is None and not _evaluates(args):
            self._say("LRForecast speaks at evaluations, and eval_strategy is 'no'; set it, or give LRForecast(every=...)")
        if state.global_step:
            recorded = any(isinstance(one, LRRecorder) for one in self._listeners)
            run = before(Path(str(args.output_dir)), state, recorded=recorded)
            self.seen = Seen.of(run, until=state.global_step, group=group)
            self._decayed = self.seen.fell or any("cooldown_loss" in line for line in state.log_history)

    def _chosen(self, args: TrainingArguments) -> Quantity:
        """The loss that is forecast: as asked, or the held-out one where this run and those before have it."""
        from ..runs.forecast.observed import quantity_of

        has = _evaluates(args) and not isinstance(getattr(self._trainer, "eval_dataset", None), dict)
        return quantity_of(self.runs, self._loss if has or self._loss != "auto" else "loss", None)

    # Every step

    def took(self, points: list[Taken]) -> None:
        """Keeps the next steps, on the first process."""
        self._waiting = 0
        if self._state.is_world_process_zero:
            for one in points:
                if not one.skipped:
                    self.seen.add(one.step, math.nan if one.loss is None else one.loss, one.lrs[self._group])

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
        """What is evaluated from now on does not belong to the run; where it never had enough losses, that is said."""
        self._trains = False
        if self._early:
            self._say(f"the run has ended without a forecast: {self._early}")

    # The forecast

    def _tell(self) -> None:
        """To be called on every process; the first one forecasts, and no other waits for what it finds."""
        self.fetch()
        self._due = False
        if not self._state.is_world_process_zero or self._over or not self.seen.at_peak:
            return
        if self.seen.fell:
            self._over, early, self._early = True, self._early, ""
            text = "no forecast from now on, as the learning rate has left its peak: LRForecast is for what is before"
            self._say(
                f"{text}; until here there were {early}" if early else text,
                logging.INFO if self.forecast or self._decayed else logging.WARNING,
            )
            return
        self._early = ""
        try:
            self._log(*self._forecasts())
        except _Early as error:
            self._early = str(error)
            self._say(f"no forecast at step {self._state.global_step}: {error}", logging.INFO)
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
        losses = run.eval_loss if self._quantity == "eval_loss" else run.loss
        if np.isfinite(losses).all() and is_early(run, self._quantity):  # one that has diverged is not followed
            self._check_followed()
            law = self._earlier = self._earlier or fit_law(self.runs, loss=self._quantity)
            peak = float(run.lr[-1, 0])
            now, later = (law.predict(self._schedule(more, shape, to), peak_lr=peak) for more in after)
        else:
            law = fit_law([*self.runs, run], loss=self._quantity)
            now, later = (law.cooldown_now(run, self._length(step + more), shape=shape, to=to, after=more) for more in after)
        return now, law.gap(now, later)

    def _check_followed(self) -> None:
        """Whether earlier runs can speak for this one while it has too few losses.

        Raises:
            _Early: where there are none, or its schedule cannot be followed beforehand.
        """
        from ..runs.forecast.observed import FEWEST, WORDS

        few = f"too few {WORDS[self._quantity]} yet, and a law needs {FEWEST} behind the beginning of a run"
        if not self.runs:
            raise _Early(f"{few}; evaluate more often, or give an earlier run, LRForecast([...])")
        if not isinstance(self._scheduler, ScheduleLR):
            raise _Early(
                f"{few}; {type(self._scheduler).__name__} is no schedule of hf_lrsched that could be followed before"
            )

    def _length(self, step: int) -> int:
        """Steps of a cooldown that starts at `step`."""
        return round((self._typed or self._own).steps_after(step))

    def _history(self) -> History:
        """The run so far, as a law reads it."""
        log: list[dict[str, Any]] = self._state.log_history
        held_out = [{"step": line["step"], "eval_loss": line["eval_loss"]} for line in log if "eval_loss" in line]
        known: dict[str, Any] = {"source": "this run", "total": self._state.max_steps, "averaged": self.seen.width}
        if isinstance(self._scheduler, ScheduleLR):
            known |= {"schedule": self._scheduler.planned, "peak": (float(self._scheduler.base_lrs[self._group]),)}
        return History.of([*self.seen.lines(), *(line for line in held_out if line["step"] > 0)], **known)

    def _schedule(self, after: int, shape: str, to: float) -> Schedule:
        """The run's schedule up to now and for so many steps more at its peak, and then the cooldown."""
        step, at = self._state.global_step, self._scheduler.last_epoch
        high = self._scheduler.planned(max(at - 1, 0))
        cooldown = fall(self._length(step + after), shape, start=high, to=to * high)
        return cut(self._scheduler.planned, at) >> hold(step - at + after, at=high) >> cooldown

    def _log(self, now: Forecast, gain: tuple[float, float, float]) -> None:
        from ..show.foretold import interval, places, shown

        first, self.forecast = self.forecast is None, now
        low, high = now.interval()
        scalars = {"cooldown_loss": now.final, "cooldown_loss_low": low, "cooldown_loss_high": high}
        scalars |= dict(zip(("cooldown_gain", "cooldown_gain_low", "cooldown_gain_high"), gain, strict=True))
        scalars["cooldown_end"] = float(now.steps)
        step, log = self._state.global_step, self._state.log_history
        line: dict[str, Any] = {"step": step, "epoch": self._state.epoch, **scalars, "cooldown_of": now.quantity}
        log.append(line)
        logger.info(
            "step %d: a cooldown of %d steps from here on is predicted to end at %s; a tenth later it would end %s lower "
            "(90 %%: %s to %s)",
            *(step, now.steps - step, interval(now), *(shown(value, places(now)) for value in gain)),
        )
        for caution in now.cautions if first else ():
            logger.info("of these forecasts: %s", caution)
        of = "eval_" if now.quantity == "eval_loss" else ""  # as trackers group them; no word could be sent
        try:
            if self._trainer is not None:
                trackers.report(self._trainer, {f"{of}{name}": value for name, value in scalars.items()})
        except Exception as error:  # whatever a tracker raises: a word to it is no reason to lose a forecast
            self._say(f"a tracker could not be told the forecast: {error}")

    def _say(self, text: str, level: int = logging.WARNING) -> None:
        """Once a training, whatever numbers are in it."""
        kind = _NUMBER.sub("", text)
        if kind not in self._told:
            logger.log(level, "%s", text)
        self._told.add(kind)


class _Early(ValueError):
    """The run has too few losses yet: a stage that every run goes through."""


_NUMBER = re.compile(r"\d[\d.,e+-]*")


def _evaluates(args: TrainingArguments) -> bool:
    return str(getattr(args.eval_strategy, "value", args.eval_strategy)) != "no"
