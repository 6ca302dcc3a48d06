"""What forecasts of the loss under other schedules are worth: `fit_law` on two laboratories' public curves and on ours.

    python scripts/bench_forecast.py DATA              DATA: the folder of public data, which is not part of this repository
    python scripts/bench_forecast.py DATA --json FILE  the same figures, and those of every fit
    python scripts/bench_forecast.py                   what needs no data: the embedded small Llama

About two minutes on one core. Of 25M parameters the prior's centre is what was published for 100M, and the other way round;
what the library's own prior gives, whose centre is the mean of both, stands beside it. The second laboratory and this
project's runs had no part in either. Widths, p and the discrepancy were chosen on both laboratories (LOG.md), though: the
embedded Llama alone is new to them.

Losses in nats; "final" is the mean distance of the last point's loss from what was said; "rank" Spearman's correlation over
the curves that a fit has not seen, the mean over fits; "n" pairs of a fit and a curve. A pair that the library refuses, for
it is beyond three horizons, is counted and left out, and told apart.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from forecast_data import SIZES, Curve, Split, first_splits, second_lab, second_splits, shape_of
from forecast_ours import Said, ask, embedded, fitted, forced, halved, noisy, predicted, thinned
from forecast_peers import PEERS
from forecast_proof import formulas, golden, logged_rates
from forecast_runs import PACKED, histories
from forecast_score import Pair, reliability, score
from forecast_tables import LONGER, tell

from hf_lrsched.runs.forecast.law import Law

NOISE = 0.005  # nats, added to every loss; a repeat of a run costs .0005 to .0017
SEEDS = 3


# What is measured


def proofs(folder: Path) -> dict[str, Any]:
    rates = logged_rates(folder)
    worst = max(missed for files in rates.values() for missed in files.values())
    files = sum(map(len, rates.values()))
    return {"golden": golden(folder), "rates": {"files": files, "worst": worst, "by formula": formulas(folder)}}


def by_group(pairs: Iterable[Pair], key: Callable[[Pair], str]) -> dict[str, dict[str, Any]]:
    grouped: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        grouped[key(pair)].append(pair)
    return {name: score(some) for name, some in grouped.items()}


def scored(said: Said) -> dict[str, Any]:
    """A laboratory's figures: by source and group, of curves much longer than what was seen, and of what was refused."""
    longer = [pair for pair in said.pairs if pair.horizon >= LONGER]
    return {
        "groups": by_group(said.pairs, lambda pair: f"{pair.source} | {pair.group}"),
        "longer": by_group(longer, lambda pair: f"{pair.source} | {pair.group}"),
        "refused": by_group(said.beyond, lambda pair: f"{pair.source} | {pair.group}"),
        "with refused": by_group([*said.pairs, *said.beyond], lambda pair: f"{pair.source} | {pair.group}"),
        "fits": by_group(said.pairs, lambda pair: f"{pair.fit} | {pair.group}"),
        "fit takes": statistics.median(said.seconds),
    }


def across_peaks(folder: Path) -> dict[str, Any]:
    """WSD20 + cos10 over 25k steps at one peak, asked for the runs at another, which the library refuses."""
    found = {}
    pairs = [split for split in second_splits(folder) if split.group == "25k, WSD20 + cos10"]
    for split in pairs:
        law = fitted(split.fitted)
        for peak in sorted({curve.peak for curve in second_lab(folder)} - {split.fitted[0].peak}):
            there = [curve for curve in second_lab(folder) if curve.peak == peak and curve.steps == 25000]
            asked = [_refused(law, split, curve) for curve in there]
            found[f"{split.fitted[0].peak:g} -> {peak:g}"] = {
                "refused": sum(asked),
                **score(forced(law, split, curve) for curve in there),
            }
    return found


def _refused(law: Law, split: Split, curve: Curve) -> bool:
    try:
        predicted(law, split, curve)
    except ValueError as refused:
        return "no loss-curve law is known to hold at another peak" in str(refused)
    return False


def peers(splits: Sequence[Split], said: Said) -> dict[str, Any]:
    """Final errors of others on the pairs that the library answers, fitted to the same runs in the same process."""
    answered = {(pair.fit, pair.curve) for pair in said.pairs}
    found: dict[str, Any] = {"fit_law": {"seconds": statistics.median(said.seconds), **_finals(said.pairs)}}
    second = [(pair, abs((pair.second or 0.0) - float(pair.truth[-1]))) for pair in said.pairs]
    found["fit_law, its momentum law"] = {"seconds": None, **_means((_place(pair), error) for pair, error in second)}
    for name, peer in PEERS.items():
        pairs, seconds = [], []
        for split in splits:
            begun = time.perf_counter()
            says = peer(split.fitted)
            seconds.append(time.perf_counter() - begun)
            asked = [curve for curve in split.unseen if (split.name, curve.name) in answered]
            pairs += [
                Pair(split.name, one.name, 1.0, one.loss, says(one), source=split.source, group=split.group) for one in asked
            ]
        found[name] = {"seconds": statistics.median(seconds), **_finals(pairs)}
    return found


def _place(pair: Pair) -> str:
    lab = "25M, 100M" if pair.source in SIZES else pair.source.split(" at ")[0]
    return f"{lab}: {pair.group}"


def _finals(pairs: Iterable[Pair]) -> dict[str, float]:
    return _means((_place(pair), abs(pair.error)) for pair in pairs)


def _means(errors: Iterable[tuple[str, float]]) -> dict[str, float]:
    grouped: dict[str, list[float]] = defaultdict(list)
    for place, error in errors:
        grouped[place].append(error)
    return {place: statistics.mean(some) for place, some in grouped.items()}


def calibration(said: Mapping[str, Said]) -> dict[str, Any]:
    """How often bands hold what they say, by laboratory, by kind of fit and pooled."""
    pools = {name: one.pairs for name, one in said.items() if one.pairs}
    whole = [pair for pairs in pools.values() for pair in pairs]
    public = [pair for pair in whole if pair.source != "embedded Llama"]
    single = [pair for pair in whole if "+" not in pair.fit]
    pools |= {"124M, peaks to 1e-3": [p for p in whole if p.source.startswith("124M") and not p.source.endswith(" 0.002")]}
    pools |= {"both laboratories": public, "one run": single, "two or three runs": [p for p in whole if "+" in p.fit]}
    pools["all"] = whole
    return {name: {**score(pairs), "stretch": reliability(pairs)} for name, pairs in pools.items() if pairs}


def repeats(folder: Path | None) -> dict[str, list[float]]:
    """By how much the last losses of two runs of one setting differ: less than that no forecast can be off by."""
    found: dict[str, list[float]] = {}
    if folder is not None:
        same: dict[tuple[str, int, float], list[float]] = defaultdict(list)
        for curve in second_lab(folder):
            same[shape_of(curve), curve.steps, curve.peak].append(curve.final)
        found["124M, nothing changed"] = [abs(two[0] - two[1]) for two in same.values() if len(two) == 2]
    runs = histories() if PACKED.is_file() else {}
    seeds = [abs(run.eval_loss[-1] - runs[name.split("/")[0]].eval_loss[-1]) for name, run in runs.items() if "/" in name]
    return found | ({"embedded Llama, another seed": [float(one) for one in seeds]} if seeds else {})


def robustness(folder: Path) -> dict[str, Any]:
    """Fits to less or to worse of the same runs: WSD + cosine, 25M, 100M, and 124M over 25k steps."""
    wanted = ("WSD + cosine", "25k, WSD20 + cos10")
    splits = [one for one in (*first_splits(folder), *second_splits(folder)) if one.group in wanted]
    kinds: dict[str, list[list[Split]]] = {
        "all points": [splits],
        "every 2nd point": [[thinned(split, 2) for split in splits]],
        "every 4th point": [[thinned(split, 4) for split in splits]],
        f"noise of {NOISE:g} added": [[noisy(split, NOISE, seed) for split in splits] for seed in range(SEEDS)],
        "the first half of the points": [[halved(split) for split in splits]],
    }
    found = {}
    for name, several in kinds.items():
        pairs = [pair for some in several for one in [ask(some)] for pair in (*one.pairs, *one.beyond)]
        found[name] = score(pairs)
    return found


def goals(said: Mapping[str, Said]) -> list[tuple[str, str, float, bool]]:
    """The issue's goals, and whether they are met."""
    first = said["25M, 100M"]
    rows: list[tuple[str, str, float, bool]] = []
    for size in SIZES:
        two = score(pair for pair in first.pairs if pair.source == size and pair.group == "WSD + cosine")
        one = score(pair for pair in first.pairs if pair.source == size and pair.group == "one run that decays")
        rows += [
            (f"{size}, WSD + cosine: R2", ">= .998", two["R2"], two["R2"] >= 0.998),
            (f"{size}, WSD + cosine: final", "<= .005", two["final"], two["final"] <= 0.005),
            (f"{size}, WSD + cosine: rank", ">= .96", two["rank"], two["rank"] >= 0.96),
            (f"{size}, one run that decays: final", "<= .012", one["final"], one["final"] <= 0.012),
            (f"{size}, one run that decays: rank", ">= .96", one["rank"], one["rank"] >= 0.96),
        ]
    whole = score(pair for one in said.values() for pair in one.pairs)
    share = whole["holds 90%"]
    return [*rows, (f"90 % intervals, all {whole['n']} pairs", ".85 to .95", share, 0.85 <= share <= 0.95)]


def measure(folder: Path | None) -> dict[str, Any]:
    """All sections; without data, the embedded Llama's."""
    told: dict[str, Any] = {}
    said: dict[str, Said] = {}
    splits: dict[str, list[Split]] = {}
    if folder is not None:
        told["proofs"] = proofs(folder)
        splits = {"25M, 100M": first_splits(folder), "124M": second_splits(folder)}
    if PACKED.is_file():
        splits["embedded Llama"] = embedded(histories())
    for name, some in splits.items():
        said[name] = ask(some)
        told[name] = scored(said[name])
    if folder is not None:
        told["library's own prior"] = scored(ask(splits["25M, 100M"], default=True))
        told["across peaks"] = across_peaks(folder)
    told["peers"] = {name: peers(splits[name], said[name]) for name in splits}
    told["calibration"] = calibration(said)
    told["repeats"] = repeats(folder)
    if folder is not None:
        told["robustness"] = robustness(folder)
        told["goals"] = goals(said)
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", help="the folder with multipower/ and llama_sweep_*.csv.gz")
    parser.add_argument("--json", type=Path, help="write the figures there")
    asked = parser.parse_args()
    if asked.data is None and not PACKED.is_file():
        parser.error(f"give the folder of public data: {PACKED.name} is not here either")
    told = measure(asked.data)
    print("\n".join(tell(told)))
    if asked.json is not None:
        asked.json.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
