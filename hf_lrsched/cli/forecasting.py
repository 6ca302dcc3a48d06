"""``forecast``: what schedules will give, from the runs that were made."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .output import formatted, refused, say
from .reports import named
from .schedules import check_picture, value_of

if TYPE_CHECKING:
    from ..runs.forecast import Comparison, Forecast, Law, Optimized
    from ..runs.history import History
    from ..schedules.schedule import Schedule

_USUAL = ("wsd", "warmup_cosine", "linear")  # ours, what most runs have, and Trainer's default
# Transformers' words for shapes that the catalogue has under others.
_THEIRS: dict[str, tuple[str, dict[str, Any]]] = {
    "linear": ("rex", {"alpha": 0.0}),
    "cosine": ("warmup_cosine", {"min_lr_ratio": 0.0}),
}
_PEAK = ("learning_rate", "peak_lr", "peak")  # an argument of a schedule that is the run's
_DEFAULT = "20%"  # of the whole run: a cooldown's length where none is said, as CooldownCallback has it

_ERRORS = (ValueError, TypeError, OSError, ModuleNotFoundError)


def _complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    from ..schedules.catalogue import CATALOGUE

    del context, parameter
    return [name for name in (*CATALOGUE, *_THEIRS) if name.startswith(incomplete)]


@click.command(short_help="What schedules will give, before their steps are spent.")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@click.option(
    "--schedule",
    "schedules",
    multiple=True,
    metavar="NAME[:ARGUMENT=VALUE,...]",
    shell_complete=_complete,
    help="A schedule of the catalogue, cosine or linear as Transformers has them, or a JSON file with a spec; once for each. "
    "Default: wsd, warmup_cosine and linear.",
)
@click.option("--steps", type=click.IntRange(min=1), help="Optimizer steps. Default: those of the longest RUN.")
@click.option(
    "--learning_rate", "--peak", "--peak_lr", "--peak-lr", "peak", type=float, help="The peak, where the RUNs have several."
)
@click.option(
    "--loss",
    type=click.Choice(("auto", "eval_loss", "loss")),
    default="auto",
    show_default=True,
    help="Held out, or of training; auto: held out, where every RUN has enough of it.",
)
@click.option("--warmup", type=click.IntRange(min=0), help="Steps of it in the RUNs, where their logs begin after it.")
@click.option("--optimize", is_flag=True, help="Also the best cooldown within what the RUNs had.")
@click.option(
    "--cooldown-now",
    "--cooldown_now",
    "cooldown",
    is_flag=False,
    flag_value=_DEFAULT,
    metavar="[LENGTH]",
    help=f"Also what a cooldown at the end of the last RUN would reach; of {_DEFAULT} of the run, or LENGTH (500, 10%).",
)
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="A picture (.png, .svg, .pdf).")
@formatted
def forecast(
    runs: tuple[Path, ...],
    schedules: tuple[str, ...],
    steps: int | None,
    peak: float | None,
    loss: str,
    warmup: int | None,
    optimize: bool,
    cooldown: str | None,
    output: Path | None,
    form: str,
) -> None:
    """The final loss under schedules that were not run yet, with its interval, from a law fitted to RUNs: a prediction.

    A RUN is what `report` reads: a folder, trainer_state.json, lr_history.jsonl, CSV. One is enough where its learning rate
    decays; one WSD and one cosine run are advised. Other peaks than theirs, and more than 3 times their length, are refused.

    With --cooldown-now alone no schedules are compared.

    \b
    Examples:
      hf-lrsched forecast runs/wsd runs/cosine --steps 20000 -o forecast.png
      hf-lrsched forecast runs/wsd --schedule wsd:decay=0.1,shape=linear --schedule warmup_cosine --optimize
      hf-lrsched forecast runs/open --cooldown-now 500
    """
    if output is not None:
        check_picture(output)
    length = None if cooldown is None else _length(cooldown)
    read = _read(runs)
    compared, best, ended = None, None, None
    try:
        from ..runs.forecast import fit_law

        law = fit_law(read, loss=loss, warmup=warmup)
        alone = length is not None and not (schedules or optimize or steps)
        steps = steps or _longest(read)
        if not alone:
            pairs = [_pair(typed, steps, peak, law) for typed in dict.fromkeys(schedules or _USUAL)]
            compared = law.compare(pairs, steps)
        if optimize:
            best = law.optimize(steps, peak)
        if length is not None:
            ended = law.cooldown_now(read[-1], length, warmup=warmup)
        if output is not None:
            _draw(law, compared, best, ended, output)
    except _ERRORS as error:
        raise refused(error) from error
    _say(form, law, compared, best, ended, output)


def _say(
    form: str,
    law: Law,
    compared: Comparison | None,
    best: Optimized | None,
    ended: Forecast | None,
    output: Path | None,
) -> None:
    from ..show.forecast import text

    shown = text(law, compared, best, ended) + (f"\n\n{output}" if output else "")
    data = {
        "prediction": True,
        "law": _law(law),
        **(compared.to_dict() if compared else {"forecasts": [], "ties": [], "cautions": list(law.cautions)}),
        "optimized": best.to_dict() if best else None,
        "cooldown_now": ended.to_dict() if ended else None,
        "file": str(output) if output else None,
    }
    say(form, shown, data)


def _law(law: Law) -> dict[str, Any]:
    """What was fitted on what."""
    from ..runs.forecast.laws import MOMENTUM

    fits = [
        {
            "peak_lr": fit.peak,
            "runs": [run.name for run in fit.runs],
            "points": sum(len(run.loss) for run in fit.runs),
            "horizon": fit.horizon,
            "lowest_share_of_the_peak": fit.lowest,
            "longest_decay": fit.longest_decay,
            "misfit": fit.misfit,
            "multi_power": fit.parameters,
            "momentum": dict(zip(MOMENTUM, fit.momentum.theta.tolist(), strict=True)) | {"lambda": fit.momentum.decay},
        }
        for fit in law.fits.values()
    ]
    about = {"quantity": law.quantity, "horizon": law.horizon, "cautions": list(law.cautions)}
    return {**about, "fits": fits}


def _read(runs: tuple[Path, ...]) -> list[History]:
    """The runs, each once, and under a name that tells it from the others; said to stderr is what could not be read."""
    from dataclasses import replace

    from ..runs.reading import read_history

    found = []
    for name, run in named(tuple({run.resolve(): run for run in runs}.values())).items():
        try:
            history = read_history(run)
        except _ERRORS as error:
            raise refused(error) from error
        for sentence in history.unreadable:
            click.echo(f"warning: {sentence}", err=True)
        found.append(replace(history, source=name.strip("/").replace("/", "--")))  # as diagnose names its pictures
    return found


def _longest(runs: list[History]) -> int:
    from ..runs.summary import summary

    return max(int(summary(run)["steps"]) for run in runs)


def _pair(typed: str, steps: int, peak: float | None, law: Law) -> Any:
    """A schedule as it was typed, and its peak; or alone, where the runs say it.

    Raises:
        UsageError: for an argument without a value.
        ValueError: for a name or an argument that the catalogue does not know.
    """
    from ..schedules.catalogue import build
    from ..schedules.lengths import Horizon

    if typed.endswith(".json"):
        from ..show.plot import read_spec

        made: Schedule = read_spec(typed)
        made = made if made.name else made.named(Path(typed).stem)
        return made if peak is None else (made, peak)
    name, _, rest = typed.partition(":")
    words: dict[str, Any] = {}
    for part in re.split(r",(?=\s*[\w-]+=)", rest) if rest else []:  # not within a list, whose commas have no word= behind
        word, equals, text = part.partition("=")
        if not equals or not word.strip():
            raise click.UsageError(f"{typed}: an argument is NAME=VALUE, as in wsd:decay=0.1,shape=linear")
        words[word.strip().replace("-", "_")] = value_of(text.strip())
    given = [words.pop(word) for word in _PEAK if word in words]
    if any(not isinstance(value, int | float) for value in given) or len(given) > 1:
        raise click.UsageError(f"{typed}: the peak is one number, as in wsd:learning_rate=3e-4")
    own = given[0] if given else peak
    whole, more = _THEIRS.get(name, (name, {}))
    run = Horizon(steps, peak=own if own is not None else law.peaks[0] if len(law.peaks) == 1 else None)
    made = build(whole, run, **{**more, **words}).named(typed)
    return made if own is None else (made, own)


def _length(text: str) -> Any:
    """The length of a cooldown, refused where it is the next RUN."""
    found = value_of(text)
    if not re.fullmatch(r"\s*[\d.]+\s*%\s*", text) and not (isinstance(found, int | float) and found > 0):
        raise click.UsageError(
            f"--cooldown-now {text}: a length is steps (500) or a share of the run (10%); write the RUNs before it"
        )
    return found


def _draw(law: Law, compared: Comparison | None, best: Optimized | None, ended: Forecast | None, file: Path) -> None:
    from dataclasses import replace

    from ..show.forecast import picture

    shown = [*(compared.forecasts if compared else ())]
    shown += [replace(best.forecast, name="best cooldown")] if best else []
    shown += [replace(ended, name="cooldown now")] if ended else []
    picture(law, shown, file)
