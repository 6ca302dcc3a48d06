"""What lint says of a folder of public configurations, and how long it takes.

    python scripts/bench_lint.py FOLDER [--level note|warning|error] [--rule LR003] [--quiet]

FOLDER has a sub-folder for each project, of files that are read and never committed. Told are, for each project, files,
configurations by form, and remarks by rule; every finding (with ``--level note`` every remark) to be judged by eye; and the
seconds that `hf-lrsched lint` takes for 1,000 files with its start, the files repeated where there are fewer. A crash is told
with its file and ends the count: there must be none. The goal: 1,000 files in 10 seconds.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

from hf_lrsched.advice.lint import Remark, lint
from hf_lrsched.advice.lint.reading import FAILED, configurations, files_of
from hf_lrsched.advice.lint.remark import LEVELS

FILES = 1000
ROUNDS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--level", choices=LEVELS, default="warning")
    parser.add_argument("--rule")
    parser.add_argument("--quiet", action="store_true", help="counts and times only")
    asked = parser.parse_args()
    crashes = 0
    print("| project | files | configurations | findings | notes | by rule |\n|---|---:|---|---:|---:|---|")
    told: list[Remark] = []
    for project in sorted(path for path in asked.folder.iterdir() if path.is_dir()):
        remarks, broken = project_remarks(project)
        crashes += broken
        told += remarks
        print(row(project, remarks))
    print(f"\ncrashes: {crashes}")
    for remark in [] if asked.quiet else told:
        if LEVELS.index(remark.level) <= LEVELS.index(asked.level) and asked.rule in (None, remark.rule):
            place = remark.place.replace(f"{asked.folder}/", "")
            print(f"\n{place}: {remark.rule} {remark.name} ({remark.level})\n    {remark.sentence}\n    {remark.advice}")
    print(f"\n{FILES} files with the start: {seconds(asked.folder):.2f} s (median of {ROUNDS})")


def project_remarks(project: Path) -> tuple[list[Remark], int]:
    """The remarks on a project's files, and how many files crashed."""
    try:
        remarks = lint(project)
    except Exception:
        crashes = 0
        for file in files_of(project):
            try:
                lint(file)
            except Exception:
                crashes += 1
                print(f"CRASH {file}\n{traceback.format_exc()}", file=sys.stderr)
        return [], max(crashes, 1)
    failures = [remark for remark in remarks if remark.sentence.startswith(FAILED)]
    for remark in failures:
        print(f"CRASH {remark.file}\n{remark.sentence}", file=sys.stderr)
    return remarks, len(failures)


def row(project: Path, remarks: list[Remark]) -> str:
    files = files_of(project)
    forms = Counter(one.form for group in configurations(files) for one in group.found)
    rules = Counter(remark.rule for remark in remarks)
    notes = sum(remark.level == "note" for remark in remarks)
    listed = [" ".join(f"{name} {count}" for name, count in sorted(counts.items())) for counts in (forms, rules)]
    return f"| {project.name} | {len(files)} | {listed[0]} | {len(remarks) - notes} | {notes} | {listed[1]} |"


def seconds(folder: Path) -> float:
    """What a fresh process takes for so many files, in a folder of its own."""
    files = [file for file in files_of(folder) if file.suffix in (".yaml", ".yml")]
    with tempfile.TemporaryDirectory() as made:
        for number in range(FILES):
            source = files[number % len(files)]
            copy = Path(made, f"{number // len(files)}", source.relative_to(folder))
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)
        taken = []
        for _ in range(ROUNDS):
            start = time.perf_counter()
            ran = subprocess.run([sys.executable, "-m", "hf_lrsched", "lint", made], stdout=subprocess.DEVNULL)
            taken.append(time.perf_counter() - start)
            if ran.returncode not in (0, 1):  # 1: something was found
                raise SystemExit(f"hf-lrsched lint ended with {ran.returncode}")
    return sorted(taken)[len(taken) // 2]


if __name__ == "__main__":
    main()
