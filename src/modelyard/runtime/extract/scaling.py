"""Scalers: arithmetic on each column by itself."""

from __future__ import annotations

from typing import Any

from modelyard.runtime.extract.builder import FLAG, Builder, Cannot, Fact, Table, Transform


def _each(builder: Builder, model: Any, table: Table, steps: list[tuple[str, Any]], clip: Any = None) -> Table:
    """`steps` on each column: an operation, and its number a column (None: not done)."""
    slots = builder.numbers(model, table, missing=True)
    made = []
    for i, slot in enumerate(slots):
        ops = [(op, float(values[i])) for op, values in steps if values is not None]
        if clip is not None:
            ops += [("at_least", float(clip[0])), ("at_most", float(clip[1]))]
        made.append(builder.arithmetic(slot, *ops))
    return table.scaled(made)


def _divided(builder: Builder, table: Table, scale: Any) -> tuple[str, Any]:
    """A sparse table's columns are multiplied by the inverse."""
    if scale is None or not table.sparse:
        return "div", scale
    return "mul", 1.0 / builder.np.asarray(scale, dtype=builder.np.float64)


def standard(builder: Builder, model: Any, table: Table) -> Table:
    mean = model.mean_ if model.with_mean else None
    return _each(builder, model, table, [("sub", mean), _divided(builder, table, model.scale_ if model.with_std else None)])


def between(builder: Builder, model: Any, table: Table) -> Table:
    if table.sparse:
        raise Cannot("MinMaxScaler refuses sparse input")
    clip = model.feature_range if getattr(model, "clip", False) else None
    return _each(builder, model, table, [("mul", model.scale_), ("add", model.min_)], clip)


def greatest(builder: Builder, model: Any, table: Table) -> Table:
    clip = (-1.0, 1.0) if getattr(model, "clip", False) else None
    return _each(builder, model, table, [_divided(builder, table, model.scale_)], clip)


def robust(builder: Builder, model: Any, table: Table) -> Table:
    center = model.center_ if model.with_centering else None
    return _each(builder, model, table, [("sub", center), _divided(builder, table, model.scale_ if model.with_scaling else None)])


def normalized(builder: Builder, model: Any, table: Table) -> Table:
    slots = builder.numbers(model, table)
    if table.sparse:
        raise Cannot("Normalizer of a sparse table has no row plan")  # it takes other norms for 0
    return table.made(builder.add("normalize", [Fact()] * len(slots), slots=slots, norm=model.norm))


def binarized(builder: Builder, model: Any, table: Table) -> Table:
    slots = builder.numbers(model, table)
    threshold = float(model.threshold)
    if table.sparse and threshold < 0:
        raise Cannot("Binarizer refuses a threshold below 0 for sparse input")
    made = [builder.add("binarize", [FLAG], slot=slot, threshold=threshold)[0] for slot in slots]
    return table.made(made, sparse=table.sparse)


def powered(builder: Builder, model: Any, table: Table) -> Table:
    if table.sparse:
        raise Cannot("PowerTransformer refuses sparse input")
    slots = builder.numbers(model, table, missing=True)
    if model.method == "box-cox":
        builder.require(slots, "positive", "The Box-Cox transformation can only be applied to strictly positive data")
    name = "box_cox" if model.method == "box-cox" else "yeo_johnson"
    made = []
    for slot, power in zip(slots, builder.floats(model.lambdas_)):
        fact = Fact(missing=builder.facts[slot].missing)
        made += builder.add("function", [fact], slot=slot, name=name, parameter=power)
    result = table.made(made)
    return standard(builder, model._scaler, result) if model.standardize else result


TRANSFORMS: dict[tuple[str, str], Transform] = {
    ("sklearn", "StandardScaler"): standard,
    ("sklearn", "MinMaxScaler"): between,
    ("sklearn", "MaxAbsScaler"): greatest,
    ("sklearn", "RobustScaler"): robust,
    ("sklearn", "Normalizer"): normalized,
    ("sklearn", "Binarizer"): binarized,
    ("sklearn", "PowerTransformer"): powered,
}
