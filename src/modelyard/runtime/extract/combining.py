"""Models made of models: means of them, models of their answers, and targets that were transformed."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from modelyard.runtime.extract import binning, forests
from modelyard.runtime.extract.builder import FLAG, Builder, Cannot, Fact, Method, Table, Transform
from modelyard.runtime.extract.pipeline import joined
from modelyard.runtime.extract.versions import since


def averaged(builder: Builder, parts: Sequence[Sequence[int]], weights: Sequence[float], divide: float) -> list[int]:
    """A slot a column: the weighted sum of that column of all parts, divided."""
    made = []
    for slots in zip(*parts):
        total = list(slots) if len(slots) == 1 and weights[0] == 1.0 else builder.linear(slots, [list(weights)], [0.0])
        made.append(builder.arithmetic(total[0], ("div", divide)))
    return made


def _array(builder: Builder, table: Table) -> Table:
    """A table whose columns have become one array."""
    return table._replace(names=None, frame=False, object=any(builder.objects(table, s) for s in table.slots))


def bagged(method: str) -> Method:
    """The mean of models that each see some columns."""

    def made(builder: Builder, model: Any, table: Table) -> list[int]:
        Builder.sized(model, table)
        whole = _array(builder, table)
        parts = []
        for part, features in zip(model.estimators_, model.estimators_features_):
            if method == "predict_proba" and len(part.classes_) != len(model.classes_):
                raise Cannot("a model of BaggingClassifier has not seen all classes")
            parts.append(builder.method(part, method, whole.picked(int(i) for i in features)))
        return averaged(builder, parts, [1.0] * len(parts), float(len(parts)))

    return made


def voted(method: str) -> Method:
    """The mean, by weight, of different models."""

    def made(builder: Builder, model: Any, table: Table) -> list[int]:
        if method == "predict_proba" and model.voting != "soft":
            raise Cannot("VotingClassifier counts votes and gives no probabilities")
        parts = [builder.method(part, method, table) for part in model.estimators_]
        weights = model._weights_not_none
        weights = [1.0] * len(parts) if weights is None else [float(w) for w in weights]
        return averaged(builder, parts, weights, sum(weights))

    return made


def stacked(method: str) -> Method:
    """A model of other models' answers."""

    def made(builder: Builder, model: Any, table: Table) -> list[int]:
        slots: list[int] = []
        for part, how in zip(model.estimators_, model.stack_method_):
            answers = builder.method(part, how, table)
            binary = how == "predict_proba" and len(getattr(model, "classes_", ())) == 2
            slots += answers[1:] if binary else answers
        given = Table(slots)
        if model.passthrough:
            given = joined(builder, [given, table], sparse=table.sparse)
        return builder.method(model.final_estimator_, method, given)

    return made


def against_rest(builder: Builder, model: Any, table: Table) -> list[int]:
    """OneVsRestClassifier: probabilities of each class against the rest, scaled to the sum 1."""
    made = [builder.method(part, "predict_proba", table)[1] for part in model.estimators_]
    if len(made) == 1:
        return builder.link("complement", made)
    made = builder.link("shares", made)
    if not _keeps_zeros(builder.np, model):
        return made
    one = Fact(limit=1.0, missing=False)
    return [builder.add("impute", [one], slot=slot, value=0.0)[0] for slot in made]


def _keeps_zeros(np: Any, model: Any) -> bool:
    """Whether OneVsRestClassifier answers 0 for each class where all models do; older ones answer no number at all."""
    tried, never = copy.copy(model), SimpleNamespace(predict_proba=lambda x: np.array([[1.0, 0.0]]))
    tried.estimators_ = [never] * len(model.estimators_)
    with np.errstate(all="ignore"):
        return bool(np.isfinite(tried.predict_proba(np.zeros((1, 1)))).all())


def several_labels(builder: Builder, model: Any, table: Table) -> list[int]:
    """The probability of each label, each by a model of its own."""
    return [builder.method(part, "predict_proba", table)[-1] for part in model.estimators_]


def _adaptive(builder: Builder, model: Any, table: Table) -> list[int]:
    """AdaBoostClassifier's decisions over trees, one a class."""
    np, count = builder.np, len(model.classes_)
    if any(type(part).__name__ != "DecisionTreeClassifier" or len(part.classes_) != count for part in model.estimators_):
        raise Cannot("AdaBoostClassifier of other models than trees has no row plan")
    if any(builder.objects(table, s) and builder.facts[s].none and builder.facts[s].missing for s in table.slots):
        raise Cannot("AdaBoostClassifier is given Python objects, of which one may be missing")  # it finds no None, and the trees take it
    builder.numbers(model, table)
    slots = forests.compared(builder, model, table, missing=False)
    real = getattr(model, "algorithm", "SAMME") == "SAMME.R"
    if not real and not since(1, 4):
        raise Cannot("AdaBoostClassifier's SAMME before scikit-learn 1.4 has no row plan")  # it was scaled in several ways
    trees = []
    for part, weight in zip(model.estimators_, model.estimator_weights_):
        values = forests.values(builder, part)
        if real:
            logs = np.log(np.clip(values, np.finfo(values.dtype).eps, None))
            leaves = (count - 1) * (logs - (1.0 / count) * logs.sum(axis=1)[:, np.newaxis])
        else:
            chosen = values.argmax(axis=1)[:, np.newaxis] == np.arange(count)
            leaves = np.where(chosen, weight, -1 / (count - 1) * weight)
        trees.append(forests.Tree(part.tree_, leaves))
    return forests.ensemble(builder, slots, trees, [0.0] * count, missing=False, divide=float(model.estimator_weights_.sum()))


def adaptive_decision(builder: Builder, model: Any, table: Table) -> list[int]:
    made = _adaptive(builder, model, table)
    return builder.linear(made, [[-1.0, 1.0]], [0.0]) if len(made) == 2 else made


def adaptive(builder: Builder, model: Any, table: Table) -> list[int]:
    made = adaptive_decision(builder, model, table)
    if len(made) == 1:
        half = builder.arithmetic(made[0], ("div", 2.0))
        return builder.link("softmax", [builder.arithmetic(half, ("mul", -1.0)), half])
    return builder.link("softmax", [builder.arithmetic(slot, ("div", float(len(made) - 1))) for slot in made])


def back_transformed(builder: Builder, model: Any, table: Table) -> list[int]:
    """TransformedTargetRegressor."""
    (slot,) = builder.method(model.regressor_, "predict", table)
    how = model.transformer_
    kind = type(how).__name__
    if kind == "FunctionTransformer":
        if how.inv_kw_args:
            raise Cannot("TransformedTargetRegressor gives its function arguments")
        if how.validate:
            builder.require([slot], "finite", "Input contains NaN or infinity")
        return [slot if how.inverse_func is None else binning.function(builder, how.inverse_func, slot)]
    builder.require([slot], "bounded", "Input contains infinity")
    if kind == "StandardScaler":
        ops = [("mul", how.scale_ if how.with_std else None), ("add", how.mean_ if how.with_mean else None)]
    elif kind == "MinMaxScaler":
        ops = [("sub", how.min_), ("div", how.scale_)]
    else:
        raise Cannot(f"TransformedTargetRegressor with {kind} has no row plan")
    return [builder.arithmetic(slot, *((op, float(values[0])) for op, values in ops if values is not None))]


def constant(method: str) -> Method:
    """DummyClassifier and DummyRegressor, which look at no column."""

    def made(builder: Builder, model: Any, table: Table) -> list[int]:
        if model.strategy == "stratified":
            raise Cannot("DummyClassifier answers at random")
        answer = builder.np.ravel(getattr(model, method)(builder.np.zeros((1, len(table.slots)))))
        one = builder.add("products", [FLAG], terms=[[]])
        return builder.linear(one, answer.reshape(-1, 1), builder.np.zeros(len(answer)))

    return made


def frozen(method: str) -> Method:
    return lambda builder, model, table: builder.method(model.estimator, method, table)


TRANSFORMS: dict[tuple[str, str], Transform] = {
    ("sklearn", "FrozenEstimator"): lambda builder, model, table: builder.transform(model.estimator, table),
}
_KINDS = (("Bagging", bagged), ("Voting", voted), ("Stacking", stacked))
METHODS: dict[tuple[str, str, str], Method] = {
    **{("sklearn", f"{kind}Classifier", "predict_proba"): made("predict_proba") for kind, made in _KINDS},
    **{("sklearn", f"{kind}Regressor", "predict"): made("predict") for kind, made in _KINDS},
    **{("sklearn", "FrozenEstimator", method): frozen(method) for method in ("predict_proba", "predict", "decision_function")},
    ("sklearn", "DummyClassifier", "predict_proba"): constant("predict_proba"),
    ("sklearn", "DummyRegressor", "predict"): constant("predict"),
    ("sklearn", "OneVsRestClassifier", "predict_proba"): against_rest,
    ("sklearn", "OneVsRestClassifier", "predict_labels"): several_labels,
    ("sklearn", "MultiOutputClassifier", "predict_labels"): several_labels,
    ("sklearn", "AdaBoostClassifier", "predict_proba"): adaptive,
    ("sklearn", "AdaBoostClassifier", "decision_function"): adaptive_decision,
    ("sklearn", "TransformedTargetRegressor", "predict"): back_transformed,
}
