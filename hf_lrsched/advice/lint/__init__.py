"""What is wrong with a training configuration before it runs: `lint` for files and folders, `judge` for one configuration.

Files of which nothing is known, and keys of which nothing is known, are passed over in peace. Nothing is imported, executed
or unpickled to read a file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .configuration import Configuration, Setting, Steps
from .reading import configurations, failed, files_of
from .remark import Fix, Remark
from .rule import Example, Rule
from .rules import RULES
from .suppressing import heard

__all__ = [
    "RULES",
    "Configuration",
    "Examined",
    "Example",
    "Fix",
    "Remark",
    "Rule",
    "Setting",
    "Steps",
    "examine",
    "judge",
    "lint",
]


def lint(
    paths: str | Path | Iterable[str | Path], *, rules: Sequence[type[Rule]] | None = None, comments: bool = True
) -> list[Remark]:
    """What is wrong with the training configurations in files and folders, by file and line.

    Args:
        paths: files, and folders that are read with all below them; hidden folders are left out. Known are YAML, JSON, and
            shell scripts that start a training, of Transformers, TRL, axolotl, LLaMA-Factory, torchtune, litgpt,
            DeepSpeed, accelerate and this project.
        rules: by default all that are listed in `RULES`.
        comments: whether a rule is kept quiet where a comment asks for it, as ``# lr-lint: ignore[LR003]`` (`suppressing`).

    Raises:
        FileNotFoundError: for a path that is not there.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     text = "max_steps: 60\\nwarmup_steps: 1000\\nlr_scheduler_type: cosine\\n"
    ...     _ = Path(folder, "sft.yaml").write_text(text, "utf-8")
    ...     [found] = [remark for remark in lint(folder) if remark.level == "error"]
    >>> found.rule, found.line, found.sentence.partition(",")[0]
    ('LR001', 2, 'the warm-up takes 1000 steps and the run has 60 (max_steps 60)')
    """
    found = examine(paths, rules=rules).remarks
    return heard(found)[0] if comments else found


_NOTHING = "holds nothing that looks like a training configuration"


@dataclass(frozen=True)
class Examined:
    """What was looked at, and what is wrong with it.

    Args:
        remarks: by file and line, also those that comments ask not to hear.
        files: how many files were looked at.
        configurations: how many trainings they describe, and files beside one.
        unread: files that were named outright and not judged, each with why: it "is larger than 1 MiB".
    """

    remarks: list[Remark]
    files: int
    configurations: int
    unread: tuple[tuple[str, str], ...] = ()


def examine(
    paths: str | Path | Iterable[str | Path],
    *,
    rules: Sequence[type[Rule]] | None = None,
    texts: Mapping[str, str] | None = None,
) -> Examined:
    """What `lint` does, with what it looked at; a rule that fails on a file is told in a remark.

    Args:
        paths: as for `lint`, as are `rules`.
        texts: what stands in for the files' own text, by their path.

    Raises:
        FileNotFoundError: for a path that is not there.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     _ = Path(folder, "notes.yaml").write_text("to: be\\n", "utf-8")
    ...     examine(folder)
    Examined(remarks=[], files=1, configurations=0, unread=())
    """
    asked = [Path(path) for path in ([paths] if isinstance(paths, str | Path) else paths)]
    files, remarks, count = files_of(asked), list[Remark](), 0
    unread: list[tuple[str, str]] = []
    known: set[str] = set()
    for group in configurations(files, texts=texts):
        count += len(group.found)
        remarks += group.unreadable
        unread += [(str(path), why) for path, why in group.unread if path in asked]
        known |= {one.file for one in group.found} | {remark.file for remark in group.unreadable}
        known |= {str(path) for path, _ in group.unread}
        for kin in _kin(group.found):
            for configuration in kin:
                others = [one for one in kin if one is not configuration]
                remarks += _judged(configuration, others, rules)
    unread += [(str(path), _NOTHING) for path in asked if path.is_file() and str(path) not in known]
    once = dict.fromkeys(remarks)  # flags in a variable stand in one line and may be in many commands
    found = sorted(once, key=lambda remark: (remark.file, remark.line, remark.rule))
    return Examined(found, len(files), count, tuple(unread))


def _judged(one: Configuration, siblings: Sequence[Configuration], rules: Sequence[type[Rule]] | None) -> list[Remark]:
    try:
        return judge(one, siblings=siblings, rules=rules)
    except Exception as error:  # whatever a rule does: one odd file is no reason to say nothing of a thousand others
        return [failed(one.file, error)]


def judge(
    configuration: Configuration, *, siblings: Sequence[Configuration] = (), rules: Sequence[type[Rule]] | None = None
) -> list[Remark]:
    """What is wrong with one configuration, wherever it is from.

    Args:
        configuration: from a file (`lint` does this for each) or from plain values (`Configuration.of`).
        siblings: the other configurations of its folder that train the same model, for the same task, in the same way.
        rules: by default all that are listed in `RULES`.

    >>> run = Configuration.of({"learning_rate": 2e-4, "warmup_steps": 1000, "max_steps": 60})
    >>> [(remark.rule, remark.line) for remark in judge(run) if remark.level == "error"]
    [('LR001', 0)]
    """
    chosen = RULES if rules is None else rules
    return [remark for rule in chosen for remark in rule().judge(configuration, siblings)]


def _kin(found: Iterable[Configuration]) -> Iterable[list[Configuration]]:
    """The configurations of a folder by project, task, method and model."""
    kin: dict[tuple[object, ...], list[Configuration]] = {}
    for one in found:
        named = one.word("model_name_or_path").rstrip("/").rpartition("/")[2]
        kin.setdefault((one.form, one.task, one.peft.removeprefix("q"), one.parameters, named), []).append(one)
    return kin.values()
