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

    `extras` names columns that callers may send beside the signature's, kept in the capture (sensitive columns).
    """

    version: str
    weight: float
    sockets: tuple[str, ...]
    signature: dict[str, Any]
    role: Literal["champion", "challenger"] = "champion"
    extras: tuple[str, ...] = ()


class Capture(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where requests and answers are kept; `sample` is the share of requests kept."""

    dir: str
    sample: float = 1.0
    mode: Literal["buffered", "off"] = "buffered"


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`timeout_s`: longest answer; `max_body`: bytes; `max_rows`: rows a body; `max_event_age_days`: oldest event time taken."""

    timeout_s: float = 5.0
    max_body: int = 6_291_456
    max_rows: int = 100_000
    max_event_age_days: float = 3653.0


class RoutingTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One state of an endpoint. `generation` rises with each change; the front writes it to its stats once it is in force."""

    endpoint: str
    model: str
    stage: str
    variants: tuple[Variant, ...]
    capture: Capture
    limits: Limits = Limits()
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
