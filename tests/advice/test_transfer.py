from __future__ import annotations

import csv
import gzip
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from hf_lrsched import constant, fall, hold, rise, transfer_lr, warmup_cosine, wsd
from hf_lrsched.advice.transfer import TransferredLR, shape_ratio
from hf_lrsched.schedules.schedule import Schedule

DATA = Path(__file__).parents[3] / "shared" / "data"
Setting = tuple[int, str, str, str, str]


def test_a_shape_is_itself_and_a_way_there_is_a_way_back() -> None:
    one, other = wsd(1000), warmup_cosine(1000)
    assert shape_ratio(one, one) == 1.0
    assert shape_ratio(one, other) * shape_ratio(other, one) == pytest.approx(1.0)


def test_the_ratio_does_not_hang_on_the_length_where_every_part_grows_with_it() -> None:
    def ratio(steps: int) -> float:
        warm = steps // 20
        long = rise(warm) >> hold(steps // 2 - warm) >> fall(steps // 2, "linear")
        short = rise(warm) >> hold(steps * 9 // 10 - warm) >> fall(steps // 10, "linear")
        return shape_ratio(long, short)

    assert ratio(1000) == pytest.approx(ratio(40_000), rel=5e-3)


def test_the_more_of_the_run_decays_the_higher_the_peak() -> None:
    ratios = [shape_ratio(constant(1000), wsd(1000, decay=share)) for share in (0.1, 0.2, 0.4, 0.8)]
    assert ratios == sorted(ratios)
    assert ratios[0] > 1


def independent(shape: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    """The bound's f0 and n, written as its sum stands in laws.md section 3.4, and their best peak."""
    eta, total = np.maximum(shape, 1e-9), shape.sum()
    terms = 0.0
    for k in range(len(eta) - 1):
        terms += eta[k] / eta[k + 1 :].sum() * (eta[k:] ** 2).sum() / eta[k:].sum()
    f0, n = 1 / total, (eta**2).sum() / total + terms
    return float(np.sqrt(f0 / n))


def test_the_bound_is_the_one_of_the_paper() -> None:
    def sampled(schedule: Schedule) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        values = np.array([schedule(float(step)) for step in (np.arange(2000) + 0.5) / 2000 * schedule.total])
        return np.asarray(values / values.max())

    for new in (warmup_cosine(1000), constant(1000), wsd(1000, decay=0.6, shape="linear")):
        expected = independent(sampled(new)) / independent(sampled(wsd(1000)))
        assert shape_ratio(wsd(1000), new) == pytest.approx(expected, rel=1e-5)


def logged() -> dict[Setting, dict[float, list[float]]]:
    """Final losses of the published runs, by setting and peak LR."""
    with gzip.open(DATA / "llama_sweep_runs.csv.gz", "rt", encoding="utf-8") as file:
        found: dict[Setting, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
        for row in csv.DictReader(file):
            final = "0.1" if row["cos_final_frac"] == "0.1" else "0"
            key = (int(row["T"]), row["schedule"], final, row["cooldown_frac"], row["cooldown_shape"])
            found[key][float(row["peak_lr"])].append(float(row["final_val_loss"]))
    return found


def best_of(losses: dict[float, list[float]]) -> float:
    """The vertex of the parabola through the lowest point and its neighbours."""
    lrs = np.log(sorted(losses))
    means = np.array([np.mean(losses[lr]) for lr in sorted(losses)])
    at = min(max(int(np.argmin(means)), 1), len(lrs) - 2)
    curve = np.polyfit(lrs[at - 1 : at + 2], means[at - 1 : at + 2], 2)
    return float(np.exp(-curve[1] / 2 / curve[0]))


def schedule_of(setting: Setting) -> Schedule:
    steps, kind, final, share, shape = setting
    if kind == "cos":
        return rise(300, "cosine") >> fall(steps - 300, "cosine", to=float(final))
    decay = int(float(share) * steps)
    return rise(300) >> hold(steps - 300 - decay) >> fall(decay, "linear" if shape == "linear" else "1-sqrt")


@pytest.mark.skipif(not (DATA / "llama_sweep_runs.csv.gz").is_file(), reason="the published 124M runs are not here")
def test_the_best_rates_of_published_runs_carry_over_from_one_of_them() -> None:
    settings = {setting: losses for setting, losses in logged().items() if len(losses) >= 3}
    known = next(setting for setting in settings if setting[:2] == (15_000, "wsd") and setting[3:] == ("0.2", "linear"))
    off = []
    for setting, losses in settings.items():
        told = transfer_lr(best_of(settings[known]), from_=schedule_of(known), to=schedule_of(setting), steps=None)
        off.append(abs(np.log(told / best_of(losses))))
    assert len(off) >= 10
    assert np.exp(np.median(off)) < 1.15  # laws.md section 5: x1.10
    assert np.exp(max(off)) < 1.3  # x1.26


def test_lengths_and_batches_are_powers_of_their_ratios() -> None:
    assert transfer_lr(1e-3, steps=(1000, 2000)) == pytest.approx(1e-3 * 2**-0.3, rel=1e-2)
    assert transfer_lr(1e-3, from_=wsd(1000, warmup="5%"), to=wsd(2000, warmup="5%")) == pytest.approx(
        1e-3 * 2**-0.3, rel=1e-2
    )
    assert transfer_lr(1e-3, batch=4) == transfer_lr(1e-3, batch=(8, 32)) == 2e-3
    assert transfer_lr(1e-3, batch=(8, 32), optimizer="sgd") == 4e-3


def test_the_band_is_wider_to_a_constant_rate_and_beyond_what_was_measured() -> None:
    def width(told: TransferredLR) -> float:
        return told.high / told.low

    assert width(transfer_lr(1e-3, from_="wsd", to="constant")) > width(transfer_lr(1e-3, from_="wsd", to="linear"))
    assert width(transfer_lr(1e-3, from_="wsd", to="power")) > width(transfer_lr(1e-3, from_="wsd", to="linear"))
    assert width(transfer_lr(1e-3, steps=(1000, 100_000))) > width(transfer_lr(1e-3, steps=(1000, 2000)))


def test_it_says_why_and_a_change_of_nothing_changes_nothing() -> None:
    told = transfer_lr(1e-3, from_="wsd", to="cosine", steps=(1000, 2000), batch=(32, 64))
    assert len(told.reasons) == 3
    assert "arXiv 2501.18965" in told.why()
    assert transfer_lr(3e-4) == transfer_lr(3e-4, optimizer="lion") == 3e-4
    assert transfer_lr(3e-4).why() == "nothing changes"


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ({"lr": 0.0}, r"lr=0\.0 must be above 0"),
        ({"lr": "3e-4"}, "lr='3e-4' is not a number"),
        ({"lr": 1e-3, "batch": (0, 4)}, r"batch=\(0, 4\) must be"),
        ({"lr": 1e-3, "to": "cosin", "from_": "wsd"}, "unknown schedule 'cosin'; it is one of"),
        ({"lr": 1e-3, "batch": 2, "optimizer": "muon"}, "how a batch counts under optimizer='muon' is not known"),
        ({"lr": 1e-3, "steps": (1, 100), "to": "wsd"}, "steps=1 must be a whole number, 2 or more"),
        ({"lr": 1e-3, "steps": (-5, 10)}, "steps=-5 must be a whole number, 2 or more"),
        ({"lr": 1e-3, "steps": 0}, "steps=0 must be a whole number, 2 or more"),
        ({"lr": 1e-3, "steps": (1000, 1)}, "steps=1 must be a whole number, 2 or more"),
        ({"lr": 1e-3, "steps": (10, 20, 30)}, "must be one length for both"),
        ({"lr": 1e-3, "batch": 0}, "batch=0 must be"),
    ],
)
def test_what_makes_no_sense_is_refused(typed: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        transfer_lr(typed.pop("lr"), **typed)  # type: ignore[arg-type]  # what is wrong is the point
