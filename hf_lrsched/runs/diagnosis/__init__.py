"""What is wrong with a run, and whether it is the learning rate: `diagnose`, or point by point `Diagnosis`.

The rules are listed in `RULES`, one family of symptoms a file. A run that is watched and its file, read afterwards, are told
the same things.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..history import Event, History
from .another_schedule import AnotherSchedule
from .configuration import EndsHigh, GroupsCollapsed, NeverWarm, NoLR
from .explosion import Diverges, HiddenNaN, NotFinite
from .finding import SYMPTOMS, Finding
from .learned import BeginsWorse, NothingLearned
from .noisy import HiddenByNoise
from .nothing_trains import LossScaled, NothingMoves, UpdatesSkipped
from .overfitting import Overfitting
from .plateau import Flat, NothingLeft
from .progress import LearningRate
from .rescues import Rescued
from .rule import Rule
from .sight import Point, Setting, Sight
from .spike import LossSpike, NormGrows

RULES: tuple[type[Rule], ...] = (
    *(NotFinite, HiddenNaN, Diverges),
    *(LossSpike, NormGrows),
    *(LearningRate, BeginsWorse, NothingLearned),
    Rescued,
    Overfitting,
    *(NeverWarm, EndsHigh, GroupsCollapsed, NoLR, AnotherSchedule),
    *(NothingMoves, UpdatesSkipped, LossScaled),
    *(Flat, NothingLeft),
    HiddenByNoise,
)

__all__ = ["RULES", "SYMPTOMS", "Diagnosis", "Finding", "Point", "Rule", "Setting", "diagnose", "points"]


_CONSEQUENCES = ("explodes", "slow", "plateau", "noisy", "spike")


class Diagnosis:
    """Shows a run to the rules, point by point, in the order in which things happened.

    Args:
        setting: what is known of the run before its first step.
        rules: by default all that are listed.
    """

    def __init__(self, setting: Setting, rules: Sequence[type[Rule]] = RULES) -> None:
        self.findings: list[Finding] = []
        self._sight = Sight(setting)
        self._rules = [rule() for rule in rules]
        self._exploded = False

    def see(self, point: Point) -> list[Finding]:
        """What is found with the next point."""
        new = [found for rule in self._rules for found in rule.see(point, self._sight)]
        self._sight.include(point)
        return self._kept(new)

    def evaluated(self, step: int, loss: float) -> list[Finding]:
        """What is found with a held-out loss."""
        new = [found for rule in self._rules for found in rule.evaluated(step, loss, self._sight)]
        self._sight.evaluated(step, loss)
        return self._kept(new)

    def happened(self, event: Event) -> None:
        """Tells of an event, before the point it falls before."""
        self._sight.happened(event)

    def over(self) -> list[Finding]:
        """What is found when no more points come."""
        return self._kept([found for rule in self._rules for found in rule.over(self._sight)])

    def _kept(self, new: list[Finding]) -> list[Finding]:
        """Those that are told: what comes behind an explosion is its consequence."""
        kept = [found for found in new if not (self._exploded and _follows(found))]
        self._exploded |= any(found.symptom == "explodes" and found.attention for found in kept)
        self.findings += kept
        return kept


def _follows(found: Finding) -> bool:
    """Whether it only tells what an explosion does to a run: a curve without a shape, or an end before its time."""
    return (found.attention and found.symptom in _CONSEQUENCES) or found.cause == "stopped early"


def points(run: History) -> list[Point]:
    """The points of `run`, as rules are shown them."""
    lrs = [tuple(row) for row in run.lr.tolist()]
    columns = (run.step, run.loss, run.grad_norm, run.skipped, run.logged, run.momentum)
    step, loss, norm, skipped, logged, momentum = (column.tolist() for column in columns)
    return [Point(*row) for row in zip(step, loss, lrs, norm, skipped, run.phase, logged, momentum, strict=True)]


def diagnose(run: History, rules: Sequence[type[Rule]] | None = None) -> list[Finding]:
    """What is wrong with `run`, in the order in which it was found.

    Nothing found is no proof that nothing is wrong: rules say what they are sure of, and a log of means hides much.

    Args:
        run: a finished run or one that still goes on, from whatever source (`read_history`).
        rules: by default all that are listed in `RULES`.

    >>> losses = [4.0, 3.9, 3.7, 3.8, 3.6, 3.5, 3.6, 3.4, 3.5, 3.3] * 8
    >>> log = [{"step": step, "loss": loss, "lr": 1e-3} for step, loss in enumerate([*losses, *[float("nan")] * 5], start=1)]
    >>> [found] = diagnose(History.of(log))
    >>> found.symptom, found.cause, found.since, found.title
    ('explodes', 'lr too high', 81, 'the loss is no longer a number')
    """
    diagnosis = Diagnosis(Setting.of(run), RULES if rules is None else rules)
    evaluations = list(zip(run.eval_step.tolist(), run.eval_loss.tolist(), strict=True))[::-1]
    events = list(run.events)[::-1]
    for point in points(run):
        while evaluations and evaluations[-1][0] < point.step:
            diagnosis.evaluated(*evaluations.pop())
        while events and events[-1].step < point.step:
            diagnosis.happened(events.pop())
        diagnosis.see(point)
    for evaluation in evaluations[::-1]:
        diagnosis.evaluated(*evaluation)
    diagnosis.over()
    return diagnosis.findings
