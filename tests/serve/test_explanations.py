"""What a runner may answer to an `explain` message, and what becomes of it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from modelyard.errors import YardError
from modelyard.serve.explanations import MOST_ROWS, Explainer, NotExplained
from modelyard.serve.protocols import Formats
from modelyard.serve.refusals import ModelFailed, TooLarge
from modelyard.signature import Column, Signature

SIGNED = Signature(
    "binary_classification",
    (Column("n", "int"), Column("s", "str", nullable=True), Column("t", "datetime", nullable=True)),
    classes=("no", "yes"),
    positive_class="yes",
)
FORMATS = Formats(SIGNED, max_rows=5000)
GOOD = {"attributions": [[1.0], [2.0], [3.0]], "base": 0.5, "output": "log-odds", "method": "tree", "why": "it is so", "error": 0.0}


class Runners:
    """Answers every message with `reply`, and remembers the last."""

    def __init__(self, reply: dict[str, Any]) -> None:
        self.reply, self.fields = reply, dict[str, Any]()

    async def ask(self, op: str, fields: dict[str, Any], rows: int) -> dict[str, Any]:
        self.fields = {"op": op, "count": rows, **fields}
        return self.reply


def background(folder: Path) -> str:
    table = {"n": [1, 2], "s": ["x", None], "t": pl.Series([None, "2026-01-01"]).str.to_datetime(time_zone="UTC")}
    pl.DataFrame(table).write_parquet(folder / "background.parquet")
    return str(folder / "background.parquet")


def explain(reply: dict[str, Any], path: str | None, count: int = 1) -> tuple[Any, Runners]:
    runners = Runners(reply)
    rows = FORMATS.parse(b"[" + b",".join([b'{"n": 1}'] * count) + b"]", None, received_at=0)
    explainer = Explainer(FORMATS, runners, path, None)  # type: ignore[arg-type]
    return asyncio.run(explainer.explain(rows)), runners


def test_the_message_and_both_shapes_of_the_answer(tmp_path: Path) -> None:
    found, runners = explain({"explained": GOOD}, background(tmp_path))
    sent = runners.fields
    assert (sent["op"], sent["count"], sent["output"], sent["method"]) == ("explain", 1, "probability_yes", "auto")
    assert bytes(sent["columns"]) == b'{"n":[1],"s":[null],"t":[null]}'
    assert sent["background"]["rows"] == 2
    assert bytes(sent["background"]["columns"]) == b'{"n":[1,2],"s":["x",null],"t":[null,1767225600000000]}'
    assert found.plain() == {
        "output": "probability_yes",
        "unit": "log-odds",
        "base": 0.5,
        "method": "tree",
        "why": "it is so",
        "attributions": [{"n": 1.0, "s": 2.0, "t": 3.0}],
    }
    said = found.clarify(SIGNED, b"{}")
    assert said["predictions"] == {"content_type": "application/json", "data": "{}"}
    assert said["explanations"]["kernel_shap"][0][1] == {
        "feature_header": "s",
        "feature_type": "categorical",
        "attributions": [{"attribution": [2.0]}],
    }


@pytest.mark.parametrize(
    ("reply", "kind", "what"),
    [
        ({"declined": "KNN has no structure"}, NotExplained, "KNN has no structure"),
        ({"error": {"code": "bad_request", "what": "unknown op"}}, ModelFailed, "unknown op"),
        ({}, ModelFailed, "not as the protocol has it"),
        ({"explained": {"attributions": 1}}, ModelFailed, "not as the protocol has it"),
        ({"explained": {**GOOD, "attributions": [[1.0]]}}, ModelFailed, "not a value a row and column"),
        ({"explained": {**GOOD, "attributions": [[1.0], [2.0], [3.0, 4.0]]}}, ModelFailed, "not a value a row and column"),
    ],
)
def test_other_answers_are_errors(tmp_path: Path, reply: dict[str, Any], kind: type[YardError], what: str) -> None:
    with pytest.raises(kind, match=what):
        explain(reply, background(tmp_path))


def test_what_cannot_be_explained_says_why(tmp_path: Path) -> None:
    with pytest.raises(NotExplained, match="keeps no background") as caught:
        explain({}, None)
    assert caught.value.http_status == 422
    with pytest.raises(NotExplained, match="cannot be read"):
        explain({}, str(tmp_path / "gone.parquet"))
    (tmp_path / "bad.parquet").write_bytes(b"nonsense")
    with pytest.raises(NotExplained, match="does not hold"):
        explain({}, str(tmp_path / "bad.parquet"))
    with pytest.raises(TooLarge, match="at most 1000 are explained"):
        explain({}, background(tmp_path), MOST_ROWS + 1)


@pytest.mark.parametrize(
    ("signed", "output"),
    [
        (Signature("regression", ()), "prediction"),
        (Signature("anomaly_detection", (), classes=("ok", "odd"), positive_class="odd"), "score"),
        (Signature("multiclass_classification", (), classes=("a", "b", "c")), "probability_a"),
        (Signature("binary_classification", (), classes=(0, 1), positive_class=1), "probability_1"),
    ],
)
def test_which_output_is_explained_where_nobody_says(signed: Signature, output: str) -> None:
    assert Explainer(Formats(signed), Runners({}), None, None).of == output  # type: ignore[arg-type]
