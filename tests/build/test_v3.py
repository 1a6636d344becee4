"""The dialect of SDK v3 against its oracle, the drivers of PyPI `sagemaker-train`, and against facts for where they cannot be installed."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelyard.build import sandbox, v3
from modelyard.build.contract import ScriptFailed, StepJob, train
from modelyard.build.dialect import Setting
from modelyard.errors import BadInput
from tests.build import oracles
from tests.build.oracles import Oracle
from tests.needs import needs_bwrap

HYPERPARAMETERS: dict[str, Any] = {
    "n-estimators": 10, "x": "1", "flag": True, "none": None, "mapping": {"b": 2, "a": [1, None]}, "sequence": [1, "a"],
    "text": "hello $(ls); é", "small": 1e-3, "UPPER": "", "quoted": '"1"', "looks-like": "true",
}  # fmt: skip
SEES = """
import json, os, sys
json.dump({"argv": sys.argv, "cwd": os.getcwd(), "env": dict(os.environ)}, open(os.environ["SM_MODEL_DIR"] + "/seen.json", "w"))
"""


def setting(**parts: Any) -> Setting:
    return Setting(**{"job_name": "j", "entry_point": "train.py", "hyperparameters": {}, "channels": [], **parts})


def test_the_command_line() -> None:
    words = [
        "--n-estimators", "10", "--x", "1", "--flag", "true", "--none", "null", "--mapping", '{"b": 2, "a": [1, null]}', "--sequence",
        '[1, "a"]', "--text", "hello $(ls); é", "--small", "0.001", "--UPPER", "", "--quoted", "1", "--looks-like", "true",
    ]  # fmt: skip
    given = setting(hyperparameters=HYPERPARAMETERS)
    assert v3.command("py", given, []) == ["py", "train.py", *words]
    shell = setting(hyperparameters={"a": 1}, entry_point="train.sh")
    assert v3.command("py", shell, ["setup.py"]) == ["/bin/sh", "-c", '"$0" "$@"', "./train.sh", "--a", "1"]
    for entry_point, command in (("train", ["/bin/sh", "-c", '"$0" "$@"', "./train"]), ("train.R", ["Rscript", "train.R"])):
        asked = setting(hyperparameters={"a": 1}, entry_point=entry_point, arguments=["fit"])
        assert v3.command("py", asked, []) == [*command, "fit"], "a command gets no hyperparameters"


def test_the_variables() -> None:
    env = v3.environment(setting(hyperparameters=HYPERPARAMETERS, channels=["train"], hosts=["algo-1", "algo-2"], host="algo-2", cpus=3))
    assert env["SM_HP_N_ESTIMATORS"] == "10"
    assert env["SM_HP_FLAG"] == "true"
    assert env["SM_HP_NONE"] == "null"
    assert env["SM_HP_X"] == "1"
    assert env["SM_CHANNELS"] == '["train", "code", "sm_drivers"]'
    assert env["SM_SOURCE_DIR"] == env["SM_CHANNEL_CODE"] == "/opt/ml/input/data/code"
    assert env["SM_ENTRY_SCRIPT"] == "train.py"
    assert (env["SM_MASTER_ADDR"], env["SM_MASTER_PORT"]) == ("algo-1", "7777")
    assert (env["SM_HOST_COUNT"], env["SM_CURRENT_HOST_RANK"], env["SM_HOSTS"]) == ("2", "1", '["algo-1", "algo-2"]')
    assert (env["SM_INPUT_DATA_DIR"], env["SM_OUTPUT_FAILURE"]) == ("/opt/ml/input/data", "/opt/ml/output/failure")
    assert "PYTHONPATH" not in env
    assert json.loads(env["SM_TRAINING_ENV"])["master_port"] == 7777


def job(home: Path, script: str, hyperparameters: dict[str, Any], name: str = "train.py", **parts: Any) -> StepJob:
    (home / "code").mkdir(exist_ok=True)
    (home / "code" / name).write_text(script)
    (home / "rows").mkdir(exist_ok=True)
    python, channels = Path(sys.executable), {"train": home / "rows"}
    made: dict[str, Any] = {"channels": channels, "hyperparameters": hyperparameters, "timeout": 120.0, "contract": "v3", **parts}
    return StepJob("run-1", "train", python, name, home / "code", home / "ml", **made)


@pytest.mark.parametrize("within", [pytest.param("bubblewrap", marks=needs_bwrap), "plain"])
def test_a_script_runs_in_the_folder_of_its_channel(home: Path, within: sandbox.Within) -> None:
    outcome = train(job(home, SEES, {"a": 1}, within=within), lambda line: None)
    seen = json.loads((outcome.model_dir / "seen.json").read_text())
    root = "/opt/ml" if within == "bubblewrap" else str(home / "ml")
    assert seen["cwd"] == seen["env"]["SM_SOURCE_DIR"] == f"{root}/input/data/code"
    assert seen["argv"] == ["train.py", "--a", "1"]


def test_a_script_that_exits_with_7_makes_the_job_exit_with_7(home: Path) -> None:
    with pytest.raises(ScriptFailed) as caught:
        train(job(home, "raise SystemExit(7)", {}, within="plain"), lambda line: None)
    assert (caught.value.script_code, caught.value.exit_code) == (7, 7)
    assert "returned non-zero exit status 7." in (home / "ml" / "output" / "failure").read_text()


def test_channels_that_the_dialect_has_itself(home: Path) -> None:
    with pytest.raises(BadInput, match="a channel cannot be named `sm_drivers`: the dialect v3 has one of that name"):
        train(job(home, "", {}, channels={"sm_drivers": home}), lambda line: None)


# -- against the drivers ----------------------------------------------------------------------------------------------------------

READS = """
import json, os, subprocess, sys
sys.path.insert(0, sys.argv[1] + "/scripts")
sys.stdout, out = sys.stderr, sys.stdout
import environment
from common.utils import hyperparameters_to_cli_args
environment.read_source_code_json = lambda: {"entry_script": "train.py"}
environment.read_distributed_json = lambda: {}
environment.log_env_variables = lambda env_vars_dict: None
for line in sys.stdin:
    resource, data, hyperparameters = json.loads(line)
    environment.set_env(resource, data, hyperparameters, output_file=sys.argv[2])
    said = subprocess.run(["/bin/bash", "-c", "set -e; source $0; env -0", sys.argv[2]], env={}, stdout=subprocess.PIPE, check=True).stdout
    env = dict(word.split("=", 1) for word in said.decode().split("\\0") if word.startswith("SM_"))
    print(json.dumps([hyperparameters_to_cli_args(json.loads(env["SM_HPS"])), env]), file=out, flush=True)
"""


@pytest.fixture(scope="module")
def drivers() -> Path:
    """The folder of the installed drivers; the package comes without all that it depends on, which they do not need."""
    python = oracles.install("sagemaker-train==1.27.0", "--no-deps")
    return next(python.parent.parent.glob("lib/python*/site-packages/sagemaker/train/container_drivers"))


@pytest.fixture(scope="module")
def reader(drivers: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Oracle]:
    script = READS.replace("sys.argv[1]", repr(str(drivers))).replace("sys.argv[2]", repr(str(tmp_path_factory.mktemp("out") / "sm.env")))
    oracle = Oracle(drivers.parents[5] / "bin" / "python", script, {"TRAINING_JOB_NAME": "j"})
    yield oracle
    oracle.close()


def quotable(value: Any) -> bool:
    """The drivers write `export X='...'` and quote nothing, so that an apostrophe ends their variable early: a fault we do not share.
    Names with a dot or a letter that a shell does not know are none of its variables."""
    return "'" not in json.dumps(value, ensure_ascii=False)


NAMED = oracles.HYPERPARAMETERS.filter(lambda hps: quotable(hps) and all(n.replace("-", "_").isidentifier() and n.isascii() for n in hps))


@settings(max_examples=60, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(NAMED, st.lists(st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True), unique=True, max_size=3), oracles.HOSTS, st.data())
def test_whatever_the_hyperparameters_are_a_script_gets_what_the_drivers_give_it(
    reader: Oracle, hyperparameters: dict[str, Any], channels: list[str], hosts: list[str], data: st.DataObject
) -> None:
    hyperparameters = {name: value for name, value in hyperparameters.items() if not name[0].isdigit()}
    channels = [name for name in channels if name not in v3.RESERVED]
    given = setting(hyperparameters=hyperparameters, channels=channels, hosts=hosts, host=data.draw(st.sampled_from(hosts)))
    files = v3.config_files(given)
    names = ("resourceconfig", "inputdataconfig", "hyperparameters")
    args, variables = reader.ask([files[f"input/config/{name}.json"] for name in names])
    assert v3.command("py", given, [])[2:] == args
    mine = {name: value for name, value in v3.environment(given).items() if name.startswith("SM_")}
    assert json.loads(mine.pop("SM_TRAINING_ENV")) == json.loads(variables.pop("SM_TRAINING_ENV"))
    assert mine == variables


@needs_bwrap
@pytest.mark.parametrize(
    ("name", "script", "code"),
    [
        ("train.py", SEES, 0),
        ("train.py", "import os\nopen(os.environ['SM_OUTPUT_FAILURE'], 'w').write('no rows')\nraise SystemExit(7)", 7),
        ("train.py", "raise SystemExit(7)", 7),
        ("train.sh", '#!/bin/sh\nfor word in "$@"; do echo "<$word>"; done > $SM_MODEL_DIR/words\npwd >> $SM_MODEL_DIR/words\nexit 3\n', 3),
    ],
)
def test_equal_to_the_training_script_of_the_sdk(drivers: Path, home: Path, name: str, script: str, code: int) -> None:
    step = job(home, script, HYPERPARAMETERS, name)
    try:
        train(step, lambda line: None)
        ours = 0
    except ScriptFailed as exc:
        ours = exc.exit_code
    made, base = _results(home / "ml"), home / "ml"
    for place in ("model", "output"):
        shutil.rmtree(base / place)
        (base / place).mkdir()
    shutil.copytree(drivers, base / "input" / "data" / "sm_drivers", dirs_exist_ok=True)
    (base / "input" / "data" / "sm_drivers" / "sm_train.sh").write_text(_template(drivers))
    (base / "input" / "data" / "train").mkdir(exist_ok=True)
    python, pip = Path(sys.executable), drivers.parents[5]  # the script wants to find a pip, though it has nothing to install
    view = sandbox.View(
        binds={base / place: f"/opt/ml/{place}" for place in ("input", "model", "output")},
        read_only={**sandbox.python_mounts(python), pip: str(pip)},
        hostname="algo-1",
    )
    argv = sandbox.wrap(["/bin/bash", "/opt/ml/input/data/sm_drivers/sm_train.sh"], view)
    done = subprocess.run(
        argv,
        env={"PATH": f"{python.parent}:{pip}/bin:/usr/bin:/bin", "TRAINING_JOB_NAME": "run-1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (ours, done.returncode) == (code, code), done.stdout + done.stderr
    theirs = _results(base)
    if "seen" in theirs:
        mine_env, their_env = (found["seen"].pop("env") for found in (made, theirs))
        wanted = {k: v for k, v in their_env.items() if k.startswith("SM_") and k not in ("SM_PYTHON_CMD", "SM_PIP_CMD")}
        got = {k: v for k, v in mine_env.items() if k.startswith("SM_")}
        assert json.loads(got.pop("SM_TRAINING_ENV")) == json.loads(wanted.pop("SM_TRAINING_ENV"))
        assert got == wanted
    assert made == theirs


def _results(base: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, name in (("seen", "model/seen.json"), ("words", "model/words"), ("failure", "output/failure")):
        if (base / name).exists():
            found[key] = (base / name).read_text()
    if "seen" in found:
        found["seen"] = json.loads(found["seen"])
    if "Traceback" in found.get("failure", "") or "CalledProcessError" in found.get("failure", ""):
        # theirs is a traceback through their own files, which names the command as they write it
        found["failure"] = found["failure"].strip().rpartition("returned ")[2]
    return found


def _template(drivers: Path) -> str:
    """sm_train.sh as ModelTrainer writes it for an entry script."""
    spec = importlib.util.spec_from_file_location("templates", drivers.parent / "templates.py")
    assert spec is not None and spec.loader is not None
    templates = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(templates)
    return str(
        templates.TRAIN_SCRIPT_TEMPLATE.format(
            working_dir="cd /opt/ml/input/data/code \n", install_requirements="", execute_driver=templates.EXECUTE_BASIC_SCRIPT_DRIVER
        )
    )
