"""What holds for every rule that is listed. A new one is tested by being listed."""

from __future__ import annotations

import dataclasses
import math
import pickle
import time
from typing import Any

import numpy as np
import pytest

from hf_lrsched import CATALOGUE, build
from hf_lrsched.runs.diagnosis import RULES, SYMPTOMS, Diagnosis, Finding, Rule, Setting, diagnose, points
from hf_lrsched.runs.history import Event, History

from .curves import PEAK, STEPS, falling, findings, history, logged, under
from .test_another_schedule import SCHEDULES, paced
from .test_overfitting import turning
from .test_plateau import stops

COSINE = build("warmup_cosine", STEPS)
RNG = np.random.default_rng(7)


def broken(at: int = 600) -> list[float]:
    """A loss that is NaN from a step on."""
    return [*falling(STEPS)[:at], *[math.nan] * (STEPS - at)]


def with_norms(losses: list[float], norm: float = 1.0) -> History:
    rows = [{"step": i, "loss": loss, "lr": PEAK, "grad_norm": norm} for i, loss in enumerate(losses, start=1)]
    return History.of(rows, source="lr_history.jsonl")


def with_skips() -> History:
    rows = [{"step": i, "loss": loss, "lr": PEAK, "skipped": i > 300} for i, loss in enumerate(falling(), start=1)]
    return History.of(rows, source="lr_history.jsonl")


SPIKED = [*falling()[:700], 40.0, 30.0, 20.0, *falling()[703:]]
CLIMBS = [*falling()[:200], *np.linspace(2.5, 9.0, STEPS - 200).tolist()]
TINY = {"per_device_train_batch_size": 1, "max_steps": STEPS}
ODD: dict[str, History] = {
    "empty": History.of([]),
    "one point": history([3.0]),
    "two points": history([3.0, math.nan]),
    "evaluations alone": History.of([{"step": step, "eval_loss": loss} for step, loss in turning().items()]),
    "no LR": history(falling(), math.nan),
    "LR 0": history(falling(), 0.0),
    "LR infinite": history(falling(), math.inf),
    "LR negative": history(falling(), -1.0),
    "NaN": history([math.nan] * STEPS),
    "infinite": history([math.inf] * STEPS),
    "minus infinite": history([-math.inf] * STEPS),
    "NaN here and there": history([math.nan if i % 3 else loss for i, loss in enumerate(falling())]),
    "huge": history([1e300 * loss for loss in falling()]),
    "tiny": history([1e-300 * loss for loss in falling()]),
    "negative": history([loss - 10 for loss in falling()]),
    "constant": history([2.0] * STEPS),
    "zero": history([0.0] * STEPS),
    "alternating": history([1.0, 5.0] * (STEPS // 2)),
    "steps that start late": History.of([{"step": 10**9 + i, "loss": x, "lr": PEAK} for i, x in enumerate(falling())]),
    "norms not finite": with_norms(falling(), math.inf),
    "odd arguments": history(
        falling(), arguments={"max_steps": "many", "learning_rate": "5e-5", "gradient_accumulation_steps": None}
    ),
    "schedule of another length": under(build("wsd", 50), falling()),
    "hardly falls": under(COSINE, falling(start=5.0, end=4.95, noise=0.02)),
    "peak below the floor": under(COSINE.with_floor(PEAK), falling(), peak=(PEAK / 10,)),
}
FAULTY: dict[str, History] = {
    "NaN": history(broken()),
    "spike": under(COSINE, SPIKED),
    "climbs": under(COSINE, CLIMBS),
    "no gradient": with_norms(falling(), 0.0),
    "skipped": with_skips(),
    "overfits": under(COSINE, falling(), evaluations=turning()),
    "stops": history(stops(), arguments={"max_steps": 4000}),
    "tiny batch": history(falling(noise=1.0), arguments=TINY),
    "twice": paced(SCHEDULES["wsd"], 2),
    "twice in a log": logged(paced(SCHEDULES["wsd"], 2), 10),
}
every_case = pytest.mark.parametrize("name", [*ODD, *FAULTY])


def case(name: str) -> History:
    return ODD[name] if name in ODD else FAULTY[name]


def until(run: History, step: int) -> History:
    """What the file of the run held at `step`."""
    n, m = int((run.step <= step).sum()), int((run.eval_step <= step).sum())
    columns = {
        one: getattr(run, one)[:n] for one in ("step", "loss", "lr", "grad_norm", "momentum", "tokens", "skipped", "logged")
    }
    return dataclasses.replace(
        run,
        **columns,
        phase=run.phase[:n],
        eval_step=run.eval_step[:m],
        eval_loss=run.eval_loss[:m],
        events=tuple(event for event in run.events if event.step < step),
    )


class Early(Diagnosis):
    """What is found before it is known that no more points come."""

    def over(self) -> list[Finding]:
        return []


def seen(run: History, setting: Setting) -> list[Finding]:
    """As a run that is watched is shown: point by point, evaluations and events in between."""
    watched = Early(setting)
    evaluations = dict(zip(run.eval_step.tolist(), run.eval_loss.tolist(), strict=True))
    told: list[Finding] = []
    for point in points(run):
        for step in [step for step in evaluations if step < point.step]:
            told += watched.evaluated(step, evaluations.pop(step))
        for event in [event for event in run.events if event.step == point.step - 1]:
            watched.happened(event)
        told += watched.see(point)
    for step, loss in evaluations.items():
        told += watched.evaluated(step, loss)
    assert watched.findings == told
    return told


@every_case
def test_nothing_raises_and_a_finding_says_something(name: str) -> None:
    for one in findings(case(name)):
        assert one.symptom in SYMPTOMS
        assert one.cause == one.cause.lower()
        assert one.confidence in ("high", "medium", "low")
        assert min(map(len, (one.cause, one.title, one.evidence, one.advice))) > 3
        assert not one.title.endswith(".")
        assert "  " not in one.title + one.evidence + one.advice
        assert one.since <= one.step
        assert one.factor is None or 0 < one.factor < math.inf


@pytest.mark.parametrize("name", FAULTY)
def test_a_fault_is_found(name: str) -> None:
    assert any(one.attention for one in findings(FAULTY[name]))


@every_case
def test_what_is_found_rests_on_what_came_before(name: str) -> None:
    run = case(name)
    setting = Setting.of(run)
    whole = seen(run, setting)
    for step in (20, 100, 333, 700):
        assert seen(until(run, step), setting) == [one for one in whole if one.step <= step]


@every_case
def test_a_run_that_is_watched_and_its_file_are_told_the_same(name: str) -> None:
    run = case(name)
    live, offline = seen(run, Setting.of(run)), diagnose(run)
    assert offline[: len(live)] == live


@every_case
def test_nothing_is_said_twice(name: str) -> None:
    said = [(one.symptom, one.cause, one.step) for one in findings(case(name))]
    assert len(said) == len(set(said))


@pytest.mark.parametrize("every", [0, 10])
@pytest.mark.parametrize("noise", [0.01, 0.3])
@pytest.mark.parametrize("name", CATALOGUE)
def test_a_healthy_run_needs_no_attention(name: str, noise: float, every: int) -> None:
    run = under(SCHEDULES[name], falling(noise=noise, seed=3), evaluations=turning(STEPS))
    told = findings(logged(run, every) if every else run)
    assert [one for one in told if one.attention] == []


@pytest.mark.parametrize("name", CATALOGUE)
def test_nor_does_a_file_of_a_run_that_goes_on(name: str) -> None:
    run = under(SCHEDULES[name], falling(noise=0.05, seed=4), evaluations=turning(STEPS))
    for step in (1, 2, 5, 20, 100, 500):
        assert [one for one in findings(until(run, step)) if one.attention] == []


@pytest.mark.parametrize("kind", ["resume", "cooldown", "checkpoint"])
def test_nor_does_one_in_which_something_happened(kind: str) -> None:
    run = under(COSINE, falling(), events=[Event(500, kind)])
    assert [one for one in findings(run) if one.attention] == []


def told(run: History) -> list[tuple[Any, ...]]:
    return [(one.symptom, one.cause, one.step, one.since, one.attention) for one in findings(run)]


@pytest.mark.parametrize("times", [1024.0, 2.0**-10])  # powers of 2, so that no rounding differs
@pytest.mark.parametrize("name", FAULTY)
def test_the_unit_of_the_loss_does_not_matter(name: str, times: float) -> None:
    run = FAULTY[name]
    assert told(dataclasses.replace(run, loss=run.loss * times, eval_loss=run.eval_loss * times)) == told(run)


@pytest.mark.parametrize("rule", RULES)
def test_memory_is_bounded(rule: type[Rule]) -> None:
    sizes = []
    long = build("wsd", 10**6, warmup=100)
    one, about = rule(), Diagnosis(Setting(steps=10**6, schedule=long, peak=(PEAK,)), [])
    about._rules = [one]  # this very one is weighed below
    at = points(under(long, falling(4000)))
    for i, point in enumerate(at):
        about.see(point)
        if i % 20 == 0:
            about.evaluated(point.step, point.loss)
        if i in (1999, 3999):
            sizes.append(len(pickle.dumps(one)))
    assert sizes[1] <= 1.2 * sizes[0] + 1000
    assert sizes[1] < 60_000


def test_all_together_are_cheap() -> None:
    at = points(under(COSINE, falling(), evaluations=turning()))
    costs = []
    for rules in (RULES, ()):
        best = math.inf
        for _ in range(3):
            about = Diagnosis(Setting.of(under(COSINE, falling())), rules)
            begun = time.process_time()
            for point in at:
                about.see(point)
            best = min(best, (time.process_time() - begun) / len(at))
        costs.append(best)
    assert costs[0] - costs[1] < 100e-6  # a step of a run takes milliseconds, and the machine may be busy
