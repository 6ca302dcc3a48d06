"""Schedules: their names, words, floors, lengths and ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hf_lrsched.advice.lint import Configuration, judge
from hf_lrsched.advice.lint.rules.arguments import kwargs_of

from .folder import sentences

RUN: dict[str, Any] = {"learning_rate": 1e-4, "max_steps": 1000}


def found(settings: dict[str, Any], *, form: Any = "transformers") -> dict[str, str]:
    """What is said of a run with these settings, by rule; notes left out."""
    told = judge(Configuration.of({**RUN, **settings}, form=form))
    return {remark.rule: remark.sentence for remark in told if remark.level != "note"}


def scheduled(name: str, form: Any = "transformers", **kwargs: Any) -> dict[str, str]:
    return found({"lr_scheduler_type": name, "lr_scheduler_kwargs": kwargs}, form=form)


@pytest.mark.parametrize(
    "told",
    [
        {"lr_scheduler_type": "cosine"},
        {"lr_scheduler_type": "cosine", "lr_scheduler_kwargs": {"num_cycles": 0.5}},
        {"lr_scheduler_type": "cosine", "lr_scheduler_kwargs": '{"num_cycles": 0.45}'},
        {"lr_scheduler_type": "cosine", "lr_scheduler_kwargs": {"num_cycles": 1.5}},  # two waves, and down at the end
        {"lr_scheduler_type": "cosine_with_restarts", "lr_scheduler_kwargs": {"num_cycles": 4}},
        {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr_rate": 0.1}},
        {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr": 1e-4}},  # flat, and not above
        {"lr_scheduler_type": "polynomial", "lr_scheduler_kwargs": {"lr_end": 1e-6, "power": 2}},
        {"lr_scheduler_type": "warmup_stable_decay", "lr_scheduler_kwargs": {"num_decay_steps": 200}},
        {"lr_scheduler_type": "my_own_schedule", "lr_scheduler_kwargs": {"anything": 1}},
        {"lr_scheduler_type": "reduce_lr_on_plateau", "lr_scheduler_kwargs": {"factor": 0.5}, "eval_strategy": "epoch"},
        {"lr_scheduler_type": "constant", "lr_scheduler_kwargs": {}},
        {"lr_scheduler_type": "constant", "lr_scheduler_kwargs": None},
    ],
)
def test_what_is_sound_is_left_in_peace(told: dict[str, Any]) -> None:
    assert found(told) == {}


@pytest.mark.parametrize(
    "told",
    [
        {"lr_scheduler_type": "wsd", "lr_scheduler_kwargs": {"decay": "20%", "on_resume": "glide", "resume_steps": 10}},
        {"lr_scheduler_type": "wsd", "lr_scheduler_kwargs": {"decay": "2 epochs"}},
        {"lr_scheduler_type": "wsd", "lr_scheduler_kwargs": {"decay": "1.5B tokens", "tokens_per_step": 10_000_000}},
        {"lr_scheduler_type": "wsd", "lr_scheduler_kwargs": {"num_decay_steps": 200, "min_lr": "1e-6"}},
        {"lr_scheduler_type": "warmup_cosine", "lr_scheduler_kwargs": {"min_lr_ratio": 0.1}, "warmup_steps": 0.05},
        {"lr_scheduler_type": "one_cycle", "resume_from_checkpoint": "out/checkpoint-5"},  # ours has a policy for it
    ],
)
def test_ours_that_is_sound_is_left_in_peace(told: dict[str, Any]) -> None:
    assert found(told, form="hf_lrsched") == {}


@pytest.mark.parametrize(
    ("name", "kwargs", "words"),
    [
        ("cosine", {"num_cycle": 1}, "cosine takes no 'num_cycle' (did you mean num_cycles?)"),
        ("linear", {"power": 2}, "linear takes no 'power' (it takes nothing)"),
        ("polynomial", {"num_warmup_steps": 2}, "Trainer itself gives num_warmup_steps"),
        ("warmup_stable_decay", {}, "needs num_decay_steps"),
        ("cosine_with_min_lr", {}, "needs one of min_lr and min_lr_rate and has none"),
        ("cosine_with_min_lr", {"min_lr": 1e-6, "min_lr_rate": 0.1}, "has min_lr and min_lr_rate"),
    ],
)
def test_what_a_schedule_refuses_is_told(name: str, kwargs: dict[str, Any], words: str) -> None:
    said = scheduled(name, **kwargs)
    assert set(said) == {"LR028"}
    assert words in said["LR028"]


@pytest.mark.parametrize(
    ("told", "rule"),
    [
        ({"lr_scheduler_type": "cosine_with_min_lr"}, "LR028"),
        ({"lr_scheduler_type": "warmup_stable_decay"}, "LR028"),
        ({"lr_scheduler_type": "reduce_lr_on_plateau"}, "LR029"),
    ],
)
def test_what_is_absent_is_a_fault_only_where_all_is_read(told: dict[str, Any], rule: str) -> None:
    one = Configuration.of({**RUN, **told})
    assert [remark.rule for remark in judge(one)] == [rule]
    assert judge(one.but(partial=True)) == []


def test_what_is_written_is_a_fault_of_a_part_too() -> None:
    for told, rule in (
        ({"lr_scheduler_type": "cosine", "lr_scheduler_kwargs": {"min_lr": 1e-6}}, "LR028"),
        ({"lr_scheduler_type": "reduce_lr_on_plateau", "eval_strategy": "no"}, "LR029"),
    ):
        assert [one.rule for one in judge(Configuration.of({**RUN, **told}, partial=True))] == [rule]


def test_llamafactory_gives_wsd_its_decay_itself() -> None:
    assert scheduled("warmup_stable_decay", "llamafactory") == {}


def test_what_the_catalogue_refuses_is_told_in_its_words() -> None:
    assert "wsd does not know 'decai'; did you mean 'decay'?" in scheduled("wsd", "hf_lrsched", decai=0.1)["LR028"]
    assert "1000" in scheduled("wsd", "hf_lrsched", decay=2000)["LR028"]


@pytest.mark.parametrize(
    ("name", "kwargs", "words"),
    [
        (
            "cosine_with_min_lr",
            {"min_lr": 1e-3},
            "min_lr is 0.001, above learning_rate 0.0001, so the learning rate ends at 0.001",
        ),
        ("cosine_with_min_lr", {"min_lr_rate": 2}, "min_lr_rate is 2 times the peak, so the learning rate ends at 0.0002"),
        ("polynomial", {"lr_end": 1e-3}, "which Transformers refuses before the first step"),
        ("greedy", {}, "min_lr (by default) is 0.001, above learning_rate 0.0001, so the learning rate can only rise"),
    ],
)
def test_a_floor_above_the_peak_is_told_with_where_it_leads(name: str, kwargs: dict[str, Any], words: str) -> None:
    said = found({"lr_scheduler_type": name, "lr_scheduler_kwargs": kwargs, "eval_strategy": "steps"})
    assert words in said["LR023"]


def test_our_floor_above_the_peak_is_told_once() -> None:
    assert set(scheduled("warmup_cosine", "hf_lrsched", min_lr=1e-3)) == {"LR023"}


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("lr_scheduler: cosine\ncosine_min_lr_ratio: 1.5\n", "LR023"),
        ("lr_scheduler: linear\ncosine_min_lr_ratio: 0.1\n", "LR007"),
        ("lr_scheduler: one_cycle\nauto_resume_from_checkpoints: true\n", "LR026"),
        ("lr_scheduler: cosine\nlr_scheduler_kwargs:\n  num_cycles: 1\n", "LR025"),
        ("lr_scheduler: cosine\ncosine_min_lr_ratio: 0.1\nauto_resume_from_checkpoints: true\n", ""),
        ("lr_scheduler: one_cycle\nresume_from_checkpoint:\n", ""),
    ],
)
def test_axolotls_own_words(tmp_path: Path, text: str, rule: str) -> None:
    start = "base_model: Qwen/Qwen3-8B\nmicro_batch_size: 2\nnum_epochs: 1\nsequence_len: 2048\nlearning_rate: 0.00002\n"
    for one in ("LR007", "LR023", "LR025", "LR026"):
        assert bool(sentences(tmp_path, start + text, one)) == (one == rule)


@pytest.mark.parametrize(
    ("kwargs", "warmup", "words"),
    [
        ({"num_decay_steps": 0.2}, 0, "num_decay_steps 0.2 is less than a step"),
        (
            {"num_decay_steps": 950},
            100,
            "warm-up 100 and decay 950 take 1050 steps of a run of 1000, so it decays from below its peak",
        ),
        ({"num_decay_steps": 600, "num_stable_steps": 500}, 0, "so the last 100 steps of the decay are never taken"),
        (
            {"num_decay_steps": 100, "num_stable_steps": 500},
            100,
            "take 700 of 1000 steps; the other 300 run at the lowest LR",
        ),
    ],
)
def test_wsd_that_is_not_as_long_as_the_run_is_told(kwargs: dict[str, Any], warmup: int, words: str) -> None:
    said = found({"lr_scheduler_type": "warmup_stable_decay", "lr_scheduler_kwargs": kwargs, "warmup_steps": warmup})
    assert words in said["LR019"]


@pytest.mark.parametrize(("waves", "end"), [(1, "100%"), (0.75, "50%"), (2, "100%")])
def test_a_cosine_that_ends_up_is_told_with_where(waves: float, end: str) -> None:
    assert f"ends at {end} of its way up to the peak" in scheduled("cosine", num_cycles=waves)["LR025"]


def test_a_name_that_is_nearly_another_is_told_and_one_that_is_not_is_somebodys_own() -> None:
    assert "LR030" in found({"lr_scheduler_type": "SchedulerType.COSINE_WITH_RESTARTS"})
    assert "LR030" in found({"lr_scheduler_type": "warmup_stable_deca"})
    assert found({"lr_scheduler_type": "tri_stage"}) == {}


@pytest.mark.parametrize(("typed", "read"), [('{"a": 1}', {"a": 1}), ("{", {}), ("[1]", {}), (None, {}), (3, {})])
def test_words_are_read_from_json_where_they_are_text(typed: Any, read: dict[str, Any]) -> None:
    assert kwargs_of(Configuration.of({"lr_scheduler_kwargs": typed})) == read
