"""Forecasts as text: digits, cautions, what can be pasted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hf_lrsched import Schedule, build, step_decay, warmup_cosine, wsd
from hf_lrsched.runs.forecast import Comparison, Forecast, Law, fit_law
from hf_lrsched.show.foretold import interval, places, text

from ..runs.forecast.curves import PEAK, run

STEPS = 800
LAW = fit_law([run(schedule, noise=0.002, seed=i) for i, schedule in enumerate((wsd(STEPS), warmup_cosine(STEPS)))])
FIVE: list[Schedule | str] = [
    "wsd",
    "warmup_cosine",
    build("rex", STEPS, alpha=0).named("linear"),
    build("wsd", STEPS, decay=0.4, shape="linear").named("wsd:decay=0.4,shape=linear"),
    step_decay(STEPS, warmup="5%"),
]


def test_the_table_says_what_it_rests_on_what_is_predicted_and_by_how_much() -> None:
    made = LAW.compare(FIVE, STEPS)
    said = text(LAW, made)
    points = sum(len(seen.loss) for fit in LAW.fits.values() for seen in fit.runs)
    first = f"fitted on the held-out loss of 2 runs at a peak of {PEAK:g} ({points} points, up to step {STEPS})"
    assert said.splitlines()[0] == f"{first}; predictions for that peak, no results"
    lines = said.splitlines()
    table = lines[4 : 4 + len(FIVE)]
    assert [line.split()[0] for line in table] == [one.name for one in made.forecasts]
    for line, one, (gap, low, high) in zip(table, made.forecasts, made.gaps, strict=True):
        assert f" {one.final:.4f} " in line
        assert f" {one.momentum:.4f}" in line
        assert "{:.4f} to {:.4f}".format(*one.interval(0.9)) in line
        told = f"{gap:.4f} ({low:.4f} to {high:.4f})" in line
        assert told == (one is not made.forecasts[0])
        assert line.endswith(", not told apart") == (one.name in made.ties)
    for sentence in made.cautions:
        assert sum(sentence in line for line in lines) == 1


def test_each_caution_is_told_once() -> None:
    law = fit_law([run(wsd(STEPS, decay=0), noise=0.002)])
    said = text(law, law.compare(["wsd", "warmup_cosine"], STEPS), ended=law.cooldown_now(run(wsd(STEPS, decay=0))))
    assert said.count("caution: no run at 0.001 decays") == 1
    deep = fit_law([run(warmup_cosine(STEPS), noise=0.002)])
    said = text(deep, best=deep.optimize(STEPS), ended=deep.cooldown_now(run(warmup_cosine(STEPS))))
    assert [line.split(",")[0] for line in said.splitlines() if "extrapolation" in line] == [
        "caution: the cooldown ends lower than 0.1 of the peak"
    ]


def two_peaks() -> Law:
    return fit_law([run(wsd(STEPS), noise=0.002, peak=peak) for peak in (PEAK, 2 * PEAK)])


def test_peaks_and_lengths_are_columns_where_they_differ() -> None:
    law = two_peaks()
    said = text(law, law.compare([(wsd(STEPS), PEAK), (wsd(2 * STEPS).named("longer"), 2 * PEAK)]))
    assert "1 run at a peak of 0.001" in said
    assert "predictions for these peaks, no results" in said
    heads = next(line for line in said.splitlines() if line.startswith("schedule"))
    assert heads.split()[:4] == ["schedule", "steps", "peak", "LR"]
    assert any(line.split()[:3] == ["longer", "1,600", "0.002"] for line in said.splitlines())


def test_the_best_cooldown_can_be_pasted_and_is_called_a_prediction() -> None:
    best = LAW.optimize(STEPS)
    said = text(LAW, best=best)
    pasted = said[said.index("  lr_scheduler_type") : said.index("  final held-out loss")]
    given = eval(f"dict({pasted})")
    assert given["lr_scheduler_kwargs"] == best.lr_scheduler_kwargs
    assert build(given["lr_scheduler_type"], given["max_steps"], **given["lr_scheduler_kwargs"]) == best.schedule
    assert given["learning_rate"] == pytest.approx(PEAK)
    assert f"  {best.label}" in said.splitlines()
    assert "a prediction" in said


def test_a_cooldown_that_starts_now_is_told_with_its_end() -> None:
    trunk = run(wsd(STEPS, decay=0), noise=0.002)
    ended = LAW.cooldown_now(trunk, 100)
    said = text(LAW, ended=ended)
    assert (
        f"\ncooldown of 100 steps from step {STEPS}, 900 steps in all: final held-out loss {ended.final:.4f} (90 %: " in said
    )


def of(final: float, width: float, name: str = "wsd", *cautions: str) -> Forecast:
    """A forecast with that end, and an interval as wide."""
    one = LAW.predict("wsd", STEPS)
    low, high = one.interval(0.9)
    sd = one.sd * (width / (high - low))
    return replace(one, name=name, loss=one.loss * (final / one.final), sd=sd, momentum=final, cautions=cautions)


@pytest.mark.parametrize(
    ("final", "width", "said"),
    [
        (2.28012, 0.0672, "2.2801 (90 %: 2.2465 to 2.3137)"),  # as the README has it
        (2.28, 2.0, "2.2800 (90 %: 1.2800 to 3.2800)"),
        (2.28, 0.00042, "2.28000 (90 %: 2.27979 to 2.28021)"),
        (0.0103, 0.00012, "0.01030 (90 %: 0.01024 to 0.01036)"),
        (0.7, 0.05, "0.700 (90 %: 0.675 to 0.725)"),
        (2657681.5, 252253.0, "2,660,000 (90 %: 2,530,000 to 2,780,000)"),
        (20.0, 14.0, "20 (90 %: 13 to 27)"),
        (2.28, 0.0, "2.2800 (90 %: 2.2800 to 2.2800)"),
    ],
)
def test_digits_are_those_that_the_interval_leaves(final: float, width: float, said: str) -> None:
    assert interval(of(final, width)) == said


def test_the_narrowest_interval_sets_the_digits_of_a_table() -> None:
    made = (of(0.0103, 0.003), of(0.0104, 0.00012, "narrow"))
    assert places(*made) == places(made[1]) == 5
    said = text(LAW, Comparison(made, ((0.0, 0.0, 0.0), (0.0001, -0.000001, 0.00021))))
    assert "0.01030  0.00880 to 0.01180       0.01030" in said
    assert "0.01040  0.01034 to 0.01046       0.01040  0.00010 (0.00000 to 0.00021), not told apart" in said


@pytest.mark.parametrize(("steps", "said"), [(1, "1 step"), (2, "2 steps"), (1200, "1,200 steps")])
def test_one_step_is_one(steps: int, said: str) -> None:
    assert said in text(LAW, LAW.compare(["wsd"], steps)).splitlines()


def test_what_holds_for_several_schedules_is_one_caution() -> None:
    one, other = of(2.0, 0.1, "a", "a ends low", "a moves"), of(2.1, 0.1, "a longer", "a longer ends low")
    last = of(2.2, 0.1, "b", "b ends low")
    told = ("the runs are few", *one.cautions, *other.cautions, *last.cautions)
    said = text(
        LAW, Comparison((one, other, last), ((0.0, 0.0, 0.0),) * 3, told), ended=replace(one, cautions=("the run is short",))
    )
    assert [line for line in said.splitlines() if line.startswith("caution")] == [
        *(f"caution: {sentence}" for sentence in LAW.cautions),
        "caution: the runs are few",
        "caution: each of a, a longer and b ends low",
        "caution: a moves",
        "caution: the run is short",
    ]
