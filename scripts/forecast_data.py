"""The public loss curves that forecasts are judged on, each with the schedule it was trained under.

Two labs: `multipower` (25M and 100M parameters, training loss, peak 3e-4) and `second_lab` (124M, validation loss, four
peaks). What each file holds is told by the data's README. Steps count as there: a point at step t has seen the learning
rates of steps 0 to t.

A branch's file holds its cooldown alone. `second_lab` puts the trunk before it, from longer runs of the same peak whose own
decay had not begun; the points so borrowed are in several curves, and `unshared` tells which are not.
"""

from __future__ import annotations

import csv
import dataclasses
import gzip
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hf_lrsched import History, hold, rise
from hf_lrsched.schedules.catalogue import build
from hf_lrsched.schedules.schedule import Schedule

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

SIZES = ("25M", "100M")
PEAK, WARMUP = 3e-4, 2160  # of the first lab
START = 1000  # the second lab's curves count from here on (reference, 4.3)
LOGGED_EVERY = 50  # steps between the learning rates that a Trainer's log would have had there


@dataclass(frozen=True, eq=False)
class Curve:
    """A run: `entry` and `arguments` are its name in the catalogue, `schedule` is exact from the first step on."""

    source: str
    name: str
    entry: str
    arguments: Mapping[str, Any]
    schedule: Schedule
    peak: float
    steps: int
    step: npt.NDArray[np.int64]
    loss: Floats
    logged: Floats | None = None  # the learning rate at each point, where the file has it
    begins: int = 0  # the first step behind the stable stretch
    quantity: str = "loss"
    log: History | None = field(default=None, repr=False)  # where the run was logged by this project

    @property
    def decays(self) -> bool:
        return self.entry != "constant"

    @property
    def final(self) -> float:
        """The loss at the last point."""
        return float(self.loss[-1])

    @property
    def lr(self) -> Floats:
        """The learning rate of each step from 0 to the last point's."""
        return self.schedule.lrs(int(self.step[-1]) + 1, self.peak)

    def catalogued(self) -> Schedule:
        """The schedule as anybody writes it down: by its name in the catalogue."""
        return build(self.entry, self.steps, **self.arguments)

    def history(self) -> History:
        """The curve as a log whose steps count from 1: each loss, and the learning rate where the lab logged it."""
        if self.log is not None:
            return self.log
        points = list(zip((self.step + 1).tolist(), self.loss.tolist(), strict=True))
        lines: list[dict[str, float]] = [{"step": step, self.quantity: loss} for step, loss in points]
        logged = self.step if self.quantity == "loss" else np.arange(0, int(self.step[-1]) + 1, LOGGED_EVERY)
        lines += [{"step": step + 1, "lr": lr} for step, lr in zip(logged.tolist(), self.lr[logged].tolist(), strict=True)]
        return History.of(lines, total=self.steps)

    def only(self, keep: npt.ArrayLike) -> Curve:
        """The same run with some of its points."""
        return dataclasses.replace(self, step=self.step[keep], loss=self.loss[keep], logged=None, log=None)


def unshared(curve: Curve, seen: Iterable[Curve]) -> Bools:
    """Which of a curve's points are in none of `seen`: runs that branch are one run before that."""
    known = {(int(s), float(loss)) for other in seen for s, loss in zip(other.step, other.loss, strict=True)}
    return np.array([(int(s), float(loss)) not in known for s, loss in zip(curve.step, curve.loss, strict=True)])


# The first lab


@cache
def multipower(folder: Path, size: str) -> dict[str, Curve]:
    """The nine curves of a size, by file name."""
    paths = sorted((folder / "multipower" / size).glob("*.csv"))
    if not paths:
        raise FileNotFoundError(f"{folder} has no multipower/{size}/*.csv; give the folder of public data")
    return {path.stem: _multipower(path, size) for path in paths}


def _multipower(path: Path, size: str) -> Curve:
    table = np.genfromtxt(path, delimiter=",", names=True)
    step = table["step"].astype(np.int64)
    shape, *numbers = path.stem.split("_")
    steps = int(step[-1]) + 1 if shape == "wsdcon" else int(numbers[-1])
    entry, arguments = _words(shape, [int(number) for number in numbers])
    drawn = build(entry, steps, **arguments)
    warmup, *rest = drawn.phases
    assert warmup.length == WARMUP
    # Their warm-up reaches the peak on its last step, not on the one after: the published digits need it.
    exact = Schedule((rise(WARMUP - 1), hold(1), *rest))
    begins = {"wsdcon": 8000, "cosine": WARMUP, "constant": steps}.get(shape, 20000)
    return Curve(
        size, path.stem, entry, arguments, exact, PEAK, steps, step, table["loss"], logged=table["lr"], begins=begins
    )


def _words(shape: str, numbers: Sequence[int]) -> tuple[str, dict[str, Any]]:
    """What the authors' file name means in the catalogue's words."""
    if shape == "constant":
        return "constant", {"warmup": WARMUP}
    if shape == "cosine":
        return "warmup_cosine", {"warmup": WARMUP, "min_lr_ratio": 0.1}
    if shape == "wsdcon":
        return "multi_step", {"warmup": WARMUP, "milestones": [8000], "factor": numbers[0] / 30}  # n e-5 of 3e-4
    drop = {"wsd": "exponential", "wsdld": "linear"}[shape]
    return "wsd", {"warmup": WARMUP, "decay": numbers[1] - numbers[0], "shape": drop, "min_lr_ratio": 0.1}


# The second lab


@cache
def second_lab(folder: Path) -> tuple[Curve, ...]:
    """All 60 runs, branches joined to their trunks, from step `START` on."""
    losses: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for row in _rows(folder / "llama_sweep_curves.csv.gz"):
        losses[row["run_index"]].append((int(row["step"]), float(row["val_loss"])))
    alone = [_second(row, sorted(losses[row["run_index"]])) for row in _rows(folder / "llama_sweep_runs.csv.gz")]
    return tuple(joined(curve, alone) for curve in alone)


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from csv.DictReader(file)


def _second(row: Mapping[str, str], points: Sequence[tuple[int, float]]) -> Curve:
    steps, warmup = int(row["T"]), int(row["warmup"])
    if row["schedule"] == "wsd":
        down, shape = int(float(row["cooldown_frac"]) * steps), {"sqrt": "1-sqrt"}.get(row["cooldown_shape"], "linear")
        name, begins = f"wsd{float(row['cooldown_frac']):.0%}".rstrip("%") + shape.replace("linear", ""), steps - down
        entry, arguments = "wsd", {"warmup": warmup, "warmup_start": 0.01, "decay": down, "shape": shape}
    else:
        final = float(row["cos_final_frac"])
        name, begins = "cos10" if final > 0.05 else "cos0", warmup
        entry, arguments = "phases", {"phases": _one_cycle(steps, warmup, final)}
    step, loss = np.array([s for s, _ in points]), np.array([value for _, value in points])
    return Curve(
        "124M",
        f"{name} {steps // 1000}k {float(row['peak_lr']):g} #{row['run_index']}",
        entry,
        arguments,
        build(entry, steps, **arguments),
        float(row["peak_lr"]),
        steps,
        step[step >= START],
        loss[step >= START],
        begins=begins,
        quantity="eval_loss",
    )


def _one_cycle(steps: int, warmup: int, final: float) -> list[dict[str, Any]]:
    """torch's one-cycle schedule that ends at `final`, which may be above its beginning; it gets there on the last step."""
    return [
        {"name": "rise", "length": warmup - 1, "from": 0.01, "to": 1.0, "shape": "cosine"},
        {"name": "fall", "length": steps - warmup, "to": final, "shape": "cosine"},
        {"name": "end", "length": 1},
    ]


def joined(branch: Curve, others: Iterable[Curve]) -> Curve:
    """A branch with the points of its trunk before it, from runs of its peak before their own decay; a whole run as it is."""
    first = int(branch.step[0])
    if first <= START:
        return branch
    points = dict(zip(branch.step.tolist(), branch.loss.tolist(), strict=True))
    trunks = [one for one in others if one.entry == "wsd" and one.peak == branch.peak and one is not branch]
    for trunk in sorted(trunks, key=lambda one: (-one.steps, -one.begins, one.name)):
        before = trunk.step < min(trunk.begins, branch.begins, first)
        for step, loss in zip(trunk.step[before].tolist(), trunk.loss[before].tolist(), strict=True):
            points.setdefault(step, loss)
    steps = sorted(points)
    return dataclasses.replace(branch, step=np.array(steps), loss=np.array([points[step] for step in steps]))


def shape_of(curve: Curve) -> str:
    """``wsd20`` of ``wsd20 15k 0.001 #49``."""
    return curve.name.split()[0]


# What is fitted to and what is forecast


@dataclass(frozen=True)
class Split:
    """Runs that a law is fitted to, and those it then says."""

    source: str
    group: str
    fitted: tuple[Curve, ...]
    unseen: tuple[Curve, ...] = field(repr=False)

    @property
    def name(self) -> str:
        return f"{self.source}: {' + '.join(curve.name for curve in self.fitted)}"


THREE = ("constant_24000", "cosine_24000", "wsdcon_9")  # the authors' own
TWO = (("wsd_20000_24000", "cosine_24000"), ("wsdld_20000_24000", "cosine_24000"))


def first_splits(folder: Path) -> list[Split]:
    """Three runs, a WSD and a cosine run, and each run alone; unseen are all others of the size."""
    found = []
    for size in SIZES:
        curves = multipower(folder, size)
        groups = [("three runs", THREE), *(("WSD + cosine", pair) for pair in TWO)]
        groups += [("one run that decays" if one.decays else "one constant run", (name,)) for name, one in curves.items()]
        for group, names in groups:
            unseen = tuple(curve for name, curve in curves.items() if name not in names)
            found.append(Split(size, group, tuple(curves[name] for name in names), unseen))
    return found


def second_splits(folder: Path) -> list[Split]:
    """At each peak: 15k steps, one run and WSD + cosine, and 25k steps, WSD20 + cosine; not asked for repeats of those.

    Runs of which little is the cooldown, a tenth or a fifth, are a group of their own: they tell least.
    """
    found = []
    for peak in sorted({curve.peak for curve in second_lab(folder)}):
        curves = [curve for curve in second_lab(folder) if curve.peak == peak]
        short = _unrepeated(curve for curve in curves if curve.steps == 15000)
        wsds, cosines = ([one for one in short if (one.entry == "wsd") is kind] for kind in (True, False))
        long = {shape_of(curve): curve for curve in _unrepeated(curve for curve in curves if curve.steps == 25000)}
        chosen = [(_alone(curve), (curve,)) for curve in short]
        chosen += [("15k, WSD + cosine", (one, other)) for one in wsds for other in cosines]
        chosen += [(f"25k, WSD20 + {end}", (long["wsd20"], long[end])) for end in ("cos10", "cos0")]
        found += [_second_split(peak, group, fitted, curves) for group, fitted in chosen]
    return found


def _alone(curve: Curve) -> str:
    return "15k, one short cooldown" if shape_of(curve) in ("wsd10", "wsd20") else "15k, one run"


def _unrepeated(curves: Iterable[Curve]) -> list[Curve]:
    return list({(shape_of(curve), curve.steps): curve for curve in curves}.values())


def _second_split(peak: float, group: str, fitted: tuple[Curve, ...], curves: Sequence[Curve]) -> Split:
    seen = {(shape_of(curve), curve.steps) for curve in fitted}
    unseen = tuple(one for one in curves if (shape_of(one), one.steps) not in seen)
    return Split(f"124M at {peak:g}", group, fitted, unseen)
