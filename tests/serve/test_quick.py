"""The short way against the long one: where it answers at all, it answers, counts and captures the same."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelyard.serve import routes
from modelyard.serve.access import digest
from modelyard.serve.captured import read
from modelyard.serve.desk import Desk
from modelyard.serve.plane import Plane, Request
from modelyard.serve.protocols.plain import Plain
from modelyard.serve.quick import Passed, Quick
from modelyard.serve.rows import new_id

from .planned import PLAIN, SIGNED, in_a_loop, plane, variant

HOSTS = frozenset({"localhost"})
STEADY = [(b"host", b"localhost"), (b"content-type", b"application/json"), (b"user-agent", b"me")]
RECORD = {"x": 1.5, "k": 3, "t": "a"}
FULL = {**RECORD, "b": True, "at": "2026-01-31T12:00:00Z", "y": 2, "id": "UA1", "when": "2026-01-31T12:00:00Z", "who": "Ann"}


def ask(quick: Quick, body: Any, *, url: bytes = b"/invocations", steady: Any = STEADY, **varying: str) -> bytes | Passed:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {name.replace("_", "-").encode(): value.encode() for name, value in varying.items()}
    return quick(url, steady, {b"content-length": b"%d" % len(data), **headers}, data)


def parted(answer: bytes | Passed) -> tuple[dict[str, str], bytes]:
    """Headers and body of a whole answer with status 200."""
    assert isinstance(answer, bytes), answer
    head, body = answer.split(b"\r\n\r\n", 1)
    line, *headers = head.decode().split("\r\n")
    assert line == "HTTP/1.1 200 OK"
    found = dict(header.split(": ", 1) for header in headers)
    assert int(found["content-length"]) == len(body)
    return found, body


async def long_way(plane: Plane, body: bytes, **headers: str) -> tuple[int, bytes]:
    fields = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    answer = await plane.invoke(Request("POST", "/invocations", fields, body), Plain())
    return answer.status, answer.body


@pytest.mark.parametrize(
    "body",
    [
        RECORD,
        FULL,
        [RECORD, FULL],
        [RECORD] * 128,
        {"instances": [RECORD, RECORD]},
        {"dataframe_records": [RECORD]},
        {**RECORD, "x": 2, "y": None, "b": None},
        {**RECORD, "id": 'é\u2028"'},
        {**RECORD, "id": 7},
    ],
)
@in_a_loop
async def test_what_most_callers_send_goes_the_short_way(tmp_path: Path, body: Any) -> None:
    one = await plane(tmp_path)
    quick, data = Quick(one, HOSTS), json.dumps(body).encode()
    headers, short = parted(ask(quick, data, x_amzn_sagemaker_inference_id="abc"))
    assert (200, short) == await long_way(one, data, x_amzn_sagemaker_inference_id="abc")
    assert headers["x-modelyard-version"] == headers["x-amzn-invoked-production-variant"] == "7"
    first, second = (json.loads(parted(ask(quick, data))[1])["predictions"][0]["inference_id"] for _ in range(2))
    given = (body[0] if isinstance(body, list) else body).get("id")
    assert (first == second == str(given)) if given is not None else (first != second and len(first) >= 32)


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.sampled_from(["a", "b", "", "2026-01-31", "é"]),
    st.text(max_size=3),
)
RECORDS = st.fixed_dictionaries(
    {},
    optional={
        "x": st.floats() | SCALARS,
        "k": st.integers(-(2**65), 2**65) | SCALARS,
        "t": st.sampled_from("ab") | SCALARS,
        "b": st.booleans() | SCALARS,
        "at": st.datetimes().map(str) | SCALARS,
        "y": st.floats() | SCALARS,
        "id": st.text(max_size=300) | SCALARS,
        "when": st.just("2026-01-31T12:00:00Z") | SCALARS,
        "who": SCALARS,
        "z": SCALARS,
    },
)
GOOD = st.fixed_dictionaries(
    {"x": st.floats(-9, 9), "k": st.integers(-9, 9), "t": st.sampled_from("ab")}, optional={"y": st.floats(-9, 9) | st.none()}
)
BODIES = st.one_of(
    RECORDS,
    GOOD,
    st.lists(RECORDS | GOOD, max_size=3),
    st.builds(
        lambda key, rows: {key: rows}, st.sampled_from(["instances", "dataframe_records", "inputs", "x"]), st.lists(GOOD, max_size=3)
    ),
    SCALARS,
).map(lambda body: json.dumps(body).encode()) | st.binary(max_size=20)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(BODIES)
def test_the_short_way_answers_as_the_long_one_or_not_at_all(tmp_path: Path, body: bytes) -> None:
    async def both() -> None:
        one = await plane(tmp_path)
        short = ask(Quick(one, HOSTS), body, x_amzn_sagemaker_inference_id="abc")
        mine = msgspec.structs.replace(one.router.stats.variants["7"])
        status, content = await long_way(one, body, x_amzn_sagemaker_inference_id="abc")
        now = one.router.stats.variants["7"]
        if isinstance(short, Passed):
            assert mine.requests == 0 and short.variant is not None  # nothing was counted, and the version stays
        else:
            assert (status, content) == (200, parted(short)[1])
            assert (mine.answered, mine.rows) == (now.answered - 1, now.rows - mine.rows) == (1, mine.rows)

    asyncio.run(both())


def nameless(content: bytes) -> Any:
    """An answer without the ids that were drawn for it."""
    found = json.loads(content)
    for prediction in found["predictions"]:
        assert len(prediction.pop("inference_id")) >= 32
    return found


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(BODIES)
def test_records_of_nothing_but_features_are_answered_counted_and_kept_as_on_the_long_way(
    tmp_path_factory: pytest.TempPathFactory, body: bytes
) -> None:
    async def both(folder: Path) -> None:
        one = await plane(folder, variant(folder, signed=PLAIN))
        counted, kept = one.router.stats.variants["7"], one.router.stats.capture
        short = ask(Quick(one, HOSTS), body)
        if isinstance(short, Passed):
            assert counted.requests == one.router.refresh_stats().capture.eligible == 0
            return
        status, content = await long_way(one, body)
        assert status == 200 and nameless(content) == nameless(parted(short)[1])
        one.router.refresh_stats()
        assert (counted.requests, counted.answered, sum(counted.histogram)) == (2, 2, 2)
        assert counted.rows == kept.eligible == kept.captured == 2 * len(json.loads(content)["predictions"])
        rows = read(folder / "capture").drop("inference_id", "event_time", "received_at", "latency_ms").rows()
        assert rows[: len(rows) // 2] == rows[len(rows) // 2 :]

    asyncio.run(both(tmp_path_factory.mktemp("plain")))


@in_a_loop
async def test_a_plain_record_is_answered_in_one_function_by_the_table_and_the_capture_in_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await plane(tmp_path, variant(tmp_path, signed=PLAIN))
    quick, longer = Quick(one, HOSTS), Desk.answer
    asked: list[int] = []
    monkeypatch.setattr(Desk, "answer", lambda self, *args: (asked.append(1), longer(self, *args))[1])
    parted(ask(quick, RECORD))
    assert not asked
    parted(ask(quick, RECORD, x_amzn_sagemaker_inference_id="abc"))
    assert asked, "an id that comes in a header is for the function that knows of it"
    assert one.router.live is not None
    for mode, files in (("off", 1), ("buffered", 2)):
        await one.router.take_up(
            msgspec.structs.replace(one.router.live.table, capture=routes.Capture(str(tmp_path / "capture"), mode=mode))
        )
        asked.clear()
        parted(ask(quick, RECORD))
        assert not asked and len(list((tmp_path / "capture").iterdir())) == files
    await one.router.take_up(
        msgspec.structs.replace(one.router.live.table, capture=routes.Capture(str(tmp_path / "capture"), mode="required"))
    )
    assert isinstance(ask(quick, RECORD), Passed), "what must be on the disk first is not answered at once"


@in_a_loop
async def test_callers_who_take_turns_are_judged_each_by_their_own_headers(tmp_path: Path) -> None:
    one = await plane(tmp_path, access=routes.Access({"shop": digest("my_k")}))
    quick = Quick(one, HOSTS)
    for key in ("my_k", "no", "my_k", "my_k", "no", "no"):
        asked = ask(quick, RECORD, steady=[*STEADY, (b"authorization", f"Bearer {key}".encode())])
        assert isinstance(asked, bytes) is (key == "my_k")
    assert isinstance(ask(quick, RECORD, url=b"/endpoints/other/invocations", steady=[*STEADY, (b"authorization", b"Bearer my_k")]), Passed)


@in_a_loop
async def test_both_ways_capture_the_same(tmp_path: Path) -> None:
    one = await plane(tmp_path)
    quick = Quick(one, HOSTS)
    for number, body in enumerate((RECORD, FULL, {**RECORD, "at": "2026-01-31T12:00:00.5+01:00"}, [RECORD, RECORD])):
        data = json.dumps(body).encode()
        parted(ask(quick, data, x_amzn_sagemaker_inference_id=f"s{number}"))
        await long_way(one, data, x_amzn_sagemaker_inference_id=f"l{number}")
    table = read(tmp_path / "capture").drop("received_at", "latency_ms").sort("inference_id")
    kept = [
        {k: v for k, v in row.items() if k != "inference_id" and not (k == "event_time" and row["x.who"] is None)}
        for row in table.to_dicts()
    ]
    assert len(kept) == 10 and kept[:5] == kept[5:]
    capture = one.router.stats.capture
    assert (capture.eligible, capture.captured) == (10, 10)


@pytest.mark.parametrize(
    ("url", "steady"),
    [
        (b"/ping", STEADY),
        (b"/invocations?explain=true", STEADY),
        (b"/endpoints/other/invocations", STEADY),
        (b"/invocations", [*STEADY, (b"accept", b"text/csv")]),
        (b"/invocations", [(b"host", b"evil.example"), *STEADY[1:]]),
        (b"/invocations", [STEADY[0], (b"content-type", b"text/csv")]),
        (b"/invocations", [STEADY[0], (b"content-type", b"application/json; charset=latin-1")]),
        (b"/invocations", [*STEADY, (b"content-encoding", b"gzip")]),
        (b"/invocations", [*STEADY, (b"transfer-encoding", b"chunked")]),
        (b"/invocations", [*STEADY, (b"x-amzn-sagemaker-enable-explanations", b"true")]),
        (b"/invocations", [*STEADY, (b"x-amzn-sagemaker-target-variant", b"9")]),
    ],
)
@in_a_loop
async def test_what_is_unusual_goes_the_long_way(tmp_path: Path, url: bytes, steady: Any) -> None:
    one = await plane(tmp_path)
    quick = Quick(one, HOSTS)
    for _ in range(2):  # the second time by what was remembered
        assert isinstance(ask(quick, RECORD, url=url, steady=steady), Passed)
    assert one.router.stats.variants["7"].requests == 0
    parted(ask(quick, RECORD, url=b"/endpoints/demo-production/invocations", steady=[*STEADY, (b"accept", b"*/*")]))


@in_a_loop
async def test_the_model_that_refuses_is_asked_once_more_as_the_same_version(tmp_path: Path) -> None:
    """Chosen again, a bad version would look better than it is."""
    one = await plane(tmp_path, variant(tmp_path, "1", 10), variant(tmp_path, "2", 90))
    quick = Quick(one, HOSTS)
    seen = [passed.variant.version for _ in range(200) if isinstance(passed := ask(quick, {**RECORD, "t": "c"}), Passed) and passed.variant]
    assert len(seen) == 200 and 3 <= seen.count("1") <= 60


@in_a_loop
async def test_weights_targets_and_sessions(tmp_path: Path) -> None:
    one = await plane(tmp_path, variant(tmp_path, "1", 50), variant(tmp_path, "2", 50), sticky=True)
    quick = Quick(one, HOSTS)
    target = [*STEADY, (b"x-amzn-sagemaker-target-variant", b"1")]
    assert {parted(ask(quick, RECORD, steady=target))[0]["x-modelyard-version"] for _ in range(20)} == {"1"}
    assert {parted(ask(quick, RECORD))[0]["x-modelyard-version"] for _ in range(50)} == {"1", "2"}
    sessions = {
        s: {parted(ask(quick, RECORD, x_amzn_sagemaker_session_id=s))[0]["x-modelyard-version"] for _ in range(5)} for s in "abcdefghij"
    }
    assert all(len(versions) == 1 for versions in sessions.values()) and len({*map(tuple, sessions.values())}) == 2


@in_a_loop
async def test_keys_are_judged_anew_with_each_table(tmp_path: Path) -> None:
    one = await plane(tmp_path, access=routes.Access({"shop": digest("my_k")}))
    quick, bearer = Quick(one, HOSTS), [*STEADY, (b"authorization", b"Bearer my_k")]
    assert isinstance(ask(quick, RECORD), Passed)
    parted(ask(quick, RECORD, steady=bearer))
    assert one.router.live is not None
    table = msgspec.structs.replace(one.router.live.table, access=routes.Access({}))
    await one.router.take_up(table)
    assert isinstance(ask(quick, RECORD, steady=bearer), Passed)


@in_a_loop
async def test_where_capture_is_required_everything_goes_the_long_way(tmp_path: Path) -> None:
    one = await plane(tmp_path, capture=routes.Capture(str(tmp_path / "capture"), mode="required"))
    for body in (RECORD, [RECORD, RECORD], FULL):
        assert isinstance(ask(Quick(one, HOSTS), body), Passed)
    assert (await long_way(one, json.dumps(RECORD).encode()))[0] == 200
    assert one.router.stats.capture.captured == 1


@in_a_loop
async def test_a_trace_is_answered_and_one_that_is_kept_goes_the_long_way(tmp_path: Path) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    one = await plane(tmp_path)
    headers, _ = parted(ask(Quick(one, HOSTS), RECORD, traceparent=trace))
    assert headers["traceparent"].startswith("00-0af7651916cd43dd8448eb211c80319c-") and headers["traceparent"].endswith("-01")
    assert "b7ad6b7169203331" not in headers["traceparent"]
    traced = await plane(tmp_path, traces=routes.Traces("http://127.0.0.1:1/v1/traces", 0.0))
    passed = ask(Quick(traced, HOSTS), RECORD, traceparent=trace)
    assert isinstance(passed, Passed) and passed.trace is not None and passed.trace.sampled
    parted(ask(Quick(traced, HOSTS), RECORD, traceparent=trace[:-1] + "0"))


def test_no_two_ids_of_ours_are_alike() -> None:
    ids = [new_id() for _ in range(1000)]
    assert len(set(ids)) == 1000 and all(re.fullmatch("[0-9a-f]{32}", one) for one in ids)


LOCAL = st.sampled_from(["2026-03-29T02:30:00", "2026-10-25T02:30:00", "2026-07-01", "2026-07-01T12:00:00Z"]) | st.datetimes().map(str)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(LOCAL, min_size=1, max_size=3))
def test_both_ways_read_a_naive_time_in_the_versions_zone(tmp_path: Path, times: list[str]) -> None:
    zoned = replace(SIGNED, columns=tuple(replace(c, timezone="Europe/Berlin") for c in SIGNED.columns))

    async def asked() -> None:
        one = await plane(tmp_path, variant(tmp_path, signed=zoned))
        quick = Quick(one, HOSTS)
        quick(b"/invocations", STEADY, {b"content-length": b"2"}, b"{}")  # takes the desk up
        (desk,) = quick._desks.values()
        records = [{**RECORD, "at": at} for at in times]
        wanted = one.router.live.variants[0].formats.parse(json.dumps(records).encode(), None, received_at=0).columns["at"]  # type: ignore[union-attr]
        assert desk._read(desk._records(json.dumps(records).encode()), None, 0).columns["at"] == wanted
        assert [desk._with_instants((1.5, 3, "a", None, at, None))[4] for at in times] == wanted
        assert isinstance(ask(quick, records[0]), bytes), "the short way takes it"

    asyncio.run(asked())
