"""A local target that was told of jobs to come forks them from a warm interpreter, and says which it did not."""

from __future__ import annotations

import json
import py_compile
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.build import processes, sandbox
from modelyard.feed import FEED, Feed
from modelyard.home import Home
from modelyard.targets.base import Job
from modelyard.targets.local import LocalTarget

pytestmark = [pytest.mark.needs("bwrap"), pytest.mark.skipif(not sandbox.namespaces(), reason="users may not make namespaces here")]
SCRIPT = "import os\nopen(os.path.join(os.environ['SM_MODEL_DIR'], 'm'), 'w').write('made')\nprint('ran', flush=True)\n"


@pytest.fixture
def target(home: Path) -> Iterator[LocalTarget]:
    made = LocalTarget(Home(home), lambda *_: None)
    yield made
    made.close()


def job(home: Path, entry_point: str = "train.py", **more: object) -> Job:
    base, code = home / "runs" / "r" / "train", home / "runs" / "r" / "code"
    code.mkdir(parents=True, exist_ok=True)
    (code / "train.py").write_text(SCRIPT)
    (code / "train").write_text("#!/bin/sh\necho made > $SM_MODEL_DIR/m\necho ran\n")
    return Job("r", "train", "train", Path(sys.executable), entry_point, code, base, {}, **more)  # type: ignore[arg-type]


def test_jobs_are_forked_once_they_were_told_of(target: LocalTarget, home: Path) -> None:
    said: dict[str, str | None] = {}
    (home / "runs" / "r").mkdir(parents=True)
    target.warm_up("r", Path(sys.executable), ["json"], [home / "runs" / "r"])
    assert target.warm("r") is not None
    lines: list[str] = []
    wanted = {"script": job(home), "command": job(home, "train"), "variables": job(home, environment={"A": "b"})}
    for name, one in wanted.items():
        state = target.job(target.submit(one, lines.append))
        assert state.error is None, state.error
        assert state.output is not None and (state.output / "m").read_text().strip() == "made"
        said[name] = state.isolation
    target.cool_down("r")
    assert target.warm("r") is None
    said["after"] = target.job(target.submit(job(home), lines.append)).isolation
    assert "forked" in str(said["script"])
    assert {said[name] for name in ("command", "variables", "after")} == {sandbox.available()}
    assert lines == ["ran"] * 4


def test_it_can_be_turned_off(target: LocalTarget, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELYARD_WARM", "0")
    target.warm_up("r", Path(sys.executable), ["json"], [home])
    assert target.warm("r") is None


@pytest.mark.parametrize("place", ["train", "steps/more", "trials/7/train"])
@pytest.mark.parametrize("last", [None, "step_started", "stopped"])
def test_what_a_killed_owner_left_of_a_run_that_has_not_ended_is_killed(home: Path, place: str, last: str | None) -> None:
    over, cut_short = home / "runs" / "over", home / "runs" / "cut-short"
    kinds = {over: ["step_started", "ended"], cut_short: ["ended, they say", *([last] if last else [])] if last else []}
    with subprocess.Popen(["sleep", "600"]) as left, subprocess.Popen(["sleep", "600"]) as other:
        for run, process in ((over, other), (cut_short, left)):
            (run / place).mkdir(parents=True)
            facts = {"token": "0" * 32, "pid": process.pid, "started": processes._start_time(process.pid)}
            (run / place / processes.RECORD).write_text(json.dumps(facts))
            for kind in kinds[run]:
                Feed(run / FEED).put(kind)
        LocalTarget(Home(home), lambda *_: None).close()
        assert left.poll() is not None and not (cut_short / place / processes.RECORD).exists()
        assert other.poll() is None, "a run that ended has left nothing, so nobody looks"
        other.kill()


def test_the_runtime_is_compiled_for_all_who_may_only_read_it(target: LocalTarget, home: Path) -> None:
    (home / "runs" / "r").mkdir(parents=True)
    target.warm_up("r", Path(sys.executable), ["json"], [home / "runs" / "r"])
    deadline = time.monotonic() + 60
    while not (found := [*home.glob("runtime/*/.compiled")]):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    source = found[0].parent / "modelyard" / "runtime" / "runner.py"
    compiled = Path(py_compile.compile(str(source), cfile=str(home / "own.pyc"), doraise=True) or "")
    kept = next((source.parent / "__pycache__").glob(f"runner.{sys.implementation.cache_tag}.pyc"))
    assert kept.read_bytes()[:16] == compiled.read_bytes()[:16], "of this Python, and of the source as it lies there"
