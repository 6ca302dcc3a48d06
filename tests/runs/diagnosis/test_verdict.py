"""What a curve says of its learning rate: each sign, and what only looks like it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_lrsched.runs.diagnosis.progress import _TITLES
from hf_lrsched.runs.diagnosis.verdict import LIMITS, Known, Verdict, verdict

from .curves import falling
from .test_shape import shaped

STEPS = 2000
AT = np.arange(STEPS)
SCRATCH: dict[str, Any] = {"untrained": True}


def told(curve: Any, *, done: float = 1.0, steps: int = STEPS, **known: Any) -> Verdict | None:
    losses = np.asarray(curve, dtype=np.float64)
    return verdict(shaped(losses.tolist()), Known(done, steps, **{**SCRATCH, **known}))


def sign(curve: Any, **known: Any) -> tuple[str, str] | None:
    found = told(curve, **known)
    return None if found is None else (found.lr, found.sign)


def noise(sigma: float = 0.01, seed: int = 0, steps: int = STEPS) -> Any:
    return np.random.default_rng(seed).normal(0, sigma, steps)


def level(share: float, over: float = 5.0, sigma: float = 0.001, start: float = 3.0) -> Any:
    """Down to that share of the first loss within a few times `over` steps, and flat from there."""
    return start * (share + (1 - share) * np.exp(-AT / over)) + noise(sigma)


def line(share: float, sigma: float = 0.005, steps: int = STEPS) -> Any:
    """Along a straight line to that share of the first loss."""
    return 3.0 * (1 - (1 - share) * np.arange(steps) / steps) + noise(sigma, steps=steps)


def thrown(height: float, at: int = 1, then: float = 0.5, over: float = 30.0) -> Any:
    """`height` times the first loss a few steps from the start, and down from there."""
    curve = level(then)
    curve[at:] += 3.0 * (height - curve[at] / 3.0) * np.exp(-(AT[at:] - at) / over)
    return curve


def rose(to: float) -> Any:
    """Up to so many times the first loss within 30 steps, and there to the end."""
    return 3.0 * (1 + (to - 1) * np.minimum(AT / 30, 1)) + noise()


SIGNS: dict[str, tuple[Any, dict[str, Any], tuple[str, str]]] = {
    "jump": (thrown(80.0), {}, ("too high", "jump")),
    "a jump, half of which is there again": (thrown(80.0, at=20), {}, ("too high", "jump")),
    "rise": (rose(1.3), {}, ("too high", "rise")),
    "a larger rise that is half gone": (thrown(1.5, at=5, then=0.7), {}, ("too high", "rise")),
    "a rise that ends where it began": (thrown(1.3, at=5, then=0.99), {}, ("unknown", "stopped")),
    "the same far beyond": (thrown(1.3, at=5, then=0.99), {"beyond": True}, ("too high", "rise")),
    "dead": (np.concatenate([[3.0, 2.5], np.full(STEPS - 2, 2.302585)]), {}, ("too high", "dead")),
    "stopped": (level(0.85), {}, ("unknown", "stopped")),
    "stopped, far beyond": (level(0.85), {"beyond": True}, ("too high", "stopped")),
    "stuck": (level(0.6), {}, ("too high", "stuck")),
    "hardly moved": (line(0.97), {"done": 0.1}, ("too low", "hardly moved")),
    "hardly moved to the end": (line(0.9), {}, ("too low", "hardly moved")),
    "did not move at all": (np.full(STEPS, 3.0) + noise(), {"done": 0.1}, ("too low", "hardly moved")),
    "still falling": (line(0.4), {}, ("too low", "still falling")),
    "straight": (line(0.7), {"constant": False}, ("too low", "straight")),
}


@pytest.mark.parametrize("name", SIGNS)
def test_a_sign(name: str) -> None:
    curve, known, expected = SIGNS[name]
    assert sign(curve, **known) == expected


@pytest.mark.parametrize("name", SIGNS)
def test_a_verdict_says_by_how_much_and_what_was_seen(name: str) -> None:
    curve, known, (lr, seen) = SIGNS[name]
    found = told(curve, **known)
    assert found is not None
    assert seen in _TITLES
    assert any(letter.isdigit() for letter in found.evidence)
    assert (found.factor is None) == (lr == "unknown")
    if found.factor is not None:
        assert (found.factor > 1) == (lr == "too low")
    else:
        assert found.confidence == "low"


NEAR: dict[str, tuple[Any, dict[str, Any]]] = {
    "a healthy curve": (falling(STEPS), {}),
    "the same at a tenth": (falling(STEPS), {"done": 0.1}),
    "a jump that is no further than good runs go": (thrown(15.0, over=5), {}),
    "one loss that is high, and not one of the first": (np.where(AT == 30, 90.0, level(0.3, over=40)), {}),
    "a rise that came back": (thrown(1.8, at=5, then=0.3), {}),
    "a rise within the noise": (level(0.95, over=1e9, sigma=0.3) + noise(0.3, 1), {"done": 0.1}),
    "fallen far, and flat": (level(0.3), {}),
    "fallen half, and flat": (level(LIMITS.left - 0.01), {}),
    "four fifths left of 500 steps, and slowly on": (
        3.0 * (1 - 0.1 * np.log1p(AT[:500] / 5) / 3),
        {"done": 0.3, "steps": 500},
    ),
    "hardly moved in few steps": (line(0.92, steps=60), {"steps": 60, "done": 0.1}),
    "a tenth gone in 500 steps": (line(0.88, steps=500), {"steps": 500, "done": 0.1}),
    "still falling, while the rate decays": (line(0.4), {"constant": False}),
    "still falling at a third": (line(0.4), {"done": 0.3}),
    "straight at a third": (line(0.6), {"done": 0.3}),
    "straight, and trained before": (line(0.9), {"untrained": False}),
    "straight in a hundred steps": (line(0.63, steps=100), {"steps": 100, "constant": False}),
    "bends": (3.0 * (0.7 + 0.3 * np.exp(-AT / 400)) + noise(), {"untrained": False}),
    "straight within its noise": (line(0.995, sigma=0.1), {"untrained": False}),
}


@pytest.mark.parametrize("name", NEAR)
def test_what_only_looks_like_one(name: str) -> None:
    curve, known = NEAR[name]
    assert sign(curve, **known) is None


@pytest.mark.parametrize(
    "name", [name for name, (_, _, (_, seen)) in SIGNS.items() if seen in ("dead", "stuck", "still falling")]
)
def test_how_far_a_loss_has_come_is_asked_of_an_untrained_model_alone(name: str) -> None:
    curve, known, _ = SIGNS[name]
    assert sign(curve, **{**known, "untrained": False}) is None


@pytest.mark.parametrize("share", [0.95, 0.9, 0.85, 0.8])
def test_a_fine_tuning_that_takes_off_little_at_once_is_healthy(share: float) -> None:
    assert [sign(level(share, over), done=done, untrained=False) for over in (5, 50, 300) for done in (0.1, 1.0)] == [
        None
    ] * 6


@pytest.mark.parametrize("sigma", [0.05, 0.1, 0.2, 0.3])
def test_a_first_batch_that_is_low_by_chance_was_not_thrown_up(sigma: float) -> None:
    """A batch of 1: the loss of a healthy fine-tuning goes beyond its first value by the noise of a single batch."""
    for seed in range(10):
        rng = np.random.default_rng(seed)
        curve = 2.0 * (0.93 + 0.07 * np.exp(-AT / 200)) * (1 + rng.normal(0, sigma, STEPS))
        assert sign(curve, untrained=False) is None


@pytest.mark.parametrize(("height", "factor"), [(1.3, 0.1), (5.0, 0.1)])
def test_a_pretrained_model_that_was_thrown_up(height: float, factor: float) -> None:
    found = told(rose(height), untrained=False)
    assert found is not None
    assert (found.lr, found.factor) == ("too high", factor)


def test_before_a_tenth_of_the_run_nobody_has_come_far() -> None:
    assert sign(line(0.97), done=0.08) is None
    assert sign(level(0.6), done=0.08) is None
    assert sign(rose(1.3), done=0.01) == ("too high", "rise")


def test_a_loss_that_hides_in_its_noise_waits_for_the_end() -> None:
    hidden = np.full(STEPS, 3.0) + noise(0.3)
    assert sign(hidden, done=0.3) is None
    assert sign(hidden) == ("unknown", "hardly moved")


LIMIT: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "jump": (thrown(LIMITS.jump * 1.1, over=5), thrown(LIMITS.jump * 0.9, over=5), {}),
    "rise": (rose(LIMITS.rise + 0.02), rose(LIMITS.rise - 0.02), {}),
    "rose": (thrown(LIMITS.rose + 0.1, at=5, then=0.6, over=2), thrown(LIMITS.rose - 0.1, at=5, then=0.6, over=2), {}),
    "stuck": (level(LIMITS.left + 0.02), level(LIMITS.left - 0.02), {}),
    "hardly": (line(LIMITS.hardly + 0.02), line(LIMITS.hardly - 0.06), {"done": 0.1}),
}


@pytest.mark.parametrize("name", LIMIT)
def test_a_limit_from_both_sides(name: str) -> None:
    beyond, within, known = LIMIT[name]
    seen = {"rose": "rise", "hardly": "hardly moved"}.get(name, name)
    found = told(beyond, **known)
    assert found is not None
    assert found.sign == seen
    found = told(within, **known)
    assert found is None or found.sign != seen


@pytest.mark.parametrize("name", SIGNS)
@settings(max_examples=5, deadline=None)
@given(st.integers(-20, 20))
def test_the_unit_of_the_loss_does_not_matter(name: str, power: int) -> None:
    curve, known, expected = SIGNS[name]
    assert sign(2.0**power * np.asarray(curve), **known) == expected


@pytest.mark.parametrize("done", [0.1, 0.3, 1.0])
@pytest.mark.parametrize("sigma", [0.0, 0.02, 0.2])
@pytest.mark.parametrize("bend", [0.3, 0.5, 1.0])
def test_healthy_curves_of_every_bend_and_noise(done: float, sigma: float, bend: float) -> None:
    """Power laws as long as the run, of which a share is seen."""
    whole = 8.0 * (1 + AT / 4) ** -bend + 1.5
    seen = whole[: int(done * STEPS)]
    assert sign(seen + noise(sigma, steps=len(seen)), done=done, steps=10 * len(seen)) is None


def test_a_spike_is_no_verdict() -> None:
    spiked = np.asarray(falling(STEPS))
    spiked[700:703] = 400.0
    assert sign(spiked) is None
    assert not math.isnan(shaped(spiked.tolist()).noise)
