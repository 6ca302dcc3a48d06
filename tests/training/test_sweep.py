"""find_lr on real Trainers: what it finds, what it refuses, and on two processes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from peft import LoraConfig
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    T5Config,
    T5ForConditionalGeneration,
    Trainer,
    get_scheduler,
)
from trl import SFTConfig, SFTTrainer  # type: ignore[attr-defined]  # trl exports them lazily

from hf_lrsched import RangeTest, find_lr, register, unregister, use_lr
from hf_lrsched.training.miniature import miniature
from hf_lrsched.training.restoring import Kept

from .running import arguments, two_processes
from .test_trainer import Watch, data, same, tiny, weights


class Regression(nn.Module):
    """Learns at learning rates that are known: 16 weights of size 1."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(16, 1)

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss": nn.functional.mse_loss(self.layer(x).squeeze(-1), labels)}


def examples(count: int = 512, noise: float = 0.1) -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, 16, generator=generator)
    labels = x.sum(dim=1) + noise * torch.randn(count, generator=generator)
    return [{"x": one, "labels": label} for one, label in zip(x, labels, strict=True)]


def regressing(folder: Path, **given: Any) -> Any:
    words = {"max_steps": 600, "lr_scheduler_type": "wsd", "per_device_train_batch_size": 16, **given}
    model, trained = words.pop("model", None) or Regression(), words.pop("train_dataset", None) or examples()
    optimizers = words.pop("optimizers", (None, None))
    args = arguments(folder, **words)
    return Trainer(model=model, args=args, train_dataset=trained, callbacks=[Watch()], optimizers=optimizers)


def final_loss(folder: Path, lr: float, **given: Any) -> float:
    trainer = regressing(folder, learning_rate=lr, **given)
    trainer.train()
    losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    return float(np.mean(losses[-20:]))


# What it finds


def test_the_peak_that_is_found_trains_as_well_as_the_best_of_a_grid(tmp_path: Path) -> None:
    found = find_lr(regressing(tmp_path))
    assert found.lr is not None, found
    assert found.interval is not None
    assert found.cost[0] <= 100
    assert found.cost[1] <= 60
    assert (found.schedule, found.steps) == ("wsd", 600)
    grid = [final_loss(tmp_path, lr) for lr in np.geomspace(1e-3, 10, 9)]
    at_it = final_loss(tmp_path, found.lr)
    assert at_it < 1.5 * min(grid) + 1e-3
    assert max(grid) > 20 * at_it


def test_what_is_found_does_not_depend_on_what_was_configured(tmp_path: Path) -> None:
    one, other = (find_lr(regressing(tmp_path, learning_rate=lr)) for lr in (1e-5, 0.3))
    assert one.lr == other.lr
    assert one.ramp.lr == pytest.approx(other.ramp.lr)
    assert one.ramp.loss == pytest.approx(other.ramp.loss)


def test_sgd_has_a_higher_range_and_a_higher_answer(tmp_path: Path) -> None:
    adam = find_lr(regressing(tmp_path))
    words = {"optim": "sgd", "max_grad_norm": 0.0}
    sgd = find_lr(regressing(tmp_path, **words))
    assert (sgd.ramp.lr[0], adam.ramp.lr[0]) == pytest.approx((1e-5, 1e-7))
    assert sgd.lr is not None, sgd
    losses = [final_loss(tmp_path, sgd.lr * factor, **words) for factor in (1.0, 1 / 8)]
    assert losses[0] < 1.1 * losses[1]


def test_groups_keep_their_ratio_and_accumulation_makes_one_point_a_step(tmp_path: Path) -> None:
    model = Regression()
    rates: list[list[float]] = []

    class Seen(torch.optim.AdamW):
        def step(self, *args: Any, **kwargs: Any) -> Any:
            rates.append([float(group["lr"]) for group in self.param_groups])
            return super().step(*args, **kwargs)

    optimizer = Seen([{"params": [model.layer.weight], "lr": 1e-2}, {"params": [model.layer.bias], "lr": 4e-2}])
    trainer = regressing(
        tmp_path, model=model, optimizers=(optimizer, None), gradient_accumulation_steps=2, learning_rate=1e-2
    )
    found = find_lr(trainer)
    assert len(rates) == sum(found.cost)
    assert [one[0] for one in rates[: found.cost[0]]] == pytest.approx(found.ramp.lr.tolist())
    assert all(one[1] == pytest.approx(4 * one[0]) for one in rates)
    assert [group["lr"] for group in optimizer.param_groups] == [1e-2, 4e-2]
    assert found.lr is not None, found
    assert use_lr(trainer, found) == found.lr == trainer.args.learning_rate
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([found.lr, 4 * found.lr])


def test_seeds_are_orders_of_the_data_and_each_costs_as_much_again(tmp_path: Path) -> None:
    found = find_lr(regressing(tmp_path), seeds=2, probes=100)
    assert {probe.seed for probe in found.probes} == {0, 1}
    assert 100 < found.cost[1] <= 200
    first, second = found.probes[:2]
    assert first.lr == second.lr
    assert not np.array_equal(first.loss, second.loss)


def test_a_short_run_is_tested_by_as_many_steps_as_it_takes(tmp_path: Path) -> None:
    found = find_lr(regressing(tmp_path, max_steps=-1, num_train_epochs=3))
    assert found.steps == 96
    assert 30 <= found.cost[1] <= 50
    alone = find_lr(regressing(tmp_path), probes=False)
    assert not alone.probes
    assert alone.confidence in {None, "low"}


# The kinds of Trainer


def vocabulary() -> PreTrainedTokenizerFast:
    words = Tokenizer(models.WordLevel({"<end>": 0, **{f"w{i}": i + 1 for i in range(30)}}, unk_token="<end>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    fast: Any = PreTrainedTokenizerFast
    made: PreTrainedTokenizerFast = fast(tokenizer_object=words, eos_token="<end>", pad_token="<end>")
    return made


def supervised(folder: Path, **given: Any) -> Any:
    torch.manual_seed(0)
    size: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=31, num_key_value_heads=2, bos_token_id=None, eos_token_id=0, **size))
    rng = np.random.default_rng(0)
    rows = [" ".join(f"w{(start + i) % 30}" for i in range(8)) for start in rng.integers(0, 30, 64)]
    words: dict[str, Any] = {"max_steps": 600, "learning_rate": 1e-3, "per_device_train_batch_size": 8, "max_length": 8}
    words |= {"lr_scheduler_type": "wsd", "report_to": [], "disable_tqdm": True, "use_cpu": True, "save_strategy": "no"}
    args: Any = SFTConfig(output_dir=str(folder), bf16=False, logging_steps=1, **words)
    rows_of_text = datasets.Dataset.from_dict({"text": rows})
    return SFTTrainer(model=model, args=args, train_dataset=rows_of_text, processing_class=vocabulary(), **given)


def with_lora(folder: Path) -> Any:
    return supervised(folder, peft_config=LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))


def sequence_to_sequence(folder: Path) -> Any:
    torch.manual_seed(0)
    size: dict[str, Any] = {"d_model": 16, "d_ff": 16, "d_kv": 8, "num_layers": 1, "num_heads": 2, "vocab_size": 16}
    size |= {"decoder_start_token_id": 0, "pad_token_id": 0, "dropout_rate": 0.1}
    model = T5ForConditionalGeneration(T5Config(**size))
    rng = np.random.default_rng(0)
    rows = [{"input_ids": row.tolist(), "labels": row.tolist()} for row in rng.integers(1, 16, (64, 6))]
    words: dict[str, Any] = {"max_steps": 600, "learning_rate": 1e-3, "per_device_train_batch_size": 8, "use_cpu": True}
    words |= {"lr_scheduler_type": "cosine", "report_to": [], "disable_tqdm": True, "save_strategy": "no", "logging_steps": 1}
    return Seq2SeqTrainer(model=model, args=Seq2SeqTrainingArguments(output_dir=str(folder), **words), train_dataset=rows)


@pytest.mark.parametrize("make", [supervised, with_lora, sequence_to_sequence])
def test_every_kind_of_trainer_is_tested_and_then_trains_as_without(make: Callable[[Path], Any], tmp_path: Path) -> None:
    without = make(tmp_path / "without")
    without.args.max_steps = 5
    without.train()
    trainer = make(tmp_path / "with")
    found = find_lr(trainer)
    assert len(found.ramp.loss) > 50
    assert found.probes
    assert found.lr is not None, found
    trainer.args.max_steps = 5
    trainer.train()
    assert same(weights(without), weights(trainer))
    logs = [
        [{key: value for key, value in line.items() if "runtime" not in key and "per_second" not in key} for line in log]
        for log in (without.state.log_history, trainer.state.log_history)
    ]
    assert logs[0] == logs[1]


# The schedule in small


@pytest.mark.parametrize("name", ["wsd", "warmup_cosine", "one_cycle", "cosine", "linear", "constant_with_warmup"])
def test_a_miniature_is_the_schedule_that_the_trainer_would_follow(name: str, tmp_path: Path) -> None:
    trainer = regressing(tmp_path, lr_scheduler_type=name, warmup_steps=60, learning_rate=1e-2)
    kept = Kept(trainer)
    small = miniature(trainer, kept)
    assert (small.name, small.steps, small.unit) == (name, 600, 1e-2)
    assert trainer.optimizer is None
    real = regressing(tmp_path, lr_scheduler_type=name, warmup_steps=60, learning_rate=1e-2)
    real.create_optimizer()
    scheduler: Any = get_scheduler(name, real.optimizer, 60, 600)
    rates, momenta = [], []
    for _ in range(600):
        rates.append(real.optimizer.param_groups[0]["lr"] / 1e-2)
        momenta.append(real.optimizer.param_groups[0]["betas"][0])
        real.optimizer.step()
        scheduler.step()
    assert small.shares == pytest.approx(rates, abs=1e-12)
    shares, moved = small.over(20)
    assert shares == pytest.approx(rates[15::30])
    if name == "one_cycle":
        assert moved == pytest.approx(momenta[15::30])
    else:
        assert moved is None


def test_a_scheduler_that_the_trainer_was_given_is_read_and_left_where_it_was(tmp_path: Path) -> None:
    model = Regression()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    given = torch.optim.lr_scheduler.StepLR(optimizer, 200, gamma=0.1)
    trainer = regressing(tmp_path, model=model, optimizers=(optimizer, given))
    kept = Kept(trainer)
    small = miniature(trainer, kept)
    assert small.name == "StepLR"
    assert small.shares[[0, 199, 200, 599]] == pytest.approx([1, 1, 0.1, 0.01])
    assert (given.last_epoch, optimizer.param_groups[0]["lr"], trainer.lr_scheduler) == (0, 0.5, given)


def given_schedulers(optimizer: Any) -> dict[str, Any]:
    noam = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.1 * min((step + 1) ** -0.5, (step + 1) / 1000))
    return {"noam": noam, "one cycle": torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-2, total_steps=600)}


@pytest.mark.parametrize("name", ["noam", "one cycle"])
def test_what_is_found_is_for_the_learning_rate_that_is_set_whatever_the_scheduler_makes_of_it(
    name: str, tmp_path: Path
) -> None:
    def with_it() -> Any:
        model = Regression()
        optimizer = torch.optim.Adam(model.parameters(), lr=1.0)
        scheduler = given_schedulers(optimizer)[name] if name == "noam" else given_schedulers(optimizer)["one cycle"]
        if name == "noam":  # the other was made behind it, and has set its own
            optimizer.param_groups[0].update(lr=1.0 * scheduler.lr_lambdas[0](0), initial_lr=1.0)
        return regressing(tmp_path, model=model, optimizers=(optimizer, scheduler), max_grad_norm=0.0)

    trainer, plain = with_it(), find_lr(regressing(tmp_path, lr_scheduler_type="linear", optim="adamw_torch"))
    found = find_lr(trainer)
    assert found.lr is not None, found
    assert plain.lr is not None
    assert found.highest != 1
    peak = found.lr * found.highest
    assert plain.lr / 4 < peak < plain.lr * 4
    use_lr(trainer, found)
    rates: list[float] = []
    trainer.add_callback(Watch())
    trainer.train()
    rates = [groups[0] for groups in trainer.callback_handler.callbacks[-1].lrs]
    assert max(rates) == pytest.approx(peak, rel=0.02)


def test_a_second_training_takes_what_was_found(tmp_path: Path) -> None:
    trainer = regressing(tmp_path, learning_rate=1e-5, max_steps=100)
    trainer.train()
    found = find_lr(trainer, budget=600)
    assert found.lr is not None, found
    assert found.lr > 1e-3
    use_lr(trainer, found)
    watched = Watch()
    trainer.add_callback(watched)
    trainer.train()
    assert max(groups[0] for groups in watched.lrs) == pytest.approx(found.lr)
    assert trainer.state.global_step == 100


def test_where_nothing_was_found_nothing_is_used(tmp_path: Path) -> None:
    nothing = np.array([])
    from hf_lrsched.runs.ramp import Trace

    found = RangeTest(Trace(nothing, nothing, nothing, nothing, skipped=20), (), "wsd", 600, 1e-3, 1e-3)
    with pytest.raises(ValueError, match="found no learning rate: all of 20 updates were skipped"):
        use_lr(regressing(tmp_path), found)


# What it refuses


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"start_lr": 0}, "start_lr=0 must be above 0"),
        ({"end_lr": math.nan}, "end_lr=nan is not a number"),
        ({"start_lr": 0.1, "end_lr": 1e-3}, "start_lr=0.1 must be below end_lr=0.001"),
        ({"steps": 5}, "steps=5 must be 20 or more"),
        ({"steps": 50.5}, "steps=50.5"),
        ({"seeds": 0}, "seeds=0"),
        ({"budget": 0}, "budget=0 must be a whole number, 1 or more"),
        ({"probes": 20}, "probes=20 must be 50 steps or more, for 5 runs of 10; or False for none"),
        ({"snapshot": "no/such/folder"}, "snapshot='no/such/folder' is no folder that can be written to"),
    ],
)
def test_what_cannot_be_is_refused_before_a_step(words: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    trainer = regressing(tmp_path)
    before = weights(trainer)
    with pytest.raises(ValueError, match=sentence):
        find_lr(trainer, **words)
    assert same(before, weights(trainer))
    assert trainer.optimizer is None


def test_a_stream_needs_the_length_of_its_run(tmp_path: Path) -> None:
    stream = datasets.Dataset.from_list([{"x": [0.0] * 16, "labels": 0.0}] * 64).to_iterable_dataset()
    args = arguments(tmp_path, max_steps=600, lr_scheduler_type="wsd")
    trainer: Any = Trainer(model=Regression(), args=args, train_dataset=stream)
    args.max_steps = -1
    with pytest.raises(ValueError, match="max_steps=-1 and the training set has no length"):
        find_lr(trainer)
    assert find_lr(trainer, budget=200).steps == 200


def test_a_model_that_learns_nothing_has_no_learning_rate(tmp_path: Path) -> None:
    model = tiny()
    args = arguments(tmp_path, max_steps=600, lr_scheduler_type="wsd", learning_rate=1e-3)
    noise = [{"x": one["x"], "labels": torch.tensor(0.0)} for one in data()]
    with torch.no_grad():
        for weight in model.head.parameters():
            weight.zero_()  # it is right already
    found = find_lr(Trainer(model=model, args=args, train_dataset=noise))
    assert found.lr is None
    assert found.refusal is not None
    assert found.refusal.kind in {"no_descent", "too_noisy"}


def test_what_is_no_trainer_is_said() -> None:
    with pytest.raises(TypeError, match=r"find_lr takes a transformers\.Trainer, not a Regression"):
        find_lr(Regression())


def test_without_its_hooks_it_hears_no_loss(tmp_path: Path) -> None:
    trainer = regressing(tmp_path, lr_scheduler_type="cosine")
    unregister()
    try:
        with pytest.raises(ValueError, match=r"no loss was seen, .* call register\(\) first"):
            find_lr(trainer)
    finally:
        register()


# Two processes


def test_two_processes_find_the_same_and_then_train_as_without(tmp_path: Path) -> None:
    two_processes(tmp_path, "found")
    first, second = (json.loads((tmp_path / f"found-{rank}.json").read_text()) for rank in (0, 1))
    assert first["processes"] == second["processes"] == 2
    assert first["result"] == second["result"]
    assert first["result"]["probes"]
    for told in (first, second):
        assert told["test"] == told["nothing"]
        assert told["test"]["wrapped"] == ["DistributedDataParallel"]
    assert first["test"]["weights"] == second["test"]["weights"]
