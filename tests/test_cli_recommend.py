from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from hf_lrsched.cli import main


def told(*words: str, code: int = 0) -> str:
    done = CliRunner().invoke(main, ["recommend", *words])
    assert done.exit_code == code, done.output
    return done.output


def test_it_says_what_and_why_and_what_was_left_aside() -> None:
    said = told("meta-llama/Llama-3.1-8B", "--task", "lora", "--lora_r", "16", "--lora_alpha", "32")
    assert said.startswith("learning_rate:  ")
    for part in (
        "between",
        "confidence",
        "disagreement:",
        "\nwhy\n",
        "\nevidence: ",
        "\nset aside: ",
        "(--all shows the rest)",
    ):
        assert part in said
    assert len(told("8B", "--task", "lora", "--all").splitlines()) > len(said.splitlines())


def test_json_has_the_same_numbers() -> None:
    read = json.loads(told("1B", "--task", "pretrain", "--tokens", "100B", "--batch_tokens", "1M", "--format", "json"))
    assert read["question"]["tokens"] == 1e11
    assert read["question"]["batch_tokens"] == 1e6
    assert read["low"] <= read["learning_rate"] <= read["high"]
    assert {"id", "source", "reason"} == set(read["set_aside"][0])
    assert any(one["kind"] == "law" for one in read["used"])


@pytest.mark.parametrize(("typed", "count"), [("1.5T", 1.5e12), ("1M", 1e6), ("1e11", 1e11), ("20000000", 2e7)])
def test_counts_are_typed_as_people_write_them(typed: str, count: float) -> None:
    read = json.loads(told("1B", "--task", "pretrain", "--tokens", typed, "--format", "json"))
    assert read["question"]["tokens"] == count


def test_bibtex_is_bibtex_alone() -> None:
    said = told("8B", "--task", "full", "--bibtex")
    assert said.startswith("@misc{")
    assert said.count("@misc{") == said.count("\n}")


def test_no_evidence_is_an_answer_with_an_exit_code() -> None:
    assert "no calibrated evidence" in told("8B", "--task", "dpo", "--optimizer", "lion", code=1)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("8B", "--task", "lorra"), 1, "did you mean 'lora'?"),
        (("8B",), 2, "Missing option '--task'"),
        (("8B", "--task", "lora", "--tokens", "many"), 2, "'many' is no count; write 1e11, 100B or 1.5T"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(words: tuple[str, ...], code: int, said: str) -> None:
    assert said in told(*words, code=code)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    assert "config.json cannot be read" in told(str(tmp_path), "--task", "lora", code=1)
