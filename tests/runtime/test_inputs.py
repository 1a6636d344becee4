"""The DataFrame that a model gets is the one that pandas makes of a Series a column, however it is put together."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from modelyard.serve.runner import install_runtime

from .test_environments import environment

PLAIN = """
import random
import numpy as np
import pandas as pd
from modelyard.runtime.inputs import Inputs

random.seed(5)
TEXT = "str" if int(pd.__version__.split(".")[0]) >= 3 else object


def series(values, kind):
    if kind == "datetime":
        return pd.to_datetime(pd.Series(values, dtype="Int64").astype("float64"), unit="us", utc=True).astype("datetime64[us, UTC]")
    if kind == "str":
        return pd.Series(values, dtype=TEXT)
    if kind == "float" or (kind == "int" and None in values):
        return pd.Series([np.nan if v is None else v for v in values], dtype="float64")
    if kind == "int":
        return pd.Series(values, dtype="int64")
    return pd.Series(values, dtype=object if None in values else bool)


def value(kind):
    made = {"int": random.randrange(9), "float": random.random(), "str": random.choice(["a", "", "\\u00e4"]), "bool": random.random() < 0.5}
    return made.get(kind, random.randrange(10**9) * 10**6)


for trial in range(200):
    mixed = ["float", "str", "int", "bool", "datetime", "str"]
    kinds = random.choice([["float"] * 5, mixed, ["str"], ["int", "int"], ["bool"], ["datetime"]])
    names, rows, missing = ["c%d" % i for i in range(len(kinds))], random.choice([1, 2, 7]), random.choice([0, 0, 0.3, 1])
    columns = {n: [None if random.random() < missing else value(k) for _ in range(rows)] for n, k in zip(names, kinds)}
    made = Inputs([{"name": n, "type": k} for n, k in zip(names, kinds)])(columns)
    plain = pd.DataFrame({n: series(columns[n], k) for n, k in zip(names, kinds)})
    pd.testing.assert_frame_equal(made, plain, check_dtype=True)
    assert [str(d).split("[")[0] for d in made.dtypes] == [str(d).split("[")[0] for d in plain.dtypes]
print("equal", trial + 1)
"""


@pytest.mark.slow
@pytest.mark.parametrize("pandas", ["pandas<3", "pandas"])
def test_a_frame_is_as_pandas_makes_it_of_a_series_a_column(tmp_path: Path, pandas: str) -> None:
    python = environment(tmp_path / "env", pandas)
    env = {**os.environ, "PYTHONPATH": str(install_runtime(tmp_path))}
    done = subprocess.run([python, "-c", PLAIN], capture_output=True, text=True, env=env)
    assert (done.returncode, done.stdout) == (0, "equal 200\n"), done.stderr
