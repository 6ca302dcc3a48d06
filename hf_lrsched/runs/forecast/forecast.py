"""What a law says of a schedule: `Forecast`, `Comparison`, `Optimized`. All of it is a prediction.

What it does not know: how it was come by (`law`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from ...schedules.schedule import Schedule
from ...schedules.spec import to_spec
from .fitting import SPREAD
from .observed import Quantity

Floats = npt.NDArray[np.float64]

_SHOWN = 400  # points of a curve
_BEGIN = 0.005  # of a run: before, a power law of the steps means nothing


@dataclass(frozen=True)
class Forecast:
    """The loss under a schedule, as a law predicts it.

    Args:
        name: of the schedule.
        peak_lr: its peak.
        steps: optimizer steps in all.
        quantity: ``"eval_loss"`` or ``"loss"``, what the law was fitted to.
        step: how many updates were done, shape (n,), the last one `steps`.
        lr: the learning rate of the update before, shape (n,).
        loss: the predicted loss, shape (n,).
        sd: the standard deviation of a measured loss from it, shape (n,): for the law's parameters, its misfit to its own
            runs, the other law, and the noise of a loss.
        momentum: the final loss by the momentum law, a second opinion.
        cautions: what to know before it is believed, in sentences.
        schedule: where it is one; None for a run that went on by other means.
        slopes: of the final loss in the law's parameters, by which two forecasts of one law are compared.
    """

    name: str
    peak_lr: float
    steps: int
    quantity: Quantity
    step: Floats
    lr: Floats
    loss: Floats
    sd: Floats
    momentum: float
    cautions: tuple[str, ...] = ()
    schedule: Schedule | None = None
    slopes: tuple[float, ...] = ()

    @property
    def final(self) -> float:
        """The loss after the last step."""
        return float(self.loss[-1])

    def interval(self, level: float = 0.9) -> tuple[float, float]:
        """Between which values the final loss lies with probability `level`.

        Raises:
            ValueError: for a level that is not between 0 and 1.
        """
        away = _quantile(level) * float(self.sd[-1])
        return self.final - away, self.final + away

    @property
    def low(self) -> Floats:
        """The lower edge of the 90 % band, shape (n,)."""
        return self.loss - _quantile(0.9) * self.sd

    @property
    def high(self) -> Floats:
        """Its upper edge."""
        return self.loss + _quantile(0.9) * self.sd

    @property
    def low50(self) -> Floats:
        """The lower edge of the 50 % band, shape (n,)."""
        return self.loss - _quantile(0.5) * self.sd

    @property
    def high50(self) -> Floats:
        """Its upper edge."""
        return self.loss + _quantile(0.5) * self.sd

    def __str__(self) -> str:
        low, high = self.interval()
        digits = _digits(high - low)
        what = "held-out" if self.quantity == "eval_loss" else "training"
        told = (
            f"{self.name}, {self.steps:,} steps at {self.peak_lr:g}: predicted {what} loss "
            f"{self.final:.{digits}f} (90 %: {low:.{digits}f} to {high:.{digits}f}; momentum law: {self.momentum:.{digits}f})"
        )
        return "\n".join([told, *(f"caution: {caution}" for caution in self.cautions)])

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; the curve as it is."""
        return {
            "prediction": True,
            "name": self.name,
            "schedule": None if self.schedule is None else to_spec(self.schedule),
            "peak_lr": self.peak_lr,
            "steps": self.steps,
            "quantity": self.quantity,
            "final": self.final,
            "interval_90": list(self.interval(0.9)),
            "interval_50": list(self.interval(0.5)),
            "momentum": self.momentum,
            "cautions": list(self.cautions),
            "curve": {
                name: [float(value) for value in values]
                for name, values in (("step", self.step), ("lr", self.lr), ("loss", self.loss), ("sd", self.sd))
            },
        }


@dataclass(frozen=True)
class Comparison:
    """Forecasts of one law side by side.

    Args:
        forecasts: the best first.
        gaps: by how much each ends above the first, and the 90 % interval of that, in which what the law is off by for
            both alike does not count.
        cautions: what to know before they are believed.
    """

    forecasts: tuple[Forecast, ...]
    gaps: tuple[tuple[float, float, float], ...]
    cautions: tuple[str, ...] = ()

    @property
    def ties(self) -> tuple[str, ...]:
        """The names of those that cannot be told from the first: the interval of their gap reaches 0."""
        pairs = list(zip(self.forecasts, self.gaps, strict=True))[1:]
        return tuple(forecast.name for forecast, (_, low, _) in pairs if low <= 0.0)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        rows = [
            {**forecast.to_dict(), "gap": gap, "gap_interval_90": [low, high]}
            for forecast, (gap, low, high) in zip(self.forecasts, self.gaps, strict=True)
        ]
        return {"forecasts": rows, "ties": list(self.ties), "cautions": list(self.cautions)}

    def __str__(self) -> str:
        rows = [str(replace(forecast, cautions=())) for forecast in self.forecasts]
        tied = [f"not told apart from {self.forecasts[0].name}: {', '.join(self.ties)}"] if self.ties else []
        return "\n".join([*rows, *tied, *(f"caution: {caution}" for caution in self.cautions)])


@dataclass(frozen=True)
class Optimized:
    """The cooldown that a law likes best, as a schedule. Its gain is a prediction and no result.

    Args:
        lr_scheduler_type, lr_scheduler_kwargs: for TrainingArguments.
        forecast: of it.
        baseline: of `wsd` as it is without arguments, over the same floor.
        gain: by how much it ends below the baseline.
        gain_interval: the 90 % interval of that.
        trusted: the shares of the run and the lowest share of the peak that were looked at, which are those that the
            runs had.
    """

    lr_scheduler_type: str
    lr_scheduler_kwargs: dict[str, Any]
    forecast: Forecast
    baseline: Forecast
    gain: float
    gain_interval: tuple[float, float]
    trusted: dict[str, float]

    @property
    def schedule(self) -> Schedule:
        """The schedule itself."""
        assert self.forecast.schedule is not None  # it was made of one
        return self.forecast.schedule

    def to_training_args(self) -> dict[str, Any]:
        """Keyword arguments for TrainingArguments, its length and peak among them."""
        return {
            "lr_scheduler_type": self.lr_scheduler_type,
            "lr_scheduler_kwargs": dict(self.lr_scheduler_kwargs),
            "learning_rate": self.forecast.peak_lr,
            "max_steps": self.forecast.steps,
        }

    @property
    def label(self) -> str:
        """What it is worth, in a sentence."""
        low, high = self.gain_interval
        digits = _digits(high - low)
        gain = f"{self.gain:.{digits}f} below wsd's defaults (90 %: {low:.{digits}f} to {high:.{digits}f})"
        told = f"a prediction, not a result: {gain}"
        return told if low > 0 else f"{told}, which is not told apart from nothing"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "label": self.label,
            "lr_scheduler_type": self.lr_scheduler_type,
            "lr_scheduler_kwargs": dict(self.lr_scheduler_kwargs),
            "forecast": self.forecast.to_dict(),
            "baseline": self.baseline.to_dict(),
            "gain": self.gain,
            "gain_interval_90": list(self.gain_interval),
            "trusted": dict(self.trusted),
        }

    def __str__(self) -> str:
        return f"{self.forecast}\n{self.label}"


def shown(steps: float) -> Floats:
    """The numbers of updates at which a curve of `steps` is given, from the first to the last."""
    first = max(1.0, _BEGIN * steps)
    return np.unique(np.round(np.linspace(min(first, steps), steps, min(_SHOWN, max(int(steps), 2)))))


def _digits(width: float) -> int:
    """Decimals that show two digits of an interval, four at least where losses are what they are in nats."""
    return 4 if not 0 < width < math.inf else max(1 - math.floor(math.log10(width)), 4 if width < 1 else 0)


def _quantile(level: float) -> float:
    if not 0 < level < 1:
        raise ValueError(f"level={level} must be above 0 and below 1, such as 0.9")
    return NormalDist().inv_cdf(0.5 + level / 2)


def gap_between(one: Forecast, other: Forecast, covariance: Floats, discrepancy: float) -> tuple[float, float, float]:
    """By how much `one` ends above `other`, and the 90 % interval of that."""
    difference = one.final - other.final
    slopes = np.array(one.slopes) - np.array(other.slopes)
    own = discrepancy**2 * (one.final**2 + other.final**2) if one is not other else 0.0
    own += (SPREAD * ((one.momentum - one.final) - (other.momentum - other.final))) ** 2
    away = _quantile(0.9) * math.sqrt(max(float(slopes @ covariance @ slopes), 0.0) + own)
    return difference, difference - away, difference + away
