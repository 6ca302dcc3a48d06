"""A Trainer lent to one callback of ours, for a range test, and what has to be put back afterwards.

Transformers' internals that it touches; tests/training/test_restoring.py holds all of it, on the oldest Transformers as well:
``Trainer.create_scheduler`` is called where ``lr_scheduler`` is None, also one of the instance's own;
``callback_handler.callbacks`` alone is told of events, and ends a run by ``control.should_training_stop``; what a training
changes beside model, optimizer and data are the attributes of the Trainer, its ``args``, ``state``, ``control``,
``callback_handler`` and ``accelerator``, and accelerate's ``GradientState``; ``is_in_train`` says that one goes on,
``is_deepspeed_enabled`` and ``is_fsdp_enabled`` that the weights are spread over processes.

Importing this module loads neither torch nor transformers.
"""

from __future__ import annotations

import copy
from typing import Any


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
