"""The learning rate in the model card that a Trainer writes, and ``lr_schedule.json`` beside it: `LRCard`.

Trainer writes its card when it is asked to and whenever it pushes, which is after ``on_train_end``; TRL's trainers write
another one, at every save. Both, and anybody's own, are ``create_model_card`` of the Trainer that runs, so that is where the
section is put in.

What it does not know: what the section looks like and how it is read (`show.section`, `show.card`).
"""

from __future__ import annotations

import functools
import json
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from enum import Enum
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_pt_utils import AcceleratorConfig

from ..runs.files import PICTURE
from ..schedules.lengths import Horizon
from ..schedules.schedule import Schedule
from .checkpoints import write
from .registration import planned
from .scheduler import ScheduleLR

logger = logging.getLogger(__name__)

# In a card whether they are as their class has them or not: a default may change, and the run stays what it was.
_ALWAYS = (
    "learning_rate", "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps", "max_steps", "num_train_epochs",
    "per_device_train_batch_size", "gradient_accumulation_steps", "optim", "optim_args", "adam_beta1", "adam_beta2",
    "adam_epsilon", "weight_decay", "max_grad_norm", "seed",
)  # fmt: skip


class LRCard(TrainerCallback):
    """Puts the learning rate into the model card: picture, table, schedule as JSON, and the exact TrainingArguments.

    The section comes into every card that the Trainer writes, and leaves the rest of it as it is. ``lr_schedule.json`` is
    written beside the card, and at the end of training. `from_card` reads either. Where ``lr_and_loss.png`` lies in the
    folder it is shown, else a sparkline.

    Tokens, paths, addresses, and where the run is logged and pushed are never in it.

    >>> from transformers import Trainer, TrainingArguments
    >>> trainer = Trainer(..., callbacks=[LRCard()])  # doctest: +SKIP
    >>> trainer.train()  # doctest: +SKIP
    >>> trainer.create_model_card()  # doctest: +SKIP
    >>> TrainingArguments("again", **from_card("out").arguments)  # doctest: +SKIP
    """

    def __init__(self) -> None:
        self._trainer: Any = None  # on the first process, once it trains
        self._groups: dict[str, Any] = {}
        self._arguments: dict[str, Any] = {}

    def saw_trainer(self, trainer: Any) -> None:
        """A training begins: what it was given is noted, as callbacks may change it while it runs."""
        if not trainer.is_world_process_zero():
            return
        self._trainer = trainer
        self._arguments = told(trainer.args)
        if not isinstance(vars(trainer).get("create_model_card"), _WithSection):
            trainer.create_model_card = _WithSection(trainer, trainer.create_model_card)

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """The optimizer is there: notes what its groups have. A trial of a search has its own arguments only now."""
        self._groups = _groups(kwargs["optimizer"])
        if self._trainer is not None and state.is_hyper_param_search:
            self._arguments = told(args)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Writes ``lr_schedule.json``, and brings the card up to date where it has the section already."""
        if self._trainer is not None:
            self.publish(new=False)
        elif state.is_world_process_zero:
            logger.warning(
                "LRCard was not shown its Trainer, so there is no card; call hf_lrsched.register() before training"
            )

    def card(self) -> Any:
        """What the run has followed up to now, as a `Card`.

        Raises:
            RuntimeError: before training.
        """
        from ..show.card import Card

        if self._trainer is None or not self._groups:
            raise RuntimeError("LRCard knows a run only once it trains, on its first process; call trainer.train() first")
        trainer = self._trainer
        scheduler, peaks, known = trainer.lr_scheduler, self._groups["peaks"], self._arguments
        if _lowered(trainer.state, peaks):
            known = {**known, "arguments": {**known["arguments"], "learning_rate": peaks[0]}}
        return Card(
            scheduler.schedule if isinstance(scheduler, ScheduleLR) else None,
            **known,
            **self._groups,
            steps=trainer.state.global_step,
            processes=trainer.args.world_size * max(1, trainer.args.n_gpu),
            final=_last(trainer.state.log_history),
            notes=tuple(_notes(trainer, self._groups["peaks"])),
        )

    def publish(self, *, new: bool) -> None:
        """Writes what is known now; with `new` also into a card that has no section yet."""
        from ..show.card import FILE, README, has_section, with_section
        from ..show.section import section

        folder = Path(str(self._trainer.args.output_dir))
        try:
            card = self.card()
            folder.mkdir(parents=True, exist_ok=True)
            write(folder / FILE, json.dumps(card.to_json(), indent=1, allow_nan=False) + "\n")
            readme = folder / README
            before = readme.read_bytes().decode() if readme.is_file() else ""
            if readme.is_file() and (new or has_section(before)):
                after = with_section(before, section(card, PICTURE if (folder / PICTURE).is_file() else None))
                _write_as_it_is(readme, after)
        except (OSError, ValueError) as error:  # a card is no reason to lose a run at its end
            logger.warning("the learning rate is not in the model card in %s: %s", folder, error)


class _WithSection:
    """A Trainer's ``create_model_card``, with the section put in afterwards by the `LRCard` that the Trainer has then."""

    def __init__(self, trainer: Any, write_card: Callable[..., Any]) -> None:
        functools.update_wrapper(self, write_card)
        self._trainer, self._write_card = trainer, write_card

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        written = self._write_card(*args, **kwargs)
        for callback in self._trainer.callback_handler.callbacks:
            if isinstance(callback, LRCard):
                callback.publish(new=True)
                break
        return written


def _write_as_it_is(path: Path, text: str) -> None:
    """`write`, with every line ending as it was: they are the card's, not the system's."""
    beside = path.with_name(f".{path.name}.hf_lrsched")
    beside.write_bytes(text.encode())
    beside.replace(path)


# What a Trainer was given


def told(args: TrainingArguments) -> dict[str, Any]:
    """The arguments of a run that a card holds: ``arguments``, ``arguments_class`` and the names ``left_out``.

    >>> known = told(TrainingArguments("out", learning_rate=1e-3, hub_token="secret", use_cpu=True))
    >>> known["arguments_class"], known["arguments"]["learning_rate"], "hub_token" in known["arguments"], known["left_out"]
    ('transformers.TrainingArguments', 0.001, False, ())
    """
    from ..show.privacy import plumbing, unfit

    kind, where = _public_class(type(args))
    defaults = _defaults(kind, args)
    arguments, left_out = {}, []
    given = {one.name for one in fields(args) if one.init and not plumbing(one.name)}
    for name in [*_ALWAYS, *sorted(given - {*_ALWAYS})]:
        if name not in given or (name in _MIRRORED and "activation_checkpointing" in given):
            continue
        try:
            value = _plain(getattr(args, name))
            if name not in _ALWAYS and name in defaults and value == defaults[name]:
                continue
            if name not in defaults or unfit(name, value):
                raise ValueError(name)
        except ValueError:
            left_out.append(name)
        else:
            arguments[name] = value
    return {"arguments": arguments, "arguments_class": where, "left_out": tuple(left_out)}


_MIRRORED = ("gradient_checkpointing", "gradient_checkpointing_kwargs")  # old names of activation_checkpointing


def _public_class(kind: type) -> tuple[type, str]:
    """The class itself, or what it is built on, that others can import from transformers or trl by its name."""
    import sys

    for one in kind.__mro__:
        package = sys.modules.get(one.__module__.split(".")[0])
        if one.__module__.startswith(("transformers.", "trl.")) and getattr(package, one.__name__, None) is one:
            return one, f"{one.__module__.split('.')[0]}.{one.__name__}"
    return TrainingArguments, "transformers.TrainingArguments"


def _defaults(kind: Any, args: TrainingArguments) -> dict[str, Any]:
    """What each argument is where nobody gives it: its field's default, as ``__post_init__`` leaves it."""
    found: dict[str, Any] = {}
    for one in fields(kind):
        default = one.default if one.default_factory is MISSING else one.default_factory()
        if one.init and default is not MISSING:
            found[one.name] = _plain(default)
    if found.get("activation_checkpointing", 0) is None:
        found["activation_checkpointing"] = found.get("gradient_checkpointing") or False
    if found.get("accelerator_config", 0) is None:
        found["accelerator_config"] = _plain(AcceleratorConfig())
    if args.use_cpu:
        found["dataloader_pin_memory"] = False
    found["debug"] = []
    if not getattr(args, "fsdp", None):  # Transformers 5.0 fills both in
        found |= {name: _plain(getattr(args, name)) for name in ("fsdp", "fsdp_config") if name in found}
    return found


def _plain(value: Any) -> Any:
    """`value` in JSON types.

    Raises:
        ValueError: where it has none.
    """
    if isinstance(value, Enum):
        return _plain(value.value)
    for kind in (bool, str, int, float):
        if isinstance(value, kind):
            return kind(value)
    if value is None:
        return None
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, AcceleratorConfig):
        return {key: _plain(inner) for key, inner in vars(value).items() if key != "use_configured_state"}  # used up by then
    raise ValueError(f"{type(value).__name__} is no JSON type")


def _groups(optimizer: Any) -> dict[str, Any]:
    groups = optimizer.param_groups
    return {
        "peaks": tuple(float(group.get("initial_lr", group["lr"])) for group in groups),
        "groups": tuple(str(group.get("name", i)) for i, group in enumerate(groups)),
        "weight_decays": tuple(float(group.get("weight_decay", 0.0)) for group in groups),
        "optimizer": type(getattr(optimizer, "optimizer", optimizer)).__name__,  # inside accelerate's wrapper
    }


# What it did


def _last(log: list[dict[str, Any]]) -> dict[str, float]:
    """The last of each loss in a Trainer's log that is a number."""
    found = {}
    for key, name in {"loss": "last_loss", "eval_loss": "held_out_loss"}.items():
        losses = [float(line[key]) for line in log if key in line]
        if losses and math.isfinite(losses[-1]):
            found[name] = losses[-1]
    return found


def _lowered(state: Any, peaks: tuple[float, ...]) -> bool:
    """Whether a rescue (`rescue`) has lowered the one peak of all groups, which learning_rate then gives."""
    return len(set(peaks)) == 1 and any(line.get("kind") == "rescue" for line in state.log_history)


def _notes(trainer: Any, peaks: tuple[float, ...]) -> list[str]:
    """What the arguments alone do not give."""
    args, scheduler, state = trainer.args, trainer.lr_scheduler, trainer.state
    notes = []
    if set(peaks) != {float(args.learning_rate)}:
        shown = ", ".join(f"{peak:g}" for peak in peaks)
        told = f"The parameter groups had peaks of their own ({shown}), which learning_rate alone does not give."
        lowered = f"The run began with learning_rate={args.learning_rate:g}; a rescue lowered it to {shown.split(',')[0]}."
        notes.append(lowered if _lowered(state, peaks) else told)
    batch = state.train_batch_size
    if batch is not None and batch != args.train_batch_size:
        notes.append(f"The batch was {batch} per process, which auto_find_batch_size found, not {args.train_batch_size}.")
    notes += _found(state.log_history)
    if not isinstance(scheduler, ScheduleLR):
        return notes
    if _of_arguments(args, scheduler.planned, max(peaks)) != scheduler.planned:
        notes.append(
            "The arguments alone do not give this schedule: it was handed to the Trainer, or came with a checkpoint."
        )
    if (cooldown := scheduler.cooldown) is not None:
        notes.append(
            f"The decay was started on demand at step {cooldown.first} and took {cooldown.steps} steps; the arguments alone "
            "go on to max_steps."
        )
    return notes


def _found(log: list[dict[str, Any]]) -> list[str]:
    """What `LRWatch` has found and done, as the run's log has it."""
    notes = []
    for line in log:
        if "watch" in line:
            notes.append(f"LRWatch at step {line['step']}: {line['watch']}.")
        elif "finding" in line and line["finding"]["attention"]:
            found = line["finding"]
            notes.append(f"LRWatch at step {line['step']}: {found['title']}, since step {found['since']} ({found['cause']}).")
    return notes


def _of_arguments(args: TrainingArguments, schedule: Schedule, peak: float) -> Schedule | None:
    """The schedule that `args` give a run of as many steps as `schedule` was made for; None where they give none of ours."""
    steps = args.max_steps if args.max_steps > 0 else math.ceil(schedule.total)
    kwargs = args.lr_scheduler_kwargs
    try:
        name = str(_plain(args.lr_scheduler_type))
        run = Horizon(steps, peak=peak if peak > 0 else None)
        return planned(name, run, args.get_warmup_steps(steps), dict(kwargs) if isinstance(kwargs, dict) else {})
    except (ValueError, TypeError):
        return None
