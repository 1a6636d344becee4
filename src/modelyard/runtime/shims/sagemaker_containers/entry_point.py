"""What scripts import to wait, where there are several hosts, until these find each other: ours always do."""

from typing import Any

from modelyard_sagemaker.aside import lacking


def _wait_hostname_resolution() -> None:
    """The hosts' names are known before a script starts."""


def __getattr__(name: str) -> Any:
    lacking("sagemaker_containers", f"entry_point.{name}")
