"""kill -9 of an owner that lasts: its endpoints go on with their last weights, and the next owner takes them over. No request fails."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from modelyard.errors import YardError
from modelyard.flows import holdout
from modelyard.home import Home, scratch_prefix
from modelyard.serve import left, routes, stats
from modelyard.serve.keys import Keys
from modelyard.serve.processes import start_time
from modelyard.targets import places
from modelyard.targets.base import EndpointSpec
from modelyard.targets.local import LocalTarget
from tests.build.test_processes import until

from .scripts import ANSWERS, NUMBER, scripted
from .test_swaps import compiled
from .world import NAME, World, kill

WEIGHTS = {"2": 10, "1": 90}


class Lasting(World):
    """A world whose target begins when it is told to: another process owns the home before."""

    def begin(self, *, lasts: bool = True) -> None:
        self.target.close()
        told = self.told
        self.target = LocalTarget(Home(self.home), lambda model, stage, version, reason: told.append((version, reason)), lasts=lasts)

    def split(self, weights: dict[str, int] = WEIGHTS, **more: Any) -> EndpointSpec:
        """Version 1 has a runner, version 2 a row plan."""
        for version in ("1", "2"):
            self.versions[version] = scripted(self.home, version, ANSWERS.format(number=float(version)), NUMBER)
        one = self.spec(weights, **more)
        plan = compiled(self, "2")
        return replace(one, variants=tuple(replace(v, plan=plan if v.version == "2" else None) for v in one.variants))


@pytest.fixture
def home() -> Iterator[Path]:
    """Short enough for a socket's address, and gone afterwards with whatever goes on in it."""
    path = Path(tempfile.mkdtemp(prefix="yard-"))
    yield path
    for one in left.fronts(path / "endpoints" / NAME) + left.fronts(path / "endpoints" / ".shared"):
        one.stop()
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def world(home: Path) -> Iterator[Lasting]:
    world = Lasting(home)
    yield world
    world.target.close()


@dataclass
class Owner:
    """Another process that owned the home, and what it had started."""

    process: subprocess.Popen[str]
    port: int
    front: int
    runners: list[int]

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def own(home: Path, *, lasts: bool, shared: bool = False, more: Sequence[str] = ()) -> Owner:
    """Have another process own the home, with the endpoint up; `more` are further words for `_own`."""
    argv = [sys.executable, "-m", "tests.targets.test_takeover", str(home), *(["lasts"] * lasts), *(["shared"] * shared), *more]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    assert process.stdout is not None
    port, front, *runners = json.loads(process.stdout.readline())
    return Owner(process, port, front, runners)


def gone(*pids: int) -> bool:
    return all(start_time(pid) is None for pid in pids)


def scratch(home: Path) -> list[Path]:
    return list(Path(tempfile.gettempdir()).glob(f"{scratch_prefix(home)}*"))


@pytest.mark.slow
@pytest.mark.parametrize("shared", [False, True])
def test_endpoints_outlive_their_owner_and_the_next_one_takes_them_over(world: Lasting, shared: bool) -> None:
    owner = own(world.home, lasts=True, shared=shared)
    tables = world.home / "endpoints" / ".shared" / "tables" / f"{NAME}.json" if shared else world.home / "endpoints" / NAME / "routes.json"
    capture, spec = world.home / "endpoints" / NAME / "capture", world.split(shared=shared)
    before = routes.read(tables)
    seen: dict[str, int] = {}

    def sizes() -> int:
        return sum(path.stat().st_size for path in capture.rglob("*") if path.is_file())

    def scenario() -> None:
        load = world.load
        until(lambda: len(load.answered) > 300)
        owner.kill()
        seen["at the kill"], seen["captured"] = len(load.answered), sizes()
        alone = dict(load.versions)
        until(lambda: len(load.answered) > seen["at the kill"] + 1000, 60)
        counts = {v: load.versions[v] - alone[v] for v in alone}
        assert 0.02 < counts["2"] / sum(counts.values()) < 0.25, f"as before: {counts}"
        assert not gone(owner.front) and not any(gone(pid) for pid in owner.runners)
        until(lambda: sizes() > seen["captured"], 10)
        Home(world.home).sweep()  # as a new owner does first of all
        seen["swept"] = len(load.answered)
        until(lambda: len(load.answered) > seen["swept"] + 200, 60)
        world.begin()
        world.target.apply(spec)
        until(lambda: gone(*owner.runners), 10)
        seen["taken over"] = len(load.answered)
        until(lambda: len(load.answered) > seen["taken over"] + 500, 60)
        world.target.apply(replace(world.split({"2": 50, "1": 50}), shared=shared))
        seen["went on"] = len(load.answered)
        until(lambda: len(load.answered) > seen["went on"] + 500, 60)

    path = f"/{NAME}/invocations" if shared else "/invocations"
    done = world.calling(owner.port, path, scenario)
    assert done.failures == [] and set(done.versions) == {"1", "2"} and set(done.kinds) == {"keep", "close", "slow"}
    assert (world.target._shared.pid if shared else world.front()) == owner.front, "the same process all the time"
    assert world.port == owner.port
    assert routes.read(tables).generation > before.generation
    runners = world.pids("1")
    assert runners and not set(runners) & set(owner.runners)
    assert world.told == []
    world.target.close()
    until(lambda: gone(owner.front, *runners), 10)
    Home(world.home).sweep()
    assert scratch(world.home) == []


def test_without_it_everything_ends_with_its_owner(world: Lasting) -> None:
    owner = own(world.home, lasts=False)
    assert owner.runners and not gone(owner.front)
    owner.kill()
    until(lambda: gone(owner.front, *owner.runners), 10)
    assert left.end_all(world.home / "endpoints") == 0


def test_what_was_left_can_be_ended_without_an_owner(world: Lasting) -> None:
    owner = own(world.home, lasts=True)
    owner.kill()
    assert not gone(owner.front)
    assert left.end_all(world.home / "endpoints") == 1
    until(lambda: gone(owner.front, *owner.runners), 10)


def test_a_front_that_was_left_with_other_settings_makes_way(world: Lasting) -> None:
    owner = own(world.home, lasts=True)
    owner.kill()
    world.begin()
    world.target.apply(world.split(names=("models.example.org",)))
    assert world.front() != owner.front
    until(lambda: gone(owner.front, *owner.runners), 10)
    assert world.ask()["version"] in ("1", "2")


@pytest.mark.parametrize("shared", [False, True])
def test_a_front_of_another_release_makes_way(world: Lasting, shared: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may not read the tables that this one writes: then nothing could be changed any more."""
    owner = own(world.home, lasts=True, shared=shared)
    owner.kill()
    world.begin()
    monkeypatch.setattr(places, "__version__", "0.0.0")
    world.target.apply(replace(world.split(shared=shared), preferred_port=owner.port))
    assert (world.target._shared.pid if shared else world.front()) != owner.front
    until(lambda: gone(owner.front, *owner.runners), 10)
    assert world.port == owner.port


@pytest.mark.parametrize("names", [(), ("models.example.org",)])
def test_a_front_that_died_while_nobody_owned_it_is_started_beside_the_others(world: Lasting, names: tuple[str, ...]) -> None:
    """Also where the endpoint listened otherwise before: its fronts then have other names than those that an owner begins with."""
    owner = own(world.home, lasts=True, more=("two", *names))
    owner.kill()
    kill(owner.front)
    (other,) = [one for one in left.fronts(world.home / "endpoints" / NAME) if one.number == 1 and {*names} <= {*one.argv}]
    world.begin()
    world.target.apply(replace(world.split(fronts=2, names=names), preferred_port=owner.port))
    assert world.port == owner.port and len(world.live()._front.pids) == 2  # type: ignore[union-attr]
    assert other.pid in world.live()._front.pids, "the one that lives is taken over"  # type: ignore[union-attr]
    assert world.ask()["version"] in ("1", "2")


@pytest.mark.parametrize("shared", [False, True])
def test_a_front_that_nobody_has_taken_over_yet_lets_in_no_revoked_key(world: Lasting, shared: bool) -> None:
    """Its endpoint may be unable to come up."""
    owner = own(world.home, lasts=True, shared=shared, more=("keys",))
    owner.kill()
    world.begin()
    address = f"http://127.0.0.1:{owner.port}{f'/{NAME}' if shared else ''}"
    shop = {"X-Api-Key": (world.home / "shop").read_text()}
    assert holdout.post(address, b'{"x": 1.0}', headers=shop)
    keys = Keys(world.home / "endpoints" / NAME)
    keys.revoke("shop")
    world.target.let_in(NAME, routes.Access(keys.hashes()))

    def refused() -> bool:
        try:
            holdout.post(address, b'{"x": 1.0}', headers=shop)
        except YardError as exc:
            return "not let in" in exc.what
        return False

    until(refused)


def test_a_front_that_was_taken_over_and_dies_is_started_again(world: Lasting) -> None:
    owner = own(world.home, lasts=True)
    owner.kill()
    world.begin(lasts=False)
    world.target.apply(world.split())
    assert world.front() == owner.front, "by an owner that would not last, too"
    kill(owner.front)
    until(lambda: world.target._endpoints[NAME]._front.alive and world.front() != owner.front, 20)
    until(lambda: world.state.ready, 20)
    assert ("", "the front ended; started again in 0.2 s") in world.told
    assert world.port == owner.port and world.ask()["version"] in ("1", "2")


def test_a_front_ends_when_its_endpoint_is_gone_from_the_disk(world: Lasting) -> None:
    owner = own(world.home, lasts=True)
    owner.kill()
    shutil.rmtree(world.home / "endpoints")
    until(lambda: gone(owner.front, *owner.runners), 20)


def test_another_process_is_no_front(world: Lasting, home: Path) -> None:
    """Its stats may name a process id that is somebody else's by now."""
    path = home / "stats.json"
    assert left.front(path) is None
    stats.write(path, stats.Stats(pid=os.getpid(), started_at=0.0, port=1))
    assert left.front(path) is None
    path.write_bytes(b"nonsense")
    assert left.front(path) is None


def _own(home: Path, words: list[str]) -> None:
    """What the other process does: bring the endpoint up, say where, and stay."""
    world = Lasting(home)
    world.begin(lasts="lasts" in words)
    shared = "shared" in words
    fronts, keys = 2 if "two" in words else 1, Keys(home / "endpoints" / NAME)
    if "keys" in words:
        (home / "shop").write_text(keys.create("shop", "anna", datetime.now(UTC)))
    access = routes.Access(keys.hashes() if "keys" in words else None)
    world.target.apply(world.split(shared=shared, fronts=fronts, access=access))
    for name in words:
        if "." in name:
            world.target.apply(world.split(fronts=fronts, names=(name,)))
    holdout.post(world.state.address, b'{"x": 1.0}', own=world.state.own)
    front = world.target._shared.pid if shared else world.front()
    print(json.dumps([world.port, front, *world.pids("1")]), flush=True)
    signal.pause()


if __name__ == "__main__":
    _own(Path(sys.argv[1]), sys.argv[2:])
