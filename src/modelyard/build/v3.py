"""The dialect of SDK v3's ModelTrainer, as pure functions: what its drivers give a script in the container.

Facts are those of PyPI `sagemaker-train` 1.27 (the drivers of `sagemaker` 3), and a test compares the two. Its drivers know `.py` and
`.sh` only; anything else runs as ModelTrainer's `command` does, which gets no arguments: it finds its hyperparameters in SM_HPS.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from modelyard.build.dialect import INSTANCE, Setting, encode, input_data_config, job_arn, resource_config

CODE, RESERVED = "input/data/code", ("code", "sm_drivers")
_LOG_LEVEL = 20


def config_files(setting: Setting) -> dict[str, Any]:
    """The JSON files of input/config, and the two that the SDK hands its drivers. Text stands raw among the hyperparameters, so that
    `"1"` comes out as a number: a fact of the SDK."""
    return {
        "input/config/hyperparameters.json": {name: _raw(value, name) for name, value in setting.hyperparameters.items()},
        "input/config/inputdataconfig.json": input_data_config(_channels(setting)),
        "input/config/resourceconfig.json": resource_config(setting.host, setting.hosts, setting.interface),
        "input/data/sm_drivers/sourcecode.json": {"source_dir": CODE, "entry_script": setting.entry_point},
        "input/data/sm_drivers/distributed.json": {},
    }


def _channels(setting: Setting) -> list[str]:
    return [*setting.channels, *RESERVED]


def _raw(value: Any, name: str = "") -> str:
    return value if isinstance(value, str) else encode(value, name)


def _read(value: Any) -> Any:
    """Text as the drivers read it: JSON where it is JSON."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _hyperparameters(setting: Setting) -> dict[str, Any]:
    return {name: _read(_raw(value, name)) for name, value in setting.hyperparameters.items()}


def arguments(hyperparameters: Mapping[str, Any]) -> list[str]:
    """The command line of hyperparameters as SM_HPS has them: in their order, always `--`, values as JSON and text raw."""
    return [word for name, value in hyperparameters.items() for word in (f"--{name}", _raw(_read(value), name))]


def environment(setting: Setting) -> dict[str, str]:
    """Every SM_ variable of the drivers, with the job's name and ARN. The code is no part of PYTHONPATH: it is the working directory."""
    base, channels, hps = setting.base, _channels(setting), _hyperparameters(setting)
    hosts = sorted(setting.hosts)
    resource = resource_config(setting.host, setting.hosts, setting.interface)
    values: dict[str, Any] = {
        "MODEL_DIR": f"{base}/model",
        "INPUT_DIR": f"{base}/input",
        "INPUT_DATA_DIR": f"{base}/input/data",
        "INPUT_CONFIG_DIR": f"{base}/input/config",
        "OUTPUT_DIR": f"{base}/output",
        "OUTPUT_FAILURE": f"{base}/output/failure",
        "OUTPUT_DATA_DIR": f"{base}/output/data",
        "LOG_LEVEL": _LOG_LEVEL,
        "MASTER_ADDR": setting.hosts[0],
        "MASTER_PORT": setting.master_port,
        "SOURCE_DIR": f"{base}/{CODE}",
        "ENTRY_SCRIPT": setting.entry_point,
        **{f"CHANNEL_{name.upper()}": f"{base}/input/data/{name}" for name in channels},
        "CHANNELS": channels,
        **{f"HP_{name.replace('-', '_').upper()}": value for name, value in hps.items()},
        "HPS": hps,
        "CURRENT_HOST": setting.host,
        "CURRENT_INSTANCE_TYPE": INSTANCE,
        "HOSTS": hosts,
        "NETWORK_INTERFACE_NAME": setting.interface,
        "HOST_COUNT": len(hosts),
        "CURRENT_HOST_RANK": hosts.index(setting.host),
        "NUM_CPUS": setting.cpus or os.cpu_count() or 1,
        "NUM_GPUS": 0,
        "NUM_NEURONS": 0,
        "RESOURCE_CONFIG": resource,
        "INPUT_DATA_CONFIG": input_data_config(channels),
    }
    values["TRAINING_ENV"] = {
        "channel_input_dirs": {name: values[f"CHANNEL_{name.upper()}"] for name in channels},
        **{name: values[name.upper()] for name in _FROM_VALUES},
        "hyperparameters": hps,
        "input_data_config": values["INPUT_DATA_CONFIG"],
        "job_name": setting.job_name,
        "resource_config": resource,
    }
    return {
        **{f"SM_{name}": _raw(value) for name, value in values.items()},
        "TRAINING_JOB_NAME": setting.job_name,
        "TRAINING_JOB_ARN": job_arn(setting),
        **({"PYTHONPATH": setting.shims} if setting.shims else {}),
    }


# entries of SM_TRAINING_ENV that are variables of their own, under the same name
_FROM_VALUES = (
    "current_host", "current_instance_type", "hosts", "master_addr", "master_port", "input_config_dir", "input_data_dir", "input_dir",
    "log_level", "model_dir", "network_interface_name", "num_cpus", "num_gpus", "num_neurons", "output_data_dir",
)  # fmt: skip


def command(python: str, setting: Setting, files: Sequence[str]) -> list[str]:
    """What runs the entry point: `.py` a script and `.sh` a command, each with its hyperparameters; anything else without."""
    entry_point, scripted = setting.entry_point, setting.entry_point.endswith((".py", ".sh"))
    words = [*setting.arguments, *(arguments(_hyperparameters(setting)) if scripted else [])]
    if entry_point.endswith(".py"):
        return [python, entry_point, *words]
    if entry_point.endswith(".R"):
        return ["Rscript", entry_point, *words]
    return ["/bin/sh", "-c", '"$0" "$@"', f"./{entry_point}", *words]


def failure(code: int, argv: Sequence[str]) -> str:
    """The last line of what the drivers write: theirs is a traceback through their own files."""
    return f"subprocess.CalledProcessError: Command '{list(argv)}' returned non-zero exit status {code}.\n"


def exit_code(code: int) -> int:
    """The job exits as the script did."""
    return code
