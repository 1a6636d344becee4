from __future__ import annotations

import os
import signal
import stat
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from modelyard.errors import BadInput, StepFailed, Unavailable
from modelyard.serve.processes import descendants, environment, spawn, start_time
from modelyard.serve.refusals import ModelFailed
from modelyard.serve.runner import features, install_runtime, predict, time_rows, wait_ready
from modelyard.signature import Column, Signature
from tests.needs import needs_bwrap

from .fake import FakeRunner, double
from .world import NAMES, World, boosting, data, logistic, signature

NUMBER = Signature("regression", (Column("x", "float", nullable=True),))


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    world = World()
    yield world
    world.stop()


def test_the_runtime_is_installed_once_per_content(tmp_path: Path) -> None:
    first = install_runtime(tmp_path)
    assert install_runtime(tmp_path) == first
    assert (first / "modelyard" / "__init__.py").read_bytes() == b""
    assert (first / "modelyard" / "runtime" / "runner.py").is_file()
    assert [p.name for p in (tmp_path / "runtime").iterdir()] == [first.name]


def test_a_table_is_answered_as_the_model_itself_answers(world: World) -> None:
    model = boosting()
    world.save("1", model)
    world.runner("1", signature(decision_threshold=0.7))
    hello = world.ready("1")
    assert (hello["protocol"], hello["ready"], hello["model_fn"]) == (1, True, "framework")
    assert hello["python"].startswith("3.") and hello["load_seconds"] > 0
    x, _ = data(12_345, seed=4)
    x[::7, 3] = np.nan
    table = pl.DataFrame({n: x[:, i] for i, n in enumerate(NAMES)}).with_columns(pl.lit(1).alias("more"))
    answer = predict(world.socket("1"), table, signature())
    truth = model.predict_proba(x)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(answer["y.probability_1"], truth[:, 1])
    np.testing.assert_array_equal(answer["y.probability_0"], truth[:, 0])
    np.testing.assert_array_equal(answer["y.prediction"], (truth[:, 1] >= 0.7).astype(int))
    assert dict(answer.schema) == {"y.prediction": pl.Int64, "y.probability_0": pl.Float64, "y.probability_1": pl.Float64}
    assert len(seconds := time_rows(world.socket("1"), table.head(3), signature(), 2, 7)) == 7 and min(seconds) > 0
    prefixed = table.rename({n: f"f.{n}" for n in NAMES})
    assert predict(world.socket("1"), prefixed, signature()).equals(answer)


def test_a_script_with_model_fn_and_predict_fn(world: World) -> None:
    script = (
        "import os, joblib\nimport helper\nprint('loud', os.environ['OMP_NUM_THREADS'])\n"
        "def model_fn(folder):\n    return joblib.load(os.path.join(folder, 'model.joblib'))\n"
        "def predict_fn(x, model):\n    return model.predict_proba(x)[:, 1] * helper.HALF\n"
    )
    world.save("2", logistic(), script)
    (world.home / "2" / "code" / "helper.py").write_text("HALF = 0.5\n")
    (world.home / "2" / "code" / "json.py").write_text("raise ImportError('a user file must not stand in for the library')\n")
    world.runner("2", signature())
    assert world.ready("2")["model_fn"] == "script"
    x, _ = data(50, seed=5)
    answer = predict(world.socket("2"), pl.DataFrame(dict(zip(NAMES, x.T, strict=True))), signature())
    np.testing.assert_allclose(answer["y.probability_1"], logistic().predict_proba(x)[:, 1] / 2)  # type: ignore[attr-defined]
    assert "loud 1" in world.runners["2"].tail()


@needs_bwrap
def test_a_sandbox_wraps_the_command(world: World) -> None:
    script = "import os\ndef model_fn(folder):\n    return os.listdir('/') + [os.path.exists('/root')]\n"
    script += "def predict_fn(x, model):\n    return x[:, 0] * 0 + ('/etc' in model or 'etc' in model) + 10 * model[-1]\n"
    world.save("6", None, script)
    prefix = ["bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--proc", "/proc", "--dev", "/dev"]
    shown = {"/usr", "/lib", "/lib64", "/bin", sys.prefix, sys.base_prefix, str(world.home)}
    for path in sorted(p for p in shown if Path(p).exists()):
        prefix += ["--ro-bind" if path != str(world.home) else "--bind", path, path]
    signed = Signature("regression", (Column("x", "float"),))
    child = world.runner("6", signed, wrap=lambda argv: [*prefix, "--", *argv])
    world.ready("6")
    answer = predict(world.socket("6"), pl.DataFrame({"x": [1.0]}), signed)["y.prediction"].to_list()
    assert answer == [10.0 * Path(sys.base_prefix).is_relative_to("/root")]  # no /etc, and no home but for the interpreter
    inner = [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit() and _is_runner(p, str(world.socket("6")))]
    assert len(inner) >= 2  # bwrap and the runner inside
    child.stop(1)
    deadline = time.monotonic() + 10
    while any(_lives(pid) for pid in inner):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@needs_bwrap
def test_a_hung_model_in_a_sandbox_leaves_no_process_behind(world: World) -> None:
    script = "import ctypes\ndef model_fn(folder):\n    return ctypes.PyDLL(None).sleep\n"  # PyDLL keeps the interpreter's lock
    world.save("8", None, script + "def predict_fn(x, model):\n    model(60)\n")
    prefix = ["bwrap", "--unshare-pid", "--new-session", "--bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--"]
    signed = Signature("regression", (Column("x", "float"),))
    child = world.runner("8", signed, wrap=lambda argv: [*prefix, *argv])
    world.ready("8")
    with pytest.raises(Unavailable):  # it hangs
        predict(world.socket("8"), pl.DataFrame({"x": [1.0]}), signed, timeout=0.5)
    family = descendants(child.pid)
    assert len(family) >= 2
    child.stop(0.2)
    deadline = time.monotonic() + 10
    while any(_lives(pid) for pid, _ in family):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _is_runner(process: Path, name: str) -> bool:
    try:
        return name.encode() in (process / "cmdline").read_bytes()
    except OSError:
        return False


def test_what_does_not_fit_is_refused_before_it_is_sent(tmp_path: Path) -> None:
    FakeRunner(tmp_path / "s", double, ["x"])
    with pytest.raises(BadInput, match="no column `x`"):
        predict(tmp_path / "s", pl.DataFrame({"y": [1.0]}), NUMBER)
    with pytest.raises(BadInput, match="`x` does not fit its type, float"):
        predict(tmp_path / "s", pl.DataFrame({"x": ["a"]}), NUMBER)
    with pytest.raises(Unavailable, match="does not answer"):
        predict(tmp_path / "nobody", pl.DataFrame({"x": [1.0]}), NUMBER)


def test_a_row_that_fails_is_named(tmp_path: Path) -> None:
    fake = FakeRunner(tmp_path / "s", double, ["x"])
    with pytest.raises(ModelFailed, match="x is -1") as caught:
        predict(tmp_path / "s", pl.DataFrame({"x": [1.0] * 5000 + [-1.0]}), NUMBER)
    assert caught.value.where == "rows 5000 to 5000"
    with pytest.raises(ModelFailed, match=r"signature's outputs"):
        predict(tmp_path / "s", pl.DataFrame({"x": [-2.0]}), NUMBER)
    assert fake.calls == [5000, 1, 1]


def test_datetimes_cross_as_microseconds_in_utc(tmp_path: Path) -> None:
    seen: list[list[object]] = []
    FakeRunner(tmp_path / "s", lambda columns, n: seen.append(columns["t"]) or {"prediction": [0.0] * n}, ["t"])
    signed = Signature("regression", (Column("t", "datetime", nullable=True),))
    naive = pl.Series("t", [datetime(2026, 1, 1), None])
    for series in (
        naive,
        naive.cast(pl.Datetime("ns")),
        naive.dt.replace_time_zone("UTC").dt.convert_time_zone("America/New_York"),
    ):
        predict(tmp_path / "s", series.to_frame(), signed)
    predict(tmp_path / "s", pl.DataFrame({"t": ["2026-01-01T00:00:00", None]}), signed)
    assert seen == [[int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000, None]] * 4


def test_wait_ready_gives_up_in_time(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"within 0\.1 s"):
        wait_ready(tmp_path / "nobody", 0.1)


def test_stop_ends_the_whole_group_even_one_that_ignores_sigterm(tmp_path: Path) -> None:
    code = "import signal, subprocess, sys, time; signal.signal(15, signal.SIG_IGN)\n"
    code += "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); print(p.pid, flush=True); time.sleep(60)"
    child = spawn([sys.executable, "-c", code], log=tmp_path / "log", env=environment(), cwd=tmp_path)
    deadline = time.monotonic() + 10
    while not child.tail() and time.monotonic() < deadline:
        time.sleep(0.02)
    grandchild = int(child.tail()[0])
    assert child.is_alive() and child.exit_code is None
    assert child.stop(0.2) == -signal.SIGKILL  # it had to be killed
    assert not child.is_alive()
    deadline = time.monotonic() + 10
    while _lives(grandchild):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_start_times_tell_processes_apart(tmp_path: Path) -> None:
    child = spawn([sys.executable, "-c", "input()"], log=tmp_path / "log", env=environment(), cwd=tmp_path)
    assert child.start_time == start_time(child.pid)
    assert child.start_time >= (start_time(os.getpid()) or 0) > 0
    child.stop()
    assert start_time(child.pid) is None


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_children_do_not_see_our_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELYARD_SECRET_CANARY", "s3cret")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    env = environment({"A": "b"})
    assert "s3cret" not in env.values() and "PYTHONDONTWRITEBYTECODE" not in env
    assert env["A"] == "b" and env["PATH"] == os.environ["PATH"]


def test_a_feature_may_be_called_as_a_column_of_a_predictions_table() -> None:
    signed = Signature("regression", (Column("version", "str"), Column("f.version", "str")))
    data = pl.DataFrame({"version": ["a"], "f.version": ["b"]})
    kept = pl.DataFrame({"version": ["candidate"], "f.version": ["a"], "f.f.version": ["b"]})
    for table in (data, kept):
        assert {name: values.to_list() for name, values in features(table, signed).items()} == {"version": ["a"], "f.version": ["b"]}


def test_what_cannot_be_started_says_so(tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match=r"cannot be started: No such file"):
        spawn(["/nowhere/python"], log=tmp_path / "log", env={}, cwd=tmp_path)


def test_only_the_owner_may_reach_a_runner(world: World) -> None:
    world.save("5", logistic())
    world.runner("5", signature())
    world.ready("5")
    assert stat.S_IMODE(world.socket("5").stat().st_mode) == 0o600
