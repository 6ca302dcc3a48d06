"""Real trainings that forecasts are judged on: the embedded small Llama under eleven shapes at one peak LR, and longer runs.

    python scripts/forecast_runs.py lr FOLDER       held-out losses over peaks: how PEAK was chosen
    python scripts/forecast_runs.py train FOLDER    trains those that FOLDER lacks: about 25 minutes on one core
    python scripts/forecast_runs.py pack FOLDER     writes forecast_runs.json.gz from them
    python scripts/forecast_runs.py look            the held-out loss at the end of each

The data are those of recipes/pretrain.py without arguments, the model is a Llama of 0.13 million parameters. Every run of a
seed has the same first weights and the same order of examples. Where a schedule is at first that of the stable run, the run
leaves it at a checkpoint, with weights, optimizer and order of examples kept: the same numbers for fewer steps.

Whoever reads the packed runs (`histories`) needs neither torch nor a training. What they do not show: other peak LRs, other
sizes, and what a run without a warm-up does.
"""

from __future__ import annotations

import gzip
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from hf_lrsched.runs.history import History
from hf_lrsched.runs.reading import read_history
from hf_lrsched.schedules.catalogue import build
from hf_lrsched.schedules.schedule import Schedule
from hf_lrsched.schedules.spec import from_spec, to_spec

HERE = Path(__file__).parent
PACKED = HERE / "forecast_runs.json.gz"
PEAK = 4e-3  # between the two best that `lr` sees, on the side of the lower, as runs are twice as long and more
STEPS, LONG, WARMUP = 1600, 4000, 100  # LONG is two and a half times as far: within the three that a law may go
BATCH = 16  # examples of 128 tokens
EVERY = 40  # steps between evaluations: 2.5 % of a run
BIN = 10  # steps of which the mean training loss is kept
HIDDEN, LAYERS = 64, 2
PEAKS = (1.5e-3, 3e-3, 6e-3)  # what `lr` tries, over half of the steps


@dataclass(frozen=True)
class Case:
    """One run: a schedule of the catalogue by name, its arguments, its steps and its seed."""

    name: str
    of: str
    words: dict[str, Any]
    steps: int = STEPS
    seed: int = 0
    peak: float = PEAK

    @property
    def schedule(self) -> Schedule:
        return build(self.of, self.steps, **self.words)


def _wsd(decay: Any, shape: str = "1-sqrt") -> tuple[str, dict[str, Any]]:
    return "wsd", {"warmup": WARMUP, "decay": decay, "shape": shape}


def _cosine(to: float) -> tuple[str, dict[str, Any]]:
    return "warmup_cosine", {"warmup": WARMUP, "min_lr_ratio": to}


# Momentum stands still in one_cycle: a law of the LR knows nothing of it.
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "constant": _wsd(0),
    "wsd20": _wsd(0.2),
    "cosine0": _cosine(0.0),
    "wsd20-linear": _wsd(0.2, "linear"),
    "wsd40-linear": _wsd(0.4, "linear"),
    "wsd10": _wsd(0.1),
    "step_decay": ("step_decay", {"warmup": WARMUP, "every": 0.4, "factor": 0.3}),
    "linear0": _wsd(STEPS - WARMUP, "linear"),
    "cosine10": _cosine(0.1),
    "one_cycle": ("one_cycle", {"cycle_momentum": False}),
    "inverse_sqrt": ("inverse_sqrt_cooldown", {"warmup": WARMUP}),
}
AGAIN = 1  # the seed of the repeats: other first weights and another order of examples, which is what a run may differ by


def cases() -> Iterator[Case]:
    """All of them, in the order in which they are trained."""
    yield Case("constant-long", *SHAPES["constant"], steps=LONG * 4 // 5)  # the stable run that others leave
    for name, (of, words) in SHAPES.items():
        yield Case(name, of, words)
    yield Case("wsd20-long", *SHAPES["wsd20"], steps=LONG)
    for name, (of, words) in SHAPES.items():
        yield Case(f"{name}/{AGAIN}", of, words, seed=AGAIN)
    yield Case("cosine10-long", *SHAPES["cosine10"], steps=LONG)


def leaves(case: Case, stable: Case) -> int:
    """The step at which `case` leaves the stable run; 0 where it cannot have come from there."""
    if (case.seed, case.peak) != (stable.seed, stable.peak) or case.name == stable.name:
        return 0
    until = min(case.steps, stable.steps)
    # The update of step n has the LR of schedule(n): a checkpoint after n updates is the same where all before n are.
    apart = np.flatnonzero(case.schedule.values(until) != stable.schedule.values(until))
    step = int(apart[0]) if len(apart) else until
    step -= step % EVERY  # evaluated there, so that no evaluation is missing
    return step if step >= WARMUP else 0


# Training


class Bench:
    """What the runs are made of: texts, tokens and Trainers.

    Args:
        folder: where runs are written.
        blocks: held-out examples in an evaluation.
        documents: how many of the training documents are used; all of them where None.
    """

    def __init__(self, folder: Path, blocks: int = 256, documents: int | None = None) -> None:
        sys.path.insert(0, str(HERE.parent / "recipes"))
        import embedded

        self.folder, self.embedded = folder, embedded
        texts = embedded.source()
        texts = embedded.Texts(texts.train[:documents], texts.held_out[:documents])
        self.tokenizer = embedded.tokenizer(texts)
        self.train = embedded.blocks(embedded.tokens(texts.train, self.tokenizer))
        self.held_out = embedded.blocks(embedded.tokens(texts.held_out, self.tokenizer)[: blocks * embedded.BLOCK])

    def trainer(self, case: Case, every: int = EVERY) -> Any:
        """A Trainer with the seed's first weights, which evaluates every so many steps."""
        from transformers import PrinterCallback, Trainer, TrainingArguments, default_data_collator, set_seed

        from hf_lrsched import LRRecorder

        arguments = TrainingArguments(
            output_dir=str(self.folder / case.name),
            max_steps=case.steps,
            learning_rate=case.peak,
            lr_scheduler_type=case.of,
            lr_scheduler_kwargs=case.words,
            seed=case.seed,
            weight_decay=0.1,
            adam_beta2=0.95,
            per_device_train_batch_size=BATCH,
            per_device_eval_batch_size=32,
            eval_strategy="steps",
            eval_steps=every,
            save_strategy="no",
            logging_steps=100,
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
        )
        set_seed(case.seed)
        trainer = Trainer(
            model=self.embedded.llama(self.tokenizer, hidden_size=HIDDEN, layers=LAYERS),
            args=arguments,
            train_dataset=self.train,
            eval_dataset=self.held_out,
            data_collator=default_data_collator,
            callbacks=[LRRecorder()],
        )
        trainer.remove_callback(PrinterCallback)
        return trainer

    def run(self, case: Case, *, start: str | None = None, saves: list[int] | None = None, every: int = EVERY) -> None:
        """Trains `case`, from the checkpoint `start` where one is given; saves checkpoints at the steps `saves`."""
        from hf_lrsched import Checkpoints
        from hf_lrsched.training.resume import expected_change

        trainer = self.trainer(case, every)
        if saves:
            trainer.add_callback(Checkpoints(at=saves))
        with expected_change():
            trainer.train(resume_from_checkpoint=start)


def stable_of(case: Case, among: list[Case]) -> tuple[Case | None, int]:
    """The stable run that `case` leaves, and the step; None and 0 where it is trained from the beginning."""
    stable = next(one for one in among if one.seed == case.seed and one.name.startswith("constant"))
    step = leaves(case, stable)
    return (stable, step) if step else (None, 0)


def train_all(folder: Path) -> None:
    """Trains what `folder` lacks; a run that was cut off is begun anew."""
    import shutil

    bench, listed = _quiet(folder), list(cases())
    for case in listed:
        there = folder / case.name
        if (there / "done.json").exists():
            continue
        shutil.rmtree(there, ignore_errors=True)
        begun = time.perf_counter()
        stable, step = stable_of(case, listed)
        points = sorted({at for one in listed for of, at in [stable_of(one, listed)] if of == case})
        if stable is None or step < case.steps:
            start = str(folder / stable.name / f"checkpoint-{step}") if stable else None
            bench.run(case, start=start, saves=points, every=EVERY)
        there.mkdir(parents=True, exist_ok=True)
        seconds = round(time.perf_counter() - begun, 1)
        (there / "done.json").write_text(json.dumps({"from": stable.name if stable else "", "at": step, "seconds": seconds}))
        print(f"{case.name}: {_ending(folder, case):.4f} ({seconds} s)", flush=True)


def try_peaks(folder: Path) -> None:
    """Held-out losses of short runs over `PEAKS`."""
    bench = _quiet(folder)
    for name in ("wsd20", "cosine0"):
        for peak in PEAKS:
            of, words = SHAPES[name]
            case = Case(f"lr/{name}-{peak:g}", of, words, STEPS // 2, peak=peak)
            bench.run(case, every=EVERY)
            losses = read_history(folder / case.name).eval_loss
            print(f"{case.name}: {losses[-1]:.4f}, on the way {' '.join(f'{one:.2f}' for one in losses)}", flush=True)


def _quiet(folder: Path) -> Bench:
    import logging

    import torch
    from transformers.utils import logging as theirs

    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    theirs.set_verbosity_error()
    theirs.disable_progress_bar()
    return Bench(folder)


# The packed file


def recorded(folder: Path, case: Case) -> History:
    """All steps of a run that was trained in `folder`, those of the stable run before it left among them."""
    done = json.loads((folder / case.name / "done.json").read_text())
    parts = [(read_history(folder / done["from"]), 0, done["at"])] if done["from"] else []
    if done["at"] < case.steps:
        parts.append((read_history(folder / case.name), done["at"], case.steps))
    points: dict[int, dict[str, Any]] = {}
    evaluations: dict[int, float] = {}
    for one, after, until in parts:
        for i in np.flatnonzero((one.step > after) & (one.step <= until)):
            points[int(one.step[i])] = {"loss": one.loss[i], "lr": one.lr[i, 0]}
        for i in np.flatnonzero((one.eval_step > after) & (one.eval_step <= until)):
            evaluations[int(one.eval_step[i])] = float(one.eval_loss[i])
    return History.of_points(points, evaluations, [], {"total": case.steps})


def _ending(folder: Path, case: Case) -> float:
    return float(recorded(folder, case).eval_loss[-1])


def packed(case: Case, history: History) -> dict[str, Any]:
    """A run as plain types: held-out losses to 5 decimals; of every `BIN` steps the mean training loss and the last LR."""
    bins = history.loss[: len(history) // BIN * BIN].reshape(-1, BIN).mean(axis=1)
    return {
        "name": case.name,
        "steps": case.steps,
        "warmup": WARMUP if "warmup" in case.words else 0,
        "peak": case.peak,
        "seed": case.seed,
        "schedule": to_spec(case.schedule),
        "eval_step": history.eval_step.tolist(),
        "eval_loss": [round(loss, 5) for loss in history.eval_loss.tolist()],
        "every": BIN,
        "loss": [round(loss, 4) for loss in bins.tolist()],
        "lr": [float(f"{lr:.8g}") for lr in history.lr[BIN - 1 :: BIN, 0].tolist()],
    }


def pack(folder: Path) -> None:
    """Writes all runs that are in `folder` into one file."""
    import platform

    import torch
    import transformers

    bench = Bench(folder)
    about = {
        "corpus": f"the standard library's source of Python {platform.python_version()}, as in recipes/embedded.py",
        "tokens": [len(bench.train) * bench.embedded.BLOCK, len(bench.held_out) * bench.embedded.BLOCK],
        "vocabulary": len(bench.tokenizer),
        "parameters": bench.embedded.llama(bench.tokenizer, hidden_size=HIDDEN, layers=LAYERS).num_parameters(),
        "tokens_per_step": BATCH * bench.embedded.BLOCK,
        "optimizer": "AdamW, betas 0.9 and 0.95, weight decay 0.1, clipped at norm 1",
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
    }
    done = [case for case in cases() if (folder / case.name / "done.json").exists()]
    about["seconds"] = sum(json.loads((folder / case.name / "done.json").read_text())["seconds"] for case in done)
    text = json.dumps(
        {"about": about, "runs": [packed(case, recorded(folder, case)) for case in done]}, separators=(",", ":")
    )
    PACKED.write_bytes(gzip.compress(text.encode(), mtime=0))
    print(f"{len(done)} runs, {PACKED.stat().st_size / 1e3:.0f} kB")


@cache
def contents() -> dict[str, Any]:
    """The packed file: ``about`` and ``runs``."""
    read: dict[str, Any] = json.loads(gzip.decompress(PACKED.read_bytes()))
    return read


def histories() -> dict[str, History]:
    """The packed runs by name, with schedule and peak; another seed's have its number behind a slash.

    The LR is there at every step, as the schedule has it; the training loss at the last step of every bin, as its mean.
    """
    return {run["name"]: _history(run) for run in contents()["runs"]}


def _history(run: dict[str, Any]) -> History:
    schedule, every = from_spec(run["schedule"]), run["every"]
    points = {step + 1: {"lr": lr} for step, lr in enumerate(schedule.lrs(run["steps"], run["peak"]).tolist())}
    for i, loss in enumerate(run["loss"], start=1):
        points[i * every]["loss"] = loss
    evaluations = dict(zip(run["eval_step"], run["eval_loss"], strict=True))
    about = {"schedule": schedule, "peak": (run["peak"],), "total": run["steps"], "averaged": every, "source": run["name"]}
    return History.of_points(points, evaluations, [], {**about, "arguments": {"learning_rate": run["peak"]}})


def look() -> None:
    """The held-out loss at the end of each run, and half-way."""
    print("| run | schedule | steps | held-out loss half-way | at the end |")
    print("|---|---|---:|---:|---:|")
    for name, run in histories().items():
        shape, half = run.schedule.name if run.schedule else "", run.eval_loss[len(run.eval_loss) // 2 - 1]
        print(f"| {name} | {shape} | {run.total} | {half:.4f} | {run.eval_loss[-1]:.4f} |")


if __name__ == "__main__":
    asked, *given = sys.argv[1:] or ["look"]
    if asked == "lr":
        try_peaks(Path(given[0]))
    elif asked == "train":
        train_all(Path(given[0]))
    elif asked == "pack":
        pack(Path(given[0]))
    elif asked == "look":
        look()
