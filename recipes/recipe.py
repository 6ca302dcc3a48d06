"""What the four recipes share: their arguments, the checks before a step is taken, and the ending.

Everything that can be wrong with what was typed ends here in one sentence, before anything is spent.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

import hf_lrsched

for needed in ("matplotlib", "sklearn", "trl"):  # before anything is spent, not when the picture is drawn
    if find_spec(needed) is None:
        sys.exit(f"error: the recipes need {needed}: pip install 'hf-lrsched[plot,recipes]'")

import torch
import yaml
from accelerate.utils import broadcast_object_list
from datasets import Dataset, DatasetDict, IterableDataset, load_dataset
from transformers import AutoConfig, Trainer, TrainingArguments
from trl import TrlParser

from hf_lrsched.runs.files import PICTURE, RANGE_TEST
from hf_lrsched.show.text import phase_list, run_summary
from hf_lrsched.training.auto import AUTO, LRPlan, settle
from hf_lrsched.training.branches import PLAN
from hf_lrsched.training.checkpoints import Checkpoints, last_complete
from hf_lrsched.training.registration import planned
from hf_lrsched.training.sweep import is_ours
from hf_lrsched.training.together import agreed

PRESETS = Path(__file__).parent / "presets"
_OPEN_ENDED = 10_000  # steps that a run without an end is tested as: five times the longest warm-up by default
_ON_CPU = {"--use_cpu": "True", "--bf16": "False"}
_LOADERS = {".txt": "text", ".md": "text", ".json": "json", ".jsonl": "json", ".csv": "csv", ".parquet": "parquet"}


@dataclass
class Data:
    """Where the examples come from; nothing given means the embedded ones."""

    dataset_name: str | None = field(default=None, metadata={"help": "A data set's id on the Hub, or a local folder."})
    dataset_config_name: str | None = field(default=None, metadata={"help": "Its configuration."})
    train_file: str | None = field(default=None, metadata={"help": "A local .txt, .json(l), .csv or .parquet file."})
    validation_file: str | None = field(
        default=None, metadata={"help": "The same, held out; else one in a hundred is split off."}
    )
    text_column: str = field(default="text", metadata={"help": "The column that holds the text."})
    streaming: bool = field(default=False, metadata={"help": "Read as it trains; needs --max_steps."})


@dataclass
class Peak:
    """Where the learning rate comes from, and what is done where it is too high."""

    find_lr: bool = field(
        default=False,
        metadata={"help": "Test learning rates first (150 steps, or 15 %% of the run), report, train at what is found."},
    )
    on_divergence: str | None = field(
        default=None,
        metadata={
            "help": "When the run diverges: stop, checkpoint, or rescue (go back to a good checkpoint, lower the peak).",
            "choices": ["stop", "checkpoint", "rescue"],
        },
    )
    auto: tuple[str, ...] = field(default=(), init=False)  # of learning_rate and warmup_steps, what was given as "auto"


def stop(sentence: str) -> NoReturn:
    """Ends the recipe with one sentence."""
    sys.exit(f"error: {sentence}")


def parse(recipe: str, *classes: type) -> tuple[Any, ...]:
    """The arguments of `recipe` from its preset and the command line, which wins.

    ``--config`` takes a file, or the name of a preset that is shipped. Without it the preset is ``demo-<recipe>.yaml``, or
    ``<recipe>.yaml`` where a model or data is given.
    """
    argv = _plain(sys.argv[1:])
    if argv.count("--config") and argv[-1] == "--config":
        stop("--config needs a file behind it")
    named = argv[argv.index("--config") + 1] if "--config" in argv else None
    own = {"--model_name_or_path", "--dataset_name", "--train_file"} & set(argv)
    shipped = PRESETS / f"{named or ('' if own else 'demo-') + recipe}.yaml"
    preset = shipped if named is None or (shipped.is_file() and not Path(named).is_file()) else Path(named)
    if named:
        del argv[argv.index("--config") : argv.index("--config") + 2]
    typed = _read(preset)
    _displace(typed, argv)
    auto = _take_auto(typed, argv)
    warmup = argv[argv.index("--warmup_steps") + 1] if "--warmup_steps" in argv[:-1] else typed.get("warmup_steps")
    if str(warmup) == "1.0":
        stop("warmup_steps=1.0 is one step to Transformers; write 1 for one step, or a share below 1 such as 0.05")
    if not torch.accelerator.is_available():
        argv += [part for flag, value in _ON_CPU.items() if flag not in argv for part in (flag, value)]
    parser = TrlParser(classes, allow_abbrev=False)
    parser.set_defaults(output_dir=f"runs/{recipe}", report_to="none")
    unknown = parser.set_defaults_with_config(**typed)
    if unknown:
        stop(f"{preset} has settings that this recipe does not know: {' '.join(unknown)}")
    try:
        parsed: tuple[Any, ...] = parser.parse_args_into_dataclasses(args=argv)
    except ValueError as error:
        stop(str(error))
    args = next(one for one in parsed if isinstance(one, TrainingArguments))
    next(one for one in parsed if isinstance(one, Peak)).auto = auto
    if not 0 < args.learning_rate < math.inf:
        stop(f"learning_rate={args.learning_rate} must be a number above 0")
    ending = next((one for one in parsed if hasattr(one, "budgets")), None)  # pretrain.py's alone
    budgets = ending is not None and ending.budgets is not None
    endless = ending is not None and (budgets or ending.on_demand)
    _check_data(next(one for one in parsed if isinstance(one, Data)), args, endless=endless)
    _check_processes(args)
    default = f"runs/{recipe}"
    if budgets and args.output_dir == default:
        args.output_dir = default = f"{default}-budgets"
    if not budgets or not agreed(lambda: (Path(args.output_dir) / PLAN).exists()):  # the same plan goes on
        _choose_folder(args, default=default)
    if args.process_index == 0:
        print(f"settings: {preset}, and the command line", flush=True)
    return parsed


def _plain(arguments: list[str]) -> list[str]:
    """``--some-flag=1`` as ``--some_flag 1``: HfArgumentParser takes both spellings, so they count as one here."""
    flags = [argument.split("=", 1) if argument.startswith("--") else [argument] for argument in arguments]
    return [
        part.replace("-", "_").replace("__", "--", 1) if part.startswith("--") else part for flag in flags for part in flag
    ]


def _read(preset: Path) -> dict[str, Any]:
    if not preset.is_file():
        stop(f"there is no preset {preset}; shipped ones: {', '.join(sorted(path.name for path in PRESETS.glob('*.yaml')))}")
    try:
        typed = yaml.safe_load(preset.read_text("utf-8")) or {}
    except yaml.YAMLError as error:
        stop(f"{preset} is not YAML: {' '.join(str(error).split())}")
    if not isinstance(typed, dict):
        stop(f"{preset} holds a {type(typed).__name__}, not settings such as 'learning_rate: 2.0e-5'")
    return typed


def _displace(typed: dict[str, Any], argv: list[str]) -> None:
    """Takes out of a preset what the command line has put something else in the place of."""
    if "--lr_scheduler_type" in argv[:-1] and argv[argv.index("--lr_scheduler_type") + 1] != typed.get("lr_scheduler_type"):
        typed.pop("lr_scheduler_kwargs", None)
    if "--warmup_steps" in argv and isinstance(typed.get("lr_scheduler_kwargs"), dict):
        for word in ("warmup", "rise"):
            typed["lr_scheduler_kwargs"].pop(word, None)
    if "--lr_scheduler_kwargs" in argv[:-1] and any(
        f'"{word}"' in argv[argv.index("--lr_scheduler_kwargs") + 1] for word in ("warmup", "rise", "pct_start")
    ):
        typed.pop("warmup_steps", None)


def _take_auto(typed: dict[str, Any], argv: list[str]) -> tuple[str, ...]:
    """Takes each "auto" out of what was typed, as the arguments want numbers; which settings had it."""
    for name in AUTO:
        value = None
        while (flag := f"--{name}") in argv[:-1]:  # what is typed last wins
            at = argv.index(flag)
            _, value = argv[at : at + 2]
            del argv[at : at + 2]
        if value == "auto":
            typed[name] = value
        elif value is not None:
            typed.pop(name, None)
            argv += [flag, value]
    return tuple(name for name in AUTO if typed.get(name) == "auto" and typed.pop(name))


def _check_processes(args: TrainingArguments) -> None:
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    if launched != args.world_size:
        stop(
            f"{launched} processes were started, but this one sees {args.world_size}, so each would train alone and "
            "overwrite the others; on CPUs use recipes/accelerate/cpu.yaml (distributed_type MULTI_GPU with use_cpu)"
        )


def _choose_folder(args: TrainingArguments, default: str) -> None:
    """Leaves what is in a folder alone: the default one is numbered, another must be empty or be resumed."""
    resume = args.resume_from_checkpoint
    anew = resume is None or resume.lower() != "true"
    if resume is not None and anew:
        if not Path(resume).is_dir():
            stop(f"there is no checkpoint {resume} to resume from")
        if args.output_dir == default:
            args.output_dir = str(Path(resume).parent)
        anew = Path(args.output_dir).resolve() != Path(resume).resolve().parent
    chosen = [args.output_dir]
    if anew and args.process_index == 0 and Path(args.output_dir).is_dir() and any(Path(args.output_dir).iterdir()):
        free = (f"{default}-{n}" for n in range(2, 10**6))
        chosen = [next(path for path in free if not Path(path).exists())] if args.output_dir == default else [None]
    if args.world_size > 1:
        broadcast_object_list(chosen)
    if chosen[0] is None:
        stop(f"{args.output_dir} is not empty; give another --output_dir, or --resume_from_checkpoint true to go on with it")
    args.output_dir = chosen[0]
    if resume is not None and resume.lower() == "true":
        last = agreed(lambda: last_complete(args.output_dir))
        args.resume_from_checkpoint = last or stop(f"there is no complete checkpoint in {args.output_dir} to resume from")


def _check_data(data: Data, args: TrainingArguments, *, endless: bool) -> None:
    """What can be said of the data before any of it is read."""
    given = data.dataset_name or data.train_file
    if given and data.streaming and args.max_steps <= 0 and not endless:
        stop(
            "--streaming needs --max_steps, as a stream has no length from which the schedule could know where the run "
            "ends: the number of optimizer steps, tokens to train on / tokens in a step; pretrain.py can also train to the "
            "stream's end with --cooldown_steps 500"
        )
    for path in (data.train_file, data.validation_file):
        if path and not Path(path).is_file():
            stop(f"there is no file {path}")
        if path and Path(path).suffix not in _LOADERS:
            stop(f"{path}: files of type {', '.join(_LOADERS)} can be read")
    if data.dataset_name and data.train_file:
        stop(f"--dataset_name {data.dataset_name} and --train_file {data.train_file} are both data; give one of them")
    if data.validation_file and data.dataset_name:
        stop("--validation_file goes with --train_file; a data set brings its own held-out part")


def load(data: Data, args: TrainingArguments) -> tuple[Any, Any]:
    """Training and held-out examples from the Hub or local files."""
    files = {"train": data.train_file, **({"validation": data.validation_file} if data.validation_file else {})}
    try:
        if data.train_file:
            parts = load_dataset(_LOADERS[Path(data.train_file).suffix], data_files=files, streaming=data.streaming)
        else:
            parts = load_dataset(str(data.dataset_name), data.dataset_config_name, streaming=data.streaming)
    except (OSError, ValueError) as error:  # no such data set, no network, an empty or broken file
        stop(f"the data could not be read: {' '.join(str(error).split())}")
    if "train" not in parts:
        stop(f"the data has no part called train (it has {', '.join(parts)})")
    held_out = next((parts[name] for name in ("validation", "test") if name in parts), None)
    train = parts["train"]
    if held_out is not None:
        return train, held_out
    if isinstance(train, IterableDataset):
        if next(iter(train.skip(100)), None) is None:
            stop("the stream has no more than the 100 examples that are held out; give --validation_file, or no --streaming")
        return train.skip(100), train.take(100)
    if len(train) < 2:
        stop(f"the data has {len(train)} examples; 1 % of them, at least one, are held out, so give 2 or more")
    split: DatasetDict = train.train_test_split(test_size=max(1, len(train) // 100), seed=args.data_seed or args.seed)
    return split["train"], split["test"]


def columns(examples: Dataset | IterableDataset) -> list[str]:
    """The names of the columns; of a stream that does not say, those of its first example."""
    return list(examples.column_names or next(iter(examples)))


def need_model(name: str) -> str:
    """`name`, where a model is found under it; stops where there is none."""
    try:
        AutoConfig.from_pretrained(name)
    except (OSError, ValueError) as error:
        stop(f"there is no model {name}: {' '.join(str(error).split())}")
    return name


def need_column(examples: Dataset | IterableDataset, column: str, flag: str) -> None:
    """Stops where `examples` have no `column`."""
    if column not in columns(examples):
        stop(f"the data has no column '{column}' (it has {', '.join(columns(examples))}); give {flag}")


def unused(data: Data, *others: tuple[str, object]) -> None:
    """Stops where something was typed that the embedded run would pass over in silence."""
    typed = [("--validation_file", data.validation_file), ("--dataset_config_name", data.dataset_config_name)]
    ignored = [flag for flag, value in [*typed, ("--streaming", data.streaming), *others] if value]
    if ignored:
        stop(f"{', '.join(ignored)} would do nothing here: the embedded model and data are used where none is given")


def plan(
    trainer: Trainer, peak: Peak, tokens_per_step: float | None = None, *, task: str, open_ended: bool = False
) -> hf_lrsched.Schedule | None:
    """The schedule that `trainer` will follow, printed; None for one of Transformers' own.

    Decides what is "auto" for `task`, tells lengths in epochs and tokens what they are in steps, and finds the peak where
    that is asked for. A schedule that cannot be made stops the recipe here; what else is wrong is told as training begins.
    """
    args = trainer.args
    settled = decide(trainer, peak, task, tokens_per_step, 0 if open_ended else None)
    schedule = _schedule(trainer, tokens_per_step)
    if peak.find_lr:
        find_peak(trainer, min(args.max_steps, _OPEN_ENDED) if open_ended else None)
        schedule = _schedule(trainer, tokens_per_step)  # a floor is a share of its peak
        if "learning_rate" in peak.auto:  # a resumed run, which is not tested, has it from there
            settled = settled.with_value("learning_rate", args.learning_rate, f"peak: what --find_lr found, {RANGE_TEST}")
    keep(settled, args)
    trainer.add_callback(hf_lrsched.LRPreflight(task=task))  # tells what hf-lrsched lint would, and of the data and the model
    if args.process_index == 0 and schedule is not None:
        processes = f"{args.world_size} process{'es' * (args.world_size > 1)}"
        steps = args.max_steps if open_ended else round(schedule.total)
        length = f"until told to cool down, at most {steps} steps" if open_ended else f"{steps} steps"
        name = args.lr_scheduler_type.value
        print(f"{name}: {length} ({phase_list(schedule)}), peak {args.learning_rate:g}, {processes}", flush=True)
    return schedule


def decide(
    trainer: Trainer, peak: Peak, task: str, tokens_per_step: float | None, steps: int | None, began_in: Path | None = None
) -> LRPlan | None:
    """Sets what was given as "auto", as the run that is resumed had it, or from the evidence; None where nothing was."""
    if not peak.auto:
        return None
    resumed = trainer.args.resume_from_checkpoint
    began_in = Path(resumed).parent if resumed else began_in
    asked = [name for name in peak.auto if not (peak.find_lr and name == "learning_rate")]  # the range test knows more
    try:
        return settle(trainer, asked, task=task, steps=steps, tokens_per_step=tokens_per_step, began_in=began_in)
    except ValueError as error:
        stop(str(error))


def keep(settled: LRPlan | None, args: TrainingArguments) -> None:
    """Prints what was decided, and saves it beside the run."""
    if settled is not None and args.process_index == 0:
        print(settled, f"  kept for a resume, with the evidence: {settled.save(args.output_dir)}", sep="\n", flush=True)


def _schedule(trainer: Trainer, tokens_per_step: float | None) -> hf_lrsched.Schedule | None:
    args = trainer.args
    name = str(getattr(args.lr_scheduler_type, "value", args.lr_scheduler_type))
    if name not in hf_lrsched.CATALOGUE or not hf_lrsched.CATALOGUE[name].registered:
        return None
    loader = trainer.get_train_dataloader()
    sized = hasattr(loader.dataset, "__len__")
    per_epoch = math.ceil(len(loader) / args.gradient_accumulation_steps) if sized else None
    steps = args.max_steps if args.max_steps > 0 else math.ceil(args.num_train_epochs * (per_epoch or 0))
    units = {"steps_per_epoch": per_epoch, "tokens_per_step": tokens_per_step}
    typed = args.lr_scheduler_kwargs or {}
    known = {name: value for name, value in units.items() if value and not ("epoch" in name and "epochs" in typed)}
    args.lr_scheduler_kwargs = {**known, **typed}
    try:
        run = hf_lrsched.Horizon(steps, peak=args.learning_rate)
        return planned(name, run, args.get_warmup_steps(steps), args.lr_scheduler_kwargs)
    except ValueError as error:
        stop(str(error))


def find_peak(trainer: Trainer, budget: int | None = None) -> None:
    """Tests learning rates on `trainer`, prints and saves what was found, and makes it the peak; stops where nothing was.

    Args:
        trainer: ready to train.
        budget: optimizer steps of the run, where it does not know them.
    """
    args, folder = trainer.args, Path(trainer.args.output_dir)
    if args.resume_from_checkpoint:
        stop("--find_lr is for a run that begins; one that is resumed has its learning rate")
    try:
        found = hf_lrsched.find_lr(trainer, budget=budget)
    except ValueError as error:
        if not is_ours(error):
            raise
        stop(str(error))
    if args.process_index == 0:
        found.save(folder / RANGE_TEST)
        hf_lrsched.plot.range_test(found, (folder / RANGE_TEST).with_suffix(".png"))
        print(hf_lrsched.text.range_test(found), f"{folder / RANGE_TEST} and .png", sep="\n", flush=True)
    if found.lr is None:
        stop(f"the range test found no learning rate: {found.refusal.sentence}; give --learning_rate without --find_lr")
    hf_lrsched.use_lr(trainer, found)


def run(
    trainer: Trainer, schedule: hf_lrsched.Schedule | None, peak: Peak, report: Callable[[], list[str]] = list
) -> dict[str, float]:
    """Held-out loss, training, held-out loss again, saving, and the ending: what was done, and a picture of it.

    Args:
        trainer: ready to train.
        schedule: what `plan` returned.
        peak: what is done where the run diverges; what is wrong with it is told in any case.
        report: further lines for the ending, made after training.

    Returns:
        the held-out metrics after training.
    """
    from hf_lrsched.show.plot import lr_and_loss

    # Not trainer.evaluate() first: it marks the model as prepared, and train() would then leave it without its DDP wrapper,
    # so that every process trains a model of its own (tried: Transformers 5.23, accelerate 1.15).
    trainer.args.eval_on_start = True
    if not any(isinstance(callback, Checkpoints) for callback in trainer.callback_handler.callbacks):
        trainer.add_callback(Checkpoints())
    watch = hf_lrsched.LRWatch(on_divergence=peak.on_divergence)
    for callback in (hf_lrsched.LRRecorder(), watch, hf_lrsched.LRPlot(), hf_lrsched.LRCard()):
        trainer.add_callback(callback)
    train = partial(hf_lrsched.train, trainer) if peak.on_divergence == "rescue" else trainer.train
    try:
        train(resume_from_checkpoint=trainer.args.resume_from_checkpoint)
    except ValueError as error:
        if trainer.state.log_history or trainer.state.global_step:  # not one of the checks before the first step
            raise
        stop(str(error))
    if schedule is not None:
        schedule = trainer.lr_scheduler.schedule  # a cooldown or a resume policy may have changed it
    after: dict[str, float] = trainer.evaluate()
    trainer.save_model(trainer.args.output_dir)
    trainer.save_state()
    if trainer.is_world_process_zero():
        folder = Path(trainer.args.output_dir)
        lr_and_loss(hf_lrsched.read_history(folder), folder / PICTURE)  # once more, with the last evaluation
        trainer.create_model_card()
        log = trainer.state.log_history
        print(run_summary(log, schedule, float(trainer.lr_scheduler.base_lrs[0])))  # a rescue may have lowered it
        print(
            *(entry["watch"] for entry in log if "watch" in entry),
            *report(),
            f"model, card and picture: {folder} ({PICTURE})",
            f"hf-lrsched report {folder}",
            sep="\n",
        )
    return after
