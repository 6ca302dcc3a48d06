"""What is written and read as something else: numbers that YAML takes for text, comments that say another value.

What they do not know: what a script makes of the text that it reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ..configuration import Configuration, Setting
from ..document import number_of
from ..remark import Remark
from ..rule import Example, Rule
from .arguments import SCHEDULED, kwargs_of
from .mending import replaced
from .wording import spoken

# Arguments of TrainingArguments that hold a number and keep the text they are given (run, transformers 5.23.0).
_NUMBERS = (
    "learning_rate", "weight_decay", "adam_epsilon", "adam_beta1", "adam_beta2", "max_grad_norm", "warmup_steps",
    "num_train_epochs", "max_steps",
)  # fmt: skip
_EXPONENT = re.compile(r"([-+]?)(\d+)(\.\d*)?[eE]([-+]?)(\d+)")
_ALONE = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
# Samples: "1,024", and neither "0.5M" nor "128 tokens".
_BATCH = re.compile(
    r"(?:effective|total|global)\s+batch[\s_-]*size\s*(?:of|is|=|:)?\s*(\d[\d,_]*)(?!\.\d|[\d.,_]*\s*(?:[km]\b|tok))",
    re.IGNORECASE,
)
_DEVICES = re.compile(r"(\b(?:for|on|with|using)\s+)?\b(\d+)\s*(?:x\s*)?(?:GPU|device|H100|A100)s?\b", re.IGNORECASE)
_ROOM = re.compile(r"\bfits?\b|\bneeds?\b", re.IGNORECASE)  # how many devices would do, and not how many there are
_NODES = re.compile(r"\b(\d+)\s*nodes?\b", re.IGNORECASE)
_BLOCK = (">", "|")  # before a text over several lines
_SAME = 0.01  # relative; two spellings of one number are nearer


class NumberReadAsText(Rule):
    """A number that YAML reads as text and Transformers keeps as it is."""

    id, name, level = "LR006", "number-read-as-text", "error"
    source = "HfArgumentParser.parse_yaml_file of transformers 5.23.0; https://github.com/hiyouga/LlamaFactory/issues/4014"
    example = Example(
        "train.yaml",
        "per_device_train_batch_size: 8\nnum_train_epochs: 3\nlr_scheduler_type: linear\nlearning_rate: 6e-06\n",
        "per_device_train_batch_size: 8\nnum_train_epochs: 3\nlr_scheduler_type: linear\nlearning_rate: 6.0e-06\n",
        "LlamaFactory issues 4014 and 4149, trl issue 1450: a learning rate written as 2e-5 that arrives as text",
    )

    def judge(self, configuration: Configuration, siblings: Sequence[Configuration]) -> Iterator[Remark]:
        """Only where the reader keeps the text: not for TRL, axolotl and the others, nor on a command line."""
        if configuration.form == "transformers":
            for name in _NUMBERS:
                found = configuration.get(name)
                if found is not None and isinstance(found.value, str) and not found.key.startswith("-"):
                    shown = found.value if found.written[:1] in _BLOCK else None
                    yield from self._text(configuration, found, spoken(found, shown))
        if configuration.form in SCHEDULED and configuration.form != "llamafactory" and not _ours(configuration):
            for word in kwargs_of(configuration):
                nested = configuration.others.get(f"lr_scheduler_kwargs.{word}")
                if nested is not None and isinstance(nested.value, str) and nested.written:
                    yield from self._text(configuration, nested, f"{word}: {nested.written} in lr_scheduler_kwargs")

    def _text(self, configuration: Configuration, setting: Setting, said: str) -> Iterator[Remark]:
        number = number_of(setting.value)
        if number is None:
            return
        right = with_a_dot(setting.value)
        why = "to YAML, as an exponent needs a dot before it and a sign"
        if setting.written[:1] in ("'", '"'):
            why = "for its quotes"
        elif setting.written[:1] in _BLOCK:
            why = f"for the {setting.written[0]} before it"
        sentence = f"{said} is text {why}; Transformers keeps it as it is, and the run ends with a TypeError"
        fix = replaced(setting, value=right, safe=True) if setting.written else None
        yield self.remark(configuration, setting, sentence, f"Write {right}", fix=fix)


def _ours(configuration: Configuration) -> bool:
    """Whether the schedule is one of the catalogue's, which reads such text as the number it is."""
    from ....schedules.catalogue import CATALOGUE

    return configuration.schedule in CATALOGUE and configuration.schedule != "constant"


def with_a_dot(text: str) -> str:
    """A number as YAML reads it as one.

    >>> with_a_dot("2e-5"), with_a_dot("1E4"), with_a_dot("3.e-4"), with_a_dot("0.1"), with_a_dot("1.5e3")
    ('2.0e-5', '1.0e+4', '3.0e-4', '0.1', '1.5e+3')
    """
    found = _EXPONENT.fullmatch(text.strip())
    if not found:
        return text.strip()
    sign, whole, part, direction, power = found.groups()
    return f"{sign}{whole}{part if part and len(part) > 1 else '.0'}e{direction or '+'}{power}"


class CommentContradicts(Rule):
    """A comment behind the learning rate that is another number."""

    id, name, level = "LR017", "comment-contradicts", "note"
    source = "alignment-handbook recipes/smollm2/sft/config_smol.yaml: learning_rate: 1.0e-03 # 3e-4"
    example = Example(
        "sft.yaml",
        "per_device_train_batch_size: 4\nmax_length: 8192\nlearning_rate: 1.0e-03 # 3e-4\nlr_scheduler_type: cosine\n",
        "per_device_train_batch_size: 4\nmax_length: 8192\nlearning_rate: 1.0e-03 # 1e-3\nlr_scheduler_type: cosine\n",
        "alignment-handbook recipes/smollm2/sft/config_smol.yaml: learning_rate: 1.0e-03 # 3e-4",
    )

    def judge(self, configuration: Configuration, siblings: Sequence[Configuration]) -> Iterator[Remark]:
        """Only of a comment that is a number and nothing else."""
        for name in ("learning_rate", "weight_decay", "warmup_steps", "warmup_ratio"):
            found = configuration.get(name)
            if found is None or found.number is None or not _ALONE.fullmatch(found.comment.strip()):
                continue
            said = float(found.comment)
            if abs(said - found.number) > _SAME * max(abs(said), abs(found.number)):
                sentence = f"{found.key} is {found.written} and the comment behind it says {found.comment.strip()}"
                yield self.remark(configuration, found, sentence, "Say which of them is meant, and why")


class BatchMisstated(Rule):
    """A comment that states another batch size than the settings make."""

    id, name, level = "LR010", "batch-misstated", "warning"
    source = "open-instruct configs/train_configs/tulu3/tulu3_sft.yaml: 1 x 2 x 8 GPUs are 16, and its comment says 128"
    example = Example(
        "sft.yaml",
        "per_device_train_batch_size: 1 # note, this is set up for 8 GPUs\n"
        "gradient_accumulation_steps: 2 # effective batch size 128 with 1 node\nlearning_rate: 5.0e-06\n"
        "num_train_epochs: 2\nlr_scheduler_type: linear\n",
        "per_device_train_batch_size: 1 # note, this is set up for 8 GPUs\n"
        "gradient_accumulation_steps: 16 # effective batch size 128 with 1 node\nlearning_rate: 5.0e-06\n"
        "num_train_epochs: 2\nlr_scheduler_type: linear\n",
        "open-instruct configs/train_configs/tulu3/tulu3_sft.yaml: 1 x 2 x 8 GPUs are 16, and its comment says 128",
    )

    def judge(self, configuration: Configuration, siblings: Sequence[Configuration]) -> Iterator[Remark]:
        """Needs the processes, from an accelerate file, the settings, or a comment beside the batch size."""
        batch = configuration.batch
        parts = [configuration.get(name) for name in ("per_device_train_batch_size", "gradient_accumulation_steps")]
        comments = [found.comment for found in parts if found is not None]
        processes = configuration.processes or _devices(comments)
        for found in parts:
            said = _BATCH.search(found.comment) if found is not None else None
            nodes = _NODES.search(found.comment) if found is not None else None
            if found is None or said is None or batch is None or not processes:
                continue
            devices = processes * int(nodes[1] if nodes else 1)
            stated = said[1].strip(",_")
            if int(re.sub("[,_]", "", stated)) != batch * devices:
                waits = configuration.number("gradient_accumulation_steps") or 1.0
                whole = f"{batch / waits:g} a device x {waits:g} accumulated x {devices} devices are {batch * devices:g}"
                sentence = f"the comment says a batch size of {stated} and {whole}; a learning rate belongs to its batch size"
                yield self.remark(configuration, found, sentence, "Correct the comment or gradient_accumulation_steps")


def _devices(comments: Sequence[str]) -> int | None:
    """The number of devices, where a comment says that it runs on so many, and no two differ."""
    stated = {int(found[2]) for comment in comments for found in _DEVICES.finditer(comment)}
    runs = [comment for comment in comments if not _ROOM.search(comment)]
    sure = any(found[1] for comment in runs for found in _DEVICES.finditer(comment))
    return stated.pop() if sure and len(stated) == 1 else None


WRITTEN: tuple[type[Rule], ...] = (NumberReadAsText, CommentContradicts, BatchMisstated)
