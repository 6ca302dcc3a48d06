"""What is wrong with what was typed ends a recipe in one sentence, before anything is spent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

Stops = Callable[..., str]
IMAGES = "image_classification.py"


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["--config", "nowhere.yaml"], "there is no preset nowhere.yaml; shipped ones: continue.yaml, demo-finetune.yaml, "),
        (["--train_file", "nowhere.txt", "--model_name_or_path", "x"], "there is no file nowhere.txt"),
        (["--train_file", "data.xls", "--model_name_or_path", "x"], "data.xls: files of type .txt"),
        (["--warmup-steps=1.0"], "warmup_steps=1.0 is one step to Transformers"),
        (["--config"], "--config needs a file behind it"),
        (["--config", "broken.yaml"], "broken.yaml is not YAML: "),
        (["--config", "list.yaml"], "list.yaml holds a list, not settings"),
        (["--learning_rate", "nan"], "learning_rate=nan must be a number above 0"),
        (["--validation_file", "list.yaml.txt"], "--validation_file would do nothing here"),
        (["--warmup_steps", "1.0"], "warmup_steps=1.0 is one step to Transformers; write 1 for one step, or a share"),
        (["--dataset_name", "somebody/pixels"], "give a model (--model_name_or_path) for this data"),
        (["--resume_from_checkpoint", "True"], "there is no complete checkpoint in runs/image_classification to resume"),
        (["--resume_from_checkpoint", "nowhere"], "there is no checkpoint nowhere to resume from"),
        (["--output_dir", "full"], "full is not empty; give another --output_dir, or --resume_from_checkpoint"),
        (["--lr_scheduler_kwargs", '{"rize": 0.3}'], "one_cycle does not know 'rize'; did you mean 'rise'?"),
        (["--lr_scheduler_kwargs", '{"rise": 1.0}'], "rise=1.0 is ambiguous"),
        (["--lr_scheduler_kwargs", '{"rise": 1e9}'], "rise (1000000000 steps) is longer than the run of 230 steps"),
        (["--learning_rate", "2e-3", "--lr_scheduler_kwargs", '{"min_lr": 1}'], "min_lr (1) is above the peak LR (0.002)"),
        (
            ["--lr_scheduler_type", "wsd", "--lr_scheduler_kwargs", '{"warmup": 150, "decay": 150}'],
            "warmup (150) and decay (150) take 300 steps, but the run has only 230; shorten one of them",
        ),
    ],
)
def test_sentence(argv: list[str], sentence: str, stops: Stops, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/model.safetensors").write_text("somebody's")
    (tmp_path / "data.xls").write_text("")
    (tmp_path / "list.yaml.txt").write_text("words")
    (tmp_path / "broken.yaml").write_text("a: [")
    (tmp_path / "list.yaml").write_text("- learning_rate: 1.0")
    assert sentence in stops(IMAGES, *argv)
    assert (tmp_path / "full/model.safetensors").read_text() == "somebody's"


def test_a_stream_needs_max_steps(stops: Stops, tmp_path: Path) -> None:
    (tmp_path / "data.txt").write_text("words")
    argv = ("--streaming", "--train_file", "data.txt", "--model_name_or_path", "x")
    assert "--streaming needs --max_steps, as a stream has no length" in stops("finetune.py", *argv)


def test_fine_tuning_needs_something_to_start_from(stops: Stops) -> None:
    for script in ("finetune.py", "lora.py"):
        assert "there is no pre-trained model under runs/: run recipes/pretrain.py first" in stops(script)
    assert "there is no model ./nowhere: " in stops("finetune.py", "--model_name_or_path", "./nowhere")


def test_a_missing_column_is_named(stops: Stops, tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_text('{"body": "words"}\n' * 200)
    argv = ("--train_file", "data.jsonl", "--model_name_or_path", "x")
    assert "the data has no column 'image' (it has body)" in stops(IMAGES, *argv)


def test_a_config_with_an_unknown_key_is_refused(stops: Stops, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("learning_rate: 1e-3\nlerning_rate: 2\n")
    assert "lerning_rate" in stops(IMAGES, "--config", "mine.yaml")


def test_what_cannot_be_read_or_is_too_little_is_said(stops: Stops, tmp_path: Path) -> None:
    (tmp_path / "one.jsonl").write_text('{"text": "words"}')
    (tmp_path / "few.jsonl").write_text('{"text": "words"}\n' * 50)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    for file, flags, sentence in (
        ("one.jsonl", (), "the data has 1 examples; 1 % of them, at least one, are held out"),
        ("few.jsonl", ("--streaming", "--max_steps", "3"), "the stream has no more than the 100 examples that are held out"),
        ("few.jsonl", ("--text_column", "body"), "the data has no column 'body', messages or prompt (it has text)"),
        ("few.jsonl", ("--dataset_name", "x"), "--dataset_name x and --train_file few.jsonl are both data"),
    ):
        assert sentence in stops("finetune.py", "--model_name_or_path", str(tmp_path), "--train_file", file, *flags)


@pytest.mark.parametrize("script", ["pretrain.py", "finetune.py", "lora.py", IMAGES])
def test_every_recipe_tells_its_arguments(
    script: str, recipe_run: Callable[..., object], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        recipe_run(script, "--help")
    assert ended.value.code == 0
    assert "--learning_rate" in capsys.readouterr().out
