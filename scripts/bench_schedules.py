"""Every schedule at its own best learning rate, on four small tasks: which ends lowest, and by how much.

    python scripts/bench_schedules.py FOLDER         trains what FOLDER lacks, from where it stopped: 40 minutes on one core
    python scripts/bench_schedules.py pack FOLDER    writes bench_schedules.json from what is there
    python scripts/bench_schedules.py --table        the tables, from bench_schedules.json
    python scripts/bench_schedules.py evidence       writes the measured part of hf_lrsched/advice/evidence/schedules.yaml

Schedules run with their defaults and the same warm-up, 5 % of the run (`one_cycle` rises for 30 % instead). `constant` is not
registered and runs as Transformers' ``constant_with_warmup``; `phases` has no defaults and is left out, as whatever list it
were given would be one of the others. ``cosine`` and ``linear`` are Transformers' own.

Each schedule's learning rates are octaves of 1e-3, searched with one seed, then with all three until the best of the mean has
neighbours on both sides. A seed fixes the model's start and the order of the data, so schedules are compared seed by seed.
"""

from __future__ import annotations

import json
import math
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from schedules_table import BASE, PACKED, SEEDS, Losses, learned, lowest, means, table, tasks

LIMITS = (-8, 10)  # octaves: 4e-6 to 1
WARMUP = 0.05

# What is run under which name of Transformers.
SCHEDULES = {
    "warmup_cosine": "warmup_cosine",
    "wsd": "wsd",
    "linear": "linear",
    "cosine": "cosine",
    "constant": "constant_with_warmup",
    "one_cycle": "one_cycle",
    "rex": "rex",
    "inverse_sqrt_cooldown": "inverse_sqrt_cooldown",
    "power": "power",
    "wsd_s": "wsd_s",
    "warm_restarts": "warm_restarts",
    "step_decay": "step_decay",
    "multi_step": "multi_step",
}
WITHOUT_WARMUP = ("one_cycle",)


@dataclass(frozen=True)
class Place:
    """A task of `range_test_tasks` as it is run here.

    Args:
        of: its name there.
        steps: of a run.
        start: the octave at which the search begins.
        about: what it is, in words.
        when: the conditions of the evidence that comes from it.
    """

    of: str
    steps: int
    start: int
    about: str
    when: dict[str, Any]


PLACES = {
    "pretrain": Place(
        "pretrain-41k-wsd",
        800,
        2,
        "a Llama of 41 thousand parameters from scratch, 512 tokens a step, AdamW",
        {"task": "pretrain", "peft": "none", "optimizer": "adamw", "parameters": 4.1e4, "batch_tokens": 512},
    ),
    "finetune": Place(
        "finetune-130k",
        200,
        2,
        "all of a Llama of 130 thousand parameters on another kind of text, 512 tokens a step, AdamW",
        {"task": ["continue", "sft"], "peft": "none", "optimizer": "adamw", "parameters": 1.3e5, "batch_tokens": 512},
    ),
    "lora": Place(
        "lora-r4",
        150,
        3,
        "LoRA of rank 4 on the Llama of 130 thousand parameters, another kind of text, 512 tokens a step, AdamW",
        {"task": "sft", "peft": "lora", "rank": 4, "optimizer": "adamw", "parameters": 1.3e5, "batch_tokens": 512},
    ),
    "cnn": Place(
        "cnn-adam",
        400,
        2,
        "a ResNet of 0.3 million parameters from scratch on noisy digits, 16 a step, AdamW",
        {"task": "image", "peft": "none", "optimizer": "adamw", "parameters": 3.1e5, "batch_size": 16},
    ),
}


# Training


@dataclass
class Results:
    """What is in a folder: a line for every run that ended, so that nothing is trained twice."""

    file: Path
    lines: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def of(cls, folder: Path) -> Results:
        """Reads them; a last line that was cut off is dropped from the file."""
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "runs.jsonl"
        whole, end, _ = (file.read_text() if file.exists() else "").rpartition("\n")
        file.write_text(whole + end)
        return cls(file, [json.loads(line) for line in whole.splitlines()])

    def add(self, line: dict[str, Any]) -> None:
        with self.file.open("a") as file:
            file.write(json.dumps(line) + "\n")
        self.lines.append(line)

    def before(self, task: str) -> dict[int, float]:
        """The held-out loss before the first step, by seed."""
        return {line["seed"]: line["before"] for line in self.lines if line["task"] == task and "before" in line}

    def losses(self, task: str, schedule: str) -> dict[int, dict[int, float]]:
        """The held-out loss at the end, by octave and seed; infinite where it is none or no lower than before."""
        before, found = self.before(task), dict[int, dict[int, float]]()
        for line in self.lines:
            if (line["task"], line.get("schedule"), line["steps"]) == (task, schedule, PLACES[task].steps):
                found.setdefault(line["octave"], {})[line["seed"]] = learned(line["loss"], before[line["seed"]])
        return found


def wanted(losses: Losses, start: int) -> tuple[int, int] | None:
    """Which run, octave and seed, comes next; None once the best of the mean is known, with its neighbours."""
    one = {octave: seeds[SEEDS[0]] for octave, seeds in losses.items() if SEEDS[0] in seeds}
    best = lowest(one) if one else start
    for octave in _about(best):
        if octave not in one:
            return octave, SEEDS[0]
    known = means(losses)
    for octave in _about(lowest(known) if known else best):
        for seed in SEEDS:
            if seed not in losses.get(octave, {}):
                return octave, seed
    return None


def _about(octave: int) -> list[int]:
    return [one for one in (octave, octave - 1, octave + 1) if LIMITS[0] <= one <= LIMITS[1]]


def train(task: str, schedule: str, octave: int, seed: int) -> dict[str, Any]:
    """One run, and what it came to."""
    import numpy as np
    from range_test_tasks import TASKS
    from transformers import PrinterCallback

    place = PLACES[task]
    words = {"max_steps": place.steps, "lr_scheduler_type": SCHEDULES[schedule], "lr_scheduler_kwargs": None}
    if schedule not in WITHOUT_WARMUP:
        words["warmup_steps"] = round(WARMUP * place.steps)
    begun = time.perf_counter()
    trainer = TASKS[place.of].make(BASE * 2.0**octave, seed, **words)
    trainer.remove_callback(PrinterCallback)
    if task == "cnn":
        trainer.compute_metrics = lambda said: {"accuracy": float(np.mean(said.predictions.argmax(-1) == said.label_ids))}
    trainer.train()
    found = trainer.evaluate()
    loss = found["eval_loss"]
    line = {"task": task, "schedule": schedule, "octave": octave, "seed": seed, "steps": place.steps}
    line |= {"loss": round(loss, 5) if math.isfinite(loss) else None}
    line |= {"accuracy": round(found["eval_accuracy"], 5)} if task == "cnn" else {}
    return line | {"seconds": round(time.perf_counter() - begun, 2)}


def train_all(folder: Path, tasks: list[str]) -> None:
    """Trains what `folder` lacks; each schedule's search begins where the last one's best was."""
    from range_test_tasks import TASKS

    _quiet()
    results = Results.of(folder)
    for task in tasks or PLACES:
        place = PLACES[task]
        for seed in SEEDS:
            if seed not in results.before(task):
                loss = TASKS[place.of].make(BASE, seed).evaluate()["eval_loss"]
                results.add({"task": task, "seed": seed, "steps": 0, "before": round(loss, 5)})
        start = place.start
        for schedule in SCHEDULES:
            while next_run := wanted(results.losses(task, schedule), start):
                line = train(task, schedule, *next_run)
                results.add(line)
                print(f"{time.strftime('%H:%M:%S')} {json.dumps(line)}", flush=True)
            start = lowest(means(results.losses(task, schedule)))


def _quiet() -> None:
    import logging

    import torch
    from transformers.utils import logging as theirs

    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    theirs.set_verbosity_error()
    theirs.disable_progress_bar()


# The packed file


def pack(folder: Path) -> None:
    """Writes the runs that are in `folder` into one file."""
    results, found = Results.of(folder), dict[str, Any]()
    for task, place in PLACES.items():
        there: dict[str, Any] = {"about": place.about, "steps": place.steps, "before": results.before(task)}
        runs = [line for line in results.lines if line["task"] == task and line["steps"] == place.steps]
        for word in ("loss", "accuracy"):
            for line in (line for line in runs if word in line):
                by_octave = there.setdefault(word, {}).setdefault(line["schedule"], {})
                by_octave.setdefault(line["octave"], {})[line["seed"]] = line[word]
        if runs:
            found[task] = there
    PACKED.write_text(json.dumps({"tasks": found}, separators=(",", ":")) + "\n")
    print(f"{len(results.lines)} lines, {PACKED.stat().st_size / 1e3:.0f} kB")


def print_tables() -> None:
    """All tasks' rows."""
    print("\n\n".join(table(name, task) for name, task in tasks().items()))


if __name__ == "__main__":
    asked, *given = sys.argv[1:]
    if asked == "--table":
        print_tables()
    elif asked == "pack":
        pack(Path(given[0]))
    elif asked == "evidence":
        from schedules_evidence import write

        write({name: place.when | {"steps": place.steps} for name, place in PLACES.items()})
    else:
        train_all(Path(asked), given)
