"""What is known at a glance is what narwhals would have said, and everything else is asked of it as before."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from modelyard.runtime import recognition
from modelyard.serve.runner import install_runtime
from tests import environments

ASKED = """
import json
import numpy as np, pandas as pd, narwhals.stable.v2 as nw
from modelyard.runtime import recognition

class Table(pd.DataFrame):
    pass

class Column(pd.Series):
    pass

class Ours:
    def __narwhals_dataframe__(self):
        raise AssertionError("not asked for it")

table = pd.DataFrame({"a": [1.5, None], "b": ["x", None], "c": pd.Categorical(["u", "v"]), "d": pd.to_datetime(["2026-01-01", None])})
sparse = pd.DataFrame({"a": pd.arrays.SparseArray([0, 1])})
wide = pd.DataFrame([[1, 2]], columns=["a", "a"], index=pd.MultiIndex.from_tuples([(1, 2)]))
ones = [table, sparse, wide, table.iloc[:0], table[[]], pd.DataFrame({0: [1]}), *(table[name] for name in table), Table(table)]
ones += [Column([1]), table.index, table.to_numpy(), np.zeros(3), [1, 2], {"a": [1]}, None, 5, "text", table.groupby("b"), Ours]
ones += [nw.from_native(table), nw.from_native(table["a"], series_only=True)]
options = [{}, {"allow_series": True}, {"allow_series": False}, {"allow_series": None}, {"series_only": True}, {"eager_only": True},
           {"pass_through": True}, {"pass_through": True, "allow_series": True}, {"no_such": 1}]

def said(question, one, **more):
    try:
        found = question(one, **more)
    except Exception as exc:
        return [type(exc).__name__, str(exc)]
    if isinstance(found, bool):
        return found
    native = nw.to_native(found, pass_through=True)
    made = [type(found).__module__, type(found).__name__, native is nw.to_native(one, pass_through=True)]
    return made + ([str(found.implementation), repr(found)] if hasattr(found, "implementation") else [])

def all_said():
    found = [said(nw.from_native, one, **more) for one in ones for more in options]
    return found + [said(q, one) for q in (nw.dependencies.is_into_dataframe, nw.dependencies.is_into_series) for one in ones]

before, done = all_said(), recognition.by_class()
print(json.dumps([done, before, all_said()]))
"""

PREDICTED = """
import sys, json
import numpy as np, pandas as pd, narwhals.stable.v2 as nw
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from modelyard.runtime import recognition

rng = np.random.default_rng(3)
texts = {"s": rng.choice(["a", "b"], 90), "t": rng.choice(["u", "v"], 90)}
table = pd.DataFrame({"n": rng.normal(size=90), "m": rng.integers(0, 9, 90), **texts})
steps = [("n", StandardScaler(), ["n", "m"]), ("s", OneHotEncoder(handle_unknown="ignore"), ["s"]), ("t", OrdinalEncoder(), ["t"])]
models = [make_pipeline(ColumnTransformer(steps), GradientBoostingClassifier(n_estimators=9, random_state=0)) for _ in range(2)]
models[1][0].set_output(transform="pandas").set_params(s__sparse_output=False)
for model in models:
    model.fit(table, table["n"] > 0)
asked = []
own = nw._from_native_impl
nw._from_native_impl = lambda native, **more: (asked.append(type(native).__name__), own(native, **more))[1]
inputs = [table, table[["t", "s", "m", "n"]], table.iloc[:1]]
inputs += [table.drop(columns="s"), table.assign(t="unseen"), table.to_numpy(), table.assign(n=np.nan)]

def predicted():
    found = []
    for model in models:
        for one in inputs:
            try:
                found.append(model.predict_proba(one).tolist())
            except Exception as exc:
                found.append([type(exc).__name__, str(exc)])
    return found

before, first = predicted(), len(asked)
done = recognition.by_class()
asked.clear()
after = predicted()
print(json.dumps([done, before == after, sum(isinstance(row[0], str) for row in before), first, len(asked)]))
"""

OTHER = """
import pandas, narwhals.stable.v2 as nw, narwhals._utils as insides
from modelyard.runtime import recognition
known = nw.from_native, nw.dependencies.is_into_dataframe, nw.dependencies.is_into_series

def unchanged():
    return known == (nw.from_native, nw.dependencies.is_into_dataframe, nw.dependencies.is_into_series)

kept, insides.Implementation = insides.Implementation, None
print(recognition.by_class(), unchanged())
insides.Implementation = kept
nw.from_native = lambda one, **more: (known[0](one, **more), 5)[1]  # says something else than it did
known = (nw.from_native, *known[1:])
print(recognition.by_class(), unchanged())
"""


def told(script: str, folder: Path) -> str:
    env = {**os.environ, "PYTHONPATH": str(install_runtime(folder))}
    done = subprocess.run([str(environments.python()), "-c", script], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_is_said_of_anything_is_what_narwhals_says(tmp_path: Path) -> None:
    done, before, after = json.loads(told(ASKED, tmp_path))
    assert done and after == before
    kinds = [str(one) for one in before]
    assert len(set(kinds)) > 30 and "True" in kinds and "False" in kinds


def test_a_pipeline_predicts_the_same_and_narwhals_is_hardly_asked(tmp_path: Path) -> None:
    done, same, refused, first, then = json.loads(told(PREDICTED, tmp_path))
    assert done and same and refused == 8, "three tables and an array that each pipeline refuses"
    assert first > 40 > 6 > then


def test_a_narwhals_that_is_not_as_we_know_it_is_left_alone(tmp_path: Path) -> None:
    assert told(OTHER, tmp_path) == "False True\nFalse True\n"


def test_without_tables_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "pandas", raising=False)
    assert not recognition.by_class()
