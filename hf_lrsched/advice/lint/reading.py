"""Files as configurations, folder by folder, with the DeepSpeed and accelerate files that they name.

A file is only parsed where its text has a word of ours in it. What is no configuration yields nothing; a broken file yields a
remark where its text looks like one.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
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
"""Id and name of the remark on a file that is broken, or that a rule fails on."""

FAILED = "the linter failed on this file, which was not judged to its end"
"""How the remark on a file begins in which a rule or a reader has a fault of its own."""

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
    """What the files of one folder hold: configurations, remarks on what is broken, and what was not looked at, with why."""

    found: tuple[Configuration, ...] = ()
    unreadable: tuple[Remark, ...] = ()
    unread: tuple[tuple[Path, str], ...] = ()


@dataclass
class _File:
    found: list[Configuration] = field(default_factory=list)
    wrong: Remark | None = None
    unread: str = ""


@dataclass
class _Files:
    """Files as far as they are parsed: each once, however many name it."""

    texts: Mapping[str, str]
    known: dict[Path, _File] = field(default_factory=dict)

    def read(self, path: Path) -> _File:
        if path not in self.known:
            self.known[path] = self._parsed(path)
        return self.known[path]

    def _parsed(self, path: Path) -> _File:
        text, why = text_of(path, texts=self.texts)
        try:
            return _File(unread=why) if why else _parsed(path, text)
        except Exception as error:  # whatever a reader does: one odd file is no reason to say nothing of a thousand others
            return _File(wrong=failed(str(path), error))


def files_of(paths: str | Path | Iterable[str | Path]) -> list[Path]:
    """The files among `paths`, and those in folders that may be configurations, sorted.

    Raises:
        FileNotFoundError: for a path that is not there.
    """
    files: dict[Path, None] = {}
    for path in [paths] if isinstance(paths, str | Path) else paths:
        path = Path(path)
        if os.path.isdir(path):  # Path.is_dir fails below a folder that is closed
            files |= dict.fromkeys(_below(path))
        elif os.path.exists(path):
            files[path] = None
        else:
            raise FileNotFoundError(f"there is no file or folder {path}")
    return list(files)


def _below(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in _LEFT_OUT)
        for name in sorted(names):
            path = Path(root, name)
            if path.suffix.lower() in KINDS and not name.startswith(".") and os.path.isfile(path):
                yield path


def configurations(files: Iterable[Path], *, texts: Mapping[str, str] | None = None) -> Iterator[Folder]:
    """The configurations in `files`, folder by folder; `texts` stand in for what is in files, by their paths."""
    known = _Files(texts or {})
    for _, group in groupby(sorted(files, key=lambda path: path.parent), key=lambda path: path.parent):
        found: list[Configuration] = []
        unreadable: list[Remark] = []
        unread: list[tuple[Path, str]] = []
        for path in group:
            file = known.read(path)
            found += [_with_companions(one, path, known) for one in file.found]
            unreadable += [] if file.wrong is None else [file.wrong]
            unread += [(path, file.unread)] if file.unread else []
        yield Folder(tuple(found), tuple(unreadable), tuple(unread))


def text_of(path: Path, *, texts: Mapping[str, str] | None = None) -> tuple[str, str]:
    """The text of a file; empty with the reason why for one that is not looked at. `texts` come before what is in files."""
    if texts and str(path) in texts:
        return decoded(texts[str(path)].encode("utf-8", errors="surrogateescape")), ""
    try:
        about = os.stat(path)
        if not stat.S_ISREG(about.st_mode):  # a pipe would wait for somebody to write
            return "", "is no regular file"
        if about.st_size > LARGEST:
            return "", f"is larger than {LARGEST >> 20} MiB"
        data = Path(path).read_bytes()
    except OSError as error:
        return "", f"cannot be opened ({error.strerror})"
    return ("", "is no text") if b"\0" in data else (decoded(data), "")


def decoded(data: bytes) -> str:
    """The bytes of a file as the text that is judged: what is no UTF-8 is replaced, a byte order mark left out."""
    return data.decode("utf-8-sig", errors="replace")


def parses(path: Path, text: str) -> bool:
    """Whether a text is whole as the YAML or JSON that its file's name, or itself, says it is; any shell script is."""
    kind = KINDS.get(path.suffix.lower()) or _kind_of(text)
    try:
        if kind != "shell":
            _documents(kind, text, str(path))
    except Unreadable:
        return False
    return True


def failed(file: str, error: Exception) -> Remark:
    """The remark on a file that a fault of the linter's own keeps from being judged."""
    sentence, advice = f"{FAILED}: {type(error).__name__}: {error}", "Tell us, with the file"
    return Remark(*CANNOT_BE_READ, "warning", sentence, advice, "a fault of hf_lrsched", file, 1)


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
        return _File(wrong=_remark(path, error) if looks else None)
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


def _with_companions(one: Configuration, path: Path, known: _Files) -> Configuration:
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
            named_here = [beside for beside in known.read(where).found if beside.form not in TRAINERS or name == "config"]
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
        if os.path.isfile(above / name):  # False too below a closed folder, and for a name that is none
            return above / name
    return None
