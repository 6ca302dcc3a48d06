"""What a resumed run does when its schedule has changed: `on_resume` in ``lr_scheduler_kwargs``.

The saved and the configured schedule are compared; a difference is shown once, as a table, and the policy decides:

- ``configured``: what was typed now wins, evaluated at the restored step; the very next update already uses it;
- ``checkpoint``: the checkpoint's schedule and learning rates go on, and what was typed is set aside;
- ``glide``: as configured, but the LR moves in a straight line from the checkpoint's to it, over ``resume_steps``;
- ``strict``: any difference is refused, before a step is taken.

What it does not know: optimizers (`scheduler` does) and files (`checkpoints` does).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

from ..schedules.checks import real
from ..schedules.lengths import Horizon, Length, default_warmup
from ..schedules.phase import Phase
from ..schedules.schedule import Schedule
from ..schedules.shapes import LINEAR
from ..schedules.spec import from_spec

logger = logging.getLogger(__name__)

POLICIES = ("configured", "checkpoint", "glide", "strict")
WORDS = ("on_resume", "resume_steps")

_JUMP = 0.10  # a step of the LR by more than this is named: the issue this policy answers asks for it
_expected: ContextVar[bool] = ContextVar("expected", default=False)


@dataclass(frozen=True)
class Resume:
    """What was typed about resuming.

    Args:
        policy: one of `POLICIES`.
        steps: how many steps a glide takes; None is `lengths.default_warmup` of the steps that are left, as a change of
            the LR is a warm-up from another value.
    """

    policy: str = "configured"
    steps: float | None = None

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            raise ValueError(f"on_resume={self.policy!r} is not a policy; the policies are {', '.join(POLICIES)}")
        if self.steps is None:
            return
        _check_glides(self.policy, self.steps)
        real("resume_steps", self.steps, least=0)

    @classmethod
    def of(cls, words: Mapping[str, Any], run: Horizon) -> tuple[Resume, dict[str, Any]]:
        """What `words` say about resuming, and the rest of them.

        >>> Resume.of({"on_resume": "glide", "resume_steps": "5%", "decay": 0.2}, Horizon(1000))
        (Resume(policy='glide', steps=50.0), {'decay': 0.2})

        Raises:
            ValueError: for an unknown policy, or ``resume_steps`` without a glide.
        """
        rest = {word: value for word, value in words.items() if word not in WORDS}
        policy, length = words.get("on_resume") or "configured", words.get("resume_steps")
        if length is None:
            return cls(policy), rest
        if policy in POLICIES:
            _check_glides(policy, length)
        return cls(policy, run.told(words)[0].steps_of(length, "resume_steps")), rest


def _check_glides(policy: str, length: Length) -> None:
    if policy != "glide":
        raise ValueError(f"resume_steps={length!r} is for on_resume='glide', but on_resume is '{policy}'; remove it")


@dataclass(frozen=True)
class Glide:
    """A straight line from the LRs that a checkpoint had to those of the schedule.

    >>> glide = Glide(start=10, steps=4, lrs=(1.0,))
    >>> [glide.mixed(step, [0.5])[0] for step in (10, 11, 14, 15)]
    [1.0, 0.875, 0.5, 0.5]
    """

    start: int
    steps: float
    lrs: tuple[float, ...]

    def mixed(self, step: int, lrs: Sequence[float]) -> list[float]:
        """The LRs at `step`, where the schedule asks for `lrs`."""
        share = min(1.0, (step - self.start) / self.steps) if self.steps else 1.0
        return [old + (new - old) * share for old, new in zip(self.lrs, lrs, strict=True)]

    def over(self, step: int) -> bool:
        """Whether the schedule's own LR is reached."""
        return step >= self.start + self.steps


@dataclass(frozen=True)
class Cooldown:
    """A decay that was started on demand: `steps` steps from step `at` on, down to the share `to` of the peak.

    `at` is the schedule's step; `skipped` updates before it moved no weights, and the schedule did not advance.
    """

    at: int
    steps: int
    shape: str = "1-sqrt"
    to: float = 0.0
    reason: str = ""
    skipped: int = 0

    @property
    def first(self) -> int:
        """The run's step at which it starts."""
        return self.at + self.skipped

    @property
    def end(self) -> int:
        """The run's step at which it is over."""
        return self.first + self.steps


@dataclass(frozen=True)
class Saved:
    """What the state of a scheduler says; of a scheduler that is not ours, what can be known."""

    step: int
    count: int
    peaks: tuple[float, ...] | None
    lrs: tuple[float, ...] | None
    schedule: Schedule | None
    glide: Glide | None = None
    cooldown: Cooldown | None = None
    skipped: int | None = None

    @classmethod
    def read(cls, state: Mapping[str, Any]) -> Saved:
        """Takes `state` apart.

        Raises:
            ValueError: where it is not the state of a scheduler, or its parts cannot be read.
        """
        step = state.get("last_epoch") if isinstance(state, Mapping) else None
        if not isinstance(step, int) or isinstance(step, bool) or step < 0:
            raise ValueError(f"this scheduler state holds no step (last_epoch={step!r}); is it a scheduler's?")
        try:
            ours = isinstance(state.get("schedule"), Mapping)  # a foreign scheduler may have such words for other things
            spec, glide, cooldown = (state.get(key) if ours else None for key in ("schedule", "glide", "cooldown"))
            return cls(
                step,
                int(state.get("_step_count", step + 1)),
                _floats(state.get("base_lrs")),
                _floats(state.get("_last_lr")),
                None if spec is None else from_spec(spec),
                None if glide is None else Glide(glide["start"], glide["steps"], tuple(glide["lrs"])),
                None if cooldown is None else Cooldown(**cooldown),
                state.get("skipped") if ours else None,
            )
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            raise ValueError(f"the schedule in this checkpoint cannot be read: {error}") from error


def _floats(values: Any) -> tuple[float, ...] | None:
    return None if values is None else tuple(float(value) for value in values)


@dataclass(frozen=True)
class Course:
    """What a scheduler follows: the schedule, the peak of each group, and a glide that is not over."""

    schedule: Schedule
    peaks: tuple[float, ...]
    glide: Glide | None = None

    def lrs(self, step: int) -> tuple[float, ...]:
        """The LR of each group at `step`."""
        lrs = [self.schedule.lr(step, peak) for peak in self.peaks]
        return tuple(self.glide.mixed(step, lrs) if self.glide else lrs)


def resumed(saved: Saved, now: Course, resume: Resume) -> tuple[Course, str]:
    """The course a run goes on under, and the table of what differs ("" where nothing does).

    Raises:
        ValueError: under ``strict``, where something differs; where a policy needs what the checkpoint does not have.
    """
    going = saved.glide if saved.glide is not None and not saved.glide.over(saved.step) else None
    changed = _changes(saved, now, going if resume.policy in ("configured", "strict") else None)
    if not changed:
        return replace(now, glide=going if resume.policy != "configured" else None), ""
    if resume.policy == "strict":
        raise ValueError(f"{_table(saved, now, changed)}\non_resume='strict' refuses any difference; {_others('strict')}")
    course = _course(saved, now, resume, going)
    return course, f"{_table(saved, now, changed)}\n{_decision(saved, now, course, resume)}"


def _course(saved: Saved, now: Course, resume: Resume, going: Glide | None) -> Course:
    if resume.policy == "configured":
        return now
    lrs = _needed(saved.lrs, "learning rates", saved, now, resume)
    if resume.policy == "glide":
        steps = default_warmup(max(int(now.schedule.total - saved.step), 1)) if resume.steps is None else resume.steps
        return replace(now, glide=Glide(saved.step, steps, lrs))
    peaks = _needed(saved.peaks, "peak learning rates", saved, now, resume)
    if saved.schedule is None:
        raise ValueError(
            "on_resume='checkpoint' needs a checkpoint that holds its schedule, and this one was written by another "
            f"scheduler; {_others('checkpoint', 'strict')}"
        )
    return Course(saved.schedule, peaks, going)


def _needed(values: tuple[float, ...] | None, what: str, saved: Saved, now: Course, resume: Resume) -> tuple[float, ...]:
    if values is None or len(values) != len(now.peaks):
        has = "none" if values is None else str(len(values))
        raise ValueError(
            f"on_resume='{resume.policy}' needs the {what} of all {len(now.peaks)} parameter groups, and the checkpoint of "
            f"step {saved.step} has {has}; {_others(resume.policy, 'strict', 'checkpoint', 'glide')}"
        )
    return values


def _others(*but: str) -> str:
    words = {
        "configured": "'configured' takes what is configured now",
        "checkpoint": "'checkpoint' goes on with what was saved",
        "glide": "'glide' moves to what is configured over resume_steps",
        "strict": "'strict' refuses any difference",
    }
    return f"on_resume: {', '.join(text for policy, text in words.items() if policy not in but)}"


Row = tuple[str, str, str, str]


def _changes(saved: Saved, now: Course, dropped: Glide | None) -> list[Row]:
    """The rows of the table: what, saved, now, effect on the next LR of the first group."""
    rows: list[Row] = []
    step, spec = saved.step, saved.schedule
    old_peaks = saved.peaks if saved.peaks and len(saved.peaks) == len(now.peaks) else now.peaks
    if spec is None or _parts(spec) != _parts(now.schedule):
        before = spec.lr(step, old_peaks[0]) if spec else (saved.lrs or (float("nan"),))[0]
        effect = _effect(before, _lr(now.schedule, step, old_peaks[0]))
        rows.append(("schedule", _named(spec) if spec else "another scheduler's", _named(now.schedule), effect))
    if spec is not None and spec.total != now.schedule.total:
        rows.append(("steps", f"{spec.total:g}", f"{now.schedule.total:g}", "see schedule"))
    if saved.peaks is not None and saved.peaks != now.peaks:
        group = next((i for i, (old, new) in enumerate(zip(old_peaks, now.peaks, strict=True)) if old != new), 0)
        effect = _effect(_lr(now.schedule, step, old_peaks[group]), now.schedule.lr(step, now.peaks[group]))
        old, new = (_shown(peaks, saved.peaks, now.peaks) for peaks in (saved.peaks, now.peaks))
        rows.append(("peak LR", old, new, effect))
    if spec is not None and _momentum(spec) != _momentum(now.schedule):
        old, new = (f"{one.momentum(step):.3g} now" if one.momentum else "left alone" for one in (spec, now.schedule))
        rows.append(("momentum", old, new, "none"))
    if dropped is not None:
        effect = _effect((saved.lrs or dropped.lrs)[0], now.schedule.lr(step, now.peaks[0]))
        rows.append(("glide", f"until step {dropped.start + dropped.steps:g}", "dropped", effect))
    return rows


def _lr(schedule: Schedule, step: int, peak: float) -> float:
    return schedule.lr(step, max(peak, schedule.min_lr))  # the saved peak may lie below the floor that is configured now


def _parts(schedule: Schedule) -> object:
    """What makes the LR: names of phases, and phases without a length, do not."""
    spans = [(start, end, p.start, p.end, str(p.shape), p.until) for start, end, p in schedule.spans()]
    return spans, schedule.phases[-1].last, schedule.min_lr


def _momentum(schedule: Schedule) -> object:
    return None if schedule.momentum is None else _parts(schedule.momentum)


def _named(schedule: Schedule) -> str:
    text = ", ".join(_phase(end - start, phase) for start, end, phase in schedule.spans())
    text += f", min_lr {schedule.min_lr:g}" if schedule.min_lr else ""
    shown = text if len(text) <= 60 else f"{text[:57]}..."
    return f"{schedule.name}: {shown}" if schedule.name else shown


def _phase(length: float, phase: Phase) -> str:
    if phase.start == phase.last:
        return f"{phase.name} {length:g}"
    return f"{phase.name} {length:g} to {phase.last:.3g}" + ("" if phase.shape == LINEAR else f" {phase.shape}")


def _shown(values: Sequence[float], old: Sequence[float], new: Sequence[float]) -> str:
    """`values` of the groups in which old and new differ; once where all groups have the same."""
    if len(set(old)) == len(set(new)) == 1:
        return f"{values[0]:g}"
    if len(old) != len(new):
        return f"{len(values)} groups"
    differ = [i for i, (one, other) in enumerate(zip(old, new, strict=True)) if one != other]
    return ", ".join(f"{values[i]:g} (group {i})" for i in differ[:4]) + (", ..." if len(differ) > 4 else "")


def _effect(before: float, after: float) -> str:
    if before == after:
        return "none"
    return f"{before:.4g} -> {after:.4g}" + (f" (x {after / before:.3g})" if before > 0 else "")


def _table(saved: Saved, now: Course, changed: list[Row]) -> str:
    rows = [("", "saved", "now", "effect on the next LR"), *changed]
    if len(changed) > 1 and saved.lrs is not None:
        rows.append(("together", "", "", _effect(saved.lrs[0], now.lrs(saved.step)[0])))
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return f"the checkpoint of step {saved.step} was written under another schedule than the one configured now:\n  " + (
        "\n  ".join(lines)
    )


def _decision(saved: Saved, now: Course, course: Course, resume: Resume) -> str:
    """What the policy makes of it, in a sentence."""
    step = saved.step
    if resume.policy == "glide" and course.glide is not None:
        end = course.glide.start + course.glide.steps
        late = "" if end <= now.schedule.total else f", which ends before, at step {now.schedule.total:g}"
        return (
            f"on_resume='glide': the LR moves from {course.glide.lrs[0]:.4g} to the configured schedule over "
            f"{course.glide.steps:g} steps{late}"
        )
    if resume.policy == "checkpoint":
        text = "on_resume='checkpoint': what was saved goes on, what is configured now is set aside"
        if course.schedule.total < now.schedule.total:
            held = course.lrs(int(course.schedule.total))[0]
            text += (
                f"; it ends at step {course.schedule.total:g}, so from there to step {now.schedule.total:g} the LR stays at "
                f"{held:.4g}"
            )
        return text
    text = f"on_resume='configured': the run goes on at step {step} with what is configured now"
    pairs = [(old, new) for old, new in zip(saved.lrs or (), now.lrs(step), strict=False) if old != new]
    jump = max((abs(new - old) / old if old > 0 else math.inf for old, new in pairs), default=0.0)
    if jump > _JUMP:
        how = f"jumps by {jump:.0%}" if math.isfinite(jump) else "jumps up from 0"
        text += f", and its LR {how}; {_others('configured')}"
    return text


@contextmanager
def expected_change() -> Iterator[None]:
    """Inside it a difference is what the code that resumes has planned, and is not shown as a warning."""
    token = _expected.set(True)
    try:
        yield
    finally:
        _expected.reset(token)


def show(table: str) -> None:
    """Logs the table of `resumed`."""
    logger.log(logging.INFO if _expected.get() else logging.WARNING, "%s", table)
