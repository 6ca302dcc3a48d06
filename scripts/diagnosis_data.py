"""The public data that the diagnosis is judged on, as curves and histories. What each file holds is told by its README."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from diagnosis_curve import Curve

from hf_lrsched.runs.history import History
from hf_lrsched.runs.reading import read_history

LABELS = ("good", "too_high", "too_low")


@dataclass(frozen=True)
class Labelled:
    """A run whose learning rate is known to be one of `LABELS`."""

    curve: Curve
    label: str
    regret: float  # infinite where the run did not stay finite


def deepobs(folder: Path) -> list[Labelled]:
    """The 540 labelled runs: 50 losses, then means over windows; evaluations at the end of each epoch."""
    with gzip.open(folder / "deepobs.jsonl.gz", "rt") as file:
        rows = [json.loads(line) for line in file]
    return [Labelled(_curve(row), row["label"], _number(row["regret"], np.inf)) for row in rows if row["label"]]


def _number(value: float | None, none: float = np.nan) -> float:
    return none if value is None else float(value)


def _numbers(values: list[float | None]) -> Any:
    return np.array([_number(value) for value in values], dtype=np.float64)


def _curve(row: dict[str, Any]) -> Curve:
    first = np.arange(len(row["first_losses"]), dtype=np.float64)
    ends = np.array(row["window_start"], dtype=np.float64) + row["window"] - 1
    return Curve(
        step=np.concatenate([first, ends]),
        loss=_numbers(row["first_losses"] + row["window_loss"]),
        total=row["n_steps"],
        lr=row["lr"],
        epoch=np.arange(len(row["train_loss"])) * row["n_steps"] / row["epochs"],
        train=_numbers(row["train_loss"]),
        held_out=_numbers(row["test_loss"]),
        optimizer=row["optimizer"],
        problem=row["problem"],
    )


def curve_of(run: History, total: int | None = None) -> Curve:
    """A history as peers see it: the training loss of an evaluation is the mean since the one before."""
    epoch = run.eval_step.astype(np.float64)
    edges = np.searchsorted(run.step, run.eval_step, "right")
    train = [run.loss[a:b].mean() if b > a else np.nan for a, b in zip([0, *edges], edges, strict=False)]
    return Curve(
        step=run.step - 1.0,
        loss=run.loss,
        total=total or (int(run.step[-1]) if len(run) else 0),
        lr=run.peak[0] if run.peak else float(np.nanmax(run.lr)),
        norm=run.grad_norm,
        epoch=epoch,
        train=np.array(train),
        held_out=run.eval_loss,
    )


def history_of(curve: Curve) -> History:
    """A curve as the rules of ours read it, with what is known of DeepOBS: all its models begin with random weights."""
    adam = curve.optimizer.startswith("Adam")
    momentum = {"AdamOptimizer": 0.9, "MomentumOptimizer": 0.99}.get(curve.optimizer, 0.0)
    facts = {"optimizer": "Adam" if adam else "SGD", "untrained": True}
    lines: list[dict[str, Any]] = [
        {"step": step + 1, "loss": loss, "lr": curve.lr, "momentum": momentum} for step, loss in curve.points()
    ]
    lines += [{"step": round(step), "eval_loss": loss} for step, loss in zip(curve.epoch, curve.held_out, strict=True)]
    return History.of(lines, peak=(curve.lr,), total=curve.total, facts=facts, source=f"{curve.problem}.jsonl")


def healthy(folder: Path) -> Iterator[tuple[str, History]]:
    """Public runs in which nothing happens: every alarm is a false one."""
    with gzip.open(folder / "nanogpt_124M.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    lines = [{"step": int(row["step"]) + 1, **{k: v for k, v in row.items() if k != "step"}} for row in rows]
    yield "nanogpt_124M", History.of(lines, arguments={"max_steps": len(rows) - 1}, source="nanogpt_124M.jsonl")
    for file in sorted((folder / "trainer_states").glob("*.json.gz")):
        yield file.name.partition("+")[0], read_history(file)


def bloom(folder: Path) -> Iterator[tuple[str, History]]:
    """The published points around four divergences and spikes; consecutive points of one run each.

    Those of the 176B model are too few to tell a noise from, so they are given once more behind 64 points that are in turn
    the two healthy ones before the spike (steps 12,695 and 31,214): made up, but for the band that they stand for.
    """
    with (folder / "bloom_104B_points.csv").open() as file:
        points = list(csv.DictReader(file))
    for experiment in dict.fromkeys(row["experiment"] for row in points):
        rows = [row for row in points if row["experiment"] == experiment]
        yield f"104B, experiment {experiment}", History.of(rows, source="bloom.jsonl")
    with (folder / "bloom_176B_spike.csv").open() as file:
        points = [row for row in csv.DictReader(file) if int(row["step"]) < 40_000]
    calm = [{**points[step % 2], "step": str(31_214 - step)} for step in range(64, 0, -1)]
    yield "176B", History.of(points, source="bloom.jsonl")
    yield "176B, behind 64 healthy points", History.of([*calm, *points[1:]], source="bloom.jsonl")
