"""A model's profiles on the disk: those of its windows, and of the days that these make up.

    DAY.windows      a record a window (and segment of it) that began on that day, in UTC; the last word on a window holds
    MONTH.days       a record a day that is over, merged of its windows when it was first asked for

A month is read as some thirty records, whatever the length of its windows. A day's record holds for as long as its windows' file has the
size that it had, so a window that is put later is never lost. Records are frames (`frames`): what was put is on the disk, and a process
that is killed leaves whole records behind.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from modelyard import files
from modelyard.monitor.profile import frames, packing
from modelyard.monitor.profile.merging import merge
from modelyard.monitor.windows import Span, day_of

_DAY = timedelta(days=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


Subject = tuple[str, int, int, str]


class Key(NamedTuple):
    """Whose record it is: times in microseconds; `bins`, the name of its bins; `size`, of a day, that of the file it was made of."""

    version: str
    start: int
    end: int
    segment: str
    bins: str
    size: int = 0

    @property
    def subject(self) -> Subject:
        return self.version, self.start, self.end, self.segment


class Profiles:
    """The profiles in a folder, which is made with the first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, version: str, span: Span, profile: dict[str, Any], segment: str = "") -> None:
        """Keep the profile of a window, or of a segment of it ("COLUMN=VALUE"). Raises OSError."""
        self.put_all(version, span, {segment: profile})

    def put_all(self, version: str, span: Span, profiles: dict[str, dict[str, Any]]) -> None:
        """Keep profiles by segment of one window, in one write. Raises OSError."""
        self._append(self._windows(span.start), version, span, profiles)

    def get(self, version: str, span: Span, segment: str = "") -> dict[str, Any] | None:
        return _Log(self._windows(span.start)).newest((version, _micros(span.start), _micros(span.end), segment))

    def of_window(self, version: str, span: Span) -> dict[str, dict[str, Any]]:
        """What is kept of a window, by segment; "" is the whole."""
        log, start, end = _Log(self._windows(span.start)), _micros(span.start), _micros(span.end)
        read = {s[3]: log.newest(s) for s in sorted(log.subjects) if s[:3] == (version, start, end)}
        return {segment: one for segment, one in read.items() if one is not None}

    def between(self, version: str, start: datetime, end: datetime, segment: str = "") -> dict[str, Any] | None:
        """The profile of all windows that lie within, merged; None where there is none.

        Windows that were never put are left out. Of windows that overlap, after their length was changed, the earliest and longest count.
        """
        parts: list[tuple[int, int, dict[str, Any]]] = []
        for day in self._days_between(start, end):
            whole = self._day(version, day, segment) if start <= day.start and day.end <= end else None
            if whole is not None:
                parts.append((_micros(day.start), _micros(day.end), whole))
            else:
                parts += [p for p in self._of_day(version, day, segment) if p[0] >= _micros(start) and p[1] <= _micros(end)]
        chosen, last = [], _micros(start)
        for first, until, one in sorted(parts, key=lambda p: (p[0], -p[1])):
            if first >= last:
                chosen.append(one)
                last = until
        return merge(chosen) if chosen else None

    def trim(self, before: datetime) -> int:
        """Let go of windows that ended before the day of `before` began, in UTC. Returns how many files went or shrank. Raises OSError."""
        limit = _micros(day_of(before))
        count = 0
        for path in sorted([*self.folder.glob("*.windows"), *self.folder.glob("*.days")]):
            log = _Log(path)
            over = [subject for subject in log.subjects if subject[2] <= limit]
            if len(over) == len(log.subjects):
                path.unlink()
                count += 1
            elif over and path.suffix == ".days":
                log.rewrite(without=over)
                count += 1
        return count

    def _days_between(self, start: datetime, end: datetime) -> Iterator[Span]:
        """The days on which windows that are kept began: a span may be of centuries, and is of few such days."""
        for path in sorted(self.folder.glob("????-??-??.windows")):
            begin = datetime.fromisoformat(path.stem).replace(tzinfo=UTC)
            if day_of(start) <= begin < end:
                yield Span(begin, begin + _DAY)

    def _windows(self, at: datetime) -> Path:
        return self.folder / f"{at.astimezone(UTC):%Y-%m-%d}.windows"

    def _days(self, at: datetime) -> Path:
        return self.folder / f"{at.astimezone(UTC):%Y-%m}.days"

    def _append(self, path: Path, version: str, span: Span, profiles: dict[str, dict[str, Any]], size: int = 0) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)

        def made() -> Iterator[tuple[str, bytes, bytes]]:
            for segment, profile in profiles.items():
                name, bins, rest = packing.pack(profile)
                key = Key(version, _micros(span.start), _micros(span.end), segment, name, size)
                yield name, frames.encode(frames.SHAPE, name, bins), frames.encode(frames.RECORD, list(key), rest)

        frames.append(path, made())

    def _of_day(self, version: str, day: Span, segment: str) -> list[tuple[int, int, dict[str, Any]]]:
        """Start, end and profile of the windows that began on a day."""
        log = _Log(self._windows(day.start))
        wanted = sorted(s for s in log.subjects if (s[0], s[3]) == (version, segment))
        read = ((s[1], s[2], log.newest(s)) for s in wanted)
        return [(a, b, one) for a, b, one in read if one is not None]

    def _day(self, version: str, day: Span, segment: str) -> dict[str, Any] | None:
        """A day's own record, made where there is none that holds; None for a day that may go on, or has no two windows of its own."""
        windows, path = self._windows(day.start), self._days(day.start)
        size = windows.stat().st_size if windows.exists() else 0
        subject = (version, _micros(day.start), _micros(day.end), segment)
        if not size:
            return None
        if (kept := _Log(path).newest(subject, size)) is not None:
            return kept
        if not any(other.name > windows.name for other in self.folder.glob("*.windows")):
            return None
        parts = self._of_day(version, day, segment)
        if len(parts) < 2 or parts[-1][1] > subject[2] or any(one[1] > after[0] for one, after in pairwise(parts)):
            return None
        made = merge(one for _, _, one in parts)
        with contextlib.suppress(OSError):  # a full disk: the next look merges again
            self._append(path, version, day, {segment: made}, size)
        return made


class _Log:
    """The records of one file, as they were when it was opened."""

    def __init__(self, path: Path) -> None:
        self._path, self._shapes = path, dict[str, frames.Frame]()
        self._bins: dict[str, Any] = {}
        self.subjects: dict[Subject, list[tuple[Key, frames.Frame]]] = {}
        for frame in frames.scan(path):
            if frame.kind == frames.SHAPE:
                self._shapes[frame.key] = frame
            else:
                key = Key(*frame.key)
                self.subjects.setdefault(key.subject, []).append((key, frame))

    def newest(self, subject: Subject, size: int = 0) -> dict[str, Any] | None:
        """The last word on a subject that can be read, of those made at this `size`."""
        for key, frame in reversed(self.subjects.get(subject, [])):
            if key.size == size and (one := self._profile(key, frame)) is not None:
                return one
        return None

    def _profile(self, key: Key, frame: frames.Frame) -> dict[str, Any] | None:
        """What a record holds; None where it, or its bins, are not what was written."""
        if key.bins not in self._bins and key.bins in self._shapes:
            self._bins[key.bins] = frames.read(self._path, self._shapes[key.bins])
        bins, rest = self._bins.get(key.bins), frames.read(self._path, frame)
        return packing.unpack(bins, rest) if bins is not None and rest is not None else None

    def rewrite(self, without: Iterable[Subject]) -> None:
        """The file again, without these, and without what a later record replaced."""
        data, written, over = b"", set[str](), set(without)
        for key, frame in (records[-1] for subject, records in self.subjects.items() if subject not in over):
            if key.bins not in self._shapes or (rest := frames.read(self._path, frame)) is None:
                continue
            if key.bins not in written:
                data += frames.encode(frames.SHAPE, key.bins, frames.read(self._path, self._shapes[key.bins]))
                written.add(key.bins)
            data += frames.encode(frames.RECORD, list(key), rest)
        files.replace(self._path, data, durable=True)


def _micros(instant: datetime) -> int:
    return (instant - _EPOCH) // timedelta(microseconds=1)
