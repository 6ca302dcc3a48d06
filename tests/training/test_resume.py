"""What a run does that goes on under another schedule: every policy, on real runs of Trainer in this process."""

from __future__ import annotations

import itertools
import json
import pickle
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.optimizer import AcceleratedOptimizer
from safetensors.torch import load_file
from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from transformers import Trainer, TrainerCallback

from hf_lrsched import Checkpoints, Schedule, ScheduleLR, fall, hold, one_cycle, warmup_cosine, wsd
from hf_lrsched.training.resume import Resume

from ..recipes.conftest import RECIPES, launch
from .test_trainer import PEAK, same, tiny, trainer, watch, weights

AT = 10  # the step of the checkpoint
GLIDE = 4
POLICIES = ("configured", "checkpoint", "glide", "strict")


# Two runs, and what is different


@dataclass(frozen=True)
class Side:
    """One of the two runs: what is typed, and the schedule that it amounts to."""

    name: str
    schedule: Schedule
    peaks: tuple[float, ...] = (PEAK,)
    given: dict[str, Any] = field(default_factory=dict)

    def trainer(self, folder: Path, **given: Any) -> Any:
        """A trainer of it, on a new model."""
        model, optimizer = tiny(), None
        if len(self.peaks) > 1:
            parts = zip((model.hidden, model.head), self.peaks, strict=True)
            optimizer = AdamW([{"params": part.parameters(), "lr": peak} for part, peak in parts])
        plain = {"learning_rate": self.peaks[0], "max_steps": self.steps, "lr_scheduler_kwargs": None}
        return trainer(folder, self.name, model=model, optimizer=optimizer, **{**plain, **self.given, **given})

    @property
    def steps(self) -> int:
        return int(self.schedule.total)

    def lrs(self, steps: range) -> list[list[float]]:
        """The LRs of every group, at every one of `steps`."""
        peaks = self.peaks if len(self.peaks) > 1 else self.peaks * 2  # Trainer's: with weight decay, and without
        return [[self.schedule.lr(step, peak) for peak in peaks] for step in steps]


@dataclass(frozen=True)
class Change:
    """A run, the one that goes on, the rows of the table, and by how much the LR then jumps under ``configured``."""

    was: Side
    now: Side
    rows: tuple[str, ...]
    jump: str | None


WSD, ONE_CYCLE, COSINE = Side("wsd", wsd(20)), Side("one_cycle", one_cycle(20)), Side("warmup_cosine", warmup_cosine(20))
WSD_40, COSINE_40 = Side("wsd", wsd(40)), Side("warmup_cosine", warmup_cosine(40))
EPOCHS = {"max_steps": -1, "num_train_epochs": 3}  # of 24 examples
BATCH_4 = Side("warmup_cosine", warmup_cosine(18), given=EPOCHS)
BATCH_2 = Side("warmup_cosine", warmup_cosine(36), given={**EPOCHS, "per_device_train_batch_size": 2})

CHANGES = {
    "the type": Change(WSD, ONE_CYCLE, ("schedule", "momentum", "together"), "28%"),
    "the type, and momentum no more": Change(ONE_CYCLE, WSD, ("schedule", "momentum", "together"), "39%"),
    "the horizon": Change(COSINE, COSINE_40, ("schedule", "steps", "together"), "50%"),
    "the horizon of a plateau": Change(WSD, WSD_40, ("schedule", "steps", "together"), None),
    "the peak": Change(WSD, Side("wsd", wsd(20), (3e-3,)), ("peak LR",), "70%"),
    "the peak, a little": Change(WSD, Side("wsd", wsd(20), (1.09e-2,)), ("peak LR",), None),
    "the batch size": Change(BATCH_4, BATCH_2, ("schedule", "steps", "together"), "69%"),
    "one of two peaks": Change(
        Side("wsd", wsd(20), (1e-2, 3e-4)), Side("wsd", wsd(20), (1e-2, 6e-4)), ("peak LR",), "100%"
    ),
    "both of two groups": Change(
        Side("warmup_cosine", warmup_cosine(20), (1e-2, 3e-4)),
        Side("one_cycle", one_cycle(30), (2e-2, 3e-4)),
        ("schedule", "steps", "peak LR", "momentum", "together"),
        "211%",
    ),
    "Transformers' own": Change(Side("linear", Schedule((fall(20, "linear"),))), WSD, ("schedule",), "100%"),
}  # fmt: skip
OURS = [what for what, change in CHANGES.items() if change.was.name != "linear"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Side], Path]:
    """The checkpoint of step 10 of a run, which is trained once and only read."""
    made: dict[str, Path] = {}

    def checkpoint(side: Side) -> Path:
        key = repr((side.name, side.peaks, side.steps))
        if key not in made:
            made[key] = tmp_path_factory.mktemp("saved") / f"checkpoint-{AT}"
            run = side.trainer(made[key].parent, save_strategy="steps", save_steps=AT)
            run.train()
            assert run.state.global_step == side.steps
            assert watch(run).lrs == near(side.lrs(range(side.steps)))
        return made[key]

    return checkpoint


def near(lrs: list[list[float]]) -> Any:
    return pytest.approx(np.array(lrs), rel=1e-12, abs=1e-18)


class Untouched(TrainerCallback):
    """Before the first step, model and optimizer are what the checkpoint has, and only the LRs are the schedule's."""

    def __init__(self, checkpoint: Path) -> None:
        self.checkpoint = checkpoint
        self.looked = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        assert same(load_file(self.checkpoint / "model.safetensors"), kwargs["model"].state_dict())
        theirs = torch.load(self.checkpoint / "optimizer.pt", weights_only=True)
        ours = kwargs["optimizer"].state_dict()
        assert ours["state"].keys() == theirs["state"].keys() != set()
        for parameter, state_of_it in theirs["state"].items():
            assert same(state_of_it, ours["state"][parameter])
        moved = ("lr", "initial_lr", "betas")
        for one, other in zip(ours["param_groups"], theirs["param_groups"], strict=True):
            assert {k: v for k, v in one.items() if k not in moved} == {k: v for k, v in other.items() if k not in moved}
            assert one["betas"][1] == other["betas"][1]
        self.looked = True


def resume(side: Side, folder: Path, checkpoint: Path, words: dict[str, Any] | None = None, *, save: int = 0) -> Any:
    """The run that goes on from `checkpoint`, with a save after step `save`."""
    made = side.trainer(folder, lr_scheduler_kwargs=words)
    made.add_callback(Checkpoints(at=[save]))
    untouched = Untouched(checkpoint)
    made.add_callback(untouched)
    made.train(resume_from_checkpoint=str(checkpoint))
    assert untouched.looked
    return made


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "hf_lrsched.training.resume"]


def table(message: str) -> tuple[dict[str, list[str]], str]:
    """The rows of the table, each with what was saved, what is now, and the effect; and the sentence behind them."""
    title, heads, *rows, decision = message.split("\n")
    assert title == f"the checkpoint of step {AT} was written under another schedule than the one configured now:"
    assert heads.split() == ["saved", "now", "effect", "on", "the", "next", "LR"]
    starts = [0, *(heads.index(head) for head in ("saved", "now", "effect"))]
    cells = [[row[start:end].strip() for start, end in zip(starts, [*starts[1:], None], strict=True)] for row in rows]
    return {row[0]: row[1:] for row in cells}, decision


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def refused(side: Side, checkpoint: Path, words: dict[str, Any] | None = None) -> str:
    """What the run says that may not go on; no step is taken, and nothing of it in the folder of `checkpoint` changes."""
    before = files(checkpoint.parent)
    made = side.trainer(checkpoint.parent, lr_scheduler_kwargs=words)
    with pytest.raises(ValueError) as error:  # noqa: PT011  # what it says is for the caller to look at
        made.train(resume_from_checkpoint=str(checkpoint))
    assert (watch(made).began, watch(made).lrs) == (0, [])
    assert files(checkpoint.parent) == before
    return str(error.value)


# Every policy, every change


@pytest.mark.parametrize("what", CHANGES)
def test_what_is_configured_now_wins_from_the_very_next_update_on(
    what: str, saved: Callable[[Side], Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    change, words = CHANGES[what], {} if what == "the type" else {"on_resume": "configured"}  # it is the default
    checkpoint, now = saved(change.was), change.now
    caplog.clear()
    made = resume(now, tmp_path, checkpoint, words)
    assert watch(made).lrs == near(now.lrs(range(AT, now.steps)))
    _momentum_is_that_of(now.schedule, made)

    [message] = said(caplog)
    rows, decision = table(message)
    assert tuple(rows) == change.rows
    old, new = change.was.lrs(range(AT, AT + 1))[0], now.lrs(range(AT, AT + 1))[0]
    if old[0] != new[0]:
        shown = f"{old[0]:.4g} -> {new[0]:.4g} (x {new[0] / old[0]:.3g})"
        assert rows["together" if len(rows) > 1 else change.rows[0]][2] == shown
    goes_on = "on_resume='configured': the run goes on at step 10 with what is configured now"
    others = (
        "'checkpoint' goes on with what was saved, 'glide' moves to what is configured over resume_steps, 'strict' refuses"
    )
    if change.jump is None:
        assert decision == goes_on
    else:
        assert decision.startswith(f"{goes_on}, and its LR jumps by {change.jump}; on_resume: {others}")


@pytest.mark.parametrize("what", OURS)
def test_what_was_saved_goes_on(
    what: str, saved: Callable[[Side], Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    change = CHANGES[what]
    checkpoint, was, now = saved(change.was), change.was, change.now
    caplog.clear()
    made = resume(now, tmp_path, checkpoint, {"on_resume": "checkpoint"}, save=14)
    assert watch(made).lrs == near(was.lrs(range(AT, now.steps)))
    _momentum_is_that_of(was.schedule, made)

    [message] = said(caplog)
    rows, decision = table(message)
    assert tuple(rows) == change.rows
    expected = "on_resume='checkpoint': what was saved goes on, what is configured now is set aside"
    if was.steps < now.steps:
        held = was.schedule.lr(was.steps, was.peaks[0])
        expected += f"; it ends at step {was.steps}, so from there to step {now.steps} the LR stays at {held:.4g}"
    assert decision == expected

    again = now.trainer(tmp_path, lr_scheduler_kwargs={"on_resume": "checkpoint"})
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-14"))
    assert watch(again).lrs == watch(made).lrs[14 - AT :]


@pytest.mark.parametrize("what", CHANGES)
def test_a_glide_moves_from_the_checkpoints_lrs_to_what_is_configured(
    what: str, saved: Callable[[Side], Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    change = CHANGES[what]
    checkpoint, now = saved(change.was), change.now
    caplog.clear()
    made = resume(now, tmp_path, checkpoint, {"on_resume": "glide", "resume_steps": GLIDE})
    [start], target = change.was.lrs(range(AT, AT + 1)), now.lrs(range(AT, now.steps))
    line = [[old + (new - old) * step / GLIDE for old, new in zip(start, target[step], strict=True)] for step in range(GLIDE)]
    seen = watch(made).lrs
    assert seen[0] == pytest.approx(start, rel=1e-15)  # continuous: the next update runs under the checkpoint's LR
    assert seen[:GLIDE] == near(line)
    assert seen[GLIDE:] == near(target[GLIDE:])  # and from there on the configured curve
    _momentum_is_that_of(now.schedule, made)

    [message] = said(caplog)
    rows, decision = table(message)
    assert tuple(rows) == change.rows
    begins = f"on_resume='glide': the LR moves from {start[0]:.4g} to the configured schedule over {GLIDE} steps"
    assert decision == begins


@pytest.mark.parametrize("what", CHANGES)
def test_any_difference_is_refused_before_a_step(what: str, saved: Callable[[Side], Path], tmp_path: Path) -> None:
    change = CHANGES[what]
    message, refusal = refused(change.now, saved(change.was), {"on_resume": "strict"}).rsplit("\n", 1)
    rows, _ = table(f"{message}\n")
    assert tuple(rows) == change.rows
    assert refusal == (
        "on_resume='strict' refuses any difference; on_resume: 'configured' takes what is configured now, "
        "'checkpoint' goes on with what was saved, 'glide' moves to what is configured over resume_steps"
    )


@pytest.mark.parametrize("policy", POLICIES)
def test_without_a_difference_every_policy_goes_on_in_silence(
    policy: str, saved: Callable[[Side], Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint = saved(ONE_CYCLE)
    caplog.clear()
    made = resume(ONE_CYCLE, tmp_path, checkpoint, {"on_resume": policy})
    assert watch(made).lrs == near(ONE_CYCLE.lrs(range(AT, 20)))
    _momentum_is_that_of(ONE_CYCLE.schedule, made)
    assert said(caplog) == []


def _momentum_is_that_of(schedule: Schedule, made: Any) -> None:
    seen = watch(made).beta1
    track = schedule.momentum
    steps = range(AT, AT + len(seen))
    assert seen == ([0.9] * len(seen) if track is None else pytest.approx([track(step) for step in steps], rel=1e-12))


def test_a_checkpoint_of_transformers_own_schedule_holds_none_to_go_on_with(saved: Callable[[Side], Path]) -> None:
    change = CHANGES["Transformers' own"]
    assert refused(change.now, saved(change.was), {"on_resume": "checkpoint"}) == (
        "on_resume='checkpoint' needs a checkpoint that holds its schedule, and this one was written by another scheduler; "
        "on_resume: 'configured' takes what is configured now, 'glide' moves to what is configured over resume_steps"
    )


@pytest.mark.parametrize("name", ["linear", "constant", "cosine"])
def test_a_checkpoint_of_ours_is_refused_under_transformers_own_schedules(name: str, saved: Callable[[Side], Path]) -> None:
    checkpoint = saved(ONE_CYCLE)
    assert refused(Side(name, hold(20) >> hold(0)), checkpoint) == (
        f"{checkpoint} was written under hf_lrsched's schedule 'one_cycle', and LambdaLR cannot read it; resume with "
        "lr_scheduler_type set to one of hf_lrsched's"
    )


def test_a_jump_up_from_0_is_named_as_well(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    WSD.trainer(tmp_path, save_strategy="steps", save_steps=20).train()  # decayed to 0, and now to be extended
    made = WSD_40.trainer(tmp_path)
    made.train(resume_from_checkpoint=str(tmp_path / "checkpoint-20"))
    assert watch(made).lrs == near(WSD_40.lrs(range(20, 40)))
    [message] = said(caplog)
    assert "0 -> 0.01" in message
    assert "and its LR jumps" in message
    assert "'glide' moves to what is configured over resume_steps" in message


@pytest.mark.parametrize(
    ("was", "now"),
    [
        (wsd(100_000, shape="1-sqrt"), wsd(100_000, shape="linear")),
        (wsd(100_000), wsd(100_000, min_lr_ratio=0.1)),
        (wsd(100_000), wsd(100_000, min_lr=1e-5)),
    ],
    ids=["shape", "min_lr_ratio", "min_lr"],
)
def test_the_row_of_a_schedule_shows_what_is_different(
    was: Schedule, now: Schedule, caplog: pytest.LogCaptureFixture
) -> None:
    plain(now, plain(was, steps=AT)[1])
    [message] = said(caplog)
    before, after, _ = table(message)[0]["schedule"]
    assert before != after


def test_the_row_of_the_peaks_shows_what_is_different(caplog: pytest.LogCaptureFixture) -> None:
    plain(wsd(20), plain(wsd(20), None, (1e-2, 1e-2, 3e-4), steps=AT)[1], (1e-2, 3e-4, 3e-4))
    [message] = said(caplog)
    before, after, _ = table(message)[0]["peak LR"]
    assert before != after


# Glides


@pytest.mark.parametrize(
    ("words", "steps"),
    [
        ({}, 3),  # the default warm-up of the 30 steps that are left
        ({"resume_steps": 6}, 6),
        ({"resume_steps": "10%"}, 4),
        ({"resume_steps": 0.2}, 8),
        ({"resume_steps": "5 steps"}, 5),
        ({"resume_steps": "0.5 epochs", "epochs": 10}, 2),
        ({"resume_steps": 0}, 0),
    ],
)
def test_a_glide_is_as_long_as_it_is_told(
    words: dict[str, Any], steps: int, saved: Callable[[Side], Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint = saved(COSINE)
    made = resume(COSINE_40, tmp_path, checkpoint, {"on_resume": "glide", **words})
    seen, target = watch(made).lrs, COSINE_40.lrs(range(AT, 40))
    assert seen[steps:] == near(target[steps:])
    assert all(one[0] < (1 - 1e-6) * other[0] for one, other in zip(seen[:steps], target, strict=False))
    assert f"over {steps} steps" in said(caplog)[-1]


@pytest.mark.parametrize("stop", [11, 13, 15, 16, 17])
def test_a_glide_that_was_interrupted_resumes_in_the_glide(
    stop: int, saved: Callable[[Side], Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    words = {"on_resume": "glide", "resume_steps": 6}
    change = CHANGES["both of two groups"]
    whole = resume(change.now, tmp_path, saved(change.was), words, save=stop)
    caplog.clear()
    checkpoint = tmp_path / f"checkpoint-{stop}"
    again = change.now.trainer(tmp_path, lr_scheduler_kwargs=words)
    again.train(resume_from_checkpoint=str(checkpoint))
    assert watch(again).lrs == watch(whole).lrs[stop - AT :]
    assert watch(again).beta1 == watch(whole).beta1[stop - AT :]
    assert same(weights(again), weights(whole))
    assert said(caplog) == []


def test_a_glide_that_was_interrupted_is_dropped_where_what_is_configured_wins(
    saved: Callable[[Side], Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    words = {"on_resume": "glide", "resume_steps": 8}
    resume(COSINE_40, tmp_path, saved(COSINE), words, save=12)
    caplog.clear()
    made = COSINE_40.trainer(tmp_path)
    made.train(resume_from_checkpoint=str(tmp_path / "checkpoint-12"))
    assert watch(made).lrs == near(COSINE_40.lrs(range(12, 40)))
    [message] = said(caplog)
    assert re.search(r"\n  glide +until step 18 +dropped +0\.006948 -> 0\.008947 \(x 1\.29\)\n", message)
    assert "and its LR jumps by" in message


def test_a_glide_turns_where_what_is_configured_changes_again(saved: Callable[[Side], Path], tmp_path: Path) -> None:
    words = {"on_resume": "glide", "resume_steps": 8}
    first = resume(COSINE_40, tmp_path, saved(COSINE), words, save=12)
    made = WSD_40.trainer(tmp_path, lr_scheduler_kwargs={"on_resume": "glide", "resume_steps": 4})
    made.train(resume_from_checkpoint=str(tmp_path / "checkpoint-12"))
    start = watch(first).lrs[2][0]
    line = [[start + (PEAK - start) * step / 4] * 2 for step in range(4)]
    assert watch(made).lrs == near([*line, *WSD_40.lrs(range(16, 40))])


# Words that are refused


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"on_resume": "x"}, "on_resume='x' is not a policy; the policies are configured, checkpoint, glide, strict"),
        ({"on_resume": True}, "on_resume=True is not a policy"),
        ({"on_resume": "Glide"}, "on_resume='Glide' is not a policy"),
        ({"resume_steps": 5}, "resume_steps=5 is for on_resume='glide', but on_resume is 'configured'; remove it"),
        ({"on_resume": "strict", "resume_steps": "5%"}, "resume_steps='5%' is for on_resume='glide', but"),
        ({"on_resume": "glide", "resume_steps": -1}, "resume_steps=-1 is negative; a length is 0 or more"),
        ({"on_resume": "glide", "resume_steps": 50}, r"resume_steps \(50 steps\) is longer than the run of 20 steps"),
        ({"on_resume": "glide", "resume_steps": "soon"}, "resume_steps='soon' is not a length"),
        ({"on_resume": "glide", "resume_steps": 1.0}, "resume_steps=1.0 is ambiguous"),
        ({"resume": "glide"}, "wsd does not know 'resume'"),
    ],
)  # fmt: skip
def test_words_that_are_no_policy_are_refused_in_the_arguments(words: dict[str, Any], message: str, tmp_path: Path) -> None:
    made = WSD.trainer(tmp_path, lr_scheduler_kwargs=words)
    with pytest.raises(ValueError, match=message):
        made.train()
    assert watch(made).began == 0


@pytest.mark.parametrize(
    "given",
    [("x",), ("configured", 5.0), ("glide", -1.0), ("glide", float("nan"))],
    ids=["no policy", "steps without a glide", "negative", "nan"],
)
def test_words_that_are_no_policy_are_refused_in_a_loop_of_ones_own(given: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match=r"policy|resume_steps|steps"):
        Resume(*given)


# A loop of one's own


def plain(
    schedule: Schedule,
    state: Any = None,
    peaks: tuple[float, ...] = (PEAK,),
    *,
    steps: int = 0,
    policy: Resume | None = None,
) -> tuple[list[list[float]], Any]:
    """The LRs of the next `steps` updates, and the states of optimizer and scheduler behind them."""
    optimizer = AdamW([{"params": [nn.Parameter(torch.ones(2))], "lr": peak} for peak in peaks])
    scheduler = ScheduleLR(optimizer, schedule, resume=policy)
    if state is not None:
        optimizer.load_state_dict(state[0])
        scheduler.load_state_dict(state[1])
    seen = []
    for _ in range(steps):
        seen.append([group["lr"] for group in optimizer.param_groups])
        for group in optimizer.param_groups:
            for weight in group["params"]:
                weight.grad = torch.ones_like(weight)
        optimizer.step()
        scheduler.step()
    return seen, (optimizer.state_dict(), scheduler.state_dict())


def test_every_policy_works_in_a_loop_of_ones_own(caplog: pytest.LogCaptureFixture) -> None:
    was, now = Side("", warmup_cosine(20), (1e-2, 3e-4)), Side("", warmup_cosine(40), (2e-2, 3e-4))
    _, state = plain(was.schedule, peaks=was.peaks, steps=AT)

    def goes_on(policy: Resume | None) -> Any:
        caplog.clear()
        seen, _ = plain(now.schedule, state, now.peaks, steps=30, policy=policy)
        assert len(said(caplog)) == 1
        return seen

    assert goes_on(None) == near(now.lrs(range(AT, 40)))
    assert goes_on(Resume("configured")) == near(now.lrs(range(AT, 40)))
    assert goes_on(Resume("checkpoint")) == near(was.lrs(range(AT, 40)))
    for glide, steps in ((Resume("glide", 5), 5), (Resume("glide"), 3)):
        seen = goes_on(glide)
        assert seen[0] == was.lrs(range(AT, AT + 1))[0]
        assert seen[steps:] == near(now.lrs(range(AT + steps, 40)))
        assert seen[steps - 1][0] < 0.99 * now.lrs(range(AT + steps - 1, 40))[0][0]
    with pytest.raises(ValueError, match="on_resume='strict' refuses any difference"):
        goes_on(Resume("strict"))


def test_a_refusal_leaves_scheduler_and_optimizer_as_they_were() -> None:
    _, (_, state) = plain(wsd(20), steps=AT)
    optimizer = SGD([nn.Parameter(torch.ones(2))], lr=3e-3, momentum=0.5)
    scheduler = ScheduleLR(optimizer, one_cycle(20), resume=Resume("strict"))
    before, group = scheduler.state_dict(), {**optimizer.param_groups[0]}
    with pytest.raises(ValueError, match="strict"):
        scheduler.load_state_dict(state)
    assert scheduler.state_dict() == before
    assert optimizer.param_groups[0] == group


@pytest.mark.parametrize("policy", ["checkpoint", "glide"])
def test_a_policy_that_needs_what_the_checkpoint_does_not_have_says_so(policy: str) -> None:
    _, (_, state) = plain(wsd(20), steps=AT)
    what = "learning rates" if policy == "glide" else "peak learning rates|learning rates"
    for other in ({**state, "base_lrs": [PEAK] * 3, "_last_lr": [PEAK] * 3}, {"last_epoch": AT}):
        optimizer: Optimizer = SGD([nn.Parameter(torch.ones(2))], lr=3e-3)
        scheduler = ScheduleLR(optimizer, wsd(40), resume=Resume(policy))
        message = (
            rf"on_resume='{policy}' needs the ({what}) of all 1 parameter groups, .* step 10 has (3|none); .*'configured'"
        )
        with pytest.raises(ValueError, match=message):
            scheduler.load_state_dict(other)


def test_only_the_first_process_shows_the_table(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    _, state = plain(wsd(20), steps=AT)
    monkeypatch.setenv("RANK", "1")
    seen, _ = plain(one_cycle(20), state, steps=10)
    assert [lr for [lr] in seen] == [lr for lr, _ in ONE_CYCLE.lrs(range(AT, 20))]
    assert said(caplog) == []


# Checkpoints that cannot be read


def damaged(name: str, file: Path) -> None:
    """Spoils a checkpoint's `file` in the way called `name`."""
    whole = file.read_bytes()
    if name == "list":
        torch.save([1, 2, 3], file)
    elif name == "weights":
        torch.save(tiny().state_dict(), file)
    elif name == "tensor":
        torch.save(torch.ones(3), file)
    elif name == "unreadable schedule":
        torch.save({**torch.load(file, weights_only=True), "schedule": {"phases": "all of them"}}, file)
    else:
        file.write_bytes(
            {
                "truncated": whole[: len(whole) // 2],
                "a byte short": whole[:-1],
                "its beginning": whole[:30],
                "empty": b"",
                "zeros": bytes(len(whole)),
                "pickled list": pickle.dumps([1, 2, 3]),
                "text": b"learning rate: 0.1\n",
            }[name]
        )


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("truncated", r"cannot be read \(\d+ bytes; .*; was the save interrupted\? Resume from another"),
        ("a byte short", r"cannot be read \(\d+ bytes; "),
        ("its beginning", r"cannot be read \(30 bytes; "),
        ("empty", r"cannot be read \(0 bytes; "),
        ("zeros", r"cannot be read \(\d+ bytes; "),
        ("pickled list", r"cannot be read \(\d+ bytes; |holds no step"),
        ("text", r"cannot be read \(19 bytes; "),
        ("list", r"this scheduler state holds no step \(last_epoch=None\); is it a scheduler's\?"),
        ("weights", r"this scheduler state holds no step"),
        ("tensor", r"this scheduler state holds no step"),
        ("unreadable schedule", r"the schedule in this checkpoint cannot be read: "),
    ],
)  # fmt: skip
def test_a_scheduler_file_that_is_none_gives_a_clear_error_and_no_file_changes(
    how: str, why: str, saved: Callable[[Side], Path], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(saved(WSD).parent, run)
    file = run / f"checkpoint-{AT}" / "scheduler.pt"
    damaged(how, file)
    message = refused(WSD, file.parent)
    assert message.startswith(f"{file}")
    assert re.search(why, message)


@pytest.mark.parametrize("name", ["scheduler.pt", "optimizer.pt"])
def test_a_checkpoint_without_schedule_or_optimizer_is_refused(
    name: str, saved: Callable[[Side], Path], tmp_path: Path
) -> None:
    checkpoint = tmp_path / "run" / f"checkpoint-{AT}"
    shutil.copytree(saved(WSD), checkpoint)
    (checkpoint / name).unlink()
    assert refused(WSD, checkpoint) == (
        f"{checkpoint} has no {name}, so the run would go on with a schedule and an optimizer that start anew; was the save "
        "interrupted, or save_only_model on? Resume from a complete checkpoint, or load its weights as the model"
    )


def test_a_run_that_has_nothing_to_do_with_ours_is_left_alone(saved: Callable[[Side], Path], tmp_path: Path) -> None:
    linear = CHANGES["Transformers' own"].was
    checkpoint = tmp_path / "run" / f"checkpoint-{AT}"
    shutil.copytree(saved(linear), checkpoint)
    (checkpoint / "scheduler.pt").unlink()
    made = linear.trainer(tmp_path)
    made.train(resume_from_checkpoint=str(checkpoint))  # in silence with a fresh schedule, as without this package
    assert watch(made).lrs == near(linear.lrs(range(10)))


@pytest.mark.parametrize("step", [5, 15])
def test_the_scheduler_file_of_another_step_is_refused(step: int, tmp_path: Path) -> None:
    WSD.trainer(tmp_path, save_strategy="steps", save_steps=5).train()
    checkpoint = tmp_path / f"checkpoint-{AT}"
    shutil.copy(tmp_path / f"checkpoint-{step}" / "scheduler.pt", checkpoint)
    assert refused(WSD, checkpoint) == (
        f"{checkpoint}: the schedule stands at step {step}, the run at step 10; the files of this checkpoint do not belong "
        "together, so resume from another"
    )


# Skipped updates


@pytest.fixture
def skipping(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes accelerate's optimizer skip the updates of these numbers, counted from 0, as a scaler does after an overflow."""
    step = AcceleratedOptimizer.step

    def at(*updates: int, first: int = 0) -> None:
        numbers = itertools.count(first)

        def skipping(self: Any, closure: Any = None) -> None:
            self._is_overflow = next(numbers) in updates
            if not self._is_overflow:
                step(self, closure)

        monkeypatch.setattr(AcceleratedOptimizer, "step", skipping)

    return at


@pytest.fixture
def with_a_scaler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints have a ``scaler.pt``, as under fp16; on a CPU there is nothing to put into it, and nothing to load it."""

    def save(self: Trainer, folder: str) -> None:
        (Path(folder) / "scaler.pt").write_bytes(b"of no meaning here")

    monkeypatch.setattr(Trainer, "_save_scaler", save)
    monkeypatch.setattr(Trainer, "_load_scaler", lambda self, checkpoint: None)


def with_skips(*skipped: int, steps: range = range(20)) -> list[list[float]]:
    """The LRs of the updates `steps` of `COSINE`, where these updates were skipped."""
    return [COSINE.lrs(range(20))[step - sum(one < step for one in skipped)] for step in steps]


def test_a_skipped_update_does_not_advance_the_schedule_and_is_counted(skipping: Callable[..., None], tmp_path: Path) -> None:
    skipping(0, 3, 7)
    made = COSINE.trainer(tmp_path)
    made.add_callback(Checkpoints())
    made.train()
    assert watch(made).lrs == near(with_skips(0, 3, 7))
    assert made.state.global_step == 20
    assert (made.lr_scheduler.last_epoch, made.lr_scheduler.skipped) == (17, 3)


def test_a_run_with_skipped_updates_is_resumed_where_they_were_counted(
    skipping: Callable[..., None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    skipping(3, 7, 12)
    whole = COSINE.trainer(tmp_path)
    whole.add_callback(Checkpoints(at=[AT, 15]))
    whole.train()
    assert torch.load(tmp_path / "checkpoint-10" / "scheduler.pt", weights_only=True)["skipped"] == 2
    for stop in (AT, 15):
        skipping(3, 7, 12, first=stop)
        made = COSINE.trainer(tmp_path / f"from-{stop}", lr_scheduler_kwargs={"on_resume": "strict"})
        made.add_callback(Checkpoints())
        made.train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{stop}"))
        assert watch(made).lrs == watch(whole).lrs[stop:] == near(with_skips(3, 7, 12, steps=range(stop, 20)))
        assert made.lr_scheduler.skipped == 3
        assert same(weights(made), weights(whole))
    assert said(caplog) == []


def test_a_run_with_skipped_updates_that_nobody_counted_is_refused(skipping: Callable[..., None], tmp_path: Path) -> None:
    skipping(3, 7)
    COSINE.trainer(tmp_path, save_strategy="steps", save_steps=AT).train()
    checkpoint = tmp_path / f"checkpoint-{AT}"
    assert refused(COSINE, checkpoint) == (
        f"{checkpoint}: the schedule stands at step 8, the run at step 10; the files of this checkpoint do not belong "
        "together, so resume from another"
    )


def test_a_count_that_does_not_agree_with_the_steps_is_refused(skipping: Callable[..., None], tmp_path: Path) -> None:
    skipping(3, 7)
    made = COSINE.trainer(tmp_path)
    made.add_callback(Checkpoints(at=[AT]))
    made.train()
    file = tmp_path / f"checkpoint-{AT}" / "scheduler.pt"
    torch.save({**torch.load(file, weights_only=True), "skipped": 1}, file)
    assert "stands at step 8, the run at step 10, and 1 skipped updates were counted" in refused(COSINE, file.parent)


@pytest.mark.parametrize("counted", [(False, False), (False, True), (True, False), (True, True)])
def test_under_a_scaler_a_run_is_resumed_twice_whoever_counted(
    counted: tuple[bool, bool], skipping: Callable[..., None], with_a_scaler: None, tmp_path: Path
) -> None:
    skips, stops, checkpoint = (3, 7, 12), (0, AT, 15), None
    for start, end, counts in zip(stops, (AT, 15, 20), (*counted, False), strict=True):
        skipping(*skips, first=start)
        made = COSINE.trainer(tmp_path, save_strategy="steps", save_steps=5)
        if counts:
            made.add_callback(Checkpoints())
        made.train(resume_from_checkpoint=checkpoint)
        assert watch(made).lrs == near(with_skips(*skips, steps=range(start, 20)))
        checkpoint = str(tmp_path / f"checkpoint-{end}")


def test_an_update_is_counted_once_where_two_callbacks_count(skipping: Callable[..., None], tmp_path: Path) -> None:
    skipping(3, 7)
    made = COSINE.trainer(tmp_path)
    made.add_callback(Checkpoints(at=[5]))
    made.add_callback(Checkpoints(at=[AT]))
    made.train()
    assert made.lr_scheduler.skipped == 2


# Several processes


def test_a_run_of_one_process_is_resumed_by_two(tmp_path: Path) -> None:
    epochs = {"max_steps": -1, "num_train_epochs": 6}  # 36 steps of one process, 18 of two
    was, now = Side("warmup_cosine", warmup_cosine(36), given=epochs), Side("warmup_cosine", warmup_cosine(18))
    was.trainer(tmp_path, save_strategy="steps", save_steps=AT).train()
    resumed, config = Path(__file__).with_name("resumed_by_two.py"), RECIPES / "accelerate/cpu.yaml"
    given = json.dumps({**epochs, "lr_scheduler_kwargs": {"on_resume": "glide", "resume_steps": 4}})
    launch(tmp_path, "--config_file", str(config), str(resumed), str(tmp_path / f"checkpoint-{AT}"), given)
    first, second = (json.loads((tmp_path / f"told-{rank}.json").read_text()) for rank in range(2))
    assert first["world_size"] == second["world_size"] == 2
    assert first["steps"] == second["steps"] == 18
    [start], target = was.lrs(range(AT, AT + 1)), now.lrs(range(AT, 18))
    line = [[old + (new - old) * step / 4 for old, new in zip(start, target[step], strict=True)] for step in range(4)]
    assert first["lrs"] == near([*line, *target[4:]])
    assert first["lrs"] == second["lrs"]
    assert first["weights"] == second["weights"]
    [message] = first["said"]
    assert table(message)[0]["steps"][:2] == ["36", "18"]
    assert second["said"] == []
