from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from modelyard.config.spec import Rollback, Strategy
from modelyard.deploy.rollout import MAX_HOLD, Rollout, Seen, advance, alarmed, begin, from_dict

LIMITS = Rollback(error_rate=0.01, latency_p99_ratio=2, min_requests=20)
WELL = Seen(requests=100, p99_ms=10.0)
STRATEGIES = st.one_of(
    st.just(Strategy(type="all_at_once")),
    st.sets(st.integers(1, 99), min_size=1, max_size=4).map(lambda steps: Strategy(type="canary", steps=tuple(sorted(steps)))),
)
COUNTS = st.integers(0, 300)


@st.composite
def seen(draw: st.DrawFn) -> Seen:
    requests = draw(COUNTS)
    return Seen(
        requests=requests,
        errors=draw(st.one_of(st.just(0), st.integers(0, requests))),
        p99_ms=draw(st.none() | st.floats(0.1, 5000)) if requests else None,
        restarts=draw(st.sampled_from([0, 0, 0, 1])),
        refused=draw(st.one_of(st.just(0), COUNTS)),
        in_flight=draw(st.integers(0, 3)),
    )


class Machine(RuleBasedStateMachine):
    """Looks at a roll-out at rising moments of each step, with whatever may be seen."""

    @initialize(strategy=STRATEGIES, thresholds=st.builds(Rollback, min_requests=st.integers(1, 200)))
    def start(self, strategy: Strategy, thresholds: Rollback) -> None:
        self.thresholds = thresholds
        self.state = begin("2", "1", strategy)
        self.bakes = 0.0
        self.shares = [self.state.weights["2"]]

    def look(self, new: Seen, old: Seen, passed: float) -> None:
        before, self.bakes = self.state, self.bakes + passed
        self.state = after = advance(before, new, old, self.bakes, self.thresholds)
        if before.status != "moving":
            assert after is before, "an ended roll-out stays ended"
            return
        usual = old if old.requests >= self.thresholds.min_requests else before.usual or Seen()
        if alarmed(new, usual, self.thresholds) is not None:
            assert (after.status, after.weights) == ("rolled_back", {"1": 100}), "an alarm wins over everything"
        elif after is not before:
            enough = new.requests >= self.thresholds.min_requests
            assert self.bakes >= 1, "nothing moves before its bake time is over"
            assert enough or after.status == "rolled_back" or len(before.plan) == 1, "no data never promotes"
            assert after.position <= before.position + 1 and (after.status != "promoted" or before.percent == 100)
            self.bakes = 0.0
        else:
            assert self.bakes < MAX_HOLD or before.status != "moving", "a step waits for MAX_HOLD bake times at most"
        assert after is before or after != before
        self.shares.append(after.weights.get("2", 0))

    @rule(new=seen(), old=seen(), passed=st.floats(0, 1.5))
    def look_at_anything(self, new: Seen, old: Seen, passed: float) -> None:
        self.look(new, old, passed)

    @rule(passed=st.floats(0.1, 1.5))
    def look_at_a_good_version(self, passed: float) -> None:
        self.look(Seen(requests=500, p99_ms=10), Seen(requests=500, p99_ms=10), passed)

    @rule(passed=st.floats(0.5, 2 * MAX_HOLD))
    def look_when_nothing_comes(self, passed: float) -> None:
        self.look(Seen(), Seen(), passed)

    @precondition(lambda self: hasattr(self, "state"))
    @invariant()
    def weights_sum_to_100(self) -> None:
        weights = self.state.weights
        assert sum(weights.values()) == 100 and all(0 <= w <= 100 for w in weights.values())
        assert "1" in weights or self.state.status == "promoted", "the champion is at hand until the very end"

    @precondition(lambda self: hasattr(self, "state"))
    @invariant()
    def the_share_rises_until_it_falls_to_nothing(self) -> None:
        moving = self.shares if self.state.status != "rolled_back" else self.shares[: self.shares.index(0)]
        assert moving == sorted(moving)

    @precondition(lambda self: hasattr(self, "state"))
    @invariant()
    def it_survives_a_receipt(self) -> None:
        assert from_dict(json.loads(json.dumps(asdict(self.state)))) == self.state


TestMachine = Machine.TestCase


def walk(state: Rollout, new: Seen, old: Seen = WELL, bakes: float = 1) -> list[Rollout]:
    """Every state that a roll-out takes while the same is seen at each step."""
    found = [state]
    while (after := advance(found[-1], new, old, bakes, LIMITS)) is not found[-1]:
        found.append(after)
    return found


def test_a_good_canary_goes_through_every_step_and_the_last_one_is_watched_too() -> None:
    states = walk(begin("2", "1", Strategy(steps=(10, 50))), WELL)
    shares = [{"2": 10, "1": 90}, {"2": 50, "1": 50}, {"2": 100, "1": 0}, {"2": 100}]
    assert [s.weights for s in states] == shares
    assert [s.status for s in states] == ["moving", "moving", "moving", "promoted"]
    assert states[-1].reason == "100 requests at 100%, 0 failed; no alarm"
    assert advance(states[2], replace(WELL, errors=5), Seen(), 0.1, LIMITS).status == "rolled_back"


def test_the_last_step_knows_how_fast_the_champion_was() -> None:
    at_100 = walk(begin("2", "1", Strategy(steps=(10, 50))), WELL)[2]
    slow = advance(at_100, replace(WELL, p99_ms=50), Seen(), 0.5, LIMITS)  # the champion has no traffic any more
    assert slow.reason == "p99 50 ms is over 2 times the champion's 10 ms"
    before = replace(begin("2", "1", Strategy(type="all_at_once")), usual=WELL)
    assert advance(before, replace(WELL, p99_ms=50), Seen(), 0.5, LIMITS).status == "rolled_back"


def test_too_little_traffic_holds_and_goes_back_in_the_end() -> None:
    state = begin("2", "1", Strategy(steps=(10, 50)))
    few = Seen(requests=LIMITS.min_requests - 1, p99_ms=10)
    for bakes in (0.5, 1, MAX_HOLD - 0.1):
        assert advance(state, few, WELL, bakes, LIMITS) is state
    ended = advance(state, few, WELL, MAX_HOLD, LIMITS)
    assert (ended.status, ended.reason) == (
        "rolled_back",
        "only 19 of 20 requests came in 20 bake times; no data never promotes",
    )


@pytest.mark.parametrize(
    ("new", "bakes", "status"),
    [
        (Seen(), 0.9, "moving"),
        (Seen(), 1, "promoted"),  # whoever chose all at once does not wait for traffic
        (Seen(requests=3), 1, "promoted"),
        (Seen(in_flight=2), 1, "moving"),  # requests came, and none was answered
        (Seen(in_flight=2), MAX_HOLD, "rolled_back"),
        (Seen(requests=3, errors=1, in_flight=2), 0.1, "rolled_back"),
        (Seen(requests=100, errors=1), 1, "promoted"),
        (Seen(requests=100, errors=2), 1, "rolled_back"),
    ],
)
def test_all_at_once(new: Seen, bakes: float, status: str) -> None:
    assert advance(begin("2", "1", Strategy(type="all_at_once")), new, Seen(), bakes, LIMITS).status == status


@pytest.mark.parametrize(
    ("new", "old", "said"),
    [
        ({"restarts": 1}, {}, "the new version's runner died 1 time"),
        ({"restarts": 2}, {}, "the new version's runner died 2 times"),
        ({}, {"restarts": 9}, None),  # the old one's deaths are not the new one's fault
        ({"errors": 1}, {}, None),  # 1%, the threshold itself
        ({"errors": 2}, {}, "2 of 100 requests failed, over the allowed 1.0%"),
        ({"requests": 1, "errors": 1}, {}, "1 of 1 requests failed, over the allowed 1.0%"),
        ({"requests": 0, "p99_ms": None}, {}, None),
        ({"errors": 0}, {"errors": 50}, None),
        ({"requests": 10_000, "errors": 100}, {}, None),
        ({"requests": 10_000, "errors": 101}, {}, "101 of 10000 requests failed, over the allowed 1.0%"),
        ({"p99_ms": 50}, {}, "p99 50 ms is over 2 times the champion's 10 ms"),
        ({"p99_ms": 20}, {}, None),
        ({"p99_ms": 23.5}, {}, None),  # within the width of a bucket
        ({"p99_ms": 24}, {}, "p99 24 ms is over 2 times the champion's 10 ms"),
        ({"p99_ms": 5}, {"p99_ms": 1}, None),  # five times as slow, and within the machine's noise
        ({"p99_ms": 50, "requests": 19}, {}, None),
        ({"p99_ms": 50}, {"requests": 19}, None),
        ({"p99_ms": 50}, {"p99_ms": None}, None),
        ({"p99_ms": None}, {}, None),
        ({"refused": 1}, {}, None),
        ({"refused": 30}, {}, "30 of 130 requests were refused as the callers' fault, and 0 of 100 by the champion"),
        (
            {"requests": 0, "p99_ms": None, "refused": 20},
            {},
            "20 of 20 requests were refused as the callers' fault, and 0 of 100 by the champion",
        ),
        ({"refused": 30}, {"refused": 30}, None),  # callers who ask in vain, both versions alike
        ({"refused": 30}, {"requests": 0}, None),  # nothing to compare with
        ({"refused": 400}, {"requests": 0, "refused": 0}, None),
    ],
)
def test_alarms(new: dict[str, Any], old: dict[str, Any], said: str | None) -> None:
    assert alarmed(replace(WELL, **new), replace(WELL, **old), LIMITS) == said


@given(lower=st.floats(1, 1000), ratio=st.floats(1.01, 10), data=st.data())
def test_the_latency_alarm_never_rings_for_less_than_its_ratio(lower: float, ratio: float, data: st.DataObject) -> None:
    """Whatever edge of a bucket the two p99 are rounded up to: no ring unless the true ratio is above, and a sure one soon after."""
    from modelyard.serve import stats

    upper = lower * data.draw(st.floats(1, 100))
    new, old = (Seen(100, p99_ms=stats.upper_ms(stats.bucket_of(value))) for value in (upper, lower))
    rings = alarmed(new, old, LIMITS.model_copy(update={"latency_p99_ratio": ratio})) is not None
    assert not rings or upper / lower > ratio * 0.99
    assert rings or upper / lower < ratio * 1.45 or upper - lower < 15


def test_the_error_alarm_at_the_edge_of_a_strict_config() -> None:
    strict = Rollback(error_rate=0)
    assert alarmed(Seen(requests=1_000_000, errors=1), WELL, strict) is not None
    assert alarmed(Seen(requests=1_000_000), WELL, strict) is None
    assert alarmed(Seen(requests=10, errors=10), WELL, Rollback(error_rate=1)) is None
