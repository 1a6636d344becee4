"""What a yard looks after while it runs: when to try again what failed, endpoints that did not come up, and whom to tell.

Nothing here ends the thread that looks: what goes wrong with one model is told of, once, and the next one is looked at.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from modelyard.config.spec import STAGES, AlertKind, Stage
from modelyard.errors import BadInput, YardError
from modelyard.flows import alerting, capturing, endpoints, labelling, rollouts
from modelyard.workshop import Workshop

log = logging.getLogger("modelyard")
FIRST_PAUSE, LONGEST_PAUSE = 30.0, 600.0
"""Seconds before what failed is tried again: the first time, and at the most."""
TIDY, QUIET = 60.0, 600.0
"""Seconds between two looks after what an endpoint captured, and where nothing was added to it since the last one."""
RESEND = 30.0
"""Seconds between two looks at alerts that channels did not take."""
DEATHS, WITHIN = 3, 300.0
"""So many deaths of production's processes within so many seconds are a crash loop, and somebody is told."""
WORDS = 1000
"""Troubles remembered at the most, so that one whose words change each time does not fill the memory."""


class Pauses:
    """When what failed may be tried again: later each time, up to `LONGEST_PAUSE`."""

    def __init__(self) -> None:
        self._set: dict[str, tuple[float, float]] = {}  # what -> (not before, the pause)

    def failed(self, what: str) -> None:
        _, last = self._set.get(what, (0.0, FIRST_PAUSE / 2))
        pause = min(last * 2, LONGEST_PAUSE)
        self._set[what] = (time.monotonic() + pause, pause)

    def over(self, what: str) -> bool:
        return time.monotonic() >= self._set.get(what, (0.0, 0.0))[0]

    def forget(self, what: str) -> None:
        self._set.pop(what, None)


class CrashLoops:
    """Notices a process that dies again and again; says so once, until it has been quiet for `WITHIN` seconds."""

    def __init__(self) -> None:
        self._deaths: dict[str, deque[float]] = {}
        self._said: set[str] = set()

    def died(self, what: str) -> bool:
        """Note a death; whether it is the one that makes a crash loop."""
        now, deaths = time.monotonic(), self._deaths.setdefault(what, deque())
        while deaths and deaths[0] < now - WITHIN:
            deaths.popleft()
        if not deaths:
            self._said.discard(what)
        deaths.append(now)
        if len(deaths) < DEATHS or what in self._said:
            return False
        self._said.add(what)
        return True


class Upkeep:
    """Thread-safe. `closing` is the yard's: once it is set, nothing is tried again and nobody is told."""

    def __init__(self, shop: Workshop, closing: threading.Event) -> None:
        self.pauses = Pauses()
        self._shop, self._closing = shop, closing
        self._loops = CrashLoops()
        self._down: set[str] = set()
        self._told: set[tuple[str, str, str]] = set()
        self._lock = threading.Lock()
        self._tidied: dict[str, float] = {}
        self._trimmed: dict[str, tuple[int, float]] = {}  # the folder's mtime (ns) after it was trimmed, and when that was
        self._unkept: dict[str, int] = {}
        self._resent = time.monotonic()
        # Loading a model takes minutes and a mail server may not answer: neither holds up the thread that looks.
        self._pool = ThreadPoolExecutor(max_workers=16, thread_name_prefix="upkeep")

    def close(self) -> None:
        """End what is under way. `closing` is set, and the target closed, before."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    # -- endpoints -------------------------------------------------------------------------------------------------------------

    def restore(self) -> None:
        """Bring up every endpoint that the state says is live."""
        for model, stage in endpoints.live(self._shop):
            self._bring_up(model, stage)

    def retry(self, model: str) -> None:
        """Try again, after a pause, to bring up the endpoints of a model that did not come up, and to send what channels did not take."""
        if time.monotonic() - self._resent >= RESEND:
            self._resent = time.monotonic()
            self._later(self._resend)
        for stage in STAGES if self._down else ():
            name = endpoints.name(model, stage)
            if name in self._down and self.pauses.over(name):
                self._down.discard(name)
                self._later(self._bring_up_again, model, stage)

    def _resend(self) -> None:
        try:
            alerting.resend(self._shop)
        except Exception:
            log.exception("alerts that were not delivered could not be sent again")

    def _bring_up_again(self, model: str, stage: Stage) -> None:
        there = self._shop.target.endpoint(endpoints.name(model, stage)) is not None
        if not there and (model, stage) in endpoints.live(self._shop):  # else somebody has deployed there, or taken it away
            self._bring_up(model, stage)

    def _bring_up(self, model: str, stage: Stage) -> None:
        name, title = endpoints.name(model, stage), f"{model}: {stage} cannot come up"
        try:
            endpoints.restore(self._shop, model, stage, rollouts.standing(self._shop, model, stage))
        except Exception as exc:
            self.pauses.failed(name)
            self._down.add(name)
            self.trouble(model, "rollback", title, exc)
        else:
            self.pauses.forget(name)
            self.forgive(model, title)

    def died(self, model: str, stage: str, version: str, reason: str) -> None:
        """A runner, or the front, of an endpoint died: one of production that does so again and again is told of."""
        if stage != "production" or not self._loops.died(f"{model}:{version}"):
            return
        who = f"the runner of {model}:{version}" if version else "the front"
        title = f"{model}: {who} in production dies again and again"
        body = f"{DEATHS} times within {WITHIN / 60:g} minutes; the last time: {reason}. Next: modelyard rollback {model}"
        log.error("%s: %s", title, body)
        self._later(self._alert, model, "rollback", title, body)

    # -- captures --------------------------------------------------------------------------------------------------------------

    def tidy(self, model: str) -> None:
        """Once in a while, see to what a model's endpoints captured, and to what they could not."""
        stages = self._shop.model(model).stages
        for stage in STAGES:
            if stage not in stages or not stages[stage].history:
                continue
            name = endpoints.name(model, stage)
            if time.monotonic() - self._tidied.get(name, -TIDY) >= TIDY:
                self._tidied[name] = time.monotonic() + LONGEST_PAUSE  # until this one is done
                self._later(self._tidy, model, stage)

    def _tidy(self, model: str, stage: Stage) -> None:
        name, title = endpoints.name(model, stage), f"{model}: what {stage} captured cannot be looked after"
        try:
            over = self._trim(model, stage)
            self.forgive(model, title)
            if over:
                said = BadInput("monitors and roll-outs need more than `max_size` of it", next="allow more under deploy.capture")
                self.trouble(model, "capture", f"{model}: the capture of {stage} is too large", said)
            self._tell_of_unkept(model, stage)
        except Exception as exc:
            self.trouble(model, "capture", title, exc)
        finally:
            self._tidied[name] = time.monotonic()

    def _trim(self, model: str, stage: Stage) -> bool:
        """Whether the capture is larger than it may be and nothing can go. One that nobody has added to is left alone for `QUIET`."""
        name, folder = endpoints.name(model, stage), capturing.folder(self._shop, model, stage)
        seen, at = self._trimmed.get(name, (-1, 0.0))
        if seen == _changed(folder) and time.monotonic() - at < QUIET:
            return False
        over = capturing.tidy(self._shop, model, stage).over
        self._trimmed[name] = _changed(folder), time.monotonic()
        return bool(over)

    def _tell_of_unkept(self, model: str, stage: Stage) -> None:
        """Alert where rows were lost since the last look; a second time only after a look without a loss."""
        name, title = endpoints.name(model, stage), f"{model}: {stage} cannot keep what it answers"
        state = self._shop.target.endpoint(name)
        lost = state.unkept if state else 0
        before, self._unkept[name] = self._unkept.get(name, 0), lost
        if state is None or lost <= before:
            self.forgive(model, title)
        else:
            said = YardError(f"rows are not captured: {state.unkept_because}", where=str(state.capture), next="make room on the disk")
            self.trouble(model, "capture", title, said)

    # -- labels ----------------------------------------------------------------------------------------------------------------

    def fetch_labels(self, model: str) -> None:
        """Read the source of a model's labels, beside all else: a database that does not answer holds up no monitor."""
        self._later(self._fetch_labels, model)

    def _fetch_labels(self, model: str) -> None:
        title = f"{model}: its labels cannot be fetched"
        try:
            fetched = labelling.tick(self._shop, model)
        except Exception as exc:
            self.trouble(model, "pipeline_failed", title, exc)
        else:
            if fetched is not None:  # none is while another fetch is under way, of which nothing is known yet
                self.forgive(model, title)

    # -- telling ---------------------------------------------------------------------------------------------------------------

    def trouble(self, model: str, kind: AlertKind, title: str, exc: Exception) -> None:
        """Log and alert; of what comes again in the same words nothing is said twice."""
        key = (model, title, str(exc))
        with self._lock:
            if key in self._told or self._closing.is_set():
                return
            if len(self._told) >= WORDS:
                self._told.clear()
            self._told.add(key)
        log.error("%s: %s", title, exc, exc_info=exc)
        self._later(self._alert, model, kind, title, str(exc) or type(exc).__name__)

    def forgive(self, model: str, title: str) -> None:
        """It is well again: the next time is news."""
        with self._lock:
            self._told = {key for key in self._told if key[:2] != (model, title)}

    def _alert(self, model: str, kind: AlertKind, title: str, body: str) -> None:
        try:
            if self._shop.model(model).config:
                self._shop.record(alerting.alert(self._shop, model, kind, title, body))
        except Exception:
            log.exception("nobody could be told: %s", title)

    def _later(self, work: Callable[..., Any], *args: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the yard has just closed
            self._pool.submit(work, *args)


def _changed(folder: Path) -> int:
    """When a file came into a folder or went (ns); 0 where there is no folder."""
    try:
        return folder.stat().st_mtime_ns
    except OSError:
        return 0
