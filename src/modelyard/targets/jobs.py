"""Jobs of a target that does them itself: each in a thread of its own, which starts its process and waits for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from modelyard.errors import NotFound, Unavailable
from modelyard.targets.base import Job, JobState, OnLine

Work = Callable[[Job, OnLine, threading.Event], JobState]
"""Does a job to its end, or until the event is set; raises what went wrong."""


@dataclass
class _Going:
    cancel: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)
    state: JobState = field(default_factory=lambda: JobState("running"))


class Jobs:
    """`submit`, `job` and `cancel` of `targets.base.Target`."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._jobs: dict[str, _Going] = {}
        self._lock = threading.Lock()
        self._closed = False

    def submit(self, job: Job, on_line: OnLine) -> str:
        id = job.id
        with self._lock:
            if self._closed:
                raise Unavailable("the target is closing", where=id)
            known = self._jobs.get(id)
            if known is None or known.state.status != "running":
                self._jobs[id] = going = _Going()
                threading.Thread(target=self._run, args=(going, job, on_line), name=id, daemon=True).start()
        return id

    def _run(self, going: _Going, job: Job, on_line: OnLine) -> None:
        began = time.monotonic()
        try:
            done = self._work(job, on_line, going.cancel)
        except Exception as exc:
            going.state = JobState("cancelled" if going.cancel.is_set() else "failed", time.monotonic() - began, error=exc)
        else:
            going.state = replace(done, status="done", seconds=time.monotonic() - began)
        finally:
            going.ended.set()

    def job(self, id: str, timeout: float | None = None) -> JobState:
        going = self._find(id)
        going.ended.wait(timeout)
        return going.state

    def cancel(self, id: str) -> None:
        going = self._find(id)
        going.cancel.set()
        going.ended.wait()

    def _find(self, id: str) -> _Going:
        with self._lock:
            if id not in self._jobs:
                raise NotFound(f"there is no job {id}")
            return self._jobs[id]

    def close(self) -> None:
        """Cancel what runs, and wait until it is gone."""
        with self._lock:
            self._closed = True
            running = [going for going in self._jobs.values() if going.state.status == "running"]
        for going in running:
            going.cancel.set()
        for going in running:
            going.ended.wait()
