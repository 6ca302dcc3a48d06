"""What a plan predicts of its branches before they are trained, beside what they then reach."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import TrainingArguments

from hf_lrsched import BranchPlan, History, wsd
from hf_lrsched.training.branches import Branch
from hf_lrsched.training.foreseen import Foreseen, foresee

from .running import arguments, killed
from .test_branches import InBranch
from .test_forecast import HIGH, reader

BUDGETS = (250, 400)
EVERY = 20


def plan() -> BranchPlan:
    return BranchPlan(BUDGETS, warmup=20)


def given(folder: Path, **words: Any) -> TrainingArguments:
    evaluated = {"eval_strategy": "steps", "eval_steps": EVERY, "per_device_eval_batch_size": 500}
    plain = {"learning_rate": HIGH, "per_device_train_batch_size": 16, "logging_steps": 10, **evaluated}
    return arguments(folder, **{**plain, **words})


def make(args: TrainingArguments, *callbacks: Any) -> Any:
    made = reader(Path(str(args.output_dir)), *callbacks)
    return type(made)(
        model=made.model,
        args=args,
        train_dataset=made.train_dataset,
        eval_dataset=made.eval_dataset,
        callbacks=list(callbacks),
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Branch]]:
    folder = tmp_path_factory.mktemp("plan")
    return folder, plan().run(make, given(folder))


def test_every_branch_is_predicted_and_the_first_lies_within_its_band(trained: Any) -> None:
    _, branches = trained
    assert [one.reason for one in branches] == ["", ""]
    first, second = branches
    assert first.interval[0] < first.loss < first.interval[1]
    # A branch that is done says what a decay brings: the next one is known better.
    assert second.interval[1] - second.interval[0] < 0.75 * (first.interval[1] - first.interval[0])
    assert abs(second.predicted - second.loss) < 0.03
    assert all(one.interval[0] < one.predicted < one.interval[1] for one in branches)


def test_the_table_has_it_beside_what_was_measured(trained: Any) -> None:
    rows = plan().table(trained[1]).splitlines()
    assert rows[0].split() == ["budget", "branches", "at", "decay", "predicted", "90", "%", "interval", "held-out", "loss"]
    for row, one in zip(rows[1:], trained[1], strict=True):
        low, high = one.interval
        numbers = [f"{number:.4f}" for number in (one.predicted, low, high, one.loss)]
        assert row.split() == [str(one.budget), str(one.start), str(one.decay), *numbers[:2], "-", *numbers[2:]]


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (1.0, ["3.1900", "3.1000", "-", "3.2800", "3.2100"]),
        (1e-4, ["0.000319", "0.000310", "-", "0.000328", "0.000321"]),
        (1e3, ["3,190", "3,100", "-", "3,280", "3,210"]),
    ],
)
def test_losses_of_any_size_are_shown_with_the_digits_that_the_interval_leaves(size: float, shown: list[str]) -> None:
    branch = Branch(100, 80, 20, 3.21 * size, "out", 3.19 * size, (3.1 * size, 3.28 * size))
    assert BranchPlan([100]).table([branch]).splitlines()[1].split()[3:] == shown


def test_a_small_loss_that_was_not_predicted_has_five_digits() -> None:
    assert BranchPlan([100]).table([Branch(100, 80, 20, 3.21e-4, "out")]).split()[-1] == "0.00032100"


def test_a_plan_that_is_run_again_shows_the_same(trained: Any) -> None:
    folder, branches = trained
    assert plan().run(make, given(folder)) == branches


@pytest.mark.parametrize("step", [230, 380])
def test_one_that_is_killed_in_a_branch_predicts_what_one_that_never_stopped_does(
    step: int, trained: Any, tmp_path: Path
) -> None:
    words = {"save_strategy": "steps", "save_steps": 10}
    killed(lambda: plan().run(lambda args: make(args, InBranch(step)), given(tmp_path, **words)))
    branches = plan().run(make, given(tmp_path, **words))
    seen = [(one.predicted, one.interval, one.loss) for one in branches]
    assert seen == [(one.predicted, one.interval, one.loss) for one in trained[1]]


def test_results_of_before_there_were_forecasts_are_read(tmp_path: Path) -> None:
    few = BranchPlan([30], warmup=2)
    words = {"eval_strategy": "no"}
    [branch] = few.run(make, given(tmp_path, **words))
    file = tmp_path / "branch-30" / "hf_lrsched_result.json"
    result = json.loads(file.read_text())
    assert {"predicted", "interval", "reason"} < set(result)
    file.write_text(json.dumps({name: value for name, value in result.items() if name not in vars(Foreseen())}))
    [again] = few.run(make, given(tmp_path, **words))
    assert (again.loss, again.predicted, again.interval, again.reason) == (branch.loss, None, None, "")
    assert "predicted" not in few.table([again])


@pytest.mark.parametrize(
    ("words", "found"), [({"eval_strategy": "no"}, "0 evaluations"), ({"eval_steps": 60}, "2 evaluations")]
)
def test_too_few_evaluations_are_said_below_the_table(words: dict[str, Any], found: str, tmp_path: Path) -> None:
    short = BranchPlan([100], warmup=10)
    [branch] = short.run(make, given(tmp_path, **words))
    assert (branch.predicted, branch.interval) == (None, None)
    assert found in branch.reason
    assert "eval_steps=5" in branch.reason
    rows = short.table([branch]).splitlines()
    assert rows[1].split()[3:5] == ["-", "-"]
    assert rows[2] == f"not predicted: {branch.reason}"


def test_the_evaluations_it_asks_for_are_enough(tmp_path: Path) -> None:
    short = BranchPlan([100], warmup=10)
    [branch] = short.run(make, given(tmp_path, eval_steps=5))
    assert branch.predicted is not None


def trunk(steps: int, off: float = 0.0) -> History:
    """A stable run, whose losses lie off a curve in the last quarter."""
    losses = {step: 2.0 + 4.0 * step**-0.5 + off * (step > 0.75 * steps) for step in range(20, steps + 1, 20)}
    lines = [{"step": step, "eval_loss": loss, "learning_rate": HIGH} for step, loss in losses.items()]
    return History.of(lines, schedule=wsd(steps, warmup=20, decay=0), peak=(HIGH,), total=steps)


def test_a_forecast_begins_at_the_last_losses_before_the_branch() -> None:
    schedule = wsd(500, warmup=20, decay=100)
    low, plain, high = (
        foresee(schedule, trunk(800), [], before=trunk(400, off), shape="1-sqrt").predicted for off in (-0.05, 0.0, 0.05)
    )
    assert low is not None
    assert plain is not None
    assert high is not None
    assert low < plain - 0.01 < plain + 0.01 < high


def test_a_trunk_that_rose_is_not_said_to_have_too_few_evaluations() -> None:
    """It has 12, of which 9 lie behind its beginning."""
    rising = replace(trunk(240), eval_loss=trunk(240).eval_loss[::-1])
    reason = foresee(wsd(300), rising, [], before=rising, shape="1-sqrt").reason
    assert "rose" in reason
    assert "evaluations" not in reason


def test_whatever_fails_in_it_is_a_reason_and_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """One process predicts for all, and the others would wait for it."""

    def fails(*args: Any, **words: Any) -> Any:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("hf_lrsched.runs.forecast.observed.observe", fails)
    assert foresee(wsd(500), trunk(800), [], before=trunk(400), shape="1-sqrt") == Foreseen(reason="division by zero")


def test_a_floor_reaches_the_forecast() -> None:
    """A decay to a tenth ends above one to zero, and below none."""

    def ends(**words: float) -> float:
        schedule = wsd(500, warmup=20, decay=100, **words)
        found = foresee(schedule, trunk(800), [], before=trunk(400), shape="1-sqrt")
        assert found.predicted is not None
        return found.predicted

    low, tenth, half = ends(), ends(min_lr_ratio=0.1), ends(min_lr_ratio=0.5)
    assert low < tenth < half < 2.0 + 4.0 * 500**-0.5
    assert ends(min_lr=0.1 * HIGH) == pytest.approx(tenth, rel=1e-9)
