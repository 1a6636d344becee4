"""Label Studio's formats; `tests/flows/test_labelstudio.py` has a real one take and give them."""

from __future__ import annotations

import csv
import json
import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.errors import BadInput
from modelyard.monitor import labelstudio
from modelyard.signature import Column, Signature

BINARY = Signature("binary_classification", (Column("x", "float"),), classes=(0, 1), positive_class=1, target_col="late")
SEVERAL = Signature("multilabel_classification", (Column("x", "float"),), classes=("a", "b"), target_col="tags", label_separator=";")
NUMBER = Signature("regression", (Column("x", "float"),), target_col="y")
AT = "2026-03-01T12:00:00.000001Z"


def row(**columns: Any) -> pl.DataFrame:
    at = datetime(2026, 3, 1, tzinfo=UTC)
    first = {"inference_id": "r1", "event_time": at, "received_at": at, "version": "3", "latency_ms": 1.0, "f.x": 2.5, "x.plane": "N1"}
    return pl.DataFrame([{**first, **columns, "reason": "unsure", "priority": 1.0}])


def annotation(value: Any, *, at: str = AT, **more: Any) -> dict[str, Any]:
    result = [] if value is None else [{"from_name": "label", "to_name": "inference_id", "type": "choices", "value": value}]
    return {"id": 1, "result": result, "was_cancelled": False, "ground_truth": False, "created_at": at, "updated_at": at, **more}


def task(*annotations: dict[str, Any], id: str = "r1") -> dict[str, Any]:
    return {"id": 7, "data": {"inference_id": id, "row": {}}, "annotations": list(annotations), "predictions": []}


def read(path: Path, found: Any, signature: Signature = BINARY) -> list[tuple[Any, ...]]:
    file = path / "export.json"
    file.write_text(json.dumps(found))
    assert labelstudio.is_export(file)
    return labelstudio.read(file, signature).rows()


def test_tasks() -> None:
    (found,) = labelstudio.tasks(row(**{"y.prediction": 1, "y.probability_0": 0.4, "y.probability_1": 0.6}), BINARY, "demo")
    assert found["data"] == {"inference_id": "r1", "row": {"x": 2.5, "plane": "N1"}}
    assert found["meta"] == {"model": "demo", "version": "3", "event_time": "2026-03-01T00:00:00+00:00", "reason": "unsure"}
    (said,) = found["predictions"]
    assert (said["model_version"], said["score"]) == ("demo:3", 0.6) and said["result"][0]["value"] == {"choices": ["1"]}
    (blind,) = labelstudio.tasks(row(**{"y.prediction": 1}), BINARY, "demo", blind=True)
    assert "predictions" not in blind and "reason" not in blind["meta"], "which tells the answer"
    (number,) = labelstudio.tasks(row(**{"y.prediction": 2.5}), NUMBER, "demo")
    assert number["predictions"][0]["result"][0]["type"] == "number"
    (several,) = labelstudio.tasks(row(**{"y.prediction": "a;b"}), SEVERAL, "demo")
    assert several["predictions"][0]["result"][0]["value"] == {"choices": ["a", "b"]}
    (none,) = labelstudio.tasks(row(**{"y.prediction": None}), BINARY, "demo")
    assert "predictions" not in none


def test_the_interface_goes_with_the_problem() -> None:
    odd = Signature("multiclass_classification", (), classes=("<a>", 'b "c"', True), target_col="t & u")
    root = ET.fromstring(labelstudio.interface(odd))  # noqa: S314 - our own
    assert [c.get("value") for c in root.iter("Choice")] == ["<a>", 'b "c"', "true"]
    assert root.find("Header") is not None and root.find("Choices").get("choice") == "single"  # type: ignore[union-attr]
    assert ET.fromstring(labelstudio.interface(SEVERAL)).find("Choices").get("choice") == "multiple"  # type: ignore[union-attr]  # noqa: S314
    assert ET.fromstring(labelstudio.interface(NUMBER)).find("Number") is not None  # noqa: S314


def test_a_whole_export(tmp_path: Path) -> None:
    (said,) = read(tmp_path, [task(annotation({"choices": ["1"]}))])
    assert said == ("r1", 1, datetime(2026, 3, 1, 12, 0, 0, 1, tzinfo=UTC))
    assert read(tmp_path, [task(annotation({"number": 2.5}))], NUMBER)[0][1] == 2.5
    assert read(tmp_path, [task(annotation({"choices": ["b", "a"]}))], SEVERAL)[0][1] == "a;b"
    assert read(tmp_path, [task(annotation(None))], SEVERAL)[0][1] == ""  # no label holds, and that was said


def test_who_counts_of_several(tmp_path: Path) -> None:
    early, late = "2026-03-01T10:00:00Z", "2026-03-02T10:00:00Z"
    one, two = {"choices": ["0"]}, {"choices": ["1"]}
    assert read(tmp_path, [task(annotation(one, at=early), annotation(two, at=late))])[0][1] == 1  # the newest of a tie
    assert read(tmp_path, [task(annotation(one), annotation(two, at=late), annotation(one, at=early))])[0][1] == 0  # the most
    assert read(tmp_path, [task(annotation(one, ground_truth=True), annotation(two), annotation(two))])[0][1] == 0
    assert read(tmp_path, [task(annotation(one), annotation(two, was_cancelled=True))])[0][1] == 0
    assert read(tmp_path, [task(annotation(one), id="a"), task(annotation(None), id="b"), task(id="c")]) == [
        ("a", 0, datetime(2026, 3, 1, 12, 0, 0, 1, tzinfo=UTC)),
        ("b", None, None),
        ("c", None, None),
    ]


def short(**answer: Any) -> dict[str, Any]:
    return {
        "inference_id": "r1",
        "row": {"x": 1},
        "id": 1,
        "annotator": 1,
        "annotation_id": 1,
        "created_at": AT,
        "updated_at": AT,
        **answer,
    }


def test_a_short_export(tmp_path: Path) -> None:
    assert read(tmp_path, [short(label="1")])[0][1] == 1
    assert read(tmp_path, [short(label=[{"number": 3.25}])], NUMBER)[0][1] == 3.25
    assert read(tmp_path, [short(label={"choices": ["b", "a"]})], SEVERAL)[0][1] == "a;b"
    assert read(tmp_path, [short(label="b")], SEVERAL)[0][1] == "b" and read(tmp_path, [short()], SEVERAL)[0][1] == ""
    assert read(tmp_path, [short()])[0][1] is None
    left = {**short(), "annotation_id": None, "annotator": None, "created_at": None, "updated_at": None}
    assert read(tmp_path, [left], SEVERAL) == [("r1", None, None)]


@pytest.mark.parametrize(
    ("answer", "signature", "wanted"),
    [
        ("1", BINARY, 1),
        ('[{"number":3.25}]', NUMBER, 3.25),
        ('{"choices":["b","a"]}', SEVERAL, "a;b"),
        ("", BINARY, None),
        ("", SEVERAL, ""),
    ],
)
def test_a_csv_export(tmp_path: Path, answer: str, signature: Signature, wanted: Any) -> None:
    """Its `id` is Label Studio's own, and no prediction's."""
    file = tmp_path / "export.csv"
    with file.open("w", newline="") as out:
        writer = csv.DictWriter(out, list(short(label=answer)), quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerow(short(label=answer))
    assert labelstudio.is_export(file)
    assert labelstudio.read(file, signature).rows()[0][:2] == ("r1", wanted)


def test_what_is_no_export(tmp_path: Path) -> None:
    file = tmp_path / "labels.json"
    for text in ("{", "[]", "[1]", '{"data": 1}', '[{"inference_id": "a", "label": 1}]', "[" * 100_000):
        file.write_text(text)
        assert not labelstudio.is_export(file)
        with pytest.raises(BadInput):
            labelstudio.read(file, BINARY)
    (tmp_path / "labels.csv").write_text("inference_id,label\na,1\n")
    assert not labelstudio.is_export(tmp_path / "labels.csv") and not labelstudio.is_export(tmp_path / "none.json")


@pytest.mark.parametrize(
    "found",
    [
        [{**task(), "data": {"text": "of another project"}}],
        [task({**annotation({"choices": ["1"]}), "updated_at": "soon"})],
        [task(annotation({"rating": 3}))],
        [task({"was_cancelled": False})],
    ],
)
def test_what_cannot_be_read_is_told(tmp_path: Path, found: Any) -> None:
    with pytest.raises(BadInput):
        read(tmp_path, found)


@given(st.lists(st.sampled_from(["0", "1"]), min_size=1, max_size=7), st.randoms())
def test_the_order_of_annotations_says_nothing(tmp_path_factory: pytest.TempPathFactory, answers: list[str], random: Any) -> None:
    given_ = [annotation({"choices": [a]}, at=f"2026-03-01T12:00:{i:02}Z") for i, a in enumerate(answers)]
    mixed = random.sample(given_, len(given_))
    folder = tmp_path_factory.getbasetemp()
    assert read(folder, [task(*given_)]) == read(folder, [task(*mixed)])
