"""Runs that are killed with SIGKILL at random points and resumed, beside the same runs left alone.

    python scripts/faults.py                   50 kills in one process each, 10 with two: about three minutes on one CPU core
    python scripts/faults.py --kills 6 --kills-of-two 1

A kill falls on an event drawn at random: the beginning of a step, the moment before or after the optimizer's, or a file being
written, of which the half is then on the disk. A killed job is started again as its user would, with the same command, until
it ends. It must then have run every step under the same learning rates as the run that was left alone, and end with the same
weights, bit for bit. Jobs: a plan of trunk and branches, an open-ended run that cools down, the same on a stream, cycles.

The processes are forked from one that has imported everything, so a start costs a tenth of a second.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import safetensors.torch
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import Trainer, TrainerCallback, TrainerState, TrainingArguments

import hf_lrsched
from hf_lrsched import BranchPlan, CooldownCallback, CycleSnapshots, HeldBack, last_complete
from hf_lrsched.training import checkpoints

EXAMPLES = 96


class Tiny(nn.Module):
    """Dropout, so that a lost random state shows."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 1))

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss": nn.functional.mse_loss(self.layers(x).squeeze(-1), labels)}


def data() -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [
        {"x": torch.randn(4, generator=generator), "labels": torch.randn((), generator=generator)} for _ in range(EXAMPLES)
    ]


class Stream(torch.utils.data.IterableDataset[Any]):
    def __init__(self, times: int) -> None:
        self.times = times

    def __iter__(self) -> Any:
        for _ in range(self.times):
            yield from data()


class Events(TrainerCallback):
    """Writes down the LR of every update, and kills the process at the event that was drawn."""

    def __init__(self, trace: Path, fatal: int | None, tell: Path) -> None:
        self.trace, self.fatal, self.tell, self.count = trace, fatal, tell, 0

    def happened(self, what: str, harm: Callable[[], None] | None = None) -> None:
        self.count += 1
        if self.count == self.fatal:
            if harm is not None:
                harm()
            self.tell.write_text(what)
            os.kill(os.getpid(), signal.SIGKILL)

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.happened("step")

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        line = [Path(args.output_dir).name, state.global_step, kwargs["optimizer"].param_groups[0]["lr"]]
        with self.trace.open("a") as file:
            file.write(json.dumps(line) + "\n")
        self.happened("update")

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.happened("update")

    def hook_files(self) -> None:
        """Every file that a checkpoint is made of becomes an event: before, half written, and after."""
        whole_save, whole_json, whole_write = torch.save, TrainerState.save_to_json, checkpoints.write

        def save(object_: Any, file: Any, *args: Any, **kwargs: Any) -> None:
            self.happened("save")
            whole_save(object_, file, *args, **kwargs)
            self.happened("half-written file", lambda: _halve(Path(file)))

        def save_to_json(state: TrainerState, path: str) -> None:
            self.happened("save")
            whole_json(state, path)
            self.happened("half-written file", lambda: _halve(Path(path)))

        def write(path: Path, text: str) -> None:
            self.happened("before a manifest")
            whole_write(path, text)
            self.happened("after a manifest")

        whole_weights, whole_removal = safetensors.torch.save_file, shutil.rmtree

        def save_file(tensors: Any, file: Any, *args: Any, **kwargs: Any) -> None:
            self.happened("save")
            whole_weights(tensors, file, *args, **kwargs)
            self.happened("half-written file", lambda: _halve(Path(file)))

        def remove(folder: Any, **kwargs: Any) -> None:
            self.happened("deletion", lambda: [file.unlink() for file in sorted(Path(folder).iterdir())[::2]])
            whole_removal(folder, **kwargs)

        torch.save, TrainerState.save_to_json = save, save_to_json  # type: ignore[assignment]  # in this process alone
        safetensors.torch.save_file, checkpoints.shutil = save_file, SimpleNamespace(rmtree=remove)
        for name in ("checkpoints", "branches", "cooldown", "snapshots"):
            vars(sys.modules[f"hf_lrsched.training.{name}"])["write"] = write


def _halve(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def arguments(out: Path, **words: Any) -> TrainingArguments:
    plain = {"per_device_train_batch_size": 4, "logging_steps": 5, "save_strategy": "steps", "save_steps": 3, "use_cpu": True}
    plain |= {"save_total_limit": 2, "report_to": [], "disable_tqdm": True, "learning_rate": 1e-2}
    return TrainingArguments(output_dir=str(out), **{**plain, **words})


def trainer(args: TrainingArguments, *callbacks: TrainerCallback, dataset: Any = None) -> Trainer:
    torch.manual_seed(0)
    return Trainer(model=Tiny(), args=args, train_dataset=dataset or data(), callbacks=[*callbacks])


def plan(out: Path, events: Events) -> None:
    BranchPlan([20, 35]).run(lambda args: trainer(args, events), arguments(out))


def cooldown(out: Path, events: Events, dataset: Any = None, **when: Any) -> None:
    words = {"max_steps": 10**9, "lr_scheduler_type": "wsd", "lr_scheduler_kwargs": {"warmup": 4, "decay": 0}}
    made = trainer(arguments(out, **words), events, CooldownCallback(8, **when), dataset=dataset)
    made.train(resume_from_checkpoint=last_complete(out))
    made.save_model(str(out))


def stop_at(out: Path, events: Events) -> None:
    cooldown(out, events, at=17)


def stream(out: Path, events: Events) -> None:
    alone = os.environ.get("WORLD_SIZE", "1") == "1"
    cooldown(out, events, dataset=HeldBack(Stream(1), 24) if alone else HeldBack(Stream(3), 144))


def cycles(out: Path, events: Events) -> None:
    words = {"max_steps": 24, "lr_scheduler_type": "warm_restarts", "lr_scheduler_kwargs": {"cycles": 3, "warmup": 0}}
    made = trainer(arguments(out, **words), events, CycleSnapshots())
    made.train(resume_from_checkpoint=last_complete(out))
    made.save_model(str(out))


JOBS = {"plan": plan, "cooldown": stop_at, "stream": stream, "cycles": cycles}


def start(job: str, out: Path, fatal: int | None, processes: int = 1) -> tuple[bool, str, int]:
    """Runs `job` in forked processes; whether it ended, what it was killed at, and how many events there were."""
    tell, counted = out.with_suffix(".killed"), out.with_suffix(".events")
    tell.unlink(missing_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    victim = random.randrange(processes)
    children = []
    for rank in range(processes):
        if child := os.fork():
            children.append(child)
            continue
        try:
            quiet = os.open(out.with_suffix(f".log{rank}"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(quiet, 1)
            os.dup2(quiet, 2)
            if processes > 1:
                group = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "MASTER_ADDR": "127.0.0.1"}
                os.environ.update({name: str(value) for name, value in {**group, "MASTER_PORT": port}.items()})
                os.environ["ACCELERATE_USE_CPU"] = "true"
            events = Events(out.with_suffix(f".trace{rank}"), fatal if rank == victim else None, tell)
            events.hook_files()
            JOBS[job](out, events)
            assert int(os.environ.get("WORLD_SIZE", "1")) == torch.distributed.get_world_size() if processes > 1 else True
            counted.write_text(str(events.count))
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    codes = []
    while children:
        child, status = os.wait()
        children.remove(child)
        codes.append(os.waitstatus_to_exitcode(status))
        if codes[-1] != 0:
            for other in children:
                os.kill(other, signal.SIGKILL)
    killed = tell.read_text() if tell.exists() else ""
    if any(codes) and not killed:
        sys.exit(f"{job} failed by itself (exit codes {codes}):\n{''.join(p.read_text()[-3000:] for p in _logs(out))}")
    return not any(codes), killed, int(counted.read_text()) if counted.exists() else 0


def _logs(out: Path) -> list[Path]:
    return sorted(out.parent.glob(f"{out.name}.log*"))


def weights(out: Path) -> dict[str, dict[str, torch.Tensor]]:
    return {
        file.parent.name: load_file(file)
        for file in sorted(out.glob("model.safetensors")) + sorted(out.glob("branch-*/model.safetensors"))
    }


def traces(out: Path) -> list[dict[tuple[str, int], set[float]]]:
    """For each process, what LRs each update ran under, over all its starts."""
    found = []
    for file in sorted(out.parent.glob(f"{out.name}.trace*")):
        lrs: dict[tuple[str, int], set[float]] = {}
        for line in file.read_text().splitlines():
            folder, step, lr = json.loads(line)
            lrs.setdefault((folder.replace(out.name, ""), step), set()).add(lr)
        found.append(lrs)
    return found


def same(out: Path, reference: Path) -> bool:
    """Whether both runs saw the same LRs at the same steps and ended with the same weights."""
    ours, theirs = (list(weights(one).values()) for one in (out, reference))
    equal = len(ours) == len(theirs) > 0 and all(
        one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
        for one, other in zip(ours, theirs, strict=True)
    )
    return equal and traces(out) == traces(reference)


def trial(folder: Path, job: str, number: int, processes: int, references: dict[Any, int]) -> tuple[Counter[str], bool]:
    """One run that is killed until it ends by itself; what it was killed at, and whether it is as the one left alone."""
    reference = folder / f"{job}-{processes}"
    if (job, processes) not in references:
        ended, _, references[job, processes] = start(job, reference, None, processes)
        assert ended
    out, kills, ended = folder / f"{job}-{processes}-{number}", Counter[str](), False
    while not ended:
        ended, killed, _ = start(job, out, random.randint(1, references[job, processes]), processes)
        kills.update([killed] if killed else [])
    matches = same(out, reference)
    if matches:
        shutil.rmtree(out)
        for file in folder.glob(f"{out.name}.*"):
            file.unlink()
    return kills, matches


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50, help="kills of runs in one process")
    parser.add_argument("--kills-of-two", type=int, default=10, help="kills of one of two processes")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    random.seed(asked.seed)
    folder, references, mismatches = Path(tempfile.mkdtemp()), dict[Any, int](), 0
    for processes, wanted in ((1, asked.kills), (2, asked.kills_of_two)):
        kills, runs = Counter[str](), 0
        while kills.total() < wanted:
            job = list(JOBS)[runs % len(JOBS)]
            new, matches = trial(folder, job, runs, processes, references)
            kills, runs, mismatches = kills + new, runs + 1, mismatches + (not matches)
            print(f"{processes} process: {job}: {dict(new)} {'same' if matches else f'DIFFERS: {folder}'}", flush=True)
        print(
            f"{processes} process: {kills.total()} kills {dict(kills)}, {runs} runs, {mismatches} mismatches so far",
            flush=True,
        )
    if mismatches:
        sys.exit(f"{mismatches} runs differ; they are in {folder}")
    shutil.rmtree(folder)


if __name__ == "__main__":
    torch.set_num_threads(1)
    del hf_lrsched
    main()
