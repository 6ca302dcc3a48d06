"""Command lines that start a training, as configurations: ``accelerate launch ... train.py --learning_rate 2e-5 ...``.

Known are scripts with `TrainingArguments`, ``trl``, ``llamafactory-cli``, and what launches them. What a configuration file
that the line names adds to it is the companion's; the rest of it is unknown.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from .configuration import UNKNOWN, Configuration, Setting
from .document import Document, Text, number_of
from .forms.form import ORPO, count_of, task_of
from .forms.llamafactory import LlamaFactory
from .forms.transformers import Transformers, continued
from .shell import Word, commands

_LAUNCHING = re.compile(r"torch\.distributed\.\w+|accelerate(?:\.commands\.\w+)?|deepspeed(?:\.\w+)*")  # behind python -m
_RUNS_MODULES = re.compile(r"(?:^|/)(?:python[\d.]*|torchrun|accelerate|deepspeed)$")
_SWITCHES = frozenset(["bf16", "fp16", "tf32", "do_train", "do_eval", "gradient_checkpointing", "packing", "use_peft"])
_PROGRAMS = frozenset(["trl", "llamafactory-cli", "lmf"])
_TRLS = re.compile(r"trl[./]scripts[./](\w+?)(?:\.py)?$")  # behind python -m, or as a file
_LAUNCHED_ON = ("num_processes", "nproc_per_node", "num_gpus", "nproc-per-node")
_LAUNCHERS_FILES = {"config_file": "accelerate", "deepspeed_config_file": "deepspeed", "deepspeed": "deepspeed"}
_FLAG = re.compile(r"--?([A-Za-z][\w.-]*)(?:=(.*))?$", re.DOTALL)


def command_lines(text: str, file: str = "") -> list[Configuration]:
    """The trainings that a script starts.

    >>> [run] = command_lines("torchrun --nproc_per_node 8 sft.py --learning_rate 2e-5 --num_train_epochs 1 --max_steps 60")
    >>> run.form, run.processes, run.number("learning_rate"), run.settings["max_steps"].key
    ('transformers', 8, 2e-05, '--max_steps')
    """
    lines = Text(text).lines
    found = [_training(command, lines, file) for command in commands(text)]
    return [one for one in found if one is not None]


def _training(command: Sequence[Word], lines: tuple[str, ...], file: str) -> Configuration | None:
    at = next((place for place in range(len(command)) if _starts(command, place)), None)
    if at is None:
        return None
    script = command[at].text
    verb = command[at + 1].text if script in _PROGRAMS and at + 1 < len(command) else ""
    trls = verb if script == "trl" else found[1] if (found := _TRLS.search(script)) else ""
    launched = _flags(command[:at], lines)
    document = Document(_flags(command[at + 1 :], lines), lines, file)
    reader = LlamaFactory() if script in ("llamafactory-cli", "lmf") or document.has("finetuning_type") else Transformers()
    if not reader.mine(document) and not (verb and "learning_rate" in document) and not (trls and len(document.entries) > 1):
        return None
    read = reader.read(document)
    settings = {name: _typed(found) for name, found in read.settings.items()}
    named = trls or verb or script
    task = "" if ORPO.search(named.lower()) else read.task or continued(task_of(named), document)
    for own, name in _LAUNCHERS_FILES.items():
        if own in launched:
            settings.setdefault(name, replace(launched[own], name=name))
    if "config" in document:
        settings["config"] = replace(document.entries["config"], name="config")
    form = "trl" if re.match(r"trl(?:\.|$)", script) and read.form == "transformers" else read.form
    partial = "config" in document or any(_adds(command, place) for place in range(at + 1, len(command)))
    # TRL's own programs train all parameters where nothing else is asked for.
    peft = read.peft or ("full" if trls and not partial else "")
    return read.but(form=form, settings=settings, task=task, peft=peft, processes=_processes(launched), partial=partial)


def _starts(command: Sequence[Word], place: int) -> bool:
    """Whether the word there is the script, the module or the program that trains."""
    word = command[place].text
    if word.endswith(".py") or word in _PROGRAMS:
        return True
    as_module = place > 1 and command[place - 1].text in ("-m", "--module") and not _LAUNCHING.fullmatch(word)
    return as_module and any(_RUNS_MODULES.search(before.text) for before in command[: place - 1])


def _adds(command: Sequence[Word], place: int) -> bool:
    """Whether the word there may be any flags: a variable that is no flag's value, or a list of words."""
    word, before = command[place], command[place - 1]
    if word.known or word.text.startswith("-"):
        return False
    if re.search(r"\$\{?[\w]*(?:[@*]|\[[@*]\])", word.written):
        return True
    flag = _FLAG.match(before.text) if before.written.startswith("-") else None
    return flag is None or flag[2] is not None or flag[1].replace("-", "_") in _SWITCHES


def _flags(words: Sequence[Word], lines: tuple[str, ...]) -> dict[str, Setting]:
    """The flags among words, with the value behind each; a flag without one is true."""
    flags: dict[str, Setting] = {}
    for place, word in enumerate(words):
        match = _FLAG.match(word.text) if word.written.startswith("-") else None
        if not match or number_of(word.text) is not None:
            continue
        name, given = match[1].replace("-", "_"), match[2]
        behind = words[place + 1] if place + 1 < len(words) else None
        if given is not None:
            value: Any = given if word.known else UNKNOWN
            written = word.written.partition("=")[2]
        elif behind is None or (behind.text.startswith("-") and number_of(behind.text) is None):
            value, written = True, ""
        else:
            value, written = behind.text if behind.known else UNKNOWN, behind.written
        line = lines[word.line - 1] if word.line <= len(lines) else ""
        flags[name] = Setting(name, _plain(value), written, word.written.partition("=")[0], word.line, word.column, line)
    return flags


def _plain(value: Any) -> Any:
    """A word as a plain value: a number, a truth, or the text itself."""
    if not isinstance(value, str):
        return value
    number = number_of(value)
    if number is not None:
        return number
    return {"true": True, "false": False, "none": None}.get(value.lower(), value)


def _typed(setting: Setting) -> Setting:
    """A setting whose text is JSON as what it says."""
    if isinstance(setting.value, str) and setting.value.startswith("{"):
        try:
            return replace(setting, value=json.loads(setting.value))
        except ValueError:
            return replace(setting, value=UNKNOWN)
    return setting


def _processes(launched: dict[str, Setting]) -> int | None:
    counts = [count_of(launched[name].value) for name in _LAUNCHED_ON if name in launched]
    nodes = count_of(launched["nnodes"].value) if "nnodes" in launched else 1
    each = next((count for count in counts if count), None)
    alone = "num_processes" in launched  # accelerate counts all machines' processes, torchrun one machine's
    return None if each is None or nodes is None else each if alone else each * nodes
