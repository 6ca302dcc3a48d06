"""Which learning rate and schedule, from evidence: a band and a value, each with its reasons.

It reads what others measured, fitted, shipped or advise (`advice/evidence`), sets aside what holds elsewhere, and says how
far the rest disagree. What it does not know: the data. A range test on the run itself (`find_lr`) knows more than any table.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from ..schedules.checks import real
from .matching import KIND, RANK, Estimate, estimate, is_about, outside
from .model import read_adapters, read_model
from .pool import Pooled, pooled
from .question import Question, asked
from .settings import choice, compared
from .sources import Evidence, about

# Shares of the evidence's weight that must lie in the band, and sources there must be. Of 420 shipped values, each judged
# without its own source, the band held 85 % where the confidence was high, 66 % where medium, 45 % where low
# (scripts/bench_recommend.py --shipped).
_HIGH, _MEDIUM = 0.75, 0.5
_ENOUGH = 5
_NONE = "no calibrated evidence"


@dataclass(frozen=True)
class Recommendation:
    """What is advised, why, and what was left aside.

    Args:
        question: what was asked.
        learning_rate: the peak; None where there is no calibrated evidence.
        low, high: the band around it, at most a factor of 4 wide.
        span: the lowest and the highest of all that was used; None where nothing was.
        schedule: for ``lr_scheduler_type``, and `schedule_kwargs` for ``lr_scheduler_kwargs``.
        warmup_steps: steps from 1 on, a share of the run below 1, as TrainingArguments have it; None: the schedule's own.
        weight_decay: None where nothing is known.
        reasons: why, a sentence each.
        used: the evidence and what each says of this question, the weightiest first.
        set_aside: evidence about the question that does not count, and why.
        disagreement: how far the sources disagree, in words.
        confidence: ``high``, ``medium``, ``low`` or ``none``; of what projects ship such bands held 85, 66 and 45 %.
    """

    question: Question
    learning_rate: float | None
    low: float | None
    high: float | None
    span: tuple[float, float] | None
    schedule: str | None
    schedule_kwargs: Mapping[str, Any]
    warmup_steps: float | None
    weight_decay: float | None
    reasons: tuple[str, ...]
    used: tuple[Estimate, ...] = field(repr=False)
    set_aside: tuple[tuple[Evidence, str], ...] = field(repr=False)
    disagreement: str
    confidence: str
    cited: tuple[Evidence, ...] = field(default=(), repr=False)

    def to_training_args(self) -> dict[str, Any]:
        """Keyword arguments for TrainingArguments, SFTConfig and their like.

        >>> recommend("8B", task="lora").to_training_args()["lr_scheduler_type"]
        'warmup_cosine'

        Raises:
            ValueError: where there is no learning rate to give.
        """
        if self.learning_rate is None:
            raise ValueError(f"{self.reasons[0]}; give learning_rate yourself, or find it: hf_lrsched.find_lr(trainer)")
        found: dict[str, Any] = {"learning_rate": self.learning_rate}
        if self.schedule is not None:
            found["lr_scheduler_type"] = self.schedule
            found["lr_scheduler_kwargs"] = dict(self.schedule_kwargs)
        if self.warmup_steps is not None:
            found["warmup_steps"] = self.warmup_steps
        if self.weight_decay is not None:
            found["weight_decay"] = self.weight_decay
        return found

    def why(self) -> str:
        """The reasons and the evidence, as text."""
        lines = [*self.reasons]
        lines += [f"used: {one.value:.3g}, {one.evidence.kind}: {one.evidence.cited()}" for one in self.used]
        lines += [f"set aside: {entry.cited()}: {reason}" for entry, reason in self.set_aside]
        return "\n".join(lines)

    def bibtex(self) -> str:
        """The sources of what was used, as BibTeX."""
        entries = [*(one.evidence for one in self.used), *self.cited]
        return "\n\n".join({entry.source.key: entry.source.bibtex() for entry in entries}.values())

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {
            "question": {name: value for name, value in asdict(self.question).items() if value is not None},
            "learning_rate": self.learning_rate,
            "low": self.low,
            "high": self.high,
            "span": None if self.span is None else list(self.span),
            "lr_scheduler_type": self.schedule,
            "lr_scheduler_kwargs": dict(self.schedule_kwargs),
            "warmup_steps": self.warmup_steps,
            "weight_decay": self.weight_decay,
            "confidence": self.confidence,
            "disagreement": self.disagreement,
            "reasons": list(self.reasons),
            "used": [_used(one) for one in self.used],
            "set_aside": [{"id": entry.id, "source": entry.cited(), "reason": reason} for entry, reason in self.set_aside],
        }


def _used(one: Estimate) -> dict[str, Any]:
    entry = one.evidence
    return {
        "id": entry.id, "learning_rate": one.value, "low": one.low, "high": one.high, "weight": one.weight, "how": one.how,
        "kind": entry.kind, "source": entry.cited(), "url": entry.source.url, "read": entry.read,
    }  # fmt: skip


def recommend(
    model: Any = None,
    *,
    task: str,
    peft: str | None = None,
    r: int | None = None,
    alpha: float | None = None,
    rslora: bool = False,
    optimizer: str = "adamw",
    batch_tokens: float | None = None,
    batch_size: float | None = None,
    steps: int | None = None,
    tokens: float | None = None,
    examples: int | None = None,
    hidden: int | None = None,
    family: str | None = None,
    download: bool = False,
) -> Recommendation:
    """Which peak learning rate, schedule, warm-up and weight decay, from the evidence there is.

    Args:
        model: a model in memory, a folder, a Hub id, a size such as "8B" or a number of parameters; None where not known.
        task: ``pretrain``, ``continue``, ``sft`` (or ``full``), ``preference`` (or ``dpo``, ...), ``rl`` (``grpo``, ...),
            ``reward``, ``image`` (``cnn``), ``image_finetune``; or a PEFT type, which means fine-tuning with it.
        peft: a PEFT type; None where all parameters train.
        r: LoRA rank, `alpha` its alpha, and `rslora` whether it scales by alpha / sqrt(r).
        optimizer: as Transformers or torch call it.
        batch_tokens: tokens a step, over all processes.
        batch_size: sequences or images a step, over all processes.
        steps: optimizer steps.
        tokens: of the whole run.
        examples: training examples.
        hidden: hidden width, and `family` the model's type, where `model` does not say them.
        download: whether the config.json of a Hub id may be fetched.

    >>> found = recommend("meta-llama/Llama-3.1-8B", task="lora", r=16, alpha=32, steps=1000)
    >>> 1e-4 <= found.learning_rate <= 1e-3 and found.high / found.low <= 4
    True
    >>> recommend("7B", task="dpo", optimizer="lion").learning_rate is None  # no calibrated evidence
    True

    Raises:
        ValueError: for an unknown task or PEFT type, a model that cannot be read, and a number that is not above 0.
    """
    known = read_model(model, download=download)
    if hidden is not None:
        known = replace(known, hidden=int(real("hidden", hidden, least=1)))
    known = replace(known, family=family or known.family)
    there = read_adapters(model)  # what it has, unless something else was said
    said = {"peft": peft, "r": r, "alpha": alpha, "rslora": rslora or None}
    adapters = {**there, **{name: value for name, value in said.items() if value is not None}}
    question = asked(
        task, model=known, optimizer=optimizer, batch_tokens=batch_tokens, batch_size=batch_size, steps=steps, tokens=tokens,
        examples=examples, **adapters,
    )  # fmt: skip
    return answer(question)


@lru_cache(maxsize=4096)
def answer(question: Question, without: frozenset[str] = frozenset()) -> Recommendation:
    """What the evidence says about `question`, without the sources whose keys are in `without`."""
    return answer_from(question, tuple(entry for entry in about("learning_rate") if entry.source.key not in without))


def answer_from(question: Question, entries: Collection[Evidence]) -> Recommendation:
    """As `answer`, from these `entries` about the learning rate alone."""
    relevant = [entry for entry in entries if is_about(entry, question)]
    inputs = _inputs(question, relevant, entries)
    reasons = {entry.id: outside(entry, question, inputs) for entry in relevant}
    used = [estimate(entry, question, inputs) for entry in relevant if not reasons[entry.id]]
    refused = sorted((entry for entry in relevant if reasons[entry.id]), key=lambda entry: -KIND[entry.kind])
    aside = tuple((entry, reasons[entry.id]) for entry in refused)
    found = pooled(used) if used else None
    if found is not None:
        used = [replace(one, weight=share) for one, share in zip(used, found.shares, strict=True)]
    return _recommended(question, found, tuple(sorted(used, key=lambda one: -one.weight)), aside)


def _inputs(question: Question, relevant: Collection[Evidence], entries: Collection[Evidence]) -> dict[str, float]:
    """What formulas may use: what was asked, and what is advised to a neighbour that a rule of thumb refers to."""
    inputs = question.inputs()
    if question.peft in ("lora", "qlora", "dora", "rslora"):
        inputs.setdefault("rank", RANK)
    neighbours = {
        "lr_full": replace(question, peft=None),
        "lr_pretrain": replace(question, task="pretrain", peft=None, steps=None, tokens=None, batch_tokens=None),
        "lr_adam": replace(question, optimizer="adamw"),
    }
    for name in sorted(frozenset().union(*(entry.inputs for entry in relevant)) & neighbours.keys()):
        if neighbours[name] != question:
            advised = answer_from(neighbours[name], entries).learning_rate
            inputs.update({} if advised is None else {name: advised})
    return inputs


def _recommended(
    question: Question, found: Pooled | None, used: tuple[Estimate, ...], aside: tuple[tuple[Evidence, str], ...]
) -> Recommendation:
    schedule, words = choice("schedule", question), choice("schedule_kwargs", question)
    warmup, decay = choice("warmup", question), choice("weight_decay", question)
    settings = (("schedule", schedule), ("schedule's arguments", words), ("warm-up", warmup), ("weight decay", decay))
    beside = None if schedule is None else compared(question, schedule.value)
    reasons = [_reason(question, found, used)]
    if question.model.parameters is None and not question.task.startswith("image"):
        reasons.append("the model's size is not known, and counts for nothing here; give it as 8B or 350M")
    for name, made in settings:
        reasons += [] if made is None else [f"{name} {_short(made.value)}: {made.told}"]
        reasons += [beside[0]] if name == "schedule" and beside is not None else []
    low, high = (None, None) if found is None else (float(f"{found.low:.3g}"), float(f"{found.high:.3g}"))
    return Recommendation(
        question=question,
        learning_rate=None if found is None else _rounded(found),
        low=low,
        high=high,
        span=None if found is None else (found.lowest, found.highest),
        schedule=None if schedule is None else schedule.value,
        schedule_kwargs=MappingProxyType({} if words is None or schedule is None else words.value),
        warmup_steps=None if warmup is None else warmup.value,
        weight_decay=None if decay is None else decay.value,
        reasons=tuple(reasons),
        used=used,
        set_aside=aside,
        disagreement="" if found is None else _disagreement(found),
        confidence=_confidence(found, used),
        cited=(*(made.entry for _, made in settings if made is not None), *([] if beside is None else beside[1:])),
    )


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _rounded(found: Pooled) -> float:
    """The value to two digits, as no evidence here has more, and not beyond its band."""
    return min(max(float(f"{found.value:.2g}"), float(f"{found.low:.3g}")), float(f"{found.high:.3g}"))


def _reason(question: Question, found: Pooled | None, used: tuple[Estimate, ...]) -> str:
    if found is None:
        return f"{_NONE} for {question.told}"
    peak = f"peak {_rounded(found):g}"
    if sweeps := [one for one in used if one.fitted]:
        of = "" if question.peft in (None, "lora") else f" of LoRA, which {question.peft} is a kind of,"
        return f"{peak}: the best of a sweep{of} for {question.told} ({_figures(sweeps)})"
    if len(used) == 1:
        return f"{peak}: the only figure there is for {question.told}, from {used[0].evidence.source.title}"
    count = f"{len(used)} figures from {found.sources} source{'s' * (found.sources > 1)}"
    laws = [one for one in used if one.evidence.kind == "law"]
    told = f"; laws that hold here: {_figures(laws)}" if laws else ""
    if laws and all(one.value > found.high for one in laws):
        told += ", all above the band, which is where projects train"
    return f"{peak}: the weighted median of {count} for {question.told}{told}"


def _figures(some: list[Estimate]) -> str:
    return "; ".join(f"{one.evidence.source.title}: {one.value:.2g}{f', {one.how}' if one.how else ''}" for one in some)


def _disagreement(found: Pooled) -> str:
    """How far the sources disagree.

    >>> from .pool import Pooled
    >>> _disagreement(Pooled(2e-5, 1e-5, 4e-5, 0.7, 5e-6, 2e-4, 9))
    'the sources span 5e-06 to 0.0002 (40 times); 70 % of their weight lies in the band'
    """
    times = found.highest / found.lowest
    span = f"{found.lowest:.2g} to {found.highest:.2g} ({f'{times:.2g}' if times < 10 else f'{times:,.0f}'} times)"
    return f"the sources span {span}; {found.inside:.0%} of their weight lies in the band".replace("%", " %")


def _confidence(found: Pooled | None, used: tuple[Estimate, ...]) -> str:
    if found is None:
        return "none"
    fitted = any(one.fitted for one in used)
    if fitted and found.inside >= _HIGH and found.sources >= _ENOUGH:
        return "high"
    return "medium" if found.inside >= _MEDIUM and found.sources >= _ENOUGH else "low"
