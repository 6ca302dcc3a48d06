"""Runs in two processes each: open-ended ones, of which one alone is told to cool down, a range test before a training,
runs that diverge, and one that is not begun.

The processes are forked from this one, which has imported everything; test_cooldown.py, test_sweep.py and others start it:
`python -m tests.training.two_processes FOLDER CASE...`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration

from hf_lrsched import (
    Checkpoints,
    CooldownCallback,
    LRForecast,
    LRPreflight,
    LRRecorder,
    LRWatch,
    find_lr,
    prepare,
    read_history,
)
from hf_lrsched import train as rescued

from .forked import in_two
from .running import At, arguments, lrs, running
from .test_forecast import reader
from .test_forecast import steps as forecast_at
from .test_rescue import by, regression
from .test_trainer import weights
from .test_watch import Bad, Huge


def test_first(case: str, rank: int, folder: Path) -> None:
    """A training, with and without a range test before it."""
    words = {"max_steps": 6, "lr_scheduler_type": "wsd", "gradient_accumulation_steps": 2}
    said: dict[str, Any] = {}
    for before in ("nothing", "test"):
        made = running(arguments(folder / f"{case}-{before}", **words))
        if before == "test":
            found = find_lr(made, start_lr=1e-4, end_lr=1e3, steps=40, budget=600)
            said |= {"result": found.to_dict(), "processes": made.args.world_size}
        wrapped: set[str] = set()
        inner = made.training_step

        def step(model: Any, *args: Any, inner: Any = inner, wrapped: set[str] = wrapped) -> Any:
            wrapped.add(type(model).__name__)
            return inner(model, *args)

        made.training_step = step
        made.train()
        losses = [float(line["loss"]) for line in made.state.log_history if "loss" in line]
        said[before] = {"lrs": lrs(made), "losses": losses, "wrapped": sorted(wrapped)}
        said[before]["weights"] = [weight.tolist() for weight in weights(made).values()]
    (folder / f"{case}-{rank}.json").write_text(json.dumps(said))


def watch(case: str, rank: int, folder: Path) -> None:
    """A training that is stopped, as the loss of one process alone is huge."""
    made = running(
        arguments(folder / case, max_steps=24, lr_scheduler_type="wsd"),
        *(LRWatch(on_divergence="stop", every=1, rules=[Huge]), LRRecorder()),
        model=Bad(times=1e5 if rank else 1.0),
    )
    made.train()
    recorded = read_history(folder / case).loss.tolist() if rank == 0 else []
    said = {
        "processes": made.args.world_size,
        "steps": made.state.global_step,
        "losses": recorded,
        "logged": [float(line["loss"]) for line in made.state.log_history if "loss" in line],
        "weights": [weight.tolist() for weight in weights(made).values()],
    }
    (folder / f"{case}-{rank}.json").write_text(json.dumps(said))


def rescue(case: str, rank: int, folder: Path) -> None:
    """A training that diverges, and goes back."""
    made = regression(folder / case, Checkpoints(), by(), LRRecorder(), per_device_train_batch_size=4)
    rescued(made)
    said = {
        "processes": made.args.world_size,
        "steps": made.state.global_step,
        "lrs": lrs(made),
        "weights": [weight.tolist() for weight in weights(made).values()],
    }
    (folder / f"{case}-{rank}.json").write_text(json.dumps(said))


def preflight(case: str, rank: int, folder: Path) -> None:
    """A training that is not begun, as the first process finds its warm-up longer than the run."""
    words = {"max_steps": 4, "warmup_steps": 100, "lr_scheduler_type": "cosine"}
    made = running(arguments(folder / case, **words), LRPreflight(on_error="stop"))
    said: dict[str, Any] = {"error": ""}
    try:
        made.train()
    except ValueError as error:
        said = {"error": str(error)}
    said |= {"processes": made.args.world_size, "steps": made.state.global_step}
    (folder / f"{case}-{rank}.json").write_text(json.dumps(said))


def forecast(case: str, rank: int, folder: Path) -> None:
    """A stable run, of which each process says at which steps it has forecast a cooldown."""
    words = {"max_steps": 100, "lr_scheduler_type": "wsd", "lr_scheduler_kwargs": {"warmup": 4, "decay": 0}}
    made = reader(folder / case, LRForecast(every=50), **words, eval_strategy="no")
    made.train()
    (folder / f"{case}-{rank}.json").write_text(json.dumps(forecast_at(made)))


def loop(case: str, rank: int, folder: Path) -> None:
    """A loop of one's own in Accelerate, saved after 6 updates and gone on with twice."""
    accelerator = Accelerator(
        cpu=True,
        gradient_accumulation_steps=2,
        dataloader_config=DataLoaderConfiguration(split_batches=case == "loop-split"),
    )
    model = torch.nn.Linear(2, 1)
    ones = torch.utils.data.TensorDataset(torch.ones(64, 2))
    optimizer: Any = torch.optim.AdamW(model.parameters(), lr=1e-3)
    data: Any = torch.utils.data.DataLoader(ones, batch_size=4)
    model, optimizer, data = accelerator.prepare(model, optimizer, data)
    scheduler = prepare(accelerator, optimizer, "wsd", 12, warmup=3, decay=4)

    def updates(count: int) -> list[float]:
        seen: list[float] = []
        while len(seen) < count:
            for [batch] in data:
                with accelerator.accumulate(model):
                    accelerator.backward(model(batch).sum())
                    if accelerator.sync_gradients:
                        seen.append(optimizer.param_groups[0]["lr"])
                    optimizer.step()
                    scheduler.step()
                    optimizer.zero_grad()
                if len(seen) == count:
                    break
        return seen

    first = updates(6)
    accelerator.save_state(str(folder / case))
    onward = updates(6)
    accelerator.load_state(str(folder / case))
    said = {"processes": accelerator.num_processes, "first": first, "onward": onward, "again": updates(6)}
    (folder / f"{case}-{rank}.json").write_text(json.dumps(said))


def train(case: str, rank: int, folder: Path) -> None:
    if case.startswith("loop"):
        return loop(case, rank, folder)
    if case == "forecast":
        return forecast(case, rank, folder)
    if case == "preflight":
        return preflight(case, rank, folder)
    if case == "found":
        return test_first(case, rank, folder)
    if case == "watched":
        return watch(case, rank, folder)
    if case == "rescued":
        return rescue(case, rank, folder)
    out = folder / case
    if case == "request":
        told = [At(4, lambda: (out / "cooldown.request").write_text('{"steps": 5}'))] if rank == 0 else []
    else:
        told = [At(6, lambda: os.kill(os.getpid(), signal.SIGUSR1))] if rank == 1 else []
    words = {"max_steps": 10**9, "lr_scheduler_type": "wsd", "lr_scheduler_kwargs": {"warmup": 4, "decay": 0}}
    made = running(arguments(out, **words), *told, CooldownCallback(5), LRRecorder(every=4))
    made.train()
    said = {
        "processes": made.args.world_size,
        "lrs": lrs(made),
        "told": [[line["step"], line["cooldown"]] for line in made.state.log_history if "cooldown" in line],
        "losses": [float(line["loss"]) for line in made.state.log_history if "loss" in line],
        "weights": [weight.tolist() for weight in weights(made).values()],
    }
    (folder / f"{case}-{rank}.json").write_text(json.dumps(said))
    return None


if __name__ == "__main__":
    torch.set_num_threads(1)
    for each in sys.argv[2:]:
        in_two(each, lambda rank, case=each: train(case, rank, Path(sys.argv[1])))  # type: ignore[misc]  # a default binds it
