"""The rules, one family of faults a file. To be listed in `RULES` is enough to be run and tested."""

from __future__ import annotations

from ..rule import Rule

RULES: tuple[type[Rule], ...] = ()

__all__ = ["RULES"]
