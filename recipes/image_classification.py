"""Trains an image classifier from scratch, or fine-tunes one; with Adam or SGD.

    accelerate launch recipes/image_classification.py                        a small ResNet on handwritten digits
    accelerate launch recipes/image_classification.py --optim sgd --config recipes/presets/demo-image_sgd.yaml
    accelerate launch recipes/image_classification.py --model_name_or_path microsoft/resnet-50 \
        --dataset_name beans --label_column labels --config recipes/presets/image_finetune.yaml

From scratch only the shape of --model_name_or_path is used (--from_scratch). Every argument of TrainingArguments works;
presets/image_classification.yaml (from scratch), image_finetune.yaml and image_sgd.yaml hold the defaults.
--learning_rate auto and --warmup_steps auto are decided from the evidence.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import embedded
import numpy as np
import torch
from recipe import Data, Peak, load, need_column, parse, plan, run, stop, unused
from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageClassification, Trainer, TrainingArguments, set_seed

import hf_lrsched  # registers the schedules  # noqa: F401


@dataclass
class Model:
    """What is trained; nothing given means the embedded one."""

    model_name_or_path: str | None = field(default=None, metadata={"help": "A Hub id or a folder."})
    from_scratch: bool = field(default=False, metadata={"help": "Only its shape, with new weights."})
    image_column: str = field(default="image", metadata={"help": "The column that holds the images."})
    label_column: str = field(default="label", metadata={"help": "The column that holds the classes."})


args, data, model_args, peak = parse("image_classification", TrainingArguments, Data, Model, Peak)
set_seed(args.seed)
args.remove_unused_columns = False
processor = None

if data.dataset_name is None and data.train_file is None:
    unused(data)
    train, held_out = embedded.digits()
    labels = train.features["labels"].names
else:
    if model_args.model_name_or_path is None:
        stop("give a model (--model_name_or_path) for this data; the embedded one is for the embedded digits")
    if data.streaming:
        stop("--streaming is for text; images are read from the disk as they are needed in any case")
    with args.main_process_first():
        train, held_out = load(data, args)
    need_column(train, model_args.image_column, "--image_column")
    need_column(train, model_args.label_column, "--label_column")
    labels = getattr(train.features[model_args.label_column], "names", None)
    if labels is None:
        stop(f"the column '{model_args.label_column}' does not hold classes (a ClassLabel of the datasets library)")
    processor = AutoImageProcessor.from_pretrained(model_args.model_name_or_path)

    def pixels(batch: dict[str, list[Any]]) -> dict[str, Any]:
        """Images as the model's own processor makes them."""
        images = [image.convert("RGB") for image in batch[model_args.image_column]]
        made = processor(images, return_tensors="pt")["pixel_values"]
        return {"pixel_values": made, "labels": torch.tensor(batch[model_args.label_column])}

    train, held_out = (part.with_transform(pixels) for part in (train, held_out))

if model_args.model_name_or_path is None:
    model = embedded.cnn()
else:
    names = {"num_labels": len(labels), "id2label": dict(enumerate(labels)), "label2id": {n: i for i, n in enumerate(labels)}}
    config = AutoConfig.from_pretrained(model_args.model_name_or_path, **names)
    if model_args.from_scratch:
        model = AutoModelForImageClassification.from_config(config)
    else:
        model = AutoModelForImageClassification.from_pretrained(
            model_args.model_name_or_path, config=config, ignore_mismatched_sizes=True
        )


def accuracy(predicted: Any) -> dict[str, float]:
    """Share of held-out images that are classified right."""
    logits = predicted.predictions[0] if isinstance(predicted.predictions, tuple) else predicted.predictions
    return {"accuracy": float(np.mean(np.argmax(logits, axis=-1) == predicted.label_ids))}


# Some image models take any keyword and leave num_items_in_batch alone; Trainer would then multiply their loss by processes
# and accumulation steps (tried: ResNet, Transformers 5.23).
model.accepts_loss_kwargs = False
trainer = Trainer(
    model=model,
    args=args,
    train_dataset=train,
    eval_dataset=held_out,
    processing_class=processor,
    compute_metrics=accuracy,
)
fresh = model_args.model_name_or_path is None or model_args.from_scratch
schedule = plan(trainer, peak, task="image" if fresh else "image_finetune")
after = run(trainer, schedule, peak)
if trainer.is_world_process_zero():
    print(f"held-out accuracy: {after['eval_accuracy']:.3f}")
