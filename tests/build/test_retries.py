"""Training that is begun again: checkpoints, reasons, metrics, time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from modelyard.build import contract, metrics, processes
from modelyard.build.contract import StepJob, kill_leftover, train
from modelyard.build.step import ScriptFailed
from modelyard.errors import StepFailed
from tests.build.test_contract import BOTH, ignore, job
from tests.build.test_processes import until

LEARNS = """
    import os, pathlib, sys
    base = pathlib.Path(os.environ["SM_MODEL_DIR"]).parent
    checkpoint = base / "checkpoints" / "epoch"
    epoch = int(checkpoint.read_text()) if checkpoint.exists() else 0
    print("loss=%s" % (1 / (epoch + 1)))
    assert not (base / "model" / "half").exists()
    (base / "model" / "half").write_text("")
    checkpoint.write_text(str(epoch + 1))
    if epoch < int(os.environ["ENOUGH"]):
        (base / "output" / "failure").write_text("not there yet")
        sys.exit(9)
    (base / "model" / "m").write_text(str(epoch))
"""


def learning(home: Path, enough: int, **parts: object) -> StepJob:
    return job(home, LEARNS, environment={"ENOUGH": str(enough)}, metrics=(("loss", r"loss=([0-9.]+)"),), **parts)


@BOTH
def test_a_failed_training_is_begun_again_with_its_checkpoints(home: Path, within: str) -> None:
    lines: list[str] = []
    outcome = train(learning(home, 2, retries=2, within=within), lines.append)
    assert (outcome.model_dir / "m").read_text() == "2"
    assert outcome.notes == ("begun again after train.py exited with 9: not there yet",) * 2
    assert lines == [
        "loss=1.0",
        "modelyard: train.py exited with 9: not there yet; begun again (retry 1 of 2), with 1 checkpoint files",
        "loss=0.5",
        "modelyard: train.py exited with 9: not there yet; begun again (retry 2 of 2), with 1 checkpoint files",
        "loss=0.3333333333333333",
    ]
    assert [reading.value for reading in metrics.series(home / "ml" / "metrics.json")] == [1, 0.5, 1 / 3]
    assert outcome.metrics == {"loss": 1 / 3}


@BOTH
def test_what_is_printed_once_the_log_is_full_is_the_metric_all_the_same(home: Path, within: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "LONGEST_LOG", 1000)
    chatty = """
        import os
        print("loss=0.9")
        for number in range(500):
            print("so many words", number)
        print("loss=0.1")
        open(os.path.join(os.environ["SM_MODEL_DIR"], "m"), "w").write("m")
    """
    lines: list[str] = []
    outcome = train(job(home, chatty, metrics=(("loss", r"loss=([0-9.]+)"),), within=within), lines.append)
    assert lines[-1].startswith("[the log has reached 1000 bytes")
    assert outcome.metrics == {"loss": 0.1}
    assert [(reading.value, reading.step) for reading in metrics.series(home / "ml" / "metrics.json")] == [(0.9, 0), (0.1, 1)]


def test_the_last_failure_is_the_jobs(home: Path) -> None:
    with pytest.raises(ScriptFailed, match="exited with 9: not there yet"):
        train(learning(home, 5, retries=1, within="plain"), ignore)
    assert (home / "ml" / "checkpoints" / "epoch").read_text() == "2"
    outcome = train(learning(home, 2, within="plain"), ignore)
    assert (outcome.model_dir / "m").read_text() == "2", "the next try of the same job has them too"
    assert [reading.value for reading in metrics.series(home / "ml" / "metrics.json")] == [1 / 3], "metrics are those of this try"


def test_all_tries_together_have_the_time_of_one(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, left = iter([100.0, 100.0, 103.0, 109.0]), []

    def fail(job: StepJob, speaks: object, timeout: float, *rest: object) -> None:
        left.append(timeout)
        raise ScriptFailed("no", where="", next="", log_tail=(), script_code=1, exit_code=1)

    monkeypatch.setattr(contract, "_try", fail)
    monkeypatch.setattr(contract, "time", SimpleNamespace(monotonic=lambda: next(now)))
    with pytest.raises(ScriptFailed):
        train(learning(home, 5, retries=2, within="plain", timeout=10.0), ignore)
    assert left == [10.0, 7.0, 1.0]


def test_what_was_stopped_is_not_begun_again(home: Path) -> None:
    with pytest.raises(ScriptFailed, match="ran longer than 0 s and was stopped") as caught:
        train(learning(home, 5, retries=9, within="plain", timeout=0.0), ignore)
    assert caught.value.stopped


def test_a_script_that_saves_no_model_is_not_begun_again(home: Path) -> None:
    lines: list[str] = []
    with pytest.raises(StepFailed, match="left no file"):
        train(job(home, "print('done')", within="plain", retries=3), lines.append)
    assert lines == ["done"]


OWNER = """
import os, sys
from pathlib import Path
from modelyard.build.contract import StepJob, train
home = Path(sys.argv[1])
train(StepJob("r", "train", Path(sys.executable), "train.py", home / "code", home / "ml"), print)
"""


@BOTH
def test_checkpoints_outlive_the_platform(home: Path, within: str) -> None:
    script = """
        import os, pathlib, time
        base = pathlib.Path(os.environ["SM_MODEL_DIR"]).parent
        if not (base / "checkpoints" / "c").exists():
            (base / "checkpoints" / "c").write_text("kept")
            time.sleep(600)
        (base / "model" / "m").write_text((base / "checkpoints" / "c").read_text())
    """
    step = job(home, script, within=within)
    with subprocess.Popen([sys.executable, "-c", OWNER, str(home)], stdout=subprocess.DEVNULL) as owner:
        checkpoint = home / "ml" / "checkpoints" / "c"
        until(lambda: checkpoint.exists() and checkpoint.read_text() == "kept")  # made, and then written
        owner.kill()
    kill_leftover(home / "ml")
    assert (train(step, ignore).model_dir / "m").read_text() == "kept"


def test_variables_of_the_job_come_before_ours_and_after_the_contracts(home: Path) -> None:
    script = "import json, os\njson.dump(dict(os.environ), open(os.environ['SM_MODEL_DIR'] + '/env', 'w'))"
    variables = {"COLOUR": "red", "PYTHONHASHSEED": "7", "TRAINING_JOB_NAME": "mine"}
    outcome = train(job(home, script, environment=variables, within="plain"), ignore)
    env = json.loads((outcome.model_dir / "env").read_text())
    assert (env["COLOUR"], env["PYTHONHASHSEED"], env["TRAINING_JOB_NAME"]) == ("red", "7", "run-1")
