"""Years of a model's life on a clock of its own: the governor neither thrashes nor starves it, and forgets nothing at a restart."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from modelyard.flows.monitor import governing
from modelyard.retrain.governor import LONGEST_BACK_OFF, back_off, retrains_in_month

from .world import DAY, T0, Episode, Story, Weather, World, config

HOUR = timedelta(hours=1)
FREEZES = [
    {"schedule_expression": "0 0 20 12 *", "length": "15d", "reason": "the holidays"},
    {"start": "2018-05-01T00:00:00", "end": "2018-05-20T00:00:00"},
]
YEARS = 10


def sound(story: Story) -> None:
    """What no weather may break."""
    policy, zone = story.settings.retrain, ZoneInfo(story.settings.timezone)
    retrains = story.retrains
    assert all(gap >= policy.cooldown for gap in story.gaps()), "the cool-down holds"
    months = {(local.year, local.month) for local in (at.astimezone(zone) for at in retrains)}
    for year, month in months:
        some = datetime(year, month, 15, tzinfo=UTC)
        assert retrains_in_month(retrains, some, story.settings.timezone) <= policy.budget.per_month
    assert all(governing.frozen(story.settings, at) is None for at in retrains), "nothing is begun in a freeze"
    assert not any(began < at < ended for at in retrains for began, ended in story.busy), "nothing is begun beside a build"
    for before, at in pairwise([T0, *retrains]):
        if policy.on == ("drift",):
            assert story.shop.labels(at) - story.shop.labels(before) >= policy.min_new_labels, "there is something to learn from"
            words = [w for w in story.shop.book.words["drift"] if before < datetime.fromisoformat(w.end) <= at]
            assert sum(w.status == "violated" for w in words) >= policy.after.num_violation_windows, "something new was said"
    if policy.on == ("drift",):
        assert all(gap >= back_off(policy.cooldown, n) for gap, n in zip(story.gaps(), story.fruitless_before[1:], strict=True))
    assert all(decision.reason.endswith(".") for _, decision in story.decisions)
    assert sum(told.retrain for told in story.told) == len(retrains), "each has its reason in the journal"


def bound(story: Story, weather: Weather, step: timedelta) -> timedelta:
    """How long a violation that lasts waits at the most, with traffic and labels coming in."""
    policy = story.settings.retrain
    labels = math.ceil(max(policy.min_new_labels, weather.enough) / weather.labels_a_day) * DAY + weather.label_delay
    freeze = max((f.length or timedelta(days=19) for f in policy.freeze), default=timedelta(0))
    brakes = max(policy.cooldown, LONGEST_BACK_OFF) + timedelta(days=31) + freeze + labels
    return brakes + 2 * (weather.build + weather.person) + (policy.after.num_windows + 2) * step


# -- no thrash ------------------------------------------------------------------------------------------------------------------


def test_quiet_years_retrain_nothing_and_write_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    story = World(monkeypatch, config(DAY), Weather(), DAY).live(YEARS)
    assert story.retrains == [] and story.told == []


def test_drift_that_a_retraining_heals_is_retrained_once(monkeypatch: pytest.MonkeyPatch) -> None:
    episodes = tuple(Episode(T0 + n * 200 * DAY, T0 + 20 * 365 * DAY, heals=True) for n in range(1, 18))
    story = World(
        monkeypatch, config(DAY, cooldown="2d", after={"num_windows": 5, "num_violation_windows": 4}), Weather(episodes), DAY
    ).live(YEARS)
    sound(story)
    assert len(story.retrains) == len(story.promoted) == len(episodes)
    waits = [at - episode.start for at, episode in zip(story.retrains, episodes, strict=True)]
    assert max(waits) <= 5 * DAY, "four violated windows of five, and labels were there"


def test_drift_that_no_retraining_heals_asks_ever_more_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    weather = Weather((Episode(T0 + 30 * DAY, T0 + 9999 * DAY, heals=False),), labels_a_day=2000)
    story = World(monkeypatch, config(HOUR, cooldown="6h"), weather, HOUR).live(2)
    sound(story)
    gaps = story.gaps()
    assert gaps == sorted(gaps), "each gap is at least as long as the one before"
    assert gaps[0] < DAY and max(gaps) <= LONGEST_BACK_OFF + HOUR
    assert len(story.retrains) <= 8 + 2 * 366 / 30, "else it would be 2,800"


def test_a_single_false_alarm_in_three_asks_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """1% of quiet windows cry wolf: by `after`, not one of them retrains anything; without it, each month one may."""
    patient = World(monkeypatch, config(DAY, after={"num_windows": 3, "num_violation_windows": 3}), Weather(wolf=0.01), DAY, seed=1).live(
        YEARS
    )
    assert patient.retrains == []
    hasty = World(monkeypatch, config(DAY), Weather(wolf=0.01), DAY, seed=1).live(YEARS)
    sound(hasty)
    assert 10 < len(hasty.retrains) <= 45


def test_waiting_for_a_person_neither_repeats_nor_forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    weather = Weather((Episode(T0 + 30 * DAY, T0 + 9999 * DAY, heals=True),), person=40 * DAY)
    story = World(monkeypatch, config(DAY, cooldown="1d"), weather, DAY).live(1)
    sound(story)
    assert len(story.promoted) == 1 and len(story.retrains) <= 2
    assert "approval" in {told.brake for told in story.told}
    assert all(at <= story.promoted[0] for at in story.retrains), "words on the version that was replaced ask for nothing"


# -- no starvation --------------------------------------------------------------------------------------------------------------


def test_a_month_of_budget_and_a_freeze_put_off_and_never_off_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drift begins in the holidays' freeze: it is acted upon as soon as that ends."""
    start = datetime(2016, 12, 22, tzinfo=UTC)
    weather = Weather((Episode(start, T0 + 9999 * DAY, heals=True),))
    story = World(monkeypatch, config(HOUR, freeze=FREEZES, budget={"per_month": 1}), weather, HOUR).live(1.2)
    sound(story)
    thaw = datetime(2016, 12, 20, 5, tzinfo=UTC) + 15 * DAY  # midnight in New York
    assert story.retrains == [thaw] and [told.brake for told in story.told][:2] == ["freeze", ""]
    assert "the holidays" in story.told[0].reason


def test_a_schedule_acts_once_an_instant_and_once_for_those_it_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    on = {"on": ["schedule"], "schedule_expression": "0 6 * * 1", "cooldown": "1d", "min_new_labels": 10**6}
    story = World(monkeypatch, config(HOUR, **on), Weather(), HOUR).live(2)
    sound(story)
    zone = ZoneInfo("America/New_York")
    assert {(at.astimezone(zone).weekday(), at.astimezone(zone).hour) for at in story.retrains} == {(0, 6)}
    assert set(story.gaps()) <= {7 * DAY, 7 * DAY - HOUR, 7 * DAY + HOUR}, "but for the two days when the clocks change"
    assert len(story.retrains) == 104, "challengers that lose hold back no schedule"
    frozen = {**on, "freeze": [{"schedule_expression": "0 0 1 6 *", "length": "60d"}]}
    story = World(monkeypatch, config(HOUR, **frozen), Weather(), HOUR).live(1)
    sound(story)
    assert sum(at >= datetime(2016, 7, 31, tzinfo=UTC) for at in story.retrains[:-20]) >= 1
    thaw = datetime(2016, 6, 1, 4, tzinfo=UTC) + 60 * DAY
    assert thaw in story.retrains, "what was missed in the freeze acts once, at its end"


def test_new_labels_ask_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    on = {"on": ["new_data"], "new_data": 3000, "min_new_labels": 1, "cooldown": "1d"}
    story = World(monkeypatch, config(DAY, **on), Weather(labels_a_day=100), DAY).live(2)
    sound(story)
    assert set(story.gaps()) == {30 * DAY} and {told.because for told in story.told} == {"new_data"}
    assert "3,000 new labels came, and 3,000 ask by themselves" in story.told[0].reason


def test_an_hour_of_each_kind_for_years_is_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything at once, each hour for two years: 17,500 questions."""
    episodes = tuple(Episode(T0 + n * 90 * DAY, T0 + (n * 90 + 60) * DAY, heals=n % 2 == 0) for n in range(1, 12))
    outages = tuple((T0 + n * 77 * DAY, T0 + (n * 77 + 6) * DAY) for n in range(1, 14))
    weather = Weather(episodes, outages, wolf=0.01, person=2 * DAY, labels_a_day=480)
    on = {"on": ["drift", "schedule", "new_data"], "schedule_expression": "0 3 1 * *", "new_data": 8000, "freeze": FREEZES}
    story = World(monkeypatch, config(HOUR, **on, after={"num_windows": 6, "num_violation_windows": 4}), weather, HOUR).live(2, (0.3, 0.6))
    sound(story)
    assert {told.because for told in story.told if told.retrain} == {"drift", "schedule", "new_data"}


# -- whatever the weather -------------------------------------------------------------------------------------------------------

POLICIES = st.fixed_dictionaries(
    {
        "cooldown": st.sampled_from(["0s", "1d", "10d", "60d"]),
        "min_new_labels": st.sampled_from([1, 500, 5000]),
        "budget": st.fixed_dictionaries({"per_month": st.sampled_from([1, 3, 20])}),
        "after": st.sampled_from([(1, 1), (3, 2), (7, 5)]).map(lambda n: {"num_windows": n[0], "num_violation_windows": n[1]}),
        "freeze": st.sampled_from([[], FREEZES[:1], FREEZES]),
    }
)


@st.composite
def weathers(draw: st.DrawFn) -> Weather:
    episodes, outages, day = [], [], 5
    while day < YEARS * 365 and len(episodes) < 12:
        day += draw(st.integers(5, 400))
        length = draw(st.integers(1, 500))
        episodes.append(Episode(T0 + day * DAY, T0 + (day + length) * DAY, draw(st.booleans())))
        day += length
        if draw(st.booleans()):
            out = day + draw(st.integers(-200, 50))
            outages.append((T0 + out * DAY, T0 + (out + draw(st.integers(1, 60))) * DAY))
    return Weather(
        tuple(episodes),
        tuple(outages),
        labels_a_day=draw(st.sampled_from([20, 200, 2000])),
        wolf=draw(st.sampled_from([0.0, 0.01, 0.1])),
        build=draw(st.sampled_from([timedelta(hours=3), 3 * DAY])),
        person=draw(st.sampled_from([timedelta(0), 5 * DAY])),
    )


@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # ten years a try: a smaller example is not worth the wait
)
@given(POLICIES, weathers(), st.integers(0, 9), st.lists(st.floats(0.01, 0.99), max_size=4))
def test_ten_years_of_any_weather(
    monkeypatch: pytest.MonkeyPatch, policy: dict[str, Any], weather: Weather, seed: int, restarts: list[float]
) -> None:
    story = World(monkeypatch, config(DAY, **policy), weather, DAY, seed).live(YEARS)
    sound(story)
    again = World(monkeypatch, config(DAY, **policy), weather, DAY, seed).live(YEARS, restarts)
    assert again.decisions == story.decisions, "a restart at any time changes no decision"
    end, patience = story.decisions[-1][0], bound(story, weather, DAY)
    unheard = [e for e in weather.episodes if min(e.end, end) - e.start > patience and not _outage(weather, e)]
    for episode in unheard:
        assert any(episode.start <= at < episode.end for at in story.retrains), f"a violation that lasts is acted upon: {episode}"


def _outage(weather: Weather, episode: Episode) -> bool:
    return any(a < episode.end and b > episode.start - weather.label_delay for a, b in weather.outages)
