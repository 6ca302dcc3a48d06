"""What is advised beside the learning rate: schedule, warm-up and weight decay, by task, each from one entry of the evidence.

What it does not know: whether another schedule would do better on this very task. The table of `scripts/bench_schedules.py`
says how little they differ where each has its own best learning rate.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from .question import Question
from .sources import Evidence, about


@dataclass(frozen=True)
class Choice:
    """One setting, and the entry it comes from; None where there is none for the task."""

    value: Any
    entry: Evidence

    @property
    def told(self) -> str:
        """Where it comes from, in words."""
        return f"{self.entry.cited()}{f' ({self.entry.note})' if self.entry.note else ''}"


def choice(quantity: str, question: Question) -> Choice | None:
    """What is advised as `quantity`; None where nothing is known for the task and the optimizer.

    >>> choice("schedule", Question("pretrain")).value, choice("weight_decay", Question("sft")).value
    ('wsd', 0.0)
    """
    for entry in about(quantity):
        tasks, optimizers = entry.when.get("task", ()), entry.when.get("optimizer")
        chosen = entry.id.startswith("choice-") and question.task in tasks
        if chosen and (optimizers is None or question.optimizer in optimizers):
            value = _value(entry, question)
            if value is not None:
                return Choice(value, entry)
    return None


def _value(entry: Evidence, question: Question) -> Any:
    if entry.of == "schedule_kwargs":
        return json.loads(entry.text)
    if entry.text:
        return entry.text
    inputs = question.inputs()
    if entry.inputs - inputs.keys():
        return None
    figure = entry.figure(inputs)
    if entry.of == "warmup" and figure is not None and entry.formula:
        return max(math.ceil(round(figure, 9)), 1)  # whole steps, as Transformers counts them
    return figure
