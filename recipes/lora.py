"""Fine-tunes a causal language model with LoRA: small adapters on every linear layer, and only they are saved.

    accelerate launch recipes/lora.py              what pretrain.py left, on Python's documentation
    accelerate launch recipes/lora.py --model_name_or_path Qwen/Qwen3-0.6B --dataset_name trl-lib/Capybara
    accelerate launch recipes/lora.py --config qlora --model_name_or_path Qwen/Qwen3-8B --dataset_name trl-lib/Capybara

Data as for finetune.py. Every argument of SFTConfig works; presets/lora.yaml holds the defaults, qlora.yaml those of QLoRA.
--learning_rate auto and --warmup_steps auto are decided from the evidence, for this model and these adapters.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec

import torch
from language import examples, pretrained
from peft import LoraConfig
from recipe import Data, Peak, parse, plan, run, stop
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
from trl import SFTConfig, SFTTrainer

import hf_lrsched  # registers the schedules  # noqa: F401


@dataclass
class Model:
    """What is fine-tuned and by which adapters; no model given means what pretrain.py left."""

    model_name_or_path: str | None = field(default=None, metadata={"help": "A Hub id or a folder."})
    lora_r: int = field(default=16, metadata={"help": "Rank (TRL's ModelConfig: 16)."})
    lora_alpha: int = field(default=32, metadata={"help": "Scale, over the rank (TRL's ModelConfig: 32)."})
    lora_dropout: float = field(default=0.0, metadata={"help": "Dropout before the adapters (LoraConfig: 0)."})
    use_rslora: bool = field(default=False, metadata={"help": "Scale by alpha / sqrt(r) (2312.03732)."})
    load_in_4bit: bool = field(default=False, metadata={"help": "QLoRA: the model's weights in 4 bits (needs a GPU)."})


args, data, model_args, peak = parse("lora", SFTConfig, Data, Model, Peak)
if model_args.load_in_4bit and (not torch.cuda.is_available() or find_spec("bitsandbytes") is None):
    stop("--load_in_4bit needs a GPU and bitsandbytes (pip install bitsandbytes); without them use --config lora")
name = pretrained(model_args.model_name_or_path)
args.dataset_text_field = data.text_column
train, held_out = examples(data, args)

four_bits = BitsAndBytesConfig(  # as QLoRA has it (2305.14314)
    load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=torch.bfloat16
)

trainer = SFTTrainer(
    model=AutoModelForCausalLM.from_pretrained(name, quantization_config=four_bits if model_args.load_in_4bit else None),
    args=args,
    train_dataset=train,
    eval_dataset=held_out,
    processing_class=AutoTokenizer.from_pretrained(name),
    peft_config=LoraConfig(
        r=model_args.lora_r,
        lora_alpha=model_args.lora_alpha,
        lora_dropout=model_args.lora_dropout,
        use_rslora=model_args.use_rslora,
        target_modules="all-linear",  # every linear layer: LoRA Without Regret (doi 10.64434/tml.20250929)
        task_type="CAUSAL_LM",
    ),
)
schedule = plan(trainer, peak, task="sft")
run(trainer, schedule, peak)
