"""A run as the laws are fitted to it: the learning rate of every step, and the losses that count.

What it does not know: laws, and how the rates are made out (`rates`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ...schedules.checks import real
from ..history import History
from ..smoothing import noise
from .laws import Points
from .path import COARSE, LRPath
from .rates import every_lr

Floats = npt.NDArray[np.float64]
Quantity = Literal["eval_loss", "loss"]

WORDS = {"eval_loss": "held-out losses", "loss": "training losses"}
FEWEST = 8  # losses of a run, as many as the law has parameters
_POINTS = 80  # losses of a run that are fitted; more are put together in their order
# Not fitted: the warm-up, as the published curves leave it out, and the steps behind it, which no power law follows: up to
# step 1,000 as on the 124M runs (laws.md section 4.3), a quarter of a short run at most, a twentieth of a long one at least.
# On the public curves .15 of the run bring final losses .0005 nearer, and the first steps of a forecast far off.
_FIRST, _MOST, _LEAST = 1000, 0.25, 0.05
_RISEN = 0.03  # above its lowest loss: what noise does not do; 0.002 to 0.01 on the runs that were looked at
_ROUND = 0.005  # a peak that is so near a number of two digits is that number, of which a sparse log misses the highest step


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
        warmup: steps before it is at its peak.
        begins: the step of the first learning rate of its log; 0 where its schedule is known.
    """

    name: str
    lrs: Floats
    peak: float
    updates: Floats
    loss: Floats
    sigma: float
    horizon: float
    quantity: Quantity
    warmup: float = 0.0
    begins: int = 0

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
    least = _least(last) if skip is None else real("skip", skip, least=0)
    _check_count(name, quantity, int((steps >= least).sum()), least)
    lrs = every_lr(run, name, last, warmup)
    peak = _rounded(float(lrs.max()))
    warm = float(np.argmax(lrs >= 0.995 * peak))
    least = max(min(warm, _MOST * last), least) if skip is None else least
    # A training loss is the mean of the losses before each of the last updates, a held-out one comes after its update.
    back = (run.averaged + 1) / 2 if quantity == "loss" else 0.0
    kept = (steps >= least) & (True if quantity == "eval_loss" else run.logged)
    updates, loss = np.maximum(steps[kept] - back, 0.0), losses[kept]
    _check_count(name, quantity, len(loss), least)
    _check(name, quantity, loss, lrs[np.clip(updates.astype(int) - 1, 0, last - 1)])
    horizon = float(steps[kept][-1] + np.median(np.diff(updates)))
    updates, loss = _together(updates, loss)
    sigma = noise(np.log(loss))
    return Observed(
        name, lrs, peak, updates, loss, 0.0 if math.isnan(sigma) else sigma, horizon, quantity, warm, _begins(run)
    )


def _begins(run: History) -> int:
    return int(run.step[0]) if run.schedule is None and len(run.step) else 0


def _rounded(peak: float) -> float:
    near = float(f"{peak:.2g}")
    return near if math.isclose(near, peak, rel_tol=_ROUND) else peak


def _check_count(name: str, quantity: Quantity, count: int, least: float) -> None:
    if count < FEWEST:
        other = ", or give loss='loss' for those of training" if quantity == "eval_loss" else ""
        raise ValueError(
            f"{name} has {count} of its {WORDS[quantity]} from step {least:.0f} on, and a law needs {FEWEST} or more: "
            f"log or evaluate more often{other}"
        )


def _check(name: str, quantity: Quantity, loss: Floats, lrs: Floats) -> None:
    """Refuses losses that no law can be fitted to; `lrs` are the rates they were reached at."""
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
    middles = np.median(np.lib.stride_tricks.sliding_window_view(loss, few), axis=1)
    best = int(np.argmin(middles))
    end, ever = float(middles[-1]), float(max(middles[0], middles.max()))
    scatter = noise(np.log(loss)) / math.sqrt(few)  # of a middle; the last was up to 5 above the lowest in small stable runs
    risen = max(_RISEN, 6.0 * (0.0 if math.isnan(scatter) else scatter))
    if end > float(middles[0]) or (end > (1 + risen) * middles[best] and lrs[-1] <= 1.01 * lrs[best + few - 1]):
        told = f"from {middles[best]:.4g} to {end:.4g}" if end <= ever else f"to {end:.4g}"
        raise ValueError(
            f"the {WORDS[quantity]} of {name} rose {told}, and no law knows a run that diverged or overfitted: see what "
            "hf-lrsched diagnose says of it; leave it out, or give fewer of its steps"
        )


def _together(updates: Floats, loss: Floats) -> tuple[Floats, Floats]:
    """At most `_POINTS` of them: means of as many in a row."""
    if len(loss) <= _POINTS:
        return updates, loss
    parts = np.array_split(np.arange(len(loss)), _POINTS)
    return np.array([updates[part].mean() for part in parts]), np.array([loss[part].mean() for part in parts])
