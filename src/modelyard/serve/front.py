"""The front: the process that answers HTTP for one endpoint.

    python -m modelyard.serve.front --routes PATH --stats PATH [--host 127.0.0.1] [--port N] [--name NAME ...]
        [--certificate PEM --key PEM] [--share-port] [--number N] [--all-stats PATH ...] [--grpc-port N] [--keep N]
        [--lasting]

It follows the routing table, so that a roll-out changes a file and not a process. It ends when its standard input does (its owner is
gone), or at SIGTERM, after what is in flight. With `--lasting` it goes on without its owner, for as long as its table is there, and its
runners with it (serve/left.py). Exit codes: 0 ended, 2 the port or the table cannot be used. Several fronts of one endpoint listen on
one port (`--share-port`), each with a number of its own. Where PATH of the routes is a folder, it answers for many endpoints
(serve/fleet.py), `--keep` of which stay loaded.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop

from modelyard import __version__
from modelyard.errors import BadInput, YardError
from modelyard.serve import fleet, routes, server, sockets, stats
from modelyard.serve.app import Front
from modelyard.serve.capture import Unwritten
from modelyard.serve.hosts import hosts_of
from modelyard.serve.live import Router
from modelyard.serve.plane import Plane
from modelyard.serve.protocols import asynchronous
from modelyard.serve.quick import Quick
from modelyard.serve.tls import Certificate, is_loopback

log = logging.getLogger("modelyard.front")


@dataclass(frozen=True)
class Options:
    """Where a front listens, and by which names it is called."""

    routes: Path
    stats: Path
    host: str = "127.0.0.1"
    port: int = 0
    names: tuple[str, ...] = ()
    tls: tuple[Path, Path] | None = None
    share_port: bool = False
    number: int = 0
    grpc_port: int | None = None
    keep: int = fleet.KEPT
    all_stats: tuple[Path, ...] = ()
    lasts: bool = False

    @property
    def siblings(self) -> dict[int, Path]:
        """The stats files of the other fronts of the endpoint, by their numbers."""
        return {number: path for number, path in enumerate(self.all_stats) if number != self.number}


async def _keep_stats(plane: Plane, path: Path) -> None:
    """Write the stats four times a second, and at once when a routing table has come into force or somebody waits for a runner."""
    last, generation, router = 0.0, -1, plane.router
    while True:
        now = time.monotonic()
        if now - last >= fleet.STATS_SECONDS or router.stats.generation != generation or router.urgent.is_set():
            last, generation = now, router.stats.generation
            router.urgent.clear()
            if router.writer is not None:
                router.writer.tick()
            plane.tick()
            _write_stats(router, path)
        await asyncio.sleep(0.02)


def _write_stats(router: Router, path: Path) -> None:
    try:
        stats.write(path, router.refresh_stats())
    except OSError as exc:  # a full disk: predictions go on
        log.error("the stats cannot be written: %s", exc)


async def serve(options: Options, listener: socket.socket, certificate: Certificate | None) -> None:
    """Serve until told to end."""
    counts = stats.Stats(pid=os.getpid(), started_at=time.time(), port=listener.getsockname()[1], release=__version__)
    unwritten = Unwritten()
    router = Router(options.routes, counts, unwritten)
    await router.look()
    if router.live is None:
        raise BadInput("there is no routing table that holds", where=str(options.routes), next="See the lines above.")
    plane = Plane(router, number=options.number, public=not is_loopback(options.host), siblings=options.siblings)
    hosts = hosts_of(options.host, options.names)
    over_grpc = None
    if options.grpc_port is not None:
        over_grpc, counts.grpc_port = await _grpc(plane, options, options.grpc_port, certificate)
    tasks = [asyncio.ensure_future(router.follow()), asyncio.ensure_future(_keep_stats(plane, options.stats))]
    tasks.append(asyncio.ensure_future(asynchronous.Worker(plane).run()))
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, lambda: asyncio.ensure_future(router.look()))
    server.settle()
    try:
        lasts_with = options.routes if options.lasts else None
        quick = Quick(plane, hosts)
        front = Front(plane, hosts)
        await server.run(front, quick, listener, certificate, unwritten=unwritten, lasts_with=lasts_with, timeout=lambda: router.timeout)
        if over_grpc is not None:
            await over_grpc.stop(server.grace(router.timeout))
    finally:
        for task in tasks:
            task.cancel()
        await plane.close()
        await router.close()
        counts.ready = False
        _write_stats(router, options.stats)


async def _serve_many(options: Options, listener: socket.socket, certificate: Certificate | None) -> None:
    hosts, public = hosts_of(options.host, options.names), not is_loopback(options.host)
    kept, lasts = options.keep, options.lasts
    await fleet.serve(options.routes, options.stats, listener, certificate, hosts=hosts, public=public, kept=kept, lasts=lasts)


async def _grpc(plane: Plane, options: Options, port: int, certificate: Certificate | None) -> tuple[Any, int]:
    """The gRPC server, and its port. Raises BadInput where it cannot listen, or grpcio is not installed."""
    try:
        from modelyard.serve.protocols import oip_grpc
    except ImportError as exc:
        what = f"gRPC needs a package that is not installed: {exc.name}"
        raise BadInput(what, where="grpc_port", next="Install `modelyard[grpc]`.") from None
    return await oip_grpc.start(plane, options.host, port, certificate, shared=options.share_port)


def _options(argv: list[str] | None) -> Options:
    parser = argparse.ArgumentParser(prog="modelyard.serve.front", description="Answer HTTP for one endpoint.")
    parser.add_argument("--routes", type=Path, required=True)
    parser.add_argument("--stats", type=Path, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--name", action="append", default=[])
    parser.add_argument("--certificate", type=Path)
    parser.add_argument("--key", type=Path)
    parser.add_argument("--share-port", action="store_true")
    parser.add_argument("--number", type=int, default=0)
    parser.add_argument("--all-stats", type=Path, action="append", default=[])
    parser.add_argument("--grpc-port", type=int)
    parser.add_argument("--keep", type=int, default=fleet.KEPT)
    parser.add_argument("--lasting", action="store_true")
    given = parser.parse_args(argv)
    tls = None if given.certificate is None else (given.certificate, given.key or given.certificate)
    return Options(
        given.routes,
        given.stats,
        given.host,
        given.port,
        tuple(given.name),
        tls,
        given.share_port,
        given.number,
        given.grpc_port,
        given.keep,
        tuple(given.all_stats),
        given.lasting,
    )


def check(options: Options, *, keys: bool) -> None:
    """Raises BadInput for an endpoint that other machines could reach without TLS and keys. (Of many, each lets nobody in without.)"""
    if not is_loopback(options.host) and (options.tls is None or not keys):
        raise BadInput(
            "an endpoint that other machines reach needs `tls` and `keys`",
            where=options.host,
            next="Set both under the stage in `environments`, or listen on 127.0.0.1.",
        )


def main(argv: list[str] | None = None) -> int:
    options = _options(argv)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: None)  # uvicorn repeats the signal that ended it; the last words are ours
    try:
        many = options.routes.is_dir()
        check(options, keys=many or routes.read(options.routes).access.keys is not None)
        certificate = None if options.tls is None else Certificate(*options.tls)
        with contextlib.closing(sockets.listen(options.host, options.port, shared=options.share_port)) as listener:
            uvloop.run(_serve_many(options, listener, certificate) if many else serve(options, listener, certificate))
    except YardError as exc:
        print(f"modelyard: {exc}", file=sys.stderr, flush=True)
        return 2
    return 0


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # the thread that waits on standard input never ends by itself
