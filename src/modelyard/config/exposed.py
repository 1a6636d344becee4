"""Where endpoints listen, read and send to: who could reach them, the files of their certificates, addresses that nothing opens."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from modelyard.config import files
from modelyard.config.load import Loaded
from modelyard.config.spec import STAGES, Config

_NAME = re.compile(r"(?=.{1,253}$)([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*")


def findings(loaded: Loaded) -> Iterator[files.Finding]:
    for stage in STAGES:
        listens, place = getattr(loaded.config.environments, stage), ("environments", stage)
        try:
            address = ipaddress.ip_address(listens.host)
        except ValueError:
            yield (
                (*place, "host"),
                f"`{listens.host}` is no address of a machine",
                "write one such as 127.0.0.1 or 0.0.0.0; names go to `names`",
            )
            continue
        if not address.is_loopback and (listens.tls is None or not listens.keys):
            missing = " and ".join(f"`{key}`" for key, there in (("tls", listens.tls), ("keys", listens.keys)) if not there)
            yield (
                (*place, "host"),
                f"other machines can reach {listens.host}, and there are no {missing}",
                "set `tls` and `keys: true` beside it",
            )
        for i, name in enumerate(listens.names):
            if not _NAME.fullmatch(name):
                yield (*place, "names", i), f"`{name}` is no host name", "write the name alone, without a scheme or a port"
        for key in ("certificate", "key") if listens.tls is not None else ():
            file = loaded.folder / getattr(listens.tls, key)
            if not file.is_file():
                yield (*place, "tls", key), f"there is no file {getattr(listens.tls, key)}", "name a PEM file, relative to the config"
    yield from _realtime(loaded.config)
    yield from _together(loaded)


def _realtime(config: Config) -> Iterator[files.Finding]:
    realtime, place = config.deploy.realtime, ("deploy", "realtime")
    if realtime.grpc_port and realtime.grpc_port == config.environments.production.port:
        yield (*place, "grpc_port"), "the production endpoint answers HTTP on this port", "choose another one, or 0 for any"
    if (asked := realtime.asynchronous) is not None:
        for where, address in (*((("inputs", i), one) for i, one in enumerate(asked.inputs)), (("output",), asked.output)):
            if not _opened(address):
                hint = "write a folder, or an address such as s3://bucket/prefix/"
                yield (*place, "asynchronous", *where), f"nothing here opens `{address}`", hint
    traces = realtime.traces
    if traces is not None and not _is_http(traces.endpoint):
        hint = "write one such as http://127.0.0.1:4318/v1/traces"
        yield (*place, "traces", "endpoint"), f"`{traces.endpoint}` is no HTTP address", hint


def _together(loaded: Loaded) -> Iterator[files.Finding]:
    """A front that both stages share listens in one way; staging's endpoint, which comes first, would have it listen elsewhere."""
    if not (loaded.staging.deploy.realtime.shared and loaded.config.deploy.realtime.shared):
        return
    first, then = loaded.config.environments.staging, loaded.config.environments.production
    hint = "write the same under `staging`, or let production's alone be shared: `shared: {staging: false, production: true}`"
    for key in ("host", "port", "names", "tls"):
        asked = getattr(then, key)
        if asked != getattr(first, key) and (key != "port" or asked):
            said = f"both stages share a front (deploy.realtime.shared), and staging has another `{key}`"
            yield ("environments", "production", key), said, hint


def _opened(address: str) -> bool:
    """Whether fsspec knows addresses of this kind."""
    if "://" not in address:
        return True
    from fsspec.registry import known_implementations

    try:
        return urlsplit(address).scheme in known_implementations
    except ValueError:
        return False


def _is_http(address: str) -> bool:
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)
