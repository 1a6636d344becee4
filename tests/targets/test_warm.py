"""A local target that was told of jobs to come forks them from a warm interpreter, and says which it did not."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.build import sandbox
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
