"""The report of `bench_forecast.py`: its figures as Markdown tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from forecast_proof import EXACT

LONGER = 2.0  # horizons: from here on a curve counts as much longer than what was seen

_FIGURES = ("n", "R2", "MAE", "MAE unshared", "final", "bias", "worst", "rank", "final, second", "holds 50%", "holds 90%")
_HEADS = ("n", "R2", "MAE", "of new points", "final", "bias", "worst", "rank", "momentum law", "50 % holds", "90 % holds")


def tell(told: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    for name, found in told.items():
        lines += _TELL.get(name, _laboratory_lines)(name, found)
    return lines


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [
        "| " + " | ".join(head) + " |",
        "|---|" + "---:|" * (len(head) - 1),
        *("| " + " | ".join(row) + " |" for row in rows),
    ]


def _cell(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if name == "n":
        return str(value)
    return f"{value:.0%}" if name.startswith("holds") else f"{value:.4f}" if name != "rank" else f"{value:.3f}"


def _rows(groups: dict[str, Any]) -> list[list[str]]:
    return [[name.replace(" | ", ", "), *(_cell(f, one.get(f)) for f in _FIGURES)] for name, one in groups.items()]


def _laboratory_lines(name: str, found: dict[str, Any]) -> list[str]:
    lines = [f"\n### {name}: a fit takes {found['fit takes']:.2f} s (median, both laws)\n"]
    lines += table(("fitted to", *_HEADS), _rows(found["groups"]))
    if found["longer"]:
        lines += [f"\nOf these, curves {LONGER:g} times as long as the longest run fitted and more:\n"]
        lines += table(("fitted to", *_HEADS), _rows(found["longer"]))
    if found["refused"]:
        lines += ["\nRefused, as they are beyond three horizons, and computed all the same:\n"]
        lines += table(("fitted to", *_HEADS), _rows(found["refused"]))
    return lines


def _proof_lines(_: str, found: dict[str, Any]) -> list[str]:
    lines = ["### Published coefficients through our code, means over the authors' six test curves\n"]
    rows = []
    for size, one in found["golden"].items():
        rows.append([size, *(f"{value:.6f} ({one['printed'][name]})" for name, value in one["ours"].items())])
        rows[-1].append("yes" if one["same"] else "NO")
    lines += table(("size", *next(iter(found["golden"].values()))["ours"], "all digits"), rows)
    rates = found["rates"]
    held = "within" if rates["worst"] <= EXACT else "NOT within"
    lines += [f"\nRates logged in {rates['files']} files: missed by {rates['worst']:.1e} of the peak, {held} {EXACT:g}."]
    for entry, one in rates["by formula"].items():
        lines += [f"Second laboratory by formula, {one['runs']} runs as `{entry}`: {one['worst']:.1e} at worst."]
    return lines


def _across_lines(_: str, found: dict[str, Any]) -> list[str]:
    rows = [
        [name, f"{one['refused']} of {one['n']}", *(_cell(f, one[f]) for f in ("final", "worst", "rank", "holds 90%"))]
        for name, one in found.items()
    ]
    lines = ["\n### Another peak, which is refused: what the law would say (124M, WSD20 + cos10 over 25k steps)\n"]
    return lines + table(("peaks", "refused", "final", "worst", "rank", "90 % holds"), rows)


def _peer_lines(_: str, found: dict[str, Any]) -> list[str]:
    lines = ["\n### Others on the same pairs: mean final error, and over ours; seconds a fit\n"]
    places = list(dict.fromkeys(place for one in found.values() for place in one["fit_law"] if place != "seconds"))
    names = list(next(iter(found.values())))
    merged = {name: {place: value for one in found.values() for place, value in one[name].items()} for name in names}
    rows = []
    for name in names:
        cells = [f"{merged[name][p]:.4f} ({merged[name][p] / merged['fit_law'][p]:.1f})" for p in places]
        seconds = [one[name]["seconds"] for one in found.values() if one[name]["seconds"] is not None]
        rows.append([name, *cells, f"{max(seconds):.2f}" if seconds else "-"])
    return lines + table(("law", *places, "s"), rows)


def _calibration_lines(_: str, found: dict[str, Any]) -> list[str]:
    lines = ["\n### Intervals of the final loss; stretch: the factor on them that would hold just 50 % and 90 %\n"]
    head = ("pairs", "fits", "n", "50 % holds", "90 % holds", "of all points", "mean error", "half width", "median")
    rows = []
    for name, one in found.items():
        shares = [f"{one[key]:.1%}" for key in ("holds 50%", "holds 90%", "holds 90% of all points")]
        sizes = [f"{one[key]:.4f}" for key in ("final", "half width 90%", "half width, median")]
        stretch = " / ".join(f"{value:.2f}" for value in one["stretch"].values())
        rows.append([name, str(one["fits"]), str(one["n"]), *shares, *sizes, stretch])
    return lines + table((*head, "stretch"), rows)


def _repeat_lines(_: str, found: dict[str, list[float]]) -> list[str]:
    rows = [[name, str(len(some)), f"{sum(some) / len(some):.4f}", f"{max(some):.4f}"] for name, some in found.items()]
    return [
        "\n### What a repeat of a run costs: the difference of the last losses\n",
        *table(("runs", "n", "mean", "most"), rows),
    ]


def _robust_lines(_: str, found: dict[str, Any]) -> list[str]:
    return [
        "\n### Fitted to less, or to worse: WSD + cosine, all three sizes\n",
        *table(("fitted to", *_HEADS), _rows(found)),
    ]


def _goal_lines(_: str, found: list[tuple[str, str, float, bool]]) -> list[str]:
    rows = [[what, goal, f"{value:.4f}", "yes" if met else "NO"] for what, goal, value, met in found]
    return ["\n### Goals\n", *table(("goal", "wanted", "found", "met"), rows)]


_TELL: dict[str, Callable[[str, Any], list[str]]] = {
    "proofs": _proof_lines,
    "across peaks": _across_lines,
    "peers": _peer_lines,
    "calibration": _calibration_lines,
    "repeats": _repeat_lines,
    "robustness": _robust_lines,
    "goals": _goal_lines,
}
