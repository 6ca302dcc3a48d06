"""The range test that `hf-lrsched find-lr` asks a script's Trainer for, by the environment.

What it does not know: how a script is started (`cli`), and how the test is made (`sweep`).
"""

from __future__ import annotations

import json
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..runs.range_test import RangeTest
from .sweep import find_lr, is_ours, use_lr


def find_as_asked(trainer: Any, asked: str, *, resumed: bool) -> None:
    """Makes the test, prints the report, and saves result and picture; then ends the script, or trains at what was found.

    Args:
        trainer: as its script calls ``train()``.
        asked: JSON: ``file`` for the result, ``train`` whether to go on, and the arguments of `find_lr`.
        resumed: whether it is to go on from a checkpoint.

    Raises:
        SystemExit: behind the test: 0, or 1 where there is no learning rate; not where the training goes on.
    """
    words = json.loads(asked)
    file, train = Path(words.pop("file")), words.pop("train")
    first = trainer.is_world_process_zero()
    try:
        if (started := int(os.environ.get("WORLD_SIZE", "1"))) != trainer.args.world_size:
            raise ValueError(
                f"{started} processes were started, but this one sees {trainer.args.world_size}, so each would test "
                "alone; on CPUs give the script --use_cpu True"
            )
        if resumed:
            raise ValueError("the script resumes from a checkpoint, and a run that goes on has its learning rate")
        found = find_lr(trainer, **words)
    except ValueError as error:
        if not is_ours(error):
            raise
        if first:
            print(f"error: {error}", file=sys.stderr, flush=True)
        raise SystemExit(1) from None
    if first:
        _show(found, file)
    if found.lr is None and train and first:
        print("nothing was trained, as no learning rate was found", flush=True)
    if found.lr is None or not train:
        raise SystemExit(1 if found.lr is None else 0)
    use_lr(trainer, found)


def _show(found: RangeTest, file: Path) -> None:
    """The report first, so that a disk that is full loses no result."""
    from ..show import plot, text

    print(text.range_test(found), flush=True)
    drawn = find_spec("matplotlib") is not None
    try:
        found.save(file)
        if drawn:
            plot.range_test(found, file.with_suffix(".png"))
    except OSError as error:
        print(f"error: the result could not be written: {error}", file=sys.stderr, flush=True)
        return
    print(f"{file}{' and .png' if drawn else ''}", flush=True)
