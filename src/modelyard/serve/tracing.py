"""W3C trace context: which trace a request belongs to, and what it did when, for OpenTelemetry."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field

HEADER = b"traceparent"
_CONTEXT = re.compile(rb"(?!ff|00.{54})[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
"""Version 00 says just this, a later one may say more."""
_KNOWN = 0b11
"""Flags of version 00: that spans are kept, and that the trace's id is random."""


@dataclass(slots=True)
class Trace:
    """One request's part in a trace. Ids are hexadecimal; `parent` is the caller's span, empty where there is none.

    `flags` are handed on, but for those of later versions. `sampled`: spans are kept. `stages` are (name, begin, end) in nanoseconds since
    the epoch.
    """

    trace_id: str
    parent: str
    span_id: str
    flags: str
    sampled: bool
    stages: list[tuple[str, int, int]] = field(default_factory=list)

    @property
    def header(self) -> tuple[bytes, bytes]:
        """What the answer says."""
        return HEADER, f"00-{self.trace_id}-{self.span_id}-{self.flags}".encode()


def span_id() -> str:
    """A new span's id: unlike others, no secret."""
    return f"{random.getrandbits(64) | 1:016x}"


def begin(given: bytes | None, share: float | None) -> Trace:
    """The trace of a request. `given` is its traceparent; one that does not hold is ignored, as the standard wants.

    `share` of the requests are kept where the caller does not say; None: nobody collects spans here.
    """
    match = None if given is None else _CONTEXT.fullmatch(given)
    if match is not None:
        flags = int(match[3], 16) & _KNOWN
        return Trace(match[1].decode(), match[2].decode(), span_id(), f"{flags:02x}", share is not None and bool(flags & 1))
    kept = share is not None and random.random() < share  # noqa: S311
    return Trace(f"{random.getrandbits(128) | 1:032x}", "", span_id(), "01" if kept else "00", kept)
