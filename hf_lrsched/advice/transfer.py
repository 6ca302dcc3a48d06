"""A learning rate that is known for one schedule, length and batch, for another.

Three factors: of the shapes, from the convex bound on the last iterate; of the lengths and of the batches, powers of their
ratios. All three, and how far off they were where that was measured, are evidence like the rest (``evidence/transfer.yaml``).

What it does not know: another model, data, weight decay or warm-up need; and no formula finds a rate that was wrong before.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..runs.forecast.bound import best_peak
from ..schedules.catalogue import CATALOGUE, build
from ..schedules.checks import real, whole
from ..schedules.phase import fall, hold, rise
from ..schedules.schedule import Schedule
from .question import optimizer_of
from .sources import Evidence, evidence

# Beyond these the exponents are extrapolated: the logs they were measured on have lengths up to 3.3 times apart; Goyal and
# others scaled a batch by 32.
_LENGTHS, _BATCHES = 3.4, 32.0
_NOT_MEASURED = ("inverse_sqrt_cooldown", "power", "step_decay", "multi_step", "warm_restarts", "wsd_s", "rex", "phases")
_STEPS = 10_000  # for schedules given by name without a length: long enough for shares to be whole steps


@dataclass(frozen=True)
class _Factor:
    """One factor: what it is, by how much it may be off, and why."""

    value: float
    spread: float
    told: str


class TransferredLR(float):
    """A learning rate with the band it lies in and the reasons; anywhere else a plain float.

    Args:
        lr: the learning rate; `low` and `high` are its band.
        reasons: a sentence for each factor.
        used: the evidence.
    """

    low: float
    high: float
    reasons: tuple[str, ...]
    used: tuple[Evidence, ...]

    def why(self) -> str:
        """The reasons as text."""
        return "\n".join(self.reasons)


def transfer_lr(
    lr: float,
    *,
    from_: Schedule | str | None = None,
    to: Schedule | str | None = None,
    steps: int | tuple[int, int] | None = None,
    batch: tuple[float, float] | float | None = None,
    optimizer: str = "adamw",
) -> TransferredLR:
    """The peak learning rate for another schedule, length or batch.

    Args:
        lr: the peak that is known to be good.
        from_: the schedule it is good for, and `to` the one it is wanted for: schedules, or names of the catalogue or of
            Transformers' linear, cosine, constant and constant_with_warmup. One of them alone: the shape stays.
        steps: lengths, where schedules are given by name or not at all: one for both, or (from, to).
        batch: (from, to), in any unit, over all processes; or how many times larger it becomes.
        optimizer: decides how a batch counts: square root for Adam, linear for SGD.

    >>> round(transfer_lr(3e-4, from_="wsd", to="warmup_cosine"), 5)  # cosine wants more than WSD
    0.00046
    >>> transfer_lr(1e-4, batch=(32, 128)), transfer_lr(0.1, batch=(256, 1024), optimizer="sgd")
    (0.0002, 0.4)
    >>> longer = transfer_lr(3e-4, steps=(10_000, 20_000))
    >>> round(longer, 6), longer.low < longer < longer.high
    (0.000244, True)

    Raises:
        ValueError: for a learning rate, length or batch that is not above 0, and an unknown name.
    """
    real("lr", lr, above=0)
    lengths = _lengths(steps)
    old, new = _schedule(from_ or to, lengths[0]), _schedule(to or from_, lengths[1])
    known = evidence()
    factors: list[tuple[_Factor, Evidence]] = []
    if old is not None and new is not None and from_ is not None and to is not None:
        factors += _shape(old, new, known["transfer-shape"], known["transfer-constant"])
    factors += _horizon(_length(old, lengths[0]), _length(new, lengths[1]), known["transfer-horizon"])
    if batch is not None:
        factors += _batch(batch, known[f"transfer-batch-{_kind(optimizer)}"])
    value = lr * math.prod(factor.value for factor, _ in factors)
    spread = math.exp(math.sqrt(sum(math.log(factor.spread) ** 2 for factor, _ in factors)))
    made = TransferredLR(float(f"{value:.3g}"))
    made.low, made.high = float(f"{value / spread:.2g}"), float(f"{value * spread:.2g}")
    made.reasons = tuple(factor.told for factor, _ in factors) or ("nothing changes",)
    made.used = tuple(entry for _, entry in factors)
    return made


def shape_ratio(old: Schedule, new: Schedule) -> float:
    """The best peak under `new` over that under `old`, at equal length.

    The convex bound for a unit-peak shape is ``D^2 / 2 * f0 + G^2 / 2 * n`` at its best peak ``(D / G) * sqrt(f0 / n)``;
    D and G, of the problem, cancel (Schaipp and others, arXiv 2501.18965; Defazio and others, arXiv 2310.07831).

    >>> from hf_lrsched import wsd, constant
    >>> shape_ratio(wsd(1000), wsd(1000)), round(shape_ratio(wsd(1000), constant(1000)), 2)
    (1.0, 0.59)
    """
    return best_peak(new) / best_peak(old)


def _shape(old: Schedule, new: Schedule, decaying: Evidence, constant: Evidence) -> list[tuple[_Factor, Evidence]]:
    ratio = shape_ratio(old, new)
    if math.isclose(ratio, 1.0, rel_tol=1e-6):
        return []
    flat = any(schedule(schedule.total) >= 0.99 for schedule in (old, new))
    entry = constant if flat else decaying
    spread = entry.spread or 1.0
    told = f"x {ratio:.3g} for the shape: {entry.cited()} ({entry.note})"
    if strange := sorted({one.name for one in (old, new) if one.name in _NOT_MEASURED}):
        spread, told = spread**2, f"{told}; of {' and '.join(strange)} nothing was measured"
    return [(_Factor(ratio, spread, told), entry)]


def _horizon(old: float | None, new: float | None, entry: Evidence) -> list[tuple[_Factor, Evidence]]:
    if old is None or new is None or old == new:
        return []
    assert entry.value is not None  # as the next, it is in the file
    assert entry.spread is not None
    factor = (new / old) ** entry.value
    far = max(new / old, old / new) > _LENGTHS
    told = f"x {factor:.3g} for {new:g} instead of {old:g} steps (power {entry.value:g}): {entry.cited()} ({entry.note})"
    told += f"; lengths more than {_LENGTHS:g} times apart are extrapolated" if far else ""
    return [(_Factor(factor, entry.spread**2 if far else entry.spread, told), entry)]


def _batch(batch: tuple[float, float] | float, entry: Evidence) -> list[tuple[_Factor, Evidence]]:
    old, new = batch if isinstance(batch, tuple) else (1.0, batch)
    if not (0 < old < math.inf and 0 < new < math.inf):
        raise ValueError(f"batch={batch} must be (from, to), or how many times larger it becomes, above 0")
    if old == new:
        return []
    assert entry.value is not None  # as the next, it is in the file
    assert entry.spread is not None
    factor = (new / old) ** entry.value
    far = max(new / old, old / new) > _BATCHES
    told = (
        f"x {factor:.3g} for a batch {new / old:.3g} times as large (power {entry.value:g}): {entry.cited()} ({entry.note})"
    )
    told += f"; batches more than {_BATCHES:g} times apart are extrapolated" if far else ""
    return [(_Factor(factor, entry.spread**2 if far else entry.spread, told), entry)]


def _lengths(steps: int | tuple[int, int] | None) -> tuple[int | None, int | None]:
    if steps is None:
        return None, None
    both = tuple(steps) if isinstance(steps, tuple | list) else (steps, steps)
    if len(both) != 2:
        raise ValueError(f"steps={steps} must be one length for both, or (from, to)")
    for one in both:
        whole("steps", one, least=2)
    return both[0], both[1]


def _kind(optimizer: str) -> str:
    kind = optimizer_of(optimizer)
    if kind not in ("adamw", "sgd"):
        raise ValueError(f"how a batch counts under optimizer={optimizer!r} is not known; it is for adamw and sgd")
    return "sgd" if kind == "sgd" else "adam"


def _length(schedule: Schedule | None, steps: int | None) -> float | None:
    return float(steps) if steps else None if schedule is None or schedule.total == _STEPS else float(schedule.total)


def _schedule(what: Schedule | str | None, steps: int | None) -> Schedule | None:
    if what is None or isinstance(what, Schedule):
        return what
    total = steps or _STEPS
    warm = max(total // 20, 1)
    theirs = {
        "linear": rise(warm) >> fall(total - warm, "linear"),
        "cosine": rise(warm) >> fall(total - warm, "cosine"),
        "constant_with_warmup": rise(warm) >> hold(total - warm),
    }
    if what in theirs:
        return theirs[what]
    if what not in CATALOGUE:
        raise ValueError(f"unknown schedule {what!r}; it is one of {', '.join([*CATALOGUE, *theirs])}, or a Schedule")
    return build(what, total)
