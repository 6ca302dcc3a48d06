"""The pictures of the README, in docs/figures: every schedule of the catalogue, a range test, a forecast, and with RUN a run.

python scripts/make_figures.py [RUN]      RUN: the folder of a run with LRRecorder, such as runs/pretrain
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from forecast_runs import histories

from hf_lrsched import CATALOGUE, RangeTest, build, fit_law, plot, read_history
from hf_lrsched.show.forecast import predicted_and_measured

FIGURES = Path(__file__).parent.parent / "docs" / "figures"

# What shows a schedule best in a picture of 200 pixels; the defaults where nothing is listed.
SHOWN = {
    "constant": {"warmup": "10%"},
    "warm_restarts": {"cycles": 3, "mult": 1.5, "peak_decay": 0.8, "warmup": "5%"},
    "wsd": {"warmup": "5%"},
    "wsd_s": {"warmup": "5%"},
    "rex": {"warmup": "5%"},
    "power": {"warmup": "5%"},
    "inverse_sqrt_cooldown": {"warmup": "5%"},
    "warmup_cosine": {"warmup": "5%"},
    "phases": {
        "phases": [
            {"from": 0, "to": 1, "length": "10%"},
            {"length": "30%"},
            {"to": 0.4, "shape": "cosine", "length": "20%"},
            {},
            {"to": 0.05, "shape": "1-sqrt", "length": "20%"},
        ]
    },
}


def main() -> None:
    FIGURES.mkdir(parents=True, exist_ok=True)
    for name in CATALOGUE:
        plot.thumbnail(build(name, 400, **SHOWN.get(name, {})), FIGURES / f"{name}.svg")
    recorded = json.loads((Path(__file__).parent / "bench_range_test_sweeps.json").read_text())
    plot.range_test(RangeTest.of(recorded["pretrain-130k-cosine"]["0"]), FIGURES / "range_test.png")
    forecast()
    for run in sys.argv[1:2]:
        plot.lr_and_loss(read_history(run), FIGURES / "run.png")


def forecast() -> None:
    """What two runs of 1,600 steps said of one of 4,000, and what it then gave."""
    runs = histories()
    known, asked = {name: runs[name] for name in ("wsd20", "cosine0")}, runs["wsd20-long"]
    assert asked.schedule is not None
    said = fit_law(known.values()).predict(asked.schedule)
    predicted_and_measured(said, asked, FIGURES / "forecast.png", fitted=known)


if __name__ == "__main__":
    main()
