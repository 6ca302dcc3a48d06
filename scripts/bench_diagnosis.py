"""Diagnosis beside the truth: ours, and every peer's rule on the same curves.

    python scripts/bench_diagnosis.py DATA     DATA: the folder of public data, which is not part of this repository; without
                                               it, what needs no more than our own runs

Prints Markdown tables and writes bench_diagnosis.json. `methods` say whether a constant learning rate is too high, good or
too low, or None where they cannot tell; one is judged by being listed. Of each problem ours is judged by the limits that the
others give (`fit_diagnosis.py`), and with those it is shipped with. Alarms and names of faults are those of `diagnose`.

A peer that is silent says "good"; one that fires says what `diagnosis_peers.SAYS` has, and where that has nothing, None.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from diagnosis_curve import Curve
from diagnosis_data import LABELS, Labelled, bloom, curve_of, deepobs, healthy, history_of
from diagnosis_peers import RULES, SAYS, floor_rule
from diagnosis_runs import Run, recorded
from fit_diagnosis import without

from hf_lrsched.runs.diagnosis import RULES as OURS
from hf_lrsched.runs.diagnosis import Finding, Rule, diagnose
from hf_lrsched.runs.diagnosis.progress import LearningRate
from hf_lrsched.runs.history import History

RESULTS = Path(__file__).parent / "bench_diagnosis.json"
SHARES = (0.1, 0.3, 1.0)
WHEN = (0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)  # looks, for delays

Method = Callable[[Curve], str | None]


def _verdict(name: str) -> Method:
    def say(curve: Curve) -> str | None:
        return SAYS.get(name) if RULES[name](curve) else "good"

    return say


def our_verdict(curve: Curve, rules: Sequence[type[Rule]] = OURS) -> str | None:
    """The last that our rules say of the learning rate; where they say nothing of it, it is not called good."""
    said = [found.cause for found in diagnose(history_of(curve), rules) if found.cause in ("lr too high", "lr too low")]
    return said[-1].removeprefix("lr ").replace(" ", "_") if said else None


@cache
def fitted(problem: str, folder: Path) -> tuple[type[Rule], ...]:
    """Our rules, with the limits that all other problems give."""
    other = type("LearningRate", (LearningRate,), {"limits": without(problem, folder)})
    return tuple(other if rule is LearningRate else rule for rule in OURS)


def methods(folder: Path) -> dict[str, Method]:
    """Whatever says of a curve whether its learning rate is too high, good or too low."""
    return {
        "hf_lrsched, problem left out": lambda curve: our_verdict(curve, fitted(curve.problem, folder)),
        "hf_lrsched, as shipped": our_verdict,
        "floor rule": floor_rule,
        **{name: _verdict(name) for name in RULES if name in SAYS},
    }


def ours(run: History) -> list[Finding]:
    """What somebody is called for."""
    return [found for found in diagnose(run) if found.attention]


# DeepOBS: verdicts


def matrix(method: Method, runs: Iterable[Labelled], share: float) -> dict[str, Counter[str]]:
    """What is said of the runs of each label, after `share` of each run."""
    found: dict[str, Counter[str]] = {label: Counter() for label in LABELS}
    for run in runs:
        found[run.label][method(run.curve.until(share)) or "cannot tell"] += 1
    return found


def judged(found: dict[str, Counter[str]]) -> dict[str, float]:
    """The figures of a confusion matrix; NaN where nothing was said."""
    said = {label: sum(found[label].values()) for label in LABELS}
    recall = {label: found[label][label] / said[label] for label in LABELS}
    blamed = sum(row[label] for row in found.values() for label in ("too_high", "too_low"))
    right = found["too_high"]["too_high"] + found["too_low"]["too_low"]
    return {
        "too_high found": recall["too_high"],
        "too_low found": recall["too_low"],
        "good called good": recall["good"],
        "good called bad": (found["good"]["too_high"] + found["good"]["too_low"]) / said["good"],
        "LR verdicts right": right / blamed if blamed else math.nan,
        "cannot tell": sum(row["cannot tell"] for row in found.values()) / sum(said.values()),
        "balanced accuracy": statistics.mean(recall.values()),
    }


def near(method: Method, runs: Iterable[Labelled]) -> tuple[int, int]:
    """Wrong verdicts at the end of the runs, and how many of them on a regret within a factor of 2 of the label's 0.05."""
    wrong = [run.regret for run in runs if method(run.curve) not in (run.label, None)]
    return len(wrong), sum(0.025 <= regret <= 0.1 for regret in wrong)


def delay(method: Method, runs: Iterable[Labelled]) -> float | None:
    """The share of the run after which half of the too-high runs that are ever called so are; None where none is."""
    seen = [
        next((share for share in WHEN if method(run.curve.until(share)) == "too_high"), None)
        for run in runs
        if run.label == "too_high"
    ]
    known = [share for share in seen if share is not None]
    return statistics.median(known) if known else None


def verdicts(runs: list[Labelled], folder: Path) -> dict[str, Any]:
    results: dict[str, Any] = {}
    for name, method in methods(folder).items():
        results[name] = {"delay": delay(method, runs), "wrong, near": near(method, runs)}
        for share in SHARES:
            found = matrix(method, runs, share)
            problems = sorted({run.curve.problem for run in runs})
            each = {one: matrix(method, [run for run in runs if run.curve.problem == one], share) for one in problems}
            results[name][f"{share:g}"] = {"matrix": found, "figures": judged(found), "by problem": each}
    for share in SHARES:
        print(f"\n### DeepOBS, {share:.0%} of the run; said of good / too_high / too_low runs\n")
        columns = list(next(iter(results.values()))[f"{share:g}"]["figures"])
        table(["method", *columns, *LABELS])
        for name, result in results.items():
            one = result[f"{share:g}"]
            cells = [_percent(one["figures"][column]) for column in columns]
            row([name, *cells, *(_counts(one["matrix"][label]) for label in LABELS)])
    print("\nIn the rows: runs called too_high / good / too_low / cannot tell.\n")
    table(["method", "too_high is called after (median)", "wrong at the end", "of those near the border"])
    for name, result in results.items():
        row([name, _percent(result["delay"]), *map(str, result["wrong, near"])])
    return results


def fired(runs: list[Labelled]) -> dict[str, Any]:
    """The share of runs on which each peer's rule fires, by label: beside table 3.2 of the reference, which has 864 runs."""
    print("\n### DeepOBS: share of the runs on which a rule fires\n")
    table(["rule", *LABELS])
    results = {}
    for name, rule in RULES.items():
        if name not in ("OLMo-core 6 sigma, grad norm", "ZClip"):  # there is no gradient norm
            hits = {label: [bool(rule(run.curve)) for run in runs if run.label == label] for label in LABELS}
            results[name] = {label: round(statistics.mean(hits[label]), 3) for label in LABELS}
            row([name, *(f"{results[name][label]:.2f}" for label in LABELS)])
    return results


# Alarms


def alarms(steps: Iterable[int], curve: Curve) -> list[int]:
    """Firings in a row are one alarm: the points at which a rule fires and did not at the point before."""
    at = np.searchsorted(curve.step, np.array(list(steps), dtype=np.float64))
    where = np.unique(np.minimum(at, len(curve.step) - 1))  # an evaluation comes behind the last point
    return [int(i) for n, i in enumerate(where) if n == 0 or i != where[n - 1] + 1]


def watch(run: History, total: int | None = None) -> dict[str, list[int]]:
    """The points at which each raises an alarm."""
    curve = curve_of(run, total)
    found = {"hf_lrsched": [int(np.searchsorted(curve.step, finding.step - 1)) for finding in ours(run)]}
    return found | {name: alarms(rule(curve), curve) for name, rule in RULES.items()}


def false_alarms(public: list[tuple[str, History]], runs: list[Run]) -> dict[str, Any]:
    """Alarms per 1,000 steps of runs in which nothing is wrong."""
    groups: dict[str, list[tuple[History, int | None]]] = {
        name: [(run, run.arguments.get("max_steps"))] for name, run in public
    }
    for run in runs:
        if run.healthy:
            kind = run.about["kind"] or run.about["schedule"]
            groups.setdefault(f"ours: {kind}", []).append((run.history, run.about["steps"]))
    results: dict[str, Any] = {}
    for group, several in groups.items():
        steps = sum(int(run.step[-1]) for run, _ in several)
        counts: Counter[str] = Counter()
        for run, total in several:
            counts.update({name: len(found) for name, found in watch(run, total).items()})
        results[group] = {"steps": steps, "alarms": dict(counts)}
    both = {"public": [g for g in groups if not g.startswith("ours")], "ours": [g for g in groups if g.startswith("ours")]}
    names = ["hf_lrsched", *RULES]
    print("\n### Alarms per 1,000 steps of healthy runs\n")
    table(["watcher", *both["public"], "our runs", "worst schedule"])
    for name in names:
        rates = {g: 1000 * one["alarms"].get(name, 0) / one["steps"] for g, one in results.items()}
        whole = sum(results[g]["alarms"].get(name, 0) for g in both["ours"])
        steps = sum(results[g]["steps"] for g in both["ours"])
        worst = max(both["ours"], key=lambda g: rates[g])
        told = f"{rates[worst]:.2f} ({worst.removeprefix('ours: ')})" if rates[worst] else "-"
        row([name, *(f"{rates[g]:.2f}" for g in both["public"]), f"{1000 * whole / steps:.2f}", told])
    return results


# Seeded faults


def named(run: Run, findings: Iterable[Finding]) -> list[Finding]:
    """Those findings that name the run's fault, none of which rests on what was before it."""
    expected = {tuple(pair) for pair in run.about["expected"]}
    begin = run.about["fault_step"] or 0
    return [found for found in findings if (found.symptom, found.cause) in expected and found.step >= begin]


def seeded(runs: list[Run]) -> dict[str, Any]:
    """Which faults are named, how soon, and what else is said."""
    results: dict[str, Any] = {}
    for run in _faulty(runs):
        findings = diagnose(run.history)
        right, begin = named(run, findings), run.about["fault_step"] or 0
        others = sorted({f"{found.symptom}: {found.cause}" for found in findings if found.attention and found not in right})
        said = watch(run.history, run.about["steps"]).items()
        peers = {name: run.history.step[at].tolist() for name, at in said if name in RULES}
        results[run.about["name"]] = {
            "named": bool(right),
            "delay": round((min(found.step for found in right) - begin) / run.about["steps"], 4) if right else None,
            "others": others,
            "peers": [name for name, at in peers.items() if any(step >= begin for step in at)],
        }
    if not results:
        return results
    print("\n### Seeded faults: how many are named, by task; delay in % of the run; what else was said\n")
    tasks = list(dict.fromkeys(run.about["task"] for run in _faulty(runs)))
    table(["fault", *tasks, "delay", "also said", "peers that fire on all, of those silent on healthy runs"])
    quiet = _quiet(runs)
    for fault, several in _by(_faulty(runs), "fault").items():
        cells = []
        for task in tasks:
            ones = [results[run.about["name"]]["named"] for run in several if run.about["task"] == task]
            cells.append(f"{sum(ones)} of {len(ones)}" if ones else "-")
        of = [results[run.about["name"]] for run in several]
        delays = [one["delay"] for one in of if one["delay"] is not None]
        also = Counter(other for one in of for other in one["others"])
        firing = [name for name in quiet if all(name in one["peers"] for one in of)]
        told = ", ".join(f"{other} ({count})" for other, count in also.most_common(4))
        row([fault, *cells, _percent(statistics.median(delays)) if delays else "-", told or "-", ", ".join(firing) or "none"])
    return results


def _faulty(runs: list[Run]) -> list[Run]:
    return [run for run in runs if run.about["expected"] and not run.about["harmless"]]


def _quiet(runs: list[Run]) -> list[str]:
    """Peers that fire on at most one in twenty of our healthy runs."""
    fine = [run for run in runs if run.healthy]
    hits = Counter(name for run in fine for name, at in watch(run.history, run.about["steps"]).items() if at)
    return [name for name in RULES if hits[name] <= 0.05 * len(fine)]


def _by(runs: Iterable[Run], word: str) -> dict[str, list[Run]]:
    grouped: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        grouped[run.about[word]].append(run)
    return grouped


def spikes(folder: Path) -> dict[str, Any]:
    """What is said of BLOOM's published points, and from which step on."""
    print("\n### BLOOM: the first step at which something is said\n")
    table(["points", "hf_lrsched", "peers"])
    results = {}
    for name, run in bloom(folder):
        findings = ours(run)
        told = [f"{found.step}: {found.symptom}, {found.cause}" for found in findings]
        peers = {rule: int(run.step[at[0]]) for rule, at in watch(run).items() if at and rule in RULES}
        results[name] = {"hf_lrsched": told, "peers": peers}
        row([name, "; ".join(told) or "-", ", ".join(f"{rule} {step}" for rule, step in peers.items()) or "-"])
    return results


# Tables


def table(columns: list[str]) -> None:
    print("| " + " | ".join(columns) + " |")
    print("|---|" + "---:|" * (len(columns) - 1))


def row(cells: list[str]) -> None:
    print("| " + " | ".join(cells) + " |")


def _percent(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{100 * value:.3g} %"


def _counts(said: Counter[str]) -> str:
    return " / ".join(str(said[word]) for word in ("too_high", "good", "too_low", "cannot tell"))


def _plain(value: Any) -> Any:
    """Plain JSON: NaN is null, and four digits are enough."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, float):
        return float(f"{value:.4g}") if math.isfinite(value) else None
    return value


def main(folder: Path | None) -> None:
    runs, results = list(recorded()), {}
    with np.errstate(all="ignore"):
        if folder is not None:
            known = deepobs(folder)
            results = {"fired": fired(known), "verdicts": verdicts(known, folder), "bloom": spikes(folder)}
        results["false alarms"] = false_alarms(list(healthy(folder)) if folder else [], runs)
        for words, some in (("", runs), (", held-out tasks", [run for run in runs if run.about["held_out"]])):
            print(f"\n## {len(some)} runs of ours{words}")
            results[f"seeded faults{words}"] = seeded(some)
    if folder is not None:
        RESULTS.write_text(json.dumps(_plain(results)) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
