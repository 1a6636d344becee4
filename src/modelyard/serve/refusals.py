"""What an endpoint refuses or fails with, each with its HTTP status. All of one error shape (`YardError.to_dict`)."""

from __future__ import annotations

from collections.abc import Iterable

from modelyard.errors import BadInput, Unavailable, YardError


class TooLarge(BadInput):
    """The body has more bytes or rows than the endpoint takes."""

    code, http_status = "too_large", 413


class UnknownContentType(BadInput):
    """The body is of a kind that the endpoint does not read."""

    code, http_status = "unsupported_content_type", 415


class NotAcceptable(BadInput):
    """The caller accepts nothing that the endpoint writes."""

    code, http_status = "not_acceptable", 406


class WrongMethod(BadInput):
    """The path is there, for another method: for `methods`."""

    code, http_status = "method_not_allowed", 405

    def __init__(self, method: str, path: str, methods: Iterable[str]) -> None:
        self.methods = tuple(methods)
        super().__init__(f"{method[:20]} is not taken here", where=path[:200], next=f"Use {' or '.join(self.methods)}.")


class SlowBody(BadInput):
    """The body did not come in time."""

    code, http_status = "body_timed_out", 408


class WrongHost(BadInput):
    """The Host header names another machine: a page in a browser may be after this endpoint."""

    code, http_status = "wrong_host", 403


class QueueFull(Unavailable):
    """More requests wait than the endpoint holds; `retry_after` estimates in how many seconds there is room."""

    code, http_status = "queue_full", 429

    def __init__(self, what: str, *, retry_after: int = 1) -> None:
        super().__init__(what, next=f"Try again in {retry_after} s.")
        self.retry_after = retry_after


class TooManyCallers(Unavailable):
    """More connections are open than the front takes."""

    code, http_status = "too_many_connections", 503


class NoRunner(Unavailable):
    """No runner of the chosen version answers. `sent`: whether the request may have reached one."""

    code, http_status = "no_runner", 503

    def __init__(self, what: str, *, where: str = "", next: str = "Try again in a second.", sent: bool = False) -> None:
        super().__init__(what, where=where, next=next)
        self.sent = sent


class TimedOut(Unavailable):
    """The runner did not answer in time."""

    code, http_status = "timed_out", 504


class NotCaptured(Unavailable):
    """The endpoint answers only what it has on disk, and the disk did not take it."""

    code, http_status = "not_captured", 503


class ModelFailed(YardError):
    """The model raised an exception, or answered with what its signature does not allow. A bad row is no failure of the server."""

    code, http_status = "model_failed", 424
