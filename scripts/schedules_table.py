"""What the runs of `bench_schedules` say: each schedule's own best learning rate, its regret, and what is a tie.

Schedules are compared seed by seed, each at the octave that is best in the mean over the seeds. The regret is the mean
difference from the schedule that ends lowest; its spread is the standard deviation of that difference over the seeds, or that
of the task's pairs at large where it is greater: three seeds alone may agree by chance. A difference that is inside the
spread, or that a finer grid of learning rates could undo, is a tie.

What it does not know: another model, length or batch. With three seeds a difference twice the spread may still be chance.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PACKED = HERE / "bench_schedules.json"
SEEDS = (0, 1, 2)
BASE = 1e-3  # octave 0
REFERENCE = "warmup_cosine"

Losses = Mapping[int, Mapping[int, float]]  # octave, seed: infinite for a run that diverged


@dataclass(frozen=True)
class Best:
    """A schedule at its own best learning rate.

    Args:
        octave: the best of the mean over the seeds.
        losses: there, by seed.
        edge: whether a neighbour was not trained with all seeds, so that the best may lie beyond.
        lowest: where a parabola through it and its neighbours is lowest, in octaves; the octave itself where one diverged.
        slack: how much lower that parabola goes than the octave: what a finer grid could bring.
        diverged: the octaves at which a run diverged.
    """

    octave: int
    losses: tuple[float, ...]
    edge: bool
    lowest: float
    slack: float
    diverged: tuple[int, ...]

    @property
    def lr(self) -> float:
        return BASE * 2.0**self.lowest


@dataclass(frozen=True)
class Row:
    """A schedule beside the best of its task.

    Args:
        schedule: its name.
        best: at which learning rate, and the losses there.
        loss: their mean.
        regret: the mean over the seeds of its loss above that of the task's best schedule.
        spread: of that difference.
        tied: whether it is inside the spread, or inside what a finer grid could bring.
        shared: what it loses at the octave that is best for `REFERENCE`; None where it was not trained there.
    """

    schedule: str
    best: Best
    loss: float
    regret: float
    spread: float
    tied: bool
    shared: float | None


def learned(loss: float | None, before: float) -> float:
    """The loss, infinite for a run that diverged: one whose loss is none, or no lower than before its first step."""
    return math.inf if loss is None or not loss < before else loss


def means(losses: Losses) -> dict[int, float]:
    """By octave, of those that all seeds were trained at."""
    return {octave: statistics.fmean(seeds.values()) for octave, seeds in losses.items() if len(seeds) == len(SEEDS)}


def lowest(losses: Mapping[int, float]) -> int:
    """The octave with the lowest loss; the lower of two that are equal."""
    return min(losses, key=lambda octave: (losses[octave], octave))


def best_of(losses: Losses) -> Best | None:
    """The best learning rate; None where no octave has learned with all seeds."""
    known = means(losses)
    if not known or math.isinf(min(known.values())):
        return None
    octave = lowest(known)
    below, here, above = (known.get(one, math.inf) for one in (octave - 1, octave, octave + 1))
    bend, tilt = below + above - 2 * here, below - above
    curved = math.isfinite(bend) and bend > 0
    return Best(
        octave=octave,
        losses=tuple(losses[octave][seed] for seed in SEEDS),
        edge=not {octave - 1, octave + 1} <= known.keys(),
        lowest=octave + tilt / (2 * bend) if curved else octave,
        slack=tilt**2 / (8 * bend) if curved else 0.0,
        diverged=tuple(sorted(one for one, seeds in losses.items() if math.inf in seeds.values())),
    )


def usual_spread(losses: list[tuple[float, ...]]) -> float:
    """The standard deviation over the seeds of the difference of two schedules, from all schedules of a task.

    What is left of each loss without its schedule's and its seed's mean has half that variance.
    """
    rows, columns = len(losses), len(losses[0])
    if rows < 2:
        return 0.0
    by_row = [statistics.fmean(row) for row in losses]
    by_column = [statistics.fmean(column) for column in zip(*losses, strict=True)]
    whole = statistics.fmean(by_row)
    left = sum((loss - by_row[i] - by_column[j] + whole) ** 2 for i, row in enumerate(losses) for j, loss in enumerate(row))
    return math.sqrt(2 * left / ((rows - 1) * (columns - 1)))


def compare(runs: Mapping[str, Losses]) -> list[Row]:
    """A task's schedules, the best first; those that no octave has all seeds of are left out."""
    bests = {name: best for name, losses in runs.items() if (best := best_of(losses))}
    if not bests:
        return []
    order = sorted(bests, key=lambda name: statistics.fmean(bests[name].losses))
    usual, first = usual_spread([best.losses for best in bests.values()]), bests[order[0]]
    at = bests[REFERENCE].octave if REFERENCE in bests else None
    rows = []
    for name in order:
        best = bests[name]
        pairs = [own - theirs for own, theirs in zip(best.losses, first.losses, strict=True)]
        regret, spread = statistics.fmean(pairs), max(statistics.stdev(pairs), usual)
        there = None if at is None else means(runs[name]).get(at)
        loss = statistics.fmean(best.losses)
        shared = None if there is None else there - loss
        rows.append(Row(name, best, loss, regret, spread, regret <= max(spread, best.slack), shared))
    return rows


# What was kept


def tasks() -> dict[str, Any]:
    """What `bench_schedules.py pack` wrote, by task."""
    found: dict[str, Any] = json.loads(PACKED.read_text())["tasks"]
    return found


def runs_of(task: Mapping[str, Any]) -> dict[str, Losses]:
    """A packed task's losses by schedule, octave and seed."""
    before = {int(seed): loss for seed, loss in task["before"].items()}
    return {
        schedule: {
            int(octave): {int(seed): learned(loss, before[int(seed)]) for seed, loss in seeds.items()}
            for octave, seeds in octaves.items()
        }
        for schedule, octaves in task["loss"].items()
    }


def accuracy(task: Mapping[str, Any], row: Row) -> float | None:
    """The share that is right, in the mean over the seeds; None where the task has none."""
    found = task.get("accuracy", {}).get(row.schedule, {}).get(str(row.best.octave))
    return None if found is None else statistics.fmean(found.values())


def table(name: str, task: Mapping[str, Any]) -> str:
    """A task's rows, as Markdown."""
    rows = compare(runs_of(task))
    seen = [accuracy(task, row) for row in rows]
    head = ["schedule", "best LR", "held-out loss", "regret", "spread", "", f"lost at the LR of {REFERENCE}"]
    head += ["right"] if any(one is not None for one in seen) else []
    lines = [f"{name}: {task['about']}, {task['steps']} steps", "", f"| {' | '.join(head)} |"]
    lines.append(f"|---|{'---:|' * 4}---|{'---:|' * (len(head) - 6)}")
    for row, right in zip(rows, seen, strict=True):
        words = [row.schedule, f"{row.best.lr:.2g}{' (bound)' if row.best.edge else ''}", f"{row.loss:.4f}"]
        words += [f"{row.regret:.4f}", f"{row.spread:.4f}", "tie" if row.tied else ""]
        words.append("not run" if row.shared is None else "diverged" if math.isinf(row.shared) else f"{row.shared:.3f}")
        words += [] if right is None else [f"{right:.1%}"]
        lines.append(f"| {' | '.join(words)} |")
    return "\n".join(lines)
