r"""The runner: holds one model and answers the runner protocol on a Unix socket, a request at a time, in the main thread.

    python -m modelyard.runtime.runner --model-dir DIR --code-dir DIR --entry-point NAME --signature FILE \
        --framework NAME --socket PATH [--example FILE --content-type TYPE --accept TYPE --pre NAME --post NAME --batch-strategy WORD]

It ends when its standard input does, which whoever needs it holds open, or when a byte comes. Exit codes: 0 asked to end, 3 the model
cannot be loaded, 4 the process that holds the model (R's, a server's) ended.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import platform
import resource
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from modelyard.runtime import recognition, wire
from modelyard.runtime.batch import batch
from modelyard.runtime.explain import explain
from modelyard.runtime.extract import written
from modelyard.runtime.frameworks import NAMES
from modelyard.runtime.inputs import check
from modelyard.runtime.loading import CannotLoad, Served, load
from modelyard.runtime.lookups import quicken
from modelyard.runtime.missing import sentence
from modelyard.runtime.outputs import BadOutput

_SEND_TIMEOUT = 30.0
_GRACE = 5.0
WARM_UP, WARM_UP_SECONDS = 3, 20.0
"""Predictions of the example before anybody can ask, and how long they may take."""
_OOM_SCORE, _PROCESSES = "500", 2048


class Life:
    """When to end: at SIGTERM, at a byte of standard input or at its end, after the request in hand."""

    def __init__(self) -> None:
        self.busy = threading.Lock()
        self.stopping = False

    def on_term(self, *_: object) -> None:
        self.stopping = True
        if not self.busy.locked():
            os._exit(0)

    def watch_stdin(self) -> None:
        with contextlib.suppress(OSError):
            os.read(0, 1)  # a word from the owner, or nobody is left who needs this process
        self.stopping = True
        self.busy.acquire(timeout=_GRACE)
        os._exit(0)


Op = Callable[[dict[str, Any], Served, list[str]], dict[str, Any]]
"""Answers a message: the fields of the reply beside `id`. What it raises becomes an error of that request."""


def predict(message: dict[str, Any], served: Served, names: list[str]) -> dict[str, Any]:
    """`predict`: columns in, outputs out."""
    columns, rows = check(message, names)
    return {"outputs": served.predict(columns, rows)}


OPS: dict[str, Op] = {"predict": predict, "explain": explain, "extract": written, "batch": batch}


def answer(message: dict[str, Any], served: Served, names: list[str], hello: dict[str, Any]) -> dict[str, Any]:
    """The reply to one message. Never raises: what the model raises becomes an error of that request."""
    op, number = message.get("op"), message.get("id")
    if op == "hello":
        return hello
    try:
        if op not in OPS:
            raise wire.BadFrame(f"unknown op {op!r}; this runner speaks hello, {', '.join(OPS)}")
        return {"id": number, **OPS[op](message, served, names)}
    except wire.BadFrame as exc:
        return {"id": number, "error": {"code": "bad_request", "what": str(exc)}}
    except BadOutput as exc:
        error = {"code": "bad_output", "what": str(exc)}
        return {"id": number, "error": error if exc.row is None else dict(error, row=exc.row)}
    except Exception as exc:
        traceback.print_exc()
        first = (str(exc).strip().splitlines() or [""])[0][:300]
        return {"id": number, "error": {"code": "model_failed", "what": f"{type(exc).__name__}: {first}"}}


def serve(listener: socket.socket, reply: Callable[[dict[str, Any]], dict[str, Any]], life: Life) -> None:
    """Answer for ever, one frame at a time over all connections; a peer that breaks the protocol is dropped."""
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ, None)
    while True:
        for key, _ in selector.select():
            peer = key.fileobj
            if not isinstance(peer, socket.socket):
                continue
            if key.data is None:
                connection, _address = listener.accept()
                connection.settimeout(_SEND_TIMEOUT)
                selector.register(connection, selectors.EVENT_READ, bytearray())
            elif not _serve_peer(peer, key.data, reply, life):
                selector.unregister(peer)
                peer.close()


def _serve_peer(peer: socket.socket, buffer: bytearray, reply: Callable[[dict[str, Any]], dict[str, Any]], life: Life) -> bool:
    """Read what came and answer the complete frames; False when the connection is over."""
    try:
        data = peer.recv(1 << 20)
        if not data:
            return False
        buffer += data
        while True:
            message = wire.take_frame(buffer)
            if message is None:
                return True
            with life.busy:
                peer.sendall(wire.encode(reply(message)))
            if life.stopping:
                os._exit(0)
    except (OSError, wire.BadFrame) as exc:
        print(f"modelyard: connection dropped: {exc}", file=sys.stderr, flush=True)
        return False


def watch(process: subprocess.Popen[bytes], what: str) -> None:
    """A runner whose model is held by a process that ended is of no use: it ends too, and its owner starts another."""
    code = process.wait()
    print(f"modelyard: {what} ended with exit code {code}", file=sys.stderr, flush=True)
    os._exit(4)


def contain() -> None:
    """Where memory runs out, the kernel ends this process before the platform's; and in a sandbox, whose processes are counted apart, it
    and what it starts are so many at most."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE)
    if os.environ.get("MODELYARD_SANDBOXED") == "1":
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NPROC, (_PROCESSES, _PROCESSES))


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="modelyard.runtime.runner", description="Hold a model and answer the runner protocol.")
    for name in ("model-dir", "code-dir", "signature", "socket"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--entry-point", default="")
    parser.add_argument("--framework", required=True, choices=NAMES)
    parser.add_argument("--example", default="")
    parser.add_argument("--content-type", default="text/csv")
    parser.add_argument("--accept", default="application/json")
    parser.add_argument("--batch-strategy", default="multi_record")
    parser.add_argument("--pre", default="")
    parser.add_argument("--post", default="")
    return parser.parse_args(argv)


def begin(options: argparse.Namespace, signature: dict[str, Any]) -> Served:
    """The loaded model, its hooks taken up. Raises CannotLoad, or whatever the user's code raises."""
    sys.path.insert(0, str(Path(options.code_dir).resolve()))
    served = load(
        options.model_dir,
        options.code_dir,
        options.entry_point,
        signature,
        options.framework,
        content_type=options.content_type,
        accept=options.accept,
    )
    served.hooks(options.code_dir, options.pre, options.post)
    served.single = options.batch_strategy == "single_record"
    return served


def warm_up(served: Served, names: list[str], example: Path) -> None:
    """Predict a row a few times, so that the first caller does not pay for what a model does only once. What the model raises is left to
    callers and alarms. `example` has the columns of a `predict`."""

    def late() -> None:
        print(f"modelyard: the model did not answer an example within {WARM_UP_SECONDS:g} s", file=sys.stderr, flush=True)
        os._exit(3)

    print("modelyard: the model is loaded and predicts an example", file=sys.stderr, flush=True)  # serve/runner.py reads it
    overdue = threading.Timer(WARM_UP_SECONDS, late)
    overdue.daemon = True
    overdue.start()
    try:
        columns = json.loads(example.read_text(encoding="utf-8"))
        for _ in range(WARM_UP):
            predict({"rows": 1, "columns": columns}, served, names)
    except Exception:
        traceback.print_exc()
    finally:
        overdue.cancel()


def why(exc: Exception) -> str:
    """Why a model could not be loaded, in a line."""
    if isinstance(exc, CannotLoad):
        return str(exc)
    traceback.print_exc()
    if isinstance(exc, ModuleNotFoundError) and exc.name:
        return sentence(exc.name)
    return f"{type(exc).__name__}: {exc}"


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    contain()
    quicken()
    life = Life()
    threading.Thread(target=life.watch_stdin, daemon=True).start()
    signal.signal(signal.SIGTERM, life.on_term)
    start = time.monotonic()
    try:
        signature = json.loads(Path(options.signature).read_text(encoding="utf-8"))
        served = begin(options, signature)
        recognition.by_class()
    except Exception as exc:
        print(f"modelyard: cannot load the model: {why(exc)}", file=sys.stderr, flush=True)
        return 3
    if served.process is not None:
        threading.Thread(target=watch, args=(served.process, f"the {options.framework} process"), daemon=True).start()
    hello = {
        "protocol": wire.PROTOCOL,
        "ready": True,
        "python": platform.python_version(),
        "load_seconds": round(time.monotonic() - start, 3),
        "model_fn": served.model_fn,
        "predict_fn": served.predict_fn,
        "framework": options.framework,
        "pid": os.getpid(),
        **served.facts,
    }
    names = [str(c["name"]) for c in signature["columns"]]
    if options.example:
        warm_up(served, names, Path(options.example))
    gc.collect()
    gc.freeze()  # a model and its libraries are some 10^5 objects for good: no collection between requests needs to walk them
    serve(wire.listen(options.socket), lambda message: answer(message, served, names, hello), life)
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # a model's own threads must not keep a process that could not load
