"""The held-out loss rises while the training loss falls: a minimum that is well behind, not one bad evaluation.

What it does not know: anything of the LR. Where the training loss rises as well, that is another family's matter.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from .finding import Finding
from .rule import Rule
from .sight import Point, Sight, Window

AFTER = 3  # evaluations behind the minimum: UMLAUT's one fires on single bad epochs, SageMaker's one on 38 % of good runs
CLEAR = 3.0  # deviations of the noise that the rise must exceed: by chance 1 time in 700 at each evaluation
# Share of the loss's whole fall that has been lost again: the regret up to which DeepOBS's runs count as good
# (diagnosis.md, section 5).
LOST = 0.05


class _Stretch(NamedTuple):
    """The training losses between two evaluations."""

    mean: float
    error: float  # standard error of the mean


class Overfitting(Rule):
    """The held-out loss has left its minimum for good, and the training loss still falls."""

    def __init__(self) -> None:
        self._sum = self._squares = self._origin = 0.0
        self._count = 0
        self._best = math.inf
        self._best_at = self._seen = self._behind = 0
        self._first = math.nan
        self._at_best: _Stretch | None = None
        self._recent = Window(AFTER)
        self._before: list[float] = []
        self._jitter = Window(Sight.WIDTH)
        self._said = False

    def see(self, point: Point, sight: Sight) -> list[Finding]:
        """Nothing yet: the training losses until the next evaluation are gathered."""
        if math.isfinite(point.loss):
            if not self._count:
                self._origin = point.loss  # sums about a value of their own size keep their digits
            away = point.loss - self._origin
            self._count += 1
            self._sum += away
            self._squares += away * away
        return []

    def _stretch(self, sight: Sight) -> _Stretch | None:
        """What has gathered since the evaluation before, which begins anew; None where nothing has."""
        n, total, squares = self._count, self._sum, self._squares
        self._count, self._sum, self._squares = 0, 0.0, 0.0
        if not n:
            return None
        variance = max(squares - total * total / n, 0.0) / (n - 1) if n > 1 else sight.noise * sight.noise
        return _Stretch(self._origin + total / n, math.sqrt(variance / n) if math.isfinite(variance) else math.inf)

    def evaluated(self, step: int, loss: float, sight: Sight) -> list[Finding]:
        """That the minimum lies behind."""
        stretch = self._stretch(sight)
        if not math.isfinite(loss) or self._said:
            return []
        self._seen += 1
        self._take(loss)
        if loss < self._best:
            self._best, self._best_at, self._behind, self._at_best = loss, step, 0, stretch
            return []
        self._behind += 1
        best = self._at_best
        if self._behind < AFTER or best is None or stretch is None:
            return []
        noise = 1.4826 * self._jitter.median / math.sqrt(6)
        by_chance = math.sqrt(2 * math.log(self._seen))  # deviations by which the lowest of so many lies below their mean
        rise, fall = self._recent.median - self._best, max(self._first, *sight.first[:1]) - self._best
        falling = best.mean - stretch.mean > CLEAR * math.hypot(best.error, stretch.error)
        if not (falling and rise > (CLEAR + by_chance) * noise and rise >= LOST * fall):
            return []
        self._said = True
        return [self._finding(step, (best.mean, stretch.mean), noise, sight)]

    def _take(self, loss: float) -> None:
        if self._seen == 1:
            self._first = loss
        self._recent.add(loss)
        if len(self._before) == 2:
            self._jitter.add(abs(loss - 2 * self._before[1] + self._before[0]))
            self._before.pop(0)
        self._before.append(loss)

    def _finding(self, step: int, trained: tuple[float, float], noise: float, sight: Sight) -> Finding:
        since, steps = self._best_at, sight.setting.steps
        share = f", {since / steps:.0%} of the run" if steps else ""
        return Finding(
            "overfitting",
            "overfitting",
            step=step,
            since=since,
            title="the held-out loss rises while the training loss falls",
            evidence=(
                f"The held-out loss was lowest at step {since} ({self._best:.4g}); the {self._behind} since lie above it, "
                f"the last {AFTER} about {self._recent.median:.4g}, where its noise is {noise:.2g}. "
                f"The training loss before these two fell from {trained[0]:.4g} to {trained[1]:.4g}."
            ),
            advice=(
                f"Use the checkpoint nearest step {since} (load_best_model_at_end=True keeps it) and train for about {since} "
                f"steps{share}; for more than that, more data, weight decay or dropout. A lower learning rate only delays it."
            ),
            confidence="high" if self._behind >= 2 * AFTER else "medium",
        )
