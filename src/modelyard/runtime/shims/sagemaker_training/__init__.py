"""Stands in for SageMaker's package of this name where that is not installed: the facts of a training job."""

from modelyard_sagemaker.aside import is_real

if not is_real(__name__):
    __version__ = "5.1.4"
