"""A schedule of the user's own, as a list in JSON or YAML: `phases`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..checks import share
from ..lengths import Horizon, Length
from ..phase import Phase
from ..schedule import Schedule, chain
from ..shapes import parse
from .entry import named
from .floor import Floor

_KEYS = ("name", "length", "from", "to", "shape")


@named(
    "phases",
    summary="your own, as a list of phases",
    source="no numbers of its own",
    warmup=None,
    jumps=True,
)
def phases(steps: int, *, phases: Sequence[Mapping[str, Any]], min_lr: float | None = None) -> Schedule:
    """The listed phases in a row.

    Args:
        steps: optimizer steps in the run.
        phases: a list of mappings with the keys

            - ``length``: a length; one phase may leave it out and takes what is left of the run;
            - ``to``: share of the peak it goes to, in [0, 1]; by default it stays where it is;
            - ``from``: share it starts at; by default where the phase before ended. The first phase needs it;
            - ``shape``: from `shapes.SHAPES`, by default ``"linear"``;
            - ``name``: for plots and logs.
        min_lr: an absolute floor after the peak was first reached.

    >>> phases(100, phases=[{"from": 0, "to": 1, "length": "5%"}, {}, {"to": 0.1, "shape": "cosine", "length": 20}])
    Schedule(phase 1 5: 0 -> 1 linear, phase 2 75: 1, phase 3 20: 1 -> 0.1 cosine)

    Raises:
        ValueError: where the lengths do not make the run, with the numbers, or a key is unknown.
    """
    run = Horizon.of(steps)
    if not isinstance(phases, list | tuple) or not phases:
        raise ValueError(f"phases={phases!r} is not a list of phases, such as [{{'from': 0, 'to': 1, 'length': '5%'}}, ...]")
    for i, item in enumerate(phases, start=1):
        unknown = sorted(str(key) for key in set(item) - set(_KEYS)) if isinstance(item, Mapping) else [repr(item)]
        if unknown:
            raise ValueError(f"phase {i} does not know {', '.join(unknown)} (its keys: {', '.join(_KEYS)})")
    lengths = _lengths(run, [item.get("length") for item in phases])
    return Floor.of(run, min_lr, None).under(chain(_joined(phases, lengths)))


def _joined(items: Sequence[Mapping[str, Any]], lengths: Sequence[float]) -> list[Phase]:
    joined: list[Phase] = []
    for i, (item, length) in enumerate(zip(items, lengths, strict=True), start=1):
        if not joined and "from" not in item:
            raise ValueError("phase 1 needs 'from', the share of the peak it starts at (0 for a warm-up, 1 for a decay)")
        start = share(f"phase {i}: from", item.get("from", joined[-1].last if joined else None))
        end = share(f"phase {i}: to", item.get("to", start))
        joined.append(Phase(str(item.get("name", f"phase {i}")), length, start, end, parse(item.get("shape", "linear"))))
    return joined


def _lengths(run: Horizon, given: Sequence[Length | None]) -> list[float]:
    steps = [None if length is None else run.steps_of(length, f"length of phase {i}") for i, length in enumerate(given, 1)]
    known = [length for length in steps if length is not None]
    open_ones = [i for i, length in enumerate(steps, start=1) if length is None]
    if len(open_ones) > 1:
        raise ValueError(f"phases {', '.join(map(str, open_ones))} have no length; only one may take what is left of the run")
    left = run - math.fsum(known)
    if left < -1e-6 or (left > 1e-6 and not open_ones):
        raise ValueError(
            f"the phases take {math.fsum(known):.10g} steps ({' + '.join(f'{length:.10g}' for length in known)}), "
            f"but the run has {int(run)}; change a length, or leave one out for it to take the rest"
        )
    return [max(left, 0.0) if length is None else length for length in steps]
