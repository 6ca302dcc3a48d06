"""What finetune.py and lora.py share: the model they start from and the text they train on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import embedded
from datasets import Dataset
from recipe import Data, columns, load, need_model, stop, unused
from transformers import TrainingArguments


def pretrained(given: str | None) -> str:
    """The model that was given, or the newest that pretrain.py left."""
    if given is not None:
        return need_model(given)
    left = [path.parent for path in Path("runs").glob("pretrain*/config.json")]
    if not left:
        stop("there is no pre-trained model under runs/: run recipes/pretrain.py first, or give --model_name_or_path")
    return str(max(left, key=lambda folder: (folder / "config.json").stat().st_mtime))


def examples(data: Data, args: TrainingArguments) -> tuple[Any, Any]:
    """Training and held-out examples: those that were given, or Python's documentation."""
    if data.dataset_name or data.train_file:
        with args.main_process_first():
            train, held_out = load(data, args)
        if not {data.text_column, "messages", "prompt"} & set(columns(train)):
            stop(
                f"the data has no column '{data.text_column}', messages or prompt (it has {', '.join(columns(train))}); "
                "give --text_column"
            )
        return train, held_out
    unused(data)
    texts = embedded.documentation()
    train, held_out = (Dataset.from_dict({data.text_column: part}) for part in (texts.train, texts.held_out))
    return train, held_out
