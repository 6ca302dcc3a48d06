"""What one `scheduler.step()` costs, beside torch's and Transformers' schedulers, at several numbers of parameter groups.

    python scripts/bench_step.py [--repeats 15]

All schedulers run in this process, in turns, so that a busy machine slows them alike; the figures are medians. The floor is
the least any scheduler can do: assigning one value to every group.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable

import torch
from torch.optim import AdamW
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts, LambdaLR, OneCycleLR
from transformers import get_scheduler

from hf_lrsched import ScheduleLR, one_cycle, warmup_cosine, wsd

STEPS = 1_000_000
PEERS: dict[str, Callable[[AdamW], object]] = {
    "LambdaLR, constant": lambda optimizer: LambdaLR(optimizer, lambda step: 1.0),
    "CosineAnnealingWarmRestarts": lambda optimizer: CosineAnnealingWarmRestarts(optimizer, 1000),
    "OneCycleLR": lambda optimizer: OneCycleLR(optimizer, 1e-3, total_steps=STEPS),
    "Transformers cosine": lambda optimizer: get_scheduler("cosine", optimizer, 100, STEPS),
    "Transformers WSD": lambda optimizer: get_scheduler(
        "warmup_stable_decay", optimizer, 100, STEPS, {"num_decay_steps": 1000}
    ),
}
OURS: dict[str, Callable[[AdamW], object]] = {
    "hf_lrsched wsd": lambda optimizer: ScheduleLR(optimizer, wsd(STEPS)),
    "hf_lrsched warmup_cosine": lambda optimizer: ScheduleLR(optimizer, warmup_cosine(STEPS)),
    "hf_lrsched warmup_cosine, min_lr": lambda optimizer: ScheduleLR(optimizer, warmup_cosine(STEPS, min_lr=1e-5)),
    "hf_lrsched one_cycle, LR alone": lambda optimizer: ScheduleLR(optimizer, one_cycle(STEPS, cycle_momentum=False)),
    "hf_lrsched one_cycle, momentum": lambda optimizer: ScheduleLR(optimizer, one_cycle(STEPS)),
}
FLOOR = "floor: assigning to every group"


def optimizer_of(groups: int) -> AdamW:
    optimizer = AdamW([{"params": [torch.nn.Parameter(torch.zeros(1))]} for _ in range(groups)], lr=1e-3)
    optimizer.step()
    return optimizer


class Floor:
    def __init__(self, optimizer: AdamW) -> None:
        self.optimizer = optimizer

    def step(self) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = 1e-3


def microseconds(groups: int, repeats: int) -> dict[str, float]:
    made = {name: make(optimizer_of(groups)) for name, make in {FLOOR: Floor, **PEERS, **OURS}.items()}
    steps = max(20, 4000 // groups)
    taken: dict[str, list[float]] = {name: [] for name in made}
    for _ in range(repeats + 1):
        for name, scheduler in made.items():
            start = time.perf_counter()
            for _ in range(steps):
                scheduler.step()
            taken[name].append((time.perf_counter() - start) / steps * 1e6)
    return {name: statistics.median(times[1:]) for name, times in taken.items()}  # the first round warms up


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    repeats = parser.parse_args().repeats
    warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")  # steps without training are the point
    sizes = (1, 2, 50, 300)
    table = {groups: microseconds(groups, repeats) for groups in sizes}
    print("| microseconds a step | " + " | ".join(f"{n} group{'s' * (n > 1)}" for n in sizes) + " |")
    print("|---|" + "---:|" * len(sizes))
    for name in table[1]:
        print(f"| {name} | " + " | ".join(f"{table[n][name]:.2f}" for n in sizes) + " |")
    print("\n| times as long as `hf_lrsched wsd` | " + " | ".join(f"{n}" for n in sizes) + " |")
    print("|---|" + "---:|" * len(sizes))
    for name in (FLOOR, *PEERS):
        print(f"| {name} | " + " | ".join(f"{table[n][name] / table[n]['hf_lrsched wsd']:.2f}" for n in sizes) + " |")


if __name__ == "__main__":
    main()
