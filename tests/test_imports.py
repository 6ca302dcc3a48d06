from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from inspect import ismodule
from pathlib import Path

import pytest

import hf_lrsched

ROOT = Path(hf_lrsched.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))

# DESIGN.md, "Who may import whom". A package that is not here needs a row there first.
MAY_IMPORT = {
    "schedules": set(),
    "runs": {"schedules"},
    "advice": {"schedules", "runs"},
    "show": {"schedules", "runs", "advice"},
    "training": {"schedules", "runs", "advice", "show"},
    "testing": {"schedules"},
    "version": set(),
    "": {"schedules", "runs", "advice", "show", "training"},  # the package's own __init__, which names what the others hold
}
EVERYTHING = ("cli", "__main__", "startup")
FREE = {"version"}

HEAVY = {"torch", "transformers", "accelerate", "datasets", "peft"}
HEAVY_ALLOWED = {"training", "cli"}


def package_of(path: Path) -> str:
    """The sub-package, or the single file, that a module of ours lies in; empty for the package itself."""
    first = path.relative_to(ROOT).parts[0]
    return "" if first == "__init__.py" else first.removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Every import of a module, as its full name, and whether it stands inside a function."""
    package = ["hf_lrsched", *path.relative_to(ROOT).parts[:-1]]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    inside = {id(node) for function in functions for node in ast.walk(function)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) in inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = [*above, *([node.module] if node.module else [])]
            yield from ((".".join([*base, alias.name]), id(node) in inside) for alias in node.names)


every_module = pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))


@every_module
def test_a_package_imports_only_what_the_design_lets_it(path: Path) -> None:
    package = package_of(path)
    assert package in {*MAY_IMPORT, *EVERYTHING}
    if package in EVERYTHING:
        return
    ours = {name.split(".")[1] for name, _ in imports(path) if name.split(".")[0] == "hf_lrsched"}
    assert ours - {package} - FREE <= MAY_IMPORT[package]


@every_module
def test_training_alone_and_the_command_line_know_torch_and_transformers(path: Path) -> None:
    heavy = {name for name, _ in imports(path) if name.split(".")[0] in HEAVY}
    assert not heavy or package_of(path) in HEAVY_ALLOWED


@every_module
def test_schedules_need_numpy_at_most(path: Path) -> None:
    others = {name.split(".")[0] for name, _ in imports(path)} - sys.stdlib_module_names - {"hf_lrsched", "numpy"}
    assert package_of(path) != "schedules" or not others


@every_module
def test_drawing_and_a_commands_needs_are_loaded_when_they_are_used(path: Path) -> None:
    package, at_once = package_of(path), {name for name, inside in imports(path) if not inside}
    if package == "training":
        assert not {name for name in at_once if name.startswith("hf_lrsched.show")}
    if package == "cli":
        assert not {name for name in at_once if name.split(".")[0] in HEAVY}


def test_the_walk_sees_the_imports_it_is_about() -> None:
    found = {(name, inside) for path in MODULES for name, inside in imports(path)}
    assert ("torch.optim.lr_scheduler.LRScheduler", False) in found
    assert ("hf_lrsched.schedules.schedule.Schedule", True) in found
    assert ("hf_lrsched.training.registration", False) in found
    assert ("numpy", False) in found


def loaded_after(code: str) -> set[str]:
    """Top-level modules that a fresh process has loaded after `code`."""
    script = f"{code}\nimport json, sys\nprint(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


HEAVIER = {*HEAVY, "matplotlib", "scipy", "pandas", "sklearn", "trl", "aenum"}


@pytest.mark.parametrize(
    "code",
    [
        "import hf_lrsched",
        "import hf_lrsched; hf_lrsched.CATALOGUE; hf_lrsched.build('wsd', 100).values()",
        "from hf_lrsched import Phase, Schedule, fall, from_spec, hold, repeat, rise, to_spec, wsd",
        "import hf_lrsched; hf_lrsched.register(); hf_lrsched.unregister(); hf_lrsched.register()",
        "import hf_lrsched; dir(hf_lrsched)",
    ],
)
def test_importing_the_package_and_its_schedules_stays_light(code: str) -> None:
    assert not loaded_after(code) & HEAVIER


def test_importing_the_package_alone_does_without_numpy() -> None:
    assert "numpy" not in loaded_after("import hf_lrsched")


def typed_names() -> dict[str, str]:
    """The names that the package imports for type checkers, each with the module it comes from."""
    tree = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8"))
    blocks = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    found = [node for block in blocks for node in block.body if isinstance(node, ast.ImportFrom)]
    return {alias.asname or alias.name: f"hf_lrsched.{node.module}" for node in found for alias in node.names}


def test_public_names_are_those_that_type_checkers_see() -> None:
    assert sorted(hf_lrsched.__all__) == sorted(typed_names())
    assert len(hf_lrsched.__all__) == len(set(hf_lrsched.__all__))


@pytest.mark.parametrize("name", hf_lrsched.__all__)
def test_a_public_name_is_what_type_checkers_see(name: str) -> None:
    value = getattr(hf_lrsched, name)
    assert value is (import_module(value.__name__) if ismodule(value) else getattr(import_module(typed_names()[name]), name))
    assert name in dir(hf_lrsched)


def test_every_schedule_of_the_catalogue_is_a_public_name() -> None:
    for name, entry in hf_lrsched.CATALOGUE.items():
        assert getattr(hf_lrsched, name) is entry.builder


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'hf_lrsched' has no attribute 'wsdd'"):
        hf_lrsched.__getattr__("wsdd")
    assert not hasattr(hf_lrsched, "utils")
