"""A point in time by which a run must be over, and whether it is time to begin its end.

What it does not know: how long the end takes in steps; it is told.
"""

from __future__ import annotations

import math
import re
import time
from collections import deque
from datetime import datetime, timedelta

_WITHIN = re.compile(r"\s*(\d+(?:\.\d*)?)\s*(s|sec|seconds?|m|min|minutes?|h|hours?|d|days?)\s*")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_RECENT = 100  # steps over which the time of a step is learnt
_MARGIN = (
    1.05  # steps slow down as a machine gets warm: Transformers' own estimates of the time left are off by about as much
)


class Deadline:
    """When a run must be over.

    Args:
        finish_by: ``"18:00"`` (the next time it is), ``"2026-11-24 06:00"`` or a `datetime`; ``"6h"``, ``"90 min"``,
            seconds or a `timedelta`, which count from `begin`.

    >>> Deadline("90 min").seconds
    5400.0

    Raises:
        ValueError: for what is none of these, or a point in time that has passed.
    """

    def __init__(self, finish_by: str | float | datetime | timedelta) -> None:
        self._told = finish_by
        self.seconds = _seconds(finish_by, datetime.now())
        self._absolute = _is_absolute(finish_by)
        self._end = time.time() + self.seconds
        self._times: deque[float] = deque(maxlen=_RECENT + 1)
        self._longest = 0.0
        if not 0 < self.seconds < math.inf:
            raise ValueError(f"finish_by={finish_by!r} {'has passed' if self.seconds <= 0 else 'is no time'}")

    def __str__(self) -> str:
        return str(self._told)

    def begin(self) -> None:
        """Training begins now."""
        if not self._absolute:
            self._end = time.time() + self.seconds
        self._times.clear()
        self._times.append(time.time())

    def step(self) -> None:
        """An optimizer step is done."""
        now = time.time()
        if self._times:
            self._longest = max(self._longest, now - self._times[-1])
        self._times.append(now)

    def due(self, steps: float, late: int = 1) -> int | None:
        """Steps of a decay to begin now, of `steps` that it is to take; None while there is time.

        Asked again `late` steps on, it must not be too late. A step's time is the mean over the last 100, saves and
        evaluations among them; the longest step so far is left over for the last save.
        """
        if len(self._times) < 2:
            return None
        each = (self._times[-1] - self._times[0]) / (len(self._times) - 1)
        left = self._end - time.time() - self._longest
        if left > (steps + late) * each * _MARGIN:
            return None
        return max(1, min(round(steps), int(left / (each * _MARGIN)) if each > 0 else round(steps)))


def _is_absolute(told: object) -> bool:
    return isinstance(told, datetime) or (isinstance(told, str) and _WITHIN.fullmatch(told) is None)


def _seconds(told: str | float | datetime | timedelta, now: datetime) -> float:
    if isinstance(told, timedelta):
        return told.total_seconds()
    if isinstance(told, datetime):
        return (told - (now if told.tzinfo is None else now.astimezone(told.tzinfo))).total_seconds()
    if not isinstance(told, str):
        return float(told)
    if match := _WITHIN.fullmatch(told):
        return float(match[1]) * _SECONDS[match[2][0]]
    if match := re.fullmatch(r"\s*(\d{1,2}):(\d{2})\s*", told):
        try:
            today = now.replace(hour=int(match[1]), minute=int(match[2]), second=0, microsecond=0)
        except ValueError:
            raise ValueError(f"finish_by={told!r} is no time of day") from None
        return (today - now if today > now else today + timedelta(days=1) - now).total_seconds()
    try:
        return _seconds(
            datetime.fromisoformat(told),
            now,
        )
    except ValueError:
        raise ValueError(f"finish_by={told!r} is not a time; write '18:00', '2026-11-24 06:00', '6h' or '90 min'") from None
