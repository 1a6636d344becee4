"""API keys: who may call an endpoint. Only a key's SHA-256 is kept; a key itself is shown once.

A key has 160 random bits, so that a plain hash is enough: there is nothing to guess. Comparing hashes takes the same time whatever
the key is.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping

from modelyard.errors import YardError
from modelyard.serve.routes import Access

PREFIX = "my_"
_SIGNED = re.compile(rb"AWS4-HMAC-SHA256 +Credential=([^/, ]{1,200})/")


class NoKey(YardError):
    """The endpoint wants an API key, and the caller has none, or one that is not let in."""

    code, http_status = "unauthorized", 401


def new_key() -> str:
    """A new API key: letters and digits, safe in a header."""
    return PREFIX + base64.b32encode(secrets.token_bytes(20)).decode().lower()


def digest(key: str) -> str:
    """What is kept of a key."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def admit(access: Access, headers: Mapping[bytes, bytes], *, must: bool = False) -> str:
    """The name of the key that a request came with; empty where the endpoint asks for none, unless it `must`. Raises NoKey.

    It may stand in `Authorization: Bearer KEY` or `x-api-key: KEY`; SageMaker's clients, which sign what they send, give it as their
    access key id. (Their signature is not looked at: over TLS the key is as good as any bearer's.)
    """
    if access.keys is None:
        if must:
            raise NoKey("this endpoint lets nobody in without keys", next="Set `keys: true` under the stage in `environments`.")
        return ""
    key = _given(headers)
    if key is None:
        raise NoKey("this endpoint wants an API key", next="Send it as `Authorization: Bearer KEY` or `x-api-key: KEY`.")
    name = named(access.keys, key)
    if name is None:
        raise NoKey("this API key is not let in", next="Ask the endpoint's owner for one: `modelyard keys create`.")
    return name


def named(keys: Mapping[str, str], key: str) -> str | None:
    """The name of a key among hashes by name. All are compared, each in constant time."""
    mine, found = digest(key), None
    for name, kept in keys.items():
        if hmac.compare_digest(mine, kept):
            found = name
    return found


def _given(headers: Mapping[bytes, bytes]) -> str | None:
    if (value := headers.get(b"x-api-key")) is not None:
        return value.decode("latin-1").strip()
    value = headers.get(b"authorization", b"")
    if value[:7].lower() == b"bearer ":
        return value[7:].decode("latin-1").strip()
    signed = _SIGNED.match(value)
    return None if signed is None else signed[1].decode("latin-1")
