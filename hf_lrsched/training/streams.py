"""A stream whose end is known before it comes: `HeldBack`.

What it does not know: what happens then (`cooldown`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch.utils.data import IterableDataset

from ..schedules.checks import whole


class HeldBack(IterableDataset[Any]):
    """Any stream of examples, read `examples` ahead, so that its end is seen while so many are still to come.

    Args:
        stream: a data set that is iterated over; its ``set_epoch`` is passed on.
        examples: how many to hold back, in memory: the decay's steps times the examples in an optimizer step over all
            processes; with several processes 10 steps' more, as they look at each other every 10 steps.

    TRL's trainers check the type of what they are given; set ``trainer.train_dataset = HeldBack(trainer.train_dataset, n)``
    behind them.

    With `CooldownCallback` the decay starts when the stream's end is seen, and runs on what was held back:

    >>> from datasets import IterableDataset as Stream
    >>> held = HeldBack(Stream.from_generator(lambda: ({"x": i} for i in range(5))), examples=2)
    >>> [(example["x"], held.ended) for example in held]
    [(0, False), (1, False), (2, False), (3, True), (4, True)]

    Raises:
        ValueError: where `examples` is not a whole number of 1 or more.
    """

    def __init__(self, stream: Iterable[Any], examples: int) -> None:
        self.stream = stream
        self.examples = whole("examples", examples)
        # In shared memory, as the stream may be read in a worker process of the loader.
        self._ended = torch.zeros(1, dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]  # torch's own gap

    def begin(self) -> None:
        """Training begins: an end that an earlier one has seen says nothing."""
        self._ended.zero_()

    @property
    def ended(self) -> bool:
        """Whether the stream's end has been seen, in this pass or an earlier one."""
        return bool(self._ended.item())

    def __iter__(self) -> Iterator[Any]:
        """The examples, in their order."""
        ahead: deque[Any] = deque()
        for example in self.stream:
            ahead.append(example)
            if len(ahead) > self.examples:
                yield ahead.popleft()
        self._ended.fill_(1)
        yield from ahead

    def set_epoch(self, epoch: int) -> None:
        """Passed on to the stream."""
        if hasattr(self.stream, "set_epoch"):
            self.stream.set_epoch(epoch)


def held_back_in(loader: Any) -> HeldBack | None:
    """The `HeldBack` that `loader` reads, inside whatever Trainer and accelerate have put around it."""
    data = getattr(loader, "dataset", None)
    while data is not None and not isinstance(data, HeldBack):
        data = getattr(data, "dataset", None)
    return data
