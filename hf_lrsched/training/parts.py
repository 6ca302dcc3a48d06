"""What a training draws from beside its weights: the objects within data sets, collators and trainers, and random numbers.

What it does not know: when they are kept and put back (`restoring`).
"""

from __future__ import annotations

import concurrent.futures
import functools
import io
import itertools
import logging
import multiprocessing.process
import multiprocessing.queues
import queue
import random
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from types import BuiltinFunctionType, CellType, FunctionType, MethodType, ModuleType
from typing import Any

import datasets
import numpy as np
import torch
from torch.utils.data.dataloader import _BaseDataLoaderIter

GENERATORS = (torch.Generator, random.Random, np.random.Generator, np.random.RandomState)
LONG = 1000  # items of a container that is data, not state: it is not looked into
_MOST = 20_000  # objects that are looked at in all; what holds more is data
_PLAIN = (str, bytes, int, float, complex, type(None), type, ModuleType, BuiltinFunctionType, torch.device, torch.dtype)
# What other threads and processes live by: putting it back under them would break them.
_ALIVE = (
    logging.Logger, logging.Handler, threading.Thread, threading.Condition, threading.Event, threading.Semaphore, queue.Queue,
    multiprocessing.queues.Queue, multiprocessing.process.BaseProcess, concurrent.futures.Executor, socket.socket,
    subprocess.Popen, _BaseDataLoaderIter,
)  # fmt: skip


def parts(one: Any, *, seen: set[int] | None = None, once: str = "") -> Iterator[Any]:
    """The objects that `one` is made of: itself, what it holds, wraps, is bound to or closes over, as far as they have state.

    The nearest come first. Generators of random numbers, files that are read, arrays, tensors, modules and the cells of
    closures are given as well; modules, arrays and tensors are not looked into, nor threads, queues, loggers and their like.

    Args:
        one: a data set, a collator, a loader, a function, an object of the user's.
        seen: ids of objects that are not looked into; those that are, are added.
        once: where given, the name of what must not be read once only.

    Raises:
        ValueError: for an iterator that cannot begin again, or a file whose position cannot be told, where `once` is given.
    """
    known: set[int] = set() if seen is None else seen
    waiting, looked_at = deque([one]), 0
    while waiting and looked_at < _MOST:
        now = waiting.popleft()
        if id(now) in known:
            continue
        known.add(id(now))
        looked_at += 1
        try:
            if isinstance(now, (*_PLAIN, *_ALIVE)):
                continue
            given, within = _looked_into(now)
        except Exception:  # a dead reference, a property that raises: nothing can be asked of it
            continue
        if once and not given and not within:
            _check_twice(now, once)
        if given:
            yield now
        waiting.extend(within)


def _looked_into(one: Any) -> tuple[bool, list[Any]]:
    """Whether `one` has state of its own to keep, and what it holds."""
    if isinstance(one, (*GENERATORS, np.ndarray, torch.Tensor, torch.nn.Module)):
        return True, []
    if isinstance(one, io.IOBase):
        return position_of(one) is not None, []
    if isinstance(one, CellType):
        return True, [one.cell_contents] if _is_filled(one) else []
    if isinstance(one, FunctionType | MethodType | functools.partial | datasets.Dataset):
        return isinstance(one, FunctionType), list(_within(one))
    slots = [getattr(one, name) for name in slots_of(one) if hasattr(one, name)]
    return hasattr(one, "__dict__") or bool(slots), [*_within(one), *slots]


def _within(one: Any) -> Iterable[Any]:
    """What `one` holds."""
    if isinstance(one, dict):
        return list(one.values()) if len(one) <= LONG else ()
    if isinstance(one, list | tuple | set | frozenset | deque):
        return list(one) if len(one) <= LONG else ()
    if isinstance(one, MethodType):
        return (one.__self__, one.__func__)
    if isinstance(one, FunctionType):
        held = [*(one.__defaults__ or ()), *(one.__kwdefaults__ or {}).values(), *vars(one).values()]
        return [*(one.__closure__ or ()), *held]
    if isinstance(one, functools.partial):
        return (one.func, one.args, one.keywords)
    if isinstance(one, datasets.Dataset):  # tables that nothing changes, and the function of `with_transform`
        return (getattr(one, "_format_kwargs", None),)
    return list(vars(one).values()) if hasattr(one, "__dict__") else ()


def slots_of(one: Any) -> list[str]:
    """The names that the classes of `one` keep in slots."""
    named = [kind.__dict__.get("__slots__", ()) for kind in type(one).__mro__ if kind.__module__ != "builtins"]
    names = [name for slots in named for name in ([slots] if isinstance(slots, str) else slots)]
    return [name for name in names if name not in ("__dict__", "__weakref__") and not name.startswith("__")]


def position_of(file: io.IOBase) -> int | None:
    """Where a file is read; None for one that is written, has no position, or cannot tell it."""
    if file in (sys.stdin, sys.stdout, sys.stderr) or file.closed or not file.seekable() or not file.readable():
        return None
    if file.writable():
        return None
    try:
        return file.tell()
    except (OSError, ValueError):  # a text file within `for` or `next`
        return None


def _check_twice(one: Any, name: str) -> None:
    if isinstance(one, io.IOBase) and (one.closed or not one.readable() or one.writable() or one is sys.stdin):
        return  # a file that is written, not read
    if isinstance(one, io.TextIOBase):
        raise ValueError(
            f"{name} reads a text file by next() or in a for, which cannot be put back; read it by readline(), or open it in "
            "__iter__"
        )
    if isinstance(one, Iterator) and not isinstance(one, itertools.repeat) and getattr(one, "gi_frame", one) is not None:
        raise ValueError(
            f"{name} reads from a {type(one).__name__}, which can be read once only, so the training would begin behind "
            "what the test has read; give a data set whose __iter__ begins anew, such as "
            "IterableDataset.from_generator(function)"
        )


def _is_filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018  # asking is what fails
    except ValueError:
        return False
    return True


def state_of(generator: Any) -> Any:
    """The state of a generator of any of the four kinds."""
    if isinstance(generator, np.random.Generator):
        return generator.bit_generator.state
    return generator.getstate() if isinstance(generator, random.Random) else generator.get_state()


def set_state(generator: Any, state: Any) -> None:
    """Puts a generator where `state_of` found it."""
    if isinstance(generator, np.random.Generator):
        generator.bit_generator.state = state
    else:
        (generator.setstate if isinstance(generator, random.Random) else generator.set_state)(state)


def random_numbers() -> dict[str, Any]:
    """The state of everybody's random numbers: Python's, NumPy's, torch's and every device's."""
    module, every = _device_module(), None
    if module is not None:
        every = module.get_rng_state_all() if hasattr(module, "get_rng_state_all") else module.get_rng_state()
    return {"python": random.getstate(), "numpy": np.random.get_state(), "torch": torch.get_rng_state(), "device": every}


def set_random_numbers(state: dict[str, Any]) -> None:
    """Puts them where `random_numbers` found them."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    module = _device_module()
    if module is not None and state["device"] is not None:
        (module.set_rng_state_all if hasattr(module, "set_rng_state_all") else module.set_rng_state)(state["device"])


def _device_module() -> Any:
    """``torch.cuda`` or its like, where there is such a device with random numbers of its own."""
    if not torch.accelerator.is_available():
        return None
    module = torch.get_device_module(torch.accelerator.current_accelerator())
    return module if hasattr(module, "get_rng_state") else None
