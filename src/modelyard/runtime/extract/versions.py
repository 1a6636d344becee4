"""What differs between versions of scikit-learn, asked of the library that is there."""

from __future__ import annotations

import importlib
import re
from typing import Any


def since(major: int, minor: int) -> bool:
    """Whether the environment's scikit-learn is of this version or newer."""
    found = re.findall(r"\d+", str(importlib.import_module("sklearn").__version__))
    return (int(found[0]), int(found[1])) >= (major, minor)


def allows_missing(model: Any) -> bool:
    """What a model says of itself: whether it takes missing values."""
    if hasattr(model, "__sklearn_tags__"):
        return bool(model.__sklearn_tags__().input_tags.allow_nan)
    return bool(model._get_tags().get("allow_nan", False))
