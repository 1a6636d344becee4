from __future__ import annotations

import pytest

from modelyard.config.document import Document, Mapping, Scalar, Sequence, locate, resolve


def read(text: str) -> Document:
    return Document(text, "config.yaml")


def first(text: str) -> tuple[int, int, str]:
    problem = read(text).problems[0]
    return problem.line, problem.column, problem.message


def test_every_value_and_key_knows_its_place() -> None:
    document = read("a: 1\nb:\n  - x\n  - {c: deep}\n")
    assert isinstance(document.root, Mapping)
    assert not document.problems
    assert locate(document.root, ("b", 1, "c")) == (4, 9)
    assert locate(document.root, ("b", 1, "c"), key=True) == (4, 6)
    assert locate(document.root, ("b", 1, "missing"), key=True) == (4, 5)
    assert locate(document.root, ()) == (1, 1)


def test_keys_are_text_as_yaml_1_2_has_it() -> None:
    root = read("on: yes\nno: off\n2013: x\ntrue: y\n").root
    assert isinstance(root, Mapping)
    assert list(root.entries) == ["on", "no", "2013", "true"]
    assert isinstance(root.entries["on"], Scalar)
    assert resolve(root.entries["on"].text) == "yes"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None), ("~", None), ("null", None), ("Null", None), ("true", True), ("False", False), ("yes", "yes"), ("on", "on"), ("12", 12),
        ("-3", -3), ("+3", 3), ("007", 7), ("0o17", 15), ("0x1F", 31), ("1.5", 1.5), (".5", 0.5), ("1e3", 1000.0), ("1_000", "1_000"),
        ("12:30", "12:30"), ("2013-01-01", "2013-01-01"), ("0b1", "0b1"), ("1e", "1e"), ("-", "-"), ("9223372036854775807", 2**63 - 1),
    ],
)  # fmt: skip
def test_scalars_follow_the_core_schema(text: str, value: object) -> None:
    assert resolve(text) == value
    assert type(resolve(text)) is type(value)


@pytest.mark.parametrize(
    "text", ["9223372036854775808", "-9223372036854775808", "9" * 5000, "0x" + "f" * 40, "1e999", ".inf", "-.INF", ".nan"]
)
def test_numbers_that_json_cannot_carry_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"too large|not a finite"):
        resolve(text)


def test_a_value_may_be_used_again_by_an_alias() -> None:
    root = read("a: &x [1, 2]\nb: *x\n").root
    assert isinstance(root, Mapping)
    assert isinstance(root.entries["b"], Sequence)
    assert [i.text for i in root.entries["b"].items if isinstance(i, Scalar)] == ["1", "2"]


def test_an_alias_bomb_is_stopped_before_it_expands() -> None:
    bomb = "a0: &a0 [x, x, x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}, *a{i - 1}]\n" for i in range(1, 60))
    line, _, message = first(bomb)
    assert "aliases stand for more than 1,000 values" in message
    assert line < 10


def test_aliases_count_towards_the_depth() -> None:
    chain = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 40))
    assert "32 levels" in first(chain)[2]


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        ("a: &x [*x]", 1, 8, "names no value before it"),
        ("a: 1\nb: *nope", 2, 4, "names no value before it"),
        ("a: 1\nb: 2\na: 3", 3, 1, "`a` is written twice; the first is in line 1"),
        ("a: !!python/object/apply:os.system [x]", 1, 4, "tag"),
        ("a: !secret x", 1, 4, "tag"),
        ("a: 1\n---\nb: 2", 2, 1, "second document"),
        ("%YAML 1.1\n---\na: 1", 1, 1, "cannot begin with '%'"),
        ("a: {x: 1}\nb:\n  <<: 1", 3, 3, "merge keys"),
        ("? [a, b]\n: 1", 1, 3, "a key must be text"),
        ("a: b: c", 1, 5, "mapping values are not allowed"),
        ("a:\n\tb: 1", 2, 1, "cannot start any token"),
        ("a: [1, 2", 1, 9, "not valid YAML"),
        ("a: \x07", 1, 4, "U+0007"),
        ("a: x\x1b[31m", 1, 5, "U+001B"),
        ("a: \u2028", 1, 4, "U+2028"),
        ("a: \ud800", 1, 4, "U+D800"),
        ('a: "\\0"', 1, 4, "U+0000"),
        ('a: "\\ud800"', 1, 4, "U+D800"),
        ('a: "\\UFFFFFFFF"', 1, 1, "not valid YAML"),
        ("[" * 10_000, 1, 33, "32 levels"),
        ("- " * 10_000, 1, 65, "32 levels"),
        ("\n".join(" " * i + "a:" for i in range(100)), 33, 33, "32 levels"),
        ("x" * 1_000_001, 1, 1, "larger than 1,000,000 bytes"),
        ("é" * 600_000, 1, 1, "larger than 1,000,000 bytes"),
        ("a: 1\nb: " + "x" * 100_000, 2, 1, "longer than 100,000"),
    ],
)
def test_what_cannot_be_read_is_told_at_its_place(text: str, line: int, column: int, words: str) -> None:
    found = first(text)
    assert found[:2] == (line, column)
    assert words in found[2]


def test_the_nodes_of_a_file_are_bounded() -> None:
    assert "50,000 values" in first("".join(f"k{i}: v\n" for i in range(30_000)))[2]


def test_all_duplicates_are_told_at_once() -> None:
    assert [p.line for p in read("a: 1\na: 2\nb: 1\nb: 2\n").problems] == [2, 4]


def test_the_caret_stands_under_the_place_and_long_lines_are_cut() -> None:
    text = str(read("abc: 1\nabc: 2").problems[0]).splitlines()
    assert text[1:] == ["    abc: 2", "    ^"]
    wide = read("a: [" + "x, " * 300 + "&y &y]").problems[0]
    assert wide.source_line == ""
    assert len(str(wide)) < 200
