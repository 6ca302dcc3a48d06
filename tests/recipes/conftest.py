"""Running recipes: in this process where that is enough, in processes of their own where it is not."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.fixture(autouse=True)
def _environment() -> Iterator[None]:
    """Transformers and accelerate leave variables behind that would tell the next process how this one ran."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def recipe_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Runs a recipe in this process, in an empty folder, as if from the command line; returns its variables."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(RECIPES))

    def run(script: str, *argv: str) -> dict[str, Any]:
        monkeypatch.setattr(sys, "argv", [script, *argv])
        return runpy.run_path(str(RECIPES / script))

    return run


@pytest.fixture
def stops(recipe_run: Callable[..., dict[str, Any]]) -> Callable[..., str]:
    """The sentence with which a recipe ends."""

    def sentence(script: str, *argv: str) -> str:
        with pytest.raises(SystemExit) as ended:
            recipe_run(script, *argv)
        message = str(ended.value)
        assert message.startswith("error: ")
        assert "\n" not in message
        return message

    return sentence


def launch(folder: Path, *arguments: str) -> str:
    """What `accelerate launch` with these arguments prints, run in `folder`."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ACCELERATE_")}
    environment = {**inherited, "PYTHONPATH": str(RECIPES.parent), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "accelerate.commands.launch", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The demo, trained once for the whole suite: the folder it ran in, and what it printed."""
    folder = tmp_path_factory.mktemp("demo")
    one = ("--num_processes", "1", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no")
    # One thread: on a busy machine two that wait for each other at every operation take many times as long.
    return folder, launch(
        folder, *one, "--num_cpu_threads_per_process", "1", str(RECIPES / "pretrain.py"), "--disable_tqdm", "True"
    )


def history(run: Path) -> list[dict[str, Any]]:
    """The log of a finished run."""
    log: list[dict[str, Any]] = json.loads((run / "trainer_state.json").read_text())["log_history"]
    return log
