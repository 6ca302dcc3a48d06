"""Learning rates far outside of what others measured, fitted or ship for the same task, method and size.

A rule fires only where both hold: the rate lies well outside the band that `recommend` gives, and hardly any of the evidence
is as far out. What they do not know: the data, a model whose weights are special (ternary, pruned), and tasks for which
there is no evidence; of those nothing is said.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from ...question import PEFT_TYPES, TASKS, Question, spelled
from ...recommend import Recommendation, answer
from ...sources import Evidence, about
from ..configuration import Configuration
from ..remark import Remark
from ..rule import Example, Rule
from .asking import LORA, as_far, asked, band, named_for_its_rate, question_of, said, sources_of, times, told_sources

# Times the end of a band of 4 around the value; rates of adapters scatter more, with rank, alpha and layers. 20 of 709
# public files lie beyond: 12 at a rate for SFT under DPO, 6 at LoRA's with all parameters, 2 far too low.
_FAR, _FAR_PEFT = 5.0, 7.0
_VERY_FAR = 10.0  # below: a rate that is too low costs time, not the run
_SO_FAR_OUT = 0.075  # of the evidence's weight: the shipped mistakes are among the evidence too
_FULL = 4.0  # LoRA's band begins at 10 times that of full fine-tuning, or a little below; a quarter of it is not LoRA's
_ALPHA = 32.0  # LoRA Without Regret (doi 10.64434/tml.20250929): with this alpha the best LR hardly depends on the rank
_ALPHA_FAR = 4.0  # alphas of 8 to 64 are shipped (recommend's evidence: lora_scale)
_COLLAPSES = 5e-5  # datawhalechina/hello-agents, pull request 771: GSM8K 57 % to 2.4 % under GRPO of all parameters
_FEW_SOURCES = 3  # a band of fewer, or of any size, speaks for what is very far out alone
_DEFAULT = 5e-5  # TrainingArguments.learning_rate, transformers 5.23.0


class RateOutsideBand(Rule):
    """A learning rate far outside of what is used for the task, the method and the size."""

    id, name, level = "LR003", "rate-outside-band", "warning"
    source = "hf_lrsched.recommend, whose evidence names its sources: hf-lrsched recommend"
    example = Example(
        "qwen2-dpo.yaml",
        "base_model: Qwen/Qwen2.5-0.5B\nrl: dpo\nsequence_len: 2048\nmicro_batch_size: 1\nnum_epochs: 1\n"
        "optimizer: adamw_torch\nlr_scheduler: cosine\nlearning_rate: 0.0002\ndatasets: []\n",
        "base_model: Qwen/Qwen2.5-0.5B\nrl: dpo\nsequence_len: 2048\nmicro_batch_size: 1\nnum_epochs: 1\n"
        "optimizer: adamw_torch\nlr_scheduler: cosine\nlearning_rate: 0.000001\ndatasets: []\n",
        "axolotl examples/qwen2/dpo.yaml: DPO of all parameters at 0.0002, 200 times the band",
    )

    def judge(self, configuration: Configuration, siblings: Sequence[Configuration]) -> Iterator[Remark]:
        """Needs task and method; the size where it is known."""
        found = asked(configuration)
        if found is None or RateOfFullTuning.fires(configuration) or RateOfSFTInRL.fires(configuration):
            return
        setting, rate, question, advised = found
        middle, low, high = advised.learning_rate or math.nan, advised.low or 0.0, advised.high or math.inf
        above, below = rate / high, low / rate
        # From a band of 4 around the value: where the band itself lies about it hangs on one file more or less.
        far = rate / (2 * middle) >= (_FAR_PEFT if question.peft else _FAR) - 1e-9
        if not (far or middle / 2 / rate >= _VERY_FAR) or as_far(advised, rate) > _SO_FAR_OUT:
            return
        thin = configuration.parameters is None or len(sources_of(advised)) < _FEW_SOURCES
        if thin and max(above, below) < _VERY_FAR:
            return
        how_far = f"{times(above)} times the upper end" if above > 1 else f"1/{times(below)} of the lower end"
        size = f" at {spelled(configuration.parameters)}" if configuration.parameters else ""
        method = f" with {question.peft}" if question.peft else " of all parameters"
        sentence = (
            f"{said(setting, rate)} is {how_far} of what is used for {TASKS[question.task]}{method}{size}: "
            f"{band(advised)} ({told_sources(advised)})"
        )
        peer = _lora_peer(question) if above > 1 else None
        hint = "; that is a rate for LoRA" if peer and (peer.low or 0) <= rate <= (peer.high or 0) else ""
        advice = f"Try {advised.learning_rate:g}, or find it: hf-lrsched find-lr"
        yield self.remark(configuration, setting, sentence + hint, advice)


def _lora_peer(question: Question) -> Recommendation | None:
    """What is advised for LoRA, where all parameters train."""
    return None if question.peft else answer(Question(question.task, "lora", question.model))


class RateOfFullTuning(Rule):
    """LoRA at a learning rate of full fine-tuning."""

    id, name, level = "LR004", "lora-at-full-rate", "warning"
    source = "LoRA Without Regret, https://doi.org/10.64434/tml.20250929; https://github.com/huggingface/trl/pull/4207"
    example = Example(
        "7B_lora.yaml",
        "model:\n  _component_: torchtune.models.mistral.lora_mistral_7b\n  lora_rank: 64\n  lora_alpha: 16\n"
        "optimizer:\n  _component_: torch.optim.AdamW\n  lr: 2e-5\nepochs: 3\nbatch_size: 4\n",
        "model:\n  _component_: torchtune.models.mistral.lora_mistral_7b\n  lora_rank: 64\n  lora_alpha: 16\n"
        "optimizer:\n  _component_: torch.optim.AdamW\n  lr: 2e-4\nepochs: 3\nbatch_size: 4\n",
        "torchtune recipes/configs/mistral/7B_lora.yaml: LoRA at lr: 2e-5, as 16 others of its files (0.6.1)",
    )

    @staticmethod
    def fires(configuration: Configuration) -> bool:
        """Whether a rate for all parameters is set where only LoRA's train."""
        found = asked(configuration)
        if found is None or found[2].peft not in LORA or found[2].task != "sft":
            return False
        _, rate, question, advised = found
        full = answer(Question("sft", None, question.model)).high or 0.0
        return rate <= (advised.low or 0.0) / _FULL and rate <= full * (1 + 1e-9)

    def judge(self, configuration: Configuration, siblings: Sequence[Configuration]) -> Iterator[Remark]:
        """Of supervised fine-tuning, but for one file of a sweep, which is named for its rate."""
        found = asked(configuration)
        if found is None or not self.fires(configuration) or named_for_its_rate(configuration):
            return
        setting, rate, question, advised = found
        full = answer(Question("sft", None, question.model))
        of_full = f", and {'within' if (full.low or 0) <= rate else 'below'} full fine-tuning's {band(full)}"
        sentence = (
            f"{said(setting, rate)} is 1/{times((advised.low or rate) / rate)} of the lower end of what is used with "
            f"{question.peft}, {band(advised)}{of_full}; LoRA wants about 10 times the rate of all parameters"
        )
        yield self.remark(configuration, setting, sentence, f"Try {advised.learning_rate:g}")


class RankAndAlpha(Rule):
    """An alpha that makes the learning rate another one."""

    id, name, level = "LR009", "alpha-changes-rate", "warning"
    source = "LoRA Without Regret, https://doi.org/10.64434/tml.20250929; https://github.com/paiml/aprender/pull/2258"
    example = Example(
        "lora.yaml",
        "base_model: Qwen/Qwen3-8B\nadapter: lora\nlora_r: 256\nlora_alpha: 1024\nsequence_len: 2048\nmicro_batch_size: 1\n"
        "num_epochs: 1\noptimizer: adamw_torch\nlr_scheduler: cosine\nlearning_rate: 0.0002\ndatasets: []\n",
        "base_model: Qwen/Qwen3-8B\nadapter: lora\nlora_r: 256\nlora_alpha: 32\nsequence_len: 2048\nmicro_batch_size: 1\n"
        "num_epochs: 1\noptimizer: adamw_torch\nlr_scheduler: cosine\nlearning_rate: 0.0002\ndatasets: []\n",
        "paiml/aprender pull request 2258: rank 256 at 2e-4 went from a loss of 4.31 to 1.44 and then to 16.0",
    )

    def judge(self, configuration: Configuration, siblings: Sequence[Configuration]) -> Iterator[Remark]:
        """Needs rank and alpha. An update is alpha / r times a sum of r terms; rsLoRA's is sqrt(r) times as large."""
        found = asked(configuration)
        if found is None or found[2].peft not in LORA or found[2].r is None or found[2].alpha is None:
            return
        setting, rate, question, advised = found
        rank, alpha = float(question.r or 1), float(question.alpha or 0)
        stabilised = question.rslora or question.peft == "rslora"
        factor = alpha * (math.sqrt(rank) if stabilised else 1.0) / _ALPHA
        amounts, low, high = rate * factor, advised.low or 0.0, advised.high or math.inf
        if 1 / _ALPHA_FAR <= factor <= _ALPHA_FAR or low / _VERY_FAR <= amounts <= high * _VERY_FAR:
            return
        scale = f"{alpha:g}/sqrt({rank:g})" if stabilised else f"{alpha:g}/{rank:g}"
        sentence = (
            f"alpha {alpha:g} at rank {rank:g} (updates times {scale}) makes {said(setting, rate)} "
            f"amount to {amounts:.2g} at alpha {_ALPHA:g}, and {band(advised)} is used"
        )
        at = configuration.get("alpha")
        yield self.remark(
            configuration, at or setting, sentence, f"Write alpha {_ALPHA:g}, or divide the rate by {factor:.2g}"
        )


class RateOfSFTInRL(Rule):
    """Reinforcement learning or preference tuning at a rate of supervised fine-tuning, or at the Trainer's default."""

    id, name, level = "LR016", "rl-at-sft-rate", "warning"
    source = "https://github.com/datawhalechina/hello-agents/pull/771; https://github.com/huggingface/trl/pull/5174"
    example = Example(
        "grpo.yaml",
        "model_name_or_path: Qwen/Qwen3-0.6B\nnum_generations: 8\nuse_peft: false\nlearning_rate: 5.0e-5\nmax_steps: 500\n"
        "lr_scheduler_type: cosine\nper_device_train_batch_size: 8\n",
        "model_name_or_path: Qwen/Qwen3-0.6B\nnum_generations: 8\nuse_peft: false\nlearning_rate: 1.0e-6\nmax_steps: 500\n"
        "lr_scheduler_type: cosine\nper_device_train_batch_size: 8\n",
        "hello-agents pull request 771: GRPO at 5e-5 took GSM8K from 57 % to 2.4 %, and 1e-6 was fine",
    )

    @staticmethod
    def fires(configuration: Configuration) -> bool:
        """Whether all parameters learn by reinforcement at a rate at which they were seen to collapse."""
        question, rate = question_of(configuration), configuration.number("learning_rate")
        return question is not None and (question.task, question.peft) == ("rl", None) and (rate or 0.0) >= _COLLAPSES

    def judge(self, configuration: Configuration, siblings: Sequence[Configuration]) -> Iterator[Remark]:
        """Of all parameters: by the value, or where LLaMA-Factory's file leaves the Trainer's default."""
        setting, rate = configuration.get("learning_rate"), configuration.number("learning_rate")
        if setting and rate and self.fires(configuration):
            sentence = (
                f"{said(setting, rate)} is a rate for supervised fine-tuning: GRPO of all parameters collapsed at "
                f"{_COLLAPSES:g} (GSM8K 57 % to 2.4 %), and 1e-6 was fine"
            )
            yield self.remark(configuration, setting, sentence, "Try 1e-6")
        theirs = configuration.form == "llamafactory" and configuration.task in ("rl", "preference")
        absent = "learning_rate" not in configuration and not configuration.partial
        if theirs and absent and configuration.peft == "full":  # LoRA's band reaches up to it
            sentence = f"no learning_rate is set, so Trainer's {_DEFAULT:g} holds, a rate for supervised fine-tuning"
            yield self.remark(configuration, None, f"{sentence}; TRL's default for DPO, GRPO and KTO is 1e-6", "Set it")


class FailingRate(Rule):
    """A PEFT type at a learning rate at which it was seen to learn next to nothing."""

    id, name, level = "LR022", "peft-at-failing-rate", "warning"
    source = "https://github.com/huggingface/peft/tree/main/method_comparison/MetaMathQA"
    example = Example(
        "sft.yaml",
        "model_name_or_path: meta-llama/Llama-3.2-3B\nstage: sft\nfinetuning_type: fourierft\ntemplate: llama3\n"
        "cutoff_len: 2048\nlearning_rate: 1.0e-4\nnum_train_epochs: 3.0\n",
        "model_name_or_path: meta-llama/Llama-3.2-3B\nstage: sft\nfinetuning_type: fourierft\ntemplate: llama3\n"
        "cutoff_len: 2048\nlearning_rate: 1.0e-2\nnum_train_epochs: 3.0\n",
        "PEFT's comparison on MetaMathQA: FourierFT at 1e-4 has 0 to 9.6 % right, LN tuning 0.0 %, prompt tuning 5.7 %",
    )

    def judge(self, configuration: Configuration, siblings: Sequence[Configuration]) -> Iterator[Remark]:
        """Of types that the evidence has a failure of, at that rate or below."""
        setting, peft = configuration.get("learning_rate"), configuration.peft
        rate = None if setting is None else setting.number
        if setting is None or not rate or peft not in PEFT_TYPES or peft in LORA or configuration.task not in ("sft", ""):
            return
        known = [entry for entry in about("learning_rate") if _of_type(entry, peft)]
        worked = [entry for entry in known if not entry.faulty and entry.value is not None]
        failed = [entry for entry in known if entry.faulty and entry.value is not None and entry.value >= rate * (1 - 1e-9)]
        if not failed or any((entry.value or 0) <= rate for entry in worked):
            return
        worst = min(failed, key=lambda entry: entry.value or 0)
        seen = worst.faulty.partition(": ")[2] if worst.faulty.startswith("LR") else worst.faulty
        sentence = f"{said(setting, rate)} with {peft}: at {worst.value:g} it was seen to fail ({seen})"
        better = f"Try {worked[0].value:g}, at which it worked" if worked else "Try 10 to 100 times as much"
        yield self.remark(configuration, setting, sentence, better)


def _of_type(entry: Evidence, peft: str) -> bool:
    return entry.kind == "measured" and entry.when.get("peft") == (peft,)


RATES: tuple[type[Rule], ...] = (
    RateOutsideBand, RateOfFullTuning, RankAndAlpha, RateOfSFTInRL, FailingRate,
)  # fmt: skip
