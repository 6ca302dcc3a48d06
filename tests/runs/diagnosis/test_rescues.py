"""A run that was rescued says so."""

from __future__ import annotations

from hf_lrsched.runs.diagnosis.rescues import Rescued
from hf_lrsched.runs.history import Event

from .curves import falling, findings, found, history


def test_each_rescue_is_told_and_needs_no_attention() -> None:
    events = [Event(50, "rescue", "back to 40"), Event(70, "resume"), Event(80, "rescue", "back to 60")]
    told = findings(history(falling(100), events=events), Rescued)
    assert [(one.cause, one.since, one.evidence, one.attention) for one in told] == [
        ("rescued", 50, "back to 40", False),
        ("rescued", 80, "back to 60", False),
    ]


def test_it_is_told_behind_an_explosion_too() -> None:
    losses = [*falling(100), *[float("nan")] * 5]
    causes = [cause for _, cause, _ in found(history(losses, events=[Event(50, "rescue", "back to 40")]))]
    assert causes == ["lr too high", "rescued"]


def test_a_run_that_was_not_says_nothing() -> None:
    assert found(history(falling(100), events=[Event(50, "resume")]), Rescued) == []
