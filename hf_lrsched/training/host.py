"""What a running Trainer does that its callbacks can neither see nor change.

One of the files that touch Transformers' internals; the others are `registration`, `trackers` and `lending`. All of them, and
each is pinned by a contract test:

- ``Trainer._load_optimizer_and_scheduler(checkpoint)`` reads the checkpoint's ``scheduler.pt``. A truncated file ends there
  in torch's words, a missing one is passed over in silence, and a state of ours under one of Transformers' own schedules
  ends in ``KeyError: 'lr_lambdas'``. Ours looks first, and compares the steps afterwards; a run that has nothing to do with
  our schedules is left alone.
- ``Trainer.get_batch_samples(epoch_iterator, num_batches, device)`` gets the batches of one update. When a stream has ended
  it returns none, and the loop spins through all updates that are left without a callback; a run resumed at its last step
  trains one step more. Where a callback of ours is in use, ours ends the epoch there (the rest of an accumulation that the
  end has cut is dropped, where Transformers would leave its gradients to the next update), and gets nothing for a finished
  run.
- ``Trainer.training_step(model, inputs, num_items_in_batch)`` returns the loss of a micro-batch, scaled so that those of an
  update add up, and ``Trainer._get_grad_norm(model, grad_norm)`` the gradient's norm before clipping (not in Transformers
  5.0, where it stays unknown). Both are handed to callbacks that have ``saw_loss`` and ``saw_grad_norm``.
- ``Trainer.train`` comes before anything else of a training, and ``Trainer.callback_handler.callbacks`` is the list of
  callbacks. Those that have ``saw_trainer`` are given the Trainer there, on every process; it has no optimizer yet. A range
  test that `hf-lrsched find-lr` asks for is made there.
- ``args.lr_scheduler_type`` of a ``training_args.bin`` that was saved under one of our names is a plain string, so that the
  file opens anywhere; a model card then ends in ``AttributeError: 'str' object has no attribute 'value'``. It is made a
  ``SchedulerType`` again as the training begins.
- For a rescue: ``Trainer._save_checkpoint(model, trial)`` saves, ``on_save`` of the callbacks then hears of it; an exception
  leaves ``is_in_train`` up and the hook of ``neftune_hook_handle`` in place.

Importing this module loads neither torch nor transformers; `mend` is called when ``transformers.trainer`` is imported.
"""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import wrapt

from ..runs.files import FIND_LR

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from collections.abc import Callable


def mend(trainer_module: Any) -> None:
    """Puts ours around those methods of Trainer that it has; twice is the same as once."""
    trainer = trainer_module.Trainer
    for name, wrapper in MENDED.items():
        if name in trainer.__dict__ and not isinstance(trainer.__dict__[name], wrapt.FunctionWrapper):
            wrapt.wrap_function_wrapper(trainer_module, f"Trainer.{name}", wrapper)


def unmend(trainer_module: Any) -> None:
    """Takes ours away again."""
    trainer = trainer_module.Trainer
    for name in MENDED:
        if isinstance(trainer.__dict__.get(name), wrapt.FunctionWrapper):
            setattr(trainer, name, trainer.__dict__[name].__wrapped__)


def _load(wrapped: Callable[..., Any], trainer: Any, args: Any, kwargs: Any) -> Any:
    checkpoint = args[0] if args else kwargs.get("checkpoint")
    if checkpoint is not None:
        _check_files(Path(checkpoint), trainer.lr_scheduler)
    done = wrapped(*args, **kwargs)
    if checkpoint is not None:
        _check_step(Path(checkpoint), trainer)
    return done


def _train(wrapped: Callable[..., Any], trainer: Any, args: Any, kwargs: Any) -> Any:
    from transformers import SchedulerType

    if type(trainer.args.lr_scheduler_type) is str:
        trainer.args.lr_scheduler_type = SchedulerType(trainer.args.lr_scheduler_type)
    if FIND_LR in os.environ and not any(getattr(one, "drives", False) for one in trainer.callback_handler.callbacks):
        from .asked import find_as_asked

        resumed = args[0] if args else kwargs.get("resume_from_checkpoint")
        find_as_asked(trainer, os.environ.pop(FIND_LR), resumed=bool(resumed))
    for callback in list(trainer.callback_handler.callbacks):
        if hasattr(callback, "saw_trainer"):
            callback.saw_trainer(trainer)
    return wrapped(*args, **kwargs)


def _check_files(checkpoint: Path, scheduler: Any) -> None:
    """Refuses a checkpoint that would resume with another schedule step than the run's, or not at all."""
    from .scheduler import ScheduleLR

    ours, file = isinstance(scheduler, ScheduleLR), checkpoint / "scheduler.pt"
    if ours and (not file.is_file() or not _has_optimizer(checkpoint)):
        missing = file.name if not file.is_file() else "optimizer.pt"
        raise ValueError(
            f"{checkpoint} has no {missing}, so the run would go on with a schedule and an optimizer that start anew; was "
            "the save interrupted, or save_only_model on? Resume from a complete checkpoint, or load its weights as the model"
        )
    if ours:
        from .checkpoints import damage

        if found := damage(checkpoint):
            raise ValueError(f"{checkpoint} is damaged: {found}; resume from another checkpoint; nothing was changed")
        scheduler.step_of_run = step_of_run(checkpoint)
    if file.is_file():
        state = _state(file, ours)
        if not ours and isinstance(state, dict) and isinstance(state.get("schedule"), dict) and "phases" in state["schedule"]:
            raise ValueError(
                f"{checkpoint} was written under hf_lrsched's schedule '{state['schedule'].get('name') or 'own'}', and "
                f"{type(scheduler).__name__} cannot read it; resume with lr_scheduler_type set to one of hf_lrsched's"
            )


def _has_optimizer(checkpoint: Path) -> bool:
    """Any of the forms in which plain, FSDP, XLA and DeepSpeed runs save their optimizer."""
    return any(name.startswith(("optimizer", "global_step", "rank")) for name in os.listdir(checkpoint))


def _state(file: Path, ours: bool) -> Any:
    import torch

    try:
        state = torch.load(file, weights_only=True, map_location="cpu")
    except Exception as error:  # torch has no class for a broken file: RuntimeError, EOFError, UnpicklingError, ...
        if not ours:
            return None  # Transformers' own schedule: its own words
        raise ValueError(
            f"{file} cannot be read ({file.stat().st_size} bytes; {_first_line(error)}); was the save interrupted? "
            "Resume from another checkpoint; nothing was changed"
        ) from error
    if ours:
        from .resume import Saved

        try:
            Saved.read(state)
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from error
    return state


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}".rstrip(": ")


def _check_step(checkpoint: Path, trainer: Any) -> None:
    """Refuses a schedule that stands at another step than the run, but for updates that were counted as skipped."""
    from .scheduler import ScheduleLR

    scheduler, steps = trainer.lr_scheduler, step_of_run(checkpoint)
    if not isinstance(scheduler, ScheduleLR) or steps is None:
        return
    behind = steps - scheduler.last_epoch
    may_have_skipped = (checkpoint / "scaler.pt").exists() or trainer.is_deepspeed_enabled  # fp16, with nobody counting
    if behind < 0 or (behind != (scheduler.skipped or 0) and not (scheduler.skipped is None and may_have_skipped)):
        counted = "" if scheduler.skipped is None else f", and {scheduler.skipped} skipped updates were counted"
        raise ValueError(
            f"{checkpoint}: the schedule stands at step {scheduler.last_epoch}, the run at step {steps}{counted}; the files "
            "of this checkpoint do not belong together, so resume from another"
        )


def step_of_run(checkpoint: Path) -> int | None:
    """From the file, as the Trainer's own state is not there yet in Transformers 5.0."""
    try:
        step: int = json.loads((checkpoint / "trainer_state.json").read_text("utf-8"))["global_step"]
    except (OSError, ValueError, KeyError):
        return None
    return step


def _batches(wrapped: Callable[..., Any], trainer: Any, args: Any, kwargs: Any) -> Any:
    callbacks = [one for one in trainer.callback_handler.callbacks if hasattr(one, "on_stream_end")]
    cooldown = _cooldown(trainer.lr_scheduler)
    if not callbacks and cooldown is None:
        return _others(trainer, lambda: wrapped(*args, **kwargs), *wrapped(*args, **kwargs))
    state, control = trainer.state, trainer.control
    if cooldown is not None and state.max_steps > cooldown.end:  # nobody gave it a CooldownCallback this time
        if trainer.is_world_process_zero():
            logger.warning(
                "the cooldown saved in the checkpoint goes on, so the run ends at step %d, not %d; to train on, resume from "
                "checkpoint-%d, where it began, in another output_dir",
                *(cooldown.end, state.max_steps, cooldown.first),
            )
        state.max_steps = cooldown.end
    if state.global_step >= state.max_steps:  # a finished run was resumed: the loop would train one step more
        if cooldown is not None and not control.should_training_stop and trainer.is_world_process_zero():
            logger.warning(
                "this run was over with its cooldown (%s) at step %d; to train on, resume from checkpoint-%d, the branch "
                "point before it, in another output_dir",
                *(cooldown.reason, cooldown.end, cooldown.first),
            )
        control.should_training_stop = True
    if control.should_training_stop:
        return [], None
    wanted = args[1] if len(args) > 1 else kwargs["num_batches"]
    samples, items = wrapped(*args, **kwargs)
    if len(samples) < wanted and not has_length(trainer.callback_handler.train_dataloader):
        control.should_epoch_stop = True  # and not as many empty rounds of the loop as max_steps has left
        for callback in callbacks:
            callback.on_stream_end(trainer.args, state, control, lr_scheduler=trainer.lr_scheduler)
        return [], None
    return _others(trainer, lambda: wrapped(*args, **kwargs), samples, items)


def _others(trainer: Any, draw: Callable[[], tuple[Any, Any]], samples: Any, items: Any) -> tuple[Any, Any]:
    """The batches of the next update, or others where a callback says so; `draw` gives those behind them."""
    for callback in trainer.callback_handler.callbacks:
        if hasattr(callback, "instead"):
            samples, items = callback.instead(trainer.state.global_step + 1, samples, items, draw)
    return samples, items


def _cooldown(scheduler: Any) -> Any:
    """The cooldown that a scheduler of ours is in; others have such a word for other things."""
    from .scheduler import ScheduleLR

    return scheduler.cooldown if isinstance(scheduler, ScheduleLR) else None


def _handing_on(hears: str) -> Callable[..., Any]:
    """Ours around a method whose result goes to the callbacks that have a method called `hears`."""

    def hand_on(wrapped: Callable[..., Any], trainer: Any, args: Any, kwargs: Any) -> Any:
        result = wrapped(*args, **kwargs)
        for callback in trainer.callback_handler.callbacks:
            if hasattr(callback, hears):
                getattr(callback, hears)(result)
        return result

    return hand_on


def save_now(trainer: Any) -> None:
    """Saves a checkpoint between two events; on disk alone, and none goes for it."""
    args = trainer.args
    limit, push, args.save_total_limit, args.push_to_hub = args.save_total_limit, args.push_to_hub, None, False
    try:
        trainer._save_checkpoint(trainer.model, trial=None)
        trainer.control = trainer.callback_handler.on_save(args, trainer.state, trainer.control)
    finally:
        args.save_total_limit, args.push_to_hub = limit, push


def leave(trainer: Any) -> None:
    """Puts right what a training that an exception has left would have put right at its end."""
    trainer.is_in_train = False
    if trainer.neftune_noise_alpha is not None and getattr(trainer, "neftune_hook_handle", None) is not None:
        trainer.neftune_hook_handle.remove()  # it is put in again by the next train()


def has_length(loader: Any) -> bool:
    """Whether the loader knows how many batches it has."""
    try:
        return loader is not None and len(loader) is not None
    except TypeError:
        return False


MENDED = {
    "train": _train,
    "_load_optimizer_and_scheduler": _load,
    "get_batch_samples": _batches,
    "training_step": _handing_on("saw_loss"),
    "_get_grad_norm": _handing_on("saw_grad_norm"),
}
