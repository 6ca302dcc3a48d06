"""``forecast``: what schedules will give, from the runs that were made."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from difflib import get_close_matches
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
_PEAK = ("learning_rate", "peak_lr", "peak")  # an argument of a schedule that is the run's
_ELSEWHERE = {  # what is no argument of a schedule here
    **dict.fromkeys(("steps", "max_steps", "num_training_steps"), "the length of all schedules is --steps"),
    "name": "a schedule is called what was typed",
}
_DEFAULT = "20%"  # of the whole run: a cooldown's length where none is said, as CooldownCallback has it

_ERRORS = (ValueError, TypeError, OSError, ModuleNotFoundError)


def _complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    del context, parameter
    return [name for name in _known() if name.startswith(incomplete)]


def _length(context: click.Context, parameter: click.Parameter, text: str | None) -> Any:
    """The length of a cooldown, refused where it is the next RUN."""
    del context, parameter
    if text is None:
        return None
    found = value_of(text)
    if not re.fullmatch(r"\s*[\d.]+\s*%\s*", text) and not (isinstance(found, int | float) and found > 0):
        raise click.UsageError(
            f"--cooldown-now {text}: a length is steps (500) or a share of the run (10%); write the RUNs before it"
        )
    return found


def _picture(context: click.Context, parameter: click.Parameter, file: Path | None) -> Path | None:
    """A file that a picture can be written to."""
    del context, parameter
    if file is not None:
        check_picture(file)
    return file


@click.command(short_help="What schedules will give, before their steps are spent.")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@click.option(
    "--schedule",
    "schedules",
    multiple=True,
    metavar="NAME[:ARGUMENT=VALUE,...]",
    shell_complete=_complete,
    help="A schedule of the catalogue; cosine, linear or constant_with_warmup as Transformers has them; or a JSON file with "
    "a spec. Once for each. By name, without warmup=: with that of the RUNs. Default: wsd, warmup_cosine and linear.",
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
    callback=_length,
    metavar="[LENGTH]",
    help=f"Also what a cooldown at the end of the last RUN would reach; of {_DEFAULT} of the run, or LENGTH (500, 10%).",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    callback=_picture,
    help="A picture (.png, .svg, .pdf).",
)
@formatted
def forecast(
    runs: tuple[Path, ...],
    schedules: tuple[str, ...],
    steps: int | None,
    peak: float | None,
    loss: str,
    warmup: int | None,
    optimize: bool,
    cooldown: Any,
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
    read = _read(runs)
    try:
        from ..runs.forecast import fit_law

        law = fit_law(read, loss=loss, warmup=warmup)
        alone = cooldown is not None and not (schedules or optimize or steps)
        steps = steps or _longest(read)
        found = _Found(
            law,
            None if alone else law.compare(_pairs(schedules or _USUAL, steps, peak, law), steps),
            law.optimize(steps, _peak(law, peak)) if optimize else None,
            None if cooldown is None else law.cooldown_now(read[-1], cooldown, warmup=warmup),
        )
        found.draw(output)
    except _ERRORS as error:
        raise refused(error) from error
    found.say(form, output)


@dataclass(frozen=True)
class _Found:
    """What a law says to what was asked."""

    law: Law
    compared: Comparison | None
    best: Optimized | None
    ended: Forecast | None

    def draw(self, file: Path | None) -> None:
        """All of it in one picture, where one was asked for."""
        if file is None:
            return
        from ..show.forecast import picture

        shown = [*(self.compared.forecasts if self.compared else ())]
        shown += [replace(self.best.forecast, name="best cooldown")] if self.best else []
        shown += [replace(self.ended, name="cooldown now")] if self.ended else []
        picture(self.law, shown, file)

    def say(self, form: str, file: Path | None) -> None:
        """All of it for people, or as JSON."""
        from ..show.foretold import text

        shown = text(self.law, self.compared, self.best, self.ended) + (f"\n\n{file}" if file else "")
        nothing = {"forecasts": [], "ties": [], "cautions": list(self.law.cautions)}
        data = {
            "prediction": True,
            "law": _law(self.law),
            **(self.compared.to_dict() if self.compared else nothing),
            "optimized": self.best.to_dict() if self.best else None,
            "cooldown_now": self.ended.to_dict() if self.ended else None,
            "file": str(file) if file else None,
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


def _pairs(schedules: tuple[str, ...], steps: int, peak: float | None, law: Law) -> list[tuple[Schedule, float]]:
    """Schedules that were typed, each once, with their peaks.

    Raises:
        UsageError: for an argument without a value, and for one that is no schedule's.
        ValueError: for a name or an argument that the catalogue does not know, and where the peak was not said.
    """
    from ..show.plot import read_spec

    pairs = []
    for typed in dict.fromkeys(schedules):
        if typed.endswith(".json"):
            made = read_spec(typed)
            pairs.append((made if made.name else made.named(Path(typed).stem), _peak(law, peak)))
        else:
            pairs.append(_built(typed, steps, peak, law))
    return pairs


def _built(typed: str, steps: int, peak: float | None, law: Law) -> tuple[Schedule, float]:
    """A schedule by its name, and its peak."""
    name, words = _words(typed)
    given = [words.pop(word) for word in _PEAK if word in words]
    if any(not isinstance(value, int | float) for value in given) or len(given) > 1:
        raise click.UsageError(f"{typed}: the peak is one number, as in wsd:learning_rate=3e-4")
    _check_name(name)
    own = given[0] if given else _peak(law, peak)
    return law.schedule(name, steps, own, **words).named(typed), own


def _words(typed: str) -> tuple[str, dict[str, Any]]:
    """The name of a schedule that was typed, and its arguments."""
    name, _, rest = typed.partition(":")
    words: dict[str, Any] = {}
    for part in re.split(r",(?=\s*[\w-]+=)", rest) if rest else []:  # not within a list, whose commas have no word= behind
        word, equals, text = part.partition("=")
        if not equals or not word.strip():
            raise click.UsageError(f"{typed}: an argument is NAME=VALUE, as in wsd:decay=0.1,shape=linear")
        words[word.strip().replace("-", "_")] = value_of(text.strip())
    for word in words.keys() & _ELSEWHERE:
        raise click.UsageError(f"{typed}: {word} is no argument of a schedule; {_ELSEWHERE[word]}")
    return name, words


def _known() -> tuple[str, ...]:
    from ..runs.forecast.asked import THEIRS
    from ..schedules.catalogue import CATALOGUE

    return (*CATALOGUE, *THEIRS)


def _check_name(name: str) -> None:
    """Refuses a name that a law does not take.

    Raises:
        ValueError: with the nearest, and all there are.
    """
    known = _known()
    if name in known:
        return
    near = get_close_matches(name, known, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    raise ValueError(f"unknown schedule {name!r}{hint} (known: {', '.join(known)}, and JSON files with a spec)")


def _peak(law: Law, peak: float | None) -> float:
    """The peak that was said; by default that of the runs.

    Raises:
        ValueError: where the runs have several, and none was said.
    """
    if peak is None and len(law.peaks) > 1:
        listed = " and ".join(f"{one:g}" for one in law.peaks)
        raise ValueError(f"the runs have several peaks, {listed}; say which: --peak {law.peaks[0]:g}")
    return law.peaks[0] if peak is None else peak
