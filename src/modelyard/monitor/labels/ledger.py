"""The ledger's verbs: take labels in, and say which hold, of which ids, since when, as of when."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from modelyard import tables
from modelyard.errors import BadInput, NoRoom
from modelyard.monitor.labelfiles import LABELLED_AT, LINE, Place
from modelyard.monitor.labels import segments
from modelyard.monitor.labels.segments import COLUMNS, Segment
from modelyard.monitor.labels.values import alike, as_label, common, fold, instant
from modelyard.monitor.profile.reading import text

if TYPE_CHECKING:
    import polars as pl

log = logging.getLogger("modelyard")
TICK = timedelta(microseconds=1)
_LOCKS: dict[Path, threading.RLock] = {}


@dataclass(frozen=True)
class Added:
    """What an import did: predictions labelled for the first time, labels that changed, rows that said nothing new, and rows
    without a label, which are left out."""

    new: int
    corrected: int
    repeated: int
    blank: int = 0


def add(frame: pl.DataFrame, folder: Path, received_at: datetime, place: Place | None = None) -> Added:
    """Add labels to the ledger in `folder` (made if needed). For more than can be held see `taking`.

    Args:
        frame: inference_id, label, and optionally labelled_at (datetime; where null or absent, `received_at` stands for it).
        received_at: timezone-aware; when the labels came. No two imports are received at once: one that would be, or that comes while
            the clock goes back, counts as received a microsecond after the last.

    Raises:
        BadInput: a column is missing, an id is empty, an id has two labels and nothing says which is later, or the ledger is
            damaged.
        NoRoom: the disk is full; nothing was added.
    """
    rows, blank = plain(frame, place)
    given = once(rows, place)
    batch = digest([given])
    with held(folder) as found:
        if given.is_empty():
            return Added(0, 0, 0, blank)
        one = coming(found, batch, received_at)
        fresh, new, corrected = news(given, holding(found, given[tables.INFERENCE_ID]), one)
        if not (one.again and fresh.is_empty()):  # else even if empty: it records that this import was seen
            segments.write(fresh, folder, [one.name])
            tidy(folder)
    return Added(new, corrected, given.height - new - corrected, blank)


@dataclass(frozen=True)
class Coming:
    """An import that is to be taken in: what its files are called; when it counts as received, which is after all others; and whether the
    same was taken in before.

    One that came before is looked at again, since what was corrected in between, without a later time, it corrects back. It has another
    name then: parts of a large one count once a file is there that has their name (see `segments`).
    """

    name: str
    at: datetime
    again: bool


def coming(found: list[Segment], batch: str, received_at: datetime) -> Coming:
    """What an import is, by its digest, to a ledger of these files."""
    last = _newest(found)
    at = received_at if last is None else max(received_at, last + TICK)
    again = any(batch in segment.about.imports for segment in found)
    return Coming(hashlib.sha256(f"{batch} {at.isoformat()}".encode()).hexdigest()[:32] if again else batch, at, again)


def tidy(folder: Path) -> None:
    """Merge the ledger's files, where there are many."""
    try:
        segments.merge(folder)
    except (NoRoom, OSError) as exc:  # what was added is there; the next import tries again
        log.warning("the label ledger in %s cannot be tidied: %s", folder, exc)


def news(given: pl.DataFrame, before: pl.DataFrame, one: Coming) -> tuple[pl.DataFrame, int, int]:
    """The rows that say something new, how many ids of theirs had no label, and how many had another. before: the labels that hold."""
    import polars as pl

    rows = given.with_columns(pl.col(LABELLED_AT).fill_null(one.at), pl.lit(one.at, instant()).alias(tables.RECEIVED_AT))
    before, rows = alike([before, rows])
    dated = given[LABELLED_AT].is_not_null()
    known = [tables.INFERENCE_ID, tables.LABEL]  # without a time, saying again what holds says nothing new
    fresh = pl.concat([rows.filter(dated).join(before, [*known, LABELLED_AT], "anti"), rows.filter(~dated).join(before, known, "anti")])
    if one.again:  # its rows are there already: one is worth another only where it comes to hold
        later = fresh.join(before, tables.INFERENCE_ID).filter(pl.col(f"{LABELLED_AT}_right") > pl.col(LABELLED_AT))
        fresh = fresh.join(later, fresh.columns, "anti")
    was = before.select(tables.INFERENCE_ID, pl.col(tables.LABEL).alias("was"))
    changed = fold([before, fresh]).join(was, on=tables.INFERENCE_ID, how="left")
    new = changed.filter(pl.col("was").is_null()).height
    corrected = changed.filter(pl.col("was") != pl.col(tables.LABEL)).height
    return fresh, new, corrected


def latest(folder: Path, until: datetime | None = None) -> pl.DataFrame:
    """The labels that hold, of those received up to `until` (all by default), a row an inference_id, as `fold` gives them.

    Reads everything; see `of` for those of some predictions. Raises BadInput for a damaged file.
    """
    with held(folder) as found:
        return fold([_until(segment.frame(), until) for segment in found])


def of(folder: Path, ids: pl.Series, until: datetime | None = None) -> pl.DataFrame:
    """`latest` for some ids, without reading the others: the time it takes grows with them, and hardly with the ledger. The labels' type
    is that of the rows found."""
    with held(folder) as found:
        return holding(found, ids, until)


def between(folder: Path, lows: pl.Series, highs: pl.Series, until: datetime | None = None) -> pl.DataFrame:
    """`latest` for the ids in any of the ranges `lows[i] <= id <= highs[i]`, as text compares."""
    import pyarrow as pa

    low, high = (series.to_arrow().cast(pa.large_string()) for series in (lows, highs))
    with held(folder) as found:
        return fold([_until(segment.between(low, high), until) for segment in found])


def received(folder: Path, since: datetime | None) -> pl.Series:
    """The ids of the labels, first or corrected, that were received after `since`; sorted, each once. Older files are not opened."""
    import polars as pl

    with held(folder) as found:
        late = [s.received(since) for s in found if s.about.until is not None and (since is None or s.about.until > since)]
    ids = [frame[tables.INFERENCE_ID] for frame in late]
    return (pl.concat(ids) if ids else pl.Series(tables.INFERENCE_ID, [], pl.String)).unique().sort()


def held_since(folder: Path, since: datetime | None) -> pl.Series:
    """The ids whose label that holds was received after `since`."""
    import polars as pl

    if since is None:
        return received(folder, None)
    return of(folder, received(folder, since)).filter(pl.col(tables.RECEIVED_AT) > since)[tables.INFERENCE_ID]


def newest(folder: Path) -> datetime | None:
    """When the last label was received; None where none was."""
    with held(folder) as found:
        return _newest(found)


def ids(frame: pl.DataFrame) -> pl.Series:
    """The ids of an import as the ledger writes them."""
    return frame.select(text(tables.INFERENCE_ID, frame.schema[tables.INFERENCE_ID]))[tables.INFERENCE_ID]


@contextlib.contextmanager
def held(folder: Path) -> Iterator[list[Segment]]:
    """The ledger's files, which do not change meanwhile: the owner of the home is the only process, and its threads wait."""
    with _LOCKS.setdefault(folder, threading.RLock()):
        _take_over(folder)
        yield segments.listed(folder)


def _take_over(folder: Path) -> None:
    """Files as older releases wrote them (Parquet, in any order) become such as they are now. Safe to kill anywhere."""
    import polars as pl

    for path in sorted(folder.glob("*.parquet")):
        batch, _, digest = path.stem.partition("-")
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest()[:32] != digest:
            raise segments.damaged(path)
        segments.write(pl.read_parquet(data), folder, [batch])
        path.unlink()


def _newest(found: list[Segment]) -> datetime | None:
    return max((s.about.until for s in found if s.about.until is not None), default=None)


def holding(found: list[Segment], ids: pl.Series, until: datetime | None = None) -> pl.DataFrame:
    wanted = ids.drop_nulls().unique().sort()
    return fold([_until(segment.of(wanted), until) for segment in found])


def _until(rows: pl.DataFrame, until: datetime | None) -> pl.DataFrame:
    import polars as pl

    return rows if until is None else rows.filter(pl.col(tables.RECEIVED_AT) <= until)


def plain(frame: pl.DataFrame, place: Place | None = None) -> tuple[pl.DataFrame, int]:
    """The rows of an import that have a label, as (inference_id str, label, labelled_at UTC or null, `LINE` if they have it); and how many
    have none. place: where a row stands, where they have a `LINE`. Raises BadInput."""
    import polars as pl

    for name in (tables.INFERENCE_ID, tables.LABEL):
        if name not in frame.columns:
            raise BadInput(f"labels need a column '{name}'", where="labels", next=f"there are: {', '.join(frame.columns)}")
    when = pl.col(LABELLED_AT) if LABELLED_AT in frame.columns else pl.lit(None, instant()).alias(LABELLED_AT)
    label = frame.schema[tables.LABEL]
    given = frame.select(
        text(tables.INFERENCE_ID, frame.schema[tables.INFERENCE_ID]),
        as_label(common([label]), label),
        _utc(when, frame.schema.get(LABELLED_AT)),
        *([LINE] if LINE in frame.columns else []),
    )
    empty = given.with_row_index("row", 1).filter(pl.col(tables.INFERENCE_ID).fill_null("") == "")
    if not empty.is_empty():
        if place is not None:
            raise BadInput("there is no inference_id", where=place(empty[LINE][0]))
        raise BadInput(f"row {empty['row'][0]} has no inference_id", where="labels")
    full = given.drop_nulls(tables.LABEL)
    return full, given.height - full.height


def once(rows: pl.DataFrame, place: Place | None = None) -> pl.DataFrame:
    """What `plain` gives, each row once, sorted, without their lines. Raises BadInput for two labels of which neither is later."""
    import polars as pl

    found = rows.unique(COLUMNS[:3]).sort(COLUMNS[:3])
    clash = found.filter(pl.struct(tables.INFERENCE_ID, LABELLED_AT).is_duplicated())
    if not clash.is_empty():
        name, a, b = clash[tables.INFERENCE_ID][0], clash[tables.LABEL][0], clash[tables.LABEL][1]
        raise BadInput(
            f"prediction '{name}' has two labels ({a!r} and {b!r}), and nothing says which is later",
            where="labels" if place is None else place(max(clash[LINE][:2])),
            next=f"leave one out, or give a column '{LABELLED_AT}'",
        )
    return found.select(COLUMNS[:3])


def _utc(when: pl.Expr, dtype: pl.DataType | None) -> pl.Expr:
    import polars as pl

    if isinstance(dtype, pl.Datetime) and dtype.time_zone is None:
        when = when.dt.replace_time_zone("UTC")
    elif dtype is not None and not isinstance(dtype, pl.Datetime | pl.Null):
        raise BadInput(f"'{LABELLED_AT}' must hold times, not {dtype}", where="labels")
    return when.cast(instant())


def digest(given: Iterable[pl.DataFrame]) -> str:
    """Of an import: its rows as `once` gives them, in order, in so many tables as one likes."""
    found, first = hashlib.sha256(), True
    for rows in given:
        found.update(f"{rows.schema[tables.LABEL]}\n".encode() if first else b"")
        found.update(rows.write_csv(include_header=first, quote_style="always", null_value="").encode())
        first = False
    return found.hexdigest()[:32]
