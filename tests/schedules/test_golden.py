from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    LRScheduler,
    MultiStepLR,
    OneCycleLR,
    StepLR,
)
from transformers import get_scheduler

from hf_lrsched import CATALOGUE, Horizon, Phase, Schedule, build
from hf_lrsched.schedules.shapes import ALIASES, SHAPES, parse

Floats = npt.NDArray[np.float64]
Arguments = dict[str, Any]

PEAK = 1.0


def adamw() -> Optimizer:
    return AdamW([torch.nn.Parameter(torch.zeros(1))], lr=PEAK)


def sgd() -> Optimizer:
    return SGD([torch.nn.Parameter(torch.zeros(1))], lr=PEAK, momentum=0.9)


def driven(optimizer: Optimizer, make: Callable[[Optimizer], Any], steps: int) -> tuple[Floats, Floats]:
    """The LR and the momentum that each of `steps` optimizer steps is taken with."""
    scheduler: LRScheduler = make(optimizer)
    group = optimizer.param_groups[0]
    seen = []
    for _ in range(steps):
        group["params"][0].grad = torch.ones(1)
        seen.append((float(group["lr"]), float(group["betas"][0] if "betas" in group else group["momentum"])))
        optimizer.step()
        scheduler.step()
    lrs, momenta = np.array(seen).T
    return lrs, momenta


def agree(ours: Floats, theirs: Floats) -> None:
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)


# --- torch ---


@pytest.mark.parametrize("make_optimizer", [adamw, sgd])
@pytest.mark.parametrize("strategy", ["cos", "linear"])
@pytest.mark.parametrize("three_phase", [False, True])
@pytest.mark.parametrize(
    ("steps", "more"),
    [
        (11, {}),
        (100, {}),
        (994, {}),  # torch turns at 297.2, between two steps
        (100, {"pct_start": 0.45}),
        (101, {"pct_start": 0.25, "div_factor": 10.0, "final_div_factor": 100.0}),
        (64, {"pct_start": 0.5, "base_momentum": 0.8, "max_momentum": 0.9}),
    ],
)
def test_one_cycle_is_torchs(
    make_optimizer: Callable[[], Optimizer], strategy: str, three_phase: bool, steps: int, more: Arguments
) -> None:
    theirs: Arguments = {"anneal_strategy": strategy, "three_phase": three_phase, **more}
    lrs, momenta = driven(make_optimizer(), lambda o: OneCycleLR(o, max_lr=PEAK, total_steps=steps, **theirs), steps)
    schedule = build("one_cycle", steps, **theirs)
    agree(schedule.values(), lrs)
    assert schedule.momentum is not None
    agree(schedule.momentum.values(), momenta)


def test_one_cycle_without_momentum_is_torchs() -> None:
    lrs, momenta = driven(adamw(), lambda o: OneCycleLR(o, max_lr=PEAK, total_steps=50, cycle_momentum=False), 50)
    schedule = build("one_cycle", 50, cycle_momentum=False)
    agree(schedule.values(), lrs)
    assert schedule.momentum is None
    assert set(momenta) == {0.9}


@pytest.mark.parametrize(
    ("first", "mult", "cycles"), [(10, 1, 5), (7, 1, 9), (50, 1, 1), (10, 2, 4), (3, 2, 7), (5, 3, 4), (1, 3, 5)]
)
@pytest.mark.parametrize("eta_min", [0.0, 1e-5, 0.1])
def test_warm_restarts_are_torchs(first: int, mult: int, cycles: int, eta_min: float) -> None:
    steps = sum(first * mult**i for i in range(cycles))
    lrs, _ = driven(sgd(), lambda o: CosineAnnealingWarmRestarts(o, T_0=first, T_mult=mult, eta_min=eta_min), steps)
    by_length = build("warm_restarts", steps, T_0=first, T_mult=mult, eta_min=eta_min, warmup=0)
    by_number = build("warm_restarts", steps, cycles=cycles, mult=mult, min_lr_ratio=eta_min / PEAK, warmup=0)
    agree(by_length.lrs(None, PEAK), lrs)
    agree(by_number.values(), lrs)


@pytest.mark.parametrize(("step_size", "steps"), [(30, 90), (7, 100), (1, 12), (50, 50), (33, 100)])
@pytest.mark.parametrize("gamma", [0.1, 0.5, 0.97, 1.0])
def test_step_decay_is_torchs(step_size: int, steps: int, gamma: float) -> None:
    lrs, _ = driven(sgd(), lambda o: StepLR(o, step_size=step_size, gamma=gamma), steps)
    agree(build("step_decay", steps, step_size=step_size, gamma=gamma).values(), lrs)


@pytest.mark.parametrize("milestones", [[80, 90], [30, 60], [1], [99], [20, 20, 50], [100], []])
@pytest.mark.parametrize("gamma", [0.316, 0.1])
def test_multi_step_is_torchs(milestones: list[int], gamma: float) -> None:
    lrs, _ = driven(sgd(), lambda o: MultiStepLR(o, milestones=milestones, gamma=gamma), 100)
    agree(build("multi_step", 100, milestones=milestones, gamma=gamma).values(), lrs)


@pytest.mark.parametrize("steps", [1, 10, 1000])
@pytest.mark.parametrize("eta_min", [0.0, 0.01])
def test_warmup_cosine_without_a_warmup_is_torchs_cosine(steps: int, eta_min: float) -> None:
    lrs, _ = driven(sgd(), lambda o: CosineAnnealingLR(o, T_max=steps, eta_min=eta_min), steps)
    agree(build("warmup_cosine", steps, warmup=0, eta_min=eta_min).lrs(None, PEAK), lrs)


# --- Transformers ---


def transformers_lrs(name: str, warmup: int, steps: int, **kwargs: Any) -> Floats:
    return driven(adamw(), lambda o: get_scheduler(name, o, warmup, steps, kwargs), steps)[0]


WARMUPS = pytest.mark.parametrize(("warmup", "steps"), [(0, 100), (1, 10), (10, 110), (37, 500), (100, 100)])


@WARMUPS
def test_warmup_cosine_is_transformers_cosine(warmup: int, steps: int) -> None:
    theirs = transformers_lrs("cosine", warmup, steps)
    agree(build("warmup_cosine", steps, num_warmup_steps=warmup, min_lr_ratio=0.0).values(), theirs)


@WARMUPS
@pytest.mark.parametrize("floor", [{"min_lr_rate": 0.1}, {"min_lr_rate": 0.0}, {"min_lr": 0.01}, {"min_lr": 1.0}])
def test_warmup_cosine_is_transformers_cosine_with_min_lr(warmup: int, steps: int, floor: Arguments) -> None:
    theirs = transformers_lrs("cosine_with_min_lr", warmup, steps, **floor)
    agree(build("warmup_cosine", steps, num_warmup_steps=warmup, **floor).lrs(None, PEAK), theirs)


@pytest.mark.parametrize(
    ("warmup", "steps", "cycles"), [(0, 100, 1), (0, 100, 4), (10, 110, 5), (16, 272, 8), (20, 120, 3), (0, 64, 2)]
)
def test_warm_restarts_are_transformers_cosine_with_restarts(warmup: int, steps: int, cycles: int) -> None:
    theirs = transformers_lrs("cosine_with_restarts", warmup, steps, num_cycles=cycles)
    agree(build("warm_restarts", steps, num_warmup_steps=warmup, num_cycles=cycles).values(), theirs)


@pytest.mark.parametrize("warmup_type", ["linear", "cosine", "1-sqrt"])
@pytest.mark.parametrize("decay_type", ["linear", "cosine", "1-sqrt"])
@pytest.mark.parametrize("more", [{}, {"min_lr_ratio": 0.1, "num_cycles": 0.5}, {"min_lr_ratio": 1.0}])
@pytest.mark.parametrize(("warmup", "decay", "steps"), [(10, 20, 100), (0, 50, 60), (7, 93, 100), (30, 1, 50), (1, 0, 10)])
def test_wsd_is_transformers_with_their_words(
    warmup_type: str, decay_type: str, more: Arguments, warmup: int, decay: int, steps: int
) -> None:
    theirs = {"num_decay_steps": decay, "warmup_type": warmup_type, "decay_type": decay_type, **more}
    lrs = transformers_lrs("warmup_stable_decay", warmup, steps, **theirs)
    agree(build("wsd", steps, num_warmup_steps=warmup, **theirs).values(), lrs)


def test_wsd_has_transformers_defaults_for_their_words() -> None:
    agree(build("wsd", 100, num_decay_steps=40).values(), transformers_lrs("warmup_stable_decay", 0, 100, num_decay_steps=40))


@pytest.mark.parametrize("min_lr_ratio", [0.0, 0.2])
def test_wsd_with_a_short_stable_stretch_is_transformers(min_lr_ratio: float) -> None:
    theirs = {"num_decay_steps": 20, "num_stable_steps": 30, "min_lr_ratio": min_lr_ratio}
    with pytest.warns(UserWarning, match="Both num_training_steps and num_stable_steps are specified"):
        lrs = transformers_lrs("warmup_stable_decay", 10, 100, **theirs)
    agree(build("wsd", 100, num_warmup_steps=10, **theirs).values(), lrs)


@pytest.mark.parametrize(("warmup", "steps"), [(0, 300), (1, 100), (10, 300), (100, 2000)])
@pytest.mark.parametrize("more", [{}, {"timescale": 50}])
def test_inverse_sqrt_without_a_cooldown_is_transformers(warmup: int, steps: int, more: Arguments) -> None:
    theirs = transformers_lrs("inverse_sqrt", warmup, steps, **more)
    agree(build("inverse_sqrt_cooldown", steps, num_warmup_steps=warmup, cooldown=0, **more).values(), theirs)


@pytest.mark.parametrize(("warmup", "steps"), [(0, 20), (5, 20), (20, 20)])
def test_constant_is_transformers_constant_with_warmup(warmup: int, steps: int) -> None:
    theirs = transformers_lrs("constant_with_warmup", warmup, steps)
    agree(build("constant", steps, num_warmup_steps=warmup).values(), theirs)


@pytest.mark.parametrize(("warmup", "steps"), [(0, 20), (5, 100), (20, 100)])
def test_wsd_that_decays_at_once_is_transformers_linear(warmup: int, steps: int) -> None:
    theirs = transformers_lrs("linear", warmup, steps)
    agree(build("wsd", steps, warmup=warmup, decay=steps - warmup, shape="linear").values(), theirs)


# --- by hand, from the formulas ---

# name, steps, arguments, {step: value}
GOLDEN: list[tuple[str, int, Arguments, dict[int, float]]] = [
    ("constant", 100, {}, {0: 1.0, 99: 1.0, 100: 1.0}),
    ("constant", 100, {"warmup": 10}, {0: 0.0, 5: 0.5, 9: 0.9, 10: 1.0, 99: 1.0, 1000: 1.0}),
    ("step_decay", 90, {}, {0: 1.0, 29: 1.0, 30: 0.1, 59: 0.1, 60: 0.01, 89: 0.01, 90: 0.01}),
    (
        "step_decay",
        100,
        {"every": 40, "factor": 0.5, "warmup": 20},
        {10: 0.5, 20: 1.0, 39: 1.0, 40: 0.5, 80: 0.25, 100: 0.25},
    ),
    ("step_decay", 90, {"every": 30, "min_lr_ratio": 0.05}, {30: 0.1, 60: 0.05}),
    ("multi_step", 1000, {}, {0: 1.0, 799: 1.0, 800: 0.316, 899: 0.316, 900: 0.099856, 1000: 0.099856}),
    ("multi_step", 100, {"milestones": [10, "50%"], "factor": 0.1}, {9: 1.0, 10: 0.1, 49: 0.1, 50: 0.01}),
    (
        "warmup_cosine",
        110,
        {"warmup": 10},
        {0: 0.0, 5: 0.5, 10: 1.0, 35: 0.8681980515339464, 60: 0.55, 85: 0.231801948466053614, 110: 0.1},
    ),
    ("warmup_cosine", 1000, {}, {50: 0.5, 100: 1.0, 550: 0.55}),
    ("warmup_cosine", 100, {"warmup": 0, "min_lr_ratio": 0.0}, {0: 1.0, 25: 0.853553390593273762, 50: 0.5, 100: 0.0}),
    ("warmup_cosine", 100, {"warmup": 20, "warmup_start": 0.2}, {0: 0.2, 10: 0.6, 20: 1.0}),
    ("warm_restarts", 400, {"warmup": 0}, {0: 1.0, 50: 0.5, 75: 0.146446609406726238, 100: 1.0, 250: 0.5, 400: 0.0}),
    ("warm_restarts", 1000, {}, {50: 0.5, 100: 1.0, 325: 1.0, 550: 1.0, 775: 1.0}),
    (
        "warm_restarts",
        140,
        {"cycles": 3, "mult": 2, "peak_decay": 0.5, "min_lr_ratio": 0.1, "warmup": 0},
        {0: 1.0, 10: 0.55, 20: 0.5, 40: 0.3, 60: 0.25, 100: 0.175, 140: 0.1},
    ),
    (
        "warm_restarts",
        100,
        {"cycles": 2, "warmup": 10, "rewarm": True, "min_lr_ratio": 0.2},
        {0: 0.0, 5: 0.5, 10: 1.0, 30: 0.6, 50: 0.2, 55: 0.6, 60: 1.0, 80: 0.6, 100: 0.2},
    ),
    ("one_cycle", 100, {}, {0: 0.04, 29: 1.0, 99: 4e-6, 100: 4e-6}),
    ("one_cycle", 21, {"rise": 11, "shape": "linear"}, {0: 0.04, 5: 0.52, 10: 1.0, 15: 0.500002, 20: 4e-6}),
    (
        "one_cycle",
        31,
        {"rise": 11, "shape": "linear", "three_phase": True, "div_factor": 10, "final_div_factor": 10},
        {0: 0.1, 5: 0.55, 10: 1.0, 15: 0.55, 20: 0.1, 25: 0.055, 30: 0.01, 31: 0.01},
    ),
    ("wsd", 1000, {}, {50: 0.5, 100: 1.0, 799: 1.0, 800: 1.0, 850: 0.5, 962: 0.1, 1000: 0.0}),
    (
        "wsd",
        100,
        {"warmup": 0, "decay": 50, "shape": "exponential", "min_lr_ratio": 0.01},
        {50: 1.0, 75: 0.1, 100: 0.01},
    ),
    (
        "wsd",
        100,
        {"warmup": 0, "decay": 50, "shape": "exponential-minicpm", "half_life": 10},
        {50: 1.0, 60: 0.5, 70: 0.25, 100: 0.03125},
    ),
    (
        "wsd_s",
        1000,
        {"ends": ["40%", "100%"], "warmup": 50},
        {25: 0.5, 360: 1.0, 380: 0.181818181818181818, 400: 1.0, 940: 1.0, 970: 0.181818181818181818, 1000: 0.1},
    ),
    ("wsd_s", 1000, {}, {50: 0.5, 225: 1.0, 250: 1.0, 475: 1.0, 500: 1.0, 975: 0.181818181818181818, 1000: 0.1}),
    (
        "inverse_sqrt_cooldown",
        1000,
        {},
        {50: 0.5, 100: 1.0, 400: 0.5, 800: 0.353553390593273762, 900: 0.176776695296636881, 1000: 0.0},
    ),
    ("inverse_sqrt_cooldown", 1000, {"warmup": 100, "min_lr_ratio": 0.5}, {400: 0.5, 800: 0.5, 1000: 0.5}),
    ("rex", 100, {"warmup": 0}, {0: 1.0, 50: 0.666666666666666667, 80: 0.333333333333333333, 100: 0.0}),
    ("rex", 100, {"warmup": 0, "alpha": 0.9}, {50: 0.909090909090909091}),
    ("rex", 120, {"warmup": 20, "min_lr_ratio": 0.25}, {10: 0.5, 70: 0.75, 100: 0.5, 120: 0.25}),
    (
        "power",
        1000,
        {},
        {50: 0.5, 100: 1.0, 200: 0.702222437868998591, 900: 0.326089128576390390, 950: 0.163044564288195195, 1000: 0.0},
    ),
    ("power", 1000, {"warmup": 0, "timescale": 100, "exponent": 1, "decay": 0}, {0: 1.0, 100: 0.5, 300: 0.25}),
    (
        "phases",
        100,
        {"phases": [{"from": 0, "to": 1, "length": 10}, {}, {"to": 0.5, "length": "40%", "shape": "cosine"}]},
        {5: 0.5, 10: 1.0, 60: 1.0, 70: 0.926776695296636881, 80: 0.75, 100: 0.5},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "steps", "arguments", "values"), GOLDEN)
def test_golden_values(name: str, steps: int, arguments: Arguments, values: dict[int, float]) -> None:
    schedule = build(name, steps, **arguments)
    agree(schedule.values([*values]), np.array([*values.values()]))
    agree(np.array([schedule(step) for step in values]), np.array([*values.values()]))


def test_every_schedule_of_the_catalogue_has_golden_values() -> None:
    assert {name for name, *_ in GOLDEN} == set(CATALOGUE)


def test_golden_momentum_of_a_one_cycle() -> None:
    momentum = build("one_cycle", 31, rise=11, shape="linear", three_phase=True).momentum
    assert momentum is not None
    agree(momentum.values([0, 5, 10, 15, 20, 25, 30, 31]), np.array([0.95, 0.9, 0.85, 0.9, 0.95, 0.95, 0.95, 0.95]))


def test_golden_learning_rates_over_an_absolute_floor() -> None:
    schedule = build("wsd", 100, warmup=10, decay=40, shape="linear", min_lr=1e-5)
    steps, peaks = [0, 5, 10, 59, 60, 80, 100, 10**9], (1e-3, 1e-4)
    agree(schedule.lrs(steps, peaks[0]) / 1e-3, np.array([0.0, 0.5, 1.0, 1.0, 1.0, 0.505, 0.01, 0.01]))
    agree(schedule.lrs(steps, peaks[1]) / 1e-4, np.array([0.0, 0.5, 1.0, 1.0, 1.0, 0.55, 0.1, 0.1]))


def test_golden_geometric_decay_to_an_absolute_floor() -> None:
    schedule = build("wsd", Horizon(100, peak=1e-3), warmup=0, decay=50, shape="exponential", min_lr=1e-5)
    agree(schedule.lrs([50, 75, 100], 1e-3) / 1e-3, np.array([1.0, 0.1, 0.01]))


# --- shapes ---

# Falls from 1 to r, written once more by hand.
FORMULAS: dict[str, Callable[[float, float], float]] = {
    "linear": lambda p, r: r + (1 - r) * (1 - p),
    "cosine": lambda p, r: r + (1 - r) * math.cos(math.pi * p / 2) ** 2,
    "1-sqrt": lambda p, r: r + (1 - r) * (1 - p**0.5),
    "root": lambda p, r: r + (1 - r) * (1 - p) ** 0.5,
    "square": lambda p, r: r + (1 - r) * (1 - p) * (1 + p),
    "mirror-cosine": lambda p, r: r + (1 - r) * (2 - 2 * p - math.cos(math.pi * p / 2) ** 2),
    "power": lambda p, r: r + (1 - r) * (1 - p) ** 2,
    "power(3)": lambda p, r: r + (1 - r) * (1 - p) ** 3,
    "rex": lambda p, r: r + (1 - r) * (2 - 2 * p) / (2 - p),
    "rex(0.9)": lambda p, r: r + (1 - r) * (10 - 10 * p) / (10 - 9 * p),
    "exponential-megatron": lambda p, r: r + (1 - r) * (2 ** (1 - p) - 1),
    "exponential": lambda p, r: math.exp(p * math.log(r)),
    "inverse": lambda p, r: 1 / (p / r + (1 - p)),
    "inverse(2)": lambda p, r: 1 / (p / r**0.5 + (1 - p)) ** 2,
    "inverse(0.5)": lambda p, r: 1 / (p / r**2 + (1 - p)) ** 0.5,
}

PROGRESS = np.linspace(0.0, 1.0, 41)


def fallen(shape: str, ratio: float) -> Schedule:
    return Phase("decay", 40, 1.0, ratio, parse(shape)) >> Phase("tail", 1, ratio, ratio)


@pytest.mark.parametrize("ratio", [0.01, 0.1, 0.9])
@pytest.mark.parametrize("shape", FORMULAS)
def test_a_shape_is_its_formula(shape: str, ratio: float) -> None:
    agree(fallen(shape, ratio).values(41), np.array([FORMULAS[shape](p, ratio) for p in PROGRESS]))


@pytest.mark.parametrize("shape", [shape for shape in FORMULAS if not SHAPES[parse(shape).name].by_ratio])
def test_a_shape_that_reaches_zero_is_its_formula(shape: str) -> None:
    agree(fallen(shape, 0.0).values(41), np.array([FORMULAS[shape](p, 0.0) for p in PROGRESS]))


def test_every_shape_has_a_formula_of_its_own_here() -> None:
    assert {parse(shape).name for shape in FORMULAS} == set(SHAPES)


def written_value(formula: str, **numbers: float) -> float:
    """The value of a formula as `Kind.value` writes it: ``2(1-p)``, ``p^2``, ``alpha p``."""
    times = re.sub(r"(?<=[\d)])\s*(?=[a-z(])|(?<=\bp)\s*(?=\()|(?<=\bpi)\s+(?=p)|(?<=\balpha)\s+(?=p)", "*", formula)
    known = {"cos": math.cos, "sqrt": math.sqrt, "pi": math.pi, **numbers}
    return float(eval(times.replace("^", "**"), {"__builtins__": {}}, known))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_is_the_formula_it_is_described_with(shape: str) -> None:
    kind = SHAPES[shape]
    ratio, defaults = (0.1, {"k": 1.0}) if kind.by_ratio else (0.0, {"k": 2.0, "alpha": 0.5})
    written = [written_value(kind.value, p=p, r=ratio, **defaults) for p in PROGRESS]
    agree(fallen(shape, ratio).values(41), np.array(written))


@pytest.mark.parametrize(("alias", "shape"), list(ALIASES.items()))
def test_an_alias_is_the_shape_it_stands_for(alias: str, shape: str) -> None:
    assert parse(alias) == parse(shape)


@pytest.mark.parametrize("shape", FORMULAS)
def test_a_rise_travels_along_the_same_curve(shape: str) -> None:
    up = Phase("warmup", 40, 0.1, 1.0, parse(shape)) >> Phase("top", 1, 1.0, 1.0)
    if not SHAPES[parse(shape).name].by_ratio:
        agree(up.values(41), 1.1 - fallen(shape, 0.1).values(41))
    assert np.all(np.diff(up.values(41)) > 0.0)


def test_an_exponential_with_a_depth_of_its_own_ignores_the_phases() -> None:
    share = Phase("decay", 40, 1.0, 0.0, parse("exponential(0.01)")) >> Phase("tail", 1, 0.0, 0.0)
    agree(share.values(41), np.array([(0.01**p - 0.01) / 0.99 for p in PROGRESS]))
