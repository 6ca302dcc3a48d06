"""What can be proved without a fit: published coefficients give the published digits, the catalogue the published rates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from forecast_data import SIZES, THREE, Curve, multipower, second_lab
from forecast_score import published_metrics

from hf_lrsched.runs.forecast.laws import Points, multi_power, vector
from hf_lrsched.runs.forecast.path import LRPath
from hf_lrsched.runs.forecast.prior import PUBLISHED, PUBLISHED_PEAK
from hf_lrsched.schedules.catalogue import build

Floats = npt.NDArray[np.float64]

# Means over the six test curves, as printed: arXiv 2503.12811 and the repository's logs (laws.md 3.1).
PRINTED = {
    "25M": {"R2": "0.9988", "MAE": "0.00376", "RMSE": "0.00465", "PredE": "0.00110", "WorstE": "0.00409"},
    "100M": {"R2": "0.9983", "MAE": "0.00435", "RMSE": "0.00592", "PredE": "0.00142", "WorstE": "0.00583"},
}
EXACT = 1e-12  # of the peak
_AT_ONCE = 32  # points of a curve, as every step of it is a source


def golden(folder: Path, sizes: Sequence[str] = SIZES) -> dict[str, Any]:
    """The authors' five figures of each size by their own coefficients, beside the printed ones."""
    found: dict[str, Any] = {}
    for size in sizes:
        curves = [curve for name, curve in multipower(folder, size).items() if name not in THREE]
        ours = published_metrics([(curve.loss, step_by_step(curve, size)) for curve in curves])
        same = {name: f"{ours[name]:.{len(digits) - 2}f}" == digits for name, digits in PRINTED[size].items()}
        found[size] = {"ours": ours, "printed": PRINTED[size], "same": all(same.values())}
    return found


def step_by_step(curve: Curve, size: str) -> Floats:
    """A curve by the published coefficients, every step a stretch of its own."""
    theta = vector(PUBLISHED[size], PUBLISHED_PEAK)
    path, done = LRPath.of(curve.lr, curve.peak, most=None), curve.step + 1.0
    parts = np.array_split(done, -(-len(done) // _AT_ONCE))
    return np.concatenate([multi_power(theta, Points(path, part))[0] for part in parts])


def logged_rates(folder: Path) -> dict[str, dict[str, float]]:
    """By size and file, by how much the catalogue's schedule misses the logged learning rates, as a share of the peak."""
    return {size: {name: _missed(curve) for name, curve in multipower(folder, size).items()} for size in SIZES}


def _missed(curve: Curve) -> float:
    assert curve.logged is not None
    return float(np.abs(curve.catalogued().lrs(curve.step, curve.peak) - curve.logged).max()) / curve.peak


def formulas(folder: Path) -> dict[str, Any]:
    """The same of the second lab, whose rates are given as formulas, at every step; by the entry that draws them."""
    worst: dict[str, float] = {}
    counts: Counter[str] = Counter()
    for curve in second_lab(folder):
        by, told = _formula(curve), {curve.entry: curve.catalogued()}
        if curve.entry == "phases" and (last := curve.schedule.values([curve.steps])[0]) <= 0.01:
            words = {"rise": 300, "div_factor": 100.0, "final_div_factor": 0.01 / last, "cycle_momentum": False}
            told["one_cycle"] = build("one_cycle", curve.steps, **words)
        for entry, schedule in told.items():
            counts[entry] += 1
            worst[entry] = max(worst.get(entry, 0.0), float(np.abs(schedule.values(curve.steps) - by).max()))
    return {entry: {"runs": counts[entry], "worst": worst[entry]} for entry in counts}


def _formula(curve: Curve) -> Floats:
    """The data README's formulas, over the peak."""
    step, warmup, steps = np.arange(curve.steps, dtype=np.float64), 300, curve.steps
    if curve.entry == "wsd":
        down = steps - curve.begins
        x = np.clip((step - curve.begins) / down, 0.0, 1.0)
        share = np.where(step >= curve.begins, 1.0 - (x if curve.arguments["shape"] == "linear" else np.sqrt(x)), 1.0)
        return np.where(step < warmup, step / warmup + (1 - step / warmup) / 100, share)
    final = curve.arguments["phases"][1]["to"]
    u = (step - (warmup - 1)) / (steps - warmup)
    rising = 0.01 + 0.99 * (1 - np.cos(np.pi * step / (warmup - 1))) / 2
    return np.where(step < warmup, rising, final + (1 - final) * (1 + np.cos(np.pi * u)) / 2)
