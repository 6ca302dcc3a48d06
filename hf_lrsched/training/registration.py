"""The catalogue in Transformers' own scheduler factory: ``TrainingArguments(lr_scheduler_type="wsd")``.

One of the files that touch Transformers' internals; of the others, `host` is put around Trainer from here, `trackers` knows
where it reports to, and `lending` lends it to a range test. All of them, and each is pinned by a contract test:

- ``transformers.trainer_utils.SchedulerType``, a ``str`` enum: a member is added for each name (`aenum.extend_enum`), as
  TrainingArguments and `get_scheduler` both call ``SchedulerType(name)``; removing one edits ``_member_map_``,
  ``_value2member_map_`` and ``_member_names_``.
- ``SchedulerType.__reduce_ex__``: our members pickle as their plain name, so that ``training_args.bin`` opens in a process
  without this package. Transformers' own members pickle as ever.
- ``transformers.optimization.TYPE_TO_SCHEDULER_FUNCTION``: maps each member to ``f(optimizer, num_warmup_steps=,
  num_training_steps=, **lr_scheduler_kwargs)``.
- ``transformers.optimization.LayerWiseDummyScheduler``: returns one LR per parameter where its optimizer has one group, which
  torch refuses since 2.10; replaced by a subclass that returns the first.

Importing this module loads neither torch nor transformers: the work is done by import hooks, at once where Transformers is
already imported.
"""

from __future__ import annotations

import logging
import math
import os
import re
import sys
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar, overload

import wrapt

from . import host

if TYPE_CHECKING:
    from ..schedules.catalogue.entry import Builder, Entry
    from ..schedules.lengths import Horizon
    from ..schedules.schedule import Schedule

logger = logging.getLogger(__name__)

F = TypeVar("F", bound="Builder")

# Known without importing Transformers (5.0 to 5.23), so that a taken name is refused where it is typed; one is a member's
# name that is not its value.
_THEIRS = (
    "linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup", "inverse_sqrt",
    "reduce_lr_on_plateau", "reduce_on_plateau", "cosine_with_min_lr", "cosine_warmup_with_min_lr",
    "warmup_stable_decay", "greedy",
)  # fmt: skip

# Each with a name that it has once it has run to its end.
_HOOKED = {
    "transformers.trainer_utils": "SchedulerType",
    "transformers.optimization": "get_scheduler",
    "transformers.trainer": "Trainer",
}
_active = False
_hooks_placed = False
_own: set[str] = set()  # names that users registered
_said: set[tuple[object, ...]] = set()


def register() -> None:
    """Makes the catalogue's names valid in Transformers, now or as soon as it is imported. Twice is the same as once.

    `import hf_lrsched` has called it; only after `unregister` is there a reason to.
    """
    global _active, _hooks_placed
    _active = True
    if not _hooks_placed:
        _hooks_placed = True
        for module in _HOOKED:
            wrapt.register_post_import_hook(_imported, module)
    _sync()


def unregister(name: str | None = None) -> None:
    """Puts Transformers back as it was; with a name, takes back one schedule that `register_schedule` added.

    Raises:
        ValueError: for a name that was not registered by `register_schedule`.
    """
    global _active
    from ..schedules.catalogue.entry import CATALOGUE

    if name is None:
        _active = False
        _remove_members(None)
        return
    if name not in _own:
        raise ValueError(
            f"'{name}' was not registered by register_schedule (registered: {', '.join(sorted(_own)) or 'none'})"
        )
    _own.discard(name)
    del CATALOGUE[name]
    _remove_members({name})


@overload
def register_schedule(name: str, builder: None = None, *, summary: str = "", source: str = "") -> Callable[[F], F]: ...
@overload
def register_schedule(name: str, builder: F, *, summary: str = "", source: str = "") -> F: ...
def register_schedule(name: str, builder: F | None = None, *, summary: str = "", source: str = "") -> F | Callable[[F], F]:
    """Adds a schedule of your own to the catalogue and to Transformers; also a decorator.

    Args:
        name: lower-case letters, digits and underscores; not one that Transformers or the catalogue has.
        builder: ``builder(steps, *, ...) -> Schedule``. `steps` is the run's number of optimizer steps, an `int` that also
            converts lengths (`Horizon`). Its keyword arguments are what ``lr_scheduler_kwargs`` may hold; one called
            ``warmup`` receives TrainingArguments' ``warmup_steps``.
        summary: one line for lists; by default the builder's docstring's first line.
        source: where it comes from.

    >>> from hf_lrsched import build, fall, rise
    >>> @register_schedule("triangle")
    ... def triangle(steps, *, warmup=0.5):
    ...     "Up and down."
    ...     up = steps.steps_of(warmup, "warmup")
    ...     return rise(up) >> fall(steps - up, "linear")
    >>> build("triangle", 100)
    Schedule(warmup 50: 0 -> 1 linear, decay 50: 1 -> 0 linear)
    >>> unregister("triangle")

    Raises:
        ValueError: for a name that is taken or cannot be one.
    """
    if builder is None:
        return lambda decorated: register_schedule(name, decorated, summary=summary, source=source)
    from ..schedules.catalogue.entry import CATALOGUE, Entry, check
    from ..schedules.lengths import UNITS

    if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ValueError(f"{name!r} cannot be a schedule's name: lower-case letters, digits and underscores, a letter first")
    if name in _THEIRS or name in _names_of_transformers():
        raise ValueError(f"'{name}' is a schedule of Transformers, and its names are never taken; choose another")
    if name in CATALOGUE and not (name in _own and _same(CATALOGUE[name].builder, builder)):
        raise ValueError(f"'{name}' is already in the catalogue ({CATALOGUE[name].summary}); choose another name")
    first_line = (builder.__doc__ or "").strip().split("\n")[0]
    entry = Entry(name, check(name, builder), summary or first_line, source, jumps=True)
    converted = sorted(set(entry.arguments) & set(UNITS))
    if converted:
        raise ValueError(
            f"the builder of '{name}' takes {', '.join(converted)}, which never arrives: the steps it gets convert lengths"
        )
    CATALOGUE[name] = entry if "warmup" in entry.arguments else Entry(**{**vars(entry), "warmup": None})
    _own.add(name)
    _sync()
    return builder


def _same(registered: Callable[..., Any], builder: Callable[..., Any]) -> bool:
    """Whether `builder` is what was registered, or its new definition (a notebook cell that ran twice)."""
    old = getattr(registered, "__wrapped__", registered)
    names = [(getattr(one, "__module__", None), getattr(one, "__qualname__", None)) for one in (old, builder)]
    return old is builder or (names[0] == names[1] and names[0][1] is not None)


def _loaded(module: str) -> Any:
    """The host's module, once it has run to its end."""
    loaded = sys.modules.get(module)
    return loaded if hasattr(loaded, _HOOKED[module]) else None


def _imported(module: ModuleType) -> None:
    del module
    _sync()


def _sync() -> None:
    """Brings what is loaded of Transformers in line with the catalogue."""
    trainer_utils = _loaded("transformers.trainer_utils")
    if not _active or trainer_utils is None:
        return
    from ..schedules.catalogue.entry import CATALOGUE

    types = trainer_utils.SchedulerType
    _add_members(types, [entry for entry in CATALOGUE.values() if entry.registered])
    optimization = _loaded("transformers.optimization")
    if optimization is not None:
        for name in _ours(types):
            optimization.TYPE_TO_SCHEDULER_FUNCTION.setdefault(types(name), _builder(name))
        _mend_layer_wise(optimization)
    trainer = _loaded("transformers.trainer")
    if trainer is not None:
        host.mend(trainer)


def _ours(types: Any) -> dict[str, Any]:
    members: dict[str, Any] = types.__dict__.get("_hf_lrsched_members_", {})
    return members


def _names_of_transformers() -> set[str]:
    trainer_utils = _loaded("transformers.trainer_utils")
    if trainer_utils is None:
        return set()
    types = trainer_utils.SchedulerType
    return {*types._value2member_map_, *(member.lower() for member in types._member_map_)} - set(_ours(types))


def _add_members(types: Any, entries: list[Entry]) -> None:
    import aenum

    if "_hf_lrsched_members_" not in types.__dict__:
        type.__setattr__(types, "_hf_lrsched_members_", {})
        type.__setattr__(types, "_hf_lrsched_reduce_", types.__dict__.get("__reduce_ex__"))
        type.__setattr__(types, "__reduce_ex__", _reducer(types.__reduce_ex__))
    for entry in entries:
        if entry.name in _ours(types):
            continue
        if entry.name in types._value2member_map_ or entry.name.upper() in types._member_map_:
            _say_once("Transformers has its own '%s' now; hf_lrsched's is not registered", entry.name)
            continue
        aenum.extend_enum(types, entry.name.upper(), entry.name)
        _ours(types)[entry.name] = types(entry.name)


def _reducer(theirs: Callable[..., Any]) -> Callable[..., Any]:
    def reduce_ex(self: Any, protocol: Any) -> Any:
        if self._value_ in _ours(type(self)):
            return str, (self._value_,)
        return theirs(self, protocol)

    return reduce_ex


def _remove_members(names: set[str] | None) -> None:
    """Takes members out again; all of them, and every other trace, for None."""
    trainer_utils, optimization = _loaded("transformers.trainer_utils"), _loaded("transformers.optimization")
    if trainer_utils is None:
        return
    types = trainer_utils.SchedulerType
    for name in list(_ours(types)) if names is None else names & set(_ours(types)):
        member = _ours(types).pop(name)
        if optimization is not None:
            optimization.TYPE_TO_SCHEDULER_FUNCTION.pop(member, None)
        del types._member_map_[member._name_]
        del types._value2member_map_[member._value_]
        types._member_names_.remove(member._name_)
        type.__delattr__(types, member._name_)
    if names is None and "_hf_lrsched_members_" in types.__dict__:
        _restore(types, "__reduce_ex__", types.__dict__["_hf_lrsched_reduce_"])
        type.__delattr__(types, "_hf_lrsched_members_")
        type.__delattr__(types, "_hf_lrsched_reduce_")
        if optimization is not None:
            mended = optimization.LayerWiseDummyScheduler
            optimization.LayerWiseDummyScheduler = getattr(mended, "mends", mended)
        trainer = _loaded("transformers.trainer")
        if trainer is not None:
            host.unmend(trainer)


def _restore(types: Any, name: str, before: object) -> None:
    if before is None:
        type.__delattr__(types, name)
    else:
        type.__setattr__(types, name, before)


def _mend_layer_wise(optimization: Any) -> None:
    theirs: Any = optimization.LayerWiseDummyScheduler
    if hasattr(theirs, "mends"):
        return

    class LayerWiseDummyScheduler(theirs):  # type: ignore[misc]  # its base is the host's, known only now
        """The host's, with one LR for its one group: the first parameter's. The parameters' own are scheduled by hooks."""

        mends = theirs

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.optimizer._opt_called = True  # nobody steps it, and torch would warn of a wrong order of calls

        def get_lr(self) -> list[float]:
            return list(super().get_lr()[:1])

    optimization.LayerWiseDummyScheduler = LayerWiseDummyScheduler


def _builder(name: str) -> Callable[..., Any]:
    def scheduler_for(
        optimizer: Any, num_warmup_steps: int | None = None, num_training_steps: int | None = None, **kwargs: Any
    ) -> Any:
        return _make(name, optimizer, num_warmup_steps, num_training_steps, kwargs)

    scheduler_for.__name__ = scheduler_for.__qualname__ = f"get_{name}_schedule"
    return scheduler_for


def _make(name: str, optimizer: Any, warmup_steps: int | None, steps: int | None, kwargs: dict[str, Any]) -> Any:
    """What Transformers calls: its arguments turned into a scheduler over `optimizer`."""
    from ..schedules.lengths import Horizon
    from .resume import Resume
    from .scheduler import ScheduleLR

    if steps is None:
        raise ValueError(f"{name} needs num_training_steps, the number of optimizer steps in the run")
    peak = max(float(group.get("initial_lr", group["lr"])) for group in optimizer.param_groups)
    if not math.isfinite(peak):
        raise ValueError(f"learning_rate={peak} must be a finite number")
    run = Horizon(steps, peak=peak if peak > 0 else None)
    resume, kwargs = Resume.of(kwargs, run)
    schedule = planned(name, run, warmup_steps or 0, kwargs)
    if schedule.warmup and not warmup_steps and _warms_up_by_default(name, kwargs):
        _say_once(
            "%s: warm-up of %g steps (%.3g %% of %d), hf_lrsched's default, as warmup_steps was not given; "
            'lr_scheduler_kwargs={"warmup": 0} is none',
            name,
            schedule.warmup,
            100 * schedule.warmup / run,
            int(run),
        )
    return ScheduleLR(optimizer, schedule, resume=resume)


def planned(name: str, run: Horizon, warmup_steps: int, kwargs: dict[str, Any]) -> Schedule:
    """The schedule that Transformers will be given for these arguments of its own.

    Args:
        name: a registered name.
        run: the run's optimizer steps.
        warmup_steps: TrainingArguments' warm-up in steps; 0 where none was given, as the host cannot tell the two apart.
        kwargs: ``lr_scheduler_kwargs``; what they say about resuming is checked and left to the scheduler.

    >>> from hf_lrsched import Horizon
    >>> planned("wsd", Horizon(1000), 50, {"decay": 0.1})
    Schedule(warmup 50: 0 -> 1 linear, stable 850: 1, decay 100: 1 -> 0 1-sqrt)

    Raises:
        ValueError: as `build`, and for a warm-up that is given twice and differs.
    """
    from ..schedules.catalogue.entry import build, find
    from .resume import Resume

    entry = find(name)
    _, kwargs = Resume.of(kwargs, run)
    asked = [word for word, value in kwargs.items() if entry.meaning(word) == entry.warmup and value is not None]
    if warmup_steps and asked:
        _check_same_warmup(run, warmup_steps, asked[0], kwargs)
    elif warmup_steps and entry.warmup is None:
        raise ValueError(f"warmup_steps={warmup_steps}, but '{name}' is told its warm-up by its own arguments; remove it")
    elif warmup_steps:
        kwargs = {**kwargs, str(entry.warmup): warmup_steps}
    return build(name, run, **kwargs)


def _warms_up_by_default(name: str, kwargs: dict[str, Any]) -> bool:
    from ..schedules.catalogue.entry import find

    entry = find(name)
    asked = any(entry.meaning(word) == entry.warmup for word, value in kwargs.items() if value is not None)
    return entry.default_warmup and not asked


def _check_same_warmup(run: Horizon, warmup_steps: int, word: str, kwargs: dict[str, Any]) -> None:
    steps = run.told(kwargs)[0].steps_of(kwargs[word], word)
    if abs(steps - warmup_steps) >= 1.0:  # TrainingArguments rounds a share up to whole steps
        raise ValueError(
            f"the warm-up is given twice: warmup_steps makes {warmup_steps} steps of it, lr_scheduler_kwargs "
            f"({word}={kwargs[word]!r}) {steps:g}; give one of them"
        )


def first_process() -> bool:
    """Whether this is the process that speaks for all, as far as its launcher has told."""
    return os.environ.get("RANK", "0") == "0"


def _say_once(message: str, *args: object) -> None:
    """A warning on the first process, once for each set of values."""
    if (message, *args) not in _said and first_process():
        _said.add((message, *args))
        logger.warning(message, *args)
