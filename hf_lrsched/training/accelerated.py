"""A schedule in an Accelerate loop of one's own: `prepare`.

``Accelerator.prepare`` makes a scheduler step once for every process at each update, unless the batches are split, which
suits one that was made for the steps of a single process. A schedule here counts updates, however many processes share one.

What it does not know: models and data; and how a schedule is applied to an optimizer (`scheduler`).
"""

from __future__ import annotations

from typing import Any

from accelerate import Accelerator
from accelerate.scheduler import AcceleratedScheduler

from ..schedules.catalogue import build
from ..schedules.checks import whole
from ..schedules.schedule import Schedule
from .scheduler import ScheduleLR


def prepare(
    accelerator: Accelerator, optimizer: Any, schedule: Schedule | str, steps: int | None = None, **kwargs: Any
) -> AcceleratedScheduler:
    """A scheduler that steps once an update, whatever the processes, ``split_batches`` and gradient accumulation.

    Call its ``step()`` at every micro-batch, behind ``optimizer.step()``: where gradients are still accumulated, or fp16 has
    skipped the update, it stays where it is. ``accelerator.save_state`` and ``load_state`` have it.

    Args:
        accelerator: the loop's.
        optimizer: as ``accelerator.prepare`` has returned it.
        schedule: a schedule over all updates, or its name with `steps` and its arguments.
        steps: updates of one by name.

    >>> import torch
    >>> from accelerate import Accelerator
    >>> accelerator = Accelerator(cpu=True)
    >>> model = torch.nn.Linear(2, 1)
    >>> model, optimizer = accelerator.prepare(model, torch.optim.AdamW(model.parameters(), lr=1e-3))
    >>> scheduler = prepare(accelerator, optimizer, "wsd", 10, warmup=2)
    >>> for _ in range(4):
    ...     with accelerator.accumulate(model):
    ...         accelerator.backward(model(torch.ones(1, 2)).sum())
    ...         optimizer.step(); scheduler.step(); optimizer.zero_grad()
    ...         print(scheduler.get_last_lr(), end=" ")
    [0.0005] [0.001] [0.001] [0.001]

    Raises:
        ValueError: for an optimizer that this accelerator has not prepared, and a name without `steps`.
    """
    own = next((one for one in accelerator._optimizers if one is optimizer or one.optimizer is optimizer), None)
    if own is None:
        raise ValueError(
            "this accelerator has not prepared the optimizer; first: model, optimizer = accelerator.prepare(model, optimizer)"
        )
    if isinstance(schedule, str):
        if steps is None:
            raise ValueError(f"{schedule!r} is a name, and a name needs steps=, the updates of the whole run")
        schedule = build(schedule, whole("steps", steps), **kwargs)
    elif steps is not None or kwargs:
        raise ValueError("steps and arguments go with a schedule's name, and a Schedule was given")
    # split_batches here is only whether it steps once or once a process.
    scheduler = AcceleratedScheduler(ScheduleLR(own.optimizer, schedule), own, split_batches=True)
    accelerator._schedulers.append(scheduler)
    return scheduler
