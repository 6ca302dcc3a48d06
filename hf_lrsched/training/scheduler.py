"""A schedule applied to an optimizer: a torch `LRScheduler` over every parameter group.

Each group keeps its own peak, the LR it has when the scheduler is made; the schedule's multiplier is evaluated once a step
however many groups there are. The checkpoint holds plain types: the step, the base LRs and the schedule's spec.

What it does not know: where the schedule comes from (`registration`) and what a resumed run should do when its schedule has
changed; what was configured now is applied at the restored step, and the difference is logged.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, SupportsFloat

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from ..schedules.schedule import Schedule
from ..schedules.spec import Spec, to_spec
from .registration import first_process

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

    In an Accelerate loop do not pass it through `Accelerator.prepare`, which with several processes steps it once per
    process. Without, step it where ``accelerator.sync_gradients`` is true, and give it to
    ``accelerator.register_for_checkpointing``.

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

    def __init__(self, optimizer: Optimizer, schedule: Schedule, last_epoch: int = -1) -> None:
        self.schedule = schedule
        self._momentum = schedule.momentum
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
            if first_process():
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
        if not schedule.min_lr:
            share = schedule(self.last_epoch)
            return [base * share for base in self.base_lrs]  # type: ignore[misc]  # floats since _initial_step
        share, weight = schedule.split(self.last_epoch)
        floor = schedule.min_lr
        lrs = [float(base) * share + floor * weight for base in self.base_lrs]
        return [max(lr, floor) for lr in lrs] if self.last_epoch >= schedule.warmup else lrs

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

    def state_dict(self) -> dict[str, Any]:
        """Plain types alone, so that ``torch.load(weights_only=True)`` reads it."""
        return {
            "last_epoch": self.last_epoch,
            "_step_count": self._step_count,
            "base_lrs": [_as_float(lr) for lr in self.base_lrs],
            "_last_lr": self.get_last_lr(),
            "schedule": to_spec(self.schedule),
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Goes on at the saved step, under the schedule and the peaks that are configured now.

        The LRs of that step are in the optimizer when this returns, so the very next update uses them. A difference from
        what was saved is logged. The state of another torch scheduler is taken for its step.

        Raises:
            ValueError: where the state holds no step.
        """
        step = state_dict.get("last_epoch")
        if not isinstance(step, int) or step < 0:
            raise ValueError(f"this scheduler state holds no step (last_epoch={step!r}); is it a scheduler's?")
        self._log_difference(state_dict)
        self.last_epoch = step
        self._step_count = int(state_dict.get("_step_count", step + 1))
        self._find_momentum()
        if self._momentum is None and (state_dict.get("schedule") or {}).get("momentum"):
            # The saved schedule moved momentum, and left it in the optimizer's state; this one does not.
            for group, own in zip(self.optimizer.param_groups, self._own_momenta, strict=False):
                group.update(own)
        self._apply()
        # The optimizer's own state, loaded before this, brought the old peaks along.
        for group, base in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["initial_lr"] = base

    def _log_difference(self, saved: Mapping[str, Any]) -> None:
        spec: Spec | None = saved.get("schedule")
        changed = []
        if spec is None or {**spec, "name": ""} != {**to_spec(self.schedule), "name": ""}:
            changed.append("schedule")
        if "base_lrs" in saved and [_as_float(lr) for lr in saved["base_lrs"]] != self.base_lrs:
            changed.append("peak LR")
        if changed and first_process():
            logger.warning(
                "the checkpoint has another %s; the run goes on at step %d with what is configured now (%s, peak %s)",
                " and ".join(changed),
                saved["last_epoch"],
                self.schedule,
                ", ".join(f"{lr:g}" for lr in sorted({float(lr) for lr in self.base_lrs}, reverse=True)[:4]),
            )


def _set_lr(group: dict[str, Any], lr: float) -> None:
    if isinstance(group["lr"], torch.Tensor):
        group["lr"].fill_(lr)
    else:
        group["lr"] = lr


def _as_float(lr: SupportsFloat) -> float:
    return lr if isinstance(lr, float) else float(lr)
