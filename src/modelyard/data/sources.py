"""Where rows come from: files by path or fsspec URL, Delta tables, a SELECT by a database URL, and what a script has written."""

from __future__ import annotations

import glob
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from modelyard.config.spec import Source
from modelyard.data import columns, databases, delta, parts, texts
from modelyard.data.incremental import Highest
from modelyard.data.parts import WHERE, Parts
from modelyard.errors import BadInput, NotFound
from modelyard.files import is_data
from modelyard.tables import is_index

if TYPE_CHECKING:
    import polars as pl

SUFFIXES = {"csv": "csv", "parquet": "parquet", "jsonl": "jsonl"}


@dataclass(frozen=True)
class Request:
    """What is asked of a source, beside itself.

    folder: what paths are relative to. spool: an empty folder for what must lie on this disk while rows are read; it outlives them.
    secret: gives the value of a reference. above: read only rows whose incremental column is higher. made: what the script of a `script`
    source has written. unused: columns that the config leaves out; typed: those whose type it says, texts: those that are text by it, as
    they stand in a file. may_be_empty: no rows are no error.
    """

    folder: Path
    spool: Path
    secret: Callable[[str], str]
    above: Highest | None = None
    made: Path | None = None
    unused: tuple[str, ...] = ()
    typed: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    may_be_empty: bool = False


@contextmanager
def reading(source: Source, request: Request) -> Iterator[Parts]:
    """The source's rows, types as found; none of them in memory but what is small. On leaving, files must be as they were.

    A location is a path relative to the folder (a `*` pattern or a folder of files is read in name order), an fsspec URL (likewise; it
    is copied first), or, for sql, a database URL; no error ever shows the value of a secret.

    Raises NotFound for a missing file, BadInput for one that cannot be read, repeats a column, or changes while it is read, or where there
    are no rows, and Unavailable for a database that does not answer.
    """
    hidden = not isinstance(source.location, str)
    location = source.location if isinstance(source.location, str) else request.secret(source.location.secret)
    shown = "the secret location" if hidden else location
    files: list[tuple[str, Path]] = []
    if source.using == "sql":
        table = _sql(source, location, request)
    elif source.using == "delta":
        table = delta.read(location, shown, request.folder, request.spool)
    elif source.using == "script":
        table = _made(source, request)
    else:
        files = _files(location, shown, request, source.using)
        table = _read(files, source.using, request)
        if source.incremental is not None and request.above is not None:
            table = replace(table, above=(source.incremental, request.above.value))
    table = replace(table, schema=_without_index(table.schema))
    before = [_state(path) for _, path in files]
    if not table.schema or (table.rows == 0 and request.above is None and not request.may_be_empty):
        raise BadInput("the source has no rows", where=WHERE, next="look at the file or the query: the table is empty")
    yield table
    if [_state(path) for _, path in files] != before:
        raise BadInput(f"{shown} was changed while it was read", where=WHERE, next="build again once it is whole")


def _without_index(schema: pl.Schema) -> pl.Schema:
    """Row numbers that pandas has left in a file are no data: a model would learn from the order of the rows."""
    import polars as pl

    return pl.Schema({name: dtype for name, dtype in schema.items() if not is_index(name)})


def _state(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _sql(source: Source, url: str, request: Request) -> Parts:
    column = source.incremental
    above = (column, request.above.value) if column is not None and request.above is not None else None
    pieces = parts.keep(databases.frames(url, source.query or "", request.folder, above), request.spool)
    # a column of numbers and text becomes text, as it would from a csv
    named = [("the answer", piece) for piece in pieces]
    return parts.joined(named, typed=[] if not pieces else _names(pieces[0]))


def _names(piece: Path | pl.DataFrame) -> list[str]:
    return list(parts.schema_of(piece) if isinstance(piece, Path) else piece.schema)


def _read(files: list[tuple[str, Path]], using: str, request: Request) -> Parts:
    if using == "parquet":
        return parts.joined(files, request.typed)
    return texts.read(files, using, request.spool, request.unused, request.texts)


def table(path: Path, spool: Path) -> Parts:
    """A file of a person's, by its ending: .parquet, .csv, .jsonl. Raises NotFound, BadInput."""
    if not path.is_file():
        raise NotFound(f"there is no table at {path}")
    using = next((using for using, suffix in SUFFIXES.items() if path.suffix == f".{suffix}"), "parquet")
    found = _read([(path.name, path)], using, Request(path.parent, spool, str))
    columns.named(found.schema, path.name)
    return found


def _made(source: Source, request: Request) -> Parts:
    """What a script wrote into its output folder: files of one kind."""
    folder = request.made
    assert folder is not None  # the step that runs the script gives it
    found = {using: sorted(folder.rglob(f"*.{suffix}")) for using, suffix in SUFFIXES.items()}
    kinds = [using for using, paths in found.items() if paths]
    if len(kinds) != 1:
        said = f"{source.location} ended well and left {'files of several kinds' if kinds else 'no table'}"
        raise BadInput(said, where=WHERE, next="write .parquet, .csv or .jsonl files to /opt/ml/processing/output/data")
    if odd := next((path.name for path in found[kinds[0]] if path.is_symlink() or not path.is_file()), None):
        raise BadInput(f"{source.location} left {odd}, which is no plain file", where=WHERE, next="a link could lead out of the step")
    return _read([(path.name, path) for path in found[kinds[0]]], kinds[0], request)


def _files(location: str, shown: str, request: Request, using: str) -> list[tuple[str, Path]]:
    """Names for a person, and paths."""
    if "://" in location:
        return _copied(location, shown, request.spool, using)
    path = request.folder / Path(location).expanduser()
    paths = [path]
    if any(mark in location for mark in "*?["):
        paths = sorted(Path(p) for p in glob.glob(str(path), recursive=True))  # noqa: PTH207  (Path.glob takes no absolute pattern)
    elif path.is_dir():
        paths = sorted(p for p in path.rglob(f"*.{SUFFIXES[using]}") if is_data(p.relative_to(path)))
    if not paths or not all(p.is_file() for p in paths):
        raise NotFound(f"there is no file at {shown}", where=WHERE, next=_similar(path))
    return [(p.name if len(paths) > 1 else shown, p) for p in paths]


def _similar(path: Path) -> str:
    import difflib

    if not path.parent.is_dir():
        return f"there is no folder {path.parent} either; paths are relative to config.yaml"
    close = difflib.get_close_matches(path.name, [p.name for p in path.parent.iterdir()], n=1)
    return f"did you mean `{close[0]}`?" if close else "paths are relative to config.yaml"


def _copied(url: str, shown: str, spool: Path, using: str) -> list[tuple[str, Path]]:
    """Remote files, copied here a stretch at a time: rows are read more than once, and must be the same each time."""
    scheme = url.partition("://")[0]
    try:
        import fsspec

        system, path = fsspec.core.url_to_fs(url)
        names = [path]
        if any(mark in path for mark in "*?["):
            names = sorted(system.glob(path))
        elif system.isdir(path):
            found = [name for name in system.find(path) if name.endswith(f".{SUFFIXES[using]}")]
            names = sorted(name for name in found if is_data(PurePosixPath(name.removeprefix(path))))
        if not names:
            raise FileNotFoundError(path)
        spool.mkdir(parents=True, exist_ok=True)
        copies = []
        for i, name in enumerate(names):
            copy = spool / f"copy-{i:05}.{SUFFIXES[using]}"
            with system.open(name, "rb") as remote, copy.open("wb") as file:
                shutil.copyfileobj(remote, file, 1 << 20)
            copies.append((name.rpartition("/")[2] if len(names) > 1 else shown, copy))
        return copies
    except ImportError as exc:
        hint = {"s3": "pip install 'modelyard[s3]'", "gs": "pip install 'modelyard[gcs]'"}.get(scheme, str(exc))
        raise BadInput(f"reading {scheme}:// needs a package that is not installed", where=WHERE, next=hint) from exc
    except ValueError as exc:
        raise BadInput(f"{scheme}:// is no kind of address that can be read", where=WHERE) from exc
    except FileNotFoundError as exc:
        raise NotFound(f"there is no file at {shown}", where=WHERE) from exc
    except Exception as exc:  # each backend raises its own kinds, and their texts may hold the address
        raise BadInput(f"{shown} cannot be read: {type(exc).__name__}", where=WHERE) from exc
