"""How the best LoRA learning rate goes with alpha, on a model small enough to train dozens of times.

    python scripts/recommend_alpha.py           the table, from what is recorded beside this file
    python scripts/recommend_alpha.py train     trains what is missing: about 20 minutes on one core

The task is that of the range-test benchmark: a Llama of 0.1M parameters, trained on source code, adapted to documentation
over 1,000 steps with a cosine, AdamW, all linear layers, alpha / rank. Half-decades with one seed find the valley, quarter-
decades around it with three; the best is that of a parabola in the logarithm of the learning rate through the lowest three.

What it does not know: whether large models do the same.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).with_suffix(".json")
RANK, ALPHAS = 16, (2, 8, 32, 128)
SEEDS = (0, 1, 2)
LOW, HIGH = -5.0, 0.5  # decades


def train() -> None:
    """Fills in the file of results; goes on where it was stopped."""
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}

    def run(alpha: int, exponent: float, seed: int) -> float:
        there = results.setdefault(str(alpha), {}).setdefault(f"{exponent:g}", {})
        if str(seed) not in there:
            loss = _held_out_loss(alpha, 10.0**exponent, seed)
            there[str(seed)] = round(loss, 5) if math.isfinite(loss) else None
            RESULTS.write_text(json.dumps(results, indent=1) + "\n")
        return math.inf if there[str(seed)] is None else float(there[str(seed)])

    for alpha in ALPHAS:
        centre = -2.0 - 0.75 * math.log10(alpha / 32)
        halves = [round(2 * centre) / 2 + step / 2 for step in range(-2, 3)]
        while True:  # widened until the lowest is not at an end
            losses = [run(alpha, exponent, 0) for exponent in halves]
            at = int(np.argmin(losses))
            if at == 0 and halves[0] > LOW:
                halves.insert(0, halves[0] - 0.5)
            elif at == len(halves) - 1 and halves[-1] < HIGH:
                halves.append(halves[-1] + 0.5)
            else:
                break
        for step in range(-2, 3):
            for seed in SEEDS:
                print(alpha, halves[at] + step / 4, seed, run(alpha, halves[at] + step / 4, seed), flush=True)


def _held_out_loss(alpha: int, lr: float, seed: int) -> float:
    from peft import LoraConfig, get_peft_model
    from range_test_tasks import TASKS, Task, pretrained_llama

    def adapted() -> Any:
        config = LoraConfig(r=RANK, lora_alpha=alpha, target_modules="all-linear", task_type="CAUSAL_LM")
        return get_peft_model(pretrained_llama(), config)

    like = TASKS["lora-r16"]
    trainer = Task(adapted, like.data, like.steps, like.grid, like.settings).make(lr, seed)
    trainer.train()
    return float(trainer.evaluate()["eval_loss"])


def best(losses: dict[str, dict[str, float | None]]) -> float:
    """The decade of the best learning rate."""
    mean = {
        float(exponent): float(np.mean([loss for loss in seeds.values() if loss is not None]))
        for exponent, seeds in losses.items()
        if len(seeds) == len(SEEDS) and None not in seeds.values()
    }
    at = min(mean, key=lambda exponent: mean[exponent])
    around = [exponent for exponent in mean if abs(exponent - at) < 0.26]
    if len(around) < 3:
        return at
    square, line, _ = np.polyfit(around, [mean[exponent] for exponent in around], 2)
    return float(-line / (2 * square))


def bests() -> list[float]:
    """For each of `ALPHAS` the decade of the best learning rate, from what is recorded."""
    results = json.loads(RESULTS.read_text())
    return [best(results[str(alpha)]) for alpha in ALPHAS]


def exponent(decades: list[float]) -> float:
    """Of alpha, in the best learning rate."""
    return float(np.polyfit(np.log10(ALPHAS), decades, 1)[0])


def main() -> None:
    if sys.argv[1:] == ["train"]:
        train()
    decades = bests()
    print("| alpha | best learning rate |\n|---:|---:|")
    for alpha, decade in zip(ALPHAS, decades, strict=True):
        print(f"| {alpha} | {10**decade:.1e} |")
    print(f"\nthe best learning rate goes as alpha ** {exponent(decades):.2f}")


if __name__ == "__main__":
    main()
