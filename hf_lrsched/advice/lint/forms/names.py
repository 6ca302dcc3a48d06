"""Names that several projects share: Transformers' own, and those that only TRL's configurations have."""

from __future__ import annotations


def _names(*lines: str) -> frozenset[str]:
    return frozenset(name for line in lines for name in line.split())


TRAINING_ARGUMENTS = _names(
    "learning_rate lr_scheduler_type lr_scheduler_kwargs warmup_steps warmup_ratio weight_decay max_steps num_train_epochs",
    "per_device_train_batch_size gradient_accumulation_steps optim optim_args max_grad_norm adam_beta1 adam_beta2",
    "adam_epsilon deepspeed resume_from_checkpoint output_dir save_strategy eval_strategy evaluation_strategy logging_steps",
    "save_steps eval_steps bf16 fp16 seed ddp_timeout overwrite_output_dir per_device_eval_batch_size save_total_limit",
    "load_best_model_at_end report_to remove_unused_columns gradient_checkpointing auto_find_batch_size",
)
"""Names of `TrainingArguments` (transformers 5.23.0, and three that it has given up: ``warmup_ratio`` among them)."""

UNMISTAKABLE = _names(
    "lr_scheduler_type lr_scheduler_kwargs num_train_epochs per_device_train_batch_size save_total_limit",
    "evaluation_strategy eval_strategy per_device_eval_batch_size load_best_model_at_end",
)
"""Those that hardly any other program has."""

TRL = {
    "sft": _names(
        "packing dataset_text_field assistant_only_loss completion_only_loss max_seq_length neftune_noise_alpha",
    ),
    "preference": _names(
        "rpo_alpha precompute_ref_log_probs max_prompt_length desirable_weight undesirable_weight reference_free",
        "use_weighting ld_alpha simpo_gamma cpo_alpha dpo_beta dpo_loss_type",
    ),
    "rl": _names(
        "num_generations reward_funcs reward_weights max_completion_length use_vllm vllm_mode num_ppo_epochs kl_coef",
        "num_mini_batches missing_eos_penalty rloo_k",
    ),
    "reward": _names("center_rewards_coefficient"),
    "": _names(
        "use_peft lora_target_modules lora_task_type dataset_mixer dataset_mixture dataset_name dataset_configs torch_dtype",
        "dtype attn_implementation max_length chat_template dataset_num_proc dataset_mixer_list use_lora use_qlora lora_r",
        "dataset_splits exp_name model_revision use_flash_attn lora_alpha load_in_4bit",
    ),
}
"""What TRL's configurations and those built on it (alignment-handbook, open-r1, open-instruct) have besides, by task."""

ANY_TRL = frozenset[str]().union(*TRL.values())
