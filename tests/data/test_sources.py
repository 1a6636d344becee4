from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import deltalake
import duckdb
import polars as pl
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from modelyard.config.spec import Data, Secret, Source
from modelyard.data.canonical import canonical, digest
from modelyard.data.incremental import Highest
from modelyard.data.parts import of
from modelyard.data.prepare import Prepared
from modelyard.data.sources import Request, reading, table
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


def get(
    folder: Path, using: str, location: str | Secret, query: str | None = None, secret: Any = no_secret, **request: Any
) -> pl.DataFrame:
    incremental = request.pop("incremental", None)
    source = Source(using=using, location=location, query=query, incremental=incremental)  # type: ignore[arg-type]
    with TemporaryDirectory() as spool, reading(source, Request(folder, Path(spool), secret, **request)) as table:
        return table.frame()


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


@pytest.mark.parametrize("using", ["csv", "jsonl"])
@pytest.mark.parametrize("size", [1 << 26, 12])
def test_what_is_text_by_the_config_stays_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, using: str, size: int) -> None:
    """Postal codes, releases, ids of many digits: as numbers they would be others."""
    words = {"zip": ["01234", "00501", None], "v": ["1.10", "1.2", "1.1"], "on": ["2024-01-02", "2024-01-03", None]}
    words |= {"b": ["True", "t", "1"], "id": ["12345678901234567890123456789012345678901", "1", "2"]}
    frame = pl.DataFrame({**words, "n": [1, 2, 3]})
    frame.write_csv(tmp_path / "a.csv", null_value="NA")
    frame.write_ndjson(tmp_path / "a.jsonl")
    monkeypatch.setattr("modelyard.data.texts.BLOCK", size)
    monkeypatch.setattr("modelyard.data.texts.MOST_DEEP", 1000)
    assert_frame_equal(get(tmp_path, using, f"a.{using}", texts=(*words, "not there")), frame)


@pytest.mark.parametrize("using", ["parquet", "delta"])
def test_the_index_that_pandas_writes_is_no_column(tmp_path: Path, using: str) -> None:
    """Of a table that was filtered, say; a model would learn from the order of the rows, and callers would have to send it."""
    indexed = FRAME.with_columns(pl.Series("__index_level_0__", range(FRAME.height)))
    if using == "delta":
        deltalake.write_deltalake(tmp_path / "a.delta", indexed.to_arrow())
    else:
        indexed.write_parquet(tmp_path / "a.parquet")
    assert get(tmp_path, using, f"a.{using}").columns == FRAME.columns


def test_one_content_from_every_source(tmp_path: Path) -> None:
    FRAME.write_csv(tmp_path / "a.csv")
    FRAME.write_parquet(tmp_path / "a.parquet")
    FRAME.write_ndjson(tmp_path / "a.jsonl")
    deltalake.write_deltalake(tmp_path / "a.delta", FRAME[:1].to_arrow())
    deltalake.write_deltalake(tmp_path / "a.delta", FRAME.to_arrow(), mode="overwrite")
    with duckdb.connect(str(tmp_path / "a.duckdb")) as connection:
        connection.register("frame", FRAME.to_arrow())
        connection.execute("CREATE TABLE t AS SELECT * FROM frame")
    found = [
        get(tmp_path, "csv", "a.csv"),
        get(tmp_path, "parquet", "a.parquet"),
        get(tmp_path, "jsonl", "a.jsonl"),
        get(tmp_path, "delta", "a.delta"),
        get(tmp_path, "csv", (tmp_path / "a.csv").as_uri()),
        get(tmp_path, "sql", "duckdb:///a.duckdb", "SELECT * FROM t ORDER BY id"),
        get(tmp_path, "sql", "duckdb:///:memory:", "SELECT * FROM 'a.parquet' ORDER BY id"),
    ]
    assert {digest(of(canonical(f, "UTC"))) for f in found} == {digest(of(canonical(FRAME, "UTC")))}


def test_patterns_and_folders_are_read_in_name_order(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    for i in (2, 0, 1):
        pl.DataFrame({"i": [i], "s": [None if i else "x"]}).write_parquet(tmp_path / "d" / f"{i}.parquet")
    assert get(tmp_path, "parquet", "d/*.parquet")["i"].to_list() == [0, 1, 2]
    assert get(tmp_path, "parquet", "d")["i"].to_list() == [0, 1, 2]


def test_what_a_folder_does_not_show_yet_is_not_read(tmp_path: Path) -> None:
    """A job of Spark's that is still writing, or was killed, has its rows below `_temporary`; a Mac's copy leaves `._` files."""
    pl.DataFrame({"a": [1]}).write_parquet(tmp_path / "part-0.parquet")
    for hidden in ("_temporary/0/part-0.parquet", ".tmp/part-1.parquet", "_part-2.parquet"):
        (tmp_path / hidden).parent.mkdir(parents=True, exist_ok=True)
        pl.DataFrame({"a": [9]}).write_parquet(tmp_path / hidden)
    (tmp_path / "._part-0.parquet").write_bytes(b"x")
    hidden_root = tmp_path / "_mine"
    hidden_root.mkdir()
    pl.DataFrame({"a": [5]}).write_parquet(hidden_root / "a.parquet")
    assert get(tmp_path.parent, "parquet", tmp_path.name)["a"].to_list() == [1]
    assert get(tmp_path, "parquet", f"file://{tmp_path}")["a"].to_list() == [1]
    assert get(tmp_path, "parquet", "_mine")["a"].to_list() == [5], "named, it is read"


def test_times_with_a_zone_and_without_do_not_fit_together(tmp_path: Path) -> None:
    at = pl.Series("t", [datetime(2024, 1, 1)])
    at.to_frame().write_parquet(tmp_path / "1.parquet")
    at.dt.replace_time_zone("Asia/Tokyo").to_frame().write_parquet(tmp_path / "2.parquet")
    with pytest.raises(BadInput, match=r"column `t` is Datetime\(.*\) in 1.parquet and Datetime\(.*Asia/Tokyo.*\) in 2.parquet"):
        get(tmp_path, "parquet", "*.parquet")


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
        ({"a.csv": "x,y\n1,\xe9\n"}, "csv", "a.csv", None, BadInput, "a.csv is no UTF-8 text: the byte 0xe9 in line 2"),
        ({"a.jsonl": '{"x": 1}\nno json\n'}, "jsonl", "a.jsonl", None, BadInput, "a.jsonl cannot be read as jsonl"),
        ({"a.jsonl": '{"x": {"y": 1}}\n{"x": 2}\n'}, "jsonl", "a.jsonl", None, BadInput, "column `x` holds nested values"),
        ({"a.jsonl": ""}, "jsonl", "a.jsonl", None, BadInput, "a.jsonl is empty"),
        ({"a.jsonl": '{"x": 1}\n{"x": NaN}\n'}, "jsonl", "a.jsonl", None, BadInput, "a.jsonl holds NaN, for which JSON has no word"),
        ({}, "delta", "a.delta", None, NotFound, "no Delta table at a.delta"),
        ({"d/x.parquet": ""}, "delta", "d", None, NotFound, "no Delta table at d"),
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
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="latin1")
    with pytest.raises(kind) as caught:
        get(tmp_path, using, location, query)
    assert said in str(caught.value)
    assert caught.value.where


def test_nested_values_are_nothing_to_what_leaves_them_out(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"x": 1, "n": {"y": 1}}\n{"x": 2, "n": [3]}\n')
    assert get(tmp_path, "jsonl", "a.jsonl", unused=("n",)).select("x").to_dict(as_series=False) == {"x": [1, 2]}


TEXTS = st.lists(st.sampled_from(["", "a", "1", "2.5", "2024-01-02", "x,y", 'q"q', "line\nline", "NA"]), min_size=1, max_size=30)


@given(TEXTS, TEXTS, st.sampled_from(["csv", "jsonl"]), st.integers(1, 60), st.sampled_from(["", "\n", "\r\n\n", "\ufeff", "\ufeff\n"]))
def test_blocks_of_any_size_give_the_same_table(
    tmp_path_factory: Any, a: list[str], b: list[str], using: str, size: int, before: str
) -> None:
    folder = tmp_path_factory.mktemp("blocks")
    frame = pl.DataFrame({"n": range(min(len(a), len(b))), "a": a[: len(b)], "b": b[: len(a)]})
    frame.write_csv(folder / "t.csv")
    frame.write_ndjson(folder / "t.jsonl")
    whole = get(folder, using, f"t.{using}")
    if using == "csv":
        (folder / "t.csv").write_bytes(before.encode() + (folder / "t.csv").read_bytes())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("modelyard.data.texts.BLOCK", size)
        patch.setattr("modelyard.data.texts.MOST_DEEP", 1000)
        patch.setattr("modelyard.data.parts.IN_MEMORY", 50)
        assert_frame_equal(get(folder, using, f"t.{using}"), whole)


def test_files_whose_columns_differ(tmp_path: Path) -> None:
    pl.DataFrame({"a": [1], "b": ["x"]}).write_parquet(tmp_path / "1.parquet")
    pl.DataFrame({"b": ["y"], "a": [2.5]}).write_parquet(tmp_path / "2.parquet")
    assert get(tmp_path, "parquet", "*.parquet").to_dict(as_series=False) == {"a": [1.0, 2.5], "b": ["x", "y"]}
    pl.DataFrame({"a": ["3"], "b": ["z"]}).write_parquet(tmp_path / "3.parquet")
    with pytest.raises(BadInput, match=r"column `a` is int in 1.parquet and str in 3.parquet") as caught:
        get(tmp_path, "parquet", "*.parquet")
    assert "data.schema.types: {a:" in caught.value.next
    assert get(tmp_path, "parquet", "*.parquet", typed=("a",))["a"].to_list() == ["1", "2.5", "3"]
    pl.DataFrame({"a": [4]}).write_parquet(tmp_path / "4.parquet")
    with pytest.raises(BadInput, match=r"4.parquet has no `b`, as 1.parquet has"):
        get(tmp_path, "parquet", "*.parquet", typed=("a",))


@pytest.mark.parametrize("size", [1 << 26, 12])
def test_quotes_in_a_name_are_those_of_the_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Polars keeps them doubled; callers, whose csv others read, would send another column."""
    monkeypatch.setattr("modelyard.data.texts.BLOCK", size)
    monkeypatch.setattr("modelyard.data.texts.MOST_DEEP", 1000)
    (tmp_path / "a.csv").write_text('k,"q ""x"".y"\n1,01\n2,02\n3,03\n')
    assert get(tmp_path, "csv", "a.csv").to_dict(as_series=False) == {"k": [1, 2, 3], 'q "x".y': [1, 2, 3]}
    assert get(tmp_path, "csv", "a.csv", texts=('q "x".y',))['q "x".y'].to_list() == ["01", "02", "03"]
    (tmp_path / "a.csv").write_text('"a""b","a""b"\n1,2\n')
    with pytest.raises(BadInput, match='two columns named `a"b`'):
        get(tmp_path, "csv", "a.csv")


@pytest.mark.parametrize("using", ["csv", "parquet"])
def test_a_column_without_a_name_is_told_by_its_place(tmp_path: Path, using: str) -> None:
    frame = pl.DataFrame({"a": [1], "": [2], "y": [3]})
    frame.write_csv(tmp_path / "t.csv")
    pq.write_table(pa.table([[1], [2], [3]], names=["a", "", "y"]), tmp_path / "t.parquet")
    data = {"source": {"using": using, "location": f"t.{using}"}, "target_col": "y"}
    with pytest.raises(BadInput, match="column 2 of 3 has no name"), TemporaryDirectory() as spool:
        table(tmp_path / f"t.{using}", Path(spool))
    source = Source(using=using, location=f"t.{using}")  # type: ignore[arg-type]
    with TemporaryDirectory() as spool, reading(source, Request(tmp_path, Path(spool), no_secret)) as found:
        with pytest.raises(BadInput, match="column 2 of 3 has no name") as caught:
            Prepared(found, Data.model_validate(data), "UTC")
        assert caught.value.where == "data.source" and "index=False" in caught.value.next


def test_a_name_that_comes_twice_in_parquet(tmp_path: Path) -> None:
    pq.write_table(pa.table([[1], [2]], names=["x", "x"]), tmp_path / "a.parquet")
    with pytest.raises(BadInput, match="two columns named `x`"):
        get(tmp_path, "parquet", "a.parquet")


def test_a_file_that_changes_under_the_reader_is_refused(tmp_path: Path) -> None:
    FRAME.write_parquet(tmp_path / "a.parquet")
    source = Source(using="parquet", location="a.parquet")
    with (
        pytest.raises(BadInput, match=r"a.parquet was changed while it was read"),
        reading(source, Request(tmp_path, tmp_path / "spool", no_secret)),
    ):
        FRAME[:2].write_parquet(tmp_path / "a.parquet")


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """A bucket of an S3 on loopback."""
    from moto.server import ThreadedMotoServer

    with pytest.MonkeyPatch.context() as patch:
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "id")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_ALLOW_HTTP", "true")
        import s3fs

        s3fs.S3FileSystem().mkdir("bucket")
        yield "s3://bucket"
        server.stop()


def test_s3(s3: str, tmp_path: Path) -> None:
    import s3fs

    for i, using in enumerate(("parquet", "csv", "jsonl")):
        write = {"parquet": FRAME.write_parquet, "csv": FRAME.write_csv, "jsonl": FRAME.write_ndjson}[using]
        write(tmp_path / "t")  # type: ignore[operator]  # each takes a path
        s3fs.S3FileSystem().put(str(tmp_path / "t"), f"bucket/{using}/{i}.{using}")
    want = digest(of(canonical(FRAME, "UTC")))
    for location, using in (("parquet/0.parquet", "parquet"), ("csv", "csv"), ("js*/*.jsonl", "jsonl")):
        assert digest(of(canonical(get(tmp_path, using, f"{s3}/{location}"), "UTC"))) == want
    with pytest.raises(NotFound, match=r"no file at s3://bucket/none.csv"):
        get(tmp_path, "csv", f"{s3}/none.csv")
    with pytest.raises(BadInput, match="the secret location cannot be read") as caught:
        get(tmp_path, "csv", Secret(secret="s3"), secret=lambda name: "s3://no-bucket-of-ours!/hunter2.csv")
    assert "hunter2" not in f"{caught.value} {caught.value.to_dict()}"


def test_delta_on_s3(s3: str, tmp_path: Path) -> None:
    deltalake.write_deltalake(f"{s3}/table", FRAME.to_arrow(), storage_options={"AWS_S3_ALLOW_UNSAFE_RENAME": "true"})
    assert digest(of(canonical(get(tmp_path, "delta", f"{s3}/table"), "UTC"))) == digest(of(canonical(FRAME, "UTC")))


@pytest.mark.parametrize(("using", "kind", "end"), [("sqlite", int, ";\n"), ("duckdb", datetime, "-- all % of them"), ("duckdb", int, "")])
def test_a_query_is_asked_for_newer_rows_only(tmp_path: Path, using: str, kind: type, end: str) -> None:
    column = "n" if kind is int else "t"
    if using == "sqlite":
        with sqlite3.connect(tmp_path / "a.db") as connection:
            connection.execute("CREATE TABLE t (n INTEGER, s TEXT)")
            connection.executemany("INSERT INTO t VALUES (?, ?)", [(i, f"s{i}") for i in range(10)])
        connection.close()
    else:
        with duckdb.connect(str(tmp_path / "a.db")) as connection:
            connection.execute("CREATE TABLE t AS SELECT i AS n, TIMESTAMP '2024-01-01' + INTERVAL (i) HOUR AS t FROM range(10) r(i)")
    query = f"SELECT * FROM t WHERE n >= 0 ORDER BY n {end}"
    above = Highest(6 if kind is int else datetime(2024, 1, 1, 6))
    found = get(tmp_path, "sql", f"{using}:///a.db", query, incremental=column, above=above)
    assert found["n"].to_list() == [7, 8, 9]
    last = Highest(9 if kind is int else datetime(2024, 1, 1, 9))
    assert get(tmp_path, "sql", f"{using}:///a.db", query, incremental=column, above=last).is_empty()


@needs_postgres
def test_postgres_is_asked_for_newer_rows_only(postgres_url: str, tmp_path: Path) -> None:
    query = "SELECT i AS n, timestamptz '2024-01-01 00:00+00' + i * '1h'::interval \"t%\" FROM generate_series(0, 9) i WHERE 'a' LIKE 'a%'"
    above = Highest(datetime(2024, 1, 1, 6, tzinfo=UTC))
    found = get(tmp_path, "sql", postgres_url, query, incremental="t%", above=above)
    assert found["n"].to_list() == [7, 8, 9]


def test_row_groups_that_hold_nothing_new_are_not_read(tmp_path: Path) -> None:
    pl.DataFrame({"n": range(100)}).write_parquet(tmp_path / "a.parquet", row_group_size=10)
    assert get(tmp_path, "parquet", "a.parquet", incremental="n", above=Highest(74))["n"].to_list() == list(range(70, 100))
