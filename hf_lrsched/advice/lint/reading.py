"""Files as configurations, with the line of every value (skeleton: the readers follow)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .configuration import Configuration
from .remark import Remark


@dataclass(frozen=True)
class Folder:
    """What the files of one folder hold: configurations, and remarks on what could not be read."""

    found: tuple[Configuration, ...] = ()
    unreadable: tuple[Remark, ...] = ()


def files_of(paths: str | Path | Iterable[str | Path]) -> list[Path]:
    """The files among `paths` and below them."""
    return [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]


def configurations(files: Iterable[Path]) -> Iterator[Folder]:
    """The configurations in `files`, folder by folder."""
    yield from ()
