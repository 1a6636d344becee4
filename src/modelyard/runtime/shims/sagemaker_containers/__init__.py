"""Stands in for SageMaker's old package of this name where that is not installed."""

from modelyard_sagemaker.aside import is_real

if not is_real(__name__):
    from modelyard_sagemaker.environment import Environment

    __version__ = "2.8.6"

    def training_env() -> Environment:
        """The facts of the training job."""
        return Environment()
