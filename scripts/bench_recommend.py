"""What `recommend` is worth: on a LoRA sweep without the family that is asked about, on shipped values without their source.

    python scripts/bench_recommend.py DATA           DATA: the folder of public data, which is not part of this repository
    python scripts/bench_recommend.py DATA --forms   the formulas that were tried, and one that is chosen blindly
    python scripts/bench_recommend.py DATA --fit     the figures in advice/evidence/lora_sweep.yaml
    python scripts/bench_recommend.py --shipped      only what needs no data
    ... --format json | --misses

The sweep: for each family the entry of the sweep is fitted anew to the other families and handed to `recommend`, and
whatever else its authors say is left out, for they tuned it on these models. Beside it stand three constants and tinker's
own formula, which refuses four of the six families; on those it is given 3e-4. How regret is read is told in
recommend_sweep.py.

The shipped values: what recommend_shipped.py says; its ceiling is what bands chosen afterwards would hold.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from recommend_forms import FORMS, USED, Fitting, rank_exponent
from recommend_shipped import missed, shipped, shipped_score
from recommend_sweep import FAMILIES, Cell, Sweep, bootstrap, published, read_sweep, scatter

from hf_lrsched.advice.model import read_model
from hf_lrsched.advice.question import Question
from hf_lrsched.advice.recommend import answer_from
from hf_lrsched.advice.sources import Evidence, about, evidence

ENTRY, AUTHORS = "lora-sweep", "tinker-cookbook"
CONSTANTS = (1e-4, 2e-4, 3e-4)
BATCH, STEPS, ALPHA = 128, 780, 32  # of the sweep


# The sweep


def advised(cells: Sequence[Cell], fitting: Fitting) -> list[float]:
    """What `recommend` says of each cell without its family."""
    others = [entry for entry in about("learning_rate") if entry.source.key != AUTHORS]
    refitted = {
        family: [*others, dataclasses.replace(evidence()[ENTRY], formula=str(formula))]
        for family, formula in fitting.left_out().items()
    }
    return [_asked(cell, refitted[cell.family]) for cell in cells]


def _asked(cell: Cell, entries: Sequence[Evidence]) -> float:
    model = dataclasses.replace(read_model(cell.model), parameters=cell.parameters)
    found = answer_from(
        Question("sft", "lora", model, r=cell.rank, alpha=ALPHA, batch_size=BATCH, steps=STEPS), entries
    ).learning_rate
    assert found is not None
    return found


def sweep_score(folder: Path) -> dict[str, Any]:
    sweep = Sweep(read_sweep(folder))
    cells, fitting = sweep.cells, Fitting(sweep)
    ours = advised(cells, fitting)
    theirs = [published(cell) for cell in cells]
    methods = {"recommend, family left out": ours}
    methods |= {f"always {lr:g}": [lr] * len(cells) for lr in CONSTANTS}
    methods["tinker's formula, else 3e-4"] = [lr or 3e-4 for lr in theirs]
    known = [index for index, lr in enumerate(theirs) if lr]
    return {
        "cells": len(cells),
        "methods": {name: _scored(sweep, lrs, range(len(cells))) for name, lrs in methods.items()},
        "cells of tinker's formula": len(known),
        "on those": {name: _scored(sweep, lrs, known) for name, lrs in methods.items()},
        "formulas": {family: str(formula) for family, formula in fitting.left_out().items()},
        "gain over 3e-4": {
            reading: bootstrap(
                sweep.regrets(methods["always 0.0003"], smooth=reading == "smooth")
                - sweep.regrets(ours, smooth=reading == "smooth"),
                [cell.family for cell in cells],
            )
            for reading in ("straight", "smooth")
        },
    }


def _scored(sweep: Sweep, lrs: Sequence[float], within: Iterable[int]) -> dict[str, Any]:
    of = list(within)
    cells = sweep.cells
    found: dict[str, Any] = {}
    for reading in ("straight", "smooth"):
        regrets = sweep.regrets(lrs, smooth=reading == "smooth")
        found[reading] = float(regrets[of].mean())
        found[f"{reading} by family"] = {
            family: float(regrets[mine].mean())
            for family in FAMILIES
            if (mine := [i for i in of if cells[i].family == family])
        }
    found["diverged"] = sum(cells[index].diverges(lrs[index]) for index in of) / len(of)
    found["at risk"] = sum(cells[index].at_risk(lrs[index]) for index in of) / len(of)
    return found


def forms_score(folder: Path) -> dict[str, Any]:
    sweep = Sweep(read_sweep(folder))
    fitting = Fitting(sweep)
    found: dict[str, Any] = {}
    for form in FORMS:
        found[form] = {"of all": str(fitting.fit(form)), **_left_out(sweep, fitting, dict.fromkeys(FAMILIES, form))}
    found["chosen blindly"] = {"of all": "", **_left_out(sweep, fitting, fitting.chosen_blindly())}
    return found


def _left_out(sweep: Sweep, fitting: Fitting, forms: dict[str, str]) -> dict[str, Any]:
    by_family = {family: fitting.left_out(form)[family] for family, form in forms.items()}
    lrs = [by_family[cell.family](cell.parameters, cell.rank) for cell in sweep.cells]
    return {
        **_scored(sweep, lrs, range(len(lrs))),
        "scatter": scatter(sweep.cells, lrs),
        "forms": forms,
    }


def fitted(folder: Path) -> dict[str, Any]:
    """What lora_sweep.yaml holds."""
    sweep = Sweep(read_sweep(folder))
    fitting = Fitting(sweep)
    left_out = fitting.left_out()
    lrs = [left_out[cell.family](cell.parameters, cell.rank) for cell in sweep.cells]
    return {
        "formula": str(fitting.fit()),
        "spread": round(scatter(sweep.cells, lrs), 2),
        "rank exponent": round(rank_exponent(sweep.cells), 2),
    }


# Telling


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", help="the folder with lora_sweep.csv")
    parser.add_argument("--fit", action="store_true")
    parser.add_argument("--forms", action="store_true")
    parser.add_argument("--shipped", action="store_true")
    parser.add_argument("--misses", action="store_true", help="list the shipped values that lie outside")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    asked = parser.parse_args()
    if asked.data is None and (asked.fit or asked.forms or not asked.shipped):
        parser.error("give the folder of public data, or --shipped")
    told: dict[str, Any] = {}
    if asked.fit:
        told["fit"] = fitted(asked.data)
    elif asked.forms:
        told["forms"] = forms_score(asked.data)
    else:
        values = shipped()
        told = {} if asked.data is None else {"sweep": sweep_score(asked.data)}
        told["shipped"] = shipped_score(values)
        told |= {"misses": [missed(one) for one in values if not one.inside]} if asked.misses else {}
    if asked.format == "json":
        print(json.dumps(told, indent=1))
    else:
        for name, table in told.items():
            print("\n".join(TELL[name](table)), end="\n\n")


def _fit_lines(found: dict[str, Any]) -> list[str]:
    return [f"{name}: {value}" for name, value in found.items()]


def _sweep_lines(found: dict[str, Any]) -> list[str]:
    lines = _method_lines(f"mean regret, {found['cells']} cells", found["methods"])
    lines += [
        "",
        *_method_lines(f"the {found['cells of tinker' + chr(39) + 's formula']} cells of Llama and Qwen", found["on those"]),
    ]
    lines += ["", "| left out | formula of the others |\n|---|---|"]
    lines += [f"| {family} | `{formula}` |" for family, formula in found["formulas"].items()]
    for reading, gain in found["gain over 3e-4"].items():
        sure = f"90 % {gain['low']:.5f} to {gain['high']:.5f}, above 0 in {gain['better']:.0%}"
        lines.append(f"\ngain over always 3e-4, {reading}: {gain['mean']:.5f} ({sure} of draws of families)")
    return lines


def _method_lines(title: str, methods: dict[str, Any]) -> list[str]:
    families = list(next(iter(methods.values()))["straight by family"])
    lines = [f"| {title} | straight | smooth | diverged | at risk | {' | '.join(families)} |"]
    lines.append("|---|" + "---:|" * (4 + len(families)))
    for name, one in methods.items():
        by = " | ".join(
            f"{one['straight by family'][family]:.4f} / {one['smooth by family'][family]:.4f}" for family in families
        )
        shares = f"{one['diverged']:.1%} | {one['at risk']:.1%}"
        lines.append(f"| {name} | {one['straight']:.5f} | {one['smooth']:.5f} | {shares} | {by} |")
    return lines


def _form_lines(found: dict[str, Any]) -> list[str]:
    lines = ["| form | straight | smooth | at risk | scatter | fitted to all |\n|---|---:|---:|---:|---:|---|"]
    for form, one in found.items():
        numbers = f"{one['straight']:.5f} | {one['smooth']:.5f} | {one['at risk']:.1%} | {one['scatter']:.2f}"
        used = " (used)" if form == USED else ""
        of_all = f"`{one['of all']}`" if one["of all"] else "; ".join(f"{k}: {v}" for k, v in one["forms"].items())
        lines.append(f"| {form}{used} | {numbers} | {of_all} |")
    return lines


def _shipped_lines(found: dict[str, Any]) -> list[str]:
    head = "| shipped values | n | inside | ceiling | files | inside | ceiling | no answer | median width | widest |"
    lines = [head, "|---|" + "---:|" * 9]
    for name, one in found.items():
        values = f"{one['values']} | {one['inside']:.0%} | {one['ceiling']:.0%}"
        files = f"{one['files']} | {one['files inside']:.0%} | {one['ceiling by files']:.0%}"
        lines.append(
            f"| {name} | {values} | {files} | {one['no answer']} | {one['median width']:.1f} | {one['widest']:.1f} |"
        )
    return lines


def _miss_lines(found: list[dict[str, Any]]) -> list[str]:
    lines = ["| outside | about | parameters | value | band | files | |\n|---|---|---:|---:|---|---:|---|"]
    for one in found:
        size = f"{one['parameters']:.2g}" if one["parameters"] else ""
        band = f"{one['low']:.2g} to {one['high']:.2g}" if one["low"] else "no answer"
        lines.append(
            f"| {one['id']} | {one['about']} | {size} | {one['value']:.2g} | {band} | {one['files']} | {one['faulty']} |"
        )
    return lines


TELL: dict[str, Any] = {
    "fit": _fit_lines,
    "sweep": _sweep_lines,
    "forms": _form_lines,
    "shipped": _shipped_lines,
    "misses": _miss_lines,
}

if __name__ == "__main__":
    main()
