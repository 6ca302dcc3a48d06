"""What the recorder writes is what each update of a real run saw."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import IntervalStrategy, TrainerCallback, TrainingArguments

from hf_lrsched import Checkpoints, CooldownCallback, last_complete
from hf_lrsched.runs.files import HISTORY
from hf_lrsched.runs.reading import read_history
from hf_lrsched.training.recorder import LRRecorder

from .test_trainer import PEAK, STEPS, Tiny, trainer, watch


def recorded(folder: Path, name: str = "wsd", every: int = 7, *callbacks: TrainerCallback, **given: Any) -> Any:
    made = trainer(folder, name, **given)
    for callback in (*callbacks, LRRecorder(every=every)):
        made.add_callback(callback)
    return made


def logged(made: Any, key: str) -> list[float]:
    return [float(line[key]) for line in made.state.log_history if key in line and "train_runtime" not in line]


@pytest.mark.parametrize("every", [1, 7, 100])
def test_every_update_is_a_point(every: int, tmp_path: Path) -> None:
    made = recorded(tmp_path, "one_cycle", every)
    made.train()
    history = read_history(tmp_path)
    assert history.step.tolist() == list(range(1, STEPS + 1))
    assert history.lr[:, 0].tolist() == [lrs[0] for lrs in watch(made).lrs]
    assert history.momentum.tolist() == watch(made).beta1
    assert history.loss == pytest.approx(logged(made, "loss"), rel=1e-3)  # Trainer rounds what it logs
    assert history.grad_norm == pytest.approx(logged(made, "grad_norm"), rel=1e-6)
    assert history.phase[0] == "rise"
    assert history.phase[-1] == "end"
    assert history.schedule == made.lr_scheduler.schedule
    assert history.peak == (PEAK, PEAK)
    assert history.missing == ("tokens", "eval_loss")
    assert history.unreadable == ()


def test_an_accumulated_update_is_one_point_with_the_mean_of_its_parts(tmp_path: Path) -> None:
    made = recorded(tmp_path, gradient_accumulation_steps=3, max_steps=10)
    made.train()
    assert read_history(tmp_path).loss == pytest.approx(logged(made, "loss"), rel=1e-3)
    assert len(read_history(tmp_path)) == 10


class Broken(Tiny):
    """Its loss is no number in one of its forward passes."""

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        self.passes = getattr(self, "passes", 0) + 1
        loss = super().forward(x, labels)["loss"]
        return {"loss": loss * (math.nan if self.passes == 6 else 1e3)}


def test_a_loss_that_is_no_number_and_a_norm_that_was_clipped_are_as_they_were(tmp_path: Path) -> None:
    made = recorded(tmp_path, model=Broken(), max_grad_norm=1.0, max_steps=8, logging_steps=4)
    made.train()
    history = read_history(tmp_path)
    assert math.isnan(history.loss[5])
    assert all(math.isfinite(loss) for loss in logged(made, "loss"))  # what Trainer shows
    assert (history.grad_norm[:5] > 100).all()  # before clipping to 1
    assert "NaN" not in (tmp_path / HISTORY).read_text()  # JSON has none


class Overflows(Tiny):
    """Its gradients overflow in the forward passes that are named."""

    def __init__(self, *at: int) -> None:
        super().__init__()
        self.at, self.passes = at, 0

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        self.passes += 1
        loss = super().forward(x, labels)["loss"]
        return {"loss": loss * math.inf if self.passes in self.at else loss}


@pytest.mark.parametrize("optim", ["adamw_torch", "adamw_torch_fused"])
def test_an_update_that_an_overflow_skipped_is_noted_whatever_the_optimizer_says(optim: str, tmp_path: Path) -> None:
    made = recorded(tmp_path, every=3, model=Overflows(3, 4, 9), optim=optim, max_steps=12)
    made.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=2)
    made.train()
    history = read_history(tmp_path)
    assert history.step[history.skipped].tolist() == [3, 4, 9]
    assert np.isfinite(history.loss).sum() == 9


class Killed(Exception):  # as a kill, which no callback of ours sees
    pass


class Kill(TrainerCallback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            raise Killed


@pytest.mark.parametrize("at", [6, 8, 13, 19])
def test_a_run_that_is_killed_and_resumed_has_every_point_once(at: int, tmp_path: Path) -> None:
    given: dict[str, Any] = {"save_strategy": "steps", "save_steps": 5}
    whole = recorded(tmp_path / "whole", **given)
    whole.train()
    with pytest.raises(Killed):
        recorded(tmp_path / "run", "wsd", 4, Checkpoints(), Kill(at), **given).train()
    with (tmp_path / "run" / HISTORY).open("a") as file:
        file.write('{"steps":[99,1],"loss":[1.')  # the kill fell into a write
    before = (tmp_path / "run" / HISTORY).read_text()
    again = recorded(tmp_path / "run", "wsd", 4, Checkpoints(), **given)
    again.train(resume_from_checkpoint=last_complete(tmp_path / "run"))
    assert (tmp_path / "run" / HISTORY).read_text().startswith(before)  # only appended to
    one, other = read_history(tmp_path / "run"), read_history(tmp_path / "whole")
    assert one.step.tolist() == other.step.tolist()
    for name in ("loss", "lr", "grad_norm", "momentum"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name
    assert [event.step for event in one.events if event.kind == "resume"] == [at // 5 * 5]


def test_evaluations_checkpoints_and_cooldowns_are_noted(tmp_path: Path) -> None:
    words = {"lr_scheduler_kwargs": {"warmup": 2, "decay": 0}, "max_steps": 10**9}
    made = recorded(tmp_path, "wsd", 100, CooldownCallback(4, at=8), **words)
    made.eval_dataset = made.train_dataset[:8]
    made.args.eval_strategy, made.args.eval_steps = IntervalStrategy.STEPS, 5
    made.train()
    history = read_history(tmp_path)
    assert history.eval_step.tolist() == [5, 10, 12]
    assert history.eval_loss == pytest.approx(logged(made, "eval_loss"), rel=1e-6)
    assert ("cooldown", 8) in {(event.kind, event.step) for event in history.events}
    assert ("checkpoint", 8) in {(event.kind, event.step) for event in history.events}


def test_a_step_costs_nothing_that_grows(tmp_path: Path) -> None:
    made = recorded(tmp_path, "wsd", 10, max_steps=300, logging_steps=300)
    [recorder] = [one for one in made.callback_handler.callbacks if isinstance(one, LRRecorder)]
    most = 0
    flush = recorder.flush

    def watched() -> None:
        nonlocal most
        most = max(most, len(recorder._gathered) + len(recorder._points))
        flush()
        assert not recorder._points

    vars(recorder)["flush"] = watched
    made.train()
    assert most == 10
    lines = (tmp_path / HISTORY).read_text().splitlines()
    assert len(lines) == 1 + 30
    assert json.loads(lines[1])["steps"] == [1, 10]


def test_a_batch_below_one_point_is_refused() -> None:
    with pytest.raises(ValueError, match="every=0 must be 1 point or more"):
        LRRecorder(every=0)


# Under what the run goes on


def heads(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / HISTORY).read_text().splitlines()]
    return [line for line in lines if "hf_lrsched" in line]


def test_the_head_has_the_arguments_of_the_run(tmp_path: Path) -> None:
    words: dict[str, Any] = {"lr_scheduler_kwargs": {"warmup": 3, "decay": 5}, "weight_decay": 0.1, "adam_beta2": 0.95}
    recorded(tmp_path, "wsd", 7, **words, gradient_accumulation_steps=2, seed=7).train()
    given = read_history(tmp_path).arguments
    expected = {
        **words,
        "learning_rate": PEAK,
        "lr_scheduler_type": "wsd",
        "max_steps": STEPS,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 2,
        "seed": 7,
        "max_grad_norm": 1.0,
    }
    assert {name: given[name] for name in expected} == expected
    again = TrainingArguments(str(tmp_path / "again"), **given)
    assert {name: getattr(again, name) for name in expected} == expected


def test_the_head_has_no_token_and_no_path(tmp_path: Path) -> None:
    secret = {"hub_token": "hf_secret", "hub_model_id": "somebody/secret", "run_name": "a secret", "project": "secret"}
    recorded(tmp_path / "secret", "wsd", 7, **secret, resume_from_checkpoint="/secret/checkpoint-1").train()
    text = (tmp_path / "secret" / HISTORY).read_text()
    assert "secret" not in text
    assert str(tmp_path) not in text
    assert not {"output_dir", "hub_token", "hub_model_id", "run_name"} & set(read_history(tmp_path / "secret").arguments)


def test_after_a_resume_with_other_arguments_the_later_ones_count(tmp_path: Path) -> None:
    given: dict[str, Any] = {"save_strategy": "steps", "save_steps": 5, "lr_scheduler_kwargs": {"warmup": 2}}
    with pytest.raises(Killed):
        recorded(tmp_path, "wsd", 4, Kill(13), **given, weight_decay=0.1).train()
    made = recorded(tmp_path, "wsd", 4, **given, learning_rate=PEAK / 2, weight_decay=0.2)
    made.train(resume_from_checkpoint=str(tmp_path / "checkpoint-10"))
    history = read_history(tmp_path)
    assert (history.arguments["learning_rate"], history.arguments["weight_decay"]) == (PEAK / 2, 0.2)
    assert history.step.tolist() == list(range(1, STEPS + 1))
    assert history.peak == (PEAK / 2, PEAK / 2)
    assert [(head["step"], head["arguments"]["weight_decay"]) for head in heads(tmp_path)] == [(0, 0.1), (10, 0.2)]


def test_a_schedule_of_transformers_own_has_its_arguments_too(tmp_path: Path) -> None:
    words = {"lr_scheduler_kwargs": {"num_cycles": 2}, "warmup_steps": 3}
    recorded(tmp_path, "cosine_with_restarts", 7, **words).train()
    history = read_history(tmp_path)
    assert history.schedule is None
    assert {name: history.arguments[name] for name in words} == words
    assert history.arguments["lr_scheduler_type"] == "cosine_with_restarts"
