from __future__ import annotations

import sys
from pathlib import Path

import pytest
from PIL import Image

from hf_lrsched import repeat, rise, wsd
from hf_lrsched.show.plot import lr_and_loss, thumbnail

LOGS = [{"step": i, "loss": 5.0 - i / 50, "learning_rate": wsd(100).lr(i, 1e-3)} for i in range(1, 101)]


def test_the_picture_shows_lr_and_loss_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    file = lr_and_loss([{"step": 0, "eval_loss": 5.0}, *LOGS, {"step": 100, "eval_loss": 3.0}], tmp_path / "a.png", wsd(100))
    assert file == tmp_path / "a.png"
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    with Image.open(file) as picture:
        assert picture.size == (1040, 650)
        colours = {colour for _, colour in picture.convert("RGB").getcolors(maxcolors=1 << 24) or []}
    assert {(0, 114, 178), (213, 94, 0)} <= colours  # the curve of the LR and that of the held-out loss


def test_a_history_without_losses_and_a_schedule_of_many_phases_are_drawn(tmp_path: Path) -> None:
    assert lr_and_loss([], tmp_path / "empty.svg", repeat(rise(1), 100)).stat().st_size > 1000


def test_the_same_thumbnail_is_the_same_file(tmp_path: Path) -> None:
    first = thumbnail(wsd(100), tmp_path / "a.svg").read_bytes()
    assert b"<svg" in first
    assert first == thumbnail(wsd(100), tmp_path / "b.svg").read_bytes()


def test_without_matplotlib_the_error_names_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'hf-lrsched\[plot\]'"):
        lr_and_loss(LOGS, tmp_path / "a.png")
