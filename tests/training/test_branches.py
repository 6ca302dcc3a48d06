"""Trunk and branches: what a plan says, and what it trains, beside one straight run for each budget."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from transformers import TrainerCallback, TrainingArguments

from hf_lrsched import BranchPlan, Schedule, last_complete, wsd
from hf_lrsched.training.branches import Branch

from .running import At, arguments, checkpoints, die, equal, files, killed, lrs, near, running, said
from .test_trainer import PEAK, weights

BUDGETS = (20, 40)


class Maker:
    """Makes the Trainers of a plan, and remembers them: what was trained where, and at what cost."""

    def __init__(self, *callbacks: TrainerCallback) -> None:
        self.callbacks = callbacks
        self.made: list[Any] = []
        self.trunk: dict[str, tuple[int, str]] | None = None  # its files when the first branch begins

    def __call__(self, args: TrainingArguments) -> Any:
        out = Path(str(args.output_dir))
        if out.name.startswith("branch") and self.trunk is None:
            self.trunk = files(out.parent / "trunk")
        self.made.append(running(args, *self.callbacks))
        return self.made[-1]

    @property
    def steps(self) -> int:
        """Updates that all of them have taken."""
        return sum(len(lrs(made)) for made in self.made)

    def traces(self) -> dict[str, list[float]]:
        """The LR of every update, by the folder it was taken in."""
        found: dict[str, list[float]] = {}
        for made in self.made:
            found.setdefault(Path(made.args.output_dir).name, []).extend(lrs(made))
        return found


def straight(folder: Path, budget: int, *, warmup: int = 2, decay: int | None = None) -> Any:
    """One run of that budget, made without a plan."""
    words = {"warmup": warmup, "decay": budget // 5 if decay is None else decay, "shape": "1-sqrt"}
    made = running(arguments(folder, max_steps=budget, lr_scheduler_type="wsd", lr_scheduler_kwargs=words))
    made.train()
    return made


def is_straight(branch: Path, budget: int, folder: Path, **words: int) -> bool:
    """Whether the model in `branch` is bit for bit that of a straight run."""
    return equal(load_file(branch / "model.safetensors"), weights(straight(folder, budget, **words)))


# The arithmetic


def test_points_and_costs() -> None:
    plan = BranchPlan([2400, 800, 1600], decay=0.25, shape="linear", warmup=100, min_lr_ratio=0.1)
    assert plan.budgets == (800, 1600, 2400)
    assert plan.points == {800: 600, 1600: 1200, 2400: 1800}
    assert (plan.trunk_steps, plan.steps, plan.separate_steps) == (1800, 1800 + 200 + 400 + 600, 4800)
    assert plan.share == plan.steps / 4800
    assert plan.branch(1600) == wsd(1600, warmup=100, decay=400, shape="linear", min_lr_ratio=0.1)
    assert str(plan) == (
        "budgets 800, 1600, 2400: a trunk of 1800 steps and branches of 200, 400, 600: 3000 steps, "
        "62.5% of the 4800 that one run for each budget would take"
    )


def test_a_decay_in_steps_and_the_defaults() -> None:
    assert BranchPlan([100, 200], decay=30).points == {100: 70, 200: 170}
    plan = BranchPlan([1000, 4000])
    assert (plan.warmup, plan.decays) == (100, {1000: 200, 4000: 800})  # the default warm-up of the smallest budget
    assert BranchPlan([1000, 4000], warmup="5%").warmup == 50


@given(unit=st.integers(1, 50), count=st.integers(1, 12), tenths=st.integers(1, 9))
def test_even_budgets_cost_the_share_of_the_formula(unit: int, count: int, tenths: int) -> None:
    plan = BranchPlan([10 * unit * (i + 1) for i in range(count)], decay=tenths / 10, warmup=0)
    assert plan.share == pytest.approx((2 + tenths / 10 * (count - 1)) / (count + 1), rel=1e-12)


@given(
    budgets=st.lists(st.integers(20, 500), min_size=1, max_size=5, unique=True),
    decay=st.one_of(st.integers(1, 10), st.floats(0.1, 0.5)),
    warmup=st.integers(0, 10),
)
def test_a_branch_leaves_the_trunk_where_its_decay_begins(budgets: list[int], decay: float, warmup: int) -> None:
    plan = BranchPlan(budgets, decay=decay, warmup=warmup)
    for budget, point in plan.points.items():
        branch = plan.branch(budget)
        assert branch.total == budget
        assert branch.values(point + 1).tolist() == plan.trunk.values(point + 1).tolist()
        assert branch(point + 1) < branch(point) == 1.0
    assert plan.trunk_steps == plan.trunk.total == max(plan.points.values())


@pytest.mark.parametrize(
    ("budgets", "words", "sentence"),
    [
        ([], {}, r"budgets=\[\]: give one or more numbers of steps, each once"),
        ([20, 40, 20], {}, r"budgets=\[20, 40, 20\]: give one or more numbers of steps, each once"),
        ([0, 40], {}, "budgets"),
        ([20.5], {}, "budgets"),
        ([20, 40], {"decay": 0}, r"a budget of 20 steps has 18 after the warm-up \(2\), and the decay takes 0; it must be 1"),
        ([20, 40], {"decay": 19}, r"a budget of 20 steps has 18 after the warm-up \(2\), and the decay takes 19"),
        ([20, 40], {"decay": 30}, r"decay \(30 steps\) is longer than the run of 20 steps"),
        ([20, 40], {"warmup": 21}, r"warmup \(21 steps\) is longer than the run of 20 steps"),
        ([20, 40], {"decay": -1}, "decay=-1 is negative"),
        ([20, 40], {"shape": "lienar"}, "lienar"),
        ([20, 40], {"min_lr_ration": 0.1}, "min_lr_ration"),
    ],
)
def test_refusals(budgets: list[Any], words: dict[str, Any], sentence: str) -> None:
    with pytest.raises((ValueError, TypeError), match=sentence):
        BranchPlan(budgets, **words)


def test_the_table_says_where_there_was_no_evaluation() -> None:
    rows = BranchPlan(BUDGETS).table([Branch(20, 16, 4, None, "a"), Branch(40, 32, 8, 1.23456, "b")]).splitlines()
    assert [row.split() for row in rows[1:]] == [["20", "16", "4", "-"], ["40", "32", "8", "1.2346"]]


# By hand


@pytest.mark.parametrize("saves", [{"save_strategy": "no"}, {"save_strategy": "steps", "save_steps": 5}])
def test_the_trunk_saves_at_the_branch_points_and_no_limit_deletes_them(saves: dict[str, Any], tmp_path: Path) -> None:
    plan = BranchPlan([20, 30, 40], decay=0.1)
    made = running(arguments(save_total_limit=1, **saves, **plan.trunk_arguments(tmp_path)), plan.callback())
    made.train()
    last = {36} if saves["save_strategy"] == "no" else {36, 35}  # 35 is the limit's one
    assert set(checkpoints(tmp_path)) == {18, 27, *last}
    assert made.args.save_total_limit == 1  # as it was given
    assert lrs(made) == near(wsd(36, warmup=2, decay=0).lrs(36, PEAK))


def test_branches_run_by_hand_with_a_plain_trainer_from_the_arguments_of_the_plan(tmp_path: Path) -> None:
    plan = BranchPlan(BUDGETS)
    running(arguments(save_total_limit=1, **plan.trunk_arguments(tmp_path / "trunk")), plan.callback()).train()
    before = files(tmp_path / "trunk")
    for budget in BUDGETS:
        words = plan.branch_arguments(budget, tmp_path / "trunk")
        assert words["output_dir"] == str(tmp_path / f"branch-{budget}")
        made = running(arguments(**words))
        made.train(resume_from_checkpoint=made.args.resume_from_checkpoint)
        assert made.state.global_step == budget
        assert lrs(made) == near(plan.branch(budget).lrs(range(plan.points[budget], budget), PEAK))
        assert equal(weights(made), weights(straight(tmp_path / f"straight-{budget}", budget)))
    assert files(tmp_path / "trunk") == before


# `run`


def schedules_of(plan: BranchPlan) -> dict[str, tuple[Schedule, range]]:
    parts = {f"branch-{budget}": (plan.branch(budget), range(point, budget)) for budget, point in plan.points.items()}
    return {"trunk": (plan.trunk, range(plan.trunk_steps)), **parts}


def test_every_branch_ends_with_the_weights_of_a_straight_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    plan, maker = BranchPlan([60, *BUDGETS]), Maker()
    with caplog.at_level(logging.INFO, "hf_lrsched"):
        branches = plan.run(maker, arguments(tmp_path / "plan", save_strategy="steps", save_steps=7, save_total_limit=1))
    assert maker.steps == plan.steps == 72
    for folder, (schedule, steps) in schedules_of(plan).items():
        assert maker.traces()[folder] == near(schedule.lrs(steps, PEAK)), folder
    assert [(one.budget, one.start, one.decay) for one in branches] == [(20, 16, 4), (40, 32, 8), (60, 48, 12)]
    for one in branches:
        whole = straight(tmp_path / f"straight-{one.budget}", one.budget)
        assert equal(load_file(Path(one.folder) / "model.safetensors"), weights(whole))
        assert one.loss == whole.evaluate()["eval_loss"]
    assert maker.trunk == files(tmp_path / "plan/trunk")  # no branch touched it
    assert {16, 32, 48} <= set(checkpoints(tmp_path / "plan/trunk"))
    assert said(caplog) == []
    planned = [line for line in said(caplog, "INFO") if "was written under another schedule" in line]
    assert len(planned) == 3  # told, but not as a warning


def test_a_shape_and_a_floor_reach_the_branches(tmp_path: Path) -> None:
    plan, maker = BranchPlan([20, 30], decay=6, shape="linear", warmup=3, min_lr_ratio=0.1), Maker()
    plan.run(maker, arguments(tmp_path))
    for budget in (20, 30):
        schedule = wsd(budget, warmup=3, decay=6, shape="linear", min_lr_ratio=0.1)
        assert maker.traces()[f"branch-{budget}"] == near(schedule.lrs(range(budget - 6, budget), PEAK))


def test_without_held_out_data_there_is_no_loss(tmp_path: Path) -> None:
    def make(args: TrainingArguments) -> Any:
        made = running(args)
        made.eval_dataset = None
        return made

    [branch] = BranchPlan([10]).run(make, arguments(tmp_path))
    assert branch.loss is None


def test_a_finished_plan_run_again_trains_nothing(tmp_path: Path) -> None:
    plan = BranchPlan(BUDGETS)
    first = plan.run(Maker(), arguments(tmp_path))
    before, again = files(tmp_path), Maker()
    assert plan.run(again, arguments(tmp_path)) == first
    assert again.steps == 0
    assert files(tmp_path) == before


@pytest.mark.parametrize("saves", [{}, {"save_strategy": "steps", "save_steps": 4, "save_total_limit": 2}])
def test_further_budgets_cost_only_the_steps_that_are_new(saves: dict[str, Any], tmp_path: Path) -> None:
    args = arguments(tmp_path / "plan", **saves)
    first = BranchPlan(BUDGETS).run(Maker(), args)
    maker, more = Maker(), BranchPlan([*BUDGETS, 60, 80], warmup=2)
    branches = more.run(maker, args)
    assert maker.steps == (64 - 32) + 12 + 16  # the trunk goes on, and two branches
    assert branches[:2] == first
    assert all(is_straight(Path(one.folder), one.budget, tmp_path / f"s{one.budget}") for one in branches)


def test_a_smaller_and_a_larger_budget_are_added_together(tmp_path: Path) -> None:
    BranchPlan(BUDGETS).run(Maker(), arguments(tmp_path / "plan"))
    trunk = files(tmp_path / "plan/trunk")
    maker = Maker()
    branches = BranchPlan([10, *BUDGETS, 30, 60], warmup=2).run(maker, arguments(tmp_path / "plan"))
    # No checkpoint lies before the point of 10 (8), so these steps are taken again, beside the trunk; 30's 24 from 16 on.
    assert maker.steps == 8 + (24 - 16) + (48 - 32) + 2 + 6 + 12
    assert all(is_straight(Path(one.folder), one.budget, tmp_path / f"s{one.budget}") for one in branches)
    now = files(tmp_path / "plan/trunk")
    assert {name: now[name] for name in trunk if name.startswith("checkpoint")} == {
        name: told for name, told in trunk.items() if name.startswith("checkpoint")
    }


@pytest.mark.parametrize("step", [2, 9, 15, 16, 20, 31])
def test_a_plan_killed_in_its_trunk_goes_on(step: int, tmp_path: Path) -> None:
    plan, args = BranchPlan(BUDGETS), arguments(tmp_path / "plan", save_strategy="steps", save_steps=3, save_total_limit=1)
    killed(lambda: plan.run(Maker(At(step, die)), args))
    last = last_complete(tmp_path / "plan/trunk")
    reached = int(last.rpartition("-")[2]) if last else 0
    assert reached == max(done for done in (0, *range(3, step, 3), *(16,) * (step > 16)))
    again = Maker()
    branches = plan.run(again, args)
    assert again.steps == plan.steps - reached
    assert again.traces()["trunk"] == near(plan.trunk.lrs(range(reached, 32), PEAK))
    assert all(is_straight(Path(one.folder), one.budget, tmp_path / f"s{one.budget}") for one in branches)


class InBranch(TrainerCallback):
    """Ends a branch, and leaves the trunk alone."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if Path(args.output_dir).name.startswith("branch") and state.global_step == self.step:
            die()


@pytest.mark.parametrize(("step", "left"), [(17, 4 + 8), (19, 4 - 2 + 8), (33, 8), (40, 8 - 7)])
def test_a_plan_killed_in_a_branch_goes_on_there(
    step: int, left: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plan, args = BranchPlan(BUDGETS), arguments(tmp_path / "plan", save_strategy="steps", save_steps=3)
    killed(lambda: plan.run(Maker(InBranch(step)), args))
    trunk, again = files(tmp_path / "plan/trunk"), Maker()
    branches = plan.run(again, args)
    assert again.steps == left  # checkpoints of branches lie at 18, 33, 36 and 39
    assert files(tmp_path / "plan/trunk") == trunk
    assert all(is_straight(Path(one.folder), one.budget, tmp_path / f"s{one.budget}") for one in branches)
    assert said(caplog) == []


def test_a_plan_killed_before_a_branch_is_written_down_takes_no_step_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, args = BranchPlan([10]), arguments(tmp_path, save_strategy="steps", save_steps=10)
    maker = Maker()

    def make(args: TrainingArguments) -> Any:
        made = maker(args)
        made.evaluate = die
        return made

    killed(lambda: plan.run(make, args))
    again = Maker()
    [branch] = plan.run(again, args)
    assert again.steps == 0
    assert is_straight(Path(branch.folder), 10, tmp_path / "straight", warmup=1)


def test_a_half_written_branch_point_is_trained_again(tmp_path: Path) -> None:
    plan, args = BranchPlan([10, 20], warmup=1), arguments(tmp_path / "plan")
    killed(lambda: plan.run(Maker(InBranch(9)), args))
    state = tmp_path / "plan/trunk/checkpoint-16/optimizer.pt"
    state.write_bytes(state.read_bytes()[:100])
    again = Maker()
    branches = plan.run(again, args)
    assert again.steps == (16 - 8) + 2 + 4
    assert all(is_straight(Path(one.folder), one.budget, tmp_path / f"s{one.budget}", warmup=1) for one in branches)


@pytest.mark.parametrize(
    ("plan", "words", "sentence"),
    [
        (BranchPlan(BUDGETS, decay=0.3), {}, "branch-20 was trained with decay 4, now 6; give the same, or another"),
        (BranchPlan(BUDGETS, shape="linear"), {}, "branch-20 was trained with shape '1-sqrt', now 'linear'"),
        (BranchPlan(BUDGETS, warmup=3), {}, "plan was trained with warmup 2, now 3; give the same, or another output_dir"),
        (BranchPlan(BUDGETS, min_lr_ratio=0.1), {}, "plan was trained with min_lr_ratio None, now 0.1"),
        (BranchPlan(BUDGETS), {"learning_rate": 1e-3}, "plan was trained with learning_rate 0.01, now 0.001"),
        (BranchPlan(BUDGETS), {"seed": 7}, "plan was trained with seed 42, now 7"),
        (BranchPlan(BUDGETS), {"gradient_accumulation_steps": 2}, "plan was trained with examples_per_step 4, now 8"),
        (BranchPlan(BUDGETS), {"gradient_accumulation_steps": 3, "seed": 7},
         "plan was trained with examples_per_step 4, now 12; seed 42, now 7; give the same, or another output_dir"),
    ],
)  # fmt: skip
def test_another_plan_in_the_same_folder_is_refused(
    plan: BranchPlan, words: dict[str, Any], sentence: str, finished: Path, reject: Callable[[TrainingArguments], Any]
) -> None:
    before = files(finished)
    with pytest.raises(ValueError, match=sentence):
        plan.run(reject, arguments(finished, **words))
    assert files(finished) == before


def test_a_floor_that_the_first_plan_had_and_the_second_has_not_is_refused(
    tmp_path: Path, reject: Callable[[TrainingArguments], Any]
) -> None:
    BranchPlan([10], min_lr_ratio=0.1).run(Maker(), arguments(tmp_path))
    with pytest.raises(ValueError, match=r"min_lr_ratio 0\.1"):
        BranchPlan([10]).run(reject, arguments(tmp_path))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plan that was run to its end."""
    folder = tmp_path_factory.mktemp("finished") / "plan"
    BranchPlan(BUDGETS).run(Maker(), arguments(folder))
    return folder


@pytest.fixture
def reject() -> Callable[[TrainingArguments], Any]:
    """A `make_trainer` that nobody may call."""

    def make(args: TrainingArguments) -> Any:
        raise AssertionError(f"a Trainer was made for {args.output_dir}")

    return make


def test_further_budgets_take_the_warm_up_that_the_plan_has_where_none_is_given(tmp_path: Path) -> None:
    args = arguments(tmp_path)
    BranchPlan([20, 30]).run(lambda given: running(given), args)  # a default warm-up of 2 steps
    smaller = BranchPlan([10])
    assert smaller.warmup == 1
    [branch] = smaller.run(lambda given: running(given), args)
    assert (smaller.warmup, branch.start) == (2, 8)


def test_another_schedule_in_the_arguments_of_a_plan_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="lr_scheduler_type='cosine', but the branches of a plan leave a stable run"):
        BranchPlan([20]).run(lambda given: running(given), arguments(tmp_path, lr_scheduler_type="cosine"))
