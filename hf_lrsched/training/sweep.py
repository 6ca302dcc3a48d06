"""An LR range test on a Trainer: `find_lr`. A ramp places candidates, short cooled probes decide, everything is put back.

What it does not know: how a training is driven (`driven`), what is put back (`restoring`), the chosen schedule in small
(`miniature`), and what the losses say (`runs.range_test`).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from torch.optim import Optimizer
from tqdm.auto import tqdm

from ..runs.probing import Probe, Search
from ..runs.range_test import Divergence, RangeTest, Trace
from ..schedules.checks import whole
from .driven import Driver, driven
from .miniature import Miniature, miniature
from .restoring import Kept

RAMP = 100  # steps at least: what fastai and Lightning take; shorter ramps lose the noise that probes are placed by
_RAMP_SHARE = 0.05  # of the run that the test is for
_PROBE_SHARE = 0.1  # of it, for all probes together
_RANGE = (1e-7, 1.0)
_SGD_RANGE = (1e-5, 100.0)  # guide: SGD takes 10 to 100 times Adam's learning rate


def find_lr(
    trainer: Any,
    *,
    start_lr: float | None = None,
    end_lr: float | None = None,
    steps: int | None = None,
    probes: bool = True,
    seeds: int = 1,
    budget: int | None = None,
    snapshot: str | Path = "memory",
) -> RangeTest:
    """The peak learning rate for the run that `trainer` is about to make, with an interval and a confidence.

    A ramp raises the learning rate at every step until the loss diverges; it says where learning begins, where the loss falls
    fastest, and where training turns unstable. A few candidates are then each given a short training under the Trainer's own
    schedule, shrunk to fit, all from the same weights on the same batches: these decide. Everything is put back, also after
    an exception or Ctrl-C: k steps of ``train()`` behind it are those without it, bit for bit on a CPU.

    Every step is the Trainer's own: collator, loss, clipping, accumulation, precision, weight decay, the ratios between
    parameter groups, all processes of a distributed run. Callbacks are not called; nothing is logged, saved or evaluated.

    Args:
        trainer: any `transformers.Trainer`, before ``train()``; with several processes, on all of them.
        start_lr, end_lr: the ramp; by default 1e-7 to 1, and 1e-5 to 100 for torch's SGD.
        steps: optimizer steps of the ramp; by default a twentieth of the run, at least 100.
        probes: False for the ramp alone, which is less sure.
        seeds: how many orders of the data each candidate is tried on.
        budget: the run's length in optimizer steps, where the Trainer does not know it (a run that ends on demand).
        snapshot: where trainable weights and optimizer state are copied to meanwhile: ``"memory"`` (the host's, not the
            GPU's), ``"disk"`` (the temporary folder), or a folder.

    Returns:
        a `RangeTest`: ``lr`` is the value for ``learning_rate``, or None where ``refusal`` says why there is none.

    >>> result = find_lr(trainer)  # doctest: +SKIP
    >>> print(result)  # doctest: +SKIP
    >>> trainer.args.learning_rate = result.lr  # doctest: +SKIP

    Raises:
        ValueError: for a range or a length that cannot be, a Trainer that is training, DeepSpeed and FSDP, data that can be
            read once only, an optimizer that steps during the backward pass.
    """
    _check(start_lr, end_lr, steps, budget)
    seeds = whole("seeds", seeds)
    kept = Kept(trainer, snapshot)
    try:
        plan = miniature(trainer, kept, budget)
        low, high = _range(trainer, kept)
        low, high = start_lr or low, end_lr or high
        if not low < high:
            raise ValueError(f"start_lr={low:g} must be below end_lr={high:g}")
        length = steps or max(RAMP, math.ceil(_RAMP_SHARE * plan.steps))
        search = Search(plan.steps, max(1, int(_PROBE_SHARE * plan.steps)) if probes else 0, seeds)
        with _progress(trainer, length + search.cost) as bar:
            ramp = _ramp(trainer, kept, plan, np.geomspace(low, high, length), bar)
            tried = _probes(trainer, kept, plan, search, ramp, bar)
        return RangeTest(
            ramp=ramp,
            probes=tuple(tried),
            schedule=plan.name,
            steps=plan.steps,
            range=(low, high),
            learning_rate=float(trainer.args.learning_rate),
        )
    finally:
        kept.close()
