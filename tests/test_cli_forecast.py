"""``forecast``: what it says, what it draws, and what it refuses."""

from __future__ import annotations

import csv
import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from hf_lrsched import History, Schedule, build, fit_law, from_spec, read_history, to_spec, warmup_cosine, wsd
from hf_lrsched.cli import main

from .runs.forecast.curves import PEAK, run

STEPS = 600


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["forecast", *arguments])


def told(*arguments: str) -> Any:
    done = call(*arguments, "--format", "json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def written(folder: Path, schedule: Schedule, *, peak: float = PEAK) -> str:
    """A run's folder with what Trainer leaves."""
    history: History = run(schedule, peak=peak, noise=0.002)
    log = [
        {"step": int(step), "learning_rate": float(lr), "eval_loss": float(loss)}
        for step, lr, loss in zip(history.step, history.lr[:, 0], history.eval_loss, strict=True)
    ]
    folder.mkdir(parents=True)
    (folder / "trainer_state.json").write_text(json.dumps({"log_history": log, "max_steps": int(schedule.total)}))
    return str(folder)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    base = tmp_path_factory.mktemp("runs")
    schedules = {"wsd": wsd(STEPS), "cosine": warmup_cosine(STEPS), "open": wsd(STEPS, decay=0)}
    return {name: written(base / name, schedule) for name, schedule in schedules.items()}


def test_without_schedules_the_usual_ones_are_compared_over_the_longest_run(made: dict[str, str]) -> None:
    data = told(made["wsd"], made["cosine"])
    law = fit_law([made["wsd"], made["cosine"]])
    expected = law.compare(["wsd", "warmup_cosine", "linear"], STEPS)
    assert [(one["name"], one["final"]) for one in data["forecasts"]] == [(one.name, one.final) for one in expected.forecasts]
    assert {one["steps"] for one in data["forecasts"]} == {STEPS}
    assert (data["ties"], data["cautions"]) == (list(expected.ties), list(expected.cautions))
    assert data["prediction"] is True


def test_json_says_what_was_fitted_on_what(made: dict[str, str]) -> None:
    law = told(made["wsd"], made["cosine"])["law"]
    [fit] = law["fits"]
    assert (law["quantity"], fit["peak_lr"], sorted(fit["runs"])) == ("eval_loss", pytest.approx(PEAK), ["cosine", "wsd"])
    assert set(fit["multi_power"]) == {"L0", "A", "alpha", "B", "C", "beta", "gamma", "p", "q"}
    assert fit["points"] > 30
    assert 0.9 < fit["momentum"]["lambda"] < 1


def test_arguments_of_a_schedule_follow_its_name(made: dict[str, str]) -> None:
    typed = ["wsd:decay=0.1,shape=linear", 'wsd_s:ends=["50%","100%"],decay=10%', "cosine", "wsd:warmup-steps=90"]
    data = told(made["wsd"], "--steps", "1200", *(word for one in typed for word in ("--schedule", one)))
    given = {one["name"]: from_spec(one["schedule"]) for one in data["forecasts"]}
    assert given == {
        typed[0]: build("wsd", 1200, warmup=60, decay=0.1, shape="linear"),  # the run's own warm-up
        typed[1]: build("wsd_s", 1200, warmup=60, ends=["50%", "100%"], decay="10%"),
        typed[2]: build("warmup_cosine", 1200, warmup=60, min_lr_ratio=0.0),
        typed[3]: build("wsd", 1200, warmup=90),
    }


def test_a_floor_that_is_a_learning_rate_is_one_of_the_runs_peak(made: dict[str, str]) -> None:
    [one] = told(made["wsd"], "--schedule", "wsd:min_lr=1e-4")["forecasts"]
    assert one["curve"]["lr"][-1] == pytest.approx(1e-4, rel=0.1)


def test_a_spec_keeps_its_own_length(made: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text(json.dumps(to_spec(wsd(900))))
    data = told(made["wsd"], "--schedule", str(tmp_path / "mine.json"), "--schedule", "rex")
    assert sorted(one["steps"] for one in data["forecasts"]) == [STEPS, 900]


def test_runs_of_several_peaks_are_told_apart_by_peak(made: dict[str, str], tmp_path: Path) -> None:
    higher = written(tmp_path / "higher", wsd(STEPS), peak=2 * PEAK)
    unsaid = call(made["wsd"], higher)
    assert unsaid.exit_code == 1
    assert "the runs have several peaks, 0.001 and 0.002; say which: --peak 0.001" in unsaid.output
    assert call(made["wsd"], higher, "--schedule", "wsd:peak=2e-3", "--optimize").output == unsaid.output
    data = told(made["wsd"], higher, "--peak-lr", "2e-3", "--schedule", "wsd", "--schedule", "wsd:learning_rate=1e-3")
    assert {one["name"]: one["peak_lr"] for one in data["forecasts"]} == {
        "wsd": pytest.approx(2 * PEAK),
        "wsd:learning_rate=1e-3": pytest.approx(PEAK),
    }


@pytest.mark.parametrize("name", ["a.png", "a.svg", "a.pdf"])
def test_a_picture_is_written_and_named(name: str, made: dict[str, str], tmp_path: Path) -> None:
    done = call(made["wsd"], made["cosine"], "--optimize", "--cooldown-now", "-o", str(tmp_path / name))
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[-1] == str(tmp_path / name)
    assert (tmp_path / name).stat().st_size > 1000


@pytest.mark.parametrize("steps", ["1", "2", "9"])
def test_runs_of_next_to_no_steps_are_drawn_and_called_what_they_are(
    steps: str, made: dict[str, str], tmp_path: Path
) -> None:
    done = call(made["wsd"], "--steps", steps, "-o", str(tmp_path / "a.png"))
    assert done.exit_code == 0, done.output
    assert f"\n{steps} step{'s' * (steps != '1')}\n" in done.output
    assert f"each of wsd, warmup_cosine and linear ends after {steps} steps" in done.output.replace("1 step,", "1 steps,")
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_a_cooldown_alone_compares_nothing(made: dict[str, str]) -> None:
    data = told(made["wsd"], made["open"], "--cooldown-now", "100")
    assert data["forecasts"] == []
    assert data["cooldown_now"]["steps"] == STEPS + 100
    assert len(told(made["wsd"], made["open"], "--cooldown-now", "100", "--steps", "700")["forecasts"]) == 3
    assert data["cooldown_now"]["final"] == fit_law([made["wsd"], made["open"]]).cooldown_now(made["open"], 100).final


@pytest.mark.parametrize(("typed", "steps"), [((), 150), (("=10%",), 67), (("=300",), 300)])
def test_a_cooldowns_length_may_be_left_out(typed: tuple[str, ...], steps: int, made: dict[str, str]) -> None:
    data = told(made["wsd"], made["open"], "--cooldown-now" + "".join(typed))
    assert data["cooldown_now"]["steps"] == STEPS + steps


def test_the_best_cooldown_comes_beside_the_comparison(made: dict[str, str]) -> None:
    data = told(made["wsd"], "--optimize", "--steps", "900")
    assert len(data["forecasts"]) == 3
    assert data["optimized"]["lr_scheduler_type"] == "wsd"
    assert data["optimized"]["forecast"]["steps"] == 900
    assert "a prediction" in data["optimized"]["label"]


def test_a_run_that_is_given_twice_counts_once(made: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(made["wsd"])
    assert told(made["wsd"], "../wsd", ".") == told(made["wsd"])


def test_files_of_any_kind_are_runs_and_their_warm_up_can_be_said(made: dict[str, str], tmp_path: Path) -> None:
    history = read_history(made["wsd"])
    packed, behind = tmp_path / "state.json.gz", tmp_path / "behind.csv"
    with (Path(made["wsd"]) / "trainer_state.json").open("rb") as state, gzip.open(packed, "wb") as file:
        shutil.copyfileobj(state, file)
    with behind.open("w") as table:
        rows = zip(history.step, history.lr[:, 0], history.eval_loss, strict=True)
        csv.writer(table).writerows([("step", "lr", "val_loss"), *(row for row in rows if row[0] >= 80)])
    whole = {one["name"]: one["final"] for one in told(made["wsd"])["forecasts"]}
    assert {one["name"]: one["final"] for one in told(str(packed))["forecasts"]} == whole
    [near, far] = [
        {one["name"]: one["final"] for one in told(str(behind), "--warmup", warmup)["forecasts"]} for warmup in ("60", "0")
    ]
    assert near == pytest.approx(whole, abs=3e-3)
    assert far != pytest.approx(whole, abs=6e-3)


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        ((), 2, "Missing argument 'RUN...'"),
        (("nowhere",), 1, "there is no file or folder nowhere"),
        (("empty",), 1, "holds no lr_history.jsonl, no trainer_state.json and no TensorBoard event files"),
        (("WSD", "--steps", "6000"), 1, "6000 steps are more than 3 times"),
        (("WSD", "--steps", "0"), 2, "0 is not in the range"),
        (("WSD", "--peak-lr", "1e-2"), 1, "peak_lr=0.01, but the runs had 0.001"),
        (("WSD", "--schedule", "wsd:peak=1e-2"), 1, "peak_lr=0.01, but the runs had 0.001"),
        (("WSD", "--schedule", "wsdd"), 1, "did you mean 'wsd'"),
        (("WSD", "--schedule", "cosin"), 1, "did you mean 'cosine'"),
        (("WSD", "--schedule", "odd"), 1, "phases, linear, cosine, constant_with_warmup, and JSON files with a spec)"),
        (
            ("WSD", "--schedule", "wsd:steps=100"),
            2,
            "steps is no argument of a schedule; the length of all schedules is --steps",
        ),
        (
            ("WSD", "--schedule", "rex:max-steps=9"),
            2,
            "max_steps is no argument of a schedule; the length of all schedules is",
        ),
        (("WSD", "--schedule", "wsd:name=mine"), 2, "name is no argument of a schedule; a schedule is called what was typed"),
        (("WSD", "--schedule", "wsd:deca=1"), 1, "wsd does not know 'deca'; did you mean 'decay'?"),
        (("WSD", "--schedule", "wsd:decay"), 2, "an argument is NAME=VALUE, as in wsd:decay=0.1,shape=linear"),
        (("WSD", "--schedule", "wsd:peak=high"), 2, "the peak is one number"),
        (("WSD", "--schedule", "no.json"), 1, "there is no file no.json"),
        (("WSD", "--loss", "loss"), 1, "training losses"),
        (("WSD", "--cooldown-now", "ages"), 2, "a length is steps (500) or a share of the run (10%)"),
        (("WSD", "--cooldown-now", "0"), 2, "a length is steps (500) or a share of the run (10%)"),
        (("--cooldown-now", "WSD"), 2, "write the RUNs before it"),
        (("OPEN", "--optimize"), 1, "no run at 0.001 decays"),
        (("WSD", "-o", "a.gif"), 1, "a.gif: the ending says what is written; give one of .png, .svg, .pdf"),
        (("WSD", "-o", "nowhere/a.png"), 1, "there is no folder nowhere"),
        (("WSD", "-o", "empty"), 2, "is a directory"),
    ],
)
def test_what_cannot_be_done_is_said(
    arguments: tuple[str, ...],
    code: int,
    sentence: str,
    made: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    done = call(*(made.get(word.lower(), word) if word.isupper() else word for word in arguments))
    assert done.exit_code == code, done.output
    assert sentence in " ".join(done.output.split())
    assert "Traceback" not in done.output
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ([{"step": i, "loss": 5 - i / 100} for i in range(1, 200)], "odd.jsonl has no learning rates"),
        (
            [{"step": i, "loss": 4.0 if i < 99 else 9.0, "lr": 1e-3} for i in range(1, 200)],
            "no law knows a run that diverged",
        ),
        ([{"step": 1, "loss": 5.0, "lr": 1e-3}], "a law needs 8 or more"),
    ],
)
def test_a_run_that_no_law_can_be_fitted_to_is_named(lines: list[dict[str, float]], sentence: str, tmp_path: Path) -> None:
    (tmp_path / "odd.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = call(str(tmp_path / "odd.jsonl"))
    assert done.exit_code == 1
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


def test_a_log_that_is_cut_short_is_read_and_said(made: dict[str, str], tmp_path: Path) -> None:
    history = read_history(made["wsd"])
    rows = zip(history.step, history.lr[:, 0], history.eval_loss, strict=True)
    lines = [json.dumps({"step": int(step), "lr": lr, "eval_loss": loss}) for step, lr, loss in rows]
    (tmp_path / "cut.jsonl").write_text("\n".join([*lines, '{"step": 6']))
    done = call(str(tmp_path / "cut.jsonl"))
    assert done.exit_code == 0
    assert "warning: 1 line could not be read" in done.stderr
    assert "fitted on the held-out loss of 1 run at a peak of 0.001" in done.stdout


def test_a_run_in_letters_that_no_font_has_is_drawn_without_a_warning(made: dict[str, str], tmp_path: Path) -> None:
    shutil.copytree(made["wsd"], tmp_path / "名前")
    done = call(str(tmp_path / "名前"), "-o", str(tmp_path / "a.png"))  # here a warning is an error
    assert done.exit_code == 0, done.output
    assert done.stderr == ""
