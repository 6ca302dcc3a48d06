"""What a training configuration says, whoever's it is: `Configuration`, in Transformers' words.

The readers (`reading`, `forms`) make one from each file, the preflight one from a Trainer; rules see nothing else. It knows
what is written and what follows from that alone: a dataset's size, the number of processes and a script's own defaults are
unknown unless they are written, and what is unknown is None or empty and never guessed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Form = Literal[
    "transformers", "trl", "axolotl", "llamafactory", "torchtune", "litgpt", "hf_lrsched", "deepspeed", "accelerate"
]

TRAINERS: tuple[Form, ...] = ("transformers", "trl", "axolotl", "llamafactory", "torchtune", "litgpt", "hf_lrsched")
"""The forms that describe a training run; the others go beside one."""

OURS: tuple[Form, ...] = ("transformers", "trl", "llamafactory", "hf_lrsched")
"""The forms whose values end in a `TrainingArguments` as they are, under Transformers' meaning of a warm-up."""

WITHOUT_WARMUP = frozenset({"constant", "reduce_lr_on_plateau", "greedy"})
"""Transformers' schedules that are never told of a warm-up (`get_scheduler`, transformers 5.23.0)."""


class Unknown:
    """The value of a setting that only another file, the shell or a template knows: ``${LR}``, ``{{ lr }}``."""

    def __repr__(self) -> str:
        return "unknown"


UNKNOWN = Unknown()


MEASURE = 1e100
"""No quantity of a training is larger, or smaller without being 0; products and quotients of three stay below 1e308."""


@dataclass(frozen=True)
class Setting:
    """One value of a configuration.

    Args:
        name: Transformers' name for it.
        value: what the project that reads the file makes of it (a schedule by Transformers' name); `UNKNOWN` where only a
            template or a shell would know.
        written: the value's text as it stands in the file, quotes and all; empty where there is no file.
        key: the key as it stands in the file, dotted where nested (``optimizer.lr``), with its dashes on a command line.
        line, column: where the key stands, from 1; 0 where there is no file.
        text: the whole line, without its end.
        as_text: whether YAML takes the number that is written for text (``2e-5``), so that who does not convert it has text.
        comment: what stands behind ``#`` on the line.
    """

    name: str
    value: Any
    written: str = ""
    key: str = ""
    line: int = 0
    column: int = 0
    text: str = ""
    comment: str = ""
    as_text: bool = False

    @property
    def number(self) -> float | None:
        """The value as a number, as every project reads it in the end (also the string ``"2e-5"``); None for none.

        One that is beyond `MEASURE`, or so near 0, is none: what rules make of it would be no number either.
        """
        if isinstance(self.value, bool) or not isinstance(self.value, int | float | str):
            return None
        try:
            number = float(self.value)
        except (ValueError, OverflowError):
            return None
        return number if number == 0 or 1 / MEASURE <= abs(number) <= MEASURE else None


LONGEST = 10**15
"""Steps: a longer run is a slip of the pen, for at a millionth of a second each it takes 31 years."""


@dataclass(frozen=True)
class Steps:
    """How long a run is, in optimizer steps.

    Args:
        total: the steps, at least 1.
        how: what it was read from, for people: ``"max_steps"``, ``"1 epoch of 2000 samples, batch 32"``.
        at_most: whether the run may well be shorter, as where only a cap on the samples is known.
    """

    total: int
    how: str
    at_most: bool = False

    @classmethod
    def of(cls, total: float, how: str, *, at_most: bool = False) -> Steps | None:
        """A run of so many steps, rounded up; None where that is no length of a run: none, not finite or beyond `LONGEST`.

        >>> Steps.of(62.5, "an epoch"), Steps.of(float("inf"), "an epoch")
        (Steps(total=63, how='an epoch', at_most=False), None)
        """
        return cls(math.ceil(total), how, at_most) if 0 < total <= LONGEST else None


@dataclass(frozen=True, eq=False)
class Configuration:
    """A training configuration in Transformers' words. Equal only to itself, so that what follows from it can be kept by it.

    Args:
        form: whose it is.
        settings: what it sets, by Transformers' names; a name that is not in it was not set.
        others: every key that no name of Transformers stands for, by its dotted key as it stands in the file.
        file: where it was read; empty for one that was not.
        task: ``"pretrain"``, ``"continue"``, ``"sft"``, ``"preference"``, ``"rl"``, ``"reward"``; empty where nothing says.
        peft: ``"full"`` (all parameters), ``"partial"`` (some layers), ``"lora"``, ``"qlora"``, ``"ia3"``, ...; empty where
            nothing says so.
        parameters: the model's size, where its name or the file's says it.
        examples: samples in an epoch, where they are known.
        processes: how many processes train, where it is known.
        companions: the DeepSpeed and accelerate files that it names, as far as they are there.
        missing: the settings that name a file which is nowhere to be found.
        given_steps: the run's length, where the form or a live run knows it better than the settings do.
        partial: whether another file adds to it that was not read with it, so that what is absent may still be set.
        lines: the file's lines, without their ends.

    >>> run = Configuration.of({"learning_rate": 2e-5, "warmup_steps": 1000, "max_steps": 60}, task="sft", peft="full")
    >>> run.steps.total, run.warmup, run.effective_peak
    (60, 1000.0, 0.059)
    """

    form: Form
    settings: Mapping[str, Setting] = field(default_factory=dict)
    others: Mapping[str, Setting] = field(default_factory=dict)
    file: str = ""
    task: str = ""
    peft: str = ""
    parameters: float | None = None
    examples: int | None = None
    processes: int | None = None
    companions: tuple[Configuration, ...] = ()
    missing: tuple[Setting, ...] = ()
    given_steps: Steps | None = None
    partial: bool = False
    lines: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, values: Mapping[str, Any], *, form: Form = "transformers", steps: int | None = None, **known: Any
    ) -> Configuration:
        """A configuration from plain values that no file holds, as of a live Trainer.

        Args:
            values: by Transformers' names.
            form: whose words they are.
            steps: the run's optimizer steps, where they are known.
            known: any other argument of the class.
        """
        settings = {name: Setting(name, value, key=name) for name, value in values.items()}
        given = None if steps is None else Steps(steps, "the run itself")
        return cls(form, settings, given_steps=given, **known)

    def __contains__(self, name: str) -> bool:
        return name in self.settings

    def get(self, name: str) -> Setting | None:
        """The setting of a name; None where it is not set, or its value is null."""
        found = self.settings.get(name)
        return None if found is None or found.value is None else found

    def value(self, name: str, default: Any = None) -> Any:
        """A setting's value; `default` where it is not set, null or unknown."""
        found = self.get(name)
        return default if found is None or found.value is UNKNOWN else found.value

    def number(self, name: str) -> float | None:
        """A setting's value as a number; None where it is not set, unknown, or not a number."""
        found = self.get(name)
        return None if found is None else found.number

    def word(self, name: str) -> str:
        """A setting's value in lower case; empty where it is not set, unknown or no text."""
        value = self.value(name)
        return value.lower() if isinstance(value, str) else ""

    def unknown(self, name: str) -> bool:
        """Whether it is set to something that only a template or a shell knows."""
        found = self.settings.get(name)
        return found is not None and found.value is UNKNOWN

    @property
    def batch(self) -> float | None:
        """Samples in an optimizer step of one process; None where a part of it is unknown."""
        whole = self.number("global_batch_size")
        if whole is not None:
            return whole / self.processes if self.processes else None
        parts = [self.number(name) for name in ("per_device_train_batch_size", "gradient_accumulation_steps")]
        if parts[0] is None or self.unknown("gradient_accumulation_steps"):
            return None
        return parts[0] * (1.0 if parts[1] is None else parts[1])

    @property
    def steps(self) -> Steps | None:
        """The run's length, where it is known: as given, from ``max_steps``, or from epochs of a known number of samples."""
        if self.given_steps is not None:
            return self.given_steps
        asked = self.number("max_steps")
        if asked is not None and asked >= 1:
            return Steps.of(int(asked), f"{self.settings['max_steps'].key or 'max_steps'} {int(asked)}")
        return None if self.unknown("max_steps") else self._counted()

    def _counted(self) -> Steps | None:
        epochs, batch, examples, processes = self.number("num_train_epochs"), self.batch, self.examples, self.processes
        if epochs is None or not batch or batch < 0 or examples is None or not processes:
            return None
        epoch = Steps.of(examples / (batch * processes), "an epoch")
        how = f"{epochs:g} epoch{'s' * (epochs != 1)} of {examples} samples, batch {batch * processes:g}"
        return None if epoch is None else Steps.of(epochs * epoch.total, how)

    @property
    def schedule(self) -> str:
        """The schedule by Transformers' name; empty where it is not set or unknown."""
        return self.word("lr_scheduler_type")

    @property
    def warmup_share(self) -> float | None:
        """The warm-up as a share of the run, where it is written as one."""
        steps, ratio = self.number("warmup_steps"), self.number("warmup_ratio")
        if steps is not None and steps > 0:
            return steps if self.form in OURS and steps < 1 else None
        return ratio if ratio is not None and ratio > 0 else None

    @property
    def warmup(self) -> float | None:
        """The warm-up in steps; None where it is unknown, 0.0 where there is none. Written steps count whatever the schedule.

        A share is rounded up and a number of steps cut to a whole one, as Transformers does.
        """
        if self.unknown("warmup_steps") or self.unknown("warmup_ratio"):
            return None
        share, run = self.warmup_share, self.steps
        if share is not None:
            return None if run is None else float(math.ceil(min(share, LONGEST) * run.total))
        return float(int(self.number("warmup_steps") or 0.0))

    @property
    def effective_peak(self) -> float | None:
        """What share of its peak the LR reaches at best, under a linear warm-up from 0; None where that is unknown."""
        warmup, run = self.warmup, self.steps
        if self.schedule in WITHOUT_WARMUP:
            return 1.0
        if warmup is None or run is None:
            return 1.0 if (self.warmup_share or 1.0) < 1.0 else None
        return 1.0 if run.total > warmup else round((run.total - 1) / warmup, 3)

    def but(self, **changed: Any) -> Configuration:
        """Itself with some arguments of the class changed."""
        return replace(self, **changed)
