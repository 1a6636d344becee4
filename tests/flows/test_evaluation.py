"""Evaluation on a build's own files, every problem type: what is measured, what a gate says of it, and code of one's own."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from modelyard import tables
from modelyard.build.envs import Env
from modelyard.config.spec import STAGES, Config
from modelyard.durable import Run
from modelyard.errors import BadInput, StepFailed
from modelyard.events import GateJudged
from modelyard.flows import evaluation, findings, gauging, leaks, measuring
from modelyard.flows.site import Order, Site
from modelyard.home import Home
from modelyard.monitor import labels, profile
from modelyard.quality.metrics import names_of
from modelyard.serve.capture import column_types
from modelyard.serve.protocols import Formats, Writer
from modelyard.signature import Column, Signature
from modelyard.targets.fake import FakeTarget
from modelyard.targets.local import _work
from modelyard.workshop import Workshop

RANDOM = np.random.default_rng(5)
N = 600
X = RANDOM.normal(size=N)
NOISE = RANDOM.normal(0, 0.5, size=N)
WORDS = {True: "odd", False: "ok"}


def rows(**columns: Any) -> pl.DataFrame:
    base = {"x": X, "shop": [f"s{i % 3}" for i in range(N)], "w": 1 + np.arange(N) % 2}
    at = pl.datetime_range(pl.datetime(2025, 1, 1), pl.datetime(2025, 12, 31), "1h", time_zone="UTC", eager=True)[:N]
    return pl.DataFrame({**base, "at": at, **columns})


Z = X + NOISE
TABLES: dict[str, tuple[pl.DataFrame, dict[str, Any]]] = {
    "binary_classification": (rows(y=(Z > 0).astype(int)), {"positive_class": 1}),
    "multiclass_classification": (rows(y=np.array(["a", "b", "c"])[np.digitize(Z, [-0.5, 0.5])]), {}),
    "multilabel_classification": (rows(y=["|".join(n for n, k in (("up", z > 0), ("far", abs(z) > 1)) if k) for z in Z]), {}),
    "regression": (rows(y=3 * Z), {}),
    "ranking": (rows(y=np.digitize(Z, [0, 1]), q=[f"q{i // 10}" for i in range(N)]), {}),
    "forecasting": (rows(y=10 + 3 * Z), {}),
    "anomaly_detection": (rows(y=[WORDS[bool(z > 1)] for z in Z]), {"positive_class": "odd"}),
}


def answers(table: pl.DataFrame, signature: Signature) -> pl.DataFrame:
    """What a fair model of `x` answers, in the outputs' own form."""
    x, kind = table["x"].to_numpy(), signature.problem_type
    if signature.answer == "number":
        return pl.DataFrame({"y.prediction": 10 + 3 * x if kind == "forecasting" else 3 * x})
    if kind == "anomaly_detection":
        return pl.DataFrame({"y.prediction": [WORDS[bool(v > 1)] for v in x], "y.score": x})
    if kind == "multilabel_classification":
        scores = {"far": (np.abs(x) > 1) * 0.8 + 0.1, "up": 1 / (1 + np.exp(-3 * x))}
        said = ["|".join(n for n in signature.classes if scores[str(n)][i] >= 0.5) for i in range(len(x))]
        return pl.DataFrame({"y.prediction": said, **{f"y.probability_{n}": s for n, s in scores.items()}})
    if kind == "binary_classification":
        p = 1 / (1 + np.exp(-3 * x))
        return pl.DataFrame({"y.prediction": (p >= 0.5).astype(int), "y.probability_0": 1 - p, "y.probability_1": p})
    odds = np.exp(-2 * np.abs(x[:, None] - np.array([-1.0, 0, 1])))
    table = pl.DataFrame({f"y.probability_{c}": (odds / odds.sum(axis=1, keepdims=True))[:, k] for k, c in enumerate("abc")})
    return table.insert_column(0, pl.Series("y.prediction", np.array(["a", "b", "c"])[odds.argmax(axis=1)]))


Build = Callable[..., Site]


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Build]:
    """A build of a problem type after its split, with `evaluate` and `data` as given; the runner is a function here."""
    shop = Workshop(Home(tmp_path / "home"), FakeTarget(work=_work))
    monkeypatch.setattr(measuring.envs, "ensure", lambda lock, home: Env("0", Path(sys.executable), lock))
    monkeypatch.setattr(evaluation, "loadable", lambda *_: None)
    latency = {"p50_ms": 1.5, "p99_ms": 4.0, "requests": 50}

    def score(
        what: Any, table: pl.DataFrame, signature: Signature, log: Path, *_: Any, quiet: Callable[[], object]
    ) -> tuple[pl.DataFrame, dict[str, Any]]:
        quiet()
        return pl.concat([table, answers(table, signature)], how="horizontal"), latency

    def make(kind: str, evaluate: dict[str, Any] | None = None, data: dict[str, Any] | None = None, **more: Any) -> Site:
        table, about = TABLES[kind]
        schema = {"weight_col": "w", **({"group_col": "q"} if kind == "ranking" else {})}
        written = {
            "version": 1,
            "model": {"name": "demo", "problem_type": kind},
            "data": {
                "source": {"using": "csv", "location": "data.csv"},
                "target_col": "y",
                "time_col": "at",
                "schema": schema,
                "split": {"by": "time"},
                "entity_cols": ["shop"],
                **about,
                **(data or {}),
            },
            "train": {"framework": "sklearn", "entry_point": "train.py"},
            "evaluate": {"confidence": {"resamples": 40}, **(evaluate or {})},
            **more,
        }
        config = Config.model_validate(written)
        configs = {str(stage): config.model_dump(mode="json", by_alias=True) for stage in STAGES}
        order = Order(configs, "0", str(tmp_path), "alice", [])
        record = shop.runs.start("demo", "build", asdict(order), by="alice")
        site = Site(shop, Run(shop.runs, record, shop.runs.feed(record.id)), order, order.config)
        for name, part in (("train", table[:400]), ("validation", table[400:450]), ("test", table[450:])):
            site.raw(name).parent.mkdir(parents=True)
            part.write_parquet(site.raw(name))
        site.model.mkdir()
        (site.model / "weights").write_bytes(b"0" * 2_000_000)
        site.lock_file().write_text("", encoding="utf-8")
        return site

    monkeypatch.setattr(evaluation, "score_and_time", score)
    yield make
    shop.close()


@pytest.fixture
def unreported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the report, which takes a second to draw."""
    monkeypatch.setattr(evaluation.reporting, "write", lambda *_: None)


def judged(site: Site) -> tuple[dict[str, Any], dict[str, Any]]:
    """evaluation.json and the gates' sentences."""
    evaluation.predict(site, "", {})
    found = evaluation.evaluate(site)
    facts = {"code": {"commit": None, "dirty": False, "digest": "0"}, "environment": "0", "rows": {"test": 150}}
    facts["data"] = {"digest": "0", "captured": 0, "dropped": []}
    outcome = evaluation.judge(site, found.value, facts)
    assert all(isinstance(event, GateJudged) and "hold-out rows" in event.evidence for event in outcome.events)
    return evaluation.document(site), outcome.value


@pytest.mark.parametrize("kind", TABLES)
def test_every_problem_type_is_measured_and_judged(kind: str, build: Build) -> None:
    head = {"binary_classification": "roc_auc", "regression": "mae", "ranking": "ndcg_at_5", "forecasting": "mae"}.get(kind)
    gates = [{"metric": head, "versus": "baseline", "min_relative_change": 0.1}] if head else []
    site = build(kind, {"slices": ["shop"], "validation_criteria": gates})
    found, said = judged(site)
    signed = evaluation.signature(site)
    assert set(found["metrics"]) - {"rows", "positive_rate"} == set(names_of(signed)) and found["metrics"]["rows"] == 150
    assert found["baseline"]["ok"] is True, found["baseline"]["sentence"]
    assert said["refused"] == [] and all("passed" in sentence for sentence in said["gates"])
    main = names_of(signed)[0]
    low, high = found["intervals"][main]
    assert low <= found["metrics"][main] <= high
    assert sum(row["rows"] for row in found["slices"]) == 150 and found["size"] == {"bytes": 2_000_000}
    assert (site.folder / "report.html").exists() and found["leakage"] == []
    holdout = pl.read_parquet(site.folder / "holdout.parquet")
    assert tables.extra("w") in holdout.columns and (kind != "ranking" or "x.q" in holdout.columns)
    answered(signed, holdout)


def answered(signed: Signature, holdout: pl.DataFrame) -> None:
    """What the version says can be asked for, captured and labelled, whatever the problem."""
    outputs = {name: holdout[tables.output(name)].to_list()[:2] for name in signed.outputs}
    said = json.loads(Writer(signed).json(["a", "b"], outputs, "demo", "1"))["predictions"][0]
    assert said["prediction"] == outputs["prediction"][0] and ("score" in said) == (signed.problem_type == "anomaly_detection")
    assert len(said.get("probabilities", {})) == len([n for n in signed.outputs if n.startswith("probability_")])
    assert set(signed.companions) <= set(Formats(signed).wanted.names)
    assert column_types(signed)["y.prediction"] == {"number": "float", "labels": "str"}.get(
        signed.answer, "int" if signed.classes[:1] == (0,) else "str"
    )
    labels.check(pl.DataFrame({"inference_id": ["a", "b"], "label": holdout["label"][:2]}), signed)


@pytest.mark.usefixtures("unreported")
def test_gates_on_slices_bounds_latency_and_size(build: Build) -> None:
    asked = [
        {"metric": "roc_auc", "threshold": 0.5, "slice": "shop"},
        {"metric": "roc_auc", "threshold": 0.5, "slice": {"column": "shop", "value": "s1"}, "bound": "lower"},
        {"metric": "accuracy", "threshold": 0.6, "slice": "worst"},
        {"metric": "accuracy", "threshold": 0.99, "bound": "upper", "on_fail": "warn"},
        {"metric": "latency_p99_ms", "threshold": 3},
        {"metric": "latency_p50_ms", "threshold": 3},
        {"metric": "model_size_mb", "threshold": 1.5},
        {"metric": "ece", "threshold": 0.5},
    ]
    found, said = judged(build("binary_classification", {"validation_criteria": asked, "worst_slice": {"min_rows": 20}}))
    assert [s.rpartition(": ")[2] for s in said["gates"][:8]] == [
        "passed", "passed", "passed", "failed (only warns)", "failed", "passed", "failed", "passed",
    ]  # fmt: skip
    assert said["refused"] == ["latency_p99_ms 4 > 3: failed", "model_size_mb 2 > 1.5: failed"]
    assert "(none is weaker than the whole)" in said["gates"][2] and found["worst_by"]["accuracy"]["looked_at"] == 7


def test_a_part_that_the_hold_out_lacks_is_refused_before_training(build: Build) -> None:
    def gate(column: str, value: Any) -> Site:
        part = {"column": column, "value": value}
        return build("binary_classification", {"validation_criteria": [{"metric": "accuracy", "threshold": 0.1, "slice": part}]})

    assert findings.verify(gate("shop", "s1")).value == 1
    with pytest.raises(BadInput, match="the hold-out has no part shop = s9") as caught:
        findings.verify(gate("shop", "s9"))
    assert (caught.value.where, caught.value.next) == ("evaluate.validation_criteria[0].slice", "its parts: s0, s1, s2")
    with pytest.raises(BadInput, match=r"the hold-out has no part x = 0.5"):
        findings.verify(gate("x", 0.5))  # a scale is cut at its quartiles


@pytest.mark.usefixtures("unreported")
def test_a_weak_part_is_found_and_refused(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {"validation_criteria": [{"metric": "roc_auc", "threshold": 0.6, "slice": "worst"}], "worst_slice": {"min_rows": 20}}
    site = build("binary_classification", asked)
    ours = answers

    def wrong(table: pl.DataFrame, signature: Signature) -> pl.DataFrame:
        turned = table.with_columns(pl.when(pl.col("shop") == "s1").then(-pl.col("x")).otherwise(pl.col("x")).alias("x"))
        return ours(turned, signature)

    monkeypatch.setitem(globals(), "answers", wrong)
    found, said = judged(site)
    assert found["worst"]["description"] == "shop = s1" and found["worst"]["rows"] == 50 and found["worst"]["high"] < 0.6
    assert len(said["refused"]) == 1 and said["refused"][0].startswith("roc_auc of the weakest part (shop = s1) 0.")


@pytest.mark.usefixtures("unreported")
def test_what_the_runner_says_of_the_model_is_in_the_summary_alone(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    site, usual = build("regression"), evaluation.score_and_time

    def score(*given: Any, **more: Any) -> tuple[pl.DataFrame, dict[str, Any]]:
        scored, latency = usual(*given, **more)
        return scored, {**latency, "note": "the model numbers its classes"}

    monkeypatch.setattr(evaluation, "score_and_time", score)
    assert evaluation.predict(site, "", {}).summary.endswith("by the runner that will serve; the model numbers its classes")
    assert "note" not in json.loads((site.folder / "latency.json").read_text())


@pytest.mark.usefixtures("unreported")
def test_rows_are_timed_once_the_baseline_is_made_which_takes_no_time_of_its_own(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    site, usual, done, scoring = build("regression"), evaluation.score_and_time, threading.Event(), threading.Event()

    def of_features(*given: Any) -> dict[str, Any]:
        assert scoring.wait(10), "it is made while the runner answers"
        done.set()
        return profile.of_features(*given)

    def score(*given: Any, quiet: Any) -> tuple[pl.DataFrame, dict[str, Any]]:
        scoring.set()
        quiet()
        assert done.is_set()
        return usual(*given, quiet=quiet)

    monkeypatch.setattr(evaluation, "profile", SimpleNamespace(of_features=of_features, with_scores=profile.with_scores))
    monkeypatch.setattr(evaluation, "score_and_time", score)
    evaluation.predict(site, "", {})
    assert json.loads((site.folder / "baseline.json").read_text())["rows"] == 400


def test_a_baseline_that_cannot_be_made_fails_the_step(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    def of_features(*_: Any) -> dict[str, Any]:
        raise BadInput("the baseline table has no rows")

    monkeypatch.setattr(evaluation, "profile", SimpleNamespace(of_features=of_features, with_scores=profile.with_scores))
    with pytest.raises(BadInput, match="has no rows"):
        evaluation.predict(build("regression"), "", {})


def test_what_learned_nothing_beats_a_bad_model(build: Build) -> None:
    site = build("regression", {"baseline": {"on_fail": "block", "metric": "rmse"}})
    table = pl.read_parquet(site.raw("test"))
    table.with_columns(x=-pl.col("x")).write_parquet(site.raw("test"))
    found, said = judged(site)
    assert not found["baseline"]["ok"] and said["refused"] == [found["baseline"]["sentence"]]
    assert "is no better than" in said["refused"][0] and "what learned nothing (mean or median)" in said["refused"][0]


@pytest.mark.usefixtures("unreported")
def test_the_champion_answers_the_same_rows_and_is_compared(build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its signature knows neither weights nor groups; it is measured by those of this build."""
    asked = [
        {"metric": "roc_auc", "versus": "champion", "min_relative_change": -0.01},
        {"metric": "accuracy", "versus": "champion", "min_absolute_change": 0.0},
        {"metric": "latency_p99_ms", "versus": "champion", "min_relative_change": -0.5},
        {"metric": "model_size_mb", "versus": "champion", "min_relative_change": -0.5},
    ]
    site = build("binary_classification", {"validation_criteria": asked})
    old = Signature("binary_classification", (Column("x", "float"),), (0, 1), 1, 0.9, target_col="y")
    (tmp_path / "sealed").mkdir()
    (tmp_path / "sealed" / "evaluation.json").write_text('{"latency": {"p50_ms": 1, "p99_ms": 3.0}, "size": {"bytes": 1000000}}')
    sealed = SimpleNamespace(signature=old, path=tmp_path / "sealed")
    monkeypatch.setattr(evaluation, "bundled", lambda *_: None)
    monkeypatch.setattr(
        evaluation, "score", lambda what, table, signed, log: evaluation.score_and_time(what, table, signed, log, quiet=list)[0]
    )
    monkeypatch.setattr(evaluation.bundle, "open", lambda *_: sealed)
    monkeypatch.setattr(site.shop, "model", lambda name: SimpleNamespace(champion="7", versions={}))
    monkeypatch.setattr(site.shop, "version", lambda *_: SimpleNamespace(digest="0"))
    found, said = judged(site)
    rival = found["champion"]["metrics"]
    assert (
        found["champion"]["version"] == "7"
        and rival["roc_auc"] == found["metrics"]["roc_auc"]
        and "x.w" in pl.read_parquet(site.folder / "champion.parquet")
    )
    assert [s.rpartition(": ")[2] for s in said["gates"][:4]] == ["passed", "passed", "passed", "failed"]
    assert "worse than the champion's 3 by 1, a loss up to 0.5 of it is allowed" in said["gates"][2]


@pytest.mark.usefixtures("unreported")
@pytest.mark.parametrize(
    ("old", "why"),
    [
        ({"classes": ("no", "yes"), "positive_class": "yes"}, "labels are none of the model's classes, such as"),
        ({"problem_type": "multiclass_classification", "positive_class": None}, "it is a model of multiclass classification"),
        ({"columns": (Column("x", "float"), Column("w", "datetime"))}, "raised"),
    ],
)
def test_a_champion_that_cannot_answer_for_the_new_data_fails_its_gate_and_not_the_build(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: dict[str, Any], why: str
) -> None:
    """Of other classes, of another kind, or broken by the rows: whoever changed the data could never build again."""
    gate = {"metric": "roc_auc", "versus": "champion", "min_absolute_change": -1, "on_fail": "warn"}
    site = build("binary_classification", {"validation_criteria": [gate]})
    signed = Signature(**{**vars(Signature("binary_classification", (Column("x", "float"),), (0, 1), 1, 0.5, target_col="y")), **old})

    def score(what: Any, table: pl.DataFrame, signed: Signature, log: Path) -> pl.DataFrame:
        if why == "raised":
            raise StepFailed("the model raised")
        return evaluation.score_and_time(what, table, signed, log, quiet=list)[0]

    monkeypatch.setattr(evaluation, "bundled", lambda *_: None)
    monkeypatch.setattr(evaluation, "score", score)
    monkeypatch.setattr(evaluation.bundle, "open", lambda *_: SimpleNamespace(signature=signed, path=tmp_path))
    monkeypatch.setattr(site.shop, "model", lambda name: SimpleNamespace(champion="7", versions={}))
    monkeypatch.setattr(site.shop, "version", lambda *_: SimpleNamespace(digest="0"))
    found, said = judged(site)
    assert found["champion"]["metrics"] == {} and why in found["champion"]["reason"]
    assert not (site.folder / "champion.parquet").exists()
    assert "the champion was not measured by it: failed (only warns)" in said["gates"][0] and said["refused"] == []


METRIC = """
from helper import RATE


def cost(table):
    wrong = [a != b for a, b in zip(table["label"], table["prediction"])]
    assert len(table["probability_1"]) == len(table["shop"]) == len(table["x"]) == len(wrong)
    return RATE * sum(w * x for w, x in zip(table["w"], wrong)) / sum(table["w"])


def broken(table):
    return table["no such column"]


def undefined(table):
    return float("nan")
"""


def custom(build: Build, tmp_path: Path, *functions: str, **criterion: Any) -> Site:
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "mine.py").write_text(METRIC)
    (tmp_path / "metrics" / "helper.py").write_text("RATE = 40\n")
    metrics = [{"name": f, "entry_point": "metrics/mine.py", "function": f, "greater_is_better": False} for f in functions]
    criteria = [{"metric": functions[0], **criterion}] if criterion else []
    site = build("binary_classification", {"custom_metrics": metrics, "validation_criteria": criteria})
    measuring.packaged(site, site.folder / measuring.CODE, [])
    return site


@pytest.mark.usefixtures("unreported")
def test_a_metric_of_ones_own_runs_in_a_job_and_is_gated(build: Build, tmp_path: Path) -> None:
    found, said = judged(custom(build, tmp_path, "cost", "undefined", threshold=30))
    assert found["custom"]["cost"]["value"] == pytest.approx(40 * (1 - found["metrics"]["accuracy"]))
    assert said["gates"][0].startswith("cost ") and "<= 30: passed" in said["gates"][0]
    assert found["custom"]["undefined"] == {"value": None, "greater_is_better": False}


@pytest.mark.usefixtures("unreported")
def test_a_metric_that_is_nan_fails_its_gate(build: Build, tmp_path: Path) -> None:
    _, said = judged(custom(build, tmp_path, "undefined", threshold=1e9))
    assert said["refused"] == ["undefined was not measured: failed"]


def test_a_metric_that_raises_says_where(build: Build, tmp_path: Path) -> None:
    site = custom(build, tmp_path, "broken")
    evaluation.predict(site, "", {})
    with pytest.raises(StepFailed, match=r"broken of metrics/mine.py failed: KeyError: 'no such column'") as caught:
        evaluation.evaluate(site)
    assert any("mine.py" in line for line in caught.value.log_tail)


def test_a_name_that_is_taken_is_refused_before_anything_runs(build: Build, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="there is a metric f1 already"):
        site = custom(build, tmp_path, "f1")
        measuring.packaged(site, site.folder / measuring.CODE, [])


def test_leaks_are_judged_right_after_the_split(build: Build) -> None:
    site = build("binary_classification", data={"leakage": {"target": "block", "duplicates": "warn", "time_order": "off"}})
    for name in ("train", "validation", "test"):
        table = pl.read_parquet(site.raw(name))
        table.with_columns(told=pl.col("y") * 2 + 1).write_parquet(site.raw(name))
    outcome = leaks.look(site)
    assert len(outcome.value) == 1 and outcome.value[0].startswith("leakage: told tells y by itself (ROC AUC 1)")
    assert [(e.gate, e.ok) for e in outcome.events] == [("leakage target", False), ("leakage duplicates", True)]  # type: ignore[attr-defined]
    assert [f["check"] for f in leaks.findings(site)] == ["target", "duplicates"]
    off = build("binary_classification", data={"leakage": dict.fromkeys(("target", "duplicates", "time_order"), "off")})
    assert leaks.look(off).value == [] and leaks.findings(off) == []


@pytest.mark.parametrize(
    ("evaluate", "said"),
    [
        ({"validation_criteria": [{"metric": "cost", "threshold": 1, "slice": "shop"}]}, "`slice` and `bound` go with the metrics"),
        (
            {"validation_criteria": [{"metric": "latency_p99_ms", "threshold": 1, "bound": "upper"}]},
            "`slice` and `bound` go with the metrics",
        ),
        (
            {"validation_criteria": [{"metric": "model_size_mb", "versus": "baseline", "min_absolute_change": 0}]},
            "not measured of the baseline",
        ),
        (
            {"validation_criteria": [{"metric": "f1", "threshold": 1, "bound": "lower"}], "confidence": {"resamples": 0}},
            "resamples` above 0",
        ),
    ],
)
def test_a_gate_on_what_would_not_be_measured_is_refused_at_once(build: Build, evaluate: dict[str, Any], said: str) -> None:
    own = [{"name": "cost", "entry_point": "m.py", "function": "cost", "greater_is_better": False}]
    with pytest.raises(ValueError, match=said):
        build("binary_classification", {**evaluate, "custom_metrics": own})


def test_a_measure_of_drift_that_does_not_fit_is_refused_before_training(build: Build) -> None:
    def watching(column: str, measure: str, **more: Any) -> Site:
        return build("regression", monitor={"drift": {"overrides": {column: {"measure": measure}}, **more}})

    assert gauging.verify(watching("shop", "cramers_v")).value == gauging.verify(watching("x", "ks")).value == 1
    with pytest.raises(BadInput, match="'ks' does not measure categories") as caught:
        gauging.verify(watching("shop", "ks"))
    assert caught.value.where == "monitor.drift.overrides.shop"
    assert gauging.verify(watching("shop", "ks", enabled=False)).value == 0, "what is switched off may keep its settings"


def test_a_range_of_words_is_refused_before_training(build: Build) -> None:
    def watching(column: str, **more: Any) -> Site:
        return build("regression", monitor={"data_quality": {"columns": {column: {"max": 3}}, **more}})

    assert gauging.verify(watching("x")).value == 1
    with pytest.raises(BadInput, match="`max` is about numbers, and `shop` holds categories") as caught:
        gauging.verify(watching("shop"))
    assert caught.value.where == "monitor.data_quality.columns.shop.max"
    with pytest.raises(BadInput, match="`max` is about numbers"):
        gauging.of_baseline(watching("shop").config, {"columns": {"shop": {"kind": "categorical"}}, "score": {"kind": "numeric"}})
    assert gauging.verify(watching("shop", enabled=False)).value == 0


@pytest.mark.usefixtures("unreported")
def test_a_measure_that_does_not_fit_the_score_is_refused(build: Build) -> None:
    """Whether a model gives probabilities shows when it has answered."""
    site = build("binary_classification", monitor={"drift": {"prediction": {"measure": "cramers_v"}}})
    evaluation.predict(site, "", {})
    with pytest.raises(BadInput, match="'cramers_v' does not measure numbers") as caught:
        evaluation.evaluate(site)
    assert caught.value.where == "monitor.drift.prediction"


def test_a_column_is_not_called_as_an_answer_is(tmp_path: Path) -> None:
    asked = {
        "version": 1,
        "model": {"name": "m", "problem_type": "regression"},
        "data": {"source": {"using": "csv", "location": "d.csv"}, "target_col": "z"},
        "train": {"framework": "sklearn", "entry_point": "train.py"},
    }
    site: Any = SimpleNamespace(config=Config.model_validate(asked), part=lambda name: tmp_path / "rows.parquet")
    pl.DataFrame({"x": [1.0, 2.0], "z": [1.0, 2.0]}).write_parquet(tmp_path / "rows.parquet")
    assert list(evaluation.sign(site).names) == ["x"]
    pl.DataFrame({"y.prediction": [1.0, 2.0], "z": [1.0, 2.0]}).write_parquet(tmp_path / "rows.parquet")
    with pytest.raises(BadInput, match=r"`y\.prediction` is called as an answer of the model is"):
        evaluation.sign(site)


def test_the_signature_has_the_configs_timezone(tmp_path: Path) -> None:
    asked = {
        "version": 1,
        "timezone": "Europe/Berlin",
        "model": {"name": "m", "problem_type": "regression"},
        "data": {"source": {"using": "csv", "location": "d.csv"}, "target_col": "z"},
        "train": {"framework": "sklearn", "entry_point": "train.py"},
    }
    site: Any = SimpleNamespace(config=Config.model_validate(asked), part=lambda name: tmp_path / "rows.parquet")
    at = pl.Series("at", [0, 1]).cast(pl.Datetime("us", "UTC"))
    pl.DataFrame({"at": at, "z": [1.0, 2.0]}).write_parquet(tmp_path / "rows.parquet")
    signed = evaluation.sign(site)
    assert signed.timezone == "Europe/Berlin" and signed.columns == (Column("at", "datetime", timezone="Europe/Berlin"),)


def test_only_what_is_called_as_an_answer_is_refused_and_before_training(build: Build) -> None:
    site = build("binary_classification")
    rows = {name: pl.read_parquet(site.part(name)) for name in ("train", "validation", "test")}
    feature = next(name for name in evaluation.sign(site).names if rows["train"][name].dtype.is_numeric())

    def hold(*names: str) -> None:
        for part, table in rows.items():
            table.with_columns(table[feature].alias(name) for name in names).write_parquet(site.part(part))

    others = (f"f.{feature}", f"x.{feature}", "y.other", "y.score")
    hold(*others)
    evaluation.verify(site)
    evaluation.predict(site, "", {})
    holdout = pl.read_parquet(site.folder / "holdout.parquet")
    assert {f"f.{name}" for name in others} <= set(holdout.columns) and not {"y.other", "y.score"} & set(holdout.columns)
    baseline = json.loads((site.folder / "baseline.json").read_text())
    assert baseline["extra"] == {} and set(others) <= set(baseline["columns"])
    clash = tables.output(evaluation.sign(site).outputs[-1])
    hold(clash)
    with pytest.raises(BadInput, match=f"`{clash}` is called as an answer of the model is") as caught:
        evaluation.verify(site)
    assert "data.schema.exclude" in caught.value.next
