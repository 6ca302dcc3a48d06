"""Schedules that come back up: `warm_restarts` and `one_cycle`."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator

from ..checks import flag, real, share, whole
from ..lengths import Horizon, Length
from ..phase import Phase, hold
from ..schedule import Schedule, chain
from ..shapes import Shape, parse
from .entry import named
from .floor import Floor

_MOST_CYCLES = 10_000  # each is a phase; a schedule of more is a typing error, and would not fit a checkpoint


@named(
    "warm_restarts",
    summary="SGDR: cosine cycles, each from the peak again",
    source="Loshchilov & Hutter 1608.03983; 4 cycles: its T_0=50 of 200 epochs",
    aliases={
        "num_cycles": "cycles",
        "T_0": "first",
        "T_mult": "mult",
        "cycle_decay": "peak_decay",
        "cycle_mult": "mult",
        "first_cycle_steps": "first",
        "gamma": "peak_decay",
    },
    default_warmup=True,
    jumps=True,
)
def warm_restarts(
    steps: int,
    *,
    cycles: int | None = None,
    first: Length | None = None,
    mult: float = 1.0,
    peak_decay: float = 1.0,
    warmup: Length | None = None,
    rewarm: bool = False,
    min_lr: float | None = None,
    min_lr_ratio: float | None = None,
) -> Schedule:
    """Cosine cycles that each start from the peak again (SGDR).

    Within a cycle: ``floor + (peak_i - floor) * (1 + cos(pi * p)) / 2``.

    Args:
        steps: optimizer steps in the run.
        cycles: how many; they end with the run (Transformers: ``num_cycles``). By default 4.
        first: length of the first cycle instead of their number (torch: ``T_0``). Where the run then ends within a cycle,
            that cycle is cut and a warning names the nearest lengths that fit.
        mult: each cycle is this many times as long as the one before; any real number above 0 (torch: ``T_mult``).
        peak_decay: each cycle's peak is this share of the one before (timm: ``cycle_decay``).
        warmup: a length; by default `default_warmup`.
        rewarm: every cycle has the warm-up, from the floor, not only the first.
        min_lr, min_lr_ratio: the floor, as a learning rate or as a share of the peak; by default 0.

    >>> warm_restarts(1000, cycles=2, mult=3, warmup=0)
    Schedule(cycle 1 250: 1 -> 0 cosine, cycle 2 750: 1 -> 0 cosine)
    """
    run = Horizon.of(steps)
    floor = Floor.of(run, min_lr, min_lr_ratio)
    peak_decay, rewarm = real("peak_decay", peak_decay, above=0, most=1), flag("rewarm", rewarm)
    up = run.warmup(warmup)
    left = run.fit(warmup=0.0 if rewarm else up)
    lengths = _lengths(run, left, cycles, first, mult)
    return floor.under(chain(_cycles(lengths, left, up, peak_decay, floor.ratio, rewarm=rewarm)))


def _cycles(
    lengths: list[float], left: float, up: float, peak_decay: float, floor: float, *, rewarm: bool
) -> Iterator[Phase]:
    """Cycle after cycle until `left` steps are used; the last one's curve is cut where they end."""
    if up and not rewarm:
        yield Phase("warmup", up, 0.0, 1.0)
    for i, length in enumerate(lengths, start=1):
        peak = max(peak_decay ** (i - 1), floor)
        if up and rewarm:
            if up >= length:
                raise ValueError(
                    f"warmup ({up:.10g} steps) fills cycle {i} ({length:.10g} steps); shorten it, or take fewer cycles"
                )
            yield Phase(f"warmup {i}", min(up, left), floor if i > 1 else 0.0, peak, until=min(1.0, left / up))
            left, length = left - up, length - up
        if left > 0:
            # A whole cycle's length may miss what is left of the run by a rounding.
            until = 1.0 if length <= left + 1e-6 else left / length
            yield Phase(f"cycle {i}", min(length, left), peak, floor, parse("cosine"), until)
            left -= length


def _lengths(run: Horizon, left: float, cycles: int | None, first: Length | None, mult: float) -> list[float]:
    mult = real("mult", mult, above=0)
    if first is not None and cycles is not None:
        raise ValueError(f"cycles ({cycles}) and first ({first!r}) both set the cycles; give one of them")
    if first is None:
        count = max(1, min(4, int(left))) if cycles is None else whole("cycles", cycles)
        if count > _MOST_CYCLES:
            raise ValueError(f"cycles={cycles} are more than {_MOST_CYCLES}; take fewer")
        length = _first_of(left, count, mult)
        lengths = [length * mult**i for i in range(count)]
    else:
        lengths = _until_full(left, run.steps_of(first, "first"), mult)
    if (len(lengths) > 1 or first is not None) and min(lengths) < 1.0:
        raise ValueError(
            f"{len(lengths)} cycles with mult={mult:g} make one of {min(lengths):.3g} steps in a run of {int(run)}; "
            "a cycle needs 1 step or more: take fewer cycles"
        )
    return lengths


def _first_of(left: float, cycles: int, mult: float) -> float:
    """The first of `cycles` cycles that fill `left` steps."""
    return left / cycles if mult == 1.0 else left * (mult - 1.0) / (mult**cycles - 1.0)


def _until_full(left: float, first: float, mult: float) -> list[float]:
    lengths = [first]
    while math.fsum(lengths) < left - 1e-6 and len(lengths) <= _MOST_CYCLES and lengths[-1] >= 1.0:
        lengths.append(lengths[-1] * mult)
    if len(lengths) > _MOST_CYCLES:
        raise ValueError(f"first={first:.10g} steps makes more than {_MOST_CYCLES} cycles; make it longer")
    over = math.fsum(lengths) - left
    if over > 1e-6 and left:
        count = len(lengths)
        fits = [(_first_of(left, n, mult), n) for n in (count, count - 1) if n]
        shown = " or ".join(f"{length:.12g} ({n} cycle{'s' * (n > 1)})" for length, n in fits if length >= 2.0)
        warnings.warn(
            f"warm_restarts: a first cycle of {first:.10g} steps leaves cycle {count} cut after "
            f"{lengths[-1] - over:.10g} of its {lengths[-1]:.10g} steps, so the run ends at a high LR; "
            f"{f'lengths that fit: first={shown}' if shown else f'give cycles={count} instead'}",
            stacklevel=5,  # through _lengths, warm_restarts and the catalogue's check to whoever called warm_restarts
        )
    return lengths


@named(
    "one_cycle",
    summary="Smith's policy: one rise, one fall far below the start, momentum mirrored",
    source="Smith & Topin 1708.07120; defaults of torch OneCycleLR",
    aliases={"pct_start": "rise", "warmup": "rise", "anneal_strategy": "shape", "decay_type": "shape"}
    | dict.fromkeys(("num_warmup_steps", "warmup_steps", "warmup_ratio"), "rise"),
    warmup="rise",
)
def one_cycle(
    steps: int,
    *,
    rise: Length = 0.3,
    shape: str = "cosine",
    three_phase: bool = False,
    div_factor: float = 25.0,
    final_div_factor: float | None = None,
    cycle_momentum: bool = True,
    base_momentum: float = 0.85,
    max_momentum: float = 0.95,
    min_lr: float | None = None,
    min_lr_ratio: float | None = None,
) -> Schedule:
    """Smith's one-cycle policy: up, down to far below the start, momentum mirrored. The LR is torch's OneCycleLR.

    As there, a phase reaches its end on its *last* step, not on the step after: a rise of 30 steps reaches the peak on
    step 29, and the run's last step has the lowest LR.

    Args:
        steps: optimizer steps in the run.
        rise: length of the rise (torch: ``pct_start``); 0.3, and up to 0.45 in the guide.
        shape: of all its phases, ``"cosine"`` or ``"linear"`` (torch: ``anneal_strategy``), or any other.
        three_phase: down to the start in a fall as long as the rise, then further in a third phase.
        div_factor: the peak over the first LR.
        final_div_factor: the first LR over the last one; by default 10,000.
        cycle_momentum: whether momentum (beta1 under Adam) goes from `max_momentum` to `base_momentum` and back; as under
            torch, SGD that had none then has it.
        min_lr, min_lr_ratio: the last LR instead of `final_div_factor`, as a learning rate or as a share of the peak.

    >>> one_cycle(1000)(299), one_cycle(1000).momentum(299)
    (1.0, 0.85)
    """
    run = Horizon.of(steps)
    if final_div_factor is not None and (min_lr is not None or min_lr_ratio is not None):
        raise ValueError(f"final_div_factor ({final_div_factor}) and a floor both set the last LR; give one of them")
    start, end = _divided(div_factor, 1e4 if final_div_factor is None else final_div_factor)
    three_phase, cycle_momentum = flag("three_phase", three_phase), flag("cycle_momentum", cycle_momentum)
    floor = Floor.of(run, min_lr, min_lr_ratio, default=end)
    last = run - 1.0
    up = max(run.steps_of(rise, "rise") - 1.0, 0.0)
    turns = [min(up, last), *([2.0 * up] if three_phase else []), last]
    if turns[-2] > last + 1e-9:
        raise ValueError(
            f"rise ({up + 1:.10g} steps) and a fall as long take {2 * up + 1:.10g} steps, but the run has only {int(run)}; "
            "with three_phase the rise is at most half of the run"
        )
    middle = [max(start, floor.ratio)] if three_phase else []
    falling = [parse(shape)] * len(middle) + [floor.shape(shape)]
    schedule = _track(turns, [start, 1.0, *middle, floor.ratio], [parse(shape), *falling])
    if cycle_momentum:
        high, low = share("max_momentum", max_momentum), share("base_momentum", base_momentum)
        momenta = [high, low, high, *([high] if three_phase else [])]
        schedule = schedule.with_momentum(_track(turns, momenta, [parse(shape)] * len(turns)))
    return floor.under(schedule)


def _divided(div_factor: float, final_div_factor: float) -> tuple[float, float]:
    div_factor = real("div_factor", div_factor, least=1)
    final_div_factor = real("final_div_factor", final_div_factor, least=1)
    return 1.0 / div_factor, 1.0 / (div_factor * final_div_factor)


def _track(turns: list[float], levels: list[float], shapes: list[Shape]) -> Schedule:
    """From level to level by the given steps; the last step holds what was reached."""
    names = ["rise", "fall", "tail"]
    starts = [0.0, *turns]
    phases = [Phase(names[i], turn - starts[i], levels[i], levels[i + 1], shapes[i]) for i, turn in enumerate(turns)]
    return chain([*phases, hold(1, at=levels[-1], name="end")])
