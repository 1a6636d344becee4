"""Pipelines, unions and column transformers: which transformer is given which slots."""

from __future__ import annotations

from typing import Any

from modelyard.runtime.extract.builder import Builder, Cannot, Method, Table, Transform


def pipeline(builder: Builder, model: Any, table: Table) -> Table:
    """All steps of a pipeline that transforms."""
    for _, step in model.steps:
        table = builder.transform(step, table)
    return table


def last(method: str) -> Method:
    """What the method gives that a pipeline hands on to its last step."""

    def made(builder: Builder, model: Any, table: Table) -> list[int]:
        for _, step in model.steps[:-1]:
            table = builder.transform(step, table)
        return builder.method(model.steps[-1][1], method, table)

    return made


def best(method: str) -> Method:
    """A search hands on to the best model it found."""
    return lambda builder, model, table: builder.method(model.best_estimator_, method, table)


def joined(builder: Builder, parts: list[Table], *, sparse: bool) -> Table:
    """Tables side by side, as NumPy's hstack (SciPy's where `sparse`) puts them."""
    slots = [slot for part in parts for slot in part.slots]
    one_object = any(builder.objects(part, slot) or builder.facts[slot].kind == "text" for part in parts for slot in part.slots)
    if sparse and one_object:
        raise Cannot("a sparse table of text")
    kept = [part.entries if part.sparse else part.slots for part in parts]
    entries = [slot for part in kept for slot in part or ()] if sparse and None not in kept else None
    return Table(slots, object=one_object, sparse=sparse, entries=entries)


def _weighted(builder: Builder, model: Any, name: str, part: Table) -> Table:
    """What one of a model's transformers makes, times its weight."""
    weight = (model.transformer_weights or {}).get(name)
    if weight is not None and not part.frame:  # pandas passes over None
        nones = [slot for slot in part.slots if builder.facts[slot].none and builder.objects(part, slot)]
        builder.require(nones, "present", f"None cannot be multiplied by the weight of {name}")
    return part if weight is None else part.scaled([builder.arithmetic(s, ("mul", float(weight))) for s in part.slots])


def union(builder: Builder, model: Any, table: Table) -> Table:
    parts = []
    for name, step in model.transformer_list:
        if isinstance(step, str) and step == "drop":
            continue
        parts.append(_weighted(builder, model, name, builder.transform(step, table)))
    if not parts:
        raise Cannot("a union of nothing")
    return joined(builder, parts, sparse=any(part.sparse for part in parts))


def columns(builder: Builder, model: Any, table: Table) -> Table:
    """A ColumnTransformer; the columns are those that it found when it was fitted, also where the user wrote a function."""
    named = getattr(model, "feature_names_in_", None)
    if table.names is None or named is None:
        Builder.sized(model, table)
    parts = []
    for name, step, wanted in model.transformers_:
        if isinstance(step, str) and step == "drop":
            continue
        if isinstance(wanted, (str, int)):
            raise Cannot(f"`{name}` of a ColumnTransformer is given one column as a list, not as a table")
        places = _places(builder, model, name, wanted)
        if not places:
            continue
        part = builder.transform(step, table.picked(_found(table, named, place, wanted) for place in places))
        parts.append(_weighted(builder, model, name, part))
    if not parts:
        raise Cannot("a ColumnTransformer that keeps nothing")
    if model.sparse_output_:  # scikit-learn makes numbers of Python objects first
        builder.numeric(model, [slot for part in parts for slot in part.slots])
        parts = [part if part.sparse else part.made(part.slots) for part in parts]
    return joined(builder, parts, sparse=bool(model.sparse_output_))


def _places(builder: Builder, model: Any, name: str, wanted: Any) -> list[int]:
    """The places, among the columns it was fitted on, of what one transformer is given."""
    known = getattr(model, "_transformer_to_input_indices", {})
    if name in known:
        return [int(i) for i in known[name]]
    if isinstance(wanted, slice):
        raise Cannot("a ColumnTransformer whose columns are a slice")
    array = builder.np.asarray(wanted)
    if array.dtype.kind == "b":
        return [int(i) for i in builder.np.flatnonzero(array)]
    if array.dtype.kind in "iu":
        return [int(i) for i in array]
    names = list(getattr(model, "feature_names_in_", ()))
    return [names.index(str(column)) for column in wanted]


def _found(table: Table, named: Any, place: int, wanted: Any) -> int:
    """Where the table has the column: a DataFrame's are found by name."""
    if table.names is not None and named is not None:
        return table.place(str(named[place]))
    if table.names is None and table.slots and not isinstance(wanted, slice):
        first = next(iter(wanted), 0)
        if isinstance(first, str) and named is not None and not table.frame and len(named) != len(table.slots):
            raise Cannot("a ColumnTransformer is given an array and wants columns by name")
    return place


TRANSFORMS: dict[tuple[str, str], Transform] = {
    ("sklearn", "Pipeline"): pipeline,
    ("sklearn", "FeatureUnion"): union,
    ("sklearn", "ColumnTransformer"): columns,
}
_SEARCHES = ("GridSearchCV", "RandomizedSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV")
_METHODS = ("predict_proba", "predict", "decision_function", "score_samples", "predict_label", "predict_labels")
METHODS: dict[tuple[str, str, str], Method] = {
    **{("sklearn", "Pipeline", method): last(method) for method in _METHODS},
    **{("sklearn", kind, method): best(method) for kind in _SEARCHES for method in _METHODS},
}
