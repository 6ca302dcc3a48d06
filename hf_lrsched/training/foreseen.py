"""What a branch of a plan is predicted to reach, before it is trained: `foresee`.

What it does not know: where the logs lie and what is trained (`branches`), and the law (`runs.forecast`).
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..runs.history import History
from ..schedules.schedule import Schedule

if TYPE_CHECKING:
    from ..runs.forecast import Forecast, Law
    from ..runs.forecast.observed import Quantity

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Foreseen:
    """A predicted held-out loss with its 90 % interval; where there is none, the reason."""

    predicted: float | None = None
    interval: tuple[float, float] | None = None
    reason: str = ""

    @classmethod
    def read(cls, result: Mapping[str, Any]) -> Foreseen:
        """What the result of a branch holds; nothing, where it is from before there were forecasts.

        >>> Foreseen.read({"eval_loss": 3.2})
        Foreseen(predicted=None, interval=None, reason='')
        """
        interval = result.get("interval")
        low_high = None if interval is None else (float(interval[0]), float(interval[1]))
        return cls(result.get("predicted"), low_high, str(result.get("reason", "")))


def foresee(schedule: Schedule, trunk: History, done: Sequence[History], *, before: History, shape: str) -> Foreseen:
    """The held-out loss at the end of a branch, from the evaluations of the trunk and of the branches that are done.

    Training losses are never taken for held-out ones: a trunk that was not evaluated tells nothing. It ends no plan.

    Args:
        schedule: of the branch, from step 0 on.
        trunk: all that is known of it, also from behind the branch point.
        done: the branches that are done, each from step 0 on.
        before: the trunk up to the branch point; the forecast begins at its last losses, where it has enough of them.
        shape: of the branch's decay.

    >>> from hf_lrsched import wsd
    >>> trunk = History.of([], total=80, schedule=wsd(80, warmup=10, decay=0))
    >>> foresee(wsd(100), trunk, [], before=trunk, shape="1-sqrt").reason
    'the trunk has 0 evaluations, and a law needs 8 behind its beginning; eval_strategy="steps" with eval_steps=5 gives them'
    """
    try:
        return _foreseen(schedule, trunk, done, before, shape)
    except Exception as error:  # whatever a law does: a forecast is no reason to lose a plan, or to leave processes waiting
        if not isinstance(error, ValueError):  # the law's own refusals
            logger.warning("no forecast of a branch, as it failed: %s: %s", type(error).__name__, error)
        return Foreseen(reason=str(error))


def _foreseen(schedule: Schedule, trunk: History, done: Sequence[History], before: History, shape: str) -> Foreseen:
    from ..runs.forecast import fit_law
    from ..runs.forecast.observed import FEWEST

    if is_early(trunk, "eval_loss"):
        found, every = len(trunk.eval_step), max(trunk.total // (2 * FEWEST), 1)  # half may lie in its beginning
        has = f"the trunk has {found} evaluation{'s' * (found != 1)}, and a law needs {FEWEST} behind its beginning"
        return Foreseen(reason=f'{has}; eval_strategy="steps" with eval_steps={every} gives them')
    law = fit_law([trunk, *(run for run in done if usable(run, "eval_loss"))], loss="eval_loss")
    forecast = _cooled(law, before, schedule, shape) if usable(before, "eval_loss") else law.predict(schedule)
    return Foreseen(forecast.final, forecast.interval())


def _cooled(law: Law, before: History, schedule: Schedule, shape: str) -> Forecast:
    """The end of `schedule`, whose decay begins where `before` ends."""
    peak, steps = before.peak[0], round(schedule.total) - before.total
    logged_until = int(max([*before.step[-1:], *before.eval_step[-1:]]))
    to = schedule.lr(schedule.total, peak) / peak
    return law.cooldown_now(before, steps, shape=shape, to=to, after=before.total - logged_until)


def logged(state: Path, schedule: Schedule, peak: float) -> History:
    """The run that a ``trainer_state.json`` is of, from step 0 to the end of `schedule`; empty where it cannot be read."""
    try:
        log = json.loads(state.read_text("utf-8"))["log_history"]
        log = [line for line in log if line["step"] <= schedule.total]
    except (OSError, ValueError, KeyError, TypeError):
        log = []
    return History.of(log, schedule=schedule, peak=(peak,), total=round(schedule.total), source=state.parent.name)


def usable(run: History, quantity: Quantity) -> bool:
    """Whether a law can be fitted to a run.

    >>> usable(History.of([{"step": 1, "eval_loss": 2.0}]), "eval_loss")
    False
    """
    from ..runs.forecast.observed import observe

    try:
        observe(run, "", quantity, warmup=None, skip=None)
    except ValueError:
        return False
    return True


def is_early(run: History, quantity: Quantity) -> bool:
    """Whether a run has too few losses behind its beginning for a law: no losses, however good, would do there.

    >>> is_early(History.of([{"step": 1, "lr": 1e-3, "eval_loss": 2.0}]), "eval_loss")
    True
    """
    loss, eval_loss = (np.linspace(2.0, 1.0, len(losses)) for losses in (run.loss, run.eval_loss))
    return not usable(replace(run, loss=loss, eval_loss=eval_loss), quantity)


def places(losses: Iterable[float], widths: Iterable[float]) -> int:
    """Decimals that tell two digits of the narrowest interval, and of losses from 1 to 10 at least 4, as is usual.

    Without intervals: five digits of the smallest loss. Below 0 as `show.foretold.shown` takes it.

    >>> places([3.21], [0.18]), places([3e-4], [2e-6]), places([3e-4], []), places([5120.0], [310.0])
    (4, 7, 8, -1)
    """
    sizes = [abs(loss) for loss in losses if loss and math.isfinite(loss)]
    known = [width for width in widths if 0 < width < math.inf]
    found = 1 - math.floor(math.log10(min(known))) if known else 4 - math.floor(math.log10(min(sizes, default=1.0)))
    return max(found, 4) if all(1 <= size < 10 for size in sizes) else found
