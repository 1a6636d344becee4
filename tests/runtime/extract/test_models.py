"""Models of numbers: linear, Bayes, trees and their sums, calibration, and models of models."""

from __future__ import annotations

import pytest

from tests.runtime.extract.oracle import Fitted, declined, held

BINARY, CLASSES, NUMBER = "binary_classification", "multiclass_classification", "regression"
REGRESSIONS = (
    "LinearRegression()", "Ridge()", "Lasso(0.1)", "ElasticNet(0.1)", "SGDRegressor()", "LinearSVR()", "PoissonRegressor()",
    "GammaRegressor()", "TweedieRegressor(power=1.5)", "TweedieRegressor(power=0)", "BayesianRidge()", "HuberRegressor()", "LassoCV()",
    "QuantileRegressor()",
)  # fmt: skip


@pytest.mark.parametrize("model", REGRESSIONS)
def test_linear_regressions(arrays: Fitted, model: str) -> None:
    held(arrays, model=f"make_pipeline(StandardScaler(), {model})", columns=["a", "b", "p", "n"], kind=NUMBER)


@pytest.mark.parametrize("kind", [BINARY, CLASSES])
@pytest.mark.parametrize(
    "model",
    [
        "LogisticRegression(C=0.1)", "SGDClassifier(loss='log_loss')", "LinearDiscriminantAnalysis()", "GaussianNB()",
        "OneVsRestClassifier(LogisticRegression())", "OneVsRestClassifier(DecisionTreeClassifier(max_depth=3))",
    ],
)  # fmt: skip
def test_classifiers_of_scaled_numbers(arrays: Fitted, model: str, kind: str) -> None:
    held(arrays, model=f"make_pipeline(StandardScaler(), {model})", columns=["a", "b", "p", "n"], kind=kind)


@pytest.mark.parametrize(
    ("model", "kind"), [("DummyClassifier()", CLASSES), ("DummyClassifier(strategy='most_frequent')", BINARY), ("DummyRegressor()", NUMBER)]
)
def test_models_that_look_at_no_column(arrays: Fitted, model: str, kind: str) -> None:
    held(arrays, model=model, columns=["a", "c"], kind=kind)


def test_modified_huber_of_two_classes(arrays: Fitted) -> None:
    model = "make_pipeline(StandardScaler(), SGDClassifier(loss='modified_huber'))"
    held(arrays, model=model, columns=["a", "b", "p"], kind=BINARY)
    assert "modified_huber" in declined(arrays, model=model, columns=["a", "b", "p"], kind=CLASSES)


@pytest.mark.parametrize("kind", [BINARY, CLASSES])
@pytest.mark.parametrize("model", ["MultinomialNB()", "ComplementNB()", "BernoulliNB(binarize=0.3)", "BernoulliNB(binarize=None)"])
def test_naive_bayes(arrays: Fitted, model: str, kind: str) -> None:
    held(arrays, model=f"make_pipeline(MinMaxScaler(clip=True), {model})", columns=["a", "b", "p", "n"], kind=kind)


def test_categorical_naive_bayes_refuses_what_training_did_not_see(arrays: Fitted) -> None:
    for kind in (BINARY, CLASSES):
        held(arrays, model="CategoricalNB()", columns=["k", "f"], kind=kind)
    held(arrays, model="make_pipeline(FunctionTransformer(np.abs), CategoricalNB(min_categories=40))", columns=["b", "a"], kind=BINARY)


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ("DecisionTreeClassifier(max_depth=6)", BINARY),
        ("DecisionTreeRegressor(max_depth=6)", NUMBER),
        ("ExtraTreeClassifier(max_depth=6)", CLASSES),
        ("RandomForestClassifier(n_estimators=10, class_weight='balanced')", CLASSES),
        ("RandomForestRegressor(n_estimators=10)", NUMBER),
        ("ExtraTreesClassifier(n_estimators=10, bootstrap=True)", BINARY),
        ("ExtraTreesRegressor(n_estimators=10)", NUMBER),
        ("RandomForestClassifier(n_estimators=10, monotonic_cst=[1, 0, 0, -1])", BINARY),
    ],
)
def test_trees_compare_float32_and_take_missing_values(arrays: Fitted, model: str, kind: str) -> None:
    for columns in (["a", "b", "p", "k"], ["a", "c", "p", "m"]):
        if "monotonic" not in model or "c" not in columns:  # it is not fitted on missing values then
            held(arrays, model=model, columns=columns, kind=kind)


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ("GradientBoostingClassifier(n_estimators=10)", BINARY),
        ("GradientBoostingClassifier(n_estimators=10, loss='exponential')", BINARY),
        ("GradientBoostingClassifier(n_estimators=10, subsample=0.5)", CLASSES),
        ("GradientBoostingRegressor(n_estimators=10, loss='huber')", NUMBER),
        ("GradientBoostingRegressor(n_estimators=10, init='zero')", NUMBER),
        ("AdaBoostClassifier(n_estimators=10)", BINARY),
        ("AdaBoostClassifier(DecisionTreeClassifier(max_depth=2), n_estimators=10)", CLASSES),
    ],
)
def test_boosting(arrays: Fitted, model: str, kind: str) -> None:
    held(arrays, model=model, columns=["a", "b", "p", "k"], kind=kind)


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ("HistGradientBoostingClassifier(max_iter=15)", BINARY),
        ("HistGradientBoostingClassifier(max_iter=15)", CLASSES),
        ("HistGradientBoostingRegressor(max_iter=15)", NUMBER),
        ("HistGradientBoostingRegressor(max_iter=15, loss='poisson')", NUMBER),
        ("HistGradientBoostingRegressor(max_iter=15, loss='absolute_error')", NUMBER),
        ("HistGradientBoostingClassifier(max_iter=15, categorical_features=[2])", BINARY),
        ("HistGradientBoostingClassifier(max_iter=15, categorical_features=[2], early_stopping=True)", CLASSES),
        ("make_pipeline(FunctionTransformer(np.exp), HistGradientBoostingClassifier(max_iter=15))", BINARY),
    ],
)
def test_histogram_boosting(arrays: Fitted, model: str, kind: str) -> None:
    held(arrays, model=model, columns=["a", "c", "k", "m"] if "exp" not in model else ["a", "c"], kind=kind)


@pytest.mark.parametrize("columns", [["a", "b", "p", "k"], ["a", "c", "m"]])
@pytest.mark.parametrize("model", ["IsolationForest(n_estimators=20, max_features=0.7)", "IsolationForest(contamination=0.1)"])
def test_isolation_forests(arrays: Fitted, model: str, columns: list[str]) -> None:
    held(arrays, model=model, columns=columns, kind="anomaly_detection")


@pytest.mark.parametrize("kind", [BINARY, CLASSES])
@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
@pytest.mark.parametrize(
    "model",
    [
        "LinearSVC()", "RidgeClassifier()", "GaussianNB()", "RandomForestClassifier(n_estimators=4)",
        "GradientBoostingClassifier(n_estimators=3)", "HistGradientBoostingClassifier(max_iter=3)",
        "make_pipeline(StandardScaler(), LinearSVC())",
    ],
)  # fmt: skip
def test_calibration(arrays: Fitted, model: str, method: str, kind: str) -> None:
    held(arrays, model=f"CalibratedClassifierCV({model}, method='{method}', cv=3)", columns=["a", "b", "p"], kind=kind)


@pytest.mark.parametrize("kind", [BINARY, CLASSES])
@pytest.mark.parametrize(
    "model",
    [
        "BaggingClassifier(n_estimators=4)", "BaggingClassifier(LogisticRegression(), n_estimators=4, max_features=0.7)",
        "VotingClassifier([('a', LogisticRegression()), ('b', GaussianNB())], voting='soft', weights=[1, 2.5])",
        "VotingClassifier([('a', LogisticRegression()), ('b', DecisionTreeClassifier(max_depth=3))], voting='soft')",
        "StackingClassifier([('a', LogisticRegression()), ('b', RandomForestClassifier(n_estimators=3)), ('c', LinearSVC())])",
        "StackingClassifier([('a', LogisticRegression())], passthrough=True)",
        "GridSearchCV(LogisticRegression(), {'C': [0.1, 1]})",
        "CalibratedClassifierCV(FrozenEstimator(LogisticRegression().fit([[0, 1, 2], [3, 1, 4]], {two})))",
    ],
)  # fmt: skip
def test_models_of_models(arrays: Fitted, model: str, kind: str) -> None:
    if "{two}" in model and kind == CLASSES:
        return
    held(arrays, model=model.replace("{two}", "['no', 'yes']"), columns=["a", "b", "p"], kind=kind)


@pytest.mark.parametrize(
    "model",
    [
        "BaggingRegressor(n_estimators=4)",
        "VotingRegressor([('a', LinearRegression()), ('b', DecisionTreeRegressor(max_depth=3))], weights=[1, 3])",
        "StackingRegressor([('a', LinearRegression()), ('b', DecisionTreeRegressor(max_depth=3))])",
        "TransformedTargetRegressor(LinearRegression(), func=np.log1p, inverse_func=np.expm1)",
        "TransformedTargetRegressor(LinearRegression(), transformer=StandardScaler())",
        "TransformedTargetRegressor(LinearRegression(), transformer=MinMaxScaler())",
    ],
)
def test_regressions_of_regressions(arrays: Fitted, model: str) -> None:
    held(arrays, model=model, columns=["a", "b", "p"], kind=NUMBER)


@pytest.mark.parametrize(
    "model",
    [
        "MultiOutputClassifier(LogisticRegression())", "OneVsRestClassifier(LogisticRegression())",
        "RandomForestClassifier(n_estimators=4)", "DecisionTreeClassifier(max_depth=4)",
    ],
)  # fmt: skip
def test_several_labels(arrays: Fitted, model: str) -> None:
    held(arrays, model=model, columns=["a", "b", "n"], kind="multilabel_classification")


@pytest.mark.parametrize(
    ("model", "kind", "why"),
    [
        ("DummyClassifier(strategy='stratified')", BINARY, "DummyClassifier answers at random"),
        ("KNeighborsClassifier()", BINARY, "KNeighborsClassifier has no row plan"),
        ("KNeighborsRegressor()", NUMBER, "KNeighborsRegressor has no row plan"),
        ("AdaBoostRegressor()", NUMBER, "AdaBoostRegressor has no row plan"),
        ("AdaBoostClassifier(LogisticRegression())", BINARY, "AdaBoostClassifier of other models than trees has no row plan"),
        ("BaggingClassifier(LinearSVC())", BINARY, "LinearSVC has no row plan"),
        (
            "GradientBoostingClassifier(n_estimators=3, init=LogisticRegression())",
            BINARY,
            "GradientBoostingClassifier starts from a model of the user's, LogisticRegression",
        ),
        ("type('Own', (LogisticRegression,), {})()", BINARY, "Own has no row plan"),
    ],
)
def test_what_cannot_be_written_out_is_declined(arrays: Fitted, model: str, kind: str, why: str) -> None:
    assert why in declined(arrays, model=model, columns=["a", "b", "p"], kind=kind)
