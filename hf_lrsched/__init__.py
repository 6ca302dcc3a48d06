"""Learning-rate schedules for everything that trains with Hugging Face Transformers.

Importing this package registers its schedules: after it, ``TrainingArguments(lr_scheduler_type="wsd")`` works. It loads
neither torch nor transformers nor matplotlib; a name below loads what it needs when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .training import registration as _registration
from .version import __version__ as __version__

if TYPE_CHECKING:
    from .advice.lint import lint
    from .advice.presets import preset
    from .advice.recommend import recommend
    from .advice.transfer import transfer_lr
    from .runs.diagnosis import Finding, diagnose
    from .runs.forecast import Law, fit_law
    from .runs.history import History
    from .runs.range_test import RangeTest
    from .runs.reading import read_history
    from .runs.summary import summary
    from .schedules.catalogue import (
        CATALOGUE,
        build,
        constant,
        inverse_sqrt_cooldown,
        multi_step,
        one_cycle,
        phases,
        power,
        rex,
        step_decay,
        warm_restarts,
        warmup_cosine,
        wsd,
        wsd_s,
    )
    from .schedules.lengths import Horizon
    from .schedules.phase import Phase, fall, hold, rise
    from .schedules.schedule import Schedule, repeat
    from .schedules.spec import from_spec, to_spec
    from .show import plot, text
    from .show.card import Card, from_card
    from .training.accelerated import prepare
    from .training.branches import BranchPlan
    from .training.checkpoints import Checkpoints, last_complete
    from .training.cooldown import CooldownCallback
    from .training.forecast import LRForecast
    from .training.lint import LRPreflight
    from .training.live_plot import LRPlot
    from .training.model_card import LRCard
    from .training.recorder import LRRecorder
    from .training.registration import register, register_schedule, unregister
    from .training.rescue import train
    from .training.scheduler import ScheduleLR
    from .training.snapshots import CycleSnapshots, average_checkpoints, cycle_checkpoints
    from .training.streams import HeldBack
    from .training.sweep import find_lr, use_lr
    from .training.watch import LRWatch

_CATALOGUE = (
    "CATALOGUE", "build", "constant", "inverse_sqrt_cooldown", "multi_step", "one_cycle", "phases", "power", "rex",
    "step_decay", "warm_restarts", "warmup_cosine", "wsd", "wsd_s",
)  # fmt: skip

_WHERE = {
    **dict.fromkeys(_CATALOGUE, "schedules.catalogue"),
    **dict.fromkeys(("Phase", "fall", "hold", "rise"), "schedules.phase"),
    **dict.fromkeys(("Schedule", "repeat"), "schedules.schedule"),
    **dict.fromkeys(("from_spec", "to_spec"), "schedules.spec"),
    "Horizon": "schedules.lengths",
    "lint": "advice.lint",
    "preset": "advice.presets",
    "recommend": "advice.recommend",
    "transfer_lr": "advice.transfer",
    "prepare": "training.accelerated",
    "BranchPlan": "training.branches",
    **dict.fromkeys(("Finding", "diagnose"), "runs.diagnosis"),
    **dict.fromkeys(("Law", "fit_law"), "runs.forecast"),
    "History": "runs.history",
    "RangeTest": "runs.range_test",
    "read_history": "runs.reading",
    "summary": "runs.summary",
    **dict.fromkeys(("Card", "from_card"), "show.card"),
    "LRCard": "training.model_card",
    "LRForecast": "training.forecast",
    "LRPlot": "training.live_plot",
    "LRPreflight": "training.lint",
    "LRRecorder": "training.recorder",
    "LRWatch": "training.watch",
    "train": "training.rescue",
    **dict.fromkeys(("Checkpoints", "last_complete"), "training.checkpoints"),
    "CooldownCallback": "training.cooldown",
    **dict.fromkeys(("CycleSnapshots", "average_checkpoints", "cycle_checkpoints"), "training.snapshots"),
    "HeldBack": "training.streams",
    **dict.fromkeys(("find_lr", "use_lr"), "training.sweep"),
    "ScheduleLR": "training.scheduler",
    **dict.fromkeys(("register", "register_schedule", "unregister"), "training.registration"),
}

# Whole modules, as hf_lrsched.plot and hf_lrsched.text.
_MODULES = {"plot": "show.plot", "text": "show.text"}

__all__ = [
    "CATALOGUE",
    "BranchPlan",
    "Card",
    "Checkpoints",
    "CooldownCallback",
    "CycleSnapshots",
    "Finding",
    "HeldBack",
    "History",
    "Horizon",
    "LRCard",
    "LRForecast",
    "LRPlot",
    "LRPreflight",
    "LRRecorder",
    "LRWatch",
    "Law",
    "Phase",
    "RangeTest",
    "Schedule",
    "ScheduleLR",
    "average_checkpoints",
    "build",
    "constant",
    "cycle_checkpoints",
    "diagnose",
    "fall",
    "find_lr",
    "fit_law",
    "from_card",
    "from_spec",
    "hold",
    "inverse_sqrt_cooldown",
    "last_complete",
    "lint",
    "multi_step",
    "one_cycle",
    "phases",
    "plot",
    "power",
    "prepare",
    "preset",
    "read_history",
    "recommend",
    "register",
    "register_schedule",
    "repeat",
    "rex",
    "rise",
    "step_decay",
    "summary",
    "text",
    "to_spec",
    "train",
    "transfer_lr",
    "unregister",
    "use_lr",
    "warm_restarts",
    "warmup_cosine",
    "wsd",
    "wsd_s",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f".{_MODULES[name]}", __name__)
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_WHERE[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE, *_MODULES})


_registration.register()
