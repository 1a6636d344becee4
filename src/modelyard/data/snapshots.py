"""Snapshots: the rows of one build, checked, brought to one form, and kept under the digest of their content, never to change.

home/snapshots/<digest>/ holds data.parquet and snapshot.json, read-only. See data/canonical.py for what the digest covers.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard.config.spec import Data
from modelyard.data import prepare
from modelyard.data.canonical import digest as content_digest
from modelyard.data.columns import type_of
from modelyard.data.compare import diff as diff  # part of what this file offers
from modelyard.errors import BadInput, NoRoom, NotFound
from modelyard.signature import Column, ColumnType, ProblemType, Scalar, Signature

if TYPE_CHECKING:
    import polars as pl

DATA, FACTS = "data.parquet", "snapshot.json"
MOST_CLASSES = 1000


@dataclass(frozen=True)
class Snapshot:
    """One kept table. `path` is its Parquet file; `dropped` says in sentences which rows of the source are not in it."""

    digest: str
    path: Path
    rows: int
    columns: dict[str, ColumnType] = field(hash=False)
    dropped: tuple[str, ...] = ()


def take(frame: pl.DataFrame, data: Data, timezone: str, home: Path) -> Snapshot:
    """Keep what `data` wants of `frame` (data/prepare.py says what that is) as a snapshot in `home`.

    Taking the same rows again gives the same digest and finds the folder that is there. Writing is atomic: a torn write or a full
    disk leaves no snapshot behind.

    Raises BadInput for whatever is wrong with the rows, NoRoom when the disk is full.
    """
    table, dropped = prepare.prepare(frame, data, timezone)
    digest = content_digest(table)
    columns = _types(table)
    folder = home / "snapshots" / digest
    if not (folder / FACTS).is_file():
        facts = {"digest": digest, "rows": table.height, "columns": columns}
        try:
            _keep(table, facts, folder)
        except OSError as exc:
            if exc.errno in (errno.ENOSPC, errno.EDQUOT):
                hint = "make room and start again"
                raise NoRoom("the disk is full: the snapshot was not kept", where=str(folder.parent), next=hint) from exc
            raise
    return Snapshot(digest, folder / DATA, table.height, columns, dropped)


def _types(table: pl.DataFrame) -> dict[str, ColumnType]:
    return {name: kind for name, dtype in table.schema.items() if (kind := type_of(dtype)) is not None}


def _keep(table: pl.DataFrame, facts: dict[str, Any], folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".taking-", dir=folder.parent))
    try:
        table.write_parquet(work / DATA, compression="zstd", statistics=True)
        (work / FACTS).write_text(json.dumps(facts, indent=1), encoding="utf-8")
        for path in (work / DATA, work / FACTS):
            _sync(path)
            path.chmod(0o444)
        work.chmod(0o555)
        _sync(work)
        try:
            work.rename(folder)
        except OSError as exc:
            # somebody else kept the same rows in the meantime: theirs are as good
            if exc.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
        _sync(folder.parent)
    finally:
        if work.exists():
            work.chmod(0o755)
            shutil.rmtree(work)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def find(digest: str, home: Path) -> Snapshot:
    """The snapshot kept under `digest`. Raises NotFound."""
    folder = home / "snapshots" / digest
    if not re.fullmatch(r"[0-9a-f]{64}", digest) or not (folder / FACTS).is_file():
        raise NotFound(f"there is no snapshot {digest[:12]}", next="the build that takes it makes it again from the source")
    facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    return Snapshot(digest, folder / DATA, facts["rows"], facts["columns"])


def read(snapshot: Snapshot) -> pl.DataFrame:
    """The snapshot's rows. Raises BadInput when they are not those that the digest stands for (a flipped bit, an edited file)."""
    import polars as pl

    try:
        frame = pl.read_parquet(snapshot.path, memory_map=False, hive_partitioning=False)
        intact = content_digest(frame) == snapshot.digest
    except (pl.exceptions.PolarsError, OSError) as exc:
        raise BadInput(f"snapshot {snapshot.digest[:12]} cannot be read: {type(exc).__name__}", where=str(snapshot.path)) from exc
    if not intact:
        said = f"digest mismatch: the rows are not those of snapshot {snapshot.digest[:12]}"
        hint = "the file was changed or damaged; move its folder away and build again"
        raise BadInput(said, where=str(snapshot.path), next=hint)
    return frame


def signature(frame: pl.DataFrame, data: Data, problem_type: ProblemType, decision_threshold: float) -> Signature:
    """What a model trained on the snapshot `frame` takes and gives.

    Features are all columns, in order, but the target, time, id, sensitive and split columns; entity columns are features unless
    `schema.exclude` names them. A feature is nullable when the snapshot has it missing somewhere. Classes are sorted; the
    positive class is the value as it stands in the data (`true` for a config that says 1).

    Raises BadInput when no feature is left, or when the target does not fit the problem type.
    """
    reserved = {data.target_col, data.time_col, data.id_col, data.split.column, *data.schema_.sensitive_not_served}
    kinds = _types(frame)
    columns = tuple(Column(n, kinds[n], frame[n].null_count() > 0) for n in frame.columns if n not in reserved)
    if not columns:
        said = "no feature is left: every column is the target, an id, a time, sensitive or excluded"
        raise BadInput(said, where="data.schema")
    classes = () if problem_type == "regression" else _classes(frame[data.target_col], problem_type)
    if problem_type == "regression" and kinds[data.target_col] not in ("int", "float"):
        raise BadInput(f"regression needs numbers, and `{data.target_col}` is {kinds[data.target_col]}", where="data.target_col")
    binary = problem_type == "binary_classification"
    return Signature(
        problem_type=problem_type,
        columns=columns,
        classes=classes,
        positive_class=prepare.positive(data.positive_class, classes) if binary else None,
        decision_threshold=decision_threshold if binary else None,
        target_col=data.target_col,
        id_col=data.id_col,
        time_col=data.time_col,
        entity_cols=data.entity_cols,
    )


def _classes(target: pl.Series, problem_type: ProblemType) -> tuple[Scalar, ...]:
    classes = tuple(target.unique().sort().to_list())
    where = "data.target_col"
    if problem_type == "binary_classification" and len(classes) != 2:
        shown = ", ".join(map(str, classes[:5])) + (", ..." if len(classes) > 5 else "")
        said = f"binary classification needs two classes, and `{target.name}` has {len(classes)}: {shown}"
        raise BadInput(said, where=where, next="say multiclass_classification or regression, or make two classes of it")
    if len(classes) > MOST_CLASSES or target.dtype.is_temporal():
        hint = "is `problem_type: regression` meant?"
        raise BadInput(f"`{target.name}` has {len(classes)} classes; {MOST_CLASSES} are the most", where=where, next=hint)
    return classes
