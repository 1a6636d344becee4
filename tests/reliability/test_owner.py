"""kill -9 of the control plane in the middle of a canary: callers notice nothing, and the next one goes on from there."""

from __future__ import annotations

import http.client
import json
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from modelyard.events import Promoted
from modelyard.serve import left, routes, stats
from tests.killing import Command, Home, Place, gone, until

pytestmark = pytest.mark.slow
CANARY = """
deploy:
  strategy: {type: canary, steps: [50], bake: 5s}
  rollback: {min_requests: 20, latency_p99_ratio: 1000}
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = Place(tmp_path).home()
    yield home
    left.end_all(home.path / "endpoints")
    home.close()


class Callers(Counter[str]):
    """Requests in turn over one connection that stays and over fresh ones: answers by version, and what failed."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.failed: list[str] = []
        self._port, self._stop = port, threading.Event()

    def _ask(self, link: http.client.HTTPConnection) -> None:
        try:
            link.request("POST", "/invocations", b'[{"x": 1.5, "noise": 0.5}]', {"Content-Type": "application/json"})
            answer = link.getresponse()
            said = json.loads(answer.read())
            if answer.status == 200:
                self[said["version"]] += 1
            else:
                self.failed.append(f"{answer.status} {said}")
        except (OSError, http.client.HTTPException, ValueError) as exc:
            self.failed.append(repr(exc))

    def _call(self) -> None:
        staying = http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
        while not self._stop.wait(0.01):
            self._ask(staying)
            fresh = http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
            self._ask(fresh)
            fresh.close()
        staying.close()

    @contextmanager
    def calling(self) -> Iterator[None]:
        thread = threading.Thread(target=self._call)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()


def server(home: Home) -> Command:
    command = Command(home, "server", "--port", "0")
    command.says("modelyard owns")
    return command


def test_a_canary_goes_on_though_the_control_plane_is_killed(home: Home) -> None:
    config, folder = home.repository / "config.yaml", home.path / "endpoints" / "tiny-production"
    first = server(home)
    up = home.up("--yes")
    assert up.end() == 0, up.said
    config.write_text(config.read_text().replace("deploy:\n  strategy: {type: all_at_once, bake: 1s}\n", CANARY))
    home.train_for(0.01)
    front = stats.read(folder / "stats.json")

    def weights() -> dict[str, float]:
        return {v.version: v.weight for v in routes.read(folder / "routes.json").variants}

    callers = Callers(front.port)
    with callers.calling():
        home.up("--yes")
        until(lambda: weights() == {"1": 50, "2": 50}, "the canary")
        children = first.children()
        first.process.kill()
        first.process.wait()
        alone, began = Counter(callers), time.monotonic()
        until(lambda: time.monotonic() > began + 7, "more than a bake time")
        assert weights() == {"1": 50, "2": 50}, "nobody is there who would change them"
        assert min(callers[v] - alone[v] for v in "12") > 50, "both answer as before"
        second = server(home)
        until(lambda: weights() == {"2": 100}, "the end of the roll-out", said=lambda: second.said)
        until(lambda: not [c for c in children if c.alive and "modelyard.serve.front" not in c.words], "the end of the old runners")
        time.sleep(0.5)
    assert callers.failed == []
    assert stats.read(folder / "stats.json").pid == front.pid, "one front all the time"
    down = Command(home, "down")
    assert down.end() == 0 and second.end() == 0, second.said
    gone(children, 5)
    assert [e.version for e in home.events(Promoted) if e.stage == "production"] == ["1", "2"]


def test_down_ends_what_a_killed_control_plane_left(home: Home) -> None:
    first = server(home)
    up = home.up("--yes")
    assert up.end() == 0, up.said
    children = first.children()
    first.process.kill()
    first.process.wait()
    assert [c for c in children if c.alive and "modelyard.serve.front" in c.words], "they go on"
    down = Command(home, "down")
    assert down.end() == 0
    assert "what a killed one had left was stopped" in down.said
    gone(children, 5)
    again = Command(home, "down")
    assert again.end() == 0 and "nothing runs" in again.said


def test_what_goes_on_ends_when_the_home_is_removed(home: Home) -> None:
    first = server(home)
    up = home.up("--yes")
    assert up.end() == 0, up.said
    children = first.children()
    first.process.kill()
    first.process.wait()
    shutil.rmtree(home.path / "endpoints")
    gone(children, 20)
