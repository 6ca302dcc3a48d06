"""The limits of the signs that a learning rate is too high or too low, fitted on labelled runs.

    python scripts/fit_diagnosis.py DATA     DATA: the folder of public data, which is not part of this repository

Prints what the runs of all problems give, and what those of all but one give, which is what `bench_diagnosis.py` judges the
rules by. A limit is the nearest that any run without the fault came, and some room; `verdict.LIMITS` are round numbers close
to it. Fitted are the three limits that depend on the runs most. The other numbers of `verdict` are from the reference (the
rise of 1.07 to 1.15) or round, and were chosen in sight of all five problems.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from diagnosis_data import Labelled, deepobs, history_of

from hf_lrsched.runs.diagnosis import Setting, points
from hf_lrsched.runs.diagnosis.shape import Shape, shape
from hf_lrsched.runs.diagnosis.sight import Sight
from hf_lrsched.runs.diagnosis.verdict import LIMITS, Limits

JUMP, HARDLY, STEADY = 2.7, 0.7, 1.05  # the room: times the nearest; of what the nearest had lost; times the nearest
_STILL = 1.07  # as in `verdict`


def shape_of(run: Labelled, share: float) -> Shape | None:
    """The shape of the curve after `share` of the run; None where its losses are no longer finite."""
    history = history_of(run.curve.until(share))
    if not np.isfinite(history.loss).all():
        return None
    sight = Sight(Setting.of(history))
    for point in points(history):
        sight.include(point)
    return shape(sight)


def fit(runs: Iterable[Labelled]) -> Limits:
    """The limits that `runs` give."""
    early = [(run.label, shape_of(run, 0.1)) for run in runs]
    late = [(run.label, shape_of(run, 1.0)) for run in runs]
    thrown = [
        one.rise
        for label, one in early + late
        if label != "too_high" and one is not None and (one.first_rise <= 3 or one.again > 2)
    ]
    still = [one.level for label, one in early if label == "good" and one is not None and max(one.rise, one.high) < _STILL]
    calm = [one for label, one in late if label != "too_low" and one is not None and max(one.rise, one.high) < _STILL]
    falling = [min(one.drops[:2]) for one in calm]
    return replace(
        LIMITS,
        jump=JUMP * max(thrown),
        hardly=1 - HARDLY * (1 - max(still)),
        steady=STEADY * max(falling),
    )


@cache
def without(problem: str, folder: Path) -> Limits:
    """The limits that the runs of all other problems give."""
    return fit([run for run in deepobs(folder) if run.curve.problem != problem])


def main(folder: Path) -> None:
    runs = deepobs(folder)
    print("| fitted on | jump | hardly | steady |")
    print("|---|---:|---:|---:|")
    for problem in ["", *sorted({run.curve.problem for run in runs})]:
        limits = without(problem, folder)
        print(f"| all{f' but {problem}' * bool(problem)} | {limits.jump:.3g} | {limits.hardly:.3g} | {limits.steady:.3g} |")
    print(f"| shipped | {LIMITS.jump:.3g} | {LIMITS.hardly:.3g} | {LIMITS.steady:.3g} |")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
