"""Shell scripts as commands, and command lines as configurations."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_lrsched.advice.lint.command_line import command_lines
from hf_lrsched.advice.lint.configuration import UNKNOWN
from hf_lrsched.advice.lint.fixing import mended
from hf_lrsched.advice.lint.rules.mending import replaced
from hf_lrsched.advice.lint.shell import commands

SCRIPT = """#!/bin/bash
set -x
export LR=2e-5
MODEL="org/model-8B"; SEED=1
SEED=2
for EPOCHS in 1 2; do
accelerate launch --num_processes 8 --config_file acc.yaml \\
    sft.py \\
    --model_name_or_path $MODEL \\
    --learning_rate ${LR} \\
    --seed $SEED --num_train_epochs $EPOCHS \\
    --lr_scheduler_kwargs '{"min_lr": 1e-6}' \\
    --output_dir "out dir" --bf16 --warmup_steps=100 > log 2>&1 &
done
cat <<EOF
python other.py --learning_rate 1 --num_train_epochs 1 --lr_scheduler_type cosine
EOF
"""


def texts(script: str) -> list[list[str]]:
    return [[word.text for word in command] for command in commands(script)]


def test_variables_that_are_set_once_are_put_in() -> None:
    [run] = command_lines(SCRIPT, "run.sh")
    assert (run.form, run.processes, run.parameters) == ("transformers", 8, 8e9)
    assert (run.number("learning_rate"), run.settings["learning_rate"].written) == (2e-5, "${LR}")
    assert (run.value("lr_scheduler_kwargs"), run.value("bf16"), run.value("output_dir")) == (
        {"min_lr": 1e-6},
        True,
        "out dir",
    )
    assert run.settings["seed"].value is UNKNOWN  # set twice
    assert run.settings["num_train_epochs"].value is UNKNOWN  # by a loop
    assert run.value("accelerate") == "acc.yaml"


def test_every_flag_has_its_line() -> None:
    [run] = command_lines(SCRIPT, "run.sh")
    lines = SCRIPT.splitlines()
    for setting in run.settings.values():
        assert lines[setting.line - 1] == setting.text
        assert setting.text[setting.column - 1 :].startswith(setting.key)
    assert (run.settings["warmup_steps"].key, run.settings["warmup_steps"].line) == ("--warmup_steps", 13)


@pytest.mark.parametrize(
    ("script", "read"),
    [
        ("a 'b c' \"d $X\" # no\ne;f && g | h &", [["a", "b c", "d $X"], ["e"], ["f"], ["g"], ["h"]]),
        ("a \\\n  b\\ c\n", [["a", "b c"]]),
        ("a $(b; c (d)) `e f` g#h", [["a", "$(b; c (d))", "`e f`", "g#h"]]),
        ("a 'b\nc' d\ne", [["a", "b\nc", "d"], ["e"]]),
        ("X=1\necho ${X} $X$Y ${X:-2}", [["X=1"], ["echo", "1", "1$Y", "${X:-2}"]]),
        ('echo "never closed', [["echo", "never closed"]]),
        ("echo 'never closed", [["echo", "never closed"]]),
        ("echo $(never closed", [["echo", "$(never closed"]]),
        ("ls <<< word\ncat <<'E' > f\nx 'y\nE\nz", [["ls", "<<<", "word"], ["cat", "<<E", ">", "f"], ["z"]]),
        ("N=$((1 << 3))\na b\n", [["N=$((1 << 3))"], ["a", "b"]]),
        ('echo "a << b"\na b\n', [["echo", "a << b"], ["a", "b"]]),
        ('A="--x  1"\na $A "$A" ${A} z$A', [["A=--x  1"], ["a", "--x", "1", "--x  1", "--x", "1", "z--x  1"]]),
        ("A=\na $A b $B", [["A="], ["a", "b", "$B"]]),
        ("A=\"--x '1 2'\"\neval a $A", [["A=--x '1 2'"], ["eval", "a", "$A"]]),
        ("A='-x'\nA+=' -y'\na $A", [["A=-x"], ["A+= -y"], ["a", "$A"]]),
        ("A=\nif b; then A='-x'; fi\na $A", [["A="], ["if", "b"], ["then", "A=-x"], ["fi"], ["a", "$A"]]),
        ("A=(b -x)\na $A", [["A=$("], ["b", "-x"], ["a", "$A"]]),
    ],
)
def test_a_script_is_split_as_a_shell_does(script: str, read: list[list[str]]) -> None:
    assert texts(script) == read


@given(st.lists(st.text("ab '\"\\$#\n-é", min_size=1, max_size=6), min_size=1, max_size=5))
def test_quoted_words_come_back(words: list[str]) -> None:
    assert texts(shlex.join(words)) == [words]


@given(st.text("ab '\"\\$#(){}`;|&<>\n=-", max_size=40))
def test_any_text_is_split(text: str) -> None:
    for command in commands(text):
        assert command
        assert all(1 <= word.line <= text.count("\n") + 1 for word in command)


@pytest.mark.parametrize(
    ("line", "form", "task"),
    [
        ("trl sft --learning_rate 2e-5 --model_name_or_path m", "trl", "sft"),
        ("trl dpo --config dpo.yaml --learning_rate 1e-6", "trl", "preference"),
        ("trl orpo --learning_rate 5e-6 --max_prompt_length 512 --num_train_epochs 1", "trl", ""),
        ("accelerate launch train.py --use_peft --learning_rate 1e-4 --lr_scheduler_type cosine", "trl", ""),
        ("python run_clm.py --learning_rate 1e-4 --num_train_epochs 1 --output_dir o", "transformers", ""),
        ("torchrun dpo.py --learning_rate 1e-4 --num_train_epochs 1 --output_dir o", "transformers", "preference"),
        ("llamafactory-cli train --stage sft --finetuning_type lora --learning_rate 1e-4", "llamafactory", "sft"),
        ("python src/train_bash.py --stage dpo --finetuning_type full --learning_rate 1e-6", "llamafactory", "preference"),
    ],
)
def test_programs_and_scripts_are_known(line: str, form: str, task: str) -> None:
    [run] = command_lines(line)
    assert (run.form, run.task) == (form, task)


@pytest.mark.parametrize(
    ("set_to", "line", "column"),
    [
        ('ARGS="--bf16 --warmup_ratio 0.1"', 1, 14),
        ("export ARGS='--bf16 --warmup_ratio 0.1'", 1, 21),
        ("ARGS='--bf16\n  --warmup_ratio 0.1'", 2, 3),
        ('ARGS=--bf16" --warmup_ratio 0.1"', 2, 15),  # in two parts: where it is used
    ],
)
def test_flags_in_a_variable_are_read_where_they_stand(set_to: str, line: int, column: int) -> None:
    script = f"{set_to}\npython sft.py $ARGS --learning_rate 2e-5 --num_train_epochs 1 --save_total_limit 1\n"
    [run] = command_lines(script, "run.sh")
    share = run.settings["warmup_ratio"]
    assert (run.value("bf16"), share.value, share.line, share.column, run.partial) == (True, 0.1, line, column, False)
    fix = replaced(share, key="warmup_steps")
    if '" --' in set_to:
        assert fix is None
    else:
        assert fix is not None
        assert mended(script, [fix]).text == script.replace("warmup_ratio", "warmup_steps")


@pytest.mark.parametrize(
    ("words", "partial"),
    [
        ("$EXTRA --learning_rate 2e-5", True),
        ("--learning_rate 2e-5 $EXTRA", True),
        ('"$@" --learning_rate 2e-5', True),
        ('--learning_rate 2e-5 --bf16 "${ARGS[@]}"', True),
        ("--learning_rate=2e-5 $EXTRA", True),
        ("--bf16 $EXTRA --learning_rate 2e-5", True),
        ("--learning_rate 2e-5 $(flags)", True),
        ("--learning_rate $LR", False),
        ("--learning_rate=$LR", False),
        ('--learning_rate 2e-5 --output_dir "out/$NAME"', False),
        ("--learning_rate 2e-5", False),
    ],
)
def test_a_line_with_words_that_only_the_shell_knows_is_partial(words: str, partial: bool) -> None:
    [run] = command_lines(f"python sft.py {words} --num_train_epochs 1 --save_total_limit 1\n")
    assert run.partial is partial


@pytest.mark.parametrize(
    ("line", "form", "task"),
    [
        ("torchrun --nproc_per_node 2 -m sft", "transformers", "sft"),
        ("python3.11 -m trl.scripts.dpo", "trl", "preference"),
        ("accelerate launch --module train.sft", "transformers", "sft"),
        ("/usr/bin/python -m torch.distributed.run --nproc_per_node 2 sft.py", "transformers", "sft"),
        ("python -m accelerate.commands.launch -m sft", "transformers", "sft"),
    ],
)
def test_modules_are_read_as_scripts_are(line: str, form: str, task: str) -> None:
    [run] = command_lines(f"{line} --learning_rate 2e-5 --num_train_epochs 1 --save_total_limit 1")
    assert (run.form, run.task, run.number("learning_rate")) == (form, task, 2e-5)
    assert command_lines("docker run -m 8g image --learning_rate 2e-5 --num_train_epochs 1 --save_total_limit 1") == []


def test_a_line_that_names_a_file_is_partial() -> None:
    [run] = command_lines("trl sft --config sft.yaml --learning_rate 2e-5")
    assert run.partial
    assert run.value("config") == "sft.yaml"


@pytest.mark.parametrize(
    "line",
    [
        "python train.py --lr 0.1 --epochs 90",
        "python train_dreambooth.py --learning_rate 1e-4 --lr_scheduler constant --lr_warmup_steps 0 --max_train_steps 100",
        "ls --learning_rate 1e-4 --num_train_epochs 1 --lr_scheduler_type cosine",
        "echo python train.sh --learning_rate",
        "python train.py",
        "",
    ],
)
def test_other_programs_are_passed_over(line: str) -> None:
    assert command_lines(line) == []


@pytest.mark.parametrize(
    ("launcher", "processes"),
    [
        ("torchrun --nproc_per_node 4 --nnodes 2", 8),
        ("torchrun --nproc-per-node=4", 4),
        ("accelerate launch --num_processes 16 --num_machines 2", 16),
        ("deepspeed --num_gpus 2", 2),
        ("torchrun --nproc_per_node $GPUS", None),
        ("torchrun --nproc_per_node 4 --nnodes $NODES", None),
        ("python", None),
    ],
)
def test_processes_are_counted_where_the_launcher_says(launcher: str, processes: int | None) -> None:
    [run] = command_lines(f"{launcher} sft.py --learning_rate 2e-5 --num_train_epochs 1 --save_total_limit 1")
    assert run.processes == processes
