from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.errors import BadInput
from modelyard.serve.batch.filters import All, Filter, Names, Places, Span, parse

_STEPS = st.one_of(
    st.lists(st.text(max_size=8), min_size=1, max_size=3).map(lambda names: Names(tuple(names))),
    st.lists(st.integers(-999, 999), min_size=1, max_size=3).map(lambda places: Places(tuple(places))),
    st.builds(Span, st.none() | st.integers(-99, 99), st.none() | st.integers(-99, 99)),
    st.just(All()),
)
RECORD = {"id": 7, "features": [1, 2, 3, 4], "a b": {"c": "x"}}


@given(st.lists(_STEPS, max_size=4))
def test_what_a_filter_prints_reads_as_the_same_filter(steps: list[Any]) -> None:
    made = Filter(tuple(steps))
    assert parse(str(made)) == made


@given(st.text(alphabet="$.[]'\",:*-0129ab \\", max_size=20))
def test_any_text_is_a_filter_or_is_refused_with_a_place(text: str) -> None:
    try:
        found = parse(text)
    except BadInput as exc:
        assert exc.next or exc.what
    else:
        assert parse(str(found)) == found


@given(st.lists(st.integers(), min_size=1, max_size=8), st.integers(-10, 10), st.integers(-10, 10))
def test_places_and_spans_are_those_of_python(record: list[int], start: int, end: int) -> None:
    assert parse(f"$[{start}:{end}]").of(record) == record[start:end]
    assert parse(f"$[{start}:]").of(record) == record[start:] and parse(f"$[:{end}]").of(record) == record[:end]
    try:
        expected = [record[start], record[end]]
    except IndexError:
        with pytest.raises(BadInput):
            parse(f"$[{start},{end}]").of(record)
    else:
        assert parse(f"$[{start}, {end}]").of(record) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$", RECORD),
        ("$.id", 7),
        ("$['id']", 7),
        ('$["a b"].c', "x"),
        ("$['id','features']", {"id": 7, "features": [1, 2, 3, 4]}),
        ("$.features[0]", 1),
        ("$.features[-1]", 4),
        ("$.features[0,2]", [1, 3]),
        ("$.features[1:3]", [2, 3]),
        ("$.features[1:]", [2, 3, 4]),
        ("$['a b'].*", ["x"]),
        ("$[*]", [7, [1, 2, 3, 4], {"c": "x"}]),
    ],
)
def test_a_record_of_json(text: str, expected: Any) -> None:
    assert parse(text).of(RECORD) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$", ["id", "a", "b"]),
        ("$[1:]", ["a", "b"]),
        ("$[-1]", ["b"]),
        ("$[0,2]", ["id", "b"]),
        ("$.a", ["a"]),
        ("$['b','id']", ["b", "id"]),
        ("$[*]", ["id", "a", "b"]),
    ],
)
def test_a_row_of_a_table_has_names_and_places(text: str, expected: list[str]) -> None:
    assert parse(text).columns(["id", "a", "b"]) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a", "does not begin with"),
        ("$..a", r"character 2"),
        ("$[?(@.a)]", "does not hold from"),
        ("$['a", "does not hold from"),
        ("$['a', 1]", "does not hold from"),
        ("$[1:2:3]", "does not hold from"),
        ("$" + ".a" * 600, "at most 1000"),
    ],
)
def test_what_sagemaker_does_not_know_is_refused(text: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        parse(text)


def test_what_is_not_there_is_refused() -> None:
    for text in ("$.nope", "$.id.x", "$.features['a']", "$[0]"):
        with pytest.raises(BadInput):
            parse(text).of(RECORD)
    for text in ("$.nope", "$[9]", "$.a.b"):
        with pytest.raises(BadInput):
            parse(text).columns(["id", "a"])
