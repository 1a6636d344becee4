"""The routing table: which versions an endpoint has, and how much traffic goes to each. A file that its owner replaces
atomically."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec

from modelyard import files
from modelyard.errors import BadInput, NotFound
from modelyard.signature import Signature


class Variant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A version with a share of the traffic. `weight` is relative to the others' sum; `sockets` are its runners' paths.

    `plan` is the path of its row plan (serve/plan), by which the front answers itself; its runners then only explain. `sleeps`: no runner
    need be up, one is started when asked for (`Stats.wanted`), and requests wait for it, unless `trouble` says why none can be started now.
    `extras` names columns that callers may send beside the signature's, kept in the capture (sensitive columns). `example` is a record that
    the model takes, for its OpenAPI. `background` is a Parquet file of rows against which its runner explains answers, `explained` the
    output that is explained (by default the positive class's probability).
    """

    version: str
    weight: float
    sockets: tuple[str, ...]
    signature: dict[str, Any]
    role: Literal["champion", "challenger", "shadow"] = "champion"
    extras: tuple[str, ...] = ()
    plan: str | None = None
    sleeps: bool = False
    trouble: str = ""
    example: dict[str, Any] | None = None
    background: str | None = None
    explained: str | None = None


class Mirror(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A share (0..1) of the requests that `of` answers are asked of `to` as well, afterwards; its answer is compared and never returned.

    The comparisons are counted (`VariantStats.compared`, `.disagreed`) for `judged`, one of the two. A shadow is mirrored the champion's
    requests and judged; while traffic moves, the new version is judged by mirroring its requests to the champion. `scale` is a typical size
    of the target, by which numbers are compared (see serve.comparing).
    """

    of: str
    to: str
    judged: str
    share: float = 1.0
    scale: float = 0.0


class Redact(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A column that the capture does not keep as it came: left out, or as a keyed hash (the same for the same value)."""

    column: str
    how: Literal["drop", "hash"] = "drop"


class Capture(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where requests and answers are kept; `sample` is the share of requests kept.

    buffered: handed to the kernel before the answer, so that the death of the process loses nothing. required: on disk before the answer,
    else 503. `key` is the file with the key of hashed columns.
    """

    dir: str
    sample: float = 1.0
    mode: Literal["buffered", "required", "off"] = "buffered"
    redact: tuple[Redact, ...] = ()
    key: str | None = None


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`timeout_s`: longest answer; `max_body`: bytes; `max_rows`: rows a body; `max_event_age_days`: oldest event time taken.

    Of each runner: `max_batch` rows go into one call, which waits for more for `max_batch_wait_s` at most; `max_waiting` requests and
    `max_waiting_rows` rows wait at most. `wake_s`: how long a request waits for a runner that sleeps.
    """

    timeout_s: float = 5.0
    max_body: int = 6_291_456
    max_rows: int = 100_000
    max_event_age_days: float = 3653.0
    max_batch: int = 1024
    max_batch_wait_s: float = 0.002
    max_waiting: int = 1024
    max_waiting_rows: int = 100_000
    wake_s: float = 60.0


class Access(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who may call. `keys`: SHA-256 (hex) of the API keys that are let in, by their names; None lets everybody in."""

    keys: dict[str, str] | None = None


class Async(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Asynchronous invocations: addresses that inputs may lie under, where answers go, and the folder in which requests wait."""

    inputs: tuple[str, ...]
    output: str
    queue: str


class Traces(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """OpenTelemetry: the collector's OTLP/HTTP address, and the share of requests traced where the caller does not say."""

    endpoint: str
    sample: float = 0.01


class RoutingTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One state of an endpoint. `generation` rises with each change; the front writes it to its stats once it is in force.

    `sticky`: a caller's session (header X-Amzn-SageMaker-Session-Id) stays with one version for as long as the weights stay.
    """

    endpoint: str
    model: str
    stage: str
    variants: tuple[Variant, ...]
    capture: Capture
    limits: Limits = Limits()
    access: Access = Access()
    mirrors: tuple[Mirror, ...] = ()
    sticky: bool = False
    asynchronous: Async | None = None
    traces: Traces | None = None
    access_log: str | None = None
    generation: int = 1
    format: Literal[1] = 1


def _checked(table: RoutingTable, where: str) -> RoutingTable:
    versions = [v.version for v in table.variants]
    if len(set(versions)) != len(versions):
        raise BadInput(f"a version stands in the routing table twice: {versions}", where=where)
    for variant in table.variants:
        if not 0 <= variant.weight <= 100:
            raise BadInput(f"the weight of version {variant.version} is {variant.weight:g}, not 0 to 100", where=where)
        try:
            Signature.from_dict(variant.signature)
        except (KeyError, TypeError, AttributeError) as exc:
            raise BadInput(f"the signature of version {variant.version} does not hold: {exc}", where=where) from exc
    if table.variants and not sum(v.weight for v in table.variants):
        raise BadInput("no version has any weight", where=where)
    return table


def write(path: Path, table: RoutingTable) -> None:
    """Replace the table at `path`. Raises BadInput for a table that does not hold, OSError."""
    files.replace(path, msgspec.json.encode(_checked(table, str(path))), durable=True)


def read(path: Path) -> RoutingTable:
    """The table at `path`. Raises NotFound, BadInput."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise NotFound("there is no routing table", where=str(path)) from None
    try:
        return _checked(msgspec.json.decode(data, type=RoutingTable), str(path))
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise BadInput(f"the routing table does not hold: {exc}", where=str(path)) from exc
