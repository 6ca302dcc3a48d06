"""accelerate's YAML: how many processes train, and which DeepSpeed file they use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..configuration import Setting
from ..document import Document
from .form import Reader, count_of


class Accelerate(Reader):
    """What ``accelerate config`` writes and ``accelerate launch --config_file`` reads."""

    form = "accelerate"
    names = {
        "num_processes": "num_processes",
        "num_machines": "num_machines",
        "distributed_type": "distributed_type",
        "deepspeed_config.deepspeed_config_file": "deepspeed",
        "deepspeed_config.gradient_accumulation_steps": "gradient_accumulation_steps",
    }

    def mine(self, document: Document) -> bool:
        """Whether it says how processes are distributed."""
        return "distributed_type" in document and document.has("compute_environment", "num_processes", "mixed_precision") > 0

    def facts(self, document: Document, settings: Mapping[str, Setting]) -> dict[str, Any]:
        """How many processes, where they are counted."""
        return {"processes": count_of(document.value("num_processes"))}
