"""See `modelyard_sagemaker.encoders`."""

from typing import Any

from modelyard_sagemaker.aside import lacking
from modelyard_sagemaker.encoders import *  # noqa: F403


def __getattr__(name: str) -> Any:
    lacking("sagemaker_inference", name)
