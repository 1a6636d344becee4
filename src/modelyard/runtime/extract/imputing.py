"""Imputers and indicators of missing values."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, Union

from modelyard.runtime.extract.builder import FLAG, WHOLE, Builder, Cannot, Table, Transform

Key = Union[str, float]


class Absent(NamedTuple):
    """What counts as missing, as the plan's steps have it: NaN or None, and a value."""

    nan: bool
    missing: Key | None


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and value != value


def absent(builder: Builder, model: Any, slot: int, *, boxed: bool) -> Absent:
    """What `missing_values` means in a column; `boxed`: it stays one of Python objects, where None is no NaN. Raises Cannot."""
    value, fact = model.missing_values, builder.facts[slot]
    if type(value).__name__ == "NAType":
        return Absent(True, None)
    none = fact.none and boxed
    if value is None:
        return Absent(none, None)
    if _is_nan(value):
        return Absent(not none, None)
    if isinstance(value, str) != (fact.kind == "text"):
        return Absent(False, None)
    return Absent(False, value if isinstance(value, str) else float(value))


def _checked(builder: Builder, model: Any, table: Table, *, boxed: bool) -> None:
    """What scikit-learn refuses before it looks for missing values. Raises Cannot where it refuses every row."""
    name = type(model).__name__
    Builder.sized(model, table)
    if table.sparse:
        raise Cannot(f"{name} is given a sparse table")
    numbers = [s for s in table.slots if builder.facts[s].kind != "text"]
    if any(builder.facts[s].kind not in ("number", "bool", "text") for s in table.slots):
        raise Cannot(f"{name} is given a column that is neither a number nor text")
    if not boxed and len(numbers) < len(table.slots):
        raise Cannot(f"{name} is given a column that is no number")
    takes = _is_nan(model.missing_values) or type(model.missing_values).__name__ == "NAType"
    if not boxed:
        builder.require(numbers, "bounded" if takes else "finite", f"Input X of {name} contains infinity or NaN")
    elif not takes:
        seen = [s for s in table.slots if not builder.facts[s].none]  # None is no NaN
        builder.require(seen, "present", f"Input X of {name} contains NaN")


def imputed(builder: Builder, model: Any, table: Table) -> Table:
    keeps = model.strategy in ("most_frequent", "constant")
    boxed = keeps and any(builder.objects(table, s) or builder.facts[s].kind == "text" for s in table.slots)
    if keeps and any(builder.facts[s].kind == "bool" for s in table.slots):
        raise Cannot(f"SimpleImputer does not take booleans with the strategy {model.strategy}")
    _checked(builder, model, table, boxed=boxed)
    if model.strategy == "constant" and not boxed and table.frame and _turns_whole(builder, model, table):
        raise Cannot("SimpleImputer with a constant refuses whole numbers of which none is missing where training saw some missing")
    made = []
    everything = model.strategy == "constant" or bool(getattr(model, "keep_empty_features", False))
    for slot, value in zip(table.slots, model.statistics_.tolist()):
        if value is None or _is_nan(value):
            if everything:
                raise Cannot("SimpleImputer fills in a missing value")
            continue  # a column without a value in training is left out
        made.append(_filled(builder, model, slot, value, boxed=boxed))
    indicator = model.indicator_ if model.add_indicator else None
    if indicator is not None:
        made += _flags(builder, model, table, indicator.features_.tolist(), boxed=boxed)
    return Table(made, object=boxed)


def _turns_whole(builder: Builder, model: Any, table: Table) -> bool:
    """Whether rows without a missing value are whole numbers, and the training table was not."""
    whole = all(builder.facts[s].limit == WHOLE for s in table.slots)
    return whole and model.statistics_.dtype.kind not in "iu"  # of objects, too: scikit-learn keeps the constant as one


def _filled(builder: Builder, model: Any, slot: int, value: Any, *, boxed: bool) -> int:
    fact = builder.facts[slot]
    what = absent(builder, model, slot, boxed=boxed)
    if what == Absent(False, None) or (what.missing is None and not fact.missing):
        return slot
    if isinstance(value, str) != (fact.kind == "text"):
        raise Cannot("SimpleImputer fills text into numbers, or numbers into text")
    if isinstance(value, str):
        after = fact._replace(missing=fact.missing and not what.nan, object=True)
    else:
        value = float(builder.floats(value))
        limit = max(fact.limit, abs(value))
        after = fact._replace(kind="number", missing=fact.missing and not what.nan, limit=limit, flag=False)
    return builder.add("impute", [after], slot=slot, value=value, **what._asdict())[0]


def _flags(builder: Builder, model: Any, table: Table, places: Iterable[int], *, boxed: bool) -> list[int]:
    """A slot for each of some columns: 1 where it is missing."""
    slots = [table.slots[i] for i in places]
    return [builder.add("missing", [FLAG], slot=s, **absent(builder, model, s, boxed=boxed)._asdict())[0] for s in slots]


def indicated(builder: Builder, model: Any, table: Table) -> Table:
    if any(builder.facts[s].kind == "bool" for s in table.slots):
        raise Cannot("MissingIndicator does not take booleans")
    boxed = any(builder.objects(table, s) or builder.facts[s].kind == "text" for s in table.slots)
    _checked(builder, model, table, boxed=boxed)
    places = model.features_.tolist()
    if model.features == "missing-only" and model.error_on_new:
        others = [s for i, s in enumerate(table.slots) if i not in places]
        if not all(absent(builder, model, s, boxed=boxed) == Absent(True, None) for s in others):
            raise Cannot("MissingIndicator refuses new columns with a missing value other than NaN")
        builder.require(others, "present", "a column has missing values that had none when MissingIndicator was fitted")
    return table.made(_flags(builder, model, table, places, boxed=boxed), sparse=model.sparse is True)


TRANSFORMS: dict[tuple[str, str], Transform] = {
    ("sklearn", "SimpleImputer"): imputed,
    ("sklearn", "MissingIndicator"): indicated,
}
