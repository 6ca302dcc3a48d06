"""What is known of a run's rescues, in ``rescues.json`` in its folder, and which of its checkpoints is good to go back to.

What it does not know: how a run goes back (`rescue`), and goes on under a lower peak (`course`).
"""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from ..runs.diagnosis import Finding
from ..runs.files import RESCUES, checkpoints
from .checkpoints import last_complete, write

logger = logging.getLogger(__name__)

# Steps before the fault that are not trusted either: PaLM went back about 100 (section 5.1), and a gradient norm leads the
# loss by 4 (BLOOM). A tenth of the run so far where that is less.
_MARGIN, _LEAST = 100, 4


@dataclass(frozen=True)
class Rescued:
    """One rescue.

    Args:
        number: the first is 1.
        step, since: where the fault was found, and where it began.
        back_to: the step of the checkpoint that the run went back to.
        configured: the peak of each group as configured.
        peaks: and as it is from there on.
        rewarm: steps over which the LR rises to the schedule again; 0 for none.
        skip: the first and the last update whose batches are not trained on again; None for none.
        text: all of it in words.
    """

    number: int
    step: int
    since: int
    back_to: int
    configured: tuple[float, ...]
    peaks: tuple[float, ...]
    rewarm: float
    skip: tuple[int, int] | None
    text: str

    @classmethod
    def of(cls, words: dict[str, Any]) -> Rescued:
        """From plain JSON types."""
        skip = words["skip"]
        peaks = {name: tuple(float(peak) for peak in words[name]) for name in ("configured", "peaks")}
        return cls(**{**words, **peaks, "skip": None if skip is None else (int(skip[0]), int(skip[1]))})


def recorded(folder: Path, step: int) -> list[Rescued]:
    """The rescues that a run has had which goes on from `step`.

    Raises:
        ValueError: where the file cannot be read.
    """
    file = folder / RESCUES
    try:
        found = [Rescued.of(words) for words in json.loads(file.read_text("utf-8"))["rescues"]]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file} cannot be read ({error}); remove it to go on under the peak that is configured") from error
    return [one for one in found if one.back_to <= step]


def record(folder: Path, rescues: list[Rescued]) -> None:
    """Writes them down; a kill leaves the file as it was or as it is to be."""
    write(folder / RESCUES, json.dumps({"rescues": [asdict(one) for one in rescues]}, indent=1))


def set_aside(folder: Path) -> None:
    """A run begins anew in `folder`: what is known of another one's rescues stays, under another name."""
    file = folder / RESCUES
    if file.exists():
        other = next(name for name in _numbered(folder, f"{file.stem}-before-", file.suffix) if not name.exists())
        os.replace(file, other)
        logger.warning("the run begins anew, so the rescues of the one before it, now in %s, do not hold", other)


def move_aside(folder: Path, beyond: int) -> str:
    """Moves the checkpoints beyond a step out of the way of the run, into a folder of their own; its name, "" for none."""
    beyond_it = [one.folder for one in checkpoints(folder) if one.step > beyond]
    if not beyond_it:
        return ""
    aside = next(name for name in _numbered(folder, "rescued-", "") if not name.exists())
    aside.mkdir()
    for one in beyond_it:
        os.replace(one, aside / one.name)
    return aside.name


def shown(peaks: tuple[float, ...]) -> str:
    """Peaks in words; once where all are the same."""
    return ", ".join(f"{peak:.3g}" for peak in dict.fromkeys(peaks))


def _numbered(folder: Path, stem: str, suffix: str) -> Iterator[Path]:
    return (folder / f"{stem}{number}{suffix}" for number in range(1, 10**6))


def there(folder: Path, beyond: int) -> dict[int, int]:
    """The checkpoints that an earlier run has left beyond a step, and when each was written."""
    return {one.step: _written(one.folder) for one in checkpoints(folder) if one.step > beyond}


def _written(checkpoint: Path) -> int:
    file = checkpoint / "trainer_state.json"
    return file.stat().st_mtime_ns if file.is_file() else 0


def good(folder: Path, finding: Finding, others: Mapping[int, int] | None = None) -> int | None:
    """The step of the last whole checkpoint with finite weights before the fault; None where there is none.

    It lies a margin before the fault, unless all that did is the start of the run, where one closer to the fault is taken.

    Args:
        folder: of the run.
        finding: the fault.
        others: checkpoints of another run in that folder, as `there` tells; this run may have written over them since.
    """
    margin = min(_MARGIN, max(finding.since // 10, _LEAST))
    close = next(_sound(folder, finding.since, others or {}), None)
    far = next(_sound(folder, finding.since - margin, others or {}), None)
    return far or close  # step 0 counts as none


def _sound(folder: Path, before: int, others: Mapping[int, int]) -> Iterator[int]:
    """Steps of whole checkpoints with finite weights, the last first."""
    while (found := last_complete(folder, before)) is not None:
        before = int(Path(found).name.rpartition("-")[2])
        if others.get(before) != _written(Path(found)) and is_finite(Path(found)):
            yield before


def is_finite(checkpoint: Path) -> bool:
    """Whether there are weights in `checkpoint`, and every one is a number."""
    safe, pickled = list(checkpoint.glob("*.safetensors")), list(checkpoint.glob("*_model*.bin"))
    if not safe and not pickled:
        return False
    for file in safe:
        with safe_open(file, framework="pt") as opened:
            if not all(_is_finite(opened.get_tensor(name)) for name in opened.keys()):  # noqa: SIM118  # it is no dict
                return False
    return all(map(_is_finite, (one for file in pickled for one in _tensors(file))))


def _tensors(file: Path) -> list[torch.Tensor]:
    return list(torch.load(file, weights_only=True, map_location="cpu", mmap=True).values())


def _is_finite(tensor: torch.Tensor) -> bool:
    return not tensor.is_floating_point() or math.isfinite(float(tensor.float().abs().max())) if tensor.numel() else True
