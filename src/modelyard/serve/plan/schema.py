"""The row plan as data: what a fitted pipeline does to one row, written out as a list of small steps.

A plan is JSON in a version's bundle. The user's environment writes it (`modelyard.runtime.extract`), this schema checks it, and our code
turns it into functions; nothing that a user wrote is in it.

Each step reads *slots* and appends new ones. A slot is one value a row. The first slots are the signature's columns, in its order:
numbers (float64; ints and bools as float64; datetimes as microseconds; a missing one is NaN), or text (a missing one is None).
Every other slot is a float64. Steps are done in order, in float64 and in the order of operations written here, so that answers equal the
native model's to the last bits.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from modelyard.signature import ColumnType

FORMAT = 1
Key = str | float | bool
Row = tuple[float, ...]


class Input(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A column of the signature."""

    name: str
    type: ColumnType
    nullable: bool = False


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="do"):
    """What all steps have: nothing. See each."""


class Require(Step, frozen=True, forbid_unknown_fields=True, tag="require"):
    """No new slot. Where a slot is not as `what` says, the native model raises, and so does the plan with `message`.

    present: not missing. finite: neither missing nor infinite. bounded: not infinite; a missing value passes. float32: infinite once cast
    to float32 is refused; a missing value passes. positive: 0 or below is refused; a missing value passes.
    between: below `low` or above `high` is refused; a missing value passes (what folding makes of the others).
    """

    slots: tuple[int, ...]
    what: Literal["present", "finite", "bounded", "float32", "positive", "between"]
    message: str
    low: float = -1.7976931348623157e308
    high: float = 1.7976931348623157e308


class Arithmetic(Step, frozen=True, forbid_unknown_fields=True, tag="arithmetic"):
    """One new slot: `ops` done to a slot, left to right, in float64. A missing value stays missing. at_least/at_most clip."""

    slot: int
    ops: tuple[tuple[Literal["add", "sub", "mul", "div", "at_least", "at_most"], float], ...]


class Function(Step, frozen=True, forbid_unknown_fields=True, tag="function"):
    """One new slot: a function of NumPy's of that name; exp2 is 2.0 ** x; `yeo_johnson` and `box_cox` take `parameter` (lambda)."""

    slot: int
    name: Literal["log", "log1p", "log2", "log10", "exp", "exp2", "expm1", "sqrt", "square", "abs", "sign", "yeo_johnson", "box_cox"]
    parameter: float | None = None


class Impute(Step, frozen=True, forbid_unknown_fields=True, tag="impute"):
    """One new slot: the slot's value, or `value` where it is missing; text for a column of text. `missing` is a value that also counts
    as missing (SimpleImputer's `missing_values`), beside NaN or None, which count where `nan` says so."""

    slot: int
    value: Key
    nan: bool = True
    missing: Key | None = None


class Missing(Step, frozen=True, forbid_unknown_fields=True, tag="missing"):
    """One new slot: 1 where the slot is missing (as for `Impute`), else 0."""

    slot: int
    nan: bool = True
    missing: Key | None = None


class Bins(Step, frozen=True, forbid_unknown_fields=True, tag="bins"):
    """One new slot: how many of `edges` (rising) are at most the value: numpy.searchsorted(edges, x, side="right")."""

    slot: int
    edges: tuple[float, ...]


class Binarize(Step, frozen=True, forbid_unknown_fields=True, tag="binarize"):
    """One new slot: 1 where the value is above `threshold`, else 0."""

    slot: int
    threshold: float


class OneHot(Step, frozen=True, forbid_unknown_fields=True, tag="onehot"):
    """`width` new slots, one of them 1: that at `places` of the value's key; none of them where the place is -1.

    `unknown`: the place of a value that is no key (-1: none), or None where the model raises. `missing` likewise of a missing one.
    """

    slot: int
    keys: tuple[Key, ...]
    places: tuple[int, ...]
    width: int
    unknown: int | None = None
    missing: int | None = None


class Lookup(Step, frozen=True, forbid_unknown_fields=True, tag="lookup"):
    """As many new slots as a row of `values` has: the row of the value's key. `unknown` and `missing` are rows too, None where the
    model raises; a cell None is a missing value."""

    slot: int
    keys: tuple[Key, ...]
    values: tuple[tuple[float | None, ...], ...]
    unknown: tuple[float | None, ...] | None = None
    missing: tuple[float | None, ...] | None = None


class Products(Step, frozen=True, forbid_unknown_fields=True, tag="products"):
    """A new slot a term: the product of the term's slots, left to right; an empty term is 1."""

    terms: tuple[tuple[int, ...], ...]


class Normalize(Step, frozen=True, forbid_unknown_fields=True, tag="normalize"):
    """As many new slots as `slots`: each divided by their norm (1 where that is below 10 eps, as scikit-learn has it)."""

    slots: tuple[int, ...]
    norm: Literal["l1", "l2", "max"]


class Linear(Step, frozen=True, forbid_unknown_fields=True, tag="linear"):
    """A new slot a row of `weights`: the sum of its products with `slots`, in that order, plus the row's bias."""

    slots: tuple[int, ...]
    weights: tuple[Row, ...]
    bias: Row


class Gauss(Step, frozen=True, forbid_unknown_fields=True, tag="gauss"):
    """A new slot a class, its joint log likelihood as GaussianNB has it: prior - sum(log(2 pi var)) / 2 - sum((x - mean)^2 / var) / 2."""

    slots: tuple[int, ...]
    means: tuple[Row, ...]
    variances: tuple[Row, ...]
    priors: Row
    """log of the class priors"""


class Isotonic(Step, frozen=True, forbid_unknown_fields=True, tag="isotonic"):
    """One new slot: linear interpolation between the points (xs rising), clipped to the first and the last."""

    slot: int
    xs: Row
    ys: Row


class Trees(Step, frozen=True, forbid_unknown_fields=True, tag="trees"):
    """`width` new slots: sums over an ensemble of trees, in the trees' order, each sum beginning with its `init`.

    Nodes of all trees lie in one list; tree t begins at node `roots[t]`. At a node with `feature[n]` >= 0 (an index into `slots`) the
    row goes to `left[n]` where its value, cast to `cast` first, is <= (`compare` le) or < (lt) `threshold[n]`, else to `right[n]`; where
    `sets` names the node, left means that the value (a whole number) is in its set. A missing value goes left where `missing_left[n]`
    (an empty list: a `Require` before this step has refused it). A node with feature -1 is a leaf; `leaf[n]` (an inner node's is
    ignored) is what it adds: of a tree with target >= 0 (`targets[t]`) one number, to that slot; of one with target -1 a number for each
    of the `width` slots.
    The sums are then multiplied by `scale` or, where that is null, divided by `divide`. `sums` f4 keeps them in float32 (XGBoost's way).
    """

    slots: tuple[int, ...]
    roots: tuple[int, ...]
    feature: tuple[int, ...]
    threshold: tuple[float, ...]
    left: tuple[int, ...]
    right: tuple[int, ...]
    leaf: tuple[float | Row, ...]
    targets: tuple[int, ...]
    width: int
    init: Row
    compare: Literal["le", "lt"] = "le"
    cast: Literal["f4", "f8"] = "f4"
    missing_left: tuple[bool, ...] = ()
    sets: dict[str, tuple[int, ...]] = {}
    scale: float | None = None
    divide: float = 1.0
    sums: Literal["f4", "f8"] = "f8"


class Link(Step, frozen=True, forbid_unknown_fields=True, tag="link"):
    """From raw scores to probabilities.

    sigmoid: each by itself (scipy.special.expit). softmax: all together, the greatest subtracted first. exp: each. clip: each to 0..1.
    complement: of one slot two new ones, 1 - p and p. normalize: each divided by their sum (all equal where that is 0). shares: likewise,
    but missing where that is 0.
    `float32` (sigmoid, softmax, exp, complement): each intermediate result is rounded to float32 (XGBoost's way): of a sigmoid
    e = f4(exp(min(-x, 88.7))), then f4(1 / f4(e + 1)); of a softmax e = f4(exp(f4(x - max))), then f4(e / f4(sum of the e in float64)).
    """

    slots: tuple[int, ...]
    kind: Literal["sigmoid", "softmax", "exp", "clip", "complement", "normalize", "shares"]
    float32: bool = False


AnyStep = (
    Require
    | Arithmetic
    | Function
    | Impute
    | Missing
    | Bins
    | Binarize
    | OneHot
    | Lookup
    | Products
    | Normalize
    | Linear
    | Gauss
    | Isotonic
    | Trees
    | Link
)


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A whole model. `answers` are the slots of the signature's scores, in its order (classification: a probability a class; anomaly
    detection: the score), or, where the prediction is a number, of that. `decided` (anomaly detection): the slot that is below 0 for an
    anomaly where the signature has no threshold. `source` says what the plan was made from, for people. `scores_tolerance` is how
    far scores may lie from the native model's because of how that one computes, with `reason`.
    """

    inputs: tuple[Input, ...]
    steps: tuple[AnyStep, ...]
    answers: tuple[int, ...]
    source: str = ""
    decided: int | None = None
    scores_tolerance: float | None = None
    reason: str = ""
    format: Literal[1] = 1
