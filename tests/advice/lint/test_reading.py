"""Files and folders: what is read, what names what, and what is passed over in peace."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hf_lrsched.advice.lint import RULES, Remark, Rule, examine, judge, lint
from hf_lrsched.advice.lint.configuration import Configuration
from hf_lrsched.advice.lint.reading import FAILED, LARGEST, configurations, files_of

from .files import ACCELERATE, AXOLOTL, DEEPSPEED, DPO, LLAMAFACTORY, SHELL, SOUND, TRANSFORMERS, TRL

ARGUMENTS = {"learning_rate": 1e-4, "num_train_epochs": 1, "save_total_limit": 1}


def written(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, "utf-8")


def found(path: Path) -> dict[str, Configuration]:
    groups = configurations(files_of(path))
    return {Path(one.file).relative_to(path).as_posix(): one for group in groups for one in group.found}


def test_a_folder_is_read_with_all_below_it(tmp_path: Path) -> None:
    written(tmp_path, {f"project/{name}": text for name, (_, text) in SOUND.items()})
    written(
        tmp_path,
        {"ds.json": DEEPSPEED, ".git/hidden.yaml": TRL, "node_modules/x.yaml": TRL, "notes.txt": TRL, ".h.yaml": TRL},
    )
    read = found(tmp_path)
    assert {name: one.form for name, one in read.items()} == {
        **{f"project/{name}": form for name, (form, _) in SOUND.items()},
        "ds.json": "deepspeed",
    }


def test_a_file_that_is_named_is_read_whatever_its_name(tmp_path: Path) -> None:
    texts = {
        "sft": TRL,
        "go": SHELL,
        "args": json.dumps({"learning_rate": 1e-4, "num_train_epochs": 1, "save_total_limit": 1}),
    }
    written(tmp_path, {**texts, "Copy.YAML": TRL})
    read = {
        Path(one.file).name: one.form
        for group in configurations(files_of([tmp_path / name for name in texts]))
        for one in group.found
    }
    assert read == {"sft": "trl", "go": "trl", "args": "transformers"}
    assert set(found(tmp_path)) == {"Copy.YAML"}


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no file or folder .*nowhere"):
        lint(tmp_path / "nowhere")


@pytest.mark.parametrize("place", ["ds.json", "configs/deepspeed/ds.json"])
def test_a_deepspeed_file_is_found_from_where_somebody_stood(tmp_path: Path, place: str) -> None:
    written(tmp_path, {f"{place}": DEEPSPEED, "runs/a/b/sft.yaml": f"{TRANSFORMERS}deepspeed: {place}\n"})
    [companion] = found(tmp_path)["runs/a/b/sft.yaml"].companions
    assert (companion.form, companion.value("warmup_steps")) == ("deepspeed", 100)
    assert Path(companion.file) == tmp_path / place


def test_a_file_that_is_nowhere_is_missing(tmp_path: Path) -> None:
    written(tmp_path, {"sft.yaml": f"{TRANSFORMERS}deepspeed: configs/none_of_ours.json\n"})
    [missing] = found(tmp_path)["sft.yaml"].missing
    assert (missing.name, missing.value, missing.line) == ("deepspeed", "configs/none_of_ours.json", 12)


def test_a_deepspeed_configuration_within_another(tmp_path: Path) -> None:
    written(tmp_path, {"args.json": json.dumps({**ARGUMENTS, "deepspeed": json.loads(DEEPSPEED)}, indent=2)})
    [inner] = found(tmp_path)["args.json"].companions
    assert (inner.form, inner.value("lr_scheduler_type"), inner.settings["warmup_steps"].line) == (
        "deepspeed",
        "WarmupDecayLR",
        15,
    )


def test_a_launcher_counts_the_processes(tmp_path: Path) -> None:
    line = "accelerate launch --config_file acc.yaml sft.py --config sft.yaml --learning_rate 2e-4 --num_train_epochs 1"
    written(tmp_path, {"acc.yaml": ACCELERATE, "sft.yaml": TRL, "run.sh": f"{line} --save_total_limit 1\n"})
    run = found(tmp_path)["run.sh"]
    assert (run.processes, run.partial, {one.form for one in run.companions}) == (4, True, {"accelerate", "trl"})


def test_an_accelerate_file_names_a_deepspeed_file(tmp_path: Path) -> None:
    written(
        tmp_path, {"ds.json": DEEPSPEED, "acc.yaml": f"{ACCELERATE}deepspeed_config:\n  deepspeed_config_file: ds.json\n"}
    )
    [companion] = found(tmp_path)["acc.yaml"].companions
    assert companion.form == "deepspeed"


PEACEFUL = {
    "compose.yaml": "services:\n  web:\n    image: x\n",
    "workflow.yml": "on: push\njobs:\n  test:\n    runs-on: ${{ matrix.os }}\n",
    "template.yaml": "learning_rate: {{ lr }}\nnum_train_epochs: {% if x %}1{% endif %}\nlr_scheduler_type: cosine\n",
    "half.yaml": "learning_rate: ${LR}\nwarmup_steps: ${oc.env:WARMUP}\nmax_steps: ???\nlr_scheduler_type: {{x}}\n",
    "empty.yaml": "",
    "list.yaml": "- learning_rate: 1\n",
    "notes.yaml": "this is: not: yaml: learning_rate\n",
    "tabs.yaml": "a:\n\t- learning_rate\n",
    "data.json": '[{"learning_rate": 1}]',
    "broken.json": '{"learning_rate": ',
    "jsonc.json": '{\n  // a comment\n  "lr": 1\n}',
    "tags.yaml": "learning_rate: !!python/object/apply:os.system ['exit 1']\nwarmup_steps: !env WARMUP\n",
    "many.yaml": "---\nlearning_rate: 1\n---\n...\n--- text\n",
    "keys.yaml": "? [a, b]\n: 1\n? {learning_rate: 1}\n: 2\n1: x\nnull: y\nlr: 3\n",
    "script.sh": "for x in 'a\nwhile true; do echo \"$x learning_rate\n",
    "train.sh": "python train.py --learning_rate $1 --epochs 3\n",
    "bom.yaml": "\ufefflearning_rate: 1\n",
    "model.yaml": "model_type: llama\nvocab_size: 32000\nlearning_rate: 3\nnum_train_epochs: 4\nsave_total_limit: 5\n",
    "lightning.yaml": "trainer:\n  max_steps: 10\noptimizer:\n  lr: 1\nlr_scheduler:\n  warmup_steps: 100\n",
}


@pytest.mark.parametrize("name", PEACEFUL)
def test_other_peoples_files_are_passed_over(tmp_path: Path, name: str) -> None:
    written(tmp_path, {name: PEACEFUL[name]})
    assert lint(tmp_path) == []
    assert lint(tmp_path / name) == []


def test_what_is_no_text_or_too_large_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"learning_rate: 1\0\xff\xfe")
    (tmp_path / "latin.yaml").write_bytes(b"learning_rate: 1 # \xe9\n")
    (tmp_path / "large.yaml").write_text("learning_rate: [1,\n" + "#" * LARGEST)
    (tmp_path / "gone.yaml").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "dir.yaml").mkdir()
    assert lint(tmp_path) == []
    assert examine(tmp_path).unread == ()
    named = [tmp_path / name for name in ("binary.yaml", "latin.yaml", "large.yaml", "pipe.yaml")]
    assert [(Path(file).name, why) for file, why in examine(named).unread] == [
        ("binary.yaml", "is no text"),
        ("large.yaml", "is larger than 1 MiB"),
        ("pipe.yaml", "is no regular file"),
        ("latin.yaml", "holds nothing that looks like a training configuration"),
    ]


@pytest.mark.parametrize("name", ["x" * 5000 + ".json", "a\\0b.json"])
def test_a_name_that_no_file_can_have_names_none(tmp_path: Path, name: str) -> None:
    written(tmp_path, {"args.json": json.dumps({**ARGUMENTS, "deepspeed": name})})
    assert [found.value for found in found(tmp_path)["args.json"].missing] == [name]


def test_a_folder_that_is_closed_holds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, {"sft.yaml": f"{TRANSFORMERS}deepspeed: closed/ds.json\n", "closed/ds.json": DEEPSPEED})
    stat = os.stat

    def closed(path: str | Path, *arguments: Any, **options: Any) -> os.stat_result:
        if "closed" in Path(path).parts:
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, *arguments, **options)

    monkeypatch.setattr(os, "stat", closed)
    [missing] = found(tmp_path)["sft.yaml"].missing
    assert missing.value == "closed/ds.json"
    with pytest.raises(FileNotFoundError, match="there is no file or folder"):
        lint(tmp_path / "closed" / "ds.json")


class Fails(Rule):
    """A rule with a fault of its own."""

    id, name, level, source, example = "LR999", "fails", "error", "a test", RULES[0].example

    def judge(self, configuration: Configuration, siblings: object) -> Iterator[Remark]:
        if configuration.form == "axolotl":
            raise ZeroDivisionError("division by zero")
        yield self.remark(configuration, None, "judged")


def test_a_rule_that_fails_on_a_file_ends_nothing(tmp_path: Path) -> None:
    written(tmp_path, {"ax.yml": AXOLOTL, "sft.yaml": TRL})
    broken, judged = lint(tmp_path, rules=[Fails])
    assert (broken.rule, broken.level, broken.line, judged.sentence) == ("LR000", "warning", 1, "judged")
    assert broken.sentence == f"{FAILED}: ZeroDivisionError: division by zero"
    with pytest.raises(ZeroDivisionError):
        judge(found(tmp_path)["ax.yml"], rules=[Fails])


def test_a_reader_that_fails_on_a_file_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, {"ax.yml": AXOLOTL, "run.sh": SHELL})

    def fails(text: str, file: str) -> list[Configuration]:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("hf_lrsched.advice.lint.reading.command_lines", fails)
    examined = examine(tmp_path, rules=[])
    assert [(Path(one.file).name, one.sentence.startswith(FAILED)) for one in examined.remarks] == [("run.sh", True)]
    assert (examined.files, examined.configurations) == (2, 1)


@pytest.mark.parametrize(
    ("name", "text", "line", "kind"),
    [
        ("sft.yaml", "learning_rate: 2.0e-5\nnum_train_epochs: 1\n bad: [\nlr_scheduler_type: cosine\n", 3, "YAML"),
        ("ax.yml", AXOLOTL.replace("  - path: org/chats", "  - path: 'org/chats"), 6, "YAML"),
        ("lf.yaml", LLAMAFACTORY.replace("stage: sft", "stage: sft: x"), 2, "YAML"),
        ("merge.yaml", f"<<<<<<< HEAD\n{DPO}=======\n{DPO}>>>>>>> theirs\n", 2, "YAML"),
        ("ds.json", DEEPSPEED.replace('"auto",', '"auto"', 1).replace("scheduler", "weight_decay"), 4, "JSON"),
    ],
)
def test_a_broken_configuration_is_told_once_with_its_line(
    tmp_path: Path, name: str, text: str, line: int, kind: str
) -> None:
    written(tmp_path, {name: text})
    [remark] = lint(tmp_path)
    assert (remark.rule, remark.level, remark.line, remark.file) == ("LR000", "error", line, str(tmp_path / name))
    assert remark.sentence.startswith("the file is broken and was not judged: ")
    assert kind in remark.advice


def test_a_file_that_is_mended_is_read_anew(tmp_path: Path) -> None:
    file = tmp_path / "sft.yaml"
    file.write_text("learning_rate: [\nnum_train_epochs: 1\n")
    assert [remark.rule for remark in lint(file)] == ["LR000"]
    file.write_text(TRL)
    os.utime(file, ns=(1, 1))
    assert "LR000" not in {remark.rule for remark in lint(file)}


def test_remarks_come_by_file_and_line(tmp_path: Path) -> None:
    spoiled = TRANSFORMERS.replace("warmup_steps: 100", "warmup_steps: 5000").replace("2.0e-05", "2e-05")
    written(tmp_path, {"b/sft.yaml": spoiled, "a/sft.yaml": spoiled})
    remarks = lint([tmp_path / "b", tmp_path / "a"])
    places = [(remark.file, remark.line) for remark in remarks]
    assert places == sorted(places)
    assert len({file for file, _ in places}) == 2


def test_launchers_name_files_in_several_ways(tmp_path: Path) -> None:
    launched = "accelerate launch --use_deepspeed --deepspeed_config_file ds.conf"
    line = f"{launched} sft.py --learning_rate 2e-4 --num_train_epochs 1 --save_total_limit 1"
    written(
        tmp_path,
        {"ds.conf": DEEPSPEED, "acc.yaml": ACCELERATE, "run.sh": line, "sft.yaml": f"{TRL}accelerate_config: acc.yaml\n"},
    )
    read = found(tmp_path)
    assert [one.form for one in read["run.sh"].companions] == ["deepspeed"]
    assert ([one.form for one in read["sft.yaml"].companions], read["sft.yaml"].processes) == (["accelerate"], 4)


def test_what_several_commands_share_is_told_once(tmp_path: Path) -> None:
    line = "python sft.py $SHARED --learning_rate 2e-5 --num_train_epochs 1 --save_total_limit 1\n"
    written(tmp_path, {"run.sh": f'SHARED="--warmup_ratio 0.1"\n{line}{line}'})
    assert [(one.rule, one.line) for one in lint(tmp_path) if one.level == "error"] == [("LR005", 1)]


def test_what_is_written_between_two_looks_is_seen(tmp_path: Path) -> None:
    written(tmp_path, {"sft.yaml": f"{TRANSFORMERS}deepspeed: ds.json\n"})
    [before] = found(tmp_path).values()
    written(tmp_path, {"ds.json": DEEPSPEED})
    after = found(tmp_path)["sft.yaml"]
    assert (len(before.missing), len(after.missing), len(after.companions)) == (1, 0, 1)
    for steps in range(20):  # quicker than a file system's clock
        written(tmp_path, {"sft.yaml": TRANSFORMERS.replace("warmup_steps: 100", f"warmup_steps: 1{steps:02}")})
        assert found(tmp_path)["sft.yaml"].warmup == 100 + steps
