"""The floor of a schedule: absolute (``min_lr``) or a share of the peak (``min_lr_ratio``)."""

from __future__ import annotations

from dataclasses import dataclass

from ..checks import real
from ..lengths import Horizon
from ..schedule import Schedule
from ..shapes import Shape, parse


@dataclass(frozen=True)
class Floor:
    """Where a decay ends: `ratio` as a phase's end, and `absolute` in units of the LR (0 where the ratio says it all)."""

    ratio: float
    absolute: float
    peak: float | None

    @classmethod
    def of(cls, run: Horizon, min_lr: float | None, min_lr_ratio: float | None, *, default: float = 0.0) -> Floor:
        """The floor that was asked for; `default` is a share of the peak.

        Raises:
            ValueError: where both are given, a number is out of range, or the floor is above the peak.
        """
        if min_lr is not None and min_lr_ratio is not None:
            raise ValueError(f"min_lr ({min_lr}) and min_lr_ratio ({min_lr_ratio}) both set the floor; give one of them")
        if min_lr is None:
            ratio = default if min_lr_ratio is None else real("min_lr_ratio", min_lr_ratio)
            if not 0.0 <= ratio <= 1.0:
                above = "is above the peak" if ratio > 1.0 else "is negative"
                raise ValueError(f"min_lr_ratio={min_lr_ratio} {above}; it is a share of the peak between 0 and 1")
            return cls(ratio, 0.0, run.peak)
        absolute = real("min_lr", min_lr, least=0)
        if run.peak is not None and absolute > run.peak:
            raise ValueError(f"min_lr ({absolute:g}) is above the peak LR ({run.peak:g}); lower it, or give min_lr_ratio")
        return cls(0.0, absolute, run.peak)

    def shape(self, shape: str | Shape) -> Shape:
        """`shape`, ready to fall to this floor: a curve that depends on its depth learns it here."""
        parsed = parse(shape)
        if not (parsed.needs_ratio and self.absolute):
            return parsed
        if self.peak is None:
            raise ValueError(
                f"shape '{parsed}' with min_lr ({self.absolute:g}) needs the peak LR: give steps as "
                "Horizon(steps, peak=...), or a floor as min_lr_ratio"
            )
        return parsed.with_ratio(self.absolute / self.peak)

    def under(self, schedule: Schedule) -> Schedule:
        """`schedule` over this floor."""
        return schedule.with_floor(self.absolute) if self.absolute else schedule
