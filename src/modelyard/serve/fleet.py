"""Many endpoints in one front: each has its routing table in one folder, and is loaded when the first request for it comes.

Below `/NAME/` an endpoint answers all that it would answer on a port of its own; SageMaker's `/endpoints/NAME/...` and the Open Inference
Protocol's `/v2/models/NAME/...` name it themselves. The endpoints used last stay loaded, up to a number and a size of their row plans.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import logging
import os
import re
import socket
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from modelyard import __version__
from modelyard.errors import NotFound, YardError
from modelyard.serve import prometheus, server, stats
from modelyard.serve.app import Front, Receive, Scope, Send, failed, refused, respond
from modelyard.serve.capture import Unwritten
from modelyard.serve.counter import Waiting
from modelyard.serve.hosts import check_host
from modelyard.serve.live import POLL_SECONDS, Router
from modelyard.serve.plane import Answer, Plane
from modelyard.serve.protocols import asynchronous, oip
from modelyard.serve.protocols.sagemaker import target_model
from modelyard.serve.quick import NOTHING, Pairs, Passed, Quick
from modelyard.serve.refusals import NoRunner, WrongMethod
from modelyard.serve.tls import Certificate

log = logging.getLogger("modelyard.front")
KEPT, KEPT_BYTES = 256, 512 * 2**20
"""How many endpoints stay loaded, and how many bytes of row plans."""
STATS_SECONDS = 0.25
_COLLECT = 128
"""After so many endpoints were let go, their memory is gathered in: decoders are classes, which hold themselves."""
_NAME = re.compile(rb"/(?:endpoints/|v2/models/)?([^/?]+)")
_OWN = frozenset({b"ping", b"metrics", b"health", b"v2", b""})
_METRICS = "/metrics"
_PAGES = {**dict.fromkeys(("/ping", "/health/ready", "/health/live"), b'{"status":"ready"}'), **oip.OWN}


@dataclass(eq=False)
class Seat:
    """One endpoint that is loaded. `size`: bytes of its row plans; `told`: what its stats said when they were last written; `asked`:
    requests that it has in hand."""

    front: Front
    quick: Quick
    plane: Plane
    size: int = 0
    told: object = None
    asked: int = 0
    worker: asyncio.Task[None] | None = None

    def work(self) -> None:
        """See to the endpoint's asynchronous requests, if it takes any; it then stays loaded."""
        live = self.router.live
        if live is not None and live.table.asynchronous is not None and self.worker is None:
            self.worker = asyncio.ensure_future(asynchronous.Worker(self.plane).run())

    @property
    def router(self) -> Router:
        return self.plane.router

    @property
    def busy(self) -> bool:
        """Whether it must stay: for its callers (of the short way, which its counters know of, too), or for asynchronous requests."""
        return self.worker is not None or self.asked > 0 or any(v.in_flight for v in self.router.stats.variants.values())


class Fleet:
    """The endpoints whose routing tables (NAME.json) lie in `tables`. `told` is the file of the front's own stats; each endpoint's lie
    beside it, named as its table is.

    An ASGI application, and a short way (`quick`) for endpoints that are loaded. `plane` makes an endpoint's data plane.
    """

    def __init__(
        self,
        tables: Path,
        told: Path,
        port: int,
        hosts: frozenset[str],
        plane: Callable[[Router], Plane] = Plane,
        *,
        unwritten: Unwritten | None = None,
        kept: int = KEPT,
        kept_bytes: int = KEPT_BYTES,
    ) -> None:
        self._tables, self._told, self._hosts, self._plane, self._unwritten = tables, told, hosts, plane, unwritten
        self._kept, self._kept_bytes = kept, kept_bytes
        self.own = stats.Stats(os.getpid(), time.time(), generation=1, port=port, ready=True, release=__version__)
        self._seats: OrderedDict[str, Seat] = OrderedDict()  # the one used last at the end
        self._counted: dict[str, stats.Stats] = {}
        self._loading: dict[str, asyncio.Task[Seat]] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._gone = 0

    @property
    def timeout(self) -> float:
        """Seconds that an answer may take, of the endpoints that are loaded."""
        return max((seat.router.timeout for seat in self._seats.values()), default=0.0)

    # -- requests ------------------------------------------------------------------------------------------------------------

    def quick(self, url: bytes, steady: Pairs, varying: dict[bytes, bytes], body: bytes) -> bytes | Waiting | Passed:
        """See `quick.Quick`; endpoints that are not loaded take the long way."""
        found = _NAME.match(url)
        seat = None if found is None else self._seats.get(found[1].decode("latin-1"))
        if found is None or seat is None:
            return NOTHING
        self._seats.move_to_end(found[1].decode("latin-1"))
        return seat.quick(url[found.end(1) :] if found.start(1) == 1 else url, steady, varying, body)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path: str = scope["path"]
        found = _NAME.match(path.encode("utf-8", "surrogatepass"))
        try:
            headers = dict(scope["headers"])
            check_host(headers.get(b"host"), self._hosts)
            if found is None or found[1] in _OWN:
                await respond(send, self._page(scope["method"], path))
                return
            name = found[1].decode("utf-8", "replace")
            if path.startswith("/endpoints/"):  # SageMaker's name for one of many models
                name = target_model(headers) or name
            seat = await self._seat(name)
        except YardError as exc:
            self.own.unrouted += 1
            await respond(send, refused(path, exc))
            return
        except Exception:
            await respond(send, failed(path))
            return
        if found.start(1) == 1:
            scope["path"] = path[len(name) + 1 :] or "/"
        seat.asked += 1
        try:
            await seat.front(scope, receive, send)
        finally:
            seat.asked -= 1

    def _page(self, method: str, path: str) -> Answer:
        """What the front says of itself: that it is there, and the metrics of the endpoints that are loaded and want no key. Raises
        NotFound, WrongMethod."""
        if path not in _PAGES and path != _METRICS:
            raise NotFound("there is nothing at this path", where=path[:200], next="POST /ENDPOINT/invocations, GET /ping.")
        if method not in ("GET", "HEAD"):
            raise WrongMethod(method, path, ("GET",))
        if path != _METRICS:
            return Answer(200, _PAGES[path])
        open_ones = [(name, s) for name, s in self._seats.items() if s.router.live and s.router.live.table.access.keys is None]
        said = [prometheus.Said(name, 0, seat.router.refresh_stats()) for name, seat in open_ones]
        return Answer(200, prometheus.text(said).encode(), kind=prometheus.KIND)

    # -- endpoints -----------------------------------------------------------------------------------------------------------

    async def _seat(self, name: str) -> Seat:
        """The endpoint, loaded. Raises NotFound, NoRunner where its table does not hold."""
        seat = self._seats.get(name)
        if seat is None:
            task = self._loading.get(name)
            if task is None:
                task = self._loading[name] = asyncio.ensure_future(self._load(name))
                task.add_done_callback(lambda _: self._loading.pop(name, None))
            seat = await asyncio.shield(task)
        with contextlib.suppress(KeyError):
            self._seats.move_to_end(name)
        return seat

    async def _load(self, name: str) -> Seat:
        path = self._tables / f"{name}.json"
        if "/" in name or name.startswith(".") or not _is_file(path):
            raise NotFound(f"there is no endpoint `{name[:80]}`", next="`modelyard status` lists them.")
        counts = self._counted.setdefault(name, stats.Stats(os.getpid(), time.time(), port=self.own.port))
        router = Router(path, counts, self._unwritten)
        await router.look()
        if router.live is None:
            await router.close()
            raise NoRunner("there is no routing table that holds")
        self._write(name, router.refresh_stats())
        await router.look()  # whoever writes a table from now on finds the endpoint loaded, and waits; whoever wrote one before is found
        plane = self._plane(router)
        seat = self._seats[name] = Seat(Front(plane, self._hosts), Quick(plane, self._hosts), plane, _size(router))
        seat.work()
        self._make_room(but=name)
        return seat

    def _make_room(self, but: str) -> None:
        """Let go of the endpoints that were not used for longest."""
        size = sum(seat.size for seat in self._seats.values())
        for name in list(self._seats):
            if len(self._seats) <= self._kept and size <= self._kept_bytes:
                return
            if name != but and not self._seats[name].busy:
                size -= self._seats[name].size
                self._let_go(name)

    def _let_go(self, name: str) -> None:
        seat = self._seats.pop(name)
        task = asyncio.ensure_future(self._close(name, seat))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _close(self, name: str, seat: Seat) -> None:
        if seat.worker is not None:
            seat.worker.cancel()
        await seat.plane.close()
        await seat.router.close()
        if name not in self._seats and name not in self._loading:
            seat.router.stats.generation = 0  # no table of it is in force
            self._write(name, seat.router.refresh_stats())
        self._gone += 1
        if self._gone % _COLLECT == 0:
            gc.collect()

    # -- tables and stats ----------------------------------------------------------------------------------------------------

    async def _take_up_queues(self) -> None:
        """Load the endpoints that take asynchronous requests: some may wait since before this process."""
        for name in await asyncio.to_thread(_asynchronous, self._tables):
            with contextlib.suppress(YardError):
                await self._seat(name)

    async def follow(self) -> None:
        """Follow the tables of the endpoints that are loaded, and write the stats of those that did something, for ever."""
        await self._take_up_queues()
        last = 0.0
        while True:
            now = time.monotonic()
            due = now - last >= STATS_SECONDS
            for name, seat in list(self._seats.items()):
                await self._look(name, seat, due)
            if due:
                last = now
                self._write(None, self.own)
            await asyncio.sleep(POLL_SECONDS)

    async def _look(self, name: str, seat: Seat, due: bool) -> None:
        router = seat.router
        if not (self._tables / f"{name}.json").is_file():
            self._let_go(name)
            self._counted.pop(name, None)
            return
        generation = router.stats.generation
        await router.look()
        if router.stats.generation != generation:
            seat.size = _size(router)
            seat.work()
        if not due and not router.urgent.is_set() and router.stats.generation == generation:
            return
        router.urgent.clear()
        if router.writer is not None:
            router.writer.tick()
        seat.plane.tick()
        now = _activity(router)
        if now != seat.told or now is None:
            seat.told = now
            self._write(name, router.refresh_stats())

    def _write(self, name: str | None, said: stats.Stats) -> None:
        try:
            stats.write(self._told if name is None else self._told.with_name(f"{name}.json"), said)
        except OSError as exc:  # a full disk: predictions go on
            log.error("the stats of %s cannot be written: %s", name or "the front", exc)

    async def close(self) -> None:
        self.own.ready = False
        for name in list(self._seats):
            self._let_go(name)
        await asyncio.gather(*self._closing)
        self._write(None, self.own)


async def serve(
    tables: Path,
    told: Path,
    listener: socket.socket,
    certificate: Certificate | None,
    *,
    hosts: frozenset[str],
    public: bool,
    kept: int = KEPT,
    kept_bytes: int = KEPT_BYTES,
    lasts: bool = False,
) -> None:
    """Serve until told to end. `public`: other machines reach it. `lasts`: it goes on when its owner is gone."""
    port = listener.getsockname()[1]
    unwritten, plane = Unwritten(), functools.partial(Plane, public=public)
    fleet = Fleet(tables, told, port, hosts, plane, unwritten=unwritten, kept=kept, kept_bytes=kept_bytes)
    following = asyncio.ensure_future(fleet.follow())
    server.settle()
    try:
        await server.run(
            fleet,
            fleet.quick,
            listener,
            certificate,
            unwritten=unwritten,
            lasts_with=tables if lasts else None,
            timeout=lambda: fleet.timeout,
        )
    finally:
        following.cancel()
        await fleet.close()


def _is_file(table: Path) -> bool:
    """Whether it is one; what is too long for a file's name is none."""
    try:
        return table.is_file()
    except OSError:
        return False


def _asynchronous(tables: Path) -> list[str]:
    """The endpoints whose tables speak of asynchronous requests."""
    return [path.stem for path in tables.glob("[!.]*.json") if b'"asynchronous":{' in path.read_bytes()]


def _size(router: Router) -> int:
    plans = [v.plan for v in router.live.table.variants if v.plan is not None] if router.live is not None else []
    sizes = 0
    for plan in plans:
        with contextlib.suppress(OSError):
            sizes += Path(plan).stat().st_size
    return sizes


def _activity(router: Router) -> object:
    """What differs where the stats have anything new to tell; None where runners make them always new."""
    if router.live is None or any(v.sockets for v in router.live.table.variants) or router.refresh_stats().wanted:
        return None
    counts = tuple((name, v.requests, v.in_flight, v.compared) for name, v in router.stats.variants.items())
    return counts, router.stats.generation, router.stats.unrouted, router.stats.capture.captured
