"""Edits: what they change, what they leave alone, and files that are written whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_lrsched.advice.lint import Fix, Remark, Setting, lint
from hf_lrsched.advice.lint.fixing import joined, mend, mended, save
from hf_lrsched.advice.lint.rules.mending import removed, replaced


def remark(file: Path, fix: Fix | None) -> Remark:
    return Remark("LR006", "number-read-as-text", "error", "it is text", file=str(file), line=1, fix=fix)


RATE = Fix(1, "learning_rate: 2e-5", "learning_rate: 2.0e-5", safe=True)
WARMUP = Fix(2, "warmup_ratio: 0.1", "warmup_steps: 0.1", safe=True)


def test_an_edit_changes_its_line_alone() -> None:
    done = mended("learning_rate: 2e-5\nwarmup_ratio: 0.1\n# end", [WARMUP])
    assert done.text == "learning_rate: 2e-5\nwarmup_steps: 0.1\n# end"
    assert done.done == (WARMUP,)
    assert done.left == ()


def test_two_edits_of_different_parts_of_a_line_are_both_made() -> None:
    line = "python train.py --warmup_ratio 0.1 --lr_scheduler_type cosin"
    first = Fix(1, line, line.replace("warmup_ratio", "warmup_steps"))
    second = Fix(1, line, line.replace("cosin", "cosine"))
    assert mended(line, [first, second]).text == "python train.py --warmup_steps 0.1 --lr_scheduler_type cosine"


def test_of_two_edits_of_one_part_the_first_is_made_and_the_other_told() -> None:
    first, second = Fix(1, "warmup_steps: 1000", "warmup_steps: 6"), Fix(1, "warmup_steps: 1000", "warmup_steps: 0.05")
    done = mended("warmup_steps: 1000\n", [first, second, first])
    assert done.text == "warmup_steps: 6\n"
    assert (done.done, done.left) == ((first,), (second,))


def test_a_line_goes_as_a_whole() -> None:
    gone = Fix(2, "  min_lr: 6.0e-05", None, safe=True)
    assert mended("train:\n  min_lr: 6.0e-05\n  epochs: 1\n", [gone]).text == "train:\n  epochs: 1\n"


@pytest.mark.parametrize("line", [0, 3, 99])
def test_an_edit_of_a_line_that_is_not_there_is_left(line: int) -> None:
    fix = Fix(line, "a", "b")
    done = mended("a\na", [fix])
    assert (done.text, done.done, done.left) == ("a\na", (), (fix,))


def test_an_edit_of_a_line_that_reads_otherwise_by_now_is_left() -> None:
    done = mended("learning_rate: 3e-5\n", [RATE])
    assert (done.text, done.left) == ("learning_rate: 3e-5\n", (RATE,))


def test_line_ends_stay_as_they_are(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_bytes(b"\xef\xbb\xbflearning_rate: 2e-5\r\nwarmup_ratio: 0.1\r\n# \xc3\xa4")
    assert len(mend([remark(file, RATE), remark(file, WARMUP)])) == 1
    assert file.read_bytes() == b"\xef\xbb\xbflearning_rate: 2.0e-5\r\nwarmup_steps: 0.1\r\n# \xc3\xa4"


def test_several_lines_take_the_line_end_of_the_one_they_replace() -> None:
    assert mended("a\r\nb\r\n", [Fix(1, "a", "x\ny")]).text == "x\r\ny\r\nb\r\n"


def test_only_safe_edits_are_made_unless_others_are_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("warmup_steps: 1000\n")
    unsafe = Fix(1, "warmup_steps: 1000", "warmup_steps: 6")
    assert mend([remark(file, unsafe), remark(file, None)]) == []
    assert file.read_text() == "warmup_steps: 1000\n"
    [done] = mend([remark(file, unsafe)], unsafe=True)
    assert done.done == (unsafe,)
    assert file.read_text() == "warmup_steps: 6\n"


def test_a_diff_is_shown_and_nothing_written(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("learning_rate: 2e-5")
    before = file.stat().st_mtime_ns
    [done] = mend([remark(file, RATE)], write=False)
    assert file.stat().st_mtime_ns == before
    assert file.read_text() == "learning_rate: 2e-5"
    assert done.diff.splitlines() == [
        f"--- a/{file}",
        f"+++ b/{file}",
        "@@ -1 +1 @@",
        "-learning_rate: 2e-5",
        "\\ No newline at end of file",
        "+learning_rate: 2.0e-5",
        "\\ No newline at end of file",
    ]


def test_a_file_keeps_its_mode_and_a_link_its_target(tmp_path: Path) -> None:
    file, link = tmp_path / "run.sh", tmp_path / "link.sh"
    file.write_text("learning_rate: 2e-5\n")
    file.chmod(0o754)
    link.symlink_to(file)
    mend([remark(link, RATE)])
    assert link.is_symlink()
    assert file.read_text() == "learning_rate: 2.0e-5\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o754
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.sh", "run.sh"]


def test_a_file_that_cannot_be_replaced_is_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("learning_rate: 2e-5\n")

    def refuse(source: str, target: Path) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="no space left"):
        mend([remark(file, RATE)])
    assert [path.name for path in tmp_path.iterdir()] == ["a.yaml"]
    assert file.read_text() == "learning_rate: 2e-5\n"


def test_an_edit_that_breaks_a_file_is_left(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("lr: &lr 2e-5\nother: *lr\nwarmup_ratio: 0.1\n")
    breaks = Fix(1, "lr: &lr 2e-5", "lr: 2.0e-5", safe=True)
    [done] = mend([remark(file, breaks)])
    assert (done.done, done.left, done.diff) == ((), (breaks,), "")
    assert file.read_text() == "lr: &lr 2e-5\nother: *lr\nwarmup_ratio: 0.1\n"
    file.write_text("lr: 2e-5\nother: [\n")  # broken as it is
    assert mend([remark(file, Fix(1, "lr: 2e-5", "lr: 2.0e-5", safe=True))])[0].done


@pytest.mark.parametrize("text", ["learning_rate: &lr 2e-5\nother: *lr\n", "learning_rate: *lr # 2e-5\n", "a: !!str 2e-5\n"])
def test_a_value_with_an_anchor_or_a_tag_is_not_replaced(text: str) -> None:
    line = text.splitlines()[0]
    key = line.partition(":")[0]
    setting = Setting(key, "2e-5", "2e-5", key, 1, 1, line)
    assert replaced(setting, value="2.0e-5") is None
    assert removed(setting) is None
    assert replaced(setting, key="lr") == Fix(1, line, line.replace(key, "lr", 1))


def test_anchored_settings_are_judged_and_their_files_stay_whole(tmp_path: Path) -> None:
    file = tmp_path / "sft.yaml"
    text = "per_device_train_batch_size: 4\nnum_train_epochs: 3\nlr_scheduler_type: cosine\nlearning_rate: &lr 2e-5\n"
    file.write_text(f"{text}other: *lr\nwarmup_ratio: &w 0.1\n")
    remarks = [one for one in lint(file) if one.level == "error"]
    assert [one.rule for one in remarks] == ["LR006", "LR005"]
    mend(remarks, unsafe=True)
    assert file.read_text() == f"{text}other: *lr\nwarmup_steps: &w 0.1\n"


def test_what_is_no_utf_8_stays_as_it_is_and_its_file_is_mended(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_bytes(b"learning_rate: 2e-5\nname: caf\xe9\nwarmup_ratio: 0.1 # \xe9\n")
    latin = Fix(3, "warmup_ratio: 0.1 # \ufffd", "warmup_steps: 0.1 # \ufffd", safe=True)
    [done] = mend([remark(file, RATE), remark(file, latin)])
    assert file.read_bytes() == b"learning_rate: 2.0e-5\nname: caf\xe9\nwarmup_ratio: 0.1 # \xe9\n"
    assert (done.done, done.left) == ((RATE,), (latin,))
    assert " name: caf\ufffd\n" in done.diff


def test_lines_end_with_line_feeds_alone() -> None:
    fix = Fix(2, "warmup_ratio: 0.1", "warmup_steps: 0.1")
    done = mended("a: b\x0c\u2028\x85c\nwarmup_ratio: 0.1\n", [fix])
    assert (done.text, done.done) == ("a: b\x0c\u2028\x85c\nwarmup_steps: 0.1\n", (fix,))


def test_a_file_that_has_changed_since_is_not_written(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("learning_rate: 2e-5\n")
    other = tmp_path / "b.yaml"
    other.write_text("learning_rate: 2e-5\n")
    done = mend([remark(other, RATE), remark(file, RATE)], write=False)
    file.write_text("learning_rate: 3e-5\n")
    with pytest.raises(OSError, match="has changed since it was read"):
        save(done)
    assert (file.read_text(), other.read_text()) == ("learning_rate: 3e-5\n", "learning_rate: 2e-5\n")


def test_two_names_of_a_file_are_one(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("learning_rate: 2e-5\n")
    (tmp_path / "b.yaml").symlink_to(tmp_path / "a.yaml")
    mend([remark(tmp_path / "b.yaml", RATE), remark(tmp_path / "a.yaml", RATE)])
    assert (tmp_path / "a.yaml").read_text() == "learning_rate: 2.0e-5\n"
    assert (tmp_path / "b.yaml").is_symlink()


def test_edits_of_a_text_in_place_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    [done] = mend([remark(file, RATE)], write=False, texts={str(file): "learning_rate: 2e-5\n"})
    assert done.after == "learning_rate: 2.0e-5\n"


def test_several_rounds_are_one_change(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("learning_rate: 2e-5\nwarmup_ratio: 0.1\n")
    rounds = [*mend([remark(file, RATE)]), *mend([remark(file, WARMUP)])]
    [one] = joined(rounds)
    assert (one.before, one.after) == ("learning_rate: 2e-5\nwarmup_ratio: 0.1\n", file.read_text())
    assert one.done == (RATE, WARMUP)


texts = st.text("ab :#\n", max_size=30)


@given(texts, st.integers(0, 8), st.text("ab :#", max_size=6))
def test_whatever_is_asked_other_lines_stay(text: str, number: int, new: str) -> None:
    lines = text.splitlines(keepends=True)
    old = lines[number - 1].rstrip("\r\n") if 1 <= number <= len(lines) else "x"
    done = mended(text, [Fix(number, old, new)]).text.splitlines(keepends=True)
    assert done[: max(number - 1, 0)] == lines[: max(number - 1, 0)]
    assert done[number:] == lines[number:] or not 1 <= number <= len(lines) or not new
