"""What the dialects of SageMaker's training contract have in common: a job's setting, the limits, the files of input/config.

A dialect is a module with the functions of `Dialect`; `DIALECTS` in build/contract.py names them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from modelyard.errors import BadInput

HOST, INTERFACE, INSTANCE, GROUP = "algo-1", "eth0", "local", "homogeneousCluster"
LOOPBACK = "lo"
"""The network interface that several hosts of one machine have in common."""
MASTER_PORT = 7777
_WHERE = "train.hyperparameters"


@dataclass(frozen=True)
class Setting:
    """What a dialect needs to know of a job on one of its hosts; `base` is where the script finds /opt/ml, `shims` where the stand-ins
    for SageMaker's own Python packages are, empty for none; `roots` are the folders of the code that modules are imported from;
    `arguments` are words before the hyperparameters'. `bare`: see the function of that name."""

    job_name: str
    entry_point: str
    hyperparameters: Mapping[str, Any]
    channels: Sequence[str]
    base: str = "/opt/ml"
    cpus: int = 0
    framework_module: str | None = None
    host: str = HOST
    hosts: Sequence[str] = (HOST,)
    master_port: int = MASTER_PORT
    shims: str = ""
    roots: Sequence[str] = ("",)
    arguments: Sequence[str] = ()
    bare: bool = False

    @property
    def interface(self) -> str:
        return INTERFACE if len(self.hosts) == 1 else LOOPBACK


class Dialect(Protocol):
    """How one generation of SageMaker's toolkits runs a training script. All functions are pure."""

    @property
    def CODE(self) -> str:  # noqa: N802  (a module's constant)
        """The code's folder, and the working directory, below /opt/ml."""
        ...

    @property
    def RESERVED(self) -> tuple[str, ...]:  # noqa: N802  (a module's constant)
        """Channels that the dialect has of itself."""
        ...

    def config_files(self, setting: Setting) -> Mapping[str, Any]:
        """JSON files by their path below /opt/ml."""
        ...

    def environment(self, setting: Setting) -> dict[str, str]:
        """The variables of a script."""
        ...

    def command(self, python: str, setting: Setting, files: Sequence[str]) -> list[str]:
        """The whole command line; `files` are the names at the top of the code."""
        ...

    def failure(self, code: int, argv: Sequence[str]) -> str:
        """What the toolkit writes to output/failure for a script that ended with `code` and left no explanation."""
        ...

    def exit_code(self, code: int) -> int:
        """What the training job exits with when the script exits with `code`."""
        ...


def bare(entry_point: str, files: Sequence[str]) -> bool:
    """Whether this is a program of a container of one's own, an executable or R script, and none that SageMaker's toolkits run: such a
    one is given the words that are asked for (`train`) and no hyperparameters, which it reads from a file. `files` are the names at
    the top of the code."""
    return entry_point.endswith(".R") or not (entry_point.endswith((".py", ".sh")) or "setup.py" in files)


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
    """A hyperparameter as JSON. Raises BadInput for what JSON cannot hold."""
    try:
        return json.dumps(value)
    except (TypeError, ValueError) as exc:
        raise BadInput(f"hyperparameter `{name}` is no plain value: {exc}", where=f"{_WHERE}.{name}") from exc


def resource_config(host: str = HOST, hosts: Sequence[str] = (HOST,), interface: str = INTERFACE) -> dict[str, Any]:
    """resourceconfig.json, of training and of processing."""
    return {
        "current_host": host,
        "current_instance_type": INSTANCE,
        "current_group_name": GROUP,
        "hosts": list(hosts),
        "instance_groups": [group(hosts)],
        "network_interface_name": interface,
    }


def group(hosts: Sequence[str]) -> dict[str, Any]:
    return {"instance_group_name": GROUP, "instance_type": INSTANCE, "hosts": list(hosts)}


def input_data_config(channels: Sequence[str]) -> dict[str, Any]:
    """inputdataconfig.json: every channel is files, whole on every host."""
    facts = {"TrainingInputMode": "File", "S3DistributionType": "FullyReplicated", "RecordWrapperType": "None"}
    return {name: dict(facts) for name in channels}


def job_arn(setting: Setting) -> str:
    return f"arn:aws:sagemaker:local:000000000000:training-job/{setting.job_name}"
