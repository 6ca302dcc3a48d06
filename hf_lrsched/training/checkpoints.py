"""Which checkpoints of a run are complete, which are kept, and how many updates moved no weights.

Transformers writes a checkpoint file by file, takes the newest folder for the one to resume from, half-written or not, and
deletes older ones before the newest is known to be whole. `Checkpoints` writes a manifest into each checkpoint once all
processes have written theirs; `last_complete` goes by it.

What it does not know: what a checkpoint is for (`branches`, `cooldown` and `snapshots` say which to keep).
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.utils import gather_object
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ..runs.files import MANIFEST, RUN, checkpoints, is_kept
from .scheduler import ScheduleLR
from .together import agreed

logger = logging.getLogger(__name__)


def last_complete(run: str | os.PathLike[str], before: int | None = None) -> str | None:
    """The newest complete checkpoint in the folder `run`, by step; None where there is none.

    Args:
        run: a folder of ``checkpoint-N`` folders.
        before: take one of an earlier step than this.

    Complete is one whose manifest lists files that are all there, in the sizes they were written with. In a run without
    manifests (`Checkpoints` was not in use) it is one that has its ``trainer_state.json``, which Transformers writes last.

    >>> last_complete("no/such/folder") is None
    True
    """
    found = [(one.step, one.folder) for one in reversed(checkpoints(run))]
    sealed = (Path(run) / RUN).exists() or any((folder / MANIFEST).exists() for _, folder in found)
    whole = is_complete if sealed else _seems_complete
    last = next((str(folder) for step, folder in found if whole(folder) and (before is None or step < before)), None)
    if last is None and found and before is None:
        logger.warning("none of the %d checkpoints in %s is complete, so a run there would start anew", len(found), run)
    return last


def is_complete(checkpoint: str | os.PathLike[str]) -> bool:
    """Whether the manifest of `checkpoint` is there and agrees with its files."""
    return _sizes(Path(checkpoint)) is not None and not damage(checkpoint)


def damage(checkpoint: str | os.PathLike[str]) -> str:
    """What is not as the manifest of `checkpoint` says, in words; "" where all is, or there is no manifest."""
    folder = Path(checkpoint)
    for name, size in (_sizes(folder) or {}).items():
        if not (folder / name).is_file():
            return f"{name} is missing"
        if (there := (folder / name).stat().st_size) != size:
            return f"{name} has {there} bytes where {size} were written"
    return ""


def _sizes(folder: Path) -> dict[str, int] | None:
    try:
        sizes = json.loads((folder / MANIFEST).read_text("utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return sizes if isinstance(sizes, dict) else None


def seal(checkpoint: str | os.PathLike[str], *, kept: bool = False) -> None:
    """Writes the manifest of a checkpoint that is whole; one that is `kept` is never deleted by `Checkpoints`."""
    folder = Path(checkpoint)
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != MANIFEST]
    sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}
    write(folder / MANIFEST, json.dumps({"kept": kept, "files": sizes}, indent=1))


def remove(checkpoint: Path) -> None:
    """Deletes a checkpoint; its manifest first, so that one that is half deleted is not complete."""
    (checkpoint / MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(checkpoint, ignore_errors=True)


def _announce(file: Path, workers: list[dict[str, Any]], cools_down: bool) -> None:
    try:
        there = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        there = {}
    if there.get("workers") == workers:  # written by another callback of this run
        cools_down = cools_down or there["cools_down"]
    write(file, json.dumps({"cools_down": cools_down, "workers": workers}, indent=1))


def write(path: Path, text: str) -> None:
    """Writes a file beside and moves it into place, so that it is whole or not there."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(text, "utf-8")
    os.replace(beside, path)


def _seems_complete(folder: Path) -> bool:
    try:
        json.loads((folder / "trainer_state.json").read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return True


class Checkpoints(TrainerCallback):
    """Seals every checkpoint, keeps those that others need, and counts skipped updates.

    It takes over ``save_total_limit``: a checkpoint is deleted only when a newer one is complete, never where `keep` wants
    it, and never the best one. Saves are asked for after the steps in `at`.

    Args:
        at: steps after which to save, beside those that TrainingArguments ask for.
        keep: whether the checkpoint of a step must stay; by default those of `at`.

    >>> from transformers import Trainer
    >>> trainer = Trainer(..., callbacks=[Checkpoints(at=[800, 1600])])  # doctest: +SKIP
    >>> trainer.train(resume_from_checkpoint=last_complete("out"))  # doctest: +SKIP
    """

    cools_down = False  # whether a request for a cooldown is looked for
    saves = False  # whether saves are asked for beside those in `at`
    resumes = True  # whether what is saved is there to be resumed from

    def __init__(self, at: Iterable[int] = (), keep: Callable[[int], bool] | None = None) -> None:
        self.at = frozenset(at)
        self.keep = keep or self.at.__contains__
        self._limit: int | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Takes over the limit, and unseals what an earlier run of this folder has left beyond the step resumed from.

        The ids of the processes are written to ``hf_lrsched_run.json``.

        Raises:
            ValueError: where the run would write over checkpoints that are to be kept, or what it saves could not serve.
        """
        run = Path(str(args.output_dir))
        agreed(lambda: self._check_folder(run, state.global_step))
        self._check_saves(args)
        if args.save_total_limit is not None and args.save_total_limit > 0:
            self._limit, args.save_total_limit = args.save_total_limit, None
        scheduler = kwargs.get("lr_scheduler")
        if isinstance(scheduler, ScheduleLR):
            scheduler.count_skips(state.global_step - scheduler.last_epoch)
        workers = gather_object([{"rank": args.process_index, "pid": os.getpid(), "host": socket.gethostname()}])
        if state.is_world_process_zero:
            run.mkdir(parents=True, exist_ok=True)
            for one in checkpoints(run):
                if one.step > state.global_step:  # will be written again, file by file
                    (one.folder / MANIFEST).unlink(missing_ok=True)
                elif one.step == state.global_step and _sizes(one.folder) is None and _seems_complete(one.folder):
                    seal(one.folder)  # the one that was resumed from, written before this callback was in use
            _announce(run / RUN, workers, self.cools_down)
        return control

    def _check_folder(self, run: Path, step: int) -> None:
        beyond = [one for one in checkpoints(run) if one.step > step]
        kept = [one.folder.name for one in beyond if one.kept and is_complete(one.folder)]
        if kept:
            raise ValueError(
                f"{run} holds {', '.join(kept[:3])}{', ...' if len(kept) > 3 else ''}, which are to be kept, and a run from "
                f"step {step} on would write over them; give another output_dir, resume from the last of them, or remove them"
            )

    def _check_saves(self, args: TrainingArguments) -> None:
        if not (self.at or self.saves):
            return
        if args.save_strategy == "best":
            raise ValueError(
                f"save_strategy='best' decides after every callback whether to save, so {type(self).__name__} could not save "
                "where it must; take 'steps', 'epoch' or 'no'"
            )
        if args.save_only_model and self.resumes:
            raise ValueError(
                f"save_only_model leaves the optimizer out, so nothing could go on from what {type(self).__name__} saves; "
                "set it to False"
            )

    def on_optimizer_step(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Counts an update that an overflow skipped: the schedule does not advance then, the run's step does."""
        if getattr(kwargs.get("optimizer"), "step_was_skipped", False) and isinstance(kwargs["lr_scheduler"], ScheduleLR):
            kwargs["lr_scheduler"].note_skip(state.global_step)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Asks for a save at the steps that were named."""
        if state.global_step in self.at:
            control.should_save = True
        return control

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Seals the checkpoint when all processes have written theirs, and then deletes the oldest ones."""
        PartialState().wait_for_everyone()
        if state.is_world_process_zero:
            run = Path(str(args.output_dir))
            folder = run / f"checkpoint-{state.global_step}"
            if not folder.is_dir():  # a trial of a hyper-parameter search saves elsewhere, and is not resumed
                return
            seal(folder, kept=self.keep(state.global_step) or is_kept(folder))  # another of this class may want it
            self._rotate(run, state)

    def on_stream_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """A stream that ends starts again, as under Transformers; see `host`."""

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Gives the limit back."""
        if self._limit is not None:
            args.save_total_limit, self._limit = self._limit, None

    def _rotate(self, run: Path, state: TrainerState) -> None:
        if self._limit is None:
            return
        best = Path(state.best_model_checkpoint).name if state.best_model_checkpoint else None
        needed = {f"checkpoint-{state.global_step}", best}
        ordinary = [one.folder for one in checkpoints(run) if one.step <= state.global_step and not one.kept]
        for folder in ordinary[: max(len(ordinary) - self._limit, 0)]:
            if folder.name not in needed:
                remove(folder)
