"""What scikit-learn asks about each table and column that it is given, known at a glance of pandas' own."""

from __future__ import annotations

import importlib
import sys
from typing import Any, NamedTuple


class _Questions(NamedTuple):
    """What is asked: a table or column as narwhals has it, whether something is a table, whether it is a column."""

    from_native: Any
    is_into_dataframe: Any
    is_into_series: Any


def by_class() -> bool:
    """Have scikit-learn know pandas' tables and columns by their class. Call it once the model is loaded; it says whether it was done.

    scikit-learn 1.9 takes tables of any library by way of narwhals, which finds out anew what each is: of a pipeline's table and its
    columns that is a sixth of a prediction. Only for exactly `pandas.DataFrame` and `pandas.Series` the answer is given at once, and it is
    the one that narwhals gives; whatever else is asked as before. Where narwhals is not as we know it, all stays as it is.
    """
    narwhals, pandas = sys.modules.get("narwhals.stable.v2"), sys.modules.get("pandas")
    if narwhals is None or pandas is None:
        return False
    module: Any = narwhals
    try:
        asked = _Questions(module.from_native, module.dependencies.is_into_dataframe, module.dependencies.is_into_series)
        quick = _quick(asked, pandas.DataFrame, pandas.Series)
        table = pandas.DataFrame({"a": [1.5], "b": ["text"]})
        if not all(_alike(asked, quick, one) for one in (table, table["a"], table["b"])):
            return False
    except Exception:  # its insides are promised to nobody
        return False
    module.from_native = quick.from_native
    module.dependencies.is_into_dataframe, module.dependencies.is_into_series = quick.is_into_dataframe, quick.is_into_series
    return True


def _quick(asked: _Questions, frame: type, series: type) -> _Questions:
    insides = importlib.import_module("narwhals._utils")
    wrap = insides.Version.V2.namespace.from_backend(insides.Implementation.PANDAS).compliant.from_native

    def from_native(native_object: Any, **options: Any) -> Any:
        kind = type(native_object)
        if (kind is frame and options.keys() <= {"allow_series"}) or (kind is series and options == {"allow_series": True}):
            return wrap(native_object).to_narwhals()
        return asked.from_native(native_object, **options)

    def is_into_dataframe(native_dataframe: Any) -> bool:
        kind = type(native_dataframe)
        return kind is frame or (kind is not series and asked.is_into_dataframe(native_dataframe))

    def is_into_series(native_series: Any) -> bool:
        kind = type(native_series)
        return kind is series or (kind is not frame and asked.is_into_series(native_series))

    return _Questions(from_native, is_into_dataframe, is_into_series)


def _alike(asked: _Questions, quick: _Questions, one: Any) -> bool:
    """Whether both say the same of a table or column."""
    old, new = (questions.from_native(one, allow_series=True) for questions in (asked, quick))
    same = type(new) is type(old) and new.implementation is old.implementation and new.to_native() is old.to_native() is one
    return same and all(a(one) is b(one) for a, b in zip(asked[1:], quick[1:]))
