from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from hf_lrsched import History, read_history, wsd
from hf_lrsched.runs.files import checkpoints
from hf_lrsched.runs.history import Event
from hf_lrsched.show.report import figure, report

from .. import recorded

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
HOSTILE = "<script>alert(1)</script>"


class Page(HTMLParser):
    """What a page holds: the rows of its tables by id, its headings, and what it would fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.fetched: list[str] = []
        self.scripts = 0
        self.said = ""
        self._table, self._tag = "", ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._tag = tag
        self.scripts += tag == "script"
        self.fetched += [f"{tag} {value}" for name, value in attrs if name in ("src", "href") and value]
        if tag == "table":
            self._table = dict(attrs)["id"] or ""
            self.tables[self._table] = []
        if tag == "tr":
            self.tables[self._table].append([])
        if tag in ("td", "th"):
            self.tables[self._table][-1].append("")

    def handle_data(self, data: str) -> None:
        if self._tag in ("td", "th"):
            self.tables[self._table][-1][-1] += data.strip()
        if self._tag not in ("script", "style"):
            self.said += data


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recorded.write(tmp_path_factory.mktemp("run"), wsd(100), 80, arguments={"learning_rate": 1e-3, "optim": HOSTILE})


@pytest.fixture(scope="module")
def file(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = replace(read_history(run), events=(*read_history(run).events, Event(20, "resume"), Event(60, "cooldown")))
    return report(made, tmp_path_factory.mktemp("page") / "a.html", title=HOSTILE, checkpoints=checkpoints(run))


def test_the_page_is_whole_and_fetches_nothing(file: Path) -> None:
    page = Page(file.read_text("utf-8"))
    assert page.fetched == []
    assert page.scripts >= 2  # plotly's bundle and the curves
    assert file.stat().st_size > 3_000_000
    assert [path.name for path in file.parent.iterdir()] == ["a.html"]


def test_the_page_tells_what_the_run_did(file: Path) -> None:
    tables = Page(file.read_text("utf-8")).tables
    assert {row[0]: row[1] for row in tables["summary"]}["steps"] == "80 of 100"
    assert [row[:3] for row in tables["phases"][1:]] == [["warmup", "1", "10"], ["stable", "11", "70"]]
    rows = [["40", "checkpoint-40", "checkpoint"], ["80", "checkpoint-80", "branch point, kept"]]
    assert tables["checkpoints"][1:] == rows
    assert ["learning_rate", "0.001"] in tables["configuration"]


def test_what_others_wrote_is_text_and_no_markup(file: Path) -> None:
    text = file.read_text("utf-8")
    assert HOSTILE not in text
    assert ["optim", HOSTILE] in Page(text).tables["configuration"]


@pytest.mark.parametrize(
    "history", [History.of([]), History.of([{"step": 1, "lr": 0.1}]), History.of([{"step": 1, "eval_loss": 2}])]
)
def test_a_run_of_which_little_is_known_has_a_page(history: History, tmp_path: Path) -> None:
    page = Page(report(history, tmp_path / "a.html").read_text("utf-8"))
    assert "The source does not hold them" in page.said
    assert "Not recorded: " in page.said


def test_findings_stand_on_the_page(tmp_path: Path) -> None:
    findings = [{"title": "spike", "text": "at step 5"}]
    assert "at step 5" in Page(report(History.of([]), tmp_path / "a.html", findings=findings).read_text("utf-8")).said


@pytest.mark.parametrize("missing", ["plotly.io", "jinja2"])
def test_without_its_libraries_the_error_names_the_line_that_installs_them(
    missing: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'hf-lrsched\[report\]'"):
        report(History.of([]), tmp_path / "a.html")


def traces(history: History, **more: Any) -> dict[str, Any]:
    return {trace.name: trace for trace in figure(history, **more).data}


def test_the_curves_are_those_of_the_run() -> None:
    drawn = traces(recorded.history(wsd(100), 80))
    assert [*drawn] == ["LR", "still to come", "training loss"]
    assert drawn["LR"].x == (*range(1, 81),)
    assert drawn["LR"].y == tuple(float(f"{lr:.6g}") for lr in wsd(100).lrs(80, recorded.PEAK))
    assert drawn["still to come"].x == (*range(81, 101),)
    assert drawn["still to come"].line.dash == "dot"


def test_groups_of_their_own_lr_have_lines_of_their_own() -> None:
    drawn = traces(History.of([{"step": i, "lrs": [1e-3, 1e-4, 1e-3]} for i in (1, 2)], groups=("decay", "norm", "twin")))
    looks = [(drawn[name].line.color, drawn[name].line.dash) for name in ("LR of group decay", "LR of group norm")]
    assert len(set(looks)) == 2
    assert "LR of group twin" not in drawn


def test_losses_that_are_not_finite_are_gaps_with_a_mark() -> None:
    extra = [{"step": 7, "loss": "nan"}, {"step": 9, "loss": "inf"}]
    drawn = traces(recorded.history(wsd(100), 20, extra=extra))
    assert [drawn["training loss"].y[step - 1] for step in (7, 9)] == [None, None]
    assert drawn["loss not finite"].x == (7, 9)


def test_a_million_points_are_a_page_of_a_few_thousand() -> None:
    lines = [{"step": step, "loss": 9.0 if step == 31_234 else 2.0} for step in range(1, 50_001)]
    loss = traces(History.of(lines))["training loss"]
    assert len(loss.x) <= 4000
    assert loss.y[loss.x.index(31_234)] == 9.0


@pytest.mark.parametrize("quantity", ["grad_norm", "momentum"])
def test_norm_and_momentum_have_rows_where_they_are_known(quantity: str) -> None:
    history = History.of([{"step": step, "loss": 1.0, quantity: float(10**step)} for step in (1, 2, 3)])
    made = figure(history)
    assert [axis.title.text for axis in made.select_yaxes()] == [
        "learning rate",
        "loss",
        {"grad_norm": "gradient norm"}.get(quantity, quantity),
    ]
    assert (made.layout.yaxis3.type == "log") is (quantity == "grad_norm")
    assert made.layout.xaxis3.title.text == "optimizer step"


def test_checkpoints_that_are_gone_are_told_of(run: Path, tmp_path: Path) -> None:
    history = replace(read_history(run), events=(Event(20, "checkpoint", "checkpoint-20"),))
    tables = Page(report(history, tmp_path / "a.html", checkpoints=checkpoints(run)).read_text("utf-8")).tables
    assert [row[0::2] for row in tables["checkpoints"][1:]] == [
        ["20", "deleted"],
        ["40", "checkpoint"],
        ["80", "branch point, kept"],
    ]


def test_what_could_not_be_read_stands_on_the_page(tmp_path: Path) -> None:
    history = replace(History.of([{"step": 1, "loss": 2.0}]), unreadable=("2 lines could not be read",), source=HOSTILE)
    text = report(history, tmp_path / "a.html").read_text("utf-8")
    assert "Could not be read: 2 lines could not be read." in text
    assert HOSTILE not in text


HOSTILE_RUNS = {
    "a phase": lambda word: replace(recorded.history(wsd(100), 20), phase=[word] * 10 + ["b"] * 10),
    "a group": lambda word: History.of([{"step": 1, "lrs": [1.0, 2.0]}], groups=(word, "b")),
    "an argument's name": lambda word: replace(History.of([{"step": 1, "loss": 1.0}]), arguments={word: 1}),
    "a schedule": lambda word: recorded.history(wsd(100).named(word), 20),
}


@pytest.mark.parametrize("made", HOSTILE_RUNS.values(), ids=HOSTILE_RUNS)
def test_no_name_ends_a_script(made: Callable[[str], History], tmp_path: Path) -> None:
    scripts = {}
    for word in ("harmless", f"</script>{HOSTILE}"):
        text = report(made(word), tmp_path / "a.html").read_text("utf-8")
        assert HOSTILE not in text
        scripts[word] = Page(text).scripts
    assert len(set(scripts.values())) == 1


def test_very_many_phases_are_not_shaded_as_in_a_picture() -> None:
    lines = [{"step": step, "loss": 2.0, "phase": f"cycle {step}"} for step in range(1, 26)]
    assert len(figure(History.of(lines)).layout.shapes) == 0


@pytest.mark.parametrize("name", ["LR", "training loss", "held-out loss"])
def test_a_single_point_is_seen(name: str) -> None:
    history = History.of([{"step": 1, "loss": 2.0, "lr": 1e-3}, {"step": 1, "eval_loss": 2.0}])
    assert "markers" in traces(history)[name].mode


@pytest.fixture(scope="module")
def drawn(file: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, Path]:
    """The page as a browser without a network has it: its DOM, what the browser said, and a picture of it."""
    if BROWSER is None:
        pytest.skip("no chromium or chrome is installed here")
    folder = tmp_path_factory.mktemp("browser")
    quiet = ["gpu", "quic", "background-networking", "component-update", "sync"]
    flags = [
        "--headless",
        "--no-sandbox",
        "--no-first-run",
        *(f"--disable-{one}" for one in quiet),
        "--enable-logging=stderr",
    ]
    flags += [f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=10000", "--window-size=1100,1400"]
    flags += ["--host-resolver-rules=MAP * ~NOTFOUND", "--dump-dom", f"--screenshot={folder / 'page.png'}"]
    done = subprocess.run([BROWSER, *flags, file.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, done.stderr, folder / "page.png"


def test_a_browser_draws_it_without_a_network(drawn: tuple[str, str, Path]) -> None:
    page, said, picture = drawn
    assert "CONSOLE" not in said  # where a page's errors are told
    assert page.count('class="trace scatter') >= 4, said  # drawn: LR, both losses, checkpoints
    lines = re.findall(r'class="js-line" d="([^"]+)"[^>]*stroke: rgb\(([^)]+)\)', page)
    curves = {colour for path, colour in lines if "L" in path}  # not the legend's
    assert curves == {"0, 114, 178", "140, 140, 140", "213, 94, 0", "0, 158, 115"}  # LR, both losses, gradient norm
    words = [
        "learning rate",
        "loss",
        "optimizer step",
        "gradient norm",
        "warmup",
        "stable",
        "resume",
        "cooldown",
        "branch point",
    ]
    assert [word for word in words if f">{word}</text>" not in page] == []
    with Image.open(picture) as shot:
        colours = {colour for _, colour in shot.convert("RGB").getcolors(maxcolors=1 << 24) or []}
    assert {(0, 114, 178), (213, 94, 0)} <= colours  # the curves of the LR and of the held-out loss


def test_nothing_that_others_wrote_ran(drawn: tuple[str, str, Path]) -> None:
    assert HOSTILE not in drawn[0]
    assert "&lt;script&gt;alert(1)" in drawn[0]


def test_nothing_on_the_page_sends_the_run_anywhere(drawn: tuple[str, str, Path]) -> None:
    buttons = re.findall(r'data-title="([^"]+)"', drawn[0])
    assert "Zoom" in buttons
    assert [button for button in buttons if "Share" in button] == []
