"""What a run will do, before it: steps, warm-up, peak, learning rates and mistakes, from its arguments alone.

`preflight` reads what a configuration or a command line says, as Transformers would, and computes what Trainer will: no
weights, no data, no GPU, and no instance of the arguments' class, which looks for devices and refuses ``bf16`` without one.

What it does not know: how many examples there are (`examples`), who launches the run (`processes`), a Trainer that makes
its own batches, ``split_batches``, parallelism other than over data, DeepSpeed's own scheduler, and whether a learning rate
is a good one.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from types import SimpleNamespace
from typing import Any

import numpy as np
from transformers import SchedulerType

from ..advice.lint.rules.warmup import HALF
from ..schedules.catalogue import CATALOGUE
from ..schedules.checks import whole
from ..schedules.lengths import Horizon
from ..schedules.schedule import Schedule
from .auto import AUTO, advised, warmup_of
from .registration import planned
from .theirs import Curve, check_theirs, theirs
from .typed import DEFAULT_CLASS, LENGTHS, Problem, class_of, defaults_of, kwargs_of, sorted_out

# Where an example is one sequence. Preference and reward pairs are two, and GRPO makes its own.
_ONE_SEQUENCE = ("TrainingArguments", "Seq2SeqTrainingArguments", "SFTConfig")
_SAMPLES = 400  # learning rates for a picture


@dataclass(frozen=True)
class Plan:
    """What a run will do; None is what cannot be known.

    Args:
        name: the schedule's, as typed.
        kwargs: ``lr_scheduler_kwargs``.
        learning_rate: the argument, and `learning_rate_from` where it comes from, in words.
        steps: optimizer steps.
        steps_from: how they come about, in words.
        steps_per_epoch: optimizer steps in an epoch.
        examples_per_step: examples in a step, over all processes.
        tokens_per_step: tokens in a step, over all processes; `tokens_at_most` where it is a limit.
        warmup: steps before the peak; real, as ours are.
        warmup_from: who said so, in words.
        peak: the highest learning rate of the run, and `peak_step` the first step that has it.
        phases: names and steps.
        key_steps: step, phase and learning rate, at the steps where something changes.
        samples: learning rates, evenly over the run.
        schedule: ours; None for one of Transformers'.
        problems: errors first.
        not_looked_at: settings that are not arguments of the class.
    """

    arguments_class: str
    name: str
    kwargs: dict[str, Any]
    learning_rate: float
    learning_rate_from: str
    steps: int | None = None
    steps_from: str = ""
    steps_per_epoch: int | None = None
    examples_per_step: int | None = None
    tokens_per_step: int | None = None
    tokens_at_most: bool = False
    warmup: float | None = None
    warmup_from: str = ""
    peak: float | None = None
    peak_step: int | None = None
    phases: tuple[tuple[str, float], ...] = ()
    key_steps: tuple[tuple[int, str, float], ...] = ()
    samples: tuple[float, ...] = field(default=(), repr=False)
    schedule: Schedule | None = None
    problems: tuple[Problem, ...] = ()
    not_looked_at: tuple[str, ...] = ()

    @property
    def tokens(self) -> int | None:
        """Tokens in the whole run."""
        return None if self.tokens_per_step is None or self.steps is None else self.tokens_per_step * self.steps


def preflight(
    settings: Mapping[str, Any],
    *,
    arguments_class: str = DEFAULT_CLASS,
    examples: int | None = None,
    tokens_per_example: int | None = None,
    processes: int = 1,
) -> Plan:
    """What a run with these `settings` will do, and what is wrong with them.

    Args:
        settings: the arguments that were given, as a configuration file or `read_flags` has them: numbers may be strings.
        arguments_class: whose defaults count; a dotted name under ``transformers`` or ``trl``.
        examples: training examples; after packing, where examples are packed.
        tokens_per_example: by default what `settings` call ``block_size``, ``max_length`` or ``max_seq_length``.
        processes: processes that train together.

    >>> plan = preflight({"learning_rate": "3e-4", "num_train_epochs": 2, "warmup_steps": 0.03,
    ...                   "lr_scheduler_type": "cosine", "max_length": 1024}, examples=10_000)
    >>> plan.steps, plan.warmup, plan.peak, plan.tokens_per_step
    (2500, 75, 0.0003, 8192)
    >>> preflight({"max_steps": 100, "warmup_ratio": 0.03}).problems[0].sentence
    'warmup_ratio is no argument of Transformers 5, which takes a share of the run as warmup_steps; write warmup_steps: 0.03'

    Raises:
        ValueError: for an `arguments_class` that is none, and a number that is not whole and above 0. What is wrong with
            `settings` is among the plan's problems.
    """
    kind = class_of(arguments_class)
    for word, number in (("examples", examples), ("tokens_per_example", tokens_per_example), ("processes", processes)):
        if number is not None:
            whole(word, number)
    problems: list[Problem] = []
    given, others = sorted_out(kind, settings, problems)
    args = SimpleNamespace(**{**defaults_of(kind), **given})
    args.lr_scheduler_type = str(getattr(args.lr_scheduler_type, "value", args.lr_scheduler_type))
    args.lr_scheduler_kwargs = kwargs_of(args.lr_scheduler_kwargs, problems)
    plan = Plan(
        arguments_class=arguments_class,
        name=args.lr_scheduler_type,
        kwargs=args.lr_scheduler_kwargs,
        learning_rate=args.learning_rate,
        learning_rate_from=_said_by(kind, settings, given),
        not_looked_at=others,
    )
    plan = _with_steps(plan, args, given, examples, processes, problems)
    plan = _with_auto(plan, args, settings, problems)
    plan = _with_tokens(plan, args, settings, tokens_per_example)
    curve = _curve(plan, args, problems) if _sound(plan, args, problems) else None
    plan = plan if curve is None else _with_curve(plan, curve, problems)
    return dataclasses.replace(plan, problems=tuple(sorted(problems, key=lambda problem: problem.kind)))


def _said_by(kind: type, settings: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """Where the learning rate comes from."""
    default = f"the default of {kind.__name__}"
    if settings.get("learning_rate") == "auto":
        return f"{default}, as auto is decided when the run begins"
    return "learning_rate" if "learning_rate" in given else default


def _with_auto(plan: Plan, args: Any, settings: Mapping[str, Any], problems: list[Problem]) -> Plan:
    """With what "auto" would be, where model and task are said."""
    wanted = [name for name in AUTO if settings.get(name) == "auto"]
    name = plan.arguments_class.rpartition(".")[2]
    found = advised(settings, name, batch_size=plan.examples_per_step, steps=plan.steps) if wanted else None
    if found is None or found.learning_rate is None:
        return plan
    problems[:] = [problem for problem in problems if problem.name != "auto"]
    if "warmup_steps" in wanted and (warmup := warmup_of(args, found)[0]) is not None:
        args.warmup_steps = warmup
    if "learning_rate" not in wanted:
        return plan
    args.learning_rate = found.learning_rate
    said = f"auto: between {found.low:g} and {found.high:g}, confidence {found.confidence}"
    return dataclasses.replace(plan, learning_rate=found.learning_rate, learning_rate_from=said)


# How long it takes


def _with_steps(
    plan: Plan, args: Any, given: Mapping[str, Any], examples: int | None, processes: int, problems: list[Problem]
) -> Plan:
    """As ``Trainer.set_initial_training_values`` counts (Transformers 5.23); a test compares."""
    device, accumulated = args.per_device_train_batch_size, args.gradient_accumulation_steps
    for name, number in (("per_device_train_batch_size", device), ("gradient_accumulation_steps", accumulated)):
        if number < 1:
            problems.append(Problem("error", "value", f"{name}={number} must be 1 or more"))
            return plan
    per_epoch = None
    counted = f"{examples} examples / ({device} x {processes}) / {accumulated}"
    if examples is not None and not hasattr(args, "num_generations"):
        rounded = math.floor if args.dataloader_drop_last else math.ceil
        batches = rounded(examples / (device * processes))
        if batches < 1:
            sentence = f"dataloader_drop_last leaves nothing of {examples} examples, which are less than a batch of "
            problems.append(Problem("error", "steps", f"{sentence}{device} x {processes}; make the batch smaller"))
            return plan
        per_epoch = math.ceil(batches / accumulated)
    plan = dataclasses.replace(plan, examples_per_step=device * processes * accumulated, steps_per_epoch=per_epoch)
    if args.max_steps > 0:
        if "num_train_epochs" in given and "max_steps" in given:
            both = f"max_steps={args.max_steps} and num_train_epochs={args.num_train_epochs:g} are both given; max_steps wins"
            problems.append(Problem("warning", "epochs_ignored", f"{both}, so remove num_train_epochs (or max_steps)"))
        epochs = f", {args.max_steps / per_epoch:.3g} epochs of {per_epoch}" if per_epoch else ""
        return dataclasses.replace(plan, steps=args.max_steps, steps_from=f"max_steps{epochs}")
    unknown = _why_unknown(args, plan, examples)
    if unknown or per_epoch is None:
        problems.append(Problem("error", "steps", unknown))
        return plan
    how = f"{args.num_train_epochs:g} epochs of {per_epoch}, which are {counted}"
    return dataclasses.replace(plan, steps=math.ceil(args.num_train_epochs * per_epoch), steps_from=how)


def _why_unknown(args: Any, plan: Plan, examples: int | None) -> str:
    if args.max_steps == 0:
        return "max_steps=0 is a run without a step; give --max_steps N, or -1 to count epochs"
    if not 0 < args.num_train_epochs < math.inf:
        return f"num_train_epochs={args.num_train_epochs:g} must be a finite number above 0"
    if hasattr(args, "num_generations"):
        return f"{plan.arguments_class} makes its examples as it trains, so epochs cannot be counted here; give --max_steps N"
    if examples is None:
        return (
            f"the number of steps cannot be known: num_train_epochs={args.num_train_epochs:g} counts epochs, and nothing "
            "says how long one is; give --examples N (training examples), or --max_steps N"
        )
    return ""


def _with_tokens(plan: Plan, args: Any, settings: Mapping[str, Any], tokens: int | None) -> Plan:
    at_most = False
    if tokens is None and plan.arguments_class.rpartition(".")[2] in _ONE_SEQUENCE:
        values = {name: settings.get(name, getattr(args, name, None)) for name in LENGTHS}
        known = [(name, int(value)) for name, value in values.items() if str(value).isdigit()]
        if known:
            name, tokens = known[0]
            at_most = name != "block_size" and not getattr(args, "packing", settings.get("packing"))
    if tokens is None or plan.examples_per_step is None:
        return plan
    return dataclasses.replace(plan, tokens_per_step=tokens * plan.examples_per_step, tokens_at_most=at_most)


# The learning rate


def _sound(plan: Plan, args: Any, problems: list[Problem]) -> bool:
    """Whether the arguments that make the curve are such that there is one."""
    rate, warmup, name = args.learning_rate, args.warmup_steps, plan.name
    wrong = []
    if not 0 < rate < math.inf:
        wrong.append(Problem("error", "learning_rate", f"learning_rate={rate:g} must be a finite number above 0"))
    if not 0 <= warmup < math.inf:
        sentence = f"warmup_steps={warmup:g} must be 0 or more: steps from 1 on, a share of the run below 1"
        wrong.append(Problem("error", "warmup", sentence))
    if hasattr(args, "warmup_typed"):
        sentence = f"warmup_steps={args.warmup_typed} is {int(warmup)} step{'s' * (warmup >= 2)} to Transformers"
        sentence += f"; write {int(warmup)} if that is meant, or a share of the run below 1 such as 0.05"
        problems.append(Problem("warning", "warmup_unclear", sentence))
    known = [str(member.value) for member in SchedulerType]
    if name not in known:
        near = get_close_matches(name.rpartition(".")[2].lower(), known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        sentence = f"unknown schedule lr_scheduler_type={name!r}{hint} (known: {', '.join(known)})"
        wrong.append(Problem("error", "unknown_schedule", sentence))
    problems += wrong
    return not wrong and plan.steps is not None


def _curve(plan: Plan, args: Any, problems: list[Problem]) -> Curve | None:
    steps = int(plan.steps or 0)
    # As TrainingArguments.get_warmup_steps, which needs an instance.
    warmup = int(args.warmup_steps) if args.warmup_steps >= 1 else math.ceil(steps * args.warmup_steps)
    found = len(problems)
    try:
        if plan.name in CATALOGUE and CATALOGUE[plan.name].registered:
            return _ours(plan, steps, warmup, problems)
        check_theirs(plan.name, plan.kwargs, args, steps, warmup, problems)
        broken = any(problem.kind == "error" for problem in problems[found:])
        return None if broken else theirs(plan.name, plan.kwargs, plan.learning_rate, steps, warmup)
    except ArithmeticError as error:
        sentence = f"{plan.name} fails in Transformers ({error}) with a warm-up of {warmup} in {steps} steps; shorten it"
        problems.append(Problem("error", "schedule", sentence))
    except TypeError as error:
        sentence = f"{plan.name} does not take lr_scheduler_kwargs={plan.kwargs}: {error}"
        problems.append(Problem("error", "kwargs", sentence))
    except ValueError as error:
        problems.append(Problem("error", "schedule", f"{plan.name} is refused: {error}"))
    return None


def _ours(plan: Plan, steps: int, warmup: int, problems: list[Problem]) -> Curve:
    entry, rate = CATALOGUE[plan.name], plan.learning_rate
    units = {"steps_per_epoch": plan.steps_per_epoch, "tokens_per_step": plan.tokens_per_step}
    known = {name: value for name, value in units.items() if value}
    try:
        schedule = planned(plan.name, Horizon(steps, peak=rate), warmup, plan.kwargs)
    except ValueError as error:
        schedule = planned(plan.name, Horizon(steps, peak=rate, **known), warmup, plan.kwargs)
        words = " and ".join(f"{name}: {value}" for name, value in known.items())
        what = str(error).split(":")[0].removesuffix(" here")
        sentence = f"{what} by Trainer alone (the recipes here tell it how); add {words} to lr_scheduler_kwargs"
        problems.append(Problem("warning", "units", sentence))
    spans = schedule.spans()
    asked = any(entry.meaning(word) == entry.warmup for word in plan.kwargs)
    said = "lr_scheduler_kwargs" if asked else ("warmup_steps" if warmup else "hf_lrsched's default")
    return Curve(
        at=lambda at: [float(value) for value in schedule.lrs(at, rate)],
        warmup=schedule.warmup,
        warmup_from=said if schedule.warmup else "",
        phases=tuple((phase.name, end - start) for start, end, phase in spans),
        key=[*((math.ceil(start), phase.name) for start, _, phase in spans), (steps - 1, "(last)")],
        schedule=schedule,
    )


def _with_curve(plan: Plan, curve: Curve, problems: list[Problem]) -> Plan:
    steps, rate = int(plan.steps or 0), plan.learning_rate
    about: dict[str, Any] = {
        "warmup": curve.warmup,
        "warmup_from": curve.warmup_from,
        "phases": curve.phases,
        "schedule": curve.schedule,
    }
    if curve.at is None:
        return dataclasses.replace(plan, **about, key_steps=((0, "(first)", rate),))
    spread = sorted({round(at) for at in np.linspace(0, steps - 1, min(steps, _SAMPLES))})
    samples = curve.at(spread)
    ends = np.cumsum([0, *(length for _, length in curve.phases)])
    # A phase is highest at one of its ends, and its own last step is the one before the next begins.
    near = sorted({min(max(math.ceil(end) + by, 0), steps - 1) for end in ends for by in (-1, 0)})
    highest = dict(zip([*near, *spread], [*curve.at(near), *samples], strict=True))
    peak = max(highest.values())
    first = min(step for step, lr in highest.items() if lr >= peak * (1 - 1e-9))
    _judge_warmup(plan, curve, steps, peak, problems)
    if peak > rate * (1 + 1e-9):
        sentence = f"the learning rate rises to {peak:g}, above learning_rate={rate:g}: the floor in lr_scheduler_kwargs "
        given = ", ".join(f"{word}={value}" for word, value in plan.kwargs.items())
        problems.append(Problem("error", "floor", f"{sentence}({given}) is above the peak; lower it"))
    key = tuple((step, name, lr) for (step, name), lr in zip(curve.key, curve.at([s for s, _ in curve.key]), strict=True))
    return dataclasses.replace(plan, **about, peak=peak, peak_step=first, key_steps=key, samples=tuple(samples))


def _judge_warmup(plan: Plan, curve: Curve, steps: int, peak: float, problems: list[Problem]) -> None:
    warmup = f"the warm-up takes {curve.warmup:g} of {steps} steps"
    if curve.warmup >= steps:  # recipes.md section 4, LR001: four of litgpt's full.yaml
        reached = f"so the run ends at {peak:g} before it has the peak of {plan.learning_rate:g}"
        problems.append(Problem("error", "no_peak", f"{warmup}, {reached}; shorten it or train for longer"))
    elif curve.warmup > HALF * steps:
        sentence = (
            f"{warmup}, {curve.warmup / steps:.0%}, more than half; shorten it (warmup_steps: 0.05) or train for longer"
        )
        problems.append(Problem("warning", "long_warmup", sentence))
