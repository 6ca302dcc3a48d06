"""Random arguments that fit, for every name in the catalogue; an entry without any here is tested without arguments."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

from hf_lrsched import Horizon, Phase, Schedule, build
from hf_lrsched.schedules.lengths import Length
from hf_lrsched.schedules.shapes import SHAPES, parse

law = settings(deadline=None, max_examples=30)

PEAK = 1e-3
FREE = [name for name, kind in SHAPES.items() if not kind.by_ratio]
DEEP = [name for name, kind in SHAPES.items() if kind.by_ratio]  # they need a floor above 0

Arguments = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """A named schedule and what it is asked for."""

    name: str
    steps: int
    arguments: Arguments

    def build(self, times: int = 1) -> Schedule:
        """The schedule, for a run `times` as long."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "warm_restarts: a first cycle of")  # a cut cycle is a schedule like any other
            return build(self.name, Horizon(self.steps * times, peak=PEAK), **self.arguments)

    @property
    def ratio(self) -> float:
        """The floor asked for, as a share of the peak."""
        return float(self.arguments.get("min_lr_ratio", 0.0))

    @property
    def min_lr(self) -> float:
        """The floor asked for, as a learning rate."""
        return float(self.arguments.get("min_lr", 0.0))


@dataclass(frozen=True)
class Pen:
    """Draws the arguments of one case; with `scaling`, lengths are shares and a default of absolute size is avoided."""

    draw: st.DrawFn
    steps: int
    scaling: bool

    def share(self, most: float, least: float = 0.0) -> float:
        usual = st.floats(max(least, 1e-3), most, exclude_max=most == 1.0)
        if least > 0.0:
            return self.draw(usual)
        tiny = st.floats(0.0, 1e-3, allow_subnormal=False)
        return self.draw(st.one_of([st.just(0.0), usual] + [tiny] * (not self.scaling)))

    def length(self, most: float, least: float = 0.0) -> Length:
        """A length of at most (and at least) that share of the run, in any of the ways to write one."""
        share = self.share(most, least)
        steps = share * self.steps
        whole = math.floor(steps) if least == 0.0 else min(math.ceil(steps), self.steps)
        forms: list[Length] = [share, f"{100 * share!r}%"]
        if not self.scaling:
            forms += [whole, f"{whole} steps"]
            forms += [steps] * (steps >= 2.0)
        return self.draw(st.sampled_from(forms))

    def warmup(self, most: float) -> Arguments:
        """A warm-up, or none said where the default fits and scales."""
        if not self.scaling and self.draw(st.booleans()):
            return {}
        return {"warmup": self.length(most)}

    def maybe(self, **choices: st.SearchStrategy[Any]) -> Arguments:
        """Some of `choices`."""
        return {name: self.draw(choice) for name, choice in choices.items() if self.draw(st.booleans())}

    def floor(self, *, deep: bool = False, default: bool = True) -> Arguments:
        """A floor of either kind, above 0 where it must be; with `default`, perhaps none."""
        kinds = ["min_lr", "min_lr_ratio"] + ["none"] * default
        kind = self.draw(st.sampled_from(kinds))
        zero = [] if deep else [st.just(0.0)]
        if kind == "min_lr":
            return {"min_lr": self.draw(st.one_of([st.floats(PEAK / 100, PEAK), *zero]))}
        if kind == "min_lr_ratio":
            return {"min_lr_ratio": self.draw(st.one_of([st.floats(1e-4, 1.0), *zero]))}
        return {}

    def shape_and_floor(self, *, default: bool) -> Arguments:
        """A shape of a fall and a floor it can reach; `default` says that the default floor is above 0."""
        deep = self.draw(st.booleans())
        return {
            "shape": self.draw(st.sampled_from(DEEP if deep else FREE)),
            **self.floor(deep=deep, default=default or not deep),
        }


def _constant(pen: Pen) -> Arguments:
    return pen.maybe(warmup=st.just(pen.length(1.0)))


def _step_decay(pen: Pen) -> Arguments:
    return {
        **({"every": pen.length(1.0, 0.05)} if pen.draw(st.booleans()) else {}),
        **pen.maybe(factor=st.floats(0.01, 1.0), warmup=st.just(pen.length(0.04))),
        **pen.floor(),
    }


def _multi_step(pen: Pen) -> Arguments:
    shares = sorted(pen.draw(st.lists(st.floats(0.1, 1.0, exclude_max=True), max_size=4)))
    written: list[Sequence[Length]] = [shares, [f"{100 * share!r}%" for share in shares]]
    if not pen.scaling:
        written.append([math.ceil(share * pen.steps) for share in shares])
    return {
        **pen.maybe(
            milestones=st.sampled_from(written), factor=st.floats(0.01, 1.0), warmup=st.just(pen.length(0.09))
        ),
        **pen.floor(),
    }  # fmt: skip


def _warmup_cosine(pen: Pen) -> Arguments:
    return {**pen.warmup(1.0), **pen.maybe(warmup_start=st.floats(0.0, 1.0)), **pen.floor()}


def _warm_restarts(pen: Pen) -> Arguments:
    if pen.steps < 5:  # four cycles, the default, do not fit
        return {"cycles": 1, "warmup": 0, **pen.floor()}
    rewarm = pen.draw(st.booleans())
    more = {"rewarm": rewarm, **pen.maybe(peak_decay=st.floats(0.1, 1.0)), **pen.floor()}
    if pen.draw(st.booleans()):
        mult = pen.draw(st.one_of(st.sampled_from([1.0, 1.5, 2.0]), st.floats(1.0, 3.0)))
        warmup = pen.length(0.09 if rewarm else 0.5)
        return {"first": pen.length(0.9, 0.2), "mult": mult, "warmup": warmup, **more}
    count = pen.draw(st.integers(1, 6))
    mult = pen.draw(st.one_of(st.sampled_from([1.0, 2.0]), st.floats(0.5, 3.0)))
    shortest = min(mult**i for i in range(count)) / sum(mult**i for i in range(count))
    if shortest * pen.steps < 2.0:
        count, shortest = 1, 1.0
    return {"cycles": count, "mult": mult, "warmup": pen.length(shortest / 2 if rewarm else 0.5), **more}


def _one_cycle(pen: Pen) -> Arguments:
    three_phase, floor = pen.draw(st.booleans()), pen.floor()
    last = {} if floor else pen.maybe(final_div_factor=st.floats(1.0, 1e5))  # both set the last LR
    return {
        "three_phase": three_phase,
        "rise": pen.length(0.5 if three_phase else 1.0),
        **pen.maybe(
            shape=st.sampled_from(FREE),
            div_factor=st.floats(1.0, 100.0),
            cycle_momentum=st.booleans(),
            base_momentum=st.floats(0.0, 1.0),
            max_momentum=st.floats(0.0, 1.0),
        ),
        **last,
        **floor,
    }


def _wsd(pen: Pen) -> Arguments:
    shared = {"decay": pen.length(0.4), **pen.warmup(0.4), **pen.maybe(stable=st.just(pen.length(0.2)))}
    if pen.draw(st.integers(0, 4)) == 0:
        return {**shared, "shape": "exponential-minicpm", "half_life": pen.length(1.0, 0.05)}
    return {
        **shared,
        **pen.maybe(warmup_shape=st.sampled_from(FREE), warmup_start=st.floats(0.0, 1.0)),
        **pen.shape_and_floor(default=False),
    }


def _wsd_s(pen: Pen) -> Arguments:
    weights = pen.draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    shares = [sum(weights[: i + 1]) / sum(weights) for i in range(len(weights) - 1)]
    shortest = min(weights) / sum(weights)
    written: list[Sequence[Length]] = [shares, [*(f"{100 * share!r}%" for share in shares), "100%"]]
    if not pen.scaling and pen.steps >= 100:
        written.append([round(share * pen.steps) for share in shares] + [pen.steps])
    return {
        "ends": pen.draw(st.sampled_from(written)),
        "decay": pen.length(0.4 * shortest),
        "warmup": pen.length(0.3 * shortest),
        **pen.maybe(warmup_start=st.floats(0.0, 1.0)),
        **pen.shape_and_floor(default=True),
    }


def _inverse_sqrt_cooldown(pen: Pen) -> Arguments:
    # Without a warm-up the default timescale is 10,000 steps, which does not scale with the run.
    warmup = {"warmup": pen.length(0.5, 0.01)} if pen.scaling else pen.warmup(0.5)
    timescale = {} if pen.scaling else pen.maybe(timescale=st.floats(0.5, 1e5))
    return {**warmup, **timescale, "cooldown": pen.length(0.5), **pen.floor()}


def _power(pen: Pen) -> Arguments:
    theirs = _inverse_sqrt_cooldown(pen)
    return {"decay": theirs.pop("cooldown"), **theirs, **pen.maybe(exponent=st.floats(0.05, 3.0))}


def _rex(pen: Pen) -> Arguments:
    return {
        **pen.warmup(1.0),
        **pen.maybe(alpha=st.floats(0.0, 1.0, exclude_max=True), warmup_start=st.floats(0.0, 1.0)),
        **pen.floor(),
    }


def _phases(pen: Pen) -> Arguments:
    count = pen.draw(st.integers(1, 5))
    rest = pen.draw(st.integers(0, count - 1))
    items: list[Arguments] = []
    at = pen.draw(_SHARES)
    for i in range(count):
        item: Arguments = {} if i == rest else {"length": pen.length(1.0 / count)}
        if i == 0 or pen.draw(st.booleans()):
            item["from"] = at
        item |= pen.maybe(to=_SHARES, name=st.sampled_from(["up", "flat", "down"]))
        to = item.get("to", at)
        item |= pen.maybe(shape=st.sampled_from(FREE + DEEP * (at > 0.0 and to > 0.0)))
        items.append(item)
        at = to
    return {"phases": items, **({"min_lr": pen.draw(st.floats(PEAK / 100, PEAK))} if pen.draw(st.booleans()) else {})}


_SHARES = st.one_of(st.sampled_from([0.0, 1.0]), st.floats(1e-4, 1.0))

ARGUMENTS: dict[str, Callable[[Pen], Arguments]] = {
    "constant": _constant,
    "step_decay": _step_decay,
    "multi_step": _multi_step,
    "warmup_cosine": _warmup_cosine,
    "warm_restarts": _warm_restarts,
    "one_cycle": _one_cycle,
    "wsd": _wsd,
    "wsd_s": _wsd_s,
    "inverse_sqrt_cooldown": _inverse_sqrt_cooldown,
    "rex": _rex,
    "power": _power,
    "phases": _phases,
}


@st.composite
def cases(draw: st.DrawFn, name: str, *, scaling: bool = False) -> Case:
    """The schedule called `name` with arguments that fit, now and then none; with `scaling`, all lengths are shares."""
    steps = draw(st.integers(1, 3000))
    pen = Pen(draw, steps, scaling)
    bare = name not in ARGUMENTS or (
        not scaling and name != "phases" and not (name == "warm_restarts" and steps < 5) and draw(st.integers(0, 9)) == 0
    )
    return Case(name, steps, {} if bare else ARGUMENTS[name](pen))


@st.composite
def phase_lists(draw: st.DrawFn) -> tuple[Phase, ...]:
    """One to four phases of whole lengths that need not meet."""
    phases = []
    for i in range(draw(st.integers(1, 4))):
        start, end = draw(_SHARES), draw(_SHARES)
        shape = draw(st.sampled_from(FREE + DEEP * (start > 0.0 and end > 0.0)))
        phases.append(Phase(f"phase {i}", draw(st.integers(0, 50)), start, end, parse(shape)))
    return tuple(phases)


@st.composite
def schedules(draw: st.DrawFn, *, momentum: bool | None = None, min_lr: float = 0.0) -> Schedule:
    """Any phases in a row, over that floor or none; with a momentum track, without, or either (None)."""
    schedule = Schedule(draw(phase_lists()), min_lr=draw(st.sampled_from([0.0, min_lr])))
    if momentum is None:
        momentum = draw(st.booleans())
    if not momentum:
        return schedule
    track = tuple(Phase("momentum", phase.length, draw(_SHARES), draw(_SHARES)) for phase in schedule.phases)
    return schedule.with_momentum(Schedule(track))
