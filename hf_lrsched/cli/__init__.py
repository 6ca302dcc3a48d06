"""The command line: ``hf-lrsched``, or ``python -m hf_lrsched``. One thin function a command; each imports what it needs.

It loads neither torch nor transformers, and of its own modules only the command that is called.
"""

from __future__ import annotations

from importlib import import_module

import click

from ..version import __version__

# Each command, and the module that holds it under that name (``list_`` for what Python calls something else).
_COMMANDS = {
    "list": "schedules:list_",
    "show": "schedules:show",
    "plot": "schedules:plot",
    "recommend": "advising:recommend",
    "lint": "linting:lint",
    "plan": "planning:plan",
    "forecast": "forecasting:forecast",
    "find-lr": "running:find_lr",
    "recipes": "recipes:recipes",
    "run": "running:run",
    "cooldown": "running:cooldown",
    "report": "reports:report",
    "compare": "reports:compare",
    "diagnose": "diagnosing:diagnose",
}


class Commands(click.Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names, in the order of a run: before it, during it, after it."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, or None."""
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(f".{module}", __name__), name)
        return command


_COMPLETION = """\b
Completion in bash (zsh, fish: zsh_source, fish_source):
  eval "$(_HF_LRSCHED_COMPLETE=bash_source hf-lrsched)"
"""


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]}, epilog=_COMPLETION)
@click.version_option(__version__, prog_name="hf-lrsched")
def main() -> None:
    """Learning-rate schedules for Hugging Face Transformers."""
