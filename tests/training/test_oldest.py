"""The contract and the registration against the oldest supported Transformers, laid over the same torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
OVERLAY = ROOT / ".overlay" / "oldest"
OLDEST = "5.0.0"

PROGRAM = f"""
import sys
import pytest
failed = pytest.main(["-p", "no:cacheprovider", "tests/training/test_contract.py", "tests/training/test_registration.py"])
import transformers
if transformers.__version__ != "{OLDEST}":
    sys.exit("Transformers is " + transformers.__version__ + ", not {OLDEST}")
sys.exit(failed)
"""


def test_the_contract_and_the_registration_hold_with_the_oldest_transformers() -> None:
    assert (OVERLAY / "transformers").is_dir(), f"{OVERLAY.relative_to(ROOT)} is absent: run make test"
    path = os.pathsep.join([str(OVERLAY), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-5_000:]
