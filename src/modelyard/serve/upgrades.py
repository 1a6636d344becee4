"""Requests that would rather be spoken to in another protocol (RFC 9110, 7.8), as Java's HttpClient and `curl --http2` send them.

A server may go on in the one at hand. httptools takes no body of such a request, so it is asked a second time without the wish.
"""

from __future__ import annotations

from collections.abc import Iterable

_WISHES = frozenset({b"upgrade", b"http2-settings"})


def without_wish(method: bytes, url: bytes, version: str, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The head of the request that it is without its wish for another protocol; `headers` by lower-case name."""
    lines = [b"%b %b HTTP/%b" % (method, url, version.encode())]
    for name, value in headers:
        if name == b"connection":
            value = b", ".join(word for word in map(bytes.strip, value.split(b",")) if word.lower() not in _WISHES)
            if not value:
                continue
        if name not in _WISHES:
            lines.append(b"%b: %b" % (name, value))
    return b"\r\n".join([*lines, b"", b""])
