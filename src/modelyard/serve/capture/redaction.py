"""Redaction: columns with personal data never reach a file of the capture as they came."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from modelyard.errors import BadInput
from modelyard.serve.routes import Redact

KEY_BYTES = 32
_encode = msgspec.json.Encoder().encode


def hashed(key: bytes, value: Any) -> str | None:
    """What stands in place of a value: HMAC-SHA256, in hex, of the text, or of the JSON of what is no text. A missing one stays missing."""
    if value is None:
        return None
    return hmac.digest(key, value.encode() if type(value) is str else _encode(value), "sha256").hex()


class Redaction:
    """What is left out and what is hashed, by name. Features and columns that come along are treated alike."""

    def __init__(self, rules: Iterable[Redact] = (), key: Path | None = None) -> None:
        """`key` is the file of the key, needed where anything is hashed. Raises BadInput where it cannot be had."""
        self.how = {rule.column: rule.how for rule in rules}
        self._key = _read(key) if "hash" in self.how.values() else b""

    def kept(self, names: Iterable[str]) -> list[str]:
        """Those of the names that are not left out."""
        return [name for name in names if self.how.get(name) != "drop"]

    def is_hashed(self, name: str) -> bool:
        return self.how.get(name) == "hash"

    def of_row(self, names: Sequence[str]) -> Callable[[Sequence[Any]], Sequence[Any]] | None:
        """What makes of the values of a row, in the order of `names`, those that are kept; None where nothing changes."""
        if not any(name in self.how for name in names):
            return None
        places = [(i, self.is_hashed(name)) for i, name in enumerate(names) if self.how.get(name) != "drop"]
        key = self._key
        return lambda values: [hashed(key, values[i]) if secret else values[i] for i, secret in places]

    def of_columns(self, columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
        """The columns that are kept."""
        if not self.how:
            return columns
        key = self._key
        return {
            name: [hashed(key, value) for value in columns[name]] if self.is_hashed(name) else columns[name] for name in self.kept(columns)
        }


def _read(file: Path | None) -> bytes:
    try:
        key = file.read_bytes() if file else b""
    except OSError as exc:
        raise BadInput(f"the key of hashed columns cannot be read: {exc.strerror}", where=str(file)) from exc
    if len(key) < KEY_BYTES:
        raise BadInput(f"the key of hashed columns is shorter than {KEY_BYTES} bytes", where=str(file or "capture"))
    return key
