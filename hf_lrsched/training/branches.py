"""One stable run, the trunk, from which every budget is cooled down: `BranchPlan`.

The trunk warms up once and stays at the peak. For each budget a branch resumes from a checkpoint of the trunk, with the
optimizer's state and the order of the data, and decays to its end. Haegele et al. 2405.18392 train their scaling suites so.

What it does not know: models and data. `BranchPlan.run` is given a function that makes a Trainer.
"""

from __future__ import annotations

import json
import logging
import os
import shlex
from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from ..schedules.catalogue import build
from ..schedules.checks import whole
from ..schedules.lengths import Horizon, Length
from ..schedules.schedule import Schedule
from ..schedules.shapes import parse
from ..schedules.splice import cut
from .checkpoints import Checkpoints, is_complete, last_complete, write
from .foreseen import Foreseen, foresee, logged, places
from .resume import WORDS, expected_change
from .together import agreed

logger = logging.getLogger(__name__)

PLAN = "hf_lrsched_plan.json"
_RESULT = "hf_lrsched_result.json"
_OUTCOME = ("eval_loss", *vars(Foreseen()))  # of a result: what came of it, and not how it was trained


class BranchPlan:
    """Which checkpoints a trunk must keep for `budgets`, what each branch runs under, and what it all costs.

    Args:
        budgets: numbers of optimizer steps, in any order, each once.
        decay: length of each branch: a share of its budget, or steps. By default 20 %, as `wsd` (Haegele et al.: the gain
            levels off between 10 and 20 %).
        shape: of the decay, as for `wsd`.
        warmup: a length; a share is one of the smallest budget, as the one warm-up serves all. By default
            `lengths.default_warmup` of the smallest budget.
        kwargs: `wsd`'s other arguments, such as ``min_lr_ratio``.

    >>> plan = BranchPlan([800, 1600, 2400, 3200, 4000])
    >>> plan.points
    {800: 640, 1600: 1280, 2400: 1920, 3200: 2560, 4000: 3200}
    >>> plan.steps, plan.separate_steps, round(plan.share, 3)
    (5600, 12000, 0.467)
    >>> plan.branch(800)
    Schedule(warmup 80: 0 -> 1 linear, stable 560: 1, decay 160: 1 -> 0 1-sqrt)

    Raises:
        ValueError: for no budgets, one that is given twice, or a warm-up and a decay that do not fit into the smallest.
    """

    def __init__(
        self,
        budgets: Iterable[int],
        *,
        decay: Length = 0.2,
        shape: str = "1-sqrt",
        warmup: Length | None = None,
        **kwargs: Any,
    ) -> None:
        given = [whole("budgets", budget) for budget in budgets]
        if not given or len(set(given)) != len(given):
            raise ValueError(f"budgets={given}: give one or more numbers of steps, each once")
        self.budgets = tuple(sorted(given))
        self.shape = str(parse(shape))
        self.kwargs = kwargs
        self._default_warmup = warmup is None
        self.warmup = round(Horizon(self.budgets[0]).warmup(warmup))
        self.decays = {budget: round(Horizon(budget).steps_of(decay, "decay")) for budget in self.budgets}
        for budget, steps in self.decays.items():
            if not 1 <= steps <= budget - self.warmup:
                raise ValueError(
                    f"a budget of {budget} steps has {budget - self.warmup} after the warm-up ({self.warmup}), and the decay "
                    f"takes {steps}; it must be 1 or more and fit"
                )
            self.branch(budget)

    @property
    def points(self) -> dict[int, int]:
        """For each budget, the step of the trunk at which its branch begins."""
        return {budget: budget - self.decays[budget] for budget in self.budgets}

    @property
    def trunk_steps(self) -> int:
        """How long the trunk is: to the last point at which a branch begins."""
        return max(self.points.values())

    @property
    def trunk(self) -> Schedule:
        """The trunk's schedule: a warm-up and then the peak, so that extending it changes no step before."""
        return build("wsd", self.trunk_steps, **self._words(None))

    def branch(self, budget: int) -> Schedule:
        """The schedule of one budget from step 0 on; its branch begins where its decay does."""
        return build("wsd", budget, **self._words(budget))

    def _words(self, budget: int | None) -> dict[str, Any]:
        decay = 0 if budget is None else self.decays[budget]
        return {"warmup": self.warmup, "decay": decay, "shape": self.shape, **self.kwargs}

    def trunk_arguments(self, trunk: str | os.PathLike[str]) -> dict[str, Any]:
        """What TrainingArguments of a trunk in the folder `trunk` must hold; its Trainer needs `callback` too.

        >>> BranchPlan([100, 200]).trunk_arguments("out/trunk")["max_steps"]
        160
        """
        words = {"max_steps": self.trunk_steps, "lr_scheduler_type": "wsd", "lr_scheduler_kwargs": self._words(None)}
        return {"output_dir": str(trunk), **words, "warmup_steps": 0}

    def branch_arguments(self, budget: int, trunk: str | os.PathLike[str]) -> dict[str, Any]:
        """What TrainingArguments of a branch must hold; ``resume_from_checkpoint`` is also for ``trainer.train``.

        Its folder is ``branch-BUDGET`` beside that of the trunk, as a branch in the trunk's own would write over it.

        >>> BranchPlan([100, 200]).branch_arguments(100, "out/trunk")["resume_from_checkpoint"]
        'out/trunk/checkpoint-80'
        """
        return {
            "output_dir": str(Path(trunk).parent / f"branch-{budget}"),
            "max_steps": budget,
            "lr_scheduler_type": "wsd",
            "lr_scheduler_kwargs": self._words(budget),
            "warmup_steps": 0,
            "resume_from_checkpoint": str(Path(trunk) / f"checkpoint-{self.points[budget]}"),
        }

    def command(self, budget: int | None, trunk: str | os.PathLike[str]) -> str:
        """The same as flags for the command line of a script that takes TrainingArguments; `budget` None is the trunk.

        The trunk's has ``--save_at``, which recipes/pretrain.py knows; a script of your own gives its Trainer `callback`.

        >>> print(BranchPlan([100, 200], warmup=10).command(100, "out/trunk"))
        --output_dir out/branch-100 --max_steps 100 --lr_scheduler_type wsd
        --lr_scheduler_kwargs '{"warmup": 10, "decay": 20, "shape": "1-sqrt"}'
        --warmup_steps 0 --resume_from_checkpoint out/trunk/checkpoint-80
        """
        if budget is None:
            words = {**self.trunk_arguments(trunk), "save_at": ",".join(map(str, self.points.values()))}
        else:
            words = self.branch_arguments(budget, trunk)
        parts = ((f"--{name}", json.dumps(value) if isinstance(value, dict) else str(value)) for name, value in words.items())
        return shlex.join(chain.from_iterable(parts))

    def callback(self) -> Checkpoints:
        """Saves the trunk exactly where branches begin, and keeps those checkpoints whatever ``save_total_limit`` says."""
        return Checkpoints(at=self.points.values())

    @property
    def steps(self) -> int:
        """Steps that the trunk and all branches take."""
        return self.trunk_steps + sum(self.decays.values())

    @property
    def separate_steps(self) -> int:
        """Steps that one full run for each budget would take."""
        return sum(self.budgets)

    @property
    def share(self) -> float:
        """The first over the second: ``(2 + f (K - 1)) / (K + 1)`` for K even budgets and a decay of the share f."""
        return self.steps / self.separate_steps

    def __str__(self) -> str:
        budgets = ", ".join(map(str, self.budgets))
        return (
            f"budgets {budgets}: a trunk of {self.trunk_steps} steps and branches of "
            f"{', '.join(str(self.decays[budget]) for budget in self.budgets)}: {self.steps} steps, "
            f"{self.share:.1%} of the {self.separate_steps} that one run for each budget would take"
        )

    def run(self, make_trainer: Callable[[Any], Any], args: Any) -> list[Branch]:
        """Trains the trunk, where it is not trained yet, and every branch, and evaluates each.

        Killed at any point and called again with the same `args`, it goes on where it was; with further budgets it takes
        only the steps that are new. The trunk is in ``OUTPUT/trunk``, a budget's branch in ``OUTPUT/branch-BUDGET``.

        Before a branch is trained its held-out loss is predicted (`fit_law`), from the evaluations that the trunk and the
        branches before it had on their way. No other is made for it: without `args.eval_strategy` nothing is predicted.

        Args:
            make_trainer: ``make_trainer(args) -> Trainer``, with a freshly initialised model. Called for the trunk and for
                each branch, and again when a killed run goes on: the model must be the same at each call.
            args: TrainingArguments; ``output_dir`` is the folder of the whole plan.

        Returns:
            the branches, from the smallest budget to the largest.

        Raises:
            ValueError: where the folder holds another plan, or `args` something that a plan cannot go with.
            RuntimeError: where a training of the trunk ended before it had saved what it was for.
        """
        out = Path(args.output_dir)
        self._check_arguments(args)
        self._take_warmup(agreed(lambda: _json(out / PLAN)))
        agreed(lambda: self._check_plan(out, args))
        done = agreed(lambda: {budget: self._result(out, budget, args) for budget in self.budgets})
        self._train_trunk(make_trainer, args, out, [self.points[budget] for budget in self.budgets if not done[budget]])
        branches: list[Branch] = []
        for budget in self.budgets:
            result = done[budget] or self._train_branch(budget, make_trainer, args, out)
            told = (self.points[budget], self.decays[budget], result["eval_loss"], str(out / f"branch-{budget}"))
            branches.append(Branch(budget, *told, **vars(Foreseen.read(result))))
        return branches

    def _train_trunk(self, make_trainer: Callable[[Any], Any], args: Any, out: Path, points: list[int]) -> None:
        """Trains what is missing of `points`, each stretch from the last checkpoint before it."""
        while found := agreed(lambda: self._missing(out, points)):
            stretch, start, folder = found
            trainer = make_trainer(_changed(args, {**self.trunk_arguments(folder), "max_steps": stretch[-1]}))
            trainer.add_callback(Checkpoints(at=stretch))
            _go_on(trainer, start)
            trainer.accelerator.wait_for_everyone()
            if agreed(partial(_point, out, stretch[0])) is None:
                raise RuntimeError(
                    f"the trunk's training ended at step {trainer.state.global_step} without a complete checkpoint of step "
                    f"{stretch[0]}; did a callback end it?"
                )

    def _missing(self, out: Path, points: list[int]) -> tuple[list[int], str | None, str] | None:
        """What is to be trained next of the trunk: the points on the way, the checkpoint to go on from, and the folder."""
        missing = sorted(step for step in points if _point(out, step) is None)
        if not missing:
            return None
        there = [step for step in self.points.values() if _point(out, step)]
        stretch = [step for step in missing if not any(missing[0] < other < step for other in there)]
        start = max((last_complete(trunk, before=missing[0]) for trunk in _trunks(out)), key=_step, default=None)
        return stretch, start, str(_folder(out, start))

    def _train_branch(self, budget: int, make_trainer: Callable[[Any], Any], args: Any, out: Path) -> dict[str, Any]:
        folder = out / f"branch-{budget}"
        foreseen = agreed(lambda: self._foresee(budget, args, out))
        start = agreed(lambda: last_complete(folder) or str(_point(out, self.points[budget])))
        words = {**self.branch_arguments(budget, out / "trunk"), "resume_from_checkpoint": start}
        trainer = make_trainer(_changed(args, words))
        trainer.add_callback(Checkpoints())
        _go_on(trainer, start)
        metrics = trainer.evaluate() if trainer.eval_dataset is not None else {}
        trainer.save_model(str(folder))
        trainer.save_state()
        result = {**self._about(budget, args), "eval_loss": metrics.get("eval_loss"), **vars(foreseen)}
        if trainer.is_world_process_zero():
            write(folder / _RESULT, json.dumps(result, indent=1))
        trainer.accelerator.wait_for_everyone()
        return result

    def _foresee(self, budget: int, args: Any, out: Path) -> Foreseen:
        """What the branch of `budget` is predicted to reach, from the trunk and the branches that are done."""
        peak, last = args.learning_rate, max(step for step in self.points.values() if _point(out, step))
        state = Path(str(_point(out, last))) / "trainer_state.json"
        trunk, before = (logged(state, cut(self.trunk, step), peak) for step in (last, self.points[budget]))
        done = [other for other in self.budgets if self._result(out, other, args)]
        states = {other: out / f"branch-{other}" / "trainer_state.json" for other in done}
        runs = [logged(state, self.branch(other), peak) for other, state in states.items()]
        from ..show.foretold import shown

        found = foresee(self.branch(budget), trunk, runs, before=before, shape=self.shape)
        if found.predicted is not None:
            told = shown(found.predicted, _places([found]))
            logger.info("the branch of %d steps is predicted to end at %s", budget, told)
        return found

    def _take_warmup(self, there: dict[str, Any]) -> None:
        """Where no warm-up was given, that of the plan which is in the folder: other budgets have another default."""
        before = there.get("warmup")
        if self._default_warmup and isinstance(before, int) and before <= self.budgets[0] - self.decays[self.budgets[0]]:
            self.warmup = before

    def _check_arguments(self, args: Any) -> None:
        """Refuses what would make a plan's results other than they seem."""
        name = str(getattr(args.lr_scheduler_type, "value", args.lr_scheduler_type))
        if name not in ("linear", "wsd"):  # linear is what TrainingArguments has where nothing was typed
            raise ValueError(
                f"lr_scheduler_type='{name}', but the branches of a plan leave a stable run under 'wsd'; remove it"
            )
        if args.load_best_model_at_end:
            raise ValueError(
                "load_best_model_at_end would put an earlier checkpoint in the place of each branch's end; set it to False"
            )
        if args.save_only_model:
            raise ValueError("save_only_model leaves the optimizer out, and branches could not go on; set it to False")
        if args.save_strategy == "best":
            raise ValueError("save_strategy='best' would not save the trunk where branches begin; take 'steps' or 'no'")
        typed = {name: value for name, value in (args.lr_scheduler_kwargs or {}).items() if name not in ("decay", *WORDS)}
        own = {**self._words(None), "warmup": self.warmup}
        other = [f"{name}={value!r}" for name, value in typed.items() if own.get(name) != value]
        if other or args.warmup_steps not in (0, self.warmup):
            shown = ", ".join(other) or f"warmup_steps={args.warmup_steps}"
            raise ValueError(f"{shown} in the arguments is not what the plan was made with; give it to BranchPlan instead")

    def _check_plan(self, out: Path, args: Any) -> None:
        """Refuses a folder whose trunk was trained in another way, and notes how this one is."""
        batch = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
        words = {name: value for name, value in self._words(None).items() if name not in ("decay", "shape")}
        about = {"learning_rate": args.learning_rate, "examples_per_step": batch, "seed": args.seed, **words}
        file = out / PLAN
        if file.exists():
            _same(json.loads(file.read_text("utf-8")), about, out)
        else:
            out.mkdir(parents=True, exist_ok=True)
            write(file, json.dumps(about, indent=1))

    def _about(self, budget: int, args: Any) -> dict[str, Any]:
        return {"budget": budget, "learning_rate": args.learning_rate, **self._words(budget)}

    def _result(self, out: Path, budget: int, args: Any) -> dict[str, Any] | None:
        """What a finished branch has left; None where it is not finished."""
        file = out / f"branch-{budget}" / _RESULT
        try:
            result: dict[str, Any] = json.loads(file.read_text("utf-8"))
        except (OSError, ValueError):
            return None
        _same(result, self._about(budget, args), file.parent)
        return result

    def table(self, branches: Iterable[Branch]) -> str:
        """Budgets and held-out losses, one line a branch; beside them what was predicted before, with its 90 % interval.

        Losses have four decimals; where one is below 1, or 10 or more, those that tell two digits of the narrowest interval.

        >>> print(BranchPlan([100, 200]).table([Branch(100, 80, 20, 3.21, "out/branch-100")]))
        budget  branches at  decay  held-out loss
           100           80     20         3.2100
        >>> print(BranchPlan([100]).table([Branch(100, 80, 20, 3.21, "out/branch-100", 3.19, (3.1, 3.28))]))
        budget  branches at  decay  predicted    90 % interval  held-out loss
           100           80     20     3.1900  3.1000 - 3.2800         3.2100
        """
        from ..show.foretold import shown

        listed = list(branches)
        digits = _places(listed)
        foreseen = any(one.predicted is not None or one.reason for one in listed)
        middle = f"  {'predicted':>9}  {'90 % interval':>15}" if foreseen else ""
        lines = [f"{'budget':>6}  {'branches at':>11}  {'decay':>5}{middle}  {'held-out loss':>13}"]
        for one in listed:
            predicted = "-" if one.predicted is None else shown(one.predicted, digits)
            interval = "-" if one.interval is None else " - ".join(shown(edge, digits) for edge in one.interval)
            middle = f"  {predicted:>9}  {interval:>15}" if foreseen else ""
            loss = "-" if one.loss is None else shown(one.loss, digits)
            lines.append(f"{one.budget:>6}  {one.start:>11}  {one.decay:>5}{middle}  {loss:>13}")
        reasons = dict.fromkeys(one.reason for one in listed if one.reason)
        return "\n".join([*lines, *(f"not predicted: {reason}" for reason in reasons)])


@dataclass(frozen=True)
class Branch:
    """A branch that was trained: its budget, where it left the trunk, its decay (steps), held-out loss and folder.

    `predicted` is the held-out loss that was predicted before it was trained, `interval` the 90 % interval of that; None
    where no law could be fitted, for the `reason` given.
    """

    budget: int
    start: int
    decay: int
    loss: float | None
    folder: str
    predicted: float | None = None
    interval: tuple[float, float] | None = None
    reason: str = ""


def _places(listed: Iterable[Branch | Foreseen]) -> int:
    losses = [loss for one in listed for loss in (one.predicted, getattr(one, "loss", None)) if loss is not None]
    return places(losses, [one.interval[1] - one.interval[0] for one in listed if one.interval is not None])


def _json(file: Path) -> dict[str, Any]:
    try:
        read = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return read if isinstance(read, dict) else {}


def _same(there: dict[str, Any], about: dict[str, Any], folder: Path) -> None:
    names = [name for name in {**there, **about} if name not in _OUTCOME]
    other = [f"{name} {there.get(name)!r}, now {about.get(name)!r}" for name in names if there.get(name) != about.get(name)]
    if other:
        raise ValueError(f"{folder} was trained with {'; '.join(other)}; give the same, or another output_dir")


def _trunks(out: Path) -> list[Path]:
    return sorted(out.glob("trunk*"))


def _point(out: Path, step: int) -> Path | None:
    """The complete checkpoint of the trunk at `step`."""
    found = (trunk / f"checkpoint-{step}" for trunk in _trunks(out))
    return next((checkpoint for checkpoint in found if is_complete(checkpoint)), None)


def _step(checkpoint: str | None) -> int:
    return int(checkpoint.rpartition("-")[2]) if checkpoint else -1


def _folder(out: Path, start: str | None) -> Path:
    """Where the trunk is trained from `start` on: where it was, unless something there lies beyond."""
    for n in range(1, 10**6):
        folder = out / ("trunk" if n == 1 else f"trunk-{n}")
        last = last_complete(folder)
        if last is None or (start is not None and Path(start).parent == folder and last == start):
            return folder
    raise AssertionError("fewer than a million trunks")


def _changed(args: Any, words: dict[str, Any]) -> Any:
    """A copy of `args` with other values: not made anew, as TrainingArguments takes hold of devices when it is made."""
    changed = deepcopy(args)
    for name, value in words.items():
        setattr(changed, name, value)
    return changed


def _go_on(trainer: Any, checkpoint: str | None) -> None:
    with expected_change():
        trainer.train(resume_from_checkpoint=checkpoint)
