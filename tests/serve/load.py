"""A load of callers that count: with keep-alive, without, and slow ones. Every answer is checked."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Row = dict[str, Any]


class Refused(NamedTuple):
    """An answer that is no 200: when all of the request was sent, and when it came, by `time.monotonic`; headers by lower-case name."""

    asked: float
    came: float
    status: int
    headers: dict[str, str]


@dataclass
class Load:
    """`check(row, answer)` is true of a right answer. `failures` holds what went wrong, `refused` those of them that were answered,
    `answered` the ids of the right answers."""

    port: int
    rows: list[Row]
    check: Callable[[Row, dict[str, Any]], bool]
    path: str = "/invocations"
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    answered: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    versions: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)

    async def run(self, seconds: float | None, *, keep: int = 6, close: int = 4, slow: int = 4) -> None:
        """Call until `stop` is set, or for so many seconds."""
        callers = [self._caller(f"keep{i}", keep=True, slow=False) for i in range(keep)]
        callers += [self._caller(f"close{i}", keep=False, slow=False) for i in range(close)]
        callers += [self._caller(f"slow{i}", keep=i % 2 == 0, slow=True) for i in range(slow)]
        if seconds is not None:
            asyncio.get_running_loop().call_later(seconds, self.stop.set)
        await asyncio.gather(*callers)

    async def _caller(self, name: str, *, keep: bool, slow: bool) -> None:
        number, link = 0, None
        while not self.stop.is_set():
            number += 1
            identity = f"{name}.{number}"
            try:
                link = link or await asyncio.open_connection("127.0.0.1", self.port)
                row = self.rows[hash(identity) % len(self.rows)]
                status, answer, stays = await self._call(*link, identity, row, keep=keep, slow=slow)
                if status == 200:
                    self.answered.append(identity)
                    self.versions[answer["version"]] += 1
                    self.kinds["slow" if slow else "keep" if keep else "close"] += 1
                else:
                    self.failures.append(f"{identity}: {status} {answer}")
            except (OSError, EOFError, ValueError, KeyError) as exc:
                self.failures.append(f"{identity}: {type(exc).__name__} {exc}")
                keep_link = False
            else:
                keep_link = keep and stays
            if link is not None and not keep_link:
                link[1].close()
                link = None
        if link is not None:
            link[1].close()

    async def _call(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, identity: str, row: Row, *, keep: bool, slow: bool
    ) -> tuple[int, dict[str, Any], bool]:
        """The status, the answer, and whether the connection goes on."""
        body = json.dumps(row).encode()
        head = f"POST {self.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        head += f"X-Amzn-SageMaker-Inference-Id: {identity}\r\n" + ("" if keep else "Connection: close\r\n") + "\r\n"
        data = head.encode() + body
        pieces = [data[i : i + 40] for i in range(0, len(data), 40)] if slow else [data]
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            if slow:
                await asyncio.sleep(0.03)
        asked = time.monotonic()
        status, headers, content = await whole_response(reader)
        answer = json.loads(content)
        if status != 200:
            self.refused.append(Refused(asked, time.monotonic(), status, headers))
        else:
            (one,) = answer["predictions"]
            if one["inference_id"] != identity or not self.check(row, {**one, "version": answer["version"]}):
                raise ValueError(f"a wrong answer: {answer}")
        return status, answer, headers.get("connection") != "close"


async def response(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """One HTTP answer with a Content-Length."""
    status, _, content = await whole_response(reader)
    return status, content


async def whole_response(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """Likewise, with its headers."""
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")[:-2]
    headers = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
    return int(first.split()[1]), headers, await reader.readexactly(int(headers["content-length"]))
