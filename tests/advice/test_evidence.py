"""The evidence itself: that the schema refuses what it should, and that the figures are those of their sources."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from hf_lrsched.advice.question import OPTIMIZERS, PEFT_TYPES, TASKS
from hf_lrsched.advice.sources import KINDS, Evidence, Source, about, evidence

SOUND = """
sources: {paper: {title: A paper, year: 2025}}
entries:
  - {id: one, of: learning_rate, unit: peak, kind: shipped, source: paper, date: 2025, value: 2.0e-5, when: {task: sft}}
"""


def read(folder: Path, text: str) -> Evidence:
    """The one entry of a file with `text` in `folder`, which nothing but the file tells the library of."""
    (folder / "own.yaml").write_text(text, "utf-8")
    (one,) = evidence(folder).values()
    return one


def test_a_new_file_is_read_with_no_code(tmp_path: Path) -> None:
    one = read(tmp_path, SOUND)
    assert one.value == 2e-5
    assert one.source.title == "A paper"
    assert one.when == {"task": ("sft",)}


def test_defaults_hold_unless_an_entry_says_otherwise(tmp_path: Path) -> None:
    one = read(tmp_path, SOUND.replace("entries:", "defaults: {read: excerpt, kind: law, when: {peft: lora}}\nentries:"))
    assert (one.read, one.kind) == ("excerpt", "shipped")
    assert one.when == {"task": ("sft",), "peft": ("lora",)}


def test_a_band_without_a_value_has_its_geometric_middle(tmp_path: Path) -> None:
    assert read(tmp_path, SOUND.replace("value: 2.0e-5", "low: 1.0e-5, high: 4.0e-5")).figure() == pytest.approx(2e-5)


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        (" source: paper,", "", "lacks source"),
        ("source: paper", "source: another", "source that is not there: another"),
        ("{title: A paper, year: 2025}", "{title: A paper}", "needs a title and a year"),
        ("{title: A paper, year: 2025}", "{year: 2025}", "needs a title and a year"),
        ("year: 2025}", "year: 2025, url: 'http://plain'}", "must begin with https"),
        ("value: 2.0e-5", "value: 2e-5", "is no number"),
        ("value: 2.0e-5", "value: true", "is no number"),
        ("value: 2.0e-5", "value: 0", "not above 0"),
        ("value: 2.0e-5", "value: -1.0e-5", "not above 0"),
        ("value: 2.0e-5", "low: 3.0e-5, high: 1.0e-5", "does not hold"),
        ("value: 2.0e-5", "value: 5.0e-5, low: 1.0e-5, high: 3.0e-5", "does not hold"),
        ("value: 2.0e-5", "low: 1.0e-5", "must have one of"),
        (", value: 2.0e-5", "", "must have one of"),
        ("value: 2.0e-5", "value: 2.0e-5, formula: 2 * tokens", "must have one of"),
        ("value: 2.0e-5", "formula: 2 * tokens, text: more", "must have one of"),
        ("value: 2.0e-5", "formula: 'tokens +'", "is no formula"),
        ("value: 2.0e-5", "formula: \"__import__('os')\"", "a formula has numbers"),
        ("value: 2.0e-5", "formula: tokens.real", "a formula has numbers"),
        ("value: 2.0e-5", "formula: 'tokens if steps else rank'", "a formula has numbers"),
        ("value: 2.0e-5", "formula: \"'a' * tokens\"", "a formula has numbers"),
        ("value: 2.0e-5", "formula: 2 * token", "token is none of"),
        ("value: 2.0e-5", "value: 2.0, times: lr_ful", "lr_ful is none of"),
        ("value: 2.0e-5", "value: 2.0e-5, sorce: paper", "sorce that is unknown"),
        ("kind: shipped", "kind: heard", "kind: heard"),
        ("of: learning_rate", "of: speed", "of: speed"),
        ("value: 2.0e-5", "value: 2.0e-5, read: twice", "read: twice"),
        ("{task: sft}", "{tsk: sft}", "when.tsk"),
        ("{task: sft}", "{parameters: 7e9}", "YAML reads 7e9 as text"),
        ("{task: sft}", "{parameters: [2.0, 1.0]}", "the lower first"),
        ("{task: sft}", "{task: 1}", "a word or a list of words"),
        ("entries:", "entires: []\nentries:", "and nothing else"),
    ],
)
def test_the_schema_refuses(tmp_path: Path, right: str, wrong: str, said: str) -> None:
    assert right in SOUND
    with pytest.raises(ValueError, match=r"own\.yaml") as refused:
        read(tmp_path, SOUND.replace(right, wrong))
    assert said in str(refused.value)


def test_a_name_is_given_once(tmp_path: Path) -> None:
    (tmp_path / "first.yaml").write_text(SOUND, "utf-8")
    (tmp_path / "second.yaml").write_text(SOUND.split("\n", 2)[2].replace("id: one", "id: two"), "utf-8")
    assert set(evidence(tmp_path)) == {"one", "two"}

    (tmp_path / "third.yaml").write_text(SOUND.split("\n", 2)[2], "utf-8")
    evidence.cache_clear()
    with pytest.raises(ValueError, match=r"third\.yaml: the entry one is there twice"):
        evidence(tmp_path)

    (tmp_path / "third.yaml").write_text(SOUND.split("entries:")[0], "utf-8")
    with pytest.raises(ValueError, match=r"third\.yaml: the source paper is named twice"):
        evidence(tmp_path)


def test_every_entry_names_a_source_and_every_source_is_used() -> None:
    for entry in evidence().values():
        assert entry.source.title
        assert 1990 <= entry.source.year <= 2100
        assert entry.date[:4].isdigit(), entry.id
        assert entry.unit
    for source in sources().values():
        ours = source.title.startswith("hf-lrsched, scripts/")
        assert source.url or ours or source.key in ("guide", "survey", "laws-reference"), source.key


def sources() -> dict[str, Source]:
    return {entry.source.key: entry.source for entry in evidence().values()}


def test_conditions_are_those_a_question_can_meet() -> None:
    for entry in evidence().values():
        assert set(entry.when.get("task", ())) <= set(TASKS), entry.id
        assert set(entry.when.get("peft", ())) <= {"none", *PEFT_TYPES}, entry.id
        assert set(entry.when.get("optimizer", ())) <= set(OPTIMIZERS), entry.id


def test_what_projects_ship_is_set_aside_for_no_other_family_but_that_of_encoders() -> None:
    bound = [entry for entry in evidence().values() if entry.kind == "shipped" and "family" in entry.when]
    assert {entry.when["family"][:2] for entry in bound} == {("bert", "roberta")}


def test_learning_rates_lie_between_0_and_1() -> None:
    for entry in about("learning_rate"):
        ends = [one for one in (entry.low, entry.value, entry.high) if one is not None and not entry.times]
        assert all(0 < one < 1 for one in ends), entry.id
        of_peft = entry.source.key in ("peft", "peft-comparison")
        assert all(one <= 0.1 for one in ends) or of_peft, entry.id


def test_every_kind_of_figure_is_there() -> None:
    counts = Counter(entry.kind for entry in evidence().values())
    assert set(counts) == set(KINDS)
    assert counts["shipped"] > 400
    assert len(sources()) > 60


# What the survey lists as shipped (its section 2), row by row: source, task, PEFT type, parameters, learning rate.
ROWS = [
    ("alignment-handbook", "sft", "none", 7e9, 2e-5),
    ("alignment-handbook", "sft", "none", 3e9, 2e-5),
    ("alignment-handbook", "sft", "none", 1.7e9, 3e-4),
    ("alignment-handbook", "sft", "none", 1.35e8, 1e-3),
    ("alignment-handbook", "sft", "none", 3.6e8, 1e-3),
    ("open-r1", "sft", "none", 7e9, 4e-5),
    ("open-r1", "sft", "none", 7e9, 1e-5),
    ("open-r1", "sft", "none", 3.2e10, 4e-5),
    ("open-instruct", "sft", "none", 8e9, 5e-6),
    ("open-instruct", "sft", "none", 7e10, 2e-6),
    ("open-instruct", "sft", "none", 7e9, 1e-5),
    ("open-instruct", "sft", "none", 1.3e10, 6e-6),
    ("olmo-core", "sft", "none", 7e9, 8e-5),
    ("olmo-core", "sft", "none", 7e9, 2.5e-5),
    ("trl", "sft", "none", 5e8, 2e-5),
    ("llama-factory", "sft", "none", 4e9, 1e-5),
    ("llama-factory", "sft", "none", 6e8, 1e-4),
    ("axolotl", "sft", "none", 8e9, 2e-5),
    ("axolotl", "sft", "none", 2.7e10, 2e-4),
    ("axolotl", "sft", "none", 7e9, 5e-6),
    ("torchtune", "sft", "none", 8e9, 2e-5),
    ("torchtune", "sft", "none", 7e9, 5e-6),
    ("litgpt", "sft", "none", None, 2e-4),
    ("transformers", "sft", "none", 1.1e8, 2e-5),
    ("transformers", "sft", "none", 1.1e8, 5e-5),
    ("alignment-handbook", "sft", "qlora", 7e9, 2e-4),
    ("trl", "sft", "lora", 5e8, 2e-4),
    ("llama-factory", "sft", "lora", 4e9, 1e-4),
    ("llama-factory", "sft", "qlora", 8e9, 1e-4),
    ("axolotl", "sft", "lora", 8e9, 2e-4),
    ("axolotl", "sft", "qlora", 7e9, 2e-4),
    ("torchtune", "sft", "lora", 8e9, 3e-4),
    ("torchtune", "sft", "qlora", 7e9, 3e-4),
    ("torchtune", "sft", "lora", 2e9, 2e-5),
    ("torchtune", "sft", "lora", 5e8, 2e-3),
    ("litgpt", "sft", "lora", 7e9, 2e-4),
    ("peft", "sft", "lora", None, 1e-4),
    ("unsloth-notebooks", "sft", "lora", None, 2e-4),
    ("open-instruct", "sft", "lora", None, 1e-4),
    ("open-instruct", "sft", "qlora", None, 1e-4),
    ("smollm", "sft", "lora", None, 3e-4),
    ("mlx-lm", "sft", "lora", None, 1e-5),
    ("alignment-handbook", "preference", "none", 7e9, 5e-7),
    ("alignment-handbook", "preference", "none", 3e9, 1e-6),
    ("alignment-handbook", "preference", "none", 1.41e11, 5e-6),
    ("open-instruct", "preference", "none", 8e9, 5e-7),
    ("open-instruct", "preference", "none", 4.05e11, 2e-7),
    ("torchtune", "preference", "none", 8e9, 2e-5),
    ("axolotl", "preference", "none", 5e8, 2e-4),
    ("alignment-handbook", "preference", "qlora", 7e9, 5e-6),
    ("llama-factory", "preference", "lora", 4e9, 5e-6),
    ("tinker-cookbook", "preference", "lora", None, 1e-5),
    ("axolotl", "preference", "lora", 8e9, 2e-4),
    ("torchtune", "preference", "lora", 8e9, 5e-4),
    ("open-instruct", "rl", "none", 8e9, 3e-7),
    ("open-instruct", "rl", "none", 7e10, 1e-7),
    ("trl", "preference", "none", None, 1e-6),
    ("trl", "rl", "none", None, 1e-6),
    ("trl", "reward", "none", None, 1e-4),
    ("smollm", "pretrain", "none", 1.35e8, 3e-3),
    ("smollm", "pretrain", "none", 3.6e8, 3e-3),
    ("smollm", "pretrain", "none", 1.7e9, 5e-4),
    ("smollm", "pretrain", "none", 3e9, 2e-4),
    ("smollm", "continue", "none", 3e9, 2e-5),
    ("smollm", "continue", "none", 3e9, 5e-5),
    ("olmo-core", "pretrain", "none", 7e9, 3e-4),
    ("olmo-core", "pretrain", "none", 1.3e10, 3e-4),
    ("olmo-core", "pretrain", "none", 3.2e10, 6e-4),
    ("olmo-core", "continue", "none", None, 2.0712e-4),
    ("torchtitan", "pretrain", "none", 8e9, 3e-4),
    ("torchtitan", "pretrain", "none", 7e10, 1.5e-4),
    ("torchtitan", "pretrain", "none", 4.05e11, 8e-5),
    ("torchtitan", "pretrain", "none", 6.71e11, 2.2e-4),
    ("deepseek-v2", "pretrain", "none", 1.6e10, 4.2e-4),
    ("litgpt", "pretrain", "none", 1.1e9, 4e-4),
]


@pytest.mark.parametrize(("source", "task", "peft", "parameters", "lr"), ROWS)
def test_what_the_survey_lists_is_there(source: str, task: str, peft: str, parameters: float | None, lr: float) -> None:
    found = [
        entry
        for entry in about("learning_rate")
        if entry.source.key == source and entry.value == lr and entry.kind == "shipped"
        if task in entry.when["task"] and peft in entry.when["peft"]
        if parameters is None or entry.when.get("parameters") == (parameters, parameters)
    ]
    assert found


# Runs, their parameters that are no embeddings, their tokens, and what three laws say of them (the survey, section 3.8).
RUNS = [
    ("SmolLM 135M", 1.06e8, 0.6e12, 1.4e-2, 8.3e-4, 4.7e-3),
    ("SmolLM2 360M", 3.15e8, 4e12, 1.2e-2, 5.7e-4, 3.3e-3),
    ("SmolLM2 1.7B", 1.61e9, 11e12, 4.9e-3, 4.1e-4, 1.9e-3),
    ("SmolLM3 3B", 2.81e9, 11e12, 3.3e-3, 3.9e-4, 1.6e-3),
    ("Llama-3 8B", 7.50e9, 15e12, 1.8e-3, 3.3e-4, 1.1e-3),
    ("OLMo-3 7B", 6.89e9, 5e12, 1.4e-3, 3.8e-4, 1.2e-3),
    ("OLMo-3 32B", 3.17e10, 5.5e12, 4.7e-4, 3.1e-4, 7.1e-4),
    ("Llama-3 70B", 6.95e10, 15e12, 3.7e-4, 2.5e-4, 5.4e-4),
]


@pytest.mark.parametrize(("run", "parameters", "tokens", "step", "deepseek", "porian"), RUNS)
def test_the_laws_say_of_real_runs_what_the_survey_found(
    run: str, parameters: float, tokens: float, step: float, deepseek: float, porian: float
) -> None:
    inputs = {"parameters": parameters, "tokens": tokens, "tokens_per_parameter": tokens / parameters}
    said = {name: evidence()[name].figure(inputs) for name in ("step-law", "deepseek-llm", "porian", "olmo-ladder")}
    # Two digits; the StepLaw column is the median of 1000 bootstrap fits, the formula its rounded constants.
    assert said["deepseek-llm"] == pytest.approx(deepseek, rel=0.02)
    assert said["porian"] == pytest.approx(porian, rel=0.05)
    assert said["step-law"] == pytest.approx(step, rel=0.05)
    assert said["olmo-ladder"] == pytest.approx(porian / 2, rel=0.05)


def test_three_laws_agree_within_a_factor_of_about_2_where_two_of_them_hold() -> None:
    inputs = {"parameters": 1e9, "tokens": 1e11, "tokens_per_parameter": 100.0}
    said = [evidence()[name].figure(inputs) or 0.0 for name in ("step-law", "deepseek-llm", "olmo-ladder")]
    assert said == pytest.approx([1.6e-3, 7.8e-4, 1.1e-3], rel=0.03)


@pytest.mark.parametrize(("size", "shipped"), [("7b", 6.9e9), ("67b", 6.7e10)])
def test_deepseek_used_what_its_law_says(size: str, shipped: float) -> None:
    used = evidence()[f"deepseek-llm-{size}"]
    said = evidence()["deepseek-llm"].figure({"parameters": shipped, "tokens": used.when["tokens"][0]})
    assert said == pytest.approx(used.value, rel=0.02)


@pytest.mark.parametrize(
    ("entry", "hidden", "lr"),
    [
        ("tinker-llama-lora", 2048, 4.9e-4),
        ("tinker-llama-lora", 8192, 1.66e-4),
        ("tinker-qwen-lora", 4096, 4.73e-4),
        ("tinker-llama-full", 2048, 4.9e-5),
        ("tinker-qwen-full", 4096, 4.73e-5),
    ],
)
def test_the_formulas_for_fine_tuning_say_what_their_source_says(entry: str, hidden: float, lr: float) -> None:
    assert evidence()[entry].figure({"hidden": hidden}) == pytest.approx(lr, rel=0.01)


def test_every_law_has_a_box() -> None:
    laws = [entry for entry in about("learning_rate") if entry.kind == "law"]
    assert len(laws) >= 8
    for law in laws:
        boxes = [ends for ends in law.when.values() if isinstance(ends[0], float | int) and ends[0] < ends[1]]
        assert boxes, law.id


def test_what_is_faulty_says_why_and_the_named_ones_are() -> None:
    faulty = [entry.faulty for entry in evidence().values() if entry.faulty]
    assert all(len(reason) > 15 for reason in faulty)
    for rule in ("LR001", "LR002", "LR003", "LR004", "LR009", "LR015", "LR016", "LR022"):
        assert any(rule in reason for reason in faulty), rule


@pytest.mark.parametrize(
    ("entry", "inputs", "steps"),
    [
        ("warmup-corrected", {"steps": 500.0}, 50),
        ("warmup-corrected", {"steps": 1500.0}, 100),
        ("warmup-corrected", {"steps": 10_000.0}, 500),
        ("warmup-corrected", {"steps": 1e6}, 2000),
        ("warmup-axolotl", {"steps": 1000.0}, 30),
        ("warmup-axolotl", {"steps": 1e5}, 100),
        ("warmup-porian", {"parameters": 1.08e8, "batch_tokens": 2.0**19}, 206),
    ],
)
def test_warmups_are_as_long_as_their_rules_say(entry: str, inputs: dict[str, float], steps: float) -> None:
    assert evidence()[entry].figure(inputs) == pytest.approx(steps, rel=1e-3)


@pytest.mark.parametrize(
    ("peft", "lr"),
    [
        ("full", 1e-5),
        ("miss", 1e-4),
        ("shira", 3e-4),
        ("hira", 4.5e-3),
        ("c3a", 0.3),
        ("trainable-tokens", 0.2),
        ("osf", 5e-5),
    ],
)
def test_peft_types_were_run_at(peft: str, lr: float) -> None:
    one = evidence()[f"peft-{peft}"]
    assert (one.value, one.kind, one.faulty) == (lr, "measured", "")
    assert "% right" in one.note
