"""Modelyard's own dialect, which is also that of SageMaker's containers and of MLflow's scoring server: `POST /invocations`.

Rows come in any content type that `reading` knows, answers go in any that `writing` knows (header Accept), errors have the one error
shape. A caller asks for explanations by `?explain=true` or the header X-Amzn-SageMaker-Enable-Explanations, and for the bare predictions
by `?predictions=values` or `params` in the body.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

import msgspec

from modelyard.errors import BadInput, YardError
from modelyard.serve.plane import Answer, Request
from modelyard.serve.protocols.reading import plain_encoding
from modelyard.serve.protocols.writing import JSON, negotiate
from modelyard.serve.refusals import NotAcceptable
from modelyard.serve.rows import Rows

if TYPE_CHECKING:
    from modelyard.serve.client import Outputs
    from modelyard.serve.live import Live, LiveVariant

ENABLE_EXPLANATIONS = b"x-amzn-sagemaker-enable-explanations"
CUSTOM_ATTRIBUTES = b"x-amzn-sagemaker-custom-attributes"
_YES, _NO = ("true", "1"), ("false", "0")
_ASKABLE = ("explain", "predictions")
_MOST_ASKED = 1000


class Plain:
    """Implements `plane.Dialect`."""

    name = "plain"

    def read(self, variant: LiveVariant, request: Request, received_at: int) -> Rows:
        headers = request.headers
        kind = negotiate(request.header(b"accept"))
        if b"content-encoding" in headers:
            plain_encoding(headers)
        rows = variant.formats.parse(
            request.body,
            request.header(b"content-type"),
            received_at=received_at,
            inference_id=request.header(b"x-amzn-sagemaker-inference-id"),
            ours=request.id,
        )
        if request.query:
            _ask(rows, request.query)
        if ENABLE_EXPLANATIONS in headers:
            rows.explain = _truth(request.header(ENABLE_EXPLANATIONS) or "", "header X-Amzn-SageMaker-Enable-Explanations")
        if (rows.explain or rows.values) and kind != JSON:
            what = "explanations" if rows.explain else "bare predictions"
            raise NotAcceptable(f"{what} come as {JSON} only", where="header Accept", next=f"Send `Accept: {JSON}`.")
        return rows

    def write(self, live: Live, variant: LiveVariant, request: Request, rows: Rows, outputs: Outputs) -> Answer:
        kind = negotiate(request.header(b"accept"))
        body = variant.formats.writer.write(kind, rows, outputs, live.table.model, variant.version)
        answer = Answer(200, body, kind.encode())
        attributes = request.headers.get(CUSTOM_ATTRIBUTES)
        if attributes is not None:
            answer.headers.append((CUSTOM_ATTRIBUTES, attributes))
        return answer

    def refuse(self, error: YardError) -> Answer:
        return Answer(error.http_status, msgspec.json.encode(error.to_dict()))


def placed(error: YardError) -> str:
    """What is wrong, and where."""
    return f"{error.where}: {error.what}" if error.where else error.what


def sentence(error: YardError) -> str:
    """An error in a line, for protocols whose errors are one text."""
    return f"{placed(error)}. {error.next}".rstrip(". ") + "."


def _ask(rows: Rows, query: bytes) -> None:
    """Take up what the query asks for. Raises BadInput."""
    hint = "Ask for `explain` or `predictions`."
    try:
        asked = parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=_MOST_ASKED)
    except ValueError:
        raise BadInput(f"the query has more than {_MOST_ASKED} parameters", where="query", next=hint) from None
    for name, value in asked:
        if name not in _ASKABLE:
            raise BadInput(f"there is no query parameter `{name[:80]}`", where="query", next=hint)
        if name == "explain":
            rows.explain = _truth(value, "query, `explain`")
        elif value not in ("records", "values"):
            raise BadInput(f"`predictions` is {value[:80]!r}", where="query", next="Ask for `records` or `values`.")
        else:
            rows.values = value == "values"


def _truth(value: str, where: str) -> bool:
    """`true` or `false`; SageMaker writes them as JMESPath literals, in backquotes. Raises BadInput."""
    word = value.strip().strip("`").lower()
    if word not in (*_YES, *_NO):
        raise BadInput(f"explanations are asked for by `true` or `false`, not by {value[:80]!r}", where=where)
    return word in _YES
