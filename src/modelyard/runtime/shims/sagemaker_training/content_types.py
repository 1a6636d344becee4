"""See `modelyard_sagemaker.content_types`."""

from typing import Any

from modelyard_sagemaker.aside import lacking
from modelyard_sagemaker.content_types import *  # noqa: F403


def __getattr__(name: str) -> Any:
    lacking("sagemaker_training", name)
