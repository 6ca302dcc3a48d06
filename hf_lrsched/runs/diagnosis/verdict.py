"""Whether the learning rate is too high or too low, from the shape of the loss curve: `verdict`, which mostly abstains.

Each of the signs is one that runs under a good learning rate do not show, by a margin. They were measured on the 540 labelled
runs of DeepOBS at constant learning rates (scripts/bench_diagnosis.py; networks from scratch, no Transformer). So what asks
how much of the loss has gone by now is asked only of models that began untrained, as a healthy fine-tuning may take off a
twentieth in all; and of few steps more is asked, as the best of rates ends a run of 500 in the middle of its fall.

What it does not know: losses that are not finite (`explosion`), and runs whose learning rate comes back (cycles).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .finding import Confidence
from .shape import Shape


@dataclass(frozen=True)
class Limits:
    """Where a sign begins. Beside each: the nearest that a run without that fault came.

    Args:
        jump: a first loss, over the very first. Good runs: at most 20 (Adam on a quadratic), else 4.0.
        rise: a loss or a block over the first; diagnosis.md, fact 1: perfect from 1.07 to 1.15 on 127 flat runs; and
        flat: of the first loss, which is left after it. Good runs: 0.21.
        rose, left: the same for a larger rise, in models that began untrained. Good runs: 0.21. `left` also holds for `dead`
            and `stuck`: whoever has lost half of the loss has learned something.
        hardly: of the first loss, which is left at a tenth of the run. Good runs: 0.71.
        moving: of the fall, that came in the last three quarters. Runs that are too high: 0.11; too low: 0.34.
        steady: of the fall, that came in each of the last two octaves of a whole run. Good runs: 0.115.
        dead: spread of the blocks over the first loss, below which the network says the same to everything.
        stuck: of the fall, that the edges of the last three octaves differ by; and
        early: of the fall, that was done in the first sixty-fourth. Good runs: none with half of the loss left.
    """

    jump: float = 50.0
    rise: float = 1.1
    flat: float = 0.9
    rose: float = 1.3
    left: float = 0.5
    hardly: float = 0.75
    moving: float = 0.2
    steady: float = 0.12
    dead: float = 1e-4
    stuck: float = 0.02
    early: float = 0.95


LIMITS = Limits()
_EARLIEST = 0.09  # of the run: `hardly` was measured at a tenth, of which a log of means leaves out a little
FEWEST = 64  # steps at least, before it is said of a curve that it has hardly moved
FEW = 1000  # steps, below which `hardly` and `steady` are FEW_HARDLY and FEW_STEADY
# The Llama of the recipes' demo has lost 15 % after 50 steps of 500 at its best rate, and ends with octaves of 19 and 20 %.
FEW_HARDLY, FEW_STEADY = 0.9, 0.25
# Of the fall in the last three octaves: a straight line has 0.5, 0.25 and 0.125; one that bends has less and less.
_LINE = ((0.4, 0.7), (0.15, 0.35), (0.0, 0.3))
FEWEST_STRAIGHT = 400  # steps; the best of rates ends 100 of them on a line that took off a third
_WHOLE = 0.95  # of the run: what a log of means leaves out at its end is no matter
_FIRST_UPDATES = 3  # a single jump behind them is the rate's; a single one later may be a bad batch
_STILL = 1.07  # the lower end of fact 1's range: a curve that stays below has not jumped
_FROM = 1.02  # of the first loss: above it something moves, if not the right way
_ABOVE = 1.05  # of the first loss: whatever the labels are, a curve that ends above it was thrown there
_MUCH = 1.5  # times the first loss, that wrong labels alone do not take it to
_SEEN = 0.03  # of the first loss: a fall that is smaller may lie in the noise, and tells nothing of its own shape
_CLEAR = 6  # times the noise of a block: the highest of fifty losses is 2.3 above their mean
# Times the highest of the last losses, which a heavy tail reaches by chance: chosen on made-up fine-tunings (LOG.md).
_REACHED = 1.4
_LOW = 3  # times the noise of a single loss, that the first may lie low by chance
_NOISE = 0.3  # of the fall: so much noise in a block, and its octaves tell nothing


@dataclass(frozen=True)
class Verdict:
    """What a curve says about the learning rate.

    Args:
        lr: ``"too high"``, ``"too low"``; or ``"unknown"``: something is wrong, and it may be the rate.
        sign: what was seen, in a word.
        evidence: the numbers.
        factor: what to multiply the peak by; three quarters of the runs that show the sign are wrong by that much or more.
        confidence: how sure that is.
    """

    lr: Literal["too high", "too low", "unknown"]
    sign: str
    evidence: str
    factor: float | None
    confidence: Confidence = "high"


@dataclass(frozen=True)
class Known:
    """What is known beside the curve.

    Args:
        done: how much of the run has been seen, from 0 to 1.
        steps: how many steps that is.
        untrained: whether the model began with random weights. Where that is not known: False.
        beyond: whether the rate is far above what such an optimizer is used with (`custom`).
        constant: whether it has stayed at its peak; the end of a decay is another reason to fall.
    """

    done: float
    steps: int
    untrained: bool = False
    beyond: bool = False
    constant: bool = True


def verdict(curve: Shape, known: Known, limits: Limits = LIMITS) -> Verdict | None:
    """What `curve` says, or None where it does not tell."""
    found = _thrown(curve, known, limits)
    if found is None and known.untrained and known.done >= _EARLIEST:
        found = _stuck(curve, known, limits) or _too_low(curve, known, limits) or _straight(curve, known, limits)
    return found


_EITHER = "a rate that is too high, or labels that do not belong to the inputs"


def _thrown(curve: Shape, known: Known, limits: Limits) -> Verdict | None:
    """Up in the first steps, and not come back from it."""
    start, rise = f"its first value ({curve.start:.4g})", max(curve.rise, curve.high)
    noise = max(curve.noise, curve.single)  # of a single loss, as the first is one
    far = curve.rise > max(limits.jump, 1 + _CLEAR * noise)
    if far and (curve.first_rise <= _FIRST_UPDATES or curve.again > 2):
        told = f"the loss went to {curve.rise:.3g} times {start} at loss {curve.first_rise + 1} of the run; of 122 good runs "
        return Verdict("too high", "jump", told + "none went beyond 20 times", 0.1)
    clear = 1 + _CLEAR * (noise if curve.level > _ABOVE or rise > _MUCH else max(noise, curve.shaky))
    flat = rise > limits.rise and curve.floor > limits.flat
    rose = known.untrained and rise > limits.rose and curve.floor > limits.left
    if _by_chance(rise, curve, known) or not (rise > clear and (flat or rose)):
        return None
    told = f"the loss rose to {rise:.3g} times {start}, and {curve.floor:.2f} of it is left"
    if limits.flat < curve.level < _ABOVE and rise < _MUCH and not known.beyond:
        return Verdict("unknown", "stopped", f"{told}: {_EITHER}", None, "low")
    told += "; good runs that rise so far are below 0.22 at a tenth of the run"
    return Verdict("too high", "rise", told, 0.1 if flat else 0.3)


def _by_chance(rise: float, curve: Shape, known: Known) -> bool:
    """Whether the last losses reach as high and are no higher: the first was low by chance, which random weights' is not."""
    return not known.untrained and rise <= _REACHED * curve.tail and curve.level <= 1 + _LOW * curve.single


def _stuck(curve: Shape, known: Known, limits: Limits) -> Verdict | None:
    """Not moving any more, though much is left."""
    if curve.level > limits.left and curve.spread < limits.dead and curve.early > 0.5:
        told = (
            f"the loss stays at {curve.level:.3f} of its first value to within {curve.spread:.1g}: the network says the same "
        )
        return Verdict("too high", "dead", f"{told}to everything", 0.1)
    last, before = curve.drops[:2]
    told = f"{curve.level:.2f} of the first loss ({curve.start:.4g}) is left, and of the fall "
    if (
        curve.fall > _SEEN
        and curve.noise < _NOISE * curve.fall
        and curve.level > limits.hardly
        and last + before < limits.moving / 2
    ):
        told += f"{max(last + before, 0):.0%} came in the last three quarters of what was seen"
        if known.beyond:
            return Verdict("too high", "stopped", f"{told}; so large a rate is far beyond what is used", 0.1, "medium")
        return Verdict("unknown", "stopped", f"{told}: {_EITHER}", None, "low")
    if limits.left < curve.level <= limits.hardly and curve.drift < limits.stuck and curve.early > limits.early:
        told += (
            f"{min(curve.early, 1):.0%} was done in the first 1.6 % of what was seen; the edges of the last three octaves "
        )
        told += f"differ by {curve.drift:.1%} of it"
        return Verdict("too high", "stuck", told, 0.3, "medium")
    return None


def _too_low(curve: Shape, known: Known, limits: Limits) -> Verdict | None:
    """Never thrown up, still falling, and not far."""
    if known.beyond or _rises(curve) or curve.level > _FROM or curve.low < curve.level - max(_SEEN, 3 * curve.noise):
        return None
    few = known.steps < FEW
    last, before = curve.drops[:2]
    unseen = curve.fall < _SEEN or curve.noise > _NOISE * curve.fall
    hardly = curve.level > (max(FEW_HARDLY, limits.hardly) if few else limits.hardly)
    if hardly and known.steps >= FEWEST and (unseen or last + before > limits.moving):
        told = f"{curve.level:.1%} of the first loss ({curve.start:.4g}) is left at {known.done:.0%} of the run, "
        if unseen and max(curve.rise, curve.high) >= _STILL:
            if known.done < _WHOLE:  # it may yet show
                return None
            told += f"and what it fell lies within its noise, as does its rise to {max(curve.rise, curve.high):.2f} times it"
            return Verdict("unknown", "hardly moved", told, None, "low")
        told += "it never rose, and "
        told += (
            "what fell lies within the noise"
            if unseen
            else f"{last + before:.0%} of the fall came in the last three quarters"
        )
        return Verdict("too low", "hardly moved", told, 10.0 if curve.level > 0.95 else 5.0)
    if (
        known.done >= _WHOLE
        and known.constant
        and min(last, before) > (max(FEW_STEADY, limits.steady) if few else limits.steady)
    ):
        told = (
            f"the last half of the run brought {last:.0%} of the whole fall, the quarter before it {before:.0%}: so steady a "
        )
        return Verdict("too low", "still falling", f"{told}fall has not come near its end", 3.0, "medium")
    return None


def _straight(curve: Shape, known: Known, limits: Limits) -> Verdict | None:
    """A fall along a straight line, which has not begun to bend at the run's end."""
    clear = curve.fall > _CLEAR * curve.noise or curve.trend > 2 * _CLEAR
    least = limits.hardly if known.steps < FEWEST_STRAIGHT else 0.5  # of the first loss, that is left
    straight = all(low <= drop <= high for drop, (low, high) in zip(curve.drops, _LINE, strict=False))
    if known.done < _WHOLE or known.beyond or _rises(curve) or not clear or not straight or curve.level < least:
        return None
    last, before = curve.drops[:2]
    told = f"{last:.0%} of the fall came in the last half of what was trained and {before:.0%} in the quarter before it: it "
    told += f"went along a straight line, and took off {curve.fall:.1%} of the loss in all"
    return Verdict("too low", "straight", told, 5.0, "medium")


def _rises(curve: Shape) -> bool:
    """Whether it was ever above its beginning, by more than its noise."""
    return max(curve.rise, curve.high) >= max(_STILL, 1 + _CLEAR * max(curve.shaky, 0.0))
