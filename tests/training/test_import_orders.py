"""`import hf_lrsched` and `import transformers` in either order, each in a process of its own, and a process without us."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import TrainingArguments

import hf_lrsched

ROOT = Path(__file__).parents[2]


def run(program: str, *arguments: str) -> None:
    done = subprocess.run([sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


US_FIRST = """
import sys
before = set(sys.modules)
import hf_lrsched
heavy = {"torch", "transformers", "matplotlib", "accelerate", "datasets", "peft", "trl", "numpy", "scipy", "aenum"}
loaded = heavy & {name.split(".")[0] for name in set(sys.modules) - before}
assert not loaded, f"import hf_lrsched loads {sorted(loaded)}"
assert "wsd" in dir(hf_lrsched) and "ScheduleLR" in dir(hf_lrsched)
assert not heavy & set(sys.modules), "dir() loads"

# A schedule of one's own, before Transformers is there.
assert hf_lrsched.wsd(10).total == 10
hf_lrsched.register_schedule("mine", lambda steps: hf_lrsched.wsd(steps, decay="50%"))
assert "torch" not in sys.modules and "transformers" not in sys.modules, "schedules load the host"
for taken in ("linear", "greedy", "wsd"):
    try:
        hf_lrsched.register_schedule(taken, lambda steps: hf_lrsched.wsd(steps))
    except ValueError:
        continue
    raise AssertionError(taken)

# One half of Transformers, then the other.
from transformers.trainer_utils import SchedulerType
assert [SchedulerType("wsd"), SchedulerType("mine")] == ["wsd", "mine"]
from transformers import TrainingArguments, get_scheduler
assert TrainingArguments("out", use_cpu=True, lr_scheduler_type="wsd").lr_scheduler_type is SchedulerType.WSD
import torch
optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
assert get_scheduler("wsd", optimizer, 2, 10, {"decay": 4}).schedule == hf_lrsched.wsd(10, warmup=2, decay=4)
assert get_scheduler("mine", optimizer, 0, 10).schedule == hf_lrsched.wsd(10, decay=5)
"""

HALF_OF_TRANSFORMERS_FIRST = """
import sys
from transformers.trainer_utils import SchedulerType
theirs = list(SchedulerType)
import hf_lrsched
assert "transformers.optimization" not in sys.modules, "import hf_lrsched loads the other half"
assert SchedulerType("wsd") is SchedulerType.WSD
from transformers.optimization import TYPE_TO_SCHEDULER_FUNCTION, get_scheduler
import torch
optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
assert get_scheduler("wsd", optimizer, 2, 10).schedule == hf_lrsched.wsd(10, warmup=2)
hf_lrsched.unregister()
assert list(TYPE_TO_SCHEDULER_FUNCTION) == list(SchedulerType) == theirs
"""

WITHOUT_US_AND_THEN_WITH = """
import pickle
import sys
import torch
args = torch.load(sys.argv[1], weights_only=False)
assert not [name for name in sys.modules if name.split(".")[0] == "hf_lrsched"], "the package was imported"
assert type(args.lr_scheduler_type) is str, type(args.lr_scheduler_type)
assert args.lr_scheduler_type == "wsd"
assert args.lr_scheduler_kwargs == {"decay": "10%"}
assert '"lr_scheduler_type": "wsd"' in args.to_json_string()
assert type(pickle.loads(pickle.dumps(args)).lr_scheduler_type) is str
assert not [name for name in sys.modules if name.split(".")[0] == "hf_lrsched"], "the package was imported"

# All of Transformers, then us.
from transformers import HfArgumentParser, Trainer, TrainingArguments, get_scheduler
import hf_lrsched
assert TrainingArguments("out", use_cpu=True, lr_scheduler_type="wsd").lr_scheduler_type == "wsd"
optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
made = get_scheduler(args.lr_scheduler_type, optimizer, 2, 10, args.lr_scheduler_kwargs)
assert made.schedule == hf_lrsched.wsd(10, warmup=2, decay="10%")
"""


def test_import_before_transformers_loads_nothing_heavy_and_registers_later() -> None:
    run(US_FIRST)


def test_import_between_the_halves_of_transformers() -> None:
    run(HALF_OF_TRANSFORMERS_FIRST)


def test_training_args_open_without_us_and_import_after_transformers_registers(tmp_path: Path) -> None:
    args = TrainingArguments(
        output_dir=str(tmp_path), use_cpu=True, lr_scheduler_type="wsd", lr_scheduler_kwargs={"decay": "10%"}
    )
    torch.save(args, tmp_path / "training_args.bin")
    run(WITHOUT_US_AND_THEN_WITH, str(tmp_path / "training_args.bin"))


def test_an_unknown_attribute_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'hf_lrsched' has no attribute 'wsdd'"):
        _ = hf_lrsched.wsdd


def test_every_public_name_is_there() -> None:
    for name in hf_lrsched.__all__:
        assert getattr(hf_lrsched, name) is not None
        assert name in dir(hf_lrsched)
