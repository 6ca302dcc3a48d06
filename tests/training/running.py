"""What the tests of branches, cooldowns and snapshots share: short runs, ways to end them early, and what is left of them."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import IterableDataset
from transformers import Trainer, TrainerCallback, TrainingArguments

from .test_trainer import PEAK, Watch, data, tiny, watch


class Killed(BaseException):
    """What a run ends by when a test kills it: nothing catches it."""


class At(TrainerCallback):
    """Does something at the end of one step, before the callbacks behind it look around."""

    def __init__(self, step: int, do: Callable[[], Any]) -> None:
        self.step, self.do = step, do

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            self.do()


def die() -> None:
    raise Killed


def killed(start: Callable[[], Any]) -> None:
    with pytest.raises(Killed):
        start()


class Skips(TrainerCallback):
    """Updates that an overflow would have skipped, as accelerate tells them: the weights stay, the flag is up.

    Args:
        updates: which ones, counted from 0 over the whole run.
    """

    def __init__(self, *updates: int) -> None:
        self.updates = updates

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        skip = state.global_step in self.updates
        kwargs["optimizer"]._is_overflow = skip
        if skip:
            for weight in kwargs["model"].parameters():
                weight.grad = None


class Stream(IterableDataset[Any]):
    """`length` examples, of which nobody knows the number beforehand."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __iter__(self) -> Iterator[Any]:
        examples = data()
        yield from (examples[i % len(examples)] for i in range(self.length))


def arguments(output_dir: str | Path, **given: Any) -> TrainingArguments:
    plain: dict[str, Any] = {
        "learning_rate": PEAK,
        "per_device_train_batch_size": 4,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "use_cpu": True,
    }
    return TrainingArguments(output_dir=str(output_dir), **{**plain, **given})


def running(args: TrainingArguments, *callbacks: TrainerCallback, dataset: Any = None, model: Any = None) -> Any:
    made: Any = Trainer(
        model=tiny() if model is None else model,
        args=args,
        train_dataset=data() if dataset is None else dataset,
        eval_dataset=data()[:8],
        callbacks=[Watch(), *callbacks],
    )
    return made


def lrs(made: Any) -> list[float]:
    """The LR of every update that `made` has taken."""
    return [groups[0] for groups in watch(made).lrs]


def near(values: Any) -> Any:
    """Equal but for the last digits of a float."""
    return pytest.approx([float(value) for value in values], rel=1e-12, abs=1e-18)


def checkpoints(folder: Path) -> list[int]:
    """The steps of the checkpoints in `folder`."""
    return sorted(int(path.name.rpartition("-")[2]) for path in folder.glob("checkpoint-*"))


def files(folder: Path) -> dict[str, tuple[int, str]]:
    """When each file under `folder` was written, and the hash of what is in it."""
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def said(caplog: pytest.LogCaptureFixture, level: str = "WARNING") -> list[str]:
    """What this package has logged at `level`."""
    return [r.getMessage() for r in caplog.records if r.name.startswith("hf_lrsched") and r.levelname == level]


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Bit for bit, and nothing missing on either side."""
    return one.keys() == other.keys() and all(torch.equal(weight, other[name]) for name, weight in one.items())


def two_processes(folder: Path, *cases: str) -> None:
    """Runs these cases of two_processes.py, each in two processes; what they tell is in `folder`."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.training.two_processes", str(folder), *cases],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
