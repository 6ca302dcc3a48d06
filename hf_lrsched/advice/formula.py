"""A formula written as text, evaluated without running any of it as code.

It knows numbers, names, ``+ - * / **``, parentheses, ``min``, ``max``, ``sqrt`` and ``log``, and refuses everything else.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from functools import lru_cache

_TWO: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
_CALLS: dict[str, Callable[..., float]] = {"min": min, "max": max, "sqrt": math.sqrt, "log": math.log}


def names_in(formula: str) -> frozenset[str]:
    """The names of the inputs that `formula` needs.

    >>> sorted(names_in("0.3118 * (6 * parameters * tokens) ** -0.125"))
    ['parameters', 'tokens']

    Raises:
        ValueError: for text that is no formula, and for whatever is not arithmetic in it.
    """
    return frozenset(node.id for node in ast.walk(_parsed(formula)) if isinstance(node, ast.Name)) - set(_CALLS)


def evaluate(formula: str, inputs: Mapping[str, float]) -> float:
    """The value of `formula`.

    >>> evaluate("1.5e-3 * sqrt(batch / 4)", {"batch": 16})
    0.003

    Raises:
        ValueError: for text that is no formula, for an input that is missing, and for a result that is no finite number.
    """
    try:
        value = _value(_parsed(formula), inputs, formula)
    except (ArithmeticError, TypeError) as error:
        raise ValueError(f"{formula!r} has no value at {dict(inputs)}: {error}") from None
    if isinstance(value, complex) or not math.isfinite(value):
        raise ValueError(f"{formula!r} is {value} at {dict(inputs)}, which is no finite number")
    return value


@lru_cache(maxsize=1000)
def _parsed(formula: str) -> ast.expr:
    try:
        parsed = ast.parse(formula, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"{formula!r} is no formula: {error}") from None
    _check(parsed, formula)
    return parsed


def _check(node: ast.expr, formula: str) -> None:
    """Refuses whatever is neither arithmetic nor one of the few functions."""
    parts: list[ast.expr] = []
    if isinstance(node, ast.BinOp) and type(node.op) in _TWO:
        parts = [node.left, node.right]
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        parts = [node.operand]
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _CALLS and not node.keywords:
        parts = node.args
        fits = len(parts) == 1 if node.func.id in ("sqrt", "log") else len(parts) > 1
        if not fits:
            raise ValueError(
                f"{formula!r}: {ast.unparse(node)} has {len(parts)} arguments; sqrt and log take one, min and max more"
            )
    elif not isinstance(node, ast.Name) and not (isinstance(node, ast.Constant) and type(node.value) in (int, float)):
        raise ValueError(
            f"{formula!r} holds {ast.unparse(node)!r}; a formula has numbers, names, + - * / ** and {', '.join(_CALLS)}"
        )
    for part in parts:
        _check(part, formula)


def _value(node: ast.expr, inputs: Mapping[str, float], formula: str) -> float:
    if isinstance(node, ast.Name):
        if node.id not in inputs:
            raise ValueError(f"{formula!r} needs {node.id}")
        return float(inputs[node.id])
    if isinstance(node, ast.UnaryOp):
        return -_value(node.operand, inputs, formula)
    if isinstance(node, ast.BinOp):
        return _TWO[type(node.op)](_value(node.left, inputs, formula), _value(node.right, inputs, formula))
    if isinstance(node, ast.Call):
        return float(_CALLS[ast.unparse(node.func)](*(_value(argument, inputs, formula) for argument in node.args)))
    return float(ast.literal_eval(node))
