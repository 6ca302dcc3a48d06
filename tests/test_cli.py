"""The command line: what it writes into a run's folder, and whom it passes a signal on to."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hf_lrsched import CATALOGUE, cli
from hf_lrsched.cli import running
from hf_lrsched.training import checkpoints, cooldown, triggers
from hf_lrsched.version import __version__

ROOT = Path(__file__).parents[1]


def call(*arguments: str) -> Result:
    return CliRunner().invoke(cli.main, arguments)


def run_folder(folder: Path, *, cools_down: bool = True) -> Path:
    """A folder as a run with a callback leaves it."""
    folder.mkdir()
    (folder / "hf_lrsched_run.json").write_text(json.dumps({"cools_down": cools_down, "workers": []}))
    return folder


def test_the_names_are_those_of_the_callbacks() -> None:
    assert running.RUN == checkpoints.RUN
    assert running.WORKERS == triggers.WORKERS
    assert running.REQUEST == triggers.REQUEST
    assert running.RECORD == cooldown.RECORD


def test_help_and_version() -> None:
    for flag in ("-h", "--help"):
        assert "cooldown" in call(flag).output
        assert "Tell the run in the folder RUN to start its decay now" in call("cooldown", flag).output
        assert "pass SIGUSR1 on to its workers" in call("run", flag).output
    assert call("--version").output == f"hf-lrsched, version {__version__}\n"


# cooldown


@pytest.mark.parametrize(
    ("flags", "written", "said"),
    [
        ((), {}, "asked the run in {run} to cool down\n"),
        (("--steps", "500"), {"steps": 500}, "asked the run in {run} to cool down over 500 steps\n"),
        (("--steps", "1"), {"steps": 1}, "asked the run in {run} to cool down over 1 steps\n"),
    ],
)
def test_cooldown_writes_the_request(flags: tuple[str, ...], written: dict[str, int], said: str, tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run")
    done = call("cooldown", str(run), *flags)
    assert (done.exit_code, done.output) == (0, said.format(run=run))
    assert json.loads((run / "cooldown.request").read_text()) == written
    assert sorted(path.name for path in run.iterdir()) == ["cooldown.request", "hf_lrsched_run.json"]  # nothing beside it


def test_a_second_request_takes_the_place_of_the_first(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run")
    call("cooldown", str(run), "--steps", "500")
    assert call("cooldown", str(run), "--steps", "200").exit_code == 0
    assert json.loads((run / "cooldown.request").read_text()) == {"steps": 200}


def test_cooldown_refuses_a_folder_that_nobody_looks_into(tmp_path: Path) -> None:
    plain = run_folder(tmp_path / "plain", cools_down=False)
    empty = tmp_path / "empty"
    empty.mkdir()
    for folder in (plain, empty, tmp_path / "nowhere"):
        done = call("cooldown", str(folder))
        assert done.exit_code == 1
        assert (
            f"Error: {folder} is not the folder of a run with CooldownCallback, so nobody would look for this" in done.output
        )
        assert not (folder / "cooldown.request").exists()


def test_cooldown_refuses_a_run_that_cools_down_already(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run")
    (run / "cooldown.json").write_text(json.dumps({"at": 1200, "steps": 300, "reason": "signal SIGUSR1"}))
    done = call("cooldown", str(run))
    assert done.exit_code == 1
    assert f"Error: the run in {run} already cools down, from step 1200 on (signal SIGUSR1)" in done.output
    assert not (run / "cooldown.request").exists()


@pytest.mark.parametrize("text", ["", "{}"])
def test_cooldown_says_so_where_the_folder_cannot_be_read(text: str, tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run")
    (run / "hf_lrsched_run.json").write_text(text)
    done = call("cooldown", str(run))
    assert done.exit_code == 1
    assert "Error: " in done.output  # a sentence, and no traceback
    assert not (run / "cooldown.request").exists()


@pytest.mark.parametrize(
    "arguments", [("cooldown",), ("cooldown", "x", "--steps", "0"), ("cooldown", "x", "--steps", "2.5"), ("run",), ("warm",)]
)
def test_what_cannot_be_read_is_refused(arguments: tuple[str, ...]) -> None:
    assert call(*arguments).exit_code == 2


# run, in this process: the command is a short one that loads nothing


@pytest.fixture(autouse=True)
def _handlers() -> object:
    """`run` takes hold of signals, as it is a process of its own elsewhere."""
    numbers = (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize(("code", "expected"), [("0", 0), ("7", 7), ("-9", 137), ("-15", 143)])
def test_run_ends_as_its_command_did(code: str, expected: int, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import os, sys\ncode = int(sys.argv[1])\nsys.exit(code) if code >= 0 else os.kill(os.getpid(), -code)")
    assert call("run", str(script), code).exit_code == expected


def test_run_passes_flags_and_modules_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = "import os, sys\nopen('told', 'w').write(' '.join([sys.argv[1:].__str__(), os.environ['HF_LRSCHED_WORKERS']]))"
    (tmp_path / "script.py").write_text(script)
    monkeypatch.chdir(tmp_path)
    for flags in (("script.py",), ("-m", "script")):
        assert call("run", *flags, "--steps", "5", "-m", "--help").exit_code == 0
        told = (tmp_path / "told").read_text()
        assert told.startswith("['--steps', '5', '-m', '--help'] ")
        assert not Path(told.rpartition(" ")[2]).exists()  # removed when it is over


# Processes of their own


def test_help_loads_neither_torch_nor_transformers() -> None:
    program = (
        "import sys\n"
        "from hf_lrsched.cli import main\n"
        "main(['cooldown', '--help'], standalone_mode=False)\n"
        "loaded = {'torch', 'transformers', 'accelerate', 'datasets', 'numpy', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {loaded}' if loaded & {'torch', 'transformers', 'accelerate', 'datasets', 'matplotlib'} else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Tell the run in the folder RUN" in done.stdout


SCRIPT = """
import sys
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
    (tmp_path / "script.py").write_text(SCRIPT)
    out = tmp_path / "out"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "hf_lrsched", "run", str(tmp_path / "script.py"), str(out)]
    log = tmp_path / "log"
    with log.open("w") as file, subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=file, stderr=file) as started:
        try:
            for _ in range(1200):
                if (out / "ready").exists() or started.poll() is not None:
                    break
                time.sleep(0.05)  # until the worker trains
            assert started.poll() is None, log.read_text()
            started.send_signal(signal.SIGUSR1)
            assert started.wait(60) == 0, log.read_text()
        finally:
            started.kill()
    state = json.loads((out / "trainer_state.json").read_text())
    [line] = [line for line in state["log_history"] if "cooldown" in line]
    assert (line["cooldown"], line["cooldown_steps"]) == ("signal SIGUSR1", 5)
    assert state["global_step"] == line["step"] + 5
    assert json.loads((out / "hf_lrsched_run.json").read_text())["workers"][0]["pid"] != started.pid


# list, show


def test_list_has_every_schedule_with_its_shape_and_its_summary() -> None:
    lines = call("list").output.splitlines()
    assert [line.split()[0] for line in lines] == list(CATALOGUE)
    assert all(entry.summary in line for entry, line in zip(CATALOGUE.values(), lines, strict=True))
    assert "▂▅█████████████████▆▄▂▁▁" in lines[list(CATALOGUE).index("wsd")]
    assert "(not registered: the name is Transformers' own" in lines[0]


def test_show_tells_the_phases_and_the_learning_rate_at_key_steps() -> None:
    output = call(
        "show", "wsd", "--steps", "20000", "--warmup", "5%", "--num-decay-steps=2000", "--learning_rate", "3e-4"
    ).output
    assert output.startswith("wsd: warmup 1000, stable 17000, decay 2000\n")
    assert " 18000  decay          0.0003" in output
    assert " 0.0003 ┤" in output


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("wsdd",), "unknown schedule 'wsdd'; did you mean 'wsd'?"),
        (("wsd", "--warmap", "5%"), "wsd does not know 'warmap'; did you mean 'warmup'?"),
        (
            ("wsd", "--warmup", "60%", "--decay", "60%"),
            "warmup (600) and decay (600) take 1200 steps, but the run has only 1000",
        ),
        (("wsd", "--warmup"), "an argument of a schedule is --NAME VALUE"),
        (("wsd", "--min_lr", "2"), "min_lr (2) is above the peak LR (1)"),
    ],
)
def test_what_cannot_be_shown_is_said(words: tuple[str, ...], sentence: str) -> None:
    result = CliRunner().invoke(cli.main, ["show", *words])
    assert result.exit_code != 0
    assert sentence in result.output
