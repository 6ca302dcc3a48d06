"""Runs that really diverge go back, go on under a lower peak or without the batch that did it, and end well."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import SequentialSampler
from transformers import Trainer, TrainerCallback

from hf_lrsched import (
    Checkpoints,
    CooldownCallback,
    CycleSnapshots,
    LRCard,
    LRPlot,
    LRRecorder,
    LRWatch,
    ScheduleLR,
    hold,
    last_complete,
    train,
)
from hf_lrsched.runs.diagnosis import Finding, Point, Rule, diagnose
from hf_lrsched.runs.diagnosis.sight import Sight
from hf_lrsched.runs.files import RESCUES
from hf_lrsched.runs.reading import read_history
from hf_lrsched.training.course import Course
from hf_lrsched.training.rescued import Rescued, good, is_finite
from hf_lrsched.training.watch import finite

from .running import At, arguments, checkpoints, die, files, killed, said, two_processes
from .test_trainer import Watch, watch, weights
from .test_watch import found, told

STEPS = 120
HIGH = 2.0  # a linear regression on this data is stable up to about 1
NOISE = 0.05
FLOOR = 2 * NOISE**2  # of the loss: twice the variance of what no model knows


class Linear(nn.Module):
    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__()
        self.head = nn.Linear(3, 1)
        self.seen: list[torch.Tensor] = []

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        self.seen.append(x[:, 0].clone())
        return {"loss": nn.functional.mse_loss(self.head(x).squeeze(-1), labels)}


def examples(count: int = 64) -> list[dict[str, torch.Tensor]]:
    generator, weight = torch.Generator().manual_seed(1), torch.tensor([1.0, -2.0, 0.5])
    inputs = torch.randn(count, 3, generator=generator)
    labels = inputs @ weight + NOISE * torch.randn(count, generator=generator)
    return [{"x": x, "labels": label} for x, label in zip(inputs, labels, strict=True)]


class InOrder(Trainer):
    """Its data come in the order they have."""

    def _get_train_sampler(self, *args: Any, **kwargs: Any) -> Any:
        return SequentialSampler(self.train_dataset)  # type: ignore[arg-type]  # a list has a length


def regression(
    folder: Path,
    *callbacks: TrainerCallback,
    high: float = HIGH,
    dataset: Any = None,
    model: Any = None,
    optimizers: Any = (None, None),
    **given: Any,
) -> Any:
    plain: dict[str, Any] = {"learning_rate": high, "max_steps": STEPS, "optim": "sgd", "per_device_train_batch_size": 8}
    plain |= {"lr_scheduler_type": "wsd", "warmup_steps": 40, "lr_scheduler_kwargs": {"decay": 40}, "max_grad_norm": 0.0}
    plain |= {"save_strategy": "steps", "save_steps": 10, "logging_steps": 10}
    made: Any = InOrder(
        model=Linear() if model is None else model,
        args=arguments(folder, **{**plain, **given}),
        train_dataset=examples() if dataset is None else dataset,
        eval_dataset=examples(8),
        callbacks=[Watch(), *callbacks],
        optimizers=optimizers,
    )
    return made


class Once(Rule):
    """Says that the run diverges at one step, the first time that this is asked at all."""

    at, since, cause, again = 25, 23, "unknown", False
    times = 0

    def see(self, point: Point, sight: Sight) -> list[Finding]:
        if point.step != self.at or (type(self).times and not self.again):
            return []
        type(self).times += 1
        return [found(self.at, self.since, self.cause)]


def rule(**words: Any) -> type[Rule]:
    return type("AtOneStep", (Once,), {**words, "times": 0})


def by(*rules: type[Rule], **words: Any) -> LRWatch:
    return LRWatch(on_divergence="rescue", every=1, rules=rules or None, **words)


def rescues(folder: Path) -> list[Rescued]:
    return [Rescued.of(words) for words in json.loads((folder / RESCUES).read_text())["rescues"]]


# What is saved by it


@pytest.mark.parametrize("schedule", ["wsd", "linear"])
def test_a_run_that_diverges_is_rescued_and_ends_well_and_says_so_everywhere(
    schedule: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kwargs = {"decay": 40} if schedule == "wsd" else {}
    words: dict[str, Any] = {"lr_scheduler_type": schedule, "lr_scheduler_kwargs": kwargs}
    alone = regression(tmp_path / "alone", **words)
    alone.train()
    assert not finite(alone.model)  # it would have died
    made = regression(tmp_path / "run", Checkpoints(), by(), LRRecorder(), LRCard(), **words)
    train(made)
    history = read_history(tmp_path / "run")
    assert made.state.global_step == STEPS
    assert history.step.tolist() == list(range(1, STEPS + 1))
    assert history.loss[-10:].mean() < FLOOR
    [rescue] = rescues(tmp_path / "run")
    assert (rescue.back_to, rescue.configured, rescue.skip) == (10, (HIGH, HIGH), None)
    lowered = rescue.peaks[0]
    assert 0.1 * HIGH <= lowered <= 0.3 * HIGH
    after = history.lr[rescue.back_to :, 0]
    assert after.max() == pytest.approx(lowered)
    assert (after[: int(rescue.rewarm) + 1][1:] > after[: int(rescue.rewarm)]).all()
    assert after[0] < 0.1 * lowered
    text = rescue.text
    assert f"goes on with its peak lowered from 2 to {lowered:.3g}" in text
    assert text in said(caplog)
    assert [(one.step, one.text) for one in history.events if one.kind == "rescue"] == [(10, text)]
    for state in (
        made.state.log_history,
        json.loads((tmp_path / "run/checkpoint-120/trainer_state.json").read_text())["log_history"],
    ):
        assert [line["watch"] for line in state if line.get("kind") == "rescue"] == [text]
    assert any(text in note for note in json.loads((tmp_path / "run/lr_schedule.json").read_text())["notes"])
    assert [asdict(one) for one in diagnose(history)] == told(made)
    assert not [one for one in told(made) if one["attention"]]  # nothing is wrong with what became of it
    assert [path.name for path in (tmp_path / "run/rescued-1").iterdir()] == ["checkpoint-20"]
    groups = made.optimizer.param_groups
    assert [group["initial_lr"] for group in groups] == [HIGH, HIGH]  # for a training after it


@pytest.fixture
def corrupted() -> Any:
    data = examples(8 * STEPS)
    data[8 * 60]["labels"] = torch.tensor(1e25)  # of step 61; the weights are then lost
    return data


def test_the_batch_that_did_it_is_left_out_and_the_peak_stays(corrupted: Any, tmp_path: Path) -> None:
    made = regression(tmp_path, by(), LRRecorder(), high=0.1, dataset=corrupted, warmup_steps=10)
    train(made)
    [rescue] = rescues(tmp_path)
    assert rescue.skip is not None
    assert rescue.skip[0] <= 61 <= rescue.skip[1]
    assert rescue.peaks == rescue.configured
    assert rescue.back_to == 50
    history = read_history(tmp_path)
    assert history.loss[-10:].mean() < FLOOR
    assert len(history) == STEPS
    bad = corrupted[8 * 60]["x"][0]
    times = [step for step, seen in enumerate(made.model.seen) if (seen == bad).any()]
    assert len(times) == 1  # and never again
    assert history.lr[:, 0] == pytest.approx(made.lr_scheduler.schedule.lrs(STEPS, 0.1))


def test_leaving_it_out_is_tried_once_in_a_place(tmp_path: Path) -> None:
    bad = rule(at=25, since=24, cause="bad batch", again=True)
    made = regression(tmp_path, by(bad, rescues=2), high=0.1)
    train(made)
    one, other = rescues(tmp_path)
    assert (one.skip, other.skip) == ((23, 25), None)
    assert other.peaks[0] == pytest.approx(0.1 / 3)
    assert made.state.global_step == 25


def test_a_run_is_rescued_so_often_and_then_stopped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = regression(tmp_path, by(rule(again=True)), high=0.9)
    train(made)
    assert [one.peaks[0] for one in rescues(tmp_path)] == pytest.approx([0.3, 0.1, 0.1 / 3])
    assert made.state.global_step == 25
    assert said(caplog)[-1].endswith("it was rescued 3 times already, as often as it may be")


@pytest.mark.parametrize("kind", ["ours", "torch's"])
def test_a_schedule_that_was_handed_to_the_trainer_is_lowered_too(kind: str, tmp_path: Path) -> None:
    model = Linear()
    optimizer = SGD(model.parameters(), lr=0.3)
    scheduler = ScheduleLR(optimizer, hold(STEPS) >> hold(0)) if kind == "ours" else LambdaLR(optimizer, lambda step: 1.0)
    made = regression(tmp_path, by(rule(again=True), rescues=2), model=model, optimizers=(optimizer, scheduler))
    train(made)
    assert made.state.global_step == 25
    assert [one.peaks for one in rescues(tmp_path)] == [pytest.approx((0.1,)), pytest.approx((0.1 / 3,))]
    assert [lrs[0] for lrs in watch(made).lrs[-15:]] == pytest.approx([min(step / 12, 1) * 0.1 / 3 for step in range(1, 16)])


def test_a_rescue_goes_with_all_the_others(tmp_path: Path) -> None:
    others = [CycleSnapshots(), CooldownCallback(20, at=90), LRPlot(), LRCard(), LRRecorder()]
    words: dict[str, Any] = {
        "eval_strategy": "steps",
        "eval_steps": 10,
        "load_best_model_at_end": True,
        "save_total_limit": 4,
    }
    words |= {"lr_scheduler_kwargs": {"decay": 0}, "max_steps": 10**9, "report_to": ["tensorboard"]}
    made = regression(tmp_path, *others, by(), **words)
    train(made)
    assert made.state.global_step == 110
    history = read_history(tmp_path)
    assert {"resume", "rescue", "cooldown"} <= {event.kind for event in history.events}
    assert history.loss[-10:].mean() < FLOOR
    assert "reaches in 100 steps" in rescues(tmp_path)[0].text  # nobody knows how many are left
    [events] = tmp_path.rglob("*tfevents*")  # the tracker has stayed open
    told = EventAccumulator(str(events), size_guidance={"tensors": 0})
    told.Reload()
    assert {"LRWatch/text_summary", "explodes: lr too high/text_summary"} <= set(told.Tags()["tensors"])


def test_the_rules_judge_by_the_peak_that_holds(tmp_path: Path) -> None:
    class Highest(Rule):
        seen: list[float] = []

        def see(self, point: Point, sight: Sight) -> list[Finding]:
            self.seen.append(sight.highest_lr)
            return []

    train(regression(tmp_path, by(rule(at=65, since=63), Highest), LRRecorder(), high=0.3))
    assert Highest.seen[64] == pytest.approx(0.3)
    assert Highest.seen[-1] == pytest.approx(0.1)
    diagnose(read_history(tmp_path), [Highest])
    assert Highest.seen[-1] == pytest.approx(0.1)
    Highest.seen.clear()
    bad = rule(at=65, since=63, cause="bad batch")
    train(regression(tmp_path / "batch", by(bad, Highest), LRRecorder(), high=0.3))
    assert Highest.seen[-1] == pytest.approx(0.3)


# Where it goes back to


def test_a_run_that_diverges_before_its_first_checkpoint_starts_anew(tmp_path: Path) -> None:
    made = regression(tmp_path, by(rule(at=7, since=5)), LRRecorder(), high=0.3)
    train(made)
    [rescue] = rescues(tmp_path)
    assert rescue.back_to == 0
    history = read_history(tmp_path)
    assert len(history) == STEPS
    assert history.loss[-10:].mean() < FLOOR
    assert [one.step for one in history.events if one.kind == "rescue"] == [0]
    first = load_file(tmp_path / "checkpoint-0" / "model.safetensors")
    assert torch.equal(first["head.weight"], Linear().head.weight)


def test_and_is_stopped_where_its_start_was_not_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = regression(tmp_path, by(rule(at=7, since=5)))
    train(made, keep_start=False)
    assert (made.state.global_step, checkpoints(tmp_path)) == (7, [])
    assert said(caplog)[-1].endswith("no whole checkpoint with finite weights lies before step 5; save more often")


def test_good_is_what_is_whole_and_finite_and_a_margin_before_the_fault(tmp_path: Path) -> None:
    regression(tmp_path, Checkpoints(), high=0.1, max_steps=100, save_steps=20).train()
    back = {since: good(tmp_path, found(since + 2, since)) for since in (101, 89, 45, 44, 22, 20)}
    assert back == {101: 80, 89: 80, 45: 40, 44: 20, 22: 20, 20: None}
    broken = load_file(tmp_path / "checkpoint-80" / "model.safetensors")
    broken["head.weight"][0, 1] = math.nan
    save_file(broken, tmp_path / "checkpoint-80" / "model.safetensors")
    assert not is_finite(tmp_path / "checkpoint-80")
    (tmp_path / "checkpoint-60" / "optimizer.pt").write_bytes(b"cut")
    assert good(tmp_path, found(101, 101)) == 40
    (tmp_path / "checkpoint-40" / "model.safetensors").unlink()
    assert not is_finite(tmp_path / "checkpoint-40")


def test_a_checkpoint_of_another_run_in_the_folder_is_none_of_this_one(tmp_path: Path) -> None:
    regression(tmp_path, high=0.1, save_steps=15, max_steps=80).train()
    train(regression(tmp_path, by(rule(at=55, since=53)), high=0.1, save_steps=20))
    assert rescues(tmp_path)[0].back_to == 40  # and not 45
    assert (tmp_path / "rescued-1" / "checkpoint-45").is_dir()


def test_what_lies_behind_is_moved_and_nothing_is_lost(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-90").mkdir()  # of another run, perhaps
    (tmp_path / "checkpoint-90" / "mine").write_text("mine")
    before = files(tmp_path / "checkpoint-90")
    made = regression(tmp_path, by(rule(at=45, since=40)), high=0.1)
    made.add_callback(At(44, lambda: kept.append(files(tmp_path / "checkpoint-40"))))
    kept: list[Any] = []
    train(made)
    assert files(tmp_path / "rescued-1" / "checkpoint-90") == before
    assert files(tmp_path / "rescued-1" / "checkpoint-40") == kept[0]


# Killed, and started again by the same script


@pytest.mark.parametrize("at", [22, 45])
@pytest.mark.parametrize("policy", ["configured", "checkpoint", "strict"])
def test_a_rescued_run_that_is_killed_goes_on_as_it_would_have(at: int, policy: str, tmp_path: Path) -> None:
    words: dict[str, Any] = {"high": 0.3, "lr_scheduler_kwargs": {"decay": 40, "on_resume": policy}}
    whole = regression(tmp_path / "whole", by(rule()), LRRecorder(), **words)
    train(whole)
    again = rule()
    kill = Later(at)
    killed(lambda: train(regression(tmp_path / "run", Checkpoints(), by(again), kill, LRRecorder(), **words)))
    made = regression(tmp_path / "run", Checkpoints(), by(again), LRRecorder(), **words)
    train(made, resume_from_checkpoint=True)
    one, other = read_history(tmp_path / "run"), read_history(tmp_path / "whole")
    assert one.lr.tolist() == other.lr.tolist()
    assert one.loss.tolist() == other.loss.tolist()
    assert one.lr.max() == pytest.approx(0.3 / 3)
    assert len(rescues(tmp_path / "run")) == 1
    text = rescues(tmp_path / "run")[0].text
    assert [line["watch"] for line in made.state.log_history if line.get("kind") == "rescue"] == [text]
    assert [event.text for event in one.events if event.kind == "rescue"] == [text]


class Later(TrainerCallback):
    """Kills a run at a step, but not before it was rescued."""

    def __init__(self, step: int) -> None:
        self.step, self.begun = step, 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.begun += 1

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.begun == 2 and state.global_step == self.step:
            die()


def test_a_peak_that_was_typed_since_counts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    killed(lambda: train(regression(tmp_path, by(rule()), Later(45), high=0.3)))
    caplog.clear()
    made = regression(tmp_path, by(rule(times=1)), high=0.2)
    train(made, resume_from_checkpoint=last_complete(tmp_path))
    assert watch(made).lrs[0][0] == pytest.approx(0.2)
    assert "this run was rescued under a peak of 0.3, and one of 0.2 is configured now, which counts" in said(caplog)


def test_a_run_that_begins_anew_is_under_its_own_peak(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train(regression(tmp_path, by(rule()), high=0.3))
    before = (tmp_path / RESCUES).read_bytes()
    made = regression(tmp_path, by(rule(at=999)), high=0.3)
    train(made)
    assert max(lrs[0] for lrs in watch(made).lrs) == pytest.approx(0.3)
    assert (tmp_path / "rescues-before-1.json").read_bytes() == before
    assert not (tmp_path / RESCUES).exists()


def test_a_record_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    train(regression(tmp_path, by(rule()), high=0.3, max_steps=80))
    (tmp_path / RESCUES).write_text("{")
    with pytest.raises(ValueError, match=r"rescues\.json cannot be read .*; remove it to go on under the peak"):
        train(regression(tmp_path, by()), resume_from_checkpoint=True)


def test_batches_that_are_left_out_stay_left_out_where_a_run_resumes_among_them() -> None:
    skip = Rescued(1, 12, 10, 0, (1.0,), (1.0,), 0.0, (9, 12), "")
    course = Course(LRWatch(), [skip], fresh=False, start=False)
    drawn = iter(range(100))

    def draw() -> tuple[Any, Any]:
        return [next(drawn)], None

    def made(first: int) -> Iterator[int]:
        for update in range(first, 16):
            yield course.instead(update, *draw(), draw)[0][0]

    assert list(made(6)) == [0, 1, 2, 1, 2, 0, 1, 7, 8, 9]  # 6 to 8, then these again, then 13 to 15
    drawn = iter(range(10, 100))  # the position Trainer goes on at, where update 10 comes
    course = Course(LRWatch(), [skip], fresh=False, start=False)
    assert list(made(10)) == [13, 14, 15, 16, 17, 18]


# Several processes


def test_two_processes_are_rescued_together(tmp_path: Path) -> None:
    two_processes(tmp_path, "rescued")
    one, other = (json.loads((tmp_path / f"rescued-{rank}.json").read_text()) for rank in (0, 1))
    assert one["processes"] == other["processes"] == 2
    assert one["steps"] == other["steps"] == STEPS
    assert one["weights"] == other["weights"]
    assert one["lrs"] == other["lrs"]
    history = read_history(tmp_path / "rescued")
    assert history.loss[-10:].mean() < FLOOR
    assert len(rescues(tmp_path / "rescued")) == 1


# What is refused before anything is spent


def test_without_its_watch_it_is_refused(tmp_path: Path) -> None:
    made = regression(tmp_path / "run")
    with pytest.raises(ValueError, match=r"LRWatch\(on_divergence='rescue'\) has to tell it; add that to the Trainer's"):
        train(made)
    assert list((tmp_path / "run").iterdir()) == []


def test_with_another_action_it_only_trains(tmp_path: Path) -> None:
    made = regression(tmp_path / "run", LRWatch(on_divergence="stop"), high=0.1, max_steps=100)
    train(made)
    assert made.state.global_step == 100
    assert not (tmp_path / "run" / "checkpoint-0").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"save_only_model": True}, "save_only_model leaves the optimizer out"),
        ({"save_total_limit": 1}, "save_total_limit=1 keeps only the newest checkpoint"),
        (
            {"lr_scheduler_type": "reduce_lr_on_plateau", "lr_scheduler_kwargs": {}, "eval_strategy": "steps"},
            "lower the peak of ReduceLROnPlateau",
        ),
    ],
)
def test_what_could_not_go_back_is_refused(words: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    made = regression(tmp_path / "run", by(), **words)
    with pytest.raises(ValueError, match=sentence):
        train(made)
    assert made.state.global_step == 0
    assert list((tmp_path / "run").iterdir()) == []


def test_nothing_to_go_back_to_is_refused(tmp_path: Path) -> None:
    made = regression(tmp_path, by(), save_strategy="no")
    with pytest.raises(ValueError, match=r"nothing is saved .* so there would be nothing to go back to"):
        train(made, keep_start=False)
    with pytest.raises(ValueError, match=r"there is no complete checkpoint in .* to resume from"):
        train(regression(tmp_path, by()), resume_from_checkpoint=True)


@pytest.mark.parametrize("name", ["deepspeed", "fsdp"])
def test_weights_that_are_spread_are_refused(name: str, tmp_path: Path) -> None:
    made = regression(tmp_path, by())
    setattr(made, f"is_{name}_enabled", True)
    with pytest.raises(ValueError, match=r"each process holds a part of the weights, and going back .* is not proven"):
        train(made)


def test_a_floor_above_the_lowered_peak_stops_the_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = regression(tmp_path, by(rule()), high=0.3, lr_scheduler_kwargs={"decay": 40, "min_lr": 0.2})
    train(made)
    assert made.state.global_step == 25
    assert "min_lr" in said(caplog)[-1]


def test_the_trainer_is_afterwards_as_it_was(tmp_path: Path) -> None:
    made = regression(tmp_path, watching := by(rule()), high=0.3)
    before = list(made.callback_handler.callbacks)
    train(made)
    assert set(made.callback_handler.callbacks) == set(before)
    assert "create_scheduler" not in vars(made)
    assert watching.rescuer is None
    assert not made.is_in_train
    with pytest.raises(ValueError, match="call hf_lrsched"):
        made.train()
    assert weights(made)
