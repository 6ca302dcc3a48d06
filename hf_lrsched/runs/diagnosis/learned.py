"""Nothing is learned: the model begins worse than guessing, ends no better than it, or its loss has hardly moved.

What is asked only of models whose vocabulary or labels are known, as the loss of guessing is the logarithm of their number.
In fine-tuning a rate that is a hundred times too low and one that is right take off about as much (the runs of
scripts/bench_diagnosis.py: 1.5 to 8.8 % and 6.9 to 30 %), so of a trained model no curve says that its rate is too low.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ..smoothing import noise
from .finding import Finding
from .rule import Rule
from .sight import Point, Sight

WORSE = 1.1  # times the loss of guessing, above which a trained language model does not begin: healthy ones have 0.1 to 0.6
BETTER = 0.95  # times the loss of guessing, which is the least that labels that can be learned give by the end of a run
ABOUT = 1.2  # times it, above which something else is wrong
HARDLY = 0.05  # of the loss, that a run should take off: 3 standard errors less certain than that, it is not said
FROZEN = 0.01  # of the parameters; adapters apart, nobody means to train fewer
_FIRST = 10  # losses, of which the median is the first
_LEAST = 64  # steps
_ERRORS = 3.0


class BeginsWorse(Rule):
    """A language model that was trained before begins worse than guessing."""

    def see(self, point: Point, sight: Sight) -> list[Finding]:
        """Once, when ten have been seen."""
        setting = sight.setting
        if (
            sight.count != _FIRST
            or setting.untrained is not False
            or setting.vocabulary < 2
            or sight.begun > setting.averaged
        ):
            return []
        first, guessing = sight.losses.median, math.log(setting.vocabulary)
        if not min(first, *sight.first[:1]) > WORSE * guessing:  # the very first is before any update
            return []
        return [
            Finding(
                "slow",
                "wrong labels",
                step=point.step,
                since=sight.begun,
                title="the model begins worse than guessing",
                evidence=f"the first loss is {sight.first[0]:.3f} and the median of {_FIRST} is {first:.3f}; "
                f"guessing among {setting.vocabulary} tokens is {guessing:.3f}, and the model's weights are not random",
                advice="see that labels are the inputs themselves (the model shifts them) and that the tokenizer is the "
                "model's own, unless the data are unlike any that it was trained on; no learning rate has acted by then",
                confidence="medium",
            )
        ]


class NothingLearned(Rule):
    """At the end of a run: no better than guessing, or hardly any better than at its beginning."""

    def over(self, sight: Sight) -> list[Finding]:
        """Asked of runs that have gone to their end, or nearly."""
        setting, last = sight.setting, sight.points[-1].step if sight.points else 0
        whole = setting.steps is None or last >= 0.95 * setting.steps
        if not whole or last < _LEAST or len(sight.blocks) < 8 or sight.lost or sight.begun > setting.averaged:
            return []
        loss, time = np.asarray(sight.blocks, dtype=np.float64)[:, [1, 3]].T
        now = float(np.median(loss[-max(len(loss) // 10, 2) :]))
        if setting.labels > 1 and BETTER < now / math.log(setting.labels) < ABOUT:
            return [self._guesses(sight, last, now)]
        first = float(np.median(sight.first[:_FIRST]))
        if setting.untrained or not first > 0:
            return []
        fall, error = (value / first for value in line(time, loss))
        return [self._hardly(sight, last, fall, error)] if abs(fall) + _ERRORS * error < HARDLY else []

    def _guesses(self, sight: Sight, last: int, now: float) -> Finding:
        labels = sight.setting.labels
        return _said(
            sight,
            last,
            "the model is no better than guessing",
            f"the loss ends at {now:.3f}; guessing among {labels} labels is {math.log(labels):.3f}",
            "look whether labels belong to their inputs; then run a range test (find_lr)",
            attention=True,
        )

    def _hardly(self, sight: Sight, last: int, fall: float, error: float) -> Finding:
        return _said(
            sight,
            last,
            "the loss has hardly moved",
            f"a straight line through all losses falls by {fall:.1%} of the first, +- {error:.1%}",
            "nothing, where the model knew the data; else a rate that is too low, frozen weights or wrong labels, which the "
            "curve does not tell apart: a range test (find_lr) does",
            attention=False,
        )


def _said(sight: Sight, last: int, title: str, evidence: str, advice: str, *, attention: bool) -> Finding:
    """Nothing is learned: as hardly a parameter is trained, or for no reason that is known."""
    frozen = is_frozen(sight)
    return Finding(
        "slow",
        "nothing trainable" if frozen else "unknown",
        step=last,
        since=sight.begun,
        title=title,
        evidence=evidence + (f"; {sight.setting.trainable:.2%} of the parameters are trained" if frozen else ""),
        advice=_UNFREEZE if frozen else advice,
        confidence="medium" if frozen else "low",
        attention=attention or frozen,
    )


_UNFREEZE = "see which parameters require a gradient (requires_grad), and unfreeze those that should learn"


def is_frozen(sight: Sight) -> bool:
    """Whether fewer parameters are trained than anybody means to."""
    setting = sight.setting
    return setting.trainable is not None and setting.trainable < FROZEN and not setting.adapters


def line(time: npt.NDArray[np.float64], loss: npt.NDArray[np.float64]) -> tuple[float, float]:
    """How far a straight line through all of it falls, and the standard error of that.

    >>> fall, error = line(np.arange(100.0), 3 - 0.01 * np.arange(100.0) + 0.1 * (-1.0) ** np.arange(100))
    >>> 0.95 < fall < 1.05, 0.02 < error < 0.1
    (True, True)
    """
    about, length = time - time.mean(), float(time[-1] - time[0])
    spread = float((about**2).sum())
    if not spread > 0:
        return 0.0, math.inf
    slope = float((about * loss).sum()) / spread
    return -slope * length, noise(loss) / math.sqrt(spread) * length
