"""The training tasks on which range tests are judged: small enough for two CPU cores, 10 ms a step or less.

Each is made anew for a learning rate and a seed. The texts are those of the recipes, in blocks of 64 tokens; the pre-trained
models are trained once and kept in the temporary folder. None of this is downloaded.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "recipes"))

import embedded  # noqa: E402  # the recipes are on the path only now
import numpy as np  # noqa: E402  # as above
import torch  # noqa: E402  # as above
from datasets import Dataset  # noqa: E402  # as above
from peft import LoraConfig, get_peft_model  # noqa: E402  # as above
from transformers import (  # noqa: E402  # as above
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    ResNetForImageClassification,
    Trainer,
    TrainingArguments,
    default_data_collator,
    set_seed,
)

import hf_lrsched  # noqa: E402, F401  # registers the schedules

LEFT = Path(tempfile.gettempdir()) / "hf_lrsched-range-test"
BLOCK = 64
# Packages of the standard library with enough source to tell them apart by.
PACKAGES = ("asyncio", "email", "tkinter", "unittest", "multiprocessing", "xml", "http", "importlib")


@dataclass(frozen=True)
class Task:
    """What is trained, on what, and how; `make` gives its Trainer.

    Args:
        model: makes the model before its first step.
        data: training and held-out examples.
        steps: the budget.
        grid: decades between which learning rates are tried.
        settings: TrainingArguments beside those that all tasks share.
    """

    model: Callable[[], Any]
    data: Callable[[], tuple[Any, Any]]
    steps: int
    grid: tuple[float, float]
    settings: dict[str, Any] = field(default_factory=dict)

    def make(self, lr: float, seed: int, **settings: Any) -> Trainer:
        """A Trainer that has not begun."""
        set_seed(seed)
        train, held_out = self.data()
        args = TrainingArguments(
            **{
                "output_dir": str(LEFT / "none"),
                "learning_rate": lr,
                "seed": seed,
                "max_steps": self.steps,
                "per_device_train_batch_size": 8,
                "per_device_eval_batch_size": 64,
                "logging_strategy": "no",
                "save_strategy": "no",
                "report_to": [],
                "disable_tqdm": True,
                "use_cpu": True,
                **self.settings,
                **settings,
            }
        )
        model = self.model()
        return Trainer(
            model=model, args=args, train_dataset=train, eval_dataset=held_out, data_collator=default_data_collator
        )


@cache
def _tokenizer() -> Any:
    return embedded.tokenizer(embedded.source())


@cache
def source() -> tuple[Dataset, Dataset]:
    """Python's own source."""
    texts = embedded.source()
    train, held_out = (embedded.tokens(part, _tokenizer()) for part in (texts.train, texts.held_out))
    return embedded.blocks(train, BLOCK), embedded.blocks(held_out[: 128 * BLOCK], BLOCK)


@cache
def documentation() -> tuple[Dataset, Dataset]:
    """Python's documentation: the other kind of text."""
    texts = embedded.documentation()
    train, held_out = (embedded.tokens(part, _tokenizer()) for part in (texts.train, texts.held_out))
    return embedded.blocks(train, BLOCK), embedded.blocks(held_out[: 128 * BLOCK], BLOCK)


@cache
def packages() -> tuple[Dataset, Dataset]:
    """From which of eight packages a block of source is; 600 blocks of each, one in ten held out."""
    import sysconfig

    library = Path(sysconfig.get_paths()["stdlib"])
    blocks, labels = [], []
    for label, name in enumerate(PACKAGES):
        files = sorted(path for path in (library / name).rglob("*.py") if "test" not in path.parts)
        row = embedded.tokens([path.read_text("utf-8", errors="replace") for path in files], _tokenizer())
        found = row[: len(row) // BLOCK * BLOCK].reshape(-1, BLOCK)
        chosen = found[np.random.default_rng(0).permutation(len(found))[:600]]
        blocks.append(chosen)
        labels += [label] * len(chosen)
    whole = Dataset.from_dict({"input_ids": np.concatenate(blocks), "labels": labels}).with_format("torch")
    parts = whole.train_test_split(test_size=0.1, seed=0)
    return parts["train"], parts["test"]


class NoisyDigits(torch.utils.data.Dataset):
    """Handwritten digits under noise that is drawn anew at each look, so that there is no learning them by heart.

    Without it a small network is right about all of them at any learning rate of two decades, and there is no best one.
    """

    SIZE = 0.7  # of the noise; the pixels are between -1 and 1

    def __init__(self, pixels: np.ndarray, labels: np.ndarray, looks: int = 0) -> None:
        """With `looks`, that many of each, always the same: the held-out part."""
        self.pixels, self.labels = torch.tensor(pixels, dtype=torch.float32), torch.tensor(labels)
        self.fixed = None
        if looks:
            self.pixels, self.labels = self.pixels.repeat(looks, 1, 1, 1), self.labels.repeat(looks)
            self.fixed = self.SIZE * torch.randn(self.pixels.shape, generator=torch.Generator().manual_seed(0))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        pixels = self.pixels[index]
        noise = self.SIZE * torch.randn(pixels.shape) if self.fixed is None else self.fixed[index]
        return {"pixel_values": pixels + noise, "labels": self.labels[index]}


@cache
def digits(first: int, last: int) -> tuple[Any, Any]:
    """Handwritten digits from `first` to `last`, counted from 0."""
    kept = []
    for part, looks in zip(embedded.digits(), (0, 5), strict=True):
        labels = np.asarray(part["labels"])
        there = np.flatnonzero((labels >= first) & (labels <= last))
        kept.append(NoisyDigits(np.asarray(part["pixel_values"])[there], labels[there] - first, looks))
    return kept[0], kept[1]


def llama(hidden_size: int) -> Callable[[], Any]:
    return lambda: embedded.llama(_tokenizer(), hidden_size=hidden_size, layers=2)


def cnn() -> Any:
    model = embedded.cnn()
    model.accepts_loss_kwargs = False
    return model


def _pretrained(name: str, task: Task, lr: float, steps: int) -> Path:
    """The folder of a model that `task` has trained, made where it is not there."""
    folder = LEFT / name
    if not (folder / "config.json").exists():
        trainer = task.make(lr, seed=100, max_steps=steps)
        trainer.train()
        beside = folder.with_name(f"{name}.{os.getpid()}")
        trainer.save_model(str(beside))
        beside.rename(folder)
    return folder


def pretrained_llama() -> Any:
    return LlamaForCausalLM.from_pretrained(_pretrained("llama", TASKS["pretrain-130k-wsd"], 4e-3, 3000))


def adapted(rank: int) -> Callable[[], Any]:
    def make() -> Any:
        config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")
        return get_peft_model(pretrained_llama(), config)

    return make


def classifier() -> Any:
    pretrained_llama()  # so that it is there
    return LlamaForSequenceClassification.from_pretrained(LEFT / "llama", num_labels=len(PACKAGES))


def pretrained_cnn() -> Any:
    folder = _pretrained("cnn", Task(cnn, lambda: digits(0, 4), 300, (-4, -1)), 3e-3, 300)
    model = ResNetForImageClassification.from_pretrained(folder)
    model.classifier[-1] = torch.nn.Linear(model.classifier[-1].in_features, 5)
    model.config.num_labels = model.num_labels = 5
    model.accepts_loss_kwargs = False
    return model


_PRETRAIN = {"weight_decay": 0.1, "adam_beta2": 0.95}
_COSINE = {"lr_scheduler_type": "warmup_cosine", "lr_scheduler_kwargs": {"warmup": "5%"}}
_IMAGES = {"per_device_train_batch_size": 16, "per_device_eval_batch_size": 512}

TASKS: dict[str, Task] = {
    "pretrain-41k-wsd": Task(llama(32), source, 1500, (-5, 0), {**_PRETRAIN, "lr_scheduler_type": "wsd"}),
    "pretrain-130k-wsd": Task(llama(64), source, 1000, (-5, 0), {**_PRETRAIN, "lr_scheduler_type": "wsd"}),
    "pretrain-130k-cosine": Task(llama(64), source, 1000, (-5, 0), {**_PRETRAIN, **_COSINE}),
    "pretrain-41k-sgd": Task(llama(32), source, 1000, (-3, 2), {**_COSINE, "optim": "sgd", "optim_args": "momentum=0.9"}),
    "finetune-130k": Task(pretrained_llama, documentation, 1000, (-6, -1), _COSINE),
    "lora-r4": Task(adapted(4), documentation, 1000, (-5, 0), _COSINE),
    "lora-r16": Task(adapted(16), documentation, 1000, (-5, 0), _COSINE),
    "classify": Task(classifier, packages, 1000, (-6, -1), _COSINE),
    "cnn-adam": Task(cnn, lambda: digits(0, 9), 1000, (-5, 0), {**_IMAGES, "lr_scheduler_type": "one_cycle"}),
    "cnn-sgd": Task(
        cnn,
        lambda: digits(0, 9),
        1000,
        (-4, 1),
        {**_IMAGES, "lr_scheduler_type": "step_decay", "optim": "sgd", "optim_args": "momentum=0.9", "max_grad_norm": 0.0},
    ),
    "cnn-finetune": Task(pretrained_cnn, lambda: digits(5, 9), 1000, (-6, -1), {**_IMAGES, **_COSINE}),
}
