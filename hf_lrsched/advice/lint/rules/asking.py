"""What `recommend` would be asked for a configuration's learning rate, and how its answer is told.

What it does not know: the data, and models whose weights or whose shape are special; for those there is no question.
"""

from __future__ import annotations

import math
import re
from pathlib import PurePath

from ...model import Model
from ...question import PEFT_TYPES, TASKS, Question, optimizer_of
from ...recommend import Recommendation, answer
from ...sources import Source
from ..configuration import Configuration, Setting
from .wording import spoken

LORA = frozenset({"lora", "qlora", "dora", "rslora", "lora_plus"})
_SPECIAL = re.compile(r"falcon-e|bitnet|1[._]58")  # ternary weights, which are trained at 10 times the rate and more
# Encoder-decoders, of which the evidence has none: T5's own fine-tuning took 1e-3 (arXiv 1910.10683, section 3.1.2).
_OTHER_KIND = re.compile(r"(?<![a-z])(?:flan-)?(?:[a-z]*(?<!gp)t5|m?bart|ul2|pegasus|marian|nllb)(?![a-z])")
_SMALLEST = 1e8  # parameters under RL: the model that collapsed has 6e8, and a far smaller one takes a higher rate
_NUMBER = re.compile(r"(?<![\d.])\d+(?:\.\d+)?(?:e[-+]?\d+)?(?![\d.])")
_SAME = 0.01  # relative; two spellings of one number are nearer


def question_of(configuration: Configuration) -> Question | None:
    """What one would ask for the configuration's learning rate; None where nothing is known to answer it with.

    That is so where the task, the method or an optimizer like Adam is not known, or another file may yet set them, and of
    models of another kind or of far less than any under reinforcement.
    """
    peft = configuration.peft
    named = configuration.word("model_name_or_path")
    tiny = configuration.task == "rl" and (configuration.parameters or _SMALLEST) < _SMALLEST
    if configuration.partial or tiny or _SPECIAL.search(named) or _OTHER_KIND.search(named):
        return None
    optimizer = optimizer_of(configuration.word("optim") or "adamw")
    if (
        optimizer != "adamw"
        or configuration.task not in TASKS
        or not (peft == "full" or peft in PEFT_TYPES)
        or configuration.unknown("optim")
    ):
        return None
    rank, alpha = configuration.number("r"), configuration.number("alpha")
    return Question(
        configuration.task,
        None if peft == "full" else peft,
        Model(parameters=configuration.parameters),
        r=int(rank) if rank and rank >= 1 else None,
        alpha=alpha if alpha and alpha > 0 else None,
        rslora=bool(configuration.value("rslora")),
        optimizer=optimizer,
    )


def asked(configuration: Configuration) -> tuple[Setting, float, Question, Recommendation] | None:
    """The learning rate that is set, and what is advised in its place; None where either is unknown."""
    setting, question = configuration.get("learning_rate"), question_of(configuration)
    rate = None if setting is None else setting.number
    if setting is None or rate is None or not 0 < rate < math.inf or question is None:
        return None
    advised = answer(question)
    return None if advised.low is None or advised.high is None else (setting, rate, question, advised)


def as_far(advised: Recommendation, rate: float) -> float:
    """The share of the evidence's weight that is as far from the band as `rate`, on its side."""
    above = rate > (advised.learning_rate or 0.0)
    whole = sum(one.weight for one in advised.used)
    return sum(one.weight for one in advised.used if (one.high >= rate if above else one.low <= rate)) / whole


def band(advised: Recommendation) -> str:
    """From where to where rates are used."""
    return f"{advised.low:g} to {advised.high:g}"


def sources_of(advised: Recommendation) -> dict[str, Source]:
    """A band's sources, each once."""
    return {one.evidence.source.key: one.evidence.source for one in advised.used}


def told_sources(advised: Recommendation) -> str:
    """How many sources a band has, and the weightiest of those that can be looked up."""
    sources = sources_of(advised)
    known = [source.title for source in sources.values() if source.url][:2]
    whole = ": " if len(known) == len(sources) else ", among them "
    return f"{len(sources)} source{'s' * (len(sources) > 1)}{whole if known else ''}{' and '.join(known)}"


def times(ratio: float) -> str:
    """A ratio as it is said: no digit more than it is worth.

    >>> times(5.93), times(12.4), times(200.0)
    ('5.9', '12', '200')
    """
    return f"{ratio:.2g}" if ratio < 10 else f"{round(ratio)}"


def named_for_its_rate(configuration: Configuration) -> bool:
    """Whether the file's name carries the learning rate, as one of a sweep does.

    >>> one = Configuration.of({"learning_rate": 1e-6})
    >>> named_for_its_rate(one.but(file="sweep/lr_1e-6.yaml")), named_for_its_rate(one.but(file="lr_1e-5.yaml"))
    (True, False)
    """
    rate = configuration.number("learning_rate")
    numbers = _NUMBER.findall(PurePath(configuration.file).stem.lower())
    return rate is not None and any(math.isclose(float(one), rate, rel_tol=_SAME) for one in numbers)


def said(setting: Setting, rate: float) -> str:
    """A rate as it stands in the file, with its key."""
    return spoken(setting, setting.written or f"{rate:g}")
