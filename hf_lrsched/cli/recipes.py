"""``recipes``: found, printed, copied and started, with no clone of the repository. They travel inside the package."""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .output import formatted, refused, say

if TYPE_CHECKING:
    from ..advice.presets import Shipped


@click.group
def recipes() -> None:
    """Training scripts to read and to start, their settings, and accelerate's configurations; no clone is needed.

    \b
    Examples:
      hf-lrsched recipes ls
      hf-lrsched recipes run pretrain
      hf-lrsched recipes copy lora mine
    """


@recipes.command("ls", short_help="Which there are.")
@formatted
def ls(form: str) -> None:
    """The recipes: name, what runs it, learning rate, schedule, and one line each.

    \b
    Examples:
      hf-lrsched recipes ls
      hf-lrsched recipes ls --format json
    """
    from ..advice.presets import shipped

    rows = [
        {
            "name": one.name,
            "run_by": " ".join(one.run_by),
            "preset": str(one.file),
            "learning_rate": one.settings["learning_rate"],
            "lr_scheduler_type": one.settings["lr_scheduler_type"],
            "about": one.about,
        }
        for one in shipped()
    ]
    columns = ("name", "run_by", "learning_rate", "lr_scheduler_type", "about")
    cells = [("name", "run by", "peak LR", "schedule", "what"), *(tuple(_cell(row[key]) for key in columns) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(columns) - 1)]
    table = ["  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]) for row in cells]
    aliases = sorted(_configurations())
    table += ["", f"on several GPUs, as --accelerate_config: {', '.join(aliases)}"]
    say(form, "\n".join(table), {"recipes": rows, "accelerate": {name: str(_configurations()[name]) for name in aliases}})


def _cell(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


@click.command("show", short_help="Print a script, or its settings.")
@click.argument("name")
@click.option("--preset", is_flag=True, help="Its settings, not its script.")
def show(name: str, preset: bool) -> None:
    """Print the script of NAME, or with --preset its settings, each number with its source.

    NAME may also be one of accelerate's configurations. What TRL runs has no script here: its settings are printed.

    \b
    Examples:
      hf-lrsched recipes show lora
      hf-lrsched recipes show lora --preset
      hf-lrsched recipes show ddp
    """
    configurations = _configurations()
    if name in configurations:
        click.echo(configurations[name].read_text("utf-8"), nl=False)
        return
    one = _find(name)
    script = _script(one)
    click.echo(one.text if preset or script is None else script.read_text("utf-8"), nl=False)


@click.command("copy", short_help="Copy one, to change it; overwrites nothing.")
@click.argument("name")
@click.argument("dest", required=False, type=click.Path(path_type=Path))
@click.option("--preset", is_flag=True, help="Its settings alone, into the folder you are in.")
def copy(name: str, dest: Path | None, preset: bool) -> None:
    """Copy NAME, to change it: its script and what that imports, its settings, accelerate's configurations.

    DEST is a folder, by default recipes; with --preset a file, by default NAME.yaml. Nothing is overwritten: a file that is
    there already must be the same.

    \b
    Examples:
      hf-lrsched recipes copy lora
      hf-lrsched recipes copy lora mine.yaml --preset
    """
    one = _find(name)
    script = _script(one)
    if preset or script is None:
        target = dest or Path(f"{one.name}.yaml")
        pairs = [(one.file, target / one.file.name if target.is_dir() else target)]
    else:
        target, root = dest or Path("recipes"), script.parent
        pairs = [(file, target / file.relative_to(root)) for file in _needed(one, script)]
    try:
        _copy(pairs)
    except OSError as error:
        raise refused(ValueError(f"{error.filename} cannot be written: {error.strerror}")) from error
    click.echo("\n".join(str(to) for _, to in pairs))


def _needed(one: Shipped, script: Path) -> Iterator[Path]:
    """The script and all that it needs beside it."""
    root, seen, left = script.parent, set[Path](), [script]
    while left:
        file = left.pop()
        seen.add(file)
        tree = ast.parse(file.read_text("utf-8"))
        names = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
        names += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
        left += [path for path in (root / f"{name}.py" for name in names) if path.is_file() and path not in seen]
    yield from sorted(seen)
    presets = {one.file, *(root / "presets" / f"{before}{script.stem}.yaml" for before in ("", "demo-"))}
    yield from sorted(presets)
    yield from sorted(_configurations().values())


def _copy(pairs: list[tuple[Path, Path]]) -> None:
    """Copies each, where none of them is there with something else in it."""
    for source, to in pairs:
        if to.exists() and (not to.is_file() or to.read_bytes() != source.read_bytes()):
            raise click.ClickException(f"{to} is there and is another one, so nothing was copied; give another DEST")
    for source, to in pairs:
        if not to.exists():
            to.parent.mkdir(parents=True, exist_ok=True)
            with to.open("xb") as file:
                file.write(source.read_bytes())


_LAUNCHER = ("num_processes", "num_machines", "machine_rank", "main_process_ip", "main_process_port")


def _of_launcher(command: Any) -> Any:
    for name in reversed(_LAUNCHER):
        command = click.option(f"--{name}", f"--{name.replace('_', '-')}", name, help="As for accelerate launch.")(command)
    return command


@click.command(
    "run",
    short_help="Start one, in one process or several.",
    context_settings={"ignore_unknown_options": True},
    add_help_option=False,
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="NAME [FLAGS]...")
@click.option(
    "--accelerate_config", "--accelerate-config", "configuration", help="Several processes: cpu, ddp, fsdp2, ..., or a file."
)
@_of_launcher
def run(words: tuple[str, ...], configuration: str | None, **launcher: str | None) -> None:
    """Start the recipe NAME in one process, or under accelerate launch; FLAGS are the recipe's own, and win over its preset.

    What it writes goes into the folder you are in, as runs/NAME. `hf-lrsched recipes run NAME --help` shows the flags.

    \b
    Examples:
      hf-lrsched recipes run pretrain
      hf-lrsched recipes run lora --model_name_or_path Qwen/Qwen3-0.6B --dataset_name trl-lib/Capybara
      hf-lrsched recipes run lora --accelerate_config ddp --learning_rate auto --model_name_or_path ...
    """
    from .running import start

    if not words or words[0] in ("-h", "--help"):
        click.echo(click.get_current_context().get_help())
        return
    one = _find(words[0])
    script = _script(one)
    given = [part for name, value in launcher.items() if value is not None for part in (f"--{name}", value)]
    if given and configuration is None:
        raise click.UsageError(f"{given[0]} is for accelerate launch; give --accelerate_config as well, such as ddp")
    file = None if configuration is None else _configuration(configuration)
    if script is None:
        typed = _decided(one, words[1:])
        program = (*one.run_by, *_own(one, typed), *typed)
        accelerate = () if file is None else ("--accelerate_config", str(file), *given)
        sys.exit(start((*program, *accelerate), False, {}))
    # A script chooses its own preset: the demo's, where no model and no data is named.
    flags = (*([] if one.name == script.stem else _own(one, words[1:])), *words[1:])
    if file is None:
        sys.exit(start((str(script), *flags), False, {}))
    launch = ("accelerate.commands.launch", "--config_file", str(file), *given)
    sys.exit(start((*launch, str(script), *flags), True, {}))


def _decided(one: Shipped, typed: tuple[str, ...]) -> tuple[str, ...]:
    """What was typed for a program that does not know "auto", with numbers in its place."""
    from ..advice.presets import preset

    words = [part for word in typed for part in (word.split("=", 1) if word.startswith("--") else [word])]
    said = {flag[2:].replace("-", "_"): value for flag, value in pairwise(words) if flag.startswith("--")}
    auto = [name for name in ("learning_rate", "warmup_steps") if said.get(name) == "auto"]
    if not auto:
        return typed
    if "model_name_or_path" not in said:
        raise click.UsageError(f"--{auto[0]} auto needs --model_name_or_path, whose size decides")
    try:
        sized = preset(one.name, model=said["model_name_or_path"])
    except ValueError as error:
        raise refused(error) from error
    for name in auto:
        click.echo(f"{name} {sized[name]:g}: {sized.sources.get(name, 'as the preset has it')}")
    before = ["", *words]
    return tuple(
        f"{sized[name]:g}" if word == "auto" and (name := flag[2:].replace("-", "_")) in auto else word
        for flag, word in zip(before, words, strict=False)
    )


def _own(one: Shipped, typed: tuple[str, ...]) -> list[str]:
    """The preset of its own, and a folder, where nothing else was typed."""
    names = {word.partition("=")[0].replace("-", "_") for word in typed}
    config = [] if "__config" in names else ["--config", str(one.file)]
    trl = len(one.run_by) > 1 and "__output_dir" not in names
    return [*config, *(["--output_dir", os.path.join("runs", one.name)] if trl else [])]


def _find(name: str) -> Shipped:
    from ..advice.presets import find

    try:
        return find(name)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def _script(one: Shipped) -> Path | None:
    """The recipe's script; None for what is a program of TRL's."""
    return one.file.parents[1] / one.run_by[0] if len(one.run_by) == 1 else None


def _configurations() -> dict[str, Path]:
    """accelerate's configurations by alias."""
    from ..advice.presets import recipes as folder

    return {path.stem: path for path in (folder() / "accelerate").glob("*.yaml")}


def _configuration(given: str) -> Path:
    known = _configurations()
    if given in known or Path(given).is_file():
        return known.get(given, Path(given))
    raise click.UsageError(f"--accelerate_config {given} is no file, and no alias ({', '.join(sorted(known))})")


for name, command in (("show", show), ("cat", show), ("copy", copy), ("cp", copy), ("run", run)):
    recipes.add_command(command, name)
