"""The recipes train: each on its embedded default, and on local models and files."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from .conftest import history

Run = Callable[..., dict[str, Any]]


def ending(printed: str) -> dict[str, str]:
    """The summary's rows."""
    return dict(re.findall(r"^([\w -]+?):\s+(.*)$", printed, flags=re.MULTILINE))


def test_demo_learns_more_than_a_bigram_model_and_says_what_it_did(demo: tuple[Path, str]) -> None:
    folder, printed = demo
    rows = ending(printed)
    before, after = map(float, rows["held-out loss"].split(" -> "))
    bigram = float(rows["held-out loss of a bigram model on the same tokens"])
    assert after < bigram < before
    assert rows["steps"] == "800"
    assert rows["phases"] == "warmup 80, stable 560, decay 160"
    assert (folder / "runs/pretrain/lr_and_loss.png").stat().st_size > 10_000
    logged = {entry["step"]: entry["learning_rate"] for entry in history(folder / "runs/pretrain") if "loss" in entry}
    assert float(rows["peak LR"]) == pytest.approx(max(logged.values()))
    assert logged[1] == 0.0 < logged[800] < 0.01 * max(logged.values())


def test_fine_tuning_starts_from_what_the_demo_left_and_lowers_the_held_out_loss(
    demo: tuple[Path, str], recipe_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "runs").symlink_to(demo[0] / "runs")
    recipe_run("finetune.py", "--max_steps", "40", "--output_dir", str(tmp_path / "tuned"), "--disable_tqdm", "True")
    before, after = map(float, ending(capsys.readouterr().out)["held-out loss"].split(" -> "))
    assert before < 5.0  # of the pre-trained model; a fresh one is at log(512) = 6.2
    assert after < before - 0.1
    assert (tmp_path / "tuned/model.safetensors").exists()


def test_lora_lowers_the_held_out_loss_and_saves_adapters_alone(
    demo: tuple[Path, str], recipe_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(demo[0] / "runs/pretrain")
    argv = ("--model_name_or_path", model, "--config", str(preset("demo-lora")), "--max_steps", "40")
    run = recipe_run("lora.py", *argv, "--disable_tqdm", "True")
    before, after = map(float, ending(capsys.readouterr().out)["held-out loss"].split(" -> "))
    assert after < before - 0.1
    saved = tmp_path / "runs/lora"
    assert not (saved / "model.safetensors").exists()
    with safe_open(saved / "adapter_model.safetensors", "pt") as adapters:
        assert all("lora_" in name for name in adapters.keys())  # noqa: SIM118  it is no mapping
    trainable = [name for name, weight in run["trainer"].model.named_parameters() if weight.requires_grad]
    assert trainable
    assert all("lora_" in name for name in trainable)


@pytest.mark.parametrize("config", ["demo-image_classification", "demo-image_sgd"])
def test_images_are_classified(config: str, recipe_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe_run("image_classification.py", "--config", str(preset(config)), "--disable_tqdm", "True")
    assert float(ending(capsys.readouterr().out)["held-out accuracy"]) > 0.9
    assert (tmp_path / "runs/image_classification/model.safetensors").exists()


def test_a_classifier_is_fine_tuned_from_a_folder(recipe_run: Run, tmp_path: Path) -> None:
    short = ("--disable_tqdm", "True", "--max_steps", "30")
    recipe_run("image_classification.py", *short)
    argv = ("--model_name_or_path", "runs/image_classification", "--config", str(preset("image_finetune")))
    run = recipe_run("image_classification.py", *argv, *short, "--output_dir", "tuned")
    losses = [entry["eval_loss"] for entry in history(tmp_path / "tuned") if "eval_loss" in entry]
    assert losses[-1] < 2.0  # a fresh model is at log(10) = 2.3
    assert run["args"].learning_rate == 1e-4


def test_pre_training_takes_a_local_model_and_a_streamed_local_file(
    demo: tuple[Path, str], recipe_run: Run, tmp_path: Path
) -> None:
    lines = [json.dumps({"body": f"def f{i}(x):\n    return x + {i}\n" * 20}) for i in range(400)]
    (tmp_path / "data.jsonl").write_text("\n".join(lines))
    model = ("--model_name_or_path", str(demo[0] / "runs/pretrain"), "--block_size", "64")
    data = ("--train_file", "data.jsonl", "--text_column", "body", "--streaming", "--max_steps", "6")
    fast = ("--per_device_train_batch_size", "2", "--gradient_accumulation_steps", "2", "--disable_tqdm", "True")
    kwargs = ("--lr_scheduler_kwargs", '{"warmup": "512 tokens", "decay": 2}', "--logging_steps", "1")
    run = recipe_run("pretrain.py", *model, *data, *fast, *kwargs, "--eval_steps", "6", "--learning_rate", "2e-5")
    assert [phase.length for phase in run["schedule"].phases] == [2, 2, 2]  # 512 tokens at 256 a step
    logged = [entry["learning_rate"] for entry in history(tmp_path / "runs/pretrain") if "loss" in entry]
    assert logged == pytest.approx(run["schedule"].values() * 2e-5)


def test_fine_tuning_takes_local_files_and_lengths_in_epochs(demo: tuple[Path, str], recipe_run: Run, tmp_path: Path) -> None:
    for name, count in (("train", 32), ("held", 8)):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(json.dumps({"text": f"number {i} " * 9}) for i in range(count)))
    model = ("--model_name_or_path", str(demo[0] / "runs/pretrain"), "--max_length", "64")
    data = ("--train_file", "train.jsonl", "--validation_file", "held.jsonl", "--num_train_epochs", "2")
    sizes = ("--per_device_train_batch_size", "8", "--gradient_accumulation_steps", "1", "--warmup_steps", "0")
    kwargs = ("--lr_scheduler_type", "step_decay", "--lr_scheduler_kwargs", '{"every": "1 epoch"}')
    run = recipe_run("finetune.py", *model, *data, *sizes, *kwargs, "--disable_tqdm", "True")
    assert [phase.length for phase in run["schedule"].phases] == [4, 4]
    assert run["trainer"].state.global_step == 8


def test_a_second_run_leaves_the_first_alone_and_resuming_goes_on(recipe_run: Run, tmp_path: Path) -> None:
    short = ("--max_steps", "20", "--save_strategy", "steps", "--save_steps", "10", "--disable_tqdm", "True")
    recipe_run("image_classification.py", *short)
    first = tmp_path / "runs/image_classification"
    weights = (first / "model.safetensors").read_bytes()
    recipe_run("image_classification.py", *short, "--seed", "7")
    assert (first / "model.safetensors").read_bytes() == weights
    assert (tmp_path / "runs/image_classification-2/model.safetensors").exists()
    checkpoint = str(first / "checkpoint-10")
    other = tmp_path / "runs/image_classification-2/model.safetensors"
    kept = other.read_bytes()
    with pytest.raises(SystemExit, match="is not empty"):
        recipe_run("image_classification.py", "--resume_from_checkpoint", checkpoint, "--output_dir", str(other.parent))
    (first / "model.safetensors").unlink()
    run = recipe_run("image_classification.py", *short, "--resume_from_checkpoint", checkpoint)
    assert run["trainer"].state.global_step == 20
    assert (first / "model.safetensors").read_bytes() == weights  # in its own folder, and bit for bit
    assert other.read_bytes() == kept


def preset(name: str) -> Path:
    """A shipped preset's file."""
    return Path(__file__).parents[2] / "recipes/presets" / f"{name}.yaml"


def test_what_is_wrong_with_a_run_is_told_before_its_first_step(
    recipe_run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    short = ("--max_steps", "4", "--disable_tqdm", "True", "--lr_scheduler_type", "cosine")
    recipe_run("image_classification.py", *short, "--warmup_steps", "0")
    assert "LR002" not in caplog.text
    recipe_run("image_classification.py", *short, "--warmup_steps", "3")
    assert "LR002" in caplog.text
