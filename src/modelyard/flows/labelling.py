"""Labelling: labels that a person sends, those fetched from where the config says, how much is labelled, and what was looked at."""

from __future__ import annotations

import hashlib
import json
import tempfile
from datetime import datetime, timedelta
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from modelyard import files, tables
from modelyard.build import bundle
from modelyard.config.spec import Config, Source
from modelyard.data import incremental, parts, sources
from modelyard.errors import BadInput, YardError
from modelyard.flows import history
from modelyard.monitor import datacapture, labelfiles, labels, labelstudio, windows
from modelyard.monitor.labelfiles import Names
from modelyard.monitor.labels import entities
from modelyard.serve import captured
from modelyard.workshop import Workshop

if TYPE_CHECKING:
    import polars as pl

    from modelyard.data.parts import Parts

WINDOWS = 50
"""Windows whose coverage is shown, where nobody says which."""
KINDS = {
    "text/csv": "csv",
    "application/json": "json",
    "application/x-ndjson": "jsonl",
    "application/jsonl": "jsonl",
    "application/jsonlines": "jsonl",
    "application/vnd.apache.parquet": "parquet",
}
"""Content types of labels that are sent, and what they are."""


# -- what a person brings ---------------------------------------------------------------------------------------------------------


def names(config: Config) -> Names:
    """What the columns of a model's labels are called."""
    data = config.data
    entity = data.entity_cols if config.labels.join == "entity" else ()
    return Names(data.id_col, data.target_col, config.timezone, entity, data.time_col)


def of_file(shop: Workshop, model: str, path: Path) -> dict[str, Any]:
    """Take in a file of labels, or SageMaker's ground truth (a file or folder of it). Raises NotFound, BadInput."""
    if path.exists() and datacapture.is_ground_truth(path):
        return history.label(shop, model, datacapture.ground_truth(path))
    if labelstudio.is_export(path):
        judge = shop.version(model, shop.model(model).champion)
        return history.label(shop, model, labelstudio.read(path, bundle.open(judge.digest, shop.home.path).signature))
    with labelfiles.opened(path, names(shop.config(model))) as pieces:
        return history.label_file(shop, model, pieces)


def of_bytes(shop: Workshop, model: str, data: bytes, content_type: str) -> dict[str, Any]:
    """Take in labels that were sent. Raises BadInput for a content type that is none of `KINDS`, and for a line that does not hold."""
    kind = KINDS.get(content_type.partition(";")[0].strip().lower())
    if kind is None:
        raise BadInput(f"labels are not read as `{content_type}`", where="Content-Type", next=f"send one of {', '.join(KINDS)}")
    return history.label_file(shop, model, labelfiles.sent(data, kind, names(shop.config(model)), "the body"))


# -- what is fetched --------------------------------------------------------------------------------------------------------------


def tick(shop: Workshop, model: str) -> dict[str, Any] | None:
    """Fetch labels where the config has a source of them: its schedule says that it is time. None where it has none, or a fetch is under
    way. Raises YardError where the source cannot be read, or holds what is no label of the model; the next time it is read again."""
    if shop.config(model).labels.source is None:
        return None
    lock = shop.busy(f"labels {model}")
    if not lock.acquire(blocking=False):
        return None
    try:
        return fetch(shop, model)
    except YardError as exc:
        exc.where = exc.where.replace("data.source", "labels.source")  # the room that reads sources knows no other
        raise
    finally:
        lock.release()


def fetch(shop: Workshop, model: str) -> dict[str, Any]:
    """Read the source of labels, and take in what it did not say before. Reading it again, also after a crash, changes nothing (but what
    somebody corrected between a crash and the next reading).

    With `incremental`, the rows from the highest value seen on, since more of that second or day may have come; else all. Those count that
    were not there at the last reading, or not so: what a source goes on saying is no correction of what came from elsewhere since. A row
    that is gone takes no label back.

    Whether they are those of a captured prediction is not asked: a source may have many that are not yet, or never will be, and to know of
    one that it is nobody's, all that was captured has to be looked through.
    """
    config, kept = shop.config(model), shop.home.labels(model) / "source"
    source, named = config.labels.source, names(config)
    assert source is not None
    key = hashlib.sha256(source.model_dump_json().encode()).hexdigest()
    highest = _highest(kept, key)
    with tempfile.TemporaryDirectory(prefix=".taking-", dir=history.spool(shop)) as spool:
        request = sources.Request(
            Path(shop.model(model).folder),
            Path(spool),
            shop.home.secret,
            above=highest and highest.just_below,
            texts=named.texts,
            may_be_empty=True,
        )
        with sources.reading(source, request) as found:
            rows, newest, highest = _rows(found, source, named, highest)
    said = _as_text(rows, config)
    remembered = said.filter(newest)
    if (before := _said(kept, key)) is not None:
        fresh = said.with_row_index("row").join(before, on=said.columns, how="anti", nulls_equal=True)["row"].sort()
        rows = rows[fresh]
    took = history.label(shop, model, rows, counted=False) if rows.height else {}
    _remember(kept, key, highest, remembered)
    return {"read": rows.height, **took}


def _rows(
    found: Parts, source: Source, names: Names, above: incremental.Highest | None
) -> tuple[pl.DataFrame, pl.Series, incremental.Highest | None]:
    """The rows of a source from the highest value of its incremental column on, as `labelfiles.table` gives them; which of them may come
    again at the next reading; and what the highest value is now."""
    import polars as pl

    column = source.incremental
    wanted = [*names.entity, names.id_col, names.target_col, names.time_col, *_SPARE, column]
    rows = found.frame([name for name in found.schema if name in wanted])
    where, said = "labels.source", labelfiles.of_csv(rows, names) if source.using == "csv" else rows
    if column is None:
        return labelfiles.table(said, names, where), pl.repeat(value=True, n=rows.height, eager=True), None
    if column not in found.schema:
        raise BadInput(f"there is no column `{column}`", where=f"{where}.incremental", next=f"there are: {', '.join(found.schema)}")
    if source.using == "csv" and column in names.texts:
        rows = rows.with_columns(labelfiles.growing(rows[column]))
    highest = incremental.highest(parts.of(rows.select(column)), column) or above
    if above is not None:
        fresh = incremental.above(rows, column, above) | (rows[column] == above.value).fill_null(value=False)
        said, rows = said.filter(fresh), rows.filter(fresh)
        highest = max(highest, above, key=lambda one: one.value) if highest is not None else above
    newest = (
        pl.repeat(value=False, n=rows.height, eager=True) if highest is None else (rows[column] == highest.value).fill_null(value=False)
    )
    return labelfiles.table(said, names, where), newest, highest


_SPARE = (tables.INFERENCE_ID, tables.LABEL, tables.EVENT_TIME, labels.LABELLED_AT)


def _as_text(rows: pl.DataFrame, config: Config) -> pl.DataFrame:
    """What a source says, so that it can be compared with what it said: the ids, labels and times, as text."""
    import polars as pl

    keyed = rows if tables.INFERENCE_ID in rows.columns else entities.keyed(rows, config.data.entity_cols)
    at = pl.col(labels.LABELLED_AT).cast(pl.String) if labels.LABELLED_AT in rows.columns else pl.lit(None, pl.String)
    label = labels.convert(pl.String(), keyed.schema[tables.LABEL], tables.LABEL)
    return keyed.select(labels.ids(keyed), label.alias(tables.LABEL), at.alias(labels.LABELLED_AT))


def _highest(folder: Path, key: str) -> incremental.Highest | None:
    path = folder / f"{key}.json"
    said = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    return incremental.Highest.from_json(said) if said else None


def _said(folder: Path, key: str) -> pl.DataFrame | None:
    import polars as pl

    path = folder / f"{key}.parquet"
    return pl.read_parquet(path.read_bytes()) if path.is_file() else None


def _remember(folder: Path, key: str, highest: incremental.Highest | None, said: pl.DataFrame) -> None:
    """Losing it costs one whole reading, never labels."""
    folder.mkdir(parents=True, exist_ok=True)
    if highest is not None:
        files.replace(folder / f"{key}.json", json.dumps(highest.to_json()).encode(), durable=True)
    buffer = BytesIO()
    said.write_parquet(buffer)
    files.replace(folder / f"{key}.parquet", buffer.getvalue(), durable=True)
    for path in folder.iterdir():  # of a source that the config has no more
        if not path.name.startswith((key, ".")):
            path.unlink()


# -- how much is labelled ---------------------------------------------------------------------------------------------------------


def coverage(shop: Workshop, model: str, since: datetime | None = None, until: datetime | None = None) -> dict[str, Any]:
    """How much of each window is labelled: `windows`, oldest first (`labels.coverage`'s, with `start` and `end`), by default the newest
    `WINDOWS`; `usual`, the coverage that windows reach in the end (their median, of those older than the label delay), and `watermark`,
    up to when labels can be taken for complete (see `labels.watermark`)."""
    config, now = shop.config(model), shop.clock.now()
    watch, zone = config.monitor, config.timezone
    first = captured.earliest(history.folder(shop, model))
    end = min(until or now, now)
    if first is None or first >= end:
        return {"model": model, "usual": None, "watermark": None, "windows": []}
    newest = windows.window_at(watch.window, zone, end)
    begin = max(first, since or end - 2 * WINDOWS * (newest.end - newest.start))  # the first row may be of years ago
    outer = [windows.window_at(watch.window, zone, at) for at in (begin, end - timedelta(microseconds=1))]
    spans = windows.windows(watch.window, zone, outer[0].start, outer[1].end)
    spans = spans if since else spans[-WINDOWS:]
    only = (tables.INFERENCE_ID, tables.EVENT_TIME) if config.labels.join == "inference_id" else None
    rows = history.labelled(shop, model, history.answers(shop, model, spans[0].start, spans[-1].end, only)).sort(tables.EVENT_TIME)
    edges = [rows[tables.EVENT_TIME].search_sorted(span.start) for span in spans] + [rows.height]
    parts = [rows.slice(a, b - a) for a, b in pairwise(edges)]
    ripe = [labels.coverage(part) for part, span in zip(parts, spans, strict=True) if span.end <= now - watch.performance.label_delay]
    usual = labels.usual(ripe)
    found = [
        {"start": span.start.isoformat(), "end": span.end.isoformat(), **labels.coverage(part, usual)}
        for part, span in zip(parts, spans, strict=True)
    ]
    return {"model": model, "usual": usual, "watermark": labels.watermark(found, usual), "windows": found}


# -- what the monitors have looked at ---------------------------------------------------------------------------------------------


class Looked(NamedTuple):
    """What judged windows have been judged by.

    until: the labels received up to then; no two imports are received at once (`labels.add`), so that none falls between two looks. None:
    no label. came: spans of event time (first, last) in which rows were taken in after their windows were over, whose labels may be older.
    rows: those captured up to then; None: no look has been yet. left: spans of event time (first, last) in which the last look did not
    come to all windows that have rows.
    """

    until: datetime | None = None
    came: tuple[tuple[datetime, datetime], ...] = ()
    rows: datetime | None = None
    left: tuple[tuple[datetime, datetime], ...] = ()


def last_look(shop: Workshop, model: str) -> Looked:
    """`until` of the last whole look, and what `came` since it."""
    path = _looked(shop, model)
    if not path.is_file():
        return Looked()
    said = json.loads(path.read_text(encoding="utf-8"))
    came, left = (
        tuple((datetime.fromisoformat(first), datetime.fromisoformat(last)) for first, last in spans)
        for spans in (said["came"], said.get("left", ()))
    )
    until, rows = (at and datetime.fromisoformat(at) for at in (said["until"], said.get("rows")))
    return Looked(until, came, rows, left)


def looking(shop: Workshop, model: str) -> Looked:
    """What a look that begins now will have seen, once it is over."""
    return Looked(labels.newest(shop.home.labels(model)), last_look(shop, model).came, shop.clock.now())


def looked(shop: Workshop, model: str, seen: Looked) -> None:
    """A look is over: all windows have been judged by what it had `seen`."""
    with shop.busy(f"looked {model}"):
        before = last_look(shop, model)
        came = tuple(span for span in before.came if span not in seen.came)
        _note(shop, model, before, Looked(seen.until or before.until, came, seen.rows, seen.left))


def came(shop: Workshop, model: str, first: datetime, last: datetime) -> None:
    """Rows were taken in that happened a while ago: the next look judges their windows again, by labels that may be there already."""
    with shop.busy(f"looked {model}"):
        before = last_look(shop, model)
        _note(shop, model, before, before._replace(came=tuple(dict.fromkeys([*before.came, (first, last)]))))


def _note(shop: Workshop, model: str, before: Looked, now: Looked) -> None:
    if now != before:
        path = _looked(shop, model)
        path.parent.mkdir(parents=True, exist_ok=True)
        until, rows = (at and at.isoformat() for at in (now.until, now.rows))
        came, left = ([[at.isoformat() for at in span] for span in spans] for spans in (now.came, now.left))
        said = {"until": until, "came": came, "rows": rows, "left": left}
        files.replace(path, json.dumps(said).encode(), durable=True)


def _looked(shop: Workshop, model: str) -> Path:
    return shop.home.labels(model) / "looked.json"
