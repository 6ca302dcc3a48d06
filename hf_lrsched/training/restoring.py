"""Everything that a training changes, kept and put back: `Kept`.

What it does not know: what is done in between (`sweep`).
"""

from __future__ import annotations

import io
import random
import shutil
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import datasets
import numpy as np
import torch
from safetensors.torch import load_file, save_file

from . import host

_LONG = 1000  # items of a container that is data, not state: it is put back, but not looked into
_SMALL = 2**16  # elements of a tensor that is state, such as an epoch in shared memory, and not data
_DEEP = 6  # wrappers around wrappers of a data set that are looked into
_GENERATORS = (torch.Generator, random.Random, np.random.Generator, np.random.RandomState)
_CONTAINERS = (dict, list, set, deque)
_FUNCTIONS = (ModuleType, type, FunctionType, BuiltinFunctionType, MethodType)
_NO_PARTS = (*_FUNCTIONS, torch.nn.Module, torch.Tensor, datasets.Dataset)  # what data may hold and reading never changes


class Kept:
    """A Trainer as it is now; `restore` puts all of it back, as often as it is called, and `close` forgets it.

    Kept are: trainable weights, buffers, gradients, the attributes and hooks of every module; optimizer, scheduler and
    scaler; the random numbers of Python, NumPy, torch and every device, and every generator that the data set or the
    collator holds; the position in the data; the Trainer's own attributes, arguments, state, control and callbacks; what
    accelerate has noted. Frozen weights are not copied, as no update reaches them.

    Args:
        trainer: not in training.
        snapshot: where tensors are copied to: ``"memory"`` (the host's), ``"disk"`` (the temporary folder), or a folder.

    Raises:
        ValueError: for a Trainer that is training, a model of which each process holds a part, or data that can be read
            once only.
    """

    def __init__(self, trainer: Any, snapshot: str | Path = "memory") -> None:
        if reason := host.why_not_put_back(trainer):
            raise ValueError(reason)
        self._tensors = _Tensors(snapshot)
        self._seen: set[int] = set()
        self._contents: list[tuple[Any, Any]] = []
        self._generators: list[tuple[Any, Any]] = []
        self._files: list[tuple[Any, int]] = []
        self._weights: list[tuple[torch.Tensor, bool, torch.Tensor | None]] = []
        try:
            self._keep(trainer)
            self._tensors.seal()
        except BaseException:
            self.close()
            raise

    def _keep(self, trainer: Any) -> None:
        self._scaler = getattr(trainer.accelerator, "scaler", None)
        self._scale = None if self._scaler is None else self._scaler.state_dict()
        self._random = _random_numbers()
        for part in _parts((trainer.train_dataset, trainer.data_collator)):
            if isinstance(part, io.IOBase):
                self._files.append((part, part.tell()))
            else:
                self._note(part if isinstance(part, _GENERATORS) else vars(part), 1)
        for model in (trainer.model, trainer.model_wrapped):
            if model is not None and id(model) not in self._seen:
                self._keep_model(model)
        if trainer.optimizer is not None:
            self._keep_optimizer(trainer.optimizer)
        if trainer.lr_scheduler is not None:
            self._note(vars(trainer.lr_scheduler), 2)
        for attributes in host.belongings(trainer):
            self._note(attributes, 4)

    def _keep_model(self, model: torch.nn.Module) -> None:
        self._seen.add(id(model))
        for module in model.modules():
            self._note(vars(module), 2)
        for weight in model.parameters():
            self._weights.append((weight, weight.requires_grad, weight.grad))
            self._tensors.keep(*([weight] if weight.requires_grad else []), *([] if weight.grad is None else [weight.grad]))
        self._tensors.keep(*model.buffers())

    def _keep_optimizer(self, optimizer: Any) -> None:
        self._note(vars(optimizer), 2)
        optimizer = getattr(optimizer, "optimizer", optimizer)  # inside accelerate's wrapper
        self._note(vars(optimizer), 3)
        for state in optimizer.state.values():
            self._note(state, 1)
            self._tensors.keep(*(value for value in state.values() if isinstance(value, torch.Tensor)))

    def _note(self, one: Any, deep: int) -> None:
        """Keeps what a container holds, and containers, generators and small tensors in it, so many levels down."""
        if id(one) in self._seen:
            return
        if isinstance(one, torch.Tensor):
            if not one.requires_grad and one.numel() <= _SMALL:
                self._tensors.keep(one)
        elif isinstance(one, _GENERATORS):
            self._seen.add(id(one))
            self._generators.append((one, _state_of(one)))
        elif isinstance(one, _CONTAINERS):
            self._seen.add(id(one))
            self._contents.append((one, dict(one) if isinstance(one, dict) else list(one)))
            if deep and len(one) <= _LONG:
                for value in list(one.values() if isinstance(one, dict) else one):
                    self._note(value, deep - 1)

    def restore(self) -> None:
        """Puts everything back."""
        for container, content in self._contents:
            _refill(container, content)
        for weight, trained, gradient in self._weights:
            weight.requires_grad_(trained)
            weight.grad = gradient
        self._tensors.restore()
        if self._scaler is not None:
            self._scaler.load_state_dict(self._scale)
        for file, position in self._files:
            file.seek(position)
        for generator, state in self._generators:
            _set_state(generator, state)
        _set_random_numbers(self._random)

    def close(self) -> None:
        """Forgets what was kept, and removes it from the disk."""
        self._tensors.close()


class _Tensors:
    """Copies of tensors, in the host's memory or in a file that no other run can have."""

    def __init__(self, snapshot: str | Path) -> None:
        self._kept: dict[int, torch.Tensor] = {}
        self._copies: dict[int, torch.Tensor] = {}
        self._folder: Path | None = None
        if snapshot != "memory":
            where = None if snapshot == "disk" else str(snapshot)
            try:
                self._folder = Path(tempfile.mkdtemp(prefix="hf_lrsched-find_lr-", dir=where))
            except OSError as error:
                raise ValueError(
                    f"snapshot={str(snapshot)!r}: no folder can be made there ({error.strerror}); give 'memory', 'disk' or a "
                    "folder that can be written to"
                ) from error

    def keep(self, *tensors: torch.Tensor) -> None:
        self._kept.update((id(tensor), tensor) for tensor in tensors)

    def seal(self) -> None:
        """Copies all that was named, one after the other."""
        for key, tensor in self._kept.items():
            if self._folder is None:
                self._copies[key] = tensor.detach().to("cpu", copy=True)
            else:
                save_file({"tensor": tensor.detach().cpu().contiguous()}, self._folder / str(key))

    @torch.no_grad()
    def restore(self) -> None:
        for key, tensor in self._kept.items():
            tensor.copy_(self._copies[key] if self._folder is None else load_file(self._folder / str(key))["tensor"])

    def close(self) -> None:
        self._kept, self._copies = {}, {}
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def _parts(one: Any, deep: int = _DEEP, seen: set[int] | None = None) -> Iterator[Any]:
    """The objects that data are made of: `one`, and what is wrapped in it, with the generators and files they hold.

    Raises:
        ValueError: for an iterator that cannot begin again.
    """
    seen = set() if seen is None else seen
    passed = (
        ModuleType,
        type,
        FunctionType,
        BuiltinFunctionType,
        MethodType,
        torch.nn.Module,
        torch.Tensor,
        datasets.Dataset,
    )
    if id(one) in seen or isinstance(one, passed) or deep < 0:
        return
    seen.add(id(one))
    if isinstance(one, Iterator) and not hasattr(one, "__dict__") and not isinstance(one, io.IOBase):
        raise ValueError(
            f"train_dataset reads from a {type(one).__name__}, which can be read once only, so the training would begin "
            "behind what the test has read; give a data set whose __iter__ begins anew, such as "
            "IterableDataset.from_generator(function)"
        )
    within: Iterable[Any] = ()
    if isinstance(one, io.IOBase):
        if one.seekable():
            yield one
    elif isinstance(one, _GENERATORS):
        yield one
    elif isinstance(one, dict | list | tuple | set):
        within = (one.values() if isinstance(one, dict) else one) if len(one) <= _LONG else ()
    elif hasattr(one, "__dict__"):
        yield one
        within = list(vars(one).values())
    for value in within:
        if not isinstance(value, str | bytes | int | float | np.ndarray | None):
            yield from _parts(value, deep - 1, seen)


def _refill(container: Any, content: Any) -> None:
    container.clear()
    container.extend(content) if isinstance(container, list | deque) else container.update(content)


def _state_of(generator: Any) -> Any:
    if isinstance(generator, np.random.Generator):
        return generator.bit_generator.state
    return generator.getstate() if isinstance(generator, random.Random) else generator.get_state()


def _set_state(generator: Any, state: Any) -> None:
    if isinstance(generator, np.random.Generator):
        generator.bit_generator.state = state
    else:
        (generator.setstate if isinstance(generator, random.Random) else generator.set_state)(state)


def _random_numbers() -> dict[str, Any]:
    """The state of everybody's random numbers."""
    device = _device_module()
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(),  # the one that Trainer and data sets draw from
        "torch": torch.get_rng_state(),
        "devices": None if device is None else device.get_rng_state_all(),
    }


def _set_random_numbers(state: dict[str, Any]) -> None:
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])  # as above
    torch.set_rng_state(state["torch"])
    if state["devices"] is not None:
        _device_module().set_rng_state_all(state["devices"])


def _device_module() -> Any:
    """``torch.cuda`` or its like, where there is such a device with random numbers of its own."""
    if not torch.accelerator.is_available():
        return None
    module = torch.get_device_module(torch.accelerator.current_accelerator())
    return module if hasattr(module, "get_rng_state_all") else None
