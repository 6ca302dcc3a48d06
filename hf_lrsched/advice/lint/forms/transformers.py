"""`TrainingArguments` as YAML, JSON or a command line, and what is built on them: TRL, alignment-handbook, open-r1,
open-instruct, and this project's presets.

What a script of somebody's own adds in Python is unknown: a full fine-tuning is one only where something says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from ....schedules.catalogue import CATALOGUE
from ..configuration import Configuration, Form, Setting
from ..document import Document, number_of
from .form import ORPO, Reader, size_of, task_of
from .names import ANY_TRL, TRAINING_ARGUMENTS, TRL, UNMISTAKABLE

_STOCK = frozenset(["constant"])  # ours too, but Transformers' under that name
_ADAPTED = re.compile("lora|peft|adapter|quant|freeze|frozen|tunable|trainable|tune_")  # keys by which some parameters train
_LOADING = ("attn_implementation", "torch_dtype", "dtype", "use_flash_attn")
_ANYBODYS = frozenset([*_LOADING, "max_length", "max_seq_length", "dataset_name", "model_revision"])
_DEPTH = 2  # how deep a mapping of arguments may lie in somebody's own file
_LR = ("learning_rate", "lr_scheduler_type", "warmup_steps", "warmup_ratio", "num_train_epochs", "max_steps")


class Transformers(Reader):
    """A mapping of `TrainingArguments`, at the top of a file or within one."""

    form = "transformers"
    converts = False
    names = {
        **{name: name for name in TRAINING_ARGUMENTS},
        **{
            name: name
            for name in ("model_name_or_path", "config_name", "dataset_name", "beta", "loss_type", "reference_free")
        },
        "accelerate_config": "accelerate",
        "lora_r": "r",
        "lora_rank": "r",
        "lora_alpha": "alpha",
        "use_rslora": "rslora",
        "max_seq_length": "max_length",
        "max_length": "max_length",
    }

    def mine(self, document: Document) -> bool:
        """Whether enough of its keys are those of `TrainingArguments`."""
        if document.has("log_history", "architectures", "vocab_size"):  # a run's state, a model's configuration
            return False
        own = [key for key in document.entries if key in TRAINING_ARGUMENTS]
        sure = sum(key in UNMISTAKABLE for key in own)
        alone = len(own) >= 3 and len(own) == len({key.partition(".")[0] for key in document.entries})
        named = sure >= 2 or (sure >= 1 and (len(own) >= 3 or _is_trl(document)))
        return document.has(*_LR) > 0 and (alone or named)

    def read_all(self, document: Document) -> Iterator[Configuration]:
        """The arguments at the top of the document, or those that lie within it; none of a file for another program."""
        if _somebody_elses(document):
            return
        document = _resolved(document) if _is_hydras(document) else document
        if self.mine(document):
            yield self.read(document)
            return
        for key in document.mappings():
            inner = document.within(key) if key.count(".") < _DEPTH else None
            if inner is not None and self.mine(inner):
                yield self.read(inner)

    def read(self, document: Document, **known: Any) -> Configuration:
        """As Transformers' own, TRL's or this project's."""
        read = super().read(document, **known)
        form: Form = "trl" if _is_trl(document) else "transformers"
        if _is_ours(read):
            form = "hf_lrsched"
        if form == "transformers":
            return read
        numbers = {name: _CONVERTS.understood(found) for name, found in read.settings.items()}
        return read.but(form=form, settings=numbers)

    def facts(self, document: Document, settings: Mapping[str, Setting]) -> dict[str, Any]:
        """Task, method, size and length, as far as they are written."""
        return {
            "task": _task(document),
            "peft": _peft(document),
            "parameters": size_of(
                document.text("model_name_or_path"), document.text("model_name"), document.text("model_id")
            ),
        }


class _Converting(Transformers):
    """As `TrlParser` reads it, which turns the text ``2e-5`` into a number (TRL 1.16.0)."""

    converts = True


_CONVERTS = _Converting()


def _somebody_elses(document: Document) -> bool:
    """Kubernetes, docker compose, GitHub, OpenAPI, JSON Schema or a sweep of W&B: no Trainer reads these."""
    mapped = [key for key in ("services", "jobs", "parameters", "properties") if isinstance(document.value(key), dict)]
    return (
        document.has("apiVersion", "kind") == 2
        or document.has("openapi", "swagger") > 0
        or "services" in mapped
        or ("jobs" in mapped and "on" in document)
        or ("parameters" in mapped and "method" in document)
        or ("properties" in mapped and document.has("$schema", "type") > 0)
    )


def _is_hydras(document: Document) -> bool:
    """Whether OmegaConf reads it: it names a class to build, or composes itself of others."""
    return "_target_" in document.words or "hydra" in document or isinstance(document.value("defaults"), list)


def _resolved(document: Document) -> Document:
    """The document as OmegaConf 2.3 reads it, for which a bare ``2e-5`` is a number."""
    bare = {key: found for key, found in document.entries.items() if found.as_text and found.written[:1] not in ("'", '"')}
    numbers = {key: replace(found, value=number_of(found.written), as_text=False) for key, found in bare.items()}
    return Document({**document.entries, **numbers}, document.lines, document.file)


def _is_trl(document: Document) -> bool:
    return sum(key in ANY_TRL for key in document.entries) >= 1


def _is_ours(read: Configuration) -> bool:
    return (read.schedule in CATALOGUE and read.schedule not in _STOCK) or read.word("learning_rate") == "auto"


def _task(document: Document) -> str:
    if any(ORPO.search(part.lower()) for part in re.split(r"[/\\]", document.file)[-3:]):
        return ""
    for task in ("rl", "preference", "reward"):
        if sum(key in TRL[task] for key in document.entries) >= 1:
            return task
    named = task_of(document.file)
    if named:
        return continued(named, document)
    return "sft" if any(key in TRL["sft"] for key in document.entries) else ""


def continued(task: str, document: Document) -> str:
    """A task as it is with a model to begin from: pre-training goes on."""
    return "continue" if task == "pretrain" and document.value("model_name_or_path") else task


def _peft(document: Document) -> str:
    asked = [document.value(key) for key in ("use_peft", "use_lora", "use_qlora") if key in document]
    if any(asked):
        quantized = document.value("use_qlora") or document.value("load_in_4bit")
        return "qlora" if quantized else "lora"
    if asked:
        return "full"
    if any(_ADAPTED.search(key) for key in document.entries):
        return ""
    # Their own programs train all parameters where nothing else is asked for; a script of somebody's own may add LoRA.
    theirs = "dataset_mixer" in document or any(key in ANY_TRL and key not in _ANYBODYS for key in document.entries)
    return "full" if theirs and document.has("dataset_mixer", *_LOADING) else ""
