"""Bad requests as bytes on a connection: broken bodies well framed, and HTTP broken in every way that it can be."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass

from .bodies import PLACES, Bodies, broken
from .fronts import GOOD

HOST = b"Host: 127.0.0.1\r\n"
_GOOD = json.dumps(GOOD).encode()
_METHODS = (
    *(b"GET", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"HEAD", b"TRACE", b"CONNECT", b"PRI", b"get", b"", b"X" * 300, b"PO ST"),
    *(b"P\0ST", b"\xff"),
)
_PATHS = (
    *(b"*", b"/", b"", b"//", b"/..", b"/%2e%2e/%00", b"/invocations/", b"/invocations%00", b"/invocations?" + b"a" * 3000),
    *(b"/\xff\xfe", b"/%ff%fe", b"http://127.0.0.1/invocations", b"http://evil.example/", b"/endpoints/%2F/invocations"),
    *(b"/endpoints//invocations", b"/endpoints/a/b/c", b"/v2/x", b"/v2/models/%00/infer"),
    *(b"/v2/models/demo/versions/99999999999999999999/infer", b"/metrics;x", b"/openapi.json?x=%", b"/ping#x", b"/%", b"/a" * 2000),
)
_VERSIONS = (
    *(b"HTTP/1.1", b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0", b"HTTP/9.9", b"HTTP/1.1 ", b"HTTP/", b"", b"http/1.1", b"HTTP/1.1\0"),
    *(b"HTTP/1.10", b"ICY/1.1"),
)
_NAMES = (
    *(b"Accept", b"Content-Type", b"Content-Encoding", b"Expect", b"Connection", b"Upgrade", b"Host", b"Authorization", b"X-API-Key"),
    *(b"traceparent", b"X-Amzn-SageMaker-Inference-Id", b"X-Amzn-SageMaker-Session-Id", b"X-Amzn-SageMaker-Target-Variant"),
    *(b"X-Amzn-SageMaker-Target-Model", b"X-Amzn-SageMaker-Enable-Explanations", b"X-Amzn-SageMaker-Custom-Attributes"),
    *(b"X-Amzn-SageMaker-InputLocation", b"Inference-Header-Content-Length", b"X-Amzn-SageMaker-RequestTTLSeconds"),
    *(b"X-Amzn-SageMaker-Accept", b"X-Amzn-SageMaker-Inference-Component", b"Range", b"Cookie", b"TE", b"Trailer"),
)
_VALUES = (
    *(b"", b" ", b"\xff\xfe", b"\xe2\x82\xac", b"a" * 4000, b"*/*;q=x", b"text/html", b"application/json; charset=utf-16"),
    *(b"text/csv", b"gzip", b"100-continue", b"websocket", b"h2c", b"close, keep-alive", b"evil.example", b"127.0.0.1:99999999"),
    *(b"[::1", b"Bearer ", b"Basic ====", b"AWS4-HMAC-SHA256 Credential=x", b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-01"),
    *(b"00-" + b"f" * 32 + b"-" + b"f" * 16 + b"-zz", b"8", b"7", b"-1", b"NEW_SESSION", b"`true`", b"a[?b==`1`]"),
    *(b"file:///etc/passwd", b"file://x/../..", b"s3://", b"../../x", b"http://127.0.0.1:1/", b"(" * 500, b"1e9"),
    *(b"application/vnd.apache.parquet", b"0x7", b"application/x-npy", b"application/vnd.apache.arrow.stream"),
    *(b"application/vnd.amazon.eventstream", b"application/jsonlines", b"a\tb", b"\x7f"),
)
_LENGTHS = (
    *(b"-1", b"+5", b"0x10", b"1e3", b"", b" ", b"99999999999999999999999", b"18446744073709551616", b"5, 5"),
    *(b"5\r\nContent-Length: 6", b"\xb2", b"5;a", b"007"),
)
_CODINGS = (
    *(b"chunked, identity", b"identity", b"gzip, chunked", b"xchunked", b" chunked", b"\tchunked"),
    *(b"chunked\r\nTransfer-Encoding: identity", b"CHUNKED", b"", b"chunked;a=b"),
)
_CHUNKS = (
    *(b"zz\r\n", b"-1\r\nx\r\n", b"5\r\nabc\r\n0\r\n\r\n", b"5\r\nabcdefgh\r\n0\r\n\r\n", b"ffffffffffffffffff\r\nx"),
    *(b"0x5\r\nabcde\r\n0\r\n\r\n", b"5\nabcde\n0\n\n", b"\r\n", b"5;" + b"a" * 70_000 + b"\r\nabcde\r\n0\r\n\r\n"),
    *(b"5\r\nabcde0\r\n\r\n", b"0\r\nHost: evil\r\nContent-Length: 3\r\n\r\n", b"1\r\na\r\n" * 3000, b"0\r\n" + b"a: b\r\n" * 500),
    *(b"5\r\nabcde\r\r\n0\r\n\r\n", b" 5\r\nabcde\r\n0\r\n\r\n", b"5 \r\nabcde\r\n0\r\n\r\n"),
    b"000000000000000000005\r\nabcde\r\n0\r\n\r\n",
)
_OTHERS = (
    *(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\0" * 500),
    *(b"\r\n" * 5000, b"\n", b"GET /ping\r\n\r\n", b"SSH-2.0-x\r\n", b"GET / HTTP/1.1\rHost: x\r\r"),
    *(b"GET / HTTP/1.1\nHost: 127.0.0.1\n\n", b"\xef\xbb\xbfGET / HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"),
    *(b"GET /ping HTTP/1.1\r\n\r\n", b"GET /ping HTTP/1.1\r\n" + HOST + HOST + b"\r\n"),
    b"GET /ws HTTP/1.1\r\n" + HOST + b"Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
)


@dataclass(frozen=True)
class Shot:
    """One connection's worth of bytes, sent as `pieces` with a pause of `pause` s between them.

    `framed`: so many whole requests, each of which must be answered before the caller goes; 0 where it is no matter of counting: then one
    answer at most comes for what is broken, or the connection is closed. `hang_up`: the caller is gone at once.
    """

    name: str
    pieces: tuple[bytes, ...]
    pause: float = 0.0
    framed: int = 0
    hang_up: bool = False


def post(path: bytes, body: bytes, *headers: bytes, length: bytes | None = None, kind: bytes = b"application/json") -> bytes:
    lines = b"".join(header + b"\r\n" for header in (*headers, b"Content-Type: " + kind))
    return b"POST %b HTTP/1.1\r\n%b%bContent-Length: %b\r\n\r\n%b" % (path, HOST, lines, length or b"%d" % len(body), body)


GOOD_REQUEST = post(b"/invocations", _GOOD)


class Shots:
    """Draws shots; the same seed gives the same ones."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._bodies = Bodies(self._rng)
        self._kinds: tuple[tuple[int, Callable[[], Shot]], ...] = (
            (50, self._body),
            (4, self._chunked),
            (8, self._mutated),
            (6, self._line),
            (8, self._header),
            (3, self._length),
            (3, self._coding),
            (3, self._chunk),
            (1, self._head),
            (4, self._truncated),
            (3, self._pipelined),
            (1, self._slow),
            (3, self._hang_up),
            (3, self._other),
        )

    def any(self) -> Shot:
        (make,) = self._rng.choices([m for _, m in self._kinds], [w for w, _ in self._kinds])
        return make()

    def _body(self) -> Shot:
        body = self._bodies.any()
        return Shot(f"body {body.kind.decode()}", (post(body.path, body.data, *body.headers, kind=body.kind),), framed=1)

    def _chunked(self) -> Shot:
        body, rng = self._bodies.any(), self._rng
        head = b"POST %b HTTP/1.1\r\n%bContent-Type: %b\r\nTransfer-Encoding: chunked\r\n\r\n" % (body.path, HOST, body.kind)
        size = rng.choice((7, 1000, 65536)) if len(body.data) < 5000 else 65536
        parts = [body.data[i : i + size] for i in range(0, len(body.data), size)]
        return Shot("chunked", (head, *(b"%x\r\n%b\r\n" % (len(part), part) for part in parts), b"0\r\n\r\n"), framed=1)

    def _mutated(self) -> Shot:
        return Shot(
            "mutated", (broken(self._rng, GOOD_REQUEST, (*_NAMES, *_VALUES, *_LENGTHS, b"\r\n", b": ", b"\r\n\r\n", b"\n", b"\0")),)
        )

    def _line(self) -> Shot:
        rng = self._rng
        method, path, version = rng.choice(_METHODS), rng.choice(_PATHS), rng.choice(_VERSIONS[:2] if rng.random() < 0.5 else _VERSIONS)
        between = rng.choice((b" ", b" ", b" ", b"  ", b"\t", b""))
        return Shot("request line", (method + between + path + between + version + b"\r\n" + HOST + b"\r\n",))

    def _header(self) -> Shot:
        rng = self._rng
        if rng.random() < 0.7:
            headers = [rng.choice(_NAMES) + b": " + rng.choice(_VALUES) for _ in range(rng.randint(1, 3))]
        else:
            odd = (
                b"X Y: 1",
                b": 1",
                b"X",
                b"X : 1",
                b" X: 1",
                b"X\0: 1",
                b"X: \0",
                b"X: a\r\n b",
                b"X: a\rb",
                b"X: a\nY: b",
                b"\xff: 1",
                b"X: " + b"y" * 60_000,
            )
            headers = [rng.choice(odd), *([b"a: b"] * rng.choice((0, 0, 100, 300)))]
        body = _GOOD if rng.random() < 0.5 else self._bodies.json_text().data
        return Shot("header", (post(rng.choice(PLACES), body, *headers),))

    def _length(self) -> Shot:
        return Shot("length", (post(self._rng.choice(PLACES), _GOOD, length=self._rng.choice(_LENGTHS)),))

    def _coding(self) -> Shot:
        """Two ways to say how long a body is: the bytes of one are a request by the other."""
        inner = b"GET /smuggled HTTP/1.1\r\n" + HOST + b"\r\n"
        body = self._rng.choice((b"0\r\n\r\n" + inner, b"%x\r\n%b\r\n0\r\n\r\n" % (len(inner), inner)))
        coding = b"Transfer-Encoding: " + self._rng.choice((*_CODINGS, b"chunked", b"chunked", b"chunked"))
        length = self._rng.choice((b"%d" % len(body), b"5", b"4", b"0"))
        return Shot("coding", (post(b"/invocations", body, coding, length=length),))

    def _chunk(self) -> Shot:
        head = b"POST /invocations HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        return Shot("chunk", (head + self._rng.choice(_CHUNKS),))

    def _head(self) -> Shot:
        size = self._rng.choice((60_000, 70_000, 200_000, 1_000_000))
        large = (
            b"X: " + b"a" * size,
            b"\r\n".join(b"x%d: 1" % i for i in range(size // 50)),
            b"a" * size + b": 1",
            b"X: a\r\n" + b" b\r\n" * (size // 4),
        )
        if self._rng.random() < 0.2:
            return Shot("head", (b"GET /" + b"a" * size + b" HTTP/1.1\r\n" + HOST + b"\r\n",))
        return Shot("head", (post(b"/invocations", _GOOD, self._rng.choice(large)),))

    def _truncated(self) -> Shot:
        data = self._body().pieces[0]
        return Shot("truncated", (data[: self._rng.randrange(len(data))],))

    def _pipelined(self) -> Shot:
        """Some requests at once: good, bad, and perhaps a broken one, after which nothing is answered."""
        requests = [
            self._rng.choice((GOOD_REQUEST, self._body().pieces[0], b"GET /ping HTTP/1.1\r\n" + HOST + b"\r\n"))
            for _ in range(self._rng.randint(2, 12))
        ]
        if self._rng.random() < 0.4:
            return Shot("pipelined, broken", (b"".join(requests) + self._rng.choice(_OTHERS),))
        return Shot("pipelined", (b"".join(requests),), framed=len(requests))

    def _slow(self) -> Shot:
        data = post(b"/invocations", self._bodies.json_values().data[:300])
        return Shot("slow bytes", tuple(data[i : i + 3] for i in range(0, len(data), 3)), pause=0.004, framed=1)

    def _hang_up(self) -> Shot:
        data = self._body().pieces[0]
        return Shot("hang up", (data if self._rng.random() < 0.5 else data[: self._rng.randrange(len(data))],), hang_up=True)

    def _other(self) -> Shot:
        data = self._rng.choice(_OTHERS)
        return Shot(
            "other protocol", (data if self._rng.random() < 0.7 else self._rng.randbytes(self._rng.choice((1, 10, 1000, 100_000))),)
        )
