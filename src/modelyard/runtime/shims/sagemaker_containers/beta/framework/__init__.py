"""The part that scripts import: the job's facts, types, encoders, the answer of an output_fn. What else they name can be imported, and
says what to do once it is used."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from modelyard_sagemaker import content_types, encoders, errors, files, mapping, worker
from modelyard_sagemaker import logs as logging
from modelyard_sagemaker.aside import lacking
from modelyard_sagemaker.environment import Environment
from sagemaker_containers import _env as env

__all__ = ["content_types", "encoders", "entry_point", "env", "errors", "files", "functions", "logging", "mapping", "modules", "mpi",
           "params", "process", "runner", "server", "trainer", "training_env", "transformer", "worker"]  # fmt: skip


class _Absent(ModuleType):
    def __getattr__(self, name: str) -> Any:
        lacking("sagemaker_containers", f"{self.__name__}.{name}")


entry_point, functions, modules, mpi, params, process, runner, server, trainer, transformer = map(
    _Absent, ("entry_point", "functions", "modules", "mpi", "params", "process", "runner", "server", "trainer", "transformer")
)


def training_env(
    resource_config: Mapping[str, Any] | None = None,
    input_data_config: Mapping[str, Any] | None = None,
    hyperparameters: Mapping[str, Any] | None = None,
) -> Environment:
    """The facts of the training job."""
    return Environment(resource_config, input_data_config, hyperparameters)
