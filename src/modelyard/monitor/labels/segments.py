"""The ledger's files. Each holds rows sorted by their id, is written once and never changed, and is looked up without being read.

Arrow IPC files, uncompressed, that the system maps into memory: a binary search over the ids touches a few pages of a file, however
large it is. Rows: inference_id (text), label (bool, int64, double or text), labelled_at and received_at (µs, UTC).

A file's name is `<digest of the imports in it>-<digest of its bytes>.arrow`: the second tells a damaged file, and is looked at once a
process and again when the file changes. It is written beside, fsynced and renamed, so that a torn one is never seen. What the schema's
metadata says: the imports whose rows are in it, when the first and the last of its rows were received, and which files it replaces. The
replaced ones are removed after it is there; where a crash came between, they are not looked at, and removed at the next look. The rows of a
large import are in several files, each a `part_of` it: they count once a file is there that says so among its imports.

Sizes: as of a log-structured merge tree, `FAN` files of about one size become one of the next, so a row is written again a few times
and the number of files grows with the logarithm of the rows; none is made larger than `LARGEST`.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard import files, tables
from modelyard.errors import BadInput, NoRoom
from modelyard.monitor.labelfiles import LABELLED_AT

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import polars as pl

COLUMNS = (tables.INFERENCE_ID, tables.LABEL, LABELLED_AT, tables.RECEIVED_AT)
ORDER = (tables.INFERENCE_ID, LABELLED_AT, tables.RECEIVED_AT, tables.LABEL)
FAN = 8
"""So many files of about one size become one."""
SMALL, LARGEST = 4096, 2_000_000
"""Rows up to which files are of the first size; and those of the largest that is made of others, which bounds the memory it takes."""
RANGE = 262_144
"""Rows that are put in order at a time, about, where files are merged."""
_ABOUT = b"modelyard"
_KNOWN: dict[Path, tuple[tuple[int, ...], _About]] = {}
_MOST_KNOWN = 20_000


@dataclass(frozen=True)
class _About:
    """What a file says of itself. `imports`: digests of the imports in it, and names of large ones whose parts count. `until`: when its
    last row was received. `part_of`: the name of the large import that it is a part of; empty where it stands for itself."""

    imports: frozenset[str]
    replaces: frozenset[str]
    until: datetime | None
    rows: int
    label: str
    part_of: str = ""


@dataclass(frozen=True)
class Segment:
    """One file."""

    path: Path
    about: _About

    def frame(self) -> pl.DataFrame:
        """All rows, mapped and not read."""
        return _frame(_table(self.path))

    def received(self, since: datetime | None) -> pl.DataFrame:
        """The rows received after an instant."""
        import polars as pl

        return self.frame().filter(pl.lit(value=True) if since is None else pl.col(tables.RECEIVED_AT) > since)

    def between(self, lows: Any, highs: Any) -> pl.DataFrame:
        """The rows whose id is within one of the ranges `lows[i] <= id <= highs[i]` (sorted Arrow arrays of text), each row once."""
        import numpy as np

        table = _table(self.path)
        ids = table.column(0).chunk(0) if table.num_rows else None
        if ids is None:
            return _frame(table)
        first, last = _bisect(ids, lows, right=False), _bisect(ids, highs, right=True)
        counts = np.maximum(last - first, 0)
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return _frame(table.take(np.unique(np.repeat(first, counts) + within)))

    def of(self, ids: pl.Series) -> pl.DataFrame:
        """The rows of some ids (sorted, each once)."""
        import pyarrow as pa

        if len(ids) * 32 > self.about.rows:  # then one pass over the file is less than so many searches
            return self.frame().join(ids.to_frame(tables.INFERENCE_ID), on=tables.INFERENCE_ID, how="semi")
        wanted = ids.to_arrow().cast(pa.large_string())
        return self.between(wanted, wanted)


def _bisect(ids: Any, needles: Any, *, right: bool) -> npt.NDArray[np.int64]:
    """Where each needle would stand among the sorted ids, before its equals or after them: all searches go on step by step together."""
    import numpy as np
    import pyarrow.compute as pc

    low, high = np.zeros(len(needles), np.int64), np.full(len(needles), len(ids), np.int64)
    before: Any = pc.less_equal if right else pc.less
    for _ in range(len(ids).bit_length()):
        middle = (low + high) // 2
        further = before(ids.take(np.minimum(middle, len(ids) - 1)), needles).to_numpy(zero_copy_only=False) & (low < high)
        low, high = np.where(further, middle + 1, low), np.where(further, high, middle)
    return low


def _frame(table: Any) -> pl.DataFrame:
    import polars as pl

    return pl.DataFrame(pl.from_arrow(table))


def lay(rows: pl.DataFrame, path: Path) -> Path:
    """Write rows for `laid` and, where they are sorted by their id, the first column, for `cuts`. Raises OSError."""
    import pyarrow as pa

    table = _as_table(rows)
    with path.open("wb") as file, pa.ipc.new_file(file, table.schema) as out:
        out.write_table(table)
    return path


def laid(path: Path) -> pl.DataFrame:
    """All rows of a file, mapped and not read."""
    return _frame(_table(path))


def some_of(path: Path, start: int, end: int) -> pl.DataFrame:
    """The rows of a file from one place to before another. No more of it is read: of a slice Polars goes through all text."""
    import numpy as np

    return _frame(_table(path).take(np.arange(start, end)))


def cuts(path: Path, bounds: pl.Series) -> list[int]:
    """Where the ranges of ids begin in a file, and the last one ends: the first one, and one at each of some ids (sorted, each once)."""
    import pyarrow as pa

    ids = _table(path).column(0).chunk(0)
    return [0, *_bisect(ids, bounds.to_arrow().cast(pa.large_string()), right=False).tolist(), len(ids)]


def _as_table(rows: pl.DataFrame) -> Any:
    import polars as pl

    return rows.to_arrow(compat_level=pl.CompatLevel.oldest()).combine_chunks()


def _table(path: Path) -> Any:
    import pyarrow as pa

    with pa.memory_map(str(path)) as file:  # what is mapped stays so for as long as a table refers to it
        return pa.ipc.open_file(file).read_all()


def listed(folder: Path) -> list[Segment]:
    """The files that hold, in the order of their names. Under the folder's lock. Raises BadInput for a damaged one."""
    found = {path.name: Segment(path, _about(path)) for path in sorted(folder.glob("*.arrow"))}
    replaced = frozenset[str]().union(*(segment.about.replaces for segment in found.values()))
    imports = frozenset[str]().union(*(segment.about.imports for segment in found.values()))
    torn = {name for name, segment in found.items() if segment.about.part_of not in {"", *imports}}
    for name in (replaced | torn) & found.keys():  # a crash came before they were removed, or before all parts were there
        found.pop(name).path.unlink()
    return list(found.values())


def _about(path: Path) -> _About:
    at = path.stat()
    state = (at.st_ino, at.st_size, at.st_mtime_ns)
    known = _KNOWN.get(path)
    if known is not None and known[0] == state:
        return known[1]
    if path.stem.partition("-")[2] != _digest(path):
        raise damaged(path)
    table = _table(path)
    said = json.loads(table.schema.metadata[_ABOUT])
    until = datetime.fromisoformat(said["until"]) if said["until"] else None
    label = str(table.schema.field(tables.LABEL).type)
    about = _About(frozenset(said["imports"]), frozenset(said["replaces"]), until, table.num_rows, label, said.get("part_of", ""))
    if len(_KNOWN) >= _MOST_KNOWN:
        _KNOWN.clear()
    _KNOWN[path] = state, about
    return about


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]


def damaged(path: Path) -> BadInput:
    """What to say of a file whose bytes are not those of its name."""
    return BadInput("digest mismatch: this file of the label ledger is damaged", where=path.name, next="restore it from a copy")


def write(rows: pl.DataFrame, folder: Path, imports: Iterable[str], replaces: Sequence[Path] = (), part_of: str = "") -> Path:
    """A new file of these rows: temporary file, fsync, rename, fsync of the folder. What a killed write left is written over by its
    repetition. Raises NoRoom when the disk is full; then nothing has changed."""
    return put(_as_table(rows.select(COLUMNS).sort(ORDER)), folder, imports, replaces, part_of)


def put(table: Any, folder: Path, imports: Iterable[str], replaces: Sequence[Path] = (), part_of: str = "") -> Path:
    """As `write`, of an Arrow table of one chunk, sorted."""
    import polars as pl
    import pyarrow as pa

    digests, at = sorted(imports), pl.Series(pl.from_arrow(table.column(tables.RECEIVED_AT)))
    name = part_of or (digests[0] if len(digests) == 1 else hashlib.sha256(" ".join(digests).encode()).hexdigest()[:32])
    since, until = (None if when is None else when.isoformat() for when in (at.min(), at.max()))  # type: ignore[union-attr]
    about = {"imports": digests, "replaces": [path.name for path in replaces], "since": since, "until": until, "part_of": part_of}
    table = table.replace_schema_metadata({_ABOUT: json.dumps(about).encode()})
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{name}.partial"
    try:
        with partial.open("wb") as file:
            with pa.ipc.new_file(file, table.schema) as out:
                out.write_table(table)
            file.flush()
            os.fsync(file.fileno())
        made = partial.rename(folder / f"{name}-{_digest(partial)}.arrow")
        files.sync(folder)
        return made
    except OSError as exc:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        if exc.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoRoom("the disk is full: no label was added", where="labels", next="make room and import again") from exc
        raise


def merge(folder: Path) -> int:
    """Make fewer, larger files of many small ones, where there are many. Under the folder's lock. Returns how many files went.

    Safe to kill anywhere: a reader finds the old files or the new one, and no row twice. Raises NoRoom, BadInput."""
    for path in folder.glob(".*.partial"):  # of a killed write that nobody repeated
        path.unlink()
    gone = 0
    while (group := next(_ready(listed(folder)), None)) is not None:
        imports = frozenset[str]().union(*(segment.about.imports for segment in group))
        paths = [segment.path for segment in group]
        full = [segment.path for segment in group if segment.about.rows]  # others say of an import that it was seen
        put(_merged(full) if full else _table(paths[0]), folder, imports, paths)
        for segment in group:
            segment.path.unlink()
        gone += len(group)
    return gone


def _merged(paths: Sequence[Path]) -> Any:
    """The rows of some files as one table, each once and sorted. They are put in order a range of ids at a time, which takes a fraction of
    the memory."""
    import polars as pl
    import pyarrow as pa

    ids = [laid(path)[tables.INFERENCE_ID] for path in paths]
    some = pl.concat([known.gather_every(RANGE // 16, i * RANGE // 16 // len(ids)) for i, known in enumerate(ids)])
    bounds = some.unique().sort()[16::16]
    places = [cuts(path, bounds) for path in paths]
    ranges = []
    for i in range(len(bounds) + 1):
        rows = [some_of(path, *ends[i : i + 2]) for path, ends in zip(paths, places, strict=True)]
        ranges.append(_as_table(pl.concat(rows).unique().select(COLUMNS).sort(ORDER)))
    return pa.concat_tables(ranges).combine_chunks()


def _ready(segments: list[Segment]) -> Iterator[list[Segment]]:
    """Files of one size, and one kind of label, that are to become one."""
    by_size: dict[tuple[str, int], list[Segment]] = {}
    for segment in sorted(segments, key=lambda one: one.about.rows):
        size, limit = 0, SMALL
        while segment.about.rows > limit:
            size, limit = size + 1, limit * FAN
        by_size.setdefault((segment.about.label, size), []).append(segment)
    for group in by_size.values():
        chosen, rows = [], 0
        for segment in group:
            rows += segment.about.rows
            if rows <= LARGEST:
                chosen.append(segment)
        if len(group) >= FAN and len(chosen) > 1:
            yield chosen
