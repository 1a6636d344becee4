from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from pydantic import ValidationError

from modelyard.config.spec import Rollback, Strategy
from modelyard.deploy.alarms import Seen, alarmed
from modelyard.deploy.rollout import MAX_HOLD, Contest, Look, Rollout, advance, begin, from_dict

LIMITS = Rollback(error_rate=0.01, latency_p99_ratio=2, min_requests=20)
WELL = Seen(requests=100, latency=((10.0, 100),))
STEPS = st.sets(st.integers(1, 99), min_size=1, max_size=4).map(lambda steps: tuple(sorted(steps)))
LINEAR = st.sampled_from([(50,), (25, 50, 75), (20, 40, 60, 80), (33, 66), (33, 67)])
STRATEGIES = st.one_of(
    st.just(Strategy(type="all_at_once")),
    STEPS.map(lambda steps: Strategy(type="canary", steps=steps)),
    LINEAR.map(lambda steps: Strategy(type="linear", steps=steps)),
    st.builds(lambda steps, share: Strategy(type="shadow", steps=steps, share=share), STEPS, st.floats(0.1, 1)),
    st.builds(lambda share, metric: Strategy(type="ab", steps=(share,), metric=metric), st.integers(1, 99), st.none() | st.just("r2")),
)
COUNTS = st.integers(0, 300)


@st.composite
def seen(draw: st.DrawFn) -> Seen:
    requests, compared = draw(COUNTS), draw(COUNTS)
    return Seen(
        requests=requests,
        errors=draw(st.one_of(st.just(0), st.integers(0, requests))),
        latency=tuple(draw(st.lists(st.tuples(st.floats(0.1, 5000), st.integers(1, 200)), max_size=3).map(sorted))) if requests else (),
        restarts=draw(st.sampled_from([0, 0, 0, 1])),
        refused=draw(st.one_of(st.just(0), COUNTS)),
        in_flight=draw(st.integers(0, 3)),
        compared=compared,
        disagreed=draw(st.one_of(st.just(0), st.integers(0, compared))),
    )


WORDS = st.sampled_from(["", "", "", "", "bob"])
CONTESTS = st.none() | st.builds(Contest, st.booleans(), st.just("r2 says so"))


class Machine(RuleBasedStateMachine):
    """Looks at a roll-out at rising moments of each step, with whatever may be seen."""

    @initialize(strategy=STRATEGIES, thresholds=st.builds(Rollback, min_requests=st.integers(1, 200)), predicted=st.floats(0, 1))
    def start(self, strategy: Strategy, thresholds: Rollback, predicted: float) -> None:
        self.thresholds = thresholds
        self.state = begin("2", "1", strategy, predicted)
        self.bakes = 0.0
        self.shares = [self.state.weights["2"]]
        self.names = [self.state.name]

    def look(self, new: Seen, old: Seen, passed: float, **more: Any) -> None:
        before, self.bakes = self.state, self.bakes + passed
        look = Look(new, old, self.bakes, **more)
        self.state = after = advance(before, look, self.thresholds)
        if before.status != "moving":
            assert after is before, "an ended roll-out stays ended"
            return
        self.judge(before, after, look)
        if after is not before:
            self.bakes = 0.0
            self.names += [after.name] if after.status == "moving" else []
        assert after is before or after != before
        self.shares.append(after.weights.get("2", 0))

    def judge(self, before: Rollout, after: Rollout, look: Look) -> None:
        usual = look.old if look.old.requests >= self.thresholds.min_requests else before.usual or Seen()
        alarm = alarmed(look.new, usual, self.thresholds, before.predicted) or look.drifted
        enough = look.new.requests >= self.thresholds.min_requests
        if look.aborted:
            assert (after.status, after.weights, after.reason) == ("rolled_back", {"1": 100}, f"asked by {look.aborted}"), "abort wins"
        elif alarm:
            assert (after.status, after.weights, after.reason) == ("rolled_back", {"1": 100}, alarm), "an alarm wins over all else"
        elif after is before:
            assert self.bakes < MAX_HOLD, "a step waits for MAX_HOLD bake times at most"
        else:
            word = before.kind == "ab" and before.metric is None and look.promoted and enough
            assert self.bakes >= 1 or word, "nothing moves before its bake time is over but by a person's word"
            assert enough or after.status == "rolled_back" or before.kind == "all_at_once", "no data never promotes"
            assert after.position <= before.position + 1
            if after.status == "promoted" and before.kind == "ab":
                judged = look.contest is not None and look.contest.won and self.bakes >= 1
                assert (look.promoted and before.metric is None) or judged, "a person or the labels decide"
            elif after.status == "promoted":
                assert before.percent == 100, "the last step is watched too"

    @rule(new=seen(), old=seen(), passed=st.floats(0, 1.5), drifted=WORDS, aborted=WORDS, promoted=WORDS, contest=CONTESTS)
    def look_at_anything(self, new: Seen, old: Seen, passed: float, **more: Any) -> None:
        self.look(new, old, passed, **more)

    @rule(passed=st.floats(0.1, 1.5))
    def look_at_a_good_version(self, passed: float) -> None:
        self.look(Seen(requests=500, latency=((10.0, 500),)), Seen(requests=500, latency=((10.0, 500),)), passed)

    @rule(passed=st.floats(0.1, 1.5), won=st.booleans())
    def look_when_labels_have_come(self, passed: float, won: bool) -> None:
        self.look(
            Seen(requests=500, latency=((10.0, 500),)),
            Seen(requests=500, latency=((10.0, 500),)),
            passed,
            contest=Contest(won, "r2 says so"),
        )

    @rule(passed=st.floats(0, 1.5), requests=COUNTS)
    def look_when_a_person_wants_it(self, passed: float, requests: int) -> None:
        self.look(Seen(requests=requests), Seen(), passed, promoted="ann")

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
        moving = self.shares if self.state.status != "rolled_back" else self.shares[:-1]
        assert moving == sorted(moving)
        assert len(set(self.names)) == len(self.names), "each step is watched once, under a name of its own"

    @precondition(lambda self: hasattr(self, "state"))
    @invariant()
    def it_survives_a_receipt(self) -> None:
        assert from_dict(json.loads(json.dumps(asdict(self.state)))) == self.state


TestMachine = Machine.TestCase


def walk(state: Rollout, new: Seen, old: Seen = WELL, bakes: float = 1) -> list[Rollout]:
    """Every state that a roll-out takes while the same is seen at each step."""
    found = [state]
    while (after := advance(found[-1], Look(new, old, bakes), LIMITS)) is not found[-1]:
        found.append(after)
    return found


@pytest.mark.parametrize("steps", [(25, 50), (33, 65), (10, 50, 90), (1,)])
def test_linear_steps_are_equal_as_far_as_whole_percents_can_be(steps: tuple[int, ...]) -> None:
    with pytest.raises(ValidationError, match="`linear` steps must be equal"):
        Strategy(type="linear", steps=steps)


def test_a_good_canary_goes_through_every_step_and_the_last_one_is_watched_too() -> None:
    states = walk(begin("2", "1", Strategy(steps=(10, 50))), WELL)
    shares = [{"2": 10, "1": 90}, {"2": 50, "1": 50}, {"2": 100, "1": 0}, {"2": 100}]
    assert [s.weights for s in states] == shares
    assert [s.status for s in states] == ["moving", "moving", "moving", "promoted"]
    assert states[-1].reason == "100 requests at 100%, 0 failed; no alarm"
    assert advance(states[2], Look(replace(WELL, errors=5), Seen(), 0.1), LIMITS).status == "rolled_back"


def test_the_last_step_knows_how_fast_the_champion_was() -> None:
    at_100 = walk(begin("2", "1", Strategy(steps=(10, 50))), WELL)[2]
    slow = advance(at_100, Look(replace(WELL, latency=((50.0, 100),)), Seen(), 0.5), LIMITS)  # the champion has no traffic any more
    assert slow.reason == "p99 50 ms is over 2 times the champion's 10 ms"
    before = replace(begin("2", "1", Strategy(type="all_at_once")), usual=WELL)
    assert advance(before, Look(replace(WELL, latency=((50.0, 100),)), Seen(), 0.5), LIMITS).status == "rolled_back"


def test_too_little_traffic_holds_and_goes_back_in_the_end() -> None:
    state = begin("2", "1", Strategy(steps=(10, 50)))
    few = Seen(requests=LIMITS.min_requests - 1, latency=((10.0, 19),))
    for bakes in (0.5, 1, MAX_HOLD - 0.1):
        assert advance(state, Look(few, WELL, bakes), LIMITS) is state
    ended = advance(state, Look(few, WELL, MAX_HOLD), LIMITS)
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
    assert advance(begin("2", "1", Strategy(type="all_at_once")), Look(new, Seen(), bakes), LIMITS).status == status


def test_a_shadow_is_asked_first_and_then_goes_by_steps() -> None:
    states = walk(begin("2", "1", Strategy(type="shadow", steps=(10, 50))), WELL)
    assert [s.weights for s in states] == [{"2": 0, "1": 100}, {"2": 10, "1": 90}, {"2": 50, "1": 50}, {"2": 100, "1": 0}, {"2": 100}]
    assert [(s.shadowed, s.name) for s in states[:3]] == [(True, "shadow"), (False, "10%"), (False, "50%")]
    assert states[-1].status == "promoted"
    other = advance(states[0], Look(replace(WELL, compared=100, disagreed=60), WELL, 0.1), LIMITS)
    assert (other.status, other.weights) == ("rolled_back", {"1": 100})
    assert not other.shadowed


AB = begin("2", "1", Strategy(type="ab", steps=(30,)))
BY_LABELS = begin("2", "1", Strategy(type="ab", steps=(30,), metric="r2"))
WON, LOST = Contest(True, "r2 0.9 against 0.8"), Contest(False, "r2 0.7 against 0.8")


@pytest.mark.parametrize(
    ("state", "look", "status", "reason"),
    [
        (AB, Look(WELL, WELL, 5), "moving", ""),
        (AB, Look(WELL, WELL, MAX_HOLD), "rolled_back", "nobody decided within 20 bake times"),
        (AB, Look(WELL, WELL, 0.1, promoted="ann"), "promoted", "decided by ann"),
        (AB, Look(replace(WELL, requests=3), WELL, 5, promoted="ann"), "moving", ""),
        (AB, Look(WELL, WELL, 0.1, promoted="ann", aborted="bob"), "rolled_back", "asked by bob"),
        (AB, Look(replace(WELL, errors=9), WELL, 5, promoted="ann"), "rolled_back", "9 of 100 requests failed, over the allowed 1.0%"),
        (BY_LABELS, Look(WELL, WELL, 0.9, contest=WON), "moving", ""),
        (BY_LABELS, Look(WELL, WELL, 2, promoted="ann"), "moving", ""),  # its labels decide
        (BY_LABELS, Look(WELL, WELL, 1, contest=WON), "promoted", "r2 0.9 against 0.8"),
        (BY_LABELS, Look(WELL, WELL, 1, contest=LOST), "rolled_back", "r2 0.7 against 0.8"),
        (BY_LABELS, Look(replace(WELL, requests=3), WELL, 1, contest=WON), "moving", ""),
        (BY_LABELS, Look(WELL, WELL, 19), "moving", ""),
        (BY_LABELS, Look(WELL, WELL, MAX_HOLD), "rolled_back", "too few labels to judge r2 within 20 bake times"),
        (BY_LABELS, Look(WELL, WELL, 1, contest=WON, drifted="the score moved"), "rolled_back", "the score moved"),
        (BY_LABELS, Look(Seen(), WELL, MAX_HOLD), "rolled_back", "only 0 of 20 requests came in 20 bake times; no data never promotes"),
    ],
)
def test_an_ab_test_is_decided_by_labels_or_a_person(state: Rollout, look: Look, status: str, reason: str) -> None:
    after = advance(state, look, LIMITS)
    assert (after.status, after.reason) == (status, reason)
    assert after.weights == {"moving": {"2": 30, "1": 70}, "promoted": {"2": 100}, "rolled_back": {"1": 100}}[status]


def test_a_persons_word_skips_no_step_of_a_canary() -> None:
    state = begin("2", "1", Strategy(steps=(10, 50)))
    assert advance(state, Look(WELL, WELL, 0.5, promoted="ann"), LIMITS) is state
