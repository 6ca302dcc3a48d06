"""What `fit_law` says of curves that it has not seen, as pairs to be scored."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from forecast_data import SIZES, WARMUP, Curve, Split, unshared
from forecast_score import Pair

from hf_lrsched import History
from hf_lrsched.runs.forecast import Law, fit_law
from hf_lrsched.runs.forecast.laws import Points
from hf_lrsched.runs.forecast.path import FINE, LRPath
from hf_lrsched.runs.forecast.prior import Prior, prior

Floats = npt.NDArray[np.float64]
_Z = {0.5: 0.67449, 0.9: 1.64485}  # standard deviations to either side


@dataclass
class Said:
    """What the fits of some splits say: of what they may be asked, and, refused but computed, of what lies beyond."""

    pairs: list[Pair] = field(default_factory=list)
    beyond: list[Pair] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def fitted(runs: Sequence[Curve], prior: Prior | None = None) -> Law:
    """The law of `runs`; the first lab's logs begin behind their warm-up, whose length their users know."""
    warmup = WARMUP if runs[0].source in SIZES else None
    return fit_law([run.history() for run in runs], loss=runs[0].quantity, warmup=warmup, prior=prior)


def ask(splits: Sequence[Split], *, default: bool = False) -> Said:
    """Fits each split and asks it of all that it has not seen.

    Args:
        splits: runs to fit and curves to ask for.
        default: also for 25M and 100M the library's own prior, whose centre holds the size under test; else the other's.
    """
    said = Said()
    for split in splits:
        own = prior(without=split.source) if split.source in SIZES and not default else None
        begun = time.perf_counter()
        law = fitted(split.fitted, own)
        said.seconds.append(time.perf_counter() - begun)
        for curve in split.unseen:
            pair = predicted(law, split, curve)
            if pair is None:
                said.beyond.append(forced(law, split, curve))
            else:
                said.pairs.append(pair)
    return said


def predicted(law: Law, split: Split, curve: Curve) -> Pair | None:
    """What the library says, by its public call; None where it refuses."""
    done = curve.step + 1.0
    try:
        forecast = law.predict(curve.schedule, int(done[-1]), curve.peak)
    except ValueError as refused:
        if "longest run" not in str(refused):
            raise
        return None
    loss, sd = (np.interp(done, forecast.step, values) for values in (forecast.loss, forecast.sd))
    return _pair(split, curve, loss, sd, forecast.momentum)


def forced(law: Law, split: Split, curve: Curve) -> Pair:
    """What the law of `split` would say although the library refuses to, for length or peak."""
    fit = law.fits[min(law.peaks, key=lambda peak: abs(np.log(peak / curve.peak)))]
    points = Points(LRPath.of(curve.lr, fit.peak, most=FINE), curve.step + 1.0)
    loss, second, sd, _ = fit.predicted(points)
    return _pair(split, curve, loss, sd, float(second[-1]))


def _pair(split: Split, curve: Curve, loss: Floats, sd: Floats, second: float) -> Pair:
    return Pair(
        split.name,
        curve.name,
        curve.steps / max(run.steps for run in split.fitted),
        curve.loss,
        loss,
        {level: (loss - z * sd, loss + z * sd) for level, z in _Z.items()},
        second,
        unshared(curve, split.fitted),
        split.source,
        split.group,
    )


# Runs of which less is known


def thinned(split: Split, every: int) -> Split:
    """Every n-th point of each run, its last one among them."""
    return _changed(split, [run.only(np.arange(len(run.step) - 1, -1, -every)[::-1]) for run in split.fitted])


def noisy(split: Split, sd: float, seed: int) -> Split:
    """Each loss with noise added."""
    random = np.random.default_rng(seed)
    runs = [dataclasses.replace(run, loss=run.loss + sd * random.standard_normal(len(run.loss))) for run in split.fitted]
    return _changed(split, runs)


def halved(split: Split) -> Split:
    """The first half of the points of each run."""
    return _changed(split, [run.only(np.arange((len(run.step) + 1) // 2)) for run in split.fitted])


def _changed(split: Split, runs: Sequence[Curve]) -> Split:
    return dataclasses.replace(split, fitted=tuple(runs))


# This project's own runs


def embedded(runs: dict[str, History]) -> list[Split]:
    """Two of the embedded Llama's runs, and each alone; unseen are all others of the first seed, and the longer ones.

    Points count from a tenth of the run on.
    """
    curves = {name: _curve(name, run) for name, run in runs.items() if "/" not in name}
    pairs = [("wsd20", "cosine0"), ("constant", "cosine0")]
    short = [name for name, curve in curves.items() if curve.steps == min(one.steps for one in curves.values())]
    chosen = [("two runs", pair) for pair in pairs] + [("one run", (name,)) for name in short if name != "constant"]
    return [
        Split(
            "embedded Llama",
            group,
            tuple(curves[name] for name in names),
            tuple(curve for name, curve in curves.items() if name not in names and name != "constant-long"),
        )
        for group, names in chosen
    ]


def _curve(name: str, run: History) -> Curve:
    assert run.schedule is not None
    late = run.eval_step >= 0.1 * run.total
    return Curve(
        "embedded Llama",
        name,
        run.schedule.name,
        {},
        run.schedule,
        run.peak[0],
        run.total,
        run.eval_step[late] - 1,
        run.eval_loss[late],
        quantity="eval_loss",
        log=run,
    )
