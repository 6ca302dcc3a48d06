"""Numbers that are text, comments that say otherwise, and what is not written at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from .folder import remarks, sentences

PLAIN = "per_device_train_batch_size: 8\nlr_scheduler_type: cosine\nnum_train_epochs: 1\n"


@pytest.mark.parametrize(
    ("written", "new"),
    [
        ("2e-5", "2.0e-5"),
        ("1E-4", "1.0e-4"),
        ('"0.00002"', "0.00002"),
        ("'2e-5'", "2.0e-5"),
        ("5e4", "5.0e+4"),
    ],
)
def test_text_is_told_with_the_number_that_was_meant(tmp_path: Path, written: str, new: str) -> None:
    [found] = remarks(tmp_path, f"{PLAIN}learning_rate: {written}  # why\n", "LR006")
    assert found.fix is not None
    assert (found.fix.new, found.fix.safe) == (f"learning_rate: {new}  # why", True)


@pytest.mark.parametrize("written", ["2.0e-5", "0.00002", "3.e-4", "5", "auto", "${LR}", "!!float 2e-5"])
def test_numbers_and_what_is_none_are_left(tmp_path: Path, written: str) -> None:
    assert sentences(tmp_path, f"{PLAIN}learning_rate: {written}\n", "LR006") == []


@pytest.mark.parametrize(
    "text",
    [
        f"{PLAIN}learning_rate: 2e-5\ndataset_name: trl-lib/Capybara\npacking: true\n",
        "base_model: Qwen/Qwen3-8B\nmicro_batch_size: 2\nnum_epochs: 1\nsequence_len: 512\nlearning_rate: 2e-5\n",
        f"{PLAIN}stage: sft\nfinetuning_type: full\ntemplate: qwen\ncutoff_len: 512\nlearning_rate: 2e-5\n",
        "model:\n  _component_: torchtune.models.llama2.llama2_7b\noptimizer:\n  _component_: torch.optim.AdamW\n  lr: 2e-5\n"
        "epochs: 1\nbatch_size: 2\n",
    ],
    ids=["trl", "axolotl", "llamafactory", "torchtune"],
)
def test_readers_that_make_a_number_of_it_are_left_in_peace(tmp_path: Path, text: str) -> None:
    assert sentences(tmp_path, text, "LR006") == []


def test_text_over_lines_is_told_for_what_it_is(tmp_path: Path) -> None:
    [said] = sentences(tmp_path, f"{PLAIN}learning_rate: >-\n  2e-5\n", "LR006")
    assert said.startswith("learning_rate: 2e-5 is text for the > before it")


def test_on_a_command_line_it_is_a_number(tmp_path: Path) -> None:
    command = "python run_clm.py --per_device_train_batch_size 8 --num_train_epochs 1 --lr_scheduler_type cosine"
    assert sentences(tmp_path, {"run.sh": f"{command} --learning_rate 2e-5\n"}, "LR006") == []


def test_a_word_of_a_schedule_is_text_too_even_for_trl(tmp_path: Path) -> None:
    text = f"{PLAIN.replace('cosine', 'cosine_with_min_lr')}learning_rate: 2.0e-5\nlr_scheduler_kwargs:\n  min_lr: 1e-6\n"
    for more in ("", "dataset_name: x\npacking: true\n"):
        [found] = remarks(tmp_path, text + more, "LR006")
        assert found.fix is not None
        assert found.fix.new == "  min_lr: 1.0e-6"


def test_our_schedules_read_it_as_a_number(tmp_path: Path) -> None:
    text = f"{PLAIN.replace('cosine', 'wsd')}learning_rate: 2.0e-5\nlr_scheduler_kwargs:\n  min_lr: 1e-6\n"
    assert sentences(tmp_path, text, "LR006") == []


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("learning_rate: 1.0e-3 # 3e-4", True),
        ("learning_rate: 1.0e-3 # 0.001", False),
        ("learning_rate: 1.0e-3 # was 3e-4", False),
        ("learning_rate: 1.0e-3 # best of 3", False),
        ("learning_rate: 1.0e-3", False),
    ],
)
def test_a_comment_that_is_another_number_is_worth_knowing(tmp_path: Path, line: str, told: bool) -> None:
    found = remarks(tmp_path, f"{PLAIN}{line}\n", "LR017")
    assert [one.level for one in found] == (["note"] if told else [])


@pytest.mark.parametrize(
    ("device", "waits", "told"),
    [
        ("1 # note, this is set up for 8 GPUs", "2 # effective batch size 128 with 1 node", "are 16"),
        ("1 # note, this is set up for 8 GPUs", "4 # effective batch size 128 with 4 nodes", ""),
        ("1 # on 8 GPUs", "16 # effective batch size 128", ""),
        ("1 # on 8 GPUs", "8 # effective batch size 128", "are 64"),
        ("16 # on 8 GPUs", "8 # effective batch size 1,024", ""),
        ("16 # on 8 GPUs", "8 # effective batch size 1_024", ""),
        ("16 # on 8 GPUs", "4 # effective batch size 1,024, as before", "a batch size of 1,024 and"),
        ("4 # on 8 GPUs", "8 # global batch size 0.5M tokens", ""),
        ("4 # on 8 GPUs", "8 # global batch size 128k", ""),
        ("4 # on 8 GPUs", "8 # global batch size 1024 tokens", ""),
        ("4 # fits on 1 GPU", "8 # effective batch size 256", ""),
        ("4 # 1 GPU holds it", "8 # effective batch size 256", ""),
        ("1", "2 # effective batch size 128", ""),  # on how many devices?
        ("1 # 4 GPUs", "2 # on 8 GPUs effective batch size 128", ""),  # on which?
        ("4 # 8 GPUs", "1 # the larger the better", ""),
    ],
)
def test_a_batch_size_that_is_not_the_one_stated_is_told(tmp_path: Path, device: str, waits: str, told: str) -> None:
    text = f"per_device_train_batch_size: {device}\ngradient_accumulation_steps: {waits}\nlearning_rate: 5.0e-6\n"
    said = sentences(tmp_path, f"{text}num_train_epochs: 2\nlr_scheduler_type: linear\n", "LR010")
    assert bool(said) == bool(told)
    assert all(told in one for one in said)
