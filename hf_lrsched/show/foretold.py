"""Forecasts as text: what a law rests on, and a table of what schedules will give.

What it does not know: how a forecast was come by. Its digits are those that the interval leaves, not those of the sum.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..runs.forecast import Comparison, Forecast, Law, Optimized


def text(law: Law, compared: Comparison | None = None, best: Optimized | None = None, ended: Forecast | None = None) -> str:
    """What a law says, and what it rests on: a table of schedules, the best cooldown, a cooldown that starts now.

    Args:
        law: what was fitted.
        compared: forecasts of it side by side.
        best: the cooldown that it likes best.
        ended: a run of which a cooldown starts now.

    >>> from hf_lrsched import History, fit_law, wsd
    >>> lrs = wsd(400).lrs(400, 1e-3)
    >>> log = [{"step": n, "lr": lrs[n - 1], "eval_loss": 3 + 4 * n**-0.5} for n in range(10, 401, 10)]
    >>> law = fit_law(History.of(log))
    >>> print(text(law, law.compare(["wsd"], 400)).splitlines()[0])
    fitted on the held-out loss of 1 run at a peak of 0.001 (31 points, up to step 400); predictions for that peak, no results
    """
    parts = [_rests_on(law)]
    if compared is not None:
        parts.append(_table(compared))
    if ended is not None:
        parts.append(f"{ended.name}, {ended.steps:,} steps in all: {_told(ended)}")
    if best is not None:
        parts.append(_best(best))
    told = [*law.cautions, *(compared.cautions if compared else ())]
    told += [sentence for one in (ended, best.forecast if best else None) if one for sentence in one.cautions]
    names = [one.name for one in (*(compared.forecasts if compared else ()), *([best.forecast] if best else []))]
    cautions = [f"caution: {sentence}" for sentence in _gathered(told, names)]
    return "\n\n".join([*parts, *(["\n".join(cautions)] if cautions else [])])


def _gathered(told: Sequence[str], names: Sequence[str]) -> list[str]:
    """Each caution once, and what holds for several schedules in one sentence."""
    whose: dict[str, list[str]] = {}
    for sentence in dict.fromkeys(told):
        name = next((name for name in sorted(names, key=len, reverse=True) if sentence.startswith(f"{name} ")), "")
        whose.setdefault(sentence[len(name) :], []).append(name)
    return [f"each of {', '.join(of[:-1])} and {of[-1]}{rest}" if len(of) > 1 else of[0] + rest for rest, of in whose.items()]


def _rests_on(law: Law) -> str:
    peaks = [
        f"{len(fit.runs)} run{'s' * (len(fit.runs) > 1)} at a peak of {fit.peak:g} ({sum(len(run.loss) for run in fit.runs)} "
        f"points, up to step {max(run.updates[-1] for run in fit.runs):,.0f})"
        for fit in law.fits.values()
    ]
    which = "these peaks" if len(peaks) > 1 else "that peak"
    return f"fitted on the {words(law.quantity)} of {', '.join(peaks)}; predictions for {which}, no results"


def _table(compared: Comparison) -> str:
    made = compared.forecasts
    lengths, peaks = {one.steps for one in made}, {one.peak_lr for one in made}
    heads = ["schedule", *(["steps"] if len(lengths) > 1 else []), *(["peak LR"] if len(peaks) > 1 else [])]
    heads += [f"final {words(made[0].quantity)}", "90 % interval", "momentum law", "above the best"]
    rows, digits = [heads], places(*made)
    for one, gap in zip(made, compared.gaps, strict=True):
        row = [one.name, *([f"{one.steps:,}"] if len(lengths) > 1 else []), *([f"{one.peak_lr:g}"] if len(peaks) > 1 else [])]
        final, low, high, second = (shown(value, digits) for value in (one.final, *one.interval(0.9), one.momentum))
        row += [final, f"{low} to {high}", second]
        above = "{} ({} to {})".format(*(shown(value, digits) for value in gap))
        above += ", not told apart" if one.name in compared.ties else ""
        rows.append([*row, "" if one is made[0] else above])
    widths = [max(len(row[i]) for row in rows) for i in range(len(heads))]
    ends = (0, len(heads) - 1)
    lines = [
        "  ".join(
            f"{cell:<{width}}" if i in ends else f"{cell:>{width}}"
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join([*([f"{made[0].steps:,} step{'s' * (made[0].steps > 1)}"] if len(lengths) == 1 else []), *lines])


def _told(one: Forecast) -> str:
    return f"final {words(one.quantity)} {interval(one, f'; momentum law: {shown(one.momentum, places(one))}')}"


def interval(one: Forecast, more: str = "") -> str:
    """A final loss and its 90 % interval, which `more` follows within the brackets."""
    final, low, high = (shown(value, places(one)) for value in (one.final, *one.interval(0.9)))
    return f"{final} (90 %: {low} to {high}{more})"


def places(*forecasts: Forecast) -> int:
    """Decimals that tell two digits of the narrowest 90 % interval, and of losses from 1 to 10 at least 4, as is usual.

    Below 0 where the interval is wider than 99: so many places before the point are not told.
    """
    found = []
    for one in forecasts:
        low, high = one.interval(0.9)
        places = 1 - math.floor(math.log10(high - low)) if 0 < high - low < math.inf else 4
        found.append(max(places, 4) if 1 <= one.final < 10 else places)
    return max(found)


def shown(value: float, places: int) -> str:
    """A number with so many decimals; fewer than none are zeros before the point.

    >>> shown(2.28012, 4), shown(2657681.5, -4), shown(-0.00001, 4)
    ('2.2801', '2,660,000', '0.0000')
    """
    return f"{round(value, places):z,.{max(places, 0)}f}"


def _best(best: Optimized) -> str:
    looked = ", ".join(f"{name} {value:.3g}" for name, value in best.trusted.items())
    one = best.forecast
    kwargs = repr(best.lr_scheduler_kwargs).replace("'", '"')
    lines = [
        "best cooldown within what the runs had, for TrainingArguments:",
        f'  lr_scheduler_type="{best.lr_scheduler_type}",',
        f"  lr_scheduler_kwargs={kwargs},",
        f"  learning_rate={one.peak_lr:g},",
        f"  max_steps={one.steps},",
        f"  {_told(one)}",
        f"  {best.label}",
        f"  looked at: {looked}",
    ]
    return "\n".join(lines)


def words(quantity: str) -> str:
    """What people call a quantity of a run.

    >>> words("eval_loss"), words("loss")
    ('held-out loss', 'training loss')
    """
    return "held-out loss" if quantity == "eval_loss" else "training loss"
