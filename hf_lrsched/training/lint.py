"""The linter's rules shown a real run before its first step: `LRPreflight`.

What the rules see here is the same `Configuration` that a file gives, with what only a run knows: its real steps, the data's
size, the processes, the model and its adapters, the optimizer and the scheduler as they are. What it does not know: the task
of a plain Trainer, unless it is told; and whatever a Trainer of somebody's own hides is unknown, never an error.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeVar

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ..advice.lint import RULES, Configuration, Remark, Rule, Setting, judge
from ..advice.lint.document import Document
from ..advice.lint.forms.deepspeed import DeepSpeed
from ..advice.model import read_adapters, read_model
from ..advice.question import TASKS
from ..schedules.catalogue import CATALOGUE
from . import trackers
from .facts import untrained
from .recorder import LRRecorder
from .scheduler import ScheduleLR
from .together import agreed

logger = logging.getLogger(__name__)

T = TypeVar("T")
# Arguments of TrainingArguments that rules look at.
_ARGUMENTS = (
    "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps", "num_train_epochs", "per_device_train_batch_size",
    "gradient_accumulation_steps", "weight_decay", "eval_strategy", "resume_from_checkpoint",
)  # fmt: skip
_OF_A_SCHEDULE = ("lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps")  # unread where the script made its own
# Trainers of TRL 1.16, by what their names begin with.
_TASKS = {
    **dict.fromkeys(("DPO", "KTO", "ORPO", "CPO", "BCO", "XPO", "NashMD"), "preference"),
    **dict.fromkeys(("GRPO", "RLOO", "PPO", "OnlineDPO"), "rl"),
    **dict.fromkeys(("Reward", "PRM"), "reward"),
    "SFT": "sft",
}


class LRPreflight(TrainerCallback):
    """Tells what is wrong with a run before its first step, by the rules of ``hf-lrsched lint``; notes only by ``info``.

    A remark is logged, and put where `LRWatch` puts findings: into the Trainer's ``state.log_history``, the file of
    `LRRecorder` and the trackers that the run reports to. A run that cannot be looked at goes on.

    Args:
        on_error: what is done about an error: ``"warn"`` only tells it, ``"stop"`` ends the training before it begins.
        task: what is trained for, where the Trainer's class does not say it: ``"pretrain"``, ``"continue"``, ``"sft"``,
            ``"preference"``, ``"rl"`` or ``"reward"``.
        ignore: ids or names of rules that are not asked, such as ``"LR003"``.
        rules: by default all of `advice.lint.RULES`.

    >>> from transformers import Trainer
    >>> Trainer(..., callbacks=[LRPreflight(on_error="stop")]).train()  # doctest: +SKIP

    Raises:
        ValueError: for an `on_error` or a `task` that there is none of, and a rule to ignore that is unknown; as training
            begins, where there is an error and ``on_error`` is ``"stop"``.
    """

    def __init__(
        self,
        *,
        on_error: Literal["warn", "stop"] = "warn",
        task: str | None = None,
        ignore: Sequence[str] = (),
        rules: Sequence[type[Rule]] | None = None,
    ) -> None:
        if on_error not in ("warn", "stop"):
            raise ValueError(f"on_error={on_error!r} must be 'warn' or 'stop'")
        if task is not None and task not in TASKS:
            raise ValueError(f"task={task!r} is not known; it is one of {', '.join(TASKS)}")
        chosen = RULES if rules is None else tuple(rules)
        known = {word for rule in (*RULES, *chosen) for word in (rule.id, rule.name)}
        if strange := sorted(set(ignore) - known):
            raise ValueError(f"ignore={strange[0]!r} is no rule; hf-lrsched lint --rules lists them")
        self.on_error, self.task = on_error, task
        self.remarks: list[Remark] = []
        """What was found as training began; on the first process."""
        self._rules = [rule for rule in chosen if not {rule.id, rule.name} & set(ignore)]
        self._trainer: Any = None
        self._told = True  # to the recorder and the trackers

    def saw_trainer(self, trainer: Any) -> None:
        """The Trainer as it begins to train."""
        self._trainer = trainer

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Model, optimizer and scheduler are there: judges the run.

        Raises:
            ValueError: on every process, where there is an error and it is to stop the training.
        """
        if state.is_world_process_zero:
            self.remarks, self._told = self._found(args, state, kwargs), False
            for one in self.remarks:
                level = logging.INFO if one.level == "note" else logging.WARNING
                logger.log(level, "%s (%s, %s): %s", one.level, one.rule, one.name, said(one))
                if one.level != "note":
                    _log(state, one)
        if self.on_error == "stop":
            wrong = agreed(lambda: [(one.rule, said(one)) for one in self.remarks if one.level == "error"])
            if wrong:
                rules = ", ".join(repr(rule) for rule in sorted({rule for rule, _ in wrong}))
                raise ValueError(
                    f"the run is not begun: {'; '.join(sentence for _, sentence in wrong)}. "
                    f"LRPreflight(on_error='warn') would begin it, and ignore=[{rules}] keeps quiet what is meant"
                )

    def _found(self, args: TrainingArguments, state: TrainerState, about: dict[str, Any]) -> list[Remark]:
        try:
            return judge(configuration(args, state, trainer=self._trainer, task=self.task, **about), rules=self._rules)
        except Exception as error:  # whatever a rule or a Trainer does: a look ahead is no reason to lose a run
            logger.warning("the run could not be looked at before it began: %s: %s", type(error).__name__, error)
            return []

    def on_epoch_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """The recorder and the trackers listen by now: tells them, once."""
        if self._told or self._trainer is None:
            return
        self._told = True
        callbacks = self._trainer.callback_handler.callbacks
        recorder = next((one for one in callbacks if isinstance(one, LRRecorder)), None)
        for one in self.remarks:
            if one.level == "note":
                continue
            if recorder is not None:
                recorder.note(state.global_step, "lint", f"{one.rule} {one.name}: {said(one)}")
            try:
                trackers.report_text(self._trainer, f"{one.rule} {one.name}", said(one), attention=one.level == "error")
            except Exception as error:  # whatever a tracker raises: a word to it is no reason to lose a run
                logger.warning("a tracker could not be told what was found: %s", error)


def said(remark: Remark) -> str:
    """A remark in one line, without an end.

    >>> said(Remark("LR001", "x", "error", "1000 of 60 steps", "write 6", source="an issue"))
    '1000 of 60 steps; write 6 (source: an issue)'
    """
    advice = f"; {remark.advice[0].lower()}{remark.advice[1:]}" if remark.advice else ""
    return f"{remark.sentence}{advice}" + (f" (source: {remark.source})" if remark.source else "")


def _log(state: TrainerState, remark: Remark) -> None:
    log: list[Any] = state.log_history
    log.append({"step": state.global_step, "epoch": state.epoch, "lint": remark.to_dict()})


def configuration(
    args: TrainingArguments,
    state: TrainerState,
    *,
    model: Any = None,
    optimizer: Any = None,
    lr_scheduler: Any = None,
    trainer: Any = None,
    task: str | None = None,
    **others: Any,
) -> Configuration:
    """A run that begins, as the linter's rules see a file; what cannot be found out is not in it.

    Args:
        args: the Trainer's.
        state: its ``max_steps`` are the run's.
        model: as the callbacks get it, as are `optimizer` and `lr_scheduler`.
        trainer: for its task, its data and whether it made the scheduler itself.
        task: as for `LRPreflight`; by default what the Trainer's class says.
        others: what else callbacks are given; not looked at.
    """
    bare = getattr(model, "module", model)
    nothing: dict[str, Any] = {}
    adapters = _known(lambda: _of_adapters(bare), nothing)
    values = _values(args, optimizer, lr_scheduler, trainer)
    values |= {name: value for name, value in adapters.items() if name != "peft"}
    values["resume_from_checkpoint"] = values["resume_from_checkpoint"] or bool(state.global_step) or None
    values["model_name_or_path"] = getattr(getattr(bare, "config", None), "_name_or_path", "") or None
    ours = values.get("lr_scheduler_type") in CATALOGUE and values["lr_scheduler_type"] != "constant"
    beside: tuple[Configuration, ...] = ()
    return Configuration.of(
        {name: value for name, value in values.items() if value is not None},
        form="hf_lrsched" if ours else "transformers",
        steps=state.max_steps if state.max_steps > 0 else None,
        task=task or _known(lambda: _task(trainer, bare, adapters), ""),
        peft=adapters.get("peft", ""),
        parameters=_known(lambda: read_model(bare).parameters, None),
        examples=_known(lambda: len(trainer.train_dataset), None),
        processes=args.world_size,
        companions=_known(lambda: _deepspeed(trainer), beside),
    )


def _values(args: TrainingArguments, optimizer: Any, lr_scheduler: Any, trainer: Any) -> dict[str, Any]:
    """The arguments that rules look at, with what optimizer and scheduler know better."""
    nothing: dict[str, Any] = {}
    values = {name: _plain(getattr(args, name, None)) for name in _ARGUMENTS}
    values |= _known(lambda: _of_optimizer(optimizer), {"learning_rate": args.learning_rate})
    return values | _known(lambda: _of_scheduler(lr_scheduler, trainer), nothing)


def _known(find: Callable[[], T], otherwise: T) -> T:
    """What `find` finds; `otherwise` where the run hides it, in whatever way."""
    try:
        return find()
    except Exception as error:
        logger.debug("unknown of this run: %s: %s", type(error).__name__, error)
        return otherwise


def _plain(value: Any) -> Any:
    return getattr(value, "value", value)  # of an enum


def _of_optimizer(optimizer: Any) -> dict[str, Any]:
    """The class, and the peak of the group that trains the most parameters."""
    optimizer = getattr(optimizer, "optimizer", optimizer)  # accelerate's has the real one
    groups = [(sum(weight.numel() for weight in group["params"]), group) for group in optimizer.param_groups]
    _, largest = max(groups, key=lambda pair: pair[0])
    rate = float(largest.get("initial_lr", largest["lr"]))
    return {"optim": type(optimizer).__name__, **({"learning_rate": rate} if rate > 0 else {})}


def _of_adapters(model: Any) -> dict[str, Any]:
    """The PEFT type with its rank and alpha; ``full`` where all parameters train, ``partial`` where some do."""
    if found := read_adapters(model):
        return {**found, "rslora": found.get("rslora") or None}
    sizes = [(weight.numel(), weight.requires_grad) for weight in model.parameters()]
    trained = sum(size for size, trains in sizes if trains)
    return {"peft": "full" if trained == sum(size for size, _ in sizes) else "partial"}


def _of_scheduler(scheduler: Any, trainer: Any) -> dict[str, Any]:
    """Of a scheduler that a script has made: its class and its steps; how often any is stepped in an update."""
    found: dict[str, Any] = {}
    inner = getattr(scheduler, "scheduler", scheduler)
    if type(scheduler).__name__ == "AcceleratedScheduler" and scheduler.step_with_optimizer and not scheduler.split_batches:
        from accelerate import PartialState

        found["scheduler_steps_per_update"] = PartialState().num_processes
    if scheduler is not None and not getattr(trainer, "_created_lr_scheduler", True):
        found |= {"scheduler_class": type(inner).__name__, "scheduler_total_steps": _made_for(inner)}
        found |= dict.fromkeys(_OF_A_SCHEDULE)
    return found


def _made_for(scheduler: Any) -> float | None:
    """The steps that a scheduler was made for, where it says so; torch's ``total_iters`` is the length of a part."""
    if isinstance(scheduler, ScheduleLR):
        return scheduler.schedule.total
    for name in ("total_steps", "T_max"):
        if isinstance(found := getattr(scheduler, name, None), int):
            return float(found)
    [*curves] = getattr(scheduler, "lr_lambdas", [])
    words = getattr(curves[0], "keywords", {}) if curves else {}
    made = words.get("num_training_steps")
    return None if made is None else float(made)


def _task(trainer: Any, model: Any, adapters: dict[str, Any]) -> str:
    """What is trained for, by the Trainer's class; a language model that nobody has trained yet is pre-trained."""
    kinds = [kind.__name__ for kind in type(trainer).__mro__]
    for kind in kinds:
        for start, task in _TASKS.items():
            if kind.startswith(start) and kind.endswith("Trainer"):
                return task
    language = type(model).__name__.endswith("ForCausalLM")
    if language and adapters.get("peft") == "full" and untrained(model):
        return "pretrain"
    return "sft" if adapters.get("peft") not in ("full", "partial", None) else ""


def _deepspeed(trainer: Any) -> tuple[Configuration, ...]:
    """DeepSpeed's configuration, where it is in use."""
    plugin = trainer.accelerator.state.deepspeed_plugin
    if plugin is None:
        return ()
    return (DeepSpeed().read(Document(dict(_flat(plugin.hf_ds_config.config)))),)


def _flat(words: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Setting]]:
    """The values of nested mappings by their dotted key."""
    for word, value in words.items():
        key = f"{above}{word}"
        yield key, Setting(key, value, key=key)
        if isinstance(value, Mapping):
            yield from _flat(value, f"{key}.")
