"""A run as the laws are fitted to it: the learning rate of every step, and the losses that count.

What it does not know: laws. Where a log has the learning rate at some steps only, it is a straight line between them, and
before the first of them a warm-up from 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ..diagnosis.plan import Plan
from ..diagnosis.sight import Setting
from ..history import History
from ..smoothing import noise
from .laws import Points
from .path import COARSE, LRPath

Floats = npt.NDArray[np.float64]
Quantity = Literal["eval_loss", "loss"]

WORDS = {"eval_loss": "held-out losses", "loss": "training losses"}
FEWEST = 8  # losses of a run, as many as the law has parameters
_POINTS = 80  # losses of a run that are fitted; more are put together in their order
# Not fitted: the warm-up, as the published curves leave it out, and the steps behind it, which no power law follows: up to
# step 1,000 as on the 124M runs (laws.md section 4.3), a quarter of a short run at most, a twentieth of a long one at least.
# On the public curves .15 of the run bring final losses .0005 nearer, and the first steps of a forecast far off.
_FIRST, _MOST, _LEAST = 1000, 0.25, 0.05
_LONGEST_WARMUP = 0.2  # of a log, that may lie before its first line: in the published ones it is 3 to 15 %
_SAME = 1e-4  # of the peak: by so much a log's rates may miss a schedule and still be it, as some print four digits


@dataclass(frozen=True)
class Observed:
    """A run's learning rates and losses.

    Args:
        name: for people.
        lrs: the learning rate of every step, from step 0, shape (steps,).
        peak: the highest of them.
        updates: how many updates were done at each loss, shape (n,).
        loss: shape (n,), all above 0.
        sigma: the noise of one of them, as a share of it.
        horizon: steps that it is known over: up to the line of its log that would have come next, as the last step of a log
            is seldom the run's.
        quantity: which loss it is.
    """

    name: str
    lrs: Floats
    peak: float
    updates: Floats
    loss: Floats
    sigma: float
    horizon: float
    quantity: Quantity

    def points(self, most: int = COARSE) -> Points:
        """Where the law is compared with it."""
        return Points(LRPath.of(self.lrs, self.peak, most=most), self.updates)


def quantity_of(runs: Sequence[History], asked: str, skip: float | None) -> Quantity:
    """The loss that all runs have: the held-out one where each has enough of them, else that of training.

    Raises:
        ValueError: for another word.
    """
    if asked not in ("auto", "eval_loss", "loss"):
        raise ValueError(f"loss={asked!r} must be 'auto', 'eval_loss' (held out) or 'loss' (of training)")
    if asked != "auto":
        return "eval_loss" if asked == "eval_loss" else "loss"
    enough = (len(run.eval_step) and int((run.eval_step >= _begin(run, skip)).sum()) >= FEWEST for run in runs)
    return "eval_loss" if all(enough) else "loss"


def _begin(run: History, skip: float | None) -> float:
    last = max([*run.step[-1:], *run.eval_step[-1:]], default=0)
    return _least(float(last)) if skip is None else skip


def _least(last: float) -> float:
    """Updates that are left out of a run of `last`, whatever its warm-up."""
    return max(min(_FIRST, _MOST * last), _LEAST * last)


def observe(run: History, name: str, quantity: Quantity, *, warmup: float | None, skip: float | None) -> Observed:
    """`run` as the laws read it.

    Args:
        run: its history.
        name: for people.
        quantity: which loss.
        warmup: its steps of warm-up, where its log begins behind it.
        skip: updates whose losses are left out; by default the warm-up, and the first 1,000, of a run
            of less than 4,000 its first quarter, of one of more than 20,000 its first twentieth.

    Raises:
        ValueError: where it has no learning rates, too few losses, or did not go down.
    """
    steps, losses = (run.eval_step, run.eval_loss) if quantity == "eval_loss" else (run.step, run.loss)
    last = int(max([*run.step[-1:], *run.eval_step[-1:]], default=0))
    lrs = _every_lr(run, name, last, warmup)
    peak = float(lrs.max())
    warm = float(np.argmax(lrs >= 0.999 * peak))
    least = max(min(warm, _MOST * last), _least(last)) if skip is None else skip
    # A training loss is the mean of the losses before each of the last updates, a held-out one comes after its update.
    back = (run.averaged + 1) / 2 if quantity == "loss" else 0.0
    kept = (steps >= least) & (np.isfinite(losses) if quantity == "eval_loss" else run.logged)
    updates, loss = np.maximum(steps[kept] - back, 0.0), losses[kept]
    _check(name, quantity, loss, least)
    horizon = float(steps[kept][-1] + np.median(np.diff(updates)))
    updates, loss = _together(updates, loss)
    sigma = noise(np.log(loss))
    return Observed(name, lrs, peak, updates, loss, 0.0 if math.isnan(sigma) else sigma, horizon, quantity)


def _check(name: str, quantity: Quantity, loss: Floats, least: float) -> None:
    """Refuses losses that no law can be fitted to."""
    if len(loss) < FEWEST:
        other = ", or give loss='loss' for those of training" if quantity == "eval_loss" else ""
        raise ValueError(
            f"{name} has {len(loss)} of its {WORDS[quantity]} from step {least:.0f} on, and a law needs {FEWEST} or more: "
            f"log or evaluate more often{other}"
        )
    bad = int((~np.isfinite(loss)).sum())
    if bad:
        raise ValueError(
            f"{name}: {bad} of {len(loss)} {WORDS[quantity]} are not finite, and no law knows a run that diverged; "
            "leave it out"
        )
    if loss.min() <= 0:
        raise ValueError(
            f"{name} has a loss of {loss.min():.3g}, and the laws are of losses above 0, such as a cross-entropy"
        )
    few = max(len(loss) // 10, 2)
    first, end = float(np.median(loss[:few])), float(np.median(loss[-few:]))
    if end > first:
        raise ValueError(
            f"the {WORDS[quantity]} of {name} rose from {first:.4g} to {end:.4g}, and no law knows a run that diverged or "
            "overfitted; leave it out, or give fewer of its steps"
        )


def _together(updates: Floats, loss: Floats) -> tuple[Floats, Floats]:
    """At most `_POINTS` of them: means of as many in a row."""
    if len(loss) <= _POINTS:
        return updates, loss
    parts = np.array_split(np.arange(len(loss)), _POINTS)
    return np.array([updates[part].mean() for part in parts]), np.array([loss[part].mean() for part in parts])


def _every_lr(run: History, name: str, last: int, warmup: float | None) -> Floats:
    """The learning rate of every update, of the first parameter group."""
    if len(run.step) and run.lr.size:
        known = np.isfinite(run.lr[:, 0])
        at, lr = np.maximum(run.step[known] - 1, 0), run.lr[known, 0]
    else:
        at, lr = np.zeros(0, dtype=np.int64), np.zeros(0)
    plan = Plan.of(Setting.of(run))
    if plan is not None and warmup is None:
        planned = plan.schedule.lrs(np.arange(last, dtype=np.float64), plan.peak)
        # A log has the rate of the update, or already that of the next one.
        near = [np.abs(planned[np.clip(at + ahead, 0, last - 1)] - lr).max(initial=0.0) for ahead in (0, 1)]
        if min(near) <= _SAME * plan.peak:
            return _above_0(planned, name)
    if not len(lr):
        raise ValueError(
            f"{name} has no learning rates, and the laws are about them: Trainer's trainer_state.json and LRRecorder's file "
            "have them; a CSV needs a column learning_rate or lr"
        )
    _above_0(lr, name)
    every: Floats = np.interp(np.arange(last), at, lr)
    if at[0] > 0:
        every[: at[0]] = _before(name, int(at[0]), float(lr[0]), float(lr.max()), last, warmup)
    return every


def _before(name: str, first: int, lr: float, highest: float, last: int, warmup: float | None) -> Floats:
    """The rates before the first line of a log: a warm-up, and then that line's."""
    if warmup is None:
        if lr >= 0.999 * highest and first > _LONGEST_WARMUP * last:
            raise ValueError(
                f"the log of {name} begins at step {first + 1} of {last}, at its highest learning rate, and does not say how "
                "the run got there; give warmup=, its steps of warm-up"
            )
        warmup = first
    return np.minimum(np.arange(first) / max(warmup, 1), 1.0) * lr if warmup else np.full(first, lr)


def _above_0(lrs: Floats, name: str) -> Floats:
    if not len(lrs) or not lrs.max() > 0 or lrs.min() < 0 or not np.isfinite(lrs).all():
        raise ValueError(f"{name} has learning rates that are not above 0 and finite")
    return lrs
