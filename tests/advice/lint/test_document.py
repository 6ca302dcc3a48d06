"""YAML and JSON as entries with their places."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_lrsched.advice.lint.configuration import UNKNOWN
from hf_lrsched.advice.lint.document import DEPTH, Document, Unreadable
from hf_lrsched.advice.lint.from_json import json_document
from hf_lrsched.advice.lint.from_yaml import MOST_ENTRIES, yaml_documents

NAMES = st.from_regex(r"[a-z][a-z_]{0,8}", fullmatch=True).filter(
    lambda name: name not in ("yes", "no", "on", "off", "y", "n")
)
PLAIN = st.one_of(st.booleans(), st.integers(-(10**6), 10**6), st.floats(-1e6, 1e6), st.text("abc é#:'\"\t", max_size=8))
TREES = st.dictionaries(NAMES, st.recursive(PLAIN, lambda inner: st.dictionaries(NAMES, inner, max_size=3), max_leaves=8))


def one(text: str) -> Document:
    [document] = yaml_documents(text)
    return document


def flat(tree: dict[str, Any], above: str = "") -> dict[str, Any]:
    entries: dict[str, Any] = {}
    for key, value in tree.items():
        entries[f"{above}{key}"] = value
        if isinstance(value, dict) and f"{above}{key}".count(".") < DEPTH:
            entries |= flat(value, f"{above}{key}.")
    return entries


def test_every_key_has_its_place_its_text_and_its_comment() -> None:
    document = one("# head\noptimizer:\n  lr: 2.0e-5   # of the paper\n  name: 'adam'\nbatch_size: 4\n")
    assert list(document.entries) == ["optimizer", "optimizer.lr", "optimizer.name", "batch_size"]
    rate = document.entries["optimizer.lr"]
    assert (rate.value, rate.written, rate.line, rate.column, rate.comment) == (2e-5, "2.0e-5", 3, 3, "of the paper")
    assert rate.text == "  lr: 2.0e-5   # of the paper"
    assert (document.value("optimizer.name"), document.entries["optimizer.name"].written) == ("adam", "'adam'")
    assert document.within("optimizer").entries["lr"] is rate


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("2e-5", "2e-5"),  # as PyYAML has it: an exponent needs a dot
        ("2.0e-5", 2e-5),
        ("1_000", 1000),
        ("1.0e999", "1.0e999"),
        ("9" * 9999, "9" * 9999),
        (".inf", ".inf"),
        ("yes", True),
        ("off", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("'0.1'", "0.1"),
        ("2024-01-01", "2024-01-01"),
        ("[1, two]", [1, "two"]),
        ("{a: 1}", {"a": 1}),
        ("${lr}", UNKNOWN),
        ("'{{ lr }}'", UNKNOWN),
        ("$LR", UNKNOWN),
        ("!include other.yaml", UNKNOWN),
        ("!!python/object/apply:os.system ['true']", ["true"]),
    ],
)
def test_a_value_is_what_yaml_makes_of_it_and_no_tag_is_obeyed(written: str, value: Any) -> None:
    assert one(f"key: {written}\n").entries["key"].value == value


@pytest.mark.parametrize(
    ("written", "as_text"), [("2e-5", True), ("2.0e-5", False), ("1.0e5", True), ("'3'", True), ("x", False)]
)
def test_a_number_that_yaml_takes_for_text_is_marked(written: str, as_text: bool) -> None:
    assert one(f"key: {written}\n").entries["key"].as_text is as_text


def test_what_a_merge_brings_stands_behind_what_is_written() -> None:
    document = one("base: &base\n  lr: 1.0\n  steps: 5\nrun:\n  lr: 2.0\n  <<: *base\nlist: &l [*base]\nagain: *l\n")
    assert (document.value("run.lr"), document.value("run.steps")) == (2.0, 5)
    assert document.value("again") == [{"lr": 1.0, "steps": 5}]


def test_a_bomb_of_merges_ends() -> None:
    layers = [f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 8)}], k{i}: 1}}" for i in range(1, 12)]
    document = one("\n".join(["a0: &a0 {k: 1}", *layers, "end: 1"]) + "\n")
    assert document.value("a3.k") == 1
    assert sum(key.startswith("a4.") for key in document.entries) == 5


def test_an_anchor_and_a_tag_are_no_part_of_what_is_written() -> None:
    document = one("lr: &lr 2e-5 # of the paper\nother: *lr\nsteps: !!int '60'\nname: &n !!str \"x\"\nnot: a & b\n")
    assert [document.entries[key].written for key in ("lr", "steps", "name", "not")] == ["2e-5", "'60'", '"x"', "a & b"]
    assert (document.value("lr"), document.entries["lr"].comment) == ("2e-5", "of the paper")


def test_every_document_of_a_stream_counts() -> None:
    first, second = yaml_documents("a: 1\n---\n- no mapping\n---\nb: 2\n")
    assert (first.value("a"), second.value("b")) == (1, 2)


def test_aliases_that_hold_themselves_or_multiply_end() -> None:
    assert one("a: &a\n  b: *a\n").entries["a.b.b"].value == {"b": UNKNOWN}
    layers = "l0: &l0 {x: 1}\n" + "".join(f"l{i}: &l{i} {{a: *l{i - 1}, b: *l{i - 1}, c: *l{i - 1}}}\n" for i in range(1, 30))
    assert len(one(layers).entries) <= MOST_ENTRIES + DEPTH * 3


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: 1\nb: [1,\nc: 2\n", 2),
        ("a: 1\n  b: 2\n", 2),
        ("a: 'x\n", 1),
        ("a: 1\n\tb: 2\n", 2),
        ("{{ x }}: {% y %}", 1),
        ("a: 1\nb: \x0b\n", 2),
    ],
)
def test_a_broken_text_says_where(text: str, line: int) -> None:
    with pytest.raises(Unreadable) as caught:
        yaml_documents(text)
    assert caught.value.line == line
    assert caught.value.problem


@given(st.text("ab:-{}[]'\"#&*!|>%@`? \n\t,é0.", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    places = []
    for read in (yaml_documents, json_document):
        try:
            read(text)
        except Unreadable as error:
            places.append(error.line)
    assert all(1 <= line <= text.count("\n") + 2 for line in places)


@given(TREES, st.sampled_from([None, 2, "\t"]))
def test_json_has_every_key_at_its_place(tree: dict[str, Any], indent: int | str | None) -> None:
    document = json_document(json.dumps(tree, indent=indent, ensure_ascii=False))
    assert document is not None
    assert {key: found.value for key, found in document.entries.items()} == flat(tree)
    for key, found in document.entries.items():
        name = json.dumps(key.rpartition(".")[2])
        assert document.lines[found.line - 1][found.column - 1 :].startswith(name)
        if not isinstance(found.value, dict | list):
            assert json.loads(found.written) == found.value
            assert found.written in found.text


def test_json_numbers_need_no_dot_and_the_last_of_two_equal_keys_counts() -> None:
    document = json_document('{"lr": 2e-5, "a": {"b": 1}, "a": 3}')
    assert document is not None
    assert (document.value("lr"), document.entries["lr"].as_text, document.value("a")) == (2e-5, False, 3)
    assert json_document("[1, 2]") is None


@pytest.mark.parametrize(
    ("text", "entries"),
    [
        ('{"a": {"b": 1}, "a": {"c": 2}}', {"a": {"c": 2}, "a.c": 2}),
        ('{"a": {"b": 1}, "ab": 4, "a": 3}', {"ab": 4, "a": 3}),
        ('{"a": 1, "a": {"b": {"c": 1}}, "b": 2}', {"a": {"b": {"c": 1}}, "a.b": {"c": 1}, "a.b.c": 1, "b": 2}),
    ],
)
def test_of_two_equal_keys_in_json_the_last_counts_with_all_below_it(text: str, entries: dict[str, Any]) -> None:
    document = json_document(text)
    assert document is not None
    assert {key: found.value for key, found in document.entries.items()} == entries


@pytest.mark.parametrize("read", [yaml_documents, json_document])
def test_a_whole_number_beyond_any_use_is_no_number(read: Any) -> None:
    found = read(f'{{"max_steps": {"9" * 310}, "lr": {{"x": -{"9" * 310}}}}}')
    document = found[0] if isinstance(found, list) else found
    assert document.entries["max_steps"].number is None
    assert document.entries["lr.x"].number is None


@pytest.mark.parametrize(
    ("text", "line"), [('{"a": 1,\n}', 2), ('{"a": 1,\n"b" 2}', 2), ("", 1), ('{\n// no\n"a": 1}', 2), ("[" * 99999, 1)]
)
def test_broken_json_says_where(text: str, line: int) -> None:
    with pytest.raises(Unreadable) as caught:
        json_document(text)
    assert caught.value.line == line


@given(
    st.lists(st.tuples(NAMES, st.text("ab é😀\u2028\x85\x0b\t", max_size=5)), min_size=1, max_size=5),
    st.sampled_from(["\n", "\r\n"]),
)
def test_lines_are_counted_as_editors_do(pairs: list[tuple[str, str]], end: str) -> None:
    text = end.join(f"{name}: {json.dumps(value, ensure_ascii=False)} # no" for name, value in pairs) + end
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    for document in yaml_documents(text):
        for name, found in document.entries.items():
            assert found.text == lines[found.line - 1]
            assert found.text[found.column - 1 :].startswith(f"{name}: ")
