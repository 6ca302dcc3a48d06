"""The laws against sums written out step by step, their slopes, and what the published coefficients say."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_lrsched import constant, one_cycle, step_decay, warmup_cosine, wsd
from hf_lrsched.runs.forecast.laws import Points, momentum, multi_power, named, vector
from hf_lrsched.runs.forecast.path import FLOOR, LRPath
from hf_lrsched.runs.forecast.prior import PUBLISHED, PUBLISHED_PEAK

Floats = npt.NDArray[np.float64]
SCHEDULES = {
    "wsd": wsd(120, warmup=10),
    "cosine": warmup_cosine(120, warmup=10, min_lr_ratio=0.1),
    "one_cycle": one_cycle(120),
    "steps": step_decay(120, warmup=5),
    "constant": constant(120, warmup=7),
}
every_schedule = pytest.mark.parametrize("name", SCHEDULES)


def by_hand(c: dict[str, float], lrs: Floats, peak: float, done: int) -> float:
    """The multi-power law as laws.md section 3.1 writes it, with the two exponents, one step at a time."""
    u = np.maximum(lrs / peak, FLOOR)
    moved, lr = peak * u ** c["p"], peak * u
    moved[u <= FLOOR] = lr[u <= FLOOR] = 0.0
    drop, before = 0.0, 0.0
    for k in range(done):
        since = lr[k:done].sum()
        x = c["C"] * (u[k] * peak) ** -c["gamma"] * since
        drop += (before - u[k] ** c["q"]) * (1.0 - (1.0 + x) ** -c["beta"])
        before = u[k] ** c["q"]
    return c["L0"] + c["A"] * moved[:done].sum() ** -c["alpha"] - c["B"] * peak * drop  # type: ignore[no-any-return]  # numpy's


def momentum_by_hand(theta: Floats, lrs: Floats, decay: float, done: int) -> float:
    """The momentum law by its recursion."""
    floor, ln_a, ln_alpha, ln_drop = theta
    m, total, before = 0.0, 0.0, 0.0
    for lr in np.maximum(lrs[:done], 0.0):
        m = decay * m + (before - lr)
        total += m
        before = lr
    drop = math.exp(ln_drop) * (1 - decay) / 3e-4 * total
    return float(floor + math.exp(ln_a) * lrs[:done].sum() ** -math.exp(ln_alpha) - drop)


@every_schedule
@pytest.mark.parametrize(("p", "q"), [(1.0, 1.0), (0.5, 1.0), (0.7, 0.9)])
def test_the_multi_power_law_is_the_sum_over_all_steps(name: str, p: float, q: float) -> None:
    c = {**PUBLISHED["25M"], "p": p, "q": q}
    lrs = SCHEDULES[name].lrs(120, 3e-4)
    points = Points(LRPath.of(lrs, 3e-4, most=None), np.array([30.0, 77.0, 120.0]))
    losses, _ = multi_power(vector(c, 3e-4), points)
    assert losses == pytest.approx([by_hand(c, lrs, 3e-4, done) for done in (30, 77, 120)], rel=1e-12)


@every_schedule
def test_the_momentum_law_is_its_recursion(name: str) -> None:
    theta = np.array([3.0, -0.5, -0.7, -2.0])
    lrs = SCHEDULES[name].lrs(120, 3e-4)
    losses, _ = momentum(theta, Points(LRPath.of(lrs, 3e-4, most=None), np.array([30.0, 120.0])), 0.98)
    # The recursion counts a fall from the step after it on, the closed form from the step itself: one step of it apart.
    assert losses == pytest.approx([momentum_by_hand(theta, lrs, 0.98, done) for done in (30, 120)], rel=1e-6)


@every_schedule
@given(st.floats(0.2, 1.2), st.floats(0.6, 1.1), st.floats(0.3, 0.9))
def test_slopes_are_those_of_the_losses(name: str, p: float, q: float, gamma: float) -> None:
    theta = np.array([2.9, -0.6, -0.8, -2.1, 0.7, -0.5, gamma, p, q])
    points = Points(LRPath.of(SCHEDULES[name].lrs(120, 3e-4), 3e-4), np.array([20.0, 60.0, 120.0]))
    _, slopes = multi_power(theta, points)
    for i, step in enumerate(1e-5 * np.eye(len(theta))):
        measured = (multi_power(theta + step, points)[0] - multi_power(theta - step, points)[0]) / 2e-5
        assert slopes[:, i] == pytest.approx(measured, rel=1e-4, abs=1e-7)
    theta = theta[:4]
    _, slopes = momentum(theta, points, 0.99)
    for i, step in enumerate(1e-5 * np.eye(4)):
        measured = (momentum(theta + step, points, 0.99)[0] - momentum(theta - step, points, 0.99)[0]) / 2e-5
        assert slopes[:, i] == pytest.approx(measured, rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("name", ["wsd", "cosine", "constant"])
def test_stretches_are_as_good_as_single_steps(name: str) -> None:
    made = {"wsd": wsd(20_000), "cosine": warmup_cosine(20_000), "constant": constant(20_000, warmup=500)}[name]
    theta, lrs = vector(PUBLISHED["100M"], 3e-4), made.lrs(20_000, 3e-4)
    at = np.array([2000.0, 17_000.0, 20_000.0])
    alone = [multi_power(theta, Points(LRPath.of(lrs, 3e-4, most=None), at[i : i + 1]))[0][0] for i in range(3)]
    assert multi_power(theta, Points(LRPath.of(lrs, 3e-4), at))[0] == pytest.approx(alone, abs=2e-4)
    assert len(LRPath.of(lrs, 3e-4).start) < 3000


def test_steps_at_zero_change_nothing() -> None:
    for made in (wsd(1000), constant(1000, warmup=50)):
        lrs = np.append(made.lrs(1000, 3e-4), np.zeros(1000))
        theta = vector({**PUBLISHED["25M"], "p": 0.5}, 3e-4)
        losses, slopes = multi_power(theta, Points(LRPath.of(lrs, 3e-4), np.array([1000.0, 1001.0, 2000.0])))
        assert losses[1:] == pytest.approx(losses[0], abs=1e-9)
        assert np.isfinite(slopes).all()


def test_a_vector_and_its_names_are_the_same() -> None:
    assert named(vector(PUBLISHED["25M"], PUBLISHED_PEAK), PUBLISHED_PEAK) == pytest.approx(
        {**PUBLISHED["25M"], "p": 1, "q": 1}
    )


DATA = Path(__file__).parents[4] / "shared" / "data" / "multipower"


@pytest.mark.skipif(not DATA.is_dir(), reason="the public curves of the multi-power law are not here")
@pytest.mark.parametrize(("size", "printed"), [("25M", (0.9988, 0.00376)), ("100M", (0.9983, 0.00435))])
def test_published_coefficients_give_the_published_figures(size: str, printed: tuple[float, float]) -> None:
    r2, mae = [], []
    for name in ("constant_72000", "cosine_72000", "wsd_20000_24000", "wsdld_20000_24000", "wsdcon_3", "wsdcon_18"):
        table = np.genfromtxt(DATA / size / f"{name}.csv", delimiter=",", names=True)
        step, loss = table["step"], table["loss"]
        lrs = np.interp(np.arange(step[-1] + 1), step, table["lr"])
        if name.startswith("wsdcon"):
            lrs = np.where(np.arange(step[-1] + 1) < 8000, 3e-4, table["lr"][-1])
        lrs[:2160] = np.linspace(0, 3e-4, 2160)  # the warm-up is not in the file
        points = Points(LRPath.of(lrs, 3e-4), step + 1.0)
        off = multi_power(vector(PUBLISHED[size], 3e-4), points)[0] - loss
        r2.append(1 - (off @ off) / ((loss - loss.mean()) ** 2).sum())
        mae.append(abs(off).mean())
    assert (round(float(np.mean(r2)), 4), round(float(np.mean(mae)), 5)) == printed
