"""The report: a document and a page of it, safe, small and whole, whatever the data, names and numbers."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import precision_recall_curve, precision_recall_fscore_support, roc_auc_score

from modelyard.errors import BadInput
from modelyard.quality import card, page, plots
from modelyard.quality.bias.catalogue import NEUTRAL, POST_TRAINING, PRE_TRAINING
from modelyard.quality.card.measured import FEW_ROWS, MAX_SLICES, slice_rows
from modelyard.quality.chart import Chart
from modelyard.quality.curves import curves
from modelyard.quality.metrics import compute
from modelyard.quality.report import MAX_COLUMNS, MAX_FEATURES, document, render, verdict
from modelyard.quality.scales import ticks
from modelyard.quality.slices import by_slice
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


def multilabel(n: int = 200) -> tuple[pl.DataFrame, Signature]:
    rng = np.random.default_rng(6)
    scores = rng.random((n, 3))
    names = ("up", "far", "odd")
    held, said = rng.random((n, 3)) < scores, scores >= 0.5
    sets = [["|".join(name for name, on in zip(names, row, strict=True) if on) for row in rows] for rows in (held, said)]
    table = pl.DataFrame({"label": sets[0], "y.prediction": sets[1], **{f"y.probability_{c}": scores[:, i] for i, c in enumerate(names)}})
    return table, Signature("multilabel_classification", (), names, label_separator="|")


def ranking(n: int = 200) -> tuple[pl.DataFrame, Signature]:
    rng = np.random.default_rng(7)
    truth = rng.integers(0, 4, n)
    table = pl.DataFrame({"label": truth, "y.prediction": truth + rng.normal(size=n), "x.q": [f"q{i // 12}" for i in range(n)]})
    return table, Signature("ranking", (), group_col="q")


def forecasting(n: int = 200) -> tuple[pl.DataFrame, Signature]:
    rng = np.random.default_rng(8)
    truth = 50 + rng.normal(size=n).cumsum()
    at = pl.datetime_range(pl.datetime(2025, 1, 1), pl.datetime(2026, 1, 1), "1h", time_zone="UTC", eager=True)[: n // 2]
    when = pl.concat([at, at])
    shop = ["a"] * (n // 2) + ["b"] * (n // 2)
    table = pl.DataFrame({"label": truth, "y.prediction": truth + rng.normal(size=n), "event_time": when, "x.shop": shop})
    return table, Signature("forecasting", (), entity_cols=("shop",), naive_error=1.0)


def anomalies(n: int = 300) -> tuple[pl.DataFrame, Signature]:
    rng = np.random.default_rng(9)
    odd = rng.random(n) < 0.1
    score = rng.normal(size=n) + 3 * odd
    table = pl.DataFrame({"label": np.where(odd, "odd", "ok"), "y.prediction": np.where(score > 2, "odd", "ok"), "y.score": 40 * score})
    return table, Signature("anomaly_detection", (), ("ok", "odd"), "odd")


GATE = {
    "metric": "roc_auc",
    "ok": True,
    "value": 0.83,
    "bound": 0.7,
    "champion": None,
    "on_fail": "block",
    "sentence": "roc_auc 0.83 >= 0.7: passed",
    "low": 0.8,
    "high": 0.86,
}


def bias(name: str = "carrier=UA", **values: Any) -> dict[str, Any]:
    def row(metric: str) -> dict[str, Any]:
        value = values.get(metric, NEUTRAL[metric] + 0.1)
        known = isinstance(value, float)
        more = {} if known else {"error": "it is not known"}
        return {"metric": metric, "description": f"About it ({metric})", "value": value, "low": value - 0.05 if known else None,
                "high": value + 0.05 if known else None, **more}  # fmt: skip

    facet = {"column": "carrier", "name": name, "value": "UA", "rows": 40, "others": 160}
    return {**facet, "pre_training": [row(m) for m in PRE_TRAINING], "post_training": [row(m) for m in POST_TRAINING]}


def explained(names: tuple[str, ...] = ("age", "carrier"), rows: int = 50) -> dict[str, Any]:
    values = [[float(i), *[f"w{i % 3}"] * (len(names) - 1)] for i in range(rows)]
    given_ = [[math.sin(i + j) for j in range(len(names))] for i in range(rows)]
    return {
        "method": "tree",
        "why": "it is one",
        "output": "log-odds",
        "of": "probability_yes",
        "rows": rows,
        "background_rows": 10,
        "base_value": 0.1,
        "global": [{"feature": name, "mean_abs": 1 / (i + 1), "mean": 0.0} for i, name in enumerate(names)],
        "sample": {"features": list(names), "values": values, "attributions": given_},
        "partial_dependence": [
            {"feature": names[0], "grid": [0.0, 1.0, 2.0], "mean": [0.1, 0.2, 0.3], "low": [0.0] * 3, "high": [1.0] * 3}
        ],
        "additivity_error": 1e-12,
    }


def profile(*names: str, rows: int = 200) -> dict[str, Any]:
    def column(i: int, name: str) -> dict[str, Any]:
        base = {"name": name, "missing": 3 * i, "distinct": 7, "min": None, "max": None, "mean": None, "std": None, "quantiles": {}}
        if i % 2:
            return {**base, "type": "str", "top": [[f"{name} value", 150], ["b", 50]]}
        numbers = {"type": "float", "min": 0.0, "max": 3.0, "quantiles": {"0.5": 1.0}}
        return {**base, **numbers, "histogram": {"edges": [0.0, 1.0, 2.0, 3.0], "counts": [7, 0, 3]}}

    return {"rows": rows, "target": names[-1], "columns": [column(i, name) for i, name in enumerate(names)], "splits": {"train": 150}}


TUNING = {
    "metric": "loss",
    "direction": "minimize",
    "best": 2,
    "sampler": "tpe",
    "seed": 3,
    "importances": {"rate": 0.7, "depth": 0.3},
    "trials": [
        {"number": n, "state": state, "value": value, "params": {"rate": 0.1 * n, "depth": n}, "seconds": 1.5 * n, "reason": ""}
        for n, state, value in [(1, "complete", 0.5), (2, "complete", 0.2), (3, "pruned", 0.9), (4, "failed", None)]
    ],
}
TODAY: dict[str, Any] = {
    "as_of": "2026-11-29T12:00:00+00:00",
    "bundle": "b0" * 32,
    "champion": True,
    "serves": {"production": 90},
    "waiting": [],
    "approvals": [
        {
            "at": "2026-11-28T09:30:00+00:00",
            "kind": "ApprovalGiven",
            "sentence": "ana approved flight-delay:7",
            "by": "ana",
            "approved": True,
        }
    ],
    "events": [{"at": "2026-11-28T09:30:00+00:00", "kind": "Promoted", "sentence": "it was promoted", "by": None, "tone": "passed"}],
    "verdicts": [{"monitor": "drift", "end": "2026-11-29T00:00:00+00:00", "status": "violated", "reason": "dest moved"}],
    "set_aside": "",
}


def made(table: pl.DataFrame, signature: Signature, **changed: Any) -> dict[str, Any]:
    measured = {name: None if math.isnan(v) else v for name, v in compute(table, signature).items()}
    evaluation = {
        "metrics": measured,
        "intervals": {name: [v - 0.01, v + 0.01] for name, v in measured.items() if v is not None},
        "level": 0.95,
        "slices": changed.pop("slices", []),
        "worst": None,
        "worst_by": {},
        "baseline": {"kind": "mean", "metrics": {}, "metric": None, "ok": None, "on_fail": "off", "sentence": ""},
        "champion": changed.pop("champion", None),
        "custom": {},
        "latency": {"p50_ms": 1.5, "p99_ms": 4.25, "requests": 50},
        "size": {"bytes": 2_500_000},
        "leakage": changed.pop("leakage", []),
    } | changed.pop("evaluation", {})
    given_: dict[str, Any] = {
        "about": {
            "model": {
                "name": "flight-delay",
                "problem_type": signature.problem_type,
                "owner": "team@example.com",
                "tags": {"tier": "demo"},
            },
            "version": "7",
            "run": "build-1",
            "made_at": "2026-11-27T08:00:00+00:00",
            "made_by": "ada",
            "because": "",
        },
        "data": {
            "digest": "ab12cd",
            "source": "ab12cd",
            "rows": {"train": 700, "test": 150},
            "captured": 0,
            "dropped": ["9430 rows dropped"],
        },
        "gates": [GATE] if signature.problem_type == "binary_classification" else [],
        "lineage": {"commit": "c0ffee", "dirty": True, "code": "0c0de0", "environment": "e0e0", "steps": [], "packages": ["numpy==2.0"]},
    }
    return document(signature=signature, evaluation=evaluation, curves=curves(table, signature), **(given_ | changed))


def make(table: pl.DataFrame, signature: Signature, **changed: Any) -> str:
    return render(made(table, signature, **changed))


CASES: dict[str, Any] = {
    "binary": binary,
    "regression": regression,
    "three classes": lambda: multiclass(3),
    "seven classes": lambda: multiclass(7),
    "forty classes": lambda: multiclass(40, 600),
    "labels": multilabel,
    "ranking": ranking,
    "forecasting": forecasting,
    "anomalies": anomalies,
}
WHOLE = {"bias": {"label": "late", "good": "yes", "level": 0.9, "facets": [bias(), bias("sex=f", DI=0.4)], "notes": ["a note"]},
         "explanations": explained(), "profile": profile("age", "carrier", "late"), "tuning": TUNING}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_page_is_whole_small_and_asks_nothing_of_the_network(case: str) -> None:
    found = made(*CASES[case](), chapters=WHOLE)
    written = json.dumps(found, allow_nan=False)
    text = render(found)
    read = Page(text)
    assert len(text.encode()) < LIMIT and len(written) < LIMIT
    assert not {"script", "link", "iframe", "img", "object", "image", "foreignobject"} & set(read.tags)
    assert len(read.ids) == len(set(read.ids)) and set(read.refs) <= set(read.ids), "every link of the contents leads somewhere"
    assert read.tags.count("style") == 1, "a picture must not style the page"
    assert not re.search(r"https?://|@import|url\(", text)
    assert ("meta", "content", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'") in read.attributes
    assert "prefers-color-scheme: dark" in text and "@media print" in text
    assert "nan" not in re.sub(r"<style>.*?</style>", "", text, flags=re.DOTALL).lower().replace("finance", "")
    assert text == render(json.loads(written)), "the page is a function of the document"
    pictures = read.tags.count("svg")
    told = [value for tag, key, value in read.attributes if (tag, key) == ("svg", "aria-label")]
    assert len(told) == pictures and all(len(words) > 10 for words in told), "every picture says in words what it shows"


def test_chapters_that_have_nothing_are_not_there() -> None:
    table, signature = binary()
    whole = made(table, signature, chapters=WHOLE, slices=by_slice(table, signature, "carrier")) | {"today": TODAY}
    chapters = ["life", "gates", "metrics", "pictures", "slices", "bias", "explanations", "data", "tuning", "lineage"]
    assert [name for name, _ in card.view(whole)["contents"]] == chapters
    bare = document(
        about={"model": {"name": "m", "problem_type": "regression", "target": "y"}, "version": "1"},
        signature=None,
        gates=[{"metric": "data", "ok": False, "value": None, "bound": None, "on_fail": "block", "sentence": "refused: 3 rows"}],
        lineage={},
        data={},
        expectations=["refused: 3 rows, at least 100 wanted: failed", "warning: w", "x: passed"],
    )
    assert [name for name, _ in card.view(bare)["contents"]] == ["gates", "lineage"]
    text = Page(render(bare)).text
    assert (
        "Refused for its data, before anything was trained." in text
        and "1 check of the data warns" in text
        and "nobody can approve it" in text
    )
    assert [row["state"] for row in card.view(bare)["gates"]["expectations"]] == ["failed", "warning", "passed"]


def test_the_head_says_what_it_is_about() -> None:
    table, signature = binary()
    about = made(table, signature)["model"]
    model = {
        "name": "flight-delay",
        "problem_type": "binary_classification",
        "intended_use": "Long " * 300,
        "limitations": "<b>Not</b> for claims",
    }
    text = Page(make(table, signature)).text
    for fact in (
        "flight-delay version 7",
        "binary classification",
        "team@example.com",
        "c0ffee",
        "changes not committed",
        "700 train",
        "ada",
        "demo",
    ):
        assert fact in text, fact
    assert (
        "9430 rows dropped" in text and "before anybody could approve it" in text and "late; positive is yes, from a score of 0.5" in text
    )
    assert about["features"][0] == {"name": "age", "type": "float", "nullable": False}
    prose = Page(make(table, signature, about={"model": model, "version": "7"})).text
    assert prose.count("Long") == 300 and "<b>Not</b> for claims" in prose and "Built by" not in prose
    assert "not in a Git repository" in Page(make(table, signature, lineage={"commit": None})).text
    dropped = {"digest": "d", "rows": {}, "dropped": []}
    assert "No row was dropped." in Page(make(table, signature, data=dropped)).text


def test_the_card_says_who_approved_it_and_what_became_of_it() -> None:
    found = made(*binary())
    text = Page(render(found | {"today": TODAY})).text
    for said in (
        "ana approved flight-delay:7, 2026-11-28 09:30 UTC",
        "production 90%",
        "it was promoted",
        "dest moved",
        "violated",
        "b0" * 32,
    ):
        assert said in text, said
    rejected = {**TODAY["approvals"][0], "approved": False, "sentence": "bob rejected it"}
    waits = {"sentence": "it waits for approval"}
    stamps = [
        ({"approvals": [*TODAY["approvals"], rejected]}, "failed", "bob rejected it"),
        ({"approvals": [], "waiting": [waits]}, "warning", "it waits for approval"),
        ({"approvals": [{**rejected, "kind": "ApprovalWaived", "sentence": "no word needed"}]}, "none", "no word needed"),
        ({"approvals": []}, "none", "Nobody has been asked"),
    ]
    for changed, state, said in stamps:
        stamp = card.view(found | {"today": TODAY | changed})["head"]["stamp"]
        assert stamp["state"] == state and said in stamp["text"]


LEAK = {"check": "duplicates", "ok": False, "on_fail": "warn", "sentence": "5 rows are in both", "evidence": {}}


@pytest.mark.parametrize(
    ("gates", "checks", "state", "sentence"),
    [
        ([GATE, GATE], 0, "passed", "Good enough: all 2 gates passed."),
        ([GATE], 0, "passed", "Good enough: the gate passed."),
        ([GATE, GATE | {"ok": False}], 0, "failed", "Refused: 1 of 2 gates failed."),
        ([GATE, GATE | {"ok": False, "on_fail": "warn"}], 0, "warning", "Good enough: 1 of 2 gates passed, 1 only warns."),
        ([GATE | {"ok": False}, GATE | {"ok": False, "on_fail": "warn"}], 0, "failed", "Refused: 1 of 2 gates failed."),
        ([GATE | {"ok": False}], 0, "failed", "Refused: the gate failed."),
        ([], 0, "none", "No gate was set: nothing judged this version."),
        ([GATE], 1, "warning", "Good enough: the gate passed. 1 check of the data warns."),
        ([], 2, "warning", "No gate was set: nothing judged this version. 2 checks of the data warn."),
    ],
)
def test_the_verdict_is_the_gates_and_the_datas(gates: list[dict[str, Any]], checks: int, state: str, sentence: str) -> None:
    assert verdict(gates, checks) == {"state": state, "sentence": sentence}
    text = Page(make(*binary(), gates=gates, leakage=[LEAK] * checks)).text
    assert sentence in text and ("leak: duplicates" in text) == bool(checks)


def test_chips_say_what_each_gate_asks() -> None:
    gates = [GATE, GATE | {"metric": "log_loss"}, GATE | {"versus": "champion", "champion": 0.8}]
    gates += [GATE | {"versus": rival, "bound": None} for rival in ("champion", "baseline")]  # a rival without a number is one too
    gates += [GATE | {"end": "lower"}, GATE | {"metric": "DPPL", "of": "a=b"}, GATE | {"metric": "mine"}, GATE | {"of": "carrier = UA"}]
    chips = [chip["name"] for chip in card.view(made(*binary(), gates=gates))["head"]["chips"]]
    asked = [
        "roc_auc ≥ 0.7",
        "log_loss ≤ 0.7",
        "roc_auc against the champion",
        "roc_auc against the champion",
        "roc_auc against the baseline",
        "roc_auc (lower bound) ≥ 0.7",
    ]
    assert chips == [*asked, "DPPL of a=b", "mine", "roc_auc of carrier = UA ≥ 0.7"]


def test_metrics_stand_beside_the_champions_and_the_baselines() -> None:
    table, signature = binary()
    ours = compute(table, signature)
    rival = {"roc_auc": ours["roc_auc"] - 0.05, "log_loss": ours["log_loss"] - 0.05, "accuracy": None, "mine": 3.0}
    naive = {"kind": "most frequent class", "metrics": {"roc_auc": 0.5}, "ok": True, "on_fail": "warn", "sentence": "better than 0.5"}
    custom = {"mine": {"value": 4.0, "greater_is_better": False}}
    found = made(table, signature, champion={"version": "3", "metrics": rival}, evaluation={"baseline": naive, "custom": custom})
    rows = {r["name"]: r for r in card.view(found)["metrics"]["rows"]}
    assert [rows[n]["better"] for n in ("roc_auc", "log_loss", "accuracy", "mine")] == [True, False, None, False]
    assert rows["roc_auc"]["change"] == "+0.0500" and rows["accuracy"]["champion"] == "—" and rows["f1"]["champion"] == "—"
    assert (
        rows["roc_auc"]["span"] == f"{ours['roc_auc'] - 0.01:.4f} to {ours['roc_auc'] + 0.01:.4f}"
        and rows["roc_auc"]["baseline"] == "0.5000"
    )
    text = Page(render(found)).text
    assert (
        "The champion, version 3, answered for the same rows." in text
        and "better than 0.5" in text
        and "2.5 MB" in text
        and "4.250 ms" in text
    )
    head = card.view(found)["head"]["headline"]
    assert head["title"] == "ROC AUC" and head["beside"][0] == {"word": "better", "text": "+0.0500 against the champion, version 3"}
    assert "champion" in head["plot"].svg and "learned nothing" in head["plot"].svg
    lost = {"version": "3", "metrics": {}, "reason": "the new data lacks carrier"}
    assert "could not answer for them: the new data lacks carrier." in Page(make(table, signature, champion=lost)).text


def test_undefined_numbers_are_shown_as_such() -> None:
    table, signature = binary()
    one = table.filter(pl.col("label") == "yes")
    text = make(one, signature, gates=[GATE | {"ok": False, "value": None, "bound": None, "low": None, "high": math.nan}])
    assert "nan" not in Page(text).text.lower() and "—" in text
    names = [p.name for p in plots.plots(curves(one, signature))]
    assert "roc" not in names and "confusion" in names


def test_slices_come_worst_first_and_small_ones_last() -> None:
    parts = [
        {"column": "c", "value": v, "rows": r, "roc_auc": a, "log_loss": None if a is None else 1 - a}
        for v, r, a in [("good", 90, 0.9), ("tiny", FEW_ROWS - 1, 0.1), ("bad", 80, 0.6), ("none", 70, None), ("nan", 60, math.nan)]
    ]
    for main in ("roc_auc", "log_loss"):
        shown = slice_rows(parts, {"roc_auc": 0.8, "log_loss": 0.2}, main, "binary_classification")
        assert [r["value"] for r in shown["rows"]][:2] == ["bad", "good"]
        assert [r["worse"] for r in shown["rows"]][:2] == [True, False]
        assert {r["value"] for r in shown["rows"][2:]} == {"tiny", "none", "nan"}
    many = [parts[0] | {"value": str(i)} for i in range(100)]
    assert slice_rows(many, {}, "roc_auc", "binary_classification")["left_out"] == 100 - MAX_SLICES
    worst = {"metric": "roc_auc", "description": "carrier = UA", "rows": 1326, "value": 0.54, "overall": 0.65, "low": 0.5, "high": 0.58}
    weak = {"worst": worst, "worst_by": {"roc_auc": {"part": worst, "looked_at": 92}}}
    text = Page(make(*binary(), evaluation=weak)).text
    assert (
        "The weakest part: carrier = UA" in text and "Found among 92 parts" in text and "0.5400 (0.5000 to 0.5800) against 0.6500" in text
    )
    none = {"worst_by": {"roc_auc": {"part": None, "looked_at": 40}}}
    assert "Of 40 parts that were looked at, none is weaker" in Page(make(*binary(), evaluation=none)).text


def test_bias_is_marked_where_its_interval_leaves_neutral_out_and_it_can_be_on_either_side() -> None:
    facet = bias("carrier=UA", DI=1.02, DPPL=-0.3, TE="Infinity", CDDPL=None, KL=0.4)
    ready = card.view(made(*binary(), chapters={"bias": {"facets": [facet, bias("b")], "notes": ["n"]}}))["bias"]
    pre, post = ready["facets"][0]["stages"]
    rows = {row["metric"]: row for row in (*pre["rows"], *post["rows"])}
    assert [rows[n]["away"] for n in ("DI", "DPPL", "KL", "DPL")] == [False, True, False, True]
    assert rows["DI"]["neutral"] == "1" and rows["DPPL"]["span"] == "-0.3500 to -0.2500"
    assert "TE: it is not known" in post["missing"] and "CDDPL: it is not known" in post["missing"]
    assert ">DI - 1<" in post["plot"].svg and "DI 1.02" in post["plot"].svg and ">TE<" not in post["plot"].svg
    assert ready["summary"]["names"] == [n for n in (*PRE_TRAINING, *POST_TRAINING) if n not in plots.ONE_SIDED]
    assert ready["summary"]["rows"][0]["cells"][ready["summary"]["names"].index("DPPL")] == {"value": "-0.30", "away": True}


def test_as_many_features_are_drawn_as_are_asked_for() -> None:
    names = tuple(f"feature {i}" for i in range(60))
    for top, shown in ((None, 10), (1, 1), (25, 25), (99, MAX_FEATURES)):
        asked = explained(names) | ({"top": top} if top else {})
        found = made(*binary(), chapters={"explanations": asked})
        assert len(found["explanations"]["sample"]["features"]) == shown and len(found["explanations"]["global"]) == 60
        importance, swarm = card.view(found)["explanations"]["plots"]
        assert (
            f">feature {shown - 1}<" in swarm.svg and f">feature {shown}<" not in swarm.svg and f">{60 - shown} others<" in importance.svg
        )


def test_a_search_shows_its_best_trials_and_how_it_went() -> None:
    ready = card.view(made(*binary(), chapters={"tuning": TUNING}))["tuning"]
    assert [row["number"] for row in ready["rows"]] == [2, 1] and [row["best"] for row in ready["rows"]] == [True, False]
    assert ready["counts"] == "2 came to their end, 1 were pruned, 1 failed" and ready["names"] == ["rate", "depth"]
    history, shares = ready["plots"]
    assert "the best of 3 trials has 0.2" in history.svg and ">70%<" in shares.svg


def test_the_profile_says_what_the_data_is() -> None:
    ready = card.view(made(*binary(), chapters={"profile": profile("age", "carrier", "late")}, leakage=[LEAK]))["data"]
    columns = {c["name"]: c for c in ready["columns"]}
    assert list(columns) == ["late", "age", "carrier"], "the target first"
    assert columns["age"]["summary"] == "0 to 3" and columns["age"]["bars"] == [100.0, 0.0, 42.9] and columns["age"]["missing"] == "none"
    assert columns["carrier"]["summary"] == "carrier value 76%, b 25%" and columns["carrier"]["labels"] == ["carrier value: 150", "b: 50"]
    assert columns["late"]["missing"] == "3.0%" and ready["missing"] is not None
    assert [(c["check"], c["state"]) for c in ready["checks"]] == [("duplicates", "warning")]


def test_everything_that_a_person_wrote_is_escaped() -> None:
    table, signature = binary(names=(EVIL, EVIL + "2"), classes=("no", EVIL))
    table = table.with_columns(pl.Series("x.where", [EVIL] * len(table)))
    gate = GATE | {"metric": EVIL, "sentence": EVIL, "of": EVIL}
    evil = {"name": EVIL, "problem_type": "binary_classification", "owner": EVIL, "tags": {EVIL: EVIL}, "intended_use": EVIL}
    event = {"at": EVIL, "kind": EVIL, "sentence": EVIL, "by": EVIL, "tone": "", "approved": True}
    found = made(
        table,
        signature,
        about={"model": evil, "version": EVIL, "run": EVIL, "made_at": EVIL, "made_by": EVIL, "because": EVIL},
        slices=by_slice(table, signature, "where"),
        gates=[gate],
        expectations=[EVIL],
        data={"digest": EVIL, "rows": {EVIL: 3}, "dropped": [EVIL]},
        lineage={"commit": "\ud800" + EVIL, "hyperparameters": {EVIL: {EVIL: EVIL}}, "packages": [EVIL],
                 "steps": [{"step": EVIL, "seconds": 1.0, "summary": EVIL, "kept": True}]},
        champion={"version": EVIL, "metrics": {}, "reason": EVIL},
        leakage=[LEAK | {"check": EVIL, "sentence": EVIL}],
        evaluation={"custom": {EVIL: {"value": 1.0, "greater_is_better": True}}},
        chapters={
            "bias": {"label": EVIL, "good": EVIL, "facets": [bias(EVIL)] * 2, "notes": [EVIL]},
            "explanations": explained((EVIL, EVIL + "2")) | {"why": EVIL, "of": EVIL, "output": EVIL},
            "profile": profile(EVIL, EVIL + "2"),
            "tuning": TUNING | {"metric": EVIL, "importances": {EVIL: 1.0}, "trials": [TUNING["trials"][1] | {"params": {EVIL: EVIL}}]},  # type: ignore[index]
        },
    )  # fmt: skip
    text = render(found | {"today": TODAY | {"events": [event], "approvals": [event | {"kind": "ApprovalGiven"}], "set_aside": EVIL}})
    read = Page(text)
    assert not {"script", "img"} & set(read.tags)
    assert not [a for a in read.attributes if a[1].startswith("on")]
    assert read.tags.count("style") == 1 and "\x00" not in text and text.encode()
    assert read.text.count("alert(1)") > 40, "the words are still there to be read"


@settings(max_examples=25, deadline=None)
@given(st.text(max_size=40), st.text(max_size=400))
def test_any_text_makes_a_whole_page(word: str, fact: str) -> None:
    table, signature = regression(20)
    about = {"model": {"name": word, "problem_type": "regression", "owner": fact}, "version": word, "made_at": fact}
    found = made(table, signature, about=about, lineage={"hyperparameters": {word: fact}}, chapters={"profile": profile(word, fact + "x")})
    assert json.loads(json.dumps(found).encode()) == found
    read = Page(render(found))
    assert len(read.ids) == len(set(read.ids))


def test_the_widest_table_stays_under_the_limit() -> None:
    """400 columns of long names, 1,500 slices, 900 trials, 40 comparisons: caps, not luck, keep it small."""
    names = tuple(f"column {i} " + "<" * 230 for i in range(400))
    table, signature = binary(2_000, names[:1])
    signature = replace(signature, columns=tuple(Column(name, "float") for name in names))
    parts = [{"column": "c" * 250, "value": "&" * 300 + str(i), "rows": 50, "roc_auc": i / 2000} for i in range(1500)]
    trials = [
        {"number": i, "state": "complete", "value": float(i), "params": {n: n for n in names[:10]}, "seconds": 1.0} for i in range(900)
    ]
    found = made(
        table,
        signature,
        slices=parts,
        lineage={"hyperparameters": {f"k{i}": "<" * 1000 for i in range(50)}},
        chapters={
            "profile": profile(*names),
            "explanations": explained(names, 500),
            "bias": {"facets": [bias("<" * 200 + str(i)) for i in range(40)], "notes": []},
            "tuning": TUNING | {"trials": trials},
        },
    )
    text = render(found)
    assert len(text.encode()) < LIMIT and len(json.dumps(found)) < 2 * LIMIT
    assert f"{400 - MAX_COLUMNS} more columns are not shown" in text and "240 more slices are not shown" in text
    assert "880 more trials are not shown" in text


def test_bad_tables_are_refused_by_name() -> None:
    table, signature = binary()
    with pytest.raises(BadInput, match="label"):
        curves(table.drop("label"), signature)


def test_no_labelled_rows_make_a_page_without_pictures() -> None:
    table, signature = binary()
    empty = table.with_columns(label=pl.lit(None, dtype=pl.String))
    assert curves(empty, signature) == {}

    assert "Pictures" not in Page(make(empty, signature)).text


def test_a_series_whose_entity_is_missing_has_a_name_of_its_own() -> None:
    table, signature = forecasting()
    table = table.with_columns(pl.Series("x.town", ["x", None] * 100), pl.col("x.shop").replace({"a": None}))
    names = [line["name"] for line in curves(table, replace(signature, entity_cols=("shop", "town")))["series"]]
    assert names == ["all together", "b, missing", "b, x", "missing, missing"]


@pytest.mark.parametrize("error", [2.0**60, 1e300])
def test_errors_that_are_all_alike_and_great_have_a_picture(error: float) -> None:
    """Between numbers of that size there are none left to make bins of."""
    signature = Signature("regression", (Column("x", "float"),), target_col="y")
    table = pl.DataFrame({"f.x": [1.0, 2.0, 3.0], "label": [error] * 3, "y.prediction": [0.0] * 3})
    found = curves(table, signature)
    assert found["errors"]["counts"] == [3]
    assert "errors" in [plot.name for plot in plots.plots(found)]


def test_pictures_show_what_was_measured() -> None:
    table, signature = binary()
    svg = {p.name: p.svg for p in plots.plots(curves(table, signature))}
    assert list(svg) == ["roc", "pr", "calibration", "scores", "confusion", "threshold"]
    assert f"area {compute(table, signature)['roc_auc']:.3f}" in svg["roc"]
    hits = table.filter((pl.col("label") == "yes") & (pl.col("y.prediction") == "yes")).height
    assert f">{hits}</text>" in svg["confusion"]
    names = {case: [p.name for p in plots.plots(curves(*CASES[case]()))] for case in CASES}
    assert names["forecasting"] == ["series-0", "series-1", "series-2", "predicted", "residuals", "errors", "deciles"]
    assert names["ranking"] == ["ranking"] and names["labels"] == ["roc"] and names["regression"] == names["forecasting"][3:]
    assert names["anomalies"] == ["roc", "pr", "scores", "confusion", "threshold"] and "confusion" not in names["forty classes"]


def test_curves_are_scikit_learns() -> None:
    table, signature = binary(250)
    found, truth, score = curves(table, signature), (table["label"] == "yes").to_numpy(), table["y.probability_yes"].to_numpy()
    precision, recall, _ = precision_recall_curve(truth, score)
    np.testing.assert_allclose(found["pr"]["recall"][1:], recall[:-1][::-1], atol=1e-4)
    np.testing.assert_allclose(found["pr"]["precision"][1:], precision[:-1][::-1], atol=1e-4)
    came, said = calibration_curve(truth, score, n_bins=10)
    np.testing.assert_allclose(found["calibration"]["came"], came, atol=1e-4)
    np.testing.assert_allclose(found["calibration"]["said"], said, atol=1e-4)
    several, many = multiclass(4, 500)
    rows = {row["name"]: row for row in curves(several, many)["by_class"]}
    theirs = precision_recall_fscore_support(several["label"], several["y.prediction"])
    for k in range(4):
        ours = [rows[str(k)][name] for name in ("precision", "recall", "f1", "rows")]
        np.testing.assert_allclose(ours, [float(part[k]) for part in theirs], rtol=1e-4)
        area = roc_auc_score(several["label"].to_numpy() == k, several[f"y.probability_{k}"])
        assert rows[str(k)]["roc_auc"] == pytest.approx(area, rel=1e-4)


def test_weights_count_in_the_curves_as_in_the_metrics() -> None:
    table, signature = binary(300)
    weighted = replace(signature, weight_col="w")
    heavy = table.with_columns(pl.Series("x.w", np.arange(300) % 7 + 0.5))
    assert curves(heavy, weighted)["roc"][0]["area"] == pytest.approx(compute(heavy, weighted)["roc_auc"], rel=1e-4)
    assert curves(heavy, weighted)["roc"][0]["area"] != curves(heavy, signature)["roc"][0]["area"]


def test_dollars_in_a_class_name_are_no_formula() -> None:
    svg = {p.name: p.svg for p in plots.plots(curves(*binary(classes=("$a_{$", "<$b^$>"))))}
    assert ">$a_{$</text>" in svg["confusion"] and ">&lt;$b^$&gt;</text>" in svg["confusion"]


def test_a_class_that_the_model_never_learned_has_its_own_row() -> None:
    table, signature = multiclass(3)
    late = table.with_columns(label=pl.when(pl.int_range(len(table)) < 17).then(99).otherwise(pl.col("label")))
    found = curves(late, signature)
    svg = {p.name: p.svg for p in plots.plots(found)}
    assert ">(other)</text>" in svg["confusion"] and "wrong" in svg["scores"] and found["by_class"][-1]["name"] == "(other)"


Ends = st.floats(-1e12, 1e12)


@given(Ends, Ends, st.integers(2, 9))
def test_ticks_are_round_and_inside(one: float, other: float, most: int) -> None:
    low, high = sorted((one, other))
    found = ticks(low, high, most)
    assert 1 <= len(found) <= most + 1 and found == sorted(set(found))
    if high > low + 1e-3:
        span = high - low
        assert all(low - 1e-6 * span <= t <= high + 1e-6 * span for t in found)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(), st.floats()), max_size=12), st.text(max_size=30))
def test_a_chart_of_any_numbers_is_a_picture(points: list[tuple[float, float]], name: str) -> None:
    x, y = [p[0] for p in points], [p[1] for p in points]
    chart = Chart(name, name, y_names=[(0.0, name)] if len(points) % 2 else None)
    chart.line(x, y, label=name, steps=bool(len(points) % 3))
    chart.area(x, y, y)
    chart.dots(x, y)
    chart.text(1.0, 2.0, name)
    tree = ElementTree.fromstring(chart.svg(name))  # noqa: S314 - our own
    assert tree.attrib["role"] == "img"
    numbers = re.findall(r"-?[\d.]+(?:e[+-]?\d+)?|nan|inf", " ".join(e.attrib.get("d", "") for e in tree.iter()))
    assert not {"nan", "inf"} & set(numbers)


def test_a_page_needs_neither_matplotlib_nor_polars() -> None:
    code = (
        "import sys, json; from modelyard.quality import report; report.render(json.load(sys.stdin)); "
        "heavy = {'matplotlib', 'polars', 'scipy', 'pandas'} & set(sys.modules); assert not heavy, heavy"
    )
    found = json.dumps(made(*binary(), chapters=WHOLE))
    done = subprocess.run([sys.executable, "-c", code], input=found, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


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
