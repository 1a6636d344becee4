"""Linear models: a weighted sum, and what is made of it."""

from __future__ import annotations

import importlib
from typing import Any

from modelyard.runtime.extract.builder import Builder, Cannot, Method, Table


def decision(builder: Builder, model: Any, table: Table) -> list[int]:
    """The weighted sums: one for two classes or a number, else one a class."""
    slots = builder.numbers(model, table)
    coefficients = builder.np.atleast_2d(builder.np.asarray(model.coef_, dtype=builder.np.float64))
    bias = builder.np.zeros(len(coefficients)) + builder.np.ravel(model.intercept_)
    return builder.linear(slots, coefficients, bias)


def number(builder: Builder, model: Any, table: Table) -> list[int]:
    """A linear regression's. Raises Cannot where it gives several numbers."""
    made = decision(builder, model, table)
    if len(made) != 1:
        raise Cannot(f"{type(model).__name__} gives {len(made)} numbers a row")
    return made


def generalized(builder: Builder, model: Any, table: Table) -> list[int]:
    """Regressions of counts and amounts: log link, unless Tweedie's is the identity."""
    made = number(builder, model, table)
    link = getattr(model, "link", "log")
    if link == "auto":
        link = "identity" if model.power <= 0 else "log"
    if link not in ("identity", "log"):
        raise Cannot(f"{type(model).__name__} has the link {link}")
    return made if link == "identity" else builder.link("exp", made)


def sigmoids(builder: Builder, made: list[int]) -> list[int]:
    """One probability a class of sums, each against the rest."""
    made = builder.link("sigmoid", made)
    if len(made) == 1:
        return builder.link("complement", made)
    return builder.link("normalize" if _evens_out(builder.np) else "shares", made)


def _evens_out(np: Any) -> bool:
    """Whether scikit-learn's models of one class against the rest answer equal probabilities where all of them are 0; older ones answer
    no number at all."""
    mixin: Any = importlib.import_module("sklearn.linear_model._base").LinearClassifierMixin
    impossible = type("Impossible", (mixin,), {"decision_function": lambda self, x: np.full((1, 3), -1000.0)})()
    with np.errstate(all="ignore"):
        return bool(np.isfinite(impossible._predict_proba_lr(np.zeros((1, 1)))).all())


def logistic(builder: Builder, model: Any, table: Table) -> list[int]:
    made = decision(builder, model, table)
    several = len(model.classes_) > 2
    how = getattr(model, "multi_class", "auto")
    rest = model.solver == "liblinear" if how in ("auto", "deprecated") else how in ("ovr", "warn")
    if rest or (not several and how in ("auto", "deprecated")):
        return sigmoids(builder, made)
    if not several:  # as two classes of which the sums are opposite
        made = [builder.arithmetic(made[0], ("mul", -1.0)), made[0]]
    return builder.link("softmax", made)


def stochastic(builder: Builder, model: Any, table: Table) -> list[int]:
    """SGDClassifier, where it has probabilities."""
    made = decision(builder, model, table)
    if model.loss in ("log", "log_loss"):
        return sigmoids(builder, made)
    if model.loss != "modified_huber" or len(made) != 1:
        raise Cannot(f"SGDClassifier with the loss {model.loss} of {len(model.classes_)} classes has no row plan")
    positive = builder.arithmetic(made[0], ("at_least", -1.0), ("at_most", 1.0), ("add", 1.0), ("div", 2.0))
    return builder.link("complement", [positive])


def discriminant(builder: Builder, model: Any, table: Table) -> list[int]:
    made = decision(builder, model, table)
    return sigmoids(builder, made) if len(made) == 1 else builder.link("softmax", made)


_NUMBERS = (
    "LinearRegression", "Ridge", "RidgeCV", "Lasso", "LassoCV", "ElasticNet", "ElasticNetCV", "Lars", "LarsCV", "LassoLars", "LassoLarsCV",
    "LassoLarsIC", "OrthogonalMatchingPursuit", "OrthogonalMatchingPursuitCV", "BayesianRidge", "ARDRegression", "HuberRegressor",
    "QuantileRegressor", "TheilSenRegressor", "SGDRegressor", "PassiveAggressiveRegressor", "LinearSVR",
)  # fmt: skip
_DECISIONS = (
    "LogisticRegression", "LogisticRegressionCV", "SGDClassifier", "LinearDiscriminantAnalysis", "RidgeClassifier", "RidgeClassifierCV",
    "LinearSVC", "Perceptron", "PassiveAggressiveClassifier",
)  # fmt: skip
METHODS: dict[tuple[str, str, str], Method] = {
    **{("sklearn", name, "predict"): number for name in _NUMBERS},
    **{("sklearn", name, "predict"): generalized for name in ("PoissonRegressor", "GammaRegressor", "TweedieRegressor")},
    **{("sklearn", name, "decision_function"): decision for name in _DECISIONS},
    ("sklearn", "LogisticRegression", "predict_proba"): logistic,
    ("sklearn", "LogisticRegressionCV", "predict_proba"): logistic,
    ("sklearn", "SGDClassifier", "predict_proba"): stochastic,
    ("sklearn", "LinearDiscriminantAnalysis", "predict_proba"): discriminant,
}
