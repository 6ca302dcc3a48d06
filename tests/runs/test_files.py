from __future__ import annotations

import json
from pathlib import Path

import pytest

from hf_lrsched.runs.files import MANIFEST, checkpoints


@pytest.mark.parametrize(
    ("manifest", "kept"), [('{"kept": true}', True), ("{}", False), ("[1]", False), ("{", False), (None, False)]
)
def test_checkpoints_are_listed_by_step(manifest: str | None, kept: bool, tmp_path: Path) -> None:
    for name in ("checkpoint-10", "checkpoint-9", "checkpoint-x", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "checkpoint-11").write_text("a file")
    if manifest is not None:
        (tmp_path / "checkpoint-10" / MANIFEST).write_text(manifest)
    (tmp_path / "checkpoint-9" / MANIFEST).write_text(json.dumps({"kept": False}))
    assert [(one.step, one.folder.name, one.kept) for one in checkpoints(tmp_path)] == [
        (9, "checkpoint-9", False),
        (10, "checkpoint-10", kept),
    ]
