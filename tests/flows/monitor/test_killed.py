"""A look that is killed: the next one judges what is left, and nothing twice."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from modelyard.clock import ReplayClock
from modelyard.flows import monitor
from modelyard.yard import Yard
from tests.flows.watched import DAY, T0, Watched, settings

LOOK = """
import sys
from datetime import datetime
from pathlib import Path
from modelyard.clock import ReplayClock
from modelyard.yard import Yard

yard = Yard(Path(sys.argv[1]), ReplayClock(datetime.fromisoformat(sys.argv[2])))
yard.look("demo", lambda word: print(word.monitor, word.start, flush=True))
yard.close()
"""


@pytest.mark.slow
def test_a_look_that_is_killed_again_and_again_judges_every_window_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = settings()
    watched["monitor"] = {**watched["monitor"], "window": "15m"}
    world = Watched(home, monkeypatch, watched)
    for quarter in range(60):
        world.capture([f"{quarter}-{i}" for i in range(12)], T0 + quarter * timedelta(minutes=15))
    world.shop.close()
    now = T0 + 3 * DAY

    for lines in (1, 7, 40, 200):
        child = subprocess.Popen([sys.executable, "-c", LOOK, str(home), now.isoformat()], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        for _ in range(lines):
            assert child.stdout.readline(), "it ended before it was killed"
        child.kill()
        child.wait()
    yard = Yard(home, ReplayClock(now))
    while monitor.due(yard.shop, "demo"):  # so many at a time
        yard.look("demo")
    words = yard.windows("demo")
    yard.close()
    windows = int((now - T0) / timedelta(minutes=15))
    for kind in {word["monitor"] for word in words}:
        own = [word for word in words if word["monitor"] == kind]
        spans = {(word["start"], word["end"]) for word in own}
        late = 96 if kind == "performance" else 0  # it waits a day for labels
        wanted = [(T0 + n * timedelta(minutes=15)).isoformat() for n in range(windows - late)]
        assert len(own) == len(spans)
        assert sorted(start for start, _ in spans) == wanted, kind
    assert {word["revision"] for word in words} == {1}, "no window was judged twice"
