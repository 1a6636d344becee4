"""Gradient boosting libraries beside scikit-learn."""

from __future__ import annotations

from modelyard.runtime.extract import boosters_catboost, boosters_lightgbm, boosters_xgboost
from modelyard.runtime.extract.builder import Method

METHODS: dict[tuple[str, str, str], Method] = {**boosters_xgboost.METHODS, **boosters_lightgbm.METHODS, **boosters_catboost.METHODS}
