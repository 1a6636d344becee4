"""The process that looks for a user's regular expressions: `python -I -S searcher.py OWNER_PID LINE ALL`. It imports nothing of ours.

Its first line of input is a JSON list of expressions with one group each. To each further line, a JSON list of a text and another one
(or null) to look in where the first has no match, it answers with a line: a JSON list of what each expression's group held, of null where
there is none, of SLOW where it took too long, and of GIVEN_UP. `re` looks at signals while it searches, in the main thread alone.
"""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import sys
from typing import Any

SLOW, GIVEN_UP = 0, -1
LINE, ALL = 0.25, 5.0
"""Seconds of processor time that an expression may take of one text, and of all before it is given up."""
MEMORY = 1 << 30
"""Bytes that the process may have."""


class _Slow(Exception):
    pass


class _Search:
    """One expression, and the time that it has taken so far."""

    armed = False

    def __init__(self, regex: str, line: float, all_: float) -> None:
        self._pattern, self._line, self._left = re.compile(regex), line, all_

    def __call__(self, text: str, otherwise: str | None) -> str | int | None:
        if self._left <= 0:
            return GIVEN_UP
        try:
            found: str | int | None = self._timed(text, otherwise)
        except (_Slow, MemoryError):
            found = SLOW
        finally:
            _Search.armed = False
            left, _ = signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            self._left -= self._line - left
        return found

    def _timed(self, text: str, otherwise: str | None) -> str | None:
        _Search.armed = True
        signal.setitimer(signal.ITIMER_VIRTUAL, self._line)
        match = self._pattern.search(text) or (None if otherwise is None else self._pattern.search(otherwise))
        return None if match is None else match.group(1)


def _late(*_: Any) -> None:
    if _Search.armed:  # else it is over already
        raise _Slow


def main() -> None:
    signal.signal(signal.SIGVTALRM, _late)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    owner, line, all_ = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
    searches = [_Search(regex, line, all_) for regex in json.loads(sys.stdin.readline())]
    for asked in sys.stdin:
        text, otherwise = json.loads(asked)
        found = []
        for search in searches:
            if os.getppid() != owner:
                return  # it was killed, and nobody waits for an answer
            found.append(search(text, otherwise))
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    try:
        main()
    finally:
        os._exit(0)
