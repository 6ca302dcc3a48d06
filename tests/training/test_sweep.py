"""find_lr on real Trainers: what it finds, what it refuses, and on two processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path


def test_two_processes_find_the_same_and_then_train_as_without(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.training.two_processes", str(tmp_path), "found"],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    first, second = (json.loads((tmp_path / f"found-{rank}.json").read_text()) for rank in (0, 1))
    assert first["processes"] == second["processes"] == 2
    assert first["result"] == second["result"]
    assert first["result"]["probes"]
    for told in (first, second):
        assert told["test"] == told["nothing"]
        assert told["test"]["wrapped"] == ["DistributedDataParallel"]
    assert first["test"]["weights"] == second["test"]["weights"]
