"""An LR range test on a Trainer: `find_lr`. A ramp places candidates, short cooled probes decide, everything is put back.

What it does not know: how a training is driven (`driven`), what is put back (`restoring`), the chosen schedule in small
(`miniature`), and what the losses say (`runs.range_test`).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

from ..runs.probing import FEWEST as FEWEST_STEPS
from ..runs.probing import RUNS, Probe, Search
from ..runs.ramp import Divergence
from ..runs.range_test import RangeTest
from ..schedules.checks import real, whole
from .driven import Driver, driven
from .miniature import Miniature, miniature
from .restoring import Kept

RAMP = 100  # steps at least, as fastai's and Lightning's
FEWEST = 20  # steps of a ramp: below, nothing can be told from the noise
_RAMP_SHARE = 0.05  # of the run that the test is for
_PROBE_SHARE = 0.1  # of it, for all probes together
RANGE = (1e-7, 1.0)
SGD_RANGE = (1e-5, 100.0)  # guide: SGD takes 10 to 100 times Adam's learning rate


def find_lr(
    trainer: Any,
    *,
    start_lr: float | None = None,
    end_lr: float | None = None,
    steps: int | None = None,
    probes: bool | int = True,
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
        probes: optimizer steps for all short runs together; by default a tenth of the run, at least 50. False, or 0, for the
            ramp alone, which is less sure.
        seeds: how many orders of the data each candidate is tried on; every one costs as many steps.
        budget: the run's optimizer steps, if they are others than the Trainer's (a run that ends on demand has none).
        snapshot: where trainable weights and optimizer state are copied to meanwhile: ``"memory"`` (the host's, not the
            GPU's), ``"disk"`` (the temporary folder), or a folder.

    Returns:
        a `RangeTest`: ``lr`` is the value for ``learning_rate``, or None where ``refusal`` says why there is none.

    >>> result = find_lr(trainer)  # doctest: +SKIP
    >>> print(result)  # doctest: +SKIP
    >>> use_lr(trainer, result)  # doctest: +SKIP

    Raises:
        TypeError: for what is no Trainer.
        ValueError: for a range or a length that cannot be, a Trainer that is training, DeepSpeed and FSDP, data that can be
            read once only, an optimizer that steps during the backward pass.
    """
    if not hasattr(trainer, "callback_handler"):
        raise TypeError(f"find_lr takes a transformers.Trainer, not a {type(trainer).__name__}")
    low, high = _check(start_lr, end_lr, steps, budget, probes)
    seeds = whole("seeds", seeds)
    kept = Kept(trainer, snapshot)
    try:
        plan = miniature(trainer, kept, budget)
        usual = _usual_range(trainer, kept)
        low, high = low or usual[0], high or usual[1]
        if not low < high:
            raise ValueError(f"start_lr={low:g} must be below end_lr={high:g}")
        length = steps or max(RAMP, math.ceil(_RAMP_SHARE * plan.steps))
        allowed = probe_steps(plan.steps) if probes is True else int(probes)
        with _Progress(trainer, length + allowed * seeds) as progress:
            rule = Divergence()
            rates = np.geomspace(low, high, length) / plan.unit
            ramp = driven(trainer, kept, Driver(rates, plan.unit, stop=rule, progress=progress.step))
            search = Search(ramp, allowed, seeds)
            run_probes(trainer, kept, plan, search, progress)
        given, probes_made = float(trainer.args.learning_rate), tuple(search.probes)
        return RangeTest(ramp, probes_made, plan.name, plan.steps, given, plan.unit, plan.highest)
    finally:
        kept.close()


def use_lr(trainer: Any, found: RangeTest) -> float:
    """Makes what was found the learning rate of `trainer`, also where it has an optimizer or a scheduler already.

    Setting ``trainer.args.learning_rate`` is enough before a first ``train()``: the optimizer is made there. One that was
    given, or is left from an earlier training, keeps its own; here it is scaled, with the ratios between its groups, and so
    are the peaks that a given scheduler has noted.

    Returns:
        the learning rate.

    >>> use_lr(trainer, find_lr(trainer))  # doctest: +SKIP

    Raises:
        ValueError: where `found` has none, with its reason.
    """
    if found.lr is None:
        raise ValueError(f"the range test found no learning rate: {found.refusal.sentence if found.refusal else ''}")
    scale = found.lr / found.unit
    if trainer.optimizer is not None:
        for group in trainer.optimizer.param_groups:
            for key in ("lr", "initial_lr", "max_lr", "min_lr"):  # the last two are OneCycleLR's
                if isinstance(group.get(key), torch.Tensor):
                    group[key].mul_(scale)
                elif key in group:
                    group[key] = group[key] * scale
    _scale_peaks(trainer.lr_scheduler, scale)
    trainer.args.learning_rate = found.lr
    return found.lr


def _scale_peaks(scheduler: Any, scale: float) -> None:
    if scheduler is None:
        return
    for name in ("base_lrs", "_last_lr"):
        if isinstance(getattr(scheduler, name, None), list):
            setattr(scheduler, name, [lr * scale for lr in getattr(scheduler, name)])
    for nested in getattr(scheduler, "_schedulers", ()):
        _scale_peaks(nested, scale)


def is_ours(error: Exception) -> bool:
    """Whether an error is a refusal of this package, and not one of the user's own code that it ran."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and str(trace.tb_frame.f_globals.get("__name__", "")).startswith("hf_lrsched.")


def probe_steps(steps: int) -> int:
    """Optimizer steps that short runs may take before a run of `steps`: a tenth, and no fewer than they need."""
    return max(RUNS * FEWEST_STEPS, int(_PROBE_SHARE * steps))


def run_probes(trainer: Any, kept: Kept, plan: Miniature, search: Search, progress: _Progress | None = None) -> None:
    """Trains the candidates of `search`, each in small, and tells it what came of them."""
    shares, momenta = plan.over(search.steps) if search.steps else (np.array([]), None)
    step = None if progress is None else progress.step
    while (lr := search.next()) is not None:
        if progress is not None:
            progress.say(f"a short run at {lr:.2g}")
        for seed in range(search.seeds):
            driver = Driver(shares * (lr / plan.unit), plan.unit, momenta, stop=_not_finite, progress=step)
            search.tell(Probe(lr, seed, driven(trainer, kept, driver, seed=_seed(trainer, seed)).loss, search.steps))


def _seed(trainer: Any, number: int) -> int | None:
    """The Trainer's own order of the data first, others then."""
    return None if number == 0 else int(trainer.args.seed) + 1000 * number


def _not_finite(loss: float) -> bool:
    return not math.isfinite(loss)


def _check(start_lr: Any, end_lr: Any, steps: Any, budget: Any, probes: Any) -> tuple[float | None, float | None]:
    typed = (("start_lr", start_lr), ("end_lr", end_lr))
    first, last = (None if given is None else real(name, given, above=0) for name, given in typed)
    for name, given, least in (("steps", steps, FEWEST), ("budget", budget, 1)):
        if given is not None and whole(name, given) < least:
            raise ValueError(f"{name}={given} must be {least} or more")
    needed = RUNS * FEWEST_STEPS
    if not isinstance(probes, bool) and probes and whole("probes", probes) < needed:
        raise ValueError(
            f"probes={probes} must be {needed} steps or more, for {RUNS} runs of {FEWEST_STEPS}; or False for none"
        )
    return first, last


def _usual_range(trainer: Any, kept: Kept) -> tuple[float, float]:
    try:
        optimizer = trainer.create_optimizer()
        inner = getattr(optimizer, "optimizer", optimizer)
        if hasattr(inner, "optimizer_dict") or type(inner).__name__ in ("LayerWiseDummyOptimizer", "Lomo", "AdaLomo"):
            raise ValueError(
                f"{type(inner).__name__} updates the weights during the backward pass, one by one, where no range test can "
                "set its learning rate; take an optimizer that steps once"
            )
        return SGD_RANGE if isinstance(inner, torch.optim.SGD) else RANGE
    finally:
        kept.restore()


class _Progress:
    """A bar over all steps of a test, on one process of each machine, where the Trainer shows bars."""

    def __init__(self, trainer: Any, steps: int) -> None:
        hidden = trainer.args.disable_tqdm or not trainer.is_local_process_zero()
        self._bar = tqdm(total=steps, desc="range test: ramp", unit="step", disable=hidden, leave=False)

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def step(self) -> None:
        self._bar.update()

    def say(self, what: str) -> None:
        self._bar.set_description(f"range test: {what}")
