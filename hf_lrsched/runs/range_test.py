"""Reading a learning-rate range test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Trace:
    lr: Floats
    loss: Floats
    grad_norm: Floats
    update_ratio: Floats
    skipped: int = 0
    stopped: bool = False
