"""What the front does with callers who are slow or hang up."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest

from modelyard.errors import NotFound
from modelyard.serve import app
from modelyard.serve.app import Gone, Routing, read_body
from modelyard.serve.plane import Answer, Plane, Request, Route
from modelyard.serve.refusals import SlowBody, TooLarge, WrongMethod


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


@pytest.mark.parametrize(("path", "shape"), [("/a", "error"), ("/endpoints/e/call", "Message"), ("/v2/a", "error")])
def test_what_nobody_thought_of_has_the_paths_error_shape_too(path: str, shape: str) -> None:
    async def fails(plane: Plane, request: Request) -> Answer:
        raise ValueError("a defect")

    plane: Any = SimpleNamespace(tracer=None, access_log=None, admit=lambda headers: "", note=lambda *told: None)
    plane.router = SimpleNamespace(stats=SimpleNamespace(unrouted=0))
    front, sent = app.Front(plane), []
    front._routing = Routing((Route("GET", path, fails),))

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": path, "headers": [(b"host", b"localhost")], "query_string": b""}
    asyncio.run(front(scope, send, send))  # type: ignore[arg-type]
    assert sent[0]["status"] == 500 and (b"content-type", b"application/json") in sent[0]["headers"]
    assert shape in json.loads(sent[1]["body"]) and b"a defect" not in sent[1]["body"]
    assert plane.router.stats.unrouted == 1


@pytest.mark.parametrize(("gone", "noted", "told"), [(True, 499, []), (False, 503, [503])])
def test_who_hangs_up_is_no_failure_in_the_log_and_a_front_that_ends_still_answers(gone: bool, noted: int, told: list[int]) -> None:
    async def hangs(plane: Plane, request: Request) -> Answer:
        await asyncio.sleep(60)
        raise AssertionError

    async def receive() -> dict[str, Any]:
        if not gone:
            await asyncio.sleep(60)
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.extend([message["status"]] if "status" in message else [])

    async def cancelled() -> None:
        task = asyncio.ensure_future(front(scope, receive, send))
        await asyncio.sleep(0.01)
        task.cancel()
        await task

    notes: list[int] = []
    plane: Any = SimpleNamespace(tracer=None, access_log=None, admit=lambda headers: "")
    plane.note = lambda request, answer, start: notes.append(answer.status)
    front, sent = app.Front(plane), list[int]()
    front._routing = Routing((Route("GET", "/a", hangs),))
    scope = {"type": "http", "method": "GET", "path": "/a", "headers": [(b"host", b"localhost")], "query_string": b""}
    asyncio.run(cancelled())
    assert (notes, sent) == ([noted], told)


async def _nothing(plane: Plane, request: Request) -> Answer:
    return Answer(200, b"")


ROUTES = tuple(
    Route(method, path, _nothing)
    for method, path in (("GET", "/a"), ("POST", "/a"), ("POST", "/e/{endpoint}/call"), ("GET", "/e/{endpoint}"), ("GET", "/e/x"))
)


@pytest.mark.parametrize(
    ("method", "path", "number", "names"),
    [
        ("GET", "/a", 0, {}),
        ("POST", "/a", 1, {}),
        ("POST", "/e/my-model/call", 2, {"endpoint": "my-model"}),
        ("GET", "/e/my.model", 3, {"endpoint": "my.model"}),
        ("GET", "/e/x", 4, {}),  # the plain path goes before the pattern
    ],
)
def test_paths_and_their_placeholders(method: str, path: str, number: int, names: dict[str, str]) -> None:
    assert Routing(ROUTES).find(method, path) == (ROUTES[number], names)


@pytest.mark.parametrize("path", ["", "/", "/A", "/a/", "/e//call", "/e/a/b/call", "/x"])
def test_a_path_that_is_not_there(path: str) -> None:
    with pytest.raises(NotFound):
        Routing(ROUTES).find("GET", path)


def test_a_method_that_is_not_taken_names_those_that_are() -> None:
    with pytest.raises(WrongMethod, match="Use GET or POST"):
        Routing(ROUTES).find("PUT", "/a")
