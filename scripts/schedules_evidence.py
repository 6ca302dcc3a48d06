"""Writes what `bench_schedules` measured as evidence: the last part of ``hf_lrsched/advice/evidence/schedules.yaml``.

What stands above `MARK` in that file is written by hand and stays.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from schedules_table import REFERENCE, SEEDS, Row, compare, runs_of, tasks

FILE = Path(__file__).parents[1] / "hf_lrsched" / "advice" / "evidence" / "schedules.yaml"
MARK = "  # From here on written by `python scripts/bench_schedules.py evidence`, from bench_schedules.json.\n"
OCTAVE = 2.0  # between two learning rates that were run
REGRET = "nats of held-out loss above the lowest of the task's schedules, each at its own best learning rate"
RATIO = f"best learning rate over that of {REFERENCE}"


def write(conditions: Mapping[str, Mapping[str, Any]]) -> None:
    """Writes the file; `conditions` are each task's ``when``."""
    kept = FILE.read_text("utf-8").partition(MARK)[0]
    lines = list(entries(conditions))
    FILE.write_text(kept + MARK + "".join(f"  - {line}\n" for line in lines), "utf-8")
    print(f"{len(lines)} entries in {FILE.name}")


def entries(conditions: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Each measured entry, as YAML on one line."""
    for name, task in tasks().items():
        rows, when = compare(runs_of(task)), dict(conditions[name])
        yield _mapping(
            {**_base(f"schedules-{name}", "schedule", "names, the lowest loss first"), **_best(rows), "when": when}
        )
        for row in rows:
            here = {"when": {**when, "schedule": row.schedule}}
            yield _mapping({**_base(f"schedules-{name}-{row.schedule}", "regret", REGRET), **_regret(row, rows), **here})
        reference = next((row for row in rows if row.schedule == REFERENCE), None)
        for row in rows if reference else ():
            base = _base(f"schedules-{name}-{row.schedule}-lr", "lr_ratio", RATIO)
            yield _mapping({**base, **_ratio(row, reference), "when": {**when, "schedule": row.schedule}})


def _base(name: str, of: str, unit: str) -> dict[str, Any]:
    return {"id": name, "of": of, "unit": unit, "kind": "measured", "source": "bench-schedules", "date": "2026-11"}


def _best(rows: list[Row]) -> dict[str, Any]:
    tied = [row.schedule for row in rows if row.tied]
    said = "these tie" if len(tied) > 1 else "it ties with none"
    return {"text": ", ".join(tied), "note": f"of {len(rows)} schedules, {len(SEEDS)} seeds; {said}"}


def _regret(row: Row, rows: list[Row]) -> dict[str, Any]:
    value, spread = round(row.regret, 4), round(row.spread, 4)
    said = "the lowest" if row is rows[0] else f"ties with {rows[0].schedule}" if row.tied else f"above {rows[0].schedule}"
    beyond = ", though its best learning rate may lie beyond the last that was run" if row.best.edge else ""
    note = f"{said}{beyond}; the band is a standard deviation over {len(SEEDS)} seeds either way"
    return {"value": value, "low": round(value - spread, 4), "high": round(value + spread, 4), "note": note}


def _ratio(row: Row, reference: Row) -> dict[str, Any]:
    value, half = 2.0 ** (row.best.lowest - reference.best.lowest), OCTAVE**0.5
    found = {word: _short(number) for word, number in (("value", value), ("low", value / half), ("high", value * half))}
    note = f"{_short(row.best.lr)} against {_short(reference.best.lr)}; octaves were run, and the band is one wide"
    return {**found, "note": f"{note}; its best may lie beyond the last" if row.best.edge else note}


def _short(number: float) -> float:
    return float(f"{number:.3g}")


def _mapping(entry: Mapping[str, Any]) -> str:
    return f"{{{', '.join(f'{key}: {_scalar(value)}' for key, value in entry.items())}}}"


def _scalar(value: Any) -> str:
    """As YAML reads it: a number needs a point before its exponent, a text quotes."""
    if isinstance(value, Mapping):
        return _mapping(value)
    if isinstance(value, float) and "e" in repr(value):
        mantissa, _, exponent = repr(value).partition("e")
        return f"{mantissa if '.' in mantissa else f'{mantissa}.0'}e{int(exponent):+d}"
    return json.dumps(value)
