"""Shapes: how a phase travels from its start to its end.

A shape maps progress ``p`` in [0, 1] to the fraction of the way travelled, 0 at the start and 1 at the end. The value of
a phase is ``start + (end - start) * fraction``. Every formula is written once, over a module ``m`` that is `math` for one
step and `numpy` for many.

A shape is written as a name, with its arguments in parentheses where it takes any: ``"cosine"``, ``"rex(0.9)"``.

What it does not know: steps, lengths and learning rates. Where the curve depends on how deep it falls (exponential and
the inverse family), it is told the ratio ``end / start``.

>>> parse("rex(0.9)").fraction(0.5)
0.0909090909...
>>> parse("1-sqrt").fraction(0.25)
0.5
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from types import ModuleType
from typing import Any

from .checks import real

# Progress and fraction are a float under `math` and an array under `numpy`; the formulas do not care.
Curve = Callable[[Any, ModuleType], Any]


def _linear() -> Curve:
    return lambda p, m: p


def _cosine() -> Curve:
    return lambda p, m: (1.0 - m.cos(m.pi * p)) / 2.0


def _sqrt() -> Curve:
    return lambda p, m: m.sqrt(p)


def _root() -> Curve:
    return lambda p, m: 1.0 - m.sqrt(1.0 - p)


def _square() -> Curve:
    return lambda p, m: p * p


def _mirror_cosine() -> Curve:
    return lambda p, m: 2.0 * p - (1.0 - m.cos(m.pi * p)) / 2.0


def _power(exponent: float = 2.0) -> Curve:
    real(f"power({exponent:g}): exponent", exponent, above=0)
    return lambda p, m: 1.0 - (1.0 - p) ** exponent


def _rex(alpha: float = 0.5) -> Curve:
    if not 0.0 <= alpha < 1.0:
        raise ValueError(f"rex({alpha:g}): alpha is at least 0 and below 1 (0.5 in the paper, 0.9 in its authors' code)")
    return lambda p, m: p * (1.0 - alpha) / (1.0 - alpha * p)


def _megatron() -> Curve:
    return lambda p, m: 2.0 * (1.0 - 0.5**p)


def _exponential(ratio: float) -> Curve:
    if ratio == 1.0:
        return _linear()
    depth = math.log(ratio)
    return lambda p, m: m.expm1(p * depth) / m.expm1(depth)


def _inverse(ratio: float, exponent: float = 1.0) -> Curve:
    real(f"inverse({exponent:g}): exponent", exponent, above=0)
    if ratio == 1.0:
        return _linear()
    depth = math.log(ratio)
    growth = math.expm1(-depth / exponent)
    return lambda p, m: m.expm1(-exponent * m.log1p(p * growth)) / m.expm1(depth)


@dataclass(frozen=True)
class Kind:
    """A family of shapes: the maker of its curve, whether it needs ``end / start``, and what a reader should know."""

    make: Callable[..., Curve]
    by_ratio: bool
    value: str
    """The value of a fall from 1 to ``r`` (0 where ``r`` does not appear) at progress ``p``."""
    source: str
    most_arguments: int = 0


SHAPES: dict[str, Kind] = {
    "linear": Kind(_linear, False, "1-p", "linear decay, Defazio et al. 2310.07831"),
    "cosine": Kind(_cosine, False, "(1+cos(pi p))/2", "Loshchilov & Hutter, SGDR, 1608.03983"),
    "1-sqrt": Kind(_sqrt, False, "1-sqrt(p)", "Haegele et al. 2405.18392"),
    "root": Kind(_root, False, "sqrt(1-p)", "Transformers' WSD warm-up '1-sqrt', which is this curve read backwards"),
    "square": Kind(_square, False, "1-p^2", "Haegele et al. 2405.18392"),
    "mirror-cosine": Kind(_mirror_cosine, False, "2(1-p)-(1+cos(pi p))/2", "Haegele et al. 2405.18392, code"),
    "power": Kind(_power, False, "(1-p)^k", "polynomial decay, torch PolynomialLR", 1),
    "rex": Kind(_rex, False, "(1-p)/(1-alpha p)", "REX 2107.04197, alpha 0.5 in the paper", 1),
    "exponential-megatron": Kind(_megatron, False, "2*0.5^p-1", "Megatron-LM optimizer_param_scheduler.py"),
    "exponential": Kind(_exponential, True, "r^p", "geometric: torch ExponentialLR; Haegele et al. 'exp'", 1),
    "inverse": Kind(_inverse, True, "(1+p(r^(-1/k)-1))^-k", "WSD-S 2410.05192 (k=1); k=0.5 is inverse square root", 2),
}

# Other people's words for the same curves.
ALIASES = {
    "cos": "cosine",
    "sqrt": "1-sqrt",
    "minus_sqrt": "1-sqrt",
    "1-square": "square",
    "1-sq": "square",
    "polynomial": "power",
    "exp": "exponential",
    "geometric": "exponential",
    "inverse-proportional": "inverse",
    "inverse_proportional": "inverse",
    "inverse-sqrt": "inverse(0.5)",
    "inverse_sqrt": "inverse(0.5)",
}

_WRITTEN = re.compile(r"^\s*([A-Za-z0-9_-]+)\s*(?:\(([^()]*)\))?\s*$")


@dataclass(frozen=True)
class Shape:
    """One curve: a name from `SHAPES` and its numbers. Made by `parse`, which checks both.

    ``inverse`` and ``exponential`` take their depth, the ratio ``end / start``, from the phase they are used in; a last
    argument of their own replaces it (``exponential(0.01)``), which is how an absolute floor is written down.
    """

    name: str
    arguments: tuple[float, ...] = ()

    def __str__(self) -> str:
        return f"{self.name}({', '.join(map(repr, self.arguments))})" if self.arguments else self.name

    @property
    def needs_ratio(self) -> bool:
        """Whether the phase has to say how deep it falls before this curve is defined."""
        full = {"exponential": 1, "inverse": 2}
        return SHAPES[self.name].by_ratio and len(self.arguments) < full[self.name]

    def with_ratio(self, ratio: float) -> Shape:
        """The same curve with its depth fixed. Nothing changes for a shape that does not depend on it."""
        if not self.needs_ratio:
            return self
        exponent = (self.arguments or (1.0,)) if self.name == "inverse" else ()
        return Shape(self.name, (*exponent, ratio))

    def curve(self, ratio: float = 0.0) -> Curve:
        """The formula as ``f(p, m)``, for a phase whose ``end / start`` is `ratio`."""
        kind = SHAPES[self.name]
        if not kind.by_ratio:
            return kind.make(*self.arguments)
        *exponent, depth = self.with_ratio(ratio).arguments
        if not 0.0 < depth < math.inf:
            raise ValueError(
                f"a phase of shape '{self}' cannot reach or leave 0 (its ratio end/start is {depth:g}): give it a floor "
                "above 0 (min_lr or min_lr_ratio), or use '1-sqrt', 'linear' or 'exponential-megatron', which reach 0"
            )
        return kind.make(depth, *exponent)

    def fraction(self, p: float, ratio: float = 0.0) -> float:
        """Fraction of the way travelled at progress `p` in [0, 1]."""
        return float(self.curve(ratio)(p, math))


LINEAR = Shape("linear")


@lru_cache(maxsize=256)
def _parse(written: str) -> Shape:
    match = _WRITTEN.match(written)
    name = match.group(1) if match else written
    alias = ALIASES.get(name.lower(), name.lower())
    if match and "(" in alias:  # an alias that stands for a shape with an argument
        return _parse(alias)
    name = alias
    if match is None or name not in SHAPES:
        near = get_close_matches(name, [*SHAPES, *ALIASES], n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise ValueError(f"unknown shape {written!r}{hint} (known: {', '.join(SHAPES)})")
    try:
        arguments = tuple(float(part) for part in (match.group(2) or "").split(",") if part.strip())
    except ValueError:
        raise ValueError(f"shape {written!r}: what stands in parentheses must be numbers, as in 'rex(0.9)'") from None
    if len(arguments) > SHAPES[name].most_arguments:
        raise ValueError(f"shape {written!r} has {len(arguments)} arguments, '{name}' takes {SHAPES[name].most_arguments}")
    if not all(math.isfinite(argument) for argument in arguments):
        raise ValueError(f"shape {written!r}: its arguments must be finite")
    shape = Shape(name, arguments)
    shape.curve(0.5)  # refuses a bad argument here, where its spelling is known
    return shape


def parse(shape: str | Shape) -> Shape:
    """A shape from its written form, for example ``"cosine"`` or ``"rex(0.9)"``.

    Raises:
        ValueError: for a name that is not in `SHAPES`, or numbers it does not take.
    """
    if isinstance(shape, Shape):
        return shape
    if not isinstance(shape, str):
        raise ValueError(f"a shape is a word such as 'cosine', not {shape!r}")
    return _parse(shape)
