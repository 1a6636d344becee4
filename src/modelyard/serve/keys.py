"""The API keys of an endpoint, the owner's side: a file of hashes in its folder, and the owner's own key beside it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec

from modelyard import files
from modelyard.errors import BadInput, NotFound
from modelyard.home import write_private
from modelyard.serve.access import digest, new_key

OWNER = "modelyard"
"""The name of the owner's own key, by which the platform calls its endpoints."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


@dataclass(frozen=True)
class Pass:
    """What lets a caller in: an API key (empty where none is asked for), and the certificate that the endpoint must show."""

    key: str = ""
    certificate: Path | None = None


class Kept(msgspec.Struct, frozen=True):
    """A key as it is kept; nobody can tell the key from it."""

    name: str
    sha256: str
    by: str
    created_at: str


class Keys:
    """Keys in `folder`. Every change replaces the file, readable for its owner alone."""

    def __init__(self, folder: Path) -> None:
        self._file, self._own = folder / "keys.json", folder / "key"

    def all(self) -> list[Kept]:
        """By name. Raises BadInput where the file does not hold: nobody is let in by a guess."""
        try:
            return sorted(msgspec.json.decode(self._file.read_bytes(), type=list[Kept]), key=lambda kept: kept.name)
        except FileNotFoundError:
            return []
        except (msgspec.DecodeError, OSError) as exc:
            raise BadInput(f"the API keys cannot be read: {exc}", where=str(self._file)) from exc

    def create(self, name: str, by: str, now: datetime) -> str:
        """A new key, which is not kept and cannot be shown again. Raises BadInput for a name that is odd or taken."""
        if not _NAME.fullmatch(name) or name == OWNER:
            raise BadInput(f"`{name[:80]}` cannot be a key's name", next="Use letters, digits, dots and dashes.")
        kept = self.all()
        if any(one.name == name for one in kept):
            raise BadInput(f"there is a key `{name}` already", next=f"Revoke it first, or choose another name, such as {name}-2.")
        key = new_key()
        self._write([*kept, Kept(name, digest(key), by, now.isoformat())])
        return key

    def revoke(self, name: str) -> None:
        """Raises NotFound."""
        kept = self.all()
        if not any(one.name == name for one in kept):
            raise NotFound(f"there is no key `{name[:80]}`", next=f"There are: {', '.join(one.name for one in kept) or 'none'}.")
        self._write([one for one in kept if one.name != name])

    def hashes(self) -> dict[str, str]:
        """SHA-256 by name, the owner's own key among them."""
        return {OWNER: digest(self.own()), **{one.name: one.sha256 for one in self.all()}}

    def own(self) -> str:
        """The owner's own key, made when it is first asked for."""
        if not self._own.exists():
            self._own.parent.mkdir(parents=True, exist_ok=True)
            write_private(self._own, new_key())
        return self._own.read_text(encoding="ascii")

    def _write(self, kept: list[Kept]) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        files.replace(self._file, msgspec.json.encode(kept), durable=True)
        self._file.chmod(0o600)
