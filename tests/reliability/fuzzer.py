"""Sends bad requests over many connections, good ones in between, and judges every answer; what is wrong is a finding."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from .shots import GOOD_REQUEST, HOST, Shot, post

QUIET_SECONDS = 0.25
"""How long a caller waits after what may be no whole request, before it says that nothing more comes."""
Answers = list[tuple[int, bytes, bytes]]
"""Status, head and body of each."""
_RESET = (ConnectionResetError, BrokenPipeError)
STALLS = (
    (b"", 30),  # never says anything
    (b"POST /invocations HTTP/1.1\r\nHost: 127", 30),
    (post(b"/invocations", b"{", length=b"100"), 60),
    (post(b"/endpoints/demo/invocations", b"{", length=b"1000000"), 60),
    (b"POST /invocations HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab", 60),
    (b"POST /invocations HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 50\r\n\r\n", 60),
)
"""What callers say who then fall silent, and after how many seconds the front ends it."""


@dataclass
class Fuzzer:
    """`right` is true of the right answer to the good request. `findings` holds what must not be, with the bytes that did it."""

    port: int
    right: Callable[[bytes], bool]
    patience: float = 30.0
    findings: list[str] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    bad: int = 0
    good: int = 0
    longest: float = 0.0

    async def run(self, draw: Callable[[], Shot], shots: int, *, callers: int = 24, watch: Callable[[], None] | None = None) -> None:
        """Send shots until so many were refused or cut off; after each twentieth a good request. `watch` is called once a second."""
        watching = asyncio.ensure_future(self._watch(watch))
        try:
            await asyncio.gather(*(self._caller(draw, shots) for _ in range(callers)))
        finally:
            watching.cancel()

    async def _watch(self, watch: Callable[[], None] | None) -> None:
        while watch is not None:
            watch()
            await asyncio.sleep(1)

    async def _caller(self, draw: Callable[[], Shot], shots: int) -> None:
        sent = 0
        while self.bad < shots and len(self.findings) < 20:
            await self.fire(draw())
            sent += 1
            if sent % 20 == 0:
                await self.ask()

    async def fire(self, shot: Shot) -> None:
        """One shot."""
        self.kinds[shot.name] += 1
        start = time.monotonic()
        try:
            async with asyncio.timeout(self.patience):
                answers, problem = await self._sent(shot)
        except TimeoutError:
            answers, problem = [], f"no end after {self.patience:g} s"
        except ConnectionRefusedError:
            answers, problem = [], "nobody listens"
        self.longest = max(self.longest, time.monotonic() - start)
        problem = problem or _wrong(shot, answers)
        self.bad += not any(200 <= status < 300 for status, _, _ in answers) or shot.name.startswith("pipelined")
        self.statuses.update([str(status) for status, _, _ in answers] or ["hung up" if shot.hang_up else "closed"])
        if problem:
            said = answers[-1][2][:300] if answers else b""
            self.findings.append(f"{shot.name}: {problem}; sent {b''.join(shot.pieces)[:1500]!r}; got {said!r}")

    async def _sent(self, shot: Shot) -> tuple[Answers, str]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=2**22)
        receiving: asyncio.Task[tuple[Answers, str]] | None = None
        try:
            if shot.hang_up:
                writer.write(b"".join(shot.pieces))
                await asyncio.sleep(random.random() * 0.01)
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return [], ""
            receiving = asyncio.ensure_future(_received(reader, shot))
            with contextlib.suppress(OSError):  # an answer may have come before all was sent
                for piece in shot.pieces:
                    writer.write(piece)
                    await writer.drain()
                    if shot.pause:
                        await asyncio.sleep(shot.pause)
                if not shot.framed and (await asyncio.wait((receiving,), timeout=QUIET_SECONDS))[1]:
                    writer.write_eof()
            return await receiving
        finally:
            if receiving is not None:
                receiving.cancel()
            writer.close()

    async def ask(self) -> None:
        """A good request, over a connection of its own; it must be answered rightly."""
        try:
            async with asyncio.timeout(self.patience):
                answers, problem = await self._sent(Shot("good", (GOOD_REQUEST,), framed=1))
        except (TimeoutError, OSError) as exc:
            answers, problem = [], f"{type(exc).__name__}"
        if problem or len(answers) != 1 or answers[0][0] != 200 or not self.right(answers[0][2]):
            self.findings.append(f"a good request: {problem} {answers}"[:1500])
        self.good += 1

    async def stall(self, words: bytes, seconds: float) -> None:
        """Say `words`, and nothing more: the front ends the connection after so many seconds."""
        start = time.monotonic()
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(words)
        try:
            async with asyncio.timeout(seconds + self.patience):
                with contextlib.suppress(*_RESET):
                    said = await reader.read(-1)
                    if b" 5" in said[8:11]:
                        self.findings.append(f"{words[:100]!r}, then silence: {said[:100]!r}")
        except TimeoutError:
            self.findings.append(f"{words[:100]!r}, then silence: the connection is there after {time.monotonic() - start:.0f} s")
        finally:
            writer.close()
        self.statuses["ended in silence"] += 1
        if time.monotonic() - start < seconds - 2:
            self.findings.append(f"{words[:100]!r}: ended after {time.monotonic() - start:.0f} s, not {seconds} s")


async def _received(reader: asyncio.StreamReader, shot: Shot) -> tuple[Answers, str]:
    """What comes back, and what is wrong with it as HTTP."""
    answers: Answers = []
    head_only = shot.pieces[0].startswith(b"HEAD ")
    try:
        while not shot.framed or len(answers) < shot.framed:
            answer = await response(reader, head_only=head_only)
            if answer is None:
                return answers, ""
            if answer[0] >= 200:
                answers.append(answer)
    except asyncio.IncompleteReadError as exc:
        return answers, f"an answer breaks off: {exc.partial[:300]!r}"
    except _RESET:
        return answers, ""  # what it had not read of ours is lost, and perhaps its answer: a connection that is closed
    except (ValueError, IndexError, asyncio.LimitOverrunError) as exc:
        return answers, f"the answer is no HTTP: {exc}"
    return answers, ""


async def response(reader: asyncio.StreamReader, *, head_only: bool = False) -> tuple[int, bytes, bytes] | None:
    """One answer; None where the connection was closed before its first byte. Raises IncompleteReadError, ValueError."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as exc:
        if not exc.partial:
            return None
        raise
    first, *lines = head[:-4].split(b"\r\n")
    version, status, _ = first.split(b" ", 2)
    if version != b"HTTP/1.1":
        raise ValueError(f"it begins with {first[:80]!r}")
    headers = {name.lower(): value.strip() for name, value in (line.split(b":", 1) for line in lines)}
    code = int(status)
    if head_only:
        return code, head, await reader.read(-1) if code == 400 else b""  # (what is no HTTP has no method either)
    if code < 200 or code in (204, 304):
        return code, head, b""
    if headers.get(b"transfer-encoding") == b"chunked":
        body = b""
        while size := int((await reader.readuntil(b"\r\n"))[:-2], 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readexactly(2)
        return code, head, body
    return code, head, await reader.readexactly(int(headers[b"content-length"]))


def _wrong(shot: Shot, answers: Answers) -> str:
    """What is wrong with these answers to a shot; empty where nothing is."""
    statuses = [status for status, _, _ in answers]
    if any(status >= 500 for status in statuses):
        return f"answered {statuses}"
    closes = bool(answers) and b"connection: close" in answers[-1][1].lower()
    if shot.framed and len(answers) != shot.framed and not closes:
        return f"{len(answers)} answers to {shot.framed} requests: {statuses}"
    if shot.name == "coding" and (len(answers) > 1 or any(b"smuggled" in body for _, _, body in answers)):
        return f"a body was taken for a request: {statuses}"
    if any(status >= 400 and not body for status, _, body in answers) and not shot.pieces[0].startswith(b"HEAD "):
        return f"an error without a reason: {statuses}"
    return ""
