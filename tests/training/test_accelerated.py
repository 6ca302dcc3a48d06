"""A schedule in an Accelerate loop steps once an update, whatever shares it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState

from hf_lrsched import prepare, wsd

from .running import two_processes

SCHEDULE = wsd(12, warmup=3, decay=4)
LRS = SCHEDULE.lrs(12, 1e-3).tolist()


@pytest.fixture
def accelerator() -> Iterator[Accelerator]:
    def forget() -> None:
        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()

    forget()
    yield Accelerator(cpu=True, gradient_accumulation_steps=3)
    forget()


def prepared(accelerator: Accelerator) -> tuple[Any, Any]:
    model = torch.nn.Linear(2, 1)
    return accelerator.prepare(model, torch.optim.AdamW(model.parameters(), lr=1e-3))  # type: ignore[no-any-return]  # its own


def updates(accelerator: Accelerator, model: Any, optimizer: Any, scheduler: Any, count: int) -> list[float]:
    seen = []
    for _ in range(3 * count):
        with accelerator.accumulate(model):
            accelerator.backward(model(torch.ones(1, 2)).sum())
            if accelerator.sync_gradients:
                seen.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
    return seen


@pytest.mark.parametrize("by_name", [True, False])
def test_it_steps_once_an_update_and_comes_back(accelerator: Accelerator, tmp_path: Path, by_name: bool) -> None:
    model, optimizer = prepared(accelerator)
    scheduler = (
        prepare(accelerator, optimizer, "wsd", 12, warmup=3, decay=4)
        if by_name
        else prepare(accelerator, optimizer.optimizer, SCHEDULE)
    )
    assert updates(accelerator, model, optimizer, scheduler, 5) == LRS[:5]
    accelerator.save_state(str(tmp_path))
    assert updates(accelerator, model, optimizer, scheduler, 7) == LRS[5:]
    accelerator.load_state(str(tmp_path))
    assert updates(accelerator, model, optimizer, scheduler, 7) == LRS[5:]


def test_an_update_that_was_skipped_is_no_step(accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch) -> None:
    model, optimizer = prepared(accelerator)
    scheduler = prepare(accelerator, optimizer, SCHEDULE)
    monkeypatch.setattr(type(optimizer), "step_was_skipped", True)
    assert updates(accelerator, model, optimizer, scheduler, 3) == LRS[:1] * 3
    monkeypatch.undo()
    assert updates(accelerator, model, optimizer, scheduler, 3) == LRS[:3]


def test_what_cannot_be_prepared_is_said(accelerator: Accelerator) -> None:
    model = torch.nn.Linear(2, 1)
    with pytest.raises(ValueError, match="this accelerator has not prepared the optimizer"):
        prepare(accelerator, torch.optim.AdamW(model.parameters()), SCHEDULE)
    _, optimizer = prepared(accelerator)
    with pytest.raises(ValueError, match="'wsd' is a name, and a name needs steps="):
        prepare(accelerator, optimizer, "wsd")
    with pytest.raises(ValueError, match="go with a schedule's name"):
        prepare(accelerator, optimizer, SCHEDULE, 12)


def test_two_processes_step_once_an_update_with_batches_split_or_not(tmp_path: Path) -> None:
    two_processes(tmp_path, "loop", "loop-split")
    for case in ("loop", "loop-split"):
        for rank in (0, 1):
            told = json.loads((tmp_path / f"{case}-{rank}.json").read_text())
            assert told["processes"] == 2
            assert told["first"] == LRS[:6]
            assert told["onward"] == told["again"] == LRS[6:]
