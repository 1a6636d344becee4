from __future__ import annotations

import sqlite3
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import psycopg
import pytest
from polars.testing import assert_frame_equal

from modelyard.config.spec import Secret, Source
from modelyard.data.canonical import canonical, digest
from modelyard.data.sources import read
from modelyard.errors import BadInput, NotFound, Unavailable, YardError
from tests.needs import needs_postgres

FRAME = pl.DataFrame(
    {
        "id": [1, 2, 3, 4],
        "name": ["ann", None, "çé", "d,\"e\"\nf"],
        "amount": [1.5, -0.25, None, 1e300],
        "flag": [True, False, None, True],
        "seen": [datetime(2024, 1, 1, 12, 30, 0, 5), None, datetime(2024, 6, 1), datetime(1999, 12, 31, 23, 59, 59)],
        "day": [date(2024, 1, 1), date(2024, 2, 29), None, date(1970, 1, 1)],
    }
)  # fmt: skip


def no_secret(name: str) -> str:
    raise AssertionError(f"nobody asked for a secret, yet {name} was read")


def get(folder: Path, using: str, location: str | Secret, query: str | None = None, secret: Any = no_secret) -> pl.DataFrame:
    return read(Source(using=using, location=location, query=query), folder=folder, secret=secret)  # type: ignore[arg-type]


def test_csv_infers_types_and_reads_missing_cells(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("n,x,s,t,b\n1,1.5,a,2024-01-02,true\nNA,NaN,,2024-01-03,false\n3,2,NULL,,true\n")
    frame = get(tmp_path, "csv", "a.csv")
    assert frame.schema == {"n": pl.Int64, "x": pl.Float64, "s": pl.String, "t": pl.Date, "b": pl.Boolean}
    assert frame["n"].to_list() == [1, None, 3]
    assert frame["x"].to_list() == [1.5, None, 2.0]
    assert frame["s"].to_list() == ["a", None, None]


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (["2024-01-02", "1999-12-31"], pl.Date()),
        (["2024-01-02 03:04:05", "2024-01-02 03:04:05"], pl.Datetime("us")),
        (["2024-01-02T03:04", "2024-01-02T03:05"], pl.Datetime("us")),
        (["2024-01-02T03:04:05.123456", "2024-01-02T03:04:05.000001"], pl.Datetime("us")),
        (["2024-01-02T03:04:05Z", "2024-06-02T03:04:05Z"], pl.Datetime("us", "UTC")),
        (["2024-01-02T03:04:05+02:00", "2024-06-02T03:04:05-05:00"], pl.Datetime("us", "UTC")),
        (["2024-01-02T03:04:05Z", "2024-01-02T03:04:05"], pl.String()),  # which zone is the second in?
        (["2024-01-02", "2024-02-30"], pl.String()),
        (["2024-01-02", "soon"], pl.String()),
        (["2024", "2025"], pl.Int64()),
    ],
)
def test_csv_dates_and_times(tmp_path: Path, values: list[str], dtype: pl.DataType) -> None:
    (tmp_path / "a.csv").write_text("\n".join(["t", values[0], "NA", values[1], ""]))
    column = get(tmp_path, "csv", "a.csv")["t"]
    assert column.dtype == dtype
    assert column.is_null().to_list() == [False, True, False]
    if isinstance(dtype, pl.Datetime | pl.Date):
        moment = datetime.fromisoformat(values[1])
        assert column[2] == (moment if isinstance(dtype, pl.Datetime) else moment.date())


def test_csv_types_come_from_all_rows(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x\n" + "1\n" * 20_000 + "2.5\n")
    assert get(tmp_path, "csv", "a.csv")["x"].dtype == pl.Float64


def test_one_content_from_every_source(tmp_path: Path) -> None:
    FRAME.write_csv(tmp_path / "a.csv")
    FRAME.write_parquet(tmp_path / "a.parquet")
    with duckdb.connect(str(tmp_path / "a.duckdb")) as connection:
        connection.register("frame", FRAME.to_arrow())
        connection.execute("CREATE TABLE t AS SELECT * FROM frame")
    found = [
        get(tmp_path, "csv", "a.csv"),
        get(tmp_path, "parquet", "a.parquet"),
        get(tmp_path, "csv", (tmp_path / "a.csv").as_uri()),
        get(tmp_path, "sql", "duckdb:///a.duckdb", "SELECT * FROM t ORDER BY id"),
        get(tmp_path, "sql", "duckdb:///:memory:", "SELECT * FROM 'a.parquet' ORDER BY id"),
    ]
    assert {digest(canonical(f, "UTC")) for f in found} == {digest(canonical(FRAME, "UTC"))}


def test_patterns_and_folders_are_read_in_name_order(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    for i in (2, 0, 1):
        pl.DataFrame({"i": [i], "s": [None if i else "x"]}).write_parquet(tmp_path / "d" / f"{i}.parquet")
    assert get(tmp_path, "parquet", "d/*.parquet")["i"].to_list() == [0, 1, 2]
    assert get(tmp_path, "parquet", "d")["i"].to_list() == [0, 1, 2]


def test_files_that_do_not_fit_together(tmp_path: Path) -> None:
    pl.DataFrame({"a": [1]}).write_csv(tmp_path / "1.csv")
    pl.DataFrame({"b": [1]}).write_csv(tmp_path / "2.csv")
    with pytest.raises(BadInput, match="do not hold the same columns"):
        get(tmp_path, "csv", "*.csv")


def test_sqlite_reads_in_chunks_and_only_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelyard.data.databases.CHUNK", 7)
    rows = [(i, None if i < 20 else i / 2, f"s{i}") for i in range(50)]
    with sqlite3.connect(tmp_path / "a b.sqlite") as connection:
        connection.execute("CREATE TABLE t (i INTEGER, x REAL, s TEXT)")
        connection.executemany("INSERT INTO t VALUES (?, ?, ?)", rows)
    connection.close()
    frame = get(tmp_path, "sql", "sqlite:///a%20b.sqlite", "SELECT * FROM t ORDER BY i")
    # the first chunks of x hold nothing but NULL, later ones numbers
    assert_frame_equal(frame, pl.DataFrame(rows, ["i", "x", "s"], orient="row", infer_schema_length=None))
    assert get(tmp_path, "sql", f"sqlite:///{tmp_path}/a%20b.sqlite", "SELECT count(*) AS n FROM t")["n"].to_list() == [50]
    with pytest.raises(BadInput, match="readonly database"):
        get(tmp_path, "sql", "sqlite:///a%20b.sqlite", "INSERT INTO t VALUES (1, 1, '') RETURNING i")
    mixed = get(tmp_path, "sql", "sqlite:///a%20b.sqlite", "SELECT CASE WHEN i < 9 THEN i ELSE s END AS v FROM t ORDER BY i")
    assert mixed["v"].to_list() == [*map(str, range(9)), *(f"s{i}" for i in range(9, 50))]


def test_duckdb_only_reads(tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / "a.duckdb")) as connection:
        connection.execute("CREATE TABLE t AS SELECT 1 AS i")
    with pytest.raises(BadInput, match="read-only"):
        get(tmp_path, "sql", "duckdb:///a.duckdb", "INSERT INTO t VALUES (2) RETURNING i")


@needs_postgres
def test_postgres_types_chunks_and_read_only(postgres_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("modelyard.data.databases.CHUNK", 100)
    with psycopg.connect(postgres_url) as connection:
        connection.execute("CREATE SEQUENCE counter")
        connection.execute(
            "CREATE TABLE t AS SELECT i, i::smallint AS small, i / 4.0 AS exact, i / 4.0::float8 AS x, i % 2 = 0 AS even,"
            " 'n' || i AS name, md5(i::text)::uuid AS u, ('{\"a\": ' || i || '}')::jsonb AS j, date '2024-01-01' + i AS day,"
            " timestamp '2024-01-01' + i * interval '1h' AS naive, timestamptz '2024-01-01 00:00+02' AS aware, ARRAY[i] AS arr,"
            " CASE WHEN i > 150 THEN i END AS late FROM generate_series(1, 250) AS i"
        )
    frame = get(tmp_path, "sql", postgres_url, "SELECT * FROM t ORDER BY i")
    assert frame.height == 250
    assert frame.schema == {
        "i": pl.Int64, "small": pl.Int64, "exact": pl.Float64, "x": pl.Float64, "even": pl.Boolean, "name": pl.String,
        "u": pl.String, "j": pl.String, "day": pl.Date, "naive": pl.Datetime("us"), "aware": pl.Datetime("us", "UTC"),
        "arr": pl.String, "late": pl.Int64,
    }  # fmt: skip
    assert frame["exact"].to_list() == frame["x"].to_list() == [i / 4 for i in range(1, 251)]
    assert frame["late"].null_count() == 150
    assert frame["aware"][0] == datetime(2023, 12, 31, 22, tzinfo=UTC)
    assert frame["naive"][23] == datetime(2024, 1, 2)
    with pytest.raises(BadInput, match="read-only"):
        get(tmp_path, "sql", postgres_url, "SELECT nextval('counter')")
    with pytest.raises(BadInput, match="the query failed"):
        get(tmp_path, "sql", postgres_url, "DELETE FROM t RETURNING i")
    assert get(tmp_path, "sql", postgres_url, "SELECT count(*) AS n FROM t")["n"].to_list() == [250]
    with pytest.raises(BadInput, match='column "nothing" does not exist'):
        get(tmp_path, "sql", postgres_url, "SELECT nothing FROM t")


@needs_postgres
def test_postgres_without_rows_has_no_rows(postgres_url: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="the source has no rows"):
        get(tmp_path, "sql", postgres_url, "SELECT 1 AS i WHERE false")


def test_a_server_that_does_not_answer_and_a_secret_that_stays_one(tmp_path: Path) -> None:
    asked: list[str] = []

    def secret(name: str) -> str:
        asked.append(name)
        return f"postgresql://bob:hunter2@/db?host={tmp_path}"

    with pytest.raises(Unavailable, match="does not answer") as caught:
        get(tmp_path, "sql", Secret(secret="warehouse"), "SELECT 1", secret)
    assert asked == ["warehouse"]
    assert "hunter2" not in f"{caught.value} {caught.value.to_dict()}"


def test_a_secret_that_is_no_database_url(tmp_path: Path) -> None:
    for value in ("mysql://x/y", "a.sqlite", ""):
        with pytest.raises(BadInput, match="no database URL"):
            get(tmp_path, "sql", Secret(secret="warehouse"), "SELECT 1", lambda name, value=value: value)


@pytest.mark.parametrize(
    ("files", "using", "location", "query", "kind", "said"),
    [
        ({}, "csv", "nothing.csv", None, NotFound, "no file at nothing.csv"),
        ({"flights.csv": "a\n1\n"}, "csv", "flight.csv", None, NotFound, "did you mean `flights.csv`"),
        ({}, "csv", "no/where.csv", None, NotFound, "there is no folder"),
        ({}, "csv", "*.csv", None, NotFound, "no file at"),
        ({"a.csv": ""}, "csv", "a.csv", None, BadInput, "a.csv is empty"),
        ({"a.csv": "x,y\n"}, "csv", "a.csv", None, BadInput, "the source has no rows"),
        ({"a.csv": "x,x\n1,2\n"}, "csv", "a.csv", None, BadInput, "two columns named `x`"),
        ({"a.csv": "x,y\n1,2\n1,2,3\n"}, "csv", "a.csv", None, BadInput, "cannot be read as csv"),
        ({"a.parquet": "no parquet"}, "parquet", "a.parquet", None, BadInput, "cannot be read as parquet"),
        ({}, "csv", "gopher://x/a.csv", None, BadInput, "no kind of address"),
        ({}, "parquet", "file:///nothing/here.parquet", None, NotFound, "no file at"),
        ({}, "sql", "sqlite:///a.sqlite", "SELECT 1", NotFound, "no database file a.sqlite"),
        ({}, "sql", "duckdb:///a.duckdb", "SELECT 1", NotFound, "no database file a.duckdb"),
        ({"a.sqlite": ""}, "sql", "sqlite:///a.sqlite", "SELEC 1", BadInput, "the query failed: near"),
        ({"a.sqlite": ""}, "sql", "sqlite:///a.sqlite", "SELECT 1 AS a, 2 AS a", BadInput, "two columns named `a`"),
        (
            {"a.sqlite": "not a database, that is for sure"},
            "sql",
            "sqlite:///a.sqlite",
            "SELECT 1 FROM t",
            BadInput,
            "query failed",
        ),
        ({}, "sql", "duckdb:///:memory:", "SELECT nothing", BadInput, "the query failed"),
        ({}, "sql", "duckdb:///:memory:", "SELECT 1 AS i WHERE false", BadInput, "no rows"),
    ],
)
def test_bad_sources(
    tmp_path: Path, files: dict[str, str], using: str, location: str, query: str | None, kind: type[YardError], said: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(kind) as caught:
        get(tmp_path, using, location, query)
    assert said in str(caught.value)
    assert caught.value.where
