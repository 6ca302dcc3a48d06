"""Schedules that end in a cooldown: `wsd`, `wsd_s`, `inverse_sqrt_cooldown`, `rex`, `power`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..checks import real, share
from ..lengths import Horizon, Length
from ..phase import Phase, fall, hold, rise
from ..schedule import Schedule, chain
from ..shapes import parse
from .annealed import half_wave
from .entry import Arguments, named
from .floor import Floor

_MINICPM = "exponential-minicpm"
_THEIRS = ("num_decay_steps", "num_stable_steps", "decay_type", "warmup_type", "num_cycles")


def _as_transformers(typed: Arguments) -> Arguments:
    """Where Transformers' own WSD words are typed, its defaults hold, so that only the schedule's name has to change.

    They are: no warm-up, cosine decay, and a warm-up that starts at the floor.
    """
    if not any(word in typed for word in _THEIRS):
        return typed
    typed = half_wave(typed)
    if not {"warmup", "num_warmup_steps", "warmup_steps", "warmup_ratio"} & set(typed):
        typed["warmup"] = 0
    if not {"shape", "decay_shape", "decay_type"} & set(typed):
        typed["shape"] = "cosine"
    if "warmup_start" not in typed:
        typed["warmup_start"] = typed.get("min_lr_ratio", typed.get("min_lr_rate")) or 0.0
    if typed.get("warmup_type") == "1-sqrt":
        typed["warmup_type"] = "root"  # Transformers reads the decay backwards: 1 - sqrt(1 - p)
    return typed


@named(
    "wsd",
    summary="warm-up, stable, decay: any budget can be cooled down from the stable part",
    source="MiniCPM 2404.06395; 20 % 1-sqrt to 0: Haegele et al. 2405.18392",
    aliases={
        "num_decay_steps": "decay",
        "decay_ratio": "decay",
        "num_stable_steps": "stable",
        "decay_type": "shape",
        "decay_shape": "shape",
    },
    adapt=_as_transformers,
    default_warmup=True,
)
def wsd(
    steps: int,
    *,
    warmup: Length | None = None,
    decay: Length = 0.2,
    stable: Length | None = None,
    shape: str = "1-sqrt",
    warmup_shape: str = "linear",
    warmup_start: float = 0.0,
    half_life: Length | None = None,
    min_lr: float | None = None,
    min_lr_ratio: float | None = None,
) -> Schedule:
    """Warm-up to the peak, a stable stretch at it, and a decay.

    Args:
        steps: optimizer steps in the run.
        warmup: a length; by default `default_warmup`.
        decay: length of the decay (Transformers: ``num_decay_steps``); 0 stays at the peak, for a run that is cooled down
            on demand or in branches.
        stable: length of the stable stretch; by default what is left. A shorter one leaves the rest of the run at the
            floor (Transformers: ``num_stable_steps``).
        shape: of the decay (Transformers: ``decay_type``): ``"1-sqrt"``, ``"linear"``, ``"cosine"``, ``"inverse"`` (WSD-S),
            ``"exponential"`` (Haegele et al.: geometric, needs a floor), ``"exponential-megatron"`` (reaches 0),
            ``"exponential-minicpm"`` (halves every `half_life`), and every other of `shapes.SHAPES`.
        warmup_shape, warmup_start: of the warm-up; the share of the peak on the very first step.
        half_life: a length, for ``"exponential-minicpm"`` alone.
        min_lr, min_lr_ratio: the floor, as a learning rate or as a share of the peak; by default 0.

    >>> wsd(1000)
    Schedule(warmup 100: 0 -> 1 linear, stable 700: 1, decay 200: 1 -> 0 1-sqrt)
    >>> wsd(100, warmup=60, decay=60)
    Traceback (most recent call last):
    ValueError: warmup (60) and decay (60) take 120 steps, but the run has only 100; shorten one of them or train for longer
    """
    run = Horizon.of(steps)
    up, down = run.warmup(warmup), run.steps_of(decay, "decay")
    shape, min_lr_ratio = _halving(run, shape, down, half_life, min_lr, min_lr_ratio)
    floor = Floor.of(run, min_lr, min_lr_ratio)
    left = run.fit(warmup=up, decay=down)
    flat = left if stable is None else run.steps_of(stable, "stable")
    tail = run.fit(warmup=up, stable=flat, decay=down)
    schedule = rise(up, warmup_shape, start=share("warmup_start", warmup_start)) >> hold(flat)
    last = fall(down, floor.shape(shape), to=floor.ratio)
    if down or tail:  # without a decay the peak is held for ever: a run that is cooled down later
        schedule = schedule >> last
    return floor.under(schedule >> hold(tail, at=floor.ratio, name="floor") if tail else schedule)


def _halving(
    run: Horizon,
    shape: str,
    down: float,
    half_life: Length | None,
    min_lr: float | None,
    min_lr_ratio: float | None,
) -> tuple[str, float | None]:
    """MiniCPM's decay ``0.5 ** (step / half_life)`` as a geometric one, whose floor is where it gets to."""
    if shape != _MINICPM:
        if half_life is not None:
            raise ValueError(f"half_life={half_life!r} belongs to shape='{_MINICPM}', not to '{shape}'")
        return shape, min_lr_ratio
    if half_life is None or min_lr is not None or min_lr_ratio is not None:
        raise ValueError(f"shape='{_MINICPM}' takes half_life, a length, and no floor: it ends at 0.5 ** (decay / half_life)")
    steps = run.steps_of(half_life, "half_life")
    if not steps:
        raise ValueError(f"half_life={half_life!r} must be above 0")
    return "exponential", 0.5 ** (down / steps)


@named(
    "wsd_s",
    summary="several decays in one run, each going on from the decayed point",
    source="WSD-S 2410.05192 (ends 25k, 50k, 100k); decay of 10 %: OLMo-core's ladder; floor of a tenth: Levanter's default",
    aliases={"decay_type": "shape", "decay_shape": "shape", "decay_phase_ratio": "decay", "decay_ratio": "decay"},
    default_warmup=True,
    jumps=True,
)
def wsd_s(
    steps: int,
    *,
    ends: Sequence[Length] = ("25%", "50%", "100%"),
    decay: Length = 0.1,
    shape: str = "inverse",
    warmup: Length | None = None,
    warmup_start: float = 0.0,
    min_lr: float | None = None,
    min_lr_ratio: float | None = None,
) -> Schedule:
    """Stable and decay over and over: each cycle ends in a usable model, and the next goes on from it at the peak.

    Args:
        steps: optimizer steps in the run.
        ends: where the cycles end, rising, as lengths from step 0; the run's end is the last one in any case.
        decay: length of each cycle's decay; a share is one of its cycle.
        shape: of the decays; WSD-S falls as ``1 / (p / floor + 1 - p)``, which needs a floor above 0.
        warmup: a length, once; by default `default_warmup`.
        warmup_start: share of the peak on the very first step.
        min_lr, min_lr_ratio: the floor, as a learning rate or as a share of the peak; by default a tenth of the peak.

    >>> wsd_s(1000, ends=["40%", "100%"], warmup=50)
    Schedule(warmup 50: 0 -> 1 linear, stable 1 310: 1, decay 1 40: 1 -> 0.1 inverse, stable 2 540: 1, decay 2 60: ...)
    """
    run = Horizon.of(steps)
    floor = Floor.of(run, min_lr, min_lr_ratio, default=0.1)
    if isinstance(ends, str) or not isinstance(ends, Sequence):
        raise ValueError(f"ends={ends!r} is not a list of lengths, such as ['50%', '100%']")
    at = [run.steps_of(end, "ends") for end in ends]
    at += [float(run)] * (not at or at[-1] < run - 1e-6)
    if any(a >= b for a, b in zip([0.0, *at], at, strict=False)):
        raise ValueError(f"ends={list(ends)} must rise from above 0 (in steps: {', '.join(f'{a:.10g}' for a in at)})")
    up = run.warmup(warmup)
    cycles = _stable_and_decay(run, at, up, decay, floor.shape(shape), floor.ratio)
    return floor.under(chain([rise(up, start=share("warmup_start", warmup_start)), *cycles]))


def _stable_and_decay(
    run: Horizon, ends: Sequence[float], up: float, decay: Length, shape: object, floor: float
) -> Iterator[Phase]:
    for i, (start, end) in enumerate(zip([0.0, *ends], ends, strict=False), start=1):
        down = run.steps_of(decay, "decay", of=end - start)
        flat = end - start - down - (up if i == 1 else 0.0)
        if flat < -1e-6:
            parts = f"warmup ({up:.10g}) and decay ({down:.10g})" if i == 1 else f"decay ({down:.10g})"
            raise ValueError(f"cycle {i} has {end - start:.10g} steps, too few for {parts}; shorten them or let it end later")
        yield hold(max(flat, 0.0), name=f"stable {i}")
        yield fall(down, parse(str(shape)), to=floor, name=f"decay {i}")


@named(
    "inverse_sqrt_cooldown",
    summary="1/sqrt(step), then a linear cooldown",
    source="Zhai et al. 2106.04560; formula: Transformers' inverse_sqrt; 20 %: the cooldown that wsd takes by default",
    aliases={"num_decay_steps": "cooldown", "decay": "cooldown"},
    default_warmup=True,
)
def inverse_sqrt_cooldown(
    steps: int,
    *,
    warmup: Length | None = None,
    timescale: float | None = None,
    cooldown: Length = 0.2,
    min_lr: float | None = None,
    min_lr_ratio: float | None = None,
) -> Schedule:
    """Linear warm-up, ``sqrt(timescale / (step - warmup + timescale))``, then a straight line down to the floor.

    Args:
        steps: optimizer steps in the run.
        warmup: a length; by default `default_warmup`.
        timescale: steps after which the LR is down to ``1 / sqrt(2)``; by default the warm-up, or 10,000 without one, as
            in Transformers.
        cooldown: length of the last phase; with 0 this is Transformers' ``inverse_sqrt``.
        min_lr, min_lr_ratio: the floor, as a learning rate or as a share of the peak; by default 0.

    >>> inverse_sqrt_cooldown(1000, warmup=100, cooldown=0)(400)
    0.5
    """
    run = Horizon.of(steps)
    up, down = run.warmup(warmup), run.steps_of(cooldown, "cooldown")
    body = run.fit(warmup=up, cooldown=down)
    return _hyperbola((up, body, down), timescale, 0.5, Floor.of(run, min_lr, min_lr_ratio))


@named(
    "rex",
    summary="REX: slow at first, fast at the end",
    source="Chen et al. 2107.04197, alpha 0.5; the authors' code has 0.9",
    default_warmup=True,
)
def rex(
    steps: int,
    *,
    warmup: Length | None = None,
    alpha: float = 0.5,
    warmup_start: float = 0.0,
    min_lr: float | None = None,
    min_lr_ratio: float | None = None,
) -> Schedule:
    """Linear warm-up, then ``(1 - p) / (1 - alpha * p)`` down to the floor.

    Args:
        steps: optimizer steps in the run.
        warmup: a length; by default `default_warmup`.
        alpha: at least 0 (a straight line) and below 1; 0.5 in the paper, 0.9 in axolotl.
        warmup_start: share of the peak on the very first step.
        min_lr, min_lr_ratio: the floor, as a learning rate or as a share of the peak; by default 0.

    >>> round(rex(100, warmup=0)(50), 3)
    0.667
    """
    run = Horizon.of(steps)
    floor = Floor.of(run, min_lr, min_lr_ratio)
    up = run.warmup(warmup)
    return floor.under(
        rise(up, start=share("warmup_start", warmup_start)) >> fall(run.fit(warmup=up), f"rex({alpha})", to=floor.ratio)
    )


@named(
    "power",
    summary="a power of the step, then a linear tail",
    source="Power scheduler 2408.13359, exponent 0.51: Levanter; 10 % linear tail: OLMo-core",
    aliases={"num_decay_steps": "decay", "cooldown": "decay"},
    default_warmup=True,
)
def power(
    steps: int,
    *,
    warmup: Length | None = None,
    exponent: float = 0.51,
    timescale: float | None = None,
    decay: Length = 0.1,
    min_lr: float | None = None,
    min_lr_ratio: float | None = None,
) -> Schedule:
    """Linear warm-up, ``((step - warmup + timescale) / timescale) ** -exponent``, then a straight line to the floor.

    With the default `timescale`, the warm-up, that is ``(step / warmup) ** -exponent``.

    Args:
        steps: optimizer steps in the run.
        warmup: a length; by default `default_warmup`.
        exponent: above 0.
        timescale: steps; by default the warm-up, or 10,000 without one.
        decay: length of the last phase.
        min_lr, min_lr_ratio: the floor, as a learning rate or as a share of the peak; by default 0.

    >>> round(power(1000, warmup=100)(200), 4)  # 2 ** -0.51
    0.7022
    """
    run = Horizon.of(steps)
    up, down = run.warmup(warmup), run.steps_of(decay, "decay")
    body = run.fit(warmup=up, decay=down)
    return _hyperbola((up, body, down), timescale, exponent, Floor.of(run, min_lr, min_lr_ratio))


def _hyperbola(lengths: tuple[float, float, float], timescale: float | None, exponent: float, floor: Floor) -> Schedule:
    """Warm-up, a power of the step (at the floor from where it gets there), a straight line."""
    up, body, down = lengths
    scale = real("timescale", timescale if timescale is not None else up or 10_000.0, above=0)
    exponent = real("exponent", exponent, above=0)
    low = ((body + scale) / scale) ** -exponent
    reached = body if low >= floor.ratio else scale * (floor.ratio ** (-1.0 / exponent) - 1.0)
    low = max(low, floor.ratio)
    return floor.under(
        rise(up)
        >> fall(reached, f"inverse({exponent})", to=low)
        >> hold(body - reached, at=low, name="floor")
        >> fall(down, "linear", start=low, to=floor.ratio, name="cooldown")
    )
