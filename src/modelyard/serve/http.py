"""uvicorn's httptools protocol, with a short way to an answer (`quick`) and with caps: on the head's size, on how long a caller may
take to send or to read, on how many there are. Refusals have the one error shape."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any

import httptools
import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from modelyard.errors import BadInput, YardError
from modelyard.serve.answers import Answers, Deferred
from modelyard.serve.counter import Waiting
from modelyard.serve.quick import NOTHING, VARYING, Passed
from modelyard.serve.refusals import SlowBody, TooManyCallers
from modelyard.serve.upgrades import without_wish

log = logging.getLogger("modelyard.front")
MAX_HEAD = 64 * 1024
MAX_HEADERS = 128
QUICK_BODY, QUICK_HELD = 256 * 1024, 64 * 2**20
"""Bytes of body up to which a request may go the short way, and of all bodies that wait there for the rest of themselves."""
HEAD_SECONDS, BODY_SECONDS, IDLE_SECONDS, READ_SECONDS = 30.0, 60.0, 75.0, 60.0
"""How long a caller may take to send a head, or a body; be idle between requests; read nothing of an answer that waits for it."""
LAST_SECONDS = 1.0
"""How long a front that ends waits for the head of a caller who has connected."""
MAX_CONNECTIONS = 10_000
_SWEEP_SECONDS = 1.0
_clock = time.monotonic
Quick = Callable[[bytes, list[tuple[bytes, bytes]], dict[bytes, bytes], bytes], bytes | Waiting | Passed]


class BadRequest(BadInput):
    """What came is not HTTP."""

    code = "bad_request"


class HeadTooLarge(BadInput):
    """The head has more bytes or headers than the front takes."""

    code, http_status = "head_too_large", 431


class Room:
    """Bytes of bodies that wait on the short way for the rest of themselves."""

    taken = 0


class FrontProtocol(HttpToolsProtocol):
    """One connection of the front. `quick`, `answers`, `room` and `most` (connections) are the class's: a front has one short way."""

    quick: Quick | None = None
    answers: Answers
    room: Room
    most = MAX_CONNECTIONS

    _head = 0
    _wishes = False  # a request for another protocol is left until it is asked again without
    _held = False  # a request that may go the short way is kept back until its body is there
    _draining = False
    _old: bool | None = None  # the caller's HTTP is 1.0
    _body, _taken = b"", 0
    _varying: dict[bytes, bytes]
    _phase, _since = "head", 0.0
    _stalled: float | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._enter("head")
        if len(self.connections) > self.most:
            self._refuse(TooManyCallers("the endpoint has too many connections"))

    def data_received(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            if self._phase == "head" and (self._head > MAX_HEAD or len(self.headers or ()) > MAX_HEADERS):
                self._refuse(HeadTooLarge(f"a head has at most {MAX_HEAD} bytes and {MAX_HEADERS} headers"))
            else:
                self.send_400_response("")
        except httptools.HttpParserUpgrade as exc:  # no other protocol is spoken here
            if self._wishes:
                self._ask_again(data[exc.args[0] :])
        if self._held:
            self._wait()

    def _wait(self) -> None:
        """Part of a body is there. Where too much waits so, it goes the long way: that asks for a key first, and reads in bounds."""
        self.room.taken += len(self._body) - self._taken
        self._taken = len(self._body)
        if self.room.taken > QUICK_HELD:
            self._held = False
            self._wait_no_more()
            self._start(NOTHING)
            super().on_body(self._body)

    def _wait_no_more(self) -> None:
        self.room.taken -= self._taken
        self._taken = 0

    def _ask_again(self, rest: bytes) -> None:
        """Take the request as if it had not wished for another protocol."""
        head = without_wish(self.parser.get_method(), self.url, self.parser.get_http_version(), [*self.headers, *self._varying.items()])
        self._wishes, self.parser = False, httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's
        self.data_received(head + rest)

    def on_message_begin(self) -> None:
        self.url = self._body = b""
        self.headers, self._varying = [], {}
        self._head, self._phase, self._since = 0, "head", _clock()

    def on_url(self, url: bytes) -> None:
        self._head += len(url)
        if self._head > MAX_HEAD:
            raise httptools.HttpParserError("the head is too large")
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head += len(name) + len(value)
        name = name.lower()
        if name in VARYING:
            self._varying[name] = value
        else:
            self.headers.append((name, value))
        if self._head > MAX_HEAD or len(self.headers) > MAX_HEADERS:
            raise httptools.HttpParserError("the head is too large")

    def on_headers_complete(self) -> None:
        self._phase = "body"
        self._wishes = self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT"
        if self._wishes:
            return
        self._held = self._may_be_quick()
        if not self._held:
            self._start(NOTHING)

    @property
    def _answering(self) -> bool:
        cycle: Any = self.cycle  # None before the first request
        return cycle is not None and not cycle.response_complete

    def _may_be_quick(self) -> bool:
        if self.quick is None or self._draining or self._stalled is not None or self._answering:
            return False
        if self._old is None:
            self._old = self.parser.get_http_version() == "1.0"
        if self._old:  # such callers wait for the end of the connection, or for a word that it goes on
            return False
        length = self._varying.get(b"content-length", b"9999999")
        return len(length) < 7 and int(length) <= QUICK_BODY and b"expect" not in self._varying and self.parser.get_method() == b"POST"

    def _start(self, passed: Passed) -> None:
        """Go the long way: hand the request to the application."""
        self.headers += self._varying.items()
        self.expect_100_continue = self._varying.get(b"expect", b"").lower() == b"100-continue"
        self.scope = {  # type: ignore[typeddict-item]
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": "1.1",
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme or "http",
            "root_path": "",
            "headers": self.headers,
            "state": {},
            "modelyard.passed": passed,
        }
        super().on_headers_complete()
        if self._draining:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        if self._held:
            self._body += body
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._wishes:
            return
        self._phase = "answer"
        if self._held:
            self._held = False
            if self._taken:
                self._wait_no_more()
            passed: Any = NOTHING
            if self.quick is not None and self.parser.should_keep_alive() and not self._draining:
                passed = self.quick(self.url, self.headers, self._varying, self._body)
                if type(passed) is bytes:
                    if len(self.connections) > 1:
                        self.answers.add(self.transport, passed, self.loop)
                    else:  # nobody else may be answered in this round
                        self.answers.at_once(self.transport, passed)
                    self.server_state.total_requests += 1
                    self._phase = "idle"
                    return
                if type(passed) is Waiting:
                    self.cycle = Deferred(self, passed)  # type: ignore[assignment]
                    return
            self._start(passed)
            super().on_body(self._body)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """As uvicorn's, without its timer: the sweep looks after idle connections."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self._phase, self._since = "idle", _clock()
        if self.flow.read_paused:
            self.flow.resume_reading()
        if self.pipeline:
            self._enter("answer")
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        """As uvicorn's; the task ends when its caller hangs up, since nobody is there to be answered."""

        async def while_open(scope: Any, receive: Any, send: Any) -> None:
            async def guarded(message: Any) -> None:
                if self.transport.is_closing():  # which this task may see before `connection_lost` says so
                    cycle.disconnected = True
                await send(message)

            await app(scope, receive, guarded)

        task = self.loop.create_task(cycle.run_asgi(while_open))
        cycle.task = task
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait_no_more()
        cycle: Any = self.cycle
        if isinstance(cycle, Deferred) and not cycle.response_complete:
            cycle.leave()
        for cycle in (self.cycle, *(cycle for cycle, _ in self.pipeline)):
            task = getattr(cycle, "task", None)
            if task is not None and not cycle.response_complete:
                cycle.disconnected = True
                task.cancel()
        super().connection_lost(exc)

    def eof_received(self) -> None:
        """As uvicorn's: the connection is closed."""
        self.answers.write()

    def part(self) -> None:
        """Close after the next answer, which says so."""
        self._draining = True
        if self._answering:
            self.cycle.keep_alive = False

    def shutdown(self) -> None:
        """Close, once what came is answered; whoever has only just connected is about to ask."""
        self.answers.write()
        self._draining = True
        if self._phase != "head" and not (self._held and self._phase != "idle"):
            super().shutdown()

    def pause_writing(self) -> None:
        self._stalled = _clock()
        super().pause_writing()

    def resume_writing(self) -> None:
        self._stalled = None
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        self._refuse(BadRequest("the request is not valid HTTP"))

    def _refuse(self, error: YardError) -> None:
        """Say what is wrong, unless another answer must come first or has begun, and hang up."""
        self.answers.write()
        if not self._answering or not (self.cycle.response_started or self.pipeline):
            if self._answering:
                self.cycle.disconnected = True  # what is still at work on the request has nobody to tell
            body = msgspec.json.encode(error.to_dict())
            retry = b"retry-after: 1\r\n" if error.http_status == 503 else b""
            head = b"content-type: application/json\r\ncontent-length: %d\r\n%bconnection: close\r\n\r\n" % (len(body), retry)
            self.transport.write(STATUS_LINE[error.http_status] + head + body)
        self.transport.close()

    def _enter(self, phase: str) -> None:
        self._phase, self._since = phase, _clock()

    def look(self, now: float) -> None:
        """End it where its caller is too slow. Called about once a second."""
        if self.transport.is_closing():
            if self._phase != "closing":
                self._enter("closing")
            elif now - self._since > READ_SECONDS:
                self.transport.abort()
        elif self._stalled is not None:
            if now - self._stalled > READ_SECONDS:
                self.transport.abort()
        elif now - self._since > self._patience:
            if self._held:
                self._refuse(SlowBody(f"the body did not come within {BODY_SECONDS:g} s"))
            elif self._phase != "answer" and not self._answering:
                self.transport.close()

    @property
    def _patience(self) -> float:
        """Seconds that its caller may take for what is to come next."""
        if self._phase == "head":
            return LAST_SECONDS if self._draining else HEAD_SECONDS
        return IDLE_SECONDS if self._phase == "idle" else BODY_SECONDS


async def sweep(connections: Iterable[Any]) -> None:
    """Look at all connections, for ever."""
    while True:
        await asyncio.sleep(_SWEEP_SECONDS)
        now = _clock()
        for connection in list(connections):
            connection.look(now)
