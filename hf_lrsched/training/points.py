"""The true loss, LR and gradient norm of every optimizer step, fetched in batches, for the callbacks that listen: `Listener`.

Values stay on the device until so many steps have gathered, so a step on a GPU waits for nothing. Of several listeners one
gathers for all, and each value is fetched once.

What it does not know: what is done with the points (`recorder` writes them, `watch` judges them).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ..runs.diagnosis import Point
from ..schedules.spec import to_spec
from .facts import facts
from .model_card import told
from .scheduler import ScheduleLR


class Taken(NamedTuple):
    """One optimizer step as it was: loss and norm with the digits that float32 holds; None is what nobody told."""

    step: int
    loss: float | None
    lrs: tuple[float, ...]
    grad_norm: float | None
    momentum: float | None
    phase: str
    tokens: int
    skipped: bool

    @property
    def point(self) -> Point:
        """Itself as rules are shown it."""
        loss, norm, momentum = (math.nan if value is None else value for value in (self.loss, self.grad_norm, self.momentum))
        return Point(self.step, loss, self.lrs, norm, self.skipped, self.phase, self.loss is not None, momentum)


class Listener(TrainerCallback, ABC):
    """A callback that is told of every optimizer step, some at a time: `took` is called with them on every process.

    Args:
        every: steps after which it wants to be told at the latest; a step that another listener asks for may come sooner.
    """

    def __init__(self, every: int) -> None:
        if every < 1:
            raise ValueError(f"every={every} must be 1 point or more")
        self._every = every
        self._waiting = 0  # steps since it has had what it wants
        self._trainer: Any = None
        self._leads = False
        self._gathered = Gathered()
        self._listeners: list[Listener] = [self]

    @abstractmethod
    def took(self, points: list[Taken]) -> None:
        """The next steps, in order."""

    # What host.py hands on

    def saw_trainer(self, trainer: Any) -> None:
        """The Trainer as it begins to train, whose callbacks share what is gathered."""
        self._trainer = trainer

    def saw_loss(self, loss: torch.Tensor) -> None:
        """The loss of a micro-batch, scaled so that those of a step add up to the step's."""
        if self._leads:
            self._gathered.saw_loss(loss)

    def saw_grad_norm(self, norm: torch.Tensor | float | None) -> None:
        """The gradient norm of a step, before clipping."""
        if self._leads:
            self._gathered.norm = norm

    # The run

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """The first of the listeners gathers, for all."""
        callbacks = [] if self._trainer is None else self._trainer.callback_handler.callbacks
        self._listeners = [one for one in callbacks if isinstance(one, Listener)] or [self]
        self._leads = self._listeners[0] is self
        self._waiting = 0
        if self._leads:
            scaler = getattr(getattr(self._trainer, "accelerator", None), "scaler", None)
            self._gathered = Gathered(scaler if scaler is not None and scaler.is_enabled() else None, args.device)
        else:
            self._gathered = self._listeners[0]._gathered

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """What the update runs under."""
        if self._leads:
            self._gathered.runs_under(state.global_step + 1, kwargs["optimizer"], kwargs["lr_scheduler"])

    def on_optimizer_step(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Whether the update moved any weights."""
        if self._leads:
            self._gathered.updated(kwargs["optimizer"])

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """A step is done; it is fetched where somebody has waited for long enough."""
        if self._leads:
            self._gathered.done(int(state.num_input_tokens_seen))
            due = False
            for one in self._listeners:
                one._waiting += 1
                due |= one._waiting >= one._every
            if due:
                self.fetch()
        return control

    def flush(self) -> None:
        """Nothing more comes for now."""
        self.fetch()

    def fetch(self) -> None:
        """Tells all listeners of the steps that have gathered; to be called on every process."""
        points = self._gathered.fetch()
        if points:
            for one in self._listeners:
                one.took(points)


class Gathered:
    """The values of some steps, where they lie.

    Args:
        scaler: what scales losses and backs off where gradients overflow, under fp16.
        device: where losses lie.
    """

    def __init__(self, scaler: Any = None, device: Any = None) -> None:
        self._scaler = scaler
        self._one = None if scaler is None else torch.ones((), device=device)
        self._scale = None if scaler is None else scaler.scale(self._one)  # before the first of the steps
        self._loss: torch.Tensor | None = None
        self.norm: torch.Tensor | float | None = None
        self._forget()

    def _forget(self) -> None:
        self._losses: list[torch.Tensor] = []
        self._norms: list[torch.Tensor | float | None] = []
        self._lrs: list[list[float | torch.Tensor]] = []
        self._momenta: list[float | None] = []
        self._phases: list[str] = []
        self._tokens: list[int] = []
        self._scales: list[torch.Tensor] = []
        self._skipped: list[bool] = []
        self._first = 0

    def __len__(self) -> int:
        return len(self._losses)

    def saw_loss(self, loss: torch.Tensor) -> None:
        """The loss of a micro-batch."""
        self._loss = loss if self._loss is None else self._loss + loss

    def runs_under(self, step: int, optimizer: Any, scheduler: Any) -> None:
        """The update `step` is about to be made."""
        groups = optimizer.param_groups
        if not self._lrs:
            self._first = step
        self._lrs.append([lr_of(group) for group in groups])
        self._momenta.append(momentum_of(groups[0]))
        self._phases.append(scheduler.schedule.phase(scheduler.last_epoch).name if type(scheduler) is ScheduleLR else "")

    def updated(self, optimizer: Any) -> None:
        """It was made, or skipped."""
        self._skipped.append(getattr(optimizer, "step_was_skipped", False))
        if self._scaler is not None:  # with a fused optimizer that flag stays down (torch 2.13, accelerate 1.15)
            self._scales.append(self._scaler.scale(self._one))

    def done(self, tokens: int) -> None:
        """Its step is over."""
        self._losses.append(_NAN if self._loss is None else self._loss)
        self._norms.append(self.norm)
        self._tokens.append(tokens)
        self._loss = self.norm = None

    def fetch(self) -> list[Taken]:
        """Takes all of it to the host: one transfer for all losses, one for all norms, and forgets it."""
        if not self._losses:
            return []
        losses = torch.stack([loss.detach().float().reshape(()).to(self._losses[0].device) for loss in self._losses])
        if PartialState().num_processes > 1:
            losses = _mean_over_processes(losses)
        seen = [loss is not _NAN for loss in self._losses]
        found = [_short(loss) if known else None for loss, known in zip(losses.tolist(), seen, strict=True)]
        norms = [None if norm is None else _short(norm) for norm in _fetched(self._norms)]
        each = iter(_fetched([lr for lrs in self._lrs for lr in lrs]))
        lrs = [tuple(float(next(each)) for _ in row) for row in self._lrs]  # type: ignore[arg-type]  # an LR is never None
        rows = (found, lrs, norms, self._momenta, self._phases, self._tokens, self._skips())
        points = [Taken(self._first + i, *row) for i, row in enumerate(zip(*rows, strict=True))]
        self._forget()
        return points

    def _skips(self) -> list[bool]:
        if self._scaler is None:
            return self._skipped
        scales: list[Any] = _fetched([self._scale, *self._scales])
        self._scale = self._scales[-1]
        fell = (after < before for before, after in pairwise(scales))
        return [flag or falling for flag, falling in zip(self._skipped, fell, strict=True)]


def head(args: TrainingArguments, state: TrainerState, scheduler: Any, optimizer: Any, model: Any) -> dict[str, Any]:
    """What is known of a run as it begins, or goes on, in plain JSON types."""
    groups = optimizer.param_groups
    processes = {"processes": args.world_size * max(1, args.n_gpu)}  # as many batches an update, with DataParallel's
    begins = not state.global_step  # weights of a checkpoint are trained ones
    known = {"facts": facts(model, optimizer) | processes} if begins else {}
    return {
        **known,
        "total": state.max_steps,
        "step": state.global_step,
        "groups": [str(group.get("name", i)) for i, group in enumerate(groups)],
        "peaks": [float(group.get("initial_lr", group["lr"])) for group in groups],
        "schedule": to_spec(scheduler.planned) if isinstance(scheduler, ScheduleLR) else None,
        "arguments": told(args)["arguments"],
    }


def lr_of(group: dict[str, Any]) -> float | torch.Tensor:
    """The LR of a parameter group as it is now; a tensor's is copied where it lies, which waits for nothing."""
    lr = group["lr"]
    return lr.detach().clone() if isinstance(lr, torch.Tensor) else float(lr)


def momentum_of(group: dict[str, Any]) -> float | None:
    """Momentum of a parameter group, or beta1 under Adam; None where its optimizer has neither, or has it as a tensor."""
    momentum = group["betas"][0] if "betas" in group else group.get("momentum")
    return None if isinstance(momentum, torch.Tensor) else momentum  # fetching one would wait for the device


_NAN = torch.tensor(math.nan)


def _short(value: float) -> float:
    return float(f"{value:.8g}")


def _fetched(values: Sequence[torch.Tensor | float | None]) -> list[float | None]:
    """Tensors in one transfer; what is none as it is."""
    tensors = [value.detach().float().reshape(()) for value in values if isinstance(value, torch.Tensor)]
    fetched = iter(torch.stack(tensors).tolist() if tensors else [])
    return [
        next(fetched) if isinstance(value, torch.Tensor) else (None if value is None else float(value)) for value in values
    ]


def _mean_over_processes(losses: torch.Tensor) -> torch.Tensor:
    gathered = gather_object([losses.tolist()])
    return torch.tensor(gathered, dtype=torch.float32).mean(dim=0)
