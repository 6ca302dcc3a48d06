"""Each project's own words, in Transformers'."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hf_lrsched.advice.lint.command_line import command_lines
from hf_lrsched.advice.lint.configuration import LONGEST, UNKNOWN, Configuration, Form, Setting
from hf_lrsched.advice.lint.document import Document
from hf_lrsched.advice.lint.forms import FORMS, read
from hf_lrsched.advice.lint.forms.form import task_of
from hf_lrsched.advice.lint.from_json import json_document
from hf_lrsched.advice.lint.from_yaml import yaml_documents

from .files import ACCELERATE, AXOLOTL, DEEPSPEED, DPO, LITGPT, LLAMAFACTORY, SOUND, TORCHTUNE, TRANSFORMERS, TRL

ROOT = Path(__file__).parents[3]


def one(text: str, file: str = "config.yaml") -> Configuration:
    [found] = [one for document in yaml_documents(text, file) for one in read(document)]
    return found


def sound(name: str) -> Configuration:
    text = SOUND[name][1]
    return command_lines(text, name)[0] if name.endswith(".sh") else one(text, name)


def facts(found: Configuration) -> tuple[Any, ...]:
    run = found.steps
    return found.task, found.peft, found.parameters, found.number("learning_rate"), found.schedule, run and run.total


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("args.yaml", ("", "", 8e9, 2e-5, "cosine_with_min_lr", 2000)),
        ("lora.yaml", ("sft", "lora", 8e9, 2e-4, "cosine", 2000)),
        ("dpo.yaml", ("preference", "full", 8e9, 5e-7, "linear", 1000)),
        ("axolotl.yml", ("sft", "lora", 8e9, 2e-4, "cosine", 2000)),
        ("llamafactory.yaml", ("sft", "lora", 8e9, 2e-4, "cosine", 2000)),
        ("torchtune.yaml", ("sft", "lora", 8e9, 3e-4, "cosine", 2000)),
        ("litgpt.yaml", ("sft", "lora", 8e9, 2e-4, "cosine", 948)),  # 4 x (475 // 2)
        ("ours.yaml", ("", "", 3.6e8, 3e-4, "wsd", 2000)),
        ("run.sh", ("sft", "lora", 8e9, 2e-4, "cosine", 2000)),
    ],
)
def test_what_a_sound_file_says(name: str, known: tuple[Any, ...]) -> None:
    found = sound(name)
    assert found.form == SOUND[name][0]
    assert facts(found) == known


@pytest.mark.parametrize("name", SOUND)
def test_every_setting_that_is_written_has_its_line(name: str) -> None:
    found = sound(name)
    lines = SOUND[name][1].splitlines()
    for setting in [one for one in found.settings.values() if one.written]:
        assert setting.text == lines[setting.line - 1]
        assert setting.written in setting.text
        assert setting.text[setting.column - 1 :].startswith(setting.key.rpartition(".")[2])


@pytest.mark.parametrize("name", [name for name in SOUND if not name.endswith(".sh")])
def test_every_key_is_a_setting_or_another(name: str) -> None:
    [document] = yaml_documents(SOUND[name][1], name)
    found = sound(name)
    kept = {setting.key for setting in found.settings.values()} | set(found.others)
    assert set(document.entries) <= kept | {"optimizer", "data"}


@pytest.mark.parametrize("name", SOUND)
def test_only_one_project_claims_a_file(name: str) -> None:
    if not name.endswith(".sh"):
        [document] = yaml_documents(SOUND[name][1], name)
        claimed = [form.form for form in FORMS if list(form.read_all(document))]
        assert claimed in ([sound(name).form], ["transformers"], [sound(name).form, "transformers"])


def edited(text: str, old: str, new: str) -> Configuration:
    assert old in text
    return one(text.replace(old, new))


@pytest.mark.parametrize(
    ("text", "old", "new", "task", "peft"),
    [
        (AXOLOTL, "adapter: lora", "adapter:", "sft", "full"),
        (AXOLOTL, "adapter: lora", "adapter: qlora", "sft", "qlora"),
        (AXOLOTL, "adapter: lora", "adapter: ${ADAPTER}", "sft", ""),
        (AXOLOTL, "adapter: lora", "lisa_n_layers: 4", "sft", "partial"),
        (AXOLOTL, "adapter: lora", "unfrozen_parameters: ['^model.layers.2[0-9]']", "sft", "partial"),
        (AXOLOTL, "adapter: lora", "unfrozen_parameters: ['model.language_model.*']", "sft", "full"),
        (AXOLOTL, "adapter: lora", "hatchery: {lora_rank: 8}", "sft", "lora"),
        (AXOLOTL, "adapter: lora", "hatchery: {loss_fn: importance_sampling}", "rl", "lora"),
        (AXOLOTL, "adapter: lora", "adapter: lora\nrelora: true", "sft", "relora"),
        (AXOLOTL, "adapter: lora", "adapter: lora\nrl: dpo", "preference", "lora"),
        (AXOLOTL, "adapter: lora", "adapter: lora\nrl: grpo", "rl", "lora"),
        (AXOLOTL, "adapter: lora", "adapter: lora\nrl: novel", "", "lora"),
        (AXOLOTL, "adapter: lora", "adapter: lora\nrl: orpo", "", "lora"),
        (LLAMAFACTORY, "stage: sft", "stage: dpo\npref_loss: orpo", "", "lora"),
        (AXOLOTL, "adapter: lora", "adapter: lora\nrl: ${RL}", "", "lora"),
        (AXOLOTL, "adapter: lora", "adapter: lora\nreward_model: true", "reward", "lora"),
        (AXOLOTL, "datasets:", "pretraining_dataset:", "continue", "lora"),
        (LLAMAFACTORY, "stage: sft", "stage: dpo", "preference", "lora"),
        (LLAMAFACTORY, "stage: sft", "stage: pt", "continue", "lora"),
        (LLAMAFACTORY, "stage: sft", "stage: rm", "reward", "lora"),
        (LLAMAFACTORY, "finetuning_type: lora", "finetuning_type: lora\nquantization_bit: 4", "sft", "qlora"),
        (LLAMAFACTORY, "finetuning_type: lora", "finetuning_type: freeze", "sft", "partial"),
        (LLAMAFACTORY, "finetuning_type: lora", "finetuning_type: oft", "sft", "oft"),
        (TORCHTUNE, "lora_llama3_1_8b", "llama3_1_8b", "sft", "full"),
        (TORCHTUNE, "lora_llama3_1_8b", "qlora_llama3_1_8b", "sft", "qlora"),
        (TORCHTUNE, "torchtune.modules.loss.CEWithChunkedOutputLoss", "torchtune.rlhf.loss.DPOLoss", "preference", "lora"),
        (TORCHTUNE, "torchtune.modules.loss.CEWithChunkedOutputLoss", "torchtune.rlhf.loss.PPOLoss", "rl", "lora"),
        (LITGPT, "lora_r: 16\nlora_alpha: 32\n", "", "sft", "full"),
        (LITGPT, "lora_r: 16", "lora_r: 16\nquantize: bnb.nf4", "sft", "qlora"),
        (LITGPT, "checkpoint_dir: checkpoints/org/model-8B", "", "sft", "lora"),
        (TRL, "use_peft: true", "use_peft: true\nload_in_4bit: true", "sft", "qlora"),
        (TRL, "use_peft: true", "use_peft: false", "sft", "full"),
        (TRL, "use_peft: true\n", "", "sft", ""),  # a script of somebody's own may read lora_r
        (TRL, "packing: true", "num_generations: 8", "rl", "lora"),
        (TRL, "packing: true", "center_rewards_coefficient: 0.01", "reward", "lora"),
    ],
)
def test_task_and_method(text: str, old: str, new: str, task: str, peft: str) -> None:
    found = edited(text, old, new)
    assert (found.task, found.peft) == (task, peft)


def test_a_path_says_the_task_where_the_keys_do_not() -> None:
    assert one(TRANSFORMERS, "recipes/model-8b/cpt/config.yaml").task == "continue"
    assert one(DPO, "recipes/sft/config.yaml").task == "preference"
    assert one(DPO, "recipes/orpo/config.yaml").task == ""  # neither DPO's rates nor fine-tuning's


def test_axolotl_puts_in_a_schedule_and_a_warmup() -> None:
    found = edited(AXOLOTL, "warmup_steps: 60\n", "")
    assert (found.warmup, found.settings["warmup_steps"].line) == (60.0, 0)  # 3 % of 2000
    assert edited(AXOLOTL, "warmup_steps: 60", "warmup_ratio: 0.1").warmup == 200.0
    assert edited(AXOLOTL, "warmup_steps: 60", "warmup_steps: 1").warmup == 2.0
    assert edited(AXOLOTL, "lr_scheduler: cosine\n", "").schedule == "cosine"
    unknown = edited(edited_text(AXOLOTL, "max_steps: 2000\n", "num_epochs: 2\n"), "warmup_steps: 60\n", "")
    assert unknown.settings["warmup_steps"].value is UNKNOWN


def edited_text(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new)


def test_llamafactory_caps_the_samples() -> None:
    text = edited_text(LLAMAFACTORY, "max_steps: 2000", "num_train_epochs: 3.0\nmax_samples: 1000")
    run = edited(text, "dataset: chats", "dataset: chats,more").steps
    assert run is not None
    assert (run.total, run.at_most) == (375, True)
    chosen = edited(LLAMAFACTORY, "stage: sft", "stage: sft\nuse_galore: true")
    assert (chosen.value("optim"), chosen.settings["optim"].line) == ("galore", 3)


def test_llamafactorys_second_schema() -> None:
    found = one(
        "model: org/model-4B\nmodel_class: llm\npeft_config:\n  name: lora\n  r: 16\ntrain_dataset: a.yaml\n"
        "dist_config:\n  name: deepspeed\n  config_file: ds.json\nmicro_batch_size: 1\nlearning_rate: 1e-4\nmax_steps: 10\n"
    )
    assert (found.form, *facts(found)) == ("llamafactory", "sft", "lora", 4e9, 1e-4, "", 10)
    assert (found.value("r"), found.value("deepspeed"), found.batch) == (16, "ds.json", 1.0)


def test_torchtune_converts_and_knows_at_most_the_steps() -> None:
    found = one(TORCHTUNE)
    assert found.steps is not None
    assert (found.steps.at_most, found.settings["learning_rate"].as_text, found.word("optim")) == (True, True, "adamw")
    assert one(TORCHTUNE, "8B_lora_single_device.yaml").processes == 1
    assert edited(TORCHTUNE, "max_steps_per_epoch: 1000", "max_steps_per_epoch: null").steps is None
    assert one(TORCHTUNE[: TORCHTUNE.index("lr_scheduler:")] + TORCHTUNE[TORCHTUNE.index("loss:") :]).schedule == ""


@pytest.mark.parametrize(
    ("old", "new", "total", "at_most"),
    [
        ("  max_steps:\n", "  max_steps: 100\n", 100, False),
        ("  class_path: litgpt.data.Alpaca2k\n", "  class_path: litgpt.data.LIMA\n", None, False),
        ("devices: 1", "devices: auto", None, False),
        ("devices: 1", "devices: 2", 952, False),  # 238 batches a device, accumulated once
        ("  epochs: 4\n", "", 1185, False),  # litgpt's own 5
    ],
)
def test_litgpts_steps_in_fine_tuning(old: str, new: str, total: int | None, at_most: bool) -> None:
    run = edited(LITGPT, old, new).steps
    assert (run and run.total, bool(run and run.at_most)) == (total, at_most)


def test_litgpts_steps_are_capped_where_the_data_is_unknown() -> None:
    run = edited(edited_text(LITGPT, "Alpaca2k", "LIMA"), "max_steps:", "max_steps: 5").steps
    assert run is not None
    assert (run.total, run.at_most) == (5, True)


def test_litgpts_pretraining_counts_tokens_and_puts_in_a_warmup() -> None:
    found = one(
        "model_name: pythia-14m\ndata: TinyStories\ntrain:\n  global_batch_size: 512\n  max_tokens: 131072000\n"
        "  max_seq_length: 256\n  min_lr: 4e-5\noptimizer:\n  class_path: torch.optim.AdamW\n  init_args:\n    lr: 4e-4\n"
        "devices: auto\n"
    )
    assert (facts(found), found.warmup, found.effective_peak) == (
        ("pretrain", "full", 1.4e7, 4e-4, "cosine", 1000),
        2000.0,
        0.499,
    )
    assert edited(LITGPT, "  lr_warmup_steps: 20", "  lr_warmup_fraction: 0.1").warmup is None
    assert edited(LITGPT, "  lr_warmup_steps: 20\n", "").warmup == 100.0
    assert edited(LITGPT, "train:", "train:\n  learning_rate: 1e-3").number("learning_rate") == 1e-3


def test_arguments_within_a_file_of_somebodys_own() -> None:
    inner = "".join(f"    {line}\n" for line in TRANSFORMERS.splitlines())
    found = one(f"seed: 1\nrun:\n  training_args:\n{inner}")
    assert (found.form, found.settings["learning_rate"].key) == ("transformers", "run.training_args.learning_rate")


def test_this_projects_presets_are_known() -> None:
    presets = sorted((ROOT / "recipes" / "presets").glob("*.yaml"))
    assert presets
    for preset in presets:
        assert one(preset.read_text("utf-8"), str(preset)).form in ("hf_lrsched", "trl", "transformers")


def test_trl_converts_and_transformers_does_not() -> None:
    assert edited(TRL, "2.0e-04", "2e-4").value("learning_rate") == 2e-4
    assert edited(TRANSFORMERS, "2.0e-05", "2e-5").value("learning_rate") == "2e-5"


@pytest.mark.parametrize(
    ("text", "form", "known"),
    [
        (DEEPSPEED, "deepspeed", {"lr_scheduler_type": "WarmupDecayLR", "warmup_steps": 100, "max_steps": 1000}),
        (ACCELERATE, "accelerate", {"num_processes": 4, "distributed_type": "MULTI_GPU"}),
    ],
)
def test_the_files_beside_a_run(text: str, form: Form, known: dict[str, Any]) -> None:
    document = json_document(text) if text.startswith("{") else yaml_documents(text)[0]
    assert document is not None
    [found] = read(document)
    assert found.form == form
    assert {name: found.value(name) for name in known} == known


@pytest.mark.parametrize(
    "text",
    [
        "lr: 0.1\nepochs: 90\nbatch_size: 256\nmomentum: 0.9\n",
        "learning_rate: 0.001\nwarmup_ratio: 0.1\nepochs: 3\nbatch_size: 8\nweight_decay: 0.01\n",
        "optimizer:\n  learning_rate_scheduler:\n    learning_rate: 0.003\n    lr_warmup_steps: 5000\n",
        "trainer:\n  max_epochs: 3\nmodel:\n  optimizer:\n    lr: 1e-3\n",
        "learning_rate: 1e-4\nlr_scheduler: constant\nlr_warmup_steps: 0\nmax_train_steps: 800\n",
        "model_type: llama\nvocab_size: 32000\nlearning_rate: 1.0\nnum_train_epochs: 1\nsave_total_limit: 1\n",
        "log_history: []\nlearning_rate: 1.0\nnum_train_epochs: 1\nsave_total_limit: 1\n",
        "services:\n  web:\n    image: x\n",
        "on:\n  push:\n    branches: [main]\n",
        "learning_rate: high\n",
        "{}\n",
    ],
)
def test_everything_else_is_passed_over(text: str) -> None:
    assert [one for document in yaml_documents(text) for one in read(document)] == []


PRETRAINED = """\
model_name: pythia-14m
optimizer: {class_path: torch.optim.AdamW, init_args: {lr: 4.0e-4}}
devices: 1
train: {max_tokens: 1000000, global_batch_size: 8, max_seq_length: 512, lr_warmup_steps: 10}
"""


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        (
            LLAMAFACTORY.replace("max_steps: 2000", "max_samples: 10"),
            {"num_train_epochs": "1.0e+308", "max_samples": 9 * 10**14},
        ),
        (LLAMAFACTORY.replace("max_steps: 2000", "max_samples: 10"), {"gradient_accumulation_steps": 10**310}),
        (TORCHTUNE, {"epochs": 10**200, "max_steps_per_epoch": 10**290}),
        (LITGPT, {"train.epochs": "1.0e+308", "train.micro_batch_size": 1}),
        (LITGPT, {"devices": 10**290, "num_nodes": 10**290}),
        (LITGPT, {"train.max_steps": 10**290}),
        (PRETRAINED, {"train.global_batch_size": 1e-200, "train.max_seq_length": 1e-200}),
        (PRETRAINED, {"train.max_tokens": 1e308, "train.global_batch_size": 1e-5}),
    ],
)
def test_numbers_that_nobody_trains_with_make_no_steps(text: str, changed: dict[str, Any]) -> None:
    [document] = yaml_documents(text, "a.yaml")
    entries = dict(document.entries)
    for key, value in changed.items():
        number = float(value) if isinstance(value, str) else value
        entries[key] = Setting(key, number, key=key)
    [found] = list(read(Document(entries, document.lines, document.file)))
    run = found.steps
    assert run is None or run.total <= LONGEST


ARGUMENTS = "num_train_epochs: 3\nper_device_train_batch_size: 8\nlr_scheduler_type: cosine\nlearning_rate: 2e-5\n"


def indented(text: str) -> str:
    return "".join(f"  {line}\n" for line in text.splitlines())


@pytest.mark.parametrize(
    "text",
    [
        f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c}}\ndata:\n{indented(ARGUMENTS)}",
        f"services:\n  train:\n    environment:\n{indented(indented(indented(ARGUMENTS)))}",
        f"on: push\njobs:\n  train:\n    env:\n{indented(indented(indented(ARGUMENTS)))}",
        f"openapi: 3.0.0\ncomponents:\n{indented(ARGUMENTS)}",
        f"$schema: x\ntype: object\nproperties:\n{indented(ARGUMENTS)}",
        f"method: bayes\nmetric: {{name: loss}}\nparameters:\n{indented(ARGUMENTS)}",
    ],
)
def test_what_no_trainer_reads_is_no_configuration(text: str) -> None:
    [document] = yaml_documents(text)
    assert list(read(document)) == []
    assert one(ARGUMENTS).form == "transformers"
    assert one(f"kind: x\njobs: 4\nservices: no\nmethod: a\n{ARGUMENTS}").form == "transformers"


@pytest.mark.parametrize(
    ("start", "rate"),
    [
        ("defaults:\n  - model: llama\ntrainer:\n", 2e-5),
        ("trainer:\n  _target_: transformers.TrainingArguments\n", 2e-5),
        ("hydra: {run: {dir: out}}\ntrainer:\n", 2e-5),
        ("trainer:\n", "2e-5"),
        ("defaults: {a: b}\ntrainer:\n", "2e-5"),
    ],
)
def test_what_hydra_reads_as_a_number_is_one(start: str, rate: float | str) -> None:
    found = one(f"{start}{indented(ARGUMENTS)}  weight_decay: '1e-2'\n  lr_scheduler_kwargs:\n    min_lr: 1e-6\n")
    assert (found.form, found.value("learning_rate"), found.value("weight_decay")) == ("transformers", rate, "1e-2")
    assert isinstance(found.others["trainer.lr_scheduler_kwargs.min_lr"].value, float if rate == 2e-5 else str)


@pytest.mark.parametrize(
    ("path", "task"),
    [
        ("pt-br/finetune.yaml", ""),
        ("whisper-small-pt/run.yaml", ""),
        ("llama_pt.yaml", ""),
        ("configs/pt.yaml", "pretrain"),
        ("pt/run.yaml", ""),
        ("pretrain_sft.yaml", "sft"),
        ("pretraining/finetune.yaml", ""),
        ("fine-tuning/pretrain.yaml", ""),
        ("finetune/dpo.yaml", "preference"),
        ("pretraining/run.yaml", "pretrain"),
    ],
)
def test_a_name_tells_pretraining_from_the_language_and_from_what_comes_after(path: str, task: str) -> None:
    assert task_of(path) == task
