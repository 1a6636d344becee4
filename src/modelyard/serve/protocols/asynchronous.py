"""SageMaker's asynchronous invocations: a caller names an input, gets the address of the answer at once, and looks there later.

A request is on disk, in the queue folder, before its 202; it leaves the folder once its answer, or why there is none, has been written.
So it survives the death of the front, and is then answered from the start. Several fronts share a folder: a lock on a request's file,
which dies with its process, says who has it.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import re
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import msgspec

from modelyard import files
from modelyard.errors import BadInput, NotFound, Unavailable, YardError
from modelyard.serve import routes
from modelyard.serve.plane import Answer, Plane, Request
from modelyard.serve.protocols import places, sagemaker
from modelyard.serve.refusals import QueueFull
from modelyard.serve.rows import header_id

log = logging.getLogger("modelyard.front")
MOST_WAITING = 10_000
"""Requests in the folder; more are told to come again."""
LONGEST_WAIT = 21_600
"""Seconds after which a request that could not be answered is given up, where the caller does not say."""
LOOK_SECONDS, LONGEST_PAUSE = 0.5, 30.0
_HEADER = sagemaker.PREFIX
_REFUSED = ("s3outputpathextension", "filename", "invocationtimeoutseconds")
_PASSED = ("inference-id", "custom-attributes", "target-variant", "session-id", "enable-explanations")
_WORDS = re.compile(r"[\x20-\x7e]*")


class Waiting(msgspec.Struct, forbid_unknown_fields=True):
    """A request in the folder. `input` is an address, or None where `body` is the input; `until` in seconds since the epoch. `id` is its
    rows' inference id where neither its caller nor its input has one."""

    id: str
    endpoint: str
    until: float
    headers: dict[str, str]
    input: str | None = None
    body: bytes = b""

    @property
    def output(self) -> str:
        return f"{self.id}.out"

    @property
    def failure(self) -> str:
        return f"failures/{self.id}-error.out"


_decoder = msgspec.json.Decoder(Waiting)


async def invocations(plane: Plane, request: Request) -> Answer:
    """`POST /endpoints/{endpoint}/async-invocations`: 202 with where the answer will be. Raises BadInput, QueueFull, Unavailable."""
    endpoint = sagemaker.endpoint_of(request)
    asked = plane.live(endpoint).table.asynchronous
    if asked is None:
        hint = "Set `deploy.realtime.asynchronous` in config.yaml."
        raise NotFound("this endpoint takes no asynchronous invocations", where=request.target[:200], next=hint)
    waiting = _taken(request, endpoint, asked)
    await asyncio.to_thread(_keep, Path(asked.queue), waiting)
    headers = [
        (_HEADER + b"outputlocation", _address(asked.output, waiting.output)),
        (_HEADER + b"failurelocation", _address(asked.output, waiting.failure)),
    ]
    said = {"InferenceId": waiting.headers.get("x-amzn-sagemaker-inference-id", waiting.id)}
    return Answer(202, msgspec.json.encode(said), headers=headers)


def _address(base: str, name: str) -> bytes:
    return f"{base.rstrip('/')}/{name}".encode()


def _taken(request: Request, endpoint: str, asked: routes.Async) -> Waiting:
    """The request as it is kept. Raises BadInput."""
    for name in _REFUSED:
        if _HEADER + name.encode() in request.headers:
            raise BadInput(f"`{name}` is not known here", where="headers", next="Leave it out.")
    address = request.header(_HEADER + b"inputlocation")
    if (address is None) == (not request.body):
        raise BadInput("an asynchronous invocation has either an InputLocation or a body", where="header X-Amzn-SageMaker-InputLocation")
    if address is not None:
        places.inside(address, asked.inputs)
    lasts = request.header(_HEADER + b"requestttlseconds") or str(LONGEST_WAIT)
    if not (lasts.isascii() and lasts.isdigit() and 60 <= int(lasts[:9]) <= LONGEST_WAIT):
        raise BadInput(f"a request lives for 60 to {LONGEST_WAIT} seconds", where="header X-Amzn-SageMaker-RequestTTLSeconds")
    passed = {
        "content-type": request.header(_HEADER + b"content-type") or "application/json",
        "accept": request.header(_HEADER + b"accept") or "application/json",
    }
    for name in _PASSED:
        if (value := request.header(_HEADER + name.encode())) is not None:
            passed[_HEADER.decode() + name] = value
    if not all(_WORDS.fullmatch(value) for value in passed.values()):
        raise BadInput("headers are printable ASCII", where="headers")
    if (name := _HEADER.decode() + "inference-id") in passed:
        header_id(passed[name])
    return Waiting(uuid.uuid4().hex, endpoint, time.time() + int(lasts), passed, address, request.body)


def _keep(folder: Path, waiting: Waiting) -> None:
    """Put a request into the folder, on disk. Raises QueueFull, Unavailable."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if sum(1 for _ in os.scandir(folder)) >= MOST_WAITING:
            raise QueueFull("too many asynchronous requests are waiting", retry_after=10)
        files.replace(folder / f"{time.time_ns():020d}-{waiting.id}.json", msgspec.json.encode(waiting), durable=True)
    except OSError as exc:
        raise Unavailable(f"the request cannot be kept: {os.strerror(exc.errno or 0)}", next="Try again later.") from None


class Worker:
    """Answers what waits in the folder, oldest first, one at a time. What cannot be answered now is tried again, later each time."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._pause = LOOK_SECONDS

    async def run(self) -> None:
        """Look at the folder for ever."""
        while True:
            await asyncio.sleep(self._pause)
            try:
                live = self._plane.router.live
                asked = None if live is None else live.table.asynchronous
                done = asked is None or await self._look(Path(asked.queue), asked)
            except Exception:  # this loop must outlive whatever a request holds
                log.exception("asynchronous requests")
                done = False
            self._pause = LOOK_SECONDS if done else min(self._pause * 2, LONGEST_PAUSE)

    async def _look(self, folder: Path, asked: routes.Async) -> bool:
        """Answer what is there. False where something has to wait."""
        names = await asyncio.to_thread(_listed, folder)
        done = True
        for name in names:
            with _claimed(folder / name) as data:
                if data is not None and await self._settled(data, asked):
                    (folder / name).unlink(missing_ok=True)
                elif data is not None:
                    done = False
        return done

    async def _settled(self, data: bytes, asked: routes.Async) -> bool:
        """Whether a request is done with: answered, or given up, and that has been written."""
        try:
            waiting = _decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            log.error("a request in the asynchronous queue does not hold, and is dropped")
            return True
        answer = await self._answer(waiting, asked)
        if answer.status in (429, 503) and time.time() < waiting.until:
            return False
        name = waiting.output if answer.status == 200 else waiting.failure
        try:
            await asyncio.to_thread(places.write, asked.output, name, answer.body)
        except YardError as exc:
            log.error("asynchronous request %s: %s", waiting.id, exc)
            return time.time() >= waiting.until
        return True

    async def _answer(self, waiting: Waiting, asked: routes.Async) -> Answer:
        headers = {name.encode(): value.encode() for name, value in waiting.headers.items()}
        request = Request("POST", f"/endpoints/{waiting.endpoint}/async-invocations", headers, waiting.body)
        request.names, request.id = {"endpoint": waiting.endpoint}, waiting.id
        try:
            if waiting.input is not None:
                limit = self._plane.live(waiting.endpoint).table.limits.max_body
                request.body = await asyncio.to_thread(places.read, waiting.input, asked.inputs, limit)
            return await self._plane.invoke(request, sagemaker.DIALECT, endpoint=waiting.endpoint)
        except YardError as exc:
            return sagemaker.refuse(exc)


def _listed(folder: Path) -> list[str]:
    """Requests in the folder, oldest first."""
    try:
        return sorted(path.name for path in folder.iterdir() if path.suffix == ".json")
    except FileNotFoundError:
        return []


@contextlib.contextmanager
def _claimed(path: Path) -> Iterator[bytes | None]:
    """The content of a request's file, for as long as it is ours alone; None where it is another's, or gone."""
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(path.open("rb"))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (FileNotFoundError, BlockingIOError):
            yield None
            return
        yield file.read() if os.fstat(file.fileno()).st_nlink else None
