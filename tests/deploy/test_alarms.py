from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.config.spec import Rollback
from modelyard.deploy.alarms import CHANCE, Seen, alarmed, surely_above

LIMITS = Rollback(error_rate=0.01, latency_p99_ratio=2, min_requests=20)
WELL = Seen(requests=100, latency=((10.0, 100),))


@pytest.mark.parametrize(
    ("new", "old", "said"),
    [
        ({"restarts": 1}, {}, "the new version's runner died 1 time"),
        ({"restarts": 2}, {}, "the new version's runner died 2 times"),
        ({}, {"restarts": 9}, None),  # the old one's deaths are not the new one's fault
        ({"errors": 1}, {}, None),  # 1%, the threshold itself
        ({"errors": 2}, {}, "2 of 100 requests failed, over the allowed 1.0%"),
        ({"requests": 1, "errors": 1}, {}, "1 of 1 requests failed, over the allowed 1.0%"),
        ({"requests": 0, "latency": ()}, {}, None),
        ({"errors": 0}, {"errors": 50}, None),
        ({"requests": 10_000, "errors": 100}, {}, None),
        ({"requests": 10_000, "errors": 101}, {}, "101 of 10000 requests failed, over the allowed 1.0%"),
        ({"latency": ((50.0, 100),)}, {}, "p99 50 ms is over 2 times the champion's 10 ms"),
        ({"latency": ((20.0, 100),)}, {}, None),
        ({"latency": ((23.5, 100),)}, {}, None),  # within the width of a bucket
        ({"latency": ((24.0, 100),)}, {}, "p99 24 ms is over 2 times the champion's 10 ms"),
        ({"latency": ((5.0, 100),)}, {"latency": ((1.0, 100),)}, None),  # five times as slow, and within the machine's noise
        ({"latency": ((50.0, 100),), "requests": 19}, {}, None),
        ({"latency": ((50.0, 100),)}, {"requests": 19}, None),
        ({"latency": ((50.0, 100),)}, {"latency": ()}, None),
        ({"latency": ()}, {}, None),
        ({"latency": ((10.0, 95), (90.0, 5))}, {}, None),  # five slow answers of a hundred may be chance
        ({"latency": ((10.0, 90), (90.0, 10))}, {}, "p99 90 ms is over 2 times the champion's 10 ms"),
        ({"refused": 1}, {}, None),
        ({"refused": 30}, {}, "30 of 130 requests were refused as the callers' fault, and 0 of 100 by the champion"),
        (
            {"requests": 0, "latency": (), "refused": 20},
            {},
            "20 of 20 requests were refused as the callers' fault, and 0 of 100 by the champion",
        ),
        ({"refused": 30}, {"refused": 30}, None),  # callers who ask in vain, both versions alike
        ({"refused": 30}, {"requests": 0}, None),  # nothing to compare with
        ({"refused": 400}, {"requests": 0, "refused": 0}, None),
        ({"compared": 5, "disagreed": 5}, {}, None),  # so few rows may all differ by chance
        ({"compared": 6, "disagreed": 6}, {}, "6 of 6 rows are answered otherwise than by the champion, over the allowed 10.0%"),
        ({"compared": 1000, "disagreed": 120}, {}, None),
        ({"compared": 1000, "disagreed": 160}, {}, "160 of 1000 rows are answered otherwise than by the champion, over the allowed 10.0%"),
        ({"requests": 0, "latency": (), "compared": 0, "disagreed": 0}, {}, None),
    ],
)
def test_alarms(new: dict[str, Any], old: dict[str, Any], said: str | None) -> None:
    assert alarmed(replace(WELL, **new), replace(WELL, **old), LIMITS) == said


@given(lower=st.floats(1, 1000), ratio=st.floats(1.01, 10), data=st.data())
def test_the_latency_alarm_never_rings_for_less_than_its_ratio(lower: float, ratio: float, data: st.DataObject) -> None:
    """Whatever edge of a bucket the two p99 are rounded up to: no ring unless the true ratio is above, and a sure one soon after."""
    from modelyard.serve import stats

    upper = lower * data.draw(st.floats(1, 100))
    new, old = (Seen(100, latency=((stats.upper_ms(stats.bucket_of(value)), 100),)) for value in (upper, lower))
    rings = alarmed(new, old, LIMITS.model_copy(update={"latency_p99_ratio": ratio})) is not None
    assert not rings or upper / lower > ratio * 0.99
    assert rings or upper / lower < ratio * 1.45 or upper - lower < 15


def test_the_error_alarm_at_the_edge_of_a_strict_config() -> None:
    strict = Rollback(error_rate=0)
    assert alarmed(Seen(requests=1_000_000, errors=1), WELL, strict) is not None
    assert alarmed(Seen(requests=1_000_000), WELL, strict) is None
    assert alarmed(Seen(requests=10, errors=10), WELL, Rollback(error_rate=1)) is None


def test_what_the_replay_showed_is_no_news() -> None:
    otherwise = replace(WELL, compared=1000, disagreed=300)
    assert alarmed(otherwise, WELL, LIMITS, 0.25) is None
    said = "300 of 1000 rows are answered otherwise than by the champion, over 5.0% that the replay showed and 10.0% more"
    assert alarmed(otherwise, WELL, LIMITS, 0.05) == said
    assert alarmed(replace(WELL, compared=1000, disagreed=1000), WELL, LIMITS, 0.95) is None, "nothing is beyond everything"
    assert alarmed(replace(WELL, compared=1000, disagreed=1), WELL, Rollback(disagreement=0)) is not None


@given(of=st.integers(1, 200), share=st.floats(0.01, 0.99), data=st.data())
def test_chance_alone_hardly_ever_rings(of: int, share: float, data: st.DataObject) -> None:
    """Against the exact binomial tail, summed up."""
    hits = data.draw(st.integers(0, of))
    tail = math.fsum(math.comb(of, k) * share**k * (1 - share) ** (of - k) for k in range(hits, of + 1))
    rings = surely_above(hits, of, share)
    assert not rings or tail <= CHANCE * 1.000001
    assert rings or tail > CHANCE / (10 * math.sqrt(of) + 10) or hits / of <= share, "and it is not much more careful than need be"


@pytest.mark.parametrize(
    ("latency", "p99"),
    [
        ((), None),
        (((5.0, 1),), 5.0),
        (((5.0, 1), (900.0, 1)), 5.0),
        (((5.0, 19), (900.0, 1)), 5.0),
        (((5.0, 18), (900.0, 2)), 900.0),
        (((5.0, 298), (900.0, 2)), 5.0),
        (((5.0, 296), (900.0, 4)), 900.0),
    ],
)
def test_one_slow_answer_alone_never_makes_p99(latency: tuple[tuple[float, int], ...], p99: float | None) -> None:
    assert Seen(latency=latency).p99_ms == p99
