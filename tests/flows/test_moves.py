"""A front that dies in a smoke test: it is started again and asked again, and where it does not come back the version is not blamed."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from modelyard.config.spec import Stage
from modelyard.errors import GateRefused, Unavailable, YardError
from modelyard.events import Deployed, Promoted, RolledBack, SmokeTested
from modelyard.flows import holdout, moves

from .live import GOOD, Live, words
from .releases import World, config

SLEEPY = GOOD.replace("    return [answer", "    import time\n\n    time.sleep(0.5)\n    return [answer")


@pytest.fixture
def live(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Live]]:
    made: list[Live] = []

    def live(**deploy: Any) -> Live:
        world = Live(home, monkeypatch, {"1": SLEEPY, "2": SLEEPY})
        made.append(world)
        world.accept(words(strategy={"type": "all_at_once", "bake": "0s"}, **deploy))
        world.register("1", "2")
        return world

    yield live
    for world in made:
        world.close()


class Killer:
    """Kills the front of an endpoint in every smoke test's first request: before it comes, or while it is in hand."""

    def __init__(self, world: Live, monkeypatch: pytest.MonkeyPatch, after: float) -> None:
        self.world, self.after, self.killed = world, after, list[int]()
        self._own, self._asked = holdout.ask, set[tuple[str, str]]()
        monkeypatch.setattr(holdout, "ask", self._ask)

    def _ask(self, address: str, *rest: Any, variant: str, **how: Any) -> Any:
        if (address, variant) not in self._asked:
            self._asked.add((address, variant))
            if self.after:
                threading.Timer(self.after, self._kill, (address,)).start()
            else:
                self._kill(address)
        return self._own(address, *rest, variant=variant, **how)

    def _kill(self, address: str) -> None:
        (endpoint,) = [e for e in self.world.target._endpoints.values() if e.state().address == address]
        front: Any = endpoint._front
        pids = front.pids if hasattr(front, "pids") else {front._shared.pid}
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        self.killed += pids


@pytest.mark.slow
@pytest.mark.parametrize(
    ("after", "deploy"),
    [(0.0, {}), (0.2, {}), (0.2, {"realtime": {"timeout": "3s", "linger": "1s", "shared": True}})],
    ids=["before the request", "in the middle of it", "a front that is shared"],
)
def test_a_front_that_is_killed_in_a_smoke_test_is_no_fault_of_the_version(
    live: Callable[..., Live], monkeypatch: pytest.MonkeyPatch, after: float, deploy: dict[str, Any]
) -> None:
    world = live(**deploy)
    killer = Killer(world, monkeypatch, after)
    world.release("1")
    world.release("2", ("production",))
    assert len(set(killer.killed)) == 3, "a front in each smoke test"
    assert [(e.stage, e.version, e.ok) for e in world.events(SmokeTested)] == [
        ("staging", "1", True),
        *[("production", version, True) for version in "12"],
    ]
    assert world.events(RolledBack) == []
    assert world.shop.model("demo").champion == "2"


@pytest.fixture
def gone(home: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A world whose front never comes back once `world.silent` names a version that is asked."""
    monkeypatch.setattr(moves, "FRONT_BACK", 0.05)
    monkeypatch.setattr(moves, "POLL", 0.01)
    world = World(home, monkeypatch)
    own = world._ask

    def ask(address: str, rows: list[dict[str, Any]], signature: Any, variant: str, **more: Any) -> Any:
        if variant in world.silent:
            raise holdout.Unanswered("the endpoint does not answer: connection refused")
        return own(address, rows, signature, variant, **more)

    monkeypatch.setattr(holdout, "ask", ask)
    world.accept({**config(), "deploy": {"strategy": {"type": "canary", "steps": [50], "bake": "0s"}}})
    world.register("1", "2")
    return world


@pytest.mark.parametrize("stage", ["staging", "production"])
def test_a_front_that_does_not_come_back_fails_the_release_and_blames_no_version(gone: World, stage: Stage) -> None:
    gone.release("1")
    gone.silent.add("2")
    with pytest.raises(Unavailable, match=rf"the front of the {stage} endpoint died in the smoke test of demo:2") as caught:
        gone.release("2", (stage,))
    assert "did not come back within 0.05 s; the version is not at fault" in caught.value.what
    assert "modelyard deploy demo:2" in caught.value.next and "front.log" in caught.value.next
    assert gone.serves(stage) == ({"1": 100}, "1"), "nobody asks a version that was not tested"
    assert gone.events(RolledBack) == [] and all(test.ok for test in gone.events(SmokeTested))
    assert gone.shop.version("demo", "2").set_aside == "", "it may come again"
    gone.silent.discard("2")
    gone.release("2", (stage,))
    assert gone.serves(stage) == ({"2": 100}, "2")


def test_a_first_version_that_could_not_be_tested_serves_nobody(gone: World) -> None:
    gone.silent.add("1")
    with pytest.raises(Unavailable, match="the front of the staging endpoint died"):
        gone.release("1")
    assert gone.serves("staging") == ({}, None) and gone.events(Promoted) == []
    assert gone.events(Deployed)[-1].weights == {}
    gone.silent.discard("1")
    gone.release("1")
    assert gone.serves() == ({"1": 100}, "1")


def test_what_the_new_front_cannot_reach_at_once_is_asked_again(gone: World, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    def ask(*_: Any, **__: Any) -> list[dict[str, Any]]:
        said.append("asked")
        if len(said) == 1:
            raise holdout.Unanswered("the connection was reset")
        if len(said) == 2:
            error = YardError("no runner of version 1 answers")
            error.code = "no_runner"
            raise error
        return [{"prediction": 2.0}, {"prediction": 4.0}]

    monkeypatch.setattr(moves, "FRONT_BACK", 60.0)
    monkeypatch.setattr(holdout, "ask", ask)
    gone.release("1", ("staging",))
    assert len(said) == 3 and gone.serves("staging") == ({"1": 100}, "1")


def test_a_version_whose_runner_does_not_answer_is_at_fault(gone: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(*_: Any, **__: Any) -> Any:
        error = YardError("no runner of version 1 answers")
        error.code = "no_runner"
        raise error

    monkeypatch.setattr(holdout, "ask", ask)
    with pytest.raises(GateRefused, match="the endpoint did not answer: no runner of version 1 answers"):
        gone.release("1", ("staging",))
