"""Whether the learning rate is too high or too low, from the shape of the loss curve: `verdict`, which mostly abstains.

Each of the signs is one that runs under a good learning rate do not show, by a margin. What they were measured on are the 540
labelled runs of DeepOBS at constant learning rates (scripts/bench_diagnosis.py; networks from scratch, no Transformer), so
whatever asks how much of the loss has gone by now is asked only of models that begin untrained: a healthy fine-tuning may
take off a twentieth in all.

What it does not know: losses that are not finite (`explosion`), and runs whose learning rate comes back (cycles).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .finding import Confidence
from .shape import Shape


@dataclass(frozen=True)
class Limits:
    """Where a sign begins. Beside each: the nearest that a run without that fault came, and how much room was left.

    Args:
        jump: a first loss, over the very first. Good runs: at most 7.3 (Adam on a quadratic), else 3.9; room: 2.7 times.
        rise: a loss or a block over the first; diagnosis.md, fact 1: perfect from 1.07 to 1.15 on 127 flat runs.
        flat: of the first loss, which at least is left. Good runs with such a rise: 0.76 at a tenth of the run.
        hardly: of the first loss, which at least is left at a tenth of the run. Good runs: at most 0.71.
        moving: of the fall, that must have come in the last three quarters. Runs that are too high: at most 0.11.
        steady: of the fall, that came in each of the last two octaves of a whole run. Good runs: at most 0.115.
        dead: spread of the blocks over the first loss, below which the network says the same to everything.
        stuck: of the fall, that the last three octaves may differ by; and
        early: of the fall, that was done in the first sixty-fourth. Good runs as flat: at most 0.89 (where `left` holds).
        left: of the first loss, that a run which is stuck has left. Good runs that are as flat and early: at most 0.24.
    """

    jump: float = 20.0
    rise: float = 1.1
    flat: float = 0.9
    hardly: float = 0.75
    moving: float = 0.2
    steady: float = 0.12
    dead: float = 1e-4
    stuck: float = 0.02
    early: float = 0.95
    left: float = 1 / 3


LIMITS = Limits()
_FIRST_UPDATES = 3  # a single jump behind them is the rate's; a single one later may be a bad batch
_STILL = 1.07  # the lower end of fact 1's range: a curve that stays below has not jumped
_SEEN = 0.03  # of the first loss: a fall that is smaller may lie in the noise, and tells nothing of its own shape
_CLEAR = 6  # times the noise of a block: the highest of fifty losses is 2.3 above their mean
_NOISE = 0.3  # of the fall: so much noise in a block, and its octaves tell nothing


@dataclass(frozen=True)
class Verdict:
    """What a curve says about the learning rate.

    Args:
        lr: ``"too high"`` or ``"too low"``.
        sign: what was seen, in a word.
        evidence: the numbers.
        factor: what to multiply the peak by: three quarters of the runs that show the sign are wrong by that much or more.
        confidence: how sure that is.
    """

    lr: Literal["too high", "too low"]
    sign: str
    evidence: str
    factor: float
    confidence: Confidence = "high"


def verdict(curve: Shape, *, done: float, untrained: bool, limits: Limits = LIMITS) -> Verdict | None:
    """What `curve` says, or None where it does not tell.

    Args:
        curve: the shape of what was seen of a run.
        done: how much of the run that is, from 0 to 1.
        untrained: whether the model began with random weights. Where that is not known: False.
        limits: where the signs begin.
    """
    found = _too_high(curve, limits)
    if found is None and untrained:
        found = _stuck(curve, limits) or _too_low(curve, done, limits)
    return found


def _too_high(curve: Shape, limits: Limits) -> Verdict | None:
    if curve.rise > limits.jump and (curve.first_rise <= _FIRST_UPDATES or curve.again > 2):
        where = f"at loss {curve.first_rise + 1} of the run"
        return Verdict(
            "too high",
            "jump",
            f"the loss went to {curve.rise:.3g} times its first value ({curve.start:.4g}) {where}; "
            f"{limits.jump:g} times is never seen under a rate that works",
            0.1,
        )
    if max(curve.rise, curve.high) > max(limits.rise, 1 + _CLEAR * curve.noise) and curve.floor > limits.flat:
        return Verdict(
            "too high",
            "flat after a rise",
            f"the loss rose to {max(curve.rise, curve.high):.3g} times its first value ({curve.start:.4g}) and is no lower "
            f"than {curve.floor:.2f} times it; runs that are flat because the rate is too low never rise",
            0.1,
        )
    return None


def _stuck(curve: Shape, limits: Limits) -> Verdict | None:
    if curve.level > limits.left and curve.spread < limits.dead and curve.early > 0.5:
        return Verdict(
            "too high",
            "dead",
            f"the loss stays at {curve.level:.3f} of its first value to within {curve.spread:.1g}: the network says the same "
            "to everything",
            0.1,
        )
    if curve.level > limits.left and curve.fall > _SEEN and curve.drift < limits.stuck and curve.early > limits.early:
        return Verdict(
            "too high",
            "stuck",
            f"{min(curve.early, 1):.0%} of the fall (to {curve.level:.2f} of the first loss) was done in the first 1.6 % of "
            f"what was seen, and the last three octaves differ by {curve.drift:.1%} of it",
            0.2,
            "medium",
        )
    return None


def _too_low(curve: Shape, done: float, limits: Limits) -> Verdict | None:
    if max(curve.rise, curve.high) >= _STILL or curve.low < curve.level - max(_SEEN, 3 * curve.noise):
        return None
    last, before = curve.drops[:2]
    unseen = curve.fall < _SEEN or curve.noise > _NOISE * curve.fall
    if curve.level > limits.hardly and (unseen or last + before > limits.moving):
        return Verdict(
            "too low",
            "hardly moved",
            f"{curve.level:.1%} of the first loss ({curve.start:.4g}) is left at {done:.0%} of the run, it never rose, and "
            + (
                "what fell lies within the noise"
                if unseen
                else f"{last + before:.0%} of the fall came in the last three quarters"
            ),
            10.0 if curve.level > 0.95 else 5.0,
        )
    if done >= 1 and min(last, before) > limits.steady:
        return Verdict(
            "too low",
            "still falling",
            f"the last half of the run brought {last:.0%} of the whole fall and the quarter before it {before:.0%}: so "
            "steady a fall has not come near its end",
            3.0,
            "medium",
        )
    return None
