"""Small folders of configurations, for rules to look at."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hf_lrsched.advice.lint import Remark, lint


def remarks(folder: Path, files: Mapping[str, str] | str, rule: str = "") -> list[Remark]:
    """What is said of `files` (of one text: of ``sft.yaml``), or by one rule alone."""
    for name, text in ({"sft.yaml": files} if isinstance(files, str) else files).items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return [found for found in lint(folder) if not rule or found.rule == rule]


def sentences(folder: Path, files: Mapping[str, str] | str, rule: str = "") -> list[str]:
    """The sentences of those."""
    return [found.sentence for found in remarks(folder, files, rule)]
