"""Numbers read off a training log by regular expressions, as SageMaker's metric definitions have it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from modelyard.build import searcher
from modelyard.build.searching import GIVEN_UP, LOST, SLOW, Searching

OURS = "modelyard: "
"""Begins the lines of a log that we write ourselves; nothing is read off those."""
KEY = "train.metric_definitions"
"""Where the definitions stand in a config."""
MEND = "It is fast without one repetition after or inside another, as in `.*x.*` or `(a+)+`"
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
    """Reads lines as they come. `definitions` are names with regular expressions, each with one group, the number. Where one takes too long
    the line is left out for it, and at last it is given up: `tell` is told of both, once each. `close` it."""

    def __init__(
        self,
        definitions: Iterable[tuple[str, str]],
        clock: Callable[[], float] = time.monotonic,
        tell: Callable[[str], None] = lambda said: None,
    ) -> None:
        asked = list(definitions)
        self._names, self._tell, self.lines = [name for name, _ in asked], tell, 0
        self._searching = Searching([regex for _, regex in asked]) if asked else None
        self._clock, self._began = clock, clock()
        self._seen: dict[str, int] = {}
        self._told: set[tuple[str, int]] = set()

    def read(self, line: str) -> list[Reading]:
        """What a line says: the first match of each definition. What is no number is no reading; NaN and infinity are."""
        self.lines += 1
        if self._searching is None or line.startswith(OURS):
            return []
        host, found = _HOST.match(line), list[Reading]()
        answers = self._searching(line, line[host.end() :] if host is not None else None)
        for number, (name, answer) in enumerate(zip(self._names, answers, strict=True)):
            if isinstance(answer, int):
                self._say(number, name, answer, line)
            elif (value := _number(answer)) is not None:
                step = self._seen.get(name, 0)
                self._seen[name] = step + 1
                found.append(Reading(name, value, step, round(self._clock() - self._began, 3)))
        return found

    def _say(self, number: int, name: str, answer: int, line: str) -> None:
        """Tell of a line that was left out, or of the rest of the log."""
        if (name, answer) in self._told:
            return
        self._told.add((name, answer))
        metric, regex = f"the metric `{name}` is not read", f"its regular expression ({KEY}[{number}].regex)"
        one, whole = f"{metric} off line {self.lines:,} of the log", f"{metric} from line {self.lines:,} of the log on"
        said = {
            SLOW: f"{one}: {regex} takes over {searcher.LINE:g} s for its {len(line):,} characters. {MEND}",
            GIVEN_UP: f"{whole}: {regex} has taken over {searcher.ALL:g} s in all. {MEND}",
            LOST: f"{whole}: the process that looks for {regex} is gone",
        }
        self._tell(said[answer])

    def close(self) -> None:
        if self._searching is not None:
            self._searching.close()


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


class Recorder:
    """Keeps what a reader finds in `path`, a JSON object a line, at once; `last` has the last value of each name. Of lines that no log has
    room for (`glimpse`) only the last readings are kept, written by `close`. `tell` is the reader's. `stop` it at the end."""

    def __init__(self, definitions: Sequence[tuple[str, str]], path: Path, tell: Callable[[str], None] = lambda said: None) -> None:
        self._reader, self._path = Reader(definitions, tell=tell), path
        self.last: dict[str, float] = {}
        self._glimpsed: dict[str, Reading] = {}
        path.unlink(missing_ok=True)

    def stop(self) -> None:
        """Read no more."""
        self._reader.close()

    def begin(self) -> None:
        """A log begins, or begins anew."""
        self._reader.lines = 0

    def hear(self, line: str) -> list[Reading]:
        """Keep what a line says; returns it."""
        readings = self._reader.read(line)
        for reading in readings:
            self._glimpsed.pop(reading.name, None)  # of an earlier try
        self._write(readings)
        return readings

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
