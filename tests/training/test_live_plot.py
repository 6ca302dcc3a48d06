"""What `LRPlot` draws and what it tells the trackers is what each update of a real run ran under."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from itertools import pairwise
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.optim import SGD, AdamW
from transformers import TrainerCallback

from hf_lrsched import LRPlot, LRRecorder, one_cycle, wsd
from hf_lrsched.runs.files import HISTORY, PICTURE
from hf_lrsched.runs.history import History
from hf_lrsched.runs.reading import read_history
from hf_lrsched.show import plot
from hf_lrsched.training import live_plot, trackers

from .running import At, arguments, running, said
from .test_trainer import PEAK, STEPS, Tiny, tiny, trainer, watch

PNG = b"\x89PNG\r\n\x1a\n"
TENTH = 0.1


class Clock:
    """What `live_plot` takes for the time: it stands still unless it is told to go on."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(live_plot, "time", made)
    return made


class Drawn:
    """A stand-in for the drawing, which takes half a second otherwise: keeps what it is given, and when."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.histories: list[History] = []
        self.words: list[dict[str, Any]] = []
        self.times: list[tuple[float, float]] = []
        self.takes = TENTH

    def __call__(self, history: History, file: Path, **words: Any) -> None:
        start = self.clock.now
        self.clock.now += self.takes
        self.histories.append(history)
        self.words.append(words)
        self.times.append((start, self.clock.now))

    @property
    def steps(self) -> list[int]:
        """The last step of each picture."""
        return [int(history.step[-1]) for history in self.histories]


@pytest.fixture
def drawn(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Drawn:
    made = Drawn(clock)
    monkeypatch.setattr(plot, "lr_and_loss", made)
    return made


class Each(TrainerCallback):
    """Does something at the end of every step, before what is logged of it."""

    def __init__(self, do: Callable[[], Any]) -> None:
        self.do = do

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.do()


def passes(clock: Clock, seconds: float) -> Each:
    def go_on() -> None:
        clock.now += seconds

    return Each(go_on)


def plotted(folder: Path, name: str = "wsd", *callbacks: TrainerCallback, **given: Any) -> Any:
    made = trainer(folder, name, **given)
    for callback in callbacks:
        made.add_callback(callback)
    return made


def two_groups(model: Tiny, *, momentum: float | None = None) -> torch.optim.Optimizer:
    groups = [
        {"params": model.hidden.parameters(), "lr": 1e-2, "name": "hidden"},
        {"params": model.head.parameters(), "lr": 3e-4, "name": "head"},
    ]
    return AdamW(groups) if momentum is None else SGD(groups, momentum=momentum)


def faults(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What is said of pictures; the schedules have their own to say."""
    return [line for line in said(caplog) if "picture" in line]


# The picture


ORDERS: dict[str, Callable[[], list[TrainerCallback]]] = {
    "recorder first": lambda: [LRRecorder(every=7), LRPlot()],
    "plot first": lambda: [LRPlot(), LRRecorder(every=7)],
}


@pytest.mark.parametrize("order", ORDERS)
def test_the_picture_at_the_end_has_every_step_that_the_recorder_has(order: str, drawn: Drawn, tmp_path: Path) -> None:
    plotted(tmp_path, "one_cycle", *ORDERS[order](), logging_steps=5).train()
    [history] = drawn.histories
    assert history.step.tolist() == list(range(1, STEPS + 1))
    assert history.averaged == 1
    assert history.loss.tolist() == read_history(tmp_path).loss.tolist()
    assert drawn.words == [{"schedule": one_cycle(STEPS), "log_lr": False, "log_loss": False}]


def test_without_a_recorder_the_picture_has_what_trainer_logs(drawn: Drawn, tmp_path: Path) -> None:
    plotted(tmp_path / "run", "wsd", LRRecorder()).train()
    made = plotted(tmp_path / "run", "wsd", LRPlot(log_lr=True, log_loss=True), logging_steps=5)
    made.train()  # and not what an earlier run has left in the folder
    [history] = drawn.histories
    assert history.step.tolist() == [5, 10, 15, 20]
    assert history.averaged == 5
    assert history.lr[:, 0].tolist() == [lrs[0] for lrs in watch(made).lrs][4::5]
    assert drawn.words == [{"schedule": wsd(STEPS), "log_lr": True, "log_loss": True}]


@pytest.mark.parametrize("callbacks", [[LRPlot], [LRRecorder, LRPlot]])
def test_the_picture_lies_in_the_folder_of_the_run(callbacks: list[type[TrainerCallback]], tmp_path: Path) -> None:
    plotted(tmp_path / "run", "wsd", *(kind() for kind in callbacks)).train()
    assert (tmp_path / "run" / PICTURE).read_bytes().startswith(PNG)
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert left == ({PICTURE, HISTORY} if LRRecorder in callbacks else {PICTURE})


def test_the_picture_is_drawn_while_the_run_goes_on(drawn: Drawn, clock: Clock, tmp_path: Path) -> None:
    plotted(tmp_path, "wsd", passes(clock, 31.0), LRPlot(), max_steps=6).train()
    assert drawn.steps == [1, 2, 3, 4, 5, 6, 6]


def test_the_first_picture_comes_after_half_a_minute(drawn: Drawn, clock: Clock, tmp_path: Path) -> None:
    plotted(tmp_path, "wsd", passes(clock, 4.0), LRPlot()).train()
    first, _ = drawn.times[0]
    assert 30.0 < first - Clock.now <= 34.0


@pytest.mark.parametrize("takes", [0.01, 0.3, 2.0])
@pytest.mark.parametrize("seconds", [0.7, 7.3])
def test_drawing_takes_its_share_of_the_time_and_no_more(
    takes: float, seconds: float, drawn: Drawn, clock: Clock, tmp_path: Path
) -> None:
    drawn.takes = takes
    plotted(tmp_path, "wsd", passes(clock, seconds), LRPlot(), max_steps=150, logging_steps=1).train()
    during = drawn.times[:-1]
    waits = [start - end for (_, end), (start, _) in pairwise(during)]
    assert all(takes / live_plot._SHARE < wait <= takes / live_plot._SHARE + seconds + 1e-6 for wait in waits)
    assert drawn.steps[-1] == 150
    if seconds == 7.3:
        assert len(during) > 2


def test_an_evaluation_is_drawn_too(drawn: Drawn, clock: Clock, tmp_path: Path) -> None:
    words = {"eval_strategy": "steps", "eval_steps": 4, "logging_steps": 100, "max_steps": 8, "lr_scheduler_type": "wsd"}
    running(arguments(tmp_path, **words), passes(clock, 10.0), LRPlot()).train()
    assert [history.eval_step.tolist() for history in drawn.histories] == [[4], [4, 8], [4, 8]]


def test_only_the_first_process_draws_and_tells(
    drawn: Drawn, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Second(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            state.is_world_process_zero = False

    told: list[Any] = []
    monkeypatch.setattr(trackers, "report", lambda *given: told.append(given))
    monkeypatch.setattr(trackers, "report_figure", lambda *given: told.append(given))
    plotted(tmp_path, "wsd", Second(), passes(clock, 60.0), LRPlot(), LRRecorder()).train()
    assert (drawn.histories, told, list(tmp_path.iterdir())) == ([], [], [])


def test_a_run_too_young_to_have_a_point_recorded_is_no_fault(
    drawn: Drawn, clock: Clock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # The recorder writes its first batch after 100 steps, and a large model takes seconds for one.
    plotted(tmp_path, "wsd", passes(clock, 31.0), LRRecorder(), LRPlot()).train()
    assert faults(caplog) == []
    assert drawn.steps[-1] == STEPS


class Stop(At):
    """Ends the run at a step, behind everything else that listens."""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_training_stop |= state.global_step == self.step


def test_a_run_that_is_ended_early_is_drawn_to_its_last_step(drawn: Drawn, tmp_path: Path) -> None:
    plotted(tmp_path, "wsd", LRRecorder(), LRPlot(), Stop(13, lambda: None)).train()
    assert drawn.steps == [13]


class Tokens(Tiny):
    main_input_name = "x"


def test_counting_tokens_makes_no_log_the_last(drawn: Drawn, tmp_path: Path) -> None:
    # Trainer puts train_runtime into every log then.
    made = plotted(tmp_path, "wsd", LRPlot(), model=Tokens(), include_num_input_tokens_seen="all")
    made.train()
    assert all("train_runtime" in line for line in made.state.log_history)
    assert len(drawn.histories) == 1


def test_where_tokens_are_counted_the_log_still_has_its_points(drawn: Drawn, tmp_path: Path) -> None:
    plotted(tmp_path, "wsd", LRPlot(), model=Tokens(), include_num_input_tokens_seen="all").train()
    history = drawn.histories[-1]
    assert history.step.tolist() == list(range(1, STEPS + 1))
    assert history.tokens[-1] == STEPS * 4 * 3


def test_a_second_training_is_drawn_by_itself(drawn: Drawn, clock: Clock, tmp_path: Path) -> None:
    made = plotted(tmp_path, "wsd", LRRecorder(), LRPlot())
    made.train()
    made.train()
    assert drawn.steps == [STEPS] * 2
    assert drawn.histories[0].loss.tolist() != drawn.histories[1].loss.tolist()
    assert [len(history) for history in drawn.histories] == [STEPS] * 2


def test_a_resumed_run_is_drawn_whole(drawn: Drawn, tmp_path: Path) -> None:
    words = {"save_strategy": "steps", "save_steps": 8}
    plotted(tmp_path, "wsd", LRRecorder(), LRPlot(), Stop(10, lambda: None), **words).train()
    again = plotted(tmp_path, "wsd", LRRecorder(), LRPlot(), **words)
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-8"))
    assert drawn.histories[-1].step.tolist() == list(range(1, STEPS + 1))
    assert ("resume", 8) in {(event.kind, event.step) for event in drawn.histories[-1].events}


# What may go wrong


class OfATracker(Exception):
    """Their libraries have errors of their own; W&B's are no OSError and no ValueError."""


@pytest.mark.parametrize("kind", [OSError, ValueError, RuntimeError, OfATracker])
@pytest.mark.parametrize(("module", "name"), [(plot, "lr_and_loss"), (trackers, "report_figure")])
def test_a_picture_that_fails_is_told_once_and_the_run_goes_on(
    module: Any,
    name: str,
    kind: type[Exception],
    drawn: Drawn,
    clock: Clock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fails(*args: Any, **kwargs: Any) -> None:
        raise kind("No space left on device")

    monkeypatch.setattr(module, name, fails)
    made = plotted(tmp_path, "wsd", passes(clock, 31.0), LRPlot())
    made.train()
    assert made.state.global_step == STEPS
    assert faults(caplog) == ["no picture of the run could be drawn: No space left on device"]


def test_a_folder_that_is_none_ends_no_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = plotted(tmp_path / "run", "wsd", LRPlot())
    (tmp_path / "run").rmdir()
    (tmp_path / "run").write_text("no folder any more")  # root may write into a read-only one
    made.train()
    assert made.state.global_step == STEPS
    [fault] = faults(caplog)
    assert fault.startswith("no picture of the run could be drawn: ")
    assert str(tmp_path / "run") in fault


def test_without_matplotlib_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_plot, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"LRPlot needs matplotlib: pip install 'hf-lrsched\[plot\]'"):
        LRPlot()


# What the trackers are told


def phases(schedule: Any, steps: int) -> list[int]:
    """The phase of every update, counted from the spans."""
    return [sum(end <= step for _, end, _ in schedule.spans()) for step in range(steps)]


def events(folder: Path) -> Any:
    made = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0})
    return made.Reload()


def told(log: Any, name: str) -> tuple[list[int], list[float]]:
    """The steps and values of a scalar."""
    found = log.Scalars(name)
    return [event.step for event in found], [event.value for event in found]


def single(values: Any) -> Any:
    """Equal as float32, which is what an event file holds."""
    return pytest.approx(list(values), rel=1e-6, abs=1e-12)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "events"))
    return tmp_path


def test_tensorboard_has_the_lr_that_every_update_ran_under(folder: Path) -> None:
    model = tiny()
    made = plotted(folder / "run", "one_cycle", LRPlot(), model=model, optimizer=two_groups(model), report_to=["tensorboard"])
    made.train()
    log, schedule, every = events(folder / "events"), one_cycle(STEPS), list(range(1, STEPS + 1))
    for name, peak, group in (("hidden", 1e-2, 0), ("head", 3e-4, 1)):
        steps, lrs = told(log, f"train/lr/{name}")
        assert steps == every
        assert lrs == single(lrs[group] for lrs in watch(made).lrs)
        assert lrs == single(schedule.lrs(STEPS, peak))
    assert schedule.momentum is not None
    assert told(log, "train/momentum") == (every, single(schedule.momentum.values(STEPS)))
    assert told(log, "train/phase") == (every, phases(schedule, STEPS))
    [picture] = log.Images("lr_and_loss")
    assert picture.step == STEPS
    assert picture.encoded_image_string.startswith(PNG)


def test_tensorboard_is_told_with_each_log_of_the_update_before_it(folder: Path) -> None:
    made = plotted(folder / "run", "wsd", LRPlot(), report_to=["tensorboard"], logging_steps=4, max_steps=18)
    made.train()
    log = events(folder / "events")
    lrs = [lrs[0] for lrs in watch(made).lrs]
    assert told(log, "train/lr/0") == ([4, 8, 12, 16], single(lrs[3::4]))
    assert told(log, "train/phase") == ([4, 8, 12, 16], phases(wsd(18), 18)[3::4])
    assert told(log, "train/lr/1")[1] == told(log, "train/lr/0")[1]
    assert told(log, "train/learning_rate")[1] == told(log, "train/lr/0")[1]  # Trainer's own


def test_tensorboard_is_shown_every_picture(clock: Clock, folder: Path) -> None:
    words = {"report_to": ["tensorboard"], "max_steps": 12, "logging_steps": 4}
    plotted(folder / "run", "wsd", passes(clock, 8.0), LRPlot(), **words).train()
    assert [picture.step for picture in events(folder / "events").Images("lr_and_loss")] == [4, 8, 12, 12]


def test_under_a_schedule_of_transformers_own_no_phase_is_told(folder: Path) -> None:
    model, words = tiny(), {"report_to": ["tensorboard"], "warmup_steps": 5}
    made = plotted(folder / "run", "linear", LRPlot(), model=model, optimizer=two_groups(model, momentum=0.8), **words)
    made.train()
    log = events(folder / "events")
    assert told(log, "train/lr/head")[1] == single(lrs[1] for lrs in watch(made).lrs)
    assert told(log, "train/momentum")[1] == single([0.8] * STEPS)
    assert "train/phase" not in log.Tags()["scalars"]
    assert (folder / "run" / PICTURE).read_bytes().startswith(PNG)


def test_an_optimizer_without_momentum_has_none_told(folder: Path) -> None:
    model = tiny()
    optimizer = torch.optim.Adagrad(model.parameters(), lr=PEAK)
    plotted(folder / "run", "wsd", LRPlot(), model=model, optimizer=optimizer, report_to=["tensorboard"]).train()
    scalars = set(events(folder / "events").Tags()["scalars"])
    assert "train/lr/0" in scalars
    assert "train/momentum" not in scalars


def test_a_learning_rate_that_is_a_tensor_is_told_as_the_update_had_it(folder: Path) -> None:
    model = tiny()
    optimizer = AdamW(model.parameters(), lr=torch.tensor(PEAK), foreach=False)
    words = {"report_to": ["tensorboard"], "lr_scheduler_kwargs": {"warmup": 5}}
    plotted(folder / "run", "wsd", LRPlot(), model=model, optimizer=optimizer, **words).train()
    assert told(events(folder / "events"), "train/lr/0")[1] == single(wsd(STEPS, warmup=5).lrs(STEPS, PEAK))


def test_a_second_training_is_told_too(folder: Path) -> None:
    made = plotted(folder / "run", "wsd", LRPlot(), report_to=["tensorboard"])
    made.train()
    made.train()
    values = [value for file in sorted((folder / "events").iterdir()) for value in told(events(file), "train/lr/0")[1]]
    assert values == single(2 * wsd(STEPS).lrs(STEPS, PEAK).tolist())


def test_log_and_console_have_no_more_than_without_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*callbacks: TrainerCallback) -> tuple[Any, list[str], list[str]]:
        out = folder / ("with" if callbacks else "without")
        words = {"report_to": ["tensorboard"], "save_strategy": "steps", "save_steps": STEPS}
        plotted(out, "wsd", *callbacks, **words).train()
        state = json.loads((out / f"checkpoint-{STEPS}" / "trainer_state.json").read_text())
        printed = capsys.readouterr()
        lines = [line for line in printed.out.splitlines() if "train_runtime" not in line]
        return state["log_history"], lines, printed.err.splitlines()

    assert run() == run(LRPlot())


# The trackers that are reached by their libraries, which stand in here for the real ones


def stand_in(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module `name` that keeps what it is sent."""
    made: Any = ModuleType(name)
    made.__spec__ = ModuleSpec(name, None)
    made.sent = []
    made.log = lambda row: made.sent.append(dict(row))
    made.Image = lambda file: ("a picture", Path(file).read_bytes()[:8])
    made.config = type("Config", (dict,), {"update": lambda self, given, allow_val_change: dict.update(self, given)})()
    made.init = made.finish = lambda **given: None
    monkeypatch.setitem(sys.modules, name, made)
    return made


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> Any:
    made = stand_in("wandb", monkeypatch)
    made.run = SimpleNamespace(summary={}, _label=lambda **given: None)
    made.termwarn = lambda *given, **words: None
    for part in ("sdk", "sdk.lib", "sdk.lib.config_util"):
        stand_in(f"wandb.{part}", monkeypatch).ConfigError = ValueError
    return made


@pytest.fixture
def trackio(monkeypatch: pytest.MonkeyPatch) -> Any:
    made = stand_in("trackio", monkeypatch)
    none = SimpleNamespace(get=lambda: None)
    made.context_vars = SimpleNamespace(current_space_id=none, current_project=none)
    return made


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_wandb_and_trackio_are_told_and_shown_the_same(
    name: str, clock: Clock, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    tracker, model = request.getfixturevalue(name), tiny()
    words = {"report_to": [name], "max_steps": 12, "logging_steps": 4}
    optimizer = two_groups(model)
    made = plotted(tmp_path, "one_cycle", passes(clock, 8.0), LRPlot(), model=model, optimizer=optimizer, **words)
    made.train()
    ours = [row for row in tracker.sent if "train/lr/head" in row]
    schedule = one_cycle(12)
    assert schedule.momentum is not None
    assert [row["train/global_step"] for row in ours] == [4, 8, 12]
    scalars = {"lr/hidden", "lr/head", "momentum", "phase", "global_step"}
    assert all(set(row) == {f"train/{name}" for name in scalars} for row in ours)
    assert [row["train/lr/hidden"] for row in ours] == single(schedule.lrs(12, 1e-2)[3::4])
    assert [row["train/lr/head"] for row in ours] == single(schedule.lrs(12, 3e-4)[3::4])
    assert [row["train/momentum"] for row in ours] == single(schedule.momentum.values(12)[3::4])
    assert [row["train/phase"] for row in ours] == phases(schedule, 12)[3::4]
    shown = [row for row in tracker.sent if "lr_and_loss" in row]
    assert shown == [{"lr_and_loss": ("a picture", PNG), "train/global_step": step} for step in (4, 8, 12, 12)]
    assert len([row for row in tracker.sent if "train/loss" in row]) == 3  # Trainer's own are there as ever


def test_nothing_is_told_where_the_run_reports_to_nothing(drawn: Drawn, tmp_path: Path) -> None:
    heard: list[dict[str, Any]] = []

    class Own(TrainerCallback):
        """Somebody's own callback, which no tracker is."""

        def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            heard.append(kwargs["logs"])

    plotted(tmp_path, "wsd", Own(), LRPlot(), max_steps=3).train()
    assert len(heard) == 4
    assert not any("lr/0" in logs for logs in heard)
