"""What was typed for a run, as Transformers would read it: a configuration's settings, or a command line.

What it does not know: what the settings do (`preflight`).
"""

from __future__ import annotations

import dataclasses
import json
import math
from argparse import SUPPRESS
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from typing import Any, Literal, NoReturn

from transformers import HfArgumentParser, TrainingArguments

from .auto import AUTO

DEFAULT_CLASS = "transformers.TrainingArguments"

# How long an example is, in tokens; a script's words for it. The last two are a limit, which examples may fall short of.
LENGTHS = ("block_size", "max_length", "max_seq_length")
# A word this near to an argument's is a slip: no setting of TRL's classes is as near to one of Transformers' (a test looks).
_NEAR = 0.825
# Words of other trainers, and of Transformers 4.
_OTHERS = {
    "lr": "learning_rate",
    "warmup": "warmup_steps",
    "num_epochs": "num_train_epochs",
    "evaluation_strategy": "eval_strategy",
}
# What is computed with here. The other arguments are only held to their types.
_SINGLE = (
    "learning_rate", "lr_scheduler_type", "warmup_steps", "max_steps", "num_train_epochs", "per_device_train_batch_size",
    "gradient_accumulation_steps", "dataloader_drop_last", "eval_strategy",
)  # fmt: skip


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
            if action.dest in AUTO:
                action.type = _number_or_auto

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def _number_or_auto(typed: str) -> float | str:
    return typed if typed == "auto" else float(typed)


_number_or_auto.__name__ = "float"  # what argparse calls a value that it does not take


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


def sorted_out(
    kind: type[TrainingArguments], settings: Mapping[str, Any], problems: list[Problem]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The arguments among `settings`, as what they mean; and the names of the rest."""
    parser, names = _Parser(kind), [one.name for one in dataclasses.fields(kind) if one.init]
    given: dict[str, Any] = {}
    others = []
    for name, value in settings.items():
        if name in AUTO and value == "auto":
            sentence = f"{name}: auto is decided by the recipes as a run begins, and this plan has the default; "
            sentence += "what it would be: hf-lrsched recommend MODEL --task TASK"
            problems.append(Problem("warning", "auto", sentence))
        elif name in names:
            try:
                given |= _converted(parser, name, value)
            except ValueError as error:
                problems.append(Problem("error", "value", str(error)))
        elif name == "warmup_ratio":
            given |= _share(value, settings, problems)
        elif near := [_OTHERS[name]] if name in _OTHERS else get_close_matches(name, names, n=2, cutoff=_NEAR):
            sentence = f"{name} is no argument of {kind.__name__}; did you mean {' or '.join(near)}?"
            problems.append(Problem("error", "misspelt", sentence))
        elif name not in LENGTHS:
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


def defaults_of(kind: type[TrainingArguments]) -> dict[str, Any]:
    """The class's own; a factory's result where it has one."""
    return {
        one.name: one.default if one.default_factory is dataclasses.MISSING else one.default_factory()
        for one in dataclasses.fields(kind)
    }


def kwargs_of(typed: Any, problems: list[Problem]) -> dict[str, Any]:
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
