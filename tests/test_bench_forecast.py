"""What forecasts are scored with: figures worked out by hand, curves made by a law, and the published digits."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from hf_lrsched.runs.forecast.laws import multi_power, vector
from hf_lrsched.runs.forecast.prior import PUBLISHED
from hf_lrsched.schedules.catalogue import build

SCRIPTS = Path(__file__).parents[1] / "scripts"
DATA = Path(__file__).parents[2] / "shared" / "data"
public = pytest.mark.skipif(not (DATA / "multipower").is_dir(), reason="the public loss curves are not here")

SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "wsd": ("wsd", {"warmup": 100, "shape": "linear"}),
    "cosine": ("warmup_cosine", {"warmup": 100, "min_lr_ratio": 0.1}),
    "constant": ("constant", {"warmup": 100}),
    "steps": ("multi_step", {"warmup": 100}),
}


@pytest.fixture(autouse=True)
def _scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))


def script(name: str) -> Any:
    return importlib.import_module(name)


def pair(truth: float, said: float, half: float = 0.02, **about: Any) -> Any:
    """A forecast of a curve of three points, whose bands are `half` wide to each side, and half of that."""
    curve, made = np.array([4.0, 3.5, truth]), np.array([4.0, 3.5, said])
    bands = {level: (made - width, made + width) for level, width in ((0.5, half / 2), (0.9, half))}
    return script("forecast_score").Pair(
        **{"fit": "a", "curve": "b", "horizon": 1.0, "truth": curve, "said": made, "bands": bands, **about}
    )


def made_by_law(name: str, steps: int = 3000, peak: float = 3e-4, size: str = "100M") -> Any:
    """A curve that the published law has drawn, without noise."""
    entry, words = SHAPES[name]
    schedule, step = build(entry, steps, **words), np.arange(steps // 10, steps, 30)
    curve = script("forecast_data").Curve(
        "made up", f"{name} {steps}", entry, words, schedule, peak, steps, step, np.ones(len(step)), quantity="eval_loss"
    )
    points = script("forecast_peers").points_of(curve, stretches=None)
    return dataclasses.replace(curve, loss=multi_power(vector(PUBLISHED[size], peak), points)[0])


def made_split(*names: str, unseen: tuple[str, ...] = ("steps",)) -> Any:
    curves = [made_by_law(name) for name in names], [made_by_law(name) for name in unseen]
    return script("forecast_data").Split("made up", "some", *map(tuple, curves))


# Scores


def test_the_figures_of_three_pairs() -> None:
    pairs = [pair(3.0, 3.015), pair(3.1, 3.1), pair(3.2, 3.17, curve="c")]
    found = script("forecast_score").score(pairs)
    assert (found["fits"], found["n"]) == (1, 3)
    assert found["final"] == pytest.approx(0.015)
    assert found["bias"] == pytest.approx(-0.005)
    assert found["worst"] == pytest.approx(0.03)
    assert found["MAE"] == pytest.approx(0.005)  # two of three points are right
    assert found["rank"] == pytest.approx(1.0)
    assert found["holds 50%"] == pytest.approx(1 / 3)  # half widths of .01 and .02
    assert found["holds 90%"] == pytest.approx(2 / 3)
    assert found["holds 90% of all points"] == pytest.approx(8 / 9)
    assert found["half width over error"] == pytest.approx(0.02 / 0.015)


def test_ranks_are_taken_within_a_fit() -> None:
    mixed = [pair(3.0 + i / 10, 3.0 + i / 10, fit="a") for i in range(3)]
    mixed += [pair(3.0 + i / 10, 2.0 - i / 10, fit="b") for i in range(3)]
    assert script("forecast_score").score(mixed)["rank"] == pytest.approx(0.0)


def test_two_curves_have_no_rank() -> None:
    assert script("forecast_score").score([pair(3.0, 3.1), pair(3.1, 3.0)])["rank"] is None


def test_points_that_were_fitted_are_told_apart() -> None:
    found = script("forecast_score").score([pair(3.0, 3.3, unshared=np.array([False, False, True]))])
    assert found["MAE"] == pytest.approx(0.1)
    assert found["MAE unshared"] == pytest.approx(0.3)


def test_a_second_law_is_scored_beside() -> None:
    assert script("forecast_score").score([pair(3.0, 3.3, second=3.1)])["final, second"] == pytest.approx(0.1)
    assert script("forecast_score").score([pair(3.0, 3.3)])["final, second"] is None


def test_no_pairs_have_no_figures() -> None:
    assert script("forecast_score").score([]) == {"fits": 0, "n": 0}


def test_bands_of_the_right_width_need_no_stretch() -> None:
    random = np.random.default_rng(0)
    pairs = [pair(3.0, 3.0 + 0.01 * random.standard_normal(), half=0.0164485) for _ in range(4000)]
    pairs = [dataclasses.replace(one, bands={0.5: band(one, 0.0067449), 0.9: band(one, 0.0164485)}) for one in pairs]
    for factor in script("forecast_score").reliability(pairs).values():
        assert factor == pytest.approx(1.0, abs=0.05)


def band(one: Any, half: float) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    return one.said - half, one.said + half


def test_the_authors_figures_are_means_over_curves() -> None:
    truth = np.array([4.0, 3.0, 2.0])
    found = script("forecast_score").published_metrics([(truth, truth), (truth, truth + 0.3)])
    assert found == pytest.approx(
        {"R2": 1 - 0.27 / 2 / 2, "MAE": 0.15, "RMSE": 0.15, "PredE": (0.075 + 0.1 + 0.15) / 6, "WorstE": 0.075}
    )


# Curves


@pytest.fixture
def written(tmp_path: Path) -> Iterator[Path]:
    """A folder in the form of the published one, of one size with two runs."""
    folder = tmp_path / "multipower" / "25M"
    folder.mkdir(parents=True)
    runs: dict[str, tuple[str, dict[str, Any]]] = {
        "cosine_24000": ("warmup_cosine", {"min_lr_ratio": 0.1}),
        "wsdcon_9": ("multi_step", {"milestones": [8000], "factor": 0.3}),
    }
    for name, (entry, words) in runs.items():
        steps = np.arange(2160, 24000 if name.startswith("cos") else 14144, 128)
        rates = build(entry, 24000, warmup=2160, **words).lrs(steps, 3e-4)
        rows = [f"{s},{lr!r},{4 - s / 24000!r}" for s, lr in zip(steps.tolist(), rates.tolist(), strict=True)]
        (folder / f"{name}.csv").write_text("step,lr,loss\n" + "\n".join(rows) + "\n", encoding="utf-8")
    yield tmp_path
    script("forecast_data").multipower.cache_clear()


def test_a_published_curve_is_read_with_its_schedule(written: Path) -> None:
    curves = script("forecast_data").multipower(written, "25M")
    cosine, step = curves["cosine_24000"], curves["wsdcon_9"]
    assert (cosine.steps, step.steps) == (24000, 14065)  # the file's name says the one, its last row the other
    assert cosine.final == pytest.approx(4 - 23920 / 24000)
    for curve in (cosine, step):
        assert np.abs(curve.catalogued().lrs(curve.step, curve.peak) - curve.logged).max() <= 1e-12 * curve.peak
        assert curve.lr[2159] == pytest.approx(3e-4)  # at the end of its warm-up, not one step behind it
        assert curve.lr[1] == pytest.approx(3e-4 / 2159)
    assert step.lr[7999] / step.lr[8000] == pytest.approx(1 / 0.3)


def test_a_folder_without_curves_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="has no multipower/25M"):
        script("forecast_data").multipower(tmp_path, "25M")


def test_a_log_counts_from_one() -> None:
    curve = made_by_law("wsd")
    log = curve.history()
    assert log.eval_step[0] == curve.step[0] + 1
    assert log.eval_loss.tolist() == curve.loss.tolist()
    assert log.lr[log.step == 1501][0] == pytest.approx(curve.lr[1500])


def test_a_branch_is_joined_to_its_trunk() -> None:
    data = script("forecast_data")
    whole = dataclasses.replace(made_by_law("wsd", 6000), begins=4800)
    whole = whole.only(whole.step >= 990)
    early = dataclasses.replace(whole, name="early", begins=1800, loss=whole.loss + 1)
    branch = dataclasses.replace(whole.only(whole.step >= 4800), name="branch")
    joined = data.joined(branch, [early, whole, branch])
    assert joined.step.tolist() == whole.step.tolist()
    assert np.array_equal(joined.loss, whole.loss)  # of two trunks, that which decays later
    only_early = data.joined(branch, [early, branch])
    assert sorted(set(np.diff(only_early.step).tolist())) == [30, 3030]  # none behind the other's decay
    assert data.joined(whole, [early]) is whole
    other = dataclasses.replace(whole, peak=1e-3)
    assert data.joined(branch, [other]).step.tolist() == branch.step.tolist()


def test_points_of_a_shared_trunk_are_known() -> None:
    whole = made_by_law("wsd")
    other = dataclasses.replace(whole, loss=np.where(whole.step < 2000, whole.loss, whole.loss + 0.1))
    assert script("forecast_data").unshared(whole, [other]).tolist() == (whole.step >= 2000).tolist()


# Laws


def test_what_a_law_has_drawn_is_said_by_it() -> None:
    split = made_split("wsd", "cosine", unseen=("steps", "constant"))
    said = script("forecast_ours").ask([split])
    assert not said.beyond
    assert [one.curve for one in said.pairs] == ["steps 3000", "constant 3000"]
    assert max(abs(one.error) for one in said.pairs) < 0.01  # p is not free to be 1: its prior says .5
    assert all(one.holds(0.9) for one in said.pairs)


def test_what_is_too_long_is_refused_and_computed() -> None:
    split = dataclasses.replace(made_split("wsd"), unseen=(made_by_law("wsd", 12000),))
    said = script("forecast_ours").ask([split])
    assert not said.pairs
    assert said.beyond[0].horizon == 4
    assert np.isfinite(said.beyond[0].said).all()


def test_another_peak_is_refused() -> None:
    split = made_split("wsd")
    law, other = script("forecast_ours").fitted(split.fitted), made_by_law("cosine", peak=6e-4)
    with pytest.raises(ValueError, match="another peak"):
        script("forecast_ours").predicted(law, split, other)
    assert script("bench_forecast")._refused(law, split, other)
    assert not script("bench_forecast")._refused(law, split, made_by_law("cosine"))


def test_the_free_fit_finds_the_law_that_drew_the_curves() -> None:
    curve = made_by_law("steps")
    said = script("forecast_peers").free_law([made_by_law("wsd"), made_by_law("cosine")])(curve)
    assert np.abs(said - curve.loss).max() < 5e-3


def test_the_momentum_law_sees_the_schedule_and_the_power_law_does_not() -> None:
    peers, runs = script("forecast_peers"), [made_by_law("wsd"), made_by_law("cosine")]
    high, low = made_by_law("constant"), made_by_law("steps")
    momentum, power, last = (peers.PEERS[name](runs) for name in list(peers.PEERS)[1:])
    assert momentum(high)[-1] > momentum(low)[-1] + 0.02
    assert np.array_equal(power(high), power(low))
    assert set(last(high).tolist()) == {runs[1].final}  # of two as near, the first by name


@pytest.mark.parametrize(("every", "points"), [(2, 45), (4, 23)])
def test_a_thinned_run_keeps_its_end(every: int, points: int) -> None:
    split = made_split("wsd")
    (run,) = script("forecast_ours").thinned(split, every).fitted
    assert (len(run.step), run.step[-1]) == (points, split.fitted[0].step[-1])


def test_less_and_worse_of_a_run() -> None:
    ours, split = script("forecast_ours"), made_split("wsd")
    (half,), (noisy,) = ours.halved(split).fitted, ours.noisy(split, 0.005, 0).fitted
    assert half.step.tolist() == split.fitted[0].step[:45].tolist()
    assert np.std(noisy.loss - split.fitted[0].loss) == pytest.approx(0.005, rel=0.3)
    assert not np.array_equal(noisy.loss, ours.noisy(split, 0.005, 1).fitted[0].loss)


# The report


def test_the_report_says_what_was_found() -> None:
    bench, split = script("bench_forecast"), made_split("wsd", "cosine")
    said = script("forecast_ours").ask([split])
    told = {"made up": bench.scored(said), "calibration": bench.calibration({"made up": said})}
    told["peers"] = {"made up": bench.peers([split], said)}
    text = "\n".join(script("forecast_tables").tell(told))
    assert "| made up, some | 1 |" in text
    assert "| fit_law |" in text
    assert "| power law of steps |" in text
    assert told["peers"]["made up"]["fit_law"]["made up: some"] == pytest.approx(abs(said.pairs[0].error))


def test_goals_that_are_missed_are_said() -> None:
    said = script("forecast_ours").Said(
        [pair(3.0 + i / 10, 3.006 + i / 10, source=size, group=group, fit=f"{size} {group}")
         for size in ("25M", "100M") for group in ("WSD + cosine", "one run that decays") for i in range(3)]
    )  # fmt: skip
    met = {goal: yes for goal, _, _, yes in script("bench_forecast").goals({"25M, 100M": said})}
    assert not met["25M, WSD + cosine: final"]
    assert met["25M, one run that decays: final"]
    assert met["100M, WSD + cosine: rank"]
    assert not met["90 % intervals, all 12 pairs"]  # they hold all


# The published curves


@public
@pytest.mark.parametrize("size", ["25M", "100M"])
def test_the_published_coefficients_give_the_published_digits(size: str) -> None:
    proof = script("forecast_proof")
    found = proof.golden(DATA, sizes=(size,))[size]
    for name, printed in proof.PRINTED[size].items():
        assert f"{found['ours'][name]:.{len(printed) - 2}f}" == printed
    assert found["same"]


@public
def test_the_catalogue_draws_the_logged_rates() -> None:
    proof = script("forecast_proof")
    rates = proof.logged_rates(DATA)
    assert [len(files) for files in rates.values()] == [9, 9]
    assert max(missed for files in rates.values() for missed in files.values()) <= proof.EXACT
    found = proof.formulas(DATA)
    assert {entry: one["runs"] for entry, one in found.items()} == {"wsd": 48, "phases": 12, "one_cycle": 4}
    assert max(one["worst"] for one in found.values()) <= proof.EXACT


@public
def test_all_curves_are_whole() -> None:
    curves = script("forecast_data").second_lab(DATA)
    assert len(curves) == 60
    for curve in curves:
        assert (curve.step[0], curve.step[-1]) == (1000, curve.steps - 200)
        assert (np.diff(curve.step) > 0).all()


@public
def test_nothing_that_was_fitted_is_asked_for() -> None:
    data = script("forecast_data")
    splits = [*data.first_splits(DATA), *data.second_splits(DATA)]
    assert len({split.name for split in splits}) == len(splits) == 64
    for split in splits:
        seen = {(data.shape_of(one), one.steps, one.peak) for one in split.fitted}
        assert not seen & {(data.shape_of(one), one.steps, one.peak) for one in split.unseen}
        assert len({one.peak for one in (*split.fitted, *split.unseen)}) == 1
    assert {split.group for split in splits if len(split.fitted) == 1 and split.fitted[0].source == "124M"} == {
        "15k, one run",
        "15k, one short cooldown",
    }


@public
def test_four_settings_were_run_twice() -> None:
    found = script("bench_forecast").repeats(DATA)["124M, nothing changed"]
    assert len(found) == 4
    assert 0 < max(found) < 0.003  # README of the data: gaps below mean nothing


@public
@pytest.mark.parametrize("size", ["25M", "100M"])
def test_a_wsd_and_a_cosine_run_tell_the_others(size: str) -> None:
    splits = [one for one in script("forecast_data").first_splits(DATA) if (one.source, one.group) == (size, "WSD + cosine")]
    found = script("forecast_score").score(script("forecast_ours").ask(splits).pairs)
    assert found["n"] == 14
    assert found["R2"] >= 0.998
    assert found["final"] <= 0.005
    assert found["rank"] >= 0.96
