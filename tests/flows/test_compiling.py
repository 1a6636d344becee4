"""The compile step of real builds: what is written out and proven, what stays with the runner, and what becomes of it in an endpoint.

The builds share one home, in their order, since an environment costs seconds.
"""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from msgspec.structs import replace

from modelyard.build import bundle
from modelyard.config.spec import Config
from modelyard.errors import BadInput
from modelyard.flows import compiling, endpoints, explanation, holdout
from modelyard.serve.plan.schema import Linear, Plan
from modelyard.yard import Yard

pytestmark = pytest.mark.slow
CONFIG = """version: 1
model: {name: churn, problem_type: binary_classification}
data:
  source: {using: csv, location: rows.csv}
  target_col: label
  positive_class: 1
  split: {by: random, ratios: [0.6, 0.1, 0.3], seed: 1}
  channel_format: csv
train:
  framework: sklearn
  entry_point: train.py
  requirements: requirements.txt
  hyperparameters: {kind: logistic}
evaluate:
  validation_criteria: [{metric: roc_auc, threshold: 0.7}, {metric: latency_p99_ms, threshold: 1000}]
inference: {compile: auto}
deploy:
  strategy: {type: all_at_once, bake: 1s}
environments:
  staging: {target: local}
  production: {target: local, approval: {required: true, allow_self: true}}
"""
TRAIN = """
import argparse, os
import joblib, pandas
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

parser = argparse.ArgumentParser()
parser.add_argument("--kind")
kind = parser.parse_args().kind
rows = pandas.read_csv(os.path.join(os.environ["SM_CHANNEL_TRAIN"], "train.csv"))
numbers = make_pipeline(SimpleImputer(), StandardScaler())
ready = ColumnTransformer([("numbers", numbers, ["x", "age"]), ("words", OneHotEncoder(handle_unknown="ignore"), ["plan"])])
model = make_pipeline(ready, LogisticRegression() if kind == "logistic" else KNeighborsClassifier())
joblib.dump(model.fit(rows[["x", "age", "plan"]], rows["label"]), os.path.join(os.environ["SM_MODEL_DIR"], "model.joblib"))
"""


class Bench:
    """A yard, and the repository of a model beside it."""

    def __init__(self, home: Path, repository: Path) -> None:
        self.yard, self.repository = Yard(home), repository
        numbers = random.Random(0)
        rows = []
        for n in range(600):
            label, x = n % 2, numbers.gauss(1.2 * (n % 2), 1)
            age = "" if numbers.random() < 0.1 else str(numbers.randint(18, 80))
            rows.append(f"{x:.4f},{age},{numbers.choice('abc')},{label}")
        (repository / "rows.csv").write_text("\n".join(["x,age,plan,label", *rows]) + "\n")
        (repository / "requirements.txt").write_text("scikit-learn\npandas\njoblib\n")
        (repository / "train.py").write_text(TRAIN)
        self.config()

    def config(self, **words: str) -> None:
        text = CONFIG
        for old, new in words.items():
            assert f"{old}: " in text
            text = re.sub(rf"\b{old}: [^,}}\n]+", f"{old}: {new}", text)
        (self.repository / "config.yaml").write_text(text)

    def build(self) -> tuple[str, dict[str, str], str]:
        """How it ended, what each step said of itself, and the run."""
        run = self.yard.build(str(self.repository / "config.yaml"), "ada")["run"]
        state = self.yard.wait(run)
        return state["reason"], {i["step"]: i["summary"] for i in self.yard.shop.runs.feed(run).items() if i["kind"] == "step_done"}, run

    def bundle(self, version: str) -> Path:
        return self.yard.shop.bundle(self.yard.shop.version("churn", version))

    def read(self, version: str, name: str) -> dict[str, Any]:
        return dict(json.loads((self.bundle(version) / name).read_text()))

    def variant(self, version: str) -> Any:
        shop, config = self.yard.shop, self.read(version, "config.json")["production"]
        opened = bundle.open(shop.version("churn", version).digest, shop.home.path)
        return endpoints._variant(shop, opened, version, 100, Config.model_validate(config), False)


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    home, repository = Path(tempfile.mkdtemp(prefix="yard-")), Path(tempfile.mkdtemp(prefix="churn-"))
    bench = Bench(home, repository)
    yield bench
    bench.yard.close()
    for folder in (home, repository):
        subprocess.run(["chmod", "-R", "u+w", str(folder)], check=False)
        shutil.rmtree(folder, ignore_errors=True)


def test_a_pipeline_is_written_out_proven_and_sealed(bench: Bench) -> None:
    said, steps, _ = bench.build()
    assert said == "built churn:1"
    assert list(steps).index("predict") < list(steps).index("compile") < list(steps).index("evaluate")
    assert re.fullmatch(r"row plan: [\d.]+ us a row, equal on 180 \+ 2?[\d,]+ rows", steps["compile"])
    found = bench.read("1", "compile.json")
    assert found["status"] == "compiled" and found["source"].startswith("Pipeline(") and found["tolerance"] == 1e-9
    assert found["rows_proven"] == 180 and found["edge_rows"] >= 2000 and found["largest_difference"] <= 1e-9
    assert found["bytes"] == (bench.bundle("1") / "plan.json").stat().st_size
    plan = bench.read("1", "plan.json")
    assert [one["name"] for one in plan["inputs"]] == ["x", "age", "plan"]


def test_latency_is_that_of_what_serves(bench: Bench) -> None:
    measured = bench.read("1", "evaluation.json")["latency"]
    assert measured["by"] == "row plan" and measured["p50_ms"] < 1 and measured["requests"] == compiling.REQUESTS
    gate = next(g for g in bench.read("1", "report.json")["gates"] if g["metric"] == "latency_p99_ms")
    assert gate["value"] == measured["p99_ms"]
    page = (bench.bundle("1") / "report.html").read_text()
    assert "How it answers" in page and "A row plan of Pipeline(" in page and "ms, row plan" in page


def test_an_endpoint_gets_the_plan_and_needs_no_runner(bench: Bench) -> None:
    variant = bench.variant("1")
    assert variant.plan == bench.bundle("1") / "plan.json" and variant.workers == 0
    assert set(variant.example) == {"x", "age", "plan"}


def test_a_deployed_version_answers_by_its_plan_without_a_runner(bench: Bench) -> None:
    shop = bench.yard.shop
    assert bench.yard.wait(bench.yard.deploy("churn", "1", "staging", "ada")["run"])["reason"] == "churn:1 is in staging"
    opened = bundle.open(shop.version("churn", "1").digest, shop.home.path)
    records, recorded = holdout.sample(opened.path, opened.signature, 40)
    answers = holdout.ask(shop.model("churn").stage("staging").address, records, opened.signature)
    assert [a["prediction"] for a in answers] == [r["prediction"] for r in recorded]
    for name in opened.signature.outputs[1:]:
        assert [a[name] for a in answers] == pytest.approx([r[name] for r in recorded], abs=1e-9)
    live = shop.target.endpoint("churn-staging")
    assert live is not None and live.variants["1"].ready and live.variants["1"].runners == 0


def test_status_says_how_a_version_answers(bench: Bench) -> None:
    (version,) = bench.yard.status("churn")[0]["versions"]
    assert version["answers"].startswith("row plan: ")


def test_who_explains_by_asking_asks_the_plan(bench: Bench) -> None:
    shop = bench.yard.shop
    opened = bundle.open(shop.version("churn", "1").digest, shop.home.path)
    table = pl.read_parquet(opened.path / "holdout.parquet")
    ask = explanation._ask(Path("no runner"), opened.signature, "probability_1", opened.path)
    assert ask(table).tolist() == pytest.approx(table["y.probability_1"].to_list(), abs=1e-9)


def test_the_plan_is_made_again_with_the_version(bench: Bench) -> None:
    state = bench.yard.wait(bench.yard.reproduce("churn", "1", "ada")["run"])
    assert state["reason"].endswith("metrics are equal; the row plan is the same")


def test_what_cannot_be_written_out_stays_with_the_runner(bench: Bench) -> None:
    bench.config(kind="neighbours")
    said, steps, _ = bench.build()
    assert said == "built churn:2"
    assert steps["compile"] == "runner: KNeighborsClassifier has no row plan"
    assert not (bench.bundle("2") / "plan.json").exists()
    assert bench.read("2", "compile.json") == {"status": "declined", "reason": "KNeighborsClassifier has no row plan"}
    assert bench.read("2", "evaluation.json")["latency"]["by"] == "runner"
    assert "There is no row plan: KNeighborsClassifier has no row plan." in (bench.bundle("2") / "report.html").read_text()
    variant = bench.variant("2")
    assert variant.plan is None and variant.workers == 1


def test_required_fails_the_build_with_the_reason(bench: Bench) -> None:
    bench.config(kind="neighbours", compile="required")
    said, steps, run = bench.build()
    assert "the model has no row plan: KNeighborsClassifier has no row plan" in said
    assert "evaluate" not in steps
    assert json.loads((bench.yard.home.runs / run / "compile.json").read_text())["status"] == "declined"


def test_off_is_off(bench: Bench) -> None:
    bench.config(compile="off")
    said, steps, _ = bench.build()
    assert said == "built churn:3"
    assert steps["compile"] == "runner: `inference.compile` is off"
    assert "kept from" in steps["predict"], "what answers is the same model"
    assert bench.variant("3").plan is None and bench.read("3", "evaluation.json")["latency"]["by"] == "runner"


def test_a_plan_that_is_unequal_is_refused_and_the_runner_serves(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def skewed(plan: Plan) -> Plan:
        """Off by so little that no hold-out shows it in a label, beyond what the config takes."""
        steps = [replace(s, bias=tuple(b + 1e-6 for b in s.bias)) if isinstance(s, Linear) else s for s in plan.steps]
        return replace(plan, steps=tuple(steps))

    monkeypatch.setattr(compiling, "fold", skewed)
    (bench.repository / "train.py").write_text(TRAIN + "# otherwise\n")
    bench.config()
    said, steps, _ = bench.build()
    assert said == "built churn:4"
    assert steps["compile"].startswith("runner: the row plan is refused, row ") and "they may lie 1e-09 apart" in steps["compile"]
    assert bench.read("4", "compile.json")["status"] == "unequal" and bench.variant("4").plan is None
    assert "did not answer as the model does" in (bench.bundle("4") / "report.html").read_text()

    bench.config(compile="auto, tolerance: {scores: 1.0e-5}")
    said, _, _ = bench.build()
    assert said == "built churn:5"
    found = bench.read("5", "compile.json")
    assert found["status"] == "compiled" and found["tolerance"] == 1e-5 and 1e-9 < found["largest_difference"] < 1e-5


def test_a_plan_that_was_tampered_with_is_not_served(bench: Bench) -> None:
    path = bench.bundle("1") / "plan.json"
    text = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(text.replace(b'"bias":[', b'"bias":[ ', 1))
    with pytest.raises(BadInput, match="digest mismatch"):
        bench.variant("1")
    path.write_bytes(text)
    assert bench.variant("1").plan == path
