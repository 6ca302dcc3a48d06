"""A training that goes back to a good checkpoint where it diverges, and on from there under a lower peak: `train`.

A callback cannot rewind Trainer's loop, whose length is fixed: set back from step 15 to 10, a run of 20 ended at 15. So the
training is left and entered again.

What it does not know: whether a run diverges (`watch`), which checkpoint is good (`rescued`), and how a training is held to
what was decided (`course`).
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..runs.diagnosis import Finding
from ..schedules.lengths import default_warmup
from . import host
from .checkpoints import Checkpoints, last_complete
from .course import Course
from .rescued import Rescued, good, move_aside, record, recorded, set_aside, shown, there
from .resume import expected_change
from .scheduler import ScheduleLR
from .together import agreed
from .watch import Diverged, LRWatch

logger = logging.getLogger(__name__)

LOWER = 1 / 3  # where the evidence carries no factor: the mild end of the guide's "reduce 3 to 10x", as it may be repeated
LEAST = 100.0  # steps of a re-warm where nobody knows how many are left: the guide's least of a warm-up
_CEILING = 10**8  # steps that nobody means: the ceiling of an open-ended run
LOWEST = 0.1  # from the second rescue on, the far end of the same rule
LONGEST = 500  # updates that are not made with their own batches: PaLM skipped 200 to 500 (section 5.1)


def train(
    trainer: Any,
    resume_from_checkpoint: str | bool | None = None,
    *,
    keep_start: bool = True,
    ignore_keys_for_eval: list[str] | None = None,
) -> Any:
    """``trainer.train()`` for a Trainer with ``LRWatch(on_divergence="rescue")`` among its callbacks.

    One with an `LRWatch` that does anything else is trained as ``trainer.train()`` would.

    Where the run diverges it goes back to the last whole checkpoint with finite weights that lies before the fault: a margin
    of a tenth of the steps up to there (4 to 100) before it, if there is one. The checkpoints behind it are moved into a
    folder ``rescued-1`` (2, 3, ...). It goes on to the same ``max_steps``, without the batches that did it where the
    cause is a bad batch, else under the peak times the finding's factor (1/3 where it has none), which the LR reaches in a
    straight rise from near 0 (over `lengths.default_warmup` of the steps that are left, 100 in an open-ended run). After
    ``LRWatch(rescues=3)`` of them, or where there is no checkpoint to go back to, it is stopped.

    Each rescue is told by logging and to the trackers, and is in the Trainer's state, in the file of `LRRecorder`, in the
    card of `LRCard`, and in ``rescues.json`` in the run's folder. A run that is killed and started again by the same script
    goes on under the lowered peak; if another peak is configured by then, that one counts. Processes decide together.
    A training that is left has no ``on_train_end``: callbacks hear ``on_train_begin`` again, and trackers stay open.

    Args:
        trainer: any `transformers.Trainer`, under DDP, on one device or on a CPU.
        resume_from_checkpoint: a checkpoint, or True for the last whole one in the run's folder.
        keep_start: whether ``checkpoint-0`` is saved before the first step, for a run that diverges before its first
            checkpoint, as two thirds of those that diverge at all do within 50 steps. It is one more checkpoint on disk.
        ignore_keys_for_eval: as Trainer's.

    Returns:
        what ``trainer.train()`` returns, of the part of the run since it last went back.

    >>> from hf_lrsched import LRWatch, train
    >>> trainer = Trainer(..., callbacks=[LRWatch(on_divergence="rescue")])  # doctest: +SKIP
    >>> train(trainer)  # doctest: +SKIP

    Raises:
        ValueError: before anything is spent: without an `LRWatch`; for a rescue under FSDP and DeepSpeed, where checkpoints
            cannot be gone back to, and for a schedule whose peak cannot be lowered.
    """
    watch = _watch(trainer)
    if watch is None:
        return trainer.train(resume_from_checkpoint, ignore_keys_for_eval=ignore_keys_for_eval)
    _check(trainer, keep_start)
    checkpoint = _checkpoint(trainer, resume_from_checkpoint)
    return _Rescuing(trainer, watch, checkpoint, keep_start).train(ignore_keys_for_eval)


def _watch(trainer: Any) -> LRWatch | None:
    """The one that rescues; None where there is one that does something else."""
    watches = [one for one in trainer.callback_handler.callbacks if isinstance(one, LRWatch)]
    if not watches:
        raise ValueError(
            "hf_lrsched.train rescues a run that diverges, which LRWatch(on_divergence='rescue') has to tell it; add that to "
            "the Trainer's callbacks, or call trainer.train()"
        )
    return next((one for one in watches if one.on_divergence == "rescue"), None)


def _check(trainer: Any, keep_start: bool) -> None:
    """Refuses what could not be gone back to."""
    args = trainer.args
    for enabled, name in ((trainer.is_deepspeed_enabled, "DeepSpeed"), (trainer.is_fsdp_enabled, "FSDP")):
        if enabled:
            raise ValueError(
                f"under {name} each process holds a part of the weights, and going back without a new start is not proven "
                "there; take LRWatch(on_divergence='stop') with trainer.train(), and resume with a lower learning_rate"
            )
    if args.save_only_model:
        raise ValueError("save_only_model leaves the optimizer out, so no checkpoint could be gone back to; set it to False")
    limits = [args.save_total_limit, *(one._limit for one in _sealing(trainer))]
    if 1 in limits:
        raise ValueError(
            "save_total_limit=1 keeps only the newest checkpoint, which may lie behind the fault; give 2 or more"
        )
    if not keep_start and args.save_strategy == "no" and not any(one.at or one.saves for one in _sealing(trainer)):
        raise ValueError(
            "nothing is saved (save_strategy='no', keep_start=False), so there would be nothing to go back to; set "
            "save_strategy='steps', or keep the start"
        )


def _sealing(trainer: Any) -> list[Checkpoints]:
    return [one for one in trainer.callback_handler.callbacks if isinstance(one, Checkpoints)]


def _checkpoint(trainer: Any, asked: str | bool | None) -> str | None:
    if asked is not True:
        return str(asked) if asked else None
    found = agreed(lambda: last_complete(trainer.args.output_dir))
    if found is None:
        raise ValueError(f"there is no complete checkpoint in {trainer.args.output_dir} to resume from")
    return found


class _Rescuing:
    """A training, and the way back."""

    def __init__(self, trainer: Any, watch: LRWatch, checkpoint: str | None, keep_start: bool) -> None:
        self.trainer, self.watch, self.checkpoint = trainer, watch, checkpoint
        self.folder = Path(str(trainer.args.output_dir))
        self.others: dict[int, int] = {}  # on the first process
        known = agreed(self._known)
        rescues = [Rescued.of(words) for words in known]
        self.course = Course(watch, rescues, fresh=False, start=keep_start and checkpoint is None)

    def _known(self) -> list[dict[str, Any]]:
        """The rescues of the run that goes on, on the first process."""
        if self.checkpoint is None or Path(self.checkpoint).resolve().parent != self.folder.resolve():
            set_aside(self.folder)
            self.others = there(self.folder, -1)
            return []
        self.others = there(self.folder, host.step_of_run(Path(self.checkpoint)) or 0)
        return [asdict(one) for one in recorded(self.folder, host.step_of_run(Path(self.checkpoint)) or 0)]

    def train(self, ignore_keys_for_eval: list[str] | None) -> Any:
        """Trains until the run is over, whichever way."""
        with self._in_place():
            while True:
                with contextlib.suppress(Diverged), expected_change() if self._goes_back() else contextlib.nullcontext():
                    return self.trainer.train(self.checkpoint, ignore_keys_for_eval=ignore_keys_for_eval)
                host.leave(self.trainer)
                self.checkpoint = str(self.folder / f"checkpoint-{self.course.rescues[-1].back_to}")

    def _goes_back(self) -> bool:
        """Whether the checkpoint to go on from was written under the peak before the last rescue."""
        rescues, step = self.course.rescues, None if self.checkpoint is None else host.step_of_run(Path(self.checkpoint))
        return bool(rescues) and rescues[-1].back_to == step

    @contextlib.contextmanager
    def _in_place(self) -> Iterator[None]:
        """The Trainer with what a rescue needs; without it again when the training is over."""
        trainer, callbacks = self.trainer, self.trainer.callback_handler.callbacks
        own, create = vars(trainer).get("create_scheduler"), trainer.create_scheduler

        def create_scheduler(*args: Any, **kwargs: Any) -> Any:
            made = create(*args, **kwargs)
            self.course.made(trainer.lr_scheduler, self._goes_back())
            return made

        trainer.create_scheduler, self.watch.rescuer = create_scheduler, self._plan
        callbacks.append(self.course)
        try:
            yield
        finally:
            self.watch.rescuer = None
            callbacks.remove(self.course)
            if own is None:
                del trainer.create_scheduler
            else:
                trainer.create_scheduler = own
            self._as_configured()

    def _as_configured(self) -> None:
        """A later training of the same Trainer begins with the peaks that are configured."""
        if self.trainer.optimizer is not None:
            groups = self.trainer.optimizer.param_groups
            for group, peak in zip(groups, self.course.configured, strict=False):
                group["initial_lr"] = peak

    # Where it diverges

    def _plan(self, finding: Finding) -> str:
        """Decides on a rescue, on all processes; says why there is none where there is none."""
        peaks = tuple(float(lr) for lr in self.trainer.lr_scheduler.base_lrs)
        planned = agreed(lambda: self._tried(finding, peaks))
        if isinstance(planned, str):
            return planned
        self.course.rescues.append(Rescued.of(planned))
        self.course.fresh = True
        return ""

    def _tried(self, finding: Finding, peaks: tuple[float, ...]) -> dict[str, Any] | str:
        try:
            return self._planned(finding, peaks)
        except OSError as error:  # all must hear of it, or the others would wait for ever
            return f"it could not be rescued: {error}"

    def _planned(self, finding: Finding, peaks: tuple[float, ...]) -> dict[str, Any] | str:
        """A rescue, written down, or why there is none; on the first process."""
        state, rescues = self.trainer.state, self.course.rescues
        if len(rescues) >= self.watch.rescues:
            return f"it was rescued {len(rescues)} times already, as often as it may be"
        back_to = good(self.folder, finding, self.others)
        if back_to is None:
            return f"no whole checkpoint with finite weights lies before step {finding.since}; save more often"
        skip = self._to_skip(finding, state.global_step)
        factor = 1.0 if skip is not None else finding.factor or LOWER
        if rescues:  # the rules tell it of the peak that the run began with
            factor = max(factor, LOWEST)
        lower = tuple(peak * factor for peak in peaks)
        if reason := self._floor(lower):
            return reason
        left = state.max_steps - back_to
        rewarm = default_warmup(left) if left < _CEILING else LEAST
        if skip is not None:  # what is left of an earlier one
            rewarm = max(0.0, *(one.back_to + one.rewarm - back_to for one in rescues[-1:]), 0.0)
        words: dict[str, Any] = {"number": len(rescues) + 1, "step": finding.step, "since": finding.since, "back_to": back_to}
        words |= {"configured": self.course.configured, "peaks": lower, "rewarm": rewarm, "skip": skip}
        text = _text(finding, words, peaks, self.watch.rescues, move_aside(self.folder, back_to))
        made = Rescued(**words, text=text)
        record(self.folder, [*rescues, made])
        return asdict(made)

    def _to_skip(self, finding: Finding, step: int) -> tuple[int, int] | None:
        """The updates whose batches did it; None where it was not a batch, or where leaving them out has not helped."""
        tried = any(one.skip is not None and one.skip[0] <= finding.since <= one.skip[1] + 1 for one in self.course.rescues)
        if finding.cause != "bad batch" or tried or self.trainer.args.ignore_data_skip:  # then data come in another order
            return None
        return max(finding.since - 1, 1), min(step, finding.since + LONGEST)

    def _floor(self, peaks: tuple[float, ...]) -> str:
        scheduler = self.trainer.lr_scheduler
        try:
            if isinstance(scheduler, ScheduleLR):
                for peak in peaks:
                    scheduler.planned.check_peak(peak, "the lowered LR")
        except ValueError as error:
            return str(error)
        return ""


def _text(finding: Finding, words: dict[str, Any], before: tuple[float, ...], most: int, aside: str) -> str:
    text = (
        f"rescue {words['number']} of at most {most}: at step {finding.step} {finding.title} (since step {finding.since}, "
        f"likely cause: {finding.cause}), so the run went back to step {words['back_to']}"
    )
    if words["skip"] is not None:
        text += f" and goes on without the batches of steps {words['skip'][0]} to {words['skip'][1]}"
    else:
        text += f" and goes on with its peak lowered from {shown(before)} to {shown(words['peaks'])}"
        text += f", which it reaches in {words['rewarm']:g} steps" if words["rewarm"] else ""
    return f"{text}; the checkpoints behind it are in {aside}" if aside else text
