"""The text of a file as entries with their places: `yaml_documents`, `json_document`.

Nothing is built but plain Python values; a tag is never obeyed. A value that only a template, a shell or another file knows
(``${lr}``, ``{{ lr }}``, ``!include``) is `UNKNOWN`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .configuration import UNKNOWN, Setting

if TYPE_CHECKING:
    import yaml

MOST_ENTRIES = 20_000
"""More entries than this are a data file or a bomb of aliases, and no configuration."""

MOST_DIGITS = 400
"""A whole number of more digits is none that anybody trains with, and is slow to read."""

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
    words: frozenset[str] = field(default_factory=frozenset)

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
        return Document(inner, self.lines, self.file, self.words)

    def mappings(self) -> Iterator[str]:
        """The keys whose value is a mapping."""
        yield from (key for key, found in self.entries.items() if isinstance(found.value, dict))


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


def yaml_documents(text: str, file: str = "") -> list[Document]:
    """The mappings of a YAML text, one for each document in it that is one.

    Raises:
        Unreadable: where it is broken.
    """
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        roots = list(yaml.compose_all(text, Loader=loader))
    except yaml.MarkedYAMLError as error:
        mark, begun = error.problem_mark or error.context_mark, error.context_mark
        never_ends = mark is not None and begun is not None and mark.line >= len(text.splitlines())
        place = begun if never_ends else mark
        line, column = (place.line + 1, place.column + 1) if place else (1, 1)
        raise Unreadable(error.problem or error.context or "it is no YAML", line, column) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise Unreadable(str(error).splitlines()[0], 1, 1) from None
    lines = tuple(text.splitlines())
    return [_document(root, text, lines, file) for root in roots if isinstance(root, yaml.MappingNode)]


def _document(root: yaml.MappingNode, text: str, lines: tuple[str, ...], file: str) -> Document:
    entries: dict[str, Setting] = {}
    _collect(root, "", text, lines, entries, {})
    return Document(entries, lines, file, frozenset(key.rpartition(".")[2] for key in entries))


def _collect(
    node: yaml.MappingNode, above: str, text: str, lines: tuple[str, ...], into: dict[str, Setting], known: dict[int, Any]
) -> None:
    """The entries of a mapping and of the mappings in it; what a merge brings stands behind what is written."""
    for key, value in node.value:
        if len(into) > MOST_ENTRIES:
            return
        if key.tag == "tag:yaml.org,2002:merge":
            for merged in [value] if value.id == "mapping" else [one for one in value.value if one.id == "mapping"]:
                inherited: dict[str, Setting] = {}
                if merged is not node:
                    _collect(merged, above, text, lines, inherited, known)
                into.update({name: found for name, found in inherited.items() if name not in into})
            continue
        if key.id != "scalar":
            continue
        name = f"{above}{key.value}"
        into[name] = _setting(name, key, value, text, lines, known)
        if value.id == "mapping" and name.count(".") < DEPTH:
            _collect(value, f"{name}.", text, lines, into, known)


def _setting(name: str, key: Any, value: Any, text: str, lines: tuple[str, ...], known: dict[int, Any]) -> Setting:
    row, end = key.start_mark.line, value.end_mark
    line = lines[row] if row < len(lines) else ""
    plain = value.id == "scalar"
    written = text[value.start_mark.index : end.index] if plain else ""
    behind = lines[end.line][end.column :] if plain and end.line < len(lines) else line
    comment = behind.partition("#")[2].strip() if plain and end.line == row else ""
    place = (row + 1, key.start_mark.column + 1, line, comment)
    return Setting(name, _value(value, known), written, name, *place, as_text=plain and reads_as_text(written))


def _value(node: Any, known: dict[int, Any]) -> Any:
    """A node as a plain value; one that holds itself is unknown there."""
    if id(node) in known:
        return known[id(node)]
    known[id(node)] = UNKNOWN
    if node.id == "scalar":
        made: Any = _scalar(node)
    elif node.id == "sequence":
        made = [_value(one, known) for one in node.value]
    else:
        made = {key.value: _value(value, known) for key, value in node.value if key.id == "scalar"}
    known[id(node)] = made
    return made


def _scalar(node: Any) -> Any:
    kind, text = node.tag.removeprefix("tag:yaml.org,2002:"), node.value
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() in ("yes", "true", "on")
    if kind in ("int", "float"):
        number = number_of(text.replace("_", ""))
        return text if number is None else number
    if kind in ("str", "timestamp"):
        return UNKNOWN if _TEMPLATE.search(text) else text
    return UNKNOWN


def reads_as_text(written: str) -> bool:
    """Whether YAML takes a number as it is written for text: an exponent needs a dot before it and a sign in it.

    >>> [reads_as_text(text) for text in ("2e-5", "2.0e-5", "1.0e5", "100", "'2e-5'", "linear")]
    [True, False, True, False, True, False]
    """
    bare = written.strip().strip("'\"")
    if not _NUMBER.match(bare):
        return False
    return bare != written.strip() or not (bare.lstrip("+-").isdecimal() or _YAML_FLOAT.match(bare))


def json_document(text: str, file: str = "") -> Document | None:
    """The mapping that a JSON text is; None where it is something else.

    Raises:
        Unreadable: where it is broken.
    """
    try:
        whole = json.loads(text)
    except json.JSONDecodeError as error:
        raise Unreadable(error.msg, error.lineno, error.colno) from None
    except (RecursionError, ValueError) as error:
        raise Unreadable(str(error), 1, 1) from None
    if not isinstance(whole, dict):
        return None
    lines = tuple(text.splitlines())
    starts = [0]
    for line in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    entries: dict[str, Setting] = {}
    _members(text, _space(text, 0) + 1, "", whole, (lines, starts), entries)
    return Document(entries, lines, file, frozenset(key.rpartition(".")[2] for key in entries))


_SPACE = re.compile(r"\s*")
_DECODER = json.JSONDecoder()


def _space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _members(
    text: str, at: int, above: str, values: dict[str, Any], rows: tuple[tuple[str, ...], list[int]], into: dict[str, Setting]
) -> int:
    """The members of an object whose text begins at `at`, behind its brace; where the object ends."""
    from bisect import bisect_right

    lines, starts = rows
    at = _space(text, at)
    while text[at] == '"':
        start = at
        key, at = _DECODER.raw_decode(text, at)
        begin = at = _space(text, _space(text, at) + 1)
        value = values[key]
        name, row = f"{above}{key}", bisect_right(starts, start) - 1
        place = (name, row + 1, start - starts[row] + 1, lines[row] if row < len(lines) else "")
        into[name] = Setting(name, _known(value), "", *place)
        if text[at] == "{" and isinstance(value, dict) and name.count(".") < DEPTH:
            at = _members(text, at + 1, f"{name}.", value, rows, into)
        else:
            at = _DECODER.raw_decode(text, at)[1]
            into[name] = Setting(name, _known(value), text[begin:at] if not isinstance(value, dict | list) else "", *place)
        at = _space(text, at)
        if text[at] == ",":
            at = _space(text, at + 1)
    return at + 1


def _known(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):  # Infinity and NaN, which are no JSON
        return UNKNOWN
    return UNKNOWN if isinstance(value, str) and _TEMPLATE.search(value) else value
