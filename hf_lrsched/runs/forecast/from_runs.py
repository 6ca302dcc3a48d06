"""`fit_law`: from the logs of runs to a `Law`.

What it does not know: how it is fitted (`fitted`), and what it says (`law`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from ...schedules.checks import real
from ..history import History
from ..reading import read_history
from .asked import Run, names_of
from .cautions import of_quantity
from .law import Law
from .observed import observe, quantity_of
from .prior import Prior
from .prior import prior as the_prior


def fit_law(
    runs: Run | Iterable[Run],
    *,
    loss: str = "auto",
    warmup: float | None = None,
    skip: float | None = None,
    prior: Prior | None = None,
) -> Law:
    """The law of the loss curves of `runs`, which may be one. One WSD run and one cosine run tell more than two alike.

    Args:
        runs: histories, or what `read_history` reads: folders of runs, ``trainer_state.json``, ``lr_history.jsonl``, CSV.
        loss: ``"eval_loss"``, ``"loss"`` (of training), or ``"auto"``: the held-out one where every run has 8 or more.
        warmup: steps of warm-up, for runs whose log begins behind it.
        skip: updates whose losses are left out; by default the warm-up, and the first 1,000, of a run of
            less than 4,000 its first quarter, of one of more than 20,000 its first twentieth.
        prior: what is believed of the parameters before; by default `prior.prior`.

    Runs of several peaks are fitted each by itself, as no law of these carries over to another peak.

    >>> import numpy as np
    >>> from hf_lrsched import History, warmup_cosine, wsd
    >>> from hf_lrsched.runs.forecast.laws import Points, multi_power
    >>> from hf_lrsched.runs.forecast.path import LRPath
    >>> def run(schedule):  # losses that a multi-power law has made, for the example
    ...     theta = np.array([2.0, np.log(0.5), np.log(0.45), np.log(0.2), np.log(2.0), np.log(0.6), 0.6, 0.6, 1.0])
    ...     path = LRPath.of_schedule(schedule, 1e-3, 1000)
    ...     lrs, losses = schedule.lrs(1000, 1e-3), multi_power(theta, Points(path, np.arange(0.0, 1000.0) + 1))[0]
    ...     return History.of([{"step": i + 1, "lr": lrs[i], "eval_loss": losses[i]} for i in range(19, 1000, 20)])
    >>> law = fit_law([run(wsd(1000)), run(warmup_cosine(1000))])
    >>> law.quantity, law.peaks, law.longest
    ('eval_loss', (0.001,), 1000)
    >>> longer = law.predict(wsd(2000))
    >>> longer.final < law.predict("wsd", 1000).final, longer.interval()[0] < longer.final < longer.interval()[1]
    (True, True)
    >>> law.predict(wsd(4000))
    Traceback (most recent call last):
    ValueError: 4000 steps are more than 3 times the 1000 of the longest run; ...

    Raises:
        ValueError: for no run, and for one without learning rates, with too few losses, or that did not go down.
    """
    given = [runs] if isinstance(runs, History | str | os.PathLike) else list(runs)
    if not given:
        raise ValueError("a law is fitted to one run or more, and none was given")
    read = [run if isinstance(run, History) else read_history(os.fspath(run)) for run in given]
    skip = None if skip is None else real("skip", skip, least=0)
    quantity = quantity_of(read, loss, skip)
    names = names_of(given)
    warm = None if warmup is None else real("warmup", warmup, least=0)
    seen = [observe(run, name, quantity, warmup=warm, skip=skip) for run, name in zip(read, names, strict=True)]
    return Law.of(seen, prior or the_prior(), of_quantity(read, names, loss, quantity))
