"""What a rule is: something that is shown a run point by point, and says what it finds."""

from __future__ import annotations

from .finding import Finding
from .sight import Point, Sight


class Rule:
    """A rule judges and never acts. What it says at a step rests on points up to that step alone, and its memory is bounded.

    One is made for each run. A subclass answers where it has something to say; each finding is to be said once.
    """

    def see(self, point: Point, sight: Sight) -> list[Finding]:
        """What `point` shows; `sight` holds what came before it, without it. Called at every step, so: cheap."""
        return []

    def evaluated(self, step: int, loss: float, sight: Sight) -> list[Finding]:
        """What a held-out loss shows; `sight` holds the evaluations before it."""
        return []

    def over(self, sight: Sight) -> list[Finding]:
        """What can only be said when no more points come: the run has ended, or its file does."""
        return []
