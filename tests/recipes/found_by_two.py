"""Each recipe with --find_lr in two processes, which write what only their inside can tell; started by test_find_lr.py.

`python -m tests.recipes.found_by_two FOLDER`, with the demo's model under FOLDER/runs.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
from pathlib import Path

import torch

from tests.training.forked import in_two

from .conftest import RECIPES
from .test_find_lr import ARGUMENTS, at_a_long_budget


def find(script: str, rank: int) -> None:
    """Runs the recipe in this process."""
    sys.argv = [script, *ARGUMENTS[script], "--find_lr", "True", "--output_dir", f"two/{Path(script).stem}"]
    at_a_long_budget()
    ran = runpy.run_path(str(RECIPES / script))
    trainer = ran["trainer"]
    told = {
        "processes": trainer.args.world_size,
        "peak": trainer.args.learning_rate,
        "steps": trainer.state.global_step,
        "weights": float(sum(weight.double().abs().sum() for weight in trainer.model.parameters())),
    }
    Path(f"told-{Path(script).stem}-{rank}.json").write_text(json.dumps(told))


if __name__ == "__main__":
    torch.set_num_threads(1)
    os.chdir(sys.argv[1])
    sys.path.insert(0, str(RECIPES))
    for each in ARGUMENTS:
        in_two(each, lambda rank, script=each: find(script, rank))  # type: ignore[misc]  # a default binds it
