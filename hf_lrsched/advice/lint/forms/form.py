"""What the reader of a project's configurations is: `Reader`."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from ...model import size_in
from ..configuration import LONGEST, UNKNOWN, Configuration, Form, Setting
from ..document import Document, number_of

_SIZE_IN_CODE = re.compile(r"_(0_5|0_6|1_5|1_7|\d+)([bm])(?![a-z0-9])")  # qwen2_0_5b, and llama3_2_1b
_SCALE = {"b": 1e9, "m": 1e6}

PATH_WORDS: tuple[tuple[str, str], ...] = (
    ("(?:dpo|kto|ipo|simpo|cpo|bco)", "preference"),
    ("(?:grpo|ppo|rloo|rlvr|reinforce)", "rl"),
    ("(?:reward|rm|prm|reward_modeling)", "reward"),
    ("(?:cpt|continued?[_-]?pre-?training|continual[_-]?pre-?training)", "continue"),
    ("sft", "sft"),
    (r"(?:pre-?train(?:ing)?|^pt(?=\.\w+$))", "pretrain"),
)
"""What a file's or a script's name says of its task, in the order in which it is asked; ``pt`` only as a file."""

_TUNES = re.compile(r"fine-?_?tun(?:e|ed|ing)(?![a-z])")

_NO_LANGUAGE = re.compile(r"image|speech|audio|vision|protein|music")


ORPO = re.compile(r"(?<![a-z0-9])orpo(?![a-z])")
"""Preference tuning with fine-tuning's loss within it. Its rates (zephyr-141b: 5e-6) are neither's: its task is unknown."""


class Reader(ABC):
    """Knows one project's files: which are its own, and what their keys mean in Transformers' words.

    A subclass names its `form`, its `names`, and answers `mine` and `facts`.
    """

    form: ClassVar[Form]
    names: ClassVar[Mapping[str, str]]
    converts: ClassVar[bool] = True
    """Whether a number that YAML takes for text (``2e-5``) becomes a number before it is used."""

    @abstractmethod
    def mine(self, document: Document) -> bool:
        """Whether the document is a configuration of this project; in doubt not."""

    def facts(self, document: Document, settings: Mapping[str, Setting]) -> dict[str, Any]:
        """What else follows from a document of this project: arguments of `Configuration`."""
        return {}

    def read_all(self, document: Document) -> Iterator[Configuration]:
        """The configurations of this project that the document is or holds."""
        if self.mine(document):
            yield self.read(document)

    def read(self, document: Document, **known: Any) -> Configuration:
        """The document as a configuration; it is one of this project's."""
        settings: dict[str, Setting] = {}
        others: dict[str, Setting] = {}
        for key, found in document.entries.items():
            name = self.names.get(key)
            if name is None:
                others[found.key or key] = found
            elif name not in settings or settings[name].value is None:
                settings[name] = self.understood(replace(found, name=name))
        facts = {**self.facts(document, settings), **known}
        return Configuration(self.form, settings, others, file=document.file, lines=document.lines, **facts)

    def understood(self, setting: Setting) -> Setting:
        """A setting with the value that the project makes of it."""
        number = number_of(setting.value) if self.converts and isinstance(setting.value, str) else None
        return setting if number is None else replace(setting, value=number)


def size_of(*names: Any) -> float | None:
    """How many parameters a model has, by the first of its names that says so.

    >>> size_of("Qwen/Qwen2.5-0.5B"), size_of("mixtral-8x7b"), size_of(None, "stablelm-2-1_6b"), size_of("gpt2", "8bit")
    (500000000.0, 56000000000.0, 1600000000.0, None)
    """
    sizes = (size_in(name.rstrip("/").rpartition("/")[2]) for name in names if isinstance(name, str))
    return next((size for size in sizes if size is not None), None)


def size_in_code(name: str) -> float | None:
    """How many parameters a model has by the name of the function that builds it.

    >>> size_in_code("torchtune.models.llama3_2.lora_llama3_2_1b"), size_in_code("torchtune.models.qwen2.qwen2_0_5b")
    (1000000000.0, 500000000.0)
    """
    found = _SIZE_IN_CODE.search(name)
    return float(found[1].replace("_", ".")) * _SCALE[found[2]] if found else None


def task_of(*names: str) -> str:
    """The task that a file or a script is for, by the last parts of its path; empty where they do not say.

    >>> task_of("recipes/zephyr-7b-beta/dpo/config_full.yaml"), task_of("configs/tulu3_sft.yaml")
    ('preference', 'sft')
    >>> task_of("adopt.yaml"), task_of("image-pretraining/run.sh"), task_of("pt-br/finetune.yaml"), task_of("pt.yaml")
    ('', '', '', 'pretrain')
    """
    for name in names:
        parts = [part.lower() for part in reversed(re.split(r"[/\\]", name)[-3:])]
        tunes = any(_TUNES.search(part) for part in parts)
        for part in parts:
            for words, task in PATH_WORDS:
                if re.search(rf"(?<![a-z0-9]){words}(?![a-z])", part):
                    return "" if _NO_LANGUAGE.search(part) or (tunes and task == "pretrain") else task
    return ""


def path_of(setting: Setting | None) -> str:
    """The file that a setting names; empty where it names none."""
    value = setting.value if setting is not None else None
    return value if isinstance(value, str) and re.search(r"\.(?:json|conf|ya?ml)$", value) else ""


def count_of(value: Any) -> int | None:
    """A count as it is written; None where it is none, or more than the steps of any run."""
    number = number_of(value) if isinstance(value, str) else value
    if isinstance(number, bool) or value is UNKNOWN or not isinstance(number, int | float) or not 1 <= number <= LONGEST:
        return None
    return int(number)
