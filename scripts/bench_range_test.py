"""Range tests beside the truth."""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path
from typing import Any

from range_test_tasks import HERE, TASKS, Task  # first: it counts the threads

import torch
from transformers.utils import logging as theirs

from hf_lrsched.training.checkpoints import write

TRUTH = HERE / "bench_range_test_truth.json"
SEEDS = (0, 1, 2)


def held_out_loss(task: Task, lr: float, seed: int) -> float:
    trainer = task.make(lr, seed)
    trainer.train()
    return trainer.evaluate()["eval_loss"]


def grid(names: list[str]) -> None:
    results: dict[str, Any] = json.loads(TRUTH.read_text()) if TRUTH.exists() else {}

    def run(name: str, exponent: float, seed: int) -> float:
        there = results.setdefault(name, {}).setdefault("loss", {}).setdefault(f"{exponent:g}", {})
        if str(seed) not in there:
            begun = time.perf_counter()
            loss = held_out_loss(TASKS[name], 10.0**exponent, seed)
            there[str(seed)] = round(loss, 5) if math.isfinite(loss) else None
            write(TRUTH, json.dumps(results, indent=1) + "\n")
            print(f"{name} 10^{exponent:g} seed {seed}: {loss:.4f} ({time.perf_counter() - begun:.1f} s)", flush=True)
        value = there[str(seed)]
        return math.inf if value is None else value

    for name in names:
        task = TASKS[name]
        if "before" not in results.setdefault(name, {}):
            results[name]["before"] = {
                str(seed): round(task.make(1e-3, seed).evaluate()["eval_loss"], 5) for seed in SEEDS
            }
        low, high = task.grid
        halves = [low + i / 2 for i in range(round(2 * (high - low)) + 1)]
        best = min(halves, key=lambda e: run(name, e, 0))
        around = [best + i / 4 for i in range(-3, 4)]
        for exponent in around:
            for seed in SEEDS:
                run(name, exponent, seed)


if __name__ == "__main__":
    torch.set_num_threads(1)
    theirs.set_verbosity_error()
    theirs.disable_progress_bar()
    grid(sys.argv[1:] or list(TASKS))
