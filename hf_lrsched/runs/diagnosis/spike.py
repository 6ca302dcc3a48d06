"""A sudden spike: the loss, or the gradient norm ahead of it, leaves its band and comes back.

What has to be told apart: a bad batch, an instability that the learning rate has its share in, and what the schedule or a
resume has just done, which is expected and no alarm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from .explosion import LEAD, lead, scale, steps
from .finding import Confidence, Finding
from .rule import Rule
from .schedule_did import Doing, doing
from .sight import Point, Sight

# Times as far above the median as the highest of the last 64, and, in standard deviations, as any loss of the run that
# nothing led: what a batch's heavy tail reaches is no spike (of Student's t of 3, 64 losses still hide the tail).
BEYOND = 2.0
CLEAR = 12.0  # standard deviations; the hardest single batches of GPT-2 124M's 19,560 lie at 8 to 9 and did no harm
TWICE_CLEAR = 8.0  # the same of all that the last 64 losses do, and for a loss that is twice the usual one
_CALM = 32  # points before anything is a spike
_BACK = 3.0  # standard deviations above the median, within which a loss has come back
_ONCE = 2  # losses out of the band, at most, after a bad batch: its update is one, and momentum may carry one more
_LONG = 100  # points out of the band, after which it is no spike any more; BLOOM's was back after 30
_GROWING = 3  # gradient norms in a row above their band, each above the last


class LossSpike(Rule):
    """The loss leaves its band, and comes back. Said once it is back; what does not come back is for `Diverges`."""

    MOST = 3  # findings of a run: whoever has seen three knows

    def __init__(self) -> None:
        self._out: _Out | None = None
        self._furthest = 0.0
        self._count = 0

    def see(self, point: Point, sight: Sight) -> list[Finding]:
        """A loss outside of the band, or the first that is back."""
        loss = point.loss
        if self._count >= self.MOST or not math.isfinite(loss):
            return []
        out = self._out
        if out is None:
            if len(sight.losses) >= _CALM and loss > sight.losses.quantile(1.0) and self._leaves(loss, sight):
                usual, noise = sight.losses.median, scale(sight)
                self._out = _Out(point, doing(point, sight), usual, noise, lead(sight, point.step - 1), point)
            return []
        if loss > out.usual + _BACK * out.noise and out.points < _LONG:
            out.points += 1
            out.highest = max(out.highest, point, key=lambda one: one.loss)
            return []
        self._out = None
        if out.points >= _LONG:
            return []
        self._count += 1
        return [_finding(out, point)]

    def _leaves(self, loss: float, sight: Sight) -> bool:
        usual, highest = sight.losses.median, sight.losses.quantile(1.0)
        far, near = (loss - usual) / max(scale(sight), 1e-300), (loss - usual) / max(sight.noise, 1e-300)
        before, self._furthest = self._furthest, max(self._furthest, far)
        if loss - usual <= BEYOND * (highest - usual) or far <= BEYOND * before:
            return False
        return far > TWICE_CLEAR and (near > CLEAR or loss > 2 * usual > 0)  # a steep fall is wide, and not noisy


@dataclass
class _Out:
    """What is out of the band: since which point, and from where."""

    first: Point
    did: Doing
    usual: float
    noise: float
    led: tuple[int, float] | None
    highest: Point
    points: int = 1


def _finding(out: _Out, back: Point) -> Finding:
    likely, first, height = _likely(out), out.first.step, out.highest.loss - out.usual
    most = f", at most {out.highest.loss:.4g} at step {out.highest.step}" if out.highest is not out.first else ""
    return Finding(
        "spike",
        likely.cause,
        step=back.step,
        since=first if out.led is None or not likely.attention else out.led[0],
        title=likely.title,
        evidence=f"{out.usual:.4g} to {out.first.loss:.4g} at step {first}{most}, {height:.3g} above the median "
        f"({height / out.noise:.0f} standard deviations), back at step {back.step}{likely.told}",
        advice=likely.advice,
        factor=likely.factor,
        confidence=likely.confidence,
        attention=likely.attention,
    )


class _Likely(NamedTuple):
    """What is likely behind a spike."""

    cause: str
    title: str
    told: str
    advice: str
    confidence: Confidence
    factor: float | None = None
    attention: bool = True


def _likely(out: _Out) -> _Likely:
    if out.did == "restart":
        title, advice = "the loss rose, as the learning rate has just risen again", "nothing: it is expected"
        return _Likely("restart", title, "", advice, "high", attention=False)
    if out.did == "resume":
        advice = "nothing where it comes back; else see whether optimizer, scheduler and scaler were restored"
        return _Likely("resume", "the loss rose, as the run has just been resumed", "", advice, "high", attention=False)
    first = out.first.step
    if out.led is not None:
        return _Likely(
            "lr too high",
            "the loss spiked, and the gradient norm led it",
            f"; the gradient norm left its band {steps(first - out.led[0])} earlier, at {out.led[1]:.3g} times its median",
            "if it comes again, divide the peak by 2 to 3 or clip at the usual gradient norm; PaLM went back 100 steps and "
            "skipped 200 to 500 batches",
            "medium",
            factor=0.5,
        )
    if out.did in ("warm-up", "end of warm-up"):
        return _Likely(
            "lr too high",
            "the loss spiked as the learning rate came to its peak",
            "; the gradient norm did not lead it, so a bad batch is as likely",
            f"look at the batch of step {first}; if it comes again, warm up for longer or divide the peak by 2 to 3",
            "low",
            factor=0.5,
        )
    if out.points <= _ONCE:
        return _Likely(
            "bad batch",
            "the loss of a batch lies far outside the others",
            "; nothing led it",
            f"look at the batch of step {first}: labels, length, duplicates; the learning rate is not the cause",
            "medium",
        )
    return _Likely(
        "unknown",
        "the loss spiked and took a while to come back",
        f", after {out.points} points; nothing that is recorded led it",
        f"look at the batches from step {first} on; if it comes again elsewhere, divide the peak by 2 to 3",
        "low",
    )


class NormGrows(Rule):
    """The gradient norm leaves its band and grows, before the loss shows anything."""

    def __init__(self) -> None:
        self._growing: list[Point] = []
        self._said = False

    def see(self, point: Point, sight: Sight) -> list[Finding]:
        """Three in a row, each above the last, all above whatever the last 64 had."""
        norm = point.grad_norm
        if self._said or not math.isfinite(norm):
            return []
        band = LEAD * sight.norms.median
        if len(sight.norms) < _CALM or norm < band or (self._growing and norm <= self._growing[-1].grad_norm):
            self._growing = []
            return []
        if not self._growing and norm <= sight.norms.quantile(1.0):
            return []
        self._growing.append(point)
        if len(self._growing) < _GROWING or doing(point, sight) in ("restart", "resume"):
            return []
        self._said = True
        times = ", ".join(f"{one.grad_norm / sight.norms.median:.3g}" for one in self._growing)
        return [
            Finding(
                "spike",
                "lr too high",
                step=point.step,
                since=self._growing[0].step,
                title="the gradient norm has left its band and grows",
                evidence=f"{times} times its median ({sight.norms.median:.3g}) in {_GROWING} steps in a row; in BLOOM's "
                "first spike that was 3.9, 9.9, 66 times, two steps before the loss's peak",
                advice="keep the checkpoint before it; if the loss follows, clip at the usual norm, or divide the peak by 2",
                factor=0.5,
                confidence="low",
            )
        ]
