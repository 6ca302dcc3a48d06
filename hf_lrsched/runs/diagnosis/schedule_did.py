"""What the schedule itself has just done, so that a rise of the loss is expected or has its own name."""

from __future__ import annotations

import math
from typing import Literal

from .sight import Point, Sight

Doing = Literal["warm-up", "end of warm-up", "restart", "resume", "no warm-up", ""]

_AGAIN = 1.5  # an LR that has risen by so much since its last low is on its way up again
_SOON = 64  # points after a restart or a resume, in which the optimizer's averages follow (1 / (1 - beta2) is 20 to 1000)
_NEAR = 2.0  # a warm-up is behind after twice its length: GPT-3's and BLOOM's glitches lie within it (diagnosis.md, fact 6)
_PEAK = 0.95  # of the highest LR so far
_FIRST = 100  # points: the longest warm-up that a fixed count advises for short runs


def doing(point: Point, sight: Sight) -> Doing:
    """What the schedule does at `point`, or did shortly before it; "" where nothing that moves a loss.

    - ``"warm-up"``: the LR rises to where it has not been. ``"end of warm-up"``: it did so within the last warm-up's length.
    - ``"restart"``: it rises, or has risen in the last 64 points, again. ``"resume"``: the run was resumed within them.
    - ``"no warm-up"``: the first hundred points of a run whose first LR was its highest.
    """
    if any(event.kind == "resume" and 0 <= point.step - event.step <= _SOON for event in sight.events[-8:]):
        return "resume"
    lr = point.lrs[0] if point.lrs else math.nan
    if not (lr > 0 and sight.highest_lr > 0 and sight.points):
        return ""
    if lr >= _PEAK * sight.highest_lr and lr > sight.points[-1].lrs[0] and sight.lowest_lr == sight.highest_lr:
        return "warm-up"
    if sight.lowest_lr * _AGAIN < sight.highest_lr:
        recent = [one.lrs[0] for one in list(sight.points)[-_SOON:] if math.isfinite(one.lrs[0])] + [lr]
        lowest = min(range(len(recent)), key=recent.__getitem__)
        if max(recent[lowest:]) > _AGAIN * recent[lowest]:
            return "restart"
    before = sight.begun - sight.setting.averaged  # 0 but for a file that begins later
    if sight.peak_at > sight.begun and point.step - before <= _NEAR * (sight.peak_at - before):
        return "end of warm-up"
    if sight.peak_at == sight.begun and sight.count <= _FIRST:
        return "no warm-up"
    return ""
