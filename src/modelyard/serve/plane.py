"""The data plane, apart from any transport: a request goes in, an answer comes out. HTTP, gRPC and tests call the same.

A *dialect* is how a protocol's callers write rows and read answers and errors; everything else (which version, the model, mirrors,
capture, counts, limits) is the same for all of them.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from modelyard.errors import BadInput, NotFound, YardError
from modelyard.serve import tracing
from modelyard.serve.access import admit
from modelyard.serve.accesslog import AccessLog
from modelyard.serve.mirroring import Mirrors
from modelyard.serve.refusals import NoRunner, NotCaptured, QueueFull
from modelyard.serve.spans import Tracer
from modelyard.serve.stats import Result
from modelyard.serve.tracing import Trace

if TYPE_CHECKING:
    from modelyard.serve.client import Outputs
    from modelyard.serve.live import Live, LiveVariant, Router
    from modelyard.serve.rows import Rows

log = logging.getLogger("modelyard.front")
LARGE_BODY = 256 * 1024
HUNG_UP = 499
"""What the access log and the traces have as the status of a request whose caller did not wait for it, as nginx's log does."""
Pair = tuple[bytes, bytes]
_PACKED = (b"application/vnd.apache.", b"application/x-parquet")
T = TypeVar("T")


@dataclass(slots=True)
class Request:
    """One request. `headers` by lower-case name; `target` is the path as it was asked for, decoded, without the query.

    `names` are what the route's placeholders stand for; `caller` is the name of the API key it came with; `variant` was
    chosen for it already; `trace` is what it belongs to, if anybody wants to know; `id` was told its caller as its inference id.
    """

    method: str
    target: str
    headers: dict[bytes, bytes]
    body: bytes = b""
    query: bytes = b""
    names: dict[str, str] = field(default_factory=dict)
    caller: str = ""
    variant: LiveVariant | None = None
    trace: Trace | None = None
    id: str | None = None

    def header(self, name: bytes) -> str | None:
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")


@dataclass(slots=True)
class Answer:
    """One answer; `kind` is the content type of `body`. `parts`, where there are any, are sent in place of `body` as they come.

    `version`, `rows`, `inference_id` (the first row's) and `ms` (the version's own time) say to the access log what was answered.
    `retry_after`: in how many seconds a caller that got 429 or 503 should come again.
    """

    status: int
    body: bytes
    kind: bytes = b"application/json"
    headers: list[Pair] = field(default_factory=list)
    parts: AsyncIterator[bytes] | None = None
    version: str = ""
    rows: int = 0
    inference_id: str = ""
    ms: float = 0.0
    retry_after: int = 1

    def head(self) -> list[Pair]:
        """The headers as they are sent. After a 408 or 413 the connection ends: the rest of the body may still be coming."""
        headers = [(b"content-type", self.kind), *self.headers]
        if self.parts is None:
            headers.append((b"content-length", b"%d" % len(self.body)))
        if self.status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        if self.status in (429, 503):
            headers.append((b"retry-after", b"%d" % self.retry_after))
        if self.status in (408, 413):
            headers.append((b"connection", b"close"))
        return headers


class Dialect(Protocol):
    """How one protocol writes requests, answers and errors. Implementations hold no state of a request."""

    name: str

    def read(self, variant: LiveVariant, request: Request, received_at: int) -> Rows:
        """The rows of a request; `received_at` in microseconds since the epoch. Raises BadInput and its kinds, nothing else."""
        ...

    def write(self, live: Live, variant: LiveVariant, request: Request, rows: Rows, outputs: Outputs) -> Answer:
        """The answer. Raises NotAcceptable."""
        ...

    def refuse(self, error: YardError) -> Answer:
        """The answer that says what is wrong, in the protocol's own shape."""
        ...


Handler = Callable[["Plane", Request], Awaitable[Answer]]


@dataclass(frozen=True)
class Route:
    """What answers at a path: a dialect (the path is an invocation), or a function. `{name}` in `path` stands for one segment.

    Two names have a meaning: `{endpoint}` must be the endpoint's name or its model's, `{variant}` chooses the version. What is `open`
    answers without an API key. `refuse` writes what a function raises, and what is refused before it; else the one error shape does.
    """

    method: str
    path: str
    to: Dialect | Handler
    open: bool = False
    refuse: Callable[[YardError], Answer] | None = None


class Plane:
    """The data plane of one endpoint. `number` tells it from those of the endpoint's other fronts, whose stats lie at `siblings`; `public`:
    other machines reach it."""

    def __init__(self, router: Router, *, number: int = 0, public: bool = False, siblings: Mapping[int, Path] | None = None) -> None:
        self.router, self.number, self.public, self.siblings = router, number, public, dict(siblings or {})
        self.mirrors = Mirrors()
        self.access_log: AccessLog | None = None
        self.tracer: Tracer | None = None
        self._seen: Live | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self.tick()

    def live(self, endpoint: str | None = None) -> Live:
        """The routing table in force. Raises NoRunner before there is one, NotFound where `endpoint` is another one's name."""
        live = self.router.live
        if live is None:
            raise NoRunner("the endpoint is starting")
        if endpoint is not None and endpoint not in (live.table.endpoint, live.table.model):
            raise NotFound("this is another endpoint", where=endpoint[:200], next=f"This one is called {live.table.endpoint}.")
        return live

    def admit(self, headers: Mapping[bytes, bytes]) -> str:
        """The name of the API key in a request's headers (by lower-case name), empty where none is asked for. Raises NoKey, NoRunner."""
        return admit(self.live().table.access, headers, must=self.public)

    def trace(self, given: bytes | None) -> Trace:
        """The trace of a request whose traceparent is `given`."""
        return tracing.begin(given, None if self.tracer is None else self.tracer.share)

    def note(self, request: Request, answer: Answer, start: float) -> None:
        """Tell the access log and the trace of an answer; `start` is when its request came, by `time.perf_counter`."""
        if self.access_log is not None:
            ms = answer.ms or (time.perf_counter() - start) * 1000
            self.access_log.add(
                request.method,
                request.target,
                answer.status,
                ms,
                answer.rows,
                answer.version,
                answer.inference_id,
                request.trace,
                request.caller,
            )
        if self.tracer is not None and request.trace is not None and request.trace.sampled:
            self.tracer.finished(request.trace, request, answer, time.time_ns() - int((time.perf_counter() - start) * 1e9))

    def tick(self) -> None:
        """Hand on what the access log and the traces hold, and take up a new table's. Call it a few times a second."""
        live = self.router.live
        if live is not None and live is not self._seen:
            old, self._seen = self._seen, live
            if old is None or old.table.access_log != live.table.access_log:
                self._replace(self.access_log)
                path = live.table.access_log
                self.access_log = (
                    None if path is None else AccessLog(Path(path).with_suffix(f".{self.number}.log" if self.number else ".log"))
                )
            if old is None or old.table.traces != live.table.traces:
                self._replace(self.tracer)
                self.tracer = None if live.table.traces is None else Tracer(live.table.traces, live.table.endpoint)
        for keeper in (self.access_log, self.tracer):
            if keeper is not None:
                keeper.flush()

    def _replace(self, keeper: AccessLog | Tracer | None) -> None:
        if keeper is not None:
            task = asyncio.ensure_future(keeper.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Let comparisons go, and write and send what is left."""
        await self.mirrors.close()
        for keeper in (self.access_log, self.tracer):
            if keeper is not None:
                await keeper.close()

    def max_body(self, request: Request) -> int:
        """Bytes that a body may have. Raises NoRunner."""
        return self.live().table.limits.max_body

    async def invoke(self, request: Request, dialect: Dialect, *, endpoint: str | None = None) -> Answer:
        """Predict: whatever goes wrong becomes an answer of the dialect's."""
        try:
            live = self.live(endpoint)
            named = request.names.get("variant")
            variant = request.variant or (self._chosen(live, request) if named is None else live.version(named))
        except YardError as exc:
            self.router.stats.unrouted += 1
            return dialect.refuse(exc)
        return await self._answered(live, variant, request, dialect)

    def _chosen(self, live: Live, request: Request) -> LiveVariant:
        return live.choose(request.header(b"x-amzn-sagemaker-target-variant"), request.header(b"x-amzn-sagemaker-session-id"))

    async def _answered(self, live: Live, variant: LiveVariant, request: Request, dialect: Dialect) -> Answer:
        watch, rows, latency, result = Watch(request.trace), 0, 0.0, Result.ERROR
        variant.stats.in_flight += 1
        try:
            read = await _aside(request, dialect.read, variant, request, time.time_ns() // 1000)
            rows = read.count
            watch.stage("parse")
            outputs = await variant.predict(read)
            if read.explain:
                read.explained = await variant.explainer.explain(read)
            watch.stage("predict")
            answer = await _aside(request, dialect.write, live, variant, request, read, outputs)
            watch.stage("write")
            latency = watch.ms  # the version's own: not that of a caller who reads slowly
            if self.router.writer is not None:  # before the answer: what was answered is on file
                pending = self.router.writer.write(variant.version, variant.signature, read, outputs, latency)
                if pending is not None:
                    await pending
                watch.stage("capture")
            answer.rows, answer.inference_id, answer.ms = rows, read.inference_ids[0], latency
            result = Result.ANSWERED
            if variant.mirrors:
                self.mirrors.reflect(variant, lambda other: dialect.read(other, request, read.received_at), rows, outputs)
        except YardError as exc:
            result = result_of(exc)
            answer = dialect.refuse(exc)
            if isinstance(exc, QueueFull):
                answer.retry_after = exc.retry_after
        except asyncio.CancelledError:
            result = Result.CLIENT_ERROR  # the caller hung up
            raise
        except Exception:
            log.exception("a request of version %s failed in the front", variant.version)
            answer = dialect.refuse(YardError("the endpoint failed", next="See the front's log."))
        finally:
            variant.stats.in_flight -= 1
            variant.stats.finished(result, latency, rows)
        answer.version = variant.version
        answer.headers += variant.headers
        return answer


class Watch:
    """Measures a request, and notes its stages where its trace is kept."""

    __slots__ = ("_last", "_start", "_trace")

    def __init__(self, trace: Trace | None) -> None:
        self._trace = trace if trace is not None and trace.sampled else None
        self._start = time.perf_counter()
        self._last = time.time_ns() if self._trace is not None else 0

    @property
    def ms(self) -> float:
        """Milliseconds since it began."""
        return (time.perf_counter() - self._start) * 1000

    def stage(self, name: str) -> None:
        """A stage has ended, and the next begins."""
        if self._trace is not None:
            now = time.time_ns()
            self._trace.stages.append((name, self._last, now))
            self._last = now


async def _aside(request: Request, work: Callable[..., T], *arguments: Any) -> T:
    """Do it; for a large body, or one that unpacks to a large one, in a thread, so that nobody waits behind it."""
    headers = request.headers
    if (
        len(request.body) > LARGE_BODY
        or headers.get(b"content-type", b"").startswith(_PACKED)
        or headers.get(b"accept", b"").startswith(_PACKED)
    ):
        return await asyncio.to_thread(work, *arguments)
    return work(*arguments)


def result_of(error: YardError) -> Result:
    """What an error counts as: the version's own, the caller's, or a lack of room."""
    if isinstance(error, QueueFull | NotCaptured):
        return Result.REJECTED
    return Result.CLIENT_ERROR if isinstance(error, BadInput) else Result.ERROR
