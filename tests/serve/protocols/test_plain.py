"""What the query of an invocation may ask for."""

from __future__ import annotations

import pytest

from modelyard.errors import BadInput
from modelyard.serve.protocols import plain
from modelyard.serve.rows import Rows


def asked(query: bytes) -> Rows:
    rows = Rows({"x": [1.0]}, 1, ["a"], 0)
    plain._ask(rows, query)
    return rows


def test_what_a_query_asks_for() -> None:
    assert (asked(b"").explain, asked(b"explain=true").explain, asked(b"explain=true&explain=0").explain) == (False, True, False)
    assert (asked(b"predictions=values").values, asked(b"predictions=records").values) == (True, False)


@pytest.mark.parametrize("query", [b"explain", b"explain=%ff", b"predictions=all", b"a=1", b"&".join([b"explain=true"] * 1001)])
def test_a_query_that_does_not_hold_is_the_callers_fault(query: bytes) -> None:
    with pytest.raises(BadInput, match="quer") as caught:
        asked(query)
    assert caught.value.where.startswith("query")
