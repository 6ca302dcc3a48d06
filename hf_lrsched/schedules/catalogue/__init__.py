"""The named schedules, each one expression made of phases; `CATALOGUE` is the registry.

>>> print(*CATALOGUE)
constant step_decay multi_step warmup_cosine warm_restarts one_cycle wsd wsd_s inverse_sqrt_cooldown rex power phases
"""

# ruff: noqa: I001  the order of these imports is the order of CATALOGUE, which is the reader's
from .entry import CATALOGUE, Entry, build, find, named
from .stepped import constant, multi_step, step_decay
from .annealed import warmup_cosine
from .cycled import one_cycle, warm_restarts
from .cooled import inverse_sqrt_cooldown, power, rex, wsd, wsd_s
from .listed import phases

__all__ = [
    "CATALOGUE",
    "Entry",
    "build",
    "constant",
    "find",
    "inverse_sqrt_cooldown",
    "multi_step",
    "named",
    "one_cycle",
    "phases",
    "power",
    "rex",
    "step_decay",
    "warm_restarts",
    "warmup_cosine",
    "wsd",
    "wsd_s",
]
