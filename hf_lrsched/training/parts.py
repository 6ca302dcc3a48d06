"""What a training draws from beside its weights: the objects within data sets, collators and trainers, and random numbers.

What it does not know: when they are kept and put back (`restoring`).
"""

from __future__ import annotations

import functools
import io
import random
from collections.abc import Iterable, Iterator
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import datasets
import numpy as np
import torch

GENERATORS = (torch.Generator, random.Random, np.random.Generator, np.random.RandomState)
LONG = 1000  # items of a container that is data, not state: it is not looked into
_DEEP = 8  # wrappers around wrappers that are looked into
_PLAIN = (str, bytes, int, float, complex, type(None), type, ModuleType, BuiltinFunctionType, torch.device, torch.dtype)


def parts(one: Any, *, without: Iterable[Any] = (), once: str = "") -> Iterator[Any]:
    """The objects that `one` is made of: itself, what it holds, wraps, is bound to or closes over, as far as they have state.

    Generators of random numbers, open files, arrays, tensors and modules are given as well, and not looked into.

    Args:
        one: a data set, a collator, a loader, a function, an object of the user's.
        without: objects that are not looked into.
        once: where given, the name of what must not be read once only.

    Raises:
        ValueError: for an iterator that cannot begin again, where `once` is given.
    """
    yield from _parts(one, _DEEP, {id(other) for other in without}, once)


def _parts(one: Any, deep: int, seen: set[int], once: str) -> Iterator[Any]:
    if isinstance(one, _PLAIN) or id(one) in seen or deep < 0:
        return
    seen.add(id(one))
    if isinstance(one, (*GENERATORS, np.ndarray, torch.Tensor, torch.nn.Module)):
        yield one
        return
    if isinstance(one, io.IOBase):
        if not one.closed and one.seekable():
            yield one
        return
    if isinstance(one, Iterator) and not hasattr(one, "__dict__"):
        if once:
            raise ValueError(
                f"{once} reads from a {type(one).__name__}, which can be read once only, so the training would begin behind "
                "what the test has read; give a data set whose __iter__ begins anew, such as "
                "IterableDataset.from_generator(function)"
            )
        return
    if hasattr(one, "__dict__") and not isinstance(one, FunctionType | MethodType | datasets.Dataset):
        yield one
    for value in _within(one):
        yield from _parts(value, deep - 1, seen, once)


def _within(one: Any) -> Iterable[Any]:
    """What `one` holds."""
    if isinstance(one, dict):
        return list(one.values()) if len(one) <= LONG else ()
    if isinstance(one, list | tuple | set | frozenset):
        return list(one) if len(one) <= LONG else ()
    if isinstance(one, MethodType):
        return (one.__self__, one.__func__)
    if isinstance(one, FunctionType):
        cells = [cell.cell_contents for cell in one.__closure__ or () if _is_filled(cell)]
        return [*cells, *(one.__defaults__ or ()), *(one.__kwdefaults__ or {}).values()]
    if isinstance(one, functools.partial):
        return (one.func, one.args, one.keywords)
    if isinstance(one, datasets.Dataset):  # tables that nothing changes, and the function of `with_transform`
        return (getattr(one, "_format_kwargs", None),)
    return list(vars(one).values()) if hasattr(one, "__dict__") else ()


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
