"""`read_history`: the history of a run from whatever the run has left.

Read are the recorder's own file (``lr_history.jsonl``), ``trainer_state.json``, CSV, JSON lines and TensorBoard event files,
plain or gzipped. What a file does not hold is named in `History.missing`, what of it could not be read in
`History.unreadable`.
"""

from __future__ import annotations

import csv
import json
import zlib
from itertools import pairwise
from pathlib import Path
from typing import Any

from ..schedules.schedule import Schedule
from ..schedules.spec import from_spec
from .files import HISTORY
from .history import NO_STEP, WORDS, Event, History, as_float


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
        return _not_empty(_read_tensorboard(_of_one_run(found, Path(path))), found)
    try:
        return _not_empty(_read_text(found), found)
    except (RecursionError, csv.Error) as error:  # nested without end, or a field without one
        raise ValueError(f"{found} could not be read ({error})") from None


def _read_text(found: Path) -> History:
    text, unreadable = _text(found)
    name = found.name.removesuffix(".gz")
    if name == HISTORY:
        return _read_recorder(text, unreadable, found)
    if name.endswith(".csv"):
        return _read_csv(text, unreadable, found)
    if name.endswith(".jsonl"):
        return History.of(_json_lines(text, unreadable), source=str(found), unreadable=tuple(unreadable))
    return _read_state(text, unreadable, found)


def _not_empty(history: History, found: Path) -> History:
    if not len(history) and not len(history.eval_step):
        told = f" ({'; '.join(history.unreadable)})" if history.unreadable else ""
        raise ValueError(f"{found} holds no point of a run: no line with a step and a loss or a learning rate{told}")
    return history


def _find(path: Path) -> Path:
    if path.is_file():
        return path
    if not path.is_dir():
        raise FileNotFoundError(f"there is no file or folder {path}")
    for name in (HISTORY, "trainer_state.json"):
        if (path / name).is_file():
            return path / name
    states = sorted(path.glob("checkpoint-*/trainer_state.json"), key=lambda file: _step_of(file.parent.name))
    if states:
        return states[-1]
    events = sorted(path.rglob("*tfevents*"), key=lambda file: file.stat().st_mtime)
    if events:
        return events[-1]
    raise FileNotFoundError(f"{path} holds no {HISTORY}, no trainer_state.json and no TensorBoard event files")


def _of_one_run(newest: Path, asked: Path) -> list[Path]:
    """The event files of a run, oldest first: Trainer begins another in another folder of ``runs`` at every resume."""
    if asked == newest:
        return [newest]
    folder = asked / "runs" if (asked / "runs") in newest.parents else newest.parent
    return sorted(folder.rglob("*tfevents*"), key=lambda file: file.stat().st_mtime)


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
    first: dict[str, Any] = {}
    odd = 0
    for line in _json_lines(text, unreadable):
        try:
            if "hf_lrsched" in line:
                begin, head = int(line.get("step", 0)), {"facts": head.get("facts"), **_head(line)}
                first = first if first and begin > 0 else head
                for kept in (points, evaluations):
                    for step in [step for step in kept if step > begin or begin <= 0]:
                        del kept[step]
                events = [event for event in events if event.step <= begin and _stays(event, begin)]
                events += [Event(begin, "resume")] * (begin > 0)
            elif "event" in line:
                events.append(Event(int(line["step"]), str(line["event"]), str(line.get("text", ""))))
            elif "eval_loss" in line:
                evaluations[int(line["step"])] = as_float(line["eval_loss"])
            elif "steps" in line:
                _unpack(line, points)
        except (IndexError, KeyError, OverflowError, TypeError, ValueError):
            odd += 1
    if odd:
        unreadable.append(f"{odd} line{'s' * (odd > 1)} not as LRRecorder writes them")
    about, began = _about(head, unreadable), _about(first, [])
    about |= {"facts": head.get("facts") or {}, "source": str(file), "unreadable": tuple(unreadable)}
    return History.of_points(points, evaluations, events, {**about, "began": began if first is not head else {}})


def _about(head: dict[str, Any], unreadable: list[str]) -> dict[str, Any]:
    """What a head says of the run, as `History` has it."""
    return {
        "groups": tuple(head.get("groups", ())),
        "peak": tuple(head.get("peaks", ())),
        "schedule": _schedule(head.get("schedule"), unreadable),
        "arguments": dict(head.get("arguments") or {}),
        "total": head.get("total", 0),
    }


def _stays(event: Event, begin: int) -> bool:
    """Whether a run that goes on from a step has an event of before still; one that begins anew has none."""
    return begin > 0 and (event.step > 0 or event.kind == "rescue")


def _head(line: dict[str, Any]) -> dict[str, Any]:
    """A head, held to the types that it is used as.

    Raises:
        TypeError, ValueError: for one that the recorder would not write.
    """
    peaks = [float(peak) for peak in line.get("peaks", ())]
    return {
        **line,
        "peaks": peaks,
        "groups": [str(one) for one in line.get("groups", ())],
        "arguments": dict(line.get("arguments") or {}),
        "total": int(line.get("total", 0)),
        **({"facts": dict(line["facts"])} if "facts" in line else {}),
    }


def _unpack(line: dict[str, Any], points: dict[int, dict[str, Any]]) -> None:
    """A batch of points: columns, of which one value may stand for all."""
    first, count = line["steps"]
    if len(line["loss"]) != count or not 0 <= first < NO_STEP:
        raise ValueError(f"{len(line['loss'])} losses for {count} steps from {first}")
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
    about: dict[str, Any] = {}
    try:
        state = json.loads(text)
        lines = state.get("log_history", []) if isinstance(state, dict) else state
        about = state if isinstance(state, dict) else {}
    except ValueError as error:
        unreadable.append(f"{file.name} is cut short or damaged ({error}); its whole entries were read")
        lines = _whole_entries(text)
    if not isinstance(lines, list):
        raise ValueError(f"{file}: log_history is a {type(lines).__name__}, not a list of entries")
    whole = [line for line in lines if isinstance(line, dict)]
    events = [event for line in whole for event in _of_watch(line)]
    told = {name: as_float(about.get(name)) for name in ("logging_steps", "max_steps")}
    averaged, total = (int(value) if 1 <= value < NO_STEP else 0 for value in told.values())
    words: dict[str, Any] = {"source": str(file), "unreadable": tuple(unreadable), "events": events, "total": total}
    return History.of(whole, averaged=averaged or _apart(whole), **words)


def _apart(lines: list[dict[str, Any]]) -> int:
    """How many steps lie between the entries of a log, which are means over them; 1 where it has too few."""
    steps = [as_float(line.get("step")) for line in lines if "loss" in line]
    apart = sorted(after - before for before, after in pairwise(steps) if after > before)
    return max(int(apart[len(apart) // 2]), 1) if apart else 1


def _of_watch(line: dict[str, Any]) -> list[Event]:
    """What `LRWatch` has left in a Trainer's log."""
    try:
        if "finding" in line:
            return [Event(int(line["step"]), "finding", str(line["finding"]["title"]))]
        return [Event(int(line["step"]), str(line.get("kind", "watch")), str(line["watch"]))] if "watch" in line else []
    except (KeyError, OverflowError, TypeError, ValueError):
        return []


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
    rows = list(csv.reader(text.removeprefix("\ufeff").splitlines()))
    names = [_column(name) for name in rows[0]] if rows else []
    if rows and not any(word in names for word in WORDS["step"]):
        raise ValueError(f"{file} has no column for the step ({', '.join(WORDS['step'][:4])}); it has {', '.join(rows[0])}")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        unreadable.append(f"several columns are called {', '.join(twice)}, as of several runs; the last of each was read")
    short = [number for number, row in enumerate(rows[1:], start=2) if row and len(row) != len(names)]
    if short:
        unreadable.append(f"{len(short)} rows have too few or too many cells (the first: line {short[0]})")
    lines = [dict(zip(names, row, strict=False)) for row in rows[1:]]
    return History.of(lines, source=str(file), unreadable=tuple(unreadable))


def _column(name: str) -> str:
    """A column's name as others have it: W&B exports ``Step`` and ``NAME OF THE RUN - train/loss``."""
    return name.rpartition(" - ")[2].strip().lower()


def _read_tensorboard(files: list[Path]) -> History:
    """Event files in a row; what a later one says of a step counts."""
    try:
        from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
        from tensorboard.util import tensor_util
    except ModuleNotFoundError:
        raise ModuleNotFoundError(f"reading {files[-1]} needs tensorboard: pip install tensorboard") from None
    lines: list[dict[str, Any]] = []
    unreadable: list[str] = []
    for file in files:
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
        else:
            unreadable += [f"{file.name} is cut short or damaged"] * _ends_within_a_record(file)
    return History.of(lines, source=str(files[-1]), unreadable=tuple(unreadable))


def _ends_within_a_record(file: Path) -> bool:
    """Whether an event file was cut: TensorBoard takes half a record for one that is still being written."""
    data, at = file.read_bytes(), 0
    while at + 12 <= len(data):
        at += 16 + int.from_bytes(data[at : at + 8], "little")  # the length, its checksum, the event, its checksum
    return at != len(data)
