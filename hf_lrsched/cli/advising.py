"""``recommend``: which learning rate and schedule, from evidence."""

from __future__ import annotations

import sys
from typing import Any

import click

from .output import formatted, refused, say

_COUNT = click.FloatRange(min=0, min_open=True)


def _tokens(context: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    """A count such as 100B, 1.5T or 3e9."""
    from ..advice.model import count_in

    if value is None:
        return None
    count = count_in(value)
    if count is None:
        raise click.BadParameter(f"{value!r} is no count; write 1e11, 100B or 1.5T")
    return count


@click.command()
@click.argument("model", required=False)
@click.option(
    "--task", required=True, help="pretrain, continue, full (sft), lora or another PEFT type, dpo, grpo, reward, cnn, ..."
)
@click.option("--peft", help="A PEFT type, where the task does not say it: --task dpo --peft lora.")
@click.option("--r", "--lora_r", "r", type=click.IntRange(min=1), help="LoRA rank.")
@click.option("--alpha", "--lora_alpha", "alpha", type=_COUNT, help="LoRA's alpha.")
@click.option("--rslora", "--use_rslora", "rslora", is_flag=True, help="LoRA scales by alpha / sqrt(r).")
@click.option("--optimizer", "--optim", "optimizer", default="adamw", show_default=True)
@click.option("--batch_tokens", "--batch-tokens", callback=_tokens, help="Tokens a step, over all processes: 65536, 0.5M.")
@click.option("--batch_size", "--batch-size", type=_COUNT, help="Sequences or images a step, over all processes.")
@click.option("--steps", "--max_steps", "steps", type=click.IntRange(min=1), help="Optimizer steps.")
@click.option("--tokens", callback=_tokens, help="Of the whole run: 1e11, 100B, 1.5T.")
@click.option("--examples", type=click.IntRange(min=1), help="Training examples.")
@click.option(
    "--hidden", "--hidden_size", "hidden", type=click.IntRange(min=1), help="Hidden width, where MODEL does not say it."
)
@click.option("--family", "--model_type", "family", help="llama, qwen, ..., where MODEL does not say it.")
@click.option("--download", is_flag=True, help="Fetch the config.json of a Hub id; nothing is fetched otherwise.")
@click.option("--all", "everything", is_flag=True, help="All the evidence.")
@click.option("--bibtex", is_flag=True, help="The sources as BibTeX, and nothing else.")
@formatted
def recommend(model: str | None, everything: bool, bibtex: bool, form: str, **typed: Any) -> None:
    """Which peak learning rate, schedule, warm-up and weight decay, each with its sources.

    MODEL is a folder, a Hub id (its name or your cache tell its size) or a size such as 8B. The exit code is 1 where there is
    no calibrated evidence.

    \b
    Examples:
      hf-lrsched recommend meta-llama/Llama-3.1-8B --task lora --lora_r 16 --lora_alpha 32
      hf-lrsched recommend 1B --task pretrain --tokens 100B --batch_tokens 1M
      hf-lrsched recommend runs/pretrain --task dpo --bibtex
    """
    from ..advice.recommend import recommend as recommended
    from ..show.advice import text

    try:
        found = recommended(model, **typed)
    except ValueError as error:
        raise refused(error) from error
    if bibtex:
        click.echo(found.bibtex())
    else:
        say(form, text(found, everything=everything), found.to_dict())
    sys.exit(0 if found.learning_rate is not None else 1)
