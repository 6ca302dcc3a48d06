"""What one asks for a learning rate: the model, the task, how it is trained, and for how long.

What it does not know: the data, beyond its size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from types import MappingProxyType

from ..schedules.checks import real
from .model import Model

TASKS: Mapping[str, str] = MappingProxyType(
    {
        "pretrain": "pre-training",
        "continue": "continued pre-training",
        "sft": "supervised fine-tuning",
        "preference": "preference tuning (DPO, KTO, ORPO, ...)",
        "rl": "reinforcement learning (GRPO, RLOO, PPO, ...)",
        "reward": "reward modelling",
        "image": "image classification from scratch",
        "image_finetune": "image classification, fine-tuned",
    }
)
# What people type, as a task and a PEFT type.
_TYPED = {
    **{task: (task, None) for task in TASKS},
    **dict.fromkeys(("pretraining", "pre-train", "pre-training", "from_scratch"), ("pretrain", None)),
    **dict.fromkeys(("continued", "cpt", "continued_pretraining", "midtrain"), ("continue", None)),
    **dict.fromkeys(("full", "finetune", "fine-tune", "fine-tuning", "full_finetune", "full_fine-tuning"), ("sft", None)),
    **dict.fromkeys(("dpo", "kto", "orpo", "simpo", "ipo", "cpo"), ("preference", None)),
    **dict.fromkeys(("dpo_lora", "preference_lora", "kto_lora", "orpo_lora"), ("preference", "lora")),
    **dict.fromkeys(("grpo", "ppo", "rloo", "rlvr"), ("rl", None)),
    **dict.fromkeys(("grpo_lora", "rl_lora"), ("rl", "lora")),
    **dict.fromkeys(("rm", "reward_model"), ("reward", None)),
    **dict.fromkeys(("cnn", "image_classification", "vision"), ("image", None)),
    **dict.fromkeys(("cnn_finetune", "finetune_cnn"), ("image_finetune", None)),
}
# Other PEFT types may stand for "fine-tuning with it"; those that PEFT 0.21 knows and this project has figures for.
PEFT_TYPES = (
    "lora", "qlora", "dora", "rslora", "lora_plus", "adalora", "ia3", "oft", "boft", "vera", "pvera", "loha", "lokr",
    "fourierft", "hira", "bone", "miss", "randlora", "shira", "c3a", "road", "delora", "gralora", "waveft", "vblora",
    "xlora", "ln_tuning", "prefix_tuning", "prompt_tuning", "p_tuning", "adaption_prompt", "trainable_tokens", "osf",
    "psoft", "lily", "frod", "deft", "peanut", "glora", "unilora", "tinylora", "cartridge", "multitask_prompt_tuning",
    "poly", "arrow",
)  # fmt: skip
# Parts of the names of optimizers whose rates are of another scale, though some have "adam" in them.
_OWN_SCALE = (
    "galore", "apollo", "lomo", "grokad", "schedule_free", "stable", "sophia", "ademamix", "prodigy", "dadapt", "adan",
    "lamb",
)  # fmt: skip
OPTIMIZERS = ("adamw", "sgd", "muon", "lion", "adafactor", "other")


@dataclass(frozen=True)
class Question:
    """What is asked.

    Args:
        task: one of `TASKS`.
        peft: a PEFT type in lower case; None where all parameters train.
        model: what is known of it.
        r: LoRA rank.
        alpha: LoRA's alpha.
        rslora: whether it scales by alpha / sqrt(r).
        optimizer: one of `OPTIMIZERS`; `optimizer_of` reads others' names.
        batch_tokens: tokens a step, over all processes.
        batch_size: sequences or images a step, over all processes.
        steps: optimizer steps.
        tokens: of the whole run.
        examples: training examples.
    """

    task: str
    peft: str | None = None
    model: Model = field(default_factory=Model)
    r: int | None = None
    alpha: float | None = None
    rslora: bool = False
    optimizer: str = "adamw"
    batch_tokens: float | None = None
    batch_size: float | None = None
    steps: int | None = None
    tokens: float | None = None
    examples: int | None = None

    def inputs(self) -> dict[str, float]:
        """What a formula may use, as far as it is known. Of a pre-training `parameters` are those that are no embeddings.

        >>> Question("pretrain", model=Model(parameters=1e9), batch_tokens=1e6, steps=20_000).inputs()
        {'parameters': 1000000000.0, 'batch_tokens': 1000000.0, 'steps': 20000, 'tokens': 20000000000.0,
         'tokens_per_parameter': 20.0}
        """
        of_model = self.model.matrices if self.task in ("pretrain", "continue") else self.model.parameters
        tokens, steps = self.tokens, self.steps
        if self.batch_tokens:
            tokens = self.steps * self.batch_tokens if tokens is None and self.steps else tokens
            steps = math.ceil(tokens / self.batch_tokens) if steps is None and tokens else steps
        per = tokens / of_model if tokens and of_model else None
        found = {
            "parameters": of_model,
            "hidden": self.model.hidden,
            "rank": self.r,
            "alpha": self.alpha,
            "batch_tokens": self.batch_tokens,
            "batch_size": self.batch_size,
            "steps": steps,
            "tokens": tokens,
            "examples": self.examples,
            "tokens_per_parameter": per,
        }
        return {name: value for name, value in found.items() if value is not None}

    @property
    def told(self) -> str:
        """In words.

        >>> Question("sft", "lora", Model("Qwen/Qwen3-8B", 8e9), r=16).told
        'supervised fine-tuning with lora (r 16) of Qwen/Qwen3-8B (8B parameters), adamw'
        """
        rank = f" (r {self.r})" if self.r else ""
        method = f" with {self.peft}{rank}" if self.peft else ""
        size = self.model.parameters
        known = f"{spelled(size)} parameters" if size else "unknown size"
        model = f" of {self.model.name} ({known})" if self.model.name else f" of a model of {known}"
        return f"{TASKS[self.task]}{method}{model}, {self.optimizer}"


def spelled(count: float) -> str:
    """A count, short.

    >>> spelled(8.03e9), spelled(124e6), spelled(1.5e12)
    ('8B', '124M', '1.5T')
    """
    for size, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.{2 if count < 10 * size else 3}g}{unit}"
    return f"{count:g}"


def asked(
    task: str,
    *,
    peft: str | None = None,
    model: Model | None = None,
    r: int | None = None,
    alpha: float | None = None,
    rslora: bool = False,
    optimizer: str = "adamw",
    batch_tokens: float | None = None,
    batch_size: float | None = None,
    steps: int | None = None,
    tokens: float | None = None,
    examples: int | None = None,
) -> Question:
    """A question from what was typed, checked.

    >>> asked("qlora").task, asked("dpo-lora").peft, asked("full", optimizer="paged_adamw_8bit").optimizer
    ('sft', 'lora', 'adamw')

    Raises:
        ValueError: for an unknown task, PEFT type, or a number that is not above 0.
    """
    read_task, read_peft = read_task_of(task, peft)
    numbers = {
        "r": r, "alpha": alpha, "batch_tokens": batch_tokens, "batch_size": batch_size, "steps": steps, "tokens": tokens,
        "examples": examples,
    }  # fmt: skip
    for name, number in numbers.items():
        if number is not None:
            real(name, number, above=0)
    return Question(
        task=read_task, peft=read_peft, model=model or Model(), r=r, alpha=alpha, rslora=rslora or read_peft == "rslora",
        optimizer=optimizer_of(optimizer), batch_tokens=batch_tokens, batch_size=batch_size, steps=steps, tokens=tokens,
        examples=examples,
    )  # fmt: skip


def read_task_of(task: str, peft: str | None = None) -> tuple[str, str | None]:
    """A task and a PEFT type, from the words people use for either."""
    if not isinstance(task, str):
        raise ValueError(f"task={task!r} must be a word: one of {', '.join(TASKS)}, or lora, dpo, ...")
    word = task.strip().lower().replace(" ", "_")
    word = word if word in _TYPED else word.replace("-", "_")
    method = peft.strip().lower().replace("-", "_") if peft else None
    method = None if method in ("none", "full") else method
    if method is not None and method not in PEFT_TYPES:
        raise ValueError(f"peft={peft!r} is not known{_near(method, PEFT_TYPES)}; give None where all parameters train")
    if word in _TYPED:
        read, implied = _TYPED[word]
        return read, method or implied
    if word.replace("-", "_") in PEFT_TYPES:
        return "sft", method or word.replace("-", "_")
    near = _near(word, ["lora", "qlora", *_TYPED]) or _near(word, PEFT_TYPES)
    raise ValueError(f"task={task!r} is not known{near}; it is one of {', '.join(TASKS)}, or lora, dpo, ...")


def optimizer_of(name: str) -> str:
    """The kind of an optimizer that Transformers, torch or a class calls `name`: Adam's kin are one, as their LRs are.

    >>> optimizer_of("adamw_torch_fused"), optimizer_of("SGD"), optimizer_of("paged_lion_8bit"), optimizer_of("galore_adamw")
    ('adamw', 'sgd', 'lion', 'other')
    """
    word = name.lower()
    if any(other in word for other in _OWN_SCALE):
        return "other"
    return next(
        (kind for kind in ("muon", "lion", "adafactor", "adamw", "sgd") if kind in word),
        "adamw" if "adam" in word else "other",
    )


def _near(word: str, known: tuple[str, ...] | list[str]) -> str:
    close = get_close_matches(word, known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
