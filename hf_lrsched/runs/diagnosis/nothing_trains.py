"""The updates move nothing, or the loss is not the one that is minimised: read from exact equalities and from counts.

What it does not know: curves that move but do not fall, which are another family's.
"""

from __future__ import annotations

import math

from .finding import Finding
from .rule import Rule
from .sight import Point, Sight

SAME = 20  # losses equal to the last digit; losses of different batches are so by chance once in millions
SAME_LOGGED = 10  # the same for a Trainer's log, whose entries are means over many steps
STALLED = 20  # gradient norms of exactly 0 in a row
# Of the last 64 updates, how many may be skipped: fp16's scale starts at 2**16 and is halved by each skip, so a healthy run
# has used up its skips after 16, and DeepSpeed's largest, 2**32, after 32.
SKIPPED = 0.5
EVALUATIONS = 3  # in a row at which the training loss is the held-out one times the same number
NEAR = 0.1  # by how much that number may miss gradient_accumulation_steps
FEWEST = 4  # micro-batches: dropout and augmentation alone can double a training loss


class NothingMoves(Rule):
    """The loss has been one number from the start, or the gradient norm is exactly 0."""

    def __init__(self) -> None:
        self._loss = math.nan
        self._same = self._still = self._since = 0
        self._moved = self._said = False

    def see(self, point: Point, sight: Sight) -> list[Finding]:
        """The equality of the losses and the norms."""
        if self._said:
            return []
        if point.grad_norm == 0.0 and math.isfinite(point.loss):
            self._since = self._since if self._still else point.step
            self._still += 1
            if self._still == STALLED:
                return [self._no_gradient(point)]
        elif not math.isnan(point.grad_norm):
            self._still = 0
        if self._moved or not math.isfinite(point.loss):
            return []
        if not self._same:
            self._loss = point.loss
        self._moved = point.loss != self._loss or (point.loss == 0 < point.grad_norm)  # a policy's may be 0, and train
        self._same += 1
        needed = SAME if sight.setting.recorded else SAME_LOGGED
        at_work = sight.highest_lr > 0 or math.isnan(point.lrs[0] if point.lrs else math.nan)  # an LR of 0 is another rule's
        if self._moved or self._same < needed or not at_work:
            return []
        return [self._constant(point)]

    def _constant(self, point: Point) -> Finding:
        self._said = True
        zero = self._loss == 0.0
        return Finding(
            "configuration",
            "nothing trainable",
            step=point.step,
            since=point.step,
            title=f"the loss is {self._loss:.6g} at every step",
            evidence=f"The first {self._same} losses are equal to the last digit, over different batches.",
            advice=(
                "Look at the labels: a loss of exactly 0 from the start is one over no tokens (all labels -100), or NaN that "
                "Trainer hides (logging_nan_inf_filter=False shows it)."
                if zero
                else "Look whether any parameter requires a gradient, whether the optimizer holds the model's own "
                "parameters, and whether the loss depends on the inputs at all."
            ),
            confidence="high",
        )

    def _no_gradient(self, point: Point) -> Finding:
        self._said = True
        return Finding(
            "configuration",
            "nothing trainable",
            step=point.step,
            since=self._since,
            title="the gradient is exactly 0",
            evidence=f"The gradient norm is 0 at {self._still} points in a row from step {self._since} on; the loss "
            f"is {point.loss:.4g}.",
            advice="Look whether the loss is cut from the parameters (detach, no_grad, a frozen module), whether all labels "
            "are masked, or all units dead. No learning rate helps.",
            confidence="high" if point.loss else "medium",
        )


class UpdatesSkipped(Rule):
    """Most updates are skipped for overflow."""

    def __init__(self) -> None:
        self._said = False

    def see(self, point: Point, sight: Sight) -> list[Finding]:
        """The share of the last updates, asked where one is skipped."""
        if self._said or not point.skipped or sight.count < Sight.WIDTH - 1:
            return []
        last = [*sight.points][1 - Sight.WIDTH :]
        skipped = 1 + sum(one.skipped for one in last)
        if skipped <= SKIPPED * Sight.WIDTH:
            return []
        self._said = True
        return [
            Finding(
                "configuration",
                "overflow skips",
                step=point.step,
                since=next((one.step for one in last if one.skipped), point.step),
                title="most updates are skipped",
                evidence=f"{skipped} of the last {Sight.WIDTH} updates moved no weights, as their gradients overflowed; the "
                f"loss scale starts at 2**16 and each skip halves it.",
                advice="Train in bf16 instead of fp16, or look for the layer whose gradients are infinite at any scale.",
                confidence="high",
            )
        ]


class LossScaled(Rule):
    """The training loss is the held-out one times the number of micro-batches: it is summed where it should be averaged."""

    def __init__(self) -> None:
        self._ratios: list[float] = []
        self._said = False

    def evaluated(self, step: int, loss: float, sight: Sight) -> list[Finding]:
        """The ratio of the two."""
        parts = sight.setting.arguments.get("gradient_accumulation_steps", 1)
        trained = sight.losses.median
        if self._said or not isinstance(parts, int) or parts < FEWEST or not loss > 0 or not trained > 0:
            return []
        self._ratios = [*self._ratios[1 - EVALUATIONS :], trained / loss]
        if len(self._ratios) < EVALUATIONS or not all(abs(ratio / parts - 1) <= NEAR for ratio in self._ratios):
            return []
        self._said = True
        return [
            Finding(
                "configuration",
                "loss summed over micro-batches",
                step=step,
                since=step,
                title="the training loss is as many times the held-out one as there are micro-batches",
                evidence=f"At the last {EVALUATIONS} evaluations it is {', '.join(f'{ratio:.3g}' for ratio in self._ratios)} "
                f"times as large, and gradient_accumulation_steps is {parts}.",
                advice=f"The model takes num_items_in_batch and does not divide by it, so gradients are {parts} times too "
                "large: set trainer.model_accepts_loss_kwargs = False, and look at max_grad_norm, which now clips all.",
                confidence="medium",
            )
        ]
