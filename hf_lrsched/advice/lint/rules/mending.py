"""Edits of one setting within its line, for rules: everything around it stays as it is.

What it does not know: whether an edit is a good one. Where the line does not read as expected (a value over several lines, an
alias, a template) there is none.
"""

from __future__ import annotations

import re

from ..configuration import Setting
from ..document import number_of
from ..remark import Fix

_BETWEEN = re.compile(r"[\"']?\s*[:=]?\s*")  # a key and its value; with an anchor there others have the value too


def replaced(setting: Setting, *, key: str = "", value: str = "", safe: bool = False) -> Fix | None:
    """The edit that gives a setting another key, another value, or both; None where its line does not show it.

    Args:
        setting: with the line's text and where its key stands.
        key: what its key (the last part of a dotted one) becomes; empty to keep it.
        value: what its value becomes; empty to keep it. A word takes on the quotes of the value before it, a number does not.
        safe: as in `Fix`.

    >>> share = Setting("warmup_ratio", 0.1, "0.1", "warmup_ratio", 4, 3, "  warmup_ratio: 0.1  # a tenth")
    >>> replaced(share, key="warmup_steps", safe=True)
    Fix(line=4, old='  warmup_ratio: 0.1  # a tenth', new='  warmup_steps: 0.1  # a tenth', safe=True)
    >>> name = Setting("lr_scheduler_type", "cosin", '"cosin"', "lr_scheduler_type", 2, 1, '"lr_scheduler_type": "cosin",')
    >>> replaced(name, value="cosine").new
    '"lr_scheduler_type": "cosine",'
    """
    place = _place(setting)
    if place is None:
        return None
    start, name = place
    new, after = setting.text, start + len(name)
    if value:
        at = new.find(setting.written, after)
        if not setting.written or at < 0 or not _BETWEEN.fullmatch(new, after, at):
            return None
        quote = setting.written[0] if setting.written[0] in "\"'" and number_of(value) is None else ""
        new = new[:at] + quote + value + quote + new[at + len(setting.written) :]
    if key:
        new = new[:start] + key + new[after:]
    return None if new == setting.text else Fix(setting.line, setting.text, new, safe)


def removed(setting: Setting, *, safe: bool = False) -> Fix | None:
    """The edit that takes a setting out, where it has a line of YAML to itself; None elsewhere.

    >>> removed(Setting("min_lr", 6e-5, "6.0e-05", "train.min_lr", 9, 3, "  min_lr: 6.0e-05")).new is None
    True
    >>> removed(Setting("min_lr", 6e-5, "6e-5", "--min_lr", 9, 3, "  --min_lr 6e-5 --max_steps 9"))
    """
    place = _place(setting)
    if place is None or not setting.written:
        return None
    start, name = place
    before, after = setting.text[:start], setting.text[start + len(name) :]
    value, _, _ = after.strip().removeprefix(":").partition(" #")
    alone = not before.strip() and after.lstrip().startswith(":") and value.strip() == setting.written
    return Fix(setting.line, setting.text, None, safe) if alone else None


def _place(setting: Setting) -> tuple[int, str] | None:
    """Where the last part of the key begins in the line, and that part."""
    name = setting.key if setting.key.startswith("-") else setting.key.rpartition(".")[2]
    name = name.lstrip("-")
    at = setting.text.find(name, max(setting.column - 1, 0)) if name else -1
    return None if at < 0 or not setting.line else (at, name)
