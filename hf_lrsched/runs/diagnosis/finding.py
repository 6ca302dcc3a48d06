"""What is found: `Finding`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Symptom = Literal["explodes", "slow", "plateau", "noisy", "overfitting", "spike", "configuration"]
Confidence = Literal["high", "medium", "low"]

SYMPTOMS: tuple[Symptom, ...] = ("explodes", "slow", "plateau", "noisy", "overfitting", "spike", "configuration")


@dataclass(frozen=True)
class Finding:
    """Something that is wrong with a run, or worth knowing about it, and what speaks for it.

    Args:
        symptom: the row of the table of symptoms, one of `SYMPTOMS`.
        cause: the likely cause in a word or two that a program can compare, such as ``"lr too high"`` or ``"bad batch"``;
            ``"unknown"`` where the evidence does not tell.
        step: the last step that it rests on, at which it was found.
        since: the step at which what is found began.
        title: what is seen, in one sentence without an end.
        evidence: the numbers, in one or more sentences.
        advice: what to do, in a sentence.
        factor: what to multiply the peak LR by; None where the evidence carries none.
        confidence: ``"high"``, ``"medium"`` or ``"low"``.
        attention: whether somebody should look. False for what is expected, such as the rise behind a warm restart.

    >>> found = Finding("spike", "restart", step=500, since=498, title="the loss rose", evidence="2.1 to 2.9", advice="none")
    >>> found.attention, found.to_dict()["cause"]
    (True, 'restart')
    """

    symptom: Symptom
    cause: str
    step: int
    since: int
    title: str
    evidence: str
    advice: str
    factor: float | None = None
    confidence: Confidence = "medium"
    attention: bool = True

    def to_dict(self) -> dict[str, Any]:
        """Itself in plain JSON types."""
        return asdict(self)


def rounded(factor: float) -> str:
    """A factor as it is said: no digit more than it is worth.

    >>> rounded(1 / 0.3), rounded(10.0), rounded(1 / 0.0123)
    ('3.3', '10', '81')
    """
    return f"{round(factor, 1 if factor < 10 else 0):g}"
