from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.serve.capture import frames

_ROWS = st.lists(st.tuples(st.text(max_size=5), st.floats(allow_nan=False), st.integers(-(2**63), 2**63 - 1)), max_size=8)


def _written(rows: list[tuple[str, float, int]]) -> list[bytes]:
    messages: list[Any] = [(frames.HEAD, 1, "v", {"f.a": "float"}, ["a", "b"], ["prediction"])]
    messages += [(frames.ROW, 1, at, 2, id, [value], [True]) for id, value, at in rows]
    written, into = list[bytes](), frames.blank()
    for message in messages:
        whole = bytearray(frames.frame(message, into))
        assert whole[: frames.LENGTH] == bytes(frames.LENGTH), "which comes last"
        frames.put_length(whole, 0, len(whole) - frames.LENGTH)
        written.append(bytes(whole))
    return written


@given(rows=_ROWS, cut=st.integers(0, 10_000), zeros=st.integers(0, 64))
def test_what_is_torn_at_the_end_is_left_out_and_all_before_it_is_read(rows: list[tuple[str, float, int]], cut: int, zeros: int) -> None:
    written = _written(rows)
    data, left, expected = b"", cut, list[int]()
    for number, frame in enumerate(written):
        if left < len(frame):  # the writer died in the middle of this one: its length was to come last
            data += bytes(4) + frame[4 : max(4, left)]
            break
        data, left = data + frame, left - len(frame)
        expected.append(number)
    found = list(frames.read(data + bytes(zeros)))
    assert len(found) == len(expected)
    assert [f.id for f in found if isinstance(f, frames.Row)] == [rows[n - 1][0] for n in expected if n]


def test_a_frame_without_its_length_ends_the_segment() -> None:
    first, second, third = _written([("a", 1.0, 1), ("b", 2.0, 2)])
    torn = bytes(4) + second[4:]
    assert len(list(frames.read(first + torn + third))) == 1


@pytest.mark.parametrize("value", [2**64, object(), "\ud800"])
def test_what_cannot_be_written_is_an_error_of_the_disks_kind_and_spoils_no_later_frame(value: object) -> None:
    into = frames.blank()
    with pytest.raises(OSError):
        frames.frame((frames.ROW, 1, 1, 2.0, "p", ["x" * 100, value], [True]), into)
    again = frames.frame((frames.ROW, 1, 1, 2.0, "q", [1], [True]), into)
    frames.put_length(again, 0, len(again) - frames.LENGTH)
    assert [f.id for f in frames.read(bytes(again)) if isinstance(f, frames.Row)] == ["q"]
