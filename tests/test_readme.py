"""The README is true: its Python runs, its tree and its table are what is there."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from hf_lrsched import CATALOGUE, History, unregister
from hf_lrsched.cli import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")


@pytest.fixture(scope="module")
def recorded() -> dict[str, History]:
    """The runs that the section on forecasts speaks of, as they were recorded."""
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        from forecast_runs import histories  # type: ignore[import-not-found]  # scripts are no package
    finally:
        sys.path.pop(0)
    kept: dict[str, History] = histories()
    return kept


def lay_down(recorded: dict[str, History], folder: Path) -> None:
    """Each run's ``trainer_state.json`` in ``runs/NAME``, as its Trainer logged it."""
    for name, run in recorded.items():
        assert run.schedule is not None
        lrs = run.schedule.lrs(run.total, run.peak[0])
        log = [{"step": step, "learning_rate": lrs[step - 1]} for step in range(10, run.total + 1, 10)]
        log += [{"step": int(step), "eval_loss": loss} for step, loss in zip(run.eval_step, run.eval_loss, strict=True)]
        (folder / "runs" / name).mkdir(parents=True)
        state = {"log_history": log, "max_steps": run.total, "logging_steps": 10}
        (folder / "runs" / name / "trainer_state.json").write_text(json.dumps(state), "utf-8")


@pytest.mark.filterwarnings("ignore:'pin_memory' argument:UserWarning")  # a README is for people with a GPU, too
def test_the_python_blocks_run_in_a_row(
    recorded: dict[str, History], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lay_down({name: recorded[name] for name in ("wsd20", "cosine0", "constant")}, tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(blocks) >= 4
    names: dict[str, object] = {}
    try:
        for block in blocks:
            exec(compile(block, "README.md", "exec"), names)
        assert str(names["args"].lr_scheduler_type.value) == "triangle"  # type: ignore[attr-defined]  # TrainingArguments
    finally:
        unregister("triangle")


def test_the_table_lists_every_schedule_with_its_picture_and_its_own_arguments() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (!\[.*)$", README, flags=re.MULTILINE))
    assert set(rows) == set(CATALOGUE)
    shared = {"warmup", "min_lr", "min_lr_ratio"}
    for name, row in rows.items():
        assert f"(docs/figures/{name}.svg)" in row
        assert (ROOT / f"docs/figures/{name}.svg").exists()
        last = row.rstrip(" |").rsplit("|", 1)[1]
        assert set(re.findall(r"`(\w+)`", last)) - shared == set(CATALOGUE[name].arguments) - shared


def test_the_tree_names_every_module_and_nothing_that_is_gone() -> None:
    tree = README[README.index("## The tree") :]
    for folder in ("hf_lrsched", "recipes"):
        for path in (ROOT / folder).rglob("*.py"):
            if path.name != "__init__.py" and path.name != "version.py":
                assert path.name in tree, path
    named = set(re.findall(r"[\w/]+\.py\b", tree)) - {"__init__.py"}
    there = {path.name for path in ROOT.rglob("*.py") if ".venv" not in path.parts}
    assert {Path(name).name for name in named} <= there


def commands() -> list[tuple[str, str]]:
    """What the README types after ``$ hf-lrsched``, and what it shows below."""
    blocks = re.findall(r"```\n(\$ hf-lrsched .*?)```", README, flags=re.DOTALL)
    parts = [part for block in blocks for part in re.split(r"^\$ hf-lrsched ", block, flags=re.MULTILINE)[1:]]
    return [(command, shown) for command, _, shown in (part.partition("\n") for part in parts)]


NEED_A_RUN = ("report", "compare", "diagnose", "cooldown", "find-lr")


@pytest.mark.parametrize(("command", "shown"), commands(), ids=[command.split()[0] for command, _ in commands()])
def test_a_command_says_what_is_shown(
    command: str, shown: str, recorded: dict[str, History], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, *arguments = shlex.split(command)
    if name in NEED_A_RUN:
        assert main.get_command(click.Context(main), name) is not None  # tested where there is one
        return
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    if name == "forecast":
        lay_down({name: recorded[name] for name in ("wsd20", "cosine0")}, tmp_path)
    for text, file in re.findall(r"```yaml\n(# (\w+\.yaml)\n.*?)```", README, flags=re.DOTALL):
        (tmp_path / file).write_text(text, "utf-8")
    monkeypatch.chdir(tmp_path)
    said = CliRunner().invoke(main, [name, *arguments]).output
    pattern = "".join(
        ".*" if line == "..." else re.escape(line).replace(r"\.\.\.", ".*") + "\n" for line in shown.splitlines()
    )
    assert re.fullmatch(pattern + r"\n*", said + "\n", flags=re.DOTALL), said


def test_every_command_is_shown() -> None:
    assert {command.split()[0] for command, _ in commands()} | {"run"} == set(main.list_commands(click.Context(main)))
