"""Warm-ups: too long for the run, of a name that is gone, of unclear length, or never read.

What they do not know: a run whose length nothing says, and warm-ups that ``lr_scheduler_kwargs`` set.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ....schedules.lengths import default_warmup
from ..configuration import OURS, WITHOUT_WARMUP, Configuration, Setting, Steps
from ..remark import Remark
from ..rule import Example, Rule
from .mending import removed, replaced
from .wording import spoken, steps

# Files of scripts that keep arguments of their own, among them warmup_ratio, name one of these (recipes.md section 2.1: OI);
# the last two are ms-swift's words for the method (its examples/train/streaming/streaming.sh: train_type).
_OWN_SCRIPT = frozenset((
    "with_tracking", "checkpointing_steps", "max_train_steps", "num_warmup_steps", "use_slow_tokenizer", "train_type",
    "tuner_type",
))  # fmt: skip
THE_RUN_ITSELF = "the run itself"  # `Configuration.of`
HALF = 0.5  # recipes.md section 4, LR002: all ten full.yaml of litgpt's config_hub/finetune warm up for longer
_TRANSFORMERS_5 = ("transformers", "trl", "hf_lrsched")  # LLaMA-Factory 0.9.5 takes Transformers 4.55 to 5.6, and reads it


def warmup_setting(configuration: Configuration) -> Setting | None:
    """The setting that a configuration's warm-up comes from."""
    steps = configuration.get("warmup_steps")
    if steps is not None and (steps.number or 0) > 0:
        return steps
    return configuration.get("warmup_ratio") or steps


def _judged(configuration: Configuration) -> bool:
    """Whether its warm-up is what `Configuration.warmup` says, and is taken."""
    kwargs = configuration.value("lr_scheduler_kwargs")
    elsewhere = isinstance(kwargs, dict) and any("warm" in str(word) for word in kwargs)
    return configuration.schedule not in {*WITHOUT_WARMUP, "phases"} and not elsewhere


def _peak(configuration: Configuration, share: float) -> str:
    """What share of the peak is reached, and what that is where the LR is known."""
    rate = configuration.number("learning_rate")
    return f"{100 * share:.2g} % of its peak" + (f", {rate * share:.2g} in place of {rate:g}" if rate else "")


def _shorter(configuration: Configuration, setting: Setting) -> tuple[str, str]:
    """A warm-up that fits, as the setting would write it, and in words."""
    run = configuration.steps
    if setting.name == "warmup_ratio" or run is None:
        return "0.05", spoken(setting, "0.05")
    fitting = round(default_warmup(run.total))
    return str(fitting), f"{spoken(setting, fitting)} ({_why(run.total, fitting)})"


def _why(total: int, fitting: int) -> str:
    """Which bound of `default_warmup` has decided."""
    if not fitting:
        return "a tenth of the run is no step"
    if total < 1000:
        return "a tenth of the run"
    return "the least for a run of that length" if fitting == 100 else "the most" if fitting == 2000 else "5 % of the run"


def _counted(run: Steps) -> str:
    """How a run's steps come about, in brackets; nothing where the run itself says them."""
    return "" if run.how == THE_RUN_ITSELF else f" ({run.how})"


class WarmupLongerThanRun(Rule):
    """The run ends before the warm-up does, so the peak is never reached."""

    id, name, level = "LR001", "warmup-longer-than-run", "error"
    source = "https://github.com/coqui-ai/TTS/issues/1611; four of litgpt's config_hub/finetune/*/full.yaml"
    example = Example(
        "sft.yaml",
        "learning_rate: 2.0e-4\nmax_steps: 60\nwarmup_steps: 1000\nlr_scheduler_type: cosine\n",
        "learning_rate: 2.0e-4\nmax_steps: 60\nwarmup_steps: 6\nlr_scheduler_type: cosine\n",
        "litgpt config_hub/finetune/tiny-llama/full.yaml: 1000 warm-up steps in a run of 60, 6 % of the peak reached",
    )

    def judge(self, configuration: Configuration, siblings: Sequence[Configuration]) -> Iterator[Remark]:
        """Needs the warm-up and the run's length."""
        run, warmup, setting = configuration.steps, configuration.warmup, warmup_setting(configuration)
        if run is None or not warmup or warmup < run.total or setting is None or not _judged(configuration):
            return
        reached = configuration.effective_peak or 0.0
        most = "at most " if run.at_most else ""
        sentence = (
            f"the warm-up takes {steps(warmup)} and the run has {most}{run.total}{_counted(run)}, so the learning rate "
            f"reaches {most}{_peak(configuration, reached)}, and never decays"
        )
        value, words = _shorter(configuration, setting)
        fix = replaced(setting, value=value)
        yield self.remark(configuration, setting, sentence, f"Write {words}, or train for longer", fix=fix)


class WarmupMostOfRun(Rule):
    """More than half of the run is warm-up."""

    id, name, level = "LR002", "warmup-most-of-run", "warning"
    source = "https://github.com/niznik-dev/cruijff_kit/issues/329; six of litgpt's config_hub/finetune/*/full.yaml"
    example = Example(
        "sft.yaml",
        "learning_rate: 2.0e-4\nlr_scheduler_type: cosine\nmax_steps: 29\nwarmup_steps: 25\n",
        "learning_rate: 2.0e-4\nlr_scheduler_type: cosine\nmax_steps: 29\nwarmup_steps: 3\n",
        "litgpt config_hub/finetune/llama-3.2-1B/full.yaml: 25 warm-up steps of 29",
    )

    def judge(self, configuration: Configuration, siblings: Sequence[Configuration]) -> Iterator[Remark]:
        """Needs a share, or steps and the run's length."""
        run, warmup, setting = configuration.steps, configuration.warmup, warmup_setting(configuration)
        share = configuration.warmup_share
        known = share if share is not None or run is None or warmup is None else warmup / run.total
        if setting is None or known is None or not HALF < known < 1.0 or not _judged(configuration):
            return
        of = f" ({warmup:g} of {steps(run.total)}{_counted(run)})" if run is not None and warmup is not None else ""
        least = "at least " if run is not None and run.at_most else ""
        sentence = f"the warm-up is {least}{known:.0%} of the run{of}, more than half, so little is trained near the peak"
        value, words = _shorter(configuration, setting)
        yield self.remark(
            configuration, setting, sentence, f"Write {words}, or train for longer", fix=replaced(setting, value=value)
        )


class WarmupRatioGone(Rule):
    """``warmup_ratio`` is no argument of Transformers any more."""

    id, name, level = "LR005", "warmup-ratio-gone", "error"
    source = "https://github.com/huggingface/transformers/pull/41326; TrainingArguments of transformers 5.23.0"
    example = Example(
        "sft.yaml",
        "learning_rate: 2.0e-5\nper_device_train_batch_size: 8\nwarmup_ratio: 0.1\nlr_scheduler_type: cosine\n",
        "learning_rate: 2.0e-5\nper_device_train_batch_size: 8\nwarmup_steps: 0.1\nlr_scheduler_type: cosine\n",
        "alignment-handbook recipes/zephyr-7b-beta/sft/config_full.yaml: warmup_ratio: 0.1, as 20 others of its files",
    )

    def judge(self, configuration: Configuration, siblings: Sequence[Configuration]) -> Iterator[Remark]:
        """Not for the trainers that read it themselves: axolotl, LLaMA-Factory, scripts with arguments of their own.

        A mapping or a list is a sweep's choice of values, and no argument.
        """
        setting = configuration.settings.get("warmup_ratio")
        if setting is None or configuration.form not in _TRANSFORMERS_5 or isinstance(setting.value, dict | list):
            return
        if _OWN_SCRIPT & {key.lstrip("-").replace("-", "_") for key in configuration.others}:
            return
        beside = configuration.get("warmup_steps")
        sentence = (
            f"{spoken(setting)} is no argument of Transformers 5.23, which refuses it; a "
            "share of the run is written as warmup_steps below 1"
        )
        if beside is not None or setting.value is None or setting.number == 0:
            told = f", and the warm-up that counts is {spoken(beside)}" if beside else ""
            fix = removed(setting, safe=beside is None or (beside.number or 0) > 0)
            yield self.remark(configuration, setting, sentence + told, f"Remove {setting.key}", fix=fix)
            return
        share = setting.number
        if share is not None and not 0 < share < 1:
            yield self.remark(
                configuration, setting, sentence, f"Write {spoken(setting, 0.05, key='warmup_steps')} for 5 % of the run"
            )
            return
        advice = f"For Transformers 5 or newer write {spoken(setting, key='warmup_steps')}"
        # Transformers 4 takes 0.1 for a tenth of a step: a script may be for it, and one key does not stand beside itself.
        safe = share is not None and not setting.key.startswith("-")
        fix = None if "warmup_steps" in configuration else replaced(setting, key="warmup_steps", safe=safe)
        yield self.remark(configuration, setting, sentence, advice, fix=fix)


class WarmupUnclear(Rule):
    """A warm-up that reads as a share and is taken for steps."""

    id, name, level = "LR011", "warmup-unclear", "warning"
    source = "TrainingArguments.get_warmup_steps of transformers 5.23.0"
    example = Example(
        "sft.yaml",
        "learning_rate: 2.0e-5\nlr_scheduler_type: cosine\nmax_steps: 1000\nwarmup_steps: 1.0\n",
        "learning_rate: 2.0e-5\nlr_scheduler_type: cosine\nmax_steps: 1000\nwarmup_steps: 1\n",
        "TrainingArguments(warmup_steps=1.0).get_warmup_steps(100) is 1, as is that of 1.5 (transformers 5.23.0)",
    )

    def judge(self, configuration: Configuration, siblings: Sequence[Configuration]) -> Iterator[Remark]:
        """Of a live run only 1.5 can be told, as its arguments hold 100.0 for 100."""
        setting = configuration.get("warmup_steps")
        number = None if setting is None else setting.number
        if setting is not None and number is not None and configuration.form == "axolotl" and 0 < number < 1:
            yield self._whole(configuration, setting)
        if setting is None or number is None or configuration.form not in OURS:
            return
        plain = setting.written.strip("\"'")
        if not (number > 1 and number % 1 > 0) and not re.fullmatch(r"1\.0*", plain):
            return
        sentence = f"{spoken(setting)} is {steps(int(number))} to Transformers, which reads a share of the run only below 1"
        advice = f"Write {int(number)} if that is meant, or a share such as 0.05"
        yield self.remark(configuration, setting, sentence, advice)

    def _whole(self, configuration: Configuration, setting: Setting) -> Remark:
        """axolotl 0.19.0, utils/schemas/config.py: ``warmup_steps: int | None``; four of its own examples have a fraction."""
        sentence = (
            f"{setting.key}: {setting.written} is no whole number, as axolotl wants, whose word for a share is warmup_ratio"
        )
        fix = replaced(setting, key="warmup_ratio", safe=True) if "warmup_ratio" not in configuration else None
        return self.remark(configuration, setting, sentence, f"Write warmup_ratio: {setting.written}", fix=fix, level="error")


class WarmupIgnored(Rule):
    """A warm-up that the schedule is never told of."""

    id, name, level = "LR014", "warmup-ignored", "warning"
    source = "get_scheduler of transformers 5.23.0"
    example = Example(
        "sft.yaml",
        "learning_rate: 2.0e-5\nlr_scheduler_type: constant\nwarmup_steps: 100\nmax_steps: 2000\n",
        "learning_rate: 2.0e-5\nlr_scheduler_type: constant_with_warmup\nwarmup_steps: 100\nmax_steps: 2000\n",
        "axolotl 0.19.0 examples/deepseek-v4/v4-flash-nvfp4-lora.yaml: lr_scheduler: constant with warmup_ratio: 0.1",
    )

    def judge(self, configuration: Configuration, siblings: Sequence[Configuration]) -> Iterator[Remark]:
        """Of Transformers' schedules, wherever its `get_scheduler` makes them."""
        setting, schedule = warmup_setting(configuration), configuration.get("lr_scheduler_type")
        ignored = configuration.schedule in WITHOUT_WARMUP and configuration.form in (*OURS, "axolotl")
        if setting is None or schedule is None or not ignored or not (setting.number or 0) > 0:
            return
        sentence = (
            f"{spoken(setting)} does nothing under {configuration.schedule}, so the first "
            "step is taken at the full learning rate"
        )
        constant = configuration.schedule == "constant"
        advice = "Use constant_with_warmup, or remove it" if constant else "Remove it, or take another schedule"
        fix = replaced(schedule, value="constant_with_warmup") if constant else None
        yield self.remark(configuration, setting, sentence, advice, fix=fix)


class FirstStepAtZero(Rule):
    """A warm-up from 0 takes the first step at 0. Worth knowing, and no fault: the defaults here do so too."""

    id, name, level = "LR020", "first-step-at-zero", "note"
    source = "https://github.com/meta-pytorch/torchtune/issues/2010; https://github.com/EleutherAI/gpt-neox/issues/1373"
    example = Example(
        "sft.yaml",
        "learning_rate: 2.0e-5\nlr_scheduler_type: cosine\nwarmup_steps: 10\nmax_steps: 200\n",
        "learning_rate: 2.0e-5\nlr_scheduler_type: cosine\nwarmup_steps: 0\nmax_steps: 200\n",
        "torchtune issue 2010: the first step of every warmed-up recipe is taken at LR 0",
    )

    def judge(self, configuration: Configuration, siblings: Sequence[Configuration]) -> Iterator[Remark]:
        """Where a warm-up is written; not where litgpt pre-trains, which counts each batch that it accumulates."""
        setting = warmup_setting(configuration)
        if setting is None or not (setting.number or 0) > 0 or not _judged(configuration) or _by_batches(configuration):
            return
        run, warmup = configuration.steps, configuration.warmup
        of = f" of {run.total}" if run is not None else ""
        up = f" of {steps(warmup)}" if warmup else ""
        sentence = f"the warm-up{up} begins at 0, so the first step{of} is taken at a learning rate of 0 and changes nothing"
        yield self.remark(configuration, setting, sentence, "Nothing need be done")


def _by_batches(configuration: Configuration) -> bool:
    """Whether the LR goes by batches (litgpt 0.5.13, pretrain.py: ``get_lr`` of ``iter_num``) and several make a step."""
    each = configuration.number("per_device_train_batch_size")
    pretrains = configuration.form == "litgpt" and configuration.task in ("pretrain", "continue")
    return pretrains and (each is None or configuration.batch != each)


WARMUP: tuple[type[Rule], ...] = (
    WarmupLongerThanRun, WarmupMostOfRun, WarmupRatioGone, WarmupUnclear, WarmupIgnored, FirstStepAtZero,
)  # fmt: skip
