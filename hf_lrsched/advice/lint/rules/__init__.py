"""The rules, one family of faults a file. To be listed in `RULES` is enough to be run and tested."""

from __future__ import annotations

from ..rule import Rule
from .companions import COMPANIONS
from .endings import ENDINGS
from .rates import RATES
from .schedules import SCHEDULES
from .siblings import SIBLINGS
from .unread import UNREAD
from .warmup import WARMUP
from .written import WRITTEN

RULES: tuple[type[Rule], ...] = tuple(
    sorted((*WARMUP, *WRITTEN, *SCHEDULES, *ENDINGS, *COMPANIONS, *UNREAD, *RATES, *SIBLINGS), key=lambda rule: rule.id)
)

__all__ = ["RULES"]
