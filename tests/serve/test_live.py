"""Which version a request goes to."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.serve.live import claim

SESSIONS = [f"session-{i}" for i in range(2000)]


def shares(weights: dict[str, float]) -> dict[str, str]:
    """Each session's version."""
    return {s: max(weights, key=lambda v: claim(s, v, weights[v])) for s in SESSIONS}


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.sampled_from("1234"), st.integers(1, 100), min_size=2))
def test_every_version_has_its_share_of_the_sessions(weights: dict[str, float]) -> None:
    counted, total = Counter(shares(weights).values()), sum(weights.values())
    for version, weight in weights.items():
        expected = len(SESSIONS) * weight / total
        assert abs(counted[version] - expected) <= 6 * (expected * (1 - weight / total)) ** 0.5 + 1


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 99), st.integers(1, 99))
def test_when_weights_change_only_those_move_that_must(before: int, after: int) -> None:
    one, other = shares({"new": before, "old": 100 - before}), shares({"new": after, "old": 100 - after})
    moved = {(one[s], other[s]) for s in SESSIONS if one[s] != other[s]}
    assert moved <= {("old", "new") if after > before else ("new", "old")}


@pytest.mark.parametrize("session", ["", "é", "\udce9", "a" * 10_000])
def test_any_session_has_a_version(session: str) -> None:
    assert claim(session, "1", 50) > 0
