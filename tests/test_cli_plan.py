"""``hf-lrsched plan``: what it prints, its JSON, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hf_lrsched import from_spec, recommend
from hf_lrsched.cli.planning import plan

PRESETS = sorted((Path(__file__).parents[1] / "recipes" / "presets").glob("*.yaml"))

GOLDEN = """\
schedule:  wsd (decay=0.2)
steps:     1,000 (max_steps, 0.64 epochs of 1563)
warm-up:   100 steps (0.1 of the run; hf_lrsched's default)
peak:      0.0003, from step 100 (learning_rate)
phases:    warmup 100, stable 700, decay 200
tokens:    65,536 a step, 65,536,000 in all

  step  phase   learning rate
     0  warmup              0
   100  stable         0.0003
   800  decay          0.0003
   999  (last)     7.5094e-07

▁▂▃▅▆██████████████████████████████████████████▆▅▄▄▃▃▂▂▁▁▁▁▁  0 to 0.0003

error: learning_rte is no argument of TrainingArguments; did you mean learning_rate?
warning: max_steps=1000 and num_train_epochs=3 are both given; max_steps wins, so remove num_train_epochs (or max_steps)

not looked at: model_name_or_path, dataset_name
"""
CONFIG = """\
model_name_or_path: gpt2
dataset_name: wiki
learning_rate: 3e-4
learning_rte: 1
lr_scheduler_type: wsd
lr_scheduler_kwargs:
  decay: 0.2
num_train_epochs: 3
max_steps: 2000
block_size: 1024
bf16: true
"""


def call(*words: str) -> Result:
    result = CliRunner().invoke(plan, words)
    assert result.exception is None or isinstance(result.exception, SystemExit)  # a sentence, and no traceback
    return result


@pytest.fixture
def config(tmp_path: Path) -> str:
    (tmp_path / "run.yaml").write_text(CONFIG)
    return str(tmp_path / "run.yaml")


def test_everything_is_told_in_one_table(config: str) -> None:
    done = call(config, "--max-steps=1000", "--examples", "100000", "--processes", "8")
    assert (done.output, done.exit_code) == (GOLDEN, 1)


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)
def test_every_preset_can_be_planned(preset: Path) -> None:
    for form in ("human", "json"):
        done = call(str(preset), "--examples", "100000", "--processes", "2", "--format", form)
        assert done.exit_code == 0, done.output
        assert "error" not in done.output


def test_json_is_one_object_with_the_same(config: str) -> None:
    done = call(config, "--max_steps", "1000", "--format", "json", "--examples", "100000", "--processes", "8")
    assert done.exit_code == 1
    data = json.loads(done.output)
    assert (data["schedule"], data["steps"], data["warmup"], data["peak"], data["peak_step"]) == ("wsd", 1000, 100, 3e-4, 100)
    assert (data["tokens_per_step"], data["tokens"], data["tokens_at_most"]) == (65536, 65_536_000, False)
    assert data["phases"] == [
        {"name": "warmup", "steps": 100},
        {"name": "stable", "steps": 700},
        {"name": "decay", "steps": 200},
    ]
    assert data["key_steps"][1] == {"step": 100, "phase": "stable", "learning_rate": 3e-4}
    assert from_spec(data["spec"]).total == 1000
    assert [(one["kind"], one["name"]) for one in data["problems"]] == [("error", "misspelt"), ("warning", "epochs_ignored")]
    assert data["not_looked_at"] == ["model_name_or_path", "dataset_name"]


def test_json_has_no_nan() -> None:
    data = json.loads(call("--max_steps", "10", "--learning_rate", "nan", "--format", "json").output)
    assert (data["learning_rate"], data["peak"], data["spec"]) == (None, None, None)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--max_steps", "100"), 0),
        (("--max_steps", "100", "--strict"), 0),
        (("--max_steps", "100", "--warmup_steps", "60"), 0),
        (("--max_steps", "100", "--warmup_steps", "60", "--strict"), 1),
        (("--max_steps", "100", "--warmup_steps", "100"), 1),
        (("--learning_rate", "1e-4"), 1),
        (("--examples", "100"), 0),
        (("--examples", "100", "--arguments_class", "trl.SFTConfig", "--max_length", "512"), 0),
    ],
)
def test_exit_codes_are_fit_for_ci(words: tuple[str, ...], code: int) -> None:
    assert call(*words).exit_code == code


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "give a CONFIG, trainer flags, or both"),
        (("nowhere.yaml",), "there is no file nowhere.yaml"),
        (("--config", "nowhere.yaml"), "there is no file nowhere.yaml"),
        (("a.yaml", "b.yaml"), "a.yaml b.yaml: there is one CONFIG, and an argument is --NAME VALUE"),
        (("learning_rate=1e-5",), "learning_rate=1e-5: there is one CONFIG, and an argument is --NAME VALUE"),
        (("--use_peft", "run.yaml"), "--use_peft run.yaml: is that the CONFIG? Write it first"),
        (("--max_steps", "many"), "invalid int value: 'many'"),
        (("--max_steps", "5", "--examples", "0"), "0 is not in the range x>=1"),
        (("--max_steps", "5", "--format", "xml"), "'xml' is not one of"),
        (("--max_steps", "5", "--arguments_class", "os.path"), "'os.path' is not a class under transformers or trl"),
    ],
)
def test_what_cannot_be_read_is_a_usage_error(words: tuple[str, ...], sentence: str) -> None:
    done = call(*words)
    assert done.exit_code == 2
    assert sentence in done.output


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("a.yaml", "a: [", "a.yaml cannot be read: "),
        ("a.json", "{", "a.json cannot be read: "),
        ("a.yaml", "- 1", "a.yaml holds a list, not settings such as"),
        ("a.yaml", "", "a.yaml holds a NoneType, not settings such as"),
        ("a.yaml", "train:\n  lr: 1\n", "none of the settings is an argument of TrainingArguments (train, ...)"),
    ],
)
def test_a_file_that_is_no_configuration(name: str, text: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    done = call(str(tmp_path / name))
    assert done.exit_code == 1
    assert sentence in done.output


@pytest.mark.parametrize("words", [("{}", "--max_steps=7"), ("--max_steps=7", "{}"), ("--config", "{}", "--max-steps", "7")])
def test_the_file_stands_anywhere_and_flags_win(words: tuple[str, ...], tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    file.write_text('{"max_steps": 9, "learning_rate": 1e-3}')
    assert "steps:     7 (max_steps)\nwarm-up:   none\npeak:      0.001," in call(*(w.format(file) for w in words)).output


def test_schedules_that_follow_the_loss_say_so() -> None:
    output = call("--max_steps", "10", "--lr_scheduler_type", "greedy", "--eval_strategy", "epoch").output
    assert "peak:      5e-05 at first (the default of TrainingArguments)\nphases:    the held-out loss decides 10\n" in output


def test_long_lists_of_phases_are_cut() -> None:
    words = (
        "--max_steps",
        "1000",
        "--lr_scheduler_type",
        "cosine_with_restarts",
        "--lr_scheduler_kwargs",
        '{"num_cycles": 20}',
    )
    assert "phases:    cycle 1 50, cycle 2 50, " in call(*words).output
    assert "cycle 8 50, ... 12 more\n" in call(*words).output


def test_help_has_an_example_of_each_way() -> None:
    done = CliRunner().invoke(plan, ["--help"])
    assert done.exit_code == 0
    for example in ("presets/pretrain.yaml --examples", "--arguments_class trl.SFTConfig", "--lr_scheduler_kwargs '{"):
        assert example in done.output


def test_auto_is_planned_with_the_default_and_said(tmp_path: Path) -> None:
    file = tmp_path / "auto.yaml"
    file.write_text("learning_rate: auto\nwarmup_steps: auto\nmax_steps: 500\nlr_scheduler_type: wsd\n")
    from_file = CliRunner().invoke(plan, [str(file)])
    typed = CliRunner().invoke(plan, ["--learning_rate", "auto", "--warmup_steps=auto", "--max_steps", "500"])
    for said in (from_file, typed):
        assert said.exit_code == 0
        for name in ("learning_rate", "warmup_steps"):
            assert f"warning: {name}: auto is decided by the recipes as a run begins" in said.output
    wrong = CliRunner().invoke(plan, ["--learning_rate", "automatic", "--max_steps", "500"])
    assert "invalid float value: 'automatic'" in wrong.output


def test_auto_is_planned_as_it_would_be_decided_where_model_and_task_are_said(tmp_path: Path) -> None:
    file = tmp_path / "lora.yaml"
    file.write_text(
        "model_name_or_path: Qwen/Qwen3-8B\nlora_r: 16\nlora_alpha: 32\nlearning_rate: auto\nwarmup_steps: auto\n"
    )
    words = ["--lr_scheduler_type", "warmup_cosine", "--max_steps", "1000", "--per_device_train_batch_size", "16"]
    said = json.loads(CliRunner().invoke(plan, [str(file), *words, "--format", "json"]).output)
    expected = recommend("Qwen/Qwen3-8B", task="lora", r=16, alpha=32, batch_size=16, steps=1000)
    assert said["peak"] == said["learning_rate"] == expected.learning_rate
    assert said["learning_rate_from"].startswith("auto: between ")
    assert said["warmup"] == 30
    assert said["problems"] == []
    full = CliRunner().invoke(plan, [str(file), "--lora_r", "0", *words]).output  # of TrainingArguments nobody knows the task
    assert "warning: learning_rate: auto is decided by the recipes" in full
    dpo = ["--arguments_class", "trl.DPOConfig", "--lora_r", "0", "--format", "json"]
    assert json.loads(CliRunner().invoke(plan, [str(file), *words, *dpo]).output)["peak"] < 5e-6
