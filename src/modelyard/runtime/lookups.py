"""A look-up of the standard library's that Python before 3.12 does slowly, and that scikit-learn makes a hundred times a prediction."""

from __future__ import annotations

import functools
import inspect
import sys
from typing import Any

_REMEMBERED = 256
_mro: Any = type.__dict__["__mro__"].__get__


def quicken() -> None:
    """Have `inspect.getattr_static` find what it finds in less time, as Python 3.12 does: it remembers which of the classes above a class
    has a `__dict__` of its own, and a class that lacks an attribute is no exception.

    scikit-learn 1.9 looks at a table by way of narwhals, which looks at each column so: a fifth of a prediction.
    """
    module: Any = inspect
    if sys.version_info >= (3, 12) or not all(hasattr(module, name) for name in ("_shadowed_dict", "_check_class", "_sentinel")):
        return
    asked, none = module._shadowed_dict, module._sentinel

    @functools.lru_cache(maxsize=_REMEMBERED)
    def remembered(classes: tuple[type, ...]) -> Any:
        return asked(classes[0])

    def shadowed_dict(klass: type) -> Any:
        try:
            return remembered(_mro(klass))
        except TypeError:  # classes that have no hash
            return asked(klass)

    def check_class(klass: type, attr: str) -> Any:
        for entry in _mro(klass):
            kind = type(entry)  # mostly `type`, which nobody can change
            if (kind is type or shadowed_dict(kind) is none) and attr in entry.__dict__:
                return entry.__dict__[attr]
        return none

    module._shadowed_dict, module._check_class = shadowed_dict, check_class
