"""The runs that go on in this process: each in its turn, to its end; and what there is to tell of a run while it goes and after.

A run ends done, failed, refused or abandoned. One whose end cannot be written is lost: it stays unfinished, and goes on after a pause.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

from modelyard.config.spec import AlertKind
from modelyard.durable import Run, RunRecord, Stopped
from modelyard.errors import GateRefused, HomeLocked, NoRoom, NotAllowed, NotFound, YardError, no_room
from modelyard.events import AlertSent
from modelyard.feed import Feed
from modelyard.flows import alerting
from modelyard.upkeep import Upkeep
from modelyard.workshop import Workshop

log = logging.getLogger("modelyard")
RUNS_AT_ONCE = 512
"""Runs that hold a thread at once, of each kind of turn. A run that waits for a word holds one for days, and threads are cheap; the
next one stays queued. Monitors and roll-backs have pools of their own, so that they never queue behind what waits."""
LOOK = 0.05
"""Seconds between two looks at a run's feed."""
CHANGE = "change"
OWN_TURN = ("monitor", "rollback", "batch")
"""Flows that do not wait for a build or a release of the same model: a way back must not wait for an approval."""
ENDED: dict[type[YardError], str] = {GateRefused: "refused", NotAllowed: "abandoned"}


def _turn(record: RunRecord) -> str:
    return record.flow if record.flow in OWN_TURN else CHANGE


class Going:
    """Thread-safe. `flows`: what each flow does, by its name. `closing` is the yard's: once it is set, nobody waits for news.

    `deciding` is held by whoever decides what becomes of a model's unfinished runs.
    """

    def __init__(self, shop: Workshop, flows: Mapping[str, Callable[[Run], str]], upkeep: Upkeep, closing: threading.Event) -> None:
        self.deciding = threading.Lock()
        self._shop, self._flows, self._upkeep, self._closing = shop, flows, upkeep, closing
        self._pools = {kind: ThreadPoolExecutor(max_workers=RUNS_AT_ONCE, thread_name_prefix=kind) for kind in (CHANGE, *OWN_TURN)}
        self._futures: dict[str, Future[None]] = {}
        self._lost: dict[str, YardError] = {}  # runs whose end could not be written, and why
        self._launching = threading.Lock()

    def close(self) -> None:
        """Wait for every run to stop. `closing` is set, and the runs told to stop, before."""
        for pool in self._pools.values():
            pool.shutdown(wait=True, cancel_futures=True)

    # -- to their end --------------------------------------------------------------------------------------------------------

    def __contains__(self, run: str) -> bool:
        return run in self._futures and not self._futures[run].done()

    def launch(self, record: RunRecord) -> None:
        """Have a run go on that has not ended, unless it does already."""
        with self._launching:  # a verb and the watch may ask for the same run at once
            if record.status == "running" and record.id not in self:
                self._lost.pop(record.id, None)
                self._futures[record.id] = self._pools[_turn(record)].submit(self._execute, record)

    def go_on(self, model: str) -> None:
        """Go on with the runs of a model that were cut short while this process lived, each after a pause that grows."""
        if not self.deciding.acquire(blocking=False):
            return  # somebody is just deciding about them
        try:
            for run in self._shop.state[model].runs.values():
                if run.status == "running" and run.run not in self and self._upkeep.pauses.over(run.run):
                    record = self._shop.runs.get(run.run)
                    if record is not None:
                        self.launch(record)
        finally:
            self.deciding.release()

    def _execute(self, record: RunRecord) -> None:
        """Run a flow to its end and say how it ended, whatever happens in it.

        A full disk, or a state database that another program holds, ends no run: it goes on when asked again, or after a pause.
        """
        try:
            try:
                with self._shop.busy(f"{record.model} {_turn(record)}"):  # one build, and one look of the monitors, a model at a time
                    said = self._shop.runs.execute(record, self._flows[record.flow])
            except Stopped:
                self._shop.runs.feed(record.id).put("stopped")
            except Exception as exc:
                self._end_badly(record, exc)
            else:
                self._shop.runs.end(record, "done", said)
            self._upkeep.pauses.forget(record.id)
        except Exception as exc:
            self._lose(record, exc)

    def _end_badly(self, record: RunRecord, exc: Exception) -> None:
        if (full := no_room(exc, self._shop.home.path)) is not None:
            raise full from exc
        if isinstance(exc, HomeLocked):
            raise exc
        if isinstance(exc, YardError):
            error, status = exc.to_dict()["error"], ENDED.get(type(exc), "failed")
        else:
            log.error("run %s failed", record.id, exc_info=exc)
            error = {"code": "internal", "what": f"{type(exc).__name__}: {exc}", "where": record.id, "next": ""}
            status = "failed"
        self._shop.runs.feed(record.id).put("error", **error)
        self._fail(record, status, str(exc) if isinstance(exc, YardError) else error["what"])

    def _fail(self, record: RunRecord, status: str, reason: str) -> None:
        refused = status == "refused"
        title = f"{record.model}: {record.flow} {'refused by a gate' if refused else 'failed'}"
        told = self._told(record.model, "gate_failed" if refused else "pipeline_failed", title, reason)
        self._shop.runs.end(record, status, reason, told)

    def _told(self, model: str, kind: AlertKind, title: str, reason: str) -> list[AlertSent]:
        """Alert. What cannot be told for another reason than a full disk must not keep a run from its end."""
        try:
            return alerting.alert(self._shop, model, kind, title, reason) if self._shop.model(model).config else []
        except Exception as exc:
            if no_room(exc, self._shop.home.path) is not None:
                raise
            log.exception("nobody could be told: %s", title)
            return []

    def _lose(self, record: RunRecord, exc: Exception) -> None:
        """The end of a run could not be written: it stays unfinished, and `go_on` takes it up after a pause."""
        home = self._shop.home.path
        known: YardError | None = exc if isinstance(exc, HomeLocked) else no_room(exc, home)
        if known is None and isinstance(exc, OSError):
            known = NoRoom(str(exc), where=str(home))
        if known is None:
            log.error("the end of run %s could not be written", record.id, exc_info=exc)
            known = exc if isinstance(exc, YardError) else YardError(f"{type(exc).__name__}: {exc}", where=record.id)
        self._lost[record.id] = known
        self._upkeep.pauses.failed(record.id)
        log.error("run %s was cut short: %s", record.id, known.what)

    # -- what there is to tell -----------------------------------------------------------------------------------------------

    def wait(self, run: str, timeout: float | None = None) -> dict[str, Any]:
        """How a run ended, after waiting for its end."""
        if run in self._futures:
            self._futures[run].result(timeout)
        return self.run(run)

    def run(self, run: str) -> dict[str, Any]:
        """A run as the state knows it. Raises NotFound."""
        for model in self._shop.state.values():
            if run in model.runs:
                waiting, page = model.awaiting.get(run), self._shop.home.runs / run / "report.html"
                more = {"model": model.model, "awaiting": asdict(waiting) if waiting else None}
                return {**asdict(model.runs[run]), **more, "report": str(page) if page.exists() else None}
        raise NotFound(f"there is no run `{run}`", next="`modelyard status` shows the runs")

    def follow(self, run: str, offset: int) -> Iterator[dict[str, Any]]:
        """What happens in a run, item by item, until it ends or this process closes. Raises NotFound at once."""
        self.run(run)
        return self._follow(run, offset)

    def _follow(self, run: str, offset: int) -> Iterator[dict[str, Any]]:
        over = False
        while not over:
            items, offset, over = self.news(run, offset)
            yield from items
            if not items and not over:
                Feed.wait(LOOK)

    def news(self, run: str, offset: int) -> tuple[list[dict[str, Any]], int, bool]:
        """What is new in a run's feed from byte `offset` on, where it ends, and whether nothing more comes. Does not wait."""
        still = not self._closing.is_set() and run in self  # asked first: what is written before it ends is read
        items, offset = self._shop.runs.feed(run).read(offset)
        if items:
            return items, offset, any(item["kind"] == "ended" for item in items)
        lost = None if still else self._lost.get(run)
        return [{"kind": "error", **lost.to_dict()["error"]}] if lost else [], offset, not still

    def logs(self, what: str) -> dict[str, Any]:
        """The feed of a run, or of a model's newest run. Raises NotFound."""
        model = self._shop.state.get(what)
        run = what if model is None else next(reversed(model.runs), "")
        if not run:
            raise NotFound(f"`{what}` has had no run yet")
        return {"run": self.run(run), "items": self._shop.runs.feed(run).items()}
