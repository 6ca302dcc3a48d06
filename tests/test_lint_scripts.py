"""scripts/bench_lint.py: what lint says of a folder of projects."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

from hf_lrsched.advice.lint.reading import failed

from .advice.lint.files import AXOLOTL, TRANSFORMERS

SCRIPTS = Path(__file__).parent.parent / "scripts"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    bench_lint = importlib.import_module("bench_lint")
    monkeypatch.setattr(bench_lint, "FILES", 3)
    monkeypatch.setattr(bench_lint, "ROUNDS", 1)
    return bench_lint


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    for place, text in {
        "one/args.yaml": TRANSFORMERS.replace("warmup_steps: 100", "warmup_steps: 9000"),
        "one/ax.yml": AXOLOTL,
        "two/sub/args.yaml": TRANSFORMERS,
    }.items():
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text(text, "utf-8")
    return tmp_path


def test_it_counts_by_project_and_rule(
    bench: Any, corpus: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench_lint.py", str(corpus), "--rule", "LR001"])
    bench.main()
    said = capsys.readouterr().out
    assert "| one | 2 | axolotl 1 transformers 1 | 1 | " in said
    assert "| two | 1 | transformers 1 | 0 | " in said
    assert "crashes: 0" in said
    assert "one/args.yaml:7:1: LR001 warmup-longer-than-run (error)" in said
    assert "3 files with the start: " in said


def test_a_crash_is_told_with_its_file(
    bench: Any, corpus: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def crashes(path: Path) -> list[Any]:
        if path.is_dir() or path.name == "ax.yml":
            raise ZeroDivisionError
        return []

    monkeypatch.setattr(bench, "lint", crashes)
    assert bench.project_remarks(corpus / "one") == ([], 1)
    told = capsys.readouterr().err
    assert f"CRASH {corpus / 'one' / 'ax.yml'}" in told
    assert "ZeroDivisionError" in told


def test_a_file_that_a_rule_fails_on_is_a_crash_too(bench: Any, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ax = str(corpus / "one" / "ax.yml")
    monkeypatch.setattr(bench, "lint", lambda path: [failed(ax, ZeroDivisionError("division by zero"))])
    remarks, crashes = bench.project_remarks(corpus / "one")
    assert ([remark.file for remark in remarks], crashes) == ([ax], 1)
