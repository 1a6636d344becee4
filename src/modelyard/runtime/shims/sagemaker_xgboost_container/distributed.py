"""Training on one host. XGBoost's container joins several by Rabit, which XGBoost has no longer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from modelyard_sagemaker.aside import lacking


def rabit_run(
    exec_fun: Callable[..., Any],
    args: Mapping[str, Any],
    include_in_training: bool,
    hosts: Sequence[str],
    current_host: str,
    first_port: int | None = None,
    second_port: int | None = None,
    max_connect_attempts: int | None = None,
    connect_retry_timeout: int = 3,
    update_rabit_args: bool = False,
) -> None:
    """Call `exec_fun` with `args`, and with `is_master` where `update_rabit_args` asks for it. Raises RuntimeError for several hosts."""
    if len(hosts) > 1:
        raise RuntimeError("Modelyard's stand-in for sagemaker_xgboost_container trains on one host: set train.instances.count to 1")
    if include_in_training:
        exec_fun(**{**args, **({"is_master": True} if update_rabit_args else {})})


def __getattr__(name: str) -> Any:
    lacking("sagemaker_xgboost_container", f"distributed.{name}")
