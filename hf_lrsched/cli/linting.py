"""``lint``: what is wrong with training configurations before they run, anybody's, and edits that mend them."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .output import refused, say

if TYPE_CHECKING:
    from ..advice.lint import Examined, Remark, Rule
    from ..advice.lint.fixing import MendedFile

_PASSES = 5  # of mending: an edit may uncover another rule's fault in the same line


@click.command(short_help="What is wrong with training configurations?")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path), metavar="FILE_OR_FOLDER...")
@click.option(
    "--format",
    "form",
    type=click.Choice(("human", "json", "sarif", "github")),
    default="human",
    show_default=True,
    help="For people, as JSON, for code scanning, or as annotations of a GitHub workflow.",
)
@click.option("--fix", is_flag=True, help="Write the safe edits into the files, and show them.")
@click.option("--unsafe-fixes", "--unsafe_fixes", "unsafe", is_flag=True, help="Those too that one should look at first.")
@click.option(
    "--diff", "--dry-run", "--dry_run", "diff", is_flag=True, help="Show what --fix would change, and write nothing."
)
@click.option("--select", multiple=True, metavar="RULES", help="Only these rules: ids or names, separated by commas.")
@click.option("--ignore", multiple=True, metavar="RULES", help="Not these.")
@click.option("--notes", is_flag=True, help="Also say what is only worth knowing.")
@click.option("--strict", is_flag=True, help="Exit with 1 for a warning too.")
@click.option("--rules", "listed", is_flag=True, help="The rules, each with where the fault was truly seen, and exit.")
def lint(
    paths: tuple[Path, ...],
    form: str,
    fix: bool,
    unsafe: bool,
    diff: bool,
    select: tuple[str, ...],
    ignore: tuple[str, ...],
    notes: bool,
    strict: bool,
    listed: bool,
) -> None:
    """What is wrong with the training configurations in FILE_OR_FOLDER..., by file and line, with sources and fixes.

    Read are YAML, JSON and shell scripts of Transformers, TRL, axolotl, LLaMA-Factory, torchtune, litgpt and this project,
    and the DeepSpeed and accelerate files beside them. Unknown files and keys are passed over. Nothing is run.

    A comment "# lr-lint: ignore[LR003]" behind a line, or above it, keeps a rule quiet; "ignore-file[LR003]" does so for a
    file. The exit code is 1 where there is an error (with --strict: or a warning), else 0; 2 for a command that makes no
    sense. Notes never fail.

    \b
    Examples:
      hf-lrsched lint configs/
      hf-lrsched lint sft.yaml --fix
      hf-lrsched lint . --format sarif > lint.sarif
    """
    chosen = _chosen(_words(select), _words(ignore))
    if listed:
        _list_rules(chosen, form)
        return
    if not paths:
        raise click.UsageError("give a FILE_OR_FOLDER: hf-lrsched lint configs/")
    changed: list[MendedFile] = []
    if fix or diff:
        changed = _mended(paths, chosen, write=not diff, unsafe=unsafe)
    found = _said(paths, chosen, broken=_wants_broken(select, ignore))
    _tell(found, changed, chosen, form=form, notes=notes, wrote=not diff)
    levels = {remark.level for remark in found.kept}
    sys.exit(1 if "error" in levels or (strict and "warning" in levels) else 0)


def _words(given: Iterable[str]) -> list[str]:
    return [word.strip() for one in given for word in one.split(",") if word.strip()]


def _chosen(select: Sequence[str], ignore: Sequence[str]) -> list[type[Rule]]:
    """The rules that are to be asked.

    Raises:
        UsageError: for one that there is none of.
    """
    from difflib import get_close_matches

    from ..advice.lint import RULES

    known = {word.lower(): rule for rule in RULES for word in (rule.id, rule.name)}
    for word in (*select, *ignore):
        if word.lower() not in known and word.upper() != "LR000":
            near = get_close_matches(word.lower(), known, n=1)
            meant = [word for rule in RULES for word in (rule.id, rule.name) if word.lower() in near]
            hint = f"did you mean {meant[0]}?" if meant else "hf-lrsched lint --rules lists them"
            raise click.UsageError(f"there is no rule {word}; {hint}")
    wanted = {known[word.lower()] for word in select if word.lower() in known} if select else set(RULES)
    unwanted = {known[word.lower()] for word in ignore if word.lower() in known}
    return [rule for rule in RULES if rule in wanted - unwanted]


def _wants_broken(select: Sequence[str], ignore: Sequence[str]) -> bool:
    """Whether files that cannot be read are to be told of."""
    return "LR000" not in map(str.upper, _words(ignore)) and (not select or "LR000" in map(str.upper, _words(select)))


_MOST = 5  # files that are told of one by one: pre-commit names every YAML file of a repository


@dataclass(frozen=True)
class _Said:
    """What was looked at, with the remarks that are told and those that comments keep quiet."""

    examined: Examined
    kept: list[Remark]
    hidden: list[Remark]


def _said(
    paths: Sequence[Path],
    rules: Sequence[type[Rule]],
    *,
    broken: bool = True,
    texts: Mapping[str, str] | None = None,
) -> _Said:
    """What the rules say of the files, and what comments in those keep quiet.

    Raises:
        UsageError: for a path that is not there.
    """
    from ..advice.lint import examine
    from ..advice.lint.suppressing import heard

    try:
        examined = examine(list(paths), rules=rules, texts=texts)
    except FileNotFoundError as error:
        raise click.UsageError(str(error)) from error
    return _Said(examined, *heard([one for one in examined.remarks if broken or one.rule != "LR000"], texts=texts))


def _mended(paths: Sequence[Path], rules: Sequence[type[Rule]], *, write: bool, unsafe: bool) -> list[MendedFile]:
    """Makes the edits, again and again until none is left, and writes the files when all are made."""
    from ..advice.lint.fixing import joined, mend, save

    changed: list[MendedFile] = []
    texts: dict[str, str] = {}
    try:
        for _ in range(_PASSES):
            said = _said(paths, rules, texts=texts).kept
            done = [one for one in mend(said, write=False, unsafe=unsafe, texts=texts) if one.done]
            changed = joined([*changed, *done])
            texts |= {one.file: one.after for one in done}
            if not done:
                break
        if write:
            save(changed)
    except OSError as error:
        raise refused(error) from error
    return changed


def _tell(
    said: _Said, changed: Sequence[MendedFile], rules: Sequence[type[Rule]], *, form: str, notes: bool, wrote: bool
) -> None:
    from ..show import lint as show

    kept, examined = said.kept, said.examined
    shown = [remark for remark in kept if notes or remark.level != "note"]
    if form in ("sarif", "github"):
        say("json" if form == "sarif" else "human", show.github(shown), show.sarif(kept, rules))
        return
    numbers = show.count(kept)
    width = min(shutil.get_terminal_size((100, 24)).columns, 120)
    parts = [one.diff.rstrip("\n") for one in changed]
    parts += [show.text(shown, width=width), _summary(said, changed, notes=notes, wrote=wrote)]
    data: dict[str, Any] = {
        "files": examined.files,
        "configurations": examined.configurations,
        "unread": [{"file": file, "why": why} for file, why in examined.unread],
        **{f"{level}s": number for level, number in numbers.items()},
        "suppressed": len(said.hidden),
        "remarks": [remark.to_dict() for remark in kept],
        "changed": [{"file": one.file, "edits": len(one.done), "written": wrote, "diff": one.diff} for one in changed],
    }
    say(form, "\n\n".join(part for part in parts if part), data)


def _summary(found: _Said, changed: Sequence[MendedFile], *, notes: bool, wrote: bool) -> str:
    """What was found, in a line or two, and a line for each file that was named and not looked at."""
    from ..show.lint import count, plural

    kept, hidden, examined = found.kept, found.hidden, found.examined
    edits = sum(len(one.done) for one in changed)
    lines = [f"{file} {why}, and was not judged" for file, why in examined.unread[:_MOST]]
    if len(examined.unread) > _MOST:
        lines.append(f"... nor were {len(examined.unread) - _MOST} more of the files that were named")
    if edits:
        what = f"{plural(edits, 'edit')} in {plural(len(changed), 'file')}"
        lines.append(f"{what} written" if wrote else f"{what} to be written by --fix")
    numbers = count(kept)
    said = f"{plural(examined.configurations, 'configuration')} in {plural(examined.files, 'file')}: "
    said += f"{plural(numbers['error'], 'error')}, {plural(numbers['warning'], 'warning')}"
    said += f", {plural(numbers['note'], 'note')}" + (" (--notes shows them)" if numbers["note"] and not notes else "")
    said += f", {len(hidden)} kept quiet by comments" if hidden else ""
    safe = sum(remark.fix is not None and remark.fix.safe for remark in kept)
    said += f"; --fix mends {safe}" if safe and not edits else ""
    return "\n".join([*lines, said])


def _list_rules(rules: Sequence[type[Rule]], form: str) -> None:
    from ..show import lint as show

    data = [
        {
            "id": rule.id,
            "name": rule.name,
            "level": rule.level,
            "summary": show.summary_of(rule),
            "seen": rule.example.seen,
            "source": rule.source,
        }
        for rule in rules
    ]
    width = min(shutil.get_terminal_size((100, 24)).columns, 120)
    say("json" if form == "json" else "human", show.rules_table(rules, width=width), data)
