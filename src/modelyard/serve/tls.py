"""The front's certificate: loaded at start, and again whenever its files change."""

from __future__ import annotations

import ipaddress
import logging
import os
import ssl
from pathlib import Path

from modelyard.errors import BadInput

log = logging.getLogger("modelyard.front")


class Certificate:
    """A certificate with its chain, and its private key, in PEM files. New connections have the newest that holds: `context`, or for who
    needs them `pem`, the contents of the two files."""

    pem: tuple[bytes, bytes]

    def __init__(self, certificate: Path, key: Path) -> None:
        """Raises BadInput where they do not hold."""
        self.files = (certificate, key)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._seen = self._state()
        self._load()

    def _load(self) -> None:
        certificate, key = self.files
        try:
            read = certificate.read_bytes(), key.read_bytes()
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")  # a bad pair must not replace a good one
            self.context.load_cert_chain(certificate, key, password="")
        except (OSError, ssl.SSLError, ValueError) as exc:
            raise BadInput(f"the certificate and key do not hold: {exc}", where=f"{certificate}, {key}") from None
        self.pem = read

    def _state(self) -> tuple[tuple[int, int], ...]:
        found = []
        for file in self.files:
            try:
                state = os.stat(file)  # noqa: PTH116  (every second)
                found.append((state.st_mtime_ns, state.st_ino))
            except OSError:
                found.append((0, 0))
        return tuple(found)

    def look(self) -> None:
        """Take up renewed files. Those that do not hold (one of the two may be new already) are tried again when they change again."""
        state = self._state()
        if state == self._seen:
            return
        self._seen = state
        try:
            self._load()
        except BadInput as exc:
            log.error("the old certificate stays: %s", exc)
        else:
            log.info("a renewed certificate is in use")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
