"""What other watchers would say of a training curve: their rules, restated in NumPy with their published thresholds.

Each rule takes a `Curve` and returns the steps at which it fires; the commits are those at which the sources were read. Not
here, as they need accuracies, weights, gradients of single layers or bytes of a batch: AutoTrainer's not_converge, unstable,
vanish and dying ReLU; BTTackler's VG and DR; DeepDiagnosis; DeepFD; Cockpit; SPAM; DLRover.

A curve of means is judged as if its means were losses: a rule that counts steps counts those that a mean covers.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
from diagnosis_curve import Curve, Floats

Rule = Callable[[Curve], list[int]]


def _every(curve: Curve, steps: int) -> list[tuple[int, float]]:
    """The losses that somebody has who looks once in so many steps."""
    kept: list[tuple[int, float]] = []
    for step, loss in curve.points():
        if not kept or step >= kept[-1][0] + steps:
            kept.append((step, loss))
    return kept


def _cv(values: Floats) -> float:
    mean = float(np.mean(values))
    return float(np.std(values)) / mean if mean else math.nan


# SageMaker Debugger (awsdocs 1c4d5ff7)


def loss_not_decreasing(curve: Curve, steps: int = 10) -> list[int]:
    """LossNotDecreasing: num_steps 10, diff_percent 0.0: a loss that is not below that of 10 steps before."""
    seen = _every(curve, steps)
    return [step for (_, before), (step, loss) in pairwise(seen) if not loss < before]


def loss_not_decreasing_500(curve: Curve) -> list[int]:
    """The same as it is shipped: losses are saved every 500 steps, and each is compared with the one before."""
    return loss_not_decreasing(curve, 500)


def exploding_tensor(curve: Curve) -> list[int]:
    """ExplodingTensor, only_nan False: any NaN or infinity in the loss or the gradient norm."""
    return [step for i, (step, loss) in enumerate(curve.points()) if not math.isfinite(loss) or _infinite(curve.norm, i)]


def _infinite(norm: Floats, i: int) -> bool:
    return bool(norm.size) and not math.isfinite(norm[i]) and bool(np.isfinite(norm).any())


def overfit(curve: Curve) -> list[int]:
    """Overfit: ratio_threshold 0.1, patience 1: (held out - train) / train above 0.1, for longer than one evaluation."""
    above = (curve.held_out - curve.train) / curve.train > 0.1
    return [int(curve.epoch[i]) for i in range(1, len(above)) if above[i] and above[i - 1]]


# UMLAUT (68c2a022)


def umlaut_lr(curve: Curve) -> list[int]:
    """LR above 0.01, whatever the optimizer; its other end, below 1e-7, is `umlaut_low`."""
    return [0] if curve.lr > 0.01 else []


def umlaut_low(curve: Curve) -> list[int]:
    """LR below 1e-7."""
    return [0] if curve.lr < 1e-7 else []


def umlaut_overfit(curve: Curve) -> list[int]:
    """One epoch in which the held-out loss rises and the training loss does not."""
    up, down = np.diff(curve.held_out) > 0, np.diff(curve.train) <= 0
    return curve.epoch[1:][up & down].astype(int).tolist()


# AutoTrainer (03a463ea): only what needs no accuracy


def autotrainer_explode(curve: Curve) -> list[int]:
    """Explode: NaN, infinity or at least 1e3 in the loss of an epoch, training or held out."""
    bad = ~(np.abs(curve.train) < 1e3) | ~(np.abs(curve.held_out) < 1e3)
    return curve.epoch[bad].astype(int).tolist()


# BTTackler (65de4a4f), without its protection of the best tenth of the trials


def bttackler_eg(curve: Curve) -> list[int]:
    """EG on the loss: NaN or infinity. Its bounds of the gradients need layers."""
    bad = ~np.isfinite(curve.train) | ~np.isfinite(curve.held_out)
    return curve.epoch[bad].astype(int).tolist()


def bttackler_ho(curve: Curve) -> list[int]:
    """HO, in the second half: the last 6 losses have a slope of at least 0.01 and vary by more than 0.2 of their mean."""

    def fires(losses: Floats) -> bool:
        last = losses[-6:]
        return len(last) > 1 and np.polyfit(np.arange(len(last)), last, 1)[0] >= 0.01 and _cv(last) > 0.2

    return _epochs_where(curve, fires, first=0.5)


def bttackler_sc(curve: Curve) -> list[int]:
    """SC, early (from epoch 3 on): train loss varies by less than 1e-4; late: a loss varies more in its second half."""

    def early(losses: Floats) -> bool:
        return len(losses) >= 3 and _cv(losses) < 1e-4

    def late(losses: Floats) -> bool:
        half = len(losses) // 2
        return len(losses) >= 6 and _cv(losses[:half]) < _cv(losses[half:])

    before = _epochs_where(replace(curve, held_out=curve.train), early, last=0.5)
    return sorted({*before, *_epochs_where(curve, late, first=0.5)})


def bttackler_nmg(curve: Curve) -> list[int]:
    """NMG: the last 3 losses are higher in the mean than the 3 before; its own comment calls it useless."""
    return _epochs_where(curve, lambda losses: len(losses) > 3 and losses[-3:].mean() > losses[-6:-3].mean())


def _epochs_where(curve: Curve, fires: Callable[[Floats], bool], first: float = 0.0, last: float = 1.0) -> list[int]:
    """The ends of those epochs after which `fires` holds of the training losses so far, or of the held-out ones."""
    trained = curve.epoch > 0
    series = [losses[trained] for losses in (curve.train, curve.held_out)]
    found = []
    for n, step in enumerate(curve.epoch[trained].astype(int).tolist(), start=1):
        if first * curve.total <= step <= last * curve.total:
            found += [step] * any(np.isfinite(losses[:n]).all() and fires(losses[:n]) for losses in series)
    return found


# Those that watch every step


def llm_foundry(curve: Curve) -> list[int]:
    """KillLossSpike (8c8dd48f): 5 losses in a row at least twice the mean of the window before, which is 5 % of the run, 100
    steps at least; or, behind two windows, half of a window above the highest of the first, or 10: "Try lowering the LR".
    """
    width = max(100, round(0.05 * curve.total))
    window: deque[tuple[float, float]] = deque()
    found, held, total, in_a_row, cap = [], 0.0, 0.0, 0, -math.inf
    for (step, loss), covers in zip(curve.points(), curve.covered.tolist(), strict=True):
        if step >= width and held:
            in_a_row = in_a_row + 1 if loss >= 2 * total / held else 0
            high = sum(c for one, c in window if one > min(10.0, cap)) if step > 2 * width else 0.0
            if in_a_row >= 5 or high >= width / 2:
                found.append(step)
        else:
            cap = max(cap, loss)
        window.append((loss, covers))
        held, total = held + covers, total + loss * covers
        while held - window[0][1] >= width:
            one, c = window.popleft()
            held, total = held - c, total - one * c
    return found


def _sigmas(step: Floats, values: Floats) -> list[int]:
    found = []
    for i in range(128, len(values)):
        window = values[i - 128 : i]
        deviation = window.std()
        if deviation >= 1e-10 and values[i] > window.mean() + 6 * deviation:
            found.append(int(step[i]))
    return found


def olmo_core(curve: Curve) -> list[int]:
    """StabilityMonitor (fa6c5014): a loss above the mean of the last 128 by more than 6 of their standard deviations."""
    return _sigmas(curve.step, curve.loss)


def olmo_core_norm(curve: Curve) -> list[int]:
    """The same on the gradient norm."""
    return _sigmas(curve.step, curve.norm)


def olmo_core_often(curve: Curve) -> list[int]:
    """SpikeScore: spikes of the loss on at least a thousandth of the steps so far."""
    spikes = olmo_core(curve)
    return [step for i, step in enumerate(spikes, start=1) if i >= 1e-3 * np.count_nonzero(curve.step <= step)]


def lightning_fabric(curve: Curve) -> list[int]:
    """SpikeDetection (7f0c3436), from batch 1: not finite; or above the last loss and three times the mean of the last 10."""
    window: deque[float] = deque(maxlen=10)
    found, last = [], math.inf
    for i, (step, loss) in enumerate(curve.points()):
        mean = sum(window) / len(window) if window else math.nan
        if i >= 1 and (not math.isfinite(loss) or (loss > last and abs(loss - mean) >= 2 * abs(mean))):
            found.append(step)
        else:
            window.append(loss)
            last = loss
    return found


def megatron(curve: Curve) -> list[int]:
    """Megatron-LM (d98e8a64), off by default there: a loss at least 10 times the highest of the first 100 finite ones."""
    known = curve.loss[np.isfinite(curve.loss)][:100]
    if not known.size:
        return []
    return [step for i, (step, loss) in enumerate(curve.points()) if i >= 100 and abs(loss) >= 10 * np.abs(known).max()]


def axolotl(curve: Curve) -> list[int]:
    """loss_watchdog (067b021c): above a threshold of the user's, 3 times in a row; its advice is twice the first loss."""
    if not curve.loss.size:
        return []
    found, in_a_row = [], 0
    for step, loss in curve.points():
        in_a_row = in_a_row + 1 if loss > 2 * abs(curve.loss[0]) else 0
        if in_a_row >= 3:
            found.append(step)
    return found


def composer_nan(curve: Curve) -> list[int]:
    """Composer's NaNMonitor: the loss is NaN."""
    return [step for step, loss in curve.points() if math.isnan(loss)]


def keras_nan(curve: Curve) -> list[int]:
    """TerminateOnNaN: NaN or infinity."""
    return [step for step, loss in curve.points() if not math.isfinite(loss)]


def zclip(curve: Curve) -> list[int]:
    """ZClip (584ce4f5): the norm stands 2.5 standard deviations above its mean, both exponential (0.97) after 25 steps."""
    known = np.isfinite(curve.norm)
    norm, step = curve.norm[known], curve.step[known]
    if len(norm) <= 25:
        return []
    mean, variance = float(norm[:25].mean()), float(norm[:25].var())
    found = []
    for i in range(25, len(norm)):
        value = float(norm[i])
        deviation = math.sqrt(variance) + 1e-6
        z = (value - mean) / deviation
        if z > 2.5:
            found.append(int(step[i]))
            value = mean + 2.5 * 2.5 / z * deviation  # its adaptive clipping
        variance = 0.97 * variance + 0.03 * (value - mean) ** 2
        mean = 0.97 * mean + 0.03 * value
    return found


# The floor: hand-set in sight of all DeepOBS runs (../shared/reference/diagnosis.md, 3.1)


def floor_rule(curve: Curve) -> str | None:
    """Simple features of the curve, and three thresholds; None below 4 blocks, unless a loss is not finite."""
    first, blocks = curve.loss[curve.step < 50], curve.blocks()
    if not first.size or (len(blocks) < 4 and np.isfinite(curve.loss).all()):
        return None
    if not (np.isfinite(first).all() and np.isfinite(blocks).all()):
        return "too_high"
    start, tail = float(first[0]), float(np.median(blocks[-max(len(blocks) // 10, 1) :]))
    if first.max() > 10 * abs(start) or blocks.max() > 3 * abs(start):
        return "too_high"
    if tail >= 0.97 * start:
        return "too_high" if first.max() > 1.05 * start or np.std(blocks) / abs(np.mean(blocks)) > 0.02 else "too_low"
    n = len(blocks)
    middle = float(np.median(blocks[n // 2 - max(n // 20, 1) : n // 2 + max(n // 20, 1)]))
    return "too_low" if (middle - tail) / (start - tail) > 0.06 else "good"


RULES: dict[str, Rule] = {
    "SageMaker LossNotDecreasing, 10 steps": loss_not_decreasing,
    "SageMaker LossNotDecreasing, 500 steps": loss_not_decreasing_500,
    "SageMaker ExplodingTensor": exploding_tensor,
    "SageMaker Overfit": overfit,
    "UMLAUT LR > 0.01": umlaut_lr,
    "UMLAUT LR < 1e-7": umlaut_low,
    "UMLAUT overfit": umlaut_overfit,
    "AutoTrainer explode": autotrainer_explode,
    "BTTackler EG": bttackler_eg,
    "BTTackler HO": bttackler_ho,
    "BTTackler SC": bttackler_sc,
    "BTTackler NMG": bttackler_nmg,
    "LLM Foundry": llm_foundry,
    "OLMo-core 6 sigma": olmo_core,
    "OLMo-core 6 sigma, often": olmo_core_often,
    "OLMo-core 6 sigma, grad norm": olmo_core_norm,
    "Lightning Fabric": lightning_fabric,
    "Megatron 10x": megatron,
    "axolotl": axolotl,
    "Composer NaN": composer_nan,
    "Keras NaN": keras_nan,
    "ZClip": zclip,
}

# What a rule that fires says of the LR; the others say that something is wrong, and no more.
SAYS: dict[str, str] = {
    "SageMaker ExplodingTensor": "too_high",
    "UMLAUT LR > 0.01": "too_high",
    "UMLAUT LR < 1e-7": "too_low",
    "AutoTrainer explode": "too_high",
    "BTTackler EG": "too_high",
    "LLM Foundry": "too_high",
    "Lightning Fabric": "too_high",
    "Megatron 10x": "too_high",
    "axolotl": "too_high",
    "Composer NaN": "too_high",
    "Keras NaN": "too_high",
}
