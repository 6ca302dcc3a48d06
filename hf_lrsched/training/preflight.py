"""What a run will do, before it: steps, warm-up, peak, learning rates and mistakes, from its arguments alone.

`preflight` reads what a configuration or a command line says, as Transformers would, and computes what Trainer will: no
weights, no data, no GPU, and no instance of the arguments' class, which looks for devices and refuses ``bf16`` without one.

What it does not know: how many examples there are (`examples`), who launches the run (`processes`), a Trainer that makes
its own batches, ``split_batches``, parallelism other than over data, DeepSpeed's own scheduler, and whether a learning rate
is a good one.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import math
import warnings
from argparse import SUPPRESS
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib import import_module
from types import SimpleNamespace
from typing import Any, Literal, NoReturn

import numpy as np
import torch
from transformers import HfArgumentParser, SchedulerType, TrainingArguments, get_scheduler
from transformers.optimization import TYPE_TO_SCHEDULER_FUNCTION

from ..schedules.catalogue import CATALOGUE
from ..schedules.checks import whole
from ..schedules.lengths import Horizon
from ..schedules.schedule import Schedule
from .registration import planned

DEFAULT_CLASS = "transformers.TrainingArguments"

# How long an example is, in tokens; a script's words for it. The last two are a limit, which examples may fall short of.
_LENGTHS = ("block_size", "max_length", "max_seq_length")
# Where an example is one sequence. Preference and reward pairs are two, and GRPO makes its own.
_ONE_SEQUENCE = ("TrainingArguments", "Seq2SeqTrainingArguments", "SFTConfig")
# recipes.md section 4, LR002: all ten full.yaml of litgpt's config_hub/finetune warm up for longer than this.
_LONG_WARMUP = 0.5
# A word this near to an argument's is a slip: no setting of TRL's classes is as near to one of Transformers' (a test looks).
_NEAR = 0.825
# Words of other trainers, and of Transformers 4.
_OTHERS = {
    "lr": "learning_rate",
    "warmup": "warmup_steps",
    "num_epochs": "num_train_epochs",
    "evaluation_strategy": "eval_strategy",
}
_FOLLOWS_THE_LOSS = ("reduce_lr_on_plateau", "greedy")  # they step on a metric, and get no warm-up (schedules.md 1.2)
_DROPS_WARMUP = ("constant", *_FOLLOWS_THE_LOSS)  # recipes.md section 4, LR014
_DROPS_KWARGS = ("constant", "constant_with_warmup")  # schedules.md section 4, defect 8
_QUARTERS = (0.25, 0.5, 0.75)  # of the run: shown for schedules that have no phases of their own
# What is computed with here. The other arguments are only held to their types.
_SINGLE = (
    "learning_rate", "lr_scheduler_type", "warmup_steps", "max_steps", "num_train_epochs", "per_device_train_batch_size",
    "gradient_accumulation_steps", "dataloader_drop_last", "eval_strategy",
)  # fmt: skip
_SAMPLES = 400  # learning rates for a picture


@dataclass(frozen=True)
class Problem:
    """Something that is wrong: an error ends the run or spoils it, a warning is probably not what was meant.

    Args:
        kind: how bad it is.
        name: one word for programs, the same in every release.
        sentence: what was given, the rule, and what to do.
    """

    kind: Literal["error", "warning"]
    name: str
    sentence: str


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
    given, others = _sorted_out(kind, settings, problems)
    args = SimpleNamespace(**{**_defaults(kind), **given})
    args.lr_scheduler_type = str(getattr(args.lr_scheduler_type, "value", args.lr_scheduler_type))
    args.lr_scheduler_kwargs = _kwargs(args.lr_scheduler_kwargs, problems)
    plan = Plan(
        arguments_class=arguments_class,
        name=args.lr_scheduler_type,
        kwargs=args.lr_scheduler_kwargs,
        learning_rate=args.learning_rate,
        learning_rate_from="learning_rate" if "learning_rate" in given else f"the default of {kind.__name__}",
        not_looked_at=others,
    )
    plan = _with_steps(plan, args, given, examples, processes, problems)
    plan = _with_tokens(plan, args, settings, tokens_per_example)
    curve = _curve(plan, args, problems) if _sound(plan, args, problems) else None
    plan = plan if curve is None else _with_curve(plan, curve, problems)
    return dataclasses.replace(plan, problems=tuple(sorted(problems, key=lambda problem: problem.kind)))


# What was typed


def class_of(name: str) -> type[TrainingArguments]:
    """The arguments' class of that dotted name.

    >>> class_of("transformers.Seq2SeqTrainingArguments").__name__
    'Seq2SeqTrainingArguments'

    Raises:
        ValueError: for a name that does not lie under ``transformers`` or ``trl``, so that nothing else is imported; for one
            that is not there, or is no class of arguments.
    """
    package, *path = name.split(".")
    if package not in ("transformers", "trl") or not path or not all(part.isidentifier() for part in path):
        raise ValueError(f"{name!r} is not a class under transformers or trl; write {DEFAULT_CLASS} or trl.SFTConfig")
    try:
        found = getattr(import_module(".".join([package, *path[:-1]])), path[-1])
    except (ImportError, AttributeError) as error:
        raise ValueError(f"there is no {name} here ({error})") from error
    if not (isinstance(found, type) and issubclass(found, TrainingArguments)):
        raise ValueError(f"{name} is no subclass of TrainingArguments; write {DEFAULT_CLASS} or trl.SFTConfig")
    return found


class _Parser(HfArgumentParser):
    """The parser of training scripts, for what was given alone: no defaults, and an exception instead of an exit."""

    def __init__(self, kind: type[TrainingArguments]) -> None:
        kinds: Any = [kind]  # what HfArgumentParser says of their type, no class is
        super().__init__(kinds, allow_abbrev=False, add_help=False)
        for action in self._actions:
            action.default, action.required = SUPPRESS, False
            if action.dest == "lr_scheduler_type":  # looked at later, with the nearest name
                action.choices, action.type = None, str

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def read_flags(words: Sequence[str], *, arguments_class: str = DEFAULT_CLASS) -> tuple[dict[str, Any], list[str]]:
    """What a command line gives, as `settings` for `preflight`, and the words that belong to no flag.

    >>> read_flags(["--max-steps=1000", "--learning_rate", "3e-4", "--dataset_name", "wiki", "run.yaml"])
    ({'max_steps': 1000, 'learning_rate': 0.0003, 'dataset_name': 'wiki'}, ['run.yaml'])

    Raises:
        ValueError: for a value that its argument does not take.
    """
    parsed, rest = _Parser(class_of(arguments_class)).parse_known_args(list(words))
    given: dict[str, Any] = dict(vars(parsed))
    loose: list[str] = []
    flag = None
    for word in rest:
        if word.startswith("--"):
            name, _, value = word[2:].partition("=")
            flag = name.replace("-", "_")
            given[flag] = value or True
            flag = None if value else flag
        elif flag is not None:
            given[flag], flag = word, None
        else:
            loose.append(word)
    return given, loose


def _sorted_out(
    kind: type[TrainingArguments], settings: Mapping[str, Any], problems: list[Problem]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The arguments among `settings`, as what they mean; and the names of the rest."""
    parser, names = _Parser(kind), [one.name for one in dataclasses.fields(kind) if one.init]
    given: dict[str, Any] = {}
    others = []
    for name, value in settings.items():
        if name in names:
            try:
                given |= _converted(parser, name, value)
            except ValueError as error:
                problems.append(Problem("error", "value", str(error)))
        elif name == "warmup_ratio":
            given |= _share(value, settings, problems)
        elif near := [_OTHERS[name]] if name in _OTHERS else get_close_matches(name, names, n=2, cutoff=_NEAR):
            sentence = f"{name} is no argument of {kind.__name__}; did you mean {' or '.join(near)}?"
            problems.append(Problem("error", "misspelt", sentence))
        elif name not in _LENGTHS:
            others.append(name)
    if settings and len(others) == len(settings):
        sentence = f"none of the settings is an argument of {kind.__name__} ({', '.join(others[:5])}, ...)"
        problems.append(Problem("error", "foreign", f"{sentence}; is this another trainer's file, or are they in a section?"))
    return given, tuple(others)


def _converted(parser: _Parser, name: str, value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if isinstance(value, dict | list):
        if name in _SINGLE:
            raise ValueError(f"{name}={value!r} must be one value")
        return {name: value}
    choices = next((action.choices or () for action in parser._actions if action.dest == name), ())
    if value is False and "no" in choices:
        raise ValueError(f"{name}: no is False in YAML; write {name}: 'no'")
    if name == "warmup_steps" and _unclear(value):
        parser.parse_known_args([f"--{name}={value}"])
        return {name: float(value), "warmup_typed": value}
    return vars(parser.parse_known_args([f"--{name}={value}"])[0])


def _unclear(value: Any) -> bool:
    """Whether a warm-up reads as a share and is taken for steps (recipes.md section 4, LR011)."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return False
    return math.isfinite(number) and ((number > 1 and number % 1 > 0) or str(value) == "1.0")


def _share(value: Any, settings: Mapping[str, Any], problems: list[Problem]) -> dict[str, Any]:
    """What ``warmup_ratio`` was meant to be; without it the plan would be another run's."""
    try:
        share = float(value)
    except (TypeError, ValueError):
        share = math.nan
    rule = "warmup_ratio is no argument of Transformers 5, which takes a share of the run as warmup_steps"
    if settings.get("warmup_steps") is not None:
        sentence = (
            f"the warm-up is given twice: {rule}; remove warmup_ratio and leave warmup_steps: {settings['warmup_steps']}"
        )
        problems.append(Problem("error", "warmup_ratio", sentence))
        return {}
    write = f"warmup_steps: {share:g}" if 0 < share < 1 else "warmup_steps: 0.03 for 3 % of it"
    problems.append(Problem("error", "warmup_ratio", f"{rule}; " + ("remove it" if share == 0 else f"write {write}")))
    return {"warmup_steps": share} if 0 < share < 1 else {}


def _defaults(kind: type[TrainingArguments]) -> dict[str, Any]:
    """The class's own; a factory's result where it has one."""
    return {
        one.name: one.default if one.default_factory is dataclasses.MISSING else one.default_factory()
        for one in dataclasses.fields(kind)
    }


def _kwargs(typed: Any, problems: list[Problem]) -> dict[str, Any]:
    """``lr_scheduler_kwargs`` as the dict that TrainingArguments makes of it."""
    if isinstance(typed, dict) or not typed:
        return dict(typed or {})
    try:
        read = json.loads(typed)
    except (TypeError, ValueError):
        read = None
    if not isinstance(read, dict):
        sentence = f"lr_scheduler_kwargs={typed!r} is no JSON object; write it as '{{\"decay\": 0.1}}'"
        problems.append(Problem("error", "value", sentence))
        return {}
    return {word: _number(value) for word, value in read.items()}


def _number(value: Any) -> Any:
    """A number in quotes as the number, as TrainingArguments has it where it reads JSON."""
    plain = isinstance(value, str) and value.replace(".", "", 1).isdigit()
    return (float(value) if "." in value else int(value)) if plain else value


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
        values = {name: settings.get(name, getattr(args, name, None)) for name in _LENGTHS}
        known = [(name, int(value)) for name, value in values.items() if str(value).isdigit()]
        if known:
            name, tokens = known[0]
            at_most = name != "block_size" and not getattr(args, "packing", settings.get("packing"))
    if tokens is None or plan.examples_per_step is None:
        return plan
    return dataclasses.replace(plan, tokens_per_step=tokens * plan.examples_per_step, tokens_at_most=at_most)


# The learning rate


@dataclass(frozen=True)
class _Curve:
    """A schedule over a run, ours or Transformers'.

    Args:
        at: learning rates at steps; None where the loss decides.
        key: the steps to show, each with its phase.
    """

    at: Callable[[Sequence[int]], list[float]] | None
    warmup: float
    warmup_from: str
    phases: tuple[tuple[str, float], ...]
    key: list[tuple[int, str]]
    schedule: Schedule | None = None


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


def _curve(plan: Plan, args: Any, problems: list[Problem]) -> _Curve | None:
    steps = int(plan.steps or 0)
    # As TrainingArguments.get_warmup_steps, which needs an instance.
    warmup = int(args.warmup_steps) if args.warmup_steps >= 1 else math.ceil(steps * args.warmup_steps)
    found = len(problems)
    try:
        if plan.name in CATALOGUE and CATALOGUE[plan.name].registered:
            return _ours(plan, steps, warmup, problems)
        _check_theirs(plan, args, steps, warmup, problems)
        broken = any(problem.kind == "error" for problem in problems[found:])
        return None if broken else _theirs(plan, steps, warmup)
    except ArithmeticError as error:
        sentence = f"{plan.name} fails in Transformers ({error}) with a warm-up of {warmup} in {steps} steps; shorten it"
        problems.append(Problem("error", "schedule", sentence))
    except TypeError as error:
        sentence = f"{plan.name} does not take lr_scheduler_kwargs={plan.kwargs}: {error}"
        problems.append(Problem("error", "kwargs", sentence))
    except ValueError as error:
        problems.append(Problem("error", "schedule", f"{plan.name} is refused: {error}"))
    return None


def _ours(plan: Plan, steps: int, warmup: int, problems: list[Problem]) -> _Curve:
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
    return _Curve(
        at=lambda at: [float(value) for value in schedule.lrs(at, rate)],
        warmup=schedule.warmup,
        warmup_from=said if schedule.warmup else "",
        phases=tuple((phase.name, end - start) for start, end, phase in spans),
        key=[*((math.ceil(start), phase.name) for start, _, phase in spans), (steps - 1, "(last)")],
        schedule=schedule,
    )


def _check_theirs(plan: Plan, args: Any, steps: int, warmup: int, problems: list[Problem]) -> None:
    """What Transformers would refuse in words of its own, or pass over in silence."""
    name, kwargs = plan.name, plan.kwargs

    def add(kind: Literal["error", "warning"], word: str, sentence: str) -> None:
        problems.append(Problem(kind, word, sentence))

    if name in _FOLLOWS_THE_LOSS and str(getattr(args.eval_strategy, "value", args.eval_strategy)) == "no":
        add(
            "error", "eval_strategy", f"{name} follows the held-out loss, but eval_strategy is 'no'; set it to steps or epoch"
        )
    if name in _DROPS_WARMUP and warmup:
        instead = "constant_with_warmup" if name == "constant" else "warmup_cosine or another schedule"
        add("warning", "warmup_ignored", f"warmup_steps={args.warmup_steps:g} does nothing under {name}; use {instead}")
    if name in _DROPS_KWARGS and kwargs:
        dropped = f"Transformers drops lr_scheduler_kwargs ({', '.join(kwargs)}) under {name}"
        add("warning", "kwargs_dropped", f"{dropped}; remove them, or choose a schedule that takes them")
    elif wrong := _refused_words(name, kwargs):
        add("error", "kwargs", wrong)
    elif name == "warmup_stable_decay":
        _check_their_wsd(kwargs, steps, warmup, add)


def _refused_words(name: str, kwargs: Mapping[str, Any]) -> str:
    """Why Transformers' function does not take these words; empty where it does."""
    theirs = ("optimizer", "num_warmup_steps", "num_training_steps", "last_epoch")
    for word in ("num_warmup_steps", "num_training_steps"):
        if word in kwargs:
            own = (
                "the warm-up is given twice: Trainer passes warmup_steps on as" if "warm" in word else "Trainer itself gives"
            )
            return f"{own} {word}, so {name} would get it twice; remove {word} from lr_scheduler_kwargs"
    function: Any = TYPE_TO_SCHEDULER_FUNCTION[SchedulerType(name)]
    parameters = inspect.signature(function).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return ""  # passed on to a class that is made, and refuses what it does not know
    accepted = [word for word in parameters if word not in theirs]
    for word in kwargs:
        if word not in (*accepted, "last_epoch"):
            near = get_close_matches(word, accepted, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            return f"{name} does not take {word!r} in lr_scheduler_kwargs{hint} (accepted: {', '.join(accepted) or 'none'})"
    missing = [word for word in accepted if parameters[word].default is inspect.Parameter.empty and word not in kwargs]
    return f"{name} needs {', '.join(missing)} in lr_scheduler_kwargs, in steps" if missing else ""


def _check_their_wsd(kwargs: Mapping[str, Any], steps: int, warmup: int, add: Callable[..., None]) -> None:
    """Lengths that do not fit, which Transformers passes over (schedules.md section 4, defects 2 and 3; recipes.md LR019)."""
    decay, stable = kwargs["num_decay_steps"], kwargs.get("num_stable_steps")
    if 0 < decay < 1:
        right = f"write {round(decay * steps)}, or use wsd with decay: {decay:g}"
        add("error", "decay", f"num_decay_steps={decay:g} is less than a step: Transformers takes steps, not shares; {right}")
    elif warmup + (stable or 0) + decay > steps:
        parts = (
            f"warmup ({warmup}), stable ({stable}) and decay ({decay:g})"
            if stable
            else f"warmup ({warmup}) and decay ({decay:g})"
        )
        total = f"{parts} take {warmup + (stable or 0) + decay:g} steps, but the run has only {steps}"
        add("error", "lengths", f"{total}; shorten one of them or train for longer")
    elif stable is not None and warmup + stable + decay < steps:
        rest = f"warmup ({warmup}), stable ({stable}) and decay ({decay:g}) take {warmup + stable + decay:g} of {steps} steps"
        add("warning", "lengths", f"{rest}, and the rest runs at the lowest learning rate; remove num_stable_steps")


def _theirs(plan: Plan, steps: int, warmup: int) -> _Curve:
    rate = plan.learning_rate
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=rate)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that num_stable_steps wins over the total: it is looked at above
        made: Any = get_scheduler(plan.name, optimizer, warmup, steps, plan.kwargs)
    if plan.name in _FOLLOWS_THE_LOSS:
        return _Curve(None, 0, "", (("the held-out loss decides", steps),), [])
    warmup = 0 if plan.name in _DROPS_WARMUP else warmup
    phases = _their_phases(plan, steps, warmup)
    ends = np.cumsum([length for _, length in phases])
    starts = [math.ceil(end) for end in ends[:-1]] if len(phases) <= 4 else [warmup]  # not those of every cycle
    chosen = sorted({step for step in (*starts, *(round(steps * share) for share in _QUARTERS)) if 0 < step < steps - 1})
    key = [(step, phases[min(int(np.searchsorted(ends, step, "right")), len(phases) - 1)][0]) for step in [0, *chosen]]
    [curve] = made.lr_lambdas
    curve(steps)  # as Trainer does behind the last step: polynomial divides by zero there if it is all warm-up
    said = "warmup_steps" if warmup else ""
    return _Curve(lambda at: [rate * curve(step) for step in at], warmup, said, phases, [*key, (steps - 1, "(last)")])


def _their_phases(plan: Plan, steps: int, warmup: int) -> tuple[tuple[str, float], ...]:
    parts: list[tuple[str, float]] = [("warmup", min(warmup, steps))]
    rest = max(steps - warmup, 0)
    if plan.name == "warmup_stable_decay":
        decay, stable = plan.kwargs["num_decay_steps"], plan.kwargs.get("num_stable_steps")
        stable = rest - decay if stable is None else stable
        parts += [("stable", stable), ("decay", decay), ("floor", rest - stable - decay)]
    elif plan.name == "cosine_with_restarts" and (cycles := plan.kwargs.get("num_cycles", 1)) in range(1, 100):
        parts += [(f"cycle {number + 1}", rest / cycles) for number in range(int(cycles))]
    else:
        parts.append(("stable" if plan.name in _DROPS_KWARGS else "decay", rest))
    return tuple((name, length) for name, length in parts if length > 0)


def _with_curve(plan: Plan, curve: _Curve, problems: list[Problem]) -> Plan:
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


def _judge_warmup(plan: Plan, curve: _Curve, steps: int, peak: float, problems: list[Problem]) -> None:
    warmup = f"the warm-up takes {curve.warmup:g} of {steps} steps"
    if curve.warmup >= steps:  # recipes.md section 4, LR001: four of litgpt's full.yaml
        reached = f"so the run ends at {peak:g} before it has the peak of {plan.learning_rate:g}"
        problems.append(Problem("error", "no_peak", f"{warmup}, {reached}; shorten it or train for longer"))
    elif curve.warmup > _LONG_WARMUP * steps:
        sentence = (
            f"{warmup}, {curve.warmup / steps:.0%}, more than half; shorten it (warmup_steps: 0.05) or train for longer"
        )
        problems.append(Problem("warning", "long_warmup", sentence))
