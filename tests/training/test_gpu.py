"""What only a GPU has: a GradScaler that skips updates whose gradients overflow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from hf_lrsched import Checkpoints, last_complete, wsd

from .test_trainer import PEAK, Tiny, trainer, watch

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="a GradScaler scales on a GPU alone, and there is none")


class Overflowing(Tiny):
    """Its gradients overflow in the forward passes that are named."""

    def __init__(self, at: set[int]) -> None:
        super().__init__()
        self.at, self.passes = at, 0

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        self.passes += 1
        loss = super().forward(x, labels)["loss"]
        return {"loss": loss * float("inf") if self.passes in self.at else loss}


def test_updates_that_a_grad_scaler_skips_do_not_advance_the_schedule(tmp_path: Path) -> None:
    words: dict[str, Any] = {"use_cpu": False, "fp16": True, "save_strategy": "steps", "save_steps": 10}
    made = trainer(tmp_path, "wsd", model=Overflowing({4, 7}), **words)
    made.add_callback(Checkpoints())
    made.train()
    assert made.lr_scheduler.last_epoch == 18
    assert made.lr_scheduler.skipped == 2
    expected = wsd(20).lrs(20, PEAK).tolist()
    assert [lrs[0] for lrs in watch(made).lrs][:8] == pytest.approx([*expected[:4], expected[3], *expected[4:6], expected[5]])
    again = trainer(tmp_path / "again", "wsd", model=Overflowing(set()), **words)
    again.add_callback(Checkpoints())
    again.train(resume_from_checkpoint=last_complete(tmp_path))
    assert again.lr_scheduler.skipped == 2
