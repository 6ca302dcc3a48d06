"""What the package's callbacks cost a step on the host, each in isolation, and how large the recorder's file gets.

    python scripts/bench_callbacks.py      about 20 seconds

A step is the events that Trainer sends for one update. Medians of 7 rounds in one process; the goal for all is 150
microseconds.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from hf_lrsched import Checkpoints, CooldownCallback, CycleSnapshots, LRRecorder, ScheduleLR, wsd
from hf_lrsched.runs.files import HISTORY

ROUNDS, STEPS = 7, 3000


def microseconds(callback: TrainerCallback, groups: int, folder: Path) -> float:
    args = TrainingArguments(str(folder), max_steps=10**9, lr_scheduler_type="wsd", use_cpu=True, report_to=[])
    args.lr_scheduler_kwargs = {"warmup": 10, "decay": 0}
    parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in range(groups)]
    optimizer = torch.optim.AdamW([{"params": [one]} for one in parameters], lr=1e-3)
    scheduler = ScheduleLR(optimizer, wsd(10**9, warmup=10, decay=0))
    state, control = TrainerState(max_steps=10**9), TrainerControl()
    state.is_world_process_zero = True
    with_them: dict[str, Any] = {"optimizer": optimizer, "lr_scheduler": scheduler, "train_dataloader": None}
    callback.on_train_begin(args, state, control, **with_them)
    losses, norms, times = torch.rand(STEPS).unbind(), torch.rand(STEPS).unbind(), []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for i in range(STEPS):
            callback.on_step_begin(args, state, control, **with_them)
            if isinstance(callback, LRRecorder):
                callback.saw_loss(losses[i])
                callback.saw_grad_norm(norms[i])
            callback.on_pre_optimizer_step(args, state, control, **with_them)
            callback.on_optimizer_step(args, state, control, **with_them)
            scheduler.last_epoch += 1
            state.global_step += 1
            callback.on_step_end(args, state, control, **with_them)
        times.append((time.perf_counter() - start) / STEPS * 1e6)
    callback.on_train_end(args, state, control, **with_them)
    return statistics.median(times)


def main() -> None:
    print("| microseconds a step | 2 groups | 50 groups |\n|---|---:|---:|")
    made = {
        "Checkpoints": lambda: Checkpoints(at=[10**8]),
        "CooldownCallback": lambda: CooldownCallback(50, finish_by="6h"),
        "CycleSnapshots": lambda: CycleSnapshots(),
        "LRRecorder": lambda: LRRecorder(),
    }
    for name, make in made.items():
        cells = []
        for groups in (2, 50):
            with tempfile.TemporaryDirectory() as folder:
                cells.append(f"{microseconds(make(), groups, Path(folder)):.1f}")
                file = Path(folder) / HISTORY
                size = f", {file.stat().st_size / (ROUNDS * STEPS):.0f} bytes a step" if file.exists() else ""
        print(f"| {name}{size} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
