"""Runs whose losses a law has made: the truth is known, and with noise it is not seen exactly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from hf_lrsched import History, Schedule
from hf_lrsched.runs.forecast.laws import Points, multi_power, vector
from hf_lrsched.runs.forecast.path import LRPath

PEAK = 1e-3
# Between the published ones and what 124M runs say.
TRUTH = {"L0": 2.6, "A": 0.7, "alpha": 0.5, "B": 160.0, "C": 2.0, "beta": 0.55, "gamma": 0.6, "p": 0.6, "q": 1.0}


def true_loss(schedule: Schedule, steps: int, updates: npt.ArrayLike, peak: float = PEAK) -> npt.NDArray[np.float64]:
    """What the law says at each of `updates`."""
    path = LRPath.of(schedule.lrs(steps, peak), peak, most=None)
    theta = vector(TRUTH, peak)
    return np.concatenate([multi_power(theta, Points(path, np.array([float(n)])))[0] for n in np.atleast_1d(updates)])


def run(
    schedule: Schedule, *, peak: float = PEAK, every: int = 20, noise: float = 0.0, seed: int = 0, evaluated: bool = True
) -> History:
    """A log of `schedule` with a loss every so many steps."""
    steps = int(schedule.total)
    at = np.arange(every, steps + 1, every)
    losses = true_loss(schedule, steps, at, peak) + noise * np.random.default_rng(seed).standard_normal(len(at))
    lrs = schedule.lrs(steps, peak)
    word = "eval_loss" if evaluated else "loss"
    return History.of([{"step": int(n), "lr": lrs[n - 1], word: loss} for n, loss in zip(at, losses, strict=True)])


def recorded(schedule: Schedule, history: History, peak: float = PEAK) -> History:
    """`history` as the recorder has it: with its schedule and its peak."""
    return replace(history, schedule=schedule, peak=(peak,))
