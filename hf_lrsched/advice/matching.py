"""What one piece of evidence says about one question: an estimate, or why it says nothing.

Words (task, PEFT type, optimizer) decide whether it is about the question at all. Ranges are boxes: outside one, evidence is
set aside, with the reason. A single size is where a figure was used, and counts the less the further away it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from .question import Question, spelled
from .sources import RANGES, Evidence

# By how much a figure of another size counts: a bell over the decades of parameters. Chosen by leaving one source out
# (scripts/bench_recommend.py), as are the weights below.
REACH = 0.35
FAR = 1.0  # decades beyond which it does not count at all
SIZE_UNKNOWN = 0.5  # where the source or the question does not say it
# A law counts as one shipped figure: on eight real runs three of them disagreed by 2 to 21 times (recipes.md section 3.8).
KIND = {"measured": 3.0, "law": 1.0, "shipped": 1.0, "rule of thumb": 1.0}
READ = {"read": 1.0, "excerpt": 0.8, "unverified": 0.5}
# Batch scaling is carried no further than this either way: Adam's optimum falls again beyond a critical batch (2405.14578).
FURTHEST = 2.0
FURTHEST_SGD = 32.0  # Goyal and others (1706.02677): 256 to 8192
RANK = 16  # where none is given: TRL's ModelConfig
# The smallest language models of the evidence but one (8e6) have 7e7 parameters; a tenth of that is FAR. Of smaller ones
# nothing is said: the recipes' demo, of a million, learns nothing at 1e-5, and best at 3e-3.
LEAST = 7e6
ENCODERS = ("bert", "roberta", "distilbert", "deberta", "electra", "albert", "modernbert", "xlm-roberta", "mpnet")
FAR_BATCH = 8.0  # times: three doublings, over which the square root is 2.8
EDGE = 1.2  # names round sizes: Gemma 3 1B has 999.9 million parameters, and SmolLM2 1.7B has 1.71 billion

# What must be known before a box can be called fitting, and how its absence is told.
_NEEDED = {
    "parameters": "the model's size is",
    "hidden": "its hidden width is",
    "tokens": "the run's tokens are",
    "tokens_per_parameter": "the run's tokens or the model's size are",
}


@dataclass(frozen=True)
class Estimate:
    """A learning rate that `evidence` gives for a question.

    Args:
        low, value, high: of the learning rate; equal where it is a single figure.
        weight: how much it counts.
        how: what was done to it, in words; may be empty.
    """

    evidence: Evidence
    low: float
    value: float
    high: float
    weight: float
    how: str = ""

    @property
    def fitted(self) -> bool:
        """Whether it is a sweep's own best, computed for this very question; laws are fitted elsewhere, and disagree."""
        return bool(self.evidence.formula) and self.evidence.kind == "measured"


def is_about(entry: Evidence, question: Question) -> bool:
    """Whether `entry` is about the task, the PEFT type and the optimizer that is asked about."""
    tasks, methods = entry.when.get("task"), entry.when.get("peft")
    optimizers = entry.when.get("optimizer", ("adamw",))
    method = question.peft or "none"
    kin = {method, "lora"} if method in ("qlora", "dora", "rslora") else {method}
    return question.optimizer != "other" and (
        (tasks is None or question.task in tasks)
        and (methods is None or bool(kin & set(methods)))
        and question.optimizer in optimizers
    )


def outside(entry: Evidence, question: Question, inputs: Mapping[str, float]) -> str:
    """Why `entry`, which is about the question, says nothing about it; empty where it does."""
    if entry.faulty:
        return entry.faulty
    missing = sorted(entry.inputs - inputs.keys())
    if missing:
        return f"needs {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not known"
    size = question.model.parameters
    if size is not None and size < LEAST and not question.task.startswith("image"):
        return (
            f"no source is about language models of less than {spelled(LEAST)} parameters, and this one has {spelled(size)}"
        )
    return _family(entry, question) or _batch(entry, question) or _box(entry, question, inputs)


def _family(entry: Evidence, question: Question) -> str:
    """Encoders that learn to classify take other rates than decoders that go on: what is said of one is not of the other."""
    families, mine = entry.when.get("family"), question.model.family
    if families and not any(mine.startswith(family) for family in families):
        return f"holds for {', '.join(families)} alone, not {mine or 'a family that is not known'}"
    if not families and question.task == "sft" and not question.peft and mine.startswith(ENCODERS):
        return f"said of decoders, and {mine} is an encoder"
    return ""


def _batch(entry: Evidence, question: Question) -> str:
    """Images: what was used at a batch of 4096 says little of one of 32."""
    at = entry.when.get("batch_size")
    if not question.task.startswith("image") or at is None or question.batch_size is None or question.optimizer == "sgd":
        return ""
    away = max(at[0] / question.batch_size, question.batch_size / at[1])
    return f"used at a batch of {at[0]:g}, and this is {question.batch_size:g}" if away > FAR_BATCH else ""


def _box(entry: Evidence, question: Question, inputs: Mapping[str, float]) -> str:
    known = dict(inputs)
    if entry.kind != "law" and question.model.parameters is not None:
        known["parameters"] = question.model.parameters  # laws alone count without embeddings
    for name in RANGES:
        if name not in entry.when:
            continue
        low, high = entry.when[name]
        if low == high or entry.kind == "shipped":  # where it was used, not where it holds
            away = _decades(known, low, high) if name == "parameters" else 0.0
            if away > FAR:
                size = spelled(low) if low == high else f"{spelled(low)} to {spelled(high)}"
                return f"from models of {size} parameters, a size {10**away:.0f} times away"
        elif name not in known and name in _NEEDED:
            return f"holds for {spelled(low)} to {spelled(high)} {name}, and {_NEEDED[name]} not known"
        elif name in known and not low / (edge := EDGE if name == "parameters" else 1.0) <= known[name] <= high * edge:
            return f"outside its box: {name} {spelled(known[name])} is not in {spelled(low)} to {spelled(high)}"
    return ""


def estimate(entry: Evidence, question: Question, inputs: Mapping[str, float]) -> Estimate:
    """What `entry`, which is about the question and not outside of it, says about it."""
    value = entry.figure(inputs)
    assert value is not None  # the schema: a learning rate is no text
    low, high = entry.band(inputs) or (value, value)
    factor, how = _rescaled(entry, question)
    if entry.times:
        how = f"{low / inputs[entry.times]:.3g} to {high / inputs[entry.times]:.3g} times {inputs[entry.times]:.2g}"
    weight = KIND[entry.kind] * READ[entry.read] * _near(entry, question)
    return Estimate(entry, low * factor, value * factor, high * factor, weight, how)


def _near(entry: Evidence, question: Question) -> float:
    ends = entry.when.get("parameters")
    if entry.kind in ("law", "rule of thumb"):
        return 1.0
    size = question.model.parameters
    if ends is None or size is None:
        return SIZE_UNKNOWN
    return math.exp(-0.5 * (_decades({"parameters": size}, *ends) / REACH) ** 2)


def _decades(known: Mapping[str, float], low: float, high: float) -> float:
    """How far the size that is known lies from a range, in powers of ten; 0 within it, and where it is not known."""
    size = known.get("parameters")
    return 0.0 if size is None else max(math.log10(low / size), math.log10(size / high), 0.0)


def _rescaled(entry: Evidence, question: Question) -> tuple[float, str]:
    """The factor for another batch and another alpha, of what was measured or fitted at one; and the words for it."""
    if entry.kind not in ("law", "measured") and not question.task.startswith("image"):
        return 1.0, ""
    found = [one for one in (_of_batch(entry, question), _of_alpha(entry, question)) if one is not None]
    return math.prod(factor for factor, _ in found), "; ".join(told for _, told in found)


def _of_batch(entry: Evidence, question: Question) -> tuple[float, str] | None:
    for name, asked in (("batch_size", question.batch_size), ("batch_tokens", question.batch_tokens)):
        at = entry.when.get(name)
        if asked and at and at[0] == at[1] and asked != at[0]:
            rule, exponent, most = (
                ("linear", 1.0, FURTHEST_SGD) if question.optimizer == "sgd" else ("square root", 0.5, FURTHEST)
            )
            factor = min(max((asked / at[0]) ** exponent, 1 / most), most)
            rule += f", held at {most:g} times" if factor in (1 / most, most) else ""
            return factor, f"for a batch of {asked:g} instead of {at[0]:g}: x {factor:.2g} ({rule})"
    return None


def _of_alpha(entry: Evidence, question: Question) -> tuple[float, str] | None:
    """LoRA's best LR goes as 1 / sqrt(alpha) at one rank (``evidence/lora_sweep.yaml``, lora-alpha, on small models).

    A larger alpha lowers it. A smaller one is told and not followed: a rate that is too low costs time, one too high the run.
    """
    at = entry.when.get("alpha")
    if not at or question.alpha is None:
        return None
    rank = question.r or RANK
    mine = question.alpha * (math.sqrt(rank) if question.rslora else 1.0)
    words = f"alpha {question.alpha:g}{f' * sqrt({rank})' if question.rslora else ''} instead of {at[0]}"
    factor = math.sqrt(float(at[0]) / mine)
    if factor > 1:
        return 1.0, f"{words} may bear up to {factor:.2g} times as much, which is not followed"
    return (max(factor, 1 / FURTHEST), f"for {words}: x {max(factor, 1 / FURTHEST):.2g}") if factor < 1 else None
