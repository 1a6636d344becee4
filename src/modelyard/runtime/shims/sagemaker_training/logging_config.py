"""See `modelyard_sagemaker.logs`."""

from typing import Any

from modelyard_sagemaker.aside import lacking
from modelyard_sagemaker.logs import *  # noqa: F403


def __getattr__(name: str) -> Any:
    lacking("sagemaker_training", name)
