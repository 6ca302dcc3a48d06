"""The learning-rate section of a model card, and back: what a run followed, and the arguments that follow it again.

A section stands between two comments, so that it is found and replaced, and holds the whole `Card` as JSON; `from_card` reads
it there or in ``lr_schedule.json``, which lies beside. Both are read as data alone.

What it does not know: how a Trainer tells all this (`training.model_card`).
"""

from __future__ import annotations

import json
import keyword
import os
import re
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any

from ..schedules.schedule import Schedule
from ..schedules.spec import from_spec, to_spec
from .privacy import unfit

FILE = "lr_schedule.json"
README = "README.md"

_BEGIN, _END = "<!-- hf_lrsched: begin -->", "<!-- hf_lrsched: end -->"
# No second begin inside: one whose end is lost must not take what follows it along.
_SECTION = re.compile(
    rf"^{_BEGIN}[ \t]*\r?\n(?:(?!{_BEGIN}).)*?^{_END}[ \t]*(?=\r?$)",
    re.DOTALL | re.MULTILINE,
)
_JSON = re.compile(r"^```json[ \t]*\r?\n(.*?)^```", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Card:
    """What a run followed.

    Args:
        schedule: the one that was followed; None where it was Transformers' own.
        peaks, groups, weight_decays: the peak LR, the name and the weight decay of each parameter group.
        arguments: of the run's TrainingArguments, by name, in plain JSON types: those that bear on the LR, and all others
            that are not as their class has them. None of them is private, see `unfit`.
        arguments_class: ``transformers.TrainingArguments``, ``trl.SFTConfig``, ...
        steps: optimizer steps that were taken.
        processes: devices, each with batches of its own.
        optimizer: its class.
        final: the last losses.
        left_out: names of arguments that were set, and cannot be in a card.
        notes: sentences about what the arguments alone do not give.

    >>> from hf_lrsched import wsd
    >>> card = Card(wsd(100), peaks=(3e-4,), groups=("0",), arguments={"learning_rate": 3e-4, "max_steps": 100}, steps=100)
    >>> Card.from_json(card.to_json()) == card
    True
    """

    schedule: Schedule | None
    _: KW_ONLY
    peaks: tuple[float, ...]
    groups: tuple[str, ...]
    arguments: dict[str, Any]
    steps: int
    weight_decays: tuple[float, ...] = ()
    arguments_class: str = "transformers.TrainingArguments"
    processes: int = 1
    optimizer: str = ""
    final: dict[str, float] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The card in plain JSON types."""
        return {
            "hf_lrsched": 1,
            "schedule": None if self.schedule is None else to_spec(self.schedule),
            "peaks": list(self.peaks),
            "groups": list(self.groups),
            "weight_decays": list(self.weight_decays),
            "optimizer": self.optimizer,
            "arguments_class": self.arguments_class,
            "arguments": self.arguments,
            "left_out": list(self.left_out),
            "steps": self.steps,
            "processes": self.processes,
            "final": self.final,
            "notes": list(self.notes),
        }

    @classmethod
    def from_json(cls, data: object) -> Card:
        """The card that `to_json` gave.

        Raises:
            ValueError: where `data` is not a card's; also for arguments that a card never holds, as anybody may have written
                it: tokens, paths, where to push, whether to trust code.
        """
        if not isinstance(data, Mapping) or "hf_lrsched" not in data:
            raise ValueError("this is not a card of hf_lrsched, which is a JSON object with the key 'hf_lrsched'")
        if data["hf_lrsched"] != 1:
            raise ValueError(
                f"this card's format is {data['hf_lrsched']!r:.80}, and this hf_lrsched reads 1; update hf_lrsched"
            )
        return cls(
            _schedule(data.get("schedule")),
            peaks=_tuple(data, "peaks", float),
            groups=_tuple(data, "groups", str),
            arguments=_arguments(_typed(data, "arguments", dict)),
            steps=_typed(data, "steps", int),
            weight_decays=_tuple(data, "weight_decays", float),
            arguments_class=_class_name(_typed(data, "arguments_class", str)),
            processes=_typed(data, "processes", int),
            optimizer=_typed(data, "optimizer", str),
            final={str(name): float(_is(value, float, "final")) for name, value in _typed(data, "final", dict).items()},
            left_out=_tuple(data, "left_out", str),
            notes=_tuple(data, "notes", str),
        )


# Reading


def from_card(path: str | os.PathLike[str]) -> Card:
    """The schedule and the arguments of a run, from its model card.

    Args:
        path: a ``README.md``, an ``lr_schedule.json``, or a folder that holds either (the second wins).

    ``TrainingArguments(output_dir="out", **from_card("out").arguments)`` is the same run again, on the same data.

    >>> from_card("someone/model")
    Traceback (most recent call last):
    ...
    FileNotFoundError: someone/model is neither a file nor a folder here; if it is a repository on the Hub, get its card first
    (hf download someone/model README.md lr_schedule.json --local-dir model) and give that folder

    Raises:
        FileNotFoundError: where there is no such file or folder, or a folder holds neither.
        ValueError: for a file that holds no card, or one that is damaged.
    """
    file = Path(path)
    if file.is_dir():
        file = next((file / name for name in (FILE, README) if (file / name).is_file()), file)
        if file.is_dir():
            raise FileNotFoundError(f"{file} holds neither {FILE} nor {README}; give the folder of a run that had an LRCard")
    if not file.is_file():
        raise FileNotFoundError(f"{path} is neither a file nor a folder here{_from_hub(str(path))}")
    try:
        text = file.read_text("utf-8")
        return Card.from_json(_loaded(text if file.suffix == ".json" else _json_of(text)))
    except ValueError as error:
        raise ValueError(f"{file} cannot be read: {error}") from error


def _from_hub(given: str) -> str:
    repository = re.fullmatch(r"(?:https://huggingface\.co/|https:/huggingface\.co/)?([\w.-]+/([\w.-]+))/?", given)
    if repository is None or given.endswith((".md", ".json")):
        return "; give a README.md, an lr_schedule.json or a folder that holds one"
    return (
        "; if it is a repository on the Hub, get its card first "
        f"(hf download {repository[1]} {README} {FILE} --local-dir {repository[2]}) and give that folder"
    )


def _json_of(text: str) -> str:
    for section in _SECTION.finditer(text):
        if block := _JSON.search(section[0]):
            return block[1]
    raise ValueError("it has no learning-rate section with a JSON block; LRCard writes one")


def _loaded(text: str) -> object:
    def refuse(constant: str) -> object:
        raise ValueError(f"{constant} is not a number that JSON has")

    try:
        return json.loads(text, parse_constant=refuse)
    except json.JSONDecodeError as error:
        raise ValueError(f"its JSON is broken ({error}); take the file anew from where it came") from error
    except RecursionError:
        raise ValueError("its JSON is nested too deeply to be a card's") from None


def _schedule(spec: object) -> Schedule | None:
    if spec is None:
        return None
    if not isinstance(spec, Mapping):
        raise ValueError(f"schedule={spec!r} of a card must be a spec or null")
    try:
        return from_spec(spec)
    except (TypeError, AttributeError, OverflowError, RecursionError) as error:  # nothing that a schedule can be made of
        raise ValueError(f"the card's schedule is not one: {error}") from error


def _is(value: Any, kind: type, key: str) -> Any:
    """`value`, where it is of that kind; a number that JSON can hold and a float cannot is refused too."""
    numbers = kind in (int, float) and not isinstance(value, bool) and isinstance(value, int | kind)
    if not (numbers and abs(value) < 1e300 if kind in (int, float) else isinstance(value, kind)):
        raise ValueError(f"{key} of a card must be {_WORDS[kind]}, not {value!r:.80}")
    return float(value) if kind is float else value


_WORDS = {int: "a whole number", float: "a number", str: "a text", dict: "an object", list: "a list"}


def _typed(data: Mapping[str, Any], key: str, kind: type) -> Any:
    if key not in data:
        raise ValueError(f"the card lacks {key}; take the file anew from where it came")
    return _is(data[key], kind, key)


def _tuple(data: Mapping[str, Any], key: str, kind: type) -> tuple[Any, ...]:
    return tuple(_is(value, kind, key) for value in _typed(data, key, list))


def _arguments(given: dict[str, Any]) -> dict[str, Any]:
    for name, value in given.items():
        if not name.isidentifier() or keyword.iskeyword(name) or unfit(name, value):
            raise ValueError(f"its argument {name!r:.80} is one that a card never holds; remove it, if you trust its source")
    return given


def _class_name(name: str) -> str:
    if not re.fullmatch(r"(transformers|trl)\.[A-Za-z]\w*", name):
        raise ValueError(f"arguments_class must be a class of transformers or trl, not {name!r:.80}")
    return name


# Where it stands in a card's text


def with_section(text: str, section: str) -> str:
    """`text` with `section` in it: in the place of an earlier one, or at the end. Twice is the same as once.

    Nothing else changes, and lines end as those of `text` do. The end is where it can disturb nothing: a heading in the
    middle would take what follows it, and others look for headings there (peft for ``### Framework versions``). A begin
    whose end is lost is left alone.

    >>> with_section("# A model\\n", "## Learning-rate schedule\\n")
    '# A model\\n\\n<!-- hf_lrsched: begin -->\\n## Learning-rate schedule\\n<!-- hf_lrsched: end -->\\n'

    Raises:
        ValueError: for a section that holds one of the comments that it is put between.
    """
    if _BEGIN in section or _END in section:
        raise ValueError(f"a section must not hold {_BEGIN} or {_END}, between which it is put")
    found = _SECTION.search(text)
    newline = _newline(found[0] if found else text)
    block = newline.join([_BEGIN, *section.strip("\n").split("\n"), _END])
    if found:
        return text[: found.start()] + block + text[found.end() :]
    gap = "" if not text else newline if text.endswith("\n") else newline * 2
    return text + gap + block + newline


def _newline(text: str) -> str:
    first = text.find("\n")
    return "\r\n" if first > 0 and text[first - 1] == "\r" else "\n"


def has_section(text: str) -> bool:
    """Whether a section is in `text`, whole.

    >>> has_section("# A model\\n"), has_section(with_section("# A model\\n", "..."))
    (False, True)
    """
    return _SECTION.search(text) is not None
