"""What lies in the folder of a run, by name, and which checkpoints it holds. Plain files: reading them needs no torch."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

HISTORY = "lr_history.jsonl"
PICTURE = "lr_and_loss.png"
RANGE_TEST = "lr_range_test.json"
MANIFEST = "hf_lrsched_manifest.json"
RUN = "hf_lrsched_run.json"
REQUEST = "cooldown.request"
RECORD = "cooldown.json"
RESCUES = "rescues.json"

WORKERS = "HF_LRSCHED_WORKERS"
"""The environment's word for the folder in which `hf-lrsched run` is told the ids of the processes it is to signal."""

FIND_LR = "HF_LRSCHED_FIND_LR"
"""The environment's word, JSON, for the range test that a script's Trainer is to make (`hf-lrsched find-lr`)."""

_FOLDER = re.compile(r"checkpoint-(\d+)")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint's step, its folder, and whether it is kept: a branch point, which rotation never deletes."""

    step: int
    folder: Path
    kept: bool


def checkpoints(run: str | os.PathLike[str]) -> list[Checkpoint]:
    """The checkpoints in the folder `run`, by step, whole or not; none where there is no such folder.

    >>> checkpoints("no/such/folder")
    []
    """
    folder = Path(run)
    named = [(_FOLDER.fullmatch(path.name), path) for path in (folder.iterdir() if folder.is_dir() else ())]
    found = [Checkpoint(int(match[1]), path, is_kept(path)) for match, path in named if match and path.is_dir()]
    return sorted(found, key=lambda one: one.step)


def is_kept(checkpoint: Path) -> bool:
    """Whether its manifest says that `checkpoint` is kept."""
    try:
        return bool(json.loads((checkpoint / MANIFEST).read_text("utf-8")).get("kept"))
    except (OSError, ValueError, AttributeError, TypeError):
        return False
