"""Comments that keep rules quiet."""

from __future__ import annotations

from pathlib import Path

import pytest

from hf_lrsched.advice.lint import Remark, lint
from hf_lrsched.advice.lint.suppressing import heard


def kept(folder: Path, text: str, line: int = 2) -> bool:
    file = folder / "a.yaml"
    file.write_text(text)
    remark = Remark("LR003", "rate-outside-band", "warning", "far out", file=str(file), line=line)
    loud, quiet = heard([remark])
    assert len(loud) + len(quiet) == 1
    return bool(loud)


@pytest.mark.parametrize(
    "text",
    [
        "a: 1\nlr: 2  # lr-lint: ignore\n",
        "a: 1\nlr: 2  # why  # lr-lint: ignore[LR003]\n",
        "a: 1\nlr: 2  #lr-lint:ignore[lr003, LR001]\n",
        "a: 1\nlr: 2  # lr-lint: ignore[rate-outside-band]\n",
        "# lr-lint: ignore[LR003]\nlr: 2\n",
        "   # lr-lint: ignore\nlr: 2\n",
        "a: 1\nlr: 2\nb: 3\n# lr-lint: ignore-file[LR003]\n",
        "a: 1  # lr-lint: ignore-file\nlr: 2\n",
        '{"//": "# lr-lint: ignore-file",\n"lr": 2}',
        "a: x\x0cy\u2028z\nlr: 2  # lr-lint: ignore[LR003]\n",
    ],
)
def test_a_rule_is_kept_quiet(text: str, tmp_path: Path) -> None:
    assert not kept(tmp_path, text)


@pytest.mark.parametrize(
    "text",
    [
        "a: 1\nlr: 2\n",
        "a: 1\nlr: 2  # lr-lint: ignore[LR004]\n",
        "a: 1  # lr-lint: ignore\nlr: 2\n",
        "a: 1\nlr: 2\n# lr-lint: ignore\nb: 3\n",
        "a: 1\nlr: 2  # lr-lint ignored\n",
        "a: 1\nlr: 2\n# lr-lint: ignore-file[LR004]\n",
    ],
)
def test_another_line_or_rule_is_not(text: str, tmp_path: Path) -> None:
    assert kept(tmp_path, text)


def test_lint_obeys_unless_told_otherwise(tmp_path: Path) -> None:
    text = "max_steps: 60\nlr_scheduler_type: cosine\nwarmup_steps: 1000  # lr-lint: ignore[LR001, LR020]\n"
    (tmp_path / "a.yaml").write_text(text)
    assert lint(tmp_path) == []
    assert [found.rule for found in lint(tmp_path, comments=False)] == ["LR001", "LR020"]


def test_what_is_in_no_file_is_heard() -> None:
    remark = Remark("LR003", "rate-outside-band", "warning", "far out")
    assert heard([remark]) == ([remark], [])
