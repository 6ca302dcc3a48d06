"""``lint``: what is said of files, in each form, what is written, and how the command ends."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from hf_lrsched.advice.lint import RULES
from hf_lrsched.cli import main

FAULTY = """\
# all of it
per_device_train_batch_size: 4
learning_rate: 2e-5   # from the paper
lr_scheduler_type: cosine
warmup_ratio: 0.1
num_train_epochs: 3
"""
MENDED = FAULTY.replace("2e-5 ", "2.0e-5 ").replace("warmup_ratio", "warmup_steps")
IGNORED = "per_device_train_batch_size: 4\nlr_scheduler_type: constant\nwarmup_steps: 10\nlearning_rate: 2.0e-5\n"


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["lint", *map(str, arguments)])


def told(*arguments: object, code: int = 0) -> dict[str, Any]:
    done = call(*arguments, "--format", "json")
    assert done.exit_code == code, done.output
    data: dict[str, Any] = json.loads(done.stdout)
    return data


@pytest.fixture
def faulty(tmp_path: Path) -> Path:
    file = tmp_path / "sft.yaml"
    file.write_text(FAULTY)
    return file


def test_errors_are_told_with_place_edit_and_source_and_fail(faulty: Path) -> None:
    done = call(faulty)
    assert done.exit_code == 1
    assert f"{faulty}:5:1: error LR005 warmup-ratio-gone" in done.output
    assert "    + warmup_steps: 0.1    (safe: --fix)" in done.output
    assert "source: " in done.output
    end = done.output.splitlines()[-1]
    assert end == "1 configuration in 1 file: 2 errors, 0 warnings, 1 note (--notes shows them); --fix mends 2"


def test_a_fix_is_written_and_shown_and_then_all_is_well(faulty: Path) -> None:
    done = call(faulty, "--fix")
    assert done.exit_code == 0, done.output
    assert faulty.read_text() == MENDED
    assert "-warmup_ratio: 0.1\n+warmup_steps: 0.1\n" in done.output
    assert "2 edits in 1 file written" in done.output
    assert "edit" not in call(faulty, "--fix").output


@pytest.mark.parametrize("how", [["--diff"], ["--fix", "--dry-run"], ["--fix", "--dry_run"], ["--fix", "--diff"]])
def test_a_diff_is_shown_and_nothing_written(faulty: Path, how: list[str]) -> None:
    done = call(faulty, *how)
    assert done.exit_code == 1
    assert faulty.read_text() == FAULTY
    assert "+learning_rate: 2.0e-5   # from the paper\n" in done.output
    assert "2 edits in 1 file to be written by --fix" in done.output


TWICE = FAULTY.replace("warmup_ratio: 0.1", "warmup_ratio: 1e-1")  # a share that YAML takes for text, of a name that is gone


def test_a_diff_is_what_a_fix_writes_also_where_an_edit_uncovers_another(faulty: Path) -> None:
    faulty.write_text(TWICE)
    [shown] = told(faulty, "--diff", code=1)["changed"]
    assert faulty.read_text() == TWICE
    [wrote] = told(faulty, "--fix")["changed"]
    assert shown["diff"] == wrote["diff"]
    assert faulty.read_text() == MENDED.replace("warmup_steps: 0.1", "warmup_steps: 1.0e-1")


def test_a_file_that_is_named_and_not_looked_at_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"learning_rate: 1\0")
    done = call(tmp_path / "a.yaml")
    assert done.exit_code == 0
    assert done.output.splitlines()[0] == f"{tmp_path / 'a.yaml'} is no text, and was not judged"
    assert told(tmp_path / "a.yaml")["unread"] == [{"file": str(tmp_path / "a.yaml"), "why": "is no text"}]
    assert told(tmp_path)["unread"] == []


def test_an_edit_to_look_at_first_waits_until_it_is_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(IGNORED)
    assert "look first: --fix --unsafe-fixes" in call(file, "--fix").output
    assert file.read_text() == IGNORED
    call(file, "--fix", "--unsafe-fixes")
    assert file.read_text() == IGNORED.replace(": constant", ": constant_with_warmup")


def test_a_warning_fails_where_that_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(IGNORED)
    assert call(tmp_path).exit_code == 0
    assert call(tmp_path, "--strict").exit_code == 1
    assert [one["rule"] for one in told(tmp_path)["remarks"]] == ["LR014"]


def test_notes_are_told_where_asked_for_and_never_fail(faulty: Path) -> None:
    faulty.write_text(MENDED)
    quiet = call(faulty, "--strict")
    assert quiet.exit_code == 0
    assert "LR020" not in quiet.output
    assert "LR020 first-step-at-zero" in call(faulty, "--notes").output
    assert [one["rule"] for one in told(faulty)["remarks"]] == ["LR020"]


def test_json_has_everything(faulty: Path) -> None:
    data = told(faulty, code=1)
    assert {name: data[name] for name in ("files", "configurations", "errors", "warnings", "notes", "suppressed")} == {
        "files": 1, "configurations": 1, "errors": 2, "warnings": 0, "notes": 1, "suppressed": 0,
    }  # fmt: skip
    gone = next(one for one in data["remarks"] if one["rule"] == "LR005")
    assert (gone["file"], gone["line"], gone["column"], gone["level"]) == (str(faulty), 5, 1, "error")
    assert gone["fix"] == {"line": 5, "old": "warmup_ratio: 0.1", "new": "warmup_steps: 0.1", "safe": True}
    [changed] = told(faulty, "--diff", code=1)["changed"]
    assert (changed["edits"], changed["written"]) == (2, False)


def test_sarif_and_annotations_are_printed_alone(faulty: Path) -> None:
    done = call(faulty, "--format", "sarif")
    assert done.exit_code == 1
    [run] = json.loads(done.stdout)["runs"]
    assert [result["ruleId"] for result in run["results"]] == ["LR006", "LR005", "LR020"]
    lines = call(faulty, "--format", "github").stdout.splitlines()
    assert [line.partition(" ")[0] for line in lines] == ["::error", "::error"]


def test_rules_are_chosen_by_id_or_name(faulty: Path) -> None:
    assert [one["rule"] for one in told(faulty, "--select", "LR005,lr020", code=1)["remarks"]] == ["LR005", "LR020"]
    assert [one["rule"] for one in told(faulty, "--ignore", "warmup-ratio-gone", "--ignore", "LR006")["remarks"]] == ["LR020"]
    call(faulty, "--fix", "--select", "LR006")
    assert faulty.read_text() == FAULTY.replace("2e-5 ", "2.0e-5 ")


def test_an_unknown_rule_is_refused_with_the_nearest(faulty: Path) -> None:
    done = call(faulty, "--select", "warmup-ratio-gon")
    assert done.exit_code == 2
    assert "there is no rule warmup-ratio-gon; did you mean warmup-ratio-gone?" in done.output
    assert "there is no rule lr0200; did you mean LR020?" in call(faulty, "--ignore", "lr0200").output


def test_a_comment_keeps_a_rule_quiet_and_is_counted(faulty: Path) -> None:
    faulty.write_text(FAULTY.replace("ratio: 0.1", "ratio: 0.1  # lr-lint: ignore[LR005]"))
    data = told(faulty, "--ignore", "LR006")
    assert data["suppressed"] == 1
    assert "1 kept quiet by comments" in call(faulty).output
    call(faulty, "--fix")
    assert "warmup_ratio" in faulty.read_text()


def test_broken_yaml_is_told_with_its_line_and_only_where_asked(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("learning_rate: 2.0e-5\nwarmup_steps: [1\nnum_train_epochs: 3\n")
    data = told(tmp_path, code=1)
    assert [one["rule"] for one in data["remarks"]] == ["LR000"]
    assert data["remarks"][0]["line"] >= 2
    assert told(tmp_path, "--select", "LR005")["remarks"] == []
    assert told(tmp_path, "--ignore", "LR000")["remarks"] == []


def test_a_folder_without_a_configuration_is_passed_over_in_peace(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text("services:\n  web: {image: x}\n")
    done = call(tmp_path)
    assert done.exit_code == 0
    assert done.output == "0 configurations in 1 file: 0 errors, 0 warnings, 0 notes\n"


def test_a_command_that_makes_no_sense_is_refused(tmp_path: Path) -> None:
    for arguments, words in (([], "give a FILE_OR_FOLDER"), ([tmp_path / "no"], "there is no file or folder")):
        done = call(*arguments)
        assert done.exit_code == 2
        assert words in done.output


def test_the_rules_are_listed_with_what_they_are_about() -> None:
    done = call("--rules")
    assert done.exit_code == 0
    assert all(f"{rule.id}  " in done.output for rule in RULES)
    data: Any = told("--rules", "--select", "LR001")
    assert [sorted(one) for one in data] == [["id", "level", "name", "seen", "source", "summary"]]


# Where others call it from

ROOT = Path(__file__).parents[1]


def steps() -> list[dict[str, Any]]:
    action = yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))
    assert action["runs"]["using"] == "composite"
    found: list[dict[str, Any]] = action["runs"]["steps"]
    return found


def test_no_input_of_the_action_becomes_a_command() -> None:
    inputs = yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))["inputs"]
    given = {value for step in steps() for value in step["env"].values()}
    assert all("${{" not in step["run"] for step in steps())
    assert {f"${{{{ inputs.{name} }}}}" for name in inputs} <= given
    assert "${{ github.action_path }}" in given


def test_the_action_hands_on_what_was_typed_word_by_word(tmp_path: Path) -> None:
    """The script of its last step, with a command in place of ours that writes down its arguments."""
    command = tmp_path / "lr-lint" / "bin" / "hf-lrsched"
    command.parent.mkdir(parents=True)
    command.write_text('#!/bin/bash\nfor word in "$@"; do echo "<$word>"; done\nexit 1\n')
    command.chmod(0o755)
    typed = {"PATHS": "a b/c.yaml\n$(touch pwned)\n\n", "SELECT": "LR001; touch pwned", "IGNORE": "", "STRICT": "true"}
    typed |= {"NOTES": "false", "SARIF": "out.sarif", "RUNNER_TEMP": str(tmp_path), "PATH": "/usr/bin:/bin"}
    bash = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", steps()[-1]["run"]]
    done = subprocess.run(bash, cwd=tmp_path, env=typed, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    words = ["lint", "--select=LR001; touch pwned", "--ignore=", "--strict", "--format", "github", "--"]
    assert done.stdout.splitlines() == [f"<{word}>" for word in (*words, "a b/c.yaml", "$(touch pwned)")]
    assert "<sarif>" in (tmp_path / "out.sarif").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lr-lint", "out.sarif"]


def test_the_hooks_call_a_command_that_is_there() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text("utf-8"))
    assert [hook["id"] for hook in hooks] == ["lr-lint", "lr-lint-isolated"]
    for hook in hooks:
        program, name = hook["entry"].split()
        assert (program, main.get_command(None, name) is None) == ("hf-lrsched", False)  # type: ignore[arg-type]  # unused
        assert hook["require_serial"]
        assert hook["types_or"] == ["yaml", "json", "shell"]


def test_a_named_file_that_holds_nothing_known_is_told_and_many_in_one_line(tmp_path: Path) -> None:
    names = []
    for at in range(8):
        names.append(str(tmp_path / f"{at}.yaml"))
        Path(names[-1]).write_text("to: be\n", "utf-8")
    one = CliRunner().invoke(main, ["lint", names[0]]).output
    assert one.splitlines()[0] == f"{names[0]} holds nothing that looks like a training configuration, and was not judged"
    many = CliRunner().invoke(main, ["lint", *names]).output
    assert "... nor were 3 more of the files that were named" in many
    assert "looks like" not in CliRunner().invoke(main, ["lint", str(tmp_path)]).output
