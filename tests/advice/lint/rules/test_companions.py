"""The files beside a configuration, and siblings in its folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from .folder import remarks, sentences

SFT = "per_device_train_batch_size: 4\nlearning_rate: 2.0e-5\n"
SFT += "num_train_epochs: 3\nlr_scheduler_type: cosine\ndeepspeed: ds.json\n"


ACCELERATE = "compute_environment: LOCAL_MACHINE\nmixed_precision: bf16\ndistributed_type: {kind}\nnum_processes: {count}\n"


def deepspeed(**blocks: Any) -> str:
    return json.dumps({"zero_optimization": {"stage": 3}, "train_micro_batch_size_per_gpu": "auto", **blocks}, indent=1)


def scheduler(kind: str) -> str:
    return deepspeed(scheduler={"type": kind, "params": {"warmup_num_steps": "auto"}})


@pytest.mark.parametrize(
    ("kind", "asked", "told"),
    [
        ("WarmupDecayLR", "cosine", "error"),
        ("WarmupDecayLR", "linear", None),
        ("WarmupLR", "constant_with_warmup", None),
        ("WarmupCosineLR", "cosine", None),
        ("OneCycle", "cosine", "error"),
        ("WarmupLR", None, "warning"),  # nobody asked for Trainer's linear
        ("WarmupDecayLR", None, None),
    ],
)
def test_deepspeeds_schedule_is_told_where_it_has_another_shape(
    tmp_path: Path, kind: str, asked: str | None, told: str
) -> None:
    own = f"lr_scheduler_type: {asked}" if asked else "weight_decay: 0.0"
    files = {"sft.yaml": SFT.replace("lr_scheduler_type: cosine", own), "ds.json": scheduler(kind)}
    found = remarks(tmp_path, files, "LR008")
    assert [one.level for one in found] == ([told] if told else [])
    if found:
        assert f"the run follows DeepSpeed's {kind} (ds.json:" in found[0].sentence


def test_the_deepspeed_file_of_an_accelerate_file_is_the_runs(tmp_path: Path) -> None:
    accelerate = ACCELERATE.format(kind="DEEPSPEED", count=8) + "deepspeed_config:\n  deepspeed_config_file: ds.json\n"
    command = (
        "accelerate launch --config_file acc.yaml train.py --per_device_train_batch_size 4 --learning_rate 2e-5 "
        "--num_train_epochs 3 --lr_scheduler_type cosine\n"
    )
    files = {"run.sh": command, "acc.yaml": accelerate, "ds.json": scheduler("WarmupDecayLR")}
    [said] = sentences(tmp_path, files, "LR008")
    assert "--lr_scheduler_type cosine is never used" in said


def test_accelerate_files_that_name_each_other_are_read_once(tmp_path: Path) -> None:
    start = ACCELERATE.format(kind="DEEPSPEED", count=8) + "deepspeed_config:\n  deepspeed_config_file: "
    assert remarks(tmp_path, {"a.yaml": f"{start}b.yaml\n", "b.yaml": f"{start}a.yaml\n"}, "LR008") == []


def test_a_file_without_a_schedule_of_its_own_is_fine(tmp_path: Path) -> None:
    assert sentences(tmp_path, {"sft.yaml": SFT, "ds.json": deepspeed()}, "LR008") == []


@pytest.mark.parametrize(
    ("block", "rules"),
    [
        ({"optimizer": {"type": "AdamW", "params": {"lr": 1e-4}}}, ["LR027"]),
        ({"optimizer": {"type": "AdamW", "params": {"lr": 2e-5, "weight_decay": "auto"}}}, []),
        ({"optimizer": {"type": "AdamW", "params": {"lr": "auto"}}}, []),
        ({"train_micro_batch_size_per_gpu": 8}, ["LR027"]),
        ({"train_micro_batch_size_per_gpu": 4}, []),
        ({"gradient_accumulation_steps": 2}, []),  # Trainer's default is not in the file
    ],
)
def test_numbers_that_both_write_down_must_agree(tmp_path: Path, block: dict[str, Any], rules: list[str]) -> None:
    found = remarks(tmp_path, {"sft.yaml": SFT, "ds.json": deepspeed(**block)}, "LR027")
    assert [one.rule for one in found] == rules


@pytest.mark.parametrize(
    ("kind", "count", "machines", "level"),
    [
        ('"NO"', 8, 1, "warning"),
        ("NO", 8, 1, "warning"),  # False to YAML
        ('"NO"', 1, 1, None),
        ("MULTI_GPU", 8, 1, "note"),
        ("FSDP", 1, 1, None),
        ('"NO"', 2, 2, "note"),
    ],
)
def test_processes_that_contradict_their_file_are_a_fault(
    tmp_path: Path, kind: str, count: int, machines: int, level: str | None
) -> None:
    text = ACCELERATE.format(kind=kind, count=count) + f"num_machines: {machines}\n"
    found = remarks(tmp_path, {"accelerate.yaml": text}, "LR012")
    assert [one.level for one in found] == ([level] if level else [])


def test_a_missing_file_is_a_fault_where_its_folder_is_here(tmp_path: Path) -> None:
    files = {"configs/ds_z3.json": deepspeed(), "train/sft.yaml": SFT.replace("ds.json", "configs/ds_z33.json")}
    [found] = remarks(tmp_path, files, "LR021")
    assert found.level == "warning"
    assert found.advice == "Did you mean ds_z3.json?"


def test_a_missing_file_of_a_folder_that_is_not_here_is_worth_knowing(tmp_path: Path) -> None:
    for name in ("deepspeed_configs/zero1.json", "/somewhere/zero1.json"):
        [found] = remarks(tmp_path, SFT.replace("ds.json", name), "LR021")
        assert found.level == "note"


COMMAND = "--learning_rate 2e-5 --num_train_epochs 2 --per_device_train_batch_size 2"


@pytest.mark.parametrize(
    "made",
    [
        "cat > ds.json <<EOF",
        "cat <<EOF > out/ds.json",
        "jq . base.json >>'ds.json'",
        "curl -s $URL -o ds.json",
        "cp a.json ds.json",
        "python make.py | tee ds.json",
    ],
)
def test_a_file_that_the_script_makes_is_not_missing(tmp_path: Path, made: str) -> None:
    text = f"{made.removesuffix(' <<EOF')}\npython train.py --deepspeed ds.json {COMMAND}\n"
    assert sentences(tmp_path, {"run.sh": text}, "LR021") == []


@pytest.mark.parametrize("other", ["cat > ads.json", "cat > ds.json5", "python train.py < ds.json", "rm ds.json; cp a b"])
def test_one_that_it_makes_nothing_of_is_missing(tmp_path: Path, other: str) -> None:
    text = f"{other}\npython train.py --deepspeed ds.json {COMMAND}\n"
    [said] = sentences(tmp_path, {"run.sh": text}, "LR021")
    assert said.startswith("--deepspeed ds.json is not beside this file")


def test_the_default_schedule_is_not_known_where_a_file_adds_to_the_line(tmp_path: Path) -> None:
    files = {"ds.json": scheduler("WarmupLR"), "base.yaml": SFT.replace("deepspeed: ds.json\n", "")}
    whole = {**files, "run.sh": f"python train.py --deepspeed ds.json {COMMAND}\n"}
    assert [one.level for one in remarks(tmp_path, whole, "LR008")] == ["warning"]
    part = {**files, "run.sh": f"trl sft --config base.yaml --deepspeed ds.json {COMMAND}\n"}
    assert remarks(tmp_path, part, "LR008") == []


def test_a_folder_that_cannot_be_looked_into_has_no_file_of_a_nearly_equal_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(folder: Path) -> None:
        raise PermissionError(folder)

    monkeypatch.setattr(Path, "iterdir", closed)
    [found] = remarks(tmp_path, SFT.replace("ds.json", "ds_z33.json"), "LR021")
    assert found.advice == "Correct the path, or keep the file beside the configuration"


def test_a_file_that_is_found_further_up_is_not_missing(tmp_path: Path) -> None:
    files = {"ds/z3.json": deepspeed(), "a/b/c/sft.yaml": SFT.replace("ds.json", "ds/z3.json")}
    assert sentences(tmp_path, files, "LR021") == []


# Siblings


def lora(rate: str, **more: Any) -> str:
    words = {"base_model": "Qwen/Qwen3-8B", "adapter": "lora", "micro_batch_size": 2, "num_epochs": 1, "sequence_len": 512}
    return "".join(f"{name}: {value}\n" for name, value in {**words, "learning_rate": rate, **more}.items())


def odd(folder: Path, files: dict[str, str]) -> list[str]:
    return [Path(found.file).name for found in remarks(folder, files, "LR015")]


def test_the_odd_one_of_a_folder_is_told_once(tmp_path: Path) -> None:
    files = {f"{name}.yaml": lora("0.0002") for name in "abc"}
    assert odd(tmp_path, {**files, "low.yaml": lora("0.00001")}) == ["low.yaml"]
    (tmp_path / "low.yaml").unlink()
    assert odd(tmp_path, {**files, "high.yaml": lora("0.003")}) == ["high.yaml"]


def test_of_two_the_higher_is_told(tmp_path: Path) -> None:
    assert odd(tmp_path, {"a.yaml": lora("0.0002"), "b.yaml": lora("0.00001")}) == ["a.yaml"]


@pytest.mark.parametrize(
    "other",
    [
        lora("0.00002"),  # ten times, and no more
        lora("0.00001", base_model="Qwen/Qwen3-0.6B"),
        lora("0.00001", adapter=""),
        lora("0.00001", rl="dpo"),
        lora("0.00001", optimizer="muon"),
    ],
)
def test_files_for_something_else_may_differ(tmp_path: Path, other: str) -> None:
    assert odd(tmp_path, {"a.yaml": lora("0.0002"), "b.yaml": other}) == []


def test_a_sweep_differs_on_purpose(tmp_path: Path) -> None:
    sweep = {f"lr_{rate}.yaml": lora(rate) for rate in ("1.0e-6", "1.0e-5", "1.0e-3")}
    assert odd(tmp_path, {**sweep, "base.yaml": lora("0.0002")}) == []
    assert remarks(tmp_path, sweep, "LR004") == []


def test_a_command_line_whose_file_may_say_more_is_nobodys_sibling(tmp_path: Path) -> None:
    line = f"python sft.py --model_name_or_path Qwen/Qwen3-8B --use_peft --lora_r 8 {COMMAND}".replace("2e-5", "{rate}")
    text = f"{line.format(rate='2e-4')}\n{line.format(rate='5e-6')}\n"
    assert odd(tmp_path, {"run.sh": text}) == ["run.sh"]
    (tmp_path / "base.yaml").write_text(SFT)
    assert odd(tmp_path, {"run.sh": text.replace("sft.py", "sft.py --config base.yaml")}) == []


def test_a_name_that_carries_another_number_is_no_sweeps(tmp_path: Path) -> None:
    assert odd(tmp_path, {"r16_8b.yaml": lora("0.0002"), "lr_3e-5.yaml": lora("0.00001")}) == ["r16_8b.yaml"]
    assert remarks(tmp_path, {"lr_3e-5.yaml": lora("0.00001")}, "LR004")


def test_files_of_other_folders_may_differ(tmp_path: Path) -> None:
    assert odd(tmp_path, {"a/x.yaml": lora("0.0002"), "b/x.yaml": lora("0.00001")}) == []
