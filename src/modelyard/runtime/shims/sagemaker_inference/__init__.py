"""Stands in for SageMaker's package of this name where that is not installed: types, encoder and decoder of bodies."""

from modelyard_sagemaker.aside import is_real

if not is_real(__name__):
    __version__ = "1.10.1"
