"""Transformers whose columns are numbers: scaling, binning, functions, selection, projection, imputing."""

from __future__ import annotations

import pytest

from tests.runtime.extract.oracle import Fitted, declined, held

LOGISTIC = "LogisticRegression(max_iter=200)"
NUMBERS = (
    "StandardScaler()", "StandardScaler(with_std=False)", "StandardScaler(with_mean=False)", "MinMaxScaler()", "MinMaxScaler(clip=True)",
    "MaxAbsScaler()", "RobustScaler()", "Normalizer()", "Normalizer('l1')", "Normalizer('max')", "Binarizer(threshold=0.5)",
    "PowerTransformer()", "PowerTransformer(standardize=False)", "KBinsDiscretizer(4)", "KBinsDiscretizer(4, encode='ordinal')",
    "KBinsDiscretizer(5, encode='onehot-dense', strategy='uniform')", "PolynomialFeatures(3)",
    "PolynomialFeatures(2, interaction_only=True, include_bias=False)", "VarianceThreshold(0.5)", "SelectKBest(k=2)",
    "SelectFromModel(LogisticRegression())", "RFE(LogisticRegression(), n_features_to_select=2)", "PCA(2)", "PCA(2, whiten=True)",
    "TruncatedSVD(2)", "FunctionTransformer()", "'passthrough'",
    "FeatureUnion([('a', StandardScaler()), ('b', PCA(2)), ('c', 'passthrough')], transformer_weights={'a': 0.3})",
)  # fmt: skip


@pytest.mark.parametrize("transformer", NUMBERS)
def test_before_a_linear_model(arrays: Fitted, transformer: str) -> None:
    held(arrays, model=f"make_pipeline({transformer}, {LOGISTIC})", columns=["a", "b", "p", "n", "f"], kind="binary_classification")


DENSE = [t for t in NUMBERS if "KBinsDiscretizer(4)" not in t and "onehot" not in t]


@pytest.mark.parametrize("transformer", DENSE)
def test_before_trees_to_the_last_threshold(arrays: Fitted, transformer: str) -> None:
    model = f"make_pipeline({transformer}, RandomForestClassifier(n_estimators=5, random_state=0))"
    held(arrays, model=model, columns=["a", "b", "p", "n", "f"], kind="multiclass_classification", draw=1)


@pytest.mark.parametrize("name", ["log", "log1p", "log2", "log10", "exp", "exp2", "expm1", "sqrt", "square", "abs", "sign"])
def test_functions_of_numpy(arrays: Fitted, name: str) -> None:
    held(arrays, model=f"make_pipeline(FunctionTransformer(np.{name}), {LOGISTIC})", columns=["p"], kind="binary_classification")


def test_box_cox_refuses_what_is_not_positive(arrays: Fitted) -> None:
    held(arrays, model=f"make_pipeline(PowerTransformer('box-cox'), {LOGISTIC})", columns=["p"], kind="binary_classification")
    model = "make_pipeline(PowerTransformer('box-cox'), HistGradientBoostingClassifier(max_iter=3))"
    held(arrays, model=model, columns=["p", "c"], kind="binary_classification")


@pytest.mark.parametrize("strategy", ["mean", "median", "most_frequent", "constant"])
@pytest.mark.parametrize("indicator", [False, True])
def test_imputing_numbers(arrays: Fitted, strategy: str, indicator: bool) -> None:
    model = f"make_pipeline(SimpleImputer(strategy='{strategy}', add_indicator={indicator}), {LOGISTIC})"
    held(arrays, model=model, columns=["a", "b", "c", "m"], kind="binary_classification")


def test_imputing_a_value_that_stands_for_missing(arrays: Fitted) -> None:
    model = f"make_pipeline(SimpleImputer(missing_values=0, strategy='mean'), {LOGISTIC})"
    held(arrays, model=model, columns=["b", "n", "k"], kind="binary_classification")


def test_indicators_refuse_a_column_that_had_all_its_values(arrays: Fitted) -> None:
    model = (
        "make_pipeline(ColumnTransformer([('m', MissingIndicator(), [0, 1, 2]), ('i', SimpleImputer(), [0, 1])]), "
        "HistGradientBoostingClassifier(max_iter=3))"
    )
    plan = held(arrays, model=model, columns=["c", "m", "a"], kind="binary_classification")
    assert any(getattr(step, "what", "") == "present" for step in plan.steps)


def test_sparse_tables(arrays: Fitted) -> None:
    for after in ("StandardScaler(with_mean=False)", "MaxAbsScaler(), VarianceThreshold(0.1)"):
        model = f"make_pipeline(KBinsDiscretizer(5), {after}, DecisionTreeClassifier(max_depth=4))"
        held(arrays, model=model, columns=["a", "b"], kind="multiclass_classification")


def test_sparse_tables_of_what_was_a_table_of_objects(arrays: Fitted) -> None:
    parts = "('t', OneHotEncoder(handle_unknown='ignore'), [2]), ('n', 'passthrough', [0, 1])"
    for more in ("", ", transformer_weights={'n': 0.5}"):
        model = f"make_pipeline(ColumnTransformer([{parts}], sparse_threshold=1.0{more}), {LOGISTIC})"
        held(arrays, model=model, columns=["a", "k", "t"], kind="binary_classification")


def test_choosing_columns_of_which_one_may_be_infinite(arrays: Fitted) -> None:
    model = "make_pipeline(PolynomialFeatures(2), VarianceThreshold(0.1), HistGradientBoostingClassifier(max_iter=3))"
    held(arrays, model=model, columns=["a", "b"], kind="binary_classification")


@pytest.mark.parametrize(
    ("transformer", "why"),
    [
        ("FunctionTransformer(np.cbrt)", "FunctionTransformer runs cbrt, which has no row plan"),
        ("FunctionTransformer(lambda x: x)", "FunctionTransformer runs <lambda>, which has no row plan"),
        ("FunctionTransformer(np.square)", "numpy.square of whole numbers overflows where that of floats does not"),
        ("QuantileTransformer(n_quantiles=20)", "QuantileTransformer has no row plan"),
        ("OneHotEncoder(handle_unknown='ignore', dtype=np.float32)", "OneHotEncoder makes numbers of type float32"),
    ],
)
@pytest.mark.slow
def test_what_cannot_be_written_out_is_declined(frames: Fitted, transformer: str, why: str) -> None:
    model = f"make_pipeline({transformer}, {LOGISTIC})"
    assert declined(frames, model=model, columns=["n"], kind="binary_classification") == why
