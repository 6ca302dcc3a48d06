"""Laws of every rule that is listed: a rule is tested by being listed."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from hf_lrsched.advice.lint import RULES, Configuration, Rule, judge
from hf_lrsched.advice.lint.configuration import TRAINERS, UNKNOWN, Setting
from hf_lrsched.advice.lint.fixing import mended
from hf_lrsched.advice.lint.remark import LEVELS

from .folder import remarks

every_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)


@every_rule
def test_a_rule_has_a_number_a_name_and_a_source(rule: type[Rule]) -> None:
    assert re.fullmatch(r"LR\d{3}", rule.id)
    assert re.fullmatch(r"[a-z0-9-]+", rule.name)
    assert rule.level in LEVELS
    assert len(rule.source) > 10
    assert len(rule.example.seen) > 10
    assert rule.__doc__
    assert rule.__doc__.strip().endswith(".")


def test_no_two_rules_have_one_number_or_name() -> None:
    assert [rule.id for rule in RULES] == sorted({rule.id for rule in RULES})
    assert len({rule.name for rule in RULES}) == len(RULES)


@every_rule
def test_a_rule_finds_its_example_and_says_where_and_what(rule: type[Rule], tmp_path: Path) -> None:
    example = rule.example
    found = remarks(tmp_path, {example.file: example.text, **example.beside}, rule.id)
    assert found
    for one in found:
        assert one.name == rule.name
        assert one.level in LEVELS
        assert 1 <= one.line <= len(example.text.splitlines())
        assert Path(one.file) == tmp_path / example.file
        assert one.source == rule.source
        assert len(one.sentence) > 20
        assert one.sentence[-1] not in ".,;"
        assert one.advice
        assert one.advice[-1] not in ".,;"
        assert json.loads(json.dumps(one.to_dict()))["rule"] == rule.id


@every_rule
def test_a_rule_finds_nothing_where_the_fault_is_mended(rule: type[Rule], tmp_path: Path) -> None:
    assert not remarks(tmp_path, {rule.example.file: rule.example.mended, **rule.example.beside}, rule.id)


@every_rule
def test_a_fix_leaves_nothing_of_its_rule_behind(rule: type[Rule], tmp_path: Path) -> None:
    example = rule.example
    found = remarks(tmp_path, {example.file: example.text, **example.beside}, rule.id)
    if not any(one.fix for one in found):
        pytest.skip("the rule has no fix")
    text = mended(example.text, [one.fix for one in found if one.fix]).text
    assert text != example.text
    assert not remarks(tmp_path, {example.file: text}, rule.id)


@every_rule
@pytest.mark.parametrize("form", TRAINERS)
def test_a_rule_says_nothing_of_what_is_empty_or_unknown(rule: type[Rule], form: str) -> None:
    """Every name that a rule asks for set to something that only a template knows: no finding, and no crash."""
    empty = Configuration(form)  # type: ignore[arg-type]  # one of TRAINERS
    names = ("learning_rate", "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps", "max_steps", "r", "alpha", "optim")
    unknown = empty.but(settings={name: Setting(name, UNKNOWN, "${x}", name, 1, 1, f"{name}: ${{x}}") for name in names})
    for known in ({}, {"task": "sft", "peft": "full"}, {"task": "preference", "peft": "lora", "parameters": 8e9}):
        for one in (empty, unknown):
            assert [found for found in judge(replace(one, **known), rules=[rule]) if found.level != "note"] == [] or (
                form == "llamafactory" and "learning_rate" not in one
            )


STRANGE = (
    None,
    True,
    "",
    "auto",
    "2e-5",
    -1,
    0,
    0.5,
    1.0,
    1.5,
    1e400,
    float("nan"),
    [1],
    {"min_lr": "x"},
    {1: 2},
    "{",
    UNKNOWN,
)


@every_rule
@pytest.mark.parametrize("form", [*TRAINERS, "deepspeed", "accelerate"])
def test_no_value_breaks_a_rule(rule: type[Rule], form: str) -> None:
    names = (
        *("learning_rate", "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps", "warmup_ratio", "max_steps", "r"),
        *("alpha", "optim", "weight_decay", "min_lr", "min_lr_rate", "num_processes", "per_device_train_batch_size"),
        *("scheduler_total_steps", "scheduler_steps_per_update", "resume_from_checkpoint", "eval_strategy", "deepspeed"),
    )
    usual = {"learning_rate": 2e-5, "lr_scheduler_type": "cosine", "warmup_steps": 10, "max_steps": 100}
    for name in names:
        for value in STRANGE:
            one = Configuration.of({**usual, name: value}, form=form, task="sft", peft="lora")  # type: ignore[arg-type]  # a form
            for found in judge(one, siblings=[one], rules=[rule]):
                assert found.sentence
