"""The recipes' settings: YAML files that a person reads, one place for each number, its source beside it.

`preset` takes from such a file what concerns the optimisation; for a model that is named, `recommend` sizes it. What it does
not know: the data, the memory and the number of GPUs, so batch sizes stay with whoever does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any

from .question import TASKS, read_task_of
from .recommend import Recommendation, recommend

# Of a preset's settings those that `preset` gives.
OPTIMISATION = (
    "learning_rate", "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps", "weight_decay", "optim", "optim_args",
    "adam_beta1", "adam_beta2", "adam_epsilon", "max_grad_norm",
)  # fmt: skip
# Words in lr_scheduler_kwargs that say how long the learning rate rises.
RISES = ("warmup", "num_warmup_steps", "rise", "pct_start")

_HERE = Path(__file__).parents[1]
_PLACES = (_HERE / "recipes", _HERE.parent / "recipes")  # in a wheel, and in a clone
_SETTING = re.compile(r"^( *)(\w+):[^#]*?(?:# *(.+))?$")

# What runs each, its task and its PEFT type. A script is a recipe here; two words are a program of TRL's.
_SHIPPED: Mapping[str, tuple[tuple[str, ...], str, str | None]] = {
    "pretrain": (("pretrain.py",), "pretrain", None),
    "pretrain_400m": (("pretrain.py",), "pretrain", None),
    "pretrain_2b": (("pretrain.py",), "pretrain", None),
    "pretrain_30b": (("pretrain.py",), "pretrain", None),
    "continue": (("pretrain.py",), "continue", None),
    "finetune": (("finetune.py",), "sft", None),
    "lora": (("lora.py",), "sft", "lora"),
    "qlora": (("lora.py",), "sft", "qlora"),
    "dpo": (("trl", "dpo"), "preference", None),
    "dpo_lora": (("trl", "dpo"), "preference", "lora"),
    "grpo": (("trl", "grpo"), "rl", None),
    "image_classification": (("image_classification.py",), "image", None),
    "image_sgd": (("image_classification.py",), "image", None),
    "image_finetune": (("image_classification.py",), "image_finetune", None),
}
# Names that say more than a task; the rest are the tasks' own (`advice.question`).
_ALIASES = {"sgd": "image_sgd", "cnn_sgd": "image_sgd", "pretrain_8b": "pretrain"}


def recipes() -> Path:
    """The folder of the recipes: inside an installed package, beside it in a clone.

    Raises:
        ValueError: where neither is there.
    """
    found = next((place for place in _PLACES if (place / "presets").is_dir()), None)
    if found is None:
        raise ValueError(f"the recipes are in neither {_PLACES[0]} nor {_PLACES[1]}; install hf-lrsched again")
    return found


@dataclass(frozen=True)
class Shipped:
    """A preset that is shipped.

    Args:
        name: its file's, without the ending.
        run_by: the recipe's script, or the program that takes it as its ``--config``.
        task, peft: as `recommend` has them.
    """

    name: str
    run_by: tuple[str, ...]
    task: str
    peft: str | None

    @property
    def file(self) -> Path:
        """Where it lies."""
        return recipes() / "presets" / f"{self.name}.yaml"

    @cached_property
    def text(self) -> str:
        """The file as it is."""
        return self.file.read_text("utf-8")

    @property
    def about(self) -> str:
        """What it is for, in one sentence: the first comment."""
        return self.text.partition("\n")[0].strip("# ").partition(". ")[0].rstrip(".")

    @property
    def settings(self) -> dict[str, Any]:
        """All that it sets."""
        import yaml

        read: dict[str, Any] = yaml.safe_load(self.text)
        return read

    @property
    def sources(self) -> dict[str, str]:
        """The comment beside each setting; of one in a mapping under both names, as ``lr_scheduler_kwargs.decay``."""
        found, above = {}, ""
        for indent, name, comment in (match.groups() for match in map(_SETTING.match, self.text.splitlines()) if match):
            above = above if indent else name
            if comment:
                found[f"{above}.{name}" if indent else name] = comment.strip()
        return found


class Preset(dict[str, Any]):
    """Keyword arguments for TrainingArguments and its like: a dict, with the source of each.

    Args:
        settings: the arguments.
        name: the preset's.
        sources: why each is what it is, by name; of one in ``lr_scheduler_kwargs`` as ``lr_scheduler_kwargs.decay``.
        recommendation: what sized it; None where nothing did.
    """

    def __init__(
        self, settings: Mapping[str, Any], *, name: str, sources: Mapping[str, str], recommendation: Recommendation | None
    ) -> None:
        super().__init__(settings)
        self.name, self.sources, self.recommendation = name, dict(sources), recommendation

    def why(self) -> str:
        """Each number and its source, a line each.

        >>> print(preset("dpo").why().splitlines()[0])
        learning_rate: zephyr-7b, Tulu 3 8B (70B: 2e-7), TRL's dpo.py; survey: 2e-7 to 1e-6, and an SFT's rate fails here
        """
        return "\n".join(f"{name}: {source}" for name, source in self.sources.items())


def shipped() -> list[Shipped]:
    """All presets that are shipped, without those of the embedded demos.

    >>> [one.name for one in shipped()][:3], shipped()[6].about
    (['pretrain', 'pretrain_400m', 'pretrain_2b'], 'LoRA fine-tuning of a language model')
    """
    return [Shipped(name, *about) for name, about in _SHIPPED.items()]


def find(name: str) -> Shipped:
    """The preset that `name` means, which may also be a task's name: ``full``, ``cnn``, ``cpt``.

    >>> find("full").name, find("cnn").name, find("dpo-lora").name
    ('finetune', 'image_classification', 'dpo_lora')

    Raises:
        ValueError: for a name that means none, with the nearest one.
    """
    word = name.strip().lower().replace("-", "_").replace(" ", "_")
    word = _ALIASES.get(word, word)
    if word in _SHIPPED:
        return Shipped(word, *_SHIPPED[word])
    try:
        asked = read_task_of(name)
    except ValueError:
        asked = ("", None)
    for one in shipped():
        if (one.task, one.peft) == asked:
            return one
    close = get_close_matches(word, [*_SHIPPED, *_ALIASES, *TASKS], n=1)
    near = f" (did you mean {close[0]!r}?)" if close else ""
    raise ValueError(f"there is no preset {name!r}{near}; there are {', '.join(_SHIPPED)}")


def preset(
    name: str,
    *,
    model: Any = None,
    steps: int | None = None,
    r: int | None = None,
    alpha: float | None = None,
    rslora: bool = False,
    batch_tokens: float | None = None,
    batch_size: float | None = None,
    tokens: float | None = None,
    examples: int | None = None,
    download: bool = False,
) -> Preset:
    """What a preset says about the optimisation, as keyword arguments for TrainingArguments, SFTConfig or DPOConfig.

    Learning rate, schedule, warm-up, weight decay, optimizer and clipping; no batch sizes, precision or logging. Where more
    than the name is given, `recommend` is asked: for the learning rate of a model that is named (of images: of a batch), and
    for the warm-up of a run whose length is.

    Args:
        name: ``pretrain`` (also ``pretrain_400m``, ``pretrain_2b``, ``pretrain_30b``), ``continue``, ``full``, ``lora``,
            ``qlora``, ``dpo``, ``dpo_lora``, ``grpo``, ``cnn``, ``image_finetune``, ``image_sgd``.
        model: a model in memory, a folder, a Hub id, a size such as "8B" or a number of parameters.
        steps: optimizer steps.
        r: LoRA rank, `alpha` its alpha, and `rslora` whether it scales by alpha / sqrt(r).
        batch_tokens: tokens a step, over all processes; `batch_size` sequences or images.
        tokens: of the whole run.
        examples: training examples.
        download: whether the config.json of a Hub id may be fetched.

    Returns:
        a dict, whose ``sources`` say where each number comes from.

    >>> preset("lora")
    {'learning_rate': 0.0003, 'lr_scheduler_type': 'warmup_cosine', 'lr_scheduler_kwargs': {'min_lr_ratio': 0.1},
     'warmup_steps': 0.03, 'weight_decay': 0.0}
    >>> sized = preset("pretrain", model="360M", steps=20_000, batch_tokens=1e6)
    >>> sized["warmup_steps"], 1e-4 < sized["learning_rate"] < 5e-3
    (1000, True)

    Raises:
        ValueError: for an unknown name, and where there is no calibrated evidence for what was asked.
    """
    chosen = find(name)
    settings = {word: value for word, value in chosen.settings.items() if word in OPTIMISATION}
    sources = {word: source for word, source in chosen.sources.items() if word.partition(".")[0] in settings}
    asked = {
        "model": model, "steps": steps, "r": r, "alpha": alpha, "batch_tokens": batch_tokens, "batch_size": batch_size,
        "tokens": tokens, "examples": examples,
    }  # fmt: skip
    given = {word: value for word, value in asked.items() if value is not None}
    if not given and not rslora:
        return Preset(settings, name=chosen.name, sources=sources, recommendation=None)
    optimizer = str(settings.get("optim", "adamw"))
    found = recommend(**given, task=chosen.task, peft=chosen.peft, rslora=rslora, optimizer=optimizer, download=download)
    if model is not None or (chosen.task.startswith("image") and batch_size is not None):  # else the preset's is for its size
        settings["learning_rate"] = found.to_training_args()["learning_rate"]
        sources["learning_rate"] = found.reasons[0]
    if found.warmup_steps is not None and not set(RISES) & set(settings.get("lr_scheduler_kwargs", {})):
        settings["warmup_steps"] = found.warmup_steps
        sources["warmup_steps"] = next(reason for reason in found.reasons if reason.startswith("warm-up"))
    return Preset(settings, name=chosen.name, sources=sources, recommendation=found)
