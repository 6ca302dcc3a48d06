"""The text of a file as entries with their places: what `from_yaml` and `from_json` make, and `forms` read.

Nothing is built but plain Python values; a tag is never obeyed. A value that only a template, a shell or another file knows
(``${lr}``, ``{{ lr }}``, ``!include``) is `UNKNOWN`.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

from .configuration import UNKNOWN, Setting

MOST_DIGITS = 300
"""A whole number of as many digits is none that anybody trains with; a float has no place for more than 308."""

DEPTH = 6
"""Keys nested deeper than this are read as part of their parent's value only."""

_TEMPLATE = re.compile(r"\$\{|\{\{|\{%|^\$\w+$|<%")
_YAML_FLOAT = re.compile(r"[-+]?(?:\d[\d_]*\.[\d_]*(?:[eE][-+]\d+)?|\.\d[\d_]*(?:[eE][-+]\d+)?)$")
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?$")


class Unreadable(ValueError):
    """A text that is broken.

    Args:
        problem: what is wrong with it.
        line: where, from 1.
        column: where in that line, from 1.
    """

    def __init__(self, problem: str, line: int, column: int) -> None:
        super().__init__(problem)
        self.problem, self.line, self.column = problem, line, column


def lines_of(text: str) -> tuple[str, ...]:
    """The lines of a text with their ends, as editors and `Text` count them: by line feeds and nothing else.

    >>> lines_of("a\\x0c\\u2028b\\r\\nc")
    ('a\\x0c\\u2028b\\r\\n', 'c')
    """
    return tuple(re.findall(r"[^\n]*\n|[^\n]+", text))


class Text:
    """The text of a file, and where in it a character stands, as editors count.

    >>> Text("a: 1\\r\\nb: 2\\n").lines, Text("a: 1\\r\\nb: 2\\n").place(9)
    (('a: 1', 'b: 2'), (2, 4))
    """

    def __init__(self, text: str) -> None:
        self.text = text
        parts = lines_of(text)
        self._starts = [0, *accumulate(len(part) for part in parts)]
        self.lines = tuple(part.removesuffix("\n").removesuffix("\r") for part in parts)

    def place(self, index: int) -> tuple[int, int]:
        """The line and the column of a character, from 1."""
        row = bisect_right(self._starts, index)
        return row, index - self._starts[row - 1] + 1

    def line(self, row: int) -> str:
        """A line by its number, without its end; empty where there is none."""
        return self.lines[row - 1] if 1 <= row <= len(self.lines) else ""


@dataclass(frozen=True)
class Document:
    """A mapping of a file, flat: every key at any depth, dotted, with its place.

    Args:
        entries: settings by their dotted key, whose ``name`` is the same key.
        lines: the file's lines, without their ends.
        file: its path.
    """

    entries: Mapping[str, Setting]
    lines: tuple[str, ...] = ()
    file: str = ""

    @cached_property
    def words(self) -> frozenset[str]:
        """The last part of every key."""
        return frozenset(key.rpartition(".")[2] for key in self.entries)

    def __contains__(self, key: str) -> bool:
        return key in self.entries

    def has(self, *keys: str) -> int:
        """How many of `keys` are there."""
        return sum(key in self.entries for key in keys)

    def value(self, key: str, default: Any = None) -> Any:
        """The value of a key; `default` where it is not there, null or unknown."""
        found = self.entries.get(key)
        return default if found is None or found.value is None or found.value is UNKNOWN else found.value

    def text(self, key: str) -> str:
        """The value of a key where it is a text; else empty."""
        value = self.value(key)
        return value if isinstance(value, str) else ""

    def within(self, key: str) -> Document:
        """The mapping under a key as a document of its own, whose settings keep their whole keys."""
        start = f"{key}."
        inner = {name.removeprefix(start): found for name, found in self.entries.items() if name.startswith(start)}
        return Document(inner, self.lines, self.file)

    def mappings(self) -> Iterator[str]:
        """The keys whose value is a mapping."""
        yield from (key for key, found in self.entries.items() if isinstance(found.value, dict))


def known(value: Any) -> Any:
    """A plain value; `UNKNOWN` for a text that is a template, for what is no number, and for a whole one beyond any use."""
    if isinstance(value, float) and not math.isfinite(value):
        return UNKNOWN
    if isinstance(value, int) and abs(value) >= 10**MOST_DIGITS:
        return UNKNOWN
    return UNKNOWN if isinstance(value, str) and _TEMPLATE.search(value) else value


def number_of(text: str) -> float | int | None:
    """The number that a text is, also one that YAML takes for text (``2e-5``); None where it is none.

    >>> number_of("2e-5"), number_of("10"), number_of("8B")
    (2e-05, 10, None)
    """
    text = text.strip()
    if not _NUMBER.match(text):
        return None
    if text.lstrip("+-").isdecimal():
        return int(text) if len(text) < MOST_DIGITS else None
    number = float(text)
    return number if math.isfinite(number) else None


def reads_as_text(written: str) -> bool:
    """Whether YAML takes a number as it is written for text: an exponent needs a dot before it and a sign in it.

    >>> [reads_as_text(text) for text in ("2e-5", "2.0e-5", "1.0e5", "100", "'2e-5'", "linear")]
    [True, False, True, False, True, False]
    """
    bare = written.strip().strip("'\"")
    if not _NUMBER.match(bare):
        return False
    return bare != written.strip() or not (bare.lstrip("+-").isdecimal() or _YAML_FLOAT.match(bare))
