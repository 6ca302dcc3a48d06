"""Remarks that a comment in the file asks not to hear.

``# lr-lint: ignore[LR003]`` behind a line, or alone on the line above it, is for that line; ``# lr-lint: ignore-file[LR018]``
anywhere is for the whole file. Without brackets all rules are meant; in them are ids or names, separated by commas.

What it does not know: JSON, which has no comments. A key may stand in for one: ``"//": "# lr-lint: ignore-file"``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path

from .document import lines_of
from .reading import text_of
from .remark import Remark

_ASKED = re.compile(r"#\s*lr-lint:\s*ignore(-file)?\b(?:\s*\[([^\]]*)\])?")


def heard(remarks: Iterable[Remark], *, texts: Mapping[str, str] | None = None) -> tuple[list[Remark], list[Remark]]:
    """The remarks that no comment in their file suppresses, and those that one does.

    Args:
        remarks: by file, as `lint` has them.
        texts: what stands in for the files' own text, by their path.
    """
    kept: list[Remark] = []
    hidden: list[Remark] = []
    for file, group in groupby(remarks, key=lambda remark: remark.file):
        asked = _in(lines_of(text_of(Path(file), texts=texts)[0])) if file else {}
        for remark in group:
            (hidden if _suppressed(remark, asked) else kept).append(remark)
    return kept, hidden


def _in(lines: Sequence[str]) -> dict[int, list[frozenset[str]]]:
    """What is suppressed, by line, under 0 for the whole file; an empty set stands for all rules."""
    found: dict[int, list[frozenset[str]]] = {}
    for number, line in enumerate(lines, start=1):
        for match in _ASKED.finditer(line):
            rules = frozenset(word.strip().lower() for word in (match[2] or "").split(",") if word.strip())
            alone = not line[: match.start()].strip()
            found.setdefault(0 if match[1] else number + 1 if alone else number, []).append(rules)
    return found


def _suppressed(remark: Remark, asked: dict[int, list[frozenset[str]]]) -> bool:
    wanted = [*asked.get(0, []), *asked.get(remark.line, [])]
    return any(not rules or remark.rule.lower() in rules or remark.name in rules for rules in wanted)
