"""XGBoost on sparse tables: what has no entry is missing to it, and entries that are 0, or that float32 makes 0 of, are not."""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from modelyard.runtime.extract.boosters_xgboost import _sums
from modelyard.runtime.extract.builder import FLAG, LARGEST, Builder, Cannot, Fact, Table
from modelyard.serve.plan.edges import edge_rows
from modelyard.serve.plan.fold import fold
from modelyard.serve.plan.interpret import slots_of
from modelyard.serve.plan.reading import read
from modelyard.serve.plan.schema import Plan, Products, Trees
from tests.runtime.extract.oracle import Fitted, declined, held
from tests.runtime.test_environments import environment

KEYS = [1.0, 2.0]
NUMBERS = (0.0, -0.0, 1.0, -1.0, 0.5, 2.0, 1e-50, -1e-50, 5e-324, 1e39, -1e39, None)
THRESHOLDS = (0.0, 1.0, -1.0, 0.5, 2.0, -0.5, struct.unpack("f", struct.pack("f", 0.1))[0], 1e-45)


def f4(x: float) -> float:
    try:
        return float(struct.unpack("f", struct.pack("f", x))[0])
    except OverflowError:
        return math.copysign(math.inf, x)


def tree(drawn: random.Random, features: int, depth: int) -> dict[str, Any]:
    """A random tree as XGBoost writes it."""
    made: dict[str, Any] = {n: [] for n in ("left_children", "right_children", "split_indices", "split_conditions", "default_left")}

    def grow(level: int) -> int:
        number = len(made["left_children"])
        leaf = level == depth or drawn.random() < 0.15
        own = (-1, -1, 0, float(drawn.randrange(1000)), 0)
        if not leaf:
            own = (-2, -2, drawn.randrange(features), drawn.choice(THRESHOLDS), drawn.randrange(2))
        for values, value in zip(made.values(), own, strict=True):
            values.append(value)
        if not leaf:
            made["left_children"][number] = grow(level + 1)
            made["right_children"][number] = grow(level + 1)
        return number

    grow(0)
    return {**made, "tree_param": {}}


def walked(trees: list[dict[str, Any]], row: list[float | None]) -> float:
    """What XGBoost answers: a row has None where it has no entry."""
    total = 0.0
    for one in trees:
        node = 0
        while one["left_children"][node] != -1:
            value = row[one["split_indices"][node]]
            missing = value is None or value != value
            left = one["default_left"][node] if missing else f4(value or 0.0) < f4(one["split_conditions"][node])
            node = one["left_children" if left else "right_children"][node]
        total = f4(total + f4(one["split_conditions"][node]))
    return total


def planned(trees: list[dict[str, Any]], *, scale: float = 1.0) -> Plan:
    """The plan over a number x, the number times `scale`, and the two flags of a one-hot encoding of y, all of one sparse table."""
    columns = [{"name": n, "type": "float", "nullable": True} for n in "xy"]
    made = Builder({"columns": columns}, [Fact(limit=LARGEST)] * 2, {}, {})
    scaled = made.arithmetic(0, ("mul", scale))
    flags = made.add("onehot", [FLAG] * 2, slot=1, keys=KEYS, places=[0, 1], width=2, unknown=-1, missing=-1)
    table = Table([0, scaled, *flags], sparse=True, entries=[0, 0, *flags])
    answers = _sums(made, {"trees": trees, "tree_info": [0] * len(trees)}, table, [0.0], len(trees))
    return read(msgspec.json.encode({"format": 1, "inputs": columns, "steps": made.steps, "answers": answers}))


@pytest.mark.parametrize("seed", range(24))
def test_random_trees_over_a_sparse_table(seed: int) -> None:
    drawn = random.Random(seed)
    trees = [tree(drawn, 4, drawn.randint(1, 4)) for _ in range(drawn.choice([1, 1, 6]))]
    scale = drawn.choice([1.0, 0.3, 1e-30, 7.0])
    plan = planned(trees, scale=scale)
    folded = fold(plan)
    near = [v for t in THRESHOLDS for v in (t, math.nextafter(t, 9), math.nextafter(t, -9), t * (1 - 2**-24), t * (1 + 2**-24))]
    for x in (*NUMBERS, *near, *(v / scale for v in near)):
        for y in (1.0, 2.0, 3.0, None):
            entries = [x or None, x * scale if x else None, 1.0 if y == 1.0 else None, 1.0 if y == 2.0 else None]
            for one in (plan, folded):
                assert slots_of(one, [x, y])[one.answers[0]] == walked(trees, entries), (x, y)


def leafed(feature: int, threshold: float, default: int) -> dict[str, Any]:
    """Of one split: 10 to the left, 20 to the right."""
    return {
        "left_children": [1, -1, -1], "right_children": [2, -1, -1], "split_indices": [feature, 0, 0],
        "split_conditions": [threshold, 10.0, 20.0], "default_left": [default, 0, 0], "tree_param": {},
    }  # fmt: skip


def test_flags_need_no_more_nodes_and_numbers_only_where_a_split_tells_zero_from_missing() -> None:
    for default in (0, 1):
        plan = planned([leafed(2, 2.0, default)])
        (trees,) = [step for step in plan.steps if isinstance(step, Trees)]
        assert len(trees.feature) == (1 if default else 3)  # both 0 and 1 are below 2
    assert {type(step).__name__ for step in planned([leafed(0, 0.5, 1), leafed(0, -0.5, 0)]).steps} == {"OneHot", "Trees"}
    assert {type(step).__name__ for step in planned([leafed(0, 0.5, 0)]).steps} == {"OneHot", "Lookup", "Products", "Trees"}


@pytest.mark.parametrize(("x", "threshold", "default", "answer"), [
    (0.0, 0.0, 1, 10.0), (-0.0, 0.0, 1, 10.0), (1e-50, 0.0, 1, 20.0), (0.0, 0.5, 0, 20.0), (1e-50, 0.5, 0, 10.0), (None, 0.0, 1, 10.0),
])  # fmt: skip
def test_only_what_is_zero_before_the_cast_is_missing(x: float | None, threshold: float, default: int, answer: float) -> None:
    plan = planned([leafed(0, threshold, default)])
    assert slots_of(plan, [x, None])[plan.answers[0]] == answer


def test_a_proof_tries_zero_and_the_thresholds_of_a_sparse_table() -> None:
    for feature, scale, edge in ((0, 1.0, 0.5), (1, 0.25, 2.0)):
        plan = planned([leafed(feature, 0.5, 0)], scale=scale)
        assert any(isinstance(step, Products) for step in plan.steps)
        tried = {row[0] for row in edge_rows(plan, fold(plan), [[7.0, 1.0]])}
        assert {0.0, edge, math.nextafter(edge, 9)} <= tried


def test_what_cannot_be_known_is_declined() -> None:
    made = Builder({"columns": []}, [Fact()], {}, {})
    forest = {"trees": [leafed(0, 1.0, 1)], "tree_info": [0]}
    with pytest.raises(Cannot, match="not known which zeros it holds"):
        _sums(made, forest, Table([0], sparse=True), [0.0], 1)
    sets = {**leafed(0, 0.0, 1), "split_type": [1, 0, 0], "categories": [1], "categories_nodes": [0]}
    sets.update(categories_segments=[0], categories_sizes=[1])
    with pytest.raises(Cannot, match="XGBoost's categories in a sparse table"):
        _sums(made, {**forest, "trees": [sets]}, Table([0], sparse=True, entries=[0]), [0.0], 1)


def test_a_dense_table_is_left_alone() -> None:
    made = Builder({"columns": []}, [Fact()], {}, {})
    _sums(made, {"trees": [leafed(0, 1.0, 0)], "tree_info": [0]}, Table([0]), [0.0], 1)
    assert [step["do"] for step in made.steps] == ["trees"]


PACKAGES = {
    "frames": ("scikit-learn", "pandas", "xgboost-cpu"),
    "arrays": ("scikit-learn", "xgboost-cpu"),
    "old": ("scikit-learn==1.3.*", "pandas==2.0.*", "numpy<2", "scipy<1.14", "xgboost-cpu==2.1.1"),
}
NAMES = ["a", "b", "c", "n", "k", "f", "t", "u"]
MODEL = "XGBRegressor(n_estimators=30, max_depth=4, learning_rate=0.5)"
HOT = "OneHotEncoder(handle_unknown='ignore')"


@pytest.fixture(scope="module", params=PACKAGES)
def boosting(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fitted]:
    process = Fitted(environment(tmp_path_factory.mktemp(request.param) / "env", *PACKAGES[request.param], version="3.11"))
    yield process
    process.close()


def sparse(*parts: str, after: str = "", model: str = MODEL) -> str:
    return f"make_pipeline(ColumnTransformer([{', '.join(parts)}], sparse_threshold=1.0), {after}{model})"


CASES = {
    "numbers-passed-on": sparse(f"('t', {HOT}, [6, 7])", "('n', 'passthrough', [0, 1, 3, 4])"),
    "missing-numbers": sparse(f"('t', {HOT}, [6, 7])", "('n', 'passthrough', [1, 2, 3])"),
    "scaled-before": sparse(f"('t', {HOT}, [6])", "('n', make_pipeline(SimpleImputer(), StandardScaler()), [0, 1, 2, 3])"),
    "scaled-after": sparse(f"('t', {HOT}, [6])", "('n', 'passthrough', [0, 1, 2, 3])", after="StandardScaler(with_mean=False), "),
    "greatest-after": sparse(f"('t', {HOT}, [6])", "('n', 'passthrough', [0, 1, 2, 3])", after="MaxAbsScaler(), "),
    "robust-after": sparse(f"('t', {HOT}, [6])", "('n', 'passthrough', [0, 1])", after="RobustScaler(with_centering=False), "),
    "binarized-after": sparse(f"('t', {HOT}, [6])", "('n', 'passthrough', [0, 1])", after="Binarizer(threshold=0.5), "),
    "chosen-after": sparse(f"('t', {HOT}, [6])", "('n', 'passthrough', [0, 1, 3])", after="SelectKBest(f_regression, k=4), "),
    "reduced-after": sparse(f"('t', {HOT}, [6])", "('n', 'passthrough', [0, 1])", after="TruncatedSVD(2, random_state=0), "),
    "dropped": sparse("('t', OneHotEncoder(drop='first', handle_unknown='ignore'), [6])", "('k', OneHotEncoder(drop='first'), [4])"),
    "binned": sparse("('b', KBinsDiscretizer(4), [0, 1])", "('n', 'passthrough', [3])"),
    "ordinal": sparse(
        f"('t', {HOT}, [6])", "('o', OrdinalEncoder(handle_unknown='use_encoded_value', unknown_value=-1), [6, 7])"
    ),
    "weighted": "make_pipeline(ColumnTransformer([('t', OneHotEncoder(handle_unknown='ignore'), [6]), "
    f"('n', 'passthrough', [0, 1])], sparse_threshold=1.0, transformer_weights={{'n': 0.25, 't': 3.0}}), {MODEL})",
    "joined": "make_pipeline(ColumnTransformer([('n', 'passthrough', [0, 1])]), FeatureUnion([('k', KBinsDiscretizer(3)), "
    f"('s', StandardScaler())], transformer_weights={{'k': 0.5, 's': 0.1}}), {MODEL})",
    "flags": sparse("('m', MissingIndicator(sparse=True), [2])", "('n', 'passthrough', [0, 1])"),
    "dense-after-all": f"make_pipeline(ColumnTransformer([('t', {HOT}, [6]), ('n', 'passthrough', [0, 1])], sparse_threshold=0), {MODEL})",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_pipeline_whose_table_is_sparse(boosting: Fitted, name: str) -> None:
    columns = NAMES if "[6" in CASES[name] else NAMES[:6]
    held(boosting, model=CASES[name], columns=columns, kind="regression", tolerance=1e-5)


@pytest.mark.slow
def test_products_of_a_sparse_table_are_declined(boosting: Fitted) -> None:
    model = sparse(f"('t', {HOT}, [6])", "('n', 'passthrough', [0])", after="PolynomialFeatures(2), ")
    assert "not known which zeros" in declined(boosting, model=model, columns=NAMES, kind="regression")
