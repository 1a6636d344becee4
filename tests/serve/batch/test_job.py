from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from modelyard.errors import BadInput, NotFound
from modelyard.serve.batch import order as orders
from modelyard.serve.batch.job import HIDDEN

from .made import job, rows, written


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
