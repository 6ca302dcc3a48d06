"""``run``, ``find-lr`` and ``cooldown``: a training run started, tested, and told to end."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import click

from ..runs.files import FIND_LR, RANGE_TEST, RECORD, REQUEST, RUN, WORKERS
from .output import formatted, say

_RATE = click.FloatRange(min=0, min_open=True)

STARTUP = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "startup")

# What says that a launcher has started this process: as accelerate reads it, torchrun's and DeepSpeed's first.
LOCAL_RANKS = ("LOCAL_RANK", "MPI_LOCALRANKID", "OMPI_COMM_WORLD_LOCAL_RANK", "MV2_COMM_WORLD_LOCAL_RANK")


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--steps", type=click.IntRange(min=1), help="Length of the decay; by default what the run was started with.")
@formatted
def cooldown(run: Path, steps: int | None, form: str) -> None:
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
    asked = f"asked the run in {run} to cool down{f' over {steps} steps' if steps else ''}"
    say(form, asked, {"run": str(run), "request": str(run / REQUEST), "steps": steps})


@click.command(context_settings={"allow_interspersed_args": False})
@click.option("-m", "module", is_flag=True, help="SCRIPT is a module, as for python -m.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="SCRIPT [ARGS]...")
def run(module: bool, command: tuple[str, ...]) -> None:
    """Run a training script, module or program with the schedules registered; nothing in it is edited.

    SCRIPT is a Python file, or a program such as trl or accelerate; with -m, a module. What stands behind it is its own.
    Every Python that it starts knows the schedules as well; nothing outside it does.

    \b
    Examples:
      hf-lrsched run train.py --lr_scheduler_type wsd
      hf-lrsched run -m my.training --lr_scheduler_type wsd
      hf-lrsched run trl sft --lr_scheduler_type wsd --model_name_or_path ...

    \b
    On several GPUs, either way round:
      hf-lrsched run accelerate launch train.py --lr_scheduler_type wsd
      accelerate launch -m hf_lrsched run train.py --lr_scheduler_type wsd

    The first way, SIGUSR1 sent to this command is passed on to its workers, each of which then starts its cooldown
    (CooldownCallback). The other way it would kill the launcher and reach no worker: send it to a worker itself.
    """
    sys.exit(start(command, module, {}))


@click.command("find-lr", context_settings={"allow_interspersed_args": False})
@click.option("-m", "module", is_flag=True, help="SCRIPT is a module, as for python -m.")
@click.option("--train", is_flag=True, help="Then train, at the peak that was found.")
@click.option("--start_lr", "--start-lr", "start_lr", type=_RATE, help="Where the ramp begins.  [default: 1e-7]")
@click.option("--end_lr", "--end-lr", "end_lr", type=_RATE, help="Where it ends at the latest.  [default: 1]")
@click.option("--steps", type=click.IntRange(min=20), help="Its optimizer steps.  [default: 100, or 5% of the run]")
@click.option(
    "--seeds", type=click.IntRange(min=1), default=1, show_default=True, help="Orders of the data a short run is made in."
)
@click.option("--budget", type=click.IntRange(min=1), help="The run's optimizer steps, if not the script's own.")
@click.option("--probes", type=click.IntRange(min=50), help="Steps of all short runs.  [default: 50, or 10% of the run]")
@click.option("--ramp_only", "--ramp-only", "ramp_only", is_flag=True, help="No short runs: less sure, and half the time.")
@click.option("--snapshot", default="memory", show_default=True, help="Where weights wait: memory, disk, a folder.")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The result, as JSON; a picture goes beside it.  [default: lr_range_test.json]",
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="SCRIPT [ARGS]...")
def find_lr(
    module: bool,
    train: bool,
    output: Path | None,
    ramp_only: bool,
    probes: int | None,
    command: tuple[str, ...],
    **words: Any,
) -> None:
    """Find the learning rate of a training script: an LR range test where it calls Trainer.train(); nothing in it is edited.

    SCRIPT is started as by `run`, and its first training is tested. It is not begun unless --train is given, and is then the
    one without the test. Exit code 1 where no learning rate is found. Options stand before SCRIPT; what stands behind is its.

    \b
    Examples:
      hf-lrsched find-lr train.py --lr_scheduler_type wsd --max_steps 20000
      hf-lrsched find-lr --train trl sft --model_name_or_path Qwen/Qwen3-0.6B --dataset_name trl-lib/Capybara
      hf-lrsched find-lr accelerate launch train.py --lr_scheduler_type cosine
    """
    file = (output or _unused(Path(RANGE_TEST))).absolute()
    if not file.parent.is_dir():
        raise click.ClickException(f"{file}: there is no folder {file.parent}")
    given = {name: value for name, value in words.items() if value is not None}
    if not given.get("start_lr", 0.0) < given.get("end_lr", math.inf):
        raise click.UsageError(f"--start_lr {given['start_lr']:g} must be below --end_lr {given['end_lr']:g}")
    asked = {**given, "probes": False if ramp_only else probes or True, "file": str(file), "train": train}
    before = file.stat().st_mtime_ns if file.exists() else None
    code = start(command, module, {FIND_LR: json.dumps(asked)})
    if code == 0 and (not file.exists() or file.stat().st_mtime_ns == before):
        raise click.ClickException(f"{' '.join(command)[:80]} ended without calling Trainer.train(), so nothing was tested")
    sys.exit(code)


def _unused(file: Path) -> Path:
    """`file`, or the same with the first number that nothing has."""
    free = (file.with_stem(f"{file.stem}-{n}") for n in range(2, 10**6))
    return file if not file.exists() else next(path for path in free if not path.exists())


def start(command: tuple[str, ...], module: bool, more: Mapping[str, str]) -> int:
    """Runs a command with the schedules registered, and `more` in its environment; a worker becomes it, and never returns.

    Returns:
        its exit code, as a shell has it.
    """
    words, environment = _found(command, module), {**_registering(os.environ), **more}
    environment.pop("PYTHONSAFEPATH", None)  # a script finds what lies beside it, as the recipes do
    if _is_worker():
        _become(words, environment)
    code = _supervise(words, environment)
    return code if code >= 0 else 128 - code


def _found(command: tuple[str, ...], module: bool) -> list[str]:
    """What is to be started, in full.

    Raises:
        click.UsageError: where there is no such thing.
    """
    name, *rest = command
    if module:
        _check_module(name)
        return [sys.executable, *_flags(), "-m", *command]
    if os.path.isfile(name):
        if name.endswith(".py") or not os.access(name, os.X_OK):
            return [sys.executable, *_flags(), *command]
        return [name if os.sep in name else os.path.join(os.curdir, name), *rest]
    beside = os.path.dirname(sys.executable)  # where the programs of an environment lie that is not activated
    if program := shutil.which(name) or shutil.which(name, path=beside):
        return [program, *rest]
    if os.path.isfile(os.path.join(name, "__main__.py")):
        return [sys.executable, *_flags(), *command]
    raise click.UsageError(
        f"{name} is no file in {os.getcwd()}, no folder with a __main__.py, and no program on PATH or in {beside}; "
        "a module is run by -m"
    )


def _check_module(name: str) -> None:
    top = name.partition(".")[0]  # to look for more would import it
    with contextlib.suppress(ValueError):  # not a name at all, or a module that cannot say where it is from
        if top and (PathFinder.find_spec(top, [os.getcwd()]) or find_spec(top)):
            return
    raise click.UsageError(f"-m {name}: no module '{top}' in {os.getcwd()} or where {sys.executable} looks for modules")


def _flags() -> list[str]:
    """The interpreter's own flags, without those that would isolate it: torchrun starts its workers with -u."""
    flags: list[str] = []
    words = iter(sys.orig_argv[1:])
    for word in words:
        if word in ("-W", "-X"):
            flags += [word, next(words)]
        elif re.fullmatch("-[bBdOPqRsuv]+|-[WX].+", word):
            flags.append(word)
        else:
            break
    return flags


def _registering(environment: Mapping[str, str]) -> dict[str, str]:
    """`environment`, in which every Python runs startup/sitecustomize.py first."""
    before = environment.get("PYTHONPATH")
    folders = before.split(os.pathsep) if before else []
    return {**environment, "PYTHONPATH": os.pathsep.join([STARTUP, *(folder for folder in folders if folder != STARTUP)])}


def _is_worker() -> bool:
    """Whether a launcher has started this process, or another `run` looks after it already.

    RANK alone is no sign: a cluster may set it for a whole machine, on which the launcher is still to be started.
    """
    return any(name in os.environ for name in LOCAL_RANKS) or os.path.isdir(os.environ.get(WORKERS, ""))


def _become(words: list[str], environment: dict[str, str]) -> NoReturn:
    """Puts the command in this process's place, so that its launcher has it for a child and not its grandparent."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and what is ignored stays so
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execve(words[0], words, environment)
    except OSError as error:
        raise _cannot_start(words, error) from error


def _supervise(words: list[str], environment: dict[str, str]) -> int:
    """Runs the command to its end, passing signals on; its exit code, negative for a signal's."""
    # Workers that outlive a launcher may still write there.
    with tempfile.TemporaryDirectory(prefix="hf-lrsched-", ignore_cleanup_errors=True) as folder:
        relay = _Relay(Path(folder))
        try:  # all files stay open, as a shell's <(...) is one that a script is told the number of
            child = subprocess.Popen(words, env={**environment, WORKERS: folder}, close_fds=False)
        except OSError as error:
            raise _cannot_start(words, error) from error
        relay.begin(child.pid)
        while True:
            try:
                return child.wait(timeout=0.5)
            except subprocess.TimeoutExpired:
                relay.look()


def _cannot_start(words: list[str], error: OSError) -> click.ClickException:
    """For a program of another kind of machine, or a script that does not say what reads it."""
    return click.ClickException(f"{words[0]} cannot be started: {error.strerror or error}")


class _Relay:
    """Takes this process's signals from now on: SIGUSR1 is for the workers, SIGTERM and SIGINT for the command.

    Args:
        folder: where each worker leaves its id as the name of a file.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._child = folder, 0
        self._early: list[int] = []
        self._waits = False
        for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT):
            # A shell has its background jobs ignore SIGINT; SIGUSR1 is ignored below whoever had a cooldown.
            if number == signal.SIGUSR1 or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._on_signal)

    def begin(self, child: int) -> None:
        """The command runs, as process `child`."""
        self._child = child
        for number in self._early:  # also Ctrl-C, which the command was not there for
            self._pass_on(number)

    def look(self) -> None:
        """Passes on what came before there was a worker."""
        if self._waits and any(self._folder.iterdir()):
            self._to_workers()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del frame
        if not self._child:
            self._early.append(number)
        elif number != signal.SIGINT or not _in_foreground():
            self._pass_on(number)

    def _pass_on(self, number: int) -> None:
        if number == signal.SIGUSR1:
            self._to_workers()
        else:
            _send(self._child, number)

    def _to_workers(self) -> None:
        workers = list(self._folder.iterdir())
        self._waits = not workers
        if self._waits:
            click.echo("no worker trains yet; the signal is passed on when one does", err=True)
        for worker in workers:
            _send(int(worker.name), signal.SIGUSR1)


def _in_foreground() -> bool:
    """Whether a terminal sends its Ctrl-C to this process, and so to the command as well, which must not have it twice."""
    try:
        with open(os.ctermid(), "rb", buffering=0) as terminal:
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:  # there is none
        return False


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
