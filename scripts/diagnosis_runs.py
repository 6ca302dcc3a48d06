"""Real trainings that the diagnosis is judged on: healthy ones under every schedule, and seeded faults in them.

    python scripts/diagnosis_runs.py train FOLDER    trains those that FOLDER lacks: about 20 minutes on one core
    python scripts/diagnosis_runs.py pack FOLDER     writes bench_diagnosis_runs.json.gz from them
    python scripts/diagnosis_runs.py look            what each fault did, beside its healthy twin
    python scripts/diagnosis_runs.py unpack FOLDER   the recorder's files, for `hf-lrsched diagnose`

The tasks are those of the range test, at a peak LR that its truth says is good. Rules were written in sight of the first two
tasks, and mended in sight of the next four, whose first scores are in LOG.md. The last two were held out to the end. Whoever
reads the packed runs needs neither torch nor a training.
"""

from __future__ import annotations

import gzip
import json
import math
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from hf_lrsched.runs.files import HISTORY
from hf_lrsched.runs.history import History
from hf_lrsched.runs.reading import read_history

PACKED = Path(__file__).parent / "bench_diagnosis_runs.json.gz"
SEEDS = (0, 1)
TWINS = ("wsd", "warmup_cosine")  # what the faults of each seed run under


@dataclass(frozen=True)
class Place:
    """A task as it is run here: `of` names it in `range_test_tasks`, `hot` is an LR that works with a warm-up only."""

    of: str
    lr: float
    hot: float
    steps: int
    held_out: bool
    batch: int = 1  # the smallest that trains


PLACES = {
    "lm": Place("pretrain-41k-wsd", 4e-3, 4e-2, 500, held_out=False),
    "digits": Place("cnn-sgd", 1.5e-2, 0.3, 500, held_out=False, batch=3),
    "finetune": Place("finetune-130k", 4e-3, 3e-2, 400, held_out=False),
    "lora": Place("lora-r4", 8e-3, 3e-2, 400, held_out=False),
    "sgd": Place("pretrain-41k-sgd", 0.15, 1.5, 400, held_out=False),
    "vision": Place("cnn-finetune", 2e-3, 2e-2, 400, held_out=False, batch=3),
    "cnn": Place("cnn-adam", 4e-3, 4e-2, 400, held_out=True, batch=3),
    "rank16": Place("lora-r16", 6e-3, 2e-2, 400, held_out=True),
}

# Faults that do no harm there, which is known from their curves.
HARMLESS = {
    ("sgd", "no warm-up"): "not looked for: no rate is known there that works with a warm-up only",
    ("vision", "no warm-up"): "not looked for: no rate is known there that works with a warm-up only",
    ("cnn", "no warm-up"): "not looked for: no rate is known there that works with a warm-up only",
    ("rank16", "no warm-up"): "as of lora",
    ("lora", "no warm-up"): "an adapter begins at zero and so warms itself up: the same at 1.5e-2, 3e-2 and 4.5e-2, while at "
    "6e-2 the twin with a warm-up breaks down and this one does not",
}

# Every schedule of the catalogue; where nothing is said, with its defaults.
SCHEDULES: dict[str, dict[str, Any]] = {
    "constant": {},
    "step_decay": {"factor": 0.3},
    "multi_step": {},
    "warmup_cosine": {},
    "warm_restarts": {"cycles": 4},
    "one_cycle": {},
    "wsd": {},
    "wsd_s": {},
    "inverse_sqrt_cooldown": {},
    "rex": {},
    "power": {},
    "phases": {
        "phases": [
            {"from": 0, "to": 1, "length": "10%"},
            {"length": "30%"},
            {"to": 0.2, "shape": "cosine", "length": "10%"},
            {"from": 0.8, "to": 0.8, "length": "30%"},
            {"to": 0.05},
        ]
    },
}


@dataclass(frozen=True)
class Case:
    """One run.

    Args:
        name: task, what it is, seed; also its folder.
        fault: of `diagnosis_faults.FAULTS`; None for a healthy run. ``"hot"`` is the twin of "no warm-up": as high an LR,
            with a warm-up; it is not scored.
        schedule: by name.
        kind: ``""``, ``"resumed"`` or ``"evaluated"``.
    """

    name: str
    task: str
    seed: int
    schedule: str
    fault: str | None = None
    kind: str = ""

    @property
    def place(self) -> Place:
        return PLACES[self.task]


def cases() -> Iterator[Case]:
    """All of them, in the order in which they are trained."""
    from diagnosis_faults import FAULTS

    for task in PLACES:
        for seed in SEEDS:
            for schedule in SCHEDULES:
                yield Case(f"{task}/{schedule}/{seed}", task, seed, schedule)
            for kind in ("resumed", "evaluated"):
                yield Case(f"{task}/{kind}/{seed}", task, seed, TWINS[seed], kind=kind)
            yield Case(f"{task}/hot/{seed}", task, seed, TWINS[seed], "hot")
            for name, fault in FAULTS.items():
                schedule = (fault.schedules or TWINS)[seed]
                yield Case(f"{task}/{name.replace(' ', '-').replace('/', 'by-')}/{seed}", task, seed, schedule, name)


# Training


def _trainer(case: Case, folder: Path) -> Any:
    from diagnosis_faults import FAULTS, Fault
    from range_test_tasks import TASKS
    from transformers import PrinterCallback

    from hf_lrsched import LRRecorder

    place, fault = case.place, FAULTS.get(case.fault or "", Fault(()))
    words: dict[str, Any] = {"max_steps": place.steps, "output_dir": str(folder), "lr_scheduler_type": case.schedule}
    words["lr_scheduler_kwargs"] = SCHEDULES.get(case.schedule) or None
    if case.kind == "evaluated":
        words |= {"eval_strategy": "steps", "eval_steps": place.steps // 20}
    if case.kind == "resumed":
        words |= {"save_strategy": "steps", "save_steps": place.steps // 2, "save_only_model": False}
    words |= {"dataloader_drop_last": True} if case.task == "vision" else {}  # its last batch has one image
    words |= fault.settings(place.steps)
    if case.fault == "tiny batch":
        words["per_device_train_batch_size"] = place.batch
    lr = place.hot if case.fault in ("hot", "no warm-up") else place.lr * fault.factor
    trainer = TASKS[place.of].make(lr, case.seed, **words)
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(LRRecorder())
    fault.harm(trainer, fault_step(case))
    return trainer


def fault_step(case: Case) -> int:
    """The step at which the fault happens; 0 for none, and for one that is there from the beginning."""
    from diagnosis_faults import FAULTS

    shares = FAULTS[case.fault].at if case.fault in FAULTS else ()
    return round(shares[case.seed] * case.place.steps) if shares else 0


def train(case: Case, folder: Path) -> float:
    """Trains it, and returns its held-out loss at the end."""
    from diagnosis_faults import stop

    from hf_lrsched import LRRecorder

    trainer = _trainer(case, folder)
    if case.kind == "resumed":
        half = case.place.steps // 2
        stop(trainer, half)
        trainer.train()
        trainer = _trainer(case, folder)
        trainer.train(resume_from_checkpoint=str(folder / f"checkpoint-{half}"))
    else:
        trainer.train()
    trainer.remove_callback(LRRecorder)
    return float(trainer.evaluate()["eval_loss"])


def train_all(folder: Path, tasks: list[str]) -> None:
    """Trains what `folder` lacks."""
    import logging
    import shutil

    import torch
    from transformers.utils import logging as theirs

    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    theirs.set_verbosity_error()
    theirs.disable_progress_bar()
    for case in cases():
        there = folder / case.name
        if (tasks and case.task not in tasks) or (there / "done.json").exists():
            continue
        shutil.rmtree(there, ignore_errors=True)  # of one that was cut off
        begun = time.perf_counter()
        loss = train(case, there)
        for checkpoint in there.glob("checkpoint-*"):
            shutil.rmtree(checkpoint)
        (there / "done.json").write_text(json.dumps({"held_out_loss": loss if math.isfinite(loss) else None}))
        print(f"{case.name}: held-out loss {loss:.4f} ({time.perf_counter() - begun:.1f} s)", flush=True)


# The packed file

EXACT = ("lr", "schedule", "peaks", "arguments", "momentum")


def _rounded(value: Any, digits: int = 5) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(one, 8 if key in EXACT else digits) for key, one in value.items()}
    if isinstance(value, list):
        return [_rounded(one, digits) for one in value]
    return float(f"{value:.{digits}g}") if isinstance(value, float) else value


def pack(folder: Path) -> None:
    """Writes all runs that are in `folder` into one file."""
    from diagnosis_faults import FAULTS

    runs = []
    for case in cases():
        there = folder / case.name
        if not (there / "done.json").exists():
            continue
        lines = [_rounded(json.loads(line)) for line in (there / HISTORY).read_text().splitlines()]
        about = {"name": case.name, "task": case.task, "seed": case.seed, "schedule": case.schedule, "kind": case.kind}
        about |= {"held_out": case.place.held_out, "fault": case.fault, "fault_step": fault_step(case) or None}
        about |= {"expected": FAULTS[case.fault].expected if case.fault in FAULTS else [], "steps": case.place.steps}
        about |= {"harmless": (case.task, case.fault) in HARMLESS}
        about |= _rounded(json.loads((there / "done.json").read_text()))
        runs.append({**about, "lines": lines})
    text = json.dumps({"runs": runs}, separators=(",", ":"))
    PACKED.write_bytes(gzip.compress(text.encode(), mtime=0))
    print(f"{len(runs)} runs, {PACKED.stat().st_size / 1e6:.2f} MB")


@dataclass(frozen=True)
class Run:
    """A run as it was packed: what it is, and its history."""

    about: dict[str, Any]
    history: History

    @property
    def healthy(self) -> bool:
        return self.about["fault"] is None


@cache
def recorded() -> tuple[Run, ...]:
    """The packed runs."""
    with tempfile.TemporaryDirectory() as folder:
        return tuple(unpack(Path(folder)))


def unpack(folder: Path) -> Iterator[Run]:
    """Writes each run's file into a folder of its own, as the recorder had, and reads it."""
    for about in json.loads(gzip.decompress(PACKED.read_bytes()))["runs"]:
        file = folder / about["name"] / HISTORY
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(json.dumps(line) + "\n" for line in about.pop("lines")))
        yield Run(about, read_history(file))


def look() -> None:
    """What each fault did, beside the healthy run of the same task, seed and schedule."""
    runs = {run.about["name"]: run for run in recorded()}
    print("| run | held-out loss | healthy | train loss, ten parts | largest loss | largest norm | healthy's |")
    print("|---|---:|---:|---|---:|---:|---:|")
    for name, run in runs.items():
        if run.healthy:
            continue
        task, seed = run.about["task"], run.about["seed"]
        twin = runs[f"{task}/{'hot' if run.about['fault'] == 'no warm-up' else TWINS[seed]}/{seed}"]
        parts = " ".join(f"{part.mean():.3g}" for part in np.array_split(run.history.loss, 10))
        columns = (run.history.loss, run.history.grad_norm, twin.history.grad_norm)
        top = [f"{np.nanmax(column, initial=-np.inf):.3g}" for column in columns]
        ends = [str(one.about["held_out_loss"]) for one in (run, twin)]
        print(f"| {' | '.join([name, *ends, parts, *top])} |")


if __name__ == "__main__":
    asked, *given = sys.argv[1:] or ["look"]
    if asked == "train":
        train_all(Path(given[0]), given[1:])
    elif asked == "pack":
        pack(Path(given[0]))
    elif asked == "look":
        look()
    elif asked == "unpack":
        print(sum(1 for _ in unpack(Path(given[0]))), "runs")
