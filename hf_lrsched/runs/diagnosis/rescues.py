"""A run that was rescued says so, whatever else is said of it."""

from __future__ import annotations

from .finding import Finding
from .rule import Rule
from .sight import Sight

_BATCHES = "look at those batches: labels, length, overflow in the loss"


class Rescued(Rule):
    """The run went back, and on under a lower peak or without certain batches (`training.rescue`)."""

    def over(self, sight: Sight) -> list[Finding]:
        """Each time that it did."""
        peak = f"{sight.highest_lr:.3g}"
        return [
            Finding(
                "explodes",
                "rescued",
                step=event.step,
                since=event.step,
                title="the run diverged and was rescued",
                evidence=event.text,
                advice=_BATCHES
                if "without the batches" in event.text
                else f"begin the next run at the peak of this one's end, {peak}",
                confidence="high",
                attention=False,
            )
            for event in sight.events
            if event.kind == "rescue"
        ]
