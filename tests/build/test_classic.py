"""The classic dialect against its oracle, PyPI `sagemaker-training`, and against facts for where that cannot be installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import uv

from modelyard.build import classic
from modelyard.build.contract import StepJob, train

HYPERPARAMETERS: dict[str, Any] = {
    "n-estimators": 10, "x": "1", "flag": True, "none": None, "mapping": {"b": 2, "a": [1, None]}, "sequence": [1, "a"],
    "text": "hello 'world' $(ls); é", "small": 1e-3, "é": "ü", "sagemaker_program": "train.py", "sagemaker_job_name": "job-7",
    "sagemaker_own": 1, "sagemaker_container_log_level": 30, "sagemaker_region": "eu-west-1", "UPPER": "", "quoted": '"1"',
}  # fmt: skip
SEES = """
import json, os, sys
json.dump({"argv": sys.argv, "cwd": os.getcwd(), "env": dict(os.environ)}, open(os.environ["SM_MODEL_DIR"] + "/seen.json", "w"))
"""


def setting(**parts: Any) -> classic.Setting:
    return classic.Setting(**{"job_name": "j", "entry_point": "train.py", "hyperparameters": {}, "channels": [], **parts})


def test_the_command_line() -> None:
    values = {k: v for k, v in HYPERPARAMETERS.items() if k not in ("é", "text")}
    assert classic.arguments(values) == [
        "--UPPER", "", "--flag", "True", "--mapping", "a=[1, None],b=2", "--n-estimators", "10", "--none", "", "--quoted", '"1"',
        "--sequence", "[1, 'a']", "--small", "0.001", "-x", "1",
    ]  # fmt: skip


def test_the_variables() -> None:
    env = classic.environment(setting(hyperparameters=HYPERPARAMETERS, channels=["train", "test"], cpus=3))
    assert env["SM_HP_N-ESTIMATORS"] == "10"
    assert env["SM_HP_NONE"] == ""
    assert env["SM_HP_MAPPING"] == '{"a":[1,null],"b":2}'
    assert env["SM_CHANNELS"] == '["test","train"]'
    assert env["SM_CHANNEL_TRAIN"] == "/opt/ml/input/data/train"
    assert env["SM_FRAMEWORK_PARAMS"] == '{"sagemaker_own":1}'
    assert env["SM_NUM_CPUS"] == "3"
    assert (env["SM_MODULE_NAME"], env["SM_USER_ENTRY_POINT"], env["SM_MODULE_DIR"]) == ("train", "train.py", "/opt/ml/code")
    assert env["PYTHONPATH"].split(":")[0] == "/opt/ml/code"
    assert json.loads(env["SM_TRAINING_ENV"])["hyperparameters"] == json.loads(env["SM_HPS"])
    assert not [name for name in json.loads(env["SM_HPS"]) if name.startswith("sagemaker_")]
    # every variable that the contract names
    named = """
        MODEL_DIR OUTPUT_DIR OUTPUT_DATA_DIR OUTPUT_INTERMEDIATE_DIR INPUT_DIR INPUT_CONFIG_DIR MODULE_DIR CHANNELS HPS USER_ARGS
        FRAMEWORK_PARAMS HOSTS CURRENT_HOST CURRENT_INSTANCE_TYPE CURRENT_INSTANCE_GROUP CURRENT_INSTANCE_GROUP_HOSTS
        INSTANCE_GROUPS INSTANCE_GROUPS_DICT DISTRIBUTION_INSTANCE_GROUPS IS_HETERO NETWORK_INTERFACE_NAME NUM_CPUS NUM_GPUS
        NUM_NEURONS LOG_LEVEL MODULE_NAME USER_ENTRY_POINT FRAMEWORK_MODULE RESOURCE_CONFIG INPUT_DATA_CONFIG TRAINING_ENV
    """
    assert {f"SM_{name}" for name in named.split()} <= set(env)
    assert {"TRAINING_JOB_NAME", "TRAINING_JOB_ARN"} <= set(env)


def test_the_files() -> None:
    files = classic.config_files(setting(hyperparameters=HYPERPARAMETERS, channels=["train"]))
    assert all(isinstance(value, str) for value in files["hyperparameters.json"].values())
    assert {k: json.loads(v) for k, v in files["hyperparameters.json"].items()} == HYPERPARAMETERS
    assert files["inputdataconfig.json"]["train"]["TrainingInputMode"] == "File"
    assert set(files["resourceconfig.json"]) == {
        "current_host", "hosts", "network_interface_name", "current_instance_type", "current_group_name", "instance_groups",
    }  # fmt: skip


def test_the_command() -> None:
    assert classic.command("py", "train.py", ["train.py"]) == ["py", "--", "train.py"]
    assert classic.command("py", "pkg/train.py", ["setup.py"]) == ["py", "-m", "pkg.train"]
    assert classic.command("py", "train.sh", ["setup.py"])[:2] == ["/bin/sh", "-c"]
    assert classic.command("py", "train", [])[-1] == "./train"


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of an environment with sagemaker-training."""
    folder = tmp_path_factory.mktemp("oracle")
    python = folder / "bin" / "python"
    for words in (
        ["venv", "--python", sys.executable, str(folder), "--allow-existing"],
        ["pip", "install", "--python", str(python), "sagemaker-training==5.1.4"],
    ):
        done = subprocess.run([uv.find_uv_bin(), *words, "--quiet"], capture_output=True, text=True)
        if done.returncode != 0:
            reason = f"sagemaker-training cannot be installed here: {done.stderr.strip()[-300:]}"
            (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    return folder / "bin"


def by_oracle(oracle: Path, base: Path) -> tuple[dict[str, Any], int]:
    """Let the oracle run what is in `base`, as it finds it there; what its script saw, and its exit code."""
    env = {"PATH": "/usr/bin:/bin", "HOME": str(base), "SAGEMAKER_BASE_DIR": str(base), "TRAINING_JOB_NAME": "run-1"}
    env["SM_STUDIO_LOCAL_MODE"] = "true"  # it would wait for the name of our host to be known to a resolver
    done = subprocess.run([str(oracle / "train")], env=env, capture_output=True, text=True, timeout=120)
    seen = base / "model" / "seen.json"
    return (json.loads(seen.read_text()) if seen.exists() else {"said": done.stderr}), done.returncode


def ours(home: Path, script: str, hyperparameters: dict[str, Any], channels: list[str], name: str = "train.py") -> StepJob:
    (home / "code").mkdir(exist_ok=True)
    (home / "code" / name).write_text(script)
    places = {}
    for channel in channels:
        places[channel] = home / channel
        places[channel].mkdir(exist_ok=True)
    return StepJob(
        "run-1", "train", Path(sys.executable), name, home / "code", home / "ml", places, hyperparameters, 120.0, sandboxed=False
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("hyperparameters", "channels"),
    [
        (HYPERPARAMETERS, ["train", "te-st", "v.2"]),
        ({"sagemaker_program": "train.py"}, []),
        ({**HYPERPARAMETERS, "a": [], "d": {}}, ["x"]),
    ],
)
def test_equal_to_the_oracle(oracle: Path, home: Path, hyperparameters: dict[str, Any], channels: list[str]) -> None:
    outcome = train(ours(home, SEES, hyperparameters, channels), lambda line: None)
    mine = json.loads((outcome.model_dir / "seen.json").read_text())
    # the oracle reads the very files that we wrote
    (outcome.model_dir / "seen.json").unlink()
    theirs, code = by_oracle(oracle, home / "ml")
    assert code == 0, theirs
    assert mine["argv"] == theirs["argv"]
    assert mine["cwd"] == theirs["cwd"]
    wanted = {k: v for k, v in theirs["env"].items() if k.startswith("SM_") and k != "SM_STUDIO_LOCAL_MODE"}
    got = {k: v for k, v in mine["env"].items() if k.startswith("SM_")}
    assert json.loads(got.pop("SM_TRAINING_ENV")) == json.loads(wanted.pop("SM_TRAINING_ENV"))
    assert got == wanted
    for name in ("TRAINING_JOB_NAME", "SAGEMAKER_JOB_NAME", "SAGEMAKER_REGION", "CURRENT_HOST"):
        assert mine["env"][name] == theirs["env"][name], name
    assert mine["env"]["PYTHONPATH"].split(":")[0] == theirs["env"]["PYTHONPATH"].split(":")[0]


@pytest.mark.slow
def test_a_failure_reads_as_the_oracles(oracle: Path, home: Path) -> None:
    from modelyard.errors import StepFailed

    hyperparameters = {"sagemaker_program": "train.py", "depth": 3}
    with pytest.raises(StepFailed):
        train(ours(home, "raise SystemExit(7)", hyperparameters, []), lambda line: None)
    failure = home / "ml" / "output" / "failure"
    mine = failure.read_text()
    failure.unlink()
    _, code = by_oracle(oracle, home / "ml")
    assert code == 1
    assert mine.splitlines()[:3] == failure.read_text().splitlines()[:3]
    assert mine.splitlines()[3].split(" -- ")[1] == failure.read_text().splitlines()[3].split(" -- ")[1]
    assert not (home / "ml" / "output" / "success").exists()


@pytest.mark.slow
def test_a_command_gets_its_words_as_from_the_oracle(oracle: Path, home: Path) -> None:
    script = '#!/bin/sh\nfor word in "$@"; do echo "<$word>"; done > $SM_MODEL_DIR/words\n'
    hyperparameters = {"sagemaker_program": "train.sh", "text": 'it\'s $(ls); "q"', "x": "a b"}
    outcome = train(ours(home, script, hyperparameters, [], "train.sh"), lambda line: None)
    mine = (outcome.model_dir / "words").read_text()
    assert by_oracle(oracle, home / "ml")[1] == 0
    assert (outcome.model_dir / "words").read_text() == mine
