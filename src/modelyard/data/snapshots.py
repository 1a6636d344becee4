"""Snapshots: the rows of one build, checked, brought to one form, and kept under the digest of their content, never to change.

home/snapshots/<digest>/ holds Parquet files (data.parquet; of an incremental source, one more for each time that rows were added) and
snapshot.json, read-only. Files that an earlier snapshot has already are hard links to its own. See data/canonical.py for what the digest
covers: how the rows lie in files is no part of it.
"""

from __future__ import annotations

import errno
import json
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard import files
from modelyard.config.spec import Data
from modelyard.data import prepare
from modelyard.data.canonical import digest as content_digest
from modelyard.data.columns import type_of, types_of
from modelyard.data.features import signature as signature  # part of what this file offers
from modelyard.data.incremental import Highest
from modelyard.data.parts import Parts, Writer, joined
from modelyard.errors import BadInput, NoRoom, NotFound
from modelyard.signature import ColumnType

if TYPE_CHECKING:
    import polars as pl

DATA, FACTS = "data.parquet", "snapshot.json"
MOST_FILES = 64
"""Files of a snapshot, from which on they are written anew as one."""


@dataclass(frozen=True)
class Snapshot:
    """One kept table. `files` are its Parquet files, in order; `dropped` says in sentences which rows of the source are not in it.

    `lineage` says which rows are new, where they were added to an earlier snapshot's: `{"parent": digest, "above": text, "rows": int}`,
    the last so many rows of the table. Empty where the source was read whole.
    """

    digest: str
    files: tuple[Path, ...]
    rows: int
    columns: dict[str, ColumnType] = field(hash=False)
    dropped: tuple[str, ...] = ()
    lineage: dict[str, Any] = field(default_factory=dict, hash=False)

    @property
    def size(self) -> int:
        """Bytes on disk; what other snapshots share is counted in each."""
        return sum(path.stat().st_size for path in self.files)


@dataclass(frozen=True)
class Base:
    """An earlier snapshot that new rows are added to: those above its highest value of the incremental column."""

    snapshot: Snapshot
    above: Highest


class Moved(Exception):
    """New rows do not fit the earlier snapshot's columns: the source is to be read whole. Says why."""


def take(table: Parts, data: Data, timezone: str, home: Path, base: Base | None = None) -> Snapshot:
    """Keep what `data` wants of `table` (data/prepare.py says what that is) as a snapshot in `home`, a batch at a time.

    Taking the same rows again gives the same digest and finds the folder that is there. Writing is atomic: a torn write or a full
    disk leaves no snapshot behind. With a `base`, its rows come first and are not written again.

    Raises BadInput for whatever is wrong with the rows, NoRoom when the disk is full, Moved where new rows do not fit the base.
    """
    prepared = prepare.Prepared(table, data, timezone, base.above if base else None)
    with _workplace(home / "snapshots") as work:
        new = _written(prepared, base, work / DATA)
        if base is not None:
            if new == 0:
                return Snapshot(**{**vars(base.snapshot), "dropped": prepared.dropped})
            (work / DATA).rename(work / "new.parquet")
            paths = _linked(base.snapshot, work)
        else:
            paths = [work / DATA]
        kept = stored(paths)
        if kept.rows == 0:
            said = f"no row is left: {'; '.join(prepared.dropped)}" if prepared.dropped else "the data has no rows"
            raise BadInput(said, where="data.source", next="look at the source: is the target filled in?")
        prepare.check(kept, data)
        digest = content_digest(kept)
        facts: dict[str, Any] = {"digest": digest, "rows": kept.rows, "columns": types_of(kept.schema), "files": [p.name for p in paths]}
        if base is not None:
            facts["lineage"] = {"parent": base.snapshot.digest, "above": str(base.above), "rows": new}
        _keep(work, facts, home / "snapshots" / digest)
    found = find(digest, home)
    return Snapshot(found.digest, found.files, found.rows, found.columns, prepared.dropped, facts.get("lineage", {}))


def _written(prepared: prepare.Prepared, base: Base | None, path: Path) -> int:
    """Write the new rows, in the base's types where there is one; how many there are."""
    with Writer(path) as writer:
        for batch in prepared.batches():
            writer.write(batch if base is None else _fitted(batch, base.snapshot))
    return writer.rows


def _fitted(batch: pl.DataFrame, base: Snapshot) -> pl.DataFrame:
    import polars as pl

    wanted = stored(base.files).schema
    if list(batch.schema) != list(wanted):
        raise Moved("the source's columns have changed")
    columns = []
    for name, dtype in wanted.items():
        had = batch.schema[name]
        if batch[name].null_count() == batch.height or had == dtype or (had.is_integer() and dtype.is_float()):
            columns.append(batch[name].cast(dtype))
        else:
            raise Moved(f"`{name}` was {type_of(dtype)} and is {type_of(had)} now")
    return pl.DataFrame(columns)


def _linked(base: Snapshot, work: Path) -> list[Path]:
    """The base's files under their names in the new folder, and the new one after them; all in one where they have become many."""
    new = work / f"more-{len(base.files):05}.parquet"
    (work / "new.parquet").rename(new)
    if len(base.files) >= MOST_FILES:
        with Writer(work / DATA) as writer:
            for batch in stored((*base.files, new)).batches():
                writer.write(batch)
        new.unlink()
        return [work / DATA]
    for path in base.files:
        (work / path.name).hardlink_to(path)
    return [*(work / path.name for path in base.files), new]


@contextmanager
def _workplace(folder: Path) -> Iterator[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".taking-", dir=folder))
    try:
        yield work
    except OSError as exc:
        if exc.errno in (errno.ENOSPC, errno.EDQUOT):
            hint = "make room and start again"
            raise NoRoom("the disk is full: the snapshot was not kept", where=str(folder), next=hint) from exc
        raise
    finally:
        if work.exists():
            work.chmod(0o755)
            shutil.rmtree(work)


def _keep(work: Path, facts: dict[str, Any], folder: Path) -> None:
    """Give the finished folder its name, unless the same rows are kept already."""
    if (folder / FACTS).is_file():
        return
    (work / FACTS).write_text(json.dumps(facts, indent=1), encoding="utf-8")
    for path in work.iterdir():
        files.sync(path)
        path.chmod(0o444)
    work.chmod(0o555)
    files.sync(work)
    try:
        work.rename(folder)
    except OSError as exc:
        # somebody else kept the same rows in the meantime: theirs are as good
        if exc.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
    files.sync(folder.parent)


def find(digest: str, home: Path) -> Snapshot:
    """The snapshot kept under `digest`. Raises NotFound."""
    folder = home / "snapshots" / digest
    if not re.fullmatch(r"[0-9a-f]{64}", digest) or not (folder / FACTS).is_file():
        raise NotFound(f"there is no snapshot {digest[:12]}", next="the build that takes it makes it again from the source")
    facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    paths = tuple(folder / Path(name).name for name in facts.get("files", [DATA]))
    return Snapshot(digest, paths, facts["rows"], facts["columns"], lineage=facts.get("lineage", {}))


def kept(home: Path) -> list[Snapshot]:
    """All snapshots of a home, the newest first."""
    folders = [path.parent for path in (home / "snapshots").glob(f"*/{FACTS}") if re.fullmatch(r"[0-9a-f]{64}", path.parent.name)]
    return [find(folder.name, home) for folder in sorted(folders, key=lambda f: (-f.stat().st_mtime, f.name))]


def stored(paths: Iterable[Path]) -> Parts:
    """Parquet files of the same columns and types, such as a snapshot's own, as a table."""
    return joined([(path.name, path) for path in paths])


def table(snapshot: Snapshot) -> Parts:
    """The snapshot's rows, to be read a batch or a column at a time."""
    return stored(snapshot.files)


def scan(snapshot: Snapshot) -> pl.LazyFrame:
    """The snapshot's rows as a Polars query, none of them read yet."""
    import polars as pl

    return pl.scan_parquet(list(snapshot.files), hive_partitioning=False, glob=False)


def check(snapshot: Snapshot) -> None:
    """See that the rows are those that the digest stands for. Raises BadInput where they are not (a flipped bit, an edited file)."""
    import polars as pl

    where = str(snapshot.files[0].parent)
    try:
        intact = content_digest(table(snapshot)) == snapshot.digest
    except (BadInput, pl.exceptions.PolarsError, OSError, ValueError, OverflowError) as exc:
        said = f"snapshot {snapshot.digest[:12]} cannot be read: {type(exc).__name__}"
        raise BadInput(said, where=where) from exc
    if not intact:
        said = f"digest mismatch: the rows are not those of snapshot {snapshot.digest[:12]}"
        hint = "the file was changed or damaged; move its folder away and build again"
        raise BadInput(said, where=where, next=hint)


def read(snapshot: Snapshot) -> pl.DataFrame:
    """All the snapshot's rows at once, checked: for a table known to be small. Raises as `check` does."""
    check(snapshot)
    return table(snapshot).frame()
