"""What a schedule is told and does not take, or takes for something else.

What they do not know: schedules that somebody else has registered.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any

from ..configuration import Configuration, Setting
from ..remark import Remark
from ..rule import Example, Rule
from .arguments import (
    ACCEPTED,
    DROPS_KWARGS,
    FOLLOWS_THE_LOSS,
    SCHEDULED,
    kwargs_of,
    missing_words,
    number_in,
    place_of,
    wrong_words,
)
from .mending import removed, replaced
from .wording import spoken

_THEIRS = (*ACCEPTED, *DROPS_KWARGS, *FOLLOWS_THE_LOSS)
FOR_RESUMING = ("on_resume", "resume_steps")
"""Words of ``lr_scheduler_kwargs`` that are for resuming, and no schedule's; a test holds them to `training.resume`."""

_NEAR = 0.8  # of difflib: "cosin" and "warmup_stable_deca" are as near, "rex" and "one_cycle" are not


class ArgumentsDropped(Rule):
    """Arguments of a schedule that is made without any."""

    id, name, level = "LR013", "schedule-arguments-dropped", "warning"
    source = "get_scheduler of transformers 5.23.0"
    example = Example(
        "sft.yaml",
        "learning_rate: 0.1\nmax_steps: 9\nlr_scheduler_type: constant_with_warmup\nlr_scheduler_kwargs: {min_lr: 1.0e-6}\n",
        "learning_rate: 0.1\nmax_steps: 9\nlr_scheduler_type: cosine_with_min_lr\nlr_scheduler_kwargs: {min_lr: 1.0e-6}\n",
        'get_scheduler("constant", optimizer, 0, 3, {"bogus": 1}) drops the word in silence (transformers 5.23.0)',
    )

    def judge(self, configuration: Configuration, siblings: Sequence[Configuration]) -> Iterator[Remark]:
        """Of Transformers' two constants."""
        kwargs, setting = kwargs_of(configuration), configuration.get("lr_scheduler_kwargs")
        if not kwargs or configuration.schedule not in DROPS_KWARGS or configuration.form not in SCHEDULED:
            return
        words = ", ".join(f"{word}={value}" for word, value in kwargs.items())
        sentence = f"{configuration.schedule} is made without lr_scheduler_kwargs ({words}), which do nothing"
        fix = None if setting is None else removed(setting)
        yield self.remark(configuration, setting, sentence, "Remove them, or take a schedule that knows them", fix=fix)


class ArgumentsRefused(Rule):
    """Arguments that a schedule does not take, or lacks: the run ends before its first step."""

    id, name, level = "LR028", "schedule-arguments-refused", "error"
    source = "transformers.optimization of transformers 5.23.0; https://github.com/hiyouga/LlamaFactory/issues/5548"
    example = Example(
        "sft.yaml",
        "learning_rate: 2.0e-5\nmax_steps: 9\nlr_scheduler_type: cosine\nlr_scheduler_kwargs: {min_lr_rate: 0.1}\n",
        "learning_rate: 0.1\nmax_steps: 9\nlr_scheduler_type: cosine_with_min_lr\nlr_scheduler_kwargs: {min_lr_rate: 0.1}\n",
        "LlamaFactory issue 5548: warmup_stable_decay without num_decay_steps",
    )

    def judge(self, configuration: Configuration, siblings: Sequence[Configuration]) -> Iterator[Remark]:
        """Transformers' schedules by their signatures, ours by the catalogue; what is absent only where all is read."""
        schedule = configuration.schedule
        if configuration.form not in SCHEDULED or configuration.unknown("lr_scheduler_kwargs"):
            return
        kwargs = kwargs_of(configuration)
        if schedule in ACCEPTED:
            word, why = wrong_words(schedule, kwargs)
            if why:
                yield self.remark(configuration, place_of(configuration, word), why, "Take another schedule, or remove it")
            elif (missing := missing_words(configuration, kwargs)) and not configuration.partial:
                sentence = f"{missing}, so the run ends before its first step"
                yield self.remark(configuration, "lr_scheduler_type", sentence, "Give it in lr_scheduler_kwargs")
        elif (why := _refused_by_ours(configuration, kwargs)) and not configuration.partial:
            place = configuration.get("lr_scheduler_kwargs") or configuration.get("lr_scheduler_type")
            yield self.remark(configuration, place, why, "Change lr_scheduler_kwargs")


def _refused_by_ours(configuration: Configuration, kwargs: dict[str, Any]) -> str:
    """Why the catalogue would not build the schedule; empty where it would, or where that takes what is unknown."""
    from ....schedules.catalogue import CATALOGUE, build
    from ....schedules.lengths import Horizon

    entry, run, warmup = CATALOGUE.get(configuration.schedule), configuration.steps, configuration.warmup
    if entry is None or configuration.form == "axolotl" or configuration.schedule in _THEIRS:
        return ""
    words = {word: value for word, value in kwargs.items() if word not in FOR_RESUMING}
    try:
        _, rest = Horizon(1).told(words)
        asked = entry.warmup in entry.translate(rest)
        if run is None or run.at_most or warmup is None or warmup >= run.total or _in_other_units(words):
            return ""
        if any(FloorAbovePeak().judge(configuration, ())):
            return ""
        told = {str(entry.warmup): warmup} if warmup and entry.warmup and not asked else {}
        build(configuration.schedule, Horizon(run.total, peak=configuration.number("learning_rate")), **words, **told)
    except ValueError as error:
        return str(error)
    return ""


def _in_other_units(words: dict[str, Any]) -> bool:
    """Whether a length is in epochs or tokens, which only the run can turn into steps."""
    written = str(words).lower()
    return any(unit in written for unit in ("epoch", "token", "tok"))


class UnknownSchedule(Rule):
    """A schedule's name that is nearly another's."""

    id, name, level = "LR030", "unknown-schedule", "error"
    source = "SchedulerType of transformers 5.23.0; https://github.com/bmaltais/kohya_ss/pull/3064"
    example = Example(
        "sft.yaml",
        "learning_rate: 2.0e-5\nmax_steps: 500\nlr_scheduler_type: cosine_with_restart\n",
        "learning_rate: 2.0e-5\nmax_steps: 500\nlr_scheduler_type: cosine_with_restarts\n",
        "kohya_ss pull request 3064: a schedule by the name of its enum, which is refused",
    )

    def judge(self, configuration: Configuration, siblings: Sequence[Configuration]) -> Iterator[Remark]:
        """One that is far from all known names may be somebody's own, and is passed over."""
        from ....schedules.catalogue import CATALOGUE

        setting, form = configuration.get("lr_scheduler_type"), configuration.form
        if setting is None or form not in SCHEDULED or not isinstance(setting.value, str):
            return
        known = [*_THEIRS, *(name for name, entry in CATALOGUE.items() if entry.registered)]
        known += ["one_cycle", "rex", "quadratic"] if form == "axolotl" else []
        if setting.value in known:
            return
        near = get_close_matches(setting.value.rpartition(".")[2].lower(), known, n=1, cutoff=_NEAR)
        if near:
            sentence = f"{spoken(setting, setting.value)} is no schedule that Transformers knows, so the run does not begin"
            advice = f"Did you mean {near[0]}?"
            yield self.remark(configuration, setting, sentence, advice, fix=replaced(setting, value=near[0]))


class FloorAbovePeak(Rule):
    """The lowest LR of a schedule is above its peak."""

    id, name, level = "LR023", "floor-above-peak", "error"
    source = "transformers.optimization and GreedyLR of transformers 5.23.0; litgpt 0.5.13, pretrain.get_lr"
    example = Example(
        "sft.yaml",
        "learning_rate: 5.0e-6\nmax_steps: 9\nlr_scheduler_type: cosine_with_min_lr\nlr_scheduler_kwargs: {min_lr: 1.0e-5}\n",
        "learning_rate: 5.0e-6\nmax_steps: 9\nlr_scheduler_type: cosine_with_min_lr\nlr_scheduler_kwargs: {min_lr: 5.0e-7}\n",
        "greedy at 5e-5: its min_lr defaults to 1e-3, and improving losses raise the LR to 5.83e-5 (transformers 5.23.0)",
    )

    def judge(self, configuration: Configuration, siblings: Sequence[Configuration]) -> Iterator[Remark]:
        """Needs the peak for a floor that is a learning rate; a share of it must lie below 1."""
        rate = configuration.number("learning_rate")
        for setting, word, floor in _floors(configuration):
            ratio = word in ("min_lr_rate", "min_lr_ratio", "floor")
            peak = 1.0 if ratio else rate
            if peak is None or not peak > 0 or floor <= peak * (1 + 1e-9):
                continue
            what = f"{floor:g} times the peak" if ratio else f"{floor:g}, above learning_rate {peak:g}"
            does = f"so the learning rate ends at {floor * (rate or 1.0) if ratio else floor:g}" if rate else "so it rises"
            if configuration.schedule == "polynomial":
                does = "which Transformers refuses before the first step"
            elif configuration.schedule == "greedy":
                does = "so the learning rate can only rise"
            yield self.remark(configuration, setting, f"the floor {word} is {what}, {does}", "Lower it below the peak")


def _floors(configuration: Configuration) -> Iterator[tuple[Setting | None, str, float]]:
    """The floors that a configuration's schedule reads: where each stands, its word and its value."""
    kwargs, schedule = kwargs_of(configuration), configuration.schedule
    if configuration.form in SCHEDULED:
        words = {"polynomial": ("lr_end",), **dict.fromkeys(DROPS_KWARGS, ())}.get(
            schedule, ("min_lr", "min_lr_rate", "min_lr_ratio", "lr_end")
        )
        for word in words:
            if (found := number_in(kwargs, word)) is not None:
                yield place_of(configuration, word), word, found
        rate = configuration.get("learning_rate")
        if schedule == "greedy" and "min_lr" not in kwargs:
            yield rate, "min_lr (by default)", 1e-3  # GreedyLR, transformers 5.23.0
    if configuration.form == "axolotl" and schedule in ("cosine", "rex"):
        share = configuration.get("min_lr_rate")
        if share is not None and share.number is not None:
            yield share, "min_lr_rate", share.number
    floor = configuration.get("min_lr")
    pretrains = configuration.task in ("pretrain", "continue")
    if configuration.form == "litgpt" and pretrains and floor is not None and floor.number is not None:
        yield floor, "min_lr", floor.number


class EvaluationMissing(Rule):
    """A schedule that follows the held-out loss, in a run that holds nothing out."""

    id, name, level = "LR029", "schedule-without-evaluation", "error"
    source = "TrainingArguments.__post_init__ of transformers 5.23.0"
    example = Example(
        "sft.yaml",
        "learning_rate: 2.0e-5\nmax_steps: 500\nlr_scheduler_type: reduce_lr_on_plateau\n",
        "learning_rate: 2.0e-5\nmax_steps: 500\nlr_scheduler_type: reduce_lr_on_plateau\neval_strategy: steps\n",
        "TrainingArguments(lr_scheduler_type='reduce_lr_on_plateau') raises ValueError (transformers 5.23.0)",
    )

    def judge(self, configuration: Configuration, siblings: Sequence[Configuration]) -> Iterator[Remark]:
        """Of the schedules that step on a metric."""
        if configuration.schedule not in FOLLOWS_THE_LOSS or configuration.form not in ("transformers", "trl", "hf_lrsched"):
            return
        asked = configuration.settings.get("eval_strategy") or configuration.settings.get("evaluation_strategy")
        if configuration.partial if asked is None else asked.value not in (None, "no", False):
            return
        sentence = (
            f"{configuration.schedule} follows the held-out loss, and eval_strategy is 'no', so TrainingArguments refuse it"
        )
        yield self.remark(configuration, "lr_scheduler_type", sentence, "Set eval_strategy to steps or epoch")


SCHEDULES: tuple[type[Rule], ...] = (
    ArgumentsDropped, ArgumentsRefused, UnknownSchedule, FloorAbovePeak, EvaluationMissing,
)  # fmt: skip
