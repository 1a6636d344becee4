"""What `preprocess` left: whether the steps after it can read the three splits as rows of one table, with all that the build goes by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from modelyard.data.columns import type_of
from modelyard.errors import BadInput
from modelyard.flows.site import SPLITS
from modelyard.tables import is_index

if TYPE_CHECKING:
    import polars as pl

    from modelyard.config.spec import Data, Preprocess
    from modelyard.flows.site import Site

_ALIKE = "write the same columns, in the same order, with the same types (pandas makes floats of whole numbers where one is missing)"


def verify(site: Site) -> None:
    """Look at the splits before anything is trained on them: only their labels are read, and what Parquet says of itself.

    Raises BadInput for a split that is not there or cannot be read, for a train or test split without rows, for columns that the splits
    do not have alike, for pandas' own index among them, for one that the build goes by and the rows have lost, and for lost labels.
    """
    part = site.config.preprocess
    assert part is not None  # by the flow: no `preprocess`, no step
    kinds = {name: _read(site, part, name) for name in SPLITS}
    if (index := next((column for kind in kinds.values() for column in kind if is_index(column)), None)) is not None:
        raise _wrong(part, f"pandas' index is a column of the splits, `{index}`", "write them with `index=False`")
    first, *others = SPLITS
    for name in others:
        if said := _parted(kinds[first], kinds[name], f"{first}.parquet", f"{name}.parquet"):
            raise _wrong(part, said, _ALIKE)
    for column, where in _needed(site.config.data):
        if column not in kinds[first]:
            raise BadInput(f"the rows lost `{column}` on the way to the model", where=where, next=f"keep it in {part.entry_point}")
    _labelled(site, part)
    if site.config.data.channel_format.startswith("csv"):
        for column in (name for name, kind in kinds[first].items() if type_of(kind) is None):
            hint = "make columns of it, or set `data.channel_format: parquet`"
            raise _wrong(part, f"`{column}` is {_word(kinds[first][column])}, which CSV cannot hold", hint)


def _labelled(site: Site, part: Preprocess) -> None:
    """Raises BadInput for rows that lost their label: of the hold-out, by which the version is judged, and of all where it is a class."""
    import polars as pl

    target, kind = site.config.data.target_col, site.config.model.problem_type
    if kind == "multilabel_classification":  # no label holds: a fact like any other
        return
    for name in SPLITS if "classification" in kind else SPLITS[-1:]:
        rows = pl.scan_parquet(site.part(name), glob=False)
        if lost := int(rows.select(pl.col(target).null_count()).collect(engine="streaming").item()):
            raise _wrong(part, f"`{target}` is missing in {lost:,} rows of {name}.parquet", "leave such rows out")


def _wrong(part: Preprocess, said: str, next: str) -> BadInput:
    return BadInput(f"{part.entry_point} ended well, but {said}", where="preprocess", next=next)


def _read(site: Site, part: Preprocess, name: str) -> Mapping[str, pl.DataType]:
    """The columns of a split with their types. Raises BadInput."""
    import polars as pl

    file, place = site.part(name), part.output_paths.get(name, f"/opt/ml/processing/output/{name}")
    if not file.is_file() or file.is_symlink():  # a link could lead to the hold-out as it was
        raise BadInput(
            f"{part.entry_point} ended well but left no {name}.parquet", where="preprocess", next=f"write it to {place}/{name}.parquet"
        )
    try:
        rows = pl.scan_parquet(file, glob=False)
        schema, count = rows.collect_schema(), int(rows.select(pl.len()).collect().item())
    except (pl.exceptions.PolarsError, OSError) as exc:
        first = (str(exc).strip().splitlines() or [""])[0][:200]
        raise _wrong(part, f"its {name}.parquet cannot be read: {first}", "write it as Parquet") from exc
    if not count and name != "validation":
        raise _wrong(
            part, f"its {name}.parquet has no rows", "keep some: it is learned from" if name == "train" else "keep some: it judges"
        )
    return schema


def _parted(one: Mapping[str, Any], other: Mapping[str, Any], first: str, second: str) -> str:
    """Where the columns of two splits part; empty where they are alike."""
    for name in (*one, *other):
        if name not in other or name not in one:
            has, lacks = (first, second) if name in one else (second, first)
            return f"`{name}` is in {has} and not in {lacks}"
        if one[name] != other[name]:
            return f"`{name}` is {_word(one[name])} in {first} and {_word(other[name])} in {second}"
    if list(one) != list(other):
        return f"the columns of {first} and {second} stand in another order"
    return ""


def _word(kind: pl.DataType) -> str:
    return "all missing, and without a type," if str(kind) == "Null" else str(kind)


def _needed(data: Data) -> Iterator[tuple[str, str]]:
    """Columns that the build goes by after `preprocess`, and where the config names them."""
    schema = data.schema_
    named = {"target_col": data.target_col, "id_col": data.id_col, "time_col": data.time_col}
    named |= {"schema.group_col": schema.group_col, "schema.weight_col": schema.weight_col}
    yield from ((column, f"data.{where}") for where, column in named.items() if column is not None)
