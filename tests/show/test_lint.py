"""Remarks as text, annotations and SARIF."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_lrsched.advice.lint import RULES, Fix, Remark
from hf_lrsched.show.lint import count, github, message, rules_table, sarif, text

GONE = Remark(
    "LR005", "warmup-ratio-gone", "error", "warmup_ratio is gone", "write warmup_steps: 0.1", "HF 5", "a.yaml", 3, 2,
    Fix(3, " warmup_ratio: 0.1", " warmup_steps: 0.1", safe=True),
)  # fmt: skip
NOTE = Remark("LR020", "first-step-at-zero", "note", "the first step is at 0", file="b.yaml", line=1)
BROKEN = Remark("LR000", "cannot-be-read", "error", "the file is broken", file="c.yaml", line=7)


def test_a_sentence_and_its_advice_are_two_sentences() -> None:
    assert message(GONE) == "warmup_ratio is gone. Write warmup_steps: 0.1."
    assert message(NOTE) == "the first step is at 0."
    assert message(replace(NOTE, advice="did you mean b?")) == "the first step is at 0. Did you mean b?"


def test_an_edit_is_shown_with_how_it_is_made() -> None:
    assert "    - warmup_ratio: 0.1\n    + warmup_steps: 0.1    (safe: --fix)" in text([GONE])
    unsafe = replace(GONE, fix=Fix(3, "a: 1", None))
    assert "    - a: 1    (look first: --fix --unsafe-fixes)" in text([unsafe])


def test_lines_fit_the_width_except_for_links() -> None:
    long = replace(GONE, sentence="word " * 60, source="https://example.org/" + "x" * 90)
    lines = text([long], width=70).splitlines()
    assert all(len(line) <= 70 or "https://" in line for line in lines)


def test_a_per_cent_sign_stays_with_its_number() -> None:
    for width in range(60, 90):
        lines = text([replace(GONE, sentence="reaches 2 % of its peak " * 12)], width=width).splitlines()
        assert all(len(line) <= width and not line.lstrip().startswith("%") for line in lines)
    assert "reaches 2 % of" in lines[1]


def test_levels_are_counted() -> None:
    assert count([GONE, NOTE, BROKEN]) == {"error": 2, "warning": 0, "note": 1}


def test_annotations_have_githubs_words_for_levels() -> None:
    lines = github([GONE, replace(GONE, level="warning"), NOTE]).splitlines()
    assert [line.split(" ")[0] for line in lines] == ["::error", "::warning", "::notice"]
    assert lines[2] == "::notice file=b.yaml,line=1,title=LR020 first-step-at-zero::the first step is at 0."


ugly = st.text("a%:,\r\n; é", min_size=1, max_size=12)


@given(file=ugly, sentence=ugly)
def test_no_text_breaks_out_of_an_annotation(file: str, sentence: str) -> None:
    """As the runner reads it: one line, properties split at commas and equals signs, then unescaped."""
    line = github([Remark("LR001", "x", "error", sentence, file=file, line=4)])
    found = re.fullmatch(r"::error file=([^:,\r\n]*),line=4,title=LR001 x::([^\r\n]*)", line)
    assert found
    assert unquote(found[1]) == Path(file).as_posix()
    assert unquote(found[2]) == sentence + "."


def test_sarif_is_of_the_form_that_its_schema_asks_for() -> None:
    """The parts of SARIF 2.1.0 that are required, with their types, and every reference resolved."""
    log = json.loads(json.dumps(sarif([GONE, NOTE, BROKEN], RULES)))
    assert (log["version"], list(log)) == ("2.1.0", ["$schema", "version", "runs"])
    [run] = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert run["tool"]["driver"]["name"] == "hf-lrsched"
    assert len({rule["id"] for rule in rules}) == len(rules) == len(RULES) + 1
    for rule in rules[:-1]:
        assert rule["shortDescription"]["text"].endswith(".")
        assert rule["defaultConfiguration"]["level"] in ("error", "warning", "note")
        assert urlparse(rule.get("helpUri", "https://a.b")).netloc
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] in ("error", "warning", "note")
        assert result["message"]["text"]
        [place] = result["locations"]
        region = place["physicalLocation"]["region"]
        assert region["startLine"] >= 1
        assert region.get("startColumn", 1) >= 1
        assert not place["physicalLocation"]["artifactLocation"]["uri"].startswith("/")


def change(remark: Remark) -> dict[str, Any]:
    [fix] = sarif([remark], RULES)["runs"][0]["results"][0]["fixes"]
    [part] = fix["artifactChanges"]
    found: dict[str, Any] = part["replacements"][0]
    return found


def test_sarif_has_the_edit_as_a_region_and_a_text() -> None:
    assert change(GONE) == {
        "deletedRegion": {"startLine": 3, "startColumn": 1, "endLine": 3, "endColumn": 19},
        "insertedContent": {"text": " warmup_steps: 0.1"},
    }
    gone = change(replace(GONE, fix=Fix(3, "a: 1", None)))
    assert gone["deletedRegion"] == {"startLine": 3, "startColumn": 1, "endLine": 4, "endColumn": 1}


@pytest.mark.parametrize(
    ("file", "uri"), [("a b/ü.yaml", "a%20b/%C3%BC.yaml"), ("/elsewhere/a.yaml", "file:///elsewhere/a.yaml")]
)
def test_a_file_is_a_uri(file: str, uri: str) -> None:
    [result] = sarif([replace(NOTE, file=file)], RULES)["runs"][0]["results"]
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == uri


def test_a_file_below_is_told_relative_to_where_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "file=sub/a.yaml," in github([replace(NOTE, file=str(tmp_path / "sub" / "a.yaml"))])


def test_every_rule_is_in_the_table() -> None:
    table = rules_table(RULES)
    for rule in RULES:
        assert rule.id in table
        assert f"{rule.level:<7}  {rule.name}" in table
