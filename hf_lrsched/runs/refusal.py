"""Why a range test names no learning rate, and what to do: `Refusal`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from .probing import outcomes, seen_from_both_sides

if TYPE_CHECKING:
    from .range_test import RangeTest

Kind = Literal["no_descent", "diverged_at_once", "edge", "too_noisy"]

_EDGE = 0.05  # of the ramp: a fall that ends there goes on behind it


@dataclass(frozen=True)
class Refusal:
    """Why there is no suggestion, and what to do.

    Args:
        kind: ``"no_descent"``, ``"diverged_at_once"``, ``"edge"`` (the best value lies at an end of the range, or beyond
            it) or ``"too_noisy"``.
        sentence: the same for people, with the numbers.
        range: the range to try instead; None where another would not help.
    """

    kind: Kind
    sentence: str
    range: tuple[float, float] | None = None


def refusal_of(test: RangeTest) -> Refusal | None:
    """What speaks against naming a learning rate, the plainest first."""
    ramp, marks = test.ramp, test.landmarks
    if not len(ramp) and ramp.skipped:
        return Refusal(
            "diverged_at_once",
            f"all of {ramp.skipped} updates were skipped as their gradients overflowed; train in bf16 or fp32",
        )
    low, high = (float(ramp.lr[0]), float(ramp.lr[-1])) if len(ramp) else (0.0, 0.0)
    if marks.best is None and marks.end == len(ramp):
        return Refusal(
            "too_noisy", f"the ramp has only {len(ramp)} points, of which nothing can be told; give it 20 or more steps"
        )
    if marks.best is None:
        where = f"step {marks.end + 1}, at a learning rate of {ramp.lr[min(marks.end, len(ramp) - 1)]:.2g}"
        return Refusal(
            "diverged_at_once",
            f"the loss diverged at {where}, before it could fall; start lower, or look for what makes it NaN at a rate that "
            "changes nothing",
            (low / 1000, low),
        )
    if marks.falling:
        return Refusal(
            "edge",
            f"the loss falls from the first steps on, at {low:.2g}, so the range begins too high; start at {low / 1000:.2g}",
            (low / 1000, high),
        )
    fall, at = max(marks.start - marks.lowest, 0.0), int(np.searchsorted(ramp.lr, marks.best))
    seen = outcomes(test.probes)
    if not test.readings:
        learned = f"between {low:.2g} and {high:.2g} the loss never fell by more than its noise ({fall:.2g} at most, noise "
        learned += f"{marks.sigma:.2g} a step)"
        if seen:
            tried = ", ".join(f"{lr:.2g}" for lr in seen)
            sentence = f"{learned}, and that of the short runs ({tried}) did not either; take a larger batch "
            return Refusal("too_noisy", f"{sentence}(gradient_accumulation_steps), more seeds, or more steps")
        if marks.high is not None:
            sentence = f"{learned}, and turned unstable at {marks.high:.2g}; let short runs decide, or take more steps or a "
            return Refusal("too_noisy", f"{sentence}larger batch (gradient_accumulation_steps)", (low, marks.high))
        sentence = f"{learned}; is anything trainable, and do the labels belong to the inputs? If so, try a higher range"
        return Refusal("no_descent", sentence, (high / 10, high * 1000))
    return _of_edges(test, seen, at)


def _of_edges(test: RangeTest, seen: dict[float, float], at: int) -> Refusal | None:
    """Whether the best value lies at an end of the range, or beyond it; `at` is where the ramp's loss was lowest."""
    ramp, low, high = test.ramp, float(test.ramp.lr[0]), float(test.ramp.lr[-1])
    peak = float(np.exp(np.mean(np.log(test.readings))))
    best = min(seen, key=lambda lr: seen[lr], default=peak)
    if min(peak, best) < low:
        return Refusal(
            "edge",
            f"the best value seems to lie below the range, which begins at {low:.2g}; start at {low / 1000:.2g}",
            (low / 1000, high),
        )
    still_falls = test.readable and at >= (1 - _EDGE) * (len(ramp) - 1) and not seen_from_both_sides(test.probes)
    if test.lr_max is None and (still_falls or max(peak, best) > high):
        return Refusal(
            "edge",
            f"the loss still falls at the end of the range, at {high:.2g}, so the best value may lie beyond it; "
            f"end at {high * 1000:.2g}",
            (low, high * 1000),
        )
    return None
