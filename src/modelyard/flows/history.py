"""History: what production answered, joined with the labels that came; monitors look at it and retraining learns from it."""

from __future__ import annotations

import re
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard import tables
from modelyard.config.spec import Config
from modelyard.data import snapshots
from modelyard.errors import NotFound
from modelyard.events import LabelsReceived
from modelyard.flows.holdout import SMOKE
from modelyard.monitor import labels
from modelyard.serve import captured
from modelyard.workshop import Workshop

if TYPE_CHECKING:
    import polars as pl


def folder(shop: Workshop, model: str) -> Path:
    """Where the production endpoint's capture lies."""
    return shop.home.endpoints / f"{model}-production" / "capture"


def predictions(shop: Workshop, model: str, start: datetime | None = None, end: datetime | None = None) -> pl.DataFrame:
    """Captured production rows with `start <= event_time < end`, and the labels known so far (null where none came)."""
    import polars as pl

    where = folder(shop, model)
    captured.compact(where)
    rows = captured.read(where, start=start, end=end)
    rows = rows.filter(~pl.col(tables.INFERENCE_ID).str.starts_with(SMOKE))
    return labels.join(rows, labels.latest(shop.home.labels(model)))


def extend(shop: Workshop, config: Config, source: pl.DataFrame, since: datetime | None, until: datetime) -> tuple[pl.DataFrame, int]:
    """The source's rows and the captured, labelled ones that happened before `until`, in the source's columns and types.

    A row that is in both counts once, as captured. Where the config has a `time_col`, rows before `since` are left out.
    Returns the table and how many captured rows are in it.
    """
    import polars as pl

    data, taken = config.data, predictions(shop, config.model.name, since, until)
    taken = taken.filter(pl.col(tables.LABEL).is_not_null())
    columns = {data.target_col: tables.LABEL}
    columns |= {data.time_col: tables.EVENT_TIME} if data.time_col else {}
    columns |= {data.id_col: tables.INFERENCE_ID} if data.id_col else {}
    for name in source.columns:
        for prefixed in (tables.feature(name), tables.extra(name)):
            if prefixed in taken.columns:
                columns.setdefault(name, prefixed)
    added = taken.select(pl.col(found).cast(source.schema[name]).alias(name) for name, found in columns.items())
    if data.time_col and since is not None:
        source = source.filter(pl.col(data.time_col) >= since)
    if data.id_col:
        added = added.unique(data.id_col, keep="last", maintain_order=True)  # asked twice, learned once
        source = source.join(added.select(data.id_col), on=data.id_col, how="anti")
    learned = pl.concat([source, added], how="diagonal").select(source.columns)
    return (learned.sort(data.time_col, maintain_order=True) if data.time_col else learned), added.height


def label(shop: Workshop, model: str, table: pl.DataFrame) -> dict[str, int]:
    """Take labels in (inference_id, label and, maybe, labelled_at). Importing the same again changes nothing."""
    added = labels.add(table, shop.home.labels(model), shop.clock.now())
    shop.record([LabelsReceived(model, added.new, added.corrected, added.repeated)])
    return asdict(added)


def table(shop: Workshop, named: str) -> Path:
    """A table by a person's word: a file, a snapshot's digest (or how it begins), or MODEL:VERSION. Raises NotFound."""
    if Path(named).exists():
        return Path(named)
    model, _, version = named.partition(":")
    if version and model in shop.state:
        return snapshots.find(shop.version(model, version).data_digest, shop.home.path).path
    found = sorted((shop.home.path / "snapshots").glob(f"{named}*")) if re.fullmatch(r"[0-9a-f]{6,64}", named) else []
    if len(found) != 1:
        said = "several snapshots begin" if found else "there is no file, snapshot or MODEL:VERSION"
        raise NotFound(f"{said} {named}", next="name a Parquet or CSV file, a snapshot's digest, or MODEL:VERSION")
    return found[0]
