"""A sudden spike: the loss, or the gradient norm ahead of it, leaves its band and comes back.

What has to be told apart: a bad batch, an instability that the learning rate has its share in, and what the schedule or a
resume has just done, which is expected and no alarm.
"""

from __future__ import annotations

import math

from .explosion import LEAD, lead, scale
from .finding import Finding
from .rule import Rule
from .schedule_did import Doing, doing
from .sight import Point, Sight

BEYOND = 2.0  # times as far above the median as the highest of the last 64: what a batch's heavy tail reaches is no spike
CLEAR = 12.0  # standard deviations; the hardest single batches of GPT-2 124M's 19,560 lie at 8 to 9 and did no harm
TWICE_CLEAR = 8.0  # the same for a loss that is twice the usual one
_CALM = 32  # points before anything is a spike
_BACK = 3.0  # standard deviations above the median, within which a loss has come back
_ONCE = 2  # losses out of the band, at most, after a bad batch: its update is one, and momentum may carry one more
_LONG = 100  # points out of the band, after which it is no spike any more; BLOOM's was back after 30
_GROWING = 3  # gradient norms in a row above their band, each above the last


class LossSpike(Rule):
    """The loss leaves its band, and comes back. Said once it is back; what does not come back is for `Diverges`."""

    MOST = 3  # findings of a run: whoever has seen three knows

    def __init__(self) -> None:
        self._first: Point | None = None
        self._did: Doing = ""
        self._out = 0
        self._highest = self._usual = self._band = 0.0
        self._led: tuple[int, float] | None = None
        self._count = 0

    def see(self, point: Point, sight: Sight) -> list[Finding]:
        """A loss outside of the band, or the first that is back."""
        loss = point.loss
        if self._count >= self.MOST or not math.isfinite(loss):
            return []
        if self._first is None:
            if len(sight.losses) >= _CALM and self._leaves(loss, sight):
                self._first, self._did, self._out, self._highest = point, doing(point, sight), 1, loss
                self._usual, self._band = sight.losses.median, _BACK * scale(sight)
                self._led = lead(sight, point.step - 1)
            return []
        if loss > self._usual + self._band and self._out < _LONG:
            self._out += 1
            self._highest = max(self._highest, loss)
            return []
        found = [self._finding(point, sight)] if self._out < _LONG else []
        self._count += len(found)
        self._first = None
        return found

    @staticmethod
    def _leaves(loss: float, sight: Sight) -> bool:
        usual, highest = sight.losses.median, sight.losses.quantile(1.0)
        far = (loss - usual) / max(scale(sight), 1e-12)
        return loss - usual > BEYOND * (highest - usual) and (far > CLEAR or (far > TWICE_CLEAR and loss > 2 * usual > 0))

    def _finding(self, point: Point, sight: Sight) -> Finding:
        assert self._first is not None
        first = self._first.step
        seen = (
            f"{self._usual:.4g} to {self._highest:.4g} at step {first}, {self._highest - self._usual:.3g} above the median "
            f"({(self._highest - self._usual) / (self._band / _BACK):.0f} standard deviations), back at step {point.step}"
        )
        if self._did in ("restart", "resume"):
            what = "the learning rate has just risen again" if self._did == "restart" else "the run has just been resumed"
            return Finding(
                "spike",
                self._did,
                step=point.step,
                since=first,
                title=f"the loss rose, as {what}",
                evidence=seen,
                advice="nothing: it is expected"
                if self._did == "restart"
                else "nothing where it comes back; else see whether optimizer, scheduler and scaler were restored",
                confidence="high",
                attention=False,
            )
        if self._led is not None:
            since, times = self._led
            return Finding(
                "spike",
                "lr too high",
                step=point.step,
                since=since,
                title="the loss spiked, and the gradient norm led it",
                evidence=f"{seen}; the gradient norm left its band {first - since} steps earlier, at {times:.3g} times its "
                "median",
                advice="if it comes again, divide the peak by 2 to 3 or clip at the usual gradient norm; PaLM went back "
                "100 steps and skipped 200 to 500 batches",
                factor=0.5,
                confidence="medium",
            )
        if self._out <= _ONCE:
            return Finding(
                "spike",
                "bad batch",
                step=point.step,
                since=first,
                title="the loss of a batch lies far outside the others",
                evidence=f"{seen}; nothing led it and it was back after {self._out}",
                advice=f"look at the batch of step {first}: labels, length, duplicates; the learning rate is not the cause",
                confidence="medium",
            )
        return Finding(
            "spike",
            "unknown",
            step=point.step,
            since=first,
            title="the loss spiked and took a while to come back",
            evidence=f"{seen}, after {self._out} points; nothing that is recorded led it",
            advice=f"look at the batches from step {first} on; if it comes again elsewhere, divide the peak by 2 to 3",
            confidence="low",
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
        times = " , ".join(f"{one.grad_norm / sight.norms.median:.3g}" for one in self._growing).replace(" ,", ",")
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
