from __future__ import annotations

import csv
import io
import json
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.errors import BadInput
from modelyard.serve.protocols import Formats, negotiate
from modelyard.serve.refusals import NotAcceptable, TooLarge, UnknownContentType
from modelyard.signature import Column, Signature

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
MICROS = int(NOW.timestamp() * 1_000_000)
SIGNED = Signature(
    "binary_classification",
    (
        Column("age", "int"),
        Column("fare", "float", nullable=True),
        Column("arr delay", "str"),
        Column("vip", "bool", nullable=True),
        Column("seen", "datetime", nullable=True),
    ),
    classes=("no", "yes"),
    positive_class="yes",
    decision_threshold=0.5,
    id_col="flight",
    time_col="at",
    entity_cols=("carrier", "age"),
)
FORMATS = Formats(SIGNED, extras=("sex",))
GOOD: dict[str, Any] = {"age": 3, "fare": 1.5, "arr delay": "x", "vip": True, "seen": "2026-01-01T00:00:00Z"}


def parse(body: Any, kind: str | None = None, **more: Any) -> Any:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return FORMATS.parse(data, kind, received_at=MICROS, **more)


@pytest.mark.parametrize(
    "body",
    [
        GOOD,
        [GOOD],
        {"instances": [GOOD]},
        {"dataframe_records": [GOOD]},
        {"dataframe_split": {"columns": list(GOOD)[::-1], "data": [list(GOOD.values())[::-1]]}},
        {"dataframe_split": {"index": [0], "columns": list(GOOD), "data": [list(GOOD.values())]}},
        {"inputs": [GOOD]},
        {"inputs": {name: [value] for name, value in GOOD.items()}},
        {"inputs": [list(GOOD.values())]},
        {"instances": [list(GOOD.values())], "params": {}},
        [list(GOOD.values())],
    ],
)
def test_every_json_envelope_gives_the_same_rows(body: Any) -> None:
    rows = parse(body)
    assert rows.count == 1
    assert rows.columns == {"age": [3], "fare": [1.5], "arr delay": ["x"], "vip": [True], "seen": [1767225600_000000]}
    assert list(rows.columns) == list(SIGNED.names)


def test_nan_is_a_missing_number() -> None:
    assert parse(b'[{"age": 3, "fare": NaN, "arr delay": "NaN"}]').columns["fare"] == [None]
    assert parse(b'{"dataframe_split": {"columns": ["age", "arr delay", "fare"], "data": [[3, "", NaN]]}}').columns["fare"] == [None]
    for body in (b'[{"age": NaN, "arr delay": ""}]', b"[NaN", b"[" * 99_999 + b"NaN"):
        with pytest.raises(BadInput):
            parse(body)


def test_an_infinite_number_is_called_so() -> None:
    """Python writes it in JSON, which has no such word: pandas' and MLflow's clients do."""
    for body in (
        b'[{"age": 3, "fare": Infinity, "arr delay": "NaN"}]',
        b'{"inputs": {"age": [3], "fare": [-Infinity], "arr delay": [""]}}',
    ):
        with pytest.raises(BadInput, match="infinite number"):
            parse(body)
    with pytest.raises(BadInput, match="not JSON"):
        parse(b'[{"age": 3, "arr delay": "Infinity"')


def test_params_ask_for_bare_predictions() -> None:
    assert parse({"inputs": [GOOD], "params": {"predictions": "values"}}).values
    assert not parse({"inputs": [GOOD], "params": {"predictions": "records"}}).values
    for params in ({"predictions": "other"}, {"more": 1}, {"predictions": 1}, [], "values", None):
        with pytest.raises(BadInput) as caught:
            parse({"inputs": [GOOD], "params": params})
        assert caught.value.where == "params" and "column" not in caught.value.what


def test_csv_with_and_without_a_header() -> None:
    plain = parse(b"3,1.5,x,true,2026-01-01\n4,,,,\n", "text/csv")
    named = parse(b"vip,seen,arr delay,age\nTrue,2026-01-01,x,3\n,,,4\n", "text/csv; charset=utf-8")
    wanted = {"age": [3, 4], "arr delay": ["x", ""], "vip": [True, None], "seen": [1767225600_000000, None]}
    assert plain.columns == {**wanted, "fare": [1.5, None]}
    assert named.columns == {**wanted, "fare": [None, None]}


def test_nan_in_csv_is_a_missing_number_and_any_other_text_a_text() -> None:
    found = parse(b"3,nan,nan,true,\n4,NaN,NaN,,\n", "text/csv").columns
    assert (found["fare"], found["arr delay"]) == ([None, None], ["nan", "NaN"])
    for cell, where in (("nan,1,x,,", "`age`"), ("3,nano,x,,", "`fare`"), ("3,inf,x,,", "`fare`"), ("3,1,x,nan,", "`vip`")):
        with pytest.raises(BadInput) as caught:
            parse(cell.encode(), "text/csv")
        assert where in caught.value.where


@pytest.mark.parametrize(
    ("change", "where", "what"),
    [
        ({"age": "3"}, "row 1, column `age`", "must be a whole number of 64 bits, not '3'"),
        ({"age": 2.5}, "row 1, column `age`", "not 2.5"),
        ({"age": True}, "row 1, column `age`", "not True"),
        ({"age": 2**63}, "row 1, column `age`", "64 bits"),
        ({"age": None}, "row 1, column `age`", "is missing"),
        ({"fare": "1"}, "row 1, column `fare`", "must be a finite number"),
        ({"fare": 10**400}, "row 1, column `fare`", "must be a finite number"),
        ({"vip": 1}, "row 1, column `vip`", "true or false"),
        ({"seen": "yesterday"}, "row 1, column `seen`", "ISO 8601"),
        ({"arr delay": ["x"]}, "row 1, column `arr delay`", "must be text"),
        ({"fares": 1}, "row 1, column `fares`", "no column `fares`"),
        ({"carrier": {"a": 1}}, "row 1, column `carrier`", "must be text, a number"),
        ({"flight": 1.5}, "row 1, column `flight`", "1 to 256 characters"),
        ({"at": 5}, "row 1, column `at`", "ISO 8601"),
        ({"at": "2027-11-23"}, "row 1, column `at`", "more than a day ahead"),
        ({"at": "2010-01-01"}, "row 1, column `at`", "more than 3653 days ago"),
    ],
)
def test_a_bad_value_names_row_and_column(change: dict[str, Any], where: str, what: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse([GOOD, {**GOOD, **change}])
    assert caught.value.http_status == 400
    assert where in caught.value.where
    assert what in caught.value.what


def test_a_near_miss_is_guessed() -> None:
    with pytest.raises(BadInput, match="no column `fair`") as caught:
        parse({**GOOD, "fair": 1})
    assert caught.value.next == "Did you mean `fare`?"


def test_missing_columns_are_null_only_where_training_saw_them_missing() -> None:
    assert parse({"age": 1, "arr delay": ""}).columns["fare"] == [None]
    with pytest.raises(BadInput, match="`age` is missing"):
        parse({"arr delay": ""})
    with pytest.raises(BadInput, match="the column `age` is missing"):
        parse({"dataframe_split": {"columns": ["arr delay"], "data": [["x"]]}})


@pytest.mark.parametrize(
    ("body", "kind", "what"),
    [
        (b"", None, "not JSON"),
        (b"{", None, "not JSON"),
        (b"[]", None, "no rows"),
        (b"7", None, "Expected `array`"),
        (b"[7]", None, "Expected `object`"),
        (b"[" * 100_000, None, "nested too deeply"),
        (b'[{"age":' + b"[" * 100_000, None, "nested too deeply"),
        (b'[{"age":1e999}]', None, "out of range"),
        (b'[{"arr delay":"\xff"}]', None, "not UTF-8"),
        (b'{"instances":[],"dataframe_records":[]}', None, "both"),
        (b'{"instances":[],"more":1}', None, "no column `more`"),
        (b'{"dataframe_split":{"columns":["age","age"],"data":[]}}', None, "twice"),
        (b'{"dataframe_split":{"columns":["age","fare"],"data":[[1,2],[1]]}}', None, "row 1 has 1 values"),
        (b"", "text/csv", "no rows"),
        (b"age,arr delay\n", "text/csv", "no rows"),
        (b"age,arr delay\n1\n", "text/csv", "row 0 has 1 values"),
        (b"1,2\n", "text/csv", "without a header a row has 5 values"),
        (b"\xff\xfe", "text/csv", "not UTF-8"),
        (b'age,arr delay\n1,"x', "text/csv", "not CSV"),
        (b"1_0,1,x,,\n", "text/csv", "whole number"),
        (b"1,inf,x,,\n", "text/csv", "finite number"),
        (b"1,1e999,x,,\n", "text/csv", "finite number"),
    ],
)
def test_malformed_bodies_are_400(body: bytes, kind: str | None, what: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse(body, kind)
    assert (caught.value.http_status, what in caught.value.what) == (400, True), caught.value.what


def test_content_types_and_sizes() -> None:
    for kind in ("application/x-npz", "text/plain", "text/csv; charset=latin-1"):
        with pytest.raises(UnknownContentType):
            parse(GOOD, kind)
    with pytest.raises(TooLarge, match="3 rows; the endpoint takes 2"):
        Formats(SIGNED, max_rows=2).parse(json.dumps([GOOD] * 3).encode(), None, received_at=MICROS)


def test_inference_ids() -> None:
    assert parse(GOOD, inference_id="a").inference_ids == ["a"]
    assert parse([GOOD, GOOD], inference_id="a").inference_ids == ["a-0", "a-1"]
    assert parse([{**GOOD, "flight": "UA1"}, {**GOOD, "flight": 7}]).inference_ids == ["UA1", "7"]
    (one,) = parse(GOOD).inference_ids
    assert len(one) == 32 and int(one, 16) >= 0
    first, second = parse([GOOD, GOOD]).inference_ids
    assert first[:-2] == second[:-2] and (first[-2:], second[-2:]) == ("-0", "-1")
    mixed = parse([{**GOOD, "flight": "UA1"}, GOOD]).inference_ids
    assert mixed[0] == "UA1" and len(mixed[1]) == 32
    for bad in ("", "x" * 257, "a\n", "é"):
        with pytest.raises(BadInput, match="inference id"):
            parse(GOOD, inference_id=bad)


def test_event_times_and_extras() -> None:
    rows = parse([{**GOOD, "at": "2026-11-22T12:00:00", "carrier": "UA", "sex": None}, {**GOOD, "at": "2026-11-23T13:00:00+01:00"}, GOOD])
    assert rows.event_times == [MICROS - 86_400_000_000, MICROS, MICROS]
    assert rows.extras == {"carrier": ["UA", None, None]}
    assert parse(GOOD).event_times is None
    assert Formats(SIGNED, max_event_age_days=10_000).parse(
        json.dumps({**GOOD, "at": "2010-01-01"}).encode(), None, received_at=MICROS
    ).event_times == [int(datetime(2010, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000]


def test_answers() -> None:
    outputs = {"probability_no": [0.25, 1.0], "probability_yes": [0.75, 0.0], "prediction": ["yes", "no"]}
    assert json.loads(FORMATS.writer.json(["a", "b"], outputs, "m", "3")) == {
        "predictions": [
            {"inference_id": "a", "prediction": "yes", "probabilities": {"no": 0.25, "yes": 0.75}},
            {"inference_id": "b", "prediction": "no", "probabilities": {"no": 1.0, "yes": 0.0}},
        ],
        "model": "m",
        "version": "3",
    }
    assert FORMATS.writer.csv(["a", "b"], outputs).decode().splitlines() == [
        "inference_id,prediction,probability_no,probability_yes",
        "a,yes,0.25,0.75",
        "b,no,1.0,0.0",
    ]
    number = Formats(Signature("regression", (Column("x", "float"),)))
    assert json.loads(number.writer.json(["a"], {"prediction": [1.5]}, "m", "3"))["predictions"] == [
        {"inference_id": "a", "prediction": 1.5}
    ]


def test_names_with_quotes_and_the_like_work() -> None:
    names = ('a"b', "c\\d", "e\nf", "g.h", "$[0]", "`")
    signed = Signature("binary_classification", tuple(Column(n, "float") for n in names), classes=('"no"', "y"), positive_class="y")
    plan = Formats(signed)
    record = {n: float(i) for i, n in enumerate(names)}
    for body in (
        record,
        [record],
        {"instances": [record]},
        {"dataframe_split": {"columns": names, "data": [list(record.values())]}},
    ):
        assert plan.parse(json.dumps(body).encode(), None, received_at=MICROS).columns == {n: [v] for n, v in record.items()}
    with pytest.raises(BadInput, match="no column `z`") as caught:
        plan.parse(json.dumps([record, {**record, "z": 1}]).encode(), None, received_at=MICROS)
    assert caught.value.where == "row 1, column `z`"
    outputs = {"prediction": ["y"], 'probability_"no"': [0.25], "probability_y": [0.75]}
    answer = json.loads(plan.writer.json(["a"], outputs, "m", "1"))
    assert answer["predictions"] == [{"inference_id": "a", "prediction": "y", "probabilities": {'"no"': 0.25, "y": 0.75}}]


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (None, "application/json"),
        ("*/*", "application/json"),
        ("text/csv", "text/csv"),
        ("text/csv;q=0.5, application/json", "application/json"),
        ("text/html, text/csv;q=0.9", "text/csv"),
    ],
)
def test_accept(accept: str | None, kind: str) -> None:
    assert negotiate(accept) == kind


@pytest.mark.parametrize("accept", ["text/html", "application/json;q=0", "nonsense"])
def test_what_cannot_be_accepted(accept: str) -> None:
    with pytest.raises(NotAcceptable):
        negotiate(accept)


def _holds(rows: Any) -> None:
    """What every parsed body must be: complete, typed, and fit for the wire."""
    assert rows.count >= 1 and len(rows.inference_ids) == rows.count
    kinds = {"age": int, "fare": float, "arr delay": str, "vip": bool, "seen": int}
    for name, kind in kinds.items():
        values = rows.columns[name]
        assert len(values) == rows.count
        assert all(type(v) is kind or (v is None and FORMATS.wanted.nullable[name]) for v in values)
        assert kind is not float or all(v is None or math.isfinite(v) for v in values)
    assert all(len(v) == rows.count for v in rows.extras.values())
    assert json.loads(bytes(rows.encoded())) == rows.columns


def _rows_or_refusal(body: bytes, kind: str | None) -> None:
    try:
        rows = parse(body, kind)
    except BadInput as exc:
        assert 400 <= exc.http_status < 500
        json.dumps(exc.to_dict()).encode()
        return
    _holds(rows)


SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.just("2026-11-22T00:00:00Z"))
KEYS = st.one_of(st.sampled_from([*FORMATS.wanted.names, "instances", "dataframe_split", "columns", "data"]), st.text(max_size=5))
TREES = st.recursive(SCALARS, lambda t: st.lists(t, max_size=4) | st.dictionaries(KEYS, t, max_size=6), max_leaves=20)
RECORDS = st.fixed_dictionaries(
    {"age": SCALARS, "arr delay": SCALARS}, optional={n: SCALARS for n in FORMATS.wanted.names if n not in ("age", "arr delay")}
)


@given(st.binary(max_size=300), st.sampled_from([None, "application/json", "text/csv", "text/csv;header=1"]))
def test_any_bytes_are_rows_or_a_refusal(body: bytes, kind: str | None) -> None:
    _rows_or_refusal(body, kind)


@given(TREES)
def test_any_json_is_rows_or_a_refusal(tree: Any) -> None:
    _rows_or_refusal(json.dumps(tree).encode(), None)


@given(st.lists(RECORDS, min_size=1, max_size=4))
def test_any_records_are_rows_or_a_refusal(records: list[Any]) -> None:
    _rows_or_refusal(json.dumps(records).encode(), None)


@given(st.lists(st.lists(st.text(max_size=8), min_size=1, max_size=6), min_size=1, max_size=5), st.booleans())
def test_any_csv_is_rows_or_a_refusal(cells: list[list[str]], header: bool) -> None:
    text = io.StringIO()
    csv.writer(text).writerows([["age", "arr delay", "fare"], *cells] if header else cells)
    _rows_or_refusal(text.getvalue().encode("utf-8", "surrogatepass"), "text/csv")


@given(st.text(max_size=60), st.text(max_size=300))
def test_any_headers_are_rows_or_a_refusal(kind: str, identity: str) -> None:
    for content_type, header in ((kind, None), ("application/json; charset=" + kind, identity), (None, identity)):
        try:
            _holds(parse(GOOD, content_type, inference_id=header))
        except BadInput as exc:
            assert 400 <= exc.http_status < 500


RECORD = st.fixed_dictionaries(
    {
        "age": st.integers(-(2**63), 2**63 - 1),
        "fare": st.none() | st.floats(allow_nan=False, allow_infinity=False),
        "arr delay": st.text(st.characters(codec="utf-8"), max_size=10),
        "vip": st.none() | st.booleans(),
        "seen": st.none() | st.datetimes(timezones=st.just(UTC)),
    }
)


@given(st.lists(RECORD, min_size=1, max_size=5))
def test_every_way_to_send_good_rows_reads_the_same(records: list[dict[str, Any]]) -> None:
    sent = [{**r, "seen": r["seen"] and r["seen"].isoformat()} for r in records]
    split = {"dataframe_split": {"columns": list(SIGNED.names), "data": [[r[n] for n in SIGNED.names] for r in sent]}}
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerows(
        [
            SIGNED.names,
            *[["" if r[n] is None else repr(r[n]) if type(r[n]) is float else r[n] for n in SIGNED.names] for r in sent],
        ]
    )
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    wanted = {n: [r[n] for r in records] for n in SIGNED.names}
    wanted["seen"] = [v and (v - epoch) // timedelta(microseconds=1) for v in wanted["seen"]]
    for rows in (parse(sent), parse(split), parse(text.getvalue().encode(), "text/csv")):
        assert rows.columns == wanted
