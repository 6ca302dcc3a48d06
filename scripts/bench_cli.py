"""What the command line costs to start, as a ratio to importing numpy, and how large its pages and pictures are.

    python scripts/bench_cli.py [RUN]      about a minute; RUN: a run's folder for the sizes, by default none

Medians of 9 rounds in which the commands take turns. The goal: list, show and --help within 3 times
``python -c "import numpy"``, and without torch or transformers.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 9
ROOT = Path(__file__).parent.parent
COMMANDS = {
    'python -c "import numpy"': ["-c", "import numpy"],
    "hf-lrsched --help": ["-m", "hf_lrsched", "--help"],
    "hf-lrsched list": ["-m", "hf_lrsched", "list"],
    "hf-lrsched show wsd": ["-m", "hf_lrsched", "show", "wsd"],
    "hf-lrsched show --help": ["-m", "hf_lrsched", "show", "--help"],
    "hf-lrsched plan --help": ["-m", "hf_lrsched", "plan", "--help"],
    "hf-lrsched run true": ["-m", "hf_lrsched", "run", "true"],
}


def main() -> None:
    paths = [str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(ROUNDS):
        for name, arguments in COMMANDS.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, *arguments], env=environment, stdout=subprocess.DEVNULL, check=True)
            times[name].append(time.perf_counter() - start)
    floor = statistics.median(times['python -c "import numpy"'])
    print("| command | seconds | times numpy |\n|---|---:|---:|")
    for name, taken in times.items():
        print(f"| `{name}` | {statistics.median(taken):.2f} | {statistics.median(taken) / floor:.1f} |")
    for run in map(Path, sys.argv[1:2]):
        sizes(run)


def sizes(run: Path) -> None:
    """Bytes of everything that is made of a run."""
    from hf_lrsched import plot, read_history
    from hf_lrsched.runs.files import HISTORY, checkpoints
    from hf_lrsched.show.report import report

    history = read_history(run)
    with tempfile.TemporaryDirectory() as folder:
        page, picture = Path(folder) / "report.html", Path(folder) / "run.png"
        report(history, page, checkpoints=checkpoints(run))
        plot.lr_and_loss(history, picture)
        size = (run / HISTORY).stat().st_size if (run / HISTORY).exists() else 0
        print(f"\n{len(history)} steps: {HISTORY} {size:,} bytes, {page.name} {page.stat().st_size:,}, {picture.name} "
              f"{picture.stat().st_size:,}")  # fmt: skip


if __name__ == "__main__":
    main()
