"""`hf-lrsched run`: what it starts, what that knows, and who is told of a signal."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from hf_lrsched import cli, wsd
from hf_lrsched.cli import running
from hf_lrsched.runs.files import WORKERS

from .recipes.conftest import RECIPES, launch

ROOT = Path(__file__).parents[1]
PYTHON = sys.executable
RUN = (PYTHON, "-m", "hf_lrsched", "run")


def call(*arguments: str) -> Result:
    return CliRunner().invoke(cli.main, ("run", *arguments))


@pytest.fixture(autouse=True)
def _as_by_hand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> object:
    """In an empty folder, not a launcher's worker; `run` takes hold of signals, as it is a process of its own elsewhere."""
    monkeypatch.chdir(tmp_path)
    for name in (*running.LOCAL_RANKS, WORKERS, "RANK", "PYTHONPATH"):
        monkeypatch.delenv(name, raising=False)
    numbers = (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


class Became(BaseException):
    """What stands in for the end of this process, in which another program would go on."""


@pytest.fixture
def became(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What a launched worker turns itself into for these words: the command and its environment."""
    monkeypatch.setenv("LOCAL_RANK", "0")

    def become(*arguments: str) -> tuple[list[str], dict[str, str]]:
        told: list[Any] = []

        def execve(path: str, words: list[str], environment: dict[str, str]) -> None:
            told.extend((words, environment))
            assert path == words[0]
            raise Became

        monkeypatch.setattr(os, "execve", execve)
        with pytest.raises(Became):
            cli.main(["run", *arguments], standalone_mode=False)
        return told[0], told[1]

    return become


# What is started


def test_help_says_what_can_be_run_and_how_on_several_gpus() -> None:
    text = call("--help").output
    for line in (
        "hf-lrsched run train.py --lr_scheduler_type wsd",
        "hf-lrsched run -m my.training",
        "hf-lrsched run trl sft",
        "hf-lrsched run accelerate launch train.py",
        "accelerate launch -m hf_lrsched run train.py",
        "SIGUSR1",
    ):
        assert line in text


def test_each_kind_of_command_is_found(became: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("script.py", "plain", "folder/__main__.py", "trainer/__init__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    program(tmp_path / "tool", "#!/bin/sh\n")
    on_path = program(tmp_path / "bin" / "trainer", "#!/bin/sh\n")
    monkeypatch.setenv("PATH", str(on_path.parent))
    beside = Path(PYTHON).name  # the folder of this interpreter is not on PATH now
    for given, words in {
        ("script.py", "--steps", "5", "-m"): [PYTHON, "script.py", "--steps", "5", "-m"],
        ("plain",): [PYTHON, "plain"],
        ("folder", "x"): [PYTHON, "folder", "x"],
        ("./tool", "x"): ["./tool", "x"],
        ("tool",): ["./tool"],
        ("trainer", "sft", "--help"): [str(on_path), "sft", "--help"],  # and not the folder of that name
        (beside, "x.py"): [PYTHON, "x.py"],
        ("-m", "script", "--", "-h"): [PYTHON, "-m", "script", "--", "-h"],
        ("-m", "json.tool"): [PYTHON, "-m", "json.tool"],
        ("--", "script.py"): [PYTHON, "script.py"],
    }.items():
        assert became(*given)[0] == words


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ("nosuch", "--steps", "5"),
            "nosuch is no file in {here}, no folder with a __main__.py, and no program on PATH or in ",
        ),
        (("trl.scripts.sft",), "; a module is run by -m"),
        (("missing/train.py",), "missing/train.py is no file in {here}"),
        (("-m", "nosuch.part"), "-m nosuch.part: no module 'nosuch' in {here} or where " + PYTHON + " looks for modules"),
        (("-m", ".part"), "-m .part: no module ''"),
        ((), "Missing argument"),
        (("--steps", "5", "train.py"), "No such option"),
    ],
)
def test_what_is_not_there_is_said_and_nothing_is_started(
    words: tuple[str, ...], sentence: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(subprocess, "Popen", None)
    done = call(*words)
    assert done.exit_code == 2
    assert sentence.format(here=tmp_path) in done.output


@pytest.mark.parametrize("launched", [False, True])
def test_a_file_that_nothing_can_read_is_said(launched: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program(tmp_path / "tool", "no line that says what reads it")
    if launched:
        monkeypatch.setenv("LOCAL_RANK", "0")
    done = call("./tool")
    assert (done.exit_code, done.output) == (1, "Error: ./tool cannot be started: Exec format error\n")


def test_a_shells_open_file_stays_open() -> None:
    done = subprocess.run(
        ["bash", "-c", f"{PYTHON} -m hf_lrsched run cat <(echo read)"], env=environment(), capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("read\n", "")


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (["-u", "-W", "error", "-Xdev", "-m", "hf_lrsched", "run"], ["-u", "-W", "error", "-Xdev"]),
        (["-um", "hf_lrsched", "run"], []),
        (["-I", "-m", "hf_lrsched", "run"], []),  # it would not read the variables that register the schedules
        (["/bin/hf-lrsched", "run", "-u"], []),
    ],
)
def test_the_flags_of_this_interpreter_go_on(
    given: list[str], kept: list[str], became: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "orig_argv", [PYTHON, *given])
    assert became("-m", "this")[0] == [PYTHON, *kept, "-m", "this"]


# The environment


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, [running.STARTUP]),
        ("", [running.STARTUP]),
        ("/a:/b", [running.STARTUP, "/a", "/b"]),
        (f"/a:{running.STARTUP}:/b", [running.STARTUP, "/a", "/b"]),
    ],
)
def test_the_folder_comes_first_on_the_path_and_the_rest_is_kept(
    before: str | None, after: list[str], became: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if before is not None:
        monkeypatch.setenv("PYTHONPATH", before)
    own = dict(os.environ)
    _, environment = became("-m", "this")
    assert environment == {**own, "PYTHONPATH": os.pathsep.join(after)}
    assert dict(os.environ) == own


def test_a_worker_is_known_by_its_local_rank_or_by_the_run_around_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert not running._is_worker()
    monkeypatch.setenv("RANK", "0")
    assert not running._is_worker()  # a cluster's variable, for a whole machine
    for name, value in (*((name, "1") for name in running.LOCAL_RANKS), (WORKERS, str(tmp_path))):
        with monkeypatch.context() as launched:
            launched.setenv(name, value)
            assert running._is_worker()
    monkeypatch.setenv(WORKERS, str(tmp_path / "gone"))  # of a run that has ended
    assert not running._is_worker()


# Short commands that load nothing


def environment(**more: str) -> dict[str, str]:
    """This package is importable from where it lies, installed or not."""
    return {**os.environ, "PYTHONPATH": str(ROOT), **more}


@pytest.mark.parametrize(("code", "expected"), [("0", 0), ("7", 7), ("-9", 137), ("-15", 143)])
def test_run_ends_as_its_command_did(code: str, expected: int, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import os, sys\ncode = int(sys.argv[1])\nsys.exit(code) if code >= 0 else os.kill(os.getpid(), -code)")
    assert call(str(script), code).exit_code == expected


def test_the_folder_of_workers_is_there_for_the_time_of_the_run(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(
        "import os\ntold = os.environ['HF_LRSCHED_WORKERS']\nopen('told', 'w').write(told * os.path.isdir(told))"
    )
    assert call("script.py").exit_code == 0
    told = (tmp_path / "told").read_text()
    assert told
    assert not Path(told).exists()


LOOK = """
import json, os, sys
print(json.dumps([sys.argv, __name__, __file__, sys.path[0], os.getcwd(), sys.stdin.read(), sys.flags.dev_mode]))
"""


@pytest.mark.parametrize("words", [("scripts/look.py", "a b", "--c"), ("-m", "scripts.look", "-m")])
def test_a_script_sees_what_it_sees_without_run(words: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "look.py").write_text(LOOK)

    def seen(*command: str) -> Any:
        done = subprocess.run(command, env=environment(), input="typed", capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    assert seen(*RUN, *words) == seen(PYTHON, *words)


KNOWS = "import sys; print('hf_lrsched' in sys.modules, *{'torch', 'transformers', 'numpy'} & set(sys.modules), flush=True)\n"


def test_every_python_below_knows_the_schedules_and_none_outside(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(KNOWS + f"import subprocess; subprocess.run(['{PYTHON}', '-c', {KNOWS!r}])")
    for words, said in (((*RUN, "script.py"), "True\nTrue\n"), ((PYTHON, "script.py"), "False\nFalse\n")):
        done = subprocess.run(words, env=environment(), capture_output=True, text=True, check=True)
        assert (done.stdout, done.stderr) == (said, "")


def test_run_itself_loads_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import contextlib, sys\nfrom hf_lrsched.cli import main\n"
        "with contextlib.suppress(SystemExit): main(['run', '-m', 'this'])\n"
        "print(*{'torch', 'transformers', 'accelerate', 'numpy', 'matplotlib'} & set(sys.modules), 'end')"
    )
    done = subprocess.run([PYTHON, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout.endswith("\nend\n")


def test_a_worker_becomes_its_script(tmp_path: Path) -> None:
    """torchrun, accelerate and deepspeed start a worker thus."""
    (tmp_path / "script.py").write_text(
        "import os, sys\nsys.stdout.write(str(os.getpid()))\nos._exit(7)"
    )  # -u writes at once
    words = (PYTHON, "-u", "-m", "hf_lrsched", "run", "script.py")
    with subprocess.Popen(words, env=environment(LOCAL_RANK="0"), stdout=subprocess.PIPE, text=True) as started:
        said, _ = started.communicate(timeout=60)
    assert (int(said), started.returncode) == (started.pid, 7)


# The sitecustomize that an environment has of its own

THEIRS = "import sys; print(f'theirs runs as {__name__}, {sys.modules[__name__].__file__ == __file__}'); mark = 1\n"


@pytest.mark.parametrize(("ends", "complaint"), [("", ""), ("raise ImportError('theirs is broken')", "theirs is broken")])
def test_the_environments_own_sitecustomize_runs_too(ends: str, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "sitecustomize.py").write_text(THEIRS + ends)
    look = "print('hf_lrsched' in sys.modules, getattr(sys.modules.get('sitecustomize'), 'mark', None))"
    path = os.pathsep.join((str(tmp_path / "own"), str(ROOT)))
    script = program(tmp_path / "script.py", f"import sys\n{look}")
    done = subprocess.run([*RUN, script], env=environment(PYTHONPATH=path), capture_output=True, text=True, check=True)
    # Once in `run` itself, which finds it without us, and once in the script.
    assert done.stdout == 2 * "theirs runs as sitecustomize, True\n" + f"True {None if ends else 1}\n"
    assert complaint in done.stderr


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with nothing in it."""
    folder = tmp_path_factory.mktemp("other")
    venv.create(folder, symlinks=True)
    return folder / "bin" / "python"


def test_a_clone_lends_itself_to_a_python_that_has_what_it_needs(other: Path, tmp_path: Path) -> None:
    import wrapt

    (tmp_path / "needs").mkdir()
    (tmp_path / "needs" / "wrapt").symlink_to(Path(wrapt.__file__).parent)
    path = os.pathsep.join((running.STARTUP, str(tmp_path / "needs")))
    code = "import hf_lrsched, sys; print(hf_lrsched.__file__, sys.path[-1])"
    done = subprocess.run([other, "-c", code], env=environment(PYTHONPATH=path), capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == (f"{ROOT}/hf_lrsched/__init__.py {ROOT}\n", "")


@pytest.mark.parametrize(("folder", "missing"), [("clone", "wrapt"), ("site-packages", "hf_lrsched")])
def test_a_python_without_this_package_starts_and_says_so_once(
    folder: str, missing: str, other: Path, tmp_path: Path
) -> None:
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "hf_lrsched").symlink_to(ROOT / "hf_lrsched")
    startup = tmp_path / folder / "hf_lrsched" / "startup"
    code = "import subprocess, sys; print(str(sys.argv[1]) in sys.path, 'hf_lrsched' in sys.modules, flush=True)\n"
    code += f"if len(sys.argv) == 2: subprocess.run([{str(other)!r}, sys.argv[0], sys.argv[1], 'below'])"
    script = program(tmp_path / "script.py", code)
    words = (other, script, tmp_path / folder)
    done = subprocess.run(words, env=environment(PYTHONPATH=str(startup)), capture_output=True, text=True, check=True)
    assert done.stdout == 2 * "False False\n"
    [line] = done.stderr.splitlines()
    assert line.startswith(f"hf-lrsched run: {other} cannot import hf_lrsched (No module named '{missing}')")


# Signals

WAITS = """
import os, signal, sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
number = signal.Signals[sys.argv[1]]
signal.pthread_sigmask(signal.SIG_BLOCK, {number})
if "apart" in sys.argv:
    os.setpgid(0, 0)  # what a terminal sends to the foreground does not come here
print("ready", flush=True)
if number == signal.SIGUSR1:
    sys.stdin.readline()
    Path(os.environ["HF_LRSCHED_WORKERS"], str(os.getpid())).touch()
if "apart" not in sys.argv:
    signal.sigwait({number})
print("again" if signal.sigtimedwait({number}, 0.5) else "over")
sys.exit(3)
"""


@contextmanager
def waiting(folder: Path, *words: str, before: tuple[str, ...] = ()) -> Iterator[subprocess.Popen[str]]:
    """`run` with a script that waits for a signal, where no terminal sends any; killed at the end, whatever came."""
    script = program(folder / "script.py", WAITS)
    with subprocess.Popen(
        [*before, *RUN, str(script), *words],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as started:
        try:
            assert started.stdout is not None
            assert started.stdout.readline().strip() == "ready"
            yield started
        finally:
            if started.poll() is None:
                os.killpg(started.pid, signal.SIGKILL)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_to_run_reaches_its_command(name: str, tmp_path: Path) -> None:
    with waiting(tmp_path, name) as started:
        started.send_signal(signal.Signals[name])
        said, _ = started.communicate(timeout=60)
    assert (said, started.returncode) == ("over\n", 3)


@pytest.mark.parametrize("place", ["beside", "apart"])
def test_ctrl_c_at_a_terminal_is_not_passed_on_to_the_command_which_has_it(place: str, tmp_path: Path) -> None:
    terminal = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"
    with waiting(tmp_path, "SIGINT", place, before=(PYTHON, "-c", terminal)) as started:
        said, _ = started.communicate("\x03", timeout=60)
    assert (said.strip(), started.returncode) == ("^Cover", 3)


def test_sigusr1_waits_for_a_worker(tmp_path: Path) -> None:
    with waiting(tmp_path, "SIGUSR1") as started:
        started.send_signal(signal.SIGUSR1)
        assert started.stderr is not None
        assert started.stderr.readline() == "no worker trains yet; the signal is passed on when one does\n"
        said, complaint = started.communicate("go\n", timeout=60)
    assert (said, complaint, started.returncode) == ("over\n", "", 3)


# Real runs

COOLS_DOWN = """
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from transformers import TrainerCallback
from hf_lrsched import CooldownCallback
from tests.training.running import arguments, running

class Ready(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 5:
            Path(args.output_dir, "ready").touch()

words = {"max_steps": 10**9, "lr_scheduler_type": "wsd", "lr_scheduler_kwargs": {"warmup": 4, "decay": 0}}
made = running(arguments(Path(sys.argv[1]), logging_strategy="no", **words), Ready(), CooldownCallback(5))
made.train()
made.save_state()
"""


def test_run_passes_sigusr1_on_to_the_worker_which_ends_its_run_by_a_cooldown(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(COOLS_DOWN)
    out, log = tmp_path / "out", tmp_path / "log"
    command = [*RUN, str(tmp_path / "script.py"), str(out)]
    options: dict[str, Any] = {"env": environment(), "start_new_session": True}
    with log.open("w") as file, subprocess.Popen(command, stdout=file, stderr=file, **options) as started:
        try:
            for _ in range(1200):
                if (out / "ready").exists() or started.poll() is not None:
                    break
                time.sleep(0.05)  # until the worker trains
            assert started.poll() is None, log.read_text()
            started.send_signal(signal.SIGUSR1)
            assert started.wait(60) == 0, log.read_text()
        finally:
            if started.poll() is None:
                os.killpg(started.pid, signal.SIGKILL)  # the worker as well, which would train for ever
    state = json.loads((out / "trainer_state.json").read_text())
    [line] = [line for line in state["log_history"] if "cooldown" in line]
    assert (line["cooldown"], line["cooldown_steps"]) == ("signal SIGUSR1", 5)
    assert state["global_step"] == line["step"] + 5
    assert json.loads((out / "hf_lrsched_run.json").read_text())["workers"][0]["pid"] != started.pid


SOMEBODYS = """
import json, os
import torch
from transformers import HfArgumentParser, Trainer, TrainerCallback, TrainingArguments

class Line(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.slope = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x, y):
        return {"loss": (x * self.slope - y).square().mean()}

class Watch(TrainerCallback):
    lrs = []

    def on_pre_optimizer_step(self, args, state, control, optimizer=None, **kwargs):
        self.lrs.append(optimizer.param_groups[0]["lr"])

[args] = HfArgumentParser(TrainingArguments).parse_args_into_dataclasses()
data = [{"x": torch.tensor(float(i)), "y": torch.tensor(2.0 * i)} for i in range(64)]
Trainer(model=Line(), args=args, train_dataset=data, callbacks=[Watch()]).train()
with open(f"told-{args.process_index}.json", "w") as file:
    json.dump({"lrs": Watch.lrs, "world_size": args.world_size, "parent": os.getppid()}, file)
torch.distributed.destroy_process_group()
"""
FLAGS = ("--lr_scheduler_type", "wsd", "--learning_rate", "1e-3", "--report_to", "none", "--use_cpu", "true")


def test_somebodys_script_trains_under_wsd_in_two_launched_processes(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(SOMEBODYS)
    with socket.create_server(("localhost", 0)) as free:
        port = str(free.getsockname()[1])
    here = ("--config_file", str(RECIPES / "accelerate/cpu.yaml"), "--main_process_port", port, "-m", "hf_lrsched", "run")
    launch(tmp_path, *here, "train.py", *FLAGS, "--max_steps", "20", "--warmup_steps", "5", "--save_strategy", "no")
    first, second = (json.loads((tmp_path / f"told-{rank}.json").read_text()) for rank in (0, 1))
    assert first == second  # also their parent, the launcher: no `run` stands between
    assert first["world_size"] == 2
    assert first["lrs"] == pytest.approx(wsd(20, warmup=5).values() * 1e-3, rel=1e-12)


def test_trl_trains_under_wsd_on_its_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(RECIPES))
    import embedded  # type: ignore[import-not-found]  # a script's neighbour, not a package

    words = embedded.tokenizer(embedded.Texts(["hello world"], []))
    words.save_pretrained("model")
    embedded.llama(words, hidden_size=32, layers=1).save_pretrained("model")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.jsonl").write_text(8 * '{"text": "hello world"}\n')
    flags = ("--model_name_or_path", "model", "--dataset_name", "data", "--output_dir", "out", "--max_steps", "4")
    kwargs = ("--lr_scheduler_kwargs", '{"warmup": 1, "decay": 2}', "--logging_steps", "1", "--bf16", "false")
    trl = shutil.which("trl", path=os.path.dirname(PYTHON)) or "trl"
    done = subprocess.run(
        [*RUN, trl, "sft", *flags, *kwargs, *FLAGS], env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    log = json.loads((tmp_path / "out" / "checkpoint-4" / "trainer_state.json").read_text())["log_history"]
    lrs = [line["learning_rate"] for line in log if "learning_rate" in line]
    assert lrs == pytest.approx(wsd(4, warmup=1, decay=2).values() * 1e-3, rel=1e-12)
