"""Local endpoints with real fronts and runners, under a load that checks every answer, and with the faults that they must survive."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from modelyard.config.spec import Rollback, Strategy
from modelyard.deploy import rollout
from modelyard.errors import StepFailed, Unavailable, YardError
from modelyard.flows import holdout
from modelyard.flows.watching import difference, seen
from modelyard.home import Home
from modelyard.targets.local import LocalTarget
from modelyard.targets.places import BACK_OFF, BackOff
from tests.build.test_processes import until

from .scripts import ANSWERS, BROKEN, NUMBER, constant, endpoint
from .world import NAME, ROWS, SLOW, World, kill


@pytest.mark.slow
def test_a_roll_out_under_load_fails_no_request(world: World) -> None:
    for version in ("1", "2"):
        world.sklearn(version)
    world.apply({"1": 100})
    swaps = [
        {"2": 0, "1": 100},
        {"2": 10, "1": 90},
        {"2": 50, "1": 50},
        {"2": 100, "1": 0},
        {"2": 100},
        {"1": 100},  # blue/green, both ways, each loading its runner anew and ending the other's
        {"2": 100},
        {"2": 10, "1": 90},
        {"2": 0, "1": 100},
    ]
    seen: list[Counter[str]] = []

    def scenario() -> None:
        for weights in swaps:
            time.sleep(0.4)
            seen.append(Counter(v for v in world.apply(weights).variants))
        time.sleep(1.2)  # longer than the linger time: what no table names has ended, still under load

    old = world.pids("1")
    load = world.under_load(scenario, ROWS)
    assert load.failures == []
    assert len(seen) == len(swaps)
    assert set(load.kinds) == {"keep", "close", "slow"} and min(load.kinds.values()) >= 8
    assert set(load.versions) == {"1", "2"} and min(load.versions.values()) > 20
    until(lambda: world.settled(len(load.answered)))
    counted = {v: s.requests for v, s in world.state.variants.items()}
    assert counted == dict(load.versions), "every answer is counted once, under the version that gave it"
    assert all((s.errors, s.refused, s.in_flight) == (0, 0, 0) for s in world.state.variants.values())
    assert not [pid for pid in old if Path(f"/proc/{pid}").exists()], "the runner of a version that left has ended"
    assert world.told == []


def test_what_a_killed_runner_held_is_answered_by_the_next(world: World) -> None:
    world.script("1", SLOW.replace("{seconds}", "0.02"))
    world.apply({"1": 100}, workers=2)
    killed: list[int] = []

    def scenario() -> None:
        for deaths in (1, 2):
            until(lambda: all(place.back_off.useful for place in world.live()._crews["1"].places))
            killed.append(world.pids("1")[0])
            kill(killed[-1])
            until(lambda deaths=deaths: world.state.variants["1"].restarts == deaths)
            until(lambda: len(world.pids("1")) == 2 and killed[-1] not in world.pids("1"))
        time.sleep(0.5)

    load = world.under_load(scenario, keep=6, close=2, slow=0)
    assert len(killed) == 2  # the fault fired
    assert load.failures == [], "it was back within the time that requests wait"
    assert len(load.answered) > 50
    assert [version for version, _ in world.told] == ["1", "1"]
    assert [reason.rpartition(" in ")[2] for _, reason in world.told] == ["0.2 s", "0.2 s"], "they have answered, and are wanted"
    until(lambda: world.settled(len(load.answered) + len(load.failures)))
    assert world.state.variants["1"].errors == len(load.failures)


def test_a_killed_front_comes_back_on_the_same_port_and_forgets_nothing(world: World) -> None:
    world.versions["1"] = constant(world.home, "1")
    address = world.apply({"1": 100}).address
    for _ in range(5):
        assert world.ask()["version"] == "1"
    until(lambda: world.settled(5))
    before, runner = world.front(), world.pids("1")
    os.kill(before, signal.SIGKILL)
    until(lambda: world.told)
    assert world.told == [("", "the front ended with code -9; started again in 0.2 s")]
    assert world.state.variants["1"].requests == 5
    until(lambda: world.state.ready)
    assert (world.state.address, world.front() != before, world.pids("1")) == (address, True, runner)
    assert world.ask()["version"] == "1"
    until(lambda: world.settled(6))
    assert world.state.variants["1"].restarts == 0
    assert world.apply({"1": 100}).ready


def test_a_version_that_crashes_on_load_is_not_noticed_by_callers(world: World) -> None:
    world.versions["1"] = constant(world.home, "1")
    world.script("9", BROKEN)
    world.apply({"1": 100})
    caught: list[StepFailed] = []

    def scenario() -> None:
        for weights in ({"9": 100}, {"9": 10, "1": 90}):
            time.sleep(0.2)
            with pytest.raises(StepFailed, match="cannot load the model: RuntimeError: the weights are not there") as failed:
                world.apply(weights)
            caught.append(failed.value)

    load = world.under_load(scenario, keep=2, close=2, slow=2)
    assert load.failures == []
    assert set(load.versions) == {"1"} and len(load.answered) > 20
    assert len(caught) == 2
    assert any("in model_fn" in line for line in caught[0].log_tail), "the traceback is there"
    assert caught[0].where.endswith("runner-9-0.log") and Path(caught[0].where).is_file()
    until(lambda: world.settled(len(load.answered)))
    assert set(world.live()._crews) == {"1"} and world.told == []


def test_a_version_that_never_answers_is_rolled_back_and_the_old_one_is_unaffected(world: World) -> None:
    world.versions["1"] = constant(world.home, "1")
    world.script("2", SLOW)
    world.apply({"1": 100}, timeout=0.7)
    states: list[rollout.Rollout] = []
    took: list[float] = []

    def scenario() -> None:
        state, began = rollout.begin("2", "1", Strategy(steps=(10, 50))), time.monotonic()
        before = world.apply(state.weights, timeout=0.7).variants
        while state.status == "moving":
            time.sleep(0.05)
            now = world.state.variants
            new, old = (seen(difference(before.get(v), now[v])) for v in ("2", "1"))
            state = rollout.advance(state, rollout.Look(new, old, (time.monotonic() - began) / 60), Rollback())
        world.apply(state.weights, timeout=0.7)
        states.append(state)
        took.append(time.monotonic() - began)
        time.sleep(1)

    load = world.under_load(scenario, keep=6, close=3, slow=2)
    assert states[0].status == "rolled_back" and "requests failed, over the allowed 1.0%" in states[0].reason
    assert took[0] < 10
    assert load.failures and all(": 504 " in f and "version 2 did not answer" in f for f in load.failures)
    assert set(load.versions) == {"1"} and len(load.answered) > 50
    old = seen(world.state.variants["1"])
    assert old.errors == 0 and old.p99_ms is not None and old.p99_ms < 700
    assert set(world.state.variants) == {"1"}


def test_a_dead_version_is_not_gone_back_to(world: World) -> None:
    """Rolling back to it would take the endpoint down: it stops, says why, and stays with what answers."""
    for version in ("1", "2"):
        world.versions[version] = constant(world.home, version)
    world.apply({"2": 90, "1": 10})
    (world.versions["1"].code / "serve.py").write_text(BROKEN)
    kill(world.pids("1")[0])
    until(lambda: not world.ready("1"))
    with pytest.raises(StepFailed, match="the weights are not there"):
        world.apply({"1": 100})
    assert {v: s.weight for v, s in world.state.variants.items()} == {"2": 90, "1": 10}
    constant(world.home, "1")
    assert world.apply({"1": 100}).variants["1"].ready, "alive again, it is loaded before it gets traffic"
    assert world.ask()["version"] == "1"


def answers(world: World, version: str) -> bool:
    """Whether that version answers; it may just be starting again."""
    try:
        return bool(world.ask()["version"] == version)
    except YardError:
        return False


def test_the_others_are_looked_after_while_a_version_loads(world: World) -> None:
    world.versions["1"] = constant(world.home, "1")
    world.script("2", "import time\ntime.sleep(6)\n" + ANSWERS)
    world.apply({"1": 100})
    loading = threading.Thread(target=world.apply, args=({"2": 100},))
    loading.start()
    until(lambda: world.live()._loading)
    kill(world.pids("1")[0])
    until(lambda: world.told)
    until(lambda: answers(world, "1"))
    assert loading.is_alive(), "all that happened while it loaded"
    loading.join()
    assert world.ask()["version"] == "2"


def test_closing_does_not_wait_for_a_model_to_load(world: World) -> None:
    world.script("2", "import time\ntime.sleep(600)\n" + ANSWERS)
    raised: list[BaseException] = []

    def change() -> None:
        try:
            world.apply({"2": 100})
        except Unavailable as exc:
            raised.append(exc)

    loading = threading.Thread(target=change)
    loading.start()
    until(lambda: NAME in world.target._endpoints and world.live()._loading and world.live()._loading[0].child)
    began = time.monotonic()
    world.target.close()
    loading.join(10)
    assert time.monotonic() - began < 10
    assert len(raised) == 1
    assert world.target.endpoint(NAME) is None


def test_a_version_that_stands_by_answers_only_who_names_it(world: World) -> None:
    """That is how a smoke test comes to it before any caller does."""
    for version in ("1", "2"):
        world.versions[version] = constant(world.home, version)
    address = world.apply({"2": 0, "1": 100}).address
    assert {world.ask()["version"] for _ in range(20)} == {"1"}
    assert holdout.ask(address, [{"x": 1.0}] * 3, NUMBER, variant="2") == [{"prediction": 2.0}] * 3
    assert holdout.ask(address, [{"x": 1.0}], NUMBER) == [{"prediction": 1.0}]
    until(lambda: world.settled(22))
    assert world.state.variants["2"].requests == 1


def test_runners_are_added_and_taken_away(world: World) -> None:
    world.versions["1"] = constant(world.home, "1")
    world.apply({"1": 100})
    first = world.pids("1")

    def scenario() -> None:
        for workers in (3, 1, 2):
            world.apply({"1": 100}, workers=workers)
            assert len(world.pids("1")) == workers and world.pids("1")[:1] == first
            time.sleep(0.3)

    load = world.under_load(scenario, keep=4, close=2, slow=1)
    assert load.failures == [] and len(load.answered) > 20


def test_another_port_in_the_config_moves_the_front_without_a_gap(world: World) -> None:
    world.versions["1"] = constant(world.home, "1")
    world.apply({"1": 100})
    old = world.port
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    world.ask()
    until(lambda: world.settled(1))
    moved = world.apply({"1": 100}, port=port)
    assert moved.address == f"http://127.0.0.1:{port}" and moved.ready
    socket.create_connection(("127.0.0.1", old), timeout=1).close()  # for the linger time
    assert world.ask()["version"] == "1"
    until(lambda: world.settled(2))
    until(lambda: not _listens(old))
    assert world.apply({"1": 100}, port=port).address == moved.address
    assert world.told == []


def _listens(port: int) -> bool:
    with socket.socket() as peer:
        return peer.connect_ex(("127.0.0.1", port)) == 0


def test_the_watcher_outlives_whoever_it_tells(home: Path) -> None:
    told: list[str] = []

    def full_disk(model: str, stage: str, version: str, reason: str) -> None:
        told.append(reason)
        raise OSError("no room for the journal")

    target = LocalTarget(Home(home), full_disk)
    try:
        target.apply(endpoint({"1": 100}, {"1": constant(home, "1")}))
        for deaths in (1, 2):
            (place,) = target._endpoints[NAME]._crews["1"].places
            assert place.child is not None
            kill(place.child.pid)
            until(lambda deaths=deaths: len(told) == deaths)
            until(lambda: target.endpoint(NAME).variants["1"].ready)  # type: ignore[union-attr]
    finally:
        target.close()


def test_the_pause_grows_to_its_longest_and_starts_over_after_a_steady_or_useful_life() -> None:
    back_off = BackOff()
    pauses = []
    for _ in range(10):
        back_off.begin()
        assert back_off.over or pauses
        pauses.append(back_off.died())
        assert not back_off.over
    assert pauses == [BACK_OFF * 2**i for i in range(8)] + [30.0, 30.0]
    back_off.started = time.monotonic() - 61
    assert back_off.died() == BACK_OFF
    back_off.begin()
    assert back_off.died() == 2 * BACK_OFF, "it has begun anew"
    back_off.useful = True
    assert back_off.died() == BACK_OFF
