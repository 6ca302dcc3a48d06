"""``run`` and ``cooldown``: a training run started, and one told to end."""

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

# What training/checkpoints.py and training/cooldown.py call them; not imported, as those load torch. A test compares.
RUN, REQUEST, RECORD, WORKERS = "hf_lrsched_run.json", "cooldown.request", "cooldown.json", "HF_LRSCHED_WORKERS"


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--steps", type=click.IntRange(min=1), help="Length of the decay; by default what the run was started with.")
def cooldown(run: Path, steps: int | None) -> None:
    """Tell the run in the folder RUN to start its decay now, and to stop behind it.

    The run must have been started with CooldownCallback (recipes/pretrain.py: any of --cooldown_steps, --cooldown_at,
    --finish_by, --patience). It looks for this every second; several processes look every ten steps.

    Example:  hf-lrsched cooldown runs/pretrain --steps 500
    """
    about = _read(run / RUN)
    if not about.get("cools_down"):
        raise click.ClickException(f"{run} is not the folder of a run with CooldownCallback, so nobody would look for this")
    if (run / RECORD).exists():
        told = _read(run / RECORD)
        first = told.get("at", 0) + told.get("skipped", 0)
        raise click.ClickException(f"the run in {run} already cools down, from step {first} on ({told.get('reason')})")
    workers = about.get("workers", [])
    here = [worker["pid"] for worker in workers if worker["host"] == socket.gethostname()]
    if here and len(here) == len(workers) and not any(map(_is_there, here)):
        raise click.ClickException(f"the run in {run} is over, or was killed: none of its processes is there")
    beside = run / f".{REQUEST}.{os.getpid()}"
    beside.write_text(json.dumps({} if steps is None else {"steps": steps}), "utf-8")
    os.replace(beside, run / REQUEST)
    click.echo(f"asked the run in {run} to cool down{f' over {steps} steps' if steps else ''}")


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("-m", "module", is_flag=True, help="COMMAND is a module, as for python -m.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(module: bool, command: tuple[str, ...]) -> None:
    """Run a training script or module, and pass SIGUSR1 on to its workers: each then starts its cooldown.

    A signal to `accelerate launch` itself would kill the launcher and reach no worker.

    Example:  hf-lrsched run -m accelerate.commands.launch recipes/pretrain.py --finish_by 6h
    """
    with tempfile.TemporaryDirectory() as folder:
        started = subprocess.Popen(
            [sys.executable, *(["-m"] if module else []), *command], env={**os.environ, WORKERS: folder}
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
