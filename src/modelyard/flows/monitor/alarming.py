"""Alarms: when words on windows add up to something that people are told.

`sound` follows each look. It reads what holds now from the book, so that what was judged late, or again, counts as it is known now, and
what a killed process had judged is not lost; and it tells what people have not been told yet. A long silence of the yard itself (it was
down, and caught up) makes one message a monitor of whatever came and went meanwhile.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import datetime

from modelyard.config.spec import AlertKind
from modelyard.flows.alerting import alert
from modelyard.flows.monitor.monitors import MONITORS, standing
from modelyard.monitor import alarms, telling
from modelyard.monitor.alarms import FAILING, Episode, Stretch
from modelyard.monitor.book import Word
from modelyard.monitor.telling import About, Message
from modelyard.monitor.verdicts import in_alarm
from modelyard.workshop import Workshop

SILENT = "traffic"
"""The episode of a model that nobody asks; people are told under `data_quality`."""
LONGEST = 512
"""Empty windows that a silence which nobody was told of may have."""
BACK = 500
"""Known windows that are looked back at for when an episode began."""


def sound(shop: Workshop, model: str, fresh: Sequence[Word] = ()) -> None:
    """Tell people what they have to know now. fresh: the words of the look that has just been."""
    about, told = _about(shop, model), shop.episodes.open(model)
    config = shop.config(model)
    for kind, monitor in MONITORS.items():
        if monitor.enabled(config):
            _sound(shop, about, monitor.kind, told.get(kind), [word for word in fresh if word.monitor == kind])
            _failing(shop, about, kind, told.get(FAILING + kind))
            continue
        for episode in (told[name] for name in (kind, FAILING + kind) if name in told):
            _close(shop, episode, telling.unwatched(episode, about), episode.since)
    _silence(shop, about, told.get(SILENT))


def _about(shop: Workshop, model: str) -> About:
    config, link = shop.config(model), shop.home.console
    console = link.read_text(encoding="utf-8").strip().partition("/login")[0] if link.exists() else None  # the rest is a secret
    return About(model, config.timezone, config.alerts.runbook, console or None)


def _sound(shop: Workshop, about: About, kind: AlertKind, told: Episode | None, fresh: Sequence[Word]) -> None:
    after = shop.config(about.model).monitor.alert_after
    newest = shop.book.newest(about.model, kind, after.num_windows, known=True)
    newest = newest if told is not None else standing(shop.model(about.model), newest)
    alarm = in_alarm([word.status for word in newest], after)
    if alarm == (told is not None) and (alarm or len(fresh) < 2):
        return
    # All of an episode, however long it lasts: no window before `since` is part of it.
    if told is None:
        words = standing(shop.model(about.model), shop.book.newest(about.model, kind, BACK, known=True))
    else:
        words = shop.book.between(about.model, told.since, monitor=kind)
    found = alarms.stretches(words, after)
    if alarm and told is None:
        _open(shop, found[-1], telling.raised(found[-1], about, after.num_windows))
    elif told is not None and not alarm and newest:
        _recover(shop, told, found, newest[-1], about)
    elif told is None:
        _come_and_gone(shop, found, {word.start for word in fresh}, about)


def _failing(shop: Workshop, about: About, kind: str, told: Episode | None) -> None:
    """A monitor that cannot judge is told of once, until it judges again: windows that are unknown raise no alarm of their own."""
    newest = shop.book.latest(about.model, kind)
    if newest is None or bool(newest.evidence.get("failed")) == (told is not None):
        return
    if told is None and not standing(shop.model(about.model), [newest]):
        return
    if told is None:
        episode = Episode(about.model, FAILING + kind, shop.clock.now().isoformat(), newest.start)
        _tell(shop, episode, telling.failing(newest, about))
    elif newest.evidence.get("rows"):  # without rows it was not asked
        _close(shop, told, telling.judged_again(newest, told, about), newest.start)


def _open(shop: Workshop, found: Stretch, said: Message) -> None:
    word, now = found.violated[-1], shop.clock.now().isoformat()
    episode = Episode(word.model, word.monitor, now, found.since, moved=telling.names(found.violated))
    _tell(shop, episode, said)


def _recover(shop: Workshop, told: Episode, found: Sequence[Stretch], newest: Word, about: About) -> None:
    """The end of an episode. Labels that came late may have taken back every window that was violated: then there is no stretch left."""
    mine = [stretch for stretch in found if stretch.words[-1].end > told.since]
    if mine:
        _close(shop, told, telling.recovered(mine[-1], about), mine[-1].until, telling.names(mine[-1].violated))
        return
    again = "healthy again" if newest.status == "healthy" else "no longer violated"
    title = f"{about.model}: {told.monitor} is {again}"
    body = f"What is known now takes back that it was violated. {newest.reason}"
    _close(shop, told, Message(title, body, telling.tone_of(newest)), told.since)


def _come_and_gone(shop: Workshop, found: Sequence[Stretch], fresh: set[str], about: About) -> None:
    """An episode that ended in this look, and of which nobody was told: one message, of the newest. Labels that come late judge windows
    again, among them those of episodes that people know of."""
    ended = [stretch for stretch in found if stretch.over and stretch.words[-1].start in fresh]
    if not ended:
        return
    last, now = ended[-1], shop.clock.now().isoformat()
    known = [e for e in shop.episodes.of(about.model, last.since) if e.monitor == last.raised.monitor and e.since < last.until]
    if not known:
        episode = Episode(about.model, last.raised.monitor, now, last.since, now, last.until, telling.names(last.violated))
        _tell(shop, episode, telling.was(last, about))


def _close(shop: Workshop, told: Episode, said: Message, until: str, moved: Sequence[str] = ()) -> None:
    _tell(shop, _closed(shop, told, until, moved), said)


def _closed(shop: Workshop, told: Episode, until: str, moved: Sequence[str] = ()) -> Episode:
    names = tuple(dict.fromkeys((*told.moved, *moved)))
    return Episode(told.model, told.monitor, told.opened_at, told.since, shop.clock.now().isoformat(), until, names)


def _tell(shop: Workshop, episode: Episode, said: Message) -> None:
    """The message goes out before it is kept that it did: whoever is killed in between tells again, and never not at all."""
    kind: AlertKind = "data_quality" if episode.monitor == SILENT else episode.subject  # type: ignore[assignment]
    events = alert(shop, episode.model, kind, said.title, said.body, said.tone)
    shop.journal.append(events, beside=lambda tx: shop.episodes.put(episode, tx))


def _silence(shop: Workshop, about: About, told: Episode | None) -> None:
    """The windows of a monitor that waits for no labels say how many rows there were."""
    config = shop.config(about.model)
    if not shop.model(about.model).stage("production").weights:
        return
    kind = next((k for k in ("drift", "data_quality", "estimate") if MONITORS[k].enabled(config)), None)
    last = shop.book.newest(about.model, kind, 1) if kind else []
    last = last if told is not None else standing(shop.model(about.model), last)
    if not last or (told is None and not _is_empty(last[0])):
        return
    assert kind is not None
    if told is not None:
        if last[0].evidence.get("rows"):
            _close(shop, told, telling.resumed(told, last[0].start, about), last[0].start)
        return
    if (found := alarms.silence(_counts(shop, about.model, kind))) is not None:
        episode = Episode(about.model, SILENT, shop.clock.now().isoformat(), found.since.isoformat())
        _tell(shop, episode, telling.silent(found, about))


def _counts(shop: Workshop, model: str, kind: str) -> list[tuple[datetime, datetime, int]]:
    """Rows of the windows that are empty now, and of those at the same time of earlier days; oldest first."""
    for count in (8, 64, LONGEST):
        newest = standing(shop.model(model), shop.book.newest(model, kind, count))
        if not all(map(_is_empty, newest)):
            break
    empty = list(itertools.takewhile(_is_empty, reversed(newest)))
    since, until = datetime.fromisoformat(empty[-1].start), datetime.fromisoformat(empty[0].end)
    before = {ago for both in alarms.SEASONS for ago in both}
    words = [w for ago in before for w in shop.book.between(model, (since - ago).isoformat(), (until - ago).isoformat(), kind)]
    found = {(w.start, w.end): int(w.evidence.get("rows") or 0) for w in (*words, *empty)}
    return [(datetime.fromisoformat(start), datetime.fromisoformat(end), rows) for (start, end), rows in sorted(found.items())]


def _is_empty(word: Word) -> bool:
    """Whether a window had no rows; of one whose rows could not be read nobody knows."""
    return word.evidence.get("rows") == 0
