"""Everything that a training changes, kept and put back: `Kept`.

What it does not know: what is done in between (`driven`), and where state may hide (`parts`).
"""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
from collections import OrderedDict, deque
from collections.abc import Callable
from pathlib import Path
from types import CellType
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from . import lending
from .parts import GENERATORS, LONG, parts, position_of, random_numbers, set_random_numbers, set_state, slots_of, state_of

_ITEMS = 50_000  # of containers beside those of the model; what has more is data, and is not looked into any further
_TRIES = 10  # at putting back, each of which an interrupt may fall into
_OF_MODULES = ("_parameters", "_buffers", "_modules")  # torch's own, kept with the weights
_HOOKS = ("_backward_hooks", "_post_accumulate_grad_hooks")
_SMALL = 2**16  # elements of a tensor or array that is state, such as an epoch in shared memory, and not data


class Kept:
    """A Trainer as it is now; `restore` puts all of it back, as often as it is called, and `close` forgets it.

    Kept are: trainable weights, buffers, gradients, the attributes and hooks of every module, of the Trainer's other modules
    as well; optimizer, scheduler and scaler; the random numbers of Python, NumPy, torch and every device, and every
    generator that data set, collator, sampler or Trainer hold or close over; the position in the data, by the attributes
    and open files of whatever reads them; the Trainer's own attributes, arguments, state, control and callbacks; what
    accelerate has noted. Frozen weights are not copied, as no update reaches them, nor arrays and tensors of more than
    65,536 numbers that are no module's, as those are data; nor threads, queues, loggers and files that are written, which are
    alive; nor iterators such as ``itertools.cycle`` outside the data set, and what only a class closes over.

    Args:
        trainer: not in training.
        snapshot: where tensors are copied to: ``"memory"`` (the host's), ``"disk"`` (the temporary folder), or a folder.

    Raises:
        ValueError: for a Trainer that is training, a model of which each process holds a part, a model without anything to
            train, or data that can be read once only.
    """

    def __init__(self, trainer: Any, snapshot: str | Path = "memory") -> None:
        if reason := lending.why_not_put_back(trainer):
            raise ValueError(reason)
        self._tensors = _Tensors(snapshot)
        self._seen: set[int] = set()
        self._walked: set[int] = set()
        self._items = sys.maxsize
        self._attributes: list[tuple[Any, str, Any]] = []
        self._contents: list[tuple[Any, Any]] = []
        self._generators: list[tuple[Any, Any]] = []
        self._arrays: list[tuple[Any, Any]] = []
        self._files: list[tuple[Any, int]] = []
        self._weights: list[tuple[torch.Tensor, bool, torch.Tensor | None, tuple[str, ...]]] = []
        try:
            self._keep(trainer)
            self._tensors.seal()
        except BaseException:
            self.close()
            raise

    def _keep(self, trainer: Any) -> None:
        self._random = random_numbers()
        model, optimizer = trainer.model, getattr(trainer.optimizer, "optimizer", trainer.optimizer)
        for one in (model, trainer.model_wrapped):
            if one is not None:
                self._keep_module(one)
        if optimizer is not None:
            self._keep_optimizer(optimizer)
            self._note(vars(trainer.optimizer), 2)  # accelerate's wrapper
        self._keep_scheduler(trainer.lr_scheduler)
        if (scaler := getattr(trainer.accelerator, "scaler", None)) is not None:
            self._note(vars(scaler), 4)
        self._items = _ITEMS
        known = (trainer, *lending.machinery(trainer), trainer.lr_scheduler, trainer.optimizer, optimizer)
        self._walked |= {id(one) for one in known}
        for one in (trainer.train_dataset, trainer.eval_dataset):
            self._note(one, 0)  # a list of examples is data: its order is kept, and no more
        self._keep_parts(trainer.train_dataset, once="train_dataset")
        for attributes in lending.belongings(trainer):
            self._note(attributes, 4)
        for value in list(vars(trainer).values()):
            self._keep_parts(value)

    def _keep_parts(self, one: Any, once: str = "") -> None:
        for part in parts(one, seen=self._walked, once=once):
            if isinstance(part, torch.nn.Module):
                self._keep_module(part)
            elif isinstance(part, io.IOBase):
                if (position := position_of(part)) is not None:
                    self._files.append((part, position))
            elif isinstance(part, CellType):
                self._attributes += _held(part, ["cell_contents"])
            elif isinstance(part, (*GENERATORS, torch.Tensor, np.ndarray)):
                self._note(part, 0)
            else:
                self._note(getattr(part, "__dict__", None), 1)
                self._attributes += _held(part, slots_of(part))

    def _keep_module(self, model: torch.nn.Module) -> None:
        for module in model.modules():
            if id(module) in self._seen:
                continue
            self._seen.add(id(module))
            self._walked.add(id(module))
            self._note(vars(module), 2)
            own = {name: value for name, value in vars(module).items() if name not in _OF_MODULES}
            self._tensors.keep(*(value for value in own.values() if isinstance(value, torch.Tensor)))
            for value in own.values():
                self._keep_parts(value)
        self._keep_weights(model.parameters())
        self._tensors.keep(*model.buffers())

    def _keep_weights(self, weights: Any) -> None:
        for weight in weights:
            if id(weight) in self._seen:
                continue
            self._seen.add(id(weight))
            self._note(vars(weight), 1)
            for hooks in _HOOKS:
                self._note(getattr(weight, hooks, None), 0)
            unhooked = tuple(hooks for hooks in _HOOKS if getattr(weight, hooks, None) is None)
            self._weights.append((weight, weight.requires_grad, weight.grad, unhooked))
            self._tensors.keep(*([weight] if weight.requires_grad else []), *([] if weight.grad is None else [weight.grad]))

    def _keep_optimizer(self, optimizer: Any) -> None:
        self._note(vars(optimizer), 3)
        for group in optimizer.param_groups:
            self._keep_weights(group["params"])
        for state in optimizer.state.values():
            self._note(state, 1)
            self._tensors.keep(*(value for value in state.values() if isinstance(value, torch.Tensor)))

    def _keep_scheduler(self, scheduler: Any) -> None:
        if scheduler is None:
            return
        self._note(vars(scheduler), 2)
        for nested in getattr(scheduler, "_schedulers", ()):  # SequentialLR, ChainedScheduler
            self._keep_scheduler(nested)

    def _note(self, one: Any, deep: int) -> None:
        """Keeps what a container holds, and containers, generators and small tensors in it, so many levels down."""
        kind = type(one)  # and not what it says of itself: a dead reference says nothing
        if issubclass(kind, torch.Tensor):
            if not isinstance(one, torch.nn.Parameter) and one.numel() <= _SMALL:
                self._tensors.keep(one)
            return
        if not issubclass(kind, (dict, list, set, deque, np.ndarray, *GENERATORS)) or id(one) in self._seen:
            return
        self._seen.add(id(one))
        if isinstance(one, GENERATORS):
            self._generators.append((one, state_of(one)))
        elif isinstance(one, np.ndarray):
            numbers = one.ndim == 1 and one.dtype.kind in "iu"  # an order of examples, which may be long
            if one.flags.writeable and not one.dtype.hasobject and (one.size <= _SMALL or numbers):
                self._arrays.append((one, one.copy()))
        else:
            self._contents.append((one, dict(one) if isinstance(one, dict) else list(one)))
            self._items -= len(one) if len(one) <= LONG else 0
            if deep and len(one) <= LONG and self._items > 0:
                for value in list(one.values() if isinstance(one, dict) else one):
                    self._note(value, deep - 1)

    def restore(self) -> None:
        """Puts everything back; a Ctrl-C that falls into it is heard when that is done.

        Raises:
            Exception: the first error of a part that could not be put back, when all others have been.
        """
        interrupt: BaseException | None = None
        for _ in range(_TRIES):
            try:
                error = self._restore()
                break
            except BaseException as heard:
                interrupt = heard
        else:
            error = None
        if interrupt is not None or error is not None:
            raise interrupt or error  # type: ignore[misc]  # one of them is there

    def _restore(self) -> Exception | None:
        steps: list[tuple[Callable[..., Any], Any]] = [
            *((_set_weight, one) for one in self._weights),
            *((self._tensors.put, one) for one in self._tensors.kept()),
            *((_refill, one) for one in self._contents),
            *((setattr, one) for one in self._attributes),
            *((_set_array, one) for one in self._arrays),
            *((_seek, one) for one in self._files),
            *((set_state, one) for one in self._generators),
            (set_random_numbers, (self._random,)),
        ]
        failed: list[tuple[Callable[..., Any], Any]] = []
        for put, one in steps:
            try:
                put(*one)
            except Exception:  # whatever it was, the rest is still to be put back
                failed.append((put, one))
        error = None
        for put, one in failed:  # once more: it may have been a signal's
            try:
                put(*one)
            except Exception as again:
                error = error or again
        return error

    def close(self) -> None:
        """Forgets what was kept, and removes it from the disk."""
        self._tensors.close()


class _Tensors:
    """Copies of tensors, in the host's memory or in files that no other run can have."""

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
                    f"snapshot={str(snapshot)!r} is no folder that can be written to ({error.strerror}); give 'memory', "
                    "'disk' or one that is"
                ) from error

    def keep(self, *tensors: torch.Tensor) -> None:
        self._kept.update((id(tensor), tensor) for tensor in tensors if _is_plain(tensor))

    def kept(self) -> list[tuple[int, torch.Tensor]]:
        return list(self._kept.items())

    def seal(self) -> None:
        """Copies all that was named, one after the other."""
        for key, tensor in self._kept.items():
            if self._folder is None:
                self._copies[key] = tensor.detach().to("cpu", copy=True)
            else:
                save_file({"tensor": tensor.detach().cpu().contiguous()}, self._folder / str(key))

    @torch.no_grad()
    def put(self, key: int, tensor: torch.Tensor) -> None:
        copy = self._copies[key] if self._folder is None else load_file(self._folder / str(key))["tensor"]
        # What has not changed may lie where nothing can be written: a mapped file, an expanded tensor.
        if isinstance(tensor, torch.nn.Parameter) or not _same(tensor.detach().cpu(), copy):
            tensor.copy_(copy)

    def close(self) -> None:
        self._kept, self._copies = {}, {}
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def _is_plain(tensor: torch.Tensor) -> bool:
    return tensor.layout == torch.strided and not tensor.is_meta and not tensor.is_nested


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Equal, NaN and all."""
    if torch.equal(one, other):
        return True
    return one.is_floating_point() and bool(((one == other) | ((one != one) & (other != other))).all())


def _held(one: Any, names: list[str]) -> list[tuple[Any, str, Any]]:
    """What an object without a dict keeps under these names."""
    return [(one, name, getattr(one, name)) for name in names if hasattr(one, name)]


def _set_weight(weight: torch.Tensor, trained: bool, gradient: torch.Tensor | None, unhooked: tuple[str, ...]) -> None:
    weight.requires_grad_(trained)
    weight.grad = gradient
    for hooks in unhooked:
        if getattr(weight, hooks, None):
            getattr(weight, hooks).clear()


def _seek(file: Any, position: int) -> None:
    file.seek(position)


def _set_array(array: Any, content: Any) -> None:
    if not np.array_equal(array, content, equal_nan=array.dtype.kind in "fc"):
        array[...] = content


def _refill(container: Any, content: Any) -> None:
    """Gives a container what it held, past any method that its class has of its own."""
    if isinstance(container, dict):
        kind: Any = OrderedDict if isinstance(container, OrderedDict) else dict
        if list(container) == list(content) and all(container[key] is content[key] for key in content):
            return
        kind.update(container, content)  # first, so that no attribute is ever missing
        for key in [key for key in container if key not in content]:
            kind.__delitem__(container, key)
        if list(container) != list(content):
            for key, value in content.items():
                kind.__delitem__(container, key)
                kind.__setitem__(container, key, value)
    elif isinstance(container, list):
        list.__setitem__(container, slice(None), content)
    elif isinstance(container, set):
        if container != set(content):  # one that is the same keeps its order, too
            set.clear(container)
            set.update(container, content)
    else:
        deque.clear(container)
        deque.extend(container, content)
