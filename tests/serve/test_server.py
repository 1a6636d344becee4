from __future__ import annotations

import asyncio
import resource
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from modelyard.errors import BadInput
from modelyard.serve import http, server, sockets
from modelyard.serve.tls import Certificate

from .certificates import certificate

ASK = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body"})


async def serving(listener: socket.socket, certificate: Certificate | None = None) -> tuple[uvicorn.Server, asyncio.Future[None]]:
    """A server that answers `nothing`, and its life."""
    made = server.server(nothing, None, certificate)
    life = asyncio.ensure_future(made.serve(sockets=[listener]))
    while not made.started:
        await asyncio.sleep(0.01)
    return made, life


@pytest.mark.parametrize(
    ("soft", "hard", "asked", "most"), [(1024, 100_000, 10_256, 10_000), (1024, 4096, 4096, 3840), (20_000, 20_000, None, 10_000)]
)
def test_a_front_holds_as_many_connections_as_it_gets_file_descriptors(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, asked: int | None, most: int
) -> None:
    got: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: got.append(limits))
    made = server.server(lambda scope, receive, send: None, None)
    assert made.config.http_protocol_class.most == most  # type: ignore[attr-defined]
    assert got == ([] if asked is None else [(asked, hard)])
    assert http.FrontProtocol.most == 10_000


def test_a_port_alone_and_a_port_in_company() -> None:
    with sockets.listen("127.0.0.1", 0, shared=True) as one:
        port = one.getsockname()[1]
        sockets.listen("127.0.0.1", port, shared=True).close()
        with pytest.raises(BadInput, match="cannot be used"):
            sockets.listen("127.0.0.1", port)
    with sockets.listen("127.0.0.1", port) as alone, pytest.raises(BadInput, match=f"port {port}"):
        assert alone.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT) == 0
        sockets.listen("127.0.0.1", port, shared=True)


def test_who_holds_a_connection_may_ask_once_more_of_a_front_that_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closed while its caller writes the next request, it would fail that request."""
    monkeypatch.setattr(server, "PARTING_SECONDS", 30.0)

    async def answers() -> list[bytes]:
        listener = sockets.listen("127.0.0.1", 0, shared=True)
        made, life = await serving(listener)
        address = listener.getsockname()
        reader, writer = await asyncio.open_connection(*address)
        writer.write(ASK)
        said = [await reader.readuntil(b"\r\n\r\n")]
        ending = asyncio.ensure_future(made.shutdown([listener]))
        with pytest.raises(ConnectionRefusedError):
            while True:  # until nobody else can connect
                (await asyncio.open_connection(*address))[1].close()
        made.should_exit = True
        writer.write(ASK)
        said.append(await reader.read())
        writer.close()
        await asyncio.wait_for(asyncio.gather(ending, life), 20)  # it waits for nobody else
        return said

    first, last = asyncio.run(answers())
    assert first.startswith(b"HTTP/1.1 200") and b"connection: close" not in first
    assert last.startswith(b"HTTP/1.1 200") and b"connection: close" in last


def test_who_connects_and_does_not_shake_hands_is_counted_and_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else such connections would take all file descriptors, those for the capture too."""
    monkeypatch.setattr(server, "_most", lambda: 3)
    monkeypatch.setattr(server, "HANDSHAKE_SECONDS", 1.0)

    async def scenario() -> bytes:
        pair = certificate(tmp_path, "localhost")
        listener = sockets.listen("127.0.0.1", 0)
        made, life = await serving(listener, Certificate(*pair))
        silent = [await asyncio.open_connection(*listener.getsockname()) for _ in range(4)]
        ended = [asyncio.ensure_future(reader.read()) for reader, _ in silent]
        await asyncio.wait_for(ended[3], 20)
        assert [one.done() for one in ended] == [False, False, False, True], "one too many is hung up on at once"
        await asyncio.wait_for(asyncio.gather(*ended), 20)
        context = ssl.create_default_context(cafile=pair[0])
        reader, writer = await asyncio.open_connection(*listener.getsockname(), ssl=context, server_hostname="localhost")
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        said = await asyncio.wait_for(reader.read(), 20)
        for _, one in silent:
            one.close()
        made.should_exit = True
        await asyncio.wait_for(life, 20)
        return said

    assert asyncio.run(scenario()).startswith(b"HTTP/1.1 200")


def test_callers_who_have_just_connected_are_answered_by_a_front_that_ends() -> None:
    async def answers() -> list[bytes]:
        listener = sockets.listen("127.0.0.1", 0, shared=True)
        made, life = await serving(listener)
        address = listener.getsockname()
        taken = await asyncio.open_connection(*address)  # accepted, and has not asked yet
        await asyncio.sleep(0.05)
        queued = socket.create_connection(address)  # nobody has accepted it: the event loop has not come round
        made.should_exit = True
        ending = asyncio.ensure_future(made.shutdown([listener]))
        queued.sendall(ASK)
        await asyncio.sleep(0)
        taken[1].write(ASK)
        late = await asyncio.open_connection(sock=queued)
        said = [await taken[0].read(), await late[0].read()]
        for _, writer in (taken, late):
            writer.close()
        await asyncio.gather(ending, life)
        return said

    said = asyncio.run(answers())
    assert [one.startswith(b"HTTP/1.1 200") and b"connection: close" in one for one in said] == [True, True], said
