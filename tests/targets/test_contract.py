"""What every target promises, whatever it runs on. A new target adds itself to `TARGETS` and passes."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelyard.build.launch import descendants
from modelyard.errors import BadInput, NotFound, StepFailed, Unavailable
from modelyard.home import Home
from modelyard.targets.base import EndpointState, Job, JobState, OnLine, Target
from modelyard.targets.fake import Behaviour, FakeTarget
from modelyard.targets.local import LocalTarget
from tests.build.test_processes import alive, until

from .scripts import BROKEN, constant, endpoint, scripted

NAME = "demo-production"
WELL = 'import os\nprint("began", flush=True)\nopen(os.environ["SM_MODEL_DIR"] + "/m", "w").write("m")\nprint("saved")\n'
LONG = 'import subprocess, time\nchild = subprocess.Popen(["sleep", "60"])\nprint("began", flush=True)\ntime.sleep(60)\n'
FAILS = 'print("began", flush=True)\nprint("no luck")\nraise SystemExit(7)\n'


class Local:
    """The local target with real processes."""

    def __init__(self, home: Path) -> None:
        self.home, self.others = home, descendants(os.getpid())
        self.target: Target = LocalTarget(Home(home), lambda *failure: None)
        self.versions = {v: constant(home, v) for v in ("1", "2")} | {"9": scripted(home, "9", BROKEN)}

    def job(self, script: str, name: str = "train") -> Job:
        code = self.home / f"code-{name}"
        code.mkdir(exist_ok=True)
        (code / "train.py").write_text(script)
        base = self.home / "run-1" / name
        return Job("run-1", name, "train", Path(sys.executable), "train.py", code, base, inputs={}, timeout=60)

    def remains(self) -> list[str]:
        """Processes of the target that still run."""
        return [str(pid) for pid in descendants(os.getpid()) if alive(pid) and pid not in self.others]

    def taken_port(self) -> int:
        self.taken = socket.create_server(("127.0.0.1", 0))
        return int(self.taken.getsockname()[1])


class Fake(Local):
    """The fake, whose jobs are functions that do what the scripts do."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.target.close()
        self.working: list[str] = []
        fails = Behaviour(cannot_load="cannot load the model: RuntimeError: the weights are not there")
        self.target = FakeTarget(self.work, {"9": fails}, taken_ports=frozenset({9000}))

    def work(self, job: Job, on_line: OnLine, cancel: threading.Event) -> JobState:
        script = (job.code / job.entry_point).read_text()
        self.working.append(script)
        try:
            on_line("began")
            if script == LONG:
                assert cancel.wait(60)
                raise StepFailed("train.py was cancelled", where=job.name)
            if script == FAILS:
                raise StepFailed("train.py exited with 7", where=job.name, log_tail=("began", "no luck"))
            (job.base / "model").mkdir(parents=True)
            (job.base / "model" / "m").write_text("m")
            on_line("saved")
            return JobState("done", output=job.base / "model")
        finally:
            self.working.remove(script)

    def remains(self) -> list[str]:
        return self.working

    def taken_port(self) -> int:
        return 9000


TARGETS = {"local": Local, "fake": Fake}


@pytest.fixture(params=TARGETS)
def world(request: pytest.FixtureRequest, home: Path) -> Iterator[Any]:
    world = TARGETS[request.param](home)
    yield world
    world.target.close()


@pytest.fixture
def target(world: Any) -> Any:
    return world.target


# -- jobs -----------------------------------------------------------------------------------------------------------------------


def test_a_job_is_waited_for_and_gives_its_output(world: Any, target: Target) -> None:
    lines: list[str] = []
    id = target.submit(world.job(WELL), lines.append)
    state = target.job(id)
    assert (state.status, state.error) == ("done", None)
    assert state.output is not None and (state.output / "m").read_text() == "m"
    assert state.seconds > 0
    assert lines == ["began", "saved"]
    assert target.job(id, timeout=0) == state


def test_the_same_run_and_name_is_one_job_while_it_runs(world: Any, target: Target) -> None:
    lines: list[str] = []
    job = world.job(LONG)
    ids = {target.submit(job, lines.append) for _ in range(3)}
    assert len(ids) == 1
    until(lambda: lines == ["began"])
    assert target.submit(job, lines.append) in ids
    began = time.monotonic()
    assert target.job(*ids, timeout=0.2).status == "running"
    assert 0.2 <= time.monotonic() - began < 5
    other = target.submit(world.job(WELL, "other"), lambda line: None)
    assert other not in ids
    assert target.job(other).status == "done"
    target.cancel(*ids)
    assert lines == ["began"], "it was started once"


def test_a_cancelled_job_leaves_nothing_behind(world: Any, target: Target) -> None:
    lines: list[str] = []
    id = target.submit(world.job(LONG), lines.append)
    until(lambda: lines == ["began"])
    assert world.remains(), "the fault can fire"
    target.cancel(id)
    assert world.remains() == []
    state = target.job(id)
    assert state.status == "cancelled"
    target.cancel(id)
    assert target.job(id) == state
    assert target.job(target.submit(world.job(WELL), lambda line: None)).status == "done", "one that has ended runs again"
    target.cancel(id)
    assert target.job(id).status == "done", "cancelling an ended job does nothing"


def test_a_failed_job_gives_its_error(world: Any, target: Target) -> None:
    state = target.job(target.submit(world.job(FAILS), lambda line: None))
    assert state.status == "failed"
    assert isinstance(state.error, StepFailed)
    assert state.error.what.startswith("train.py exited with 7")
    assert state.error.log_tail[-1] == "no luck"


def test_a_job_that_nobody_knows(target: Target) -> None:
    for verb in (target.job, target.cancel):
        with pytest.raises(NotFound, match="there is no job run-9/train"):
            verb("run-9/train")


# -- endpoints ------------------------------------------------------------------------------------------------------------------


def weights(state: EndpointState | None) -> dict[str, int]:
    assert state is not None
    return {version: v.weight for version, v in state.variants.items()}


def test_an_endpoint_comes_changes_and_goes(world: Any, target: Target) -> None:
    assert target.endpoint(NAME) is None
    first = target.apply(endpoint({"1": 100}, world.versions))
    assert (first.name, first.ready, weights(first)) == (NAME, True, {"1": 100})
    assert first.address.startswith("http://") and int(first.address.rpartition(":")[2]) > 0

    again = target.apply(endpoint({"1": 100}, world.versions))
    assert (again.address, weights(again)) == (first.address, {"1": 100})

    for share in (0, 10, 100):
        moved = target.apply(endpoint({"2": share, "1": 100 - share}, world.versions))
        assert (moved.address, weights(moved)) == (first.address, {"2": share, "1": 100 - share})
        assert all(v.ready and v.restarts == 0 for v in moved.variants.values())
    assert weights(target.apply(endpoint({"2": 100}, world.versions))) == {"2": 100}
    assert weights(target.endpoint(NAME)) == {"2": 100}

    for _ in range(2):
        target.remove(NAME)
        assert target.endpoint(NAME) is None
    assert world.remains() == []


def test_a_version_that_cannot_be_loaded_changes_nothing(world: Any, target: Target) -> None:
    with pytest.raises(StepFailed, match="the weights are not there"):
        target.apply(endpoint({"9": 100}, world.versions))
    assert target.endpoint(NAME) is None
    before = target.apply(endpoint({"1": 100}, world.versions))
    for wanted in ({"9": 100}, {"9": 10, "1": 90}, {"2": 10, "9": 90}, {"9": 0, "1": 100}):
        with pytest.raises(StepFailed, match="the weights are not there") as caught:
            target.apply(endpoint(wanted, world.versions))
        assert "the weights are not there" in caught.value.log_tail[-1]
        after = target.endpoint(NAME)
        assert after is not None
        assert (after.address, after.ready, weights(after)) == (before.address, True, {"1": 100})


def test_a_port_that_is_taken_is_named_with_the_key_to_change(world: Any, target: Target) -> None:
    port = world.taken_port()
    with pytest.raises(BadInput, match=rf"the production endpoint cannot listen: .*port {port} cannot be used") as caught:
        target.apply(endpoint({"1": 100}, world.versions, port=port))
    assert "`port` under environments.production" in caught.value.next
    assert target.endpoint(NAME) is None
    before = target.apply(endpoint({"1": 100}, world.versions))
    with pytest.raises(BadInput, match=f"port {port} cannot be used"):
        target.apply(endpoint({"2": 100}, world.versions, port=port))
    after = target.endpoint(NAME)
    assert after is not None
    assert (after.address, weights(after), after.ready) == (before.address, {"1": 100}, True)


@pytest.mark.parametrize("wrong", [{}, {"1": 99}, {"1": 100, "2": 100}, {"1": 101, "2": -1}])
def test_weights_that_do_not_hold(world: Any, wrong: dict[str, int]) -> None:
    with pytest.raises(BadInput, match="weights must sum to 100"):
        endpoint(wrong, world.versions)


def test_a_closed_target_starts_nothing(world: Any, target: Target) -> None:
    target.apply(endpoint({"1": 100}, world.versions))
    lines: list[str] = []
    id = target.submit(world.job(LONG), lines.append)
    until(lambda: lines == ["began"])
    target.close()
    assert target.job(id).status == "cancelled"
    assert world.remains() == []
    with pytest.raises(Unavailable):
        target.apply(endpoint({"1": 100}, world.versions))
    with pytest.raises(Unavailable):
        target.submit(world.job(WELL), lines.append)
