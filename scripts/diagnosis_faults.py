"""What can be made wrong with a run: each fault is done to a Trainer that has not begun, or to its settings.

A fault that has a step happens there, counted as Trainer counts: step 1 is the first update.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from range_test_tasks import NoisyDigits
from transformers import Trainer, TrainerCallback

Harm = Callable[[Trainer, int], None]
Said = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Fault:
    """One fault, and what may be said of it.

    Args:
        expected: pairs of symptom and cause, each of which names the fault.
        harm: what is done to the Trainer; it is told the step.
        at: the step, as shares of the run, one for each seed; none for a fault that is there from the beginning.
        factor: of the learning rate.
        settings: TrainingArguments, from the number of steps. The tiny batch is the task's own (`diagnosis_runs.Place`).
        schedules: for each seed; by default those of the healthy twins.
    """

    expected: Said
    harm: Harm = lambda trainer, step: None
    at: tuple[float, ...] = ()
    factor: float = 1.0
    settings: Callable[[int], dict[str, Any]] = lambda steps: {}
    schedules: tuple[str, ...] = field(default=())


def batches(trainer: Trainer, change: Callable[[dict[str, Any]], dict[str, Any]], at: int = 0) -> None:
    """Has `change` done to every training batch, or to that of step `at` alone."""
    whole = trainer.compute_loss

    def compute_loss(model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        hit = model.training and at in (0, trainer.state.global_step + 1)
        return whole(model, change(dict(inputs)) if hit else inputs, *args, **kwargs)

    trainer.compute_loss = compute_loss  # type: ignore[method-assign]  # of this Trainer alone


def losses(trainer: Trainer, factor: float, at: int) -> None:
    """Multiplies the loss of step `at`."""
    whole = trainer.compute_loss

    def compute_loss(model: Any, *args: Any, **kwargs: Any) -> Any:
        loss = whole(model, *args, **kwargs)
        return loss * factor if model.training and trainer.state.global_step + 1 == at else loss

    trainer.compute_loss = compute_loss  # type: ignore[method-assign]  # of this Trainer alone


def garbage(inputs: dict[str, Any]) -> dict[str, Any]:
    """Inputs that mean nothing under labels that have nothing to do with them."""
    if "pixel_values" in inputs:
        inputs["pixel_values"] = 10 * torch.randn_like(inputs["pixel_values"])
    else:
        inputs["input_ids"] = torch.randint_like(inputs["input_ids"], 512)
    return shuffled(inputs)


def shuffled(inputs: dict[str, Any]) -> dict[str, Any]:
    """Every example has the label of its neighbour."""
    return {**inputs, "labels": inputs["labels"].roll(1, 0)}


def nan_weight(trainer: Trainer, step: int) -> None:
    """One weight is NaN from `step` on."""

    class Spoil(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step + 1 == step:
                with torch.no_grad():
                    next(p for p in kwargs["model"].parameters() if p.requires_grad).view(-1)[0] = torch.nan

    trainer.add_callback(Spoil())


def few(trainer: Trainer, step: int) -> None:
    """48 examples, again and again."""
    data: Any = trainer.train_dataset
    if isinstance(data, NoisyDigits):
        trainer.train_dataset = NoisyDigits(data.pixels[:48].numpy(), data.labels[:48].numpy(), looks=1)
    else:
        trainer.train_dataset = data.select(range(48))


def step_twice(trainer: Trainer, step: int) -> None:
    """As in a loop of one's own that steps the scheduler where Trainer does."""

    class Twice(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            kwargs["lr_scheduler"].step()

    trainer.add_callback(Twice())


def freeze(trainer: Trainer, step: int) -> None:
    """All but the last parameter, as a filter on names that misses does."""
    *others, _ = [p for p in trainer.model.parameters() if p.requires_grad]  # type: ignore[union-attr]  # there is a model
    for parameter in others:
        parameter.requires_grad_(False)


def stop(trainer: Trainer, step: int) -> None:
    """Ends the run after `step`."""

    class Stop(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            control.should_training_stop |= state.global_step == step

    trainer.add_callback(Stop())


def _pairs(symptoms: str, causes: str) -> Said:
    return tuple((symptom, cause.strip()) for symptom in symptoms.split() for cause in causes.split(","))


def _evaluated(steps: int) -> dict[str, Any]:
    return {"eval_strategy": "steps", "eval_steps": steps // 20}


_HALVES = (0.5, 0.3)
_NAN = _pairs("explodes", "nan, hidden NaN, bad batch, unknown")  # what made it cannot be seen in loss and norm

FAULTS: dict[str, Fault] = {
    "lr x30": Fault(_pairs("explodes slow plateau noisy spike", "lr too high"), factor=30.0),
    "lr /100": Fault(_pairs("slow plateau", "lr too low"), factor=0.01),
    "no warm-up": Fault(
        _pairs("explodes spike slow", "no warm-up, warm-up too short, lr too high"),
        settings=lambda steps: {"lr_scheduler_kwargs": {"warmup": 0}},
    ),
    "corrupted batch": Fault(_pairs("spike explodes", "bad batch"), lambda t, k: batches(t, garbage, k), at=_HALVES),
    "loss x1000": Fault(_pairs("spike explodes", "bad batch"), lambda t, k: losses(t, 1e3, k), at=_HALVES),
    "shuffled labels": Fault(
        _pairs("slow plateau", "wrong labels, nothing to learn, unknown"), lambda t, k: batches(t, shuffled)
    ),
    "frozen": Fault(
        _pairs("slow plateau", "nothing trainable, unknown") + _pairs("configuration", "nothing trainable"), freeze
    ),
    "tiny batch": Fault(_pairs("noisy", "batch too small")),
    "overfitting": Fault(_pairs("overfitting", "overfitting"), few, settings=_evaluated),
    "stepped twice": Fault(_pairs("configuration", "lr stepped twice"), step_twice),
    "endless warm-up": Fault(
        _pairs("configuration", "warm-up longer than the run, peak never reached"),
        settings=lambda steps: {"lr_scheduler_kwargs": None, "warmup_steps": 4 * steps},
        schedules=("linear", "cosine"),
    ),
    "stopped early": Fault(_pairs("configuration", "stopped early"), stop, at=(0.6, 0.4)),
    "nan weight": Fault(_NAN, nan_weight, at=_HALVES),
    "inf loss": Fault(_NAN, lambda t, k: losses(t, torch.inf, k), at=_HALVES),
}
