"""``lr_scheduler_kwargs``: what a schedule is told beside its name, by its own words.

What it does not know: the words of schedules that somebody else has registered.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any

from ..configuration import OURS, UNKNOWN, Configuration, Setting

SCHEDULED = (*OURS, "axolotl")
"""The forms that hand ``lr_scheduler_kwargs`` on to Transformers' `get_scheduler`."""

DROPS_KWARGS = ("constant", "constant_with_warmup")
"""Transformers' schedules that are made without ``lr_scheduler_kwargs`` (`get_scheduler`, transformers 5.23.0)."""

FOLLOWS_THE_LOSS = ("reduce_lr_on_plateau", "greedy")
"""Transformers' schedules that step on a metric and pass any word on to a class that refuses what it does not know."""

_MIN_LR = ("num_cycles", "min_lr", "min_lr_rate")

ACCEPTED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "linear": (),
        "cosine": ("num_cycles",),
        "cosine_with_restarts": ("num_cycles",),
        "polynomial": ("lr_end", "power"),
        "inverse_sqrt": ("timescale",),
        "cosine_with_min_lr": _MIN_LR,
        "cosine_warmup_with_min_lr": (*_MIN_LR, "warmup_lr_rate"),
        "warmup_stable_decay": (
            *("num_decay_steps", "num_stable_steps", "warmup_type", "decay_type", "min_lr_ratio", "num_cycles"),
        ),
    }
)
"""The words that Transformers' functions take (transformers 5.23.0); a test holds this table to them."""

GIVEN = ("num_warmup_steps", "num_training_steps")
"""What Trainer itself gives to them, so that it would come twice."""


def kwargs_of(configuration: Configuration) -> dict[str, Any]:
    """``lr_scheduler_kwargs`` as a mapping, read from JSON where it is a text; empty where it is not set or unknown.

    >>> kwargs_of(Configuration.of({"lr_scheduler_kwargs": '{"min_lr_rate": 0.1}'}))
    {'min_lr_rate': 0.1}
    """
    typed = configuration.value("lr_scheduler_kwargs")
    if isinstance(typed, str):
        try:
            typed = json.loads(typed)
        except ValueError:
            return {}
    return {str(word): value for word, value in typed.items() if value is not UNKNOWN} if isinstance(typed, dict) else {}


def number_in(kwargs: Mapping[str, Any], word: str) -> float | None:
    """A number among the words; None where it is not there or none. The text ``"1e-6"`` is one."""
    return Setting(word, kwargs.get(word)).number


def place_of(configuration: Configuration, word: str) -> Setting | None:
    """Where a word of ``lr_scheduler_kwargs`` stands: its own line, or the one of the whole."""
    return configuration.others.get(f"lr_scheduler_kwargs.{word}") or configuration.get("lr_scheduler_kwargs")


def wrong_words(schedule: str, kwargs: Mapping[str, Any]) -> tuple[str, str]:
    """The first word that a schedule of Transformers does not take, and why; empty where there is none.

    >>> wrong_words("cosine", {"min_lr_rate": 0.1})[1]
    "cosine takes no 'min_lr_rate' (it takes num_cycles), so the run ends with a TypeError before its first step"
    """
    accepted = ACCEPTED[schedule]
    for word in kwargs:
        if word in GIVEN:
            return word, f"Trainer itself gives {word}, so {schedule} gets it twice and the run ends with a TypeError"
        if word not in (*accepted, "last_epoch"):
            near = get_close_matches(word, accepted, n=1)
            takes = f"did you mean {near[0]}?" if near else f"it takes {', '.join(accepted) or 'nothing'}"
            return word, f"{schedule} takes no {word!r} ({takes}), so the run ends with a TypeError before its first step"
    return "", ""


def missing_words(configuration: Configuration, kwargs: Mapping[str, Any]) -> str:
    """Why a schedule of Transformers cannot be made of the words that are there; empty where it can."""
    schedule, form = configuration.schedule, configuration.form
    if schedule == "warmup_stable_decay" and "num_decay_steps" not in kwargs and form != "llamafactory":
        return "warmup_stable_decay needs num_decay_steps (in steps)"  # LLaMA-Factory 0.9.5 gives two thirds of the run
    if schedule in ("cosine_with_min_lr", "cosine_warmup_with_min_lr"):
        given = [word for word in ("min_lr", "min_lr_rate") if kwargs.get(word) is not None]
        if len(given) != 1:
            return f"{schedule} needs one of min_lr and min_lr_rate and has {' and '.join(given) or 'none'}"
    return ""
