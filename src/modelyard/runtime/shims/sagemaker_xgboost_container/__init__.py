"""Stands in for SageMaker's package of this name where that is not installed: what training and inference scripts import of it."""

from modelyard_sagemaker.aside import is_real

if not is_real(__name__):
    __version__ = "2.0"
