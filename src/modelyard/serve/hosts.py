"""By which names an endpoint may be called: a page in a browser that had its name point here has another one."""

from __future__ import annotations

import re

from modelyard.serve.refusals import WrongHost

LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
_HOST = re.compile(r"(?P<name>\[[0-9a-f:]+\]|[^:\[\]]+)(:\d{1,5})?", re.I)


def hosts_of(host: str, names: tuple[str, ...] = ()) -> frozenset[str]:
    """The names of an endpoint that listens on the address `host` and is called by `names` as well."""
    return LOOPBACK | {f"[{host}]" if ":" in host else host} | {name.lower() for name in names}


def check_host(raw: bytes | None, hosts: frozenset[str]) -> None:
    """Raises WrongHost where a Host header (None: HTTP/1.0 has none; a browser always sends it) names another."""
    if raw is None:
        return
    match = _HOST.fullmatch(raw.decode("latin-1"))
    if match is None or match["name"].lower() not in hosts:
        raise WrongHost("this endpoint is not called by that name", where="header Host", next="Call it as localhost or 127.0.0.1.")
