"""Shell scripts as commands of words with their places: `commands`.

A variable that the script sets once, to a plain text, is known; everything else that only a shell knows is not. Functions,
loops and arrays are not followed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_ASSIGNED = re.compile(r"(?:export\s+)?([A-Za-z_]\w*)=(.*)", re.DOTALL)
_VARIABLE = re.compile(r"\$(?:\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*))")
_HEREDOC = re.compile(r"<<-?\s*(['\"]?)(\w+)\1")


@dataclass(frozen=True)
class Word:
    """A word of a command.

    Args:
        text: what the shell makes of it.
        written: as it stands in the file.
        line, column: where it begins, from 1.
        known: whether the script alone tells its text.
    """

    text: str
    written: str
    line: int
    column: int
    known: bool = True


def commands(text: str) -> list[list[Word]]:
    """The commands of a script, in order, with the variables in them that it sets once put in.

    >>> found = commands("LR=2e-5\\npython train.py \\\\\\n  --learning_rate $LR # high")
    >>> [[word.text for word in command] for command in found]
    [['LR=2e-5'], ['python', 'train.py', '--learning_rate', '2e-5']]
    """
    found = list(_split(_without_heredocs(text)))
    values = _variables(found)
    return [[_filled(word, values) for word in command] for command in found]


def _variables(found: list[list[Word]]) -> dict[str, str]:
    values: dict[str, str] = {}
    often: set[str] = set()
    for command in found:
        words = command[1:] if command[0].text in ("export", "local", "declare") else command
        for word in words:
            match = _ASSIGNED.fullmatch(word.text)
            if not match:
                break
            name, value = match.groups()
            often |= {name} & {*values}
            values[name] = value if word.known or "$" not in value else ""
        if command[0].text in ("for", "read", "select") and len(command) > 1:
            often.add(command[1].text)
    return {name: value for name, value in values.items() if name not in often and "$" not in value and "`" not in value}


def _filled(word: Word, values: dict[str, str]) -> Word:
    if word.known:
        return word
    text = _VARIABLE.sub(lambda match: values.get(match[1] or match[2], match[0]), word.text)
    return Word(text, word.written, word.line, word.column, known="$" not in text and "`" not in text)


def _without_heredocs(text: str) -> str:
    """The script with the bodies of its here-documents blanked, line for line."""
    lines, until = [], ""
    for line in text.split("\n"):
        if until:
            until = "" if line.strip() == until else until
            lines.append("")
            continue
        found = _HEREDOC.search(line) if "<<" in line and "<<<" not in line else None
        until = found[2] if found else ""
        lines.append(line)
    return "\n".join(lines)


def _split(text: str) -> Iterator[list[Word]]:
    """The words of each command: quotes taken off, continued lines joined, comments left out."""
    command: list[Word] = []
    at, line, start = 0, 1, 0
    while at < len(text):
        char = text[at]
        if text.startswith("\\\n", at):
            at, line, start = at + 2, line + 1, at + 2
        elif char == "#":
            at = _until(text, at, "\n")
        elif char in "\n;|&()":
            if command:
                yield command
                command = []
            at += 1
            if char == "\n":
                line, start = line + 1, at
        elif char.isspace():
            at += 1
        else:
            word, end = _word(text, at, line, at - start + 1)
            command.append(word)
            passed = text[at:end]
            if "\n" in passed:
                line, start = line + passed.count("\n"), at + passed.rindex("\n") + 1
            at = end
    if command:
        yield command


def _until(text: str, at: int, mark: str) -> int:
    end = text.find(mark, at)
    return len(text) if end < 0 else end


def _word(text: str, at: int, line: int, column: int) -> tuple[Word, int]:
    """The word that begins at `at`, and where it ends."""
    parts: list[str] = []
    begin, known = at, True
    while at < len(text) and not (text[at].isspace() or text[at] in ";|&()"):
        char = text[at]
        if char == "\\":
            if text.startswith("\\\n", at):
                break
            parts.append(text[at + 1 : at + 2])
            at += 2
        elif char == "'":
            end = _until(text, at + 1, "'")
            parts.append(text[at + 1 : end])
            at = end + 1
        elif char == '"':
            end = _quoted(text, at + 1)
            inner = text[at + 1 : end]
            known &= "$" not in inner and "`" not in inner
            parts.append(re.sub(r"\\([\"\\$`])", r"\1", inner).replace("\\\n", ""))
            at = end + 1
        elif char == "`" or text.startswith("$(", at):
            end = _until(text, at + 1, "`") + 1 if char == "`" else _closed(text, at + 1)
            known = False
            parts.append(text[at:end])
            at = end
        else:
            known &= char != "$"
            parts.append(char)
            at += 1
    at = min(at, len(text))
    return Word("".join(parts), text[begin:at], line, column, known), at


def _quoted(text: str, at: int) -> int:
    while at < len(text) and text[at] != '"':
        at += 2 if text[at] == "\\" else 1
    return min(at, len(text))


def _closed(text: str, at: int) -> int:
    """Behind the bracket that closes the one at `at`."""
    depth = 0
    while at < len(text):
        depth += (text[at] == "(") - (text[at] == ")")
        at += 1
        if not depth:
            break
    return at
