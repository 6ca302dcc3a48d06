"""One fault at a time, planted in sound configurations of every project: each is found, and nothing else is."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_lrsched.advice.lint import Remark, lint

from .files import ACCELERATE, DEEPSPEED, DPO, SOUND, TRANSFORMERS, TRL

LR001, LR002 = ("LR001", "3000"), ("LR002", "1500")  # steps of warm-up in a run of 2000

FAULTS: list[tuple[str, str, str, str]] = [
    # file, what stands in it, what is planted, the rule that is to find it
    *[("args.yaml", "warmup_steps: 100", f"warmup_steps: {steps}", rule) for rule, steps in (LR001, LR002)],
    ("args.yaml", "warmup_steps: 100", "warmup_steps: 0.6", "LR002"),
    ("args.yaml", "warmup_steps: 100", "warmup_ratio: 0.1", "LR005"),
    ("args.yaml", "2.0e-05", "2e-05", "LR006"),
    ("args.yaml", "warmup_steps: 100", "warmup_steps: 1.0", "LR011"),
    ("args.yaml", "warmup_steps: 100", "warmup_steps: 1.5", "LR011"),
    ("args.yaml", "lr_scheduler_type: cosine_with_min_lr", "lr_scheduler_type: constant_with_warmup", "LR013"),
    ("args.yaml", "cosine_with_min_lr\nlr_scheduler_kwargs:\n  min_lr_rate: 0.1", "constant", "LR014"),
    ("args.yaml", "min_lr_rate: 0.1", "min_lr: 1.0e-3", "LR023"),
    ("args.yaml", "min_lr_rate: 0.1", "min_lr_share: 0.1", "LR028"),
    ("args.yaml", "cosine_with_min_lr", "cosine_with_minimum", "LR030"),
    *[("lora.yaml", "warmup_steps: 0.03", f"warmup_steps: {steps}", rule) for rule, steps in (LR001, LR002)],
    ("lora.yaml", "2.0e-04", "1.0e-02", "LR003"),
    ("lora.yaml", "2.0e-04", "1.0e-05", "LR004"),
    ("lora.yaml", "warmup_steps: 0.03", "warmup_ratio: 0.03", "LR005"),
    ("lora.yaml", "lora_alpha: 32", "lora_alpha: 2048", "LR009"),
    ("lora.yaml", "2.0e-04", "2.0e-04 # 1e-6", "LR017"),
    ("dpo.yaml", "5.0e-07", "2.0e-04", "LR003"),
    ("dpo.yaml", "5.0e-07", "2.0e-05", "LR003"),
    ("dpo.yaml", "warmup_steps: 0.1", "warmup_steps: 1000", "LR001"),
    *[("axolotl.yml", "warmup_steps: 60", f"warmup_steps: {steps}", rule) for rule, steps in (LR001, LR002)],
    ("axolotl.yml", "learning_rate: 0.0002", "learning_rate: 0.01", "LR003"),
    ("axolotl.yml", "learning_rate: 0.0002", "learning_rate: 1e-5", "LR004"),
    ("axolotl.yml", "adapter: lora\nlora_r: 16\nlora_alpha: 32\n", "", "LR003"),
    ("axolotl.yml", "adapter: lora", "adapter: lora\nrl: dpo", "LR003"),
    ("axolotl.yml", "lora_alpha: 32", "lora_alpha: 1024", "LR009"),
    ("axolotl.yml", "lr_scheduler: cosine", "lr_scheduler: constant", "LR014"),
    *[("llamafactory.yaml", "warmup_steps: 100", f"warmup_steps: {steps}", rule) for rule, steps in (LR001, LR002)],
    ("llamafactory.yaml", "learning_rate: 2.0e-4", "learning_rate: 1.0e-2", "LR003"),
    ("llamafactory.yaml", "learning_rate: 2.0e-4", "learning_rate: 1.0e-5", "LR004"),
    ("llamafactory.yaml", "stage: sft", "stage: dpo", "LR003"),
    ("llamafactory.yaml", "finetuning_type: lora\nlora_rank: 16", "finetuning_type: full", "LR003"),
    ("llamafactory.yaml", "lr_scheduler_type: cosine", "lr_scheduler_type: constant", "LR014"),
    ("llamafactory.yaml", "lr_scheduler_type: cosine", "lr_scheduler_type: cosin", "LR030"),
    *[("torchtune.yaml", "num_warmup_steps: 100", f"num_warmup_steps: {steps}", rule) for rule, steps in (LR001, LR002)],
    ("torchtune.yaml", "lr: 3e-4", "lr: 1e-2", "LR003"),
    ("torchtune.yaml", "lr: 3e-4", "lr: 1e-5", "LR004"),
    ("torchtune.yaml", "lora_llama3_1_8b", "llama3_1_8b", "LR003"),
    ("torchtune.yaml", "torchtune.modules.loss.CEWithChunkedOutputLoss", "torchtune.rlhf.loss.DPOLoss", "LR003"),
    ("torchtune.yaml", "lora_alpha: 32", "lora_alpha: 1024", "LR009"),
    *[
        ("litgpt.yaml", "lr_warmup_steps: 20", f"lr_warmup_steps: {steps}", rule)
        for rule, steps in (("LR001", 1000), ("LR002", 500))
    ],
    (
        "litgpt.yaml",
        "  lr_warmup_steps: 20\n  epochs: 4\n  max_steps:",
        "  epochs: 4\n  max_steps: 50",
        "LR001",
    ),  # litgpt's own 100
    ("litgpt.yaml", "lr: 0.0002", "lr: 0.01", "LR003"),
    ("litgpt.yaml", "lr: 0.0002", "lr: 0.00001", "LR004"),
    ("litgpt.yaml", "lora_r: 16\nlora_alpha: 32\n", "", "LR003"),
    ("litgpt.yaml", "  epochs: 4", "  epochs: 4\n  min_lr: 6.0e-05", "LR007"),
    *[("ours.yaml", "warmup_steps: 0.05", f"warmup_steps: {steps}", rule) for rule, steps in (LR001, LR002)],
    ("ours.yaml", "warmup_steps: 0.05", "warmup_ratio: 0.05", "LR005"),
    ("ours.yaml", "decay: 0.2", "decays: 0.2", "LR028"),
    *[("run.sh", "--warmup_steps 100", f"--warmup_steps {steps}", rule) for rule, steps in (LR001, LR002)],
    ("run.sh", "LR=2e-4", "LR=1e-2", "LR003"),
    ("run.sh", "--learning_rate $LR", "--learning_rate 1e-5", "LR004"),
    ("run.sh", "--warmup_steps 100", "--warmup_ratio 0.1", "LR005"),
    ("run.sh", "--lr_scheduler_type cosine", "--lr_scheduler_type constant", "LR014"),
    ("run.sh", "--lr_scheduler_type cosine", "--lr_scheduler_type cosin", "LR030"),
]

BESIDE: list[tuple[str, dict[str, str], str]] = [
    ("LR008", {"sft.yaml": f"{TRANSFORMERS}deepspeed: ds.json\n", "ds.json": DEEPSPEED}, "sft.yaml"),
    ("LR021", {"sft.yaml": f"{TRANSFORMERS}deepspeed: ds2.json\n", "ds.json": DEEPSPEED}, "sft.yaml"),
    ("LR012", {"acc.yaml": ACCELERATE.replace("MULTI_GPU", "NO")}, "acc.yaml"),
    ("LR015", {"a.yaml": TRL, "b.yaml": TRL.replace("2.0e-04", "5.0e-06")}, "a.yaml"),
    ("LR016", {"grpo.yaml": DPO.replace("beta: 0.1", "num_generations: 8").replace("5.0e-07", "5.0e-05")}, "grpo.yaml"),
]


def findings(folder: Path, files: dict[str, str]) -> list[Remark]:
    for name, text in files.items():
        (folder / name).write_text(text, "utf-8")
    return [remark for remark in lint(folder) if remark.level != "note"]


@pytest.mark.parametrize("name", SOUND)
def test_nothing_is_found_in_a_sound_file(tmp_path: Path, name: str) -> None:
    assert findings(tmp_path, {name: SOUND[name][1]}) == []


@pytest.mark.parametrize(("name", "old", "new", "rule"), FAULTS)
def test_a_planted_fault_is_found_at_its_line(tmp_path: Path, name: str, old: str, new: str, rule: str) -> None:
    text = SOUND[name][1]
    assert text.count(old) == 1
    (tmp_path / name).write_text(text.replace(old, new), "utf-8")
    told = lint(tmp_path)
    assert rule in {remark.rule for remark in told}, told
    [remark] = [remark for remark in told if remark.rule == rule]
    assert 1 <= remark.line <= text.count("\n") + 2
    others = {other.rule for other in told if other.level != "note"} - {rule}
    assert others <= {"LR004", "LR009", "LR003"} - {rule}, told  # one rate may break several rules


@pytest.mark.parametrize(("rule", "files", "name"), BESIDE)
def test_a_fault_between_files_is_found(tmp_path: Path, rule: str, files: dict[str, str], name: str) -> None:
    told = [remark for remark in findings(tmp_path, files) if remark.rule == rule]
    assert told
    assert {Path(remark.file).name for remark in told} >= {name}


JUNK = (
    "",
    "null",
    "''",
    "auto",
    "0",
    "-1",
    "0.5",
    "1.0e999",
    ".nan",
    "9" * 40,
    "[1, 2]",
    "{a: 1}",
    "${x}",
    "true",
    "2024-01-01",
)


@pytest.mark.parametrize("name", SOUND)
@settings(max_examples=60)
@given(data=st.data())
def test_no_value_makes_it_fail(name: str, data: st.DataObject) -> None:
    lines = SOUND[name][1].splitlines()
    for _ in range(data.draw(st.integers(1, 4))):
        row = data.draw(st.integers(0, len(lines) - 1))
        key, between, _ = lines[row].partition(" " if name.endswith(".sh") else ":")
        lines[row] = f"{key}{between} {data.draw(st.sampled_from(JUNK))}"
    with TemporaryDirectory() as folder:
        (Path(folder) / name).write_text("\n".join(lines), "utf-8")
        for remark in lint(folder):
            assert remark.sentence
            assert remark.line >= 1
