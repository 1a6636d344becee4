"""See `modelyard_sagemaker.mapping`."""

from typing import Any

from modelyard_sagemaker.aside import lacking
from modelyard_sagemaker.mapping import *  # noqa: F403


def __getattr__(name: str) -> Any:
    lacking("sagemaker_training", name)
