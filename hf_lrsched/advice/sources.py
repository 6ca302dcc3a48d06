"""The evidence: every figure that is advised, with where it comes from.

Each ``evidence/*.yaml`` has three parts, of which the first two may be missing::

    sources:
      smollm: {title: SmolLM training recipes, url: "https://...", licence: Apache-2.0, year: 2025}
    defaults: {kind: shipped, unit: learning rate of AdamW, date: 2026-04}   # for the entries below
    entries:
      - id: smollm2-1.7b-sft
        of: learning_rate
        value: 3.0e-4
        when: {task: sft, peft: none, parameters: 1.7e9}
        source: smollm
        where: recipes/smollm2/sft/config.yaml

An entry gives its figure as ``value``, as ``low`` and ``high`` (``value`` may lie between; ``times: lr_adam`` makes all three
multiples of another learning rate), as a ``formula`` of the inputs
that `advice.question.Question.inputs` names, or as ``text``, for what is no number. Adding one needs no code: a file here
is enough, and whatever the schema cannot read is refused with file and entry.

What it does not know: whether a figure is right. It knows who says so, and how closely that was looked at (``read``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from .formula import evaluate, names_in

FOLDER = Path(__file__).parent / "evidence"

KINDS = ("measured", "law", "shipped", "rule of thumb")
READ = ("read", "excerpt", "unverified")
# What a figure is about, and the sign it must have.
QUANTITIES = (
    "learning_rate",
    "lr_ratio",  # times another LR that `unit` names
    "lr_exponent",  # of what `unit` names
    "warmup",  # share of the run below 1, steps from 1 on
    "weight_decay",
    "lora_scale",  # alpha over r
    "batch",
    "schedule",
    "schedule_kwargs",
    "regret",
)
# `when`: numbers are a point (where a figure was used) or two ends (where it holds); the rest are words, or lists of them.
RANGES = (
    "parameters", "hidden", "rank", "steps", "tokens", "tokens_per_parameter", "examples", "batch_tokens", "batch_size", "lr",
)  # fmt: skip
# What a formula may use: what `advice.question.Question.inputs` has, LoRA's alpha, and what is advised to a neighbour.
INPUTS = (*RANGES, "alpha", "lr_adam", "lr_full", "lr_pretrain")
WORDS = ("task", "peft", "optimizer", "family", "schedule", "model", "scaling", "data", "alpha")


@dataclass(frozen=True)
class Source:
    """A paper, a repository or a thread.

    Args:
        key: its name among the evidence.
        title: in full.
        year: of what was read.
        url: where it can be read; a doi or an arXiv number as its address. Empty for what has none.
        authors: as in a bibliography; may be empty.
        licence: of a repository.
    """

    key: str
    title: str
    year: int
    url: str = ""
    authors: str = ""
    licence: str = ""

    def bibtex(self) -> str:
        """As a BibTeX entry.

        >>> print(Source("d2z", "Straight to Zero", 2025, "https://arxiv.org/abs/2502.15938", "Bergsma and others").bibtex())
        @misc{d2z,
          title = {Straight to Zero},
          author = {Bergsma and others},
          year = {2025},
          url = {https://arxiv.org/abs/2502.15938},
        }
        """
        fields = {"title": self.title, "author": self.authors, "year": str(self.year), "url": self.url}
        lines = [f"  {name} = {{{value}}}," for name, value in fields.items() if value]
        return "\n".join([f"@misc{{{self.key},", *lines, "}"])


@dataclass(frozen=True)
class Evidence:
    """One figure and where it comes from.

    Args:
        id: its name, unique.
        of: the quantity, one of `QUANTITIES`.
        unit: what the figure counts, in words.
        kind: ``measured``, ``law`` (a fitted formula), ``shipped`` (what a project uses) or ``rule of thumb``.
        source: who says so.
        where: the file, section or table in it.
        date: of the figure, or of the snapshot that was read; a year, or a year and a month.
        read: how closely it was looked at: ``read``, ``excerpt`` (a secondary page) or ``unverified``.
        value: the figure, or None.
        low, high: its band, or None.
        times: the input that `value`, `low` and `high` are multiples of, such as ``lr_full``, or empty.
        formula: how it is computed from `inputs`, or empty.
        text: a figure that is no number, such as a schedule's name, or empty.
        when: the conditions under which it was used or holds.
        spread: by what factor it scatters (one standard deviation of the logarithm), where that was measured.
        files: how many files of the source have it.
        faulty: what is wrong with it, where its own source or the linter here says so.
        note: what else one should know.
    """

    id: str
    of: str
    unit: str
    kind: str
    source: Source
    date: str
    where: str = ""
    read: str = "read"
    value: float | None = None
    low: float | None = None
    high: float | None = None
    times: str = ""
    formula: str = ""
    text: str = ""
    when: Mapping[str, Any] = field(default_factory=dict)
    spread: float | None = None
    files: int = 1
    faulty: str = ""
    note: str = ""

    @property
    def inputs(self) -> frozenset[str]:
        """What it is computed from."""
        return names_in(self.formula) if self.formula else frozenset([self.times] if self.times else [])

    def figure(self, inputs: Mapping[str, float] = MappingProxyType({})) -> float | None:
        """The figure, computed where it is a formula, the geometric middle of a band that names none; None for a text.

        >>> evidence()["step-law"].formula
        '1.79 * parameters ** -0.713 * tokens ** 0.307'
        >>> round(evidence()["step-law"].figure({"parameters": 1e9, "tokens": 1e11}), 4)
        0.0016

        Raises:
            ValueError: for an input that is missing.
        """
        if self.formula:
            return evaluate(self.formula, inputs)
        value = self.value
        if value is None and self.low is not None and self.high is not None:
            value = float((self.low * self.high) ** 0.5)
        return None if value is None else value * self._unit(inputs)

    def band(self, inputs: Mapping[str, float] = MappingProxyType({})) -> tuple[float, float] | None:
        """Its low and high, or what its spread makes of the figure; None where it has neither.

        >>> evidence()["guide-sgd"].band({"lr_adam": 1e-3})
        (0.01, 0.1)
        """
        if self.low is not None and self.high is not None:
            return self.low * self._unit(inputs), self.high * self._unit(inputs)
        figure = self.figure(inputs)
        return None if figure is None or self.spread is None else (figure / self.spread, figure * self.spread)

    def _unit(self, inputs: Mapping[str, float]) -> float:
        return evaluate(self.times, inputs) if self.times else 1.0

    def cited(self) -> str:
        """Where it comes from, in one line.

        >>> evidence()["step-law"].cited()
        'Step Law (arXiv 2503.04715), 2025'
        """
        where = f", {self.where}" if self.where else ""
        return f"{self.source.title}{where}, {self.date}"


@cache
def evidence(folder: Path = FOLDER) -> Mapping[str, Evidence]:
    """All evidence in the YAML files of `folder`, by id.

    >>> evidence()["guide-lora"].low, evidence()["guide-lora"].high
    (0.0001, 0.0003)

    Raises:
        ValueError: for an entry that the schema refuses, naming its file and id; a source is never optional.
    """
    documents = {file: _document(file) for file in sorted(folder.glob("*.yaml"))}
    sources: dict[str, Source] = {}
    for file, document in documents.items():
        for key, about in document.get("sources", {}).items():
            if key in sources:
                raise ValueError(f"{file.name}: the source {key} is named twice")
            sources[key] = _source(file.name, key, about)
    found: dict[str, Evidence] = {}
    for file, document in documents.items():
        defaults = document.get("defaults", {})
        for entry in document.get("entries", []):
            made = _entry(
                file.name, {**defaults, **entry, "when": {**defaults.get("when", {}), **entry.get("when", {})}}, sources
            )
            if made.id in found:
                raise ValueError(f"{file.name}: the entry {made.id} is there twice")
            found[made.id] = made
    return MappingProxyType(found)


def about(quantity: str) -> Iterator[Evidence]:
    """The entries about one quantity."""
    return (entry for entry in evidence().values() if entry.of == quantity)


def _document(file: Path) -> dict[str, Any]:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # several times as fast, where libyaml is there
    read = yaml.load(file.read_text("utf-8"), Loader=loader)  # both are safe loaders
    if not isinstance(read, dict) or set(read) - {"sources", "defaults", "entries"}:
        raise ValueError(f"{file.name} must hold sources, defaults and entries, and nothing else")
    return read


def _source(file: str, key: str, about: Any) -> Source:
    known = set(Source.__dataclass_fields__) - {"key"}
    if not isinstance(about, dict) or set(about) - known or not about.get("title") or type(about.get("year")) is not int:
        raise ValueError(
            f"{file}: the source {key} needs a title and a year, and may have url, authors, licence; it has {about}"
        )
    if not str(about.get("url", "https://")).startswith("https://"):
        raise ValueError(f"{file}: the source {key} has url: {about['url']}, which must begin with https://")
    return Source(key=key, **about)


def _entry(file: str, entry: dict[str, Any], sources: Mapping[str, Source]) -> Evidence:
    name = f"{file}: the entry {entry.get('id', entry)}"
    wrong = _wrong(entry, sources)
    if wrong:
        raise ValueError(f"{name} {wrong}")
    numbers = {word: float(entry[word]) for word in ("value", "low", "high", "spread") if entry.get(word) is not None}
    return Evidence(
        **{**entry, **numbers, "source": sources[entry["source"]], "date": str(entry["date"]), "when": _when(entry["when"])}
    )


def _wrong(entry: dict[str, Any], sources: Mapping[str, Source]) -> str:
    """What is wrong with an entry, or nothing."""
    unknown = set(entry) - set(Evidence.__dataclass_fields__)
    missing = [word for word in ("id", "of", "unit", "kind", "source", "date") if not entry.get(word)]
    if missing or unknown:
        return f"lacks {', '.join(missing) or 'nothing'} and has {', '.join(sorted(unknown)) or 'nothing'} that is unknown"
    if entry["source"] not in sources:
        return f"names a source that is not there: {entry['source']}"
    for word, allowed in (("of", QUANTITIES), ("kind", KINDS), ("read", READ)):
        if entry.get(word, allowed[0]) not in allowed:
            return f"has {word}: {entry[word]}, which must be one of {', '.join(allowed)}"
    numbers = [word for word in ("value", "low", "high", "spread") if entry.get(word) is not None]
    for word in numbers:
        if isinstance(entry[word], bool) or not isinstance(entry[word], int | float):
            return f"has {word}: {entry[word]!r}, which is no number (YAML reads 2e-5 as text; write 2.0e-5)"
    return _figure_wrong(entry, numbers) or _when_wrong(entry["when"])


def _figure_wrong(entry: dict[str, Any], numbers: list[str]) -> str:
    band = "low" in numbers and "high" in numbers
    given = [bool(entry.get("formula")), bool(entry.get("text")), band or "value" in numbers]
    if sum(given) != 1 or ("low" in numbers) != ("high" in numbers):
        return "must have one of value, low and high, formula, text"
    if band and not entry["low"] <= entry.get("value", entry["low"]) <= entry["high"]:
        return f"has a band from {entry['low']} to {entry['high']} that does not hold its value"
    if entry["of"] == "learning_rate" and not all(entry[word] > 0 for word in numbers):
        return "has a learning rate that is not above 0"
    return next((wrong for word in ("formula", "times") if (wrong := _formula_wrong(word, entry.get(word)))), "")


def _formula_wrong(word: str, formula: str | None) -> str:
    try:
        unknown = names_in(formula) - set(INPUTS) if formula else set()
    except ValueError as error:
        return f"has {word}: {error}"
    return f"has {word}: {formula}, in which {', '.join(sorted(unknown))} is none of {', '.join(INPUTS)}" if unknown else ""


def _when_wrong(when: Mapping[str, Any]) -> str:
    for name, value in when.items():
        if name in WORDS:
            if not all(isinstance(word, str) for word in (value if isinstance(value, list) else [value])):
                return f"has when.{name}: {value}, which must be a word or a list of words"
        elif name in RANGES:
            ends = value if isinstance(value, list) else [value, value]
            numeric = all(isinstance(end, int | float) and not isinstance(end, bool) for end in ends)
            if len(ends) != 2 or not numeric or not ends[0] <= ends[1]:
                rule = "a number or two, the lower first (YAML reads 7e9 as text; write 7.0e+9)"
                return f"has when.{name}: {value}, which must be {rule}"
        else:
            return f"has when.{name}, which is unknown ({', '.join([*WORDS, *RANGES])})"
    return ""


def _when(when: Mapping[str, Any]) -> Mapping[str, Any]:
    """Words as tuples of words, numbers as pairs."""
    plain = {name: value if isinstance(value, list) else [value] for name, value in when.items() if name in WORDS}
    ranges = {name: value if isinstance(value, list) else [value, value] for name, value in when.items() if name in RANGES}
    return MappingProxyType({name: tuple(value) for name, value in {**plain, **ranges}.items()})
