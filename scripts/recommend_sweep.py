"""The public LoRA sweep of 35 models: what a learning rate costs in each of its cells.

A cell is a model at a rank, with the final test losses at a few learning rates. The regret of a learning rate is the loss
there above the lowest of the cell. Two readings lie between the grid points, both in the logarithm of the learning rate:

- *straight*: a line from point to point. It lies above every valley that is convex, and has its lowest at a grid point,
  which favours advice that is itself one, such as 3e-4;
- *smooth*: a monotone cubic (PCHIP) through the same points, which never leaves the range of its neighbours.

Beyond the grid both are charged: where a diverged run follows, at the steepest rise between two finished runs of the whole
sweep up to `CAP`; where nothing was run, at the median slope next to the best. So nothing is gained by going where nobody
was. Runs that diverged have no loss, so regret alone understates a high learning rate; `diverged` and `at_risk` count them
apart. The six undecided runs count as diverged. Repeats are averaged.
"""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.optimize import minimize_scalar
from scipy.stats import norm

from hf_lrsched.advice.model import read_model

FAMILIES = ("Llama", "Qwen", "Nemotron", "DeepSeek", "Kimi", "gpt-oss")
# Parameters that a name does not say, as the models' cards have them.
SIZES = {"DeepSeek-V3.1": 671e9, "Kimi-K2": 1e12}
# Hidden widths (hidden_size of config.json on the Hub) of the two families that tinker's formula is calibrated for.
WIDTHS = {
    "Llama-3.2-1B": 2048, "Llama-3.2-3B": 3072, "Llama-3.1-8B": 4096, "-70B": 8192, "4B": 2560, "8B": 4096, "9B": 4096,
    "27B": 5120, "32B": 5120, "-A3B": 2048, "-A17B": 4096, "-A22B": 4096,
}  # fmt: skip
CAP = 1e-3
GRID = np.linspace(math.log(2e-5), math.log(3e-3), 1001)


@dataclass(frozen=True)
class Cell:
    """A model at a rank.

    Args:
        lrs: logarithms of the learning rates that finished, ascending.
        regrets: at each of them.
        diverged: logarithm of the lowest learning rate that diverged; infinite where none did.
    """

    model: str
    family: str
    parameters: float
    rank: int
    lrs: NDArray[np.float64]
    regrets: NDArray[np.float64]
    diverged: float

    def at_risk(self, lr: float) -> bool:
        """Whether `lr` lies above the highest that finished, with a diverged run next."""
        return bool(math.isfinite(self.diverged) and math.log(lr) > self.lrs[-1] + 1e-9)

    def diverges(self, lr: float) -> bool:
        """Whether `lr` is at least the lowest that diverged."""
        return math.log(lr) >= self.diverged - 1e-9


def read_sweep(folder: Path) -> list[Cell]:
    """The 126 cells of lora_sweep.csv in `folder`."""
    found: dict[tuple[str, int], dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    with (folder / "lora_sweep.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            losses = found[row["model"], int(row["rank"])][float(row["lr"])]
            losses += [float(row["test_nll"])] if row["test_nll"] else []
    return [_cell(model, rank, losses) for (model, rank), losses in found.items()]


def _cell(model: str, rank: int, losses: dict[float, list[float]]) -> Cell:
    finished = {lr: float(np.mean(some)) for lr, some in sorted(losses.items()) if some}
    regrets = np.array(list(finished.values())) - min(finished.values())
    diverged = min((math.log(lr) for lr, some in losses.items() if not some), default=math.inf)
    return Cell(model, family_of(model), size_of(model), rank, np.log(list(finished)), regrets, diverged)


def family_of(model: str) -> str:
    """One of `FAMILIES`: by maker, so that nothing is learned from a relative."""
    return next(family for family in FAMILIES if family in model)


def size_of(model: str) -> float:
    """Parameters, of all experts."""
    size = read_model(model).parameters
    return size if size is not None else next(size for name, size in SIZES.items() if name in model)


def published(cell: Cell) -> float | None:
    """What tinker's get_lr says; None for a family it is not calibrated for, which it refuses."""
    exponent = {"Llama": 0.781, "Qwen": 0.0775}.get(cell.family)
    width = next((width for name, width in WIDTHS.items() if name in cell.model), None)
    return None if exponent is None or width is None else 5e-4 * (2000 / width) ** exponent


class Sweep:
    """The cells, and what each learning rate of `GRID` costs in each of them, by both readings."""

    def __init__(self, cells: Sequence[Cell]) -> None:
        self.cells = cells
        self.steep = max(_slopes(cell)[cell.lrs[1:] <= math.log(CAP) + 1e-9].max(initial=0) for cell in cells)
        above, below = zip(*(_beside(cell) for cell in cells), strict=True)
        self.above, self.below = float(np.nanmedian(above)), float(np.nanmedian(below))
        self.straight = np.array([self._curve(cell, smooth=False) for cell in cells])
        self.smooth = np.array([self._curve(cell, smooth=True) for cell in cells])

    def _curve(self, cell: Cell, *, smooth: bool) -> NDArray[np.float64]:
        inside = np.clip(GRID, cell.lrs[0], cell.lrs[-1])
        if smooth and len(cell.lrs) > 1:
            regret = np.asarray(PchipInterpolator(cell.lrs, cell.regrets)(inside), dtype=np.float64)
        else:
            regret = np.interp(inside, cell.lrs, cell.regrets)
        rise = self.steep if math.isfinite(cell.diverged) else self.above
        return regret + np.maximum(GRID - cell.lrs[-1], 0) * rise + np.maximum(cell.lrs[0] - GRID, 0) * self.below

    def regrets(self, lrs: Iterable[float], *, smooth: bool = False) -> NDArray[np.float64]:
        """The regret of a learning rate in each cell."""
        table = self.smooth if smooth else self.straight
        return np.array([np.interp(math.log(lr), GRID, row) for lr, row in zip(lrs, table, strict=True)])

    def without(self, family: str) -> list[int]:
        """Indices of the cells of all other families."""
        return [index for index, cell in enumerate(self.cells) if cell.family != family]


def _slopes(cell: Cell) -> NDArray[np.float64]:
    return np.diff(cell.regrets) / np.diff(cell.lrs)


def _beside(cell: Cell) -> tuple[float, float]:
    """How steeply the regret rises on both sides of the best; not a number where nothing finished there."""
    slopes, best = _slopes(cell), int(cell.regrets.argmin())
    return (slopes[best] if best < len(slopes) else math.nan), (-slopes[best - 1] if best else math.nan)


def scatter(cells: Sequence[Cell], lrs: Sequence[float]) -> float:
    """By what factor the best learning rates scatter about `lrs`: one standard deviation of the logarithm, by likelihood."""
    bests = [best_of(cell) for cell in cells]
    bounds = [(low - math.log(lr), high - math.log(lr)) for (low, high), lr in zip(bests, lrs, strict=True)]

    def unlikely(width: float) -> float:
        exact = sum(-norm.logpdf(low, scale=width) for low, high in bounds if low == high)
        rest = sum(-math.log(norm.cdf(high / width) - norm.cdf(low / width) + 1e-12) for low, high in bounds if low < high)
        return float(exact + rest)

    return math.exp(minimize_scalar(unlikely, bounds=(0.01, 3), method="bounded").x)


def best_of(cell: Cell) -> tuple[float, float]:
    """Between which logarithms the best learning rate of a cell lies.

    They are equal, the lowest point of a parabola, where its lowest loss has both neighbours. Where one of them is missing or
    diverged the best is only known to lie beyond half way to the other, and below the diverged one.
    """
    at = int(cell.regrets.argmin())
    if 0 < at < len(cell.lrs) - 1:
        square, line, _ = np.polyfit(cell.lrs[at - 1 : at + 2], cell.regrets[at - 1 : at + 2], 2)
        return float(-line / (2 * square)), float(-line / (2 * square))
    if len(cell.lrs) == 1:
        return -math.inf, cell.diverged
    if at == 0:
        return -math.inf, float((cell.lrs[0] + cell.lrs[1]) / 2)
    return float((cell.lrs[-1] + cell.lrs[-2]) / 2), cell.diverged


def bootstrap(gain: NDArray[np.float64], families: Sequence[str], times: int = 10_000, seed: int = 0) -> dict[str, Any]:
    """A mean gain over cells, its middle nine tenths when families are drawn anew, and how often it is one."""
    names = sorted(set(families))
    sums = np.array([gain[[family == name for family in families]].sum() for name in names])
    counts = np.array([sum(family == name for family in families) for name in names])
    drawn = np.random.default_rng(seed).integers(len(names), size=(times, len(names)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(means, [0.05, 0.95])
    return {"mean": float(gain.mean()), "low": float(low), "high": float(high), "better": float((means > 0).mean())}
