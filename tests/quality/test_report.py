"""The report: one safe file that holds everything, whatever the data, names and numbers."""

from __future__ import annotations

import math
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.errors import BadInput
from modelyard.quality import page
from modelyard.quality.metrics import by_slice, compute
from modelyard.quality.plots import plots
from modelyard.quality.report import report
from modelyard.signature import Column, Signature

LIMIT = 2_000_000
EVIL = '</svg></style><script>alert(1)</script><img src=x onerror="alert(2)"> $x_{$ & "quoted" \x00 <!-- ]]>'
VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """Reads a page as a browser would and keeps what matters: tags, their balance, ids, addresses, text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.refs: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for key, value in attrs:
            self.attributes.append((tag, key, value or ""))
            self.ids += [value or ""] if key == "id" else []
            self.refs += re.findall(r"url\(#([^)]*)\)", value or "")
            self.refs += [(value or "")[1:]] if key.endswith("href") else []

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def binary(
    n: int = 200, names: tuple[str, ...] = ("age", "carrier"), classes: tuple[Any, Any] = ("no", "yes")
) -> tuple[pl.DataFrame, Signature]:
    rng = np.random.default_rng(3)
    score = rng.random(n)
    truth = rng.random(n) < score
    columns = tuple(Column(name, "float" if i % 2 == 0 else "str") for i, name in enumerate(names))
    features = {f"f.{c.name}": rng.normal(size=n) if c.type == "float" else [f"{c.name[:40]} {i % 4}" for i in range(n)] for c in columns}
    word = np.array(classes, dtype=object)
    table = pl.DataFrame(
        {
            "label": list(word[truth.astype(int)]),
            "y.prediction": list(word[(score >= 0.5).astype(int)]),
            f"y.probability_{classes[1]}": score,
            **features,
        }
    )
    return table, Signature("binary_classification", columns, classes, classes[1], 0.5, "late")


def regression(n: int = 200) -> tuple[pl.DataFrame, Signature]:
    rng = np.random.default_rng(4)
    truth = rng.normal(50, 10, n)
    table = pl.DataFrame({"label": truth, "y.prediction": truth + rng.normal(size=n), "f.age": rng.integers(0, 9, n)})
    return table, Signature("regression", (Column("age", "int"),), target_col="cost")


def multiclass(k: int, n: int = 300) -> tuple[pl.DataFrame, Signature]:
    rng = np.random.default_rng(5)
    scores = rng.dirichlet(np.ones(k), n)
    truth = np.array([rng.choice(k, p=p) for p in scores])
    table = pl.DataFrame({"label": truth, "y.prediction": scores.argmax(1), **{f"y.probability_{c}": scores[:, c] for c in range(k)}})
    return table, Signature("multiclass_classification", (), tuple(range(k)))


GATE = {
    "metric": "roc_auc",
    "ok": True,
    "value": 0.83,
    "bound": 0.7,
    "champion": None,
    "on_fail": "block",
    "sentence": "roc_auc 0.83 >= 0.7: passed",
}


def make(table: pl.DataFrame, signature: Signature, **changed: Any) -> str:
    given: dict[str, Any] = {
        "title": "flight-delay:7",
        "facts": {
            "model": "flight-delay",
            "version": "7",
            "problem_type": signature.problem_type,
            "owner": "team@example.com",
            "data_digest": "ab12cd",
            "commit": "c0ffee",
            "dirty": True,
            "rows": {"train": 700, "test": 150},
            "dropped": ["9430 rows without arr_delay dropped"],
        },
        "metrics": compute(table, signature),
        "slices": [],
        "gates": [GATE] if signature.problem_type == "binary_classification" else [],
        "lineage": {"data": "ab12cd", "environment": {"lock": "ef34"}},
        "champion": None,
    }
    return report(signature=signature, holdout=table, **(given | changed))


CASES = {
    "binary": binary,
    "regression": regression,
    "three classes": lambda: multiclass(3),
    "seven classes": lambda: multiclass(7),
    "forty classes": lambda: multiclass(40, 600),
}


@pytest.mark.parametrize("case", CASES)
def test_a_page_is_whole_small_and_asks_nothing_of_the_network(case: str) -> None:
    text = make(*CASES[case]())
    read = Page(text)
    assert len(text.encode()) < LIMIT
    assert not {"script", "link", "iframe", "img", "object", "image", "foreignobject"} & set(read.tags)
    assert len(read.ids) == len(set(read.ids)) and set(read.refs) <= set(read.ids)
    assert read.tags.count("style") == 1, "a picture must not style the page"
    assert not re.search(r"https?://(?!www\.w3\.org)|@import|url\((?!#)", text)
    assert ("meta", "content", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'") in read.attributes
    assert not re.search(r"#0[1-9]0[1-9]0[1-9]", text), "a stand-in colour was left over"
    assert "prefers-color-scheme: dark" in text and "@media print" in text
    assert text == make(*CASES[case]())


def test_the_head_says_what_it_is_about() -> None:
    text = Page(make(*binary())).text
    for fact in ("flight-delay:7", "version 7", "binary classification", "team@example.com", "ab12cd", "c0ffee", "changes not committed"):
        assert fact in text
    assert "700 train , 150 test" in text.replace(",", " ,").replace("  ", " ") and "9430 rows without arr_delay dropped" in text
    assert "no row was dropped" in Page(make(*binary(), facts={"model": "m", "dropped": []})).text
    assert "not in a Git repository" in Page(make(*binary(), facts={"commit": None})).text
    assert "Cost centre" in Page(make(*binary(), facts={"cost_centre": "A7"})).text


@pytest.mark.parametrize(
    ("gates", "sentence"),
    [
        ([GATE, GATE], "Good enough: all 2 gates passed."),
        ([GATE, GATE | {"ok": False}], "Refused: 1 of 2 gates failed."),
        ([GATE, GATE | {"ok": False, "on_fail": "warn"}], "Good enough: 1 of 2 gates passed, 1 only warns."),
        ([GATE | {"ok": False}, GATE | {"ok": False, "on_fail": "warn"}], "Refused: 1 of 2 gates failed."),
        ([], "No gate was set: nothing judged this version."),
    ],
)
def test_the_verdict_is_the_gates(gates: list[dict[str, Any]], sentence: str) -> None:
    assert sentence in Page(make(*binary(), gates=gates)).text


def test_metrics_stand_beside_the_champions() -> None:
    table, signature = binary()
    ours = compute(table, signature)
    rival = {"roc_auc": ours["roc_auc"] - 0.05, "log_loss": ours["log_loss"] - 0.05, "accuracy": None}
    rows = {r["name"]: r for r in page.metric_rows(ours, rival, "binary_classification")}
    assert (rows["roc_auc"]["better"], rows["log_loss"]["better"], rows["accuracy"]["better"]) == (True, False, None)
    assert rows["roc_auc"]["change"] == "+0.0500" and rows["accuracy"]["champion"] == "—" and rows["f1"]["champion"] == "—"
    text = Page(make(table, signature, champion={"version": "3", "metrics": rival})).text
    assert "The champion, version 3, answered for the same rows." in text
    lost = {"version": "3", "metrics": {}, "reason": "the new data lacks carrier"}
    assert "could not answer for them: the new data lacks carrier." in Page(make(table, signature, champion=lost)).text


def test_undefined_numbers_are_shown_as_such() -> None:
    table, signature = binary()
    one = table.filter(pl.col("label") == "yes")
    values = compute(one, signature)
    assert math.isnan(values["roc_auc"])
    text = make(one, signature, metrics=values, gates=[GATE | {"ok": False, "value": None, "bound": None}])
    assert "nan" not in Page(text).text.lower() and "—" in text
    names = [p.name for p in plots(one, signature)]
    assert "roc" not in names and "confusion" in names


def test_slices_come_worst_first_and_small_ones_last() -> None:
    parts = [
        {"column": "c", "value": v, "rows": r, "roc_auc": a, "log_loss": None if a is None else 1 - a}
        for v, r, a in [("good", 90, 0.9), ("tiny", 5, 0.1), ("bad", 80, 0.6), ("none", 70, None), ("nan", 60, math.nan)]
    ]
    for main in ("roc_auc", "log_loss"):
        shown = page.slice_rows(parts, {"roc_auc": 0.8, "log_loss": 0.2}, main, "binary_classification")
        assert [r["value"] for r in shown["rows"]][:2] == ["bad", "good"]
        assert [r["worse"] for r in shown["rows"]][:2] == [True, False]
        assert {r["value"] for r in shown["rows"][2:]} == {"tiny", "none", "nan"}
    many = [parts[0] | {"value": str(i)} for i in range(100)]
    assert page.slice_rows(many, {}, "roc_auc", "binary_classification")["left_out"] == 100 - page.MAX_SLICES


def test_the_profile_counts_what_is_there() -> None:
    table = pl.DataFrame(
        {
            "f.n": [1.0, None, float("nan"), 4.0],
            "f.i": [1, 2, 3, 3],
            "f.s": ["a", "b", "a", None],
            "f.b": [True, False, True, True],
            "f.t": pl.Series(["2013-01-01", "2013-01-02", None, "2013-02-01"]).str.to_datetime(),
            "f.e": pl.Series([None] * 4, dtype=pl.Float64),
            "f.inf": [float("inf"), 1.0, 2.0, float("-inf")],
        }
    )
    types: dict[str, Any] = {"n": "float", "i": "int", "s": "str", "b": "bool", "t": "datetime", "e": "float", "inf": "float"}
    signature = Signature("regression", tuple(Column(n, t) for n, t in types.items()))
    rows = {r["name"]: r for r in page.profile(table, signature)["rows"]}
    assert [rows[n]["missing"] for n in types] == ["50.0%", "none", "25.0%", "none", "25.0%", "100.0%", "none"]
    assert rows["n"]["summary"] == "1 to 4" and rows["i"]["bars"] == [50.0, 50.0, 100.0]
    assert rows["s"]["summary"] == "a 67%, b 33%" and rows["s"]["labels"] == ["a: 2", "b: 1"]
    assert rows["t"]["summary"].startswith("2013-01-01") and max(rows["t"]["bars"]) == 100
    assert rows["e"]["summary"] == "no values" and rows["inf"]["bars"]


def test_everything_that_a_person_wrote_is_escaped() -> None:
    table, signature = binary(names=(EVIL, EVIL + "2"), classes=("no", EVIL))
    table = table.with_columns(pl.Series("x.where", [EVIL] * len(table)))
    gate = GATE | {"metric": EVIL, "sentence": EVIL}
    text = make(
        table,
        signature,
        title=EVIL,
        facts={"model": EVIL, "version": EVIL, "owner": EVIL, "dropped": [EVIL], EVIL: EVIL, "commit": "\ud800" + EVIL},
        slices=by_slice(table, signature, "where"),
        gates=[gate],
        lineage={EVIL: {EVIL: EVIL}},
        champion={"version": EVIL, "metrics": {}},
    )
    read = Page(text)
    assert not {"script", "img"} & set(read.tags)
    assert not [a for a in read.attributes if a[1].startswith("on")]
    assert read.tags.count("style") == 1 and "\x00" not in text and text.encode()
    assert "alert(1)" in read.text, "the words are still there to be read"


@settings(max_examples=25, deadline=None)
@given(st.text(max_size=40), st.text(max_size=400))
def test_any_text_makes_a_whole_page(word: str, fact: str) -> None:
    table, signature = regression(20)
    read = Page(make(table, signature, title=word, facts={"owner": fact, "note": word}, lineage={word: fact}))
    assert len(read.ids) == len(set(read.ids))


def test_the_widest_table_stays_under_the_limit() -> None:
    """400 columns of long names, 1,500 slices, 300 classes' worth of words, 60,000 rows: caps, not luck, keep it small."""
    table, signature = binary(60_000, tuple(f"column {i} " + "<" * 230 for i in range(400)))
    parts = [{"column": "c" * 250, "value": "&" * 300 + str(i), "rows": 50, "roc_auc": i / 2000} for i in range(1500)]
    text = make(table, signature, slices=parts, lineage={f"k{i}": "<" * 1000 for i in range(50)})
    assert len(text.encode()) < LIMIT
    assert "200 more columns are not shown" in text and "1440 more slices are not shown" in text


def test_bad_tables_are_refused_by_name() -> None:
    table, signature = binary()
    with pytest.raises(BadInput, match="label"):
        report(
            title="x",
            facts={},
            signature=signature,
            holdout=table.drop("label"),
            metrics={},
            slices=[],
            gates=[],
            lineage={},
            champion=None,
        )


def test_no_labelled_rows_make_a_page_without_pictures() -> None:
    table, signature = binary()
    empty = table.with_columns(label=pl.lit(None, dtype=pl.String))
    assert plots(empty, signature) == []
    assert "Pictures" not in Page(make(empty, signature)).text


def test_pictures_show_what_was_measured() -> None:
    table, signature = binary()
    svg = {p.name: p.svg for p in plots(table, signature)}
    assert list(svg) == ["roc", "pr", "calibration", "scores", "confusion", "threshold"]
    assert f"area {compute(table, signature)['roc_auc']:.3f}" in svg["roc"]
    hits = table.filter((pl.col("label") == "yes") & (pl.col("y.prediction") == "yes")).height
    assert f">{hits}</text>" in svg["confusion"]


def test_dollars_in_a_class_name_are_no_formula() -> None:
    svg = {p.name: p.svg for p in plots(*binary(classes=("$a_{$", "<$b^$>")))}
    assert ">$a_{$</text>" in svg["confusion"] and ">&lt;$b^$&gt;</text>" in svg["confusion"]


def test_a_class_that_the_model_never_learned_has_its_own_row() -> None:
    table, signature = multiclass(3)
    late = table.with_columns(label=pl.when(pl.int_range(len(table)) < 17).then(99).otherwise(pl.col("label")))
    svg = {p.name: p.svg for p in plots(late, signature)}
    assert ">(other)</text>" in svg["confusion"] and "wrong" in svg["scores"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "—"),
        (math.nan, "—"),
        (0, "0"),
        (1234567, "1,234,567"),
        (0.7123456, "0.7123"),
        (12.3456, "12.35"),
        (1e-7, "1.000e-07"),
        (True, "1"),
    ],
)
def test_numbers_are_written_for_reading(value: Any, shown: str) -> None:
    assert page.number(value) == shown


@pytest.mark.parametrize(("value", "shown"), [(1.0, "1.0000"), (0.00797, "0.0080"), (54.27, "54.27"), (None, "—"), (0.00004, "4.000e-05")])
def test_measures_line_up(value: Any, shown: str) -> None:
    assert page.measure(value) == shown
