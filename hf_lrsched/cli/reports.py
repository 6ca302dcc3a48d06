"""``report`` and ``compare``: what runs did, finished or not, ours or anybody's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .output import formatted, refused, say
from .schedules import check_picture

if TYPE_CHECKING:
    from ..runs.diagnosis import Finding
    from ..runs.history import History

_PAGE = "lr_report.html"


@click.command(short_help="An HTML page about a run.")
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="A page (.html) or a picture (.png, ...)."
)
@formatted
def report(run: Path, output: Path | None, form: str) -> None:
    """One HTML page about RUN, a run's folder or a file that it left: curves to zoom into, findings, phases, settings.

    It needs no network. By default it is lr_report.html in the run's folder. RUN is read from lr_history.jsonl,
    trainer_state.json, CSV, JSON lines or TensorBoard event files, also gzipped, and may still be running.

    Example:  hf-lrsched report runs/pretrain
    """
    from ..runs.diagnosis import diagnose
    from ..runs.summary import summary
    from ..show.text import history_table

    history = _read(run)
    file = output or (run if run.is_dir() else run.parent) / _PAGE
    check_picture(file, ".html")
    write(history, file, run, diagnose(history))
    say(form, f"{history_table({name_of(run): history})}\n\n{file}", {**summary(history), "file": str(file)})


@click.command(short_help="A table and a picture of several runs.")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="A picture of all of them (.png, .svg, .pdf)."
)
@formatted
def compare(runs: tuple[Path, ...], output: Path | None, form: str) -> None:
    """RUNS side by side: a table, and with -o a picture of their learning rates and losses over each other.

    Example:  hf-lrsched compare runs/pretrain runs/pretrain-2 -o both.png
    """
    from ..runs.summary import summary
    from ..show.text import history_table

    histories = {name: _read(run) for name, run in named(runs).items()}
    if output is not None:
        check_picture(output)
        from ..show.plot import runs as picture

        try:
            picture(histories, output)
        except (ModuleNotFoundError, OSError) as error:
            raise refused(error) from error
    text = history_table(histories) + (f"\n\n{output}" if output else "")
    say(form, text, {name: summary(history) for name, history in histories.items()})


def write(history: History, file: Path, run: Path, found: Sequence[Finding]) -> None:
    """A page or a picture of a run with its findings, by the ending of `file`.

    Raises:
        ClickException: where a library is not there, or the file cannot be written.
    """
    try:
        if file.suffix == ".html":
            from ..runs.files import checkpoints
            from ..show.findings import on_page
            from ..show.report import report as page

            page(history, file, title=name_of(run), checkpoints=checkpoints(run), findings=on_page(found))
        else:
            from ..show.plot import findings as picture

            picture(history, found, file)
    except (ModuleNotFoundError, OSError) as error:
        raise refused(error) from error


def name_of(run: Path) -> str:
    """The name of a run's folder, given it or a file in it."""
    return (run if run.is_dir() else run.parent).resolve().name


def named(runs: tuple[Path, ...]) -> dict[str, Path]:
    """Each run, by the shortest end of its path that tells it from the others."""
    given = list(dict.fromkeys(runs))
    whole = [run.resolve().parts for run in given]
    for length in range(1, max(map(len, whole)) + 1):
        names = ["/".join(parts[-length:]) for parts in whole]
        if len(set(names)) == len(given):
            break
    return dict(zip(names, given, strict=True))


def _read(run: Path) -> History:
    from ..runs.reading import read_history

    try:
        history = read_history(run)
    except (OSError, ValueError, ModuleNotFoundError) as error:
        raise refused(error) from error
    for sentence in history.unreadable:
        click.echo(f"warning: {sentence}", err=True)
    return history
