"""What every command says, for people or as JSON: ``--format human|json``."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

formatted: Callable[[F], F] = click.option(
    "--format", "form", type=click.Choice(("human", "json")), default="human", show_default=True, help="For people, or JSON."
)
"""The option; the command's function is given it as ``form``."""


def say(form: str, text: str, data: object) -> None:
    """Prints `text`, or `data` as one JSON value."""
    click.echo(text if form == "human" else json.dumps(plain(data), indent=2, ensure_ascii=False))


def plain(data: Any) -> Any:
    """`data` as JSON has it, in which NaN and infinity are null."""
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, dict):
        return {str(key): plain(value) for key, value in data.items()}
    return [plain(value) for value in data] if isinstance(data, list | tuple) else data


def refused(error: Exception) -> click.ClickException:
    """What was wrong with what was typed or found, as the one sentence that ends the command with exit code 1."""
    return click.ClickException(str(error))
