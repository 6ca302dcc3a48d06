"""Numbers that were typed, checked: each refusal says what was given and what it may be."""

from __future__ import annotations

import math


def real(
    what: str,
    given: object,
    *,
    least: float = -math.inf,
    most: float = math.inf,
    above: float = -math.inf,
    below: float = math.inf,
) -> float:
    """`given` as a finite float within its bounds; numpy's numbers count, a bool or a string does not.

    >>> real("factor", 0.1, above=0, most=1)
    0.1
    >>> real("factor", 2, above=0, most=1)
    Traceback (most recent call last):
    ValueError: factor=2 must be above 0 and at most 1

    Raises:
        ValueError: naming `what`, the value and the bounds.
    """
    rule = _rule(least, most, above, below)
    try:
        if isinstance(given, bool | str | bytes):
            raise TypeError
        number = float(given)  # type: ignore[arg-type]  # what float() takes is what counts as a number
    except (TypeError, ValueError):
        number = math.nan
    except OverflowError:
        number = math.inf
    if math.isnan(number):
        raise ValueError(f"{what}={_short(given)} is not a number{rule and f'; it must be {rule}'}")
    if math.isinf(number):
        raise ValueError(f"{what}={_short(given)} must be finite{rule and f', {rule}'}")
    if not (least <= number <= most and above < number < below):
        raise ValueError(f"{what}={given!r} must be {rule}")
    return number


def _rule(least: float, most: float, above: float, below: float) -> str:
    if (least, most) == (0, 1):
        return "between 0 and 1"
    if math.isinf(most) and math.isinf(above) and math.isinf(below) and math.isfinite(least):
        return f"{least:g} or more"
    bounds = (("at least", least), ("above", above), ("below", below), ("at most", most))
    return " and ".join(f"{word} {bound:g}" for word, bound in bounds if math.isfinite(bound))


def share(what: str, given: object) -> float:
    """`given` as a share of the peak, between 0 and 1.

    >>> share("warmup_start", 0.1)
    0.1
    """
    return real(what, given, least=0, most=1)


def whole(what: str, given: object, *, least: int = 1) -> int:
    """`given` as an int of at least `least`.

    >>> whole("cycles", 2.5)
    Traceback (most recent call last):
    ValueError: cycles=2.5 must be a whole number, 1 or more
    """
    try:
        number = real(what, given)
    except ValueError:
        number = math.nan
    if not (number >= least and number == int(number)):
        raise ValueError(f"{what}={_short(given)} must be a whole number, {least} or more")
    return int(number)


def flag(what: str, given: object) -> bool:
    """`given` as True or False; a word such as ``"false"`` would count as true.

    >>> flag("rewarm", "false")
    Traceback (most recent call last):
    ValueError: rewarm='false' must be True or False (true or false in JSON and YAML)
    """
    if not isinstance(given, bool):
        raise ValueError(f"{what}={given!r} must be True or False (true or false in JSON and YAML)")
    return given


def _short(given: object) -> str:
    written = repr(given)
    return written if len(written) <= 40 else f"{written[:37]}..."
