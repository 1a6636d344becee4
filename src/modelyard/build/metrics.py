"""Numbers read off a training log by regular expressions, as SageMaker's metric definitions have it. Pure, but for one file."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

OURS = "modelyard: "
"""Begins the lines of a log that we write ourselves; nothing is read off those."""
_HOST = re.compile(r"\[algo-\d+\] ")
"""Begins a line of one of several hosts, which wrote it without: a regular expression may ask for either."""


@dataclass(frozen=True)
class Reading:
    """One value: the `step`-th of its name, from 0, seen `seconds` after the job began."""

    name: str
    value: float
    step: int
    seconds: float


class Reader:
    """Reads lines as they come. `definitions` are names with regular expressions, each with one group, the number."""

    def __init__(self, definitions: Iterable[tuple[str, str]], clock: Callable[[], float] = time.monotonic) -> None:
        self._patterns = [(name, re.compile(regex)) for name, regex in definitions]
        self._clock, self._began = clock, clock()
        self._seen: dict[str, int] = {}

    def read(self, line: str) -> list[Reading]:
        """What a line says: the first match of each definition. What is no number is no reading; NaN and infinity are."""
        found: list[Reading] = []
        host = _HOST.match(line)
        for name, pattern in self._patterns if not line.startswith(OURS) else ():
            match = pattern.search(line) or (pattern.search(line[host.end() :]) if host is not None else None)
            try:
                value = float(match.group(1)) if match is not None and match.group(1) is not None else None
            except ValueError:
                value = None
            if value is not None:
                step = self._seen.get(name, 0)
                self._seen[name] = step + 1
                found.append(Reading(name, value, step, round(self._clock() - self._began, 3)))
        return found


class Recorder:
    """Keeps what a reader finds in `path`, a JSON object a line, at once; `last` has the last value of each name. Of lines that no log has
    room for (`glimpse`) only the last readings are kept, written by `close`."""

    def __init__(self, definitions: Sequence[tuple[str, str]], path: Path) -> None:
        self._reader, self._path = Reader(definitions), path
        self.last: dict[str, float] = {}
        self._glimpsed: dict[str, Reading] = {}
        path.unlink(missing_ok=True)

    def hear(self, line: str) -> None:
        readings = self._reader.read(line)
        for reading in readings:
            self._glimpsed.pop(reading.name, None)  # of an earlier try
        self._write(readings)

    def glimpse(self, line: str) -> None:
        """A line of a log that is too long already: a script may print its result at its very end."""
        self._glimpsed |= {reading.name: reading for reading in self._reader.read(line)}

    def close(self) -> None:
        self._write([*self._glimpsed.values()])
        self._glimpsed.clear()

    def _write(self, readings: Sequence[Reading]) -> None:
        if readings:
            with self._path.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(asdict(reading)) + "\n" for reading in readings)
        self.last |= {reading.name: reading.value for reading in readings}


def series(path: Path) -> list[Reading]:
    """What was recorded so far; a line that is being written is left for later."""
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    return [Reading(**json.loads(line)) for line in text[: text.rfind("\n") + 1].splitlines()]
