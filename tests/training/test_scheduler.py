"""`ScheduleLR` over torch's optimizers, alone and in an Accelerate loop."""

from __future__ import annotations

import copy
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import NoneType
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adagrad, AdamW, Optimizer, RMSprop
from torch.optim.lr_scheduler import ChainedScheduler, ConstantLR, LambdaLR, LRScheduler, SequentialLR

from hf_lrsched import (
    CATALOGUE,
    Horizon,
    Schedule,
    ScheduleLR,
    build,
    fall,
    hold,
    one_cycle,
    rise,
    to_spec,
    warmup_cosine,
    wsd,
)
from hf_lrsched.training.resume import Cooldown, Resume

STEPS = 40
PEAKS = (1e-3, 3e-5, 2.0)

ARGUMENTS: dict[str, Any] = {"phases": {"phases": [{"from": 0, "to": 1, "length": 4}, {"to": 0}]}}
SCHEDULES = {name: build(name, STEPS, **ARGUMENTS.get(name, {})) for name in CATALOGUE}
FLOORED = {
    name: build(name, Horizon(STEPS, peak=1e-3), min_lr=1e-5, **ARGUMENTS.get(name, {}))
    for name, entry in CATALOGUE.items()
    if "min_lr" in entry.arguments
}
RESUMED = {
    "wsd": wsd(STEPS),
    "one_cycle": one_cycle(STEPS),
    "warm_restarts": build("warm_restarts", STEPS, cycles=3, rewarm=True, warmup=2),
    "warmup_cosine over a floor": warmup_cosine(STEPS, warmup=4, min_lr=1e-5),
    "one_cycle over a floor": one_cycle(STEPS, min_lr=1e-5),
    "step_decay": build("step_decay", STEPS),
}


def parameter() -> nn.Parameter:
    return nn.Parameter(torch.ones(2))


def adamw(*peaks: float | torch.Tensor) -> AdamW:
    return AdamW([{"params": [parameter()], "lr": peak} for peak in peaks])


def update(optimizer: Optimizer, scheduler: LRScheduler) -> None:
    for group in optimizer.param_groups:
        for weight in group["params"]:
            weight.grad = torch.ones_like(weight)
    optimizer.step()
    scheduler.step()


def lrs(optimizer: Optimizer) -> list[float]:
    return [float(group["lr"]) for group in optimizer.param_groups]


def applied(optimizer: Optimizer, scheduler: LRScheduler, steps: int) -> list[tuple[list[float], list[Any]]]:
    """LRs and momenta that each of the next `steps` updates runs under."""
    seen = []
    for _ in range(steps):
        seen.append((lrs(optimizer), [group.get("betas", group.get("momentum")) for group in optimizer.param_groups]))
        update(optimizer, scheduler)
    return seen


def saved_and_loaded(state: dict[str, Any], folder: Path) -> dict[str, Any]:
    torch.save(state, folder / "scheduler.pt")
    loaded: dict[str, Any] = torch.load(folder / "scheduler.pt", weights_only=True)
    return loaded


# Learning rates


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_group_has_its_peak_times_the_schedule_at_every_step_and_past_the_end(name: str) -> None:
    optimizer, schedule = adamw(*PEAKS), SCHEDULES[name]
    scheduler = ScheduleLR(optimizer, schedule)
    seen = [rates for rates, _ in applied(optimizer, scheduler, STEPS + 10)]
    assert seen == [[peak * schedule(step) for peak in PEAKS] for step in range(STEPS + 10)]


@pytest.mark.parametrize("name", SCHEDULES)
def test_ratios_between_groups_survive(name: str) -> None:
    optimizer = adamw(*PEAKS)
    seen = [rates for rates, _ in applied(optimizer, ScheduleLR(optimizer, SCHEDULES[name]), STEPS + 1)]
    moving = [rates for rates in seen if rates[0] > 0]
    assert moving
    for rates in moving:
        assert [rate / rates[0] for rate in rates] == pytest.approx([peak / PEAKS[0] for peak in PEAKS], rel=1e-15)


@pytest.mark.parametrize("min_lr", [None, 1e-6])
@pytest.mark.parametrize("groups", [1, 50])
def test_one_evaluation_a_step_however_many_groups(
    groups: int, min_lr: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    optimizer, schedule = adamw(*[1e-3] * groups), one_cycle(STEPS, min_lr=min_lr)
    scheduler = ScheduleLR(optimizer, schedule)
    evaluated: Counter[int] = Counter()

    def counting(method: Callable[[Schedule, float], Any]) -> Callable[[Schedule, float], Any]:
        def counted(self: Schedule, step: float) -> Any:
            evaluated[id(self)] += 1
            return method(self, step)

        return counted

    for method in ("__call__", "split"):
        monkeypatch.setattr(Schedule, method, counting(getattr(Schedule, method)))
    for _ in range(10):
        update(optimizer, scheduler)
    assert evaluated == {id(schedule): 10, id(schedule.momentum): 10}


def test_last_epoch_is_the_last_step_already_taken() -> None:
    optimizer = adamw(1e-3)
    optimizer.param_groups[0]["initial_lr"] = 1e-3
    ScheduleLR(optimizer, wsd(STEPS), last_epoch=35)
    assert lrs(optimizer) == [1e-3 * wsd(STEPS)(36)]


def test_torchs_deprecated_step_with_an_epoch_goes_there() -> None:
    optimizer, schedule = SGD([parameter()], lr=1e-3, momentum=0.5), one_cycle(STEPS)
    scheduler = ScheduleLR(optimizer, schedule)
    optimizer.step()
    with pytest.warns(UserWarning, match="epoch parameter in `scheduler.step"):
        scheduler.step(7)
    assert schedule.momentum is not None
    assert optimizer.param_groups[0]["lr"] == 1e-3 * schedule(7)
    assert optimizer.param_groups[0]["momentum"] == schedule.momentum(7)


def test_what_it_says_it_applied_is_what_the_optimizer_has() -> None:
    optimizer = adamw(*PEAKS)
    scheduler = ScheduleLR(optimizer, wsd(STEPS))
    for _ in range(STEPS):
        update(optimizer, scheduler)
        assert scheduler.get_last_lr() == lrs(optimizer) == scheduler.get_lr()


def test_an_integer_lr_is_a_peak_like_any_other() -> None:
    optimizer = SGD([parameter()], lr=1)
    seen = [rates for rates, _ in applied(optimizer, ScheduleLR(optimizer, wsd(10, warmup=2)), 12)]
    assert seen == [[wsd(10, warmup=2)(step)] for step in range(12)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("optimizer_class", [AdamW, SGD])
def test_a_tensor_lr_is_filled_in_place(optimizer_class: Callable[..., Optimizer], dtype: torch.dtype) -> None:
    peak = torch.tensor(1e-3, dtype=dtype)
    optimizer = optimizer_class([parameter()], lr=peak)
    base = peak.item()
    scheduler = ScheduleLR(optimizer, wsd(10, warmup=2))
    for step in range(15):
        assert optimizer.param_groups[0]["lr"] is peak
        assert peak.item() == torch.tensor(base * wsd(10, warmup=2)(step), dtype=dtype).item()
        assert scheduler.get_last_lr() == [peak.item()]
        update(optimizer, scheduler)


def test_groups_with_a_tensor_lr_and_groups_without_go_together() -> None:
    first, last = torch.tensor(1e-3, dtype=torch.float64), torch.tensor(3e-4, dtype=torch.float64)
    optimizer, schedule = adamw(first, 1e-2, last), wsd(10, warmup=2, min_lr=1e-5)
    scheduler = ScheduleLR(optimizer, schedule)
    for step in range(15):
        kept = [group["lr"] for group in optimizer.param_groups]
        assert kept[0] is first
        assert kept[2] is last
        assert type(kept[1]) is float
        assert lrs(optimizer) == pytest.approx([schedule.lr(step, peak) for peak in (1e-3, 1e-2, 3e-4)], rel=1e-12)
        update(optimizer, scheduler)


def test_a_tensor_lr_is_still_the_same_tensor_after_loading_a_state() -> None:
    optimizer = adamw(1e-3)
    scheduler = ScheduleLR(optimizer, wsd(10, warmup=2))
    applied(optimizer, scheduler, 8)
    peak = torch.tensor(1e-3, dtype=torch.float64)
    resumed = adamw(peak)
    ScheduleLR(resumed, wsd(10, warmup=2)).load_state_dict(scheduler.state_dict())
    assert resumed.param_groups[0]["lr"] is peak
    assert peak.item() == 1e-3 * wsd(10, warmup=2)(8)


# The absolute floor


@pytest.mark.parametrize("name", FLOORED)
def test_an_absolute_floor_holds_in_every_group_after_the_warm_up(name: str) -> None:
    schedule, peaks = FLOORED[name], (1e-3, 2e-5, 1e-5)
    optimizer = adamw(*peaks)
    seen = [rates for rates, _ in applied(optimizer, ScheduleLR(optimizer, schedule), STEPS + 10)]
    for step, rates in enumerate(seen):
        assert rates == pytest.approx([schedule.lr(step, peak) for peak in peaks], rel=1e-12)
        if step >= schedule.warmup:
            assert min(rates) >= 1e-5
    assert seen[-1] == pytest.approx([schedule.lr(STEPS, peak) for peak in peaks], rel=1e-12)


def test_a_decay_to_the_floor_ends_at_it_in_every_group() -> None:
    optimizer = adamw(1e-3, 2e-5)
    applied(optimizer, ScheduleLR(optimizer, wsd(STEPS, min_lr=1e-5)), STEPS)
    assert lrs(optimizer) == [1e-5, 1e-5]


def test_a_floor_above_a_groups_peak_is_refused_with_the_numbers_and_the_lrs_stay() -> None:
    optimizer = adamw(1e-3, 1e-5)
    with pytest.raises(ValueError, match=r"min_lr \(0\.0001\) is above the LR of parameter group 1 \(1e-05\); lower it"):
        ScheduleLR(optimizer, wsd(STEPS, min_lr=1e-4))
    assert lrs(optimizer) == [1e-3, 1e-5]


# Momentum


def test_momentum_goes_to_beta1_and_the_other_betas_stay() -> None:
    optimizer, schedule = adamw(1e-3, 1e-4), one_cycle(STEPS)
    assert schedule.momentum is not None
    seen = [betas for _, betas in applied(optimizer, ScheduleLR(optimizer, schedule), STEPS + 5)]
    assert seen == [[(schedule.momentum(step), 0.999)] * 2 for step in range(STEPS + 5)]


@pytest.mark.parametrize("optimizer_class", [SGD, RMSprop])
def test_momentum_goes_to_momentum(optimizer_class: Callable[..., Optimizer]) -> None:
    schedule = one_cycle(STEPS)
    optimizer = optimizer_class([{"params": [parameter()]}, {"params": [parameter()]}], lr=1e-3, momentum=0.5)
    assert schedule.momentum is not None
    seen = [momenta for _, momenta in applied(optimizer, ScheduleLR(optimizer, schedule), STEPS + 5)]
    assert seen == [[schedule.momentum(step)] * 2 for step in range(STEPS + 5)]


def test_momentum_of_a_schedule_without_that_track_stays() -> None:
    optimizer = AdamW([parameter()], lr=1e-3, betas=(0.8, 0.95))
    assert {betas[0] for _, betas in applied(optimizer, ScheduleLR(optimizer, wsd(10)), 12)} == {(0.8, 0.95)}


def test_an_optimizer_without_momentum_is_told_once_and_its_lr_is_scheduled(caplog: pytest.LogCaptureFixture) -> None:
    optimizer = Adagrad([parameter()], lr=1e-3)
    scheduler = ScheduleLR(optimizer, one_cycle(STEPS))
    seen = [rates for rates, _ in applied(optimizer, scheduler, STEPS)]
    scheduler.load_state_dict(scheduler.state_dict())
    assert seen == [[1e-3 * one_cycle(STEPS)(step)] for step in range(STEPS)]
    [message] = caplog.messages
    assert message.startswith("Adagrad has neither betas nor momentum, so the momentum track of 'one_cycle' has nothing to")


# Checkpoints


def _types(value: Any) -> Iterator[type]:
    yield type(value)
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list | tuple):
        for item in value:
            yield from _types(item)


@pytest.mark.parametrize("name", RESUMED)
@pytest.mark.parametrize("peak", [1e-3, torch.tensor(1e-3)], ids=["float", "tensor"])
def test_its_state_is_plain_types_and_passes_weights_only(name: str, peak: float | torch.Tensor, tmp_path: Path) -> None:
    optimizer = adamw(peak)
    scheduler = ScheduleLR(optimizer, RESUMED[name])
    applied(optimizer, scheduler, 7)
    state = scheduler.state_dict()
    assert set(state) == {"last_epoch", "_step_count", "base_lrs", "_last_lr", "schedule", "skipped"}
    assert set(_types(state)) <= {dict, list, str, int, float, NoneType}
    assert saved_and_loaded(state, tmp_path) == state
    assert state["last_epoch"] == 7
    assert state["schedule"] == to_spec(RESUMED[name])
    assert state["skipped"] is None  # nobody counts


def test_a_glide_a_cooldown_and_the_skipped_updates_are_plain_types_as_well(tmp_path: Path) -> None:
    def start() -> ScheduleLR:
        return ScheduleLR(adamw(1e-3, 1e-4), hold(STEPS) >> hold(0), resume=Resume("glide", 10))

    saved = start()
    applied(saved.optimizer, saved, 7)
    saved.count_skips(2)
    saved.cool_down(Cooldown(7, 20, "linear", 0.1, "asked for", 2))
    gliding = start()
    gliding.load_state_dict({**saved.state_dict(), "base_lrs": [1e-3, 3e-4]})
    assert gliding.state_dict()["skipped"] is None  # nobody counts any more, so the number says nothing
    gliding.count_skips(0)
    state = gliding.state_dict()
    assert set(_types(state)) <= {dict, list, str, int, float}
    assert saved_and_loaded(state, tmp_path) == state
    assert state["skipped"] == 2
    assert state["schedule"] == to_spec(hold(STEPS) >> hold(0))  # the plan, which the cooldown has left as it was
    assert state["cooldown"] == {"at": 7, "steps": 20, "shape": "linear", "to": 0.1, "reason": "asked for", "skipped": 2}
    assert state["glide"] == {"start": 7, "steps": 10, "lrs": [1e-3, 1e-4]}


@pytest.mark.parametrize("step", [0, 1, 5, 17, 39, 40, 45])
@pytest.mark.parametrize("name", RESUMED)
@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_a_resumed_run_has_bit_for_bit_the_lrs_and_momenta_of_one_that_never_stopped(
    kind: str, name: str, step: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def start() -> tuple[Optimizer, ScheduleLR]:
        groups = [{"params": [parameter()], "lr": 1e-3}, {"params": [parameter()], "lr": 3e-5}]
        optimizer: Optimizer = AdamW(groups) if kind == "adamw" else SGD(groups, momentum=0.9)
        return optimizer, ScheduleLR(optimizer, RESUMED[name])

    optimizer, scheduler = start()
    never_stopped = applied(optimizer, scheduler, STEPS + 10)
    optimizer, scheduler = start()
    applied(optimizer, scheduler, step)
    optimizer_state, state = optimizer.state_dict(), saved_and_loaded(scheduler.state_dict(), tmp_path)

    optimizer, scheduler = start()
    optimizer.load_state_dict(optimizer_state)
    scheduler.load_state_dict(state)
    assert lrs(optimizer) == never_stopped[step][0] == scheduler.get_last_lr()
    assert applied(optimizer, scheduler, STEPS + 10 - step) == never_stopped[step:]
    assert caplog.messages == []


@pytest.mark.parametrize("order", ["optimizer first", "scheduler first", "scheduler alone"])
def test_a_resumed_run_is_right_in_either_order_of_loading(order: str) -> None:
    optimizer = adamw(1e-3)
    scheduler = ScheduleLR(optimizer, RESUMED["one_cycle"])
    applied(optimizer, scheduler, 9)
    states = optimizer.state_dict(), scheduler.state_dict()
    expected = applied(optimizer, scheduler, 9)

    optimizer = adamw(1e-3)
    scheduler = ScheduleLR(optimizer, RESUMED["one_cycle"])
    if order == "optimizer first":
        optimizer.load_state_dict(states[0])
    scheduler.load_state_dict(states[1])
    if order == "scheduler first":
        optimizer.load_state_dict(states[0])
    assert applied(optimizer, scheduler, 9) == expected


def _resumed(new: Schedule, peak: float, *, saved: Schedule) -> tuple[Optimizer, ScheduleLR]:
    optimizer = adamw(1e-3)
    scheduler = ScheduleLR(optimizer, saved)
    applied(optimizer, scheduler, 5)
    resumed = adamw(peak)
    restored = ScheduleLR(resumed, new)
    resumed.load_state_dict(optimizer.state_dict())
    restored.load_state_dict(scheduler.state_dict())
    return resumed, restored


@pytest.mark.parametrize(
    ("new", "peak", "rows"),
    [
        (wsd(20, warmup=2), 1e-3, ["schedule", "steps", "together"]),
        (wsd(10, warmup=2), 1e-1, ["peak LR"]),
        (wsd(20, warmup=2), 1e-1, ["schedule", "steps", "peak LR", "together"]),
        (wsd(10, warmup=2, min_lr=1e-6), 1e-3, ["schedule"]),
        (one_cycle(10), 1e-3, ["schedule", "momentum", "together"]),
        (wsd(10, warmup=2).with_momentum(hold(10, at=0.8) >> hold(0, at=0.8)), 1e-3, ["momentum"]),
    ],
)
def test_a_changed_schedule_or_peak_is_logged_and_what_is_configured_now_wins(
    new: Schedule, peak: float, rows: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    optimizer, scheduler = _resumed(new, peak, saved=wsd(10, warmup=2))
    [message] = caplog.messages
    title, heads, *table, decision = message.split("\n")
    assert title == "the checkpoint of step 5 was written under another schedule than the one configured now:"
    assert heads.split() == ["saved", "now", "effect", "on", "the", "next", "LR"]
    assert [re.split(r"\s{2,}", line.strip())[0] for line in table] == rows
    assert decision.startswith("on_resume='configured': the run goes on at step 5 with what is configured now")
    seen = [rates[0] for rates, _ in applied(optimizer, scheduler, 20)]
    assert seen == pytest.approx([new.lr(step, peak) for step in range(5, 25)], rel=1e-12)


def test_a_new_peak_is_what_a_later_scheduler_starts_from() -> None:
    optimizer, _ = _resumed(wsd(10, warmup=2), 1e-1, saved=wsd(10, warmup=2))
    assert ScheduleLR(optimizer, wsd(10, warmup=0)).base_lrs == [1e-1]


def test_an_unchanged_schedule_under_another_name_is_no_difference(caplog: pytest.LogCaptureFixture) -> None:
    _resumed(rise(2) >> hold(6) >> fall(2, "1-sqrt"), 1e-3, saved=wsd(10, warmup=2))
    assert caplog.messages == []


def test_the_state_of_a_lambda_lr_is_taken_for_its_step(caplog: pytest.LogCaptureFixture) -> None:
    optimizer = adamw(1e-3)
    theirs = LambdaLR(optimizer, lambda step: 1 / (1 + step))
    applied(optimizer, theirs, 7)
    resumed = adamw(1e-3)
    scheduler = ScheduleLR(resumed, wsd(STEPS, warmup=20))
    resumed.load_state_dict(optimizer.state_dict())
    scheduler.load_state_dict(theirs.state_dict())
    seen = [rates[0] for rates, _ in applied(resumed, scheduler, STEPS)]
    assert seen == [1e-3 * wsd(STEPS, warmup=20)(step) for step in range(7, 7 + STEPS)]
    (said,) = caplog.messages
    table, decision = said.rsplit("\n", 1)
    assert re.search(r"schedule +another scheduler's +wsd: warmup 20 to 1, .* 0\.000125 -> 0\.00035 \(x 2\.8\)$", table)
    assert decision.startswith(
        "on_resume='configured': the run goes on at step 7 with what is configured now, and its LR jumps"
    )


@pytest.mark.parametrize("state", [{}, {"last_epoch": None}, {"last_epoch": -1}, {"last_epoch": "7"}, {"base_lrs": [1e-3]}])
def test_a_state_without_a_step_is_refused_and_nothing_changes(state: dict[str, Any]) -> None:
    optimizer = adamw(1e-3)
    scheduler = ScheduleLR(optimizer, wsd(10, warmup=2))
    applied(optimizer, scheduler, 3)
    before = scheduler.state_dict()
    with pytest.raises(ValueError, match="this scheduler state holds no step"):
        scheduler.load_state_dict(state)
    assert scheduler.state_dict() == before


# Misuse


@pytest.mark.parametrize("steps", [0, 1, 5])
def test_a_group_added_after_the_scheduler_is_refused(steps: int) -> None:
    optimizer = adamw(1e-3)
    scheduler = ScheduleLR(optimizer, wsd(10, warmup=2))
    applied(optimizer, scheduler, steps)
    optimizer.add_param_group({"params": [parameter()], "lr": 1e-4})
    optimizer.step()
    with pytest.raises(ValueError, match="the optimizer has 2 parameter groups, but had 1 when its schedule was made"):
        scheduler.step()


def test_a_state_is_refused_where_a_group_was_added_after_the_scheduler() -> None:
    optimizer = adamw(1e-3)
    scheduler = ScheduleLR(optimizer, wsd(10, warmup=2))
    state = scheduler.state_dict()
    optimizer.add_param_group({"params": [parameter()], "lr": 1e-4})
    with pytest.raises(ValueError, match="the optimizer has 2 parameter groups, but had 1 when its schedule was made"):
        scheduler.load_state_dict(state)


def test_torch_still_warns_where_the_scheduler_steps_before_the_optimizer() -> None:
    scheduler = ScheduleLR(adamw(1e-3), wsd(10, warmup=2))
    with pytest.warns(UserWarning, match=r"Detected call of `lr_scheduler.step\(\)` before `optimizer.step\(\)`"):
        scheduler.step()


def test_it_has_no_attribute_that_accelerate_takes_for_one_cycles_end() -> None:
    assert not hasattr(ScheduleLR(adamw(1e-3), one_cycle(10)), "total_steps")


def test_a_deep_copy_goes_its_own_way() -> None:
    optimizer = adamw(1e-3)
    scheduler = ScheduleLR(optimizer, one_cycle(STEPS))
    applied(optimizer, scheduler, 5)
    copied = copy.deepcopy(scheduler)
    expected = applied(optimizer, scheduler, 20)
    assert copied.optimizer is not optimizer
    assert copied.last_epoch == 5
    assert applied(copied.optimizer, copied, 20) == expected
    assert scheduler.last_epoch == 25


# Inside torch's own combinations


def test_it_follows_another_scheduler_in_a_sequence() -> None:
    optimizer, schedule = adamw(1e-3, 1e-5), wsd(10, warmup=2)
    first = ConstantLR(optimizer, factor=0.5, total_iters=100)
    scheduler = SequentialLR(optimizer, [first, ScheduleLR(optimizer, schedule)], milestones=[4])
    seen = [rates for rates, _ in applied(optimizer, scheduler, 16)]
    assert seen[:4] == [[0.5e-3, 0.5e-5]] * 4
    assert seen[4:] == [[1e-3 * schedule(step), 1e-5 * schedule(step)] for step in range(12)]


def test_a_sequence_of_two_starts_the_second_at_its_first_lr_and_momentum() -> None:
    optimizer, schedule = adamw(1e-3), one_cycle(10)
    both = [ScheduleLR(optimizer, schedule), ScheduleLR(optimizer, schedule)]
    scheduler = SequentialLR(optimizer, [*both], milestones=[3])
    seen = applied(optimizer, scheduler, 15)
    assert schedule.momentum is not None
    steps = [*range(3), *range(12)]
    assert [rates for rates, _ in seen] == [[1e-3 * schedule(step)] for step in steps]
    assert [betas for _, betas in seen] == [[(schedule.momentum(step), 0.999)] for step in steps]


def test_a_sequence_resumes() -> None:
    def start() -> tuple[Optimizer, SequentialLR]:
        optimizer = adamw(1e-3)
        first = ConstantLR(optimizer, factor=0.5, total_iters=100)
        return optimizer, SequentialLR(optimizer, [first, ScheduleLR(optimizer, wsd(10, warmup=2))], milestones=[4])

    optimizer, scheduler = start()
    applied(optimizer, scheduler, 9)
    states = copy.deepcopy((optimizer.state_dict(), scheduler.state_dict()))
    expected = applied(optimizer, scheduler, 9)
    optimizer, scheduler = start()
    optimizer.load_state_dict(states[0])
    scheduler.load_state_dict(states[1])
    assert applied(optimizer, scheduler, 9) == expected


def test_it_goes_first_in_a_chain() -> None:
    optimizer, schedule = adamw(1e-3), wsd(10, warmup=2)
    scheduler = ChainedScheduler([ScheduleLR(optimizer, schedule)], optimizer)
    seen = [rates for rates, _ in applied(optimizer, scheduler, 15)]
    assert seen == [[1e-3 * schedule(step)] for step in range(15)]
    assert scheduler.get_last_lr() == [0.0]


# Accelerate, one process


@pytest.fixture
def accelerator() -> Iterator[Any]:
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState, GradientState

    def forget() -> None:
        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()

    forget()
    yield Accelerator(cpu=True, gradient_accumulation_steps=2)
    forget()


def test_in_an_accelerate_loop_it_steps_once_an_update_and_resumes(accelerator: Any, tmp_path: Path) -> None:
    schedule = one_cycle(10)
    model = nn.Linear(2, 1)
    optimizer = AdamW(model.parameters(), lr=1e-3)
    prepared, prepared_optimizer, scheduler = accelerator.prepare(model, optimizer, ScheduleLR(optimizer, schedule))

    def train(updates: int) -> list[tuple[float, float]]:
        seen = []
        for _ in range(updates):
            for _ in range(2):
                with accelerator.accumulate(prepared):
                    accelerator.backward(prepared(torch.ones(1, 2)).sum())
                    if accelerator.sync_gradients:
                        [group] = optimizer.param_groups
                        seen.append((group["lr"], group["betas"][0]))
                    prepared_optimizer.step()
                    scheduler.step()
                    prepared_optimizer.zero_grad()
        return seen

    assert schedule.momentum is not None
    expected = [(1e-3 * schedule(step), schedule.momentum(step)) for step in range(12)]
    assert train(4) == expected[:4]
    accelerator.save_state(str(tmp_path))
    assert train(8) == expected[4:]
    accelerator.load_state(str(tmp_path))
    assert train(8) == expected[4:]


def test_nothing_here_warns_in_a_plain_loop() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        optimizer = adamw(1e-3)
        applied(optimizer, ScheduleLR(optimizer, one_cycle(5)), 10)
    assert caught == []


def test_momentum_that_the_saved_schedule_moved_is_the_configured_one_again() -> None:
    saved, optimizer = one_cycle(20), adamw(1e-3)
    scheduler = ScheduleLR(optimizer, saved)
    applied(optimizer, scheduler, 7)
    assert optimizer.param_groups[0]["betas"][0] != 0.9
    resumed = adamw(1e-3)
    other = ScheduleLR(resumed, wsd(20))
    resumed.load_state_dict(optimizer.state_dict())
    other.load_state_dict(scheduler.state_dict())
    assert resumed.param_groups[0]["betas"][0] == 0.9


def test_accumulating_in_an_accelerate_loop_steps_once_an_update_and_comes_back(accelerator: Any, tmp_path: Path) -> None:
    def loop(micro_batches: int, load: bool) -> tuple[ScheduleLR, list[float]]:
        model = torch.nn.Linear(2, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        scheduler = ScheduleLR(optimizer, wsd(10, warmup=5))
        accelerator.gradient_accumulation_steps = 4
        model, optimizer = accelerator.prepare(model, optimizer)
        accelerator.register_for_checkpointing(scheduler)
        if load:
            accelerator.load_state(tmp_path)
        seen = []
        for _ in range(micro_batches):
            with accelerator.accumulate(model):
                accelerator.backward(model(torch.ones(1, 2)).sum())
                optimizer.step()
                if accelerator.sync_gradients:
                    scheduler.step()
                optimizer.zero_grad()
            seen.append(round(float(scheduler.get_last_lr()[0]), 6))
        return scheduler, seen

    scheduler, seen = loop(12, load=False)
    assert seen == [0.0] * 3 + [0.2] * 4 + [0.4] * 4 + [0.6]
    accelerator.save_state(tmp_path)
    accelerator._custom_objects.clear()
    accelerator._models.clear()
    accelerator._optimizers.clear()
    again, seen = loop(0, load=True)
    assert again.last_epoch == scheduler.last_epoch == 3
    assert again.get_last_lr() == scheduler.get_last_lr()
