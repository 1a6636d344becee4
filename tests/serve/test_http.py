"""One connection of the front: both ways to an answer in any order, slow callers, broken ones, too many of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from modelyard.serve import answers, app, http, server, sockets
from modelyard.serve.app import Front
from modelyard.serve.capture import Unwritten
from modelyard.serve.captured import read
from modelyard.serve.plane import Answer, Plane
from modelyard.serve.quick import Quick

from .load import response
from .planned import in_a_loop, plane

HOSTS = frozenset({"localhost"})
BODY = b'{"x": 1, "k": 2, "t": "a"}'


def post(body: bytes = BODY, *headers: str, path: str = "/invocations") -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


LONG = post(BODY, "X-Amzn-SageMaker-Custom-Attributes: a")
"""A good request that goes the long way."""


@asynccontextmanager
async def serving(folder: Path, wrap: Any = None) -> AsyncIterator[tuple[Plane, int]]:
    unwritten = Unwritten()
    one = await plane(folder, unwritten=unwritten)
    front = Front(one, HOSTS)
    listener = sockets.listen("127.0.0.1", 0)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    uvicorn = server.server(front if wrap is None else wrap(front), Quick(one, HOSTS), unwritten=unwritten)
    task = asyncio.ensure_future(server.serve(uvicorn, listener))
    await asyncio.sleep(0.05)
    try:
        yield one, listener.getsockname()[1]
    finally:
        uvicorn.should_exit = True
        await task
        await one.close()


async def talk(port: int, *pieces: bytes | float) -> bytes:
    """Everything that comes back until the front hangs up, or for a second after the last piece. Numbers are pauses."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in pieces:
        if isinstance(piece, float):
            await asyncio.sleep(piece)
        else:
            writer.write(piece)
    found = b""
    with_time = time.monotonic() + 2
    while time.monotonic() < with_time:
        try:
            part = await asyncio.wait_for(reader.read(1 << 16), 1)
        except TimeoutError:
            break
        if not part:
            break
        found += part
    writer.close()
    return found


def statuses(answers: bytes) -> list[int]:
    return [int(part[:3]) for part in answers.split(b"HTTP/1.1 ")[1:]]


@asynccontextmanager
async def bystander(port: int) -> AsyncIterator[None]:
    """Somebody else who is connected: answers then wait for those of others."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield
    finally:
        writer.close()


class Connection:
    """A transport that keeps what is written to it."""

    def __init__(self) -> None:
        self.written, self.closed = b"", False

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.written += data

    def is_closing(self) -> bool:
        return self.closed

    def get_extra_info(self, name: str) -> None: ...


@in_a_loop
async def test_who_hangs_up_for_writing_is_answered_before_the_front_hangs_up(tmp_path: Path) -> None:
    one = await plane(tmp_path)
    made = server.server(Front(one, HOSTS), Quick(one, HOSTS))
    callers = []
    for _ in range(2):
        callers.append(made.config.http_protocol_class(config=made.config, server_state=made.server_state, app_state={}))  # type: ignore[call-arg]
        callers[-1].connection_made(Connection())
    callers[0].data_received(post() * 2)
    assert callers[0].transport.written == b"", "others may be answered in this round"
    callers[0].eof_received()  # the transport closes next, and of TLS in the same round
    assert statuses(callers[0].transport.written) == [200] * 2
    await one.close()


@in_a_loop
async def test_what_is_no_http_is_refused_after_the_answers_before_it(tmp_path: Path) -> None:
    async with serving(tmp_path) as (_, port), bystander(port):
        assert statuses(await talk(port, post() * 2 + b"what\r\n\r\n")) == [200, 200, 400]


@in_a_loop
async def test_answers_of_one_round_are_written_when_it_is_over_and_no_more_of_them_wait_than_may() -> None:
    connections, made = [Connection() for _ in range(40)], answers.Answers(Unwritten())
    loop = asyncio.get_running_loop()
    for number, one in enumerate(connections):
        made.add(one, b"%d" % number, loop)  # type: ignore[arg-type]
    assert sum(bool(one.written) for one in connections) == answers.AT_ONCE, "more do not wait for each other"
    connections[-1].closed = True
    await asyncio.sleep(0)
    assert [one.written for one in connections[:-1]] == [b"%d" % number for number in range(39)]
    assert connections[-1].written == b"", "whose caller has hung up meanwhile is left alone"
    made.add(connections[0], b"!", loop)  # type: ignore[arg-type]
    await asyncio.sleep(0)
    assert connections[0].written == b"0!", "the next round is written as well"


class Witness(Connection):
    """Sees, when its first answer is written to it, how many rows are on file."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder, self.saw = folder, 0

    def write(self, data: bytes) -> None:
        if not self.written:
            self.saw = read(self.folder).height
        super().write(data)


@pytest.mark.parametrize("callers", [1, 2, 40])
@in_a_loop
async def test_what_was_answered_is_on_file_before_the_answer_is_sent(tmp_path: Path, callers: int) -> None:
    unwritten = Unwritten()
    one = await plane(tmp_path, unwritten=unwritten)
    made = server.server(Front(one, HOSTS), Quick(one, HOSTS), unwritten=unwritten)
    witnesses = [Witness(tmp_path / "capture") for _ in range(callers)]
    for each in witnesses:
        caller = made.config.http_protocol_class(config=made.config, server_state=made.server_state, app_state={})  # type: ignore[call-arg]
        caller.connection_made(each)
        each.caller = caller  # type: ignore[attr-defined]
    for number, each in enumerate(witnesses):
        each.caller.data_received(post())  # type: ignore[attr-defined]
        if number == 5:
            await asyncio.sleep(0)  # a round is over
    await asyncio.sleep(0)
    groups = {1: [1], 2: [2], 40: [6, 38, 40]}[callers]
    assert sorted({each.saw for each in witnesses}) == groups, (
        "written together with the others of its round, and before any of their answers"
    )
    capture = one.router.refresh_stats().capture
    assert capture.eligible == capture.captured == callers
    await one.close()


@pytest.mark.parametrize("others", [0, 1])
@in_a_loop
async def test_requests_of_both_ways_in_one_breath_are_answered_in_order(tmp_path: Path, others: int) -> None:
    async with serving(tmp_path) as (one, port), bystander(port) if others else contextlib.nullcontext():
        asked = [
            post(BODY, f"X-Amzn-SageMaker-Inference-Id: r{i}", *(["X-Amzn-SageMaker-Custom-Attributes: a"] if i % 3 == 1 else []))
            for i in range(9)
        ]
        answers = await talk(port, b"".join(asked))
        assert statuses(answers) == [200] * 9
        places = [answers.index(b'"r%d"' % i) for i in range(9)]
        assert places == sorted(places)
        assert one.router.stats.variants["7"].answered == 9


@in_a_loop
async def test_parts_of_bodies_wait_in_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond them they go the long way, which asks for a key first, and reads no faster than somebody takes."""
    monkeypatch.setattr(http, "QUICK_HELD", 3 * len(BODY))
    long = list[bytes]()

    def counted(front: Front) -> Any:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            long.append(scope["path"])
            await front(scope, receive, send)

        return app

    async with serving(tmp_path, counted) as (one, port):
        callers = [await asyncio.open_connection("127.0.0.1", port) for _ in range(5)]
        for _, writer in callers:
            writer.write(post()[:-1])
        await asyncio.sleep(0.1)
        assert len(long) == 2, "there is no room for two of them"
        callers[0][1].transport.abort()
        for reader, writer in callers[1:]:
            writer.write(post()[-1:])
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
            writer.close()
        assert statuses(await talk(port, *(post()[:-1], 0.05, post()[-1:]) * 8)) == [200] * 8
        assert len(long) == 2, "what was held is given back, whether it was answered or its caller hung up"
        assert one.router.stats.variants["7"].answered == 12


_WISH = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA")


@pytest.mark.parametrize("size", [10_000, 7])
@in_a_loop
async def test_who_would_rather_speak_another_protocol_is_answered_in_this_one(tmp_path: Path, size: int) -> None:
    """As Java's HttpClient asks by default, and `curl --http2`."""
    async with serving(tmp_path) as (one, port):
        chunked = post(b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked\r\n" + "\r\n".join(_WISH).encode())
        asked = post(BODY, *_WISH) + post() + chunked + b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY) + LONG + post(BODY, *_WISH)
        asked += b"GET /ping HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
        asked += post(BODY, _WISH[0] + ", close", *_WISH[1:])
        answers = await talk(port, *(asked[i : i + size] for i in range(0, len(asked), size)))
        assert statuses(answers) == [200] * 7
        assert answers.count(b"connection: close") == 1
        assert one.router.stats.variants["7"].answered == 6


@in_a_loop
async def test_a_tunnel_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path) as (_, port):
        assert statuses(await talk(port, b"CONNECT localhost:443 HTTP/1.1\r\nHost: localhost\r\n\r\n")) == [400]


@in_a_loop
async def test_a_request_in_small_pieces(tmp_path: Path) -> None:
    async with serving(tmp_path) as (one, port):
        data = post() + LONG + b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for i in range(0, len(data), 7):
            writer.write(data[i : i + 7])
            await writer.drain()
            await asyncio.sleep(0.001)
        assert [(await response(reader))[0] for _ in range(3)] == [200] * 3
        writer.close()
        assert one.router.stats.variants["7"].answered == 2


@in_a_loop
async def test_connection_close_and_old_http(tmp_path: Path) -> None:
    async with serving(tmp_path) as (_, port):
        answer = await talk(port, post(BODY, "Connection: close"))
        assert statuses(answer) == [200] and b"connection: close" in answer.lower()
        for more in ((), ("Connection: keep-alive",)):  # as ApacheBench's -k asks, and then waits for the end unless told otherwise
            answer = await talk(port, post(BODY, *more).replace(b"HTTP/1.1", b"HTTP/1.0"))
            assert statuses(answer) == [200] and b"connection: close" in answer.lower()


@pytest.mark.parametrize(
    ("pieces", "status"),
    [
        ([], None),
        ([b"GET / HT"], None),
        ([b"GET / HTTP/1.1\r\nHost: a\r\n"], None),
        ([post(), 0.05, b"POST /invo"], 200),
        ([post()], 200),  # idle afterwards
        ([post()[:-1]], 408),
        ([LONG[:-1]], 408),
    ],
)
def test_slow_callers_are_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pieces: list[Any], status: int | None) -> None:
    monkeypatch.setattr(http, "_SWEEP_SECONDS", 0.05)
    for name in ("HEAD_SECONDS", "BODY_SECONDS", "IDLE_SECONDS"):
        monkeypatch.setattr(http, name, 0.3)
    monkeypatch.setattr(app, "BODY_SECONDS", 0.3)

    async def call() -> None:
        async with serving(tmp_path) as (_, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for piece in pieces:
                if isinstance(piece, float):
                    await asyncio.sleep(piece)
                else:
                    writer.write(piece)
            answer = await asyncio.wait_for(reader.read(), 3)  # until the front hangs up
            assert statuses(answer) == ([] if status is None else [status])
            if status == 408:
                assert json.loads(answer.split(b"\r\n\r\n")[1])["error"]["code"] == "body_timed_out"
            writer.close()

    asyncio.run(call())


def test_a_head_in_time_after_a_long_rest_is_not_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_SWEEP_SECONDS", 0.02)
    monkeypatch.setattr(http, "HEAD_SECONDS", 0.3)

    async def call() -> None:
        async with serving(tmp_path) as (_, port):
            assert statuses(await talk(port, post(), 0.5, post()[:20], 0.15, post()[20:])) == [200, 200]

    asyncio.run(call())


def test_a_caller_who_reads_nothing_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_SWEEP_SECONDS", 0.05)
    monkeypatch.setattr(http, "READ_SECONDS", 0.3)

    async def call() -> None:
        async with serving(tmp_path) as (one, port):
            link = socket.create_connection(("127.0.0.1", port))
            link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            link.setblocking(False)
            until, left, sent = time.monotonic() + 1, b"", 0
            while time.monotonic() < until:
                left = left or post()
                with contextlib.suppress(OSError):
                    left = left[link.send(left) :]
                    sent += not left
                await asyncio.sleep(0 if not left else 0.02)
            read = b""
            with contextlib.suppress(ConnectionResetError):
                while part := await asyncio.wait_for(asyncio.get_running_loop().sock_recv(link, 1 << 20), 3):
                    read += part
            link.close()
            assert len(statuses(read)) < sent / 2
            answered = one.router.stats.variants["7"].answered
            await asyncio.sleep(0.2)
            assert answered == one.router.stats.variants["7"].answered
            assert statuses(await talk(port, post())) == [200]

    asyncio.run(call())


def test_more_connections_than_the_front_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MAX_CONNECTIONS", 2)

    async def call() -> None:
        async with serving(tmp_path) as (_, port):
            held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
            await asyncio.sleep(0.05)
            answer = await talk(port)
            assert statuses(answer) == [503] and b'"too_many_connections"' in answer and b"retry-after: 1" in answer
            held[0][1].close()
            await asyncio.sleep(0.05)
            assert statuses(await talk(port, post())) == [200]
            held[1][1].close()

    asyncio.run(call())


@in_a_loop
async def test_who_hangs_up_is_worked_for_no_longer(tmp_path: Path) -> None:
    seen: list[str] = []

    def slow(front: Front) -> Any:
        async def later(scope: Any, receive: Any, send: Any) -> None:
            try:
                await asyncio.sleep(5)
            except asyncio.CancelledError:
                seen.append("cancelled")
                raise

        return later

    async with serving(tmp_path, slow) as (_, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(LONG)
        await asyncio.sleep(0.1)
        writer.transport.abort()
        await asyncio.sleep(0.1)
        assert seen == ["cancelled"]


@in_a_loop
async def test_a_body_under_way_when_the_front_is_told_to_end_is_answered(tmp_path: Path) -> None:
    for request in (post(), LONG):
        async with serving(tmp_path) as (_, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request[:-5])
            await asyncio.sleep(0.1)
            asyncio.get_running_loop().call_later(0.4, writer.write, request[-5:])
        status, _ = await response(reader)  # the block above ends the server, which waits
        assert status == 200 and await reader.read() == b""
        writer.close()


@pytest.mark.parametrize("headers", [["X: " + "a" * http.MAX_HEAD], [f"X-{i}: a" for i in range(http.MAX_HEADERS + 1)]])
@in_a_loop
async def test_too_large_a_head_is_said_to_be_so(tmp_path: Path, headers: list[str]) -> None:
    async with serving(tmp_path) as (_, port):
        answer = await talk(port, post(BODY, *headers))
        assert statuses(answer) == [431] and b"head_too_large" in answer


@pytest.mark.parametrize(
    "request_", [b"nonsense\r\n\r\n", b"POST /invocations HTTP/1.1\r\nContent-Length: x\r\n\r\n", post() + b"\x00\x01"]
)
def test_broken_http_ends_the_connection_in_the_one_error_shape(tmp_path: Path, request_: bytes) -> None:
    async def call() -> None:
        async with serving(tmp_path) as (_, port):
            answer = await talk(port, request_)
            assert statuses(answer)[-1] == 400
            error = json.loads(answer.rsplit(b"\r\n\r\n", 1)[1])["error"]
            assert error["code"] == "bad_request" and set(error) == {"code", "what", "where", "next"}

    asyncio.run(call())


@in_a_loop
async def test_an_answer_in_parts(tmp_path: Path) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for part in (b"a", b"bc"):
            yield part

    def streamed(front: Front) -> Any:
        async def answer(scope: Any, receive: Any, send: Any) -> None:
            await app.respond(send, Answer(200, b"", b"text/plain", parts=parts()))

        return answer

    async with serving(tmp_path, streamed) as (_, port):
        answer = await talk(port, LONG)
        assert b"transfer-encoding: chunked" in answer.lower() and answer.endswith(b"\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n")


def mutated(random: Random) -> bytes:
    """One to three requests with something wrong somewhere, mostly."""
    data = bytearray(b"".join(random.choice((post(), LONG, CHUNKED, PING)) for _ in range(random.randint(1, 3))))
    for _ in range(random.randint(0, 3)):
        at, kind = random.randrange(len(data)), random.random()
        if kind < 0.3:
            data[at] = random.randrange(256)
        elif kind < 0.5:
            del data[at : at + random.randint(1, 30)]
        elif kind < 0.7:
            data[at:at] = random.choice(
                (b"\r\n", b"\r\n\r\n", b"\0", b"Content-Length: 5\r\n", b"Expect: 100-continue\r\n", b"A: " + b"b" * 70_000)
            )
        elif kind < 0.85:
            data[at:at] = data[: random.randint(1, 200)]
        else:
            del data[at:]
        data = data or bytearray(b"x")
    return bytes(data)


CHUNKED = b"POST /invocations HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
PING = b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize("seed", range(4))
def test_whatever_comes_is_answered_or_cut_off_and_never_fails_the_front(tmp_path: Path, seed: int) -> None:
    random = Random(seed)

    async def throw(port: int, data: bytes) -> list[int]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        cut = random.randrange(len(data) + 1)
        writer.write(data[:cut])
        await asyncio.sleep(0)
        writer.write(data[cut:])
        with contextlib.suppress(OSError):
            writer.write_eof()
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        return [int(code) for code in re.findall(rb"^HTTP/1\.1 (\d{3})", answer, re.MULTILINE)]

    async def call() -> None:
        async with serving(tmp_path) as (one, port):
            seen = Counter[int]()
            for _ in range(60):
                found = await asyncio.gather(*(throw(port, mutated(random)) for _ in range(10)))
                seen.update(code for codes in found for code in codes)
            assert max(seen) < 500 and seen[200] > 100 and seen[400] > 50, seen
            assert statuses(await talk(port, post())) == [200]
            counted = one.router.stats.variants["7"]
            assert counted.in_flight == 0 and counted.errors == 0

    asyncio.run(call())
