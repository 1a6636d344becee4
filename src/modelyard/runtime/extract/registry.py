"""What can be written out: by the root of a class's module and its name, each kind of model in a module of its own."""

from __future__ import annotations

from modelyard.runtime.extract import (
    bayes,
    binning,
    boosters,
    calibration,
    combining,
    encoding,
    forests,
    histograms,
    imputing,
    linear,
    pipeline,
    scaling,
)
from modelyard.runtime.extract.builder import Method, Transform

TRANSFORMS: dict[tuple[str, str], Transform] = {
    **pipeline.TRANSFORMS,
    **scaling.TRANSFORMS,
    **imputing.TRANSFORMS,
    **encoding.TRANSFORMS,
    **binning.TRANSFORMS,
    **combining.TRANSFORMS,
}
"""Fitted transformers, by (module root, class)."""

METHODS: dict[tuple[str, str, str], Method] = {
    **pipeline.METHODS,
    **linear.METHODS,
    **bayes.METHODS,
    **forests.METHODS,
    **histograms.METHODS,
    **calibration.METHODS,
    **combining.METHODS,
    **boosters.METHODS,
}
"""Fitted models' methods, by (module root, class, method).

predict_proba gives a slot a class in the order of `classes_` (or one slot, the positive class's), predict a number's slot,
decision_function raw scores, score_samples an anomaly detector's score, lower for stranger rows, predict_label (of a detector) a slot
that is below 0 for an anomaly, predict_labels (multilabel) a slot a label.
"""
