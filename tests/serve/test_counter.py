"""The short way of versions that runners answer: the answers, counts and capture of the long way, in order, for those who are there."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import json
import re
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelyard.serve import routes, server, sockets, stats
from modelyard.serve.answers import Deferred
from modelyard.serve.app import Front
from modelyard.serve.capture import Unwritten
from modelyard.serve.captured import read
from modelyard.serve.counter import Waiting
from modelyard.serve.live import Router
from modelyard.serve.plane import Plane
from modelyard.serve.quick import Passed, Quick
from modelyard.serve.rows import OneRow, Rows
from modelyard.signature import Signature

from .fake import Columns, FakeRunner
from .planned import PLAIN, SIGNED, in_a_loop
from .test_client import Gate
from .test_http import LONG, bystander, post, statuses, talk
from .test_quick import BODIES, HOSTS, RECORD, ask, long_way, nameless, parted

NAMES = [column.name for column in SIGNED.columns]


def model(columns: Columns, rows: int) -> Columns:
    """Refuses a `t` that is neither a nor b, as a model does that raises."""
    if any(t not in ("a", "b") for t in columns["t"]):
        raise ValueError("t is unknown")
    yes = [1 / (1 + 2 ** -(x % 5 if x is not None else 0)) for x in columns["x"]]
    return {
        "prediction": ["Yes" if p >= 0.5 else "No" for p in yes],
        "probability_No": [1 - p for p in yes],
        "probability_Yes": yes,
    }


@asynccontextmanager
async def answering(
    folder: Path,
    predict: Callable[[Columns, int], Columns] = model,
    limits: Any = None,
    capture: Any = None,
    signed: Signature = SIGNED,
    unwritten: Unwritten | None = None,
) -> AsyncIterator[Plane]:
    """A data plane whose one version a runner answers."""
    fake = FakeRunner(folder / "7.sock", predict, NAMES)
    variant = routes.Variant("7", 100, (str(folder / "7.sock"),), signed.to_dict())
    capture = capture or routes.Capture(str(folder / "capture"))
    table = routes.RoutingTable("demo-production", "demo", "production", (variant,), capture=capture, limits=limits or routes.Limits())
    routes.write(folder / "routes.json", table)
    router = Router(folder / "routes.json", stats.Stats(pid=0, started_at=0.0), unwritten)
    await router.look()
    assert router.live is not None
    await asyncio.wait_for(router.live.variants[0].runners.ready.wait(), 5)
    try:
        yield Plane(router)
    finally:
        await router.close()
        fake.refuse_more()


async def came(asked: bytes | Waiting | Passed) -> bytes:
    assert isinstance(asked, Waiting), asked
    told = asyncio.get_running_loop().create_future()
    asked.then(told.set_result)
    answer: bytes = await asyncio.wait_for(told, 10)
    return answer


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(BODIES)
def test_the_short_way_answers_as_the_long_one_or_not_at_all(tmp_path_factory: pytest.TempPathFactory, body: bytes) -> None:
    async def both() -> None:
        async with answering(tmp_path_factory.mktemp("c")) as one:
            asked = ask(Quick(one, HOSTS), body, x_amzn_sagemaker_inference_id="abc")
            if isinstance(asked, Passed):
                assert one.router.stats.variants["7"].requests == 0 and asked.variant is not None
                return
            short = await came(asked)
            mine = msgspec.structs.replace(one.router.stats.variants["7"])
            status, content = await long_way(one, body, x_amzn_sagemaker_inference_id="abc")
            now = one.router.stats.variants["7"]
            assert short.startswith(b"HTTP/1.1 %d " % status) and short.partition(b"\r\n\r\n")[2] == content
            assert (mine.requests, mine.errors, mine.rows) == (now.requests - 1, now.errors - mine.errors, now.rows - mine.rows)
            assert now.in_flight == 0

    asyncio.run(both())


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(BODIES)
def test_records_of_nothing_but_features_are_answered_counted_and_kept_as_on_the_long_way(
    tmp_path_factory: pytest.TempPathFactory, body: bytes
) -> None:
    async def both(folder: Path) -> None:
        async with answering(folder, signed=PLAIN) as one:
            asked = ask(Quick(one, HOSTS), body)
            if isinstance(asked, Passed):
                assert one.router.stats.variants["7"].requests == 0
                return
            short = await came(asked)
            status, content = await long_way(one, body)
            assert short.startswith(b"HTTP/1.1 %d " % status)
            if status == 200:
                assert nameless(parted(short)[1]) == nameless(content)
            counted, kept = one.router.stats.variants["7"], one.router.refresh_stats().capture
            assert (counted.requests, counted.in_flight) == (2, 0) and kept.captured == kept.eligible == counted.rows
        rows = read(folder / "capture")
        assert rows.height == kept.captured
        values = rows.drop("inference_id", "event_time", "received_at", "latency_ms").rows() if rows.height else []
        assert values[: len(values) // 2] == values[len(values) // 2 :]

    asyncio.run(both(tmp_path_factory.mktemp("plain")))


@given(st.lists(st.floats(allow_nan=False) | st.none() | st.text(max_size=3), min_size=1, max_size=5))
def test_a_row_by_itself_is_what_rows_of_one_are(values: list[Any]) -> None:
    names = [f"c{place}" for place in range(len(values))]
    one, same = OneRow(names, tuple(values), "i", 7), Rows({name: [v] for name, v in zip(names, values, strict=True)}, 1, ["i"], 7)
    shared = [field.name for field in dataclasses.fields(Rows)]
    assert [getattr(one, name) for name in shared] == [getattr(same, name) for name in shared]
    assert bytes(one.encoded()) == bytes(same.encoded())
    with pytest.raises(AttributeError):
        one.columns = {}


@in_a_loop
async def test_both_ways_capture_the_same(tmp_path: Path) -> None:
    async with answering(tmp_path) as one:
        quick = Quick(one, HOSTS)
        for number, body in enumerate((RECORD, {**RECORD, "who": "Ann", "id": "x"}, [RECORD, RECORD])):
            data = json.dumps(body).encode()
            parted(await came(ask(quick, data, x_amzn_sagemaker_inference_id=f"s{number}")))
            await long_way(one, data, x_amzn_sagemaker_inference_id=f"l{number}")
    table = read(tmp_path / "capture").drop("received_at", "latency_ms", "event_time").sort("inference_id")
    kept = [{k: v for k, v in row.items() if k != "inference_id"} for row in table.to_dicts()]
    assert len(kept) == 8 and kept[:4] == kept[4:]


class Callers:
    """Ask records together; hold the runner until all of them wait."""

    def __init__(self) -> None:
        self.gate, self.sizes = Gate(), list[int]()

    def predict(self, columns: Columns, rows: int) -> Columns:
        self.sizes.append(rows)
        self.gate.predict({"x": [0.0]}, 1)
        return model(columns, rows)


@in_a_loop
async def test_rows_by_themselves_and_others_in_one_batch_are_each_answered_as_their_own(tmp_path: Path) -> None:
    for signed, company in ((PLAIN, []), (PLAIN, [[RECORD, {**RECORD, "x": 4}]]), (SIGNED, [])):
        folder, callers = tmp_path / f"{signed is PLAIN}-{len(company)}", Callers()
        folder.mkdir()
        async with answering(folder, callers.predict, signed=signed) as one:
            quick = Quick(one, HOSTS)
            bodies = [{**RECORD, "x": float(x % 5), "y": None if x % 2 else 1.5} for x in range(9)]
            waiting = [ask(quick, body) for body in [*bodies, *company]]
            await asyncio.to_thread(callers.gate.held.wait, 5)
            callers.gate.open.set()
            answers = [json.loads(parted(await came(one_of))[1])["predictions"] for one_of in waiting]
            assert [a[0]["probabilities"]["Yes"] for a in answers[:9]] == [1 / (1 + 2 ** -(x % 5)) for x in range(9)]
            assert [a[1]["probabilities"]["Yes"] for a in answers[9:]] == [1 / (1 + 2**-4)] * len(company)
            assert callers.sizes == [1, 8 + 2 * len(company)], "the first goes at once, the others together"
        table = read(folder / "capture").sort("f.x")
        assert table["f.x"].to_list() == sorted([*(b["x"] for b in bodies), *(r["x"] for rows in company for r in rows)])


@in_a_loop
async def test_an_answered_request_leaves_nothing_for_the_garbage_collector(tmp_path: Path) -> None:
    def there() -> int:
        return sum(isinstance(found, Deferred | Waiting | Rows) for found in gc.get_objects())

    async with answering(tmp_path) as one, serving(one) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        gc.collect()
        before = there()  # other tests' may be held
        gc.disable()
        try:
            for _ in range(20):
                writer.write(post(json.dumps(RECORD).encode()))
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.partition(b"content-length: ")[2].split(b"\r\n")[0]))
            assert there() <= before + 3, "of the last one"
        finally:
            gc.enable()
        writer.close()


@pytest.mark.parametrize("end", [False, True])
@in_a_loop
async def test_what_a_runner_answered_is_on_file_before_the_answer_is_sent(tmp_path: Path, end: bool) -> None:
    gate, unwritten = Gate(), Unwritten()
    held = answering(tmp_path, lambda c, n: (gate.predict({"x": [0.0]}, 1), model(c, n))[1], unwritten=unwritten)
    async with held as one, serving(one, unwritten) as port:
        callers = [await asyncio.open_connection("127.0.0.1", port) for _ in range(5)]
        for _, writer in callers:
            writer.write(post(json.dumps(RECORD).encode(), *(["Connection: close"] if end else [])))
        await asyncio.to_thread(gate.held.wait, 5)
        assert read(tmp_path / "capture").height == 0
        gate.open.set()
        for reader, writer in callers:
            head = await reader.readuntil(b"\r\n\r\n")
            (name,) = re.findall(r'"([0-9a-f]{32})"', (await reader.readuntil(b"}")).decode())
            assert head.startswith(b"HTTP/1.1 200") and name in read(tmp_path / "capture")["inference_id"].to_list()
            writer.close()
        capture = one.router.refresh_stats().capture
        assert capture.eligible == capture.captured == 5


@in_a_loop
async def test_where_capture_is_required_everything_goes_the_long_way(tmp_path: Path) -> None:
    async with answering(tmp_path, capture=routes.Capture(str(tmp_path / "capture"), mode="required")) as one:
        assert isinstance(ask(Quick(one, HOSTS), RECORD), Passed)


@in_a_loop
async def test_a_model_that_raises_is_said_in_the_words_of_the_path(tmp_path: Path) -> None:
    async with answering(tmp_path) as one:
        quick, bad = Quick(one, HOSTS), {**RECORD, "t": "c"}
        plain = await came(ask(quick, bad))
        assert plain.startswith(b"HTTP/1.1 424 ") and b"t is unknown" in plain and b"x-modelyard-version: 7" in plain
        theirs = await came(ask(quick, bad, url=b"/endpoints/demo-production/invocations"))
        assert theirs.startswith(b"HTTP/1.1 424 ") and b"x-amzn-errortype: ModelError" in theirs
        assert one.router.stats.variants["7"].errors == 2


@in_a_loop
async def test_what_cannot_wait_goes_the_long_way_which_says_why(tmp_path: Path) -> None:
    gate = Gate()
    async with answering(tmp_path, lambda c, n: (gate.predict({"x": [0.0]}, 1), model(c, n))[1], routes.Limits(max_waiting=1)) as one:
        quick = Quick(one, HOSTS)
        first = ask(quick, RECORD)
        await asyncio.to_thread(gate.held.wait, 5)
        second, third = ask(quick, RECORD), ask(quick, RECORD)
        assert isinstance(second, Waiting) and isinstance(third, Passed), "the queue is full"
        assert (await long_way(one, json.dumps(RECORD).encode()))[0] == 429
        gate.open.set()
        parted(await came(first))
        parted(await came(second))


@asynccontextmanager
async def serving(one: Plane, unwritten: Unwritten | None = None) -> AsyncIterator[int]:
    listener = sockets.listen("127.0.0.1", 0)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    uvicorn = server.server(Front(one, HOSTS), Quick(one, HOSTS), unwritten=unwritten)
    task = asyncio.ensure_future(server.serve(uvicorn, listener))
    await asyncio.sleep(0.05)
    try:
        yield listener.getsockname()[1]
    finally:
        uvicorn.should_exit = True
        await task


@in_a_loop
async def test_one_whose_answer_cannot_be_written_keeps_nobody_else_from_theirs(tmp_path: Path) -> None:
    callers = Callers()
    async with answering(tmp_path, callers.predict) as one:
        quick = Quick(one, HOSTS)
        waiting = [ask(quick, RECORD) for _ in range(4)]
        asked = [one_of for one_of in waiting if isinstance(one_of, Waiting)]
        asked[2].then(lambda answer: 1 / 0)
        await asyncio.to_thread(callers.gate.held.wait, 5)
        callers.gate.open.set()
        for one_of in (*asked[:2], asked[3]):
            parted(await came(one_of))
        assert one.router.stats.variants["7"].answered == 4 and one.router.stats.variants["7"].in_flight == 0


@pytest.mark.parametrize("others", [0, 1])
@in_a_loop
async def test_requests_of_both_ways_in_one_breath_are_answered_in_order(tmp_path: Path, others: int) -> None:
    async with answering(tmp_path) as one, serving(one) as port, bystander(port) if others else nullcontext():
        odd = "X-Amzn-SageMaker-Custom-Attributes: a"
        asked = [
            post(json.dumps(RECORD).encode(), f"X-Amzn-SageMaker-Inference-Id: r{i}", *([odd] if i % 3 == 1 else [])) for i in range(9)
        ]
        answers = await talk(port, b"".join(asked))
        assert statuses(answers) == [200] * 9
        places = [answers.index(b'"r%d"' % i) for i in range(9)]
        assert places == sorted(places)
        assert one.router.stats.variants["7"].answered == 9 and one.router.stats.variants["7"].in_flight == 0


@in_a_loop
async def test_who_hangs_up_leaves_the_queue(tmp_path: Path) -> None:
    gate = Gate()
    async with answering(tmp_path, lambda c, n: (gate.predict({"x": [0.0]}, 1), model(c, n))[1]) as one, serving(one) as port:
        noted: list[tuple[str, int, str]] = []
        one.note = lambda request, answer, start: noted.append((request.target, answer.status, answer.version))  # type: ignore[method-assign]
        callers = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        for _, writer in callers:
            writer.write(post(json.dumps(RECORD).encode()))
            await asyncio.sleep(0.1)
        assert one.router.live is not None and one.router.live.variants[0].runners.load == 3
        callers[1][1].transport.abort()
        await asyncio.sleep(0.1)
        assert one.router.live.variants[0].runners.load == 2, "the second one's row waits no longer"
        gate.open.set()
        for reader, writer in (callers[0], callers[2]):
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
            writer.close()
        found = one.router.stats.variants["7"]
        assert (found.answered, found.client_errors, found.in_flight) == (2, 1, 0)
        assert noted == [("/invocations", 499, "7")]


@in_a_loop
async def test_what_waits_when_the_front_is_told_to_end_is_answered_and_the_connection_ends(tmp_path: Path) -> None:
    gate = Gate()
    async with answering(tmp_path, lambda c, n: (gate.predict({"x": [0.0]}, 1), model(c, n))[1]) as one:
        async with serving(one) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(post(json.dumps(RECORD).encode()))
            await asyncio.to_thread(gate.held.wait, 5)
            asyncio.get_running_loop().call_later(0.3, gate.open.set)
        answer = await reader.read()
        assert statuses(answer) == [200] and b"connection: close" in answer and answer.endswith(b"}")
        writer.close()


def test_the_long_way_is_still_taken_by_what_is_unusual(tmp_path: Path) -> None:
    async def call() -> None:
        async with answering(tmp_path) as one, serving(one) as port:
            assert statuses(await talk(port, LONG.replace(b'"k": 2', b'"k": 3'))) == [200]

    asyncio.run(call())
