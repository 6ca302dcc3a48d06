"""What is advised beside the learning rate: schedule, warm-up and weight decay, by task, each from one entry of the evidence.

What it does not know: whether another schedule would do better on this very task. The table of `scripts/bench_schedules.py`
says how little they differ where each has its own best learning rate.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from .question import Question, spelled
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


def compared(question: Question, schedule: str) -> tuple[str, Evidence] | None:
    """How `schedule` did beside all others, each at its own best learning rate, in this project's own small runs of the task.

    What lies within their spread over seeds is a tie. None where no such runs were made.

    >>> compared(Question("pretrain"), "wsd")[0].partition("), ")[2]
    'wsd has the lowest loss; with it tie multi_step, one_cycle and rex'
    """
    method = "none" if question.peft is None else question.peft
    runs = [
        entry for entry in about("schedule")
        if entry.source.key == "bench-schedules" and question.task in entry.when["task"] and method in entry.when["peft"]
    ]  # fmt: skip
    if not runs or question.optimizer != "adamw":
        return None
    [run] = runs
    ties = run.text.split(", ")
    size, steps = spelled(run.when["parameters"][0]), run.when["steps"][0]
    told = (
        f"{run.note.split(',')[0]}, each at its own best learning rate in small runs ({size} parameters, {steps:g} steps), "
    )
    if schedule in ties:
        others = _listed([name for name in ties if name != schedule])
        place = (
            f"has the lowest loss; with it tie {others}"
            if schedule == ties[0]
            else f"ties with the lowest loss, as do {others}"
        )
        return f"{told}{schedule} {place}", run
    behind = next((entry for entry in about("regret") if entry.id == f"{run.id}-{schedule}"), None)
    by = f" by {behind.value:.3g} nats" if behind is not None and behind.value is not None else ""
    return f"{told}{schedule} is behind {ties[0]}{by}", run


def _listed(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names) or "none"


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
