"""Pre-trains a causal language model under `wsd`.

    accelerate launch recipes/pretrain.py       a small Llama on Python's own source: a minute on two CPU cores
    accelerate launch recipes/pretrain.py --model_name_or_path Qwen/Qwen3-0.6B-Base --dataset_name HuggingFaceFW/fineweb-edu \
        --dataset_config_name sample-10BT --streaming --max_steps 20000
    accelerate launch recipes/pretrain.py --budgets 200,400,800     one stable run, and one cooled branch for each
    accelerate launch recipes/pretrain.py --finish_by 6h            no number of steps: the decay starts in time, or on demand

A model is made anew from the configuration that --model_name_or_path names (a Hub id or a folder); with
--continue_training from its weights. Every argument of TrainingArguments works; presets/pretrain.yaml holds the defaults,
pretrain_400m, pretrain_2b and pretrain_30b those of other sizes, continue those of --continue_training. --learning_rate auto
and --warmup_steps auto are decided from the evidence, for this model and length.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain

import embedded
from ending import Ending, held_back, open_ended, saves, train_budgets
from recipe import Data, Peak, columns, load, need_column, need_model, parse, plan, run, stop, unused
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    Trainer,
    TrainingArguments,
    default_data_collator,
    set_seed,
)

import hf_lrsched  # registers the schedules


@dataclass
class Model:
    """What is trained; nothing given means the embedded one."""

    model_name_or_path: str | None = field(default=None, metadata={"help": "A Hub id or a folder."})
    continue_training: bool = field(default=False, metadata={"help": "Start from its weights, not only its shape."})
    block_size: int = field(default=1024, metadata={"help": "Tokens in an example."})


args, data, model_args, ending, peak = parse("pretrain", TrainingArguments, Data, Model, Ending, Peak)

if model_args.model_name_or_path is None and data.dataset_name is None and data.train_file is None:
    unused(data, ("--continue_training", model_args.continue_training))
    size = embedded.BLOCK
    texts = embedded.source()
    tokenizer = embedded.tokenizer(texts)
    train_tokens, held_out_tokens = (embedded.tokens(part, tokenizer) for part in (texts.train, texts.held_out))
    train, held_out = embedded.blocks(train_tokens), embedded.blocks(held_out_tokens[: 256 * size])
else:
    if model_args.model_name_or_path is None or (data.dataset_name or data.train_file) is None:
        stop("give both a model (--model_name_or_path) and data (--dataset_name or --train_file), or neither")
    size, name = model_args.block_size, need_model(model_args.model_name_or_path)
    tokenizer = AutoTokenizer.from_pretrained(name)

    def examples(batch: dict[str, list[str]]) -> dict[str, list[list[int]]]:
        """Documents joined by the end token and cut into blocks; the rest of a batch is dropped."""
        documents = tokenizer(batch[data.text_column])["input_ids"]
        row = list(chain.from_iterable([*document, tokenizer.eos_token_id] for document in documents))
        cut = [row[i : i + size] for i in range(0, len(row) - size + 1, size)]
        return {"input_ids": cut, "labels": [list(block) for block in cut]}

    with args.main_process_first():
        train, held_out = load(data, args)
        need_column(train, data.text_column, "--text_column")
        train, held_out = (part.map(examples, batched=True, remove_columns=columns(part)) for part in (train, held_out))

if hasattr(train, "__len__") and not min(len(train), len(held_out)):
    stop(f"the text makes {len(train)} training and {len(held_out)} held-out blocks of {size} tokens; lower --block_size")

tokens_per_step = size * args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
task = "continue" if model_args.continue_training else "pretrain"
cooldown = open_ended(ending, args, tokens_per_step) if ending.on_demand else None
if cooldown is not None and data.streaming and held_back(ending, args):
    train = hf_lrsched.HeldBack(train, held_back(ending, args))


def fresh_model() -> PreTrainedModel:
    """The model before its first step, the same at each call."""
    set_seed(args.seed)
    if model_args.model_name_or_path is None:
        return embedded.llama(tokenizer)
    if model_args.continue_training:
        return AutoModelForCausalLM.from_pretrained(model_args.model_name_or_path)
    return AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(model_args.model_name_or_path))


def make_trainer(args: TrainingArguments) -> Trainer:
    """A Trainer with a fresh model: one for the run, or one for the trunk and for each branch of a plan."""
    return Trainer(
        model=fresh_model(),
        args=args,
        train_dataset=train,
        eval_dataset=held_out,
        processing_class=tokenizer,
        data_collator=default_data_collator,
    )


def beside_a_bigram() -> list[str]:
    """Whether the demo learned: a bigram model counted on all the training tokens, scored on the same held-out ones."""
    if "texts" not in globals():
        return []
    bigram = embedded.bigram_loss(train_tokens, held_out_tokens[: 256 * size])
    return [f"held-out loss of a bigram model on the same tokens: {bigram:.3f}"]


if ending.budgets:
    train_budgets(ending, args, peak, task, tokens_per_step, make_trainer)
else:
    trainer = make_trainer(args)
    trainer.add_callback(cooldown or saves(ending))
    schedule = plan(trainer, peak, tokens_per_step, task=task, open_ended=cooldown is not None)
    run(trainer, schedule, peak, beside_a_bigram)
