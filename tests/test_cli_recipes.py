"""`hf-lrsched recipes`: finds, prints, copies and starts them, from the clone and from a wheel."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import zipfile
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hf_lrsched.advice.presets import shipped
from hf_lrsched.cli import main, running

ROOT = Path(__file__).parents[1]
RECIPES = ROOT / "recipes"


def call(*words: str, code: int = 0) -> Result:
    done = CliRunner().invoke(main, ["recipes", *words])
    assert done.exit_code == code, done.output
    return done


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[tuple[str, ...], bool]]:
    """What would have been started, and whether as a module."""
    seen = []

    def start(command: tuple[str, ...], module: bool, more: dict[str, str]) -> int:
        seen.append((command, module))
        return 3 if more else 0

    monkeypatch.setattr(running, "start", start)
    return seen


def test_ls_has_a_line_for_each_and_names_the_configurations() -> None:
    lines = call("ls").output.splitlines()
    assert [line.split()[0] for line in lines[1:-2]] == [one.name for one in shipped()]
    row = next(line for line in lines if line.startswith("lora "))
    assert "lora.py" in row
    assert "0.0003" in row
    assert "warmup_cosine" in row
    assert row.endswith("LoRA fine-tuning of a language model")
    assert lines[-1] == "on several GPUs, as --accelerate_config: cpu, ddp, fsdp2, multi_node, zero2, zero3"


def test_auto_becomes_a_number_for_a_program_that_does_not_know_it(started: list[tuple[tuple[str, ...], bool]]) -> None:
    said = call(
        "run", "dpo", "--learning_rate=auto", "--model-name-or-path", "Qwen/Qwen3-8B", "--warmup_steps", "auto"
    ).output
    [(command, _)] = started
    given = dict(pairwise(command))
    assert 1e-7 <= float(given["--learning_rate"]) <= 2e-6
    assert float(given["--warmup_steps"]) == 0.1
    assert "auto" not in command
    assert f"learning_rate {given['--learning_rate']}: peak" in said
    refused = call("run", "dpo", "--learning_rate", "auto", code=2).output
    assert "--learning_rate auto needs --model_name_or_path" in refused


def test_ls_as_json() -> None:
    read = json.loads(call("ls", "--format", "json").output)
    sgd = next(one for one in read["recipes"] if one["name"] == "image_sgd")
    assert sgd["learning_rate"] == 0.1
    assert Path(sgd["preset"]) == RECIPES / "presets/image_sgd.yaml"
    assert Path(read["accelerate"]["ddp"]) == RECIPES / "accelerate/ddp.yaml"


@pytest.mark.parametrize(
    ("words", "file"),
    [
        (("show", "lora"), "lora.py"),
        (("cat", "qlora"), "lora.py"),
        (("show", "lora", "--preset"), "presets/lora.yaml"),
        (("show", "full", "--preset"), "presets/finetune.yaml"),
        (("show", "dpo"), "presets/dpo.yaml"),
        (("show", "fsdp2"), "accelerate/fsdp2.yaml"),
    ],
)
def test_show_prints_the_file(words: tuple[str, ...], file: str) -> None:
    assert call(*words).output == (RECIPES / file).read_text("utf-8")


@pytest.mark.parametrize("command", ["show", "copy", "run"])
def test_an_unknown_name_is_refused_with_the_nearest(command: str) -> None:
    assert "there is no preset 'lorra' (did you mean 'lora'?)" in call(command, "lorra", code=2).output


def imported(folder: Path) -> set[str]:
    """The modules that the scripts in `folder` import, which lie beside them in the clone."""
    trees = [ast.walk(ast.parse(path.read_text())) for path in folder.glob("*.py")]
    nodes = [node for tree in trees for node in tree]
    names = {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    names |= {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return {name for name in names if name and (RECIPES / f"{name}.py").exists()}


@pytest.mark.parametrize("name", ["pretrain", "qlora", "cnn"])
def test_copy_takes_all_that_the_script_needs(name: str, tmp_path: Path) -> None:
    written = call("copy", name).output.split()
    assert all((tmp_path / path).read_bytes() == (ROOT / path).read_bytes() for path in written)
    there = {path.stem for path in (tmp_path / "recipes").glob("*.py")}
    assert imported(tmp_path / "recipes") <= there
    assert len(there) < len(list(RECIPES.glob("*.py")))
    presets = {path.stem for path in (tmp_path / "recipes/presets").glob("*.yaml")}
    assert {"pretrain": "demo-pretrain", "qlora": "lora", "cnn": "demo-image_classification"}[name] in presets
    assert (tmp_path / "recipes/accelerate/cpu.yaml").exists()


def test_copy_never_overwrites_and_then_writes_nothing(tmp_path: Path) -> None:
    call("copy", "lora", "mine")
    call("copy", "pretrain", "mine")  # what both need is the same
    (tmp_path / "mine/ending.py").write_text("# somebody's")
    (tmp_path / "mine/pretrain.py").unlink()
    said = call("copy", "pretrain", "mine", code=1).output
    assert said == "Error: mine/ending.py is there and is another one, so nothing was copied; give another DEST\n"
    assert (tmp_path / "mine/ending.py").read_text() == "# somebody's"
    assert not (tmp_path / "mine/pretrain.py").exists()


def test_a_preset_is_copied_alone(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for words, file in (
        (("lora", "--preset"), "lora.yaml"),
        (("lora", "--preset", "mine.yaml"), "mine.yaml"),
        (("lora", "--preset", "folder"), "folder/lora.yaml"),
        (("dpo", "new/dpo.yaml"), "new/dpo.yaml"),
    ):
        assert call("cp", *words).output == f"{file}\n"
        assert (tmp_path / file).read_text().startswith("# ")


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "file" in (said := call("copy", "lora", "file/x", code=1).output)
    assert said.startswith("Error: ")
    assert "cannot be written" in said


FLAGS = ("--model_name_or_path", "x", "--learning_rate", "auto")


def path(file: str) -> str:
    return str(RECIPES / file)


@pytest.mark.parametrize(
    ("words", "command", "module"),
    [
        (("lora", *FLAGS), (path("lora.py"), *FLAGS), False),
        (("pretrain",), (path("pretrain.py"),), False),
        (("lora", "--help"), (path("lora.py"), "--help"), False),
        (("qlora", *FLAGS), (path("lora.py"), "--config", path("presets/qlora.yaml"), *FLAGS), False),
        (("qlora", "--config=mine.yaml"), (path("lora.py"), "--config=mine.yaml"), False),
        (
            ("lora", "--accelerate_config", "ddp", *FLAGS),
            ("accelerate.commands.launch", "--config_file", path("accelerate/ddp.yaml"), path("lora.py"), *FLAGS),
            True,
        ),
        (
            ("lora", *FLAGS, "--num-processes", "4", "--accelerate-config=mine.yaml"),
            ("accelerate.commands.launch", "--config_file", "mine.yaml", "--num_processes", "4", path("lora.py"), *FLAGS),
            True,
        ),
        (
            ("dpo", *FLAGS[:2], "--accelerate_config", "zero3"),
            (
                *("trl", "dpo", "--config", path("presets/dpo.yaml"), "--output_dir", "runs/dpo", *FLAGS[:2]),
                *("--accelerate_config", path("accelerate/zero3.yaml")),
            ),
            False,
        ),
        (
            ("grpo", "--config", "a.yaml", "--output-dir", "b"),
            ("trl", "grpo", "--config", "a.yaml", "--output-dir", "b"),
            False,
        ),
    ],
)
def test_run_starts(
    words: tuple[str, ...],
    command: tuple[str, ...],
    module: bool,
    started: list[tuple[tuple[str, ...], bool]],
    tmp_path: Path,
) -> None:
    (tmp_path / "mine.yaml").write_text("")
    call("run", *words)
    assert started == [(command, module)]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("lora", "--accelerate_config", "ddq"), "--accelerate_config ddq is no file, and no alias (cpu, ddp, fsdp2"),
        (("lora", "--num_processes", "2"), "--num_processes is for accelerate launch; give --accelerate_config as well"),
    ],
)
def test_run_refuses(words: tuple[str, ...], sentence: str, started: list[tuple[tuple[str, ...], bool]]) -> None:
    assert sentence in call("run", *words, code=2).output
    assert not started


def test_run_without_a_name_tells_how() -> None:
    for words in ((), ("--help",), ("-h",)):
        assert "hf-lrsched recipes run pretrain\n" in call("run", *words).output


def test_a_wheel_has_them_and_starts_one_from_anywhere(tmp_path: Path) -> None:
    source, site = tmp_path / "source", tmp_path / "site"
    shutil.copytree(ROOT / "hf_lrsched", source / "hf_lrsched", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(RECIPES, source / "recipes", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    build = "import setuptools.build_meta; print(setuptools.build_meta.build_wheel('..'))"
    done = subprocess.run([sys.executable, "-c", build], cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    with zipfile.ZipFile(tmp_path / done.stdout.split()[-1]) as wheel:
        wheel.extractall(site)
    shutil.rmtree(source)
    packed = {path.relative_to(site / "hf_lrsched/recipes") for path in (site / "hf_lrsched/recipes").rglob("*.*")}
    files = {path.relative_to(RECIPES) for path in RECIPES.rglob("*.*") if "__pycache__" not in path.parts}
    assert packed == files
    flags = ("--max_steps", "2", "--disable_tqdm", "True", "--save_strategy", "no")
    ran = subprocess.run(
        [sys.executable, "-m", "hf_lrsched", "recipes", "run", "cnn", *flags],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-3000:]
    assert f"settings: {site / 'hf_lrsched/recipes/presets/demo-image_classification.yaml'}" in ran.stdout
    assert (tmp_path / "runs/image_classification/model.safetensors").exists()
