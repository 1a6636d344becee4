"""Rows of a SELECT, from sqlite, duckdb or postgresql. Every connection is read-only, and rows come in chunks, not all at once."""

from __future__ import annotations

import importlib
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from modelyard.errors import BadInput, NotFound, Unavailable

if TYPE_CHECKING:
    import polars as pl

WHERE, QUERY = "data.source.location", "data.source.query"
CHUNK = 50_000
"""Rows fetched at a time: what is held as Python objects before it becomes a column."""

_POSTGRES_TYPES = {
    **dict.fromkeys(("int2", "int4", "int8", "oid"), "Int64"),
    **dict.fromkeys(("float4", "float8", "numeric"), "Float64"),
    "bool": "Boolean",
    "date": "Date",
}


Above = tuple[str, Any]
"""A column and a value: only rows with more are wanted."""


def frames(url: str, query: str, folder: Path, above: Above | None = None) -> Iterator[pl.DataFrame]:
    """The rows of `query`, at most 50,000 at a time; at least one frame, which may be empty. URLs: `sqlite:///file`, `duckdb:///file` or
    `duckdb:///:memory:` (to query files), `postgresql://...`.

    A file's path is relative to `folder`; four slashes make it absolute. Column types: duckdb's and postgresql's own (numeric as
    float, what is neither number, truth value, text nor time as text); sqlite has none, so they are those of the values, and may differ
    from frame to frame. `above` becomes a condition around the query, which the database judges, so it can use an index.

    Raises NotFound (no such file), BadInput (query, URL, driver), Unavailable (a server that does not answer). No error shows the
    URL.
    """
    scheme = url.partition(":")[0].partition("+")[0].lower()
    readers: dict[str, Callable[[str, str, Path, Above | None], Iterator[pl.DataFrame]]] = {
        "sqlite": _sqlite, "duckdb": _duckdb, "postgresql": _postgres, "postgres": _postgres,
    }  # fmt: skip
    if "://" not in url or scheme not in readers:
        hint = "write sqlite:///file, duckdb:///file or postgresql://user@host/database"
        raise BadInput("the location is no database URL that can be read", where=WHERE, next=hint)
    return readers[scheme](url, query, folder, above)


def _wrapped(query: str, column: str, mark: str) -> str:
    quoted = column.replace('"', '""')
    # a line of its own for the end: the query may end with a comment
    return f'SELECT * FROM (\n{query.strip().rstrip(";")}\n) AS modelyard_rows WHERE "{quoted}" > {mark}'  # noqa: S608  (the user's own)


def _file(url: str, folder: Path) -> Path:
    path = folder / unquote(url.partition("://")[2].removeprefix("/"))
    if not path.is_file():
        raise NotFound(f"there is no database file {path.name}", where=WHERE, next="the path is relative to config.yaml")
    return path


def _driver(name: str, extra: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as exc:
        hint = f"pip install 'modelyard[{extra}]'"
        raise BadInput(f"reading this database needs the package {name}, which is not installed", where=WHERE, next=hint) from exc


def _bad_query(exc: BaseException) -> BadInput:
    lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
    return BadInput(f"the query failed: {(lines or [type(exc).__name__])[0][:300]}", where=QUERY)


def _names(description: Any) -> list[str]:
    names = [str(column[0]) for column in description or ()]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if not names:
        raise BadInput("the query gives no columns", where=QUERY, next="write a SELECT")
    if repeated:
        raise BadInput(f"the query gives two columns named `{repeated[0]}`", where=QUERY, next="name one of them with AS")
    return names


def _chunks(cursor: Any) -> Iterator[list[tuple[Any, ...]]]:
    while rows := cursor.fetchmany(CHUNK):
        yield rows


def _sqlite(url: str, query: str, folder: Path, above: Above | None) -> Iterator[pl.DataFrame]:
    import polars as pl

    path = _file(url, folder)
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
        try:
            cursor = connection.execute(_wrapped(query, above[0], "?"), [above[1]]) if above else connection.execute(query)
            names = _names(cursor.description)
            yield pl.DataFrame(schema=names)
            for rows in _chunks(cursor):
                yield pl.DataFrame(rows, names, orient="row", infer_schema_length=None)
        except (sqlite3.Error, sqlite3.Warning, pl.exceptions.PolarsError) as exc:
            raise _bad_query(exc) from exc


def _duckdb(url: str, query: str, folder: Path, above: Above | None) -> Iterator[pl.DataFrame]:
    import polars as pl

    duckdb = _driver("duckdb", "sql")
    memory = url.partition("://")[2].strip("/") in ("", ":memory:")
    path = ":memory:" if memory else str(_file(url, folder))
    try:
        with duckdb.connect(path, read_only=not memory) as connection:
            # so that FROM 'data/x.parquet' means the file beside config.yaml
            connection.execute("SET file_search_path = ?", [str(folder.absolute())]).fetchall()
            relation = connection.sql(_wrapped(query, above[0], "?"), params=[above[1]]) if above else connection.sql(query)
            _names([(name,) for name in (relation.columns if relation is not None else ())])
            # renamed in duckdb 1.4
            reader = (getattr(relation, "to_arrow_reader", None) or relation.fetch_arrow_reader)(CHUNK)
            yield pl.DataFrame(pl.from_arrow(reader.schema.empty_table()))
            for batch in reader:
                yield pl.DataFrame(pl.from_arrow(batch))
    except duckdb.Error as exc:
        raise _bad_query(exc) from exc


def _postgres(url: str, query: str, folder: Path, above: Above | None) -> Iterator[pl.DataFrame]:
    import polars as pl

    psycopg = _driver("psycopg", "postgres")
    connection = _connected(psycopg, url)
    try:
        with connection:
            connection.read_only = True
            connection.adapters.register_loader("numeric", psycopg.types.numeric.FloatLoader)
            # a server-side cursor: the client never holds the whole answer as Python objects
            with connection.cursor(name="modelyard") as cursor:
                if above:
                    cursor.execute(_wrapped(query.replace("%", "%%"), above[0].replace("%", "%%"), "%s"), [above[1]])
                else:
                    cursor.execute(query)
                _names(cursor.description)
                schema = {column.name: _postgres_type(connection, column.type_code) for column in cursor.description}
                texts = [i for i, kind in enumerate(schema.values()) if kind == pl.String]
                yield pl.DataFrame(schema=schema)
                for rows in _chunks(cursor):
                    yield pl.DataFrame(_as_text(rows, texts), schema, orient="row")
    except psycopg.Error as exc:
        raise _bad_query(exc) from exc


def _connected(psycopg: Any, url: str) -> Any:
    try:
        return psycopg.connect("postgresql" + url[url.index("://") :], connect_timeout=10)
    except psycopg.ProgrammingError as exc:
        raise BadInput("the location is no postgresql URL", where=WHERE, next="write postgresql://user@host/database") from exc
    except psycopg.OperationalError as exc:
        # libpq's text names host, port and user, and never the password; only the reason at its end is shown
        reason = str(exc).strip().splitlines()[-1].rpartition(": ")[2][:200]
        hint = "is it running, and may you log in?"
        raise Unavailable(f"the database does not answer: {reason}", where=WHERE, next=hint) from exc


def _postgres_type(connection: Any, oid: int) -> pl.DataType:
    import polars as pl

    info = connection.adapters.types.get(oid)
    name = info.name if info is not None and info.oid == oid else ""  # an array's oid finds its element's type
    if name in ("timestamp", "timestamptz"):
        return pl.Datetime("us", "UTC" if name == "timestamptz" else None)
    kind: pl.DataType = getattr(pl, _POSTGRES_TYPES.get(name, "String"))()
    return kind


def _as_text(rows: list[tuple[Any, ...]], columns: list[int]) -> list[tuple[Any, ...]]:
    """uuid, json, inet and their like arrive as Python objects: written as text."""
    strange = [i for i in columns if any(row[i] is not None and not isinstance(row[i], str) for row in rows)]
    if not strange:
        return rows
    return [tuple(str(v) if i in strange and v is not None else v for i, v in enumerate(row)) for row in rows]
