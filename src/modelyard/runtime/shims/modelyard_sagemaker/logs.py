"""Loggers as the toolkits set them up."""

from __future__ import annotations

import logging
import sys
from typing import Any


def get_logger() -> logging.Logger:
    return logging.getLogger("sagemaker-containers")


def configure_logger(level: Any, log_format: str = "%(asctime)s %(name)-12s %(levelname)-8s %(message)s") -> None:
    logging.basicConfig(level=level, format=log_format, stream=sys.stdout)
