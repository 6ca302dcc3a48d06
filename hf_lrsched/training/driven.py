"""A short training of a Trainer under given learning rates, recorded, of which nothing remains: `driven`.

It is Trainer's own ``train()``: collator, loss, clipping, accumulation, precision, optimizer and processes are the user's.
Callbacks and trackers are not called, and nothing is logged, saved or evaluated.

What it does not know: which learning rates, and what the points mean (`sweep`).
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from accelerate import PartialState
from accelerate.utils import reduce
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ..runs.ramp import Trace
from . import lending
from .restoring import Kept
from .together import agreed

_SAMPLE = 4096  # weights of a tensor that the size of an update is measured on
_SKIPS = 20  # skipped updates in a row: a scaler that starts at 65536 is below 1 after 16


class Driver(TrainerCallback):
    """Sets the learning rate of every update and notes what it did.

    Args:
        rates: multiples of each group's own learning rate, one an update.
        unit: the learning rate that 1 stands for.
        momenta: momentum (beta1 under Adam) of every update; None leaves it alone.
        stop: told each loss, whether that was enough.
        progress: told each update.
    """

    drives = True  # that a training is its own, and no user's

    def __init__(
        self,
        rates: Sequence[float] | npt.NDArray[np.float64],
        unit: float,
        momenta: npt.NDArray[np.float64] | None = None,
        stop: Callable[[float], bool] | None = None,
        progress: Callable[[], Any] | None = None,
    ) -> None:
        self.rates, self.unit, self.momenta, self.stop, self.progress = rates, unit, momenta, stop, progress
        self.lr: list[float] = []
        self.losses: list[float] = []
        self.norms: list[float] = []
        self.updates: list[float] = []
        self.skipped = self._skips = 0
        self.stopped = self.heard = False
        self.scaler: Any = None  # what scales losses, and backs off where gradients overflow
        self._scale = 0.0
        self._loss: torch.Tensor | None = None
        self._norm: torch.Tensor | float | None = None
        self._base: list[float] = []
        self._before: torch.Tensor | None = None
        self._was_skipped = False

    # What host.py hands on

    def saw_loss(self, loss: torch.Tensor) -> None:
        """The loss of a micro-batch, scaled so that those of a step add up to the step's."""
        self.heard = True
        self._loss = loss if self._loss is None else self._loss + loss

    def saw_grad_norm(self, norm: torch.Tensor | float | None) -> None:
        """The gradient norm of a step, before clipping."""
        self._norm = norm

    # The run

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Notes each group's own learning rate."""
        self._base = [float(group.get("initial_lr", group["lr"])) for group in kwargs["optimizer"].param_groups]

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Sets the learning rate of the update; before its gradients, which some optimizers apply as they come."""
        rate = self.rates[min(len(self.losses), len(self.rates) - 1)]
        for group, base in zip(kwargs["optimizer"].param_groups, self._base, strict=True):
            if isinstance(group["lr"], torch.Tensor):
                group["lr"].fill_(base * rate)
            else:
                group["lr"] = base * rate
            if self.momenta is not None:
                _set_momentum(group, float(self.momenta[min(len(self.losses), len(self.rates) - 1)]))
        self._before = _sample(kwargs["model"])
        self._scale = 0.0 if self.scaler is None else float(self.scaler.get_scale())

    def on_optimizer_step(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Whether the update moved any weights."""
        self._was_skipped = bool(getattr(kwargs["optimizer"], "step_was_skipped", False))

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """A point, where the update was not skipped; the end, where there are enough."""
        loss, norm = self._loss, self._norm
        self._loss = self._norm = None
        moved = _moved(self._before, _sample(kwargs["model"]))
        rate = self.rates[len(self.losses)]
        # With a fused optimizer, Trainer's default, that flag stays down (torch 2.13, accelerate 1.15); the scale falls.
        if self._was_skipped or (self.scaler is not None and self.scaler.get_scale() < self._scale):
            self.skipped += 1
            self._skips += 1
        else:
            self._skips = 0
            self.lr.append(rate * self.unit)
            self.losses.append(math.nan if loss is None else _mean(loss))
            self.norms.append(math.nan if norm is None else float(norm))
            self.updates.append(moved)
            if self.progress is not None:
                self.progress()
            if self.stop is not None:
                self.stopped = agreed(lambda: self.stop(self.losses[-1]))  # type: ignore[misc]  # it is not None here
        self.stopped = self.stopped or self._skips >= _SKIPS
        control.should_training_stop = self.stopped or len(self.losses) >= len(self.rates)
        return control

    def trace(self) -> Trace:
        """The points."""
        columns = {"lr": self.lr, "loss": self.losses, "grad_norm": self.norms, "update_ratio": self.updates}
        arrays = {name: np.array(values, dtype=np.float64) for name, values in columns.items()}
        return Trace(**arrays, skipped=self.skipped, stopped=self.stopped)


def driven(trainer: Any, kept: Kept, driver: Driver, *, seed: int | None = None) -> Trace:
    """What `driver` noted over a training of `trainer`, which is afterwards as `kept` has it.

    Args:
        trainer: any Trainer, not in training.
        kept: its state to start from and to go back to.
        driver: the learning rates.
        seed: for another order of the data, and other dropout, than the Trainer's own.

    Raises:
        ValueError: where no batch or no loss was seen.
    """
    try:
        driver.scaler = getattr(trainer.accelerator, "scaler", None)
        # The driver ends it; skipped updates do not count.
        lending.lend(trainer, driver, 2 * len(driver.rates) + _SKIPS, seed)
        trainer.train()
    finally:
        kept.restore()
        if PartialState().num_processes > 1:
            gc.collect()  # what DDP has hung on the weights goes with it
    if not driver.losses and not driver.skipped:
        raise ValueError("the training set gave no batch, so there is nothing to test on")
    if not driver.heard:
        raise ValueError("no loss was seen, as hf_lrsched.unregister() took its hooks out of Trainer; call register() first")
    return driver.trace()


def _mean(loss: torch.Tensor) -> float:
    """Over the processes, so that all of them have the same."""
    loss = loss.detach().float().reshape(())
    return float(reduce(loss.clone(), "mean") if PartialState().num_processes > 1 else loss)


def _sample(model: Any) -> torch.Tensor | None:
    """Some of the weights that are trained, evenly spread, as one row."""
    weights = [weight.detach().reshape(-1) for weight in model.parameters() if weight.requires_grad and weight.numel()]
    rows = [weight[:: max(1, weight.numel() // _SAMPLE)].float() for weight in weights]
    return torch.cat([row.to(rows[0].device) for row in rows]) if rows else None


def _moved(before: torch.Tensor | None, after: torch.Tensor | None) -> float:
    """The size of an update, over that of the weights."""
    if before is None or after is None or not (size := float(before.norm())):
        return math.nan
    return float((after - before).norm()) / size


def _set_momentum(group: dict[str, Any], value: float) -> None:
    if "betas" in group:
        group["betas"] = (value, *group["betas"][1:])
    elif "momentum" in group:
        group["momentum"] = value
