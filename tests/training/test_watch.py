"""What a run is told while it goes on is what its file says afterwards, and what it was told to do is done."""

from __future__ import annotations

import json
import logging
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback
from transformers.integrations import integration_utils

from hf_lrsched import Checkpoints, LRCard, LRRecorder, LRWatch, last_complete, register, unregister
from hf_lrsched.runs.diagnosis import Finding, Point, Rule, diagnose
from hf_lrsched.runs.diagnosis.sight import Sight
from hf_lrsched.runs.files import is_kept
from hf_lrsched.runs.reading import read_history
from hf_lrsched.training.checkpoints import is_complete

from .running import At, arguments, checkpoints, die, files, killed, running, said, two_processes
from .test_recorder import heads
from .test_trainer import Tiny

STEPS = 24
BAD = 13  # the step whose loss is huge


def found(step: int, since: int, cause: str = "bad batch", **more: Any) -> Finding:
    words = {"title": "the loss rose", "evidence": "seen", "advice": "look", "attention": True, **more}
    return Finding("explodes", cause, step=step, since=since, **words)


class Huge(Rule):
    """A loss above 1000, which no healthy run here has; told two steps later."""

    def __init__(self) -> None:
        self._since = 0

    def see(self, point: Point, sight: Sight) -> list[Finding]:
        if not self._since and not point.loss < 1000:
            self._since = point.step
        return [found(point.step, self._since)] if self._since and point.step == self._since + 2 else []


class Shown(Rule):
    """Says at every step all that it was shown up to there, in numbers."""

    def see(self, point: Point, sight: Sight) -> list[Finding]:
        seen = (point.loss, point.lrs[0], point.grad_norm, point.momentum, sight.noise, len(sight.evaluations))
        kinds = [event.kind for event in sight.events if event.kind != "finding"]
        text = f"{seen} {point.phase} {point.skipped} {kinds} {sight.setting.peak} {sight.setting.steps}"
        return [Finding("slow", text, point.step, point.step, "shown", "", "", attention=False)]

    def evaluated(self, step: int, loss: float, sight: Sight) -> list[Finding]:
        return [Finding("slow", f"held out {loss}", step, step, "shown", "", "", attention=False)]

    def over(self, sight: Sight) -> list[Finding]:
        return [Finding("slow", f"over {sight.count}", sight.points[-1].step, 0, "shown", "", "", attention=False)]


class Bad(Tiny):
    """Its loss is 10,000 times as large in one forward pass."""

    def __init__(self, at: int = BAD, times: float = 1e4) -> None:
        torch.manual_seed(0)
        super().__init__()
        self.at, self.passes, self.times = at, 0, times

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        self.passes += self.training
        loss = super().forward(x, labels)["loss"]
        return {"loss": loss * (self.times if self.passes == self.at else 1.0)}


def watched(folder: Path, watch: LRWatch, *others: TrainerCallback, model: Any = None, **given: Any) -> Any:
    words: dict[str, Any] = {"max_steps": STEPS, "lr_scheduler_type": "wsd", "lr_scheduler_kwargs": {"warmup": 2}, **given}
    return running(arguments(folder, **words), *others, watch, model=Bad() if model is None else model)


def told(made: Any) -> list[dict[str, Any]]:
    return [line["finding"] for line in made.state.log_history if "finding" in line]


# What is told


@pytest.mark.parametrize("every", [1, 7, 100])
def test_a_run_and_its_file_are_told_the_same_things(every: int, tmp_path: Path) -> None:
    words = {"eval_strategy": "steps", "eval_steps": 5, "save_strategy": "steps", "save_steps": 8}
    made = watched(tmp_path, LRWatch(every=every, rules=[Shown, Huge]), LRRecorder(every=9), **words)
    made.train()
    afterwards = diagnose(read_history(tmp_path), [Shown, Huge])
    assert [asdict(one) for one in afterwards] == told(made)
    assert len(afterwards) == STEPS + 4 + 1 + 1
    assert json.loads((tmp_path / "checkpoint-24" / "trainer_state.json").read_text())["log_history"]


def test_and_so_with_the_real_rules(tmp_path: Path) -> None:
    made = watched(tmp_path, LRWatch(), LRRecorder(), model=Bad(at=30, times=math.nan), max_steps=60)
    made.train()
    afterwards = diagnose(read_history(tmp_path))
    assert [asdict(one) for one in afterwards] == told(made)
    assert "explodes" in {one.symptom for one in afterwards}


def test_a_finding_is_told_once_and_everywhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = libraries(monkeypatch)
    made = watched(tmp_path, LRWatch(rules=[Huge]), LRRecorder(), LRCard(), report_to=list(sent))
    with caplog.at_level(logging.WARNING):
        made.train()
    sentence = "the loss rose since step 13 (explodes, likely cause: bad batch, confidence medium). Seen. Look."
    assert said(caplog) == [f"step 15: {sentence}"]
    assert [(line["since"], line["cause"]) for line in told(made)] == [(BAD, "bad batch")]
    events = [event for event in read_history(tmp_path).events if event.kind == "finding"]
    assert [(event.step, event.text) for event in events] == [(15, sentence)]
    assert "LRWatch at step 15: the loss rose, since step 13 (bad batch)." in made_card(tmp_path)
    assert sent["wandb"].texts == sent["trackio"].texts == [("explodes: bad batch", sentence, "WARN")]
    assert sent["tensorboard"].texts == [("explodes: bad batch", sentence, 20)]


class Library:
    """What a tracker's callback holds: it keeps the texts that it is sent."""

    class AlertLevel:
        WARN, INFO = "WARN", "INFO"

    def __init__(self) -> None:
        self.texts: list[Any] = []

    def alert(self, title: str, text: str, level: str) -> None:
        self.texts.append((title, text, level))

    def add_text(self, title: str, text: str, step: int) -> None:
        self.texts.append((title, text, step))

    def flush(self) -> None:
        pass


def libraries(monkeypatch: pytest.MonkeyPatch) -> dict[str, Library]:
    """Stand-ins for the trackers, whose callbacks do nothing else."""
    made = {}
    for name, held in {"tensorboard": "tb_writer", "wandb": "_wandb", "trackio": "_trackio"}.items():
        made[name] = library = Library()
        real = integration_utils.INTEGRATION_TO_CALLBACK[name].__name__
        kind = type(real, (TrainerCallback,), {held: library})
        monkeypatch.setitem(integration_utils.INTEGRATION_TO_CALLBACK, name, kind)
    return made


def made_card(folder: Path) -> str:
    return " ".join(json.loads((folder / "lr_schedule.json").read_text())["notes"])


class NoTracker(Library):
    def alert(self, title: str, text: str, level: str) -> None:
        raise RuntimeError("no route")


def test_a_tracker_that_fails_and_a_rule_that_fails_end_no_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Fails(Huge):
        def see(self, point: Point, sight: Sight) -> list[Finding]:
            return [*super().see(point, sight), *([] if point.step < 18 else [1 / 0])]  # type: ignore[list-item]

    libraries(monkeypatch)
    vars_of: Any = integration_utils.INTEGRATION_TO_CALLBACK["wandb"]
    vars_of._wandb = NoTracker()
    made = watched(tmp_path, LRWatch(every=1, rules=[Fails]), report_to=["wandb"])
    made.train()
    assert made.state.global_step == STEPS
    texts = said(caplog)
    assert texts[1:] == [
        "a tracker could not be told what was found: no route",
        "the run is not watched any more, as a rule failed: ZeroDivisionError: division by zero",
    ]


def test_the_recorders_file_is_the_same_with_and_without_a_watch(tmp_path: Path) -> None:
    for name in ("with", "without"):
        watch = [LRWatch(every=10, rules=[])] if name == "with" else []
        running(arguments(tmp_path / name, max_steps=40, lr_scheduler_type="wsd"), LRRecorder(every=25), *watch).train()
    one, other = ((tmp_path / name / "lr_history.jsonl").read_text() for name in ("with", "without"))
    assert one == other


def test_a_resumed_run_is_told_what_is_new_and_knows_what_was(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    words = {"save_strategy": "steps", "save_steps": 8}
    killed(watched(tmp_path, LRWatch(rules=[Huge, Shown]), LRRecorder(every=3), At(19, die), **words).train)
    assert len(said(caplog)) == 1
    again = watched(tmp_path, LRWatch(rules=[Huge, Shown]), LRRecorder(), model=Tiny(), **words)
    again.train(resume_from_checkpoint=last_complete(tmp_path))
    assert len(said(caplog)) == 1  # as the checkpoint of step 16 knows of it
    afterwards = [asdict(one) for one in diagnose(read_history(tmp_path), [Huge, Shown])]
    assert sorted(told(again), key=_order) == sorted(afterwards, key=_order)
    assert [head["step"] for head in heads(tmp_path)] == [0, 16]


def _order(found: dict[str, Any]) -> tuple[int, str]:
    return found["step"], found["cause"]


# What is done


def test_a_run_is_stopped_where_it_diverges(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = watched(tmp_path, LRWatch(on_divergence="stop", every=1, rules=[Huge]), LRRecorder(), LRCard())
    made.train()
    assert made.state.global_step == BAD + 2
    sentence = "training stops at step 15, as the run diverges (since step 13: the loss rose)"
    assert said(caplog)[1:] == [sentence]
    assert sentence in made_card(tmp_path)
    assert ("stop", 15, sentence) in {(one.kind, one.step, one.text) for one in read_history(tmp_path).events}
    assert ("stop", sentence) in {(line.get("kind"), line.get("watch")) for line in made.state.log_history}


@pytest.mark.parametrize("sealed", [True, False])
def test_a_checkpoint_is_saved_at_once_and_none_goes_for_it(
    sealed: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    others = [Checkpoints()] if sealed else []
    words = {"save_strategy": "steps", "save_steps": 6, "save_total_limit": 2}
    made = watched(tmp_path, LRWatch(on_divergence="checkpoint", every=1, rules=[Huge]), *others, **words)
    made.add_callback(At(15, lambda: seen.append(checkpoints(tmp_path))))
    seen: list[list[int]] = []
    made.add_callback(At(16, lambda: seen.append(checkpoints(tmp_path))))
    made.train()
    assert seen == [[6, 12], [6, 12, 15]]
    assert made.state.global_step == STEPS
    assert made.args.save_total_limit == 2
    assert 15 in checkpoints(tmp_path) or not sealed  # what Transformers itself rotates later it alone decides
    assert is_kept(tmp_path / "checkpoint-15") == sealed
    if sealed:
        assert is_complete(tmp_path / "checkpoint-15")
    assert said(caplog)[1:] == ["the run diverges; its weights are finite, and are saved as checkpoint-15"]


def test_what_is_no_number_is_not_saved_and_nothing_is_written_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    watch = LRWatch(on_divergence="checkpoint", every=1, rules=[Huge])
    watched(tmp_path / "nan", watch, model=Bad(times=math.nan)).train()
    assert checkpoints(tmp_path / "nan") == []
    assert said(caplog)[1:] == ["the run diverges, and is not saved, as its weights are not finite any more"]
    (tmp_path / "there" / "checkpoint-15").mkdir(parents=True)
    (tmp_path / "there" / "checkpoint-15" / "mine").write_text("mine")
    before = files(tmp_path / "there")
    caplog.clear()
    watched(tmp_path / "there", LRWatch(on_divergence="checkpoint", every=1, rules=[Huge])).train()
    assert files(tmp_path / "there") == before
    assert said(caplog)[1:] == ["the run diverges, and is not saved, as there is a checkpoint-15 already"]


def test_what_needs_no_attention_and_what_only_spikes_is_not_acted_on(tmp_path: Path) -> None:
    class Expected(Rule):
        def see(self, point: Point, sight: Sight) -> list[Finding]:
            told = [found(5, 5, attention=False)] if point.step == 5 else []
            return [*told, *([Finding("spike", "bad batch", 7, 7, "rose", "", "")] if point.step == 7 else [])]

    made = watched(tmp_path, LRWatch(on_divergence="stop", rules=[Expected]))
    made.train()
    assert made.state.global_step == STEPS


# What is refused


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"on_divergence": "pray"}, "on_divergence='pray' is no action; the actions are stop, checkpoint, rescue"),
        ({"every": 0}, "every=0 must be 1"),
        ({"rescues": 0}, "rescues=0 must be 1 or more; for none give on_divergence='stop'"),
    ],
)
def test_words_that_cannot_be_are_refused(words: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        LRWatch(**words)


def test_a_rescue_by_trainer_itself_is_refused_before_anything(tmp_path: Path) -> None:
    made = watched(tmp_path / "run", LRWatch(on_divergence="rescue"))
    with pytest.raises(ValueError, match=r"cannot rewind .*; call hf_lrsched\.train\(trainer\) in place of trainer\.train"):
        made.train()
    assert list((tmp_path / "run").iterdir()) == []


def test_a_checkpoint_where_saving_is_decided_last_is_refused(tmp_path: Path) -> None:
    words = {"save_strategy": "best", "eval_strategy": "steps", "eval_steps": 4, "metric_for_best_model": "loss"}
    made = watched(tmp_path, LRWatch(on_divergence="checkpoint"), **words)
    with pytest.raises(ValueError, match="save_strategy='best' decides after every callback"):
        made.train()


def test_without_its_hooks_it_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    unregister()
    try:
        words = {"lr_scheduler_type": "linear", "lr_scheduler_kwargs": None}
        watched(tmp_path, LRWatch(), max_steps=2, **words).train()
        assert "sees no loss; call hf_lrsched.register()" in said(caplog)[0]
        with pytest.raises(ValueError, match=r"sees no loss; call hf_lrsched\.register\(\)"):
            watched(tmp_path, LRWatch(on_divergence="stop"), **words).train()
    finally:
        register()


# What it costs


def test_its_memory_does_not_grow(tmp_path: Path) -> None:
    made = watched(tmp_path, watch := LRWatch(every=10), model=Tiny(), max_steps=300, logging_steps=300)
    most: list[int] = []
    made.add_callback(At(299, lambda: most.append(len(watch._gathered))))
    took = watch.took
    sizes: list[int] = []

    def counted(points: list[Any]) -> None:
        sizes.append(len(points))
        took(points)

    vars(watch)["took"] = counted
    made.train()
    assert most == [9]
    assert set(sizes) == {10}


# Several processes


def test_two_processes_stop_together(tmp_path: Path) -> None:
    two_processes(tmp_path, "watched")
    one, other = (json.loads((tmp_path / f"watched-{rank}.json").read_text()) for rank in (0, 1))
    assert one["processes"] == other["processes"] == 2
    assert one["steps"] == other["steps"] == 15
    assert one["weights"] == other["weights"]
    assert one["losses"] == pytest.approx(one["logged"], rel=1e-3)
