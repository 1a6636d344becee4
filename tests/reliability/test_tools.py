"""The tools of the reliability runs notice what they are there to notice."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Awaitable, Callable

import pytest

from .bodies import Bodies
from .fuzzer import Fuzzer
from .gauge import Gauge, Reading, slope
from .shots import GOOD_REQUEST, Shot, Shots

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
GOOD, CODING = Shot("good", (GOOD_REQUEST,), framed=1), Shot("coding", (GOOD_REQUEST,))


def answering(data: bytes) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(data)
        await writer.drain()
        writer.close()

    return serve


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(5)
    writer.close()


def judged(serve: Serve, shot: Shot) -> list[str]:
    async def run() -> list[str]:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        fuzzer = Fuzzer(server.sockets[0].getsockname()[1], lambda body: body == b"ok", patience=0.6)
        await fuzzer.fire(shot)
        server.close()
        return fuzzer.findings

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("serve", "shot", "finding"),
    [
        (answering(OK), GOOD, None),
        (answering(b""), CODING, None),
        (answering(OK.replace(b"200", b"503")), GOOD, "answered [503]"),
        (answering(OK[:-1]), GOOD, "an answer breaks off"),
        (answering(b""), GOOD, "0 answers to 1 requests"),
        (answering(b"SSH-2.0 1 2\r\n\r\n"), GOOD, "the answer is no HTTP"),
        (answering(OK + OK), CODING, "a body was taken for a request"),
        (answering(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"), GOOD, "an error without a reason"),
        (silent, GOOD, "no end after"),
    ],
)
def test_what_must_not_be_is_a_finding(serve: Serve, shot: Shot, finding: str | None) -> None:
    found = judged(serve, shot)
    assert found == [] if finding is None else finding in found[0]


def test_nobody_there_is_a_finding() -> None:
    fuzzer = Fuzzer(1, lambda body: True)
    asyncio.run(fuzzer.fire(GOOD))
    assert "nobody listens" in fuzzer.findings[0]


def test_a_seed_draws_the_same_shots_of_every_kind() -> None:
    once, again = Shots(3), Shots(3)
    drawn = [once.any() for _ in range(600)]
    assert drawn == [again.any() for _ in range(600)]
    assert len({shot.name.split(" ")[0] for shot in drawn}) >= 14
    bodies = Bodies(random.Random(3))
    assert len({bodies.any().kind for _ in range(600)}) >= 9


def test_growth_is_a_fitted_lines() -> None:
    assert slope([(0, 1), (1, 3), (2, 5)]) == 2 and slope([(0, 5), (1, 5)]) == slope([(0, 1)]) == 0
    gauge = Gauge({"me": os.getpid()})
    gauge.readings["me"] = [Reading(float(t), 10**7 if t < 25 else 10**6 * t, 5, 2) for t in range(101)]
    assert gauge.slope("me") == pytest.approx(10**6) and gauge.grown("me") == pytest.approx(75 * 10**6)
    assert "me" in gauge.table() and "3600.00" in gauge.table()


def test_a_reading_is_of_the_process_and_all_below_it() -> None:
    gauge = Gauge({"me": os.getpid()})
    gauge.read()
    (reading,) = gauge.readings["me"]
    assert reading.rss > 10**7 and reading.descriptors > 3 and reading.threads >= 1
