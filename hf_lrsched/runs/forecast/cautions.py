"""What is to be known before a forecast is believed, and what is not forecast at all. Sentences with their numbers."""

from __future__ import annotations

from collections.abc import Sequence

from ...schedules.schedule import Schedule
from ..history import History
from .bound import best_peak
from .fitted import FLAT, SAME_PEAK, SAME_WARMUP, Fitted
from .forecast import Forecast
from .observed import FEWEST, Quantity
from .path import LRPath
from .rates import LONGEST_WARMUP

FURTHEST = 3.0  # horizons: laws.md section 4.3; beyond, nothing was measured
_NO_LAW = 0.05  # of the losses, ten times what is a caution: runs of batches of 4 and 16 together were missed by .1
_SHORTER = 0.25  # of the shortest run: forecasts of runs that are so much shorter were not measured
_MISFIT = 0.005  # three times the most on the public curves of two laboratories, where it is .0004 to .0017 (scripts/LOG.md)
_SHORT = 0.25  # of a run: forecasts from a decay of 10 or 20 % alone were .010 to .034 off on 124M runs (scripts/LOG.md)
ZERO = 0.05  # of the peak: a run that was seen as low has decayed to 0, of which a coarse log misses the last steps
_LOWER = 0.5  # of the lowest learning rate that was seen: below, a forecast is told to be an extrapolation
_OTHER_BEST = 1.1  # best peaks that are nearer are one: by so much the rule is off in the median (laws.md section 5)


def check_horizon(fit: Fitted, length: int) -> None:
    """Refuses a run that is much longer than what was seen."""
    if length > FURTHEST * fit.horizon:
        raise ValueError(
            f"{length} steps are more than {FURTHEST:g} times the {fit.longest} of the longest run; a forecast beyond "
            f"that was never measured: ask for {FURTHEST * fit.longest:.0f} at most, or fit it to a longer run"
        )


def check_highest(fit: Fitted, path: LRPath, name: str) -> None:
    """Refuses a schedule that does not reach the peak: at another peak no forecast holds."""
    highest = float(path.share.max())
    if abs(highest - 1.0) > SAME_PEAK:
        raise ValueError(
            f"{name} goes up to {highest * fit.peak:.3g} only, and the runs had {fit.peak:g}: no loss-curve law is known to "
            "hold at another peak; fit it to a run at that one"
        )


def check_misfit(fit: Fitted) -> None:
    """Refuses runs that no law describes together."""
    if not fit.misfit < _NO_LAW:
        raise ValueError(
            f"no law describes these runs: the best misses their losses by {fit.misfit:.0%} on average, where {_MISFIT:.1%} "
            "is much; are they of one model, batch size and data, and each a training that went well?"
        )


def of_runs(fit: Fitted) -> tuple[str, ...]:
    """What the runs themselves leave open."""
    told = []
    if fit.longest_decay <= FLAT:
        told.append(
            f"no run at {fit.peak:g} decays, so what a decay brings is what was published for other models; one run with a "
            "cooldown tells it"
        )
    elif len(fit.runs) == 1 and fit.longest_decay < _SHORT:
        told.append(
            f"the one run decays over {fit.longest_decay:.0%} of its steps; from one short cooldown alone other schedules "
            "were .01 to .03 off where that was measured, and .1 without the log of what was before it: a cosine run beside "
            "it tells more"
        )
    warmups = sorted(run.warmup for run in fit.runs)
    if fit.warmup is None:
        told.append(
            f"the runs warm up over {warmups[0]:.0f} to {warmups[-1]:.0f} steps, and what that brings is not in the law; "
            "fit it to runs with the same"
        )
    for run in fit.runs:
        if run.begins > LONGEST_WARMUP * len(run.lrs):
            told.append(
                f"the log of {run.name} begins at step {run.begins} of {len(run.lrs)}: before it the learning rate is taken "
                f"to have been what it is there, {run.lrs[run.begins - 1]:.3g}"
            )
    if fit.misfit > _MISFIT:
        told.append(
            f"the law misses the losses it was fitted to by {fit.misfit:.1%} on average, where {_MISFIT:.1%} is much for "
            "runs that it is right for: data that change, several epochs or a loss of several parts are not in it"
        )
    return tuple(told)


def of_schedule(fit: Fitted, schedule: Schedule, path: LRPath, length: int) -> tuple[str, ...]:
    """What of `schedule` the runs, or the law, have not seen."""
    told = list(of_low_rates(fit, path))
    if schedule.momentum is not None:
        told.append("moves momentum too, which the law does not know")
    up = float(schedule.warmup)
    if fit.warmup is not None and abs(up - fit.warmup) > max(SAME_WARMUP * fit.warmup, 2.0) and up < 0.5 * length:
        told.append(
            f"warms up over {up:.0f} steps where the runs took {fit.warmup:.0f}, and what that brings is not in the law: on "
            "a small Llama it was .1"
        )
    if length < _SHORTER * min(run.horizon for run in fit.runs):
        shortest = min(len(run.lrs) for run in fit.runs)
        told.append(f"ends after {length} step{'s' * (length > 1)}, where the shortest run has {shortest}")
    return tuple(told)


def of_decayed(share: float) -> tuple[str, ...]:
    """That a run whose cooldown is asked for is below its peak already."""
    return (f"begins at {share:.2g} of the peak, as the run has decayed already",) if share < 0.99 else ()


def of_lengths(forecasts: Sequence[Forecast]) -> tuple[str, ...]:
    """That schedules of different length are side by side."""
    lengths = sorted({forecast.steps for forecast in forecasts})
    return () if len(lengths) < 2 else (f"these are of {lengths[0]} to {lengths[-1]} steps, and a longer run ends lower",)


def of_quantity(runs: Sequence[History], names: Sequence[str], asked: str, taken: Quantity) -> tuple[str, ...]:
    """That training losses are taken although there are held-out ones."""
    if asked != "auto" or taken == "eval_loss" or not any(len(run.eval_step) for run in runs):
        return ()
    few = min(range(len(runs)), key=lambda i: len(runs[i].eval_step))
    return (
        f"fitted to training losses, as {names[few]} has {len(runs[few].eval_step)} held-out ones and a law needs {FEWEST} "
        "behind the first steps: evaluate more often to forecast those",
    )


def of_low_rates(fit: Fitted, path: LRPath) -> tuple[str, ...]:
    """That a path ends lower than anything that was seen."""
    last = float(path.share[-1])
    if fit.longest_decay <= FLAT or fit.lowest < ZERO or last >= _LOWER * fit.lowest:
        return ()
    return (f"ends lower than {fit.lowest:.2g} of the peak, below which no loss was seen: an extrapolation",)


def of_shared_peak(forecasts: Sequence[Forecast]) -> tuple[str, ...]:
    """That schedules at one peak are not each at its best, by how much in theory."""
    made = [forecast for forecast in forecasts if forecast.schedule is not None]
    if len(made) < 2 or len({forecast.peak_lr for forecast in made}) > 1:
        return ()
    best = {forecast.name: best_peak(forecast.schedule) for forecast in made if forecast.schedule is not None}
    low, high = min(best, key=lambda name: best[name]), max(best, key=lambda name: best[name])
    ratio = best[high] / best[low]
    if ratio < _OTHER_BEST:
        return ()
    return (
        f"all at one peak, {made[0].peak_lr:g}, where each has its own best: by the convex bound that of {high} is "
        f"{ratio:.2g} times that of {low}; with each at its own the order may be another",
    )
