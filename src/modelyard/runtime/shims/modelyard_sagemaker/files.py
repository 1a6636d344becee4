"""The files by which a training says how it ended."""

from __future__ import annotations

import os

from modelyard_sagemaker import environment


def write_success_file() -> None:
    write_file(os.path.join(environment.output_dir, "success"), "")


def write_failure_file(failure_msg: str) -> None:
    """The first explanation stays."""
    path = os.path.join(environment.output_dir, "failure")
    if not os.path.exists(path):
        write_file(path, failure_msg)


def write_file(path: str, data: str, mode: str = "w") -> None:
    with open(path, mode) as file:
        file.write(data)


def read_file(path: str, mode: str = "r") -> str:
    with open(path, mode) as file:
        return str(file.read())
