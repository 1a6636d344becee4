"""The classic dialect of SageMaker's training contract, as pure functions: a script's files, environment and arguments.

Facts are those of PyPI `sagemaker-training` 5.1.4, and a test compares the two. Where that package reads the machine, we say:
one host `algo-1`, instance type `local`, no accelerators, and as many CPUs as the step may use.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelyard.errors import BadInput

HOST, INTERFACE, INSTANCE, GROUP = "algo-1", "eth0", "local", "homogeneousCluster"
_WHERE = "train.hyperparameters"
# SageMaker's own settings among the hyperparameters; every other `sagemaker_*` goes to the framework
_PLATFORM = (
    "_tuning_objective_metric", "default_user_module_name", "sagemaker_container_log_level",
    "sagemaker_enable_cloudwatch_metrics", "sagemaker_job_name", "sagemaker_program", "sagemaker_region",
    "sagemaker_s3_output", "sagemaker_submit_directory",
)  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """What the dialect needs to know of a job; `base` is where the script finds /opt/ml."""

    job_name: str
    entry_point: str
    hyperparameters: Mapping[str, Any]
    channels: Sequence[str]
    base: str = "/opt/ml"
    cpus: int = 0
    framework_module: str | None = None


def check(hyperparameters: Mapping[str, Any], channels: Sequence[str]) -> None:
    """SageMaker's limits: 100 hyperparameters, names to 256 and JSON values to 2,500 characters, 20 channels. Raises BadInput."""
    if len(hyperparameters) > 100:
        raise BadInput(f"{len(hyperparameters)} hyperparameters; 100 are the most", where=_WHERE)
    for name, value in hyperparameters.items():
        if not name or len(name) > 256 or "=" in name or "\0" in name:
            raise BadInput(f"a hyperparameter cannot be named {name[:40]!r}", where=_WHERE, next="1 to 256 characters, without `=`")
        text = encode(value, name)
        if len(text) > 2500 or "\\u0000" in text:
            said = f"the value of hyperparameter `{name}` has {len(text)} characters; 2,500 are the most, and NUL is none of them"
            raise BadInput(said, where=f"{_WHERE}.{name}", next="put long values into a file of the code")
    if len(channels) > 20:
        raise BadInput(f"{len(channels)} channels; 20 are the most", where="train")
    for name in channels:
        if not name or not all(c.isalnum() or c in "._-" for c in name) or name.startswith("."):
            raise BadInput(f"a channel cannot be named {name[:40]!r}", where="train", next="use letters, digits, `_` and `-`")


def encode(value: Any, name: str) -> str:
    """A hyperparameter as hyperparameters.json holds it: always a string, JSON inside, as SageMaker's SDK writes it."""
    try:
        return json.dumps(value)
    except (TypeError, ValueError) as exc:
        raise BadInput(f"hyperparameter `{name}` is no plain value: {exc}", where=f"{_WHERE}.{name}") from exc


def config_files(setting: Setting) -> dict[str, Any]:
    """The JSON files of input/config, by name."""
    return {
        "hyperparameters.json": {name: encode(value, name) for name, value in setting.hyperparameters.items()},
        "inputdataconfig.json": _input_data_config(setting),
        "resourceconfig.json": resource_config(),
    }


def resource_config() -> dict[str, Any]:
    return {
        "current_host": HOST,
        "current_instance_type": INSTANCE,
        "current_group_name": GROUP,
        "hosts": [HOST],
        "instance_groups": [_group()],
        "network_interface_name": INTERFACE,
    }


def _group() -> dict[str, Any]:
    return {"instance_group_name": GROUP, "instance_type": INSTANCE, "hosts": [HOST]}


def _input_data_config(setting: Setting) -> dict[str, Any]:
    facts = {"TrainingInputMode": "File", "S3DistributionType": "FullyReplicated", "RecordWrapperType": "None"}
    return {name: dict(facts) for name in setting.channels}


def arguments(hyperparameters: Mapping[str, Any]) -> list[str]:
    """The command line: sorted by name, `-x` for names of one letter; str() of a value, `a=1,b=2` for a mapping, "" for None."""
    words: list[str] = []
    for name, value in sorted(_own(hyperparameters).items()):
        words.append(f"--{name}" if len(name) > 1 else f"-{name}")
        if isinstance(value, Mapping):
            words.append(",".join(f"{key}={inner}" for key, inner in sorted(value.items())))
        else:
            words.append("" if value is None else str(value))
    return words


def _own(hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
    plain = {name: json.loads(encode(value, name)) for name, value in hyperparameters.items()}
    return {name: value for name, value in plain.items() if name not in _PLATFORM and not name.startswith("sagemaker_")}


def environment(setting: Setting) -> dict[str, str]:
    """Every SM_ variable, and the few others that SageMaker sets: job name and ARN, host, region, PYTHONPATH from the code on."""
    facts = _facts(setting)
    resource, args = facts["resource_config"], arguments(setting.hyperparameters)
    values: dict[str, Any] = {name: facts[name] for name in _FROM_FACTS}
    values |= {
        "hps": facts["hyperparameters"],
        "framework_params": facts["additional_framework_parameters"],
        "channels": sorted(facts["channel_input_dirs"]),
        "resource_config": resource,
        "training_env": facts,
        "user_args": args,
    }
    values |= {f"channel_{name}": path for name, path in facts["channel_input_dirs"].items()}
    values |= {f"hp_{name}": value for name, value in facts["hyperparameters"].items()}
    return {
        **{f"SM_{name.upper()}": _text(value) for name, value in values.items()},
        "TRAINING_JOB_NAME": setting.job_name,
        "TRAINING_JOB_ARN": f"arn:aws:sagemaker:local:000000000000:training-job/{setting.job_name}",
        "SAGEMAKER_JOB_NAME": str(setting.hyperparameters.get("sagemaker_job_name", "")),
        "SAGEMAKER_REGION": str(setting.hyperparameters.get("sagemaker_region", "")),
        "CURRENT_HOST": HOST,
        "PYTHONPATH": f"{setting.base}/code",
    }


# facts that are variables of their own, under the same name
_FROM_FACTS = (
    "hosts", "network_interface_name", "user_entry_point", "input_data_config", "output_data_dir", "current_host",
    "current_instance_type", "current_instance_group", "current_instance_group_hosts", "instance_groups", "instance_groups_dict",
    "distribution_instance_groups", "is_hetero", "module_name", "log_level", "framework_module", "input_dir", "input_config_dir",
    "output_dir", "num_cpus", "num_gpus", "num_neurons", "model_dir", "module_dir", "output_intermediate_dir",
)  # fmt: skip


def _facts(setting: Setting) -> dict[str, Any]:
    """What SM_TRAINING_ENV holds."""
    base, own = setting.base, _own(setting.hyperparameters)
    plain = {name: json.loads(encode(value, name)) for name, value in setting.hyperparameters.items()}
    return {
        "additional_framework_parameters": {k: v for k, v in plain.items() if k not in own and k not in _PLATFORM},
        "channel_input_dirs": {name: f"{base}/input/data/{name}" for name in setting.channels},
        "current_host": HOST,
        "current_instance_group": GROUP,
        "current_instance_group_hosts": [HOST],
        "current_instance_type": INSTANCE,
        "distribution_hosts": [],
        "distribution_instance_groups": [],
        "framework_module": setting.framework_module,
        "hosts": [HOST],
        "hyperparameters": own,
        "input_config_dir": f"{base}/input/config",
        "input_data_config": _input_data_config(setting),
        "input_dir": f"{base}/input",
        "instance_groups": [GROUP],
        "instance_groups_dict": {GROUP: _group()},
        "is_hetero": False,
        "is_master": True,
        "is_modelparallel_enabled": None,
        "is_smddpmprun_installed": False,
        "is_smddprun_installed": False,
        "job_name": setting.job_name,
        "log_level": plain.get("sagemaker_container_log_level", 20),
        "master_hostname": HOST,
        "model_dir": f"{base}/model",
        "module_dir": f"{base}/code",
        "module_name": setting.entry_point.removesuffix(".py"),
        "network_interface_name": INTERFACE,
        "num_cpus": setting.cpus or os.cpu_count() or 1,
        "num_gpus": 0,
        "num_neurons": 0,
        "output_data_dir": f"{base}/output/data",
        "output_dir": f"{base}/output",
        "output_intermediate_dir": f"{base}/output/intermediate",
        "resource_config": resource_config(),
        "topology": [],
        "user_entry_point": setting.entry_point,
    }


def _text(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def command(python: str, entry_point: str, files: Sequence[str]) -> list[str]:
    """What runs the entry point: `.sh` a command, else a package where the code has a setup.py, `.py` a script, else a command.

    `files` are the names at the top of the code. A command runs through the shell's own lookup, so that one without a `#!` line
    works too; no text of the caller's is ever parsed by it.
    """
    if not entry_point.endswith(".sh") and "setup.py" in files:
        return [python, "-m", entry_point.removesuffix(".py").replace("/", ".")]
    if entry_point.endswith(".py"):
        return [python, "--", entry_point]
    return ["/bin/sh", "-c", '"$0" "$@"', f"./{entry_point}"]
