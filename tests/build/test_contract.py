from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelyard.build import processes, sandbox
from modelyard.build.contract import StepJob, kill_leftover, process, train
from modelyard.errors import BadInput, NotFound, StepFailed
from tests.build.test_processes import alive, until
from tests.needs import needs_bwrap

BOTH = pytest.mark.parametrize("sandboxed", [pytest.param(True, marks=needs_bwrap), False], ids=["sandbox", "plain"])


def job(folder: Path, script: str, *, name: str = "train.py", **parts: Any) -> StepJob:
    code = folder / "code"
    code.mkdir(parents=True, exist_ok=True)
    (code / name).write_text(textwrap.dedent(script))
    settings: dict[str, Any] = {"timeout": 120.0, **parts}
    return StepJob("run-1", "train", Path(sys.executable), name, code, folder / "ml", **settings)


def ignore(line: str) -> None:
    pass


LOOKS = """
    import json, os, sys
    channel = os.environ["SM_CHANNEL_TRAIN"]
    seen = {"argv": sys.argv, "cwd": os.getcwd(), "env": dict(os.environ), "files": os.listdir(channel),
            "rows": open(os.path.join(channel, "rows.csv")).read(),
            "config": {n: json.load(open(os.path.join(os.environ["SM_INPUT_CONFIG_DIR"], n)))
                       for n in os.listdir(os.environ["SM_INPUT_CONFIG_DIR"])}}
    import helper
    json.dump(seen, open(os.path.join(os.environ["SM_MODEL_DIR"], "seen.json"), "w"))
    print("trained", helper.word)
"""


@BOTH
def test_a_script_finds_what_the_contract_says(home: Path, sandboxed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELYARD_SECRET_CANARY", "hunter2")
    (home / "rows").mkdir()
    (home / "rows" / "rows.csv").write_text("x\n1\n")
    step = job(home, LOOKS, channels={"train": home / "rows"}, hyperparameters={"max_depth": 6, "x": "1"}, cpus=1, sandboxed=sandboxed)
    (home / "code" / "helper.py").write_text("word = 'well'")
    lines: list[str] = []
    outcome = train(step, lines.append)
    seen = json.loads((outcome.model_dir / "seen.json").read_text())
    root = "/opt/ml" if sandboxed else str(home / "ml")
    assert outcome.sandbox == (sandbox.available() if sandboxed else None)
    assert lines == ["trained well"]
    assert outcome.log.read_text() == "trained well\n"
    assert seen["argv"] == ["train.py", "--max_depth", "6", "-x", "1"]
    assert seen["cwd"] == seen["env"]["SM_MODULE_DIR"] == seen["env"]["PYTHONPATH"] == f"{root}/code"
    assert seen["env"]["SM_CHANNEL_TRAIN"] == f"{root}/input/data/train"
    assert (seen["files"], seen["rows"]) == (["rows.csv"], "x\n1\n")
    assert seen["config"]["hyperparameters.json"] == {"max_depth": "6", "x": '"1"'}
    assert seen["env"]["OMP_NUM_THREADS"] == seen["env"]["SM_NUM_CPUS"] == "1"
    assert "hunter2" not in json.dumps(seen)
    others = {k for k in seen["env"] if not k.startswith(("SM_", "SAGEMAKER_", "TRAINING_JOB_")) and not k.endswith("_THREADS")}
    assert others == {
        "PATH", "HOME", "TMPDIR", "LANG", "PYTHONPATH", "PYTHONUNBUFFERED", "PYTHONHASHSEED", "CURRENT_HOST", "MODELYARD_STEP",
        "LOKY_MAX_CPU_COUNT", *({"PWD"} if sandboxed else ()),
    }  # fmt: skip
    assert (outcome.output_dir / "success").exists()
    assert not (outcome.output_dir / "failure").exists()


@needs_bwrap
def test_hard_coded_paths_work_and_the_rest_cannot_be_reached(home: Path) -> None:
    (home / "rows.csv").write_text("x\n1\n")
    (home / "secret").write_text("hunter2")
    script = f"""
        import os
        rows = open("/opt/ml/input/data/train/rows.csv").read()
        for attempt in (lambda: open("/opt/ml/input/data/train/rows.csv", "a"), lambda: open({str(home / "secret")!r})):
            try:
                attempt()
            except OSError as exc:
                print(type(exc).__name__)
        assert "process.json" not in os.listdir("/opt/ml")
        open("/opt/ml/model/m", "w").write(rows)
        open("/opt/ml/checkpoints/c", "w").write("c")
        os.symlink("/proc/self/environ", "/tmp/link")
    """
    lines: list[str] = []
    outcome = train(job(home, script, channels={"train": home / "rows.csv"}), lines.append)
    assert (outcome.model_dir / "m").read_text() == "x\n1\n"
    assert (home / "ml" / "checkpoints" / "c").exists()
    assert lines == ["OSError", "FileNotFoundError"]
    assert (home / "rows.csv").read_text() == "x\n1\n"
    assert not (home / "ml" / "tmp").exists()


@BOTH
def test_a_script_that_exits_7(home: Path, sandboxed: bool) -> None:
    script = "import sys\nfor i in range(30): print('line', i)\nsys.exit(7)"
    with pytest.raises(StepFailed) as caught:
        train(job(home, script, sandboxed=sandboxed), ignore)
    assert caught.value.what == "train.py exited with 7"
    assert caught.value.log_tail == tuple(f"line {i}" for i in range(10, 30))
    assert (home / "ml" / "output" / "failure").read_text().startswith("ExecuteUserScriptError:\nExitCode 7\n")
    assert not (home / "ml" / "output" / "success").exists()


@BOTH
def test_a_failure_that_the_script_explains(home: Path, sandboxed: bool) -> None:
    script = "import os\nopen(os.environ['SM_OUTPUT_DIR'] + '/failure', 'w').write('no rows' + '!' * 5000)\nraise SystemExit(1)"
    with pytest.raises(StepFailed) as caught:
        train(job(home, script, sandboxed=sandboxed), ignore)
    assert caught.value.what == "train.py exited with 1: no rows" + "!" * 1017


@needs_bwrap
def test_a_link_in_place_of_a_result_writes_nothing_outside(home: Path) -> None:
    for name, end in (("failure", "raise SystemExit(1)"), ("success", "open('/opt/ml/model/m', 'w')")):
        trap = home / f"written-{name}"
        step = job(home, f"import os\nos.symlink({str(trap)!r}, '/opt/ml/output/{name}')\n{end}")
        try:
            train(step, ignore)
        except StepFailed as exc:
            assert "exited with 1" in exc.what
        assert not trap.exists()
        assert (home / "ml" / "output" / name).is_file()


@BOTH
def test_a_step_that_runs_too_long_and_one_that_is_cancelled(home: Path, sandboxed: bool) -> None:
    script = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('up')\ntime.sleep(600)"
    with pytest.raises(StepFailed, match="ran longer than 3 s and was stopped"):
        train(job(home, script, sandboxed=sandboxed, timeout=3.0), ignore)
    cancel = threading.Event()
    with pytest.raises(StepFailed, match="was cancelled"):
        train(job(home, script, sandboxed=sandboxed), lambda line: cancel.set(), cancel=cancel)
    assert not (home / "ml" / "process.json").exists()


@BOTH
def test_a_mild_fork_bomb_and_a_long_line_are_contained(home: Path, sandboxed: bool) -> None:
    script = """
        import os, subprocess, sys
        found = [subprocess.Popen(["sleep", "86399"], start_new_session=True, stdout=subprocess.DEVNULL) for _ in range(20)]
        print("x" * 10_000_000)
        open(os.environ["SM_MODEL_DIR"] + "/m", "w").write("m")
    """
    lines: list[str] = []
    train(job(home, script, sandboxed=sandboxed), lines.append)
    assert len(lines) == 1
    assert len(lines[0]) < 10_000
    assert [p for p in Path("/proc").glob("[0-9]*/cmdline") if b"86399" in _read(p)] == []


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_a_model_that_was_not_saved(home: Path) -> None:
    with pytest.raises(StepFailed, match="left no file in the model folder") as caught:
        train(job(home, "print('forgot')", sandboxed=False), ignore)
    assert "SM_MODEL_DIR" in caught.value.next


@BOTH
def test_other_kinds_of_entry_point(home: Path, sandboxed: bool) -> None:
    save = 'echo "$@" > $SM_MODEL_DIR/args'
    for name, text in (("train.sh", f"#!/bin/sh\n{save}\n"), ("train", save)):  # the second has no `#!` line and no ending
        step = job(home / name, text, name=name, hyperparameters={"a": "it's $(touch x); -q"}, sandboxed=sandboxed)
        assert (train(step, ignore).model_dir / "args").read_text() == "-a it's $(touch x); -q\n"
        assert not (home / name / "ml" / "code" / "x").exists()
    (home / "package" / "code" / "pkg").mkdir(parents=True)
    (home / "package" / "code" / "setup.py").write_text("")
    save = "import os\nopen(os.environ['SM_MODEL_DIR'] + '/m', 'w').write(__package__)"
    step = job(home / "package", save, name="pkg/train.py")
    assert (train(replace(step, sandboxed=sandboxed), ignore).model_dir / "m").read_text() == "pkg"


def test_a_repeated_run_starts_afresh_and_leaves_the_code_alone(home: Path) -> None:
    script = """
        import os
        assert not os.path.exists("left")
        open("left", "w").write("x")
        open(os.environ["SM_MODEL_DIR"] + "/m", "w").write("m")
    """
    step = job(home, script, sandboxed=False)
    for path in (step.code, step.code / "train.py"):
        path.chmod(0o555)
    train(step, ignore)
    train(step, ignore)
    assert [p.name for p in step.code.iterdir()] == ["train.py"]


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"hyperparameters": {f"h{i}": i for i in range(101)}}, "101 hyperparameters; 100 are the most"),
        ({"hyperparameters": {"a" * 257: 1}}, "a hyperparameter cannot be named"),
        ({"hyperparameters": {"a=b": 1}}, "a hyperparameter cannot be named 'a=b'"),
        ({"hyperparameters": {"a": "x" * 2500}}, "has 2502 characters"),
        ({"hyperparameters": {"a": {1, 2}}}, "hyperparameter `a` is no plain value"),
        ({"hyperparameters": {"a": "nul\0"}}, "NUL"),
        ({"channels": {"../up": Path("/")}}, "a channel cannot be named '../up'"),
        ({"channels": {f"c{i}": Path("/") for i in range(21)}}, "21 channels"),
        ({"hyperparameters": {f"h{i}": "x" * 2400 for i in range(100)}}, "too large together"),
    ],
)
def test_jobs_beyond_the_contract(home: Path, parts: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput) as caught:
        train(job(home, "print()", sandboxed=False, **parts), ignore)
    assert said in caught.value.what


def test_what_is_not_there(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = job(home, "print()", sandboxed=False)
    with pytest.raises(NotFound, match=r"there is no other\.py in the code"):
        train(replace(step, entry_point="other.py"), ignore)
    with pytest.raises(NotFound, match="the input train is not there"):
        train(replace(step, channels={"train": home / "nothing"}), ignore)
    with pytest.raises(BadInput, match="a step without a network needs the sandbox"):
        train(replace(step, network=False), ignore)


@needs_bwrap
def test_network_isolation(home: Path) -> None:
    script = """
        import os, socket
        try:
            socket.create_connection(("192.0.2.1", 80), timeout=2)
        except OSError as exc:
            open(os.environ["SM_MODEL_DIR"] + "/m", "w").write(exc.strerror or "timed out")
    """
    assert (train(job(home, script, network=False), ignore).model_dir / "m").read_text() == "Network is unreachable"


PROCESSING = """
    import json, os, sys
    base = os.environ.get("MODELYARD_PROCESSING_DIR", "/opt/ml/processing")
    rows = open(os.path.join(base, "input/train/rows.csv")).read()
    for name in ("train", "test"):
        open(os.path.join(base, "output", name, "rows.csv"), "w").write(rows.upper())
    config = json.load(open(os.path.join(base, "../config/processingjobconfig.json")))
    import helper
    print(sys.argv[1:], os.getcwd(), config["ProcessingJobName"])
"""


@BOTH
def test_processing(home: Path, sandboxed: bool) -> None:
    (home / "rows").mkdir()
    (home / "rows" / "rows.csv").write_text("x\na\n")
    step = job(home, PROCESSING, name="prepare.py", sandboxed=sandboxed)
    (home / "code" / "helper.py").touch()
    lines: list[str] = []
    outcome = process(step, ["--rate", "0.5; ls"], {"train": home / "rows"}, ["train", "test"], lines.append)
    assert lines == [f"['--rate', '0.5; ls'] {'/' if sandboxed else home / 'ml'} run-1"]
    assert outcome.output_dir == home / "ml" / "processing" / "output"
    assert (outcome.output_dir / "test" / "rows.csv").read_text() == "X\nA\n"


@needs_bwrap
def test_processing_with_hard_coded_paths_and_a_message(home: Path) -> None:
    script = """
        import shutil, sys
        shutil.copy("/opt/ml/processing/input/train/rows.csv", "/opt/ml/processing/output/train/rows.csv")
        open("/opt/ml/output/message", "w").write("bad rows")
        sys.exit(int(sys.argv[1]))
    """
    (home / "rows.csv").write_text("x\n")
    step = job(home, script, name="prepare.py")
    outcome = process(step, ["0"], {"train": home / "rows.csv"}, ["train"], ignore)
    assert (outcome.output_dir / "train" / "rows.csv").read_text() == "x\n"
    with pytest.raises(StepFailed, match=r"prepare\.py exited with 3: bad rows"):
        process(step, ["3"], {"train": home / "rows.csv"}, ["train"], ignore)


def test_processing_without_a_sandbox_says_so_where_a_script_hard_codes(home: Path) -> None:
    step = job(home, "open('/opt/ml/processing/input/train/rows.csv')", name="prepare.py", sandboxed=False)
    with pytest.raises(StepFailed) as caught:
        process(step, [], {}, [], ignore)
    assert "without a sandbox there is no /opt/ml" in caught.value.next


def test_processing_limits(home: Path) -> None:
    step = job(home, "print()", sandboxed=False)
    for arguments, inputs, said in (
        (["a"] * 101, {}, "100 arguments"),
        (["a" * 257], {}, "256 characters"),
        ([], {f"i{i}": home for i in range(11)}, "10 inputs"),
        ([], {"code": home}, "none of them named `code`"),
        ([], {"../x": home}, "cannot be named"),
    ):
        with pytest.raises(BadInput, match=said):
            process(step, arguments, inputs, [], ignore)


OWNER = """
import sys
from pathlib import Path
from modelyard.build.contract import StepJob, train
home = Path(sys.argv[1])
train(StepJob("r", "train", Path(sys.executable), "train.py", home / "code", home / "ml", sandboxed=sys.argv[2] == "True"), print)
"""

SLEEPS = """
    import os, subprocess, time
    subprocess.Popen(["sleep", "600"], start_new_session=True)
    print("up", flush=True)
    open(os.environ["SM_MODEL_DIR"] + "/up", "w").close()
    time.sleep(600)
"""


@BOTH
def test_a_killed_owner_leaves_no_process_of_the_step(home: Path, sandboxed: bool) -> None:
    job(home, SLEEPS)
    with subprocess.Popen([sys.executable, "-c", OWNER, str(home), str(sandboxed)], stdout=subprocess.DEVNULL) as owner:
        until((home / "ml" / "model" / "up").exists)
        token = json.loads((home / "ml" / processes.RECORD).read_text())["token"]
        before = processes._marked(token)
        assert len(before) >= 3, "the step was not running"  # the keeper, the script, its child (and bubblewrap)
        owner.kill()
    until(lambda: not any(alive(pid) for pid in before))
    assert processes._marked(token) == []


@BOTH
def test_kill_leftover_ends_what_a_killed_owner_left(home: Path, sandboxed: bool) -> None:
    job(home, SLEEPS)
    with subprocess.Popen([sys.executable, "-c", OWNER, str(home), str(sandboxed)], stdout=subprocess.DEVNULL) as owner:
        until((home / "ml" / "model" / "up").exists)
        record = json.loads((home / "ml" / processes.RECORD).read_text())
        os.kill(record["pid"], signal.SIGSTOP)  # the keeper cannot act on its owner's death
        before = processes._marked(record["token"])
        owner.kill()
    assert [pid for pid in before if alive(pid)] == before
    assert kill_leftover(home / "ml") >= 3
    assert [pid for pid in before if alive(pid)] == []
    assert kill_leftover(home / "ml") == 0


@needs_bwrap
@pytest.mark.slow
def test_fifty_kills_in_the_sandbox_leave_no_orphan(home: Path) -> None:
    job(home, SLEEPS)
    tokens, running = [], 0
    for i in range(50):
        with subprocess.Popen([sys.executable, "-c", OWNER, str(home), "True"], stdout=subprocess.DEVNULL) as owner:
            if i % 2:
                until((home / "ml" / "model" / "up").exists)
                running += 1
            else:
                until((home / "ml" / processes.RECORD).exists)
                threading.Event().wait(i * 0.002)
            tokens.append(json.loads((home / "ml" / processes.RECORD).read_text())["token"])
            owner.kill()
        (home / "ml" / "model" / "up").unlink(missing_ok=True)
        (home / "ml" / processes.RECORD).unlink()
    assert running == 25
    threading.Event().wait(1)
    until(lambda: not any(processes._marked(token) for token in tokens))
