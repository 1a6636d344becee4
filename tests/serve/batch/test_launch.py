"""A batch as a process: killed, run beside another, and over runners."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest

from modelyard.errors import BadInput, StepFailed
from modelyard.serve import runner
from modelyard.serve.batch import launch
from modelyard.serve.batch.job import HIDDEN
from modelyard.serve.batch.order import Answering, Order
from modelyard.serve.refusals import ModelFailed

from ..world import NAMES, World, logistic, signature
from .made import order, rows, written


def inputs(folder: Path, files: int, times: int) -> Path:
    """Files of so many times a thousand rows."""
    folder.mkdir(exist_ok=True)
    for number in range(files):
        thousand = pl.DataFrame(rows(1000, number))
        pl.concat([thousand] * times).write_parquet(folder / f"{number:02}.parquet")
    return folder


def start(asked: Order) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-P", "-m", "modelyard.serve.batch.job"]
    job = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    assert job.stdin is not None
    job.stdin.write(msgspec.json.encode(asked) + b"\n")
    job.stdin.flush()
    return job


def finished(out: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in out.glob("*.parquet")}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_batch_goes_on_with_what_is_left(tmp_path: Path, workers: int) -> None:
    asked = order(tmp_path, inputs(tmp_path / "in", 24, 20), tmp_path / "out", workers=workers)
    job = start(asked)
    assert job.stdout is not None
    for _ in range(3):
        assert b'"output"' in job.stdout.readline()
    os.killpg(job.pid, signal.SIGKILL)
    assert job.wait() == -signal.SIGKILL, "the fault fired"
    before = finished(tmp_path / "out")
    assert 3 <= len(before) < 24
    for name in before:
        assert pl.read_parquet(tmp_path / "out" / name, glob=False).height == 20_000, "what is there is whole"
    (tmp_path / "out" / HIDDEN / "piece-7").write_bytes(b"left behind")
    said: list[dict[str, Any]] = []
    done = launch.run(asked, tmp_path / "log", on_file=said.append)
    assert (done["files"], done["rows"], len(said)) == (24, 24 * 20_000, 24)
    assert done["kept"] >= len(before) - 1, "one may have been shown and not yet noted"
    after = finished(tmp_path / "out")
    assert sum(after[name] == changed for name, changed in before.items()) == done["kept"]
    for number in range(24):
        table = pl.read_parquet(tmp_path / "out" / f"{number:02}.parquet", glob=False)
        assert table["prediction"].to_list() == written(rows(1000, number)) * 20
    assert sorted(p.name for p in (tmp_path / "out" / HIDDEN).iterdir()) == ["done.jsonl", "lock"]


def test_a_worker_that_dies_ends_the_batch_and_shows_no_file(tmp_path: Path) -> None:
    asked = order(tmp_path, inputs(tmp_path / "in", 1, 1500), tmp_path / "out", workers=2)
    failed: list[Exception] = []

    def run() -> None:
        try:
            launch.run(asked, tmp_path / "log")
        except StepFailed as exc:
            failed.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    victim = _worker_of(os.getpid())
    os.kill(victim, signal.SIGSTOP)  # its piece will not be answered, so that the batch cannot be over before it dies
    time.sleep(0.3)
    os.kill(victim, signal.SIGKILL)
    thread.join(60)
    assert "a worker of the batch ended with exit code -9" in str(failed[0])
    assert not finished(tmp_path / "out")
    assert launch.run(asked, tmp_path / "log")["rows"] == 1_500_000


def _worker_of(parent: int) -> int:
    """A worker that has begun, somewhere below a process."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes().split(b"\0")
            except OSError:
                continue
            if b"modelyard.serve.batch.worker" in words and _below(int(path.parent.name), parent):
                return int(path.parent.name)
        time.sleep(0.01)
    raise AssertionError("no worker was started")


def _below(pid: int, parent: int) -> bool:
    while pid > 1:
        if pid == parent:
            return True
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            return False
    return False


def test_a_second_batch_into_the_same_folder_is_refused(tmp_path: Path) -> None:
    source = inputs(tmp_path / "in", 4, 150)
    job = start(order(tmp_path, source, tmp_path / "out"))
    assert job.stdout is not None and b'"output"' in job.stdout.readline()
    os.killpg(job.pid, signal.SIGSTOP)  # in the middle of it, for as long as the other one takes to start
    with pytest.raises(BadInput, match="another batch writes there now"):
        launch.run(order(tmp_path, source, tmp_path / "out"), tmp_path / "log")
    os.killpg(job.pid, signal.SIGCONT)
    assert b'"done"' in job.stdout.read()
    assert job.wait() == 0
    assert launch.run(order(tmp_path, source, tmp_path / "out"), tmp_path / "log")["kept"] == 4


def test_it_ends_with_whoever_started_it(tmp_path: Path) -> None:
    job = start(order(tmp_path, inputs(tmp_path / "in", 1, 1500), tmp_path / "out"))
    until = time.monotonic() + 20
    while not (tmp_path / "out" / ".00.parquet.part").exists():  # it is in the middle of the file
        assert time.monotonic() < until
        time.sleep(0.005)
    assert job.poll() is None and job.stdin is not None
    job.stdin.close()
    assert job.wait(10) == -signal.SIGKILL
    assert not finished(tmp_path / "out")


def test_a_mode_is_that_of_the_outputs(tmp_path: Path) -> None:
    pl.DataFrame(rows(3)).write_csv(tmp_path / "in.csv")
    launch.run(order(tmp_path, tmp_path / "in.csv", tmp_path / "out.csv"), tmp_path / "log", 0o640)
    assert (tmp_path / "out.csv").stat().st_mode & 0o777 == 0o640


@pytest.fixture
def world() -> Any:
    with World() as made:
        yield made


def table(count: int) -> pl.DataFrame:
    random = np.random.default_rng(1)
    columns = {name: random.normal(size=count) for name in NAMES}
    columns[NAMES[3]][::7] = np.nan
    return pl.DataFrame({"id": [f"r{i}" for i in range(count)], **columns})


@pytest.mark.parametrize("workers", [1, 2])
def test_runners_answer_by_buffers_as_they_do_by_json(world: World, tmp_path: Path, workers: int) -> None:
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline

    world.save("1", make_pipeline(SimpleImputer(), logistic()).fit(*_data()))
    world.runner("1", signature())
    world.ready("1")
    given = table(3000)
    given.write_parquet(tmp_path / "in.parquet")
    answering = Answering(signature().to_dict(), sockets=(str(world.socket("1")),))
    asked = Order(str(tmp_path / "in.parquet"), str(tmp_path / "out.parquet"), "1", answering, workers=workers)
    assert launch.run(asked, tmp_path / "log")["rows"] == 3000
    found = pl.read_parquet(tmp_path / "out.parquet", glob=False)
    wanted = runner.predict(world.socket("1"), given, signature())
    assert found["id"].equals(given["id"])
    for name in signature().outputs:
        assert found[name].to_list() == wanted[f"y.{name}"].to_list()
    assert [path.name for path in world.home.glob("batch-*")] == []


def _data() -> tuple[Any, Any]:
    from ..world import data

    return data()


def test_a_row_that_a_runner_cannot_answer_is_found_and_left_out(world: World, tmp_path: Path) -> None:
    script = "def predict_fn(x, model):\n    import numpy as np\n    x = np.asarray(x)\n    if (x[:, 0] > 90).any():\n"
    script += "        raise ValueError('too much')\n    return model.predict_proba(x)\n"
    world.save("1", logistic(), script)
    world.runner("1", signature())
    world.ready("1")
    given = table(500).with_columns(pl.col(NAMES[3]).fill_nan(0.0))
    given = given.with_columns(pl.when(pl.col("id").is_in(["r17", "r18", "r444"])).then(99.0).otherwise(pl.col("c0")).alias("c0"))
    given.write_csv(tmp_path / "in.csv")
    answering = Answering(signature().to_dict(), sockets=(str(world.socket("1")),))
    asked = Order(str(tmp_path / "in.csv"), str(tmp_path / "out.csv"), "1", answering, max_errors=3)
    done = launch.run(asked, tmp_path / "log")
    assert (done["rows"], done["refused"]) == (500, 3)
    refused = [json.loads(line) for line in (tmp_path / "out.csv.errors.jsonl").read_text().splitlines()]
    assert [(line["row"], line["error"]) for line in refused] == [(row, "ValueError: too much") for row in (17, 18, 444)]
    assert pl.read_csv(tmp_path / "out.csv").height == 497
    strict = Order(str(tmp_path / "in.csv"), str(tmp_path / "strict.csv"), "1", answering)
    with pytest.raises((BadInput, ModelFailed), match="too much"):
        launch.run(strict, tmp_path / "log")
