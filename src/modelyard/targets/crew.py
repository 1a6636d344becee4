"""The runners of one version of a local endpoint: how many stand, and how one is added in the background or taken away."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from modelyard.errors import YardError
from modelyard.serve import stats
from modelyard.targets import scaling
from modelyard.targets.base import Variant, VariantState
from modelyard.targets.places import BackOff, RunnerPlace
from modelyard.targets.tables import sleeps

Places = dict[str, list[RunnerPlace]]
"""Runners by version."""


def least(variant: Variant) -> int:
    return 0 if sleeps(variant) else variant.workers


def most(variant: Variant) -> int:
    return max(variant.workers, variant.max_workers or 1)


def place(variant: Variant, folder: Path, standing: list[RunnerPlace]) -> RunnerPlace:
    """A place for a runner beside those that stand, with a log of its own."""
    taken = {p.log for p in standing}
    numbers = (folder / f"runner-{variant.version}-{i}.log" for i in range(len(taken) + 1))
    return RunnerPlace(variant, next(log for log in numbers if log not in taken))


class Crew:
    """Not thread-safe: its endpoint's lock guards it. `places` are the runners that the routing table names.

    `trouble` says why a version that sleeps could not be woken; it is not tried again before the pause is over.
    """

    def __init__(self, variant: Variant, folder: Path) -> None:
        self.variant, self._folder = variant, folder
        self.places: list[RunnerPlace] = []
        self.trouble = ""
        self._growing: RunnerPlace | None = None
        self._memory = scaling.Memory()
        self._back_off = BackOff()
        self._quarantined: int | None = None
        self._ended = False

    def look(self, seen: stats.Stats, timeout: float) -> list[str]:
        """See to each runner. Returns what is to be told."""
        told = []
        for one in self.places:
            said = [one.note(seen.runners.get(str(one.socket)), timeout), one.look()]
            if any(said):
                told.append("; ".join(reason for reason in said if reason))
        return told

    def quarantined(self, rows: int) -> str | None:
        """Take in how many rows the fronts refuse since they killed runners. Returns what is to be told: such deaths are no crash loop."""
        before, self._quarantined = self._quarantined, rows
        if before is None or rows <= before:
            return None
        for place in self.places:
            place.back_off.forgive()
        many = "a row" if rows - before == 1 else f"{rows - before} rows"
        return f"{many} killed a runner twice; refused from now on"

    def wanted(self, seen: stats.Stats) -> int:
        """How many runners there should be now."""
        now = time.monotonic()
        states = [state for place in self.places if (state := seen.runners.get(str(place.socket))) is not None]
        look = scaling.Seen(
            runners=len(self.places),
            busy=sum(state.busy_seconds > 0 for state in states),
            waiting=sum(state.waiting_rows for state in states),
            wanted=seen.wanted.get(self.variant.version, 0),
            idle=max((now - place.idle_since for place in self.places), default=0.0),
        )
        number, self._memory = scaling.step(
            self._memory, look, now, scaling.Bounds(least(self.variant), most(self.variant), self.variant.idle)
        )
        return number

    def state(self, weight: int, counted: stats.VariantStats, *, answers: bool) -> VariantState:
        """How the version is; `answers`: whether a runner of it does."""
        return VariantState(
            weight=weight,
            ready=self.variant.plan is not None or (sleeps(self.variant) and not self.trouble) or answers,
            requests=counted.answered + counted.errors + counted.rejected,
            errors=counted.errors + counted.rejected,
            refused=counted.client_errors,
            in_flight=counted.in_flight,
            restarts=sum(one.restarts for one in self.places),
            latency=tuple(counted.histogram),
            compared=counted.compared,
            disagreed=counted.disagreed,
            runners=sum(one.alive for one in self.places),
        )

    def rest(self) -> RunnerPlace:
        """Give up the runner that has had nothing to do for longest."""
        longest = min(self.places, key=lambda place: place.idle_since)
        self.places = [place for place in self.places if place is not longest]
        return longest

    def grow(self, ready: Callable[[RunnerPlace], None], failed: Callable[[YardError], None]) -> threading.Thread | None:
        """Load one more runner in the background, unless one is on its way or the last could not be loaded a short time ago."""
        if self._growing is not None or not self._back_off.over:
            return None
        self._growing = new = place(self.variant, self._folder, self.places)
        self._back_off.begin()

        def load() -> None:
            try:
                new.start()
                if self._ended:
                    new.end()
                new.wait()
                ready(new)
            except YardError as exc:
                new.stop()
                failed(exc)
            except BaseException:
                new.stop()
                raise
            finally:
                self._growing = None

        thread = threading.Thread(target=load, name=f"load {self.variant.version}", daemon=True)
        thread.start()
        return thread

    def failed(self, exc: YardError) -> str:
        """A runner could not be loaded in the background. Returns what is to be told."""
        self.trouble = exc.what if not self.places else ""
        return f"a runner cannot be started: {exc.what}; tried again in {self._back_off.died():.1f} s"

    def recovered(self) -> bool:
        """Whether the pause after a failed load is over: requests may wait again. True once."""
        if self.trouble and self._back_off.over:
            self.trouble = ""
            return True
        return False

    def end(self) -> None:
        """No more runners are wanted; one that is on its way fails to load."""
        self._ended = True
        if self._growing is not None:
            self._growing.end()
