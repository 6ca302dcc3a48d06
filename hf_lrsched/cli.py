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

        def forward(number: int, frame: FrameType | None) -> None:
            del frame
            for worker in Path(folder).iterdir():
                _send(int(worker.name), number)

        def pass_on(number: int, frame: FrameType | None) -> None:
            del frame
            _send(started.pid, number)

        signal.signal(signal.SIGUSR1, forward)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, pass_on)
        code = started.wait()
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
