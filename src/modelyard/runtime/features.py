"""Features: the columns that a model says it was fitted on, and the columns of the data in that order.

Scripts select columns and put them into an order of their own. A model that was fitted on a table with names refuses another order, or,
given an array, silently takes one column for another.
"""

from __future__ import annotations

from typing import Any

_ATTRIBUTES = ("feature_names_in_", "feature_names_", "feature_name_", "feature_names", "feature_name")
"""scikit-learn and what is built after it, CatBoost, LightGBM's and XGBoost's wrappers and boosters."""

_WRAPPED = ("sklearn_model", "lgb_model", "xgb_model", "cb_model")
"""Where MLflow's wrappers keep their model."""


def known(model: Any) -> list[str] | None:
    """The names of the columns that a model was fitted on, in its order; None where it does not say."""
    if type(model).__name__ == "PyFuncModel":
        inside = raw(model)
        return (known(inside) if inside is not None else None) or _signed(model)
    if isinstance(model, dict):
        return None
    found = (_names(model, attribute) for attribute in _ATTRIBUTES)
    return next((names for names in found if names and all(isinstance(name, str) for name in names)), None)


def _names(model: Any, attribute: str) -> list[Any]:
    try:
        value: Any = getattr(model, attribute)
        value = value() if attribute == "feature_name" and callable(value) else value
        return [] if isinstance(value, str) else list(value)
    except Exception:  # no such attribute, or no list; a property of a model that was not fitted raises kinds of its own
        return []


def raw(pyfunc: Any) -> Any:
    """The model inside an MLflow pyfunc; None for a flavor that has none."""
    try:
        return pyfunc.get_raw_model()
    except Exception:  # MLflow before 2.15 has no such method, and flavors without a model raise kinds of their own
        inside = getattr(pyfunc, "_model_impl", None)
    wrapped = next((getattr(inside, name) for name in _WRAPPED if hasattr(inside, name)), None)
    own = type(inside).__module__.split(".")[0] in ("mlflow", "builtins")
    return wrapped if own else inside


def _signed(pyfunc: Any) -> list[str] | None:
    schema = getattr(getattr(pyfunc, "metadata", None), "get_input_schema", lambda: None)()
    return [str(name) for name in schema.input_names()] if schema is not None and schema.has_input_names() else None


def ordered(wanted: list[str] | None, names: list[str], *, fewer: bool) -> list[str]:
    """`names` as the model wants them; as they are where it does not say, or knows other ones. `fewer`: columns that the model does not
    know may be left out. LightGBM writes underscores for spaces."""
    if wanted is None:
        return names
    spaced = {name.replace(" ", "_"): name for name in names}
    found = wanted if set(wanted) <= set(names) else [spaced.get(name, "") for name in wanted]
    if "" in found or len(set(found)) != len(found) or not (fewer or len(found) == len(names)):
        return names
    return found
