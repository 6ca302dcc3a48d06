"""A recommendation as text: the numbers first, then why, what it rests on, and what was left aside."""

from __future__ import annotations

from collections.abc import Iterator

from ..advice.matching import Estimate
from ..advice.question import spelled
from ..advice.recommend import Recommendation

_MOST = 8  # pieces of evidence shown, of sometimes a hundred


def text(found: Recommendation, *, everything: bool = False) -> str:
    """`found` in words; `everything`: all the evidence, not only the weightiest.

    >>> from hf_lrsched import recommend
    >>> print(text(recommend("8B", task="dpo", optimizer="lion")).splitlines()[0])
    learning_rate:  none: no calibrated evidence for preference tuning (DPO, KTO, ORPO, ...) of a model of 8B parameters, lion
    """
    rows = "\n".join(f"{name + ':':<15} {value}" for name, value in _rows(found) if value)
    parts = [rows, "\n".join(["why", *(f"  {reason}" for reason in found.reasons)]), _evidence(found, everything)]
    if found.set_aside:
        shown = found.set_aside if everything else found.set_aside[:_MOST]
        lines = [f"  {entry.cited()}: {reason}" for entry, reason in shown]
        parts.append("\n".join([f"set aside: {len(found.set_aside)}{_of(shown, found.set_aside)}", *lines]))
    return "\n\n".join(part for part in parts if part)


def _rows(found: Recommendation) -> Iterator[tuple[str, str]]:
    if found.learning_rate is None:
        yield "learning_rate", f"none: {found.reasons[0]}"
    else:
        band = f"between {found.low:.2g} and {found.high:.2g}; confidence {found.confidence}"
        yield "learning_rate", f"{found.learning_rate:g}  ({band})"
    words = ", ".join(f"{word}={value}" for word, value in found.schedule_kwargs.items())
    yield "schedule", f"{found.schedule}{f' ({words})' if words else ''}" if found.schedule else ""
    yield "warm-up", _warmup(found.warmup_steps) if found.warmup_steps is not None else _no_warmup(found)
    yield "weight decay", "" if found.weight_decay is None else f"{found.weight_decay:g}"
    yield "for", found.question.told
    yield "given", _given(found)
    yield "disagreement", found.disagreement


def _warmup(steps: float) -> str:
    return "none" if not steps else f"{steps:.3g} of the run" if steps < 1 else f"{steps:g} steps"


def _no_warmup(found: Recommendation) -> str:
    return "the schedule's own; for steps give --steps, or --tokens and --batch_tokens" if found.schedule else ""


def _given(found: Recommendation) -> str:
    """What else was said of the run, and what of it counts for nothing."""
    question = found.question
    told = {
        "steps": question.steps, "tokens": question.tokens, "tokens a step": question.batch_tokens,
        "a step": question.batch_size, "examples, which no figure depends on": question.examples,
    }  # fmt: skip
    return ", ".join(f"{spelled(number)} {word}" for word, number in told.items() if number is not None)


def _evidence(found: Recommendation, everything: bool) -> str:
    if not found.used:
        return ""
    shown = found.used if everything else found.used[:_MOST]
    width = max(len(one.evidence.kind) for one in shown)
    lines = [f"  {_lr(one):<18}  {one.evidence.kind:<{width}}  {_cited(one)}" for one in shown]
    return "\n".join([f"evidence: {len(found.used)}{_of(shown, found.used)}", *lines])


def _of(shown: tuple[object, ...], every: tuple[object, ...]) -> str:
    return "" if len(shown) == len(every) else f", the first {len(shown)} (--all shows the rest)"


def _lr(one: Estimate) -> str:
    return f"{one.value:.2g}" if one.low == one.high else f"{one.low:.2g} to {one.high:.2g}"


def _cited(one: Estimate) -> str:
    read = "" if one.evidence.read == "read" else f" [{one.evidence.read}]"
    return f"{one.evidence.cited()}{read}{f': {one.how}' if one.how else ''}"
