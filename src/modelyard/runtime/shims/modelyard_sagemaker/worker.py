"""The answer that an output_fn gives where it says the type itself. SageMaker's is Flask's; this has what scripts use of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelyard_sagemaker import content_types


class Response:
    """A body with its type: `Response(encoders.encode(prediction, accept), mimetype=accept)`."""

    default_mimetype = content_types.JSON

    def __init__(
        self,
        response: Any = None,
        accept: Any = None,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        mimetype: str | None = None,
        direct_passthrough: bool = False,
    ) -> None:
        self.response = b"" if response is None else response
        self.status_code, self.headers = int(status), dict(headers or {})
        self.mimetype = mimetype or self.default_mimetype
        self.content_type = self.mimetype

    def get_data(self, as_text: bool = False) -> Any:
        body = self.response if isinstance(self.response, (str, bytes)) else b"".join(_bytes(part) for part in self.response)
        return _bytes(body).decode("utf-8") if as_text else _bytes(body)

    @property
    def data(self) -> Any:
        return self.get_data()


def _bytes(body: Any) -> bytes:
    return body.encode("utf-8") if isinstance(body, str) else bytes(body)
