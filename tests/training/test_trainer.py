"""Real runs of Trainer, in this process, on a model of a few parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from transformers import Trainer, TrainerCallback, TrainingArguments

from hf_lrsched import CATALOGUE, Horizon, Schedule, ScheduleLR, build, one_cycle, register_schedule, unregister, wsd

STEPS = 20
PEAK = 1e-2
NAMES = [name for name, entry in CATALOGUE.items() if entry.registered]
PHASES = [{"from": 0, "to": 1, "length": "10%"}, {"length": 10}, {"to": 0.1, "shape": "cosine"}]
ARGUMENTS: dict[str, Any] = {
    "phases": {"phases": PHASES},
    "warm_restarts": {"cycles": 2, "rewarm": True, "warmup": 2, "min_lr": 1e-4},
    "warmup_cosine": {"min_lr": 1e-4},
}


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(3, 4)
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(4, 1)

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        predicted = self.head(self.dropout(torch.tanh(self.hidden(x)))).squeeze(-1)
        return {"loss": nn.functional.mse_loss(predicted, labels)}


class Watch(TrainerCallback):
    """What every update ran under: the LR of each group, and beta1."""

    def __init__(self) -> None:
        self.lrs: list[list[float]] = []
        self.beta1: list[float] = []
        self.began = 0

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.began += 1

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        groups = kwargs["optimizer"].param_groups
        self.lrs.append([group["lr"] for group in groups])
        self.beta1 += [group["betas"][0] for group in groups[:1] if "betas" in group]


def tiny() -> Tiny:
    torch.manual_seed(0)
    return Tiny()


def data() -> Any:
    generator = torch.Generator().manual_seed(1)
    return [{"x": torch.randn(3, generator=generator), "labels": torch.randn((), generator=generator)} for _ in range(24)]


def trainer(folder: Path, name: str, *, optimizer: Optimizer | None = None, model: Tiny | None = None, **given: Any) -> Any:
    plain: dict[str, Any] = {
        "learning_rate": PEAK,
        "max_steps": STEPS,
        "per_device_train_batch_size": 4,
        "lr_scheduler_kwargs": ARGUMENTS.get(name),
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "use_cpu": True,
    }
    args = TrainingArguments(output_dir=str(folder), lr_scheduler_type=name, **{**plain, **given})
    made: Any = Trainer(
        model=tiny() if model is None else model,
        args=args,
        train_dataset=data(),
        optimizers=(optimizer, None),
        callbacks=[Watch()],
    )
    return made


def watch(made: Any) -> Watch:
    [callback] = [callback for callback in made.callback_handler.callbacks if isinstance(callback, Watch)]
    return callback


def logged(made: Any) -> list[float]:
    return [line["learning_rate"] for line in made.state.log_history if "learning_rate" in line]


def weights(made: Any) -> dict[str, torch.Tensor]:
    return {name: weight.clone() for name, weight in made.model.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(weight, other[name]) for name, weight in one.items())


def expected(schedule: Schedule, steps: int = STEPS, peak: float = PEAK) -> Any:
    return pytest.approx(schedule.lrs(steps, peak).tolist(), rel=1e-12, abs=1e-18)


# What a run runs under


@pytest.mark.parametrize("name", NAMES)
def test_every_update_runs_under_the_schedule_and_the_log_says_so(name: str, tmp_path: Path) -> None:
    made = trainer(tmp_path, name)
    made.train()
    schedule = build(name, Horizon(STEPS, peak=PEAK), **ARGUMENTS.get(name, {}))
    assert type(made.lr_scheduler) is ScheduleLR
    assert made.lr_scheduler.schedule == schedule
    assert [lrs[0] for lrs in watch(made).lrs] == expected(schedule)
    assert logged(made) == [lrs[0] for lrs in watch(made).lrs]
    if schedule.momentum:
        assert watch(made).beta1 == pytest.approx(schedule.momentum.values(STEPS).tolist(), rel=1e-12)


def test_warmup_steps_of_the_arguments_and_a_share_of_the_run_work_together(tmp_path: Path) -> None:
    made = trainer(tmp_path, "wsd", warmup_steps=0.1, lr_scheduler_kwargs={"decay": "25%", "min_lr_ratio": 0.1})
    made.train()
    assert [lrs[0] for lrs in watch(made).lrs] == expected(wsd(STEPS, warmup=2, decay=5, min_lr_ratio=0.1))


def test_the_run_is_counted_in_epochs_where_no_number_of_steps_is_given(tmp_path: Path) -> None:
    made = trainer(tmp_path, "wsd", max_steps=-1, num_train_epochs=3)  # 24 examples in batches of 4
    made.train()
    assert made.state.global_step == 18
    assert [lrs[0] for lrs in watch(made).lrs] == expected(wsd(18), 18)


def test_gradient_accumulation_steps_the_schedule_once_an_update(tmp_path: Path) -> None:
    made = trainer(tmp_path, "one_cycle", gradient_accumulation_steps=3, max_steps=10)
    made.train()
    assert made.state.global_step == 10
    assert made.lr_scheduler.last_epoch == 10
    assert [lrs[0] for lrs in watch(made).lrs] == expected(one_cycle(10), 10)


@pytest.mark.parametrize("kwargs", [{"decay": 8}, {"decay": 8, "min_lr": 1e-5}])
def test_two_parameter_groups_keep_their_own_peaks(kwargs: dict[str, Any], tmp_path: Path) -> None:
    model = tiny()
    optimizer = AdamW([{"params": model.hidden.parameters(), "lr": 1e-2}, {"params": model.head.parameters(), "lr": 3e-4}])
    made = trainer(tmp_path, "wsd", model=model, optimizer=optimizer, warmup_steps=4, lr_scheduler_kwargs=kwargs)
    made.train()
    schedule = wsd(STEPS, warmup=4, **kwargs)
    first, second = zip(*watch(made).lrs, strict=True)
    assert list(first) == expected(schedule, peak=1e-2)
    assert list(second) == expected(schedule, peak=3e-4)
    if "min_lr" not in kwargs:
        assert [lr / other for lr, other in zip(first[1:], second[1:], strict=True)] == pytest.approx([1e-2 / 3e-4] * 19)


def test_a_schedule_of_ones_own_trains(tmp_path: Path) -> None:
    register_schedule("flat_then_wsd", lambda steps: wsd(steps, warmup=0, decay="50%"))
    try:
        made = trainer(tmp_path, "flat_then_wsd")
        made.train()
    finally:
        unregister("flat_then_wsd")
    assert [lrs[0] for lrs in watch(made).lrs] == expected(wsd(STEPS, warmup=0, decay=10))


def test_a_second_train_starts_the_schedule_anew(tmp_path: Path) -> None:
    made = trainer(tmp_path, "wsd")
    made.train()
    first = watch(made).lrs[:]
    made.train()
    assert watch(made).lrs == first * 2


# Stopping and going on


@pytest.mark.parametrize("stop", [3, 7, 15])
@pytest.mark.parametrize("name", ["wsd", "one_cycle", "warm_restarts", "warmup_cosine"])
def test_a_resumed_run_is_bit_for_bit_the_one_that_never_stopped(name: str, stop: int, tmp_path: Path) -> None:
    whole = trainer(tmp_path, name, save_strategy="steps", save_steps=stop)
    whole.train()
    resumed = trainer(tmp_path, name, save_strategy="steps", save_steps=stop)
    resumed.train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{stop}"))
    assert not same(weights(whole), tiny().state_dict())
    assert watch(resumed).lrs == watch(whole).lrs[stop:]
    assert watch(resumed).beta1 == watch(whole).beta1[stop:]
    assert logged(resumed) == logged(whole)
    assert same(weights(resumed), weights(whole))


def test_a_resumed_run_with_two_groups_goes_on_in_both(tmp_path: Path) -> None:
    def start(folder: Path, **given: Any) -> Any:
        model = tiny()
        groups = [{"params": model.hidden.parameters(), "lr": 1e-2}, {"params": model.head.parameters(), "lr": 3e-4}]
        return trainer(folder, "one_cycle", model=model, optimizer=SGD(groups, momentum=0.9), **given)

    whole = start(tmp_path, save_strategy="steps", save_steps=9)
    whole.train()
    second = start(tmp_path, save_strategy="steps", save_steps=9)
    second.train(resume_from_checkpoint=str(tmp_path / "checkpoint-9"))
    assert watch(second).lrs == watch(whole).lrs[9:]
    assert same(weights(second), weights(whole))


def test_a_run_resumed_under_another_schedule_says_so_and_follows_the_new_one_at_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trainer(tmp_path, "wsd", save_strategy="steps", save_steps=7).train()
    caplog.clear()
    second = trainer(tmp_path, "one_cycle", save_strategy="steps", save_steps=7, learning_rate=3e-3)
    second.train(resume_from_checkpoint=str(tmp_path / "checkpoint-7"))
    said = [record.getMessage() for record in caplog.records if record.name.startswith("hf_lrsched")]
    assert len(said) == 1
    assert said[0].startswith("the checkpoint of step 7 was written under another schedule than the one configured now:\n")
    assert "\non_resume='configured': the run goes on at step 7 with what is configured now" in said[0]
    rest = one_cycle(STEPS).lrs(range(7, STEPS), 3e-3).tolist()
    assert [lrs[0] for lrs in watch(second).lrs] == pytest.approx(rest, rel=1e-12)


def test_a_run_started_under_transformers_own_schedule_goes_on_under_ours(tmp_path: Path) -> None:
    trainer(tmp_path, "linear", save_strategy="steps", save_steps=7).train()
    second = trainer(tmp_path, "wsd", save_strategy="steps", save_steps=7, lr_scheduler_kwargs={"warmup": 2})
    second.train(resume_from_checkpoint=str(tmp_path / "checkpoint-7"))
    assert [lrs[0] for lrs in watch(second).lrs] == pytest.approx(wsd(STEPS, warmup=2).lrs(range(7, STEPS), PEAK).tolist())


def test_training_args_are_saved_beside_the_model(tmp_path: Path) -> None:
    made = trainer(tmp_path, "wsd", lr_scheduler_kwargs={"decay": "10%"}, max_steps=2)
    made.train()
    made.save_model(str(tmp_path / "model"))
    args = torch.load(tmp_path / "model" / "training_args.bin", weights_only=False)
    assert type(args.lr_scheduler_type) is str
    assert (args.lr_scheduler_type, args.lr_scheduler_kwargs) == ("wsd", {"decay": "10%"})
    again: Any = Trainer(model=tiny(), args=args, train_dataset=data())
    again.train()
    assert again.lr_scheduler.schedule == wsd(2, decay="10%")


# Bad input


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("wsd", {"lr_scheduler_kwargs": {"decya": 5}}, "wsd does not know 'decya'; did you mean 'decay'"),
        ("wsd", {"warmup_steps": 15, "lr_scheduler_kwargs": {"decay": 10}},
         r"warmup \(15\) and decay \(10\) take 25 steps, but the run has only 20; shorten one of them or train for longer"),
        ("wsd", {"warmup_steps": 30}, r"warmup \(30 steps\) is longer than the run of 20 steps"),
        ("wsd", {"lr_scheduler_kwargs": {"min_lr": 0.1}}, r"min_lr \(0.1\) is above the peak LR \(0.01\)"),
        ("wsd", {"lr_scheduler_kwargs": {"warmup": 1.0}}, "warmup=1.0 is ambiguous"),
        ("wsd", {"lr_scheduler_kwargs": {"warmup": 5}, "warmup_steps": 2}, "the warm-up is given twice"),
        ("wsd", {"lr_scheduler_kwargs": {"decay": "1M tokens"}}, "decay='1M tokens' cannot be converted here"),
        ("phases", {"warmup_steps": 2}, "warmup_steps=2, but 'phases' is told its warm-up by its own arguments"),
        ("phases", {"lr_scheduler_kwargs": {"phases": [{"from": 1, "length": 7}]}},
         r"the phases take 7 steps \(7\), but the run has 20"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_before_the_first_step(name: str, given: dict[str, Any], message: str, tmp_path: Path) -> None:
    made = trainer(tmp_path, name, **given)
    before = weights(made)
    with pytest.raises(ValueError, match=message):
        made.train()
    assert same(weights(made), before)
    assert made.state.global_step == 0
    assert (watch(made).began, watch(made).lrs) == (0, [])
