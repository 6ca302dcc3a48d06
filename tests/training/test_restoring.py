"""A training after a range test is the training without it, bit for bit, however the test has ended."""

from __future__ import annotations

import functools
import os
import queue
import random
import sys
import threading
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.utils.data import Dataset, IterableDataset
from transformers import Trainer

from hf_lrsched import find_lr
from hf_lrsched.training import restoring
from hf_lrsched.training.driven import Driver, driven
from hf_lrsched.training.restoring import Kept

from .running import At, arguments, lrs
from .test_trainer import Watch, data, same, tiny, weights


class Normed(nn.Module):
    """Batch statistics, dropout, a large buffer, and a counter that is neither weight nor buffer."""

    memory: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(3, 4)
        self.norm = nn.BatchNorm1d(4)
        self.dropout = nn.Dropout(0.3)
        self.head = nn.Linear(4, 1)
        self.calls = 0
        self.register_buffer("memory", torch.zeros(100_000))

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        self.calls += 1
        self.memory += 1
        hidden = self.dropout(torch.tanh(self.norm(self.hidden(x))))
        return {
            "loss": nn.functional.mse_loss(self.head(hidden).squeeze(-1), labels) + 1e-3 * self.calls + 1e-3 * self.memory[-1]
        }


def normed() -> Normed:
    torch.manual_seed(0)
    return Normed()


def half_frozen() -> Any:
    model = tiny()
    model.hidden.weight.requires_grad_(False)
    return model


def adapted() -> Any:
    base: Any = tiny()
    model: Any = get_peft_model(base, LoraConfig(r=2, target_modules=["hidden"], lora_dropout=0.1))
    nn.init.normal_(model.base_model.model.hidden.lora_B["default"].weight)
    return model


class Noisy(Dataset[Any]):
    """Examples with noise from generators of its own, of every kind."""

    def __init__(self) -> None:
        self.examples = data()
        self.pure, self.new, self.old = random.Random(0), np.random.default_rng(0), [np.random.RandomState(0)]
        self.torch = {"of mine": torch.Generator()}

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Any:
        numpys = self.new.random() + self.old[0].rand() + np.random.rand()
        noise = self.pure.random() + numpys + torch.rand((), generator=self.torch["of mine"])
        return {**self.examples[index], "x": self.examples[index]["x"] + 0.1 * float(noise) + 0.1 * random.random()}


class Reader(IterableDataset[Any]):
    """Goes on where it was left: its position is its own."""

    def __init__(self) -> None:
        self.examples, self.at = data(), 0

    def __iter__(self) -> Iterator[Any]:
        while True:
            self.at += 1
            yield self.examples[(self.at * self.at) % len(self.examples)]


class Lines(IterableDataset[Any]):
    """Reads an open file."""

    def __init__(self, file: Path) -> None:
        file.write_text("".join(f"{random.Random(i).random()}\n" for i in range(200)))
        self.file = file.open("rb")

    def __del__(self) -> None:
        self.file.close()

    def __iter__(self) -> Iterator[Any]:
        for line in iter(self.file.readline, b""):
            yield {"x": torch.full((3,), float(line)), "labels": torch.tensor(float(line))}


def shuffled_stream() -> Any:
    rows = [{"x": example["x"].tolist(), "labels": float(example["labels"])} for example in data()]
    return datasets.Dataset.from_list(rows).to_iterable_dataset(num_shards=3).shuffle(seed=3, buffer_size=5)


class Shaken:
    """A collator with state."""

    def __init__(self) -> None:
        self.generator, self.calls = np.random.default_rng(4), 0

    def __call__(self, examples: list[Any]) -> Any:
        self.calls += 1
        x = torch.stack([torch.as_tensor(one["x"]) for one in examples])
        shaken = x + 0.01 * self.calls + torch.tensor(self.generator.normal(size=3), dtype=torch.float32)
        return {"x": shaken, "labels": torch.stack([torch.as_tensor(one["labels"]) for one in examples])}


class Queue(nn.Module):
    """A large tensor that is neither weight nor buffer, and changes."""

    def __init__(self) -> None:
        super().__init__()
        self.within, self.queue = tiny(), torch.zeros(100_000)

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        self.queue += x.mean()
        return {"loss": self.within(x, labels)["loss"] + 1e-3 * self.queue[0]}


class WithMore(Trainer):
    """A Trainer with more than a model: a loss with weights of its own, an average of the model, a counter, a loader."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        torch.manual_seed(3)
        self.scale = nn.Linear(1, 1)
        self.average = torch.optim.swa_utils.AveragedModel(self.model)  # type: ignore[arg-type]  # it is there
        self.counted = Shaken()
        generator = torch.Generator().manual_seed(2)
        self.loader = torch.utils.data.DataLoader(self.train_dataset, 4, shuffle=True, generator=generator)  # type: ignore[arg-type]

    def get_train_dataloader(self) -> Any:
        return self.accelerator.prepare(self.loader)

    def create_optimizer(self, model: Any = None) -> Any:
        if self.optimizer is None:
            super().create_optimizer()
            optimizer: Any = self.optimizer
            optimizer.add_param_group({"params": [*self.scale.parameters()]})
        return self.optimizer

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        self.counted.calls += 1
        self.average.update_parameters(model)
        loss: Any = super().compute_loss(model, inputs, *args, **kwargs)
        distance = sum((a - b).square().sum() for a, b in zip(model.parameters(), self.average.parameters(), strict=True))
        return self.scale(loss.reshape(1, 1)).square().sum() + distance + 1e-3 * self.counted.calls


def closing_over_a_generator() -> Any:
    rng = np.random.default_rng(5)

    def collate(examples: list[Any]) -> Any:
        x = torch.stack([one["x"] for one in examples]) + 0.1 * float(rng.normal())
        return {"x": x, "labels": torch.stack([one["labels"] for one in examples])}

    return collate


class Jitter:
    """A transform with state."""

    def __init__(self) -> None:
        self.rng = random.Random(1)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        x = [torch.tensor(one) + self.rng.random() for one in batch["x"]]
        return {"x": x, "labels": torch.tensor(batch["labels"])}


def rows_of() -> datasets.Dataset:
    return datasets.Dataset.from_list([{"x": one["x"].tolist(), "labels": float(one["labels"])} for one in data()])


def generated() -> Any:
    rng = np.random.default_rng(6)

    def rows() -> Iterator[Any]:
        for one in data():
            yield {"x": (one["x"].numpy() + rng.normal(size=3)).tolist(), "labels": float(one["labels"])}

    return datasets.IterableDataset.from_generator(rows)


class InPlace(Dataset[Any]):
    """Shuffles what it holds as it is read."""

    def __init__(self) -> None:
        self.x = np.stack([one["x"].numpy() for one in data()])

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> Any:
        self.x[:] = self.x[::-1] * 1.01
        return {"x": torch.tensor(self.x[index]), "labels": torch.tensor(1.0)}


def sequential(folder: Path) -> dict[str, Any]:
    model = tiny()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    parts = [
        torch.optim.lr_scheduler.LinearLR(optimizer, total_iters=4),
        torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9),
    ]
    return {"model": model, "optimizers": (optimizer, torch.optim.lr_scheduler.SequentialLR(optimizer, parts, [4]))}


class Averaged(nn.Module):
    """An average of its weights in a plain object, a hook and an attribute on a weight, each made at the first step."""

    def __init__(self) -> None:
        super().__init__()
        self.within, self.average, self.hooked = tiny(), Average(), False

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        weight: Any = self.within.head.weight
        if not self.hooked:
            self.hooked = True
            weight.register_hook(lambda gradient: 2 * gradient)
        weight.seen = getattr(weight, "seen", 0) + 1
        distance = (weight - self.average.follow(weight)).square().sum()
        return {"loss": self.within(x, labels)["loss"] + distance + 1e-3 * weight.seen}


class Average:
    """What is kept in slots."""

    __slots__ = ("mean",)

    def __init__(self) -> None:
        self.mean = torch.zeros(1)

    def follow(self, weight: torch.Tensor) -> torch.Tensor:
        self.mean = 0.9 * self.mean + 0.1 * weight.detach().clone()
        return self.mean


def counting() -> Any:
    """A collator that counts outside of itself, behind many wrappers."""
    calls = 0

    def collate(examples: list[Any]) -> Any:
        nonlocal calls
        calls += 1
        x = torch.stack([one["x"] for one in examples]) + 0.01 * calls
        return {"x": x, "labels": torch.stack([one["labels"] for one in examples])}

    wrapped: Any = collate
    for _ in range(12):
        wrapped = functools.partial(lambda inner, examples: inner(examples), wrapped)
    return wrapped


EVALUATED = {"eval_strategy": "steps", "eval_steps": 4}
MADE: dict[str, Callable[[Path], dict[str, Any]]] = {
    "plain": lambda folder: {},
    "batch statistics": lambda folder: {"model": normed()},
    "frozen weights": lambda folder: {"model": half_frozen()},
    "adapters": lambda folder: {"model": adapted()},
    "generators in the data": lambda folder: {"train_dataset": Noisy()},
    "a collator with state": lambda folder: {"data_collator": Shaken()},
    "a stream that goes on": lambda folder: {"train_dataset": Reader()},
    "a stream of a file": lambda folder: {"train_dataset": Lines(folder / "lines")},
    "a shuffled stream": lambda folder: {"train_dataset": shuffled_stream()},
    "accumulation": lambda folder: {"args": {"gradient_accumulation_steps": 3}},
    "bf16": lambda folder: {"args": {"bf16": True}},
    "an average beside the weights": lambda folder: {"model": Averaged()},
    "a collator that counts outside of itself": lambda folder: {"data_collator": counting()},
    "a large tensor of a module": lambda folder: {"model": Queue()},
    "a Trainer with more than a model": lambda folder: {"class": WithMore, "model": normed()},
    "a collator that closes over a generator": lambda folder: {"data_collator": closing_over_a_generator()},
    "a collator in a partial": lambda folder: {"data_collator": functools.partial(Shaken.__call__, Shaken())},
    "a collator that is a method": lambda folder: {"data_collator": Shaken().__call__},
    "a transform with a generator": lambda folder: {
        "train_dataset": rows_of().with_transform(Jitter()),
        "args": {"remove_unused_columns": False},
    },
    "a stream that closes over a generator": lambda folder: {"train_dataset": generated()},
    "an array in place": lambda folder: {"train_dataset": InPlace()},
    "schedulers in a row": sequential,
    "a model made anew": lambda folder: {"model_init": normed},
    "epochs": lambda folder: {"args": {"max_steps": -1, "num_train_epochs": 2, "data_seed": 7}},
    "theirs": lambda folder: {"args": {"lr_scheduler_type": "cosine", "warmup_steps": 3}},
    "plateau": lambda folder: {
        "args": {"lr_scheduler_type": "reduce_lr_on_plateau", "eval_strategy": "steps", "eval_steps": 4}
    },
}


def made(case: str, folder: Path) -> Any:
    """A Trainer of that kind, the same at each call."""
    folder.mkdir(exist_ok=True)
    given = MADE[case](folder)
    args = arguments(folder, **{"max_steps": 12, "lr_scheduler_type": "wsd", **given.pop("args", {})})
    kind, model = given.pop("class", Trainer), {} if "model_init" in given else {"model": tiny()}
    words = {**model, "train_dataset": data(), "eval_dataset": data()[:8], "callbacks": [Watch()], **given}
    return kind(args=args, **words)


def outcome(trainer: Any) -> tuple[Any, Any, Any]:
    """What a training leaves."""
    trainer.train()
    losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    return weights(trainer), lrs(trainer), losses


def sweep(trainer: Any, snapshot: str = "memory", stop: Callable[[float], bool] | None = None, **words: Any) -> Any:
    kept = Kept(trainer, snapshot)
    try:
        return driven(trainer, kept, Driver(np.geomspace(1e-3, 3e3, 10), 1e-2, stop=stop), **words)
    finally:
        kept.close()


@pytest.mark.parametrize("case", MADE)
def test_a_training_behind_a_sweep_is_the_one_without(case: str, tmp_path: Path) -> None:
    without = outcome(made(case, tmp_path / "without"))
    trainer = made(case, tmp_path / "with")
    first, second = sweep(trainer), sweep(trainer)
    assert len(first.loss) == 10
    assert np.array_equal(first.loss, second.loss, equal_nan=True)  # and one sweep is as the other
    assert first.update_ratio[-1] > 1e3 * first.update_ratio[0]
    assert not trainer.state.log_history
    after = outcome(trainer)
    assert same(without[0], after[0])
    assert without[1:] == after[1:]


class Boom(Exception):
    """What a training step fails with."""


@pytest.mark.parametrize("error", [Boom, KeyboardInterrupt])
@pytest.mark.parametrize("case", ["batch statistics", "adapters", "a stream that goes on"])
def test_so_it_is_when_the_sweep_fails(case: str, error: type[BaseException], tmp_path: Path) -> None:
    without = outcome(made(case, tmp_path / "without"))
    trainer = made(case, tmp_path / "with")

    def fail(loss: float) -> bool:
        if len(seen) == 4:
            raise error
        seen.append(loss)
        return False

    seen: list[float] = []
    with pytest.raises(error):
        sweep(trainer, stop=fail)
    after = outcome(trainer)
    assert same(without[0], after[0])
    assert without[1:] == after[1:]


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("at", [1, 2, 3, 4])  # the schedule in small, the range, the ramp, the first short run
@pytest.mark.parametrize("within", ["_refill", "_set_weight", "set_random_numbers"])
def test_so_it_is_when_an_interrupt_falls_into_the_putting_back(
    within: str, at: int, interrupt: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = outcome(made("batch statistics", tmp_path / "without"))
    trainer = made("batch statistics", tmp_path / "with")
    own, own_restore = getattr(restoring, within), Kept._restore
    restores, calls = [0], [0]

    def counted(kept: Kept) -> Any:
        restores[0] += 1
        return own_restore(kept)

    def interrupted(*given: Any) -> Any:
        if restores[0] == at:
            calls[0] += 1
            if calls[0] == 2 or within == "set_random_numbers":  # in the midst of it
                raise interrupt
        return own(*given)

    with monkeypatch.context() as patched:
        patched.setattr(Kept, "_restore", counted)
        patched.setattr(restoring, within, interrupted)
        with pytest.raises(interrupt):
            find_lr(trainer, start_lr=1e-3, end_lr=1e3, steps=20)
    after = outcome(trainer)
    assert same(without[0], after[0])
    assert without[1:] == after[1:]


def test_on_disk_only_what_is_trained_is_copied_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer, before = made("adapters", tmp_path / "run"), weights(made("adapters", tmp_path / "other"))
    folder = tmp_path / "kept"
    folder.mkdir()
    kept, beside = Kept(trainer, str(folder)), Kept(trainer, str(folder))
    names = list(folder.iterdir())
    assert len(names) == 2  # two runs at a time have two
    trained = sum(weight.numel() for weight in trainer.model.parameters() if weight.requires_grad)
    on_disk = sum(len(part.read_bytes()) for part in names[0].iterdir())
    assert 4 * trained <= on_disk < 4 * trained + 100 * len(list(names[0].iterdir()))
    with torch.no_grad():
        for weight in trainer.model.parameters():
            weight.mul_(2 if weight.requires_grad else 1)
    kept.restore()
    assert same(before, weights(trainer))
    kept.close()
    beside.close()
    assert not list(folder.iterdir())
    with pytest.raises(ValueError, match=r"snapshot='.*no/such' is no folder that can be written to"):
        Kept(trainer, str(tmp_path / "no/such"))


def test_an_optimizer_of_ones_own_goes_on_with_its_state_and_gradients_stay(tmp_path: Path) -> None:
    def given() -> Any:
        model = tiny()
        groups: list[dict[str, Any]] = [{"params": [*model.hidden.parameters()], "lr": 1e-2}]
        optimizer = torch.optim.AdamW([*groups, {"params": [*model.head.parameters()]}])
        for example in data()[:3]:
            model(example["x"][None], example["labels"][None])["loss"].backward()
            optimizer.step()
        args = arguments(tmp_path, max_steps=6, lr_scheduler_type="wsd")
        return Trainer(model=model, args=args, train_dataset=data(), callbacks=[Watch()], optimizers=(optimizer, None))

    without, trainer = outcome(given()), given()
    gradients = [weight.grad.clone() for weight in trainer.model.parameters()]
    trace = sweep(trainer)
    assert trace.lr[0] == pytest.approx(1e-5)
    assert all(torch.equal(a, b.grad) for a, b in zip(gradients, trainer.model.parameters(), strict=True))
    after = outcome(trainer)
    assert same(without[0], after[0])
    assert without[1:] == after[1:]


class Overflowing(nn.Module):
    """Its gradients overflow in the forward passes that are named."""

    def __init__(self, at: set[int]) -> None:
        super().__init__()
        self.within, self.at, self.passes = tiny(), at, 0

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        self.passes += 1
        loss = self.within(x, labels)["loss"]
        return {"loss": loss * float("inf") if self.passes in self.at else loss}


def scaled(folder: Path, at: set[int], optim: str) -> Any:
    args = arguments(folder, max_steps=12, max_grad_norm=0.0, optim=optim)
    trainer = Trainer(model=Overflowing(at), args=args, train_dataset=data())
    trainer.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=3)
    return trainer


@pytest.mark.parametrize("optim", ["adamw_torch", "adamw_torch_fused"])
def test_a_scaler_goes_on_with_its_scale_and_a_skipped_update_is_no_point(optim: str, tmp_path: Path) -> None:
    trainer = scaled(tmp_path, {3, 4}, optim)
    trace = sweep(trainer)
    assert trace.skipped == 2
    assert trace.lr == pytest.approx(np.geomspace(1e-5, 30, 10))
    assert trainer.accelerator.scaler.get_scale() == 2.0**10
    assert trainer.accelerator.scaler._growth_tracker is None or trainer.accelerator.scaler._get_growth_tracker() == 0


def test_a_scaler_that_never_finds_a_scale_ends_the_sweep(tmp_path: Path) -> None:
    trace = sweep(scaled(tmp_path, set(range(1, 100)), "adamw_torch"))
    assert not len(trace.loss)
    assert (trace.skipped, trace.stopped) == (20, True)


def test_so_it_is_where_the_trainer_has_trained_before(tmp_path: Path) -> None:
    def twice(sweeps: bool) -> Any:
        trainer = made("batch statistics", tmp_path / f"{sweeps}")
        trainer.train()
        if sweeps:
            found = find_lr(trainer, start_lr=1e-3, end_lr=1e3, steps=40)
            assert all(len(set(probe.loss.tolist())) > 1 for probe in found.probes)
            assert {round(probe.final, 6) for probe in found.probes} != {round(found.probes[0].final, 6)}
        return outcome(trainer)

    without, after = twice(False), twice(True)
    assert same(without[0], after[0])
    assert without[1:] == after[1:]


def test_an_interrupt_between_unscaling_and_update_leaves_the_scaler_as_it_was(tmp_path: Path) -> None:
    trainer = scaled(tmp_path, set(), "adamw_torch")
    scaler, kept = trainer.accelerator.scaler, Kept(trainer)
    optimizer = trainer.create_optimizer()
    scaler.scale(trainer.model(**{key: value[None] for key, value in data()[0].items()})["loss"]).backward()
    scaler.unscale_(optimizer)
    kept.restore()
    assert not scaler._per_optimizer_states
    assert trainer.optimizer is None


def test_one_part_that_cannot_be_put_back_does_not_keep_the_others_from_it(tmp_path: Path) -> None:
    class Stubborn(dict[str, Any]):
        def clear(self) -> None:
            raise TypeError

        def update(self, *args: Any, **kwargs: Any) -> None:
            raise TypeError

    class Gone:
        def seek(self, position: int) -> None:
            raise OSError("the disk is gone")

    trainer = made("batch statistics", tmp_path)
    trainer.stubborn = stubborn = Stubborn(a=1)
    before, kept = weights(trainer), Kept(trainer)
    kept._files.append((Gone(), 3))
    stubborn["b"] = 2
    with torch.no_grad():
        for weight in trainer.model.parameters():
            weight.zero_()
    torch.rand(3)
    state = random.getstate()
    random.random()
    with pytest.raises(OSError, match="the disk is gone"):
        kept.restore()
    assert same(before, weights(trainer))
    assert dict(stubborn) == {"a": 1}
    assert random.getstate() == state


def test_what_lies_where_nothing_can_be_written_is_left_alone(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((24, 3), dtype=np.float32))
    mapped = torch.from_numpy(np.load(tmp_path / "x.npy", mmap_mode="c"))
    stacked: Any = torch.utils.data.StackDataset
    dataset = stacked(x=mapped, labels=torch.zeros(()).expand(24))
    trainer: Any = Trainer(model=tiny(), args=arguments(tmp_path, max_steps=4), train_dataset=dataset)
    trainer.model.register_buffer("wide", torch.zeros(1).expand(5))
    assert len(sweep(trainer).loss) == 10


@pytest.mark.skipif(sys.platform == "win32", reason="a mapped file is another thing there")
def test_a_mapped_file_with_nan_and_tensors_that_cannot_be_compared_are_no_matter(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([1.0, np.nan], dtype=np.float32))

    class Odd(InPlace):
        def __init__(self) -> None:
            super().__init__()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch: that it cannot be written to
                self.mapped = torch.from_numpy(np.load(tmp_path / "x.npy", mmap_mode="r"))
            self.wide = torch.full((1,), float("nan")).expand(5)
            self.sparse, self.meta = torch.eye(3).to_sparse(), torch.zeros(3, device="meta")
            self.ragged = np.array([np.arange(2), np.arange(3)], dtype=object)
            self.dead, self.log = weakref.proxy(Jitter()), sys.stdout

    trainer: Any = Trainer(model=tiny(), args=arguments(tmp_path, max_steps=4), train_dataset=Odd())
    assert len(sweep(trainer).loss) == 10


def test_threads_queues_and_files_that_are_written_go_on(tmp_path: Path) -> None:
    class Telling(Trainer):
        told: Any
        diary: Any

        def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
            self.told.put(1)
            self.diary.write("line\n")
            return super().compute_loss(*args, **kwargs)

    def work() -> None:
        while told.get() is not None:
            done.append(1)
            told.task_done()

    told, done = queue.Queue[Any](), deque[int]()
    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    trainer: Any = Telling(model=tiny(), args=arguments(tmp_path, max_steps=4), train_dataset=data())
    with (tmp_path / "diary").open("w") as diary:
        trainer.told, trainer.worker, trainer.diary = told, worker, diary
        sweep(trainer)
        trainer.train()
    told.join()
    assert worker.is_alive()
    told.put(None)
    assert (tmp_path / "diary").read_text() == "line\n" * 14


def test_large_data_is_not_looked_through(tmp_path: Path) -> None:
    trainer: Any = Trainer(model=tiny(), args=arguments(tmp_path, max_steps=4), train_dataset=data())
    trainer.cache = [[{"a": 1} for _ in range(900)] for _ in range(900)]
    kept = Kept(trainer)
    assert len(kept._contents) < 60_000
    kept.restore()


def test_a_trainer_that_saves_after_training_writes_nothing(tmp_path: Path) -> None:
    class Saving(Trainer):
        def train(self, *args: Any, **kwargs: Any) -> Any:
            result = super().train(*args, **kwargs)
            self.save_model()
            self.save_state()
            return result

    args = arguments(tmp_path / "run", max_steps=4)
    trainer = Saving(model=tiny(), args=args, train_dataset=data())
    sweep(trainer)
    assert not [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    trainer.train()
    assert (tmp_path / "run/trainer_state.json").exists()


def test_small_updates_are_no_overflow(tmp_path: Path) -> None:
    trainer = scaled(tmp_path, set(), "sgd")
    with torch.no_grad():
        trainer.model.within.hidden.weight.fill_(1.0)
    kept = Kept(trainer)
    trace = driven(trainer, kept, Driver(np.geomspace(1e-12, 1e-10, 5), 1e-2))
    assert (trace.skipped, len(trace.loss)) == (0, 5)


class Once(IterableDataset[Any]):
    """A stream that is gone when it has been read."""

    def __init__(self) -> None:
        self.stream = (example for example in data() * 10)

    def __iter__(self) -> Iterator[Any]:
        return self.stream


def test_what_cannot_be_put_back_is_refused_before_a_step(tmp_path: Path) -> None:
    args = arguments(tmp_path, max_steps=4)
    once = Once()
    with pytest.raises(ValueError, match="train_dataset reads from a generator, which can be read once only"):
        sweep(Trainer(model=tiny(), args=args, train_dataset=once))
    assert next(once.stream)["x"].tolist() == data()[0]["x"].tolist()
    stream = iter([{"x": [0.0] * 3, "labels": 0.0}] * 9)
    closed_over = datasets.IterableDataset.from_generator(lambda: stream)
    with pytest.raises(ValueError, match="train_dataset reads from a list_iterator"):
        sweep(Trainer(model=tiny(), args=args, train_dataset=closed_over))
    (tmp_path / "text").write_text("header\n1\n2\n")
    reader: Any = Lines(tmp_path / "lines")
    reader.text = (tmp_path / "text").open()
    next(reader.text)
    with reader.text, pytest.raises(ValueError, match=r"train_dataset reads a text file by next\(\)"):
        sweep(Trainer(model=tiny(), args=args, train_dataset=reader))
    frozen = tiny()
    frozen.requires_grad_(False)
    with pytest.raises(ValueError, match="no weight of the model is trainable"):
        sweep(Trainer(model=frozen, args=args, train_dataset=data()))

    refused: list[str] = []

    def nested() -> None:
        with pytest.raises(ValueError, match="is training"):
            Kept(trainer)
        refused.append("")

    trainer = Trainer(model=tiny(), args=args, train_dataset=data(), callbacks=[At(2, nested)])
    trainer.train()
    assert refused
    trainer.is_deepspeed_enabled = True
    with pytest.raises(ValueError, match="under DeepSpeed each process holds a part"):
        Kept(trainer)


def test_callbacks_and_trackers_hear_nothing_and_no_file_is_written(tmp_path: Path) -> None:
    trainer = made("plain", tmp_path)
    callbacks = list(trainer.callback_handler.callbacks)
    sweep(trainer)
    assert trainer.callback_handler.callbacks == callbacks
    assert not lrs(trainer)
    assert not os.listdir(tmp_path)


def test_another_seed_is_another_order_of_the_same_data(tmp_path: Path) -> None:
    trainer = made("plain", tmp_path)
    own, other, again = sweep(trainer), sweep(trainer, seed=5), sweep(trainer, seed=5)
    assert not np.array_equal(own.loss, other.loss)
    assert np.array_equal(other.loss, again.loss)
