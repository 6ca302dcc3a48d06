"""The contract, the registration and the range test on the oldest supported Transformers, laid over the same torch."""

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
files = ["contract", "registration", "restoring"]
failed = pytest.main(["-p", "no:cacheprovider", *(f"tests/training/test_{{name}}.py" for name in files)])
import transformers
if transformers.__version__ != "{OLDEST}":
    sys.exit("Transformers is " + transformers.__version__ + ", not {OLDEST}")
sys.exit(failed)
"""


def test_contract_registration_and_range_test_hold_with_the_oldest_transformers() -> None:
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
