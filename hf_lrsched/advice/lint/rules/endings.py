"""How a schedule ends: before or behind its run, at the wrong end of a wave, or not at all after a resume.

What they do not know: a scheduler that a script makes itself, of which only a live run tells.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from ..configuration import Configuration
from ..remark import Level, Remark
from ..rule import Example, Rule
from .arguments import SCHEDULED, kwargs_of, number_in, place_of

_WAVES = ("cosine", "cosine_with_min_lr", "cosine_warmup_with_min_lr")
_RISEN = 0.05  # of the peak above the floor: less than that is rounding of a number of waves, as 0.55


class StepsOfWSD(Rule):
    """Warm-up, stable and decay of Transformers' WSD that do not make up the run."""

    id, name, level = "LR019", "wsd-steps", "error"
    source = "get_wsd_schedule of transformers 5.23.0; https://github.com/huggingface/transformers/issues/34905"
    example = Example(
        "pretrain.yaml",
        "learning_rate: 3.0e-4\nmax_steps: 1000\nwarmup_steps: 50\nlr_scheduler_type: warmup_stable_decay\n"
        "lr_scheduler_kwargs: {num_decay_steps: 0.1}\n",
        "learning_rate: 3.0e-4\nmax_steps: 1000\nwarmup_steps: 50\nlr_scheduler_type: warmup_stable_decay\n"
        "lr_scheduler_kwargs: {num_decay_steps: 100}\n",
        "num_decay_steps=.2 is accepted: the LR is at its peak to the last step, then 0 (transformers 5.23.0, issue 34905)",
    )

    def judge(self, configuration: Configuration, siblings: Sequence[Configuration]) -> Iterator[Remark]:
        """Lengths in steps, of which Transformers says nothing where they do not fit."""
        kwargs, run, warmup = kwargs_of(configuration), configuration.steps, configuration.warmup
        decay, stable = number_in(kwargs, "num_decay_steps"), number_in(kwargs, "num_stable_steps")
        if configuration.schedule != "warmup_stable_decay" or configuration.form not in SCHEDULED or decay is None:
            return
        at = place_of(configuration, "num_decay_steps")
        if 0 < decay < 1:
            right = (
                f"Write {round(decay * run.total)} " if run is not None else f"Write {decay:.0%} of the steps as a number "
            )
            sentence = (
                f"num_decay_steps {decay:g} is less than a step (Transformers takes steps, no shares), so nothing decays"
            )
            yield self.remark(configuration, at, sentence, f"{right}or use wsd with decay: {decay:g}")
            return
        if run is None or warmup is None or run.at_most:
            return
        taken = warmup + (stable or 0.0) + decay
        parts = f"warm-up {warmup:g}" + (f", stable {stable:g}" if stable else "") + f" and decay {decay:g}"
        if taken > run.total:
            lost = min(decay, taken - run.total)
            how = f"so the last {lost:g} steps of the decay are never taken" if stable else "so it decays from below its peak"
            yield self.remark(
                configuration, at, f"{parts} take {taken:g} steps of a run of {run.total}, {how}", "Shorten one of them"
            )
        elif stable is not None and taken < run.total:
            sentence = f"{parts} take {taken:g} of {run.total} steps; the other {run.total - taken:g} run at the lowest LR"
            place = place_of(configuration, "num_stable_steps")
            yield self.remark(configuration, place, sentence, "Remove num_stable_steps, which then fills the run")


class ClimbsAgain(Rule):
    """A cosine that is at its peak again when the run ends, or a schedule that is over before its run."""

    id, name, level = "LR025", "climbs-again", "error"
    source = "transformers.optimization of transformers 5.23.0; https://github.com/Nerogar/OneTrainer/issues/1604"
    example = Example(
        "sft.yaml",
        "learning_rate: 2.0e-5\nmax_steps: 500\nlr_scheduler_type: cosine\nlr_scheduler_kwargs: {num_cycles: 1}\n",
        "learning_rate: 2.0e-5\nmax_steps: 500\nlr_scheduler_type: cosine_with_restarts\n"
        "lr_scheduler_kwargs: {num_cycles: 1}\n",
        "Transformers' cosine of 10 steps stepped 20 times: 0 at step 10, the peak again at 20 (OneTrainer issue 1604)",
    )

    def judge(self, configuration: Configuration, siblings: Sequence[Configuration]) -> Iterator[Remark]:
        """Of Transformers' cosines; of a live run also of the scheduler itself, where it tells for how long it was made.

        An error where it raises or climbs; others may well hold their last LR, as is meant.
        """
        yield from self._waves(configuration)
        yield from self._too_short(configuration)

    def _waves(self, configuration: Configuration) -> Iterator[Remark]:
        waves = number_in(kwargs_of(configuration), "num_cycles")
        if waves is None or configuration.schedule not in _WAVES or configuration.form not in SCHEDULED or waves <= 0.5:
            return
        end = 0.5 * (1.0 + math.cos(2.0 * math.pi * waves))
        if end < _RISEN:
            return
        rate = configuration.number("learning_rate")
        at = f" ({end * rate:.2g})" if rate and configuration.schedule == "cosine" else ""
        sentence = (
            f"num_cycles {waves:g} of {configuration.schedule} are whole waves, so the learning rate falls and climbs again, "
            f"and ends at {end:.0%} of its way up to the peak{at}"
        )
        advice = "Remove num_cycles (0.5 is the half wave down), or use cosine_with_restarts"
        yield self.remark(configuration, place_of(configuration, "num_cycles"), sentence, advice)

    def _too_short(self, configuration: Configuration) -> Iterator[Remark]:
        made, run = _told(configuration, "scheduler_total_steps"), configuration.steps
        if made is None or run is None or made >= run.total:
            return
        kind = str(configuration.value("scheduler_class", "")).lower()
        level: Level = "warning"
        behind = "the learning rate is not what was planned"
        if "cosine" in kind:
            behind, level = "the learning rate climbs again", self.level
        elif "onecycle" in kind:
            behind, level = "the run ends in a ValueError", self.level
        sentence = f"the scheduler was made for {made:g} steps and the run has {run.total}; behind step {made:g} {behind}"
        advice = f"Make it for {run.total} steps"
        yield self.remark(configuration, "scheduler_total_steps", sentence, advice, level=level)


class OneCycleResumed(Rule):
    """torch's one-cycle in a run that is resumed: it keeps the total of the run that it was made for."""

    id, name, level = "LR026", "one-cycle-resumed", "warning"
    source = "torch.optim.lr_scheduler.OneCycleLR; https://github.com/huggingface/accelerate/issues/843"
    example = Example(
        "lora.yaml",
        "base_model: Qwen/Qwen3-8B\nmicro_batch_size: 2\nnum_epochs: 3\nlearning_rate: 0.00002\nlr_scheduler: one_cycle\n"
        "sequence_len: 2048\nresume_from_checkpoint: ./out/checkpoint-100\n",
        "base_model: Qwen/Qwen3-8B\nmicro_batch_size: 2\nnum_epochs: 3\nlearning_rate: 0.00002\nlr_scheduler: one_cycle\n"
        "sequence_len: 2048\n",
        "OneCycleLR of 10 steps resumed with 20 restores 10 and raises at step 11: Tried to step 11 times (torch 2.13)",
    )

    def judge(self, configuration: Configuration, siblings: Sequence[Configuration]) -> Iterator[Remark]:
        """Not of ours, whose resume goes by its policy, nor where a live one is as long as its run."""
        schedule, resumed = configuration.schedule, _resumed(configuration)
        made, run = _told(configuration, "scheduler_total_steps"), configuration.steps
        if made is not None and run is not None and made == run.total:
            return
        theirs = configuration.form == "axolotl" or "onecycle" in str(configuration.value("scheduler_class", "")).lower()
        if not resumed or not theirs or (schedule != "one_cycle" and configuration.form == "axolotl"):
            return
        sentence = (
            "torch's one-cycle restores the number of steps it was made for from the checkpoint: resumed with more of them "
            "it raises behind the last, and with fewer it never comes down"
        )
        yield self.remark(configuration, resumed, sentence, "Resume with the same number of steps, or take another schedule")


def _resumed(configuration: Configuration) -> str:
    """The setting by which a run is resumed; empty where it is not."""
    for name in ("resume_from_checkpoint", "auto_resume_from_checkpoints"):
        if configuration.value(name) not in (None, False, ""):
            return name
    auto = configuration.others.get("auto_resume_from_checkpoints")
    return "lr_scheduler_type" if auto is not None and auto.value is True else ""


def _told(configuration: Configuration, name: str) -> float | None:
    """What a live run, or its record, tells of its scheduler."""
    found = configuration.get(name) or configuration.others.get(name)
    return None if found is None else found.number


class SteppedPerProcess(Rule):
    """A scheduler that takes as many steps for each update as processes train."""

    id, name, level = "LR024", "stepped-per-process", "error"
    source = "https://github.com/huggingface/accelerate/issues/2773; https://github.com/huggingface/accelerate/issues/1382"
    example = Example(
        "run.json",
        '{"learning_rate": 2e-5, "max_steps": 1000, "per_device_train_batch_size": 8, "scheduler_steps_per_update": 8}',
        '{"learning_rate": 2e-5, "max_steps": 1000, "per_device_train_batch_size": 8, "scheduler_steps_per_update": 1}',
        "accelerate issue 2773: prepared with accelerator.prepare on 8 GPUs, a schedule ends after an eighth of the run",
    )

    def judge(self, configuration: Configuration, siblings: Sequence[Configuration]) -> Iterator[Remark]:
        """Only a live run shows it (`LRPreflight`): no configuration says how a script steps its scheduler."""
        often, run = _told(configuration, "scheduler_steps_per_update"), configuration.steps
        made = _told(configuration, "scheduler_total_steps")
        if often is None or often <= 1 or run is None or (made is not None and made >= often * run.total):
            return
        sentence = (
            f"the scheduler takes {often:g} steps for each update (accelerate's, prepared with {often:g} processes), so it "
            f"ends after {math.ceil(run.total / often)} of {run.total} updates"
        )
        advice = f"Make it for {often:g} times the steps, or do not prepare it with the accelerator"
        yield self.remark(configuration, "scheduler_steps_per_update", sentence, advice)


ENDINGS: tuple[type[Rule], ...] = (StepsOfWSD, ClimbsAgain, OneCycleResumed, SteppedPerProcess)
