"""The metrics page, read by Prometheus' own parser."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from modelyard import __version__
from modelyard.serve import prometheus, stats
from modelyard.serve.prometheus import Said

Found = dict[str, dict[tuple[tuple[str, str], ...], float]]


def counted(*latencies: float, version: str = "1") -> stats.Stats:
    found = stats.Stats(pid=1, started_at=2.5, generation=3, ready=True, unrouted=4, variants={version: stats.VariantStats(in_flight=2)})
    for latency in latencies:
        found.variants[version].finished(stats.Result.ANSWERED, latency, 3)
    for result in (stats.Result.ERROR, stats.Result.CLIENT_ERROR, stats.Result.CLIENT_ERROR, stats.Result.REJECTED):
        found.variants[version].finished(result, 0.0, 1)
    return found


def parsed(text: str) -> Found:
    """Samples by name and labels. Every family has a help and a type, and stands there once."""
    families = list(text_string_to_metric_families(text))
    assert len({f.name for f in families}) == len(families) and all(f.documentation and f.type != "unknown" for f in families)
    found: Found = {}
    for family in families:
        for sample in family.samples:
            labels = tuple(sorted(sample.labels.items()))
            assert labels not in found.setdefault(sample.name, {}), "a series stands there twice"
            found[sample.name][labels] = sample.value
    return found


def one(found: Found, name: str, **labels: str) -> Any:
    (value,) = [v for key, v in found[name].items() if labels.items() <= dict(key).items()]
    return value


def test_large_numbers_are_told_in_full() -> None:
    told = counted(1.0)
    told.started_at, told.unrouted, told.variants["1"].latency_sum_ms = 1_796_000_158.25, 12_345_678_901, 123_456_789_012.5
    found = parsed(prometheus.text([Said("demo-production", 0, told)]))
    assert one(found, "modelyard_front_start_time_seconds") == 1_796_000_158.25
    assert one(found, "modelyard_unrouted_requests_total") == 12_345_678_901
    assert one(found, "modelyard_request_seconds_sum") == 123_456_789.0125


def test_what_is_counted_is_told() -> None:
    told = counted(1.0, 10.0)
    told.runners = {
        "/a/r.sock": stats.RunnerStats("1", True, 0.25, 7, 11, 2),
        "/b/r.sock": stats.RunnerStats("1", False, 0.0, 7, 0, 0),
    }
    told.capture = stats.CaptureStats(eligible=6, captured=5, dropped=1)
    found = parsed(prometheus.text([Said("demo-production", 0, told)]))
    assert one(found, "modelyard_build_info", version=__version__) == 1
    results = {"answered": 2, "error": 1, "client_error": 2, "rejected": 1}
    assert {r: one(found, "modelyard_requests_total", result=r) for r in results} == results
    assert (one(found, "modelyard_rows_total"), one(found, "modelyard_in_flight"), one(found, "modelyard_queue_rows")) == (6, 2, 14)
    assert one(found, "modelyard_runner_restarts_total", runner="0") == 2 and one(found, "modelyard_runner_connected", runner="1") == 0
    assert (
        one(found, "modelyard_capture_rows_total", result="captured") == 5
        and one(found, "modelyard_capture_rows_total", result="dropped") == 1
    )
    assert (one(found, "modelyard_unrouted_requests_total"), one(found, "modelyard_table_generation")) == (4, 3)
    assert one(found, "modelyard_request_seconds_count") == 2 and abs(one(found, "modelyard_request_seconds_sum") - 0.011) < 1e-9
    assert "/a/" not in str(found), "no path of the machine is told"


@given(st.lists(st.floats(0.01, 1e6), max_size=50))
def test_the_buckets_of_latencies_rise_to_their_count(latencies: list[float]) -> None:
    found = parsed(prometheus.text([Said("e", 0, counted(*latencies))]))
    buckets = sorted((float(dict(key)["le"]), value) for key, value in found["modelyard_request_seconds_bucket"].items())
    assert [value for _, value in buckets] == sorted(value for _, value in buckets)
    assert buckets[-1] == (float("inf"), len(latencies))
    for upper, value in buckets:
        assert value >= sum(latency / 1000 <= upper * 0.84 for latency in latencies)
        assert value <= sum(latency / 1000 <= upper * 1.001 for latency in latencies)


@given(st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20))
def test_any_name_can_be_told(endpoint: str, version: str) -> None:
    names = [name.replace("\r", "").replace("\x00", "") for name in (endpoint, version)]
    found = parsed(prometheus.text([Said(names[0], 0, counted(1.0, version=names[1]))]))
    (labels,) = found["modelyard_rows_total"]
    assert [dict(labels)["endpoint"], dict(labels)["version"]] == names


def test_endpoints_and_fronts_have_series_of_their_own() -> None:
    said = [Said("a", 0, counted(1.0)), Said("a", 1, counted(1.0, 2.0)), Said("b", 0, counted())]
    found = parsed(prometheus.text(said))
    assert sorted(found["modelyard_requests_total"].values(), reverse=True)[:4] == [2, 2, 2, 2]
    assert [one(found, "modelyard_rows_total", endpoint=e, front=f) for e, f in (("a", "0"), ("a", "1"), ("b", "0"))] == [3, 6, 0]
    assert parsed(prometheus.text([])).keys() == {"modelyard_build_info"}
