"""The schedule that a Trainer will follow, in small: `Miniature`.

What it does not know: what is trained under it (`sweep`).
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch.optim.lr_scheduler import ReduceLROnPlateau
from transformers import TrainingArguments

from .points import lr_of, momentum_of
from .restoring import Kept

_NEARLY = 0.01  # a peak between two steps, as torch's one-cycle has it, is the peak
_POINTS = 2000  # of a long schedule; far more than a miniature has steps

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Miniature:
    """A schedule as multiples of its highest learning rate over its run, from the first step to the last.

    Args:
        name: ``lr_scheduler_type``, or the class of a scheduler that the Trainer was given.
        steps: optimizer steps of the run.
        shares: multiples of the highest learning rate, evenly spread over the run.
        momenta: momentum (beta1 under Adam) beside them, where the schedule moves it.
        unit: the learning rate that is set: ``learning_rate``, or the highest of all groups where none has it.
        highest: the highest learning rate of the run, over `unit`; 1 but for a scheduler that means something else by it.
    """

    name: str
    steps: int
    shares: Floats
    momenta: Floats | None
    unit: float
    highest: float

    def over(self, steps: int) -> tuple[Floats, Floats | None]:
        """Multiples of the highest, and momentum, over a run of `steps` steps: each from the middle of its stretch."""
        at = ((np.arange(steps) + 0.5) / steps * len(self.shares)).astype(int)
        return self.shares[at], None if self.momenta is None else self.momenta[at]


def steps_of(trainer: Any) -> int:
    """Optimizer steps of the run that `trainer` will make.

    Raises:
        ValueError: for a stream without ``max_steps``.
    """
    args: TrainingArguments = trainer.args
    if args.max_steps > 0:
        return int(args.max_steps)
    loader = trainer.get_train_dataloader()
    try:
        batches = len(loader)
    except TypeError:
        raise ValueError(
            f"max_steps={args.max_steps} and the training set has no length, so the run has no known end; set max_steps"
        ) from None
    per_epoch = max(math.ceil(batches / args.gradient_accumulation_steps), 1)
    return math.ceil(args.num_train_epochs * per_epoch)


def miniature(trainer: Any, kept: Kept, steps: int | None = None) -> Miniature:
    """The schedule of `trainer`, read from its own scheduler, which is stepped through the whole run.

    Args:
        trainer: any Trainer, not in training; afterwards it is as `kept` has it.
        kept: its state.
        steps: the run's optimizer steps, where the Trainer does not know them.

    Raises:
        ValueError: where the schedule cannot be made, in its own words, or the length of the run is not known.
    """
    try:
        steps = steps_of(trainer) if steps is None else steps
        trainer.create_optimizer()
        groups = trainer.optimizer.param_groups
        bases = [float(group.get("initial_lr", group["lr"])) for group in groups]
        if getattr(trainer, "_created_lr_scheduler", False):  # an earlier training's, which train() makes anew
            trainer.lr_scheduler = None
        trainer.create_scheduler(steps)
        scheduler = trainer.lr_scheduler
        rate = float(trainer.args.learning_rate)
        first = next((i for i, base in enumerate(bases) if math.isclose(base, rate)), int(np.argmax(bases)))
        base = bases[first]
        if base <= 0:
            raise ValueError(f"learning_rate={base:g} must be above 0: a range test tries multiples of it")
        at = np.unique(np.linspace(0, steps - 1, min(steps, _POINTS)).round().astype(int))
        found, momenta = np.ones(len(at)), np.full(len(at), np.nan)
        own = momentum_of(groups[first])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch: that the optimizer was not stepped before its schedule
            for i, step in enumerate(at):
                found[i] = float(lr_of(groups[first])) / base
                momenta[i] = math.nan if (momentum := momentum_of(groups[first])) is None else momentum
                if isinstance(scheduler, ReduceLROnPlateau) or type(scheduler).__name__ == "GreedyLR":
                    continue  # the loss decides: it stays where it begins
                for _ in range(int(at[i + 1] - step) if i + 1 < len(at) else 0):
                    scheduler.step()
        moved = own is not None and np.isfinite(momenta).all() and np.ptp(momenta) > 0
        kind = trainer.args.lr_scheduler_type
        given = getattr(trainer, "_created_lr_scheduler", True)
        name = str(getattr(kind, "value", kind)) if given else type(scheduler).__name__
        highest = float(found.max())
        if not 0 < highest < math.inf:
            raise ValueError(f"{name} over {steps} steps never raises the learning rate above 0, so no peak can be tested")
        highest = highest if abs(highest - 1) > _NEARLY else 1.0
        return Miniature(name, steps, found / highest, momenta if moved else None, base, highest)
    finally:
        kept.restore()
