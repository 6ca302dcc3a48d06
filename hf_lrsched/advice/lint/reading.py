"""Files as configurations, folder by folder, with the DeepSpeed and accelerate files that they name.

A file is only parsed where its text has a word of ours in it. What is no configuration yields nothing; a broken file yields a
remark where its text looks like one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from .command_line import command_lines
from .configuration import TRAINERS, Configuration, Setting
from .document import Document, Unreadable
from .forms import read
from .forms.deepspeed import DeepSpeed
from .forms.form import path_of
from .from_json import json_document
from .from_yaml import yaml_documents
from .remark import Remark

LARGEST = 1 << 20
"""Bytes: a larger file holds data, and is no configuration."""

KINDS = {
    **dict.fromkeys((".yaml", ".yml"), "yaml"),
    **dict.fromkeys((".sh", ".bash", ".slurm", ".sbatch"), "shell"),
    ".json": "json",
}
"""What is looked for in folders, by the end of its name."""

CANNOT_BE_READ = ("LR000", "cannot-be-read")
"""Id and name of the remark on a file that is broken."""

_LEFT_OUT = frozenset(["node_modules", "__pycache__", "site-packages", "venv"])
_OURS = re.compile(r"learning[_-]rate|\blr\b|lr_scheduler|warmup|num_processes|zero_optimization|train_micro_batch_size")
_LOOKS_LIKE_ONE = re.compile(
    r"^[\s\"'-]*(?:learning_rate|lr_scheduler(?:_type)?|warmup_(?:steps|ratio)|num_(?:train_)?epochs|micro_batch_size|base_model"
    r"|per_device_train_batch_size|gradient_accumulation_steps|weight_decay|finetuning_type|zero_optimization)[\"']?\s*:",
    re.MULTILINE,
)
_TEMPLATED = re.compile(r"\{\{|\{%|<%|\$\{\{")
_NAMES_FILES = ("deepspeed", "accelerate", "config")
_UP = 8  # folders above a file in which what it names is looked for: it is relative to where somebody stood


@dataclass(frozen=True)
class Folder:
    """What the files of one folder hold: configurations, and remarks on what could not be read."""

    found: tuple[Configuration, ...] = ()
    unreadable: tuple[Remark, ...] = ()


@dataclass
class _File:
    found: list[Configuration] = field(default_factory=list)
    broken: Unreadable | None = None


def files_of(paths: str | Path | Iterable[str | Path]) -> list[Path]:
    """The files among `paths`, and those in folders that may be configurations, sorted.

    Raises:
        FileNotFoundError: for a path that is not there.
    """
    files: dict[Path, None] = {}
    for path in [paths] if isinstance(paths, str | Path) else paths:
        path = Path(path)
        if path.is_dir():
            files |= dict.fromkeys(_below(path))
        elif path.exists():
            files[path] = None
        else:
            raise FileNotFoundError(f"there is no file or folder {path}")
    return list(files)


def _below(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in _LEFT_OUT)
        for name in sorted(names):
            path = Path(root, name)
            if path.suffix.lower() in KINDS and not name.startswith(".") and path.is_file():
                yield path


def configurations(files: Iterable[Path]) -> Iterator[Folder]:
    """The configurations in `files`, folder by folder."""
    known: dict[Path, _File] = {}  # a file is parsed once, however many name it
    for _, group in groupby(sorted(files, key=lambda path: path.parent), key=lambda path: path.parent):
        found: list[Configuration] = []
        unreadable: list[Remark] = []
        for path in group:
            file = _read(path, known)
            found += [_with_companions(one, path, known) for one in file.found]
            if file.broken is not None:
                unreadable.append(_remark(path, file.broken))
        yield Folder(tuple(found), tuple(unreadable))


def text_of(path: Path) -> str:
    """The text of a file; empty for one that is too large, or is none."""
    try:
        if path.stat().st_size > LARGEST:
            return ""
        data = path.read_bytes()
    except OSError:
        return ""
    return "" if b"\0" in data else data.decode("utf-8-sig", errors="replace")


def _read(path: Path, known: dict[Path, _File]) -> _File:
    if path not in known:
        known[path] = _parsed(path, text_of(path))
    return known[path]


def _parsed(path: Path, text: str) -> _File:
    if not _OURS.search(text):
        return _File()
    kind = KINDS.get(path.suffix.lower()) or _kind_of(text)
    if kind == "shell":
        return _File(command_lines(text, str(path)))
    try:
        documents = _documents(kind, text, str(path))
    except Unreadable as error:
        looks = len(_LOOKS_LIKE_ONE.findall(text)) >= 2 and not _TEMPLATED.search(text)
        return _File(broken=error if looks else None)
    return _File([one for document in documents for one in read(document)])


def _documents(kind: str, text: str, file: str) -> list[Document]:
    if kind == "json":
        document = json_document(text, file)
        return [] if document is None else [document]
    return yaml_documents(text, file)


def _kind_of(text: str) -> str:
    """The kind of a file that was asked for by a name that does not say."""
    start = text.lstrip()
    if start.startswith("{"):
        return "json"
    return "shell" if start.startswith("#!") or re.search(r"\s--?learning[_-]rate[\s=]", text) else "yaml"


def _remark(path: Path, broken: Unreadable) -> Remark:
    kind = "JSON" if path.suffix.lower() == ".json" else "YAML"
    sentence = f"the file is broken and was not judged: {broken.problem}"
    advice = f"mend the {kind} at this line, or just above it"
    return Remark(*CANNOT_BE_READ, "error", sentence, advice, f"{kind}'s own grammar", str(path), broken.line, broken.column)


def _with_companions(one: Configuration, path: Path, known: dict[Path, _File]) -> Configuration:
    """A configuration with the files that it names, and what they tell of it."""
    companions: list[Configuration] = []
    missing: list[Setting] = []
    for name in _NAMES_FILES:
        named = path_of(one.get(name))
        if not named:
            continue
        where = _found(path.parent, named)
        if where is None:
            missing.append(one.settings[name])
        elif where != path:
            named_here = [beside for beside in _read(where, known).found if beside.form not in TRAINERS or name == "config"]
            companions += named_here
            if one.form in TRAINERS:  # an accelerate file's own DeepSpeed file is the run's
                theirs = [_with_companions(beside, where, known) for beside in named_here if beside.form == "accelerate"]
                companions += [further for beside in theirs for further in beside.companions]
    inline = one.get("deepspeed")
    if inline is not None and isinstance(inline.value, dict):
        companions += _inline(one, inline)
    counted = [beside.processes for beside in companions if beside.form == "accelerate" and beside.processes]
    processes = one.processes or (counted[0] if counted else None)
    return one.but(companions=tuple(companions), missing=tuple(missing), processes=processes)


def _inline(one: Configuration, setting: Setting) -> list[Configuration]:
    """The DeepSpeed configuration that stands within another."""
    whole = Document({found.key: found for found in one.others.values()}, one.lines, one.file)
    inner = whole.within(setting.key)
    return [DeepSpeed().read(inner)] if inner.entries else []


def _found(folder: Path, name: str) -> Path | None:
    """The file of a name that is relative to `folder` or to one above it."""
    for above in [folder, *folder.absolute().parents[:_UP]]:
        if (above / name).is_file():
            return above / name
    return None
