"""The command line: ``hf-lrsched``, or ``python -m hf_lrsched``. One thin function a command; each imports what it needs.

It loads neither torch nor transformers.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from types import FrameType
from typing import Any

import click

from .version import __version__

# What training/checkpoints.py and training/cooldown.py call them; not imported, as those load torch. A test compares.
_RUN, _REQUEST, _RECORD, _WORKERS = "hf_lrsched_run.json", "cooldown.request", "cooldown.json", "HF_LRSCHED_WORKERS"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="hf-lrsched")
def main() -> None:
    """Learning-rate schedules for Hugging Face Transformers."""


@main.command(name="list")
def list_() -> None:
    """The schedules: name, shape, and one line each.

    Example:  hf-lrsched list
    """
    from .schedules.catalogue import CATALOGUE, build
    from .show.text import sparkline

    width = max(map(len, CATALOGUE))
    for name, entry in CATALOGUE.items():
        needed = {"phases": [{"from": 0, "to": 1, "length": "10%"}, {"length": "50%"}, {"to": 0.1}]}
        schedule = build(name, 1000, **{word: needed[word] for word in entry.needed})
        unregistered = "" if entry.registered else f" (not registered: {entry.why_not})"
        click.echo(f"{name:<{width}}  {sparkline(schedule.values(), 24)}  {entry.summary}{unregistered}")


@main.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
@click.argument("name")
@click.option("--steps", type=click.IntRange(min=1), default=1000, show_default=True, help="Optimizer steps in the run.")
@click.option("--learning_rate", "--peak", "peak", type=float, default=1.0, show_default=True, help="The peak.")
@click.pass_context
def show(context: click.Context, name: str, steps: int, peak: float) -> None:
    """The phases of the schedule NAME, its learning rate at key steps, and a plot in the terminal.

    Every argument of the schedule is an option, in its own words or those of Transformers and torch.

    Example:  hf-lrsched show wsd --steps 20000 --warmup 5% --decay 0.1 --learning_rate 3e-4
    """
    from .schedules.catalogue import build
    from .schedules.lengths import Horizon
    from .show.text import chart, key_steps, phase_list

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


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--steps", type=click.IntRange(min=1), help="Length of the decay; by default what the run was started with.")
def cooldown(run: Path, steps: int | None) -> None:
    """Tell the run in the folder RUN to start its decay now, and to stop behind it.

    The run must have been started with CooldownCallback (recipes/pretrain.py: any of --cooldown_steps, --cooldown_at,
    --finish_by, --patience). It looks for this every second; several processes look every ten steps.

    Example:  hf-lrsched cooldown runs/pretrain --steps 500
    """
    about = _read(run / _RUN)
    if not about.get("cools_down"):
        raise click.ClickException(f"{run} is not the folder of a run with CooldownCallback, so nobody would look for this")
    if (run / _RECORD).exists():
        told = _read(run / _RECORD)
        first = told.get("at", 0) + told.get("skipped", 0)
        raise click.ClickException(f"the run in {run} already cools down, from step {first} on ({told.get('reason')})")
    workers = about.get("workers", [])
    here = [worker["pid"] for worker in workers if worker["host"] == socket.gethostname()]
    if here and len(here) == len(workers) and not any(map(_is_there, here)):
        raise click.ClickException(f"the run in {run} is over, or was killed: none of its processes is there")
    beside = run / f".{_REQUEST}.{os.getpid()}"
    beside.write_text(json.dumps({} if steps is None else {"steps": steps}), "utf-8")
    os.replace(beside, run / _REQUEST)
    click.echo(f"asked the run in {run} to cool down{f' over {steps} steps' if steps else ''}")


@main.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("-m", "module", is_flag=True, help="COMMAND is a module, as for python -m.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(module: bool, command: tuple[str, ...]) -> None:
    """Run a training script or module, and pass SIGUSR1 on to its workers: each then starts its cooldown.

    A signal to `accelerate launch` itself would kill the launcher and reach no worker.

    Example:  hf-lrsched run -m accelerate.commands.launch recipes/pretrain.py --finish_by 6h
    """
    with tempfile.TemporaryDirectory() as folder:
        started = subprocess.Popen(
            [sys.executable, *(["-m"] if module else []), *command], env={**os.environ, _WORKERS: folder}
        )

        waiting: list[int] = []

        def forward(number: int, frame: FrameType | None) -> None:
            del frame
            workers = list(Path(folder).iterdir())
            if not workers:
                click.echo("no worker trains yet; the signal is passed on when one does", err=True)
                waiting.append(number)
            for worker in workers:
                _send(int(worker.name), number)

        def pass_on(number: int, frame: FrameType | None) -> None:
            del frame
            _send(started.pid, number)

        signal.signal(signal.SIGUSR1, forward)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, pass_on)
        while True:
            try:
                code = started.wait(timeout=0.5)
                break
            except subprocess.TimeoutExpired:
                if waiting and any(Path(folder).iterdir()):
                    forward(waiting.pop(), None)
    sys.exit(code if code >= 0 else 128 - code)


def _read(file: Path) -> dict[str, Any]:
    """What a run has written; nothing where it is not there or cannot be read."""
    try:
        read = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return read if isinstance(read, dict) else {}


def _is_there(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _send(process: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has ended
        os.kill(process, number)
