"""What an alert says: a title and lines that read as well in a chat as in a mail or on a pager."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote
from zoneinfo import ZoneInfo

from modelyard.monitor.alarms import Cause, Episode, Silence, Stretch, cause
from modelyard.monitor.alerts import Tone
from modelyard.monitor.book import Word
from modelyard.monitor.words import count, listing

TOP = 5
"""Features and segments that an alert names."""
HEADS = {"data_quality": "Columns", "performance": "Metrics", "estimate": "Metrics"}
"""What the names are, where they are no features that moved."""
LONGEST = 400
"""Characters of a reason."""


@dataclass(frozen=True)
class About:
    """What an alert has to know beside the words. console: the address of the console, where one runs."""

    model: str
    timezone: str
    runbook: str | None = None
    console: str | None = None


@dataclass(frozen=True)
class Message:
    title: str
    body: str
    tone: Tone = "failure"


def raised(stretch: Stretch, about: About, num_windows: int) -> Message:
    """The alert at the beginning of an episode: what moved and where, since when, and what to do."""
    newest = stretch.violated[-1]
    last = stretch.words[-num_windows:]
    violated = sum(word.status == "violated" for word in last)
    lines = [
        _reason(newest),
        *_causes(cause(newest), HEADS.get(newest.monitor, "Moved")),
        f"Since: {_moment(stretch.since, about)}, {_of(violated, len(last))} violated",
        f"Version: {newest.version}",
        *_links(newest, about),
    ]
    return Message(f"{about.model}: {newest.monitor} violated", "\n".join(lines))


def recovered(stretch: Stretch, about: About) -> Message:
    """The notice that an episode is over: how long it lasted, and all that moved in it."""
    newest = stretch.words[-1]
    lines = [
        _reason(newest),
        f"Was violated: {_span(stretch.since, stretch.until, about)}, in {count(len(stretch.violated), 'window')}",
        *_causes(together(map(cause, stretch.violated)), f"{HEADS.get(newest.monitor, 'Moved')} meanwhile"),
        *_links(stretch.violated[-1], about, next=False),
    ]
    again = "healthy again" if newest.status == "healthy" else "no longer violated"
    return Message(f"{about.model}: {newest.monitor} is {again}", "\n".join(lines), tone_of(newest))


def was(stretch: Stretch, about: About) -> Message:
    """One message for an episode that began and ended between two looks."""
    told = recovered(stretch, about)
    return Message(f"{about.model}: {stretch.words[-1].monitor} was violated, and is no more", told.body, told.tone)


def tone_of(word: Word) -> Tone:
    """Of a word that ends an episode: there may be a warning left."""
    return "success" if word.status == "healthy" else "warning"


def unwatched(episode: Episode, about: About) -> Message:
    """The notice that nobody will say when an episode ends."""
    what = "was violated" if episode.subject == episode.monitor else "could not be judged"
    body = f"It {what} since {_moment(episode.since, about)}, and the config has the monitor off now."
    return Message(f"{about.model}: {episode.subject} is no longer watched", body, "warning")


def failing(word: Word, about: About) -> Message:
    """The alert that a monitor fails instead of judging."""
    lines = [
        _reason(word),
        f"Since: {_moment(word.start, about)}. Windows that cannot be judged are unknown, which raises no alarm; other monitors go on.",
        f"Version: {word.version}",
        *_links(word, about),
    ]
    return Message(f"{about.model}: {word.monitor} cannot be judged", "\n".join(lines), "warning")


def judged_again(word: Word, episode: Episode, about: About) -> Message:
    body = f"{_reason(word)}\nIt could not be judged: {_span(episode.since, word.start, about)}."
    return Message(f"{about.model}: {word.monitor} is judged again", body, "success")


def silent(found: Silence, about: About) -> Message:
    lines = [
        f"No request since {_moment(found.since.isoformat(), about)}; the same time of earlier days had {found.expected:,} rows or more.",
        "While nobody asks, nothing can be said of drift or performance.",
        *_further(about),
        f"Next: modelyard status {about.model}",
    ]
    return Message(f"{about.model}: no traffic", "\n".join(lines), "warning")


def resumed(episode: Episode, until: str, about: About) -> Message:
    return Message(f"{about.model}: traffic is back", f"Nobody asked: {_span(episode.since, until, about)}.", "success")


def together(causes: Iterable[Cause]) -> Cause:
    """All that moved, by the newest value."""
    moved: dict[str, str] = {}
    segments: dict[str, None] = {}
    for one in causes:
        moved |= one.moved
        segments |= dict.fromkeys(one.segments)
    return Cause(moved, tuple(segments))


def lasted(start: str, end: str) -> str:
    """A length of time in the largest units that say it: `30 seconds`, `45 minutes`, `3 hours`, `2 days 6 hours`."""
    seconds = (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
    if 0 < seconds < 60:
        return count(round(seconds), "second")
    minutes = round(seconds / 60)
    days, hours = divmod(minutes // 60, 24)
    if days:
        return count(days, "day") + (f" {count(hours, 'hour')}" if hours and days < 7 else "")
    return count(hours, "hour") + (f" {count(minutes % 60, 'minute')}" if minutes % 60 else "") if hours else count(minutes, "minute")


def _reason(word: Word) -> str:
    """The word's reason without its monitor, which the title names. It may begin with a name, which keeps its letters."""
    said = word.reason.removeprefix(f"{word.monitor}: ")
    return said if len(said) <= LONGEST else said[: LONGEST - 3].rstrip() + "..."


def _causes(found: Cause, head: str) -> list[str]:
    items = [f"{name} ({value[:80]})" if value else name for name, value in found.moved.items()]
    lines = [f"{head}: {listing(items, TOP)}"] if items else []
    return [*lines, *([f"Segments: {listing(list(found.segments), TOP)}"] if found.segments else [])]


def _links(word: Word, about: About, *, next: bool = True) -> list[str]:
    page = f"{about.console}/models/{quote(about.model)}/windows/{quote(word.start)}/{quote(word.end)}"
    console = [f"Console: {page}"] if about.console else []
    command = f"modelyard monitor {about.model} --report {about.model}.html --window {word.start}"
    return [*_further(about), *console, *([f"Next: {command}"] if next else [])]


def _further(about: About) -> list[str]:
    return [f"Runbook: {about.runbook}"] if about.runbook else []


def _span(start: str, end: str, about: About) -> str:
    return f"{lasted(start, end)}, from {_moment(start, about)} to {_moment(end, about)}"


def _moment(at: str, about: About) -> str:
    local = datetime.fromisoformat(at).astimezone(ZoneInfo(about.timezone))
    return f"{local:%Y-%m-%d %H:%M}{f':{local:%S}' if local.second else ''} {local:%Z}"


def _of(violated: int, windows: int) -> str:
    return f"{violated} of the last {count(windows, 'window')}" if windows > 1 else "the last window"


def names(words: Sequence[Word]) -> tuple[str, ...]:
    """What moved in these windows, by name, for the book of episodes."""
    return tuple(together(map(cause, words)).moved)[:20]
