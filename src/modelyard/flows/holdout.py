"""The hold-out as requests: rows that a live endpoint is asked, and what it must answer."""

from __future__ import annotations

import http.client
import json
import math
import ssl
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from modelyard import tables
from modelyard.errors import Unavailable, YardError
from modelyard.serve.keys import Pass
from modelyard.signature import Signature

if TYPE_CHECKING:
    import polars as pl

Ids = TypeVar("Ids", "pl.Series", "pl.Expr")
OPEN = Pass()
SMOKE = "modelyard:smoke-test:5d0c9b7e41f2"
"""Inference id of requests that are no real traffic: one that no caller would think of."""
_EARLIER = ["smoke-test", *(f"smoke-test-{row}" for row in range(20))]
"""Those of earlier releases, whose rows may still be there: that of one row, and of the rows of a smoke test."""


_GONE = (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError, http.client.IncompleteRead)
"""How it shows that whoever listened, or was to, is gone. A time-out is not among them: there somebody takes long."""


class Unanswered(Unavailable):
    """Nobody is there: the connection was refused, or ended in the middle of an answer."""


def is_traffic(ids: Ids) -> Ids:
    """Which of some inference ids are a caller's, and not of a request of our own."""
    return ~(ids.str.starts_with(SMOKE) | ids.is_in(_EARLIER))


def sample(bundle: Path, signature: Signature, rows: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The first rows of a bundle's hold-out as records, and the outputs that the build recorded for them."""
    import polars as pl

    table = pl.read_parquet(bundle / "holdout.parquet", n_rows=rows)
    features = table.select(pl.col(tables.feature(name)).alias(name) for name in signature.names)
    outputs = table.select(pl.col(tables.output(name)).alias(name) for name in signature.outputs)
    return [{k: _plain(v) for k, v in record.items()} for record in features.to_dicts()], outputs.to_dicts()


def spread(bundle: Path, signature: Signature) -> float:
    """How far a version's numbers lie apart: the standard deviation of its answers to its hold-out; 0 where it answers with classes."""
    import polars as pl

    if signature.answer != "number":
        return 0.0
    found = (
        pl.scan_parquet(bundle / "holdout.parquet", glob=False).select(pl.col(tables.PREDICTION).cast(pl.Float64).std()).collect().item()
    )
    return float(found) if found is not None and math.isfinite(found) else 0.0


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def post(
    address: str,
    body: bytes,
    *,
    content_type: str = "application/json",
    timeout: float = 60,
    headers: dict[str, str] | None = None,
    own: Pass = OPEN,
) -> bytes:
    """The endpoint's answer; `own` lets us in. Raises Unavailable when nothing answers (Unanswered where nobody is there), and the
    endpoint's own error otherwise."""
    connection = _connection(address, own, timeout)
    keys = {"X-Api-Key": own.key} if own.key else {}
    try:
        connection.request("POST", f"{urlsplit(address).path}/invocations", body, {"Content-Type": content_type, **keys, **(headers or {})})
        response = connection.getresponse()
        data = response.read()
    except (OSError, http.client.HTTPException) as exc:
        kind = Unanswered if isinstance(exc, _GONE) else Unavailable
        raise kind(f"the endpoint at {address} does not answer: {exc}", next="bring it up with `modelyard up`") from exc
    finally:
        connection.close()
    if response.status != 200:
        raise refusal(data, response.status)
    return data


def _connection(address: str, own: Pass, timeout: float) -> http.client.HTTPConnection:
    """To an endpoint of ours: over TLS it must show its own certificate, whatever names stand in that."""
    scheme, host = urlsplit(address)[:2]
    if scheme != "https":
        return http.client.HTTPConnection(host, timeout=timeout)
    context = ssl.create_default_context(cafile=None if own.certificate is None else str(own.certificate))
    if own.certificate is not None:
        context.check_hostname = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the certificate itself is trusted, not who signed it
    return http.client.HTTPSConnection(host, timeout=timeout, context=context)


def refusal(data: bytes, status: int) -> YardError:
    """An endpoint's error as ours."""
    try:
        said = json.loads(data)["error"]
        error = YardError(said["what"], where=said.get("where", ""), next=said.get("next", ""))
        error.code = said["code"]
    except (ValueError, KeyError, TypeError):
        error = YardError(f"the endpoint answered {status}")
    error.http_status, error.exit_code = status, 2 if status < 500 else 1
    return error


def ask(
    address: str, records: list[dict[str, Any]], signature: Signature, variant: str | None = None, own: Pass = OPEN
) -> list[dict[str, Any]]:
    """A live endpoint's outputs for records, named as in the predictions table. Marked, so that no monitor counts them.

    `variant` names the version to ask, which may have no traffic yet."""
    headers = {"X-Amzn-SageMaker-Inference-Id": SMOKE}
    headers |= {"X-Amzn-SageMaker-Target-Variant": variant} if variant is not None else {}
    answer = json.loads(post(address, json.dumps(records).encode(), headers=headers, own=own))
    return [_outputs(row, signature) for row in answer["predictions"]]


def _outputs(row: dict[str, Any], signature: Signature) -> dict[str, Any]:
    scores = {f"probability_{name}": value for name, value in row.get("probabilities", {}).items()}
    scores |= {"score": row["score"]} if "score" in row else {}
    return {"prediction": row["prediction"], **{name: scores[name] for name in signature.outputs if name in scores}}
