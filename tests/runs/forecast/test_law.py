"""What a law says of schedules: right where the truth is known, refused where nothing was seen."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hf_lrsched import History, Law, Schedule, constant, fall, fit_law, hold, one_cycle, rise, warmup_cosine, wsd
from hf_lrsched.runs.forecast.prior import Prior, prior

from .curves import PEAK, run, true_loss

NOISE = 0.002
SHAPES: dict[str, Schedule] = {
    "wsd": wsd(2000, shape="linear"),
    "cosine": warmup_cosine(2000, min_lr_ratio=0.1),
    "wsd 40 %": wsd(2000, decay=0.4),
    "to zero": warmup_cosine(2000, min_lr_ratio=0.0),
    "longer": wsd(5000),
    "constant": constant(4000, warmup=200),
}


@pytest.fixture(scope="module")
def law() -> Law:
    return fit_law([run(SHAPES["wsd"], noise=NOISE), run(SHAPES["cosine"], noise=NOISE, seed=1)])


@pytest.mark.parametrize("name", SHAPES)
def test_two_runs_tell_what_others_give(law: Law, name: str) -> None:
    made = SHAPES[name]
    forecast = law.predict(made)
    truth = true_loss(made, int(made.total), [made.total])[0]
    assert abs(forecast.final - truth) < 0.01
    low, high = forecast.interval(0.99)
    assert low < truth < high
    assert abs(forecast.momentum - truth) < 0.05


@pytest.mark.parametrize("name", ["wsd", "cosine"])
def test_one_run_alone_is_told_with_a_wider_interval(law: Law, name: str) -> None:
    alone = fit_law(run(SHAPES[name], noise=NOISE))
    forecast = alone.predict(SHAPES["longer"])
    truth = true_loss(SHAPES["longer"], 5000, [5000])[0]
    assert abs(forecast.final - truth) < 0.04
    assert forecast.sd[-1] > law.predict(SHAPES["longer"]).sd[-1]


def test_ninety_per_cent_are_ninety_per_cent_of_curves_drawn_from_the_prior() -> None:
    """Other truths than the one above, drawn as the prior has them, each fitted from its own WSD run."""
    random, believed = np.random.default_rng(3), prior()
    inside, wide, missed = [], [], []
    known = np.isfinite(believed.width)
    for seed in range(24):
        theta = np.where(known, believed.centre, 0.0)
        theta[known] += believed.width[known] * random.standard_normal(int(known.sum()))
        theta[:2] = 2.6, np.log(0.6)
        made, other = wsd(2000, shape="linear"), warmup_cosine(2000, min_lr_ratio=0.1)
        law = fit_law(_drawn(theta, made, seed))
        forecast, truth = law.predict(other), _truth(theta, other)
        low, high = forecast.interval(0.9)
        inside.append(low < truth < high)
        wide.append((high - low) / 2)
        missed.append(abs(forecast.final - truth))
    assert np.mean(inside) >= 0.75
    assert np.mean(wide) < 6 * np.mean(missed)  # a tenth of a normal's mass lies beyond 2.06 times its mean absolute value


def _truth(theta: Any, made: Schedule, at: float | None = None) -> float:
    from hf_lrsched.runs.forecast.laws import Points, multi_power
    from hf_lrsched.runs.forecast.path import LRPath

    path = LRPath.of_schedule(made, PEAK, int(made.total))
    return float(multi_power(theta, Points(path, np.array([made.total if at is None else at], dtype=np.float64)))[0][0])


def _drawn(theta: Any, made: Schedule, seed: int) -> History:
    random, lrs = np.random.default_rng(seed), made.lrs(None, PEAK)
    return History.of(
        [
            {"step": n, "lr": lrs[n - 1], "eval_loss": _truth(theta, made, n) * (1 + 0.001 * random.standard_normal())}
            for n in range(100, 2001, 50)
        ]
    )


def test_the_same_runs_give_the_same_law() -> None:
    history = run(SHAPES["wsd"], noise=NOISE)
    assert fit_law(history).predict("wsd", 1000).final == fit_law(history).predict("wsd", 1000).final


def test_a_forecast_is_a_whole_curve(law: Law) -> None:
    forecast = law.predict("wsd", 3000, decay=0.1)
    assert forecast.step[0] == 15  # before that a power law of the steps means nothing
    assert forecast.step[-1] == forecast.steps == 3000
    assert forecast.lr.max() == pytest.approx(law.peaks[0])
    assert forecast.lr[-1] < 0.2 * PEAK
    assert (forecast.low < forecast.low50).all()
    assert (forecast.high50 < forecast.high).all()
    assert forecast.interval(0.5)[1] - forecast.final == pytest.approx(
        0.41 * (forecast.interval(0.9)[1] - forecast.final), rel=0.01
    )
    assert json.loads(json.dumps(forecast.to_dict()))["final"] == forecast.final
    assert str(forecast).startswith("wsd, 3,000 steps at 0.00")
    assert "predicted held-out loss" in str(forecast)
    with pytest.raises(ValueError, match="level=90 must be above 0 and below 1"):
        forecast.interval(90)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"schedule": wsd(7000)}, "7000 steps are more than 3 times the 2000 of the longest run; .* ask for 6000 at most"),
        ({"schedule": wsd(1000), "peak_lr": 2e-3}, r"peak_lr=0.002, but the runs had 0.001: .*transfer_lr"),
        ({"schedule": wsd(1000), "peak_lr": 0}, "peak_lr=0 must be above 0"),
        ({"schedule": "wsd"}, "'wsd' is a name, and a name needs steps="),
        ({"schedule": "wds", "steps": 100}, "wds"),
        ({"schedule": wsd(1000), "decay": 0.1}, "decay: arguments go with a schedule's name"),
        ({"schedule": wsd(1000), "steps": 0}, "steps=0 must be a whole number, 1 or more"),
    ],
)
def test_what_is_not_forecast(law: Law, asked: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        law.predict(**asked)


def test_no_run_is_no_law() -> None:
    with pytest.raises(ValueError, match="a law is fitted to one run or more"):
        fit_law([])
    with pytest.raises(FileNotFoundError, match="there is no file or folder nowhere"):
        fit_law("nowhere")


def test_every_peak_has_its_own_law() -> None:
    law = fit_law([run(SHAPES["wsd"]), run(SHAPES["wsd"], peak=2e-3)])
    assert law.peaks == pytest.approx((1e-3, 2e-3))
    assert law.runs == 2
    with pytest.raises(ValueError, match=r"the runs have several peaks, 0\.001 and 0\.002; say which"):
        law.predict("wsd", 1000)
    assert law.predict("wsd", 1000, peak_lr=2e-3).peak_lr == pytest.approx(2e-3)
    two = law.compare([(wsd(1000), 1e-3), (wsd(1000), 2e-3)])
    assert len({one.name for one in two.forecasts}) == 2
    assert not any("one peak" in told for told in two.cautions)


def test_a_comparison_ranks_and_says_what_is_not_told_apart(law: Law) -> None:
    made = [constant(2000, warmup=100), wsd(2000), wsd(2000, decay=0.21), warmup_cosine(2000)]
    compared = law.compare(made)
    finals = [one.final for one in compared.forecasts]
    assert finals == sorted(finals)
    assert compared.forecasts[-1].name == "constant"
    assert compared.gaps[0] == (0.0, 0.0, 0.0)
    assert {"wsd 2", "wsd 3"} & set(compared.ties)
    assert "constant" not in compared.ties
    assert [told for told in compared.cautions if told.startswith("all at one peak, 0.00")]
    assert json.loads(json.dumps(compared.to_dict()))["ties"] == list(compared.ties)
    with pytest.raises(ValueError, match="one schedule or more"):
        law.compare([])


def test_what_two_forecasts_share_is_not_in_their_gap(law: Law) -> None:
    compared = law.compare([wsd(2000), wsd(2000, decay=0.25)])
    gap, low, high = compared.gaps[1]
    apart = [one.interval()[1] - one.final for one in compared.forecasts]
    assert low <= gap <= high
    assert high - gap < 0.95 * math.hypot(*apart)


def test_cautions_are_told(law: Law) -> None:
    assert any("moves momentum too" in told for told in law.predict(one_cycle(2000)).cautions)
    assert any("ends after 400 steps, where the shortest run has 2000" in told for told in law.predict("wsd", 400).cautions)
    shallow = fit_law(run(SHAPES["cosine"]))
    assert any(
        "ends lower than 0.1 of the peak, below which no loss was seen" in told
        for told in shallow.predict("wsd", 1000).cautions
    )
    flat = fit_law(run(SHAPES["constant"]))
    assert any("no run at 0.001 decays" in told for told in flat.cautions)
    assert not law.cautions
    short = fit_law(run(wsd(2000, decay=0.1)))
    assert any("the one run decays over 10% of its steps" in told for told in short.cautions)


def test_the_best_cooldown_is_one_that_the_runs_have_seen(law: Law) -> None:
    best = law.optimize(3000)
    words = best.lr_scheduler_kwargs
    assert best.lr_scheduler_type == "wsd"
    assert 0.18 <= words["decay"] <= 0.95  # the runs decay over 20 % and 95 % of their steps
    assert words["warmup"] == 100  # as the runs
    assert best.to_training_args()["max_steps"] == 3000
    assert best.forecast.final <= best.baseline.final
    assert best.gain == pytest.approx(best.baseline.final - best.forecast.final)
    assert best.gain_interval[0] < best.gain < best.gain_interval[1]
    assert best.label.startswith("a prediction, not a result: ")
    assert best.schedule.total == 3000
    truth = true_loss(best.schedule, 3000, [3000])[0]
    assert truth < true_loss(wsd(3000), 3000, [3000])[0] + 0.003
    assert json.loads(json.dumps(best.to_dict()))["lr_scheduler_kwargs"] == words
    short = fit_law(run(wsd(2000, decay=0.1), noise=NOISE)).optimize(2000)
    assert short.lr_scheduler_kwargs["decay"] == 0.1


def test_nothing_is_optimized_without_a_decay() -> None:
    with pytest.raises(ValueError, match=r"no run at 0.001 decays, so nothing is known of cooldowns"):
        fit_law(run(SHAPES["constant"])).optimize(1000)


def test_a_cooldown_now(law: Law) -> None:
    stable = run(constant(1500, warmup=100), noise=NOISE)
    for steps, length in ((None, 375), (300, 300), ("10%", 167)):
        forecast = law.cooldown_now(stable, steps)
        assert forecast.steps == 1500 + length
        truth = true_loss(wsd(1500 + length, warmup=100, decay=length), 1500 + length, [1500 + length])[0]
        assert abs(forecast.final - truth) < 0.01
    later = law.cooldown_now(stable, 300, after=1000)
    assert later.final < law.cooldown_now(stable, 300).final
    assert later.steps == 2800
    with pytest.raises(ValueError, match="are more than 3 times"):
        law.cooldown_now(stable, after=10**5)
    with pytest.raises(ValueError, match=r"peak_lr=0.004, but the runs had 0.001"):
        law.cooldown_now(run(constant(1500, warmup=100), peak=4e-3))
    with pytest.raises(ValueError, match="a share of the run must lie between 0 and 1"):
        law.cooldown_now(stable, "100%")
    with pytest.raises(ValueError, match="steps=0: a cooldown takes 1 step or more"):
        law.cooldown_now(stable, 0)
    assert not law.cooldown_now(stable).cautions
    decayed = law.cooldown_now(run(SHAPES["cosine"]))
    assert any("begins at 0.1 of the peak, as the run has decayed already" in told for told in decayed.cautions)


def test_a_cooldown_begins_at_the_losses_of_its_run(law: Law) -> None:
    stable = run(constant(1500, warmup=100))
    stable.eval_loss[:] += 0.05  # another seed, other data
    moved, as_the_law = law.cooldown_now(stable, 300), law.cooldown_now(run(constant(1500, warmup=100)), 300)
    assert moved.final - as_the_law.final == pytest.approx(0.05, rel=0.2)


def test_runs_are_read_from_where_they_lie(tmp_path: Path) -> None:
    made = SHAPES["wsd"]
    rows = [f"{n},{made.lr(n - 1, PEAK)},{true_loss(made, 2000, [n])[0]}" for n in range(40, 2001, 40)]
    file = tmp_path / "run.csv"
    file.write_text("\n".join(["step,lr,eval_loss", *rows]))
    law = fit_law([file, str(file)])
    assert law.runs == 2
    assert repr(law).startswith("Law(2 runs, held-out losses, peak 0.001, 2000 steps)")
    assert law.cooldown_now(file).steps == 2500


def test_a_prior_can_be_another() -> None:
    narrow = prior()
    narrow = Prior(narrow.centre, np.where(np.isfinite(narrow.width), 1e-6, narrow.width))
    law = fit_law(run(SHAPES["wsd"], noise=NOISE), prior=narrow)
    fitted = next(iter(law.fits.values())).parameters
    assert (fitted["p"], fitted["gamma"]) == pytest.approx((narrow.centre[7], narrow.centre[6]), abs=1e-3)


@pytest.mark.parametrize("factor", [0.03, 1 / math.log(2)])
def test_losses_in_another_unit_are_forecast_alike(factor: float) -> None:
    def scaled(made: Schedule) -> History:
        history = run(made, noise=NOISE)
        history.eval_loss[:] *= factor
        return history

    one, other = fit_law(run(SHAPES["wsd"], noise=NOISE)), fit_law(scaled(SHAPES["wsd"]))
    assert other.predict(SHAPES["cosine"]).final == pytest.approx(factor * one.predict(SHAPES["cosine"]).final, rel=2e-3)
    assert other.predict(SHAPES["cosine"]).sd[-1] == pytest.approx(factor * one.predict(SHAPES["cosine"]).sd[-1], rel=0.05)


def test_a_schedule_by_name_warms_up_as_the_runs_did() -> None:
    law = fit_law([run(wsd(2000, warmup=60)), run(warmup_cosine(2000, warmup=60))])
    made = law.predict("wsd", 4000).schedule
    assert made is not None
    assert made.warmup == 60
    assert law.predict("wsd", 4000, warmup=60).final == law.predict("wsd", 4000).final
    other = law.predict("wsd", 4000, warmup=200)
    assert any("warms up over 200 steps where the runs took 60" in told for told in other.cautions)
    assert not law.predict("wsd", 4000).cautions
    linear = law.predict("linear", 2000)
    assert linear.name == "linear"
    assert linear.final == pytest.approx(law.predict(rise(60) >> fall(1940, "linear")).final)
    mixed = fit_law([run(wsd(2000, warmup=60)), run(warmup_cosine(2000, warmup=150))])
    assert any("the runs warm up over 60 to 150 steps" in told for told in mixed.cautions)
    assert law.predict("cosine", 2000, warmup_steps=5).schedule == rise(5) >> fall(1995, "cosine")
    assert law.predict("constant_with_warmup", 2000).schedule == rise(60) >> hold(1940)
    with pytest.raises(ValueError, match="decay"):
        law.predict("cosine", 2000, decay=0.1)


def test_learning_rates_are_taken_as_they_are(law: Law) -> None:
    made = SHAPES["wsd 40 %"]
    lrs = made.lrs(2000, PEAK)
    assert law.predict(lrs).final == pytest.approx(law.predict(made).final, abs=1e-4)
    assert law.predict(list(map(float, lrs))).steps == 2000
    wrongs: list[Any] = [[], [[1e-3]], [float("nan")], [0.0]]
    for wrong in wrongs:
        with pytest.raises(ValueError, match="learning rates of all steps"):
            law.predict(wrong)
    with pytest.raises(ValueError, match=r"peak_lr=0\.0005, but the runs had 0\.001"):
        law.predict(lrs / 2)


def test_a_schedule_that_stays_below_the_peak_is_another_peak(law: Law) -> None:
    with pytest.raises(ValueError, match=r"goes up to 0\.0003 only, and the runs had 0\.001"):
        law.predict(hold(2000, at=0.3) >> hold(1, at=0.3))


def test_what_is_compared_may_be_one_or_have_arguments(law: Law) -> None:
    assert law.compare("wsd", 2000).forecasts[0].name == "wsd"
    two = law.compare([("wsd", {"decay": 0.1}), ("wsd", PEAK), "cosine"], 2000)
    assert {one.name for one in two.forecasts} == {"wsd 1", "wsd 2", "cosine"}
    uneven = law.compare([wsd(2000), wsd(3000)])
    assert any("these are of 2000 to 3000 steps" in told for told in uneven.cautions)
    assert "caution: these are of" in str(uneven)


def test_runs_that_no_law_describes_are_refused() -> None:
    other = run(SHAPES["wsd"])
    other.eval_loss[:] *= 0.7
    with pytest.raises(ValueError, match=r"no law describes these runs: the best misses their losses by \d+%"):
        fit_law([run(SHAPES["wsd"]), other])


def test_losses_that_are_not_held_out_are_said_to_be() -> None:
    trained = run(SHAPES["wsd"], evaluated=False)
    trained = replace(trained, eval_step=np.array([1000, 2000]), eval_loss=np.array([3.0, 2.9]))
    assert any("fitted to training losses, as run 1 has 2 held-out ones" in told for told in fit_law(trained).cautions)
    assert not any("held-out" in told for told in fit_law(trained, loss="loss").cautions)


def test_a_log_that_begins_late_is_told() -> None:
    whole = run(wsd(2000))
    kept = whole.step >= 1000
    late = replace(
        whole, step=whole.step[kept], lr=whole.lr[kept], eval_step=whole.eval_step[kept], eval_loss=whole.eval_loss[kept]
    )
    assert any("the log of run 1 begins at step 1000 of 2000" in told for told in fit_law(late, warmup=100).cautions)
    with pytest.raises(ValueError, match="warmup=3000 takes all of the 2000 steps that run 1 has"):
        fit_law(late, warmup=3000)
    with pytest.raises(ValueError, match="skip='5%' is not a number"):
        fit_law(whole, skip="5%")  # type: ignore[arg-type]  # as people type it


def test_the_best_cooldown_leaves_room_for_a_warmup_that_the_runs_do_not_agree_on() -> None:
    """Runs that decay over nearly all of their steps, from different warm-ups: wsd then warms up as it does by itself."""
    law = fit_law([run(warmup_cosine(2000, warmup=20)), run(warmup_cosine(2000, warmup=60), seed=1)])
    best = law.optimize(1000)
    assert "warmup" not in best.lr_scheduler_kwargs
    assert best.schedule.warmup == 100
    assert 0 < best.lr_scheduler_kwargs["decay"] <= 0.9
