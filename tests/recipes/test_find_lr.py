"""`--find_lr` in the four recipes: test, report, train at the peak that was found; with one process and with two."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hf_lrsched
from hf_lrsched import RangeTest

from .conftest import RECIPES, history

Run = Callable[..., dict[str, Any]]
find_lr = hf_lrsched.find_lr
ARGUMENTS = {
    "pretrain.py": ("--max_steps", "8", "--per_device_train_batch_size", "2"),
    "finetune.py": ("--max_steps", "8", "--per_device_train_batch_size", "4", "--max_length", "64"),
    "lora.py": ("--max_steps", "8", "--per_device_train_batch_size", "4", "--max_length", "64"),
    "image_classification.py": ("--num_train_epochs", "1", "--per_device_train_batch_size", "16"),
}
ARGUMENTS = {script: (*words, "--logging_steps", "1", "--disable_tqdm", "True") for script, words in ARGUMENTS.items()}


def at_a_long_budget() -> None:
    """As if the runs had 500 steps, of which the training of a test need not take all."""

    def long(trainer: Any, budget: int | None = None) -> RangeTest:
        return find_lr(trainer, budget=budget or 500)

    hf_lrsched.find_lr = long  # type: ignore[assignment]  # the recipes give it a budget alone


@pytest.fixture
def _at_a_long_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hf_lrsched, "find_lr", find_lr)  # put back behind the test
    at_a_long_budget()


@pytest.mark.usefixtures("_at_a_long_budget")
@pytest.mark.parametrize("script", ARGUMENTS)
def test_a_recipe_tests_reports_and_trains_at_what_it_found(
    script: str, demo: tuple[Path, str], recipe_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "runs").symlink_to(demo[0] / "runs")
    folder = tmp_path / "found"
    ran = recipe_run(script, *ARGUMENTS[script], "--find_lr", "True", "--output_dir", str(folder))
    printed = capsys.readouterr().out
    found = RangeTest.load(folder / "lr_range_test.json")
    assert found.lr is not None
    assert f"learning_rate:     {found.lr:.2g}  (between" in printed
    assert ran["trainer"].args.learning_rate == found.lr
    rates = [entry["learning_rate"] for entry in history(folder) if "loss" in entry]
    assert max(rates) <= found.lr * (1 + 1e-9)
    assert max(rates) > found.lr / 2
    assert (folder / "lr_range_test.png").stat().st_size > 10_000
    assert f"peak {found.lr:g}" in printed
    assert found.cost[0] <= 100
    assert 0 < found.cost[1] <= 50


def test_two_processes_of_each_recipe_find_one_peak_and_train_one_model(demo: tuple[Path, str], tmp_path: Path) -> None:
    (tmp_path / "runs").symlink_to(demo[0] / "runs")
    done = subprocess.run(
        [sys.executable, "-m", "tests.recipes.found_by_two", str(tmp_path)],
        cwd=RECIPES.parent,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(RECIPES.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    for script in ARGUMENTS:
        name = Path(script).stem
        first, second = (json.loads((tmp_path / f"told-{name}-{rank}.json").read_text()) for rank in (0, 1))
        assert first == second
        assert first["processes"] == 2
        found = RangeTest.load(tmp_path / "two" / name / "lr_range_test.json")
        assert first["peak"] == found.lr
        assert len(re.findall(re.escape(f"learning_rate:     {found.lr:.2g}  (between"), done.stdout)) == 1


def test_nothing_found_stops_with_the_reason_and_nothing_is_trained(
    stops: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def too_low(trainer: Any, budget: int | None = None) -> Any:
        return find_lr(trainer, start_lr=1e-12, end_lr=1e-9, steps=20)

    monkeypatch.setattr(hf_lrsched, "find_lr", too_low)
    sentence = stops("image_classification.py", *ARGUMENTS["image_classification.py"], "--find_lr", "True")
    assert "the range test found no learning rate: between 1e-12 and 1e-09 the loss never fell" in sentence
    assert "give --learning_rate without --find_lr" in sentence
    assert RangeTest.load(tmp_path / "runs/image_classification/lr_range_test.json").refusal is not None
    assert not (tmp_path / "runs/image_classification/model.safetensors").exists()


def test_a_run_that_is_resumed_has_its_peak(recipe_run: Run, stops: Callable[..., str], tmp_path: Path) -> None:
    words = (*ARGUMENTS["image_classification.py"], "--max_steps", "4", "--save_strategy", "steps", "--save_steps", "2")
    recipe_run("image_classification.py", *words)
    again = ("--find_lr", "True", "--resume_from_checkpoint", "true")
    assert "one that is resumed has its learning rate" in stops("image_classification.py", *words, *again)
