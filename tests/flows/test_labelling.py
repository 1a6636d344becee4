"""Labels that are fetched, sent, joined by entity; windows that are judged again for them; how much is labelled."""

from __future__ import annotations

import json
import random
import sqlite3
import threading
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import ValidationError

from modelyard import upkeep
from modelyard.clock import ReplayClock
from modelyard.config.spec import STAGES, Config
from modelyard.errors import BadInput, NoRoom, NotFound, YardError
from modelyard.events import ConfigInForce, Deployed, LabelsReceived
from modelyard.flows import history, importing, labelling, monitor
from modelyard.monitor import labelpieces, labels
from modelyard.monitor.labels import segments, taking
from modelyard.serve import captured
from modelyard.upkeep import Upkeep
from modelyard.yard import Yard

from .test_importing import sagemaker
from .watched import DAY, T0, Watched, settings

MINUTE = timedelta(minutes=1)


@pytest.fixture
def world(home: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(home, monkeypatch)


def sourced(home: Path, monkeypatch: pytest.MonkeyPatch, source: dict[str, Any], **more: Any) -> Watched:
    return Watched(home, monkeypatch, settings(labels={"source": source, **more}))


def held(world: Watched) -> dict[str, Any]:
    return dict(labels.latest(world.home.labels("demo")).select("inference_id", "label").iter_rows())


# -- sources --------------------------------------------------------------------------------------------------------------------


def test_a_file_is_fetched_again_and_again_and_counts_once(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "truth.csv"
    world = sourced(home, monkeypatch, {"using": "csv", "location": file.as_uri()})
    world.capture(["a", "007"], T0)
    file.write_text("inference_id,y,other\na,1.5,x\n007,2,x\n")
    took = {"read": 2, "new": 2, "corrected": 0, "repeated": 0, "blank": 0}
    assert labelling.tick(world.shop, "demo") == took
    assert held(world) == {"a": 1.5, "007": 2.0}, "an id stays what it is"
    assert labelling.tick(world.shop, "demo") == {"read": 0}
    file.write_text("inference_id,y,other\na,1.5,x\n007,3,x\nearly,9,x\n")
    found = labelling.tick(world.shop, "demo")
    assert found and (found["read"], found["new"], found["corrected"]) == (2, 1, 1)
    assert held(world) == {"a": 1.5, "007": 3.0, "early": 9.0}
    assert len(world.events(LabelsReceived)) == 2, "nothing came, nothing is said"


IDS = [
    (["00012", "00013"], ["00012", "00013"]),
    (["00012", "a"], ["00012", "a"]),
    (["12", "13"], ["12", "13"]),
    (["12.0", "13.0"], ["12", "13"]),  # of a table with gaps, which made floats of whole numbers
    (["1.0", "1.10"], ["1.0", "1.10"]),
    (["1e5", "12345678901234567890"], ["1e5", "12345678901234567890"]),
    (["2026-03-01", "2026-03-02"], ["2026-03-01", "2026-03-02"]),
    (["true", "false"], ["true", "false"]),
]
"""Ids as a csv has them, and as they are taken."""


@pytest.mark.parametrize(("written", "taken"), IDS)
@pytest.mark.parametrize("incremental", [None, "inference_id"])
def test_ids_of_a_source_are_those_of_a_file(
    written: list[str], taken: list[str], incremental: str | None, home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "truth.csv"
    file.write_text("inference_id,y\n" + "".join(f"{id},{n}\n" for n, id in enumerate(written)))
    world = sourced(home, monkeypatch, {"using": "csv", "location": file.as_uri(), "incremental": incremental})
    took = labelling.fetch(world.shop, "demo")
    assert (took["read"], took["new"]) == (2, 2)
    assert held(world) == {id: float(n) for n, id in enumerate(taken)}
    assert labelling.of_file(world.shop, "demo", file)["repeated"] == 2, "a file says the same"
    assert labelling.fetch(world.shop, "demo") == {"read": 0}
    if incremental is not None and written[0] == "00012" and written[1] == "00013":
        file.write_text("inference_id,y\n00012,5\n00013,1\n00101,7\n")
        assert labelling.fetch(world.shop, "demo")["new"] == 1
        assert held(world) == {"00012": 0.0, "00013": 1.0, "00101": 7.0}


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
@pytest.mark.parametrize("ids", [[12, 13], [12.0, 13.5], ["00012", "00013"], ["2026-03-01", "2026-03-02"]])
def test_ids_of_other_kinds_of_sources_are_those_of_files(
    suffix: str, ids: list[Any], home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file, frame = tmp_path / f"truth.{suffix}", pl.DataFrame({"inference_id": ids, "y": [1.0, 2.0]})
    frame.write_parquet(file) if suffix == "parquet" else frame.write_ndjson(file)
    world = sourced(home, monkeypatch, {"using": suffix, "location": file.as_uri()})
    assert labelling.fetch(world.shop, "demo")["new"] == 2
    assert labelling.of_file(world.shop, "demo", file)["repeated"] == 2
    assert list(held(world)) == ["12" if ids[0] == 12 else ids[0], "13" if ids[1] == 13 else str(ids[1])]


def test_what_a_source_goes_on_saying_is_no_correction(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "truth.csv"
    world = sourced(home, monkeypatch, {"using": "csv", "location": file.as_uri()})
    file.write_text("inference_id,y\na,1\n")
    labelling.fetch(world.shop, "demo")
    world.label({"a": 5.0})
    file.write_text("inference_id,y\na,1\nb,2\n")
    labelling.fetch(world.shop, "demo")
    assert held(world) == {"a": 5.0, "b": 2.0}, "what a person said since holds"
    file.write_text("inference_id,y\na,4\nb,2\n")
    labelling.fetch(world.shop, "demo")
    assert held(world) == {"a": 4.0, "b": 2.0}, "until the source says something else"
    file.write_text("inference_id,y\nb,2\n")
    labelling.fetch(world.shop, "demo")
    assert held(world) == {"a": 4.0, "b": 2.0}, "a row that is gone takes nothing back"


@pytest.mark.parametrize("labelled", ["", ",2026-02-28T00:00:00Z"])
def test_a_source_that_goes_back_to_what_it_said_first(labelled: str, home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "truth.csv"
    world = sourced(home, monkeypatch, {"using": "csv", "location": file.as_uri()})
    for value, corrected in ((1, 0), (2, 1), (1, 1)):
        file.write_text(f"inference_id,y{',labelled_at' if labelled else ''}\na,{value}{labelled}\n")
        found = labelling.fetch(world.shop, "demo")
        assert found["corrected"] == corrected and held(world) == {"a": value}, "of one time, what came last holds"
        assert labelling.fetch(world.shop, "demo") == {"read": 0}


def database(path: Path, rows: list[tuple[int, str, float]]) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS truth (n INTEGER PRIMARY KEY, id TEXT, y REAL)")
        connection.executemany("INSERT INTO truth VALUES (?, ?, ?)", rows)
    connection.close()


def test_of_a_table_only_what_is_new_is_read(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "truth.db"
    query = "SELECT n, id AS inference_id, y AS label FROM truth"
    source = {"using": "sql", "location": {"secret": "truth"}, "query": query, "incremental": "n"}
    world = sourced(home, monkeypatch, source)
    database(path, [])
    monkeypatch.setenv("MODELYARD_SECRET_TRUTH", f"sqlite:////{str(path).lstrip('/')}")
    assert labelling.fetch(world.shop, "demo") == {"read": 0}, "no labels yet: no error"
    database(path, [(1, "a", 1.0), (2, "b", 2.0)])
    assert labelling.fetch(world.shop, "demo")["read"] == 2
    database(path, [(3, "a", 7.0)])
    assert labelling.fetch(world.shop, "demo")["corrected"] == 1
    assert labelling.fetch(world.shop, "demo") == {"read": 0}
    assert held(world) == {"a": 7.0, "b": 2.0}
    kept = b"".join(p.read_bytes() for p in world.home.labels("demo").rglob("*") if p.is_file())
    assert str(path).encode() not in kept, "a secret is nowhere written down"


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_of_a_file_too(suffix: str, home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / f"truth.{suffix}"

    def write(rows: list[tuple[int, str, float]]) -> None:
        frame = pl.DataFrame(rows, schema=["n", "inference_id", "y"], orient="row")
        {"csv": frame.write_csv, "parquet": frame.write_parquet, "jsonl": frame.write_ndjson}[suffix](file)  # type: ignore[operator]

    world = sourced(home, monkeypatch, {"using": suffix, "location": file.as_uri(), "incremental": "n"})
    write([(1, "a", 1.0), (2, "b", 2.0)])
    assert labelling.fetch(world.shop, "demo")["new"] == 2
    write([(1, "a", 3.0), (2, "b", 2.0), (3, "c", 3.0)])
    assert labelling.fetch(world.shop, "demo")["new"] == 1
    assert held(world) == {"a": 1.0, "b": 2.0, "c": 3.0}, "rows that are not above the highest seen are not looked at"


@pytest.mark.parametrize(
    "at", [("1", "2"), ("1.5", "2.5"), ("2026-03-01T00:00:00", "2026-03-01T00:00:01"), ("2026-03-01", "2026-03-02"), ("a", "b")]
)
def test_rows_that_come_later_with_the_same_highest_value_are_not_lost(
    at: tuple[str, str], home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Two transactions of one second, of which the second one is seen at the next reading."""
    file = tmp_path / "truth.csv"
    world, (early, late) = sourced(home, monkeypatch, {"using": "csv", "location": file.as_uri(), "incremental": "at"}), at
    rows = [f"{early},a,1", f"{late},b,2"]
    for more, read in (([], 2), ([], 0), ([f"{late},c,3"], 1), ([], 0)):
        rows += more
        file.write_text("at,inference_id,y\n" + "\n".join(rows) + "\n")
        assert labelling.fetch(world.shop, "demo")["read"] == read
    world.label({"b": 9.0})
    assert labelling.fetch(world.shop, "demo") == {"read": 0}
    assert held(world) == {"a": 1, "b": 9, "c": 3}, "what was read before is not said again"


def test_a_fetch_that_is_cut_short_is_repeated_and_counts_once(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "truth.csv"
    world = sourced(home, monkeypatch, {"using": "csv", "location": file.as_uri()})
    file.write_text("inference_id,y\na,1\nb,2\n")

    class Killed(BaseException):
        pass

    def kill(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(labelling, "_remember", kill)
        labelling.fetch(world.shop, "demo")
    assert held(world) == {"a": 1.0, "b": 2.0}
    again = labelling.fetch(world.shop, "demo")
    assert (again["new"], again["corrected"], again["repeated"]) == (0, 0, 2)
    assert labelling.fetch(world.shop, "demo") == {"read": 0}


def test_another_source_is_read_whole(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first, second = tmp_path / "one.csv", tmp_path / "two.csv"
    world = sourced(home, monkeypatch, {"using": "csv", "location": first.as_uri()})
    for file, value in ((first, 1), (second, 2)):
        file.write_text(f"inference_id,y\na,{value}\n")
    labelling.fetch(world.shop, "demo")
    world.enforce(settings(labels={"source": {"using": "csv", "location": second.as_uri()}}), "config-2")
    labelling.fetch(world.shop, "demo")
    assert held(world) == {"a": 2.0}
    assert len(list((world.home.labels("demo") / "source").iterdir())) == 1, "what the other one said is forgotten"


def test_without_a_source_nothing_is_fetched(world: Watched) -> None:
    assert labelling.tick(world.shop, "demo") is None
    with pytest.raises(ValidationError, match="a script runs in a build"):
        Config.model_validate(settings(labels={"source": {"using": "script", "location": "labels.py"}}))
    with pytest.raises(ValidationError, match="`schedule_expression` goes with `source`"):
        Config.model_validate(settings(labels={"schedule_expression": "0 6 * * *"}))
    with pytest.raises(ValidationError, match="`tolerance` goes with `join: entity`"):
        Config.model_validate(settings(labels={"tolerance": "5m"}))
    kept = Config.model_validate(settings()).model_dump(mode="json", by_alias=True)
    assert Config.model_validate(kept).labels.source is None, "a stored config can be read again"


def test_a_source_that_fails_is_told_of_once_and_stops_nothing(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file, told = tmp_path / "truth.csv", list[str]()
    world = sourced(home, monkeypatch, {"using": "csv", "location": file.as_uri()})
    monkeypatch.setattr(upkeep.alerting, "alert", lambda shop, model, kind, title, body: (told.append(f"{title}: {body}"), [])[1])
    keeper = Upkeep(world.shop, threading.Event())

    def fetched() -> int:
        keeper._pool = upkeep.ThreadPoolExecutor(1)
        keeper.fetch_labels("demo")
        keeper._pool.submit(lambda: None).result()  # the fetch is over, and the alert is on its way
        keeper._pool.shutdown(wait=True)
        return len(told)

    assert fetched() == 1 and fetched() == 1
    assert told[0].startswith("demo: its labels cannot be fetched: labels.source: there is no file")
    file.write_text("inference_id,y\na,1\n")
    assert fetched() == 1 and held(world) == {"a": 1.0}
    file.unlink()
    assert fetched() == 2, "after it was well, it is news again"
    keeper.close()


def test_what_a_source_must_hold_is_said(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "truth.csv"
    world = sourced(home, monkeypatch, {"using": "csv", "location": file.as_uri(), "incremental": "n"})
    for text, said in (
        ("inference_id,y\na,1\n", "there is no column `n`"),
        ("n,y\n1,1\n", "there is no column 'inference_id'"),
        ("n,inference_id,y\n1,a,cat\n", "label 'cat' of prediction 'a' is not a number"),
    ):
        file.write_text(text)
        with pytest.raises(BadInput) as caught:
            labelling.fetch(world.shop, "demo")
        assert said in caught.value.what
    assert held(world) == {}
    file.write_text("n,inference_id,y\n1,a,3\n")
    assert labelling.fetch(world.shop, "demo")["new"] == 1, "a reading that failed is not remembered"


# -- what is sent ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("text/csv", b"inference_id,label\na,1\nb,2\n"),
        ("text/csv; charset=utf-8", b"inference_id,y\na,1\nb,2\n"),
        ("application/json", b'[{"inference_id": "a", "label": 1}, {"inference_id": "b", "y": null, "label": 2}]'),
        ("application/x-ndjson", b'{"inference_id": "a", "label": 1}\n{"inference_id": "b", "label": 2}\n'),
    ],
)
def test_bodies_of_all_kinds(kind: str, body: bytes, world: Watched) -> None:
    if b'"y"' in body:
        body = body.replace(b'"y": null, ', b"")
    assert labelling.of_bytes(world.shop, "demo", body, kind)["new"] == 2
    assert held(world) == {"a": 1, "b": 2}


def test_a_body_that_says_what_held_before_a_correction_corrects_it_back(world: Watched) -> None:
    world.capture(["a"], T0)
    for value, wanted in ((1, (1, 0, 0)), (2, (0, 1, 0)), (1, (0, 1, 0)), (1, (0, 0, 1))):
        found = labelling.of_bytes(world.shop, "demo", f"inference_id,y\na,{value}\n".encode(), "text/csv")
        assert (found["new"], found["corrected"], found["repeated"]) == wanted and held(world) == {"a": value}
    assert len(world.events(LabelsReceived)) == 3


def test_one_object_is_one_label(world: Watched) -> None:
    assert labelling.of_bytes(world.shop, "demo", b'{"inference_id": "a", "label": 1}', "application/json")["new"] == 1


@pytest.mark.parametrize(
    ("kind", "body", "said"),
    [
        ("text/plain", b"a,1", "not read as `text/plain`"),
        ("", b"a,1", "not read as ``"),
        ("application/json", b"{", "not JSON"),
        ("application/json", b'"a"', "not a list of objects"),
        ("application/json", b"[1]", "not an object"),
        ("application/json", b"\xff\xfe", "not JSON"),
        ("application/x-ndjson", b"[]\n", "not an object"),
        ("text/csv", b"", "the file is empty"),
        ("text/csv", b"inference_id\na\n", "there is no column 'y'"),
        ("application/vnd.apache.parquet", b"PAR1", "not a readable parquet file"),
    ],
)
def test_bodies_that_are_no_labels(kind: str, body: bytes, said: str, world: Watched) -> None:
    with pytest.raises(BadInput) as caught:
        labelling.of_bytes(world.shop, "demo", body, kind)
    assert said in caught.value.what


@pytest.mark.parametrize(
    ("kind", "body", "where"),
    [
        ("text/csv", b"inference_id,label\na,1\n\nb,cat\n", "the body:4"),
        ("application/x-ndjson", b'{"inference_id": "a", "label": 1}\n\n{"inference_id": "b", "label": "cat"}\n', "the body:3"),
        ("application/json", b'[{"inference_id": "a", "label": 1}, {"inference_id": "b", "label": "cat"}]', "the body, row 2"),
    ],
)
def test_of_a_body_with_one_bad_row_nothing_is_taken_and_its_line_is_named(kind: str, body: bytes, where: str, world: Watched) -> None:
    with pytest.raises(BadInput, match="label 'cat' of prediction 'b' is not a number") as caught:
        labelling.of_bytes(world.shop, "demo", body, kind)
    assert caught.value.where == where and held(world) == {}


def test_times_without_a_zone_are_the_models(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    world = Watched(home, monkeypatch, settings(timezone="America/New_York"))
    (tmp_path / "truth.csv").write_text("inference_id,label,labelled_at\na,1,2026-02-01T00:00:00\n")
    labelling.of_file(world.shop, "demo", tmp_path / "truth.csv")
    assert labels.latest(world.home.labels("demo"))["labelled_at"][0].isoformat() == "2026-02-01T05:00:00+00:00"
    with pytest.raises(NotFound):
        labelling.of_file(world.shop, "demo", tmp_path / "nothing.csv")


# -- by entity ------------------------------------------------------------------------------------------------------------------


def flying(home: Path, monkeypatch: pytest.MonkeyPatch, **more: Any) -> Watched:
    words = settings(labels={"join": "entity", "tolerance": "5m", **more})
    words["data"] = {**words["data"], "entity_cols": ["tail"], "time_col": "at"}
    return Watched(home, monkeypatch, words)


def fly(world: Watched, tails: list[str], at: Any, x: float = 1.0) -> None:
    times = pl.Series([at + i * MINUTE for i in range(len(tails))], dtype=pl.Datetime("us", "UTC"))
    ids = [f"{t}-{at.isoformat()}" for t in tails]
    columns = {"inference_id": ids, "event_time": times, "received_at": times, "version": "1", "latency_ms": 1.0, "f.x": x, "x.tail": tails}
    captured.add(history.folder(world.shop, "demo"), pl.DataFrame(columns).with_columns((2 * pl.col("f.x")).alias("y.prediction")))


def truth(world: Watched, rows: list[tuple[str, Any, float]]) -> dict[str, Any]:
    body = [{"tail": tail, "at": at.isoformat(), "y": y} for tail, at, y in rows]
    return labelling.of_bytes(world.shop, "demo", json.dumps(body).encode(), "application/json")


def test_labels_of_an_entity_are_joined_late_corrected_and_early(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = flying(home, monkeypatch)
    early = truth(world, [("N1", T0 + 2 * MINUTE, 2.0), ("N9", T0, 2.0)])
    assert (early["new"], early["matched"], early["waiting"]) == (2, 0, 2)
    fly(world, ["N1", "N2", "N3"], T0)
    found = truth(world, [("N2", T0 + MINUTE, 2.0)])
    assert (found["new"], found["matched"], found["waiting"]) == (1, 1, 0)
    known = history.predictions(world.shop, "demo")
    assert known["label"].to_list() == [2.0, 2.0, None]
    world.time.advance_to(T0 + 2 * DAY)
    world.look()
    (word,) = world.words("performance")
    assert word.evidence["labels"] == 2
    assert truth(world, [("N2", T0 + MINUTE, 90.0)])["corrected"] == 1
    assert [(due.monitor, due.span.start) for due in monitor.relabelled(world.shop, "demo")] == [("performance", T0)]
    world.look()
    assert history.predictions(world.shop, "demo")["label"].to_list() == [2.0, 90.0, None]
    assert world.words("performance")[0].revision == 2
    assert history.labelled_since(world.shop, "demo", None) == 2, "that of N9 is nobody's"
    assert history.labelled_since(world.shop, "demo", T0 + DAY) == 1


@pytest.mark.parametrize("at", ["9999-12-31T23:58:00+00:00", "0001-01-01T00:02:00+00:00"])
def test_a_label_of_the_end_of_time_waits(at: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = flying(home, monkeypatch)
    fly(world, ["N1"], T0)
    world.time.advance_to(T0 + 2 * DAY)
    world.look()
    found = truth(world, [("N1", datetime.fromisoformat(at), 2.0)])
    assert (found["new"], found["waiting"]) == (1, 1)
    assert monitor.relabelled(world.shop, "demo") == [] and history.labelled_since(world.shop, "demo", None) == 0
    world.look()


def test_a_label_may_still_name_its_prediction(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = flying(home, monkeypatch)
    fly(world, ["N1", "N2"], T0)
    truth(world, [("N1", T0, 1.0), ("N2", T0, 2.0)])
    assert world.label({f"N1-{T0.isoformat()}": 7.0})["matched"] == 1
    assert history.predictions(world.shop, "demo")["label"].to_list() == [7.0, 2.0], "what names it goes before"
    assert history.predictions(world.shop, "demo", T0 + DAY)["label"].to_list() == []


def test_a_label_without_its_entity_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = flying(home, monkeypatch)
    for body, said in (
        (b'[{"tail": null, "at": "2026-03-01T00:00:00Z", "y": 1}]', "there is no tail"),
        (b'[{"tail": "N1", "at": null, "y": 1}]', "there is no event_time"),
        (b'[{"tail": "N1", "y": 1}]', "there is no column 'at'"),
        (b'[{"at": "2026-03-01T00:00:00Z", "y": 1}]', "there is no column 'tail'"),
        (b'[{"tail": "N1", "at": "noon", "y": 1}]', "'noon' is not a time"),
    ):
        with pytest.raises(BadInput) as caught:
            labelling.of_bytes(world.shop, "demo", body, "application/json")
        assert said in caught.value.what


def test_a_fetch_reads_nothing_of_what_was_captured(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A source that is ahead of its predictions, or knows of many that are none of ours, would have all of it read each time."""
    file = tmp_path / "truth.csv"
    world = sourced(home, monkeypatch, {"using": "csv", "location": file.as_uri()})
    world.capture(["a", "b"], T0)
    for name in ("among", "read", "pieces", "newest"):
        monkeypatch.setattr(captured, name, lambda *_, **__: pytest.fail("captured rows were read"))
    file.write_text("inference_id,y\n" + "".join(f"nobody-{i},1.5\n" for i in range(500)) + "a,2.5\n")
    found = labelling.fetch(world.shop, "demo")
    assert found["new"] == 501 and held(world)["a"] == 2.5


def test_a_table_of_entities_is_fetched(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "truth.csv"
    world = flying(home, monkeypatch, source={"using": "csv", "location": file.as_uri()})
    fly(world, ["N1"], T0)
    file.write_text("tail,at,y\nN1,2026-03-01T00:01:00,2\nN1,2026-03-01T09:00:00,3\n")
    found = labelling.fetch(world.shop, "demo")
    assert found["new"] == 2 and history.labelled_since(world.shop, "demo", None) == 1
    assert labelling.fetch(world.shop, "demo") == {"read": 0}


def test_an_entity_of_a_source_keeps_its_zeros(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "truth.csv"
    world = flying(home, monkeypatch, source={"using": "csv", "location": file.as_uri()})
    fly(world, ["007"], T0)
    file.write_text("tail,at,y\n007,2026-03-01T00:01:00,2\n")
    assert labelling.fetch(world.shop, "demo")["new"] == 1 and history.labelled_since(world.shop, "demo", None) == 1
    assert labelling.of_file(world.shop, "demo", file)["repeated"] == 1


# -- files in pieces ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labelpieces, "BLOCK", 200)
    monkeypatch.setattr(labelpieces, "ROWS", 20)
    monkeypatch.setattr(taking, "PART", 30)


@pytest.mark.usefixtures("pieces")
@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_file_of_any_size_is_taken_in_as_one_import(suffix: str, world: Watched, tmp_path: Path) -> None:
    world.capture([f"a{i:03}" for i in range(40)], T0)
    rows = pl.DataFrame({"inference_id": [f"a{i:03}" for i in range(100)], "y": [i / 2 for i in range(100)]})
    file = tmp_path / f"truth.{suffix}"
    write = {"csv": rows.write_csv, "jsonl": rows.write_ndjson, "parquet": rows.write_parquet}[suffix]
    write(file)
    took = {"new": 100, "corrected": 0, "repeated": 0, "blank": 0, "matched": 40, "waiting": 60}
    assert labelling.of_file(world.shop, "demo", file) == took
    assert labelling.of_file(world.shop, "demo", file) == {**took, "new": 0, "repeated": 100}
    assert held(world) == dict(rows.iter_rows()) and len(world.events(LabelsReceived)) == 1
    assert labelling.of_bytes(world.shop, "demo", rows.write_csv().encode(), "text/csv") == {**took, "new": 0, "repeated": 100}
    assert list((world.home.path / "snapshots").iterdir()) == [], "nothing is left in the spool"


@pytest.mark.usefixtures("pieces")
def test_of_a_file_with_one_bad_row_nothing_is_taken_and_its_line_is_named(world: Watched, tmp_path: Path) -> None:
    good = [f"a{i:03},{i / 2}" for i in range(100)]
    for row, said in (("b,high", "label 'high' of prediction 'b' is not a number"), (",1", "there is no inference_id")):
        file = tmp_path / "truth.csv"
        file.write_text("\n".join(["inference_id,y", *good[:70], row, *good[70:]]))
        with pytest.raises(BadInput) as caught:
            labelling.of_file(world.shop, "demo", file)
        assert said in caught.value.what and caught.value.where == "truth.csv:72"
        assert held(world) == {} and world.events(LabelsReceived) == []


@pytest.mark.usefixtures("pieces")
def test_where_a_file_does_not_fit_beside_itself_nothing_is_taken(world: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, left = tmp_path / "truth.csv", [0]
    file.write_text("\n".join(["inference_id,y", *(f"a{i:03},{i}" for i in range(100))]))
    real = segments.lay

    def full(rows: pl.DataFrame, path: Path) -> Path:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device", str(path))
        return real(rows, path)

    monkeypatch.setattr(segments, "lay", full)
    for left[0] in (0, 3, 8):
        with pytest.raises(NoRoom):
            labelling.of_file(world.shop, "demo", file)
        assert held(world) == {} and list((world.home.path / "snapshots").iterdir()) == []


@pytest.mark.usefixtures("pieces")
def test_a_file_of_entities_in_pieces(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    world, file = flying(home, monkeypatch), tmp_path / "truth.csv"
    fly(world, ["N1", "N2"], T0)
    lines = [f"N{i},2026-03-01T00:00:{i % 60:02},{i}" for i in range(1, 101)]
    file.write_text("\n".join(["tail,at,y", *lines]))
    took = labelling.of_file(world.shop, "demo", file)
    assert (took["new"], took["matched"], took["waiting"]) == (100, 2, 98)
    file.write_text("\n".join(["tail,at,y", *lines, ",2026-03-01T00:00:00,1"]))
    with pytest.raises(BadInput, match="there is no tail") as caught:
        labelling.of_file(world.shop, "demo", file)
    assert caught.value.where == "truth.csv:102"


# -- windows that are judged again ----------------------------------------------------------------------------------------------


def measured(world: Watched, day: int) -> list[tuple[int, float | None]]:
    """Of all that was ever said of a day: how many labels were known, and the error."""
    start, end = ((T0 + (day + n) * DAY).isoformat() for n in (0, 1))
    return [
        (w.evidence["labels"], w.evidence.get("metrics", {}).get("mae")) for w in world.shop.book.history("demo", "performance", start, end)
    ]


def test_late_corrected_repeated_and_early_labels_leave_their_history(world: Watched) -> None:
    world.label({"b1": 2.0})  # before its prediction
    for day, name in enumerate("ab"):
        world.capture([f"{name}{i}" for i in range(4)], T0 + day * DAY)
    world.label({"a0": 2.0, "a1": 2.0})
    world.time.advance_to(T0 + 3 * DAY)
    world.look()
    assert [n for n, _ in measured(world, 0)] == [2] and [n for n, _ in measured(world, 1)] == [1]
    world.label({"a2": 4.0})  # late
    assert {due.span.start for due in monitor.relabelled(world.shop, "demo")} == {T0}, "the other day is left alone"
    world.look()
    assert [n for n, _ in measured(world, 0)] == [2, 3] and [n for n, _ in measured(world, 1)] == [1]
    world.label({"a2": 4.0})  # again
    assert monitor.relabelled(world.shop, "demo") == []
    world.label({"a2": 5.0})  # corrected: as many labels as before
    world.look()
    assert [n for n, _ in measured(world, 0)] == [2, 3, 3]
    errors = [error for _, error in measured(world, 0)]
    assert errors[1:] == [pytest.approx(2 / 3), pytest.approx(1.0)]
    world.label({"b0": 2.0, "nobody": 2.0})
    world.look()
    assert [n for n, _ in measured(world, 0)] == [2, 3, 3] and [n for n, _ in measured(world, 1)] == [1, 2]
    world.look()
    assert monitor.relabelled(world.shop, "demo") == [] and len(measured(world, 0)) == 3, "no news, no new word"


def test_a_look_that_is_cut_short_looks_at_the_same_labels_again(world: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    world.capture(["a", "b", "c"], T0)
    world.label({"a": 2.0, "b": 2.0})
    world.time.advance_to(T0 + 2 * DAY)
    world.look()
    world.label({"c": 2.0})

    class Killed(BaseException):
        pass

    def kill(*_: Any, **__: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(type(world.shop.book), "put", kill)
        world.look()
    assert [n for n, _ in measured(world, 0)] == [2]
    world.look()
    assert [n for n, _ in measured(world, 0)] == [2, 3]


def test_what_was_looked_at_is_not_looked_through_again(world: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    world.capture(["a", "b"], T0)
    world.label({"a": 2.0, "b": 2.0})
    world.time.advance_to(T0 + 2 * DAY)
    world.look()
    monkeypatch.setattr(history, "touched", lambda *_: pytest.fail("captured rows were read"))
    assert monitor.relabelled(world.shop, "demo") == []
    monkeypatch.setattr(captured, "read", lambda *_, **__: pytest.fail("captured rows were read"))
    world.look()


def test_a_window_of_long_ago_is_judged_again_as_long_as_its_rows_are_kept(world: Watched) -> None:
    world.capture(["a", "b"], T0)
    world.label({"a": 2.0, "b": 2.0})
    world.time.advance_to(T0 + 2 * DAY)
    world.look()
    world.time.advance_to(T0 + 200 * DAY)
    world.label({"a": 9.0})
    assert [(one.monitor, one.span.start) for one in monitor.relabelled(world.shop, "demo")] == [("performance", T0)]
    captured.trim(history.folder(world.shop, "demo"), before=T0 + DAY)
    assert monitor.relabelled(world.shop, "demo") == []


SAID = st.lists(st.tuples(st.integers(0, 5), st.sampled_from([1.0, 2.0, 4.0]), st.integers(0, 40)), min_size=1, max_size=12)


@hypothesis_settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(said=SAID, seed=st.integers(0, 99))
def test_in_any_order_and_repetition_the_same_is_measured(
    said: list[tuple[int, float, int]], seed: int, home: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Labels before and after their predictions and the looks, in one file or many: the last word on each window is the same."""
    dated = list({(row, when): (row, label, when) for row, label, when in said}.values())
    ends = []
    for order in (0, 1):
        rng = random.Random(seed * order)
        with pytest.MonkeyPatch.context() as patch:
            world = Watched(tmp_path_factory.mktemp("y"), patch)
            todo = dated if not order else rng.sample(dated, len(dated)) + rng.sample(dated, len(dated) // 2)
            cuts = sorted(rng.sample(range(len(todo) + 1), min(3, len(todo) + 1))) if order else [len(todo)]
            for step, (begin, end) in enumerate(zip([0, *cuts], [*cuts, len(todo)], strict=True)):
                if step == min(1, len(cuts)):
                    world.capture([f"r{i}" for i in range(3)], T0)
                    world.capture([f"r{i}" for i in range(3, 6)], T0 + DAY)
                rows = list(dict.fromkeys(todo[begin:end]))
                if rows:
                    table = pl.DataFrame(rows, schema=["inference_id", "label", "labelled_at"], orient="row")
                    at = T0 - DAY + pl.duration(minutes=pl.col("labelled_at"))
                    table = table.with_columns(pl.format("r{}", "inference_id").alias("inference_id"), at.alias("labelled_at"))
                    history.label(world.shop, "demo", table)
                if step == 2:
                    world.time.advance_to(T0 + 3 * DAY)
                    world.look()
            world.time.advance_to(T0 + 3 * DAY)
            world.look()
            known = history.predictions(world.shop, "demo").sort("inference_id").select("inference_id", "label")
            last = [(w.start, w.status, w.evidence["labels"], w.evidence.get("metrics", {}).get("mae")) for w in world.words("performance")]
            ends.append((known.rows(), last))
            world.shop.close()
    assert ends[0] == ends[1]


# -- how much is labelled -------------------------------------------------------------------------------------------------------


def test_coverage_by_window(world: Watched) -> None:
    assert labelling.coverage(world.shop, "demo") == {"model": "demo", "usual": None, "watermark": None, "windows": []}
    for day in range(4):
        world.capture([f"d{day}-{i}" for i in range(10)], T0 + day * DAY)
    world.time.advance_to(T0 + 4 * DAY + timedelta(hours=1))
    world.label({f"d{day}-{i}": 2.0 for day in (0, 1) for i in range(8)} | {"d2-0": 2.0})
    found = labelling.coverage(world.shop, "demo")
    assert [(w["start"][:10], w["rows"], w["labels"]) for w in found["windows"]] == [
        ("2026-03-01", 10, 8),
        ("2026-03-02", 10, 8),
        ("2026-03-03", 10, 1),
        ("2026-03-04", 10, 0),
        ("2026-03-05", 0, 0),
    ]
    assert (found["usual"], found["watermark"]) == (0.8, "2026-03-03T00:00:00+00:00")
    assert found["windows"][0]["first_label"] == world.time.now().isoformat()
    assert found["windows"][0]["watermark"] == (T0 + timedelta(seconds=9)).isoformat()
    part = labelling.coverage(world.shop, "demo", T0 + DAY, T0 + 2 * DAY)
    assert [w["start"][:10] for w in part["windows"]] == ["2026-03-02"]


def test_coverage_by_entity(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = flying(home, monkeypatch)
    fly(world, ["N1", "N2"], T0)
    truth(world, [("N1", T0, 1.0)])
    world.time.advance_to(T0 + timedelta(hours=2))
    (window,) = labelling.coverage(world.shop, "demo")["windows"]
    assert (window["rows"], window["labels"], window["coverage"]) == (2, 1, 0.5)


def test_a_model_that_is_not_there(world: Watched) -> None:
    with pytest.raises(YardError, match="there is no model"):
        labelling.of_bytes(world.shop, "demos", b"a", "text/csv")


def test_labels_of_an_entity_that_no_caller_sends_wait(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = flying(home, monkeypatch)
    world.capture(["a"], T0)
    assert truth(world, [("N1", T0, 1.0)])["waiting"] == 1, "they are kept"
    with pytest.raises(BadInput, match="`tail` is in no captured row"):
        history.predictions(world.shop, "demo")
    assert history.labelled_since(world.shop, "demo", None) == 0
    world.time.advance_to(T0 + 2 * DAY)
    world.look()
    (word,) = world.words("performance")
    assert (word.status, word.reason) == ("unknown", "performance: `tail` is in no captured row, so labels cannot be joined by it")
    assert len(world.words("drift")) == 2, "the others do their work"


def test_an_entity_that_is_redacted_cannot_be_joined_by() -> None:
    words = settings(labels={"join": "entity"})
    words["data"] = {**words["data"], "entity_cols": ["tail"], "time_col": "at"}
    words["deploy"] = {**words["deploy"], "capture": {"redact": [{"column": "tail", "how": "hash"}]}}
    with pytest.raises(ValidationError, match="needs `tail` as it came"):
        Config.model_validate(words)
    words["data"] = {**words["data"], "entity_cols": []}
    with pytest.raises(ValidationError, match=r"needs `data\.entity_cols`"):
        Config.model_validate(words)


def test_the_schedule_has_labels_fetched(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "truth.csv"
    yard = Yard(home, ReplayClock(T0))
    try:
        words = settings(labels={"source": {"using": "csv", "location": file.as_uri()}, "schedule_expression": "0 6 * * *"})
        yard.shop.record([ConfigInForce("demo", "up-0", "c0", {str(stage): words for stage in STAGES}, "/nowhere")])
        yard.shop.record([Deployed("demo", "production", "http://127.0.0.1:1", {"1": 100})])
        file.write_text("inference_id,y\na,1\n")

        def ticked(hours: int) -> int:
            yard.shop.clock.advance_to(T0 + timedelta(hours=hours))  # type: ignore[attr-defined]
            yard.tick("demo")
            yard._upkeep._pool.shutdown(wait=True)
            yard._upkeep._pool = upkeep.ThreadPoolExecutor(1)
            return labels.latest(yard.home.labels("demo")).height

        assert ticked(5) == 0
        assert ticked(6) == 1
        file.write_text("inference_id,y\na,1\nb,1\n")
        assert ticked(7) == 1 and ticked(31) == 2
    finally:
        yard.close()


def test_rows_that_come_after_their_window_was_judged_meet_their_labels(world: Watched, tmp_path: Path) -> None:
    """SageMaker's capture of a day that is over, taken in when its labels are long there."""
    world.capture(["a", "b"], T0)
    world.label({"a": 2.0, "b": 2.0, "e-0-0": 2.0, "e-0-1": 2.0})
    world.time.advance_to(T0 + 2 * DAY)
    world.look()
    assert [n for n, _ in measured(world, 0)] == [2]
    folder = sagemaker(tmp_path, days=1, rows=2, x=1.0)
    importing.take(world.shop, "demo", folder)
    assert {due.span.start for due in monitor.relabelled(world.shop, "demo")} == {T0}
    seen = labelling.looking(world.shop, "demo")
    labelling.came(world.shop, "demo", T0 + DAY, T0 + DAY)  # while somebody looks
    labelling.looked(world.shop, "demo", seen)
    assert labelling.last_look(world.shop, "demo").came == ((T0 + DAY, T0 + DAY),), "and is looked at the next time"
    labelling.came(world.shop, "demo", *seen.came[0])
    world.look()
    assert [n for n, _ in measured(world, 0)] == [2, 4]
    assert monitor.relabelled(world.shop, "demo") == [] and labelling.last_look(world.shop, "demo").came == ()
    importing.take(world.shop, "demo", folder)
    assert monitor.relabelled(world.shop, "demo") == [], "taken again, nothing has come"
