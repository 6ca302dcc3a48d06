"""Two real processes over gloo: they see each other, and the schedule does not depend on their number."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import TrainingArguments

from .conftest import RECIPES, launch

SHORT = (
    *("--max_steps", "20", "--warmup_steps", "auto", "--logging_steps", "1", "--eval_steps", "20"),
    *("--disable_tqdm", "True"),
)


def told(folder: Path, rank: int, of: int) -> dict[str, object]:
    said: dict[str, object] = json.loads((folder / f"told-{rank}-of-{of}.json").read_text())
    return said


def test_two_processes_train_one_model_under_the_lr_of_one(tmp_path: Path) -> None:
    inspected = str(Path(__file__).with_name("inspected.py"))
    launch(tmp_path, "--config_file", str(RECIPES / "accelerate/cpu.yaml"), inspected, *SHORT)
    one = ("--num_processes", "1", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no")
    launch(tmp_path, *one, inspected, *SHORT)
    first, second, alone = told(tmp_path, 0, 2), told(tmp_path, 1, 2), told(tmp_path, 0, 1)
    assert first["world_size"] == second["world_size"] == 2
    assert first["wrapped"] == second["wrapped"] == ["DistributedDataParallel"]
    assert alone["wrapped"] == ["LlamaForCausalLM"]
    assert first["weights"] == second["weights"]
    assert first["steps"] == second["steps"] == alone["steps"] == 20
    assert first["warmup"] == second["warmup"] == alone["warmup"] == 2  # a tenth of the run: decided once, for all
    assert first["lrs"] == alone["lrs"]
    assert first["output_dir"] == second["output_dir"] == "runs/pretrain"
    assert alone["output_dir"] == "runs/pretrain-2"  # the first run's folder was not empty


def test_processes_that_do_not_see_each_other_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(RECIPES))
    import recipe  # type: ignore[import-not-found]  # a script's neighbour, not a package

    args = TrainingArguments(output_dir=str(tmp_path), use_cpu=True)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SystemExit, match=r"error: 2 processes were started, but this one sees 1, .*cpu\.yaml"):
        recipe._check_processes(args)
