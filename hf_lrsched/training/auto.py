"""``learning_rate: auto`` and ``warmup_steps: auto``: decided once model, adapters, processes and steps are known.

`settle` reads a Trainer, asks `recommend`, and sets the arguments before there is an optimizer. What was decided lies beside
the run with its reasons, and a run that is resumed keeps it. What it does not know: the data, beyond their number and length.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..advice.model import Model, read_adapters, read_model
from ..advice.presets import RISES
from ..advice.recommend import Recommendation, recommend
from .checkpoints import write
from .miniature import steps_of
from .together import agreed

AUTO = ("learning_rate", "warmup_steps")
LR_PLAN = "lr_plan.json"
_CLASSES = {
    "SFTConfig": "sft", "DPOConfig": "preference", "KTOConfig": "preference", "GRPOConfig": "rl", "RLOOConfig": "rl",
    "RewardConfig": "reward",
}  # fmt: skip
_LOOKED_AT = 1000  # examples whose length says how many tokens one has: their mean is then known to a few per cent


@dataclass(frozen=True)
class LRPlan:
    """What was decided, and why.

    Args:
        values: of what was left to `settle`; None is the schedule's own.
        reasons: why, a sentence each.
        recommendation: the whole advice, as plain types: the question, the evidence, what was set aside.
        resumed: whether it was decided when the run began, and not now.
    """

    values: Mapping[str, float | None]
    reasons: tuple[str, ...]
    recommendation: Mapping[str, Any] = field(default_factory=dict, repr=False)
    resumed: bool = False

    def __str__(self) -> str:
        """What was decided, and a line for each reason.

        >>> print(LRPlan({"learning_rate": 2e-4, "warmup_steps": None}, ("peak 0.0002: the weighted median of 14 figures",)))
        auto: learning_rate 0.0002, warmup_steps the schedule's own
          peak 0.0002: the weighted median of 14 figures
        """
        told = {name: "the schedule's own" if value is None else f"{value:g}" for name, value in self.values.items()}
        when = " (decided when the run began)" if self.resumed else ""
        return "\n  ".join([f"auto: {', '.join(f'{name} {value}' for name, value in told.items())}{when}", *self.reasons])

    def with_value(self, name: str, value: float, reason: str) -> LRPlan:
        """The same, with one more value that something else has decided."""
        return dataclasses.replace(self, values={**self.values, name: value}, reasons=(*self.reasons, reason))

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {"auto": dict(self.values), "reasons": list(self.reasons), "recommendation": dict(self.recommendation)}

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Writes it into `folder`, beside and then moved into place; what was decided there before and not now is kept."""
        file = Path(folder) / LR_PLAN
        file.parent.mkdir(parents=True, exist_ok=True)
        before = self.load(folder)
        whole = self if before is None else dataclasses.replace(self, values={**before.values, **self.values})
        write(file, json.dumps(whole.to_dict(), indent=1) + "\n")
        return file

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> LRPlan | None:
        """What was decided for the run in `folder`; None where nothing was.

        Raises:
            ValueError: for a file that is no such plan.
        """
        file = Path(folder) / LR_PLAN
        if not file.is_file():
            return None
        try:
            read = json.loads(file.read_text("utf-8"))
            values = {name: None if value is None else float(value) for name, value in read["auto"].items()}
            return cls(values, tuple(map(str, read["reasons"])), dict(read["recommendation"]), resumed=True)
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"{file} is no plan of hf_lrsched ({type(error).__name__}: {error}); remove it") from error


def settle(
    trainer: Any,
    auto: Iterable[str] = AUTO,
    *,
    task: str,
    steps: int | None = None,
    tokens_per_step: float | None = None,
    began_in: str | os.PathLike[str] | None = None,
) -> LRPlan:
    """Decides what is ``auto``, on all processes alike, and sets the arguments of `trainer`.

    Args:
        trainer: any Trainer that has no optimizer yet; with several processes, on all of them.
        auto: ``learning_rate``, ``warmup_steps``, or both.
        task: as `recommend` has it.
        steps: optimizer steps; by default the Trainer's own. 0 for a run whose end nobody knows.
        tokens_per_step: over all processes; by default what the examples' lengths say, where they are known.
        began_in: the folder of the run that is resumed, whose plan holds.

    Raises:
        ValueError: where there is no calibrated evidence, and where the optimizer is there already.
    """
    wanted = tuple(auto)
    if trainer.optimizer is not None:
        raise ValueError("the Trainer has its optimizer already, and with it a learning rate; auto comes before it")
    question = question_of(trainer, task, steps=steps, tokens_per_step=tokens_per_step)

    def decide() -> dict[str, Any]:
        began = None if began_in is None else LRPlan.load(began_in)
        left = tuple(name for name in wanted if began is None or name not in began.values)
        plan = began or LRPlan({}, ())
        plan = dataclasses.replace(plan, reasons=tuple(dict.fromkeys([*plan.reasons, *_changed(plan, question)])))
        if left:
            new = _decided(trainer, left, question)
            plan = LRPlan({**plan.values, **new.values}, (*plan.reasons, *new.reasons), new.recommendation)
        return {**plan.to_dict(), "resumed": plan.resumed}

    told = agreed(decide)
    values = {name: told["auto"][name] for name in wanted}
    plan = LRPlan(values, tuple(told["reasons"]), told["recommendation"], told["resumed"])
    for name, value in values.items():
        if value is not None:
            setattr(trainer.args, name, value)
    return plan


def advised(
    settings: Mapping[str, Any], arguments_class: str, *, batch_size: int | None, steps: int | None
) -> Recommendation | None:
    """What a run that has these `settings` would be advised, before there is a Trainer; None without a model and a task.

    Args:
        settings: as a configuration file or a command line has them.
        arguments_class: the class's name, which says the task where it is TRL's.
        batch_size: examples a step, over all processes.
        steps: optimizer steps.
    """
    model, lora = settings.get("model_name_or_path"), any(settings.get(name) for name in ("use_peft", "lora_r"))
    task = _CLASSES.get(arguments_class, "sft" if lora else None)
    if not isinstance(model, str) or task is None:
        return None
    adapters: dict[str, Any] = (
        {"peft": "lora", "r": settings.get("lora_r"), "alpha": settings.get("lora_alpha")} if lora else {}
    )
    try:
        return recommend(model, task=task, batch_size=batch_size, steps=steps, **adapters)
    except ValueError:  # a folder that is no model's, a rank that is no number: who trains is told
        return None


def _changed(began: LRPlan, question: Mapping[str, Any]) -> list[str]:
    """In what the run differs from the one that its plan was decided for."""
    before = began.recommendation.get("question")
    before = before if isinstance(before, Mapping) else {}
    pairs = [
        (word, before.get(name), question.get(name)) for name, word in (("batch_size", "a batch of"), ("steps", "steps:"))
    ]
    return [
        f"decided for {word} {old:g}, and now it is {new:g}; what was decided stays"
        for word, old, new in pairs
        if isinstance(old, int | float) and isinstance(new, int | float) and old != new
    ]


def _decided(trainer: Any, wanted: tuple[str, ...], question: Mapping[str, Any]) -> LRPlan:
    found = recommend(**question)
    values: dict[str, float | None] = {}
    reasons = []
    if "learning_rate" in wanted:
        if found.learning_rate is None:
            raise ValueError(f"learning_rate: auto: {found.reasons[0]}; give --learning_rate, or find one: --find_lr true")
        values["learning_rate"] = found.learning_rate
        reasons += [found.reasons[0], f"between {found.low:g} and {found.high:g}: {found.disagreement}"]
        reasons += [f"confidence {found.confidence}"]
    if "warmup_steps" in wanted:
        values["warmup_steps"], reason = warmup_of(trainer.args, found)
        reasons.append(reason)
    return LRPlan(values, tuple(reasons), found.to_dict())


def warmup_of(args: Any, found: Recommendation) -> tuple[float | None, str]:
    """The warm-up, and why; one-cycle's rise is no other schedule's warm-up, nor the other way round."""
    name = str(getattr(args.lr_scheduler_type, "value", args.lr_scheduler_type))
    typed = args.lr_scheduler_kwargs if isinstance(args.lr_scheduler_kwargs, Mapping) else {}
    if said := [word for word in RISES if word in typed]:
        return None, f"warm-up: lr_scheduler_kwargs says {said[0]}={typed[said[0]]}, and what is typed wins"
    if found.warmup_steps is None:
        return None, "warm-up: the schedule's own, as nothing is known for this task and this length"
    if name != found.schedule and "one_cycle" in (name, found.schedule):
        return None, f"warm-up: the schedule's own, as what is known is for {found.schedule} and this is {name}"
    return found.warmup_steps, next(reason for reason in found.reasons if reason.startswith("warm-up"))


def question_of(trainer: Any, task: str, *, steps: int | None = None, tokens_per_step: float | None = None) -> dict[str, Any]:
    """What `trainer` is about to do, as the arguments of `recommend`; what is not known is not there."""
    args = trainer.args
    examples_per_step = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
    length = _tokens_of_an_example(trainer.train_dataset) if tokens_per_step is None else None
    known = {
        "batch_size": examples_per_step,
        "batch_tokens": tokens_per_step if length is None else length * examples_per_step,
        "steps": steps_of(trainer) if steps is None else steps,
        "examples": len(trainer.train_dataset) if hasattr(trainer.train_dataset, "__len__") else None,
        "optimizer": str(getattr(args.optim, "value", args.optim)),
        **read_adapters(trainer.model),
    }
    return {"model": _model(trainer.model), "task": task, **{name: value for name, value in known.items() if value}}


def _model(model: Any) -> Model:
    """What is known of it, without the path of the folder that it lies in."""
    known = read_model(model)
    return dataclasses.replace(known, name=Path(known.name).name) if Path(known.name).is_dir() else known


def _tokens_of_an_example(data: Any) -> float | None:
    """The mean length of the first examples, where they are tokens already."""
    if "input_ids" not in (getattr(data, "column_names", None) or ()) or not hasattr(data, "__len__"):
        return None
    first = data[:_LOOKED_AT]["input_ids"]
    return sum(len(one) for one in first) / len(first) if len(first) else None
