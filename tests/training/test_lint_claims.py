"""What the linter says will happen, held to what Transformers and torch do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim import SGD, AdamW
from torch.optim.lr_scheduler import OneCycleLR
from transformers import HfArgumentParser, TrainingArguments, get_scheduler

from hf_lrsched.advice.lint import Configuration, judge, lint

from .running import arguments, lrs, running

RATE, STEPS = 1e-3, 50


def optimizer() -> Any:
    return AdamW([torch.nn.Parameter(torch.zeros(1))], lr=RATE)


def curve(name: str, warmup: int, **kwargs: Any) -> list[float]:
    """The learning rates that Transformers runs under, and the one behind the last step."""
    own = optimizer()
    scheduler: Any = get_scheduler(name, own, warmup, STEPS, kwargs)
    found = [own.param_groups[0]["lr"]]
    for _ in range(STEPS):
        own.step()
        scheduler.step()
        found.append(own.param_groups[0]["lr"])
    return found


def sentence(rule: str, name: str, warmup: float = 0, **kwargs: Any) -> str:
    words = {"learning_rate": RATE, "lr_scheduler_type": name, "warmup_steps": warmup, "lr_scheduler_kwargs": kwargs}
    [found] = [one for one in judge(Configuration.of(words, steps=STEPS)) if one.rule == rule]
    return found.sentence


@pytest.mark.parametrize("name", ["linear", "cosine", "constant_with_warmup", "inverse_sqrt"])
@pytest.mark.parametrize("warmup", [50, 51, 80, 1000])
def test_the_peak_that_is_reached(name: str, warmup: int) -> None:
    one = Configuration.of({"lr_scheduler_type": name, "warmup_steps": warmup}, steps=STEPS)
    assert one.effective_peak == pytest.approx(max(curve(name, warmup)[:STEPS]) / RATE, abs=5e-4)
    assert f"reaches {100 * (STEPS - 1) / warmup:.2g} % of its peak" in sentence("LR001", name, warmup)


def test_the_first_step_is_taken_at_0() -> None:
    assert curve("linear", 10)[0] == 0
    assert "begins at 0" in sentence("LR020", "linear", 10)


@pytest.mark.parametrize("name", ["constant"])
def test_a_warmup_that_is_ignored(name: str) -> None:
    assert curve(name, 10)[0] == RATE
    assert "the first step is taken at the full learning rate" in sentence("LR014", name, 10)


def test_arguments_that_are_dropped() -> None:
    for name in ("constant", "constant_with_warmup"):
        assert curve(name, 0, anything=1) == curve(name, 0)
        assert "do nothing" in sentence("LR013", name, anything=1)


@pytest.mark.parametrize("waves", [0.75, 1, 2])
def test_where_a_cosine_of_whole_waves_ends(waves: float) -> None:
    ends = re.search(r"ends at (\d+)% .* \((.*)\)", sentence("LR025", "cosine", num_cycles=waves))
    assert ends
    assert float(ends[2]) == pytest.approx(curve("cosine", 0, num_cycles=waves)[-1], rel=0.01)
    assert int(ends[1]) == round(100 * curve("cosine", 0, num_cycles=waves)[-1] / RATE)


def test_a_cosine_of_waves_and_a_half_comes_down() -> None:
    assert curve("cosine", 0, num_cycles=1.5)[-1] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("floor", [{"min_lr": 1e-2}, {"min_lr_rate": 3}])
def test_where_a_floor_above_the_peak_leads(floor: dict[str, float]) -> None:
    ends = float(sentence("LR023", "cosine_with_min_lr", **floor).rpartition("ends at ")[2])
    assert curve("cosine_with_min_lr", 0, **floor)[-1] == pytest.approx(ends)


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [
        ("cosine", {"min_lr_rate": 0.1}),
        ("linear", {"power": 1}),
        ("cosine", {"num_warmup_steps": 3}),
        ("cosine_with_min_lr", {}),
        ("cosine_with_min_lr", {"min_lr": 1e-4, "min_lr_rate": 0.1}),
        ("warmup_stable_decay", {}),
    ],
)
def test_arguments_that_are_refused(name: str, kwargs: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError)):
        curve(name, 0, **kwargs)
    assert sentence("LR028", name, **kwargs)


def test_polynomial_refuses_an_end_above_the_peak() -> None:
    with pytest.raises(ValueError, match="must be smaller"):
        curve("polynomial", 0, lr_end=1e-2)
    assert "refuses before the first step" in sentence("LR023", "polynomial", lr_end=1e-2)


@pytest.mark.filterwarnings("ignore:Both num_training_steps and num_stable_steps")  # that is what is looked at
def test_wsd_that_is_not_as_long_as_its_run() -> None:
    never = curve("warmup_stable_decay", 0, num_decay_steps=0.2)
    assert (never[STEPS - 1], never[STEPS]) == (RATE, 0)
    assert "nothing decays" in sentence("LR019", "warmup_stable_decay", num_decay_steps=0.2)
    below = curve("warmup_stable_decay", 30, num_decay_steps=40)
    assert max(below) < RATE
    assert "decays from below its peak" in sentence("LR019", "warmup_stable_decay", 30, num_decay_steps=40)
    rest = curve("warmup_stable_decay", 0, num_decay_steps=10, num_stable_steps=20)
    assert rest[30:STEPS] == [0] * 20
    assert "the other 20 run at the lowest LR" in sentence(
        "LR019", "warmup_stable_decay", num_decay_steps=10, num_stable_steps=20
    )


def test_torchs_one_cycle_restores_its_steps_and_raises_behind_them() -> None:
    first = SGD([torch.nn.Parameter(torch.zeros(1))], lr=RATE)
    state = OneCycleLR(first, RATE, total_steps=10).state_dict()
    again = SGD([torch.nn.Parameter(torch.zeros(1))], lr=RATE)
    scheduler = OneCycleLR(again, RATE, total_steps=20)
    scheduler.load_state_dict(state)
    for _ in range(9):
        again.step()
        scheduler.step()
    again.step()
    scheduler.step()
    with pytest.raises(ValueError, match="Tried to step 11 times"):
        scheduler.step()


# What is read from a file


def parsed(file: Path) -> Any:
    kinds: Any = TrainingArguments
    [args] = HfArgumentParser(kinds).parse_yaml_file(str(file))
    return args


PLAIN = "output_dir: out\nuse_cpu: true\nper_device_train_batch_size: 4\nlr_scheduler_type: linear\nnum_train_epochs: 1\n"


@pytest.mark.parametrize(
    "name", ["learning_rate", "weight_decay", "max_grad_norm", "num_train_epochs", "max_steps", "adam_epsilon"]
)
def test_a_number_that_is_text_ends_the_run(tmp_path: Path, name: str) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(f"{PLAIN.replace('num_train_epochs', 'seed')}{name}: 2e-5\n")
    [found] = lint(file)
    assert "the run ends with a TypeError" in found.sentence
    args = parsed(file)
    assert getattr(args, name) == "2e-5"
    args.output_dir = str(tmp_path / "out")
    with pytest.raises(TypeError):
        running(args).train()
    assert found.fix is not None
    file.write_text(f"{PLAIN}{found.fix.new}\n")
    assert getattr(parsed(file), name) == 2e-5


def test_warmup_ratio_is_refused_and_what_is_written_in_its_place_is_taken(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(f"{PLAIN}warmup_ratio: 0.1\n")
    found = lint(file)[0]
    with pytest.raises(ValueError, match="warmup_ratio"):
        parsed(file)
    assert found.fix is not None
    file.write_text(f"{PLAIN}{found.fix.new}\n")
    assert parsed(file).get_warmup_steps(200) == 20


@pytest.mark.parametrize("written", ["1.0", "1.5", "2.9"])
def test_an_unclear_warmup_is_as_many_steps_as_is_said(tmp_path: Path, written: str) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(f"{PLAIN}max_steps: 1000\nwarmup_steps: {written}\n")
    [found] = [one for one in lint(file) if one.rule == "LR011"]
    assert f"is {parsed(file).get_warmup_steps(1000)} step" in found.sentence


def test_an_unknown_schedule_and_a_missing_evaluation_are_refused(tmp_path: Path) -> None:
    for text, rule in (("lr_scheduler_type: cosin\n", "LR030"), ("lr_scheduler_type: reduce_lr_on_plateau\n", "LR029")):
        file = tmp_path / "a.yaml"
        file.write_text(PLAIN.replace("lr_scheduler_type: linear\n", text))
        assert [found.rule for found in lint(file)] == [rule]
        with pytest.raises(ValueError, match=r"cosin|eval strategy"):
            parsed(file)


def test_a_warmup_that_is_longer_than_the_run_never_peaks(tmp_path: Path) -> None:
    made = running(arguments(tmp_path, max_steps=5, warmup_steps=20, lr_scheduler_type="linear"))
    made.train()
    one = Configuration.of({"lr_scheduler_type": "linear", "warmup_steps": 20}, steps=5)
    assert max(lrs(made)) == pytest.approx(made.args.learning_rate * (one.effective_peak or 0))
