"""JSON as a document, with the place of every key."""

from __future__ import annotations

import json
import re
from typing import Any

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
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise Unreadable(error.msg, error.lineno, error.colno) from None
    except (RecursionError, ValueError) as error:
        raise Unreadable(str(error), 1, 1) from None
    if not isinstance(values, dict):
        return None
    whole = Text(text)
    entries: dict[str, Setting] = {}
    _members(_space(text, 0) + 1, "", values, whole, entries)
    return Document(entries, whole.lines, file)


def _members(at: int, above: str, values: dict[str, Any], whole: Text, into: dict[str, Setting]) -> int:
    """The members of an object whose text begins at `at`, behind its brace; where the object ends."""
    text = whole.text
    at = _space(text, at)
    while text[at] == '"':
        row, column = whole.place(at)
        key, at = _DECODER.raw_decode(text, at)
        begin = _space(text, _space(text, at) + 1)
        name, value = f"{above}{key}", values[key]
        place = (name, row, column, whole.line(row))
        into[name] = Setting(name, known(value), "", *place)
        if text[begin] == "{" and isinstance(value, dict) and name.count(".") < DEPTH:
            at = _members(begin + 1, f"{name}.", value, whole, into)
        else:
            at = _DECODER.raw_decode(text, begin)[1]
            into[name] = Setting(name, known(value), "" if isinstance(value, dict | list) else text[begin:at], *place)
        at = _space(text, at)
        at = _space(text, at + 1) if text[at] == "," else at
    return at + 1


def _space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at
