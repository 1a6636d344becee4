"""History: what production answered, joined with the labels that came; monitors look at it and retraining learns from it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard import tables
from modelyard.build import bundle
from modelyard.config.spec import Config
from modelyard.data import parts
from modelyard.data.parts import Parts
from modelyard.errors import BadInput, no_room
from modelyard.events import LabelsReceived
from modelyard.flows import capturing, hashes
from modelyard.flows.holdout import is_traffic
from modelyard.monitor import labels
from modelyard.monitor.labels import entities
from modelyard.serve import captured
from modelyard.workshop import Workshop

if TYPE_CHECKING:
    import polars as pl

    from modelyard.monitor.labelfiles import Place
    from modelyard.monitor.labelpieces import Pieces
    from modelyard.monitor.labels import Added


def folder(shop: Workshop, model: str) -> Path:
    """Where the production endpoint's capture lies."""
    return capturing.folder(shop, model, "production")


def answers(
    shop: Workshop,
    model: str,
    start: datetime | None = None,
    end: datetime | None = None,
    only: tuple[str, ...] | None = None,
    *,
    settled: bool = False,
) -> pl.DataFrame:
    """Captured production rows with `start <= event_time < end`, without labels; `only` as `captured.read` takes it. settled: the capture
    was compacted a moment ago."""
    if not settled:
        capturing.compact(shop, model, "production")
    rows = captured.read(folder(shop, model), start=start, end=end, only=only)
    return rows.filter(is_traffic(rows[tables.INFERENCE_ID]))


def pieces(
    shop: Workshop, model: str, start: datetime, end: datetime, only: tuple[str, ...] | None = None, *, settled: bool = False
) -> Iterator[pl.DataFrame]:
    """As `answers`, a file at a time."""
    if not settled:
        capturing.compact(shop, model, "production")
    for rows in captured.pieces(folder(shop, model), start, end, only):
        yield rows.filter(is_traffic(rows[tables.INFERENCE_ID]))


def predictions(shop: Workshop, model: str, start: datetime | None = None, end: datetime | None = None) -> pl.DataFrame:
    """`answers` with the labels known so far (null where none came)."""
    return labelled(shop, model, answers(shop, model, start, end))


def labelled(shop: Workshop, model: str, rows: pl.DataFrame) -> pl.DataFrame:
    """Captured rows with the labels known so far (null where none came), and `labels.GIVEN_AT`.

    By the prediction's id and, with `labels: {join: entity}`, where no label names it, by the entity and the time of the event.
    """
    import polars as pl

    config, ledger = shop.config(model), shop.home.labels(model)
    by_id = labels.join(rows, labels.of(ledger, rows[tables.INFERENCE_ID]))
    if config.labels.join == "inference_id" or rows.is_empty():
        return by_id
    columns, tolerance = config.data.entity_cols, config.labels.tolerance
    near = entities.join(rows, labels.between(ledger, *entities.ranges(rows, columns, tolerance)), columns, tolerance).drop(entities.KEY)
    if not by_id[tables.LABEL].count():
        return near
    same = near.schema[tables.LABEL] == by_id.schema[tables.LABEL]
    both = [f if same else f.with_columns(labels.convert(pl.String(), f.schema[tables.LABEL], tables.LABEL)) for f in (by_id, near)]
    named = both[0][tables.LABEL].is_not_null()
    return near.with_columns(both[0][name].zip_with(named, both[1][name]) for name in (tables.LABEL, labels.GIVEN_AT))


def newest(shop: Workshop, model: str, last: int, *, since: datetime | None = None, version: str | None = None) -> pl.DataFrame:
    """The newest `last` captured production rows, by when they came, oldest first; of one version where it is named, and not older than
    `since`. Requests of our own take nobody's place."""
    import polars as pl

    capturing.compact(shop, model, "production")
    traffic = is_traffic(pl.col(tables.INFERENCE_ID))
    found = captured.newest(folder(shop, model), last, since=since, version=version, chosen=traffic)
    return found.sort(tables.RECEIVED_AT, maintain_order=True).tail(last)


def labelled_since(shop: Workshop, model: str, since: datetime | None) -> int:
    """How many captured predictions' labels came after `since`. One for an id that nobody asked with teaches nothing."""
    return matched(shop, model, labels.held_since(shop.home.labels(model), since))


def matched(shop: Workshop, model: str, keys: pl.Series) -> int:
    """How many different ones of some ids of the ledger are those of a captured prediction: its id, or its entity and time.

    Reads what was captured from the newest on, until each is found.
    """
    left, count = keys.unique().alias(tables.INFERENCE_ID), 0
    config = shop.config(model)
    if config.labels.join == "entity":
        timed = entities.times(left).is_not_null()
        count, left = _matched_by_entity(shop, config, left.filter(timed)), left.filter(~timed)
    return count + _asked(shop, model, left, once=True)[tables.INFERENCE_ID].n_unique()


def _asked(
    shop: Workshop, model: str, ids: pl.Series, start: datetime | None = None, end: datetime | None = None, *, once: bool = False
) -> pl.DataFrame:
    """The captured rows among `ids`, as `captured.among` gives them."""
    capturing.compact(shop, model, "production")
    return captured.among(folder(shop, model), ids.filter(is_traffic(ids)), start, end, once=once)


def _matched_by_entity(shop: Workshop, config: Config, keys: pl.Series) -> int:
    """How many of the labels of entities some captured prediction takes."""
    if keys.is_empty():
        return 0
    model, columns, tolerance = config.model.name, config.data.entity_cols, config.labels.tolerance
    rows = answers(shop, model, *_around(entities.times(keys), tolerance))
    if rows.is_empty():
        return 0
    try:
        known = labels.between(shop.home.labels(model), *entities.ranges(rows, columns, tolerance))
    except BadInput:  # no caller sends the entity: what is to be joined by it says so, and these wait
        return 0
    taken = entities.join(rows.drop(tables.PREDICTION, strict=False), known, columns, tolerance)[entities.KEY].drop_nulls().unique()
    return int(keys.is_in(taken.implode()).sum())


def _around(at: pl.Series, tolerance: timedelta) -> tuple[datetime, datetime]:
    begun, ended = entities.near(at, tolerance)
    first, last = begun.min(), ended.max()
    assert isinstance(first, datetime) and isinstance(last, datetime)
    return first, last + timedelta(microseconds=1)


def touched(shop: Workshop, model: str, keys: pl.Series, start: datetime, end: datetime) -> pl.DataFrame:
    """When the predictions were that some ids of the ledger may be the labels of: `first` and `last` (event time, UTC), a row each.

    Those of ids from `start` to before `end`; for an entity's, the span around its time that the tolerance allows.
    """
    import polars as pl

    spans, config = [], shop.config(model)
    if config.labels.join == "entity":
        begun, ended = entities.near(entities.times(keys).drop_nulls(), config.labels.tolerance)
        spans.append(pl.DataFrame({"first": begun, "last": ended}))
    at = _asked(shop, model, keys, start, end)[tables.EVENT_TIME]
    return pl.concat([*spans, pl.DataFrame({"first": at, "last": at})])


def spans(times: Iterable[tuple[datetime, datetime]]) -> pl.DataFrame:
    """Spans of time as `touched` gives them."""
    import polars as pl

    at = pl.Datetime("us", "UTC")
    return pl.DataFrame(list(times), schema={"first": at, "last": at}, orient="row")


def extend(
    shop: Workshop, config: Config, source: Parts, since: datetime | None, until: datetime, spool: Path
) -> tuple[Parts, int, list[str]]:
    """The source's rows and, after them, the captured, labelled ones that happened before `until`, in the source's columns and types.

    A row that is in both counts once, as captured. Where the config has a `time_col`, rows before `since` are left out.
    Returns the table, how many captured rows are in it, and a sentence for each column that kept some of them out, since what callers
    send (an id above all) need not be of the source's types. The captured rows are held in memory; of the source, a batch at a time.
    """
    import polars as pl

    data, taken = config.data, predictions(shop, config.model.name, since, until)
    taken = taken.filter(pl.col(tables.LABEL).is_not_null())
    columns = {data.target_col: tables.LABEL}
    columns |= {data.time_col: tables.EVENT_TIME} if data.time_col else {}
    columns |= {data.id_col: tables.INFERENCE_ID} if data.id_col else {}
    redacted = config.deploy.capture.redacted
    for name in source.schema:
        for prefixed in (tables.feature(name), tables.extra(name)):
            if prefixed in taken.columns and name not in redacted:  # a hash is no value to learn from
                columns.setdefault(name, prefixed)
    taken, hashed = hashes.apart(shop, config.model.name, taken, columns)
    added, left_out = _as_source(taken, columns, source.schema)
    left_out = [*hashed, *left_out]
    if data.id_col:
        added = added.unique(data.id_col, keep="last", maintain_order=True)  # asked twice, learned once
    if data.time_col:
        added = added.sort(data.time_col, maintain_order=True)

    def kept() -> Iterator[pl.DataFrame]:
        for batch in source.batches():
            if data.time_col and since is not None:
                batch = batch.filter(pl.col(data.time_col) >= since)
            if data.id_col:
                batch = batch.join(added.select(data.id_col), on=data.id_col, how="anti", maintain_order="left")
            yield batch

    lacking = [pl.lit(None, source.schema[name]).alias(name) for name in source.schema if name not in added.columns]
    rows = added.with_columns(lacking).select(list(source.schema))
    return Parts((*parts.keep(kept(), spool), rows), source.schema), added.height, left_out


def _as_source(taken: pl.DataFrame, columns: dict[str, str], schema: pl.Schema) -> tuple[pl.DataFrame, list[str]]:
    """The captured columns under their names in the source, in its types; rows that hold what is none of these are left out."""
    import polars as pl

    rows, left_out = taken.select(pl.col(found).alias(name) for name, found in columns.items()), []
    for name in columns:
        had, wanted = rows.schema[name], schema[name]
        cast = rows.select(_cast(name, had, wanted))[name] if had != wanted else rows[name]
        lost = cast.is_null() & rows[name].is_not_null()
        if lost.any():
            first, count = rows[name].filter(lost)[0], int(lost.sum())
            said = f"{count:,} captured row{'s' if count != 1 else ''} left out: `{name}` is no {wanted} there, such as {first!r}"
            left_out.append(said)
        rows = rows.with_columns(cast.alias(name)).filter(~lost)
    return rows, left_out


def _cast(name: str, had: pl.DataType, wanted: pl.DataType) -> pl.Expr:
    """Null where a value is none of the wanted type."""
    import polars as pl

    if wanted == pl.Boolean and had == pl.String:  # Polars itself casts no text to truth
        return labels.convert(wanted, had, name)
    return pl.col(name).cast(wanted, strict=False)


def label(shop: Workshop, model: str, table: pl.DataFrame, *, counted: bool = True) -> dict[str, int]:
    """Take labels in: label and, maybe, labelled_at, of an inference_id or, with `labels: {join: entity}`, of an entity's columns and an
    event_time. Importing the same again changes nothing.

    Says also, if `counted`, how many of them are those of a captured prediction (`matched`) and how many are not yet (`waiting`): they are
    kept, since a label may come first. Raises BadInput for a label that is no answer of the model; then none was taken.
    """
    table = _ready(shop, model)(table)
    added = labels.add(table, shop.home.labels(model), shop.clock.now())
    return _took(shop, model, added, [labels.ids(table.drop_nulls(tables.LABEL)).unique()] if counted else None)


def label_file(shop: Workshop, model: str, pieces: Pieces) -> dict[str, int]:
    """As `label`, of a file of any size: what was read lies in the home's spool until all of it was. Raises NoRoom; then none was taken."""
    ready = _ready(shop, model, pieces.place)
    with tempfile.TemporaryDirectory(prefix=".taking-", dir=spool(shop)) as folder:
        taking = labels.Taking(Path(folder), pieces.place)
        try:
            for table in pieces.tables(Path(folder)):
                taking.take(ready(table))
            added = taking.add(shop.home.labels(model), shop.clock.now())
        except OSError as exc:
            raise no_room(exc) or exc from exc
        return _took(shop, model, added, taking.ids())


def _ready(shop: Workshop, model: str, place: Place | None = None) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """What makes labels that were read into what the ledger takes, and refuses what the model cannot answer."""
    state, config = shop.model(model), shop.config(model)
    signed = bundle.open(shop.version(model, state.champion).digest, shop.home.path).signature if state.versions else None

    def made(table: pl.DataFrame) -> pl.DataFrame:
        if config.labels.join == "entity" and tables.INFERENCE_ID not in table.columns:
            table = entities.keyed(table, config.data.entity_cols, place)
        if signed is not None:
            labels.check(table, signed, place)
        return table

    return made


def _took(shop: Workshop, model: str, added: Added, given: Iterable[pl.Series] | None) -> dict[str, int]:
    """What an import did; `given`: its ids, each once, so many at a time."""
    if added.new or added.corrected:  # a source that is read each hour would fill the journal with what is no news
        shop.record([LabelsReceived(model, added.new, added.corrected, added.repeated)])
    if given is None:
        return asdict(added)
    counts = [(matched(shop, model, ids), len(ids)) for ids in given]
    found, count = (sum(column) for column in zip(*counts, strict=True)) if counts else (0, 0)
    return {**asdict(added), "matched": found, "waiting": count - found}


def spool(shop: Workshop) -> Path:
    """Where rows lie while they are read; what a killed try left is swept when the home is opened."""
    folder = shop.home.path / "snapshots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
