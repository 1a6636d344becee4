"""What the peers of the study on detection are given: references and windows, each a part of one Parquet file, and where answers go."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd

Judge = Callable[["pd.DataFrame"], dict[str, Any]]


def parts(path: str, by: str) -> Iterator[tuple[int, pd.DataFrame]]:
    for number, rows in pd.read_parquet(path).groupby(by, sort=True):
        yield int(number), rows.drop(columns=by).reset_index(drop=True)


def answer(make: Callable[[pd.DataFrame, list[str], list[str]], Judge]) -> None:
    """Arguments: references' file, windows' file, names of numbers and of words with commas between. `make` gets a reference."""
    references, windows, numbers, words = sys.argv[1:5]
    numeric, others = ([n for n in names.split(",") if n] for names in (numbers, words))
    asked = {number: list(parts_of.groupby("id", sort=True)) for number, parts_of in parts(windows, "part")}
    said: dict[int, dict[str, Any]] = {}
    for part, reference in parts(references, "part"):
        judge = make(reference, numeric, others)
        for number, rows in asked.get(part, []):
            said[int(number)] = judge(rows.drop(columns="id").reset_index(drop=True))
    print("RESULT " + json.dumps(said), flush=True)
