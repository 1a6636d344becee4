"""A job's facts as an object and as a mapping: `Environment()` of sagemaker-training, `training_env()` of sagemaker_containers."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping
from typing import Any

_HERE = os.environ.get("SM_INPUT_CONFIG_DIR", "").rpartition("/input/config")[0]
base_dir = os.environ.get("SAGEMAKER_BASE_DIR") or _HERE or "/opt/ml"
code_dir = os.environ.get("SM_MODULE_DIR") or os.environ.get("SM_SOURCE_DIR") or os.path.join(base_dir, "code")
model_dir = os.path.join(base_dir, "model")
input_dir = os.path.join(base_dir, "input")
input_config_dir = os.path.join(input_dir, "config")
output_dir = os.path.join(base_dir, "output")
output_data_dir = os.path.join(output_dir, "data")
output_intermediate_dir = os.path.join(output_dir, "intermediate")
hyperparameters_file_dir = os.path.join(input_config_dir, "hyperparameters.json")
input_data_config_file_dir = os.path.join(input_config_dir, "inputdataconfig.json")
resource_config_file_dir = os.path.join(input_config_dir, "resourceconfig.json")
_PLATFORM = (
    "sagemaker_program", "sagemaker_submit_directory", "sagemaker_enable_cloudwatch_metrics", "sagemaker_region",
    "sagemaker_container_log_level", "sagemaker_job_name", "default_user_module_name", "_tuning_objective_metric", "sagemaker_s3_output",
)  # fmt: skip


def _read(path: str) -> dict[str, Any]:
    with open(path, encoding="utf-8") as file:
        found: dict[str, Any] = json.load(file)
    return found


def read_hyperparameters() -> dict[str, Any]:
    """hyperparameters.json, each value as JSON where it is JSON, else as it stands there."""
    return {name: _value(value) for name, value in _read(hyperparameters_file_dir).items()}


def _value(text: Any) -> Any:
    try:
        return json.loads(text)
    except (ValueError, TypeError):
        return text


def read_resource_config() -> dict[str, Any]:
    return _read(resource_config_file_dir)


def read_input_data_config() -> dict[str, Any]:
    return _read(input_data_config_file_dir)


def channel_path(channel: str) -> str:
    return os.path.join(input_dir, "data", channel)


def num_cpus() -> int:
    return int(os.environ.get("SM_NUM_CPUS") or os.cpu_count() or 1)


def num_gpus() -> int:
    return int(os.environ.get("SM_NUM_GPUS") or 0)


class Environment(Mapping[str, Any]):
    """What a job knows of itself. Reads /opt/ml/input/config and the SM_ variables; a given config goes before its file."""

    def __init__(
        self,
        resource_config: Mapping[str, Any] | None = None,
        input_data_config: Mapping[str, Any] | None = None,
        hyperparameters: Mapping[str, Any] | None = None,
    ) -> None:
        resource = dict(resource_config or read_resource_config())
        channels = dict(input_data_config or read_input_data_config())
        given = dict(hyperparameters or read_hyperparameters())
        own = {name: value for name, value in given.items() if name not in _PLATFORM and not name.startswith("sagemaker_")}
        known = json.loads(os.environ.get("SM_TRAINING_ENV") or "{}")
        hosts, host, group = resource["hosts"], resource["current_host"], resource.get("current_group_name", "homogeneousCluster")
        groups = {g["instance_group_name"]: g for g in resource.get("instance_groups", ())}
        entry_point = known.get("user_entry_point") or os.environ.get("SM_ENTRY_SCRIPT") or given.get("sagemaker_program") or ""
        self._facts: dict[str, Any] = {
            "additional_framework_parameters": {name: value for name, value in given.items() if name not in own and name not in _PLATFORM},
            "channel_input_dirs": {name: channel_path(name) for name in channels},
            "current_host": host,
            "current_instance_group": group,
            "current_instance_group_hosts": groups.get(group, {}).get("hosts", hosts),
            "current_instance_type": resource.get("current_instance_type", "local"),
            "distribution_hosts": [],
            "distribution_instance_groups": [],
            "framework_module": known.get("framework_module"),
            "hosts": hosts,
            "hyperparameters": own,
            "input_config_dir": input_config_dir,
            "input_data_config": channels,
            "input_dir": input_dir,
            "instance_groups": list(groups),
            "instance_groups_dict": groups,
            "is_hetero": len(groups) > 1,
            "is_master": host == hosts[0],
            "is_modelparallel_enabled": None,
            "is_smddpmprun_installed": False,
            "is_smddprun_installed": False,
            "job_name": os.environ.get("TRAINING_JOB_NAME"),
            "log_level": given.get("sagemaker_container_log_level", logging.INFO),
            "master_hostname": hosts[0],
            "model_dir": model_dir,
            "module_dir": code_dir,
            "module_name": str(entry_point)[:-3] if str(entry_point).endswith(".py") else entry_point,
            "network_interface_name": resource.get("network_interface_name", "eth0"),
            "num_cpus": num_cpus(),
            "num_gpus": num_gpus(),
            "num_neurons": 0,
            "output_data_dir": output_data_dir,
            "output_dir": output_dir,
            "output_intermediate_dir": output_intermediate_dir,
            "resource_config": resource,
            "topology": resource.get("topology", []),
            "user_entry_point": entry_point,
        }
        self._s3_output = given.get("sagemaker_s3_output")

    def __getattr__(self, name: str) -> Any:
        facts = self.__dict__.get("_facts", {})
        if name in facts:
            return facts[name]
        raise AttributeError(f"the training environment has no `{name}`; it has {', '.join(facts)}")

    def __getitem__(self, name: str) -> Any:
        return self._facts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._facts)

    def __len__(self) -> int:
        return len(self._facts)

    def __str__(self) -> str:
        return str(self._facts)

    def sagemaker_s3_output(self) -> Any:
        return self._s3_output

    def to_cmd_args(self) -> list[str]:
        """The script's own command line, as the job gave it."""
        return list(json.loads(os.environ.get("SM_USER_ARGS") or "[]"))

    def to_env_vars(self) -> dict[str, str]:
        """The SM_ variables, as the job gave them."""
        return {name: value for name, value in os.environ.items() if name.startswith("SM_")}


def write_env_vars(env_vars: Mapping[str, str] | None = None) -> None:
    """Set variables of this process."""
    os.environ.update(env_vars or {})
