"""Files of one folder that contradict each other.

What they do not know: why they differ, where a file does not say it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache

from ...question import optimizer_of
from ..configuration import Configuration
from ..remark import Remark
from ..rule import Example, Rule
from .asking import LORA, named_for_its_rate, said, times

_MOST = 10.0  # times that two files may differ: recipes.md section 4, LR015


class SiblingsDisagree(Rule):
    """Two files of a folder for the same model, task and method, more than 10 times apart."""

    id, name, level = "LR015", "siblings-disagree", "warning"
    source = "torchtune 0.6.1, recipes/configs/qwen2/1.5B_lora.yaml (2e-5) and 1.5B_lora_single_device.yaml (2e-3)"
    example = Example(
        "1.5B_lora_single_device.yaml",
        "model:\n  _component_: torchtune.models.qwen2.lora_qwen2_1_5b\n  lora_rank: 32\n  lora_alpha: 64\n"
        "optimizer:\n  _component_: torch.optim.AdamW\n  lr: 2e-3\nepochs: 1\nbatch_size: 4\n",
        "model:\n  _component_: torchtune.models.qwen2.lora_qwen2_1_5b\n  lora_rank: 32\n  lora_alpha: 64\n"
        "optimizer:\n  _component_: torch.optim.AdamW\n  lr: 2e-4\nepochs: 1\nbatch_size: 4\n",
        "torchtune recipes/configs/qwen2: 1.5B_lora.yaml has 2e-5, 1.5B_lora_single_device.yaml 2e-3",
        {
            "1.5B_lora.yaml": "model:\n  _component_: torchtune.models.qwen2.lora_qwen2_1_5b\n  lora_rank: 32\n"
            "  lora_alpha: 64\noptimizer:\n  _component_: torch.optim.AdamW\n  lr: 2e-5\nepochs: 1\nbatch_size: 4\n"
        },
    )

    def judge(self, configuration: Configuration, siblings: Sequence[Configuration]) -> Iterator[Remark]:
        """Said once for a folder, in the file that is furthest from the others (of two in the one with the higher rate).

        A sweep's files, each named for its rate, differ on purpose.
        """
        if named_for_its_rate(configuration):
            return
        kin = [one for one in (configuration, *siblings) if _kind(one) and _kind(one) == _kind(configuration)]
        kin = [one for one in kin if not named_for_its_rate(one)]
        rates = sorted((rate, one.file) for one in kin if (rate := one.number("learning_rate")))
        setting = configuration.get("learning_rate")
        if len(rates) < 2 or setting is None or rates[-1][0] / rates[0][0] <= _MOST * (1 + 1e-9):
            return
        least, most = rates[0], rates[-1]
        middle = math.sqrt(rates[len(rates) // 2][0] * rates[(len(rates) - 1) // 2][0])
        lowest = middle / least[0] > most[0] / middle * (1 + 1e-9)
        odd, other = (least, most) if lowest else (min(one for one in rates if one[0] == most[0]), least)
        if (configuration.number("learning_rate"), configuration.file) != odd:
            return
        at = next(one for one in kin if (one.number("learning_rate"), one.file) == other).get("learning_rate")
        place = other[1].replace("\\", "/").rpartition("/")[2] + (f":{at.line}" if at is not None and at.line else "")
        ratio = f"1/{times(other[0] / odd[0])}" if lowest else f"{times(odd[0] / other[0])} times"
        sentence = f"{said(setting, odd[0])} is {ratio} that of {place} ({other[0]:g}), "
        yield self.remark(
            configuration,
            setting,
            f"{sentence}which trains the same model for the same task in the same way",
            "Say why, or use one",
        )


@lru_cache(maxsize=4096)  # a folder's files are compared with one another; configurations are equal where they are the same
def _kind(configuration: Configuration) -> tuple[object, ...]:
    """What two configurations must share for their rates to be comparable; empty where it is not known."""
    model = configuration.word("model_name_or_path")
    if configuration.partial or not (configuration.task and configuration.peft and (model or configuration.parameters)):
        return ()
    optimizer = optimizer_of(configuration.word("optim") or "adamw")
    method = "lora" if configuration.peft in LORA else configuration.peft
    return configuration.form, configuration.task, method, configuration.parameters, model.rpartition("/")[2], optimizer


SIBLINGS: tuple[type[Rule], ...] = (SiblingsDisagree,)
