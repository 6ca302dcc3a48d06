"""``list``, ``show`` and ``plot``: schedules before any run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from .output import formatted, refused, say


class OfSchedules(click.Command):
    """A command that takes every argument of every schedule as an option; the catalogue says which there are."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The command's own options, and those of the catalogue."""
        from ..schedules.catalogue import CATALOGUE
        from ..schedules.lengths import UNITS

        takers: dict[str, list[str]] = {}
        for name, entry in CATALOGUE.items():
            for word in entry.arguments:
                takers.setdefault(word, []).append(name)
        takers |= {word: ["any, for lengths in epochs or tokens"] for word in UNITS}
        options = [
            click.Option([f"--{word}", word], metavar="VALUE", help=_of(names)) for word, names in sorted(takers.items())
        ]
        own = super().get_params(ctx)
        return [*own[:-1], *options, *own[-1:]]


def _of(names: list[str]) -> str:
    return f"Of {', '.join(names) if len(names) < 6 else f'{len(names)} schedules'}."


def _schedule_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The run that a schedule is shown for."""
    length = click.option("--steps", type=click.IntRange(min=1), default=1000, show_default=True, help="Optimizer steps.")
    peak = click.option("--learning_rate", "--peak", "peak", type=float, default=1.0, show_default=True, help="The peak.")
    return length(peak(command))


def _complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    from ..schedules.catalogue import CATALOGUE

    del context, parameter
    return [name for name in CATALOGUE if name.startswith(incomplete)]


_SHOWN = 10_000  # steps that a plot in the terminal is made of; far more than its columns
_TAKES_MORE = {"ignore_unknown_options": True, "allow_extra_args": True}


@click.command(name="list", short_help="The schedules, with a sparkline and one line each.")
@formatted
def list_(form: str) -> None:
    """The schedules: name, shape, and one line each.

    Example:  hf-lrsched list
    """
    from ..schedules.catalogue import CATALOGUE, build
    from ..show.text import sparkline

    width = max(map(len, CATALOGUE))
    lines = []
    for name, entry in CATALOGUE.items():
        needed = {"phases": [{"from": 0, "to": 1, "length": "10%"}, {"length": "50%"}, {"to": 0.1}]}
        schedule = build(name, 1000, **{word: needed[word] for word in entry.needed})
        unregistered = "" if entry.registered else f" (not registered: {entry.why_not})"
        lines.append(f"{name:<{width}}  {sparkline(schedule.values(), 24)}  {entry.summary}{unregistered}")
    data = [
        {"name": name, "summary": entry.summary, "arguments": entry.arguments, "registered": entry.registered}
        | {"source": entry.source, "aliases": dict(entry.aliases)}
        for name, entry in CATALOGUE.items()
    ]
    say(form, "\n".join(lines), data)


@click.command(cls=OfSchedules, context_settings=_TAKES_MORE, short_help="One schedule: phases, LR at key steps, a plot.")
@click.argument("name", shell_complete=_complete)
@_schedule_options
@formatted
@click.pass_context
def show(context: click.Context, /, name: str, steps: int, peak: float, form: str, **words: str | None) -> None:
    """The phases of the schedule NAME, its learning rate at key steps, and a plot in the terminal.

    Every argument of the schedule is an option, in its own words or those of Transformers and torch.

    Example:  hf-lrsched show wsd --steps 20000 --warmup 5% --decay 0.1 --learning_rate 3e-4
    """
    from ..schedules.catalogue import build
    from ..schedules.lengths import Horizon
    from ..schedules.spec import to_spec
    from ..show.text import chart, key_lrs, key_steps, phase_list

    try:
        schedule = build(name, Horizon(steps, peak=peak), **_words(words, context.args))
        lrs = schedule.lrs([steps * i // _SHOWN for i in range(_SHOWN)] if steps > _SHOWN else None, peak)
    except (ValueError, TypeError) as error:
        raise refused(error) from error
    rows = [{"step": step, "phase": phase, "lr": lr} for step, phase, lr in key_lrs(schedule, peak)]
    data = {"name": name, "steps": steps, "peak": peak, "warmup": schedule.warmup, "lr": rows, "spec": to_spec(schedule)}
    say(form, f"{name}: {phase_list(schedule)}\n\n{key_steps(schedule, peak)}\n\n{chart(lrs)}", data)


@click.command(cls=OfSchedules, context_settings=_TAKES_MORE, short_help="A picture of one or several schedules.")
@click.argument("names", nargs=-1, required=True, shell_complete=_complete, metavar="NAME... | SPEC.json")
@_schedule_options
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), required=True, help=".png, .svg or .pdf")
@click.option("--log", is_flag=True, help="A logarithmic axis for the learning rate.")
@formatted
@click.pass_context
def plot(
    context: click.Context,
    /,
    names: tuple[str, ...],
    steps: int,
    peak: float,
    output: Path,
    log: bool,
    form: str,
    **words: str | None,
) -> None:
    """A picture of schedules, one or several: names of the catalogue, or JSON files that hold a spec.

    The arguments of a schedule go to every one that is named, and each must know them.

    Example:  hf-lrsched plot wsd warmup_cosine --steps 20000 --learning_rate 3e-4 -o schedules.png
    """
    from ..show import plot as pictures

    asked = tuple(argument for argument in names if not argument.startswith("--"))
    extra = [*names[len(asked) :], *context.args]
    check_picture(output)
    try:
        pictures.schedules(*asked, file=output, steps=steps, peak=peak, log=log, **_words(words, extra))
    except (ValueError, TypeError, OSError, ModuleNotFoundError) as error:
        raise refused(error) from error
    say(form, f"{output}", {"file": str(output), "schedules": list(asked)})


PICTURES = (".png", ".svg", ".pdf")


def check_picture(file: Path, *others: str) -> None:
    """Refuses a file that no picture could be written to.

    Raises:
        ClickException: for another ending, or a folder that is not there.
    """
    if file.suffix not in (*PICTURES, *others):
        raise click.ClickException(f"{file}: the ending says what is written; give one of {', '.join((*PICTURES, *others))}")
    if not file.absolute().parent.is_dir():
        raise click.ClickException(f"{file}: there is no folder {file.parent}")


def _words(declared: dict[str, str | None], arguments: list[str]) -> dict[str, Any]:
    """``--warmup 5% --cycles=4`` as what they mean: JSON where it is, else text."""
    parts = [part for argument in arguments for part in (argument.split("=", 1) if argument.startswith("--") else [argument])]
    if len(parts) % 2 or not all(flag.startswith("--") for flag in parts[::2]):
        raise click.UsageError(f"{' '.join(arguments)}: an argument of a schedule is --NAME VALUE")
    undeclared = {flag[2:].replace("-", "_"): value_of(text) for flag, text in zip(parts[::2], parts[1::2], strict=True)}
    return {**{word: value_of(text) for word, text in declared.items() if text is not None}, **undeclared}


def value_of(text: str) -> Any:
    """What was typed as the value it means: JSON where it is, else text."""
    try:
        return json.loads(text)
    except ValueError:
        return text
