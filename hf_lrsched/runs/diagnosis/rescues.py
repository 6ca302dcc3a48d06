"""A run that was rescued says so, whatever else is said of it."""

from __future__ import annotations

from .finding import Finding
from .rule import Rule
from .sight import Sight


class Rescued(Rule):
    """The run went back, and on under a lower peak or without certain batches (`training.rescue`)."""

    def over(self, sight: Sight) -> list[Finding]:
        """Each time that it did."""
        last = sight.points[-1].step if sight.points else 0
        return [
            Finding(
                "explodes",
                "rescued",
                step=max(last, event.step),
                since=event.step,
                title="the run diverged and was rescued",
                evidence=event.text,
                advice="nothing for this run; the next one is better begun at the peak that it ended with",
                confidence="high",
                attention=False,
            )
            for event in sight.events
            if event.kind == "rescue"
        ]
