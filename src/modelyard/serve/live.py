"""A routing table in force: its compiled plans, its connections, its capture; and how a new table takes over from it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import importlib
import logging
import math
import os
import random
from bisect import bisect
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard.errors import BadInput, NotFound, YardError
from modelyard.serve import capture, routes
from modelyard.serve.client import Outputs, Runners
from modelyard.serve.explanations import Explainer
from modelyard.serve.protocols import Formats
from modelyard.serve.refusals import NoRunner
from modelyard.serve.rows import Rows
from modelyard.serve.stats import Stats, VariantStats
from modelyard.signature import Signature

if TYPE_CHECKING:
    from modelyard.serve.plan.compiled import RowPlan

log = logging.getLogger("modelyard.front")
INLINE_ROWS = 128
"""Rows up to which a row plan answers in the event loop; larger bodies go to a thread, so that nobody waits behind them."""
POLL_SECONDS = 0.05
_CONNECT_SECONDS = 2.0


class LiveVariant:
    """A version that answers. `formats` reads rows and writes answers; `plan` is its row plan, or None where `runners`
    answer; `mirrors` are asked after it; `headers` name it in answers."""

    def __init__(
        self,
        variant: routes.Variant,
        limits: routes.Limits,
        runners: Runners,
        stats: VariantStats,
        plan: RowPlan | None = None,
    ) -> None:
        self.version, self.weight, self.role, self.sleeps = variant.version, variant.weight, variant.role, variant.sleeps
        self.signature = Signature.from_dict(variant.signature)
        self.formats = Formats(
            self.signature,
            variant.extras,
            max_rows=limits.max_rows,
            max_event_age_days=limits.max_event_age_days,
            max_decoded=16 * limits.max_body,
        )
        self.runners, self.stats, self.plan = runners, stats, plan
        self.explainer = Explainer(self.formats, runners, variant.background, variant.explained)
        self.mirrors: list[LiveMirror] = []
        version = variant.version.encode("latin-1", "replace")
        self.headers = [(b"x-modelyard-version", version), (b"x-amzn-invoked-production-variant", version)]

    @property
    def ready(self) -> bool:
        return self.plan is not None or self.sleeps or self.runners.connected

    async def predict(self, rows: Rows) -> Outputs:
        """Ask the row plan, else a runner.

        Raises NoRunner, QueueFull, TimedOut, ModelFailed.
        """
        if self.plan is not None:
            if rows.count <= INLINE_ROWS:
                return self.plan.predict(rows.columns, rows.count)
            return await asyncio.to_thread(self.plan.predict, rows.columns, rows.count)
        return await self.runners.predict(rows)


@dataclass(frozen=True)
class LiveMirror:
    """A mirror in force; `judged` are the counters of the version that it judges."""

    to: LiveVariant
    judged: VariantStats
    share: float
    scale: float


class Live:
    """One routing table in force. Requests keep the one they began with; it is never changed, only replaced."""

    def __init__(self, table: routes.RoutingTable, variants: list[LiveVariant]) -> None:
        self.table, self.variants = table, variants
        self._named = {v.version: v for v in variants}
        self._choices = [v for v in variants if v.weight > 0]
        self._steps = list(accumulate(v.weight for v in self._choices))
        for mirror in table.mirrors:
            if {mirror.of, mirror.to, mirror.judged} <= self._named.keys():
                live = LiveMirror(self._named[mirror.to], self._named[mirror.judged].stats, mirror.share, mirror.scale)
                self._named[mirror.of].mirrors.append(live)

    @property
    def only(self) -> LiveVariant | None:
        """The version that every request goes to that names none; None where there are several."""
        return self._choices[0] if len(self._choices) == 1 else None

    @property
    def ready(self) -> bool:
        return any(v.ready for v in self._choices)

    def _heard(self, version: str) -> LiveVariant | None:
        found = self._named.get(version)
        return None if found is None or found.role == "shadow" else found

    def version(self, name: str) -> LiveVariant:
        """The version that a protocol names as one of the model's. Raises NotFound."""
        found = self._heard(name)
        if found is None:
            there = ", ".join(v.version for v in self.variants if v.role != "shadow")
            raise NotFound("the model has no such version", where=f"version `{name[:80]}`", next=f"There are: {there}.")
        return found

    def choose(self, target: str | None = None, session: str | None = None) -> LiveVariant:
        """A variant by weight; the one that the caller names, but a shadow, which nobody hears; of a sticky endpoint, the session's.

        Raises NoRunner, BadInput."""
        if target is not None:
            found = self._heard(target)
            if found is None:
                raise BadInput(f"there is no variant `{target[:80]}`", where="header X-Amzn-SageMaker-Target-Variant")
            return found
        if not self._choices:
            raise NoRunner("no version is deployed here", next="Deploy a version first.")
        if len(self._choices) == 1:
            return self._choices[0]
        if session is not None and self.table.sticky:
            return max(self._choices, key=lambda v: claim(session, v.version, v.weight))
        return self._choices[min(bisect(self._steps, random.random() * self._steps[-1]), len(self._choices) - 1)]  # noqa: S311


def claim(session: str, version: str, weight: float) -> float:
    """How strong a version's claim on a session is; the strongest has it.

    Weighted rendezvous hashing: each version gets its share of all sessions, and when weights change, only sessions move that one version
    must give away or another must get.
    """
    digest = hashlib.blake2b(f"{session}\0{version}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return -weight / math.log(((int.from_bytes(digest, "big") >> 12) + 0.5) / 2**52)


class Router:
    """Follows the routing table's file. `live` is the table in force, `writer` its capture (None when off), which may leave rows to
    `unwritten` where there is one."""

    def __init__(self, path: Path, stats: Stats, unwritten: capture.Unwritten | None = None) -> None:
        self.path, self.stats, self._unwritten = path, stats, unwritten
        self.live: Live | None = None
        self.writer: capture.Writer | None = None
        self.urgent = asyncio.Event()  # somebody waits for what the stats tell
        self._runners: dict[tuple[str, tuple[str, ...]], Runners] = {}
        self._plans: dict[tuple[str, str], RowPlan | None] = {}
        self._many_rows: asyncio.Future[Any] | None = None
        self._seen: tuple[int, int, int] | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._one_at_a_time = asyncio.Lock()

    @property
    def timeout(self) -> float:
        """Seconds that an answer may take."""
        return 0.0 if self.live is None else self.live.table.limits.timeout_s

    async def follow(self) -> None:
        """Look at the file for ever, twenty times a second."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Take up the file's table if it is new. One that does not hold is left aside: the old one stays in force."""
        try:
            state = os.stat(self.path)  # noqa: PTH116  (every 50 ms)
            seen = (state.st_mtime_ns, state.st_ino, state.st_size)
            if seen == self._seen:
                return
            self._seen = seen
            async with self._one_at_a_time:
                await self.take_up(routes.read(self.path))
        except (YardError, OSError) as exc:
            self.stats.bad_tables += 1
            log.error("the routing table is left aside: %s", exc)
        except Exception:  # this loop must outlive whatever a table holds, or no later table would be taken up
            self.stats.bad_tables += 1
            log.exception("the routing table is left aside")

    async def take_up(self, table: routes.RoutingTable) -> None:
        """Connect to what is new, then swap in one step, then let go of what is no longer named."""
        await self._load_plans(table)
        variants = []
        for variant in table.variants:
            counted = self.stats.variants.setdefault(variant.version, VariantStats())
            plan = self._plans.get((variant.version, variant.plan or ""))
            variants.append(LiveVariant(variant, table.limits, self._linked(variant, table.limits, counted), counted, plan))
        new = [v.runners for v in variants if v.plan is None and not v.sleeps]
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*(r.ready.wait() for r in new)), _CONNECT_SECONDS)
        self._swap_capture(table)
        self.live = Live(table, variants)
        self.stats.generation = table.generation
        if any(self._plans.values()) and self._many_rows is None:
            # Row plans answer many rows by it; imported by the first such request, it would hold up all others for a third of a second.
            self._many_rows = asyncio.ensure_future(asyncio.to_thread(importlib.import_module, "numpy"))
        kept = [v.runners for v in variants]
        for key in [k for k, runners in self._runners.items() if runners not in kept]:
            task = asyncio.ensure_future(self._runners.pop(key).close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
        log.info("routing table %s: %s", table.generation, {v.version: v.weight for v in table.variants})

    async def _load_plans(self, table: routes.RoutingTable) -> None:
        """Load new row plans, in a thread, and forget those that no table names. Where one does not hold, runners answer."""
        wanted = {(v.version, v.plan): v for v in table.variants if v.plan is not None}
        self._plans = {key: plan for key, plan in self._plans.items() if key in wanted}
        for key, variant in wanted.items():
            if key not in self._plans:
                self._plans[key] = await asyncio.to_thread(_plan, Path(key[1]), Signature.from_dict(variant.signature))

    def _linked(self, variant: routes.Variant, limits: routes.Limits, counted: VariantStats) -> Runners:
        outputs = Signature.from_dict(variant.signature).outputs
        runners = self._runners.get((variant.version, outputs))
        if runners is None:
            runners = self._runners[(variant.version, outputs)] = Runners(variant.version, outputs, limits, counted, self.urgent.set)
        runners.follow(variant.sockets, limits, sleeps=variant.sleeps, trouble=variant.trouble)
        return runners

    def _swap_capture(self, table: routes.RoutingTable) -> None:
        """Raises BadInput, before anything has changed, where what the table asks for cannot be kept."""
        if self.live is not None and self.live.table.capture == table.capture:
            return
        writer = capture.begin(table.capture, self.stats.capture, self._unwritten)
        if self.writer is not None:
            self.writer.close()
        self.writer = writer

    def refresh_stats(self) -> Stats:
        """The stats with what is only known now."""
        if self.writer is not None:
            self.writer.count()
        self.stats.ready = self.live is not None and self.live.ready
        self.stats.runners = {path: state for runners in self._runners.values() for path, state in runners.states().items()}
        self.stats.wanted = {runners.version: runners.wanted for runners in self._runners.values() if runners.wanted}
        return self.stats

    async def close(self) -> None:
        """Let what is in flight finish, then end connections and capture."""
        for runners in self._runners.values():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(runners.close(), 5)
        if self.writer is not None:
            self.writer.close()


def _plan(path: Path, signature: Signature) -> RowPlan | None:
    """The row plan at `path`; None, and a line in the log, where it does not hold."""
    from modelyard.serve.plan.compiled import RowPlan

    try:
        return RowPlan.load(path, signature)
    except YardError as exc:
        log.error("the row plan is left aside, and runners answer: %s", exc)
        return None
