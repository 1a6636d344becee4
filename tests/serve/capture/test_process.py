"""A real front that must keep what it answers, on a disk that fails."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from modelyard.serve import routes, stats
from modelyard.serve.captured import read
from modelyard.tables import INFERENCE_ID

from ..world import NAMES, World, logistic, signature

ROW = json.dumps(dict.fromkeys(NAMES, 0.5))
SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int fdatasync(int file) {  /* fails, and says so, while the file FAULT is there */
    const char *fault = getenv("FAULT");
    if (access(fault, F_OK) == 0) {
        FILE *fired = fopen(fault, "a");
        fputs("x", fired);
        fclose(fired);
        errno = EIO;
        return -1;
    }
    return ((int (*)(int))dlsym(RTLD_NEXT, "fdatasync"))(file);
}
"""


@pytest.fixture
def world() -> Iterator[World]:
    with World() as made:
        made.save("1", logistic())
        made.runner("1", signature())
        made.ready("1")
        yield made


def post(world: World) -> tuple[int, str | None, str]:
    link = http.client.HTTPConnection("127.0.0.1", world.port, timeout=30)
    link.request("POST", "/invocations", ROW, {"Content-Type": "application/json"})
    answer = link.getresponse()
    content = json.loads(answer.read())
    link.close()
    said = content["predictions"][0]["inference_id"] if answer.status == 200 else content["error"]["code"]
    return answer.status, answer.getheader("Retry-After"), said


def counted(world: World, eligible: int) -> stats.CaptureStats:
    """The front's counters once it has told of so many rows."""
    until = time.monotonic() + 10
    while (found := stats.read(world.stats_path).capture).eligible < eligible and time.monotonic() < until:
        time.sleep(0.05)
    return found


def test_no_answer_goes_out_that_the_disk_did_not_take(world: World, tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler to make a failing disk with; tests of Commits cover the same path")
    fault, library = tmp_path / "fault", tmp_path / "shim.so"
    (tmp_path / "shim.c").write_text(SHIM)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(tmp_path / "shim.c"), "-ldl"], check=True)
    world.route({"1": 100}, signature(), capture=routes.Capture(str(world.capture), mode="required"))
    front = world.start_front(env={"LD_PRELOAD": str(library), "FAULT": str(fault)})
    with ThreadPoolExecutor(8) as pool:
        good = list(pool.map(lambda _: post(world), range(24)))
        fault.touch()
        bad = list(pool.map(lambda _: post(world), range(24)))
        fired = len(fault.read_text())
        fault.unlink()
        again = list(pool.map(lambda _: post(world), range(24)))
    assert {(status, retry) for status, retry, _ in [*good, *again]} == {(200, None)}
    assert {(status, retry, code) for status, retry, code in bad} == {(503, "1", "not_captured")}
    assert 0 < fired <= 24
    kept = counted(world, 72)
    assert (kept.eligible, kept.captured, kept.failed, kept.dropped) == (72, 48, 24, 0)
    assert kept.last_error == "Input/output error"
    os.kill(front.pid, signal.SIGKILL)
    assert front.popen.wait(5) == -signal.SIGKILL
    assert sorted(read(world.capture)[INFERENCE_ID]) == sorted(id for _, _, id in [*good, *again])


def test_a_full_disk_refuses_what_must_be_kept_and_heals(world: World, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=68k", "none", str(disk)], capture_output=True).returncode:
        pytest.skip("a small tmpfs cannot be mounted here (it needs root)")
    try:
        (disk / "ballast").write_bytes(bytes(60 * 1024))
        world.route({"1": 100}, signature(), capture=routes.Capture(str(disk / "capture"), mode="required"))
        world.start_front()
        answers = [post(world) for _ in range(60)]
        refused = [answer for answer in answers if answer[0] != 200]
        assert {(status, retry, code) for status, retry, code in refused} == {(503, "1", "not_captured")}
        (disk / "ballast").unlink()
        healed = [post(world) for _ in range(5)]
        assert [status for status, _, _ in healed] == [200] * 5
        kept = counted(world, 65)
        assert (kept.dropped, kept.captured, kept.failed) == (len(refused), 65 - len(refused), 0)
        assert world.front is not None
        world.front.stop(5)
        assert read(disk / "capture").height == kept.captured
    finally:
        if world.front is not None:
            world.front.stop(5)
        subprocess.run(["umount", str(disk)], check=True)
