"""The classic dialect of SageMaker's training contract, as pure functions: a script's files, environment and arguments.

Facts are those of PyPI `sagemaker-training` 5.1.4, and a test compares the two. Where that package reads the machine, we say:
hosts `algo-1`, `algo-2`, ..., instance type `local`, no accelerators, and as many CPUs as the step may use.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from modelyard.build.dialect import GROUP, INSTANCE, Setting, encode, group, input_data_config, job_arn, resource_config

CODE, RESERVED = "code", ()
# SageMaker's own settings among the hyperparameters; every other `sagemaker_*` goes to the framework
_PLATFORM = (
    "_tuning_objective_metric", "default_user_module_name", "sagemaker_container_log_level",
    "sagemaker_enable_cloudwatch_metrics", "sagemaker_job_name", "sagemaker_program", "sagemaker_region",
    "sagemaker_s3_output", "sagemaker_submit_directory",
)  # fmt: skip


def config_files(setting: Setting) -> dict[str, Any]:
    """The JSON files of input/config. A hyperparameter is always a string there: JSON inside for a script, as SageMaker's SDK 2 writes it
    for its frameworks, and plain str() for a container of one's own, as its generic Estimator does."""
    own = setting.hyperparameters.items()
    return {
        "input/config/hyperparameters.json": {name: str(value) if setting.bare else encode(value, name) for name, value in own},
        "input/config/inputdataconfig.json": input_data_config(setting.channels),
        "input/config/resourceconfig.json": resource_config(setting.host, setting.hosts, setting.interface),
    }


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


def _words(setting: Setting) -> list[str]:
    """What stands behind the entry point."""
    return [*setting.arguments, *([] if setting.bare else arguments(setting.hyperparameters))]


def _own(hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
    plain = {name: json.loads(encode(value, name)) for name, value in hyperparameters.items()}
    return {name: value for name, value in plain.items() if name not in _PLATFORM and not name.startswith("sagemaker_")}


def environment(setting: Setting) -> dict[str, str]:
    """Every SM_ variable, and the few others that SageMaker sets: job name and ARN, host, region, PYTHONPATH from the code on, so that
    a package is found there as if it were installed."""
    facts = _facts(setting)
    resource, args = facts["resource_config"], _words(setting)
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
        "TRAINING_JOB_ARN": job_arn(setting),
        "SAGEMAKER_JOB_NAME": str(setting.hyperparameters.get("sagemaker_job_name", "")),
        "SAGEMAKER_REGION": str(setting.hyperparameters.get("sagemaker_region", "")),
        "CURRENT_HOST": setting.host,
        "PYTHONPATH": ":".join(
            [*(f"{setting.base}/{CODE}/{root}".rstrip("/") for root in setting.roots), *([setting.shims] if setting.shims else [])]
        ),
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
        "current_host": setting.host,
        "current_instance_group": GROUP,
        "current_instance_group_hosts": list(setting.hosts),
        "current_instance_type": INSTANCE,
        "distribution_hosts": [],
        "distribution_instance_groups": [],
        "framework_module": setting.framework_module,
        "hosts": list(setting.hosts),
        "hyperparameters": own,
        "input_config_dir": f"{base}/input/config",
        "input_data_config": input_data_config(setting.channels),
        "input_dir": f"{base}/input",
        "instance_groups": [GROUP],
        "instance_groups_dict": {GROUP: group(setting.hosts)},
        "is_hetero": False,
        "is_master": setting.host == setting.hosts[0],
        "is_modelparallel_enabled": None,
        "is_smddpmprun_installed": False,
        "is_smddprun_installed": False,
        "job_name": setting.job_name,
        "log_level": plain.get("sagemaker_container_log_level", 20),
        "master_hostname": setting.hosts[0],
        "model_dir": f"{base}/model",
        "module_dir": f"{base}/code",
        "module_name": setting.entry_point.removesuffix(".py"),
        "network_interface_name": setting.interface,
        "num_cpus": setting.cpus or os.cpu_count() or 1,
        "num_gpus": 0,
        "num_neurons": 0,
        "output_data_dir": f"{base}/output/data",
        "output_dir": f"{base}/output",
        "output_intermediate_dir": f"{base}/output/intermediate",
        "resource_config": resource_config(setting.host, setting.hosts, setting.interface),
        "topology": [],
        "user_entry_point": setting.entry_point,
    }


def _text(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def command(python: str, setting: Setting, files: Sequence[str]) -> list[str]:
    """What runs the entry point: `.sh` a command, else a package where the code has a setup.py, `.py` a script, else a command.

    A command runs through the shell's own lookup, so that one without a `#!` line works too; no text of the caller's is ever parsed
    by it. An R script, which SageMaker has no rule for, is Rscript's.
    """
    entry_point, words = setting.entry_point, _words(setting)
    if entry_point.endswith(".R"):
        return ["Rscript", entry_point, *words]
    if not entry_point.endswith(".sh") and "setup.py" in files:
        return [python, "-m", _module(setting), *words]
    if entry_point.endswith(".py"):
        return [python, "--", entry_point, *words]
    return ["/bin/sh", "-c", '"$0" "$@"', f"./{entry_point}", *words]


def _module(setting: Setting) -> str:
    """`pkg.train` of pkg/train.py, or of src/pkg/train.py where modules are imported from src."""
    root = max((r for r in setting.roots if not r or setting.entry_point.startswith(f"{r}/")), key=len, default="")
    inside = setting.entry_point.removeprefix(root).lstrip("/")
    return inside.removesuffix(".py").removesuffix("/__main__").replace("/", ".")


def failure(code: int, argv: Sequence[str]) -> str:
    """What `sagemaker-training` writes: a signal is a negative number there."""
    told = f"-{code - 128}" if 128 < code <= 128 + 64 else str(code)
    shell = list(argv[:2]) == ["/bin/sh", "-c"]
    said = " ".join(["/bin/sh", "-c", *(shlex.quote(word) for word in argv[3:])]) if shell else " ".join(argv)
    return f'ExecuteUserScriptError:\nExitCode {told}\nErrorMessage ""\nCommand "{said}"'


def exit_code(code: int) -> int:
    """The toolkit exits with 1 for a script that fails, whatever that exits with."""
    return 1 if code else 0
