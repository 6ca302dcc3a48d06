"""`Law`: what another schedule, another length or a cooldown would give.

What it does not know: other peaks than those of the runs, other batches, data or models, and training that diverges.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ...schedules.checks import real, whole
from ...schedules.lengths import Length
from ...schedules.phase import fall
from ...schedules.schedule import Schedule
from ..history import History
from ..reading import read_history
from .asked import Run, cooldown_steps, names_of, scheduled
from .cautions import (
    check_highest,
    check_horizon,
    check_misfit,
    of_decayed,
    of_lengths,
    of_low_rates,
    of_runs,
    of_schedule,
    of_shared_peak,
)
from .fitted import SAME_PEAK, Fitted
from .forecast import Comparison, Forecast, Optimized, gap_between, shown
from .laws import Points
from .observed import WORDS, Observed, Quantity, observe
from .path import FINE, FLOOR, LRPath
from .prior import Prior

Floats = npt.NDArray[np.float64]


class Law:
    """What `from_runs.fit_law` has found. `predict`, `compare`, `optimize` and `cooldown_now` say what it follows.

    Args:
        fits: by peak.
        quantity: which loss it is of.
        cautions: what is to be known of the runs, in sentences.
    """

    def __init__(self, fits: dict[float, Fitted], quantity: Quantity, cautions: tuple[str, ...] = ()) -> None:
        self.fits, self.quantity, self.cautions = fits, quantity, cautions

    @classmethod
    def of(cls, runs: Sequence[Observed], prior: Prior, cautions: tuple[str, ...] = ()) -> Law:
        """The law of runs that were read."""
        groups: list[list[Observed]] = []
        for run in sorted(runs, key=lambda run: run.peak):
            if groups and math.isclose(run.peak, groups[-1][0].peak, rel_tol=SAME_PEAK):
                groups[-1].append(run)
            else:
                groups.append([run])
        fits = [Fitted.of(group, prior) for group in groups]
        for fit in fits:
            check_misfit(fit)
        cautions = (*cautions, *(told for fit in fits for told in of_runs(fit)))
        return cls({fit.peak: fit for fit in fits}, runs[0].quantity, cautions)

    @property
    def peaks(self) -> tuple[float, ...]:
        """The peaks of the runs, rising."""
        return tuple(self.fits)

    @property
    def horizon(self) -> float:
        """Steps of the longest run, up to the line of its log that would have come next; three times that is forecast."""
        return max(fit.horizon for fit in self.fits.values())

    @property
    def longest(self) -> int:
        """Steps of the longest run, up to the last line of its log."""
        return max(fit.longest for fit in self.fits.values())

    @property
    def runs(self) -> int:
        """How many runs it was fitted to."""
        return sum(len(fit.runs) for fit in self.fits.values())

    @property
    def parameters(self) -> dict[str, float]:
        """Those of the multi-power law, where the runs have one peak; else each of `fits` has its own."""
        return self._at(None).parameters

    def schedule(self, name: str, steps: int, peak_lr: float | None = None, **arguments: Any) -> Schedule:
        """A schedule by its name, with the warm-up of the runs, in steps, where none is given.

        A longer run by name would have a longer warm-up, and what a warm-up brings is not in the law.

        Args:
            name: of the catalogue, or linear, cosine and constant_with_warmup as Transformers has them.
            steps: its length.
            peak_lr: of the runs whose warm-up is meant.
            arguments: of the schedule.
        """
        return scheduled(name, steps, arguments, self._at(peak_lr).warmup)

    def predict(
        self,
        schedule: Schedule | str | Sequence[float] | Floats,
        steps: int | None = None,
        peak_lr: float | None = None,
        **kwargs: Any,
    ) -> Forecast:
        """The loss under `schedule`, from its first step to its last, with its interval.

        Args:
            schedule: a schedule; a name, as `schedule` takes it, with `steps` and its arguments; or the learning rates
                themselves, one a step.
            steps: its length; of a schedule that is given as one, by default its own.
            peak_lr: one of the peaks that the runs had; by default theirs, where they have one.

        Before the first loss that was fitted the curve is an extrapolation, and the first steps of it mean nothing.

        Raises:
            ValueError: for another peak, and for more than 3 times the steps of the longest run.
        """
        if not isinstance(schedule, Schedule | str):
            return self._of_rates(np.asarray(schedule, dtype=np.float64), peak_lr)
        fit = self._at(peak_lr)
        made = scheduled(schedule, steps, kwargs, fit.warmup)
        length = whole("steps", made.total if steps is None else steps)
        check_horizon(fit, length)
        name = made.name or (schedule if isinstance(schedule, str) else str(made))
        path = LRPath.of_schedule(made, fit.peak, length, most=FINE)
        check_highest(fit, path, name)
        cautions = (*self.cautions, *(f"{name} {told}" for told in of_schedule(fit, made, path, length)))
        return self._forecast(fit, name, path, made, cautions)

    def _of_rates(self, lrs: Floats, peak: float | None) -> Forecast:
        """The loss under learning rates that were given one by one."""
        if lrs.ndim != 1 or not len(lrs) or not np.isfinite(lrs).all() or lrs.min() < 0 or not lrs.max() > 0:
            raise ValueError("predict() takes a schedule, a name, or the learning rates of all steps, 0 or more, in a row")
        fit = self._at(float(lrs.max()) if peak is None else peak)
        check_horizon(fit, len(lrs))
        path = LRPath.of(lrs, fit.peak)
        check_highest(fit, path, "these learning rates")
        cautions = (*self.cautions, *(f"the run {told}" for told in of_low_rates(fit, path)))
        return self._forecast(fit, "learning rates", path, None, cautions)

    def compare(self, schedules: Schedule | str | Iterable[Any], steps: int | None = None) -> Comparison:
        """Schedules side by side, the one that ends lowest first.

        Args:
            schedules: schedules or names, each alone, as ``(schedule, peak_lr)``, or as ``(name, {its arguments})``.
            steps: the length of those that are given by name.

        Raises:
            ValueError: as `predict`.
        """
        given = [schedules] if isinstance(schedules, Schedule | str) else list(schedules)
        if not given:
            raise ValueError("compare() needs one schedule or more")
        forecasts = sorted(_apart([self._one(one, steps) for one in given]), key=lambda forecast: forecast.final)
        best = forecasts[0]
        cautions = tuple(dict.fromkeys(told for forecast in forecasts for told in forecast.cautions))
        return Comparison(
            tuple(forecasts),
            tuple(self.gap(forecast, best) for forecast in forecasts),
            (*cautions, *of_lengths(forecasts), *of_shared_peak(forecasts)),
        )

    def _one(self, what: Any, steps: int | None) -> Forecast:
        schedule, more = what if isinstance(what, tuple) else (what, None)
        arguments = dict(more) if isinstance(more, Mapping) else {}
        length = steps if isinstance(schedule, str) else None
        return self.predict(schedule, length, None if isinstance(more, Mapping) else more, **arguments)

    def optimize(self, steps: int, peak_lr: float | None = None) -> Optimized:
        """The cooldown share and shape of a WSD run of `steps` that the law likes best, within what the runs have seen.

        Its gain is a prediction. On 124M logs the published law misjudges decays to 0, which its own data never had, so
        only shares and learning rates that the runs had are looked at.

        Raises:
            ValueError: as `predict`, and where no run decays.
        """
        from .search import best_cooldown

        return best_cooldown(self, self._at(peak_lr), whole("steps", steps))

    def cooldown_now(
        self,
        run: Run,
        steps: Length | None = None,
        *,
        shape: str = "1-sqrt",
        to: float = 0.0,
        after: int = 0,
        warmup: float | None = None,
    ) -> Forecast:
        """What a cooldown of `run` that starts after its last step would reach.

        Args:
            run: its history so far, or where it lies.
            steps: of the cooldown: steps, or a share of the whole run as it will have been; by default 20 %, as
                CooldownCallback takes.
            shape: of it, as for `wsd`.
            to: the share of the present learning rate it ends at.
            after: steps that the run goes on before, at its present learning rate.
            warmup: its steps of warm-up, where its log begins behind it.

        The forecast begins at the last losses of the run: where they lie above or below the law, it is moved by as much.

        Raises:
            ValueError: for a run at another peak, and where run and cooldown take more than 3 horizons.
        """
        read = run if isinstance(run, History) else read_history(os.fspath(run))
        warm = None if warmup is None else real("warmup", warmup, least=0)
        seen = observe(read, names_of([run])[0], self.quantity, warmup=warm, skip=None)
        fit = self._at(seen.peak)
        done = len(seen.lrs) + whole("after", after, least=0)
        length = cooldown_steps(steps, done)
        check_horizon(fit, done + length)
        path = LRPath.of(seen.lrs, fit.peak)
        path = path.then(float(path.share[-1]), after).decayed(Schedule((fall(length, shape, to=to),)))
        told = (*of_low_rates(fit, path), *of_decayed(float(seen.lrs[-1]) / fit.peak))
        cautions = (*self.cautions, *(f"the cooldown {one}" for one in told))
        forecast = self._forecast(fit, f"cooldown of {length} steps from step {done}", path, None, cautions)
        moved, second = fit.recent(seen)
        return replace(forecast, loss=forecast.loss * moved, momentum=forecast.momentum * second)

    def _forecast(
        self, fit: Fitted, name: str, path: LRPath, schedule: Schedule | None, cautions: tuple[str, ...]
    ) -> Forecast:
        points = Points(path, shown(path.steps))
        loss, second, sd, slopes = fit.predicted(points)
        index, _ = path.until(points.updates - 1)
        lr = np.where(path.share > 2 * FLOOR, path.share, 0.0)[index] * fit.peak
        return Forecast(
            name,
            fit.peak,
            round(path.steps),
            self.quantity,
            *(points.updates, lr, loss, sd),
            float(second[-1]),
            cautions,
            schedule,
            tuple(map(float, slopes)),
        )

    def gap(self, one: Forecast, other: Forecast) -> tuple[float, float, float]:
        """By how much `one` ends above `other`, and the 90 % interval of that; between peaks their errors are apart."""
        if one.peak_lr == other.peak_lr:
            fit = self.fits[one.peak_lr]
            return gap_between(one, other, fit.law.covariance, fit.discrepancy)
        difference = one.final - other.final
        away = math.hypot(one.interval()[1] - one.final, other.interval()[1] - other.final)
        return difference, difference - away, difference + away

    def _at(self, peak: float | None) -> Fitted:
        """The fit of a peak.

        Raises:
            ValueError: for one that no run had.
        """
        listed = " and ".join(f"{one:g}" for one in self.peaks)
        if peak is None:
            if len(self.fits) > 1:
                raise ValueError(f"the runs have several peaks, {listed}; say which: peak_lr={self.peaks[0]:g}")
            return next(iter(self.fits.values()))
        real("peak_lr", peak, above=0)
        for fit in self.fits.values():
            if math.isclose(peak, fit.peak, rel_tol=SAME_PEAK):
                return fit
        raise ValueError(
            f"peak_lr={peak:g}, but the runs had {listed}: no loss-curve law is known to hold at another peak (final losses "
            "were off by .03 to .05 where that was measured); fit it to a run at that peak, or take transfer_lr"
        )

    def __repr__(self) -> str:
        peaks = ", ".join(f"{peak:g}" for peak in self.peaks)
        return f"Law({self.runs} run{'s' * (self.runs > 1)}, {WORDS[self.quantity]}, peak {peaks}, {self.longest} steps)"


def _apart(forecasts: list[Forecast]) -> list[Forecast]:
    """Forecasts whose names tell them apart."""
    names = [forecast.name for forecast in forecasts]
    twice = {name for name in names if names.count(name) > 1}
    return [replace(one, name=f"{one.name} {i}") if one.name in twice else one for i, one in enumerate(forecasts, start=1)]
