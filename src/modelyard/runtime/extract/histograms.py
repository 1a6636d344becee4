"""Histogram gradient boosting: float64 comparisons, missing values, and categories that it encodes itself."""

from __future__ import annotations

from typing import Any

from modelyard.runtime.extract.builder import LARGEST, Builder, Cannot, Fact, Method, Table, clipped
from modelyard.runtime.extract.encoding import looked_up


def _given(builder: Builder, model: Any, table: Table) -> list[int]:
    """What its trees compare: categories, which come first, as numbers, and then the numbers. Raises Cannot."""
    name = type(model).__name__
    if table.sparse:
        raise Cannot(f"{name} refuses sparse input")
    Builder.sized(model, table)
    encoder: Any = getattr(model, "_preprocessor", None)
    flags: Any = getattr(model, "is_categorical_", None)
    if encoder is None:
        if flags is not None and any(flags):
            raise Cannot(f"{name} before scikit-learn 1.4 takes categories as numbers")
        slots = table.slots
    else:
        names = getattr(encoder, "feature_names_in_", None)
        if names is not None and table.names is not None:  # a DataFrame's columns are found by name
            table = table.picked(table.place(str(name)) for name in names)
        categories = table.picked(i for i, flag in enumerate(flags) if flag)
        encoded = looked_up(builder, encoder.named_transformers_["encoder"], categories).slots
        slots = [*encoded, *table.picked(i for i, flag in enumerate(flags) if not flag).slots]
    builder.numeric(model, slots)
    return slots


def sums(builder: Builder, model: Any, table: Table) -> list[int]:
    """The raw sums, as `_raw_predict` gives them."""
    slots = _given(builder, model, table)
    init = builder.floats(builder.np.ravel(model._baseline_prediction))
    parts: dict[str, Any] = {name: [] for name in ("feature", "threshold", "left", "right", "leaf", "missing_left")}
    roots, targets, sets, limits = [], [], {}, [abs(x) for x in init]
    for stage in model._predictors:
        for k, predictor in enumerate(stage):
            roots.append(len(parts["feature"]))
            targets.append(k)
            limits[k] += float(builder.np.abs(predictor.nodes["value"]).max())
            sets.update(_append(builder, model, predictor, parts, roots[-1]))
    slots = clipped(builder, slots, parts["feature"], parts["threshold"])
    facts = [Fact(limit=limit, missing=False) for limit in limits]
    return builder.add("trees", facts, slots=slots, roots=roots, targets=targets, width=len(init), init=init, cast="f8", sets=sets, **parts)


def _append(builder: Builder, model: Any, predictor: Any, parts: dict[str, Any], start: int) -> dict[str, list[int]]:
    """Append a tree's nodes; the sets of those that part categories."""
    np, nodes = builder.np, predictor.nodes
    leaf, apart = nodes["is_leaf"].astype(bool), nodes["is_categorical"].astype(bool)
    missing = nodes["missing_go_to_left"].astype(bool)
    parts["feature"] += np.where(leaf, -1, nodes["feature_idx"].astype(np.int64)).tolist()
    # what parts missing values from all others has the threshold infinity
    parts["threshold"] += builder.floats(np.clip(np.where(leaf | apart, 0.0, nodes["num_threshold"]), -LARGEST, LARGEST))
    parts["left"] += np.where(leaf, -1, nodes["left"].astype(np.int64) + start).tolist()
    parts["right"] += np.where(leaf, -1, nodes["right"].astype(np.int64) + start).tolist()
    parts["leaf"] += builder.floats(nodes["value"].astype(np.float64))
    parts["missing_left"] += missing.tolist()
    found = {}
    for at in np.flatnonzero(apart & ~leaf).tolist():
        known, places = model._bin_mapper.make_known_categories_bitsets()
        lefts = _members(np, predictor.raw_left_cat_bitsets[nodes["bitset_idx"][at]])
        unknown = ~_members(np, known[places[nodes["feature_idx"][at]]])
        found[str(start + at)] = np.flatnonzero(lefts | (unknown & missing[at])).tolist()
    return found


def _members(np: Any, words: Any) -> Any:
    """(256,) bool from 8 words of 32 bits, the lowest first."""
    return ((np.asarray(words, dtype=np.int64)[:, None] >> np.arange(32)) & 1 == 1).ravel()


def classes(builder: Builder, model: Any, table: Table) -> list[int]:
    if model.loss not in ("log_loss", "auto", "binary_crossentropy", "categorical_crossentropy"):
        raise Cannot(f"{type(model).__name__} with the loss {model.loss} has no row plan")
    raw = sums(builder, model, table)
    return builder.link("softmax", raw) if len(raw) > 1 else builder.link("complement", builder.link("sigmoid", raw))


_LOGARITHMS = ("poisson", "gamma")
_PLAIN = ("squared_error", "least_squares", "absolute_error", "least_absolute_deviation", "quantile")


def number(builder: Builder, model: Any, table: Table) -> list[int]:
    if model.loss not in (*_LOGARITHMS, *_PLAIN):
        raise Cannot(f"{type(model).__name__} with the loss {model.loss} has no row plan")
    raw = sums(builder, model, table)
    return builder.link("exp", raw) if model.loss in _LOGARITHMS else raw


METHODS: dict[tuple[str, str, str], Method] = {
    ("sklearn", "HistGradientBoostingClassifier", "predict_proba"): classes,
    ("sklearn", "HistGradientBoostingClassifier", "decision_function"): sums,
    ("sklearn", "HistGradientBoostingRegressor", "predict"): number,
}
