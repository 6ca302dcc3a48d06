"""What a rule says of a configuration: `Remark`, and what would mend it: `Fix`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Level = Literal["error", "warning", "note"]

LEVELS: tuple[Level, ...] = ("error", "warning", "note")
"""From what spoils a run, over what probably does, to what is only worth knowing."""


@dataclass(frozen=True)
class Fix:
    """An edit within one line of a file, so that comments and formatting around it survive.

    Args:
        line: which line of the file, from 1.
        old: the text of the line without its end, as it is.
        new: what is to stand there; with line breaks in it for several lines, None where the line is to go.
        safe: whether the file means the same or what was plainly meant afterwards, so that nobody need look first.

    >>> Fix(3, "learning_rate: 2e-5", "learning_rate: 2.0e-5", safe=True).safe
    True
    """

    line: int
    old: str
    new: str | None
    safe: bool = False


@dataclass(frozen=True)
class Remark:
    """Something that is wrong with a configuration, or worth knowing of it.

    Args:
        rule: the rule's id, such as ``"LR001"``.
        name: the rule's name, such as ``"warmup-longer-than-run"``.
        level: ``"error"``, ``"warning"`` or ``"note"``; only the first two are findings.
        file: where it was read; empty for a configuration that no file held.
        line: the line in it, from 1; 0 where there is none.
        column: the column in that line, from 1; 0 where there is none.
        sentence: what was given, the rule and what happens, in numbers.
        advice: what to do, in a sentence.
        source: where the rule comes from.
        fix: the edit that mends it, where one does.

    >>> remark = Remark("LR001", "warmup-longer-than-run", "error", sentence="warmup_steps 1000 of 60", file="a.yaml", line=4)
    >>> remark.place, remark.to_dict()["level"]
    ('a.yaml:4', 'error')
    """

    rule: str
    name: str
    level: Level
    sentence: str
    advice: str = ""
    source: str = ""
    file: str = ""
    line: int = 0
    column: int = 0
    fix: Fix | None = None

    @property
    def place(self) -> str:
        """File, line and column as editors read them, as far as they are known."""
        return ":".join([self.file, *(str(number) for number in (self.line, self.column) if number)])

    def to_dict(self) -> dict[str, Any]:
        """Itself in plain JSON types."""
        return asdict(self)
