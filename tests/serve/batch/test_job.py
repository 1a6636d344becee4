from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet
import pytest

from modelyard.errors import BadInput, NotFound
from modelyard.serve.batch import ledger, reading
from modelyard.serve.batch import order as orders
from modelyard.serve.batch.answers import Answered
from modelyard.serve.batch.job import HIDDEN, Job
from modelyard.serve.batch.writing import Output

from .made import job, order, rows, written


def write(path: Path, given: Sequence[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    frame = pl.DataFrame(list(given), schema={"id": pl.String, "a": pl.Float64, "n": pl.Int64, "s": pl.String})
    {".csv": frame.write_csv, ".parquet": frame.write_parquet, ".jsonl": frame.write_ndjson}[path.suffix](path)
    return path


def table(path: Path, kind: str | None = None) -> pl.DataFrame:
    kind = kind or path.suffix
    return {".csv": pl.read_csv, ".parquet": lambda p: pl.read_parquet(p, glob=False), ".jsonl": pl.read_ndjson}[kind](path)


@pytest.mark.parametrize("source", [".csv", ".parquet", ".jsonl"])
@pytest.mark.parametrize("target", [".csv", ".parquet", ".jsonl"])
def test_any_format_into_any_other(tmp_path: Path, source: str, target: str) -> None:
    given = rows(300)
    done, said = job(tmp_path, write(tmp_path / f"in{source}", given), tmp_path / f"out{target}")
    assert done == {"files": 1, "kept": 0, "rows": 300, "refused": 0, "skipped": []} and said[0]["rows"] == 300
    found = table(tmp_path / f"out{target}")
    assert found.columns == ["id", "prediction"]
    assert found["id"].to_list() == [row["id"] for row in given] and found["prediction"].to_list() == written(given)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")], "nothing is left beside it"


@pytest.mark.parametrize("workers", [1, 3])
def test_pieces_come_together_in_their_order(tmp_path: Path, workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orders, "PIECE_ROWS", 100)
    monkeypatch.setattr(orders, "PIECE_BYTES", 4000)
    given = rows(2500)
    for kind in (".csv", ".parquet", ".jsonl"):
        job(tmp_path, write(tmp_path / f"in{kind}", given), tmp_path / f"out{kind}", workers=workers)
        found = table(tmp_path / f"out{kind}")
        assert found["id"].to_list() == [row["id"] for row in given] and found["prediction"].to_list() == written(given)


def test_a_folder_goes_one_for_one_into_another(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    files = {"a.csv": 10, "deep/b.parquet": 20, "deep/er/c.jsonl": 30}
    for name, count in files.items():
        write(folder / name, rows(count))
    (folder / "notes.txt").write_text("not rows")
    (folder / "_SUCCESS").touch()
    done, said = job(tmp_path, folder, out, suffix=".out")
    assert done == {"files": 3, "kept": 0, "rows": 60, "refused": 0, "skipped": ["notes.txt"]}
    for name, count in files.items():
        assert table(out / f"{name}.out", Path(name).suffix)["prediction"].to_list() == written(rows(count))
    assert {s["output"] for s in said} == {str(out / f"{name}.out") for name in files}
    done, _ = job(tmp_path, folder, out / "all", format="parquet")
    assert sorted(str(p.relative_to(out / "all")) for p in (out / "all").rglob("*.parquet")) == [
        "a.parquet", "deep/b.parquet", "deep/er/c.parquet",
    ]  # fmt: skip


def test_what_is_done_is_kept_and_what_changed_is_done_again(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    for name in ("a", "b", "c"):
        write(folder / f"{name}.csv", rows(10))
    job(tmp_path, folder, out)
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("*.csv")}
    (folder / "a.csv").touch()  # the same content
    write(folder / "b.csv", rows(20))
    (out / "c.csv").unlink()
    done, said = job(tmp_path, folder, out)
    assert (done["files"], done["kept"], done["rows"]) == (3, 1, 40)
    assert {Path(s["output"]).name: s["kept"] for s in said} == {"a.csv": True, "b.csv": False, "c.csv": False}
    assert (out / "a.csv").stat().st_mtime_ns == before["a.csv"]
    for more in ({"version": "v2"}, {"join": True}):
        assert job(tmp_path, folder, out, **more)[0]["kept"] == 0, "another version, another shape"
    assert (out / HIDDEN / "done.jsonl").exists()


def test_joined_rows_have_the_inputs_columns_first(tmp_path: Path) -> None:
    given = rows(20)
    (tmp_path / "in.csv").write_text("id,a,n,s,note\n" + "".join(f'{r["id"]},1.50,{r["n"]},{r["s"]},"a, b"\n' for r in given))
    job(tmp_path, tmp_path / "in.csv", tmp_path / "out.csv", join=True)
    with (tmp_path / "out.csv").open() as file:
        lines = list(csv.reader(file))
    assert lines[0] == ["id", "a", "n", "s", "note", "prediction"]
    assert lines[1][:5] == ["r0", "1.50", "0", "x", "a, b"] and float(lines[1][5]) == 13.5, "cells are as they came"
    job(tmp_path, write(tmp_path / "in.jsonl", given), tmp_path / "out.jsonl", join=True)
    first = json.loads((tmp_path / "out.jsonl").read_text().splitlines()[0])
    assert first == {"id": "r0", "a": 0.0, "n": 0, "s": "x", "SageMakerOutput": {"prediction": 10.5}}
    with pytest.raises(BadInput, match="joined with their answers in JSON lines only"):
        job(tmp_path, tmp_path / "in.jsonl", tmp_path / "out.csv", join=True)
    write(tmp_path / "in.parquet", given)
    pl.read_parquet(tmp_path / "in.parquet", glob=False).with_columns(prediction=1).write_parquet(tmp_path / "in.parquet")
    with pytest.raises(BadInput, match="the input has a column `prediction`"):
        job(tmp_path, tmp_path / "in.parquet", tmp_path / "out.parquet", join=True)


def test_filters_as_sagemakers_batch_transform_has_them(tmp_path: Path) -> None:
    """Rows without a header, an id in front; the answer with the id."""
    given = rows(20)
    (tmp_path / "in.csv").write_text("".join(f"{r['id']},{r['a'] or ''},{r['n']},{r['s']}\n" for r in given))
    job(tmp_path, tmp_path / "in.csv", tmp_path / "out.csv", input_filter="$[1:]", join=True, output_filter="$[0,-1]")
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == [r["id"] for r in given], "no header, as there was none"
    assert [float(line.split(",")[1]) for line in lines] == written(given)
    records = [{"key": r["id"], "features": [r["a"], r["n"], r["s"]]} for r in given]
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, records)))
    shape = {"input_filter": "$.features", "join": True, "output_filter": "$['key','SageMakerOutput']"}
    job(tmp_path, tmp_path / "in.jsonl", tmp_path / "out.jsonl", **shape)
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert found == [{"key": r["id"], "SageMakerOutput": {"prediction": y}} for r, y in zip(given, written(given), strict=True)]


def test_rows_that_do_not_fit_are_listed_and_the_rest_is_answered(tmp_path: Path) -> None:
    given = rows(40)
    bad = {3: {"s": "zebra"}, 9: {"n": "many"}, 10: {"s": "zebra"}, 39: {"a": "?"}}
    lines = [{**row, **bad.get(i, {})} for i, row in enumerate(given)]
    cells = (f"{r['id']},{'' if r['a'] is None else r['a']},{r['n']},{r['s']}\n" for r in lines)
    (tmp_path / "in.csv").write_text("id,a,n,s\n" + "".join(cells))
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    for kind in ("csv", "jsonl"):
        done, _ = job(tmp_path, tmp_path / f"in.{kind}", tmp_path / f"out.{kind}", max_errors=4)
        assert (done["rows"], done["refused"]) == (40, 4)
        kept = [row for i, row in enumerate(given) if i not in bad]
        found = table(tmp_path / f"out.{kind}")
        assert found["id"].to_list() == [row["id"] for row in kept] and found["prediction"].to_list() == written(kept)
        refused = [json.loads(line) for line in (tmp_path / f"out.{kind}.errors.jsonl").read_text().splitlines()]
        assert [line["row"] for line in refused] == sorted(bad) and all(line["error"] for line in refused)
        with pytest.raises(BadInput):
            job(tmp_path, tmp_path / f"in.{kind}", tmp_path / f"less.{kind}", max_errors=3)
        assert not (tmp_path / f"less.{kind}").exists()


def test_one_row_that_does_not_fit_is_named(tmp_path: Path) -> None:
    lines = [*rows(5), {**rows(1)[0], "s": "zebra"}]
    with pytest.raises(BadInput) as raised:
        job(tmp_path, write(tmp_path / "in.parquet", lines), tmp_path / "out.parquet")
    assert raised.value.where == "in.parquet, row 5"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.parquet", "plan.json"]


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_of_rows_that_are_too_many_the_last_one_is_named_by_its_place_in_the_file(tmp_path: Path, kind: str) -> None:
    bad = {3: {"n": "many"}, 5: {"s": "zebra"}, 9: {"s": "zebra"}}
    lines = [{**row, **bad.get(i, {})} for i, row in enumerate(rows(20))]
    cells = (f"{r['id']},{'' if r['a'] is None else r['a']},{r['n']},{r['s']}\n" for r in lines)
    (tmp_path / "in.csv").write_text("id,a,n,s\n" + "".join(cells))
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    with pytest.raises(BadInput) as raised:
        job(tmp_path, tmp_path / f"in.{kind}", tmp_path / f"out.{kind}", max_errors=2)
    assert raised.value.where == f"in.{kind}, row 9"


def test_files_without_rows_give_files_without_rows(tmp_path: Path) -> None:
    for kind in (".csv", ".parquet", ".jsonl"):
        assert job(tmp_path, write(tmp_path / f"in{kind}", []), tmp_path / f"out{kind}")[0]["rows"] == 0
    assert table(tmp_path / "out.parquet").columns == ["id", "prediction"]
    assert (tmp_path / "out.csv").read_text().splitlines() == ["id,prediction"]
    assert (tmp_path / "out.jsonl").read_bytes() == b""


def test_without_ids_rows_have_numbers(tmp_path: Path) -> None:
    write(tmp_path / "in.parquet", rows(5))
    pl.read_parquet(tmp_path / "in.parquet", glob=False).drop("id").write_parquet(tmp_path / "in.parquet")
    job(tmp_path, tmp_path / "in.parquet", tmp_path / "out.parquet")
    assert table(tmp_path / "out.parquet")["row"].to_list() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("source", "target", "said"),
    [
        ("none.csv", "out.csv", "there is no file or folder"),
        ("in.csv", "out.xlsx", "no ending that says its format"),
        ("in.txt", "out.csv", "no ending that says its format"),
        ("folder", "folder", "the input's own folder"),
        ("folder", "out.csv", "is a folder, so the output is one too"),
        ("folder", "out", "holds no file that ends with"),
        ("torn.parquet", "out.csv", "cannot be read as parquet"),
        ("ragged.csv", "out.csv", "cannot be read as csv"),
        ("empty.csv", "out.csv", "is empty"),
        ("other.csv", "out.csv", "rows of 2 values, and the model takes 3 columns"),
        ("twice.csv", "out.csv", "has the column `a` twice"),
        ("lacking.csv", "out.csv", "there is no column `s`"),
    ],
)
def test_what_cannot_be_done_is_said(tmp_path: Path, source: str, target: str, said: str) -> None:
    texts = {
        "in.csv": "id,a,n,s\n1,1,1,x\n", "in.txt": "?", "torn.parquet": "PAR1?", "ragged.csv": "id,a,n,s\n1,1,1,x\n1,1\n", "empty.csv": "",
        "other.csv": "p,q\n1,2\n", "twice.csv": "a,a,n,s\n1,1,1,x\n", "lacking.csv": "id,a,n\n1,1,1\n",
    }  # fmt: skip
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "folder").mkdir()
    with pytest.raises((BadInput, NotFound), match=said):
        job(tmp_path, tmp_path / source, tmp_path / target)
    assert not (tmp_path / "out.csv").exists()


# -- what a user would not forgive ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["in/a.csv", "in", "link", "in/../in/a.csv"])
def test_no_answer_takes_the_place_of_its_input(tmp_path: Path, target: str) -> None:
    source = write(tmp_path / "in" / "a.csv", rows(5))
    (tmp_path / "link").symlink_to("in")
    before = source.read_bytes()
    with pytest.raises(BadInput, match="the output would take the place of an input"):
        job(tmp_path, source, tmp_path / target)
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "a.csv").symlink_to(source)
    with pytest.raises(BadInput, match="the output would take the place of an input"):
        job(tmp_path, tmp_path / "links", tmp_path / "in")
    assert source.read_bytes() == before and [path.name for path in (tmp_path / "in").iterdir()] == ["a.csv"]


def test_a_folder_may_lie_in_that_of_its_answers(tmp_path: Path) -> None:
    write(tmp_path / "in" / "a.csv", rows(5))
    for kept in (0, 1):
        assert job(tmp_path, tmp_path / "in", tmp_path)[0]["kept"] == kept
    assert table(tmp_path / "a.csv")["prediction"].to_list() == written(rows(5))
    deep = write(tmp_path / "in" / "in" / "a.csv", rows(5))
    before = (tmp_path / "in" / "a.csv").read_bytes()
    with pytest.raises(BadInput, match="the output would take the place of an input"):
        job(tmp_path, tmp_path / "in", tmp_path)
    assert (tmp_path / "in" / "a.csv").read_bytes() == before and deep.exists()


def test_what_an_endpoint_refuses_a_batch_refuses(tmp_path: Path) -> None:
    """An infinite number is no missing one; and where training never saw a value missing, none may be."""
    good = rows(8)
    bad = [{"a": float("inf")}, {"a": float("-inf")}, {"n": None}, {"s": None}]
    given = [*good, *({**good[0], **one} for one in bad)]
    write(tmp_path / "in.parquet", given)
    write(tmp_path / "in.jsonl", given[:8] + given[10:])
    cells = [f"{r['id']},{'' if r['a'] is None else r['a']},{r['n']},{r['s']}" for r in good]
    (tmp_path / "in.csv").write_text("\n".join(["id,a,n,s", *cells, "r0,1e999,1,x", "r0,-inf,1,x", "r0,1,,x"]) + "\n")
    for kind, count in (("parquet", 4), ("jsonl", 2), ("csv", 3)):
        job(tmp_path, tmp_path / f"in.{kind}", tmp_path / f"out.{kind}", max_errors=4)
        refused = [json.loads(line) for line in (tmp_path / f"out.{kind}.errors.jsonl").read_text().splitlines()]
        assert [line["row"] for line in refused] == list(range(8, 8 + count)), kind
        assert all("finite" in line["error"] or "training never saw it missing" in line["error"] for line in refused)
        assert table(tmp_path / f"out.{kind}")["prediction"].to_list() == written(good)
    write(tmp_path / "nan.parquet", [{**good[0], "a": float("nan")}])
    assert job(tmp_path, tmp_path / "nan.parquet", tmp_path / "out.parquet")[0]["refused"] == 0, "NaN is how a file says missing"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_file_that_fails_keeps_no_other_from_its_answers(tmp_path: Path, workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orders, "PIECE_ROWS", 10)
    folder, out = tmp_path / "in", tmp_path / "out"
    for name in ("b", "d", "f"):
        write(folder / f"{name}.parquet", rows(50))
    (folder / "a.csv").write_text("id,a,n,s\n1,1,many,x\n")
    write(folder / "c.parquet", [*rows(40), {**rows(1)[0], "s": "zebra"}, *rows(40)])
    (folder / "e.parquet").write_bytes(b"PAR1?")
    with pytest.raises(BadInput, match=r"`n` must be a whole number.*; 2 more of the files fail: c\.parquet, e\.parquet") as raised:
        job(tmp_path, folder, out, workers=workers)
    assert raised.value.where == "a.csv, row 0"
    assert sorted(path.name for path in out.iterdir()) == [HIDDEN, "b.parquet", "d.parquet", "f.parquet"]
    for name in ("a.csv", "c.parquet", "e.parquet"):
        (folder / name).unlink()
    done, _ = job(tmp_path, folder, out)
    assert (done["files"], done["kept"], done["rows"]) == (3, 3, 150)


def test_a_file_that_changes_before_it_is_written_is_not_taken_for_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are read some pieces ahead of what is written: one that gives way to another meanwhile was not what is there now."""
    folder, out = tmp_path / "in", tmp_path / "out"
    for name in ("a", "b"):
        write(folder / f"{name}.csv", rows(5))
    pieces: Callable[..., Any] = reading.pieces

    def changed(path: Path, signature: Any) -> Any:
        yield from pieces(path, signature)
        if path.name == "b.csv" and not (out / "b.csv").exists():
            write(tmp_path / "new.csv", rows(7)).replace(path)

    monkeypatch.setattr(reading, "pieces", changed)
    with pytest.raises(BadInput, match="the file was changed while it was read"):
        job(tmp_path, folder, out)
    assert [path.name for path in out.glob("*.csv")] == ["a.csv"]
    monkeypatch.setattr(reading, "pieces", pieces)
    done, _ = job(tmp_path, folder, out)
    assert (done["kept"], done["rows"]) == (1, 12)


def test_folders_are_as_open_as_their_files(tmp_path: Path) -> None:
    write(tmp_path / "in" / "deep" / "a.csv", rows(5))
    before = os.umask(0o077)
    try:
        Job(order(tmp_path, tmp_path / "in", tmp_path / "new" / "out"), 0o644).run(lambda _: None)
    finally:
        os.umask(before)
    made = ("new", "new/out", "new/out/deep", "new/out/deep/a.csv")
    assert [oct((tmp_path / name).stat().st_mode & 0o777) for name in made] == ["0o755", "0o755", "0o755", "0o644"]


def test_a_row_that_the_output_filter_does_not_fit_is_refused_by_its_number(tmp_path: Path) -> None:
    given = [{**row, "tag": i} for i, row in enumerate(rows(4))]
    del given[2]["tag"]
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, given)))
    shape = {"join": True, "output_filter": "$['tag','SageMakerOutput']"}
    with pytest.raises(BadInput, match="the filter names `tag`, which the record does not have") as raised:
        job(tmp_path, tmp_path / "in.jsonl", tmp_path / "out.jsonl", **shape)
    assert raised.value.where == "in.jsonl, row 2"
    job(tmp_path, tmp_path / "in.jsonl", tmp_path / "out.jsonl", max_errors=1, **shape)
    assert [json.loads(line)["tag"] for line in (tmp_path / "out.jsonl").read_text().splitlines()] == [0, 1, 3]
    assert json.loads((tmp_path / "out.jsonl.errors.jsonl").read_text())["row"] == 2


def test_what_no_table_holds_is_said_and_ends_in_no_traceback(tmp_path: Path) -> None:
    one = pa.Table.from_pylist(rows(2))
    pa.parquet.write_table(one.append_column("list", pa.array([[1], [2]])), tmp_path / "list.parquet")
    with pytest.raises(BadInput, match="cannot be written as CSV"):
        job(tmp_path, tmp_path / "list.parquet", tmp_path / "out.csv", join=True)
    pa.parquet.write_table(one.append_column("a", one.column("a")), tmp_path / "twice.parquet")
    with pytest.raises(BadInput, match="has the column `a` twice"):
        job(tmp_path, tmp_path / "twice.parquet", tmp_path / "out.csv")
    (tmp_path / "deep.jsonl").write_text('{"a":' + "[" * 100_000 + "]" * 100_000 + "}\n")
    with pytest.raises(BadInput, match="not JSON"):
        job(tmp_path, tmp_path / "deep.jsonl", tmp_path / "out.jsonl")
    large = [{**row, "id": 2**63 + i} for i, row in enumerate(rows(2))]
    (tmp_path / "large.jsonl").write_text("\n".join(map(json.dumps, large)))
    job(tmp_path, tmp_path / "large.jsonl", tmp_path / "out.parquet")
    assert table(tmp_path / "out.parquet")["id"].to_list() == [str(row["id"]) for row in large]
    (tmp_path / "in").mkdir()
    with open(os.fsencode(tmp_path / "in") + b"/\xff.csv", "w") as file:  # noqa: PTH123
        file.write("id,a,n,s\n1,1,1,x\n")
    with pytest.raises(BadInput, match="is not UTF-8"):
        job(tmp_path, tmp_path / "in", tmp_path / "out")
    (tmp_path / "head.csv").write_text('id,a,n,s,"two\nlines"\n1,1,1,x,z\n')
    job(tmp_path, tmp_path / "head.csv", tmp_path / "out.csv", join=True)
    assert next(csv.reader((tmp_path / "out.csv").open(newline="")))[4] == "two\nlines"


def test_an_input_is_not_lost_for_the_list_of_refused_rows(tmp_path: Path) -> None:
    source = write(tmp_path / "out.jsonl", rows(5)).rename(tmp_path / "out.csv.errors.jsonl")
    with pytest.raises(BadInput, match=r"the list of refused rows would take the place of an input") as raised:
        job(tmp_path, source, tmp_path / "out.csv")
    assert raised.value.where == str(source) and source.exists()
    write(tmp_path / "in" / "a.csv", rows(5))
    write(tmp_path / "in" / "b.jsonl", rows(5)).rename(tmp_path / "in" / "a.csv.errors.jsonl")
    with pytest.raises(BadInput, match=r"two inputs would be written to a\.csv\.errors\.jsonl"):
        job(tmp_path, tmp_path / "in", tmp_path / "answers")


def test_two_batches_write_no_file_at_once_whatever_folders_they_were_given(tmp_path: Path) -> None:
    """A batch into `out` and one into `out/deep` have a ledger each, and the file in common."""
    write(tmp_path / "in" / "deep" / "a.csv", rows(5))
    others = Output(tmp_path / "out" / "deep" / "a.csv", "csv")
    for source, target in (("in", "out"), ("in/deep", "out/deep"), ("in/deep/a.csv", "out/deep/a.csv")):
        with pytest.raises(BadInput, match="another batch writes there now"):
            job(tmp_path, tmp_path / source, tmp_path / target)
    others.add(Answered(1, [], table=pa.table({"whose": ["the other one's"]})))
    others.finish()
    assert (tmp_path / "out" / "deep" / "a.csv").read_text() == "whose\nthe other one's\n", "nobody touched what it wrote"
    job(tmp_path, tmp_path / "in", tmp_path / "out")
    assert table(tmp_path / "out" / "deep" / "a.csv")["prediction"].to_list() == written(rows(5))
    Output(tmp_path / "left.csv", "csv").drop()
    assert not list(tmp_path.glob(".left*"))


def test_answers_that_others_have_changed_are_made_again(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    for name in ("a", "deep/b", "c"):
        write(folder / f"{name}.csv", rows(5))
    job(tmp_path, folder, out)
    job(tmp_path, write(tmp_path / "others" / "b.csv", rows(9)).parent, out / "deep")  # another batch, into a folder of this one's
    (out / "c.csv").write_text("torn")
    assert job(tmp_path, folder, out)[0]["kept"] == 1
    assert [table(out / f"{name}.csv")["prediction"].to_list() for name in ("a", "deep/b", "c")] == [written(rows(5))] * 3
    assert job(tmp_path, folder, out)[0]["kept"] == 3


def test_what_a_killed_batch_left_of_a_file_is_no_part_of_the_next_ones(tmp_path: Path) -> None:
    source = write(tmp_path / "in.csv", rows(5))
    (tmp_path / ".out.csv.part").write_bytes(b"x" * 100_000)
    job(tmp_path, source, tmp_path / "out.csv")
    assert table(tmp_path / "out.csv")["prediction"].to_list() == written(rows(5))


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl"])
@pytest.mark.parametrize("asked", ["$[0, 0]", "$['a', 'n', 'a']", "$[-1, -1]"])
def test_a_column_is_asked_for_once(tmp_path: Path, kind: str, asked: str) -> None:
    source = write(tmp_path / "in.csv", rows(3)[:3])
    for key in ("input_filter", "output_filter"):
        with pytest.raises(BadInput, match=r"twice|is no column") as raised:
            job(tmp_path, source, tmp_path / f"out.{kind}", **{key: asked, "join": key == "output_filter"})
        assert raised.value.where == "in.csv" or "is no column" in raised.value.what
    assert not (tmp_path / f"out.{kind}").exists()


def test_a_mark_of_utf_8_at_the_head_of_lines_of_json_is_none_of_them(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", rows(5))
    source.write_bytes(b"\xef\xbb\xbf" + source.read_bytes())
    assert job(tmp_path, source, tmp_path / "out.jsonl")[0]["rows"] == 5
    source.write_bytes(b"\xef\xbb\xbf")
    assert job(tmp_path, source, tmp_path / "out.jsonl")[0]["rows"] == 0


def test_a_row_longer_than_a_piece_is_answered_or_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orders, "PIECE_BYTES", 4000)
    given = [{**row, "note": "x" * (20_000 if i == 7 else 3)} for i, row in enumerate(rows(300))]
    pl.DataFrame(given).write_ndjson(tmp_path / "in.jsonl")
    pl.DataFrame(given).write_csv(tmp_path / "in.csv")
    assert job(tmp_path, tmp_path / "in.jsonl", tmp_path / "out.csv")[0]["rows"] == 300
    with pytest.raises(BadInput, match="a row has more than 4,000 bytes, and one of a CSV file may not") as raised:
        job(tmp_path, tmp_path / "in.csv", tmp_path / "out.csv")
    assert ".parquet" in raised.value.next and str(tmp_path) in raised.value.where


def test_a_file_that_goes_while_a_batch_looks_whether_it_is_done_keeps_no_other_from_its_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    for name in ("a", "b"):
        write(folder / f"{name}.csv", rows(5))
    job(tmp_path, folder, out)
    write(folder / "b.csv", rows(7))
    known = ledger.Ledger.known

    def gone(self: ledger.Ledger, source: Path, *more: Any) -> Any:
        if source.name == "a.csv":
            source.unlink()
        return known(self, source, *more)

    monkeypatch.setattr(ledger.Ledger, "known", gone)
    with pytest.raises(BadInput, match="the file is gone") as raised:
        job(tmp_path, folder, out)
    assert raised.value.where == "a.csv" and table(out / "b.csv").height == 7


def test_ids_have_a_type_where_no_row_has_one(tmp_path: Path) -> None:
    """A folder of answers reads as one table, also where a file had no rows."""
    folder, out = tmp_path / "in", tmp_path / "out"
    write(folder / "b.jsonl", rows(5))
    (folder / "a.jsonl").write_text("")
    (folder / "c.jsonl").write_text("".join(json.dumps({**row, "id": None}) + "\n" for row in rows(2)))
    job(tmp_path, folder, out, format="parquet")
    assert pl.scan_parquet(out / "*.parquet").collect()["id"].to_list() == [*(row["id"] for row in rows(5)), None, None]
