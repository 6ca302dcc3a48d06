"""What the processes of a distributed run decide together: the first one for all, or any one for all.

What it does not know: what is decided. Every function here must be called on all processes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object, reduce

T = TypeVar("T")


def agreed(decide: Callable[[], T]) -> T:
    """What `decide` returns on the first process, on all; it is called on that one alone.

    >>> agreed(lambda: 3)
    3
    """
    state = PartialState()
    if state.num_processes == 1:
        return decide()
    told: list[T | str | None] = [None, None]
    if state.is_main_process:
        try:
            told = [decide(), None]
        except ValueError as error:  # all must hear of it, or the others would wait for ever
            told = [None, str(error)]
    broadcast_object_list(told)
    if told[1] is not None:
        raise ValueError(told[1])
    return told[0]  # type: ignore[return-value]  # the one that decide returned


def first_said(reason: str | None) -> str | None:
    """What any process says; None where none says anything. One number is exchanged where there is nothing to tell."""
    state = PartialState()
    if state.num_processes == 1:
        return reason
    any_said = reduce(torch.tensor([float(reason is not None)], device=state.device), "sum")
    if not any_said.item():
        return None
    told: list[str | None] = gather_object([reason])
    return next(said for said in told if said is not None)
