"""Cooldowns on demand: each trigger on a real Trainer with a ceiling of 1e9 steps, what is left behind, and resuming."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.utils.data import IterableDataset
from transformers import TrainerCallback

from hf_lrsched import Checkpoints, CooldownCallback, HeldBack, Schedule, fall, last_complete, read_history, wsd
from hf_lrsched.training.checkpoints import is_complete
from hf_lrsched.training.deadlines import Deadline

from .running import (
    At,
    Skips,
    Stream,
    arguments,
    checkpoints,
    die,
    equal,
    files,
    killed,
    lrs,
    near,
    running,
    said,
    two_processes,
)
from .test_trainer import PEAK, weights

CEILING = 10**9
OPEN: dict[str, Any] = {
    "max_steps": CEILING,
    "lr_scheduler_type": "wsd",
    "lr_scheduler_kwargs": {"warmup": 4, "decay": 0},
}
EVALUATED: dict[str, Any] = {"eval_strategy": "steps", "eval_steps": 2}


class Clock:
    """A time that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def time(self) -> float:
        return self.now


class Ticking(TrainerCallback):
    """Every step takes so many seconds, and the one in `slow` more."""

    def __init__(self, clock: Clock, each: float = 10.0, slow: dict[int, float] | None = None) -> None:
        self.clock, self.each, self.slow = clock, each, slow or {}

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.clock.now += self.each + self.slow.get(state.global_step, 0.0)


class Noon(datetime):
    @classmethod
    def now(cls, tz: Any = None) -> Noon:
        return cls(2026, 11, 24, 12)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """What the deadlines take the time from."""
    made = Clock()
    monkeypatch.setattr("hf_lrsched.training.deadlines.time", SimpleNamespace(time=made.time))
    monkeypatch.setattr("hf_lrsched.training.deadlines.datetime", Noon)
    return made


@pytest.fixture
def look_always(monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder is looked at once a second; here each look at the clock is two seconds later."""
    seconds = iter(range(10, 10**6, 2))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(seconds)))


def open_ended(folder: Path, *callbacks: TrainerCallback, dataset: Any = None, **given: Any) -> Any:
    return running(arguments(folder, **{**OPEN, **given}), *callbacks, dataset=dataset)


def trace(start: int, steps: int, shape: str = "1-sqrt", total: int | None = None) -> Any:
    """The LR of every update of a run that starts to cool down behind `start` steps."""
    return wsd(start + steps, warmup=4, decay=steps, shape=shape).lrs(total or start + steps, PEAK)


def told(made: Any) -> list[dict[str, Any]]:
    """What the log says of cooldowns, without the epoch."""
    lines = [line for line in made.state.log_history if "cooldown" in line]
    assert all(set(line) == {"step", "epoch", "cooldown", "cooldown_steps"} for line in lines)
    return [{name: value for name, value in line.items() if name != "epoch"} for line in lines]


def record(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "cooldown.json").read_text())
    return found


def check_branch_point(folder: Path, start: int, never_cooled: Any) -> None:
    """The state before the decay lies complete and kept, and nothing in it knows of the decay's LRs."""
    point = folder / f"checkpoint-{start}"
    assert is_complete(point)
    assert json.loads((point / "hf_lrsched_manifest.json").read_text())["kept"] is True
    assert "cooldown" not in torch.load(point / "scheduler.pt", weights_only=True)
    log = json.loads((point / "trainer_state.json").read_text())["log_history"]
    assert [line["step"] for line in log if "cooldown" in line] == [start]
    assert equal(load_file(point / "model.safetensors"), weights(never_cooled))


# Every trigger


@dataclass(frozen=True)
class Trigger:
    """How a run is told to cool down, and what then has to happen."""

    name: str
    callback: Callable[[], CooldownCallback]
    start: int
    steps: int
    reason: str
    act: Callable[[Path], list[TrainerCallback]] = lambda folder: []
    words: dict[str, Any] = field(default_factory=dict)
    dataset: Callable[[], Any] = lambda: None


def signalled(step: int) -> Callable[[Path], list[TrainerCallback]]:
    return lambda folder: [At(step, lambda: os.kill(os.getpid(), signal.SIGUSR1))]


def requested(step: int, text: str) -> Callable[[Path], list[TrainerCallback]]:
    return lambda folder: [At(step, lambda: (folder / "cooldown.request").write_text(text))]


ACCUMULATED = {"gradient_accumulation_steps": 3}
TRIGGERS = [
    Trigger("step", lambda: CooldownCallback(5, at=12), 12, 5, "step 12"),
    Trigger("tokens", lambda: CooldownCallback("450 tokens", at="1.15K tokens", tokens_per_step=100), 12, 4, "step 12"),
    Trigger("share", lambda: CooldownCallback(0.2, at=12), 12, 3, "step 12"),
    Trigger("percent", lambda: CooldownCallback("25%", at=12), 12, 4, "step 12"),
    Trigger("ceiling", CooldownCallback, 16, 4, "max_steps=20", words={"max_steps": 20}),
    Trigger("ceiling in steps", lambda: CooldownCallback(7), 13, 7, "max_steps=20", words={"max_steps": 20}),
    Trigger("ceiling before the step", lambda: CooldownCallback(7, at=15), 13, 7, "max_steps=20", words={"max_steps": 20}),
    Trigger("patience", lambda: CooldownCallback(5, patience=2, min_improvement=10), 7, 5,
            "no improvement in 2 evaluations", words=EVALUATED),
    Trigger("signal", lambda: CooldownCallback(5), 9, 5, "signal SIGUSR1", act=signalled(9)),
    Trigger("signal in the warm-up", lambda: CooldownCallback(5), 4, 5, "signal SIGUSR1", act=signalled(2)),
    Trigger("request", lambda: CooldownCallback(5), 9, 5, "file cooldown.request", act=requested(9, "")),
    Trigger("request with steps", lambda: CooldownCallback(5), 9, 7, "file cooldown.request",
            act=requested(9, '{"steps": 7}')),
    Trigger("request without", lambda: CooldownCallback(5), 9, 5, "file cooldown.request", act=requested(9, "{}")),
    Trigger("request past the ceiling", lambda: CooldownCallback(5), 9, 21, "file cooldown.request",
            act=requested(9, '{"steps": 500}'), words={"max_steps": 30}),
    Trigger("accumulated", lambda: CooldownCallback(5, at=7), 7, 5, "step 7", words=ACCUMULATED),
    Trigger("stream", lambda: CooldownCallback(5), 13, 5, "the stream has ended", dataset=lambda: Stream(50)),
    Trigger("stream, share", CooldownCallback, 13, 3, "the stream has ended", dataset=lambda: Stream(50)),
    Trigger("stream, accumulated", lambda: CooldownCallback(2), 6, 2, "the stream has ended", words=ACCUMULATED,
            dataset=lambda: Stream(80)),
    Trigger("held back", lambda: CooldownCallback(5), 14, 6, "the stream ends", dataset=lambda: HeldBack(Stream(80), 24)),
    Trigger("held back, accumulated", lambda: CooldownCallback(5), 5, 2, "the stream ends", words=ACCUMULATED,
            dataset=lambda: HeldBack(Stream(84), 24)),
]  # fmt: skip


@pytest.mark.usefixtures("look_always")
@pytest.mark.parametrize("trigger", TRIGGERS, ids=lambda trigger: trigger.name)
def test_every_trigger(trigger: Trigger, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder, start, steps = tmp_path / "run", trigger.start, trigger.steps
    made = open_ended(folder, *trigger.act(folder), trigger.callback(), dataset=trigger.dataset(), **trigger.words)
    made.train()
    assert [line["cooldown"] for line in told(made)] == [trigger.reason]
    assert lrs(made) == near(trace(start, steps))
    assert (made.state.global_step, made.state.max_steps) == (start + steps, start + steps)
    assert told(made) == [{"step": start, "cooldown": trigger.reason, "cooldown_steps": steps}]
    left = {"at": start, "steps": steps, "shape": "1-sqrt", "to": 0.0, "reason": trigger.reason, "skipped": 0}
    assert record(folder) == left
    assert f"cooldown: {trigger.reason}; {steps} steps from step {start} on, and the run is over at {start + steps}" in said(
        caplog
    )
    assert not (folder / "cooldown.request").exists()
    never = open_ended(tmp_path / "never", dataset=trigger.dataset(), **{**trigger.words, "max_steps": start})
    never.train()
    check_branch_point(folder, start, never)


def test_shape_and_end_of_the_decay_are_told(tmp_path: Path) -> None:
    made = open_ended(tmp_path, CooldownCallback(5, at=12, shape="linear", to=0.1))
    made.train()
    schedule = wsd(17, warmup=4, decay=5, shape="linear", min_lr_ratio=0.1)
    assert lrs(made) == near(schedule.lrs(17, PEAK))


def test_a_floor_stays_a_floor(tmp_path: Path) -> None:
    words = {"lr_scheduler_kwargs": {"warmup": 4, "decay": 0, "min_lr": 1e-3}}
    made = open_ended(tmp_path, CooldownCallback(5, at=12), **words)
    made.train()
    assert lrs(made) == near(wsd(17, warmup=4, decay=5, min_lr=1e-3).lrs(17, PEAK))


def test_other_schedules_of_an_open_end_cool_down_from_where_they_are(tmp_path: Path) -> None:
    words = {"lr_scheduler_type": "power", "lr_scheduler_kwargs": {"warmup": 4, "decay": 0}}
    made = open_ended(tmp_path, CooldownCallback(5, at=12, shape="linear"), **words)
    made.train()
    schedule = made.lr_scheduler.planned
    value = schedule(12)
    assert value > 0
    assert lrs(made)[:13] == near(schedule.lrs(13, PEAK))
    assert lrs(made)[12:] == near(Schedule((fall(5, "linear", start=value),)).lrs(5, PEAK))


# Streams


def test_a_second_pass_is_said_and_a_held_back_reserve_makes_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    open_ended(tmp_path / "second", CooldownCallback(5), dataset=Stream(50)).train()
    assert "the stream has ended at step 13; the decay runs on a second pass over it" in said(caplog)
    caplog.clear()
    made = open_ended(tmp_path / "held", CooldownCallback(5), dataset=HeldBack(Stream(80), 24))
    made.train()
    assert not [line for line in said(caplog) if "second pass" in line]
    assert made.state.epoch < 1e-6  # of a pass of 1e9 steps


class Counted(IterableDataset[Any]):
    """Writes down, in a file, every example that is taken out of it."""

    def __init__(self, length: int, file: Path) -> None:
        self.length, self.file = length, file

    def __iter__(self) -> Iterator[Any]:
        for i, example in enumerate(Stream(self.length)):
            with self.file.open("a") as file:
                file.write(f"{i}\n")
            yield example


@pytest.mark.parametrize("workers", [0, 1])
def test_held_back_is_seen_from_a_worker_of_the_loader(workers: int, tmp_path: Path) -> None:
    held = HeldBack(Counted(80, tmp_path / "taken"), 24)
    made = open_ended(tmp_path / "run", CooldownCallback(5), dataset=held, dataloader_num_workers=workers)
    made.train()
    [line] = told(made)
    assert (line["cooldown"], line["cooldown_steps"]) == ("the stream ends", 6)
    assert 14 - 3 * workers <= line["step"] <= 14  # a worker reads two batches ahead
    assert lrs(made) == near(trace(line["step"], 6))
    assert (tmp_path / "taken").read_text().split() == [str(i) for i in range(80)]  # once
    assert held.ended


def test_a_stream_that_ends_in_the_warm_up_cools_down_from_there(tmp_path: Path) -> None:
    made = open_ended(tmp_path, CooldownCallback(4, shape="linear"), dataset=Stream(8))
    made.train()
    assert lrs(made) == near([0.0, 0.25 * PEAK, *Schedule((fall(4, "linear", start=0.5),)).lrs(4, PEAK)])


def test_an_accumulation_that_the_end_has_cut_is_dropped(tmp_path: Path) -> None:
    words = {"gradient_accumulation_steps": 3}
    ends = []
    for length in (80, 72):  # 20 batches, of which 18 make 6 updates
        made = open_ended(tmp_path / str(length), CooldownCallback(2), dataset=Stream(length), **words)
        made.train()
        assert made.state.global_step == 8
        ends.append(weights(made))
    assert equal(*ends)


def test_an_epoch_whose_length_is_known_is_no_stream(tmp_path: Path) -> None:
    made = open_ended(tmp_path, CooldownCallback(5, at=20))  # 24 examples: 6 steps an epoch
    made.train()
    assert lrs(made) == near(trace(20, 5))


def test_a_stream_without_a_cooldown_begins_again_as_under_transformers_alone(tmp_path: Path) -> None:
    alone = open_ended(tmp_path / "alone", dataset=Stream(20), max_steps=12)
    alone.train()
    ours = open_ended(tmp_path / "ours", Checkpoints(), dataset=Stream(20), max_steps=12)
    ours.train()
    assert len(lrs(ours)) == 12
    assert lrs(ours) == lrs(alone)
    assert equal(weights(ours), weights(alone))


@pytest.mark.parametrize(("examples", "accumulation", "least"), [(3, 1, 4), (11, 3, 12)])
def test_less_than_a_step_held_back_is_refused(examples: int, accumulation: int, least: int, tmp_path: Path) -> None:
    held = HeldBack(Stream(80), examples)
    made = open_ended(tmp_path, CooldownCallback(5), dataset=held, gradient_accumulation_steps=accumulation)
    message = f"{examples} examples are held back, and a step takes {least}; hold back at least {least}"
    with pytest.raises(ValueError, match=message):
        made.train()
    assert lrs(made) == []


def test_a_reserve_longer_than_the_stream_is_all_there_is(tmp_path: Path) -> None:
    made = open_ended(tmp_path, CooldownCallback(5, shape="linear"), dataset=HeldBack(Stream(40), 100))
    made.train()
    assert told(made)[0]["cooldown"] == "the stream ends"
    assert made.state.global_step == told(made)[0]["step"] + 25  # the rest on a second pass: what was asked for


def test_held_back_passes_on_the_epoch_and_keeps_the_order() -> None:
    class Epochs(Stream):
        epoch = 0

        def set_epoch(self, epoch: int) -> None:
            self.epoch = epoch

    stream = Epochs(10)
    held = HeldBack(stream, 3)
    held.set_epoch(2)
    assert stream.epoch == 2
    assert [id(one) for one in held] != []
    assert len(list(HeldBack(Stream(10), 100))) == 10
    assert all(torch.equal(one["x"], other["x"]) for one, other in zip(held, Stream(10), strict=True))
    for examples in (0, -1, 2.5):
        with pytest.raises(ValueError, match=f"examples={examples} must be a whole number, 1 or more"):
            HeldBack(stream, examples)  # type: ignore[arg-type]  # on purpose


# The clock


@pytest.mark.parametrize("finish_by", ["200s", 200, timedelta(seconds=200), "3.3333333333 min"])
def test_a_run_is_over_within_the_time_it_was_given(
    finish_by: Any, clock: Clock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = open_ended(tmp_path / "run", Ticking(clock), CooldownCallback(5, finish_by=finish_by))
    clock.now += 5000  # loading the model takes its time; the run's begins when it trains
    began = clock.now
    made.train()
    assert told(made) == [{"step": 13, "cooldown": f"deadline {finish_by}", "cooldown_steps": 5}]
    assert lrs(made) == near(trace(13, 5))
    assert clock.now - began == 180.0  # one step more would leave less than the time of the last save
    never = open_ended(tmp_path / "never", max_steps=13)
    never.train()
    check_branch_point(tmp_path / "run", 13, never)


def test_a_run_is_over_at_the_time_it_was_given(clock: Clock, tmp_path: Path) -> None:
    made = open_ended(tmp_path, Ticking(clock), CooldownCallback(5, finish_by="12:04"))
    clock.now += 40  # of the 240 seconds
    made.train()
    assert told(made) == [{"step": 13, "cooldown": "deadline 12:04", "cooldown_steps": 5}]
    assert lrs(made) == near(trace(13, 5))


def test_the_decay_is_shortened_where_less_time_is_left(clock: Clock, tmp_path: Path) -> None:
    callback = CooldownCallback(30, finish_by="200s")
    made = open_ended(tmp_path, Ticking(clock), callback)
    began = clock.now
    made.train()
    [line] = told(made)
    assert line["step"] == 1  # the clock does not wait for the warm-up, which takes four steps
    assert 10 <= line["cooldown_steps"] < 20
    low = Schedule((fall(line["cooldown_steps"], "1-sqrt", start=0.25),))
    assert lrs(made) == near([0.0, *low.lrs(line["cooldown_steps"], PEAK)])
    assert clock.now - began <= 200


def test_a_deadline_that_a_slow_step_has_run_past_leaves_one_step(clock: Clock, tmp_path: Path) -> None:
    made = open_ended(tmp_path, Ticking(clock, slow={6: 500.0}), CooldownCallback(5, finish_by="200s"))
    made.train()
    assert told(made) == [{"step": 6, "cooldown": "deadline 200s", "cooldown_steps": 1}]


@pytest.mark.parametrize(
    ("finish_by", "seconds"),
    [
        ("45s", 45.0), ("90 min", 5400.0), ("6h", 21600.0), ("1.5 hours", 5400.0), ("2 days", 172800.0), ("1 d", 86400.0),
        (30, 30.0), (0.5, 0.5), (timedelta(minutes=2), 120.0), ("12:30", 1800.0), (" 9:05 ", 21 * 3600 + 300.0),
        ("12:00", 86400.0), ("2026-11-24 18:00", 21600.0), ("2026-11-25", 43200.0), ("2026-11-24T12:00:30", 30.0),
        (Noon(2026, 11, 24, 13), 3600.0),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("clock")
def test_a_deadline_is_read(finish_by: Any, seconds: float) -> None:
    assert Deadline(finish_by).seconds == seconds
    assert str(Deadline(finish_by)) == str(finish_by)


def test_a_deadline_with_a_time_zone_is_read() -> None:
    zone = timezone(timedelta(hours=-7))
    assert 3590 < Deadline(datetime.now(zone) + timedelta(hours=1)).seconds <= 3600
    assert 3590 < Deadline((datetime.now(zone) + timedelta(hours=1)).isoformat()).seconds <= 3600


@pytest.mark.parametrize(
    ("finish_by", "sentence"),
    [
        ("soon", "finish_by='soon' is not a time; write '18:00', '2026-11-24 06:00', '6h' or '90 min'"),
        ("", "finish_by='' is not a time"),
        ("6 weeks", "finish_by='6 weeks' is not a time"),
        ("25:00", "finish_by='25:00' is no time of day"),
        ("12:60", "finish_by='12:60' is no time of day"),
        ("0s", "finish_by='0s' has passed"),
        (0, "finish_by=0 has passed"),
        (-5.0, "finish_by=-5.0 has passed"),
        (timedelta(-1), "has passed"),
        ("2026-11-24 06:00", "finish_by='2026-11-24 06:00' has passed"),
        (Noon(2026, 11, 24, 11), "has passed"),
    ],
)
@pytest.mark.usefixtures("clock")
def test_a_deadline_that_cannot_be_is_refused(finish_by: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Deadline(finish_by)
    with pytest.raises(ValueError, match=sentence):
        CooldownCallback(5, finish_by=finish_by)


def test_a_deadline_learns_the_time_of_a_step_from_the_last_hundred(clock: Clock) -> None:
    deadline = Deadline("1000s")
    deadline.begin()
    assert deadline.due(5) is None  # no step is known
    for each, count in ((4.0, 50), (1.0, 200)):
        for _ in range(count):
            clock.now += each
            deadline.step()
    # 1000 - 400 = 600 left, less the longest step (4); a step is taken to be one second and 5 % of it
    assert deadline.due(566) is None
    assert deadline.due(567) == 567
    assert deadline.due(900) == int(596 / 1.05)
    deadline.begin()
    assert deadline.due(900) is None  # anew: nothing is known


def test_a_deadline_that_has_passed_leaves_one_step(clock: Clock) -> None:
    deadline = Deadline("10s")
    deadline.begin()
    clock.now += 20
    deadline.step()
    assert deadline.due(5) == 1


# Evaluations


class Losses(TrainerCallback):
    """Replaces the held-out loss, before anybody counts it."""

    def __init__(self, *losses: float, name: str = "eval_loss") -> None:
        self.losses, self.name = list(losses), name

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        kwargs["metrics"][self.name] = self.losses[state.global_step // 2 - 1]


@pytest.mark.parametrize(
    ("losses", "words", "arguments_", "start"),
    [
        ([5, 4, 3, 3, 3, 2, 1], {"patience": 2}, {}, 11),
        ([5, 4, 4, 3, 4, 2, 3, 3], {"patience": 2}, {}, 17),
        ([5, 4.95, 4.91, 4, 4], {"patience": 2, "min_improvement": 0.1}, {}, 7),
        ([5, 4.95, 4.89, 4.85, 4.8], {"patience": 2, "min_improvement": 0.1}, {}, 11),
        ([1, 2, 3, 3, 2], {"patience": 2}, {"metric_for_best_model": "eval_f1", "greater_is_better": True}, 11),
        ([1, 2, 1], {"patience": 1}, {"metric_for_best_model": "f1", "greater_is_better": True}, 7),
    ],
)
def test_patience_counts_evaluations_without_improvement(
    losses: list[float], words: dict[str, Any], arguments_: dict[str, Any], start: int, tmp_path: Path
) -> None:
    name = "eval_f1" if arguments_ else "eval_loss"
    seen = Losses(*losses, *losses[-1:] * 9, name=name)
    made = open_ended(tmp_path, seen, CooldownCallback(3, **words), **EVALUATED, **arguments_)
    made.train()
    assert told(made) == [
        {"step": start, "cooldown": f"no improvement in {words['patience']} evaluations", "cooldown_steps": 3}
    ]


def test_patience_remembers_over_a_resume(tmp_path: Path) -> None:
    words = {**EVALUATED, "save_strategy": "steps", "save_steps": 1}
    callback = CooldownCallback(5, patience=3, min_improvement=10)
    killed(lambda: open_ended(tmp_path, At(6, die), callback, **words).train())
    made = open_ended(tmp_path, CooldownCallback(5, patience=3, min_improvement=10), **words)
    made.train(resume_from_checkpoint=last_complete(tmp_path))
    assert told(made) == [{"step": 9, "cooldown": "no improvement in 3 evaluations", "cooldown_steps": 5}]


# Requests


@pytest.mark.usefixtures("look_always")
@pytest.mark.parametrize("text", ["{", "[5]", "5", '{"steps": "many"}', '{"steps": NaN}', '{"steps": Infinity}', "\x00"])
def test_a_request_that_cannot_be_read_still_cools_down(text: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = open_ended(tmp_path, *requested(9, text)(tmp_path), CooldownCallback(5))
    made.train()
    assert lrs(made) == near(trace(9, 5))
    request = tmp_path / "cooldown.request"
    assert f'{request} holds no JSON such as {{"steps": 500}}; the cooldown takes its own length' in said(caplog)


@pytest.mark.usefixtures("look_always")
def test_a_request_of_other_bytes_than_text_still_cools_down(tmp_path: Path) -> None:
    made = open_ended(tmp_path, At(9, lambda: (tmp_path / "cooldown.request").write_bytes(b"\xff\xfe")), CooldownCallback(5))
    made.train()
    assert lrs(made) == near(trace(9, 5))


@pytest.mark.usefixtures("look_always")
@pytest.mark.parametrize(("steps", "taken"), [("0", 1), ("-3", 1), ("2.6", 3), ('"7"', 7)])
def test_the_steps_of_a_request_are_whole_and_at_least_one(steps: str, taken: int, tmp_path: Path) -> None:
    made = open_ended(tmp_path, *requested(9, f'{{"steps": {steps}}}')(tmp_path), CooldownCallback(5))
    made.train()
    assert told(made)[0]["cooldown_steps"] == taken


def test_the_folder_is_looked_at_once_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 10.0)  # the first look is at the first step, and no second passes
    made = open_ended(tmp_path, *requested(5, "")(tmp_path), CooldownCallback(5), max_steps=20)
    made.train()
    assert told(made)[0]["cooldown"] == "max_steps=20"


def test_a_request_made_while_the_run_was_down_is_found_on_resume(tmp_path: Path) -> None:
    words = {"save_strategy": "steps", "save_steps": 3}
    killed(lambda: open_ended(tmp_path, At(8, die), CooldownCallback(5), **words).train())
    (tmp_path / "cooldown.request").write_text('{"steps": 2}')
    made = open_ended(tmp_path, CooldownCallback(5), **words)
    made.train(resume_from_checkpoint=last_complete(tmp_path))
    assert told(made) == [{"step": 7, "cooldown": "file cooldown.request", "cooldown_steps": 2}]


def test_a_fresh_run_does_not_write_over_the_branch_point_of_another(tmp_path: Path) -> None:
    open_ended(tmp_path, CooldownCallback(2, at=6)).train()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match="holds checkpoint-6, which are to be kept, and a run from step 0 on would"):
        open_ended(tmp_path, CooldownCallback(5, at=12)).train()
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_decision_outlives_a_kill_before_the_first_save(tmp_path: Path) -> None:
    open_ended(tmp_path, CooldownCallback(2, at=6)).train()
    shutil.rmtree(tmp_path / "checkpoint-6")  # as if the kill had come before it
    made = open_ended(tmp_path, CooldownCallback(5))
    made.train()
    assert lrs(made) == near(trace(6, 2))


def test_a_decay_goes_on_and_ends_where_nobody_gives_it_the_callback_again(tmp_path: Path) -> None:
    open_ended(tmp_path, CooldownCallback(8, at=6), save_strategy="steps", save_steps=4).train()
    made = open_ended(tmp_path / "elsewhere")
    made.train(resume_from_checkpoint=str(tmp_path / "checkpoint-8"))
    assert lrs(made) == near(trace(6, 8)[8:])
    assert made.state.global_step == 14


# The signal


def test_the_handler_of_the_signal_is_put_back(tmp_path: Path) -> None:
    seen: list[Any] = []
    before = signal.signal(signal.SIGUSR1, mine := lambda number, frame: seen.append(number))
    try:
        made = open_ended(tmp_path, *signalled(6)(tmp_path), CooldownCallback(2))
        made.train()
        assert made.state.global_step == 8
        assert signal.getsignal(signal.SIGUSR1) is mine
        os.kill(os.getpid(), signal.SIGUSR1)
        assert seen == [signal.SIGUSR1]
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_training_in_another_thread_does_without_the_signal(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGUSR1)
    made = open_ended(tmp_path, CooldownCallback(2, at=6))
    thread = threading.Thread(target=made.train)
    thread.start()
    thread.join()
    assert made.state.global_step == 8
    assert signal.getsignal(signal.SIGUSR1) is before


def test_a_second_signal_changes_nothing(tmp_path: Path) -> None:
    made = open_ended(tmp_path, *signalled(6)(tmp_path), *signalled(8)(tmp_path), CooldownCallback(5))
    made.train()
    assert told(made) == [{"step": 6, "cooldown": "signal SIGUSR1", "cooldown_steps": 5}]
    assert lrs(made) == near(trace(6, 5))


def test_the_workers_stand_in_the_runs_folder(tmp_path: Path) -> None:
    open_ended(tmp_path, CooldownCallback(2, at=6)).train()
    run = json.loads((tmp_path / "hf_lrsched_run.json").read_text())
    assert run["cools_down"] is True
    assert [(one["rank"], one["pid"]) for one in run["workers"]] == [(0, os.getpid())]


# Killed and resumed

SAVES: dict[str, Any] = {"save_strategy": "steps", "save_steps": 3, "save_total_limit": 2}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run that cools down from step 10 over 8 steps."""
    made = open_ended(tmp_path_factory.mktemp("whole") / "run", CooldownCallback(8, at=10), **SAVES)
    made.train()
    return made


def test_the_branch_point_outlives_the_limit(uninterrupted: Any) -> None:
    assert checkpoints(Path(uninterrupted.args.output_dir)) == [10, 15, 18]


@pytest.mark.parametrize(("step", "resumed"), [(8, 6), (11, 10), (12, 10), (13, 12), (15, 12), (17, 15)])
def test_a_killed_run_resumes_where_it_was_and_ends_as_if_it_had_not_been(
    step: int, resumed: int, uninterrupted: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    killed(lambda: open_ended(tmp_path, At(step, die), CooldownCallback(8, at=10), **SAVES).train())
    last = last_complete(tmp_path)
    assert last == str(tmp_path / f"checkpoint-{resumed}")
    caplog.clear()
    made = open_ended(tmp_path, CooldownCallback(8, at=10), **SAVES)
    made.train(resume_from_checkpoint=last)
    assert lrs(made) == lrs(uninterrupted)[resumed:]
    assert equal(weights(made), weights(uninterrupted))
    assert told(made) == told(uninterrupted)
    assert record(tmp_path) == record(Path(uninterrupted.args.output_dir))
    assert checkpoints(tmp_path) == [10, 15, 18]
    assert not [line for line in said(caplog) if "was written under another schedule" in line]


@pytest.mark.parametrize("step", [11, 13, 16])
def test_what_was_decided_stays_whatever_the_resumed_run_is_given(step: int, uninterrupted: Any, tmp_path: Path) -> None:
    signalled_ = At(10, lambda: os.kill(os.getpid(), signal.SIGUSR1))
    killed(lambda: open_ended(tmp_path, signalled_, At(step, die), CooldownCallback(8), **SAVES).train())
    last = str(last_complete(tmp_path))
    made = open_ended(tmp_path, CooldownCallback(3, shape="linear", at=14), **SAVES)  # other words, and no signal
    made.train(resume_from_checkpoint=last)
    assert lrs(made) == lrs(uninterrupted)[int(last.rpartition("-")[2]) :]
    assert equal(weights(made), weights(uninterrupted))
    assert [line["cooldown"] for line in told(made)] == ["signal SIGUSR1"]


def test_killed_between_the_decision_and_the_save_of_the_branch_point(uninterrupted: Any, tmp_path: Path) -> None:
    signalled_ = At(10, lambda: os.kill(os.getpid(), signal.SIGUSR1))
    killed(lambda: open_ended(tmp_path, signalled_, CooldownCallback(8), At(10, die), **SAVES).train())
    assert record(tmp_path)["at"] == 10
    assert last_complete(tmp_path) == str(tmp_path / "checkpoint-9")
    made = open_ended(tmp_path, CooldownCallback(8), **SAVES)
    made.train(resume_from_checkpoint=last_complete(tmp_path))
    assert lrs(made) == lrs(uninterrupted)[9:]
    assert equal(weights(made), weights(uninterrupted))
    assert is_complete(tmp_path / "checkpoint-10")
    assert told(made) == [{"step": 10, "cooldown": "signal SIGUSR1", "cooldown_steps": 8}]


def test_the_branch_point_resumed_in_another_folder_stays_stable(uninterrupted: Any, tmp_path: Path) -> None:
    point = Path(uninterrupted.args.output_dir) / "checkpoint-10"
    before = files(point)
    made = open_ended(tmp_path / "other", CooldownCallback(5, at=20))
    made.train(resume_from_checkpoint=str(point))
    assert lrs(made) == near(trace(20, 5)[10:])
    whole = open_ended(tmp_path / "whole", CooldownCallback(5, at=20))
    whole.train()
    assert equal(weights(made), weights(whole))
    assert files(point) == before


def test_a_checkpoint_in_the_decay_resumed_in_another_folder_goes_on_decaying(uninterrupted: Any, tmp_path: Path) -> None:
    made = open_ended(tmp_path, CooldownCallback(5, at=30), **SAVES)
    made.train(resume_from_checkpoint=str(Path(uninterrupted.args.output_dir) / "checkpoint-15"))
    assert lrs(made) == lrs(uninterrupted)[15:]
    assert equal(weights(made), weights(uninterrupted))


def test_a_run_resumed_in_its_decay_without_the_callback_still_ends(uninterrupted: Any, tmp_path: Path) -> None:
    made = open_ended(tmp_path, **SAVES)
    made.train(resume_from_checkpoint=str(Path(uninterrupted.args.output_dir) / "checkpoint-15"))
    assert lrs(made) == lrs(uninterrupted)[15:]


def test_a_finished_run_resumed_trains_no_step(uninterrupted: Any) -> None:
    folder = Path(uninterrupted.args.output_dir)
    made = open_ended(folder, CooldownCallback(8, at=10), **SAVES)
    made.train(resume_from_checkpoint=last_complete(folder))
    assert lrs(made) == []
    assert made.state.global_step == 18
    assert equal(weights(made), weights(uninterrupted))


def test_a_broken_record_is_refused_with_a_way_out(tmp_path: Path) -> None:
    killed(lambda: open_ended(tmp_path, At(13, die), CooldownCallback(8, at=10), **SAVES).train())
    for text in ("{", '{"since": 3}', "[]"):
        (tmp_path / "cooldown.json").write_text(text)
        made = open_ended(tmp_path, CooldownCallback(8), **SAVES)
        with pytest.raises(ValueError, match=r"cooldown\.json cannot be read .*; remove it to go on without that cooldown"):
            made.train(resume_from_checkpoint=str(tmp_path / "checkpoint-10"))
        assert lrs(made) == []


def test_a_stream_resumed_in_its_first_pass_ends_as_if_it_had_not_been_killed(tmp_path: Path) -> None:
    def start(name: str, *callbacks: TrainerCallback) -> Any:
        return open_ended(tmp_path / name, *callbacks, CooldownCallback(5), dataset=HeldBack(Stream(80), 24), **SAVES)

    whole = start("whole")
    whole.train()
    for step in (8, 17):
        killed(lambda step=step: start(f"killed-{step}", At(step, die)).train())  # type: ignore[misc]
        made, last = start(f"killed-{step}"), str(last_complete(tmp_path / f"killed-{step}"))
        made.train(resume_from_checkpoint=last)
        assert lrs(made) == lrs(whole)[int(last.rpartition("-")[2]) :]
        assert equal(weights(made), weights(whole))


# Updates that moved no weights


def skipping(start: int, steps: int, *skipped: int) -> Any:
    """The trace of a run that stays on a step of its schedule for one update more, for each one skipped."""
    behind = [sum(other < update for other in skipped) for update in range(start + steps)]
    lrs_ = trace(start - len(skipped), steps)
    return [lrs_[update - late] for update, late in enumerate(behind)]


@pytest.mark.parametrize("skipped", [(5,), (5, 6, 9), (2, 3), (0, 11)])
def test_skipped_updates_move_neither_the_decay_nor_the_end(skipped: tuple[int, ...], tmp_path: Path) -> None:
    made = open_ended(tmp_path / "run", Skips(*skipped), CooldownCallback(5, at=12))
    made.train()
    assert lrs(made) == near(skipping(12, 5, *skipped))
    assert made.state.global_step == 17
    assert made.lr_scheduler.last_epoch == 17 - len(skipped)
    assert (record(tmp_path / "run")["at"], record(tmp_path / "run")["skipped"]) == (12 - len(skipped), len(skipped))
    assert told(made) == [{"step": 12, "cooldown": "step 12", "cooldown_steps": 5}]
    never = open_ended(tmp_path / "never", Skips(*skipped), Checkpoints(), max_steps=12)
    never.train()
    check_branch_point(tmp_path / "run", 12, never)


@pytest.mark.parametrize("step", [8, 13, 15])
def test_a_run_with_skipped_updates_resumes_with_them_counted(step: int, tmp_path: Path) -> None:
    def start(name: str, *callbacks: TrainerCallback) -> Any:
        return open_ended(tmp_path / name, Skips(2, 5), *callbacks, CooldownCallback(8, at=10), **SAVES)

    whole = start("whole")
    whole.train()
    killed(lambda: start("killed", At(step, die)).train())
    made, last = start("killed"), str(last_complete(tmp_path / "killed"))
    made.train(resume_from_checkpoint=last)
    assert lrs(made) == lrs(whole)[int(last.rpartition("-")[2]) :]
    assert made.state.global_step == 18
    assert equal(weights(made), weights(whole))


def test_another_skip_between_a_lost_decision_and_its_repetition(tmp_path: Path) -> None:
    """Killed before the branch point was saved, the run goes back to 9; the update behind it now overflows."""
    killed(lambda: open_ended(tmp_path, CooldownCallback(8, at=10), At(10, die), **SAVES).train())
    made = open_ended(tmp_path, Skips(9), CooldownCallback(8, at=10), **SAVES)
    made.train(resume_from_checkpoint=last_complete(tmp_path))
    assert lrs(made) == near(skipping(10, 8, 9)[9:])
    assert made.state.global_step == 18


# Schedules that end by themselves


@pytest.mark.usefixtures("look_always")
@pytest.mark.parametrize("step", [16, 18])
def test_a_late_request_to_a_schedule_that_decays_by_itself_is_ignored_and_that_is_said(
    step: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    words = {"max_steps": 20, "lr_scheduler_kwargs": {"warmup": 4, "decay": 6}}
    made = open_ended(tmp_path, *requested(step, "")(tmp_path), CooldownCallback(5), **words)
    made.train()
    assert lrs(made) == near(wsd(20, warmup=4, decay=6).lrs(20, PEAK))
    sentence = "where the schedule is as low or ends as soon by itself"
    assert said(caplog) == [f"asked to cool down (file cooldown.request) at step {step}, {sentence}"]
    assert not (tmp_path / "cooldown.request").exists()
    assert not (tmp_path / "cooldown.json").exists()
    assert told(made) == []


def test_an_early_request_to_it_ends_it_early(tmp_path: Path) -> None:
    words = {"max_steps": 20, "lr_scheduler_kwargs": {"warmup": 4, "decay": 6}}
    made = open_ended(tmp_path, *signalled(8)(tmp_path), CooldownCallback(5), **words)
    made.train()
    assert lrs(made) == near(trace(8, 5))


def test_a_request_in_its_decay_takes_it_down_from_where_it_is(tmp_path: Path) -> None:
    words = {"max_steps": 40, "lr_scheduler_kwargs": {"warmup": 4, "decay": 20, "shape": "linear"}}
    made = open_ended(tmp_path, *signalled(30)(tmp_path), CooldownCallback(4, shape="linear"), **words)
    made.train()
    whole = wsd(40, warmup=4, decay=20, shape="linear").lrs(30, PEAK)
    assert lrs(made) == near([*whole, *Schedule((fall(4, "linear", start=0.5),)).lrs(4, PEAK)])


# Refusals


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"steps": -3}, "steps=-3 is negative"),
        ({"steps": "many"}, "steps='many' is not a length"),
        ({"steps": "100%"}, "steps='100%': a share of the run must lie between 0 and 1"),
        ({"steps": "0%"}, "steps='0%': a share of the run must lie between 0 and 1"),
        ({"steps": "150%"}, "150%"),
        ({"steps": 1.0}, "steps=1.0 is ambiguous"),
        ({"steps": "1B tokens"}, r"steps='1B tokens' cannot be converted here: give tokens_per_step"),
        ({"steps": "2 epochs"}, "steps='2 epochs' cannot be converted here"),
        ({"shape": "lienar"}, "lienar"),
        ({"to": 1.5}, "to=1.5 must be between 0 and 1"),
        ({"to": -0.1}, "to=-0.1 must be between 0 and 1"),
        ({"to": 1.0}, "to=1.0"),  # no decay: such a run would never end
        ({"at": 0.5}, "at=0.5 is a share of the run, whose length is not known; give steps or tokens"),
        ({"at": "50%"}, "at='50%' is a share of the run, whose length is not known; give steps or tokens"),
        ({"at": "1B tokens"}, "at='1B tokens' cannot be converted here: give tokens_per_step"),
        ({"at": -5}, "at=-5 is negative"),
        ({"patience": 0}, "patience=0 must be 1 evaluation or more"),
        ({"tokens_per_step": 0}, "tokens_per_step=0 must be above 0"),
    ],
)
def test_what_cannot_be_is_refused_when_it_is_typed(words: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        CooldownCallback(**words)


DEPENDS = r"depends on max_steps \(1000000000\), which is only a ceiling here; let it stay at its peak, with the warm-up in"


@pytest.mark.parametrize(
    ("callback", "words", "sentence"),
    [
        ({}, {"lr_scheduler_type": "linear", "lr_scheduler_kwargs": None},
         r"CooldownCallback cannot cool down LambdaLR; take one of hf_lrsched's schedules, such as lr_scheduler_type='wsd'"),
        ({}, {"lr_scheduler_kwargs": {"warmup": 0.1, "decay": 0}}, DEPENDS),
        ({}, {"lr_scheduler_kwargs": {"warmup": "1%", "decay": 0}}, DEPENDS),
        ({}, {"lr_scheduler_kwargs": {"warmup": "1%"}}, DEPENDS),
        ({}, {"lr_scheduler_kwargs": {"decay": 0}, "warmup_steps": 0.1}, DEPENDS),
        ({}, {"lr_scheduler_type": "warmup_cosine", "lr_scheduler_kwargs": {"warmup": 4}}, DEPENDS),
        ({}, {"logging_steps": 0.1}, "logging_steps=0.1 is a share of max_steps, which is only a ceiling here"),
        ({}, {"save_strategy": "steps", "save_steps": 0.1}, "save_steps=0.1 is a share of max_steps, which is only a"),
        ({}, {"eval_strategy": "steps", "eval_steps": 0.1}, "eval_steps=0.1 is a share of max_steps, which is only a"),
        ({"patience": 2}, {}, "patience=2 counts evaluations, and eval_strategy is 'no'; set it to 'steps'"),
    ],
)  # fmt: skip
def test_what_would_depend_on_the_ceiling_or_never_come_is_refused_before_a_step(
    callback: dict[str, Any], words: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    made = open_ended(tmp_path, CooldownCallback(5, **callback), **words)
    before = signal.getsignal(signal.SIGUSR1)
    with pytest.raises(ValueError, match=sentence):
        made.train()
    assert lrs(made) == []
    assert signal.getsignal(signal.SIGUSR1) is before


@pytest.mark.parametrize("words", [{"warmup_steps": 4, "lr_scheduler_kwargs": {"decay": 0}}, OPEN, {
    "lr_scheduler_kwargs": {"warmup": "400 tokens", "decay": 0, "tokens_per_step": 100}}])  # fmt: skip
def test_a_warm_up_in_steps_or_tokens_is_taken(words: dict[str, Any], tmp_path: Path) -> None:
    made = open_ended(tmp_path, CooldownCallback(5, at=8), **words)
    made.train()
    assert lrs(made) == near(trace(8, 5))


def test_no_warm_up_at_all_is_taken(tmp_path: Path) -> None:
    made = open_ended(tmp_path, CooldownCallback(5, at=8), lr_scheduler_kwargs={"warmup": 0, "decay": 0})
    made.train()
    assert lrs(made) == near(wsd(13, warmup=0, decay=5).lrs(13, PEAK))


def test_the_ceiling_changes_nothing_before_it_is_near(tmp_path: Path) -> None:
    traces = []
    for ceiling in (100, 10**6, CEILING):
        made = open_ended(tmp_path / str(ceiling), CooldownCallback(5, at=12), max_steps=ceiling)
        made.train()
        traces.append((lrs(made), [weight.tolist() for weight in weights(made).values()]))
    assert traces[0] == traces[1] == traces[2]


def test_another_ceiling_on_resume_is_no_change(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    killed(lambda: open_ended(tmp_path, At(8, die), CooldownCallback(5), **SAVES).train())
    caplog.clear()
    made = open_ended(tmp_path, CooldownCallback(5), **{**SAVES, "max_steps": 20})
    made.train(resume_from_checkpoint=last_complete(tmp_path))
    assert lrs(made) == near(trace(15, 5)[6:])
    assert not [line for line in said(caplog) if "jumps" in line]


def test_a_callback_used_twice_starts_anew(tmp_path: Path) -> None:
    callback = CooldownCallback(5, at=8)
    for name in ("first", "second"):
        made = open_ended(tmp_path / name, callback)
        made.train()
        assert lrs(made) == near(trace(8, 5))


def test_the_log_of_the_run_says_what_its_lr_was(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "hf_lrsched"):
        made = open_ended(tmp_path, CooldownCallback(5, at=12))
        made.train()
    assert [line["learning_rate"] for line in made.state.log_history if "learning_rate" in line] == lrs(made)


# Two processes


def test_two_processes_start_at_the_same_step_whichever_of_them_is_told(tmp_path: Path) -> None:
    two_processes(tmp_path, "request", "signal")
    for case, reason in (("request", "file cooldown.request"), ("signal", "signal SIGUSR1")):
        first, second = (json.loads((tmp_path / f"{case}-{rank}.json").read_text()) for rank in (0, 1))
        assert first["processes"] == second["processes"] == 2
        assert first["lrs"] == second["lrs"] == near(trace(10, 5))
        assert first["told"] == second["told"] == [[10, reason]]
        assert first["weights"] == second["weights"]
        assert record(tmp_path / case)["reason"] == reason
        recorded = read_history(tmp_path / case)  # by LRRecorder: the mean over the processes, as Trainer logs it
        assert recorded.loss == pytest.approx(first["losses"], rel=1e-3)
        assert recorded.step.tolist() == list(range(1, 16))


@pytest.mark.parametrize(
    ("callback", "words", "sentence"),
    [
        ({"steps": 0}, {}, "steps=0: a cooldown takes 1 step or more"),
        ({"steps": 5, "at": 500}, {"max_steps": 200}, r"at=500 lies beyond max_steps \(200\)"),
        ({"steps": 57}, {"max_steps": 60}, r"a warm-up of 4 steps and a cooldown of 57 do not fit into max_steps \(60\)"),
    ],
)
def test_what_could_not_cool_down_is_refused(
    callback: dict[str, Any], words: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=sentence):
        open_ended(tmp_path, CooldownCallback(**callback), **words).train()


def test_a_run_that_is_refused_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    words: dict[str, Any] = {"save_strategy": "steps", "save_steps": 4, "save_total_limit": 3, "max_steps": 12}
    running(arguments(tmp_path, **{**OPEN, **words}), Checkpoints()).train()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    made = open_ended(tmp_path, CooldownCallback(5, patience=2), **{**words, "max_steps": 10**9})
    with pytest.raises(ValueError, match="patience=2 counts evaluations"):
        made.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before  # the later ones are sealed
    assert made.args.save_total_limit == 3
