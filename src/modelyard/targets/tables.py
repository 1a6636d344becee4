"""The routing table of a local endpoint: what it should be and which runners it has, as its front reads it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from modelyard.errors import YardError
from modelyard.serve import routes
from modelyard.targets.base import EndpointSpec, Variant


def sleeps(variant: Variant) -> bool:
    """Whether no runner of it need be up: its row plan answers, or requests wait for a runner."""
    return variant.plan is not None or variant.workers == 0


def let_in(path: Path, access: routes.Access) -> None:
    """Have whoever follows the table at `path`, if there is one, let these callers in, and no others. Raises OSError."""
    with contextlib.suppress(YardError):
        now = routes.read(path)
        if now.access.keys is not None:
            routes.write(path, msgspec.structs.replace(now, access=access, generation=now.generation + 1))


def generation(path: Path) -> int:
    """That of the table which an owner before us left at `path`; 0 where there is none that holds."""
    try:
        return routes.read(path).generation
    except (YardError, OSError):
        return 0


def table(
    spec: EndpointSpec, folder: Path, generation: int, sockets: Mapping[str, Sequence[Path]], troubles: Mapping[str, str]
) -> routes.RoutingTable:
    """The table by which the front of `spec` answers; `folder` holds the capture and whatever else the endpoint keeps.

    `sockets` are those of each version's runners, `troubles` say why a version that sleeps cannot be woken now.
    """
    waiting = spec.asynchronous
    return routes.RoutingTable(
        endpoint=spec.name,
        model=spec.model,
        stage=spec.stage,
        generation=generation,
        variants=tuple(
            routes.Variant(
                version=v.version,
                weight=v.weight,
                sockets=tuple(map(str, sockets[v.version])),
                signature=json.loads(v.model.signature.read_text(encoding="utf-8")),
                role="shadow" if v.shadow else "champion" if i == len(spec.variants) - 1 else "challenger",
                extras=v.extras,
                plan=None if v.plan is None else str(v.plan),
                sleeps=sleeps(v),
                trouble=troubles.get(v.version, ""),
                example=None if v.example is None else dict(v.example),
                background=None if v.background is None else str(v.background),
                explained=v.explained,
            )
            for i, v in enumerate(spec.variants)
        ),
        capture=msgspec.structs.replace(spec.capture, dir=str(folder / "capture")),
        limits=spec.limits,
        access=spec.access,
        mirrors=spec.mirrors,
        sticky=spec.sticky,
        asynchronous=None if waiting is None else msgspec.structs.replace(waiting, queue=str(folder / "async")),
        traces=spec.traces,
        access_log=str(folder / "access.log") if spec.access_log else None,
    )
