"""Runs pretrain.py and writes what only the inside of each process can tell; started by test_processes.py."""

from __future__ import annotations

import json
import os
import runpy
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer

from hf_lrsched.training import auto

RECIPES = Path(__file__).parents[2] / "recipes"

if __name__ == "__main__":
    sys.path.insert(0, str(RECIPES))
    wrapped: set[str] = set()
    training_step = Trainer.training_step

    def watched(self: Trainer, model: torch.nn.Module, *args: Any, **kwargs: Any) -> torch.Tensor:
        wrapped.add(type(model).__name__)
        return training_step(self, model, *args, **kwargs)

    if os.environ.get("RANK", "0") != "0":  # the first process decides for all; another that asked would fail here
        vars(auto)["recommend"] = None
    Trainer.training_step = watched  # type: ignore[method-assign]  # only inside does the model wear its wrapper
    ran = runpy.run_path(str(RECIPES / "pretrain.py"))
    trainer, args = ran["trainer"], ran["args"]
    history = [{"step": 0}] if not trainer.is_world_process_zero() else trainer.state.log_history
    told = {
        "world_size": args.world_size,
        "wrapped": sorted(wrapped),
        "steps": trainer.lr_scheduler.last_epoch,
        "lrs": [entry["learning_rate"] for entry in history if "loss" in entry],
        "weights": float(sum(weight.double().abs().sum() for weight in trainer.model.parameters())),
        "warmup": args.warmup_steps,
        "output_dir": args.output_dir,
    }
    Path(f"told-{args.process_index}-of-{args.world_size}.json").write_text(json.dumps(told))
