"""What is wrong with configurations, told: as text, as GitHub's annotations, and as SARIF 2.1.0.

Values in, text out; which rules there are and what they say is `advice.lint`'s.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..advice.lint import Fix, Remark, Rule
from ..version import __version__

_GITHUB = {"error": "error", "warning": "warning", "note": "notice"}
_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_NARROWEST = 60  # columns; below that, sentences are wrapped as if there were so many


def text(remarks: Sequence[Remark], *, width: int = 100) -> str:
    """Remarks one under another, each with its place, what happens, what to do, the edit and the source.

    Args:
        remarks: what `lint` said.
        width: columns at which sentences are wrapped.

    >>> fix = Fix(3, "warmup_ratio: 0.1", "warmup_steps: 0.1", safe=True)
    >>> gone = Remark("LR005", "warmup-ratio-gone", "error", "warmup_ratio is no argument", "Write warmup_steps: 0.1",
    ...               source="transformers 5.23.0", file="sft.yaml", line=3, column=1, fix=fix)
    >>> print(text([gone]))
    sft.yaml:3:1: error LR005 warmup-ratio-gone
        warmup_ratio is no argument. Write warmup_steps: 0.1.
        - warmup_ratio: 0.1
        + warmup_steps: 0.1    (safe: --fix)
        source: transformers 5.23.0
    """
    return "\n\n".join(_one(remark, max(width, _NARROWEST)) for remark in remarks)


def _one(remark: Remark, width: int) -> str:
    head = f"{remark.place}: {remark.level} {remark.rule} {remark.name}"
    said = _wrapped(message(remark), width)
    source = _wrapped(f"source: {remark.source}", width) if remark.source else []
    return "\n".join([head, *said, *(_edit(remark.fix) if remark.fix else []), *source])


def message(remark: Remark) -> str:
    """What a remark says, in whole sentences."""
    parts = [part if part[-1] in ".?!" else f"{part}." for part in (remark.sentence, remark.advice) if part]
    return " ".join(part[0].upper() + part[1:] if i else part for i, part in enumerate(parts))


def _wrapped(sentence: str, width: int) -> list[str]:
    """A sentence in indented lines; a per cent sign stays with its number."""
    around, held = "    ", "\0%"
    lines = textwrap.wrap(
        sentence.replace(" %", held),
        width,
        initial_indent=around,
        subsequent_indent=around,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line.replace(held, " %") for line in lines]


def _edit(fix: Fix) -> list[str]:
    how = "safe: --fix" if fix.safe else "look first: --fix --unsafe-fixes"
    new = [] if fix.new is None else [f"    + {line.strip()}" for line in fix.new.splitlines()]
    lines = [f"    - {fix.old.strip()}", *new]
    return [*lines[:-1], f"{lines[-1]}    ({how})"]


def count(remarks: Sequence[Remark]) -> dict[str, int]:
    """How many errors, warnings and notes there are.

    >>> count([])
    {'error': 0, 'warning': 0, 'note': 0}
    """
    found = Counter(remark.level for remark in remarks)
    return {level: found[level] for level in ("error", "warning", "note")}


def plural(number: int, word: str) -> str:
    """A number of things.

    >>> plural(1, "warning"), plural(1000, "file")
    ('1 warning', '1,000 files')
    """
    return f"{number:,} {word}{'s' * (number != 1)}"


def github(remarks: Sequence[Remark]) -> str:
    """Remarks as workflow commands, which GitHub shows beside the lines of a pull request.

    >>> print(github([Remark("LR001", "warmup-longer-than-run", "error", "1000 of 60\\nsteps", file="a,b.yaml", line=4)]))
    ::error file=a%2Cb.yaml,line=4,title=LR001 warmup-longer-than-run::1000 of 60%0Asteps.
    """
    return "\n".join(_annotation(remark) for remark in remarks)


def _annotation(remark: Remark) -> str:
    places: dict[str, Any] = {"file": _relative(remark.file), "line": remark.line or "", "col": remark.column or ""}
    places["title"] = f"{remark.rule} {remark.name}"
    told = ",".join(f"{name}={_escaped(str(value), ':,')}" for name, value in places.items() if value != "")
    return f"::{_GITHUB[remark.level]} {told}::{_escaped(message(remark))}"


def _escaped(value: str, also: str = "") -> str:
    """A value as workflow commands take it: percent signs, line ends and, within properties, what separates them."""
    return "".join(f"%{ord(char):02X}" if char in f"%\r\n{also}" else char for char in value)


def sarif(remarks: Sequence[Remark], rules: Sequence[type[Rule]]) -> dict[str, Any]:
    """Remarks as a SARIF 2.1.0 log, which code scanning services read.

    Args:
        remarks: what `lint` said.
        rules: those that were asked.
    """
    described = [_rule(rule) for rule in rules]
    known = {rule["id"]: index for index, rule in enumerate(described)}
    for remark in remarks:
        if remark.rule not in known:  # a file that is broken, which no rule says
            known[remark.rule] = len(described)
            described.append({"id": remark.rule, "name": remark.name, "shortDescription": {"text": remark.name}})
    driver = {"name": "hf-lrsched", "version": __version__, "rules": described}
    results = [_result(remark, known[remark.rule]) for remark in remarks]
    return {
        "$schema": _SCHEMA,
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}],
    }


def _rule(rule: type[Rule]) -> dict[str, Any]:
    link = next((word.rstrip(";,") for word in rule.source.split() if word.startswith("https://")), "")
    what = summary_of(rule)
    return {
        "id": rule.id,
        "name": rule.name,
        "shortDescription": {"text": what},
        "fullDescription": {"text": f"{what} Seen: {rule.example.seen}."},
        "help": {"text": f"Source: {rule.source}"},
        **({"helpUri": link} if link else {}),
        "defaultConfiguration": {"level": rule.level},
    }


def _result(remark: Remark, index: int) -> dict[str, Any]:
    region = {"startLine": max(remark.line, 1), **({"startColumn": remark.column} if remark.column else {})}
    place = {"physicalLocation": {"artifactLocation": {"uri": _uri(remark.file)}, "region": region}}
    found: dict[str, Any] = {
        "ruleId": remark.rule,
        "ruleIndex": index,
        "level": remark.level,
        "message": {"text": message(remark)},
        "locations": [place] if remark.file else [],
    }
    if remark.fix is not None:
        found["fixes"] = [_change(remark, remark.fix)]
    return found


def _change(remark: Remark, fix: Fix) -> dict[str, Any]:
    region = {"startLine": fix.line, "startColumn": 1, "endLine": fix.line, "endColumn": len(fix.old) + 1}
    if fix.new is None:
        region = {"startLine": fix.line, "startColumn": 1, "endLine": fix.line + 1, "endColumn": 1}
    replacement = {"deletedRegion": region, "insertedContent": {"text": fix.new or ""}}
    change = {"artifactLocation": {"uri": _uri(remark.file)}, "replacements": [replacement]}
    return {"description": {"text": remark.advice or remark.sentence}, "artifactChanges": [change]}


def _uri(file: str) -> str:
    """A path as a URI: relative to where one stands where the file lies below it."""
    path = Path(_relative(file))
    return path.as_uri() if path.is_absolute() else quote(path.as_posix())


def _relative(file: str) -> str:
    path = Path(file)
    if path.is_absolute() and path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    return path.as_posix() if file else ""


def summary_of(rule: type[Rule]) -> str:
    """What a rule is about, in one sentence."""
    return (rule.__doc__ or rule.name).strip().splitlines()[0]


def rules_table(rules: Sequence[type[Rule]], *, width: int = 100) -> str:
    """The rules, each with what it is about, where the fault was truly seen, and its source."""
    parts = []
    for rule in rules:
        lines = [f"{rule.id}  {rule.level:<7}  {rule.name}"]
        for words in (summary_of(rule), f"seen: {rule.example.seen}", f"source: {rule.source}"):
            lines += _wrapped(words, max(width, _NARROWEST))
        parts.append("\n".join(lines))
    return "\n\n".join(parts)
