"""SHAP values as XGBoost, LightGBM and CatBoost compute them themselves: exact, path-dependent, in the margin's unit.

What is not asked from the rows of a background is taken from the trees' own counts of training rows (Lundberg et al. 2020, algorithm 2).
"""

from __future__ import annotations

import importlib
from typing import Any

from modelyard.runtime.frameworks import _categories


def native(model: Any, table: Any) -> tuple[Any, Any] | None:
    """((rows, outputs, columns + 1) values, the last being the base; (rows, outputs) margins); None for other libraries' models."""
    module = type(model).__module__.split(".")[0]
    known = {"xgboost": _xgboost, "lightgbm": _lightgbm, "catboost": _catboost}
    if module not in known:
        return None
    np: Any = importlib.import_module("numpy")
    values, margins = known[module](np, model, table)
    rows = len(margins)
    margins = np.asarray(margins, dtype=np.float64).reshape(rows, -1)
    values = np.asarray(values, dtype=np.float64)
    return values.reshape(rows, margins.shape[1], -1), margins


def _xgboost(np: Any, model: Any, table: Any) -> tuple[Any, Any]:
    xgboost = importlib.import_module("xgboost")
    booster = model.get_booster() if hasattr(model, "get_booster") else model
    options: dict[str, Any] = {"enable_categorical": True}
    if hasattr(model, "missing"):
        options["missing"] = model.missing
    matrix = xgboost.DMatrix(table, **options)
    best = getattr(model, "best_iteration", None) if _stopped_early(booster) else None
    span = {"iteration_range": (0, int(best) + 1)} if best is not None else {}
    return booster.predict(matrix, pred_contribs=True, **span), booster.predict(matrix, output_margin=True, **span)


def _stopped_early(booster: Any) -> bool:
    return booster.attr("best_iteration") is not None


def _lightgbm(np: Any, model: Any, table: Any) -> tuple[Any, Any]:
    booster, table = getattr(model, "booster_", model), _categories(table)
    values = booster.predict(table, pred_contrib=True)
    if hasattr(values, "toarray"):
        values = values.toarray()
    return values, booster.predict(table, raw_score=True)


def _catboost(np: Any, model: Any, table: Any) -> tuple[Any, Any]:
    catboost = importlib.import_module("catboost")
    pool = catboost.Pool(table, cat_features=list(model.get_cat_feature_indices()) or None)
    return model.get_feature_importance(pool, type="ShapValues"), model.predict(pool, prediction_type="RawFormulaVal")
