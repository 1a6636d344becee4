"""The governor: each brake, each reason, and ten years of months under any weather."""

from __future__ import annotations

import itertools
import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from modelyard.config.spec import Budget, Retrain
from modelyard.config.spec.retrain import Persistence
from modelyard.retrain.governor import Decision, Facts, Frozen, back_off, challenge, decide, retrains_in_month

NOW = datetime(2013, 6, 1, tzinfo=UTC)
DAY = timedelta(days=1)
POLICY = Retrain(on=("drift", "performance"), cooldown=7 * DAY, min_new_labels=500, budget=Budget(per_month=2))
VIOLATED = (("drift", "violated", NOW),)


def ask(policy: Retrain = POLICY, **known: Any) -> Decision:
    facts: dict[str, Any] = {"now": NOW, "verdicts": VIOLATED, "last_retrain": None, "retrains_this_month": 0}
    return decide(policy, Facts(**(facts | {"new_labels": 500, "building": False} | known)))


def test_a_violation_with_labels_retrains_and_says_why() -> None:
    decision = ask()
    assert decision == Decision(True, str(decision), "drift", NOW)
    assert str(decision) == "Retraining: drift violated in the window up to 2013-06-01 00:00 UTC, and 500 new labels to learn from."


@pytest.mark.parametrize(
    ("known", "reason"),
    [
        ({"building": True}, "No retraining yet, a build of this model is under way (drift"),
        ({"building": True, "waiting": "7"}, "No retraining yet, version 7 waits for approval (drift"),
        ({"last_retrain": NOW - 6 * DAY}, "the last retraining was 6 d ago and the cool-down is 7 d"),
        ({"last_retrain": NOW - timedelta(hours=30)}, "the last retraining was 1 d 6 h ago"),
        ({"last_retrain": NOW - timedelta(seconds=1)}, "the last retraining was 1 s ago"),
        ({"new_labels": 499}, "499 new labels came and 500 are needed"),
        ({"new_labels": -1}, "0 new labels came and 500 are needed"),
        ({"retrains_this_month": 2}, "this month's budget of 2 retrainings is used up"),
    ],
)
def test_each_brake_holds_and_says_so(known: dict[str, Any], reason: str) -> None:
    decision = ask(**known)
    assert not decision.retrain and reason in decision.reason and decision.because == "drift"


@pytest.mark.parametrize(
    "known",
    [{"last_retrain": NOW - 7 * DAY}, {"new_labels": 500}, {"retrains_this_month": 1}, {"last_retrain": NOW - timedelta(days=3000)}],
)
def test_at_its_bound_a_brake_lets_go(known: dict[str, Any]) -> None:
    assert ask(**known).retrain


def test_a_retraining_in_the_future_is_still_cooling_down() -> None:
    assert not ask(last_retrain=NOW + DAY, verdicts=(("drift", "violated", NOW),)).retrain


@pytest.mark.parametrize("status", ["healthy", "warning", "unknown", "anything"])
def test_only_a_violation_asks(status: str) -> None:
    decision = ask(verdicts=(("drift", status, NOW), ("performance", status, NOW)))
    assert not decision.retrain and decision.because is None
    assert decision.reason == "No retraining: neither drift nor performance is violated in a window since the last retraining."


def test_off_means_off() -> None:
    assert ask(Retrain()) == Decision(False, "No retraining: `retrain.on` is empty.")


def test_only_what_the_policy_names_asks() -> None:
    decision = ask(Retrain(on=("performance",), min_new_labels=1))
    assert decision.reason == "No retraining: performance is not violated in a window since the last retraining."


def test_the_newest_known_verdict_of_a_kind_speaks() -> None:
    old, new = ("drift", "violated", NOW - 2 * DAY), ("drift", "healthy", NOW - DAY)
    for verdicts in ((old, new), (new, old)):
        assert not ask(verdicts=verdicts).retrain, "it has healed"
    for verdicts in ((old, ("drift", "unknown", NOW)), (("drift", "unknown", NOW), old)):
        decision = ask(verdicts=verdicts)
        assert decision.retrain and decision.window_end == NOW - 2 * DAY, "no data heals nothing"
    for verdicts in ((old, ("drift", "healthy", old[2])), (("drift", "healthy", old[2]), old)):
        assert ask(verdicts=verdicts).retrain, "of two on one window the worse holds"


def test_a_verdict_acts_once() -> None:
    end = NOW - 10 * DAY
    window = (("drift", "violated", end),)
    assert ask(verdicts=window, last_retrain=end - DAY).retrain
    assert not ask(verdicts=window, last_retrain=end).retrain, "it was the one that acted"
    assert not ask(verdicts=window, last_retrain=end + DAY).retrain, "it speaks of the replaced model"


def test_a_window_that_ends_in_the_future_is_not_heard() -> None:
    assert not ask(verdicts=(("drift", "violated", NOW + DAY),)).retrain


def test_harm_is_named_before_its_sign() -> None:
    decision = ask(verdicts=(("drift", "violated", NOW), ("performance", "violated", NOW - DAY)))
    assert decision.because == "performance" and decision.window_end == NOW - DAY
    assert "performance violated" in decision.reason and "and drift violated" in decision.reason


def test_naive_and_foreign_times_are_understood() -> None:
    naive = NOW.replace(tzinfo=None)
    east = NOW.astimezone(timezone(timedelta(hours=9)))
    assert ask(now=naive, verdicts=(("drift", "violated", east),), last_retrain=naive - 7 * DAY).retrain


def test_a_month_is_the_calendars_in_its_own_zone() -> None:
    history = [datetime(2013, 6, 1, 3, 59, tzinfo=UTC), datetime(2013, 6, 1, 4, 0, tzinfo=UTC), datetime(2012, 6, 15, tzinfo=UTC)]
    now = datetime(2013, 6, 20, tzinfo=UTC)
    assert retrains_in_month(history, now, "America/New_York") == 1
    assert retrains_in_month(history, now, "UTC") == 2


ANY_TIME = st.datetimes(timezones=st.one_of(st.none(), st.just(UTC), st.timezones()))
ANY_VERDICT = st.tuples(
    st.sampled_from(["drift", "performance", "", "bias"]), st.sampled_from(["violated", "unknown", "healthy", "warning", "?"]), ANY_TIME
)


@settings(max_examples=300, deadline=None)
@given(
    st.builds(
        Facts,
        now=ANY_TIME,
        verdicts=st.lists(ANY_VERDICT, max_size=6).map(tuple),
        last_retrain=st.one_of(st.none(), ANY_TIME),
        retrains_this_month=st.integers(-1, 5),
        new_labels=st.integers(-5, 1000),
        building=st.booleans(),
    ),
    st.sets(st.sampled_from(["drift", "performance"])).map(lambda on: tuple(sorted(on))),
)
def test_it_is_total_and_always_has_a_reason(facts: Facts, on: Any) -> None:
    policy = POLICY.model_copy(update={"on": on})
    decision = decide(policy, facts)
    assert decision == decide(policy, facts) and decision.reason.endswith(".")
    if decision.retrain:
        assert (decision.because, "violated") in {(kind, status) for kind, status, _ in facts.verdicts} and decision.because in on
        assert not facts.building and facts.new_labels >= 500 and facts.retrains_this_month < 2


MONTHS = [datetime(2013 + m // 12, m % 12 + 1, 1, tzinfo=UTC) for m in range(121)]
MONTH = st.tuples(
    st.sampled_from(["violated", "violated", "healthy", "warning", "unknown"]),
    st.sampled_from(["violated", "healthy", "unknown"]),
    st.integers(0, 900),  # labels that came in the month
    st.integers(0, 2),  # months until the build that it may start has ended
)


def simulate(policy: Retrain, weather: list[tuple[str, str, int, int]], looks: int) -> tuple[list[datetime], list[int]]:
    """Ten years: each month ends with two verdicts, and the governor is asked `looks` times in the month after, a day apart.

    Returns when it retrained, and for each month how many labels were at hand at its end.
    """
    verdicts: list[tuple[str, str, datetime]] = []
    retrains: list[datetime] = []
    labels, busy_until, at_hand = 0, MONTHS[0], []
    for month, (drift, performance, came, busy) in enumerate(weather):
        end = MONTHS[month + 1]
        verdicts += [("drift", drift, end), ("performance", performance, end - timedelta(days=20))]
        labels += came
        for look in range(looks):
            now = end + look * DAY
            facts = Facts(
                now,
                tuple(verdicts[-40:]),
                retrains[-1] if retrains else None,
                retrains_in_month(retrains, now, "UTC"),
                labels,
                now < busy_until,
            )
            if decide(policy, facts).retrain:
                assert now >= busy_until and labels >= policy.min_new_labels
                retrains.append(now)
                labels, busy_until = 0, now + timedelta(days=12 * busy)
        at_hand.append(labels)
    return retrains, at_hand


@settings(max_examples=40, deadline=None)
@given(
    st.lists(MONTH, min_size=120, max_size=120),
    st.integers(0, 200).map(lambda days: timedelta(days=days)),
    st.integers(1, 3),
    st.integers(1, 2000),
    st.integers(1, 28),
)
def test_ten_years_never_break_the_brakes(weather: Any, cooldown: timedelta, budget: int, labels: int, looks: int) -> None:
    policy = Retrain(on=("drift", "performance"), cooldown=cooldown, min_new_labels=labels, budget=Budget(per_month=budget))
    retrains, _ = simulate(policy, weather, looks)
    assert all(b - a >= cooldown for a, b in itertools.pairwise(retrains))
    for year_month in {(r.year, r.month) for r in retrains}:
        assert sum((r.year, r.month) == year_month for r in retrains) <= budget
    acted = [max(end for end in MONTHS if end <= at) for at in retrains]
    assert len(acted) == len(set(acted)), "the verdicts of one month acted twice"


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 200), st.integers(1, 2000), st.integers(100, 900), st.integers(1, 28), st.sampled_from(["healthy", "unknown"]))
@example(0, 1, 900, 1, "unknown")
def test_a_lasting_violation_is_never_starved(cooldown: int, needed: int, came: int, looks: int, other: str) -> None:
    """With labels coming in and a violation that stays, the gap is the cool-down or the wait for labels, and one month more."""
    policy = Retrain(on=("drift",), cooldown=cooldown * DAY, min_new_labels=needed, budget=Budget(per_month=1))
    retrains, _ = simulate(policy, [("violated", other, came, 0)] * 120, looks)
    longest = max(timedelta(days=cooldown), 31 * DAY * math.ceil(needed / came)) + 62 * DAY
    instants = [MONTHS[0], *retrains, MONTHS[-1]]
    assert max(b - a for a, b in itertools.pairwise(instants)) <= longest


def versus(old: float | None, new: float | None, rows: int = 1200, greater: bool = True, differences: list[float] | None = None) -> Any:
    return challenge({"m": old}, {"m": new}, "m", greater, rows, differences=differences or ())  # type: ignore[dict-item]


def test_a_better_challenger_is_promoted_and_the_reason_has_the_numbers() -> None:
    result = versus(0.70, 0.72, differences=[i / 1000 for i in range(-100, 900)])
    assert result.promote and str(result) == result.reason
    assert result.reason == (
        "The challenger is promoted: m 0.72 against 0.7 on the same 1,200 rows, 0.02 better "
        "(better in 90% of 1,000 resamples; 5% of them are at or below -0.05)."
    )
    assert result.gain == pytest.approx(0.02) and result.lower == pytest.approx(-0.05005) and result.wins == 0.899


def test_direction_counts() -> None:
    result = versus(0.70, 0.72, greater=False, differences=[0.01, 0.02, 0.03])
    assert not result.promote and result.gain == pytest.approx(-0.02) and result.wins == 0.0
    assert result.reason.startswith("The champion stays: the challenger's m 0.72 against 0.7 on the same 1,200 rows, 0.02 worse")
    assert versus(0.72, 0.70, greater=False).promote


def test_a_gain_that_may_be_chance_keeps_the_champion() -> None:
    result = versus(0.70, 0.7001, differences=[0.001] * 52 + [-0.001] * 48)
    assert not result.promote and result.wins == 0.52
    assert (
        result.reason.startswith("The champion stays: the challenger's m 0.7001 against 0.7")
        and "; 80% of them are needed." in result.reason
    )
    assert versus(0.70, 0.7001, differences=[0.001] * 80 + [-0.001] * 20).promote


def test_a_draw_keeps_the_champion() -> None:
    assert not versus(0.7, 0.7).promote and "no better" in versus(0.7, 0.7).reason


@pytest.mark.parametrize(("old", "new", "rows"), [(None, 0.9, 9), (0.5, None, 9), (math.nan, 0.9, 9), (0.5, math.inf, 9), (0.5, 0.9, 0)])
def test_what_cannot_be_compared_is_not_promoted(old: float | None, new: float | None, rows: int) -> None:
    result = versus(old, new, rows)
    assert not result.promote and result.gain is None and "could not be measured" in result.reason


def test_undefined_resamples_are_left_out() -> None:
    result = versus(0.5, 0.6, differences=[math.nan, 0.1, math.nan])
    assert result.wins == 1.0 and "of 1 resamples" in result.reason
    assert versus(0.5, 0.6, differences=[math.nan]).lower is None


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=60))
def test_the_lower_bound_is_numpys_quantile(differences: list[float]) -> None:
    import numpy as np

    assert versus(0.1, 0.2, differences=differences).lower == pytest.approx(float(np.quantile(differences, 0.05)), abs=1e-12)


# -- hysteresis, freezes, causes of their own -----------------------------------------------------------------------------------


def windows(*statuses: str) -> tuple[tuple[str, str, datetime], ...]:
    """Drift's words on so many days, the newest last."""
    return tuple(("drift", status, NOW - (len(statuses) - 1 - i) * DAY) for i, status in enumerate(statuses))


@pytest.mark.parametrize(
    ("statuses", "retrains"),
    [
        (("violated", "violated", "violated"), True),
        (("violated", "healthy", "violated"), True),
        (("violated", "violated", "healthy"), True),
        (("violated", "healthy", "healthy"), False),
        (("violated", "violated", "healthy", "healthy"), False),
        (("violated", "unknown", "violated"), True),
        (("violated", "violated"), True),
        (("violated",), False),
    ],
)
def test_so_many_of_the_last_windows_ask(statuses: tuple[str, ...], retrains: bool) -> None:
    policy = POLICY.model_copy(update={"after": Persistence(num_windows=3, num_violation_windows=2)})
    decision = ask(policy, verdicts=windows(*statuses))
    assert decision.retrain == retrains
    if retrains:
        assert "drift violated in " in decision.reason and " windows, up to 2013-0" in decision.reason


def test_windows_before_the_last_retraining_do_not_add_up_with_later_ones() -> None:
    policy = POLICY.model_copy(update={"after": Persistence(num_windows=3, num_violation_windows=2), "cooldown": timedelta(0)})
    assert ask(policy, verdicts=windows("violated", "violated"), last_retrain=NOW - 2 * DAY).retrain
    assert not ask(policy, verdicts=windows("violated", "violated"), last_retrain=NOW - DAY).retrain


def test_the_cool_down_grows_while_nothing_changes_and_stays_bounded() -> None:
    day = timedelta(days=1)
    assert [back_off(day, n) for n in range(8)] == [day, 2 * day, 4 * day, 8 * day, 16 * day, 30 * day, 30 * day, 30 * day]
    assert back_off(timedelta(0), 0) == timedelta(0) and back_off(timedelta(0), 1) == timedelta(hours=2), "no loop without a cool-down"
    assert back_off(60 * day, 9) == 60 * day, "a longer one of the config's own stays"
    assert back_off(day, 10**9) == 30 * day


def test_a_grown_cool_down_says_so_and_holds_no_schedule_back() -> None:
    held = ask(last_retrain=NOW - 8 * DAY, fruitless=2)
    assert held.brake == "cooldown" and "the cool-down is 28 d, grown from 7 d since the last 2 retrainings changed nothing" in held.reason
    scheduled = Retrain(on=("drift", "schedule"), schedule_expression="0 6 * * 1", cooldown=7 * DAY)
    assert ask(scheduled, last_retrain=NOW - 8 * DAY, fruitless=2, tick=NOW, verdicts=()).because == "schedule"


def test_a_freeze_holds_and_says_until_when_and_why() -> None:
    decision = ask(frozen=Frozen(NOW + 3 * DAY, "the holidays"))
    assert (decision.retrain, decision.brake, decision.because) == (False, "freeze", "drift")
    assert "retraining is frozen until 2013-06-04 00:00 UTC: the holidays" in decision.reason


def test_a_schedule_asks_by_an_instant_since_the_last_retraining_whatever_the_labels() -> None:
    policy = Retrain(on=("schedule",), schedule_expression="0 6 * * 1", cooldown=DAY)
    assert ask(policy, verdicts=(), tick=None).reason == "No retraining: the schedule has not come round."
    decision = ask(policy, verdicts=(), tick=NOW - 2 * DAY, last_retrain=NOW - 5 * DAY, new_labels=0)
    assert decision.retrain and decision.because == "schedule" and decision.window_end == NOW - 2 * DAY
    assert decision.reason.startswith("Retraining: the schedule came round at 2013-05-30 00:00 UTC")
    assert not ask(policy, verdicts=(), tick=NOW - 5 * DAY, last_retrain=NOW - 5 * DAY).retrain, "it was the one that acted"
    assert not ask(policy, verdicts=(), tick=NOW + DAY).retrain, "it has not come yet"


def test_new_labels_ask_and_no_other_brake_is_loosened() -> None:
    policy = Retrain(on=("new_data",), new_data=1000, min_new_labels=1)
    assert ask(policy, verdicts=(), new_labels=999).reason == "No retraining: fewer than 1,000 new labels came."
    decision = ask(policy, verdicts=(), new_labels=1000)
    assert decision.retrain and decision.because == "new_data"
    assert decision.reason == "Retraining: 1,000 new labels came, and 1,000 ask by themselves."
    assert ask(policy, verdicts=(), new_labels=1000, building=True).brake == "building"
    assert ask(policy.model_copy(update={"min_new_labels": 5000}), verdicts=(), new_labels=1000).brake == "labels"


def test_labels_that_were_not_counted_yet_stand_for_enough() -> None:
    """So that they are counted only where it comes to them."""
    assert ask(new_labels=None).retrain and ask(Retrain(on=("new_data",), new_data=9), new_labels=None, verdicts=()).retrain
    assert ask(new_labels=None, building=True).brake == "building"
