"""Exact SHAP values of tree ensembles, for players that may own several columns (interventional TreeSHAP).

A mixture of an explained row x and a background row z reaches a leaf if, for every player on the leaf's path, the row that the player's
columns are taken from passes that player's tests. So only the sets of players matter whose tests x fails and z fails. If these are
disjoint, of sizes b (x fails) and a (z fails), a leaf of value v gives v (a-1)! b! / (a+b)! to each player that z fails, and takes
v a! (b-1)! / (a+b)! from each that x fails (Lundberg et al., "From local explanations to global understanding with explainable AI for
trees", Nature Machine Intelligence 2020, algorithm 3). Background rows that fail the same players count once, with their number, so that
time grows with the number of rows of either kind and not with their product (the idea is in Zern et al., "Interventional SHAP values and
interaction values for piecewise linear regression trees", AAAI 2023). Players are the source columns: what a one-hot encoder made of one
column is one player.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

TABLE = 8
"""Players of a path up to which all pairs of sets are tabulated; longer paths go by the sets that occur."""
CELLS = 4_000_000
"""Rows times leaves that are looked at together; it bounds memory."""
MOST_LEAVES = 200_000
"""Leaves behind more than TABLE tests that are gone through in one request: about a minute."""
LONGEST = 62
"""Players of a path that fit into the bits of an int64."""


class Tree(NamedTuple):
    """Arrays of one value a node. `left` and `right` are children (-1 at a leaf); x goes left where x <= threshold.

    `categories` holds, by node, which whole numbers below 256 go left; there negative ones are missing.
    """

    feature: Any
    threshold: Any
    left: Any
    right: Any
    missing_left: Any
    value: Any
    categories: dict[int, Any] = {}  # noqa: RUF012 - never written to


class TooLarge(Exception):
    """More than is handled, in the time or in the bits that there are; the message says what."""


class _Paths(NamedTuple):
    """A row a leaf, padded: nodes tested, the way taken, the test's player as a place in `players`."""

    leaves: Any
    node: Any
    left: Any
    slot: Any
    players: Any
    length: Any


def shap(trees: list[Tree], x: Any, z: Any, owner: Any) -> tuple[Any, float]:
    """SHAP values of the sum of `trees`, and the mean of that sum over the background.

    x: (n, columns) explained rows; z: (m, columns) background; owner: (columns,) int, the player of each column, 0..p-1.
    Returns ((p, n) float64, base). Exact: values sum to f(x) - base. Raises TooLarge.
    """
    np: Any = importlib.import_module("numpy")
    both, n = np.concatenate([x, z]), len(x)
    result, base = np.zeros((int(owner.max()) + 1 if len(owner) else 0, n)), 0.0
    if (deep := sum(_deep_leaves(np, tree) for tree in trees)) > MOST_LEAVES:
        raise TooLarge(f"its trees have {deep:,} leaves behind more than {TABLE} tests; at most {MOST_LEAVES:,} are gone through")
    for tree in trees:
        if tree.left[0] < 0:
            base += float(tree.value[0])
            continue
        whole, step = _paths(np, tree, owner), max(1, CELLS // len(both))
        for start in range(0, len(whole.leaves), step):
            paths = _Paths(*(part[start : start + step] for part in whole))
            fails, values = _fails(np, tree, paths, both), tree.value[paths.leaves]
            base += float(((fails[n:] == 0) @ values).mean())
            for length in np.unique(paths.length):
                which = np.flatnonzero(paths.length == length)
                parts = _tabulated if length <= TABLE else _observed
                for leaf, given in zip(which, parts(np, fails[:, which], n, int(length), values[which])):
                    result[paths.players[leaf, :length]] += given
    return result, base


def _deep_leaves(np: Any, tree: Tree) -> int:
    """Leaves behind more than TABLE tests."""
    level, depth, found = np.zeros(1, dtype=np.int64), 0, 0
    while len(level):
        leaf = tree.left[level] < 0
        found += int(leaf.sum()) if depth > TABLE else 0
        level, depth = np.concatenate([tree.left[level[~leaf]], tree.right[level[~leaf]]]), depth + 1
    return found


def _paths(np: Any, tree: Tree, owner: Any) -> _Paths:
    found: list[tuple[int, list[tuple[int, bool]]]] = []
    stack: list[tuple[int, list[tuple[int, bool]]]] = [(0, [])]
    while stack:
        node, path = stack.pop()
        if tree.left[node] < 0:
            found.append((node, path))
        else:
            stack.append((int(tree.right[node]), [*path, (node, False)]))
            stack.append((int(tree.left[node]), [*path, (node, True)]))
    depth = max(len(path) for _, path in found)
    node, slot, players = (np.zeros((len(found), depth), dtype=np.int64) for _ in range(3))
    left, length = np.zeros((len(found), depth), dtype=bool), np.zeros(len(found), dtype=np.int64)
    player_of = owner[np.maximum(tree.feature, 0)]
    for i, (_, path) in enumerate(found):
        places: dict[int, int] = {}
        for step in range(depth):
            at, way = path[step] if step < len(path) else path[-1]  # the last test again changes nothing
            node[i, step], left[i, step] = at, way
            slot[i, step] = places.setdefault(int(player_of[at]), len(places))
        players[i, : len(places)], length[i] = list(places), len(places)
    if length.max() > LONGEST:
        raise TooLarge(f"a path tests {length.max()} columns")
    return _Paths(np.array([leaf for leaf, _ in found]), node, left, slot, players, length)


def _fails(np: Any, tree: Tree, paths: _Paths, rows: Any) -> Any:
    """(rows, leaves) int64: bit s is set where the row fails a test of the player in slot s."""
    column = rows[:, np.maximum(tree.feature, 0)]
    with np.errstate(invalid="ignore"):
        goes_left = np.where(np.isnan(column), tree.missing_left, column <= tree.threshold)
        for at, lefts in tree.categories.items():
            there = column[:, at] >= 0
            goes_left[:, at] = np.where(there, lefts[np.where(there, column[:, at], 0).astype(np.int64) % 256], tree.missing_left[at])
    fails = np.zeros((len(rows), len(paths.leaves)), dtype=np.int64)
    for step in range(paths.node.shape[1]):
        fails |= (goes_left[:, paths.node[:, step]] != paths.left[:, step]).astype(np.int64) << paths.slot[:, step]
    return fails


_WEIGHTS: dict[int, tuple[Any, Any]] = {}


def _weights(np: Any, length: int) -> tuple[Any, Any]:
    """gain[a, b] for a player that z fails, loss[a, b] for one that x fails."""
    if length in _WEIGHTS:
        return _WEIGHTS[length]
    gain, loss = np.zeros((length + 1, length + 1)), np.zeros((length + 1, length + 1))
    fact = math.factorial
    for a in range(length + 1):
        for b in range(length + 1 - a):
            if a:
                gain[a, b] = fact(a - 1) * fact(b) / fact(a + b)
            if b:
                loss[a, b] = fact(a) * fact(b - 1) / fact(a + b)
    return _WEIGHTS.setdefault(length, (gain, loss))


def _bits(np: Any, codes: Any, length: int) -> Any:
    """(codes, length) bool."""
    return (codes[:, None] >> np.arange(length)) & 1 == 1


def _given(np: Any, of_x: Any, of_z: Any, count: Any, length: int) -> Any:
    """What a leaf of value 1 gives: (len(of_x), length), for sets that x fails, against `count` background rows a set `of_z`."""
    gain, loss = _weights(np, length)
    x_bits, z_bits = _bits(np, of_x, length), _bits(np, of_z, length)
    a, b = z_bits.sum(axis=1), x_bits.sum(axis=1)
    i, j = np.nonzero((of_x[:, None] & of_z[None, :]) == 0)  # few pairs are disjoint where paths are long
    given = (gain[a[j], b[i]] * count[j])[:, None] * z_bits[j] - (loss[a[j], b[i]] * count[j])[:, None] * x_bits[i]
    total = np.zeros((len(of_x), length))
    if len(i):
        first = np.flatnonzero(np.diff(i, prepend=-1))
        total[i[first]] = np.add.reduceat(given, first, axis=0)
    return total


_TABLES: dict[int, Any] = {}


def _table(np: Any, length: int) -> Any:
    """(sets of z, sets of x, player): what a leaf of value 1 gives for one background row."""
    if length not in _TABLES:
        codes = np.arange(1 << length)
        _TABLES[length] = np.stack([_given(np, codes, codes[i : i + 1], np.ones(1), length) for i in codes])
    return _TABLES[length]


def _tabulated(np: Any, fails: Any, n: int, length: int, values: Any) -> Iterator[Any]:
    """For each leaf, (length, n): its players' shares."""
    size, m, count = 1 << length, len(fails) - n, fails.shape[1]
    codes = fails[n:] + np.arange(count) * size
    sets = np.bincount(codes.ravel(), minlength=count * size).reshape(count, size)
    tables = (sets @ _table(np, length).reshape(size, -1)).reshape(count, size, length) * (values / m)[:, None, None]
    for leaf in range(count):
        yield tables[leaf].T[:, fails[:n, leaf]]


def _observed(np: Any, fails: Any, n: int, length: int, values: Any) -> Iterator[Any]:
    """The same for long paths, by the sets that occur."""
    m = len(fails) - n
    for leaf in range(fails.shape[1]):
        of_z, count = np.unique(fails[n:, leaf], return_counts=True)
        of_x, place = np.unique(fails[:n, leaf], return_inverse=True)
        yield (_given(np, of_x, of_z, count * (values[leaf] / m), length)[place.ravel()]).T


_SINGLE = ("DecisionTree", "ExtraTree")
_FOREST = ("RandomForest", "ExtraTrees")
_BOOSTED, _HISTOGRAM = "GradientBoosting", "HistGradientBoosting"
KNOWN = {
    **{f"{kind}{what}": how for kind in (*_SINGLE, *_FOREST) for what, how in (("Classifier", "predict_proba"), ("Regressor", "predict"))},
    f"{_BOOSTED}Classifier": "decision_function",
    f"{_BOOSTED}Regressor": "predict",
    f"{_HISTOGRAM}Classifier": "_raw_predict",
    f"{_HISTOGRAM}Regressor": "_raw_predict",
}
"""scikit-learn's models that are sums of trees, and the method that gives the sums."""


def sklearn_trees(model: Any, column: int) -> list[Tree]:
    """The trees whose sum is output `column` of what the model's method in KNOWN gives."""
    np: Any = importlib.import_module("numpy")
    kind = type(model).__name__.removesuffix("Classifier").removesuffix("Regressor")
    if kind in _SINGLE:
        return [_of_sklearn(np, model, column, 1.0)]
    if kind in _FOREST:
        return [_of_sklearn(np, part, column, 1.0 / len(model.estimators_)) for part in model.estimators_]
    if kind == _BOOSTED:
        stages = np.asarray(model.estimators_)[:, column]
        return [*(_of_sklearn(np, part, 0, float(model.learning_rate)) for part in stages), _start(np, model, column)]
    start = float(np.ravel(model._baseline_prediction)[column])
    return [*(_of_histogram(np, model, part[column]) for part in model._predictors), _constant(np, start)]


def _of_sklearn(np: Any, model: Any, column: int, weight: float) -> Tree:
    inner = model.tree_
    value = np.asarray(inner.value, dtype=np.float64)
    if value.shape[1] != 1:
        raise ValueError("several outputs")
    value = value[:, 0, :]
    if hasattr(model, "classes_"):
        value = value / value.sum(axis=1, keepdims=True)  # before scikit-learn 1.3 these were counts
    left, right = np.asarray(inner.children_left), np.asarray(inner.children_right)
    missing = np.asarray(getattr(inner, "missing_go_to_left", np.zeros(len(left))), dtype=bool)
    return Tree(np.asarray(inner.feature), np.asarray(inner.threshold), left, right, missing, value[:, column] * weight)


def _of_histogram(np: Any, model: Any, predictor: Any) -> Tree:
    nodes = predictor.nodes
    leaf = nodes["is_leaf"].astype(bool)
    left, right = (np.where(leaf, -1, nodes[name].astype(np.int64)) for name in ("left", "right"))
    missing = nodes["missing_go_to_left"].astype(bool)
    categories = {}
    for at in np.flatnonzero(nodes["is_categorical"].astype(bool) & ~leaf):
        known, places = model._bin_mapper.make_known_categories_bitsets()
        lefts = _members(np, predictor.raw_left_cat_bitsets[nodes["bitset_idx"][at]])
        unknown = ~_members(np, known[places[nodes["feature_idx"][at]]])
        categories[int(at)] = lefts | (unknown & missing[at])
    value, threshold = nodes["value"].astype(np.float64), nodes["num_threshold"].astype(np.float64)
    return Tree(nodes["feature_idx"].astype(np.int64), threshold, left, right, missing, value, categories)


def _members(np: Any, words: Any) -> Any:
    """(256,) bool from 8 words of 32 bits, the lowest first."""
    return ((np.asarray(words, dtype=np.int64)[:, None] >> np.arange(32)) & 1 == 1).ravel()


def _constant(np: Any, value: float) -> Tree:
    nothing = np.array([-1])
    return Tree(nothing, np.zeros(1), nothing, nothing, np.zeros(1, dtype=bool), np.array([value]))


def _start(np: Any, model: Any, column: int) -> Tree:
    """What gradient boosting starts from: a constant, unless the user gave a model of their own (then sums will not agree)."""
    zeros = np.zeros((1, model.n_features_in_), dtype=np.float32)
    trees = sum(float(model.learning_rate) * float(part.predict(zeros)[0]) for part in np.asarray(model.estimators_)[:, column])
    raw = model.decision_function(zeros) if hasattr(model, "decision_function") else model.predict(zeros)
    raw = np.asarray(raw).reshape(1, -1)
    return _constant(np, float(raw[0, column]) - trees)
