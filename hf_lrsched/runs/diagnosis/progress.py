"""The loss hardly falls, or fell too fast: whether the learning rate is too high or too low, by the shape of the curve.

Asked at a tenth of the run, at three tenths, and at its end. A flat curve is usually one whose rate is too high
(diagnosis.md, fact 1), so nothing here says "raise it" of a curve that ever rose.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from .custom import beyond
from .finding import Finding, rounded
from .rule import Rule
from .shape import shape
from .sight import Point, Setting, Sight
from .verdict import LIMITS, Known, verdict

Floats = npt.NDArray[np.float64]

ASKED = (0.1, 0.3)  # shares of the run; and its end
EARLY = (20, 50)  # points, after which a jump of the first updates is told: two thirds that blow up do so by then
_BEHIND = 2.0  # times a warm-up's length
_WARM = 0.95  # of the peak: a schedule that has been there has warmed up
_THROWN = ("jump", "rise")
_RISEN = 1.1  # times the first losses, at which it has begun to rise (diagnosis.md, fact 1: 1.07 to 1.15)
_LEAST = 0.01
_LOST = 3  # losses that were not finite: what is left of the run has no curve
_FROZEN = 0.01  # of the parameters; adapters apart, nobody means to train fewer
_NO_FALL = 0.01  # of the first loss
_GRID = 1001  # points at which a plan's sum is taken
_AGAIN = 1.5  # times its low, from which an LR has come back
_CYCLE = 0.5  # of the highest LR: a run whose LR has been below that and above it again has cycles, and its curve no shape


class LearningRate(Rule):
    """Says once that the learning rate is too high, or too low, where the curve tells it."""

    limits = LIMITS

    def __init__(self) -> None:
        self._asked = 0
        self._said = False
        self._spent: tuple[Floats, Floats] | None = None

    def see(self, point: Point, sight: Sight) -> list[Finding]:
        """At its times, what the curve says."""
        steps = sight.setting.steps
        if not self._said and sight.count in EARLY:
            return self._ask(sight, 0.0)
        if self._said or self._asked >= len(ASKED) or not steps or point.step < ASKED[self._asked] * steps:
            return []
        done = self._done(point, sight)
        if done is None or done < ASKED[self._asked]:
            return []
        self._asked += 1
        return self._ask(sight, done)

    def over(self, sight: Sight) -> list[Finding]:
        """At the end: of the run, or of its file."""
        if self._said or not sight.points:
            return []
        done = self._done(sight.points[-1], sight)
        return self._ask(sight, 1.0 if done is None else done)

    def _done(self, point: Point, sight: Sight) -> float | None:
        """How much of the run's learning rate has been spent, from 0 to 1; None where its plan is not known."""
        setting = sight.setting
        if not setting.steps:
            return None
        if setting.schedule is None:  # of whatever decays more is spent than that, once its warm-up is well behind
            behind = sight.peak_at == sight.begun or point.step >= _BEHIND * sight.peak_at
            return point.step / setting.steps if behind else None
        self._spent = self._spent or spent(setting)
        return None if self._spent is None else float(np.interp(point.step, *self._spent))

    def _ask(self, sight: Sight, done: float) -> list[Finding]:
        curve = shape(sight)
        later = sight.begun > max(sight.setting.averaged, 1)  # the file does not hold the run's beginning
        if curve is None or later or cycles(sight) or sight.lost >= _LOST:
            return []
        last = sight.points[-1]
        known = Known(
            done, last.step - sight.begun + 1, _begins_untrained(sight), beyond(sight.setting, last), _constant(sight)
        )
        found = verdict(curve, known, self.limits)
        if found is None or (not done and found.sign != "jump"):  # a rise may come back
            return []
        self._said = True
        factor, evidence = found.factor, found.evidence
        if found.sign in _THROWN and (rose := _where_it_rose(sight)) is not None:
            factor = max((factor or 1.0) * rose[0] / rose[1], _LEAST)
            evidence += f"; it began to rise at an LR of {rose[0]:.2g}, on the way to {rose[1]:.2g}"
        share = 1.0 if sight.setting.trainable is None else sight.setting.trainable
        frozen = found.sign == "hardly moved" and share < _FROZEN and not sight.setting.adapters
        return [
            Finding(
                "explodes" if found.sign in _THROWN else "slow",
                "nothing trainable" if frozen else "unknown" if found.lr == "unknown" else "lr " + found.lr,
                step=last.step,
                since=sight.begun,
                title=_TITLES[found.sign],
                evidence=evidence,
                advice=f"{share:.2%} of the parameters are trained: unfreeze the rest"
                if frozen
                else _advice(factor, curve.fall),
                factor=None if frozen else factor,
                confidence="medium" if frozen else found.confidence,
            )
        ]


def _where_it_rose(sight: Sight) -> tuple[float, float] | None:
    """The LR at which the loss first rose, and the peak; None where that was at the peak."""
    start = max(sight.first[:3])
    peak = sight.peak
    lr = next((lr for loss, lr in zip(sight.first, sight.first_lrs, strict=True) if loss > _RISEN * start), peak)
    return (lr, peak) if 0 < lr < peak else None


def _advice(factor: float | None, fall: float) -> str:
    if factor is None:
        return "look whether labels belong to their inputs (decode a batch), and run a range test (find_lr)"
    by = f"divide the peak by {rounded(1 / factor)}" if factor < 1 else f"multiply the peak by {rounded(factor)}"
    more = "; and see that weights are trainable and labels belong to their inputs" if abs(fall) < _NO_FALL else ""
    return f"{by} or more; a range test (find_lr) tells where it should be{more}"


_TITLES = {
    "jump": "the first updates threw the loss far up",
    "rise": "the first steps threw the loss up, and it has not come back",
    "stopped": "the loss has stopped falling, with most of it left",
    "dead": "the loss does not move any more",
    "stuck": "the loss fell at once, and has been flat since",
    "hardly moved": "the loss has hardly moved",
    "still falling": "the loss fell as fast at the end as before",
    "straight": "the loss fell along a straight line to the end",
}


def _begins_untrained(sight: Sight) -> bool:
    """Whether the first loss that was seen is that of random weights: and no mean over many."""
    setting = sight.setting
    return bool(setting.untrained) and setting.averaged == 1 and not setting.adapters  # those of a random base learn little


def _constant(sight: Sight) -> bool:
    return sight.lowest_lr >= _WARM * sight.highest_lr


def cycles(sight: Sight) -> bool:
    """Whether the learning rate has come back up after it was low."""
    lowest = math.inf
    for step, _, lr, _ in sight.blocks:
        if step >= sight.peak_at:
            lowest = min(lowest, lr)
            if lowest < _CYCLE * sight.highest_lr and lr > _AGAIN * lowest:
                return True
    return False


def spent(setting: Setting) -> tuple[Floats, Floats] | None:
    """Steps, and the share of all of the run's learning rate that is spent by each; None where its plan is not known."""
    if not setting.steps or setting.schedule is None:
        return None
    steps = np.linspace(0, setting.steps, _GRID)
    rates = setting.schedule.values(steps)
    sums = np.concatenate([[0.0], np.cumsum((rates[1:] + rates[:-1]) / 2)])
    return (steps, sums / sums[-1]) if sums[-1] > 0 else None
