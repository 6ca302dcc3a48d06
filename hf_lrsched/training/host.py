"""What a running Trainer does that its callbacks can neither see nor change.

One of the three files that touch Transformers' internals; the others are `registration` and `trackers`. All of them,
and each is pinned by a contract test:

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
- For a range test: ``Trainer.create_scheduler`` is called where ``lr_scheduler`` is None, also one of the instance's own;
  ``callback_handler.callbacks`` alone is told of events, and ends a run by ``control.should_training_stop``; what a training
  changes beside model, optimizer and data are the attributes of the Trainer, its ``args``, ``state``, ``control``,
  ``callback_handler`` and ``accelerator``, and accelerate's ``GradientState``; ``is_in_train`` says that one goes on,
  ``is_deepspeed_enabled`` and ``is_fsdp_enabled`` that the weights are spread over processes.
  tests/training/test_restoring.py holds all of it, on the oldest Transformers as well.

Importing this module loads neither torch nor transformers; `mend` is called when ``transformers.trainer`` is imported.
"""

from __future__ import annotations

import copy
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
        scheduler.step_of_run = _step_of_run(checkpoint)
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

    scheduler, steps = trainer.lr_scheduler, _step_of_run(checkpoint)
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


def _step_of_run(checkpoint: Path) -> int | None:
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
        return wrapped(*args, **kwargs)
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


def lend(trainer: Any, callback: Any, steps: int, seed: int | None) -> None:
    """Makes the next ``train()`` one that `callback` alone rules: it sets every learning rate, and ends the run.

    Args:
        trainer: not in training; what is changed here, `belongings` hold.
        callback: the only one that is called.
        steps: more than the run will take.
        seed: for another order of the data, and other dropout, than the Trainer's own.
    """
    from torch.optim.lr_scheduler import LambdaLR
    from transformers import set_seed

    args = trainer.args = copy.copy(trainer.args)
    args.max_steps = steps
    args.eval_on_start = args.load_best_model_at_end = args.push_to_hub = False
    args.logging_nan_inf_filter, args.skip_memory_metrics = False, True
    trainer.callback_handler.callbacks = [callback]
    trainer.lr_scheduler = None

    def create_scheduler(num_training_steps: int, optimizer: Any = None) -> Any:
        trainer.lr_scheduler = LambdaLR(trainer.optimizer if optimizer is None else optimizer, _as_it_is)
        return trainer.lr_scheduler

    trainer.create_scheduler = create_scheduler
    tracker = trainer._memory_tracker = copy.copy(trainer._memory_tracker)
    tracker.skip_memory_metrics = True
    for name in ("log", "save_model", "save_state", "create_model_card", "push_to_hub"):  # also a subclass's own train()
        setattr(trainer, name, _nothing)
    if seed is not None:
        args.seed = args.data_seed = seed
        if getattr(trainer.accelerator.dataloader_config, "data_seed", None) is not None:
            trainer.accelerator.dataloader_config.data_seed = seed
        set_seed(seed)


def _as_it_is(step: int) -> float:
    return 1.0


def _nothing(*args: Any, **kwargs: Any) -> None:
    """In the place of what would leave a trace."""


def belongings(trainer: Any) -> list[dict[str, Any]]:
    """The attributes that a training changes, beside those of model, optimizer, scheduler and data."""
    from accelerate.state import GradientState

    loading = getattr(trainer.accelerator, "dataloader_config", None)
    more = () if loading is None else (loading,)
    return [vars(one) for one in (*machinery(trainer), *more, GradientState(), trainer)]


def machinery(trainer: Any) -> tuple[Any, ...]:
    """What a Trainer runs by, and is no user's."""
    return (trainer.args, trainer.state, trainer.control, trainer.callback_handler, trainer.accelerator)


def why_not_put_back(trainer: Any) -> str:
    """Why the state of `trainer` cannot be kept and put back; empty where it can."""
    if trainer.is_in_train:
        return "the Trainer is training; call find_lr before train(), or after it has returned"
    for enabled, name in ((trainer.is_deepspeed_enabled, "DeepSpeed"), (trainer.is_fsdp_enabled, "FSDP")):
        if enabled:
            return (
                f"under {name} each process holds a part of the weights, and putting them back is not proven there; run "
                "find_lr with DDP or on one GPU (a LoRA sweep, or a smaller model of the same kind)"
            )
    if not any(weight.requires_grad for weight in trainer.model.parameters()) and trainer.model_init is None:
        return "no weight of the model is trainable (requires_grad), so no learning rate can be tested"
    return ""


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
