"""Calibrated classifiers: each fold's scores through its calibrators, and the mean of the folds."""

from __future__ import annotations

from typing import Any

from modelyard.runtime.extract.builder import Builder, Cannot, Fact, Method, Table
from modelyard.runtime.extract.combining import averaged


def calibrated(builder: Builder, model: Any, table: Table) -> list[int]:
    folds = [_fold(builder, fold, table) for fold in model.calibrated_classifiers_]
    return averaged(builder, folds, [1.0] * len(folds), float(len(folds)))


def _fold(builder: Builder, fold: Any, table: Table) -> list[int]:
    inner = fold.estimator if hasattr(fold, "estimator") else fold.base_estimator
    count = len(fold.classes)
    raw = _scores(builder, inner, table, count)
    known = list(fold.classes)
    places = [1] if count == 2 else [known.index(c) for c in inner.classes_]
    if len(raw) != len(places) or len(fold.calibrators) != len(places) or sorted(places) != list(range(count == 2, count)):
        raise Cannot("a fold of CalibratedClassifierCV that has not seen all classes")
    made = dict(zip(places, (_calibrate(builder, slot, calibrator) for slot, calibrator in zip(raw, fold.calibrators))))
    if count == 2:
        return builder.link("complement", [made[1]])
    return builder.link("normalize", [made[place] for place in range(count)])


def _scores(builder: Builder, inner: Any, table: Table, count: int) -> list[int]:
    """What is calibrated: the raw scores where the model has them, else its probabilities; of two classes that of the second."""
    if hasattr(inner, "decision_function"):
        return builder.method(inner, "decision_function", table)
    made = builder.method(inner, "predict_proba", table)
    return made[1:] if count == 2 and len(made) == 2 else made


def _calibrate(builder: Builder, slot: int, calibrator: Any) -> int:
    kind = type(calibrator).__name__
    if kind == "_SigmoidCalibration":
        sum_ = builder.arithmetic(slot, ("mul", float(calibrator.a_)), ("add", float(calibrator.b_)), ("mul", -1.0))
        return builder.link("sigmoid", [sum_])[0]
    if kind == "IsotonicRegression":
        return _isotonic(builder, slot, calibrator)
    raise Cannot(f"CalibratedClassifierCV with {kind} has no row plan")


def _isotonic(builder: Builder, slot: int, calibrator: Any) -> int:
    if calibrator.out_of_bounds != "clip" or calibrator.X_thresholds_.dtype != builder.np.float64:
        raise Cannot("IsotonicRegression that does not clip, or was fitted on float32, has no row plan")
    builder.require([slot], "finite", "Input contains NaN or infinity")
    ys = builder.floats(calibrator.y_thresholds_)
    fact = Fact(limit=max(map(abs, ys)), missing=False)
    return builder.add("isotonic", [fact], slot=slot, xs=builder.floats(calibrator.X_thresholds_), ys=ys)[0]


METHODS: dict[tuple[str, str, str], Method] = {("sklearn", "CalibratedClassifierCV", "predict_proba"): calibrated}
