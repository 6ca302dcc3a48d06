"""A sound configuration of each project, made up, for the tests to read and to spoil."""

from __future__ import annotations

from hf_lrsched.advice.lint.configuration import Form

TRANSFORMERS = """\
model_name_or_path: org/model-8B
output_dir: out
learning_rate: 2.0e-05
lr_scheduler_type: cosine_with_min_lr
lr_scheduler_kwargs:
  min_lr_rate: 0.1
warmup_steps: 100
max_steps: 2000
per_device_train_batch_size: 8
gradient_accumulation_steps: 2
weight_decay: 0.0
"""

TRL = """\
model_name_or_path: org/model-8B
attn_implementation: sdpa
dataset_name: org/chats
use_peft: true
lora_r: 16
lora_alpha: 32
packing: true
learning_rate: 2.0e-04
lr_scheduler_type: cosine
warmup_steps: 0.03
max_steps: 2000
per_device_train_batch_size: 8
gradient_accumulation_steps: 2
"""

DPO = """\
model_name_or_path: org/model-8B
attn_implementation: sdpa
dataset_name: org/pairs
beta: 0.1
max_prompt_length: 512
learning_rate: 5.0e-07
lr_scheduler_type: linear
warmup_steps: 0.1
max_steps: 1000
per_device_train_batch_size: 4
gradient_accumulation_steps: 8
"""

AXOLOTL = """\
base_model: org/model-8B
adapter: lora
lora_r: 16
lora_alpha: 32
datasets:
  - path: org/chats
    type: chat_template
sequence_len: 2048
micro_batch_size: 2
gradient_accumulation_steps: 4
max_steps: 2000
optimizer: adamw_torch_fused
lr_scheduler: cosine
learning_rate: 0.0002
warmup_steps: 60
weight_decay: 0.0
"""

LLAMAFACTORY = """\
model_name_or_path: org/model-8B
stage: sft
do_train: true
finetuning_type: lora
lora_rank: 16
dataset: chats
template: default
cutoff_len: 2048
output_dir: out
per_device_train_batch_size: 1
gradient_accumulation_steps: 16
learning_rate: 2.0e-4
max_steps: 2000
lr_scheduler_type: cosine
warmup_steps: 100
"""

TORCHTUNE = """\
output_dir: out
model:
  _component_: torchtune.models.llama3_1.lora_llama3_1_8b
  lora_rank: 16
  lora_alpha: 32
tokenizer:
  _component_: torchtune.models.llama3.llama3_tokenizer
  max_seq_len: 2048
checkpointer:
  _component_: torchtune.training.FullModelHFCheckpointer
  checkpoint_dir: /models/model-8B/
  output_dir: ${output_dir}
batch_size: 2
epochs: 2
max_steps_per_epoch: 1000
gradient_accumulation_steps: 8
optimizer:
  _component_: torch.optim.AdamW
  weight_decay: 0.0
  lr: 3e-4
lr_scheduler:
  _component_: torchtune.training.lr_schedulers.get_cosine_schedule_with_warmup
  num_warmup_steps: 100
loss:
  _component_: torchtune.modules.loss.CEWithChunkedOutputLoss
"""

LITGPT = """\
checkpoint_dir: checkpoints/org/model-8B
precision: bf16-true
lora_r: 16
lora_alpha: 32
devices: 1
data:
  class_path: litgpt.data.Alpaca2k
  init_args:
    val_split_fraction: 0.05
train:
  global_batch_size: 8
  micro_batch_size: 4
  lr_warmup_steps: 20
  epochs: 4
  max_steps:
optimizer:
  class_path: torch.optim.AdamW
  init_args:
    lr: 0.0002
    weight_decay: 0.0
"""

OURS = """\
model_name_or_path: org/model-360M
learning_rate: 3.0e-4
lr_scheduler_type: wsd
lr_scheduler_kwargs:
  decay: 0.2
warmup_steps: 0.05
max_steps: 2000
weight_decay: 0.1
per_device_train_batch_size: 8
gradient_accumulation_steps: 8
"""

SHELL = """\
#!/bin/bash
LR=2e-4
torchrun --nproc_per_node 4 sft.py \\
  --model_name_or_path org/model-8B \\
  --use_peft --lora_r 16 --lora_alpha 32 \\
  --learning_rate $LR \\
  --lr_scheduler_type cosine \\
  --warmup_steps 100 \\
  --max_steps 2000 \\
  --per_device_train_batch_size 4
"""

DEEPSPEED = """\
{
  "zero_optimization": {"stage": 2},
  "gradient_clipping": "auto",
  "train_micro_batch_size_per_gpu": "auto",
  "gradient_accumulation_steps": "auto",
  "scheduler": {
    "type": "WarmupDecayLR",
    "params": {"warmup_num_steps": 100, "total_num_steps": 1000, "warmup_max_lr": 1e-3}
  }
}
"""

ACCELERATE = """\
compute_environment: LOCAL_MACHINE
distributed_type: MULTI_GPU
mixed_precision: bf16
num_machines: 1
num_processes: 4
"""

SOUND: dict[str, tuple[Form, str]] = {
    "args.yaml": ("transformers", TRANSFORMERS),
    "lora.yaml": ("trl", TRL),
    "dpo.yaml": ("trl", DPO),
    "axolotl.yml": ("axolotl", AXOLOTL),
    "llamafactory.yaml": ("llamafactory", LLAMAFACTORY),
    "torchtune.yaml": ("torchtune", TORCHTUNE),
    "litgpt.yaml": ("litgpt", LITGPT),
    "ours.yaml": ("hf_lrsched", OURS),
    "run.sh": ("trl", SHELL),
}
"""Training configurations without a fault, by the name of the file."""
