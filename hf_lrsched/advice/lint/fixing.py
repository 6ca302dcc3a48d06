"""Writes what mends a file: `mended` a text, `mend` files, each with the lines that change and nothing else.

An edit is made only where its line still reads as it did when it was judged. What it does not know: whether an edit is a good
one; by default only those are made that a rule calls safe.
"""

from __future__ import annotations

import difflib
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .document import lines_of
from .reading import decoded, parses
from .remark import Fix, Remark


@dataclass(frozen=True)
class Mended:
    """A text after its edits.

    Args:
        text: how it reads.
        done: the edits that were made.
        left: those that were not: their line reads otherwise, or another edit has changed the same part of it.
    """

    text: str
    done: tuple[Fix, ...] = ()
    left: tuple[Fix, ...] = ()


@dataclass(frozen=True)
class MendedFile:
    """A file and what its edits change in it.

    Args:
        file: its path, as it was given.
        before, after: its text.
        done: the edits that were made.
        left: those that were not.
    """

    file: str
    before: str
    after: str
    done: tuple[Fix, ...]
    left: tuple[Fix, ...]

    @property
    def diff(self) -> str:
        """The lines that change, as a unified diff; empty where none does."""
        before, after = (
            lines_of(text.encode("utf-8", errors="surrogateescape").decode("utf-8", errors="replace"))
            for text in (self.before, self.after)
        )
        lines = difflib.unified_diff(before, after, f"a/{self.file}", f"b/{self.file}")
        ended = [line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines]
        return "".join(ended)


def mended(text: str, fixes: Iterable[Fix]) -> Mended:
    """`text` with `fixes` made, in the order given; several in one line where they change different parts of it.

    >>> done = mended("lr: 2e-5  # high\\nwarmup_ratio: 0.1\\n", [Fix(1, "lr: 2e-5  # high", "lr: 2.0e-5  # high")])
    >>> done.text
    'lr: 2.0e-5  # high\\nwarmup_ratio: 0.1\\n'
    """
    lines, done, left = list(lines_of(text)), [], []
    by_line: dict[int, list[Fix]] = {}
    for fix in dict.fromkeys(fixes):
        by_line.setdefault(fix.line, []).append(fix)
    for number, wanted in by_line.items():
        whole = lines[number - 1] if 1 <= number <= len(lines) else None
        body = "" if whole is None else whole.removesuffix("\n").removesuffix("\r")
        matching = [fix for fix in wanted if whole is not None and fix.old == body]
        made, taken = _joined(body, matching)
        done += taken
        left += [fix for fix in wanted if fix not in taken]
        if whole is not None and taken:
            end = whole[len(body) :]
            lines[number - 1] = "" if made is None else made.replace("\n", end or "\n") + end
    return Mended("".join(lines), tuple(done), tuple(left))


def _joined(line: str, fixes: Sequence[Fix]) -> tuple[str | None, list[Fix]]:
    """A line with as many of the edits as do not touch the same part of it, the first ones first; and which those are."""
    if fixes and fixes[0].new is None:
        return None, [fixes[0]]
    parts: list[tuple[int, int, str]] = []
    taken = []
    for fix in fixes:
        part = None if fix.new is None else _changed(line, fix.new)
        if part is not None and all(part[1] <= start or part[0] >= end for start, end, _ in parts):
            parts.append(part)
            taken.append(fix)
    for start, end, new in sorted(parts, reverse=True):
        line = line[:start] + new + line[end:]
    return line, taken


def _changed(old: str, new: str) -> tuple[int, int, str]:
    """The part of `old` that `new` changes, and what it becomes."""
    start = _shared(old, new)
    end = _shared(old[start:][::-1], new[start:][::-1])
    return start, len(old) - end, new[start : len(new) - end]


def _shared(one: str, other: str) -> int:
    """How many characters two texts begin with alike."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))


def mend(
    remarks: Iterable[Remark], *, write: bool = True, unsafe: bool = False, texts: Mapping[str, str] | None = None
) -> list[MendedFile]:
    """Makes the edits that `remarks` offer in their files, which are written beside and then moved into place.

    A file that could be parsed and could not be with its edits is left as it is.

    Args:
        remarks: what `lint` said.
        write: False only tells what would change.
        unsafe: whether edits are made that somebody should look at first.
        texts: what stands in for the files' own text, by their path.

    Raises:
        OSError: where a file cannot be written; it then is as it was.
    """
    by_file: dict[str, list[Fix]] = {}
    for remark in remarks:
        if remark.fix is not None and remark.file and (remark.fix.safe or unsafe):
            by_file.setdefault(remark.file, []).append(remark.fix)
    found = [_mended_file(file, fixes, texts or {}) for file, fixes in by_file.items()]
    if write:
        save(found)
    return found


def save(changed: Iterable[MendedFile]) -> None:
    """Writes files as they are after their edits, each beside and then moved into place; of two names of one file the first.

    Raises:
        OSError: where a file cannot be written, which then is as it was; where one has changed since it was read, before
            any is written.
    """
    files = {os.path.realpath(one.file): one for one in reversed(list(changed)) if one.after != one.before}
    for one in files.values():
        if _opened(one.file) != one.before:
            raise OSError(f"{one.file} has changed since it was read, so nothing was written; run it again")
    for one in reversed(files.values()):
        _replace(Path(one.file), one.after)


def joined(changed: Iterable[MendedFile]) -> list[MendedFile]:
    """Several rounds of edits as one for each file: from how it was before the first to how it is after the last."""
    found: dict[str, MendedFile] = {}
    for one in changed:
        first = found.get(one.file)
        found[one.file] = one if first is None else replace(one, before=first.before, done=first.done + one.done)
    return list(found.values())


def _mended_file(file: str, fixes: list[Fix], texts: Mapping[str, str]) -> MendedFile:
    before = texts[file] if file in texts else _opened(file)
    start = "\ufeff" if before.startswith("\ufeff") else ""
    after = mended(before.removeprefix(start), fixes)
    if _whole(file, before) and not _whole(file, after.text):
        return MendedFile(file, before, before, (), tuple(fixes))
    return MendedFile(file, before, start + after.text, after.done, after.left)


def _opened(file: str) -> str:
    """The text of a file with its line ends and, escaped, whatever is no UTF-8 in it."""
    with open(file, encoding="utf-8", errors="surrogateescape", newline="") as opened:
        return opened.read()


def _whole(file: str, text: str) -> bool:
    return parses(Path(file), decoded(text.encode("utf-8", errors="surrogateescape")))


def _replace(file: Path, text: str) -> None:
    """Gives a file another text at once, under its mode; a link keeps pointing at it."""
    target = Path(os.path.realpath(file))
    handle, beside = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape", newline="") as opened:
            opened.write(text)
        shutil.copymode(target, beside)
        os.replace(beside, target)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise
