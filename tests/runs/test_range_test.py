"""What a range test reads from curves whose answer is known, and when it refuses."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_lrsched import RangeTest
from hf_lrsched.runs.probing import APART, FEWEST, RUNS, Probe, Search, outcomes, peak_of, start_of
from hf_lrsched.runs.ramp import Divergence, Trace, before_divergence, landmarks

LRS = np.geomspace(1e-7, 1, 100)
SIGMA = 0.05


def curve(begins: float = -4.0, blows: float = -1.0, start: float = 4.0, fall: float = 1.8) -> Any:
    """A fall whose middle is at 10^begins, and a blow-up that is as high as the fall at 10^blows."""
    z = np.log10(LRS)
    with np.errstate(over="ignore"):
        return start - fall / (1 + np.exp(-3 * (z - begins))) + fall * np.exp(4.0 * (z - blows))


def ramp(losses: Any, seed: int | None = 0, sigma: float = SIGMA) -> Trace:
    noisy = losses if seed is None else losses + np.random.default_rng(seed).normal(0, sigma, len(losses))
    return Trace(LRS[: len(noisy)], noisy, np.ones(len(noisy)), LRS[: len(noisy)])


def found(losses: Any, *probes: Probe, seed: int | None = 0, sigma: float = SIGMA) -> RangeTest:
    return RangeTest(ramp(losses, seed, sigma), probes, "wsd", 1000, 1e-3, 1e-3)


def runs(
    best: float, start: float = 4.0, width: float = 1.0, around: tuple[float, ...] = (-0.6, -0.3, 0, 0.3, 0.6)
) -> list[Probe]:
    """Short runs around 10^best, as good as one another above it, worse below."""
    return [Probe(10 ** (best + x), 0, np.full(20, start - 1.5 + 1.5 * max(-x, 0) / width), 20) for x in around]


# The ramp


@pytest.mark.parametrize("begins", [-5.0, -4.0, -3.0])
@pytest.mark.parametrize("seed", [None, 0, 1, 2, 3])
def test_the_landmarks_lie_where_they_are(begins: float, seed: int | None) -> None:
    marks = landmarks(ramp(curve(begins, begins + 3), seed))
    assert marks.low is not None
    assert marks.steepest is not None
    assert marks.knee is not None
    assert marks.high is not None
    exact = {"low": begins - 0.73, "steepest": begins, "knee": begins + 0.47, "high": begins + 2.5}  # solved by hand
    for name, at in exact.items():
        assert abs(math.log10(getattr(marks, name)) - at) < (0.25 if seed is None else 0.5), name
    assert marks.low < marks.steepest < marks.knee < marks.high


@given(st.floats(-100, 100), st.floats(0.1, 10))
def test_nothing_depends_on_the_losses_scale_or_sign(shift: float, scale: float) -> None:
    plain, moved = landmarks(ramp(curve())), landmarks(ramp(curve() * scale + shift, sigma=SIGMA * scale))
    for name in ("low", "steepest", "knee", "best", "high"):
        assert getattr(moved, name) == pytest.approx(getattr(plain, name))


def test_an_exponential_mean_would_have_put_the_valley_far_to_the_right() -> None:
    losses = curve(-4, -2)
    mean, ema = 0.0, []
    for i, loss in enumerate(losses):
        mean = 0.98 * mean + 0.02 * loss
        ema.append(mean / (1 - 0.98 ** (i + 1)))
    true, best = LRS[losses.argmin()], landmarks(ramp(losses, None)).best
    assert best == pytest.approx(true, rel=0.4)
    assert LRS[int(np.argmin(ema))] > 5 * true


# Divergence


@pytest.mark.parametrize("shift", [-50.0, 0.0, 50.0])
@pytest.mark.parametrize("seed", range(5))
def test_divergence_is_seen_at_the_blow_up_and_not_before(shift: float, seed: int) -> None:
    losses = ramp(curve(-4, -1) + shift, seed).loss
    end = before_divergence(losses)
    assert -1.3 < math.log10(LRS[end]) < -0.5


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_is_the_end(bad: float) -> None:
    losses = curve().tolist()
    losses[40] = bad
    assert before_divergence(losses) == 40


@pytest.mark.parametrize("sigma", [0.001, 3.0])
def test_noise_alone_is_no_divergence(sigma: float) -> None:
    for seed in range(200):
        rule, rng = Divergence(), np.random.default_rng(seed)
        assert not any(rule(loss) for loss in rng.normal(0, sigma, 100))


def correlated(rng: np.random.Generator) -> Any:
    values = [0.0]
    for noise in rng.normal(0, 1, 99):
        values.append(0.8 * values[-1] + noise)
    return np.array(values)


KINDS: dict[str, Callable[[np.random.Generator], Any]] = {
    "a stream that is not shuffled": correlated,
    "mostly nothing": lambda rng: rng.random(100) * (rng.random(100) > 0.6),
    "in steps of bf16": lambda rng: np.round(rng.normal(3, 0.05, 100) / 0.0625) * 0.0625,
    "a long tail": lambda rng: rng.lognormal(0, 1.5, 100),
}


@pytest.mark.parametrize("kind", KINDS)
def test_noise_of_any_kind_hardly_ever_looks_like_divergence(kind: str) -> None:
    ends = [before_divergence(KINDS[kind](np.random.default_rng(seed))) for seed in range(200)]
    assert sum(end < 100 for end in ends) <= 10


def test_a_loss_that_starts_high_has_to_climb_half_way_back() -> None:
    rule = Divergence()
    falling = [10 - 0.1 * i for i in range(80)]  # 10 to 2.1
    assert not any(rule(loss) for loss in falling)
    climbing = [rule(loss) for loss in np.linspace(2.1, 10, 60)]
    assert 25 < climbing.index(True) < 45


# Short runs


@pytest.mark.parametrize("best", [-3.0, -2.6, -2.2])
def test_the_search_sees_the_best_from_both_sides_within_its_means(best: float) -> None:
    search = Search(ramp(curve(-3.0, 0)), RUNS * 20)
    while (lr := search.next()) is not None:
        x = math.log10(lr) - best
        search.tell(Probe(lr, 0, np.full(20, 3 + x * x), 20))
    seen = outcomes(search.probes)
    assert len(seen) <= RUNS
    assert min(seen) < min(seen, key=lambda one: seen[one])
    assert abs(math.log10(min(seen, key=lambda one: seen[one])) - best) <= math.log10(APART)


def test_a_run_that_diverges_is_worse_than_any_and_seeds_are_averaged() -> None:
    gone = Probe(2.0, 0, np.array([3.0, np.nan]), 10)
    assert gone.final == math.inf
    several = [Probe(1.0, seed, np.full(10, loss), 10) for seed, loss in ((0, 2.0), (1, 4.0))]
    assert outcomes([*several, gone]) == {1.0: 3.0, 2.0: math.inf}
    assert peak_of([*several, gone], 5.0) == pytest.approx(1.0)
    assert peak_of(several, 3.0) is None  # no better than where it began


def test_short_runs_begin_with_the_batches_of_the_ramp_and_are_compared_with_them() -> None:
    losses = curve()
    losses[16:20] += 0.15  # four hard batches
    trace, runs = ramp(losses), [Probe(1e-3, 0, np.full(20, 4.1), 20)]
    marks = landmarks(trace)
    assert start_of(runs, trace, marks) == pytest.approx(4.15, abs=2 * SIGMA / math.sqrt(4))
    assert marks.start == pytest.approx(4.0, abs=SIGMA)
    assert start_of([Probe(1e-3, 1, np.full(20, 4.1), 20)], trace, marks) == marks.start  # in another order
    assert start_of([Probe(1e-3, 0, np.full(90, 4.1), 90)], trace, marks) == marks.start  # where the ramp had learned
    assert RangeTest(trace, tuple(runs), "wsd", 1000, 1e-3, 1e-3).readings[-1] == pytest.approx(1e-3)


@pytest.mark.parametrize("seed", range(8))
def test_a_ramp_that_is_lost_in_noise_still_says_where_it_blows_up_and_the_probes_decide(seed: int) -> None:
    trace = ramp(curve(-4, -1.5, fall=0.3), seed, sigma=0.15)
    search = Search(trace, RUNS * 20)
    assert 10**-2.6 < (search.next() or 0) < 10**-1.5
    while (lr := search.next()) is not None:
        x = math.log10(lr) + 2.5
        search.tell(Probe(lr, 0, trace.loss[:20] - 0.3 + 0.3 * x * x, 20))
    test = RangeTest(trace, tuple(search.probes), "wsd", 1000, 1e-3, 1e-3)
    assert test.lr is not None
    assert abs(math.log10(test.lr) + 2.5) < 0.3
    assert test.confidence in {"high", "medium"}
    alone = RangeTest(trace, (), "wsd", 1000, 1e-3, 1e-3)
    assert alone.refusal is None or alone.refusal.kind == "too_noisy"


def test_too_few_steps_are_no_short_runs() -> None:
    trace = ramp(curve())
    assert Search(trace, RUNS * FEWEST - 1).next() is None
    assert Search(trace, RUNS * FEWEST).steps == FEWEST
    assert Search(trace, RUNS * FEWEST, seeds=2).steps == FEWEST  # a seed costs as much again
    assert Search(ramp(curve()[:2]), 1000).next() is None


# The suggestion


def test_probes_and_ramp_that_agree_make_a_narrow_interval_and_high_confidence() -> None:
    alone, agreed, apart = found(curve()), found(curve(), *runs(-3.5)), found(curve(), *runs(-1.6))
    assert (alone.confidence, agreed.confidence, apart.confidence) == ("low", "high", "low")
    for test in (alone, agreed, apart):
        assert test.lr is not None
        assert test.interval is not None
        assert test.interval[0] < test.lr < test.interval[1]
        assert all(test.interval[0] < one < test.interval[1] for one in test.readings)
    assert agreed.interval is not None
    assert agreed.interval[1] / agreed.interval[0] < 6
    assert math.log10(agreed.lr or 0) == pytest.approx(-3.5, abs=0.2)
    assert str(agreed).startswith(f"learning_rate {agreed.lr:.2g} (")


def flat(value: float = 4.0) -> Any:
    return np.full(100, value)


@pytest.mark.parametrize(
    ("test", "kind", "sentence", "instead"),
    [
        (
            found(flat()),
            "no_descent",
            r"between 1e-07 and 1 the loss never fell .* labels",
            (0.1, 1000),
        ),
        (
            found(flat() + np.exp(4 * (np.log10(LRS) + 3))),
            "too_noisy",
            r"and turned unstable at .*; let short runs",
            None,
        ),
        (found([4.0, math.nan]), "diverged_at_once", "diverged at step 2, at a learning rate of 1.2e-07", (1e-10, 1e-7)),
        (found(curve(-6.6, 0)), "edge", "falls from the first steps on, at 1e-07, so the range begins too high", (1e-10, 1)),
        (found(curve(-0.2, 3)), "edge", "still falls at the end of the range, at 1, .* end at 1e\\+03", (1e-7, 1000)),
        (
            found(flat(), *runs(-3, start=7.0)),
            "too_noisy",
            "that of the short runs .* did not either; take a larger batch",
            None,
        ),
    ],
)
def test_there_is_no_learning_rate_where_nothing_says_so(test: RangeTest, kind: str, sentence: str, instead: Any) -> None:
    assert test.refusal is not None
    assert test.refusal.kind == kind
    assert re.search(sentence, test.refusal.sentence), test.refusal.sentence
    assert (test.lr, test.interval, test.confidence) == (None, None, None)
    assert instead is None or test.refusal.range == pytest.approx(instead)
    assert str(test).startswith("no learning rate (wsd over 1000 steps): ")


def test_updates_that_all_overflow_are_named() -> None:
    nothing = np.array([])
    test = RangeTest(Trace(nothing, nothing, nothing, nothing, skipped=20, stopped=True), (), "wsd", 1000, 1e-3, 1e-3)
    assert test.refusal is not None
    assert "all of 20 updates were skipped" in test.refusal.sentence


def test_of_pure_noise_hardly_any_ramp_has_a_learning_rate() -> None:
    assert sum(found(flat(), seed=seed).lr is not None for seed in range(200)) <= 2


@pytest.mark.parametrize("value", [math.log(2), -3.3, 4.0, 0.1, 1e-8, 10.3761, 0.0])
def test_a_loss_that_never_changes_has_no_learning_rate(value: float) -> None:
    test = found(flat(value), seed=None)
    assert test.refusal is not None
    assert test.refusal.kind == "no_descent"


@pytest.mark.parametrize(
    ("lrs", "sentence"),
    [
        ((0.5, 1.0, 2.0), "still falls at the end of the range"),
        ((1e-9, 3e-9, 1e-8), "lie below the range, which begins at 1e-07"),
    ],
)
def test_a_best_run_beyond_the_range_is_at_its_edge(lrs: tuple[float, ...], sentence: str) -> None:
    falling = lrs if lrs[0] > 1e-3 else lrs[::-1]
    probes = [Probe(lr, 0, np.full(20, 3.0 - 0.3 * i), 20) for i, lr in enumerate(falling)]
    test = found(flat() if lrs[0] < 1e-3 else curve(-0.5, 3), *probes)
    assert test.refusal is not None
    assert test.refusal.kind == "edge"
    assert sentence in test.refusal.sentence


def test_probes_of_a_few_steps_never_make_confidence_high() -> None:
    few = [replace(probe, steps=10, loss=probe.loss[:10]) for probe in runs(-3.5)]
    assert (found(curve(), *runs(-3.5)).confidence, found(curve(), *few).confidence) == ("high", "medium")


def test_a_ramp_that_ended_as_every_update_overflowed_is_unstable_there_and_no_edge() -> None:
    whole = ramp(curve(-1.0, 5.0)[:95])
    assert RangeTest(whole, (), "wsd", 1000, 1e-3, 1e-3).lr_max is None
    test = RangeTest(replace(whole, skipped=20, stopped=True), (), "wsd", 1000, 1e-3, 1e-3)
    assert test.lr_max == pytest.approx(LRS[94])
    assert test.refusal is None


@pytest.mark.parametrize("points", [0, 1, 2, 5, 9])
def test_a_few_points_are_too_few(points: int) -> None:
    test = RangeTest(ramp(flat()[:points]), (), "wsd", 1000, 1e-3, 1e-3)
    assert test.refusal is not None
    assert f"the ramp has only {points} points" in test.refusal.sentence


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"width": 0}, "width=0 must be above 0"),
        ({"tolerance": math.nan}, "tolerance=nan is not a number"),
        ({"tolerance": -0.5}, "tolerance=-0.5 must be"),
        ({"highest": 0}, "highest=0 must be above 0"),
        ({"ramp": replace(ramp(curve()), loss=np.ones(3))}, "a ramp of 100 learning rates needs as many losses"),
        ({"ramp": replace(ramp(curve()), lr=-LRS)}, "must be above 0 and rise"),
    ],
)
def test_settings_and_points_that_cannot_be_are_refused(words: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        replace(found(curve()), **words)


# Files


@pytest.mark.parametrize("test", [found(curve(), *runs(-3)), found(np.append(curve()[:60], [math.inf, math.nan]))])
def test_a_file_gives_it_back_and_can_be_read_otherwise(test: RangeTest, tmp_path: Path) -> None:
    file = test.save(tmp_path / "new" / "test.json")
    assert [path.name for path in file.parent.iterdir()] == ["test.json"]
    again = RangeTest.load(file)
    assert again.to_dict() == test.to_dict()
    assert again.lr == test.lr
    assert np.array_equal(again.ramp.loss, test.ramp.loss, equal_nan=True)
    json.loads(file.read_text(), parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    other = again.reread(width=0.5, tolerance=0.3)
    assert other.readings != again.readings
    assert again.reread().to_dict() == test.to_dict()


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"ramp": {"lr": 3}}', json.dumps({**found(curve()).to_dict(), "steps": "x"})]
)
def test_a_file_that_is_none_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ValueError, match=r"x\.json"):
        RangeTest.load(tmp_path / "x.json")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        RangeTest.load(tmp_path / "none.json")
