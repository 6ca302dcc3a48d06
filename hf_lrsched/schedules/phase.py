"""Phase: the multiplier moves from one value to another over some steps, along a shape; `rise`, `hold` and `fall` make one.

A phase of *n* steps has its start value on its first step and would reach its end value on step *n*, the first step of the
next phase. What it does not know: where in a run it lies (`schedule`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .shapes import LINEAR, Curve, Shape, parse

if TYPE_CHECKING:
    from .schedule import Schedule


@dataclass(frozen=True)
class Phase:
    """The multiplier moves from `start` to `end` over `length` steps, along `shape`.

    Args:
        name: what a reader calls it: ``"warmup"``, ``"stable"``, ``"decay"``.
        length: steps; real, 0 or more. A phase of length 0 is passed over.
        start, end: shares of the peak, in [0, 1].
        shape: what `shapes.parse` makes of a word such as ``"cosine"``.
        until: share of the curve that is travelled, in (0, 1]; below 1 where a run ends within a phase.

    >>> Phase("decay", 100, 1.0, 0.1) >> Phase("tail", 10, 0.1, 0.1)
    Schedule(decay 100: 1 -> 0.1 linear, tail 10: 0.1)
    """

    name: str
    length: float
    start: float
    end: float
    shape: Shape = LINEAR
    until: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", parse(self.shape))
        if not 0.0 <= self.length < math.inf:
            raise ValueError(f"phase '{self.name}' has a length of {self.length!r} steps; it must be finite, 0 or more")
        for value in (self.start, self.end):
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"phase '{self.name}': {value!r} is not a share of the peak between 0 and 1")
        if not 0.0 < self.until <= 1.0:
            raise ValueError(f"phase '{self.name}': until={self.until!r} must be above 0 and at most 1")
        self.curve()  # refuses a curve that its ends do not allow

    def curve(self) -> Curve:
        """Fraction travelled at progress in [0, 1], as ``f(p, m)`` with `math` or `numpy` for `m`."""
        if self.start == self.end:
            return lambda p, m: p
        return self.shape.curve(self.end / self.start if self.start else math.inf)

    @property
    def last(self) -> float:
        """The value on the step after the phase: `end`, or where the curve was cut short."""
        if self.until == 1.0:
            return self.end
        return self.start + (self.end - self.start) * float(self.curve()(self.until, math))

    def __rshift__(self, after: Phase | Schedule) -> Schedule:
        from .schedule import Schedule

        return Schedule((self,)) >> after

    def __str__(self) -> str:
        if self.start == self.last:
            return f"{self.name} {self.length:g}: {self.start:g}"
        return f"{self.name} {self.length:g}: {self.start:g} -> {self.last:g} {self.shape}"


def rise(length: float, shape: str | Shape = "linear", *, start: float = 0.0, to: float = 1.0, name: str = "warmup") -> Phase:
    """A phase up to the peak.

    >>> str(rise(100))
    'warmup 100: 0 -> 1 linear'
    """
    return Phase(name, length, start, to, parse(shape))


def hold(length: float, *, at: float = 1.0, name: str = "stable") -> Phase:
    """A phase that stays where it is.

    >>> str(hold(100))
    'stable 100: 1'
    """
    return Phase(name, length, at, at)


def fall(length: float, shape: str | Shape = "cosine", *, start: float = 1.0, to: float = 0.0, name: str = "decay") -> Phase:
    """A phase down from the peak.

    >>> str(fall(100, "1-sqrt", to=0.1))
    'decay 100: 1 -> 0.1 1-sqrt'
    """
    return Phase(name, length, start, to, parse(shape))
