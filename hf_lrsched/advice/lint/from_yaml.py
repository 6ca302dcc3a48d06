"""YAML as documents: the plain values that `PyYAML` would make of it, with the place of each."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .configuration import UNKNOWN, Setting
from .document import DEPTH, Document, Text, Unreadable, known, number_of, reads_as_text

if TYPE_CHECKING:
    import yaml

MOST_ENTRIES = 20_000
"""More entries than this are a data file or a bomb of aliases, and no configuration."""

MOST_VISITS = 10 * MOST_ENTRIES
"""Entries looked at, again and again where merges repeat them; the rest of a document with more is not read."""

_MARKED = re.compile(r"\A(?:[&!]\S*\s+)+")  # an anchor, a tag


def yaml_documents(text: str, file: str = "") -> list[Document]:
    """The mappings of a YAML text, one for each document in it that is one.

    Raises:
        Unreadable: where it is broken.
    """
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    whole = Text(text)
    try:
        roots = list(yaml.compose_all(text, Loader=loader))
    except yaml.MarkedYAMLError as error:
        mark, begun = error.problem_mark or error.context_mark, error.context_mark
        never_ends = mark is not None and begun is not None and whole.place(mark.index)[0] > len(whole.lines)
        place = begun if never_ends else mark
        at = whole.place(place.index) if place else (1, 1)
        raise Unreadable(error.problem or error.context or "it is no YAML", *at) from None
    except yaml.reader.ReaderError as error:  # a character that YAML has no place for
        raise Unreadable(str(error.reason), *whole.place(max(error.position or 0, 0))) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise Unreadable(str(error).splitlines()[0], 1, 1) from None
    return [_document(root, whole, file) for root in roots if isinstance(root, yaml.MappingNode)]


def _document(root: yaml.MappingNode, text: Text, file: str) -> Document:
    entries: dict[str, Setting] = {}
    _Collecting(text).collect(root, "", entries)
    return Document(entries, text.lines, file)


@dataclass
class _Collecting:
    """The entries of one document as they are collected: its text, the values made so far, and what is left to look at."""

    text: Text
    seen: dict[int, Any] = field(default_factory=dict)
    left: int = MOST_VISITS

    def collect(self, node: yaml.MappingNode, above: str, into: dict[str, Setting]) -> None:
        """The entries of a mapping and of the mappings in it; what a merge brings stands behind what is written."""
        for key, value in node.value:
            self.left -= 1
            if len(into) > MOST_ENTRIES or self.left < 0:
                return
            if key.tag == "tag:yaml.org,2002:merge":
                self._merge(node, value, above, into)
                continue
            if key.id != "scalar":
                continue
            name = f"{above}{key.value}"
            into[name] = _setting(name, key, value, self.text, self.seen)
            if value.id == "mapping" and name.count(".") < DEPTH:
                self.collect(value, f"{name}.", into)

    def _merge(self, node: yaml.MappingNode, value: Any, above: str, into: dict[str, Setting]) -> None:
        several = value.value if value.id == "sequence" else [value]
        for merged in several:
            if merged.id != "mapping" or merged is node or self.left < 0:
                continue
            inherited: dict[str, Setting] = {}
            self.collect(merged, above, inherited)
            self.left -= 1 + len(inherited)
            into.update({name: found for name, found in inherited.items() if name not in into})


def _setting(name: str, key: Any, value: Any, text: Text, seen: dict[int, Any]) -> Setting:
    row, column = text.place(key.start_mark.index)
    line, made = text.line(row), _value(value, seen)
    if value.id != "scalar":
        return Setting(name, made, "", name, row, column, line)
    written = _MARKED.sub("", text.text[value.start_mark.index : value.end_mark.index], count=1)
    last, end = text.place(value.end_mark.index)
    comment = line[end - 1 :].partition("#")[2].strip() if last == row else ""
    return Setting(name, made, written, name, row, column, line, comment, as_text=reads_as_text(written))


def _value(node: Any, seen: dict[int, Any]) -> Any:
    """A node as a plain value; one that holds itself is unseen there."""
    if id(node) in seen:
        return seen[id(node)]
    seen[id(node)] = UNKNOWN
    if node.id == "scalar":
        made: Any = _scalar(node)
    elif node.id == "sequence":
        made = [_value(one, seen) for one in node.value]
    else:
        made = {key.value: _value(value, seen) for key, value in node.value if key.id == "scalar"}
    seen[id(node)] = made
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
        return known(text)
    return UNKNOWN
