"""How pretrain.py ends without a fixed number of steps, and how it trains several budgets in one plan."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from recipe import Peak, decide, find_peak, keep, stop
from transformers import Trainer, TrainingArguments

from hf_lrsched import BranchPlan, Checkpoints, CooldownCallback, Horizon, RangeTest
from hf_lrsched.runs.files import RANGE_TEST
from hf_lrsched.schedules.catalogue.entry import find
from hf_lrsched.schedules.lengths import default_warmup
from hf_lrsched.training.together import agreed
from hf_lrsched.training.triggers import LATE

CEILING = 10**9  # steps that no run takes


@dataclass
class Ending:
    """What ends the run; nothing given means --max_steps or --num_train_epochs."""

    budgets: str | None = field(
        default=None, metadata={"help": "Several budgets, '800,1600' or '1B tokens,2B tokens': one trunk, a branch for each."}
    )
    cooldown_steps: str | None = field(
        default=None, metadata={"help": "The decay of a run that ends on demand: steps, or a share such as 20%% (default)."}
    )
    cooldown_at: str | None = field(default=None, metadata={"help": "Start it at this step, or at '1.5B tokens'."})
    finish_by: str | None = field(default=None, metadata={"help": "Start it in time to be over by '18:00', or within '6h'."})
    patience: int | None = field(default=None, metadata={"help": "Start it after so many evaluations without improvement."})
    save_at: str | None = field(
        default=None, metadata={"help": "Save at these steps, '640,1280', and keep those checkpoints."}
    )

    @property
    def on_demand(self) -> bool:
        """Whether the run ends by a cooldown that something starts."""
        return any(one is not None for one in (self.cooldown_steps, self.cooldown_at, self.finish_by, self.patience))


def open_ended(ending: Ending, args: TrainingArguments, tokens_per_step: float) -> CooldownCallback:
    """Makes `args` those of a run without a fixed end; --max_steps becomes its ceiling."""
    if args.lr_scheduler_type != "wsd":
        stop(
            f"a run that ends on demand stays at its peak until then, so it needs lr_scheduler_type wsd; it is "
            f"{args.lr_scheduler_type.value}"
        )
    if ending.patience is not None and args.eval_strategy == "no":
        stop(f"--patience {ending.patience} counts evaluations, and --eval_strategy is no; set it to steps")
    args.max_steps = args.max_steps if args.max_steps > 0 else CEILING
    words = dict(args.lr_scheduler_kwargs or {})
    shape = str(words.pop("shape", "1-sqrt"))
    if not args.warmup_steps and not any(find("wsd").meaning(word) == "warmup" for word in words):
        words["warmup"] = round(default_warmup(args.max_steps))  # 2000 under an open ceiling: shipped pre-training recipes
    args.lr_scheduler_kwargs = {**words, "decay": 0}
    try:
        return CooldownCallback(
            ending.cooldown_steps or "20%",
            shape=shape,
            at=ending.cooldown_at,
            finish_by=ending.finish_by,
            patience=ending.patience,
            tokens_per_step=tokens_per_step,
        )
    except ValueError as error:
        stop(str(error))


def held_back(ending: Ending, args: TrainingArguments) -> int:
    """Examples of a stream that the decay is to run on; 0 where its length in steps is not known before."""
    steps = ending.cooldown_steps or ""
    each = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
    late = LATE if args.world_size > 1 else 0
    return (int(steps) + late) * each if steps.isdecimal() else 0


def train_budgets(
    ending: Ending,
    args: TrainingArguments,
    peak: Peak,
    task: str,
    tokens_per_step: float,
    make_trainer: Callable[[TrainingArguments], Trainer],
) -> None:
    """Trains the trunk and a branch for each budget, and prints the table of their held-out losses."""
    if ending.on_demand:
        stop("--budgets and a cooldown on demand were both given; a plan's branches end at their budgets")
    if args.lr_scheduler_type != "wsd":
        stop(f"--budgets needs lr_scheduler_type wsd, as branches leave a stable run; it is {args.lr_scheduler_type.value}")
    words = dict(args.lr_scheduler_kwargs or {})
    warmup = args.warmup_steps or words.pop("warmup", None)
    try:
        steps = Horizon(10**12, tokens_per_step=tokens_per_step)
        given = str(ending.budgets).split(",")
        if shares := [budget for budget in given if "%" in budget or budget.strip().startswith((".", "0"))]:
            stop(f"--budgets {', '.join(shares)}: a budget is a number of steps or of tokens, not a share")
        budgets = [round(steps.steps_of(budget, "budgets")) for budget in given]
        if peak.auto:
            longest = _for(max(budgets), args)
            keep(decide(make_trainer(longest), peak, task, tokens_per_step, None, began_in=Path(args.output_dir)), args)
            args.learning_rate, warmup = longest.learning_rate, longest.warmup_steps or warmup
        plan = BranchPlan(budgets, warmup=warmup, **words)
        if peak.find_lr:
            args.learning_rate = _peak(args, max(budgets), make_trainer)
        args.lr_scheduler_kwargs, args.warmup_steps = None, 0  # the plan's, from here on
        say(args, str(plan))
        branches = plan.run(make_trainer, args)
    except ValueError as error:
        stop(str(error))
    say(args, plan.table(branches))
    say(args, f"models: {args.output_dir}/branch-*")


def _peak(args: TrainingArguments, budget: int, make_trainer: Callable[[TrainingArguments], Trainer]) -> float:
    """The peak for the longest budget of a plan; a plan that goes on has its own already."""
    file = Path(args.output_dir) / RANGE_TEST

    def known() -> float | None:
        if not file.exists():
            return None
        found = RangeTest.load(file)
        return found.lr if (found.schedule, found.steps) == ("wsd", budget) else None

    if (peak := agreed(known)) is not None:
        say(args, f"peak {peak:g}, which {file} found for this plan")
        return peak
    trainer = make_trainer(_for(budget, args))
    find_peak(trainer)
    say(args, f"peak {trainer.args.learning_rate:g}, found for the longest budget, {budget} steps")
    return trainer.args.learning_rate


def _for(budget: int, args: TrainingArguments) -> TrainingArguments:
    """`args` of a run of so many steps."""
    longest = copy.copy(args)
    longest.max_steps = budget
    return longest


def saves(ending: Ending) -> Checkpoints:
    """The callback that seals checkpoints, and saves where --save_at says."""
    try:
        return Checkpoints(at=[int(step) for step in ending.save_at.split(",")] if ending.save_at else ())
    except ValueError:
        stop(f"--save_at {ending.save_at} is not a list of steps such as 640,1280")


def say(args: TrainingArguments, text: str) -> None:
    """Prints on the first process."""
    if args.process_index == 0:
        print(text, flush=True)
