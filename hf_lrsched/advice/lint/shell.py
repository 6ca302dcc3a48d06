"""Shell scripts as commands of words with their places: `commands`.

A variable that the script sets once, to a plain text, is known, and where it stands bare it is as many words as it holds;
everything else that only a shell knows is not. Functions, loops and arrays are not followed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

_ASSIGNED = re.compile(r"(?:export\s+)?([A-Za-z_]\w*)(\+?)=(.*)", re.DOTALL)
_VARIABLE = re.compile(r"\$(?:\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*))")
_BARE = re.compile(rf"{_VARIABLE.pattern}\Z")
_HEREDOC = re.compile(r"<<-?\s*(['\"]?)(\w+)\1")
_BEFORE_ASSIGNMENTS = frozenset(["export", "local", "declare", "typeset", "readonly", "then", "else", "do", "{"])
_ARRAY = re.compile(r"[A-Za-z_]\w*\+?=")
_ARITHMETIC = re.compile(r"\(\(.*?\)\)")  # in which << shifts


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
    return [made for command in found if (made := [part for word in command for part in _filled(word, values)])]


def _variables(found: list[list[Word]]) -> dict[str, Word]:
    """The words that set variables which are set once, with what they are set to as their text."""
    values: dict[str, Word] = {}
    often: set[str] = set()
    for command in found:
        words = command[1:] if command[0].text in _BEFORE_ASSIGNMENTS else command
        for word in words:
            match = _ASSIGNED.fullmatch(word.text)
            if not match:
                break
            name, more, value = match.groups()
            often |= {name} if more else {name} & {*values}
            values[name] = replace(word, text=value)
        if command[0].text in ("for", "read", "select") and len(command) > 1:
            often.add(command[1].text)
    return {name: word for name, word in values.items() if name not in often and not re.search(r"[$`]", word.text)}


def _filled(word: Word, values: dict[str, Word]) -> list[Word]:
    """A word with the variables in it that are known; one that is nothing else, in no quotes, as the words that it makes."""
    if word.known:
        return [word]
    bare = _BARE.match(word.written)
    source = values.get(bare[1] or bare[2]) if bare else None
    if source is not None and (len(source.text.split()) != 1 or source.text.startswith("-")):
        plain = not re.search(r"['\"\\*?\[]", source.text)  # else it depends on eval, or on the files that there are
        return list(_words_of(source, word)) if plain else [word]

    def put(match: re.Match[str]) -> str:
        found = values.get(match[1] or match[2])
        return match[0] if found is None else found.text

    text = _VARIABLE.sub(put, word.text)
    return [Word(text, word.written, word.line, word.column, known="$" not in text and "`" not in text)]


def _words_of(source: Word, user: Word) -> Iterator[Word]:
    """The words that a variable makes, each where it stands in the word that sets it, or else where the variable is used."""
    start = source.written.find(source.text) if source.text else -1
    for found in re.finditer(r"\S+", source.text):
        before = source.written[: start + found.start()]
        line, column = source.line + before.count("\n"), len(before) - before.rfind("\n")
        column += source.column - 1 if line == source.line else 0
        place = (line, column) if start >= 0 else (user.line, user.column)
        yield Word(found[0], found[0], *place)


def _without_heredocs(text: str) -> str:
    """The script with the bodies of its here-documents blanked, line for line."""
    lines, until = [], ""
    for line in text.split("\n"):
        if until:
            until = "" if line.strip() == until else until
            lines.append("")
            continue
        found = _HEREDOC.search(_ARITHMETIC.sub("", line)) if "<<" in line and "<<<" not in line else None
        until = found[2] if found and re.search(rf"^\s*{found[2]}\s*$", text, re.MULTILINE) else ""
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
            if char == "(" and command and _ARRAY.fullmatch(command[-1].written):
                command[-1] = replace(command[-1], text=f"{command[-1].text}$(", known=False)  # what it holds is a command
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
