"""Bodies: what is encoded decodes to the same numbers, and answers of every shape that containers give are read."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.runtime import codecs
from modelyard.runtime.outputs import BadOutput

TYPES = [codecs.CSV, codecs.JSON, codecs.JSONLINES, codecs.NPY]
NUMBERS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(st.integers(1, 4).flatmap(lambda k: st.lists(st.lists(NUMBERS, min_size=k, max_size=k), min_size=1, max_size=6)))
@pytest.mark.parametrize("kind", TYPES)
def test_numbers_survive(kind: str, table: list[list[float]]) -> None:
    columns = {f"c{i}": [row[i] for row in table] for i in range(len(table[0]))}
    body = codecs.encode(columns, len(table), kind)
    assert isinstance(body, bytes if kind == codecs.NPY else str)
    np.testing.assert_array_equal(codecs.decode_array(body, kind), np.array(table, dtype=np.float32))


def test_bodies_are_what_readers_of_csv_and_json_expect() -> None:
    columns = {"a": [1, None], "s": ['x,"y"', ""], "b": [True, False]}
    assert list(csv.reader(io.StringIO(codecs.encode(columns, 2, codecs.CSV)))) == [["1", 'x,"y"', "True"], ["", "", "False"]]
    assert json.loads(codecs.encode(columns, 2, codecs.JSON)) == [[1, 'x,"y"', True], [None, "", False]]
    lines = codecs.encode(columns, 2, codecs.JSONLINES).splitlines()
    assert [json.loads(line) for line in lines] == [{"a": 1, "s": 'x,"y"', "b": True}, {"a": None, "s": "", "b": False}]
    with pytest.raises(BadOutput, match="column `s` is text"):
        codecs.encode(columns, 2, codecs.NPY)


def npy(values: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, np.array(values))
    return out.getvalue()


RECORDS = {"p": [0.25, 0.75]}


@pytest.mark.parametrize(
    ("answer", "accept", "expected"),
    [
        ("[0.25, 0.75]", codecs.JSON, [0.25, 0.75]),
        (b'{"predictions": [0.25, 0.75]}', codecs.JSON, [0.25, 0.75]),
        ('{"instances": [[0.25], [0.75]]}', "application/json; charset=utf-8", [[0.25], [0.75]]),
        ('{"predictions": [{"p": 0.25}, {"p": 0.75}]}', codecs.JSON, RECORDS),
        ('{"p": [0.25, 0.75]}', codecs.JSON, RECORDS),
        ('{"p": 0.25}\n{"p": 0.75}\n', codecs.JSONLINES, RECORDS),
        ('{"p": [0.25, 0.75]}\n', codecs.JSONLINES, RECORDS),
        ("0.25\n0.75\n", codecs.CSV, [0.25, 0.75]),
        ("0.25,0.75", codecs.CSV, [0.25, 0.75]),
        ("p\n0.25\n0.75\n", codecs.CSV, RECORDS),
        ("setosa,0.25\nversicolor,0.75\n", codecs.CSV, [["setosa", 0.25], ["versicolor", 0.75]]),
        (npy([0.25, 0.75]), codecs.NPY, [0.25, 0.75]),
        (("0.25\n0.75", codecs.CSV), codecs.JSON, [0.25, 0.75]),
        (SimpleNamespace(response="[0.25, 0.75]", mimetype=codecs.JSON), codecs.CSV, [0.25, 0.75]),
        (["[0.25, 0.75]"], codecs.JSON, [0.25, 0.75]),
        ([0.25, 0.75], codecs.JSON, [0.25, 0.75]),
        (
            '{"predictions": [1, 2], "probabilities": [[1], [0]]}',
            codecs.JSON,
            {"prediction": [1, 2], "probabilities": [[1], [0]]},
        ),
        ('{"results": ["a", "b"], "scores": [0.1, 0.9], "model": "x"}', codecs.JSON, {"prediction": ["a", "b"], "scores": [0.1, 0.9]}),
    ],
)
def test_answers_of_every_shape(answer: Any, accept: str, expected: Any) -> None:
    found = codecs.decode_answer(answer, accept, 2)
    assert (found.tolist() if hasattr(found, "tolist") else found) == expected


def test_a_response_of_one_row_is_a_list_of_one_body() -> None:
    for answer in (SimpleNamespace(response=[b"[0.25]"], mimetype=codecs.JSON), SimpleNamespace(response=["[0.25]"], mimetype=codecs.JSON)):
        assert codecs.decode_answer(answer, codecs.CSV, 1) == [0.25]
    assert codecs.decode_answer([b"[0.25]"], codecs.JSON, 1) == [0.25]
    assert codecs.decode_answer(["setosa"], codecs.JSON, 1) == ["setosa"], "the label of one row"


@given(st.binary(max_size=60) | st.text(max_size=60), st.sampled_from(TYPES))
def test_any_answer_is_values_or_refused(answer: Any, accept: str) -> None:
    with contextlib.suppress(BadOutput):
        codecs.decode_answer(answer, accept, 2)
