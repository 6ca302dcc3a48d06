from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from hf_lrsched import History, read_history, wsd
from hf_lrsched.runs.files import checkpoints
from hf_lrsched.runs.history import Event
from hf_lrsched.show.report import report

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


@pytest.mark.skipif(BROWSER is None, reason="no chromium or chrome is installed here")
def test_a_browser_draws_it_without_a_network(file: Path, tmp_path: Path) -> None:
    quiet = ["quic", "background-networking", "component-update", "sync"]
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", *(f"--disable-{one}" for one in quiet)]
    flags += [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=10000", "--window-size=1100,1400"]
    command = [str(BROWSER), *flags, "--host-resolver-rules=MAP * ~NOTFOUND", "--dump-dom"]
    picture = tmp_path / "page.png"
    done = subprocess.run(
        [*command, f"--screenshot={picture}", file.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.count('class="trace scatter') >= 4, done.stderr  # drawn: LR, both losses, checkpoints
    for words in (
        "learning rate",
        "optimizer step",
        "gradient norm",
        "warmup",
        "stable",
        "resume",
        "cooldown",
        "branch point",
    ):
        assert f">{words}</text>" in done.stdout, words
    with Image.open(picture) as shot:
        colours = {colour for _, colour in shot.convert("RGB").getcolors(maxcolors=1 << 24) or []}
    assert {(0, 114, 178), (213, 94, 0)} <= colours  # the curves of the LR and of the held-out loss
