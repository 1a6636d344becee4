"""A model's years in memory: the real governor, the real facts and the real fold of events, in a world that is made up.

Windows end one after another. Drift comes in episodes, some of which a retraining heals and others not; traffic and labels stop in
outages; alarms cry wolf; a build takes its time, and a person theirs. The clock is moved by hand.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from modelyard.clock import ReplayClock
from modelyard.config.spec import Config
from modelyard.events import (
    ApprovalGiven,
    ApprovalRequested,
    ConfigInForce,
    Deployed,
    Event,
    Promoted,
    RetrainDecided,
    RunEnded,
    RunStarted,
)
from modelyard.flows.monitor import governing
from modelyard.monitor.book import Word
from modelyard.registry.journal import Entry
from modelyard.registry.state import ModelState, State, fold, fold_all
from modelyard.retrain.governor import Decision

T0 = datetime(2016, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Episode:
    """Drift from `start` on; until `end`, or until a retraining has learned from it, where `heals`."""

    start: datetime
    end: datetime
    heals: bool


@dataclass(frozen=True)
class Weather:
    """What happens, whatever the governor does."""

    episodes: tuple[Episode, ...] = ()
    outages: tuple[tuple[datetime, datetime], ...] = ()
    labels_a_day: int = 200
    label_delay: timedelta = 2 * DAY
    wolf: float = 0.0  # share of quiet windows that are violated by chance
    build: timedelta = timedelta(hours=3)
    person: timedelta = timedelta(0)  # how long a person thinks about a challenger
    enough: int = 300  # labels of an episode that a challenger must have learned from to be better


def config(step: timedelta, **retrain: Any) -> Config:
    window = f"{int(step.total_seconds() // 60)}m"
    return Config.model_validate(
        {
            "version": 1,
            "model": {"name": "m", "problem_type": "regression"},
            "timezone": "America/New_York",
            "data": {"source": {"using": "csv", "location": "data.csv"}, "target_col": "y"},
            "train": {"framework": "sklearn", "entry_point": "train.py"},
            "monitor": {"window": window},
            "retrain": {"on": ["drift"], "min_new_labels": 500, **retrain},
        }
    )


class Shelf:
    """As the book of windows answers."""

    def __init__(self) -> None:
        self.words: dict[str, list[Word]] = {}

    def newest(self, model: str, monitor: str, count: int, *, known: bool = False) -> list[Word]:
        found: list[Word] = []
        for word in reversed(self.words.get(monitor, [])):
            if len(found) == count:
                break
            if not (known and word.status == "unknown"):
                found.append(word)
        return found[::-1]


class Shop:
    """As much of a workshop as `governing.govern` asks for. What is recorded is folded, and kept for a restart."""

    def __init__(self, settings: Config, start: datetime, entries: Iterable[Entry] = ()) -> None:
        self.clock, self.book, self.settings = ReplayClock(start), Shelf(), settings
        self.entries: list[Entry] = list(entries)
        self.state: State = fold_all(self.entries)
        self.came: list[tuple[datetime, int]] = []  # labels: when, and how many by then

    def model(self, name: str) -> ModelState:
        return self.state[name]

    def config(self, name: str) -> Config:
        return self.settings

    def record(self, events: Iterable[Event]) -> None:
        for event in events:
            at = self.clock.now().isoformat()
            entry = Entry(len(self.entries) + 1, at, at, event, "")
            self.entries.append(entry)
            self.state = fold(self.state, entry)

    def labelled_since(self, since: datetime | None) -> int:
        return self.labels(self.clock.now()) - (self.labels(since) if since is not None else 0)

    def labels(self, until: datetime) -> int:
        """How many had come by an instant."""
        at = bisect_right(self.came, until, key=lambda one: one[0])
        return self.came[at - 1][1] if at else 0


@dataclass
class Story:
    """What came of it: a decision a window, and when retrainings began."""

    settings: Config
    shop: Shop
    decisions: list[tuple[datetime, Decision]] = field(default_factory=list)
    promoted: list[datetime] = field(default_factory=list)
    fruitless_before: list[int] = field(default_factory=list)  # of each retraining, those in a row before it
    busy: list[tuple[datetime, datetime]] = field(default_factory=list)

    @property
    def retrains(self) -> list[datetime]:
        return [at for at, decision in self.decisions if decision.retrain]

    @property
    def told(self) -> list[RetrainDecided]:
        return [entry.event for entry in self.shop.entries if isinstance(entry.event, RetrainDecided)]

    def gaps(self) -> list[timedelta]:
        return [b - a for a, b in pairwise(self.retrains)]


class World:
    """One model's years; `live` plays them. `restarts`: shares of the time at which all that is not written down is forgotten."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, settings: Config, weather: Weather, step: timedelta, seed: int = 0) -> None:
        self.settings, self.weather, self.step, self.chance = settings, weather, step, random.Random(seed)
        self.shop = Shop(settings, T0)
        self.shop.record([ConfigInForce("m", "up", "c", {}, "/")])
        self._serve(1)
        self.story = Story(settings, self.shop)
        self.healed: dict[int, datetime] = {}
        self.going: tuple[str, datetime, datetime] | None = None  # the run, when it began, when its build ends
        self.asked: datetime | None = None  # until when a person thinks
        self.champion = 1
        monkeypatch.setattr(governing.history, "labelled_since", lambda shop, model, since: shop.labelled_since(since))

    def live(self, years: float, restarts: Iterable[float] = ()) -> Story:
        steps = int(years * 365.25 * DAY / self.step)
        forget = {int(share * steps) for share in restarts}
        for number in range(1, steps + 1):
            now = T0 + number * self.step
            self.shop.clock.advance_to(now)
            if number in forget:
                self._restart()
            answered = self.champion  # most of the window, which is over
            self._finish(now)
            self._window(now - self.step, now, answered)
            self._govern(now)
        self.story.shop = self.shop
        return self.story

    # -- what happens ----------------------------------------------------------------------------------------------------------

    def _restart(self) -> None:
        """Another process: of the state only the journal is left."""
        old, self.shop = self.shop, Shop(self.settings, self.shop.clock.now(), self.shop.entries)
        assert self.shop.state == old.state, "the state is a fold of the journal"
        self.shop.book, self.shop.came = old.book, old.came  # which lie on the disk

    def _window(self, start: datetime, end: datetime, answered: int) -> None:
        quiet = any(a <= start < b for a, b in self.weather.outages)
        status = "unknown" if quiet else "violated" if self._drifted(start) or self.chance.random() < self.weather.wolf else "healthy"
        said = (start.isoformat(), end.isoformat(), str(answered), status, "", end.isoformat())
        self.shop.book.words.setdefault("drift", []).append(Word("m", "drift", *said))  # type: ignore[arg-type]
        seen = start - self.weather.label_delay  # labels come late, of what was asked then
        if not any(a <= seen < b for a, b in self.weather.outages):
            total = self.shop.came[-1][1] if self.shop.came else 0
            self.shop.came.append((end, total + round(self.weather.labels_a_day * self.step / DAY)))

    def _drifted(self, at: datetime) -> bool:
        return any(e.start <= at < min(e.end, self.healed.get(i, e.end)) for i, e in enumerate(self.weather.episodes))

    def _govern(self, now: datetime) -> None:
        before = self.shop.state["m"].fruitless
        decision = governing.govern(self.shop, "m")  # type: ignore[arg-type]
        self.story.decisions.append((now, decision))
        if decision.retrain:
            self.story.fruitless_before.append(before)
            run = f"retrain-{len(self.story.fruitless_before)}"
            self.shop.record([RunStarted("m", run, "retrain", "the governor", decision.reason)])
            self.going = (run, now, now + self.weather.build)

    def _finish(self, now: datetime) -> None:
        """A build that has ended: promoted where it learned from what drifted, after a person's word where one is needed."""
        if self.going is None or now < self.going[2]:
            return
        run, began, _ = self.going
        learned = [i for i, e in enumerate(self.weather.episodes) if e.heals and e.start <= began < e.end and self._known(e, began)]
        if learned and self.weather.person and self.asked is None:
            self.asked = now + self.weather.person
            ask = ApprovalRequested("m", run, str(self.champion + 1), "production", "d", "c", "ana", self.asked.isoformat(), True)
            self.shop.record([ask])
        if learned and self.asked is not None:
            if now < self.asked:
                return
            self.shop.record([ApprovalGiven("m", run, str(self.champion + 1), "production", approved=True, by="ana")])
        if learned:
            self.champion += 1
            self._serve(self.champion)
            self.story.promoted.append(now)
            self.healed |= dict.fromkeys(learned, now)
        self.shop.record([RunEnded("m", run, "done")])
        self.story.busy.append((began, now))
        self.going = self.asked = None

    def _known(self, episode: Episode, by: datetime) -> bool:
        return self.shop.labels(by) - self.shop.labels(episode.start + self.weather.label_delay) >= self.weather.enough

    def _serve(self, version: int) -> None:
        self.shop.record([Deployed("m", "production", "", {str(version): 100}), Promoted("m", "production", str(version), None, "better")])
