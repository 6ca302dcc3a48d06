"""``list``, ``show`` and ``plot``: schedules before any run."""

from __future__ import annotations

import json
from typing import Any

import click


@click.command(name="list")
def list_() -> None:
    """The schedules: name, shape, and one line each.

    Example:  hf-lrsched list
    """
    from ..schedules.catalogue import CATALOGUE, build
    from ..show.text import sparkline

    width = max(map(len, CATALOGUE))
    for name, entry in CATALOGUE.items():
        needed = {"phases": [{"from": 0, "to": 1, "length": "10%"}, {"length": "50%"}, {"to": 0.1}]}
        schedule = build(name, 1000, **{word: needed[word] for word in entry.needed})
        unregistered = "" if entry.registered else f" (not registered: {entry.why_not})"
        click.echo(f"{name:<{width}}  {sparkline(schedule.values(), 24)}  {entry.summary}{unregistered}")


@click.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
@click.argument("name")
@click.option("--steps", type=click.IntRange(min=1), default=1000, show_default=True, help="Optimizer steps in the run.")
@click.option("--learning_rate", "--peak", "peak", type=float, default=1.0, show_default=True, help="The peak.")
@click.pass_context
def show(context: click.Context, name: str, steps: int, peak: float) -> None:
    """The phases of the schedule NAME, its learning rate at key steps, and a plot in the terminal.

    Every argument of the schedule is an option, in its own words or those of Transformers and torch.

    Example:  hf-lrsched show wsd --steps 20000 --warmup 5% --decay 0.1 --learning_rate 3e-4
    """
    from ..schedules.catalogue import build
    from ..schedules.lengths import Horizon
    from ..show.text import chart, key_steps, phase_list

    try:
        schedule = build(name, Horizon(steps, peak=peak), **_words(context.args))
        lrs = schedule.lrs(None, peak)
    except (ValueError, TypeError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{name}: {phase_list(schedule)}\n\n{key_steps(schedule, peak)}\n\n{chart(lrs)}")


def _words(arguments: list[str]) -> dict[str, Any]:
    """``--warmup 5% --cycles=4`` as what they mean: JSON where it is, else text."""
    parts = [part for argument in arguments for part in (argument.split("=", 1) if argument.startswith("--") else [argument])]
    if len(parts) % 2 or not all(flag.startswith("--") for flag in parts[::2]):
        raise click.UsageError(f"{' '.join(arguments)}: an argument of a schedule is --NAME VALUE")
    return {flag[2:].replace("-", "_"): _value(text) for flag, text in zip(parts[::2], parts[1::2], strict=True)}


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
