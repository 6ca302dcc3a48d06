"""LR range tests beside the truth: ours, and every peer's rule on the same recorded sweeps.

    python scripts/bench_range_test.py            the table, in seconds, from what is recorded beside this file
    python scripts/bench_range_test.py sweeps     records the sweeps of all tasks anew: about 5 minutes on one core
    python scripts/bench_range_test.py truth      trains every task at every learning rate: about 50 minutes on one core;
                                                  goes on where it was stopped

Truth: real runs of a task's own schedule at its whole budget, each learning rate a run of its own, scored on held-out data:
half-decades with one seed to find the valley, quarter-decades around it with three; the best learning rate is that of a
parabola in its logarithm through the best three. A run that ends worse than it began counts as having learned nothing.

A sweep has 100 steps over seven decades and is recorded to its end, so that every rule stops it in its own way. Ours are the
ramp alone, and the ramp with its short runs, which are recorded as they were asked for.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
import time
from typing import Any

import numpy as np
import torch
from range_test_peers import RULES
from range_test_tasks import HERE, TASKS, Task
from transformers.utils import logging as theirs

from hf_lrsched import RangeTest
from hf_lrsched.runs.probing import Search
from hf_lrsched.training.checkpoints import write
from hf_lrsched.training.driven import Driver, driven
from hf_lrsched.training.miniature import miniature
from hf_lrsched.training.restoring import Kept
from hf_lrsched.training.sweep import RAMP, RANGE, SGD_RANGE, probe_steps, run_probes

TRUTH, SWEEPS = HERE / "bench_range_test_truth.json", HERE / "bench_range_test_sweeps.json"
SEEDS = (0, 1, 2)
FIRST = 6  # tasks whose truth was known when the rules were written; the others were looked at when they were done


# Truth


def held_out_loss(task: Task, lr: float, seed: int) -> float:
    trainer = task.make(lr, seed)
    trainer.train()
    return float(trainer.evaluate()["eval_loss"])


def train_grid(names: list[str]) -> None:
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
        return math.inf if value is None else float(value)

    for name in names:
        task = TASKS[name]
        if "before" not in results.setdefault(name, {}):
            before = {str(seed): round(task.make(1e-3, seed).evaluate()["eval_loss"], 5) for seed in SEEDS}
            results[name]["before"] = before
        low, high = task.grid
        halves = [low + i / 2 for i in range(round(2 * (high - low)) + 1)]
        best = min(halves, key=lambda exponent: run(name, exponent, 0))
        for exponent in [best + i / 4 for i in range(-3, 4)]:
            for seed in SEEDS:
                run(name, exponent, seed)


class Truth:
    """What a task's runs have shown: the best learning rate, and the loss at any."""

    def __init__(self, found: dict[str, Any]) -> None:
        before = statistics.mean(found["before"].values())
        rows = sorted((float(exponent), list(seeds.values())) for exponent, seeds in found["loss"].items())
        self.at = np.array([exponent for exponent, _ in rows])
        self.loss = np.array(
            [statistics.mean(before if one is None else min(one, before) for one in losses) for _, losses in rows]
        )
        known = [i for i, (_, losses) in enumerate(rows) if len(losses) == len(SEEDS)]
        middle = min(known[1:-1], key=lambda i: self.loss[i])
        a, b, _ = np.polyfit(self.at[middle - 1 : middle + 2], self.loss[middle - 1 : middle + 2], 2)
        self.best = 10 ** float(-b / (2 * a))

    @staticmethod
    def whole(found: dict[str, Any]) -> bool:
        """Whether the valley has been trained with all seeds."""
        return sum(len(seeds) == len(SEEDS) for seeds in found.get("loss", {}).values()) >= 7

    def regret(self, lr: float) -> float:
        """The loss at `lr`, in a straight line between runs, above that of the best run."""
        return float(np.interp(math.log10(lr), self.at, self.loss) - self.loss.min())


# Sweeps


def record(names: list[str]) -> None:
    recorded: dict[str, Any] = json.loads(SWEEPS.read_text()) if SWEEPS.exists() else {}
    for name in names:
        task = TASKS[name]
        for seed in SEEDS:
            begun = time.perf_counter()
            trainer = task.make(1e-3, seed)
            kept = Kept(trainer)
            plan = miniature(trainer, kept)
            low, high = SGD_RANGE if task.settings.get("optim") == "sgd" else RANGE
            ramp = driven(trainer, kept, Driver(np.geomspace(low, high, RAMP) / plan.unit, plan.unit))
            search = Search(ramp, probe_steps(plan.steps))
            run_probes(trainer, kept, plan, search)
            kept.close()
            test = RangeTest(ramp, tuple(search.probes), plan.name, plan.steps, trainer.args.learning_rate, plan.unit)
            recorded.setdefault(name, {})[str(seed)] = _rounded(test.to_dict())
            write(SWEEPS, json.dumps(recorded) + "\n")
            print(f"{name} seed {seed}: {test} ({time.perf_counter() - begun:.1f} s)", flush=True)


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(one) for one in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


# The score


def suggestions(test: RangeTest) -> dict[str, float | None]:
    """What every rule says of one recorded sweep."""
    alone = RangeTest(test.ramp, (), test.schedule, test.steps, test.learning_rate, test.unit)
    said: dict[str, float | None] = {"hf_lrsched": test.lr, "hf_lrsched, ramp alone": alone.lr}
    lrs, losses = test.ramp.lr, test.ramp.loss
    with np.errstate(all="ignore"):
        return said | {name: rule(lrs, losses) for name, rule in RULES.items()}


def score() -> None:
    trained = json.loads(TRUTH.read_text())
    truth = {name: Truth(trained[name]) for name in TASKS if Truth.whole(trained.get(name, {}))}
    tests = {name: [RangeTest.of(one[str(seed)]) for seed in SEEDS] for name, one in json.loads(SWEEPS.read_text()).items()}
    said = {name: [suggestions(test) for test in tests[name]] for name in truth}
    rules = list(next(iter(said.values()))[0])
    print(f"{len(truth)} tasks, {len(SEEDS)} seeds each; factor: how far from the best learning rate, either way\n")
    print("| rule | median factor | within 1.5 | worst factor | mean regret | no answer | spread over seeds |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for rule in rules:
        print(f"| {rule} | {_row(rule, said, truth)} |")
    first = dict(list(said.items())[:FIRST])
    last = dict(list(said.items())[FIRST:])
    for words, some in (("the first", first), ("the last", last)):
        print(f"\nhf_lrsched on {words} {len(some)} tasks: {_row('hf_lrsched', some, truth)}")
    print("\n| task | best | hf_lrsched | ramp alone | " + " | ".join(RULES) + " |")
    print("|---|---:|" + "---:|" * (2 + len(RULES)))
    for name, of in truth.items():
        cells = []
        for rule in rules:
            factors = [one[rule] / of.best for one in said[name] if one[rule] is not None]
            cells.append(f"{10 ** statistics.median(map(math.log10, factors)):.2f}x" if factors else "-")
        print(f"| `{name}` | {of.best:.2g} | " + " | ".join(cells) + " |")
    inside = [
        test.interval[0] <= truth[name].best <= test.interval[1]
        for name in truth
        for test in tests[name]
        if test.interval is not None
    ]
    widths = [test.interval[1] / test.interval[0] for name in truth for test in tests[name] if test.interval is not None]
    print(f"\nintervals that hold the best: {sum(inside)} of {len(inside)}; median width {statistics.median(widths):.2g}x")
    ramps, probes = ([100 * test.cost[i] / test.steps for name in truth for test in tests[name]] for i in (0, 1))
    stops = [test.landmarks.end for name in truth for test in tests[name]]
    print(
        f"cost: ramp {RAMP} steps ({max(ramps):.1f} % of the budget at most; stopped at {statistics.median(stops):g} in the "
        f"median), short runs {max(probes):.1f} % at most"
    )


def _row(rule: str, said: dict[str, Any], truth: dict[str, Truth]) -> str:
    given = [(name, one[rule]) for name, several in said.items() for one in several]
    answers = [(name, lr) for name, lr in given if lr is not None]
    factors = sorted(max(lr / truth[name].best, truth[name].best / lr) for name, lr in answers)
    if not factors:
        return f"- | - | - | - | {len(given)} | -"
    regret = statistics.mean(truth[name].regret(lr) for name, lr in answers)
    within = sum(factor <= 1.5 for factor in factors)
    spreads = []
    for several in said.values():
        known = [one[rule] for one in several if one[rule] is not None]
        if len(known) > 1:
            spreads.append(max(known) / min(known))
    return (
        f"{statistics.median(factors):.2f} | {within} of {len(given)} | {factors[-1]:.3g} | {regret:.3f} | "
        f"{len(given) - len(answers)} | {statistics.median(spreads):.2f}x"
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    theirs.set_verbosity_error()
    theirs.disable_progress_bar()
    asked, *names = sys.argv[1:] or ["score"]
    if asked == "truth":
        train_grid(names or list(TASKS))
    elif asked == "sweeps":
        record(names or list(TASKS))
    else:
        score()
