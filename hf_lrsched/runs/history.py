"""What a run did, step by step: `History`, and `read_history`, which reads it from whatever the run has left.

Read are the recorder's own file (``lr_history.jsonl``), ``trainer_state.json``, CSV, JSON lines and TensorBoard event files,
plain or gzipped. What a file does not hold is named in `History.missing`, what of it could not be read in
`History.unreadable`.

What it does not know: how the points were taken (`training.recorder`).
"""

from __future__ import annotations

import csv
import json
import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..schedules.schedule import Schedule
from ..schedules.spec import from_spec

Floats = npt.NDArray[np.float64]

FILE = "lr_history.jsonl"

QUANTITIES = ("loss", "lr", "grad_norm", "momentum", "tokens", "eval_loss")

# What others call it; the first that a line holds counts. trainer_state.json has learning_rate, older ones lr.
_WORDS = {
    "step": ("step", "global_step", "steps", "train/global_step", "_step", "iteration", "iter"),
    "loss": ("loss", "train_loss", "train/loss", "training_loss", "training/loss"),
    "lr": ("learning_rate", "lr", "train/learning_rate", "train/lr", "lr-group0", "lr/group_0"),
    "grad_norm": ("grad_norm", "train/grad_norm", "gradient_norm", "gnorm"),
    "momentum": ("momentum", "train/momentum"),
    "tokens": ("tokens", "num_input_tokens_seen", "train/num_input_tokens_seen", "total_tokens"),
    "eval_loss": ("eval_loss", "eval/loss", "val_loss", "valid_loss", "validation_loss", "val/loss"),
    "epoch": ("epoch", "train/epoch"),
}


@dataclass(frozen=True)
class Event:
    """Something that happened at a step: ``"resume"``, ``"cooldown"``, ``"checkpoint"``, ``"branch point"``."""

    step: int
    kind: str
    text: str = ""


@dataclass(frozen=True)
class History:
    """The points of a run.

    Args:
        step: optimizer steps, rising, shape (n,). Step 1 is the first update, as Trainer counts.
        loss: training loss at each, NaN where it is not known, +inf and NaN as they came.
        lr: learning rate of every group at each, shape (n, groups).
        grad_norm, momentum, tokens: at each, NaN where not known; the norm is the one before clipping.
        skipped: whether the update moved no weights.
        phase: the phase's name at each, "" where it is not known.
        eval_step, eval_loss: evaluations, shape (m,).
        groups: the parameter groups' names.
        events: what happened, by step.
        schedule: what the run followed, where the source says.
        peak: the LR that multiplier 1 stands for, for each group; empty where the source does not say.
        averaged: steps over which each loss is a mean: 1 for the recorder's, ``logging_steps`` for a Trainer's log.
        source: the file.
        missing: what the source does not hold, by name.
        unreadable: what of it could not be read, in sentences.
    """

    step: npt.NDArray[np.int64]
    loss: Floats
    lr: Floats
    grad_norm: Floats
    momentum: Floats
    tokens: Floats
    skipped: npt.NDArray[np.bool_]
    phase: Sequence[str]
    eval_step: npt.NDArray[np.int64]
    eval_loss: Floats
    groups: tuple[str, ...] = ()
    events: tuple[Event, ...] = ()
    schedule: Schedule | None = None
    peak: tuple[float, ...] = ()
    averaged: int = 1
    source: str = ""
    missing: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.step)

    @classmethod
    def of(cls, lines: Iterable[Mapping[str, Any]], **about: Any) -> History:
        """A history of dicts, such as a Trainer's ``state.log_history``.

        >>> log = [{"step": 1, "loss": 2.5, "lr": 1e-3}, {"step": 2, "loss": 2.0}, {"step": 2, "eval_loss": 2.1}]
        >>> history = History.of(log)
        >>> history.step, history.loss, history.eval_loss, history.missing
        (array([1, 2]), array([2.5, 2. ]), array([2.1]), ('grad_norm', 'momentum', 'tokens'))
        """
        points: dict[int, dict[str, Any]] = {}
        evaluations: dict[int, float] = {}
        events: list[Event] = list(about.pop("events", ()))
        for line in lines:
            found = {name: _first(line, words) for name, words in _WORDS.items()}
            step = _number(found["step"])
            if not math.isfinite(step) or "train_runtime" in line:  # Trainer's last line, whose train_loss is the run's mean
                continue
            at = int(step)
            if found["eval_loss"] is not None:
                evaluations[at] = _number(found["eval_loss"])
            if "cooldown" in line:
                events.append(Event(at, "cooldown", str(line["cooldown"])))
            point = {
                name: found[name] for name in ("loss", "lr", "grad_norm", "momentum", "tokens") if found[name] is not None
            }
            for extra in ("skipped", "phase", "lrs"):
                if line.get(extra) is not None:
                    point[extra] = line[extra]
            if {"loss", "lr", "lrs", "grad_norm"} & set(point):
                points.setdefault(at, {}).update(point)
        return cls._of_points(points, evaluations, events, about)

    @classmethod
    def _of_points(
        cls, points: dict[int, dict[str, Any]], evaluations: dict[int, float], events: list[Event], about: dict[str, Any]
    ) -> History:
        steps, held_out = sorted(points), sorted(evaluations)
        rows = [points[step] for step in steps]
        lrs = [row.get("lrs") or ([row["lr"]] if "lr" in row else []) for row in rows]
        groups = max(map(len, lrs), default=1) or 1
        lr = np.full((len(rows), groups), np.nan)
        for i, values in enumerate(lrs):
            # One value stands for all groups: they are written so where they are equal.
            lr[i] = (
                [_number(value) for value in values] if len(values) == groups else (_number(values[0]) if values else np.nan)
            )
        columns: dict[str, Any] = {
            name: np.array([_number(row.get(name)) for row in rows], dtype=np.float64)
            for name in ("loss", "grad_norm", "momentum", "tokens")
        }
        there = {name for name in columns if any(name in row for row in rows)}
        there |= {"lr"} if any(lrs) else set()
        there |= {"eval_loss"} if evaluations else set()
        return cls(
            step=np.array(steps, dtype=np.int64),
            lr=lr,
            skipped=np.array([bool(row.get("skipped")) for row in rows], dtype=np.bool_),
            phase=[str(row.get("phase", "")) for row in rows],
            eval_step=np.array(held_out, dtype=np.int64),
            eval_loss=np.array([evaluations[step] for step in held_out], dtype=np.float64),
            events=tuple(sorted(events, key=lambda event: event.step)),
            missing=tuple(name for name in QUANTITIES if name not in there),
            **columns,
            **about,
        )


def _first(line: Mapping[str, Any], words: Iterable[str]) -> Any:
    return next((line[word] for word in words if line.get(word) not in (None, "")), None)


def _number(value: Any) -> float:
    """`value` as a float; NaN for what is none. JSON has no NaN, so some write it as a string."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def read_history(path: str | Path) -> History:
    """The history of a run, from a file or from the folder of the run.

    Args:
        path: a file of any of the kinds above, or a folder: then the recorder's file in it, else ``trainer_state.json`` (its
            own or its newest checkpoint's), else TensorBoard's event files.

    Raises:
        FileNotFoundError: where there is nothing that could be read.
        ValueError: where nothing of it could be.
    """
    found = _find(Path(path))
    if "tfevents" in found.name:
        return _read_tensorboard(found)
    text, unreadable = _text(found)
    name = found.name.removesuffix(".gz")
    if name == FILE:
        history = _read_recorder(text, unreadable, found)
    elif name.endswith(".csv"):
        history = _read_csv(text, unreadable, found)
    elif name.endswith(".jsonl"):
        history = History.of(_json_lines(text, unreadable), source=str(found), unreadable=tuple(unreadable))
    else:
        history = _read_state(text, unreadable, found)
    if not len(history) and not len(history.eval_step):
        told = f" ({'; '.join(history.unreadable)})" if history.unreadable else ""
        raise ValueError(f"{found} holds no point of a run: no line with a step and a loss or a learning rate{told}")
    return history


def _find(path: Path) -> Path:
    if path.is_file():
        return path
    if not path.is_dir():
        raise FileNotFoundError(f"there is no file or folder {path}")
    for name in (FILE, "trainer_state.json"):
        if (path / name).is_file():
            return path / name
    states = sorted(path.glob("checkpoint-*/trainer_state.json"), key=lambda file: _step_of(file.parent.name))
    if states:
        return states[-1]
    events = sorted(path.rglob("*tfevents*"), key=lambda file: file.stat().st_mtime)
    if events:
        return events[-1]
    raise FileNotFoundError(f"{path} holds no {FILE}, no trainer_state.json and no TensorBoard event files")


def _step_of(folder: str) -> int:
    number = folder.rpartition("-")[2]
    return int(number) if number.isdecimal() else -1


def _text(file: Path) -> tuple[str, list[str]]:
    """The text of a file, gzipped or not, as far as it can be read."""
    if file.suffix != ".gz":
        return file.read_text("utf-8", errors="replace"), []
    packed, parts = file.read_bytes(), []
    unpacking = zlib.decompressobj(wbits=31)
    try:
        for start in range(0, len(packed), 1 << 12):  # what lies before a damaged part is read
            parts.append(unpacking.decompress(packed[start : start + (1 << 12)]))
    except zlib.error as error:
        return b"".join(parts).decode("utf-8", errors="replace"), [f"{file.name} is damaged ({error})"]
    cut = [] if unpacking.eof else [f"{file.name} is cut short"]
    return b"".join(parts).decode("utf-8", errors="replace"), cut


def _json_lines(text: str, unreadable: list[str]) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    bad: list[int] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            parsed = json.loads(line)
        except ValueError:
            parsed = None
        if isinstance(parsed, dict):
            lines.append(parsed)
        else:
            bad.append(number)
    if bad:
        unreadable.append(f"{len(bad)} line{'s' * (len(bad) > 1)} could not be read (the first: line {bad[0]})")
    return lines


def _read_recorder(text: str, unreadable: list[str], file: Path) -> History:
    """The recorder's file: heads, points, evaluations; a resume takes back what lay beyond its step."""
    points: dict[int, dict[str, Any]] = {}
    evaluations: dict[int, float] = {}
    events: list[Event] = []
    head: dict[str, Any] = {}
    for line in _json_lines(text, unreadable):
        if "hf_lrsched" in line:
            head = line
            if (begin := int(line.get("step", 0))) > 0:
                points = {step: point for step, point in points.items() if step <= begin}
                evaluations = {step: loss for step, loss in evaluations.items() if step <= begin}
                events = [event for event in events if event.step <= begin] + [Event(begin, "resume")]
            else:
                points, evaluations, events = {}, {}, []
        elif "event" in line:
            events.append(Event(int(line["step"]), str(line["event"]), str(line.get("text", ""))))
        elif "eval_loss" in line:
            evaluations[int(line["step"])] = _number(line["eval_loss"])
        elif "steps" in line:
            _unpack(line, points)
    about = {
        "groups": tuple(head.get("groups", ())),
        "peak": tuple(head.get("peaks", ())),
        "schedule": _schedule(head.get("schedule"), unreadable),
        "source": str(file),
        "unreadable": tuple(unreadable),
    }
    return History._of_points(points, evaluations, events, about)


def _unpack(line: dict[str, Any], points: dict[int, dict[str, Any]]) -> None:
    """A batch of points: columns, of which one value may stand for all."""
    first, count = line["steps"]
    names = {
        "loss": "loss",
        "grad_norm": "grad_norm",
        "momentum": "momentum",
        "tokens": "tokens",
        "phase": "phase",
        "lrs": "lr",
    }
    columns = {name: line.get(key) for name, key in names.items()}
    skipped = set(line.get("skipped", ()))
    for i in range(count):
        point: dict[str, Any] = {"skipped": first + i in skipped}
        for name, values in columns.items():
            value = values[i] if isinstance(values, list) else values
            if value is not None:
                point[name] = value if name != "lrs" or isinstance(value, list) else [value]
        points[first + i] = point


def _schedule(spec: Any, unreadable: list[str]) -> Schedule | None:
    if not spec:
        return None
    try:
        return from_spec(spec)
    except (ValueError, TypeError, KeyError) as error:
        unreadable.append(f"its schedule could not be read ({error})")
        return None


def _read_state(text: str, unreadable: list[str], file: Path) -> History:
    """A ``trainer_state.json``; of one that is cut short, the whole entries of its log."""
    averaged = 1
    try:
        state = json.loads(text)
        lines = state.get("log_history", []) if isinstance(state, dict) else state
        averaged = int(state.get("logging_steps") or 1) if isinstance(state, dict) else 1
    except ValueError as error:
        unreadable.append(f"{file.name} is cut short or damaged ({error}); its whole entries were read")
        lines = _whole_entries(text)
    if not isinstance(lines, list):
        raise ValueError(f"{file}: log_history is a {type(lines).__name__}, not a list of entries")
    whole = [line for line in lines if isinstance(line, dict)]
    return History.of(whole, averaged=max(averaged, 1), source=str(file), unreadable=tuple(unreadable))


def _whole_entries(text: str) -> list[dict[str, Any]]:
    decoder, found = json.JSONDecoder(), []
    start = text.find("[", text.find('"log_history"'))
    position = text.find("{", start)
    while start >= 0 and position >= 0:
        try:
            entry, end = decoder.raw_decode(text, position)
        except ValueError:
            break
        found.append(entry)
        position = text.find("{", end)
    return found


def _read_csv(text: str, unreadable: list[str], file: Path) -> History:
    rows = list(csv.DictReader(text.splitlines()))
    if rows and not any(word in rows[0] for word in _WORDS["step"]):
        raise ValueError(
            f"{file} has no column for the step ({', '.join(_WORDS['step'][:4])}); it has {', '.join(map(str, rows[0]))}"
        )
    short = [number for number, row in enumerate(rows, start=2) if None in row.values() or None in row]
    if short:
        unreadable.append(f"{len(short)} rows have too few or too many cells (the first: line {short[0]})")
    return History.of(rows, source=str(file), unreadable=tuple(unreadable))


def _read_tensorboard(file: Path) -> History:
    try:
        from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
        from tensorboard.util import tensor_util
    except ModuleNotFoundError:
        raise ModuleNotFoundError(f"reading {file} needs tensorboard: pip install tensorboard") from None
    lines: list[dict[str, Any]] = []
    unreadable: list[str] = []
    try:
        for event in EventFileLoader(str(file)).Load():
            for value in event.summary.value:
                number = value.simple_value if value.HasField("simple_value") else None
                if number is None and value.HasField("tensor"):
                    array = tensor_util.make_ndarray(value.tensor)
                    number = float(array) if array.size == 1 and array.dtype.kind in "fiu" else None
                if number is not None:
                    lines.append({"step": event.step, value.tag: number})
    except Exception as error:  # its record reader has no class of its own for a damaged file
        unreadable.append(f"{file.name} is cut short or damaged ({error})")
    return History.of(lines, source=str(file), unreadable=tuple(unreadable))
