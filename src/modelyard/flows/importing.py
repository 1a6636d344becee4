"""Predictions that SageMaker answered and captured, judged here: its capture files join our own capture, its ground truth our labels."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard import tables
from modelyard.build import bundle
from modelyard.errors import BadInput
from modelyard.events import CaptureTaken
from modelyard.flows import capturing, history, labelling
from modelyard.monitor import datacapture
from modelyard.serve import captured
from modelyard.serve.capture.redaction import Redaction
from modelyard.workshop import Workshop

if TYPE_CHECKING:
    import polars as pl


def take(shop: Workshop, model: str, folder: Path) -> dict[str, Any]:
    """Take SageMaker's capture files in as production's, as if our front had captured them; taken again, nothing is counted twice.

    A variant called as one of the model's versions is that version; any other is the champion, else the newest version.
    Raises NotFound, BadInput (names the line that does not hold; then nothing was taken).
    """
    import polars as pl

    state = shop.model(model)
    judge = shop.version(model, state.champion)
    now = max(shop.clock.now(), datetime.now(UTC))  # a replay's clock stands in the past
    rows = datacapture.read(folder, bundle.open(judge.digest, shop.home.path).signature, now)
    if rows.filter(pl.col(tables.INFERENCE_ID) == "").height:
        raise BadInput("an event has an empty id", where=str(folder))
    known_version = pl.col(tables.VERSION).is_in(list(state.versions))
    rows = rows.with_columns(pl.when(known_version).then(pl.col(tables.VERSION)).otherwise(pl.lit(judge.version)).alias(tables.VERSION))
    keys = [tables.INFERENCE_ID, tables.RECEIVED_AT]
    have = captured.read(history.folder(shop, model), only=keys)
    fresh = rows.unique(keys, keep="first", maintain_order=True).join(have, on=keys, how="anti", maintain_order="left")
    if fresh.height:
        labelling.came(shop, model, *_span(fresh))  # before too: whoever is killed in between finds no row fresh at the next try
        captured.add(history.folder(shop, model), _redacted(shop, model, fresh))
        labelling.came(shop, model, *_span(fresh))
    shop.record([CaptureTaken(model, str(folder), fresh.height, rows.height - fresh.height)])
    first, last = _span(rows)
    return {"model": model, "rows": fresh.height, "known": rows.height - fresh.height, "first": str(first), "last": str(last)}


def _span(rows: pl.DataFrame) -> tuple[datetime, datetime]:
    times = rows[tables.EVENT_TIME]
    first, last = times.min(), times.max()
    assert isinstance(first, datetime) and isinstance(last, datetime)
    return first, last


def _redacted(shop: Workshop, model: str, rows: pl.DataFrame) -> pl.DataFrame:
    """As the front would have written them."""
    import polars as pl

    asked = capturing.asked(shop, shop.config(model).deploy.capture)
    redaction = Redaction(asked.redact, Path(asked.key) if asked.key else None)
    for column in redaction.how:
        for name in (tables.feature(column), tables.extra(column)):
            if name not in rows.columns:
                continue
            values = rows[name].dt.epoch("us") if rows[name].dtype.is_temporal() else rows[name]
            kept = redaction.of_columns({column: values.to_list()})
            rows = rows.with_columns(pl.Series(name, kept[column], pl.String)) if kept else rows.drop(name)
    return rows
