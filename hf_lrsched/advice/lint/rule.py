"""What a rule is: something that is shown a configuration and says what is wrong with it. `rules.RULES` lists them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from .configuration import Configuration, Setting
from .remark import Fix, Level, Remark


@dataclass(frozen=True)
class Example:
    """A small file, made up, that a rule finds something in; a test holds every rule to its own.

    Args:
        file: its name.
        text: what it holds.
        mended: the same without the fault: the rule finds nothing in it.
        beside: other files that lie beside it, by name.
        seen: where the fault was truly seen: a public file and its numbers, or a thread.
    """

    file: str
    text: str
    mended: str
    seen: str
    beside: Mapping[str, str] = field(default_factory=dict)


class Rule(ABC):
    """A rule judges one configuration and never acts; it keeps no memory. What is unknown is no fault."""

    id: ClassVar[str]
    name: ClassVar[str]
    level: ClassVar[Level]
    source: ClassVar[str]
    example: ClassVar[Example]

    @abstractmethod
    def judge(self, configuration: Configuration, siblings: Sequence[Configuration]) -> Iterator[Remark]:
        """What is wrong with `configuration`; `siblings` train the same model in the same way and folder."""

    def remark(
        self,
        configuration: Configuration,
        at: str | Setting | None,
        sentence: str,
        advice: str = "",
        *,
        fix: Fix | None = None,
        level: Level | None = None,
    ) -> Remark:
        """A remark of this rule, placed at a setting (or at a name of one)."""
        setting = configuration.settings.get(at) if isinstance(at, str) else at
        line, column = (setting.line, setting.column) if setting is not None else (0, 0)
        file = configuration.file
        line = line or int(bool(file))
        found = Remark(self.id, self.name, level or self.level, sentence, advice, self.source, file, line, column)
        return replace(found, fix=fix)
