"""`fit_law` and `Law`: from the logs of runs to what another schedule, another length or a cooldown would give.

What it does not know: other peaks than those of the runs, other batches, data or models, and training that diverges.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...schedules.catalogue import build
from ...schedules.checks import real, whole
from ...schedules.lengths import Horizon, Length
from ...schedules.phase import fall
from ...schedules.schedule import Schedule
from ..history import History
from ..reading import read_history
from .cautions import check_horizon, of_low_rates, of_runs, of_schedule, of_shared_peak
from .fitted import Fitted
from .forecast import Comparison, Forecast, Optimized, gap_between, shown
from .laws import Points
from .observed import WORDS, Observed, Quantity, observe, quantity_of
from .path import FINE, FLOOR, LRPath
from .prior import Prior, prior

Floats = npt.NDArray[np.float64]
Run = History | str | os.PathLike[str]

_SAME_PEAK = 0.02  # by so much two peaks may differ and be one
_DECAY = 0.2  # of the whole run, as `wsd` and CooldownCallback have it


def fit_law(
    runs: Run | Iterable[Run],
    *,
    loss: str = "auto",
    warmup: float | None = None,
    skip: float | None = None,
    prior: Prior | None = None,
) -> Law:
    """The law of the loss curves of `runs`, which may be one. One WSD run and one cosine run tell more than two alike.

    Args:
        runs: histories, or what `read_history` reads: folders of runs, ``trainer_state.json``, ``lr_history.jsonl``, CSV.
        loss: ``"eval_loss"``, ``"loss"`` (of training), or ``"auto"``: the held-out one where every run has 8 or more.
        warmup: steps of warm-up, for runs whose log begins behind it.
        skip: updates whose losses are left out; by default the warm-up, and the first 1,000, of a run of
            less than 4,000 its first quarter, of one of more than 20,000 its first twentieth.
        prior: what is believed of the parameters before; by default `prior.prior`.

    Runs of several peaks are fitted each by itself, as no law of these carries over to another peak.

    >>> from hf_lrsched import History, warmup_cosine, wsd
    >>> def run(schedule):  # losses that a multi-power law has made, for the example
    ...     theta = np.array([2.0, np.log(0.5), np.log(0.45), np.log(0.2), np.log(2.0), np.log(0.6), 0.6, 0.6, 1.0])
    ...     path = LRPath.of_schedule(schedule, 1e-3, 1000)
    ...     from hf_lrsched.runs.forecast.laws import multi_power
    ...     lrs, losses = schedule.lrs(1000, 1e-3), multi_power(theta, Points(path, np.arange(0.0, 1000.0) + 1))[0]
    ...     return History.of([{"step": i + 1, "lr": lrs[i], "eval_loss": losses[i]} for i in range(19, 1000, 20)])
    >>> law = fit_law([run(wsd(1000)), run(warmup_cosine(1000))])
    >>> law.quantity, law.peaks, round(law.horizon)
    ('eval_loss', (0.001,), 1020)
    >>> longer = law.predict(wsd(2000))
    >>> longer.final < law.predict("wsd", 1000).final, longer.interval()[0] < longer.final < longer.interval()[1]
    (True, True)
    >>> law.predict(wsd(4000))
    Traceback (most recent call last):
    ValueError: 4000 steps are more than 3 times the 1020 of the longest run; ...

    Raises:
        ValueError: for no run, and for one without learning rates, with too few losses, or that did not go down.
    """
    given = [runs] if isinstance(runs, History | str | os.PathLike) else list(runs)
    if not given:
        raise ValueError("a law is fitted to one run or more, and none was given")
    read = [run if isinstance(run, History) else read_history(os.fspath(run)) for run in given]
    quantity = quantity_of(read, loss, skip)
    names = _names(given)
    warm = None if warmup is None else real("warmup", warmup, least=0)
    seen = [observe(run, name, quantity, warmup=warm, skip=skip) for run, name in zip(read, names, strict=True)]
    return Law.of(seen, prior or _prior())


_prior = prior  # fit_law has an argument of that name


class Law:
    """What `fit_law` has found. `predict`, `compare`, `optimize` and `cooldown_now` say what it follows.

    Args:
        fits: by peak.
        quantity: which loss it is of.
        cautions: what is to be known of the runs, in sentences.
    """

    def __init__(self, fits: dict[float, Fitted], quantity: Quantity, cautions: tuple[str, ...] = ()) -> None:
        self.fits, self.quantity, self.cautions = fits, quantity, cautions

    @classmethod
    def of(cls, runs: Sequence[Observed], prior: Prior) -> Law:
        """The law of runs that were read."""
        groups: list[list[Observed]] = []
        for run in sorted(runs, key=lambda run: run.peak):
            if groups and math.isclose(run.peak, groups[-1][0].peak, rel_tol=_SAME_PEAK):
                groups[-1].append(run)
            else:
                groups.append([run])
        fits = [Fitted.of(group, prior) for group in groups]
        cautions = tuple(told for fit in fits for told in of_runs(fit))
        return cls({fit.peak: fit for fit in fits}, runs[0].quantity, cautions)

    @property
    def peaks(self) -> tuple[float, ...]:
        """The peaks of the runs, rising."""
        return tuple(self.fits)

    @property
    def horizon(self) -> float:
        """Steps of the longest run."""
        return max(fit.horizon for fit in self.fits.values())

    @property
    def runs(self) -> int:
        """How many runs it was fitted to."""
        return sum(len(fit.runs) for fit in self.fits.values())

    def predict(
        self, schedule: Schedule | str, steps: int | None = None, peak_lr: float | None = None, **kwargs: Any
    ) -> Forecast:
        """The loss under `schedule`, from its first step to its last, with its interval.

        Args:
            schedule: a schedule, or a name of the catalogue with `steps` and its arguments.
            steps: its length; of a schedule that is given as one, by default its own.
            peak_lr: one of the peaks that the runs had; by default theirs, where they have one.

        Raises:
            ValueError: for another peak, and for more than 3 times the steps of the longest run.
        """
        made = _schedule(schedule, steps, kwargs)
        length = whole("steps", made.total if steps is None else steps)
        fit = self._at(peak_lr)
        check_horizon(fit, length)
        name = made.name or (schedule if isinstance(schedule, str) else str(made))
        path = LRPath.of_schedule(made, fit.peak, length, most=FINE)
        cautions = (*self.cautions, *(f"{name} {told}" for told in of_schedule(fit, made, path, length)))
        return self._forecast(fit, name, path, made, cautions)

    def compare(
        self, schedules: Iterable[Schedule | str | tuple[Schedule | str, float]], steps: int | None = None
    ) -> Comparison:
        """Schedules side by side, the one that ends lowest first.

        Args:
            schedules: schedules or names, each alone or as ``(schedule, peak_lr)``.
            steps: the length of those that are given by name.
        """
        pairs = [one if isinstance(one, tuple) else (one, None) for one in schedules]
        if not pairs:
            raise ValueError("compare() needs one schedule or more")
        forecasts = [self.predict(one, steps if isinstance(one, str) else None, peak) for one, peak in pairs]
        forecasts = sorted(_apart(forecasts), key=lambda forecast: forecast.final)
        best = forecasts[0]
        cautions = tuple(dict.fromkeys(told for forecast in forecasts for told in forecast.cautions))
        return Comparison(
            tuple(forecasts),
            tuple(self.gap(forecast, best) for forecast in forecasts),
            (*cautions, *of_shared_peak(forecasts)),
        )

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
        seen = observe(read, _names([run])[0], self.quantity, warmup=warm, skip=None)
        fit = self._at(seen.peak)
        done = len(seen.lrs) + whole("after", after, least=0)
        length = _cooldown_steps(steps, done)
        check_horizon(fit, done + length)
        path = LRPath.of(seen.lrs, fit.peak)
        path = path.then(float(path.share[-1]), after).decayed(Schedule((fall(length, shape, to=to),)))
        now = float(seen.lrs[-1]) / fit.peak
        told = of_low_rates(fit, path) + (
            (f"begins at {now:.2g} of the peak, as the run has decayed already",) if now < 0.99 else ()
        )
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
            if math.isclose(peak, fit.peak, rel_tol=_SAME_PEAK):
                return fit
        raise ValueError(
            f"peak_lr={peak:g}, but the runs had {listed}: no loss-curve law is known to hold at another peak (final losses "
            "were off by .03 to .05 where that was measured); fit it to a run at that peak, or take transfer_lr"
        )

    def __repr__(self) -> str:
        peaks = ", ".join(f"{peak:g}" for peak in self.peaks)
        return f"Law({self.runs} run{'s' * (self.runs > 1)}, {WORDS[self.quantity]}, peak {peaks}, {self.horizon:.0f} steps)"


def _names(runs: Sequence[Run]) -> list[str]:
    """What each run is called in a message."""
    return [
        (Path(run.source).name or f"run {i}") if isinstance(run, History) else str(run) for i, run in enumerate(runs, start=1)
    ]


def _schedule(what: Schedule | str, steps: int | None, kwargs: dict[str, Any]) -> Schedule:
    if isinstance(what, Schedule):
        if kwargs:
            raise ValueError(f"{', '.join(kwargs)}: arguments go with a schedule's name, and a Schedule was given")
        return what
    if steps is None:
        raise ValueError(f"{what!r} is a name, and a name needs steps=, the length of the run")
    return build(what, whole("steps", steps), **kwargs)


def _cooldown_steps(steps: Length | None, done: int) -> int:
    """How long a cooldown is that starts after `done` steps."""
    asked = _DECAY if steps is None else steps
    share = asked if isinstance(asked, float) and 0 < asked < 1 else None
    if isinstance(asked, str) and asked.strip().endswith("%"):
        share = Horizon(10**9).steps_of(asked, "steps", of=1.0)
    if share is not None:
        if not 0 < share < 1:
            raise ValueError(f"steps={steps!r}: a share of the run must lie between 0 and 1")
        return max(round(done * share / (1 - share)), 1)
    length = round(Horizon(10**9).steps_of(asked, "steps"))
    if length < 1:
        raise ValueError(f"steps={steps!r}: a cooldown takes 1 step or more")
    return length


def _apart(forecasts: list[Forecast]) -> list[Forecast]:
    """Forecasts whose names tell them apart."""
    names = [forecast.name for forecast in forecasts]
    twice = {name for name in names if names.count(name) > 1}
    return [replace(one, name=f"{one.name} {i}") if one.name in twice else one for i, one in enumerate(forecasts, start=1)]
