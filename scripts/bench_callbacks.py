"""What the package's callbacks cost a step on the host, each alone and all together, and how large the recorder's file gets.

    python scripts/bench_callbacks.py      about 90 seconds, most of them for a million recorded steps

A step is the events that Trainer sends for one update, with a log every 10; medians of 7 rounds in one process. The goal for
all together is 150 microseconds. Drawing is not among it: `LRPlot` gives it a hundredth of the time, whatever it takes, and
what it takes is told by itself. Nor is the fit of a forecast, which comes with an evaluation.
"""

from __future__ import annotations

import gc
import math
import os
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from hf_lrsched import (
    Checkpoints,
    CooldownCallback,
    CycleSnapshots,
    LRCard,
    LRForecast,
    LRPlot,
    LRRecorder,
    LRWatch,
    ScheduleLR,
    wsd,
)
from hf_lrsched.runs.files import HISTORY
from hf_lrsched.runs.reading import read_history
from hf_lrsched.show.plot import lr_and_loss
from hf_lrsched.training.points import Listener

ROUNDS, STEPS, MILLION = 7, 3000, 1_000_000
MADE: dict[str, Callable[[], TrainerCallback]] = {
    "Checkpoints": lambda: Checkpoints(at=[10**8]),
    "CooldownCallback": lambda: CooldownCallback(50, finish_by="6h"),
    "CycleSnapshots": lambda: CycleSnapshots(),
    "LRRecorder": lambda: LRRecorder(),
    "LRWatch": lambda: LRWatch(on_divergence="stop"),
    "LRPlot": lambda: LRPlot(),
    "LRCard": lambda: LRCard(),
    "LRForecast": lambda: LRForecast(every=10**9),
}


class Run:
    """A Trainer's loop without a model: the events of an update, sent to `callbacks` in Trainer's order."""

    def __init__(self, callbacks: list[TrainerCallback], groups: int, folder: Path) -> None:
        self.args = TrainingArguments(str(folder), max_steps=10**9, lr_scheduler_type="wsd", use_cpu=True, report_to=[])
        self.args.lr_scheduler_kwargs = {"warmup": 1, "decay": 0}
        parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in range(groups)]
        optimizer = torch.optim.AdamW([{"params": [one]} for one in parameters], lr=1e-3)
        self.scheduler = ScheduleLR(optimizer, wsd(10**9, warmup=1, decay=0))
        for group in optimizer.param_groups:
            group["lr"] = 1e-3  # as from the second step on
        self.state, self.control = TrainerState(max_steps=10**9, logging_steps=10), TrainerControl()
        self.state.is_world_process_zero = True
        model = torch.nn.ParameterList(parameters)
        self.words: dict[str, Any] = {"optimizer": optimizer, "lr_scheduler": self.scheduler, "train_dataloader": None}
        self.words["model"] = model
        self.callbacks, self.listeners = callbacks, [one for one in callbacks if isinstance(one, Listener)]
        losses = torch.randn(STEPS).mul(0.1).exp().unbind()
        self.seen = list(zip(losses, torch.rand(STEPS).unbind(), strict=True))

    def __enter__(self) -> Run:
        trainer: Any = SimpleNamespace(
            args=self.args,
            state=self.state,
            control=self.control,
            model=self.words["model"],
            lr_scheduler=self.scheduler,
            callback_handler=SimpleNamespace(callbacks=self.callbacks),
            is_world_process_zero=lambda: True,
            create_model_card=lambda: None,
        )
        for callback in list(self.callbacks):  # some change their place
            if hasattr(callback, "saw_trainer"):
                callback.saw_trainer(trainer)
        self.send("on_train_begin")
        return self

    def __exit__(self, *error: object) -> None:
        self.send("on_train_end")

    def send(self, event: str, **words: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(self.args, self.state, self.control, **self.words, **words)

    def steps(self, count: int) -> None:
        seen = self.seen
        for i in range(count):
            self.send("on_step_begin")
            for listener in self.listeners:
                loss, norm = seen[i % STEPS]
                listener.saw_loss(loss)
                listener.saw_grad_norm(norm)
            self.send("on_pre_optimizer_step")
            self.send("on_optimizer_step")
            self.scheduler.last_epoch += 1
            self.state.global_step += 1
            self.send("on_step_end")
            if self.state.global_step % 10 == 0:
                self.send("on_log", logs={"loss": 1.0, "learning_rate": 1e-3})


def microseconds(callbacks: list[TrainerCallback], groups: int, folder: Path) -> float:
    times = []
    with Run(callbacks, groups, folder) as run:
        for _ in range(ROUNDS):
            start = time.perf_counter()
            run.steps(STEPS)
            times.append((time.perf_counter() - start) / STEPS * 1e6)
    return statistics.median(times)


def chosen() -> Iterator[tuple[str, list[Callable[[], TrainerCallback]]]]:
    yield from ((name, [make]) for name, make in MADE.items())
    yield "**all together**", list(MADE.values())


def table() -> None:
    print("| microseconds a step | 2 groups | 50 groups |\n|---|---:|---:|")
    for name, makes in chosen():
        cells, sizes = [], []
        for groups in (2, 50):
            with tempfile.TemporaryDirectory() as folder:
                cells.append(f"{microseconds([make() for make in makes], groups, Path(folder)):.1f}")
                file = Path(folder) / HISTORY
                sizes += [f"{file.stat().st_size / (ROUNDS * STEPS):.0f}"] if file.exists() else []
        size = f" ({' and '.join(dict.fromkeys(sizes))} bytes a step)" if sizes else ""
        print(f"| {name}{size} | {' | '.join(cells)} |")


def million() -> None:
    """What the recorder holds and writes over a million steps, and what reading and drawing them takes."""
    with tempfile.TemporaryDirectory() as folder, Run([LRRecorder()], 2, Path(folder)) as run:
        run.steps(STEPS)
        gc.collect()
        tracemalloc.start()
        run.steps(STEPS)
        first, _ = tracemalloc.get_traced_memory()
        run.steps(MILLION - 2 * STEPS)
        now, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        size = (Path(folder) / HISTORY).stat().st_size
        print(f"\nLRRecorder over {MILLION:,} steps: {size / 1e6:.1f} MB on disk, {size / MILLION:.1f} bytes a step;")
        print(f"memory: {(now - first) / 1e3:+.1f} kB from step {2 * STEPS:,} to the last, at most {peak / 1e3:.0f} kB.")
        start = time.perf_counter()
        history = read_history(folder)
        read = time.perf_counter() - start
        assert len(history) == MILLION
        assert math.isfinite(history.loss.sum())
        lr_and_loss(history, Path(folder) / "first.png")  # matplotlib is imported
        start = time.perf_counter()
        lr_and_loss(history, Path(folder) / "lr_and_loss.png")
        drawn = time.perf_counter() - start
        every = 100 * (read + drawn) / 60
        print(f"LRPlot: reading them takes {read:.1f} s, drawing {drawn:.1f} s, so once in {every:.0f} minutes.")


def watched() -> None:
    """What the watch holds over many steps."""
    steps = MILLION // 10
    with tempfile.TemporaryDirectory() as folder, Run([LRWatch()], 2, Path(folder)) as run:
        run.steps(STEPS)
        gc.collect()
        tracemalloc.start()
        run.steps(STEPS)
        first, _ = tracemalloc.get_traced_memory()
        run.steps(steps)
        now, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        print(f"LRWatch: {(now - first) / 1e3:+.1f} kB over {steps:,} steps, at most {peak / 1e3:.0f} kB.")


def largest() -> None:
    """The recorder's bytes a step where the LR moves with every step, and differs from group to group."""
    for groups in (1, 2, 50):
        with tempfile.TemporaryDirectory() as folder, Run([LRRecorder()], groups, Path(folder)) as run:
            for step in range(STEPS):
                moved = 0.5 * (1 + math.cos(math.pi * step / STEPS))
                for i, group in enumerate(run.scheduler.optimizer.param_groups):
                    group["lr"] = 3e-4 * 0.8**i * moved
                run.steps(1)
            size = (Path(folder) / HISTORY).stat().st_size / STEPS
        own = ", each with an LR of its own" * (groups > 1)
        print(f"LRRecorder under a cosine, {groups} group{'s' * (groups > 1)}{own}: {size:.0f} bytes a step")


if __name__ == "__main__":
    table()
    million()
    watched()
    largest()
