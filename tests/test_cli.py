"""The command line: what it writes into a run's folder."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hf_lrsched import CATALOGUE, cli
from hf_lrsched.version import __version__

ROOT = Path(__file__).parents[1]


def call(*arguments: str) -> Result:
    return CliRunner().invoke(cli.main, arguments)


def run_folder(folder: Path, *, cools_down: bool = True) -> Path:
    """A folder as a run with a callback leaves it."""
    folder.mkdir()
    (folder / "hf_lrsched_run.json").write_text(json.dumps({"cools_down": cools_down, "workers": []}))
    return folder


def test_help_and_version() -> None:
    for flag in ("-h", "--help"):
        assert "cooldown" in call(flag).output
        assert "Tell the run in the folder RUN to start its decay now" in call("cooldown", flag).output
    assert call("--version").output == f"hf-lrsched, version {__version__}\n"


# cooldown


@pytest.mark.parametrize(
    ("flags", "written", "said"),
    [
        ((), {}, "asked the run in {run} to cool down\n"),
        (("--steps", "500"), {"steps": 500}, "asked the run in {run} to cool down over 500 steps\n"),
        (("--steps", "1"), {"steps": 1}, "asked the run in {run} to cool down over 1 steps\n"),
    ],
)
def test_cooldown_writes_the_request(flags: tuple[str, ...], written: dict[str, int], said: str, tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run")
    done = call("cooldown", str(run), *flags)
    assert (done.exit_code, done.output) == (0, said.format(run=run))
    assert json.loads((run / "cooldown.request").read_text()) == written
    assert sorted(path.name for path in run.iterdir()) == ["cooldown.request", "hf_lrsched_run.json"]  # nothing beside it


def test_a_second_request_takes_the_place_of_the_first(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run")
    call("cooldown", str(run), "--steps", "500")
    assert call("cooldown", str(run), "--steps", "200").exit_code == 0
    assert json.loads((run / "cooldown.request").read_text()) == {"steps": 200}


def test_cooldown_refuses_a_folder_that_nobody_looks_into(tmp_path: Path) -> None:
    plain = run_folder(tmp_path / "plain", cools_down=False)
    empty = tmp_path / "empty"
    empty.mkdir()
    for folder in (plain, empty, tmp_path / "nowhere"):
        done = call("cooldown", str(folder))
        assert done.exit_code == 1
        assert (
            f"Error: {folder} is not the folder of a run with CooldownCallback, so nobody would look for this" in done.output
        )
        assert not (folder / "cooldown.request").exists()


def test_cooldown_refuses_a_run_that_cools_down_already(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run")
    (run / "cooldown.json").write_text(json.dumps({"at": 1200, "steps": 300, "reason": "signal SIGUSR1"}))
    done = call("cooldown", str(run))
    assert done.exit_code == 1
    assert f"Error: the run in {run} already cools down, from step 1200 on (signal SIGUSR1)" in done.output
    assert not (run / "cooldown.request").exists()


@pytest.mark.parametrize("text", ["", "{}"])
def test_cooldown_says_so_where_the_folder_cannot_be_read(text: str, tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run")
    (run / "hf_lrsched_run.json").write_text(text)
    done = call("cooldown", str(run))
    assert done.exit_code == 1
    assert "Error: " in done.output  # a sentence, and no traceback
    assert not (run / "cooldown.request").exists()


@pytest.mark.parametrize(
    "arguments", [("cooldown",), ("cooldown", "x", "--steps", "0"), ("cooldown", "x", "--steps", "2.5"), ("warm",)]
)
def test_what_cannot_be_read_is_refused(arguments: tuple[str, ...]) -> None:
    assert call(*arguments).exit_code == 2


# Processes of their own


def test_help_loads_neither_torch_nor_transformers() -> None:
    program = (
        "import sys\n"
        "from hf_lrsched.cli import main\n"
        "main(['cooldown', '--help'], standalone_mode=False)\n"
        "loaded = {'torch', 'transformers', 'accelerate', 'datasets', 'numpy', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {loaded}' if loaded & {'torch', 'transformers', 'accelerate', 'datasets', 'matplotlib'} else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Tell the run in the folder RUN" in done.stdout


# list, show


def test_list_has_every_schedule_with_its_shape_and_its_summary() -> None:
    lines = call("list").output.splitlines()
    assert [line.split()[0] for line in lines] == list(CATALOGUE)
    assert all(entry.summary in line for entry, line in zip(CATALOGUE.values(), lines, strict=True))
    assert "▂▅█████████████████▆▄▂▁▁" in lines[list(CATALOGUE).index("wsd")]
    assert "(not registered: the name is Transformers' own" in lines[0]


def test_show_tells_the_phases_and_the_learning_rate_at_key_steps() -> None:
    output = call(
        "show", "wsd", "--steps", "20000", "--warmup", "5%", "--num-decay-steps=2000", "--learning_rate", "3e-4"
    ).output
    assert output.startswith("wsd: warmup 1000, stable 17000, decay 2000\n")
    assert " 18000  decay          0.0003" in output
    assert " 0.0003 ┤" in output


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("wsdd",), "unknown schedule 'wsdd'; did you mean 'wsd'?"),
        (("wsd", "--warmap", "5%"), "wsd does not know 'warmap'; did you mean 'warmup'?"),
        (
            ("wsd", "--warmup", "60%", "--decay", "60%"),
            "warmup (600) and decay (600) take 1200 steps, but the run has only 1000",
        ),
        (("wsd", "--warmup"), "requires an argument"),
        (("wsd", "--min_lr", "2"), "min_lr (2) is above the peak LR (1)"),
    ],
)
def test_what_cannot_be_shown_is_said(words: tuple[str, ...], sentence: str) -> None:
    result = CliRunner().invoke(cli.main, ["show", *words])
    assert result.exit_code != 0
    assert sentence in result.output
