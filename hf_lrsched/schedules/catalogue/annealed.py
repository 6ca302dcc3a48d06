"""Schedules that fall all the way after their warm-up: `warmup_cosine`."""

from __future__ import annotations

from ..checks import share
from ..lengths import Horizon, Length
from ..phase import fall, rise
from ..schedule import Schedule
from .entry import Arguments, named
from .floor import Floor


def half_wave(typed: Arguments) -> Arguments:
    """Transformers' ``num_cycles`` of a cosine decay: half a wave is what a decay is, and all there is here."""
    typed = dict(typed)
    waves = typed.pop("num_cycles", 0.5)
    if waves != 0.5:
        raise ValueError(
            f"num_cycles={waves!r}: this decay is half a cosine wave (0.5), as more would rise again; "
            "for restarts use warm_restarts"
        )
    return typed


@named(
    "warmup_cosine",
    summary="linear warm-up, cosine to a floor; the default for almost everything",
    source="Loshchilov & Hutter 1608.03983; floor of a tenth: Hoffmann et al. 2203.15556, Levanter's default",
    adapt=half_wave,
    default_warmup=True,
)
def warmup_cosine(
    steps: int,
    *,
    warmup: Length | None = None,
    warmup_start: float = 0.0,
    min_lr: float | None = None,
    min_lr_ratio: float | None = None,
) -> Schedule:
    """Linear warm-up to the peak, then half a cosine wave down to a floor.

    ``floor + (1 - floor) * (1 + cos(pi * p)) / 2`` with `p` the progress after the warm-up.

    Args:
        steps: optimizer steps in the run.
        warmup: a length; by default `default_warmup`. With 0 this is plain cosine annealing.
        warmup_start: share of the peak on the very first step.
        min_lr, min_lr_ratio: the floor, as a learning rate or as a share of the peak; by default a tenth of the peak.

    >>> warmup_cosine(1000, warmup="5%")
    Schedule(warmup 50: 0 -> 1 linear, decay 950: 1 -> 0.1 cosine)
    """
    run = Horizon.of(steps)
    floor = Floor.of(run, min_lr, min_lr_ratio, default=0.1)
    up = run.warmup(warmup)
    return floor.under(
        rise(up, start=share("warmup_start", warmup_start)) >> fall(run.fit(warmup=up), "cosine", to=floor.ratio)
    )
