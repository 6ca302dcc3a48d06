"""What learning rates an optimizer is used with, as far as that says that one is far beyond."""

from __future__ import annotations

import math

from .sight import Point, Setting

# Adam and its kin: UMLAUT's limit, whatever the model; the largest of our presets is 1e-3 (a CNN from scratch).
ADAM = 1e-2
# SGD over 1 - momentum, which is a step once momentum has built up: ten times that of ResNet (0.1 with momentum 0.9).
SGD = 10.0


def beyond(setting: Setting, point: Point) -> bool:
    """Whether the peak is far above what its optimizer is used with; False where the optimizer is not known."""
    peak = setting.peak[0] if setting.peak else (point.lrs[0] if point.lrs else math.nan)
    name = (setting.optimizer or str(setting.arguments.get("optim", ""))).lower()
    if "adam" in name or "lion" in name:
        return peak > ADAM
    if name.startswith("sgd"):
        momentum = point.momentum if math.isfinite(point.momentum) else 0.0
        return peak / max(1 - momentum, 1e-3) > SGD
    return False
