"""Data as people look at it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from modelyard.config.spec import Data
from modelyard.data import snapshots
from modelyard.data.parts import of
from modelyard.errors import NotFound
from modelyard.flows import datasets

DATA = Data.model_validate({"source": {"using": "csv", "location": "x"}, "target_col": "y", "positive_class": 1})


@pytest.fixture
def shop(home: Path) -> Any:
    """A home with two snapshots: version 1 learned from the first, version 2 from the second and that from the first."""
    first, second = (snapshots.take(of(pl.DataFrame({"x": range(n), "y": [i % 2 for i in range(n)]})), DATA, "UTC", home) for n in (10, 20))
    versions = {
        "1": SimpleNamespace(version="1", data_digest=first.digest, source_digest=first.digest),
        "2": SimpleNamespace(version="2", data_digest=second.digest, source_digest=first.digest),
    }
    state = {"demo": SimpleNamespace(model="demo", versions=versions), "idle": SimpleNamespace(model="idle", versions={})}
    return SimpleNamespace(
        home=SimpleNamespace(path=home),
        state=state,
        model=lambda name: state[name],
        version=lambda model, version: state[model].versions[version],
        config=lambda model: SimpleNamespace(data=DATA),
        digests=(first.digest, second.digest),
    )


def test_who_uses_which_snapshot(shop: Any) -> None:
    rows = {row["digest"]: row for row in datasets.listed(shop, None)}
    first, second = (rows[digest] for digest in shop.digests)
    assert (first["rows"], first["used_by"], first["source_of"]) == (10, ["demo:1"], ["demo:2"])
    assert (second["rows"], second["used_by"], second["source_of"], second["columns"]) == (20, ["demo:2"], [], 2)
    assert second["bytes"] > 100
    assert len(datasets.listed(shop, "demo")) == 2 and datasets.listed(shop, "idle") == []


def test_tables_by_a_persons_word(shop: Any, tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"x": 1, "y": 0}\n{"x": 2, "y": 1}\n')
    for a, b, rows in (
        ("demo:1", "demo:2", [10, 20]),
        (shop.digests[0][:8], shop.digests[1], [10, 20]),
        ("demo:2", str(tmp_path / "t.jsonl"), [20, 2]),
    ):
        assert datasets.diff(shop, a, b)["rows"] == rows
    for word in ("demo:1", shop.digests[0], str(tmp_path / "t.jsonl")):
        found = datasets.profiled(shop, word)
        assert [column["name"] for column in found["columns"]] == ["x", "y"]
        assert found["target"] == ("y" if word == "demo:1" else None)
    with pytest.raises(NotFound, match="there is no file, snapshot or MODEL:VERSION nothing"):
        datasets.diff(shop, "nothing", "demo:1")
    assert not list(shop.home.path.glob("snapshots/.taking-*"))
