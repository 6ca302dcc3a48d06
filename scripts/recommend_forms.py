"""Formulas for the LoRA learning rate, fitted to the sweep and judged on families that they have not seen.

All are level * size part * (rank / 16) ** exponent, at most `CAP`, above which no cell of the sweep has its best. The size
part is (8e9 / parameters) ** steepness, or bent: max(1, knee / parameters) ** steepness. A form says which of these are
fitted.

The form that is used is `USED`: both of its exponents are what the sweep's own authors say elsewhere (the best learning
rate goes as 1 / sqrt(parameters) from one model to another, and hardly depends on the rank), so only a level and a knee are
fitted. `chosen_blindly` chooses the form, too, without the family it is judged on; scripts/LOG.md has what comes of it.

What is minimised is the mean smooth regret, each cell's divided by its own mean from 1e-4 to 1e-3. Without that the fit is
one to the smallest models: their valleys are up to forty times as deep as others.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from recommend_sweep import CAP, FAMILIES, GRID, Cell, Sweep, best_of

SIZE, RANK = 8e9, 16
LEVELS = tuple(level / 1e5 for level in range(15, 51))
KNEES = tuple(knee * 0.5e9 for knee in range(2, 61))
USED = "bent, 1/sqrt(parameters)"


@dataclass(frozen=True)
class Formula:
    """A learning rate for LoRA with alpha 32, scaled by alpha / rank.

    Args:
        level: of a model beyond the knee, or of 8e9 parameters, at rank 16.
        knee: parameters below which the learning rate grows; None where it does throughout.
    """

    level: float
    knee: float | None
    steepness: float
    exponent: float

    def __call__(self, parameters: float, rank: float) -> float:
        size = SIZE / parameters if self.knee is None else max(1.0, self.knee / parameters)
        return min(CAP, self.level * size**self.steepness * (rank / RANK) ** self.exponent)

    def __str__(self) -> str:
        """As `advice.formula` reads it."""
        parts = [f"{self.level:.1e}"]
        if self.steepness:
            size = f"{SIZE:.0e} / parameters" if self.knee is None else f"max(1, {self.knee:.2e} / parameters)"
            parts.append(f"sqrt({size})" if self.steepness == 0.5 else f"({size}) ** {self.steepness:.2g}")
        parts += [f"(rank / {RANK}) ** {self.exponent:.2g}"] if self.exponent else []
        return f"min({CAP:.1e}, {' * '.join(parts)})"


@dataclass(frozen=True)
class Form:
    """The values that are tried for each part of a formula."""

    knees: tuple[float | None, ...] = (None,)
    steepness: tuple[float, ...] = (0.0,)
    exponents: tuple[float, ...] = (0.0,)

    def formulas(self) -> list[Formula]:
        tried = itertools.product(LEVELS, self.knees, self.steepness, self.exponents)
        return [Formula(*parts) for parts in tried]


_SLOPES = tuple(slope / 50 for slope in range(21))
_RANKS = tuple(rank / 50 for rank in range(16))
_STEEP = tuple(steep / 10 for steep in range(1, 11))
FORMS = {
    "constant": Form(),
    "rank": Form(exponents=_RANKS),
    "size": Form(steepness=_SLOPES),
    "size, rank": Form(steepness=_SLOPES, exponents=_RANKS),
    USED: Form(knees=KNEES, steepness=(0.5,)),
    "bent, 1/sqrt(parameters), rank": Form(knees=KNEES, steepness=(0.5,), exponents=_RANKS),
    "bent": Form(knees=KNEES, steepness=_STEEP),
    "bent, rank": Form(knees=KNEES[::3], steepness=_STEEP, exponents=_RANKS[::3]),
}


@dataclass
class Fitting:
    """Fits forms to a sweep, or to some of its families."""

    sweep: Sweep
    _costs: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    def fit(self, form: str = USED, families: Iterable[str] = FAMILIES) -> Formula:
        """The formula of a form that costs least over the cells of these families."""
        return FORMS[form].formulas()[int(self._over(form, families).argmin())]

    def left_out(self, form: str = USED) -> dict[str, Formula]:
        """For each family the formula that the others give."""
        return {family: self.fit(form, _others(family)) for family in FAMILIES}

    def chosen_blindly(self) -> dict[str, str]:
        """For each family the form that does best where the others are left out in turn; of equals the simplest."""
        found = {}
        for family in FAMILIES:
            others = _others(family)
            costs = {form: sum(self._unseen(form, out, others) for out in others) for form in FORMS}
            found[family] = min(costs, key=lambda form: (round(costs[form], 6), len(FORMS[form].formulas())))
        return found

    def _unseen(self, form: str, out: str, families: Iterable[str]) -> float:
        """What `out` costs by the formula that the rest of `families` gives."""
        best = int(self._over(form, [family for family in families if family != out]).argmin())
        return float(self._table(form)[self._of([out]), best].sum())

    def _over(self, form: str, families: Iterable[str]) -> NDArray[np.float32]:
        return np.asarray(self._table(form)[self._of(families)].mean(axis=0))

    def _of(self, families: Iterable[str]) -> list[int]:
        named = set(families)
        return [index for index, cell in enumerate(self.sweep.cells) if cell.family in named]

    def _table(self, form: str) -> NDArray[np.float32]:
        """The cost of every formula of a form (columns) in every cell."""
        if form not in self._costs:
            self._costs[form] = np.array([self._row(form, index) for index in range(len(self.sweep.cells))])
        return self._costs[form]

    def _row(self, form: str, index: int) -> NDArray[np.float32]:
        cell, curve, tried = self.sweep.cells[index], self.sweep.smooth[index], FORMS[form]
        knees = [SIZE / cell.parameters if knee is None else max(1.0, knee / cell.parameters) for knee in tried.knees]
        size = np.log(knees)[:, None] * np.array(tried.steepness)
        rank = np.array(tried.exponents) * math.log(cell.rank / RANK)
        lrs = np.log(LEVELS)[:, None, None, None] + size[None, :, :, None] + rank
        mean = curve[(math.log(1e-4) <= GRID) & (math.log(1e-3) >= GRID)].mean()
        return (np.interp(np.minimum(lrs, math.log(CAP)), GRID, curve) / mean).ravel().astype(np.float32)


def _others(family: str) -> list[str]:
    return [other for other in FAMILIES if other != family]


def rank_exponent(cells: Iterable[Cell]) -> float:
    """How the best learning rate goes with the rank within each model, over the cells whose best is known exactly."""
    of_model: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for cell in cells:
        low, high = best_of(cell)
        if low == high:
            of_model[cell.model].append((math.log(cell.rank), low))
    centred = [np.array(pairs) - np.mean(pairs, axis=0) for pairs in of_model.values()]
    ranks, lrs = np.concatenate(centred).T
    return float((ranks * lrs).sum() / (ranks**2).sum())
