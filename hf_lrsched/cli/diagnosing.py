"""``diagnose``: what is wrong with runs, one or hundreds, finished or not, ours or anybody's."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from .output import formatted, refused, say
from .reports import named, write
from .schedules import PICTURES, check_picture

if TYPE_CHECKING:
    from ..runs.history import History
    from ..show.findings import Seen

_FEWEST = 32  # losses: what the rules for spikes, noise and plateaus need before they say anything
# Files that make a folder a run's; TensorBoard's as Trainer lays them down, a folder in ``runs`` for each start.
_LEFT = ("lr_history.jsonl", "trainer_state.json", "checkpoint-*/trainer_state.json", "*tfevents*", "runs/*/*tfevents*")

# The last two are what a file that is no log at all raises: one of them among hundreds must not end the call.
_UNREADABLE = (OSError, ValueError, ModuleNotFoundError)


@click.command(short_help="What is wrong with runs, and is it the learning rate?")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="A picture of the run with its findings marked (.png, .svg, .pdf), a page (.html), or a folder: then a picture of "
    "every run that needs attention.",
)
@formatted
@click.pass_context
def diagnose(context: click.Context, runs: tuple[Path, ...], output: Path | None, form: str) -> None:
    """What is wrong with RUNS, with evidence, likely cause and what to do; and what their logs cannot tell.

    Each is a run's folder, a folder of such folders, or a file: lr_history.jsonl, trainer_state.json, CSV, JSON lines or
    TensorBoard event files, also gzipped. A run may still be going on.

    The exit code is 1 where a run needs attention or could not be read, else 0; 2 for a command that makes no sense. In JSON,
    "attention" is null for a run that could not be read ("error") or holds too little to judge ("cannot_tell").

    \b
    Examples:
      hf-lrsched diagnose runs/pretrain -o marked.png
      hf-lrsched diagnose runs/ --format json
    """
    from ..show.findings import details, overview

    found = named(tuple({run.resolve(): run for given in runs for run in _below(given)}.values()))  # a link is no other run
    folder = _checked(output, several=len(found) > 1)
    told, data = [], []
    width = min(shutil.get_terminal_size((100, 24)).columns, 120)
    for name, path in _progress(found.items()):
        seen, one = _judge(name, path, None if folder else output, folder)
        data.append(one)
        told.append((seen, details(seen, width=width) if seen.attention or len(found) == 1 else ""))
    parts = [text for _, text in told if text]
    if len(found) > 1:
        parts.insert(0, overview([seen for seen, _ in told]))
    written = [one["file"] for one in data if one["file"]]
    say(form, "\n\n".join([*parts, *(["\n".join(written)] if written else [])]), data)
    context.exit(int(any(one["attention"] or one["error"] for one in data)))


def _judge(name: str, path: Path, file: Path | None, folder: Path | None) -> tuple[Seen, dict[str, Any]]:
    """What a run shows, for people and as JSON has it; its history is let go of behind it."""
    from ..runs.diagnosis import diagnose as found_in
    from ..runs.reading import read_history
    from ..runs.summary import summary
    from ..show.findings import Seen, not_seen

    about: dict[str, Any] = {"run": name, "source": str(path), "steps": None, "attention": None, "findings": []}
    about |= {"missing": [], "not_seen": [], "cannot_tell": None, "error": None, "file": None}
    try:
        history = read_history(path)
    except _UNREADABLE as error:
        return Seen(name, None, (), f"could not be read: {error}"), {**about, "error": str(error)}
    found, hidden, doubt = tuple(found_in(history)), not_seen(history), _doubt(history)
    seen = Seen(name, summary(history)["steps"], found, "" if found else doubt, hidden)
    if file is None and folder is not None and seen.attention:
        file = _free(folder, name)
    if file is not None:
        write(history, file, path, found)
    return seen, {
        **about,
        "source": history.source,
        "steps": seen.steps,
        "attention": None if seen.doubt else seen.attention,
        "findings": [one.to_dict() for one in found],
        "missing": list(history.missing),
        "not_seen": list(hidden),
        "cannot_tell": seen.doubt or None,
        "file": None if file is None else str(file),
    }


def _doubt(history: History) -> str:
    """Why nothing can be said of a run in which nothing was found; empty where it can."""
    losses = int(np.isfinite(history.loss).sum())
    if losses >= _FEWEST:
        return ""
    held = f"only {losses} training loss{'es' * (losses > 1)}, where {_FEWEST} are needed" if losses else "no training loss"
    return f"cannot tell: it holds {held}"


def _below(given: Path) -> list[Path]:
    """The folder of a run, or a file, as it is; of a folder that is none, the runs below it."""
    if not given.is_dir() or _is_run(given):
        return [given]
    found: list[Path] = []
    for where, folders, _ in os.walk(given):
        folders.sort(key=lambda name: [(part.isdecimal() and int(part), part) for part in re.split(r"(\d+)", name)])
        runs = [name for name in folders if _is_run(Path(where, name))]
        found += [Path(where, name) for name in runs]
        folders[:] = [name for name in folders if name not in runs]  # the checkpoints of a run are the same run
    return found or [given]


def _is_run(folder: Path) -> bool:
    return any(next(folder.glob(left), None) is not None for left in _LEFT)


def _checked(output: Path | None, *, several: bool) -> Path | None:
    """The folder for pictures, made where it is not there; None where `output` is a file or nothing.

    Raises:
        UsageError: for one file and several runs.
        ClickException: for a file that nothing could be written to.
    """
    if output is None:
        return None
    if output.is_dir() or not output.suffix:
        try:
            output.mkdir(exist_ok=True)
        except OSError as error:
            raise refused(error) from error
        return output
    if several:
        raise click.UsageError(f"{output} is one file, and there are several runs; give a folder: -o {output.stem}/")
    check_picture(output, ".html")
    return None


def _free(folder: Path, name: str) -> Path:
    """Where the picture of a run goes: by its name, whose slashes would be folders."""
    return folder / f"{name.strip('/').replace('--', '---').replace('/', '--')}{PICTURES[0]}"


def _progress(items: Iterable[tuple[str, Path]]) -> Iterator[tuple[str, Path]]:
    """The items, with a bar on stderr where that is a terminal and they take longer than two seconds."""
    from tqdm import tqdm

    yield from tqdm(list(items), disable=None, delay=2, leave=False, unit="run")
