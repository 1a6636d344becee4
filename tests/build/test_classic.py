"""The classic dialect against its oracle, PyPI `sagemaker-training`, and against facts for where that cannot be installed."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelyard.build import classic, dialect
from modelyard.build.contract import ScriptFailed, StepJob, train
from modelyard.build.dialect import Setting
from tests.build import oracles
from tests.build.oracles import Oracle

HYPERPARAMETERS: dict[str, Any] = {
    "n-estimators": 10, "x": "1", "flag": True, "none": None, "mapping": {"b": 2, "a": [1, None]}, "sequence": [1, "a"],
    "text": "hello 'world' $(ls); é", "small": 1e-3, "é": "ü", "sagemaker_program": "train.py", "sagemaker_job_name": "job-7",
    "sagemaker_own": 1, "sagemaker_container_log_level": 30, "sagemaker_region": "eu-west-1", "UPPER": "", "quoted": '"1"',
}  # fmt: skip
SEES = """
import json, os, sys
json.dump({"argv": sys.argv, "cwd": os.getcwd(), "env": dict(os.environ)}, open(os.environ["SM_MODEL_DIR"] + "/seen.json", "w"))
"""


def setting(**parts: Any) -> Setting:
    return Setting(**{"job_name": "j", "entry_point": "train.py", "hyperparameters": {}, "channels": [], **parts})


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
    assert all(isinstance(value, str) for value in files["input/config/hyperparameters.json"].values())
    assert {k: json.loads(v) for k, v in files["input/config/hyperparameters.json"].items()} == HYPERPARAMETERS
    assert files["input/config/inputdataconfig.json"]["train"]["TrainingInputMode"] == "File"
    assert set(files["input/config/resourceconfig.json"]) == {
        "current_host", "hosts", "network_interface_name", "current_instance_type", "current_group_name", "instance_groups",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("entry_point", "files", "words"),
    [
        ("train.py", ["train.py"], ["py", "--", "train.py"]),
        ("pkg/train.py", ["setup.py"], ["py", "-m", "pkg.train"]),
        ("pkg/__main__.py", ["setup.py"], ["py", "-m", "pkg"]),
        ("train.sh", ["setup.py"], ["/bin/sh", "-c", '"$0" "$@"', "./train.sh"]),
        ("train", ["setup.py"], ["py", "-m", "train"]),
    ],
)
def test_the_command(entry_point: str, files: list[str], words: list[str]) -> None:
    assert not dialect.bare(entry_point, files)
    asked = setting(entry_point=entry_point, hyperparameters={"a": 1}, arguments=["fit"])
    assert classic.command("py", asked, files) == [*words, "fit", "-a", "1"]


@pytest.mark.parametrize(
    ("entry_point", "words"), [("train", ["/bin/sh", "-c", '"$0" "$@"', "./train"]), ("train.R", ["Rscript", "train.R"])]
)
def test_the_command_of_a_container_of_ones_own(entry_point: str, words: list[str]) -> None:
    """As SageMaker's generic Estimator has it: text as it is, `str()` of the rest, and none of it in the command line."""
    assert dialect.bare(entry_point, ["model.py"])
    asked = setting(entry_point=entry_point, hyperparameters={"a": "gini", "b": True, "c": [1]}, arguments=["train"], bare=True)
    assert classic.command("py", asked, []) == [*words, "train"]
    assert classic.config_files(asked)["input/config/hyperparameters.json"] == {"a": "gini", "b": "True", "c": "[1]"}


def test_several_hosts() -> None:
    env = classic.environment(setting(host="algo-2", hosts=["algo-1", "algo-2"]))
    assert (env["SM_CURRENT_HOST"], env["SM_HOSTS"], env["CURRENT_HOST"]) == ("algo-2", '["algo-1","algo-2"]', "algo-2")
    assert env["SM_NETWORK_INTERFACE_NAME"] == "lo"
    facts = json.loads(env["SM_TRAINING_ENV"])
    assert (facts["is_master"], facts["master_hostname"]) == (False, "algo-1")


@pytest.fixture(scope="module")
def toolkit() -> Path:
    """The interpreter of an environment with sagemaker-training."""
    return oracles.install("sagemaker-training==5.1.4")


@pytest.fixture(scope="module")
def oracle(toolkit: Path) -> Path:
    """The folder of its programs."""
    return toolkit.parent


READS = """
import json, os, sys
base = os.environ["SAGEMAKER_BASE_DIR"]
from sagemaker_training import environment
for line in sys.stdin:
    for name, content in json.loads(line).items():
        json.dump(content, open(os.path.join(base, name), "w"))
    env = environment.Environment()
    print(json.dumps([env.to_cmd_args(), env.to_env_vars(), dict(os.environ)]), flush=True)
"""


@pytest.fixture(scope="module")
def reader(toolkit: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Oracle]]:
    base = tmp_path_factory.mktemp("base")
    (base / "input" / "config").mkdir(parents=True)
    oracle = Oracle(toolkit, READS, {"SAGEMAKER_BASE_DIR": str(base), "TRAINING_JOB_NAME": "j"})
    yield base, oracle
    oracle.close()


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(oracles.HYPERPARAMETERS, oracles.CHANNELS, oracles.HOSTS, st.data())
def test_whatever_the_hyperparameters_are_a_script_gets_what_the_toolkit_gives_it(
    reader: tuple[Path, Oracle], hyperparameters: dict[str, Any], channels: list[str], hosts: list[str], data: st.DataObject
) -> None:
    base, oracle = reader
    hyperparameters = {"sagemaker_program": "train.py", **hyperparameters}
    given = setting(hyperparameters=hyperparameters, channels=channels, hosts=hosts, host=data.draw(st.sampled_from(hosts)), base=str(base))
    args, variables, environ = oracle.ask(classic.config_files(given))
    assert classic.arguments(hyperparameters) == args
    mine = classic.environment(dataclasses.replace(given, entry_point=str(hyperparameters["sagemaker_program"])))
    assert json.loads(mine.pop("SM_TRAINING_ENV")) == json.loads(variables.pop("SM_TRAINING_ENV"))
    assert {k: v for k, v in mine.items() if k.startswith("SM_")} == variables
    for name in ("SAGEMAKER_JOB_NAME", "SAGEMAKER_REGION", "CURRENT_HOST"):
        assert mine[name] == environ[name], name


def by_oracle(oracle: Path, base: Path) -> tuple[dict[str, Any], int]:
    """Let the oracle run what is in `base`, as it finds it there; what its script saw, and its exit code."""
    env = {"PATH": "/usr/bin:/bin", "HOME": str(base), "SAGEMAKER_BASE_DIR": str(base), "TRAINING_JOB_NAME": "run-1"}
    env["SM_STUDIO_LOCAL_MODE"] = "true"  # it would wait for the name of our host to be known to a resolver
    env |= {"PIP_NO_BUILD_ISOLATION": "off", "PIP_NO_INDEX": "1"}
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
    return StepJob("run-1", "train", Path(sys.executable), name, home / "code", home / "ml", places, hyperparameters, 120.0, within="plain")


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
@pytest.mark.parametrize(
    ("name", "script"),
    [
        ("train.py", "raise SystemExit(7)"),
        ("train.py", "import os\nos.kill(os.getpid(), 9)"),
        ("train.py", "import os\nopen(os.environ['SM_OUTPUT_DIR'] + '/failure', 'w').write('no rows')\nraise SystemExit(2)"),
        ("train.sh", "#!/bin/sh\nexit 3\n"),
    ],
)
def test_a_failure_reads_as_the_oracles(oracle: Path, home: Path, name: str, script: str) -> None:
    hyperparameters = {"sagemaker_program": name, "depth": 3, "text": "it's"}
    with pytest.raises(ScriptFailed) as caught:
        train(ours(home, script, hyperparameters, [], name), lambda line: None)
    failure = home / "ml" / "output" / "failure"
    mine = failure.read_text()
    failure.unlink()
    _, code = by_oracle(oracle, home / "ml")
    theirs = failure.read_text()
    assert caught.value.exit_code == code
    assert mine.replace(sys.executable, "PY") == theirs.replace(str(oracle / "python3"), "PY").replace(str(oracle / "python"), "PY")
    assert not (home / "ml" / "output" / "success").exists()


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["flat", "src"])
def test_a_package_runs_as_with_the_oracle(oracle: Path, home: Path, layout: str) -> None:
    where = "src/" if layout == "src" else ""
    package_dir = 'package_dir={"": "src"}, ' if where else ""
    step = ours(
        home, f"from setuptools import setup\nsetup(name='fitted', version='1', {package_dir}packages=['fitted'])", {}, [], "setup.py"
    )
    folder = home / "code" / where / "fitted"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "helper.py").write_text("word = 'helped'")
    script = f"from fitted import helper\n{SEES}\nopen(os.environ['SM_MODEL_DIR'] + '/word', 'w').write(helper.word + __package__)"
    (folder / "run.py").write_text(script)
    entry = f"{where}fitted/run.py"
    step = dataclasses.replace(step, entry_point=entry, hyperparameters={"sagemaker_program": "fitted.run", "depth": 3})
    outcome = train(step, lambda line: None)
    mine = [(outcome.model_dir / "word").read_text(), json.loads((outcome.model_dir / "seen.json").read_text())["argv"][1:]]
    theirs, code = by_oracle(oracle, home / "ml")
    assert code == 0, theirs
    assert mine == [(outcome.model_dir / "word").read_text(), theirs["argv"][1:]]
    assert mine[0] == "helpedfitted"


@pytest.mark.slow
def test_a_command_gets_its_words_as_from_the_oracle(oracle: Path, home: Path) -> None:
    script = '#!/bin/sh\nfor word in "$@"; do echo "<$word>"; done > $SM_MODEL_DIR/words\n'
    hyperparameters = {"sagemaker_program": "train.sh", "text": 'it\'s $(ls); "q"', "x": "a b"}
    outcome = train(ours(home, script, hyperparameters, [], "train.sh"), lambda line: None)
    mine = (outcome.model_dir / "words").read_text()
    assert by_oracle(oracle, home / "ml")[1] == 0
    assert (outcome.model_dir / "words").read_text() == mine
