"""Schedule, ``>>`` and `repeat`: a schedule is phases in a row, a pure function of the optimizer step.

Step 0 is the first optimizer update. After the last phase the last value is held for ever.

What it does not know: units (`lengths`), names (`catalogue`) and optimizers. A value is a multiplier, a share of each
parameter group's own peak LR; only an absolute floor needs the peak itself, and is given it by `Schedule.lr`.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from .checks import real, whole
from .phase import Phase
from .shapes import Curve

Floats = npt.NDArray[np.float64]

_BLOCK = 1 << 15  # steps evaluated at a time: temporaries of 256 KiB stay in cache, which doubles the speed


@dataclass(frozen=True, repr=False)
class Schedule:
    """Phases in a row. Call it with a step for the multiplier of the peak LR.

    Args:
        phases: at least one.
        momentum: a second track, itself a schedule, whose values are momentum (beta1 under Adam); or none.
        min_lr: an absolute floor in units of the LR, which holds after the warm-up in every parameter group. Where a
            phase starts or ends at 0 it starts or ends at this floor instead; elsewhere the floor is a lower bound.
        name: its name in the catalogue, if it has one. Two schedules that differ in their name alone are equal.

    >>> from hf_lrsched import fall, hold, rise
    >>> schedule = rise(10) >> hold(70) >> fall(20, "1-sqrt")
    >>> schedule(0), schedule(5), schedule(50), schedule(85), schedule(10**9)
    (0.0, 0.5, 1.0, 0.5, 0.0)
    >>> schedule.phase(85).name, schedule.total
    ('decay', 100)
    """

    phases: tuple[Phase, ...]
    momentum: Schedule | None = None
    min_lr: float = 0.0
    name: str = field(default="", compare=False)

    # Worked out once, as the scheduler asks at every step.
    _total: int | float = field(init=False, repr=False, compare=False)
    _warmup: float = field(init=False, repr=False, compare=False)
    _starts: list[float] = field(init=False, repr=False, compare=False)
    _rows: list[_Row] = field(init=False, repr=False, compare=False)
    _floors: list[tuple[float, float]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.phases:
            raise ValueError("a schedule needs at least one phase")
        real("min_lr", self.min_lr, least=0)
        phases = tuple(self.phases)
        ends = np.cumsum([phase.length for phase in phases]).tolist()
        # Shares of a run are real numbers, and their sums may miss a whole step by a rounding: 7 twelfths of 12 are 7.
        ends = [round(end) if abs(end - round(end)) < 1e-6 else end for end in ends]
        starts, total = [0.0, *map(float, ends[:-1])], ends[-1]
        warmup = _peak_reached(phases, starts)
        late = [start >= warmup for start in starts]
        self._keep(
            phases=phases,
            _total=total,
            _warmup=warmup,
            _starts=starts,
            _rows=[_row(start, phase) for start, phase in zip(starts, phases, strict=True)],
            _floors=[
                (float(after and phase.start == 0.0), float(after and phase.end == 0.0))
                for after, phase in zip(late, phases, strict=True)
            ],
        )

    def _keep(self, **attributes: object) -> None:
        for name, value in attributes.items():
            object.__setattr__(self, name, value)

    @property
    def total(self) -> int | float:
        """Steps until the last value is held; whole for every schedule of the catalogue."""
        return self._total

    @property
    def warmup(self) -> float:
        """Steps before the highest value is first reached. An absolute floor holds from here on."""
        return self._warmup

    def __call__(self, step: float) -> float:
        """The multiplier at `step`, 0 or more. With an absolute floor this is the share without it; see `lr`."""
        if step >= self._total:
            return self.phases[-1].last
        if step < 0:
            raise ValueError(f"step {step!r}: steps count from 0")
        start, scale, first, change, curve = self._rows[bisect_right(self._starts, step) - 1]
        return first + change * curve((step - start) * scale, math)  # type: ignore[no-any-return]  # a float under math

    def values(self, steps: int | npt.ArrayLike | None = None) -> Floats:
        """Multipliers as a float64 array.

        Args:
            steps: how many steps from 0 on (default: the whole run), or an array of steps in any order and shape.

        >>> from hf_lrsched import hold, rise
        >>> (rise(2) >> hold(2)).values()
        array([0. , 0.5, 1. , 1. ])
        >>> (rise(2) >> hold(2)).values([1, 99])
        array([0.5, 1. ])
        """
        return self._tracks(_as_array(self._total if steps is None else steps))[0]

    def lr(self, step: float, peak: float) -> float:
        """The learning rate at `step` of a group whose peak LR is `peak`, the absolute floor included.

        Raises:
            ValueError: where the floor is above the peak.
        """
        return float(self.lrs([step], peak)[0])

    def lrs(self, steps: int | npt.ArrayLike | None, peak: float) -> Floats:
        """`values` as learning rates of a group whose peak LR is `peak`, the absolute floor included."""
        self.check_peak(peak)
        at = _as_array(self._total if steps is None else steps)
        share, floor = self._tracks(at)
        lrs = share * peak + floor * self.min_lr
        return np.where(at >= self._warmup, np.maximum(lrs, self.min_lr), lrs)

    def check_peak(self, peak: float, what: str = "the peak LR") -> None:
        """Refuses an absolute floor above `peak`."""
        if self.min_lr > peak:
            raise ValueError(f"min_lr ({self.min_lr:g}) is above {what} ({peak:g}); lower it, or give min_lr_ratio")

    def split(self, step: float) -> tuple[float, float]:
        """Shares of the peak and of the absolute floor at `step`: the LR is ``share * peak + other * min_lr``."""
        if step >= self._total:
            last, (before, after) = self.phases[-1], self._floors[-1]
            along = 1.0 if last.until == 1.0 else last.curve()(last.until, math)
            return last.last, before * (1.0 - along) + after * along
        index = bisect_right(self._starts, step) - 1
        start, scale, first, change, curve = self._rows[index]
        along, (before, after) = curve((step - start) * scale, math), self._floors[index]
        return first + change * along, before * (1.0 - along) + after * along

    def _tracks(self, at: Floats) -> tuple[Floats, Floats]:
        """Vectorised `split`: one formula over all steps of a phase."""
        flat = at.ravel()
        order = None if bool(np.all(flat[1:] >= flat[:-1])) else np.argsort(flat, kind="stable")
        steps = flat if order is None else flat[order]
        last, last_floor = self.split(math.inf)
        share, floor = np.full(steps.shape, last), np.full(steps.shape if self.min_lr else 1, last_floor)
        edges = np.searchsorted(steps, [*self._starts, self._total]).tolist()
        for row, (before, after), i, j in zip(self._rows, self._floors, edges, edges[1:], strict=False):
            start, scale, first, change, curve = row
            for block in (slice(k, min(k + _BLOCK, j)) for k in range(i, j, _BLOCK)):
                along = curve((steps[block] - start) * scale, np)
                share[block] = first + change * along
                if self.min_lr:
                    floor[block] = before * (1.0 - along) + after * along
        if order is not None:
            back = np.argsort(order, kind="stable")
            share, floor = share[back], floor[back] if self.min_lr else floor
        return share.reshape(at.shape), floor.reshape(at.shape) if self.min_lr else floor * 0.0

    def phase(self, step: float) -> Phase:
        """The phase that `step` lies in; past the end, the last one."""
        return self.phases[self.index(step)]

    def index(self, step: float) -> int:
        """The place of that phase among `phases`, from 0."""
        if step < 0:
            raise ValueError(f"step {step!r}: steps count from 0")
        return bisect_right(self._starts, min(step, math.nextafter(self._total, 0.0))) - 1

    def spans(self) -> list[tuple[float, float, Phase]]:
        """``(first step, step after the last, phase)`` for every phase that has a length."""
        ends = [*self._starts[1:], float(self._total)]
        return [
            (start, end, phase) for start, end, phase in zip(self._starts, ends, self.phases, strict=True) if phase.length > 0
        ]

    def __rshift__(self, after: Phase | Schedule) -> Schedule:
        if isinstance(after, Phase):
            after = Schedule((after,))
        if self.min_lr and after.min_lr and self.min_lr != after.min_lr:
            raise ValueError(f"the two schedules have different floors: min_lr {self.min_lr:g} and {after.min_lr:g}")
        if (self.momentum is None) != (after.momentum is None):
            raise ValueError(
                "one of the two schedules has a momentum track and the other has none; give it one with "
                "with_momentum(...), or take it away with with_momentum(None)"
            )
        momentum = self.momentum >> after.momentum if self.momentum and after.momentum else None
        return Schedule(self.phases + after.phases, momentum, max(self.min_lr, after.min_lr))

    def named(self, name: str) -> Schedule:
        """The same schedule under a name."""
        return replace(self, name=name)

    def with_floor(self, min_lr: float) -> Schedule:
        """The same schedule over an absolute floor, in units of the LR."""
        return replace(self, min_lr=min_lr)

    def with_momentum(self, momentum: Schedule | None) -> Schedule:
        """The same schedule with a second track for momentum."""
        return replace(self, momentum=momentum)

    def __repr__(self) -> str:
        parts = [*map(str, self.phases[:8])]
        if len(self.phases) > 8:
            parts.append(f"... {len(self.phases) - 8} more")
        if self.min_lr:
            parts.append(f"min_lr={self.min_lr:g}")
        return f"Schedule({', '.join(parts)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (self.phases, self.momentum, self.min_lr, self.name)


def _rebuilt(phases: tuple[Phase, ...], momentum: Schedule | None, min_lr: float, name: str) -> Schedule:
    return Schedule(phases, momentum, min_lr, name)


# What evaluating one phase needs: start step, progress per step, first value, change, curve.
_Row = tuple[float, float, float, float, Curve]


def _row(start: float, phase: Phase) -> _Row:
    scale = phase.until / phase.length if phase.length > 1e-300 else 0.0  # the inverse of less would be infinite
    return start, scale, phase.start, phase.end - phase.start, phase.curve()


def _peak_reached(phases: Sequence[Phase], starts: Sequence[float]) -> float:
    highest = max(max(phase.start, phase.last) for phase in phases)
    for start, phase in zip(starts, phases, strict=True):
        if phase.start == highest:
            return start
        if phase.last == highest:
            return start + phase.length
    raise AssertionError("the highest value belongs to a phase")


def _as_array(steps: float | npt.ArrayLike) -> Floats:
    if isinstance(steps, int | float | np.integer):
        return np.arange(math.ceil(steps), dtype=np.float64)
    at = np.asarray(steps, dtype=np.float64)
    if at.size and not at.min() >= 0:
        raise ValueError(f"step {at.min()!r}: steps count from 0")
    return at


def chain(parts: Iterable[Phase | Schedule]) -> Schedule:
    """All `parts` in a row, as ``a >> b >> c`` would join them.

    >>> from hf_lrsched import hold, rise
    >>> chain([rise(2), hold(3)]) == rise(2) >> hold(3)
    True
    """
    listed: Sequence[Phase | Schedule] = list(parts)
    if listed and all(isinstance(part, Phase) for part in listed):  # joins thousands of cycles without quadratic work
        return Schedule(tuple(part for part in listed if isinstance(part, Phase)))
    if not listed:
        raise ValueError("chain() needs at least one phase")
    first = listed[0]
    return reduce(lambda left, right: left >> right, listed[1:], Schedule((first,)) if isinstance(first, Phase) else first)


def repeat(part: Phase | Schedule, times: int) -> Schedule:
    """`part`, `times` times in a row.

    >>> from hf_lrsched import fall
    >>> repeat(fall(10), 3)(10), repeat(fall(10), 3).total
    (1.0, 30)

    Raises:
        ValueError: where `times` is not a whole number of 1 or more.
    """
    return chain([part] * whole("times", times))
