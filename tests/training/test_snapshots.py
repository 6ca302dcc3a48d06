"""Snapshots of cycles: which checkpoints lie there when a run is over, and their averages as models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM, TrainerCallback

from hf_lrsched import CycleSnapshots, average_checkpoints, cycle_checkpoints, last_complete, warm_restarts
from hf_lrsched.runs.files import MANIFEST
from hf_lrsched.training.checkpoints import is_complete

from .running import At, Stream, arguments, checkpoints, die, equal, files, killed, lrs, near, running
from .test_trainer import PEAK, weights

CYCLES: dict[str, Any] = {
    "max_steps": 30,
    "lr_scheduler_type": "warm_restarts",
    "lr_scheduler_kwargs": {"cycles": 3, "warmup": 0},
}
EVALUATED: dict[str, Any] = {"eval_strategy": "steps", "eval_steps": 2}
SAVES: dict[str, Any] = {"save_strategy": "steps", "save_steps": 4}
LOSSES = {2: 5, 4: 4, 6: 3, 8: 6, 10: 7, 12: 9, 14: 8, 16: 8, 18: 9, 20: 7, 22: 3, 24: 2, 26: 4, 28: 1, 30: 5}
UP = {step: 10 - loss for step, loss in LOSSES.items()}


def cycled(
    folder: Path, *callbacks: TrainerCallback, told: dict[int, int] | None = None, name: str = "loss", **given: Any
) -> Any:
    """A run of three cycles; `told` are the evaluations it gets, by step."""
    made = running(arguments(folder, **{**CYCLES, **given}), *callbacks)
    if told is not None:
        evaluation_loop = made.evaluation_loop

        def loop(*args: Any, **kwargs: Any) -> Any:
            output = evaluation_loop(*args, **kwargs)
            output.metrics[f"eval_{name}"] = float(told[made.state.global_step])
            return output

        made.evaluation_loop = loop
    return made


def cycles_json(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "cycles.json").read_text())
    return found


def cycle(number: int, end: int, best: int | None = None, value: float | None = None, metric: str = "loss") -> dict[str, Any]:
    """What cycles.json says of one cycle."""
    about = {"cycle": number, "last_step": end, "end": f"checkpoint-{end}"}
    return about if best is None else {**about, "best": f"checkpoint-{best}", f"eval_{metric}": value}


def kept(folder: Path) -> list[int]:
    """The checkpoints that no limit may delete."""
    return [
        step for step in checkpoints(folder) if json.loads((folder / f"checkpoint-{step}" / MANIFEST).read_text())["kept"]
    ]


# Which checkpoints lie there


def test_without_evaluations_the_ends_are_there(tmp_path: Path) -> None:
    made = cycled(tmp_path, CycleSnapshots(), save_total_limit=1)
    made.train()
    assert checkpoints(tmp_path) == [10, 20, 30]
    assert [path.name for path in cycle_checkpoints(tmp_path)] == ["checkpoint-10", "checkpoint-20", "checkpoint-30"]
    assert cycles_json(tmp_path)["best_cycle"] is None
    assert cycles_json(tmp_path)["cycles"] == [cycle(1, 10), cycle(2, 20), cycle(3, 30)]
    assert lrs(made) == near(warm_restarts(30, cycles=3, warmup=0).lrs(30, PEAK))  # snapshots change no LR


def test_the_end_of_a_cycle_is_the_state_where_its_lr_was_lowest(tmp_path: Path) -> None:
    states: dict[int, Any] = {}

    def remember() -> None:
        states[made.state.global_step] = weights(made)

    made = cycled(tmp_path, *(At(step, remember) for step in (10, 20, 30)), CycleSnapshots())
    made.train()
    for step, state in states.items():
        assert equal(load_file(tmp_path / f"checkpoint-{step}/model.safetensors"), state)
        assert lrs(made)[step - 1] == min(lrs(made)[step - 10 : step])
    assert not equal(states[10], states[20])


@pytest.mark.parametrize(
    ("name", "kwargs", "ends"),
    [
        ("warm_restarts", {"cycles": 2, "warmup": 6}, [18, 30]),
        ("warm_restarts", {"first": 10, "mult": 2, "warmup": 0}, [10, 30]),
        ("warm_restarts", {"cycles": 3, "warmup": 3, "rewarm": True, "min_lr_ratio": 0.1}, [10, 20, 30]),
        ("wsd_s", {"ends": [10, 22], "decay": 3, "warmup": 3}, [10, 22, 30]),
        ("wsd_s", {"ends": ["20%", "60%", "100%"], "decay": "50%", "warmup": 2}, [6, 18, 30]),
        ("wsd", {}, [30]),
    ],
)
def test_the_ends_of_other_schedules(name: str, kwargs: dict[str, Any], ends: list[int], tmp_path: Path) -> None:
    made = cycled(tmp_path, CycleSnapshots(), lr_scheduler_type=name, lr_scheduler_kwargs=kwargs)
    made.train()
    assert checkpoints(tmp_path) == ends
    for end in ends[:-1]:  # the LR has fallen, and rises behind it
        assert lrs(made)[end + 1] > lrs(made)[end - 1] < lrs(made)[end - 2]


def test_the_best_within_each_cycle_is_kept_and_one_that_is_displaced_goes(tmp_path: Path) -> None:
    made = cycled(tmp_path, CycleSnapshots(), told=LOSSES, save_total_limit=1, **SAVES, **EVALUATED)
    made.train()
    best = [cycle(1, 10, 6, 3.0), cycle(2, 20, 20, 7.0), cycle(3, 30, 28, 1.0)]
    assert cycles_json(tmp_path)["cycles"] == best
    assert cycles_json(tmp_path)["best_cycle"] == 3
    assert kept(tmp_path) == [6, 10, 20, 28, 30]
    assert checkpoints(tmp_path) == [6, 10, 20, 24, 28, 30]  # 24: the limit's one
    assert all(is_complete(tmp_path / f"checkpoint-{step}") for step in checkpoints(tmp_path))


def test_a_displaced_one_that_something_else_asked_for_stays_without_a_limit(tmp_path: Path) -> None:
    cycled(tmp_path, CycleSnapshots(), told=LOSSES, **SAVES, **EVALUATED).train()
    # 2, 14 and 22 were saved as the best alone, and displaced by 4, 20 and 24; 12 is one of save_steps
    assert checkpoints(tmp_path) == [4, 6, 8, 10, 12, 16, 20, 24, 28, 30]
    assert kept(tmp_path) == [6, 10, 20, 28, 30]


def test_the_ends_alone_where_the_best_are_not_wanted(tmp_path: Path) -> None:
    cycled(tmp_path, CycleSnapshots(best=False), told=LOSSES, **EVALUATED).train()
    assert checkpoints(tmp_path) == [10, 20, 30]
    assert cycles_json(tmp_path)["cycles"] == [cycle(1, 10), cycle(2, 20), cycle(3, 30)]


@pytest.mark.parametrize("metric", ["f1", "eval_f1"])
def test_the_best_goes_by_the_metric_of_the_arguments(metric: str, tmp_path: Path) -> None:
    words: dict[str, Any] = {"metric_for_best_model": metric, "greater_is_better": True}
    cycled(tmp_path, CycleSnapshots(), told=UP, name="f1", **words, **EVALUATED).train()
    best = [cycle(1, 10, 6, 7.0, "f1"), cycle(2, 20, 20, 3.0, "f1"), cycle(3, 30, 28, 9.0, "f1")]
    assert cycles_json(tmp_path)["cycles"] == best
    assert cycles_json(tmp_path)["best_cycle"] == 3


def test_the_end_of_a_cycle_is_evaluated_where_anything_is(tmp_path: Path) -> None:
    told = {**LOSSES, 7: 9, 14: 9, 21: 9, 28: 9}
    made = cycled(tmp_path, CycleSnapshots(), told=told, eval_strategy="steps", eval_steps=7)
    made.train()
    evaluated = [line["step"] for line in made.state.log_history if "eval_loss" in line]
    assert evaluated == [7, 10, 14, 20, 21, 28, 30]


def test_the_best_model_of_the_whole_run_can_be_loaded_at_its_end(tmp_path: Path) -> None:
    words: dict[str, Any] = {"load_best_model_at_end": True, "metric_for_best_model": "loss", "save_total_limit": 2}
    made = cycled(tmp_path, CycleSnapshots(), told=LOSSES, **words, **EVALUATED, save_strategy="steps", save_steps=2)
    made.train()
    assert made.state.best_model_checkpoint == str(tmp_path / "checkpoint-28")
    assert equal(weights(made), load_file(tmp_path / "checkpoint-28/model.safetensors"))
    assert set(kept(tmp_path)) == {6, 10, 20, 28, 30}


@pytest.fixture(scope="module", params=[None, 1], ids=["no limit", "limit 1"])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run that was left alone."""
    words: dict[str, Any] = {"save_total_limit": request.param, **SAVES, **EVALUATED}
    made = cycled(tmp_path_factory.mktemp("whole"), CycleSnapshots(), told=LOSSES, **words)
    made.train()
    return made


@pytest.mark.parametrize("step", [3, 7, 13, 21, 25, 29])
def test_a_killed_run_resumed_keeps_what_an_uninterrupted_one_keeps(step: int, whole: Any, tmp_path: Path) -> None:
    words: dict[str, Any] = {"save_total_limit": whole.args.save_total_limit, **SAVES, **EVALUATED}
    killed(lambda: cycled(tmp_path, At(step, die), CycleSnapshots(), told=LOSSES, **words).train())
    made = cycled(tmp_path, CycleSnapshots(), told=LOSSES, **words)
    made.train(resume_from_checkpoint=last_complete(tmp_path))
    left = Path(whole.args.output_dir)
    assert cycles_json(tmp_path) == cycles_json(left)
    assert checkpoints(tmp_path) == checkpoints(left)
    assert kept(tmp_path) == kept(left)
    assert equal(weights(made), weights(whole))


def test_a_fresh_run_in_the_folder_of_another_is_refused_before_it_writes_over_what_is_kept(tmp_path: Path) -> None:
    cycled(tmp_path, CycleSnapshots(), told=LOSSES, **EVALUATED).train()
    before = checkpoints(tmp_path)
    with pytest.raises(ValueError, match="which are to be kept, and a run from step 0 on would write over them"):
        cycled(tmp_path, CycleSnapshots(), told=UP, **EVALUATED).train()
    assert checkpoints(tmp_path) == before


def test_snapshots_of_a_schedule_that_is_not_ours_are_refused(tmp_path: Path) -> None:
    made = cycled(tmp_path, CycleSnapshots(), lr_scheduler_type="linear", lr_scheduler_kwargs=None)
    with pytest.raises(ValueError, match="CycleSnapshots cannot tell the cycles of LambdaLR; take one of hf_lrsched's"):
        made.train()
    assert lrs(made) == []


def test_a_stream_has_cycles_too(tmp_path: Path) -> None:
    running(arguments(tmp_path, **CYCLES), CycleSnapshots(), dataset=Stream(50)).train()
    assert checkpoints(tmp_path) == [10, 20, 30]


def test_cycle_checkpoints_are_those_that_are_whole(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no cycles\.json; was the run trained with CycleSnapshots\?"):
        cycle_checkpoints(tmp_path)
    killed(lambda: cycled(tmp_path, At(25, die), CycleSnapshots()).train())
    assert cycle_checkpoints(tmp_path) == [tmp_path / "checkpoint-10", tmp_path / "checkpoint-20"]
    (tmp_path / "checkpoint-10/optimizer.pt").write_bytes(b"")
    assert cycle_checkpoints(tmp_path) == [tmp_path / "checkpoint-20"]


def test_the_last_cycles_of_a_run_are_averaged(tmp_path: Path) -> None:
    cycled(tmp_path / "run", CycleSnapshots()).train()
    before = files(tmp_path / "run")
    ends = cycle_checkpoints(tmp_path / "run")[-2:]
    out = average_checkpoints(ends, tmp_path / "average")
    assert out == tmp_path / "average"
    first, second = (load_file(end / "model.safetensors") for end in ends)
    assert equal(load_file(out / "model.safetensors"), {name: (first[name] + second[name]) / 2 for name in first})
    assert sorted(path.name for path in out.iterdir()) == ["model.safetensors"]  # no optimizer, no state of a trainer
    assert files(tmp_path / "run") == before


# Averages of whole models


def saved(folder: Path, tensors: dict[str, torch.Tensor], file: str = "model.safetensors", **texts: str) -> Path:
    """A folder with weights and other files, as a checkpoint."""
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / file, metadata={"format": "pt"})
    for name, text in texts.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


def test_the_mean_is_that_of_each_weight(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)  # quarters of whole numbers: every sum and mean is exact
    tensors = [
        {name: torch.randint(-1000, 1000, shape, generator=generator) / 4 for name, shape in (("a", (3, 4)), ("b", (7,)))}
        for _ in range(4)
    ]
    folders = [saved(tmp_path / str(i), one) for i, one in enumerate(tensors)]
    mean = load_file(average_checkpoints(folders, tmp_path / "out") / "model.safetensors")
    assert {name: weight.tolist() for name, weight in mean.items()} == {
        name: torch.stack([one[name].double() for one in tensors]).mean(0).tolist() for name in ("a", "b")
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_weights_are_averaged_in_float32_and_written_in_their_own_type(dtype: torch.dtype, tmp_path: Path) -> None:
    # In bfloat16 256 + 1 is 256, so that a mean taken there would be 85.5.
    folders = [
        saved(tmp_path / str(i), {"a": torch.tensor([value], dtype=dtype)}) for i, value in enumerate((256.0, 1.0, 1.0))
    ]
    mean = load_file(average_checkpoints(folders, tmp_path / "out") / "model.safetensors")["a"]
    assert mean.dtype == dtype
    assert mean.item() == 86.0


def test_whole_numbers_are_the_last_ones(tmp_path: Path) -> None:
    folders = [
        saved(tmp_path / str(i), {"count": torch.tensor(i), "mask": torch.tensor([i > 1]), "a": torch.tensor(float(i))})
        for i in (1, 2, 5)
    ]
    mean = load_file(average_checkpoints(folders, tmp_path / "out") / "model.safetensors")
    assert (mean["count"].item(), mean["mask"].item(), mean["count"].dtype) == (5, True, torch.int64)
    assert mean["a"].item() == pytest.approx(8 / 3, rel=1e-7)


def test_a_model_in_shards_is_averaged_shard_by_shard_and_loads(tmp_path: Path) -> None:
    folders, models = [], []
    for seed in range(2):
        models.append(llama(seed))
        folders.append(tmp_path / str(seed))
        models[-1].save_pretrained(folders[-1], max_shard_size="4KB")
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json", "training_args.bin", MANIFEST):
        (folders[-1] / name).write_text("of the run")
    (folders[-1] / "tokenizer.json").write_text("{}")
    out = average_checkpoints(folders, tmp_path / "out")
    shards = {path.name for path in folders[-1].glob("*.safetensors")}
    assert len(shards) > 1
    assert {path.name for path in out.iterdir()} == {
        *shards, "config.json", "generation_config.json", "model.safetensors.index.json", "tokenizer.json",
    }  # fmt: skip
    assert (out / "config.json").read_text() == (folders[-1] / "config.json").read_text()
    loaded = LlamaForCausalLM.from_pretrained(out)
    first, second = (model.state_dict() for model in models)
    assert equal(loaded.state_dict(), {name: (first[name] + second[name]) / 2 for name in first})


def test_the_metadata_of_the_file_is_that_of_the_last(tmp_path: Path) -> None:
    out = average_checkpoints([saved(tmp_path / name, {"a": torch.ones(2)}) for name in "ab"], tmp_path / "out")
    with safe_open(out / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}


def test_an_empty_folder_is_taken_and_what_a_failed_average_left_is_replaced(tmp_path: Path) -> None:
    folders = [saved(tmp_path / name, {"a": torch.ones(2)}) for name in "ab"]
    (tmp_path / "out").mkdir()
    (tmp_path / ".out.part").mkdir()
    (tmp_path / ".out.part/stale.safetensors").write_text("")
    assert sorted(path.name for path in average_checkpoints(folders, tmp_path / "out").iterdir()) == ["model.safetensors"]
    assert not (tmp_path / ".out.part").exists()


ONE = {"a": torch.ones(2), "b": torch.ones(2)}


@pytest.mark.parametrize(
    ("others", "sentence"),
    [
        ([], "1 checkpoint to average; give 2 or more"),
        ([{"a": torch.ones(2)}], r"the weights in model\.safetensors have different names in the checkpoints"),
        ([{"a": torch.ones(2), "c": torch.ones(2)}], r"the weights in model\.safetensors have different names"),
        ([ONE, {"a": torch.ones(3), "b": torch.ones(2)}], r"a has different shapes in the checkpoints: \(2,\), \(3,\), \("),
        ([None], r"other0 has no model\.safetensors, which .*last has"),
    ],
)  # fmt: skip
def test_what_cannot_be_averaged_is_refused_and_nothing_is_left(
    others: list[dict[str, torch.Tensor] | None], sentence: str, tmp_path: Path
) -> None:
    folders = []
    for i, tensors in enumerate(others):
        folders.append(tmp_path / f"other{i}")
        folders[-1].mkdir()
        if tensors is not None:
            saved(folders[-1], tensors)
    folders.append(saved(tmp_path / "last", ONE))
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ValueError, match=sentence):
        average_checkpoints(folders, tmp_path / "out")
    assert sorted(tmp_path.iterdir()) == before


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    folders = [saved(tmp_path / name, ONE) for name in "ab"]
    saved(tmp_path / "out", ONE, config__json="mine")
    before = files(tmp_path / "out")
    with pytest.raises(ValueError, match="out is not empty; give another folder"):
        average_checkpoints(folders, tmp_path / "out")
    assert files(tmp_path / "out") == before


def test_weights_of_another_format_are_refused(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "pytorch_model.bin").write_text("")
    with pytest.raises(ValueError, match=r"b has no \.safetensors file; was it saved by Transformers 5\?"):
        average_checkpoints([tmp_path / "a", tmp_path / "b"], tmp_path / "out")


# Averages of adapters


def llama(seed: int) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=16,
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
        )
    )


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    llama(0).save_pretrained(folder)
    return folder


def adapted(base: Path, folder: Path, seed: int, **words: Any) -> dict[str, torch.Tensor]:
    """Saves adapters of random factors; the weights of the model they make of `base`."""
    torch.manual_seed(seed)
    config = peft.LoraConfig(**{"r": 2 + seed, "lora_alpha": 4, "task_type": "CAUSAL_LM", **words})
    model = peft.get_peft_model(LlamaForCausalLM.from_pretrained(base), config)
    for name, weight in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight)
    model.save_pretrained(str(folder))
    return merged(model)


def merged(model: Any) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in model.merge_and_unload().named_parameters()}


def deltas(folder: Path) -> dict[str, torch.Tensor]:
    """What the adapters in `folder` add to each layer."""
    model = peft.AutoPeftModelForCausalLM.from_pretrained(str(folder))
    layers: list[tuple[str, Any]] = [
        (name, layer) for name, layer in model.named_modules() if isinstance(layer, peft.tuners.lora.LoraLayer)
    ]
    return {name: layer.get_delta_weight("default").detach() for name, layer in layers}


def of_factors(folder: Path, factor: str) -> list[torch.Tensor]:
    return [weight for name, weight in load_file(folder / "adapter_model.safetensors").items() if factor in name]


@pytest.mark.parametrize("given", [True, False])
def test_adapters_are_averaged_as_the_products_they_stand_for(given: bool, base: Path, tmp_path: Path) -> None:
    folders = [tmp_path / str(seed) for seed in range(3)]
    for seed, folder in enumerate(folders):
        adapted(base, folder, seed)
    model = LlamaForCausalLM.from_pretrained(base) if given else None
    out = average_checkpoints(folders, tmp_path / "out", base=model)
    means, each = deltas(out), [deltas(folder) for folder in folders]
    assert len(means) == 4  # q and v of two layers
    for name, mean in means.items():
        exact = torch.stack([one[name].double() for one in each]).mean(0)
        torch.testing.assert_close(mean.double(), exact, rtol=1e-5, atol=1e-5)
        assert exact.abs().max() > 1.0
    config = peft.PeftConfig.from_pretrained(str(out))
    assert config.r == 2 + 3 + 4  # the sum of the ranks
    assert {path.name for path in out.iterdir()} >= {"adapter_model.safetensors", "adapter_config.json"}
    assert not (tmp_path / ".out.part").exists()


def test_the_mean_of_the_factors_is_another_model(base: Path, tmp_path: Path) -> None:
    folders = [tmp_path / str(seed) for seed in range(2)]
    for seed, folder in enumerate(folders):
        adapted(base, folder, seed, r=2)
    mean = deltas(average_checkpoints(folders, tmp_path / "out"))
    (first_a, second_a), (first_b, second_b) = (
        tuple(of_factors(folder, factor) for folder in folders) for factor in ("lora_A", "lora_B")
    )
    for delta, a, b, c, d in zip(mean.values(), first_a, second_a, first_b, second_b, strict=True):
        by_factor = 2.0 * ((c + d) / 2) @ ((a + b) / 2)  # scaling: lora_alpha / r
        assert (delta - by_factor).abs().max() > 0.1


@pytest.mark.parametrize(
    "words",
    [
        {"rank_pattern": {"q_proj": 5}},
        {"alpha_pattern": {"v_proj": 9}},
        {"use_rslora": True},
        {"use_dora": True},
        {"target_modules": "all-linear"},
    ],
    ids=lambda words: next(iter(words)),
)
def test_adapters_of_other_kinds_are_averaged_or_refused(words: dict[str, Any], base: Path, tmp_path: Path) -> None:
    folders = [tmp_path / str(seed) for seed in range(3)]
    each = [adapted(base, folder, seed, **words) for seed, folder in enumerate(folders)]
    try:
        out = average_checkpoints(folders, tmp_path / "out")
    except ValueError:
        assert not (tmp_path / "out").exists()
        return
    mean = merged(peft.AutoPeftModelForCausalLM.from_pretrained(str(out)))
    for name, weight in mean.items():
        exact = torch.stack([one[name].double() for one in each]).mean(0)
        torch.testing.assert_close(weight.double(), exact, rtol=1e-5, atol=1e-5)


def test_adapters_that_cannot_be_averaged_are_refused_and_nothing_is_left(base: Path, tmp_path: Path) -> None:
    full = [tmp_path / f"full{seed}" for seed in range(2)]
    for seed, folder in enumerate(full):
        adapted(base, folder, seed, modules_to_save=["lm_head"])
    other = [tmp_path / f"other{seed}" for seed in range(2)]
    for folder in other:
        config = peft.IA3Config(task_type="CAUSAL_LM", target_modules=["v_proj"], feedforward_modules=[])
        peft.get_peft_model(LlamaForCausalLM.from_pretrained(base), config).save_pretrained(str(folder))
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ValueError, match=r"full1 was trained with modules_to_save=\['lm_head'\], which peft's"):
        average_checkpoints(full, tmp_path / "out")
    with pytest.raises(ValueError, match="other1 holds IA3 adapters; those of LoRA can be averaged"):
        average_checkpoints(other, tmp_path / "out")
    assert sorted(tmp_path.iterdir()) == before
