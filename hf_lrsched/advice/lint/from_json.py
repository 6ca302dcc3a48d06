"""JSON as a document, with the place of every key."""

from __future__ import annotations

import json
import re

from .configuration import Setting
from .document import DEPTH, Document, Text, Unreadable, known

_SPACE = re.compile(r"\s*")
_DECODER = json.JSONDecoder()


def json_document(text: str, file: str = "") -> Document | None:
    """The mapping that a JSON text is; None where it is something else.

    Raises:
        Unreadable: where it is broken.
    """
    try:
        root = json.loads(text)
    except json.JSONDecodeError as error:
        raise Unreadable(error.msg, error.lineno, error.colno) from None
    except (RecursionError, ValueError) as error:
        raise Unreadable(str(error), 1, 1) from None
    if not isinstance(root, dict):
        return None
    whole = Text(text)
    entries: dict[str, Setting] = {}
    _members(_space(text, 0) + 1, "", whole, entries)
    return Document(entries, whole.lines, file)


def _members(at: int, above: str, whole: Text, into: dict[str, Setting]) -> None:
    """The members of an object whose text begins at `at`, behind its brace; of two with one key the last counts."""
    text = whole.text
    at = _space(text, at)
    while text[at] == '"':
        row, column = whole.place(at)
        key, at = _DECODER.raw_decode(text, at)
        begin = _space(text, _space(text, at) + 1)
        value, at = _DECODER.raw_decode(text, begin)
        name = f"{above}{key}"
        if name in into:
            _forget(name, into)
        written = "" if isinstance(value, dict | list) else text[begin:at]
        into[name] = Setting(name, known(value), written, name, row, column, whole.line(row))
        if isinstance(value, dict) and name.count(".") < DEPTH:
            _members(begin + 1, f"{name}.", whole, into)
        at = _space(text, at)
        at = _space(text, at + 1) if text[at] == "," else at


def _forget(name: str, entries: dict[str, Setting]) -> None:
    for key in [key for key in entries if key == name or key.startswith(f"{name}.")]:
        del entries[key]


def _space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at
