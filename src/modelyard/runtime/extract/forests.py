"""Trees and sums of them: scikit-learn's trees compare float32 values."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from modelyard.runtime.extract.builder import LARGEST, LARGEST32, Builder, Cannot, Fact, Method, Table
from modelyard.runtime.extract.versions import allows_missing, since


class Tree(NamedTuple):
    """A fitted tree; leaves: (nodes, numbers) what each of its nodes would add as a leaf; features: the places, in the table, of the
    columns that it was fitted on (None: all); target: which sum it adds to (-1: its numbers go to all)."""

    inner: Any
    leaves: Any
    features: Any = None
    target: int = -1


def compared(builder: Builder, model: Any, table: Table, *, missing: bool) -> list[int]:
    """The slots that trees compare: none infinite in float32, and none missing unless `missing`. Raises Cannot."""
    Builder.sized(model, table)
    builder.numeric(model, table.slots)
    name = type(model).__name__
    if not missing:
        builder.require(table.slots, "present", f"Input X of {name} contains NaN")
    builder.require(table.slots, "float32", f"Input X of {name} contains infinity or a value too large for dtype('float32')")
    return table.slots


def missing_values(builder: Builder, model: Any, table: Table) -> bool:
    """Whether a tree, or a forest, takes missing values: those of scikit-learn 1.3 and later do, whatever training saw."""
    one = model.estimators_[0] if hasattr(model, "estimators_") else model
    if table.sparse or not since(1, 3) or not allows_missing(model):
        return False
    return not hasattr(one, "_support_missing_values") or bool(one._support_missing_values(builder.np.zeros((1, 1))))


def ensemble(
    builder: Builder, slots: Sequence[int], trees: Sequence[Tree], init: Sequence[float], *, missing: bool, divide: float = 1.0
) -> list[int]:
    """A `trees` step: a slot a number of `init`."""
    parts: dict[str, list[Any]] = {name: [] for name in ("feature", "threshold", "left", "right", "leaf", "missing_left")}
    roots, targets = [], []
    for tree in trees:
        start = len(parts["feature"])
        roots.append(start)
        targets.append(tree.target)
        _append(builder, parts, tree, start, missing=missing)
    limits = [abs(x) for x in init]
    for tree in trees:
        high = builder.np.abs(tree.leaves).max(axis=0).tolist()
        for k, value in enumerate(high):
            limits[k if tree.target < 0 else tree.target] += value
    facts = [Fact(limit=limit / divide if divide else 0.0, missing=False) for limit in limits]
    return builder.add(
        "trees", facts, slots=list(slots), roots=roots, targets=targets, width=len(init), init=list(init), cast="f4", divide=divide, **parts
    )


def _append(builder: Builder, parts: dict[str, list[Any]], tree: Tree, start: int, *, missing: bool) -> None:
    np, inner = builder.np, tree.inner
    leaf = np.asarray(inner.children_left) < 0
    feature = np.asarray(inner.feature)
    if tree.features is not None:
        feature = np.asarray(tree.features)[np.where(leaf, 0, feature)]
    parts["feature"] += np.where(leaf, -1, feature).tolist()
    # what parts missing values from all others has the threshold infinity
    parts["threshold"] += builder.floats(np.clip(np.where(leaf, 0.0, inner.threshold), -LARGEST, LARGEST))
    parts["left"] += np.where(leaf, -1, inner.children_left + start).tolist()
    parts["right"] += np.where(leaf, -1, inner.children_right + start).tolist()
    values = builder.floats(tree.leaves)
    parts["leaf"] += [value if tree.target < 0 else value[0] for value in values]
    if missing:
        parts["missing_left"] += np.asarray(inner.missing_go_to_left).astype(bool).tolist()


def values(builder: Builder, model: Any) -> Any:
    """(nodes, numbers): what a tree answers at each node: probabilities, or a number. Raises Cannot for several outputs."""
    value = builder.np.asarray(model.tree_.value, dtype=builder.np.float64)
    if value.shape[1] != 1:
        raise Cannot(f"{type(model).__name__} has several outputs")
    value = value[:, 0, :]
    if not hasattr(model, "classes_"):
        return value
    if not since(1, 5):  # counts in older ones; these divide whatever is there
        total = value.sum(axis=1, keepdims=True)
        value = value / builder.np.where(total == 0.0, 1.0, total)
    return value


def _label_values(builder: Builder, model: Any) -> Any:
    """(nodes, labels): at each node the probability of each label, of a tree that has several."""
    value = builder.np.asarray(model.tree_.value, dtype=builder.np.float64)
    if value.shape[1] < 2 or any(len(classes) != 2 for classes in model.classes_):
        raise Cannot(f"{type(model).__name__} with a label that training saw always or never")
    if not since(1, 5):
        total = value.sum(axis=2, keepdims=True)
        value = value / builder.np.where(total == 0.0, 1.0, total)
    return value[:, :, 1]


def labels(builder: Builder, model: Any, table: Table) -> list[int]:
    """A tree or a forest of several labels at once."""
    missing = missing_values(builder, model, table)
    slots = compared(builder, model, table, missing=missing)
    parts = getattr(model, "estimators_", [model])
    trees = [Tree(part.tree_, _label_values(builder, part)) for part in parts]
    return ensemble(builder, slots, trees, [0.0] * trees[0].leaves.shape[1], missing=missing, divide=float(len(trees)))


def forest(builder: Builder, model: Any, table: Table) -> list[int]:
    """A tree, or the mean of several."""
    missing = missing_values(builder, model, table)
    slots = compared(builder, model, table, missing=missing)
    trees = [Tree(part.tree_, values(builder, part)) for part in getattr(model, "estimators_", [model])]
    width = trees[0].leaves.shape[1]
    return ensemble(builder, slots, trees, [0.0] * width, missing=missing, divide=float(len(trees)))


def _stages(builder: Builder, model: Any, table: Table) -> list[int]:
    """The raw sums of gradient boosting."""
    if type(model.init_).__name__ not in ("DummyClassifier", "DummyRegressor", "str"):
        raise Cannot(f"{type(model).__name__} starts from a model of the user's, {type(model.init_).__name__}")
    slots = compared(builder, model, table, missing=False)
    stages = builder.np.asarray(model.estimators_)
    init = builder.np.ravel(model._raw_predict_init(builder.np.zeros((1, model.n_features_in_), dtype=builder.np.float32)))
    rate = float(model.learning_rate)
    trees = [Tree(part.tree_, rate * values(builder, part), None, k) for stage in stages for k, part in enumerate(stage)]
    return ensemble(builder, slots, trees, builder.floats(init), missing=False)


def boosted_classes(builder: Builder, model: Any, table: Table) -> list[int]:
    raw = _stages(builder, model, table)
    if len(raw) > 1:
        return builder.link("softmax", raw)
    if model.loss == "exponential":
        raw = [builder.arithmetic(raw[0], ("mul", 2.0))]
    elif model.loss not in ("log_loss", "deviance", "auto"):
        raise Cannot(f"{type(model).__name__} with the loss {model.loss} has no row plan")
    return builder.link("complement", builder.link("sigmoid", raw))


def isolation_depths(builder: Builder, model: Any, table: Table) -> list[int]:
    """IsolationForest.score_samples. Since scikit-learn 1.6 it takes whatever number there is."""
    np, average = builder.np, importlib.import_module("sklearn.ensemble._iforest")._average_path_length
    if since(1, 6):
        Builder.sized(model, table)
        if table.sparse or any(builder.facts[s].kind not in ("number", "bool") for s in table.slots):
            raise Cannot("IsolationForest is given a sparse table, or a column that is no number")
        # an infinite value goes left at the threshold infinity, which the plan writes as the greatest number
        apart = any(np.isinf(part.tree_.threshold).any() for part in model.estimators_)
        slots = [builder.arithmetic(s, ("at_most", LARGEST32)) if builder.facts[s].limit > LARGEST32 and apart else s for s in table.slots]
    else:
        slots = compared(builder, model, table, missing=False)
    trees = []
    for part, features in zip(model.estimators_, model.estimators_features_):
        leaves = _depths(np, part.tree_) + average(part.tree_.n_node_samples) - 1.0
        trees.append(Tree(part.tree_, leaves.reshape(-1, 1), features))
    size = model._max_samples if hasattr(model, "_max_samples") else model.max_samples_
    denominator = float(len(trees) * np.ravel(average([size]))[0])
    if denominator == 0.0:
        raise Cannot("IsolationForest was fitted on one row")
    (depth,) = ensemble(builder, slots, trees, [0.0], missing=since(1, 6))
    exponent = builder.arithmetic(depth, ("div", denominator), ("mul", -1.0))
    power = builder.add("function", [Fact(limit=1.0, missing=False)], slot=exponent, name="exp2")
    return [builder.arithmetic(power[0], ("mul", -1.0))]


def _depths(np: Any, inner: Any) -> Any:
    """How many nodes lie on the way to each node, itself among them."""
    depths = np.ones(inner.node_count, dtype=np.float64)
    for node in range(inner.node_count):  # a child has a greater number than its parent
        if inner.children_left[node] >= 0:
            depths[inner.children_left[node]] = depths[inner.children_right[node]] = depths[node] + 1
    return depths


def isolation_decision(builder: Builder, model: Any, table: Table) -> list[int]:
    return [builder.arithmetic(s, ("sub", float(model.offset_))) for s in isolation_depths(builder, model, table)]


_KINDS = ("DecisionTree", "ExtraTree", "RandomForest", "ExtraTrees")
_ENDS = (("Classifier", "predict_proba"), ("Regressor", "predict"))
METHODS: dict[tuple[str, str, str], Method] = {
    **{("sklearn", f"{kind}{end}", method): forest for kind in _KINDS for end, method in _ENDS},
    **{("sklearn", f"{kind}Classifier", "predict_labels"): labels for kind in _KINDS},
    ("sklearn", "GradientBoostingClassifier", "predict_proba"): boosted_classes,
    ("sklearn", "GradientBoostingClassifier", "decision_function"): _stages,
    ("sklearn", "GradientBoostingRegressor", "predict"): _stages,
    ("sklearn", "IsolationForest", "score_samples"): isolation_depths,
    ("sklearn", "IsolationForest", "decision_function"): isolation_decision,
    ("sklearn", "IsolationForest", "predict_label"): isolation_decision,
}
