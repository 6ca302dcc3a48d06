from __future__ import annotations

import inspect
import math
import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hf_lrsched import CATALOGUE, Horizon, Phase, Schedule, build, fall, from_spec, hold, repeat, rise, to_spec
from hf_lrsched.schedules.schedule import chain
from hf_lrsched.schedules.shapes import SHAPES, Shape, parse

from .strategies import law

Arguments = dict[str, Any]


def refusal(call: Callable[[], object], *parts: str) -> None:
    """`call` is refused in one clear sentence that holds each of `parts`."""
    with pytest.raises(ValueError) as refused:  # noqa: PT011  the message is looked at below
        call()
    message = str(refused.value)
    assert "\n" not in message
    assert len(message.split()) >= 4
    assert not message.endswith((".", " "))
    for part in parts:
        assert part in message


def asked(name: str, steps: int, **arguments: Any) -> Callable[[], Schedule]:
    return lambda: build(name, steps, **arguments)


# --- names ---


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("wsdd", "wsd"),
        ("onecycle", "one_cycle"),
        ("one-cycle", "one_cycle"),
        ("warm_restart", "warm_restarts"),
        ("phase", "phases"),
        ("multistep", "multi_step"),
    ],
)
def test_an_unknown_schedule_names_the_nearest_and_all(name: str, near: str) -> None:
    refusal(asked(name, 100), f"unknown schedule '{name}'", f"did you mean '{near}'?", ", ".join(CATALOGUE))


@pytest.mark.parametrize("name", ["xyzzy", ""])
def test_an_unknown_schedule_near_none_names_all(name: str) -> None:
    refusal(asked(name, 100), f"unknown schedule '{name}'", ", ".join(CATALOGUE))


@pytest.mark.parametrize("name", CATALOGUE)
def test_an_unknown_key_names_those_that_are_accepted(name: str) -> None:
    accepted = [*CATALOGUE[name].arguments, "steps_per_epoch", "tokens_per_step", "epochs"]
    refusal(asked(name, 100, xyzzy=1), f"{name} does not know 'xyzzy'", f"accepted: {', '.join(accepted)}")


@pytest.mark.parametrize(
    ("name", "key", "near"),
    [
        ("wsd", "decays", "decay"),
        ("wsd", "num_decay_step", "num_decay_steps"),
        ("wsd", "warm_up", "warmup"),
        ("wsd", "min_lr_ration", "min_lr_ratio"),
        ("one_cycle", "pct_starts", "pct_start"),
        ("one_cycle", "div_facto", "div_factor"),
        ("warm_restarts", "cycle", "cycles"),
        ("warm_restarts", "T0", "T_0"),
        ("step_decay", "step_sizes", "step_size"),
        ("multi_step", "milestone", "milestones"),
        ("wsd_s", "end", "ends"),
        ("rex", "alfa", "alpha"),
        ("power", "exponents", "exponent"),
        ("phases", "phase", "phases"),
        ("warmup_cosine", "epoch", "epochs"),
        ("warmup_cosine", "token_per_step", "tokens_per_step"),
    ],
)
def test_an_unknown_key_names_the_nearest(name: str, key: str, near: str) -> None:
    refusal(asked(name, 100, **{key: 1}), f"{name} does not know '{key}'", f"did you mean '{near}'?")


@pytest.mark.parametrize("name", CATALOGUE)
@pytest.mark.parametrize("key", ["max_lr", "learning_rate", "lr"])
def test_the_peak_is_not_an_argument(name: str, key: str) -> None:
    refusal(asked(name, 100, **{key: 1e-3}), f"{name}: '{key}' is the peak", "learning_rate=")


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        ("wsd", "warmup", "num_warmup_steps"),
        ("wsd", "warmup_steps", "warmup_ratio"),
        ("wsd", "decay", "num_decay_steps"),
        ("wsd", "shape", "decay_type"),
        ("wsd", "min_lr_ratio", "min_lr_rate"),
        ("wsd_s", "decay", "decay_phase_ratio"),
        ("warmup_cosine", "min_lr", "eta_min"),
        ("one_cycle", "rise", "pct_start"),
        ("one_cycle", "warmup", "pct_start"),
        ("step_decay", "every", "step_size"),
        ("multi_step", "factor", "gamma"),
        ("warm_restarts", "first", "T_0"),
        ("warm_restarts", "cycles", "num_cycles"),
        ("inverse_sqrt_cooldown", "cooldown", "num_decay_steps"),
        ("power", "decay", "cooldown"),
    ],
)
def test_two_spellings_of_one_argument_are_refused_even_where_they_agree(name: str, one: str, other: str) -> None:
    refusal(asked(name, 100, **{one: 0.1, other: 0.1}), name, f"'{one}'", f"'{other}'", "give one of them")


@pytest.mark.parametrize(
    ("name", "word"),
    [
        (name, word)
        for name, entry in CATALOGUE.items()
        for word in (*entry.arguments, *entry.aliases, "num_warmup_steps", "min_lr_rate", "num_cycles", "epochs")
        if word != "phases" and (word == "epochs" or entry.adapt or entry.meaning(word) in entry.arguments)
    ],
)
def test_an_argument_of_none_is_as_if_it_had_not_been_typed(name: str, word: str) -> None:
    needed: Arguments = {"phases": [{"from": 1}]} if name == "phases" else {}
    assert build(name, 100, **{word: None}, **needed) == build(name, 100, **needed)


def test_epochs_that_do_not_make_the_run_are_refused_and_those_that_do_are_not() -> None:
    refusal(asked("wsd", 100, epochs=2, steps_per_epoch=40), "epochs (2)", "steps_per_epoch (40)", "80 steps", "has 100")
    assert build("wsd", 100, epochs=2, steps_per_epoch=50, warmup="1 epoch").warmup == 50


# --- lengths ---


@pytest.mark.parametrize("name", [name for name, entry in CATALOGUE.items() if entry.warmup])
@pytest.mark.parametrize(
    ("length", "parts"),
    [
        (1.0, ["=1.0 is ambiguous", "'1 steps'", "'100%' for a share"]),
        (1.5, ["=1.5 is ambiguous", "1", "steps"]),
        ("1.0", ["='1.0' is ambiguous", "'1 steps' for steps", "'100%' for a share"]),
        ("1e0", ["is ambiguous", "'1 steps'", "'100%' for a share"]),
        (-1, ["=-1 is negative", "0 or more"]),
        (-0.05, ["=-0.05 is negative", "0 or more"]),
        ("-5%", ["='-5%' is negative", "0 or more"]),
        ("-2 epochs", ["='-2 epochs' is negative", "0 or more"]),
        (math.nan, ["=nan is not a number"]),
        (math.inf, ["=inf must be finite"]),
        (-math.inf, ["=-inf must be finite"]),
        ("1e999 steps", ["='1e999 steps' must be finite"]),
        (True, ["=True is not a number"]),
        (False, ["=False is not a number"]),
        (b"5%", ["=b'5%' is not a number"]),
        ([5], ["=[5] is not a number"]),
        ("", ["='' is not a length", "0.05 or '5%'", "'2 epochs'"]),
        ("nan", ["='nan' is not a length", "0.05 or '5%'", "'2 epochs'"]),
        ("a while", ["='a while' is not a length", "0.05 or '5%'", "'2 epochs'"]),
        ("5 minutes", ["='5 minutes' is not a length", "0.05 or '5%'", "'2 epochs'"]),
        ("5% 3", ["='5% 3' is not a length", "0.05 or '5%'", "'2 epochs'"]),
        ("2 epochs", ["='2 epochs' cannot be converted here", "steps_per_epoch", "as a share of the run"]),
        ("1.5B tokens", ["='1.5B tokens' cannot be converted here", "tokens_per_step", "as a share of the run"]),
        (101, ["(101 steps)", "longer than the run of 100 steps"]),
        ("101 steps", ["'101 steps'", "longer than the run of 100 steps"]),
        ("101%", ["'101%', 101 steps", "longer than the run of 100 steps"]),
    ],
)
def test_a_bad_warmup(name: str, length: Any, parts: Sequence[str]) -> None:
    word = str(CATALOGUE[name].warmup)
    refusal(asked(name, 100, **{word: length}), word, *parts)


@pytest.mark.parametrize(
    "length", ["1__0", "1_", "_1", "1_.5", "1._5", "1e", "1e5e5", "--1", "5%%", "%", "steps", "5 K M", "5,000"]
)
def test_a_length_that_is_written_wrong(length: str) -> None:
    written = f"warmup='{length}' is not a length"
    refusal(lambda: Horizon(100).steps_of(length, "warmup"), written, "0.05 or '5%'", "'2 epochs'")


def test_a_length_past_every_float() -> None:
    refusal(lambda: Horizon(100).steps_of(10**400, "warmup"), "warmup=1000", "finite")
    refusal(lambda: Horizon(10**400), "steps=1000", "whole number")


LENGTHS = [
    ("step_decay", "every"),
    ("warm_restarts", "first"),
    ("wsd", "decay"),
    ("wsd", "stable"),
    ("wsd_s", "decay"),
    ("inverse_sqrt_cooldown", "cooldown"),
    ("power", "decay"),
]


@pytest.mark.parametrize(("name", "word"), LENGTHS)
@pytest.mark.parametrize("length", [1.0, "1.0", -1, math.nan, math.inf, True, "soon", "2 epochs", "1B tokens", 101])
def test_every_other_length_is_named_in_its_refusal(name: str, word: str, length: Any) -> None:
    refusal(asked(name, 100, **{word: length}), word, str(length))


@pytest.mark.parametrize("length", [1.0, "1.0", -1, math.nan, math.inf, True, "soon", "2 epochs", "1B tokens", 101])
def test_lengths_in_lists_are_named_in_their_refusal(length: Any) -> None:
    refusal(asked("multi_step", 100, milestones=[10, length]), "milestones", str(length))
    refusal(asked("wsd_s", 100, ends=[50, length]), "ends", str(length))
    refusal(asked("phases", 100, phases=[{"from": 1}, {"length": length}]), "length of phase 2", str(length))
    refusal(asked("wsd", 100, shape="exponential-minicpm", half_life=length), "half_life", str(length))


@pytest.mark.parametrize(
    ("name", "arguments", "parts"),
    [
        ("wsd", {"warmup": 60, "decay": 60}, ["warmup (60) and decay (60) take 120 steps", "only 100"]),
        ("wsd", {"warmup": "60%", "decay": 0.5}, ["warmup (60) and decay (50) take 110 steps", "only 100"]),
        (
            "wsd",
            {"warmup": 50, "stable": 40, "decay": 30},
            ["warmup (50), stable (40) and decay (30) take 120 steps", "only 100"],
        ),
        ("wsd", {"decay": "95%"}, ["warmup (10) and decay (95) take 105 steps", "only 100"]),
        ("wsd_s", {"warmup": 24}, ["cycle 1 has 25 steps", "warmup (24)", "decay (2.5)"]),
        ("wsd_s", {"ends": [50, 60, 100], "decay": 20}, ["cycle 2 has 10 steps", "decay (20)"]),
        (
            "inverse_sqrt_cooldown",
            {"warmup": 60, "cooldown": 60},
            ["warmup (60) and cooldown (60) take 120 steps", "only 100"],
        ),
        ("power", {"warmup": 60, "decay": 60}, ["warmup (60) and decay (60) take 120 steps", "only 100"]),
        ("step_decay", {"every": 30, "warmup": 31}, ["warmup (31 steps)", "first drop", "after 30"]),
        ("multi_step", {"warmup": 90}, ["warmup (90 steps)", "first drop", "after 80"]),
        ("warm_restarts", {"cycles": 5, "warmup": 20, "rewarm": True}, ["warmup (20 steps)", "cycle 1 (20 steps)"]),
        ("warm_restarts", {"cycles": 200}, ["200 cycles", "run of 100", "fewer"]),
        ("warm_restarts", {"cycles": 10, "mult": 5}, ["10 cycles with mult=5", "run of 100", "fewer"]),
        ("one_cycle", {"rise": 60, "three_phase": True}, ["rise (60 steps)", "119 steps", "only 100", "half"]),
        ("phases", {"phases": [{"from": 1, "length": 60}, {"length": 60}]}, ["120 steps (60 + 60)", "run has 100"]),
        ("phases", {"phases": [{"from": 1, "length": 60}, {"length": 30}]}, ["90 steps (60 + 30)", "run has 100"]),
        ("phases", {"phases": [{"from": 1, "length": 60}, {"length": 60}, {}]}, ["120 steps (60 + 60)", "run has 100"]),
    ],
)
def test_lengths_that_do_not_fit(name: str, arguments: Arguments, parts: Sequence[str]) -> None:
    refusal(asked(name, 100, **arguments), *parts)


def test_the_numbers_of_a_long_run_are_whole() -> None:
    refusal(asked("wsd", 1_000_000, warmup=600_001, decay=400_000), "(600001)", "(400000)", "1000001 steps", "only 1000000")
    refusal(asked("wsd", 1_000_000, warmup=1_000_001), "1000001", "1000000 steps")
    refusal(
        asked("phases", 10**7, phases=[{"from": 1, "length": 9_999_999}, {"length": 2}]),
        "10000001 steps (9999999 + 2)",
        "run has 10000000",
    )


@pytest.mark.parametrize(
    ("name", "arguments", "parts"),
    [
        ("step_decay", {"every": 0}, ["every=0", "drops", "100 steps"]),
        ("step_decay", {"every": 1e-7}, ["every=1e-07", "drops", "100 steps"]),
        ("multi_step", {"milestones": "80%"}, ["milestones='80%'", "list", "['80%', '90%']"]),
        ("multi_step", {"milestones": 80}, ["milestones=80", "list", "['80%', '90%']"]),
        ("multi_step", {"milestones": [90, 80]}, ["milestones=[90, 80]", "rise", "90, 80"]),
        ("multi_step", {"milestones": ["50%", 0.4]}, ["milestones=['50%', 0.4]", "rise", "50, 40"]),
        ("wsd_s", {"ends": "50%"}, ["ends='50%'", "list", "['50%', '100%']"]),
        ("wsd_s", {"ends": [50, 50]}, ["ends=[50, 50]", "rise", "50, 50"]),
        ("wsd_s", {"ends": [0, 50]}, ["ends=[0, 50]", "rise", "0, 50"]),
        ("warm_restarts", {"first": 0}, ["cycle", "0 steps", "run of 100"]),
        ("warm_restarts", {"first": 10, "cycles": 3}, ["cycles (3)", "first (10)", "give one of them"]),
        ("wsd", {"half_life": 10}, ["half_life=10", "exponential-minicpm"]),
        ("wsd", {"shape": "exponential-minicpm"}, ["exponential-minicpm", "half_life"]),
        ("wsd", {"shape": "exponential-minicpm", "half_life": 0}, ["half_life=0", "above 0"]),
        ("wsd", {"shape": "exponential-minicpm", "half_life": 9, "min_lr": 0.1}, ["exponential-minicpm", "no floor"]),
    ],
)
def test_lengths_that_make_no_sense(name: str, arguments: Arguments, parts: Sequence[str]) -> None:
    refusal(asked(name, 100, **arguments), *parts)


@pytest.mark.parametrize(
    ("steps", "parts"),
    [
        (0, ["steps=0", "1 or more"]),
        (-1, ["steps=-1", "1 or more"]),
        (1.5, ["steps=1.5", "whole"]),
        (math.nan, ["steps=nan", "whole number"]),
        (math.inf, ["steps=inf", "whole number"]),
        (True, ["steps=True", "whole number"]),
        ("100", ["steps='100'", "whole number"]),
        (None, ["steps=None", "whole number"]),
    ],
)
def test_a_run_of_no_length(steps: Any, parts: Sequence[str]) -> None:
    refusal(lambda: Horizon(steps), *parts)
    for name in CATALOGUE:
        refusal(asked(name, steps), *parts)


@pytest.mark.parametrize("unit", ["epochs", "steps_per_epoch", "tokens_per_step"])
@pytest.mark.parametrize(
    ("given", "rule"),
    [(0, "above 0"), (-1, "above 0"), (math.nan, "number"), (math.inf, "finite"), (True, "number"), ("3", "number")],
)
def test_a_bad_conversion_is_named_as_it_was_typed(unit: str, given: Any, rule: str) -> None:
    refusal(asked("wsd", 100, **{unit: given}), f"{unit}={given!r}", rule)


@pytest.mark.parametrize("given", [0, -1e-3, math.nan, math.inf, True, "1e-3"])
def test_a_bad_peak(given: Any) -> None:
    refusal(lambda: Horizon(100, peak=given), f"peak={given!r}")


# --- floors ---

FLOORED = [name for name, entry in CATALOGUE.items() if "min_lr_ratio" in entry.arguments]


@pytest.mark.parametrize("name", FLOORED)
@pytest.mark.parametrize(
    ("floor", "parts"),
    [
        ({"min_lr_ratio": 1.5}, ["min_lr_ratio=1.5", "above the peak", "between 0 and 1"]),
        ({"min_lr_rate": 1.5}, ["=1.5", "above the peak", "between 0 and 1"]),
        ({"min_lr_ratio": -0.1}, ["min_lr_ratio=-0.1", "negative", "between 0 and 1"]),
        ({"min_lr_ratio": math.nan}, ["min_lr_ratio=nan", "not a number"]),
        ({"min_lr_ratio": math.inf}, ["min_lr_ratio=inf", "finite"]),
        ({"min_lr_ratio": True}, ["min_lr_ratio=True", "not a number"]),
        ({"min_lr_ratio": "10%"}, ["min_lr_ratio='10%'", "not a number"]),
        ({"min_lr": -1e-5}, ["min_lr=-1e-05", "0 or more"]),
        ({"min_lr": math.nan}, ["min_lr=nan", "not a number"]),
        ({"min_lr": math.inf}, ["min_lr=inf", "finite"]),
        ({"min_lr": True}, ["min_lr=True", "not a number"]),
        ({"min_lr": "a tenth"}, ["min_lr='a tenth'", "not a number"]),
        ({"min_lr": 1e-5, "min_lr_ratio": 0.1}, ["min_lr (1e-05)", "min_lr_ratio (0.1)", "give one of them"]),
        ({"min_lr": 0.0, "min_lr_ratio": 0.0}, ["min_lr (0.0)", "min_lr_ratio (0.0)", "give one of them"]),
        ({"eta_min": 1e-5, "min_lr_rate": 0.1}, ["1e-05", "0.1", "give one of them"]),
        ({"min_lr": 2e-3}, ["min_lr (0.002)", "above the peak LR (0.001)"]),
    ],
)
def test_a_bad_floor(name: str, floor: Arguments, parts: Sequence[str]) -> None:
    refusal(lambda: build(name, Horizon(100, peak=1e-3), **floor), *parts)


@pytest.mark.parametrize("name", [*FLOORED, "phases"])
def test_a_floor_above_the_peak_of_a_group(name: str) -> None:
    more: Arguments = (
        {"phases": [{"from": 1, "to": 0}]} if name == "phases" else {"shape": "linear"} if name == "wsd_s" else {}
    )
    schedule = build(name, 100, min_lr=2e-3, **more)
    assert schedule.lr(50, 2e-3) >= 2e-3
    for call in (lambda: schedule.lr(50, 1e-3), lambda: schedule.lrs(None, 1e-3), lambda: schedule.check_peak(1e-3)):
        refusal(call, "min_lr (0.002)", "above the peak LR (0.001)", "min_lr_ratio")


def test_a_floor_that_a_curve_needs_the_peak_for() -> None:
    refusal(asked("wsd", 100, shape="exponential", min_lr=1e-5), "'exponential'", "min_lr (1e-05)", "peak", "min_lr_ratio")
    refusal(asked("wsd_s", 100, min_lr=1e-5), "'inverse'", "min_lr (1e-05)", "peak", "min_lr_ratio")


# --- other arguments ---


def numbers() -> list[tuple[str, str]]:
    """Every argument of every schedule that is one number and no length."""
    lengths = {"warmup", "rise", "half_life", *(word for _, word in LENGTHS)}
    return [
        (name, argument)
        for name, entry in CATALOGUE.items()
        for argument, parameter in inspect.signature(entry.builder).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
        and argument not in lengths
        and ("float" in str(parameter.annotation) or "int" in str(parameter.annotation))
        and "str" not in str(parameter.annotation)
    ]


@pytest.mark.parametrize(("name", "argument"), numbers())
@pytest.mark.parametrize("given", [math.nan, math.inf, -math.inf, -1, True, "many", [1]])
def test_a_number_that_is_none_is_refused_in_words(name: str, argument: str, given: Any) -> None:
    more: Arguments = {"phases": [{"from": 1, "to": 0}]} if name == "phases" else {}
    refusal(asked(name, 100, **{argument: given}, **more), str(given))


@pytest.mark.parametrize(
    ("name", "arguments", "parts"),
    [
        ("warmup_cosine", {"num_cycles": 1}, ["num_cycles=1", "0.5", "warm_restarts"]),
        ("warmup_cosine", {"num_cycles": 0.25}, ["num_cycles=0.25", "0.5", "warm_restarts"]),
        ("wsd", {"num_cycles": 2, "num_decay_steps": 10}, ["num_cycles=2", "0.5", "warm_restarts"]),
        ("warmup_cosine", {"warmup_start": 1.5}, ["1.5", "between 0 and 1"]),
        ("step_decay", {"factor": 0}, ["factor=0", "above 0 and at most 1"]),
        ("step_decay", {"factor": 1.1}, ["factor=1.1", "above 0 and at most 1"]),
        ("multi_step", {"gamma": 10}, ["factor=10", "above 0 and at most 1"]),
        ("warm_restarts", {"cycles": 0}, ["cycles=0", "whole number, 1 or more"]),
        ("warm_restarts", {"num_cycles": 2.5}, ["cycles=2.5", "whole number, 1 or more"]),
        ("warm_restarts", {"cycles": math.nan}, ["cycles=nan", "whole number, 1 or more"]),
        ("warm_restarts", {"cycles": math.inf}, ["cycles=inf", "whole number, 1 or more"]),
        ("warm_restarts", {"mult": 0}, ["mult=0", "above 0"]),
        ("warm_restarts", {"peak_decay": 0}, ["peak_decay=0", "above 0 and at most 1"]),
        ("warm_restarts", {"peak_decay": 1.1}, ["peak_decay=1.1", "above 0 and at most 1"]),
        ("one_cycle", {"div_factor": 0.5}, ["div_factor=0.5", "1 or more"]),
        ("one_cycle", {"final_div_factor": 0}, ["final_div_factor=0", "1 or more"]),
        ("one_cycle", {"base_momentum": 1.5}, ["momentum", "1.5", "between 0 and 1"]),
        ("one_cycle", {"max_momentum": -0.1}, ["momentum", "-0.1", "between 0 and 1"]),
        ("inverse_sqrt_cooldown", {"timescale": 0}, ["timescale=0", "above 0"]),
        ("power", {"timescale": -5}, ["timescale=-5", "above 0"]),
        ("power", {"exponent": 0}, ["exponent=0", "above 0"]),
        ("rex", {"alpha": 1.0}, ["rex(1)", "alpha is at least 0 and below 1"]),
        ("rex", {"alpha": -0.5}, ["rex(-0.5)", "alpha is at least 0 and below 1"]),
    ],
)
def test_numbers_out_of_range(name: str, arguments: Arguments, parts: Sequence[str]) -> None:
    refusal(asked(name, 100, **arguments), *parts)


# --- shapes ---


@pytest.mark.parametrize(
    ("shape", "parts"),
    [
        ("cosin", ["unknown shape 'cosin'", "did you mean 'cosine'?", ", ".join(SHAPES)]),
        ("1-sqr", ["unknown shape '1-sqr'", "did you mean '1-sqrt'?"]),
        ("exponental", ["unknown shape 'exponental'", "did you mean 'exponential'?"]),
        ("xyzzy", ["unknown shape 'xyzzy'", ", ".join(SHAPES)]),
        ("", ["unknown shape ''", ", ".join(SHAPES)]),
        ("rex(0.9", ["unknown shape 'rex(0.9'", ", ".join(SHAPES)]),
        ("rex(1)", ["rex(1)", "below 1"]),
        ("rex(-1)", ["rex(-1)", "at least 0"]),
        ("rex(0.5, 2)", ["'rex(0.5, 2)' has 2 arguments", "'rex' takes 1"]),
        ("linear(3)", ["'linear(3)' has 1 arguments", "'linear' takes 0"]),
        ("rex(nan)", ["'rex(nan)'", "finite"]),
        ("power(inf)", ["'power(inf)'", "finite"]),
        ("power(0)", ["power(0)", "above 0"]),
        ("power(-2)", ["power(-2)", "above 0"]),
        ("power(two)", ["'power(two)'", "must be numbers", "rex(0.9)"]),
        ("inverse(0)", ["inverse(0)", "above 0"]),
        ("inverse(-1)", ["inverse(-1)", "above 0"]),
        ("exponential(0)", ["'exponential(0.0)'", "0"]),
        ("exponential(-1)", ["'exponential(-1.0)'", "-1"]),
        (7, ["a shape is a word", "not 7"]),
    ],
)
def test_a_bad_shape(shape: Any, parts: Sequence[str]) -> None:
    refusal(lambda: parse(shape), *parts)
    refusal(asked("wsd", 100, shape=shape, min_lr_ratio=0.1), *parts)
    refusal(asked("wsd", 100, warmup_shape=shape), *parts)
    refusal(asked("wsd_s", 100, shape=shape), *parts)
    refusal(asked("one_cycle", 100, shape=shape), *parts)
    refusal(asked("phases", 100, phases=[{"from": 1, "to": 0.5, "shape": shape}]), *parts)


@pytest.mark.parametrize("shape", ["exponential", "inverse", "inverse(0.5)"])
def test_a_curve_that_cannot_reach_zero(shape: str) -> None:
    for call in (
        asked("wsd", 100, shape=shape),
        asked("wsd", 100, shape=shape, min_lr=0.0),
        asked("wsd_s", 100, shape=shape, min_lr_ratio=0.0),
        asked("wsd", 100, warmup_shape=shape),
        asked("phases", 100, phases=[{"from": 1, "to": 0, "shape": shape}]),
        lambda: fall(10, shape),
        lambda: rise(10, shape),
    ):
        refusal(call, f"'{shape}'" if shape != "inverse(0.5)" else "inverse(0.5)", "cannot reach or leave 0", "floor above 0")


def test_a_curve_with_a_floor_it_is_not_told_of_does_not_ask_for_one() -> None:
    schedule = build("one_cycle", Horizon(100, peak=1e-3), shape="exponential", min_lr=1e-5)
    assert schedule.lr(99, 1e-3) == pytest.approx(1e-5)


# --- a schedule of one's own ---


@pytest.mark.parametrize(
    ("phases", "parts"),
    [
        ([], ["phases=[]", "list of phases"]),
        ({"from": 1}, ["phases={'from': 1}", "list of phases"]),
        ("wsd", ["phases='wsd'", "list of phases"]),
        (7, ["phases=7", "list of phases"]),
        ([{"from": 0, "to": 1, "len": 5}], ["phase 1 does not know len", "name, length, from, to, shape"]),
        ([{"from": 1}, {"start": 1}], ["phase 2 does not know start", "name, length, from, to, shape"]),
        ([{"from": 1, 5: 3}], ["phase 1 does not know 5", "name, length, from, to, shape"]),
        ([{"from": "full"}], ["phase 1: from='full'", "between 0 and 1"]),
        (["warmup"], ["phase 1 does not know 'warmup'", "name, length, from, to, shape"]),
        ([{"to": 1}], ["phase 1 needs 'from'"]),
        ([{"from": 1, "to": 1.5}], ["phase 1: to=1.5", "between 0 and 1"]),
        ([{"from": -0.5}], ["phase 1: from=-0.5", "between 0 and 1"]),
        ([{"from": 1}, {"to": math.nan, "length": 5}], ["phase 2: to=nan", "between 0 and 1"]),
        ([{"from": True}], ["phase 1: from=True", "between 0 and 1"]),
        ([{"from": 1}, {}, {"length": 5}], ["phases 1, 2 have no length", "only one"]),
    ],
)
def test_a_bad_list_of_phases(phases: Any, parts: Sequence[str]) -> None:
    refusal(asked("phases", 100, phases=phases), *parts)


def test_a_list_of_phases_that_is_missing() -> None:
    with pytest.raises((ValueError, TypeError), match=r"^phases.* 'phases'"):
        build("phases", 100)


@pytest.mark.parametrize("given", [-1, math.nan, math.inf])
def test_a_phase_of_bad_length(given: float) -> None:
    refusal(lambda: hold(given), "'stable'", repr(given), "0 or more")


@pytest.mark.parametrize("given", [-0.1, 1.1, math.nan, math.inf])
def test_a_phase_between_bad_values(given: float) -> None:
    refusal(lambda: rise(10, start=given), "'warmup'", repr(given), "between 0 and 1")
    refusal(lambda: fall(10, to=given), "'decay'", repr(given), "between 0 and 1")


@pytest.mark.parametrize("given", [0.0, -0.5, 1.5, math.nan])
def test_a_phase_travelled_to_nowhere(given: float) -> None:
    refusal(lambda: Phase("decay", 10, 1.0, 0.0, Shape("cosine"), given), "'decay'", f"until={given!r}", "at most 1")


def test_a_schedule_of_nothing() -> None:
    refusal(lambda: Schedule(()), "at least one phase")
    refusal(lambda: chain([]), "at least one phase")


@pytest.mark.parametrize("given", [-1e-5, math.nan, math.inf])
def test_a_schedule_over_a_bad_floor(given: float) -> None:
    refusal(lambda: Schedule((hold(1),)).with_floor(given), f"min_lr={given!r}", "0 or more")


@pytest.mark.parametrize("times", [0, -1, 1.5, True, math.nan, math.inf, "x", None])
def test_repeating_no_whole_number_of_times(times: Any) -> None:
    refusal(lambda: repeat(fall(10), times), repr(times), "whole number, 1 or more")


@pytest.mark.parametrize("step", [-1, -0.5, math.nan])
def test_a_step_before_the_first(step: float) -> None:
    schedule = build("wsd", 100)
    refusal(lambda: schedule.values([3, step]), "steps count from 0")
    if step < 0:
        refusal(lambda: schedule(step), f"step {step!r}", "steps count from 0")
        refusal(lambda: schedule.phase(step), f"step {step!r}", "steps count from 0")


# --- specs ---


def spec(**changed: Any) -> Arguments:
    return {**to_spec(build("wsd", 100)), **changed}


def phase_spec(**changed: Any) -> Arguments:
    return spec(phases=[{"name": "a", "length": 10, "start": 1.0, "end": 0.0, "shape": "linear", **changed}])


@pytest.mark.parametrize(
    ("written", "parts"),
    [
        (spec(colour="red"), ["a schedule's spec does not know colour", "name, phases, min_lr, momentum"]),
        ({"name": "wsd"}, ["a schedule's spec lacks phases", "name, phases, min_lr, momentum"]),
        ([], ["a schedule's spec is a mapping, not list"]),
        (None, ["a schedule's spec is a mapping, not NoneType"]),
        (spec(phases={}), ["lists its phases, not dict"]),
        (spec(phases=[]), ["at least one phase"]),
        (spec(phases=[3]), ["a phase's spec is a mapping, not int"]),
        (spec(min_lr="1e-5"), ["min_lr='1e-5'", "not a number"]),
        (spec(min_lr=True), ["min_lr=True", "not a number"]),
        (spec(min_lr=-1.0), ["min_lr=-1.0", "0 or more"]),
        (spec(min_lr=math.nan), ["min_lr=nan", "0 or more"]),
        (spec(momentum=0.9), ["a schedule's spec is a mapping, not float"]),
        (phase_spec(colour="red"), ["a phase's spec does not know colour", "name, length, start, end, shape, until"]),
        (spec(phases=[{"length": 3}]), ["a phase's spec lacks end, start", "name, length, start, end, shape, until"]),
        (phase_spec(length="10"), ["length='10'", "not a number"]),
        (phase_spec(length=True), ["length=True", "not a number"]),
        (phase_spec(length=-10), ["-10", "0 or more"]),
        (phase_spec(length=math.inf), ["inf", "0 or more"]),
        (phase_spec(start=None), ["start=None", "not a number"]),
        (phase_spec(start=1.5), ["1.5", "between 0 and 1"]),
        (phase_spec(end=math.nan), ["nan", "between 0 and 1"]),
        (phase_spec(until=0), ["until=0", "at most 1"]),
        (phase_spec(shape="cosin"), ["unknown shape 'cosin'", "did you mean 'cosine'?"]),
        (phase_spec(shape=3), ["a shape is a word", "not 3"]),
        (phase_spec(shape="exponential"), ["'exponential'", "cannot reach or leave 0"]),
    ],
)
def test_a_bad_spec(written: Any, parts: Sequence[str]) -> None:
    refusal(lambda: from_spec(written), *parts)


# --- a cycle that is cut ---


def cut(steps: int, **arguments: Any) -> str:
    """The warning of a warm_restarts that ends within a cycle; empty where it does not."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        schedule = build("warm_restarts", steps, **arguments)
    assert schedule.total == steps
    assert len(caught) <= 1
    return str(caught[0].message) if caught else ""


def test_a_cut_cycle_warns_with_the_numbers() -> None:
    message = cut(1000, first=300, warmup=0)
    assert "\n" not in message
    for part in ("first cycle of 300 steps", "cycle 4", "100 of its 300 steps", "250 (4 cycles)", "(3 cycles)"):
        assert part in message


def test_a_cut_only_cycle_warns_with_the_one_length_that_fits() -> None:
    message = cut(1000, first=950, warmup=100)
    assert "cycle 1" in message
    assert "first=900 (1 cycle)" in message


@pytest.mark.parametrize(("steps", "first", "mult"), [(1000, 250, 1), (1000, "25%", 1), (700, 100, 2), (1000, 1000, 3)])
def test_cycles_that_end_with_the_run_do_not_warn(steps: int, first: float | str, mult: int) -> None:
    assert not cut(steps, first=first, mult=mult, warmup=0)


def lengths_that_fit(message: str) -> list[float]:
    return [float(length) for length in re.findall(r"([\d.e+-]+) \(\d+ cycles?\)", message)]


@law
@given(
    steps=st.integers(20, 100_000),
    share=st.floats(0.05, 0.9),
    mult=st.one_of(st.sampled_from([1, 1.5, 2, 3]), st.floats(1.0, 3.0)),
    warmup=st.sampled_from([0, "5%", 7]),
)
def test_the_lengths_named_by_the_warning_fit(steps: int, share: float, mult: float, warmup: float | str) -> None:
    message = cut(steps, first=share, mult=mult, warmup=warmup)
    assume(message)
    assert 1 <= len(lengths_that_fit(message)) <= 2 or re.search(r"give cycles=\d+ instead$", message)
    for length in lengths_that_fit(message):
        assert not cut(steps, first=length, mult=mult, warmup=warmup)


@pytest.mark.parametrize(("steps", "first"), [(1000, 300), (100_000, 30_001), (50, 15)])
def test_the_lengths_named_by_the_warning_fit_where_they_are_thirds(steps: int, first: int) -> None:
    for length in lengths_that_fit(cut(steps, first=first, warmup=0)):
        assert not cut(steps, first=length, warmup=0)
