"""Fine-tunes all weights of a causal language model.

    accelerate launch recipes/finetune.py          what pretrain.py left, on Python's documentation
    accelerate launch recipes/finetune.py --model_name_or_path Qwen/Qwen3-0.6B --dataset_name trl-lib/Capybara

Data is text, a conversation (`messages`) or `prompt` and `completion`, as TRL's SFTTrainer takes it. Every argument of
SFTConfig works; presets/finetune.yaml holds the defaults. --learning_rate auto and --warmup_steps auto are decided from
the evidence, for this model.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from language import examples, pretrained
from recipe import Data, Peak, parse, plan, run
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

import hf_lrsched  # registers the schedules  # noqa: F401


@dataclass
class Model:
    """What is fine-tuned; nothing given means what pretrain.py left."""

    model_name_or_path: str | None = field(default=None, metadata={"help": "A Hub id or a folder."})


args, data, model_args, peak = parse("finetune", SFTConfig, Data, Model, Peak)
name = pretrained(model_args.model_name_or_path)
args.dataset_text_field = data.text_column
train, held_out = examples(data, args)

trainer = SFTTrainer(
    model=AutoModelForCausalLM.from_pretrained(name),
    args=args,
    train_dataset=train,
    eval_dataset=held_out,
    processing_class=AutoTokenizer.from_pretrained(name),
)
schedule = plan(trainer, peak, task="sft")
run(trainer, schedule, peak)
