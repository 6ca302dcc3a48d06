"""Shipped values, each beside what `recommend` says without the source that ships it.

Each entry of kind `shipped` is asked for, by task, method, size, rank, batch and steps as far as it
says them, without all entries of its source. It is inside where low <= value <= high; no answer counts as outside.
`ceiling` is the share that the best bands of a factor of 4 would hold if they were chosen afterwards, one for each task,
method and half decade of sizes: what projects do to the same model is wider than 4.
"""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Sequence
from statistics import median
from typing import Any

import numpy as np

from hf_lrsched.advice.model import Model
from hf_lrsched.advice.pool import WIDEST
from hf_lrsched.advice.question import Question
from hf_lrsched.advice.recommend import Recommendation, answer
from hf_lrsched.advice.sources import Evidence, about


@dataclasses.dataclass(frozen=True)
class Shipped:
    """A value that a project ships, and what is advised without that project."""

    entry: Evidence
    value: float
    found: Recommendation

    @property
    def inside(self) -> bool:
        low, high = self.found.low, self.found.high
        return low is not None and high is not None and low * 0.999 <= self.value <= high * 1.001  # both have three digits

    @property
    def width(self) -> float:
        return math.nan if self.found.low is None or self.found.high is None else self.found.high / self.found.low

    @property
    def about(self) -> str:
        question = self.found.question
        return f"{question.task}{f', {question.peft}' if question.peft else ''}"


def shipped() -> list[Shipped]:
    entries = [entry for entry in about("learning_rate") if entry.kind == "shipped" and entry.when.get("task")]
    return [
        Shipped(entry, value, answer(question_of(entry), frozenset([entry.source.key])))
        for entry in entries
        if (value := entry.figure({})) is not None
    ]


def question_of(entry: Evidence) -> Question:
    """What one would have asked, as far as the entry says it."""
    method = entry.when.get("peft", ("none",))[0]
    family = entry.when.get("family", ("",))[0]
    size = _middle(entry, "parameters")
    numbers = {name: _point(entry, name) for name in ("batch_size", "batch_tokens", "tokens")}
    rank, steps = _point(entry, "rank"), _point(entry, "steps")
    return Question(
        task=entry.when["task"][0],
        peft=None if method == "none" else method,
        model=Model(parameters=size, family=family),
        r=None if rank is None else int(rank),
        optimizer=entry.when.get("optimizer", ("adamw",))[0],
        steps=None if steps is None else int(steps),
        **numbers,  # type: ignore[arg-type]  # three numbers by name
    )


def _middle(entry: Evidence, name: str) -> float | None:
    ends = entry.when.get(name)
    return None if ends is None else math.sqrt(ends[0] * ends[1])


def _point(entry: Evidence, name: str) -> float | None:
    ends = entry.when.get(name)
    return float(ends[0]) if ends and ends[0] == ends[1] else None


def shipped_score(values: Sequence[Shipped]) -> dict[str, Any]:
    sound = [one for one in values if not one.entry.faulty]
    groups: dict[str, list[Shipped]] = defaultdict(list)
    for one in sound:
        groups[one.about].append(one)
    found = {"all": counted(values), "none that is faulty": counted(sound)}
    for word in ("high", "medium", "low"):
        if sure := [one for one in sound if one.found.confidence == word]:
            found[f"confidence {word}"] = counted(sure)
    return found | {about: counted(group) for about, group in sorted(groups.items())}


def counted(values: Sequence[Shipped]) -> dict[str, Any]:
    files = sum(one.entry.files for one in values)
    widths = [one.width for one in values if not math.isnan(one.width)]
    return {
        "values": len(values),
        "inside": sum(one.inside for one in values) / len(values),
        "files": files,
        "files inside": sum(one.entry.files * one.inside for one in values) / files,
        "no answer": len(values) - len(widths),
        "median width": median(widths) if widths else math.nan,
        "widest": max(widths, default=math.nan),
        "ceiling": ceiling(values),
        "ceiling by files": ceiling(values, by_files=True),
    }


def ceiling(values: Sequence[Shipped], *, by_files: bool = False) -> float:
    groups: dict[Any, list[Shipped]] = defaultdict(list)
    for one in values:
        size = one.found.question.model.parameters
        groups[one.about, size and round(2 * math.log10(size))].append(one)
    held = total = 0.0
    for group in groups.values():
        lrs = np.array([one.value for one in group])
        mass = np.array([float(one.entry.files) if by_files else 1.0 for one in group])
        held += max(float(mass[(lrs >= low * 0.999) & (lrs <= low * WIDEST * 1.001)].sum()) for low in lrs)
        total += float(mass.sum())
    return held / total


def missed(one: Shipped) -> dict[str, Any]:
    question = one.found.question
    return {
        "id": one.entry.id, "about": one.about, "parameters": question.model.parameters, "value": one.value,
        "low": one.found.low, "high": one.found.high, "files": one.entry.files, "faulty": one.entry.faulty,
    }  # fmt: skip
