"""The certificate of the gRPC port: as that of the other one, a renewed one is taken up while the front runs."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest

from modelyard.serve.tls import Certificate
from tests.serve.certificates import certificate

pytest.importorskip("grpc")
from modelyard.serve.protocols import oip_grpc


def shown(port: int) -> str:
    """The certificate that a new caller is shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with context.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=10)) as link:
        found = link.getpeercert(binary_form=True)
    assert found is not None
    return ssl.DER_cert_to_PEM_cert(found)


def test_a_renewed_certificate_is_taken_up_and_a_bad_one_is_not(tmp_path: Path) -> None:
    pair = certificate(tmp_path)
    kept, plane = Certificate(*pair), Any

    async def seen() -> list[str]:
        server, port = await oip_grpc.start(plane, "127.0.0.1", 0, kept)  # type: ignore[arg-type]
        found = [await asyncio.to_thread(shown, port)]
        certificate(tmp_path)
        kept.look()
        found += [await asyncio.to_thread(shown, port) for _ in range(2)]
        second = pair[0].read_text()
        pair[1].write_bytes(b"nonsense")
        kept.look()
        found.append(await asyncio.to_thread(shown, port))
        await server.stop(0)
        return [*found, second]

    first = pair[0].read_text()
    once, twice, again, after, second = asyncio.run(seen())
    assert once == first
    assert twice == again == after == second != first
