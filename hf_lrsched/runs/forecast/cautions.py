"""What is to be known before a forecast is believed, and what is not forecast at all. Sentences with their numbers."""

from __future__ import annotations

from collections.abc import Sequence

from ...schedules.schedule import Schedule
from .bound import best_peak
from .fitted import Fitted
from .forecast import Forecast
from .path import LRPath

FURTHEST = 3.0  # horizons: laws.md section 4.3; beyond, nothing was measured
FLAT = 0.01  # of a run: one that is below its peak for less has not decayed
_MISFIT = 0.005  # three times the most on the public curves of two laboratories, where it is .0004 to .0017 (scripts/LOG.md)
_SHORT = 0.25  # of a run: forecasts from a decay of 10 or 20 % alone were .012 to .034 off on 124M runs (scripts/LOG.md)
ZERO = 0.05  # of the peak: a run that was seen as low has decayed to 0, of which a coarse log misses the last steps
_LOWER = 0.5  # of the lowest learning rate that was seen: below, a forecast is told to be an extrapolation
_OTHER_BEST = (
    1.1  # best peaks that are nearer than this are one: by so much the rule is off in the median (laws.md section 5)
)


def check_horizon(fit: Fitted, length: int) -> None:
    """Refuses a run that is much longer than what was seen."""
    if length > FURTHEST * fit.horizon:
        raise ValueError(
            f"{length} steps are more than {FURTHEST:g} times the {fit.horizon:.0f} of the longest run; a forecast beyond "
            f"that was never measured: ask for {FURTHEST * fit.horizon:.0f} at most, or fit it to a longer run"
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
            f"the one run decays over {fit.longest_decay:.0%} of its steps; from one short cooldown alone other "
            "schedules were put too high, by .01 to .03, where that was measured: a cosine run beside it tells more"
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
    first = min(float(run.updates[0]) for run in fit.runs)
    if length < 2 * first:
        told.append(f"ends after {length} steps, before or soon after the first loss that was fitted (step {first:.0f})")
    return tuple(told)


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
