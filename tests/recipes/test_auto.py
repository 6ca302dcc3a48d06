"""`learning_rate: auto` and `warmup_steps: auto` in the recipes, from YAML and from the command line, begun and resumed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import Trainer

from hf_lrsched import RangeTest
from hf_lrsched.advice.recommend import recommend
from hf_lrsched.training import auto

from .conftest import history
from .test_endings import model  # noqa: F401  # a fixture
from .test_find_lr import _at_a_long_budget  # noqa: F401  # a fixture

Run = Callable[..., dict[str, Any]]
IMAGES = "image_classification.py"
SHORT = ("--max_steps", "20", "--logging_steps", "1", "--disable_tqdm", "True")
AUTO = ("--learning_rate", "auto", "--warmup_steps", "auto")


def plan_of(run: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((run / "lr_plan.json").read_text())
    return read


def test_both_are_decided_told_followed_and_kept(recipe_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = recipe_run(IMAGES, *SHORT, *AUTO)
    told = capsys.readouterr().out
    saved = plan_of(tmp_path / "runs/image_classification")
    peak, warmup = saved["auto"]["learning_rate"], saved["auto"]["warmup_steps"]
    assert f"auto: learning_rate {peak:g}, warmup_steps {warmup:g}\n  peak {peak:g}: " in told
    assert "  kept for a resume, with the evidence: runs/image_classification/lr_plan.json\n" in told
    assert (run["args"].learning_rate, run["args"].warmup_steps) == (peak, warmup)
    assert run["schedule"].phases[0].length == warmup * 20 - 1  # one-cycle is at its peak on the last step of its rise
    rates = [entry["learning_rate"] for entry in history(tmp_path / "runs/image_classification") if "loss" in entry]
    assert max(rates) == pytest.approx(peak)
    question = saved["recommendation"]["question"]
    assert (question["task"], question["steps"], question["batch_size"], question["examples"]) == ("image", 20, 64, 1437)
    assert saved["recommendation"]["used"]


def test_a_resumed_run_uses_the_saved_plan(recipe_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe_run(IMAGES, *SHORT, *AUTO, "--save_strategy", "steps", "--save_steps", "10")
    folder = tmp_path / "runs/image_classification"
    saved = plan_of(folder)
    saved["auto"] = {"learning_rate": 4.5e-4, "warmup_steps": 0.25}  # as an older release might have decided
    (folder / "lr_plan.json").write_text(json.dumps(saved))
    capsys.readouterr()
    run = recipe_run(IMAGES, *SHORT, *AUTO, "--resume_from_checkpoint", str(folder / "checkpoint-10"))
    assert (run["args"].learning_rate, run["args"].warmup_steps) == (4.5e-4, 0.25)
    assert "auto: learning_rate 0.00045, warmup_steps 0.25 (decided when the run began)\n" in capsys.readouterr().out
    assert plan_of(folder) == saved
    again = ("--resume_from_checkpoint", str(folder / "checkpoint-10"), "--output_dir", "elsewhere")
    run = recipe_run(IMAGES, *SHORT, "--learning_rate", "2e-3", "--warmup_steps", "auto", *again)
    assert (run["args"].learning_rate, run["args"].warmup_steps) == (2e-3, 0.25)
    assert plan_of(tmp_path / "elsewhere")["auto"] == {"warmup_steps": 0.25}


@pytest.mark.parametrize(
    ("flags", "peak", "decided"),
    [
        ((), None, {"learning_rate", "warmup_steps"}),
        (("--learning_rate", "2e-3"), 2e-3, {"warmup_steps"}),
        (("--learning-rate=2e-3", "--warmup_steps", "1"), 2e-3, set()),
    ],
)
def test_auto_in_yaml_and_what_is_typed_wins(
    flags: tuple[str, ...], peak: float | None, decided: set[str], recipe_run: Run, tmp_path: Path
) -> None:
    (tmp_path / "mine.yaml").write_text(
        "learning_rate: auto\nwarmup_steps: auto\nlr_scheduler_type: one_cycle\nmax_steps: 2\n"
    )
    run = recipe_run(IMAGES, "--config", "mine.yaml", *flags, "--disable_tqdm", "True")
    folder = tmp_path / "runs/image_classification"
    assert (set(plan_of(folder)["auto"]) if (folder / "lr_plan.json").exists() else set()) == decided
    assert run["args"].learning_rate == (peak or plan_of(folder)["auto"]["learning_rate"])


def test_a_rise_that_is_typed_is_not_decided(recipe_run: Run, tmp_path: Path) -> None:
    kwargs = ("--lr_scheduler_kwargs", '{"rise": 5}')
    run = recipe_run(IMAGES, *SHORT, "--warmup_steps", "auto", *kwargs)
    assert run["schedule"].phases[0].length == 4
    assert plan_of(tmp_path / "runs/image_classification")["auto"] == {"warmup_steps": None}


def test_no_evidence_stops_before_anything_is_spent(stops: Callable[..., str], tmp_path: Path) -> None:
    sentence = stops(IMAGES, *SHORT, *AUTO, "--optim", "lion_32bit")
    assert "learning_rate: auto: no calibrated evidence for image classification from scratch" in sentence
    assert "give --learning_rate, or find one: --find_lr true" in sentence
    assert not (tmp_path / "runs/image_classification/lr_plan.json").exists()


@pytest.mark.usefixtures("_at_a_long_budget")
def test_the_range_test_decides_the_peak_and_auto_the_warm_up(recipe_run: Run, tmp_path: Path) -> None:
    words = ("--num_train_epochs", "1", "--per_device_train_batch_size", "16", "--disable_tqdm", "True")
    save = ("--save_strategy", "steps", "--save_steps", "40")
    run = recipe_run(IMAGES, *words, *AUTO, *save, "--find_lr", "True")
    folder = tmp_path / "runs/image_classification"
    assert run["args"].learning_rate == RangeTest.load(folder / "lr_range_test.json").lr
    saved = plan_of(folder)
    assert saved["auto"] == {"learning_rate": run["args"].learning_rate, "warmup_steps": run["args"].warmup_steps}
    assert saved["reasons"][-1] == "peak: what --find_lr found, lr_range_test.json"
    again = recipe_run(IMAGES, *words, *AUTO, *save, "--resume_from_checkpoint", str(folder / "checkpoint-80"))
    assert again["args"].learning_rate == run["args"].learning_rate


class BeginsError(Exception):
    """A run begins."""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What is asked, of models as if they had a billion parameters: of toys nothing is known."""
    questions: list[dict[str, Any]] = []

    def noted(**question: Any) -> Any:
        questions.append(question)
        return recommend(**{**question, "model": 1e9})

    monkeypatch.setattr(auto, "recommend", noted)
    return questions


@pytest.fixture
def small(model: Path, tmp_path: Path) -> tuple[str, ...]:  # noqa: F811  # the fixture
    """The arguments of a small run on local files."""
    for name, count in (("train", 100), ("held", 4)):
        (tmp_path / f"{name}.jsonl").write_text("\n".join([json.dumps({"text": "def f(x): return x"})] * count))
    data = ("--train_file", "train.jsonl", "--validation_file", "held.jsonl")
    sizes = ("--per_device_train_batch_size", "2", "--gradient_accumulation_steps", "3", "--disable_tqdm", "True")
    return ("--model_name_or_path", str(model), *data, *sizes, "--logging_steps", "1", *AUTO)


def test_the_recipes_ask_about_their_own_task(
    small: tuple[str, ...], asked: list[dict[str, Any]], recipe_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe_run(IMAGES, "--max_steps", "1", "--disable_tqdm", "True", "--output_dir", "classifier")

    def begins(*_: Any, **__: Any) -> None:
        raise BeginsError

    monkeypatch.setattr(Trainer, "train", begins)
    classifier = ("--model_name_or_path", "classifier", *AUTO)
    for number, (script, flags) in enumerate(
        (
            ("pretrain.py", (*small, "--block_size", "16")),
            ("pretrain.py", (*small, "--block_size", "16", "--config", "continue")),
            ("finetune.py", small),
            ("lora.py", (*small, "--lora_r", "4")),
            (IMAGES, (*classifier, "--from_scratch", "True")),
            (IMAGES, classifier),
        )
    ):
        with pytest.raises(BeginsError):
            recipe_run(script, *flags, "--max_steps", "50", "--output_dir", f"run-{number}")
    assert [(question["task"], question.get("peft"), question.get("r")) for question in asked] == [
        ("pretrain", None, None), ("continue", None, None), ("sft", None, None), ("sft", "lora", 4),
        ("image", None, None), ("image_finetune", None, None),
    ]  # fmt: skip
    # Blocks of 16; documents of 18 bytes and an end.
    assert [question.get("batch_tokens") for question in asked] == [96, 96, 114, 114, None, None]


def test_a_plan_of_budgets_is_decided_for_the_longest_and_goes_on_with_it(
    small: tuple[str, ...], asked: list[dict[str, Any]], recipe_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("pretrain.py", *small, "--block_size", "16", "--budgets", "20,40")
    recipe_run(*words)
    saved = plan_of(tmp_path / "runs/pretrain-budgets")
    assert [question["steps"] for question in asked] == [40]
    assert saved["auto"]["warmup_steps"] == 4  # a tenth
    assert f"auto: learning_rate {saved['auto']['learning_rate']:g}, warmup_steps 4\n" in capsys.readouterr().out
    branch = history(tmp_path / "runs/pretrain-budgets/branch-20")
    assert max(entry["learning_rate"] for entry in branch if "loss" in entry) == pytest.approx(saved["auto"]["learning_rate"])
    recipe_run(*words)
    assert len(asked) == 1
    assert "(decided when the run began)" in capsys.readouterr().out


@pytest.mark.usefixtures("asked")
def test_a_run_that_ends_on_demand_has_a_peak_and_its_own_warm_up(
    small: tuple[str, ...], recipe_run: Run, tmp_path: Path
) -> None:
    words = ("--block_size", "16", "--cooldown_at", "6", "--cooldown_steps", "4", "--max_steps", "40")
    run = recipe_run("pretrain.py", *small, *words)
    saved = plan_of(tmp_path / "runs/pretrain")
    assert "steps" not in saved["recommendation"]["question"]
    assert saved["auto"] == {"learning_rate": run["args"].learning_rate, "warmup_steps": None}
    assert run["trainer"].state.global_step == 10
