"""The noise of the loss hides its fall: too few samples an update, or an LR that keeps the weights moving.

Told apart by what the arguments say of the batch, and by whether the noise shrinks as the schedule decays: noise of the batch
stays as it is at a low LR. Where neither tells, that is said. The losses of single micro-batches, which would tell it
directly, are in no record.

What it does not know: how many tokens a sample has.
"""

from __future__ import annotations

import math

from .finding import Finding
from .rule import Rule
from .sight import Point, Sight, Window

# Deviations of one step's loss over the whole fall: at a half, the band of nine steps in ten is wider than all that was
# gained. Healthy runs have 0.005 (nanoGPT) to 0.23 (a small CNN on batches of 16).
HIDES = 0.5
SEEN = 0.1  # the same where an update rests on one sample: twice what the same task has on whole batches
FEW = 4  # samples an update: the smallest noise scales of McCandlish et al. 1812.06162 are tens
SLOW = 0.1  # share of a positive first loss that must have gone: with less, little fall is the matter and not much noise
APART = 3.0  # standard errors of the fall, for the same reason where a loss may be negative
BEGUN = 0.3  # share of the run after which a batch that is known to be too small is told
HIGH, LOW = 0.8, 0.25  # shares of the highest LR between which the noise is compared
WIDTH = 256  # second differences at each
ENOUGH = 32  # of them: their median is then known to a fifth or so
TOLD = 128  # at the low LR, to speak before the end: to a tenth
SAME, SHRUNK = 0.75, 0.5  # noise at a low LR over that at a high one: the batch's from here on, the LR's below


class HiddenByNoise(Rule):
    """The noise of one step against all that was gained."""

    def __init__(self) -> None:
        self._high, self._low = Window(WIDTH), Window(WIDTH)
        self._losses: tuple[float, ...] = ()
        self._lr = math.nan
        self._top = 0.0
        self._step = 0
        self._over = self._asked = False

    def see(self, point: Point, sight: Sight) -> list[Finding]:
        """Sorts the noise by the LR; judges it where the batch is known to be small, and where the LR has come down."""
        if self._over or not math.isfinite(point.loss):
            return []
        self._step = point.step
        losses, lr = self._losses, self._lr  # the middle one's LR
        self._losses = (*losses[-1:], point.loss)
        self._lr = point.lrs[0] if point.lrs else math.nan
        if self._lr > 1.25 * self._top:  # a warm-up: what came before is no low LR of a decay
            self._high, self._low, self._top = Window(WIDTH), Window(WIDTH), self._lr
        if len(losses) < 2:
            return []
        away = abs(point.loss - 2 * losses[1] + losses[0])
        if not lr < HIGH * self._top:
            self._high.add(away)
        elif lr <= LOW * self._top:
            self._low.add(away)
            if len(self._low) == TOLD:
                return self._judge(sight)
        steps = sight.setting.steps
        if self._asked or not steps or point.step < BEGUN * steps or sight.count < 2 * ENOUGH:
            return []
        self._asked = True
        return self._judge(sight) if self._samples(sight) <= FEW else []

    def over(self, sight: Sight) -> list[Finding]:
        """The same for a run whose LR has not come down, or for too few steps."""
        return [] if self._over else self._judge(sight)

    def _samples(self, sight: Sight) -> float:
        """Samples an update, on one process where their number is not known; infinite where neither is."""
        given = sight.setting.arguments
        size, parts = given.get("per_device_train_batch_size"), given.get("gradient_accumulation_steps", 1)
        known = isinstance(size, int) and isinstance(parts, int) and size * parts > 0
        return float(size * parts * max(sight.setting.processes, 1)) if known else math.inf

    def _judge(self, sight: Sight) -> list[Finding]:
        if len(self._high) < ENOUGH or len(sight.losses) < ENOUGH:
            return []
        noise = _noise(self._high) * math.sqrt(max(sight.setting.averaged, 1))  # of one step, where the log holds means
        start = _median(sight.first[: 1 if sight.setting.averaged > 1 else 5])  # a mean's noise is small, and its fall steep
        fall = start - sight.losses.median
        samples = self._samples(sight)
        hidden = noise >= HIDES * fall or (samples <= 1 and noise >= SEEN * fall)
        # A fall that may be chance, from the first to the last losses, is slowness, unless the batch says otherwise.
        early, error = _median(sight.first), 1.25 * _noise(self._high)
        chance = APART * error * math.sqrt(1 / len(sight.first) + 1 / len(sight.losses))
        fell = fall > 0 and (samples <= FEW or early - sight.losses.median > chance)
        slow = start > 0 and fall < SLOW * start and samples > 1  # one sample an update is reason enough
        if not hidden or not fell or slow:
            return []
        self._over = True
        return [self._finding(sight, noise, fall, samples)]

    def _finding(self, sight: Sight, noise: float, fall: float, samples: float) -> Finding:
        kept = _noise(self._low) / _noise(self._high) if len(self._low) >= ENOUGH and _noise(self._high) > 0 else math.nan
        cause = "unknown"
        if samples <= FEW or kept >= SAME:
            cause = "batch too small"
        elif kept <= SHRUNK:
            cause = "lr too high"
        averaged = sight.setting.averaged
        means = f" (told from means over {averaged} steps)" if averaged > 1 else ""
        where = "" if sight.setting.processes else " a process"
        batch = f" An update rests on {samples:g} sample{'s' * (samples > 1)}{where}." if samples <= FEW else ""
        tells = (
            "The LR has not come down for long enough to tell whether the noise does with it."
            if math.isnan(kept)
            else f"At a quarter of the highest LR and less it is {kept:.2f} times as large."
        )
        known = samples <= FEW and noise >= HIDES * fall
        return Finding(
            "noisy",
            cause,
            step=self._step,
            since=sight.points[0].step if sight.count < Sight.LAST else self._step - Sight.LAST,
            title="the noise of single steps hides what was gained" if noise >= HIDES * fall else "the loss is noisy",
            evidence=f"One step's loss deviates by {noise:.3g}{means}, where {fall:.3g} was gained in all.{batch} {tells}",
            advice=_advice(cause, noise / fall),
            factor=0.5 if cause == "lr too high" else None,
            confidence="medium" if known or (cause != "unknown" and noise >= HIDES * fall) else "low",
            attention=cause != "unknown",  # every batch of a classifier is as noisy
        )


def _noise(jitter: Window) -> float:
    """The standard deviation of the noise, of its second differences; as `Sight.noise`."""
    return 1.4826 * jitter.median / math.sqrt(6)


def _median(some: list[float]) -> float:
    return sorted(some)[len(some) // 2]


def _advice(cause: str, ratio: float) -> str:
    smaller = min(max(ratio / (HIDES / 2), 2.0), 8.0)
    more = 2 ** math.ceil(2 * math.log2(smaller))  # noise falls with the root of the batch
    accumulate = f"Accumulate: gradient_accumulation_steps {more} times as large leaves {more**-0.5:.2g} of the noise"
    if cause == "batch too small":
        return f"{accumulate}; or lower the LR with the root of the batch if it must stay so small."
    if cause == "lr too high":
        return "Halve the peak, or decay earlier: the noise goes down with the LR, so it is the LR's and not the batch's."
    return f"{accumulate}; if it is as noisy then, halve the peak. The evidence does not tell which."
