"""A short form of scripts/faults.py: runs that are killed and resumed end as those that were left alone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_killed_runs_end_as_those_left_alone() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts/faults.py"), "--kills", "6", "--kills-of-two", "1"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    counted = re.findall(r"^(\d) process: (\d+) kills .* (\d+) mismatches so far$", done.stdout, flags=re.MULTILINE)
    (one, kills, mismatches), (two, kills_of_two, mismatches_of_two) = counted
    assert (one, two) == ("1", "2")
    assert int(kills) >= 6  # the last run is killed until it ends
    assert int(kills_of_two) >= 1
    assert mismatches == mismatches_of_two == "0"
