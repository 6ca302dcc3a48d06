"""``plan``: what a run will do and what is wrong with it, before it starts."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .output import formatted, refused, say

if TYPE_CHECKING:
    from ..training.preflight import Plan

_COUNT = click.IntRange(min=1)


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[CONFIG] [TRAINER FLAGS]...")
@click.option("--examples", type=_COUNT, help="Training examples (after packing, where they are packed).")
@click.option(
    "--tokens_per_example",
    "--tokens-per-example",
    "tokens",
    type=_COUNT,
    help="Default: block_size, max_length or max_seq_length.",
)
@click.option("--processes", type=_COUNT, default=1, show_default=True, help="Processes that train together, one a GPU.")
@click.option(
    "--arguments_class",
    "--arguments-class",
    "arguments_class",
    default="transformers.TrainingArguments",
    show_default=True,
    help="Whose defaults count: trl.SFTConfig, trl.DPOConfig, ...",
)
@click.option("--strict", is_flag=True, help="Exit with 1 for a warning too.")
@formatted
def plan(
    words: tuple[str, ...],
    examples: int | None,
    tokens: int | None,
    processes: int,
    arguments_class: str,
    strict: bool,
    form: str,
) -> None:
    """What a run will do: steps, warm-up, peak, phases, learning rates, tokens, and what is wrong. Nothing is loaded or run.

    CONFIG is a YAML or JSON file of arguments, as for TRL, alignment-handbook or the recipes here. Flags are those of the
    training script, and win over the file. Exit code 1 where there is an error.

    \b
    Examples:
      hf-lrsched plan recipes/presets/pretrain.yaml --examples 1000000 --processes 8
      hf-lrsched plan sft.yaml --arguments_class trl.SFTConfig --examples 25000 --strict
      hf-lrsched plan --max_steps 1000 --learning_rate 3e-4 --lr_scheduler_type wsd --lr_scheduler_kwargs '{"decay": 0.1}'
    """
    if not words and examples is None:
        raise click.UsageError("give a CONFIG, trainer flags, or both: hf-lrsched plan config.yaml --max_steps 1000")
    from ..training.preflight import preflight
    from ..training.typed import class_of, read_flags

    try:
        class_of(arguments_class)
        flags, files = read_flags(words, arguments_class=arguments_class)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    settings = {**_read(_config(flags, files)), **flags}
    made = preflight(
        settings, arguments_class=arguments_class, examples=examples, tokens_per_example=tokens, processes=processes
    )
    say(form, _text(made), _data(made))
    kinds = {problem.kind for problem in made.problems}
    sys.exit(1 if "error" in kinds or (strict and kinds) else 0)


def _config(flags: dict[str, Any], files: list[str]) -> Path | None:
    """The configuration file among what was typed; taken out of `flags` where it stands behind ``--config``."""
    named = flags.pop("config", None)
    files = [*files, *([named] if isinstance(named, str) else [])]
    taken = [f"--{flag} {value}" for flag, value in flags.items() if str(value).endswith((".yaml", ".yml"))]
    if taken and not files:  # an unknown flag without a value would have swallowed it
        raise click.UsageError(f"{taken[0]}: is that the CONFIG? Write it first")
    if len(files) > 1 or (files and "=" in files[0]):
        raise click.UsageError(f"{' '.join(files)}: there is one CONFIG, and an argument is --NAME VALUE")
    if files and not Path(files[0]).is_file():
        raise click.UsageError(f"there is no file {files[0]}")
    return Path(files[0]) if files else None


def _read(file: Path | None) -> dict[str, Any]:
    """The settings in a YAML or JSON file."""
    if file is None:
        return {}
    import yaml

    try:
        text = file.read_text("utf-8")
        read = json.loads(text) if file.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise refused(ValueError(f"{file} cannot be read: {' '.join(str(error).split())}")) from error
    if not isinstance(read, dict):
        raise click.ClickException(f"{file} holds a {type(read).__name__}, not settings such as 'learning_rate: 2.0e-5'")
    return {str(name): value for name, value in read.items()}


def _text(made: Plan) -> str:
    parts = ["\n".join(f"{name + ':':<10} {value}" for name, value in _rows(made) if value)]
    if made.samples:
        parts.append(_table(made))
    parts.append("\n".join(f"{problem.kind}: {problem.sentence}" for problem in made.problems))
    if made.not_looked_at:
        parts.append(f"not looked at: {', '.join(made.not_looked_at)}")
    return "\n\n".join(part for part in parts if part)


def _rows(made: Plan) -> Iterator[tuple[str, str]]:
    words = ", ".join(f"{word}={value}" for word, value in made.kwargs.items())
    yield "schedule", f"{made.name}{f' ({words})' if words else ''}"
    yield "steps", "unknown" if made.steps is None else f"{made.steps:,} ({made.steps_from})"
    if made.warmup is not None and made.steps:
        said = f" ({made.warmup / made.steps:.2g} of the run; {made.warmup_from})" if made.warmup else ""
        yield "warm-up", f"{made.warmup:g} step{'s' * (made.warmup != 1)}{said}" if made.warmup else "none"
    if made.peak is None:
        yield "peak", f"{made.learning_rate:g} at first ({made.learning_rate_from})" if made.phases else ""
    else:
        yield "peak", f"{made.peak:g}, from step {made.peak_step:,} ({made.learning_rate_from})"
    yield "phases", ", ".join(f"{name} {steps:g}" for name, steps in made.phases[:8]) + _more(made)
    if made.tokens_per_step is not None:
        most = "at most " if made.tokens_at_most else ""
        whole = "" if made.tokens is None else f", {made.tokens:,} in all"
        yield "tokens", f"{most}{made.tokens_per_step:,} a step{whole}"


def _more(made: Plan) -> str:
    return f", ... {len(made.phases) - 8} more" if len(made.phases) > 8 else ""


def _table(made: Plan) -> str:
    """The learning rate at key steps, as `show.text.key_steps` has it, and over the run."""
    from ..show.text import sparkline

    width = max(len("phase"), *(len(phase) for _, phase, _ in made.key_steps))
    lines = [f"{'step':>6}  {'phase':<{width}}  {'learning rate':>13}"]
    lines += [f"{step:>6}  {phase:<{width}}  {lr:>13.6g}" for step, phase, lr in made.key_steps]
    return "\n".join([*lines, "", f"{sparkline(made.samples, 60)}  0 to {made.peak:g}"])


def _data(made: Plan) -> dict[str, Any]:
    from ..schedules.spec import to_spec

    return {
        "arguments_class": made.arguments_class,
        "schedule": made.name,
        "lr_scheduler_kwargs": made.kwargs,
        "learning_rate": made.learning_rate,
        "learning_rate_from": made.learning_rate_from,
        "steps": made.steps,
        "steps_from": made.steps_from,
        "steps_per_epoch": made.steps_per_epoch,
        "examples_per_step": made.examples_per_step,
        "tokens_per_step": made.tokens_per_step,
        "tokens_at_most": made.tokens_at_most,
        "tokens": made.tokens,
        "warmup": made.warmup,
        "warmup_from": made.warmup_from,
        "peak": made.peak,
        "peak_step": made.peak_step,
        "phases": [{"name": name, "steps": steps} for name, steps in made.phases],
        "key_steps": [{"step": step, "phase": phase, "learning_rate": lr} for step, phase, lr in made.key_steps],
        "spec": None if made.schedule is None else to_spec(made.schedule),
        "problems": [{"kind": one.kind, "name": one.name, "sentence": one.sentence} for one in made.problems],
        "not_looked_at": list(made.not_looked_at),
    }
