"""What a run has shown up to a step: `Sight`, which rules read. Its memory and its cost a step are bounded.

What it does not know: what any of it means.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeVar

from ...schedules.schedule import Schedule
from ..history import Event, History

_Block = tuple[float, float, float, float]


_REWARMED = 0.5  # of the LR before it: below, a rescue has begun a rise from near 0
_HIGHER = 1.001  # an LR that is higher by less is the same, rounded


class Point(NamedTuple):
    """One recorded step, or the mean of several where the log holds means."""

    step: int
    loss: float  # NaN where none was logged, or where it was NaN: `logged` tells them apart
    lrs: tuple[float, ...]
    grad_norm: float = math.nan
    skipped: bool = False
    phase: str = ""
    logged: bool = True
    momentum: float = math.nan


@dataclass(frozen=True)
class Setting:
    """What is known of a run before its first step.

    Args:
        steps: how many it was to take; None where that is not known.
        schedule: what it follows, where known.
        peak: the LR that multiplier 1 stands for, for each group; empty where not known.
        averaged: steps over which each loss is a mean.
        recorded: whether the losses are the recorder's own: NaN as it came, every step. A Trainer's log is not.
        arguments: the run's settings in Trainer's words.
        groups: names of the parameter groups.
        optimizer: its class's name, where known.
        untrained: whether the model begins with random weights; None where that is not known.
        trainable: the share of the model's parameters that are trained; None where that is not known.
        adapters: whether those are adapters' (LoRA and the like).
        processes: how many shared each update; 0 where that is not known.
        vocabulary, labels: how many tokens a language model, how many classes a classifier tells apart; 0 where not known.
    """

    steps: int | None = None
    schedule: Schedule | None = None
    peak: tuple[float, ...] = ()
    averaged: int = 1
    recorded: bool = True
    arguments: Mapping[str, Any] = field(default_factory=dict)
    groups: tuple[str, ...] = ()
    optimizer: str = ""
    untrained: bool | None = None
    trainable: float | None = None
    adapters: bool = False
    processes: int = 0
    vocabulary: int = 0
    labels: int = 0

    @classmethod
    def of(cls, run: History) -> Setting:
        """What `run` says of its beginning; a resume may have changed it, of which its event tells."""
        run = replace(run, **run.began)
        steps: Any = run.schedule.total if run.schedule is not None else run.total or run.arguments.get("max_steps", 0)
        known = isinstance(steps, int | float) and 0 < steps < 10**8  # an open-ended run has a ceiling, not a length
        return cls(
            steps=int(steps) if known else None,
            schedule=run.schedule,
            peak=run.peak,
            averaged=run.averaged,
            recorded=run.source.endswith((".jsonl", ".jsonl.gz")) and run.averaged == 1,
            arguments=run.arguments,
            groups=run.groups,
            optimizer=str(run.facts.get("optimizer", "")),
            untrained=_as(bool, run.facts.get("untrained")),
            trainable=_as(float, run.facts.get("trainable")),
            adapters=bool(run.facts.get("adapters")),
            processes=_as(int, run.facts.get("processes")) or 0,
            vocabulary=_as(int, run.facts.get("vocabulary")) or 0,
            labels=_as(int, run.facts.get("labels")) or 0,
        )


T = TypeVar("T", bool, int, float)


def _as(kind: type[T], value: Any) -> T | None:
    """`value` where it is of that kind: a file may hold anything."""
    return value if isinstance(value, kind) else None


class Window:
    """The last `width` of some numbers, in order of size: their quantiles cost nothing.

    >>> seen = Window(3)
    >>> for value in (5.0, 1.0, 2.0, 9.0):
    ...     seen.add(value)
    >>> seen.median, seen.quantile(1.0), len(seen)
    (2.0, 9.0, 3)
    """

    def __init__(self, width: int) -> None:
        self._came: deque[float] = deque()
        self._sorted: list[float] = []
        self._width = width

    def __len__(self) -> int:
        return len(self._came)

    def __iter__(self) -> Iterator[float]:
        return iter(self._came)

    def add(self, value: float) -> None:
        """Takes in a finite number; the oldest goes where there are too many."""
        self._came.append(value)
        insort(self._sorted, value)
        if len(self._came) > self._width:
            del self._sorted[bisect_left(self._sorted, self._came.popleft())]

    @property
    def median(self) -> float:
        """NaN where there are none."""
        return self.quantile(0.5)

    def quantile(self, share: float) -> float:
        """The number below which `share` of them lie; NaN where there are none."""
        return self._sorted[min(int(share * len(self._sorted)), len(self._sorted) - 1)] if self._sorted else math.nan


class Sight:
    """What has been seen before the point that a rule is asked about.

    Attributes:
        setting: what was known beforehand.
        count: points seen.
        first: the first finite losses, at most `FIRST`, and first_lrs: the learning rate of each.
        losses, norms: the last finite losses and gradient norms, a `Window` each.
        jitter: absolute second differences of the last losses, from which `noise` is told.
        points: the last points as they came.
        blocks: means of the finite losses over even stretches, at most `BLOCKS`, each as (step, loss, lr, time). Time is the
            sum of the learning rates of all steps so far, or their number where no learning rate is known; a point without
            one has that of the point before.
        lowest: the lowest median of the last losses, and where it was.
        lost: logged losses that were not finite.
        begun: the first step.
        highest_lr: of the first group, so far, and peak_at: the step that first had it.
        lowest_lr: of the first group, since then.
        evaluations: (step, held-out loss), in order.
        events: what happened.
    """

    FIRST = 50  # losses; two thirds of all runs that blow up do so within them (diagnosis.md, fact 2)
    WIDTH = 64  # losses a running median is told from
    BLOCKS = 400
    LAST = 256

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.count = 0
        self.first: list[float] = []
        self.first_lrs: list[float] = []
        self.losses, self.norms, self.jitter = Window(self.WIDTH), Window(self.WIDTH), Window(self.WIDTH)
        self.points: deque[Point] = deque(maxlen=self.LAST)
        self.blocks: list[_Block] = []
        self.evaluations: list[tuple[int, float]] = []
        self.events: list[Event] = []
        self.lowest, self.lowest_at = math.inf, 0
        self.begun = self.lost = 0
        self.highest_lr, self.peak_at, self.lowest_lr = 0.0, 0, math.inf
        self._rescued = False
        self._block: list[_Block] = []
        self._time, self._rate, self._step = 0.0, 1.0, 0
        self._per_block = 1
        self._before: list[float] = []

    @property
    def noise(self) -> float:
        """The standard deviation of the noise in a loss, whatever its trend; NaN before three are seen."""
        return 1.4826 * self.jitter.median / math.sqrt(6)

    @property
    def nothing(self) -> float:
        """What a loss must be above, to say that it rose: a policy's begins at 0, and is to rise as the policy moves.

        That is infinite for a loss that begins at 0, or has been below it, and for a language model that begins at a
        hundredth of the loss of guessing a tenth of it, where the best of others begin (`learned`). Else there is no such
        bound: minus infinity.
        """
        first, guessing = self.first[0] if self.first else math.nan, math.log(max(self.setting.vocabulary, 1))
        if first <= 0 or min(self.first, default=0.0) < 0:
            return math.inf
        return 0.1 * guessing if first < 0.01 * guessing else -math.inf

    @property
    def peak(self) -> float:
        """The LR that the first group is to reach; after a rescue the highest since, as it was lowered."""
        lowered = any(event.kind == "rescue" for event in self.events)
        return self.highest_lr if lowered or not self.setting.peak else self.setting.peak[0]

    def include(self, point: Point) -> None:
        """Takes a point in."""
        if not self.count:
            self.begun = point.step
        self.count += 1
        self.points.append(point)
        lr = point.lrs[0] if point.lrs else math.nan
        if self._rescued:
            self._rescued = False
            if self.count > 1 and lr < _REWARMED * self._rate:  # it goes on under another peak
                self.highest_lr = 0.0
        if lr > self.highest_lr:
            self.peak_at = point.step if lr > _HIGHER * self.highest_lr else self.peak_at
            self.highest_lr = self.lowest_lr = lr
        elif lr < self.lowest_lr:
            self.lowest_lr = lr
        if math.isfinite(point.grad_norm):
            self.norms.add(point.grad_norm)
        self._rate = lr if math.isfinite(lr) else self._rate
        self._time += self._rate * max(point.step - self._step, 0)
        self._step = point.step
        loss = point.loss
        if not math.isfinite(loss):
            self.lost += point.logged
            return
        if len(self.first) < self.FIRST:
            self.first.append(loss)
            self.first_lrs.append(lr)
        self.losses.add(loss)
        before = self._before
        if len(before) == 2:
            self.jitter.add(abs(loss - 2 * before[1] + before[0]))
            before.pop(0)
        before.append(loss)
        if len(self.losses) >= min(9, self.WIDTH) and self.losses.median < self.lowest:
            self.lowest, self.lowest_at = self.losses.median, point.step
        self._add_to_block(point.step, loss, lr)

    def _add_to_block(self, step: int, loss: float, lr: float) -> None:
        self._block.append((float(step), loss, lr, self._time))
        if len(self._block) < self._per_block:
            return
        self.blocks.append(_mean(self._block))
        self._block = []
        if len(self.blocks) == self.BLOCKS:  # twice as long from here on
            self.blocks = [_mean(self.blocks[i : i + 2]) for i in range(0, self.BLOCKS, 2)]
            self._per_block *= 2

    def evaluated(self, step: int, loss: float) -> None:
        """Takes a held-out loss in."""
        self.evaluations.append((step, loss))

    def happened(self, event: Event) -> None:
        """Takes an event in."""
        self.events.append(event)
        self._rescued = self._rescued or event.kind == "rescue"


def _mean(some: list[_Block]) -> _Block:
    if len(some) == 1:
        return some[0]
    n = len(some)
    step, loss, lr, time = (sum(column) / n for column in zip(*some, strict=True))
    return step, loss, lr, time
