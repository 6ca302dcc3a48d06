"""Ends a run on demand: `CooldownCallback` starts the decay when it is told to, and the run stops by itself behind it.

``max_steps`` is a ceiling that is only ever lowered. The state before the decay is saved as a branch point, and the decision
is written beside it (``cooldown.json``), so that a run killed during the decay resumes in the decay.

What it does not know: what tells a process to start (`triggers`), and how a decay is applied to an optimizer (`scheduler`).
"""

from __future__ import annotations

import json
import logging
import math
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import PartialState
from transformers import TrainerControl, TrainerState, TrainingArguments

from ..runs.files import RECORD
from ..schedules.checks import share as checked_share
from ..schedules.lengths import Horizon, Length
from ..schedules.schedule import Schedule
from ..schedules.shapes import parse
from .checkpoints import Checkpoints, write
from .registration import first_process, planned
from .resume import Cooldown
from .scheduler import ScheduleLR
from .together import agreed, first_said
from .triggers import LATE, Triggers

logger = logging.getLogger(__name__)

_NO_RUN = 10**8  # steps that nobody means: the longest published pre-training runs take a few million
_OPEN = 10**12  # a horizon for lengths that no run's end bounds


class CooldownCallback(Checkpoints):
    """Starts the decay of an open-ended run when told to; the run stops when the decay is over.

    It is told by whatever comes first of: the step or the number of tokens in `at`; the clock (`finish_by`); evaluations that
    no longer improve (`patience`); the end of a stream; SIGUSR1 sent to any worker (their ids are in the run's folder, in
    ``hf_lrsched_run.json``); a file ``cooldown.request`` in the run's folder, which ``hf-lrsched cooldown RUN`` writes; and,
    at the latest, ``max_steps`` coming near. All processes start at the same step.

    Args:
        steps: length of the decay: steps, tokens, or a share of the whole run as it will have been: 0.2 after 800 steps is
            200 steps. By default 20 %, as `wsd`. A request may name another.
        shape, to: of the decay, and the share of the peak it ends at.
        at: start here: steps, or ``"1.5B tokens"``.
        finish_by: be finished by then: ``"18:00"`` (today's or tomorrow's), ``"2026-11-24 06:00"`` or a `datetime`; or within
            ``"6h"``, ``"90 min"`` or a `timedelta` of the start of this process's training. The time of a step is learnt;
            where less is left than the decay takes, it is shortened.
        patience: start after so many evaluations without an improvement by more than `min_improvement` (as Transformers'
            EarlyStoppingCallback counts) of ``metric_for_best_model`` or the held-out loss.
        min_improvement: see `patience`.
        tokens_per_step: tokens in an optimizer step, for lengths in tokens.

    Use it with a schedule that stays at its peak, and a warm-up in steps, so that nothing depends on the ceiling:

    >>> from transformers import Trainer, TrainingArguments
    >>> args = TrainingArguments(
    ...     "out", max_steps=10**9, lr_scheduler_type="wsd", lr_scheduler_kwargs={"warmup": 500, "decay": 0}
    ... )  # doctest: +SKIP
    >>> Trainer(..., args=args, callbacks=[CooldownCallback(finish_by="18:00")]).train()  # doctest: +SKIP

    Raises:
        ValueError: for a length, a time or a shape that cannot be read; on the beginning of training, for a schedule that is
            not one of ours, or depends on the ceiling, and for triggers that could never fire.
    """

    cools_down = saves = True

    def __init__(
        self,
        steps: Length = 0.2,
        *,
        shape: str = "1-sqrt",
        to: float = 0.0,
        at: Length | None = None,
        finish_by: str | float | datetime | timedelta | None = None,
        patience: int | None = None,
        min_improvement: float = 0.0,
        tokens_per_step: float | None = None,
    ) -> None:
        super().__init__(keep=self._is_branch_point)
        self._run = Horizon(_OPEN, tokens_per_step=tokens_per_step)
        self._length = steps
        self.shape, self.to = str(parse(shape)), checked_share("to", to)
        if self.to == 1.0:
            raise ValueError("to=1.0 is the peak itself, so nothing would be cooled down; give less")
        self._at = None if at is None else math.ceil(_whole(self._run, at, "at"))
        self.steps_after(1000)  # reads `steps` now, not when it is needed
        self._triggers = Triggers(finish_by=finish_by, patience=patience, min_improvement=min_improvement)
        self.started: Cooldown | None = None
        self._pending = self._too_late = self._waiting = False
        self._folder = Path()

    def _is_branch_point(self, step: int) -> bool:
        return self.started is not None and step == self.started.first

    # The beginning

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Checks that a cooldown can come, and goes on with one that had been decided."""
        scheduler = kwargs["lr_scheduler"]
        self._check(args, scheduler)  # first, as the folder must be as it was where this refuses
        self._folder = Path(str(args.output_dir))
        self.started, self._pending, self._too_late, self._waiting = None, False, False, False
        recorded = agreed(lambda: self._recorded(state))
        self._triggers.check(args, kwargs.get("train_dataloader"))
        super().on_train_begin(args, state, control, **kwargs)
        self._triggers.begin(args, state)
        if scheduler.cooldown is not None:
            self.started = scheduler.cooldown
        elif recorded is not None:
            self.started, self._pending = recorded, True
        if self.started is not None:
            self._lower(state, self.started)
            if first_process():
                logger.warning(
                    "the cooldown that was decided for step %d (%s) goes on%s",
                    *(self.started.first, self.started.reason),
                    f"; remove {self._folder / RECORD} before a run that is not to" if self._pending else "",
                )
        return control

    def _check(self, args: TrainingArguments, scheduler: Any) -> None:
        if not isinstance(scheduler, ScheduleLR):
            raise ValueError(
                f"CooldownCallback cannot cool down {type(scheduler).__name__}; take one of hf_lrsched's schedules, "
                "such as lr_scheduler_type='wsd' with lr_scheduler_kwargs={'warmup': 500, 'decay': 0}"
            )
        if self._at is not None and 0 < args.max_steps <= self._at:
            raise ValueError(
                f"at={self._at} lies beyond max_steps ({args.max_steps}), so the cooldown would never start there"
            )
        if self._open(scheduler) and not _is_share(self._length):
            steps = self.steps_after(0)
            if 0 < args.max_steps < scheduler.planned.warmup + steps:
                raise ValueError(
                    f"a warm-up of {scheduler.planned.warmup:g} steps and a cooldown of {steps:g} do not fit into max_steps "
                    f"({args.max_steps}); shorten one of them, or raise it"
                )
        if args.max_steps > 0 and (self._open(scheduler) or args.max_steps >= _NO_RUN):
            _check_ceiling(args, scheduler)

    def _open(self, scheduler: ScheduleLR) -> bool:
        """Whether the schedule stays up until the ceiling, so that it ends on demand alone."""
        return scheduler.planned.spans()[-1][2].last > self.to

    def _recorded(self, state: TrainerState) -> Cooldown | None:
        """The decision that an earlier start of this run has left, on the first process."""
        record = self._folder / RECORD
        try:
            cooldown = Cooldown(**json.loads(record.read_text("utf-8")))
        except OSError:
            return None
        except (ValueError, TypeError) as error:
            raise ValueError(f"{record} cannot be read ({error}); remove it to go on without that cooldown") from error
        return cooldown if cooldown.first >= state.global_step else None

    # Every step

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Applies a decision after the branch point was saved."""
        if self._pending and self.started is not None and state.global_step >= self.started.first:
            scheduler = kwargs["lr_scheduler"]
            at = scheduler.last_epoch
            self.started = replace(self.started, at=at, skipped=state.global_step - at)
            scheduler.cool_down(self.started)
            self._pending = False
            if not any("cooldown" in line for line in state.log_history):  # decided by a process that was killed since
                self._log(state, self.started)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Looks whether it is time."""
        control = super().on_step_end(args, state, control, **kwargs)
        self._triggers.step()
        if self.started is None and not self._too_late:
            self._look(state, control, kwargs["lr_scheduler"])
        elif self._pending and self._is_branch_point(state.global_step):
            control.should_save = True
        if state.global_step >= state.max_steps:
            control.should_training_stop = True
        return control

    def _look(self, state: TrainerState, control: TrainerControl, scheduler: ScheduleLR) -> None:
        step = state.global_step
        found = self._due(state, scheduler)  # the same on every process
        if found is None and (PartialState().num_processes == 1 or step % LATE == 0):
            found = self._asked_anywhere(state, scheduler)
        if found is not None:
            self._start(state, control, scheduler, *found)

    def _due(self, state: TrainerState, scheduler: ScheduleLR) -> tuple[str, float] | None:
        step = state.global_step
        if self._at is not None and step >= self._at:
            return f"step {self._at}", self.steps_after(step)
        steps = self.steps_after(step)
        if step + steps >= state.max_steps and self._open(scheduler):
            return f"max_steps={state.max_steps}", max(state.max_steps - step, 1)
        return None

    def _asked_anywhere(self, state: TrainerState, scheduler: ScheduleLR) -> tuple[str, float] | None:
        """What any process was told, and how long the decay is to be; the first process decides for all."""
        steps = self.steps_after(state.global_step)
        if state.is_world_process_zero:
            self._triggers.look(steps)
        asked = first_said(self._triggers.asked)
        if asked is None:
            return None
        if state.global_step < scheduler.planned.warmup and not agreed(lambda: self._triggers.urgent):
            self._say_waiting(asked, scheduler)
            return None
        return asked, agreed(lambda: self._triggers.steps) or steps

    def _say_waiting(self, asked: str, scheduler: ScheduleLR) -> None:
        if first_process() and not self._waiting:
            logger.warning("asked to cool down (%s) in the warm-up; it starts at step %g", asked, scheduler.planned.warmup)
        self._waiting = True

    def _start(self, state: TrainerState, control: TrainerControl, scheduler: ScheduleLR, reason: str, steps: float) -> None:
        step = state.global_step
        whole = min(max(round(steps), 1), state.max_steps - step)
        at = scheduler.last_epoch
        if scheduler.planned(at) <= self.to and at < scheduler.planned.warmup:
            return  # the very beginning of the warm-up: asked again at the next step
        own_end = math.inf if self._open(scheduler) else scheduler.planned.total
        falling = scheduler.planned.split(at)[1] > 0 and scheduler.planned.min_lr > 0
        if whole < 1 or scheduler.planned(at) <= self.to or own_end <= at + whole or falling:
            if first_process():
                logger.warning(
                    "asked to cool down (%s) at step %d, where the schedule is as low or ends as soon by itself", reason, step
                )
            self._forget(state)
            self._too_late = True
            return
        cooldown = Cooldown(at, whole, self.shape, self.to, reason, skipped=step - at)
        self.started, self._pending = cooldown, True
        self._lower(state, cooldown)
        self._log(state, cooldown)
        if state.is_world_process_zero:
            write(self._folder / RECORD, json.dumps(vars(cooldown), indent=1))
        self._forget(state)
        if first_process():
            logger.warning(
                "cooldown: %s; %d steps from step %d on, and the run is over at %d", reason, whole, step, step + whole
            )
        control.should_save = True

    def _log(self, state: TrainerState, cooldown: Cooldown) -> None:
        line: dict[str, Any] = {"step": cooldown.first, "epoch": state.epoch, "cooldown": cooldown.reason}
        state.log_history.append({**line, "cooldown_steps": cooldown.steps})

    def _forget(self, state: TrainerState) -> None:
        if state.is_world_process_zero:
            self._triggers.forget()
        else:
            self._triggers.asked = self._triggers.steps = None

    def _lower(self, state: TrainerState, cooldown: Cooldown) -> None:
        state.max_steps = min(state.max_steps, cooldown.end)

    def steps_after(self, step: int) -> float:
        """How long the decay is that starts at `step`."""
        if _is_share(self._length):
            share = self._run.steps_of(self._length, "steps", of=1.0)
            if not 0.0 < share < 1.0:
                raise ValueError(f"steps={self._length!r}: a share of the run must lie between 0 and 1")
            return max(round(step * share / (1.0 - share)), 1)
        steps = round(_whole(self._run, self._length, "steps"))
        if steps < 1:
            raise ValueError(f"steps={self._length!r}: a cooldown takes 1 step or more")
        return steps

    # Evaluations, streams, the end

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Counts evaluations that do not improve."""
        self._triggers.evaluated(args, kwargs.get("metrics") or {})

    def on_stream_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """A stream has ended, on every process: the decay runs on what was held back, or on a second pass."""
        if first_process() and state.global_step and state.global_step < state.max_steps:
            what = "the rest of the decay" if self.started else "the decay"
            logger.warning("the stream has ended at step %d; %s runs on a second pass over it", state.global_step, what)
        if self.started is None and state.global_step:
            steps = self.steps_after(state.global_step)
            self._start(state, control, kwargs["lr_scheduler"], "the stream has ended", steps)
            if self.started is None:
                control.should_training_stop = True

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Puts the handler of the signal back."""
        super().on_train_end(args, state, control, **kwargs)
        self._triggers.end()


def _check_ceiling(args: TrainingArguments, scheduler: ScheduleLR) -> None:
    """Refuses what would be counted from the ceiling instead of from the run."""
    half = args.max_steps // 2
    steps = np.unique(np.concatenate([np.arange(min(half, 1000)), np.geomspace(1, max(half, 1), 1000).round()]))
    if not np.allclose(scheduler.planned.values(steps), _under(2 * args.max_steps, args, scheduler).values(steps), atol=1e-9):
        raise ValueError(
            f"the schedule ({scheduler.planned}) depends on max_steps ({args.max_steps}), which is only a ceiling here; let "
            "it stay at its peak, with the warm-up in steps: lr_scheduler_kwargs={'warmup': 500, 'decay': 0}"
        )
    for name in ("logging_steps", "eval_steps", "save_steps"):
        value, strategy = getattr(args, name), getattr(args, f"{name.partition('_')[0]}_strategy", "no")
        if value is not None and 0 < value < 1 and strategy == "steps":
            raise ValueError(
                f"{name}={value} is a share of max_steps, which is only a ceiling here ({args.max_steps}); give steps"
            )


def _under(ceiling: int, args: TrainingArguments, scheduler: ScheduleLR) -> Schedule:
    """The schedule that the same arguments make of another ceiling."""
    words: dict[str, Any] = dict(args.lr_scheduler_kwargs or {})  # type: ignore[arg-type]  # parsed by then
    name = str(getattr(args.lr_scheduler_type, "value", args.lr_scheduler_type))
    run = Horizon(ceiling, peak=max(float(lr) for lr in scheduler.base_lrs) or None)
    return planned(name, run, args.get_warmup_steps(ceiling), words)


def _is_share(length: Length) -> bool:
    if isinstance(length, str):
        return length.strip().endswith("%")
    return not isinstance(length, bool) and 0 < length < 1


def _whole(run: Horizon, length: Length, what: str) -> float:
    if _is_share(length):
        raise ValueError(f"{what}={length!r} is a share of the run, whose length is not known; give steps or tokens")
    return run.steps_of(length, what)
