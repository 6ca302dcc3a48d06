"""The runs that forecasts are judged on: what the packed file holds, and that the script still trains."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hf_lrsched.runs.reading import read_history
from hf_lrsched.schedules.spec import from_spec

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture(autouse=True)
def _scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(SCRIPTS), *sys.path])  # put back as it was: the script adds the recipes


def runs() -> Any:
    return importlib.import_module("forecast_runs")


def test_the_packed_runs_are_those_that_the_script_lists() -> None:
    cases = list(runs().cases())
    assert [run["name"] for run in runs().contents()["runs"]] == [case.name for case in cases]
    for case, run in zip(cases, runs().contents()["runs"], strict=True):
        assert from_spec(run["schedule"]) == case.schedule
        assert (run["steps"], run["peak"], run["seed"]) == (case.steps, case.peak, case.seed)


def test_they_were_trained_under_the_lr_of_their_schedule() -> None:
    for run in runs().contents()["runs"]:
        steps = np.arange(run["every"], run["steps"] + 1, run["every"]) - 1  # update n has the LR of step n - 1
        wanted = from_spec(run["schedule"]).lrs(steps, run["peak"])
        assert np.allclose(run["lr"], wanted, rtol=1e-7, atol=0), run["name"]  # written with 8 digits


def test_all_losses_are_finite_and_all_are_there() -> None:
    for name, run in runs().histories().items():
        assert run.total == len(run) == run.eval_step[-1], name
        assert run.logged.sum() == run.total // run.averaged
        assert np.isfinite(run.loss[run.logged]).all()
        assert np.isfinite(run.eval_loss).all()
        assert (np.diff(run.eval_step) == runs().EVERY).all()
        assert run.schedule is not None
        assert np.array_equal(run.lr[:, 0], run.schedule.lrs(run.total, *run.peak))


def test_a_run_that_leaves_the_stable_one_shares_its_beginning() -> None:
    histories, cases = runs().histories(), list(runs().cases())
    shared = [(case.name, *runs().stable_of(case, cases)) for case in cases]
    left = [(name, stable, step) for name, stable, step in shared if stable is not None]
    assert len(left) == 6 + 1 + 5  # of the first seed, the long one, and of the second, whose stable run is one of its own
    for name, stable, step in left:
        both = [histories[one].eval_loss[: step // runs().EVERY].tolist() for one in (name, stable.name)]
        assert both[0] == both[1], name


def test_the_script_trains_and_a_run_from_a_checkpoint_is_the_whole_run(tmp_path: Path) -> None:
    script = runs()
    bench = script.Bench(tmp_path, blocks=8, documents=20)
    words = {"warmup": 2, "decay": 2, "shape": "1-sqrt"}
    whole, late = (script.Case(name, "wsd", words, steps=6) for name in ("whole", "late"))
    bench.run(script.Case("stable", "wsd", {**words, "decay": 0}, steps=4), saves=[4], every=2)
    bench.run(whole, every=2)
    bench.run(late, start=str(tmp_path / "stable" / "checkpoint-4"), every=2)
    (tmp_path / "late" / "done.json").write_text(json.dumps({"from": "stable", "at": 4}))
    joined, straight = script.recorded(tmp_path, late), read_history(tmp_path / "whole")
    assert joined.step.tolist() == [1, 2, 3, 4, 5, 6]
    assert joined.eval_step.tolist() == [2, 4, 6]
    for column in ("loss", "lr", "eval_loss"):
        assert np.array_equal(getattr(joined, column), getattr(straight, column)), column
    assert straight.lr[:, 0] == pytest.approx(whole.schedule.lrs(6, whole.peak))
