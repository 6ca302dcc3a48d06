"""Command lines as configurations; what a shell makes of them is `test_shell`'s."""

from __future__ import annotations

import pytest

from hf_lrsched.advice.lint.command_line import command_lines


@pytest.mark.parametrize(
    ("start", "task"),
    [
        ("trl sft", "sft"),
        ("trl dpo", "preference"),
        ("python -m trl.scripts.grpo", "rl"),
        ("python trl/scripts/reward.py", "reward"),
    ],
)
def test_trls_own_programs_train_all_parameters_where_nothing_else_is_asked_for(start: str, task: str) -> None:
    [run] = command_lines(f"{start} --model_name_or_path org/model-8B --learning_rate 1e-5 --max_steps 100")
    assert (run.task, run.peft) == (task, "full")
    [adapted] = command_lines(f"{start} --model_name_or_path org/model-8B --learning_rate 1e-5 --use_peft")
    assert adapted.peft == "lora"
    [elsewhere] = command_lines(f"{start} --config run.yaml --model_name_or_path org/model-8B --learning_rate 1e-5")
    assert elsewhere.peft == ""
