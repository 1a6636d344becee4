from __future__ import annotations

import contextlib
import ssl
from pathlib import Path

import pytest

from modelyard.errors import BadInput
from modelyard.serve.tls import Certificate, is_loopback

from .certificates import certificate


def test_a_renewed_certificate_is_taken_up_and_a_bad_one_is_not(tmp_path: Path) -> None:
    pair = certificate(tmp_path)
    kept = Certificate(*pair)
    kept.look()

    def shown() -> str:
        """The certificate that a new caller is shown, by a handshake in memory."""
        mine, theirs = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        caller, server = context.wrap_bio(mine, theirs), kept.context.wrap_bio(theirs, mine, server_side=True)
        for side in (caller, server) * 4:
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
        found = caller.getpeercert(binary_form=True)
        assert found is not None
        return ssl.DER_cert_to_PEM_cert(found)

    first = pair[0].read_text()
    assert shown() == first
    certificate(tmp_path)
    second = pair[0].read_text()
    kept.look()
    assert shown() == second != first
    key = pair[1].read_bytes()
    for bad in (b"", b"nonsense", first.encode()):
        pair[1].write_bytes(bad)
        kept.look()
        assert shown() == second
    pair[1].write_bytes(key)
    pair[0].write_text(first)  # the certificate is there before its key
    kept.look()
    assert shown() == second


ANYWHERE = "0.0.0.0"  # noqa: S104


@pytest.mark.parametrize("missing", ["tls.pem", "tls-key.pem"])
def test_without_its_files_there_is_none(tmp_path: Path, missing: str) -> None:
    pair = certificate(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(BadInput, match="do not hold"):
        Certificate(*pair)


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        (ANYWHERE, False),
        ("::", False),
        ("10.0.0.1", False),
        ("x", False),
    ],
)
def test_addresses_that_only_this_machine_reaches(host: str, own: bool) -> None:
    assert is_loopback(host) is own
