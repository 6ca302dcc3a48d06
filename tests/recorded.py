"""Runs as `LRRecorder` writes them, without training anything."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hf_lrsched import Schedule
from hf_lrsched.runs.files import HISTORY
from hf_lrsched.runs.history import History
from hf_lrsched.schedules.spec import to_spec

PEAK = 1e-3


def points(schedule: Schedule, steps: int, *, peak: float = PEAK) -> list[dict[str, Any]]:
    """Steps 1 to `steps` under `schedule`, with losses that fall from 5."""
    return [
        {"step": i + 1, "loss": 5 - 2 * i / steps, "lr": schedule.lr(i, peak), "phase": schedule.phase(i).name}
        for i in range(steps)
    ]


def history(schedule: Schedule, steps: int, *, extra: Iterable[Mapping[str, Any]] = (), **about: Any) -> History:
    """Those points as the history of a run that says what it follows; `extra` lines add to them or take their place."""
    return History.of([*points(schedule, steps), *extra], schedule=schedule, peak=(PEAK,), **about)


def write(folder: Path, schedule: Schedule, steps: int, *, arguments: Mapping[str, Any] | None = None) -> Path:
    """The folder of such a run: the recorder's file, a checkpoint in the middle, and a branch point at the end."""
    lines = points(schedule, steps)
    columns = {"loss": "loss", "lr": "lr", "phase": "phase"}
    head = {"hf_lrsched": 1, "step": 0, "groups": ["0"], "peaks": [PEAK], "schedule": to_spec(schedule)}
    written: list[dict[str, Any]] = [
        {**head, "arguments": dict(arguments or {})},
        {"steps": [1, steps], **{key: [line[name] for line in lines] for key, name in columns.items()}, "grad_norm": 2.0},
        {"step": steps // 2, "eval_loss": 4.5},
        {"step": steps, "eval_loss": 3.25},
    ]
    for step, kept in ((steps // 2, False), (steps, True)):
        checkpoint = folder / f"checkpoint-{step}"
        checkpoint.mkdir(parents=True)
        (checkpoint / "hf_lrsched_manifest.json").write_text(json.dumps({"kept": kept}))
        written.append({"step": step, "event": "checkpoint", "text": checkpoint.name})
    (folder / HISTORY).write_text("".join(json.dumps(line) + "\n" for line in written))
    return folder
