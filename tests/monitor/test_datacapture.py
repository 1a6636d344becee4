"""SageMaker's capture and ground-truth files."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from modelyard.errors import BadInput, NotFound
from modelyard.monitor import datacapture
from modelyard.signature import Column, Signature

BINARY = Signature(
    "binary_classification",
    (Column("age", "int"), Column("fare", "float", nullable=True), Column("town", "str")),
    classes=(0, 1),
    positive_class=1,
    decision_threshold=0.4,
)
HOUR = "demo/AllTraffic/2026/03/01/12"


def event(given: str, answered: str, id: str = "e1", *, encoding: str = "CSV", out: str = "", inference: str = "") -> dict[str, Any]:
    return {
        "captureData": {
            "endpointInput": {"observedContentType": "text/csv", "mode": "INPUT", "data": given, "encoding": encoding},
            "endpointOutput": {"observedContentType": "text/csv", "mode": "OUTPUT", "data": answered, "encoding": out or encoding},
        },
        "eventMetadata": {"eventId": id, "inferenceTime": "2026-03-01T12:30:00Z", **({"inferenceId": inference} if inference else {})},
        "eventVersion": "0",
    }


def write(root: Path, *lines: dict[str, Any], hour: str = HOUR) -> Path:
    folder = root / hour
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "part.jsonl").write_text("\n".join(json.dumps(line) for line in lines) + "\n")
    return root


def test_a_request_in_csv_and_its_probability(tmp_path: Path) -> None:
    table = datacapture.read(write(tmp_path, event('30,7.5,"Ely, Cambs"\n', "0.45\n")), BINARY)
    assert table.row(0, named=True) == {
        "inference_id": "e1",
        "event_time": datetime(2026, 3, 1, 12, 30, tzinfo=UTC),
        "received_at": datetime(2026, 3, 1, 12, 30, tzinfo=UTC),
        "version": "AllTraffic",
        "latency_ms": None,
        "f.age": 30,
        "f.fare": 7.5,
        "f.town": "Ely, Cambs",
        "y.prediction": 1,
        "y.probability_0": 0.55,
        "y.probability_1": 0.45,
    }
    assert (table.schema["f.age"], table.schema["latency_ms"]) == (pl.Int64, pl.Float64)


@pytest.mark.parametrize(
    ("given", "answered"),
    [
        ('[{"age":1,"fare":2.0,"town":"a"},{"age":3,"fare":null,"town":"b"}]', '{"predictions":[{"score":0.9},{"score":0.1}]}'),
        ('{"instances":[{"features":[1,2.0,"a"]},{"features":[3,null,"b"]}]}', "[0.9, 0.1]"),
        ('{"age":1,"fare":2.0,"town":"a"}\n{"age":3,"fare":null,"town":"b"}', '{"predictions":[1, 0]}'),
        ('{"dataframe_split":{"columns":["town","age","fare"],"data":[["a",1,2.0],["b",3,null]]}}', "[[0.1,0.9],[0.9,0.1]]"),
        ('[[1,2.0,"a"],["3","","b"]]', '{"predictions":[{"prediction":1,"probabilities":{"0":0.1,"1":0.9}},{"prediction":0}]}'),
    ],
)
def test_rows_in_json_of_any_shape_are_called_by_their_number(tmp_path: Path, given: str, answered: str) -> None:
    table = datacapture.read(write(tmp_path, event(given, answered, inference="mine", encoding="JSON")), BINARY)
    assert table["inference_id"].to_list() == ["mine-0", "mine-1"]
    assert table.select("f.age", "f.fare", "f.town", "y.prediction").rows() == [(1, 2.0, "a", 1), (3, None, "b", 0)]


def test_base64_is_read_by_its_content_type(tmp_path: Path) -> None:
    body = base64.b64encode(b"30,,Ely").decode()
    table = datacapture.read(write(tmp_path, event(body, "1", encoding="BASE64", out="CSV")), BINARY)
    assert table.select("f.age", "f.fare", "y.prediction").row(0) == (30, None, 1)


def test_text_comes_as_it_was_sent(tmp_path: Path) -> None:
    """A line ends with a line feed and outside of quotes, and with no other sign that some take for an end."""
    towns = ["Ely\nCambs", "Ely\r\nCambs", "Ely\u2028Cambs", "Ely\x0bCambs", "Ely\x85"]
    given = "".join(f'{i},1.5,"{town}"\n' for i, town in enumerate(towns))
    assert datacapture.read(write(tmp_path / "csv", event(given, "0.5\n" * 5)), BINARY)["f.town"].to_list() == towns
    lines = [json.dumps({"age": i, "town": town}, ensure_ascii=False) for i, town in enumerate(towns)]
    of_json = event("\n".join(lines), "0.5\n" * 5, encoding="JSON", out="CSV")
    assert datacapture.read(write(tmp_path / "json", of_json), BINARY)["f.town"].to_list() == towns
    with pytest.raises(BadInput, match=r"part\.jsonl:1: .*field larger"):
        datacapture.read(write(tmp_path / "large", event(f"30,7.5,{'x' * 200_000}\n", "0.5\n")), BINARY)


def test_numbers_that_are_not_finite_are_missing_as_in_our_own_capture(tmp_path: Path) -> None:
    given = "30,inf,x\n30,1e999,x\n30,-nan,x\n30,2.5,x\n"
    table = datacapture.read(write(tmp_path / "csv", event(given, "0.5\n" * 4)), BINARY)
    assert table["f.fare"].to_list() == [None, None, None, 2.5]
    regression = replace(BINARY, problem_type="regression", classes=(), positive_class=None, decision_threshold=None)
    of_json = event('{"age": 30, "fare": NaN, "town": "x"}', '{"prediction": Infinity}', encoding="JSON")
    table = datacapture.read(write(tmp_path / "json", of_json), regression)
    assert table.select("f.fare", "y.prediction").row(0) == (None, None)


def test_other_problems_have_other_answers(tmp_path: Path) -> None:
    number = Signature("regression", (Column("x", "float"),))
    assert datacapture.read(write(tmp_path / "a", event("1.5", "7")), number)["y.prediction"].to_list() == [7.0]
    many = Signature("multiclass_classification", (Column("x", "float"),), classes=("a", "b", "c"))
    assert datacapture.read(write(tmp_path / "b", event("1.5", "0.1,0.2,0.7")), many)["y.prediction"].to_list() == ["c"]
    timed = Signature("regression", (Column("x", "float"),), time_col="at")
    body = '{"x": 1.5, "at": "2026-02-28T00:00:00+01:00"}'
    when = datacapture.read(write(tmp_path / "c", event(body, "7", encoding="JSON")), timed)["event_time"].to_list()
    assert when == [datetime(2026, 2, 27, 23, tzinfo=UTC)]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (event("30,7.5", "1"), "a row of 2 values; the model takes 3 columns"),
        (event("thirty,7.5,Ely", "1"), "'thirty' in `age` is no int"),
        (event("30,7.5,Ely", "2"), "'2' is neither a class nor a probability"),
        (event("30,7.5,Ely\n31,7.5,Ely", "1"), "2 rows were asked, and 1 answered"),
        ({"captureData": {}}, "no event of SageMaker's data capture"),
    ],
)
def test_what_does_not_fit_names_its_line(tmp_path: Path, line: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said) as raised:
        datacapture.read(write(tmp_path, event("30,7.5,Ely", "1"), line), BINARY)
    assert raised.value.where == "part.jsonl:2"


@pytest.mark.parametrize(
    ("at", "said"),
    [
        ("1926-01-01T00:00:00Z", "`inferenceTime` lies before 1970"),
        ("0001-01-01T00:00:00+05:00", "no event of SageMaker's data capture"),
        ("2026-03-03T12:30:01Z", "`inferenceTime` lies more than a day ahead"),
    ],
)
def test_a_time_that_no_event_can_have_names_its_line(tmp_path: Path, at: str, said: str) -> None:
    """One row would be the first, or the last, of all that was captured; archives may be old."""
    now, old, bad = datetime(2026, 3, 2, 12, 30, tzinfo=UTC), event("30,7.5,Ely", "1"), event("30,7.5,Ely", "1")
    old["eventMetadata"]["inferenceTime"], bad["eventMetadata"]["inferenceTime"] = "1999-01-01T00:00:00Z", at
    with pytest.raises(BadInput, match=said) as raised:
        datacapture.read(write(tmp_path, event("30,7.5,Ely", "1"), old, bad), BINARY, now)
    assert raised.value.where == "part.jsonl:3"


@pytest.mark.parametrize("at", ['"1926-01-01"', '"2027-01-01"', "-1e10", "1e300", '"0001-01-01T00:00:00+05:00"'])
def test_a_rows_own_time_is_held_likewise(tmp_path: Path, at: str) -> None:
    timed, now = Signature("regression", (Column("x", "float"),), time_col="at"), datetime(2026, 3, 2, tzinfo=UTC)
    with pytest.raises(BadInput, match="`at`") as raised:
        datacapture.read(write(tmp_path, event(f'{{"x": 1.5, "at": {at}}}', "7", encoding="JSON")), timed, now)
    assert raised.value.where == "part.jsonl:1"


def test_an_empty_folder_is_not_taken_for_one_without_traffic(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        datacapture.read(tmp_path, BINARY)
    with pytest.raises(NotFound):
        datacapture.ground_truth(tmp_path)


def truth(id: str, data: str, encoding: str = "CSV") -> dict[str, Any]:
    return {"groundTruthData": {"data": data, "encoding": encoding}, "eventMetadata": {"eventId": id}, "eventVersion": "0"}


def test_ground_truth_is_labels_by_the_events_ids(tmp_path: Path) -> None:
    write(tmp_path, truth("e1", "1"), truth("e2", "0\n1"))
    table = datacapture.ground_truth(tmp_path)
    assert table.rows() == [("e1", 1), ("e2-0", 0), ("e2-1", 1)]
    assert datacapture.is_ground_truth(tmp_path / HOUR / "part.jsonl") and datacapture.is_ground_truth(tmp_path)
    write(tmp_path, truth("e1", '"yes"', "JSON"), truth("e2", "1"))
    assert datacapture.ground_truth(tmp_path)["label"].to_list() == ["yes", "1"]


def test_a_ground_truth_line_that_is_none_names_its_place(tmp_path: Path) -> None:
    write(tmp_path, truth("e1", "1,2"))
    with pytest.raises(BadInput, match="a label is one value, not 2") as raised:
        datacapture.ground_truth(tmp_path)
    assert raised.value.where == "part.jsonl:1"


@pytest.mark.parametrize("given", [2**70, -(2**63) - 1, 2**63, str(2**70), "1e30"])
@pytest.mark.parametrize("as_json", [True, False])
def test_a_number_that_no_table_holds_is_told_by_its_line(given: Any, as_json: bool, tmp_path: Path) -> None:
    text = json.dumps({"age": given, "fare": 1.5, "town": "Ely"}) if as_json else f"{given},1.5,Ely\n"
    bad = event(text, "1", encoding="JSON" if as_json else "CSV")
    with pytest.raises(BadInput, match="in `age` is no int") as caught:
        datacapture.read(write(tmp_path, event("30,7.5,Ely\n", "1"), bad), BINARY)
    assert caught.value.where == "part.jsonl:2"


@pytest.mark.parametrize(
    "answer", ['{"prediction": [1]}', '{"predictions": [{"score": 1e400}]}', '{"probabilities": [1]}', "[null]", str(10**400)]
)
def test_an_answer_that_is_none_is_told_by_its_line(answer: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        datacapture.read(write(tmp_path, event('[30, 7.5, "Ely"]', answer, encoding="JSON")), BINARY)
    assert caught.value.where == "part.jsonl:1"


def test_what_comes_along_may_be_anything(tmp_path: Path) -> None:
    signed = replace(BINARY, entity_cols=("who",))
    rows = [json.dumps({"age": 1, "fare": 1.5, "town": "Ely", "who": who}) for who in (2**70, 3, [1], {"a": 1}, None)]
    table = datacapture.read(write(tmp_path, *(event(row, "1", encoding="JSON") for row in rows)), signed)
    assert table["x.who"].to_list() == [str(2**70), "3", "[1]", '{"a": 1}', None]
