"""Lets a real package go first: PYTHONPATH comes before what is installed, and a stand-in must not hide it."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import sys
from typing import NoReturn

SHIMS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def is_real(name: str) -> bool:
    """Load the installed package `name` in place of the stand-in that is being imported; False where there is none."""
    elsewhere = [path for path in sys.path if os.path.abspath(path or ".") != SHIMS]
    spec = importlib.machinery.PathFinder.find_spec(name, elsewhere)
    if spec is None or spec.loader is None or spec.origin is None:
        return False
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return True


def lacking(package: str, name: str) -> NoReturn:
    """For `__getattr__` of a module. Raises AttributeError."""
    said = f"{package} is not installed, and Modelyard's stand-in for it has no `{name}`: add the package to the requirements"
    raise AttributeError(said)
