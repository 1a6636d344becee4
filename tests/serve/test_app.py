"""What the front does with callers who are slow or hang up."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import pytest
import uvicorn

from modelyard.serve import app
from modelyard.serve import http as protocol
from modelyard.serve.app import Gone, read_body
from modelyard.serve.http import FrontProtocol
from modelyard.serve.refusals import SlowBody, TooLarge


def body(*messages: dict[str, Any] | float, limit: int = 10, headers: dict[bytes, bytes] | None = None) -> tuple[bytes, int]:
    """What read_body makes of messages (a number is a pause in seconds), and how many it asked for."""
    asked = 0

    async def receive() -> dict[str, Any]:
        nonlocal asked
        message = messages[asked]
        asked += 1
        if isinstance(message, float):
            await asyncio.sleep(message)
            return await receive()
        return message

    try:
        return asyncio.run(read_body(headers or {}, receive, limit)), asked
    except TooLarge:
        return b"too large", asked


def part(data: bytes, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": data, "more_body": more}


def test_a_body_in_pieces() -> None:
    assert body(part(b"ab"), part(b"cd", more=False)) == (b"abcd", 2)
    assert body(part(b"x" * 10, more=False)) == (b"x" * 10, 1)


def test_a_body_too_large_is_read_to_its_end_but_not_kept() -> None:
    assert body(part(b"x" * 11), part(b"x" * 99), part(b"", more=False)) == (b"too large", 3)
    assert body(part(b"x"), headers={b"content-length": b"99999999999"}) == (b"too large", 0)
    assert body(part(b"x"), headers={b"content-length": b"11", b"expect": b"100-continue"}) == (b"too large", 0)


def test_a_caller_who_hangs_up_or_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Gone):
        body(part(b"x"), {"type": "http.disconnect"})
    monkeypatch.setattr(app, "BODY_SECONDS", 0.05)
    with pytest.raises(SlowBody):
        body(part(b"x"), 5.0, part(b"x"))


def test_a_head_that_never_ends_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT", 0.2)
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]

    async def hello(scope: Any, receive: Any, send: Any) -> None:
        await app.respond(send, 200, b"{}", b"application/json")

    server = uvicorn.Server(uvicorn.Config(hello, http=FrontProtocol, ws="none", lifespan="off", log_config=None))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])))
    thread.start()
    try:
        for head, answer in (
            (b"", b""),
            (b"GET / HTTP/1.1\r\nHost: a\r\n", b""),
            (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 200 OK"),
        ):
            with socket.create_connection(("127.0.0.1", port), timeout=10) as link:
                link.sendall(head)
                assert link.recv(15) == answer  # empty: the front closed it
    finally:
        server.should_exit = True
        thread.join(10)
