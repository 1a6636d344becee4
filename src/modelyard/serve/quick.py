"""The short way through the front, for what most callers send: JSON records.

Of a version that has a row plan, such a request is answered where its last byte is parsed, without a task or a queue: typed decoders made
of the signature, the row plan, a prepared head of the answer, one write (`desk`). Of one that runners answer, its rows are put where others
wait, and the answer is written when it comes (`counter`). Whatever is unusual about a request, and every error but one of the model's, goes
the long way (`app`, `plane`), which explains it; so this way knows no error messages. Both ways give the same answers, count and capture
alike.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from modelyard.errors import YardError
from modelyard.serve.counter import Counter, Waiting
from modelyard.serve.desk import Desk
from modelyard.serve.hosts import check_host
from modelyard.serve.protocols.records import AWKWARD
from modelyard.serve.protocols.writing import JSON, negotiate
from modelyard.serve.tracing import Trace

if TYPE_CHECKING:
    from modelyard.serve.live import Live, LiveVariant
    from modelyard.serve.plane import Plane

log = logging.getLogger("modelyard.front")
Pairs = list[tuple[bytes, bytes]]
SESSION, INFERENCE_ID, TRACE = b"x-amzn-sagemaker-session-id", b"x-amzn-sagemaker-inference-id", b"traceparent"
VARYING = frozenset({b"content-length", b"expect", SESSION, INFERENCE_ID, TRACE})
"""Headers that differ from request to request of one caller; what the others say is judged once and remembered."""
_PLAIN = frozenset({b"application/json", b"application/json; charset=utf-8", b"application/json;charset=utf-8"})
_TARGET = b"x-amzn-sagemaker-target-variant"
_ODD = frozenset({b"transfer-encoding", b"content-encoding", b"upgrade"})
_REMEMBERED, _LONGEST = 1024, 4096


class Verdict(NamedTuple):
    """What the steady part of a request says: whether it may go the short way, which version it names, whose key it has; `plain`: whose
    desk answers it, where nothing else of the request has a say in that."""

    fit: bool
    target: LiveVariant | None = None
    caller: str = ""
    plain: Desk | None = None


class Passed(NamedTuple):
    """What was found out about a request that goes the long way all the same: it keeps its version and its trace."""

    variant: LiveVariant | None = None
    trace: Trace | None = None


_clock = time.perf_counter
_UNFIT = Verdict(False)
NOTHING = Passed()


class Quick:
    """The short way into one data plane. Call it from its event loop."""

    def __init__(self, plane: Plane, hosts: frozenset[str]) -> None:
        self._plane, self._router, self._hosts = plane, plane.router, hosts
        self._live: Live | None = None
        self._only: LiveVariant | None = None
        self._verdicts: dict[tuple[bytes, tuple[tuple[bytes, bytes], ...]], Verdict] = {}
        self._desks: dict[LiveVariant, Desk] = {}
        self._paths: frozenset[bytes] = frozenset()
        self._url, self._verdict = b"", _UNFIT
        self._steady: Pairs | None = None
        self._usual: Desk | None = None
        self._caller = ""

    def __call__(self, url: bytes, steady: Pairs, varying: dict[bytes, bytes], body: bytes) -> bytes | Waiting | Passed:
        """A whole answer, head and body, or one that comes later; or what is to be passed on to the long way. Raises nothing.

        `steady` and `varying` are the headers by lower-case name: the latter those in `VARYING`.
        """
        start = _clock()
        live = self._router.live
        if live is not self._live:
            self._take_up(live)
        if steady != self._steady or url != self._url:
            if live is None or not self._desks:
                return NOTHING
            self._remember(live, url, steady)
        usual, variant, trace = self._usual, None, None
        try:
            # varying is the body's length, and nothing else
            if usual is not None and len(varying) == 1 and self._plane.tracer is None and self._plane.access_log is None:
                answered = usual.plain(body, start, url, self._caller)
                if answered is not None:
                    return answered
                if usual.final:
                    return Passed(usual.variant)
            verdict = self._verdict
            if live is None or not verdict.fit:
                return NOTHING
            variant = verdict.target or self._only
            if variant is None:
                session = varying.get(SESSION)
                variant = live.choose(None, None if session is None else session.decode("latin-1"))
            if len(varying) > 1 or self._plane.tracer is not None:  # more than the body's length
                trace = self._trace(varying.get(TRACE))
                if trace is not None and trace.sampled:
                    return Passed(variant, trace)
            desk = self._desks.get(variant)
            if desk is None:
                return Passed(variant, trace)
            answer = desk.answer(url, body, varying.get(INFERENCE_ID), start, trace, verdict.caller)
        except Exception:
            log.exception("a request failed on the short way")
            return Passed(variant, trace)
        return Passed(variant, trace) if answer is None else answer

    def _trace(self, given: bytes | None) -> Trace | None:
        return self._plane.trace(given) if given is not None or self._plane.tracer is not None else None

    def _take_up(self, live: Live | None) -> None:
        self._live, self._steady = live, None
        self._only = live.only if live is not None else None
        self._verdicts.clear()
        self._desks = {}
        if live is None:
            return
        names = (live.table.endpoint, live.table.model)
        self._paths = frozenset({b"/invocations", *(f"/endpoints/{quote(name)}/invocations".encode() for name in names)})
        for variant in live.variants:
            if not any(map(AWKWARD.search, variant.formats.wanted.names)):
                self._desks[variant] = (Counter if variant.plan is None else Desk)(self._plane, variant, live.table.model)

    def _remember(self, live: Live, url: bytes, steady: Pairs) -> None:
        """Judge the steady part of a request, unless that is known; the next one's mostly is the same."""
        key = (url, tuple(steady))
        self._verdict = self._verdicts.get(key) or self._judge(live, *key)
        self._url, self._steady, self._usual, self._caller = url, steady, self._verdict.plain, self._verdict.caller

    def _judge(self, live: Live, url: bytes, steady: tuple[tuple[bytes, bytes], ...]) -> Verdict:
        verdict = self._judged(live, url, steady)
        if sum(len(name) + len(value) for name, value in steady) <= _LONGEST:
            if len(self._verdicts) >= _REMEMBERED:
                self._verdicts.clear()
            self._verdicts[(url, steady)] = verdict
        return verdict

    def _judged(self, live: Live, url: bytes, steady: tuple[tuple[bytes, bytes], ...]) -> Verdict:
        headers = dict(steady)
        if url not in self._paths or headers.keys() & _ODD or headers.get(b"content-type", b"application/json").lower() not in _PLAIN:
            return _UNFIT
        if any(name.startswith(b"x-amzn-sagemaker-") and name != _TARGET for name in headers):
            return _UNFIT
        try:
            check_host(headers.get(b"host"), self._hosts)
            caller = self._plane.admit(headers)
            accept, target = headers.get(b"accept"), headers.get(_TARGET)
            if negotiate(None if accept is None else accept.decode("latin-1")) != JSON:
                return _UNFIT
            named = None if target is None else live.choose(target.decode("latin-1"))
            only = named or self._only
            return Verdict(True, named, caller, None if only is None else self._desks.get(only))
        except YardError:
            return _UNFIT
