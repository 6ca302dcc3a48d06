"""A run that was rescued goes on under a lower peak, which the LR reaches in a straight rise, or without certain batches.

What it does not know: why (`rescue`), and where that is written down (`rescued`).
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from torch.optim.lr_scheduler import LambdaLR
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from . import host
from .registration import first_process
from .rescued import Rescued, shown
from .resume import Glide, Resume
from .scheduler import ScheduleLR
from .watch import LRWatch

logger = logging.getLogger(__name__)

_KEPT = 8  # updates whose batches are kept, to stand in for those that are not trained on


class Course(TrainerCallback):
    """Holds a training to what its rescues have decided.

    Args:
        watch: what tells of them.
        rescues: in force, the last one last.
        fresh: whether the last was decided by this process just now.
        start: whether the state before the first step is saved.
    """

    def __init__(self, watch: LRWatch, rescues: list[Rescued], *, fresh: bool, start: bool) -> None:
        self.watch, self.rescues, self.fresh, self.start = watch, rescues, fresh, start
        self.configured: tuple[float, ...] = ()  # peaks, once there is a scheduler
        self._trainer: Any = None
        self._lambdas: list[Callable[[int], float]] = []
        self._kept: deque[tuple[Any, Any]] = deque(maxlen=_KEPT)
        self._stood_in = 0
        self._past: tuple[int, int] | None = None  # what is not to be trained on, and has been drawn

    @property
    def last(self) -> Rescued | None:
        """The rescue whose peaks hold; None where other peaks are configured than were then."""
        last = self.rescues[-1] if self.rescues else None
        return last if last is not None and last.configured == self.configured else None

    def made(self, scheduler: Any, goes_back: bool) -> None:
        """A scheduler was made, and has not loaded its state.

        Raises:
            ValueError: for one whose peak cannot be lowered.
        """
        if type(scheduler) is not LambdaLR and not isinstance(scheduler, ScheduleLR):
            raise ValueError(
                f"hf_lrsched.train cannot lower the peak of {type(scheduler).__name__} for a rescue; take one of "
                "hf_lrsched's schedules, or one of Transformers' that are functions of the step, such as 'linear' or 'cosine'"
            )
        if not self.configured:
            self.configured = tuple(float(lr) for lr in scheduler.base_lrs)
            if self.rescues and self.last is None and first_process():
                logger.warning(
                    "this run was rescued under a peak of %s, and one of %s is configured now, which counts",
                    *(shown(self.rescues[-1].configured), shown(self.configured)),
                )
        if isinstance(scheduler, LambdaLR):
            self._lambdas = self._lambdas or list(scheduler.lr_lambdas)
        elif self.last is not None:
            scheduler.base_lrs = list(self.last.peaks)
            if goes_back:  # to a checkpoint that was written under the peak before: no surprise
                scheduler.resume = Resume()

    def saw_trainer(self, trainer: Any) -> None:
        """The Trainer as it begins to train; goes ahead of all others, as they note peaks."""
        self._trainer = trainer
        callbacks = trainer.callback_handler.callbacks
        callbacks.insert(0, callbacks.pop(callbacks.index(self)))

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Lowers the peak, whatever the checkpoint had."""
        self._kept.clear()
        self._stood_in, self._past = 0, None
        last, scheduler = self.last, kwargs["lr_scheduler"]
        if last is None:
            return
        start = scheduler.last_epoch - (state.global_step - last.back_to)  # the schedule's step may lag behind the run's
        if isinstance(scheduler, ScheduleLR):
            rise = Glide(start - 1, last.rewarm + 1, tuple(0.0 for _ in last.peaks)) if last.rewarm else None
            scheduler.lower(last.peaks, rise)
        else:
            _lower(scheduler, self._lambdas, last.peaks, start, last.rewarm)

    def on_epoch_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """The others listen by now: says that this run was rescued, and saves its start."""
        log: list[Any] = state.log_history
        known = {line.get("watch") for line in log}
        for one in self.rescues:
            if one.text not in known:
                noted = one is self.rescues[-1] and (self.fresh or not state.global_step)
                self.watch.say(state, "rescue", one.text, aloud=noted)
                if not noted and not state.global_step:  # the recorder's file begins anew with its step 0
                    self.watch.remember(state, "rescue", one.text)
        if self.last is not None and not self.fresh and state.is_world_process_zero:
            logger.warning("the run was rescued before, and goes on under the peak of then, %s", shown(self.last.peaks))
        self.fresh = False
        if self.start and not state.global_step:
            self.start = False
            host.save_now(self._trainer)

    def instead(self, update: int, samples: Any, items: Any, draw: Callable[[], tuple[Any, Any]]) -> tuple[Any, Any]:
        """What an update is made with: the batches of updates just before where its own are not to be trained on."""
        skips = [one.skip for one in self.rescues if one.skip is not None]
        within = next((skip for skip in skips if skip[0] <= update <= skip[1]), None)
        if within is None or within == self._past:
            if any(first - _KEPT <= update < first for first, _ in skips):
                self._kept.append((samples, items))
            return samples, items
        like = [one for one in self._kept if len(one[0]) == len(samples)]
        if like:
            self._stood_in += 1
            return like[self._stood_in % len(like)]
        self._past = within  # resumed within them: what comes behind them moves up
        for _ in range(within[1] - update + 1):
            samples, items = draw()
        return samples, items


def _lower(
    scheduler: Any, lambdas: Sequence[Callable[[int], float]], peaks: Sequence[float], start: int, rewarm: float
) -> None:
    """As `ScheduleLR.lower`, for torch's LambdaLR, which all of Transformers' functions of the step are."""
    scheduler.base_lrs = list(peaks)
    scheduler.lr_lambdas = [_rising(one, start, rewarm) for one in lambdas]
    for group, base, one in zip(scheduler.optimizer.param_groups, peaks, scheduler.lr_lambdas, strict=True):
        group["initial_lr"] = base
        lr = base * one(scheduler.last_epoch)
        if hasattr(group["lr"], "fill_"):
            group["lr"].fill_(lr)
        else:
            group["lr"] = lr
    scheduler._last_lr = [float(group["lr"]) for group in scheduler.optimizer.param_groups]


def _rising(share: Callable[[int], float], start: int, rewarm: float) -> Callable[[int], float]:
    def risen(step: int) -> float:
        return share(step) * min(1.0, (step - start + 1) / (rewarm + 1))

    return risen
