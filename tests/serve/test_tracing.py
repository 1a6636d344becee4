from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.serve.tracing import begin

HOLDS = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
FORM = re.compile(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


def test_the_callers_trace_goes_on_under_a_span_of_ours() -> None:
    trace = begin(HOLDS, 0.0)
    assert (trace.trace_id, trace.parent, trace.sampled) == ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", True)
    assert trace.header[1] == b"00-0af7651916cd43dd8448eb211c80319c-" + trace.span_id.encode() + b"-01" and trace.span_id != trace.parent
    assert not begin(HOLDS[:-1] + b"0", 1.0).sampled  # the caller's word counts
    assert not begin(HOLDS, None).sampled and begin(HOLDS, None).header[1].endswith(b"-01")  # nobody collects here, others may


@pytest.mark.parametrize(
    "given_",
    [
        b"",
        b"00",
        HOLDS.upper(),
        b"ff" + HOLDS[2:],
        HOLDS.replace(b"0af7651916cd43dd8448eb211c80319c", b"0" * 32),
        HOLDS.replace(b"b7ad6b7169203331", b"0" * 16),
        HOLDS + b"x",
        HOLDS + b"-more",  # as a later version may have it
        HOLDS + b"\r\nx: y",
    ],
)
def test_one_that_does_not_hold_is_ignored(given_: bytes) -> None:
    trace = begin(given_, 1.0)
    assert trace.parent == "" and trace.sampled and trace.trace_id != "0af7651916cd43dd8448eb211c80319c"


def test_a_later_version_may_say_more() -> None:
    trace = begin(b"01" + HOLDS[2:-2] + b"fd-more", 1.0)
    assert trace.parent == "b7ad6b7169203331" and trace.sampled
    assert trace.header[1].endswith(b"-01"), "what this version does not know it does not say"


@given(st.none() | st.binary(max_size=80), st.none() | st.floats(0, 1))
def test_every_trace_holds(given_: bytes | None, share: float | None) -> None:
    trace = begin(given_, share)
    assert FORM.fullmatch(trace.header[1])
    assert trace.sampled <= (share is not None)


def test_the_share_is_kept() -> None:
    kept = sum(begin(None, 0.2).sampled for _ in range(5000))
    assert 800 < kept < 1200 and not any(begin(None, 0.0).sampled for _ in range(100)) and begin(None, 1.0).sampled
