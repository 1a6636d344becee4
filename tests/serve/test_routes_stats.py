from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.errors import BadInput, NotFound, Unavailable
from modelyard.serve import routes, stats
from modelyard.signature import Column, Signature

SIGNED = Signature("regression", (Column("x", "float"),)).to_dict()


def table(*variants: routes.Variant, **more: Any) -> routes.RoutingTable:
    return routes.RoutingTable("e", "m", "staging", variants, routes.Capture("/tmp/c"), **more)


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = table(routes.Variant("1", 90, ("/a",), SIGNED), routes.Variant("2", 10, ("/b", "/c"), SIGNED, "challenger"), generation=7)
    routes.write(tmp_path / "routes.json", written)
    found = routes.read(tmp_path / "routes.json")
    assert found == routes.read(tmp_path / "routes.json")
    assert (found.generation, [v.weight for v in found.variants], found.variants[1].sockets) == (7, [90, 10], ("/b", "/c"))
    assert Signature.from_dict(found.variants[0].signature) == Signature.from_dict(SIGNED)
    assert [p.name for p in tmp_path.iterdir()] == ["routes.json"]


@pytest.mark.parametrize(
    "variants",
    [
        [routes.Variant("1", 101, (), SIGNED)],
        [routes.Variant("1", -1, (), SIGNED)],
        [routes.Variant("1", 0, (), SIGNED)],
        [routes.Variant("1", 1, (), SIGNED), routes.Variant("1", 1, (), SIGNED)],
        [routes.Variant("1", 1, (), {"columns": 3})],
    ],
)
def test_a_table_that_does_not_hold_is_never_written(tmp_path: Path, variants: list[routes.Variant]) -> None:
    with pytest.raises(BadInput):
        routes.write(tmp_path / "routes.json", table(*variants))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "{", "[]", '{"endpoint": "e", "more": 1}', "\ud800".encode("utf-8", "surrogatepass")])
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, text: str | bytes) -> None:
    path = tmp_path / "routes.json"
    with pytest.raises(NotFound):
        routes.read(path)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(BadInput):
        routes.read(path)


@given(st.lists(st.floats(0.2, 100_000), min_size=1, max_size=300), st.sampled_from([0.5, 0.9, 0.99]))
def test_quantiles_lie_within_a_bucket_of_the_truth(latencies: list[float], share: float) -> None:
    counted = stats.VariantStats()
    for latency in latencies:
        counted.finished(stats.Result.ANSWERED, latency, 1)
    truth = float(np.quantile(latencies, share, method="inverted_cdf"))
    found = stats.quantile(counted.histogram, share)
    assert found is not None and truth * 0.999 <= found <= truth * 1.2


def test_differences_and_rates() -> None:
    before, after = stats.VariantStats(), stats.VariantStats()
    for counted, again in ((before, 1), (after, 4)):
        for _ in range(again):
            for result in stats.Result:
                counted.finished(result, 2.0, 3)
    change = stats.difference(after, before)
    assert (change.requests, change.answered, change.errors, change.client_errors, change.rejected, change.rows) == (
        12,
        3,
        3,
        3,
        3,
        9,
    )
    assert change.error_rate == 0.5
    assert change.p99_ms is not None and 2.0 <= change.p99_ms <= 2.4
    assert stats.difference(before, after) == stats.difference(before, None)  # the front was started anew
    assert stats.VariantStats().error_rate is None
    assert stats.quantile([0, 0], 0.5) is None


def test_the_file(tmp_path: Path) -> None:
    path = tmp_path / "stats.json"
    with pytest.raises(NotFound):
        stats.read(path)
    with pytest.raises(Unavailable, match="routing table 1"):
        stats.wait_generation(path, 1, timeout=0.05)
    counted = stats.Stats(pid=1, started_at=2.0, generation=3, variants={"1": stats.VariantStats()})
    counted.variants["1"].finished(stats.Result.ANSWERED, 1.0, 1)
    stats.write(path, counted)
    assert stats.wait_generation(path, 3) == stats.read(path) == counted
    assert json.loads(path.read_bytes())["variants"]["1"]["p50_ms"] >= 1.0
    path.write_text("{}")
    with pytest.raises(BadInput):
        stats.read(path)
