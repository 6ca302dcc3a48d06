"""A schedule to and from plain JSON types: what a checkpoint, a model card and a config file hold.

The spec lists resolved phases, in steps, so it says the same everywhere and for ever; a name is kept for the reader.

>>> from hf_lrsched import fall, rise
>>> spec = to_spec(rise(10) >> fall(90, "cosine", to=0.1))
>>> spec["phases"][1]
{'name': 'decay', 'length': 90, 'start': 1.0, 'end': 0.1, 'shape': 'cosine'}
>>> from_spec(spec) == rise(10) >> fall(90, "cosine", to=0.1)
True
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .phase import Phase
from .schedule import Schedule
from .shapes import parse

Spec = dict[str, Any]

_PHASE_KEYS = ("name", "length", "start", "end", "shape", "until")
_KEYS = ("name", "phases", "min_lr", "momentum")


def to_spec(schedule: Schedule) -> Spec:
    """`schedule` as dicts, lists, strings and numbers; `from_spec` builds an equal schedule from it."""
    spec: Spec = {"name": schedule.name, "phases": [_phase_spec(phase) for phase in schedule.phases]}
    if schedule.min_lr:
        spec["min_lr"] = float(schedule.min_lr)
    if schedule.momentum:
        spec["momentum"] = to_spec(schedule.momentum)
    return spec


def _phase_spec(phase: Phase) -> Spec:
    length = float(phase.length)
    spec: Spec = {
        "name": phase.name,
        "length": int(length) if length.is_integer() else length,
        "start": float(phase.start),
        "end": float(phase.end),
        "shape": str(phase.shape),
    }
    return spec if phase.until == 1.0 else {**spec, "until": float(phase.until)}


def from_spec(spec: Mapping[str, Any]) -> Schedule:
    """The schedule that `spec` describes.

    Raises:
        ValueError: where a key is missing or unknown, or a value is not one a phase can have.
    """
    _check_keys(spec, "a schedule's spec", known=_KEYS, needed=("phases",))
    momentum = spec.get("momentum")
    phases = spec["phases"]
    if not isinstance(phases, list | tuple):
        raise ValueError(f"a schedule's spec lists its phases, not {type(phases).__name__}")
    return Schedule(
        tuple(_phase(phase) for phase in phases),
        momentum=None if momentum is None else from_spec(momentum),
        min_lr=_number(spec.get("min_lr", 0.0), "min_lr"),
        name=str(spec.get("name", "")),
    )


def _phase(spec: Mapping[str, Any]) -> Phase:
    _check_keys(spec, "a phase's spec", known=_PHASE_KEYS, needed=("length", "start", "end"))
    return Phase(
        name=str(spec.get("name", "")),
        length=_number(spec["length"], "length"),
        start=_number(spec["start"], "start"),
        end=_number(spec["end"], "end"),
        shape=parse(spec.get("shape", "linear")),
        until=_number(spec.get("until", 1.0), "until"),
    )


def _check_keys(spec: Mapping[str, Any], what: str, *, known: tuple[str, ...], needed: tuple[str, ...]) -> None:
    if not isinstance(spec, Mapping):
        raise ValueError(f"{what} is a mapping, not {type(spec).__name__}")
    unknown, missing = sorted(set(spec) - set(known)), sorted(set(needed) - set(spec))
    if unknown or missing:
        wrong = [f"does not know {', '.join(unknown)}"] * bool(unknown) + [f"lacks {', '.join(missing)}"] * bool(missing)
        raise ValueError(f"{what} {' and '.join(wrong)} (its keys: {', '.join(known)})")


def _number(given: object, what: str) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise ValueError(f"{what}={given!r} in a spec is not a number")
    return given
