"""The front: the process that answers HTTP for one endpoint.

    python -m modelyard.serve.front --routes PATH --host 127.0.0.1 --port N --stats PATH

It follows the routing table, so that a roll-out changes a file and not a process; it goes on when its control plane is away,
and ends when its standard input does (its owner is gone), or at SIGTERM, after what is in flight. Exit codes: 0 ended, 2 the
port or the table cannot be used.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import uvicorn
import uvloop

from modelyard.errors import BadInput, YardError
from modelyard.serve import routes, stats
from modelyard.serve.app import Front
from modelyard.serve.http import FrontProtocol
from modelyard.serve.live import Router

STATS_SECONDS = 0.25
GRACE_SECONDS = 10
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})

log = logging.getLogger("modelyard.front")


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises BadInput when the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(1024)
    except OSError as exc:
        listener.close()
        raise BadInput(
            f"port {port} cannot be used: {os.strerror(exc.errno or 0)}",
            where=f"{host}:{port}",
            next="Choose another port, or 0 for any.",
        ) from None
    return listener


async def _keep_stats(router: Router, path: Path) -> None:
    """Write the stats four times a second, and at once when a routing table has come into force."""
    last, generation = 0.0, -1
    while True:
        now = time.monotonic()
        if now - last >= STATS_SECONDS or router.stats.generation != generation:
            last, generation = now, router.stats.generation
            if router.writer is not None:
                router.writer.tick()
            _write_stats(router, path)
        await asyncio.sleep(0.02)


def _write_stats(router: Router, path: Path) -> None:
    try:
        stats.write(path, router.refresh_stats())
    except OSError as exc:  # a full disk: predictions go on
        log.error("the stats cannot be written: %s", exc)


def _watch_stdin(loop: asyncio.AbstractEventLoop, server: uvicorn.Server) -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(setattr, server, "should_exit", True)


async def serve(table: Path, stats_path: Path, listener: socket.socket, host: str) -> None:
    """Serve until told to end."""
    counts = stats.Stats(pid=os.getpid(), started_at=time.time(), port=listener.getsockname()[1])
    router = Router(table, counts)
    await router.look()
    if router.live is None:
        raise BadInput("there is no routing table that holds", where=str(table), next="See the lines above.")
    config = uvicorn.Config(
        Front(router, _LOOPBACK | {f"[{host}]" if ":" in host else host}),
        http=FrontProtocol,
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=GRACE_SECONDS,
        backlog=1024,
    )
    server = uvicorn.Server(config)
    loop = asyncio.get_running_loop()
    threading.Thread(target=_watch_stdin, args=(loop, server), daemon=True).start()
    tasks = [asyncio.ensure_future(router.follow()), asyncio.ensure_future(_keep_stats(router, stats_path))]
    loop.add_signal_handler(signal.SIGHUP, lambda: asyncio.ensure_future(router.look()))
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    try:
        await server.serve(sockets=[listener])
    finally:
        for task in tasks:
            task.cancel()
        await router.close()
        counts.ready = False
        _write_stats(router, stats_path)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="modelyard.serve.front", description="Answer HTTP for one endpoint.")
    parser.add_argument("--routes", type=Path, required=True)
    parser.add_argument("--stats", type=Path, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: None)  # uvicorn repeats the signal that ended it; the last words are ours
    try:
        routes.read(options.routes)
        with contextlib.closing(listen(options.host, options.port)) as listener:
            uvloop.run(serve(options.routes, options.stats, listener, options.host))
    except YardError as exc:
        print(f"modelyard: {exc}", file=sys.stderr, flush=True)
        return 2
    return 0


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # the thread that waits on standard input never ends by itself
