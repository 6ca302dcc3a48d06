"""The section about the learning rate in a model card, as Markdown."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..schedules.catalogue import CATALOGUE
from ..schedules.schedule import Schedule
from .card import Card
from .text import phase_list, sparkline

_MOST_ROWS = 16  # of phases; a run of many cycles has thousands


def section(card: Card, picture: str | None = None) -> str:
    """The section as Markdown: picture, table, phases, the arguments to paste, and the card as JSON.

    Args:
        card: what the run followed.
        picture: a link to one, relative to the card; without, a sparkline stands there.

    >>> from hf_lrsched import wsd
    >>> given = {"learning_rate": 3e-4, "max_steps": 100, "lr_scheduler_type": "wsd"}
    >>> card = Card(wsd(100), peaks=(3e-4,), groups=("0",), arguments=given, steps=100)
    >>> print(section(card, "lr.png").split("```")[1].strip())
    python
    import hf_lrsched  # registers its schedules
    from transformers import TrainingArguments
    <BLANKLINE>
    args = TrainingArguments(
        output_dir="out",
        learning_rate=0.0003,
        max_steps=100,
        lr_scheduler_type="wsd",
    )
    """
    schedule = card.schedule
    parts = ["## Learning-rate schedule"]
    if picture is not None:
        parts.append(f"![Learning rate and loss over the optimizer steps]({picture})")
    elif schedule is not None:
        at = np.unique(np.floor(np.linspace(0, schedule.total, 4000, endpoint=False)))  # an open-ended run has 10^9 steps
        parts.append(f"```\n{sparkline(schedule.values(at))}\n```")
    parts.append(_table(("", ""), _facts(card)))
    if schedule is not None:
        parts.append(_phases(card, schedule))
    parts += [_inline(note) for note in card.notes]
    parts.append(_code(card))
    if card.left_out:
        parts.append(f"Also set, and not shown here: {', '.join(f'`{_inline(name)}`' for name in card.left_out)}.")
    what = "The same as JSON, which <code>hf_lrsched.from_card</code> reads"
    text = _laid_out(card.to_json()).replace("<!--", "\\u003c!--")
    parts.append(f"<details><summary>{what}</summary>\n\n```json\n{text}\n```\n\n</details>")
    return "\n\n".join(parts) + "\n"


def _facts(card: Card) -> list[tuple[str, str]]:
    given = card.arguments
    kind = str(given.get("lr_scheduler_type", ""))
    if card.schedule is None:
        rows = [("schedule", f"`{kind}`, Transformers' own")]
    else:
        rows = [("schedule", f"`{card.schedule.name or 'phases'}`: {phase_list(card.schedule)}")]
    rows.append(("peak", _per_group(card, card.peaks)))
    if card.schedule is not None:
        rows.append(("floor", _per_group(card, tuple(_floor(card.schedule, peak) for peak in card.peaks))))
    if card.schedule is not None and card.schedule.momentum is not None:
        rows.append(("momentum", _momentum(card.schedule.momentum)))
    rows.append(("weight decay", _per_group(card, card.weight_decays or (given.get("weight_decay", 0.0),))))
    clipping = given.get("max_grad_norm")
    rows.append(("gradient clipping", f"norm {clipping:g}" if isinstance(clipping, int | float) and clipping else "none"))
    rows.append(("optimizer", _optimizer(card)))
    each, times = given.get("per_device_train_batch_size"), given.get("gradient_accumulation_steps", 1)
    if isinstance(each, int) and isinstance(times, int):
        whole = each * times * card.processes
        rows.append(
            (
                "batch",
                f"{whole} = {each} per device x {times} accumulated x {card.processes} device{'s' * (card.processes != 1)}",
            )
        )
    planned = math.ceil(card.schedule.total) if card.schedule is not None else card.steps
    rows.append(("steps", f"{card.steps}" if planned == card.steps else f"{card.steps} of the schedule's {planned}"))
    rows += [(name.replace("_", " "), f"{value:.4g}") for name, value in card.final.items()]
    return rows


def _per_group(card: Card, values: tuple[float, ...]) -> str:
    if len(set(values)) == 1:
        return f"{values[0]:g}"
    return ", ".join(f"{value:g} (group {name})" for value, name in zip(values, card.groups, strict=False))


def _momentum(track: Schedule) -> str:
    ends = [value for phase in track.phases for value in (phase.start, phase.last)]
    return f"between {min(ends):g} and {max(ends):g}: {phase_list(track)}"


def _floor(schedule: Schedule, peak: float) -> float:
    """The lowest LR after the peak was first reached, of a group whose peak is `peak`."""
    late = [phase.last for start, _, phase in schedule.spans() if start >= schedule.warmup]
    return max(schedule.min_lr, peak * min([*late, schedule.phases[-1].last]))


def _optimizer(card: Card) -> str:
    words = ("optim", "optim_args", "adam_beta1", "adam_beta2", "adam_epsilon")
    told = ", ".join(f"{word}={card.arguments[word]}" for word in words if card.arguments.get(word) is not None)
    return f"{card.optimizer} ({told})" if card.optimizer and told else card.optimizer or told


def _phases(card: Card, schedule: Schedule) -> str:
    """The LR at the first step of each phase and at the last step, for every peak there is."""
    peaks = {peak: name for name, peak in reversed(list(zip(card.groups, card.peaks, strict=False)))}
    columns = sorted(peaks, reverse=True)
    several = [f"learning rate (group {peaks[peak]})" for peak in columns]
    spans, rows = schedule.spans(), []
    for start, end, phase in spans[:_MOST_ROWS]:
        step = math.ceil(start)
        lrs = [f"{schedule.lr(step, peak):.6g}" for peak in columns]
        rows.append((f"{step}", phase.name, f"{end - start:.10g}", str(phase.shape), *lrs))
    if len(spans) > _MOST_ROWS:
        rows.append(("...", f"{len(spans) - _MOST_ROWS} more", "", "", *([""] * len(columns))))
    last = math.ceil(schedule.total) - 1
    if last >= 0 and (not rows or rows[-1][0] != f"{last}"):
        rows.append((f"{last}", "(last)", "", "", *(f"{schedule.lr(last, peak):.6g}" for peak in columns)))
    return _table(("step", "phase", "steps", "shape", *(several if len(columns) > 1 else ["learning rate"])), rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(map(_inline, row))} |" for row in (head, *rows)]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]])


def _inline(text: str) -> str:
    """Text that can neither end a table's cell nor start a tag."""
    return re.sub(r"\s+", " ", text).replace("|", "\\|").replace("<", "&lt;")


def _code(card: Card) -> str:
    """The arguments as Python that can be pasted and run."""
    module, name = card.arguments_class.rsplit(".", 1)
    kind = card.arguments.get("lr_scheduler_type")
    lines = [f"from {module} import {name}", ""]
    entry = CATALOGUE.get(kind) if isinstance(kind, str) else None
    if entry is not None and entry.builder.__module__.startswith("hf_lrsched."):
        lines.insert(0, "import hf_lrsched  # registers its schedules")
    elif card.schedule is not None:
        lines[1:] = [
            "",
            "# The schedule is the training script's own; ScheduleLR(optimizer, from_card(...).schedule) follows it.",
        ]
    given = {"output_dir": "out", **card.arguments}
    lines += [f"args = {name}(", *(f"    {word}={_literal(value)}," for word, value in given.items()), ")"]
    return "```python\n" + "\n".join(lines).replace("<!--", "\\x3c!--") + "\n```"


def _literal(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_literal(key)}: {_literal(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_literal, value)) + "]"
    text = repr(value)
    return f'"{text[1:-1]}"' if isinstance(value, str) and text[0] == "'" and '"' not in text else text


def _laid_out(value: Any, depth: int = 0) -> str:
    """JSON with whatever fits on one line on one line."""
    line = json.dumps(value, allow_nan=False)
    if len(line) + 2 * depth <= 110 or not isinstance(value, dict | list) or not value:
        return line
    pad = "  " * (depth + 1)
    if isinstance(value, dict):
        inner = [f"{json.dumps(key)}: {_laid_out(item, depth + 1)}" for key, item in value.items()]
    else:
        inner = [_laid_out(item, depth + 1) for item in value]
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    return f"{opening}\n{pad}" + f",\n{pad}".join(inner) + f"\n{'  ' * depth}{closing}"


# Into a card and out of it
