"""What the diagnosis is scored with: the peers' rules on curves made by hand, and the runs that were recorded for it."""

from __future__ import annotations

import importlib
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hf_lrsched.schedules.catalogue import CATALOGUE

SCRIPTS = Path(__file__).parents[1] / "scripts"
FALLING = 2.0 + 2.0 * np.exp(-np.arange(1000) / 100)


@pytest.fixture(autouse=True)
def _scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))


def script(name: str) -> Any:
    return importlib.import_module(name)


def curve(loss: Any, **words: Any) -> Any:
    """A curve with a loss at every step."""
    values = np.array(loss, dtype=np.float64)
    told = {"step": np.arange(len(values), dtype=np.float64), "loss": values, "total": len(values), **words}
    return script("diagnosis_curve").Curve(**told)


def epochs(train: Any, held_out: Any | None = None) -> Any:
    """A falling curve with evaluations every 100 steps, the first before training."""
    losses = np.array(train, dtype=np.float64)
    held = losses if held_out is None else np.array(held_out, dtype=np.float64)
    at = 100.0 * np.arange(len(losses))
    return curve(FALLING[: 100 * (len(losses) - 1)], epoch=at, train=losses, held_out=held)


def changed(base: Any, at: Any, value: float) -> Any:
    changed = np.array(base, dtype=np.float64)
    changed[at] = value
    return changed


def noisy(size: int = 400) -> Any:
    return 2.0 + 0.1 * np.sin(np.arange(size))


EPOCHS = [4, 3, 2.5, 2.2, 2.1, 2.05, 2.02, 2.01, 2.005]
RISING = [4, 3, 2, 1, 1, 2, 3, 4, 5]
NORM = changed(1.0 + 0.1 * np.sin(np.arange(1000)), 500, 9.0)

# A rule, what makes it fire and at which step first, and what it passes over. Built when they are asked for.
PEERS: dict[str, tuple[Any, int, Any]] = {
    "SageMaker LossNotDecreasing, 10 steps": (lambda: curve(changed(FALLING, 500, 9.0)), 500, lambda: curve(FALLING)),
    "SageMaker LossNotDecreasing, 500 steps": (
        lambda: curve(changed(FALLING, 500, 9.0)),
        500,
        lambda: curve(changed(FALLING, 499, 9.0)),
    ),
    "SageMaker ExplodingTensor": (lambda: curve(changed(FALLING, 7, math.inf)), 7, lambda: curve(1e9 * FALLING)),
    "SageMaker Overfit": (
        lambda: epochs(EPOCHS, np.array(EPOCHS) * 1.2),
        100,
        lambda: epochs(EPOCHS, changed(EPOCHS, 4, 9.0)),
    ),
    "UMLAUT LR > 0.01": (lambda: curve(FALLING, lr=0.02), 0, lambda: curve(FALLING, lr=0.01)),
    "UMLAUT LR < 1e-7": (lambda: curve(FALLING, lr=9e-8), 0, lambda: curve(FALLING, lr=1e-7)),
    "UMLAUT overfit": (lambda: epochs(EPOCHS, changed(EPOCHS, 4, 9.0)), 400, lambda: epochs(RISING)),
    "AutoTrainer explode": (lambda: epochs(changed(EPOCHS, 2, 1000.0)), 200, lambda: epochs(changed(EPOCHS, 2, 999.0))),
    "BTTackler EG": (lambda: epochs(changed(EPOCHS, 2, math.nan)), 200, lambda: epochs(changed(EPOCHS, 2, 1e9))),
    "BTTackler HO": (lambda: epochs(RISING), 700, lambda: epochs(EPOCHS)),
    "BTTackler SC": (lambda: epochs([2.0] * 9), 300, lambda: epochs(EPOCHS)),
    "BTTackler NMG": (lambda: epochs(RISING), 700, lambda: epochs(EPOCHS)),
    "LLM Foundry": (
        lambda: curve(changed(noisy(), slice(300, 310), 4.5)),
        304,
        lambda: curve(changed(noisy(), slice(300, 304), 4.5)),
    ),
    "OLMo-core 6 sigma": (lambda: curve(changed(noisy(), 300, 3.0)), 300, lambda: curve(changed(noisy(), 127, 3.0))),
    "OLMo-core 6 sigma, often": (
        lambda: curve(changed(noisy(), 300, 3.0)),
        300,
        lambda: curve(changed(noisy(3000), 2500, 3.0)),
    ),
    "OLMo-core 6 sigma, grad norm": (
        lambda: curve(FALLING, norm=NORM),
        500,
        lambda: curve(changed(FALLING, 500, 9.0), norm=changed(NORM, 500, 1.0)),
    ),
    "Lightning Fabric": (
        lambda: curve(changed(noisy(), 300, 6.5)),
        300,
        lambda: curve(changed(noisy(), 300, 5.5)),
    ),
    "Megatron 10x": (lambda: curve(changed(noisy(), 300, 22.0)), 300, lambda: curve(changed(noisy(), 50, 22.0))),
    "axolotl": (
        lambda: curve(changed(noisy(), slice(300, 303), 4.1)),
        302,
        lambda: curve(changed(noisy(), slice(300, 302), 4.1)),
    ),
    "Composer NaN": (lambda: curve(changed(FALLING, 7, math.nan)), 7, lambda: curve(changed(FALLING, 7, math.inf))),
    "Keras NaN": (lambda: curve(changed(FALLING, 7, math.inf)), 7, lambda: curve(1e9 * FALLING)),
    "ZClip": (lambda: curve(FALLING, norm=NORM), 500, lambda: curve(FALLING, norm=changed(NORM, 500, 1.0))),
}


def test_every_rule_of_a_peer_has_curves() -> None:
    peers = script("diagnosis_peers")
    assert set(PEERS) == set(peers.RULES)
    assert set(peers.SAYS) <= set(peers.RULES)


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_fires_where_it_should_and_nowhere_else(name: str) -> None:
    rule = script("diagnosis_peers").RULES[name]
    fires, first, silent = PEERS[name]
    with np.errstate(invalid="ignore"):
        assert rule(fires())[:1] == [first]
        assert rule(silent()) == []


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_never_looks_ahead(name: str) -> None:
    whole = PEERS[name][0]()
    rule = script("diagnosis_peers").RULES[name]
    with np.errstate(invalid="ignore"):
        said = rule(whole)
        for share in (0.2, 0.5, 0.9):
            seen = [step for step in said if step < share * whole.total]
            late = [step for step in rule(whole.until(share)) if step < share * whole.total]
            assert late == seen


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (FALLING, "good"),
        (changed(FALLING, 600, math.nan), "too_high"),
        (changed(FALLING, 3, 50.0), "too_high"),  # beyond ten times the first loss
        (changed(np.full(1000, 4.0), slice(3, 6), 5.0), "too_high"),  # flat behind a jump
        (np.full(1000, 4.0), "too_low"),
        (np.linspace(4.0, 2.0, 1000), "too_low"),  # still falling at the end
        (FALLING[:50], None),
    ],
)
def test_the_floor_rule_has_a_direction(loss: Any, said: str | None) -> None:
    assert script("diagnosis_peers").floor_rule(curve(loss, total=1000)) == said


def test_firings_in_a_row_are_one_alarm() -> None:
    bench = script("bench_diagnosis")
    assert bench.alarms([5, 6, 7, 20, 22], curve(FALLING)) == [5, 20, 22]
    assert bench.alarms([], curve(FALLING)) == []
    assert bench.alarms([1000], curve(FALLING)) == [999]  # an evaluation behind the last step


def test_the_figures_of_a_confusion_matrix() -> None:
    bench = script("bench_diagnosis")
    found = {
        "good": Counter({"good": 8, "too_high": 1, "cannot tell": 1}),
        "too_high": Counter({"too_high": 15, "too_low": 1, "good": 4}),
        "too_low": Counter({"too_low": 4, "cannot tell": 6}),
    }
    assert bench.judged(found) == pytest.approx(
        {
            "too_high found": 0.75,
            "too_low found": 0.4,
            "good called good": 0.8,
            "good called bad": 0.1,
            "LR verdicts right": 19 / 21,
            "cannot tell": 7 / 40,
            "balanced accuracy": 0.65,
        }
    )


def test_runs_are_there_for_every_schedule_and_every_fault() -> None:
    runs = script("diagnosis_runs").recorded()
    healthy = {(run.about["task"], run.about["schedule"]) for run in runs if run.healthy and not run.about["kind"]}
    tasks = {run.about["task"] for run in runs}
    assert healthy == {(task, schedule) for task in tasks for schedule in CATALOGUE}
    faults = Counter(run.about["fault"] for run in runs if run.about["expected"])
    assert set(faults.values()) == {2 * len(tasks)}
    assert {run.about["held_out"] for run in runs} == {True, False}


def test_faults_harm_where_they_are_said_to() -> None:
    """Those that cost held-out loss; the others show in the curve or in the learning rate."""
    runs = {run.about["name"]: run for run in script("diagnosis_runs").recorded()}
    harmful = ("lr x30", "lr /100", "no warm-up", "shuffled labels", "frozen", "tiny batch", "overfitting", "endless warm-up")
    for run in runs.values():
        task, seed, fault = (run.about[word] for word in ("task", "seed", "fault"))
        twin = runs[f"{task}/{'hot' if fault == 'no warm-up' else ('wsd', 'warmup_cosine')[seed]}/{seed}"]
        if fault in harmful and not run.about["harmless"]:
            assert run.about["held_out_loss"] > 1.02 * twin.about["held_out_loss"], run.about["name"]
        step = run.about["fault_step"]
        if fault in ("corrupted batch", "loss x1000"):
            assert run.history.loss[step - 1] > 1.2 * run.history.loss[step - 33 : step - 1].max(), run.about["name"]
        if fault in ("nan weight", "inf loss"):
            assert np.isfinite(run.history.loss[: step - 1]).all()
            assert not np.isfinite(run.history.loss[step - 1 :]).any()
