"""Which schedule, when: every schedule at its own best learning rate, three seeds, on four small trainings.

    python scripts/bench_schedules.py FOLDER         trains what FOLDER lacks, about an hour on one core; it may be cut off
    python scripts/bench_schedules.py --pack FOLDER  writes bench_schedules.json and the evidence that `recommend` cites
    python scripts/bench_schedules.py                the table, from bench_schedules.json

A schedule's best LR is looked for on a grid of factor 2 with the first seed, until it has a worse neighbour on both sides;
then it and both neighbours are run with the other seeds, and the grid is extended again where their mean has its best at an
end. No two schedules are compared at one LR, but where both are best there. The seed decides initialisation and the order
of the data, so differences are taken seed by seed; what lies within their spread is a tie.

All warm up for the same share of the run, but ``one_cycle``, whose rise is its own. ``phases`` is left out: it has no
defaults. ``constant`` is Transformers' ``constant_with_warmup``, as the name of ours is not registered.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
KEPT = HERE / "bench_schedules.json"
EVIDENCE = HERE.parent / "hf_lrsched" / "advice" / "evidence" / "schedules.yaml"
RESULTS = "results.jsonl"
SEEDS = (0, 1, 2)
STEP = 2.0  # of the grid
MOST = 10  # steps of the grid to either side of the guess
WARMUP = 0.05  # of the run, for all: the guide's 1 to 5 %

# Of range_test_tasks: the task, steps, and where its best LR was found there (scripts/bench_range_test_truth.json), which is
# where the search begins.
TASKS: dict[str, tuple[str, int, float]] = {
    "pretrain": ("pretrain-41k-wsd", 400, 8e-3),
    "sft": ("finetune-130k", 300, 2e-3),
    "lora": ("lora-r4", 300, 8e-3),
    "image": ("cnn-adam", 400, 4e-3),
}
SCHEDULES: dict[str, dict[str, Any]] = {
    "constant_with_warmup": {},
    "linear": {},
    "cosine": {},
    "warmup_cosine": {},
    "wsd": {},
    "wsd_s": {},
    "one_cycle": {},
    "warm_restarts": {"cycles": 4},
    "step_decay": {},
    "multi_step": {},
    "rex": {},
    "inverse_sqrt_cooldown": {},
    "power": {},
}

Losses = dict[float, dict[int, float]]  # by LR and seed; not finite where it diverged


# Training


def train(task: str, schedule: str, lr: float, seed: int) -> float:
    """The held-out loss at the end."""
    from range_test_tasks import TASKS as MADE
    from transformers import PrinterCallback

    of, steps, _ = TASKS[task]
    words: dict[str, Any] = {"max_steps": steps, "lr_scheduler_type": schedule, "warmup_steps": round(WARMUP * steps)}
    words["lr_scheduler_kwargs"] = SCHEDULES[schedule] or None
    if schedule == "one_cycle":
        del words["warmup_steps"]
    trainer = MADE[of].make(lr, seed, **words)
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return float(trainer.evaluate()["eval_loss"])


def grid_point(guess: float, at: int) -> float:
    """The LR `at` steps of the grid above the guess, to 6 digits, so that equal points are equal."""
    return float(f"{guess * STEP**at:.6g}")


def search(guess: float, run: Callable[[float, int], float], known: Losses) -> None:
    """Runs what is not `known` until the best LR, over all seeds, has a worse neighbour on both sides."""

    def loss(at: int, seed: int) -> float:
        lr = grid_point(guess, at)
        seeds = known.setdefault(lr, {})
        if seed not in seeds:
            seeds[seed] = run(lr, seed)
        return seeds[seed] if math.isfinite(seeds[seed]) else math.inf

    seeds: tuple[int, ...] = SEEDS[:1]
    best = 0
    while True:
        around = {at: float(np.mean([loss(at, seed) for seed in seeds])) for at in (best - 1, best, best + 1)}
        found = min(around, key=lambda at: (around[at], at))
        if found == best or abs(found) > MOST:
            if seeds == SEEDS:
                return
            seeds = SEEDS
        best = found


def train_all(folder: Path) -> None:
    """Trains what `folder` lacks; a line a run, written as soon as it is over."""
    import logging

    import torch
    from transformers.utils import logging as theirs

    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    theirs.set_verbosity_error()
    theirs.disable_progress_bar()
    folder.mkdir(parents=True, exist_ok=True)
    known, done, begun = read(folder / RESULTS), 0, time.perf_counter()

    def run(task: str, schedule: str, lr: float, seed: int) -> float:
        nonlocal done
        loss, done = train(task, schedule, lr, seed), done + 1
        line = {"task": task, "schedule": schedule, "lr": lr, "seed": seed, "loss": loss if math.isfinite(loss) else None}
        with (folder / RESULTS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(
            f"{task} {schedule} {lr:g} seed {seed}: {loss:.4f} ({done} runs, {time.perf_counter() - begun:.0f} s)", flush=True
        )
        return loss

    for task in TASKS:
        for schedule in SCHEDULES:
            search(TASKS[task][2], lambda lr, seed: run(task, schedule, lr, seed), known[task, schedule])  # noqa: B023  # called at once


def read(file: Path) -> dict[tuple[str, str], Losses]:
    """The runs that a file of lines holds; a last line that was cut off is a run that is not there."""
    found: dict[tuple[str, str], Losses] = defaultdict(dict)
    text = file.read_text("utf-8") if file.is_file() else ""
    whole = text[: text.rfind("\n") + 1]
    if whole != text:  # so that the next line does not go on in it
        file.write_text(whole, "utf-8")
    for line in whole.splitlines():
        one = json.loads(line)
        loss = math.inf if one["loss"] is None else one["loss"]
        found[one["task"], one["schedule"]].setdefault(one["lr"], {})[one["seed"]] = loss
    return found


# What it comes to


@dataclass(frozen=True)
class Row:
    """A schedule on a task, at its own best LR.

    Args:
        lr: the best of its grid.
        losses: held-out, one a seed.
        regret: mean over seeds of its loss above that of the task's best schedule with the same seed.
        ties: whether the regret lies within the spread.
        bound: whether its best LR lies at the end of the grid, so that a better one may lie beyond.
        diverged: LRs of its grid at which a run was not finite.
    """

    task: str
    schedule: str
    lr: float
    losses: tuple[float, ...]
    regret: float
    ties: bool
    bound: bool
    diverged: int


def best_of(losses: Losses) -> tuple[float, bool]:
    """The LR with the lowest mean over all seeds, and whether it has no neighbour on one side."""
    means = {lr: float(np.mean(list(seeds.values()))) for lr, seeds in losses.items() if len(seeds) == len(SEEDS)}
    best = min(means, key=lambda lr: (means[lr], lr))
    grid = sorted(losses)
    return best, best in (grid[0], grid[-1])


def spread_of(at_best: dict[str, tuple[float, ...]], winner: str) -> float:
    """The spread of a difference between two schedules on one task: seed by seed, pooled over the schedules."""
    others = [np.subtract(losses, at_best[winner]) for name, losses in at_best.items() if name != winner]
    return float(np.sqrt(np.mean([np.var(difference, ddof=1) for difference in others])))


def rows(task: str, of: dict[str, Losses]) -> tuple[list[Row], float]:
    """The schedules of a task, the best first, and the spread of a difference."""
    best = {name: best_of(losses) for name, losses in of.items()}
    at_best = {name: tuple(of[name][lr][seed] for seed in SEEDS) for name, (lr, _) in best.items()}
    winner = min(at_best, key=lambda name: float(np.mean(at_best[name])))
    spread = spread_of(at_best, winner)
    found = []
    for name, losses in at_best.items():
        regret = float(np.mean(np.subtract(losses, at_best[winner])))
        diverged = sum(not all(map(math.isfinite, seeds.values())) for seeds in of[name].values())
        found.append(Row(task, name, best[name][0], losses, regret, regret <= spread, best[name][1], diverged))
    return sorted(found, key=lambda row: row.regret), spread


def kept() -> dict[str, dict[str, Losses]]:
    """What bench_schedules.json holds."""
    read: dict[str, Any] = json.loads(KEPT.read_text("utf-8"))
    return {task: {name: _losses(losses) for name, losses in of.items()} for task, of in read["losses"].items()}


def _losses(kept: dict[str, dict[str, float | None]]) -> Losses:
    return {
        float(lr): {int(seed): math.inf if loss is None else loss for seed, loss in seeds.items()}
        for lr, seeds in kept.items()
    }


def pack(folder: Path) -> None:
    """Writes what `folder` holds as data, and the evidence made from it."""
    found: dict[str, dict[str, Any]] = {task: {} for task in TASKS}
    for (task, schedule), losses in read(folder / RESULTS).items():
        found[task][schedule] = {
            f"{lr:g}": {
                str(seed): round(loss, 5) if math.isfinite(loss) else None for seed, loss in sorted(losses[lr].items())
            }
            for lr in sorted(losses)
        }
    about = {"steps": {task: steps for task, (_, steps, _) in TASKS.items()}, "warmup": WARMUP}
    KEPT.write_text(json.dumps({**about, "losses": found}, indent=1) + "\n", "utf-8")
    EVIDENCE.write_text("\n".join(evidence_lines(kept())) + "\n", "utf-8")


# How many parameters each model has, for the box in which the evidence holds.
SIZES = {"pretrain": 4.1e4, "sft": 1.3e5, "lora": 1.3e5, "image": 1.7e5}
WORDS = {
    "pretrain": "task: pretrain, peft: none",
    "sft": "task: sft, peft: none",
    "lora": "task: sft, peft: lora",
    "image": "task: image, peft: none",
}


def evidence_lines(of: dict[str, dict[str, Losses]]) -> Iterator[str]:
    """advice/evidence/schedules.yaml."""
    yield "# Written by scripts/bench_schedules.py --pack; a test compares it with bench_schedules.json."
    yield "sources:"
    yield "  bench-schedules: {title: hf_lrsched's scripts/bench_schedules.py, year: 2026}"
    yield ""
    yield "defaults: {of: regret, kind: measured, source: bench-schedules, date: 2026-11, where: bench_schedules.json,"
    yield "  unit: nats of held-out loss above the best schedule of the task}"
    yield ""
    yield "entries:"
    for task, losses in of.items():
        ordered, spread = rows(task, losses)
        cosine = next(row.lr for row in ordered if row.schedule == "warmup_cosine")
        for row in ordered:
            bound = "; its best LR lies at the end of the grid" if row.bound else ""
            note = f"{'ties with the best' if row.ties else 'worse than the best'}; spread {spread:.4f}; "
            note += f"best LR {row.lr / cosine:g} times warmup_cosine's{bound}"
            when = f"{WORDS[task]}, schedule: {row.schedule}, steps: {TASKS[task][1]}"
            yield f"  - {{id: bench-{task}-{row.schedule}, value: {row.regret:.4f}, when: {{{when}}}, note: {note}}}"


def table(of: dict[str, dict[str, Losses]]) -> Iterator[str]:
    """Regret of each schedule on each task, and its best LR."""
    found = {task: rows(task, losses) for task, losses in of.items()}
    yield "| schedule | " + " | ".join(f"{task}, {TASKS[task][1]} steps" for task in found) + " |"
    yield "|---|" + "---:|" * len(found)
    total = {name: sum(_of(name, ordered).regret / spread for ordered, spread in found.values()) for name in SCHEDULES}
    for name in sorted(SCHEDULES, key=lambda name: total[name]):
        yield f"| {name} | " + " | ".join(_cell(_of(name, ordered)) for ordered, _ in found.values()) + " |"
    yield "| spread of a difference | " + " | ".join(f"{spread:.4f}" for _, spread in found.values()) + " |"


def _of(name: str, ordered: Iterable[Row]) -> Row:
    return next(row for row in ordered if row.schedule == name)


def _cell(row: Row) -> str:
    regret = f"**{row.regret:.4f}**" if row.ties else f"{row.regret:.4f}"
    return f"{regret} at {row.lr:g}{' (end of the grid)' if row.bound else ''}"


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--pack", folder]:
            pack(Path(folder))
        case [folder]:
            train_all(Path(folder))
        case _:
            print(*table(kept()), sep="\n")
