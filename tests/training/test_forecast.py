"""What `LRForecast` says of a cooldown, beside the cooldown that is then trained, on a small model of real text."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import pytest
import torch
from torch import nn
from transformers import Trainer, TrainerCallback
from transformers.integrations import integration_utils

from hf_lrsched import (
    Checkpoints,
    CooldownCallback,
    History,
    LRForecast,
    LRRecorder,
    fit_law,
    last_complete,
    read_history,
    wsd,
)
from hf_lrsched.runs import forecast as library

from .running import At, Skips, arguments, die, equal, killed, said, two_processes
from .test_trainer import weights

WINDOW, CONTEXT = 32, 4
HIGH = 0.02
EVERY = 20  # steps between two evaluations
STARTS = 300  # where the cooldown of `cooled` does


class Bytes(nn.Module):
    """The next byte of a text from the four before it; 15,000 parameters."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(128, 16)
        self.hidden, self.head = nn.Linear(16 * CONTEXT, 64), nn.Linear(64, 128)

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        embedded = self.embedding(x)
        before = [embedded[:, i : i + WINDOW - CONTEXT] for i in range(CONTEXT)]
        logits = self.head(torch.relu(self.hidden(torch.cat(before, -1))))
        return {"loss": nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, CONTEXT:].flatten())}


@cache
def windows(first: int, last: int) -> list[dict[str, torch.Tensor]]:
    """Of Python's own documentation."""
    text = "".join(topics[name] for name in sorted(topics)).encode("ascii", "replace")[first:last]
    rows = torch.tensor(list(text))[: len(text) // WINDOW * WINDOW].view(-1, WINDOW)
    return [{"x": row, "labels": row} for row in rows]


def reader(folder: Path, *callbacks: TrainerCallback, **given: Any) -> Any:
    """A Trainer of a run that stays at its peak, for the time being."""
    plain: dict[str, Any] = {"learning_rate": HIGH, "max_steps": STARTS, "per_device_train_batch_size": 16}
    plain |= {"lr_scheduler_type": "wsd", "lr_scheduler_kwargs": {"warmup": 20, "decay": 0}}
    plain |= {"eval_strategy": "steps", "eval_steps": EVERY, "logging_steps": 10, "per_device_eval_batch_size": 500}
    made: Any = Trainer(
        model=Bytes(),
        args=arguments(folder, **{**plain, **given}),
        train_dataset=windows(0, 300_000),
        eval_dataset=windows(300_000, 316_000),
        callbacks=list(callbacks),
    )
    return made


def told(made: Any) -> list[dict[str, Any]]:
    return [line for line in made.state.log_history if "cooldown_loss" in line]


def steps(made: Any) -> list[int]:
    return [line["step"] for line in told(made)]


def band(line: dict[str, Any]) -> tuple[float, float]:
    return line["cooldown_loss_low"], line["cooldown_loss_high"]


def callback_of(made: Any) -> LRForecast:
    return next(one for one in made.callback_handler.callbacks if isinstance(one, LRForecast))


def held_out(made: Any) -> dict[int, float]:
    return {line["step"]: line["eval_loss"] for line in made.state.log_history if "eval_loss" in line}


# What is said, and what then happens


@pytest.fixture(scope="module")
def cooled(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run that was cooled down at step 300, and evaluated at its end."""
    folder = tmp_path_factory.mktemp("cooled")
    made = reader(folder, LRRecorder(), CooldownCallback(at=STARTS), LRForecast(), max_steps=10**9)
    made.train()
    return made


def test_the_cooldown_that_is_then_trained_ends_within_the_band(cooled: Any) -> None:
    last, losses = told(cooled)[-1], held_out(cooled)
    end = max(losses)
    assert (last["step"], last["cooldown_end"], end, last["cooldown_of"]) == (STARTS, 375, 375, "eval_loss")
    assert last["cooldown_loss_low"] < losses[end] < last["cooldown_loss_high"]
    # It fell by more than the forecast was off by: to say that nothing happens would have been worse.
    assert abs(last["cooldown_loss"] - losses[end]) < losses[STARTS] - losses[end]


def test_every_evaluation_from_some_on_has_a_forecast_until_the_cooldown(cooled: Any) -> None:
    first = steps(cooled)[0]
    assert first in range(160, 241)  # a law needs 8, and none of the run's beginning
    assert steps(cooled) == list(range(first, STARTS + 1, EVERY))
    gains = [line["cooldown_gain"] for line in told(cooled)]
    assert all(line["cooldown_gain_low"] < line["cooldown_gain"] < line["cooldown_gain_high"] for line in told(cooled))
    assert 0 < gains[-1] < gains[0]
    assert [line["cooldown_end"] for line in told(cooled)] == [round(step * 1.25) for step in steps(cooled)]


def test_with_an_earlier_run_the_band_is_narrower_and_there_from_the_beginning(cooled: Any, tmp_path: Path) -> None:
    words = {"seed": 7, "max_steps": 10**9}
    alone = reader(tmp_path / "alone", LRForecast(), **{**words, "max_steps": 400})
    alone.train()
    made = reader(tmp_path, CooldownCallback(at=400), LRForecast([cooled.args.output_dir]), **words)
    made.train()
    (low, high), widest = band(told(made)[-1]), band(told(alone)[-1])
    assert steps(made)[-1] == steps(alone)[-1] == 400
    assert high - low < 0.6 * (widest[1] - widest[0])
    assert low < held_out(made)[500] < high
    assert steps(made)[0] == 2 * EVERY  # the first evaluation behind the warm-up


def test_while_it_is_early_an_earlier_run_says_what_a_cooldown_and_a_later_one_give(cooled: Any, tmp_path: Path) -> None:
    law = fit_law(cooled.args.output_dir)
    made = reader(tmp_path, Skips(9, 10, 30), LRForecast([cooled.args.output_dir]), max_steps=40)  # of which 37 are done
    made.train()
    [line] = told(made)
    now, later = (law.predict(wsd(step + step // 4, warmup=20, decay=step // 4)) for step in (40, 44))
    assert line["step"] == 40
    assert line["cooldown_end"] == 50
    assert line["cooldown_loss"] == pytest.approx(now.final, rel=1e-3)  # three steps of the warm-up were taken twice
    assert line["cooldown_gain"] == pytest.approx(law.gap(now, later)[0], rel=0.02)


def test_a_training_after_another_has_a_law_of_its_own(cooled: Any, tmp_path: Path) -> None:
    callback = LRForecast([cooled.args.output_dir], every=8)
    for strategy, of in (("steps", "eval_loss"), ("no", "loss")):
        words = {"eval_strategy": strategy, "eval_steps": 8, "lr_scheduler_kwargs": {"warmup": 4, "decay": 0}}
        made = reader(tmp_path / of, callback, max_steps=8, **words)
        made.train()
        assert [line["cooldown_of"] for line in told(made)] == [of]


def test_the_run_itself_is_left_as_it_is(cooled: Any, tmp_path: Path) -> None:
    made = reader(tmp_path, CooldownCallback(at=STARTS), max_steps=10**9)
    made.train()
    assert held_out(made) == held_out(cooled)
    assert equal(weights(made), weights(cooled))


# Which loss, and when


def test_training_losses_are_those_of_every_step_whatever_is_logged(tmp_path: Path) -> None:
    found = {}
    for logging_steps in (1, 1000):
        words = {"eval_strategy": "no", "logging_steps": logging_steps, "max_steps": 200}
        made = reader(tmp_path / str(logging_steps), LRForecast(every=50), **words)
        made.train()
        found[logging_steps] = told(made)
        assert {line["cooldown_of"] for line in told(made)} == {"loss"}
        assert steps(made) == [50, 100, 150, 200]
    assert [line["cooldown_loss"] for line in found[1]] == [line["cooldown_loss"] for line in found[1000]]


def test_every_so_many_steps_it_waits_for_the_evaluation_of_that_step(tmp_path: Path) -> None:
    made = reader(tmp_path, LRForecast(every=50), max_steps=310)
    made.train()
    assert steps(made)[-2:] == [250, 300]  # of which only one is evaluated at
    log = made.state.log_history
    assert next(i for i, line in enumerate(log) if line.get("step") == 300 and "eval_loss" in line) < log.index(
        told(made)[-1]
    )


def test_held_out_and_training_losses_are_never_mixed(tmp_path: Path) -> None:
    lines = [{"step": i, "loss": 3 - i / 100, "learning_rate": HIGH} for i in range(1, 100)]
    made = reader(tmp_path, LRForecast(History.of(lines)), max_steps=60)  # it was never evaluated, though this one is
    made.train()
    assert {line["cooldown_of"] for line in told(made)} == {"loss"}


def test_an_earlier_run_with_a_few_evaluations_makes_it_the_training_loss(tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = [{"step": i, "loss": 3 - i / 400, "learning_rate": HIGH} for i in range(1, 301)]
    few = History.of([*lines, *({"step": step, "eval_loss": 3 - step / 400} for step in (100, 200, 300))])
    assert fit_law(few).quantity == "loss"
    made = reader(tmp_path, LRForecast(few), max_steps=60)
    made.train()
    assert {line["cooldown_of"] for line in told(made)} == {"loss"}


def test_an_evaluation_behind_the_run_is_none_of_it(tmp_path: Path) -> None:
    made = reader(tmp_path, LRForecast(), max_steps=240)
    made.train()
    before = steps(made)
    made.state.global_step += 1  # as one that trains on by hand
    made.evaluate()
    assert steps(made) == before != []


def test_steps_are_fetched_in_batches_though_nobody_asks(tmp_path: Path) -> None:
    callback, kept = LRForecast(every=10**9), []
    made = reader(tmp_path, callback, At(150, lambda: kept.append(len(callback.seen.lines()))), max_steps=150)
    made.train()
    assert kept == [100]


class FailsAt(Bytes):
    """Its loss is not finite in one step, as it is where float16 overflows."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step, self.steps = step, 0

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        self.steps += self.training
        found = super().forward(x, labels)
        return {"loss": found["loss"] * (torch.inf if self.training and self.steps == self.step else 1.0)}


def test_a_step_that_was_skipped_tells_nothing_of_the_run(tmp_path: Path) -> None:
    words = {"eval_strategy": "no", "max_steps": 200}
    made = reader(tmp_path, Skips(149), LRForecast(every=50), **words)
    made.model = made.model_wrapped = FailsAt(150)
    made.train()
    assert steps(made) == [50, 100, 150, 200]


def test_a_first_group_that_is_frozen_is_passed_over(tmp_path: Path) -> None:
    made = reader(tmp_path, LRForecast(), max_steps=220)
    first, *others = made.model.parameters()
    made.optimizer = torch.optim.AdamW([{"params": [first], "lr": 0.0}, {"params": others, "lr": HIGH}])
    made.train()
    assert steps(made)[-1] == 220
    assert isinstance(forecast := callback_of(made).forecast, library.Forecast)
    assert forecast.peak_lr == pytest.approx(HIGH)


def test_of_several_held_out_sets_there_is_one_forecast_and_it_is_of_the_training_loss(tmp_path: Path) -> None:
    made = reader(tmp_path, LRForecast(), max_steps=100)
    made.eval_dataset = {"one": windows(300_000, 304_000), "other": windows(304_000, 308_000)}
    made.train()
    assert steps(made) == [40, 60, 80, 100]
    assert {line["cooldown_of"] for line in told(made)} == {"loss"}


def test_the_length_and_the_shape_are_those_of_the_runs_own_cooldown(tmp_path: Path) -> None:
    own, other = LRForecast(), LRForecast(steps=50, shape="linear")
    for callback in (own, other):
        cooldown = CooldownCallback("10%", shape="linear", to=0.1, at=200)
        reader(tmp_path / str(id(callback)), cooldown, callback, max_steps=10**9).train()
    assert own.forecast is not None
    assert other.forecast is not None
    assert (own.forecast.steps, other.forecast.steps) == (222, 250)
    assert own.forecast.lr[-1] == pytest.approx(HIGH * (0.1 + 0.9 / 22), rel=0.02)


@pytest.mark.parametrize("name", ["constant", "constant_with_warmup"])
def test_a_constant_schedule_of_transformers_is_a_stable_run(name: str, tmp_path: Path) -> None:
    words = {"lr_scheduler_type": name, "lr_scheduler_kwargs": None, "warmup_steps": 20 if "with" in name else 0}
    made = reader(tmp_path, LRForecast(), max_steps=220, **words)
    made.train()
    assert steps(made)[-1] == 220


# Where there is nothing to say


def test_a_schedule_that_falls_from_the_beginning_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = reader(tmp_path, LRForecast(), lr_scheduler_type="warmup_cosine", lr_scheduler_kwargs={"warmup": 10})
    made.train()
    assert told(made) == []
    assert said(caplog) == [
        "no forecast from now on, as the learning rate has left its peak: LRForecast is for what is before"
    ]


def test_before_its_own_decay_wsd_is_a_stable_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "hf_lrsched"):
        made = reader(tmp_path, LRForecast(), max_steps=300, lr_scheduler_kwargs={"warmup": 20, "decay": 60})
        made.train()
    assert steps(made)[-1] == 240
    cautions = [line for line in said(caplog, "INFO") if line.startswith("of these forecasts: ")]
    assert len([line for line in cautions if "no run at 0.02 decays" in line]) == 1
    assert [line for line in said(caplog, "INFO") if "left its peak" in line] == [
        "no forecast from now on, as the learning rate has left its peak: LRForecast is for what is before"
    ]


FEW = "too few held-out losses yet, and a law needs 8 behind the beginning of a run"


def test_too_few_losses_are_a_stage_and_a_run_that_never_had_enough_is_told_at_its_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "hf_lrsched"):
        reader(tmp_path, LRForecast(), max_steps=120).train()
    asks = f"{FEW}; evaluate more often, or give an earlier run, LRForecast([...])"
    assert said(caplog, "INFO") == [f"no forecast at step 40: {asks}"]
    assert said(caplog) == [f"the run has ended without a forecast: {asks}"]


def test_too_few_losses_before_a_fall_are_told_with_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    reader(tmp_path, LRForecast(), max_steps=120, lr_scheduler_kwargs={"warmup": 20, "decay": 60}).train()
    [line] = said(caplog)
    assert line.startswith("no forecast from now on, as the learning rate has left its peak")
    assert f"; until here there were {FEW}" in line


def evaluates_to(made: Any, loss: Callable[[int, float], float | None]) -> Any:
    """`made`, whose evaluations find this of a step and of the loss that there was."""
    plain = made.evaluation_loop

    def loop(*args: Any, **words: Any) -> Any:
        found = plain(*args, **words)
        was = found.metrics.pop("eval_loss")
        now = loss(made.state.global_step, was)
        if now is not None:
            found.metrics["eval_loss"] = now
        return found

    made.evaluation_loop = loop
    return made


@pytest.mark.parametrize(
    ("loss", "reason"),
    [(lambda step, was: 2.0 + step / 1000, "rose"), (lambda step, was: 0.0, "and the laws are of losses above 0")],
)
def test_why_there_is_no_forecast_is_told_after_the_stage_of_too_few_losses(
    loss: Any, reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    evaluates_to(reader(tmp_path, LRForecast(), max_steps=300), loss).train()
    [line] = said(caplog)  # though it was refused at every evaluation, with other numbers
    assert line.startswith("no forecast at step ")
    assert reason in line


def test_earlier_runs_do_not_speak_for_one_that_has_diverged(cooled: Any, tmp_path: Path) -> None:
    made = reader(tmp_path, LRForecast([cooled.args.output_dir]), max_steps=60)
    evaluates_to(made, lambda step, was: float("nan") if step == EVERY else was).train()
    assert told(made) == []


def test_a_reason_that_comes_and_goes_warns_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, calls = library.fit_law, []

    def flickers(runs: list[History], **words: Any) -> Any:
        calls.append(len(runs[-1].eval_step))
        if len(calls) % 2:
            raise ValueError(f"{calls[-1]} losses rose to {calls[-1] / 7:.4g}")
        return plain(runs, **words)

    monkeypatch.setattr(library, "fit_law", flickers)
    made = reader(tmp_path, LRForecast(), eval_steps=10, max_steps=240)
    made.train()
    assert len(calls) >= 6
    assert len(steps(made)) == len(calls) // 2
    [line] = said(caplog)
    assert line.endswith(f" {calls[0]} losses rose to {calls[0] / 7:.4g}")


def test_without_evaluations_and_every_it_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    reader(tmp_path, LRForecast(), eval_strategy="no", max_steps=30).train()
    assert said(caplog) == [
        "LRForecast speaks at evaluations, and eval_strategy is 'no'; set it, or give LRForecast(every=...)"
    ]


def test_a_law_that_fails_ends_no_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*runs: Any, **words: Any) -> Any:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(library, "fit_law", fails)
    made = reader(tmp_path, LRForecast(), max_steps=240)
    made.train()
    assert made.state.global_step == 240
    assert said(caplog) == ["no forecast from now on, as one failed: ZeroDivisionError: division by zero"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"every": 0}, "every=0 must be 1 step or more"),
        ({"loss": "train"}, "loss='train' must be one of auto, eval_loss, loss"),
        ({"steps": 0}, "steps=0: a cooldown takes 1 step or more"),
        ({"shape": "lienar"}, "lienar"),
    ],
)
def test_refusals(words: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        LRForecast(**words)


def test_an_earlier_run_that_is_not_there_is_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no file or folder"):
        LRForecast([tmp_path / "earlier"])


# Stopping and going on; who is told


@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize("of", ["eval_loss", "loss"])
def test_a_run_that_is_resumed_is_told_what_one_that_never_stopped_is(recorded: bool, of: Any, tmp_path: Path) -> None:
    others = [Checkpoints(), *([LRRecorder(every=7)] if recorded else [])]
    words = {"save_strategy": "steps", "save_steps": 30, "max_steps": 260, "logging_steps": 1}
    whole = reader(tmp_path / "whole", *others, LRForecast(loss=of), **words)
    whole.train()
    stopped = reader(tmp_path / "run", *others, LRForecast(loss=of), At(223, die), **words)
    killed(stopped.train)
    again = reader(tmp_path / "run", *others, LRForecast(loss=of), **words)
    again.train(resume_from_checkpoint=last_complete(tmp_path / "run"))
    assert again.state.global_step == 260
    assert steps(again) == steps(whole)
    for one, other in zip(told(again), told(whole), strict=True):
        # Trainer logs five digits of a loss, and the recorder eight.
        assert one["cooldown_loss"] == pytest.approx(other["cooldown_loss"], rel=1e-6 if recorded else 1e-3)


def fitted(monkeypatch: pytest.MonkeyPatch) -> list[History]:
    """The last run of each fit, as they come."""
    seen: list[History] = []
    plain = library.fit_law

    def fits(runs: list[History], **words: Any) -> Any:
        seen.append(runs[-1])
        return plain(runs, **words)

    monkeypatch.setattr(library, "fit_law", fits)
    return seen


@pytest.mark.parametrize("then", [5, 50])
def test_means_of_before_a_resume_stay_means(then: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log of every twentieth step, whatever ``logging_steps`` is from the resume on."""
    words = {"save_strategy": "steps", "save_steps": 60, "max_steps": 260, "eval_strategy": "no", "logging_steps": 20}
    killed(reader(tmp_path, Checkpoints(), LRForecast(every=260), At(190, die), **words).train)
    again = reader(tmp_path, Checkpoints(), LRForecast(every=260), **{**words, "logging_steps": then})
    seen = fitted(monkeypatch)
    again.train(resume_from_checkpoint=last_complete(tmp_path))
    [run] = seen
    assert run.averaged == 20
    assert run.step.tolist() == list(range(20, 261, 20))
    logged = {line["step"]: line["loss"] for line in again.state.log_history if "loss" in line and line["step"] <= 180}
    assert run.loss[:9].tolist() == pytest.approx([logged[step] for step in range(20, 181, 20)])
    assert steps(again) == [260]


@pytest.mark.parametrize("spoke", [True, False])
def test_a_resume_within_the_decay_is_no_reason_to_warn(
    spoke: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whether LRForecast had been there before the decay, or only since."""
    words = {"max_steps": 300, "lr_scheduler_kwargs": {"warmup": 20, "decay": 60}}
    words |= {"save_strategy": "steps", "save_steps": 10, "logging_steps": 10}
    killed(reader(tmp_path, Checkpoints(), *([LRForecast()] if spoke else []), At(275, die), **words).train)
    caplog.clear()
    again = reader(tmp_path, Checkpoints(), LRForecast(), **words)
    with caplog.at_level(logging.INFO, "hf_lrsched"):
        again.train(resume_from_checkpoint=last_complete(tmp_path))
    assert not [line for line in said(caplog) if "forecast" in line]
    assert len([line for line in said(caplog, "INFO") if "left its peak" in line]) == 1


@pytest.mark.parametrize(("of", "prefix"), [("eval_loss", "eval_"), ("loss", "")])
def test_the_trackers_are_told_of_which_loss_and_one_that_fails_is_a_warning(
    of: Any, prefix: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[dict[str, Any]] = []

    class Tracker(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if f"{prefix}cooldown_loss" in kwargs["logs"]:
                sent.append(kwargs["logs"])
                if len(sent) == 2:
                    raise RuntimeError("no route")

    monkeypatch.setitem(integration_utils.INTEGRATION_TO_CALLBACK, "wandb", Tracker)
    made = reader(tmp_path, LRForecast(loss=of), report_to=["wandb"], max_steps=220)
    made.train()
    assert len(sent) >= 2
    assert [one[f"{prefix}cooldown_loss"] for one in sent] == [line["cooldown_loss"] for line in told(made)]
    assert all(name.startswith(f"{prefix}cooldown_") and isinstance(one[name], float) for one in sent for name in one)
    assert said(caplog) == ["a tracker could not be told the forecast: no route"]


def test_a_second_one_in_a_run_is_refused(tmp_path: Path) -> None:
    made = reader(tmp_path, LRForecast(), LRForecast(loss="loss"))
    with pytest.raises(ValueError, match="2 LRForecasts would write under the same names; give one, with all earlier runs"):
        made.train()


def test_the_file_of_the_run_is_read_as_before(cooled: Any) -> None:
    history, log = read_history(cooled.args.output_dir), History.of(cooled.state.log_history)
    assert [event.kind for event in log.events] == ["cooldown"]
    assert history.step.tolist() == list(range(1, 376))
    assert log.eval_step.tolist() == history.eval_step.tolist()


def test_of_two_processes_the_first_one_forecasts_and_none_waits(tmp_path: Path) -> None:
    two_processes(tmp_path, "forecast")
    one, other = (tmp_path / f"forecast-{rank}.json" for rank in (0, 1))
    assert one.read_text() == "[50, 100]"
    assert other.read_text() == "[]"
