"""A section goes into a card and comes back out of it, and nothing else in the card is touched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_lrsched import Schedule, hold, one_cycle, rise, warm_restarts, wsd
from hf_lrsched.show.card import FILE, Card, from_card, has_section, with_section
from hf_lrsched.show.privacy import unfit
from hf_lrsched.show.section import section

BEGIN, END = "<!-- hf_lrsched: begin -->", "<!-- hf_lrsched: end -->"

law = settings(deadline=None, max_examples=200)
PIECES = st.sampled_from(
    [
        BEGIN,
        END,
        "\n",
        "\r\n",
        "\r",
        " ",
        "a",
        "---\nlicense: mit\n---\n",
        "```json\n{}\n```\n",
        "### Framework versions\n",
        "\u2028",
    ]
)
texts = st.lists(PIECES, max_size=12).map("".join)
sections = st.text().filter(lambda text: BEGIN not in text and END not in text)


def card(schedule: Schedule | None = None, **given: Any) -> Card:
    arguments = {
        "learning_rate": 3e-4,
        "lr_scheduler_type": "wsd",
        "lr_scheduler_kwargs": {"decay": 0.1},
        "max_steps": 100,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 2,
        "optim": "adamw_torch_fused",
        "max_grad_norm": 1.0,
        "adam_epsilon": 1e-08,
    }
    plain: dict[str, Any] = {"peaks": (3e-4, 1e-3), "groups": ("body", "head"), "arguments": arguments, "steps": 100}
    return Card(wsd(100) if schedule is None else schedule, **{**plain, **given})


# Putting a section in


@law
@given(texts, sections, sections)
def test_twice_is_once_and_a_new_section_takes_the_place_of_the_old(text: str, one: str, other: str) -> None:
    once = with_section(text, one)
    assert has_section(once)
    assert with_section(once, one) == once
    if not has_section(text):
        assert with_section(once, other) == with_section(text, other)


@law
@given(texts, sections)
def test_a_first_section_comes_behind_everything_else(text: str, one: str) -> None:
    if not has_section(text):
        assert with_section(text, one).startswith(text)


@law
@given(texts, sections, texts)
def test_what_stands_before_and_behind_a_section_stays(before: str, one: str, behind: str) -> None:
    if has_section(before) or before.endswith(BEGIN):
        return
    old = f"{before}\n{BEGIN}\nold\n{END}\n{behind}"
    new = with_section(old, one)
    assert new.startswith(f"{before}\n{BEGIN}\n")
    assert new.endswith(f"{END}\n{behind}")


def test_lines_end_as_those_of_the_card_do() -> None:
    text = "---\r\nlicense: mit\r\n---\r\n# A model\r\n"
    new = with_section(text, "a\nb\n")
    assert new == f"{text}\r\n{BEGIN}\r\na\r\nb\r\n{END}\r\n"
    assert with_section(new, "c") == f"{text}\r\n{BEGIN}\r\nc\r\n{END}\r\n"


def test_a_begin_whose_end_is_lost_takes_nothing_along() -> None:
    damaged = f"# A model\n{BEGIN}\nold\n\n## What others wrote\n"
    new = with_section(damaged, "new")
    assert new == f"{damaged}\n{BEGIN}\nnew\n{END}\n"
    assert with_section(new, "newer") == f"{damaged}\n{BEGIN}\nnewer\n{END}\n"


def test_a_comment_in_the_middle_of_a_line_is_talk_about_it() -> None:
    text = f"The section stands between `{BEGIN}` and `{END}`.\n"
    assert with_section(text, "new") == f"{text}\n{BEGIN}\nnew\n{END}\n"


def test_a_section_with_the_comments_in_it_is_refused() -> None:
    with pytest.raises(ValueError, match="must not hold"):
        with_section("", f"a\n{END}\n")


# What it says


def test_the_section_tells_what_cards_omit() -> None:
    told = section(card(weight_decays=(0.1, 0.0), processes=3, optimizer="AdamW", final={"last_loss": 2.5}, steps=90))
    for line in (
        "| schedule | `wsd`: warmup 10, stable 70, decay 20 |",
        "| peak | 0.0003 (group body), 0.001 (group head) |",
        "| floor | 0 |",
        "| weight decay | 0.1 (group body), 0 (group head) |",
        "| gradient clipping | norm 1 |",
        "| optimizer | AdamW (optim=adamw_torch_fused, adam_epsilon=1e-08) |",
        "| batch | 24 = 4 per device x 2 accumulated x 3 devices |",
        "| steps | 90 of the schedule's 100 |",
        "| last loss | 2.5 |",
        "| step | phase | steps | shape | learning rate (group head) | learning rate (group body) |",
        "| 80 | decay | 20 | 1-sqrt | 0.001 | 0.0003 |",
    ):
        assert f"\n{line}\n" in told


def test_a_picture_takes_the_place_of_the_sparkline() -> None:
    assert "▇" in section(card())
    assert "▇" not in section(card(), "lr_and_loss.png")
    assert "](lr_and_loss.png)" in section(card(), "lr_and_loss.png")


@pytest.mark.parametrize(
    ("schedule", "floor"),
    [
        (wsd(100, min_lr=1e-5), "1e-05"),
        (wsd(100, min_lr_ratio=0.1), "3e-05 (group body), 0.0001 (group head)"),
        (one_cycle(100), "1.2e-09 (group body), 4e-09 (group head)"),
        (rise(10) >> hold(90), "0.0003 (group body), 0.001 (group head)"),
    ],
)
def test_the_floor_is_the_lowest_after_the_peak(schedule: Schedule, floor: str) -> None:
    assert f"| floor | {floor} |" in section(card(schedule))


def test_a_run_without_an_end_and_one_of_thousands_of_cycles_are_told_in_no_time() -> None:
    assert "| 500 | stable | 1000000000 |" in section(card(rise(500) >> hold(10**9)))
    told = section(card(warm_restarts(100_000, first=10, mult=1, warmup=0)))
    assert "9984 more" in told


def test_transformers_own_schedule_is_said_to_be_its_own() -> None:
    told = section(Card(None, peaks=(3e-4,), groups=("0",), arguments={"lr_scheduler_type": "cosine"}, steps=5))
    assert "| schedule | `cosine`, Transformers' own |" in told
    assert "import hf_lrsched" not in told
    assert "| peak | 0.0003 |" in told


def test_nothing_in_a_card_ends_the_section_a_cell_or_a_block() -> None:
    hostile = f"x|y\n```\n{END}\n<script>"
    made = card(
        wsd(100).named(hostile), arguments={"optim": hostile, "learning_rate": 1.0}, notes=(hostile,), groups=(hostile, "b")
    )
    text = with_section("# A model\n", section(made))
    assert text.count(END) == 1
    assert "\n<script>" not in text
    block = text.split("```python\n")[1].split("\n```\n")[0]
    names: dict[str, Any] = {"TrainingArguments": dict}
    exec(block.split("\n\n", 1)[1], names)
    assert names["args"] == {"output_dir": "out", **made.arguments}


# Reading it back


@pytest.mark.parametrize(
    "made",
    [
        card(),
        card(one_cycle(100), left_out=("deepspeed",), notes=("A sentence.",), final={"last_loss": 1.5}),
        card(wsd(100, min_lr=1e-5, warmup=33.3), arguments={"optim_target_modules": ["a", "<!-- b -->"], "bf16": True}),
        Card(None, peaks=(1e-3,), groups=("0",), arguments={}, steps=0),
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_card_comes_back_from_either_file_as_it_was(made: Card, newline: str, tmp_path: Path) -> None:
    text = with_section(f"---{newline}license: mit{newline}---{newline}", section(made))
    (tmp_path / "README.md").write_bytes(text.encode())
    assert from_card(tmp_path) == from_card(str(tmp_path / "README.md")) == made
    (tmp_path / FILE).write_text(json.dumps(made.to_json()))
    assert from_card(tmp_path / FILE) == made


def test_the_file_beside_the_card_wins(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(with_section("", section(card())))
    (tmp_path / FILE).write_text(json.dumps(card(steps=7).to_json()))
    assert from_card(tmp_path).steps == 7


def test_what_is_not_there_is_said_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"holds neither lr_schedule.json nor README.md; give the folder of a run"):
        from_card(tmp_path)
    for path in ("someone/model", "https://huggingface.co/someone/model"):
        with pytest.raises(
            FileNotFoundError, match=r"hf download someone/model README.md lr_schedule.json --local-dir model\)"
        ):
            from_card(path)
    with pytest.raises(FileNotFoundError, match=r"neither a file nor a folder here; give a README.md"):
        from_card(tmp_path / "README.md")


def broken(**changed: Any) -> str:
    return json.dumps({**card().to_json(), **changed})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "its JSON is broken"),
        ("[1]", "this is not a card of hf_lrsched"),
        ("[" * 100_000, "nested too deeply"),
        (broken(hf_lrsched=2), "this card's format is 2, and this hf_lrsched reads 1; update hf_lrsched"),
        (broken(steps="10"), "steps of a card must be a whole number, not '10'"),
        (broken(steps=True), "steps of a card must be a whole number, not True"),
        (broken(peaks=[1e-3, None]), "peaks of a card must be a number, not None"),
        (broken(peaks=[10**400]), "peaks of a card must be a number, not 1000"),
        (broken(peaks=[float("inf")]), "Infinity is not a number that JSON has"),
        (broken(arguments=[]), r"arguments of a card must be an object, not \[\]"),
        (broken(schedule=3), "schedule=3 of a card must be a spec or null"),
        (broken(schedule={"phases": [3]}), "a phase's spec is a mapping, not int"),
        (broken(schedule={"phases": [{"length": 3, "start": 0, "end": 1, "shape": ["x"]}]}), "cannot be read"),
        (broken(arguments_class="os.system"), "arguments_class must be a class of transformers or trl, not 'os.system'"),
        (broken(arguments={"push_to_hub": True}), "its argument 'push_to_hub' is one that a card never holds"),
        (broken(arguments={"trust_remote_code": True}), "'trust_remote_code' is one that a card never holds"),
        (broken(arguments={"x=1,\nimport os": 1}), "is one that a card never holds"),
        (broken(arguments={"learning_rate": 1.5}).replace("1.5", "1e999"), "'learning_rate' is one that a card never holds"),
    ],
)
def test_what_is_no_card_is_refused_in_one_sentence(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(ValueError, match=message) as refused:
        from_card(tmp_path)
    assert str(refused.value).startswith(f"{tmp_path / FILE} cannot be read: ")


def test_a_card_without_a_section_and_one_that_lacks_a_key_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "README.md"
    file.write_text("# A model\n```json\n{}\n```\n")
    with pytest.raises(ValueError, match="has no learning-rate section with a JSON block; LRCard writes one"):
        from_card(file)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="cannot be read"):
        from_card(file)
    data = card().to_json()
    del data["peaks"]
    with pytest.raises(ValueError, match="the card lacks peaks"):
        Card.from_json(data)


# What is private


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("output_dir", "out"), ("hub_token", None), ("push_to_hub_token", None), ("hub_model_id", "me/x"), ("run_name", "x"),
        ("report_to", ["wandb"]), ("deepspeed", {}), ("model_init_kwargs", {}), ("chat_template_path", "x"), ("api_key", "x"),
        ("optim_args", "/home/me/x"), ("optim_args", "a=1, b=/home/me"), ("optim_args", "~/x"), ("optim_args", "C:\\x"),
        ("optim_args", "http://me:pw@host/"), ("optim_args", "hf_" + "a" * 34), ("fsdp_config", {"a": [{"b": "/x"}]}),
        ("lr_scheduler_kwargs", {"token": "x"}), ("max_grad_norm", float("inf")),
    ],
)  # fmt: skip
def test_what_is_nobodys_business_is_kept_out(name: str, value: object) -> None:
    assert unfit(name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("optim_args", "rank=4,scale=1/2"), ("lr_scheduler_kwargs", {"decay": "1.5B tokens", "T_0": 5}), ("seed", 3),
        ("average_tokens_across_devices", True), ("optim_target_modules", [".*attn.*", "a/b"]), ("length_column_name", "x"),
    ],
)  # fmt: skip
def test_what_a_run_needs_stays_in(name: str, value: object) -> None:
    assert not unfit(name, value)
