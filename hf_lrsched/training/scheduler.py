"""A schedule applied to an optimizer: a torch `LRScheduler` over every parameter group.

Each group keeps its own peak, the LR it has when the scheduler is made; the schedule's multiplier is evaluated once a step
however many groups there are. The checkpoint holds plain types: the step, the base LRs and the schedule's spec.

What it does not know: where the schedule comes from (`registration`), what a resumed run should do when its schedule has
changed (`resume` decides, this applies it), and when a cooldown starts (`cooldown`).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, SupportsFloat

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from ..schedules.schedule import Schedule
from ..schedules.spec import to_spec
from ..schedules.splice import cooled
from . import resume as resuming
from .registration import first_process
from .resume import Cooldown, Course, Glide, Resume, Saved

logger = logging.getLogger(__name__)

_UPDATES = hasattr(LRScheduler, "_update_lr")  # not in torch 2.6, whose `step` does it all


class ScheduleLR(LRScheduler):
    """Applies `schedule` to every parameter group of `optimizer`; call `step()` after each `optimizer.step()`.

    Args:
        optimizer: any torch optimizer. The LR of each group now is that group's peak, or its ``initial_lr`` where an earlier
            scheduler has left one. A group whose LR is a tensor (for
            ``torch.compile``) keeps that tensor, which is filled in place.
        schedule: multipliers of the peak; also momentum, where the schedule has that track: it goes to ``betas[0]`` or to
            ``momentum``, and an optimizer that has neither keeps what it has, which is logged once.
        last_epoch: the last step already taken, as for every torch scheduler; -1 starts at step 0.
        resume: what loading a state of another schedule does; by default what is configured now wins (see `resume`).

    In an Accelerate loop take `accelerated.prepare`: ``Accelerator.prepare`` would step it once for every process.

    >>> import torch
    >>> from hf_lrsched import wsd
    >>> optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    >>> scheduler = ScheduleLR(optimizer, wsd(10, warmup=2, decay=4))
    >>> for _ in range(10):
    ...     optimizer.step(); scheduler.step()
    ...     print(f"{scheduler.get_last_lr()[0]:.2g}", end=" ")
    0.0005 0.001 0.001 0.001 0.001 0.001 0.0005 0.00029 0.00013 0

    Raises:
        ValueError: where the schedule's absolute floor is above a group's peak.
    """

    def __init__(
        self, optimizer: Optimizer, schedule: Schedule, last_epoch: int = -1, *, resume: Resume | None = None
    ) -> None:
        self.schedule = schedule  # what is followed
        self.planned = schedule  # the same before a cooldown on demand
        self.cooldown: Cooldown | None = None
        self.glide: Glide | None = None
        self.rise: Glide | None = None  # back up to the schedule after a rescue; its record is kept elsewhere
        self.skipped: int | None = None  # updates that moved no weights; None where nobody has counted them
        self.counting = False  # whether somebody counts them now
        self._last_skip = -1
        self.step_of_run: int | None = None  # where the run stands, told before a state is loaded
        self.resume = resume or Resume()
        self._momentum = schedule.momentum
        self._told = False  # that the optimizer has no momentum to move
        super().__init__(optimizer, last_epoch)

    # torch's first step, inside __init__, comes through here.
    def _initial_step(self) -> None:
        self.base_lrs = [_as_float(lr) for lr in self.base_lrs]
        for i, base in enumerate(self.base_lrs):
            self.schedule.check_peak(float(base), f"the LR of parameter group {i}")
        groups = self.optimizer.param_groups
        self._own_momenta: list[dict[str, Any]] = [
            {key: group[key] for key in ("betas", "momentum") if key in group} for group in groups
        ]
        self._find_momentum()
        super()._initial_step()

    def _find_momentum(self) -> None:
        groups = self.optimizer.param_groups
        if self._momentum and not any("betas" in group or "momentum" in group for group in groups):
            if first_process() and not self._told:
                self._told = True
                logger.warning(
                    "%s has neither betas nor momentum, so the momentum track of '%s' has nothing to move; "
                    "the LR is scheduled",
                    type(getattr(self.optimizer, "optimizer", self.optimizer)).__name__,  # inside accelerate's wrapper
                    self.schedule.name,
                )
            self._momentum = None

    def step(self, epoch: int | None = None) -> None:
        """One optimizer step further. Past the end of the schedule its last value is held."""
        if epoch is not None or self._step_count < 2:
            super().step(epoch)  # torch's checks of the order of calls
            if not _UPDATES:
                self._apply_momentum()
            return
        self._step_count += 1
        self.last_epoch += 1
        self._apply()

    def _update_lr(self, epoch: int | None = None) -> None:  # what torch's SequentialLR calls, past `step`
        super()._update_lr(epoch)
        self._apply_momentum()

    def get_lr(self) -> list[float | torch.Tensor]:
        """The LR of each group at the current step."""
        return list(self._lrs())

    def get_last_lr(self) -> list[float | torch.Tensor]:
        """The LR that each group has now, as floats."""
        return [_as_float(group["lr"]) for group in self.optimizer.param_groups]

    def _lrs(self) -> list[float]:
        """One evaluation of the schedule, for all groups."""
        schedule, groups = self.schedule, self.optimizer.param_groups
        if len(groups) != len(self.base_lrs):
            raise ValueError(
                f"the optimizer has {len(groups)} parameter groups, but had {len(self.base_lrs)} when its schedule was made; "
                "make the scheduler after the last group is added"
            )
        if schedule.min_lr:
            share, weight = schedule.split(self.last_epoch)
            floor = schedule.min_lr
            lrs = [float(base) * share + floor * weight for base in self.base_lrs]
            lrs = [max(lr, floor) for lr in lrs] if self.last_epoch >= schedule.warmup else lrs
        else:
            share = schedule(self.last_epoch)
            lrs = [base * share for base in self.base_lrs]  # type: ignore[misc]  # floats since _initial_step
        lrs = lrs if self.glide is None else self._gliding(lrs)
        return lrs if self.rise is None else self.rise.mixed(self.last_epoch, lrs)

    def _gliding(self, lrs: list[float]) -> list[float]:
        glide = self.glide
        if glide is None or glide.over(self.last_epoch):
            self.glide = None
            return lrs
        return glide.mixed(self.last_epoch, lrs)

    def _apply(self) -> None:
        for group, lr in zip(self.optimizer.param_groups, self._lrs(), strict=True):
            if type(group["lr"]) is float:  # five times faster than asking for a tensor, whose class answers itself
                group["lr"] = lr
            else:
                _set_lr(group, lr)
        self._apply_momentum()

    def _apply_momentum(self) -> None:
        if self._momentum is None:
            return
        value = self._momentum(self.last_epoch)
        for group in self.optimizer.param_groups:
            if "betas" in group:
                group["betas"] = (value, *group["betas"][1:])
            elif "momentum" in group:
                group["momentum"] = value

    def cool_down(self, cooldown: Cooldown) -> None:
        """Follows the schedule up to step ``cooldown.at`` and decays from there; the schedule then ends.

        >>> import torch
        >>> from hf_lrsched import hold
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        >>> scheduler = ScheduleLR(optimizer, hold(10**9) >> hold(0))
        >>> scheduler.cool_down(Cooldown(at=0, steps=4, shape="linear"))
        >>> for _ in range(4):
        ...     optimizer.step(); scheduler.step()
        ...     print(optimizer.param_groups[0]["lr"], end=" ")
        0.75 0.5 0.25 0.0

        Raises:
            ValueError: where the LR at that step is already as low as it would get.
        """
        self.schedule = cooled(self.planned, cooldown.at, cooldown.steps, cooldown.shape, cooldown.to)
        self.cooldown = cooldown
        self._momentum = self.schedule.momentum
        self._find_momentum()
        self._apply()

    def lower(self, peaks: Sequence[float], rise: Glide | None) -> None:
        """Goes on under other peaks, which the LR of this step on reaches by `rise`.

        >>> import torch
        >>> from hf_lrsched import hold
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        >>> scheduler = ScheduleLR(optimizer, hold(10) >> hold(0))
        >>> scheduler.lower([0.5], Glide(start=-1, steps=2, lrs=(0.0,)))
        >>> optimizer.param_groups[0]["lr"], scheduler.base_lrs
        (0.25, [0.5])
        """
        self.base_lrs, self.rise = list(peaks), rise
        for group, base in zip(self.optimizer.param_groups, peaks, strict=True):
            group["initial_lr"] = base
        self._apply()

    def count_skips(self, behind: int) -> None:
        """From now on updates that are skipped are counted; the schedule is `behind` the run by those that were."""
        self.counting = True
        self.skipped = behind if self.skipped is None else self.skipped

    def note_skip(self, step: int) -> None:
        """The update of the run's `step` moved no weights; told twice is the same as once."""
        if step != self._last_skip:
            self._last_skip = step
            self.skipped = (self.skipped or 0) + 1

    def state_dict(self) -> dict[str, Any]:
        """Plain types alone, so that ``torch.load(weights_only=True)`` reads it."""
        state = {
            "last_epoch": self.last_epoch,
            "_step_count": self._step_count,
            "base_lrs": [_as_float(lr) for lr in self.base_lrs],
            "_last_lr": self.get_last_lr(),
            "schedule": to_spec(self.planned),
            "skipped": self.skipped if self.counting else None,
        }
        if self.cooldown is not None:
            state["cooldown"] = vars(self.cooldown)
        if self.glide is not None:
            state["glide"] = {**vars(self.glide), "lrs": list(self.glide.lrs)}
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Goes on at the saved step; where the saved schedule is another than the configured one, `resume` decides how.

        The LRs of that step are in the optimizer when this returns, so the very next update uses them. The state of
        another torch scheduler is taken for its step, its peaks and its LRs. A cooldown that was going on goes on.

        Raises:
            ValueError: where the state is not a scheduler's, or `resume` refuses it.
        """
        saved = Saved.read(state_dict)
        if saved.schedule is None and self.step_of_run is not None and "num_bad_epochs" in state_dict:
            # ReduceLROnPlateau and Transformers' greedy count evaluations, not steps.
            saved = replace(saved, step=self.step_of_run, count=self.step_of_run + 1)
        planned, followed = self.planned, saved
        now = Course(self.planned, tuple(float(lr) for lr in self.base_lrs))
        if saved.cooldown is not None:
            now = replace(now, schedule=_cooled(now.schedule, saved.cooldown))
            followed = saved if saved.schedule is None else replace(saved, schedule=_cooled(saved.schedule, saved.cooldown))
        course, table = resuming.resumed(followed, now, self.resume)
        if table and first_process():
            resuming.show(table)
        if saved.schedule is not None and course.schedule is followed.schedule:
            planned = saved.schedule
        self.planned, self.schedule, self.base_lrs = planned, course.schedule, list(course.peaks)
        self.glide, self.cooldown = course.glide, saved.cooldown
        self.skipped = saved.skipped if saved.skipped is not None else self.skipped
        self.last_epoch, self._step_count = saved.step, saved.count
        self._restore_momentum(saved)
        self._apply()
        # The optimizer's own state, loaded before this, brought the saved peaks along.
        for group, base in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["initial_lr"] = base

    def _restore_momentum(self, saved: Saved) -> None:
        self._momentum = self.schedule.momentum
        self._find_momentum()
        if self._momentum is None and saved.schedule is not None and saved.schedule.momentum is not None:
            # The saved schedule moved momentum, and left it in the optimizer's state; this one does not.
            for group, own in zip(self.optimizer.param_groups, self._own_momenta, strict=False):
                group.update(own)


def _cooled(schedule: Schedule, cooldown: Cooldown) -> Schedule:
    try:
        return cooled(schedule, cooldown.at, cooldown.steps, cooldown.shape, cooldown.to)
    except ValueError as error:
        raise ValueError(
            f"the checkpoint lies in a cooldown that began at step {cooldown.first}, and the schedule configured now cannot "
            f"be cooled down there ({error}); resume from checkpoint-{cooldown.first}, the branch point"
        ) from error


def _set_lr(group: dict[str, Any], lr: float) -> None:
    if isinstance(group["lr"], torch.Tensor):
        group["lr"].fill_(lr)
    else:
        group["lr"] = lr


def _as_float(lr: SupportsFloat) -> float:
    return lr if isinstance(lr, float) else float(lr)
