"""Columns of text, numbers and booleans side by side: as one array of objects, and as frames of several releases."""

from __future__ import annotations

import pytest

from tests.runtime.extract.oracle import Fitted, declined, held

LOGISTIC = "LogisticRegression(max_iter=200)"
BINARY, CLASSES, NUMBER = "binary_classification", "multiclass_classification", "regression"
NUMERIC = "make_pipeline(SimpleImputer(), StandardScaler())"
ONEHOT = (
    "handle_unknown='ignore'", "handle_unknown='error'", "drop='first'", "drop='if_binary'", "handle_unknown='ignore', drop='first'",
    "min_frequency=20, handle_unknown='infrequent_if_exist'", "max_categories=3, drop='first', handle_unknown='infrequent_if_exist'",
    "min_frequency=20, handle_unknown='ignore'",
)  # fmt: skip
ORDINAL = (
    "", "handle_unknown='use_encoded_value', unknown_value=-1", "handle_unknown='use_encoded_value', unknown_value=np.nan",
    "handle_unknown='use_encoded_value', unknown_value=-1, encoded_missing_value=-2",
    "min_frequency=10, handle_unknown='use_encoded_value', unknown_value=99",
)  # fmt: skip


@pytest.mark.parametrize("options", ONEHOT)
def test_one_hot_in_an_array_of_objects(arrays: Fitted, options: str) -> None:
    parts = f"[('o', OneHotEncoder({options}), [2, 3, 4, 5]), ('s', {NUMERIC}, [0, 1])]"
    model = f"make_pipeline(ColumnTransformer({parts}), {LOGISTIC})"
    held(arrays, model=model, columns=["a", "c", "t", "u", "k", "g"], kind=BINARY)


@pytest.mark.parametrize("unknown", ["ignore", "error"])
@pytest.mark.parametrize("missing", ["None", "np.nan"])
def test_text_is_imputed_where_its_kind_of_missing_value_is(arrays: Fitted, missing: str, unknown: str) -> None:
    text = f"make_pipeline(SimpleImputer(missing_values={missing}, strategy='most_frequent'), OneHotEncoder(handle_unknown='{unknown}'))"
    model = f"make_pipeline(ColumnTransformer([('o', {text}, [2, 3]), ('s', {NUMERIC}, [0, 1])]), {LOGISTIC})"
    held(arrays, model=model, columns=["a", "c", "t", "u"], kind=BINARY)


def test_histogram_boosting_encodes_its_categories_itself(arrays: Fitted) -> None:
    held(arrays, model="HistGradientBoostingClassifier(max_iter=8, categorical_features=[2, 3])", columns=["a", "c", "t", "u"], kind=BINARY)


@pytest.mark.slow
@pytest.mark.parametrize("options", ONEHOT)
@pytest.mark.parametrize("none", [False, True])
def test_one_hot_in_frames(frames: Fitted, options: str, none: bool) -> None:
    encoder = f"OneHotEncoder({options})"
    held(frames, model=f"make_pipeline({encoder}, {LOGISTIC})", columns=["t", "u", "k", "f", "g", "m", "n"], kind=BINARY, none=none)
    parts = f"[('o', {encoder}, ['k', 't', 'u'])], remainder=StandardScaler()"
    model = f"make_pipeline(ColumnTransformer({parts}), DecisionTreeClassifier(max_depth=6))"
    held(frames, model=model, columns=["a", "b", "k", "t", "u"], kind=CLASSES, none=none)


@pytest.mark.slow
@pytest.mark.parametrize("options", ORDINAL)
@pytest.mark.parametrize("none", [False, True])
def test_ordinal_codes_in_frames(frames: Fitted, options: str, none: bool) -> None:
    model = f"make_pipeline(OrdinalEncoder({options}), HistGradientBoostingClassifier(max_iter=5))"
    held(frames, model=model, columns=["t", "u", "k", "f", "g", "m", "n"], kind=BINARY, none=none)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [BINARY, CLASSES, NUMBER])
def test_target_means_in_frames(frames: Fitted, kind: str) -> None:
    last = "LinearRegression()" if kind == NUMBER else LOGISTIC
    held(frames, model=f"make_pipeline(TargetEncoder(), {last})", columns=["t", "u", "k", "n"], kind=kind)


@pytest.mark.slow
@pytest.mark.parametrize("none", [False, True])
def test_histogram_boosting_in_frames(frames: Fitted, none: bool) -> None:
    model = "HistGradientBoostingClassifier(max_iter=10, categorical_features=['t', 'u', 'k'])"
    held(frames, model=model, columns=["a", "b", "c", "t", "u", "k", "m"], kind=BINARY, none=none)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["most_frequent", "constant"])
@pytest.mark.parametrize("unknown", ["ignore", "error"])
@pytest.mark.parametrize("none", [False, True])
def test_imputed_text_in_frames(frames: Fitted, strategy: str, unknown: str, none: bool) -> None:
    text = f"make_pipeline(SimpleImputer(strategy='{strategy}'), OneHotEncoder(handle_unknown='{unknown}'))"
    model = f"make_pipeline(ColumnTransformer([('t', {text}, ['t', 'u'])], remainder='passthrough'), {LOGISTIC})"
    held(frames, model=model, columns=["a", "b", "t", "u"], kind=BINARY, none=none)


@pytest.mark.slow
def test_columns_by_name_by_place_and_by_function(frames: Fitted) -> None:
    parts = (
        "[('n', StandardScaler(), make_column_selector(dtype_include=float)), ('x', 'drop', ['k']), ('s', MinMaxScaler(), [3]), "
        "('o', OneHotEncoder(handle_unknown='ignore'), make_column_selector(dtype_include=['object', 'string']))]"
    )
    model = f"make_pipeline(ColumnTransformer({parts}, remainder='passthrough'), {LOGISTIC})"
    held(frames, model=model, columns=["a", "b", "t", "n", "k", "f"], kind=BINARY)
    model = f"make_pipeline(ColumnTransformer([('n', StandardScaler(), slice(0, 2))]), {LOGISTIC})"
    held(frames, model=model, columns=["a", "b", "t", "d"], kind=BINARY)


@pytest.mark.slow
def test_frames_between_the_steps(frames: Fitted) -> None:
    first = (
        f"ColumnTransformer([('n', {NUMERIC}, ['a', 'c']), "
        "('o', OneHotEncoder(handle_unknown='ignore', sparse_output=False), ['t'])], "
        "remainder='passthrough', verbose_feature_names_out=False)"
    )
    second = "ColumnTransformer([('q', MinMaxScaler(), ['k', 'a'])], remainder='passthrough', verbose_feature_names_out=False)"
    model = f"make_pipeline({first}, {second}, {LOGISTIC}).set_output(transform='pandas')"
    held(frames, model=model, columns=["a", "c", "t", "k"], kind=BINARY)


@pytest.mark.slow
def test_datetimes_are_declined_where_they_are_used(frames: Fitted) -> None:
    model = f"make_pipeline(OneHotEncoder(handle_unknown='ignore'), {LOGISTIC})"
    assert "OneHotEncoder was fitted on other values" in declined(frames, model=model, columns=["a", "d"], kind=BINARY)


def _encoded(encoder: str, last: str) -> str:
    parts = f"[('o', {encoder}, ['t', 'u', 'k'])], remainder='passthrough'"
    return f"make_pipeline(ColumnTransformer({parts}), {last})"


OLD = [
    *(_encoded(f"OneHotEncoder({ONEHOT[0]})", last) for last in (LOGISTIC, "DecisionTreeClassifier(max_depth=5)")),
    *(_encoded(f"OneHotEncoder({ONEHOT[5]})", last) for last in (LOGISTIC, "RandomForestClassifier(n_estimators=5)")),
    *(
        _encoded(f"OrdinalEncoder({ORDINAL[3]})", last)
        for last in (
            "AdaBoostClassifier(n_estimators=8)", "GradientBoostingClassifier(n_estimators=8)",
            "HistGradientBoostingClassifier(max_iter=5)",
            "LogisticRegression(multi_class='ovr')", "LogisticRegression(multi_class='multinomial')", "PCA(2), GaussianNB()",
            "CalibratedClassifierCV(LinearSVC(), cv=3)", "OneVsRestClassifier(LogisticRegression())",
        )
    ),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("kind", [BINARY, CLASSES])
@pytest.mark.parametrize("model", OLD)
def test_older_releases(old: Fitted, model: str, kind: str) -> None:
    held(old, model=model, columns=["a", "b", "t", "u", "k"], kind=kind)


@pytest.mark.slow
def test_what_older_releases_do_otherwise(old: Fitted) -> None:
    held(old, model="IsolationForest(n_estimators=10)", columns=["a", "b", "p"], kind="anomaly_detection")
    held(old, model="DecisionTreeRegressor(max_depth=5)", columns=["a", "c", "m"], kind=NUMBER)
    model = "AdaBoostClassifier(algorithm='SAMME', n_estimators=5)"
    assert "SAMME before scikit-learn 1.4" in declined(old, model=model, columns=["a", "b", "p"], kind=BINARY)
    model = f"make_pipeline(OneHotEncoder(), {LOGISTIC})"
    assert "before scikit-learn 1.6 refuses booleans" in declined(old, model=model, columns=["g", "t"], kind=BINARY)
    model = "HistGradientBoostingClassifier(categorical_features=[1])"
    assert "before scikit-learn 1.4" in declined(old, model=model, columns=["a", "k"], kind=BINARY)
