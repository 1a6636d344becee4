"""See `modelyard_sagemaker.environment`."""

from typing import Any

from modelyard_sagemaker.aside import lacking
from modelyard_sagemaker.environment import *  # noqa: F403


def __getattr__(name: str) -> Any:
    lacking("sagemaker_training", name)
