"""What the tests here share."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def _imported_is_no_garbage() -> Iterator[None]:
    """Trainer collects garbage whenever it starts, which takes ten times as long as a run here: all of it imported code."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
